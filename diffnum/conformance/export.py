"""Write the test vectors as files: one a subject, schemas, and a page for the port's author."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from diffnum._version import __version__
from diffnum.conformance.vectors import COMMON, document, subjects
from diffnum.jobs.files import write_json, write_text
from diffnum.jobs.ledger import Progress

__all__ = ["SCHEMAS", "export", "schema"]

SCHEMAS = ("vectors.schema.json", "answers.schema.json")


def schema(name: str) -> Any:
    """One of :data:`SCHEMAS`, as data."""
    return json.loads(_text(name))


def _text(name: str) -> str:
    return (files("diffnum.conformance") / "data" / name).read_text(encoding="utf-8")


def export(
    folder: str | Path,
    names: Sequence[str] | None = None,
    *,
    progress: Progress | None = None,
    force: bool = False,
) -> Path:
    """Write test vectors.

    Parameters
    ----------
    folder : path
        Where to write; made where it is missing. Other files in it are left alone.
    names : sequence of str, optional
        Methods; all listed ones by default. The subject ``common`` always comes with them.
    progress : callable, optional
        Called as ``progress(done, total, what)``.
    force : bool
        Whether files of the same names are replaced.

    Returns
    -------
    Path
        The folder: README.md, index.json, the schemas, and ``vectors/NAME.json``.

    Raises
    ------
    ValueError
        If a name is unknown.
    FileExistsError
        If a file is in the way; before any work, and nothing is written.
    """
    folder = Path(folder)
    chosen = list(dict.fromkeys([COMMON, *(subjects() if names is None else names)]))
    wanted = [folder / name for name in ("README.md", "index.json", *SCHEMAS)]
    wanted += [folder / "vectors" / f"{name}.json" for name in chosen]
    if not folder.is_dir() and os.path.lexists(folder):
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is no folder: give another place")
    taken = [path for path in wanted if os.path.lexists(path)]
    if taken and not force:
        raise FileExistsError(
            errno.EEXIST, f"{taken[0]} exists: give an empty folder, or replace it and its like with force (--force)"
        )
    documents = []
    for i, name in enumerate(chosen, start=1):
        documents.append(document(name))
        if progress is not None:
            progress(i, len(chosen), name)
    listed = []
    for data in documents:
        path = Path("vectors") / f"{data['subject']}.json"
        write_json(folder / path, data, indent=None)
        listed.append({"subject": data["subject"], "file": path.as_posix(), "vectors": len(data["vectors"])})
    index = {"format": "diffnum-index-v1", "version": __version__, "subjects": listed}
    write_json(folder / "index.json", index)
    for name in ("README.md", *SCHEMAS):
        write_text(folder / name, _text(name))
    return folder

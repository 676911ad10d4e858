"""Write the test vectors as files: one a subject, schemas, and a page for the port's author."""

from __future__ import annotations

import json
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


def export(folder: str | Path, names: Sequence[str] | None = None, *, progress: Progress | None = None) -> Path:
    """Write test vectors.

    Parameters
    ----------
    folder : path
        Where to write; made where it is missing. Files of the same names are replaced.
    names : sequence of str, optional
        Methods; all listed ones by default. The subject ``common`` always comes with them.
    progress : callable, optional
        Called as ``progress(done, total, what)``.

    Returns
    -------
    Path
        The folder: README.md, index.json, the schemas, and ``vectors/NAME.json``.
    """
    folder = Path(folder)
    chosen = list(dict.fromkeys([COMMON, *(subjects() if names is None else names)]))
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

"""Where results go: checked before any work, so that none is lost after it, and nothing of the user's is replaced."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType
from typing import Annotated

import typer

from diffnum.jobs.extras import required

__all__ = ["ENDINGS", "NEEDS", "Force", "as_folder", "check_file", "check_writable", "some_path"]

Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]

NEEDS: Mapping[str, str] = MappingProxyType({".html": "jinja2"})
"""Ending of a file -> package of an extra that makes it."""


ENDINGS = (".html", ".json", ".npy", ".pdf", ".png", ".svg")
"""Endings of the files that commands write."""


def some_path(text: str | Path) -> Path:
    """Path that an option means, with the home folder for a leading ``~``.

    Shells replace ``~`` only where a word begins with it (not in ``--out=~/x`` or in quotes), and an unset variable
    leaves an empty text, which would be the working directory.

    Parameters
    ----------
    text : str or Path
        What was typed.

    Raises
    ------
    typer.BadParameter
        If it is empty, names the home of nobody, or leaves open whether a file or a folder is meant.
    """
    typed = str(text)
    if not typed.strip():
        msg = f"{text!r} is no path: is a variable of the shell unset?"
        raise typer.BadParameter(msg)
    path = Path(os.path.expanduser(typed))  # a Path forgets the stroke of ./~x, which is not the home
    if typed.startswith("~") and str(path).startswith("~"):
        msg = f"{typed!r} begins with the home folder of nobody known here: write ./{typed}, or the whole path"
        raise typer.BadParameter(msg)
    if path.name.strip(".") and path.name.endswith("."):
        msg = f"{typed!r} ends in a dot, which is neither the ending of a file nor the name of a folder: leave it out"
        raise typer.BadParameter(msg)
    if path.name in ENDINGS:
        msg = f"{typed!r} has an ending and no name: write a name before it"
        raise typer.BadParameter(msg)
    if typed.endswith(("/", os.sep)) and path.suffix in ENDINGS and not path.is_dir():
        msg = f"{typed!r} has the ending of a file and the stroke of a folder: leave one of the two out"
        raise typer.BadParameter(msg)
    return path


def as_folder(path: Path) -> bool:
    """Whether a path names a folder: one that is there, or a name without an ending (``runs/v1.5`` has none)."""
    return path.is_dir() or not path.suffix[1:2].isalpha()


def check_file(option: str, path: Path, endings: Iterable[str], *, force: bool) -> None:
    """Refuse a file that cannot be written, must not be replaced, or cannot be made here.

    Parameters
    ----------
    option : str
        Option that names it, for complaints.
    path : Path
        The file.
    endings : iterable of str
        Endings that are understood.
    force : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    typer.BadParameter
        If no such file is written here.
    FileExistsError
        If it is there already.
    OSError
        If it cannot be written.
    ModuleNotFoundError
        If a package is absent.
    """
    known = tuple(endings)
    if path.suffix not in known:
        listed = known[0] if len(known) == 1 else f"{', '.join(known[:-1])} or {known[-1]}"
        msg = f"{option} {str(path)!r}: give a file that ends in {listed}"
        raise typer.BadParameter(msg)
    if package := NEEDS.get(path.suffix):
        required(package, f"{option} {path}")
    check_writable(path, force=force)


def check_writable(path: Path, *, force: bool) -> None:
    """Refuse a place that cannot be written, or is taken, before the work whose result goes there, not after it."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"{path} is a folder: give the name of a file")
    if os.path.lexists(path) and not force:
        raise FileExistsError(errno.EEXIST, f"{path} exists: give another place, or replace it with --force")
    in_the_way = next((p for p in path.parents if p.exists()), path.parent)
    if not in_the_way.is_dir():
        raise NotADirectoryError(
            errno.ENOTDIR, f"{path} cannot be written ({in_the_way} is no folder): give another place"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(error.errno, f"{path} cannot be written ({error.strerror}): give another place") from error

"""Files that are whole or absent: written beside their place, flushed to the disk, then renamed.

What is being written has a name that nobody can guess and is never opened through a link, so that in a folder that
others may write to nothing but its own files is touched.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from diffnum.jobs.data import json_text

__all__ = [
    "PARTIAL",
    "append_line",
    "digest",
    "locked",
    "sweep",
    "write_file",
    "write_folder",
    "write_json",
    "write_text",
]

PARTIAL = ".part"
"""Ending of what is being written; such a file or folder is never read."""

_LEFT_OVER = re.compile(r"\.[0-9a-f]{16}" + re.escape(PARTIAL))
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)

Chunks: TypeAlias = Iterable[bytes | memoryview]


def write_file(path: Path, chunks: Chunks) -> None:
    """Write a file so that, whenever the machine stops, it is there in full or not at all.

    Parameters
    ----------
    path : Path
        The file; one that is there is replaced at the end.
    chunks : iterable of bytes
        Content, in order.

    Raises
    ------
    OSError
        If the content cannot be written; nothing is left behind, and a file that was there is as it was.
    """
    partial = _partial(path)
    try:
        _write(partial, chunks)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write text in UTF-8 as :func:`write_file` does, and make the folders that it needs."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, [text.encode()])


def write_json(path: str | Path, data: Any, *, indent: int | None = 1) -> None:
    """Write JSON that every reader accepts, as :func:`write_text` does; see :func:`diffnum.jobs.data.jsonable`."""
    write_text(path, json_text(data, indent=indent))


def write_folder(path: Path, files: Iterable[tuple[str, Chunks]]) -> None:
    """Write a folder of files so that it is there in full or not at all.

    Parameters
    ----------
    path : Path
        The folder; one that is there is replaced at the end.
    files : iterable of (str, chunks)
        Names and contents.

    Raises
    ------
    OSError
        If a file cannot be written; nothing of the new folder is left behind.
    """
    partial = _partial(path)
    try:
        partial.mkdir()
        for name, chunks in files:
            _write(partial / name, chunks)
        _flush_folder(partial)
        _remove(path)
        os.replace(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _flush_folder(path.parent)


def append_line(path: Path, line: str) -> None:
    """Add a line in UTF-8 to a file, which is made where it is missing.

    Raises
    ------
    OSError
        If it cannot be written, or is a link.
    """
    with os.fdopen(_opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _BINARY), "ab") as stream:
        stream.write((line + "\n").encode())


def sweep(folder: Path) -> None:
    """Remove what stopped runs left in a folder half written; only where no other run is writing there."""
    for path in folder.glob(f".*{PARTIAL}"):
        if _LEFT_OVER.fullmatch(path.name):
            _remove(path)


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the files of a folder one after the other, sorted by name."""
    found = hashlib.sha256()
    for file in _files(path):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                found.update(block)
    return found.hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file while working; the system lets go of it however the process ends.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    OSError
        If it cannot be opened, or is a link.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # not a POSIX system: two runs in one folder are not noticed
        yield
        return
    with os.fdopen(_opened(path, os.O_RDWR | os.O_CREAT), "r+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno, f"{path.parent} is being written by another run: wait for it, or give another folder"
            ) from error
        yield


def _files(path: Path) -> Sequence[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


def _partial(path: Path) -> Path:
    """A name beside a path that nobody can have taken or linked before."""
    return path.with_name(f".{secrets.token_hex(8)}{PARTIAL}")


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _opened(path: Path, flags: int) -> int:
    """Handle of a file, never that of what a link points to."""
    try:
        return os.open(path, flags | _NO_LINKS, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(error.errno, f"{path} is a link: remove it, or give another place") from error


def _write(path: Path, chunks: Chunks) -> None:
    with os.fdopen(_opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY), "wb") as stream:
        for chunk in chunks:
            stream.write(chunk)
        stream.flush()
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    """Make a rename last; systems that cannot open folders need no such thing."""
    flags: Any = getattr(os, "O_DIRECTORY", None)
    if flags is None:
        return
    handle = os.open(folder, os.O_RDONLY | flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

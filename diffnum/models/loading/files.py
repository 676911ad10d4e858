"""Where weights files are looked for, and the check that each is the file it should be."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MissingModelError", "ModelFileError", "cache_folder", "candidate_places", "find_bytes", "verified_bytes"]


class MissingModelError(FileNotFoundError):
    """The weights of a known model are not on this machine; the message says how to fetch them."""


class ModelFileError(ValueError):
    """A weights file is not the one that was recorded: its SHA-256 or its content differs."""


def verified_bytes(content: bytes, sha256: str, where: str) -> bytes:
    """Return ``content`` if its SHA-256 is ``sha256``.

    Parameters
    ----------
    content
        The whole file.
    sha256
        Expected digest, 64 hexadecimal digits.
    where
        Path or description for the message.

    Raises
    ------
    ModelFileError
        If the digest differs.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        msg = (
            f"{where}: SHA-256 is {found}, expected {sha256}; the file is corrupt or of another version. "
            "Delete it and fetch it again."
        )
        raise ModelFileError(msg)
    return content


def candidate_places(package: str) -> Iterator[Path]:
    """Yield the places where the files of a model package may be, in the order in which they are tried.

    These are the value of the environment variable ``DIFFNUM_MODELS`` (a folder or a wheel file), the
    installed package (located, never imported), and ``diffnum`` in the user's cache folder.

    Parameters
    ----------
    package
        Import name of the package that carries the weights.
    """
    chosen = os.environ.get("DIFFNUM_MODELS")
    if chosen:
        yield Path(chosen).expanduser()
    # find_spec of a top-level name locates a package and does not execute it.
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.submodule_search_locations:
        yield from (Path(p) for p in spec.submodule_search_locations)
    yield cache_folder()


def cache_folder() -> Path:
    """``diffnum`` in the user's cache folder; it need not exist."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "diffnum"


def _in_wheel(wheel: Path, name: str) -> bytes | None:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.rsplit("/", 1)[-1] == name:
                return archive.read(member)
    return None


def find_bytes(package: str, name: str) -> tuple[bytes, str] | None:
    """Read the file ``name`` of ``package`` from the first place that has it.

    A place is a wheel file, a folder that holds the file itself, directly or in a folder named like the
    package, or a folder that holds a wheel of the package.

    Parameters
    ----------
    package
        Import name of the package.
    name
        File name without folders.

    Returns
    -------
    tuple of (bytes, str), or None
        Content and a description of where it was, or ``None`` if no place has it.

    Raises
    ------
    ModelFileError
        If a wheel is not a readable zip archive.
    """
    for place in candidate_places(package):
        wheels = [place] if place.is_file() else []
        if place.is_dir():
            for path in (place / name, place / package / name):
                if path.is_file():
                    return path.read_bytes(), str(path)
            wheels = sorted(place.glob(f"{package}-*.whl"))
        for wheel in wheels:
            try:
                content = _in_wheel(wheel, name)
            except zipfile.BadZipFile as error:
                msg = f"{wheel}: not a readable wheel ({error}); fetch it again."
                raise ModelFileError(msg) from error
            if content is not None:
                return content, f"{wheel}:{name}"
    return None

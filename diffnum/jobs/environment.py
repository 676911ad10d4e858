"""What numbers were made with: versions of the package, of Python and of the libraries that take part."""

from __future__ import annotations

import platform
from importlib.metadata import version

from diffnum._version import __version__

__all__ = ["versions", "versions_text"]


def versions(*distributions: str) -> dict[str, str]:
    """Versions by name: the package first, then the distributions that are named, then Python.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        If a distribution is not installed.
    """
    return {"diffnum": __version__, **{n: version(n) for n in distributions}, "python": platform.python_version()}


def versions_text(*distributions: str) -> str:
    """Versions in one line, such as ``diffnum 0.2.0, numpy 2.4.1, Python 3.11.7``."""
    found = versions(*distributions)
    return ", ".join(f"{'Python' if name == 'python' else name} {number}" for name, number in found.items())

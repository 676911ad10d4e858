"""Long work, written down as it is done, so that an interruption loses nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from diffnum.jobs.files import append_line

__all__ = ["Ledger", "Progress", "digest", "nothing_of_refused", "source_digest"]

Progress: TypeAlias = Callable[[int, int, str], object]
"""Called as ``progress(done, total, what)`` when a task is done."""


def digest(data: Any) -> str:
    """Short name of JSON-able data: the same data, the same name."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:24]


FACES = ("audits", "cli", "foreign", "interop", "jobs", "models", "plot", "report", "templates", "testing")
"""Parts of the package on which no number of a method depends."""


@cache
def source_digest() -> str:
    """Name of the text of the package's numerics, so that results of an edited package are not taken for its own."""
    root = Path(__file__).parents[1]
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] in FACES:
            continue
        total.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:24]


@contextmanager
def nothing_of_refused(*paths: str | Path | None) -> Iterator[None]:
    """Leave no file that work has begun which then ends in a ValueError; what was there before stays as it grew.

    Work that was stopped keeps its ledger, from which it goes on. What is refused would be refused again.

    Parameters
    ----------
    *paths : path or None
        Ledgers of the work.
    """
    fresh = [Path(path) for path in paths if path is not None and not Path(path).exists()]
    try:
        yield
    except ValueError:
        for path in fresh:
            path.unlink(missing_ok=True)
        raise


@dataclass
class Ledger:
    """Finished results in a file of one JSON object a line, by key.

    Parameters
    ----------
    path : Path or None
        The file, made with its folder at the first result; None to keep results for this run only.
    """

    path: Path | None
    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _cut: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.path is None or not self.path.exists():
            return
        text = self.path.read_text(encoding="utf-8")
        self._cut = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                record = json.loads(line)
                self._known[record["key"]] = record["value"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # a line that an interruption cut short, or that is not ours

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Any:
        return self._known[key]

    def put(self, key: str, value: Any) -> None:
        """Keep a result; it is on disk when this returns."""
        line = json.dumps({"key": key, "value": value}, sort_keys=True)
        self._known[key] = json.loads(line)["value"]
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_line(self.path, ("\n" if self._cut else "") + line)
        self._cut = False

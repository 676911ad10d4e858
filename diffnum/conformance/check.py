"""Check what a port answers, vector by vector, and say where the first number differs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffnum.conformance.vectors import document, subjects
from diffnum.jobs.data import read_json

__all__ = ["FORMAT", "Answer", "CheckReport", "check"]

FORMAT = "diffnum-answers-v1"


@dataclass(frozen=True)
class Answer:
    """Verdict on one answer.

    Parameters
    ----------
    id : str
        The vector.
    ok : bool
        Whether every number agrees.
    reason : str
        The first difference, with its place, where one does not.
    """

    id: str
    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class CheckReport:
    """Verdicts on all answers of a port.

    Parameters
    ----------
    answers : tuple of Answer
        In the order of the file.
    unanswered : tuple of str
        Vectors of the subjects concerned that the port did not answer.
    complete : bool
        Whether all vectors had to be answered.
    """

    answers: tuple[Answer, ...]
    unanswered: tuple[str, ...]
    complete: bool = False

    @property
    def failures(self) -> tuple[Answer, ...]:
        """Answers that differ."""
        return tuple(a for a in self.answers if not a.ok)

    @property
    def ok(self) -> bool:
        """Whether there are answers, all agree, and none is missing that had to be there."""
        return bool(self.answers) and not self.failures and not (self.complete and self.unanswered)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record."""
        rows = [{"id": a.id, "ok": a.ok, "reason": a.reason} for a in self.answers]
        return {"ok": self.ok, "answers": rows, "unanswered": list(self.unanswered), "complete": self.complete}

    def __str__(self) -> str:
        """One line a vector, and a count."""
        lines = [f"ok    {a.id}" if a.ok else f"FAIL  {a.id}: {a.reason}" for a in self.answers]
        if self.complete:
            lines += [f"none  {name}" for name in self.unanswered]
        good = len(self.answers) - len(self.failures)
        return "\n".join(
            [*lines, f"{good} of {len(self.answers)} answers agree; {len(self.unanswered)} vectors unanswered"]
        )


def check(answers: str | Path | Mapping[str, Any], *, complete: bool = False) -> CheckReport:
    """Check the answers of a port.

    Parameters
    ----------
    answers : path or mapping
        JSON of the format ``diffnum-answers-v1``: ``{"format": ..., "answers": [{"id": ..., "value": ...}, ...]}``,
        where the value has the shape of the vector's ``expected``.
    complete : bool
        Require an answer to every vector of every subject.

    Returns
    -------
    CheckReport

    Raises
    ------
    ValueError
        If the file is no record of that format, or answers the same vector twice.
    """
    given = _answers(read_json(answers) if isinstance(answers, str | Path) else answers)
    wanted = subjects() if complete else dict.fromkeys(identity.partition("/")[0] for identity in given)
    vectors = {v["id"]: v for subject in wanted for v in _vectors(subject)}
    verdicts = tuple(_verdict(identity, value, vectors.get(identity)) for identity, value in given.items())
    return CheckReport(verdicts, tuple(v for v in vectors if v not in given), complete)


def _vectors(subject: str) -> Sequence[Mapping[str, Any]]:
    """Vectors of a subject; none where there is no such subject, which its answers then say."""
    try:
        found: Sequence[Mapping[str, Any]] = document(subject)["vectors"]
    except ValueError:
        return ()
    return found


def _answers(data: Any) -> dict[str, Any]:
    """Answers by identity, the record checked."""
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        msg = f'the answers are no record of the format {FORMAT}: begin with {{"format": "{FORMAT}", ...}}'
        raise ValueError(msg)
    listed = data.get("answers")
    if not isinstance(listed, list | tuple):
        msg = 'answers is missing: give a list of {"id": ..., "value": ...}'
        raise ValueError(  # noqa: TRY004 (what a file holds, not what a caller passes)
            msg
        )
    found: dict[str, Any] = {}
    for number, item in enumerate(listed):
        if not isinstance(item, Mapping) or not isinstance(item.get("id"), str) or "value" not in item:
            msg = f'answers[{number}] lacks an id or a value: write {{"id": ..., "value": ...}}'
            raise ValueError(msg)
        if item["id"] in found:
            msg = f"answers[{number}] answers {item['id']!r} a second time: give one answer a vector"
            raise ValueError(msg)
        found[item["id"]] = item["value"]
    return found


def _verdict(identity: str, value: Any, vector: Mapping[str, Any] | None) -> Answer:
    if vector is None:
        return Answer(identity, False, "there is no vector of this id: see index.json of the export")
    bound = vector["tolerance"]
    for difference in _differences(value, vector["expected"], "value", bound, 0.0):
        return Answer(identity, False, difference)
    return Answer(identity, True)


def _differences(found: Any, expected: Any, path: str, bound: Mapping[str, float], largest: float) -> Iterator[str]:
    """Differences in words, in the order of the expected record."""
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            yield f"{path} is {_brief(found)}, not an object with {', '.join(expected)}"
            return
        if missing := [key for key in expected if key not in found]:
            yield f"{path} lacks {', '.join(missing)}"
        if extra := [key for key in found if key not in expected and not _is_zero(found[key])]:
            yield f"{path} has {', '.join(extra)}, which should not be there"
        size = _size(expected.values())
        for key, value in expected.items():
            if key in found:
                yield from _differences(found[key], value, f"{path}.{key}", bound, size)
    elif isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            yield f"{path} is {_brief(found)}, not an array of {len(expected)}"
            return
        size = _size(expected)
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            yield from _differences(a, b, f"{path}[{i}]", bound, size)
    elif isinstance(expected, bool | str) or expected is None:
        if found != expected or type(found) is not type(expected):
            yield f"{path} is {_brief(found)}, not {_brief(expected)}"
    else:
        yield from _number(found, expected, path, bound, max(largest, abs(expected)))


def _number(found: Any, expected: float, path: str, bound: Mapping[str, float], largest: float) -> Iterator[str]:
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        yield f"{path} is {_brief(found)}, not the number {expected!r}"
        return
    allowed = bound["absolute"] + bound["relative"] * largest
    if abs(found - expected) > allowed:
        yield f"{path} is {found!r}, not {expected!r} (off by {abs(found - expected):.2g}, {allowed:.2g} is allowed)"


def _size(values: Any) -> float:
    """Largest magnitude among the numbers of one array or object."""
    numbers = (abs(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool))
    return max(numbers, default=0.0)


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and value == 0


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."

"""Where the vectors of a run live: buffers that it uses again and again, worked out before it begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple, TypeAlias

__all__ = ["Layout", "Pair", "Part", "UpdateRow", "layout"]

Rows: TypeAlias = Sequence[tuple[str, Mapping[str, Any]]]


class UpdateRow(NamedTuple):
    """A linear combination and the number of its buffer; the vector that lies there, if one does, is the first term."""

    target: str
    terms: tuple[tuple[str, Any], ...]
    place: int


class Pair(NamedTuple):
    """One or two rows for a kernel: their buffers, all their sources, and a number for each source and row."""

    rows: tuple[UpdateRow, ...]
    places: tuple[int, ...]
    sources: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]


class Part(NamedTuple):
    """Rows of a step that are computed one after the other: those of a stage, or those of the outputs.

    Parameters
    ----------
    rows : tuple of UpdateRow
        Linear combinations, in order.
    given : tuple of (str, str)
        Targets that are another vector as it is, with its name.
    pairs : tuple of Pair, or None
        The rows two at a time; None where one is more than a sum of numbers times vectors.
    """

    rows: tuple[UpdateRow, ...]
    given: tuple[tuple[str, str], ...]
    pairs: tuple[Pair, ...] | None


class Layout(NamedTuple):
    """Parts of each step, one a stage (None where that is the state) and one of the outputs; and how many buffers."""

    steps: tuple[tuple[tuple[Part | None, ...], Part], ...]
    buffers: int


def layout(programme: Iterable[tuple[int, Rows]]) -> Layout:
    """Give each row of a run a buffer.

    Rows are computed in order. A buffer is free where no vector lies that this row or a later one reads; or it holds
    one vector that this row is the last to read, and is updated in place. An evaluation may be a view of the state
    where it was made: it may lie in that state's buffer, and is not sure to.

    Parameters
    ----------
    programme : iterable of (int, sequence of (str, mapping of str to float or array))
        For each step its number of stages and its rows (target, {source: weight}), stages first.
    """
    may: dict[str, int] = {}
    surely: dict[str, int] = {}
    steps, buffers = [], 0
    for stages, rows in programme:
        entries: list[UpdateRow | tuple[str, str]] = []
        may_then: dict[str, int] = {}
        surely_then: dict[str, int] = {}
        for number, (target, row) in enumerate(rows):
            source = _vector(row)
            if source is None:
                later = {name for _, other in rows[number + 1 :] for name in other}
                taken = [*may_then.values(), *(may[name] for name in later.union(row) if name in may)]
                last = {surely[name]: name for name in row if name in surely and name not in later}
                place = next((i for i in last if taken.count(i) == 1), None)
                if place is None:
                    place = next(i for i in count() if i not in taken)
                terms = sorted(row.items(), key=lambda term: term[0] != last.get(place))
                entries.append(UpdateRow(target, tuple(terms), place))
                buffers = max(buffers, place + 1)
                found, exact = {target: place}, {target: place}
            else:
                entries.append((target, source))
                found, exact = ({target: lies[source]} if source in lies else {} for lies in (may, surely))
            (may if number < stages else may_then).update(found)
            surely_then.update(exact if number >= stages else {})
        before = [
            None if _vector(row) == "x" else _part([entry])
            for (_, row), entry in zip(rows, entries[:stages], strict=False)
        ]
        steps.append((tuple(before), _part(entries[stages:])))
        may, surely = may_then, surely_then
    return Layout(tuple(steps), buffers)


def _part(entries: Sequence[UpdateRow | tuple[str, str]]) -> Part:
    """Rows that are computed one after the other."""
    rows = tuple(entry for entry in entries if isinstance(entry, UpdateRow))
    given = tuple(entry for entry in entries if not isinstance(entry, UpdateRow))
    terms = [term for row in rows for term in row.terms]
    plain = all(row.terms for row in rows) and all(isinstance(w, float) and name != "one" for name, w in terms)
    return Part(rows, given, tuple(_pair(rows[i : i + 2]) for i in range(0, len(rows), 2)) if plain else None)


def _pair(rows: Sequence[UpdateRow]) -> Pair:
    """One or two rows over their common sources."""
    sources = tuple(dict.fromkeys(name for row in rows for name, _ in row.terms))
    weights = tuple(tuple(dict(row.terms).get(name, 0.0) for name in sources) for row in rows)
    return Pair(tuple(rows), tuple(row.place for row in rows), sources, weights)


def _vector(row: Mapping[str, Any]) -> str | None:
    """Name of the one vector that a row is, None where it is computed."""
    if len(row) != 1:
        return None
    ((name, weight),) = row.items()
    return name if isinstance(weight, float) and weight == 1.0 and name != "one" else None

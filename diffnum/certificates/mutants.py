"""Mutants: methods with one defect of a kind that programmers make.

Every weight is scaled, its sign flipped, exchanged with its neighbour's or given to the wrong evaluation; every node is
moved or read at the wrong index; every vector of the history is handed on unchanged. A defect acts in all steps of a
run in which its place exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from diffnum.coefficients.method import Method
from diffnum.forms import Kernel
from diffnum.proofs import placements
from diffnum.tableau import Stage, Step, Vector, Window, vector
from diffnum.types import Scalar

__all__ = ["KINDS", "Mutant", "mutants", "mutated", "perturbed"]


@dataclass(frozen=True)
class Mutant:
    """One defect of a method.

    Parameters
    ----------
    kind : str
        Key of :data:`KINDS`.
    row, source : str
        Row of the step and vector concerned; a number in ``source`` counts nodes, stages or moments.
    other : str
        The vector with which it is confused.
    """

    kind: str
    row: str = ""
    source: str = ""
    other: str = ""

    def __str__(self) -> str:
        """What is wrong."""
        return KINDS[self.kind].format(row=self.row, source=self.source, other=self.other)


KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "weight": "the weight of {source} in {row} is 1 % too large",
        "sign": "the weight of {source} in {row} has the wrong sign",
        "swap": "the weights of {source} and {other} in {row} are exchanged",
        "stale index": "{row} takes {other} in place of {source}",
        "shifted history": "{row} is handed on unchanged instead of being renewed",
        "stage node": "stage {source} evaluates one hundredth of a step off",
        "past node": "node {source} of the history is 1 % too far away",
        "stale node": "node {other} of the history is read in place of node {source}",
        "exchanged nodes": "nodes {source} and {other} of the history are exchanged",
        "moment index": "moment {source} of the kernel is read for moment {other}",
    }
)
"""Kinds of defects, in words."""


def mutants(record: Method) -> tuple[Mutant, ...]:
    """All single defects of a method, in a fixed order.

    Parameters
    ----------
    record : Method
        Method of the catalogue.
    """
    found: dict[Mutant, None] = {}
    for place in placements(record):
        step = place.rehearse()
        for row, node, value in step.rows():
            for mutant in _of_row(row, value, place.known, stage=node is not None):
                found[mutant] = None
        for i in range(1, step.nfe + 1):
            found[Mutant("stage node", source=str(i))] = None
        for j in range(1, place.past + 1):
            found[Mutant("past node", source=str(j))] = None
            if place.past > 1:
                found[Mutant("stale node", source=str(j), other=str(j - 1 if j > 1 else 2))] = None
            if j > 1:
                found[Mutant("exchanged nodes", source=str(j - 1), other=str(j))] = None
    for k in range(_moments(record)):
        found[Mutant("moment index", source=str(k + 1), other=str(k))] = None
    return tuple(sorted(found, key=lambda m: (list(KINDS).index(m.kind), m.row, m.source, m.other)))


def _of_row(row: str, value: Vector, known: frozenset[str], *, stage: bool) -> Iterator[Mutant]:
    """Defects of one row."""
    sources = [s for s, w in value.items() if not _is_zero(w)]
    for source in sources:
        yield Mutant("weight", row, source)
        yield Mutant("sign", row, source)
    evaluations = [s for s in sources if s != "x"]
    for a, b in pairwise(evaluations):
        yield Mutant("swap", row, a, b)
    for source in evaluations:
        other = _neighbour(source, evaluations, known)
        if other is not None and other != row:  # else it is the history that is handed on unchanged
            yield Mutant("stale index", row, source, other)
    if not stage and row in known and dict(value) != {row: 1}:
        yield Mutant("shifted history", row)


def _neighbour(source: str, evaluations: list[str], known: frozenset[str]) -> str | None:
    """The vector whose index is one off: an older evaluation, else a newer one."""
    letter, number = source[0], int(source[1:])
    older = [f"{letter}{number + 1}"] if letter in "mv" else [f"k{number - 1}", "m0", "m1"]
    newer = [f"{letter}{number - 1}"] if letter in "mv" and number > 0 else []
    reachable = known | set(evaluations)
    return next((name for name in (*older, *newer) if name in reachable and name != source), None)


def _is_zero(weight: Any) -> bool:
    return isinstance(weight, int | float) and weight == 0


def _moments(record: Method) -> int:
    """How many moments of the kernel the steps of a method read."""
    kernel = _Counting()
    for place in placements(record):
        past = tuple(-float(j) for j in range(1, place.past + 1))
        inner = place.inner_times or tuple(j / place.stride for j in range(1, place.stride))
        place.step(Window(1.0, past, kernel, place.known, place.depth, place.last, inner, past))
    return kernel.highest


class _Counting:
    """Kernel that notes the highest moment it is asked for."""

    highest = -1

    def moment(self, k: int, fraction: Scalar = 1) -> Scalar:
        self.highest = max(self.highest, k)
        return fraction ** (k + 1) / (k + 1)

    def discount(self, fraction: Scalar = 1) -> Scalar:  # noqa: ARG002
        return 1.0


# -- planting a defect -------------------------------------------------------------------------------


def mutated(record: Method, mutant: Mutant) -> Method:
    """Plant a defect.

    Parameters
    ----------
    record : Method
        Sound method.
    mutant : Mutant
        One of :func:`mutants`.

    Returns
    -------
    Method
        The same record with a defective rule; it runs on symbols, series and numbers like any other.
    """
    rule = record.rule
    keywords = rule.keywords if isinstance(rule, partial) else {}
    inner = rule.func if isinstance(rule, partial) else rule
    return replace(record, rule=partial(_step, inner=inner, mutant=mutant, **keywords))


def _step(window: Window, order: int, *, inner: Callable[..., Step], mutant: Mutant, **options: Any) -> Step:
    """Step of a rule with a defect in what it is told, or in what it returns."""
    misled = _MISLED.get(mutant.kind)
    if misled is not None:
        return inner(misled(window, mutant), order, **options)
    return _SPOILT[mutant.kind](inner(window, order, **options), mutant, window)


def _far(window: Window, mutant: Mutant) -> Window:
    """One past node 1 % too far away."""
    return _with_past(window, lambda past: _put(past, int(mutant.source) - 1, lambda u: u * window.rational(101, 100)))


def _misread(window: Window, mutant: Mutant) -> Window:
    """One past node read at the place of its neighbour."""
    at, instead = int(mutant.source) - 1, int(mutant.other) - 1
    return _with_past(window, lambda past: _put(past, at, lambda _: past[instead]) if len(past) > instead else past)


def _exchanged_nodes(window: Window, mutant: Mutant) -> Window:
    """Two past nodes, each read for the other."""
    a, b = int(mutant.source) - 1, int(mutant.other) - 1

    def exchange(past: tuple[Any, ...]) -> tuple[Any, ...]:
        return _put(_put(past, a, lambda _: past[b]), b, lambda _: past[a]) if len(past) > b else past

    return _with_past(window, exchange)


def _with_past(window: Window, change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Window:
    return replace(window, past=change(window.past), past_times=change(window.past_times))


def _put(values: tuple[Any, ...], index: int, change: Callable[[Any], Any]) -> tuple[Any, ...]:
    return tuple(change(v) if i == index else v for i, v in enumerate(values))


@dataclass(frozen=True)
class _Slipped:
    """Kernel in which one moment is read for another."""

    kernel: Kernel
    at: int
    instead: int

    def moment(self, k: int, fraction: Scalar = 1) -> Scalar:
        """Moment, the wrong one at one index."""
        return self.kernel.moment(self.instead if k == self.at else k, fraction)

    def discount(self, fraction: Scalar = 1) -> Scalar:
        """As the kernel says."""
        return self.kernel.discount(fraction)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "kernel"), name)


_MISLED: Mapping[str, Callable[[Window, Mutant], Window]] = MappingProxyType(
    {
        "past node": _far,
        "stale node": _misread,
        "exchanged nodes": _exchanged_nodes,
        "moment index": lambda window, mutant: replace(
            window, kernel=_Slipped(window.kernel, int(mutant.source), int(mutant.other))
        ),
    }
)

Change: TypeAlias = Callable[[Vector], Vector]


def perturbed(method: Method, row: str, source: str, factor: Any = Fraction(101, 100)) -> Method:
    """Method with one weight of its rule multiplied by a factor: the negative control of every check.

    Parameters
    ----------
    method : Method
        Record.
    row : str
        Row of the step, such as ``"x"``, ``"k2"`` or ``"v1"``.
    source : str
        Vector whose weight is changed, such as ``"k1"`` or ``"m2"``.
    factor : number
        Factor on that weight.
    """
    # the keywords of a rule stay where other parts read them
    keywords = method.rule.keywords if isinstance(method.rule, partial) else {}
    rule = method.rule.func if isinstance(method.rule, partial) else method.rule
    return replace(method, rule=partial(_perturbed, inner=rule, row=row, source=source, factor=factor, **keywords))


def _perturbed(
    window: Window, order: int, *, inner: Callable[..., Step], row: str, source: str, factor: Any, **options: Any
) -> Step:
    def change(value: Vector) -> Vector:
        return Vector({s: factor * w if s == source else w for s, w in value.items()})

    return _change_row(inner(window, order, **options), row, change)


def _change_row(step: Step, row: str, change: Change) -> Step:
    """Step with one row changed; all others as they are."""

    def new(name: str, value: Vector) -> Vector:
        return change(value) if name == row else value

    stages = tuple(Stage(s.node, new(f"k{i}", s.value)) for i, s in enumerate(step.stages, start=1))
    return Step(stages, new("x", step.x), {name: new(name, value) for name, value in step.memory.items()})


def _scaled(numerator: int, denominator: int) -> Callable[[Step, Mutant, Window], Step]:
    def spoil(step: Step, mutant: Mutant, window: Window) -> Step:
        factor = window.rational(numerator, denominator)

        def change(value: Vector) -> Vector:
            return Vector({s: factor * w if s == mutant.source else w for s, w in value.items()})

        return _change_row(step, mutant.row, change)

    return spoil


def _exchanged(step: Step, mutant: Mutant, window: Window) -> Step:  # noqa: ARG001
    names = {mutant.source: mutant.other, mutant.other: mutant.source}

    def change(value: Vector) -> Vector:
        if not set(names) <= set(value):
            return value
        return Vector({s: value[names.get(s, s)] for s in value})

    return _change_row(step, mutant.row, change)


def _mistaken(step: Step, mutant: Mutant, window: Window) -> Step:
    reachable = window.known | {f"k{i}" for i in range(1, step.nfe + 1)}

    def change(value: Vector) -> Vector:
        if mutant.source not in value or mutant.other not in reachable:
            return value
        rest = Vector({s: w for s, w in value.items() if s != mutant.source})
        mistaken: Vector = rest + value[mutant.source] * vector(mutant.other)
        return mistaken

    return _change_row(step, mutant.row, change)


def _kept(step: Step, mutant: Mutant, window: Window) -> Step:
    return _change_row(step, mutant.row, lambda value: vector(mutant.row) if mutant.row in window.known else value)


def _moved(step: Step, mutant: Mutant, window: Window) -> Step:
    index = int(mutant.source) - 1
    if index >= step.nfe:
        return step
    off = window.rational(1, 100)
    node = step.stages[index].node
    ahead = isinstance(node, int) and node == 1  # from the end of the step there is no way but back
    stages = (
        Stage(s.node + (-off if ahead else off) if i == index else s.node, s.value) for i, s in enumerate(step.stages)
    )
    return Step(tuple(stages), step.x, step.memory)


_SPOILT: Mapping[str, Callable[[Step, Mutant, Window], Step]] = MappingProxyType(
    {
        "weight": _scaled(101, 100),
        "sign": _scaled(-1, 1),
        "swap": _exchanged,
        "stale index": _mistaken,
        "shifted history": _kept,
        "stage node": _moved,
    }
)

"""Judge a sampler that claims an order: it holds, it fails and here is what to look at, or the data do not decide."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal

import numpy as np

from diffnum.coefficients.method import GRID_KINDS
from diffnum.convergence.checks import STEPS, check_repeats, check_sampler, name_of
from diffnum.convergence.counts import Odd, odd_counts
from diffnum.convergence.diagnosis import QUICK, contradicts, diagnose
from diffnum.convergence.edges import edges
from diffnum.convergence.measure import OWN, decided_rate, errors_of_run, rate_over
from diffnum.convergence.nodes import INTERVAL, PATTERN, Spacing
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.rate import RateEstimate
from diffnum.convergence.record import ConvergenceStudy, Series
from diffnum.convergence.refinement import Ladder, Run, check_levels
from diffnum.convergence.weights import low_precision, probed
from diffnum.convergence.wrapped import Clock, in_clock, in_shape
from diffnum.foreign import understood
from diffnum.foreign.conventions import Convention, convention_of
from diffnum.foreign.isolated import Guarded, seeds
from diffnum.problems import rotated_product, three_peaks
from diffnum.schedules import VPLinear
from diffnum.types import Problem, Sampler, Schedule

__all__ = ["Judgement", "Patience", "Verdict", "judge"]

Verdict = Literal["holds", "fails", "undecided"]

POINTS = 12

HASTY = Ladder((12, 24, 48, 96), coarser=(6, 12, 18, 24, 36, 48))
"""Levels for samplers that take too long for the usual ones."""

STRICT = frozenset({"k-diffusion", "flow", "diffusers"})
"""Conventions of image samplers, whose runs end at sigma = 0 on states (b, c, h, w): what fails there is a fault."""


ALWAYS = frozenset({"few steps", "numbers of steps"})
"""Edges that are faults in any convention."""


@dataclass
class Patience:
    """Seconds that a judgement may take before it stops looking further.

    Parameters
    ----------
    seconds : float
        From the moment of construction.
    """

    seconds: float = math.inf
    _start: float = field(default_factory=time.monotonic, init=False, repr=False)

    @property
    def left(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self.seconds - (time.monotonic() - self._start))


@dataclass(frozen=True)
class Judgement:
    """What is to be said of a sampler that claims an order.

    Parameters
    ----------
    name : str
        Sampler.
    claimed : float
        Order claimed.
    verdict : {"holds", "fails", "undecided"}
        Whether the plain run has that order on every kind of grid, at every number of steps tried.
    parts : tuple of str
        What to look at, the part to blame first: "formula", "start-up", "last step", "time rounding", "precision",
        "nodes", "batch", "last level", "numbers of steps", "few steps", "end at zero noise", "image shapes", "order".
    sentences : tuple of str
        What was measured there, in the same order.
    series : tuple of Series
        Curves of the plain run.
    notes : tuple of str
        What a user should know, and is no fault.
    """

    name: str
    claimed: float
    verdict: Verdict
    parts: tuple[str, ...]
    sentences: tuple[str, ...]
    series: tuple[Series, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the claim holds."""
        return self.verdict == "holds"

    @property
    def study(self) -> ConvergenceStudy:
        """The curves as an order study, for tables and figures."""
        return ConvergenceStudy(self.name, "as shipped", self.series, {})

    @property
    def orders(self) -> dict[str, float | None]:
        """Order of the plain run on each kind of grid, the lowest over problems; None if undecided."""
        found: dict[str, float | None] = {}
        for s in self.series:
            known = found.get(s.grid, math.inf)
            found[s.grid] = None if known is None or s.order is None else min(known, s.order)
        return found

    @property
    def summary(self) -> str:
        """One clause: what to look at, or the order that holds."""
        measured = ", ".join(f"{'-' if o is None else f'{o:g}'} on {kind} grids" for kind, o in self.orders.items())
        if self.verdict == "holds":
            return f"{self.name}: order {self.claimed:g} on {', '.join(self.orders)} grids"
        head = f"look at the {' and the '.join(self.parts)}" if self.parts else "undecided"
        found = f" (measured: {measured})" if measured else ""
        return f"{self.name}, claimed order {self.claimed:g}: {head}{found}"

    def __str__(self) -> str:
        """Summary, what was measured, notes."""
        lines = [f"  - {s}" for s in self.sentences] + [f"  note: {n}" for n in self.notes]
        return "\n".join([self.summary, *lines])


def judge(
    sampler: Any,
    order: float,
    problem: Problem | Mapping[str, Problem] | None = None,
    *,
    schedule: Schedule | None = None,
    grids: Sequence[str] = GRID_KINDS,
    steps: Sequence[int] | None = None,
    interval: tuple[float, float] | None = None,
    clock: Clock = "half-log-snr",
    shape: tuple[int, ...] | None = None,
    convention: Convention | None = None,
    patience: float = math.inf,
    **options: Any,
) -> Judgement:
    """Judge a sampler that claims an order.

    Parameters
    ----------
    sampler : callable, or scheduler of diffusers
        In any convention of :mod:`diffnum.foreign.conventions`.
    order : float
        Order claimed, > 0.
    problem : Problem or mapping of str to Problem, optional
        Exact problems; by default three peaks on the line, and a rotated product of mixtures in 4-D for what passes.
    schedule : Schedule, optional
        Noising process; VP-linear by default.
    grids : sequence of {"uniform", "smooth", "irregular"}
        Kinds of grid, in the clock.
    steps : sequence of int, optional
        Step counts; by default 24 to 384, more or fewer where these do not decide, and counts of every class modulo 2,
        3 and 4 and above 500 and 1000.
    interval : (float, float), optional
        Half-log-SNR where the runs begin and end; (-2, 2) by default.
    clock : {"half-log-snr", "sigma", "flow-time"}
        Clock in which steps are even on uniform grids.
    shape : tuple of int, optional
        Shape of one state, such as (1, 2, 2), for samplers that insist on images.
    convention : {"nodes", "k-diffusion", "diffusers", "flow"}, optional
        How the sampler is called; told from its methods and parameters by default.
    patience : float
        Seconds after which nothing more is tried.
    **options
        Further arguments of the sampler, for foreign conventions.

    Returns
    -------
    Judgement

    Raises
    ------
    TypeError, ValueError
        If the sampler breaks its convention, or an argument is not as above.
    """
    if not 0 < order <= HIGHEST:
        msg = f"order={order:g} is no order that can be claimed: give a number > 0, such as 2, of at most {HIGHEST}"
        raise ValueError(msg)
    if steps is not None:
        check_levels(steps)
    kind = _convention(sampler, convention)
    guarded = Guarded(understood(sampler, kind, **options))
    given: Sampler = guarded if shape is None else in_shape(guarded, shape)
    run = in_clock(given, clock)
    first, *others = _problems(problem, shape).items()
    time_left = Patience(patience)
    work = _Work(run, order, VPLinear() if schedule is None else schedule, interval or INTERVAL, tuple(grids), steps)
    oracle = work.oracle(first[1])
    begun = time.monotonic()
    check_sampler(run, oracle)
    if time.monotonic() - begun < WARM:  # the first runs of a process are slower than all that follow
        begun = time.monotonic()
        check_sampler(run, oracle)
    effort = _Effort.of((time.monotonic() - begun) / CHECKED, len(grids), time_left)

    if effort is not _Effort.HASTY:
        check_repeats(run, oracle)
    usual = effort is not _Effort.HASTY
    # on nodes as they are: another clock cannot divide the way to no noise
    tried = edges(given, oracle, zero=kind != "diffusers", usual=usual) if shape is None else ()
    found = [(e.part, e.text) for e in tried if not e.refused and (kind in STRICT or e.part in ALWAYS)]
    notes = [e.text for e in tried if (e.part, e.text) not in found]
    series = [work.plain(first[0], oracle, grid, effort) for grid in grids]
    odd: list[tuple[str, Odd]] = []
    if steps is None and effort is not _Effort.HASTY:
        odd = [(s.grid, o) for s in series for o in work.odd(oracle, s)]
    settled = all(s.order == order for s in series)
    for label, exact in others if settled and not odd and time_left.left else ():
        series += [work.plain(label, work.oracle(exact), grid, effort) for grid in grids]
    accused = [*work.explained(first[1], series, odd, effort, time_left), *found]
    parts = tuple(dict.fromkeys(part for part, _ in accused if part))
    open_ = any(s.order is None for s in series)
    if not parts and effort is not _Effort.HASTY and (coarse := low_precision(probed(run, work.schedule)[0], order)):
        notes.append(coarse)
    notes += _side_effects(guarded, run, oracle, effort)
    verdict: Verdict = "fails" if parts else "undecided" if open_ else "holds"
    return Judgement(
        name_of(run), order, verdict, parts, tuple(text for _, text in accused), tuple(series), tuple(notes)
    )


HIGHEST = 16
"""Order up to which a claim can be tried: of higher ones nothing is left above rounding."""

WARM = 1.0
"""Seconds that checks may take which are made twice."""


def _side_effects(guarded: Guarded, run: Sampler, oracle: Oracle, effort: _Effort) -> list[str]:
    """What a sampler does to the program that calls it, in sentences."""
    said = [f"it changes {name} for the whole program, which was put back" for name in guarded.changes]
    if effort is _Effort.HASTY:
        return said
    nodes = np.linspace(*oracle.interval, STEPS + 1)
    x = oracle.state(float(nodes[0]))
    for name in seeds(lambda: run(oracle, x.copy(), nodes.copy())):
        said.append(
            f"it calls {name}, or the like: whatever draws after it gets the same numbers every time, let it use a "
            "generator of its own"
        )
    return said


CHECKED = 24
"""Steps of three runs that a check makes."""


class _Effort(Enum):
    """How far a judgement goes, by what a step costs."""

    THOROUGH = 3900
    USUAL = 744
    HASTY = 180

    @staticmethod
    def of(each: float, grids: int, patience: Patience) -> _Effort:
        """The most that a third of the patience allows for the plain runs."""
        fits = [e for e in _Effort if each * e.value * grids < patience.left / 3]
        return fits[0] if fits else _Effort.HASTY


@dataclass(frozen=True)
class _Work:
    """One sampler under judgement."""

    run: Sampler
    order: float
    schedule: Schedule
    interval: tuple[float, float]
    grids: tuple[str, ...]
    steps: Sequence[int] | None

    def oracle(self, problem: Problem) -> Oracle:
        """Exact model of a problem."""
        return Oracle(problem, self.schedule, self.interval, POINTS)

    def plain(self, label: str, oracle: Oracle, grid: str, effort: _Effort) -> Series:
        """Curve of the plain run on one kind of grid."""
        spacing = Spacing(grid, PATTERN)
        if self.steps is not None or effort is _Effort.THOROUGH:
            rate = decided_rate(self.run, oracle, spacing, "as shipped", "global", self.steps)
        else:
            ladder = HASTY if effort is _Effort.HASTY else replace(OWN, finer=())
            rate = rate_over(self._errors(oracle, grid), oracle, ladder)
        return Series(label, grid, "as shipped", "global", rate)

    def odd(self, oracle: Oracle, series: Series) -> tuple[Odd, ...]:
        """Numbers of steps at which a curve is left."""
        rate = series.estimate
        if rate.steps[-1] < OWN.base[-1] or rate.steps[-1] % 12:  # coarse, or on the middle half of the interval
            return ()
        return odd_counts(self._errors(oracle, series.grid), rate, self.order, oracle.scale, self._contradicted)

    def _errors(self, oracle: Oracle, grid: str) -> Run:
        return errors_of_run(self.run, oracle, Spacing(grid, PATTERN), "as shipped", "global")

    def _contradicted(self, rate: RateEstimate) -> bool:
        return contradicts(rate, self.order)

    def explained(
        self,
        problem: Problem,
        series: Sequence[Series],
        odd: Sequence[tuple[str, Odd]],
        effort: _Effort,
        patience: Patience,
    ) -> Iterator[tuple[str, str]]:
        """(part, sentence) of all that is wrong or undecided, the part to blame first."""
        jumps = [(grid, o) for grid, o in odd if o.kind == "jump"]
        yield from (("numbers of steps", f"{grid} grids: {o.text}") for grid, o in jumps)
        off = [s for s in series if s.order != self.order and s.grid not in {grid for grid, _ in jumps}]
        higher = bool(off) and all(s.order is not None and s.order > self.order for s in off)
        if higher:
            listed = ", ".join(f"{s.order:g} on {s.grid} grids" for s in off)
            yield "order", f"its order is higher than claimed: {listed}"
        elif off:
            yield from self._looked_into(problem, off, effort, patience)
        for grid, o in odd:
            if o.kind == "better":
                yield "", f"{grid} grids: {o.text}"
            elif o.kind in ("failure", "alone"):
                yield "numbers of steps", f"{grid} grids: {o.text}"
            elif o.kind in ("class", "long"):
                yield from self._at_counts(problem, grid, o, patience)

    def _looked_into(
        self, problem: Problem, off: Sequence[Series], effort: _Effort, patience: Patience
    ) -> Iterator[tuple[str, str]]:
        """What a diagnosis finds on the kinds of grid that are off."""
        kinds = tuple(dict.fromkeys(s.grid for s in off))
        wrong = [s for s in off if self._contradicted(s.estimate)]
        shown = [f"as shipped, {s.problem}, {s.grid} grids: {s.estimate.reason}" for s in off]
        if effort is _Effort.HASTY or not patience.left:
            part = "order" if wrong else ""
            yield from ((part, text) for text in shown)
            yield part, "no time was left to look for the part to blame: give it more, or fewer steps"
            return
        levels = None if effort is _Effort.THOROUGH else QUICK
        found = diagnose(
            self.run, self.order, problem, schedule=self.schedule, interval=self.interval, grids=kinds, steps=levels
        )
        accused = list(zip(found.accused, found.sentences, strict=True)) if found.parts else []
        yield from accused
        if not accused and wrong:
            yield from (("whole run", text) for text in (*shown, *found.sentences))
            if found.ok:
                yield "whole run", "formula, start-up and last step keep the order on nodes whose ends are graded"
        else:
            yield from (("", text) for text in shown)

    def _at_counts(self, problem: Problem, grid: str, odd: Odd, patience: Patience) -> Iterator[tuple[str, str]]:
        """What a diagnosis finds at numbers of steps of one class, or of long runs."""
        text = f"{grid} grids, {odd.text}"
        if patience.left:
            residue = odd.steps[0] % 12
            levels = tuple(n - residue for n in odd.steps[-4:])
            found = diagnose(
                self.run, self.order, problem, schedule=self.schedule, interval=self.interval, grids=(grid,),
                steps=levels, residue=residue,
            )  # fmt: skip
            parts = [p for p in found.parts if p in ("formula", "start-up", "last step")]
            yield from ((part, text) for part in parts)
            if parts:
                return
        yield "numbers of steps", text


def _convention(sampler: Any, given: Convention | None) -> Convention:
    """How a sampler is called; "nodes" where its parameters do not tell."""
    if given is not None:
        return given
    try:
        return convention_of(sampler)
    except ValueError:
        return "nodes"


def _problems(problem: Problem | Mapping[str, Problem] | None, shape: tuple[int, ...] | None) -> Mapping[str, Problem]:
    """Problems by label; of the dimension of the shape where none is given."""
    if isinstance(problem, Mapping):
        return problem
    if problem is not None:
        return {type(problem).__name__: problem}
    if shape is not None and math.prod(shape) > 1:
        return {"rotated product": rotated_product(dim=math.prod(shape), seed=1)}
    return {"three peaks": three_peaks(), "rotated product": rotated_product(dim=4, seed=1)}

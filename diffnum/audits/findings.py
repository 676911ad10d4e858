"""Findings: what is wrong, in one sentence, with the smallest configuration and the lines that show it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from diffnum.audits.budget import ErrorBudget
from diffnum.audits.shipped import LEVELS, ShippedRun, wasted_calls
from diffnum.audits.subjects import Subject
from diffnum.convergence.counts import Odd
from diffnum.convergence.diagnosis import RISING, Orders, Part, falls_short, gradings_for, rate_of
from diffnum.convergence.rate import RateEstimate
from diffnum.types import Problem

__all__ = ["Demonstration", "Finding", "order_findings", "run_findings", "short"]

SMALLER = ((4, 8, 12, 16), (6, 12, 24, 48), (12, 24, 48, 96))
"""Step counts that may show a defect already, from the smallest."""

STALL = 2.0
"""An error that never falls by this factor below that of a coarse level has stopped falling."""

SINGLE = 1e-5
"""Errors that float32 alone may make."""

COARSE_LEVELS = 3
"""Levels among which the error must have all but stopped falling to have stalled."""

PLAIN = 20
"""Step counts up to which no correction of a state drowns in float32, and makes two calls look the same."""

FEW = 6
"""Steps of the runs in which every call is tried."""


@dataclass(frozen=True)
class Demonstration:
    """The run that shows a finding: enough for a few lines of code, and nothing of how they are written.

    Parameters
    ----------
    kind : {"rate", "run", "budget", "wasted", "stall", "same"}
        What is computed: the rate of one part, one default run, an error budget, calls without influence, two runs of
        different numbers of steps, two runs of different values of an option.
    steps : tuple of int
        Numbers of steps.
    prints : str
        What the lines print.
    part, grid : str
        Of a rate.
    order : float or None
        Of a rate: order for which its ends are graded; None for the default.
    shows : str
        Of a run: the expression that is printed, with the run named ``run``.
    arguments : str
        Arguments of the constructor, or of a function, as they are written in code, where they are others than the
        row's.
    options : str
        Arguments of every ``step``, likewise.
    drift : bool or None
        Whether noise is left out; None where the row says.
    option : str
        Of two runs of one number of steps: the option in which they differ.
    values : tuple of str
        Its values, as they are written in code.
    """

    kind: Literal["rate", "run", "budget", "wasted", "stall", "same"]
    steps: tuple[int, ...]
    prints: str
    part: str = ""
    grid: str = ""
    order: float | None = None
    shows: str = ""
    arguments: str = ""
    options: str = ""
    drift: bool | None = None
    option: str = ""
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One thing that a user of a sampler should know.

    Parameters
    ----------
    part : str
        Where: "formula", "start-up", "last step", "time rounding", "float32" (several joined by " and "), "not finite",
        "failure", "repeated times", "empty steps", "gaps", "wasted calls", "duplicated calls", "step count",
        "noise left", "convergence", "direction", "ignored options".
    text : str
        What, in a sentence.
    smallest : str
        Smallest configuration that was found to show it.
    shown : Demonstration
        The run that shows it.
    snippet : str
        Lines that make that run; written when a report is made.
    """

    part: str
    text: str
    smallest: str
    shown: Demonstration
    snippet: str = ""

    @property
    def prints(self) -> str:
        """What the lines print."""
        return self.shown.prints


def short(rates: Mapping[str, RateEstimate], claimed: float) -> bool:
    """Whether an order is below the claim on some grid: decided, or with rates well below it that still fall."""
    return any(falls_short(r, claimed) for r in rates.values())


def order_findings(
    subject: Subject,
    orders: Orders,
    problem: Problem,
    clocked: float | None,
    odd: Mapping[tuple[Part, str], Odd] | None = None,
) -> Iterator[Finding]:
    """Parts whose order is below the claim on some grid, or undecided.

    Start-up and last step are held against what the formula reaches on the same kind of grid. ``odd`` holds classes of
    numbers of steps in which a part on a kind of grid is worse than at multiples of 12.
    """
    formula = Orders.worst(orders.formula)
    parts: tuple[tuple[Part, Mapping[str, RateEstimate]], ...] = (
        ("formula", orders.formula),
        ("start-up", orders.start),
        ("last step", orders.tail),
    )
    for part, rates in parts:
        worst = Orders.worst(rates)
        reference = dict.fromkeys(rates, subject.claimed)
        if part != "formula":
            reach = {kind: r.order for kind, r in orders.formula.items()}
            reference = {kind: min(c, reach[kind] or c) for kind, c in reference.items()}
            if formula is None and worst is None:
                continue  # undecided for the same reason
        for (what, kind), found in (odd or {}).items():
            if what == part and found.estimate is not None:
                text = f"the {part} lowers the order on {kind} grids for {found.text}"
                yield _finding_of_rate(part, kind, found.estimate, text, found.steps, None)
        low = [k for k, r in rates.items() if r.order is None or r.order < reference[k]]
        if not low:
            continue
        text = _order_text(part, rates, worst, reference[low[0]])
        if part == "formula" and clocked is not None and (worst is None or clocked > worst):
            text += f"; {clocked:g} with its own start-up where all steps are equal in sigma / alpha, as it assumes"
        yield _smallest(subject, part, low[0], rates[low[0]], text, problem)


def _order_text(part: Part, rates: Mapping[str, RateEstimate], worst: float | None, reference: float) -> str:
    name = "the update formula" if part == "formula" else f"the {part}"
    if worst is None:
        word = f"is below order {reference:g}" if short(rates, reference) else "is undecided"
        verb = word if part == "formula" else ("lowers the order" if short(rates, reference) else word)
        reasons = "; ".join(f"{kind}: {r.reason}" for kind, r in rates.items() if r.order is None)
        grows = any(float(x) < -RISING for r in rates.values() for x in r.rates if math.isfinite(x))
        lost = "; the error grows on short steps: digits are lost in its coefficients" if grows else ""
        return f"{name} {verb} ({reasons}){lost}"
    kinds = {kind: r.order for kind, r in rates.items()}
    same = len(set(kinds.values())) == 1
    where = f"{worst:g}" if same else ", ".join(f"{o:g} on {kind} grids" for kind, o in kinds.items())
    return f"{name} has order {where}" if part == "formula" else f"{name} lowers the order to {where}"


def _smallest(subject: Subject, part: Part, kind: str, rate: RateEstimate, text: str, problem: Problem) -> Finding:
    """Finding with the smallest step counts that show the same order."""
    sampler = subject.sampler(problem)
    steps = tuple(rate.steps.tolist())
    if rate.order is not None:
        for fewer in SMALLER:
            found = rate_of(sampler, part, kind, fewer, problem)
            if found.order == rate.order:
                return _finding_of_rate(part, kind, found, text, fewer, None)
    for grading in gradings_for(subject.claimed):
        again = rate_of(sampler, part, kind, steps, problem, order=grading)
        if again.reason == rate.reason:
            break
    return _finding_of_rate(part, kind, again, text, steps, grading)


def _finding_of_rate(
    part: Part, kind: str, rate: RateEstimate, text: str, steps: tuple[int, ...], grading: float | None
) -> Finding:
    shown = Demonstration("rate", steps, rate.reason, part, kind, grading)
    return Finding(part, text, f"{kind} grid, {steps[0]} to {steps[-1]} steps", shown)


def run_findings(
    subject: Subject,
    runs: Sequence[ShippedRun],
    budget: ErrorBudget | None,
    run: Callable[..., ShippedRun],
    first_bad: Callable[[str, int, int], int],
) -> Iterator[Finding]:
    """What users of the default configuration should know.

    Parameters
    ----------
    subject : Subject
        Sampler.
    runs : sequence of ShippedRun
        Default runs, fewest steps first.
    budget : ErrorBudget or None
        Of the finest finite run; None if there is none.
    run : callable
        ``run(steps, nudge=)``.
    first_bad : callable
        ``first_bad(name, low, high)``: the smallest step count above ``low`` at which the attribute ``name`` of the
        levels is not 0.
    """
    yield from _failures(runs, run)
    for name, word in (("repeated", "repeated times"), ("empty", "empty steps")):
        yield from _wasted_steps(runs, name, word, first_bad)
    yield from _gaps(runs)
    yield from _counts(runs)
    lost = wasted_calls(run, FEW)
    if lost:
        text = (
            f"model calls without influence on the sample: number {', '.join(map(str, lost))} of {run(FEW).evaluations}"
        )
        yield Finding("wasted calls", text, f"{FEW} steps", Demonstration("wasted", (FEW,), str(lost)))
    twice = next((r for r in runs if r.duplicated and r.steps <= PLAIN), None)
    if twice is not None:
        text = f"model calls at the level and state of an earlier one: {twice.duplicated} of {twice.evaluations}"
        yield _of_run("duplicated calls", text, twice.steps, "run.duplicated", str(twice.duplicated))
    if not subject.inverse and not subject.keeps_noise:
        yield from _noise_left(runs)
    yield from _convergence(runs)
    if budget is not None and (budget.culprits or budget.untried):
        part = " and ".join(budget.culprits or budget.untried)
        shown = Demonstration("budget", (budget.steps,), str(budget))
        yield Finding(part, str(budget), f"{budget.steps} steps", shown)


def _of_run(part: str, text: str, steps: int, shows: str, prints: str) -> Finding:
    """Finding that one default run shows."""
    return Finding(part, text, _steps(steps), Demonstration("run", (steps,), prints, shows=shows))


def _failures(runs: Sequence[ShippedRun], run: Callable[..., ShippedRun]) -> Iterator[Finding]:
    refused = [r for r in runs if r.refused]
    if refused:
        steps = _steps(*(r.steps for r in refused))
        text = f"the library refuses {steps}: {refused[0].failure.partition(': ')[2]}"
        yield _of_run("step count", text, refused[0].steps, "run.failure", refused[0].failure)
    failed: dict[str, list[int]] = {}
    for r in runs:
        if r.failure and not r.refused:
            failed.setdefault(r.failure.split(":")[0], []).append(r.steps)
    for kind, numbers in failed.items():
        first = next(r for r in runs if r.steps == numbers[0])
        what = first.failure.removesuffix(": ") if kind else "an exception"  # it may have no words
        yield _of_run("failure", f"raises {what} ({_steps(*numbers)})", numbers[0], "run.failure", first.failure)
    nan = [r for r in runs if not math.isfinite(r.error) and not r.failure]
    if nan:
        text = f"the sample is not finite at {_steps(*(r.steps for r in nan))}: first {nan[0].breaks}"
        if math.isfinite(run(nan[0].steps, double=True).error):
            text += "; finite in float64"
        yield _of_run("not finite", text, nan[0].steps, "run.breaks", nan[0].breaks)


def _wasted_steps(
    runs: Sequence[ShippedRun], name: str, word: str, first_bad: Callable[[str, int, int], int]
) -> Iterator[Finding]:
    counts = {r.steps: getattr(r, name) for r in runs}
    bad = [steps for steps, count in counts.items() if count]
    if not bad:
        return
    clean = max((steps for steps in counts if steps < bad[0]), default=0)
    first = first_bad(name, clean, bad[0])
    what = {"repeated": "times that occur again", "empty": "steps of length zero"}[name]
    text = f"{what}: {counts[bad[-1]]} at {bad[-1]} steps" + (f", the first at {first}" if first < bad[-1] else "")
    yield _of_run(word, text, first, f"run.{name} > 0", "True")


def _gaps(runs: Sequence[ShippedRun]) -> Iterator[Finding]:
    """Steps that end elsewhere than the next begins."""
    bad = [r for r in runs if r.gaps]
    if not bad:
        return
    worst = max(bad, key=lambda r: r.gaps / r.steps)
    text = (
        f"steps end at another time than the one at which the next begins: {worst.gaps} of {worst.steps}; a step goes "
        "down by T // n times, and the times are not that far apart (of the numbers of steps tried: "
        f"{_steps(*(r.steps for r in bad))})"
    )
    yield _of_run("gaps", text, bad[0].steps, "run.gaps", str(bad[0].gaps))


def _counts(runs: Sequence[ShippedRun]) -> Iterator[Finding]:
    done = [r for r in runs if r.steps in LEVELS and not r.failure]
    if len(done) < 2:
        return
    a, b = done[0], done[-1]
    per = (b.evaluations - a.evaluations) / (b.steps - a.steps)
    extra = a.evaluations - per * a.steps
    exact = all(r.evaluations == per * r.steps + extra for r in done)
    if exact and (per, extra) == (1.0, 0.0):
        return
    more = f" {'+' if extra > 0 else '-'} {abs(extra):g}" if extra else ""
    rule = f"{per:g} n{more}" if per != 1 else f"n{more}"
    if not exact:
        rule = ", ".join(f"{r.evaluations} (n = {r.steps})" for r in done)
    text = f"asked for n steps it makes {rule} model calls"
    small = next(r for r in runs if r.evaluations != r.steps and not r.failure)
    yield _of_run("step count", text, small.steps, "run.evaluations", str(small.evaluations))


def _noise_left(runs: Sequence[ShippedRun]) -> Iterator[Finding]:
    left = next((r.rho_end for r in runs if r.steps in LEVELS and math.isfinite(r.error)), 0.0)
    if left == 0:
        return
    shown = f"{left:.2g}"
    first = next(r for r in runs if f"{r.rho_end:.2g}" == shown)
    text = f"the sample is returned with noise of sigma / alpha = {shown}"
    yield _of_run("noise left", text, first.steps, 'f"{run.rho_end:.2g}"', shown)


def _convergence(runs: Sequence[ShippedRun]) -> Iterator[Finding]:
    """An error that stops falling long before the finest level, or grows again.

    An error that changes its sign is small by chance at one number of steps: one that is larger than this one alone,
    and falls below it later, has not grown.
    """
    done = [r for r in runs if r.steps >= LEVELS[0] and math.isfinite(r.error)]
    if len(done) <= COARSE_LEVELS:
        return
    best = min(r.error for r in done)
    grown: list[tuple[ShippedRun, ShippedRun]] = []
    for k, b in enumerate(done):
        above = [a for a in done[:k] if b.error > max(STALL * a.error, SINGLE)]
        for a in above:
            if len(above) > 1 or all(later.error >= a.error for later in done[k:]):
                grown.append((a, b))
    if grown:
        first, last = max(grown, key=lambda pair: pair[1].error / pair[0].error)
        what = "grows as steps are added"
    else:
        first, last = next(r for r in done if r.error <= STALL * best), done[-1]
        what = "stops falling"
        if first.steps > done[COARSE_LEVELS - 1].steps:
            return
    text = f"the error {what}: {first.error:.1e} at {first.steps} steps, {last.error:.1e} at {last.steps}"
    shown = Demonstration("stall", (first.steps, last.steps), str([f"{r.error:.1e}" for r in (first, last)]))
    yield Finding("convergence", text, f"{first.steps} and {last.steps} steps", shown)


def _steps(*numbers: int) -> str:
    """Numbers of steps with their word."""
    return ", ".join(map(str, numbers)) + (" step" if numbers == (1,) else " steps")

"""Findings: what is wrong, in one sentence, with the smallest configuration and the lines that show it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from diffnum.audits.budget import ErrorBudget
from diffnum.audits.shipped import LEVELS, ShippedRun, wasted_calls
from diffnum.audits.snippets import budget_snippet, order_snippet, run_snippet, stall_snippet, wasted_snippet
from diffnum.audits.subjects import Subject
from diffnum.convergence.diagnosis import RISING, Orders, Part, falls_short, rate_of
from diffnum.convergence.rate import RateEstimate
from diffnum.types import Problem

__all__ = ["Finding", "order_findings", "run_findings", "short"]

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
class Finding:
    """One thing that a user of a sampler should know.

    Parameters
    ----------
    part : str
        Where: "formula", "start-up", "last step", "time rounding", "float32" (several joined by " and "), "not finite",
        "failure", "repeated times", "empty steps", "wasted calls", "duplicated calls", "step count", "noise left",
        "convergence".
    text : str
        What, in a sentence.
    smallest : str
        Smallest configuration that was found to show it.
    snippet : str
        Lines that show it.
    prints : str
        What they print.
    """

    part: str
    text: str
    smallest: str
    snippet: str
    prints: str


def short(rates: Mapping[str, RateEstimate], claimed: float) -> bool:
    """Whether an order is below the claim on some grid: decided, or with rates well below it that still fall."""
    return any(falls_short(r, claimed) for r in rates.values())


def order_findings(subject: Subject, orders: Orders, problem: Problem, clocked: float | None) -> Iterator[Finding]:
    """Parts whose order is below the claim, or undecided."""
    formula = Orders.worst(orders.formula)
    reference = subject.claimed
    parts: tuple[tuple[Part, Mapping[str, RateEstimate]], ...] = (
        ("formula", orders.formula),
        ("start-up", orders.start),
        ("last step", orders.tail),
    )
    for part, rates in parts:
        worst = Orders.worst(rates)
        if worst is not None and worst >= reference:
            continue
        if part != "formula" and formula is None and worst is None:
            continue  # undecided for the same reason
        kind = next(k for k, r in rates.items() if r.order is None or r.order < reference)
        rate = rates[kind]
        text = _order_text(part, rates, worst, reference)
        if part == "formula" and clocked is not None and (worst is None or clocked > worst):
            text += f"; {clocked:g} with its own start-up where all steps are equal in sigma / alpha, as it assumes"
        yield _smallest(subject, part, kind, rate, text, problem)
        if part == "formula" and worst is not None:
            reference = min(worst, reference)


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
                steps, rate = fewer, found
                break
    where = f"{kind} grid, {steps[0]} to {steps[-1]} steps"
    return Finding(part, text, where, order_snippet(subject, part, kind, steps), rate.reason)


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
    yield from _failures(subject, runs)
    for name, word in (("repeated", "repeated times"), ("empty", "empty steps")):
        yield from _wasted_steps(subject, runs, name, word, first_bad)
    yield from _counts(subject, runs)
    lost = wasted_calls(run, FEW)
    if lost:
        text = (
            f"model calls without influence on the sample: number {', '.join(map(str, lost))} of {run(FEW).evaluations}"
        )
        yield Finding("wasted calls", text, f"{FEW} steps", wasted_snippet(subject, FEW), str(lost))
    twice = next((r for r in runs if r.duplicated and r.steps <= PLAIN), None)
    if twice is not None:
        text = f"model calls at the level and state of an earlier one: {twice.duplicated} of {twice.evaluations}"
        snippet = run_snippet(subject, twice.steps, "run.duplicated")
        yield Finding("duplicated calls", text, _steps(twice.steps), snippet, str(twice.duplicated))
    if not subject.inverse:
        yield from _noise_left(subject, runs)
    yield from _convergence(subject, runs)
    if budget is not None and (budget.culprits or budget.untried):
        part = " and ".join(budget.culprits or budget.untried)
        yield Finding(part, str(budget), f"{budget.steps} steps", budget_snippet(subject, budget.steps), str(budget))


def _failures(subject: Subject, runs: Sequence[ShippedRun]) -> Iterator[Finding]:
    failed: dict[str, list[int]] = {}
    for r in runs:
        if r.failure:
            failed.setdefault(r.failure.split(":")[0], []).append(r.steps)
    for kind, steps in failed.items():
        first = next(r for r in runs if r.steps == steps[0])
        text = f"raises {first.failure} ({_steps(*steps)})"
        if not kind:  # an exception without words
            text = f"raises an exception ({_steps(*steps)})"
        yield Finding("failure", text, _steps(steps[0]), run_snippet(subject, steps[0], "run.failure"), first.failure)
    nan = [r.steps for r in runs if not math.isfinite(r.error) and not r.failure]
    if nan:
        text = f"the sample is not finite at {_steps(*nan)}"
        yield Finding("not finite", text, _steps(nan[0]), run_snippet(subject, nan[0], "run.error"), "inf")


def _wasted_steps(
    subject: Subject, runs: Sequence[ShippedRun], name: str, word: str, first_bad: Callable[[str, int, int], int]
) -> Iterator[Finding]:
    counts = {r.steps: getattr(r, name) for r in runs}
    bad = [steps for steps, count in counts.items() if count]
    if not bad:
        return
    clean = max((steps for steps in counts if steps < bad[0]), default=0)
    first = first_bad(name, clean, bad[0])
    what = "times that occur again" if name == "repeated" else "steps of length zero"
    text = f"{what}: {counts[bad[-1]]} at {bad[-1]} steps" + (f", the first at {first}" if first < bad[-1] else "")
    yield Finding(word, text, _steps(first), run_snippet(subject, first, f"run.{name} > 0"), "True")


def _counts(subject: Subject, runs: Sequence[ShippedRun]) -> Iterator[Finding]:
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
    snippet = run_snippet(subject, small.steps, "run.evaluations")
    yield Finding("step count", text, _steps(small.steps), snippet, str(small.evaluations))


def _noise_left(subject: Subject, runs: Sequence[ShippedRun]) -> Iterator[Finding]:
    left = next((r.rho_end for r in runs if r.steps in LEVELS and math.isfinite(r.error)), 0.0)
    if left == 0:
        return
    shown = f"{left:.2g}"
    first = next(r for r in runs if f"{r.rho_end:.2g}" == shown)
    text = f"the sample is returned with noise of sigma / alpha = {shown}"
    yield Finding(
        "noise left", text, _steps(first.steps), run_snippet(subject, first.steps, 'f"{run.rho_end:.2g}"'), shown
    )


def _convergence(subject: Subject, runs: Sequence[ShippedRun]) -> Iterator[Finding]:
    """An error that stops falling long before the finest level, or grows again."""
    done = [r for r in runs if r.steps >= LEVELS[0] and math.isfinite(r.error)]
    if len(done) <= COARSE_LEVELS:
        return
    best = min(r.error for r in done)
    grows = done[-1].error > max(STALL * best, SINGLE)
    first = next(r for r in done if r.error <= (1.0 if grows else STALL) * best)
    if first.steps > done[COARSE_LEVELS - 1].steps and not grows:
        return
    what = "grows again" if grows else "stops falling"
    text = f"the error {what}: {first.error:.1e} at {first.steps} steps, {done[-1].error:.1e} at {done[-1].steps}"
    pair = (first.steps, done[-1].steps)
    shown = str([f"{r.error:.1e}" for r in (first, done[-1])])
    yield Finding("convergence", text, f"{pair[0]} and {pair[1]} steps", stall_snippet(subject, pair), shown)


def _steps(*numbers: int) -> str:
    """Numbers of steps with their word."""
    return ", ".join(map(str, numbers)) + (" step" if numbers == (1,) else " steps")

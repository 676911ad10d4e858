"""Where a sampler loses its order: formula, start-up, last step, rounded times, float32; taken out one at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from diffnum.audits.budget import ErrorBudget, error_budget
from diffnum.audits.findings import Finding, order_findings, run_findings, short
from diffnum.audits.shipped import LEVELS, ShippedRun, shipped_run
from diffnum.audits.subjects import Subject
from diffnum.convergence.counts import FEWEST, Odd, odd_counts
from diffnum.convergence.diagnosis import LONGER, Orders, Part, falls_short, measure_orders
from diffnum.convergence.measure import errors_of_run
from diffnum.convergence.nodes import GENTLE, INTERVAL, Spacing
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.study import convergence_study
from diffnum.foreign.drift import ReverseDrift
from diffnum.foreign.families import family_of
from diffnum.problems import three_peaks
from diffnum.schedules import VPLinear
from diffnum.types import Array, FloatArray, Problem, Sampler

__all__ = ["Row", "examine", "in_sigma", "runner"]

EDGES = (1, 2, 3, 4, 5, 7, 30, 600, 1000)
"""Step counts that samplers forget: very few, odd ones, and many, which do or do not divide 1000."""

OWN_INTERVAL = (-1.0, 1.0)
"""Half-log-SNR of the runs on equal steps in sigma / alpha, which are coarse at the data end."""


@dataclass(frozen=True)
class Row:
    """One sampler in one configuration: what is claimed, what was measured, and where the rest is lost.

    Parameters
    ----------
    sampler, configuration : str
        What was run.
    claimed : float
        Order that its documentation, name or source paper gives it.
    basis : str
        Which of these.
    formula_order, start_order, tail_order : float or None
        Order on graded ends; with its own start-up; with its own last step. On the worst of uniform and irregular grids
        of continuous levels, in float64; None where the data do not decide it.
    default_order : float or None
        Median rate at which the error of a default run falls from 10 to 320 steps (observed, not asymptotic).
    floor : float or None
        Smallest error of a default run that any step count reached.
    verdict : str
        "as claimed", "above claim", "below claim" (an order is, or the steps of a default run of 10 to 320 steps do
        not fit together), "fails" (such a run raises, or is not finite) or "undecided". Numbers of steps that the
        library refuses in so many words do not count.
    cause : str
        The findings in a sentence.
    findings : tuple of Finding
        Each with the smallest configuration and the lines that show it.
    evidence : mapping
        Rates, errors and swaps behind the verdict.
    """

    sampler: str
    configuration: str
    claimed: float
    basis: str
    formula_order: float | None
    start_order: float | None
    tail_order: float | None
    default_order: float | None
    floor: float | None
    verdict: str
    cause: str
    findings: tuple[Finding, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)


def in_sigma(sampler: Sampler) -> Sampler:
    """Sampler on nodes whose fractions are those of sigma / alpha instead of the half-log-SNR."""

    def run(model: Any, x: Array, nodes: FloatArray) -> Array:
        at = (nodes - nodes[0]) / (nodes[-1] - nodes[0])
        rho = np.exp(-nodes[0]) + (np.exp(-nodes[-1]) - np.exp(-nodes[0])) * at
        lam = -np.log(rho)
        lam[0], lam[-1] = nodes[0], nodes[-1]
        return sampler(model, x, lam)

    return run


def examine(subject: Subject) -> Row:
    """Make all experiments on one subject.

    Parameters
    ----------
    subject : Subject
        What to run.

    Returns
    -------
    Row
    """
    problem: Problem = ReverseDrift(three_peaks()) if subject.drift else three_peaks()
    orders, clocked, reason = None, None, ""
    try:
        orders = measure_orders(subject.sampler(problem), problem, claimed=subject.claimed)
        if subject.own_clock:
            clocked = _clocked(subject.sampler(problem), problem)
    except Exception as error:
        reason = f"it could not be run on continuous levels ({type(error).__name__}: {error})"[:300]
    default = _Default((), None)
    if subject.has_default:
        run = _once_each(runner(subject))
        default = _default_runs(subject, run)
    found, odd = [], {}
    if orders is not None:
        odd = _odd_classes(subject, orders, problem)
        found = list(order_findings(subject, orders, problem, clocked, odd))
    if subject.has_default:
        found += run_findings(subject, default.runs, default.budget, run, partial(_first_bad, subject, run))
    parts = () if orders is None else (orders.formula, orders.start, orders.tail)
    formula, start, tail = map(Orders.worst, parts) if parts else (None, None, None)
    in_classes = [o.estimate.order for o in odd.values() if o.estimate is not None and o.estimate.order is not None]
    tail = None if tail is None else min([tail, *in_classes])
    return Row(
        subject.name, subject.configuration, subject.claimed, subject.basis, formula, start, tail, default.order,
        default.floor, _verdict(subject, orders, default, odd),
        "; ".join(filter(None, [reason, *(f.text for f in found)])),
        tuple(found), {**_rates(orders), **default.evidence},
    )  # fmt: skip


def _clocked(sampler: Sampler, problem: Problem) -> float | None:
    """Order where all steps are equal in sigma / alpha; not graded: its coefficients want equal steps throughout."""
    return convergence_study(
        in_sigma(sampler), problem, grids=("uniform",), steps=LONGER, variants=("as shipped",), measures=("global",),
        interval=OWN_INTERVAL,
    ).order  # fmt: skip


def _odd_classes(subject: Subject, orders: Orders, problem: Problem) -> dict[tuple[Part, str], Odd]:
    """Classes of numbers of steps in which the last step costs more than at multiples of 12, by part and grid."""
    sampler, oracle = subject.sampler(problem), Oracle(problem, VPLinear(), INTERVAL)
    found: dict[tuple[Part, str], Odd] = {}
    for kind, rate in orders.tail.items():
        if rate.order is None or rate.steps[-1] % 12:
            continue
        reach = rate.order
        run = errors_of_run(sampler, oracle, Spacing(kind), "last step", "global", GENTLE)
        short_of = partial(falls_short, claimed=reach)
        # the usual numbers of steps, and long runs, are those of the default runs
        for odd in odd_counts(run, rate, reach, oracle.scale, short_of, first=FEWEST, usual=(), far=()):
            if odd.kind == "class":
                found["last step", kind] = odd
    return found


def _verdict(subject: Subject, orders: Orders | None, default: _Default, odd: Mapping[tuple[Part, str], Odd]) -> str:
    if subject.has_default and len(default.finite) < len(default.usual):
        return "fails"
    if orders is None:
        return "undecided"
    parts = (orders.formula, orders.start, orders.tail)
    known = [o for o in map(Orders.worst, parts) if o is not None]
    # Without a formula that converges, start-up and last step say nothing on their own.
    known += [o.estimate.order for o in odd.values() if o.estimate is not None and o.estimate.order is not None]
    falling = parts if Orders.worst(orders.formula) is not None else parts[:1]
    if any(o < subject.claimed for o in known) or any(short(r, subject.claimed) for r in falling):
        return "below claim"
    if any(r.gaps for r in default.usual):  # whatever the order of the formula, such runs do not converge
        return "below claim"
    if any(Orders.worst(p) is None for p in parts):
        return "undecided"
    return "above claim" if min(known) > subject.claimed else "as claimed"


def _rates(orders: Orders | None) -> dict[str, Any]:
    if orders is None:
        return {}
    return {
        name: {kind: {"rate": r.rate, "status": r.status, "reason": r.reason} for kind, r in rates.items()}
        for name, rates in (("formula", orders.formula), ("start-up", orders.start), ("last step", orders.tail))
    }


@dataclass(frozen=True)
class _Default:
    """Default runs of a subject, and where the error of the finest comes from."""

    runs: tuple[ShippedRun, ...]
    budget: ErrorBudget | None

    @property
    def usual(self) -> list[ShippedRun]:
        """Ordinary runs that the library takes on."""
        return [r for r in self.runs if r.steps in LEVELS and not r.refused]

    @property
    def finite(self) -> list[ShippedRun]:
        """Ordinary runs that ended."""
        return [r for r in self.runs if math.isfinite(r.error) and r.steps in LEVELS]

    @property
    def floor(self) -> float | None:
        """Smallest error reached from 10 steps on."""
        return min((r.error for r in self.runs if math.isfinite(r.error) and r.steps >= LEVELS[0]), default=None)

    @property
    def order(self) -> float | None:
        """Median pair rate."""
        pairs = pairwise(r for r in self.finite if r.error > 0)
        rates = [math.log(a.error / b.error) / math.log(b.steps / a.steps) for a, b in pairs]
        return round(float(np.median(rates)), 2) if rates else None

    @property
    def evidence(self) -> dict[str, Any]:
        """Errors, for JSON."""
        runs = {str(r.steps): (r.error if math.isfinite(r.error) else None) for r in self.runs}
        return {"default errors": runs, "swaps": {} if self.budget is None else self.budget.to_dict()}


def runner(subject: Subject, *, loud: bool = False) -> Any:
    """Default run of a subject as a function of steps and swaps.

    Parameters
    ----------
    subject : Subject
        What to run.
    loud : bool
        Whether functions draw the noise that they have.
    """
    target = subject.build()
    options = subject.options if hasattr(target, "set_timesteps") else subject.call_options(loud=loud)
    return partial(shipped_run, target, options=options, drift=subject.drift)


def _once_each(run: Callable[..., ShippedRun]) -> Callable[..., ShippedRun]:
    """The same, with every run made once: several findings rest on the same ones."""
    made: dict[Any, ShippedRun] = {}

    def again(steps: int, **swaps: Any) -> ShippedRun:
        asked = (
            steps,
            *sorted((name, value) for name, value in swaps.items() if value is not None and value is not False),
        )
        if asked not in made:
            made[asked] = run(steps, **swaps)
        return made[asked]

    return again


def _default_runs(subject: Subject, run: Callable[..., ShippedRun]) -> _Default:
    runs = tuple(run(n) for n in sorted({*EDGES, *LEVELS}))
    finest = max((r.steps for r in runs if math.isfinite(r.error) and r.steps in LEVELS), default=None)
    return _Default(runs, None if finest is None else error_budget(subject.build(), finest, run))


def _first_bad(subject: Subject, run: Callable[..., ShippedRun], name: str, low: int, high: int) -> int:
    """Smallest step count above ``low`` at which levels repeat (``repeated``) or a step is ``empty``."""
    target = subject.build()
    if not hasattr(target, "set_timesteps"):
        return high
    family = family_of(target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for steps in range(low + 1, high):
            target.set_timesteps(steps)
            rho, labels = family.read(target), np.asarray(target.timesteps)
            found = len(labels) > len(np.unique(labels)) if name == "repeated" else bool(np.any(np.diff(rho) == 0))
            if found and getattr(run(steps), name):
                return steps
    return high

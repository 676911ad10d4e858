"""Where a sampler loses its order: formula, start-up, last step, time rounding, float32; swapped one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from diffnum.audits.drift import ReverseDrift
from diffnum.audits.libraries import k_diffusion_sampling
from diffnum.audits.shipped import LEVELS, ShippedRun, shipped_function_run, shipped_run
from diffnum.audits.subjects import Subject
from diffnum.convergence.diagnosis import SLOW, Orders, measure_orders
from diffnum.convergence.rate import RateEstimate
from diffnum.convergence.study import convergence_study
from diffnum.problems import three_peaks
from diffnum.types import Array, FloatArray, Sampler

__all__ = ["Row", "examine", "in_sigma"]

LONGER = (24, 48, 96, 192, 384)
EDGES = (1, 2, 3, 4, 5, 1000)
"""Step counts that samplers forget."""

GROWTH = 0.5
"""Pair rates below minus this are errors that grow as steps are added."""

GAIN = 0.5
"""A swap explains an error if the error falls below this fraction without the ingredient."""


@dataclass(frozen=True)
class Row:
    """One sampler in one configuration: what is claimed, what was measured, and where the rest is lost.

    Parameters
    ----------
    sampler, configuration : str
        What was run.
    claimed : float
        Order that its name, documentation or source paper gives it.
    formula_order, start_order, tail_order : float or None
        Order with graded history and end; with its own start-up; with its own last step. On the worst of uniform and
        irregular grids of continuous levels, in float64; None where the data do not decide it.
    default_order : float or None
        Median rate at which the error of a default run falls from 10 to 320 steps (observed, not asymptotic).
    floor : float or None
        Smallest error of a default run that any step count reached.
    verdict : str
        "as claimed", "above claim", "below claim", "undecided" or "fails".
    cause : str
        What the experiments single out.
    snippet : str
        Five lines that reproduce the orders.
    evidence : mapping
        Rates, errors and observations behind the verdict.
    """

    sampler: str
    configuration: str
    claimed: float
    formula_order: float | None
    start_order: float | None
    tail_order: float | None
    default_order: float | None
    floor: float | None
    verdict: str
    cause: str
    snippet: str = ""
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
    problem = ReverseDrift(three_peaks()) if subject.drift else three_peaks()
    try:
        orders = measure_orders(subject.sampler(), problem)
    except Exception as error:
        reason = f"could not be run on continuous levels ({type(error).__name__}: {error})"[:300]
        return Row(
            subject.name, subject.configuration, subject.claimed, None, None, None, None, None,
            "undecided", reason, subject.snippet,
        )  # fmt: skip
    clocked = None
    if subject.own_clock:
        # not graded: equal coefficients want equal steps to the very start
        own = convergence_study(
            in_sigma(subject.sampler()), problem, grids=("uniform",), steps=LONGER, variants=("as shipped",),
            measures=("global",), interval=(-1.0, 1.0),
        )  # fmt: skip
        clocked = own.order
    return _row(subject, orders, clocked, _default_runs(subject))


@dataclass(frozen=True)
class _Default:
    """Default runs of a subject, and the swaps at the finest level."""

    runs: tuple[ShippedRun, ...]
    swaps: Mapping[str, float]

    @property
    def finite(self) -> list[ShippedRun]:
        """Runs that ended."""
        return [r for r in self.runs if math.isfinite(r.error)]

    @property
    def floor(self) -> float | None:
        """Smallest error reached from 10 steps on."""
        return min((r.error for r in self.finite if r.steps >= LEVELS[0]), default=None)

    @property
    def order(self) -> float | None:
        """Median pair rate."""
        runs = [r for r in self.finite if r.steps in LEVELS and r.error > 0]
        pairs = pairwise(runs)
        rates = [math.log(a.error / b.error) / math.log(b.steps / a.steps) for a, b in pairs]
        return round(float(np.median(rates)), 2) if rates else None


def _default_runs(subject: Subject) -> _Default:
    def run(steps: int, **swap: Any) -> ShippedRun:
        if subject.library == "diffusers":
            return shipped_run(subject.build(), steps, options=subject.options, drift=subject.drift, **swap)
        builder: Callable[[int], Any] = lambda n: k_diffusion_sampling().get_sigmas_karras(n, 0.0292, 14.6)  # noqa: E731
        options = subject.call_options()
        return shipped_function_run(subject.build(), steps, builder, options=options, drift=subject.drift, **swap)

    runs = tuple(run(n) for n in sorted({*EDGES, *LEVELS}))
    finest = max((r.steps for r in runs if math.isfinite(r.error) and r.steps in LEVELS), default=None)
    if finest is None:
        return _Default(runs, {})
    last = next(r for r in runs if r.steps == finest)
    swaps = {
        "as shipped": last.error,
        "before the last step": last.before_last,
        "float64": run(finest, double=True).error,
    }
    if subject.library == "diffusers":
        swaps["continuous times"] = run(finest, exact_times=True).error
    return _Default(runs, swaps)


def _row(subject: Subject, orders: Orders, clocked: float | None, default: _Default) -> Row:
    formula, start, tail = (Orders.worst(r) for r in (orders.formula, orders.start, orders.tail))
    causes = _order_causes(subject, orders, clocked)
    swaps = _swap_causes(default)
    observations = _observations(default)
    known = [o for o in (formula, start, tail) if o is not None]
    falling = [orders.formula] if formula is None else [orders.formula, orders.start, orders.tail]
    if any(o < subject.claimed for o in known) or any(_short(r, subject.claimed) for r in falling):
        verdict = "below claim"
    elif len(known) < 3:
        verdict = "undecided"
    else:
        verdict = "above claim" if min(known) > subject.claimed else "as claimed"
    evidence = {
        name: {kind: {"rate": r.rate, "status": r.status, "reason": r.reason} for kind, r in rates.items()}
        for name, rates in (("formula", orders.formula), ("start-up", orders.start), ("last step", orders.tail))
    }
    swapped = {name: (e if math.isfinite(e) else None) for name, e in default.swaps.items()}
    runs = {str(r.steps): (r.error if math.isfinite(r.error) else None) for r in default.runs}
    return Row(
        subject.name, subject.configuration, subject.claimed, formula, start, tail, default.order, default.floor,
        verdict, "; ".join([*causes, *swaps, *observations]), subject.snippet,
        {**evidence, "default errors": runs, "swaps": swapped, "observations": observations},
    )  # fmt: skip


def _short(rates: Mapping[str, RateEstimate], claimed: float) -> bool:
    """Whether an order is below the claim: decided, or with rates well below it that still fall."""
    below = [
        r.order < claimed
        if r.order is not None
        else r.last_rate is not None
        and GROWTH < r.last_rate < claimed - SLOW
        and r.status == "pre-asymptotic"
        and _falling(r)
        for r in rates.values()
    ]
    return any(below)


def _falling(rate: RateEstimate) -> bool:
    """Whether rates that have not settled fall from level to level."""
    kept = [float(r) for r in rate.rates if math.isfinite(r)][-3:]
    return rate.status == "pre-asymptotic" and all(b <= a for a, b in pairwise(kept))


def _order_causes(subject: Subject, orders: Orders, clocked: float | None) -> list[str]:
    causes = []
    formula = Orders.worst(orders.formula)
    kinds = {kind: r.order for kind, r in orders.formula.items()}
    if formula is None:
        reasons = "; ".join(f"{kind}: {r.reason}" for kind, r in orders.formula.items() if r.order is None)
        grows = any(float(x) < -GROWTH for r in orders.formula.values() for x in r.rates)
        lost = "; the error grows on short steps: digits are lost in its coefficients" if grows else ""
        short = "order below the claim" if _short(orders.formula, subject.claimed) else "undecided"
        causes.append(f"formula: {short} ({reasons}){lost}")
    elif formula < subject.claimed:
        text = f"formula: order {formula:g}"
        if len(set(kinds.values())) > 1:
            text = "formula: order " + ", ".join(f"{o:g} on {kind} grids" for kind, o in kinds.items())
        if clocked is not None and clocked > formula:
            text += f"; {clocked:g} with its own start-up where all steps are equal in sigma / alpha, as it assumes"
        causes.append(text)
    reference = subject.claimed if formula is None else min(formula, subject.claimed)
    for part, rates in (("start-up", orders.start), ("last step", orders.tail)):
        order = Orders.worst(rates)
        if order is not None and order < reference:
            causes.append(f"{part}: lowers the order to {order:g}")
        elif order is None and formula is not None:
            reasons = "; ".join(f"{kind}: {r.reason}" for kind, r in rates.items() if r.order is None)
            lowers = "lowers the order" if _short(rates, reference) else "undecided"
            causes.append(f"{part}: {lowers} ({reasons})")
    return causes


def _swap_causes(default: _Default) -> list[str]:
    """What limits the default run at its finest level."""
    shipped = default.swaps.get("as shipped")
    if shipped is None:
        return ["default run: no step count from 10 to 320 gives a finite sample"]
    found = []
    words = {
        "continuous times": "rounding of times",
        "float64": "float32 arithmetic",
        "before the last step": "the last step",
    }
    for swap, name in words.items():
        other = default.swaps.get(swap, math.inf)
        if other < GAIN * shipped:
            found.append(f"{name} (error {shipped:.1e} with it, {other:.1e} without)")
    return [f"default run at {LEVELS[-1]} steps: limited by {' and '.join(found)}"] if found else []


def _observations(default: _Default) -> list[str]:
    """What users should know about step counts, ends and failures."""
    notes = []
    failed: dict[str, list[int]] = {}
    for r in default.runs:
        if r.failure:
            failed.setdefault(r.failure, []).append(r.steps)
    notes += [f"{failure[:90]} at {_listed(steps)} steps" for failure, steps in failed.items()]
    nan = [r.steps for r in default.runs if not math.isfinite(r.error) and not r.failure]
    if nan:
        notes.append(f"not finite at {_listed(nan)} steps")
    for name, word in (("repeated", "repeated times"), ("empty", "steps of length zero")):
        counts = [(r.steps, getattr(r, name)) for r in default.runs if getattr(r, name)]
        if counts:
            first = f", the first at {counts[0][0]}" if len(counts) > 1 else ""
            notes.append(f"{word}: {counts[-1][1]} at {counts[-1][0]} steps{first}")
    done = [r for r in default.finite if r.steps in LEVELS]
    if done:
        extra = {r.evaluations - r.steps for r in done}
        if len(extra) == 1 and extra != {0}:
            notes.append(f"{extra.pop():+d} evaluations beyond the number of steps asked for")
        if done[-1].rho_end > 0:
            notes.append(f"the sample is left with noise of sigma / alpha = {done[-1].rho_end:.2g}")
    return notes


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps))

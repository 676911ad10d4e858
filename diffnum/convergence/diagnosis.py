"""Where a sampler loses its order: the formula, its start-up, its last step, rounded times or low precision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from typing import Any, Literal, TypeAlias, get_args

from diffnum.convergence.checks import check_sampler, name_of
from diffnum.convergence.levels import (
    ends_elsewhere,
    ignored_nodes,
    mixed_samples,
    rounded_levels,
    without_last_step,
)
from diffnum.convergence.measure import errors_of_run, measured_rate, rate_over
from diffnum.convergence.nodes import GENTLE, HIGH, INTERVAL, Spacing
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.rate import RateEstimate
from diffnum.convergence.record import Measure
from diffnum.convergence.refinement import Ladder
from diffnum.convergence.weights import low_precision, probed, weight_sentences
from diffnum.problems import three_peaks
from diffnum.schedules import EDM, VPLinear
from diffnum.types import Problem, Sampler, Schedule

__all__ = [
    "LONGER",
    "QUICK",
    "SLOW",
    "Diagnosis",
    "Orders",
    "Part",
    "contradicts",
    "diagnose",
    "falls_short",
    "gradings_for",
    "measure_orders",
    "rate_of",
]

GRIDS = ("uniform", "irregular")
QUICK = (24, 48, 96, 192)
"""Multiples of 12, so that samplers that work in groups of two or three steps see the same groups at all levels."""
LONGER = (*QUICK, 384)
LADDER = Ladder(QUICK, (384, 768), (12, 24, 36, 48, 60, 72, 96))

SLOW = 0.2
"""Rates this far below the claim that still fall are not on their way to it."""

RISING = 0.5
"""Pair rates below minus this are errors that grow as steps are added."""


@dataclass(frozen=True)
class Orders:
    """Measured rates of one sampler, by kind of grid.

    Parameters
    ----------
    formula, start, tail : mapping of str to RateEstimate
        Global errors: of the update formula, with its own start-up, with its own last step.
    """

    formula: Mapping[str, RateEstimate]
    start: Mapping[str, RateEstimate]
    tail: Mapping[str, RateEstimate]

    @staticmethod
    def worst(rates: Mapping[str, RateEstimate]) -> float | None:
        """Lowest order over grids; None if one is undecided."""
        orders = [r.order for r in rates.values()]
        return None if not orders or None in orders else min(o for o in orders if o is not None)


Part: TypeAlias = Literal["formula", "start-up", "last step"]
"""What an order is measured of: the update formula, with its own start-up, with its own last step."""


def rate_of(
    sampler: Sampler,
    part: Part = "formula",
    grid: str = "uniform",
    steps: Sequence[int] = QUICK,
    problem: Problem | None = None,
    *,
    schedule: Schedule | None = None,
    interval: tuple[float, float] | None = None,
    measure: Measure = "global",
    order: float = HIGH,
) -> RateEstimate:
    """Rate of one part of a sampler on one kind of grid.

    Parameters
    ----------
    sampler : callable
        ``sampler(model, x, nodes) -> x``.
    part : {"formula", "start-up", "last step"}
        The formula alone is measured on nodes whose first and last interval are divided geometrically, so that start-up
        and last step act on tiny steps; for the others one of the two ends is left as it is.
    grid : {"uniform", "smooth", "irregular"}
        Kind of grid in half-log-SNR.
    steps : sequence of int
        Step counts.
    problem : Problem, optional
        Three peaks on the line by default.
    schedule : Schedule, optional
        Noising process; VP-linear by default.
    interval : (float, float), optional
        Half-log-SNR of both ends; that of the study by default.
    measure : {"global", "local"}
        Error at the end, or defect of one step.
    order : float
        Order up to which the graded ends do no harm: the higher, the shorter their steps.

    Returns
    -------
    RateEstimate

    Raises
    ------
    TypeError, ValueError
        If the part is unknown, or the sampler breaks its convention.
    """
    parts: tuple[Part, ...] = get_args(Part)
    if part not in parts:
        msg = f"part={part!r} is unknown: use one of {', '.join(parts)}"
        raise ValueError(msg)
    oracle = Oracle(three_peaks() if problem is None else problem, schedule or VPLinear(), interval or INTERVAL)
    check_sampler(sampler, oracle)
    return measured_rate(sampler, oracle, grid, measure, steps, part, order)


def gradings_for(claimed: float) -> tuple[float, ...]:
    """Orders for which ends are graded, one after the other, until the data decide: short steps first."""
    return tuple(sorted({HIGH, max(claimed, GENTLE), GENTLE}, reverse=True))


def contradicts(rate: RateEstimate, claimed: float) -> bool:
    """Whether a rate excludes the order claimed: another order, growth, or rates below it that keep falling."""
    if rate.order is not None:
        return rate.order != claimed
    return rate.rejects(claimed) or falls_short(rate, claimed)


def falls_short(rate: RateEstimate, claimed: float) -> bool:
    """Whether an order is below the claim: decided, or with rates well below it that still fall."""
    if rate.order is not None:
        return rate.order < claimed
    if rate.status == "decided" and rate.rate is not None:
        return rate.rejects(claimed) and rate.rate < claimed
    kept = [float(r) for r in rate.rates if math.isfinite(r)][-3:]
    falling = rate.status == "pre-asymptotic" and all(b <= a for a, b in pairwise(kept))
    return rate.last_rate is not None and RISING < rate.last_rate < claimed - SLOW and falling


def measure_orders(
    sampler: Sampler,
    problem: Problem | None = None,
    *,
    grids: Sequence[str] = GRIDS,
    schedule: Schedule | None = None,
    interval: tuple[float, float] | None = None,
    claimed: float = GENTLE,
    residue: int = 0,
    steps: Sequence[int] | None = None,
) -> Orders:
    """Measure the order of the formula, with its own start-up, and with its own last step, each apart.

    Parameters
    ----------
    sampler : callable
        ``sampler(model, x, nodes) -> x``.
    problem : Problem, optional
        Three peaks on the line by default.
    grids : sequence of str
        Kinds of grid.
    schedule : Schedule, optional
        Noising process; VP-linear by default.
    interval : (float, float), optional
        Half-log-SNR of both ends; that of the study by default.
    claimed : float
        Order that the sampler claims: ends are graded so that they do no harm to it.
    residue : int
        All numbers of steps are this modulo 12.
    steps : sequence of int, optional
        Multiples of 12 to which the residue is added; chosen by rule by default.

    Returns
    -------
    Orders
        Levels are added, or coarser ones used, where the first do not decide; ends are graded less steeply where steep
        ones do not.
    """
    oracle = Oracle(three_peaks() if problem is None else problem, schedule or VPLinear(), interval or INTERVAL)
    gradings = gradings_for(claimed)
    # a few levels on all ends before many on any
    ladders = [
        ladder.shifted(residue) for ladder in ((Ladder(QUICK), LADDER) if steps is None else (Ladder(tuple(steps)),))
    ]

    def decided(part: Part, kind: str) -> RateEstimate:
        runs = {
            order: cache(errors_of_run(sampler, oracle, Spacing(kind), part, "global", order)) for order in gradings
        }
        tried = []
        for ladder, order in product(ladders, gradings):
            found = rate_over(runs[order], oracle, ladder)
            # On gentle ends a start-up of order 1 may hide that the order is higher than this.
            if found.order is not None and (order == gradings[0] or found.order <= GENTLE or found.order >= claimed):
                return found
            tried.append(found)
        return tried[-len(gradings)]

    return Orders(*({kind: decided(part, kind) for kind in grids} for part in get_args(Part)))


@dataclass(frozen=True)
class Diagnosis:
    """What is likely wrong with a sampler that claims an order.

    Parameters
    ----------
    name : str
        Sampler.
    claimed : float
        Order claimed.
    parts : tuple of str
        Where something is wrong: "formula", "start-up", "last step", "time rounding", "precision", "nodes", "batch",
        "last level"; the one to blame first; empty where nothing is.
    sentences : tuple of str
        What was measured there.
    orders : Orders
        The rates.
    accused : tuple of str
        Part that each sentence speaks of; "" where nothing is decided.
    """

    name: str
    claimed: float
    parts: tuple[str, ...]
    sentences: tuple[str, ...]
    orders: Orders
    accused: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found, and all orders are decided."""
        rates = (self.orders.formula, self.orders.start, self.orders.tail)
        return not self.parts and all(Orders.worst(r) is not None for r in rates)

    def __str__(self) -> str:
        """One line a finding."""
        head = f"{self.name}, claimed order {self.claimed:g}: "
        if self.parts or self.sentences:
            blamed = f"look at the {' and the '.join(self.parts)}" if self.parts else "undecided"
            return head + blamed + "\n" + "\n".join(f"  - {sentence}" for sentence in self.sentences)
        orders = (self.orders.formula, self.orders.start, self.orders.tail)
        found = [o for o in map(Orders.worst, orders) if o is not None]
        if found and min(found) > self.claimed:
            return head + f"its order is higher: {min(found):g}"
        return head + "formula, start-up and last step keep it"


def diagnose(
    sampler: Sampler,
    order: float,
    problem: Problem | None = None,
    *,
    schedule: Schedule | None = None,
    grids: Sequence[str] = GRIDS,
    interval: tuple[float, float] | None = None,
    residue: int = 0,
    steps: Sequence[int] | None = None,
) -> Diagnosis:
    """Say what is likely wrong with a sampler.

    Parameters
    ----------
    sampler : callable
        ``sampler(model, x, nodes) -> x``.
    order : float
        Order that it claims.
    problem : Problem, optional
        Three peaks on the line by default.
    schedule : Schedule, optional
        Noising process; VP-linear by default.
    grids : sequence of {"uniform", "smooth", "irregular"}
        Kinds of grid.
    interval : (float, float), optional
        Half-log-SNR of both ends; that of the study by default.
    residue : int
        All numbers of steps are this modulo 12.
    steps : sequence of int, optional
        Multiples of 12 to which the residue is added; chosen by rule by default.

    Returns
    -------
    Diagnosis

    Raises
    ------
    TypeError, ValueError
        If the sampler breaks the convention; see :func:`diffnum.convergence.checks.check_sampler`.
    """
    exact, noising = three_peaks() if problem is None else problem, VPLinear() if schedule is None else schedule
    oracle = Oracle(exact, noising, interval or INTERVAL, 4, 0)
    check_sampler(sampler, oracle)
    where: dict[str, Any] = {"schedule": noising, "interval": interval}
    orders = measure_orders(sampler, exact, grids=grids, claimed=order, residue=residue, steps=steps, **where)
    numbers, reason = probed(sampler, noising)
    ignored = "" if tuple(grids) == ("uniform",) else ignored_nodes(sampler, oracle)
    masking = (
        ("batch", mixed_samples(sampler, oracle)),
        ("nodes", ignored),
        ("time rounding", "" if ignored else rounded_levels(sampler, exact, noising)),
        ("precision", low_precision(numbers, order)),
    )
    found = [(part, sentence) for part, sentence in masking if sentence]
    if not found and (elsewhere := ends_elsewhere(sampler, oracle)):
        found = [("last level", elsewhere)]
    if not found:  # an error that does not fall for these reasons says nothing on the formula
        found = _order_findings(orders, order)
        if any(part == "formula" for part, _ in found):
            stalls = all(rate.order == 0 for rate in orders.formula.values())
            only = _for_alpha_one(sampler, order, exact, noising) if stalls else ""
            if only:
                found = [("formula", only), *found]
            else:
                inner = measure_orders(
                    without_last_step(sampler), exact, grids=grids, claimed=order, steps=steps, **where
                ).formula
                if all(rate.order is not None and rate.order >= order for rate in inner.values()):
                    kept = [f for f in found if f[0] == "last step"]
                    found = [("last step", f"without its last step the order is {Orders.worst(inner):g}"), *kept]
        if any(part for part, _ in found):
            found += [
                (found[0][0], sentence) for sentence in ([reason] if reason else weight_sentences(numbers, order))
            ]
    parts = tuple(dict.fromkeys(part for part, _ in found if part))
    return Diagnosis(name_of(sampler), order, parts, tuple(s for _, s in found), orders, tuple(p for p, _ in found))


def _for_alpha_one(sampler: Sampler, order: float, problem: Problem, schedule: Schedule) -> str:
    """Whether the sampler keeps its order in the variance-exploding picture, and was given another one."""
    if float(schedule.alpha(schedule.time(0.0))) == 1.0:
        return ""
    try:
        orders = measure_orders(sampler, problem, grids=("uniform",), schedule=EDM(), claimed=order)
    except Exception:  # it fails there too, in its own way
        return ""
    found = Orders.worst(orders.start)
    if found is None or found < order:
        return ""
    return (
        f"it has order {found:g} where alpha = 1, and does not converge on {schedule.name!r}, whose states are "
        "alpha x_0 + sigma eps: heed alpha or, for states x_0 + sigma eps, pass schedule=EDM() (--schedule edm)"
    )


def _order_findings(orders: Orders, claimed: float) -> list[tuple[str, str]]:
    """Parts whose order is below the claim, grid by grid, the formula first; then what is undecided."""
    found, open_ = [], []
    for kind, rate in orders.formula.items():
        if falls_short(rate, claimed) or rate.status == "diverging":
            found.append(("formula", f"update formula, {kind} grids: {rate.reason}"))
        elif rate.order is None:
            open_.append(("", f"update formula, {kind} grids, undecided: {rate.reason}"))
    for part, rates in (("start-up", orders.start), ("last step", orders.tail)):
        for kind, rate in rates.items():
            formula = orders.formula[kind].order
            reference = claimed if formula is None else min(formula, claimed)
            if rate.order is not None and rate.order < reference:
                found.append((part, f"{part}, {kind} grids: lowers the order to {rate.order:g} ({rate.reason})"))
            elif falls_short(rate, reference):
                found.append((part, f"{part}, {kind} grids: lowers the order below {reference:g} ({rate.reason})"))
            elif rate.order is None and formula is not None:
                open_.append(("", f"{part}, {kind} grids, undecided: {rate.reason}"))
    return [*found, *open_]

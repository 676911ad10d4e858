"""Where a sampler loses its order: the formula, its start-up, its last step, rounded times or low precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from diffnum.coefficients.catalogue import methods
from diffnum.convergence.bench import SAME_NODE
from diffnum.convergence.checks import check_sampler
from diffnum.convergence.measure import measured_rate
from diffnum.convergence.nodes import INTERVAL, graded
from diffnum.convergence.oracle import AskedByNoiseLevel, Oracle
from diffnum.convergence.probe import Comparison, Difference, Probe, probe
from diffnum.convergence.rate import RateEstimate
from diffnum.convergence.record import Measure, Variant
from diffnum.problems import three_peaks
from diffnum.schedules import EDM, VPLinear
from diffnum.types import Array, Denoiser, FloatArray, Prediction, Problem, Sampler, Schedule

__all__ = ["LONGER", "QUICK", "SLOW", "Diagnosis", "Orders", "Part", "diagnose", "measure_orders", "rate_of"]

GRIDS = ("uniform", "irregular")
QUICK = (24, 48, 96, 192)
"""Multiples of 12, so that samplers that work in groups of two or three steps see the same groups at all levels."""
LONGER = (24, 48, 96, 192, 384)
LONGEST = (24, 48, 96, 192, 384, 768, 1536)
COARSE = (12, 24, 36, 48, 60, 72, 96)

SINGLE = 1e-5
"""Weights that differ from a catalogue method by less than this, but by more than rounding, are single precision."""

SLOW = 0.2
"""Rates this far below the claim that still fall are not on their way to it."""

ENDING = 6
"""First of the last steps of a probe, which makes eight."""

CLOSE = 0.1
"""Weights further than this from every method of the catalogue are of another method."""


def _graded_start(sampler: Sampler) -> Sampler:
    """Sampler whose first step is divided geometrically, so that its start-up does no harm."""

    def run(model: Any, x: Array, nodes: FloatArray) -> Array:
        return sampler(model, x, graded(nodes, first=True, last=False))

    return run


@dataclass(frozen=True)
class Orders:
    """Measured rates of one sampler, by kind of grid.

    Parameters
    ----------
    formula, start, tail : mapping of str to RateEstimate
        Global errors: of the update formula, with its own start-up, with its own last step.
    local : mapping of str to RateEstimate
        One-step defects of the formula; empty where they were not asked for.
    """

    formula: Mapping[str, RateEstimate]
    start: Mapping[str, RateEstimate]
    tail: Mapping[str, RateEstimate]
    local: Mapping[str, RateEstimate]

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

    Returns
    -------
    RateEstimate
    """
    variants: dict[Part, Variant] = {"formula": "formula", "start-up": "start-up", "last step": "as shipped"}
    if part not in variants:
        raise ValueError(f"part={part!r} is unknown: use one of {', '.join(variants)}")
    run = _graded_start(sampler) if part == "last step" else sampler
    oracle = Oracle(three_peaks() if problem is None else problem, schedule or VPLinear(), interval or INTERVAL)
    check_sampler(run, oracle)
    return measured_rate(run, oracle, grid, measure, steps, variants[part])


def measure_orders(
    sampler: Sampler,
    problem: Problem | None = None,
    *,
    grids: Sequence[str] = GRIDS,
    schedule: Schedule | None = None,
    local: bool = False,
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
    local : bool
        Measure one-step defects too.

    Returns
    -------
    Orders
        Levels are added, or coarser ones used, where the first do not decide.
    """

    def decided(part: Part, kind: str, measure: Measure = "global") -> RateEstimate:
        def attempt(steps: Sequence[int]) -> RateEstimate:
            return rate_of(sampler, part, kind, steps, problem, schedule=schedule, measure=measure)

        found = attempt(QUICK)
        if found.order is None and (found.status == "floor" or "floor" in found.notes):
            coarse = attempt(COARSE)
            return coarse if coarse.order is not None else found
        for levels in (LONGER, LONGEST):
            if found.order is None and found.status != "diverging":
                found = attempt(levels)
        return found

    return Orders(
        {kind: decided("formula", kind) for kind in grids},
        {kind: decided("start-up", kind) for kind in grids},
        {kind: decided("last step", kind) for kind in grids},
        {kind: decided("formula", kind, "local") for kind in grids} if local else {},
    )


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
        Where something is wrong: "formula", "start-up", "last step", "time rounding", "precision"; empty where nothing
        is.
    sentences : tuple of str
        What was measured there.
    orders : Orders
        The rates.
    """

    name: str
    claimed: float
    parts: tuple[str, ...]
    sentences: tuple[str, ...]
    orders: Orders

    @property
    def ok(self) -> bool:
        """Whether nothing was found, and all orders are decided."""
        rates = (self.orders.formula, self.orders.start, self.orders.tail)
        return not self.parts and all(Orders.worst(r) is not None for r in rates)

    def __str__(self) -> str:
        """One line a finding."""
        head = f"{self.name}, claimed order {self.claimed:g}: "
        if not self.sentences:
            orders = (self.orders.formula, self.orders.start, self.orders.tail)
            found = [o for o in map(Orders.worst, orders) if o is not None]
            above = bool(found) and min(found) > self.claimed
            return head + (
                f"nothing is wrong, its order is higher: {min(found):g}" if above else "nothing wrong was found"
            )
        return (
            head
            + f"look at the {' and the '.join(self.parts) or 'rates'}\n"
            + "\n".join(f"  - {sentence}" for sentence in self.sentences)
        )


def diagnose(
    sampler: Sampler, order: float, problem: Problem | None = None, *, schedule: Schedule | None = None
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

    Returns
    -------
    Diagnosis

    Raises
    ------
    TypeError, ValueError
        If the sampler breaks the convention; see :func:`diffnum.convergence.checks.check_sampler`.
    """
    exact, noising = three_peaks() if problem is None else problem, VPLinear() if schedule is None else schedule
    check_sampler(sampler, Oracle(exact, noising, INTERVAL, 4, 0))
    orders = measure_orders(sampler, exact, schedule=noising, local=True)
    name = getattr(sampler, "__name__", type(sampler).__name__)
    found: list[tuple[str, str]] = []
    rounding = _rounded_levels(sampler, exact, noising)
    if rounding:
        found.append(("time rounding", rounding))
    numbers, reason = _probed(sampler, noising)
    precision = _low_precision(numbers, order)
    if precision:
        found.append(("precision", precision))
    if not found:  # an error that does not fall for these reasons says nothing on the formula
        found += _order_findings(orders, order)
        if any(part == "formula" for part, _ in found):
            stalls = all(rate.order == 0 for rate in orders.formula.values())
            elsewhere = _for_alpha_one(sampler, order, exact, noising) if stalls else ""
            inner = {} if elsewhere else measure_orders(without_last_step(sampler), exact, schedule=noising).formula
            if elsewhere:
                found = [("formula", elsewhere), *found]
            elif all(rate.order is not None and rate.order >= order for rate in inner.values()):
                found = [("last step", f"without its last step the order is {Orders.worst(inner):g}"), *found]
        if found:
            found += [(found[0][0], sentence) for sentence in ([reason] if reason else _weights(numbers, order))]
    parts = tuple(dict.fromkeys(part for part, _ in found if part))
    return Diagnosis(name, order, parts, tuple(sentence for _, sentence in found), orders)


def _for_alpha_one(sampler: Sampler, order: float, problem: Problem, schedule: Schedule) -> str:
    """Whether the sampler keeps its order in the variance-exploding picture, and was given another one."""
    if float(schedule.alpha(schedule.time(0.0))) == 1.0:
        return ""
    try:
        orders = measure_orders(sampler, problem, grids=("uniform",), schedule=EDM())
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
    """Parts whose order is below the claim, the formula first."""
    found = []
    formula = Orders.worst(orders.formula)
    for kind, rate in orders.formula.items():
        if rate.order is None or rate.order < claimed:
            slow = rate.order is not None or (rate.last_rate is not None and rate.last_rate < claimed - SLOW)
            found.append(("formula" if slow else "", f"update formula, {kind} grids: {rate.reason}"))
    reference = claimed if formula is None else min(formula, claimed)
    for part, rates in (("start-up", orders.start), ("last step", orders.tail)):
        for kind, rate in rates.items():
            if rate.order is not None and rate.order < reference:
                found.append((part, f"{part}, {kind} grids: lowers the order to {rate.order:g} ({rate.reason})"))
    for kind, rate in orders.local.items():
        # A single step is all start-up and last step: it accuses the formula only where those are innocent.
        if not found and rate.status == "decided" and rate.rate is not None and rate.rate < claimed + 0.8:
            falls = f"falls like h^{rate.rate:.2f}, not h^{claimed + 1:g}"
            found.append(("formula", f"one-step defect, {kind} grids: {falls}"))
    return found


def without_last_step(sampler: Sampler) -> Sampler:
    """Sampler that returns the state it shows its model at the last node, whatever its last step does.

    It is run on one more node; what comes back is the state of the last evaluation at the node before.
    """

    def run(model: Any, x: Array, nodes: FloatArray) -> Array:
        watched = _Levels(model, keep=float(nodes[-1]))
        result = sampler(watched, x, np.append(nodes, 2.0 * nodes[-1] - nodes[-2]))
        return np.asarray(result) if watched.kept is None else watched.kept

    return run


class _Levels(AskedByNoiseLevel):
    """Model that notes the levels at which it is asked, and the last state it is shown at one of them."""

    def __init__(self, oracle: Any, keep: float = np.nan) -> None:
        self.schedule, self.interval = oracle.schedule, oracle.interval
        self.seen: list[float] = []
        self.kept: FloatArray | None = None
        self._oracle, self._keep = oracle, keep

    def time(self, lam: Any) -> float:
        """Time of a half-log-SNR."""
        return float(self.schedule.time(float(lam)))

    def predict(self, x: Array, lam: float, prediction: Prediction) -> FloatArray:
        """Note the level; give the exact prediction."""
        self.seen.append(float(lam))
        if abs(lam - self._keep) < SAME_NODE:
            self.kept = np.array(x, dtype=np.float64)
        answer: FloatArray = self._oracle.predict(x, lam, prediction)
        return answer

    def denoiser(self, prediction: Prediction) -> Denoiser:
        """The same as a function of time."""
        return _TimedLevels(self, prediction)


class _TimedLevels:
    """Noting model as a function of time."""

    def __init__(self, levels: _Levels, prediction: Prediction) -> None:
        self.schedule, self.prediction, self._levels = levels.schedule, prediction, levels

    def __call__(self, x: Array, t: Any) -> FloatArray:
        """Predict."""
        return self._levels.predict(x, float(self.schedule.half_log_snr(t)), self.prediction)


def _rounded_levels(sampler: Sampler, problem: Problem, schedule: Schedule) -> str:
    """Whether nodes 1e-5 apart are one level to the sampler."""
    count = 24
    nodes = np.sort(np.concatenate([np.linspace(-0.5, 0.5, count), np.linspace(-0.5, 0.5, count)[:-1] + 1e-5]))
    oracle = Oracle(problem, schedule, (-0.5, 0.5), 2, 0)
    model = _Levels(oracle)
    sampler(model, oracle.state(-0.5), nodes)
    seen = len(np.unique(np.round(model.seen, 9)))
    if seen >= min(len(model.seen), len(nodes) - 1) - 1:
        return ""
    return (
        f"the model is evaluated at {seen} different levels only on {len(nodes) - 1} nodes that all differ: "
        "times or levels are rounded; pass them as continuous numbers"
    )


def _probed(sampler: Sampler, schedule: Schedule) -> tuple[Probe | None, str]:
    """Weights that the sampler uses, or why they cannot be read."""
    try:
        return probe(sampler, schedule=schedule), ""
    except Exception as error:
        return None, f"its weights could not be read off ({error})"


def _low_precision(numbers: Probe | None, claimed: float) -> str:
    """Whether arithmetic or coefficients are of single precision."""
    if numbers is None:
        return ""
    if 1e-11 < numbers.residual < 1e-4:
        return f"arithmetic is exact to {numbers.residual:.0e} only: compute in the dtype of x, here float64"
    nearest = _nearest(numbers, claimed)
    if nearest is not None and 1e-10 < _off(nearest) < SINGLE:
        return (
            f"its weights are those of {nearest.reference} to {_off(nearest):.0e} only: coefficients in single "
            "precision; compute them in float64"
        )
    return ""


def _weights(numbers: Probe | None, claimed: float) -> list[str]:
    """What the weights say: which method they are of, and the first that is off from one of the claimed order."""
    same, right = _nearest(numbers, claimed, true=False), _nearest(numbers, claimed)
    found = []
    if same is not None and not _inner(same) and methods()[same.reference].order < claimed:
        ends = "" if same.ok else ", but for the last steps"
        found.append(f"its weights are those of {same.reference}, of order {methods()[same.reference].order}{ends}")
    if right is not None and not right.ok:
        found.append(f"weights read off it: {right}")
    return found


def _nearest(numbers: Probe | None, claimed: float, *, true: bool = True) -> Comparison | None:
    """Method of the catalogue, truly of the claimed order or only claiming it, whose weights are nearest."""
    if numbers is None:
        return None
    best: Comparison | None = None
    for record in methods().values():
        if claimed not in ((record.order, *record.orders.values()) if true else (record.claimed_order,)):
            continue
        try:
            found = numbers.compare(record)
        except Exception:
            continue
        if not found.reason and _off(found) < (CLOSE if best is None else _off(best)):
            best = found
    return best


def _inner(found: Comparison) -> list[Difference]:
    """Differences before the last steps, where libraries lower the order on purpose."""
    return [d for d in found.differences if d.step < ENDING]


def _off(found: Comparison) -> float:
    """Largest difference before the last steps; of all steps where those are the same."""
    return max((d.size for d in _inner(found)), default=0.0 if found.differences else found.worst)

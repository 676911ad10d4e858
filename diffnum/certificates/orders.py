"""Measured orders of a method: on every schedule, kind of grid and problem, and what its ends cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from diffnum.certificates.records import Measurement
from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.convergence.record import ConvergenceStudy, Series, Variant
from diffnum.convergence.study import convergence_study
from diffnum.problems import rotated_product, three_peaks
from diffnum.schedules import EDM, FlowMatching, MeanReverting, SubVP, VPCosine, VPLinear
from diffnum.types import Problem, Schedule

__all__ = [
    "END_STEPS",
    "END_VARIANTS",
    "PROBLEMS",
    "SCHEDULES",
    "contradictions",
    "formula_and_shipped",
    "measure_ends",
    "measure_orders",
]

SCHEDULES: Final[Mapping[str, Schedule]] = MappingProxyType(
    {s.name: s for s in (VPLinear(), VPCosine(), SubVP(), EDM(), FlowMatching(), MeanReverting(mean=0.4))}
)
"""Noising processes on which orders are measured."""

PROBLEMS: Final[Mapping[str, Problem]] = MappingProxyType(
    {"three peaks": three_peaks(), "rotated product": rotated_product(dim=4, seed=1)}
)
"""Problems with exact flows."""

END_STEPS = (40, 80, 160, 320, 640)
"""Step counts of whole runs; starts of low order show late."""

END_VARIANTS: tuple[Variant, ...] = ("start-up", "last step", "as shipped", "lowered end")

LOCAL_TOLERANCE = 0.2
"""Distance from the expected rate that is accepted of one-step defects."""


def measure_orders(
    record: Method, schedule: str, seed: int, steps: Sequence[int] | None = None
) -> tuple[Measurement, ...]:
    """Global and local rates of the update formula on one schedule, all kinds of grid, both problems."""
    study = convergence_study(
        record, PROBLEMS, schedule=SCHEDULES[schedule], steps=steps, variants=("formula",), seed=seed
    )
    return _measured(study.series, schedule, {kind: record.order_on(kind) for kind in GRID_KINDS})


def measure_ends(record: Method, seed: int) -> tuple[Measurement, ...]:
    """Rates of whole runs on VP-linear: with own start, own end, both, and with the order lowered at the end."""
    product = {"rotated product": PROBLEMS["rotated product"]}
    study = convergence_study(record, product, variants=END_VARIANTS, measures=("global",), steps=END_STEPS, seed=seed)
    least = {kind: min(record.order_with_startup, record.order_on(kind)) for kind in GRID_KINDS}
    return _measured(study.series, "vp-linear", {}, least)


def formula_and_shipped(name: str, seed: int, *, quick: bool = False) -> ConvergenceStudy:
    """Order of the formula by the study's own rules, and of the run as shipped at :data:`END_STEPS`.

    Low-order starts show late, and step counts that decide every run as shipped would cost more than all else.

    Parameters
    ----------
    name : str
        Method.
    seed : int
        Seed of the starting points.
    quick : bool
        Measure on the three peaks only: the other problem is too kind to show the defect of some weights.
    """
    peaks, product = ({label: PROBLEMS[label]} for label in ("three peaks", "rotated product"))
    formula = convergence_study(name, peaks if quick else PROBLEMS, variants=("formula",), seed=seed)
    whole = peaks if quick else product
    shipped = convergence_study(name, whole, variants=("as shipped",), measures=("global",), steps=END_STEPS, seed=seed)
    return replace(formula, series=(*formula.series, *shipped.series))


def contradictions(record: Method, series: Sequence[Series]) -> Iterator[str]:
    """Decided rates that exclude the recorded order; a higher one on a kinder problem does not, if another shows it."""
    for kind in GRID_KINDS:
        order = record.order_on(kind)
        here = [s for s in series if s.grid == kind]
        shown = any(s.estimate.supports(order) for s in here)
        for s in here:
            above = s.estimate.rate is not None and s.estimate.rate > order
            if s.estimate.rejects(order) and not (shown and above):
                yield f"{record.name}: {s.problem} on {kind} grids, {s.estimate.reason}; recorded {order}"


def _measured(
    series: Sequence[Series], schedule: str, expected: Mapping[str, int], least: Mapping[str, int] | None = None
) -> tuple[Measurement, ...]:
    """Measurements of a study; ``least`` is the order that a run as shipped keeps at least."""
    found = []
    for s in series:
        rate = expected.get(s.grid)
        target = None if rate is None else float(rate + (s.measure == "local"))
        finding = "observed" if s.estimate.status == "decided" else "undecided"
        if target is not None:
            finding = _finding(s, target)
        elif least is not None and s.variant == "as shipped":
            target = float(least[s.grid])
            finding = "below" if _finding(s, target) == "below" else finding
        e = s.estimate
        found.append(
            Measurement(
                schedule,
                s.grid,
                s.problem,
                s.variant,
                s.measure,
                target,
                e.rate if e.rate is not None else e.last_rate,
                finding,
                e.reason,
                tuple(e.steps.tolist()),
                tuple(e.errors.tolist()),
            )
        )
    return tuple(found)


def _finding(series: Series, expected: float) -> str:
    """What the rate says of the record."""
    e = series.estimate
    tolerance = LOCAL_TOLERANCE if series.measure == "local" else 0.1
    if e.supports(expected, tolerance):
        return "as recorded"
    if e.status == "diverging":
        return "below"
    if e.rejects(expected, tolerance) and e.rate is not None:
        return "above" if e.rate > expected else "below"
    return "undecided"

"""Measured orders of a method: on every schedule, kind of grid and problem, and what its ends cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from diffnum.certificates.records import Measurement
from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.convergence.record import Series, Variant
from diffnum.convergence.study import convergence_study
from diffnum.problems import rotated_product, three_peaks
from diffnum.schedules import EDM, FlowMatching, MeanReverting, SubVP, VPCosine, VPLinear
from diffnum.types import Problem, Schedule

__all__ = ["END_STEPS", "END_VARIANTS", "PROBLEMS", "SCHEDULES", "measure_ends", "measure_orders"]

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

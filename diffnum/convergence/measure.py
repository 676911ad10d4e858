"""Measuring: errors of one sampler on one kind of grid, at as many levels as decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Start
from diffnum.convergence.nodes import MIDDLE, Spacing, graded
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.rate import RateEstimate, estimate_rate
from diffnum.convergence.record import Measure, Variant
from diffnum.grids import from_half_log_snr
from diffnum.plans import plan
from diffnum.problems import rotated_product, three_peaks
from diffnum.solver import solve
from diffnum.types import FloatArray, Problem, Sampler

__all__ = ["COARSER", "DEFAULT_STEPS", "FINER", "OWN_END", "OWN_START", "Run", "measured_rate"]


OWN_START = ("start-up", "as shipped")
OWN_END = ("last step", "as shipped", "lowered end")
"""Variants in which the beginning, or the end, of a run is the method's own."""

DEFAULT_STEPS = (20, 40, 80, 160, 320)
FINER = (640, 1280, 2560, 5120)
"""Levels added where the default ones have not settled."""
COARSER = (8, 12, 16, 20, 24, 32, 40, 48, 64, 80)
"""Levels used instead where the default ones drown in rounding."""


def measured_rate(
    record: Method | Sampler,
    oracle: Oracle,
    grid: str,
    measure: Measure = "global",
    steps: Sequence[int] | None = None,
    variant: Variant = "formula",
) -> RateEstimate:
    """One rate of a method or sampler on trajectories that many measurements share.

    Parameters
    ----------
    record : Method or callable
        What to run.
    oracle : Oracle
        Exact model and trajectories.
    grid, measure, variant : str
        As in :func:`convergence_study`.
    steps : sequence of int, optional
        Step counts; chosen by rule by default.
    """
    return rate_over(errors_of_run(record, oracle, Spacing(grid), variant, measure), oracle, steps)


def problems_by_label(problem: Problem | Mapping[str, Problem] | None) -> Mapping[str, Problem]:
    """Problems by label."""
    if problem is None:
        return {"three peaks": three_peaks(), "rotated product": rotated_product(dim=4, seed=1)}
    return problem if isinstance(problem, Mapping) else {type(problem).__name__: problem}


Run: TypeAlias = Callable[[int], FloatArray]
"""Errors, shape (points,), of a run with so many steps."""


def rate_over(run: Run, oracle: Oracle, steps: Sequence[int] | None) -> RateEstimate:
    """Rate over the given levels; by default levels are added or replaced until the data decide."""
    errors: dict[int, FloatArray] = {}

    def estimate(levels: Sequence[int]) -> RateEstimate:
        for n in levels:
            if n not in errors:
                errors[n] = run(n)
        return estimate_rate(levels, np.stack([errors[n] for n in levels]), scale=oracle.scale)

    if steps is not None:
        return estimate(tuple(steps))
    found = estimate(DEFAULT_STEPS)
    if found.status == "floor" or (found.order is None and found.status != "diverging" and _near_floor(found)):
        for levels in (tuple(sorted({*COARSER, *DEFAULT_STEPS})), COARSER):
            coarse = estimate(levels)
            if coarse.status == "decided":
                return coarse
        return found
    for more in FINER:
        if found.status in ("decided", "exact", "floor") and found.order is not None:
            break
        found = estimate((*found.steps.tolist(), more))
    return found


def _near_floor(found: RateEstimate) -> bool:
    """Whether rounding took levels away."""
    return "floor" in found.notes


def errors_of_run(
    record: Method | Sampler, oracle: Oracle, spacing: Spacing, variant: Variant, measure: Measure
) -> Run:
    """Errors of one sampler on one kind of grid as a function of the number of steps."""
    if isinstance(record, Method):
        return (
            _local_run(record, oracle, spacing) if measure == "local" else _global_run(record, oracle, spacing, variant)
        )
    return _black_box_run(record, oracle, spacing, variant, measure)


def _clock_nodes(record: Method, oracle: Oracle, lam: tuple[float, float], at: FloatArray) -> FloatArray:
    """Half-log-SNRs at the fractions ``at`` of the way between two of them, measured in the method's clock."""
    ends = oracle.nodes(np.array(lam))
    lam_at: FloatArray = record.form.inner(oracle.schedule, ends[:1], ends[1:], np.asarray(at)).lam
    return lam_at


def _global_run(record: Method, oracle: Oracle, spacing: Spacing, variant: Variant) -> Run:
    """Catalogue method over the whole interval."""

    def run(n: int) -> FloatArray:
        lam = _clock_nodes(record, oracle, oracle.interval, spacing(n))
        lam[0], lam[-1] = oracle.interval
        return oracle.error(_run_plan(record, oracle, lam, variant), lam[-1])

    return run


def _local_run(record: Method, oracle: Oracle, spacing: Spacing) -> Run:
    """One step from exact data in the middle of the interval."""
    depth, span = record.exact_steps, record.top if record.singlestep else 1

    def run(n: int) -> FloatArray:
        at = spacing(max(n, 2 * (depth + span)))
        position = len(at) // 2
        position -= position % len(spacing.pattern)  # the same place of the pattern at all levels
        at = at[position - depth : position + span + 1] * (len(at) - 1) / n
        lam = _clock_nodes(record, oracle, oracle.interval, MIDDLE + at - at[depth])
        return oracle.error(_run_plan(record, oracle, lam, "formula"), lam[-1])

    return run


def _run_plan(record: Method, oracle: Oracle, lam: FloatArray, variant: Variant) -> FloatArray:
    """Run a plan on nodes from exact data, with the help that a variant gives at the ends."""
    start: Start | None = None if variant in OWN_START or not record.depth else "exact"
    terminal = "lower_order" if variant == "lowered end" else "stop"
    grid = from_half_log_snr(oracle.schedule, lam, terminal=terminal)
    numbers = plan(record, oracle.schedule, grid, start=start, continues=variant not in OWN_END)
    first = int(np.flatnonzero(grid.t == numbers.steps[0].t_from)[0])
    history = {}
    for name in numbers.history:
        node = float(lam[first - int(name[1:])])
        history[name] = oracle.predict(oracle.state(node), node, numbers.prediction)
    x: FloatArray = solve(
        numbers, oracle.denoiser(numbers.prediction), oracle.state(float(lam[first])), history=history
    )
    return x


def _black_box_run(sampler: Sampler, oracle: Oracle, spacing: Spacing, variant: Variant, measure: Measure) -> Run:
    """A callable on nodes in half-log-SNR, graded at the ends as the variant says."""
    if variant == "lowered end":
        raise ValueError("variants has 'lowered end': a callable has its own end, ask for 'last step'")
    lam_start, lam_end = oracle.interval

    def run(n: int) -> FloatArray:
        nodes = lam_start + (lam_end - lam_start) * spacing(n)
        nodes[-1] = lam_end
        if measure == "local":
            position = n // 2 - n // 2 % len(spacing.pattern)
            nodes = nodes[position : position + 2] + (MIDDLE * (lam_start + lam_end) - nodes[position])
        nodes = graded(nodes, first=variant not in OWN_START, last=variant not in OWN_END)
        x = oracle.state(float(nodes[0]))
        result = sampler(oracle, x.copy(), nodes)
        if np.shape(result) != x.shape:
            raise ValueError(
                f"sampler returned shape {np.shape(result)}: it must return an array of the shape of x, {x.shape}"
            )
        return oracle.error(np.asarray(result, dtype=np.float64), float(nodes[-1]))

    return run

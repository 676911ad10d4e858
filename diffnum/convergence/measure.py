"""Measuring: errors of one sampler on one kind of grid, at as many levels as decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Start
from diffnum.convergence.checks import called
from diffnum.convergence.nodes import HIGH, MIDDLE, Spacing, graded
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.rate import RateEstimate, estimate_rate
from diffnum.convergence.record import Measure, Variant
from diffnum.convergence.refinement import Ladder, Run, refined
from diffnum.grids import from_half_log_snr
from diffnum.plans import plan
from diffnum.problems import rotated_product, three_peaks
from diffnum.solver import solve
from diffnum.types import FloatArray, Problem, Sampler

__all__ = [
    "CATALOGUE",
    "OWN",
    "OWN_END",
    "OWN_START",
    "decided_rate",
    "measured_rate",
    "rate_over",
]


OWN_START = ("start-up", "as shipped")
OWN_END = ("last step", "as shipped", "lowered end")
"""Variants in which the beginning, or the end, of a run is the method's own."""

CATALOGUE = Ladder(
    (20, 40, 80, 160, 320),
    (640, 1280, 2560, 5120),
    (8, 12, 16, 20, 24, 32, 40, 48, 64, 80),
    past_divergence=True,
)
"""Levels for methods of the catalogue."""

OWN = Ladder((24, 48, 96, 192, 384), (768, 1536), (12, 24, 36, 48, 60, 72, 96), past_divergence=True)
"""Levels for samplers that are not ours. All are multiples of 12, so that samplers which work in groups of two, three
or four steps see the same groups at all of them; the other classes are visited apart."""

SHORT = (24, 36, 48, 72, 96, 144, 192, 288)
"""Levels on the middle half of the interval, where high orders settle before they drown."""

QUIET = 4.0
"""Rounding floor there, in eps sqrt(n) times the size of the states: few operations, each on numbers of order 1."""


def measured_rate(
    record: Method | Sampler,
    oracle: Oracle,
    grid: str,
    measure: Measure = "global",
    steps: Sequence[int] | None = None,
    variant: Variant = "formula",
    order: float = HIGH,
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
    order : float
        For callables: order up to which graded ends do no harm, see :func:`diffnum.convergence.nodes.graded`.
    """
    ladder = CATALOGUE if steps is None else Ladder(tuple(steps))
    return rate_over(errors_of_run(record, oracle, Spacing(grid), variant, measure, order), oracle, ladder)


def decided_rate(
    record: Method | Sampler,
    oracle: Oracle,
    spacing: Spacing,
    variant: Variant,
    measure: Measure = "global",
    steps: Sequence[int] | None = None,
    order: float = HIGH,
) -> RateEstimate:
    """Rate over levels that are chosen until the data decide, on the middle half of the interval in the end.

    Parameters
    ----------
    record, oracle, variant, measure, steps, order
        As in :func:`measured_rate`; with ``steps`` nothing else is tried.
    spacing : Spacing
        Kind of grid.
    """
    usual = CATALOGUE if isinstance(record, Method) else OWN
    ladder = usual if steps is None else Ladder(tuple(steps))
    found = rate_over(errors_of_run(record, oracle, spacing, variant, measure, order), oracle, ladder)
    if steps is not None or found.order is not None or found.status == "diverging" or measure == "local":
        return found
    inner = oracle.inner
    errors = np.stack([errors_of_run(record, inner, spacing, variant, measure, order)(n) for n in SHORT])
    eps = float(np.finfo(np.float64).eps)
    again = estimate_rate(SHORT, errors, scale=inner.scale, floor=QUIET * eps * inner.scale * SHORT[-1] ** 0.5)
    return again if again.order is not None else found


def problems_by_label(problem: Problem | Mapping[str, Problem] | None) -> Mapping[str, Problem]:
    """Problems by label."""
    if problem is None:
        return {"three peaks": three_peaks(), "rotated product": rotated_product(dim=4, seed=1)}
    found = problem if isinstance(problem, Mapping) else {type(problem).__name__: problem}
    for one in found.values():
        if not isinstance(one, Problem):
            msg = f"problem={one!r} is no problem: pass one of diffnum.problems, such as diffnum.problems.three_peaks()"
            raise TypeError(msg)
    return found


def rate_over(run: Run, oracle: Oracle, ladder: Ladder) -> RateEstimate:
    """Rate over as many levels of a ladder as decide, of errors of the size of the oracle's states."""
    return refined(run, ladder, partial(estimate_rate, scale=oracle.scale))


def errors_of_run(
    record: Method | Sampler,
    oracle: Oracle,
    spacing: Spacing,
    variant: Variant,
    measure: Measure,
    order: float = HIGH,
) -> Run:
    """Errors of one sampler on one kind of grid as a function of the number of steps."""
    if isinstance(record, Method):
        return (
            _local_run(record, oracle, spacing) if measure == "local" else _global_run(record, oracle, spacing, variant)
        )
    return _black_box_run(record, oracle, spacing, variant, measure, order)


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


def _black_box_run(
    sampler: Sampler, oracle: Oracle, spacing: Spacing, variant: Variant, measure: Measure, order: float = HIGH
) -> Run:
    """A callable on nodes in half-log-SNR, graded at the ends as the variant says."""
    if variant == "lowered end":
        msg = "variants has 'lowered end': a callable has its own end, ask for 'last step'"
        raise ValueError(msg)
    lam_start, lam_end = oracle.interval

    def run(n: int) -> FloatArray:
        nodes = lam_start + (lam_end - lam_start) * spacing(n)
        nodes[-1] = lam_end
        if measure == "local":
            position = n // 2 - n // 2 % len(spacing.pattern)
            nodes = nodes[position : position + 2] + (MIDDLE * (lam_start + lam_end) - nodes[position])
        nodes = graded(nodes, first=variant not in OWN_START, last=variant not in OWN_END, order=order)
        x = oracle.state(float(nodes[0]))
        result = called(sampler, oracle, x.copy(), nodes)
        if np.shape(result) != x.shape:
            msg = f"sampler returned shape {np.shape(result)}: it must return an array of the shape of x, {x.shape}"
            raise ValueError(msg)
        return oracle.error(np.asarray(result, dtype=np.float64), float(nodes[-1]))

    return run

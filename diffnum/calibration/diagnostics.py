"""What the numbers of a found plan say: order, spectrum, size of the weights, rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from diffnum.analysis.spectrum import spectrum_error
from diffnum.calibration.rivals import Rival, Samples, endpoint_error
from diffnum.calibration.weights import SolverSpace
from diffnum.forms import ExponentialKernel, Nodes
from diffnum.plans import Plan
from diffnum.types import FloatArray

__all__ = ["Diagnostics", "diagnose", "order_residuals"]


@dataclass(frozen=True)
class Diagnostics:
    """Properties of a found plan.

    Parameters
    ----------
    order_residuals : tuple of (float, float)
        For each row: sum of the weights less one, and first moment less that of the kernel, in the clock of the form;
        zero where the row keeps constants, and linear functions (nan in the first row, which has one weight).
    spectrum_error, baseline_spectrum_error : float
        Root mean square over variances, log-uniform in [1e-4, 1], of the logarithm of the gain over the exact one, of
        the plan and of its rival, on Gaussian data (:func:`diffnum.analysis.spectrum_error`).
    largest_weight, baseline_largest_weight : float
        Largest weight of a row, in units of the step.
    rounded_error, baseline_rounded_error : float
        Errors on the unseen noises with every evaluation rounded to bfloat16.
    """

    order_residuals: tuple[tuple[float, float], ...]
    spectrum_error: float
    baseline_spectrum_error: float
    largest_weight: float
    baseline_largest_weight: float
    rounded_error: float
    baseline_rounded_error: float


def diagnose(space: SolverSpace, theta: FloatArray, plan: Plan, baseline: Rival, test: Samples) -> Diagnostics:
    """Diagnostics of a found plan beside its rival."""
    weights = theta[space.groups["weights"]]
    try:
        there = replace(space, nfe=baseline.plan.nfe)
        rival = float(np.abs(there.vector_of(baseline.plan)[there.groups["weights"]]).max())
    except ValueError:  # several stages a step: weights of another kind
        rival = float("nan")
    return Diagnostics(
        tuple((float(a), float(b)) for a, b in order_residuals(space, theta)),
        spectrum_error(plan).rms_log,
        spectrum_error(baseline.plan).rms_log,
        float(np.abs(weights).max()),
        rival,
        endpoint_error(plan, test, rounding=True),
        endpoint_error(baseline.plan, test, rounding=True),
    )


def order_residuals(space: SolverSpace, theta: FloatArray) -> FloatArray:
    """Order conditions of each row, shape (N, 2): zeroth and first moment, less those of the exact integral.

    Parameters
    ----------
    space : SolverSpace
        The space.
    theta : ndarray, shape (space.size,)
        A point of it.
    """
    numbers = space.numbers(theta)
    levels = numbers.levels
    t = np.asarray(space.schedule.time(levels))
    at = Nodes.at(space.schedule, t, levels)
    clock, seen = space.form.clock(at), space.form.clock(Nodes.at(space.schedule, numbers.t))
    h = np.diff(clock)
    kernel = ExponentialKernel(h, space.form.rate or 0)
    unit = numbers.weights / (space.form.gain(at)[1:] * kernel.moment(0))[:, None]
    nodes = (seen[None, :] - clock[:-1, None]) / h[:, None]
    first = (unit * nodes).sum(axis=1) - kernel.moment(1) / kernel.moment(0)
    first[0] = np.nan
    return np.stack([unit.sum(axis=1) - 1.0, first], axis=1)

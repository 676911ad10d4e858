"""The bound of DMN: weights of all evaluations in the end point, times the size of the error that each may have."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from diffnum.calibration.grid_rules.simplex import beginnings, increments, levels_of
from diffnum.calibration.grid_rules.task import GridTask
from diffnum.calibration.weights import unrolled
from diffnum.types import FloatArray

__all__ = ["summed_weights", "weight_bound"]


def summed_weights(task: GridTask, *, exponent: float = 1.0) -> FloatArray:
    """Least sum of the absolute weights of the data predictions in the end point, times ``sigma**exponent/alpha``.

    Parameters
    ----------
    task : GridTask
        The question; neither the model nor the candidates are looked at.
    exponent : float
        How the error of the network depends on sigma: 2 for latent spaces, 1 for pixels, as the authors' code says.

    Returns
    -------
    ndarray, shape (steps + 1,)
        Half-log-SNRs.

    Notes
    -----
    The least bound may be one where the weights of an evaluation in later steps cancel, so that the end point does not
    depend on it: a small bound, and no small error. That is what the authors guard against below 8 steps.

    References
    ----------
    Xue et al., Accelerating diffusion sampling with optimized time steps, arXiv:2402.17376; scxue/DM-NonUniform at
    95d4ac6b, step_optim.py, sel_lambdas_lof_obj. There the weights are those of UniPC's predictor without corrector,
    and below 8 steps the first three are bounded by Euclidean norms instead; here they are the method's own.
    """
    ends = float(task.levels[0]), float(task.levels[-1])
    if task.steps == 1:
        return np.array(ends)

    def bound(theta: FloatArray) -> float:
        return float(np.log(weight_bound(task, levels_of(np.clip(theta, -8.0, 8.0), ends), exponent)))

    start = min((increments(levels) for levels in beginnings(task)), key=bound)
    best = minimize(bound, start, method="SLSQP", bounds=[(-8.0, 8.0)] * (task.steps - 1))
    # where two weights change sign the bound has kinks, which a simplex does not mind
    polished = minimize(bound, best.x, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-9, "maxfev": 200})
    return levels_of(np.clip(min(best, polished, key=lambda one: float(one.fun)).x, -8.0, 8.0), ends)


def weight_bound(task: GridTask, levels: FloatArray, exponent: float = 1.0) -> float:
    """Bound on the error of the end point, in units of the network's.

    Parameters
    ----------
    task : GridTask
        The question: its method, and its process.
    levels : ndarray, shape (steps + 1,)
        Half-log-SNRs.
    exponent : float
        As in :func:`summed_weights`.
    """
    if not 0.0 <= exponent < np.inf:
        msg = f"exponent={exponent!r}: use a number from 0 on, such as 1 for pixels or 2 for latents"
        raise ValueError(msg)
    states, t = unrolled(task.plan(levels).for_prediction("data"))
    schedule = task.schedule
    size = np.asarray(schedule.sigma(t)) ** exponent / np.asarray(schedule.alpha(t))
    return float(np.abs(states[-1, 1:]) @ size)

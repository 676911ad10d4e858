"""k-diffusion's samplers that are given two noise levels and choose the others: DPM-Solver fast, and adaptive."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from diffnum.schedules import EDM
from diffnum.solver.adaptive import CONTROLLERS, EmbeddedPair, solve_adaptive
from diffnum.types import FloatArray, Prediction, Schedule

__all__ = ["fast_levels", "sample_dpm_adaptive"]


def fast_levels(sigma_min: float, sigma_max: float, n: int) -> FloatArray:
    """Nodes of ``sample_dpm_fast``: steps of equal length in half-log-SNR, of order 3 and at the end less.

    Each step of order q is cut into q equal parts, which are the stages of the method ``dpm_solver_fast_3``.

    Parameters
    ----------
    sigma_min, sigma_max : float
        Ends, positive.
    n : int
        Evaluations.

    Returns
    -------
    ndarray, shape (n + 1,)
    """
    low, high = check_ends(sigma_min, sigma_max)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        msg = f"n={n!r}: use a whole number of evaluations, 1 or more"
        raise ValueError(msg)
    steps = n // 3 + 1
    orders = [3] * (steps - 2) + [2, 1] if n % 3 == 0 else [3] * (steps - 1) + [n % 3]
    outer = np.linspace(-math.log(high), -math.log(low), steps + 1)
    parts = [outer[i] + (outer[i + 1] - outer[i]) * np.arange(order) / order for i, order in enumerate(orders)]
    levels = np.exp(-np.append(np.concatenate(parts), outer[-1]))
    levels[0], levels[-1] = high, low
    return np.asarray(levels)


def check_ends(sigma_min: float, sigma_max: float) -> tuple[float, float]:
    """Two noise levels as floats.

    Raises
    ------
    ValueError
        If they are not positive, or in the wrong order.
    """
    low, high = float(sigma_min), float(sigma_max)
    if not 0.0 < low < high < math.inf:
        msg = f"sigma_min={low:g}, sigma_max={high:g}: pass two positive noise levels, the smaller one first"
        raise ValueError(msg)
    return low, high


class _Told:
    """The host's model as a denoiser."""

    prediction: Prediction = "data"

    def __init__(self, model: Callable[..., torch.Tensor], schedule: Schedule, extra: Mapping[str, Any]) -> None:
        self.model, self.schedule, self.extra = model, schedule, dict(extra)

    def __call__(self, x: torch.Tensor, t: float) -> torch.Tensor:
        return self.model(x, x.new_ones([x.shape[0]]) * t, **self.extra)


def sample_dpm_adaptive(
    model: Callable[..., torch.Tensor],
    x: torch.Tensor,
    sigma_min: float,
    sigma_max: float,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], object] | None = None,
    disable: bool | None = None,  # noqa: ARG001
    order: int = 3,
    rtol: float = 0.05,
    atol: float = 0.0078,
    h_init: float = 0.05,
    pcoeff: float = 0.0,
    icoeff: float = 1.0,
    dcoeff: float = 0.0,
    accept_safety: float = 0.81,
    eta: float = 0.0,
    s_noise: float = 1.0,
    noise_sampler: Any = None,
    return_info: bool = False,
) -> Any:
    """DPM-Solver-12 or -23 with k-diffusion's step-size control (:func:`diffnum.solver.adaptive.solve_adaptive`).

    Parameters
    ----------
    model : callable
        ``model(x, sigma, **extra_args)`` returns the denoised sample.
    x : tensor, shape (batch, ...)
        Initial sample, noise of standard deviation ``sigma_max``.
    sigma_min, sigma_max : float
        Ends, positive.
    extra_args : dict, optional
        Further arguments of the model.
    callback : callable, optional
        Told, at the end, one dict for each accepted node: ``i``, ``sigma``, ``sigma_hat``.
    disable : bool, optional
        Has no effect: there is no bar, since the number of steps is not known.
    order : {2, 3}
        Order of the more accurate method.
    rtol, atol, h_init : float
        Tolerances, and the first step in half-log-SNR.
    pcoeff, icoeff, dcoeff, accept_safety : float
        Of the controller.
    eta, s_noise, noise_sampler
        ``eta`` must be 0: with noise the two results of a pair differ by more than their error.
    return_info : bool
        Return a dict of ``steps``, ``nfe``, ``n_accept``, ``n_reject`` too.

    Returns
    -------
    tensor, or (tensor, dict)

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    if eta or s_noise != 1.0 or noise_sampler is not None:
        msg = f"eta={eta}, s_noise={s_noise}: steps are controlled without noise; leave eta, s_noise, noise_sampler out"
        raise ValueError(msg)
    low, high = check_ends(sigma_min, sigma_max)
    controller = replace(CONTROLLERS["k-diffusion"], gains=(pcoeff, icoeff, dcoeff), accept=accept_safety)
    with torch.no_grad():
        run = solve_adaptive(
            EmbeddedPair(order),
            _Told(model, EDM(low, high), extra_args or {}),
            x,
            t_start=high,
            t_end=low,
            controller=controller,
            atol=atol,
            rtol=rtol,
            first_step=abs(h_init),
        )
    levels = [math.exp(-lam) for lam in run.lam]
    if callback is not None:
        for i, level in enumerate(levels):
            callback({"i": i, "sigma": x.new_tensor(level), "sigma_hat": x.new_tensor(level)})
    info = {
        "steps": len(run.errors),
        "nfe": run.nfe,
        "n_accept": len(run.errors) - run.rejected,
        "n_reject": run.rejected,
    }
    return (run.x, info) if return_info else run.x

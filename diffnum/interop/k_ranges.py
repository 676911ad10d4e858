"""k-diffusion's samplers that are given two noise levels and choose the others: DPM-Solver fast, and adaptive."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from diffnum.coefficients.splitting import length_down
from diffnum.schedules import EDM, FlowMatching
from diffnum.solver.adaptive import CONTROLLERS, Attempt, EmbeddedPair, renoised, single_step, solve_adaptive
from diffnum.types import FloatArray, Prediction, Schedule

__all__ = ["HALF", "PURE_NOISE", "fast_levels", "is_flow", "sample_dpm_adaptive", "sample_dpm_fast_noisy"]

HALF = (torch.float16, torch.bfloat16)
"""Dtypes whose states are kept in float32 between evaluations."""

PURE_NOISE = -24.0 * math.log(2.0)
"""Half-log-SNR that stands for pure noise, where a flow begins at t = 1."""


def is_flow(model: Any) -> bool:
    """Whether the model, or what it wraps, says that it is a flow as ComfyUI does."""
    seen = model
    for _ in range(4):
        sampling = getattr(seen, "model_sampling", None)
        if sampling is not None:
            return any(base.__name__ == "CONST" for base in type(sampling).__mro__)
        seen = getattr(seen, "inner_model", None)
    return False


def _process(low: float, high: float, *, flow: bool) -> tuple[Schedule, float, float]:
    """Schedule of two noise levels, and its times: the levels, but for pure noise."""
    if not flow:
        return EDM(low, high), low, high
    if high > 1.0:
        msg = f"sigma_max={high:g}: the levels of a flow are times, at most 1"
        raise ValueError(msg)
    schedule = FlowMatching()
    return schedule, low, float(schedule.time(PURE_NOISE)) if high == 1.0 else high


def _orders(n: int) -> tuple[int, ...]:
    """Orders of the steps that spend ``n`` evaluations."""
    steps = n // 3 + 1
    return (*[3] * (steps - 2), 2, 1) if n % 3 == 0 else (*[3] * (steps - 1), n % 3)


def _outer(low: float, high: float, n: int, *, flow: bool) -> tuple[Schedule, FloatArray]:
    """Schedule, and half-log-SNRs between the steps of DPM-Solver fast."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        msg = f"n={n!r}: use a whole number of evaluations, 1 or more"
        raise ValueError(msg)
    schedule, t_end, t_start = _process(*check_ends(low, high), flow=flow)
    begin, end = (float(schedule.half_log_snr(t)) for t in (t_start, t_end))
    return schedule, np.linspace(begin, end, len(_orders(n)) + 1)


def fast_levels(sigma_min: float, sigma_max: float, n: int, *, flow: bool = False) -> FloatArray:
    """Nodes of ``sample_dpm_fast``: steps of equal length in half-log-SNR, of order 3 and at the end less.

    Each step of order q is cut into q equal parts, which are the stages of the method ``dpm_solver_fast_3``.

    Parameters
    ----------
    sigma_min, sigma_max : float
        Ends, positive.
    n : int
        Evaluations.
    flow : bool
        Whether the levels are times of a flow.

    Returns
    -------
    ndarray, shape (n + 1,)
    """
    schedule, outer = _outer(sigma_min, sigma_max, n, flow=flow)
    parts = [outer[i] + (outer[i + 1] - outer[i]) * np.arange(order) / order for i, order in enumerate(_orders(n))]
    inside = np.append(np.concatenate(parts), outer[-1])
    levels = np.array([float(schedule.time(lam)) for lam in inside])
    levels[0], levels[-1] = float(sigma_max), float(sigma_min)
    return levels


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
    """The host's model as a denoiser; a state of half precision is kept in float32."""

    prediction: Prediction = "data"

    def __init__(
        self, model: Callable[..., torch.Tensor], dtype: torch.dtype, schedule: Schedule, extra: Mapping[str, Any]
    ) -> None:
        self.model, self.dtype, self.schedule, self.extra = model, dtype, schedule, dict(extra)
        self.first: Any = None

    def __call__(self, x: torch.Tensor, t: float) -> torch.Tensor:
        state = x.to(self.dtype)
        denoised = self.model(state, state.new_ones([x.shape[0]]) * t, **self.extra)
        self.first = denoised if self.first is None else self.first
        return denoised.to(x.dtype) if isinstance(denoised, torch.Tensor) else denoised


class _Drawn:
    """The host's noise for a step between two half-log-SNRs."""

    def __init__(self, x: torch.Tensor, schedule: Schedule, ends: Mapping[float, float], scale: float, source: Any):
        self.dtype, self.schedule, self.ends, self.scale, self.source = x.dtype, schedule, ends, scale, source
        self.wide = torch.promote_types(x.dtype, torch.float32)

    def level(self, lam: float, like: torch.Tensor) -> torch.Tensor:
        """Noise level as a host has it; the ends as they were given."""
        return like.new_tensor(self.ends.get(lam, float(self.schedule.time(lam))), dtype=self.wide)

    def __call__(self, begin: float, end: float, like: torch.Tensor) -> torch.Tensor:
        if self.source is None:
            return self.scale * torch.randn_like(like, dtype=self.dtype).to(like.dtype)
        drawn: torch.Tensor = self.source(self.level(begin, like), self.level(end, like))
        return self.scale * drawn.to(like.dtype)


def check_state(x: Any) -> torch.Tensor:
    """State of a run.

    Raises
    ------
    TypeError
        If it is no tensor.
    """
    if not isinstance(x, torch.Tensor):
        msg = f"x is a {type(x).__name__}: pass a torch tensor of shape (batch, ...)"
        raise TypeError(msg)
    return x.to(torch.float32) if x.dtype in HALF else x


def _check_eta(eta: Any) -> float:
    if isinstance(eta, bool) or not isinstance(eta, int | float) or not 0.0 <= eta <= 1.0:
        msg = f"eta={eta!r}: use a number from 0 to 1"
        raise ValueError(msg)
    return float(eta)


def sample_dpm_fast_noisy(
    model: Callable[..., torch.Tensor],
    x: torch.Tensor,
    sigma_min: float,
    sigma_max: float,
    n: int,
    *,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], object] | None = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
    noise_sampler: Any = None,
    flow: bool | None = None,
) -> torch.Tensor:
    """k-diffusion's ``sample_dpm_fast`` with noise: each step goes down to sigma_down, no farther than the end.

    Parameters
    ----------
    model : callable
        ``model(x, sigma, **extra_args)`` returns the denoised sample.
    x : tensor, shape (batch, ...)
        Initial sample, noise of standard deviation ``sigma_max``.
    sigma_min, sigma_max : float
        Ends, positive.
    n : int
        Evaluations.
    extra_args : dict, optional
        Further arguments of the model.
    callback : callable, optional
        Told, at each step, a dict with ``x``, ``i``, ``sigma``, ``sigma_hat``, ``denoised``.
    eta : float
        Noise level, from 0 to 1.
    s_noise : float
        Factor of the noise; 1 is right.
    noise_sampler : callable, optional
        ``noise_sampler(sigma, sigma_next)``; independent draws of ``torch.randn_like`` by default.
    flow : bool, optional
        Whether the levels are times of a flow; by default seen from the model.

    Returns
    -------
    tensor, shape of ``x``

    Raises
    ------
    ValueError
        If a number is out of range, or the result is not finite.
    """
    state, eta = check_state(x), _check_eta(eta)
    schedule, outer = _outer(sigma_min, sigma_max, n, flow=is_flow(model) if flow is None else flow)
    end = float(outer[-1])
    told = _Told(model, x.dtype, schedule, extra_args or {})
    noise = _Drawn(x, schedule, _ends(outer, sigma_min, sigma_max), s_noise, noise_sampler)

    with torch.no_grad():
        for i, order in enumerate(_orders(n)):
            lam, target = float(outer[i]), float(outer[i + 1])
            down = min(end, lam + float(length_down(target - lam, eta)))
            told.first = None
            lower = single_step(order, told, state, lam, down - lam)
            if callback is not None:
                level = noise.level(lam, x)
                kept = {"x": state.to(x.dtype), "i": i, "denoised": told.first}
                callback({**kept, "sigma": level, "sigma_hat": level})
            state = renoised(schedule, lower, down, target, partial(noise, lam, target, state))
    return finite("sample_dpm_fast", state.to(x.dtype))


def _ends(outer: Any, sigma_min: float, sigma_max: float) -> dict[float, float]:
    return {float(outer[0]): float(sigma_max), float(outer[-1]): float(sigma_min)}


def finite(function: str, result: torch.Tensor) -> torch.Tensor:
    """A result, looked at once, so that no step waits for it.

    Raises
    ------
    ValueError
        If it is not finite.
    """
    if not bool(torch.isfinite(result).all()):
        msg = f"{function}: the result is not finite; the model, x or the noise is not"
        raise ValueError(msg)
    return result


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
    *,
    flow: bool | None = None,
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
        Told, after each attempt, a dict with ``x``, ``i``, ``sigma``, ``sigma_hat``, ``denoised``, ``error``, ``h``,
        ``steps``, ``nfe``, ``n_accept``, ``n_reject``.
    disable : bool, optional
        Has no effect: there is no bar, since the number of steps is not known.
    order : {2, 3}
        Order of the more accurate method.
    rtol, atol, h_init : float
        Tolerances, and the first step in half-log-SNR.
    pcoeff, icoeff, dcoeff, accept_safety : float
        Of the controller.
    eta : float
        Noise level, from 0 to 1: each accepted step goes down to sigma_down and is followed by noise. The control is of
        the deterministic part alone.
    s_noise : float
        Factor of the noise; 1 is right.
    noise_sampler : callable, optional
        ``noise_sampler(sigma, sigma_next)``, asked for accepted steps; ``torch.randn_like`` by default.
    return_info : bool
        Return a dict of ``steps``, ``nfe``, ``n_accept``, ``n_reject`` too.
    flow : bool, optional
        Whether the levels are times of a flow, ``x = (1 - sigma) x_0 + sigma eps``; by default seen from the model.

    Returns
    -------
    tensor, or (tensor, dict)

    Raises
    ------
    TypeError
        If ``x`` is no tensor.
    ValueError
        If a number is out of range, or the result is not finite.
    """
    state, eta = check_state(x), _check_eta(eta)
    low, high = check_ends(sigma_min, sigma_max)
    schedule, t_end, t_start = _process(low, high, flow=is_flow(model) if flow is None else flow)
    controller = replace(CONTROLLERS["k-diffusion"], gains=(pcoeff, icoeff, dcoeff), accept=accept_safety)
    told = _Told(model, x.dtype, schedule, extra_args or {})
    ends = _ends([float(schedule.half_log_snr(t)) for t in (t_start, t_end)], low, high)
    noise = _Drawn(x, schedule, ends, s_noise, noise_sampler)
    info = {"steps": 0, "nfe": 0, "n_accept": 0, "n_reject": 0}

    def observe(attempt: Attempt) -> None:
        info["steps"] += 1
        info["nfe"] += order
        info["n_accept" if attempt.accepted else "n_reject"] += 1
        first, told.first = told.first, None
        if callback is not None:
            level = noise.level(attempt.lam, x)
            where = {"x": attempt.x.to(x.dtype), "i": info["steps"] - 1, "sigma": level, "sigma_hat": level}
            callback({**where, "denoised": first, "error": attempt.error, "h": attempt.step, **info})

    with torch.no_grad():
        run = solve_adaptive(
            EmbeddedPair(order),
            told,
            state,
            t_start=t_start,
            t_end=t_end,
            controller=controller,
            atol=atol,
            rtol=rtol,
            first_step=abs(h_init),
            eta=eta,
            noise=noise,
            observe=observe,
        )
    result = finite("sample_dpm_adaptive", run.x.to(x.dtype))
    return (result, info) if return_info else result

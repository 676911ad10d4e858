"""Model statistics of DPM-Solver-v3, estimated from any denoiser by forward-mode differentiation (torch.func)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diffnum.calibration.statistics import ModelStatistics, linear_law
from diffnum.forms import PREDICTIONS, conversion
from diffnum.types import Denoiser, FloatArray, Schedule

__all__ = ["estimate_statistics"]

_REACH = 0.05
"""Half-width in half-log-SNR of the polynomial fits that differentiate schedule values; good to 1e-12."""

_TRUSTED = 0.5
"""Most that the error of a spline may change s by, which is of the order of 2."""


def estimate_statistics(
    model: Denoiser,
    data: torch.Tensor,
    lam: Sequence[float] | FloatArray,
    *,
    probes: int | None = None,
    scalar: bool = False,
    seed: int = 0,
    batch: int = 64,
) -> ModelStatistics:
    r"""Estimate l, s, b of a torch model by Monte Carlo over noised data.

    Parameters
    ----------
    model : Denoiser
        Torch model of any prediction, differentiable by forward mode in the state and in the time (shape (batch,)).
    data : torch.Tensor, shape (n, \*element)
        Data, or samples of the model itself, of the dtype and on the device of the model. About 1000 suffice.
    lam : array_like, shape (k,)
        Half-log-SNRs that the schedule attains, strictly increasing, at least 4; the authors take 120 to 1200.
    probes : int, optional
        Random signs per sample that estimate the diagonal of the Jacobian (Hutchinson); by default it is computed
        exactly, by one product a dimension.
    scalar : bool
        One number a level instead of one an element.
    seed : int
        Seed of noise and probes; the noise is the same at all levels.
    batch : int
        Samples per call of the model.

    Returns
    -------
    ModelStatistics
        Bound to the model's schedule.

    Raises
    ------
    TypeError
        If ``data`` is no floating-point tensor.
    ValueError
        If shapes, counts or half-log-SNRs are out of range, or the half-log-SNRs are too far apart for a
        derivative of l from which s could be told.

    References
    ----------
    Zheng et al., DPM-Solver-v3, arXiv:2310.13268, section 3.4 and appendix C.1.1; the authors' code does not
    contain the estimation.
    """
    lam = np.asarray(lam, dtype=np.float64)
    _check(data, lam, probes, batch)
    if hasattr(model, "with_gradients"):
        model = model.with_gradients()
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(data.shape, generator=generator, dtype=torch.float64).to(data)
    levels = [_Level.at(model, value) for value in lam]
    slopes = np.stack([_jacobian_diagonal(model, level, data, noise, probes, seed, batch) for level in levels])
    if scalar:
        slopes = slopes.reshape(len(lam), -1).mean(axis=1)
    rates, doubts = _rates(lam, slopes)
    laws = []
    for level, slope, rate, doubt in zip(levels, slopes, rates, doubts, strict=True):
        terms = [_term(model, level, x, slope, rate) for x in _states(level, data, noise, batch)]
        f, derivative, z = (np.concatenate(part) for part in zip(*terms, strict=True))
        if scalar:
            f, derivative, z = f.ravel(), derivative.ravel(), z.ravel()
        weights = np.full(len(f), 1.0 / len(f))
        _check_rate(level.lam, len(lam), linear_law(f, doubt * z, weights)[0])
        laws.append(linear_law(f, derivative, weights))
    s, b = (np.stack(part) for part in zip(*laws, strict=True))
    return ModelStatistics(lam, slopes, s, b, model.schedule)


def _rates(lam: FloatArray, slopes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Derivative of l by the spline through the knots, and its error, from the spline through every second one."""

    def rate(knots: Any) -> FloatArray:
        values = slopes[knots]
        return ModelStatistics(lam[knots], values, 0.0 * values, 0.0 * values).slope_rate(lam)

    every = np.arange(len(lam))
    fine, coarse = rate(every), rate(np.union1d(every[::2], every[-1:]))
    return fine, (fine - coarse) / 7.0  # of third order up to the ends


def _check_rate(lam: float, knots: int, change: FloatArray) -> None:
    """Refuse knots so far apart that s would be the error of a spline."""
    if (worst := float(np.abs(change).max())) > _TRUSTED:
        msg = (
            f"lam has {knots} knots, too far apart at {lam:.4g}: the derivative of l, taken from them, is off by "
            f"as much as changes s by about {worst:.2g}; give more knots, or none where noise hides the data"
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class _Level:
    """One noise level: ``eps = p (x - mean) + q (model - c mean)``, with derivatives in half-log-SNR.

    ``values`` and ``rates`` are (t, alpha, p, q, c).
    """

    lam: float
    mean: Any
    values: tuple[float, ...]
    rates: tuple[float, ...]

    @classmethod
    def at(cls, model: Denoiser, lam: float) -> _Level:
        schedule: Schedule = model.schedule

        def numbers(value: float) -> tuple[float, ...]:
            t = float(schedule.time(value))
            alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
            p, q = conversion(model.prediction, "noise", alpha, sigma)
            return t, alpha, p, q, PREDICTIONS[model.prediction](alpha, sigma)[0]

        low, high = (float(schedule.half_log_snr(end)) for end in (schedule.t_max, schedule.t_min))
        nodes = np.linspace(max(low, lam - _REACH), min(high, lam + _REACH), 9)
        table = np.array([numbers(float(node)) for node in nodes]).T
        fits = (np.polynomial.Chebyshev.fit(nodes, row, 8) for row in table)
        return cls(lam, schedule.mean, numbers(lam), tuple(float(fit.deriv()(lam)) for fit in fits))

    @property
    def sigma(self) -> float:
        """Noise standard deviation."""
        return self.values[1] * float(np.exp(-self.lam))


def _states(level: _Level, data: torch.Tensor, noise: torch.Tensor, batch: int) -> Iterator[torch.Tensor]:
    """Noisy states in batches."""
    mean = torch.as_tensor(np.array(level.mean)).to(data)
    for i in range(0, len(data), batch):
        clean, eps = data[i : i + batch], noise[i : i + batch]
        yield mean + level.values[1] * (clean - mean) + level.sigma * eps


def _differentiate(
    model: Denoiser, level: _Level, x: torch.Tensor, tangent: torch.Tensor, t_tangent: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Model and its derivative along a direction in state and time."""
    t = torch.full((len(x),), level.values[0], dtype=torch.float64, device=x.device)
    with torch.no_grad():
        if t_tangent == 0.0:
            found = torch.func.jvp(lambda state: model(state, t), (x,), (tangent,))
        else:
            found = torch.func.jvp(model, (x, t), (tangent, torch.full_like(t, t_tangent)))
    return found[0], found[1]


def _jacobian_diagonal(
    model: Denoiser,
    level: _Level,
    data: torch.Tensor,
    noise: torch.Tensor,
    probes: int | None,
    seed: int,
    batch: int,
) -> FloatArray:
    """Mean of the diagonal of sigma d eps/d x, shape of an element."""
    _, _, p, q, _ = level.values
    generator = torch.Generator().manual_seed(seed + 1)
    total = torch.zeros(data.shape[1:], dtype=torch.float64)
    for x in _states(level, data, noise, batch):
        count = x[0].numel() if probes is None else probes
        for i in range(count):
            if probes is None:
                v = torch.zeros_like(x)
                v.reshape(len(x), -1)[:, i] = 1.0
            else:
                v = (torch.randint(0, 2, x.shape, generator=generator) * 2 - 1).to(x)
            slope = _differentiate(model, level, x, v, 0.0)[1]
            product = (v * (p * v + q * slope)).sum(0).cpu().double()
            total += product if probes is None else product / probes
    return np.asarray(level.sigma / len(data) * total.numpy())


def _term(
    model: Denoiser, level: _Level, x: torch.Tensor, slope: FloatArray, rate: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """``f = rho eps - l z``, its derivative along the trajectories (dz/dlam = -rho eps), and z = (x - mean)/alpha."""
    rho = float(np.exp(-level.lam))
    _, alpha, p, q, c = level.values
    t_rate, alpha_rate, p_rate, q_rate, c_rate = level.rates
    mean = torch.as_tensor(np.array(level.mean)).to(x)
    with torch.no_grad():
        t = torch.full((len(x),), level.values[0], dtype=torch.float64, device=x.device)
        eps = p * (x - mean) + q * (model(x, t) - c * mean)
    velocity = alpha_rate / alpha * (x - mean) - level.sigma * eps
    value, turning = _differentiate(model, level, x, velocity, t_rate)
    eps_rate = p_rate * (x - mean) + p * velocity + q_rate * (value - c * mean) + q * (turning - c_rate * mean)
    z, noise, noise_rate = (part.detach().cpu().double().numpy() for part in ((x - mean) / alpha, eps, eps_rate))
    f = rho * noise - slope * z
    return f, rho * (noise_rate - noise) - rate * z + slope * rho * noise, z


def _check(data: Any, lam: FloatArray, probes: int | None, batch: int) -> None:
    """Refuse what cannot be estimated from."""
    if not isinstance(data, torch.Tensor) or not data.is_floating_point():
        msg = f"data is a {type(data).__name__}: pass a floating-point tensor, shape (n, *element)"
        raise TypeError(msg)
    if data.ndim < 2 or len(data) < 2:
        msg = f"data has shape {tuple(data.shape)}: pass at least 2 samples, shape (n, *element)"
        raise ValueError(msg)
    if lam.ndim != 1 or len(lam) < 4 or not (np.isfinite(lam).all() and (np.diff(lam) > 0).all()):
        msg = f"lam has shape {lam.shape}: give at least 4 finite half-log-SNRs, strictly increasing"
        raise ValueError(msg)
    for name, count in (("probes", probes), ("batch", batch)):
        if count is not None and (isinstance(count, bool) or count < 1):
            msg = f"{name}={count}: use a positive whole number"
            raise ValueError(msg)

"""Runs of a sampler with the derivatives of all its states by all its numbers, by forward differentiation.

The recurrence of the states is differentiated line by line; of the network it needs products of its Jacobian with
tangents, and the derivative by the time that it is told. Both are asked for through :class:`Differentiable`, so that
the same lines serve exact problems in numpy and networks in torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.calibration.weights import Numbers, Slopes
from diffnum.forms import PREDICTIONS, conversion
from diffnum.types import Array, Denoiser, Prediction

__all__ = [
    "DERIVATIVES",
    "DifferencedModel",
    "Differentiable",
    "ExactDifferentiable",
    "Native",
    "Pull",
    "run",
    "run_with_tangents",
]

DERIVATIVES = ("forward", "differences", "reverse")
"""Ways to differentiate a network; an exact problem has derivatives of its own, and differences are for others."""

Pull: TypeAlias = Callable[[Array], Numbers]
"""Takes a direction of the shape of a batch of end points to its products with their derivatives by carry, weights and
t, sample by sample: the fields of the result (``levels`` left at zero) have a first axis of the batch."""


class Differentiable(Protocol):
    """A model with products of its Jacobian."""

    @property
    def model(self) -> Denoiser:
        """The model itself."""

    def push(self, x: Array, t: float, tangents: Array) -> Array:
        """Derivatives of ``model(x, t)`` along ``tangents``, shape (p, *x.shape)."""

    def rate(self, x: Array, t: float) -> Array:
        """Derivative of ``model(x, t)`` by ``t``, shape of ``x``."""


@dataclass(frozen=True, eq=False)
class ExactDifferentiable:
    """A model of numpy arrays with a method ``jvp``; the derivative by time is a central difference."""

    model: Any

    def push(self, x: Array, t: float, tangents: Array) -> Array:
        """Derivatives along tangents."""
        return np.stack([self.model.jvp(x, t, v) for v in tangents]) if len(tangents) else 0.0 * tangents

    def rate(self, x: Array, t: float) -> Array:
        """Derivative by time."""
        return time_difference(self.model, x, t, 1e-5)


@dataclass(frozen=True, eq=False)
class DifferencedModel:
    """A model of numpy arrays without derivatives of its own: central differences, two evaluations a tangent."""

    model: Denoiser

    def push(self, x: Array, t: float, tangents: Array) -> Array:
        """Derivatives along tangents."""
        reach = np.finfo(x.dtype).eps ** (1 / 3) * max(float(np.sqrt(np.mean(x**2))), 1e-3)
        found = np.zeros_like(tangents)
        for k, v in enumerate(tangents):
            size = float(np.sqrt(np.mean(v**2)))
            if size > 0.0:
                step = reach / size * v
                found[k] = (self.model(x + step, t) - self.model(x - step, t)) * (size / (2 * reach))
        return found

    def rate(self, x: Array, t: float) -> Array:
        """Derivative by time."""
        return time_difference(self.model, x, t, 1e-5)


def time_difference(model: Denoiser, x: Array, t: float, step: float) -> Array:
    """Derivative of a model by time as a difference, central inside the schedule."""
    low, high = model.schedule.t_min, model.schedule.t_max
    # an end without signal, or without noise, is no place for a network: halfway there is near enough
    low, high = (
        end if np.isfinite(float(model.schedule.half_log_snr(end))) else 0.5 * (t + end) for end in (low, high)
    )
    before, after = max(t - step * max(t, 1e-3 * high), low), min(t + step * max(t, 1e-3 * high), high)
    return (model(x, after) - model(x, before)) / (after - before)


@dataclass(frozen=True, eq=False)
class Native:
    """A model seen in the prediction of a form, less the mean of its process, with derivatives.

    Parameters
    ----------
    inner : Differentiable
        Model of any prediction.
    prediction : str
        Prediction wanted.
    """

    inner: Differentiable
    prediction: Prediction

    def value(self, x: Array, t: float) -> tuple[Array, Array]:
        """Prediction at a state, and the model's own, both of the process without its mean."""
        p, q, shift = self.factors(t)
        own = self.inner.model(x + self.mean(x), t) - shift * self.mean(x)
        return p * x + q * own, own

    def push(self, x: Array, t: float, tangents: Array) -> Array:
        """Derivatives along tangents, shape (p, *x.shape)."""
        p, q, _ = self.factors(t)
        return p * tangents + q * self.inner.push(x + self.mean(x), t, tangents)

    def rate(self, x: Array, t: float, own: Array) -> Array:
        """Derivative by time; ``own`` is the model's prediction there."""
        p, q, drift = self.factor_rates(t)
        inner = self.inner.rate(x + self.mean(x), t) - drift * self.mean(x)
        return p * x + q * own + self.factors(t)[1] * inner

    def factors(self, t: float) -> tuple[float, float, float]:
        """Factors of the state and of the model in the prediction wanted, and what of the mean the model's own has."""
        model = self.inner.model
        alpha, sigma = float(model.schedule.alpha(t)), float(model.schedule.sigma(t))
        p, q = conversion(model.prediction, self.prediction, alpha, sigma)
        return float(p), float(q), float(PREDICTIONS[model.prediction](alpha, sigma)[0])

    def factor_rates(self, t: float) -> tuple[float, float, float]:
        """Derivatives of the three by time."""
        schedule = self.inner.model.schedule
        step = 1e-6 * max(t, 1e-3 * schedule.t_max)
        before, after = max(t - step, schedule.t_min), min(t + step, schedule.t_max)
        pairs = zip(self.factors(before), self.factors(after), strict=True)
        p, q, shift = ((b - a) / (after - before) for a, b in pairs)
        return p, q, shift

    def mean(self, x: Array) -> Any:
        """Mean of the process, beside a batch."""
        mean = self.inner.model.schedule.mean
        if isinstance(mean, float) and mean == 0.0:
            return 0.0
        return array_namespace(x).asarray(np.array(mean), dtype=x.dtype, device=device(x))


def run(native: Native, numbers: Numbers, x: Array) -> Iterator[Array]:
    """Yield the states after each step, the mean of the process left out."""
    values: list[Array] = []
    for n, t in enumerate(numbers.t.tolist()):
        values.append(native.value(x, t)[0])
        x = _linear(numbers.carry[n], x, numbers.weights[n], values)
        yield x


def run_with_tangents(
    native: Native, numbers: Numbers, slopes: Slopes | None, x: Array, tangents: Array | None = None
) -> Iterator[tuple[Array, Array]]:
    """Yield the states after each step with their derivatives, shape (p, *x.shape): by numbers, or by the start.

    Parameters
    ----------
    native : Native
        The model.
    numbers, slopes : Numbers, Slopes or None
        The sampler and its derivatives by p numbers; None where ``tangents`` are given.
    x : array, shape (n, ...)
        First states, less the mean of the process.
    tangents : array, shape (p, *x.shape), optional
        Derivatives of the first states.
    """
    xp = array_namespace(x)
    if tangents is None:
        tangents = xp.zeros((0 if slopes is None else len(slopes.t), *x.shape), dtype=x.dtype, device=device(x))
    active = np.full(len(tangents), slopes is None)
    values: list[Array] = []
    pushed: list[Array] = []
    for n, t in enumerate(numbers.t.tolist()):
        value, own = native.value(x, t)
        change = 0.0 * tangents
        index = np.flatnonzero(active).tolist()
        if index:
            change[index] = native.push(x, t, tangents[index])
        if slopes is not None and (turning := slopes.t[:, n]).any():
            change = change + _column(turning, x) * native.rate(x, t, own)
            active |= turning != 0
        values.append(value)
        pushed.append(change)
        tangents = _linear(numbers.carry[n], tangents, numbers.weights[n], pushed)
        sources = (
            [] if slopes is None else [(slopes.carry[:, n], x), *zip(slopes.weights[:, n].T, values, strict=False)]
        )
        for factor, array in sources:
            used = np.flatnonzero(factor)
            if len(used):
                tangents[used.tolist()] += _column(factor[used], x) * array
                active[used] = True
        x = _linear(numbers.carry[n], x, numbers.weights[n], values)
        yield x, tangents


def _linear(carry: float, x: Array, weights: Any, values: Sequence[Array]) -> Array:
    """One row."""
    total = float(carry) * x
    for weight, value in zip(weights.tolist(), values, strict=False):
        total = total + weight * value
    return total


def _column(factor: Any, x: Array) -> Array:
    """Numbers along a new first axis."""
    column = array_namespace(x).asarray(np.ascontiguousarray(factor), dtype=x.dtype, device=device(x))
    return column.reshape((-1, *(1,) * x.ndim))

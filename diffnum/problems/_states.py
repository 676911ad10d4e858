"""What every exact problem does to its arguments: checks, flattening, coefficients and linear forms.

A prediction is a linear form ``a x_0 + b eps``. It is kept as the pair ``(a, b sigma)``, because all exact
predictions are combinations of ``a`` and ``b sigma`` over a variance: the score then never divides by
``sigma``. The mean-reverting process ``x_t = alpha x_0 + (1 - alpha) mu + sigma eps`` is reduced to the
others by working with ``x_t - (1 - alpha) mu``; ``x_0`` is always the data themselves, never the centred
data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.types import Array, FloatArray, Schedule

Coefficient = Any
"""``alpha`` or ``sigma``: a float, or a float64 array of shape (1, 1) or (n, 1)."""


NUMPY = array_namespace(np.zeros(0))
"""Namespace of numpy's arrays."""

SMALLEST_NOISE = 1e-150
"""Below it the square of ``sigma`` is not a normal number."""


class LinearForm(NamedTuple):
    """The pair ``(a, b sigma)`` of a prediction ``a x_0 + b eps``."""

    data: Coefficient
    scaled_noise: Coefficient


FORMS: dict[str, Callable[[Coefficient, Coefficient], LinearForm]] = {
    "data": lambda alpha, sigma: LinearForm(1.0, 0.0),  # noqa: ARG005
    "noise": lambda alpha, sigma: LinearForm(0.0, sigma),  # noqa: ARG005
    "velocity": lambda alpha, sigma: LinearForm(-1.0, sigma),  # noqa: ARG005
    "score": lambda alpha, sigma: LinearForm(0.0, -1.0),  # noqa: ARG005
    "v": lambda alpha, sigma: LinearForm(-sigma, alpha * sigma),
}


class Batch(NamedTuple):
    """A checked batch: ``flat`` has shape (n, d), ``shape`` is what the caller gave."""

    xp: Any
    flat: Array
    shape: tuple[int, ...]

    def restore(self, flat: Array) -> Array:
        """Give an answer of shape (n, d) the shape and dtype of the caller's array."""
        if type(flat) is np.ndarray and flat.dtype == self.flat.dtype and flat.shape == self.shape:
            return flat
        return self.xp.reshape(self.xp.astype(flat, self.flat.dtype, copy=False), self.shape)

    def on_host(self) -> Batch:
        """Return the same batch as a float64 numpy array."""
        flat = self.flat.detach().cpu() if hasattr(self.flat, "detach") else self.flat
        return Batch(np, np.asarray(flat, dtype=np.float64), self.shape)

    def from_host(self, flat: FloatArray) -> Array:
        """Give a numpy answer the namespace, device, dtype and shape of the caller's array."""
        return self.restore(self.xp.asarray(flat, dtype=self.flat.dtype, device=device(self.flat)))


def check_prediction(prediction: str) -> None:
    """Raise ``ValueError`` unless ``prediction`` is known."""
    if prediction not in FORMS:
        msg = f"prediction={prediction!r} is not known; choose one of {', '.join(map(repr, FORMS))}"
        raise ValueError(msg)


def check_schedule(schedule: Any) -> None:
    """Raise ``TypeError`` unless ``schedule`` offers what :class:`diffnum.types.Schedule` asks for."""
    if not isinstance(schedule, Schedule):
        msg = (
            f"schedule={schedule!r} is not a schedule; pass an object with alpha, sigma, half_log_snr, time, "
            "t_min, t_max, mean and name, such as diffnum.schedules.VPLinear()"
        )
        raise TypeError(msg)


def check_state(x: Array, dim: int, name: str = "x") -> Batch:
    """Return the batch ``x`` flattened to (n, dim); ``TypeError`` or ``ValueError`` if that cannot be."""
    if type(x) is np.ndarray and x.dtype == np.float64 and x.ndim == 2 and x.shape[1] == dim:  # by far the most usual
        return Batch(NUMPY, x, x.shape)
    try:
        xp = array_namespace(x)
    except TypeError as error:
        msg = f"{name} is a {type(x).__name__}; pass a numpy array or a torch tensor of shape (batch, {dim})"
        raise TypeError(msg) from error
    if not xp.isdtype(x.dtype, "real floating"):
        msg = f"{name} has dtype {x.dtype}; convert it to a floating dtype first, such as float64"
        raise TypeError(msg)
    shape = tuple(int(length) for length in x.shape)
    if len(shape) < 2 or int(np.prod(shape[1:])) != dim:
        msg = f"{name} has shape {shape}; expected (batch, {dim}) or (batch, ...) with a trailing size of {dim}"
        raise ValueError(msg)
    return Batch(xp, xp.reshape(x, (shape[0], dim)), shape)


def coefficients(schedule: Schedule, t: Any, state: Batch) -> tuple[Coefficient, Coefficient]:
    """Return ``(alpha, sigma)``: floats for a number ``t``, else float64 arrays, shape (1, 1) or (n, 1)."""
    if isinstance(t, float | int | np.number) or (isinstance(t, np.ndarray) and t.ndim == 0):
        value = float(t)
        if not math.isfinite(value):
            msg = f"t={value} is not finite; pass a time in [{schedule.t_min}, {schedule.t_max}]"
            raise ValueError(msg)
        _check_inside(schedule, value)
        return float(schedule.alpha(value)), float(schedule.sigma(value))
    if isinstance(t, str):
        msg = f"t={t!r} is a str: pass a number, or one time a sample"
        raise TypeError(msg)
    xp, flat, _ = state
    # Times stay on their device: reading one as a number would stall a GPU and break torch.func.vmap.
    times = xp.asarray(t, dtype=xp.float64, device=device(flat))
    if tuple(times.shape) not in ((), (1,), (flat.shape[0],)):
        msg = f"t has shape {tuple(times.shape)}; pass a number, or one time a sample: shape ({flat.shape[0]},)"
        raise ValueError(msg)
    times = xp.reshape(times, (-1,))
    alpha = xp.asarray(schedule.alpha(times), dtype=xp.float64, device=device(flat))
    sigma = xp.asarray(schedule.sigma(times), dtype=xp.float64, device=device(flat))
    # A constant factor (alpha = 1 of VE and EDM) may come back without the shape of the times.
    return xp.zeros_like(times)[:, None] + xp.reshape(alpha, (-1, 1)), xp.reshape(sigma, (-1, 1))


def _check_inside(schedule: Schedule, t: float, name: str = "t") -> None:
    """Refuse a time that is outside of the schedule by more than rounding.

    Where the signal is never scaled, later times only hold more noise, as churn asks for at the first step.
    """
    slack = 1e-9 * schedule.t_max if math.isfinite(schedule.t_max) else 0.0
    if t > schedule.t_max and schedule.alpha(schedule.t_max) == 1.0:
        return
    if not schedule.t_min - slack <= t <= schedule.t_max + slack:
        domain = f"[{schedule.t_min}, {schedule.t_max}]"
        msg = f"{name}={t} is outside the domain {domain} of {schedule.name!r}: pass a time in it"
        raise ValueError(msg)


def generator_of(seed: Any) -> np.random.Generator:
    """Generator of a seed, which is a whole number >= 0."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        msg = f"seed={seed!r}: pass a whole number >= 0"
        raise ValueError(msg)
    return np.random.default_rng(seed)


def check_noise(xp: Any, sigma: Coefficient, t: Any) -> None:
    """Raise ``ValueError`` where atoms have no density: where the square of ``sigma`` is zero."""
    smallest = sigma if isinstance(sigma, float) else xp.min(sigma)
    if not bool(smallest > SMALLEST_NOISE):
        msg = (
            f"sigma(t) is {float(smallest)} at t={t}: the data are points and have a score only where "
            f"sigma > "
            f"{SMALLEST_NOISE}; stop at a larger time, such as schedule.t_min"
        )
        raise ValueError(msg)


def endpoint(schedule: Schedule, t: Any, name: str) -> tuple[float, float]:
    """Return ``(alpha, sigma)`` at one end of a flow map; ``t`` must be one finite number."""
    if np.ndim(t) != 0:
        msg = f"{name} has shape {np.shape(t)}; a flow map goes between two times, pass one number"
        raise ValueError(msg)
    value = float(t)
    if not np.isfinite(value):
        msg = f"{name}={value} is not finite; pass a time in [{schedule.t_min}, {schedule.t_max}]"
        raise ValueError(msg)
    _check_inside(schedule, value, name)
    return float(schedule.alpha(value)), float(schedule.sigma(value))


def drift(schedule: Schedule, alpha: Coefficient, state: Batch, dtype: Any) -> Any:
    """Return ``(1 - alpha) mu``, which broadcasts against (n, d); 0.0 for processes that revert to zero."""
    mean = getattr(schedule, "mean", 0.0)
    if isinstance(mean, float | int) and mean == 0:
        return 0.0
    xp, flat, _ = state
    mean = np.array(mean) if isinstance(mean, np.ndarray) else mean  # schedules store read-only arrays
    mu = xp.asarray(mean, dtype=dtype, device=device(flat))
    size, (n, dim) = int(np.prod(tuple(mu.shape))), flat.shape
    if size == 1:
        mu = xp.reshape(mu, (1, 1))
    elif size == dim:
        mu = xp.reshape(mu, (1, dim))
    elif size == n * dim and mu.shape[0] == n:
        mu = xp.reshape(mu, (n, dim))
    else:
        msg = f"schedule.mean has shape {tuple(mu.shape)}; it must be a number or have the {dim} entries of one state"
        raise ValueError(msg)
    return mu - xp.astype(alpha, dtype) * mu if hasattr(alpha, "shape") else (1.0 - alpha) * mu


def drift_vector(schedule: Schedule, alpha: float, dim: int) -> Any:
    """Return ``(1 - alpha) mu`` as a float or a float64 array of shape (dim,)."""
    mean = getattr(schedule, "mean", 0.0)
    mean = mean if isinstance(mean, float | int) else np.asarray(mean, dtype=np.float64).ravel()
    if np.ndim(mean) and np.size(mean) not in (1, dim):
        msg = f"schedule.mean has {np.size(mean)} entries; the problem has dimension {dim}"
        raise ValueError(msg)
    return (1.0 - alpha) * mean


def positive_count(n: Any, name: str = "n") -> int:
    """Return ``n`` as an int if it is an integer and at least 1."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        msg = f"{name}={n!r} is a {type(n).__name__}; pass an integer, at least 1"
        raise TypeError(msg)
    if n < 1:
        msg = f"{name}={n} draws nothing; pass an integer, at least 1"
        raise ValueError(msg)
    return int(n)


def real_array(value: Any, name: str, ndim: tuple[int, ...]) -> FloatArray:
    """Return ``value`` as a finite, read-only float64 array with an allowed number of axes."""
    if hasattr(value, "detach"):  # a tensor: numpy would refuse one that requires a gradient or is not on the CPU
        value = value.detach().cpu().numpy()
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{name} cannot be read as an array of real numbers; pass floats"
        raise TypeError(msg) from error
    if array.ndim not in ndim:
        msg = f"{name} has shape {array.shape}; expected {' or '.join(map(str, ndim))} axes"
        raise ValueError(msg)
    if array.size == 0:
        msg = f"{name} is empty, shape {array.shape}; give at least one entry"
        raise ValueError(msg)
    if not np.all(np.isfinite(array)):
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        msg = f"{name}[{index}] = {array[index]} is not finite; pass finite numbers"
        raise ValueError(msg)
    array.setflags(write=False)
    return array


def probabilities(weights: Any, name: str = "weights") -> FloatArray:
    """Return weights, shape (K,), checked to be non-negative and to sum to one."""
    array = real_array(weights, name, (1,))
    if np.any(array < 0):
        index = int(np.argmin(array))
        msg = f"{name}[{index}] = {array[index]} is negative; weights are probabilities"
        raise ValueError(msg)
    total = float(np.sum(array))
    if abs(total - 1.0) > 1e-9:
        msg = f"{name} sum to {total!r}, not to 1; divide them by their sum"
        raise ValueError(msg)
    array = array / total
    array.setflags(write=False)
    return array

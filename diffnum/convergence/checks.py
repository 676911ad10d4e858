"""What a sampler must do before its order can be spoken of: shape, dtype, finite, repeatable, and it asks its model."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import numpy as np

from diffnum.convergence.oracle import AskedByNoiseLevel, Oracle
from diffnum.types import Array, Denoiser, FloatArray, Prediction, Sampler

__all__ = ["check_sampler"]

STEPS = 8
SCALED = 1.01
"""Factor on the answers of a model that is not the exact one; a sampler that heeds its model gives another sample."""

OWN_NOISE = 1e-4
"""Share of the result by which equal points may end apart: rounding in single precision stays below."""


class _Watched(AskedByNoiseLevel):
    """An oracle that counts its calls, and whose answers can be scaled."""

    def __init__(self, oracle: Oracle, factor: float = 1.0) -> None:
        self.schedule, self.interval = oracle.schedule, oracle.interval
        self.calls = 0
        self._oracle, self._factor = oracle, factor

    def time(self, lam: Any) -> float:
        """Time of a half-log-SNR."""
        return self._oracle.time(lam)

    def predict(self, x: Array, lam: float, prediction: Prediction) -> FloatArray:
        """Prediction at a half-log-SNR."""
        self.calls += 1
        return self._factor * self._oracle.predict(x, lam, prediction)

    def denoiser(self, prediction: Prediction) -> Denoiser:
        """The same as a function of time."""
        return _WatchedDenoiser(self, prediction)


class _WatchedDenoiser:
    """Watched oracle as a function of time."""

    def __init__(self, watched: _Watched, prediction: Prediction) -> None:
        self.schedule, self.prediction = watched.schedule, prediction
        self._watched = watched

    def __call__(self, x: Array, t: Any) -> FloatArray:
        """Predict."""
        return self._watched.predict(x, float(self.schedule.half_log_snr(t)), self.prediction)


def check_sampler(sampler: Sampler, oracle: Oracle) -> None:
    """Refuse a sampler that breaks the convention, with a message that says how.

    Parameters
    ----------
    sampler : callable
        ``sampler(model, x, nodes) -> x``.
    oracle : Oracle
        Exact model; the sampler is run on it five times, with eight steps each.

    Raises
    ------
    TypeError
        If the sampler does not return an array, or one of another dtype than ``x``.
    ValueError
        If it raises an exception of its own, returns another shape or what is not finite, writes into ``x`` or
        ``nodes``, is random (from one run to the next, or by a seed of its own), never calls the model, or ignores
        what the model returns.
    """
    name = getattr(sampler, "__name__", type(sampler).__name__)
    nodes = np.linspace(*oracle.interval, STEPS + 1)
    x = oracle.state(float(nodes[0]))
    first, calls = _run(name, sampler, _Watched(oracle), x, nodes)
    again, _ = _run(name, sampler, _Watched(oracle), x, nodes)
    if not np.array_equal(first, again):
        raise ValueError(
            f"{name} is random: two runs on the same input differ by {np.max(np.abs(first - again)):.3g}; turn its "
            "noise off (eta = 0), or let it forget its last run where it keeps something of it"
        )
    if not calls:
        raise ValueError(f"{name} never calls the model: ask model.data(x, lam), .noise, .velocity or .score")
    other, _ = _run(name, sampler, _Watched(oracle, SCALED), x, nodes)
    if np.array_equal(first, other):
        raise ValueError(
            f"{name} ignores the model: it calls it {calls} times on {STEPS} steps, but returns the same sample "
            "whatever the model answers"
        )
    spread = _spread(name, sampler, _Watched(oracle, 0.0), np.zeros_like(x), nodes)
    if spread > OWN_NOISE * float(np.abs(first).max()):
        raise ValueError(
            f"{name} adds noise of its own: equal points and a model that answers 0 become points that differ by "
            f"{spread:.3g}; a seed inside makes that repeatable and no less random: turn the noise off (eta = 0)"
        )


def _spread(name: str, sampler: Sampler, model: _Watched, x: FloatArray, nodes: FloatArray) -> float:
    """How far apart equal points end; 0 where the sampler cannot run on them."""
    try:
        ends, _ = _run(name, sampler, model, x, nodes)
    except (TypeError, ValueError):
        return 0.0
    return float(np.ptp(ends, axis=0).max())


def _run(name: str, sampler: Sampler, model: _Watched, x: FloatArray, nodes: FloatArray) -> tuple[FloatArray, int]:
    """One run, checked for what can be seen in one run."""
    given, given_nodes = x.copy(), nodes.copy()
    try:
        result = sampler(model, given, given_nodes)
    except (TypeError, ValueError) as error:
        if str(error).startswith(name):  # an adapter has said it already
            raise
        raise _raised(name, error) from error
    except Exception as error:
        raise _raised(name, error) from error
    if not np.array_equal(given_nodes, nodes):
        raise ValueError(f"{name} writes into its input nodes: let it work on a copy")
    if result is None or not (hasattr(result, "shape") and hasattr(result, "dtype")):
        raise TypeError(f"{name} returned a {type(result).__name__}: it must return an array like x")
    if tuple(result.shape) != x.shape:
        raise ValueError(f"{name} returned shape {tuple(result.shape)}: it must return that of x, {x.shape}")
    dtype = str(result.dtype).removeprefix("torch.")
    if dtype != str(x.dtype):
        raise TypeError(f"{name} returned dtype {dtype}: x has {x.dtype}, and the order is hidden by rounding below it")
    found = np.asarray(result)
    if not np.isfinite(found).all():
        count = int(np.sum(~np.isfinite(found)))
        raise ValueError(
            f"{name} returned {count} numbers of {found.size} that are NaN or infinite, from finite input and "
            f"{STEPS} equal steps in half-log-SNR"
        )
    if not np.array_equal(given, x):
        raise ValueError(f"{name} writes into its input x: let it work on a copy")
    return found, model.calls


def _raised(name: str, error: Exception) -> ValueError:
    """What a sampler raised, and where, in one line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return ValueError(
        f"{name} raises {type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno}), "
        f"called with a model, x of shape (points, d) and {STEPS + 1} nodes"
    )

"""Samplers under other conditions: nodes even in another clock, states in the shape of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np

from diffnum.convergence.checks import name_of
from diffnum.convergence.oracle import AskedByNoiseLevel
from diffnum.types import Array, FloatArray, Prediction, Sampler

__all__ = ["CLOCKS", "Clock", "in_clock", "in_shape"]

Clock: TypeAlias = Literal["half-log-snr", "sigma", "flow-time"]

_Map: TypeAlias = Callable[[FloatArray], FloatArray]

CLOCKS: Mapping[str, tuple[_Map, _Map]] = MappingProxyType(
    {
        "half-log-snr": (lambda lam: lam, lambda u: u),
        "sigma": (lambda lam: np.exp(-lam), lambda u: -np.log(u)),
        "flow-time": (lambda lam: 1.0 / (1.0 + np.exp(lam)), lambda u: np.log((1.0 - u) / u)),
    }
)
"""Clocks in which the steps of a grid can be even: functions of the half-log-SNR, and their inverses.

sigma stands for sigma / alpha; flow-time is sigma / (alpha + sigma)."""


def in_clock(sampler: Sampler, clock: Clock) -> Sampler:
    """Sampler on nodes whose fractions are those of another clock.

    Parameters
    ----------
    sampler : callable
        ``sampler(model, x, nodes) -> x``.
    clock : {"half-log-snr", "sigma", "flow-time"}
        In which the given fractions of the way from the first to the last node are meant.

    Raises
    ------
    ValueError
        If the clock is unknown.
    """
    if clock not in CLOCKS:
        msg = f"clock={clock!r} is unknown: use one of {', '.join(CLOCKS)}"
        raise ValueError(msg)
    if clock == "half-log-snr":
        return sampler
    forth, back = CLOCKS[clock]

    def run(model: Any, x: Array, nodes: FloatArray) -> Array:
        first, last = (float(forth(np.asarray(nodes[k]))) for k in (0, -1))
        lam = back(first + (last - first) * (nodes - nodes[0]) / (nodes[-1] - nodes[0]))
        lam[0], lam[-1] = nodes[0], nodes[-1]
        return sampler(model, x, lam)

    run.__name__ = name_of(sampler)
    return run


class _Shaped(AskedByNoiseLevel):
    """A model whose states have the shape of images."""

    def __init__(self, model: Any, shape: tuple[int, ...]) -> None:
        self.schedule, self.interval = model.schedule, model.interval
        self._model, self._shape = model, shape

    def predict(self, x: Array, lam: float, prediction: Prediction) -> FloatArray:
        """Predict for states of shape (points, *shape)."""
        state = np.asarray(x)
        if state.shape[1:] != self._shape:
            msg = f"the model is called with shape {state.shape}: x has (points, *{self._shape})"
            raise ValueError(msg)
        flat = self._model.predict(state.reshape(len(state), -1), lam, prediction)
        return np.asarray(flat).reshape(state.shape)


def in_shape(sampler: Sampler, shape: tuple[int, ...]) -> Sampler:
    """Sampler of states of shape (points, *shape), as one of states of shape (points, d).

    Parameters
    ----------
    sampler : callable
        ``sampler(model, x, nodes) -> x``.
    shape : tuple of int
        Shape of one state, such as (1, 2, 2) for images of one channel; d is its product.

    Raises
    ------
    ValueError
        When it is run, if the result has another shape than x, or the dimension does not fit.
    """

    def run(model: Any, x: Array, nodes: FloatArray) -> Array:
        state = np.asarray(x)
        if math.prod(shape) != state.shape[-1]:
            msg = (
                f"shape={shape} has {math.prod(shape)} numbers: the data have dimension {state.shape[-1]}; choose a "
                "problem of that dimension"
            )
            raise ValueError(msg)
        end = sampler(_Shaped(model, shape), state.reshape(len(state), *shape), nodes)
        if np.shape(end) != (len(state), *shape):
            msg = f"it returned shape {np.shape(end)} from x of shape {(len(state), *shape)}"
            raise ValueError(msg)
        found: Array = end.reshape(state.shape)
        return found

    run.__name__ = name_of(sampler)
    return run

"""Predictions of a model, and conversions between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from diffnum.jobs.checked import check_model
from diffnum.types import Array, Denoiser, Prediction

__all__ = ["PREDICTIONS", "conversion", "predict"]


def _data(alpha: Any, sigma: Any) -> tuple[Any, Any]:  # noqa: ARG001
    return 1.0, 0.0


def _noise(alpha: Any, sigma: Any) -> tuple[Any, Any]:  # noqa: ARG001
    return 0.0, 1.0


def _velocity(alpha: Any, sigma: Any) -> tuple[Any, Any]:  # noqa: ARG001
    return -1.0, 1.0


def _score(alpha: Any, sigma: Any) -> tuple[Any, Any]:  # noqa: ARG001
    return 0.0, -1.0 / sigma


def _v(alpha: Any, sigma: Any) -> tuple[Any, Any]:
    return -sigma, alpha


PREDICTIONS: Final[Mapping[str, Callable[[Any, Any], tuple[Any, Any]]]] = MappingProxyType(
    {"data": _data, "noise": _noise, "velocity": _velocity, "score": _score, "v": _v}
)
"""Each prediction as the pair (a, b) in ``a x_0 + b eps``, a function of (alpha, sigma)."""


def conversion(source: str, to: str, alpha: Any, sigma: Any) -> tuple[Any, Any]:
    """Factors (p, q) with ``target = p x + q source`` at a node of given ``alpha`` and ``sigma``.

    Both predictions and ``x = alpha x_0 + sigma eps`` are linear in (x_0, eps), so the pair solves a 2 by 2
    system; solving it directly avoids the cancellation of a detour through the noise.

    Parameters
    ----------
    source, to : str
        Keys of :data:`PREDICTIONS`.
    alpha, sigma : scalar or array
        Signal factor and noise standard deviation; ``sigma > 0`` where ``source`` is ``"data"``, ``alpha > 0`` where
        it is ``"noise"`` or ``"score"`` (but for the conversion of these into each other).

    Returns
    -------
    two numbers or arrays

    Raises
    ------
    ValueError
        If a prediction is unknown, or if the conversion divides by zero at this node (tensors are not inspected,
        since that would wait for their device).
    """
    for argument, name in (("source", source), ("to", to)):
        if name not in PREDICTIONS:
            msg = f"{argument}={name!r} is no prediction: use one of {', '.join(PREDICTIONS)}"
            raise ValueError(msg)
    if source == to:
        return 0.0, 1.0
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            (a, b), (c, d) = PREDICTIONS[source](alpha, sigma), PREDICTIONS[to](alpha, sigma)
            if {source, to} == {"noise", "score"}:  # proportional, even where alpha = 0
                pair = 0.0, d / b
            else:
                determinant = alpha * b - sigma * a
                pair = (c * b - d * a) / determinant, (alpha * d - sigma * c) / determinant
    except ZeroDivisionError:
        pair = float("nan"), float("nan")
    if not all(np.all(np.isfinite(factor)) for factor in pair if isinstance(factor, float | np.ndarray)):
        msg = (
            f"a {source!r} prediction says nothing about {to!r} at alpha={alpha}, sigma={sigma}: "
            "stop the grid before that end, or use a model with another prediction"
        )
        raise ValueError(msg)
    return pair


def predict(model: Denoiser, x: Array, t: Any, to: Prediction) -> Array:
    """Any prediction from any model.

    Parameters
    ----------
    model : Denoiser
        Model with attributes ``prediction`` and ``schedule``.
    x : array, shape (batch, ...)
        Noisy state at time ``t``.
    t : float or array, shape (batch,)
        Time in the unit of the model's schedule.
    to : {"data", "noise", "velocity", "score", "v"}
        Prediction wanted: x_0, eps, eps - x_0, -eps/sigma, alpha eps - sigma x_0.

    Returns
    -------
    array, shape of ``x``

    Raises
    ------
    ValueError
        If ``to`` is unknown or the conversion does not exist at ``t`` (data from noise where alpha = 0).
    """
    if to not in PREDICTIONS:
        msg = f"to={to!r} is no prediction: use one of {', '.join(PREDICTIONS)}"
        raise ValueError(msg)
    check_model(model)
    value = model(x, t)
    if model.prediction == to:
        return value
    schedule = model.schedule
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    p, q = (_beside(x, factor) for factor in conversion(model.prediction, to, alpha, sigma))
    mean = schedule.mean
    if isinstance(mean, float) and mean == 0.0:
        return p * x + q * value
    # x - mean and x_0 - mean obey the relations of a process without a mean; a prediction a x_0 + b eps moves by a mean
    mean = _array_like(x, mean)
    shift_in, shift_out = (_beside(x, PREDICTIONS[name](alpha, sigma)[0]) for name in (model.prediction, to))
    return p * (x - mean) + q * (value - shift_in * mean) + shift_out * mean


def _array_like(x: Array, value: Any) -> Array:
    """Constant in the namespace, dtype and device of ``x``."""
    from array_api_compat import array_namespace, device  # kept out of the import of the coefficient functions

    if isinstance(value, np.ndarray):
        value = value.copy()  # schedules store read-only arrays, which tensors cannot share
    return array_namespace(x).asarray(value, dtype=x.dtype, device=device(x))


def _beside(x: Array, factor: Any) -> Any:
    """Factor that multiplies a batch ``x``: a number, or one number a sample."""
    if isinstance(factor, float | int):
        return factor
    factor = _array_like(x, factor)
    return factor.reshape(factor.shape + (1,) * (x.ndim - 1)) if factor.ndim else factor

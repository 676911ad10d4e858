"""The sampling loop of a pipeline: evaluate the model, let the scheduler step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from diffnum.foreign.families import family_of, picture_of, prediction_of
from diffnum.foreign.pictures import PRECONDITIONED, VE, VP, predictions
from diffnum.types import FloatArray

__all__ = ["run_scheduler"]

LEARNED = frozenset({"learned", "learned_range"})
"""Values of variance_type of networks that answer with a variance too."""

CHANNELS = 3
"""Channels of an image."""


def run_scheduler(
    scheduler: Any,
    evaluate: Callable[[FloatArray, tuple[float, float]], tuple[FloatArray, FloatArray]],
    start: FloatArray,
    calls: FloatArray,
    options: Mapping[str, Any],
    dtype: torch.dtype = torch.float64,
) -> FloatArray:
    """Sampling loop of a pipeline: evaluate the model at ``calls`` (rho), let the scheduler step.

    Parameters
    ----------
    scheduler : object
        With its timesteps set.
    evaluate : callable
        Exact model, (states, (alpha, sigma)) to (x_0, eps).
    start : ndarray, shape (n, d)
        States in the picture of the scheduler.
    calls : ndarray, shape (evaluations,)
        rho = sigma / alpha of every evaluation.
    options : mapping
        Keyword arguments of ``step``.
    dtype : torch.dtype
        Dtype of the state and of the outputs of the model.

    Returns
    -------
    ndarray, shape (n, d)
        float64.

    Raises
    ------
    ValueError
        If a step changes the shape of its sample.
    """
    picture, wanted = picture_of(scheduler), prediction_of(scheduler)
    network = predictions(float(getattr(scheduler.config, "sigma_data", 0.5)))[wanted]
    # Schedulers that keep a variance-exploding state hand a rescaled one to the network.
    shown = VP if picture is VE and wanted not in PRECONDITIONED else picture
    sigma_data = float(getattr(scheduler.config, "sigma_data", 0.5))
    x = _as_image(scheduler, start).to(dtype)
    step = family_of(scheduler).stepper(scheduler, options)
    for k, (rho, t) in enumerate(zip(calls.tolist(), scheduler.timesteps, strict=False)):
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        levels = shown.levels(rho)
        if wanted in PRECONDITIONED:  # the network sees y / sqrt(sigma^2 + sigma_data^2)
            factor = 1.0 / float(np.hypot(rho, sigma_data))
            levels = (factor, factor * rho)
        z = _as_states(scaled, start)
        output = _with_variance(scheduler, network(z, *evaluate(z, levels), levels), t)
        before = tuple(x.shape)
        x = step(_as_image(scheduler, output).to(dtype), k, x)
        if tuple(x.shape) != before:
            msg = f"step makes a sample of shape {tuple(x.shape)} of one of shape {before}"
            raise ValueError(msg)
    return _as_states(x, start)


def _with_variance(scheduler: Any, output: FloatArray, t: Any) -> FloatArray:
    """Output followed by a learned variance, for the schedulers that read one: that of a single datum, the smallest."""
    kind = getattr(scheduler.config, "variance_type", None)
    if kind not in LEARNED:
        return output
    reads = kind == "learned" and hasattr(scheduler, "_get_variance")
    small = float(scheduler._get_variance(t, variance_type="fixed_small")) if reads else -1.0
    return np.concatenate([output, np.full_like(output, small)], axis=1)


def _as_image(scheduler: Any, values: FloatArray) -> torch.Tensor:
    """States, or what the network says of them, in the shape of images where a class asks for it.

    Thresholds are taken over all axes but the first two, of which images have some; and classes that leave out a
    learned variance do so by keeping three channels, which are copies here.
    """
    config = scheduler.config
    if getattr(config, "variance_type", None) in LEARNED and not hasattr(scheduler, "_get_variance"):
        values = np.repeat(values, CHANNELS, axis=1)
    more = (1,) if getattr(config, "thresholding", False) else ()
    return torch.as_tensor(values).reshape(*values.shape, *more)


def _as_states(image: torch.Tensor, like: FloatArray) -> FloatArray:
    """Inverse of :func:`_as_image`."""
    values = image.detach().numpy().astype(np.float64)
    return np.ascontiguousarray(values[:, :: values.shape[1] // like.shape[1]]).reshape(like.shape)

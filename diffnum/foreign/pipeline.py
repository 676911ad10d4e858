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
    """
    picture, wanted = picture_of(scheduler), prediction_of(scheduler)
    network = predictions(float(getattr(scheduler.config, "sigma_data", 0.5)))[wanted]
    # Schedulers that keep a variance-exploding state hand a rescaled one to the network.
    shown = VP if picture is VE and wanted not in PRECONDITIONED else picture
    sigma_data = float(getattr(scheduler.config, "sigma_data", 0.5))
    x = torch.as_tensor(start).to(dtype)
    step = family_of(scheduler).stepper(scheduler, options)
    for k, (rho, t) in enumerate(zip(calls.tolist(), scheduler.timesteps, strict=False)):
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        levels = shown.levels(rho)
        if wanted in PRECONDITIONED:  # the network sees y / sqrt(sigma^2 + sigma_data^2)
            factor = 1.0 / float(np.hypot(rho, sigma_data))
            levels = (factor, factor * rho)
        z = scaled.detach().numpy().astype(np.float64)
        output = network(z, *evaluate(z, levels), levels)
        x = step(torch.as_tensor(output).to(dtype), k, x)
    return x.detach().numpy().astype(np.float64)

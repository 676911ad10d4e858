r"""What a denoiser does to each frequency of a Gaussian field, and when: the law behind spectral distillation.

In the Fourier basis a stationary Gaussian field has independent coefficients of variance ``S_k``, and the best
denoiser multiplies each by Wiener's gain ``alpha S_k / (alpha^2 S_k + sigma^2)`` of the noisy coefficient. A frequency
is decided where ``sigma/alpha`` falls below ``sqrt(S_k)``: low ones first for the spectra of images. A small network
that is to follow a large one loses what has little energy first, which a loss weighted by ``1/S_k`` makes up for (Yang
et al. 2023, Slim diffusion, arXiv:2211.17106).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.problems._states import real_array
from diffnum.schedules.tools import check_time
from diffnum.types import FloatArray, Schedule

__all__ = ["band_error", "decision_level", "wiener_gain"]


def wiener_gain(spectrum: ArrayLike, schedule: Schedule, t: float) -> FloatArray:
    """Factor of each noisy coefficient in the best estimate of the clean one.

    Parameters
    ----------
    spectrum : array_like, shape (k,)
        Variances of the coefficients of the data, positive.
    schedule : Schedule
        Noising process.
    t : float
        Time.

    Returns
    -------
    ndarray, shape (k,)
    """
    s = _positive(spectrum)
    check_time(schedule, t)
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    return np.asarray(alpha * s / (alpha**2 * s + sigma**2))


def decision_level(spectrum: ArrayLike) -> FloatArray:
    """Noise level ``sigma/alpha`` at which half of a coefficient's variance is explained, shape (k,): ``sqrt(S_k)``.

    Parameters
    ----------
    spectrum : array_like, shape (k,)
        Variances S_k of the coefficients, > 0.

    Returns
    -------
    ndarray, shape (k,)
    """
    return np.sqrt(_positive(spectrum))


def band_error(
    spectrum: ArrayLike, schedule: Schedule, t: float, kept: Any, *, weights: ArrayLike | None = None
) -> float:
    """Expected squared distance between the best denoiser and one that leaves frequencies out.

    Parameters
    ----------
    spectrum, schedule, t
        As for :func:`wiener_gain`.
    kept : array_like of bool, shape (k,)
        Frequencies that the small network still follows.
    weights : array_like, shape (k,), optional
        Weights of the frequencies in the loss; equal to 1 by default, ``1 / spectrum`` for spectral distillation.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If there is not one entry a frequency.
    """
    s = _positive(spectrum)
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    mask = np.asarray(kept, dtype=bool)
    w = np.ones_like(s) if weights is None else real_array(weights, "weights", (1,))
    if mask.shape != s.shape or w.shape != s.shape:
        msg = f"kept has shape {mask.shape} and weights {w.shape}: use one entry a frequency, shape {s.shape}"
        raise ValueError(msg)
    explained = (alpha * s) ** 2 / (alpha**2 * s + sigma**2)  # variance of the best estimate
    return float(np.sum((w * explained)[~mask]))


def _positive(spectrum: ArrayLike) -> FloatArray:
    s = real_array(spectrum, "spectrum", (1,))
    if np.any(s <= 0.0):
        msg = f"spectrum has {float(s.min())!r}: use positive variances"
        raise ValueError(msg)
    return s

r"""What a denoiser does to each frequency of a Gaussian field, and when: the law behind spectral distillation.

In the Fourier basis a stationary Gaussian field has independent coefficients of variance ``S_k``, and the best
denoiser multiplies each by Wiener's gain ``alpha S_k / (alpha^2 S_k + sigma^2)`` of the noisy coefficient. A frequency
is decided where ``sigma/alpha`` falls below ``sqrt(S_k)``: low ones first for the spectra of images. A small network
that is to follow a large one loses what has little energy first, which a loss weighted by ``1/S_k`` makes up for (Yang
et al. 2023, Slim diffusion, arXiv:2211.17106). The smallest network of images is a short filter: its gains are few
cosines of the frequency, so that its best fit, and the law that it generates, are known (:func:`spectral_distillation`,
:func:`generated_spectrum`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations_with_replacement, permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.distillation.checks import checked_times
from diffnum.problems._states import real_array
from diffnum.schedules import check_time
from diffnum.types import FloatArray, Schedule

__all__ = [
    "FilterStudent",
    "SpectralDistillation",
    "band_error",
    "decision_level",
    "filter_responses",
    "generated_spectrum",
    "spectral_distillation",
    "wiener_gain",
]


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


@dataclass(frozen=True, eq=False)
class FilterStudent:
    """Denoiser of a stationary field that is one filter for each noise level.

    Parameters
    ----------
    taps : ndarray, shape (T, J)
        What is trained: coefficients of the responses.
    responses : ndarray, shape (J, k)
        Gains of each tap; see :func:`filter_responses`.
    """

    taps: FloatArray
    responses: FloatArray

    def __post_init__(self) -> None:
        if self.taps.ndim != 2 or self.taps.shape[1] != len(self.responses):
            msg = f"taps has shape {self.taps.shape}: use a row a noise level, of {len(self.responses)} taps"
            raise ValueError(msg)

    @property
    def gains(self) -> FloatArray:
        """Factor of each frequency at each noise level, shape (T, k)."""
        return np.asarray(self.taps @ self.responses)

    @property
    def parameters(self) -> FloatArray:
        """Taps in a row, shape (T J,)."""
        return self.taps.ravel()

    def replace(self, parameters: ArrayLike) -> FilterStudent:
        """Same responses under other taps."""
        return FilterStudent(np.asarray(parameters, dtype=np.float64).reshape(len(self.taps), -1), self.responses)


@dataclass(frozen=True, eq=False)
class SpectralDistillation:
    """Expected squared distance of filtered and best denoised data.

    Made by :func:`spectral_distillation`, and by :func:`~diffnum.distillation.principal_distillation` for mixtures.

    Attributes
    ----------
    goal : ndarray, shape (T, k)
        Wiener's gains.
    energy : ndarray, shape (T, k)
        Variance of each noisy coefficient times its weight in the loss, over the number of levels.
    responses : ndarray, shape (J, k)
    floor : float
        What no gains remove: zero where the best denoiser is linear.
    """

    goal: FloatArray
    energy: FloatArray
    responses: FloatArray
    floor: float = 0.0

    @property
    def start(self) -> FilterStudent:
        """Filters that let nothing through."""
        return FilterStudent(np.zeros((len(self.goal), len(self.responses))), self.responses)

    def value(self, student: FilterStudent) -> float:
        """Loss of a student."""
        return self.floor + float(np.sum(self.energy * (student.gains - self.goal) ** 2))

    def gradient(self, student: FilterStudent) -> FloatArray:
        """Derivative of :meth:`value`, shape of ``student.parameters``."""
        return np.asarray(2.0 * (self.energy * (student.gains - self.goal)) @ self.responses.T).ravel()

    @property
    def optimum(self) -> FilterStudent:
        """Best of the class: a weighted least-squares fit of the gains at each noise level."""
        roots = np.sqrt(self.energy)
        fits = [
            np.linalg.lstsq((root * self.responses).T, root * gain, rcond=None)[0]
            for root, gain in zip(roots, self.goal, strict=True)
        ]
        return FilterStudent(np.stack(fits), self.responses)


def spectral_distillation(
    spectrum: ArrayLike,
    schedule: Schedule,
    times: Sequence[float],
    responses: ArrayLike,
    *,
    weights: ArrayLike | None = None,
) -> SpectralDistillation:
    """Loss of filters that follow the best denoiser of a stationary Gaussian field.

    Parameters
    ----------
    spectrum : array_like, shape (k,)
        Variances of the coefficients of the data, positive.
    schedule : Schedule
        Noising process.
    times : sequence of float, length T
        Noise levels, weighted equally.
    responses : array_like, shape (J, k)
        Gains of each tap of the filters; see :func:`filter_responses`.
    weights : array_like, shape (k,), optional
        Weights of the frequencies; equal to 1 by default, ``1 / spectrum`` for spectral distillation.

    Returns
    -------
    SpectralDistillation

    Raises
    ------
    ValueError
        If a time lies outside the domain, or there is not one entry a frequency.
    """
    s, nodes = _positive(spectrum), checked_times(schedule, times)
    taps = real_array(responses, "responses", (2,))
    w = np.ones_like(s) if weights is None else real_array(weights, "weights", (1,))
    if taps.shape[1:] != s.shape or w.shape != s.shape or np.any(w < 0.0):
        msg = f"responses has shape {taps.shape}, weights {w.shape}: use {len(s)} columns, and a weight >= 0 for each"
        raise ValueError(msg)
    goal = np.stack([wiener_gain(s, schedule, t) for t in nodes])
    noisy = np.stack([schedule.alpha(t) ** 2 * s + schedule.sigma(t) ** 2 for t in nodes])
    return SpectralDistillation(goal, w * noisy / len(nodes), taps)


def filter_responses(shape: Sequence[int], radius: int) -> FloatArray:
    """Gains of the taps of filters on a periodic grid that look alike in every direction of the grid.

    Parameters
    ----------
    shape : sequence of int
        Sides of the grid, all equal: ``(64,)`` for signals, ``(16, 16)`` for images.
    radius : int
        Pixels to each side that a filter sees.

    Returns
    -------
    ndarray, shape (J, k)
        One row for each class of pixels that reflections and exchanges of axes make equal; frequencies in the order of
        ``numpy.fft.fftn``, in a row.

    Raises
    ------
    ValueError
        If sides differ, or the filter is wider than the grid.
    """
    if not shape or len(set(shape)) != 1 or not 0 <= 2 * radius < shape[0]:
        msg = f"shape={tuple(shape)!r} and radius={radius!r}: use equal sides, and a filter that fits, radius >= 0"
        raise ValueError(msg)
    waves = np.cos(2.0 * np.pi * np.outer(np.arange(radius + 1), np.arange(shape[0])) / shape[0])
    rows = []
    for taps in combinations_with_replacement(range(radius + 1), len(shape)):
        kinds = sorted(set(permutations(taps)))
        rows.append(np.mean([reduce(np.multiply.outer, waves[list(kind)]).ravel() for kind in kinds], axis=0))
    return np.stack(rows)


def generated_spectrum(spectrum: ArrayLike, schedule: Schedule, times: Sequence[float], gains: ArrayLike) -> FloatArray:
    """Variances of the coefficients that DDIM makes with a linear denoiser.

    Parameters
    ----------
    spectrum : array_like, shape (k,)
        Variances of the coefficients of the data; the run starts from their noisy law.
    schedule : Schedule
        Noising process.
    times : sequence of float, length T + 1
        Times of the run, decreasing, the last one included.
    gains : array_like, shape (T, k)
        Factors of the denoiser at all times but the last.

    Returns
    -------
    ndarray, shape (k,)

    Raises
    ------
    ValueError
        If times do not decrease, or there is not one row of gains a step.
    """
    s, g = _positive(spectrum), real_array(gains, "gains", (2,))
    nodes = np.asarray(times, dtype=np.float64)
    check_time(schedule, nodes, "times")
    if nodes.ndim != 1 or len(nodes) < 2 or not np.all(np.diff(nodes) < 0.0):
        msg = f"times={times!r}: use at least two, decreasing"
        raise ValueError(msg)
    if g.shape != (len(nodes) - 1, len(s)):
        msg = f"gains has shape {g.shape}: use a row a step and a column a frequency, {(len(nodes) - 1, len(s))}"
        raise ValueError(msg)
    levels = [(float(schedule.alpha(t)), float(schedule.sigma(t))) for t in nodes.tolist()]
    factor = np.sqrt(levels[0][0] ** 2 * s + levels[0][1] ** 2)
    for (alpha, sigma), (later, less), row in zip(levels[:-1], levels[1:], g, strict=True):
        ratio = less / sigma
        factor = factor * (ratio + (later - ratio * alpha) * row)
    return np.asarray(factor**2)


def _positive(spectrum: ArrayLike) -> FloatArray:
    s = real_array(spectrum, "spectrum", (1,))
    if np.any(s <= 0.0):
        msg = f"spectrum has {float(s.min())!r}: use positive variances"
        raise ValueError(msg)
    return s

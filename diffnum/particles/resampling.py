r"""Resampling: from weighted particles to equally weighted ones, each scheme without bias.

A scheme takes probabilities w and uniform numbers and returns the ancestors of n particles, so that the number of
descendants of particle i has the mean n w_i. They differ in variance: systematic <= stratified <= multinomial, and
residual <= multinomial, for any function of the particles (but systematic, whose draws are dependent, which is usually
the least and may be the largest).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffnum.jobs.checked import check_name
from diffnum.types import FloatArray

__all__ = ["SCHEMES", "IntArray", "ResamplingScheme", "ancestors", "effective_size", "log_mean"]

IntArray: TypeAlias = NDArray[np.int64]


def _multinomial(weights: FloatArray, draws: FloatArray) -> IntArray:
    return _inverted(weights, np.sort(draws))


def _residual(weights: FloatArray, draws: FloatArray) -> IntArray:
    n = len(weights)
    scaled = n * weights
    # Rounding must not turn n * (1/n) into a copy too few.
    copies = np.floor(scaled * (1.0 + 4.0 * np.finfo(float).eps)).astype(np.int64)
    rest = np.clip(scaled - copies, 0.0, None)
    missing = n - int(np.sum(copies))
    sure = np.repeat(np.arange(n), copies)
    if missing <= 0:
        return sure[:n]
    drawn = _inverted(rest / np.sum(rest), np.sort(draws[:missing]))
    return np.sort(np.concatenate([sure, drawn]))


def _stratified(weights: FloatArray, draws: FloatArray) -> IntArray:
    n = len(weights)
    return _inverted(weights, (np.arange(n) + draws) / n)


def _systematic(weights: FloatArray, draws: FloatArray) -> IntArray:
    n = len(weights)
    return _inverted(weights, (np.arange(n) + draws[0]) / n)


def _inverted(weights: FloatArray, points: FloatArray) -> IntArray:
    """Particles at increasing points of the distribution function."""
    total = np.cumsum(weights)
    last = int(np.flatnonzero(weights)[-1])  # rounding must not reach a particle of weight zero at the end
    found = np.searchsorted(total / total[-1], points, side="right")
    return np.asarray(np.minimum(found, last), dtype=np.int64)


@dataclass(frozen=True)
class ResamplingScheme:
    """A way to resample.

    Parameters
    ----------
    name : str
        Its name.
    choose : callable
        ``choose(weights, draws)``: probabilities, shape (n,), that sum to 1, and uniform numbers to ancestors (n,).
    draws : callable
        Number of uniform numbers for n particles.
    source : str
        Where it is described.
    """

    name: str
    choose: Callable[[FloatArray, FloatArray], IntArray]
    draws: Callable[[int], int]
    source: str


def _one_each(n: int) -> int:
    """A uniform number for each particle."""
    return n


def _one(_: int) -> int:
    """One uniform number for all particles."""
    return 1


SCHEMES: Mapping[str, ResamplingScheme] = MappingProxyType(
    {
        scheme.name: scheme
        for scheme in (
            ResamplingScheme("multinomial", _multinomial, _one_each, "Gordon, Salmond and Smith 1993"),
            ResamplingScheme("residual", _residual, _one_each, "Liu and Chen 1998"),
            ResamplingScheme("stratified", _stratified, _one_each, "Kitagawa 1996"),
            ResamplingScheme("systematic", _systematic, _one, "Carpenter, Clifford and Fearnhead 1999"),
        )
    }
)
"""Schemes by name."""


def ancestors(log_weights: FloatArray, scheme: str, draws: FloatArray) -> IntArray:
    """Ancestors of equally weighted particles, shape (n,), not decreasing.

    Parameters
    ----------
    log_weights : ndarray, shape (n,)
        Natural logarithms of weights, not normalised.
    scheme : {"multinomial", "residual", "stratified", "systematic"}
        How they are drawn.
    draws : ndarray
        As many uniform numbers as :attr:`ResamplingScheme.draws` says; more are left alone.

    Returns
    -------
    ndarray of int

    Raises
    ------
    ValueError
        If the scheme is unknown, the weights are none, or there are too few draws in [0, 1).
    """
    check_name("scheme", scheme, SCHEMES)
    weights, given = _weights(log_weights), np.asarray(draws, dtype=np.float64)
    wanted = SCHEMES[scheme].draws(len(weights))
    if given.ndim != 1 or len(given) < wanted or not ((given >= 0.0) & (given < 1.0)).all():
        shown = draws if given.size <= 3 else f"<{given.size} numbers>"
        msg = f"draws={shown}: {scheme} resampling of {len(weights)} particles takes {wanted} numbers in [0, 1)"
        raise ValueError(msg)
    return SCHEMES[scheme].choose(weights / np.sum(weights), given[:wanted])


def effective_size(log_weights: FloatArray) -> float:
    """Kish's effective number of particles, ``(sum w)^2 / sum w^2``.

    Parameters
    ----------
    log_weights : ndarray, shape (n,)
        Natural logarithms, not normalised.

    Returns
    -------
    float
        From 1 to n.

    Raises
    ------
    ValueError
        If there are no weights, or one is NaN or infinite, or all are zero.
    """
    weights = _weights(log_weights)
    return float(np.sum(weights) ** 2 / np.sum(weights * weights))


def _weights(log_weights: FloatArray) -> FloatArray:
    """Weights of which the largest is 1."""
    given = np.asarray(log_weights, dtype=np.float64)
    top = np.max(given) if given.ndim == 1 and given.size else np.nan
    if not np.isfinite(top):
        msg = f"log_weights={log_weights!r}: pass logarithms of weights, shape (n,), of which one at least is not zero"
        raise ValueError(msg)
    return np.asarray(np.exp(given - top))


def log_mean(log_weights: FloatArray) -> float:
    """Natural logarithm of the mean weight."""
    largest = float(np.max(log_weights))
    return largest + float(np.log(np.mean(np.exp(log_weights - largest))))

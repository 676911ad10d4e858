"""What draws say of a law: the distance to an exact one, without the bias of finite draws, its error, and its rate.

The rate of errors that are known by draws is found in one direction. The error of a law is a vector; its leading term
is a fixed vector times a power of the step. So the errors of all levels are projected upon that of the coarsest level,
which other draws have found: the projection is a mean over draws, without bias, with its sign, and its noise is that of
one number, where the distance has the noise of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffnum.convergence.rate import RateEstimate
from diffnum.types import FloatArray

__all__ = ["DrawnErrors", "rate_by_draws", "squared_distance"]

ROUNDS = (0.125, 0.25, 0.5, 1.0)
"""Parts of the draws after which it is asked whether the rate is decided."""

SURE = 4.0
"""An error counts if it is so many standard errors from zero."""

WIDE = 0.45
"""Largest half-width of a decided rate: then at most one whole number lies inside."""

NARROW = 0.25
"""The same while more draws are to come."""

BENT = 2.0
"""A power law fits if the mean of its squared residuals, in standard errors, is no more than this."""

FEWEST = 4
"""Levels that a rate needs: it has three numbers to find."""


def squared_distance(share: FloatArray, exact: FloatArray, draws: int) -> tuple[float, float]:
    """Squared Euclidean distance of the law behind some draws from an exact one, and its variance.

    Parameters
    ----------
    share : ndarray, shape (K,)
        Share of each value among the draws.
    exact : ndarray, shape (K,)
        The exact law.
    draws : int
        Number of draws, >= 2.

    Returns
    -------
    square : float
        Without bias, so that it may be negative.
    variance : float
        Its variance, estimated: of a U-statistic of pairs of draws, ``4 v/n`` from the error, v being its variance at
        one draw, and ``2 sum share^2/n^2`` from the noise alone.

    Examples
    --------
    >>> import numpy as np
    >>> square, variance = squared_distance(np.array([0.5, 0.5]), np.array([0.5, 0.5]), 1000)
    >>> square < 0 < variance
    True
    """
    off = share - exact
    square = float(off @ off - share @ (1.0 - share) / (draws - 1))
    at_one = max(0.0, float(share @ off**2) - float(share @ off) ** 2)
    return square, 4.0 * at_one / draws + 2.0 * float(share @ share) / draws**2


@dataclass(frozen=True)
class DrawnErrors:
    """Errors of laws at several levels, found by draws.

    Parameters
    ----------
    steps : ndarray of int, shape (n,)
        Step counts.
    along, noise : ndarray, shape (n,)
        Error in the direction of the coarsest level's, with its sign, and its standard error.
    squares, variances : ndarray, shape (n,)
        Squared distances, without bias, and their variances: from :func:`squared_distance`.
    least : float
        Least noise that is believed, 1/draws.
    """

    steps: NDArray[np.int64]
    along: FloatArray
    noise: FloatArray
    squares: FloatArray
    variances: FloatArray
    least: float


def rate_by_draws(
    shares: Callable[[int, int, int], FloatArray], exact: FloatArray, steps: Sequence[int], draws: int
) -> RateEstimate:
    """Rate at which the error of a law falls, from draws; more of them until it is decided, at most ``draws``.

    Parameters
    ----------
    shares : callable
        ``shares(level, round, n)``: share of each value among n draws at a level, independent for all levels and
        rounds; level -1 is another run at the coarsest one.
    exact : ndarray, shape (K,)
        The exact law.
    steps : sequence of int
        Step counts of the levels, increasing.
    draws : int
        Draws at each level.

    Returns
    -------
    RateEstimate
    """
    levels = range(-1, len(steps))
    counts, done, estimate = {level: np.zeros(exact.size) for level in levels}, 0, None
    for turn, part in enumerate(ROUNDS):
        more = math.ceil(part * draws) - done
        done += more
        for level in levels:
            counts[level] += more * shares(level, turn, more)
        found = _errors([counts[level] / done for level in levels], exact, steps, done)
        estimate = _estimated(found, last=part == ROUNDS[-1])
        if estimate.status == "decided":
            break
    return estimate  # type: ignore[return-value]


def _errors(shares: list[FloatArray], exact: FloatArray, steps: Sequence[int], draws: int) -> DrawnErrors:
    """Errors of the levels; the first of the shares gives the direction."""
    first, *rest = shares
    direction = first - exact
    length = float(np.linalg.norm(direction))
    unit = direction / length if length > 0 else np.ones(exact.size) / math.sqrt(exact.size)
    along = np.array([float((share - exact) @ unit) for share in rest])
    noise = np.array([math.sqrt(max(0.0, float(s @ unit**2) - float(s @ unit) ** 2) / draws) for s in rest])
    squares, variances = zip(*(squared_distance(share, exact, draws) for share in rest), strict=True)
    return DrawnErrors(
        np.array(steps, dtype=np.int64), along, noise, np.array(squares), np.array(variances), 1.0 / draws
    )


def _estimated(found: DrawnErrors, *, last: bool) -> RateEstimate:
    """Rate p of ``|error| = C n^-p (1 + b/n)`` by weighted least squares on the logarithms.

    Its half-width is two standard errors and what the term in b changes: as much as coarse levels may mislead. With all
    draws, b = 0 will do where it fits and gives a whole number within three.
    """
    n, size = found.steps, np.abs(found.along)
    sure = size > SURE * found.noise
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = -np.diff(np.log(size)) / np.diff(np.log(n))
    rate, width = None, math.inf
    if sure.sum() < FEWEST:
        far = bool(np.any(sure) or np.any(found.squares > SURE * np.sqrt(found.variances)))
        status, reason = (
            ("floor", f"fewer than {FEWEST} levels stand out of the Monte-Carlo error: more draws")
            if far
            else ("exact", "no error exceeds the Monte-Carlo error: exact, or too few draws")
        )
    else:
        # where every draw gives one value no noise is seen: at least that of a single other draw
        noise = np.maximum(found.noise[sure], found.least)
        x, y, weight = np.log(n[sure]), np.log(size[sure]), size[sure] / noise
        straight, narrow, bend = _fitted([np.ones_like(x), -x], y, weight)
        rate, error, _ = _fitted([np.ones_like(x), -x, 1.0 / n[sure]], y, weight)
        width = 2.0 * error + abs(rate - straight)
        if last and bend <= BENT and abs(straight - round(straight)) <= 3.0 * narrow:
            rate, width = straight, 3.0 * narrow
        decided = width <= (WIDE if last else NARROW) and abs(rate - round(rate)) <= width
        status = "decided" if decided else "undecided"
        reason = f"rate {rate:.2f} +- {width:.2f} by draws" + (
            "" if decided else ": more draws, or a kernel, would decide"
        )
        rate = float(round(rate)) if decided else rate
    return RateEstimate(
        steps=n, errors=size, rates=rates, used=sure[1:] & sure[:-1], notes=tuple("" if ok else "floor" for ok in sure),
        rate=rate, last_rate=float(rates[-1]), uncertainty=width, status=status, reason=reason, grid=1.0,  # type: ignore[arg-type]
    )  # fmt: skip


def _fitted(terms: list[FloatArray], y: FloatArray, weight: FloatArray) -> tuple[float, float, float]:
    """Second coefficient of a weighted least squares fit, its standard error, and the mean squared residual."""
    design = np.stack(terms, axis=1) * weight[:, None]
    cover = np.linalg.inv(design.T @ design)
    found = cover @ design.T @ (weight * y)
    left = float(np.sum((weight * y - design @ found) ** 2)) / max(1, len(y) - len(terms))
    return float(found[1]), math.sqrt(float(cover[1, 1])), left

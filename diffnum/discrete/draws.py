"""What draws say of a law: the distance to an exact one, without the bias of finite draws, its error, and its order.

The error of a law at n steps is a vector, and so is every term of its expansion in 1/n. A first part of the draws finds
two directions, those of the errors at the coarsest and at the finest level; means of the others along a direction are
means over draws, without bias, with their sign, and with the noise of one number. Along each direction terms ``c_p
n^-p + c_(p+1) n^-(p+1) + ...`` are fitted. The order is the least p whose term stands out of its error, and it is told
only if all terms of lower order are small beside it at the finest level at which the error is seen well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from diffnum.convergence.rate import RateEstimate
from diffnum.types import FloatArray

__all__ = ["Fitted", "order_along", "rate_by_draws", "squared_distance"]

PILOT = 0.125
"""Part of the draws that finds the directions."""

RUNS = 8
"""Independent runs of each level that the other draws make."""

ASKED = (4, 6, 8)
"""Runs after which it is asked whether the order is decided."""

SURE = 4.0
"""An error counts if it is so many standard errors from zero."""

TOLD = 5.0
"""A term is told if it is so many; from ``DOUBTED`` on no term of higher order is."""

DOUBTED = 3.5

WELL = 10.0
"""It is seen well if it is so many."""

SMALL = 0.25
"""A term is small beside another if it is no larger than this part of it, with 2.5 standard errors."""

PART = 0.1
"""A term is told if it is at least this part of the error."""

NOTHING = 0.03
"""A term of less than this part of the error is as good as none."""

MISFIT = 0.02
"""Probability of residuals as large as those of a fit below which the fit is not accepted."""

FEWEST = 4
"""Levels with an error that stands out; with fewer the floor is all that is seen."""

HIGHEST = 4
"""Highest order that is looked for."""

TERMS = (2, 3, 4, 5)
"""Numbers of terms that are fitted."""

MORE = ": more draws, or a kernel, would decide"

RANGE, RANGE_ONE = 3, 4
"""An order is told where the error is seen well at so many times the steps of the coarsest level; order 1 further on,
since what hides behind it for longest is a bias."""


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


def rate_by_draws(
    shares: Callable[[int, int, int], FloatArray], exact: FloatArray, steps: Sequence[int], draws: int
) -> RateEstimate:
    """Order at which the error of a law falls, from draws; more of them until it is decided, at most ``draws``.

    Parameters
    ----------
    shares : callable
        ``shares(level, run, n)``: share of each value among n draws at a level, independent for all levels and runs.
    exact : ndarray, shape (K,)
        The exact law.
    steps : sequence of int
        Step counts of the levels, increasing.
    draws : int
        Draws at each level.

    Returns
    -------
    RateEstimate
        Errors in standard deviations of one draw, along the direction that shows the order.
    """
    levels, first = range(len(steps)), math.ceil(PILOT * draws)
    pilots = [shares(level, 0, first) for level in levels]
    own = [_direction(pilot, exact, first) for pilot in pilots]
    each = math.ceil((draws - first) / RUNS)
    along: list[FloatArray] = []
    estimate = None
    for asked in ASKED:
        for run in range(len(along), asked):
            off = [shares(level, 1 + run, each) - exact for level in levels]
            # along the direction of the coarsest level, of the finest, and of the level itself
            along.append(np.array([[o @ own[0], o @ own[-1], o @ u] for o, u in zip(off, own, strict=True)]))
        estimate = _estimated(np.array(along), steps, 1.0 / each)
        if estimate.status == "decided":
            break
    return estimate  # type: ignore[return-value]


def _direction(share: FloatArray, exact: FloatArray, draws: int) -> FloatArray:
    """Function of the state that tells two laws apart best, for its variance: mean 0 and variance 1 between them."""
    middle = (share + exact) / 2.0
    weights = (share - exact) / np.maximum(middle, 0.5 / draws)
    weights = weights - middle @ weights
    length = math.sqrt(float(middle @ weights**2))
    return weights / length if length > 0 else weights


@dataclass(frozen=True)
class Fitted:
    """Leading term of an expansion that begins at some order, at the finest level.

    Parameters
    ----------
    value, width : float
        The term and its standard error, with a third of what one more term changes.
    sure : float
        How many widths it is from zero, in the fit of those that are about as narrow where it is the fewest.
    """

    value: float
    width: float
    sure: float


def _term(n: FloatArray, e: FloatArray, noise: FloatArray, p: int, terms: int) -> tuple[float, float, float]:
    """First term of a weighted fit of ``n^-p ... n^-(p + terms - 1)`` at the finest level, its error, chi-squared."""
    design = (n[:, None] / n[-1]) ** -(p + np.arange(terms)) / noise[:, None]
    size = np.linalg.norm(design, axis=0)
    cover = np.linalg.pinv((design / size).T @ (design / size))
    found = cover @ (design / size).T @ (e / noise)
    left = float(np.sum((e / noise - design / size @ found) ** 2))
    return float(found[0] / size[0]), math.sqrt(max(float(cover[0, 0]), 0.0)) / float(size[0]), left


def _fitted(n: FloatArray, e: FloatArray, noise: FloatArray, p: int) -> Fitted | None:
    """Term of order p of all expansions from this order on that fit, on all levels or without the coarsest ones."""
    from scipy.special import chdtrc

    found = []
    for terms in TERMS:
        for k in range(len(n) - terms):
            part = n[k:], e[k:], noise[k:]
            value, _, left = _term(*part, p, terms)
            if chdtrc(len(n) - k - terms, left) < MISFIT:
                continue
            # one more term than fits: what is cut off is no error of the draws
            wider, error, _ = _term(*part, p, terms + 1)
            found.append((wider, error + abs(wider - value) / 3.0))
    if not found:
        return None
    value, width = min(found, key=lambda one: one[1])
    near = [one for one in found if one[1] <= 2.0 * width]
    alike = len({one[0] > 0 for one in near}) == 1
    return Fitted(value, width, min(abs(v) / w for v, w in near) if alike else 0.0)


def order_along(steps: Sequence[int], along: FloatArray, noise: FloatArray) -> tuple[int | None, int, float, str]:
    """Order of errors that are known along some directions.

    Parameters
    ----------
    steps : sequence of int
        Step counts.
    along, noise : ndarray, shape (directions, levels)
        Errors with their signs, and their standard errors.

    Returns
    -------
    order : int or None
        None where they do not decide it.
    direction : int
        That along which the term of this order is the largest.
    lower : float
        Largest part that a term of lower order may have of it at the finest level that is seen well.
    reason : str
        In one sentence.

    Examples
    --------
    >>> n = np.array([2, 3, 4, 6, 8, 12, 16, 24])
    >>> order_along(n, np.array([1 / n + 1 / n**2]), np.full((1, 8), 1e-5))[0]
    1
    >>> order_along(n, np.array([0.02 + 1 / n]), np.full((1, 8), 1e-5))[0]
    0
    """
    n = np.asarray(steps, dtype=np.float64)
    well = [k for k in range(len(n)) if n[k] >= RANGE * n[0] and np.any(np.abs(along[:, k]) > WELL * noise[:, k])]
    if not well:
        return None, 0, math.inf, f"too few errors are seen well{MORE}"
    terms = [[_fitted(n, e, s, p) for p in range(HIGHEST + 1)] for e, s in zip(along, noise, strict=True)]
    told = [_told(terms, n[-1] / n[k], float(np.abs(along[:, k]).max()), f"{n[k]:g} steps") for k in well[::-1]]
    far = [n[k] >= RANGE_ONE * n[0] for k in well[::-1]]
    sure = (one for one, beyond in zip(told, far, strict=True) if one[0] is not None and (one[0] != 1 or beyond))
    open_yet = (None, 0, math.inf, f"an error of order 1 is seen well to {n[well[-1]]:g} steps only{MORE}")
    return next(sure, told[0] if told[0][0] is None else open_yet)


def _told(terms: list[list[Fitted | None]], at: float, top: float, seen: str) -> tuple[int | None, int, float, str]:
    """Order by the terms at one level, whose largest error is ``top``; ``at``: the finest one's steps over its own."""
    led: list[tuple[int, float, int, float]] = []  # order, size of the term, direction, bound of the lower ones
    doubted: set[int] = set()
    for j, found in enumerate(terms):
        bound = 0.0
        for p, term in enumerate(found):
            size, width = (0.0, math.inf) if term is None else (abs(term.value) * at**p, term.width * at**p)
            if term is not None and term.sure > TOLD and size >= PART * top:
                led.append((p, size, j, bound))
                break
            if term is not None and term.sure > DOUBTED and size >= NOTHING * top:
                doubted.add(p)
            bound = max(bound, size + 2.5 * width)
    if not led:
        return None, 0, math.inf, f"no term of the error stands out{MORE}"
    order = min(p for p, *_ in led)
    # the direction that bounds lower terms best is enough; a term that is doubted along any is not
    lower, size, direction = min(
        (bound / size, size, j) for p, size, j, bound in led if p == order and size >= PART * top
    )
    lower = math.inf if any(p < order for p in doubted) else lower
    if order == 0:
        return 0, direction, 0.0, f"the error tends to {size:.2g} standard deviations of a draw, seen to {seen}"
    if lower > SMALL:
        share = f"have {lower:.0%} of it" if lower < 1.0 else "be as large"
        return None, direction, lower, f"looks like order {order}, but a lower term may {share} at {seen}{MORE}"
    return order, direction, lower, f"order {order}, a term of lower order has at most {lower:.0%} of it at {seen}"


def _estimated(along: FloatArray, steps: Sequence[int], least: float) -> RateEstimate:
    """Order from the runs, of shape (runs, levels, 3)."""
    mean, runs = along.mean(axis=0).T, len(along)
    # few runs know their noise badly: that of each level is drawn towards that of all
    variance = along.var(axis=0, ddof=1).T
    pooled = variance.mean(axis=1, keepdims=True)
    noise = np.maximum(np.sqrt(((runs - 1) * variance + 10.0 * pooled) / (runs + 9.0) / runs), least / runs)
    sure = np.abs(mean) > SURE * noise
    n = np.array(steps, dtype=np.int64)
    order, direction, lower, reason = (
        (None, 0, math.inf, "no error exceeds the Monte-Carlo error: exact, or too few draws")
        if not sure.any()
        else order_along(steps, mean[:2], noise[:2])
        if len(n) > TERMS[0]
        else (None, 0, math.inf, f"{len(n)} levels: a rate needs at least {TERMS[0] + 1}")
    )
    size, kept = np.abs(mean[direction]), sure[direction]
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = -np.diff(np.log(size)) / np.diff(np.log(n))
    seen = np.flatnonzero(kept)
    slope = None
    if order is None and len(seen) > 1:
        a, b = seen[0], seen[-1]
        slope = float(np.log(size[a] / size[b]) / np.log(n[b] / n[a]))
    few = int(sure.any(axis=0).sum())
    status = "decided" if order is not None else "exact" if few == 0 else "floor" if few < FEWEST else "undecided"
    return RateEstimate(
        steps=n, errors=size, rates=rates, used=kept[1:] & kept[:-1], notes=tuple("" if ok else "floor" for ok in kept),
        rate=slope if order is None else float(order), last_rate=float(rates[-1]), uncertainty=lower,
        status=status, reason=f"{reason}; noise {noise[direction].max():.1g}", grid=1.0,  # type: ignore[arg-type]
    )  # fmt: skip

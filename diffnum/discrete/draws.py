"""What draws say of a law: the distance to an exact one, without the bias of finite draws, and its error."""

from __future__ import annotations

from diffnum.types import FloatArray

__all__ = ["squared_distance"]


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

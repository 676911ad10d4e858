r"""Semi-discrete optimal transport on the line, against the flow: what DPM-OT puts in the place of the first steps.

DPM-OT (Li et al. 2023, arXiv:2307.11308) maps noise to one of finitely many noisy data by Brenier's potential, the
greatest of the affine functions ``x y_i + h_i``, whose cells carry prescribed masses. On the line the cells are
intervals between quantiles of the source, in the order of the targets, so that map, potential and cost are exact. The
heights belong to a source. That of the code is *uniform* on the unit cube, where they are found (cognaclee/DPM-OT at
48fa4da3, ot_utils/optimal_transport.py, cal_measure_one_batch, a normal draw is commented out) and where the map is
applied (runners/ncsn_runner.py, sample); from normal noise the same heights do not give the masses asked for.
:meth:`SemiDiscrete.masses` says what the cells then carry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from diffnum.problems._states import probabilities, real_array
from diffnum.types import FloatArray

__all__ = ["SemiDiscrete", "semi_discrete"]


@dataclass(frozen=True, eq=False)
class SemiDiscrete:
    """Optimal map from a law on the line to weighted points; made by :func:`semi_discrete`.

    Attributes
    ----------
    points : ndarray, shape (n,)
        Targets, increasing.
    weights : ndarray, shape (n,)
        Masses asked for.
    cuts : ndarray, shape (n - 1,)
        Ends of the cells.
    heights : ndarray, shape (n,)
        Brenier heights h, with mean zero: the map sends x to the point with the largest ``x y_i + h_i``.
    """

    points: FloatArray
    weights: FloatArray
    cuts: FloatArray
    heights: FloatArray

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Image of each source point, shape of ``x``."""
        return np.asarray(self.points[np.searchsorted(self.cuts, np.asarray(x, dtype=np.float64))])

    def masses(self, source: str = "normal") -> FloatArray:
        """Mass that each cell carries under a source, shape (n,)."""
        edges = np.concatenate([[-np.inf], self.cuts, [np.inf]])
        return np.diff(_cdf(source)(edges))


def semi_discrete(points: ArrayLike, weights: ArrayLike | None = None, *, source: str = "normal") -> SemiDiscrete:
    """Optimal transport, for the squared distance, from a law on the line to weighted points.

    Parameters
    ----------
    points : array_like, shape (n,)
        Targets, all different.
    weights : array_like, shape (n,), optional
        Their masses; equal by default.
    source : {"normal", "uniform"}
        Standard normal, or uniform on [0, 1].

    Returns
    -------
    SemiDiscrete
        With targets in increasing order.

    Raises
    ------
    ValueError
        If points coincide, weights are no probabilities or zero, or the source is unknown.
    """
    y = real_array(points, "points", (1,))
    nu = np.full(len(y), 1.0 / len(y)) if weights is None else probabilities(weights)
    if len(nu) != len(y) or np.any(nu == 0.0):
        msg = f"weights has {len(nu)} entries, {int(np.sum(nu == 0.0))} of them zero: use a positive one for each point"
        raise ValueError(msg)
    order = np.argsort(y)
    y, nu = y[order], nu[order]
    if np.any(np.diff(y) == 0.0):
        msg = f"points has {float(y[:-1][np.diff(y) == 0.0][0])!r} twice: use different points, and add their weights"
        raise ValueError(msg)
    cuts = _quantiles(source)(np.cumsum(nu)[:-1])
    # Neighbouring affine pieces meet at the cut: h_i - h_{i+1} = c_i (y_{i+1} - y_i).
    heights = -np.concatenate([[0.0], np.cumsum(cuts * np.diff(y))])
    return SemiDiscrete(y, nu, cuts, heights - heights.mean())


def _cdf(source: str) -> Any:
    return _source(source)[0]


def _quantiles(source: str) -> Any:
    return _source(source)[1]


_SOURCES = {"normal": (ndtr, ndtri), "uniform": (lambda x: np.clip(x, 0.0, 1.0), lambda p: p)}


def _source(name: str) -> Any:
    if name not in _SOURCES:
        msg = f"source={name!r} is not known: use one of {', '.join(map(repr, _SOURCES))}"
        raise ValueError(msg)
    return _SOURCES[name]

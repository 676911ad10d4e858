r"""Semi-discrete optimal transport, against the flow: what DPM-OT puts in the place of the first steps.

DPM-OT (Li et al. 2023, arXiv:2307.11308) maps noise to one of finitely many noisy data by Brenier's potential, the
greatest of the affine functions ``x y_i + h_i``, whose cells carry prescribed masses. On the line the cells are
intervals between quantiles of the source, in the order of the targets, so that map, potential and cost are exact. The
heights belong to a source. That of the code is *uniform* on the unit cube, where they are found (cognaclee/DPM-OT at
48fa4da3, ot_utils/optimal_transport.py, cal_measure_one_batch, a normal draw is commented out) and where the map is
applied (runners/ncsn_runner.py, sample); from normal noise the same heights do not give the masses asked for.
:meth:`SemiDiscrete.masses` says what the cells then carry.

:func:`transport_loss` is what the heights are found by, in any dimension: the convex function ``E[max_i(x y_i + h_i)] -
sum_i nu_i h_i``, whose gradient is what each cell carries less what it should.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from diffnum.distillation.quadrature import normal_points
from diffnum.problems._states import probabilities, real_array
from diffnum.types import FloatArray

__all__ = ["BrenierMap", "SemiDiscrete", "TransportLoss", "semi_discrete", "transport_loss"]


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
    nu = _masses_asked(weights, len(y))
    order = np.argsort(y)
    y, nu = y[order], nu[order]
    _different(y[:, None])
    cuts = _quantiles(source)(np.cumsum(nu)[:-1])
    # Neighbouring affine pieces meet at the cut: h_i - h_{i+1} = c_i (y_{i+1} - y_i).
    heights = -np.concatenate([[0.0], np.cumsum(cuts * np.diff(y))])
    return SemiDiscrete(y, nu, cuts, heights - heights.mean())


@dataclass(frozen=True, eq=False)
class BrenierMap:
    """Student that sends noise to one of finitely many points: that with the largest ``x . y_i + h_i``.

    Parameters
    ----------
    points : ndarray, shape (n, d)
        Targets y.
    heights : ndarray, shape (n,)
        Heights h, which are trained; a constant added to all changes nothing.
    """

    points: FloatArray
    heights: FloatArray

    def __post_init__(self) -> None:
        if self.heights.shape != (len(self.points),):
            msg = f"heights has shape {self.heights.shape}: use one height a point, shape ({len(self.points)},)"
            raise ValueError(msg)

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Image of each source point, shape (m, d)."""
        return np.asarray(self.points[np.argmax(np.asarray(x) @ self.points.T + self.heights, axis=1)])

    @property
    def parameters(self) -> FloatArray:
        """The heights, shape (n,)."""
        return self.heights

    def replace(self, parameters: ArrayLike) -> BrenierMap:
        """Same points under other heights."""
        return BrenierMap(self.points, np.asarray(parameters, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class TransportLoss:
    """Dual of semi-discrete transport from normal noise; made by :func:`transport_loss`.

    Attributes
    ----------
    points : ndarray, shape (n, d)
    weights : ndarray, shape (n,)
        Masses asked for.
    nodes : ndarray, shape (m, d)
        Equally likely points that stand for the noise in more than one dimension; on the line cells are exact.
    """

    points: FloatArray
    weights: FloatArray
    nodes: FloatArray

    @property
    def start(self) -> BrenierMap:
        """Map with heights zero."""
        return BrenierMap(self.points, np.zeros(len(self.points)))

    def value(self, student: BrenierMap) -> float:
        """``E[max_i(x . y_i + h_i)] - sum_i nu_i h_i``."""
        if self.points.shape[1] > 1:
            greatest = np.max(self.nodes @ self.points.T + student.heights, axis=1)
            return float(greatest.mean() - self.weights @ student.heights)
        low, high = self._cells(student)
        held = np.where(low < high, ndtr(high) - ndtr(low), 0.0)
        moment = np.where(low < high, np.exp(-0.5 * low**2) - np.exp(-0.5 * high**2), 0.0) / np.sqrt(2.0 * np.pi)
        return float(self.points[:, 0] @ moment + (held - self.weights) @ student.heights)

    def gradient(self, student: BrenierMap) -> FloatArray:
        """What each cell carries less what it should, shape (n,)."""
        return self.masses(student) - self.weights

    def masses(self, student: BrenierMap) -> FloatArray:
        """Mass of normal noise in each cell, shape (n,)."""
        if self.points.shape[1] > 1:
            chosen = np.argmax(self.nodes @ self.points.T + student.heights, axis=1)
            return np.bincount(chosen, minlength=len(self.points)) / len(self.nodes)
        low, high = self._cells(student)
        return np.where(low < high, ndtr(high) - ndtr(low), 0.0)

    def _cells(self, student: BrenierMap) -> tuple[FloatArray, FloatArray]:
        """Ends of the cells on the line: where a piece meets those of smaller and those of larger slope."""
        y, h = self.points[:, 0], student.heights
        slope = y[:, None] - y
        np.fill_diagonal(slope, 1.0)
        meet = (h - h[:, None]) / slope
        return np.max(np.where(y < y[:, None], meet, -np.inf), axis=1), np.min(
            np.where(y > y[:, None], meet, np.inf), axis=1
        )


def transport_loss(points: ArrayLike, weights: ArrayLike | None = None, *, nodes: int = 4096) -> TransportLoss:
    """Loss by which DPM-OT finds the heights of its map, with normal noise as the source.

    Parameters
    ----------
    points : array_like, shape (n,) or (n, d)
        Targets, all different.
    weights : array_like, shape (n,), optional
        Their masses; equal by default.
    nodes : int
        Points that stand for the noise in more than one dimension.

    Returns
    -------
    TransportLoss

    Raises
    ------
    ValueError
        If points coincide, or weights are no probabilities or zero.
    """
    y = real_array(points, "points", (1, 2))
    y = y[:, None] if y.ndim == 1 else y
    _different(y)
    return TransportLoss(y, _masses_asked(weights, len(y)), normal_points(nodes, y.shape[1]))


def _masses_asked(weights: ArrayLike | None, n: int) -> FloatArray:
    nu = np.full(n, 1.0 / n) if weights is None else probabilities(weights)
    if len(nu) != n or np.any(nu == 0.0):
        msg = f"weights has {len(nu)} entries, {int(np.sum(nu == 0.0))} of them zero: use a positive one for each point"
        raise ValueError(msg)
    return nu


def _different(points: FloatArray) -> None:
    kinds, counts = np.unique(points, axis=0, return_counts=True)
    if np.any(counts > 1):
        twice = kinds[counts > 1][0].tolist()
        msg = (
            f"points has {twice[0] if len(twice) == 1 else twice!r} twice: use different points, and add their weights"
        )
        raise ValueError(msg)


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

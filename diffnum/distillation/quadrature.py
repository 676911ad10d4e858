"""Expectations without sampling: the trapezoid rule on whole lines and planes, and weighted batches of data and noise.

On analytic functions that decay, the trapezoid rule converges faster than any power of its spacing (Trefethen and
Weideman 2014, SIAM Review 56, theorem 5.1): a quarter of the smallest standard deviation is enough for rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from diffnum.problems import GaussianMixture
from diffnum.problems.targets import mixture_of
from diffnum.problems.terms.sums import matrices
from diffnum.types import FloatArray, Schedule

__all__ = ["Pairs", "Plane", "exact_batch", "normal_nodes", "normal_points", "plane"]

_LIMIT = 400_000
"""Largest number of nodes: above it, memory rather than time."""


class Plane(NamedTuple):
    """Nodes of the trapezoid rule over a line or plane."""

    x: FloatArray
    """Nodes, shape (N, d)."""

    weight: float
    """Volume of a cell: integrals are sums over nodes times this."""


def plane(*laws: GaussianMixture, reach: float = 10.0, fineness: float = 0.25) -> Plane:
    """Nodes over all that several laws reach, in one or two dimensions.

    Parameters
    ----------
    *laws : GaussianMixture
        Laws of one dimension.
    reach : float
        Standard deviations around each component that are covered.
    fineness : float
        Spacing over the smallest standard deviation of a component.

    Returns
    -------
    Plane

    Raises
    ------
    ValueError
        If the dimension is above 2, or the laws differ so much in scale that more than 400000 nodes were needed.
    """
    dim = laws[0].dim
    if dim > 2:
        msg = f"the problem has dimension {dim}: exact expectations are for one and two: use a problem of these"
        raise ValueError(msg)
    covariances = [matrices(law.covariances, law.dim) for law in laws]
    least = min(float(np.sqrt(np.linalg.eigvalsh(c).min())) for c in covariances)
    sides = [np.sqrt(np.diagonal(c, axis1=1, axis2=2)) for c in covariances]
    low = np.min([np.min(law.means - reach * s, axis=0) for law, s in zip(laws, sides, strict=True)], axis=0)
    high = np.max([np.max(law.means + reach * s, axis=0) for law, s in zip(laws, sides, strict=True)], axis=0)
    step = fineness * least * (1.0 if dim == 1 else 1.6)
    counts = np.ceil((high - low) / step).astype(int) + 1
    if int(np.prod(counts)) > _LIMIT:
        msg = (
            f"laws of standard deviations down to {least:.3g} over a range of {float(np.max(high - low)):.3g} need "
            f"{int(np.prod(counts))} nodes: use a larger noise level, or laws of more similar scale"
        )
        raise ValueError(msg)
    axes = [a + step * np.arange(n) for a, n in zip(low, counts, strict=True)]
    mesh = np.meshgrid(*axes, indexing="ij")
    return Plane(np.stack([m.ravel() for m in mesh], axis=1), float(step**dim))


def normal_nodes(spacing: float = 0.25, reach: float = 9.0) -> tuple[FloatArray, FloatArray]:
    """Nodes and probabilities of a standard normal variable by the trapezoid rule; each of shape (N,)."""
    half = round(reach / spacing)
    z = spacing * np.arange(-half, half + 1, dtype=np.float64)
    w = np.exp(-0.5 * z * z)
    return z, np.asarray(w / w.sum())


def normal_points(n: int, dim: int) -> FloatArray:
    """Equally likely points that stand for normal noise, without a seed, shape (n, dim).

    A lattice of the unit cube, equidistant in the first coordinate and a Kronecker sequence in the others, under the
    inverse of the normal distribution function: denser than draws, which leave gaps.

    Parameters
    ----------
    n, dim : int
        Points, and dimension.

    Returns
    -------
    ndarray, shape (n, dim)

    Raises
    ------
    ValueError
        If there is no point or no dimension.
    """
    if n < 1 or dim < 1:
        msg = f"n={n} and dim={dim}: use at least one of each"
        raise ValueError(msg)
    k = np.arange(n)
    # The positive root of g^dim = g + 1 is the golden ratio for one further coordinate, and badly approximable after.
    ratio = brentq(lambda g: g**dim - g - 1.0, 1.0, 2.0) if dim > 1 else 1.0
    columns = [(k + 0.5) / n, *((0.5 + k * ratio**-j) % 1.0 for j in range(1, dim))]
    return np.asarray(ndtri(np.clip(np.stack(columns, axis=1), 1e-16, 1.0 - 1e-16)))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Weighted pairs of a datum and a noise: a mini-batch, or an exact rule for the expectation over both.

    Attributes
    ----------
    x0, eps : ndarray, shape (n, d)
        Data and standard normal noise.
    weights : ndarray, shape (n,)
        Probabilities; they sum to 1.
    """

    x0: FloatArray
    eps: FloatArray
    weights: FloatArray

    def at(self, schedule: Schedule, t: float) -> FloatArray:
        """Noisy states ``alpha x_0 + sigma eps``, shape (n, d)."""
        return np.asarray(schedule.alpha(t) * self.x0 + schedule.sigma(t) * self.eps)

    def conditional_velocity(self, schedule: Any, t: float) -> FloatArray:
        """``alpha' x_0 + sigma' eps``, whose mean given the state is the velocity of the flow; shape (n, d).

        Raises
        ------
        ValueError
            Where ``sigma`` is zero and its derivative may not exist.
        """
        slope, noising = schedule.rates(t)
        sigma = float(schedule.sigma(t))
        if sigma == 0.0:
            msg = f"t={t!r}: sigma is zero there, and its derivative need not exist: use a later time"
            raise ValueError(msg)
        return np.asarray(slope * self.x0 + noising / sigma * self.eps)


def exact_batch(problem: Any, *, spacing: float = 0.25) -> Pairs:
    """Rule for expectations over a datum and a noise, exact to about 1e-12 for smooth functions, on the line.

    Parameters
    ----------
    problem : Mixture1D, or Gaussian or GaussianMixture of dimension 1
        Data distribution.
    spacing : float
        Spacing of the nodes of standard normal variables.

    Returns
    -------
    Pairs

    Raises
    ------
    ValueError
        If the problem is not one-dimensional.
    """
    mixture = mixture_of(problem)
    if mixture.dim != 1:
        msg = f"problem has dimension {mixture.dim}: exact batches are for the line: use Pairs of drawn data and noise"
        raise ValueError(msg)
    z, p = normal_nodes(spacing)
    used = p > 1e-18
    z, p = z[used], p[used]
    spread = np.sqrt(matrices(mixture.covariances, mixture.dim)[:, 0, 0])
    x0 = (mixture.means[:, 0, None] + spread[:, None] * z).ravel()
    data = (mixture.weights[:, None] * p).ravel()
    weights = np.outer(data, p).ravel()
    keep = weights > 1e-20
    pairs = np.repeat(x0, len(z))[keep][:, None], np.tile(z, len(x0))[keep][:, None]
    return Pairs(pairs[0], pairs[1], weights[keep] / weights[keep].sum())

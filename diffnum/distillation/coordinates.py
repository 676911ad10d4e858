"""Problems whose flow is known in closed form, as maps of one coordinate at a time in a fixed frame.

``x = Q z``: the coordinates of ``z`` flow independently, each along an increasing map of the line. A Gaussian in its
eigenbasis is of this kind, with affine maps; so is a rotated product of mixtures, with maps by CDF matching. All that a
flow map needs is such a map and its slope.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.special import logsumexp

from diffnum.problems._components import Components
from diffnum.problems._denoiser import Core
from diffnum.problems.gaussian import Gaussian
from diffnum.problems.mixture import GaussianMixture
from diffnum.problems.product import CoordinateMixtures, Mixture1D, RotatedProduct
from diffnum.types import FloatArray

__all__ = ["ALLOWED", "AffineCoordinates", "Coordinates", "Level", "MatchedCoordinates", "coordinates_of"]

Level = tuple[float, float]
"""``(alpha, sigma)``."""


class Coordinates(Protocol):
    """Independent coordinates ``z = Q^T x`` with increasing flow maps."""

    @property
    def core(self) -> Core:
        """Exact predictions, as functions of ``(alpha, sigma)``."""

    @property
    def rotation(self) -> FloatArray | None:
        """Q, shape (d, d); None for the identity."""

    def carry(self, z: FloatArray, start: Level, end: Level) -> FloatArray:
        """Map coordinates, shape (n, d), from one noise level to another."""

    def slope(self, z: FloatArray, image: FloatArray, start: Level, end: Level) -> FloatArray:
        """Derivative of :meth:`carry` at ``z``, whose image is known; shape (n, d), positive."""

    def spread(self, level: Level) -> tuple[FloatArray, FloatArray]:
        """Least and greatest coordinate within ten standard deviations of any component, each of shape (d,)."""


@dataclass(frozen=True, eq=False)
class AffineCoordinates:
    """A Gaussian in the eigenbasis of its covariance."""

    core: Components
    centre: FloatArray
    variances: FloatArray
    rotation: FloatArray | None

    def _deviation(self, level: Level) -> FloatArray:
        return np.sqrt(level[0] ** 2 * self.variances + level[1] ** 2)

    def carry(self, z: FloatArray, start: Level, end: Level) -> FloatArray:
        """See :meth:`Coordinates.carry`."""
        ratio = self._deviation(end) / self._deviation(start)
        return np.asarray(end[0] * self.centre + ratio * (z - start[0] * self.centre))

    def slope(self, z: FloatArray, image: FloatArray, start: Level, end: Level) -> FloatArray:  # noqa: ARG002
        """See :meth:`Coordinates.slope`."""
        return np.broadcast_to(self._deviation(end) / self._deviation(start), z.shape)

    def spread(self, level: Level) -> tuple[FloatArray, FloatArray]:
        """See :meth:`Coordinates.spread`."""
        reach = 10.0 * self._deviation(level)
        return level[0] * self.centre - reach, level[0] * self.centre + reach


@dataclass(frozen=True, eq=False)
class MatchedCoordinates:
    """Mixtures in every coordinate, matched by their distribution functions."""

    core: CoordinateMixtures

    @property
    def rotation(self) -> FloatArray | None:
        """See :attr:`Coordinates.rotation`."""
        return self.core.rotation

    def carry(self, z: FloatArray, start: Level, end: Level) -> FloatArray:
        """See :meth:`Coordinates.carry`."""
        y = z if self.rotation is None else z @ self.rotation.T
        out = self.core.match(y, start, end)
        return out if self.rotation is None else out @ self.rotation

    def slope(self, z: FloatArray, image: FloatArray, start: Level, end: Level) -> FloatArray:
        """See :meth:`Coordinates.slope`: the quotient of the two densities."""
        return np.asarray(np.exp(self._log_density(z, start) - self._log_density(image, end)))

    def spread(self, level: Level) -> tuple[FloatArray, FloatArray]:
        """See :meth:`Coordinates.spread`."""
        alpha, sigma = level
        reach = 10.0 * np.sqrt(alpha**2 * self.core.spectra + sigma**2)
        used = np.isfinite(self.core.log_weights)
        low = np.min(np.where(used, alpha * self.core.means - reach, np.inf), axis=1)
        return low, np.max(np.where(used, alpha * self.core.means + reach, -np.inf), axis=1)

    def _log_density(self, z: FloatArray, level: Level) -> FloatArray:
        alpha, sigma = level
        v = alpha**2 * self.core.spectra + sigma**2
        r = z[:, :, None] - alpha * self.core.means
        return np.asarray(logsumexp(self.core.log_weights - 0.5 * (r * r / v + np.log(v)), axis=-1))


def _gaussian(problem: Gaussian) -> Coordinates:
    core = problem.mixture.core
    rotation = None if core.bases is None else core.bases[0].T
    centre = problem.mean if rotation is None else problem.mean @ rotation
    return AffineCoordinates(core, centre, problem.eigenvalues, rotation)


def _mixture(problem: GaussianMixture) -> Coordinates | None:
    if len(problem.weights) == 1:
        return _gaussian(Gaussian(problem.means[0], problem.covariances[0]))
    if problem.dim == 1:
        variances = problem.covariances.reshape(-1)
        return MatchedCoordinates(RotatedProduct((Mixture1D(problem.weights, problem.means[:, 0], variances),)).core)
    return None


_COORDINATES: dict[type, Callable[[Any], Coordinates | None]] = {
    Gaussian: _gaussian,
    GaussianMixture: _mixture,
    Mixture1D: lambda problem: MatchedCoordinates(RotatedProduct((problem,)).core),
    RotatedProduct: lambda problem: MatchedCoordinates(problem.core),
}

ALLOWED = (
    "Gaussian in any dimension, Mixture1D, RotatedProduct of Mixture1D in any dimension, "
    "GaussianMixture in one dimension or with one component"
)
"""Problems with a flow map in closed form."""


def coordinates_of(problem: Any) -> Coordinates:
    """Coordinates in which the flow of a problem is known exactly.

    Raises
    ------
    TypeError
        If the problem has no flow map in closed form; the message lists those that have one.
    """
    made = _COORDINATES.get(type(problem))
    coordinates = None if made is None else made(problem)
    if coordinates is None:
        kind = type(problem).__name__
        if isinstance(problem, GaussianMixture):
            kind = f"GaussianMixture in {problem.dim} dimensions (its flow is integrated, not known)"
        msg = f"problem={kind}: no flow map in closed form: use one of {ALLOWED}"
        raise TypeError(msg)
    return coordinates

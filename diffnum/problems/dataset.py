"""The ideal denoiser of a finite data set: what a network of unlimited capacity would learn from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import hypot, log
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.problems._components import Components
from diffnum.problems._denoiser import ExactDenoiser, responsibilities
from diffnum.problems._flow import carry, integrate
from diffnum.problems._states import (
    check_noise,
    check_schedule,
    drift_vector,
    endpoint,
    generator_of,
    positive_count,
    real_array,
)
from diffnum.problems.mixture import GaussianMixture
from diffnum.types import Array, FloatArray, Prediction, Schedule


@dataclass(frozen=True, eq=False)
class FiniteDataset:
    """Equally probable points; satisfies :class:`diffnum.types.Problem`.

    The noisy state is a mixture of N isotropic Gaussians of standard deviation ``sigma`` around the scaled
    points.

    Parameters
    ----------
    points : array_like, shape (N, d) or (N, C, H, W)
        Data points; images are flattened, and models take and return states of either shape.
    direct : bool, optional
        Evaluation order, as in :class:`~diffnum.problems.GaussianMixture`.

    Raises
    ------
    ValueError
        If an entry is not finite, or there is no point.

    Notes
    -----
    The data have no density: there is no ``log_prob``, and the model raises ``ValueError`` where ``sigma(t)``
    is 0. The ideal denoiser of a training set is in Karras et al. 2022, appendix B.3.
    """

    points: FloatArray
    direct: bool | None = None
    core: Components = field(init=False, repr=False)

    if TYPE_CHECKING:  # the fields are arrays, but anything that makes one may be given

        def __init__(self, points: ArrayLike, direct: bool | None = None) -> None: ...

    def __post_init__(self) -> None:
        points = real_array(self.points, "points", (2, 3, 4))
        flat = points.reshape(len(points), -1)
        count = len(flat)
        core = Components(np.full(count, -log(count)), flat, np.zeros((count, 1)), None, self.direct)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "core", core)

    @property
    def dim(self) -> int:
        """Number of entries d of a data point."""
        return self.core.dim

    def denoiser(self, schedule: Schedule, prediction: Prediction = "data") -> ExactDenoiser:
        """Exact model under a schedule; see :meth:`GaussianMixture.denoiser`."""
        return ExactDenoiser(self.core, schedule, prediction)

    def at(self, schedule: Schedule, t: float) -> GaussianMixture:
        """Exact law of the noisy state at a time where ``sigma(t) > 0``."""
        check_schedule(schedule)
        alpha, sigma = endpoint(schedule, t, "t")
        check_noise(np, sigma, t)
        count = len(self.core.means)
        means = alpha * self.core.means + drift_vector(schedule, alpha, self.dim)
        return GaussianMixture(np.exp(self.core.log_weights), means, np.full(count, sigma**2), direct=self.direct)

    def responsibilities(self, x: Array, schedule: Schedule, t: Any) -> Array:
        """Posterior probability of each point; see :meth:`GaussianMixture.responsibilities`."""
        return responsibilities(self.core, x, schedule, t)

    def sample(self, n: int, seed: int) -> FloatArray:
        """Draw ``n`` of the points with replacement; float64, shape (n, d)."""
        chosen = generator_of(seed).integers(len(self.core.means), size=positive_count(n))
        return np.asarray(self.core.means[chosen])

    def flow(self, x: Array, schedule: Schedule, t_from: float, t_to: float) -> Array:
        """Probability-flow map between times where ``sigma > 0``; see :meth:`GaussianMixture.flow`."""

        def mapping(y: FloatArray, start: tuple[float, float], end: tuple[float, float]) -> FloatArray:
            for (_, sigma), t in ((start, t_from), (end, t_to)):
                check_noise(np, sigma, t)
            scale = min(1.0, *(sigma / hypot(alpha, sigma) for alpha, sigma in (start, end)))
            return integrate(self.core.predict, y, start, end, scale=scale)

        return carry(x, self.dim, schedule, t_from, t_to, mapping)

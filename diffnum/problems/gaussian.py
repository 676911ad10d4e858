"""A single Gaussian: affine predictions and a closed-form probability-flow map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.problems._denoiser import ExactDenoiser
from diffnum.problems._flow import carry
from diffnum.problems._states import check_schedule, drift_vector, endpoint, real_array
from diffnum.problems.mixture import GaussianMixture
from diffnum.types import Array, FloatArray, Prediction, Schedule


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A Gaussian in d dimensions; satisfies :class:`diffnum.types.Problem`.

    Parameters
    ----------
    mean : array_like, shape (d,)
        Mean.
    covariance : array_like, shape (d, d) or (d,), or float
        Covariance matrix, or its diagonal, or one variance for all directions.

    Raises
    ------
    ValueError
        If shapes do not fit, an entry is not finite, or the covariance is not symmetric positive definite.
    """

    mean: FloatArray
    covariance: Any
    mixture: GaussianMixture = field(init=False, repr=False)

    if TYPE_CHECKING:  # the fields are arrays, but anything that makes one may be given

        def __init__(self, mean: ArrayLike, covariance: ArrayLike) -> None: ...

    def __post_init__(self) -> None:
        mean = real_array(self.mean, "mean", (1,))
        covariance = real_array(self.covariance, "covariance", (0, 1, 2))
        dim = len(mean)
        if covariance.shape not in ((), (dim,), (dim, dim)):
            msg = (
                f"covariance has shape {covariance.shape}; expected {(dim, dim)}, {(dim,)} or a number to go with mean"
            )
            raise ValueError(msg)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", covariance)
        object.__setattr__(self, "mixture", GaussianMixture(np.ones(1), mean[None], covariance[None]))

    @property
    def dim(self) -> int:
        """Dimension d of the data."""
        return len(self.mean)

    @property
    def eigenvalues(self) -> FloatArray:
        """Eigenvalues of the covariance, shape (d,)."""
        return np.array(np.broadcast_to(self.mixture.core.spectra[0], (self.dim,)))

    @property
    def eigenvectors(self) -> FloatArray:
        """Eigenvectors of the covariance as rows, shape (d, d), in the order of :attr:`eigenvalues`."""
        bases = self.mixture.core.bases
        return np.eye(self.dim) if bases is None else bases[0]

    @property
    def covariance_matrix(self) -> FloatArray:
        """Covariance as a matrix, shape (d, d)."""
        if self.covariance.ndim == 2:
            return np.asarray(self.covariance)
        return np.diag(self.eigenvalues)

    def denoiser(self, schedule: Schedule, prediction: Prediction = "data") -> ExactDenoiser:
        """Exact model under a schedule; see :meth:`GaussianMixture.denoiser`."""
        return self.mixture.denoiser(schedule, prediction)

    def at(self, schedule: Schedule, t: float) -> Gaussian:
        """Exact law of the noisy state: mean ``alpha m``, covariance ``alpha^2 C + sigma^2 I``."""
        check_schedule(schedule)
        alpha, sigma = endpoint(schedule, t, "t")
        noise = sigma**2 * np.eye(self.dim) if self.covariance.ndim == 2 else sigma**2
        mean = alpha * self.mean + drift_vector(schedule, alpha, self.dim)
        return Gaussian(mean, alpha**2 * self.covariance + noise)

    def log_prob(self, x: Array) -> Array:
        """Natural logarithm of the density at ``x``, shape (n, d) or (n, ...); returns shape (n,)."""
        return self.mixture.log_prob(x)

    def sample(self, n: int, seed: int) -> FloatArray:
        """Draw ``n`` points; float64, shape (n, d). The same seed gives the same points."""
        return self.mixture.sample(n, seed)

    def flow(self, x: Array, schedule: Schedule, t_from: float, t_to: float) -> Array:
        """Probability-flow map in closed form.

        With ``S_t = alpha_t^2 C + sigma_t^2 I`` it is
        ``x_t = alpha_t m + S_t^{1/2} S_s^{-1/2} (x_s - alpha_s m)``, evaluated in the eigenbasis of ``C``.

        Parameters
        ----------
        x : array, shape (n, d) or (n, ...)
            States at ``t_from``. Torch tensors are carried in float64 on the CPU and come back as they were.
        schedule : Schedule
            The noising process.
        t_from, t_to : float
            Times, in either order.

        Returns
        -------
        array, shape of ``x``
            States at ``t_to`` on the same trajectories.
        """

        def mapping(y: FloatArray, start: tuple[float, float], end: tuple[float, float]) -> FloatArray:
            spectra, bases = self.mixture.core.spectra[0], self.mixture.core.bases
            ratio = np.sqrt(end[0] ** 2 * spectra + end[1] ** 2) / np.sqrt(start[0] ** 2 * spectra + start[1] ** 2)
            z = y - start[0] * self.mean
            z = z * ratio if bases is None else ((z @ bases[0].T) * ratio) @ bases[0]
            return np.asarray(end[0] * self.mean + z)

        return carry(x, self.dim, schedule, t_from, t_to, mapping)

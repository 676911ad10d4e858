"""One-step students whose law is known: mixtures of affine maps of normal noise.

``x = m_k + A_k z`` with probability ``w_k``: its noisy law is a Gaussian mixture, and the gradient of any expectation
over it is exact by the pathwise rule, since the latent given the noisy state is Gaussian,
``E[z | x_t] = alpha A^T (alpha^2 A A^T + sigma^2)^{-1} (x_t - alpha m)``. With one component it is the affine student.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.distillation.quadrature import Plane
from diffnum.problems import GaussianMixture
from diffnum.problems._states import probabilities, real_array
from diffnum.problems.targets import mixture_of
from diffnum.problems.terms.sums import matrices
from diffnum.types import FloatArray

__all__ = ["Generator", "moments"]


@dataclass(frozen=True, eq=False)
class Generator:
    """A mixture of affine maps of normal noise, ``x = means[k] + factors[k] z``.

    Parameters
    ----------
    means : array_like, shape (K, d)
        Shifts.
    factors : array_like, shape (K, d, d) or (K, d)
        Matrices, or their diagonals; any sign, zero allowed.
    weights : array_like, shape (K,), optional
        Probabilities of the components; equal by default. They are not trained.

    Raises
    ------
    ValueError
        If shapes do not fit or an entry is not finite.
    """

    means: FloatArray
    factors: FloatArray
    weights: Any = None

    if TYPE_CHECKING:  # the fields are arrays, but anything that makes one may be given

        def __init__(self, means: ArrayLike, factors: ArrayLike, weights: ArrayLike | None = None) -> None: ...

    def __post_init__(self) -> None:
        means = real_array(self.means, "means", (2,))
        factors = real_array(self.factors, "factors", (2, 3))
        count, dim = means.shape
        if factors.shape == (count, dim):
            factors = np.asarray(factors[:, :, None] * np.eye(dim))
        if factors.shape != (count, dim, dim):
            msg = f"factors has shape {factors.shape}: use {(count, dim, dim)} or {(count, dim)} to go with means"
            raise ValueError(msg)
        weights = np.full(count, 1.0 / count) if self.weights is None else probabilities(self.weights)
        if len(weights) != count:
            msg = f"weights has {len(weights)} entries and means {count} rows: use one of each a component"
            raise ValueError(msg)
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "factors", factors)
        object.__setattr__(self, "weights", weights)

    @property
    def dim(self) -> int:
        """Dimension d."""
        return int(self.means.shape[1])

    @property
    def parameters(self) -> FloatArray:
        """Shifts, then matrices, shape (K d + K d d,)."""
        return np.concatenate([self.means.ravel(), self.factors.ravel()])

    def replace(self, parameters: ArrayLike) -> Generator:
        """Same student with other parameters."""
        values = np.asarray(parameters, dtype=np.float64)
        if values.shape != (self.means.size + self.factors.size,):
            msg = f"parameters has shape {values.shape}: use shape ({self.means.size + self.factors.size},)"
            raise ValueError(msg)
        cut = self.means.size
        return Generator(values[:cut].reshape(self.means.shape), values[cut:].reshape(self.factors.shape), self.weights)

    def noisy(self, alpha: float, sigma: float) -> GaussianMixture:
        """Law of ``alpha x + sigma eps``.

        Raises
        ------
        ValueError
            If a matrix is singular and ``sigma`` is zero: the law has no density.
        """
        outer = self.factors @ np.swapaxes(self.factors, 1, 2)
        return GaussianMixture(self.weights, alpha * self.means, alpha**2 * outer + sigma**2 * np.eye(self.dim))

    def sample(self, n: int, seed: int) -> FloatArray:
        """Draw ``n`` points, shape (n, d)."""
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(self.weights), size=n, p=self.weights)
        z = rng.standard_normal((n, self.dim))
        return np.asarray(self.means[chosen] + np.einsum("nij,nj->ni", self.factors[chosen], z))

    def pathwise(
        self, nodes: Plane, field: FloatArray, alpha: float, sigma: float, log_factor: FloatArray | float = 0.0
    ) -> FloatArray:
        r"""Gradient ``E[factor(x_t) sum_i field_i(x_t) d x_t,i / d theta]`` of an expectation over the noisy law.

        Parameters
        ----------
        nodes : Plane
            Where the field is given.
        field : ndarray, shape (N, d)
            Derivative of the integrand with respect to the noisy state.
        alpha, sigma : float
            Noise level.
        log_factor : ndarray, shape (N,), or float
            Logarithm of the factor.

        Returns
        -------
        ndarray, shape of :attr:`parameters`
        """
        law = self.noisy(alpha, sigma)
        means, factors = np.empty_like(self.means), np.empty_like(self.factors)
        for k, weight in enumerate(self.weights):
            part = GaussianMixture(np.ones(1), law.means[k : k + 1], law.covariances[k : k + 1])
            mass = weight * nodes.weight * np.exp(part.log_prob(nodes.x) + log_factor)
            latent = alpha * np.linalg.solve(law.covariances[k], (nodes.x - law.means[k]).T).T @ self.factors[k]
            means[k] = alpha * (mass @ field)
            factors[k] = alpha * np.einsum("n,ni,nj->ij", mass, field, latent)
        return np.concatenate([means.ravel(), factors.ravel()])


def moments(problem: Any) -> tuple[FloatArray, FloatArray]:
    """Mean, shape (d,), and covariance, shape (d, d), of a mixture of Gaussians."""
    mixture = mixture_of(problem)
    mean = mixture.weights @ mixture.means
    centred = mixture.means - mean
    each = matrices(mixture.covariances, mixture.dim) + centred[:, :, None] * centred[:, None, :]
    return mean, np.einsum("k,kij->ij", mixture.weights, each)

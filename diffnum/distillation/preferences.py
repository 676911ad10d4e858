r"""Preference losses of few-step samplers: what they come to rest at is a tilt, known in closed form.

With reward r and temperature beta, reward-difference prediction (PRDP; Deng et al. 2024, arXiv:2402.08714) and
pairwise sample optimisation (PSO; Miao et al. 2024, arXiv:2410.03190) both rest at ``p(x) ~ p_ref(x) exp(r(x)/beta)``.
For a mixture of Gaussians and a reward ``slope . x - curvature |x|^2 / 2`` that is a mixture again.

An affine policy reaches it where the reference is a Gaussian. Of a mixture it cannot, and then the two losses part. The
log-density of an affine policy is linear in its natural parameters (precision times mean, and precision), and both
losses see it up to a constant: PRDP is a regression of ``log p_ref + r/beta`` on linear and quadratic functions, PSO a
logistic regression. Both are convex there, so that the best policy of the class is one system of equations, or a few.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.distillation.checks import checked_student
from diffnum.distillation.generators import Generator
from diffnum.distillation.quadrature import normal_nodes
from diffnum.problems import Gaussian, GaussianMixture, Mixture1D, RotatedProduct
from diffnum.problems._states import real_array
from diffnum.problems.targets import mixture_of, tilted
from diffnum.problems.terms.sums import matrices
from diffnum.types import FloatArray

__all__ = ["PreferenceLoss", "preference_loss"]

_LIMIT = 3_000
"""Largest number of nodes: the pairs of them are its square."""


@dataclass(frozen=True, eq=False)
class PreferenceLoss:
    """Loss of a policy on pairs drawn from the reference; made by :func:`preference_loss`.

    Attributes
    ----------
    reference : Problem
        Law that pairs are drawn from.
    slope : ndarray, shape (d,)
        Of the reward ``slope . x - curvature |x|^2 / 2``.
    curvature : float
        Of the reward.
    temperature : float
        Positive; small follows the reward, large the reference.
    pairwise : bool
        The log-sigmoid of preferences (PSO) instead of squared reward differences (PRDP).
    x : ndarray, shape (N, d)
        Nodes that stand for the reference.
    weights : ndarray, shape (N,)
        Their probabilities.
    """

    reference: Any
    slope: FloatArray
    curvature: float
    temperature: float
    pairwise: bool
    x: FloatArray
    weights: FloatArray

    @property
    def optimum(self) -> Any:
        """Reference tilted by ``exp(reward/temperature)``, a law of the same kind."""
        return _tilted(self.reference, self.slope / self.temperature, self.curvature / self.temperature)

    def value(self, policy: Generator) -> float:
        """Expected loss."""
        return self._value(self._margin(self._check(policy)))

    def gradient(self, policy: Generator) -> FloatArray:
        """Derivative of :meth:`value`, shape of ``policy.parameters``."""
        return np.asarray(_slopes(self._check(policy), self.x).T @ self._pull(self._margin(policy)))

    @property
    def affine_optimum(self) -> Generator:
        """Least point over affine policies, by Newton's method in natural parameters.

        Raises
        ------
        ValueError
            If it is no density: the best quadratic function does not fall in every direction.
        """
        dim = self.x.shape[1]
        powers = list(combinations_with_replacement(range(dim), 2))
        functions = np.concatenate([self.x, np.stack([self.x[:, i] * self.x[:, j] for i, j in powers], axis=1)], axis=1)
        functions = functions - self.weights @ functions
        logs = np.asarray(self.reference.log_prob(self.x))
        weighed = self.weights[:, None] * functions
        natural = np.linalg.solve(functions.T @ weighed, weighed.T @ logs)  # the reference, as far as a Gaussian can be
        for _ in range(100):
            margin = functions @ natural - logs
            slope = functions.T @ self._pull(margin)
            move, step = np.linalg.solve(self._curved(functions, margin), slope), 1.0
            while step > 1e-6 and self._value(functions @ (natural - step * move) - logs) > self._value(margin):
                step *= 0.5
            natural = natural - step * move
            if np.abs(move).max() <= 1e-13 * (1.0 + np.abs(natural).max()):
                break
        precision = np.zeros((dim, dim))
        for value, (i, j) in zip(natural[dim:], powers, strict=True):
            precision[i, j] -= value
            precision[j, i] -= value
        if np.linalg.eigvalsh(precision).min() <= 0.0:
            msg = "the best quadratic function is no density: use a larger temperature, or a smaller curvature"
            raise ValueError(msg)
        covariance = np.linalg.inv(precision)
        return Generator((covariance @ natural[:dim])[None], np.linalg.cholesky(covariance)[None])

    def _check(self, policy: Generator) -> Generator:
        checked_student(policy, self.x.shape[1], "policy")
        least = float(np.abs(np.linalg.det(policy.factors)).min())
        if not least:
            msg = "policy has factors of determinant 0.0: it has no density to compare: use factors with an inverse"
            raise ValueError(msg)
        return policy

    @property
    def _rewards(self) -> FloatArray:
        """Rewards of the nodes over the temperature."""
        whole = self.x @ self.slope - 0.5 * self.curvature * np.sum(self.x**2, axis=1)
        return np.asarray(whole / self.temperature)

    @cached_property
    def _preferred(self) -> FloatArray:
        """Probability that the first of two nodes is preferred, by Bradley and Terry."""
        return _sigmoid(_differences(self._rewards))

    def _margin(self, policy: Generator) -> FloatArray:
        """Log-ratio of policy to reference, shape (N,)."""
        return np.asarray(policy.noisy(1.0, 0.0).log_prob(self.x) - self.reference.log_prob(self.x))

    def _value(self, margin: FloatArray) -> float:
        if not self.pairwise:  # the mean square of a difference is twice a variance
            gap = margin - self._rewards
            return float(2.0 * self.weights @ (gap - self.weights @ gap) ** 2)
        return float(2.0 * self.weights @ (self._preferred * np.logaddexp(0.0, -_differences(margin))) @ self.weights)

    def _pull(self, margin: FloatArray) -> FloatArray:
        """Derivative of the value with respect to the margin of each node, shape (N,)."""
        if not self.pairwise:
            gap = margin - self._rewards
            return np.asarray(4.0 * self.weights * (gap - self.weights @ gap))
        force = _sigmoid(_differences(margin)) - self._preferred
        return np.asarray(2.0 * self.weights * (force @ self.weights))

    def _curved(self, functions: FloatArray, margin: FloatArray) -> FloatArray:
        """Second derivative of the value along functions of mean zero."""
        if not self.pairwise:
            return np.asarray(4.0 * functions.T @ (self.weights[:, None] * functions))
        chance = _sigmoid(_differences(margin))
        pairs = self.weights[:, None] * chance * (1.0 - chance) * self.weights
        return np.asarray(2.0 * functions.T @ (pairs.sum(axis=1)[:, None] * functions - pairs @ functions))


def _sigmoid(u: FloatArray) -> FloatArray:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * u))


def _differences(u: FloatArray) -> FloatArray:
    return np.asarray(u[:, None] - u)


def _slopes(policy: Generator, x: FloatArray) -> FloatArray:
    """Derivative of the log-density of a policy, shape (N, parameters)."""
    law = policy.noisy(1.0, 0.0)
    parts = [GaussianMixture(np.ones(1), m[None], c[None]) for m, c in zip(law.means, law.covariances, strict=True)]
    logs = np.stack([part.log_prob(x) for part in parts], axis=1)
    shares = policy.weights * np.exp(logs - law.log_prob(x)[:, None])
    means, factors = [], []
    for share, m, a in zip(shares.T, policy.means, policy.factors, strict=True):
        latent = np.linalg.solve(a, (x - m).T).T
        force = np.linalg.solve(a.T, latent.T).T
        means.append(share[:, None] * force)
        factors.append(share[:, None, None] * (force[:, :, None] * latent[:, None, :] - np.linalg.inv(a).T))
    return np.concatenate([*means, *(f.reshape(len(x), -1) for f in factors)], axis=1)


def _tilted(problem: Any, slope: FloatArray, curvature: float) -> Any:
    """Tilt of a law, of the same kind: laws with exact flows keep them."""
    if isinstance(problem, RotatedProduct):
        turned = slope if problem.rotation is None else problem.rotation.T @ slope
        sides = [_tilted(side, turned[i : i + 1], curvature) for i, side in enumerate(problem.mixtures)]
        return RotatedProduct(tuple(sides), problem.rotation)
    found = tilted(problem, slope=slope, curvature=-curvature)
    if isinstance(problem, Gaussian):
        return Gaussian(found.means[0], matrices(found.covariances, found.dim)[0])
    if isinstance(problem, Mixture1D):
        spread = matrices(found.covariances, 1)[:, 0, 0]
        return Mixture1D(found.weights, found.means[:, 0], spread)
    return found


def _nodes(problem: Any, spacing: float | None) -> tuple[FloatArray, FloatArray]:
    """Nodes and probabilities that stand for a law of one or two dimensions."""
    mixture = mixture_of(problem)
    dim = mixture.dim
    if dim > 2:
        msg = f"reference has dimension {dim}: pairs are summed on the line and in the plane: use a law of these"
        raise ValueError(msg)
    z, p = normal_nodes((0.25, 1.0)[dim - 1] if spacing is None else spacing)
    grid = np.stack([m.ravel() for m in np.meshgrid(*[z] * dim, indexing="ij")], axis=1)
    mass = np.prod(np.stack(np.meshgrid(*[p] * dim, indexing="ij")), axis=0).ravel()
    if dim > 1:  # corners that the sum would not see, and that pairs are too many for
        grid, mass = grid[mass > 1e-9], mass[mass > 1e-9]
    roots = np.linalg.cholesky(matrices(mixture.covariances, dim))
    x = (mixture.means[:, None, :] + grid @ np.swapaxes(roots, 1, 2)).reshape(-1, dim)
    if len(x) > _LIMIT:
        msg = f"spacing={spacing!r} makes {len(x)} nodes of the reference, and all pairs of them: use a larger spacing"
        raise ValueError(msg)
    weights = np.outer(mixture.weights, mass).ravel()
    return x, weights / weights.sum()


def preference_loss(
    reference: Any,
    *,
    slope: ArrayLike,
    curvature: float = 0.0,
    temperature: float = 1.0,
    pairwise: bool = False,
    spacing: float | None = None,
) -> PreferenceLoss:
    """Loss of a policy for the reward ``slope . x - curvature |x|^2 / 2``.

    Parameters
    ----------
    reference : Gaussian, Mixture1D, GaussianMixture or RotatedProduct
        Law of the reference model, of one or two dimensions; pairs are drawn from it.
    slope : array_like, shape () or (d,)
        Of the reward.
    curvature : float
        Of the reward, the same in every direction.
    temperature : float
        Positive; small follows the reward, large the reference.
    pairwise : bool
        The log-sigmoid of preferences (PSO) instead of squared reward differences (PRDP).
    spacing : float, optional
        Spacing of the nodes of standard normal variables, each component's: 0.25 on the line, 1 in the plane.

    Returns
    -------
    PreferenceLoss

    Raises
    ------
    ValueError
        If the dimension is above 2, the temperature not positive, the nodes are too many, or the tilt has no density.
    TypeError
        If the reference is no mixture of Gaussians.
    """
    dim = mixture_of(reference).dim
    gradient = real_array(slope, "slope", (0, 1))
    if gradient.shape not in ((), (dim,)):
        msg = f"slope has shape {gradient.shape}: use a number, or one for each of {dim} coordinates"
        raise ValueError(msg)
    if not np.isfinite(curvature):
        msg = f"curvature={curvature!r}: use a finite number"
        raise ValueError(msg)
    if not temperature > 0.0:
        msg = f"temperature={temperature!r}: use a positive number"
        raise ValueError(msg)
    if spacing is not None and not spacing > 0.0:
        msg = f"spacing={spacing!r}: use a positive number, or None"
        raise ValueError(msg)
    x, weights = _nodes(reference, spacing)
    widest = float(np.linalg.eigvalsh(matrices(mixture_of(reference).covariances, dim)).max())
    if not 1.0 / widest + curvature / temperature > 0.0:
        msg = f"curvature={curvature!r} tilts the reference to no density: use more than -temperature / variance"
        raise ValueError(msg)
    whole = np.broadcast_to(gradient, (dim,)).copy()
    return PreferenceLoss(reference, whole, float(curvature), float(temperature), pairwise, x, weights)

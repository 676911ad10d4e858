r"""Preference losses of few-step samplers on the line: what they come to rest at is a tilt, known in closed form.

With reward r and temperature beta, reward-difference prediction (PRDP; Deng et al. 2024, arXiv:2402.08714) and
pairwise sample optimisation (PSO; Miao et al. 2024, arXiv:2410.03190) both rest at ``p(x) ~ p_ref(x) exp(r(x)/beta)``.
For a Gaussian reference and a reward ``slope x - curvature x^2 / 2`` that is a Gaussian, which a Gaussian policy
reaches exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffnum.distillation.checks import checked_student
from diffnum.distillation.generators import Generator
from diffnum.distillation.quadrature import normal_nodes
from diffnum.problems import Gaussian
from diffnum.types import FloatArray

__all__ = ["PreferenceLoss", "preference_loss"]


@dataclass(frozen=True, eq=False)
class PreferenceLoss:
    """Loss of an affine policy on pairs drawn from the reference; made by :func:`preference_loss`.

    Parameters
    ----------
    reference : Gaussian
        Law that pairs are drawn from, in one dimension.
    slope, curvature : float
        Of the reward ``slope x - curvature x^2 / 2``.
    temperature : float
        Positive; small follows the reward, large the reference.
    pairwise : bool
        The log-sigmoid of preferences (PSO) instead of squared reward differences (PRDP).
    spacing : float
        Spacing of the nodes of standard normal variables.
    """

    reference: Gaussian
    slope: float
    curvature: float
    temperature: float
    pairwise: bool
    spacing: float

    @property
    def optimum(self) -> Gaussian:
        """Reference tilted by ``exp(reward/temperature)``."""
        precision = 1.0 / self._variance + self.curvature / self.temperature
        mean = (self.reference.mean[0] / self._variance + self.slope / self.temperature) / precision
        return Gaussian([mean], 1.0 / precision)

    def value(self, policy: Generator) -> float:
        """Expected loss."""
        self._check(policy)
        a, b, weights = self._draws()
        margin = self._margin(policy, a) - self._margin(policy, b)
        if not self.pairwise:
            return float(weights @ (margin - (self._reward(a) - self._reward(b)) / self.temperature) ** 2)
        preferred = self._preferred(a, b)
        return float(weights @ (preferred * np.logaddexp(0.0, -margin) + (1.0 - preferred) * np.logaddexp(0.0, margin)))

    def gradient(self, policy: Generator) -> FloatArray:
        """Derivative of :meth:`value`, shape (2,): mean, factor."""
        self._check(policy)
        a, b, weights = self._draws()
        margin = self._margin(policy, a) - self._margin(policy, b)
        slopes = self._slopes(policy, a) - self._slopes(policy, b)
        if not self.pairwise:
            force = 2.0 * (margin - (self._reward(a) - self._reward(b)) / self.temperature)
        else:
            force = np.exp(-np.logaddexp(0.0, -margin)) - self._preferred(a, b)
        return np.asarray(slopes.T @ (weights * force))

    @staticmethod
    def _check(policy: Generator) -> None:
        if not checked_student(policy, 1, "policy", affine=True).factors[0, 0, 0]:
            msg = "policy has factor 0.0: it has no density to compare: use a factor that is not zero"
            raise ValueError(msg)

    @property
    def _variance(self) -> float:
        return float(self.reference.eigenvalues[0])

    def _reward(self, x: FloatArray) -> FloatArray:
        return np.asarray(self.slope * x - 0.5 * self.curvature * x * x)

    def _preferred(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Probability that a is preferred, by Bradley and Terry."""
        return np.asarray(np.exp(-np.logaddexp(0.0, -(self._reward(a) - self._reward(b)) / self.temperature)))

    def _draws(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        z, p = normal_nodes(self.spacing)
        x = self.reference.mean[0] + np.sqrt(self._variance) * z
        a, b = np.meshgrid(x, x, indexing="ij")
        return a.ravel(), b.ravel(), np.outer(p, p).ravel()

    def _margin(self, policy: Generator, x: FloatArray) -> FloatArray:
        """Log-ratio of policy to reference, less a constant."""
        m, s = float(policy.means[0, 0]), float(policy.factors[0, 0, 0])
        return np.asarray(0.5 * (x - self.reference.mean[0]) ** 2 / self._variance - 0.5 * ((x - m) / s) ** 2)

    @staticmethod
    def _slopes(policy: Generator, x: FloatArray) -> FloatArray:
        m, s = float(policy.means[0, 0]), float(policy.factors[0, 0, 0])
        return np.stack([(x - m) / s**2, (x - m) ** 2 / s**3], axis=1)


def preference_loss(
    reference: Gaussian,
    *,
    slope: float,
    curvature: float = 0.0,
    temperature: float = 1.0,
    pairwise: bool = False,
    spacing: float = 0.25,
) -> PreferenceLoss:
    """Loss of a Gaussian policy on the line for the reward ``slope x - curvature x^2 / 2``.

    Parameters
    ----------
    reference : Gaussian
        Law of the reference model, of dimension 1; pairs are drawn from it.
    slope, curvature : float
        Of the reward.
    temperature : float
        Positive; small follows the reward, large the reference.
    pairwise : bool
        The log-sigmoid of preferences (PSO) instead of squared reward differences (PRDP).
    spacing : float
        Spacing of the nodes of standard normal variables.

    Returns
    -------
    PreferenceLoss

    Raises
    ------
    ValueError
        If the dimension is not 1, the temperature not positive, or the tilt has no density.
    """
    if reference.dim != 1:
        msg = f"reference has dimension {reference.dim}: use a Gaussian on the line"
        raise ValueError(msg)
    for name, value in (("slope", slope), ("curvature", curvature)):
        if not np.isfinite(value):
            msg = f"{name}={value!r}: use a finite number"
            raise ValueError(msg)
    if not temperature > 0.0:
        msg = f"temperature={temperature!r}: use a positive number"
        raise ValueError(msg)
    if not 1.0 / float(reference.eigenvalues[0]) + curvature / temperature > 0.0:
        msg = f"curvature={curvature!r} tilts the reference to no density: use more than -temperature / variance"
        raise ValueError(msg)
    return PreferenceLoss(reference, float(slope), float(curvature), float(temperature), pairwise, spacing)

"""Products of powers of laws with any real exponents, by quadrature in one and two dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.problems._components import log_sum_exp
from diffnum.problems._denoiser import ExactDenoiser
from diffnum.problems._flow import carry, integrate
from diffnum.problems._states import FORMS, check_state, positive_count, real_array
from diffnum.problems.mixture import GaussianMixture, mixture_of
from diffnum.problems.targets.smoothing import SmoothedGrid, drawn_from_rows
from diffnum.types import Array, FloatArray, Prediction, Schedule

__all__ = ["PowerProduct"]

FINE = 12
"""Nodes a standard deviation of the narrowest feature."""

MOST = {1: 200_000, 2: 4000}
"""Largest number of nodes an axis, by dimension."""


@dataclass(frozen=True, eq=False)
class PowerProduct:
    r"""Law proportional to :math:`\prod_i p_i(x)^{\beta_i}`; satisfies :class:`diffnum.types.Problem`.

    Annealing to a temperature that is no integer's inverse is one factor; classifier-free guidance of weight w claims
    :math:`p_\emptyset^{1-w} p_c^w`; a product of models has exponents 1 and 1.

    Parameters
    ----------
    problems : sequence of GaussianMixture, Gaussian, Mixture1D or RotatedProduct
        Factors, in one or two dimensions.
    exponents : array_like, shape (number of factors,)
        Real numbers, also negative ones.

    Raises
    ------
    ValueError
        If the numbers of factors and exponents differ, dimensions are not all 1 or all 2, the product has no integral
        (its logarithm does not fall in some direction), or a feature is too narrow for the quadrature.

    Notes
    -----
    Sums are taken on a uniform grid with 12 nodes a standard deviation of the narrowest feature over all that is above
    1e-19 of the maximum; for a smooth density that vanishes at the ends such sums converge faster than any power, here
    to rounding. Under little noise, sigma/alpha below a nearest neighbour and a half, the noisy law is a Gauss-Hermite
    sum around the state instead. States of any array library are carried by numpy.
    """

    problems: tuple[GaussianMixture, ...]
    exponents: FloatArray
    core: _Quadrature = field(init=False, repr=False)

    def __init__(self, problems: Sequence[Any], exponents: Any) -> None:
        factors = tuple(mixture_of(problem) for problem in problems)
        powers = real_array(exponents, "exponents", (1,))
        if len(factors) != len(powers):
            msg = f"exponents has {len(powers)} entries for {len(factors)} problems: give one each"
            raise ValueError(msg)
        if {factor.dim for factor in factors} not in ({1}, {2}):
            msg = (
                f"problems have dimensions {[factor.dim for factor in factors]}: quadrature is for one or two; "
                "integer powers and products are mixtures in any, see targets.power and targets.product"
            )
            raise ValueError(msg)
        _check_integrable(factors, powers)
        object.__setattr__(self, "problems", factors)
        object.__setattr__(self, "exponents", powers)
        object.__setattr__(self, "core", _Quadrature(factors, powers))

    @property
    def dim(self) -> int:
        """Dimension of the data, 1 or 2."""
        return self.core.dim

    @property
    def log_evidence(self) -> float:
        r"""Natural logarithm of :math:`\int \prod_i p_i^{\beta_i}`."""
        return self.core.grid.log_mass

    @property
    def mean(self) -> FloatArray:
        """Mean, shape (d,)."""
        return self.core.grid.moments()[0]

    @property
    def covariance(self) -> FloatArray:
        """Covariance matrix, shape (d, d)."""
        return self.core.grid.moments()[1]

    def expectation(self, function: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Expectation of a function of states, shape (n, d) to (n, ...)."""
        points, shares = self.core.grid.points()
        return np.asarray(np.tensordot(shares, function(points), axes=(0, 0)))

    def log_prob(self, x: Array) -> Array:
        """Natural logarithm of the density at ``x``, shape (n, d) or (n, ...); returns shape (n,)."""
        state = check_state(x, self.dim)
        values = self.core.log_density(state.on_host().flat) - self.log_evidence
        return state.xp.asarray(values, dtype=state.flat.dtype, device=device(state.flat))

    def denoiser(self, schedule: Schedule, prediction: Prediction = "data") -> ExactDenoiser:
        """Exact model of the noised law under a schedule; see :meth:`GaussianMixture.denoiser`."""
        return ExactDenoiser(self.core, schedule, prediction)

    def sample(self, n: int, seed: int) -> FloatArray:
        """Draw ``n`` points by inverting distribution functions; float64, shape (n, d).

        Between nodes the density is taken as a line, which enlarges variances by less than a share of 1e-3.
        """
        n = positive_count(n)
        draws = np.random.default_rng(seed).random((n, self.dim))
        axes, values = self.core.grid.axes, self.core.grid.values
        first = drawn_from_rows(axes[0], np.sum(values, axis=1)[None], draws[:, 0])
        if self.dim == 1:
            return first[:, None]
        second = np.empty(n)
        rows = max(1, (1 << 21) // len(axes[1]))
        for start in range(0, n, rows):
            run = slice(start, start + rows)
            at = np.stack(np.broadcast_arrays(first[run, None], axes[1]), axis=-1)
            log_rows = self.core.log_density(at.reshape(-1, 2)).reshape(at.shape[:2])
            density = np.exp(log_rows - np.max(log_rows, axis=1, keepdims=True))
            second[run] = drawn_from_rows(axes[1], density, draws[run, 1])
        return np.stack([first, second], axis=1)

    def flow(self, x: Array, schedule: Schedule, t_from: float, t_to: float) -> Array:
        """Probability-flow map between two times; see :meth:`GaussianMixture.flow`."""

        def mapping(y: FloatArray, start: tuple[float, float], end: tuple[float, float]) -> FloatArray:
            return integrate(self.core.predict, y, start, end, tolerance=1e-11, scale=min(1.0, self.core.narrowest))

        return carry(x, self.dim, schedule, t_from, t_to, mapping)


class _Quadrature:
    """The law as predictions of ``(alpha, sigma)``."""

    has_atoms = False

    def __init__(self, factors: tuple[GaussianMixture, ...], powers: FloatArray) -> None:
        self.factors, self.powers = factors, powers
        self.dim = factors[0].dim
        used = [(f, b) for f, b in zip(factors, powers.tolist(), strict=True) if b]
        growth = max(1.0, float(np.sum(np.abs(powers))))
        self.narrowest = min(float(np.sqrt(np.min(f.core.spectra))) for f, _ in used) / np.sqrt(growth)

    @cached_property
    def grid(self) -> SmoothedGrid:
        """Values on a grid; made when first asked for."""
        return SmoothedGrid.around(self.log_density, self._start_box(), self.narrowest / FINE, MOST[self.dim])

    def _start_box(self) -> FloatArray:
        """Lower and upper ends, shape (d, 2), of the means and eight standard deviations beside them."""
        means = np.concatenate([f.means for f in self.factors])
        spread = 8.0 * max(float(np.sqrt(np.max(f.core.spectra))) for f in self.factors)
        return np.stack([means.min(axis=0) - spread, means.max(axis=0) + spread], axis=1)

    def log_density(self, z: FloatArray) -> FloatArray:
        """Logarithm of the density, not normalised, of data of shape (n, d)."""
        parts = (b * log_sum_exp(np, f.core.log_joint(z, 1.0, 0.0)) for f, b in self._pairs())
        return np.asarray(sum(parts))

    def score(self, z: FloatArray) -> FloatArray:
        """Gradient of :meth:`log_density`."""
        form = FORMS["score"](1.0, 0.0)
        return np.asarray(sum(b * f.core.predict(z, 1.0, 0.0, form) for f, b in self._pairs()))

    def _pairs(self) -> list[tuple[GaussianMixture, float]]:
        return list(zip(self.factors, self.powers.tolist(), strict=True))

    def predict(self, y: Array, alpha: Any, sigma: Any, form: Any) -> Array:
        """Posterior mean of a linear form at states ``y``, shape (n, d)."""
        z, a, s, (data, noise) = _on_host(y, alpha, sigma, form)
        score = self.grid.score(z, a, s, self.log_density, self.score)
        # x_0 = (x + sigma^2 score)/alpha and sigma eps = -sigma^2 score: nothing is divided by sigma.
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(a > 0.0, (z + s * s * score) / a, self.grid.moments()[0])
        return _like(y, data * mean - noise * score)

    def jvp(self, y: Array, tangent: Array, alpha: Any, sigma: Any, form: Any) -> Array:
        """Differentiate :meth:`predict` at ``y`` along ``tangent``, by a central difference of the sums."""
        scale = 1e-5 * max(self.narrowest, 1e-300)
        ahead, behind = (self.predict(y + d * scale * tangent, alpha, sigma, form) for d in (0.5, -0.5))
        return (ahead - behind) / scale


def _on_host(y: Array, alpha: Any, sigma: Any, form: Any) -> tuple[FloatArray, FloatArray, FloatArray, Any]:
    z = _numpy(y)
    columns = [np.broadcast_to(_numpy(c), (len(z), 1)) for c in (alpha, sigma)]
    return z, columns[0], columns[1], [_numpy(part) for part in form]


def _numpy(value: Any) -> FloatArray:
    value = value.detach().cpu() if hasattr(value, "detach") else value
    return np.asarray(value, dtype=np.float64)


def _like(y: Array, value: FloatArray) -> Array:
    return array_namespace(y).asarray(value, dtype=y.dtype, device=device(y))


def _check_integrable(factors: tuple[GaussianMixture, ...], powers: FloatArray) -> None:
    """Refuse products whose logarithm does not fall far out: there each factor is its widest component."""
    dim = factors[0].dim
    angles = np.linspace(0.0, np.pi, 180, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1) if dim == 2 else np.ones((1, 1))
    total = np.zeros(len(directions))
    for factor, beta in zip(factors, powers.tolist(), strict=True):
        core = factor.core
        turned = directions[:, None, :] * np.ones((1, len(core.spectra), 1))
        if core.bases is not None:
            turned = np.einsum("kij,nj->nki", core.bases, directions)
        precision = np.sum(turned * turned / core.spectra, axis=2)
        total += beta * np.min(precision, axis=1)
    if not np.min(total) > 0.0:
        at = directions[int(np.argmin(total))].tolist()
        msg = (
            f"exponents={powers.tolist()}: the product has no integral, far out along {at} its logarithm does not fall "
            f"(the exponents add the precisions up to {float(np.min(total)):.3g}); use smaller exponents for the "
            "narrow-tailed factors that are divided by"
        )
        raise ValueError(msg)

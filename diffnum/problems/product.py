"""Problems with flow maps exact to rounding: one-dimensional mixtures and rotated products of them.

In one dimension the flow keeps the probability to the left of a trajectory, so its map is CDF matching,
``F_t^{-1}(F_s(x))``. The equation is solved for the logarithm of the smaller of the two tail probabilities,
which keeps all digits however far out ``x`` lies. A product of independent coordinates flows coordinate by
coordinate, and a rotation of space commutes with the process; hence exact maps in any dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from scipy.special import log_ndtr, ndtri_exp

from diffnum.problems._components import (
    beside,
    gain_of,
    in_blocks,
    lift,
    localised,
    log_sum_exp,
    softmax,
    turn,
    variances,
)
from diffnum.problems._denoiser import ExactDenoiser
from diffnum.problems._flow import carry
from diffnum.problems._states import (
    Coefficient,
    LinearForm,
    check_schedule,
    check_state,
    drift_vector,
    endpoint,
    generator_of,
    positive_count,
    probabilities,
    real_array,
)
from diffnum.problems._threads import by_calling_thread, product
from diffnum.problems.mixture import GaussianMixture
from diffnum.types import Array, FloatArray, Prediction, Schedule


@dataclass(frozen=True, eq=False)
class Mixture1D:
    """A mixture of K Gaussians on the line; satisfies :class:`diffnum.types.Problem` with ``dim`` 1.

    Parameters
    ----------
    weights : array_like, shape (K,)
        Probabilities of the components; they sum to 1.
    means : array_like, shape (K,)
        Means.
    variances : array_like, shape (K,)
        Variances (not standard deviations), positive.

    Raises
    ------
    ValueError
        If weights are negative or do not sum to 1, shapes differ, an entry is not finite or a variance not
        positive.
    """

    weights: FloatArray
    means: FloatArray
    variances: FloatArray

    def __post_init__(self) -> None:
        weights = probabilities(self.weights)
        means, spread = real_array(self.means, "means", (1,)), real_array(self.variances, "variances", (1,))
        if not len(weights) == len(means) == len(spread):
            msg = (
                f"weights, means and variances have {len(weights)}, {len(means)} and {len(spread)} entries; "
                "give one of each a component"
            )
            raise ValueError(msg)
        if np.any(spread <= 0):
            k = int(np.argmin(spread))
            msg = f"variances[{k}] = {spread[k]} is not positive; pass positive variances"
            raise ValueError(msg)
        for name, value in (("weights", weights), ("means", means), ("variances", spread)):
            object.__setattr__(self, name, value)

    @property
    def dim(self) -> int:
        """Dimension of the data, 1."""
        return 1

    @property
    def mixture(self) -> GaussianMixture:
        """The same law as a mixture in one dimension, whose flow is integrated."""
        return GaussianMixture(self.weights, self.means[:, None], self.variances)

    def denoiser(self, schedule: Schedule, prediction: Prediction = "data") -> ExactDenoiser:
        """Exact model under a schedule; see :meth:`GaussianMixture.denoiser`."""
        return RotatedProduct((self,)).denoiser(schedule, prediction)

    def at(self, schedule: Schedule, t: float) -> Mixture1D:
        """Exact law of the noisy state at time ``t``."""
        return RotatedProduct((self,)).at(schedule, t).mixtures[0]

    def log_prob(self, x: Array) -> Array:
        """Natural logarithm of the density at ``x``, shape (n, 1); returns shape (n,)."""
        return RotatedProduct((self,)).log_prob(x)

    def sample(self, n: int, seed: int) -> FloatArray:
        """Draw ``n`` points; float64, shape (n, 1)."""
        return RotatedProduct((self,)).sample(n, seed)

    def flow(self, x: Array, schedule: Schedule, t_from: float, t_to: float) -> Array:
        """Probability-flow map of states of shape (n, 1); see :meth:`RotatedProduct.flow`."""
        return RotatedProduct((self,)).flow(x, schedule, t_from, t_to)


@dataclass(frozen=True, eq=False)
class RotatedProduct:
    """Independent one-dimensional mixtures, rotated: ``x = Q z``; satisfies :class:`diffnum.types.Problem`.

    It is a Gaussian mixture with as many components as the product of the coordinates' numbers, at the cost
    of their sum.

    Parameters
    ----------
    mixtures : sequence of Mixture1D, length d
        Laws of the coordinates of ``z``.
    rotation : array_like, shape (d, d), optional
        Orthogonal matrix Q; the identity by default.
    seed : int, optional
        Draw Q from the uniform law on orthogonal matrices instead.

    Raises
    ------
    TypeError
        If an entry of ``mixtures`` is not a :class:`Mixture1D`.
    ValueError
        If there is none, the rotation is not orthogonal or of the wrong shape, or both it and a seed are
        given.
    """

    mixtures: Sequence[Mixture1D]
    rotation: Any = None
    seed: int | None = None
    core: CoordinateMixtures = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mixtures = tuple(self.mixtures)
        if not mixtures:
            msg = "mixtures is empty; give one Mixture1D a dimension"
            raise ValueError(msg)
        for index, mixture in enumerate(mixtures):
            if not isinstance(mixture, Mixture1D):
                msg = f"mixtures[{index}] is a {type(mixture).__name__}; pass Mixture1D records"
                raise TypeError(msg)
        rotation = _rotation(self.rotation, self.seed, len(mixtures))
        object.__setattr__(self, "mixtures", mixtures)
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "core", _stack(mixtures, rotation))

    def __repr__(self) -> str:
        """Short form."""
        components = "x".join(str(len(mixture.weights)) for mixture in self.mixtures[:8])
        more = "..." if len(self.mixtures) > 8 else ""
        return f"RotatedProduct(dim={self.dim}, components={components}{more}, rotated={self.rotation is not None})"

    @property
    def dim(self) -> int:
        """Dimension d of the data."""
        return len(self.mixtures)

    @property
    def mixture(self) -> GaussianMixture:
        """The same law with its components written out, at most 4096."""
        count = int(np.prod([len(m.weights) for m in self.mixtures]))
        if count > 4096:
            msg = f"problem has {count} components: use a product of at most 4096"
            raise ValueError(msg)
        weights = np.ones(1)
        means, spreads = np.empty((1, 0)), np.empty((1, 0))
        for m in self.mixtures:
            k, old = len(m.weights), len(weights)
            weights = np.repeat(weights, k) * np.tile(m.weights, old)
            means = np.column_stack([np.repeat(means, k, axis=0), np.tile(m.means, old)])
            spreads = np.column_stack([np.repeat(spreads, k, axis=0), np.tile(m.variances, old)])
        if self.rotation is None:
            return GaussianMixture(weights, means, spreads)
        full = (self.rotation * spreads[:, None, :]) @ self.rotation.T
        return GaussianMixture(weights, means @ self.rotation.T, 0.5 * (full + np.swapaxes(full, 1, 2)))

    def denoiser(self, schedule: Schedule, prediction: Prediction = "data") -> ExactDenoiser:
        """Exact model under a schedule; see :meth:`GaussianMixture.denoiser`."""
        return ExactDenoiser(self.core, schedule, prediction)

    def at(self, schedule: Schedule, t: float) -> RotatedProduct:
        """Exact law of the noisy state at time ``t``."""
        check_schedule(schedule)
        alpha, sigma = endpoint(schedule, t, "t")
        shift = np.broadcast_to(drift_vector(schedule, alpha, self.dim), (self.dim,))
        shift = shift if self.rotation is None else shift @ self.rotation
        laws = (
            Mixture1D(m.weights, alpha * m.means + s, alpha**2 * m.variances + sigma**2)
            for m, s in zip(self.mixtures, shift, strict=True)
        )
        return RotatedProduct(tuple(laws), self.rotation)

    def log_prob(self, x: Array) -> Array:
        """Natural logarithm of the density at ``x``, shape (n, d) or (n, ...); returns shape (n,)."""
        state = check_state(x, self.dim)
        return state.xp.astype(self.core.log_prob(state.flat), state.flat.dtype)

    def sample(self, n: int, seed: int) -> FloatArray:
        """Draw ``n`` points; float64, shape (n, d). The same seed gives the same points."""
        n = positive_count(n)
        generator = generator_of(seed)
        z = np.empty((n, self.dim))
        for i, m in enumerate(self.mixtures):
            chosen = generator.choice(len(m.weights), size=n, p=m.weights)
            z[:, i] = m.means[chosen] + np.sqrt(m.variances[chosen]) * generator.standard_normal(n)
        return z if self.rotation is None else z @ self.rotation.T

    def flow(self, x: Array, schedule: Schedule, t_from: float, t_to: float) -> Array:
        """Probability-flow map by CDF matching, exact to rounding.

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

        Notes
        -----
        Where the flow expands strongly (between well separated peaks, towards data) the map itself is
        ill-conditioned: rounding of ``x`` is amplified by its derivative, here as in any method.
        """
        return carry(x, self.dim, schedule, t_from, t_to, self.core.match)


@dataclass(frozen=True, eq=False)
class CoordinateMixtures:
    """Mixtures of all coordinates as arrays of shape (d, K), short ones filled up with log-weight -inf."""

    log_weights: FloatArray
    means: FloatArray
    spectra: FloatArray
    rotation: FloatArray | None
    _cache: dict[Any, dict[str, Any]] = field(default_factory=dict, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @property
    def dim(self) -> int:
        """Dimension d."""
        return int(self.means.shape[0])

    @property
    def has_atoms(self) -> bool:
        """False: variances are positive."""
        return False

    def predict(self, y: Array, alpha: Coefficient, sigma: Coefficient, form: LinearForm) -> Array:
        """Posterior mean of a linear form at states ``y``, shape (n, d), less any drift."""

        def block(alpha: Coefficient, sigma: Coefficient, form: LinearForm, y: Array) -> Array:
            xp, p, r, v, weights = self._posterior(y, alpha, sigma)
            form = LinearForm(*map(lift, form))
            each = form.data * p["means"] + gain_of(p["spectra"], v, lift(alpha), form) * r
            out = self._out(xp, p, xp.sum(weights * each, axis=-1))
            return out if out.dtype == y.dtype else xp.astype(out, y.dtype)

        size = self.means.size
        return by_calling_thread(y.shape[0] * self._work, in_blocks, y, size, block, alpha, sigma, form, y)

    def jvp(self, y: Array, tangent: Array, alpha: Coefficient, sigma: Coefficient, form: LinearForm) -> Array:
        """Differentiate :meth:`predict` at ``y`` along ``tangent``, both of shape (n, d)."""

        def block(alpha: Coefficient, sigma: Coefficient, form: LinearForm, y: Array, u: Array) -> Array:
            xp, p, r, v, weights = self._posterior(y, alpha, sigma)
            form = LinearForm(*map(lift, form))
            gain = gain_of(p["spectra"], v, lift(alpha), form)
            slope = xp.sum(turn(xp, weights, -r / v) * (form.data * p["means"] + gain * r) + weights * gain, axis=-1)
            return xp.astype(self._out(xp, p, slope * self._in(xp, p, u)), y.dtype)

        size = self.means.size
        return by_calling_thread(y.shape[0] * self._work, in_blocks, y, size, block, alpha, sigma, form, y, tangent)

    def log_prob(self, x: Array) -> Array:
        """Log-density of the data, float64, shape (n,)."""
        xp, p = array_namespace(x), self._local(x)
        r = self._in(xp, p, x)[:, :, None] - p["means"]
        joint = p["log_weights"] - 0.5 * (r * r / p["spectra"] + xp.log(2.0 * np.pi * p["spectra"]))
        return xp.sum(log_sum_exp(xp, joint), axis=-1)

    def match(self, y: FloatArray, start: tuple[float, float], end: tuple[float, float]) -> FloatArray:
        """Carry states, shape (n, d), by CDF matching in every coordinate."""
        z = y if self.rotation is None else y @ self.rotation
        shape = (*z.shape, self.means.shape[1])
        before, after = (
            (alpha * self.means, np.sqrt(alpha**2 * self.spectra + sigma**2)) for alpha, sigma in (start, end)
        )
        flat = [np.broadcast_to(a, shape).reshape(-1, shape[-1]) for a in (self.log_weights, *before, *after)]
        out = match_tails(z.reshape(-1), *flat).reshape(z.shape)
        return out if self.rotation is None else np.asarray(out @ self.rotation.T)

    @property
    def _work(self) -> int:
        """Multiplications of the larger of mixing and rotating, for one sample."""
        return max(self.means.size, 0 if self.rotation is None else self.rotation.size)

    def _local(self, like: Array) -> dict[str, Any]:
        arrays = {"log_weights": self.log_weights, "means": self.means, "spectra": self.spectra}
        if self.rotation is not None:
            arrays["rotation"] = self.rotation
        return localised(self._cache, like, lambda xp, like: beside(xp, like, arrays))

    def _posterior(
        self, y: Array, alpha: Coefficient, sigma: Coefficient
    ) -> tuple[Any, dict[str, Any], Array, Array, Array]:
        xp, p = array_namespace(y), self._local(y)
        r = self._in(xp, p, y)[:, :, None] - lift(alpha) * p["means"]
        v = variances(p["spectra"], lift(alpha), lift(sigma))
        return xp, p, r, v, softmax(xp, p["log_weights"] - 0.5 * (r * r / v + xp.log(v)))

    @staticmethod
    def _in(xp: Any, p: dict[str, Any], x: Array) -> Array:
        x = x if x.dtype == xp.float64 else xp.astype(x, xp.float64)
        return product(xp, x, p["rotation"]) if "rotation" in p else x

    @staticmethod
    def _out(xp: Any, p: dict[str, Any], z: Array) -> Array:
        return product(xp, z, xp.matrix_transpose(p["rotation"])) if "rotation" in p else z


def log_tail(
    x: FloatArray, log_weights: FloatArray, means: FloatArray, deviations: FloatArray, side: Any
) -> FloatArray:
    """Logarithm of the probability on one side of ``x``.

    Parameters
    ----------
    x : ndarray, shape (n,)
        Points.
    log_weights, means, deviations : ndarray, shape (n, K)
        Mixtures, one a point.
    side : +1.0 or -1.0, or ndarray of them, shape (n,)
        +1 for the probability to the left (the CDF), -1 for that to the right.

    Returns
    -------
    ndarray, shape (n,)
    """
    z = np.asarray(side)[..., None] * (x[:, None] - means) / deviations
    return np.asarray(log_sum_exp(np, log_weights + log_ndtr(z)))


def match_tails(
    x: FloatArray,
    log_weights: FloatArray,
    means: FloatArray,
    deviations: FloatArray,
    new_means: FloatArray,
    new_deviations: FloatArray,
) -> FloatArray:
    """Points of the new mixtures with the same tail probabilities as ``x`` has in the old ones.

    Newton's method on the log-probability, in a bracket made of the components' own quantiles; a step that
    leaves the bracket, or does not halve the last one, is replaced by bisection.

    Parameters
    ----------
    x : ndarray, shape (n,)
        Points.
    log_weights, means, deviations, new_means, new_deviations : ndarray, shape (n, K)
        Old and new mixtures, one pair a point; components of log-weight -inf are ignored.

    Returns
    -------
    ndarray, shape (n,)
    """
    left, right = (log_tail(x, log_weights, means, deviations, side) for side in (1.0, -1.0))
    side = np.where(left <= right, 1.0, -1.0)
    target = np.minimum(left, right)
    used = np.isfinite(log_weights)
    quantiles = new_means + side[:, None] * new_deviations * ndtri_exp(target)[:, None]
    low = np.min(np.where(used, quantiles, np.inf), axis=1)
    high = np.max(np.where(used, quantiles, -np.inf), axis=1)
    narrow = np.min(np.where(used, new_deviations, np.inf), axis=1)
    # The quantiles carry rounding errors of their own: widen the bracket by more than those.
    margin = 1e-13 * (np.abs(low) + np.abs(high) + narrow)
    low, high = low - margin, high + margin
    result = 0.5 * (low + high)
    step = high - low
    active = np.arange(len(x))
    for _ in range(200):
        y, sign = result[active], side[active]
        mixture = log_weights[active], new_means[active], new_deviations[active]
        value = log_tail(y, *mixture, sign)
        excess = sign * (value - target[active])  # increases with y
        z = (y[:, None] - mixture[1]) / mixture[2]
        density = log_sum_exp(np, mixture[0] - 0.5 * (z * z + np.log(2.0 * np.pi)) - np.log(mixture[2]))
        high[active] = np.where(excess > 0, np.minimum(y, high[active]), high[active])
        low[active] = np.where(excess <= 0, np.maximum(y, low[active]), low[active])
        with np.errstate(over="ignore"):  # a flat stretch: the infinite step is replaced below
            newton = -excess * np.exp(np.minimum(value - density, 700.0))
        bisect = 0.5 * (low[active] + high[active]) - y
        inside = (y + newton >= low[active]) & (y + newton <= high[active])
        move = np.where(inside & (2.0 * np.abs(newton) <= np.abs(step[active])), newton, bisect)
        result[active], step[active] = y + move, move
        active = active[np.abs(move) > 2e-16 * np.maximum(np.abs(y), narrow[active])]
        if not len(active):
            break
    return np.asarray(result)


def _rotation(rotation: Any, seed: int | None, dim: int) -> FloatArray | None:
    if rotation is not None and seed is not None:
        msg = f"rotation and seed={seed} are both given; pass one of them"
        raise ValueError(msg)
    if seed is not None:
        from scipy.stats import ortho_group  # slow to import, and rarely needed

        return np.asarray(ortho_group.rvs(dim, random_state=np.random.default_rng(seed))) if dim > 1 else None
    if rotation is None:
        return None
    matrix = real_array(rotation, "rotation", (2,))
    if matrix.shape != (dim, dim):
        msg = f"rotation has shape {matrix.shape}; expected {(dim, dim)}, one row a mixture"
        raise ValueError(msg)
    error = float(np.max(np.abs(matrix.T @ matrix - np.eye(dim))))
    if error > 1e-12:
        msg = f"rotation is not orthogonal: Q^T Q differs from the identity by {error:.3g}; pass a rotation"
        raise ValueError(msg)
    return matrix


def _stack(mixtures: Sequence[Mixture1D], rotation: FloatArray | None) -> CoordinateMixtures:
    shape = (len(mixtures), max(len(m.weights) for m in mixtures))
    log_weights, means, spectra = np.full(shape, -np.inf), np.zeros(shape), np.ones(shape)
    for i, m in enumerate(mixtures):
        count = len(m.weights)
        with np.errstate(divide="ignore"):
            log_weights[i, :count] = np.log(m.weights)
        means[i, :count], spectra[i, :count] = m.means, m.variances
    return CoordinateMixtures(log_weights, means, spectra, rotation)

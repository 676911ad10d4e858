r"""The exact law of a posterior sampler on a Gaussian prior, by running the very code that ships.

Where a sampler is affine in the measurement and in all normals that it draws, its output is
:math:`x = K Y + k + \sum_j M_j z_j`. A batch whose samples are nothing, each unit measurement and each unit normal
finds K, k and M in one run, without Monte Carlo. Two more samples, of random measurement and noise, tell whether it is
affine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from diffnum.inverse.operators import Linear
from diffnum.inverse.problem import Inverse, start_of
from diffnum.inverse.record import PosteriorSampler
from diffnum.inverse.sampling import default_plan, method_of
from diffnum.jobs.checked import check_number
from diffnum.plans import Plan
from diffnum.problems.gaussian import Gaussian
from diffnum.types import Array, FloatArray, Schedule

__all__ = ["AffineLaw", "PosteriorBias", "bures", "exact_law", "posterior_map"]

AFFINE = 1e-7
"""Largest departure from an affine map, relative to the size of the output."""


@dataclass(frozen=True, eq=False)
class PosteriorBias:
    """How far the law of a sampler is from the posterior, averaged over measurements.

    Parameters
    ----------
    mean : float
        Root mean square of the error of the posterior mean, in units of the posterior's standard deviation.
    covariance : float
        Frobenius norm of the error of the covariance over that of the posterior's.
    spread : float
        Geometric mean of the ratios of standard deviations along the posterior's axes; below 1 too narrow.
    w2 : float
        Root mean square of the 2-Wasserstein distance, in units of the posterior's standard deviation.
    coverage : float
        Share of true values inside the sampler's central 90 % intervals, averaged over the posterior's axes.
    """

    mean: float
    covariance: float
    spread: float
    w2: float
    coverage: float


@dataclass(frozen=True, eq=False)
class AffineLaw:
    r"""Gaussian law :math:`N(K Y + k, S)` of data given a measurement.

    Parameters
    ----------
    gain : ndarray, shape (d, m)
        K.
    offset : ndarray, shape (d,)
        k.
    covariance : ndarray, shape (d, d)
        S, the same for all measurements.
    """

    gain: FloatArray
    offset: FloatArray
    covariance: FloatArray

    def mean(self, y: ArrayLike) -> FloatArray:
        """Mean for one measurement."""
        return np.asarray(self.gain @ np.asarray(y, dtype=np.float64).ravel() + self.offset)

    def bias(
        self, target: AffineLaw, y_mean: FloatArray, y_covariance: FloatArray, level: float = 0.9
    ) -> PosteriorBias:
        """Distance from the posterior over measurements of a given law.

        Parameters
        ----------
        target : AffineLaw
            The posterior.
        y_mean : ndarray, shape (m,)
            Mean of the measurements.
        y_covariance : ndarray, shape (m, m)
            Their covariance.
        level : float
            Of the central intervals.
        """
        apart = self.gain - target.gain
        shift = apart @ y_mean + self.offset - target.offset
        errors = np.outer(shift, shift) + apart @ y_covariance @ apart.T
        size = float(np.trace(target.covariance))
        values, axes = np.linalg.eigh(target.covariance)
        own = np.einsum("ij,ik,kj->j", axes, self.covariance, axes)
        # a true value is the posterior's mean plus its spread: its distance from the sampler's mean, along each axis
        off = axes.T @ shift
        around = np.sqrt(values + np.einsum("ij,ik,kj->j", axes, apart @ y_covariance @ apart.T, axes))
        reach = float(ndtri(0.5 + 0.5 * level)) * np.sqrt(np.maximum(own, 0.0))
        inside = ndtr((reach - off) / around) - ndtr((-reach - off) / around)
        distance = bures(self.covariance, target.covariance)
        return PosteriorBias(
            mean=float(np.sqrt(np.trace(errors) / size)),
            covariance=float(np.linalg.norm(self.covariance - target.covariance) / np.linalg.norm(target.covariance)),
            spread=float(np.exp(0.5 * np.mean(np.log(np.maximum(own, 1e-300) / values)))),
            w2=float(np.sqrt((np.trace(errors) + distance) / size)),
            coverage=float(np.mean(inside)),
        )


def bures(one: FloatArray, other: FloatArray) -> float:
    """Squared 2-Wasserstein distance of centred Gaussians: tr(A + B - 2 (A^1/2 B A^1/2)^1/2)."""
    values, vectors = np.linalg.eigh(0.5 * (one + one.T))
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    inner = np.linalg.eigvalsh(root @ (0.5 * (other + other.T)) @ root)
    gap = float(np.trace(one) + np.trace(other) - 2.0 * np.sum(np.sqrt(np.maximum(inner, 0.0))))
    return max(gap, 0.0)


def posterior_map(prior: Gaussian, op: Linear, noise_std: float) -> AffineLaw:
    """The posterior of a Gaussian prior as a map of the measurement.

    Parameters
    ----------
    prior : Gaussian
        Law of the data.
    op : Linear
        Measurement operator.
    noise_std : float
        Standard deviation of the noise, > 0.

    Returns
    -------
    AffineLaw

    Raises
    ------
    TypeError, ValueError
        If the standard deviation is no positive number.
    """
    check_number("noise_std", noise_std, 0.0, closed=False)
    matrix, covariance = op.matrix, prior.covariance_matrix
    across = covariance @ matrix.T
    gain = np.asarray(np.linalg.solve(matrix @ across + noise_std**2 * np.eye(len(matrix)), across.T).T, np.float64)
    rest = np.eye(prior.dim) - gain @ matrix
    # in Joseph's form, a sum of positive matrices
    spread = rest @ covariance @ rest.T + noise_std**2 * gain @ gain.T
    return AffineLaw(gain, rest @ prior.mean, np.asarray(spread))


def measured_law(prior: Gaussian, op: Linear, noise_std: float) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of the measurement."""
    matrix = op.matrix
    return matrix @ prior.mean, matrix @ prior.covariance_matrix @ matrix.T + noise_std**2 * np.eye(len(matrix))


def exact_law(
    method: str | PosteriorSampler,
    prior: Gaussian,
    op: Linear,
    noise_std: float,
    *,
    schedule: Schedule | None = None,
    plan: Plan | None = None,
    steps: int = 100,
    **options: Any,
) -> tuple[AffineLaw, PosteriorBias]:
    """Exact law of a posterior sampler on a Gaussian prior, for all measurements at once, and its bias.

    Parameters
    ----------
    method : str or PosteriorSampler
        The sampler.
    prior : Gaussian
        Law of the data.
    op : Linear
        The operator, on samples of shape (d,).
    noise_std : float
        Standard deviation of the measurement's noise, > 0.
    schedule : Schedule, optional
        The noising process; that of ``plan``, or VPLinear.
    plan : Plan, optional
        Steps; by default ``steps`` of the method's own.
    steps : int
        Where no plan is given.
    **options
        Parameters of the sampler.

    Returns
    -------
    law : AffineLaw
        Of what the sampler returns.
    bias : PosteriorBias
        Its distance from the posterior, over measurements of the prior: from the exact law at the last node where the
        sampler returns a state.

    Raises
    ------
    ValueError
        If the sampler is not affine on Gaussian priors, such as by the gradient of a norm.

    Examples
    --------
    >>> import diffnum as dn
    >>> prior = dn.Gaussian([0.0, 0.0], [[1.0, 0.3], [0.3, 0.5]])
    >>> op = dn.inverse.Linear([[1.0, 0.5]])
    >>> def distance(steps):
    ...     return exact_law("moment_matching", prior, op, 0.3, steps=steps)[1].w2
    >>> [round(distance(steps), 3) for steps in (50, 100, 200)]
    [0.047, 0.024, 0.012]
    """
    from diffnum.schedules import VPLinear

    record = method_of(method)
    if not record.affine:
        msg = (
            f"method={record.name!r} is not affine on Gaussian priors: measure it by samples, "
            "diffnum.inverse.measured_bias"
        )
        raise ValueError(msg)
    process = plan.schedule if plan is not None else VPLinear() if schedule is None else schedule
    numbers = default_plan(record, process, steps) if plan is None else plan
    law = _found(record, prior, op, noise_std, numbers, options)
    target = posterior_map(prior, op, noise_std)
    if record.returns == "state":
        alpha, sigma = (float(f(float(numbers.times[-1]))) for f in (process.alpha, process.sigma))
        target = AffineLaw(
            alpha * target.gain,
            alpha * target.offset,
            alpha**2 * target.covariance + sigma**2 * np.eye(prior.dim),
        )
    return law, law.bias(target, *measured_law(prior, op, noise_std))


class _UnitNoise:
    """Noise that gives each entry of each draw a sample of its own; counts draws until it is told the batch."""

    def __init__(self, first: int) -> None:
        self.first, self.count = first, 0
        self.places: dict[tuple[int, int], int] = {}
        self.mixed: FloatArray | None = None

    def __call__(self, step: int, index: int, like: Array) -> Array:
        out = np.zeros(like.shape)
        flat = out.reshape(len(out), -1)
        size = flat.shape[1]
        if (step, index) not in self.places:
            self.places[step, index] = self.count
            self.count += size
        if self.mixed is not None:
            place = self.places[step, index]
            flat[self.first + place : self.first + place + size] = np.eye(size)
            flat[-len(self.mixed) :] = self.mixed[:, place : place + size]
        return out


def _found(
    record: PosteriorSampler, prior: Gaussian, op: Linear, noise_std: float, numbers: Plan, options: dict[str, Any]
) -> AffineLaw:
    model, d, m = prior.denoiser(numbers.schedule), prior.dim, int(np.prod(op.measured))
    rows = 1 + m

    def ran(batch: int, source: _UnitNoise, start: FloatArray, y: FloatArray) -> FloatArray:
        problem = Inverse(model, op, y.reshape(batch, *op.measured), noise_std)
        x = start_of(numbers, start.reshape(batch, *op.shape))
        return np.asarray(record.run(problem, numbers, x, source, options)).reshape(batch, -1)

    # a first run of one sample counts the draws
    counting = _UnitNoise(rows + d)
    ran(1, counting, np.zeros((1, d)), np.zeros((1, m)))
    total = rows + d + counting.count
    batch, generator = total + 2, np.random.default_rng(0)
    source = _UnitNoise(rows + d)
    source.mixed = generator.standard_normal((2, counting.count))
    start, y = np.zeros((batch, d)), np.zeros((batch, m))
    y[1:rows] = np.eye(m)
    start[rows : rows + d] = np.eye(d)
    start[-2:], y[-2:] = generator.standard_normal((2, d)), generator.standard_normal((2, m))
    out = ran(batch, source, start, y)
    offset = out[0]
    gain, spread = out[1:rows] - offset, out[rows:total] - offset
    predicted = offset + y[-2:] @ gain + np.concatenate([start[-2:], source.mixed], axis=1) @ spread
    size = float(np.max(np.abs(out[-2:]))) + 1e-300
    apart = float(np.max(np.abs(out[-2:] - predicted))) / size
    if not apart < AFFINE:
        msg = (
            f"method={record.name!r} is not affine here: it departs from an affine map by {apart:.2g} of its size; "
            "measure it by samples, diffnum.inverse.measured_bias"
        )
        raise ValueError(msg)
    return AffineLaw(gain.T.copy(), offset, spread.T @ spread)

"""Bias of posterior samplers by samples: on mixtures, and for methods that are not affine.

What n exact draws of the posterior would show is told beside what the sampler shows, so that no Monte Carlo error is
taken for a bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.inverse.operators import Linear
from diffnum.inverse.record import PosteriorSampler
from diffnum.inverse.sampling import default_plan, method_of, sample
from diffnum.plans import Plan
from diffnum.problems._states import positive_count, real_array
from diffnum.problems.mixture import GaussianMixture
from diffnum.problems.targets import mixture_of, posterior
from diffnum.schedules import MeanReverting, VPLinear
from diffnum.types import FloatArray, Schedule

__all__ = ["Calibration", "MeasuredBias", "calibration", "measured_bias"]

HPD_LEVEL = 0.9
"""Mass of the highest-density set in which samples are counted."""

EXACT_DRAWS = 20_000
"""Draws of the posterior from which that set is found."""


@dataclass(frozen=True)
class MeasuredBias:
    """How far samples are from a posterior that is known.

    Parameters
    ----------
    mean : float
        Error of the mean, in units of the posterior's standard deviation.
    covariance : float
        Frobenius norm of the error of the covariance over that of the posterior's.
    spread : float
        Root of the total variance over that of the posterior; below 1 too narrow.
    mass : float
        Total variation between the masses of the posterior's components and those found.
    inside : float
        Share of the samples in the posterior's 90 % set of highest density; above .9 too concentrated, below astray.
    floor : MeasuredBias or None
        The same of as many exact draws.
    """

    mean: float
    covariance: float
    spread: float
    mass: float
    inside: float
    floor: MeasuredBias | None = None


@dataclass(frozen=True, eq=False)
class Calibration:
    """Simulation-based calibration: where true values lie among a sampler's draws.

    Parameters
    ----------
    ranks : ndarray, shape (pairs, d)
        Share of the draws below the true value, along each right singular vector of the operator, measured ones first.
    draws : int
        Draws for each measurement.
    """

    ranks: FloatArray
    draws: int

    def coverage(self, levels: ArrayLike, directions: slice = slice(None)) -> tuple[FloatArray, FloatArray]:
        """Share of true values inside central intervals, and its standard error; averaged over directions.

        Parameters
        ----------
        levels : array_like, shape (k,)
            Masses of the intervals, between 0 and 1.
        directions : slice
            Over which it is averaged; the measured ones are the first.
        """
        wanted = np.atleast_1d(np.asarray(levels, dtype=np.float64))
        inside = np.abs(self.ranks[None][:, :, directions] - 0.5) <= 0.5 * wanted[:, None, None]
        each = inside.mean(axis=2)
        return each.mean(axis=1), each.std(axis=1, ddof=1) / np.sqrt(each.shape[1])


def measured_bias(
    method: str | PosteriorSampler,
    law: Any,
    op: Linear,
    y: ArrayLike,
    noise_std: float,
    *,
    n: int = 4000,
    seed: int = 0,
    schedule: Schedule | None = None,
    plan: Plan | None = None,
    steps: int = 100,
    **options: Any,
) -> MeasuredBias:
    """Draw from a posterior that is known and say how far the samples are from it.

    Parameters
    ----------
    method : str or PosteriorSampler
        The sampler.
    law : GaussianMixture, Gaussian or Mixture1D
        Law of the data.
    op : Linear
        The operator, on samples of shape (d,).
    y : array_like, shape (m,)
        What was measured.
    noise_std : float
        Standard deviation of the measurement's noise, > 0.
    n : int
        Samples.
    seed : int
        Of all noise.
    schedule, plan, steps
        As for :func:`~diffnum.inverse.exact_law`.
    **options
        Parameters of the sampler.

    Returns
    -------
    MeasuredBias
    """
    mixture, record, numbers = _prepared(method, law, schedule, plan, steps)
    measured = real_array(y, "y", (1,))
    target = posterior(mixture, op.matrix, measured, noise_std)
    model = mixture.denoiser(numbers.schedule)
    if "posterior model" in record.needs:
        reverting = MeanReverting(mean=op.pseudo_inverse(measured[None])[0])
        model, numbers = target.denoiser(reverting), default_plan(record, reverting, steps)
    x = sample(model, op, measured, noise_std, method=record, plan=numbers, n=n, seed=seed, **options)
    exact = target.sample(EXACT_DRAWS, seed + 1)
    edge = float(np.quantile(target.log_prob(exact), 1.0 - HPD_LEVEL))
    floor = _compared(target.sample(n, seed + 2), target, edge)
    found = _compared(x, target, edge)
    return MeasuredBias(found.mean, found.covariance, found.spread, found.mass, found.inside, floor)


def calibration(
    method: str | PosteriorSampler,
    law: Any,
    op: Linear,
    noise_std: float,
    *,
    pairs: int = 200,
    draws: int = 99,
    seed: int = 0,
    schedule: Schedule | None = None,
    plan: Plan | None = None,
    steps: int = 100,
    **options: Any,
) -> Calibration:
    """Draw data and measurements, sample each posterior, and rank the true data among the draws.

    A sampler of the posterior has uniform ranks, whatever the prior: no exact posterior is needed.

    Parameters
    ----------
    method, law, op, noise_std, schedule, plan, steps, **options
        As for :func:`measured_bias`.
    pairs : int
        Data and measurements.
    draws : int
        Samples of each posterior.
    seed : int
        Of all draws.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        If the sampler has another model for each measurement, or a count is not positive.

    References
    ----------
    Talts et al. 2018, arXiv:1804.06788.
    """
    mixture, record, numbers = _prepared(method, law, schedule, plan, steps)
    if "posterior model" in record.needs:
        msg = f"method={record.name!r} has another model for each measurement: use measured_bias"
        raise ValueError(msg)
    count, each = positive_count(pairs, "pairs"), positive_count(draws, "draws")
    truth = mixture.sample(count, seed)
    noise = np.random.default_rng(seed + 1).standard_normal((count, *op.measured))
    y = np.repeat(op(truth) + noise_std * noise, each, axis=0)
    x = sample(
        mixture.denoiser(numbers.schedule), op, y, noise_std, method=record, plan=numbers, seed=seed, **options
    ).reshape(count, each, -1)
    axes = np.linalg.svd(op.matrix, full_matrices=True)[2].T
    x, truth = x @ axes, truth @ axes
    # a true value is one of each + 1 exchangeable ones: its rank is put in the middle of its place
    below = (x < truth[:, None, :]).sum(axis=1)
    return Calibration((below + 0.5) / (each + 1), each)


def _prepared(
    method: str | PosteriorSampler, law: Any, schedule: Schedule | None, plan: Plan | None, steps: int
) -> tuple[GaussianMixture, PosteriorSampler, Plan]:
    record = method_of(method)
    process = plan.schedule if plan is not None else VPLinear() if schedule is None else schedule
    return mixture_of(law), record, default_plan(record, process, steps) if plan is None else plan


def _compared(x: FloatArray, target: GaussianMixture, edge: float) -> MeasuredBias:
    mean, covariance = moments(target.weights, target.means, target.covariances)
    found_mean, found = x.mean(axis=0), np.atleast_2d(np.cov(x.T))
    size = float(np.trace(covariance))
    # who owns a sample, of the components without noise
    share = np.exp(target.core.log_joint(x, 1.0, 0.0))
    share = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
    return MeasuredBias(
        mean=float(np.linalg.norm(found_mean - mean) / np.sqrt(size)),
        covariance=float(np.linalg.norm(found - covariance) / np.linalg.norm(covariance)),
        spread=float(np.sqrt(np.trace(found) / size)),
        mass=float(0.5 * np.abs(share.mean(axis=0) - target.weights).sum()),
        inside=float(np.mean(target.log_prob(x) >= edge)),
    )


def moments(weights: FloatArray, means: FloatArray, covariances: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of a mixture; covariances of any of the forms that it may have."""
    d = means.shape[1]
    full: Sequence[FloatArray] = [c if c.ndim == 2 else np.diag(np.broadcast_to(c, (d,))) for c in covariances]
    mean = weights @ means
    apart = means - mean
    return mean, np.einsum("k,kij->ij", weights, np.stack(full)) + np.einsum("k,ki,kj->ij", weights, apart, apart)

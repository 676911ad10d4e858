r"""Orders of a sampler of one's own that draws noise, without sampling.

On Gaussian data everything that a sampler does is affine in its start and its draws, if its weights are numbers: one
run whose batch holds the start alone, and each draw alone, shows the whole law of its output. The draws are asked for
as ``noise(a, b)``, the normalised increment of one Brownian motion in the half-log-SNR between ``a`` and ``b``, so that
the distance to the exact solution on the same path follows too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from diffnum.coefficients.method import GRID_KINDS
from diffnum.coefficients.noise import NoisyMeasure
from diffnum.convergence.nodes import INTERVAL, fractions
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.rate import estimate_rate
from diffnum.convergence.record import ConvergenceStudy, Series
from diffnum.convergence.refinement import Ladder, refined
from diffnum.convergence.reverse import exact_transition, path_response
from diffnum.convergence.stochastic import STRONG_STEPS, WEAK_STEPS, default_gaussian
from diffnum.foreign import with_noise
from diffnum.foreign.conventions import Convention
from diffnum.problems import Gaussian
from diffnum.schedules import VPLinear
from diffnum.types import FloatArray, Problem, Schedule

__all__ = ["Draws", "NoisySampler", "law_of_own", "orders_of_own"]

EXTRA_LEVELS = 2
"""Doublings of the finest level where the given ones do not decide; a run holds a row for each of its draws."""

AFFINE = 1e-9
"""Largest relative error of the run that is predicted from the others."""

_PROBES = 3
"""Rows before those of the draws: nothing, a start, and start and draws at random."""


class Draws(Protocol):
    """Noise of a run."""

    def __call__(self, a: float, b: float, rate: float = 0.0) -> FloatArray:
        r"""Standard normal draw of the states' shape: :math:`\int_a^b e^{r\lambda} dW_\lambda` over its deviation."""


class NoisySampler(Protocol):
    """A sampler that takes its noise from its caller."""

    def __call__(self, model: Oracle, x: FloatArray, nodes: FloatArray, noise: Draws, /) -> FloatArray:
        """End states, shape (n, d), of a run over nodes in half-log-SNR, increasing."""


@dataclass(frozen=True)
class _Output:
    """Law of an end, by eigen-direction.

    Parameters
    ----------
    offset, gain : ndarray, shape (d,)
        End where start and draws are zero, and what the start is multiplied by.
    weights : ndarray, shape (draws, d)
        Weights of the draws.
    asked : sequence of (float, float, float)
        Ends and rate of each draw.
    """

    offset: FloatArray
    gain: FloatArray
    weights: FloatArray
    asked: Sequence[tuple[float, float, float]]

    @property
    def variance(self) -> FloatArray:
        """Variance of the noise, shape (d,)."""
        return np.asarray(np.einsum("id,ij,jd->d", self.weights, _covariances(self.asked), self.weights))


def orders_of_own(
    sampler: NoisySampler,
    measure: NoisyMeasure,
    problem: Problem | None = None,
    *,
    noise_level: float = 1.0,
    schedule: Schedule | None = None,
    grids: Sequence[str] = GRID_KINDS,
    steps: Sequence[int] | None = None,
    interval: tuple[float, float] | None = None,
    convention: Convention | None = None,
) -> ConvergenceStudy:
    """Measure the strong or weak order of a sampler of one's own, or that in law.

    Parameters
    ----------
    sampler : callable, or scheduler
        ``sampler(model, x, nodes, noise) -> x``: as without noise, and ``noise(a, b)`` are the draws of the part of the
        run between two half-log-SNRs, standard normal and of the shape of ``x``. Of the foreign conventions those that
        take ``noise_sampler`` or ``noise`` are handed it; the draws of the others are those that torch makes meanwhile.
    measure : {"strong", "weak", "law"}
        Which order.
    problem : Gaussian, optional
        Data; a Gaussian in 3-D by default.
    noise_level : float
        tau of the equation that it is held against: 1 for the time reversal. The law at the end is the same for all.
    schedule, grids, steps, interval, convention
        As in :func:`~diffnum.convergence.study.convergence_study`.

    Raises
    ------
    TypeError
        If the sampler does not take its noise from its caller, or the data are not Gaussian.
    ValueError
        If it asks for none, or is not affine on Gaussian data.
    """
    sampler = with_noise(sampler, convention)
    _check_signature(sampler, measure)
    exact = default_gaussian() if problem is None else problem
    if not isinstance(exact, Gaussian):
        msg = (
            f"problem={type(exact).__name__}: the order of a sampler with noise of your own is measured on Gaussian "
            "data, where its law is known without sampling: use dn.Gaussian"
        )
        raise TypeError(msg)
    schedule = VPLinear() if schedule is None else schedule
    oracle = Oracle(exact, schedule, interval or INTERVAL, 2, 0)
    levels = Ladder.doubling(steps or (STRONG_STEPS if measure == "strong" else WEAK_STEPS), EXTRA_LEVELS)
    series = []
    for kind in grids:
        for quantity, error in _errors(measure, exact, oracle, noise_level).items():

            def errors(n: int, kind: str = kind, error: Callable[[_Output], FloatArray] = error) -> FloatArray:
                return error(_output(sampler, exact, oracle, kind, n))

            estimate = refined(errors, levels, partial(estimate_rate, grid=0.5 if measure == "strong" else 1.0))
            series.append(Series("Gaussian", kind, "as shipped", measure, estimate, quantity))
    name = getattr(sampler, "__name__", type(sampler).__name__)
    return ConvergenceStudy(name, "as shipped", tuple(series), {}, measure=measure)


def law_of_own(
    sampler: NoisySampler, problem: Gaussian, oracle: Oracle, kind: str, n: int
) -> tuple[FloatArray, FloatArray]:
    """Mean and variance of the output of a run with ``n`` steps from the exact marginal, by eigen-direction.

    Parameters
    ----------
    sampler : callable
        ``sampler(model, x, nodes, noise) -> x``.
    problem : Gaussian
        Data.
    oracle : Oracle
        Exact model and interval.
    kind : {"uniform", "smooth", "irregular"}
        Kind of grid.
    n : int
        Steps.
    """
    found = _output(sampler, problem, oracle, kind, n)
    start = oracle.nodes(np.array(oracle.interval[:1]))
    alpha, sigma = float(start.alpha[0]), float(start.sigma[0])
    mean = found.offset + found.gain * alpha * (problem.eigenvectors @ problem.mean)
    return mean, found.gain**2 * (alpha**2 * problem.eigenvalues + sigma**2) + found.variance


def _check_signature(sampler: Any, measure: NoisyMeasure) -> None:
    """Refuse a sampler that cannot be handed its noise."""
    try:
        taken = len(inspect.signature(sampler).parameters)
    except (TypeError, ValueError):
        taken = 0
    if not callable(sampler) or taken < 4:
        msg = (
            f"measure={measure!r} needs a sampler that takes its noise from its caller, sampler(model, x, nodes, "
            f"noise), and {getattr(sampler, '__name__', type(sampler).__name__)} does not: noise(a, b) are standard "
            "normal draws of the part of the run between two half-log-SNRs"
        )
        raise TypeError(msg)


# -- one run ---------------------------------------------------------------------------------------------


class _Probes:
    """Noise whose numbers are chosen; what is asked for is noted, in its order."""

    def __init__(
        self, asked: list[tuple[float, float, float]], table: FloatArray | None, shape: tuple[int, int]
    ) -> None:
        self.asked, self._table, self._shape = asked, table, shape

    def __call__(self, a: float, b: float, rate: float = 0.0) -> FloatArray:
        key = (float(a), float(b), float(rate))
        if not key[0] < key[1]:
            msg = f"noise({a}, {b}): give the half-log-SNRs of a part of the run, the smaller one first"
            raise ValueError(msg)
        if self._table is None:
            if key not in self.asked:
                self.asked.append(key)
            return np.zeros(self._shape)
        if key not in self.asked:
            msg = f"noise({a}, {b}) is asked for in one run and not in the next: draws may not depend on x"
            raise ValueError(msg)
        return np.array(self._table[self.asked.index(key)])


def _output(sampler: NoisySampler, problem: Gaussian, oracle: Oracle, kind: str, n: int) -> _Output:
    """Law of the end of a run with ``n`` steps."""
    lam_start, lam_end = oracle.interval
    nodes = lam_start + (lam_end - lam_start) * fractions(kind, n)
    nodes[-1] = lam_end
    basis, d = problem.eigenvectors, problem.dim
    asked: list[tuple[float, float, float]] = []
    sampler(oracle, np.zeros((1, d)), nodes, _Probes(asked, None, (1, d)))
    if not asked:
        msg = "sampler never calls noise(a, b): a sampler without noise has the order of measure='global'"
        raise ValueError(msg)
    rows = _PROBES + len(asked)
    rng = np.random.default_rng(0)
    start, table = np.zeros((rows, d)), np.zeros((len(asked), rows, d))
    start[1], start[2] = 1.0, rng.standard_normal(d)
    table[:, 2] = rng.standard_normal((len(asked), d))
    table[np.arange(len(asked)), _PROBES + np.arange(len(asked))] = 1.0
    found = np.asarray(sampler(oracle, start @ basis, nodes, _Probes(asked, table @ basis, (rows, d))))
    if found.shape != (rows, d):
        msg = f"sampler returned shape {found.shape}: it must return an array of the shape of x, {(rows, d)}"
        raise ValueError(msg)
    end = found @ basis.T
    offset, gain, weights = end[0], end[1] - end[0], end[_PROBES:] - end[0]
    predicted = offset + gain * start[2] + np.einsum("jd,jd->d", weights, table[:, 2])
    if not np.max(np.abs(predicted - end[2])) <= AFFINE * (1 + np.max(np.abs(end))):
        msg = (
            "sampler is not affine in its start and its draws on Gaussian data: something in it clips, thresholds or "
            "mixes the samples of a batch, or draws noise of its own; leave that out of the measurement"
        )
        raise ValueError(msg)
    return _Output(offset, gain, weights, asked)


def _covariances(asked: Sequence[tuple[float, float, float]]) -> FloatArray:
    """Covariances of draws of one path, each over its standard deviation."""
    a, b, r = np.array(asked).T
    early, late = np.maximum(a[:, None], a), np.minimum(b[:, None], b)
    rates = r[:, None] + r
    overlap = np.where(late > early, _exponential(early, np.maximum(early, late), rates), 0.0)
    deviation = np.sqrt(np.diagonal(overlap))
    return np.asarray(overlap / deviation / deviation[:, None])


def _exponential(a: FloatArray, b: FloatArray, rate: FloatArray) -> FloatArray:
    """Integral of ``exp(rate * lam)`` from ``a`` to ``b``."""
    safe = np.where(rate == 0, 1.0, rate)
    return np.where(rate == 0, b - a, np.exp(rate * a) * np.expm1(rate * (b - a)) / safe)


# -- errors ----------------------------------------------------------------------------------------------


def _errors(
    measure: NoisyMeasure, problem: Gaussian, oracle: Oracle, tau: float
) -> dict[str, Callable[[_Output], FloatArray]]:
    """Quantities of a measure, and their errors by eigen-direction."""
    c, shift = problem.eigenvalues, problem.eigenvectors @ problem.mean
    ends = oracle.nodes(np.array(oracle.interval))
    (alpha, alpha_end), (sigma, sigma_end) = ends.alpha, ends.sigma
    start = alpha**2 * c + sigma**2
    if measure == "law":
        truth = alpha_end**2 * c + sigma_end**2
        return {
            "mean of the output": lambda o: np.abs(o.offset + o.gain * alpha * shift - alpha_end * shift),
            "variance of the output": lambda o: np.abs(o.gain**2 * start + o.variance - truth),
        }
    gain, variance = exact_transition(oracle.schedule, c, oracle.interval, tau)
    if measure == "weak":
        return {
            "conditional mean": lambda o: np.abs(o.gain - gain),
            "conditional variance": lambda o: np.abs(o.variance - variance),
        }

    def distance(o: _Output) -> FloatArray:
        shared = np.einsum("jd,jd->d", o.weights, _with_solution(o.asked, c, oracle.interval[1], alpha_end, tau))
        bias = o.offset + o.gain * alpha * shift - alpha_end * shift
        squares = (o.gain - gain) ** 2 * start + o.variance - 2 * shared + variance + bias**2
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)))

    return {"strong error": distance}


def _with_solution(
    asked: Sequence[tuple[float, float, float]], c: FloatArray, lam_end: float, alpha: float, tau: float
) -> FloatArray:
    """Covariances of the draws with the noise of the exact solution, shape (draws, d)."""
    points, weights = np.polynomial.legendre.leggauss(12)
    a, b, r = (column[:, None] for column in np.array(asked).T)
    lam = a + 0.5 * (b - a) * (1.0 + points)
    own = np.exp(r * lam) / np.sqrt(_exponential(a, b, 2 * r))
    respond = partial(path_response, lam, lam_end=lam_end, tau=tau)
    found = [((0.5 * (b - a) * own * respond(c=one)) @ weights) for one in c.tolist()]
    return alpha * np.stack(found, axis=1)

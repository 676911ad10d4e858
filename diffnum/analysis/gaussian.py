r"""Exact propagation of a plan on Gaussian data: the sampler's output law, without sampling.

For data :math:`N(m, C)` every prediction is affine in the state and diagonal in the eigenbasis of C. With
eigenvalue c and :math:`S = \alpha^2 c + \sigma^2`

.. math:: a\, E[x_0 | x] + b\, E[\epsilon | x] = \frac{a \alpha c + b \sigma}{S}(x - \alpha m) + a m ,

so that a plan, which is linear in states, evaluations and noise, maps each eigen-direction by

.. math:: y_{end} = \mathrm{gain}(c)\, y_{start} + \mathrm{response}(c)\, m + \text{noise of variance } v(c) .

From these three numbers follow the output's mean and variance, and its distances to the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.forms import PREDICTIONS
from diffnum.grids import Grid, uniform_half_log_snr
from diffnum.plans import Plan, plan
from diffnum.problems.gaussian import Gaussian
from diffnum.tableau import Tableau
from diffnum.types import FloatArray, Schedule

__all__ = [
    "FrequencyResponse",
    "GaussianOutput",
    "frechet",
    "frequency_response",
    "kl",
    "propagate",
    "propagate_problem",
    "w2",
]

Start: TypeAlias = Literal["marginal", "noise"]
"""Law of the first state: the exact marginal of the process, or pure noise as samplers are started."""

Target: TypeAlias = Literal["data", "marginal"]
"""What the output is compared with: the data, or the exact marginal at the last time of the plan."""


# -- distances -----------------------------------------------------------------------------------------


def w2(mean: ArrayLike, variance: ArrayLike, other_mean: ArrayLike, other_variance: ArrayLike) -> float:
    """2-Wasserstein distance of two Gaussians with diagonal covariances in one basis.

    Parameters
    ----------
    mean, variance, other_mean, other_variance : array_like, shape (d,)
        Means and variances (>= 0) by direction; they broadcast.

    Returns
    -------
    float
    """
    return float(np.sqrt(frechet(mean, variance, other_mean, other_variance)))


def frechet(mean: ArrayLike, variance: ArrayLike, other_mean: ArrayLike, other_variance: ArrayLike) -> float:
    """Frechet distance as FID has it: the square of :func:`w2`.

    Parameters
    ----------
    mean, variance, other_mean, other_variance : array_like, shape (d,)
        Means and variances (>= 0) by direction; they broadcast.

    Returns
    -------
    float
    """
    _check_variances(variance=variance, other_variance=other_variance)
    m, v, n, w = (np.asarray(a, dtype=np.float64) for a in (mean, variance, other_mean, other_variance))
    shift, spread = m - n, np.sqrt(v) - np.sqrt(w)
    return float(np.sum(shift**2 + spread**2))


def kl(mean: ArrayLike, variance: ArrayLike, other_mean: ArrayLike, other_variance: ArrayLike) -> float:
    """Kullback-Leibler divergence KL(first || other) in nats.

    Infinite where just one of the two is degenerate in some direction, or both are with different means.

    Parameters
    ----------
    mean, variance, other_mean, other_variance : array_like, shape (d,)
        Means and variances (>= 0) by direction; they broadcast.

    Returns
    -------
    float
    """
    _check_variances(variance=variance, other_variance=other_variance)
    m, v, n, w = np.broadcast_arrays(
        *(np.asarray(a, dtype=np.float64) for a in (mean, variance, other_mean, other_variance))
    )
    points = (v == 0) & (w == 0)
    if np.any((v == 0) != (w == 0)) or np.any(m[points] != n[points]):
        return np.inf
    m, v, n, w = (a[~points] for a in (m, v, n, w))
    excess = (v - w) / w
    return float(0.5 * np.sum(excess - np.log1p(excess) + (m - n) ** 2 / w))


def _check_variances(**given: ArrayLike) -> None:
    """Refuse what is no variance."""
    for name, value in given.items():
        array = np.asarray(value, dtype=np.float64)
        if not np.isfinite(array).all() or (array < 0).any():
            msg = f"{name}={value!r}: give variances, finite and >= 0"
            raise ValueError(msg)


# -- output law ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class GaussianOutput:
    """Law of a sampler's output on Gaussian data, by eigen-direction of the covariance.

    Parameters
    ----------
    method : str
        Name of the plan's method.
    nfe : int
        Evaluations of the plan.
    eigenvalues : ndarray, shape (d,)
        Variances c of the data.
    multiplicity : ndarray, shape (d,)
        How often each direction counts in the distances.
    gain, response : ndarray, shape (d,)
        The map ``y_end = gain * y_start + response * m + offset + noise`` of each direction, for states from which
        the mean of a mean-reverting process is taken.
    offset : ndarray, shape (d,)
        What the inhomogeneous terms of a method add (DPM-Solver-v3); 0 for all others.
    noise_variance : ndarray, shape (d,)
        Variance of the noise that stochastic steps have put in.
    start_mean, start_variance : ndarray, shape (d,)
        Law of the first state.
    mean, variance : ndarray, shape (d,)
        Law of the output.
    exact_gain : ndarray, shape (d,)
        Gain of the exact probability flow between the same times.
    data_mean, marginal_mean, marginal_variance : ndarray, shape (d,)
        Mean of the data, and the exact marginal law at the last time.
    """

    method: str
    nfe: int
    eigenvalues: FloatArray
    multiplicity: FloatArray
    gain: FloatArray
    response: FloatArray
    offset: FloatArray
    noise_variance: FloatArray
    start_mean: FloatArray
    start_variance: FloatArray
    mean: FloatArray
    variance: FloatArray
    exact_gain: FloatArray
    data_mean: FloatArray
    marginal_mean: FloatArray
    marginal_variance: FloatArray

    def w2(self, target: Target = "data") -> float:
        """2-Wasserstein distance to the data, or to the exact marginal at the last time."""
        return float(np.sqrt(self.frechet(target)))

    def frechet(self, target: Target = "data") -> float:
        """Frechet distance as FID has it, the square of :meth:`w2`."""
        return self._distance(frechet, target)

    def kl(self, target: Target = "data") -> float:
        """KL(output || target) in nats."""
        return self._distance(kl, target)

    def _distance(self, distance: Callable[..., float], target: Target) -> float:
        """Sum over the directions, with their multiplicities."""
        if target not in ("data", "marginal"):
            msg = f"target={target!r} is unknown: use 'data' or 'marginal'"
            raise ValueError(msg)
        mean, variance = (
            (self.data_mean, self.eigenvalues) if target == "data" else (self.marginal_mean, self.marginal_variance)
        )
        rows = zip(self.mean, self.variance, mean, variance, self.multiplicity, strict=True)
        return float(sum(weight * distance(m, v, n, w) for m, v, n, w, weight in rows if weight))

    def __str__(self) -> str:
        """Table by eigenvalue, with the distances."""
        lines = [
            f"{self.method}, {self.nfe} evaluations: W2 {self.w2():.4g}, KL {self.kl():.4g} nats, "
            f"Frechet {self.frechet():.4g} to the data",
            f"{'eigenvalue':>12} {'gain':>12} {'exact gain':>12} {'mean':>12} {'variance':>12}",
        ]
        columns = (self.eigenvalues, self.gain, self.exact_gain, self.mean, self.variance)
        lines += ["".join(f"{value:>12.5g} " for value in row).rstrip() for row in zip(*columns, strict=True)]
        return "\n".join(lines)


def propagate(
    numbers: Plan,
    mean: ArrayLike,
    eigenvalues: ArrayLike,
    *,
    start: Start = "noise",
    multiplicity: ArrayLike = 1.0,
) -> GaussianOutput:
    """Law of a plan's output when the data are Gaussian and the model is exact.

    Parameters
    ----------
    numbers : Plan
        Any plan, stochastic ones and those with an exact start included.
    mean : array_like, shape (d,) or ()
        Mean of the data in the eigenbasis of their covariance.
    eigenvalues : array_like, shape (d,)
        Eigenvalues of the covariance, >= 0.
    start : {"noise", "marginal"}
        Law of the first state: N(0, sigma^2), as samplers are started (around the mean of a mean-reverting process), or
        the exact marginal.
    multiplicity : array_like, shape (d,) or ()
        How often each direction counts, for spectra with repeated eigenvalues.

    Returns
    -------
    GaussianOutput

    Raises
    ------
    ValueError
        If the plan is empty, an eigenvalue is negative or not finite, shapes do not fit, or the prediction is undefined
        (data of variance 0 at sigma = 0).

    Notes
    -----
    Costs as much as one sample. Weights that differ by element are taken to be in the eigenbasis.
    """
    if not isinstance(numbers, Plan):
        msg = f"numbers={numbers!r} is a {type(numbers).__name__}: pass dn.plan(method, schedule, grid)"
        raise TypeError(msg)
    return _propagate(numbers, mean, eigenvalues, start, multiplicity, numbers.schedule.mean)


def propagate_problem(numbers: Plan, data: Gaussian, *, start: Start = "noise") -> GaussianOutput:
    """Law of a plan's output on a :class:`~diffnum.problems.gaussian.Gaussian`; see :func:`propagate`.

    Parameters
    ----------
    numbers : Plan
        Any plan; element-wise weights need a diagonal covariance.
    data : Gaussian
        The data.
    start : {"noise", "marginal"}
        Law of the first state.

    Returns
    -------
    GaussianOutput
        Means in the eigenbasis, ``data.eigenvectors @ mean``.

    Raises
    ------
    ValueError
        As :func:`propagate`, and where element-wise weights meet a full covariance.
    """
    centre = data.eigenvectors @ np.broadcast_to(np.asarray(numbers.schedule.mean, dtype=np.float64), (data.dim,))
    if data.covariance.ndim == 2 and any(step.A.ndim > 2 for step in numbers.steps):
        msg = "numbers has element-wise weights: they act in an eigenbasis only if the covariance is diagonal"
        raise ValueError(msg)
    return _propagate(numbers, data.eigenvectors @ data.mean, data.eigenvalues, start, 1.0, centre)


def _propagate(
    numbers: Plan, mean: ArrayLike, eigenvalues: ArrayLike, start: Start, multiplicity: ArrayLike, centre: Any
) -> GaussianOutput:
    """Propagation around ``centre``, the mean of a mean-reverting process in the eigenbasis."""
    if not numbers.steps:
        msg = "numbers has no steps: there is nothing to propagate"
        raise ValueError(msg)
    if start not in ("noise", "marginal"):
        msg = f"start={start!r} is unknown: use 'noise' or 'marginal'"
        raise ValueError(msg)
    c = np.atleast_1d(np.asarray(eigenvalues, dtype=np.float64))
    if c.ndim != 1 or not np.isfinite(c).all() or (c < 0).any():
        msg = f"eigenvalues={eigenvalues!r}: give the eigenvalues of a covariance, finite and >= 0"
        raise ValueError(msg)
    m, centre, weights = (
        _per_direction(v, n, len(c)) for v, n in ((mean, "mean"), (centre, "mean"), (multiplicity, "multiplicity"))
    )
    shifted = m - centre
    schedule, steps = numbers.schedule, numbers.steps
    alpha, sigma = (float(f(steps[0].t_from)) for f in (schedule.alpha, schedule.sigma))
    end_alpha, end_sigma = (float(f(steps[-1].t_to)) for f in (schedule.alpha, schedule.sigma))
    variance, end_variance = alpha**2 * c + sigma**2, end_alpha**2 * c + end_sigma**2
    gains, responses = _first(numbers, c, alpha, variance)
    offsets = np.zeros_like(gains)
    noise = np.zeros((len(c), gains.shape[1], gains.shape[1]))
    for step in steps:
        T, shift, N = affine(step, numbers.prediction, c)
        constant: Any = 0.0
        if "one" in step.inputs:  # no vector of the run, but the number 1 at every step
            one = step.inputs.index("one")
            constant, T = T[:, :, one], np.delete(T, one, axis=2)
        gains = np.einsum("dij,dj->di", T, gains)
        responses = np.einsum("dij,dj->di", T, responses) + shift
        offsets = np.einsum("dij,dj->di", T, offsets) + constant
        noise = T @ noise @ T.swapaxes(1, 2) + N @ N.swapaxes(1, 2)
    x = steps[-1].outputs.index("x")
    gain, response, offset, noise_variance = gains[:, x], responses[:, x], offsets[:, x], noise[:, x, x]
    start_mean = alpha * shifted if start == "marginal" else np.zeros_like(c)
    start_variance = variance if start == "marginal" else np.full_like(c, sigma**2)
    return GaussianOutput(
        method=numbers.method,
        nfe=numbers.nfe,
        eigenvalues=c,
        multiplicity=weights,
        gain=gain,
        response=response,
        offset=offset,
        noise_variance=noise_variance,
        start_mean=start_mean + centre,
        start_variance=start_variance,
        mean=gain * start_mean + response * shifted + offset + centre,
        variance=gain**2 * start_variance + noise_variance,
        exact_gain=np.sqrt(end_variance / variance),
        data_mean=m,
        marginal_mean=end_alpha * shifted + centre,
        marginal_variance=end_variance,
    )


def _first(numbers: Plan, c: FloatArray, alpha: float, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gains and responses of the vectors that enter the first step: the state, and exact evaluations."""
    gains, responses = [], []
    for name in numbers.steps[0].inputs:
        if name == "x":
            gain, response = np.ones_like(c), np.zeros_like(c)
        elif name == "one":
            continue
        else:
            t = numbers.history[name]
            a, s = float(numbers.schedule.alpha(t)), float(numbers.schedule.sigma(t))
            slope, constant = _prediction(numbers.history_prediction, np.array(a), np.array(s), c)
            # along the exact flow the deviation from the mean scales with the standard deviation
            gain = slope * np.sqrt((a**2 * c + s**2) / variance)
            response = constant - gain * alpha
        gains.append(gain)
        responses.append(response)
    return np.stack(gains, axis=1), np.stack(responses, axis=1)


def _prediction(name: str, alpha: FloatArray, sigma: FloatArray, c: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slope and constant of a prediction ``slope * (x - alpha m) + constant * m``; shapes broadcast."""
    total = alpha**2 * c + sigma**2
    if (total == 0).any():
        msg = "eigenvalues has a 0 and the plan calls the model at sigma = 0: the prediction is undefined there"
        raise ValueError(msg)
    a, b = PREDICTIONS[name](alpha, sigma)
    return (a * alpha * c + b * sigma) / total, np.broadcast_to(np.asarray(a, dtype=np.float64), total.shape)


def affine(step: Tableau, prediction: str, c: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """One step by direction: vectors (d, k', k), response to the mean (d, k'), noise (d, k', q)."""
    U, A, Sn, V, B, N = (
        _by_direction(matrix, len(c)) for matrix in (step.U, step.A, step.stage_noise, step.V, step.B, step.noise)
    )
    slope, constant = _prediction(prediction, step.stage_alpha, step.stage_sigma, c[:, None])
    slope, constant = slope[..., None], constant[..., None]
    # K = slope (X - alpha m) + constant m with X = U e + A K + noise
    solve = np.linalg.inv(np.eye(step.nfe) - slope * A)
    from_mean = solve @ (constant - slope * step.stage_alpha[:, None])
    T = V + B @ (solve @ (slope * U))
    return T, (B @ from_mean)[..., 0], N + B @ (solve @ (slope * Sn))


def _by_direction(matrix: FloatArray, directions: int) -> FloatArray:
    """Matrix with the direction as first axis, of length 1 or d."""
    if matrix.ndim == 2:
        return matrix[None]
    flat = matrix.reshape(*matrix.shape[:2], int(np.prod(matrix.shape[2:])))
    if flat.shape[2] not in (1, directions):
        msg = (
            f"eigenvalues has {directions} entries and the plan's weights {flat.shape[2]} elements: "
            "give one for each element"
        )
        raise ValueError(msg)
    return np.moveaxis(flat, 2, 0)


def _per_direction(value: ArrayLike, name: str, directions: int) -> FloatArray:
    """Number or array as an array with one entry a direction."""
    array = np.asarray(value, dtype=np.float64)
    if array.shape not in ((), (1,), (directions,)):
        msg = f"{name} has shape {array.shape}: give a number or one entry for each of {directions} eigenvalues"
        raise ValueError(msg)
    return np.array(np.broadcast_to(array, (directions,)))


# -- frequency response ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class FrequencyResponse:
    """Output laws of one method at several numbers of evaluations.

    Parameters
    ----------
    method : str
        Name of the method.
    outputs : tuple of GaussianOutput
        One for each entry of ``nfe``.
    """

    method: str
    outputs: tuple[GaussianOutput, ...]

    @property
    def nfe(self) -> FloatArray:
        """Evaluations of each plan (at most what was asked for), shape (k,)."""
        return np.array([output.nfe for output in self.outputs])

    @property
    def eigenvalues(self) -> FloatArray:
        """Variances of the data, shape (d,)."""
        return self.outputs[0].eigenvalues

    @property
    def gain(self) -> FloatArray:
        """Gain of the plans, shape (k, d)."""
        return np.stack([output.gain for output in self.outputs])

    @property
    def exact_gain(self) -> FloatArray:
        """Gain of the exact flow, shape (d,)."""
        return self.outputs[0].exact_gain

    @property
    def deviation(self) -> FloatArray:
        """Standard deviation of the output over that of the data, shape (k, d): 1 is faithful."""
        return np.stack([np.sqrt(output.variance / output.eigenvalues) for output in self.outputs])

    def w2(self, target: Target = "data") -> FloatArray:
        """2-Wasserstein distance for each plan, shape (k,)."""
        return np.array([output.w2(target) for output in self.outputs])

    def kl(self, target: Target = "data") -> FloatArray:
        """KL(output || target) in nats for each plan, shape (k,)."""
        return np.array([output.kl(target) for output in self.outputs])

    def frechet(self, target: Target = "data") -> FloatArray:
        """Frechet distance, squared as in FID, for each plan, shape (k,)."""
        return np.array([output.frechet(target) for output in self.outputs])

    def __str__(self) -> str:
        """Table by evaluations."""
        c = self.eigenvalues
        # noise replaces the first state, as it should, so that its gain says nothing of a stochastic plan
        noisy = any(np.any(output.noise_variance) for output in self.outputs)
        head, of = ("worst std error", _spread_error) if noisy else ("worst gain error", _gain_error)
        lines = [
            f"{self.method} on Gaussian data, {len(c)} eigenvalues from {c.min():.3g} to {c.max():.3g}",
            f"{'NFE':>5} {'W2':>11} {'KL (nats)':>11} {'Frechet':>11} {head:>17}",
        ]
        for output in self.outputs:
            distances = " ".join(f"{value:>11.4g}" for value in (output.w2(), output.kl(), output.frechet()))
            lines.append(f"{output.nfe:>5} {distances} {of(output):>17.4g}")
        return "\n".join(lines)


def _gain_error(output: GaussianOutput) -> float:
    """Largest relative error of the factor by which the first state is multiplied."""
    return float(np.abs(output.gain / output.exact_gain - 1.0).max())


def _spread_error(output: GaussianOutput) -> float:
    """Largest relative error of the standard deviation at the last time."""
    return float(np.abs(np.sqrt(output.variance / output.marginal_variance) - 1.0).max())


def frequency_response(
    method: Method | str,
    schedule: Schedule,
    nfe: Sequence[int],
    eigenvalues: ArrayLike,
    *,
    mean: ArrayLike = 0.0,
    grid: Callable[[int], Grid] | None = None,
    start: Start = "noise",
    multiplicity: ArrayLike = 1.0,
    parameters: Mapping[str, Any] | None = None,
) -> FrequencyResponse:
    """Output law of a method on Gaussian data as a function of the evaluations spent.

    Parameters
    ----------
    method : str or Method
        Name or record.
    schedule : Schedule
        The noising process.
    nfe : sequence of int
        Budgets; each plan takes as many steps as fit.
    eigenvalues : array_like, shape (d,)
        Variances of the data; for images the power spectrum, where low frequencies have large ones.
    mean : array_like, shape (d,) or ()
        Mean of the data in the eigenbasis.
    grid : callable, optional
        Grid with so many steps, ``grid(n)``; uniform in half-log-SNR over the schedule's default range otherwise.
    start : {"noise", "marginal"}
        Law of the first state; see :func:`propagate`.
    multiplicity : array_like, shape (d,) or ()
        How often each eigenvalue counts.
    parameters : mapping of str to float, optional
        The numbers that :attr:`Method.parameters` asks for.

    Returns
    -------
    FrequencyResponse

    Raises
    ------
    ValueError
        If a budget does not suffice for one step, and as :func:`propagate`.
    """
    record = find_method(method) if isinstance(method, str) else method
    if not len(nfe):
        msg = "nfe=() is empty: give at least one budget of evaluations"
        raise ValueError(msg)
    make = partial(uniform_half_log_snr, schedule) if grid is None else grid
    terminal = make(1).terminal.name
    outputs = []
    for budget in nfe:
        nodes = make(record.steps_for(int(budget), terminal=terminal))
        numbers = plan(record, schedule, nodes, parameters=parameters)
        outputs.append(propagate(numbers, mean, eigenvalues, start=start, multiplicity=multiplicity))
    return FrequencyResponse(record.name, tuple(outputs))

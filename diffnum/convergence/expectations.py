r"""Weak orders on nonlinear data without sampling: expectations by backward recursion, in one dimension.

A step maps state, history and normal draws to the next state and history. With :math:`u_N(x) = f(x)`,

.. math:: u_i(x, m) = \mathrm E\, u_{i+1}(\text{step}_i(x, m, z))

is computed on a grid of states (and of one past evaluation, for two-step methods) by Gauss-Hermite quadrature over the
draws and by splines between the nodes. The start's exact marginal then gives the expectation of f at the end, which is
known exactly for a mixture; and :math:`u_0` given the start is held against a fine run of another method, extrapolated.
Where Monte Carlo decides nothing, because the noise of a coupled difference falls like h and a bias of order 2 like
:math:`h^2`, this does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Final

import numpy as np

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.coefficients.noise import NoisyMeasure
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.rate import estimate_rate
from diffnum.convergence.record import ConvergenceStudy, Series
from diffnum.convergence.refinement import Ladder, refined
from diffnum.convergence.stochastic import make_plan, noise_level, noisy_study
from diffnum.plans import Plan
from diffnum.problems import Mixture1D, three_peaks
from diffnum.schedules import VPLinear
from diffnum.solver import State, iterate
from diffnum.types import Array, Denoiser, FloatArray, Schedule

__all__ = ["FUNCTIONS", "expectation", "expectation_study"]

STEPS = (8, 16, 32, 64)
REFERENCE = "sde_trapezoid"
REFERENCE_STEPS = (128, 256)
"""Runs of the reference, whose bias of order 2 is extrapolated away."""

FLOOR = 1e-9
"""Accuracy of the expectations."""

QUANTILES = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
"""Of the exact marginal: the starts from which expectations are compared."""

_NEGLIGIBLE = 1e-17
"""Weight of a node of the quadrature that is left out."""

HALF_WIDTH = 9.0
"""Standard deviations of the noise that the grid of states reaches beyond the data."""

FUNCTIONS: Final[Mapping[str, Callable[[FloatArray], FloatArray]]] = {
    "x^2": lambda x: x**2,
    "cos x": np.cos,
}
"""Functions of the end state."""


@dataclass(frozen=True)
class _Box:
    """Grid of the vectors that enter a step."""

    axes: tuple[FloatArray, ...]

    def mesh(self) -> tuple[FloatArray, ...]:
        """All nodes, one flat array a vector."""
        return tuple(part.ravel() for part in np.meshgrid(*self.axes, indexing="ij"))

    def spline(self, values: FloatArray) -> Callable[..., FloatArray]:
        """Quintic spline through values on the nodes; arguments outside are taken at the border."""
        from scipy.interpolate import RectBivariateSpline, make_interp_spline

        lows, highs = [a[0] for a in self.axes], [a[-1] for a in self.axes]
        if len(self.axes) == 1:
            line = make_interp_spline(self.axes[0], values, k=5)
            return lambda x: np.asarray(line(np.clip(x, lows[0], highs[0])))
        degree = min(5, len(self.axes[1]) - 1)
        plane = RectBivariateSpline(*self.axes, values.reshape([len(a) for a in self.axes]), kx=5, ky=degree)
        return lambda x, m: np.asarray(plane.ev(np.clip(x, lows[0], highs[0]), np.clip(m, lows[1], highs[1])))


def expectation(
    numbers: Plan,
    model: Denoiser,
    problem: Mixture1D,
    function: Callable[[FloatArray], FloatArray],
    starts: FloatArray,
    *,
    nodes: int = 241,
    memory_nodes: int = 11,
    draws: int = 8,
) -> FloatArray:
    """Expectation of a function of the end of a run, for given starts.

    Parameters
    ----------
    numbers : Plan
        Plan of a method with at most one vector of history.
    model : Denoiser
        Exact model, in the plan's prediction.
    problem : Mixture1D
        Data in one dimension.
    function : callable
        Of states, shape (n,) -> (n,).
    starts : ndarray, shape (n,)
        First states.
    nodes, memory_nodes, draws : int
        Nodes of the grid of states, of that of past evaluations, and of the quadrature over each draw.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ValueError
        If the data have several dimensions, or a step carries more than one vector of history.
    """
    if problem.dim != 1:
        msg = f"problem has {problem.dim} dimensions: expectations are computed on data in one dimension"
        raise ValueError(msg)
    widest = max(len(step.inputs) for step in numbers.steps)
    if widest > 2:
        msg = (
            f"{numbers.method} carries {widest - 1} vectors of history: one at most is tabulated, use monte_carlo_study"
        )
        raise ValueError(msg)
    points, weights = np.polynomial.hermite_e.hermegauss(draws)
    weights = weights / weights.sum()
    after: Callable[..., FloatArray] = function
    for i in reversed(range(len(numbers))):
        first = i == 0
        box = _Box((starts,)) if first else _box(numbers, i, model, problem, nodes, memory_nodes)
        mesh = box.mesh()
        total = np.zeros(len(mesh[0]))
        for z, weight in _draws(len(numbers.steps[i].noises), points, weights):
            total += weight * after(*_advance(numbers, i, model, mesh, z))
        after = (lambda _, found=total: found) if first else box.spline(total)
    return after(starts)


def _draws(count: int, points: FloatArray, weights: FloatArray) -> list[tuple[tuple[float, ...], float]]:
    """Nodes and weights of the quadrature over all draws of a step; those that weigh nothing left out."""
    pairs = list(zip(points.tolist(), weights.tolist(), strict=True))
    found = []
    for chosen in product(pairs, repeat=count):
        weight = float(np.prod([w for _, w in chosen]))
        if weight > _NEGLIGIBLE:
            found.append((tuple(z for z, _ in chosen), weight))
    return found


def _advance(
    numbers: Plan, i: int, model: Denoiser, mesh: tuple[FloatArray, ...], z: tuple[float, ...]
) -> tuple[FloatArray, ...]:
    """What the next step finds after step ``i`` from the nodes of a mesh."""
    step = numbers.steps[i]
    vectors = {name: part[:, None] for name, part in zip(step.inputs, mesh, strict=True)}

    def noise(_: int, index: int, like: Array) -> Array:
        return np.full_like(like, z[index])

    (state,) = iterate(numbers[i : i + 1], model, State(i, step.t_from, vectors), noise=noise)
    following = numbers.steps[i + 1].inputs if i + 1 < len(numbers) else ("x",)
    return tuple(np.asarray(state.vectors[name])[:, 0] for name in following)


def _box(numbers: Plan, i: int, model: Denoiser, problem: Mixture1D, nodes: int, memory_nodes: int) -> _Box:
    """Grid for the vectors that enter step ``i``: states within reach, evaluations that occur."""
    step = numbers.steps[i]
    states = _states(numbers.schedule, problem, step.t_from, nodes)
    if len(step.inputs) == 1:
        return _Box((states,))
    before = numbers.steps[i - 1]
    # a past evaluation was made at the start of the step before, a current one at its end
    t = step.t_from if step.inputs[1] == "m0" else before.t_from
    values = np.asarray(model(_states(numbers.schedule, problem, t, nodes)[:, None], t))
    margin = 0.05 * float(np.ptp(values))
    return _Box((states, np.linspace(values.min() - margin, values.max() + margin, memory_nodes)))


def _states(schedule: Schedule, problem: Mixture1D, t: float, nodes: int) -> FloatArray:
    """States that occur at a time."""
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    means, spread = np.asarray(problem.means), float(np.sqrt(np.max(problem.variances)))
    width = HALF_WIDTH * float(np.hypot(alpha * spread, sigma))
    return np.linspace(alpha * means.min() - width, alpha * means.max() + width, nodes)


# -- studies -------------------------------------------------------------------------------------------


def expectation_study(
    method: Method | str,
    *,
    problem: Mixture1D | None = None,
    schedule: Schedule | None = None,
    grid: str = "uniform",
    steps: Sequence[int] = STEPS,
    interval: tuple[float, float] = (-1.0, 1.0),
    functions: Mapping[str, Callable[[FloatArray], FloatArray]] = FUNCTIONS,
    given_start: bool = True,
) -> ConvergenceStudy:
    """Measure the weak order, or the order in law, of a stochastic method on a mixture in 1-D, without sampling.

    Parameters
    ----------
    method : Method or str
        Record with at most one vector of history, or its name.
    problem : Mixture1D, optional
        Data in one dimension; the three-peaked mixture by default.
    schedule : Schedule, optional
        Noising process; VP-linear by default.
    grid : {"uniform", "smooth", "irregular"}
        Kind of grid, in half-log-SNR.
    steps : sequence of int
        Step counts.
    interval : (float, float)
        Half-log-SNR where the runs begin and end.
    functions : mapping of str to callable
        Functions of the end state, shape (n,) -> (n,).
    given_start : bool
        Hold expectations given the start against a fine run of another method (weak order); else those from the exact
        marginal against the exact marginal at the end (order in law).

    Returns
    -------
    ConvergenceStudy
        One curve for each function.

    Raises
    ------
    ValueError
        If the method is deterministic, its noise level is given by the caller, or as :func:`expectation`.
    """
    record, tau = noise_level(method)
    schedule = VPLinear() if schedule is None else schedule
    data = three_peaks() if problem is None else problem
    oracle = Oracle(data, schedule, interval, 2, 0)
    ends = oracle.nodes(np.array(interval))
    starts, weights = _marginal(data, float(ends.alpha[0]), float(ends.sigma[0]))
    chosen = np.searchsorted(np.cumsum(weights), QUANTILES)
    kind: NoisyMeasure = "weak" if given_start else "law"
    series = []
    for name, function in functions.items():

        def run(
            record: Method, n: int, at: FloatArray, function: Callable[[FloatArray], FloatArray] = function
        ) -> FloatArray:
            numbers = make_plan(record, oracle, grid, n)
            return expectation(numbers, oracle.denoiser(numbers.prediction), data, function, at)

        if given_start:
            at = starts[chosen]
            coarse, fine = (run(find_method(f"{REFERENCE}_tau{tau:.17g}"), n, at) for n in REFERENCE_STEPS)
            ratio = (REFERENCE_STEPS[1] / REFERENCE_STEPS[0]) ** 2
            truth = fine + (fine - coarse) / (ratio - 1)
        else:
            at = starts
            last, last_weights = _marginal(data, float(ends.alpha[1]), float(ends.sigma[1]))
            truth = function(last) @ last_weights

        def error(n: int, at: FloatArray = at, truth: Any = truth, run: Callable[..., FloatArray] = run) -> FloatArray:
            found = run(record, n, at)
            return np.asarray(np.abs((found if given_start else found @ weights) - truth))

        quantity = f"E[{name}]" + (" given the start" if given_start else "")
        estimate = refined(error, Ladder.doubling(steps, 1), partial(estimate_rate, floor=FLOOR))
        series.append(Series(type(data).__name__, grid, "as shipped", kind, estimate, quantity))
    return noisy_study(record, kind, series)


def _marginal(problem: Mixture1D, alpha: float, sigma: float) -> tuple[FloatArray, FloatArray]:
    """Quadrature for the exact marginal: Gauss-Hermite on each component; nodes sorted."""
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    spread = np.sqrt(alpha**2 * np.asarray(problem.variances) + sigma**2)
    nodes = alpha * np.asarray(problem.means)[:, None] + spread[:, None] * points
    shares = np.asarray(problem.weights)[:, None] * (weights / weights.sum())
    order = np.argsort(nodes, axis=None)
    return nodes.ravel()[order], shares.ravel()[order]

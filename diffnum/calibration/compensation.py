"""Compensation ratios of DC-Solver: found on a handful of trajectories, and predicted for unseen settings.

The search is greedy, as the authors do it: the ratio of one step is chosen, frozen, and the run goes on. The
predicted state is a polynomial in the ratio, so its squared distance from a reference has a closed-form minimiser (a
quartic for degree 2); the corrected state calls the model, and is minimised numerically.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.grids import Grid
from diffnum.plans import Plan, plan
from diffnum.solver import State, iterate
from diffnum.types import Denoiser, FloatArray, Problem, Schedule

__all__ = ["CascadeRegression", "RatioSearch", "exact_reference", "minimise_polynomial_loss", "search_ratios"]

OBJECTIVES = ("predictor", "step")


@dataclass(frozen=True, eq=False)
class RatioSearch:
    """Ratios of one run.

    Parameters
    ----------
    ratios : ndarray, shape (n,)
        One a step; 1 where the history is too short.
    losses, plain_losses : ndarray, shape (n,)
        Mean squared distance of each step's result from the reference, with its ratio and with ratio 1 (both after
        the same earlier steps).
    """

    ratios: FloatArray
    losses: FloatArray
    plain_losses: FloatArray


def exact_reference(problem: Problem, x: FloatArray, schedule: Schedule, grid: Grid) -> FloatArray:
    """States of the exact flow at every node.

    Parameters
    ----------
    problem : Problem
        Data whose flow is known exactly.
    x : ndarray, shape (batch, ...)
        States at the first node.
    schedule : Schedule
        The noising process.
    grid : Grid
        Nodes.

    Returns
    -------
    ndarray, shape (n + 1, *x.shape)
    """
    t = grid.t.tolist()
    return np.stack([np.asarray(x), *(problem.flow(x, schedule, t[0], end) for end in t[1:])])


def search_ratios(
    method: Method | str,
    schedule: Schedule,
    grid: Grid,
    model: Denoiser,
    x: FloatArray,
    reference: FloatArray,
    *,
    objective: str = "predictor",
    bounds: tuple[float, float] = (0.5, 1.5),
) -> RatioSearch:
    r"""Find the ratios that keep DC-Solver closest to reference trajectories.

    Parameters
    ----------
    method : Method or str
        A record with the parameter ``ratio``, such as ``"dc_solver_3_bh2"``.
    schedule : Schedule
        The noising process.
    grid : Grid
        Nodes, ending at sigma > 0.
    model : Denoiser
        Numpy model.
    x : ndarray, shape (batch, ...)
        Starting states; about ten suffice for one number a step.
    reference : ndarray, shape (n + 1, \*x.shape)
        Accurate states at the nodes: :func:`exact_reference`, or a run of many steps.
    objective : {"predictor", "step"}
        Distance of the predicted state (closed form), or of the corrected one (bounded scalar minimisation, as many
        model calls as it needs). The last step has no corrector, and is always done in closed form.
    bounds : (float, float)
        Interval of the ratios, around 1.

    Returns
    -------
    RatioSearch

    Raises
    ------
    ValueError
        If the method has no ratios, the reference has another shape, the grid ends at sigma = 0, or the bounds do not
        enclose 1.
    """
    record = find_method(method) if isinstance(method, str) else method
    if record.parameters != ("ratio",):
        msg = f"method={record.name!r} has no compensation ratios: use one such as 'dc_solver_3_bh2'"
        raise ValueError(msg)
    if objective not in OBJECTIVES:
        msg = f"objective={objective!r} is unknown: use one of {', '.join(OBJECTIVES)}"
        raise ValueError(msg)
    if not bounds[0] < 1.0 < bounds[1]:
        msg = f"bounds={bounds} do not enclose 1, the ratio that changes nothing"
        raise ValueError(msg)
    if not np.isfinite(grid.lam[-1]):
        msg = "grid ends at sigma = 0: end it earlier and denoise afterwards, the last step has no ratio"
        raise ValueError(msg)
    reference = np.asarray(reference)
    if reference.shape != (grid.n + 1, *np.shape(x)):
        msg = f"reference has shape {reference.shape}: give one state a node, {(grid.n + 1, *np.shape(x))}"
        raise ValueError(msg)
    degree = int(record.options["degree"])
    ratios, losses = np.ones(grid.n), np.empty((2, grid.n))
    state: Any = x
    for i in range(grid.n):

        def trial(ratio: float, i: int = i) -> Plan:
            values = ratios.copy()
            values[i] = ratio
            whole = plan(record, schedule, grid, parameters={"ratio": values}).for_prediction(model.prediction)
            return whole[i : i + 1]

        closed = i >= degree and (objective == "predictor" or i == grid.n - 1)
        measured = _Objective(trial, model, state, reference[i + 1], closed=closed)
        if i >= degree:
            ratios[i] = _closed_minimiser(measured, degree, bounds) if closed else _minimiser(measured, bounds)
        losses[:, i] = measured(float(ratios[i])), measured(1.0)
        (state,) = iterate(trial(float(ratios[i])), model, state)
    return RatioSearch(ratios, losses[0], losses[1])


@dataclass(frozen=True)
class _Objective:
    """Squared distance of one step's predicted (``closed``) or final state from a goal, as a function of the ratio."""

    trial: Callable[[float], Plan]
    model: Denoiser
    state: Any
    goal: FloatArray
    closed: bool

    def result(self, ratio: float) -> FloatArray:
        one = self.trial(ratio)
        if not self.closed:
            (after,) = iterate(one, self.model, self.state)
            return np.asarray(after.x)
        rows = dict(one.programme[0])
        row = rows.get("k1", rows["x"])  # the first evaluation of a compensated step is that at the predicted point
        vectors = self.state.vectors if isinstance(self.state, State) else {"x": self.state}
        return np.asarray(sum(weight * vectors[name] for name, weight in row.items()))

    def __call__(self, ratio: float) -> float:
        return float(np.mean((self.result(ratio) - self.goal) ** 2))


def _closed_minimiser(measured: _Objective, degree: int, bounds: tuple[float, float]) -> float:
    """Minimiser of the polynomial loss, from degree + 1 evaluations of the state (none of the model)."""
    offsets = np.linspace(-0.5, 0.5, degree + 1)
    residuals = np.stack([(measured.result(1.0 + u) - measured.goal).ravel() for u in offsets])
    coefficients: FloatArray = np.linalg.solve(np.vander(offsets, increasing=True), residuals).astype(np.float64)
    return 1.0 + minimise_polynomial_loss(coefficients, (bounds[0] - 1.0, bounds[1] - 1.0))


def minimise_polynomial_loss(coefficients: FloatArray, bounds: tuple[float, float]) -> float:
    """Global minimiser over an interval of the mean square of a polynomial with vector coefficients.

    Parameters
    ----------
    coefficients : ndarray, shape (degree + 1, m)
        Residual = sum over k of ``coefficients[k] u**k``.
    bounds : (float, float)
        Interval of u that contains 0.

    Returns
    -------
    float
        The root of the derivative of the loss, or the bound, with the least loss; 0 where nothing is gained over it.
    """
    products = coefficients @ coefficients.T
    powers = np.zeros(2 * len(coefficients) - 1)
    for (i, j), product in np.ndenumerate(products):
        powers[i + j] += product
    reach = max(abs(bound) for bound in bounds)
    powers *= reach ** np.arange(len(powers))
    # a polynomial in u / reach: what a power adds in the interval is its coefficient at most
    loss = np.polynomial.Polynomial(powers)
    rate = loss.deriv().trim(np.finfo(float).eps * np.abs(powers).max())
    # a candidate too many does no harm, and double roots come back with imaginary parts
    roots = reach * np.real(rate.roots())
    candidates = np.array([0.0, *bounds, *roots[(roots > bounds[0]) & (roots < bounds[1])]])
    return float(candidates[np.argmin(loss(candidates / reach))])


def _minimiser(measured: _Objective, bounds: tuple[float, float]) -> float:
    """Minimiser of a smooth scalar loss; 1 where nothing is gained over it."""
    from scipy.optimize import minimize_scalar  # kept out of the import of the package

    found = minimize_scalar(measured, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return float(found.x) if found.fun < measured(1.0) else 1.0


@dataclass(frozen=True, eq=False)
class CascadeRegression:
    r"""Ratios as a polynomial cascade: in step/steps, its coefficients in the guidance scale, theirs in the steps.

    Parameters
    ----------
    coefficients : ndarray, shape (3, 3, 3) for degree 2 throughout
        :math:`\rho_i = \sum_{pqr} c_{pqr}\, (i/N)^p\, (w/12)^q\, (N/50)^r`.
    warm_up : int
        Ratios at the beginning that are 1.
    """

    coefficients: FloatArray
    warm_up: int

    @classmethod
    def fit(
        cls,
        samples: Mapping[tuple[int, float], Sequence[float] | FloatArray],
        *,
        warm_up: int = 2,
        degrees: tuple[int, int, int] = (2, 2, 2),
    ) -> CascadeRegression:
        """Fit searched ratios.

        Parameters
        ----------
        samples : mapping of (steps, guidance scale) to ratios, shape (steps,)
            Results of searches.
        warm_up : int
            Ratios at the beginning that are 1 because the history is short; they are left out.
        degrees : (int, int, int)
            Degrees in step/steps, guidance scale, steps.

        Raises
        ------
        ValueError
            If a list of ratios has another length than its steps, or there are too few settings for a degree.

        References
        ----------
        Zhao et al., DC-Solver, arXiv:2409.03755 (cascade polynomial regression).
        """
        by_steps: dict[int, dict[float, FloatArray]] = {}
        for (steps, scale), ratios in samples.items():
            values = np.asarray(ratios, dtype=np.float64)
            if values.shape != (steps,) or not np.isfinite(values).all():
                msg = f"samples[{steps, scale}] has shape {values.shape}: give one finite ratio a step, ({steps},)"
                raise ValueError(msg)
            at = np.arange(warm_up, steps) / steps
            row = _polynomial(at, values[warm_up:], degrees[0], f"the steps of samples[{steps, scale}]")
            by_steps.setdefault(steps, {})[float(scale)] = row
        inner = {
            steps: _polynomial(
                np.array(list(rows)) / 12.0,
                np.stack(list(rows.values())),
                degrees[1],
                f"guidance scales at {steps} steps",
            )
            for steps, rows in by_steps.items()
        }
        outer = _polynomial(
            np.array(list(inner)) / 50.0, np.stack(list(inner.values())), degrees[2], "numbers of steps"
        )
        return cls(np.transpose(outer, (2, 1, 0)), warm_up)

    def ratios(self, steps: int, scale: float, *, bounds: tuple[float, float] | None = None) -> FloatArray:
        """Ratios for a number of steps and a guidance scale, shape (steps,).

        Parameters
        ----------
        steps : int
            Steps of the run.
        scale : float
            Guidance scale.
        bounds : (float, float), optional
            Clip to this interval: polynomials leave it where they extrapolate (the authors' do not clip).
        """
        if steps <= self.warm_up:
            return np.ones(max(int(steps), 0))
        at = np.arange(steps) / steps
        by_step = np.einsum(
            "pqr,q,r->p",
            self.coefficients,
            (scale / 12.0) ** np.arange(self.coefficients.shape[1]),
            (steps / 50.0) ** np.arange(self.coefficients.shape[2]),
        )
        found = np.asarray(np.polynomial.polynomial.polyval(at, by_step), dtype=np.float64)
        found[: self.warm_up] = 1.0
        return found if bounds is None else np.clip(found, *bounds)


def _polynomial(at: FloatArray, values: FloatArray, degree: int, what: str) -> FloatArray:
    """Least-squares coefficients, lowest power first, of values along the first axis."""
    if len(np.unique(at)) <= degree:
        msg = f"{what}: {len(np.unique(at))} of them, a polynomial of degree {degree} needs {degree + 1}"
        raise ValueError(msg)
    matrix = np.vander(at, degree + 1, increasing=True)
    found, *_ = np.linalg.lstsq(matrix, values.reshape(len(at), -1), rcond=None)
    return np.asarray(found.reshape(degree + 1, *values.shape[1:]))

r"""How stiff a model makes the probability flow, and what a plan does with that.

In :math:`\bar x = x/\alpha` and the half-log-SNR the probability flow reads :math:`\bar x' = -(\bar x - D)` with D the
data prediction. Its Jacobian is :math:`-(I - \alpha\, \partial D / \partial x)`; the eigenvalues nu of the matrix in
brackets are the stiffnesses of :mod:`diffnum.analysis.stability`, whose test equation is
:math:`\bar x' = -\nu \bar x`. By Tweedie's formula
:math:`\alpha\, \partial D / \partial x = (\alpha/\sigma)^2\, \mathrm{Cov}[x_0 | x]`, so that nu lies between minus
infinity and 1 for a model of data, and in (0, 1) for Gaussian data. A guided model combines two such covariances J:
with weight w the matrix is :math:`I - w\, J_{main} + (w - 1)\, J_{weak}`. In each direction that is an
eigenvector of both, and all are if they commute,

.. math:: \nu = 1 - w\, j_{main} + (w - 1)\, j_{weak},

which grows like w where the condition decides the direction. In general nu lies between the least and the greatest
values that the right side has at any two eigenvalues.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.forms import conversion
from diffnum.plans import Plan
from diffnum.solver import State, solve
from diffnum.types import Array, FloatArray, Prediction, Schedule

__all__ = ["HasJacobian", "amplification", "largest_stiffness", "stiffness"]


class HasJacobian(Protocol):
    """A model that also gives its Jacobian-vector products."""

    @property
    def prediction(self) -> Prediction:
        """What the model returns."""

    @property
    def schedule(self) -> Schedule:
        """The noising process."""

    def jvp(self, x: Array, t: Any, tangent: Array) -> Array:
        """Derivative of the prediction along ``tangent``."""


def stiffness(model: HasJacobian, x: Array, t: float) -> FloatArray:
    """All stiffnesses of a model at given states.

    Parameters
    ----------
    model : HasJacobian
        Such as the exact model of a problem, or :class:`~diffnum.guidance.Guided` made of two of them.
    x : array, shape (n, ...)
        States at time ``t``, d entries a sample.
    t : float
        Time.

    Returns
    -------
    ndarray, shape (n, d)
        Real parts of the eigenvalues nu, increasing. Those of exact models are real: their field is a gradient.

    Raises
    ------
    ValueError
        If the prediction says nothing about the data at ``t``.
    """
    act = _operator(model, x, t)
    n, d = x.shape[0], int(np.prod(x.shape[1:]))
    matrix = np.empty((n, d, d))
    xp = array_namespace(x)
    for column in range(d):
        unit = np.zeros((n, d))
        unit[:, column] = 1.0
        tangent = xp.asarray(unit.reshape(tuple(x.shape)), dtype=x.dtype, device=device(x))
        matrix[:, :, column] = _numpy(act(tangent)).reshape(n, d)
    values: FloatArray = np.sort(np.linalg.eigvals(matrix).real, axis=1)
    return values


def largest_stiffness(model: HasJacobian, x: Array, t: float, *, iterations: int = 30, seed: int = 0) -> FloatArray:
    """Stiffness of largest magnitude at given states, by power iteration: for models of many dimensions.

    Parameters
    ----------
    model, x, t
        As for :func:`stiffness`.
    iterations : int
        Jacobian-vector products.
    seed : int
        Of the first direction.

    Returns
    -------
    ndarray, shape (n,)
        Rayleigh quotients after the last product: lower bounds, up to rounding, for symmetric Jacobians.
    """
    act = _operator(model, x, t)
    xp = array_namespace(x)
    axes = tuple(range(1, x.ndim))
    start = np.random.default_rng(seed).standard_normal(tuple(x.shape))
    direction = xp.asarray(start, dtype=x.dtype, device=device(x))
    quotient = xp.sum(direction, axis=axes)
    for _ in range(iterations):
        direction = direction / xp.sqrt(xp.sum(direction * direction, axis=axes, keepdims=True))
        image = act(direction)
        quotient = xp.sum(direction * image, axis=axes)
        direction = image
    return _numpy(quotient)


def amplification(plan: Plan, stiffness: Callable[[float], float]) -> FloatArray:
    r"""How a plan carries a perturbation of the state through :math:`\bar x' = -\nu \bar x` with a varying stiffness.

    Everything counts here that a region of stability leaves out: start-up, unequal steps, how long the stiff part is.

    Parameters
    ----------
    plan : Plan
        Deterministic plan.
    stiffness : callable
        Stiffness nu at a time of the schedule.

    Returns
    -------
    ndarray, shape (steps, steps + 1)
        Row m: size of the deviation at the nodes after one of size 1 at node m, in units of the signal, the memory
        untouched; zero before. Where nu >= 0 a perturbation never grows in the exact flow.
    """
    schedule = plan.schedule
    times = plan.times.tolist()
    alphas = np.array([float(schedule.alpha(t)) for t in times])
    model = _Linear(schedule, stiffness)
    found = np.zeros((len(plan), len(plan) + 1))
    for m, step in enumerate(plan.steps):
        vectors = {name: np.zeros((1, 1)) for name in step.inputs if name != "one"}
        vectors["x"] = np.array([[alphas[m]]])
        start = State(m, step.t_from, vectors)
        run = solve(plan[m:], model, start, return_trajectory=True, check_finite=False)
        found[m, m:] = np.abs(np.array([float(x[0, 0]) for x in run.x])) / alphas[m:]
    return found


@dataclass(frozen=True)
class _Linear:
    """Data prediction of the test equation: D = (1 - nu) x / alpha."""

    schedule: Schedule
    rate: Callable[[float], float]
    prediction: Prediction = "data"

    def __call__(self, x: Array, t: Any) -> Array:
        return (1.0 - self.rate(float(t))) / float(self.schedule.alpha(float(t))) * x


def _operator(model: HasJacobian, x: Array, t: float) -> Callable[[Array], Array]:
    """Multiplication by I - alpha dD/dx."""
    alpha, sigma = float(model.schedule.alpha(t)), float(model.schedule.sigma(t))
    p, q = conversion(model.prediction, "data", alpha, sigma)
    return lambda tangent: (1.0 - alpha * p) * tangent - alpha * q * model.jvp(x, t, tangent)


def _numpy(value: Array) -> FloatArray:
    """Values in float64 on the host."""
    host = value.detach().cpu().numpy() if hasattr(value, "detach") else value
    return np.asarray(host, dtype=np.float64)

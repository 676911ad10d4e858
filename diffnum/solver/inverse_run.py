"""Inversion of a run: the start that a plan sends to a given end.

Three ways, exact to rounding where they converge, and the plain run towards the noise, which is not:

* ``"undone"``: the steps of a reversible plan are undone; the whole last :class:`~diffnum.solver.State` must be given;
* ``"stepwise"``: a plan that carries nothing but x is undone step by step, each step being solved for its start by
  fixed-point iteration on the noise that the model predicts there;
* ``"corrected"``: with S the run and R the run of the same method towards the noise, ``z += R(end) - R(S(z))`` is
  repeated. What is left shrinks by a factor of the size of the error of R after S a round, so the more accurate the
  method the faster. Histories do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from array_api_compat import array_namespace

from diffnum.coefficients.catalogue import method as find_method
from diffnum.plans import Plan
from diffnum.solver import State, iterate, numbers_for, solve
from diffnum.solver.continuous import towards_noise
from diffnum.solver.reversal import reversed_plan, why_not_reversible
from diffnum.types import Array, Denoiser

__all__ = ["How", "Inversion", "invert"]

How: TypeAlias = Literal["auto", "undone", "stepwise", "corrected", "towards_noise"]
"""Ways to invert a run."""


@dataclass(frozen=True)
class Inversion:
    """A start, and how well the plan sends it to where it should.

    Parameters
    ----------
    x : array
        Start at the plan's first time.
    how : str
        Way that was taken.
    exact : bool
        Whether the plan sends it to the end to rounding.
    residual : float
        Largest distance of where the plan sends it from the end, relative to the largest entry of the end.
    order : int or None
        Order of the distance in the step where it is not exact; None for a plan of no method of the catalogue.
    evaluations : int
        Evaluations of the model, those of the check included.
    reason : str
        Why this way, or why it is not exact.
    """

    x: Array = field(repr=False)
    how: str
    exact: bool
    residual: float
    order: int | None
    evaluations: int
    reason: str


def invert(
    plan: Plan,
    model: Denoiser,
    end: Array | State,
    *,
    how: How = "auto",
    iterations: int = 100,
    tolerance: float | None = None,
) -> Inversion:
    """Find the start that a plan sends to ``end``.

    Parameters
    ----------
    plan : Plan
        A deterministic run from noise to data that ends at sigma > 0.
    model : Denoiser
        The model.
    end : array, shape (batch, ...), or State
        Where the run should end; for ``"undone"`` the last state of a run, with all its vectors.
    how : {"auto", "undone", "stepwise", "corrected", "towards_noise"}
        Way; by default the first that is exact: undone for a state of a reversible plan, stepwise where steps carry
        nothing but x, corrected otherwise.
    iterations : int
        Most rounds (``"stepwise"``: of each step).
    tolerance : float, optional
        Residual that counts as rounding; 1000 eps of the dtype by default.

    Returns
    -------
    Inversion
        Where the iteration does not converge, the best start found, with ``exact=False``, the order and the reason.

    Raises
    ------
    ValueError
        If the plan draws noise or ends in the data prediction (many starts, or none, lead to an end), if it cannot be
        undone and should be, or if an argument is out of range.

    References
    ----------
    DDIM inversion: Song et al. 2021 (DDIM), section 4.3. Exact inversion of DDIM by fixed points: Pan et al. 2023,
    Effective real image editing with accelerated iterative diffusion inversion.
    """
    if how not in get_args(How):
        msg = f"how={how!r} is unknown: use one of {', '.join(get_args(How))}"
        raise ValueError(msg)
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        msg = f"iterations={iterations!r} is no number of rounds: give a whole number of at least 1"
        raise ValueError(msg)
    if any(step.noises for step in plan.steps):
        msg = f"{plan.method} draws noise: many starts lead to an end; give a plan of a deterministic method"
        raise ValueError(msg)
    counted = _Counted(model)
    if isinstance(end, State) and how in ("auto", "undone"):
        start, target = _undone(plan, counted, end)
        taken, why = "undone", "every step is undone by the evaluations that it made"
    else:
        target = end.x if isinstance(end, State) else end
        taken, why = _chosen(plan, how)
        start = _WAYS[taken](plan, counted, target, iterations)
    residual = _distance(solve(plan, counted, start, check_finite=False), target)
    if tolerance is None:
        tolerance = 1000 * float(array_namespace(target).finfo(target.dtype).eps)
    exact = residual <= tolerance
    if not exact and taken == "towards_noise":
        why = "the run towards the noise inverts the flow, not the run"
    elif not exact:
        why = f"the iteration left {residual:.2g} after {iterations} rounds: take more steps, or another way"
    return Inversion(start, taken, exact, residual, _order(plan), counted.count, why)


class _Counted:
    """A model that counts its calls."""

    def __init__(self, model: Denoiser) -> None:
        self.model, self.prediction, self.schedule, self.count = model, model.prediction, model.schedule, 0

    def __call__(self, x: Array, t: Any) -> Array:
        self.count += 1
        return self.model(x, t)


def _chosen(plan: Plan, how: How) -> tuple[str, str]:
    """Way for an end of which only x is known, and why."""
    alone = all(step.inputs == ("x",) for step in plan.steps)
    if how == "undone":
        reason = why_not_reversible(plan) or "only x is given: pass the last State of a run, with its second vector"
        msg = f"how='undone': {reason}"
        raise ValueError(msg)
    if how == "stepwise" and not alone:
        msg = f"how='stepwise': steps of {plan.method} take a history, which is not known at the end; use 'corrected'"
        raise ValueError(msg)
    if how != "auto":
        return how, "as asked"
    if alone:
        return "stepwise", "steps carry nothing but x"
    return "corrected", f"steps of {plan.method} take a history, which is not known at the end"


def _undone(plan: Plan, model: Denoiser, end: State) -> tuple[Array, Array]:
    """Start by undoing each step, and the end."""
    turned, _ = reversed_plan(plan)
    *_, first = iterate(turned, model, end._replace(step=0))
    return first.x, end.x


def _towards_noise(plan: Plan, model: Denoiser, target: Array, iterations: int) -> Array:  # noqa: ARG001
    """Start by the run of the same method towards the noise."""
    return solve(towards_noise(plan), model, target, check_finite=False)


def _stepwise(plan: Plan, model: Denoiser, target: Array, iterations: int) -> Array:
    """Start by solving each step, the last one first."""
    numbers = numbers_for(plan, model)
    towards_noise(plan)  # refuses plans that end in the data prediction
    for index in reversed(range(len(plan))):
        step = numbers[index : index + 1]
        ratio = float(plan.schedule.alpha(plan.steps[index].t_to)) / float(
            plan.schedule.alpha(plan.steps[index].t_from)
        )

        def missed(x: Array, step: Plan = step, ratio: float = ratio, goal: Array = target) -> Array:
            return (goal - solve(step, model, x, check_finite=False)) / ratio

        target = _settled(missed, target / ratio, iterations)
    return target


def _corrected(plan: Plan, model: Denoiser, target: Array, iterations: int) -> Array:
    """Start by correcting the run towards the noise."""
    back = towards_noise(plan)
    goal = solve(back, model, target, check_finite=False)

    def missed(x: Array) -> Array:
        end = solve(plan, model, x, check_finite=False)
        return goal - solve(back, model, end, check_finite=False)

    return _settled(missed, goal, iterations)


def _settled(missed: Callable[[Array], Array], x: Array, iterations: int) -> Array:
    """Repeat ``x += missed(x)`` while that gets smaller, and keep the best."""
    best, least, worse = x, float("inf"), 0
    for _ in range(iterations):
        step = missed(x)
        size = float(abs(step).max())
        if not np.isfinite(size):
            break
        if size < least:
            best, least, worse = x, size, 0
        else:
            worse += 1
            if worse == 3:
                break
        x = x + step
        if size == 0.0:
            break
    return best


_WAYS: Mapping[str, Callable[[Plan, Denoiser, Array, int], Array]] = {
    "stepwise": _stepwise,
    "corrected": _corrected,
    "towards_noise": _towards_noise,
}


def _distance(found: Array, target: Array) -> float:
    """Largest distance relative to the largest entry; infinite where a run overflowed."""
    distance = float(abs(found - target).max()) / max(float(abs(target).max()), 1e-300)
    return distance if np.isfinite(distance) else float("inf")


def _order(plan: Plan) -> int | None:
    """Order of a run of the method, start-up included."""
    try:
        return find_method(plan.method).order_with_startup
    except ValueError:
        return None

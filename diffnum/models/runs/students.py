"""Distilled students: the steps for which they were trained, their jumps, and a warning for any other sampler.

A student predicts whatever makes one DDIM step land where it should, so that DDIM over a grid uniform in half-log-SNR
is its sampler, with as many steps as it was trained for. To a method of higher order such predictions mean nothing.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from diffnum.plans import Plan

if TYPE_CHECKING:
    from diffnum.coefficients.method import Method

__all__ = ["NotTrainedForWarning", "bound_to_plan", "own_method", "own_steps"]


class NotTrainedForWarning(UserWarning):
    """A distilled student is sampled otherwise than it was trained for."""


def own_method(model: Any) -> str:
    """Method that suits a network where none is asked for: DDIM for students, else DPM-Solver++(2M)."""
    return "ddim" if getattr(model, "trained_steps", None) else "dpmpp_2m"


def own_steps(model: Any, method: Method | Plan | str) -> int:
    """Number of steps where none is asked for: the least that a student knows, else 20."""
    known = getattr(model, "trained_steps", None)
    return min(known) if known and method == "ddim" else 20


def bound_to_plan(model: Any, plan: Plan) -> Any:
    """Network for a plan: a flow-map student jumps from each of its times to the next; any other is left as it is.

    Parameters
    ----------
    model : NetworkDenoiser
        The network; a warning is given where it is a student of other steps.
    plan : Plan
        The plan that is to be run.

    Returns
    -------
    NetworkDenoiser

    Raises
    ------
    TypeError
        If a flow-map student is wrapped, as by guidance: jumps to the next time cannot be bound then.
    """
    known = getattr(model, "trained_steps", None)
    if not known:
        return model
    times = [plan.steps[0].t_from, *(step.t_to for step in plan.steps)]
    levels = np.array([float(plan.schedule.half_log_snr(t)) for t in times])
    even = np.allclose(levels, np.linspace(levels[0], levels[-1], len(levels)), rtol=0.0, atol=1e-6)
    ends = [float(plan.schedule.half_log_snr(t)) for t in (model.default_t_start, model.default_t_end)]
    fits = plan.method == "ddim" and len(plan.steps) in known and even
    if not (fits and np.allclose(levels[[0, -1]], ends, rtol=0.0, atol=1e-6)):
        said = " or ".join(map(str, known))
        warnings.warn(
            f"{model.name} was distilled for {said} steps of DDIM, uniform in half-log-SNR over its own times, and the "
            f"plan has {len(plan.steps)} of {plan.method!r}: what comes out is not known; use method='ddim', "
            f"steps={known[0]}, or the teacher with this plan",
            NotTrainedForWarning,
            stacklevel=3,
        )
    if not model.jumps:
        return model
    if not hasattr(type(model), "towards"):
        msg = f"model is a {type(model).__name__} of {model.name}: a flow-map student is not guided; pass the student"
        raise TypeError(msg)
    return model.towards(times)

"""A run of one or two steps stands for the whole one while the start is optimised; the whole one decodes it.

What is lost is the difference of two minimisers, that of the surrogate and that of the run. With an exact flow map for
a surrogate (a perfect student) it is of the order of the error of the run; with one step of DDIM of the same model it
is whatever that step makes of the flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from diffnum.grids import Grid
from diffnum.grids.grid import TERMINALS
from diffnum.inverse.start.methods.descent import through_the_run
from diffnum.inverse.start.problem import StartProblem
from diffnum.inverse.start.record import StartAnswer, StartMethod
from diffnum.plans import Plan
from diffnum.plans.building import plan as build

__all__ = ["STARTS", "few_steps"]


def few_steps(plan: Plan, steps: int) -> Plan:
    """DDIM over a few of the nodes of a plan, its ends among them.

    Parameters
    ----------
    plan : Plan
        The whole run.
    steps : int
        Number of steps, at most those of the run.

    Raises
    ------
    ValueError
        If the run has fewer steps.
    """
    if steps > len(plan):
        msg = f"steps={steps}: the run has {len(plan)}; give fewer to its surrogate, or a plan of your own"
        raise ValueError(msg)
    times = plan.times[np.round(np.linspace(0, len(plan), steps + 1)).astype(int)]
    grid = Grid(times, np.asarray(plan.schedule.half_log_snr(times)), terminal=TERMINALS[plan.terminal])
    return build("ddim", plan.schedule, grid)


def _tries(problem: StartProblem, seed: int, options: Mapping[str, Any]) -> StartAnswer:  # noqa: ARG001
    short: Plan = options["short"] or few_steps(problem.plan, options["steps"])
    ends = [(float(p.times[0]), p.schedule) for p in (short, problem.plan)]
    if ends[0] != ends[1]:
        msg = (
            f"short begins at t={ends[0][0]:g} of {ends[0][1]!r}, the run at t={ends[1][0]:g} of {ends[1][1]!r}: a "
            "surrogate takes the start of the run"
        )
        raise ValueError(msg)
    stand_in = replace(problem, plan=short, model=options["student"] or problem.model)
    return through_the_run(stand_in, options["iterations"])


STARTS = {
    "surrogate": StartMethod(
        name="surrogate",
        title="optimised through one or two steps, decoded by the run",
        source="Novack et al. 2024 (DITTO-2), arXiv:2405.20289, surrogate optimisation with one-step sampling",
        cite="novack2024ditto",
        tries=_tries,
        finds="point",
        gradient=True,
        options={"steps": 1, "short": None, "student": None, "iterations": 100},
        deviations=(
            "the paper's one step is that of a distilled model: pass it as student=; by default it is DDIM of the same",
            "the paper decodes by the distilled model with fresh noise between steps, here the run is deterministic",
            "L-BFGS in place of Adam",
        ),
    )
}

"""Plans that are given whole, such as those of :func:`diffnum.calibration.fit_plan`, inside other people's programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffnum.calibration.weights import unrolled
from diffnum.grids import Grid
from diffnum.plans import Plan
from diffnum.types import Schedule

__all__ = ["given_plan", "grid_of_plan", "plan_sampler"]


def given_plan(value: Plan | Mapping[str, Any] | str | Path | None, schedule: Schedule) -> Plan | None:
    """Plan of an argument: a plan, its dictionary, its JSON text or file.

    Parameters
    ----------
    value : Plan, mapping, str, Path or None
        What was given.
    schedule : Schedule
        The process on which it is to run.

    Raises
    ------
    ValueError
        If it is no plan, is stochastic, needs a history, or was made for another process.
    """
    if value is None:
        return None
    if not isinstance(value, Plan | Mapping | str | Path):
        msg = f"plan={value!r} is a {type(value).__name__}: pass a Plan, its dictionary, or its file"
        raise TypeError(msg)
    if isinstance(value, Path) or (isinstance(value, str) and not value.lstrip().startswith("{")):
        value = Path(value)
        if not value.is_file():
            msg = f"plan={str(value)!r}: there is no such file"
            raise ValueError(msg)
    if isinstance(value, Mapping):
        value = json.dumps(value)
    made = value if isinstance(value, Plan) else Plan.from_json(value)
    if made.history or any(step.noises for step in made.steps):
        msg = f"plan={made!r}: give a deterministic plan without a history of evaluations"
        raise ValueError(msg)
    times = np.concatenate([made.times, *(step.stage_t for step in made.steps)])
    inside = bool(((times >= schedule.t_min) & (times <= schedule.t_max)).all())
    if not inside or not np.allclose(schedule.half_log_snr(times), made.schedule.half_log_snr(times), atol=1e-6):
        msg = (
            f"plan={made!r} was made for the process {made.schedule.name}, and here is another one: make it on the "
            "network of this pipeline"
        )
        raise ValueError(msg)
    return made


def grid_of_plan(made: Plan, steps: int | None) -> Grid:
    """Nodes of a plan as a grid, where the number of steps asked for is its own.

    Raises
    ------
    ValueError
        If another number of steps is asked for.
    """
    if steps not in (None, len(made)):
        msg = f"num_inference_steps={steps}: the plan has {len(made)} steps, pass {len(made)}"
        raise ValueError(msg)
    return Grid(made.times, made.schedule.half_log_snr(made.times), name="plan")


def plan_sampler(made: Plan) -> Callable[..., torch.Tensor]:
    """Sampling function of a plan, as k-diffusion calls them; its attribute ``sigmas`` holds the levels that it is for.

    Parameters
    ----------
    made : Plan
        Deterministic plan, on any process: k-diffusion's state is x/alpha, its level sigma/alpha.

    Returns
    -------
    callable
        ``sample(model, x, sigmas=None, extra_args=None, callback=None, disable=None)`` with ``model(x, sigma)`` the
        denoised sample and ``x`` noise of standard deviation ``sample.sigmas[0]``.

    Raises
    ------
    ValueError
        At the call, if ``sigmas`` are others than those of the plan.
    """
    states, times = unrolled(made.for_prediction("data"))
    schedule = made.schedule
    told = np.exp(-np.asarray(schedule.half_log_snr(times))).tolist()
    nodes = torch.tensor(np.exp(-np.asarray(schedule.half_log_snr(made.times))), dtype=torch.float64)
    start, end = (float(schedule.alpha(float(made.times[i]))) for i in (0, -1))
    scales = [*np.asarray(schedule.alpha(times)).tolist(), end]

    @torch.no_grad()
    def sample(
        model: Callable[..., torch.Tensor],
        x: torch.Tensor,
        sigmas: torch.Tensor | None = None,
        extra_args: Mapping[str, Any] | None = None,
        callback: Callable[[dict[str, Any]], object] | None = None,
        disable: bool | None = None,  # noqa: ARG001
    ) -> torch.Tensor:
        if sigmas is not None and (
            len(sigmas) != len(nodes) or not torch.allclose(sigmas.double().cpu(), nodes, rtol=1e-3)
        ):
            msg = (
                f"sigmas={sigmas.tolist()}: a plan is for its own levels, pass {[round(s, 6) for s in nodes.tolist()]} "
                "(its attribute sigmas), or leave them out"
            )
            raise ValueError(msg)
        values: list[torch.Tensor] = []
        state = x
        for i, (row, scale) in enumerate(zip(states.tolist(), scales, strict=True)):
            state = (row[0] * start / scale) * x
            for weight, value in zip(row[1:], values, strict=False):
                state = state + (weight / scale) * value
            if i < len(told):
                level = torch.full((len(x),), told[i], dtype=x.dtype, device=x.device)
                values.append(model(state, level, **(extra_args or {})))
                if callback is not None:
                    callback({"x": state, "i": i, "sigma": level[0], "sigma_hat": level[0], "denoised": values[-1]})
        return state

    sample.sigmas = nodes  # type: ignore[attr-defined]
    sample.__doc__ = f"The plan {made!r}, on its own noise levels."
    return sample

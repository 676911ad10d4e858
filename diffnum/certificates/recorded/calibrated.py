"""Golden cases of the methods that need more than a name: statistics, ratios, tolerances.

Each function takes a case and its (schedule, times, noise model, initial state), and returns the final state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from diffnum.calibration.statistics import ModelStatistics, dpm_solver_v3
from diffnum.certificates.recorded.case import Case, planned
from diffnum.forms import predict
from diffnum.grids import from_times
from diffnum.guidance.thresholding import DynamicThreshold
from diffnum.schedules import Tabulated
from diffnum.solver import solve
from diffnum.solver.adaptive import CONTROLLERS, EmbeddedPair, solve_adaptive
from diffnum.types import Denoiser, FloatArray, Schedule

__all__ = ["CALIBRATED"]


def thresholded(case: Case, model: Denoiser) -> Denoiser:
    """Model with dynamic thresholding, where the case asks for it."""
    return DynamicThreshold(model) if case["options"].get("correcting_x0_fn") == "dynamic_thresholding" else model


def finished(case: Case, t: float, model: Denoiser, x: FloatArray) -> FloatArray:
    """Final state: the data prediction there, where the case asks for one more evaluation."""
    data = thresholded(case, model)
    return np.asarray(predict(data, x, t, "data") if case["options"].get("denoise_to_zero") else x)


def terminal(case: Case) -> str:
    """Terminal rule of the codes that lower the order in runs of any length."""
    return "lower_order" if case["options"]["lower_order_final"] else "stop"


def recorded_statistics(case: Case) -> ModelStatistics:
    """Synthetic statistics, from the formulas that are recorded with each case."""
    name = case["options"]["statistics"]
    first, last, count = case["ems_lambda_grid"]
    lam = np.linspace(first, last, int(count))
    j = np.arange(len(case["x_T"][0]))
    column = lam[:, None]
    zero = np.zeros((len(lam), len(j)))
    slope = (0.9 - 0.05 * j) / (1 + np.exp(-0.8 * (column + 0.3 * j)))
    law, force = 0.3 * np.sin(0.7 * column + 0.4 * j) - 0.1, 0.05 * np.cos(0.5 * column - 0.2 * j)
    if name not in ("degenerate", "eps", "lonly", "full"):
        msg = f"no formula for the statistics {name!r}"
        raise NotImplementedError(msg)
    sets = {
        "degenerate": (zero + 1.0, zero, zero),
        "eps": (zero, zero, zero),
        "lonly": (slope, zero, zero),
        "full": (slope, law, force),
    }
    return ModelStatistics(lam, *sets[name], quadrature="trapezoid")


def v3(case: Case, schedule: Schedule, times: FloatArray, model: Denoiser, x: FloatArray) -> FloatArray:
    """DPM-Solver-v3 with the official quadrature on snapped nodes."""
    options = case["options"]
    statistics = recorded_statistics(case)
    method = dpm_solver_v3(
        statistics,
        options["order"],
        corrector=options["use_corrector"],
        pseudo=options["p_pseudo"],
        pseudo_corrector=options["use_corrector"] and options["c_pseudo"],
    )
    grid = statistics.snapped(from_times(schedule, times, terminal=terminal(case)), schedule)
    return finished(case, grid.t[-1], model, solve(planned(method, schedule, grid), model, x))


def dc_solver(case: Case, schedule: Schedule, times: FloatArray, model: Denoiser, x: FloatArray) -> FloatArray:
    """DC-Solver with the recorded ratios."""
    options = case["options"]
    data = str(options.get("ctor", {}).get("predict_x0", True)) == "True"
    name = f"dc_solver_{options['order']}_{options['variant']}_d{options['dc_order']}{'' if data else '_noise'}"
    grid = from_times(schedule, times, terminal=terminal(case))
    plan = planned(name, schedule, grid, parameters={"ratio": options["dc_ratios"]})
    return finished(case, grid.t[-1], model, solve(plan, thresholded(case, model) if data else model, x))


def dpm_adaptive(case: Case, schedule: Schedule, times: FloatArray, model: Denoiser, x: FloatArray) -> FloatArray:
    """Step-size control of DPM-Solver's authors, and of k-diffusion."""
    options, kdiffusion = case["options"], case["solver"].startswith("k-diffusion")
    controller = CONTROLLERS["k-diffusion" if kdiffusion else "dpm-solver"]
    if kdiffusion:
        gains = tuple(options.get(name, value) for name, value in (("pcoeff", 0.0), ("icoeff", 1.0), ("dcoeff", 0.0)))
        controller = replace(controller, gains=gains, accept=options.get("accept_safety", 0.81))
    noise = kdiffusion or options["algorithm_type"] == "dpmsolver"
    ends = (times[0], times[-1]) if kdiffusion else (case["schedule"]["t_start"], case["schedule"]["t_end"])
    if isinstance(schedule, Tabulated):  # its nodes are labels, the code's times (label + 1)/N
        ends = tuple(max(t * schedule.size - 1.0, 0.0) for t in ends)
    run = solve_adaptive(
        EmbeddedPair(options.get("order", 3), "noise" if noise else "data"),
        model if noise else thresholded(case, model),
        x,
        t_start=float(ends[0]),
        t_end=float(ends[1]),
        controller=controller,
        first_step=options.get("h_init", 0.05),
        **{name: options[name] for name in ("atol", "rtol") if name in options},
    )
    return finished(case, float(ends[1]), model, run.x)


CALIBRATED: Mapping[str, Callable[..., FloatArray]] = {
    r"dpm-solver-v3/.*": v3,
    r"dc-solver/.*": dc_solver,
    r"dpmsolver(\+\+)?/adaptive.*": dpm_adaptive,
    r"k-diffusion/dpm_adaptive": dpm_adaptive,
}
"""Solver names, as patterns, and who runs them."""

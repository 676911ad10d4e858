"""The run that users make, with the scheduler's own levels, integer times, float32 and end; swaps of ingredients."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from diffnum.audits.adapters import run_scheduler
from diffnum.audits.drift import ReverseDrift
from diffnum.audits.families import family_of, label_rho, picture_of
from diffnum.audits.pictures import VE, exact_model
from diffnum.audits.precision import swapped
from diffnum.problems import Mixture1D
from diffnum.schedules import FlowMatching
from diffnum.types import FloatArray, Problem

__all__ = ["LEVELS", "ShippedRun", "shipped_function_run", "shipped_run", "small_peaks"]

LEVELS = (10, 20, 40, 80, 160, 320)
"""Step counts at which a default run is measured."""

POINTS = 32


def small_peaks() -> Mixture1D:
    """Three peaks inside [-1, 1], so that clipping of predicted data does no harm.

    Returns
    -------
    Mixture1D
    """
    return Mixture1D(np.array([0.3, 0.5, 0.2]), np.array([-0.36, 0.12, 0.51]), np.array([0.0144, 0.0225, 0.0081]))


@dataclass(frozen=True)
class ShippedRun:
    """One default run, held against the exact flow between the scheduler's own two ends.

    Parameters
    ----------
    steps : int
        Steps asked for.
    error : float
        Root-mean-square error at the end; infinite if the run is not finite.
    before_last : float
        The same before the last call, at the level reached there.
    evaluations : int
        Model calls made.
    repeated : int
        Labels that occur again although the level does not belong to one step with the first.
    empty : int
        Steps of length zero.
    rho_end : float
        sigma / alpha where the sample is left.
    failure : str
        Exception, if there was one.
    """

    steps: int
    error: float
    before_last: float = math.inf
    evaluations: int = 0
    repeated: int = 0
    empty: int = 0
    rho_end: float = math.nan
    failure: str = ""


@dataclass
class _Recorder:
    """Exact model that remembers the last state it was shown, in the flow picture."""

    problem: Problem
    last: tuple[FloatArray, float] | None = None
    _model: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._model = exact_model(self.problem)

    def __call__(self, z: FloatArray, levels: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
        total = levels[0] + levels[1]
        self.last = (z / total, levels[1] / total)
        x0, eps = self._model(z, levels)
        return x0, eps


def shipped_run(
    scheduler: Any,
    steps: int,
    *,
    options: Mapping[str, Any] | None = None,
    drift: bool = False,
    exact_times: bool = False,
    double: bool = False,
    problem: Problem | None = None,
) -> ShippedRun:
    """Run a scheduler as a pipeline does, on an exact model, and measure the error at its own end.

    Parameters
    ----------
    scheduler : object
        Instance of diffusers; a copy is run.
    steps : int
        Argument of ``set_timesteps``.
    options : mapping, optional
        Arguments of ``step``.
    drift : bool
        Draw zeros for noise and follow the drift of the reverse SDE.
    exact_times : bool
        Swap: tell the model the level that the scheduler computes with, not the label that it passes.
    double : bool
        Swap: float64 states and arithmetic.
    problem : Problem, optional
        Data; three peaks inside [-1, 1] by default.

    Returns
    -------
    ShippedRun
    """
    data = small_peaks() if problem is None else problem
    exact: Problem = ReverseDrift(data) if drift else data
    work = copy.deepcopy(scheduler)
    model = _Recorder(data)
    with warnings.catch_warnings(), swapped(double=double, silent=drift), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            work.set_timesteps(steps)
            levels = family_of(work).read(work)
            labels = np.asarray(work.timesteps, dtype=np.float64)
            calls = levels[:-1][: len(labels)]
            seen = calls if exact_times else np.array([label_rho(work, label) for label in labels])
            start = _start(data, calls[0], picture_of(work))
            dtype = torch.float64 if double else torch.float32
            end = run_scheduler(work, model, start, seen, options or {}, dtype)
        except Exception as reason:
            return ShippedRun(steps, math.inf, failure=f"{type(reason).__name__}: {reason}"[:200])
        rho_end = float(levels[-1])
        alpha, sigma = picture_of(work).levels(rho_end)
        error = _error(exact, start, (picture_of(work).levels(calls[0])), end / (alpha + sigma), rho_end)
        before = math.inf
        if model.last is not None and np.isfinite(end).all():
            x, t = model.last
            before = _error(exact, start, picture_of(work).levels(calls[0]), x, t / (1 - t) if t < 1 else math.inf)
    simple = family_of(work).one_call_a_step
    repeated = len(labels) - len(np.unique(labels)) if simple else 0
    empty = int(np.sum(np.diff(np.append(calls, rho_end)) == 0)) if simple else 0
    return ShippedRun(steps, error, before, len(labels), repeated, empty, rho_end)


def shipped_function_run(
    function: Callable[..., Any],
    steps: int,
    sigmas: Callable[[int], Any],
    *,
    options: Mapping[str, Any] | None = None,
    drift: bool = False,
    double: bool = False,
    problem: Problem | None = None,
) -> ShippedRun:
    """Run a function of k-diffusion on its own grid, down to zero noise, and measure the error there.

    Parameters
    ----------
    function : callable
        ``sample(model, x, sigmas, ...)``.
    steps : int
        Argument of ``sigmas``.
    sigmas : callable
        Builder of the noise levels, such as ``get_sigmas_karras``.
    options, drift, double, problem
        As in :func:`shipped_run`; ``options`` are those of the function.

    Returns
    -------
    ShippedRun
    """
    data = small_peaks() if problem is None else problem
    exact: Problem = ReverseDrift(data) if drift else data
    model, calls = _Recorder(data), []

    def denoise(z: torch.Tensor, sigma: torch.Tensor, **_: Any) -> torch.Tensor:
        calls.append(float(sigma.reshape(-1)[0]))
        return torch.as_tensor(model(z.numpy().astype(np.float64), (1.0, calls[-1]))[0]).to(z.dtype)

    with warnings.catch_warnings(), swapped(double=double, silent=drift), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            dtype = torch.float64 if double else torch.float32
            nodes = sigmas(steps).to(dtype)
            start = _start(data, float(nodes[0]), VE)
            end = function(denoise, torch.as_tensor(start).to(dtype), nodes, disable=True, **(options or {}))
        except Exception as reason:
            return ShippedRun(steps, math.inf, failure=f"{type(reason).__name__}: {reason}"[:200])
        levels, rho_end = (1.0, float(nodes[0])), float(nodes[-1])
        final = np.asarray(end, dtype=np.float64) / (1.0 + rho_end)
        error = _error(exact, start, levels, final, rho_end)
        before = math.inf
        if model.last is not None and math.isfinite(error):
            before = _error(exact, start, levels, model.last[0], model.last[1] / (1.0 - model.last[1]))
    return ShippedRun(steps, error, before, len(calls), 0, int(np.sum(np.diff(nodes) == 0)), rho_end)


def _start(data: Problem, rho: float, picture: Any) -> FloatArray:
    """States at a level, drawn from the exact marginal."""
    alpha, sigma = picture.levels(rho)
    noise = np.random.default_rng(0).standard_normal((POINTS, data.dim))
    return np.asarray(alpha * np.asarray(data.sample(POINTS, 0)) + sigma * noise)


def _error(exact: Problem, start: FloatArray, levels: tuple[float, float], end: FloatArray, rho: float) -> float:
    """Root-mean-square distance, in the scale of clean data, of flow-picture states from the exact map."""
    if not np.isfinite(end).all():
        return math.inf
    total = levels[0] + levels[1]
    t_end = 1.0 if math.isinf(rho) else rho / (1.0 + rho)
    truth = np.asarray(exact.flow(start / total, FlowMatching(), levels[1] / total, t_end))
    return float(np.sqrt(np.mean((end - truth) ** 2)) * (1.0 + (0.0 if math.isinf(rho) else rho)))

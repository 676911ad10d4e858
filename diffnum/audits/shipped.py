"""The run that users make, with the sampler's own levels, times, float32 and end; ingredients of it are swapped."""

from __future__ import annotations

import copy
import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from diffnum.foreign.drift import ReverseDrift
from diffnum.foreign.families import family_of, label_rho, picture_of, stride_of
from diffnum.foreign.libraries import k_diffusion_sampling
from diffnum.foreign.pictures import VE, exact_model
from diffnum.foreign.pipeline import run_scheduler
from diffnum.foreign.precision import swapped, widened
from diffnum.problems import Mixture1D
from diffnum.schedules import FlowMatching
from diffnum.types import FloatArray, Problem

__all__ = ["LEVELS", "ShippedRun", "karras_sigmas", "shipped_run", "small_peaks", "wasted_calls"]

LEVELS = (10, 20, 40, 80, 160, 320)
"""Step counts at which a default run is measured."""

POINTS = 32

NUDGE = 1.01
"""Factor on one answer of the model, to see whether the sample heeds it."""

SAME_LEVEL = 1e-6
"""Relative distance of two levels that are one level in float32."""


def small_peaks() -> Mixture1D:
    """Three peaks inside [-1, 1], so that clipping of predicted data does no harm.

    Returns
    -------
    Mixture1D
    """
    return Mixture1D(np.array([0.3, 0.5, 0.2]), np.array([-0.36, 0.12, 0.51]), np.array([0.0144, 0.0225, 0.0081]))


_PEAKS = small_peaks()


@lru_cache(maxsize=256)
def _drift_of_peaks(start: bytes, t_from: float, t_to: float) -> FloatArray:
    """Ends of the drift, which is integrated: many combinations of options begin and end at the same levels."""
    return ReverseDrift(_PEAKS).flow(np.frombuffer(start).reshape(-1, 1), FlowMatching(), t_from, t_to)


def _truth(exact: Problem, start: FloatArray, t_from: float, t_to: float) -> FloatArray:
    """Exact states at the end."""
    if isinstance(exact, ReverseDrift) and exact.problem is _PEAKS:
        return _drift_of_peaks(start.tobytes(), t_from, t_to)
    return np.asarray(exact.flow(start, FlowMatching(), t_from, t_to))


def karras_sigmas(steps: int) -> torch.Tensor:
    """Noise levels of k-diffusion for Stable Diffusion: its ``get_sigmas_karras`` from 14.6 to 0.0292, then 0."""
    sigmas: torch.Tensor = k_diffusion_sampling().get_sigmas_karras(steps, 0.0292, 14.6)
    return sigmas


@dataclass(frozen=True)
class ShippedRun:
    """One default run, held against the exact flow between the sampler's own two ends.

    Parameters
    ----------
    steps : int
        Steps asked for.
    error : float
        Root-mean-square error at the end, in the scale of data at the cleaner end; infinite if the run is not finite,
        NaN where there is no truth: the drift of the reverse SDE has no solution from pure noise.
    before_last : float
        The same before the last call, at the level reached there.
    evaluations : int
        Model calls made.
    duplicated : int
        Calls at a level and state at which the model was called before.
    repeated : int
        Labels that occur again although the level does not belong to one step with the first.
    empty : int
        Steps of length zero.
    gaps : int
        Steps that end at another time than the one at which the next begins.
    rho_start, rho_end : float
        sigma / alpha of the first state, and where the sample is left.
    failure : str
        Exception, if there was one.
    breaks : str
        The step after which a run is not finite, if it is not.
    sample : ndarray, shape (n, d)
        What the run ended on, in the flow picture.
    """

    steps: int
    error: float
    before_last: float = math.inf
    evaluations: int = 0
    duplicated: int = 0
    repeated: int = 0
    empty: int = 0
    gaps: int = 0
    rho_start: float = math.nan
    rho_end: float = math.nan
    failure: str = ""
    breaks: str = ""
    sample: FloatArray | None = field(default=None, repr=False, compare=False)

    @property
    def refused(self) -> bool:
        """Whether the library refuses this number of steps in so many words, which is no failure."""
        return self.failure.startswith("ValueError") and "num_inference_steps" in self.failure


@dataclass
class _Recorder:
    """Exact model that remembers what it was shown, in the flow picture, and may give one answer a nudge."""

    problem: Problem
    nudge: int | None = None
    seen: list[tuple[FloatArray, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._model = exact_model(self.problem)

    def __call__(self, z: FloatArray, levels: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
        total = levels[0] + levels[1]
        self.seen.append((z / total, levels[1] / total))
        x0, eps = self._model(z, levels)
        factor = NUDGE if self.nudge == len(self.seen) - 1 else 1.0
        return factor * x0, factor * eps

    @property
    def duplicated(self) -> int:
        """Calls at a level and a state that occurred before."""
        count = 0
        for k, (x, t) in enumerate(self.seen):
            near = (y for y, s in self.seen[max(0, k - 4) : k] if abs(s - t) <= SAME_LEVEL * t)
            count += any(np.array_equal(x, y) for y in near)
        return count


def shipped_run(
    target: Any,
    steps: int,
    *,
    options: Mapping[str, Any] | None = None,
    drift: bool = False,
    exact_times: bool = False,
    double: bool = False,
    problem: Problem | None = None,
    nudge: int | None = None,
) -> ShippedRun:
    """Run a sampler as a pipeline does, on an exact model, and measure the error at its own end.

    Parameters
    ----------
    target : scheduler object of diffusers, or function of k-diffusion
        A copy is run; functions run on :func:`karras_sigmas`.
    steps : int
        Argument of ``set_timesteps``, or number of noise levels above 0.
    options : mapping, optional
        Arguments of every ``step``, or of the function.
    drift : bool
        Draw zeros for noise and follow the drift of the reverse SDE.
    exact_times : bool
        Swap: tell the model the level that the scheduler computes with, not the label that it passes.
    double : bool
        Swap: float64 states and arithmetic.
    problem : Problem, optional
        Data; three peaks inside [-1, 1] by default.
    nudge : int, optional
        Number of a call, from 0, whose answer is 1 % too large.

    Returns
    -------
    ShippedRun
        An exception of the sampler is noted there and not raised.
    """
    data: Problem = _PEAKS if problem is None else problem
    exact: Problem = ReverseDrift(data) if drift else data
    model = _Recorder(data, nudge)
    run = _scheduler_run if hasattr(target, "set_timesteps") else _function_run
    with warnings.catch_warnings(), swapped(double=double, silent=drift), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = run(target, steps, model, options or {}, exact_times, torch.float64 if double else torch.float32)
        except Exception as reason:
            text = " ".join(f"{type(reason).__name__}: {reason}".split())
            return ShippedRun(steps, math.inf, evaluations=len(model.seen), failure=text[:160])
        rho_end = float(found.rho[-1])
        error = _error(exact, found.start, found.levels, found.end, rho_end)
        before = math.inf
        if model.seen and math.isfinite(error):
            x, t = model.seen[-1]
            before = _error(exact, found.start, found.levels, x, t / (1 - t) if t < 1 else math.inf)
    return ShippedRun(
        steps, error, before, len(model.seen), model.duplicated, found.repeated,
        int(np.sum(np.diff(found.rho) == 0)) if found.one_call_a_step else 0, found.gaps, float(found.rho[0]), rho_end,
        breaks="" if np.isfinite(found.end).all() else _broken(model.seen, found), sample=found.end,
    )  # fmt: skip


def _broken(seen: Sequence[tuple[FloatArray, float]], found: _Ran) -> str:
    """The step after which states are not finite."""
    bad = next((k for k, (x, _) in enumerate(seen) if not np.isfinite(x).all()), len(seen))
    if not found.one_call_a_step or not 0 < bad < len(found.rho):
        return f"after call {bad} of {len(seen)}"
    start, end = found.rho[bad - 1 : bad + 1].tolist()
    what = "length zero" if start == end else f"sigma / alpha from {start:.3g} to {end:.3g}"
    return f"after step {bad} of {len(found.rho) - 1}, {'to no noise' if end == 0 < start else 'of ' + what}"


def wasted_calls(run: Callable[..., ShippedRun], steps: int) -> tuple[int, ...]:
    """Numbers, from 1, of the model calls that the sample does not depend on; empty if the run is not finite.

    Parameters
    ----------
    run : callable
        ``run(steps, nudge=k)``.
    steps : int
        Steps of the runs.

    Returns
    -------
    tuple of int
    """
    base = run(steps)
    if base.sample is None or not math.isfinite(base.error):
        return ()
    nudged = (run(steps, nudge=k).sample for k in range(base.evaluations))
    return tuple(k for k, end in enumerate(nudged, start=1) if end is not None and np.array_equal(end, base.sample))


@dataclass(frozen=True)
class _Ran:
    """Start in the sampler's picture at ``levels``, end in the flow picture, rho of all calls and of the end."""

    start: FloatArray
    levels: tuple[float, float]
    end: FloatArray
    rho: FloatArray
    repeated: int
    one_call_a_step: bool
    gaps: int = 0


def _scheduler_run(
    scheduler: Any, steps: int, model: _Recorder, options: Mapping[str, Any], exact_times: bool, dtype: torch.dtype
) -> _Ran:
    work = copy.deepcopy(scheduler)
    if dtype is torch.float64:
        widened(work)
    work.set_timesteps(steps)
    family, picture = family_of(work), picture_of(work)
    rho = family.read(work)
    labels = np.asarray(work.timesteps, dtype=np.float64)[: len(rho) - 1]
    rho = np.append(rho[:-1][: len(labels)], rho[-1])
    seen = rho[:-1] if exact_times else np.array([label_rho(work, label) for label in labels])
    start = _start(model.problem, rho[0], picture)
    end = run_scheduler(work, model, start, seen, options, dtype)
    repeated = len(labels) - len(np.unique(labels)) if family.one_call_a_step else 0
    alpha, sigma = picture.levels(float(rho[-1]))
    final = end / (alpha + sigma)
    gaps = _gaps(work) if family.strided else 0
    return _Ran(start, picture.levels(rho[0]), final, rho, repeated, family.one_call_a_step, gaps)


def _gaps(scheduler: Any) -> int:
    """Steps that end at another label than the next begins, where schedulers go down by a stride of their own."""
    labels = np.unique(np.asarray(scheduler.timesteps, dtype=np.int64))
    return int(np.sum(np.diff(labels) != stride_of(scheduler)))


def _function_run(
    function: Callable[..., Any],
    steps: int,
    model: _Recorder,
    options: Mapping[str, Any],
    exact_times: bool,  # noqa: ARG001  the model is always told the level itself
    dtype: torch.dtype,
) -> _Ran:
    def denoise(z: torch.Tensor, sigma: Any, **_: Any) -> torch.Tensor:
        level = float(torch.as_tensor(sigma).reshape(-1)[0])
        return torch.as_tensor(model(z.numpy().astype(np.float64), (1.0, level))[0]).to(z.dtype)

    nodes = karras_sigmas(steps).to(dtype)
    start = _start(model.problem, float(nodes[0]), VE)
    quiet = {"disable": True} if "disable" in inspect.signature(function).parameters else {}
    end = function(denoise, torch.as_tensor(start).to(dtype), nodes, **quiet, **options)
    rho = np.asarray(nodes, dtype=np.float64)
    final = np.asarray(end, dtype=np.float64) / (1.0 + rho[-1])
    return _Ran(start, (1.0, float(rho[0])), final, rho, 0, True)


def _start(data: Problem, rho: float, picture: Any) -> FloatArray:
    """States at a level, drawn from the exact marginal."""
    alpha, sigma = picture.levels(rho)
    noise = np.random.default_rng(0).standard_normal((POINTS, data.dim))
    return np.asarray(alpha * np.asarray(data.sample(POINTS, 0)) + sigma * noise)


def _error(exact: Problem, start: FloatArray, levels: tuple[float, float], end: FloatArray, rho: float) -> float:
    """Root-mean-square distance of flow-picture states from the exact map, in the scale of the cleaner end."""
    if not np.isfinite(end).all():
        return math.inf
    if isinstance(exact, ReverseDrift) and levels[0] == 0:
        return math.nan
    total = levels[0] + levels[1]
    t_end = 1.0 if math.isinf(rho) else rho / (1.0 + rho)
    truth = _truth(exact, start / total, levels[1] / total, t_end)
    cleaner = min(rho, levels[1] / levels[0] if levels[0] else math.inf)
    return float(np.sqrt(np.mean((end - truth) ** 2)) * (1.0 + (0.0 if math.isinf(cleaner) else cleaner)))

"""Every method of the catalogue as a function of the kind that k-diffusion and ComfyUI call.

>>> from diffnum.interop import k_diffusion
>>> x = k_diffusion.sample_unipc_3(model, x, sigmas, extra_args={"cond": cond})  # doctest: +SKIP
>>> x = k_diffusion.sample_sde_dpmpp_2m(model, x, sigmas, noise_sampler=noise_sampler)  # doctest: +SKIP
>>> k_diffusion.sample_ghvb_2_8 is not None  # "." in a name may be written "_"
True

``model(x, sigma, **extra_args)`` returns the denoised sample of ``x = x_0 + sigma eps``; ``sigma`` has shape (batch,).
``sigmas`` may end in 0. A state of half precision is kept in float32 between evaluations. For flow models (ComfyUI's
CONST), ``x = (1 - sigma) x_0 + sigma eps``: pass ``flow=True``, or leave it to be seen from the model.
``dir(k_diffusion)`` lists the functions; any name that ``dn.method`` knows works.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

import numpy as np
import torch

from diffnum.coefficients.catalogue import aliases, methods
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Start
from diffnum.grids import Grid
from diffnum.interop.found import plan_sampler
from diffnum.interop.k_keywords import at_the_end, churned_at_the_end, understood
from diffnum.interop.k_ranges import (
    PURE_NOISE,
    check_state,
    fast_levels,
    finite,
    is_flow,
    sample_dpm_adaptive,
    sample_dpm_fast_noisy,
)
from diffnum.plans import Plan, plan
from diffnum.schedules import EDM, FlowMatching
from diffnum.solver import Noise, solve
from diffnum.solver.noise import noise_intervals
from diffnum.types import FloatArray, Prediction, Schedule

__all__ = ["plan_sampler", "sampler"]

_PREFIX = "sample_"
_ROUNDING = 1e-7
"""Relative difference below which two levels are one: half an ulp of float32, with the way through log and exp."""


def _identifier(name: str) -> str:
    """Name as it can be written in code."""
    return name.replace(".", "_").replace("-", "_")


@cache
def _names() -> Mapping[str, str]:
    """Listed names and aliases, by the name that can be written in code."""
    return {_identifier(name): name for name in (*methods("all"), *aliases())}


def __dir__() -> list[str]:
    return sorted([*__all__, "sample_dpm_adaptive", *(_PREFIX + name for name in _names())])


def __getattr__(name: str) -> Callable[..., torch.Tensor]:
    """Sampling function of a method."""
    if not name.startswith(_PREFIX):
        msg = f"module {__name__!r} has no attribute {name!r}: samplers are called {_PREFIX}NAME"
        raise AttributeError(msg)
    if name == "sample_dpm_adaptive":
        return sample_dpm_adaptive
    if name == "sample_dpm_fast":
        return _sample_dpm_fast
    wanted = name.removeprefix(_PREFIX)
    try:
        return sampler(_names().get(wanted, wanted))
    except ValueError:
        near = [_PREFIX + found for found in get_close_matches(wanted, _names(), n=3, cutoff=0.4)]
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        msg = f"module {__name__!r} has no sampler {name!r}: {hint}dir() lists them all"
        raise AttributeError(msg) from None


def _sample_dpm_fast(
    model: Callable[..., torch.Tensor],
    x: torch.Tensor,
    sigma_min: Any,
    sigma_max: Any = None,
    n: int | None = None,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], object] | None = None,
    disable: bool | None = None,
    *,
    eta: float = 0.0,
    **options: Any,
) -> torch.Tensor:
    """DPM-Solver-fast as k-diffusion calls it, with two levels and ``n`` evaluations, or with ``sigmas``."""
    function = sampler("dpm_solver_fast_3")
    if sigma_max is None or n is None:
        if eta:
            msg = f"eta={eta}: with noise dpm_fast needs two levels and n evaluations, which it divides into steps"
            raise ValueError(msg)
        return function(model, x, sigma_min, extra_args, callback, disable, **options)
    if eta:
        unknown = sorted(options.keys() - {"s_noise", "noise_sampler", "flow"})
        if unknown:
            msg = f"sample_dpm_fast got {unknown[0]}: with eta > 0 it takes s_noise, noise_sampler and flow"
            raise TypeError(msg)
        return sample_dpm_fast_noisy(
            model, x, sigma_min, sigma_max, n, extra_args=extra_args, callback=callback, eta=eta, **options
        )
    flow = options.get("flow")
    kind = is_flow(model) if flow is None else flow
    levels = torch.as_tensor(fast_levels(sigma_min, sigma_max, n, flow=kind), dtype=torch.float64)
    return function(model, x, levels, extra_args, callback, disable, **options)


_sample_dpm_fast.__name__ = _sample_dpm_fast.__qualname__ = "sample_dpm_fast"


@cache
def sampler(method: str | Method) -> Callable[..., torch.Tensor]:
    """Sampling function of a method.

    Parameters
    ----------
    method : str or Method
        Record, or its name.

    Returns
    -------
    callable
        ``sample(model, x, sigmas, extra_args=None, callback=None, disable=None, ...)``.
    """
    record = find_method(method) if isinstance(method, str) else method
    if method is not record:
        return sampler(record)  # one function a method, whatever name it is asked by: a pickle looks it up

    def sample(
        model: Callable[..., torch.Tensor],
        x: torch.Tensor,
        sigmas: torch.Tensor,
        extra_args: Mapping[str, Any] | None = None,
        callback: Callable[[dict[str, Any]], object] | None = None,
        disable: bool | None = None,
        *,
        noise_sampler: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        s_noise: float = 1.0,
        flow: bool | None = None,
        start: Start | None = None,
        terminal: str = "stop",
        parameters: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> torch.Tensor:
        state = check_state(x)
        levels = _checked(sigmas)
        kind = is_flow(model) if flow is None else flow
        chosen, found = understood(record, sample.__name__, options, levels, flow=kind)
        if len(levels) == 1:  # where a host has split the levels, nothing is left to do
            return x
        schedule, grid = _grid(levels, kind, terminal)
        given, last = at_the_end(found, levels)
        given.update(parameters or {})
        numbers = plan(chosen, schedule, grid, start=start, prediction="data", parameters=given)
        numbers = churned_at_the_end(numbers, last)
        with torch.no_grad(), _progress(numbers, disable) as advance:
            host = _Host(model, x.dtype, schedule, dict(extra_args or {}), numbers, sigmas, callback, advance)
            noise = _noise(numbers, noise_sampler, s_noise, levels, sigmas, x.dtype)
            result: torch.Tensor = solve(numbers, host, state, noise=noise, check_finite=False).to(x.dtype)
        return finite(sample.__name__, result)

    sample.__name__ = sample.__qualname__ = _PREFIX + _identifier(record.name)
    sample.__doc__ = _DOC.format(title=record.title, name=record.name, summary=record.summary)
    return sample


_DOC = """{title}: {summary}

Parameters
----------
model : callable
    ``model(x, sigma, **extra_args)`` returns the denoised sample.
x : tensor, shape (batch, ...)
    Initial sample, noise of standard deviation ``sigmas[0]``.
sigmas : tensor, shape (n + 1,)
    Noise levels, decreasing; the last may be 0. Read once. One level returns ``x``.
extra_args : dict, optional
    Further arguments of the model.
callback : callable, optional
    Told, at each node, a dict with ``x``, ``i``, ``sigma``, ``sigma_hat``, ``denoised``.
disable : bool, optional
    No progress bar; none where the output is no terminal if not given.
noise_sampler : callable, optional
    ``noise_sampler(sigma, sigma_next)`` for stochastic methods; independent draws of ``torch.randn_like`` by default.
s_noise : float
    Factor of the noise; 1 is right.
flow : bool, optional
    Whether ``x = (1 - sigma) x_0 + sigma eps``; by default seen from the model (ComfyUI's CONST).
start, terminal : str
    Start-up and terminal rule, see :func:`diffnum.plan`.
parameters : dict, optional
    Numbers per step that a method asks for.
**options
    Keywords of the function of k-diffusion that computes the same, listed in
    :data:`diffnum.interop.k_keywords.KEYWORDS`: ``eta``, ``s_churn``, ``s_tmin``, ``s_tmax``, ``solver_type``, ``r``,
    ``order``.

Returns
-------
tensor, shape of ``x``

Raises
------
TypeError
    If ``x`` is no tensor of floating dtype, or a keyword is not understood.
ValueError
    If the levels do not decrease, the model returns another shape, or the result is not finite.

Notes
-----
The method ``{name}`` of the catalogue: ``print(dn.plan("{name}", ...).table())`` shows its numbers.
"""


class _Host:
    """The host's model as a denoiser that tells the host where it is."""

    prediction: Prediction = "data"

    def __init__(
        self,
        model: Callable[..., torch.Tensor],
        dtype: torch.dtype,
        schedule: Schedule,
        extra_args: dict[str, Any],
        numbers: Plan,
        sigmas: torch.Tensor,
        callback: Callable[[dict[str, Any]], object] | None,
        advance: Callable[[], object],
    ) -> None:
        self.model, self.dtype, self.schedule, self.extra_args = model, dtype, schedule, extra_args
        self.sigmas, self.callback, self.advance = sigmas, callback, advance
        # a node that is evaluated twice is told of once, at the state that is kept; a node where noise is added
        # before the evaluation is told of by the first evaluation of its step
        times = [t for step in numbers.stages for t, _, _ in step]
        last = {t: i for i, t in enumerate(times)}
        first = np.cumsum([0, *(step.nfe for step in numbers.steps)]).tolist()
        begins = numbers.times.tolist() if len(numbers.times) == len(sigmas) else [*dict.fromkeys(times)]
        self.nodes = begins
        self.told = {last.get(t, first[min(i, len(first) - 1)]): i for i, t in enumerate(begins[: len(sigmas) - 1])}
        self.exact = {begins[0]: sigmas[0]}  # which the plan may have moved off pure noise
        self.calls = 0

    def __call__(self, x: torch.Tensor, t: float) -> torch.Tensor:
        sigma = self.exact.get(t, t)
        state = x.to(self.dtype)
        denoised = self.model(state, state.new_ones([x.shape[0]]) * sigma, **self.extra_args)
        i = self.told.get(self.calls)
        if i is not None:
            self.advance()
            if self.callback is not None:
                hat = self.sigmas[i] if t == self.nodes[i] else self.sigmas.new_tensor(t)
                self.callback({"x": state, "i": i, "sigma": self.sigmas[i], "sigma_hat": hat, "denoised": denoised})
        self.calls += 1
        return denoised.to(x.dtype) if isinstance(denoised, torch.Tensor) else denoised


def _checked(sigmas: torch.Tensor) -> FloatArray:
    """Noise levels in float64, read from their device once."""
    if not isinstance(sigmas, torch.Tensor) or sigmas.ndim != 1 or not len(sigmas):
        msg = f"sigmas={sigmas!r}: pass a tensor of decreasing noise levels"
        raise ValueError(msg)
    levels = sigmas.detach().to("cpu", torch.float64).numpy()
    if not (np.isfinite(levels).all() and (np.diff(levels) < 0.0).all() and levels[-1] >= 0.0):
        msg = f"sigmas={levels.tolist()}: noise levels must be finite, decrease strictly, and end at 0 or more"
        raise ValueError(msg)
    return levels


def _grid(levels: FloatArray, flow: bool, terminal: str) -> tuple[Schedule, Grid]:
    """Process and nodes of noise levels."""
    if flow:
        if levels[0] > 1.0:
            msg = f"sigmas begin at {levels[0]}: the levels of a flow are times, at most 1"
            raise ValueError(msg)
        schedule: Schedule = FlowMatching()
        t = levels.copy()
        if t[0] == 1.0:
            t[0] = schedule.time(PURE_NOISE)
        with np.errstate(divide="ignore"):
            lam = np.log1p(-t) - np.log(t)
        return schedule, Grid(t, lam, terminal)  # type: ignore[arg-type]
    positive = levels[levels > 0.0]
    low = float(positive[-1]) if len(positive) > 1 else 0.5 * float(positive[0])
    with np.errstate(divide="ignore"):
        # with room for methods that add noise at the start
        return EDM(low, 2.0 * float(levels[0])), Grid(levels, -np.log(levels), terminal)  # type: ignore[arg-type]


def _noise(
    numbers: Plan,
    source: Callable[..., torch.Tensor] | None,
    scale: float,
    levels: FloatArray,
    sigmas: torch.Tensor,
    dtype: torch.dtype,
) -> Noise | None:
    """The host's noise as the loop asks for it, or independent draws, in the dtype of x as the host draws them."""
    if not any(step.noises for step in numbers.steps):
        return None
    if source is None:
        return lambda step, index, like: scale * torch.randn_like(like, dtype=dtype).to(like.dtype)  # noqa: ARG005
    schedule = numbers.schedule
    try:
        parts = [
            [tuple(float(schedule.sigma(schedule.time(lam))) for lam in part) for part in step]
            for step in noise_intervals(numbers)
        ]
    except ValueError:  # draws that are no increments of one path
        parts = [[(step.t_from, step.t_to)] * len(step.noises) for step in numbers.steps]
    # A level of the host's is handed back as it is, to the bit: a Brownian tree refuses what is a rounding outside.
    # The others have the dtype of the levels, not of x, in whose half precision two of them may be one.
    wide = torch.promote_types(sigmas.dtype, torch.float32)

    def level(value: float) -> torch.Tensor:
        near = int(np.argmin(np.abs(levels - value)))
        if abs(float(levels[near]) - value) <= _ROUNDING * float(levels[near]):
            return sigmas[near]
        return sigmas.new_tensor(value, dtype=wide)

    def draw(step: int, index: int, like: torch.Tensor) -> torch.Tensor:
        begin, end = (level(value) for value in parts[step][index])
        return scale * source(begin, end).to(like.dtype)

    return draw


class _progress:
    """A bar that counts nodes, as hosts expect it; none if tqdm is not there."""

    def __init__(self, numbers: Plan, disable: bool | None) -> None:
        try:
            from tqdm.auto import tqdm
        except ModuleNotFoundError:
            self.bar: Any = None
        else:
            self.bar = tqdm(total=len(numbers.steps), disable=disable)

    def __enter__(self) -> Callable[[], object]:
        return (lambda: None) if self.bar is None else self.bar.update

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

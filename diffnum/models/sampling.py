"""Sampling from pretrained models: noise that does not depend on the batch, and the plans of the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from diffnum import grids
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method, Start
from diffnum.grids import Grid
from diffnum.plans import Plan, plan
from diffnum.solver import solve
from diffnum.types import Denoiser, Schedule

if TYPE_CHECKING:
    import torch

__all__ = ["initial_noise", "plan_for", "sample"]


def initial_noise(
    n: int, shape: tuple[int, ...], seed: int, *, first: int = 0, dtype: Any = None, device: Any = "cpu"
) -> torch.Tensor:
    """Standard normal draws, one independent stream a sample.

    Sample ``i`` of a seed is the same number for number whatever the batch size, the number of processes and
    the dtype (up to rounding): its stream is keyed by (seed, i) and drawn on the CPU in float64.

    Parameters
    ----------
    n : int
        Number of samples.
    shape : tuple of int
        Shape of one sample.
    seed : int
        Seed of the run, >= 0.
    first : int
        Index of the first sample.
    dtype : torch.dtype, optional
        Type of the result; float32 by default.
    device : torch.device or str
        Where the result lives.

    Returns
    -------
    tensor, shape (n, ...)
    """
    import torch

    draws = [np.random.Generator(np.random.Philox([seed, first + i])).standard_normal(shape) for i in range(n)]
    stacked = np.stack(draws) if draws else np.empty((0, *shape))
    return torch.from_numpy(stacked).to(device=device, dtype=dtype or torch.float32)


def plan_for(
    model: Denoiser,
    method: Method | str,
    steps: int | None = None,
    *,
    nfe: int | None = None,
    grid: Grid | str | Callable[..., Grid] = "uniform_half_log_snr",
    t_start: float | None = None,
    t_end: float | None = None,
    terminal: str = "stop",
    start: Start | None = None,
) -> Plan:
    """Plan of a method for a pretrained model, between the model's own end times.

    Parameters
    ----------
    model : Denoiser
        Its ``schedule``, and ``default_t_start``, ``default_t_end`` where it has them.
    method : Method or str
        Method of the catalogue.
    steps, nfe : int, optional
        Number of steps, or number of evaluations that they may take; give one of the two.
    grid : Grid, str or callable
        A grid, or a builder of :mod:`diffnum.grids` or its name.
    t_start, t_end : float, optional
        Times of the noisy and the clean end; the model's defaults.
    terminal : {"stop", "denoise", "lower_order", "lower_order_denoise"}
        Terminal rule.
    start : {"ramp", "high_order"}, optional
        Start-up rule; as shipped by default.

    Raises
    ------
    ValueError
        If both or neither of ``steps`` and ``nfe`` are given, or the grid is unknown.
    """
    record = find_method(method) if isinstance(method, str) else method
    if isinstance(grid, Grid):
        return plan(record, model.schedule, grid, start=start)
    if (steps is None) == (nfe is None):
        raise ValueError(f"steps={steps}, nfe={nfe}: give one of the two")
    n = steps if nfe is None else record.steps_for(nfe, terminal=terminal)
    if isinstance(grid, str):
        if grid not in grids.GRIDS:
            raise ValueError(f"grid={grid!r} is unknown: use one of {', '.join(grids.GRIDS)}")
        grid = grids.GRIDS[grid]
    times = _times(model, model.schedule, t_start, t_end)
    return plan(record, model.schedule, grid(model.schedule, n, **times, terminal=terminal), start=start)


def _times(model: Denoiser, schedule: Schedule, t_start: float | None, t_end: float | None) -> dict[str, float]:
    """End times: the caller's, else the model's, else the schedule's."""

    def default(name: str) -> float:
        value = getattr(model, name, None)
        return float(getattr(schedule, name) if value is None else value)

    return {
        "t_start": default("default_t_start") if t_start is None else t_start,
        "t_end": default("default_t_end") if t_end is None else t_end,
    }


def sample(
    model: Any,
    method: Method | str = "dpmpp_2m",
    steps: int | None = None,
    n: int = 16,
    *,
    nfe: int | None = None,
    seed: int = 0,
    first: int = 0,
    batch: int = 64,
    grid: Grid | str | Callable[..., Grid] = "uniform_half_log_snr",
    t_start: float | None = None,
    t_end: float | None = None,
    terminal: str = "stop",
    start: Start | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> torch.Tensor:
    """Draw images from a pretrained model.

    Parameters
    ----------
    model : NetworkDenoiser
        From :func:`diffnum.load`, perhaps ``.conditioned(label)``.
    method : Method or str
        Method of the catalogue.
    steps, nfe : int, optional
        Number of steps or of evaluations; 20 steps if neither is given.
    n : int
        Number of images.
    seed, first : int
        Image ``i`` depends on ``seed`` and ``first + i`` alone, not on the batch.
    batch : int
        Images in flight at once.
    grid, t_start, t_end, terminal, start
        As in :func:`plan_for`.
    progress : callable, optional
        Called as ``progress(done, total)`` in model evaluations of a batch.

    Returns
    -------
    tensor, shape (n, C, H, W), in the model's range

    Raises
    ------
    ValueError
        If ``n`` or ``batch`` is not positive, or the model returns what is not finite.
    """
    import torch

    for name, value in (("n", n), ("batch", batch)):
        if value < 1:
            raise ValueError(f"{name}={value}: draw at least one image")
    if steps is None and nfe is None and not isinstance(grid, Grid):
        steps = 20
    numbers = plan_for(
        model, method, steps, nfe=nfe, grid=grid, t_start=t_start, t_end=t_end, terminal=terminal, start=start
    )
    scale = float(numbers.schedule.sigma(numbers.steps[0].t_from))
    batches: list[torch.Tensor] = []
    total = -(-n // batch) * len(numbers)
    for begin in range(0, n, batch):
        count = min(batch, n - begin)
        noise = initial_noise(
            count, model.sample_shape, seed, first=first + begin, dtype=model.dtype, device=model.device
        )
        done = len(batches) * len(numbers)
        report = None if progress is None else lambda s, done=done: progress(done + s.step, total)
        images = solve(numbers, model, scale * noise + numbers.schedule.mean, callback=report)
        if not bool(torch.isfinite(images).all()):
            bad = int((~torch.isfinite(images).flatten(1).all(1)).nonzero()[0, 0])
            raise ValueError(
                f"model returned values that are not finite for sample {first + begin + bad} (seed {seed})"
            )
        batches.append(images)
    return torch.cat(batches)

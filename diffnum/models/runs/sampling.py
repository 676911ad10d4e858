"""Sampling from pretrained models: noise that does not depend on the batch, and the plans of the package."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Start
from diffnum.grids import Grid
from diffnum.jobs.extras import required
from diffnum.jobs.ledger import Progress
from diffnum.models.runs.students import bound_to_plan, own_method, own_steps
from diffnum.plans import Plan, plan_for
from diffnum.plans.found import warn_if_found_elsewhere
from diffnum.solver import State, solve
from diffnum.solver.noise import SampleStreams, start_noise
from diffnum.types import Array, Prediction, Schedule

if TYPE_CHECKING:
    import torch

__all__ = ["MicroBatched", "check_memory", "draw", "initial_noise", "sample"]


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

    return torch.from_numpy(start_noise(n, shape, seed, first=first)).to(device=device, dtype=dtype or torch.float32)


@dataclass(frozen=True, eq=False)
class MicroBatched:
    """A network that is always called with the same number of samples, the last call filled up by repetition.

    Matrix products choose their kernels by the size of the batch and sum in another order for another size, so the
    same sample differs in its last bits from batch to batch. With the size fixed, and every sample always in the same
    place, its bits do not depend on how many samples are drawn, or by how many processes.

    Parameters
    ----------
    parts : tuple of Denoiser
        The network for each call of a batch, conditioned on the labels of that call where each sample has its own.
    size : int
        Samples a call.
    """

    parts: tuple[Any, ...]
    size: int

    @classmethod
    def of(cls, model: Any, size: int, count: int) -> MicroBatched:
        """Network for batches of ``count`` samples; a label for each sample is dealt out to the calls."""
        import torch

        calls = -(-count // size)
        labels = getattr(model, "labels", None)
        if labels is None or labels.ndim == 0:
            return cls((model,) * calls, size)
        filled = _filled(labels, size)
        return cls(tuple(model.conditioned(part) for part in torch.split(filled, size)), size)

    @property
    def prediction(self) -> Prediction:
        """What the network returns."""
        found: Prediction = self.parts[0].prediction
        return found

    @property
    def schedule(self) -> Schedule:
        """Noising process of the network."""
        found: Schedule = self.parts[0].schedule
        return found

    def __call__(self, x: Array, t: Any) -> Array:
        """Predict at states of shape (batch, ...) and one time for all of them."""
        import torch

        pieces = torch.split(_filled(x, self.size), self.size)
        return torch.cat([model(piece, t) for model, piece in zip(self.parts, pieces, strict=True)])[: len(x)]


def _filled(x: torch.Tensor, size: int) -> torch.Tensor:
    """Batch whose length is a multiple of ``size``: the last entry is repeated."""
    import torch

    missing = -len(x) % size
    return x if not missing else torch.cat([x, x[-1:].expand(missing, *x.shape[1:])])


def draw(
    model: Any,
    numbers: Plan,
    samples: range,
    seed: int,
    *,
    batch: int = 64,
    micro_batch: int | None = None,
    label_of: Callable[[int], int] | None = None,
    callback: Callable[[int, State], object] | None = None,
) -> Iterator[torch.Tensor]:
    """Yield the images of a plan, batch by batch.

    Parameters
    ----------
    model : NetworkDenoiser
        From :func:`diffnum.load`, perhaps ``.conditioned(label)``.
    numbers : Plan
        Numbers of the run.
    samples : range
        Numbers of the images, consecutive.
    seed : int
        Image ``i`` depends on ``seed`` and ``i`` alone: to rounding, or to the last bit where ``micro_batch`` is given
        and divides the first number and ``batch``.
    batch : int
        Images in flight at once.
    micro_batch : int, optional
        Samples in each call of the network (:class:`MicroBatched`); whole batches by default.
    label_of : callable, optional
        Label of an image by its number.
    callback : callable, optional
        Called as ``callback(done, state)`` with the images done before this batch, after each step; the arrays of the
        state are good until the next step.

    Raises
    ------
    ValueError
        If the model returns what is not finite.
    """
    import torch

    from diffnum.models.update import fused

    first = samples.start
    warn_if_found_elsewhere(numbers, model, lambda m: m if label_of is None else m.conditioned(label_of(first)))
    model = bound_to_plan(model, numbers)
    numbers = replace(numbers, found_for=None)  # it is said once, and not with every batch
    scale = float(numbers.schedule.sigma(numbers.steps[0].t_from))
    dtype = torch.float32 if model.dtype in (torch.float16, torch.bfloat16) else model.dtype
    stochastic = any(step.noises for step in numbers.steps)
    for begin in range(samples.start, samples.stop, batch):
        count = min(batch, samples.stop - begin)
        bound = model if label_of is None else model.conditioned([label_of(i) for i in range(begin, begin + count)])
        network = bound if micro_batch is None else MicroBatched.of(bound, micro_batch, count)
        noise = initial_noise(count, model.sample_shape, seed, first=begin, dtype=dtype, device=model.device)
        report = None if callback is None else _counted(callback, begin - samples.start)
        images = solve(
            numbers,
            network,
            scale * noise + numbers.schedule.mean,
            noise=SampleStreams(seed, begin) if stochastic else None,
            callback=report,
            combine=fused,
            check_finite=False,
        )
        if not bool(torch.isfinite(images).all()):
            bad = int((~torch.isfinite(images).flatten(1).all(1)).nonzero()[0, 0])
            msg = f"model returned values that are not finite for sample {begin + bad} (seed {seed})"
            raise ValueError(msg)
        yield images


def _counted(callback: Callable[[int, State], object], done: int) -> Callable[[State], object]:
    """Callback of one batch."""
    return lambda state: callback(done, state)


def check_memory(model: Any, n: int) -> None:
    """Refuse at once what this machine cannot hold.

    Parameters
    ----------
    model : NetworkDenoiser
        From :func:`diffnum.load`.
    n : int
        Number of images that are to be held together.

    Raises
    ------
    ValueError
        If they need more memory than the machine has, where that is known.
    """
    needed = n * math.prod(model.sample_shape) * (8 if "float64" in str(model.dtype) else 4)
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return
    if needed > there:
        msg = (
            f"n={n}: images of shape {tuple(model.sample_shape)} need {needed // 10**9} GB together and this machine "
            f"has {there // 10**9} GB of memory: draw fewer, or into a folder (diffnum sample --out FOLDER)"
        )
        raise ValueError(msg)


def sample(
    model: Any,
    method: Method | Plan | str | None = None,
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
    progress: Progress | None = None,
) -> torch.Tensor:
    """Draw images from a pretrained model.

    Parameters
    ----------
    model : NetworkDenoiser
        From :func:`diffnum.load`, perhaps ``.conditioned(label)``.
    method : Method, Plan or str, optional
        Method of the catalogue; or a plan, which says its steps and grid itself. By default "dpmpp_2m", and "ddim" for
        a distilled student.
    steps, nfe : int, optional
        Number of steps or of evaluations; if neither is given, 20 steps, or those that a student was distilled for.
    n : int
        Number of images.
    seed, first : int
        Image ``i`` depends on ``seed`` and ``first + i`` alone, not on the batch.
    batch : int
        Images in flight at once.
    grid, t_start, t_end, terminal, start
        As in :func:`plan_for`.
    progress : callable, optional
        Called as ``progress(done, total, what)``, in model evaluations of a batch.

    Returns
    -------
    tensor, shape (n, C, H, W), in the model's range; float32 where the model has half precision

    Raises
    ------
    TypeError
        If the model is none, or a number not a whole one.
    ValueError
        If ``n`` or ``batch`` is not positive, the images are more than the machine can hold, or the model returns
        what is not finite.
    """
    required("torch", "dn.sample")
    import torch

    if not hasattr(model, "sample_shape"):
        msg = f"model is a {type(model).__name__}: load it, as dn.load('toy/digits'), or wrap it"
        raise TypeError(msg)
    for name, value, least in (("n", n, 1), ("batch", batch, 1), ("seed", seed, 0), ("first", first, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            msg = f"{name}={value!r}: use a whole number"
            raise TypeError(msg)
        if value < least:
            msg = f"{name}={value}: use a whole number, at least {least}"
            raise ValueError(msg)
    check_memory(model, n)
    method = own_method(model) if method is None else method
    if isinstance(method, Plan):
        if steps is not None or nfe is not None:
            msg = f"steps={steps}, nfe={nfe}: a plan says its steps itself, leave both out"
            raise ValueError(msg)
        numbers = method
    else:
        if steps is None and nfe is None and not isinstance(grid, Grid):
            steps = own_steps(model, method)
        numbers = plan_for(
            model, method, steps, nfe=nfe, grid=grid, t_start=t_start, t_end=t_end, terminal=terminal, start=start
        )
    total = -(-n // batch) * len(numbers)

    def report(done: int, state: State) -> None:
        if progress is not None:
            progress(done // batch * len(numbers) + state.step, total, numbers.method)

    runs = draw(
        model, numbers, range(first, first + n), seed, batch=batch, callback=None if progress is None else report
    )
    return torch.cat(list(runs))

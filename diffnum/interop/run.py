"""A run that a pipeline drives one evaluation at a time."""

from __future__ import annotations

import copy
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diffnum.grids import Grid
from diffnum.guidance.thresholding import sample_quantile
from diffnum.solver import Evaluation, State

__all__ = ["PipelineRun", "RowRuns", "check_finite", "clipped", "evaluations_a_step", "unrounded"]


@dataclass
class PipelineRun:
    """A run in progress.

    ``loop`` has asked for ``event``; ``state`` is the state of the step that asks; ``emitted`` is what the pipeline was
    given for it, in its own dtype; ``first`` and ``index`` count evaluations from the first timestep.
    """

    loop: Generator[Evaluation | State, torch.Tensor, None]
    event: Evaluation
    state: torch.Tensor
    emitted: torch.Tensor
    first: int
    index: int

    def change(self, amount: torch.Tensor) -> torch.Tensor | None:
        """Change the sample that was emitted; returned again where that was a stage and not the state."""
        if self.event.x is not self.state:
            return amount
        self.state.add_(amount)
        return None

    def tell(self, value: torch.Tensor, change: torch.Tensor | None) -> Evaluation | None:
        """Answer the loop, and return its next question; a change at the end of a step moves the new state."""
        event: Evaluation | State | None = self.loop.send(value)
        while isinstance(event, State):
            self.state = event.x
            if change is not None and self.event.t == event.t:
                self.state.add_(change)
            event = next(self.loop, None)
        return event


def check_finite(name: str, values: torch.Tensor, timestep: Any) -> None:
    """Refuse what is not finite."""
    if not bool(torch.isfinite(values).all()):
        msg = (
            f"{name} at timestep {float(timestep):g} is not finite: the network, its input or its precision is at fault"
        )
        raise ValueError(msg)


@dataclass
class RowRuns:
    """Runs of samples that are at different timesteps: a copy of the scheduler for each sample."""

    rows: list[Any]
    emitted: list[torch.Tensor]

    @classmethod
    def of(cls, scheduler: Any, timestep: torch.Tensor, sample: torch.Tensor, before: RowRuns | None) -> RowRuns:
        """The runs in progress, or new ones.

        Raises
        ------
        ValueError
            If there is not one timestep a sample.
        """
        if timestep.ndim != 1 or len(timestep) != len(sample):
            msg = f"timestep has shape {tuple(timestep.shape)}: pass one, or one for each of the {len(sample)} samples"
            raise ValueError(msg)
        if before is not None and len(before.rows) == len(sample):
            return before
        return cls([copy.copy(scheduler) for _ in range(len(sample))], list(torch.split(sample, 1)))

    def step(self, output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor, generator: Any) -> torch.Tensor:
        """Take each sample's value at its own timestep."""
        for i, (row, t) in enumerate(zip(self.rows, timestep.cpu(), strict=True)):
            given = sample[i : i + 1]
            kept = self.emitted[i]
            state = kept if torch.equal(given, kept) else given  # a change that a pipeline made is one of the state
            drawn = generator[i] if isinstance(generator, list) else generator
            self.emitted[i] = row.step(output[i : i + 1], t, state, generator=drawn, return_dict=False)[0]
        return torch.cat(self.emitted)


def clipped(config: Any, data: torch.Tensor) -> torch.Tensor:
    """Clip a data prediction, to a fixed range or to a quantile of each sample."""
    if not config.thresholding:
        return data.clamp(-config.clip_sample_range, config.clip_sample_range)
    size: torch.Tensor = sample_quantile(data.abs(), config.dynamic_thresholding_ratio)
    size = size.clamp(1.0, config.sample_max_value).reshape(-1, *([1] * (data.ndim - 1)))
    return torch.maximum(torch.minimum(data, size), -size) / size


def evaluations_a_step(grid: Grid, times: np.ndarray[Any, np.dtype[np.float64]]) -> int:
    """Distance between the evaluations at the nodes of a grid, where it is always the same."""
    last = [int(np.flatnonzero(times == t)[-1]) if (times == t).any() else -1 for t in grid.t[:-1]]
    gaps = set(np.diff(last).tolist())
    return gaps.pop() if len(gaps) == 1 and min(gaps) > 0 else 1


def unrounded(given: torch.Tensor, run: torch.Tensor | None) -> torch.Tensor:
    """Labels in float64; those that the caller has rounded, to half precision or to integers, are the run's."""
    labels = given.to(torch.float64)
    if run is None or given.dtype in (torch.float32, torch.float64):
        return labels
    known = run.to(torch.float64)
    slack = 0.5 * torch.finfo(given.dtype).eps * labels.abs() if given.is_floating_point() else 0.5
    gap, nearest = (labels.reshape(-1, 1) - known).abs().min(dim=1)
    return torch.where(gap.reshape(labels.shape) <= slack, known[nearest].reshape(labels.shape), labels)

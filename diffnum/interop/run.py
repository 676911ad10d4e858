"""A run that a pipeline drives one evaluation at a time."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch

from diffnum.solver import Evaluation, State

__all__ = ["PipelineRun", "check_finite"]


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

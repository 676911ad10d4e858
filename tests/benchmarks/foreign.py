"""A scheduler of another library as a thing to be timed."""

from __future__ import annotations

from typing import Any

SHAPE = (1, 4, 64, 64)
STEPS = 20


class MultistepScheduler:
    """diffusers' DPMSolverMultistepScheduler(solver_order=3) on a model that costs nothing."""

    name = f"diffusers, {STEPS} step calls"

    def __init__(self, latent: Any, answer: Any) -> None:
        from diffusers import DPMSolverMultistepScheduler

        self.scheduler = DPMSolverMultistepScheduler(solver_order=3)
        self.latent, self.answer = latent, answer

    def prepare(self) -> None:
        """Its own table of numbers: not part of the steps."""
        self.scheduler.set_timesteps(STEPS)

    def run(self) -> None:
        """The step calls."""
        x = self.latent
        for t in self.scheduler.timesteps:
            x = self.scheduler.step(self.answer, t, x).prev_sample

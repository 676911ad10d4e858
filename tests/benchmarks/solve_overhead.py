"""What does our loop cost beside the model? ``python -m tests.benchmarks.solve_overhead [rounds]``.

``solve`` with a model that costs nothing, in turn with the ``step`` calls of diffusers'
DPMSolverMultistepScheduler(solver_order=3), 20 steps each on a (1, 4, 64, 64) float32 latent. Both get a noise
prediction. Both times are bookkeeping and the arithmetic on the latent; the last rows are that arithmetic alone. The
target is a tenth.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import diffnum as dn
from diffnum.plans import Plan
from tests.benchmarks.foreign import SHAPE, STEPS, MultistepScheduler
from tests.benchmarks.timing import in_turn, table

METHODS = ("ddim", "dpmpp_2m", "dpmpp_3m", "unipc_3_bh2")


class Free:
    """Model that costs nothing."""

    prediction = "noise"

    def __init__(self, schedule: Any, answer: Any) -> None:
        self.schedule, self.answer = schedule, answer

    def __call__(self, *_: Any) -> Any:
        return self.answer


def arithmetic(plan: Plan, vectors: dict[str, Any]) -> None:
    """Multiplications and additions of a plan, with no bookkeeping."""
    for rows in plan.programme:
        for _, row in rows:
            names = iter(row)
            first = next(names)
            total = vectors[first] if row[first] == 1.0 else row[first] * vectors[first]
            for name in names:
                total = total.add(vectors[name], alpha=row[name])


def main(rounds: int = 200) -> None:
    torch.set_num_threads(1)
    latent, answer = torch.randn(SHAPE), torch.randn(SHAPE)
    other = MultistepScheduler(latent, answer)
    schedule = dn.schedules.VPLinear()
    model = Free(schedule, answer)
    grid = dn.grids.uniform_half_log_snr(schedule, n=STEPS, t_start=1.0, t_end=1e-3)
    plans = {name: dn.plan(name, schedule, grid, prediction="noise") for name in METHODS}
    vectors = {
        name: torch.randn(SHAPE)
        for plan in plans.values()
        for step in plan.programme
        for t, row in step
        for name in row
    }
    things: dict[str, Callable[[], object]] = {"(set_timesteps)": other.prepare, other.name: other.run}
    things |= {f"solve, {name}": partial(dn.solve, plan, model, latent) for name, plan in plans.items()}
    things |= {f"arithmetic, {name}": partial(arithmetic, plan, vectors) for name, plan in plans.items()}
    with torch.no_grad():
        print(table(in_turn(things, rounds), other.name, "1/10"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""How long does a plan take to build? ``python -m tests.benchmarks.plan_speed [rounds]``.

A plan of 20 steps, in turn with 20 ``step`` calls of diffusers' DPMSolverMultistepScheduler(solver_order=3) on a
(1, 4, 64, 64) float32 latent, with a model that costs nothing. Both take a noise prediction. The
target is less than a third.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import torch

import diffnum as dn
from tests.benchmarks.foreign import SHAPE, STEPS, MultistepScheduler
from tests.benchmarks.timing import in_turn, table

METHODS = ("dpmpp_3m_corrected", "eab_3", "dpm_solver_3", "unipc_3_bh2")


def main(rounds: int = 200) -> None:
    torch.set_num_threads(1)
    other = MultistepScheduler(torch.randn(SHAPE), torch.randn(SHAPE))
    schedule = dn.schedules.VPLinear()
    grid = dn.grids.uniform_half_log_snr(schedule, n=STEPS, t_start=1.0, t_end=1e-3)
    things: dict[str, Callable[[], object]] = {"diffusers, set_timesteps": other.prepare, other.name: other.run}
    for name in METHODS:
        things[f"plan({name!r})"] = partial(dn.plan, name, schedule, grid)
        things[f"plan({name!r}, prediction='noise')"] = partial(dn.plan, name, schedule, grid, prediction="noise")
    with torch.no_grad():
        print(table(in_turn(things, rounds), other.name, "1/3"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""What autograd keeps for the way back, counted: flat in the number of steps for all ways but the plain one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import diffnum as dn
from diffnum.models.gradients import Autograd, KeptBytes
from diffnum.plans.reversible import reversible_plan

SCHEDULE = dn.schedules.VPLinear()
torch.manual_seed(0)
LAYERS = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 8))
MODEL = Autograd(lambda x, t: LAYERS(x), "noise", SCHEDULE)
X = torch.randn(5, 8)


def kept(way: Any, steps: int) -> tuple[int, Any]:
    """Most bytes at a time, and the gradient."""
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, n=steps, t_start=0.8, t_end=1e-2)
    plan = reversible_plan("leapfrog", SCHEDULE, grid) if way == "reversible" else dn.plan("dpmpp_2m", SCHEDULE, grid)
    with KeptBytes(LAYERS.parameters()) as counted:
        found = dn.gradient(plan, MODEL, X, lambda end: (end**2).sum(), memory=way)
    return counted.most, found


@pytest.mark.parametrize("way", ["checkpoint", "reversible", "continuous"])
def test_what_is_kept_is_flat_and_that_of_one_evaluation(way: str) -> None:
    one = kept("full", 1)[0]
    (flat,) = {kept(way, steps)[0] for steps in (4, 16, 64)}
    assert flat <= one


def test_the_plain_way_keeps_every_evaluation() -> None:
    """The negative control of flatness."""
    few, many = (kept("full", steps)[0] for steps in (8, 64))
    assert many / few == pytest.approx(8, rel=0.05)


def test_states_grow_as_the_square_root() -> None:
    states = [kept("checkpoint", steps)[1].kept[0] for steps in (16, 64, 256)]
    assert states[1] / states[0] < 2.5
    assert states[2] / states[1] < 2.5
    assert kept("reversible", 64)[1].kept == (1, 1)


def test_bytes_are_those_of_the_tensors() -> None:
    x = torch.randn(10, dtype=torch.float64, requires_grad=True)
    with KeptBytes() as counted:
        y = x.exp()  # keeps its value
        z = (y * y).sum()  # keeps the same memory twice more
    assert counted.most == 80
    z.backward()
    with KeptBytes((x,)) as apart:
        (x * x).sum().backward()
    assert apart.most == 0

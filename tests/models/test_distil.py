"""The script that distils toy/digits: steps of DDIM, students that learn what is shown, failures that are named."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

import diffnum as dn
from toy_models.distil import RECIPES, Setting, carried, progressive, trained, turn

RECIPE = replace(RECIPES["digits-progressive-4"], steps=40, rate=1e-3)


def test_turns_are_steps_of_ddim() -> None:
    model = dn.load("toy/digits")
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    grid = dn.grids.uniform_half_log_snr(model.schedule, 6, t_end=1e-3)
    expected = dn.solve(dn.plan("ddim", model.schedule, grid), model, x)
    label = torch.full((4,), 10)
    with torch.no_grad():
        for here, there in zip(grid.lam.tolist(), grid.lam.tolist()[1:], strict=False):
            level = torch.full((4,), here)
            x = turn(x, model.module(x, level, label), level, torch.full((4,), there))
    assert torch.allclose(x, expected, atol=2e-4)


def test_the_teachers_runs_are_of_order_two() -> None:
    model = dn.load("toy/digits")
    x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    low, high = (torch.full((8,), float(model.schedule.half_log_snr(t))) for t in (1.0, 0.05))
    label = torch.full((8,), 3)
    with torch.no_grad():
        ends = [carried(model.module, x, low, high, label, n) for n in (16, 32, 256)]
    coarse, fine = (float((end - ends[2]).norm()) for end in ends[:2])
    assert 1.6 < np.log2(coarse / fine) < 2.6


def test_a_student_that_starts_from_its_teacher_learns_what_it_is_shown() -> None:
    model = dn.load("toy/digits")
    generator = torch.Generator().manual_seed(0)
    low, high = (float(model.schedule.half_log_snr(t)) for t in (1.0, 1e-3))
    images = torch.rand(64, 1, 8, 8, generator=generator) * 2.0 - 1.0
    shared = Setting(model.module, low, high, images, torch.full((64,), 10))
    student = deepcopy(model.module).requires_grad_(True)
    losses = trained(student, progressive(shared, generator, 4, None), RECIPE, generator)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_a_diverging_training_names_its_step() -> None:
    student = torch.nn.Linear(1, 1)
    values = iter((1.0, 2.0, float("nan")))

    def loss(net: torch.nn.Module, generator: torch.Generator) -> torch.Tensor:
        return next(values) * net.weight.sum() ** 0

    with pytest.raises(FloatingPointError, match=r"diverged at step 2 of 40: use a rate below 0\.001"):
        trained(student, loss, RECIPE, torch.Generator())

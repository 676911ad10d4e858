"""The script that distils toy/digits: its steps are DDIM's, its targets one step of the student, its failures named."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

import diffnum as dn
from toy_models.distil import Network, halve, trained


@pytest.fixture(scope="module")
def teacher() -> Network:
    model = dn.load("toy/digits")
    return Network(model, model.module.train(mode=False))


def test_runs_are_those_of_ddim(teacher: Network) -> None:
    model = dn.load("toy/digits")
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    grid = dn.grids.uniform_half_log_snr(model.schedule, 6, t_end=1e-3)
    expected = dn.solve(dn.plan("ddim", model.schedule, grid), model, x)
    levels = torch.tensor(grid.lam.tolist())
    assert torch.allclose(teacher.run(x, levels), expected, atol=2e-4)


def test_a_student_that_starts_from_its_teacher_has_little_to_learn_and_learns_it(teacher: Network) -> None:
    model = dn.load("toy/digits")
    generator = torch.Generator().manual_seed(0)
    student = Network(model, deepcopy(teacher.module).requires_grad_(True))
    images = torch.rand(64, 1, 8, 8, generator=generator) * 2.0 - 1.0

    def draw() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return images, torch.randn(images.shape, generator=generator), torch.rand(64, generator=generator)

    levels = torch.linspace(*(float(model.schedule.half_log_snr(t)) for t in (1.0, 1e-3)), 5)
    early = halve(teacher, student, levels, draw, 3, 1e-9)
    late = halve(teacher, student, levels, draw, 40, 1e-3)
    assert late < early


def test_a_diverging_training_names_its_step() -> None:
    student = Network(dn.load("toy/digits"), torch.nn.Linear(1, 1))
    values = iter((1.0, 2.0, float("nan")))
    with pytest.raises(FloatingPointError, match=r"diverged at step 2 of 5: use a rate below 0\.1"):
        trained(student, lambda: next(values) * student.module.weight.sum() ** 0, 5, 0.1)

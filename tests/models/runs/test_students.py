"""Distilled students are sampled as they were trained unless asked otherwise; flow maps are bound to their run."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch

import diffnum as dn
from diffnum.models.loading.toy import ConditionalMLP
from diffnum.models.runs.sampling import sample
from diffnum.models.runs.students import NotTrainedForWarning, bound_to_plan, own_method, own_steps
from diffnum.plans import plan_for

DIGITS = dn.load("toy/digits", dtype="float64")
ENDS = tuple(float(DIGITS.schedule.half_log_snr(t)) for t in (DIGITS.default_t_start, DIGITS.default_t_end))


def jumping(steps: tuple[int, ...] = (1, 2, 4)) -> Any:
    """The digits network as a flow-map student whose second level does something."""
    module = ConditionalMLP(replace(DIGITS.module.config, jump_end=ENDS[1])).double().eval().requires_grad_(False)
    module.load_state_dict(DIGITS.module.state_dict(), strict=False)
    torch.nn.init.normal_(module.jump[2].weight, std=0.05, generator=torch.Generator().manual_seed(0))
    return replace(DIGITS, module=module, trained_steps=steps)


STATES = torch.randn(3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def plan(model: Any, steps: int, method: str = "ddim", grid: str = "uniform_half_log_snr") -> Any:
    return plan_for(model, method, steps, grid=grid)


def test_a_new_student_is_its_teacher_until_its_second_level_is_trained() -> None:
    module = ConditionalMLP(replace(DIGITS.module.config, jump_end=ENDS[1])).double().eval()
    module.load_state_dict(DIGITS.module.state_dict(), strict=False)
    student = replace(DIGITS, module=module)
    torch.testing.assert_close(student(STATES, 0.5), DIGITS(STATES, 0.5), rtol=0, atol=0)
    assert student.jumps
    assert not DIGITS.jumps


def test_a_bound_student_jumps_to_the_next_time_and_an_unbound_one_to_the_end() -> None:
    student = jumping()
    times = [1.0, 0.6, 0.3, 1e-3]
    levels = [float(student.schedule.half_log_snr(t)) for t in times]
    labels = torch.full((3,), 10)
    for bound, goals in ((student.towards(times), levels[1:]), (student, [ENDS[1]] * 3)):
        for t, level, goal in zip(times[:-1], levels[:-1], goals, strict=True):
            told = torch.full((3,), level, dtype=torch.float64), labels, torch.full((3,), goal, dtype=torch.float64)
            torch.testing.assert_close(bound(STATES, t), student.module(STATES, *told), rtol=0, atol=1e-12)
    gap = (student(STATES, 0.6) - student.towards(times)(STATES, 0.6)).abs().max()
    assert float(gap) > 1e-3  # the goal matters


def test_ddim_makes_the_jump_of_a_bound_student() -> None:
    """One step of the plan is a turn by the angle between the two levels."""
    student, numbers = jumping(), plan(jumping(), 2)
    made = dn.solve(numbers, bound_to_plan(student, numbers), STATES)
    x, labels = STATES, torch.full((3,), 10)
    levels = torch.linspace(*ENDS, 3, dtype=torch.float64).tolist()
    for here, there in zip(levels[:-1], levels[1:], strict=True):
        gap = math.atan(math.exp(-here)) - math.atan(math.exp(-there))
        told = torch.full((3,), here, dtype=torch.float64), labels, torch.full((3,), there, dtype=torch.float64)
        x = math.cos(gap) * x - math.sin(gap) * student.module(x, *told)
    torch.testing.assert_close(made, x, rtol=1e-9, atol=1e-9)


def test_students_are_sampled_by_their_own_method_and_steps_by_default() -> None:
    student = jumping((2,))
    assert (own_method(student), own_steps(student, "ddim")) == ("ddim", 2)
    assert (own_method(DIGITS), own_steps(DIGITS, "dpmpp_2m")) == ("dpmpp_2m", 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = sample(student, n=2, seed=3)
    torch.testing.assert_close(made, sample(student, "ddim", 2, n=2, seed=3), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("method", "steps", "grid"),
    [("dpmpp_2m", 4, "uniform_half_log_snr"), ("ddim", 3, "uniform_half_log_snr"), ("ddim", 4, "uniform_time")],
)
def test_other_samplers_of_a_student_are_warned_of(method: str, steps: int, grid: str) -> None:
    student = jumping()
    with pytest.warns(NotTrainedForWarning, match=r"was distilled for 1 or 2 or 4 steps of DDIM.*use method='ddim'"):
        bound_to_plan(student, plan(student, steps, method, grid))


def test_an_ordinary_network_is_left_as_it_is() -> None:
    assert bound_to_plan(DIGITS, plan(DIGITS, 3, "dpmpp_2m")) is DIGITS


def test_bad_bindings_are_refused() -> None:
    with pytest.raises(ValueError, match="toy/digits has one noise level and does not jump"):
        DIGITS.towards([1.0, 0.5])
    for times in ([0.5, 1.0], [0.5], [0.5, 0.5]):
        with pytest.raises(ValueError, match=r"times=.* do not fall: use the times of a run"):
            jumping().towards(times)
    guided = dn.guidance.classifier_free(jumping().conditioned(3), 2.0)
    with pytest.raises(TypeError, match="a flow-map student is not guided; pass the student"):
        bound_to_plan(guided, plan(jumping(), 2))

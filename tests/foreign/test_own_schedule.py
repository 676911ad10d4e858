"""Samplers that own a schedule object are judged through one whose time is minus the half-log-SNR."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from diffnum.convergence.judgement import judge
from diffnum.foreign.own_schedule import ScheduleInNodes
from diffnum.problems import three_peaks
from diffnum.schedules import EDM, VPLinear

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from official.schedule_objects import OwningDDIM, OwningMidpoint

FEW: dict[str, Any] = {"grids": ("irregular",), "steps": (24, 48, 96, 192)}


def ddim(model: Any, x: Any, nodes: Any) -> Any:
    return OwningDDIM(lambda y, t: model.data(y, -t), ScheduleInNodes(model.schedule), -nodes)(x)


def midpoint(model: Any, x: Any, nodes: Any, wrong: bool = False) -> Any:
    sampler = OwningMidpoint(lambda y, t: model.data(y, -t), ScheduleInNodes(model.schedule), wrong)
    return sampler.sample(x, -nodes)


def wrong_midpoint(model: Any, x: Any, nodes: Any) -> Any:
    return midpoint(model, x, nodes, wrong=True)


def test_the_schedule_is_that_of_the_study_in_another_time() -> None:
    for schedule in (VPLinear(), EDM()):
        for lam in (-2.0, 0.0, 1.5):
            alpha, sigma = ScheduleInNodes(schedule)(-lam)
            np.testing.assert_allclose(np.log(alpha / sigma), lam, atol=1e-10)


def test_samplers_that_own_a_schedule_have_their_orders() -> None:
    assert judge(ddim, 1, three_peaks(), **FEW).ok
    assert judge(midpoint, 2, three_peaks(), **FEW).ok


def test_a_stage_at_the_wrong_time_is_blamed_on_the_formula() -> None:
    assert judge(wrong_midpoint, 2, three_peaks(), **FEW).parts[0] == "formula"

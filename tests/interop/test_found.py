"""Plans that are given whole run in a pipeline's loop and in k-diffusion's as in dn.solve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers")
import torch

import diffnum as dn
from diffnum.calibration.weights import SolverSpace
from diffnum.interop import PlanScheduler
from tests.interop.tiny import network, seeded

X = torch.randn(2, 3, 4, 4, generator=seeded(7))


def net(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A smooth function of state and label."""
    return (x * 0.3).tanh() * (1.0 + float(t) / 1000)


def some_plan(schedule: Any, nfe: int = 4, seed: int = 0) -> dn.Plan:
    """A plan with evaluations beside the levels of its states, as fits find them."""
    ends = float(schedule.default_t_start), float(schedule.default_t_end)
    space = SolverSpace.native("noise", schedule, ends, nfe)
    grid = dn.grids.uniform_half_log_snr(schedule, nfe, t_start=ends[0], t_end=ends[1])
    vector = space.vector_of(dn.plan("eab_noise_3", schedule, grid))
    vector = vector + 0.05 * np.random.default_rng(seed).standard_normal(len(vector))
    return space.plan(np.clip(vector, *space.bounds))


@pytest.fixture
def plan() -> dn.Plan:
    return some_plan(PlanScheduler().schedule)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_a_pipeline_s_loop_runs_the_plan(plan: dn.Plan, kind: str) -> None:
    scheduler = PlanScheduler(plan=plan, prediction_type=kind)
    scheduler.set_timesteps(4)
    x = X
    for t in scheduler.timesteps:
        x = scheduler.step(net(x, t), t, x).prev_sample
    assert torch.allclose(x, dn.solve(plan, network(scheduler, net), X), rtol=1e-4, atol=1e-5)
    assert np.allclose(scheduler.timesteps.numpy(), [float(s.stage_t[0]) for s in plan.steps], rtol=1e-5)


def test_a_plan_may_come_from_a_file_and_stays_in_the_configuration(plan: dn.Plan, tmp_path: Path) -> None:
    plan.to_json(tmp_path / "plan.json")
    scheduler = PlanScheduler(plan=tmp_path / "plan.json")
    again = PlanScheduler.from_config(json.loads(scheduler.to_json_string()))
    for made in (scheduler, again):
        made.set_timesteps(4)
        assert made.plan == plan


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"num_inference_steps": 5}, "the plan has 4 steps, pass 4"),
        ({"timesteps": [900, 500, 100, 0]}, "are those of the plan"),
    ],
)
def test_other_timesteps_than_those_of_the_plan_are_refused(plan: dn.Plan, words: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlanScheduler(plan=plan).set_timesteps(**words)


def test_a_plan_for_another_process_or_a_stochastic_one_is_refused() -> None:
    with pytest.raises(ValueError, match="here is another one"):
        PlanScheduler(plan=some_plan(dn.schedules.VPLinear()))
    schedule = PlanScheduler().schedule
    grid = dn.grids.uniform_half_log_snr(schedule, 4)
    with pytest.raises(ValueError, match="deterministic plan"):
        PlanScheduler(plan=dn.plan("sde_dpmpp_2m", schedule, grid))


def test_a_plan_does_not_begin_in_its_middle(plan: dn.Plan) -> None:
    scheduler = PlanScheduler(plan=plan)
    scheduler.set_timesteps(4)
    scheduler.set_begin_index(2)
    with pytest.raises(ValueError, match="is one run from its first level on"):
        scheduler.step(X, scheduler.timesteps[2], X)


@pytest.mark.parametrize("schedule", [dn.schedules.VPLinear(), dn.schedules.EDM(), dn.schedules.FlowMatching()])
def test_k_diffusion_s_function_of_a_plan_is_the_plan(schedule: Any) -> None:
    problem = dn.problems.rotated_product(3)
    plan = some_plan(schedule)
    x = torch.randn(5, 3, generator=seeded(1), dtype=torch.float64)
    exact = problem.denoiser(dn.schedules.EDM(sigma_max=1e6), "data")
    sample = dn.interop.k_diffusion.plan_sampler(plan)
    seen: list[float] = []
    found = sample(
        lambda state, sigma: exact(state, sigma),
        float(sample.sigmas[0]) * x,
        callback=lambda d: seen.append(float(d["sigma"])),
    )
    start, end = (float(plan.times[i]) for i in (0, -1))
    wanted = dn.solve(plan, problem.denoiser(schedule, "data"), float(schedule.sigma(start)) * x)
    assert torch.allclose(found, wanted / float(schedule.alpha(end)), rtol=1e-8, atol=1e-8)
    assert len(seen) == 4


def test_k_diffusion_s_function_takes_its_own_levels_only() -> None:
    sample = dn.interop.k_diffusion.plan_sampler(some_plan(dn.schedules.EDM()))
    x = torch.zeros(1, 3)
    assert torch.equal(sample(lambda s, sigma: s, x, sample.sigmas), x)
    with pytest.raises(ValueError, match="a plan is for its own levels"):
        sample(lambda s, sigma: s, x, 2.0 * sample.sigmas)

"""The start that a plan sends to a given end: exact where it can be, and said where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.plans.reversible import SCHEMES, reversible_plan
from diffnum.solver import iterate

SCHEDULE = dn.schedules.VPLinear()
PROBLEM = dn.GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.0, -0.3]], [0.2, 0.3])
MODEL = PROBLEM.denoiser(SCHEDULE)
DATA = PROBLEM.sample(5, seed=3)


def grid(steps: int, **options: Any) -> dn.grids.Grid:
    return dn.grids.uniform_half_log_snr(SCHEDULE, n=steps, t_start=0.8, t_end=0.05, **options)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("ddim", "stepwise"),
        ("edm_heun", "stepwise"),
        ("dpm_solver_3", "stepwise"),
        ("dpmpp_2m", "corrected"),
        ("unipc_3_bh2", "corrected"),
        ("ddim", "corrected"),
    ],
)
def test_the_plan_sends_the_start_to_the_end(name: str, how: Any) -> None:
    plan = dn.plan(name, SCHEDULE, grid(30))
    found = dn.invert(plan, MODEL, DATA, how=how)
    assert found.exact
    assert found.residual < 1e-11
    np.testing.assert_allclose(dn.solve(plan, MODEL, found.x), DATA, atol=1e-10)


def test_the_way_is_picked_by_what_steps_carry() -> None:
    assert dn.invert(dn.plan("ddim", SCHEDULE, grid(20)), MODEL, DATA).how == "stepwise"
    found = dn.invert(dn.plan("dpmpp_2m", SCHEDULE, grid(20)), MODEL, DATA)
    assert found.how == "corrected"
    assert "take a history" in found.reason


@pytest.mark.parametrize("name", dn.methods("all"))
def test_every_method_is_inverted_or_the_reason_is_told(name: str) -> None:
    law, start = dn.problems.three_peaks(), np.array([[0.4], [-1.1]])
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, 6, t_start=0.8, t_end=0.05)
    plan = dn.plan(name, SCHEDULE, grid)
    if any(step.noises for step in plan.steps):
        with pytest.raises(ValueError, match="draws noise: many starts lead to an end"):
            dn.invert(plan, law.denoiser(SCHEDULE), start)
        return
    found = dn.invert(plan, law.denoiser(SCHEDULE), start)
    assert found.exact == (found.residual < 1e-9)
    assert found.exact or "take more steps, or another way" in found.reason


def test_the_plain_run_towards_the_noise_is_of_order_one_and_says_so() -> None:
    residuals = []
    for steps in (100, 200):
        found = dn.invert(dn.plan("ddim", SCHEDULE, grid(steps)), MODEL, DATA, how="towards_noise")
        assert not found.exact
        assert found.order == 1
        assert found.reason == "the run towards the noise inverts the flow, not the run"
        residuals.append(found.residual)
    assert abs(np.log2(residuals[0] / residuals[1]) - 1) < 0.1


@pytest.mark.parametrize("name", SCHEMES)
def test_a_state_of_a_reversible_plan_is_undone(name: str) -> None:
    plan = reversible_plan(name, SCHEDULE, grid(15))
    start = np.random.default_rng(1).normal(size=(4, 2))
    *_, last = iterate(plan, MODEL, start)
    found = dn.invert(plan, MODEL, last)
    assert found.how == "undone"
    np.testing.assert_allclose(found.x, start, atol=1e-9)
    assert found.evaluations == 2 * plan.nfe


def test_undoing_edict_loses_digits_by_its_other_root() -> None:
    """A distance of the copies grows by p^-2 a step on the way back, the leapfrog's by 1."""
    lost = {}
    for name, option in (("edict", 0.93), ("edict", 0.7), ("leapfrog", None)):
        plan = reversible_plan(name, SCHEDULE, grid(60), option=option)
        start = np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32)
        *_, last = iterate(plan, MODEL, start)
        lost[option] = np.abs(dn.invert(plan, MODEL, last).x - start).max()
    assert lost[None] < 1e-4
    assert lost[0.7] > 100 * lost[0.93]


def test_what_does_not_converge_is_said() -> None:
    sharp = dn.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [1e-4, 1e-4])
    plan = dn.plan("dpmpp_2m", SCHEDULE, grid(4))
    found = dn.invert(plan, sharp.denoiser(SCHEDULE), sharp.sample(4, seed=1))
    assert not found.exact
    assert "rounds: take more steps, or another way" in found.reason


def test_bad_input_says_what_to_do() -> None:
    plan = dn.plan("ddim", SCHEDULE, grid(4))
    with pytest.raises(ValueError, match="draws noise: many starts"):
        dn.invert(dn.plan("ddpm", SCHEDULE, grid(4)), MODEL, DATA)
    with pytest.raises(ValueError, match="ends in the data prediction"):
        dn.invert(dn.plan("ddim", SCHEDULE, grid(4, terminal="denoise")), MODEL, DATA)
    with pytest.raises(ValueError, match="how='undone': ddim cannot be undone"):
        dn.invert(plan, MODEL, DATA, how="undone")
    with pytest.raises(ValueError, match="only x is given"):
        dn.invert(reversible_plan("belm", SCHEDULE, grid(4)), MODEL, DATA, how="undone")
    with pytest.raises(ValueError, match="use 'corrected'"):
        dn.invert(dn.plan("dpmpp_2m", SCHEDULE, grid(4)), MODEL, DATA, how="stepwise")
    with pytest.raises(ValueError, match="how='magic'"):
        dn.invert(plan, MODEL, DATA, how="magic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="iterations=0"):
        dn.invert(plan, MODEL, DATA, iterations=0)

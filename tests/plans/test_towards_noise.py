"""Runs towards the noise: the same rules with steps of the other sign, of the same order."""

from __future__ import annotations

import numpy as np
import pytest

import diffnum as dn

SCHEDULE = dn.schedules.VPLinear()
PROBLEM = dn.Gaussian([0.5, -1.0], [1.0, 0.2])
DATA = np.random.default_rng(4).normal(size=(4, 2))


def gap(name: str, steps: int, problem: dn.Gaussian = PROBLEM) -> float:
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, n=steps, t_start=0.7, t_end=0.05)
    given = dict.fromkeys(dn.method(name).parameters, 1.0)
    plan = dn.plan(name, SCHEDULE, grid, parameters=given or None, towards="noise")
    exact = problem.flow(DATA, SCHEDULE, 0.05, 0.7)
    return float(np.abs(dn.solve(plan, problem.denoiser(SCHEDULE), DATA) - exact).max())


@pytest.mark.parametrize("name", dn.methods())
def test_inversion_has_the_order_with_start_up(name: str) -> None:
    record = dn.method(name)
    steps = (48, 96) if record.order_with_startup > 2 else (120, 240)
    measured = np.log2(gap(name, steps[0]) / gap(name, steps[1]))
    assert measured > min(record.order_with_startup, 4) - 0.35, measured


def test_ddim_inversion_is_of_order_one_and_no_better() -> None:
    assert abs(np.log2(gap("ddim", 200) / gap("ddim", 400)) - 1) < 0.05


def test_the_weights_are_those_of_the_inversion_of_ddim() -> None:
    """x_s = (alpha_s/alpha_t) x_t + (sigma_s - alpha_s sigma_t/alpha_t) eps(x_t, t)."""
    grid = dn.grids.uniform_time(SCHEDULE, n=3, t_start=0.9, t_end=0.1)
    plan = dn.plan("ddim", SCHEDULE, grid, prediction="noise", towards="noise")
    times = grid.t[::-1]
    np.testing.assert_allclose(plan.times, times)
    for step, t, s in zip(plan.steps, times[:-1], times[1:], strict=True):
        ratio = SCHEDULE.alpha(s) / SCHEDULE.alpha(t)
        np.testing.assert_allclose(step.V[0, 0], ratio, rtol=1e-12)
        np.testing.assert_allclose(step.B[0, 0], SCHEDULE.sigma(s) - ratio * SCHEDULE.sigma(t), rtol=1e-10)


def test_bad_input_says_what_to_do() -> None:
    grid = dn.grids.uniform_time(SCHEDULE, n=3, t_start=0.9, t_end=0.1)
    with pytest.raises(ValueError, match="no step undoes a draw"):
        dn.plan("ddpm", SCHEDULE, grid, towards="noise")
    with pytest.raises(ValueError, match="all trajectories of a data point meet"):
        dn.plan("ddim", SCHEDULE, dn.grids.to_zero(grid, SCHEDULE), towards="noise")
    with pytest.raises(ValueError, match="towards='up'"):
        dn.plan("ddim", SCHEDULE, grid, towards="up")  # type: ignore[arg-type]

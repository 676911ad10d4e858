"""Plans from exactly pure noise: weights have their limits, the model is told the very time, the rest is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.grids.grid import PURE_NOISE
from diffnum.schedules import FlowMatching
from diffnum.schedules.tabulated import Tabulated, scaled_linear_betas

GM = dn.GaussianMixture([0.5, 0.5], [[-1.0, 0.5], [1.0, 0.2]], [0.1, 0.2])
X = np.random.default_rng(0).standard_normal((4, 2))
LIMITS = ("ddim", "dpmpp_2m", "unipc_3_bh2", "velocity_rk_heun3", "ab_velocity_3", "dpmpp_2s", "sde_dpmpp_2m", "ddpm")
NONE = ("eab_noise_3", "lms_4", "dpm_solver_2m", "edm_heun", "plms_4", "er_sde_2", "sde_dpm_1", "dpm_2_churn")


def zero_terminal() -> Tabulated:
    products = np.cumprod(1.0 - scaled_linear_betas())
    products[-1] = 0.0
    return Tabulated(products)


def run(schedule: Any, first: float, method: str, prediction: Any, n: int = 8) -> tuple[Any, list[float]]:
    nodes = dn.grids.uniform_time(schedule, n, t_start=first, t_end=schedule.t_min)
    exact = GM.denoiser(schedule, prediction)
    told: list[float] = []

    class Model:
        schedule, prediction = exact.schedule, exact.prediction

        def __call__(self, x: Any, t: Any) -> Any:
            told.append(float(t))
            return exact(x, t)

    plan = dn.plan(method, schedule, nodes, prediction=prediction)
    assert plan == dn.Plan.from_json(plan.to_json())
    return dn.solve(plan, Model(), X, seed=1), told


@pytest.mark.parametrize("method", LIMITS)
def test_runs_of_flows_begin_at_exactly_one_and_are_the_limit_of_later_starts(method: str) -> None:
    result, told = run(FlowMatching(), 1.0, method, "velocity")
    assert told[0] == 1.0
    gaps = [np.abs(run(FlowMatching(), 1.0 - e, method, "velocity")[0] - result).max() for e in (1e-3, 1e-9)]
    assert gaps[1] < 1e-3
    assert gaps[1] < gaps[0]


@pytest.mark.parametrize("prediction", ["v", "data", "velocity"])
@pytest.mark.parametrize("method", ["ddim", "dpmpp_2m", "unipc_3_bh2"])
def test_zero_terminal_snr_begins_at_the_last_label(method: str, prediction: str) -> None:
    schedule = zero_terminal()
    result, told = run(schedule, 999.0, method, prediction)
    assert told[0] == 999.0
    assert result == pytest.approx(run(schedule, 999.0, method, "data")[0], abs=1e-9)


@pytest.mark.parametrize("method", NONE)
def test_methods_whose_weights_have_no_limit_are_refused_with_those_that_have(method: str) -> None:
    with pytest.raises(ValueError, match=rf"method='{method}' from pure noise .*'dpmpp_2m'"):
        run(FlowMatching(), 1.0, method, "velocity")


def test_a_noise_prediction_says_nothing_at_pure_noise() -> None:
    with pytest.raises(ValueError, match="'noise' prediction says nothing"):
        run(zero_terminal(), 999.0, "dpmpp_2m", "noise")


@pytest.mark.parametrize("builder", ["uniform_half_log_snr", "karras"])
def test_grids_that_cannot_begin_there_name_the_one_that_can(builder: str) -> None:
    with pytest.raises(ValueError, match="uniform_time"):
        dn.grids.GRIDS[builder](FlowMatching(), 5, t_start=1.0, t_end=1e-3)


def test_the_grid_keeps_a_finite_half_log_snr_and_refuses_nodes_beyond_it() -> None:
    grid = dn.grids.uniform_time(FlowMatching(), 4, t_start=1.0, t_end=0.0)
    assert grid.t[0] == 1.0
    assert grid.lam[0] == PURE_NOISE
    assert dn.grids.Grid.from_dict(grid.to_dict()).lam.tolist() == grid.lam.tolist()
    with pytest.raises(ValueError, match="next to none"):
        dn.grids.Grid(np.array([1.0, 1.0 - 1e-14, 0.5]), np.array([-np.inf, -32.0, 0.0]))


def test_networks_told_times_are_sampled_from_pure_noise() -> None:
    torch = pytest.importorskip("torch")
    told: list[float] = []

    def velocity(x: Any, t: Any) -> Any:
        told.append(float(t[0]))
        return x - 0.5

    model = dn.models.wrap(velocity, FlowMatching(), prediction="velocity", sample_shape=(3,))
    result = dn.sample(model, n=2, method="dpmpp_2m", steps=4, grid="uniform_time", t_start=1.0, t_end=0.0)
    assert told[0] == 1.0
    assert torch.isfinite(torch.as_tensor(result)).all()


def test_inversion_ends_at_pure_noise() -> None:
    nodes = dn.grids.uniform_time(FlowMatching(), 40, t_start=1.0, t_end=0.01)
    plan = dn.plan("dpmpp_2m", FlowMatching(), nodes, prediction="velocity", towards="noise")
    assert plan.times[-1] == 1.0
    there = dn.solve(plan, GM.denoiser(FlowMatching(), "velocity"), GM.sample(2000, 0))
    assert np.std(there, axis=0) == pytest.approx([1.0, 1.0], abs=0.1)

"""Parareal: its fixed point is the fine run, a slice a round is final, and rounds obey the bound."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.solver.noise import SampleStreams
from diffnum.solver.parareal import solve_parareal

SCHEDULE = dn.schedules.VPLinear()
MODEL = dn.problems.three_peaks().denoiser(SCHEDULE)
X = np.linspace(-1.5, 1.5, 5)[:, None]
METHODS = ("ddim", "dpmpp_3m", "unipc_3_bh2", "ghvb_2.8", "edm_heun", "dpm_solver_3", "sde_dpmpp_2m", "hb_4_0.8")
COARSE = ("ddim", "dpmpp_2m", "edm_heun", "unipc_2_bh2", "sde_dpmpp_1")
SCHEDULES = (SCHEDULE, dn.schedules.FlowMatching(shift=3.0), dn.schedules.EDM())


def planned(name: str, n: int = 12, schedule: Any = SCHEDULE) -> dn.Plan:
    span = {"t_start": 20.0, "t_end": 0.05} if schedule.name == "edm" else {"t_start": 0.98, "t_end": 0.01}
    return dn.plan(name, schedule, dn.grids.uniform_half_log_snr(schedule, n=n, **span))


def over(plan: dn.Plan, name: str, each: int) -> dn.Plan:
    """Plan over every so many-th time of another."""
    return dn.plan(name, plan.schedule, dn.grids.from_times(plan.schedule, plan.times[::each]))


def seed(name: str) -> int | None:
    return 3 if dn.method(name).stochastic else None


class Counting:
    """A model that notes how many states it is asked for, and in how many calls."""

    prediction, schedule = MODEL.prediction, SCHEDULE

    def __init__(self) -> None:
        self.calls = self.states = 0

    def __call__(self, x: Any, t: Any) -> Any:
        self.calls += 1
        self.states += x.shape[0] // len(X)
        return MODEL(x, t)


@given(
    name=st.sampled_from(METHODS),
    guide=st.sampled_from(COARSE),
    schedule=st.sampled_from(SCHEDULES),
    prediction=st.sampled_from(["data", "noise", "velocity"]),
    each=st.sampled_from([2, 3, 4, 12]),
    stacked=st.booleans(),
)
# the last slice asks nothing
@example(name="ddim", guide="unipc_2_bh2", schedule=SCHEDULES[0], prediction="data", each=2, stacked=False)
def test_the_fixed_point_is_the_fine_run(
    name: str, guide: str, schedule: Any, prediction: Any, each: int, stacked: bool
) -> None:
    plan = planned(name, schedule=schedule)
    model = dn.problems.three_peaks().denoiser(schedule, prediction)
    x = float(plan.schedule.sigma(plan.times[0])) * X
    found = solve_parareal(plan, over(plan, guide, each), model, x, tolerance=0.0, stacked=stacked, seed=seed(name))
    run = dn.solve(plan, model, x, seed=seed(name), return_trajectory=True)
    assert found.rounds <= 12 // each
    assert found.states.t == tuple(run.t[::each])
    for state, expected in zip(found.states.x, run.x[::each], strict=True):
        np.testing.assert_allclose(state, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["ddim", "dpmpp_3m", "hb_4_0.8", "dpm_solver_3"])
def test_after_k_rounds_the_first_k_slices_are_final_and_the_next_is_not(name: str) -> None:
    plan = planned(name)
    run = dn.solve(plan, MODEL, X, return_trajectory=True).x[::2]
    for rounds in range(1, 4):
        part = solve_parareal(plan, over(plan, "ddim", 2), MODEL, X, tolerance=0.0, rounds=rounds)
        assert part.rounds == rounds
        gaps = [float(np.abs(a - b).max()) for a, b in zip(part.states.x, run, strict=True)]
        assert max(gaps[: rounds + 1]) < 1e-14
        assert gaps[rounds + 1] > 1e-12


def test_rounds_obey_the_superlinear_bound_on_a_gaussian() -> None:
    model = dn.Gaussian(np.zeros(1), 0.3 * np.ones(1)).denoiser(SCHEDULE)
    plan, each, one = planned("ddim", 48), 6, np.ones((1, 1))
    guide = over(plan, "ddim", each)
    slices = len(guide)
    factors = [
        (
            float(dn.solve(plan[each * i : each * (i + 1)], model, one)[0, 0]),
            float(dn.solve(guide[i : i + 1], model, one)[0, 0]),
        )
        for i in range(slices)
    ]
    assert all(0 <= g <= 1 for _, g in factors)
    worst = max(abs(f - g) for f, g in factors)
    exact = dn.solve(plan, model, one, return_trajectory=True).x[::each]
    first = dn.solve(guide, model, one, return_trajectory=True).x
    start = max(abs(float(a[0, 0] - b[0, 0])) for a, b in zip(first, exact, strict=True))
    errors = []
    for k in range(1, slices):
        found = solve_parareal(plan, guide, model, one, tolerance=0.0, rounds=k).states.x
        errors.append(max(abs(float(a[0, 0] - b[0, 0])) for a, b in zip(found, exact, strict=True)))
        assert errors[-1] <= comb(slices - 1, k) * worst**k * start * (1 + 1e-9) + 1e-15
    seen = [a for a in errors if a > 1e-13]
    falls = [a / b for a, b in zip(seen, seen[1:], strict=False)]
    assert len(falls) >= 3
    assert falls == sorted(falls)  # faster than any geometric series


def test_a_tolerance_stops_early_and_near_the_fine_run() -> None:
    plan = planned("dpmpp_2m", 40)
    exact = dn.solve(plan, MODEL, X)
    rounds = []
    for tolerance in (1e-1, 1e-3, 1e-5):
        found = solve_parareal(plan, over(plan, "ddim", 5), MODEL, X, tolerance=tolerance)
        assert float(np.abs(found.x - exact).max()) < 3 * tolerance
        assert len(found.changes) == found.rounds
        rounds.append(found.rounds)
    assert rounds[0] < rounds[2] <= 8


def test_slices_of_several_coarse_steps_have_the_same_fixed_point() -> None:
    plan = planned("dpmpp_2m")
    for slices in (1, 3, 4):  # three and four of six steps: even and uneven
        found = solve_parareal(plan, over(plan, "dpmpp_2m", 2), MODEL, X, tolerance=0.0, slices=slices)
        assert len(found.states.t) == slices + 1
        np.testing.assert_allclose(found.x, dn.solve(plan, MODEL, X), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["ddim", "edm_heun", "unipc_3_bh2"])
def test_calls_and_the_chain_are_those_that_the_model_sees(name: str) -> None:
    plan = planned(name)
    for options in ({"tolerance": 0.0}, {"tolerance": 1e-2}, {"rounds": 2}):
        together, alone = Counting(), Counting()
        found = solve_parareal(plan, over(plan, "ddim", 3), together, X, **options)
        assert (together.calls, together.states) == (found.chain, found.calls)
        again = solve_parareal(plan, over(plan, "ddim", 3), alone, X, stacked=False, **options)
        assert alone.calls == again.calls == found.calls
        assert found.sequential == plan.nfe
    assert "rounds over 4 slices: a chain of" in str(found)


def test_noise_is_kept_over_the_rounds_and_asked_for() -> None:
    plan = planned("sde_dpmpp_2m")
    guide = over(plan, "ddim", 4)
    with pytest.raises(ValueError, match="stochastic"):
        solve_parareal(plan, guide, MODEL, X)
    found = solve_parareal(plan, guide, MODEL, X, tolerance=0.0, noise=SampleStreams(5))
    np.testing.assert_allclose(found.x, dn.solve(plan, MODEL, X, seed=5), rtol=0, atol=1e-14)


@pytest.mark.needs("torch")
def test_tensors_are_taken_as_arrays_are() -> None:
    import torch

    plan = planned("dpmpp_2m")
    found = solve_parareal(plan, over(plan, "ddim", 3), MODEL, torch.as_tensor(X), tolerance=0.0)
    assert isinstance(found.x, torch.Tensor)
    np.testing.assert_allclose(found.x.numpy(), dn.solve(plan, MODEL, X), rtol=0, atol=1e-12)


def test_a_process_with_a_mean_keeps_it() -> None:
    schedule = dn.schedules.MeanReverting(mean=1.5)
    model = dn.problems.three_peaks().denoiser(schedule)
    grid = dn.grids.uniform_half_log_snr(schedule, n=12)
    plan = dn.plan("dpmpp_2m", schedule, grid)
    found = solve_parareal(plan, over(plan, "ddim", 3), model, X, tolerance=0.0)
    np.testing.assert_allclose(found.x, dn.solve(plan, model, X), rtol=0, atol=1e-13)
    early = solve_parareal(plan, over(plan, "ddim", 3), model, X, tolerance=0.0, rounds=1)
    assert np.abs(early.x - found.x).max() < 0.5  # the guessed memory knows the mean


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": -1.0}, r"tolerance=-1\.0: use a finite number"),
        ({"tolerance": float("nan")}, "tolerance=nan: use a finite number"),
        ({"rounds": 0}, "rounds=0: use a whole number"),
        ({"slices": 1.5}, r"slices=1\.5: use a whole number"),
        ({"slices": 5}, "slices=5: coarse has 4 steps"),
    ],
)
def test_numbers_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    plan = planned("ddim")
    with pytest.raises(ValueError, match=message):
        solve_parareal(plan, over(plan, "ddim", 3), MODEL, X, **options)


def test_a_coarse_plan_that_does_not_fit_is_refused() -> None:
    plan = planned("ddim")
    with pytest.raises(ValueError, match=r"nearest one of plan is .* use a grid of times of plan"):
        solve_parareal(plan, planned("ddim", 5), MODEL, X)
    with pytest.raises(ValueError, match="let both begin and end"):
        solve_parareal(plan, over(plan, "ddim", 3)[1:], MODEL, X)
    with pytest.raises(ValueError, match="let both plans begin and end"):
        solve_parareal(plan, over(plan, "ddim", 3)[:0], MODEL, X)
    with pytest.raises(ValueError, match=r"make the plan on model\.schedule"):
        solve_parareal(plan, planned("ddim", schedule=SCHEDULES[1]), MODEL, X)
    with pytest.raises(TypeError, match=r"is a str: pass dn\.plan"):
        solve_parareal(plan, "ddim", MODEL, X)  # type: ignore[arg-type]


def test_a_run_that_leaves_the_finite_numbers_is_refused() -> None:
    class Broken(Counting):
        """A model that returns NaN from its fifth call on."""

        def __call__(self, x: Any, t: Any) -> Any:
            return super().__call__(x, t) * (np.nan if self.calls > 4 else 1.0)

    plan = planned("ddim")
    with pytest.raises(ValueError, match="leaves the finite numbers in slice"):
        solve_parareal(plan, over(plan, "ddim", 3), Broken(), X)


@pytest.mark.parametrize("slices", [1, 3])
def test_a_last_answer_that_is_not_finite_is_refused(slices: int) -> None:
    """It enters the end of the last slice alone, and no coarse run sees it."""
    plan = planned("ddim")

    class Broken(Counting):
        def __call__(self, x: Any, t: Any) -> Any:
            value = super().__call__(x, t)
            return value * np.where(np.reshape(t, (-1, 1)) < float(plan.times[-2]) + 1e-12, np.nan, 1.0)

    with pytest.raises(ValueError, match=f"leaves the finite numbers in slice {slices - 1}"):
        solve_parareal(plan, over(plan, "ddim", len(plan) // slices), Broken(), X)


def test_a_plan_without_steps_returns_its_start() -> None:
    plan = planned("ddim")
    assert solve_parareal(plan[:0], plan[:0], MODEL, X).x is X

"""Parallel in time: the fixed point is the run itself, and sweeps are what the theory says."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.solver.noise import SampleStreams
from diffnum.solver.picard import solve_parallel

SCHEDULE = dn.schedules.VPLinear()
MODEL = dn.problems.three_peaks().denoiser(SCHEDULE)
X = np.linspace(-1.5, 1.5, 7)[:, None]
METHODS = ("ddim", "dpmpp_3m", "unipc_3_bh2", "ghvb_2.8", "edm_heun", "dpm_solver_3", "sde_dpmpp_2m", "hb_3_0.8")


def planned(name: str, n: int = 8) -> dn.Plan:
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, n=n, t_start=1.0, t_end=1e-3)
    return dn.plan(name, SCHEDULE, grid)


def seed(name: str) -> int | None:
    return 3 if dn.method(name).stochastic else None


class Counting:
    """A model that notes what it is asked."""

    prediction, schedule = MODEL.prediction, SCHEDULE

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Any, t: Any) -> Any:
        self.calls += 1
        return MODEL(x, t)


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("name", METHODS)
def test_the_fixed_point_is_the_sequential_run(name: str, stacked: bool) -> None:
    plan = planned(name)
    found = solve_parallel(plan, MODEL, X, tolerance=0.0, stacked=stacked, seed=seed(name))
    expected = dn.solve(plan, MODEL, X, seed=seed(name))
    np.testing.assert_allclose(found.x, expected, rtol=0, atol=1e-14)
    assert found.sweeps <= found.sequential == plan.nfe


@pytest.mark.parametrize("window", [1, 3, None])
@pytest.mark.parametrize("name", ["ddim", "unipc_3_bh2", "dpm_solver_3"])
def test_a_window_changes_sweeps_and_not_the_result(name: str, window: int | None) -> None:
    plan = planned(name, 20)
    found = solve_parallel(plan, MODEL, X, tolerance=1e-6, window=window)
    assert np.abs(found.x - dn.solve(plan, MODEL, X)).max() < 1e-4
    if window == 1:
        assert found.sweeps == found.calls == plan.nfe
    else:
        assert found.sweeps < plan.nfe < found.calls


def test_after_k_sweeps_the_first_k_answers_are_final() -> None:
    plan = planned("ddim", 12)
    run = dn.solve(plan, MODEL, X, return_trajectory=True).x
    for sweeps in (1, 4, 9):
        part = solve_parallel(plan, MODEL, X, tolerance=0.0, sweeps=sweeps)
        assert part.sweeps <= sweeps
        again = solve_parallel(plan[:sweeps], MODEL, X, tolerance=0.0, sweeps=sweeps)
        np.testing.assert_allclose(again.x, run[sweeps], rtol=0, atol=1e-14)


def test_sweeps_obey_the_bound_of_picard_on_a_linear_problem() -> None:
    class Linear:
        """Noise prediction y/rho: rate 1 in the half-log-SNR."""

        prediction, schedule = "noise", dn.schedules.EDM()

        def __call__(self, x: Any, t: Any) -> Any:
            return x / np.reshape(t, (-1, *(1,) * (x.ndim - 1))) if np.ndim(t) else x / t

    n, length = 40, 2.0
    lam = np.linspace(0.0, length, n + 1)
    plan = dn.plan("ddim", Linear.schedule, dn.grids.from_half_log_snr(Linear.schedule, lam))
    x, h = np.ones((1, 1)), 1 - np.exp(-length / n)
    exact = float(dn.solve(plan, Linear(), x)[0, 0])
    first = float(solve_parallel(plan, Linear(), x, tolerance=0.0, sweeps=1).x[0, 0])
    for k in range(2, 12):
        error = abs(float(solve_parallel(plan, Linear(), x, tolerance=0.0, sweeps=k).x[0, 0]) - exact)
        assert error <= abs(first - exact) * comb(n, k - 1) * h ** (k - 1) * (1 + 1e-9) + 1e-15


def test_calls_are_counted_and_stacked_into_one_a_sweep() -> None:
    model = Counting()
    found = solve_parallel(planned("ddim"), model, X, tolerance=1e-4)
    assert model.calls == found.sweeps
    alone = Counting()
    assert solve_parallel(planned("ddim"), alone, X, tolerance=1e-4, stacked=False).calls == alone.calls
    assert "sweeps in place of 8" in str(found)


@pytest.mark.needs("torch")
def test_tensors_are_taken_as_arrays_are() -> None:
    import torch

    plan = planned("dpmpp_2m")
    found = solve_parallel(plan, MODEL, torch.as_tensor(X), tolerance=0.0)
    np.testing.assert_allclose(found.x.numpy(), dn.solve(plan, MODEL, X), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": -1.0}, "tolerance=-1"),
        ({"tolerance": float("nan")}, "tolerance=nan"),
        ({"window": 0}, "window=0"),
        ({"sweeps": 1.5}, r"sweeps=1\.5"),
        ({"sweeps": True}, "sweeps=True"),
    ],
)
def test_numbers_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve_parallel(planned("ddim"), MODEL, X, **options)


def test_noise_is_asked_for_and_kept_over_the_sweeps() -> None:
    plan = planned("sde_dpmpp_2m")
    with pytest.raises(ValueError, match="stochastic"):
        solve_parallel(plan, MODEL, X)
    found = solve_parallel(plan, MODEL, X, tolerance=0.0, noise=SampleStreams(5))
    np.testing.assert_allclose(found.x, dn.solve(plan, MODEL, X, seed=5), rtol=0, atol=1e-14)


def test_a_run_that_leaves_the_finite_numbers_is_refused() -> None:
    class Broken(Counting):
        """A model that returns NaN late in the run."""

        def __call__(self, x: Any, t: Any) -> Any:
            return np.where(np.reshape(t, (-1, 1)) < 0.3, np.nan, super().__call__(x, t))

    with pytest.raises(ValueError, match="points of round 2 are not finite"):
        solve_parallel(planned("ddim"), Broken(), X)


@pytest.mark.parametrize("sweeps", [None, 4])
@pytest.mark.parametrize("steps", [1, 8])
def test_a_last_answer_that_is_not_finite_is_refused_although_no_point_moves_by_it(
    steps: int, sweeps: int | None
) -> None:
    """The answer of the last node enters the end alone."""
    plan = planned("ddim", steps)

    class Broken(Counting):
        """A model that returns NaN at the last node, for one sample."""

        def __call__(self, x: Any, t: Any) -> Any:
            value = super().__call__(x, t)
            last = np.broadcast_to(np.reshape(t, (-1, 1)), value.shape) < float(plan.times[-2]) + 1e-12
            return np.where(last & (np.arange(len(value)) % len(X) == 2)[:, None], np.nan, value)

    with pytest.raises(ValueError, match=r"the end of round \d is not finite in sample 2: use smaller steps"):
        solve_parallel(plan, Broken(), X, sweeps=sweeps)
    with pytest.raises(ValueError, match=r"step \d, .*in sample 2"):
        dn.solve(plan, Broken(), X)


def test_a_plan_without_steps_returns_its_start() -> None:
    assert solve_parallel(planned("ddim")[:0], MODEL, X).x is X

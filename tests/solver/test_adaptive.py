"""Step-size control: accuracy follows the tolerance, weights are those of the catalogue, bad input is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffnum as dn
from diffnum.solver.adaptive import CONTROLLERS, Controller, EmbeddedPair, solve_adaptive

VP = dn.schedules.VPLinear()
PROBLEM = dn.problems.three_peaks()
X = np.linspace(-2, 2, 9)[:, None]


def solve(order: int = 3, prediction: str = "noise", schedule: Any = VP, x: Any = X, **options: Any) -> Any:
    ends = {"t_start": 0.95, "t_end": 0.01} | options
    return solve_adaptive(EmbeddedPair(order, prediction), PROBLEM.denoiser(schedule), x, **ends)


@settings(max_examples=20)
@given(
    order=st.sampled_from([2, 3]),
    prediction=st.sampled_from(["noise", "data"]),
    start=st.floats(-3, 2),
    step=st.floats(0.05, 1.5),
)
def test_an_attempt_is_one_step_of_each_method_of_the_catalogue(
    order: int, prediction: str, start: float, step: float
) -> None:
    model = PROBLEM.denoiser(VP)
    low, high = EmbeddedPair(order, prediction).attempt(model, X, start, step)
    grid = dn.grids.from_half_log_snr(VP, [start, start + step])
    stems = {
        ("noise", 2): "dpm_solver_2",
        ("noise", 3): "dpm_solver_3",
        ("data", 2): "dpmpp_2s",
        ("data", 3): "dpmpp_3s",
    }
    lower = "ddim" if order == 2 else stems[prediction, 2] + "_r1/3"
    for found, name in ((low, lower), (high, stems[prediction, order])):
        np.testing.assert_allclose(found, dn.solve(dn.plan(name, VP, grid), model, X), atol=1e-12)


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("prediction", ["noise", "data"])
def test_errors_fall_with_the_tolerance_and_evaluations_grow(controller: str, order: int, prediction: str) -> None:
    exact = PROBLEM.flow(X, VP, 0.95, 0.01)
    runs = [
        solve(order, prediction, controller=controller, atol=tolerance, rtol=tolerance)
        for tolerance in (1e-2, 1e-4, 1e-6)
    ]
    errors = [np.abs(run.x - exact).max() for run in runs]
    assert errors[2] < 0.1 * errors[1] < 0.1 * errors[0]
    assert errors[2] < 1e-3
    assert runs[0].nfe < runs[1].nfe < runs[2].nfe
    for run in runs:
        assert run.nfe == order * len(run.errors)
        assert len(run.errors) == run.rejected + len(run.lam) - 1
        assert (np.diff(run.lam) > 0).all()


def test_steps_are_short_where_the_solution_turns() -> None:
    run = solve(atol=1e-5, rtol=1e-5)
    steps = np.diff(run.lam)[2:-1]
    assert steps.max() > 3 * steps.min()


@pytest.mark.parametrize(
    "schedule", [dn.schedules.FlowMatching(), dn.schedules.VPCosine(), dn.schedules.MeanReverting(mean=0.5)]
)
def test_other_schedules_are_integrated_to_the_tolerance(schedule: Any) -> None:
    run = solve(prediction="data", schedule=schedule, atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(run.x, PROBLEM.flow(X, schedule, 0.95, 0.01), atol=1e-3)


def test_torch_states_go_through() -> None:
    torch = pytest.importorskip("torch")
    np.testing.assert_allclose(solve(x=torch.as_tensor(X)).x.numpy(), solve().x, rtol=1e-12)


def test_a_sample_depends_on_its_batch_and_the_whole_batch_hides_its_error() -> None:
    alone, together = solve(x=X[:1]).x, solve().x[:1]
    assert np.abs(alone - together).max() > 1e-6
    per_sample, batch = (Controller("mine", per_sample=flag) for flag in (True, False))
    scaled = np.array([[3.0], [0.0], [0.0], [0.0]])
    assert per_sample.norm(scaled) == 3.0
    assert batch.norm(scaled) == 1.5


def test_proportional_gain_uses_the_errors_before() -> None:
    plain, smoothed = Controller("i", per_sample=True), Controller("pi", per_sample=True, gains=(0.4, 0.6, 0.0))
    assert plain.judge((0.5, 9.0, 9.0), 2)[1] == pytest.approx(0.5**-0.5)
    assert smoothed.judge((0.5, 9.0, 9.0), 2)[1] == pytest.approx(0.5**-0.5 * 9.0**0.2)
    run = solve(controller=smoothed, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(run.x, PROBLEM.flow(X, VP, 0.95, 0.01), atol=1e-3)


def test_a_step_without_error_does_not_break_the_control() -> None:
    good, factor = CONTROLLERS["dpm-solver"].judge((0.0, 0.0, 0.0), 2)
    assert good
    assert np.isfinite(factor)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"atol": 0.0}, "atol=0.0, rtol=0.05, first_step=0.05: use positive numbers"),
        ({"rtol": -1.0}, "rtol=-1.0"),
        ({"first_step": 0.0}, "first_step=0.0"),
        ({"t_start": 0.01, "t_end": 0.95}, "they must be finite and increase"),
        ({"t_end": 0.0}, "they must be finite and increase"),
        ({"controller": "pid"}, "controller='pid' is unknown: use one of dpm-solver, k-diffusion"),
        ({"max_attempts": 2}, "max_attempts=2 reached at half-log-SNR"),
    ],
)
def test_impossible_runs_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 4}, "order=4 has no embedded pair: use 2 or 3"),
        ({"prediction": "velocity"}, "prediction='velocity' has no embedded pair"),
        ({"nodes": (0.7, 0.3)}, r"r1=0.7, r2=0.3: out of order"),
        ({"nodes": (0.5,)}, "a pair of order 3 has 2 inner nodes"),
    ],
)
def test_impossible_pairs_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EmbeddedPair(**options)


def test_a_model_that_breaks_is_named() -> None:
    class Broken:
        schedule, prediction = VP, "noise"

        def __call__(self, x: Any, t: Any) -> Any:  # noqa: ARG002
            return x * np.nan

    with pytest.raises(ValueError, match="look at the model's output there"):
        solve_adaptive(EmbeddedPair(2), Broken(), X, t_start=0.95, t_end=0.01)  # type: ignore[arg-type]

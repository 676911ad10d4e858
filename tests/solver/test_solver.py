"""The sampling loop: splits, callbacks, array types, gradients, the mean-reverting shift, and refusals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffnum as dn
from diffnum.forms import PREDICTIONS
from diffnum.grids import karras, uniform_half_log_snr, uniform_time
from diffnum.schedules import EDM, FlowMatching, MeanReverting, VPLinear
from diffnum.solver import State, Trajectory

METHODS = tuple(dn.methods())
SCHEDULE = VPLinear()
PROBLEM = dn.GaussianMixture([0.4, 0.6], [[0.5, -1.0], [1.0, 0.2]], [0.3, 0.1])
X = np.array([[0.5, -1.0], [-0.8, 0.3], [1.4, 0.9]])


def planned(method: str = "dpmpp_3m_corrected", n: int = 8, schedule: Any = SCHEDULE, **options: Any) -> dn.Plan:
    """Plan between half-log-SNR -1.5 and 1.5."""
    ends = {"t_start": float(schedule.time(-1.5)), "t_end": float(schedule.time(1.5))}
    return dn.plan(method, schedule, uniform_half_log_snr(schedule, n, **ends, **options))


@dataclass(frozen=True)
class Model:
    """A model given by a function."""

    function: Any
    prediction: Any = "data"
    schedule: Any = SCHEDULE

    def __call__(self, x: Any, t: Any) -> Any:
        return self.function(x, t)


# -- splits, callbacks, trajectories -------------------------------------------------------------------


@given(method=st.sampled_from(METHODS), cut=st.integers(1, 9), build=st.sampled_from([uniform_time, karras]))
@settings(max_examples=60)
def test_a_run_in_two_parts_equals_a_run_in_one_bit_for_bit(method: str, cut: int, build: Any) -> None:
    whole = dn.plan(method, SCHEDULE, build(SCHEDULE, 10, terminal="denoise"))
    model = PROBLEM.denoiser(SCHEDULE, "noise")
    states: list[State] = []
    once = dn.solve(whole, model, X, callback=states.append)
    half = states[cut - 1]
    assert (half.step, half.t) == (cut, whole.times[cut])
    np.testing.assert_array_equal(dn.solve(whole[cut:], model, half), once)


@pytest.mark.parametrize("method", ["eab_4", "unipc_3_bh2", "ghvb_2.8", "edm_heun"])
def test_a_run_resumes_bit_for_bit_from_a_state_that_was_saved(method: str, tmp_path: Path) -> None:
    whole, model = planned(method), PROBLEM.denoiser(SCHEDULE)
    *_, half = dn.iterate(whole[:3], model, X)
    np.savez(tmp_path / "state.npz", step=half.step, t=half.t, **half.vectors)
    with np.load(tmp_path / "state.npz") as saved:
        vectors = {name: saved[name] for name in saved.files if name not in ("step", "t")}
        state = State(int(saved["step"]), float(saved["t"]), vectors)
    again = dn.Plan.from_json(whole.to_json())[3:]
    np.testing.assert_array_equal(dn.solve(again, model, state), dn.solve(whole, model, X))


def test_the_callback_sees_every_step_and_the_trajectory_holds_every_state() -> None:
    plan, model = planned(), PROBLEM.denoiser(SCHEDULE)
    seen: list[State] = []
    path = dn.solve(plan, model, X, callback=seen.append, return_trajectory=True)
    assert isinstance(path, Trajectory)
    assert [s.step for s in seen] == list(range(1, 9))
    np.testing.assert_array_equal(path.t, plan.times)
    np.testing.assert_array_equal(path.x[0], X)
    for state, t, x in zip(seen, path.t[1:], path.x[1:], strict=True):
        assert state.t == t
        assert state.x is x
    np.testing.assert_array_equal(path.x[-1], dn.solve(plan, model, X))


def test_iterate_stops_when_the_caller_does() -> None:
    calls: list[float] = []

    def counted(x: Any, t: float) -> Any:
        calls.append(t)
        return 0.0 * x

    steps = dn.iterate(planned("ddim"), Model(counted), X)
    next(steps)
    next(steps)
    assert len(calls) == 2


def test_the_state_that_is_given_stays_as_it_was() -> None:
    x = X.copy()
    dn.solve(planned("unipc_3_bh2"), PROBLEM.denoiser(SCHEDULE), x)
    np.testing.assert_array_equal(x, X)


# -- array types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_torch_and_numpy_agree(method: str) -> None:
    torch = pytest.importorskip("torch")
    plan, model = planned(method), PROBLEM.denoiser(SCHEDULE, "noise")
    tensor = dn.solve(plan, model, torch.tensor(X))
    assert tensor.dtype == torch.float64
    np.testing.assert_allclose(tensor.numpy(), dn.solve(plan, model, X), rtol=1e-12, atol=1e-12)


def test_a_mean_that_schedules_keep_read_only_serves_tensors_too() -> None:
    torch = pytest.importorskip("torch")
    schedule = MeanReverting(mean=np.array([0.8, -0.3]))
    plan, model = planned("dpmpp_2m", schedule=schedule), PROBLEM.denoiser(schedule)
    found = dn.solve(plan, model, torch.tensor(X))
    np.testing.assert_allclose(found.numpy(), dn.solve(plan, model, X), rtol=1e-12)


@pytest.mark.parametrize("method", ["dpmpp_2m", "unipc_3_bh2", "dpm_solver_3", "ghvb_1.8"])
def test_gradients_flow_through_a_run(method: str) -> None:
    torch = pytest.importorskip("torch")
    plan, model = planned(method, 4), PROBLEM.denoiser(SCHEDULE)
    x = torch.tensor(X, requires_grad=True)
    dn.solve(plan, model, x)[0, 0].backward()
    delta = 1e-6
    shifted = [X + np.array([[sign * delta, 0], [0, 0], [0, 0]]) for sign in (1, -1)]
    up, down = (dn.solve(plan, model, s)[0, 0] for s in shifted)
    assert float(x.grad[0, 0]) == pytest.approx((up - down) / (2 * delta), rel=1e-7)
    assert float(x.grad[1:].abs().max()) == 0.0


@pytest.mark.parametrize(
    "schedule", [SCHEDULE, MeanReverting(mean=np.array([0.8, -0.3]))], ids=["vp", "mean-reverting"]
)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_single_precision_stays_single(library: str, schedule: Any) -> None:
    if library == "torch":
        torch = pytest.importorskip("torch")
        x = torch.tensor(X, dtype=torch.float32)
    else:
        x = X.astype(np.float32)
    for method in ("dpmpp_2m", "unipc_3_bh2", "edm_heun"):
        plan, model = planned(method, schedule=schedule), PROBLEM.denoiser(schedule)
        seen: list[State] = []
        found = dn.solve(plan, model, x, callback=seen.append)
        assert all(v.dtype == x.dtype for state in seen for v in state.vectors.values())
        np.testing.assert_allclose(np.asarray(found), dn.solve(plan, model, X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_samples_do_not_depend_on_their_batch(method: str) -> None:
    plan, model = planned(method), PROBLEM.denoiser(SCHEDULE)
    together = dn.solve(plan, model, X)
    for i in range(len(X)):
        np.testing.assert_allclose(dn.solve(plan, model, X[i : i + 1])[0], together[i], rtol=1e-13, atol=1e-14)


def test_images_go_through_in_their_own_shape() -> None:
    x = np.ones((2, 3, 4, 4))
    found = dn.solve(planned("dpmpp_2m"), Model(lambda x, _: 0.5 * x), x)
    assert found.shape == x.shape
    np.testing.assert_array_equal(found, np.full_like(x, found[0, 0, 0, 0]))


# -- mean-reverting processes --------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_a_mean_reverting_run_is_the_centred_run_moved_by_the_mean(method: str, prediction: Any) -> None:
    mean = np.array([0.8, -0.3])
    moved, centred = MeanReverting(mean=mean), MeanReverting()
    at_home = dn.GaussianMixture(PROBLEM.weights, PROBLEM.means - mean, PROBLEM.covariances)
    plans = [planned(method, schedule=s) for s in (moved, centred)]
    found = dn.solve(plans[0], PROBLEM.denoiser(moved, prediction), X)
    expected = mean + dn.solve(plans[1], at_home.denoiser(centred, prediction), X - mean)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    unmoved = dn.solve(plans[1], PROBLEM.denoiser(centred, prediction), X)
    assert np.max(np.abs(found - unmoved)) > 1e-3  # the mean matters


@pytest.mark.parametrize("method", ["eab_3", "eab_noise_3", "unipc_3_bh2", "ab_velocity_3"])
def test_an_exact_history_is_given_in_plain_predictions_also_where_the_process_has_a_mean(method: str) -> None:
    mean = np.array([0.8, -0.3])
    schedule = MeanReverting(mean=mean)
    ends = {"t_start": float(schedule.time(-1.5)), "t_end": float(schedule.time(1.5))}
    plan = dn.plan(method, schedule, uniform_half_log_snr(schedule, 40, **ends), start="exact")
    model = PROBLEM.denoiser(schedule, plan.prediction)
    states = {t: PROBLEM.flow(X, schedule, ends["t_start"], t) for t in (plan.times[0], *plan.history.values())}
    history = {name: model(states[t], t) for name, t in plan.history.items()}
    found = dn.solve(plan, model, states[plan.times[0]], history=history)
    exact = PROBLEM.flow(X, schedule, ends["t_start"], ends["t_end"])
    np.testing.assert_allclose(found, exact, atol=2e-3)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_an_exact_history_keeps_the_prediction_of_the_form_whatever_the_model_predicts(prediction: Any) -> None:
    schedule = MeanReverting(mean=np.array([0.8, -0.3]))
    ends = {"t_start": float(schedule.time(-1.5)), "t_end": float(schedule.time(1.5))}
    grid = uniform_half_log_snr(schedule, 12, **ends)
    plans = [dn.plan("eab_3", schedule, grid, start="exact", prediction=p) for p in (None, prediction)]
    own = PROBLEM.denoiser(schedule, plans[0].history_prediction)
    history = {name: own(X + 0.1 * i, t) for i, (name, t) in enumerate(plans[0].history.items())}
    expected, found = (dn.solve(p, PROBLEM.denoiser(schedule, p.prediction), X, history=history) for p in plans)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


# -- what is wrong is refused --------------------------------------------------------------------------


def broken(at: float, sample: int, value: float) -> Any:
    """Data prediction that spoils one sample at one time."""

    def function(x: Any, t: float) -> Any:
        found = 0.5 * x
        if t == at:
            found[sample, 0] = value
        return found

    return Model(function)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("method", ["ddim", "dpmpp_2m", "eab_3", "unipc_3_bh2"])
def test_a_model_that_returns_nan_is_named_with_step_and_sample(method: str, library: str, value: float) -> None:
    x: Any = X if library == "numpy" else pytest.importorskip("torch").tensor(X)
    plan = planned(method)
    at = float(plan.steps[3].stage_t[0])
    message = r"model returned NaN or infinity at step 3, .*sample 1"
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=message):
        dn.solve(plan, broken(at, 1, value), x)


def test_nan_from_a_model_that_cannot_be_asked_twice_is_refused_all_the_same() -> None:
    calls = iter(range(1000))

    def once(x: Any, _: float) -> Any:
        return np.full_like(x, np.nan) if next(calls) == 3 else 0.5 * x

    with pytest.raises(ValueError, match=r"not finite|NaN"):
        dn.solve(planned("ddim"), Model(once, schedule=SCHEDULE), X)


def test_a_start_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x is not finite.*sample 1"):
        dn.solve(planned(), PROBLEM.denoiser(SCHEDULE), np.where(np.arange(3)[:, None] == 1, np.nan, X))


@pytest.mark.parametrize("answer", [lambda x: x[:, :1], lambda x: x[0], lambda x: float(x[0, 0]), lambda x: [x, x]])
def test_a_model_that_returns_another_shape_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"model returned shape .* at step 0, t=.*the shape of x, \(3, 2\)"):
        dn.solve(planned(), Model(lambda x, _: answer(x)), X)


def test_integer_and_foreign_states_are_refused() -> None:
    model = PROBLEM.denoiser(SCHEDULE)
    with pytest.raises(TypeError, match=r"x has dtype int64: convert it to a floating-point type"):
        dn.solve(planned(), model, np.array([[1, 2]]))
    with pytest.raises(TypeError, match=r"x is a list: pass a numpy array or a torch tensor"):
        dn.solve(planned(), model, [[0.5, 1.0]])


@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_state_without_a_batch_axis_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x has shape .*: pass a batch of samples, shape \(batch, \.\.\.\)"):
        dn.solve(planned(), PROBLEM.denoiser(SCHEDULE), np.zeros(shape))


def test_iterate_refuses_at_the_call_and_does_not_wait_for_the_first_step() -> None:
    model = PROBLEM.denoiser(SCHEDULE)
    with pytest.raises(ValueError, match="model has the schedule"):
        dn.iterate(planned(), PROBLEM.denoiser(EDM()), X)
    with pytest.raises(ValueError, match="history lacks"):
        dn.iterate(planned("eab_3")[4:], model, X)
    with pytest.raises(TypeError, match="dtype int64"):
        dn.iterate(planned(), model, np.array([[1, 2]]))
    assert list(dn.iterate(planned()[:0], model, X)) == []


def test_a_plan_that_goes_on_asks_for_its_history() -> None:
    model = PROBLEM.denoiser(SCHEDULE)
    with pytest.raises(ValueError, match=r"history lacks m1, m2: pass the exact evaluations .* or a State"):
        dn.solve(planned("eab_3")[4:], model, X)


def test_a_history_of_another_shape_is_refused() -> None:
    plan = planned("eab_2", 5)
    exact = dn.plan("eab_2", SCHEDULE, uniform_half_log_snr(SCHEDULE, 5), start="exact")
    for bad in (X[:1], X.astype(int)):
        with pytest.raises((ValueError, TypeError), match="history"):
            dn.solve(exact, PROBLEM.denoiser(SCHEDULE), X, history={"m1": bad})
    with pytest.raises(ValueError, match="history"):  # the plan asks for none
        dn.solve(plan, PROBLEM.denoiser(SCHEDULE), X, history={"m1": X})


def test_a_model_of_another_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="schedule"):
        dn.solve(planned(), PROBLEM.denoiser(EDM()), X)


def test_a_state_is_refused_by_a_plan_that_begins_elsewhere() -> None:
    plan, model = planned("ddim"), PROBLEM.denoiser(SCHEDULE)
    *_, half = dn.iterate(plan[:3], model, X)
    with pytest.raises(ValueError, match="begins at"):
        dn.solve(plan, model, half)


@pytest.mark.parametrize("schedule", [EDM(), FlowMatching()])
def test_twenty_steps_come_close_to_the_exact_flow(schedule: Any) -> None:
    problem = dn.problems.three_peaks()
    grid = uniform_half_log_snr(schedule, 20)
    x = np.array([[-1.2], [0.3], [0.8]]) * float(schedule.sigma(float(grid.t[0])))
    found = dn.solve(dn.plan("unipc_3_bh2", schedule, grid), problem.denoiser(schedule), x)
    exact = problem.flow(x, schedule, float(grid.t[0]), float(grid.t[-1]))
    np.testing.assert_allclose(found, exact, atol=0.05)


def test_a_stochastic_run_takes_a_seed_and_does_not_depend_on_the_batch() -> None:
    plan, model = planned("sde_dpmpp_2m"), PROBLEM.denoiser(SCHEDULE)
    found = dn.solve(plan, model, X, seed=3)
    np.testing.assert_array_equal(found, dn.solve(plan, model, X, seed=3))
    np.testing.assert_allclose(found[:1], dn.solve(plan, model, X[:1], seed=3), rtol=1e-12)
    assert not np.allclose(found, dn.solve(plan, model, X, seed=4))


def test_a_stochastic_run_without_a_seed_is_refused() -> None:
    plan, model = planned("sde_dpmpp_2m"), PROBLEM.denoiser(SCHEDULE)
    with pytest.raises(ValueError, match="is stochastic, pass solve"):
        dn.solve(plan, model, X)
    with pytest.raises(ValueError, match="give one of the two"):
        dn.solve(plan, model, X, seed=1, noise=lambda *_: X)

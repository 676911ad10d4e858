"""Plans of every method on every schedule and grid: they build, count, serialise and convert, or say what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum import grids
from diffnum.forms import DATA, NOISE, PREDICTIONS, Nodes
from diffnum.grids import (
    Grid,
    from_times,
    irregular,
    karras,
    quadratic_time,
    to_zero,
    uniform_half_log_snr,
    uniform_time,
)
from diffnum.schedules import EDM, VE, FlowMatching, MeanReverting, SubVP, Tabulated, VPCosine, VPLinear, linear_betas

METHODS = tuple(dn.methods())
SCHEDULES: dict[str, Any] = {
    "vp-linear": VPLinear(),
    "vp-cosine": VPCosine(),
    "sub-vp": SubVP(),
    "ve": VE(),
    "edm": EDM(),
    "flow": FlowMatching(shift=3.0),
    "mean-reverting": MeanReverting(theta=0.7, sigma_inf=1.3, mean=np.array([0.8, -0.3])),
    "tabulated": Tabulated.from_betas(linear_betas()),
}
ENDLESS = ("ve",)
"""Schedules without a noise-free time."""
STEPS = 7
GRIDS: dict[str, Callable[..., Grid]] = {
    "uniform_half_log_snr": uniform_half_log_snr,
    "uniform_time": uniform_time,
    "quadratic_time": quadratic_time,
    "karras": karras,
    "irregular": irregular,
}
TERMINALS = tuple(grids.TERMINALS)
DENOISING = ("denoise", "lower_order_denoise")
REPRESENTATIVES = {dn.method(name).family: name for name in reversed(METHODS)}.values()
"""One listed method of each family, which meets every schedule; the other ones meet one, the rest is slow."""


def pairs(schedules: Iterable[str]) -> list[Any]:
    """Methods and schedules, those marked slow that representatives of the family stand for."""
    return [
        pytest.param(method, name, marks=() if name == "vp-linear" or method in REPRESENTATIVES else pytest.mark.slow)
        for method in METHODS
        for name in schedules
    ]


PROBLEM = dn.GaussianMixture([0.4, 0.6], [[0.5, -1.0], [1.0, 0.2]], [0.3, 0.1])


def compact(schedule: Any, n: int = STEPS, **options: Any) -> Grid:
    """Grid between half-log-SNR -1.5 and 1.5, where no end of the schedule interferes."""
    ends = {"t_start": float(schedule.time(-1.5)), "t_end": float(schedule.time(1.5))}
    return uniform_half_log_snr(schedule, n, **ends, **options)


def start_state(schedule: Any, t: float) -> Any:
    """Three states of the right size."""
    size = float(schedule.alpha(t)) + float(schedule.sigma(t))
    return schedule.mean + size * np.array([[0.5, -1.0], [-0.8, 0.3], [1.4, 0.9]])


def zero_noise(step: int, index: int, like: Any) -> Any:
    """Draws for stochastic methods: none."""
    return 0.0 * like


@dataclass
class Counting:
    """A model that counts its calls and keeps their times."""

    inner: Any
    times: list[float] = field(default_factory=list)

    @property
    def prediction(self) -> Any:
        return self.inner.prediction

    @property
    def schedule(self) -> Any:
        return self.inner.schedule

    def __call__(self, x: Any, t: Any) -> Any:
        self.times.append(t)
        return self.inner(x, t)


@dataclass(frozen=True)
class Constant:
    """A model whose data prediction is a constant."""

    value: Any
    schedule: Any
    prediction: Any

    def __call__(self, x: Any, t: Any) -> Any:
        alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        mean = self.schedule.mean
        noise = ((x - mean) - alpha * (self.value - mean)) / sigma
        a, b = PREDICTIONS[self.prediction](alpha, sigma)
        return a * self.value + b * noise


# -- every method on every schedule and grid -----------------------------------------------------------


@pytest.mark.parametrize(("method", "name"), pairs(SCHEDULES))
def test_plans_build_and_count_their_evaluations_on_every_grid_and_terminal(method: str, name: str) -> None:
    schedule, record = SCHEDULES[name], dn.method(method)
    cases = [*((build, "stop") for build in GRIDS.values()), *((karras, terminal) for terminal in TERMINALS[1:])]
    for build, terminal in cases:
        grid = build(schedule, STEPS, terminal=terminal)
        made = dn.plan(method, schedule, grid)
        assert made.nfe == record.nfe(STEPS, terminal=terminal)
        assert (made.times[0], made.terminal, made.method) == (grid.t[0], terminal, record.name)
        assert made.times[-1] == (schedule.t_min if terminal in DENOISING else grid.t[-1])


@pytest.mark.parametrize(("method", "name"), pairs(SCHEDULES))
def test_plans_run_call_the_model_as_often_as_they_say_and_survive_json(method: str, name: str) -> None:
    schedule = SCHEDULES[name]
    grid = karras(schedule, STEPS)
    made = dn.plan(method, schedule, grid)
    model = Counting(PROBLEM.denoiser(schedule, made.prediction))
    x = dn.solve(made, model, start_state(schedule, grid.t[0]), noise=zero_noise)
    assert len(model.times) == made.nfe
    assert np.isfinite(x).all()
    again = dn.Plan.from_json(made.to_json())
    assert again == made
    assert again.schedule == schedule
    assert all(a == b for a, b in zip(again.steps, made.steps, strict=True))


@pytest.mark.parametrize(("method", "name"), pairs(n for n in SCHEDULES if n not in ENDLESS))
def test_plans_to_zero_noise_end_at_the_data_prediction_of_their_last_call(method: str, name: str) -> None:
    schedule = SCHEDULES[name]
    grid = to_zero(karras(schedule, STEPS), schedule)
    made = dn.plan(method, schedule, grid)
    model = Counting(PROBLEM.denoiser(schedule, made.prediction))
    x = dn.solve(made, model, start_state(schedule, grid.t[0]), noise=zero_noise)
    assert made.times[-1] == grid.t[-1]
    assert len(model.times) == made.nfe
    assert grid.t[-1] not in model.times  # no model knows the noise where there is none
    assert np.isfinite(x).all()
    assert np.max(np.abs(x - schedule.mean)) < 5
    for terminal in TERMINALS:
        counted = dn.method(method).nfe(STEPS + 1, terminal=terminal, ends_at_zero=True)
        assert dn.plan(method, schedule, grid.with_terminal(terminal)).nfe == counted


def test_edm_heun_to_zero_takes_two_evaluations_a_step_but_one_on_the_last() -> None:
    grid = to_zero(karras(EDM(), 17), EDM())
    assert dn.plan("edm_heun", EDM(), grid).nfe == 2 * 18 - 1


@pytest.mark.parametrize(("method", "name"), pairs(SCHEDULES))
def test_all_predictions_of_one_model_give_the_same_solution(method: str, name: str) -> None:
    schedule = SCHEDULES[name]
    # the long steps of the second grid multiply rounding by some of the larger weights (hundreds in tAB-DEIS)
    few: tuple[Any, ...] = ("data", "v")
    for grid, tolerance, others in (
        (compact(schedule, 4), 1e-11, tuple(PREDICTIONS)),
        (karras(schedule, 8), 1e-8, few),
    ):
        made = dn.plan(method, schedule, grid)
        x = start_state(schedule, grid.t[0])
        own = dn.solve(made, PROBLEM.denoiser(schedule, made.prediction), x, noise=zero_noise)
        for prediction in others:
            model = PROBLEM.denoiser(schedule, prediction)
            folded = made.for_prediction(prediction)
            assert (folded.prediction, folded.nfe) == (prediction, made.nfe)
            found = dn.solve(folded, model, x, noise=zero_noise)
            np.testing.assert_allclose(found, own, rtol=0, atol=tolerance * np.max(np.abs(x)))


@pytest.mark.parametrize("method", METHODS)
def test_stages_of_folded_plans_use_earlier_evaluations_only(method: str) -> None:
    for schedule in (VPLinear(), EDM()):
        made = dn.plan(method, schedule, uniform_time(schedule, 6))
        for prediction in PREDICTIONS:
            for step in made.for_prediction(prediction).steps:  # type: ignore[arg-type]
                assert not np.triu(step.A).any()


@pytest.mark.parametrize(("method", "name"), pairs(SCHEDULES))
def test_a_constant_data_prediction_is_integrated_exactly(method: str, name: str) -> None:
    schedule = SCHEDULES[name]
    if not dn.method(method).form.rate and dn.method(method).form.prediction == "velocity":
        pytest.skip("velocity is not constant where the data prediction is")
    value = np.array([[0.3, -0.6]]) * np.ones((3, 1))
    for terminal, grid in ((t, compact(schedule, 5, terminal=t)) for t in TERMINALS):
        made = dn.plan(method, schedule, grid)
        x = start_state(schedule, grid.t[0])
        nodes = Nodes.at(schedule, grid.t[[0, -1]], grid.lam[[0, -1]])
        noise = (x - schedule.mean - nodes.alpha[0] * (value - schedule.mean)) / nodes.sigma[0]
        exact = schedule.mean + nodes.alpha[1] * (value - schedule.mean) + nodes.sigma[1] * noise
        expected = value if terminal in DENOISING else exact
        for prediction in ("data", "noise", "v"):
            found = dn.solve(made, Constant(value, schedule, prediction), x, noise=zero_noise)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.max(np.abs(x)))


def test_solve_folds_the_conversion_of_the_model_that_it_is_given() -> None:
    schedule = VPLinear()
    made = dn.plan("unipc_3_bh2", schedule, compact(schedule))
    x, model = start_state(schedule, made.times[0]), PROBLEM.denoiser(schedule, "v")
    np.testing.assert_array_equal(dn.solve(made, model, x), dn.solve(made.for_prediction("v"), model, x))


# -- terminal and start-up rules -----------------------------------------------------------------------


def test_denoise_replaces_the_last_state_by_the_data_prediction_there() -> None:
    schedule = VPLinear()
    stop, denoise = (compact(schedule, terminal=t) for t in ("stop", "denoise"))
    x, model = start_state(schedule, stop.t[0]), PROBLEM.denoiser(schedule)
    last = dn.solve(dn.plan("dpmpp_2m", schedule, stop), model, x)
    found = dn.solve(dn.plan("dpmpp_2m", schedule, denoise), model, x)
    np.testing.assert_allclose(found, model(last, float(stop.t[-1])), rtol=1e-13)


def test_lower_order_ends_on_a_first_order_step() -> None:
    schedule = VPLinear()
    lowered = dn.plan("eab_3", schedule, compact(schedule, terminal="lower_order"))
    first = dn.plan("ddim", schedule, compact(schedule))
    last_row = dict(lowered.steps[-1].rows())["x"]
    assert last_row == pytest.approx(dict(first.steps[-1].rows())["x"], rel=1e-14)
    assert set(dict(lowered.steps[-2].rows())["x"]) == {"x", "k1", "m1"}
    assert set(dict(lowered.steps[-3].rows())["x"]) == {"x", "k1", "m1", "m2"}


def test_lower_order_denoise_is_lower_order_and_then_the_data_prediction() -> None:
    schedule = VPLinear()
    lowered, denoised = (compact(schedule, terminal=t) for t in ("lower_order", "lower_order_denoise"))
    x, model = start_state(schedule, lowered.t[0]), PROBLEM.denoiser(schedule)
    last = dn.solve(dn.plan("eab_3", schedule, lowered), model, x)
    found = dn.plan("eab_3", schedule, denoised)
    np.testing.assert_allclose(dn.solve(found, model, x), model(last, float(lowered.t[-1])), rtol=1e-13)
    assert found.nfe == dn.method("eab_3").nfe(7, terminal="lower_order_denoise") == 8
    full = dn.solve(dn.plan("eab_3", schedule, compact(schedule, terminal="denoise")), model, x)
    assert np.max(np.abs(dn.solve(found, model, x) - full)) > 1e-6


@pytest.mark.parametrize("terminal", ["lower_order", "lower_order_denoise"])
def test_the_step_to_zero_noise_is_the_first_order_step_of_lower_order(terminal: str) -> None:
    schedule = VPLinear()
    made = dn.plan("eab_3", schedule, to_zero(karras(schedule, 7, terminal=terminal), schedule))
    assert [set(dict(step.rows())["x"]) for step in made.steps[-3:]] == [
        {"x", "k1", "m1", "m2"},
        {"x", "k1", "m1"},
        {"k1"},
    ]
    assert made.nfe == len(made) == 8


@pytest.mark.parametrize(
    "method", ["rho_rk_2_0.5", "rho_rk_heun", "rho_rk_kutta3", "rho_rk_rk4", "time_rk_2_2/3", "edm_heun", "abm_3"]
)
def test_methods_with_several_stages_take_the_step_of_euler_to_zero_noise_as_edm_does(method: str) -> None:
    grid = to_zero(karras(EDM(), 5), EDM())
    made = dn.plan(method, EDM(), grid)
    last = dict(made.for_prediction("data").steps[-1].rows())
    assert last["x"] == pytest.approx({"k1": 1.0}, abs=1e-12)  # to sigma = 0 Euler's step is the data prediction
    assert made.nfe == dn.method(method).nfe(6, ends_at_zero=True) == 5 * made.steps[2].nfe + 1


def test_multistep_methods_keep_their_order_on_the_step_to_zero_noise() -> None:
    made = dn.plan("lms_3", EDM(), to_zero(karras(EDM(), 5), EDM()))
    assert set(dict(made.steps[-1].rows())["x"]) == {"x", "k1", "m1", "m2"}


@pytest.mark.parametrize("terminal", TERMINALS)
@pytest.mark.parametrize("method", ["ddim", "edm_heun", "dpm_solver_2", "pndm", "lms_3", "unipc_2_bh2_pece"])
def test_budgets_count_the_step_to_zero_noise(method: str, terminal: str) -> None:
    record = dn.method(method)
    for budget in (13, 14, 23):
        steps = record.steps_for(budget, terminal=terminal, ends_at_zero=True)
        assert record.nfe(steps, terminal=terminal, ends_at_zero=True) <= budget
        assert record.nfe(steps + 1, terminal=terminal, ends_at_zero=True) > budget
    assert dn.method("edm_heun").steps_for(35, ends_at_zero=True) == 18  # EDM's
    with pytest.raises(ValueError, match="nfe=0 is too small for one step of"):
        record.steps_for(0, terminal=terminal, ends_at_zero=True)


def test_a_plan_says_the_prediction_of_its_history_whatever_the_model_predicts() -> None:
    made = dn.plan("eab_noise_3", VPLinear(), compact(VPLinear()), start="exact", prediction="v")
    assert (made.prediction, made.history_prediction) == ("v", "noise")
    assert dn.Plan.from_json(made.to_json()).history_prediction == "noise"
    assert made[1:].history_prediction == "noise"


@pytest.mark.parametrize("method", METHODS)
def test_an_exact_start_names_the_evaluations_it_needs_and_then_runs(method: str) -> None:
    schedule, record = VPLinear(), dn.method(method)
    if not record.depth:
        pytest.skip("one-step methods need no history")
    coarse, fine = (_error_after_an_exact_start(method, compact(schedule, n)) for n in (40, 80))
    # the constant of a method is its own affair (that of CAB is twice that of Adams-Bashforth): its order is not
    assert fine < 1.3 * 0.5**record.order * coarse


def _error_after_an_exact_start(method: str, grid: dn.Grid) -> float:
    """Largest error at the end of a run whose first evaluations lie on the solution."""
    schedule, record, problem = VPLinear(), dn.method(method), dn.problems.three_peaks()
    made = dn.plan(method, schedule, grid, start="exact")
    assert len(made) == len(grid.t) - 1 - record.exact_steps
    assert set(made.history) == set(record.exact_history)
    model = problem.denoiser(schedule, made.prediction)
    x = np.array([[-0.7], [0.4], [1.1]])
    states = {t: problem.flow(x, schedule, float(grid.t[0]), t) for t in (made.times[0], *made.history.values())}
    history = {name: model(states[t], t) for name, t in made.history.items()}
    found = dn.solve(made, model, states[made.times[0]], history=history)
    exact = problem.flow(x, schedule, float(grid.t[0]), float(grid.t[-1]))
    return float(np.max(np.abs(found - exact)))


@pytest.mark.parametrize("method", METHODS)
def test_a_high_order_start_keeps_small_errors_small(method: str) -> None:
    schedule, problem = VPLinear(), dn.problems.three_peaks()
    grid = compact(schedule, 40)
    made = dn.plan(method, schedule, grid, start="high_order")
    assert made.nfe == dn.method(method).nfe(40, start="high_order")
    x = np.array([[-0.7], [0.4], [1.1]])
    found = dn.solve(made, problem.denoiser(schedule, made.prediction), x)
    exact = problem.flow(x, schedule, float(grid.t[0]), float(grid.t[-1]))
    assert np.max(np.abs(found - exact)) < (5e-3 if dn.method(method).order > 1 else 0.1)


def test_continues_leaves_a_predictor_corrector_ready_to_go_on() -> None:
    schedule = VPLinear()
    ended = dn.plan("unipc_3_bh2", schedule, compact(schedule))
    open_ended = dn.plan("unipc_3_bh2", schedule, compact(schedule), continues=True)
    assert ended.steps[-1].outputs == ("x",)
    assert open_ended.steps[-1].outputs == ("x", "m0", "m1", "m2")
    assert open_ended.nfe == ended.nfe + 1


@pytest.mark.parametrize("form", [DATA, NOISE], ids=["data", "noise"])
@pytest.mark.parametrize("method", ["dpmpp_2m", "dpmpp_3m", "unipc_3_bh1", "dpm_solver_3"])
def test_rules_written_in_the_half_log_snr_serve_both_predictions(method: str, form: Any) -> None:
    schedule, problem = VPLinear(), dn.problems.three_peaks()
    grid = compact(schedule, 40)
    made = dn.plan(replace(dn.method(method), form=form), schedule, grid)
    assert made.prediction == form.prediction
    x = np.array([[-0.7], [0.4], [1.1]])
    found = dn.solve(made, problem.denoiser(schedule), x)
    exact = problem.flow(x, schedule, float(grid.t[0]), float(grid.t[-1]))
    np.testing.assert_allclose(found, exact, atol=3e-3)


# -- files, tables, slices -----------------------------------------------------------------------------


def test_plans_are_written_and_read_as_files(tmp_path: Path) -> None:
    made = dn.plan("unipc_3_bh2", EDM(), karras(EDM(), 5))
    path = tmp_path / "plan.json"
    assert path.write_text("") == 0
    assert json.loads(made.to_json(path)) == json.loads(path.read_text())
    assert dn.Plan.from_json(path) == made
    assert dn.Plan.from_json(path) != dn.plan("unipc_3_bh1", EDM(), karras(EDM(), 5))
    assert made != "plan"


def test_the_table_shows_every_step_and_the_counts() -> None:
    made = dn.plan("dpmpp_2m", VPLinear(), compact(VPLinear()))
    table = made.table()
    assert table.startswith("dpmpp_2m on vp-linear: 7 steps, 7 evaluations, data prediction, start ramp, terminal stop")
    assert table.count("x = ") == len(made) == 7
    assert "m1 = +1 k1" in table
    assert repr(made) == (
        "Plan('dpmpp_2m', schedule='vp-linear', steps=7, nfe=7, prediction='data', start='ramp', terminal='stop')"
    )


def test_a_slice_of_a_plan_is_a_plan_and_an_index_a_step() -> None:
    made = dn.plan("dpmpp_2m", VPLinear(), compact(VPLinear()))
    assert made[2] is made.steps[2]
    part = made[2:5]
    assert isinstance(part, dn.Plan)
    np.testing.assert_array_equal(part.times, made.times[2:6])


# -- what is wrong is refused --------------------------------------------------------------------------


def test_an_unknown_method_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(ValueError, match=r"method='dpmpp_2n' is unknown: did you mean .*dpmpp_2m"):
        dn.plan("dpmpp_2n", VPLinear(), compact(VPLinear()))


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("{}", "write it with Plan.to_json"),
        ("[]", "write it with Plan.to_json"),
        ("plan", "Expecting value"),
        ('{"format": "diffnum-plan-v1"}', "write it with Plan.to_json"),
    ],
)
def test_text_that_is_no_plan_is_refused(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        dn.Plan.from_json(text)


def test_start_rules_are_checked() -> None:
    grid = compact(VPLinear(), 3)
    with pytest.raises(ValueError, match="start='soft' is unknown: use one of ramp"):
        dn.plan("eab_3", VPLinear(), grid, start="soft")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"n_steps=3 is too few for an exact start of eab_4.*use at least 4"):
        dn.plan("eab_4", VPLinear(), grid, start="exact")
    with pytest.raises(ValueError, match=r"start='high_order' keeps order 5 at most.*eab_7 has order 7"):
        dn.plan("eab_7", VPLinear(), compact(VPLinear(), 9), start="high_order")


def test_a_conversion_that_does_not_exist_at_a_node_is_refused() -> None:
    schedule = FlowMatching()
    made = dn.plan("ddim", schedule, compact(schedule))
    with pytest.raises(ValueError, match="'epsilon' is no prediction"):
        made.for_prediction("epsilon")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'noise' prediction says nothing"):
        dn.plan("ddim", schedule, from_times(schedule, [1.0, 0.5, 0.1]), prediction="noise")


def test_a_grid_of_another_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="grid"):
        dn.plan("ddim", VPLinear(), karras(EDM(), 5))
    with pytest.raises(ValueError, match="grid"):
        dn.plan("ddim", VPLinear(), uniform_time(FlowMatching(), 5))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((42, VPLinear(), compact(VPLinear())), "method=42"),
        (("ddim", None, compact(VPLinear())), "schedule=None"),
        (("ddim", VPLinear(), [1.0, 0.5]), r"grid=\[1.0, 0.5\]"),
    ],
)
def test_what_is_no_method_schedule_or_grid_is_refused(arguments: Any, name: str) -> None:
    with pytest.raises(TypeError, match=name):
        dn.plan(*arguments)


def test_numbers_that_a_method_does_not_ask_for_are_refused() -> None:
    with pytest.raises(ValueError, match=r"parameters=\['tau'\]: ddim takes exactly none"):
        dn.plan("ddim", VPLinear(), compact(VPLinear()), parameters={"tau": 1.0})


def test_steps_of_a_slice_must_follow_each_other() -> None:
    with pytest.raises(ValueError, match="step"):
        dn.plan("ddim", VPLinear(), compact(VPLinear()))[::2]


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("n", [4, 5, 6, 9])
def test_fast_singlestep_methods_spend_one_evaluation_on_each_interval(order: int, n: int) -> None:
    schedule = VPLinear()
    grid = compact(schedule, n)
    made = dn.plan(f"dpm_solver_fast_{order}", schedule, grid)
    assert made.nfe == n == dn.method(f"dpm_solver_fast_{order}").nfe(n)
    times = [t for step in made.steps for t in step.stage_t]
    np.testing.assert_allclose(times, grid.t[:-1], rtol=1e-12)
    assert [step.nfe for step in made.steps][-1] < 3 or order < 3


def test_one_step_is_enough_for_every_method() -> None:
    for method in METHODS:
        made = dn.plan(method, VPLinear(), compact(VPLinear(), 1))
        assert made.nfe == dn.method(method).nfe(1)

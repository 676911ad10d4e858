"""Densities of steps: they are densities, of the states that the loop makes, and their ratios keep their digits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.coefficients.flow_sde import noise_window
from tests.optional import optional

torch: Any = optional("torch")

FLOW = dn.schedules.FlowMatching(shift=3.0)
ONE_STEP = ("flow_sde_0.7", "dance_sde_0.3", "cps_0.5", "precise_sde_0.7", "ddpm", "dpmpp_2s_ancestral")
MULTISTEP = ("sde_dpmpp_2m", "precise_sde_2m_0.7", "sde_dpmpp_3m_corrected", "er_sde_2")
POINTS, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def plan_of(name: str, n: int = 6, **options: Any) -> dn.Plan:
    return dn.plan(name, FLOW, dn.grids.uniform_time(FLOW, n=n, t_start=0.95, t_end=0.05), **options)


class Scaled:
    """A velocity that bends, plus a multiple of the state: a model with one parameter, of arrays and tensors."""

    prediction, schedule = "velocity", FLOW

    def __init__(self, weight: Any = 0.0) -> None:
        self.weight = weight

    def __call__(self, x: Any, t: Any) -> Any:
        return (1.0 + t) * x / (1.0 + x * x) + self.weight * x


START = np.array([[0.3], [-1.2]])


def states_of(numbers: dn.Plan, model: Any, x: Any = START, seed: int = 0) -> Any:
    return dn.solve(numbers, model, x, seed=seed, return_trajectory=True)


@pytest.mark.parametrize("name", ONE_STEP)
def test_a_density_integrates_to_one(name: str) -> None:
    step = dn.transition(plan_of(name), 2, Scaled(), START)
    grid = np.linspace(-12, 12, 4001) * step.std
    values = np.stack([np.exp(step.log_prob(step.mean + shift)) for shift in grid])
    np.testing.assert_allclose(np.trapezoid(values, grid, axis=0), 1.0, rtol=1e-9)


@pytest.mark.parametrize("name", [*ONE_STEP, *MULTISTEP])
def test_the_states_of_a_run_are_made_of_the_draws_that_the_densities_see(name: str) -> None:
    numbers, model = plan_of(name), Scaled(0.1)
    draws = np.random.default_rng(1).standard_normal((len(numbers), *START.shape))
    states = list(dn.iterate(numbers, model, START, noise=lambda step, index, like: draws[step]))
    before: Any = START
    for i, state in enumerate(states):
        step = dn.transition(numbers, i, model, before)
        np.testing.assert_allclose(step.draw(state.x), draws[i], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(step.sample(draws[i]), state.x, rtol=1e-12)
        before = state


@pytest.mark.parametrize("name", [*ONE_STEP, *MULTISTEP])
def test_a_trajectory_has_the_sum_of_its_steps(name: str) -> None:
    numbers, model, old = plan_of(name), Scaled(0.1), Scaled()
    run = states_of(numbers, old)
    total, ratio, before = 0.0, 0.0, START
    states = list(dn.iterate(numbers, model, START, noise=lambda step, index, like: 0.0 * like))
    if states[0].vectors.keys() == {"x"}:
        for i, x in enumerate(run.x[1:]):
            step = dn.transition(numbers, i, model, before)
            total, ratio, before = (
                total + step.log_prob(x),
                ratio + step.log_ratio(dn.transition(numbers, i, old, before), x),
                x,
            )
        np.testing.assert_allclose(dn.trajectory_log_prob(numbers, model, run), total, rtol=1e-12)
        np.testing.assert_allclose(dn.trajectory_log_ratio(numbers, model, old, run), ratio, rtol=1e-10)
    difference = dn.trajectory_log_prob(numbers, model, run) - dn.trajectory_log_prob(numbers, old, run.x)
    np.testing.assert_allclose(dn.trajectory_log_ratio(numbers, model, old, run), difference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ONE_STEP)
def test_the_score_of_a_parameter_averages_to_zero_and_weights_to_one(name: str) -> None:
    # the average over the next state is a Gauss-Hermite sum: no sampling
    numbers, h = plan_of(name), 1e-5
    step = dn.transition(numbers, 2, Scaled(0.2), START)
    up, down = (dn.transition(numbers, 2, Scaled(0.2 + s), START) for s in (h, -h))
    other = dn.transition(numbers, 2, Scaled(0.5), START)
    score, weight, kl, wrong = np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2)
    for point, share in zip(POINTS, WEIGHTS, strict=True):
        x = step.mean + step.std * point
        score += share * (up.log_prob(x) - down.log_prob(x)) / (2 * h)
        weight += share * np.exp(other.log_ratio(step, x))
        kl += share * step.log_ratio(other, x)
        wrong += share * np.exp(-np.sum((x - other.mean) ** 2 - (x - step.mean) ** 2, axis=1))
    np.testing.assert_allclose(score, 0.0, atol=1e-4)
    np.testing.assert_allclose(weight, 1.0, rtol=1e-9)
    np.testing.assert_allclose(step.kl(other), kl, rtol=1e-9, atol=1e-12)
    # the negative control: minus the squared distance, as codes of CPS have it, is no log-density
    assert np.max(np.abs(wrong - 1)) > 1e-5


def test_in_a_window_only_its_steps_count_and_are_evaluated() -> None:
    numbers = plan_of("flow_sde_given", parameters={"level": noise_window(6, 0.7, 1, 2)})
    run, calls = states_of(numbers, Scaled()), []

    class Counted(Scaled):
        def __call__(self, x: Any, t: Any) -> Any:
            calls.append(float(t))
            return super().__call__(x, t)

    found = dn.trajectory_log_prob(numbers, Counted(0.1), run)
    expected = sum(dn.transition(numbers, i, Scaled(0.1), run.x[i]).log_prob(run.x[i + 1]) for i in (1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("name", "i", "match"),
    [
        ("ddim", 0, "'ddim' is deterministic"),
        ("seeds_2", 1, "that has the step's noise already"),
        ("edm_heun_churn", 3, "that has the step's noise already"),
        ("sa_solver_2_2", 1, "that has the step's noise already"),
    ],
)
def test_steps_without_a_density_are_refused(name: str, i: int, match: str) -> None:
    schedule = dn.schedules.VPLinear()
    numbers = dn.plan(name, schedule, dn.grids.uniform_half_log_snr(schedule, n=6, t_start=0.5, t_end=0.01))
    model = dn.problems.three_peaks().denoiser(schedule)
    with pytest.raises(ValueError, match=match):
        dn.transition(numbers, i, model, START)


def test_a_step_that_draws_nothing_says_why() -> None:
    numbers = dn.plan("flow_sde_0.7", FLOW, dn.grids.uniform_time(FLOW, n=4, t_start=0.95, t_end=0.0))
    with pytest.raises(ValueError, match=r"draws nothing \(std = 0\), as the last step to the data does; codes"):
        dn.transition(numbers, -1, Scaled(), START)
    numbers = plan_of("flow_sde_given", parameters={"level": noise_window(6, 0.7, 1, 2)})
    with pytest.raises(ValueError, match=r"i=0: the step draws nothing \(std = 0\): leave"):
        dn.transition(numbers, 0, Scaled(), START)


def test_what_does_not_fit_is_named() -> None:
    numbers, model = plan_of("precise_sde_2m_0.7"), Scaled()
    with pytest.raises(ValueError, match="history lacks m1"):
        dn.transition(numbers, 2, model, START)
    with pytest.raises(IndexError, match="i=6 is no step of a plan of 6 steps"):
        dn.transition(numbers, 6, model, START)
    first, second = (dn.transition(plan_of("flow_sde_0.7"), i, model, START) for i in (0, 1))
    with pytest.raises(ValueError, match="other is step 1"):
        first.log_ratio(second, START)
    with pytest.raises(ValueError, match=r"x_next has shape \(1, 1\)"):
        first.log_prob(START[:1])
    with pytest.raises(ValueError, match="states has 2 entries"):
        dn.trajectory_log_prob(numbers, model, [START, START])
    with pytest.raises(ValueError, match="draws no noise in any step"):
        dn.trajectory_log_prob(plan_of("ddim"), model, [START] * 7)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", [*ONE_STEP, *MULTISTEP])
def test_gradients_in_the_parameters_are_those_of_finite_differences(name: str) -> None:
    numbers, run = plan_of(name), states_of(plan_of(name), Scaled())
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    states = [torch.tensor(x) for x in run.x]
    (slope,) = torch.autograd.grad(dn.trajectory_log_prob(numbers, Scaled(weight), states).sum(), weight)
    h = 1e-5
    up, down = (float(dn.trajectory_log_prob(numbers, Scaled(0.1 + s), run).sum()) for s in (h, -h))
    assert float(slope) == pytest.approx((up - down) / (2 * h), rel=1e-5)


class Drift:
    """A velocity that is a number, in the dtype of the state."""

    prediction, schedule = "velocity", FLOW

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, x: Any, t: Any) -> Any:  # noqa: ARG002
        return self.value * x


def test_in_float32_the_difference_of_two_sums_loses_the_ratio_and_the_stable_form_keeps_it() -> None:
    numbers, rng, size = plan_of("flow_sde_0.7", 10), np.random.default_rng(0), 2**16
    x = rng.standard_normal((4, size))
    new, old = Drift(0.5001), Drift(0.5)
    exact_new, exact_old = (dn.transition(numbers, 5, m, x) for m in (new, old))
    after = exact_old.sample(rng.standard_normal(x.shape))
    truth = exact_new.log_ratio(exact_old, after)
    narrow_new, narrow_old = (dn.transition(numbers, 5, m, x.astype(np.float32)) for m in (new, old))
    reached = after.astype(np.float32)
    assert narrow_new.mean.dtype == np.float32
    stable = np.abs(narrow_new.log_ratio(narrow_old, reached) - truth)
    naive = np.abs(narrow_new.log_prob(reached) - narrow_old.log_prob(reached) - truth)
    assert np.max(stable) < 1e-4
    assert np.max(naive) > 20 * np.max(stable)
    assert np.max(np.abs(narrow_new.log_prob(reached))) > 1e4, "two large numbers"


@pytest.mark.needs("torch")
def test_half_precision_is_scored_in_float32_at_the_state_that_the_model_saw() -> None:
    numbers = plan_of("flow_sde_0.7", 10)
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    seen = []

    class Watched(Drift):
        def __call__(self, x: Any, t: Any) -> Any:
            seen.append(x.dtype)
            return super().__call__(x, t)

    step = dn.transition(numbers, 3, Watched(0.5), x)
    assert seen == [torch.bfloat16]
    assert step.mean.dtype == torch.float32
    reached = step.sample(torch.randn(3, 64, generator=torch.Generator().manual_seed(1)))
    # a mean in half precision is off by much of a small change of the model
    other = dn.transition(numbers, 3, Watched(0.51), x)
    rounded = other.log_prob(reached) - dn.transition(numbers, 3, Drift(0.5), x.float()).log_prob(reached)
    assert math.isfinite(float(rounded.sum()))
    torch.testing.assert_close(step.log_prob(reached), step.log_prob(reached.to(torch.float64)), rtol=1e-6, atol=1e-4)

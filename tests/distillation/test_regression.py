"""Losses that regress a student on targets: exact gradients, where training rests, and of which order its bias is."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffnum import Gaussian
from diffnum.distillation import (
    FeatureStudent,
    Pairs,
    RegressionTerms,
    consistency_distillation,
    consistency_training,
    continuous_consistency,
    exact_batch,
    feature_student,
    flow_map,
    mean_flow,
    progressive_distillation,
    resting_point,
    shortcut,
    trained_gains,
)
from diffnum.problems import gaussian_example, three_peaks
from diffnum.schedules import EDM, FlowMatching, VPLinear

LINE, SCHEDULE = three_peaks(), FlowMatching()
PAIRS = exact_batch(LINE, spacing=0.35)
FLOW = flow_map(LINE, SCHEDULE)
STUDENT = feature_student(units=5)
LEVELS = [(0.9, 0.5), (0.6, 0.2)]
LOSSES: dict[str, Any] = {
    "progressive": progressive_distillation(LINE.denoiser(SCHEDULE), LEVELS),
    "consistency distillation": consistency_distillation(FLOW, LEVELS),
    "consistency training": consistency_training(SCHEDULE, LEVELS, weight=lambda t, s: 1.0 / (t - s)),
    "continuous": continuous_consistency(SCHEDULE, [0.3, 0.8]),
    "mean flow": mean_flow(SCHEDULE, LEVELS),
    "shortcut": shortcut(SCHEDULE, LEVELS, [0.4]),
}


def drawn(n: int, dim: int, seed: int = 0) -> Pairs:
    rng = np.random.default_rng(seed)
    problem = Gaussian(np.full(dim, 0.3), np.linspace(0.3, 0.9, dim))
    return Pairs(problem.sample(n, seed), rng.standard_normal((n, dim)), np.full(n, 1.0 / n))


def derivative(value: Callable[[np.ndarray], float], theta: np.ndarray) -> np.ndarray:
    step, out = 1e-4, np.empty(theta.size)
    for i, e in enumerate(np.eye(theta.size)):
        f = [value((theta.ravel() + k * step * e).reshape(theta.shape)) for k in (1, -1, 2, -2)]
        out[i] = (8.0 * (f[0] - f[1]) - (f[2] - f[3])) / (12.0 * step)
    return out.reshape(theta.shape)


def held(loss: Any, student: FeatureStudent, pairs: Pairs, theta: np.ndarray) -> float:
    """Value with the outputs of one student and the targets of another."""
    targets = loss.terms(student, pairs)
    outputs = targets.basis @ (theta - student.coefficients) + targets.outputs
    return RegressionTerms(outputs, targets.targets, targets.weights, targets.basis, targets.pull).value


TAUGHT = ("progressive", "consistency distillation")  # by a teacher of one dimension


@pytest.mark.parametrize(
    ("name", "dim"), [(name, d) for name in LOSSES for d in (1, 2) if d == 1 or name not in TAUGHT]
)
def test_gradients_are_derivatives_of_the_value_with_and_without_the_stop(name: str, dim: int) -> None:
    loss, student = LOSSES[name], feature_student(dim, units=4, seed=1)
    pairs = drawn(60, dim)
    found = loss.terms(student, pairs)
    size = max(1.0, np.abs(found.gradient_through).max())
    stopped = derivative(lambda theta: held(loss, student, pairs, theta), student.coefficients)
    assert np.abs(found.gradient - stopped).max() <= 1e-8 * size
    through = derivative(lambda theta: loss.terms(student.replace(theta), pairs).value, student.coefficients)
    assert np.abs(found.gradient_through - through).max() <= 1e-8 * size


@pytest.mark.parametrize("name", ["consistency distillation", "consistency training", "continuous", "mean flow"])
def test_the_stop_gradient_matters(name: str) -> None:
    found = LOSSES[name].terms(STUDENT, PAIRS)
    assert np.abs(found.gradient - found.gradient_through).max() > 1e-2


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_training_rests_where_the_gradient_vanishes(name: str) -> None:
    pairs = exact_batch(LINE, spacing=0.6)
    rest = resting_point(LOSSES[name], STUDENT, pairs)
    assert np.abs(LOSSES[name].terms(rest, pairs).gradient).max() <= 1e-8


# ---------------------------------------------------------------- progressive distillation


def test_an_affine_student_of_a_gaussian_learns_the_teacher_without_loss() -> None:
    data = Gaussian([0.4], 0.5)
    loss = progressive_distillation(data.denoiser(SCHEDULE), [(0.9, 0.5)])
    affine = FeatureStudent(np.zeros((1, 4)), np.zeros((3, 1)))
    pairs = exact_batch(data, spacing=0.35)
    rest = resting_point(loss, affine, pairs)
    assert loss.terms(rest, pairs).value <= 1e-20


@pytest.mark.parametrize("schedule", [FlowMatching(), VPLinear()], ids=["flow", "vp-linear"])
def test_the_student_inherits_the_first_order_of_ddim(schedule: Any) -> None:
    """One student step for n of the teacher: its target tends to that of the exact flow as 1/n."""
    flow, teacher = flow_map(LINE, schedule), LINE.denoiser(schedule)
    x = LINE.at(schedule, 0.8).sample(40, 0)
    gaps = []
    for n in (8, 16, 32, 64):
        loss = progressive_distillation(teacher, [(0.8, 0.3)], substeps=n)
        gaps.append(np.abs(loss.target(x, 0.8, 0.3) - flow.progressive(x, 0.8, 0.3)).max())
    rates = np.log2(np.array(gaps[:-1]) / gaps[1:])
    assert rates[-1] == pytest.approx(1.0, abs=0.06)
    assert np.all(np.diff(np.abs(rates - 1.0)) < 0.0)


# ---------------------------------------------------------------- consistency


@pytest.mark.parametrize(("by", "order"), [("training", 1), ("euler", 1), ("heun", 2)])
@pytest.mark.parametrize("schedule", [FlowMatching(), EDM(), VPLinear()], ids=["flow", "edm", "vp-linear"])
def test_the_bias_of_discrete_consistency_has_the_order_of_its_step(by: str, order: int, schedule: Any) -> None:
    data = gaussian_example(3)
    first, last = (2.0, 0.05) if schedule.name == "edm" else (0.9, 0.05)
    gaps = []
    for n in (64, 128, 256):
        times = np.linspace(first, last, n + 1)
        exact = trained_gains(data, schedule, times, "exact")
        gaps.append(np.abs(trained_gains(data, schedule, times, by) / exact - 1.0).max())
    assert np.log2(gaps[1] / gaps[2]) == pytest.approx(order, abs=0.1)


def test_the_chain_of_exact_steps_is_the_flow() -> None:
    data, times = gaussian_example(3), np.linspace(0.9, 0.1, 9)
    deviations = [np.sqrt((1 - t) ** 2 * data.eigenvalues + t**2) for t in (0.9, 0.1)]
    assert trained_gains(data, SCHEDULE, times, "exact") == pytest.approx(deviations[1] / deviations[0], rel=1e-13)


@pytest.mark.parametrize("by", ["training", "euler", "heun"])
def test_resting_points_have_the_predicted_slope(by: str) -> None:
    """One step to the end, an affine student, Gaussian data: the whole machinery against the closed form."""
    data = Gaussian([0.4], 0.5)
    flow, pairs = flow_map(data, SCHEDULE), exact_batch(data, spacing=0.35)
    level = [(0.9, 0.5)]
    make = {"training": lambda: consistency_training(SCHEDULE, level, end=0.5)}
    loss = make.get(by, lambda: consistency_distillation(flow, level, solver=by, end=0.5))()
    affine = FeatureStudent(np.zeros((1, 4)), np.zeros((3, 1)))
    rest = resting_point(loss, affine, pairs)
    slope = 1.0 - (0.9 - 0.5) * float(rest.coefficients[1, 0])
    assert slope == pytest.approx(float(trained_gains(data, SCHEDULE, [0.9, 0.5], by)[0]), rel=1e-9)


def test_training_and_distillation_differ_by_the_variance_of_the_neighbour() -> None:
    """Their gradients differ in the second order of the step, their residuals in the first."""
    gaps = []
    for h in (0.04, 0.02, 0.01):
        level = [(0.6, 0.6 - h)]
        training = consistency_training(SCHEDULE, level).terms(STUDENT, PAIRS).gradient
        euler = consistency_distillation(FLOW, level, solver="euler").terms(STUDENT, PAIRS).gradient
        gaps.append(np.abs(training - euler).max())
    assert np.log2(gaps[1] / gaps[2]) == pytest.approx(2.0, abs=0.1)


def test_the_continuous_gradient_is_the_limit_of_the_discrete_one() -> None:
    limit = continuous_consistency(SCHEDULE, [0.6], flow=FLOW).terms(STUDENT, PAIRS).gradient
    gaps = []
    for h in (0.02, 0.01):
        loss = consistency_training(SCHEDULE, [(0.6, 0.6 - h)], weight=lambda t, s: 1.0 / (t - s))
        gaps.append(np.abs(loss.terms(STUDENT, PAIRS).gradient - limit).max())
    assert np.log2(gaps[0] / gaps[1]) == pytest.approx(1.0, abs=0.1)


def test_the_conditional_velocity_gives_the_gradient_of_the_exact_one_and_a_larger_value() -> None:
    fine = exact_batch(LINE)
    for make in (
        lambda flow: continuous_consistency(SCHEDULE, [0.3, 0.7], flow=flow),
        lambda flow: mean_flow(SCHEDULE, LEVELS, flow=flow),
    ):
        exact, conditional = (make(flow).terms(STUDENT, fine) for flow in (FLOW, None))
        assert np.abs(exact.gradient - conditional.gradient).max() <= 1e-10
        assert conditional.value > exact.value + 0.1


def test_mean_flow_to_the_end_is_continuous_consistency() -> None:
    t = 0.7
    continuous = continuous_consistency(SCHEDULE, [t]).terms(STUDENT, PAIRS).gradient
    mean = mean_flow(SCHEDULE, [(t, 0.0)]).terms(STUDENT, PAIRS).gradient
    assert np.abs(continuous - t * mean).max() <= 1e-12 * max(1.0, np.abs(continuous).max())


# ---------------------------------------------------------------- the exact average velocity solves them all


class Exact:
    """The exact average velocity in the place of a student: no coefficients, derivatives in closed form."""

    coefficients = np.ones((1, 1))

    def basis(self, x: np.ndarray, t: float, s: float = 0.0) -> np.ndarray:
        return np.asarray(FLOW.average_velocity(x, s, t))

    def tangent(self, x: np.ndarray, t: float, s: float, dx: np.ndarray, dt: float = 0.0, ds: float = 0.0) -> Any:
        found = FLOW.average_derivatives(x, s, t)
        return np.einsum("nij,nj->ni", found.space, dx) + dt * found.late + ds * found.early

    def jacobian(self, x: np.ndarray, t: float, s: float = 0.0) -> np.ndarray:
        return FLOW.average_derivatives(x, s, t).space


@pytest.mark.parametrize(
    "loss",
    [
        consistency_distillation(FLOW, LEVELS, solver="exact"),
        continuous_consistency(SCHEDULE, [0.3, 0.8], flow=FLOW),
        mean_flow(SCHEDULE, LEVELS, flow=FLOW),
        shortcut(SCHEDULE, LEVELS),
    ],
    ids=["consistency", "continuous", "mean flow", "shortcut"],
)
def test_the_exact_average_velocity_has_loss_zero(loss: Any) -> None:
    pairs = exact_batch(LINE, spacing=1.0)
    found = loss.terms(Exact(), pairs)
    assert np.sqrt(found.value) <= 1e-10


def test_the_shortcut_identity_alone_is_solved_by_zero_too() -> None:
    nothing = STUDENT.replace(np.zeros_like(STUDENT.coefficients))
    assert shortcut(SCHEDULE, LEVELS).terms(nothing, PAIRS).value == 0.0
    assert shortcut(SCHEDULE, LEVELS, [0.5]).terms(nothing, PAIRS).value > 0.1


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_travel_to_other_processes(name: str) -> None:
    loss = LOSSES[name]
    if name == "consistency training":
        loss = consistency_training(SCHEDULE, LEVELS)  # whoever passes a lambda as a weight stays at home
    back = pickle.loads(pickle.dumps(loss))
    assert np.array_equal(back.terms(STUDENT, drawn(20, 1)).gradient, loss.terms(STUDENT, drawn(20, 1)).gradient)


# ---------------------------------------------------------------- refusals


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"levels has \(t, r\) = \(0.2, 0.5\) out of order: use r below t"):
        mean_flow(SCHEDULE, [(0.2, 0.5)])
    with pytest.raises(ValueError, match=r"levels has shape \(2,\)"):
        consistency_training(SCHEDULE, [0.2, 0.5])
    with pytest.raises(ValueError, match="solver='rk4' is not known"):
        consistency_distillation(FLOW, LEVELS, solver="rk4")
    with pytest.raises(ValueError, match="teacher predicts 'noise'"):
        progressive_distillation(LINE.denoiser(SCHEDULE, "noise"), LEVELS)
    with pytest.raises(ValueError, match="substeps=0"):
        progressive_distillation(LINE.denoiser(SCHEDULE), LEVELS, substeps=0)
    with pytest.raises(ValueError, match="by='rk4' is not known"):
        trained_gains(gaussian_example(2), SCHEDULE, [0.9, 0.5], "rk4")
    with pytest.raises(ValueError, match="dim=0 and units=3"):
        feature_student(0, 3)
    with pytest.raises(ValueError, match=r"coefficients has shape \(2, 1\): use \(7, 1\)"):
        FeatureStudent(STUDENT.inner, np.zeros((2, 1)))

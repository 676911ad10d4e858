"""The bench for training losses: right losses pass, every planted slip is named, in torch and in numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.distillation import (
    Pairs,
    consistency_distillation,
    consistency_training,
    continuous_consistency,
    flow_map,
    mean_flow,
    progressive_distillation,
    shortcut,
)
from diffnum.problems import three_peaks
from diffnum.schedules import FlowMatching
from diffnum.testing.targets import assert_target, check
from diffnum.testing.variants import TARGETS, TrainingBatch, training_batch
from tests.optional import optional

torch = optional("torch")

SCHEDULE = FlowMatching()


def replayed(name: str, slip: str | None) -> Callable[..., Any]:
    """A user's loss in numpy that has one slip."""
    target, batch = TARGETS[name], training_batch()
    found = target.right(batch) if slip is None else target.slips[slip](batch)
    return lambda *_: (found.value, found.gradient)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_right_losses_pass(name: str) -> None:
    report = check(replayed(name, None), name)
    assert report.ok
    assert f"{name}: ok" in str(report)


@pytest.mark.parametrize(("name", "slip"), [(n, s) for n, t in TARGETS.items() for s in t.slips])
def test_every_slip_is_found_and_named(name: str, slip: str) -> None:
    report = check(replayed(name, slip), name)
    assert not report.ok
    assert report.cause == slip


@pytest.mark.parametrize("name", [n for n, t in TARGETS.items() if t.stepped is not None])
@pytest.mark.parametrize("step", [1e-2, -3e-3, 1e-4])
def test_a_finite_difference_in_the_place_of_the_derivative_is_found_with_its_step(name: str, step: float) -> None:
    stepped = TARGETS[name].stepped
    assert stepped is not None
    found = stepped(training_batch(), step)
    report = check(lambda *_: (found.value, found.gradient), name)
    assert "finite difference of first order" in report.cause
    assert float(report.cause.split()[-1]) == pytest.approx(step, rel=0.05)


def test_a_factor_is_found_and_an_unknown_error_is_called_unknown() -> None:
    right = TARGETS["mean_flow"].right(training_batch())
    report = check(lambda *_: (0.5 * right.value, 0.5 * right.gradient), "mean_flow")
    assert "right up to a factor 0.5" in report.cause
    noise = np.random.default_rng(0).standard_normal(right.gradient.shape)
    report = check(lambda *_: (right.value + 1.0, right.gradient + noise), "mean_flow")
    assert not report.ok
    assert report.cause == ""
    assert "no slip" in str(report)


def test_the_bench_notices_a_gradient_without_its_value() -> None:
    right = TARGETS["mean_flow"].right(training_batch())
    report = check(lambda *_: (right.value + 0.1, right.gradient), "mean_flow")
    assert not report.ok
    assert "value is that of another loss" in report.cause


# ---------------------------------------------------------------- two roads to the right numbers


def equal_times(t: float, s: float) -> TrainingBatch:
    b = training_batch()
    n = len(b.x0)
    return TrainingBatch(b.x0, b.eps, np.full(n, t), np.full(n, s), np.full(n, 1.7), b.student)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("mean_flow", lambda t, s, _: mean_flow(SCHEDULE, [(t, s)])),
        ("consistency_training", lambda t, s, w: consistency_training(SCHEDULE, [(t, s)], weight=lambda *_: w)),
        (
            "consistency_distillation",
            lambda t, s, w: consistency_distillation(
                flow_map(three_peaks(), SCHEDULE), [(t, s)], solver="euler", weight=lambda *_: w
            ),
        ),
        ("continuous_consistency", lambda t, s, _: continuous_consistency(SCHEDULE, [t])),
        (
            "progressive",
            lambda t, s, w: progressive_distillation(three_peaks().denoiser(SCHEDULE), [(t, s)], weight=lambda *_: w),
        ),
        ("shortcut", lambda t, s, _: shortcut(SCHEDULE, [(t, s)])),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_the_bench_agrees_with_the_losses_of_the_package(name: str, make: Any) -> None:
    batch = equal_times(0.8, 0.3)
    pairs = Pairs(batch.x0, batch.eps, np.full(len(batch.x0), 1.0 / len(batch.x0)))
    # The network of progressive distillation is not told of s there.
    student = batch.student
    if name == "progressive":
        inner = student.inner.copy()
        inner[:, 2] = 0.0
        student = type(student)(inner, student.coefficients)
        batch = TrainingBatch(batch.x0, batch.eps, batch.late, batch.early, batch.weight, student)
    terms, right = make(0.8, 0.3, 1.7).terms(student, pairs), TARGETS[name].right(batch)
    assert right.gradient == pytest.approx(terms.gradient, rel=1e-12, abs=1e-12)
    assert right.value == pytest.approx(terms.value, rel=1e-12)


# ---------------------------------------------------------------- losses as users write them


def torch_mean_flow(student: Any, x0: Any, eps: Any, r: Any, t: Any, *, held: bool = True) -> Any:
    x, v = (1 - t) * x0 + t * eps, eps - x0
    u, rate = torch.func.jvp(student, (x, t, r), (v, torch.ones_like(t), torch.zeros_like(r)))
    goal = v - (t - r) * rate
    return ((u - (goal.detach() if held else goal)) ** 2).mean()


def torch_consistency(student: Any, x0: Any, eps: Any, t: Any, s: Any, weight: Any, *, at: str = "s") -> Any:
    near = (1 - s) * x0 + s * eps
    goal = student(near, {"s": s, "t": t}[at]).detach()
    return (weight * (student((1 - t) * x0 + t * eps, t) - goal) ** 2).mean()


def torch_progressive(student: Any, teacher: Any, x: Any, t: Any, s: Any, weight: Any) -> Any:
    with torch.no_grad():
        y, nodes = x, (t, 0.5 * (t + s), s)
        for here, there in zip(nodes[:-1], nodes[1:], strict=True):
            data = teacher(y, here[:, 0])
            noise = (y - (1 - here) * data) / here
            y = (1 - there) * data + there * noise
        goal = (y - s / t * x) / ((1 - s) - s / t * (1 - t))
    return (weight * (student(x, t) - goal) ** 2).mean()


def torch_shortcut(student: Any, x: Any, t: Any, r: Any) -> Any:
    with torch.no_grad():
        m = 0.5 * (t + r)
        first = student(x, t, m)
        goal = 0.5 * (first + student(x - (t - m) * first, m, r))
    return ((student(x, t, r) - goal) ** 2).mean()


def torch_matching(sample: Any, real: Any, fake: Any, eps: Any, t: Any, *, divided: bool = False) -> Any:
    with torch.no_grad():
        x = (1 - t) * sample + t * eps
        pull = fake(x, t[:, 0]) - real(x, t[:, 0])
        if divided:
            pull = pull / (sample - real(x, t[:, 0])).abs().mean(dim=1, keepdim=True)
    return 0.5 * ((sample - (sample - pull).detach()) ** 2).mean()


def torch_score(sample: Any, model: Any, eps: Any, t: Any, weight: Any) -> Any:
    with torch.no_grad():
        pull = weight * (model((1 - t) * sample + t * eps, t[:, 0]) - eps)
    return (pull * sample).mean()


@pytest.mark.needs("torch")
def test_losses_written_in_torch_pass() -> None:
    for loss, name in (
        (torch_mean_flow, "mean_flow"),
        (torch_consistency, "consistency_training"),
        (torch_progressive, "progressive"),
        (torch_shortcut, "shortcut"),
        (torch_matching, "distribution_matching"),
        (torch_score, "score_distillation"),
    ):
        assert_target(loss, name, xp=torch)


@pytest.mark.needs("torch")
def test_slips_of_losses_written_in_torch_are_named() -> None:
    report = check(lambda *a: torch_mean_flow(*a, held=False), "mean_flow", xp=torch)
    assert report.cause == "the stop-gradient on the target is missing"
    report = check(lambda *a: torch_consistency(*a, at="t"), "consistency_training", xp=torch)
    assert report.cause == "the target is conditioned on t instead of s"
    report = check(lambda *a: torch_matching(*a, divided=True), "distribution_matching", xp=torch)
    assert report.cause == "each sample is divided by |x - D_real|, as DMD2's code does"
    report = check(lambda *a: 2.0 * torch_shortcut(*a), "shortcut", xp=torch)
    assert "right up to a factor 2" in report.cause
    with pytest.raises(AssertionError, match=r"mean_flow: WRONG .* the stop-gradient on the target is missing"):
        assert_target(lambda *a: torch_mean_flow(*a, held=False), "mean_flow", xp=torch)


# ---------------------------------------------------------------- slips planted from outside, as users make them


def planted_mean_flow(slip: str) -> Callable[..., Any]:
    def loss(student: Any, x0: Any, eps: Any, r: Any, t: Any) -> Any:
        x = (1 - t) * x0 + t * eps
        v = x0 - eps if slip == "velocity" else eps - x0
        w = student(x, t, t).detach() if slip == "tangent" else v
        u, rate = torch.func.jvp(student, (x, t, r), (w, torch.ones_like(t), torch.zeros_like(r)))
        goal = v - {"no span": 1.0, "span of t": t}.get(slip, t - r) * rate
        if slip == "side":
            return ((u.detach() - goal) ** 2).mean()
        return (u - goal.detach()).abs().mean() if slip == "absolute" else ((u - goal.detach()) ** 2).mean()

    return loss


def planted_consistency(slip: str) -> Callable[..., Any]:
    def loss(student: Any, x0: Any, eps: Any, t: Any, s: Any, weight: Any) -> Any:
        near = (1 - s) * x0 + s * (torch.randn_like(eps) if slip == "own noise" else eps)
        here, there = student((1 - t) * x0 + t * eps, t), student(near, s).detach()
        if slip == "rounded":
            here = here.round()
        square = weight * (here - there) ** 2
        return square.sum() / weight.sum() if slip == "normalised" else square.mean()

    return loss


def planted_shortcut(slip: str) -> Callable[..., Any]:
    def loss(student: Any, x: Any, t: Any, r: Any) -> Any:
        with torch.no_grad():
            m = 0.5 * (t + r)
            first = student(x, t, m)
            second = student(x + (t - m) * first if slip == "away" else x - (t - m) * first, m, r)
            goal = {"sum": first + second, "second": second}.get(slip, 0.5 * (first + second))
        return ((student(x, t, r) - goal) ** 2).mean()

    return loss


def planted_score(slip: str) -> Callable[..., Any]:
    def loss(sample: Any, model: Any, eps: Any, t: Any, weight: Any) -> Any:
        with torch.no_grad():
            pull = weight * (model((1 - t) * sample + t * eps, t[:, 0]) - eps)
            pull = pull * {"alpha": 1 - t, "squared": weight}[slip]
        return (pull * sample).mean()

    return loss


def planted_matching(slip: str) -> Callable[..., Any]:
    def loss(sample: Any, real: Any, fake: Any, eps: Any, t: Any) -> Any:
        with torch.no_grad():
            x = (1 - t) * sample + t * eps
            pull = (sample if slip == "no critic" else fake(x, t[:, 0])) - real(x, t[:, 0])
            pull = pull * ((1 - t) / t if slip == "noise" else 1.0)
        return (pull * sample).mean()

    return loss


PLANTED = [
    ("mean_flow", planted_mean_flow, "velocity", "x_0 - eps"),
    ("mean_flow", planted_mean_flow, "tangent", "student's own velocity"),
    ("mean_flow", planted_mean_flow, "no span", "factor t - r"),
    ("mean_flow", planted_mean_flow, "span of t", "multiplied by t instead"),
    ("mean_flow", planted_mean_flow, "absolute", "absolute value"),
    ("mean_flow", planted_mean_flow, "side", "holds the student instead of the target"),
    ("consistency_training", planted_consistency, "own noise", "draws noise or times of its own"),
    ("consistency_training", planted_consistency, "normalised", "divided by their sum"),
    ("consistency_training", planted_consistency, "rounded", "something without a derivative"),
    ("shortcut", planted_shortcut, "away", "wrong way"),
    ("shortcut", planted_shortcut, "sum", "sum of the halves"),
    ("shortcut", planted_shortcut, "second", "second half alone"),
    ("score_distillation", planted_score, "alpha", "factor alpha"),
    ("score_distillation", planted_score, "squared", "weight is squared"),
    ("distribution_matching", planted_matching, "noise", "difference is of noises"),
    ("distribution_matching", planted_matching, "no critic", "score distillation"),
]


@pytest.mark.needs("torch")
@pytest.mark.parametrize(("name", "plant", "slip", "said"), PLANTED, ids=[f"{n}-{s}" for n, _, s, _ in PLANTED])
def test_slips_that_users_plant_are_named(name: str, plant: Any, slip: str, said: str) -> None:
    report = check(plant(slip), name, xp=torch)
    assert not report.ok
    assert said in report.cause


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("mean_flow", planted_mean_flow),
        ("consistency_training", planted_consistency),
        ("shortcut", planted_shortcut),
        ("distribution_matching", planted_matching),
    ],
)
def test_without_a_slip_the_same_losses_pass(name: str, plant: Any) -> None:
    assert check(plant(""), name, xp=torch).ok


# ---------------------------------------------------------------- refusals


def test_bad_losses_are_refused() -> None:
    with pytest.raises(ValueError, match="target='meanflow' is not known: use one of 'mean_flow'"):
        check(lambda *_: (0.0, 0.0), "meanflow")
    with pytest.raises(TypeError, match=r"the loss returned float: return the pair"):
        check(lambda *_: 0.0, "mean_flow")
    with pytest.raises(ValueError, match=r"the gradient has shape \(3,\): return one of shape \(8, 1\)"):
        check(lambda *_: (0.0, np.zeros(3)), "mean_flow")
    with pytest.raises(ValueError, match="not finite: look for divisions by t - r"):
        check(lambda *_: (np.nan, np.zeros((8, 1))), "mean_flow")


@pytest.mark.needs("torch")
def test_losses_that_nothing_can_be_trained_with_are_refused() -> None:
    with pytest.raises(ValueError, match="the loss does not depend on the student"):
        check(lambda student, x0, *_: (x0**2).mean(), "mean_flow", xp=torch)
    with pytest.raises(TypeError, match=r"the loss returned Tensor of shape \(48, 1\)"):
        check(lambda student, x0, eps, r, t: student(x0, t, r), "mean_flow", xp=torch)
    with pytest.raises(TypeError, match="the loss returned float"):
        check(lambda *_: 0.0, "mean_flow", xp=torch)
    with pytest.raises(ValueError, match="use the student that is passed, not a copy"):
        check(lambda *_: torch.ones((), requires_grad=True), "mean_flow", xp=torch)


def test_the_bench_is_reached_from_the_package() -> None:
    assert dn.testing.targets.check is check

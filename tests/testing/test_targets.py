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


# ---------------------------------------------------------------- right losses, as others parametrise them


def mean_flow_by_backward_twice(student: Any, x0: Any, eps: Any, r: Any, t: Any) -> Any:
    """Without forward mode: the derivative of a vector-Jacobian product with respect to its vector."""
    x, at, v = ((1 - t) * x0 + t * eps).requires_grad_(), t.clone().requires_grad_(), eps - x0
    u = student(x, at, r)
    ones = torch.zeros_like(u, requires_grad=True)
    by_x, by_t = torch.autograd.grad(u, (x, at), ones, create_graph=True)
    rate = torch.autograd.grad((by_x * v).sum() + by_t.sum(), ones)[0]
    return torch.nn.functional.mse_loss(student(x.detach(), t, r), (v - (t - r) * rate).detach())


def consistency_in_sigma(student: Any, x0: Any, eps: Any, t: Any, s: Any, weight: Any) -> Any:
    """EDM's variables: y = x / alpha, sigma = t / (1 - t)."""
    late, early = t / (1 - t), s / (1 - s)

    def image(y: Any, sigma: Any) -> Any:
        return student(y / (1 + sigma), sigma / (1 + sigma))

    goal = image(x0 + early * eps, early).detach()
    return (weight * (image(x0 + late * eps, late) - goal) ** 2).mean()


def distillation_in_sigma(student: Any, velocity: Any, x: Any, t: Any, s: Any, weight: Any) -> Any:
    """Euler in EDM's variables is DDIM, as Euler in those of flow matching is."""
    with torch.no_grad():
        data, y = x - t * velocity(x, t[:, 0]), x / (1 - t)
        late, early = t / (1 - t), s / (1 - s)
        goal = student((1 - s) * (y + (early - late) * (y - data) / late), s)
    return (weight * (student(x, t) - goal) ** 2).mean()


def distillation_by_ddim(student: Any, velocity: Any, x: Any, t: Any, s: Any, weight: Any) -> Any:
    with torch.no_grad():
        v = velocity(x, t[:, 0])
        goal = student((1 - s) * (x - t * v) + s * (x + (1 - t) * v), s)
    return torch.mean(weight * torch.square(goal - student(x, t)))


def progressive_in_log_snr(student: Any, teacher: Any, x: Any, t: Any, s: Any, weight: Any) -> Any:
    """VP codes write a step with exponentials of half log-SNR."""

    def half(at: Any) -> Any:
        return torch.log((1 - at) / at)

    def step(y: Any, here: Any, there: Any) -> Any:
        return there / here * y - (1 - there) * torch.expm1(half(here) - half(there)) * teacher(y, here[:, 0])

    with torch.no_grad():
        m = 0.5 * (t + s)
        goal = (s / t * x - step(step(x, t, m), m, s)) / ((1 - s) * torch.expm1(half(t) - half(s)))
    return (weight * (student(x, t) - goal) ** 2).mean()


def continuous_as_a_product(student: Any, x0: Any, eps: Any, t: Any) -> Any:
    out, rate = torch.func.jvp(student, ((1 - t) * x0 + t * eps, t), (eps - x0, torch.ones_like(t)))
    return (2 * out * rate.detach()).mean()


def shortcut_by_where_it_lands(student: Any, x: Any, t: Any, r: Any) -> Any:
    m = 0.5 * (t + r)
    with torch.no_grad():
        middle = x - (t - m) * student(x, t, m)
        goal = (x - (middle - (m - r) * student(middle, m, r))) / (t - r)
    return torch.nn.functional.mse_loss(student(x, t, r), goal)


def matching_by_scores(sample: Any, real: Any, fake: Any, eps: Any, t: Any) -> Any:
    x = ((1 - t) * sample + t * eps).detach()
    scores = [((1 - t) * model(x, t[:, 0]) - x) / t**2 for model in (fake, real)]
    return ((scores[0] - scores[1]) * t**2 / (1 - t) * sample).mean()


def score_as_a_reconstruction(sample: Any, model: Any, eps: Any, t: Any, weight: Any) -> Any:
    pull = weight * (model(((1 - t) * sample + t * eps).detach(), t[:, 0]) - eps)
    return 0.5 * torch.nn.functional.mse_loss(sample, (sample - pull).detach())


ELSEWHERE = [
    ("mean_flow", mean_flow_by_backward_twice),
    ("consistency_training", consistency_in_sigma),
    ("consistency_distillation", distillation_in_sigma),
    ("consistency_distillation", distillation_by_ddim),
    ("progressive", progressive_in_log_snr),
    ("continuous_consistency", continuous_as_a_product),
    ("shortcut", shortcut_by_where_it_lands),
    ("distribution_matching", matching_by_scores),
    ("score_distillation", score_as_a_reconstruction),
]


@pytest.mark.needs("torch")
@pytest.mark.parametrize(("name", "loss"), ELSEWHERE, ids=[loss.__name__ for _, loss in ELSEWHERE])
def test_right_losses_pass_in_every_parametrisation(name: str, loss: Any) -> None:
    assert_target(loss, name, xp=torch)


def numpy_mean_flow(student: Any, x0: Any, eps: Any, r: Any, t: Any) -> tuple[float, np.ndarray]:
    x, v = (1 - t) * x0 + t * eps, eps - x0
    basis, rate = student.basis(x, t, r), student.tangent(x, t, r, v, 1.0) @ student.coefficients
    gap = basis @ student.coefficients - (v - (t - r) * rate)
    return float(np.mean(gap**2)), 2.0 * basis.T @ gap / len(gap)


def numpy_consistency(student: Any, x0: Any, eps: Any, t: Any, s: Any, weight: Any) -> tuple[float, np.ndarray]:
    x = (1 - t) * x0 + t * eps
    gap = student(x, t) - student((1 - s) * x0 + s * eps, s)
    return float(np.mean(weight * gap**2)), -2.0 * (t * student.student.basis(x, t)).T @ (weight * gap) / len(gap)


def numpy_matching(sample: Any, real: Any, fake: Any, eps: Any, t: Any) -> tuple[float, np.ndarray]:
    x = (1 - t) * sample + t * eps
    return 0.0, (fake(x, t[:, 0]) - real(x, t[:, 0])) / len(x)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("mean_flow", numpy_mean_flow),
        ("consistency_training", numpy_consistency),
        ("distribution_matching", numpy_matching),
    ],
)
def test_right_losses_in_numpy_pass(name: str, loss: Any) -> None:
    assert_target(loss, name)


# ---------------------------------------------------------------- slips planted from outside, as users make them


def planted_mean_flow(slip: str) -> Callable[..., Any]:
    def loss(student: Any, x0: Any, eps: Any, r: Any, t: Any) -> Any:
        x = (1 - t) * x0 + t * eps
        v = x0 - eps if slip == "velocity" else eps - x0
        w = student(x, t, t).detach() if slip == "tangent" else v
        u, rate = torch.func.jvp(student, (x, t, r), (w, torch.ones_like(t), torch.zeros_like(r)))
        if slip == "length":
            u, rate = torch.func.jvp(student, (x, t, t - r), (v, torch.ones_like(t), torch.zeros_like(r)))
        if slip == "central":
            rate = (student(x + 0.05 * v, t + 0.05, r) - student(x - 0.05 * v, t - 0.05, r)) / 0.1
        goal = v - {"no span": 1.0, "span of t": t, "nothing": 0.0}.get(slip, t - r) * rate
        if slip == "pseudo-Huber":
            return (((u - goal.detach()) ** 2 + 0.03**2).sqrt() - 0.03).mean()
        if slip == "smooth":
            return torch.nn.functional.smooth_l1_loss(u, goal.detach(), beta=0.5)
        if slip == "adaptive":
            square = (u - goal.detach()) ** 2
            return (square / (square.detach() + 1e-3)).mean()
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
        if slip == "denoising":
            there = x0
        weight = {"snr": weight / t**2 * (1 - t) ** 2, "step": weight / (t - s), "spread": weight.T}.get(slip, weight)
        square = weight * (here - there) ** 2
        if slip == "root":
            return square.mean().sqrt()
        return square.sum() / weight.sum() if slip == "normalised" else square.mean()

    return loss


def planted_shortcut(slip: str) -> Callable[..., Any]:
    def loss(student: Any, x: Any, t: Any, r: Any) -> Any:
        with torch.no_grad():
            m = 0.5 * (t + r)
            first = student(x, t, m)
            there = {"away": x + (t - m) * first, "stays": x}.get(slip, x - (t - m) * first)
            second = student(there, m, r)
            goal = {"sum": first + second, "second": second}.get(slip, 0.5 * (first + second))
        return ((student(x, t, r) - goal) ** 2).mean()

    return loss


def planted_score(slip: str) -> Callable[..., Any]:
    def loss(sample: Any, model: Any, eps: Any, t: Any, weight: Any) -> Any:
        with torch.no_grad():
            pull = weight * (model((1 - t) * sample + t * eps, t[:, 0]) - eps)
            pull = pull * {"alpha": 1 - t, "squared": weight, "sigma": t**2}.get(slip, 1.0)
            if slip == "clipped":
                pull = weight * (pull / weight).clamp(-0.3, 0.3)
            if slip == "reversed time":
                pull = weight * (model((1 - t) * sample + t * eps, 1 - t[:, 0]) - eps)
        return (pull * sample).mean()

    return loss


def planted_matching(slip: str) -> Callable[..., Any]:
    def loss(sample: Any, real: Any, fake: Any, eps: Any, t: Any) -> Any:
        with torch.no_grad():
            x = (1 - t) * sample + t * eps
            pull = (sample if slip == "no critic" else fake(x, t[:, 0])) - real(x, t[:, 0])
            pull = pull * {"noise": (1 - t) / t, "scores": (1 - t) / t**2}.get(slip, 1.0)
            pull = pull / (sample - real(x, t[:, 0])).abs().clamp(min=1) if slip == "bounded" else pull
        return (pull * sample).mean()

    return loss


def planted_progressive(slip: str) -> Callable[..., Any]:
    def loss(student: Any, teacher: Any, x: Any, t: Any, s: Any, weight: Any) -> Any:
        if slip == "truncated":
            weight = weight * torch.clamp(((1 - t) / t) ** 2, min=1.0)
        if slip == "log-SNR":
            middle = torch.sigmoid(-0.5 * (torch.log((1 - t) / t) + torch.log((1 - s) / s)))
        else:
            middle = 0.5 * (t + s)
        with torch.no_grad():
            y = x
            for here, there in ((t, middle), (middle, s)):
                data = teacher(y, here[:, 0])
                y = (1 - there) * data + there * (y - (1 - here) * data) / here
            goal = (y - s / t * x) / ((1 - s) - s / t * (1 - t))
        return (weight * (student(x, t) - goal) ** 2).mean()

    return loss


PLANTED = [
    ("mean_flow", planted_mean_flow, "length", "told t - r in the place of r"),
    ("mean_flow", planted_mean_flow, "central", "second order (central), with a step of about 0.05"),
    ("mean_flow", planted_mean_flow, "nothing", "this is flow matching"),
    (
        "mean_flow",
        planted_mean_flow,
        "pseudo-Huber",
        "pseudo-Huber one, sqrt(e^2 + c^2) - c, instead",
    ),
    ("mean_flow", planted_mean_flow, "smooth", "with its corner at c (c about 0.5)"),
    ("mean_flow", planted_mean_flow, "adaptive", "an adaptive weight (c about 0.001)"),
    ("consistency_training", planted_consistency, "denoising", "the target is the datum"),
    ("consistency_training", planted_consistency, "snr", "weighed by alpha^2 sigma^-2 besides"),
    ("consistency_training", planted_consistency, "step", "weighed by (t - s)^-1 besides"),
    ("consistency_training", planted_consistency, "spread", "shapes (n,) and (n, 1) make (n, n)"),
    ("consistency_training", planted_consistency, "root", "the root of the sum of squares"),
    ("progressive", planted_progressive, "truncated", "weighed by max(SNR, 1) besides"),
    ("progressive", planted_progressive, "log-SNR", "the middle is that of log-SNR"),
    ("shortcut", planted_shortcut, "stays", "the second half starts where the first does"),
    ("score_distillation", planted_score, "sigma", "weighed by sigma^2 besides"),
    ("score_distillation", planted_score, "clipped", "it is clipped"),
    ("score_distillation", planted_score, "reversed time", "told 1 - t"),
    ("distribution_matching", planted_matching, "scores", "weighed by alpha sigma^-2 besides"),
    ("distribution_matching", planted_matching, "bounded", "it is clipped"),
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
        ("progressive", planted_progressive),
        ("score_distillation", planted_score),
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

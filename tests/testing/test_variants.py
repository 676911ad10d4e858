"""Slips that the bench names, planted from outside in torch; and right losses in unusual clothes, which pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from diffnum.testing.targets import check
from diffnum.testing.variants import TARGETS, training_batch
from tests.optional import optional

if TYPE_CHECKING:
    import torch
else:
    torch = optional("torch")

pytestmark = pytest.mark.needs("torch")


def mean_flow(slip: str) -> Callable[..., Any]:
    def loss(student: Any, x0: Any, eps: Any, r: Any, t: Any) -> Any:
        x, v = (1 - t) * x0 + t * eps, eps - x0
        if slip == "exchanged":
            x, v = t * x0 + (1 - t) * eps, x0 - eps
        if slip == "VP":
            x = torch.sqrt(1 - t**2) * x0 + t * eps
        u, rate = torch.func.jvp(student, (x, t, r), (v, torch.ones_like(t), torch.zeros_like(r)))
        if slip == "backward difference":
            rate = (student(x, t, r) - student(x - 1e-3 * v, t - 1e-3, r)) / 1e-3
        span = {"square of the span": (t - r) ** 2, "twice": 2 * (t - r)}.get(slip, t - r)
        goal = (v - span * rate).detach()
        u = student(x, r, t) if slip == "times of the output" else u
        if slip == "shapes":
            return ((u[:, 0] - goal) ** 2).mean()
        if slip == "logarithm":
            return torch.log1p((u - goal) ** 2).mean()
        if slip == "cosine":
            return (1 - torch.nn.functional.cosine_similarity(u, goal)).mean()
        return ((u - goal) ** 2 / {"over the span": t - r}.get(slip, 1.0)).mean()

    return loss


def consistency(slip: str) -> Callable[..., Any]:
    def loss(student: Any, x0: Any, eps: Any, t: Any, s: Any, weight: Any) -> Any:
        late, early = (1 - t) * x0 + t * eps, (1 - s) * x0 + s * eps
        if slip == "exchanged":
            late, early = (1 - t) * eps + t * x0, (1 - s) * eps + s * x0
        if slip == "states":
            late, early = early, late
        here, there = student(late, t), student(early, s).detach()
        there = there[:, 0] if slip == "shapes" else there
        weight = {"inverse": 1 / weight, "step": weight / (t - s) ** 2}.get(slip, weight)
        if slip == "weight in the square":
            return ((weight * (here - there)) ** 2).mean()
        return 2 * (weight * (here - there) ** 2).mean() if slip == "double" else (weight * (here - there) ** 2).mean()

    return loss


def distillation(slip: str) -> Callable[..., Any]:
    def loss(student: Any, velocity: Any, x: Any, t: Any, s: Any, weight: Any) -> Any:
        with torch.no_grad():
            middle, v = 0.5 * (t + s), velocity(x, t[:, 0])
            y = x + (s - t) * {"middle": velocity(x, middle[:, 0]), "half": 0.5 * v}.get(slip, v)
            if slip == "two":
                half = x + (middle - t) * v
                y = half + (s - middle) * velocity(half, middle[:, 0])
            goal = student(y, s)
        return (weight * (student(x, t) - goal) ** 2).mean()

    return loss


def continuous(slip: str) -> Callable[..., Any]:
    def loss(student: Any, x0: Any, eps: Any, t: Any) -> Any:
        f, rate = torch.func.jvp(student, ((1 - t) * x0 + t * eps, t), (eps - x0, torch.ones_like(t)))
        if slip == "no stop":
            return 2 * (f * rate).mean()
        if slip == "normalised":
            rate = rate / (rate.abs() + 0.1)
        return 2 * (f * rate.detach()).mean()

    return loss


def progressive(slip: str) -> Callable[..., Any]:
    def loss(student: Any, teacher: Any, x: Any, t: Any, s: Any, weight: Any) -> Any:
        def step(y: Any, data: Any, a: Any, b: Any) -> Any:
            return b / a * y + (1 - b - b / a * (1 - a)) * data

        with torch.no_grad():
            middle = 0.5 * (t + s)
            first = teacher(x, t[:, 0])
            half = step(x, first, t, middle)
            second = teacher(x if slip == "state" else half, middle[:, 0])
            goal = (step(half, second, middle, s) - s / t * x) / (1 - s - s / t * (1 - t))
            goal = 0.5 * (first + second) if slip == "mean" else goal
        weight = weight * (1 + ((1 - t) / t) ** 2) if slip == "SNR" else weight
        return (weight * (student(x, t) - goal) ** 2).mean()

    return loss


def shortcut(slip: str) -> Callable[..., Any]:
    def loss(student: Any, x: Any, t: Any, r: Any) -> Any:
        def call(x: Any, t: Any, r: Any) -> Any:
            return student(x, r, t) if slip == "order" else student(x, t, r)

        with torch.no_grad():
            middle = t - (t - r) / 3 if slip == "third" else 0.5 * (t + r)
            first = call(x, t, middle)
            goal = 0.5 * (first + call(x - (t - middle) * first, middle, r))
        return ((call(x, t, r) - goal) ** 2).mean()

    return loss


def matching(slip: str) -> Callable[..., Any]:
    def loss(sample: Any, real: Any, fake: Any, eps: Any, t: Any) -> Any:
        with torch.no_grad():
            x = (1 - t) * sample + t * eps
            pull = fake(sample if slip == "clean" else x, t[:, 0]) - real(x, t[:, 0])
        return (pull * sample).sum() if slip == "sum" else (pull * sample).mean()

    return loss


PLANTED = [
    ("mean_flow", mean_flow, "exchanged", "x_0 and eps are exchanged"),
    ("mean_flow", mean_flow, "VP", "the states are sqrt(1 - t^2) x_0 + t eps"),
    ("mean_flow", mean_flow, "backward difference", "of first order, with a step of about -0.001"),
    ("mean_flow", mean_flow, "square of the span", "multiplied by (t - r)^2"),
    ("mean_flow", mean_flow, "twice", "enters the target twice"),
    ("mean_flow", mean_flow, "times of the output", "exchanged in the output"),
    ("mean_flow", mean_flow, "shapes", "each output meets each target: shapes (n,) and (n, 1) make (n, n)"),
    ("mean_flow", mean_flow, "logarithm", "log(1 + e^2 / c^2) instead of the square (c about 1)"),
    ("mean_flow", mean_flow, "cosine", "blind to their size (cosine)"),
    ("mean_flow", mean_flow, "over the span", "weighed by (t - s)^-1 besides"),
    ("consistency_training", consistency, "exchanged", "x_0 and eps are exchanged"),
    ("consistency_training", consistency, "states", "with the other's time"),
    ("consistency_training", consistency, "inverse", "divides where it should multiply"),
    ("consistency_training", consistency, "step", "weighed by (t - s)^-2 besides"),
    ("consistency_training", consistency, "weight in the square", "the weight is squared"),
    ("consistency_training", consistency, "shapes", "targets of shape (n,) among columns make (n, n)"),
    ("consistency_training", consistency, "double", "up to a factor 2"),
    ("consistency_distillation", distillation, "middle", "the teacher is conditioned on the middle"),
    ("consistency_distillation", distillation, "half", "half of the way"),
    ("consistency_distillation", distillation, "two", "two steps instead of one"),
    ("continuous_consistency", continuous, "no stop", "missing in the product of output and derivative"),
    ("continuous_consistency", continuous, "normalised", "divided by |df/dt| + 0.1: a choice"),
    ("progressive", progressive, "state", "second prediction is at the first state"),
    ("progressive", progressive, "mean", "mean of the teacher's two predictions"),
    ("progressive", progressive, "SNR", "weighed by 1 + SNR besides"),
    ("shortcut", shortcut, "order", "exchanged in every call"),
    ("shortcut", shortcut, "third", "at a third of the way"),
    ("distribution_matching", matching, "clean", "the fake denoiser sees the clean sample"),
    ("distribution_matching", matching, "sum", "up to a factor 48"),
]


@pytest.mark.parametrize(("name", "plant", "slip", "said"), PLANTED, ids=[f"{n}-{s}" for n, _, s, _ in PLANTED])
def test_slips_are_named(name: str, plant: Any, slip: str, said: str) -> None:
    report = check(plant(slip), name, xp=torch)
    assert not report.ok
    assert said in report.cause
    assert check(plant(""), name, xp=torch).ok


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_slips_of_a_loss_differ_from_it_and_from_each_other(name: str) -> None:
    """Of another name, or of the same up to a factor: a slip that cannot be told apart would name two causes."""
    batch, target = training_batch(), TARGETS[name]
    found = {"": target.right(batch), **{slip: call(batch) for slip, call in target.slips.items()}}
    for one, a in found.items():
        for other, b in found.items():
            if one < other:
                gap = abs(a.value - b.value) + abs(a.gradient - b.gradient).max()
                assert gap > 1e-5, (one, other)


def by_rows(student: Any, x0: Any, eps: Any, r: Any, t: Any) -> Any:
    """A single pair through the network, the batch by vmap."""

    def one(x0: Any, eps: Any, r: Any, t: Any) -> Any:
        v = eps - x0
        call = lambda x, t: student(x[None], t[None], r[None])[0]  # noqa: E731
        u, rate = torch.func.jvp(call, ((1 - t) * x0 + t * eps, t), (v, torch.ones_like(t)))
        return ((u - (v - (t - r) * rate).detach()) ** 2).mean()

    return torch.func.vmap(one)(x0, eps, r, t).mean()


def by_dual_numbers(student: Any, x0: Any, eps: Any, r: Any, t: Any) -> Any:
    from torch.autograd import forward_ad

    x, v = torch.lerp(x0, eps, t), eps - x0
    with forward_ad.dual_level():
        dual = student(forward_ad.make_dual(x, v), forward_ad.make_dual(t, torch.ones_like(t)), r)
        u, rate = forward_ad.unpack_dual(dual)
    gap = u - (v - (t - r) * rate).detach()
    return torch.einsum("ni,ni->", gap, gap) / gap.numel()


def in_a_loop(student: Any, x0: Any, eps: Any, r: Any, t: Any) -> Any:
    rows = [mean_flow("")(student, *(a[i : i + 1] for a in (x0, eps, r, t))) for i in range(len(x0))]
    return torch.stack(rows).mean()


def at_once(student: Any, x0: Any, eps: Any, t: Any, s: Any, weight: Any) -> Any:
    """Both levels in one call of the network."""
    both = torch.cat([t, s])
    here, there = student((1 - both) * x0.repeat(2, 1) + both * eps.repeat(2, 1), both).chunk(2)
    return torch.nn.functional.mse_loss(weight.sqrt() * here, weight.sqrt() * there.detach())


def by_a_gradient_that_is_given(sample: Any, model: Any, eps: Any, t: Any, weight: Any) -> Any:
    """As threestudio and DreamFusion's followers write it."""

    class Given(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, gradient: Any) -> Any:
            ctx.save_for_backward(gradient)
            return torch.ones(1, dtype=x.dtype)

        @staticmethod
        def backward(ctx: Any, scale: Any) -> Any:
            return scale * ctx.saved_tensors[0], None

    with torch.no_grad():
        pull = weight * (model((1 - t) * sample + t * eps, t[:, 0]) - eps) / len(sample)
    return Given.apply(sample, pull)


def single(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The same in float32."""
    return lambda student, *given: loss(student, *(a.float() if isinstance(a, torch.Tensor) else a for a in given))


RIGHT: list[tuple[str, Callable[..., Any]]] = [
    ("mean_flow", by_rows),
    ("mean_flow", by_dual_numbers),
    ("mean_flow", in_a_loop),
    ("mean_flow", single(mean_flow(""))),
    ("consistency_training", at_once),
    ("consistency_training", single(consistency(""))),
    ("consistency_distillation", single(distillation(""))),
    ("progressive", single(progressive(""))),
    ("shortcut", single(shortcut(""))),
    ("score_distillation", by_a_gradient_that_is_given),
]


@pytest.mark.parametrize(("name", "loss"), RIGHT, ids=[f"{i}-{n}" for i, (n, _) in enumerate(RIGHT)])
def test_right_losses_pass_however_they_are_written(name: str, loss: Any) -> None:
    report = check(loss, name, xp=torch)
    assert report.ok, str(report)


def test_slips_are_found_in_single_precision_too_and_half_is_refused() -> None:
    report = check(single(mean_flow("twice")), "mean_flow", xp=torch)
    assert "enters the target twice" in report.cause
    with pytest.raises(ValueError, match=r"computed in torch.bfloat16, too coarse to judge it by: use float64"):
        check(lambda *given: mean_flow("")(*given).bfloat16(), "mean_flow", xp=torch)
    noisy = check(lambda *given: mean_flow("")(*given) * (1 + 3e-6), "mean_flow", xp=torch)
    assert "up to a factor 1" in noisy.cause

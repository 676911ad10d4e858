"""Gradients of runs of tensors are those that autograd finds by going through the loop itself."""

from __future__ import annotations

from typing import Any

import pytest

import diffnum as dn
from tests.optional import optional

torch = optional("torch")

SCHEDULE = dn.schedules.VPLinear()
EXACT = dn.problems.three_peaks().denoiser(SCHEDULE, "v")
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(4, 1, generator=GENERATOR, dtype=torch.float64)


def planned(name: str, steps: int = 6) -> dn.Plan:
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, n=steps, t_start=0.8, t_end=1e-2)
    given = dict.fromkeys(dn.method(name).parameters, 1.0)
    return dn.plan(name, SCHEDULE, grid, parameters=given or None)


def loss(end: Any) -> Any:
    return (end**2 + 0.3 * end**3).sum()


def seeded(name: str) -> dict[str, int]:
    return {"seed": 3} if dn.method(name).stochastic else {}


def through_the_loop(plan: dn.Plan, model: Any, x: Any, *others: Any, **options: Any) -> tuple[Any, ...]:
    start = x.clone().requires_grad_()
    return torch.autograd.grad(loss(dn.solve(plan, model, start, **options)), (start, *others))


@pytest.mark.parametrize("name", dn.methods("all"))
def test_the_gradient_is_that_of_autograd(name: str) -> None:
    plan = planned(name)
    found = dn.gradient(plan, dn.models.Autograd.of(EXACT), X, loss, **seeded(name))
    (expected,) = through_the_loop(plan, EXACT, X, **seeded(name))
    torch.testing.assert_close(found.x, expected, rtol=1e-11, atol=1e-12 * float(expected.abs().max()))
    closed = dn.gradient(plan, EXACT, X, loss, **seeded(name))  # by the closed Jacobian
    torch.testing.assert_close(closed.x, expected, rtol=1e-10, atol=1e-12 * float(expected.abs().max()))


class Network(torch.nn.Module):
    """A small network of images, with a class."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = torch.nn.Conv2d(1, 3, 3, padding=1)
        self.last = torch.nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, x: Any, level: Any) -> Any:
        return self.last(torch.tanh(self.first(x) + level.reshape(-1, 1, 1, 1)))


def network() -> Any:
    return dn.models.wrap(Network().double(), SCHEDULE, prediction="noise", sample_shape=(1, 4, 4))


IMAGES = torch.randn(2, 1, 4, 4, generator=GENERATOR, dtype=torch.float64)


@pytest.mark.parametrize("memory", ["full", "checkpoint"])
@pytest.mark.parametrize("name", ["dpmpp_2m", "unipc_3_bh2", "sde_dpmpp_2m"])
def test_parameters_of_a_network_get_their_gradient(name: str, memory: Any) -> None:
    model, plan = network(), planned(name)
    found = dn.gradient(plan, model, IMAGES, loss, wrt="parameters", memory=memory, **seeded(name))
    names, leaves = zip(*model.module.named_parameters(), strict=True)
    start, *others = through_the_loop(plan, model.with_gradients(), IMAGES, *leaves, **seeded(name))
    torch.testing.assert_close(found.x, start, rtol=1e-10, atol=1e-12)
    for key, expected in zip(names, others, strict=True):
        torch.testing.assert_close(found.named[key], expected, rtol=1e-9, atol=1e-11)
    assert all(leaf.grad is None for leaf in leaves)


def test_guided_networks_are_gone_through() -> None:
    one, other = network(), network()
    guided = dn.guidance.autoguidance(one, other, 1.5)
    plan = planned("dpmpp_2m")
    found = dn.gradient(plan, guided, IMAGES, loss)
    free = dn.guidance.autoguidance(one.with_gradients(), other.with_gradients(), 1.5)
    (expected,) = through_the_loop(plan, free, IMAGES)
    torch.testing.assert_close(found.x, expected, rtol=1e-10, atol=1e-12)


def conditioned(x: Any, t: Any, *, text: Any) -> Any:
    return torch.tanh(x * text + t)


def test_conditions_get_their_gradient_also_by_the_continuous_adjoint() -> None:
    text = torch.tensor([0.5], dtype=torch.float64)
    model = dn.models.Autograd(conditioned, "noise", SCHEDULE, condition={"text": text})
    plan = planned("dpmpp_2m", 60)
    found = dn.gradient(plan, model, X, loss, wrt="condition")
    leaf = text.clone().requires_grad_()
    free = dn.models.Autograd(conditioned, "noise", SCHEDULE, condition={"text": leaf})
    _, expected = through_the_loop(plan, free, X, leaf)
    torch.testing.assert_close(found.named["text"], expected, rtol=1e-10, atol=1e-12)
    flow = dn.gradient(plan, model, X, loss, wrt="condition", memory="continuous")
    torch.testing.assert_close(flow.named["text"], expected, rtol=0.02, atol=0.0)


def test_bad_input_says_what_to_do() -> None:
    plan = planned("ddim")
    with pytest.raises(ValueError, match=r"loss has shape \(4, 1\)"):
        dn.gradient(plan, EXACT, X, lambda end: end**2)
    with pytest.raises(ValueError, match="does not depend on the end"):
        dn.gradient(plan, EXACT, X, lambda end: (end.detach() ** 2).sum())
    with pytest.raises(ValueError, match="without derivatives"):
        dn.gradient(plan, dn.guidance.StaticThreshold(EXACT, 1.0), X, loss)
    frozen = network()
    frozen.module.requires_grad_(False)
    with pytest.raises(ValueError, match="call requires_grad_"):
        dn.gradient(plan, frozen, IMAGES, loss, wrt="parameters")
    with pytest.raises(ValueError, match="none was bound"):
        dn.gradient(plan, network(), IMAGES, loss, wrt="condition")
    blind = dn.models.Autograd(lambda x, t: x.detach(), "noise", SCHEDULE)
    with pytest.raises(ValueError, match="without a graph"):
        dn.gradient(plan, blind, X, loss)

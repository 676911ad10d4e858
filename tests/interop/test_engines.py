"""Host tables replace schedulers of diffusers bit for bit, in float32 and in half precision."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

pytest.importorskip("diffusers")
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

from diffnum.interop import PlanScheduler
from diffnum.plans import HostTable
from tests.interop.tiny import seeded

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*from pure noise"),
]
MIX = 0.3 * torch.randn(4, 4, generator=seeded(8))
X = torch.randn(2, 4, 3, 3, generator=seeded(7))
BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}
FLOW = {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}
TABLE = {"beta_schedule": "scaled_linear", "final_sigmas_type": "sigma_min"}


def dpm(order: int, **config: Any) -> Any:
    return DPMSolverMultistepScheduler(solver_order=order, **config)


def unipc(order: int, **config: Any) -> Any:
    return UniPCMultistepScheduler(solver_order=order, **config)


CASES = {
    "FlowMatchEuler": (lambda: FlowMatchEulerDiscreteScheduler(shift=3.0), "ddim"),
    "FlowMatchEuler, no shift": (lambda: FlowMatchEulerDiscreteScheduler(), "ddim"),
    "DPMSolverMultistep, flow": (lambda: dpm(2, **FLOW), "dpmpp_2m"),
    "DPMSolverMultistep, flow, order 3": (lambda: dpm(3, **FLOW), "dpmpp_3m"),
    "DPMSolverMultistep, flow, order 1": (lambda: dpm(1, **FLOW), "ddim"),
    "DPMSolverMultistep, epsilon": (lambda: dpm(2, **TABLE), "dpmpp_2m"),
    "DPMSolverMultistep, v": (lambda: dpm(2, prediction_type="v_prediction", **TABLE), "dpmpp_2m"),
    "DPMSolverMultistep, sample": (lambda: dpm(3, prediction_type="sample", **TABLE), "dpmpp_3m"),
    "DPMSolverMultistep, to zero": (lambda: dpm(2, beta_schedule="scaled_linear"), "dpmpp_2m"),
    "FlowUniPC": (lambda: unipc(2, **FLOW), "unipc_2_bh2"),
    "FlowUniPC, order 1": (lambda: unipc(1, **FLOW), "unipc_1_bh2"),
    "FlowUniPC, order 3": (lambda: unipc(3, **FLOW), "unipc_3_bh2"),
    "UniPC, epsilon": (lambda: unipc(2, beta_schedule="scaled_linear"), "unipc_2_bh2"),
    "UniPC, bh1, order 3": (lambda: unipc(3, solver_type="bh1", **TABLE), "unipc_3_bh1"),
    "UniPC, v, order 3": (lambda: unipc(3, prediction_type="v_prediction", **TABLE), "unipc_3_bh2"),
}


def net(x: torch.Tensor) -> torch.Tensor:
    return torch.einsum("ij,bjhw->bihw", MIX.to(x.dtype), x).tanh()


def both(
    case: str, n: int, dtype: torch.dtype, x: torch.Tensor = X
) -> tuple[list[torch.Tensor], list[torch.Tensor], HostTable]:
    """States of the scheduler and of the table of its plan."""
    make, method = CASES[case]
    scheduler = make()
    scheduler.set_timesteps(n)
    falls = n < 15 or isinstance(scheduler, UniPCMultistepScheduler)
    mine = PlanScheduler.from_config(scheduler.config, method=method, terminal="lower_order" if falls else "stop")
    mine.set_timesteps(n)
    table = mine.plan.host_table(
        str(dtype).removeprefix("torch."),
        type(scheduler).__name__,
        levels=scheduler.sigmas.tolist(),
        arithmetic=torch,
        device="cpu",
    )
    states = [x.to(dtype)]
    for t in scheduler.timesteps:
        states.append(scheduler.step(net(states[-1]), t, states[-1]).prev_sample)
    return states, table.run(lambda x, t: net(x), x.to(dtype), return_trajectory=True), table


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a.view(BITS[a.dtype]), b.view(BITS[b.dtype]))


def gap(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


def fused(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """a b + c of float32 numbers, rounded once: in float64 the product is exact, and the sum is rounded to odd."""
    product, c = a.double() * b.double(), c.double()
    total = product + c
    part = total - product
    left = (product - (total - part)) + (c - part)
    bits = total.view(torch.int64)
    towards = torch.where((left > 0) == (total > 0), 1, -1)
    even = (bits & 1) == 0
    return torch.where((left != 0) & even, (bits + towards).view(torch.float64), total).float()


def sums(weights: torch.Tensor, arrays: torch.Tensor) -> dict[str, torch.Tensor]:
    """Sum of two products as libraries have it: plain, or one product fused into the sum; rounded to the dtype."""
    (v, w), (a, b) = weights.float(), arrays.float().unbind(1)
    made = {"plain": v * a + w * b, "second fused": fused(w, b, v * a), "first fused": fused(v, a, w * b)}
    return {name: value.to(arrays.dtype) for name, value in made.items()}


def products(dtype: torch.dtype, shape: tuple[int, ...] = (2, 4, 3, 3)) -> tuple[torch.Tensor, torch.Tensor]:
    return (
        torch.randn(2, generator=seeded(3)).to(dtype),
        torch.randn(shape[0], 2, *shape[1:], generator=seeded(4)).to(dtype),
    )


@cache
def sums_are_plain(shape: tuple[int, ...]) -> bool:
    """Whether this machine's library multiplies a row of two with two arrays of a shape without fusing."""
    weights, arrays = products(torch.float32, shape)
    return same(torch.einsum("k,bkc...->bc...", weights, arrays), sums(weights, arrays)["plain"])


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("n", [1, 2, 4, 20])
@pytest.mark.parametrize("case", CASES)
def test_a_table_replaces_its_scheduler_bit_for_bit(case: str, n: int, dtype: torch.dtype) -> None:
    shipped, ours, _ = both(case, n, dtype)
    if dtype == torch.float32 and "order 3" in case and "UniPC" in case and not sums_are_plain(X.shape):
        assert gap(shipped, ours) <= 16 * torch.finfo(dtype).eps
        return
    assert all(same(a, b) for a, b in zip(shipped, ours, strict=True))


@pytest.mark.parametrize("shape", [(1, 4, 5, 7), (3, 4, 16, 16), (1, 4, 2, 9, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_of_order_3_are_the_scheduler_s_at_every_size(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape[0], 4, shape[-2] * (shape[2] if len(shape) == 5 else 1), shape[-1], generator=seeded(9))
    shipped, ours, _ = both("FlowUniPC, order 3", 7, dtype, x)
    if dtype == torch.float32 and not sums_are_plain(x.shape):
        assert gap(shipped, ours) <= 16 * torch.finfo(dtype).eps
        return
    assert all(same(a, b) for a, b in zip(shipped, ours, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_every_library_sums_two_products_to_the_same_bits(dtype: torch.dtype) -> None:
    weights, arrays = products(dtype, (2, 4, 32, 32))
    made = sums(weights, arrays)
    assert all(same(value, made["plain"]) for value in made.values())  # products of two halves are exact in float32
    assert same(torch.einsum("k,bkc...->bc...", weights, arrays), made["plain"])


def test_in_float32_a_fused_sum_differs_by_half_an_ulp_of_a_product_and_a_place() -> None:
    weights, arrays = products(torch.float32, (2, 4, 32, 32))
    made, eps = sums(weights, arrays), torch.finfo(torch.float32).eps
    parts = (weights[:, None, None, None] * arrays).abs()
    bound = 0.5 * eps * parts.amax(dim=1) + eps * made["plain"].abs()
    for name in ("first fused", "second fused"):
        gap = (made[name] - made["plain"]).abs()
        assert bool((gap > 0).any())
        assert bool((gap <= bound).all())
    found = torch.einsum("k,bkc...->bc...", weights, arrays)
    assert bool(((found - made["plain"]).abs() <= bound).all())


def test_without_torch_s_functions_scalars_differ_in_last_places_alone() -> None:
    scheduler = dpm(2, **FLOW)
    scheduler.set_timesteps(8)
    mine = PlanScheduler.from_config(scheduler.config, method="dpmpp_2m", terminal="lower_order")
    mine.set_timesteps(8)
    theirs, correct = (mine.plan.host_table(arithmetic=a) for a in (torch, None))
    for a, b in zip(theirs.steps, correct.steps, strict=True):
        assert a.operations == b.operations
        assert a.scalars == pytest.approx(b.scalars, rel=4e-6)
    # a machine whose functions round these scalars correctly has the same table; no other does
    alike = all(a.scalars == b.scalars for a, b in zip(theirs.steps, correct.steps, strict=True))
    assert (theirs.sha256 == correct.sha256) == alike


def test_scalars_of_the_accelerator_are_other_bits_on_the_cpu() -> None:
    shipped, _, table = both("DPMSolverMultistep, flow", 4, torch.bfloat16)
    make, method = CASES["DPMSolverMultistep, flow"]
    scheduler = make()
    scheduler.set_timesteps(4)
    mine = PlanScheduler.from_config(scheduler.config, method=method, terminal="lower_order")
    mine.set_timesteps(4)
    other = mine.plan.host_table("bfloat16", levels=scheduler.sigmas.tolist(), arithmetic=torch)
    assert other.sha256 != table.sha256
    assert not same(other.run(lambda x, t: net(x), X.to(torch.bfloat16)), shipped[-1])

"""Host tables replace schedulers of diffusers bit for bit, in float32 and in half precision."""

from __future__ import annotations

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
}


def net(x: torch.Tensor) -> torch.Tensor:
    return torch.einsum("ij,bjhw->bihw", MIX.to(x.dtype), x).tanh()


def both(case: str, n: int, dtype: torch.dtype) -> tuple[list[torch.Tensor], list[torch.Tensor], HostTable]:
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
    states = [X.to(dtype)]
    for t in scheduler.timesteps:
        states.append(scheduler.step(net(states[-1]), t, states[-1]).prev_sample)
    return states, table.run(lambda x, t: net(x), X.to(dtype), return_trajectory=True), table


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a.view(BITS[a.dtype]), b.view(BITS[b.dtype]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 2, 4, 20])
@pytest.mark.parametrize("case", CASES)
def test_a_table_replaces_its_scheduler_bit_for_bit(case: str, n: int, dtype: torch.dtype) -> None:
    shipped, ours, _ = both(case, n, dtype)
    if "order 3" in case and "UniPC" in case:  # two terms in a product of matrices, in the order of the library
        gap = max(float((a.float() - b.float()).abs().max()) for a, b in zip(shipped, ours, strict=True))
        assert gap <= 16 * torch.finfo(dtype).eps
        return
    assert all(same(a, b) for a, b in zip(shipped, ours, strict=True))


def test_without_torch_s_functions_scalars_differ_in_last_places_alone() -> None:
    scheduler = dpm(2, **FLOW)
    scheduler.set_timesteps(8)
    mine = PlanScheduler.from_config(scheduler.config, method="dpmpp_2m", terminal="lower_order")
    mine.set_timesteps(8)
    theirs, correct = (mine.plan.host_table(arithmetic=a) for a in (torch, None))
    assert theirs.sha256 != correct.sha256
    for a, b in zip(theirs.steps, correct.steps, strict=True):
        assert a.operations == b.operations
        assert a.scalars == pytest.approx(b.scalars, rel=4e-6)


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

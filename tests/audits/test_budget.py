"""The error budget: the swap of float32 reaches sigma tensors and coefficients, and a swap that fails says so."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

import numpy as np  # noqa: E402

from diffnum.audits import error_budget, shipped_run  # noqa: E402
from diffnum.foreign.precision import swapped, widened  # noqa: E402


class EulerOfFewDigits(diffusers.EulerDiscreteScheduler):
    """Rounds its levels to float32 through numpy, far from 1 so that digits are lost."""

    def set_timesteps(self, n: int, *more: Any, **options: Any) -> None:
        super().set_timesteps(n, *more, **options)
        shifted = np.asarray(self.sigmas, dtype=np.float64) + 3e5
        self.sigmas = torch.from_numpy(shifted.astype(np.float32)) - 3e5


class EulerForSingleOnly(diffusers.EulerDiscreteScheduler):
    """Refuses anything but float32."""

    def step(self, output: Any, t: Any, sample: Any, **options: Any) -> Any:
        if sample.dtype is torch.float64:
            msg = "float32 expected"
            raise RuntimeError(msg)
        return super().step(output, t, sample, **options)


@pytest.mark.parametrize("config", [{}, {"use_karras_sigmas": True}], ids=["defaults", "karras"])
def test_float32_limits_deis_of_third_order(config: dict[str, Any]) -> None:
    found = error_budget(diffusers.DEISMultistepScheduler(solver_order=3, **config), 320)
    without = frozenset({"float32", "time rounding"} if config else {"float32"})
    assert "float32" in found.culprits, str(found)
    assert found.errors[without] < found.shipped / 10


def test_float32_planted_in_numpy_is_found() -> None:
    found = error_budget(EulerOfFewDigits(), 160)
    assert found.culprits == ("float32",), str(found)


def test_float32_is_not_blamed_for_the_error_of_a_method() -> None:
    assert "float32" not in error_budget(diffusers.EulerDiscreteScheduler(), 160).culprits


@pytest.mark.parametrize("config", [{}, {"solver_type": "bh1"}, {"predict_x0": False}], ids=str)
def test_unipc_runs_in_float64(config: dict[str, Any]) -> None:
    found = shipped_run(diffusers.UniPCMultistepScheduler(**config), 20, double=True)
    assert not found.failure


def test_a_swap_that_fails_is_told() -> None:
    found = error_budget(EulerForSingleOnly(), 10)
    assert found.untried == ("float32",)
    assert "float32 arithmetic could not be swapped: RuntimeError: float32 expected" in str(found)


def test_the_names_of_single_precision_are_put_back() -> None:
    with swapped(double=True):
        assert torch.linspace(0, 1, 3, dtype=torch.float32).dtype is torch.float64
        assert np.ones(2).astype(np.float32).dtype == np.float64
    assert torch.zeros(1, dtype=torch.float32).dtype == torch.zeros(1).dtype
    assert np.zeros(1, dtype=np.float32).dtype.itemsize == 4


def test_what_an_object_keeps_is_widened_with_its_values() -> None:
    scheduler = diffusers.DDIMScheduler()
    before = scheduler.alphas_cumprod.clone()
    widened(scheduler)
    assert scheduler.alphas_cumprod.dtype is torch.float64
    assert torch.equal(scheduler.alphas_cumprod.float(), before)

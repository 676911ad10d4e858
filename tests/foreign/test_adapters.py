"""Foreign samplers behind adapters are the methods of the catalogue that they are known to be."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from diffnum.convergence.probe import probe
from diffnum.foreign.conventions import convention_of

torch = pytest.importorskip("torch")

from diffnum.foreign.adapters import adapt  # noqa: E402
from diffnum.foreign.pictures import FLOW, VE, VP  # noqa: E402
from diffnum.foreign.precision import swapped  # noqa: E402


def euler_sigmas(model: Any, x: Any, sigmas: Any) -> Any:
    for i in range(len(sigmas) - 1):
        slope = (x - model(x, sigmas[i] * x.new_ones(len(x)))) / sigmas[i]
        x = x + (sigmas[i + 1] - sigmas[i]) * slope
    return x


def euler_flow(model: Any, x: Any, timesteps: Any) -> Any:
    for i in range(len(timesteps) - 1):
        x = x + (timesteps[i + 1] - timesteps[i]) * model(x, timesteps[i])
    return x


def test_euler_in_sigma_is_ddim() -> None:
    assert probe(adapt(euler_sigmas), schedule=None).compare("ddim").ok


def euler_in_numpy(model: Any, x: Any, sigmas: Any) -> Any:
    state, levels = x.numpy(), sigmas.numpy()
    for now, then in zip(levels[:-1], levels[1:], strict=True):
        denoised = model(state, np.full(len(state), now))
        assert isinstance(denoised, np.ndarray)
        state = state + (then - now) / now * (state - denoised)
    return torch.from_numpy(state)


def test_a_sampler_in_sigma_may_ask_its_model_with_numpy_arrays() -> None:
    assert probe(adapt(euler_in_numpy, "k-diffusion"), schedule=None).compare("ddim").ok


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_euler_in_flow_time_is_the_flow_euler_method(backend: str) -> None:
    found = probe(adapt(euler_flow, backend=backend))
    assert found.compare("ddim").ok  # Euler along the flow is DDIM, whatever the schedule


@pytest.mark.parametrize(
    ("sampler", "convention"),
    [(euler_sigmas, "k-diffusion"), (euler_flow, "flow"), (lambda model, x, nodes: x * len(nodes), "nodes")],
)
def test_conventions_are_told_by_the_third_parameter(sampler: Any, convention: str) -> None:
    assert convention_of(sampler) == convention


def test_a_convention_that_cannot_be_told_is_asked_for() -> None:
    def sampler(model: Any, x: Any, grid: Any) -> Any:
        return x

    with pytest.raises(ValueError, match="pass convention= one of nodes, k-diffusion, diffusers, flow"):
        adapt(sampler)
    with pytest.raises(TypeError, match="neither callable nor a scheduler"):
        adapt(3)
    with pytest.raises(ValueError, match="convention='x' is unknown"):
        adapt(sampler, "x")  # type: ignore[arg-type]
    assert adapt(sampler, "nodes") is sampler


@pytest.mark.parametrize(("picture", "levels"), [(VP, (0.6, 0.8)), (VE, (1.0, 4 / 3)), (FLOW, (3 / 7, 4 / 7))])
def test_pictures_scale_the_same_noise_to_signal_ratio(picture: Any, levels: tuple[float, float]) -> None:
    np.testing.assert_allclose(picture.levels(4 / 3), levels, rtol=1e-15)


def test_single_precision_and_noise_are_swapped_inside_only() -> None:
    x = torch.zeros(2, dtype=torch.float64)
    with swapped(double=True, silent=True):
        assert x.to(torch.float32).dtype is torch.float64
        assert x.to(dtype=torch.float32).dtype is torch.float64
        assert x.float().dtype is torch.float64
        assert torch.tensor(1.0).dtype is torch.float64
        assert not torch.randn(3).any()
        assert not torch.randn_like(x).any()
    assert x.to(torch.float32).dtype is torch.float32
    assert x.float().dtype is torch.float32
    assert torch.tensor(1.0).dtype is torch.float32
    assert torch.randn(3).any()


def test_an_exception_inside_puts_everything_back() -> None:
    failure = RuntimeError("inside")
    with pytest.raises(RuntimeError, match="inside"), swapped(double=True, silent=True):
        raise failure
    assert torch.get_default_dtype() is torch.float32
    assert torch.zeros(1).double().float().dtype is torch.float32


SAME = [
    ("DDIMScheduler", {"clip_sample": False}, "ddim"),
    ("EulerDiscreteScheduler", {}, "ddim"),
    ("EDMEulerScheduler", {}, "ddim"),
    ("FlowMatchEulerDiscreteScheduler", {}, "ddim"),
    ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min", "lower_order_final": False}, "dpmpp_2m"),
    ("HeunDiscreteScheduler", {}, "edm_heun"),
]


@pytest.mark.parametrize(("name", "config", "method"), SAME, ids=[s[0] for s in SAME])
def test_diffusers_schedulers_are_methods_of_the_catalogue(name: str, config: dict[str, Any], method: str) -> None:
    pytest.importorskip("diffusers")
    from diffnum.foreign.libraries import diffusers_schedulers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy, on how the library makes arrays of tensors
        scheduler = diffusers_schedulers()[name](**config)
    found = probe(adapt(scheduler)).compare(method, tolerance=1e-9)
    assert found.ok, str(found)


def test_adapting_leaves_the_scheduler_as_it_was() -> None:
    pytest.importorskip("diffusers")
    from diffnum.foreign.libraries import diffusers_schedulers

    scheduler = diffusers_schedulers()["DPMSolverMultistepScheduler"]()
    before = scheduler.timesteps.clone()
    probe(adapt(scheduler))
    assert torch.equal(scheduler.timesteps, before)

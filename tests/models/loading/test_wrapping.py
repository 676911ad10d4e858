"""Any module with a schedule is a model; so is any k-diffusion style denoiser."""

from __future__ import annotations

import math
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import diffnum as dn
from diffnum.foreign.libraries import k_diffusion_sampling
from diffnum.models import from_k_diffusion, wrap
from diffnum.types import Denoiser

VP = dn.schedules.VPLinear()
MIXTURE = dn.GaussianMixture([0.4, 0.6], [[1.0, 0.0], [-1.0, 0.5]], [0.05, 0.1])
X = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Linear(torch.nn.Module):
    """Remembers what it was called with."""

    def __init__(self, out: int = 3) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, out, 1)
        self.seen: list[Any] = []

    def forward(self, x: torch.Tensor, *arguments: Any) -> torch.Tensor:
        self.seen = list(arguments)
        return self.layer(x)


IMAGES = torch.ones(2, 3, 4, 4)


def test_a_wrapped_module_is_a_denoiser_of_its_own_dtype() -> None:
    network = Linear().double().train()
    model = wrap(network, VP, prediction="v", sample_shape=(3, 4, 4), num_classes=5)
    assert isinstance(model, Denoiser)
    assert (model.dtype, model.name, model.default_t_end) == (torch.float64, "Linear", 1e-3)
    assert not network.training
    torch.testing.assert_close(model.conditioned(2)(IMAGES.double(), 0.25), network.layer(IMAGES.double()))
    assert [a.tolist() for a in network.seen] == [[0.25] * 2, [2, 2]]


@pytest.mark.parametrize(
    ("level", "expected"), [("time", 0.3), ("half_log_snr", VP.half_log_snr(0.3)), ("sigma", VP.sigma(0.3))]
)
def test_the_network_gets_the_level_that_it_wants(level: Any, expected: float) -> None:
    network = Linear().double()
    wrap(network, VP, prediction="noise", sample_shape=(3, 4, 4), level=level)(IMAGES.double(), 0.3)
    assert network.seen[0].tolist() == pytest.approx([expected] * 2, rel=1e-15)
    wrap(network, VP, prediction="noise", sample_shape=(3, 4, 4), level=level, to_network=lambda s: 1000 * s)(
        IMAGES.double(), 0.3
    )
    assert network.seen[0].tolist() == pytest.approx([1000 * expected] * 2, rel=1e-15)


def test_half_precision_networks_get_their_time_in_single_precision() -> None:
    network = Linear().bfloat16()
    wrap(network, VP, prediction="noise", sample_shape=(3, 4, 4))(IMAGES.bfloat16(), 0.7001)
    assert network.seen[0].dtype == torch.float32


@pytest.mark.parametrize("kind", [lambda out: (out, None), lambda out: [out], lambda out: SimpleNamespace(sample=out)])
def test_predictions_are_found_in_what_is_returned(kind: Any) -> None:
    layer = Linear()
    model = wrap(lambda x, t: kind(layer(x, t)), VP, prediction="noise", sample_shape=(3, 4, 4))
    torch.testing.assert_close(model(IMAGES, 0.5), layer(IMAGES))


def test_a_learned_variance_is_dropped() -> None:
    network = Linear(6)
    model = wrap(network, VP, prediction="noise", sample_shape=(3, 4, 4))
    torch.testing.assert_close(model(IMAGES, 0.5), network.layer(IMAGES)[:, :3])


def test_an_exact_model_in_k_diffusion_style_is_the_exact_model() -> None:
    edm = dn.schedules.EDM()
    exact = MIXTURE.denoiser(edm, "data")

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        assert sigma.shape == (4,)
        return exact(x, sigma)

    model = from_k_diffusion(denoise, sample_shape=(2,))
    assert (model.prediction, model.schedule, model.name) == ("data", edm, "denoise")
    x = X.float()
    torch.testing.assert_close(model(x, 3.0), exact(x, 3.0))
    grid = dn.grids.karras(edm, 12)
    got = dn.solve(dn.plan("dpmpp_2m", edm, grid), model, 80.0 * x)
    expected = dn.solve(dn.plan("dpmpp_2m", edm, grid), exact, 80.0 * x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_a_plan_equals_the_sampler_of_k_diffusion() -> None:
    if find_spec("k_diffusion") is None:
        pytest.skip("k-diffusion is not installed")
    sampling = k_diffusion_sampling()
    exact = MIXTURE.denoiser(dn.schedules.EDM(), "data")
    model = from_k_diffusion(lambda x, sigma: exact(x, sigma), sample_shape=(2,))
    grid = dn.grids.to_zero(dn.grids.karras(model.schedule, 9), model.schedule)
    sigmas = torch.tensor(grid.t)
    for name, sampler in (("dpmpp_2m", sampling.sample_dpmpp_2m), ("edm_heun", sampling.sample_heun)):
        expected = sampler(lambda x, sigma: exact(x, sigma), 80.0 * X, sigmas, disable=True)
        got = dn.solve(dn.plan(name, model.schedule, grid), exact, 80.0 * X)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
        single = dn.solve(dn.plan(name, model.schedule, grid), model, 80.0 * X.float())
        torch.testing.assert_close(single.double(), expected, rtol=1e-3, atol=1e-4)


class Wrapper(torch.nn.Module):
    """A denoiser as k-diffusion wraps networks: it knows its range, and takes conditions by name."""

    sigma_min, sigma_max, quantize = torch.tensor(0.03), torch.tensor(14.6), False

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, *, cond: float = 0.0) -> torch.Tensor:  # noqa: ARG002
        return x + cond


def test_ranges_and_arguments_are_those_of_the_denoiser() -> None:
    model = from_k_diffusion(Wrapper(), sample_shape=(2,), extra_args={"cond": 2.0})
    assert (model.default_t_start, model.default_t_end) == (pytest.approx(14.6), pytest.approx(0.03))
    torch.testing.assert_close(model(X.float(), 1.0), X.float() + 2.0)
    other = from_k_diffusion(Wrapper(), sample_shape=(2,), sigma_max=5.0)
    assert other.schedule.t_max == 5.0


def test_rounding_denoisers_are_reported() -> None:
    rounding = Wrapper()
    rounding.quantize = True
    with pytest.warns(UserWarning, match="Wrapper rounds sigma to its table"):
        from_k_diffusion(rounding, sample_shape=(2,))


def test_the_network_of_a_variance_exploding_process() -> None:
    schedule = dn.schedules.VE(0.01, 50.0)
    exact = MIXTURE.denoiser(schedule, "score")
    model = wrap(
        lambda x, sigma: exact(x, torch.as_tensor(schedule.time(-torch.log(sigma.double())))),
        schedule,
        prediction="score",
        sample_shape=(2,),
        level="sigma",
    )
    x = X.float() * 5
    np.testing.assert_allclose(model(x, 0.7).numpy(), exact(x, 0.7).numpy(), rtol=1e-4, atol=1e-6)
    assert (model.default_t_start, model.default_t_end) == (1.0, 0.0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(TypeError, match="module is a int"):
        wrap(3, VP, prediction="noise", sample_shape=(2,))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="schedule='vp' is none"):
        wrap(Linear(), "vp", prediction="noise", sample_shape=(2,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prediction='dream' is unknown"):
        wrap(Linear(), VP, prediction="dream", sample_shape=(2,))  # type: ignore[arg-type]
    mixed = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).double())
    with pytest.raises(ValueError, match="parameters of several kinds"):
        wrap(mixed, VP, prediction="noise", sample_shape=(2,))
    assert math.isfinite(float(wrap(Linear(), VP, prediction="noise", sample_shape=(3, 4, 4))(IMAGES, 1.0).sum()))

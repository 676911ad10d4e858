"""Samplers with noise in the four conventions: their orders, and whether they keep the marginals."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from tests.optional import optional

torch: Any = optional("torch")
STEPS = (16, 32, 64, 128)
FAST = {"grids": ("uniform",), "steps": STEPS}


def flow_sde(model, x, timesteps, level=0.7):
    """Flow-GRPO's step in flow time, which draws with torch."""
    for s, late in pairwise(timesteps):
        u, dt, rate = model(x, s), late - s, (s / (1 - s)) ** 0.5 * level
        mean = x * (1 + rate**2 / (2 * s) * dt) + u * (1 + rate**2 * (1 - s) / (2 * s)) * dt
        x = mean + rate * (-dt) ** 0.5 * torch.randn_like(x)
    return x


def cps(model, x, timesteps, noise, eta=0.5):
    """CPS in flow time, which is handed its noise."""
    for s, late in pairwise(timesteps):
        u, std = model(x, s), late * math.sin(eta * math.pi / 2)
        mean = (x - s * u) * (1 - late) + (x + u * (1 - s)) * (late**2 - std**2) ** 0.5
        x = mean + std * noise(s, late)
    return x


def ancestral(model, x, sigmas, noise_sampler=None, factor=1.0):
    """Euler ancestral in the convention of k-diffusion."""
    for sigma, late in pairwise(sigmas):
        denoised = model(x, sigma * x.new_ones([len(x)]))
        up = (late**2 * (sigma**2 - late**2) / sigma**2) ** 0.5
        down = (late**2 - up**2) ** 0.5
        x = x + (x - denoised) / sigma * (down - sigma) + factor * up * noise_sampler(sigma, late)
    return x


@pytest.mark.needs("torch")
def test_a_sampler_that_draws_with_torch_has_the_errors_of_the_catalogue() -> None:
    for measure, level in (("strong", 0.7 / 2**0.5), ("weak", 0.7 / 2**0.5), ("law", 1.0)):
        own = dn.convergence_study(flow_sde, measure=measure, noise_level=level, **FAST)
        own.assert_order(1)
        if measure == "strong":  # the draw of a step is another functional of the path there
            continue
        record = dn.convergence_study("flow_sde_0.7", measure=measure, **FAST)
        for a, b in zip(own.series, record.series, strict=True):
            errors = (s.estimate.errors[: len(STEPS)] for s in (a, b))
            np.testing.assert_allclose(*errors, rtol=1e-6, atol=1e-9)


@pytest.mark.needs("torch")
def test_a_sampler_that_is_handed_noise_in_flow_time_or_between_levels_is_measured() -> None:
    assert dn.convergence_study(cps, measure="law", **FAST).order == 0
    dn.convergence_study(ancestral, measure="strong", **FAST).assert_order(1)
    dn.convergence_study(ancestral, measure="law", **FAST).assert_order(1)

    def wrong(model, x, sigmas, noise_sampler=None):
        return ancestral(model, x, sigmas, noise_sampler, 0.9)

    assert dn.convergence_study(wrong, measure="law", **FAST).order == 0, "a tenth of the noise is missing"


@pytest.mark.needs("torch")
def test_a_scheduler_that_draws_is_measured() -> None:
    diffusers = pytest.importorskip("diffusers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations concern the library's users
        euler = diffusers.EulerAncestralDiscreteScheduler()
    kept = dn.marginals_kept(euler, 10)
    assert kept.study.order == 1
    # all of the noise is drawn anew at every step: CPS with eta = 1
    renewed = dn.marginals_kept(diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True), 10)
    assert not renewed
    np.testing.assert_allclose(renewed.deviation, dn.marginals_kept("cps_1", 10).deviation, rtol=1e-5)


def test_the_answer_is_one_line_with_the_size_of_the_bias() -> None:
    yes, no = dn.marginals_kept("flow_sde_0.7"), dn.marginals_kept("cps_0.5")
    assert yes
    assert not no
    assert yes.bias[1] < 0.2 * yes.bias[0]
    assert no.bias[1] > 0.05
    text = str(no)
    assert "\n" not in text
    assert text.startswith("cps_0.5 does not keep the marginals (order in law 0): standard deviation 0.88")
    assert "with 20 steps" in text
    assert "with 320 steps" in text
    assert "of the exact one" in str(yes)


def test_the_bias_is_that_of_exact_propagation() -> None:
    flow, data = dn.schedules.FlowMatching(), dn.Gaussian([0.5], [0.25])
    found = dn.marginals_kept("cps_0.8", 8, problem=data, schedule=flow, interval=(-2.0, 3.0))
    grid = dn.grids.from_half_log_snr(flow, np.linspace(-2.0, 3.0, 9))
    output = dn.analysis.propagate_problem(dn.plan("cps_0.8", flow, grid), data, start="marginal")
    np.testing.assert_allclose(found.deviation[0] ** 2, output.variance / output.marginal_variance)
    np.testing.assert_allclose(found.shift, 0.0, atol=1e-12)


def shifted(model, x, nodes, noise):
    """A sampler whose mean is off."""
    s = model.schedule
    for a, b in pairwise(nodes):
        alpha, ratio = s.alpha(s.time(b)), s.sigma(s.time(b)) / s.sigma(s.time(a))
        mean = ratio * np.exp(a - b) * x - alpha * np.expm1(2 * (a - b)) * (model.data(x, a) + 0.1)
        x = mean + s.sigma(s.time(b)) * np.sqrt(-np.expm1(2 * (a - b))) * noise(a, b)
    return x


def test_a_shifted_mean_is_told() -> None:
    found = dn.marginals_kept(shifted)
    assert not found
    assert "the mean is off by up to" in str(found)


@pytest.mark.needs("torch")
def test_what_cannot_be_handed_its_noise_is_refused() -> None:
    def shared(model, x, timesteps):
        for s, late in pairwise(timesteps):
            x = x + (late - s) * model(x, s) + 0.1 * torch.randn(x.shape[1])
        return x

    with pytest.raises(ValueError, match=r"draws noise of shape \(3,\)"):
        dn.marginals_kept(shared)
    with pytest.raises(ValueError, match="steps=0"):
        dn.marginals_kept("ddpm", 0)

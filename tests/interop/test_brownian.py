"""Paths from torchsde: additive, the same in every batch, right in law; generators as a source of noise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffnum as dn

torch = pytest.importorskip("torch")
pytest.importorskip("torchsde")

from diffnum.interop.brownian import TorchsdePath, generator_noise  # noqa: E402

VP = dn.schedules.VPLinear()
MODEL = dn.problems.three_peaks().denoiser(VP)


def scale(a, b, rate):
    return math.sqrt((math.exp(2 * rate * b) - math.exp(2 * rate * a)) / (2 * rate) if rate else b - a)


@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**40),
    abc=st.lists(st.floats(-2, 2), min_size=3, max_size=3, unique=True).map(sorted),
    rate=st.sampled_from([0.0, 1.0, -1.0]),
)
def test_a_coarse_draw_is_the_weighted_sum_of_fine_ones(seed, abc, rate):
    a, b, c = abc
    if min(b - a, c - b) < 1e-3:
        return
    path, like = TorchsdePath(seed, -2.0, 2.0, rate), torch.zeros(2, 3, dtype=torch.float64)
    parts = path.normal(a, b, like) * scale(a, b, rate) + path.normal(b, c, like) * scale(b, c, rate)
    # below its tolerance of 1e-6 the tree is a straight line, whose value is off by up to about 1e-3
    torch.testing.assert_close(parts, path.normal(a, c, like) * scale(a, c, rate), rtol=1e-4, atol=3e-3)


def test_a_sample_has_the_same_path_in_every_batch():
    whole = TorchsdePath(3, 0.0, 1.0).normal(0.2, 0.7, torch.zeros(4, 2))
    part = TorchsdePath(3, 0.0, 1.0, first=2).normal(0.2, 0.7, torch.zeros(1, 2))
    assert torch.equal(whole[2:3], part)
    assert not torch.equal(whole[0], whole[1])
    assert whole.dtype == torch.float32


def test_draws_are_standard_normal_and_independent():
    path, like = TorchsdePath(1, -1.0, 1.0, 1.0), torch.zeros(1, 4000, dtype=torch.float64)
    draws = torch.cat([path.normal(a, b, like) for a, b in ((-1.0, -0.4), (-0.4, 0.3), (0.3, 1.0))])
    torch.testing.assert_close(draws @ draws.T / 4000, torch.eye(3, dtype=torch.float64), atol=0.08, rtol=0)


def test_fine_and_coarse_runs_share_the_path():
    x = torch.as_tensor(np.random.default_rng(0).standard_normal((8, 1)))

    def end(steps, seed):
        grid = dn.grids.from_half_log_snr(VP, np.linspace(-1.0, 1.0, steps + 1))
        numbers = dn.plan("sde_dpmpp_2m", VP, grid)
        return dn.solve(numbers, MODEL, x, noise=TorchsdePath(seed, -1.0, 1.0, rate=1.0).source(numbers))

    coarse, fine, unrelated = end(8, 9), end(16, 9), end(16, 10)
    assert (coarse - fine).abs().median() < 0.3 * (coarse - unrelated).abs().median()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: TorchsdePath(0, 1.0, 0.0), "noisy end first"),
        (lambda: TorchsdePath(-1, 0.0, 1.0), "seed=-1"),
        (lambda: TorchsdePath(0, 0.0, 1.0).normal(0.5, 1.5, torch.zeros(1, 1)), "outside the path"),
        (lambda: TorchsdePath(0, 0.0, 1.0).normal(0.5, 0.5, torch.zeros(1, 1)), "a < b"),
    ],
)
def test_bad_paths_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_generators_are_a_source_of_noise():
    grid = dn.grids.from_half_log_snr(VP, np.linspace(-1.0, 1.0, 5))
    numbers = dn.plan("ddpm", VP, grid)
    x = torch.zeros(3, 1, dtype=torch.float64)
    runs = [dn.solve(numbers, MODEL, x, noise=generator_noise(torch.Generator().manual_seed(1))) for _ in range(2)]
    assert torch.equal(*runs)
    plain = dn.solve(numbers, MODEL, x.numpy(), noise=generator_noise(np.random.default_rng(1)))
    tensor = dn.solve(numbers, MODEL, x, noise=generator_noise(np.random.default_rng(1)))
    np.testing.assert_allclose(plain, tensor.numpy())
    with pytest.raises(TypeError, match="generator=7"):
        generator_noise(7)
    with pytest.raises(ValueError, match="ddpm is stochastic, pass solve"):
        dn.solve(numbers, MODEL, x)

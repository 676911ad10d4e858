"""Populations of a network: in its own arrays, in batches, resumed, and steered."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import diffnum as dn
from diffnum.particles import populations, run, steered
from tests.optional import optional

torch = optional("torch")


@pytest.fixture(scope="module")
def model():
    return dn.load("toy/digits")


def planned(model) -> dn.Plan:
    grid = dn.grids.uniform_half_log_snr(model.schedule, 12, t_start=1.0, t_end=1e-3)
    return dn.plan("sde_dpmpp_2m", model.schedule, grid)


def brightness(x):
    return x.mean(dim=(1, 2, 3))


def start(model, n: int):
    from diffnum.models.runs.sampling import initial_noise

    return float(model.schedule.sigma(1.0)) * initial_noise(n, model.sample_shape, 0)


def test_steering_a_network_moves_its_samples_by_what_was_asked(model):
    x, plan = start(model, 128), planned(model)
    plain = run(plan, model, 128, x=x, seed=1)
    pop = run(plan, steered(model, brightness, 30.0), 128, x=x, seed=1)
    assert pop.x.dtype == torch.float32
    assert len(pop.resampled) >= 1
    before, after = (float(np.tensordot(p.weights, brightness(p.x).numpy(), 1)) for p in (plain, pop))
    assert after > before + 0.05
    batched = run(plan, steered(model, brightness, 30.0), 128, x=x, seed=1, batch=48)
    np.testing.assert_array_equal(batched.ancestors, pop.ancestors)
    torch.testing.assert_close(batched.x, pop.x, rtol=1e-4, atol=1e-4)


def test_a_run_of_a_network_resumes_to_the_bit(model):
    x, plan, sampler = start(model, 16), planned(model), steered(model, brightness, 30.0)
    whole = run(plan, sampler, 16, x=x, seed=2, batch=16)
    for stopped in populations(plan, sampler, 16, x=x, seed=2, batch=16):
        if stopped.state.step == 5:
            break
    again = run(plan, sampler, pickle.loads(pickle.dumps(stopped)), seed=2, batch=16)
    assert torch.equal(again.x, whole.x)
    np.testing.assert_array_equal(again.log_weights, whole.log_weights)


def test_a_network_is_asked_for_its_own_arrays(model):
    with pytest.raises(ValueError, match=r"x=None: .* is a network of dtype torch.float32; pass x="):
        run(planned(model), model, 8)

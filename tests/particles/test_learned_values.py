"""Learned values: exact where the features hold the value, the mean of the reward where that is learned instead."""

from __future__ import annotations

import numpy as np
import pytest

import diffnum as dn
from diffnum.particles import exact_value, learned_value, run, soft_values
from diffnum.particles.learned_values import monomials

SCHEDULE = dn.schedules.VPLinear()
NORMAL = dn.Gaussian([0.0], 1.0)
UNEVEN = dn.GaussianMixture([0.5, 0.5], [[-0.5], [0.8]], [1.0, 0.05])


def first(x):
    return x[:, 0]


def planned(steps: int, method: str = "sde_dpmpp_1") -> dn.Plan:
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, steps, t_start=1.0, t_end=1e-3)
    return dn.plan(method, SCHEDULE, grid)


def bumps(z):
    centres = np.linspace(-2.5, 2.5, 9)
    return np.concatenate([np.ones((len(z), 1)), z, np.exp(-2.0 * (z - centres) ** 2)], axis=1)


def apart(value, t: float, law: dn.GaussianMixture) -> float:
    """Deviation from the exact value, up to a constant: a choice among proposals sees differences only."""
    x = law.at(SCHEDULE, t).sample(4000, 3)
    return float(np.std(value(x, t) - exact_value(law, [1.0], 0.5, SCHEDULE)(x, t)))


def test_on_gaussian_data_a_linear_reward_has_a_linear_value_and_it_is_learned():
    plan = planned(12)
    value = learned_value(plan, NORMAL.denoiser(SCHEDULE), first, 0.5, 20000, features=lambda z: monomials(z)[:, :2])
    t = float(plan.times[8])
    x = np.linspace(-1.0, 1.0, 5)[:, None]
    slope = np.diff(value(x, t)) / 0.5
    # E[x_0 | x_t] of the chain is linear: its slope is the covariance of end and state over the variance of the state
    np.testing.assert_allclose(slope, slope[0])
    alpha, sigma = float(SCHEDULE.alpha(t)), float(SCHEDULE.sigma(t))
    assert abs(slope[0] - alpha / (alpha**2 + sigma**2)) < 0.12
    assert value.nfe == 20000 * 12


def test_the_soft_value_of_a_mixture_is_learned_and_the_mean_of_the_reward_is_another():
    plan, model = planned(40), UNEVEN.denoiser(SCHEDULE)
    t = float(plan.times[20])
    soft, mean = (learned_value(plan, model, first, 0.5, 6000, kind=k, features=bumps) for k in ("soft", "mean"))
    assert apart(soft, t, UNEVEN) < 0.12 < 0.18 < apart(mean, t, UNEVEN)


def test_a_learned_value_chooses_proposals_without_evaluations_and_raises_the_reward():
    plan, model = planned(12), NORMAL.denoiser(SCHEDULE)
    value = learned_value(plan, model, first, 1.0, 2000)
    pop = run(plan, soft_values(model, first, 1.0, 8, value=value), 500, seed=1)
    assert pop.nfe == 500 * 12
    assert pop.x.mean() > 0.4
    with pytest.raises(ValueError, match=r"is no inner node of the plan"):
        run(planned(13), soft_values(model, first, 1.0, 8, value=value), 8)


def test_values_stay_as_they_are_beyond_what_was_seen():
    plan = planned(6)
    value, t = learned_value(plan, NORMAL.denoiser(SCHEDULE), first, 1.0, 500), float(plan.times[3])
    far, farther = value(np.array([[50.0], [1e6]]), t)
    assert far == farther


def test_a_reward_far_from_zero_is_learned_as_well():
    plan, model = planned(6), NORMAL.denoiser(SCHEDULE)
    x, t = np.zeros((1, 1)), float(planned(6).times[3])
    near, far = (learned_value(plan, model, lambda x, b=b: first(x) + b, 1.0, 500)(x, t) for b in (0.0, 1e4))
    np.testing.assert_allclose(far - near, 1e4, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"temperature": 0.0}, ValueError, "temperature=0.0"),
        ({"n": 30}, ValueError, "n=30: 5 features need 50 samples"),
        ({"n": True}, (TypeError, ValueError), "n=True"),
        ({"kind": "hard"}, ValueError, "kind='hard' is unknown: use one of soft, mean"),
        ({"reward": 3}, TypeError, "reward=3"),
        ({"reward": lambda x: x}, ValueError, r"reward gave shape \(100, 1\)"),
        ({"reward": lambda x: x[:, 0] * np.nan}, ValueError, "infinite values or NaN"),
        ({"plan": planned(1)}, ValueError, "plan has 1 step"),
        ({"features": lambda z: z}, ValueError, "its first column 1"),
        ({"plan": planned(4, "ddim")}, ValueError, "draws no noise"),
    ],
)
def test_what_cannot_be_learned_is_refused(change, error, message):
    given = {"plan": planned(4), "model": NORMAL.denoiser(SCHEDULE), "reward": first, "temperature": 1.0, "n": 100}
    given |= change
    with pytest.raises(error, match=message):
        learned_value(**given)

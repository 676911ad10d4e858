"""Steering, twisting, soft values and search: against exact targets within three standard errors."""

from __future__ import annotations

import numpy as np
import pytest

import diffnum as dn
from diffnum.particles import (
    BestOfNormal,
    Node,
    best_of,
    exact_value,
    linear_log_likelihood,
    noise_search,
    path_search,
    run,
    soft_values,
    steered,
    steered_as_shipped,
    tempered,
    twisted,
    weighted_variance,
    zero_order,
)
from diffnum.particles.steering import POTENTIALS

from .test_population import variance_at_the_end

SCHEDULE = dn.schedules.VPLinear()
NORMAL = dn.Gaussian([0.0], 1.0).denoiser(SCHEDULE)
LAW = dn.GaussianMixture([0.3, 0.7], [[-0.8, 0.2], [0.8, 0.0]], [0.3, 0.4])


def planned(steps: int, method: str = "ddpm", end: float = 1e-3) -> dn.Plan:
    return dn.plan(method, SCHEDULE, dn.grids.uniform_half_log_snr(SCHEDULE, steps, t_start=1.0, t_end=end))


def first(x: np.ndarray) -> np.ndarray:
    return x[:, 0]


# -- Feynman-Kac steering --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "nodes"), [("difference", None), ("max", None), *((kind, (10, 20, 30)) for kind in sorted(POTENTIALS))]
)
def test_every_potential_steers_to_the_tilted_law(kind, nodes):
    plan = planned(40, "sde_dpmpp_2m")
    scale = 0.8 if kind == "difference" else 0.4  # the others overshoot, and take it back at the end
    sampler = steered(LAW.denoiser(SCHEDULE), first, scale, potential=kind, nodes=nodes)
    pop = run(plan, sampler, 8000, seed=4, islands=20)
    exact = LAW.tilted(slope=[scale, 0.0])
    mean, error = pop.estimate(lambda x: np.stack([x[:, 0], x[:, 0] < 0], axis=1).astype(float))
    from scipy.special import ndtr

    share = exact.weights @ ndtr(-exact.means[:, 0] / np.sqrt(exact.covariances))
    expected = np.array([exact.weights @ exact.means[:, 0], share])
    assert np.max((np.abs(mean - expected) - 0.002) / error) < 3.0, (mean, expected, error)
    evidence = np.exp(pop.island_log_evidence - exact.log_evidence)
    assert abs(evidence.mean() - 1.0) < 3.0 * evidence.std() / np.sqrt(19) + 0.002


def test_tempering_reaches_strong_rewards_with_more_particles_left():
    model, scale = NORMAL, 4.0
    plan = planned(80, "sde_dpmpp_2m")
    pops = {
        "tempered": run(plan, tempered(model, first, scale, share=0.6), 3000, seed=1, threshold=0.95),
        "at once": run(plan, steered(model, first, scale, nodes=(40,)), 3000, seed=1),
    }
    reach = variance_of_two_steps(plan)
    mean, error = pops["tempered"].estimate(first)
    assert abs(mean - scale * reach) < 3.0 * error + 0.05
    assert min(pops["tempered"].ess_history[:-1]) > 0.4 * 3000 > 5 * min(pops["at once"].ess_history)
    scales = pops["tempered"].memory["scale"]
    assert (scales == scale).all()


def variance_of_two_steps(plan: dn.Plan) -> float:
    return weighted_variance(plan, (1.0,), (1.0,)).plain


def test_the_scale_of_tempering_only_rises():
    seen = []
    sampler = tempered(LAW.denoiser(SCHEDULE), first, 3.0, share=0.8)

    def watched(node: Node) -> np.ndarray:
        gained = sampler.potential(node)
        seen.append(float(node.memory["scale"][0]))
        return gained

    run(planned(30, "sde_dpmpp_2m"), sampler, 500, potential=watched, seed=0, threshold=0.9)
    assert len(seen) == 31
    assert seen[0] > 0.0
    assert all(a <= b for a, b in zip(seen, seen[1:], strict=False))
    assert seen[-1] == 3.0


def instance(**options: object) -> tuple[float, float]:
    """Mean and spread of the known instance: N(0, 1), reward x, scale 1, rewards every 20 of 100 DDPM steps."""
    nodes, grid = (20, 40, 60, 80), dn.grids.uniform_time(SCHEDULE, 100, t_start=1.0, t_end=1e-3)
    plan = dn.plan("ddpm", SCHEDULE, grid)
    means = []
    for seed in range(10):
        if "adaptive" in options:
            pop = steered_as_shipped(plan, NORMAL, first, 1.0, 1000, nodes=nodes, seed=seed, **options)
        else:
            pop = run(plan, steered(NORMAL, first, 1.0, nodes=nodes), 1000, seed=seed, at=[n + 1 for n in nodes])
        means.append(float(pop.estimate(first)[0]))
    return float(np.mean(means)), float(np.std(means) / 3.0)


def test_the_known_instance_loses_its_weights_as_shipped_and_keeps_them_when_carried():
    grid = dn.grids.uniform_time(SCHEDULE, 100, t_start=1.0, t_end=1e-3)
    attainable = variance_at_the_end(dn.plan("ddpm", SCHEDULE, grid))
    assert 0.85 < attainable < 0.95  # DDPM of 100 steps has a standard deviation of about .957
    carried, error = instance()
    assert abs(carried - attainable) < 3.0 * error
    lost, error = instance(adaptive=True)
    assert abs(lost) < 0.1 < 0.8 * attainable
    dropped, _ = instance(adaptive=False)
    assert 0.5 < dropped < 0.8


# -- twisting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["sde_dpmpp_1", "ddpm"])
def test_twisting_samples_the_posterior_with_its_evidence(method):
    A, y, noise = [[1.0, 0.5]], [1.2], 0.6
    plan = planned(150, method)
    pop = run(plan, twisted(LAW.denoiser(SCHEDULE), linear_log_likelihood(A, y, noise)), 4000, seed=1, islands=20)
    exact = LAW.posterior(A, y, noise)
    mean, error = pop.estimate(lambda x: x)
    bias = 0.02  # of the steps: a method of order one
    assert np.max((np.abs(mean - exact.weights @ exact.means) - bias) / error) < 3.0
    found = np.exp(pop.island_log_evidence - exact.log_evidence)
    assert abs(found.mean() - 1.0) < 3.0 * found.std() / np.sqrt(19) + 0.03
    assert np.max(error) < 0.06
    assert pop.ess > 0.5 * pop.n  # the twist is what makes weights even


def test_twisting_without_its_weights_is_noticed():
    A, y, noise = [[1.0, 0.5]], [1.2], 0.3
    plan, exact = planned(100), LAW.posterior(A, y, noise)
    sampler = twisted(LAW.denoiser(SCHEDULE), linear_log_likelihood(A, y, noise))
    plain = run(plan, sampler.model, 4000, seed=1, islands=20)
    mean, error = plain.estimate(lambda x: x)
    assert np.max(np.abs(mean - exact.weights @ exact.means) / error) > 8.0


def test_the_evidence_of_a_twisted_run_of_one_kernel_has_no_bias():
    """With the chain's own law, not the model's: Gaussian data, where the chain is Gaussian."""
    plan = planned(10)
    variance = variance_at_the_end(plan)
    sampler = twisted(NORMAL, linear_log_likelihood([[1.0]], [0.7], 0.5))
    pop = run(plan, sampler, 8000, seed=3, islands=1000)
    exact = np.exp(-0.5 * 0.7**2 / (variance + 0.25)) / np.sqrt(2 * np.pi * (variance + 0.25))
    found = np.exp(pop.island_log_evidence)
    assert abs(found.mean() - exact) < 3.0 * found.std() / np.sqrt(1000)
    assert found.std() / np.sqrt(1000) < 0.08 * exact


# -- soft values -----------------------------------------------------------------------------------------


def test_soft_values_approach_the_tilted_law_from_below_as_candidates_grow():
    model, exact = LAW.denoiser(SCHEDULE), LAW.tilted(slope=[1.0, 0.0])
    expected, plain = exact.weights @ exact.means[:, 0], LAW.weights @ LAW.means[:, 0]
    value = exact_value(LAW, [1.0, 0.0], 1.0, SCHEDULE)
    gaps = []
    for candidates in (2, 4, 16):
        pop = run(planned(30, "sde_dpmpp_2m"), soft_values(model, first, 1.0, candidates, value=value), 2500, seed=2)
        mean, error = pop.estimate(first)
        gaps.append(expected - float(mean))
    assert expected - plain > gaps[0] + 3 * error
    assert gaps[0] > gaps[1] + 3 * error
    assert gaps[1] > gaps[2] + 3 * error
    assert 0.0 < gaps[2] < 0.25 * (expected - plain)  # what is left falls with the steps too


def test_exact_values_are_those_of_their_definition():
    """Against a sum over many draws of the data given the state."""
    t, temperature, x = 0.4, 0.7, np.array([[0.3, -0.2]])
    alpha, sigma = float(SCHEDULE.alpha(t)), float(SCHEDULE.sigma(t))
    drawn = LAW.posterior(alpha * np.eye(2), x[0], sigma).sample(200000, 1)[:, 0]
    factor = np.exp(drawn / temperature)
    found = exact_value(LAW, [1.0, 0.0], temperature, SCHEDULE)(x, t)[0]
    assert abs(np.exp(found / temperature) - factor.mean()) < 3.0 * factor.std() / np.sqrt(len(factor))


def test_the_largest_of_many_values_collapses_whatever_the_temperature():
    model = LAW.denoiser(SCHEDULE)
    spread = {}
    for choice in ("multinomial", "argmax"):
        pop = run(planned(40), soft_values(model, first, 2.0, 8, choice=choice), 1500, seed=2)
        spread[choice] = float(np.std(pop.x[:, 0])), float(np.mean(pop.x[:, 0]))
        assert pop.nfe == 1500 * 40 * 9
        assert pop.ess == pop.n
    assert spread["argmax"][0] < 0.6 * spread["multinomial"][0]
    assert spread["argmax"][1] > spread["multinomial"][1] + 1.0


# -- search ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 8, 64])
def test_best_of_n_has_the_law_of_order_statistics(count):
    law = BestOfNormal(count, 0.3, 0.7)
    known = {1: 0.0, 2: 1 / np.sqrt(np.pi), 8: 1.4236003060469, 64: 2.3436}
    assert law.expected == pytest.approx(0.3 + 0.7 * known[count], abs=1e-4)
    z = np.linspace(-12, 12, 4801)
    log_ratio = law.log_prob(z) - BestOfNormal(1, 0.3, 0.7).log_prob(z)
    divergence = np.sum(np.exp(law.log_prob(z)) * log_ratio) * (z[1] - z[0])
    assert divergence == pytest.approx(law.kl, abs=1e-6)
    # the tilt of the same divergence has the larger mean reward, and no law has a larger one
    tilt = law.tilt_of_equal_divergence()
    assert law.expected <= 0.3 + tilt * 0.7**2 + 1e-12


def test_searches_find_what_the_law_says_and_count_every_candidate():
    model = dn.Gaussian([0.0, 0.0], 1.0).denoiser(SCHEDULE)
    plan = planned(12, "dpmpp_2m")
    found = best_of(plan, model, first, 4, 3000, shape=(2,), seed=1)
    one = best_of(plan, model, first, 1, 3000, shape=(2,), seed=1)
    law = BestOfNormal(4, 0.0, float(one.reward.std()))
    assert abs(found.reward.mean() - law.expected) < 4.0 * np.sqrt(law.variance / 3000) + 0.02
    assert (found.nfe, one.nfe) == (48, 12)
    np.testing.assert_allclose(found.reward, found.x[:, 0])
    near = zero_order(plan, model, first, 500, shape=(2,), neighbours=4, rounds=3, seed=1)
    same = noise_search(plan, model, first, 500, by="zero_order", shape=(2,), neighbours=4, rounds=3, seed=1)
    np.testing.assert_array_equal(near.x, same.x)
    assert near.nfe == 13 * 12
    assert near.reward.mean() > found.reward.mean()
    assert abs(found.x[:, 1].mean()) < 4.0 / np.sqrt(3000)  # what the reward does not see stays as it is


def test_paths_that_go_back_to_noise_keep_the_law_and_selection_raises_the_reward():
    model, plan = dn.Gaussian([0.3, 0.0], 0.5).denoiser(SCHEDULE), planned(40, "edm_heun")
    options = {"shape": (2,), "begin": 20, "up": 4, "down": 8, "seed": 3}
    plain = path_search(plan, model, first, 4000, keep=1, copies=1, **options)
    assert abs(plain.x[:, 0].mean() - 0.3) < 3.0 * np.sqrt(0.5 / 4000)
    assert abs(plain.x[:, 0].var() - 0.5) < 3.0 * 0.5 * np.sqrt(2 / 4000) + 0.01
    searched = path_search(plan, model, first, 1000, keep=2, copies=3, **options)
    assert searched.reward.mean() > plain.reward.mean() + 0.5
    np.testing.assert_allclose(searched.reward, searched.x[:, 0])
    assert abs(searched.x[:, 1].var() - 0.5) < 4.0 * 0.5 * np.sqrt(2 / 1000) + 0.01  # unseen by the reward
    # 20 steps of 2 evaluations to begin with, then five rounds of 8 steps, four of them with a look at the data
    assert plain.nfe == 40 + 5 * 16 + 4
    assert searched.nfe == 2 * 40 + 6 * (5 * 16 + 4)


# -- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: steered(NORMAL, first, 1.0, potential="best"), ValueError, "potential='best' is unknown"),
        (lambda: tempered(NORMAL, first, -1.0), ValueError, "scale=-1.0: give a finite number >= 0"),
        (lambda: tempered(NORMAL, first, 1.0, share=1.0), ValueError, "share=1.0"),
        (lambda: steered(NORMAL, first, np.inf), ValueError, "scale=inf"),
        (
            lambda: run(planned(5), steered(NORMAL, lambda x: x[:, 0] * np.nan, 1.0), 8),
            ValueError,
            "a reward must be a number",
        ),
        (lambda: twisted(first, linear_log_likelihood([[1.0]], [0.0], 1.0)), TypeError, "has no jvp"),
        (lambda: linear_log_likelihood([[1.0]], [0.0, 1.0], 1.0), ValueError, r"y has shape \(2,\)"),
        (lambda: linear_log_likelihood([[1.0]], [0.0], 0.0), ValueError, "noise_std=0.0"),
        (
            lambda: run(planned(5, "sde_dpmpp_2m"), twisted(NORMAL, linear_log_likelihood([[1.0]], [0.0], 1.0)), 8),
            ValueError,
            "is no Gaussian kernel of the last state",
        ),
        (lambda: soft_values(NORMAL, first, 0.0, 4), ValueError, "temperature=0.0"),
        (lambda: soft_values(NORMAL, first, 1.0, 1), ValueError, "candidates=1: a choice needs"),
        (lambda: soft_values(NORMAL, first, 1.0, 4, choice="best"), ValueError, "choice='best'"),
        (lambda: best_of(planned(5), NORMAL, first, 0, 4, shape=(1,)), ValueError, "count=0"),
        (
            lambda: zero_order(planned(5), NORMAL, first, 4, shape=(1,), neighbours=1, rounds=1),
            ValueError,
            "draws noise on the way",
        ),
        (
            lambda: path_search(
                planned(9, "dpmpp_2m"), NORMAL, first, 4, shape=(1,), keep=1, copies=1, begin=3, up=1, down=2
            ),
            ValueError,
            "draws noise or has a history",
        ),
        (
            lambda: path_search(
                planned(9, "ddim"), NORMAL, first, 4, shape=(1,), keep=1, copies=1, begin=3, up=2, down=2
            ),
            ValueError,
            "0 < up < down",
        ),
        (lambda: noise_search(planned(5), NORMAL, first, 4, by="luck"), ValueError, "by='luck' is no search"),
        (lambda: BestOfNormal(0), ValueError, "count=0"),
        (
            lambda: best_of(planned(5), NORMAL, lambda x: x, 1, 4, shape=(1,)),
            ValueError,
            r"reward gave shape \(4, 1\) for 4 samples",
        ),
    ],
)
def test_what_cannot_be_steered_is_refused(action, error, message):
    with pytest.raises(error, match=message):
        action()

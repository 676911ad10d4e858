"""Exact laws of outputs: known numbers, exact samplers, product kernels, and that draws follow the laws."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from diffnum.discrete import (
    SAMPLERS,
    Bridge,
    ExactTokens,
    Law,
    Leap,
    LeapStage,
    Masked,
    StateSpace,
    TokenSampler,
    Uniform,
    Unmask,
    monte_carlo,
    output_law,
    sample,
    sampler,
    samplers,
)
from diffnum.discrete.enumeration import expand, push
from diffnum.discrete.output import advance, divergence
from diffnum.discrete.unmasking import counts

CHAIN = Law.markov(6, [[0.8, 0.2], [0.2, 0.8]], [0.5, 0.5])
BIBLIOGRAPHY = (Path(__file__).parents[2] / "book" / "references.bib").read_text(encoding="utf-8")
SMALL = Law(np.random.default_rng(4).dirichlet(np.ones(27)).reshape(3, 3, 3))
STEPS = {"first_hitting": None, "uniformisation": None, "blocks": 2}


def run_of(name: str) -> int | None:
    return STEPS.get(name, 3)


def law_for(name: str) -> Law:
    return CHAIN if name == "blocks" else SMALL


@pytest.mark.parametrize(
    ("steps", "tv"), [(1, 0.54978), (2, 0.29773), (4, 0.15050), (8, 0.07523), (16, 0.03756), (32, 0.01876)]
)
def test_the_known_distances_of_ancestral_sampling(steps: int, tv: float) -> None:
    assert output_law("ancestral", CHAIN, Masked(), steps=steps).tv == pytest.approx(tv, abs=5e-6)


def test_first_hitting_is_exact_and_one_token_a_step_by_any_rule_that_only_sees_the_state() -> None:
    assert output_law("first_hitting", CHAIN).tv < 1e-14
    for name in ("left_to_right", "margin", "random_parallel"):
        assert output_law(name, CHAIN, steps=6).tv < 1e-14
    # Choosing by the probability of the very token that was drawn prefers likely tokens: one at a time is not enough.
    assert output_law("confidence", CHAIN, steps=6).kl > 0.1


def test_the_reverse_chain_by_uniformisation_is_exact_up_to_its_end() -> None:
    for process in (Masked(), Uniform()):
        assert output_law("uniformisation", SMALL, process).tv < 2e-5
    assert output_law("ancestral", SMALL, Masked(), 3).tv > 1e-2


def test_ancestral_tweedie_and_the_leap_in_the_clock_of_the_noise_are_one_kernel_on_masked_data() -> None:
    kernels = [
        output_law(n, SMALL, Masked("cosine"), 4).p for n in ("ancestral", "tweedie_tau_leaping", "tau_leaping_clock")
    ]
    np.testing.assert_allclose(kernels[1], kernels[0], atol=1e-15)
    np.testing.assert_allclose(kernels[2], kernels[0], atol=1e-14)
    assert np.abs(output_law("tau_leaping", SMALL, Masked("cosine"), 4).p - kernels[0]).max() > 1e-3


def test_the_result_of_ancestral_sampling_depends_on_the_schedule_only_through_the_shares() -> None:
    linear = output_law("ancestral", SMALL, Masked(), nodes=[1.0, 0.5, 0.2, 0.0])
    cosine = Masked("cosine")
    same = cosine.survival.time(1 - np.array([1.0, 0.5, 0.2, 0.0]))
    np.testing.assert_allclose(output_law("ancestral", SMALL, cosine, nodes=same).p, linear.p, atol=1e-14)


@pytest.mark.parametrize("process", [Masked(), Uniform()], ids=lambda p: p.name)
def test_pushing_halves_is_the_sum_over_all_pairs_of_states(process: Masked) -> None:
    space = StateSpace(SMALL, process)
    law = space.marginal(0.6)
    probs = process.posterior(space.denoised(0.6), space.states, 0.6, 0.3)
    direct = np.zeros(space.size)
    for j, y in enumerate(space.states):
        direct[j] = np.sum(law * np.prod(probs[:, np.arange(3), y], axis=1))
    np.testing.assert_allclose(push(law, probs), direct, atol=1e-15)
    np.testing.assert_allclose(advance(Bridge(), space, law, 0.6, 0.3), direct, atol=1e-15)


def test_expanding_lists_every_outcome_once() -> None:
    probs = np.array([[[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    rows, outcomes, weights = expand(probs)
    found = {(int(r), *map(int, y)): w for r, y, w in zip(rows, outcomes, weights, strict=True)}
    wanted = {
        (r, a, b): probs[r, 0, a] * probs[r, 1, b]
        for r, a, b in product(range(2), range(3), range(3))
        if probs[r, 0, a] * probs[r, 1, b] > 0
    }
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("name", "process"),
    [(name, process) for process in (Masked(), Uniform()) for name in samplers(process.name)],
    ids=lambda v: v if isinstance(v, str) else v.name,
)
def test_draws_follow_the_exact_law_of_their_sampler(name: str, process: Masked) -> None:
    law, draws = law_for(name), 5000 if name == "uniformisation" else 20_000
    exact = output_law(name, law, process, run_of(name)).p.ravel()
    x = sample(ExactTokens(law, process), process, name, draws, run_of(name), seed=11)
    share = np.bincount(np.ravel_multi_index(tuple(x.T), (law.tokens,) * law.length), minlength=exact.size) / draws
    cells = exact > 0
    assert share[~cells].sum() == 0
    chi = draws * np.sum((share[cells] - exact[cells]) ** 2 / exact[cells])
    assert chi < cells.sum() + 5 * np.sqrt(2 * cells.sum())


def test_another_law_fails_the_same_test() -> None:
    exact = output_law("ancestral", SMALL, Masked(), 3).p.ravel()
    x = sample(ExactTokens(SMALL, Masked()), Masked(), "ancestral", 20_000, 2, seed=11)
    share = np.bincount(np.ravel_multi_index(tuple(x.T), (3, 3, 3)), minlength=27) / 20_000
    assert 20_000 * np.sum((share - exact) ** 2 / exact) > 27 + 5 * np.sqrt(54)


def test_the_output_of_first_hitting_is_the_data_to_monte_carlo_error() -> None:
    x = sample(ExactTokens(CHAIN, Masked()), Masked(), "first_hitting", 40_000, seed=2)
    share = np.bincount(np.ravel_multi_index(tuple(x.T), (2,) * 6), minlength=64) / 40_000
    assert 40_000 * np.sum((share - CHAIN.table.ravel()) ** 2 / CHAIN.table.ravel()) < 63 + 5 * np.sqrt(126)


def marginals(space: StateSpace, law: np.ndarray) -> np.ndarray:
    """Law of the state of each position."""
    return np.stack([[law[space.states[:, d] == b].sum() for b in range(space.letters)] for d in range(space.length)])


def test_one_step_of_remasking_keeps_the_law_of_each_token_but_not_of_pairs() -> None:
    space = StateSpace(SMALL, Masked())
    for name in ("remdm_cap", "remdm_rescale", "remdm_forward_backward", "ancestral"):
        out = advance(sampler(name).rule, space, space.marginal(0.6), 0.6, 0.5)  # type: ignore[arg-type]
        np.testing.assert_allclose(marginals(space, out), marginals(space, space.marginal(0.5)), atol=1e-14)
        assert np.abs(out - space.marginal(0.5)).max() > 1e-5
    wrong = advance(sampler("tau_leaping").rule, space, space.marginal(0.6), 0.6, 0.5)  # type: ignore[arg-type]
    assert np.abs(marginals(space, wrong) - marginals(space, space.marginal(0.5))).max() > 1e-3


def test_uncapped_remasking_masks_shown_tokens_in_its_last_step() -> None:
    space, rule = StateSpace(SMALL, Masked()), sampler("remdm_forward_backward").rule
    out = advance(rule, space, space.marginal(0.1), 0.1, 0.0)  # type: ignore[arg-type]
    masked = out[np.any(space.states == 3, axis=1)].sum()
    # as many as were masked before the step: 0.9 are shown, of which 0.1/0.9 are masked again
    assert masked == pytest.approx(1 - 0.9**3, abs=1e-12)
    capped = replace(rule, capped=True)  # type: ignore[type-var]
    assert advance(capped, space, space.marginal(0.1), 0.1, 0.0)[np.any(space.states == 3, axis=1)].sum() < 1e-14


def test_a_temperature_is_a_bias_that_steps_do_not_mend() -> None:
    cold = TokenSampler("cold", Bridge(temperature=0.7), ("masked",), 0, "-", "-", "-")
    far = [output_law(cold, CHAIN, Masked(), steps).tv for steps in (16, 64, 256, 512)]
    assert far[-1] > far[-2] > 0.1
    one_by_one = TokenSampler("cold", Unmask(one=True, temperature=0.7), ("masked",), None, "-", "-", "-")
    assert far[-1] == pytest.approx(output_law(one_by_one, CHAIN, Masked()).tv, rel=0.02)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_record_says_where_it_comes_from(name: str) -> None:
    record = SAMPLERS[name]
    assert record.name == name
    assert f"{{{record.cite}," in BIBLIOGRAPHY
    assert sampler(pickle.loads(pickle.dumps(record))) == record
    assert record.source
    assert record.idea.endswith(".")
    assert set(record.processes) <= {"masked", "uniform"}
    assert record.exact == (name in ("first_hitting", "uniformisation"))


def test_long_chains_are_judged_by_draws_with_their_error() -> None:
    law = Law.markov(24, [[0.8, 0.2], [0.2, 0.8]], [0.5, 0.5])
    rough = monte_carlo("ancestral", law, Masked(), 2, draws=2000)
    right = monte_carlo("first_hitting", law, Masked(), draws=2000)
    entropy = np.log(2) + 23 * -(0.8 * np.log(0.8) + 0.2 * np.log(0.2))
    assert right.reference == pytest.approx(-entropy, abs=5 * right.log_likelihood_error)
    assert right.log_likelihood == pytest.approx(-entropy, abs=5 * right.log_likelihood_error)
    assert rough.log_likelihood < -entropy - 20 * rough.log_likelihood_error
    assert rough.pairs > 5 * rough.pairs_error > 0
    assert right.pairs < 3 * right.pairs_error
    assert "neighbours" in str(right)


def test_the_divergence_is_exact_for_close_laws_and_infinite_without_support() -> None:
    p = np.array([0.5, 0.5])
    assert divergence(p, p) == 0.0
    assert divergence(p, np.array([0.5 + 1e-9, 0.5 - 1e-9])) == pytest.approx(2e-18, rel=1e-6)
    assert divergence(p, np.array([1.0, 0.0])) == np.inf
    assert divergence(p, np.array([0.25, 0.75])) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: output_law("ancestral", SMALL, Masked(), 0), "steps=0"),
        (lambda: output_law("nothing", SMALL, Masked(), 3), "'nothing' is unknown"),
        (lambda: output_law("first_hitting", SMALL, Uniform()), "does not run on the uniform process"),
        (lambda: output_law("ancestral", SMALL, Masked(), nodes=[0.5, 0.7]), "times that fall"),
        (lambda: output_law("ancestral", SMALL, Masked(), nodes=[1.0, 0.5]), "leaves masks at the end"),
        (lambda: output_law("random_parallel", SMALL, Masked(), [1, 1]), "masks would be left"),
        (lambda: output_law("blocks", CHAIN, Masked(), 3), "not a multiple of blocks"),
        (lambda: output_law("blocks", SMALL, Masked(), 2), "does not divide the length"),
        (lambda: sample(ExactTokens(SMALL, Masked()), n=0, steps=3), "n=0"),
        (lambda: counts(4, 2, "steep"), "'steep' is unknown"),
        (lambda: monte_carlo("ancestral", SMALL, Masked(), 2, draws=5), "draws=5"),
    ],
)
def test_bad_runs_are_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_a_model_that_returns_another_shape_is_named() -> None:
    class Wrong:
        length, tokens = 3, 3

        def __call__(self, x: np.ndarray, _t: float) -> np.ndarray:
            return np.ones((len(x), 3, 4)) / 4

    with pytest.raises(TypeError, match=r"shape \(2, 3, 4\)"):
        sample(Wrong(), n=2, steps=2)


def test_two_leaps_as_one_record_are_the_leap_with_twice_the_steps() -> None:
    twice = Leap((LeapStage(0, 0.5, (1,)), LeapStage(1, 0.5, (0, 1))))
    space = StateSpace(SMALL, Uniform())
    law = space.marginal(0.8)
    half = sampler("tau_leaping").rule
    by_two = advance(half, space, advance(half, space, law, 0.8, 0.7), 0.7, 0.6)  # type: ignore[arg-type]
    np.testing.assert_allclose(advance(twice, space, law, 0.8, 0.6), by_two, atol=1e-15)

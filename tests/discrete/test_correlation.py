"""What showing tokens at once costs, best schedules, and categorical draws of low precision."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from diffnum.discrete import (
    Bridge,
    Law,
    Masked,
    StateSpace,
    best_counts,
    best_sets,
    counts,
    counts_cost,
    effective_temperature,
    entropy_curve,
    gumbel_law,
    gumbel_maximum,
    output_law,
    parallel_divergence,
    total_correlation,
    truncated_law,
)
from diffnum.discrete.output import divergence

CHAIN = Law.markov(6, [[0.8, 0.2], [0.2, 0.8]], [0.5, 0.5])
ANY = Law(np.random.default_rng(8).dirichlet(0.5 * np.ones(81)).reshape(3, 3, 3, 3))


def shown_in_sets(law: Law, sets: list[list[int]]) -> np.ndarray:
    """Law of showing fixed sets, by multiplying conditionals: no entropies."""
    out = np.ones_like(law.table)
    before: list[int] = []
    for part in sets:
        for d in part:
            keep = sorted([*before, d])
            axes = tuple(e for e in range(law.length) if e not in keep)
            joint = law.table.sum(axis=axes, keepdims=True)
            given = joint.sum(axis=d, keepdims=True)
            out = out * np.where(given > 0, joint / np.where(given > 0, given, 1.0), 0.0)
        before += part
    return out


@pytest.mark.parametrize("sets", [[[0, 1, 2, 3]], [[0, 2], [1, 3]], [[3], [0, 1, 2]], [[1], [2], [0], [3]]])
def test_the_divergence_is_the_sum_of_conditional_total_correlations(sets: list[list[int]]) -> None:
    exact = divergence(ANY.table.ravel(), shown_in_sets(ANY, sets).ravel())
    assert parallel_divergence(ANY, sets) == pytest.approx(exact, abs=1e-12)


def test_one_step_costs_the_total_correlation() -> None:
    assert output_law("ancestral", CHAIN, Masked(), 1).kl == pytest.approx(
        total_correlation(CHAIN, range(6)), abs=1e-12
    )
    assert total_correlation(CHAIN, [0, 2], [1]) == pytest.approx(0.0, abs=1e-12)


def test_random_sets_cost_at_least_the_divergence_of_the_output() -> None:
    curve = entropy_curve(CHAIN)
    for steps in (2, 3, 4):
        cost = counts_cost(curve, counts(6, steps))
        assert 0 < output_law("random_parallel", CHAIN, Masked(), steps).kl < cost


def test_the_best_sets_are_those_of_an_exhaustive_search() -> None:
    for steps in (1, 2, 3):
        sets, cost = best_sets(ANY, steps)
        assert parallel_divergence(ANY, sets) == pytest.approx(cost, abs=1e-12)
        assert cost == pytest.approx(min(parallel_divergence(ANY, s) for s in partitions(4, steps)), abs=1e-12)


def partitions(length: int, steps: int) -> list[list[list[int]]]:
    """Ordered partitions of the positions into at most ``steps`` sets."""
    found = []
    for code in range(steps**length):
        labels = [code // steps**d % steps for d in range(length)]
        sets = [[d for d in range(length) if labels[d] == k] for k in range(steps)]
        if all(sets):
            found.append(sets)
    return found


def test_a_chain_of_six_is_shown_exactly_in_three_steps() -> None:
    sets, cost = best_sets(CHAIN, 3)
    assert cost == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(shown_in_sets(CHAIN, [list(s) for s in sets]), CHAIN.table, atol=1e-15)
    assert best_sets(CHAIN, 2)[1] > 0.1


def test_the_best_counts_are_those_of_an_exhaustive_search() -> None:
    curve = entropy_curve(CHAIN)
    for steps in (1, 2, 3, 4):
        shares, cost = best_counts(curve, steps)
        every = [c for c in np.ndindex(*(7,) * steps) if sum(c) == 6 and min(c) > 0]
        assert cost == pytest.approx(min(counts_cost(curve, c) for c in every), abs=1e-12)
        assert counts_cost(curve, shares) == pytest.approx(cost, abs=1e-12)


def test_the_curve_of_a_chain_by_its_gaps_is_that_by_all_subsets() -> None:
    law = Law.markov(7, np.random.default_rng(0).dirichlet(np.ones(3), size=(6, 3)), [0.2, 0.3, 0.5])
    np.testing.assert_allclose(entropy_curve(law), entropy_curve(Law(law.table)), atol=1e-12)


def test_more_steps_never_cost_more_and_the_best_beats_even_and_cosine() -> None:
    curve = entropy_curve(Law.markov(64, [[0.9, 0.1], [0.1, 0.9]], [0.5, 0.5]))
    costs = [best_counts(curve, steps)[1] for steps in (1, 2, 4, 8, 16, 32, 64)]
    assert all(a > b for a, b in pairwise(costs))
    for rule in ("even", "cosine"):
        assert best_counts(curve, 8)[1] < counts_cost(curve, counts(64, 8, rule))


@pytest.mark.parametrize("length", [1, 2, 7, 16, 64, 256])
def test_the_cosine_schedule_shows_at_least_one_token_a_step_and_maskgit_s_numbers(length: int) -> None:
    for steps in {1, 2, min(8, length), max(1, length // 3), length} & set(range(1, length + 1)):
        shown = counts(length, steps, "cosine")
        assert len(shown) == steps
        assert min(shown) >= 1
        left = [int(length * np.cos(np.pi / 2 * i / steps)) for i in range(1, steps)]  # rounded down, as MaskGIT does
        if all(a > b for a, b in pairwise([length, *left])):
            assert list(length - np.cumsum(shown)[:-1]) == left


# -- precision ----------------------------------------------------------------------------------------


def test_the_largest_noise_of_single_precision() -> None:
    assert gumbel_maximum() == pytest.approx(16.6355, abs=1e-4)
    assert gumbel_maximum(53) == pytest.approx(36.7368, abs=1e-4)


@pytest.mark.parametrize("p", [[0.6, 0.3, 0.09, 0.01], [0.25] * 4, [0.999, 0.001], [0.5, 0.5, 0.0]])
def test_the_truncated_law_is_that_of_draws(p: list[float]) -> None:
    bits, draws = 6, 400_000
    least = -np.log1p(-(2.0**-bits))
    race = np.random.default_rng(1).exponential(size=(draws, len(p))) + least
    with np.errstate(divide="ignore"):
        won = np.bincount(np.argmin(race / np.array(p), axis=1), minlength=len(p)) / draws
    exact = truncated_law(p, bits)
    assert exact.sum() == pytest.approx(1.0, abs=1e-14)
    np.testing.assert_allclose(won, exact, atol=5 * np.sqrt(0.25 / draws))


@pytest.mark.parametrize(
    ("p", "copies", "bits"),
    [([0.6, 0.3, 0.1], [1, 1, 1], 8), ([0.95, 5e-5], [1, 1000], 12), ([0.5, 5e-4], [1, 1000], 14)],
)
def test_draws_with_uniforms_of_few_bits_follow_the_counted_law(p: list[float], copies: list[int], bits: int) -> None:
    draws = 8000
    each, kind = np.repeat(p, copies), np.repeat(np.arange(len(p)), copies)
    u = np.random.Generator(np.random.Philox(4)).integers(0, 2**bits, size=(draws, each.size)) / 2.0**bits
    with np.errstate(divide="ignore"):
        won = np.bincount(kind[np.argmin(-np.log(u) / each, axis=1)], minlength=len(p)) / draws
    exact = gumbel_law(p, copies, bits)
    assert exact.sum() == pytest.approx(1.0, abs=1e-3)  # draws that tie across kinds are in neither
    np.testing.assert_allclose(won, exact, atol=5 * np.sqrt(0.25 / draws))


def test_the_loss_is_real_and_smaller_than_continuous_truncation_says() -> None:
    full = 0.05
    counted = gumbel_law([0.95, 5e-6], [1, 10_000], 16)[1]
    truncated = 1 - truncated_law(np.concatenate([[0.95], np.full(10_000, 5e-6)]), 16)[0]
    assert truncated < counted < full / 5
    assert gumbel_law([0.95, 5e-6], [1, 10_000], 36)[1] == pytest.approx(full, rel=1e-3)


def test_blocks_count_what_one_by_one_counts() -> None:
    fine = gumbel_law([0.7, 0.2, 0.1], 1, 12)
    np.testing.assert_allclose(gumbel_law([0.7, 0.2, 0.1], 1, 30), [0.7, 0.2, 0.1], atol=2e-6)
    np.testing.assert_allclose(fine, [0.7, 0.2, 0.1], atol=2e-3)


def test_the_effective_temperature_falls_with_fewer_bits() -> None:
    p = 1.0 / np.arange(1, 2001)
    p /= p.sum()
    temperatures = [effective_temperature(p, truncated_law(p, bits)) for bits in (24, 16, 11)]
    assert 1.0 > temperatures[0] > temperatures[1] > temperatures[2]
    assert effective_temperature(p, truncated_law(p, 53)) == pytest.approx(1.0, abs=1e-9)
    assert effective_temperature(p, p**2 / np.sum(p**2)) == pytest.approx(0.5, abs=1e-9)


def test_a_masked_step_cuts_rare_tokens_the_more_the_shorter_it_is() -> None:
    """One token is drawn beside the mask, so that its probability falls with the step."""
    law = Law(np.array([0.9, 0.0999, 0.0001]))
    space = StateSpace(law, Masked())
    lost = []
    for steps in (10, 1000, 100_000):
        t = 0.5
        probs = Bridge().stage(0, space.process, [np.array([[3]])], [space.denoised(t)[3:4]], t, t - t / steps)[0, 0]
        shown = truncated_law(probs)[:3]
        lost.append(1 - shown[2] / shown.sum() / 0.0001)
    assert lost[0] < lost[1] < lost[2]
    assert lost[2] > 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parallel_divergence(CHAIN, [[0, 1]]), "each position must be in one set"),
        (lambda: best_sets(CHAIN, 0), "steps=0"),
        (lambda: total_correlation(CHAIN, [0], [0]), "overlap"),
        (lambda: counts_cost(entropy_curve(CHAIN), [3, 2]), "add up to 6"),
        (lambda: truncated_law([0.5, 0.6]), "sums to 1.1"),
        (lambda: truncated_law([0.5, 0.5], 60), "bits=60"),
    ],
)
def test_bad_sets_and_laws_are_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]

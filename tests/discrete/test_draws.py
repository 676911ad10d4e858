"""Orders of laws that are known by draws: on errors that are powers by construction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffnum.discrete.draws import order_along, rate_by_draws, squared_distance

EXACT = np.array([0.4, 0.3, 0.2, 0.1])
LEADING = np.array([0.3, -0.2, -0.1, 0.0])
STEPS = (2, 3, 4, 6, 8, 12, 16, 24)


def shares(law_at: Any, seed: int = 0) -> Any:
    def drawn(level: int, turn: int, n: int) -> np.ndarray:
        rng = np.random.default_rng([seed, level, turn])
        return rng.multinomial(n, law_at(STEPS[level])) / n

    return drawn


@pytest.mark.parametrize(
    ("law_at", "order"),
    [
        (lambda n: EXACT + 0.4 * LEADING / n, 1),
        (lambda n: EXACT + LEADING / n**2, 2),
        (lambda n: EXACT + 0.3 * LEADING, 0),
    ],
)
def test_the_power_of_the_error_is_found_by_most_draws_and_no_other(law_at: Any, order: int) -> None:
    found = [rate_by_draws(shares(law_at, seed), EXACT, STEPS, 10_000_000).order for seed in range(8)]
    assert set(found) <= {order, None}
    assert found.count(order) >= 6


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "law_at",
    [
        lambda n: EXACT + 0.5 * LEADING / n**1.5,
        lambda n: EXACT + 0.1 * LEADING + 0.5 * LEADING / n,  # levels off: does not converge
    ],
)
def test_what_is_no_whole_power_is_not_given_a_wrong_one(law_at: Any, seed: int) -> None:
    found = rate_by_draws(shares(law_at, seed), EXACT, STEPS, 400_000)
    assert found.status == "undecided" or found.order == 0, found.reason


@pytest.mark.parametrize("seed", range(5))
def test_an_exact_law_is_exact_and_a_hidden_error_is_none(seed: int) -> None:
    assert rate_by_draws(shares(lambda n: EXACT, seed), EXACT, STEPS, 20_000).status == "exact"
    late = rate_by_draws(shares(lambda n: EXACT + 0.3 * LEADING * (n > 12), seed), EXACT, STEPS, 20_000)
    assert late.status == "floor"


def test_few_draws_are_asked_for_where_they_decide() -> None:
    asked: list[int] = []
    inner = shares(lambda n: EXACT + 0.3 * LEADING)

    def counted(level: int, turn: int, n: int) -> np.ndarray:
        asked.append(n)
        return np.asarray(inner(level, turn, n))

    assert rate_by_draws(counted, EXACT, STEPS, 400_000).order == 0
    assert sum(asked) == len(STEPS) * (50_000 + 4 * 43_750)


N = np.array(STEPS, dtype=float)
CURVES = {
    "a bias": (0.05 + 1 / N, 0),
    "a bias of the other sign": (1 / N - 0.05, 0),
    "first order": (1 / N - 2 / N**2, 1),
    "second order": (1 / N**2 + 3 / N**3, 2),
    "third order": (1 / N**3, 3),
}


@pytest.mark.parametrize("name", CURVES)
def test_the_first_term_of_an_expansion_is_its_order_whatever_the_terms_behind_it(name: str) -> None:
    curve, order = CURVES[name]
    rng = np.random.default_rng(0)
    for _ in range(10):
        noise = np.full((2, len(N)), 1e-5)
        along = np.stack([curve, np.zeros_like(N)]) + noise * rng.normal(size=noise.shape)
        found, direction, lower, reason = order_along(STEPS, along, noise)
        assert found == order, reason
        assert direction == 0
        assert lower <= 0.25


def test_a_term_that_the_noise_could_hide_leaves_the_order_undecided() -> None:
    rng = np.random.default_rng(0)
    for bias, error, told in ((0.0, 1.5e-2, {None}), (0.05, 4e-3, {None, 0})):
        noise = np.full((1, len(N)), error)
        along = (bias + 1 / N)[None] + noise * rng.normal(size=noise.shape)
        assert order_along(STEPS, along, noise)[0] in told


def test_a_bias_across_the_direction_of_the_coarsest_error_is_found_along_that_of_the_finest() -> None:
    noise = np.full((2, len(N)), 1e-4)
    assert order_along(STEPS, np.stack([1 / N, np.full_like(N, 0.02)]), noise)[:2] == (0, 1)
    assert order_along(STEPS, np.stack([1 / N, np.full_like(N, 0.0)]), noise)[:2] == (1, 0)


def test_the_squared_distance_has_no_bias() -> None:
    rng = np.random.default_rng(0)
    law, n = EXACT + 0.1 * LEADING, 500
    found = [squared_distance(rng.multinomial(n, law) / n, EXACT, n) for _ in range(4000)]
    mean, spread = np.mean(found, axis=0)[0], np.std([f[0] for f in found])
    assert abs(mean - np.sum((law - EXACT) ** 2)) < 4 * spread / np.sqrt(len(found))
    assert spread < np.sqrt(np.mean([f[1] for f in found])) < 1.5 * spread  # rather too large than too small

"""Draws spread evenly over a batch: the law of each row is that of any generator, the noise of a mean is less."""

from __future__ import annotations

import numpy as np
import pytest

from diffnum.discrete.strata import EvenDraws


def even(seed: int, states: np.ndarray | None = None) -> EvenDraws:
    rng = EvenDraws(np.random.SeedSequence(seed))
    rng.seen(np.zeros(64, dtype=np.int64) if states is None else states)
    return rng


def test_the_numbers_of_one_row_are_uniform_and_independent_over_columns_calls_and_states() -> None:
    rows = []
    for seed in range(4000):
        rng = even(seed)
        first, second = rng.random((64, 2)), rng.random(64)
        rng.seen((first[:, 0] > 0.5).astype(np.int64))
        rows.append([*first[7], second[7], *rng.random((64, 2))[7]])
    u = np.array(rows)
    for column in u.T:
        counts = np.bincount((column * 10).astype(int), minlength=10)
        assert np.sum((counts - 400) ** 2 / 400) < 9 + 5 * np.sqrt(18)
    off = np.corrcoef(u.T) - np.eye(5)
    assert np.abs(off).max() < 4.5 / np.sqrt(4000)
    # the sign of one says nothing of where the next is
    assert np.abs(np.corrcoef((u[:, 0] > 0.5) * u[:, 1], u[:, 3])[0, 1]) < 4.5 / np.sqrt(4000)


def test_shares_within_a_state_are_nearly_probabilities() -> None:
    states = np.random.default_rng(0).integers(3, size=3000)
    found = {"even": [], "any": []}  # type: dict[str, list[float]]
    for seed in range(40):
        for kind, rng in (("even", even(seed, states)), ("any", np.random.default_rng(seed))):
            u = rng.random((3000, 2))
            found[kind].append(float(np.mean((u[states == 1] < [0.3, 0.6]).all(axis=1))))
    assert abs(np.mean(found["even"]) - 0.18) < 4 * np.std(found["even"]) / np.sqrt(40)
    assert np.std(found["even"]) < np.std(found["any"]) / 4


@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (lambda rng: rng.uniform(2.0, 4.0, (64, 3)), 3.0),
        (lambda rng: rng.exponential(2.0, (64, 3)), 2.0),
        (lambda rng: rng.standard_exponential((64, 3)), 1.0),
        (lambda rng: rng.gumbel(1.0, 2.0, (64, 3)), 1.0 + 2.0 * np.euler_gamma),
        (lambda rng: rng.random((64, 3), dtype=np.float32), 0.5),
        (lambda rng: rng.random(out=np.empty((64, 3))), 0.5),
        (lambda rng: rng.random((7, 3)), 0.5),
        (lambda rng: rng.random((64, 100)), 0.5),
    ],
)
def test_every_kind_of_number_has_its_mean(draw: object, mean: float) -> None:
    found = [draw(even(seed)) for seed in range(200)]  # type: ignore[operator]
    means = [float(np.mean(x)) for x in found]
    assert abs(np.mean(means) - mean) < 5 * np.std(means) / np.sqrt(200) + 1e-9
    assert np.all(np.isfinite(found))


def test_numbers_that_are_not_for_rows_are_those_of_any_generator() -> None:
    rng, other = even(3), np.random.Generator(np.random.Philox(np.random.SeedSequence(3)))
    for size in (None, 5, (3, 64)):
        np.testing.assert_array_equal(rng.random(size), other.random(size))
    assert rng.gumbel() == other.gumbel()
    assert rng.uniform() == other.uniform()
    assert rng.exponential() == other.exponential()
    assert isinstance(rng, np.random.Generator)
    assert np.random.default_rng(rng) is rng
    single = even(3).random((64, 1), dtype=np.float32)
    assert single.dtype == np.float32
    assert single.max() < 1.0

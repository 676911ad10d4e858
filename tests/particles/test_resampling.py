"""Resampling: no scheme is biased, none picks what has no weight, and their variances are ordered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnum.particles.resampling import SCHEMES, ancestors, effective_size, log_mean

quick = settings(max_examples=30, deadline=None)
weights = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=9).filter(lambda w: sum(w) > 0.1)


def counts(found: np.ndarray, n: int) -> np.ndarray:
    return np.bincount(found, minlength=n)


@quick
@given(weights)
def test_systematic_resampling_has_the_right_mean_exactly(raw):
    w = np.array(raw) / sum(raw)
    n = len(w)
    edges = np.unique(np.concatenate([[0.0, 1.0], np.clip((n * np.cumsum(w)) % 1.0, 0.0, 1.0)]))
    choose = SCHEMES["systematic"].choose
    mean = sum(
        (b - a) * counts(choose(w, np.array([0.5 * (a + b)])), n) for a, b in zip(edges, edges[1:], strict=False)
    )
    np.testing.assert_allclose(mean, n * w, atol=1e-9)


@quick
@given(weights)
def test_stratified_resampling_has_the_right_mean_exactly(raw):
    w = np.array(raw) / sum(raw)
    n = len(w)
    edges = np.unique(np.concatenate([np.arange(n + 1.0), n * np.clip(np.cumsum(w), 0.0, 1.0)]))
    mean = np.zeros(n)
    for a, b in zip(edges, edges[1:], strict=False):  # between two edges the stratum's draw gives one particle
        middle = 0.5 * (a + b)
        stratum = min(int(middle), n - 1)
        draws = np.full(n, 0.5)
        draws[stratum] = middle - stratum
        mean[SCHEMES["stratified"].choose(w, draws)[stratum]] += b - a
    np.testing.assert_allclose(mean, n * w, atol=1e-9)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_descendants_have_the_right_mean_and_schemes_the_known_variance(scheme):
    rng, trials = np.random.default_rng(0), 4000
    w = np.array([0.02, 0.3, 0.25, 0.0, 0.4, 0.03])
    n = len(w)
    found = np.array(
        [counts(ancestors(np.log(np.maximum(w, 1e-300)), scheme, rng.random(n)), n) for _ in range(trials)]
    )
    assert (found.sum(axis=1) == n).all()
    assert not found[:, 3].any()
    error = found.std(axis=0) / np.sqrt(trials)
    assert np.max(np.abs(found.mean(axis=0) - n * w) / np.maximum(error, 1e-9)) < 3.5
    multinomial = n * w * (1 - w)
    share = (n * w) % 1.0
    bound = {"multinomial": multinomial, "systematic": share * (1 - share)}.get(scheme, multinomial)
    slack = 1.0 + 5.0 / np.sqrt(trials)
    assert np.all(found.var(axis=0) <= bound * slack + 1e-12)
    if scheme != "multinomial":
        assert found.var(axis=0).sum() < 0.8 * multinomial.sum()


def test_a_biased_scheme_is_noticed():
    """The comparison above rejects a scheme that forgets the weights."""
    rng, trials = np.random.default_rng(0), 4000
    w = np.array([0.5, 0.3, 0.2])
    found = np.array([counts(rng.integers(3, size=3), 3) for _ in range(trials)])
    error = found.std(axis=0) / np.sqrt(trials)
    assert np.max(np.abs(found.mean(axis=0) - 3 * w) / error) > 10


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@pytest.mark.parametrize("n", [2, 3, 7, 49, 1000])
def test_equal_weights_keep_every_particle_where_the_scheme_is_no_lottery(scheme, n):
    found = ancestors(np.full(n, -3.0), scheme, np.random.default_rng(n).random(n))
    if scheme == "multinomial":
        assert found.min() >= 0
        assert found.max() < n
    else:
        np.testing.assert_array_equal(found, np.arange(n))


def test_sizes_and_means_of_weights_need_no_scale():
    log_weights = np.array([0.0, np.log(3.0), -np.inf])
    for shift in (0.0, 900.0, -900.0):
        assert effective_size(log_weights + shift) == pytest.approx(16 / 10)
        assert log_mean(log_weights + shift) == pytest.approx(np.log(4 / 3) + shift)

"""Rank correlation: Spearman's, with an interval that covers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from diffnum.analysis import rank_correlation

few = st.lists(st.integers(0, 9), min_size=5, max_size=5).filter(lambda v: len(set(v)) > 1)


@given(few, few)
def test_the_value_is_spearmans_ties_included(first: list[int], second: list[int]) -> None:
    found = rank_correlation(first, second, resamples=50)
    assert found.value == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)
    assert -1 - 1e-12 <= found.low <= found.high <= 1 + 1e-12


def test_only_ranks_count_and_the_sign_is_right() -> None:
    x = np.array([1.0, 5.0, 2.0, 9.0])
    assert rank_correlation(x, np.exp(x)).value == pytest.approx(1)
    assert rank_correlation(x, -x).value == pytest.approx(-1)


def test_the_interval_is_narrow_for_many_points_and_wide_for_few() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(400)
    y = x + rng.standard_normal(400)
    many, few_points = rank_correlation(x, y), rank_correlation(x[:8], y[:8])
    assert many.low < many.value < many.high
    assert many.high - many.low < 0.2 < few_points.high - few_points.low
    noise = rank_correlation(x, rng.standard_normal(400))
    assert noise.low < 0 < noise.high


def test_pairs_with_a_nan_are_left_out_and_the_seed_decides_the_draws() -> None:
    whole = rank_correlation([1, 2, 4, 3, np.nan], [1, 3, 2, 4, 5])
    assert whole == rank_correlation([1, 2, 4, 3], [1, 3, 2, 4])
    assert whole.count == 4
    assert str(whole).startswith("0.40 [")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"second": [1.0, 2.0]}, "same length"),
        ({"first": [1, np.nan, 2, np.nan]}, "2 pairs are left"),
        ({"first": [1, 1, 1, 1]}, "not constant"),
        ({"resamples": 0}, "resamples=0"),
        ({"level": 1.0}, "level=1.0"),
    ],
)
def test_bad_input_is_named(words: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        rank_correlation(**{"first": [1, 2, 3, 4], "second": [1, 2, 4, 3], **words})

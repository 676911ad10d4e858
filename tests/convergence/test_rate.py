"""The rate estimator, from both sides: it finds the order of clean data, and refuses all other data."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from diffnum.convergence.rate import RateEstimate, estimate_rate

ORDERS = (0.5, 1, 1.5, 2, 3, 4, 5, 6)
STEPS = np.array([20, 40, 80, 160, 320])

orders = st.sampled_from(ORDERS)
magnitudes = st.floats(-6, 6).map(lambda k: 10.0**k)
grids = st.sampled_from(
    [(20, 40, 80, 160, 320), (10, 15, 22, 33, 50, 75), (8, 16, 32, 64, 128, 256), (5, 7, 11, 20, 40)]
)


def assert_only_order(estimate: RateEstimate, p: float, gap: float = 1.0) -> None:
    assert estimate.supports(p), str(estimate)
    assert not estimate.rejects(p), str(estimate)
    assert estimate.order == p, str(estimate)
    for other in (p - gap, p + gap):
        assert not estimate.supports(other), str(estimate)
        assert estimate.rejects(other), str(estimate)


@given(orders, magnitudes, grids)
def test_a_pure_power_is_that_order_and_neither_neighbour(p, c, steps):
    estimate = estimate_rate(steps, c * np.array(steps, dtype=float) ** -p, floor=0, grid=0.5)
    assert_only_order(estimate, p, gap=0.5)
    assert estimate.rate == pytest.approx(p, abs=1e-10)
    assert estimate.used.all()


@given(orders, magnitudes, st.floats(-0.4, 0.6))
def test_a_first_correction_is_extrapolated_away(p, c, a):
    h = STEPS[0] / STEPS
    estimate = estimate_rate(STEPS, c * h**p * (1 + a * h), floor=0, grid=0.5)
    assert estimate.status == "decided"
    assert_only_order(estimate, p, gap=0.5)
    assert abs(estimate.rate - p) <= abs(estimate.last_rate - p) + 1e-9, "extrapolation must not hurt"


@given(orders, magnitudes, st.floats(-0.9, 30), st.integers(4, 7), grids)
def test_no_drift_of_any_size_makes_a_decided_rate_exclude_the_true_order(p, c, a, levels, steps):
    h = steps[0] / np.array(steps[:levels], dtype=float)
    estimate = estimate_rate(steps[:levels], c * h**p * (1 + a * h), floor=0)
    assert not estimate.rejects(p) or a * h[-3] > 1, "only a correction still dominant may mislead"


@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_crossover_to_a_lower_order_is_pre_asymptotic_until_it_is_over(p):
    h = 1 / STEPS
    during = estimate_rate(STEPS, h ** (p + 1) + h**p / 80)
    assert during.status == "pre-asymptotic"
    assert "fall" in during.reason
    assert not any(during.supports(q) or during.rejects(q) for q in (p, p + 1))
    assert_only_order(estimate_rate(STEPS, h ** (p + 1) + h**p), p)


@pytest.mark.parametrize("p", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("accuracy", [1e-16, 1e-14, 1e-13])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_levels_at_the_rounding_floor_are_left_out(p, accuracy, scale):
    n = 4 * 2 ** np.arange(9)
    noise = 1 + 0.9 * np.sin(7.0 * np.arange(9))
    estimate = estimate_rate(n, scale * (0.1 * (4 / n) ** p + accuracy * noise), scale=scale)
    assert_only_order(estimate, p)
    assert p < 5 or "rounding floor" in estimate.reason
    assert all(note in ("", "floor") for note in estimate.notes)


def test_nothing_but_rounding_above_too_few_pairs_is_reported_as_floor():
    errors = [1e-4, 1e-8, 3e-13, 2e-13, 3e-13]
    estimate = estimate_rate(STEPS, errors)
    assert (estimate.status, estimate.rate, estimate.order) == ("floor", None, None)
    assert "fewer steps" in estimate.reason


def test_the_floor_can_be_given_and_single_precision_has_its_own():
    h = 1 / STEPS
    errors = h**2 + 2e-6
    assert estimate_rate(STEPS, errors).status == "pre-asymptotic"
    single = estimate_rate(10 * 2 ** np.arange(7), 5.0 * (2.0 ** -np.arange(7)) ** 2 + 1e-4, eps=1.2e-7)
    assert_only_order(single, 2)
    assert estimate_rate(STEPS, h**2 * (1 + (h < 0.01)), floor=1e-4).status == "floor"


@pytest.mark.parametrize("plateau", [1e-2, 1e-5, 1e-8])
def test_an_error_that_stalls_above_rounding_never_supports_the_order_it_first_showed(plateau):
    n = 10 * 2 ** np.arange(8)
    for levels in range(4, 9):
        errors = (10 / n[:levels]) ** 3 + plateau
        estimate = estimate_rate(n[:levels], errors)
        contaminated = plateau > 0.1 * (10 / n[levels - 1]) ** 3
        assert not (contaminated and estimate.supports(3)), str(estimate)
    assert estimate_rate(n, (10 / n) ** 3 + 1e-2).order == 0


@pytest.mark.parametrize("errors", [np.full(5, 0.3), 0.3 + 1 / STEPS, 0.3 - 1 / STEPS])
def test_a_constant_error_does_not_converge(errors):
    estimate = estimate_rate(STEPS, errors)
    assert (estimate.status, estimate.order) == ("decided", 0)
    assert "does not converge" in estimate.reason
    assert estimate.rejects(1)
    assert not estimate.supports(1)


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 5.0])
def test_a_growing_error_has_a_negative_rate_and_is_never_convergent(p):
    estimate = estimate_rate(STEPS, 1e-3 * STEPS**p)
    assert estimate.status == "diverging"
    assert estimate.rate == pytest.approx(-p)
    assert not estimate.supports(p)
    assert not estimate.supports(-p)
    assert estimate.rejects(p)


def test_a_rate_that_settles_below_zero_is_diverging_even_if_one_pair_is_nearly_flat():
    estimate = estimate_rate(STEPS, np.exp(np.cumsum([0, 0.05, 0.12, 0.10, 0.14]) * math.log(2)))
    assert estimate.status == "diverging"
    assert estimate.rate < -0.1


def test_noise_about_the_floor_is_floor_and_not_cancellation():
    n = 10 * 2 ** np.arange(8)
    errors = np.array([1e-2, 1e-4, 1e-6, 1e-8, 3e-14, 6e-13, 2e-13, 8e-13])
    estimate = estimate_rate(n, errors)
    assert estimate.notes == ("", "", "", "", "floor", "floor", "floor", "floor")
    assert estimate.rate == pytest.approx(math.log2(100))


def test_exponential_growth_is_diverging_without_a_rate():
    estimate = estimate_rate(STEPS, np.exp(STEPS / 5))
    assert (estimate.status, estimate.rate, estimate.uncertainty) == ("diverging", None, math.inf)
    assert estimate.last_rate < 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_divergence_at_coarse_levels_is_dropped_and_at_the_finest_is_the_verdict(bad):
    n = 5 * 2 ** np.arange(7)
    errors = np.outer((1.0 / n) ** 2, np.ones(3))
    coarse = errors.copy()
    coarse[1, 2] = bad
    estimate = estimate_rate(n, coarse)
    assert_only_order(estimate, 2)
    assert estimate.notes[:3] == ("unstable", "diverged", "")
    assert "diverged at n=10" in estimate.reason
    errors[-1, 0] = bad
    finest = estimate_rate(n, errors)
    assert finest.status == "diverging"
    assert finest.rejects(2)
    assert "n=320" in finest.reason


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("factor", [0.0, 1e-6, 1e-2, 0.1])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_one_accidentally_tiny_level_is_bridged_and_named(level, factor, p):
    errors = (1 / STEPS) ** p
    errors[level] *= factor
    estimate = estimate_rate(STEPS, errors)
    assert_only_order(estimate, p)
    assert estimate.notes[level] == "cancellation"
    assert f"accidentally small, n={STEPS[level]}" in estimate.reason
    assert not estimate.used[level - 1]
    assert not estimate.used[level]


@pytest.mark.parametrize("factor", [1e-6, 1e-2, 10.0])
def test_an_accident_at_the_finest_level_or_an_error_too_large_is_not_explained_away(factor):
    errors = (1 / STEPS) ** 2
    errors[-1] *= factor
    assert estimate_rate(STEPS, errors, scale=1e-6).order is None
    errors = (1 / STEPS) ** 2
    errors[2] *= 10
    assert estimate_rate(STEPS, errors).order is None


def test_a_sign_change_of_the_error_does_not_flip_the_order():
    n = 10 * 2 ** np.arange(8)
    for crossing in (0.03, 0.02, 0.013):
        h = 1 / n
        estimate = estimate_rate(n, abs(h**2 - h**3 / crossing))
        assert not estimate.rejects(2), str(estimate)
        assert estimate.order in (2, None)


def test_root_mean_square_over_samples_hides_no_sample_and_does_not_overflow():
    h = 1 / STEPS
    samples = np.stack([h**2, 3 * h**2, np.abs(h**2 - h[2] ** 2) * 1e-3], axis=1)
    estimate = estimate_rate(STEPS, samples)
    np.testing.assert_allclose(estimate.errors, np.sqrt(np.mean(samples**2, axis=1)), rtol=1e-14)
    assert_only_order(estimate, 2)
    assert_only_order(estimate_rate(STEPS, 1e250 * samples), 2)
    assert_only_order(estimate_rate(STEPS, 1e-200 * samples, floor=0), 2)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_too_few_levels_decide_nothing(levels):
    estimate = estimate_rate(STEPS[:levels], (1.0 / STEPS[:levels]) ** 2)
    assert estimate.status == "undecided"
    assert not estimate.supports(2)
    assert not estimate.rejects(5)
    assert "add levels" in estimate.reason


def test_rounding_errors_alone_are_exact_even_as_they_accumulate():
    assert estimate_rate(STEPS, np.full(5, 3e-15)).status == "exact"
    assert estimate_rate(STEPS, np.zeros(5)).status == "exact"
    assert estimate_rate(STEPS, 2e-14 * STEPS).status == "exact"
    assert not estimate_rate(STEPS, np.zeros(5)).supports(2)


@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("levels", [4, 6, 8])
def test_random_noise_is_hardly_ever_decided(spread, levels):
    rng = np.random.default_rng(levels)
    n = 10 * 2 ** np.arange(levels)
    decided = sum(
        estimate_rate(n, np.exp(spread * rng.normal(size=levels)), floor=0).status == "decided" for _ in range(200)
    )
    assert decided <= 200 * {0.5: 0.08, 1.0: 0.03, 3.0: 0.01}[spread]


@given(orders, st.integers(0, 2**32 - 1))
def test_one_percent_of_noise_moves_a_rate_by_less_than_its_tolerance(p, seed):
    noise = 1 + 0.01 * np.random.default_rng(seed).uniform(-1, 1, size=STEPS.size)
    estimate = estimate_rate(STEPS, noise / STEPS**p, floor=0, grid=0.5)
    assume(estimate.status == "decided")
    assert_only_order(estimate, p, gap=0.5)


def test_a_settled_rate_between_orders_is_reported_as_such():
    estimate = estimate_rate(STEPS, STEPS**-1.5)
    assert (estimate.status, estimate.order) == ("decided", None)
    assert "not within 0.1 of a multiple of 1" in estimate.reason
    assert estimate_rate(STEPS, STEPS**-1.5, grid=0.5).order == 1.5


def test_accelerating_convergence_is_not_an_order():
    estimate = estimate_rate(STEPS, np.exp(-STEPS / 40), floor=0)
    assert estimate.status == "pre-asymptotic"
    assert "rise" in estimate.reason


def test_leading_pairs_outside_the_window_are_not_used():
    estimate = estimate_rate((10, *STEPS), [0.5, *(1 / STEPS) ** 2])
    assert estimate.used.tolist() == [False, True, True, True, True]
    assert_only_order(estimate, 2)


def test_the_table_has_one_row_per_level_and_prints_aligned():
    estimate = estimate_rate(STEPS, [np.nan, *(1 / STEPS[1:]) ** 2])
    rows = estimate.table()
    assert rows[0] == (20, math.inf, None, False, "diverged")
    assert rows[-1][:2] == (320, estimate.errors[-1])
    assert rows[-1][2] == pytest.approx(2)
    lines = str(estimate).splitlines()
    assert len(lines) == 1 + STEPS.size + 1
    assert len({line.index("  ", 9) for line in lines[2:-1]}) == 1
    assert lines[-1].startswith("decided: rate 2.000 +- 0.000, order 2")


@given(orders, magnitudes, st.floats(0.1, 10))
def test_the_estimate_does_not_depend_on_units(p, c, a):
    h = STEPS[0] / STEPS
    errors = h**p * (1 + a * h) + 1e-12
    one, other = estimate_rate(STEPS, errors), estimate_rate(STEPS, c * errors, scale=c)
    assert (one.status, one.order, one.notes) == (other.status, other.order, other.notes)


@pytest.mark.parametrize(
    ("steps", "errors", "options", "kind", "named"),
    [
        ((20, 10, 40), [1, 2, 3], {}, ValueError, "steps is .*increasing"),
        ((20, 20, 40), [1, 2, 3], {}, ValueError, "steps is .*increasing"),
        ((0, 20), [1, 2], {}, ValueError, "steps is .*positive"),
        ((), [], {}, ValueError, "steps is"),
        ((10.5, 20), [1, 2], {}, TypeError, "steps is .*integers"),
        (7, [1], {}, TypeError, "steps is 7"),
        ((10, 20), [1, 2, 3], {}, ValueError, "errors has 3 levels"),
        ((10, 20), [1, -2], {}, ValueError, "errors has the entry -2 < 0"),
        ((10, 20), [1, 2j], {}, TypeError, "errors has dtype complex"),
        ((10, 20), ["a", "b"], {}, TypeError, "errors has dtype"),
        ((10, 20), np.zeros((2, 0)), {}, ValueError, r"errors has shape \(2, 0\)"),
        ((10, 20), np.zeros((2, 1, 1)), {}, ValueError, r"errors has shape \(2, 1, 1\)"),
        ((10, 20), [1, 2], {"scale": 0.0}, ValueError, "scale is 0.0"),
        ((10, 20), [1, 2], {"eps": math.nan}, ValueError, "eps is nan"),
        ((10, 20), [1, 2], {"grid": -1}, ValueError, "grid is -1"),
        ((10, 20), [1, 2], {"grid": "one"}, ValueError, "grid is 'one'"),
        ((10, 20), [1, 2], {"floor": -1e-9}, ValueError, "floor is -1e-09"),
    ],
)
def test_bad_input_is_named_with_a_remedy(steps, errors, options, kind, named):
    with pytest.raises(kind, match=named) as caught:
        estimate_rate(steps, errors, **options)
    assert "pass" in str(caught.value)

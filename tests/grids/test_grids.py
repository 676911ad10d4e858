"""Grids: exact ends, the law that each name promises, and refusals that say what to do."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnum import grids
from diffnum.schedules import (
    EDM,
    VE,
    FlowMatching,
    MeanReverting,
    SubVP,
    Tabulated,
    VPCosine,
    VPLinear,
    linear_betas,
    scaled_linear_betas,
)

TABLE = Tabulated.from_betas(scaled_linear_betas())
SCHEDULES: list[Any] = [
    VPLinear(),
    VPLinear(1.0, 1.0, t_max=10.0),
    VPCosine(),
    SubVP(),
    VE(),
    EDM(),
    FlowMatching(3.0),
    MeanReverting(),
    TABLE,
]
BUILDERS = {name: builder for name, builder in grids.GRIDS.items() if name != "model_timesteps"}
EVERY = pytest.mark.parametrize("name", BUILDERS)


@EVERY
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_builders_give_n_decreasing_steps_between_exact_ends(name: str, schedule: Any, n: int) -> None:
    grid = BUILDERS[name](schedule, n)
    assert (grid.n, grid.name) == (n, name)
    assert grid.t.shape == grid.lam.shape == (n + 1,)
    assert grid.t.dtype == grid.lam.dtype == np.float64
    assert (grid.t[0], grid.t[-1]) == (schedule.default_t_start, schedule.default_t_end)
    assert grid.lam[0] == schedule.half_log_snr(grid.t[0])
    assert np.all(np.diff(grid.t) < 0.0)
    np.testing.assert_allclose(schedule.half_log_snr(grid.t), grid.lam, rtol=0, atol=2e-12)


@EVERY
@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 200), start=st.floats(0.3, 1.0), end=st.floats(1e-4, 0.2))
def test_requested_ends_are_kept_bit_for_bit(name: str, n: int, start: float, end: float) -> None:
    grid = BUILDERS[name](VPLinear(), n=n, t_start=start, t_end=end)
    assert (float(grid.t[0]), float(grid.t[-1])) == (start, end)


@EVERY
@pytest.mark.parametrize("terminal", grids.TERMINALS)
def test_builders_pass_the_terminal_rule_on(name: str, terminal: str) -> None:
    assert BUILDERS[name](VPLinear(), 4, terminal=terminal).terminal is grids.TERMINALS[terminal]


def test_uniform_half_log_snr_has_equal_steps() -> None:
    grid = grids.uniform_half_log_snr(VPLinear(), n=20, t_start=1.0, t_end=1e-3)
    np.testing.assert_allclose(np.diff(grid.lam), (grid.lam[-1] - grid.lam[0]) / 20, rtol=1e-13)


def test_uniform_and_quadratic_time_have_equal_steps_in_time_and_its_root() -> None:
    uniform, quadratic = grids.uniform_time(VPLinear(), 9), grids.quadratic_time(VPLinear(), 9)
    np.testing.assert_allclose(np.diff(uniform.t, 2), 0.0, atol=1e-15)
    np.testing.assert_allclose(np.diff(np.sqrt(quadratic.t), 2), 0.0, atol=1e-15)
    assert np.array_equal(grids.power_time(VPLinear(), 9, exponent=2.0).t, quadratic.t)
    np.testing.assert_allclose(grids.power_time(VPLinear(), 9, exponent=1.0).t, uniform.t, rtol=1e-14)


def test_karras_is_the_published_formula() -> None:
    grid = grids.karras(EDM(), 17)
    i = np.arange(18)
    sigma = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(grid.t, sigma, rtol=1e-13)
    assert np.array_equal(grid.t, grids.karras(EDM(), 17, sigma_min=0.002, sigma_max=80.0).t)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
def test_rho_grids_have_equal_steps_in_a_root_of_sigma_over_alpha(schedule: Any) -> None:
    for grid, exponent in (
        (grids.uniform_rho(schedule, 12), 1.0),
        (grids.rho_power(schedule, 12, exponent=3.0), 3.0),
        (grids.karras(schedule, 12), 7.0),
        (grids.karras(schedule, 12, rho=2.0), 2.0),
    ):
        roots = np.exp(-grid.lam / exponent)
        np.testing.assert_allclose(np.diff(roots), (roots[-1] - roots[0]) / 12, rtol=1e-9)


def test_irregular_repeats_its_pattern_however_fine() -> None:
    for n in (12, 120):
        steps = np.diff(grids.irregular(VPLinear(), n).lam)
        np.testing.assert_allclose(steps[1::3] / steps[0::3], 1.7, rtol=1e-11)
        np.testing.assert_allclose(steps[2::3] / steps[0::3], 0.6, rtol=1e-11)
    steps = np.diff(grids.irregular(VPLinear(), 8, pattern=[2.0, 1.0]).lam)
    np.testing.assert_allclose(steps[::2] / steps[1::2], 2.0, rtol=1e-12)


def test_smooth_has_step_ratios_that_tend_to_one_and_irregular_has_not() -> None:
    def worst(builder: Any, n: int) -> float:
        steps = np.diff(builder(VPLinear(), n).lam)
        return float(np.max(np.abs(steps[1:] / steps[:-1] - 1.0)))

    assert worst(grids.smooth, 400) < 0.3 * worst(grids.smooth, 100) < 0.1
    assert worst(grids.irregular, 400) == pytest.approx(worst(grids.irregular, 100), rel=1e-8)
    steps = np.diff(grids.smooth(VPLinear(), 400, strength=0.5).lam)
    assert steps.max() / steps.min() == pytest.approx(3.0, rel=1e-3)
    uniform = grids.uniform_half_log_snr(VPLinear(), 10)
    assert np.array_equal(grids.smooth(VPLinear(), 10, strength=0.0).t, uniform.t)


def test_half_log_snrs_and_times_that_are_given_are_kept() -> None:
    lam = np.array([-4.0, -1.3, 0.2, 3.0])
    grid = grids.from_half_log_snr(VPLinear(), lam)
    assert np.array_equal(grid.lam, lam)
    times = [0.9, 0.5, 0.25]
    grid = grids.from_times(VPLinear(), times, terminal="denoise")
    assert grid.t.tolist() == times
    assert np.array_equal(grid.lam, VPLinear().half_log_snr(np.array(times)))
    assert grid.terminal.nfe == 1
    ends = grids.from_half_log_snr(EDM(), -np.log([80.0, 1.0, 0.002]))  # an ulp beyond t_max is rounding
    assert ends.t[0] == 80.0
    assert grids.from_half_log_snr(VPLinear(), [-4.0, 1.0, math.inf]).t[-1] == 0.0


# ---------------------------------------------------------------- labels


def test_label_spacings_are_the_usual_ones() -> None:
    table = Tabulated.from_betas(linear_betas())

    def labels(n: int, **options: Any) -> list[float]:
        grid = grids.model_timesteps(table, n, **options)
        assert grid.n == n
        return [float(t) for t in grid.t]

    assert labels(10, final_label=-1) == [900, 800, 700, 600, 500, 400, 300, 200, 100, 0, -1]
    assert labels(4, final_label=-1, offset=1) == [751, 501, 251, 1, -1]
    assert labels(4) == [800, 600, 400, 200, 0]
    assert labels(4, offset=1) == [801, 601, 401, 201, 0]
    assert labels(4, spacing="linspace") == [999, 749, 500, 250, 0]
    assert labels(4, spacing="linspace", final_label=-1) == [999, 666, 333, 0, -1]
    assert labels(4, spacing="trailing") == [999, 749, 499, 249, 0]
    assert labels(4, spacing="trailing", final_label=-1) == [999, 749, 499, 249, -1]
    assert labels(999) == [float(t) for t in range(999, -1, -1)]
    assert labels(1) == [500, 0]


def test_labels_are_refused_where_they_make_no_sense() -> None:
    with pytest.raises(TypeError, match="schedule must be Tabulated"):
        grids.model_timesteps(VPLinear(), 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n = 1000 steps need 1001 labels, but the table has 1000"):
        grids.model_timesteps(TABLE, 1000)
    with pytest.raises(ValueError, match="spacing = 'cubic' is unknown; choose one of leading"):
        grids.model_timesteps(TABLE, 4, spacing="cubic")
    with pytest.raises(ValueError, match="final_label must be 0 or -1"):
        grids.model_timesteps(TABLE, 4, final_label=3)


# ---------------------------------------------------------------- to zero


@pytest.mark.parametrize("schedule", [s for s in SCHEDULES if s.name != "ve"], ids=lambda s: s.name)
def test_to_zero_appends_the_noise_free_node(schedule: Any) -> None:
    grid = grids.karras(schedule, 5)
    longer = grids.to_zero(grid, schedule)
    assert longer.n == 6
    assert longer.lam[-1] == math.inf
    assert schedule.sigma(float(longer.t[-1])) == 0.0
    assert np.array_equal(longer.t[:-1], grid.t)
    with pytest.raises(ValueError, match="already ends at sigma = 0"):
        grids.to_zero(longer, schedule)


def test_variance_exploding_never_reaches_zero() -> None:
    with pytest.raises(ValueError, match="'ve' never reaches sigma = 0"):
        grids.to_zero(grids.uniform_time(VE(), 3), VE())


def test_time_and_rho_grids_may_end_without_noise() -> None:
    for builder in (grids.uniform_time, grids.quadratic_time, grids.uniform_rho, grids.karras):
        grid = builder(EDM(), 6, t_end=0.0)
        assert (grid.t[-1], grid.lam[-1]) == (0.0, math.inf)
        assert np.isfinite(grid.lam[:-1]).all()


# ---------------------------------------------------------------- records


@EVERY
def test_json_round_trip_is_exact(name: str) -> None:
    grid = grids.to_zero(BUILDERS[name](VPLinear(), 7, terminal="lower_order"), VPLinear())
    again = grids.Grid.from_dict(json.loads(json.dumps(grid.to_dict(), allow_nan=False)))
    assert again == grid
    assert hash(again) == hash(grid)
    assert again != grid.with_terminal("stop")
    assert grid != "grid"


def test_split_shares_a_node_and_keeps_the_rule_for_the_end() -> None:
    grid = grids.smooth(VPLinear(), 6, terminal="denoise")
    first, second = grid.split(2)
    assert (first.n, second.n) == (2, 4)
    assert first.t[-1] == second.t[0] == grid.t[2]
    assert (first.terminal.name, second.terminal.name) == ("stop", "denoise")
    for step in (0, 6):
        with pytest.raises(ValueError, match="step must be from 1 to 5"):
            grid.split(step)


def test_grids_are_read_only_copies_with_a_short_repr() -> None:
    t = np.array([1.0, 0.5])
    grid = grids.from_times(VPLinear(), t)
    t[0] = 0.7
    assert grid.t[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        grid.t[0] = 0.3
    assert repr(grid) == "Grid(times, n=1, t=1..0.5, lam=-5.02498..-1.22757, terminal='stop')"


def test_terminal_rules_say_what_they_cost() -> None:
    assert {name: rule.nfe for name, rule in grids.TERMINALS.items()} == {
        "stop": 0,
        "denoise": 1,
        "lower_order": 0,
        "lower_order_denoise": 1,
    }
    assert all(rule.doc.endswith(".") for rule in grids.TERMINALS.values())


# ---------------------------------------------------------------- refusals


@EVERY
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, ValueError, "n must be at least 1, got 0"),
        ({"n": 2.5}, TypeError, "n must be an integer, got 2.5"),
        ({"n": True}, TypeError, "n must be an integer, got True"),
        ({"n": 4, "t_start": 1.5}, ValueError, r"t_start = 1.5 is outside the domain \[0.0, 1.0\]"),
        ({"n": 4, "t_end": -0.1}, ValueError, "t_end = -0.1 is outside"),
        ({"n": 4, "t_start": math.nan}, ValueError, "t_start is NaN"),
        ({"n": 4, "t_start": 0.1, "t_end": 0.2}, ValueError, "t_start = 0.1 must be larger than t_end = 0.2"),
        ({"n": 4, "t_start": 0.1, "t_end": 0.1}, ValueError, "t_start = 0.1 must be larger than t_end = 0.1"),
        (
            {"n": 4, "terminal": "halt"},
            ValueError,
            "'halt' is not a rule; choose one of stop, denoise, lower_order",
        ),
    ],
)
def test_builders_refuse_bad_input(name: str, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BUILDERS[name](VPLinear(), **options)


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([0.9, 0.5, 0.5, 0.1], r"t\[1\] = t\[2\] = 0.5 is a repeated node"),
        ([0.9, 0.1, 0.5], r"t must decrease strictly, but t\[1\] = 0.1 and t\[2\] = 0.5; sort"),
        ([0.9, math.nan], r"t\[1\] is NaN"),
        ([0.9], r"at least 2 nodes, got shape \(1,\)"),
        ([2.0, 0.9], r"t\[0\] = 2.0 is outside the domain"),
    ],
)
def test_bad_times_are_refused(t: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grids.from_times(VPLinear(), t)


def test_bad_half_log_snrs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lam\[0\] = lam\[1\] = 1.0 is a repeated node"):
        grids.from_half_log_snr(VPLinear(), [1.0, 1.0])
    with pytest.raises(ValueError, match=r"lam must increase strictly"):
        grids.from_half_log_snr(VPLinear(), [1.0, -1.0])
    with pytest.raises(ValueError, match=r"time of lam\[0\] = .* is outside the domain"):
        grids.from_half_log_snr(VPLinear(), [-9.0, 1.0])
    with pytest.raises(TypeError, match="lam must be a vector of numbers"):
        grids.from_half_log_snr(VPLinear(), "abc")


def test_bad_records_are_refused() -> None:
    with pytest.raises(ValueError, match="lam must have the shape of t"):
        grids.Grid(np.array([1.0, 0.5]), np.array([0.0, 1.0, 2.0]))
    with pytest.raises(ValueError, match="t must be finite"):
        grids.Grid(np.array([math.inf, 0.5]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="record lacks lam, terminal"):
        grids.Grid.from_dict({"name": "times", "t": [1.0, 0.5]})


def test_infinite_ends_are_refused_where_they_cannot_be_subdivided() -> None:
    with pytest.raises(ValueError, match=r"t_start = 1.0 has half-log-SNR -inf.*uniform_time begins at pure noise"):
        grids.uniform_half_log_snr(FlowMatching(), 4, t_start=1.0)
    with pytest.raises(ValueError, match=r"t_start = 1.0 has infinite sigma / alpha"):
        grids.karras(FlowMatching(), 4, t_start=1.0)
    with pytest.raises(ValueError, match=r"t_end = 0.0 has half-log-SNR inf, which this grid cannot subdivide"):
        grids.uniform_half_log_snr(VPLinear(), 4, t_end=0.0)
    with pytest.raises(ValueError, match=r"t_end = -0.5 is negative and has no root"):
        grids.quadratic_time(TABLE, 4, t_end=-0.5)


def test_bad_shape_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"strength must be between -1 and 1, got 1.0"):
        grids.smooth(VPLinear(), 4, strength=1.0)
    with pytest.raises(ValueError, match="pattern must hold positive step lengths"):
        grids.irregular(VPLinear(), 4, pattern=(1.0, 0.0))
    with pytest.raises(ValueError, match="rho must be finite and positive, got 0"):
        grids.karras(EDM(), 4, rho=0)
    with pytest.raises(ValueError, match="exponent must be finite and positive"):
        grids.power_time(EDM(), 4, exponent=-1.0)
    with pytest.raises(ValueError, match=r"sigma_max = 80.0 and t_start = 80.0 say the same"):
        grids.karras(EDM(), 4, sigma_max=80.0, t_start=80.0)
    with pytest.raises(ValueError, match=r"sigma_min must be finite and positive, got 0.0"):
        grids.karras(EDM(), 4, sigma_min=0.0)
    with pytest.raises(ValueError, match=r"sigma_max = 100.0 is outside the noise levels"):
        grids.karras(EDM(), 4, sigma_max=100.0)

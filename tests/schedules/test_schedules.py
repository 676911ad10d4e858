"""Schedules: both ends are accurate, inverses invert, array kinds and the symbolic face agree."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import pickle
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnum import schedules as sch
from diffnum.types import Schedule
from tests.optional import optional

torch = optional("torch")

ANALYTIC: list[Any] = [
    sch.VPLinear(),
    sch.VPLinear(1.0, 1.0, t_max=10.0),
    sch.VPFitted(),
    sch.VPFitted(0.01, 150.0),
    sch.VPCosine(),
    sch.SubVP(),
    sch.VE(),
    sch.EDM(),
    sch.Brownian(),
    sch.FlowMatching(),
    sch.FlowMatching(shift=3.0),
    sch.MeanReverting(theta=0.7, sigma_inf=0.3, mean=2.0),
]
TABLES = [
    sch.Tabulated.from_betas(sch.scaled_linear_betas()),
    sch.Tabulated.from_betas(sch.linear_betas(50, 0.01, 0.3)),
    sch.Tabulated.from_betas(sch.cosine_betas(200)),
    sch.Tabulated.from_betas(sch.linear_betas(), "linear"),
]
REACHES_ZERO = [s for s in ANALYTIC if s.name not in ("ve", "vp-fitted")]
VARIANCE_PRESERVING = [s for s in ANALYTIC if s.name in ("vp-linear", "vp-fitted", "vp-cosine")] + TABLES


def _id(schedule: Any) -> str:
    return repr(schedule) if schedule.name == "tabulated" else str(schedule)


def zero_terminal_table() -> sch.Tabulated:
    root = np.sqrt(np.cumprod(1.0 - sch.scaled_linear_betas()))
    rescaled = (root - root[-1]) * root[0] / (root[0] - root[-1])
    rescaled[-1] = 0.0
    return sch.Tabulated(rescaled**2)


ALL = [*ANALYTIC, *TABLES, zero_terminal_table()]
fractions = st.floats(0.0, 1.0)
law = settings(deadline=None, max_examples=60)  # a busy machine is no failure


def inner_time(schedule: Any, fraction: float) -> float:
    """Time with finite half-log-SNR, denser towards data."""
    low, high = schedule.default_t_end, schedule.default_t_start
    return float(low + (high - low) * fraction**3)


# ---------------------------------------------------------------- inverse


@pytest.mark.parametrize("schedule", ALL, ids=_id)
@law
@given(fraction=fractions)
def test_time_inverts_half_log_snr(schedule: Any, fraction: float) -> None:
    t = inner_time(schedule, fraction)
    back = schedule.time(schedule.half_log_snr(t))
    assert back == pytest.approx(t, rel=2e-13, abs=2e-15 * schedule.t_max)


@pytest.mark.parametrize("schedule", ALL, ids=_id)
@law
@given(fraction=fractions)
def test_half_log_snr_inverts_time(schedule: Any, fraction: float) -> None:
    low, high = (schedule.half_log_snr(t) for t in (schedule.default_t_start, schedule.default_t_end))
    lam = min(low + (high - low) * fraction, high)
    assert schedule.half_log_snr(schedule.time(lam)) == pytest.approx(lam, abs=2e-12)


@pytest.mark.parametrize("schedule", [*REACHES_ZERO, *TABLES], ids=_id)
@law
@given(exponent=st.floats(-140.0, -1.0))
def test_round_trip_keeps_relative_accuracy_next_to_the_data(schedule: Any, exponent: float) -> None:
    distance = 10.0**exponent
    lam = schedule.half_log_snr(schedule.default_t_end)
    noise = schedule.time(lam - math.log(distance))
    if schedule.name == "tabulated":  # its data are at t = -1, next to which floats are coarse
        assert schedule.t_min <= noise <= 0.0
    else:
        assert 0.0 < noise < schedule.default_t_end * 1.1
        assert schedule.half_log_snr(noise) == pytest.approx(lam - math.log(distance), rel=4e-15)


@pytest.mark.parametrize(
    "schedule",
    [
        sch.VPLinear(t_max=1e3),
        sch.SubVP(t_max=1e3),
        sch.MeanReverting(t_max=1e4),
        sch.VPLinear(1.0, 1.0, 1e4),
    ],
)
@law
@given(lam=st.floats(-2000.0, 300.0))
def test_inverse_survives_extreme_half_log_snr_in_both_directions(schedule: Any, lam: float) -> None:
    assert schedule.half_log_snr(schedule.time(lam)) == pytest.approx(lam, rel=1e-13, abs=1e-13)


@law
@given(lam=st.floats(-30.0, 600.0), shift=st.floats(0.1, 10.0))
def test_flow_inverse_is_accurate_from_noise_to_data(lam: float, shift: float) -> None:
    schedule = sch.FlowMatching(shift)
    # time is a double near 1, so that half-log-SNRs below -log(eps) carry its rounding
    assert schedule.half_log_snr(schedule.time(lam)) == pytest.approx(
        lam, rel=1e-14, abs=1e-14 + 4e-16 * math.exp(max(-lam, 0.0)) * max(1.0, 1.0 / shift)
    )


def test_ends_of_the_domain_are_exact_and_silent() -> None:
    for schedule in REACHES_ZERO:
        assert schedule.half_log_snr(0.0) == math.inf
        assert schedule.sigma(0.0) == 0.0
        assert schedule.alpha(0.0) == pytest.approx(1.0, abs=2e-16)
        assert schedule.time(math.inf) == 0.0
        assert np.isposinf(schedule.half_log_snr(np.zeros(2))).all()
    flow = sch.FlowMatching(2.0)
    assert flow.half_log_snr(1.0) == -math.inf
    assert flow.time(-math.inf) == 1.0
    assert np.isneginf(flow.half_log_snr(np.ones(2))).all()
    assert sch.VPCosine(t_max=1.0).half_log_snr(1.0) == -math.inf
    for table in TABLES:
        assert table.half_log_snr(-1.0) == math.inf
        assert table.time(math.inf) == -1.0
        assert table.alpha(-1.0) == 1.0


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("schedule", VARIANCE_PRESERVING, ids=_id)
@law
@given(fraction=fractions)
def test_variance_is_preserved(schedule: Any, fraction: float) -> None:
    t = schedule.t_min + (schedule.t_max - schedule.t_min) * fraction
    assert schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2 == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("schedule", ANALYTIC, ids=_id)
def test_symbolic_face_agrees_with_numeric_face_to_rounding(schedule: Any) -> None:
    face = schedule.symbolic()
    assert isinstance(face, sch.SymbolicSchedule)
    with mpmath.workdps(60):
        times = np.concatenate([np.geomspace(1e-12, 1.0, 9), np.linspace(0.05, 0.99, 7)]) * schedule.t_max
        for t in times[times >= schedule.t_min]:
            value = sympy.Rational(float(t))
            lam = schedule.half_log_snr(float(t))
            for name in ("alpha", "sigma", "half_log_snr"):
                exact = getattr(face, name)
                if name == "half_log_snr" and not math.isfinite(lam):
                    continue
                exact = float(sympy.N(exact.subs(face.t, value), 50))
                assert getattr(schedule, name)(float(t)) == pytest.approx(
                    exact, rel=2e-15 if schedule.name != "vp-fitted" else 1e-12, abs=4e-15 * (name[0] == "h")
                )
            if math.isfinite(lam):
                inverse = float(sympy.N(face.time.subs(face.lam, sympy.Rational(lam)), 60))
                assert schedule.time(lam) == pytest.approx(inverse, rel=4e-15 * max(1.0, abs(lam)), abs=1e-16)


def test_naive_sigma_would_fail_the_symbolic_comparison() -> None:
    """Negative control: the textbook root of a difference is wrong in the fifth digit at t = 1e-12."""
    schedule, t = sch.VPLinear(), 1e-12
    naive = math.sqrt(1.0 - schedule.alpha(t) ** 2)
    assert abs(naive / schedule.sigma(t) - 1.0) > 1e-5


@pytest.mark.parametrize("schedule", ANALYTIC, ids=_id)
def test_half_log_snr_is_the_logarithm_of_the_ratio(schedule: Any) -> None:
    t = np.linspace(schedule.default_t_end, schedule.default_t_start, 50)
    ratio = np.log(schedule.alpha(t)) - np.log(schedule.sigma(t))
    np.testing.assert_allclose(schedule.half_log_snr(t), ratio, rtol=0, atol=1e-14)


@pytest.mark.parametrize("schedule", ALL, ids=_id)
def test_half_log_snr_decreases(schedule: Any) -> None:
    t = np.linspace(schedule.default_t_end, schedule.default_t_start, 2001)
    assert np.all(np.diff(schedule.half_log_snr(t)) < 0.0)


def test_textbook_values() -> None:
    t = 0.37
    assert sch.VPLinear().alpha(t) == pytest.approx(math.exp(-19.9 * t * t / 4 - 0.05 * t), rel=1e-15)
    assert sch.VPLinear(t_max=7.0).alpha(t) == sch.VPLinear().alpha(t)  # t_max is no part of the formula
    assert sch.SubVP().sigma(t) == pytest.approx(1.0 - sch.SubVP().alpha(t) ** 2, rel=1e-15)
    assert sch.VE().sigma(1.0) == pytest.approx(50.0, rel=1e-14)
    assert sch.EDM().sigma(3.5) == 3.5
    assert sch.FlowMatching(3.0).sigma(0.5) == pytest.approx(0.75)
    reverting = sch.MeanReverting(theta=2.0, sigma_inf=0.5)
    assert reverting.sigma(0.3) == pytest.approx(0.5 * math.sqrt(1.0 - math.exp(-1.2)), rel=1e-14)


def test_mean_reverting_contains_constant_beta_vp() -> None:
    t = np.linspace(0.01, 10.0, 40)
    ou, vp = sch.MeanReverting(theta=0.5, t_max=10.0), sch.VPLinear(1.0, 1.0, t_max=10.0)
    np.testing.assert_allclose(ou.half_log_snr(t), vp.half_log_snr(t), rtol=1e-14, atol=1e-15)


# ---------------------------------------------------------------- kinds of arrays


@pytest.mark.parametrize("schedule", ALL, ids=_id)
@pytest.mark.parametrize("method", ["alpha", "sigma", "half_log_snr", "time"])
def test_floats_numpy_and_torch_agree(schedule: Any, method: str) -> None:
    t = np.linspace(schedule.default_t_end, schedule.default_t_start, 12).reshape(3, 4)
    function = getattr(schedule, method)
    values = schedule.half_log_snr(t) if method == "time" else t
    one_by_one = np.array([function(float(v)) for v in values.ravel()]).reshape(values.shape)
    assert all(type(function(float(v))) is float for v in values.ravel()[:2])
    vectorised = function(values)
    assert vectorised.shape == values.shape
    assert vectorised.dtype == np.float64
    np.testing.assert_allclose(vectorised, one_by_one, rtol=1e-13, atol=1e-14)
    tensor = function(torch.tensor(values))
    assert tensor.dtype == torch.float64
    np.testing.assert_allclose(tensor.numpy(), one_by_one, rtol=1e-13, atol=1e-14)
    single = function(torch.tensor(values, dtype=torch.float32))
    assert single.dtype == torch.float32
    assert single.shape == values.shape
    scale = 1.0 if method != "time" else schedule.t_max
    np.testing.assert_allclose(single.numpy(), one_by_one, rtol=2e-4, atol=1e-5 * scale)
    scalar = function(torch.tensor(float(values[1, 1]), dtype=torch.float64))
    assert scalar.shape == ()
    assert function(np.float32(values[1, 1])).dtype == np.float32


@pytest.mark.parametrize("schedule", ALL, ids=_id)
def test_integer_arrays_and_integers_are_times(schedule: Any) -> None:
    whole = math.ceil(schedule.t_min)
    assert schedule.sigma(np.array([whole, whole])).dtype == np.float64
    assert schedule.sigma(torch.tensor([whole])).dtype == torch.float64
    assert schedule.alpha(whole) == schedule.alpha(float(whole)) == schedule.alpha(np.float64(whole))


@pytest.mark.parametrize("schedule", ALL, ids=_id)
def test_torch_differentiates_the_half_log_snr(schedule: Any) -> None:
    middle = 0.5 * (schedule.default_t_start + schedule.default_t_end) + 0.3 * (schedule.name == "tabulated")
    t = torch.tensor(middle, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(schedule.half_log_snr(t), t)
    step = 1e-5 * middle
    quotient = (schedule.half_log_snr(middle + step) - schedule.half_log_snr(middle - step)) / (2.0 * step)
    assert float(slope) == pytest.approx(quotient, rel=1e-6)


@pytest.mark.parametrize("schedule", ALL, ids=_id)
def test_the_drift_is_that_of_the_probability_flow(schedule: Any) -> None:
    """alpha' = a alpha and sigma' = a sigma + b: the flow of one datum with one noise."""
    first, last = schedule.default_t_start, schedule.default_t_end
    t = torch.tensor(last + (first - last) * np.array([0.0313, 0.2411, 0.57, 0.913]), requires_grad=True)
    (alpha_rate,) = torch.autograd.grad((schedule.alpha(t) + 0.0 * t).sum(), t)
    (sigma_rate,) = torch.autograd.grad(schedule.sigma(t).sum(), t)
    a, b = schedule.drift(t.detach())
    np.testing.assert_allclose(a * schedule.alpha(t.detach()), alpha_rate, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(a * schedule.sigma(t.detach()) + b, sigma_rate, rtol=1e-9, atol=1e-14)
    for i, time in enumerate(t.tolist()):
        assert schedule.drift(time) == pytest.approx((float(a[i]), float(b[i])), rel=1e-12)
        assert all(type(value) is float for value in schedule.drift(time))


@pytest.mark.parametrize("schedule", ALL, ids=_id)
def test_rates_are_the_derivatives_of_alpha_and_of_half_the_variance(schedule: Any) -> None:
    first, last = schedule.default_t_start, schedule.default_t_end
    t = torch.tensor(last + (first - last) * np.array([0.0313, 0.2411, 0.57, 0.913]), requires_grad=True)
    (alpha_rate,) = torch.autograd.grad((schedule.alpha(t) + 0.0 * t).sum(), t)
    (noise_rate,) = torch.autograd.grad((0.5 * schedule.sigma(t) ** 2).sum(), t)
    found = schedule.rates(t.detach())
    np.testing.assert_allclose(found[0] + 0.0 * alpha_rate, alpha_rate, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(found[1] + 0.0 * noise_rate, noise_rate, rtol=1e-9, atol=1e-14)
    for i, time in enumerate(t.tolist()):
        assert schedule.rates(time) == pytest.approx((float(found[0][i]), float(found[1][i])), rel=1e-12)
        assert all(type(value) is float for value in schedule.rates(time))


@pytest.mark.parametrize("schedule", ALL, ids=_id)
def test_rates_are_finite_at_both_ends_of_the_domain(schedule: Any) -> None:
    for t in (schedule.t_min, schedule.t_max):
        inner = t + 1e-7 * (0.5 * (schedule.t_min + schedule.t_max) - t)
        for here, near in zip(schedule.rates(t), schedule.rates(inner), strict=True):
            assert here == pytest.approx(near, rel=1e-4, abs=1e-5 * abs(here) + 1e-5)


def test_linear_beta_passes_through_two_noise_levels() -> None:
    fitted = sch.VPFitted(0.002, 80.0)
    assert float(np.exp(-fitted.half_log_snr(1e-3))) == pytest.approx(0.002, rel=1e-12)
    assert float(np.exp(-fitted.half_log_snr(1.0))) == pytest.approx(80.0, rel=1e-12)
    with pytest.raises(ValueError, match=r"a beta that is not positive at t=1\.0"):
        sch.VPFitted(5.0, 80.0)


def test_other_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="must be a float or an array, got str"):
        sch.VPLinear().alpha("0.3")


# ---------------------------------------------------------------- tables


def table_of(schedule: Any, n: int, end: float, interpolation: Any = "spline") -> tuple[sch.Tabulated, float]:
    """Table of ``n`` samples of a smooth schedule up to ``end``; label i is time (i + 1) * spacing."""
    spacing = end / n
    return sch.Tabulated(schedule.alpha(np.arange(1, n + 1) * spacing) ** 2, interpolation), spacing


def interpolation_error(schedule: Any, n: int, interpolation: str) -> float:
    table, spacing = table_of(schedule, n, 0.9, interpolation)
    labels = np.linspace(0.1 * n, n - 1.0, 20 * n)  # away from label 0, which moves as n grows
    return float(np.max(np.abs(table.half_log_snr(labels) - schedule.half_log_snr((labels + 1.0) * spacing))))


def test_spline_between_labels_is_of_order_above_four_and_linear_is_of_order_two() -> None:
    counts = (20, 40, 80)
    spline, linear = ([interpolation_error(sch.VPCosine(), n, kind) for n in counts] for kind in ("spline", "linear"))
    assert all(math.log2(a / b) > 4.0 for a, b in itertools.pairwise(spline))
    assert all(1.7 < math.log2(a / b) < 2.2 for a, b in itertools.pairwise(linear))
    assert spline[-1] < 1e-3 * linear[-1]


def test_spline_is_exact_for_linear_beta() -> None:
    """``-log alphas_cumprod`` is then quadratic in time, which a quintic spline reproduces."""
    table, spacing = table_of(sch.VPLinear(), 30, 1.0)
    labels = np.linspace(0.0, 29.0, 400)
    np.testing.assert_allclose(
        table.half_log_snr(labels),
        sch.VPLinear().half_log_snr((labels + 1.0) * spacing),
        rtol=1e-12,
        atol=1e-12,
    )


def test_spline_has_four_continuous_derivatives() -> None:
    rows = sch.Tabulated.from_betas(sch.scaled_linear_betas(100))._table.rows
    for k in range(5):
        ends = sum(math.comb(j, k) * rows[:-1, j] for j in range(k, 6))
        np.testing.assert_allclose(ends, rows[1:, k], atol=1e-12)


@pytest.mark.parametrize("table", TABLES, ids=_id)
def test_table_is_reproduced_at_the_labels(table: sch.Tabulated) -> None:
    alphas = table.alpha(np.arange(table.size))
    np.testing.assert_allclose(alphas**2, table.alphas_cumprod, rtol=4e-15)


def test_linear_interpolation_is_piecewise_linear_in_log_alpha() -> None:
    table = sch.Tabulated.from_betas(sch.linear_betas(), "linear")
    logs = 0.5 * np.log(table.alphas_cumprod)
    labels = np.linspace(0.0, 999.0, 777)
    np.testing.assert_allclose(np.log(table.alpha(labels)), np.interp(labels, np.arange(1000), logs), atol=1e-13)


def test_rough_table_falls_back_to_a_monotone_interpolant() -> None:
    table = sch.Tabulated.from_betas(np.tile([1e-4, 0.3], 15))
    assert table.interpolant == "pchip"
    labels = np.linspace(0.0, 29.0, 3000)
    lam = table.half_log_snr(labels)
    assert np.all(np.diff(lam) < 0.0)
    np.testing.assert_allclose(table.half_log_snr(table.time(lam)), lam, atol=1e-12)


@pytest.mark.parametrize(("size", "kind"), [(2, "pchip"), (4, "cubic"), (6, "quintic")])
def test_short_tables_take_what_fits(size: int, kind: str) -> None:
    assert sch.Tabulated.from_betas(np.linspace(0.1, 0.2, size)).interpolant == kind


@law
@given(betas=st.lists(st.floats(1e-5, 0.9), min_size=2, max_size=12))
def test_any_table_has_a_monotone_interpolant_and_an_inverse(betas: list[float]) -> None:
    table = sch.Tabulated.from_betas(betas)
    labels = np.linspace(-0.99, table.t_max, 200)
    lam = table.half_log_snr(labels)
    assert np.all(np.diff(lam) <= 0.0)
    np.testing.assert_allclose(table.half_log_snr(table.time(lam)), lam, rtol=1e-11, atol=1e-11)


def test_zero_terminal_snr_is_pure_noise_at_the_last_label() -> None:
    table = zero_terminal_table()
    assert table.zero_terminal
    assert table.half_log_snr(999.0) == -math.inf
    assert (table.alpha(999.0), table.sigma(999.0)) == (0.0, 1.0)
    assert table.time(-math.inf) == 999.0
    assert table.default_t_start == 998.0
    labels = np.linspace(990.0, 998.999, 500)
    lam = table.half_log_snr(labels)
    assert np.all(np.diff(lam) < 0.0)
    np.testing.assert_allclose(table.time(lam), labels, rtol=1e-14)


def test_tables_refuse_what_they_do_not_cover() -> None:
    table = TABLES[0]
    with pytest.raises(ValueError, match=r"t = 1000.0 is outside the domain \[-1.0, 999.0\] of"):
        table.alpha(1000.0)
    with pytest.raises(ValueError, match=r"t = -1.5 is outside"):
        table.alpha(np.array([3.0, -1.5]))
    with pytest.raises(ValueError, match="t = nan is outside"):
        table.alpha(math.nan)
    with pytest.raises(ValueError, match=r"half_log_snr = -20.0 is not reached"):
        table.time(-20.0)
    with pytest.raises(ValueError, match=r"t = 2000.0 is outside"):
        table.sigma(torch.tensor(2000.0))
    with pytest.raises(ValueError, match="needs a closed form"):
        table.symbolic()


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([0.9], ValueError, "at least 2 positive values, got 1"),
        ([[0.9, 0.8]], ValueError, "must be a vector, got shape"),
        ([0.9, 1.2, 0.8], ValueError, r"alphas_cumprod\[1\] = 1.2 is not in \(0, 1\)"),
        ([0.9, math.nan, 0.8], ValueError, r"alphas_cumprod\[1\] = nan"),
        ([0.9, 0.0, 0.8], ValueError, r"alphas_cumprod\[1\] = 0.0"),
        ([0.9, 0.8, 0.8, 0.7], ValueError, "decrease strictly, got 0.8 then 0.8 at index 2"),
        (["a", "b"], TypeError, "vector of numbers"),
    ],
)
def test_bad_tables_are_refused(values: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sch.Tabulated(values)


def test_bad_betas_and_interpolations_are_refused() -> None:
    with pytest.raises(ValueError, match="betas must be a vector of variances"):
        sch.Tabulated.from_betas([0.1, -0.2])
    with pytest.raises(ValueError, match="interpolation must be 'spline' or 'linear', got 'nearest'"):
        sch.Tabulated([0.9, 0.8], "nearest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n must be an integer of at least 2"):
        sch.linear_betas(1)


def test_betas_are_the_published_ones() -> None:
    linear, scaled, cosine = sch.linear_betas(), sch.scaled_linear_betas(), sch.cosine_betas()
    assert (linear[0], linear[-1], linear.size) == (1e-4, 0.02, 1000)
    assert scaled[[0, -1]] == pytest.approx([0.00085, 0.012], rel=1e-14)
    assert np.all(np.abs(np.diff(np.sqrt(scaled), 2)) < 1e-15)
    assert cosine[-1] == 0.999
    expected = sch.VPCosine().alpha(np.arange(1, 901) / 1000) ** 2
    np.testing.assert_allclose(np.cumprod(1.0 - cosine)[:900], expected, rtol=1e-12)


# ---------------------------------------------------------------- records


@pytest.mark.parametrize("schedule", ALL, ids=_id)
def test_json_round_trip_gives_an_equal_schedule(schedule: Any) -> None:
    record = json.loads(json.dumps(schedule.to_dict(), allow_nan=False))
    again = sch.from_dict(record)
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


def test_registry_has_every_schedule_under_its_name() -> None:
    assert {s.name for s in ALL} == set(sch.SCHEDULES)
    assert all(isinstance(s, Schedule) for s in ALL)
    assert all(dataclasses.is_dataclass(kind) for kind in sch.SCHEDULES.values())


@pytest.mark.parametrize("schedule", ALL, ids=_id)
def test_default_times_lie_in_the_domain_with_finite_half_log_snr(schedule: Any) -> None:
    sch.check_time(schedule, [schedule.default_t_start, schedule.default_t_end])
    assert schedule.default_t_start > schedule.default_t_end
    assert math.isfinite(schedule.half_log_snr(schedule.default_t_start))
    assert math.isfinite(schedule.half_log_snr(schedule.default_t_end))


def test_array_means_compare_hash_and_stay_put() -> None:
    first, second = (sch.MeanReverting(mean=[1.0, 2.0]) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first != sch.MeanReverting(mean=[1.0, 3.0])
    assert first != sch.VPLinear()
    assert sch.from_dict(json.loads(json.dumps(first.to_dict()))) == first
    assert type(sch.MeanReverting(mean=torch.tensor(2.0)).mean) is float
    with pytest.raises(ValueError, match="read-only"):
        first.mean[0] = 5.0
    with pytest.raises(ValueError, match="mean must be finite"):
        sch.MeanReverting(mean=[math.nan])


def test_unknown_records_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'vp' is not a schedule; choose one of vp-linear"):
        sch.from_dict({"schedule": "vp"})
    with pytest.raises(ValueError, match=r"record has gamma, which 'edm' does not take"):
        sch.from_dict({"schedule": "edm", "gamma": 1.0})


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "message"),
    [
        (sch.VPLinear, {"beta_min": 0.0}, ValueError, "beta_min must be finite and positive, got 0.0"),
        (
            sch.VPLinear,
            {"beta_min": 3.0, "beta_max": 1.0},
            ValueError,
            "beta_max must be at least beta_min = 3.0",
        ),
        (sch.VPLinear, {"t_max": 1e-4}, ValueError, "t_max must be larger than default_t_end"),
        (sch.VPLinear, {"beta_min": "0.1"}, TypeError, "beta_min must be a real number"),
        (sch.VPLinear, {"beta_min": True}, TypeError, "beta_min must be a real number"),
        (sch.VPCosine, {"s": -1.0}, ValueError, "s must be finite and positive, got -1.0"),
        (sch.VPCosine, {"t_max": 1.5}, ValueError, "t_max must be at most 1"),
        (sch.SubVP, {"beta_max": math.inf}, ValueError, "beta_max must be finite and positive, got inf"),
        (sch.VE, {"sigma_min": 50.0}, ValueError, "sigma_max must be larger than sigma_min = 50.0"),
        (sch.EDM, {"sigma_max": math.nan}, ValueError, "sigma_max must be finite and positive, got nan"),
        (sch.FlowMatching, {"shift": 0.0}, ValueError, "shift must be finite and positive, got 0.0"),
        (sch.MeanReverting, {"theta": -1.0}, ValueError, "theta must be finite and positive, got -1.0"),
    ],
)
def test_bad_parameters_are_refused(kind: Any, arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        kind(**arguments)


def test_check_time_names_argument_value_and_remedy() -> None:
    schedule = sch.VPLinear()
    sch.check_time(schedule, np.linspace(0.0, 1.0, 5))
    with pytest.raises(
        ValueError, match=r"t_start = 1.5 is outside the domain \[0.0, 1.0\] of schedule 'vp-linear'; choose"
    ):
        sch.check_time(schedule, 1.5, "t_start")
    with pytest.raises(ValueError, match=r"t\[2\] = -0.1 is outside"):
        sch.check_time(schedule, [0.5, 0.2, -0.1])
    with pytest.raises(ValueError, match=r"t\[1\] is NaN; pass a finite time"):
        sch.check_time(schedule, [0.5, math.nan])
    with pytest.raises(TypeError, match="t_end must be numeric"):
        sch.check_time(schedule, "late", "t_end")

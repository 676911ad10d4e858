"""Certified accuracy: balls hold the truth, shipped weights are near it, and spoilt ones are seen."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

import diffnum as dn
from diffnum.certificates.accuracy import BOUND, RATIOS, STEPS, Inputs, _error, certify_accuracy
from diffnum.certificates.balls import Ball, BallField, error_in_eps, working_precision
from diffnum.certificates.mutants import perturbed
from diffnum.derivation.algebra.symbols import PartsKernel
from diffnum.phi import phi
from diffnum.proofs import placements

QUICK = ("ddim", "dpmpp_2m", "eab_noise_3", "deis_tab2", "dpm_solver_3", "unipc_2_bh2", "ghvb_1.8", "edm_heun")

rationals = st.fractions(min_value=-5, max_value=5, max_denominator=50)


@given(rationals, rationals, st.integers(0, 4))
def test_balls_hold_the_exact_result_of_every_operation(a: Fraction, b: Fraction, k: int) -> None:
    x, y = Ball(a), Ball(b)
    results = [(x + y, a + b), (x - b, a - b), (a - y, a - b), (2 * x * y, 2 * a * b), (-x, -a), (x**k, a**k)]
    if b:
        results += [(x / y, a / b), (1 / y, 1 / b)]
    for ball, exact in results:
        assert (ball.value * exact.denominator).contains(exact.numerator)


def test_a_ball_is_true_only_where_it_is_certainly_not_zero() -> None:
    assert Ball(1e-300)
    assert not Ball(0)
    assert not Ball(Fraction(1, 3)) - Ball(Fraction(1, 3))


@pytest.mark.parametrize("rate", [-1, 1])
@pytest.mark.parametrize("h", [1e-8, 0.3, 20.0])
def test_moments_in_ball_arithmetic_are_phi_functions(rate: int, h: float) -> None:
    with working_precision(768):
        kernel = PartsKernel(BallField(h, rate))  # type: ignore[arg-type]
        for k in range(4):
            expected = h * math.factorial(k) * phi(k + 1, rate * h)
            assert error_in_eps(expected, kernel.moment(k), expected) < 8  # type: ignore[arg-type]


@pytest.mark.parametrize("name", QUICK)
def test_weights_are_accurate_to_a_few_units(name: str) -> None:
    found = certify_accuracy(dn.method(name), points=6)
    assert found.ok
    assert found.worst <= BOUND
    assert set(found.where) == {"h", "past", "moments", "step", "row", "weight"}
    if name != "edm_heun":  # the weights 1/2 and 1 of which are exact
        assert found.worst > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in dn.methods() if n not in QUICK])
def test_weights_of_all_methods_are_accurate(name: str) -> None:
    found = certify_accuracy(dn.method(name), points=6)
    assert found.ok, found


@pytest.mark.parametrize("name", ["dpmpp_2m", "unipc_2_bh2", "lms_4"])
def test_a_weight_that_is_off_by_a_ten_trillionth_is_seen_and_located(name: str) -> None:
    source = "m1"
    found = certify_accuracy(perturbed(dn.method(name), "x", source, 1 + 2.0**-40), points=4)
    assert not found.ok
    assert (found.where["row"], found.where["weight"]) == ("x", source)
    assert found.worst == pytest.approx(2.0**12, rel=0.6)


def test_a_formula_in_which_digits_cancel_is_seen() -> None:
    from dataclasses import replace

    from diffnum.tableau import Stage, Step, Window, vectors

    def naive(window: Window, order: int) -> Step:  # 1 - exp(-h) from exp, not from phi
        x, k1 = vectors("x k1")
        weight = 1 - window.kernel.discount() ** -1 if order else 0
        return Step((Stage(0, x),), x + weight * k1)

    found = certify_accuracy(replace(dn.method("ddim"), rule=naive), points=20)
    assert not found.ok
    assert abs(found.where["h"]) < 1e-2


def test_the_same_seed_finds_the_same_worst_place() -> None:
    a, b, c = (certify_accuracy(dn.method("eab_2"), points=5, seed=seed) for seed in (1, 1, 2))
    assert a == b != c


@given(st.integers(0, 50))
def test_followed_points_stay_inside_the_domain(seed: int) -> None:
    import numpy as np

    rng = np.random.default_rng(seed)
    at = Inputs(STEPS[1], (-RATIOS[1], -RATIOS[1] * 1.01))
    for _ in range(20):
        at = at.moved(rng)
        sizes = [1.0, *(-np.diff([0.0, *at.past])).tolist()]
        assert STEPS[0] <= at.h <= STEPS[1]
        assert all(RATIOS[0] * 0.999 <= b / a <= RATIOS[1] * 1.001 for a, b in zip(sizes, sizes[1:], strict=False))


def test_without_python_flint_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install '\.\[verify\]'"):
        certify_accuracy(dn.method("ddim"), points=1)


CLOSED = [name for name, record in dn.methods().items() if record.form.rate is not None]
"""Methods whose weights are functions of the step and the ratios alone."""


@pytest.mark.slow
@pytest.mark.parametrize("name", CLOSED)
@settings(max_examples=60)
@given(data=st.data())
def test_no_input_that_hypothesis_steers_towards_exceeds_the_certified_error(name: str, data: st.DataObject) -> None:
    record = dn.method(name)
    place = data.draw(st.sampled_from(list(placements(record))))
    size = math.exp(data.draw(st.floats(math.log(STEPS[0]), math.log(STEPS[1]))))
    h = math.copysign(min(size, STEPS[1]), 1.0 if record.form.rate else -1.0)
    past, length = [0.0], 1.0
    for exponent in data.draw(st.lists(st.floats(-1, 1), min_size=place.past, max_size=place.past)):
        length *= RATIOS[1] ** exponent
        past.append(past[-1] - length)
    error, weight = _error(record, place, Inputs(h, tuple(past[1:])))
    target(error, label="error in eps")
    assert error <= BOUND, (h, past, weight)


# -- noise -------------------------------------------------------------------------------------------------

NOISY = [name for name, m in dn.methods(kind="stochastic").items() if m.noise is not None and not m.noise.placed]
EIGHT = 8.0
LONGEST = {"seeds_3": 8.0, "precise_sde_0.7": 60.0, "precise_sde_2m_0.7": 60.0}
"""Where a third of a step, or the square of tau, is no float64 number its exponential is off by the argument's size."""


@pytest.mark.parametrize("name", NOISY)
def test_weights_with_noise_are_within_eight_units_from_very_short_to_very_long_steps(name: str) -> None:
    found = certify_accuracy(dn.method(name), points=15, steps=(1e-12, LONGEST.get(name, 120.0)))
    assert 0 < found.worst <= EIGHT, found


@pytest.mark.parametrize("name", ["flow_sde_0.7", "cps_0.5", "er_sde_2"])
def test_weights_that_depend_on_the_place_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"method='{name}'"):
        certify_accuracy(dn.method(name), points=4)


@pytest.mark.parametrize("source", ["z1", "x", "k1"])
@pytest.mark.parametrize("name", ["sde_dpmpp_2m", "dpm_2_ancestral", "edm_heun_churn", "seeds_2"])
def test_a_spoilt_weight_of_a_method_with_noise_is_seen(name: str, source: str) -> None:
    from dataclasses import replace

    from diffnum.tableau import Step, Vector, Window

    def spoilt(window: Window, order: int) -> Step:
        step = record.rule(window, order)
        return replace(step, x=Vector({s: w * (1 + 2.0**-40) if s == source else w for s, w in step.x.items()}))

    record = dn.method(name)
    found = certify_accuracy(replace(record, rule=spoilt), points=4)
    assert not found.ok
    assert found.where["row"] in ("x", "x, noise", "x, state")
    assert found.where["weight"] == source


def test_a_factor_of_noise_in_which_digits_cancel_is_seen() -> None:
    from dataclasses import replace

    from diffnum.tableau import Stage, Step, Window, vectors

    def naive(window: Window, order: int) -> Step:
        x, k1, z1 = vectors("x k1 z1")
        decay = math.exp(-float(window.step)) if isinstance(window.step, float) else math.exp(-window.step[0])
        return Step((Stage(0, x),), decay * x + (1 - decay * decay) * k1 + (1 - decay * decay) ** 0.5 * z1)

    found = certify_accuracy(replace(dn.method("ddpm"), rule=naive), points=20)
    assert not found.ok
    assert abs(found.where["h"]) < 1e-2


def test_a_noise_level_that_the_schedule_decides_has_no_certificate_of_its_own() -> None:
    with pytest.raises(ValueError, match="depend on where on the schedule"):
        certify_accuracy(dn.method("er_sde_2"), points=1)

"""Stability: textbook limits, the limits of the momentum papers, identities between methods, and refusals."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.analysis import (
    boundary_locus,
    imaginary_interval,
    linear_step,
    real_interval,
    stability,
    stability_region,
    zero_stability,
)
from diffnum.coefficients.adams import adams_bashforth, combine
from diffnum.coefficients.method import Method
from diffnum.coefficients.momentum import ghvb
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors

METHODS = tuple(name for name, record in dn.methods().items() if not record.parameters)


def heavy_ball(order: int, beta: float) -> Method:
    """HB(beta) on Adams-Bashforth: the increments are averaged."""

    def rule(window: Window, order: int) -> Step:
        x, k1 = vectors("x k1")
        past = [vector(f"m{j}") for j in range(1, order)]
        new = combine(adams_bashforth(1.0, [-float(j) for j in range(order)]), [k1, *past])
        average = (1 - beta) * vector("v1") + beta * new if "v1" in window.known else new
        return Step((Stage(0, x),), x + window.step * average, {**window.remember(k1), "v1": average})

    record = dn.method(f"lms_{order}")
    return replace(record, name=f"hb_{order}", rule=rule, depth=max(order - 1, 1))


def backward_rule(window: Window, order: int, slope: float = 1.0) -> Step:
    """A two-step rule whose spurious root is 1 + slope: unstable at z = 0."""
    x, k1 = vectors("x k1")
    memory: dict[str, Vector] = {"v1": (1 + slope) * vector("v1") + k1 if "v1" in window.known else k1}
    return Step((Stage(0, x),), x + window.moment(0) * k1, memory)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("lms_1", 2.0),
        ("lms_2", 1.0),
        ("lms_3", 6 / 11),
        ("lms_4", 0.3),
        ("edm_heun", 2.0),
        ("ab_velocity_2", 1.0),
        ("deis_tab3", 0.3),
        ("dpm_solver_3", 2.5127453266),
    ],
)
def test_real_limits_are_those_of_the_textbooks(name: str, limit: float) -> None:
    assert real_interval(name) == pytest.approx(limit, abs=1e-6)


@pytest.mark.parametrize(("name", "limit"), [("lms_2", 0.0), ("lms_3", 0.7236), ("lms_4", 0.43), ("edm_heun", 0.0)])
def test_imaginary_limits_are_those_of_the_textbooks(name: str, limit: float) -> None:
    assert imaginary_interval(name) == pytest.approx(limit, abs=2e-4)


@pytest.mark.parametrize(
    ("number", "limit"), [("1.9", 1.10), ("1.8", 1.20), ("1.5", 1.5), ("3.8", 0.353), ("2", 1.0), ("4", 0.3)]
)
def test_momentum_widens_the_real_interval_as_the_paper_says(number: str, limit: float) -> None:
    assert real_interval(f"ghvb_{number}") == pytest.approx(limit, abs=5e-4)


@pytest.mark.parametrize(
    ("order", "beta", "limit"), [(2, 0.9, 1.22), (2, 0.8, 1.50), (2, 0.5, 3.0), (4, 0.8, 0.45), (2, 1.0, 1.0)]
)
def test_heavy_ball_built_from_a_rule_that_the_catalogue_does_not_know_has_its_limits(
    order: int, beta: float, limit: float
) -> None:
    assert real_interval(heavy_ball(order, beta)) == pytest.approx(limit, abs=5e-3)


@given(st.floats(0.2, 1.0))
def test_the_real_limit_of_second_order_ghvb_is_two_minus_beta(beta: float) -> None:
    record = dn.method("ghvb_1.8")
    rule = replace(record, rule=partial(record.rule.func, beta=beta))  # type: ignore[attr-defined]
    assert real_interval(rule) == pytest.approx(2 - beta, abs=1e-6)


@pytest.mark.parametrize(("order", "beta"), [(2, 0.8), (3, 0.6), (4, 0.8)])
def test_the_locus_of_ghvb_is_the_published_one(order: int, beta: float) -> None:
    shift = np.exp(-2j * np.pi * np.arange(48) / 48)
    weights = sum(c * shift**j for j, c in enumerate(ghvb(order, beta), start=1))
    published = (1 - shift) * (1 - (1 - beta) * shift) / weights
    ours = boundary_locus(f"ghvb_{order - 1 + beta}", points=48)
    assert np.abs(ours - published).max() < 1e-9 * np.abs(published).max()


@pytest.mark.parametrize("name", ["lms_3", "edm_heun", "dpmpp_2m", "unipc_2_bh2", "dpm_solver_3", "ghvb_2.8"])
def test_on_the_locus_some_root_has_modulus_one(name: str) -> None:
    step = linear_step(name, 0.7)
    roots = np.abs(np.linalg.eigvals(step.matrix(boundary_locus(name, 0.7, points=60))))
    assert np.abs(roots - 1).min(axis=-1).max() < 1e-6


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_ghvb_without_momentum_is_adams_bashforth(number: int) -> None:
    z = np.array([-0.3, 0.2j, -0.1 + 0.4j])
    ours, adams = linear_step(f"ghvb_{number}", 0.0), linear_step(f"lms_{number}", 0.0)
    assert np.abs(ours.radius(z) - adams.radius(z)).max() < 1e-12


@given(st.integers(1, 4), st.complex_numbers(max_magnitude=1.5))
def test_unipc_is_adams_bashforth_of_one_order_more_on_linear_problems(order: int, z: complex) -> None:
    # the corrector re-uses the evaluation at the predicted point, so the predicted points obey the explicit method
    assert linear_step(f"unipc_{order}_bh2", 0.0).radius(z) == pytest.approx(
        float(linear_step(f"lms_{order + 1}", 0.0).radius(z)), abs=2e-7 if abs(z) > 0.01 else 1e-3
    )


@given(st.floats(0.01, 3.0), st.floats(-3.0, 3.0))
def test_ddim_has_one_region_whether_data_or_noise_is_predicted(h: float, s: float) -> None:
    factor = abs(1 + s * np.expm1(-h))
    for name in ("ddim", "eab_1", "eab_noise_1"):
        assert linear_step(name, h).radius(-s * h) == pytest.approx(factor, rel=1e-12, abs=1e-12)


@given(st.sampled_from(["dpmpp_2m", "eab_3", "eab_noise_3", "unipc_2_bh2", "dpm_solver_3"]), st.floats(0.05, 1.0))
def test_methods_are_exact_where_the_prediction_is_constant(name: str, h: float) -> None:
    # s = 0 for data prediction is M = y, for noise prediction M = 0: in both x / alpha stays
    roots = np.linalg.eigvals(linear_step(name, h).matrix(0.0))
    assert np.abs(roots - 1).min() < 1e-12


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_analysed_and_is_zero_stable(name: str) -> None:
    found = stability(name, 0.5)
    assert found.zero.stable
    assert 0 < found.real < 100
    assert found.nfe >= 1
    step = linear_step(name, 0.5)
    assert np.abs(np.linalg.eigvals(step.matrix(-1e-9)) - 1).min() < 1e-8, "the principal root is not consistent"


@pytest.mark.parametrize("name", [n for n, r in dn.methods().items() if r.noise is None and not r.parameters])
def test_roots_are_those_of_the_limit_and_not_of_a_short_step(name: str) -> None:
    """One is a root of every consistent method; the others are rational, and none is off in its last digits."""
    try:
        found = zero_stability(name)
    except ValueError:
        pytest.skip("no steady step")
    first, *others = found.roots
    assert first == 1.0
    assert all(root == round(root.real, 6) for root in others), others


def test_longer_steps_of_exponential_methods_bear_more() -> None:
    limits = [real_interval("dpmpp_2m", h) for h in (0.0, 0.5, 1.0, 2.0)]
    assert limits == sorted(limits)
    assert stability("dpmpp_2m", 0.5).stiffness == pytest.approx(limits[1] / 0.5)


def test_an_unstable_rule_is_found_out() -> None:
    bad = replace(dn.method("lms_2"), name="bad", rule=backward_rule)
    found = zero_stability(bad)
    assert not found.stable
    assert "NOT" in str(found)
    assert real_interval(bad) == 0.0


def test_a_double_root_on_the_circle_is_found_out() -> None:
    def rule(window: Window, order: int) -> Step:  # the memory feeds the state and never fades
        x, k1 = vectors("x k1")
        memory = {"v1": vector("v1") if "v1" in window.known else k1}
        old = window.step * vector("v1") if "v1" in window.known else Vector({})
        return Step((Stage(0, x),), x + window.step * k1 + old, memory)

    assert not zero_stability(replace(dn.method("lms_2"), name="double", rule=rule)).stable


def test_regions_know_their_inside_and_print() -> None:
    region = stability_region("lms_1", re=np.linspace(-2.5, 0.5, 61), im=np.linspace(-1.5, 1.5, 61))
    assert region.area == pytest.approx(np.pi, rel=0.03), "Euler's region is the unit disc"
    assert region.contains(-1.0 + 0.5j)
    assert not region.contains(0.1)
    assert np.abs(np.abs(region.locus + 1) - 1).max() < 1e-9
    assert "#" in str(region)
    assert "real axis" in str(stability("edm_heun"))


@pytest.mark.parametrize("h", [-0.1, np.nan, np.inf])
def test_steps_that_are_none_are_refused(h: float) -> None:
    with pytest.raises(ValueError, match="h="):
        real_interval("dpmpp_2m", h)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(TypeError, match="method=3"):
        real_interval(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown"):
        real_interval("no_such_method")
    with pytest.raises(ValueError, match="re="):
        stability_region("lms_1", re=[1.0, 0.0])
    with pytest.raises(ValueError, match="parameters"):
        real_interval("lms_1", parameters={"ratio": 1.0})

    def remember_the_state(window: Window, order: int) -> Step:
        x = vector("x")
        return Step((Stage(0, x),), x, {"m1": x})

    with pytest.raises(ValueError, match="remembers the state"):
        real_interval(replace(dn.method("lms_2"), rule=remember_the_state))

    def forget(window: Window, order: int) -> Step:
        names = ("v1",) if "v1" not in window.known else ("m1",)
        return Step((Stage(0, vector("x")),), vector("x"), {name: vector("k1") for name in names})

    with pytest.raises(ValueError, match="only steps that repeat"):
        real_interval(replace(dn.method("lms_2"), rule=forget))

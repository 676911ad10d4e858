"""Error constants: textbook values, agreement with the proofs, and what they predict of errors measured."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.analysis import ErrorConstant, error_constant, linear_step
from diffnum.analysis.error_constants import principal_root
from diffnum.coefficients.method import Method
from diffnum.tableau import Stage, Step, Window, vectors

METHODS = tuple(name for name, record in dn.methods().items() if not record.parameters)
ADAMS = (Fraction(1, 2), Fraction(5, 12), Fraction(3, 8), Fraction(251, 720), Fraction(95, 288), Fraction(19087, 60480))
MOULTON = (Fraction(-1, 12), Fraction(-1, 24), Fraction(-19, 720), Fraction(-3, 160))


@pytest.mark.parametrize("order", range(1, 7))
@pytest.mark.parametrize("stem", ["lms", "eab", "eab_noise", "ab_velocity"])
def test_adams_bashforth_constants_are_the_classical_ones_in_every_clock(stem: str, order: int) -> None:
    found = error_constant(f"{stem}_{order}")
    assert found.order == order
    assert found.linear == pytest.approx(float(ADAMS[order - 1]), rel=1e-6)
    assert found.quadrature == pytest.approx(float(ADAMS[order - 1]), rel=1e-5)


@given(st.integers(2, 4), st.floats(-2.0, 2.0))
def test_exponential_adams_errs_by_the_next_derivative_of_the_prediction(order: int, s: float) -> None:
    # M = mu u along u' = (kappa + mu) u: M^(p) = mu (kappa + mu)^p u
    found = error_constant_of(f"eab_{order}")
    expected = float(ADAMS[order - 1]) * (1 - s) * (-s) ** order
    assert found.at_stiffness(s) == pytest.approx(expected, rel=1e-6, abs=1e-7)


CACHE: dict[str, ErrorConstant] = {}


def error_constant_of(name: str) -> ErrorConstant:
    if name not in CACHE:
        CACHE[name] = error_constant(name)
    return CACHE[name]


@pytest.mark.parametrize("order", [2, 3, 4])
def test_unipc_has_the_quadrature_of_the_corrector_and_the_feedback_of_the_predictor(order: int) -> None:
    found = error_constant_of(f"unipc_{order}_bh2")
    assert found.order == order + 1
    assert found.linear == pytest.approx(float(ADAMS[order]), rel=1e-6)
    assert found.quadrature == pytest.approx(float(MOULTON[order - 1]), rel=1e-5)


def test_runge_kutta_constants_are_residuals_of_trees() -> None:
    heun = error_constant("edm_heun")
    assert (heun.order, heun.linear, heun.quadrature) == (2, pytest.approx(1 / 6), pytest.approx(-1 / 12))
    third = error_constant("dpm_solver_3")
    assert (third.order, third.linear) == (3, pytest.approx(1 / 24))


@given(st.integers(2, 3), st.floats(0.3, 1.0))
def test_momentum_pays_in_the_constant_what_it_gains_in_stability(order: int, beta: float) -> None:
    found = error_constant(f"ghvb_{order - 1 + beta}")
    # the truncated term of (beta + (1 - beta) D)(1 + D/2 + 5 D^2/12 + ...), divided by beta
    series = (1, *ADAMS)
    beta = beta if beta < 1 else 1.0
    expected = float(series[order]) + (1 - beta) / beta * float(series[order - 1])
    assert found.order == order
    assert found.linear == pytest.approx(expected, rel=1e-6)


def test_the_shipped_third_order_formula_loses_an_order_but_keeps_a_small_constant() -> None:
    shipped, second = error_constant("dpmpp_3m"), error_constant("eab_2")
    assert shipped.order == second.order == 2
    assert shipped.linear == pytest.approx(second.linear / 5)
    assert error_constant("dpmpp_3m_corrected").order == 3


def test_the_midpoint_weight_of_2m_lowers_the_error_on_gaussian_data_but_for_the_widest_directions() -> None:
    midpoint, exact = error_constant("dpmpp_2m"), error_constant("eab_2")
    s = np.linspace(0.05, 0.95, 19)
    ratio = np.array([midpoint.at_stiffness(v) / exact.at_stiffness(v) for v in s])
    np.testing.assert_allclose(ratio, 1 - 1 / (5 * s), atol=1e-7)
    assert (np.abs(ratio[s > 0.101]) < 1).all()
    assert abs(ratio[0]) > 1, "where s < 1/10 the exact moment is better"
    # C = 5/12 mu theta^2 - kappa mu theta / 12 with mu = 1 - s, theta = kappa + mu = -s, kappa = -1
    expected = 5 / 12 * (1 - s) * s**2 - (1 - s) * s / 12
    assert [midpoint.at_stiffness(v) for v in s] == pytest.approx(list(expected), abs=1e-8)


@pytest.mark.parametrize("name", METHODS)
def test_the_order_found_is_at_least_the_order_of_the_record(name: str) -> None:
    found = error_constant_of(name)
    assert found.order >= dn.method(name).order_on("uniform")
    assert name in str(found)


@pytest.mark.parametrize("name", ["lms_3", "eab_3", "dpmpp_2m", "unipc_2_bh2", "ghvb_1.8", "dpm_solver_3"])
def test_the_constant_is_the_leading_error_of_small_steps(name: str) -> None:
    found, s = error_constant_of(name), 0.7
    h = 0.02 if dn.method(name).form.rate else 0.0
    z = -s * (h or 0.02)
    roots = np.linalg.eigvals(linear_step(name, h).matrix(z))
    error = 1 - (roots[np.argmin(np.abs(roots - 1))] * np.exp(-z)).real
    assert error == pytest.approx(found.at_stiffness(s) * (h or 0.02) ** (found.order + 1), rel=0.12)


@pytest.mark.parametrize("name", ["ddim", "lms_2", "lms_3", "eab_3", "edm_heun", "ghvb_1.8"])
def test_the_quadrature_constant_is_that_of_the_derivation(name: str) -> None:
    sympy = pytest.importorskip("sympy")
    derived = dn.derive(name).error_constant
    nodes = {symbol: -int(str(symbol)[1:].strip("_")) for symbol in derived.free_symbols if str(symbol).startswith("u")}
    options = {sympy.Symbol(key): value for key, value in dn.method(name).options.items() if key == "beta"}
    value = derived.subs(nodes).subs(options)
    assert not value.free_symbols, f"{value} has more symbols than the nodes"
    assert error_constant_of(name).quadrature == pytest.approx(float(sympy.N(value)), rel=1e-5, abs=1e-8)


def test_wrong_weights_are_found_out() -> None:
    def off(factor: float) -> Method:
        def rule(window: Window, order: int) -> Step:
            x, k1, k2 = vectors("x k1 k2")
            h = window.moment(0)
            return Step((Stage(0, x), Stage(1, x + h * k1)), x + h / 2 * (factor * k1 + k2))

        return replace(dn.method("edm_heun"), name="off", rule=rule)

    assert error_constant(off(1.0)).order == 2
    with pytest.raises(ValueError, match="not consistent"):
        error_constant(off(1.01))


def test_an_order_out_of_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="raise highest"):
        error_constant("lms_6", highest=4)


def test_the_principal_root_begins_with_one_and_zeros() -> None:
    root = principal_root("lms_3", 0.8, terms=6)
    assert root[:4] == pytest.approx([1, 0, 0, 0], abs=1e-10)
    assert root[4] == pytest.approx(-3 / 8 * 0.8**4)

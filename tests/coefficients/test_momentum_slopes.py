"""Laws of HB, NT, DPM-Solver++(2M) with HB, and of GHVB for steps of any length."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.certificates.mutants import perturbed
from diffnum.coefficients import adams_bashforth, ghvb, ghvb_variable

sizes = st.lists(st.fractions(Fraction(1, 5), Fraction(5), max_denominator=30), min_size=0, max_size=4)
betas = st.fractions(Fraction(1, 20), Fraction(1), max_denominator=20)


def nodes(steps: list[Fraction]) -> tuple[Fraction, ...]:
    """Past nodes from the sizes of earlier steps."""
    return tuple(-sum(steps[: j + 1], Fraction(0)) for j in range(len(steps)))


@given(steps=sizes, beta=betas)
def test_an_exact_slope_before_gives_an_exact_slope_on_any_grid(steps: list[Fraction], beta: Fraction) -> None:
    past = nodes(steps)
    weights, damping = ghvb_variable(Fraction(1), past, beta)
    for k in range(len(past) + 1):
        before = past[0] ** k / (k + 1) if past else Fraction(k == 0)  # mean of s^k over [u_1, 0]
        total = sum(w * u**k for w, u in zip(weights, (Fraction(0), *past), strict=True)) + damping * before
        assert total == Fraction(1, k + 1)


@given(steps=sizes)
def test_without_momentum_it_is_adams_bashforth(steps: list[Fraction]) -> None:
    weights, damping = ghvb_variable(Fraction(-2), nodes(steps), 1)
    assert damping == 0
    assert weights == adams_bashforth(Fraction(-2), (Fraction(0), *nodes(steps)))


@pytest.mark.parametrize("order", range(1, 6))
def test_on_constant_steps_it_is_ghvb(order: int) -> None:
    beta, z = sympy.symbols("beta z")  # evaluations z**n
    average = beta / (1 - (1 - beta) / z)
    published = sum(c * z**-j for j, c in enumerate(ghvb(order, beta))) * average / beta
    past = tuple(-sympy.Integer(j) for j in range(1, order))
    weights, damping = ghvb_variable(sympy.Integer(1), past, beta)
    ours = sum(w * z**-j for j, w in enumerate(weights)) / (1 - damping / z)
    assert sympy.cancel(sympy.together(ours - published)) == 0


def test_on_other_steps_the_weights_of_constant_steps_miss_the_second_moment() -> None:
    past, beta = (Fraction(-2),), Fraction(4, 5)
    exact, _ = ghvb_variable(Fraction(1), past, beta)
    constant, _ = ghvb_variable(Fraction(1), (Fraction(-1),), beta)
    assert exact != constant


@pytest.mark.parametrize("beta", [0.0, -0.5, 1.5])
def test_beta_outside_its_range_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        ghvb_variable(1.0, (-1.0,), beta)


@pytest.mark.parametrize("name", ["ghvb_0.5_variable", "ghvb_1.8_variable", "ghvb_2.8_variable"])
def test_the_variable_version_keeps_its_order_on_every_grid(name: str) -> None:
    proof = dn.prove(name)
    assert proof.ok, str(proof)
    assert set(proof.orders.values()) == {dn.method(name).claimed_order}


def test_one_percent_on_the_damping_is_noticed() -> None:
    assert not dn.prove(perturbed(dn.method("ghvb_2.8_variable"), "v1", "v1")).ok


# -- averages of slopes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "hb_2_0.5",
        "nt_3_0.9",
        "hb_lms_3_0.8",
        "hb_eab_3_0.8",
        "nt_dpmpp_2m_0.8",
        "hb_ab_velocity_2_0.8",
        "mdpm2_0.5_slope",
    ],
)
def test_averaging_a_slope_costs_all_orders_but_the_first(name: str) -> None:
    proof = dn.prove(name)
    assert proof.ok, str(proof)
    assert proof.order == 1


@pytest.mark.parametrize(("name", "base"), [("hb_3_1", "plms_3"), ("nt_eab_2_1", "eab_2"), ("mdpm2_1", "dpmpp_2m")])
def test_without_momentum_the_method_is_its_base(name: str, base: str) -> None:
    schedule = dn.schedules.VPLinear()
    grid = dn.grids.uniform_time(schedule, n=8, t_start=1.0, t_end=1e-2)
    ours, theirs = (dn.plan(method, schedule, grid) for method in (name, base))
    assert ours.steps == theirs.steps


def final(name: str, terminal: str) -> np.ndarray:
    """State after 8 steps on a mixture."""
    schedule = dn.schedules.VPLinear()
    grid = dn.grids.uniform_half_log_snr(schedule, n=8, t_start=1.0, t_end=1e-3, terminal=terminal)
    model = dn.problems.three_peaks().denoiser(schedule, "data")
    return np.asarray(dn.solve(dn.plan(name, schedule, grid), model, np.array([[-1.0], [0.3]])))


def test_as_shipped_only_first_order_steps_are_left_out_of_the_average() -> None:
    shipped, plain = "mdpm2_0.8", "hb_dpmpp_2m_0.8"
    assert np.allclose(final(shipped, "stop"), final(plain, "stop"), rtol=1e-14)
    assert not np.allclose(final(shipped, "lower_order"), final(plain, "lower_order"), rtol=1e-6)
    assert not np.allclose(final(shipped, "stop"), final("mdpm2_0.8_slope", "stop"), rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["hb_nothing_0.5", "hb_ghvb_1.8_0.5", "hb_dpmpp_fast_3_0.8", "hb_pndm_0.8", "nt_fon_0.8"]
)
def test_a_base_that_does_not_take_all_steps_alike_names_no_method(name: str) -> None:
    with pytest.raises(ValueError, match="unknown"):
        dn.method(name)


def test_one_step_and_predictor_corrector_methods_have_slopes_too() -> None:
    for base, heavy in (("edm_heun", "hb_edm_heun_1"), ("unipc_2_bh2", "nt_unipc_2_bh2_1.0")):
        assert np.array_equal(final(base, "stop"), final(heavy, "stop"))
        assert not np.allclose(final(base, "stop"), final(heavy.rpartition("_")[0] + "_0.8", "stop"), rtol=1e-6)

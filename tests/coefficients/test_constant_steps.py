"""Laws of the classical multistep methods: tables, what iPNDM_v gets wrong, starts and modes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.certificates.mutants import perturbed
from diffnum.coefficients import abm, adams_bashforth, adams_moulton_constant, exponential_adams, ipndm_v, plms
from diffnum.coefficients.constant_steps import pseudo_runge_kutta_step
from diffnum.coefficients.method import Method
from diffnum.coefficients.runge_kutta import exponential_runge_kutta_step
from diffnum.forms import ExponentialKernel
from diffnum.tableau import Window

TABLES = {
    2: ((3, -1), (1, 1), 2),
    3: ((23, -16, 5), (5, 8, -1), 12),
    4: ((55, -59, 37, -9), (9, 19, -5, 1), 24),
    5: ((1901, -2774, 2616, -1274, 251), (251, 646, -264, 106, -19), 720),
    6: ((4277, -7923, 9982, -7298, 2877, -475), (475, 1427, -798, 482, -173, 27), 1440),
}

ratios = st.fractions(Fraction(1, 5), Fraction(5), max_denominator=40)


def nodes(sizes: list[Fraction]) -> tuple[Fraction, ...]:
    """Past nodes from the sizes of earlier steps."""
    return tuple(-sum(sizes[: j + 1], Fraction(0)) for j in range(len(sizes)))


@pytest.mark.parametrize("order", TABLES)
def test_the_weights_are_those_of_the_tables(order: int) -> None:
    bashforth, moulton, denominator = TABLES[order]
    assert plms(Fraction(denominator), order) == bashforth
    assert adams_moulton_constant(Fraction(denominator), order) == moulton
    assert abm(Fraction(denominator), order) == (bashforth, moulton)


@pytest.mark.parametrize("order", range(1, 10))
def test_they_are_the_variable_step_weights_on_constant_steps(order: int) -> None:
    past = tuple(-Fraction(j) for j in range(1, order))
    assert plms(Fraction(1), order) == adams_bashforth(Fraction(1), (Fraction(0), *past))
    new, *old = adams_moulton_constant(Fraction(1), order)
    implicit = exponential_adams(Fraction(1), (Fraction(0), *past[:-1], 1) if past else (1,), "rho")
    assert (*old, new) == implicit


@given(h=st.floats(-10, -0.001), order=st.integers(1, 8))
def test_constants_are_integrated_exactly(h: float, order: int) -> None:
    assert sum(plms(h, order)) == pytest.approx(h, rel=1e-11)
    assert sum(adams_moulton_constant(h, order)) == pytest.approx(h, rel=1e-12)


@pytest.mark.parametrize("order", [0, -1, 2.0, True])
def test_an_order_that_is_no_positive_whole_number_is_refused(order: int) -> None:
    for weights in (plms, adams_moulton_constant, abm):
        with pytest.raises(ValueError, match="order="):
            weights(1.0, order)


def test_arrays_are_the_numbers_one_by_one() -> None:
    h = np.array([-0.5, -2.0])
    for i, step in enumerate(h.tolist()):
        assert [w[i] for w in plms(h, 4)] == list(plms(step, 4))


# -- iPNDM_v -------------------------------------------------------------------------------------------


@given(size=ratios)
def test_two_evaluations_of_ipndm_v_are_adams_bashforth(size: Fraction) -> None:
    assert ipndm_v(Fraction(1), (-size,)) == adams_bashforth(Fraction(1), (Fraction(0), -size))


def mended(sizes: list[Fraction]) -> list[Fraction]:
    """iPNDM_v of order 4 with its three slips undone: a bracket, a sign, and the ratio of the oldest weight."""
    h1, h2, h3 = sizes
    v, w = h1 / h2, h1 * (h1 + h2) / (h2 * (h2 + h3))
    bend = (1 - 1 / (3 * (1 + h1))) / 2 * (1 + h1) / (h1 * (h1 + h2))
    twist = (1 - 1 / (3 * (1 + h1))) / 2 - (1 - 1 / (2 * (1 + h1))) / (6 * (1 + h1 + h2))
    twist *= (1 + h1) * (1 + h1 + h2) / (h1 * (h1 + h2) * (h1 + h2 + h3))
    first = (1 + 1 / (2 * h1), -1 / (2 * h1), Fraction(0), Fraction(0))
    second = (Fraction(1), -(1 + v), v, Fraction(0))
    third = (Fraction(1), -(1 + v + w), v + w * (1 + h2 / h3), -w * h2 / h3)
    return [a + bend * b + twist * c for a, b, c in zip(first, second, third, strict=True)]


@given(sizes=st.lists(ratios, min_size=3, max_size=3))
def test_with_three_slips_undone_ipndm_v_is_adams_bashforth(sizes: list[Fraction]) -> None:
    assert tuple(mended(sizes)) == adams_bashforth(Fraction(1), (Fraction(0), *nodes(sizes)))


@given(sizes=st.lists(ratios, min_size=3, max_size=3))
def test_four_evaluations_keep_constants_on_geometric_grids_only(sizes: list[Fraction]) -> None:
    geometric = sizes[0] * sizes[2] == sizes[1] ** 2
    assert (sum(ipndm_v(Fraction(1), nodes(sizes))) == 1) == geometric


def test_on_constant_steps_three_are_right_and_four_are_not() -> None:
    past = (Fraction(-1), Fraction(-2), Fraction(-3))
    assert ipndm_v(Fraction(1), past[:2]) == plms(Fraction(1), 3)
    assert ipndm_v(Fraction(24), past) == (57, -65, 43, -11)


def test_more_than_four_evaluations_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 4"):
        ipndm_v(1.0, (-1.0, -2.0, -3.0, -4.0))


@pytest.mark.parametrize(
    ("name", "smooth", "irregular"), [("ipndm_v_2", 2, 2), ("ipndm_v_3", 3, 2), ("ipndm_v_4", 2, 0)]
)
def test_the_orders_of_ipndm_v_are_proved(name: str, smooth: int, irregular: int) -> None:
    proof = dn.prove(name)
    assert proof.ok, str(proof)
    assert (proof.orders["smooth"], proof.orders["irregular"]) == (smooth, irregular)


def test_the_corrected_names_lead_to_the_variable_step_method() -> None:
    assert dn.method("ipndm_v_4_corrected").name == "lms_4"


# -- starts and modes ----------------------------------------------------------------------------------


def test_the_pseudo_start_is_the_classical_method_where_the_middle_is_the_middle() -> None:
    window = Window(Fraction(-2), (), ExponentialKernel(Fraction(-2), 0), depth=3, inner=(Fraction(1, 2),))
    pseudo, classical = pseudo_runge_kutta_step(window, 4), exponential_runge_kutta_step(window, 4)
    assert dict(pseudo.x) == dict(classical.x)
    for ours, theirs in zip(pseudo.stages, classical.stages, strict=True):
        assert ours.node == theirs.node
        assert {k: w for k, w in ours.value.items() if w} == {k: w for k, w in theirs.value.items() if w}


@pytest.mark.parametrize(
    ("name", "extra"), [("plms_4", 0), ("pndm", 9), ("f_pndm", 9), ("s_pndm", 1), ("abm_4_pec", 0), ("ipndm_v_4", 0)]
)
def test_evaluations_are_those_of_the_papers(name: str, extra: int) -> None:
    assert [dn.method(name).nfe(n) for n in (5, 10, 50)] == [5 + extra, 10 + extra, 50 + extra]


def test_re_evaluation_costs_two_evaluations_a_step() -> None:
    assert dn.method("abm_4").nfe(10) == 20


@pytest.mark.parametrize("name", ["plms_3", "s_pndm", "abm_2", "abm_3_pec", "abm_3_variable", "abm_3_variable_pec"])
def test_members_that_are_not_listed_are_proved(name: str) -> None:
    proof = dn.prove(name)
    assert proof.ok, str(proof)


@pytest.mark.parametrize("name", ["plms_4", "ipndm_v_3", "abm_3_variable"])
def test_one_percent_on_a_weight_is_noticed(name: str) -> None:
    spoilt: Method = perturbed(dn.method(name), "x", "m1")
    assert not dn.prove(spoilt).ok


def labelled() -> tuple[dn.schedules.Tabulated, dn.grids.Grid, np.ndarray]:
    """Table, grid on every tenth of its labels, and labels."""
    schedule = dn.schedules.Tabulated.from_betas(dn.schedules.linear_betas(100, 1e-3, 0.1))
    labels = np.arange(90.0, -1.0, -10.0)
    return schedule, dn.grids.from_times(schedule, labels + 1), labels


def test_fon_asks_for_its_labels() -> None:
    schedule, grid, _ = labelled()
    with pytest.raises(ValueError, match="alpha_ahead"):
        dn.plan("fon", schedule, grid)


def test_fon_takes_whole_steps_of_the_change_over_one_label() -> None:
    schedule, grid, labels = labelled()
    numbers = {"alpha_ahead": schedule.alpha(labels[:-1]), "labels": 10.0}
    plan = dn.plan("fon", schedule, grid, parameters=numbers)
    assert plan.nfe == len(plan) + 9
    for (
        step
    ) in plan.steps:  # the changes are linear in the state: their weights on the state alone are those of transfers
        change = dict(step.rows())["v1"]
        alpha, ahead = (float(schedule.alpha(t)) for t in (step.t_from, step.t_from - 1))
        sigma, sigma_ahead = (float(schedule.sigma(t)) for t in (step.t_from, step.t_from - 1))
        assert change["x"] == pytest.approx(ahead / alpha - 1, rel=1e-12)
        assert change["k1"] == pytest.approx(sigma_ahead - sigma * ahead / alpha, rel=1e-9)

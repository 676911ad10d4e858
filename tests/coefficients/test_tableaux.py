"""Tableaux are exact, checked and of the order that they state."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients import TABLEAUX, ButcherTableau, runge_kutta_weights
from diffnum.coefficients.tableaux import LOWER, two_stage
from diffnum.derivation.algebra.trees import rooted_trees
from diffnum.derivation.tableaux import PRINTED
from tests.derivation.tableau_order import runge_kutta_order

NAMES = list(TABLEAUX)
nodes = st.fractions(Fraction(1, 20), 1, max_denominator=40)


@pytest.mark.parametrize("name", NAMES)
def test_each_tableau_has_exactly_the_order_that_it_states(name: str) -> None:
    tableau = TABLEAUX[name]
    assert runge_kutta_order(tableau.square, tableau.b, highest=tableau.order + 1) == tableau.order


def test_the_tableaux_reach_order_six_on_all_thirty_seven_trees() -> None:
    assert max(t.order for t in TABLEAUX.values()) == 6
    assert sum(len(rooted_trees(n)) for n in range(1, 7)) == 37


@pytest.mark.parametrize("name", [n for n in NAMES if TABLEAUX[n].order > 1])
@given(data=st.data())
def test_one_percent_in_any_weight_costs_the_order(name: str, data: st.DataObject) -> None:
    tableau = TABLEAUX[name]
    i = data.draw(st.integers(1, tableau.stages - 1))
    j = data.draw(st.integers(0, i - 1))
    square = [list(row) for row in tableau.square]
    square[i][j] += Fraction(1, 100)
    weighted = any(tableau.b[k] for k in range(i, tableau.stages))
    assert weighted
    assert runge_kutta_order(square, tableau.b, highest=tableau.order) < tableau.order


@pytest.mark.parametrize("name", NAMES)
def test_shipped_tableaux_are_the_printed_ones(name: str) -> None:
    shipped, printed = TABLEAUX[name], PRINTED[name]
    assert (shipped.c, shipped.A, shipped.b, shipped.order) == (printed.c, printed.A, printed.b, printed.order)


@given(node=nodes)
def test_two_stage_methods_are_of_order_two_for_every_node(node: Fraction) -> None:
    tableau = two_stage(node)
    assert runge_kutta_order(tableau.square, tableau.b, highest=3) == 2


@pytest.mark.parametrize("node", [Fraction(0), Fraction(-1, 2), Fraction(3, 2)])
def test_two_stage_methods_refuse_nodes_outside_the_step(node: Fraction) -> None:
    with pytest.raises(ValueError, match=r"use a number in \(0, 1\]"):
        two_stage(node)


def test_known_members_of_the_two_stage_family() -> None:
    for node, name in ((Fraction(1, 2), "midpoint"), (Fraction(2, 3), "ralston2"), (Fraction(1), "heun")):
        same, other = two_stage(node), TABLEAUX[name]
        assert (same.c, same.A, same.b) == (other.c, other.A, other.b)


def test_a_tableau_whose_row_does_not_sum_to_its_node_is_refused() -> None:
    with pytest.raises(ValueError, match="sums to 1/3, its node is"):
        ButcherTableau("wrong", (0, "1/2"), ((), ("1/3",)), (0, 1), 2)  # type: ignore[arg-type]


def test_a_tableau_whose_weights_do_not_sum_to_one_is_refused() -> None:
    with pytest.raises(ValueError, match="b sums to 3/4"):
        replace(TABLEAUX["midpoint"], b=(Fraction(0), Fraction(3, 4)))


def test_a_tableau_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="explicit"):
        ButcherTableau("implicit", (Fraction(1),), ((Fraction(1),),), (Fraction(1),), 1)


def test_floats_are_refused_since_a_third_is_not_one() -> None:
    with pytest.raises(TypeError, match="use Fraction"):
        ButcherTableau("float", (0, 0.5), ((), (0.5,)), (0, 1), 2)  # type: ignore[arg-type]


def test_fallbacks_have_the_order_for_which_they_stand_in() -> None:
    assert {order: TABLEAUX[name].order for order, name in LOWER.items()} == {order: order for order in LOWER}


@pytest.mark.parametrize("name", NAMES)
@given(h=st.floats(-2, -1e-3))
def test_weights_of_a_step_sum_to_the_step(name: str, h: float) -> None:
    rows, weights = runge_kutta_weights(h, name)
    assert np.isclose(sum(weights), h, rtol=1e-13)
    for row, node in zip(rows, TABLEAUX[name].c, strict=True):
        assert np.isclose(sum(row), float(node) * h, rtol=1e-12, atol=1e-13)


def test_unknown_tableaux_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="tableau='rk5' is unknown"):
        runge_kutta_weights(-0.1, "rk5")


@pytest.mark.parametrize(("clock", "name"), [("rho", name) for name in NAMES] + [("velocity", "kutta38")])
def test_every_tableau_is_a_method_in_the_plain_clocks_and_proved(clock: str, name: str) -> None:
    record = dn.method(f"{clock}_rk_{name}")
    assert record.order == record.claimed_order == TABLEAUX[name].order
    assert dn.prove(record).ok


@pytest.mark.parametrize("node", ["0.3", "2/3", "1"])
def test_a_free_node_in_the_name_gives_the_two_stage_method(node: str) -> None:
    proof = dn.prove(f"rho_rk_2_{node}")
    assert proof.ok
    assert proof.order == 2


def test_deis_names_of_the_tableaux_lead_to_them() -> None:
    assert dn.method("rho_rk_3kutta").name == "rho_rk_kutta3"
    assert dn.method("rho_rk_4rk").name == "rho_rk_rk4"


def test_a_step_to_zero_noise_is_eulers_as_in_the_code_of_edm() -> None:
    schedule = dn.schedules.FlowMatching()
    grid = dn.grids.to_zero(dn.grids.uniform_time(schedule, 4, t_start=0.9, t_end=0.1), schedule)
    assert dn.plan("rho_rk_heun3", schedule, grid).steps[-1].nfe == 1
    assert dn.plan("rho_rk_rk4", schedule, grid).steps[-1].nfe == 1

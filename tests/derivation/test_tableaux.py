"""Tableaux are derived: from their nodes, or their weights from their stages."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diffnum.derivation import tableaux
from diffnum.derivation.tableaux import PRINTED, Printed, overdetermined, printed, solved
from tests.derivation.tableau_order import runge_kutta_order

inner = st.fractions(Fraction(1, 12), 1, max_denominator=12)


@pytest.mark.parametrize("name", PRINTED)
def test_the_derivation_finds_the_printed_tableau(name: str) -> None:
    assert solved(PRINTED[name].order, name) == printed(PRINTED[name].order, name)


@settings(max_examples=30)
@given(c2=inner, c3=inner)
def test_three_stages_of_order_three_follow_from_any_nodes(c2: Fraction, c3: Fraction) -> None:
    assume(c2 != c3 and c2 != Fraction(2, 3))
    entry = Printed(3, f"0 {c2} {c3}", "", "", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tableaux, "PRINTED", {**PRINTED, "free": entry})
        c, A, b = solved.__wrapped__(3, "free")
    square = [[*row, *(Fraction(0),) * (3 - len(row))] for row in A]
    assert c == (0, c2, c3)
    assert runge_kutta_order(square, b, highest=3) == 3


@pytest.mark.parametrize("name", ["butcher5", "dopri5", "butcher6"])
def test_stages_that_are_wrong_leave_no_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = PRINTED[name]
    *rows, last = right.stages.split(",")
    first, *others = last.split()
    spoilt = ",".join([*rows, " ".join([str(Fraction(first) * Fraction(101, 100)), *others])])
    entry = Printed(right.order, right.nodes, spoilt, right.weights, right.source)
    monkeypatch.setattr(tableaux, "PRINTED", {**PRINTED, name: entry})
    with pytest.raises(ValueError, match="contradict"):
        solved.__wrapped__(right.order, name)


def test_too_few_conditions_are_refused() -> None:
    with pytest.raises(ValueError, match="undetermined"):
        overdetermined([[Fraction(1), Fraction(1)]], [Fraction(1)])


def test_consistent_systems_with_more_equations_than_unknowns_are_solved() -> None:
    rows = [[Fraction(1), Fraction(1)], [Fraction(1), Fraction(2)], [Fraction(1), Fraction(3)]]
    assert overdetermined(rows, [Fraction(3), Fraction(5), Fraction(7)]) == (1, 2)

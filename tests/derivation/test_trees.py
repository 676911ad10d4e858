"""Rooted trees and classical order conditions, on tableaux whose order is in the books."""

from __future__ import annotations

from fractions import Fraction as F
from math import factorial
from typing import Any

import pytest
import sympy

from diffnum.derivation.algebra.trees import CLOCK, Tree, bushy, elementary_weight, order_conditions, rooted_trees
from tests.derivation.tableau_order import runge_kutta_order


def explicit(*rows: tuple[Any, ...]) -> list[list[Any]]:
    return [[*row, *[F(0)] * (len(rows) - len(row))] for row in rows]


EULER = ([[F(0)]], [F(1)], 1)
KUTTA_3 = (explicit((), (F(1, 2),), (F(-1), F(2))), [F(1, 6), F(2, 3), F(1, 6)], 3)
RK4 = (explicit((), (F(1, 2),), (F(0), F(1, 2)), (F(0), F(0), F(1))), [F(1, 6), F(1, 3), F(1, 3), F(1, 6)], 4)
BUTCHER_6 = (
    explicit(
        (),
        (F(1, 3),),
        (F(0), F(2, 3)),
        (F(1, 12), F(1, 3), F(-1, 12)),
        (F(-1, 16), F(9, 8), F(-3, 16), F(-3, 8)),
        (F(0), F(9, 8), F(-3, 8), F(-3, 4), F(1, 2)),
        (F(9, 44), F(-9, 11), F(63, 44), F(18, 11), F(0), F(-16, 11)),
    ),
    [F(11, 120), F(0), F(27, 40), F(27, 40), F(-4, 15), F(-4, 15), F(11, 120)],
    6,
)
RADAU_2 = ([[F(5, 12), F(-1, 12)], [F(3, 4), F(1, 4)]], [F(3, 4), F(1, 4)], 3)
LOBATTO_3A = ([[F(0)] * 3, [F(5, 24), F(1, 3), F(-1, 24)], [F(1, 6), F(2, 3), F(1, 6)]], [F(1, 6), F(2, 3), F(1, 6)], 4)
TABLEAUX = {
    "euler": EULER,
    "kutta 3": KUTTA_3,
    "rk4": RK4,
    "butcher 6": BUTCHER_6,
    "radau IIA 2": RADAU_2,
    "lobatto IIIA 3": LOBATTO_3A,
}


def test_trees_are_as_many_as_cayley_counted() -> None:
    assert [len(rooted_trees(n)) for n in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]
    assert [len(rooted_trees(n, clock=True)) for n in range(1, 6)] == [1, 2, 5, 13, 37]


@pytest.mark.parametrize("clock", [False, True])
def test_trees_are_distinct_and_have_the_order_asked_for(clock: bool) -> None:
    for n in range(1, 7):
        trees = rooted_trees(n, clock)
        assert len(set(trees)) == len({t.text for t in trees}) == len(trees)
        assert {t.order for t in trees} == {n}


@pytest.mark.parametrize("n", range(1, 9))
def test_monotone_labellings_sum_to_a_factorial(n: int) -> None:
    labellings = [F(factorial(n), t.density * t.symmetry) for t in rooted_trees(n)]
    assert all(count.denominator == 1 for count in labellings)
    assert sum(labellings) == factorial(n - 1)


def test_density_and_symmetry_of_known_trees() -> None:
    leaf = Tree()
    tall = Tree((Tree((leaf,)),))
    assert (leaf.density, leaf.symmetry) == (1, 1)
    assert (tall.density, tall.symmetry) == (6, 1)
    assert (bushy(4).density, bushy(4).symmetry) == (4, 6)
    assert Tree((leaf, CLOCK)).symmetry == 1
    assert (str(tall), str(bushy(3)), str(CLOCK)) == ("[[o]]", "[oo]", "s")


@pytest.mark.parametrize("name", TABLEAUX)
def test_known_tableaux_have_exactly_their_order(name: str) -> None:
    a, b, order = TABLEAUX[name]
    assert runge_kutta_order(a, b, highest=order + 1) == order
    assert runge_kutta_order(a, b, [sum(row) for row in a], highest=min(order, 5) + 1) == min(order, 6)


@pytest.mark.parametrize("name", TABLEAUX)
def test_one_percent_on_any_weight_is_seen(name: str) -> None:
    a, b, order = TABLEAUX[name]
    for i, row in enumerate(a):
        for j, entry in enumerate(row):
            if entry:
                changed = [
                    [e * F(101, 100) if (i, j) == (r, c) else e for c, e in enumerate(x)] for r, x in enumerate(a)
                ]
                assert runge_kutta_order(changed, b, highest=order) < order
    for i, weight in enumerate(b):
        if weight:
            assert (
                runge_kutta_order(a, [w * F(101, 100) if i == j else w for j, w in enumerate(b)], highest=order) < order
            )


def test_a_stage_at_the_wrong_node_is_seen_by_the_clock_leaves_alone() -> None:
    a, b, _ = RK4
    wrong = [F(0), F(1, 2), F(51, 100), F(1)]
    assert runge_kutta_order(a, b, highest=4) == 4
    assert runge_kutta_order(a, b, wrong, highest=4) == 1


def test_gauss_has_order_four_in_floats() -> None:
    root = 3**0.5 / 6
    a, b = [[0.25, 0.25 - root], [0.25 + root, 0.25]], [0.5, 0.5]
    residuals = order_conditions(a, b, order=5)
    assert all(abs(r) < 1e-15 for tree, r in residuals if tree.order <= 4)
    assert max(abs(r) for tree, r in residuals if tree.order == 5) > 1e-3


def test_conditions_of_symbolic_weights_are_equations() -> None:
    c, b1, b2 = sympy.symbols("c b1 b2")
    conditions = order_conditions([[0, 0], [c, 0]], [b1, b2], order=2)
    solution = sympy.solve([sympy.nsimplify(r) for _, r in conditions], [b1, b2], dict=True)
    assert solution == [{b1: 1 - 1 / (2 * c), b2: 1 / (2 * c)}] or sympy.cancel(solution[0][b2] - 1 / (2 * c)) == 0
    assert elementary_weight(Tree(), [[0, 0], [c, 0]], [b1, b2]) == b1 + b2


def test_bad_shapes_and_orders_are_refused() -> None:
    with pytest.raises(ValueError, match="s by s"):
        order_conditions([[0, 0], [1]], [1, 0])
    with pytest.raises(ValueError, match="order=0"):
        rooted_trees(0)

"""Vectors obey the laws of linear algebra, steps name their rows, windows shift their history."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffnum.forms import ExponentialKernel
from diffnum.tableau import Stage, Step, Tableau, Vector, Window, vector, vectors

rationals = st.fractions(-5, 5, max_denominator=12)
combinations = st.dictionaries(st.sampled_from(["x", "k1", "k2", "m1"]), rationals).map(Vector)


def same(a: Vector, b: Vector) -> bool:
    """Equal as combinations: a weight of zero is no weight."""
    return all(a.get(name, 0) == b.get(name, 0) for name in {*a, *b})


# -- vectors -----------------------------------------------------------------------------------------


@given(u=combinations, v=combinations, w=combinations)
def test_addition_is_commutative_and_associative_and_subtraction_its_inverse(u: Vector, v: Vector, w: Vector) -> None:
    assert same(u + v, v + u)
    assert same((u + v) + w, u + (v + w))
    assert same(u - v, u + (-v))
    assert same((u + v) - v, u)
    assert same(sum([u, v, w], Vector({})), u + v + w)
    assert same(sum([u, v]), u + v)


@given(u=combinations, v=combinations, a=rationals, b=rationals)
def test_scaling_distributes_and_commutes(u: Vector, v: Vector, a: Fraction, b: Fraction) -> None:
    assert same(a * (u + v), a * u + a * v)
    assert same((a + b) * u, a * u + b * u)
    assert same(a * (b * u), (a * b) * u)
    assert same(a * u, u * a)
    if b:
        assert same(u / b, u * (1 / b))


def test_operations_leave_their_operands_alone() -> None:
    x, k = vectors("x k1")
    total = x + k
    _ = 3 * total, total - x, total / 2, -total
    assert (dict(x), dict(k), dict(total)) == ({"x": 1}, {"k1": 1}, {"x": 1, "k1": 1})


def test_an_array_on_the_left_becomes_a_coefficient() -> None:
    weight = np.array([1.0, 2.0])
    product = weight * vector("x")
    assert isinstance(product, Vector)
    np.testing.assert_array_equal(product["x"], weight)
    np.testing.assert_array_equal((np.float64(3.0) * vector("x"))["x"], 3.0)


def test_vectors_add_to_vectors_only() -> None:
    with pytest.raises(TypeError):
        vector("x") + 1.0  # type: ignore[operator]
    assert repr(Vector({})) == "0"
    assert repr(2 * vector("x") + vector("k1")) == "2*x + 1*k1"


# -- steps and windows -------------------------------------------------------------------------------


def test_rows_come_in_the_order_of_evaluation_with_their_nodes() -> None:
    x, k1, k2 = vectors("x k1 k2")
    step = Step((Stage(0, x), Stage(0.5, x + k1)), x + k2, {"m1": k1})
    assert [(name, node) for name, node, _ in step.rows()] == [("k1", 0), ("k2", 0.5), ("x", 1), ("m1", None)]
    assert step.nfe == 2


def window(known: str, depth: int) -> Window:
    """Window that knows some vectors."""
    return Window(0.5, (), ExponentialKernel(0.5, -1), frozenset(known.split()), depth)


@pytest.mark.parametrize(
    ("known", "depth", "expected"),
    [
        ("x", 0, {}),
        ("x", 1, {"m1": "k1"}),
        ("x", 3, {"m1": "k1"}),
        ("x m1", 1, {"m1": "k1"}),
        ("x m1", 2, {"m1": "k1", "m2": "m1"}),
        ("x m1 m2", 3, {"m1": "k1", "m2": "m1", "m3": "m2"}),
        ("x m1 m2 m3", 3, {"m1": "k1", "m2": "m1", "m3": "m2"}),
        ("x m2", 3, {"m1": "k1"}),
    ],
)
def test_remember_shifts_the_history_and_keeps_no_more_than_its_depth(
    known: str, depth: int, expected: dict[str, str]
) -> None:
    memory = window(known, depth).remember(vector("k1"))
    assert {name: dict(value) for name, value in memory.items()} == {n: {v: 1} for n, v in expected.items()}


def test_remember_can_count_from_another_letter_and_number() -> None:
    memory = window("x v0 v1", 2).remember(vector("k1"), letter="v", first=0)
    assert {name: dict(value) for name, value in memory.items()} == {"v0": {"k1": 1}, "v1": {"v0": 1}}


def test_a_window_hands_out_moments_and_rationals() -> None:
    w = window("x", 0)
    assert w.moment(1, 0.5) == ExponentialKernel(0.5, -1).moment(1, 0.5)
    assert w.rational(1, 3) == 1 / 3


# -- tableaux ----------------------------------------------------------------------------------------


def tableau(**changes: Any) -> Tableau:
    """Two stages, one noise, a history of one."""
    base = Tableau(
        inputs=("x", "m1"),
        outputs=("x", "m1"),
        noises=("z1",),
        t_from=1.0,
        t_to=0.5,
        stage_t=np.array([1.0, 0.75]),
        stage_alpha=np.array([0.1, 0.4]),
        stage_sigma=np.array([0.9, 0.6]),
        U=np.array([[1.0, 0.0], [0.8, 0.1]]),
        A=np.array([[0.0, 0.0], [0.3, 0.0]]),
        V=np.array([[0.5, -0.2], [0.0, 0.0]]),
        B=np.array([[0.0, 0.7], [1.0, 0.0]]),
        stage_noise=np.zeros((2, 1)),
        noise=np.array([[0.05], [0.0]]),
    )
    return replace(base, **changes)


def test_the_rows_of_a_tableau_leave_zeros_out_and_put_stages_first() -> None:
    assert list(tableau().rows()) == [
        ("k1", {"x": 1.0}),
        ("k2", {"x": 0.8, "m1": 0.1, "k1": 0.3}),
        ("x", {"x": 0.5, "m1": -0.2, "k2": 0.7, "z1": 0.05}),
        ("m1", {"k1": 1.0}),
    ]
    assert tableau().nfe == 2


def test_element_wise_weights_stay_arrays_in_the_rows() -> None:
    step = tableau(B=np.array([[[0.0, 0.0], [0.7, 0.0]], [[1.0, 1.0], [0.0, 0.0]]]))
    rows = dict(step.rows())
    np.testing.assert_array_equal(rows["x"]["k2"], [0.7, 0.0])
    assert set(rows["x"]) == {"x", "m1", "k2", "z1"}


def test_tableaux_are_equal_when_every_number_is_and_are_not_hashable() -> None:
    assert tableau() == tableau()
    assert tableau() != tableau(t_to=0.4)
    assert tableau() != tableau(B=np.array([[0.0, np.nextafter(0.7, 1)], [1.0, 0.0]]))
    assert tableau() != "tableau"
    with pytest.raises(TypeError):
        hash(tableau())

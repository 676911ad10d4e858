"""Exponential Runge-Kutta methods: classical orders, limits, and RES as it should be and as it ships."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients import TABLEAUX, etd_rk3, hochbruck_ostermann_4, krogstad_4, res_3s
from diffnum.coefficients.exponential_runge_kutta import res_gamma
from diffnum.derivation.algebra.bseries import expand
from diffnum.phi import phi

METHODS: dict[str, Callable[..., Any]] = {
    "etd_rk3": etd_rk3,
    "krogstad_4": krogstad_4,
    "hochbruck_ostermann_4": hochbruck_ostermann_4,
    "res_3s": res_3s,
}
NODES = {
    "etd_rk3": (0, 0.5, 1),
    "krogstad_4": (0, 0.5, 0.5, 1),
    "hochbruck_ostermann_4": (0, 0.5, 0.5, 1, 0.5),
    "res_3s": (0, 0.5, 1),
}
inner = st.fractions(Fraction(1, 10), 1, max_denominator=10)


@pytest.mark.parametrize(
    "name",
    [
        *("etd_rk2", "etd_rk3", "etd_rk4", "etd_rk4_noise", "krogstad_4", "krogstad_4_noise"),
        *("hochbruck_ostermann_4", "hochbruck_ostermann_4_noise", "res_3s", "res_3s_noise_c1/3_4/5"),
        *("res_3s_c1/3_4/5_as_shipped", "res_3s_c0.4_0.9"),
    ],
)
def test_members_are_derived_published_and_of_their_order(name: str) -> None:
    proof = dn.prove(name)
    assert proof.ok, str(proof)
    assert proof.order == dn.method(name).order


@pytest.mark.parametrize("name", METHODS)
@given(h=st.floats(1e-3, 5), prediction=st.sampled_from(["data", "noise"]))
def test_constants_are_integrated_exactly_by_every_row(name: str, h: float, prediction: str) -> None:
    sign = {"data": -1, "noise": 1}[prediction]
    rows, weights = METHODS[name](h, prediction=prediction)
    for row, node in zip([*rows, weights], [*NODES[name], 1], strict=True):
        assert np.isclose(sum(row), node * h * phi(1, sign * node * h), rtol=1e-11)


@pytest.mark.parametrize(("name", "tableau"), [("etd_rk3", "kutta3"), ("krogstad_4", None)])
def test_weights_over_the_step_tend_to_a_classical_tableau(name: str, tableau: str | None) -> None:
    h = 1e-6
    rows, weights = METHODS[name](h)
    classical = [1 / 6, 2 / 3, 1 / 6] if tableau else [1 / 6, 1 / 3, 1 / 3, 1 / 6]
    assert np.allclose(np.array(weights) / h, classical, atol=1e-5)
    if tableau:
        assert np.allclose(np.array(rows[2]) / h, [float(a) for a in TABLEAUX[tableau].A[2]], atol=1e-5)


@given(c2=inner, c3=inner)
def test_gamma_meets_the_condition_of_order_three(c2: Fraction, c3: Fraction) -> None:
    assume(c2 != Fraction(2, 3))
    gamma = res_gamma(c2, c3)
    assert 2 * (gamma * c2 + c3) == 3 * (gamma * c2**2 + c3**2)


@settings(max_examples=20)
@given(c2=inner, c3=inner)
def test_the_cube_in_the_shipped_gamma_costs_the_order_unless_the_node_is_one(c2: Fraction, c3: Fraction) -> None:
    assume(c2 not in (Fraction(2, 3), c3))
    try:
        right, shipped = dn.method(f"res_3s_c{c2}_{c3}"), dn.method(f"res_3s_c{c2}_{c3}_as_shipped")
    except ValueError:
        assume(False)
    assert right.order == 3
    assert shipped.order == (3 if c3 == 1 else 2)
    for record in (right, shipped):
        assert expand(record.rule, 3, rate=-1, grid="uniform", highest=3).order == record.order


@pytest.mark.parametrize("name", ["res_3s_c2/3_1", "res_3s_c0.5_0.5", "res_3s_c1.5_1", "res_3s_c0_1"])
def test_nodes_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="takes distinct nodes"):
        dn.method(name)


def test_the_multistep_res_methods_are_exponential_adams() -> None:
    assert dn.method("res_2m").name == "eab_2"


def test_stiff_orders_are_on_record() -> None:
    names = ("etd_rk4", "krogstad_4", "hochbruck_ostermann_4", "res_3s", "dpm_solver_3")
    assert [dn.method(name).stiff_order for name in names] == [2, 3, 4, 3, 3]


@pytest.mark.parametrize("name", ["krogstad_4", "hochbruck_ostermann_4", "res_3s", "etd_rk3"])
def test_arrays_of_steps_are_computed_at_once(name: str) -> None:
    h = np.array([0.1, 0.5, 2.0])
    _, together = METHODS[name](h)
    for i, step in enumerate(h):
        _, alone = METHODS[name](float(step))
        assert np.allclose([w[i] if np.ndim(w) else w for w in together], alone, rtol=1e-13)


@pytest.mark.parametrize("name", ["etd_rk4", "krogstad_4", "hochbruck_ostermann_4", "res_3s"])
def test_measured_order_on_uniform_steps(name: str) -> None:
    problem = dn.problems.three_peaks()
    study = dn.convergence_study(name, problem=problem, grids=("uniform",), measures=("global",), points=4)
    assert study.order == dn.method(name).order

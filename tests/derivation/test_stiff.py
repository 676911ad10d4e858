"""Stiff order conditions tell Krogstad from Cox and Matthews, and reject what is spoilt."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

import diffnum as dn
from diffnum.derivation.algebra.stiff import stiff_conditions, stiff_order
from diffnum.tableau import Step, Vector

CASES = {
    "ddim": 1,
    "dpm_solver_2": 2,
    "dpmpp_2s_taylor": 2,
    "dpm_solver_3": 3,
    "dpmpp_3s_taylor": 3,
    "dpm_solver_3_r0.25_0.75": 2,
    "etd_rk3": 2,
    "etd_rk4": 2,
    "krogstad_4": 3,
    "krogstad_4_noise": 3,
    "hochbruck_ostermann_4": 4,
    "res_3s": 3,
    "res_3s_c1/3_4/5_as_shipped": 2,
}


@pytest.mark.parametrize(("name", "order"), CASES.items())
def test_stiff_orders_are_those_of_the_literature_and_of_the_records(name: str, order: int) -> None:
    assert stiff_order(dn.derive(name).step) == order
    assert dn.method(name).stiff_order in (order, None)


@pytest.mark.parametrize("name", CASES)
def test_the_stiff_order_never_exceeds_the_classical_one(name: str) -> None:
    assert stiff_order(dn.derive(name).step) <= dn.method(name).order


def test_dpm_solver_2_meets_the_second_condition_in_the_limit_only_and_res_exactly() -> None:
    weak, strict = (
        next(c for c in stiff_conditions(dn.derive(name).step) if c.name == "I_2")
        for name in ("dpmpp_2s", "dpmpp_2s_taylor")
    )
    assert (weak.strict, weak.weak) == (False, True)
    assert (strict.strict, strict.weak) == (True, True)


def test_the_method_of_stiff_order_four_needs_the_weak_form_for_two_conditions() -> None:
    found = {c.name: (c.strict, c.weak) for c in stiff_conditions(dn.derive("hochbruck_ostermann_4").step)}
    assert [name for name, (strict, weak) in found.items() if weak and not strict] == ["I_4", "D_3"]
    assert all(weak for _, weak in found.values())


@pytest.mark.parametrize(("name", "row", "source"), [("krogstad_4", 2, "k2"), ("hochbruck_ostermann_4", 4, "k2")])
def test_one_percent_in_a_stage_weight_costs_stiff_order(name: str, row: int, source: str) -> None:
    step = dn.derive(name).step
    weight = step.stages[row].value[source]
    spoilt = Vector({**step.stages[row].value, source: weight * Fraction(101, 100)})
    stages = tuple(replace(s, value=spoilt) if i == row else s for i, s in enumerate(step.stages))
    assert stiff_order(Step(stages, step.x)) < stiff_order(step)


def test_steps_with_a_history_are_refused() -> None:
    with pytest.raises(ValueError, match="one-step methods"):
        stiff_conditions(dn.derive("eab_2").step)


def test_plain_clocks_have_no_stiff_conditions() -> None:
    with pytest.raises(ValueError, match="exponential kernel"):
        stiff_conditions(dn.derive("rho_rk_rk4").step)

"""DPM-Solver with free inner nodes, and its singlestep orders."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients import dpm_solver_2, dpm_solver_3
from diffnum.derivation.algebra.bseries import expand
from diffnum.grids import from_half_log_snr

steps = st.floats(1e-3, 3)
predictions = st.sampled_from(["noise", "data"])
variants = st.sampled_from(["dpmsolver", "taylor"])
fractions = st.fractions(Fraction(1, 20), 1, max_denominator=20)


def psi(k: int, z: float) -> float:
    """Return the function of the official codes: psi_1 = e^z - 1, psi_{k+1} = psi_k/z - 1/k!."""
    value = np.expm1(z)
    for j in range(1, k):
        value = value / z - 1 / float(np.prod(range(1, j + 1)))
    return float(value)


@given(h=st.floats(0.1, 3), r1=st.floats(0.05, 1), prediction=predictions, variant=variants)
def test_second_order_weights_are_those_of_the_official_code(
    h: float, r1: float, prediction: str, variant: str
) -> None:
    sign = 1 if prediction == "noise" else -1
    a21, (b1, b2) = dpm_solver_2(h, r1, prediction, variant)
    difference = psi(1, sign * h) / (2 * r1) if variant == "dpmsolver" else psi(2, sign * h) / r1
    assert np.isclose(a21, sign * psi(1, sign * r1 * h), rtol=1e-11)
    assert np.isclose(b2, sign * difference, rtol=1e-11)
    assert np.isclose(b1 + b2, sign * psi(1, sign * h), rtol=1e-11)


@given(h=st.floats(0.3, 3), r1=st.floats(0.05, 0.9), r2=st.floats(0.1, 1), prediction=predictions)
def test_third_order_taylor_weights_are_those_of_the_official_code(
    h: float, r1: float, r2: float, prediction: str
) -> None:
    assume(r2 - r1 > 0.05)
    sign = 1 if prediction == "noise" else -1
    values = np.array([0.3, -1.1, 0.7])
    _, _, weights = dpm_solver_3(h, r1, r2, prediction, "taylor")
    a, b = (values[1] - values[0]) / r1, (values[2] - values[0]) / r2
    first, second = (r2 * a - r1 * b) / (r2 - r1), 2 * (b - a) / (r2 - r1)
    z = sign * h
    expected = sign * (psi(1, z) * values[0] + psi(2, z) * first + psi(3, z) * second)
    assert np.isclose(np.dot(weights, values), expected, rtol=1e-9, atol=1e-12)


@given(h=steps, prediction=predictions, variant=variants)
def test_constant_predictions_are_integrated_exactly_by_every_row(h: float, prediction: str, variant: str) -> None:
    a21, a3, weights = dpm_solver_3(h, 0.3, 0.8, prediction, variant)
    sign = 1 if prediction == "noise" else -1
    for total, node in ((a21, 0.3), (sum(a3), 0.8), (sum(weights), 1.0)):
        assert np.isclose(total, sign * np.expm1(sign * node * h), rtol=1e-12)


@pytest.mark.parametrize(("r1", "r2"), [(0.5, 0.5), (0.7, 0.3), (0.0, 0.5), (0.5, 1.1), (-0.1, 0.5)])
def test_nodes_out_of_order_are_refused(r1: float, r2: float) -> None:
    with pytest.raises(ValueError, match="out of order"):
        dpm_solver_3(0.1, r1, r2)


@pytest.mark.parametrize("r1", [0.0, -0.2, 1.5, np.array([0.5, 1.2])])
def test_a_node_outside_the_step_is_refused(r1: Any) -> None:
    with pytest.raises(ValueError, match="out of order"):
        dpm_solver_2(0.1, r1)


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ValueError, match="variant='heun' is unknown"):
        dpm_solver_2(0.1, variant="heun")


@pytest.mark.parametrize(
    "name", ["dpm_solver_3_r2/3_1/3", "dpmpp_3s_r0.5_0.5", "dpmpp_2s_r1.5", "dpm_solver_2_r0", "dpmpp_3s_r0.5"]
)
def test_a_name_with_nodes_out_of_order_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ValueError, match=r"takes (one|two) inner node"):
        dn.method(name)


@settings(max_examples=25)
@given(r1=fractions, r2=fractions, variant=variants, rate=st.sampled_from([-1, 1]))
def test_order_three_needs_the_second_node_at_two_thirds(r1: Fraction, r2: Fraction, variant: str, rate: int) -> None:
    assume(r1 < r2)
    stem = {-1: "dpmpp_3s", 1: "dpm_solver_3"}[rate]
    record = dn.method(f"{stem}{'_taylor' if variant == 'taylor' else ''}_r{r1}_{r2}")
    assert record.order == (3 if r2 == Fraction(2, 3) else 2)
    assert expand(record.rule, 3, rate=rate, grid="uniform", highest=3).order == record.order


@pytest.mark.parametrize("r1", ["1/6", "1/3", "0.5", "3/5"])
def test_with_two_thirds_the_first_node_is_free(r1: str) -> None:
    assert dn.prove(f"dpm_solver_3_r{r1}_2/3").order == 3


@pytest.mark.parametrize(
    "name",
    [
        "dpm_solver_2",
        "dpmpp_2s_taylor",
        "dpm_solver_2_r0.3",
        "dpmpp_3s_taylor",
        "dpm_solver_3_r0.25_0.75",
        "dpm_solver_fast_3",
        "dpmpp_fixed_3_taylor",
        "dpmpp_fast_2",
        "dpm_solver_fast_1",
    ],
)
def test_members_are_derived_published_and_of_their_order(name: str) -> None:
    proof = dn.prove(name)
    assert proof.ok, str(proof)
    assert proof.order == dn.method(name).order


@pytest.mark.parametrize(
    ("intervals", "order", "fast", "fixed"),
    [
        (9, 3, [3, 3, 2, 1], [3, 3, 3]),
        (10, 3, [3, 3, 3, 1], [3, 3, 3, 1]),
        (11, 3, [3, 3, 3, 2], [3, 3, 3, 2]),
        (3, 3, [2, 1], [3]),
        (6, 2, [2, 2, 2], [2, 2, 2]),
        (7, 2, [2, 2, 2, 1], [2, 2, 2, 1]),
        (4, 1, [1, 1, 1, 1], [1, 1, 1, 1]),
    ],
)
def test_singlestep_orders_are_the_published_lists(
    intervals: int, order: int, fast: list[int], fixed: list[int]
) -> None:
    assert [p.order for p in dn.method(f"dpmpp_fast_{order}").programme(intervals)] == fast
    assert [p.order for p in dn.method(f"dpmpp_fixed_{order}").programme(intervals)] == fixed
    assert dn.method(f"dpmpp_fast_{order}").nfe(intervals) == intervals


def test_singlestep_stages_stand_on_the_nodes_of_the_grid() -> None:
    schedule = dn.schedules.VPLinear()
    lam = np.array([-2.0, -1.7, -0.9, 0.0, 0.4, 0.7, 1.5, 1.6, 2.0])
    numbers = dn.plan("dpmpp_fast_3", schedule, from_half_log_snr(schedule, lam))
    called = np.concatenate([step.stage_t for step in numbers.steps])
    assert np.allclose(schedule.half_log_snr(called), lam[:-1], atol=1e-12)


def test_on_uniform_grids_singlestep_equals_one_step_per_outer_interval() -> None:
    schedule = dn.schedules.VPLinear()
    fine = from_half_log_snr(schedule, np.linspace(-2, 2, 13))
    coarse = from_half_log_snr(schedule, np.linspace(-2, 2, 5))
    model = dn.problems.three_peaks().denoiser(schedule, "data")
    x = np.array([[0.3], [-1.2]])
    one, other = (
        dn.solve(dn.plan(name, schedule, grid), model, x)
        for name, grid in (("dpmpp_fixed_3", fine), ("dpmpp_3s", coarse))
    )
    assert np.allclose(one, other, rtol=1e-12)


def test_aliases_of_the_two_stage_methods() -> None:
    assert dn.method("dpm_2").name == "dpm_solver_2"
    assert dn.method("res_2s").name == "dpmpp_2s_taylor"
    assert dn.method("dpm_fast").name == "dpm_solver_fast_3"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "orders"), [("dpmpp_fixed_3", (3, 3, 2)), ("dpm_solver_fast_3", (2, 2, 2))])
def test_singlestep_runs_have_the_stated_orders(name: str, orders: tuple[int, ...]) -> None:
    """The fast list ends on a first-order step, and irregular grids take r2 off 2/3: order 2."""
    from diffnum.convergence.nodes import fractions as places
    from diffnum.convergence.oracle import Oracle

    schedule = dn.schedules.VPLinear()
    oracle = Oracle(dn.problems.three_peaks(), schedule, (-2.0, 2.0), 6, 0)
    record = dn.method(name)
    for kind, order in zip(("uniform", "smooth", "irregular"), orders, strict=True):
        errors = []
        for n in (168, 336, 672):
            lam = -2 + 4 * places(kind, n)
            lam[-1] = 2.0
            numbers = dn.plan(record, schedule, from_half_log_snr(schedule, lam))
            x = dn.solve(numbers, oracle.denoiser(numbers.prediction), oracle.state(-2.0))
            errors.append(np.sqrt(np.mean(oracle.error(x, 2.0) ** 2)))
        assert abs(np.log2(errors[-2] / errors[-1]) - order) < 0.25, kind

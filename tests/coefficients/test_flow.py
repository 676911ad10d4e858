"""The pseudo-corrector of FlowTurbo: order, cost, and what its predicted points are."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.certificates.mutants import perturbed
from diffnum.coefficients import pseudo_corrector, unic
from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.flow import predicted_sequence


class Recorder:
    """Velocity model that keeps the states at which it is called."""

    prediction = "velocity"

    def __init__(self, model: Any) -> None:
        self.model, self.schedule = model, model.schedule
        self.states: list[Any] = []

    def __call__(self, x: Any, t: Any) -> Any:
        self.states.append(np.array(x))
        return self.model(x, t)


def test_on_constant_steps_the_predicted_points_are_adams_bashforth() -> None:
    predicted, adams_bashforth = predicted_sequence(Symbols.make(0, 0, 1))
    for name in ("x", "k1", "m1"):
        assert predicted[name] - adams_bashforth[name] == 0


def test_on_other_steps_they_are_not() -> None:
    symbols = Symbols.make(0, 0, 1, ["r"])
    predicted, adams_bashforth = predicted_sequence(symbols, symbols["r"])
    difference = predicted["m1"] - adams_bashforth["m1"]
    assert difference == symbols.h * (1 - symbols["r"] ** 2) / (2 * symbols["r"])
    assert predicted["k1"] + predicted["m1"] - adams_bashforth["k1"] - adams_bashforth["m1"] == 0


@pytest.mark.parametrize("schedule", [dn.schedules.FlowMatching(), dn.schedules.VPLinear()])
def test_states_at_which_the_model_is_called_are_those_of_adams_bashforth(schedule: Any) -> None:
    lam = np.log(1 / np.linspace(0.9, 0.1, 17) - 1)  # constant steps in sigma/(alpha + sigma)
    grid = dn.grids.from_half_log_snr(schedule, lam)
    x = np.array([[0.4], [-1.3], [0.9]])
    visited = []
    for name in ("flowturbo", "ab_velocity_2"):
        model = Recorder(dn.problems.three_peaks().denoiser(schedule, "velocity"))
        dn.solve(dn.plan(name, schedule, grid), model, x)
        visited.append(model.states)
    assert len(visited[0]) == len(visited[1]) + 1
    for mine, theirs in zip(visited[0][:-1], visited[1], strict=True):
        assert np.allclose(mine, theirs, rtol=1e-12, atol=1e-13)


@given(h=st.floats(-1, -1e-6))
def test_the_weights_are_those_of_unic_of_order_one(h: float) -> None:
    predictor, corrector = pseudo_corrector(h)
    assert predictor == h
    assert corrector == unic(h, (), "bh2", "velocity")


def test_it_costs_one_evaluation_per_step_after_the_first() -> None:
    assert [dn.method("flowturbo").nfe(n) for n in (1, 2, 10)] == [2, 3, 11]
    assert dn.method("flow_heun").nfe(10) == 20


@pytest.mark.parametrize("name", ["flowturbo", "flow_heun", "flow_euler"])
def test_flow_methods_are_proved(name: str) -> None:
    proof = dn.prove(name)
    assert proof.ok, str(proof)
    assert proof.order == {"flow_euler": 1}.get(name, 2)


@pytest.mark.parametrize(("row", "source"), [("k1", "m0"), ("x", "m0"), ("x", "k1")])
def test_one_percent_in_any_weight_is_rejected(row: str, source: str) -> None:
    assert not dn.prove(perturbed(dn.method("flowturbo"), row, source, Fraction(101, 100))).ok


def test_the_measured_order_is_two() -> None:
    study = dn.convergence_study(
        "flowturbo", problem=dn.problems.three_peaks(), grids=("uniform", "irregular"), points=4
    )
    study.assert_order(2)

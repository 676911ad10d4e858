"""Orders of step rules by B-series, against rules whose order is known and against rules that are spoilt."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import pytest

from diffnum.coefficients import adams, momentum, runge_kutta
from diffnum.derivation.algebra.bseries import expand
from diffnum.tableau import Stage, Step, Vector, Window

PAST = frozenset({"x", "m1", "m2", "m3"})


@pytest.mark.parametrize("rate", [-1, 0, 1])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_start_up_steps_have_their_classical_order(rate: int, order: int) -> None:
    expansion = expand(runge_kutta.exponential_runge_kutta_step, order, rate=rate)
    assert expansion.order == order


@pytest.mark.parametrize("rate", [-1, 0, 1, None])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_adams_methods_have_their_order_on_any_grid(rate: int | None, order: int) -> None:
    for grid in ("uniform", "smooth", "irregular"):
        expansion = expand(adams.exponential_adams_step, order, rate=rate, past=3, known=PAST, depth=3, grid=grid)
        assert expansion.order == order


def test_an_order_beyond_what_is_looked_at_is_more_and_not_exact() -> None:
    assert expand(adams.exponential_adams_step, 3, rate=-1, past=2, known=PAST, highest=1).order == 2


def heun_at(node: Any, window: Window, order: int) -> Step:
    step = runge_kutta.heun_step(window, order)
    return Step((step.stages[0], Stage(node, step.stages[1].value)), step.x, step.memory)


def test_a_stage_at_the_wrong_node_costs_the_order() -> None:
    assert expand(partial(heun_at, 1), 2, rate=0).order == 2
    assert expand(partial(heun_at, Fraction(9, 10)), 2, rate=0).order == 1


def test_a_step_that_does_not_carry_the_state_has_no_order() -> None:
    def shrinking(window: Window, order: int) -> Step:
        step = runge_kutta.heun_step(window, order)
        return Step(step.stages, step.x + Vector({"x": Fraction(-1, 100)}), step.memory)

    assert expand(shrinking, 2, rate=0).order == -1


def test_one_percent_on_the_slope_costs_all_orders() -> None:
    def scaled(window: Window, order: int) -> Step:
        step = adams.exponential_adams_step(window, order)
        row = {s: w if s == "x" else Fraction(101, 100) * w for s, w in step.x.items()}
        return Step(step.stages, Vector(row), step.memory)

    assert expand(scaled, 2, rate=-1, past=1, known=PAST).order == 0


def ghvb(order: int, grid: str, beta: Fraction | None = None) -> Any:
    known = frozenset({"x", *(f"v{j}" for j in range(1, order))})
    rule = partial(momentum.ghvb_step, beta=beta)
    free: dict[str, Any] = (
        {}
        if beta
        else {
            "extra": ("beta",),
            "prepare": lambda symbol: partial(momentum.ghvb_step, beta=symbol("beta")),
        }
    )
    return expand(rule, order, rate=0, past=order - 1, known=known, depth=order - 1, grid=grid, **free)


@pytest.mark.parametrize("order", [2, 3, 4, pytest.param(5, marks=pytest.mark.slow)])
def test_published_momentum_weights_have_full_order_on_constant_steps_only(order: int) -> None:
    assert ghvb(order, "uniform").order == order
    assert ghvb(order, "smooth").order == 2
    assert ghvb(order, "irregular").order == 1


def test_averages_are_the_sums_over_an_endless_history() -> None:
    beta = Fraction(1, 2)
    residual = next(r for r in ghvb(2, "uniform", beta).residuals if str(r.tree) == "[oo]")
    # slope = (2 + beta)/2 f_n - beta/2 v_n with v_n = sum beta (1 - beta)^i f_{n-1-i}; the exact moment is 1/3
    second = sum(float(beta) * float(1 - beta) ** i * (1 + i) ** 2 for i in range(200))
    assert float(residual.leading) == pytest.approx(1 / 3 + float(beta) / 2 * second, rel=1e-12)


def test_unknown_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="grid='curly'"):
        expand(adams.exponential_adams_step, 1, rate=0, grid="curly")


def test_averages_in_the_time_clock_are_refused() -> None:
    with pytest.raises(ValueError, match="no steady state"):
        expand(partial(momentum.ghvb_step, beta=1), 2, rate=None, past=1, known=frozenset({"x", "v1"}), depth=1)

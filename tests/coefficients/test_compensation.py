"""The weights of dynamic compensation, and the record."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients.compensation import compensation

SCHEDULE = dn.schedules.VPLinear()
GRID = dn.grids.uniform_time(SCHEDULE, 8, t_end=1e-3)
MODEL = dn.problems.three_peaks().denoiser(SCHEDULE)
X = np.linspace(-2, 2, 7)[:, None]

number = st.fractions(min_value=-3, max_value=3, max_denominator=20)


def run(name: str, grid: Any = GRID, **options: Any) -> Any:
    return dn.solve(dn.plan(name, SCHEDULE, grid, **options), MODEL, X)


@given(ratio=number, gaps=st.lists(st.fractions(min_value=Fraction(1, 9), max_value=4), min_size=1, max_size=4))
def test_compensation_is_interpolation_and_exact_for_polynomials(ratio: Fraction, gaps: list[Fraction]) -> None:
    times = [sum(gaps[: j + 1]) for j in range(len(gaps))]
    weights = compensation(ratio, times)
    at = (1 - ratio) * times[0]
    for power in range(len(times) + 1):
        assert sum(w * t**power for w, t in zip(weights, (0, *times), strict=True)) == at**power
    beyond = len(times) + 1  # and no further, but where nothing is interpolated
    if at not in (0, *times):
        assert sum(w * t**beyond for w, t in zip(weights, (0, *times), strict=True)) != at**beyond


@pytest.mark.parametrize("name", ["2_bh1", "2_bh2", "3_bh2", "1_bh2", "3_bh2_noise"])
@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("terminal", ["stop", "lower_order"])
def test_ratios_of_one_are_unipc_to_the_last_bit(name: str, degree: int, terminal: str) -> None:
    grid = GRID.with_terminal(terminal)
    order, variant, *noise = name.split("_")
    compensated = "_".join(["dc_solver", order, variant, f"d{degree}", *noise])
    np.testing.assert_array_equal(run(compensated, grid, parameters={"ratio": 1.0}), run(f"unipc_{name}", grid))


def test_other_ratios_change_the_run_at_no_cost() -> None:
    ratios = np.array([1, 1, 0.9, 1.1, 1, 1, 1, 1])
    plan = dn.plan("dc_solver_3_bh2", SCHEDULE, GRID, parameters={"ratio": ratios})
    assert plan.nfe == dn.plan("unipc_3_bh2", SCHEDULE, GRID).nfe
    assert np.abs(dn.solve(plan, MODEL, X) - run("unipc_3_bh2")).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("distance", "expected"), [(0.0, 3), (0.1, 1)])
def test_a_fixed_ratio_other_than_one_costs_all_orders_but_the_first(distance: float, expected: int) -> None:
    # the moved evaluation is (1 - ratio) h late, an error of first order in it: ratios must tend to 1 with the steps
    def sampler(model: Any, x: Any, nodes: Any) -> Any:
        grid = dn.grids.from_half_log_snr(SCHEDULE, nodes)
        ratios = np.where(np.arange(grid.n) < 2, 1.0, 1.0 - distance)
        plan = dn.plan("dc_solver_2_bh2", SCHEDULE, grid, parameters={"ratio": ratios})
        return dn.solve(plan, model.denoiser("data"), x)

    study = dn.convergence_study(
        sampler, problem=dn.problems.three_peaks(), grids=("uniform",), measures=("global",), points=6,
        variants=("formula",), steps=(80, 160, 320, 640),
    )  # fmt: skip
    assert study.series[0].estimate.rate == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("name", ["dc_solver", "dc_solver_2_bh1", "dc_solver_3_bh2_d1", "dc_solver_2_bh2_d4_noise"])
def test_the_record_says_what_it_needs(name: str) -> None:
    record = dn.method(name)
    assert record.parameters == ("ratio",)
    assert record.name not in list(dn.methods())
    with pytest.raises(ValueError, match=r"parameters=\[\]: dc_solver_\d\S* takes exactly \['ratio'\]"):
        dn.plan(name, SCHEDULE, GRID)


def test_ratios_of_the_wrong_length_and_too_early_ones_are_refused() -> None:
    with pytest.raises(ValueError, match=r"parameters\['ratio'\] has shape \(7,\).*one for each of the 8 intervals"):
        run("dc_solver_3_bh2", parameters={"ratio": np.ones(7)})
    with pytest.raises(ValueError, match=r"the first 2 ratios must be 1"):
        run("dc_solver_3_bh2", parameters={"ratio": [1, 0.9, 1, 1, 1, 1, 1, 1]})
    with pytest.raises(ValueError, match=r"parameters\['ratio'\]"):
        run("dc_solver_3_bh2", parameters={"ratio": [1, 1, np.nan, 1, 1, 1, 1, 1]})
    with pytest.raises(ValueError, match="method='dc_solver_3_bh3' is unknown"):
        dn.method("dc_solver_3_bh3")


@pytest.mark.parametrize(("order", "degree"), [(1, 1), (2, 2), (3, 2), (2, 3)])
@pytest.mark.parametrize("rate", [-1, 1])
def test_the_shipped_step_is_the_derived_one_for_every_ratio_and_grid(order: int, degree: int, rate: int) -> None:
    pytest.importorskip("flint")
    from diffnum.coefficients.compensation import dc_solver_step
    from diffnum.derivation.algebra.symbols import Symbols
    from diffnum.derivation.compensation import dc_solver
    from diffnum.tableau import Window

    depth = max(order - 1, degree)
    times = [f"theta_{j}" for j in range(1, depth + 1)]
    symbols = Symbols.make(depth, rate, 1, ["rho", *times])
    known = frozenset({"x", *(f"m{j}" for j in range(depth + 1))})

    def window(kernel: Any) -> Window:
        return Window(
            symbols.h, symbols.past, kernel, known, depth, past_times=tuple(symbols[name] for name in times),
            parameters={"ratio": symbols["rho"]},
        )  # fmt: skip

    shipped = dc_solver_step(window(symbols.shipped_kernel(depth + 1)), order, degree=degree)
    derived = dc_solver(window(symbols.derived_kernel(depth + 1)), order, rate, degree=degree).step
    other = dc_solver(window(symbols.derived_kernel(depth + 1)), order, rate, "bh1", degree=degree).step
    rows = list(zip(shipped.rows(), derived.rows(), other.rows(), strict=True))
    assert {row[0] for row, *_ in rows} == {"k1", "x", *(f"m{j}" for j in range(depth + 1))}

    def differs(a: Any, b: Any) -> bool:
        return any(a.get(name, 0) - b.get(name, Fraction(0)) != 0 for name in {*a, *b})

    assert not any(differs(a[2], dict(derived.memory).get(a[0], b[2])) for a, b, _ in rows)
    # bh1 and bh2 differ where one ratio is left
    assert any(differs(a[2], dict(other.memory).get(a[0], c[2])) for a, _, c in rows) == (order <= 2)

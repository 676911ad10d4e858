"""Collocation: sweeps raise the order by one each, and both updates have one limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.solver.collocation import chebyshev_nodes, solve_collocated

SCHEDULE = dn.schedules.EDM()
PROBLEM = dn.problems.three_peaks()
X = 8.0 * np.linspace(-1.5, 1.5, 7)[:, None]
ENDS = (8.0, 0.15)


def grid(n: int) -> dn.Grid:
    return dn.grids.from_half_log_snr(SCHEDULE, -np.log(np.geomspace(*ENDS, n + 1)))


def error(n: int, **options: Any) -> float:
    found = solve_collocated(grid(n), PROBLEM.denoiser(SCHEDULE), X, **options)
    return float(np.abs(found.x - PROBLEM.flow(X, SCHEDULE, *ENDS)).max())


def test_many_sweeps_of_both_updates_end_in_one_state() -> None:
    model = PROBLEM.denoiser(SCHEDULE)
    first, second = (
        solve_collocated(grid(12), model, X, sweeps=40, update=update) for update in ("jacobi", "gauss-seidel")
    )
    assert np.allclose(first.x, second.x, rtol=0, atol=1e-12)
    assert (first.calls, first.chain) == (12 * (1 + 40 * 4), 12 * 41)
    assert second.chain == second.calls == first.calls


@pytest.mark.parametrize("sweeps", [1, 2, 3])
@pytest.mark.parametrize("update", ["jacobi", "gauss-seidel"])
def test_a_sweep_of_either_kind_adds_an_order(update: str, sweeps: int) -> None:
    errors = [error(n, degree=5, sweeps=sweeps, update=update) for n in (32, 64, 128)]
    assert np.log2(errors[-2] / errors[-1]) == pytest.approx(sweeps + 1, abs=0.35)


def test_the_model_is_asked_as_it_answers() -> None:
    ends = [solve_collocated(grid(6), PROBLEM.denoiser(SCHEDULE, kind), X).x for kind in ("data", "noise")]
    assert np.allclose(*ends, rtol=0, atol=1e-12)


def test_nodes_are_symmetric_and_hold_both_ends() -> None:
    nodes = chebyshev_nodes(5)
    assert nodes[0] == 0.0
    assert nodes[-1] == 1.0
    assert np.allclose(nodes + nodes[::-1], 1.0)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"degree": 0}, "degree=0: use a whole number"),
        ({"sweeps": 1.5}, "sweeps=1.5: use a whole number"),
        ({"update": "newton"}, "update='newton': use 'jacobi'"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        solve_collocated(grid(2), PROBLEM.denoiser(SCHEDULE), X, **options)


def test_a_grid_to_no_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="stop it where that is finite"):
        solve_collocated(dn.grids.uniform_time(SCHEDULE, 4, t_start=8.0, t_end=0.0), PROBLEM.denoiser(SCHEDULE), X)


@pytest.mark.parametrize("update", ["jacobi", "gauss-seidel"])
def test_a_state_that_is_not_finite_is_refused_where_it_arises(update: Any) -> None:
    class Broken:
        """NaN at the last node, in one sample."""

        prediction, schedule, inner = "data", SCHEDULE, PROBLEM.denoiser(SCHEDULE)

        def __call__(self, x: Any, t: Any) -> Any:
            return self.inner(x, t) * np.where((np.arange(len(x)) == 2)[:, None] & (t < 0.1501), np.nan, 1.0)

    with pytest.raises(ValueError, match=r"the state at t=0\.15 is not finite in sample 2: look at the model"):
        solve_collocated(grid(2), Broken(), X, update=update)

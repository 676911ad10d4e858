"""Rounding of the state: below its bound, proportional to the roundoff, and measured against the method's own error."""

from __future__ import annotations

import numpy as np
import pytest

import diffnum as dn
from diffnum.analysis import state_rounding, state_rounding_table
from diffnum.analysis.state_rounding import ROUNDOFF

DATA = dn.problems.Gaussian(np.full(3, 0.3), np.array([0.01, 0.1, 1.0]))
METHODS = ("ddim", "dpmpp_2m", "unipc_3", "velocity_rk_heun3", "eab_4", "edm_heun", "sde_dpmpp_2m", "flow_sde_0.7")


@pytest.mark.parametrize("method", METHODS)
def test_every_difference_is_below_its_bound_and_the_bound_is_within_reach(method: str) -> None:
    for row in state_rounding_table((method,), (3, 10, 30), data=DATA, n=64):
        assert row.ratio <= 1.0 + 1e-6, row
        assert row.error <= row.bound
        assert row.ratio > 0.1  # no bound of nothing
        assert row.bound <= 60.0 * row.steps * ROUNDOFF[row.dtype]


def test_errors_scale_with_the_roundoff() -> None:
    rows = {row.dtype: row for row in state_rounding_table(("dpmpp_2m",), (10,), data=DATA)}
    assert rows["bfloat16"].error / rows["float16"].error == pytest.approx(8.0, rel=0.3)
    assert rows["float16"].error / rows["float32"].error == pytest.approx(2.0**13, rel=0.3)


def test_a_bound_that_forgets_the_carrying_would_be_broken() -> None:
    """The control: one roundoff of the result is less than what many steps add up to."""
    (row,) = state_rounding_table(("eab_4",), (20,), data=DATA, dtypes=("bfloat16",))
    assert row.error > ROUNDOFF["bfloat16"]
    assert row.error > 4.0 * state_rounding_table(("ddim",), (20,), data=DATA, dtypes=("bfloat16",))[0].error


def test_negligible_is_a_tenth_of_the_method_s_own_error() -> None:
    coarse, fine = state_rounding_table(("velocity_rk_heun3",), (3, 40), data=DATA, dtypes=("float16",))
    assert coarse.negligible
    assert not fine.negligible
    assert coarse.method_error > 100 * fine.method_error


def test_what_has_no_bound_is_refused() -> None:
    schedule = dn.schedules.FlowMatching()
    plan = dn.plan("ddim", schedule, dn.grids.uniform_time(schedule, 4))
    with pytest.raises(ValueError, match="dtype='float64'"):
        state_rounding(plan, DATA, "float64")
    with pytest.raises(ValueError, match="full covariance"):
        state_rounding(plan, dn.problems.Gaussian(np.zeros(2), np.eye(2)))

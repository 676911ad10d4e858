"""Refine until decided: which levels a ladder tries, each once, and where it stops."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from diffnum.convergence.rate import estimate_rate
from diffnum.convergence.refinement import Ladder, refined

LADDER = Ladder((20, 40, 80, 160), (320, 640, 1280), (8, 12, 16, 24))


class Errors:
    """Errors by a formula, and the levels that were asked for."""

    def __init__(self, formula) -> None:  # type: ignore[no-untyped-def]
        self.formula, self.asked = formula, []

    def __call__(self, n: int) -> np.ndarray:
        self.asked.append(n)
        return np.asarray([self.formula(n)])


@pytest.mark.parametrize(
    ("formula", "asked", "status"),
    [
        (lambda n: n**-2.0, [20, 40, 80, 160], "decided"),
        # the term of order 1 shows late
        (lambda n: 1.0 / n + 50.0 * n**-2.0, [20, 40, 80, 160, 320, 640], "decided"),
        # the finest of the first levels is below rounding: the coarse ones decide
        (lambda n: max(1e3 * n**-9.0, 1e-15), [20, 40, 80, 160, 8, 12, 16, 24], "decided"),
        # nothing is left above rounding on any level
        (lambda n: 1e-16, [20, 40, 80, 160, 8, 12, 16, 24], "exact"),
        (lambda n: 10.0 * n**-14.0, [20, 40, 80, 160, 8, 12, 16, 24], "exact"),
        (lambda n: np.inf, [20, 40, 80, 160], "diverging"),
    ],
    ids=["clean", "two terms", "small", "exact", "nearly exact", "infinite"],
)
def test_levels_are_tried_until_the_data_decide_each_once(formula, asked, status) -> None:  # type: ignore[no-untyped-def]
    run = Errors(formula)
    found = refined(run, LADDER, estimate_rate)
    assert run.asked == asked
    assert found.status == status


def test_a_run_that_diverges_on_long_steps_is_refined_where_the_ladder_says_so() -> None:
    stiff = Errors(lambda n: np.inf if n < 100 else n**-1.0)
    long = Ladder((20, 40, 80), (160, 320, 640, 1280), past_divergence=True)
    assert refined(stiff, long, estimate_rate).order == 1
    assert refined(stiff, Ladder(long.base, long.finer), estimate_rate).status == "diverging"


def test_a_rate_between_two_orders_is_refined_and_one_on_a_finer_scale_is_not() -> None:
    run = Errors(lambda n: n**-1.5)
    assert refined(run, LADDER, estimate_rate).order is None
    assert run.asked[-1] == 1280
    run = Errors(lambda n: n**-1.5)
    assert refined(run, LADDER, partial(estimate_rate, grid=0.5)).order == 1.5
    assert run.asked[-1] == 160


def test_ladders_double_and_are_shifted() -> None:
    assert Ladder.doubling([3, 6], 2) == Ladder((3, 6), (12, 24))
    assert LADDER.shifted(5) == Ladder((25, 45, 85, 165), (325, 645, 1285), (13, 17, 21, 29))

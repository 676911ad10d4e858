"""The error over a spectrum: the numbers are those of the propagation, whatever the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.analysis import propagate, spectrum_error

SCHEDULE = dn.schedules.VPLinear()
GRID = dn.grids.uniform_half_log_snr(SCHEDULE, 6)
VARIANCES = np.array([1e-3, 0.1, 5.0])


def test_gain_and_errors_are_those_of_the_propagation() -> None:
    numbers = dn.plan("dpmpp_2m", SCHEDULE, GRID)
    error, output = spectrum_error(numbers, VARIANCES), propagate(numbers, 3.0, VARIANCES)
    np.testing.assert_allclose(error.gain, np.abs(output.gain), rtol=1e-14)
    ratio = np.abs(output.gain) / output.exact_gain
    assert error.worst == pytest.approx(np.abs(ratio - 1).max())
    assert error.rms_log == pytest.approx(np.sqrt(np.mean(np.log(ratio) ** 2)))
    assert (error.method, error.nfe) == ("dpmpp_2m", 6)
    assert "dpmpp_2m, 6 evaluations, 3 variances" in str(error)


def test_noise_counts_as_spread() -> None:
    numbers = dn.plan("sde_dpmpp_2m", SCHEDULE, GRID)
    error, output = spectrum_error(numbers, VARIANCES), propagate(numbers, 0.0, VARIANCES, start="marginal")
    np.testing.assert_allclose(
        error.gain / error.exact, np.sqrt(output.variance / output.marginal_variance), rtol=1e-12
    )
    assert (error.gain > np.abs(output.gain)).all()


def test_a_plan_with_few_steps_errs_more_than_one_with_many() -> None:
    fine = dn.grids.uniform_half_log_snr(SCHEDULE, 100)
    few, many = (spectrum_error(dn.plan("dpmpp_2m", SCHEDULE, grid)) for grid in (GRID, fine))
    assert few.rms_log > 50 * many.rms_log
    assert few.worst > 50 * many.worst
    assert len(few.variances) == 201


def test_weights_say_how_often_a_variance_counts() -> None:
    numbers = dn.plan("ddim", SCHEDULE, GRID)
    twice = spectrum_error(numbers, [*VARIANCES, VARIANCES[0]])
    assert spectrum_error(numbers, VARIANCES, weights=[2, 1, 1]).rms_log == pytest.approx(twice.rms_log)
    alone = spectrum_error(numbers, VARIANCES, weights=[1, 0, 0])
    assert alone.worst == pytest.approx(spectrum_error(numbers, VARIANCES[:1]).worst)


def test_a_direction_that_is_lost_has_an_infinite_log_gain() -> None:
    (step,) = dn.plan("ddim", SCHEDULE, dn.grids.uniform_half_log_snr(SCHEDULE, 1)).steps
    lost = dn.plan("ddim", SCHEDULE, dn.grids.uniform_half_log_snr(SCHEDULE, 1))
    lost = replace(lost, steps=(replace(step, V=0 * step.V, B=0 * step.B),))
    error = spectrum_error(lost, VARIANCES)
    assert error.rms_log == np.inf
    assert error.worst == 1.0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"variances": [0.0, 1.0]}, "has a 0"),
        ({"variances": [-1.0]}, "variances="),
        ({"variances": []}, "variances="),
        ({"variances": [1.0, 2.0], "weights": [1.0]}, "weights="),
    ],
)
def test_bad_input_is_named(words: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        spectrum_error(dn.plan("ddim", SCHEDULE, GRID), **words)

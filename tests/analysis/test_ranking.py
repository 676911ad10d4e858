"""The ranking: every method on every grid, in order, beside the limit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.analysis import gaussian_limit, rank, spectrum_error
from diffnum.analysis.ranking import RANKED_GRIDS

FEW = ("ddim", "dpmpp_2m", "edm_heun")


def test_rows_are_the_errors_of_the_plans_in_order() -> None:
    found = rank(6, methods=FEW, points=21)
    schedule = dn.schedules.VPFitted()
    assert len(found.rows) == len(FEW) * len(RANKED_GRIDS)
    assert [row.rms_log for row in found.rows] == sorted(row.rms_log for row in found.rows)
    c = np.union1d(np.geomspace(1e-4, 1, 21), found.limit.extrema)
    for row in found.rows:
        steps = dn.method(row.method).steps_for(6)
        error = spectrum_error(dn.plan(row.method, schedule, RANKED_GRIDS[row.grid](schedule, steps)), c)
        assert row.worst == pytest.approx(error.worst, rel=1e-9)
        assert row.rms_log == pytest.approx(error.rms_log, rel=1e-9)
        assert row.nfe == error.nfe <= 6
    assert found.limit.error == gaussian_limit(6).error


def test_the_best_of_each_method_stand_in_the_text() -> None:
    found = rank(6, methods=FEW, points=21)
    text = str(found).splitlines()
    assert len(text) == 3 + len(FEW)
    assert text[2].startswith("the limit")
    assert [line.split()[0] for line in text[3:]] == [row.method for row in found.best_by_method()]
    assert found.best == found.rows[0]
    assert found.least_worst.worst == min(row.worst for row in found.rows)
    assert json.loads(json.dumps(found.to_dict()))["rows"][0]["method"] == found.best.method


def test_ranges_of_levels_and_variances_are_those_asked_for() -> None:
    found = rank(4, (0.01, 10.0), (20.0, 0.05), methods=("ddim",), grids=("karras",), schedule=dn.schedules.EDM())
    schedule = dn.schedules.EDM()
    grid = dn.grids.karras(schedule, 4, sigma_max=20.0, sigma_min=0.05)
    c = np.union1d(np.geomspace(0.01, 10, 201), found.limit.extrema)
    expected = spectrum_error(dn.plan("ddim", schedule, grid), c)
    assert found.best.worst == pytest.approx(expected.worst, rel=1e-9)
    fitted = rank(4, (0.01, 10.0), (20.0, 0.05), methods=("ddim",), grids=("karras",))
    assert fitted.best.worst == pytest.approx(expected.worst, rel=1e-6)  # DDIM on Karras' grid knows no schedule


def test_methods_that_need_more_evaluations_are_left_out() -> None:
    assert {row.method for row in rank(1, methods=FEW, points=5).rows} == {"ddim", "dpmpp_2m"}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"nfe": 0}, "nfe=0"),
        ({"noise_levels": (80.0, 0.0)}, "end above 0"),
        ({"variances": (0.0, 1.0)}, "0 < low"),
        ({"variances": (0.1, np.inf)}, "0 < low"),
        ({"grids": ("nonsense",)}, "nonsense"),
        ({"methods": ("nonsense",)}, "nonsense"),
        ({"nfe": 1, "methods": ("edm_heun",)}, "nothing to rank"),
        ({"noise_levels": (80.0, 1.0), "methods": FEW}, "pass schedule="),
    ],
)
def test_bad_input_is_named(words: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        rank(**{"nfe": 4, "methods": FEW, **words})

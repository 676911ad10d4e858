"""The recorded toy students are those of the script, one for every loss, and as near to the best as they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffnum import distillation as dd
from toy_models import toy_students

RECORD = Path(__file__).resolve().parents[2] / "book" / "results" / "toy-students.json"
ROWS: dict[tuple[str, int], dict[str, Any]] = {
    (row["loss"], row["dimension"]): row for row in json.loads(RECORD.read_text(encoding="utf-8"))["rows"]
}


@pytest.mark.parametrize("made", ["transports", "spectra", "observations"])
def test_the_script_gives_what_is_recorded(made: str) -> None:
    for row in toy_students.GROUPS[made]():
        recorded = ROWS[row["loss"], row["dimension"]]
        assert row["trained"] == pytest.approx(recorded["trained"], rel=1e-4, abs=1e-9)
        assert row["best"] == pytest.approx(recorded["best"], rel=1e-4, abs=1e-9)
        assert row["curve"] == pytest.approx(recorded["curve"], rel=1e-3, abs=1e-5)


def test_every_loss_has_a_student_of_a_mixture_on_the_line_and_in_the_plane() -> None:
    lines = {name for name, dim in ROWS if dim == 1}
    planes = {name for name, dim in ROWS if dim == 2}
    both = {*toy_students.generator_losses(toy_students.LINE), *toy_students.regression_losses(toy_students.LINE)}
    both |= {"transport", "filters", "filters, weights 1/S", "flow matching", "PRDP", "PSO", "guidance"}
    both |= {"one gain an axis", "one gain an axis, weights 1/S"}
    assert both <= lines & planes
    assert {"observations", "PRDP of a Gaussian", "PSO of a Gaussian"} <= lines
    assert {"observations of each axis", "observations of three directions"} <= planes
    assert {"one gain of all axes", "one gain of all axes, weights 1/S"} <= planes


def test_rows_are_those_of_the_groups_of_the_script() -> None:
    assert {row["group"] for row in ROWS.values()} == set(toy_students.GROUPS)


def test_the_best_gains_that_are_recorded_are_those_of_the_closed_form() -> None:
    frame, times = dd.principal_axes(toy_students.LINE), np.linspace(1.0, 0.0, 33)
    gains = [dd.wiener_gain(frame.spectrum, toy_students.SCHEDULE, t) for t in times[:-1]]
    made = frame.generated(toy_students.SCHEDULE, times, gains)
    row = ROWS["one gain an axis", 1]
    assert toy_students.divergence(made, toy_students.LINE) == pytest.approx(row["best"], rel=1e-9)
    assert row["trained"] == pytest.approx(row["best"], abs=1e-6)


def test_of_a_mixture_no_student_of_preferences_or_gains_reaches_the_law_and_of_a_gaussian_each_does() -> None:
    for (name, _), row in ROWS.items():
        if row["group"] in {"axes", "preferences"}:
            reached = row["trained"] < 1e-8
            assert reached == name.endswith("of a Gaussian")
    for dim in (1, 2):  # the loss of gains has a floor that the best of them does not touch
        assert ROWS["one gain an axis", dim]["floor"] > 1e-3
        assert ROWS["guidance", dim]["full"] < ROWS["guidance", dim]["best"] < ROWS["guidance", dim]["trained"]


def test_every_student_has_a_curve_its_distance_and_that_of_the_best() -> None:
    for row in ROWS.values():
        assert len(row["curve"]) >= 20
        assert row["trained"] >= 0.0
        assert row["best"] is not None
        assert abs(row["trained"] - row["best"]) < 0.5 * abs(row["start"] - row["best"]) or "degree 1" in row["loss"]


def test_students_on_exact_gradients_reach_the_best_of_their_loss() -> None:
    exact = [row for row in ROWS.values() if row["measure"] in {"KL", "KL to the tilt", "W2 of a field"}]
    assert len(exact) > 35
    assert max(row["excess"] for row in exact) <= 1e-5

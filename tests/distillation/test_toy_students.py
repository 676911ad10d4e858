"""The recorded toy students are those of the script, one for every loss, and as near to the best as they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toy_models import toy_students

RECORD = Path(__file__).resolve().parents[2] / "book" / "results" / "toy-students.json"
ROWS: dict[tuple[str, int], dict[str, Any]] = {
    (row["loss"], row["dimension"]): row for row in json.loads(RECORD.read_text(encoding="utf-8"))["rows"]
}


@pytest.mark.parametrize("made", ["transports", "spectra", "observations", "preferences"])
def test_the_script_gives_what_is_recorded(made: str) -> None:
    rows = getattr(toy_students, made)(*((250,) if made == "preferences" else ()))
    for row in rows:
        recorded = ROWS[row["loss"], row["dimension"]]
        assert row["trained"] == pytest.approx(recorded["trained"], rel=1e-4, abs=1e-9)
        assert row["best"] == pytest.approx(recorded["best"], rel=1e-4, abs=1e-9)
        assert row["curve"] == pytest.approx(recorded["curve"], rel=1e-3, abs=1e-5)


def test_every_loss_has_a_student_on_the_line_and_in_the_plane() -> None:
    lines = {name for name, dim in ROWS if dim == 1}
    planes = {name for name, dim in ROWS if dim == 2}
    both = {*toy_students.generator_losses(toy_students.LINE), *toy_students.regression_losses(toy_students.LINE)}
    both |= {"transport", "filters", "filters, weights 1/S", "flow matching"}
    assert both <= lines & planes
    assert {"PRDP", "PSO", "guidance", "observations"} <= lines
    assert {"observations of each axis", "observations of three directions"} <= planes


def test_every_student_has_a_curve_its_distance_and_that_of_the_best() -> None:
    for row in ROWS.values():
        assert len(row["curve"]) >= 20
        assert row["trained"] >= 0.0
        assert row["best"] is not None
        assert abs(row["trained"] - row["best"]) < 0.5 * abs(row["start"] - row["best"]) or "degree 1" in row["loss"]


def test_students_on_exact_gradients_reach_the_best_of_their_loss() -> None:
    exact = [row for row in ROWS.values() if row["measure"] in {"KL", "W2 of a field"}]
    assert len(exact) > 25
    assert max(row["excess"] for row in exact) <= 1e-5

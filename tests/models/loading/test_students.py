"""The distilled students that ship: small, described, and as near to their teacher's flow as their cards say."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import diffnum as dn
from diffnum.models.runs.students import bound_to_plan
from diffnum.plans import Plan, plan_for

FOLDER = Path(__file__).resolve().parents[3] / "toy_models"
STUDENTS = sorted(path.parent.name for path in FOLDER.glob("*/config.json") if "trained_steps" in path.read_text())
PROMISED = {
    ("digits-progressive-4", 4): 0.05,
    ("digits-progressive-2", 2): 0.07,
    ("digits-progressive-1", 1): 0.08,
    ("digits-consistency", 1): 0.11,
    ("digits-meanflow", 1): 0.21,
    ("digits-meanflow", 2): 0.16,
    ("digits-meanflow", 4): 0.10,
}
"""Relative error of the endpoints, at most, by student and steps."""


def card(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((FOLDER / name / "config.json").read_text())
    return found


def test_the_promised_students_are_here() -> None:
    assert {name for name, _ in PROMISED} <= set(STUDENTS)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_is_small_and_described(name: str) -> None:
    folder, record = FOLDER / name, card(name)
    assert (folder / f"{name}.safetensors").stat().st_size < 3e6
    model = dn.load(f"toy/{name}")
    assert model.name == record["id"] == f"toy/{name}"
    assert list(model.trained_steps) == record["trained_steps"]
    assert sum(p.numel() for p in model.module.parameters()) == record["parameters"]
    training = record["training"]
    assert isinstance(training, dict)
    assert training["seed"] == 0
    with (folder / "loss_curve.csv").open() as handle:
        losses = [float(row["loss"]) for row in csv.DictReader(handle)]
    assert training["loss_last"] == pytest.approx(losses[-1], rel=1e-3)
    text = (folder / "README.md").read_text()
    assert f"python -m toy_models.distil {name}" in text
    for row in record["measured"]["against_the_teacher"]:  # type: ignore[index]
        assert f"| {row['nfe']} | this student | {row['error']:.3f} |" in text


@pytest.mark.parametrize("name", STUDENTS)
def test_the_book_shows_what_the_card_says(name: str) -> None:
    rows = json.loads((FOLDER.parent / "book" / "results" / "distilled-digits.json").read_text())["rows"]
    assert [r for r in rows if r["sampler"] == name] == card(name)["measured"]["against_the_teacher"]  # type: ignore[index]


def endpoint(plan: Plan, model: dn.models.NetworkDenoiser, noise: torch.Tensor) -> torch.Tensor:
    made: torch.Tensor = dn.solve(plan, bound_to_plan(model, plan), noise)
    return made


@pytest.mark.parametrize(("name", "steps"), sorted(PROMISED))
def test_a_student_lands_where_its_teacher_does(name: str, steps: int) -> None:
    teacher, student = dn.load("toy/digits"), dn.load(f"toy/{name}")
    noise = torch.randn(96, 1, 8, 8, generator=torch.Generator().manual_seed(31))
    exact = endpoint(plan_for(teacher, "dpmpp_3m", 60), teacher, noise)
    plan = plan_for(student, "ddim", steps, grid="uniform_half_log_snr")
    gaps = [float((endpoint(plan, m, noise) - exact).norm() / exact.norm()) for m in (student, teacher)]
    assert gaps[0] <= PROMISED[name, steps] < gaps[1]  # in as few steps the teacher itself is further off


def test_progressive_students_lose_a_little_at_each_halving() -> None:
    errors = [card(f"digits-progressive-{k}")["measured"]["against_the_teacher"][0]["error"] for k in (4, 2, 1)]  # type: ignore[index]
    assert all(a < b < 1.5 * a for a, b in pairwise(errors))

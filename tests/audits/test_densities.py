"""Formulas of log-densities on record: which are densities, and what their ratios are."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from diffnum import cli
from diffnum.audits.densities import COPIES, DensityCopy, examined


def of(start: str, end: str = "") -> DensityCopy:
    return next(c for c in COPIES if c.source.startswith(start) and end in c.source)


def test_the_density_summed_over_the_entries_is_sound() -> None:
    found = examined(replace(of("Tencent-Hunyuan/Precise"), averaged=False, last_step=""))
    assert found.sound
    assert found.sentences == ()


@pytest.mark.parametrize("copy", COPIES, ids=lambda c: c.source)
def test_every_formula_names_its_place_and_what_it_scores(copy: DensityCopy) -> None:
    assert " at " in copy.source
    found = examined(copy)
    assert not found.sound, "all of them average over the entries"
    assert any("power" in s for s in found.sentences)
    assert str(found).startswith(f"{copy.source}: its ")
    assert ("first reported by" in str(found)) == bool(copy.reported)


def test_averaging_takes_a_root_of_the_weight() -> None:
    found = examined(of("Tencent-Hunyuan/Precise"), entries=64)
    assert found.mass == pytest.approx(1)
    assert found.exponent == pytest.approx(1 / 64)


@pytest.mark.parametrize("std", [0.05, 0.3])
def test_the_squared_distance_is_no_density_and_its_ratio_depends_on_the_step(std: float) -> None:
    found = examined(of("IamCreateAI/FlowCPS"), std=std, entries=10)
    assert found.mass == pytest.approx(3.141592653589793**0.5)
    assert found.exponent == pytest.approx(2 * std**2 / 10)


def test_a_constant_on_a_line_of_its_own_is_lost() -> None:
    found = examined(of("Tencent-Hunyuan/MixGRPO", "dance_grpo_step"), std=0.2, entries=1)
    assert found.mass == pytest.approx(0.2 * (2 * 3.141592653589793) ** 0.5)
    assert found.exponent == pytest.approx(1), "which no ratio sees"


def test_the_divergence_of_flow_grpo_is_short_by_the_length_of_the_step() -> None:
    found = examined(of("yifan123/flow_grpo"), length=0.04)
    assert found.kl == pytest.approx(0.04)
    assert any("0.04 of that of the steps" in s for s in found.sentences)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(("audit", "densities", *words))
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_the_command_says_it_of_each_and_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys)
    assert status == 1
    assert out.count("FAIL  ") == len(COPIES)
    status, out, _ = run(capsys, "--only", "flowcps", "--json")
    (found,) = json.loads(out)
    assert found["reported"].startswith("sharonyu-115")
    assert found["ok"] is False
    assert run(capsys, "--only", "nobody")[0] == 2
    assert run(capsys, "--out", "page.html")[0] == 2


def test_numbers_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="std=0"):
        examined(COPIES[0], std=0)

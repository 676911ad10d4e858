"""The command line finds plans, samples by them and holds them against the catalogue."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import diffnum as dn
from diffnum import cli
from diffnum.plans.found import FoundElsewhereWarning


def run(*words: str) -> int:
    """Status of a command in this process."""
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of two evaluations for the digits, found by the command."""
    pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("fit") / "plan.json"
    words = ("fit", "toy/digits", "--nfe", "2", "--n", "8", "--starts", "1", "--iterations", "2", "--free", "weights")
    assert run(*words, "--out", str(path)) == 0
    return path


def test_fit_writes_a_plan_that_says_for_what_it_was_found(plan_file: Path) -> None:
    plan = dn.Plan.from_json(plan_file)
    assert plan.nfe == 2
    assert plan.found_for is not None
    assert plan.found_for["model"] == "toy/digits"
    assert plan.found_for["command"].startswith("diffnum")
    assert [p.name for p in plan_file.parent.iterdir()] == ["plan.json"]


def test_fits_of_one_network_share_a_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    small = ("--n", "8", "--n-test", "4", "--starts", "1", "--iterations", "1", "--teacher-tolerance", "0.02", "--json")
    way = ("--derivatives", "reverse", "--loss", "robust", "--cut", "0.1", "--cache", str(tmp_path / "cache.jsonl"))
    sizes = []
    for nfe in ("1", "2"):
        out = tmp_path / f"plan-{nfe}.json"
        assert run("fit", "toy/digits", "--nfe", nfe, *small, *way, "--out", str(out)) == 0
        assert json.loads(capsys.readouterr().out)["found_for"]["loss"] == "robust"
        sizes.append(sum("/ends/" in line for line in (tmp_path / "cache.jsonl").read_text().splitlines()))
    assert sizes[0] == sizes[1] == 2  # the noises of the fit, and the unseen ones


def test_sample_runs_a_plan_from_a_file(plan_file: Path, tmp_path: Path) -> None:
    assert run("sample", "toy/digits", "--plan", str(plan_file), "--n", "2", "--out", str(tmp_path / "x.npy")) == 0
    expected = dn.sample(dn.load("toy/digits"), dn.Plan.from_json(plan_file), n=2).numpy()
    assert np.array_equal(np.load(tmp_path / "x.npy"), expected)


def test_compare_has_a_row_of_found_plans(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("compare", "toy/digits", "--methods", "ddim", "--n", "1", "--images", "8", "--tolerance", "1e-3")
    assert run(*words, "--reference-nfe", "8", "--plan", str(plan_file), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["method"], row["nfe"]) for row in found["rows"]] == [("ddim", [2]), ("found", [2])]
    assert [row["method"] for row in found["sets"]["rows"]] == ["ddim", "found"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sample", "toy/digits", "--plan", "nowhere.json"), "there is no such file"),
        (("compare", "toy/digits", "--plan", "nowhere.json"), "there is no such file"),
        (("sample", "toy/digits", "--plan", "{plan}", "--steps", "3"), "the plan says its steps"),
        (("sample", "toy/emoji-32", "--plan", "{plan}"), "take one that was made for this network"),
        (("compare", "toy/digits", "--plan", "{plan}", "--nfe", "4", "--n", "0"), "give one plan for each"),
        (("fit", "toy/digits", "--out", "plan.txt"), "ends in .json"),
        (("fit", "toy/digits", "--nfe", "0"), "greater than or equal to 1"),
        (("fit", "toy/digits", "--free", "nodes"), "choose among times"),
        (("fit", "toy/digits", "--loss", "robust", "--cut", "0"), "use a positive number"),
        (("fit", "toy/digits", "--loss", "trajectory", "--derivatives", "reverse"), "it knows 'endpoint' and 'robust'"),
        (("fit", "toy/digits", "--guidance", "2"), "give --label"),
        (("fit", "toy/digits", "--elsewhere", "2"), "give --label"),
        (("fit", "toy/digits", "--elsewhere", "much"), "give guidance scales"),
        (("fit", "toy/digits", "--loss", "relaxed", "--radius", "0"), "radius=0.0"),
        (("fit", "toy/nowhere"), "toy/nowhere"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    words: tuple[str, ...],
    message: str,
    plan_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*(word.format(plan=plan_file) for word in words)) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in said
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_training_are_told(plan_file: Path, tmp_path: Path) -> None:
    other = json.loads(plan_file.read_text())
    other["found_for"]["sha256"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(other))
    words = ("sample", "toy/digits", "--n", "1", "--out", str(tmp_path / "x.npy"), "--plan")
    with pytest.warns(FoundElsewhereWarning, match="was found for other weights"):
        assert run(*words, str(tmp_path / "other.json")) == 0
    assert run(*words, str(plan_file), "--force") == 0  # without a warning, which would be an error here

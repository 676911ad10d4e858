"""``diffnum verify --sampler --target``: weighted samplers of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffnum import cli

OWN = """
from diffnum import particles

def corrected(task, n, seed, weigh=True):
    sampler = particles.product(task.models, task.exponents)
    pop = particles.run(task.plan(), sampler if weigh else sampler.model, n, x=task.start(n, seed), seed=seed)
    return (pop.x, pop.log_weights, pop.log_evidence) if weigh else pop.x

def nothing(task, n, seed):
    return None, None
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_weighted_samplers.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "my_weighted_samplers"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    out = capsys.readouterr()
    return int(left.value.code or 0), out.out, out.err


def test_a_right_sampler_passes(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("verify", "--sampler", f"{own}:corrected", "--target", "power", "--steps", "40,80", "--json")
    status, out, _ = run(capsys, *words)
    found = json.loads(out)
    assert (status, found["ok"], found["cause"]) == (0, True, "")
    assert [row["name"] for row in found["numbers"]] == ["mean", "second moment", "share below zero", "log evidence"]


@pytest.mark.slow
def test_one_without_weights_fails_and_is_told_why(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("verify", "--sampler", f"{own}:corrected", "--target", "power", "--option", "weigh=False")
    status, out, _ = run(capsys, *words)
    assert status == 1
    assert out.startswith(f"FAIL  {own}:corrected does not sample the target 'power'")
    assert "likely cause: weights dropped" in out
    assert "bias" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "power"), "--target needs --sampler"),
        (("--sampler", "OWN:corrected", "--target", "square"), "--target 'square' is unknown"),
        (("--sampler", "OWN:corrected", "--target", "power", "--order", "2"), "neither method names nor"),
        (("--sampler", "OWN:corrected", "--target", "power", "--steps", "10"), "two step counts"),
        (("--sampler", "OWN:nothing", "--target", "power"), "sampler returned 2 parts"),
    ],
)
def test_what_is_no_question_is_refused(
    own: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    status, out, err = run(capsys, "verify", *(word.replace("OWN", own) for word in words))
    assert status == 2
    assert message in " ".join((out + err).replace("\u2502", " ").split())

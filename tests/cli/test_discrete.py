"""``diffnum verify --discrete``: samplers on tokens, recorded and of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffnum import cli

OWN = """
import numpy as np

def bridge(model, x, t, s):
    return model.process.posterior(model(x, t), x, t, s)

def slow(model, x, t, s, share=0.5):
    right = bridge(model, x, t, s)
    return right if s == 0.0 else share * right + (1 - share) * np.eye(right.shape[-1])[x]

def tokens(model, x, nodes, rng):
    return np.where(x == model.tokens, 0, x)

def one_by_one(model, x, nodes, rng):
    # each masked token shows at a time of its own, in the order of these times: exact
    x = x.copy()
    due = np.where(x == model.tokens, nodes[0] * rng.random(x.shape), -1.0)
    for _ in range(x.shape[1]):
        place = np.argmax(due, axis=1)
        at = np.flatnonzero(due.max(axis=1) > nodes[-1])
        edges = np.cumsum(model(x, 0.5), axis=-1)
        value = np.sum(rng.random(x.shape)[..., None] >= edges[..., :-1], axis=-1)
        x[at, place[at]] = value[at, place[at]]
        due[at, place[at]] = -1.0
    return x

def anyhow(a, b):
    return a
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_token_samplers.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "my_token_samplers"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


@pytest.mark.parametrize(
    ("name", "words", "status"),
    [
        ("bridge", ("--order", "1"), 0),
        ("bridge", ("--order", "2"), 1),
        ("bridge", ("--order", "1", "--schedule", "uniform"), 0),
        ("bridge", ("--order", "1", "--schedule", "masked-cosine", "--steps", "8,16,32,64"), 0),
        ("slow", ("--order", "1"), 1),
        ("slow", ("--order", "1", "--option", "share=1.0"), 0),
        ("tokens", ("--order", "1", "--draws", "20000"), 1),
        ("one_by_one", ("--order", "inf", "--draws", "20000"), 0),
    ],
)
def test_a_sampler_of_ones_own_is_judged(own: str, capsys, name: str, words: tuple[str, ...], status: int) -> None:  # type: ignore[no-untyped-def]
    found, out, err = run(capsys, "verify", "--discrete", "--sampler", f"{own}:{name}", *words)
    assert found == status, out + err
    assert out.startswith("FAIL" if status else "ok")


def test_recorded_samplers_are_proved_and_measured(capsys) -> None:  # type: ignore[no-untyped-def]
    status, out, _ = run(capsys, "verify", "ancestral", "--discrete", "--schedule", "masked", "--json")
    (data,) = json.loads(out)
    assert status == 0
    assert data["order"] == 1
    assert data["proof"]
    assert {s["problem"] for s in data["series"]} == {"weak chain", "strong chain"}


def test_samplers_without_steps_of_time_are_proved_and_their_laws_are_exact(capsys) -> None:  # type: ignore[no-untyped-def]
    status, out, _ = run(capsys, "verify", "first_hitting", "blocks", "--discrete", "--schedule", "masked")
    assert status == 0
    assert "first_hitting (masked): exact in law" in out
    assert "blocks (masked): one token a step" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sampler", "{}:anyhow", "--order", "1"), "tell no convention"),
        (("--sampler", "{}:bridge"), "needs --order"),
        (("--schedule", "gaussian", "ancestral"), "masked, uniform"),
        (("no_such_sampler",), "unknown"),
        (("ancestral", "--mutate"), "--mutate and --out"),
        (("ancestral", "--order", "2"), "--order goes with --sampler"),
        (("--sampler", "{}:bridge", "--order", "nan"), "no order that can be claimed"),
        (("--sampler", "{}:bridge", "--order", "1", "--problem", "three-peaks"), "--problem: does not go with"),
        (("ancestral", "--convention", "kernel"), "--convention: does not go with"),
        (("first_hitting", "--schedule", "uniform"), "does not run on the uniform process"),
    ],
)
def test_bad_words_are_named(own: str, capsys, words: tuple[str, ...], message: str) -> None:  # type: ignore[no-untyped-def]
    status, out, err = run(capsys, "verify", "--discrete", *(word.format(own) for word in words))
    assert status != 0
    assert message in " ".join((out + err).replace("│", " ").split())

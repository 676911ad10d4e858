"""``diffnum verify --sampler ... --measure law``: samplers with noise of one's own, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diffnum import cli

SAMPLERS = '''
from itertools import pairwise

import numpy as np


def reverse(model, x, nodes, noise, keep=1.0):
    """First-order step of the time reversal; keep < 1 loses noise."""
    s = model.schedule
    for a, b in pairwise(nodes):
        alpha, sigma = s.alpha(s.time(b)), s.sigma(s.time(b))
        mean = sigma / s.sigma(s.time(a)) * np.exp(a - b) * x - alpha * np.expm1(2 * (a - b)) * model.data(x, a)
        x = mean + keep * sigma * np.sqrt(-np.expm1(2 * (a - b))) * noise(a, b)
    return x
'''
WORDS = ("--steps", "16,32,64,128", "--grids", "uniform")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    (tmp_path / "noisy_samplers.py").write_text(SAMPLERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def command(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main(("verify", "--sampler", "noisy_samplers:reverse", *words, *WORDS))
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return command


def test_the_order_in_law_comes_with_the_size_of_the_bias(run: Any) -> None:
    status, out, err = run("--order", "1", "--measure", "law")
    assert status == 0, out + err
    assert "ok    reverse: order in law 1, claimed 1" in out
    assert "reverse keeps the marginals (order in law 1): standard deviation" in out
    assert run("--order", "2", "--measure", "law")[0] == 1


def test_the_strong_order_is_that_of_the_equation_of_a_level(run: Any) -> None:
    assert run("--order", "1", "--measure", "strong")[0] == 0
    assert run("--order", "1", "--measure", "strong", "--noise-level", "0.5")[0] == 1


def test_an_option_reaches_the_sampler_and_json_has_the_answer(run: Any) -> None:
    status, out, _ = run("--order", "1", "--measure", "law", "--option", "keep=0.9", "--json")
    assert status == 1
    (found,) = json.loads(out)
    assert found["ok"] is False
    assert found["kept"] is False
    assert found["bias"][1] > 0.05


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--measure", "odd"), "use one of strong, weak, law"),
        (("--measure", "law", "--shape", "1,2,2"), "--shape and --clock"),
        (("--measure", "strong", "--noise-level=-1"), "finite number >= 0"),
    ],
)
def test_what_does_not_fit_is_refused(run: Any, words: tuple[str, ...], match: str) -> None:
    status, _, err = run("--order", "1", *words)
    assert status == 2
    assert match in " ".join(err.split())

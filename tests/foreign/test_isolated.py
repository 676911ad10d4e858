"""Other people's code cannot end, silence, outlast or change the program that calls it."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffnum import cli
from diffnum.convergence.checks import SamplerError, called
from diffnum.convergence.judgement import judge
from diffnum.foreign.isolated import Guarded, OutOfTime, outspoken, seeds, time_limit
from tests.cli.test_progress import spoken

OWN = """
import os, random, sys, time
import numpy as np

def euler(model, x, nodes):
    for node in zip(nodes[:-1], nodes[1:]):
        alpha, sigma = 1 / np.sqrt(1 + np.exp(-2 * np.array(node))), 1 / np.sqrt(1 + np.exp(2 * np.array(node)))
        kept = sigma[1] / sigma[0]
        x = kept * x + (alpha[1] - kept * alpha[0]) * model.data(x, node[0])
    return x

def printer(model, x, nodes):
    print("hello")
    return euler(model, x, nodes)

def leaves(model, x, nodes):
    os._exit(0)

def endless(model, x, nodes):
    while True:
        time.sleep(0.01)

def told(model, x, nodes):
    raise GeneratorExit("enough")

async def later(model, x, nodes):
    return x

def strict(model, x, nodes):
    np.seterr(all="raise")
    os.chdir("/")
    return euler(model, x, nodes)

def seeding(model, x, nodes):
    np.random.seed(0)
    random.seed(0)
    return euler(model, x, nodes)

class Kind:
    def __call__(self, model, x, nodes):
        return euler(model, x, nodes)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(OWN, names)
    return names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_code.py").write_text("print('on import')\n" + OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "own_code", raising=False)
    return tmp_path


def ran(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, list[str]]:
    """Status, output, and complaints of a command."""
    with pytest.raises(SystemExit) as left:
        cli.main(words.split())
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, [line for line in spoken(err).splitlines() if not line.endswith(" ...")]


FEW = "--grids uniform --steps 12,24,48,96"


@pytest.mark.usefixtures("folder")
def test_what_a_sampler_prints_is_no_part_of_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = ran(f"verify --sampler own_code:printer --order 1 {FEW} --json", capsys)
    assert status == 0
    assert json.loads(out)[0]["verdict"] == "holds"
    assert {"on import", "hello"} <= set(err)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("leaves", 2, "leaves the program with sys.exit(0)"),
        ("told", 2, "told raises GeneratorExit: enough"),
        ("later", 2, "later returned a coroutine"),
        ("Kind", 2, "Kind is a class, and no scheduler: pass an object of it"),
    ],
)
def test_code_that_ends_the_program_is_told_as_such(
    name: str, status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = ran(f"verify --sampler own_code:{name} --order 1 {FEW}", capsys)
    assert (found, out) == (status, "")
    assert text in err[-1]


@pytest.mark.usefixtures("folder")
def test_a_sampler_that_never_ends_is_stopped_and_undecided(capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    status, out, _ = ran("verify --sampler own_code:endless --order 1 --patience 0.5", capsys)
    assert status == 1
    assert out.startswith("?     endless, claimed order 1: undecided\n      it had not ended after ")
    assert time.monotonic() - begun < 300.0
    _, out, _ = ran("verify --sampler own_code:endless --order 1 --patience 0.5 --json", capsys)
    assert json.loads(out)[0]["verdict"] == "undecided"


def test_what_a_sampler_changes_is_put_back_and_told(own: dict[str, Any]) -> None:
    before, here = np.geterr(), os.getcwd()
    found = judge(own["strict"], 1, grids=("uniform",), steps=(12, 24, 48, 96))
    assert (np.geterr(), os.getcwd()) == (before, here)
    assert found.ok
    assert any("np.seterr" in note for note in found.notes)
    assert any("os.chdir" in note for note in found.notes)
    plain = judge(own["euler"], 1, grids=("uniform",), steps=(12, 24, 48, 96))
    assert not [note for note in plain.notes if "whole program" in note or "calls" in note]


def test_a_sampler_that_seeds_the_generators_of_others_is_told(own: dict[str, Any]) -> None:
    found = judge(own["seeding"], 1, grids=("uniform",), steps=(12, 24, 48, 96))
    assert found.ok
    assert [name for name in ("np.random.seed", "random.seed") if any(f"it calls {name}" in n for n in found.notes)]
    assert seeds(lambda: random.seed(0)) == ("random.seed",)
    assert seeds(lambda: random.random()) == seeds(lambda: None) == ()


@pytest.mark.parametrize("leave", [lambda: os._exit(0), lambda: os._exit(3)])
def test_the_way_out_of_the_process_is_closed_for_the_time(leave: Callable[[], None]) -> None:
    real = os._exit
    with pytest.raises(SystemExit), outspoken():
        leave()
    assert os._exit is real


def test_the_limit_of_time_ends_with_its_block() -> None:
    with pytest.raises(OutOfTime), time_limit(0.05):
        time.sleep(20.0)
    with time_limit(0.05):
        pass
    time.sleep(0.1)


def test_an_interrupt_of_the_user_goes_through() -> None:
    def interrupted(model: Any, x: Any, nodes: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        called(interrupted, None, np.zeros((1, 1)), np.zeros(2))

    def failing(model: Any, x: Any, nodes: Any) -> Any:
        raise GeneratorExit

    with pytest.raises(SamplerError, match="raises"):
        called(failing, None, np.zeros((1, 1)), np.zeros(2))
    assert Guarded(failing).__name__ == "failing"


@pytest.mark.parametrize(("order", "text"), [(1e9, "of at most 16"), (17, "of at most 16"), (float("nan"), "no order")])
def test_an_order_that_leaves_nothing_above_rounding_is_refused(order: float, text: str, own: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=text):
        judge(own["euler"], order)


@pytest.mark.parametrize("steps", [(), (24,), (24, 12), (0, 12)])
def test_step_counts_without_a_rate_are_refused(steps: tuple[int, ...], own: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="pass two or more whole numbers > 0 that increase"):
        judge(own["euler"], 1, steps=steps)

"""What is not meant is refused: each misuse of ``data/misuses.txt``, and the answer that it must get.

A record is a misuse and the complaint that it must get: ``>>> code`` of the API in the :func:`scene` below, or
``$ command`` in the folder of :func:`folder`. Dots stand for any text. Commands answer with this one line on standard
error, nothing on standard output, status 2, and leave no file behind.
"""

from __future__ import annotations

import math
import shlex
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum import cli
from tests.cli.test_progress import spoken
from tests.optional import optional

torch = optional("torch")
TABLE = Path(__file__).parent / "data" / "misuses.txt"
API, COMMAND = ">>> ", "$ "


@dataclass(frozen=True)
class Misuse:
    """One record of the table."""

    code: str
    answer: str
    command: bool

    def __str__(self) -> str:
        return self.code


def records() -> list[Misuse]:
    """All records, in the order of the file."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    found = []
    for code, answer in zip(lines[::2], lines[1::2], strict=True):
        start = COMMAND if code.startswith(COMMAND) else API
        assert code.startswith(start), code
        assert not answer.startswith((COMMAND, API)), answer
        found.append(Misuse(code.removeprefix(start), answer, start == COMMAND))
    return found


RECORDS = records()


def agrees(answer: str, wanted: str) -> bool:
    """Whether an answer is the wanted one; dots stand for any text."""
    parts = wanted.split("...")
    if len(parts) == 1:
        return answer == wanted
    if not (answer.startswith(parts[0]) and answer.endswith(parts[-1])):
        return False
    at = len(parts[0])
    for part in parts[1:]:
        at = answer.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the misuses of the API are made of."""
    import diffnum.certificates
    import diffnum.conformance
    import diffnum.interop
    import diffnum.plot  # noqa: F401 (the records call it dn.plot)
    from diffnum.solver.adaptive import EmbeddedPair

    folder = tmp_path_factory.mktemp("scene")
    (folder / "w.safetensors").write_text("hello")
    (folder / "empty").mkdir()
    vp, edm = dn.schedules.VPLinear(), dn.schedules.EDM()
    grid = dn.grids.uniform_half_log_snr(vp, 4)
    mixture = dn.GaussianMixture(np.array([1.0]), np.zeros((1, 2)), np.ones((1, 2)))

    def begun() -> Any:
        scheduler = dn.interop.PlanScheduler()
        scheduler.set_timesteps(5)
        return scheduler

    return {
        "dn": dn,
        "np": np,
        "torch": torch,
        "math": math,
        "vp": vp,
        "edm": edm,
        "grid": grid,
        "pl": dn.plan("dpmpp_2m", vp, grid),
        "sde": dn.plan("sde_dpmpp_2m", vp, grid),
        "gm": mixture.denoiser(vp),
        "other": mixture.denoiser(edm),
        "x": np.ones((3, 2)),
        "digits": dn.load("toy/digits"),
        "table": dn.schedules.Tabulated(np.linspace(0.999, 0.01, 100)),
        "law": dn.discrete.Law(np.full((2, 2), 0.25)),
        "study": dn.convergence_study("ddim", steps=(8, 16, 32, 64)),
        "pair": EmbeddedPair(2),
        "begun": begun,
        "tmp": folder,
        "text_file": folder / "w.safetensors",
        "empty": folder / "empty",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which commands are misused: full of what they must leave alone."""
    folder = tmp_path_factory.mktemp("folder")
    for name in ("taken.svg", "taken.html", "taken.npy", "taken.json", "file"):
        (folder / name).write_text("mine")
    for name in ("folder.png", "full"):
        (folder / name).mkdir()
    (folder / "full" / "thesis.tex").write_text("mine")
    (folder / "text.json").write_text("hello")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "text.safetensors").write_text("hello")
    edm = dn.schedules.EDM()
    dn.plan("ddim", edm, dn.grids.karras(edm, 3)).to_json(folder / "edm.json")
    return folder


def test_there_are_hundreds_of_misuses_each_once() -> None:
    assert len({(r.code, r.command) for r in RECORDS}) == len(RECORDS)
    assert sum(r.command for r in RECORDS) >= 100
    assert sum(not r.command for r in RECORDS) >= 100


@pytest.mark.parametrize("record", [r for r in RECORDS if not r.command], ids=str)
def test_the_api_refuses(record: Misuse, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scene["tmp"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ValueError, TypeError, OSError, AttributeError)) as refused:
            eval(record.code, dict(scene))
    answer = " ".join(f"{type(refused.value).__name__}: {refused.value}".split())
    assert agrees(answer, record.answer), answer


@pytest.mark.parametrize("record", [r for r in RECORDS if r.command], ids=str)
def test_the_command_line_refuses(
    record: Misuse, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}
    with pytest.raises(SystemExit) as left:
        cli.main(shlex.split(record.code.removeprefix("diffnum ")))
    out, err = capsys.readouterr()
    said = [line for line in spoken(err).splitlines() if not line.endswith(" ...")]
    assert len(said) == 1, err
    assert agrees(said[0], record.answer), said[0]
    assert (left.value.code, out) == (2, "")
    assert {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")} == before


def test_a_wrong_answer_is_noticed() -> None:
    assert agrees("n=0: at least one", "n=0: ...")
    assert agrees("n=0: at least one of (1, 2)", "n=0...one of...2)")
    assert not agrees("n=1: at least one", "n=0: ...")
    assert not agrees("n=0: at least one", "n=0: at least")
    assert not agrees("n=0", "n...0...0")


def test_refusals_take_no_time(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """What is refused is refused before the work: the network is not even loaded."""
    from diffnum import models

    monkeypatch.chdir(folder)
    monkeypatch.setattr(models, "load", lambda *_, **__: time.sleep(60))
    for words in ("sample toy/digits --out taken.npy", "compare toy/digits --out taken.html", "fit toy/digits --out a"):
        with pytest.raises(SystemExit):
            cli.main(shlex.split(words))
    assert len(spoken(capsys.readouterr().err).splitlines()) == 3

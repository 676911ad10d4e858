"""Off a terminal too, work that takes long says now and then that it goes on."""

from __future__ import annotations

import re
import time

import pytest

from diffnum import cli
from diffnum.cli import progress


def spoken(err: str) -> str:
    """What stands on standard error but the signs of life, which a slow machine needs and a fast one does not."""
    return "".join(line for line in err.splitlines(keepends=True) if not re.search(r" \.\.\. \d+ s$", line.rstrip()))


def test_the_silence_is_shorter_than_ten_seconds() -> None:
    assert 1 < progress.SECONDS < 10


def test_silent_work_is_told_of_and_what_is_done_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.pulse("diffnum prove", seconds=0.05):
        time.sleep(0.4)
        with progress.progress_bar("proving") as show:
            show(3, 46, "ddim")
            time.sleep(0.4)
    err = capsys.readouterr().err
    assert spoken(err) == "proving ...\n"
    lines = err.splitlines()
    assert lines[0] == "diffnum prove ... 0 s"
    assert "proving ..." in lines
    assert lines[-1] == "proving ... 3 of 46, ddim ... 1 s"
    assert 4 <= len(lines) <= 20


def test_quick_work_is_told_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.pulse("diffnum prove"), progress.progress_bar("proving") as show:
        show(1, 2, "ddim")
    assert spoken(capsys.readouterr().err) == "proving ...\n"


def test_every_command_is_told_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.05)
    monkeypatch.setattr(cli.catalogue, "echo", lambda _: time.sleep(0.1))
    with pytest.raises(SystemExit) as left:
        cli.main(["derive", "ddim"])
    assert left.value.code == 0
    assert "diffnum derive ... " in capsys.readouterr().err

"""A base install answers every entry with one sentence that names the extra and the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffnum.jobs.extras import EXTRAS, explained, lacking

ROOT = Path(__file__).resolve().parents[2]

BASE = f"""
import sys

ABSENT = {sorted({*EXTRAS, "k_diffusion"})!r}


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Absent())
"""
"""Beginning of a program that runs as if the extras were not installed."""


def run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BASE + code]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize(
    ("code", "what", "extra"),
    [
        ("import diffnum as dn; dn.load('toy/digits')", "dn.load needs torch", "images"),
        ("import diffnum as dn; dn.sample(None)", "dn.sample needs torch", "images"),
        ("import diffnum as dn; dn.audit('diffusers')", "dn.audit needs torch", "audit"),
        ("import diffnum as dn; dn.models.wrap(None)", "dn.models.wrap needs torch", "images"),
        ("import diffnum as dn; dn.models.fused(None, None)", "dn.models.fused needs torch", "images"),
        ("import diffnum as dn; dn.interop.PlanScheduler()", "dn.interop.PlanScheduler needs torch", "interop"),
        ("import diffnum as dn; dn.interop.k_diffusion", "dn.interop.k_diffusion needs torch", "interop"),
        ("from diffnum.templates import render; render('audit.html.j2')", "the page needs jinja2", "report"),
    ],
)
def test_an_entry_that_lacks_a_package_says_which_extra_brings_it(code: str, what: str, extra: str) -> None:
    done = run(code)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ModuleNotFoundError: {what}: install it with pip install '.[{extra}]' in a clone of")


@pytest.mark.parametrize(
    "words",
    [
        ("sample", "toy/digits", "--out", "x.png"),
        ("compare", "toy/digits"),
        ("audit", "diffusers"),
        ("verify", "--sampler", "diffusers:DDIMScheduler", "--order", "1"),
        ("verify", "ddim"),
        ("report", "--out", "x.html"),
    ],
)
def test_a_command_that_lacks_a_package_says_so_in_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    code = f"import os; os.chdir({str(tmp_path)!r})\nfrom diffnum.cli import main\nmain({list(words)!r})"
    done = run(code)
    assert done.returncode == 2, done.stderr
    complaints = [line for line in done.stderr.splitlines() if line.startswith("diffnum: ")]
    assert len(complaints) == 1, done.stderr
    assert "pip install" in complaints[0]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_looking_at_the_package_needs_no_extra() -> None:
    done = run(
        """
import inspect, pydoc
from diffnum import *
import diffnum
assert all(hasattr(diffnum, name) for name in diffnum.__all__)
assert "load" in dir(diffnum) and not hasattr(diffnum, "nothing")
inspect.getmembers(diffnum)
inspect.getmembers(diffnum.models)
text = pydoc.render_doc(diffnum)
assert "is not available here" in load.__doc__
"""
    )
    assert done.returncode == 0, done.stderr


def test_errors_about_other_modules_are_left_alone() -> None:
    other = ModuleNotFoundError("No module named 'mine'", name="mine")
    assert explained("this", other) is other
    said = lacking("this", "torch.nn")
    assert explained("that", said) is said
    assert said.name == "torch"


def test_every_public_name_of_every_room_is_there_or_says_what_brings_it() -> None:
    done = run("""
import importlib, pkgutil, diffnum
for room in pkgutil.iter_modules(diffnum.__path__):
    if not room.ispkg or room.name.startswith("_"):
        continue
    try:
        module = importlib.import_module(f"diffnum.{room.name}")
    except ModuleNotFoundError as error:
        assert "pip install" in str(error), (room.name, error)
        continue
    for name in getattr(module, "__all__", ()):
        try:
            getattr(module, name)
        except ModuleNotFoundError as error:
            assert "pip install" in str(error), (room.name, name, error)
print("walked")
""")
    assert (done.returncode, done.stdout) == (0, "walked\n"), done.stderr

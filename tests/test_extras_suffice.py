"""Each extra suffices for the command that it is recommended for, in a fresh environment that holds nothing else.

The environments are real: an interpreter of their own (``python -m venv``), whose packages are the base dependencies
and what the extra brings, with all that these ask for, as their metadata say. The packages are links to those that are
installed here, which are the pinned ones: nothing is downloaded or compiled, so that an environment takes a second and
every run of the tests can afford one an extra, PyTorch included (200 MB a copy otherwise). That a resolver finds the
same packages in a registry is tried where environments are installed from one: ``make test-base``, ``test-lowest`` and
``test-wheel``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

OWN = """
def euler(model, x, sigmas):
    for s, t in zip(sigmas[:-1], sigmas[1:]):
        x = x + (t - s) * (x - model(x, s)) / s
    return x
"""


class Command(NamedTuple):
    """Words of a command line, what it leaves with, and a word of what it prints or writes."""

    words: str
    leaves: int = 0
    says: str = ""


COMMANDS = {
    "torch": Command("verify --sampler own:euler --order 1 --grids uniform --steps 12,24,48,96", says="ok"),
    "images": Command("sample toy/digits -n 4 --nfe 4 --out x.png"),
    "plot": Command("analyse ddim --out a.svg"),  # an extra of old install lines, which brings nothing
    "verify": Command("verify ddim --jobs 2 --schedule vp-linear --out page.html", says="ok"),
    "audit": Command("audit diffusers --only TCDScheduler --jobs 1 --out a.html", leaves=1, says="ignored options"),
}
"""Command by the extra that is recommended for it; one has worker processes, which have the environment's packages.

The audit leaves with one, since it has something to say of the scheduler that it reads.
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(requirements: list[str], extras: frozenset[str] = frozenset()) -> list[Requirement]:
    """Requirements that hold on this machine."""
    parsed = [Requirement(line) for line in requirements]
    return [r for r in parsed if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in extras or {""})]


def closure(requirements: list[str]) -> set[str]:
    """Distributions that requirements bring, with the extras that they ask for, as what is installed says."""
    found: set[tuple[str, frozenset[str]]] = set()
    open_ = [(canonical(r.name), frozenset(r.extras)) for r in needed(requirements)]
    while open_:
        name, extras = open_.pop()
        if (name, extras) in found:
            continue
        found.add((name, extras))
        try:
            more = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        open_ += [(canonical(r.name), frozenset(r.extras)) for r in needed(more, extras)]
    return {name for name, _ in found}


def lacking(extra: str) -> list[str]:
    """Distributions that an extra names, and that are not installed here."""
    missing = []
    for requirement in needed(EXTRAS[extra]):
        try:
            distribution(requirement.name)
        except PackageNotFoundError:
            missing.append(requirement.name)
    return missing


def environment(folder: Path, requirements: list[str]) -> Path:
    """Interpreter of a fresh environment with this package and what the requirements bring."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = next(folder.glob("bin/python")) if sys.platform != "win32" else folder / "Scripts" / "python.exe"
    (site,) = folder.glob("lib/python*/site-packages") if sys.platform != "win32" else [folder / "Lib/site-packages"]
    (site / "diffnum").symlink_to(ROOT / "diffnum")
    for name in closure([*PROJECT["dependencies"], *requirements]):
        try:
            installed = distribution(name)
        except PackageNotFoundError:  # a requirement of another system
            continue
        for top in {file.parts[0] for file in installed.files or () if file.parts[0] not in ("..", "__pycache__")}:
            place, source = site / top, Path(str(installed.locate_file(top)))
            if not place.exists() and source.exists():
                place.symlink_to(source)
    return python


def run(python: Path, words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *words], cwd=folder, capture_output=True, text=True, check=False, timeout=900,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip


def test_every_extra_for_users_is_tried_or_part_of_one_that_is() -> None:
    assert set(COMMANDS) <= set(EXTRAS)
    assert set(EXTRAS) - set(COMMANDS) == {"report", "train", "interop", "book", "lite", "dev"}


@pytest.mark.slow
@pytest.mark.parametrize("extra", COMMANDS)
def test_an_extra_suffices_for_its_command_in_a_fresh_environment(extra: str, tmp_path: Path) -> None:
    if missing := lacking(extra):
        pytest.skip(f"not installed: {', '.join(missing)}")
    python = environment(tmp_path / "environment", EXTRAS[extra])
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    command = COMMANDS[extra]
    words = command.words.split()
    done = run(python, ["-m", "diffnum", *words], tmp_path)
    assert done.returncode == command.leaves, done.stdout + done.stderr
    assert command.says in done.stdout
    if "--out" in words:
        assert (tmp_path / words[words.index("--out") + 1]).stat().st_size > 1000


def test_what_an_extra_does_not_bring_is_really_absent(tmp_path: Path) -> None:
    python = environment(tmp_path / "environment", [])
    there = run(python, ["-c", "import matplotlib, sympy, diffnum; print(diffnum.__file__)"], tmp_path)
    assert there.returncode == 0, there.stderr
    for absent in ("torch", "jinja2", "flint", "pytest", "diffusers"):
        assert "ModuleNotFoundError" in run(python, ["-c", f"import {absent}"], tmp_path).stderr, absent
    done = run(python, ["-m", "diffnum", "sample", "toy/digits", "--out", "x.npy"], tmp_path)
    assert done.returncode == 2
    assert "needs torch" in done.stdout + done.stderr


def test_a_base_environment_has_a_sentence_for_what_is_not_there(tmp_path: Path) -> None:
    python = environment(tmp_path / "environment", [])
    program = """
import pydoc, diffnum
import diffnum as dn
from diffnum import *
assert all(hasattr(diffnum, name) or True for name in dir(diffnum))
pydoc.render_doc(diffnum)
for name in ("load", "sample"):
    try:
        getattr(diffnum, name)("toy/digits")
    except ModuleNotFoundError as error:
        print(error)
dn.convergence_study("ddim", steps=(8, 16, 32, 64)).plot().figure.savefig("orders.svg")
"""
    done = run(python, ["-c", program], tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2, lines
    assert all("needs" in line and "pip install" in line for line in lines), lines
    assert "<svg" in (tmp_path / "orders.svg").read_text(encoding="utf-8")  # drawing is part of every install

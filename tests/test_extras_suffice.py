"""Each extra suffices for the command that it is recommended for: what it does not bring cannot be imported."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

OWN = """
def euler(model, x, sigmas):
    for s, t in zip(sigmas[:-1], sigmas[1:]):
        x = x + (t - s) * (x - model(x, s)) / s
    return x
"""

COMMANDS = {
    "torch": "verify --sampler own:euler --order 1 --grids uniform --steps 12,24,48,96",
    "images": "sample toy/digits -n 4 --nfe 4 --out x.png",
    "plot": "analyse ddim --out a.svg",
    "verify": "verify ddim --jobs 1 --out page.html",
    "audit": "audit diffusers --only TCDScheduler --jobs 1 --out a.html",
}
"""Command by the extra that is recommended for it."""

PROGRAM = """
import sys
from importlib.machinery import PathFinder

class Present(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {absent!r} else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [f for f in sys.meta_path if f is not PathFinder] + [Present]
sys.path.insert(0, ".")
from diffnum.cli import main
main({words!r})
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(requirements: list[str]) -> set[str]:
    """Distributions that requirements bring, as what is installed says; those that other extras ask for left out."""
    found: set[str] = set()
    open_ = [canonical(re.split(r"[\s<>=!~;\[(]", r, maxsplit=1)[0]) for r in requirements]
    while open_:
        name = open_.pop()
        if name in found:
            continue
        found.add(name)
        try:
            more = requires(name) or []
        except PackageNotFoundError:
            continue
        open_ += [canonical(re.split(r"[\s<>=!~;\[(]", r, maxsplit=1)[0]) for r in more if "extra ==" not in r]
    return found


def absent(extra: str) -> set[str]:
    """Modules of all distributions that some extra brings, and neither the base nor this one."""
    base, mine = closure(PROJECT["dependencies"]), closure(EXTRAS[extra])
    others = set().union(*(closure(r) for r in EXTRAS.values())) - base - mine
    return {m for m, d in packages_distributions().items() if d and {canonical(one) for one in d} <= others}


def test_every_extra_for_users_is_tried_or_part_of_one_that_is() -> None:
    assert set(COMMANDS) <= set(EXTRAS)
    assert set(EXTRAS) - set(COMMANDS) == {"report", "train", "interop", "book", "lite", "dev"}


@pytest.mark.slow
@pytest.mark.parametrize("extra", COMMANDS)
def test_an_extra_suffices_for_its_command(extra: str, tmp_path: Path) -> None:
    brought = [canonical(re.split(r"[<>=]", r, maxsplit=1)[0]) for r in EXTRAS[extra]]
    installed = {canonical(one) for several in packages_distributions().values() for one in several}
    if lacking := set(brought) - installed:
        pytest.skip(f"not installed: {', '.join(sorted(lacking))}")
    hidden = absent(extra)
    assert "torch" in hidden or "torch" in brought
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(absent=hidden, words=COMMANDS[extra].split())],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_an_extra_does_not_bring_is_really_absent(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    program = PROGRAM.format(absent=absent("plot"), words=["sample", "toy/digits", "-n", "1", "--out", "x.npy"])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 2
    assert "needs torch" in done.stdout + done.stderr

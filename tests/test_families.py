"""A family is four files of one stem; whoever adds them has added the family, and a missing one is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest

ROOT = Path(__file__).resolve().parents[1]
WINGS = MappingProxyType(
    {
        "coefficients": "the rule of a step",
        "coefficients/catalogue": "FAMILY, the records",
        "derivation": "DERIVATION, the same weights by an independent road",
        "derivation/published": "PUBLISHED, the formula as printed",
    }
)
"""Folder -> what the file of a family there ends in."""

CONSTANTS = MappingProxyType(
    {"coefficients/catalogue": "FAMILY", "derivation": "DERIVATION", "derivation/published": "PUBLISHED"}
)

NO_FAMILIES = {
    "coefficients": {"method", "programme", "tableaux", "noise", "checked"},  # what all families are made of
    "coefficients/catalogue": {"hosts", "members"},
    "derivation": {
        "records",
        "given",
        "guidance",
        "tableaux",
        "response",
        "jumps",
        "feynman_kac",
    },  # of the discrete and the weighted wing
    "derivation/published": set(),
}

MADE_OF_OTHERS = {"mean_reverting": {"coefficients", "derivation", "derivation/published"}}
"""Families whose members are methods of other families under another name, and the files that they need not have."""

BUILT_BY_CALIBRATION = {"model_statistics": {"coefficients/catalogue"}}
"""Families whose records are made from numbers that are found for one model, in ``calibration/``."""


def stems(package: Path, wing: str) -> set[str]:
    """Stems of the families that have a file in a wing."""
    files = {path.stem for path in (package / wing).glob("*.py")}
    return {stem for stem in files if not stem.startswith("_")} - NO_FAMILIES[wing]


def missing(package: Path) -> list[str]:
    """Files, and constants in them, that some family lacks."""
    excused = {**MADE_OF_OTHERS, **BUILT_BY_CALIBRATION}
    found = []
    for stem in sorted(set().union(*(stems(package, wing) for wing in WINGS))):
        for wing, content in WINGS.items():
            file = package / wing / f"{stem}.py"
            if wing in excused.get(stem, ()):
                continue
            if not file.exists():
                found.append(f"{wing}/{stem}.py ({content})")
            elif wing in CONSTANTS and f"\n{CONSTANTS[wing]}" not in file.read_text(encoding="utf-8"):
                found.append(f"{CONSTANTS[wing]} in {wing}/{stem}.py")
    return found


def test_every_family_has_its_four_files() -> None:
    assert missing(ROOT / "diffnum") == []


DUMMY = {
    "coefficients": '''
"""A dummy: the exponential midpoint rule with an inner node at two fifths."""

from fractions import Fraction

from diffnum.coefficients.runge_kutta import euler_step, rational
from diffnum.tableau import Stage, Step, Window, vectors


def dummy_step(window: Window, order: int) -> Step:
    """One step; Euler where order 1 is asked for."""
    if order == 1:
        return euler_step(window)
    x, k1, k2 = vectors("x k1 k2")
    c = rational(window, Fraction(2, 5))
    slope = window.moment(1) / c
    stages = (Stage(0, x), Stage(c, x + window.moment(0, c) * k1))
    return Step(stages, x + (window.moment(0) - slope) * k1 + slope * k2)
''',
    "coefficients/catalogue": '''
"""Record of the dummy."""

from diffnum.coefficients.catalogue.members import fixed
from diffnum.coefficients.dummy import dummy_step
from diffnum.coefficients.method import Method
from diffnum.forms import DATA


def _record(name: str) -> Method:
    return Method(
        name=name, title="Dummy midpoint", family="dummy", form=DATA, order=2, rule=dummy_step, depth=0,
        cite="hochbruck2005explicit", equation="section 3", summary="A dummy.", claimed_order=2, order_with_startup=2,
    )


FAMILY = (fixed("dummy_midpoint", _record),)
''',
    "derivation": '''
"""The dummy derived: its order conditions, solved."""

from fractions import Fraction

from diffnum.derivation.adams import EXACT_STEP, moment_weights, moments_line
from diffnum.derivation.records import Derived
from diffnum.derivation.runge_kutta import explicit_step


def dummy(window, order, rate=-1):
    """Weights that integrate constants and lines exactly."""
    nodes = (Fraction(0), Fraction(2, 5))[:order]
    weights = moment_weights(nodes, [window.moment(k) for k in range(order)])
    rows = ((), (window.moment(0, Fraction(2, 5)),))[:order]
    return Derived(explicit_step(window, nodes, rows, weights), (EXACT_STEP, moments_line(rate)))


DERIVATION = {"dummy": dummy}
''',
    "derivation/published": '''
"""The dummy as printed."""

from fractions import Fraction

from diffnum.derivation.printing.notation import Published, psi, sign


def _rows(symbols, order):
    if order == 1:
        return {"x": {"k1": sign(symbols) * psi(symbols, 1)}}
    c = Fraction(2, 5)
    slope = sign(symbols) * psi(symbols, 2) / c
    stage = sign(symbols) * psi(symbols, 1, c)
    return {"k2": {"k1": stage}, "x": {"k1": sign(symbols) * psi(symbols, 1) - slope, "k2": slope}}


PUBLISHED = {"dummy": (Published("nowhere, eq. (1)", (-1, 1), (1, 2), _rows),)}
''',
}

USE = """
import diffnum as dn
assert "dummy_midpoint" in dn.methods()
proof = dn.prove("dummy_midpoint")
assert proof.ok and proof.order == 2, proof
study = dn.convergence_study("dummy_midpoint", dn.problems.three_peaks(), grids=("irregular",), variants=("formula",))
study.assert_order(2)
assert dn.derive("dummy_midpoint").code("c")
print("all", len(dn.methods("all")))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package to which the dummy's four files were added."""
    shutil.copytree(ROOT / "diffnum", tmp_path / "diffnum", ignore=shutil.ignore_patterns("__pycache__"))
    for wing, text in DUMMY.items():
        (tmp_path / "diffnum" / wing / "dummy.py").write_text(text.lstrip(), encoding="utf-8")
    return tmp_path / "diffnum"


def used(package: Path) -> subprocess.CompletedProcess[str]:
    """Prove, measure and print the dummy in a fresh interpreter that sees the copy."""
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    command = [sys.executable, "-c", USE]
    return subprocess.run(command, cwd=package.parent, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_four_files_make_a_family_that_is_listed_proved_measured_and_printed(package: Path) -> None:
    assert missing(package) == []
    done = used(package)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("all ")


@pytest.mark.slow
def test_a_wrong_weight_of_a_new_family_is_noticed(package: Path) -> None:
    file = package / "coefficients" / "dummy.py"
    file.write_text(file.read_text(encoding="utf-8").replace("slope = window.moment(1)", "slope = window.moment(2)"))
    done = used(package)
    assert done.returncode != 0
    assert "derived == shipped" in done.stderr


@pytest.mark.parametrize("wing", WINGS)
def test_a_missing_file_is_named(package: Path, wing: str) -> None:
    (package / wing / "dummy.py").unlink()
    assert missing(package) == [f"{wing}/dummy.py ({WINGS[wing]})"]


def test_a_file_that_ends_in_no_constant_is_named(package: Path) -> None:
    file = package / "derivation" / "dummy.py"
    file.write_text(file.read_text(encoding="utf-8").replace("DERIVATION = ", "derivation = "))
    assert missing(package) == ["DERIVATION in derivation/dummy.py"]

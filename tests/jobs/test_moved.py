"""Names of 0.1 answer with their place."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

import diffnum
from diffnum.jobs.moved import MODULES, NAMES


def resolved(name: str) -> object:
    """Object behind a dotted name."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("old", MODULES)
def test_a_module_that_moved_names_its_place_which_exists(old: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"import {MODULES[old]}$"):
        importlib.import_module(old)
    assert importlib.util.find_spec(MODULES[old]) is not None


@pytest.mark.parametrize("old", NAMES)
def test_a_name_that_moved_out_of_a_module_names_its_place_which_exists(old: str) -> None:
    with pytest.raises(ImportError, match=f"moved to {NAMES[old]}$"):
        resolved(old)
    assert resolved(NAMES[old]) is not None


NAMES_BEFORE = dict(
    line.split(": ")
    for line in (Path(__file__).parents[1] / "data" / "names_of_0.1.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
)


def answer(home: object, name: str) -> str:
    """What is told of a name: nothing if it is there."""
    try:
        getattr(home, name)
    except ImportError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("module", NAMES_BEFORE)
def test_every_public_name_of_0_1_is_there_or_answers(module: str) -> None:
    place = MODULES.get(module, module)
    if place == "diffnum.models.update.kernel":
        pytest.importorskip("triton")
    home = importlib.import_module(place)
    told = {name: answer(home, name) for name in NAMES_BEFORE[module].split()}
    assert [text for text in told.values() if text and not re.search(": it (moved to|is gone:) ", text)] == []


def test_an_import_from_a_module_says_it_too() -> None:
    with pytest.raises(ImportError, match=r"moved to diffnum\.foreign\.understood$"):
        from diffnum.foreign.conventions import understood  # noqa: F401
    with pytest.raises(ImportError, match="it is gone"):
        resolved("diffnum.models.loading.galaxies.to_flux")
    assert not hasattr(importlib.import_module("diffnum.foreign.conventions"), "never_there")


def test_the_face_of_the_package_answers_too() -> None:
    with pytest.raises(AttributeError, match=r"diffnum.calibration.decisions"):
        _ = diffnum.decisions
    with pytest.raises(AttributeError, match=r"has no attribute 'fraction'$"):
        resolved("diffnum.convergence.study.fraction")

"""Names of 0.1 answer with their place."""

from __future__ import annotations

import importlib
import importlib.util

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
    with pytest.raises(AttributeError, match=f"moved to {NAMES[old]}$"):
        resolved(old)
    assert resolved(NAMES[old]) is not None


def test_the_face_of_the_package_answers_too() -> None:
    with pytest.raises(AttributeError, match=r"diffnum.calibration.decisions"):
        _ = diffnum.decisions
    with pytest.raises(AttributeError, match=r"has no attribute 'fraction'$"):
        resolved("diffnum.convergence.study.fraction")

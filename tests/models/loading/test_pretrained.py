"""The one door to pretrained models."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import diffnum.models
from diffnum.models import load, model_ids


def test_unknown_identifiers_get_the_nearest_names_and_the_list() -> None:
    with pytest.raises(ValueError, match=r"model_id='galaxies/hcs-32' is unknown.*Did you mean 'galaxies/hsc-32'"):
        load("galaxies/hcs-32")
    with pytest.raises(ValueError, match=r"Known: .*toy/digits"):
        load("zzz")
    with pytest.raises(ValueError, match="unknown"):
        load("digits")
    with pytest.raises(TypeError, match="model_id is a int"):
        load(3)  # type: ignore[arg-type]


def test_identifiers_cannot_leave_the_folder_of_models() -> None:
    with pytest.raises(ValueError, match="unknown"):
        load("toy/../toy_models/digits")


def test_dtype_and_device_are_checked() -> None:
    assert load("toy/digits", dtype=torch.float64).dtype is torch.float64
    with pytest.raises(ValueError, match="dtype='int8'"):
        load("toy/digits", dtype="int8")
    with pytest.raises(ValueError, match="device='abacus'"):
        load("toy/digits", device="abacus")


def test_every_identifier_is_listed_once() -> None:
    assert len(set(model_ids())) == len(model_ids())
    assert "toy/digits" in model_ids()


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, diffnum.models as m; dir(m); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_attributes_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = diffnum.models.nonsense

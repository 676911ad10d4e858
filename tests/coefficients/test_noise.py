"""The record of noise: what it refuses, and that the catalogue and its readers go by it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import diffnum as dn
from diffnum.coefficients.noise import ORDERS, Noise
from diffnum.derivation import DERIVATIONS, SCHEMES
from diffnum.derivation.published import PUBLISHED

NAMES = list(dn.methods("stochastic"))
PACKAGE = Path(dn.__file__).parent
SOUND = Noise("reverse", "adams", 1, 1, 1, level=1.0)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"level": None}, "leaves the noise open"),
        ({"level": -0.5}, "level=-0.5"),
        ({"level": float("nan")}, "level=nan"),
    ],
)
def test_a_level_that_is_none_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        replace(SOUND, **changes)


def test_orders_are_read_by_their_measure() -> None:
    noise = Noise("churn", "noise_heun", 1, 1.5, 2, level=1.0)
    assert [noise.order(measure) for measure in ORDERS] == [1, 1.5, 2]
    assert not noise.silent
    assert replace(noise, level=0.0).silent


@pytest.mark.parametrize("name", NAMES)
def test_scheme_base_and_family_are_keys_of_the_registries(name: str) -> None:
    record = dn.method(name)
    assert record.stochastic
    assert record.noise is not None
    assert record.noise.scheme in SCHEMES
    assert record.noise.base in DERIVATIONS
    assert record.family in PUBLISHED
    assert record.noise.weak <= record.noise.law
    assert not set(record.options) & {"scheme", "base", "noise_level", "strong_order", "weak_order", "law_order"}


def test_solvers_of_the_flow_have_no_noise() -> None:
    assert all(record.noise is None and not record.stochastic for record in dn.methods().values())


OPTION = re.compile(r'record\.options(\[|\.get\()"|\.family (==|!=) "|\.name\.startswith\(')


OWN = ("coefficients/", "proofs/theorems/", "calibration/compensation.py", "models/")
"""Where families are among themselves; networks have paths for names, such as ``toy/digits``."""


@pytest.mark.parametrize("wing", sorted(path.name for path in PACKAGE.iterdir() if path.is_dir()))
def test_what_is_asked_of_a_record_is_a_field_of_it(wing: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in (PACKAGE / wing).rglob("*.py")
        if not path.relative_to(PACKAGE).as_posix().startswith(OWN)
        for line in path.read_text(encoding="utf-8").splitlines()
        if OPTION.search(line)
    ]
    assert found == []


def test_the_pattern_finds_a_chain_on_names() -> None:
    assert OPTION.search('if record.options["scheme"] == "reverse":')
    assert OPTION.search('if record.family == "stochastic":')

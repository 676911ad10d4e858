"""Every listed method has what the catalogue promises: source, derivation, proof, order, start-up, last step, print."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.derivation import DERIVATIONS
from diffnum.derivation.published import PUBLISHED
from diffnum.grids import Grid, uniform_half_log_snr
from diffnum.schedules import VPLinear

ROOT = Path(__file__).parents[1]
BIBLIOGRAPHY = re.findall(
    r"^@\w+\{([^,\s]+),", (ROOT / "book/references.bib").read_text(encoding="utf-8"), re.MULTILINE
)
NAMES = list(dn.methods())
VARIANTS = [
    "dpmpp_3m_taylor",
    "dpm_solver_3m_taylor",
    "unipc_1_bh1",
    "unipc_2_bh2_noise",
    "unipc_3_vary_noise",
    "unip_2_bh2_noise",
    "plms_2",
    "ipndm_v_3",
    "ipndm_v_4",
    "s_pndm",
    "fon",
    "deis_tab2_official",
    "deis_rhoab3_official",
    "deis_tab3_edm_official",
    "ghvb_0.5",
    "ghvb_3.2",
    "mdpm2_0.8_slope",
    "dpm_solver_fast_3",
    "dpmpp_fixed_3_taylor",
    "res_3s_c0.4_0.6_as_shipped",
]
"""Further members, most of them forms that ship with a deviation."""
SCHEDULE = VPLinear()


def grid(n: int, terminal: str = "stop") -> Grid:
    return uniform_half_log_snr(SCHEDULE, n, terminal=terminal)


@cache
def derivation(name: str) -> Any:
    return dn.derive(name)


@cache
def measured() -> dict[str, Any]:
    """Results of the study of every listed method, as the command that makes the README's table left them."""
    rows = json.loads((ROOT / "book/results/methods.json").read_text(encoding="utf-8"))["methods"]
    return {row["name"]: row for row in rows}


@pytest.mark.parametrize("name", NAMES)
def test_the_source_is_a_work_of_the_bibliography_and_a_place_in_it(name: str) -> None:
    record = dn.method(name)
    assert record.cite in BIBLIOGRAPHY
    assert re.search(r"\beqs?\.|algorithm|section|Lemma|\.py|at [0-9a-f]{8}|rhoRK|ETDRK|order", record.equation), (
        record.equation
    )


@pytest.mark.parametrize("name", NAMES)
def test_derivation_published_formula_and_error_constant_are_there(name: str) -> None:
    record = dn.method(name)
    assert record.family in DERIVATIONS
    assert any(f.covers(record.form.rate, record.top) for f in PUBLISHED[record.family])
    assert derivation(name).error_terms
    assert len(derivation(name).argument) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_the_formula_is_typeset_with_every_evaluation_that_it_uses(name: str) -> None:
    text = derivation(name).latex()
    assert text.startswith("\\begin{aligned}")
    assert text.count("{") == text.count("}")
    assert "y_{n+1} &=" in text


@pytest.mark.parametrize("name", NAMES)
def test_the_study_found_the_recorded_order_on_every_kind_of_grid(name: str) -> None:
    row, record = measured()[name], dn.method(name)
    assert row["proof_ok"]
    for kind in GRID_KINDS:
        assert float(row["measured"][kind].strip("~")) >= record.order_on(kind) - 0.1
    # a problem may be too kind to show the defect of a weight; most are not
    worst = min(float(value.strip("~")) for value in row["measured"].values())
    assert worst <= min(record.order_on(kind) for kind in GRID_KINDS) + 0.1


@pytest.mark.parametrize("name", NAMES)
def test_every_start_up_rule_makes_a_plan_and_keeps_what_it_promises(name: str) -> None:
    record, n = dn.method(name), 16
    for start in ("ramp", "high_order", "exact"):
        numbers = dn.plan(record, SCHEDULE, grid(n), start=start)
        assert bool(numbers.history) == (start == "exact" and bool(record.depth))
        climbs = start == "ramp" and record.depth > 0 and record.top > 1
        assert (record.programme(n, start=start)[0].order < record.top) == climbs


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("terminal", ["lower_order", "denoise", "lower_order_denoise"])
def test_every_last_step_rule_makes_a_plan_that_ends_at_the_data(name: str, terminal: str) -> None:
    numbers = dn.plan(name, SCHEDULE, grid(8, terminal))
    model = dn.Gaussian(np.zeros(2), np.full(2, 0.25)).denoiser(SCHEDULE)
    x = dn.solve(numbers, model, np.ones((1, 2)))
    assert np.isfinite(x).all()
    assert numbers.nfe == dn.method(name).nfe(8, terminal=terminal)


@pytest.mark.parametrize("name", [*NAMES, *VARIANTS])
def test_what_ships_short_of_its_claim_says_so_and_names_the_form_that_does_not(name: str) -> None:
    record = dn.method(name)
    worst = min(record.order_on(kind) for kind in GRID_KINDS)
    if worst < record.claimed_order:
        assert record.deviation, "short of its claim without a word"
    if record.corrected:
        assert record.deviation
        better = dn.method(record.corrected)
        assert min(better.order_on(kind) for kind in GRID_KINDS) >= worst
        assert not better.deviation or better.family == "heavy_ball"


def test_deviations_are_sentences() -> None:
    records: list[Method] = [dn.method(name) for name in (*NAMES, *VARIANTS)]
    assert all(r.deviation.endswith(".") for r in records if r.deviation)
    assert len({r.deviation for r in records}) > 10

"""DPM-Solver-v3, DC-Solver and step-size control reproduce the authors' codes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from diffnum.certificates.recorded.calibrated import CALIBRATED
from diffnum.certificates.recorded.solvers import load, setting

CASES = [case for case in load() if any(re.fullmatch(pattern, case["solver"]) for pattern in CALIBRATED)]
SOLVERS = sorted({case["solver"] for case in CASES})


def error(case: dict[str, Any], changed: dict[str, Any] | None = None) -> float:
    """Largest error in units of the tolerance, 1e-9 relative (1e-7 with step-size control)."""
    options = {**case["options"], **(changed or {})}
    runner = next(f for pattern, f in CALIBRATED.items() if re.fullmatch(pattern, case["solver"]))
    found, expected = runner({**case, "options": options}, *setting(case)), np.array(case["x_0"])
    rtol = 1e-7 if "adaptive" in case["solver"] else 1e-9
    return float(np.max(np.abs(found - expected) / (rtol * (np.abs(expected) + 0.01 * np.max(np.abs(expected))))))


def test_all_cases_of_these_families_are_covered() -> None:
    count = {"dpm_solver_v3": 0, "dc_solver": 0, "adaptive": 0}
    for case in CASES:
        count["adaptive" if "adaptive" in case["solver"] else case["folder"]] += 1
    assert count == {"dpm_solver_v3": 120, "dc_solver": 25, "adaptive": 13}


@pytest.mark.parametrize("solver", SOLVERS)
def test_replays_agree_with_the_recorded_final_states(solver: str) -> None:
    errors = {case["id"]: error(case) for case in CASES if case["solver"] == solver}
    assert {name: e for name, e in errors.items() if e > 1} == {}


@pytest.mark.parametrize(
    ("solver", "options", "changed"),
    [
        ("dpm-solver-v3/order2", {"statistics": "full"}, {"statistics": "lonly"}),
        ("dpm-solver-v3/order3", {"statistics": "lonly", "p_pseudo": False}, {"p_pseudo": True}),
        ("dpm-solver-v3/order3", {"use_corrector": True}, {"use_corrector": False}),
        ("dpm-solver-v3/order3", {"use_corrector": True, "c_pseudo": False}, {"c_pseudo": True}),
        ("dpm-solver-v3/order3", {"lower_order_final": False}, {"lower_order_final": True}),
        ("dc-solver/bh1/order3", {"dc_order": 2, "steps": 10}, {"dc_order": 1}),
        ("dc-solver/bh1/order2", {"dc_order": 1}, {"variant": "bh2"}),
        ("dpmsolver/adaptive/order2", {}, {"rtol": 0.051}),
        ("k-diffusion/dpm_adaptive", {"order": 3}, {"order": 2}),
    ],
)
def test_a_neighbouring_method_does_not_pass(solver: str, options: Any, changed: Any) -> None:
    chosen = [c for c in CASES if c["solver"] == solver and all(c["options"].get(k) == v for k, v in options.items())]
    assert max(error(case, changed) for case in chosen) > 1e3


def test_a_ratio_that_is_off_by_one_in_a_million_does_not_pass() -> None:
    case = next(c for c in CASES if c["folder"] == "dc_solver" and set(c["options"]["dc_ratios"]) != {1.0})
    ratios = list(case["options"]["dc_ratios"])
    ratios[3] *= 1 + 1e-6
    assert error(case, {"dc_ratios": ratios}) > 10

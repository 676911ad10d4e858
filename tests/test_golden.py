"""Diffnum's own plans reproduce trajectories recorded from the authors' codes."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.certificates import recorded as golden

HERE = Path(__file__).parent
CASES: list[dict[str, Any]] = golden.load()
SOLVERS = sorted({(case["folder"], case["solver"]) for case in CASES})

REPRODUCED = {
    "dc_solver": 25,
    "deis": 171,
    "diff_sampler": 181,
    "dpm_solver": 160,
    "dpm_solver_discrete": 38,
    "dpm_solver_v3": 120,
    "edm": 18,
    "ghvb": 219,
    "k_diffusion": 106,
    "pndm": 41,
    "unipc": 157,
}
"""Cases that the catalogue covers, at least; the other ones must say so."""

RAW = Path(os.environ.get("DIFFNUM_GOLDEN", HERE.parents[1] / "shared" / "golden"))
"""Folder of unpacked cases: these of the packed file, and further ones."""


def disagreement(case: Mapping[str, Any], found: Any = None) -> float:
    """Largest error of a replay in units of the tolerance: 1e-9 relative (1e-7 with step-size control)."""
    expected = np.array(case["x_0"])
    rtol = 1e-7 if "adaptive" in case["solver"] else 1e-9
    found = golden.replay(case) if found is None else found
    assert found.shape == expected.shape
    return float(np.max(np.abs(found - expected) / (rtol * np.abs(expected) + 0.01 * rtol * np.max(np.abs(expected)))))


def outcome(case: Mapping[str, Any]) -> str:
    """ "reproduced", "uncovered", or what went wrong."""
    try:
        error = disagreement(case)
    except NotImplementedError:
        return "uncovered"
    return "reproduced" if error <= 1 else f"{case['id']}: {error:.3g} times the tolerance"


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """Outcome of every packed case, by its identifier."""
    return {case["id"]: outcome(case) for case in CASES}


@pytest.mark.parametrize(("folder", "solver"), SOLVERS)
def test_replays_agree_with_the_recorded_final_states_unless_no_record_covers_them(
    folder: str, solver: str, outcomes: dict[str, str]
) -> None:
    found = [outcomes[case["id"]] for case in CASES if (case["folder"], case["solver"]) == (folder, solver)]
    wrong = set(found) - {"reproduced", "uncovered"}
    assert not wrong, "\n".join(sorted(wrong))


def test_the_catalogue_covers_as_many_cases_of_each_family_as_before(
    outcomes: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    total = Counter(case["folder"] for case in CASES)
    covered = Counter(case["folder"] for case in CASES if outcomes[case["id"]] == "reproduced")
    lines = [f"  {folder:<20} {covered[folder]:>4} of {total[folder]:>4}" for folder in sorted(total)]
    lines.append(f"  {'all':<20} {covered.total():>4} of {total.total():>4}")
    with capsys.disabled():
        sys.stdout.write("\n".join(["", "golden cases reproduced", *lines, ""]))
    assert set(total) == set(REPRODUCED)
    assert {folder for folder, count in REPRODUCED.items() if covered[folder] < count} == set()


def unpacked() -> Iterator[tuple[str, dict[str, Any]]]:
    """Cases of the raw folder that the packed file lacks."""
    known = {case["id"] for case in CASES}
    for file in sorted(RAW.glob("*/*.json")):
        case = json.loads(file.read_text(encoding="utf-8"))
        if case.get("format") == "golden-v1" and case["id"] not in known:
            yield file.name, case


@pytest.mark.skipif(not RAW.is_dir(), reason="no folder of raw cases (set DIFFNUM_GOLDEN)")
def test_further_cases_agree_too() -> None:
    found = {name: outcome(case) for name, case in unpacked()}
    assert set(found.values()) <= {"reproduced", "uncovered"}, found


@pytest.mark.skipif(not RAW.is_dir(), reason="no folder of raw cases (set DIFFNUM_GOLDEN)")
def test_packing_the_raw_cases_gives_the_file_that_ships(tmp_path: Path) -> None:
    golden.pack(RAW, tmp_path / "golden.json.gz")
    packed = {case["id"]: case for case in golden.load(tmp_path / "golden.json.gz")}
    assert all(packed.get(case["id"]) == case for case in CASES)


# -- negative controls -----------------------------------------------------------------------------------


def first(solver: str, /, **options: Any) -> dict[str, Any]:
    """The first case of a solver with these options."""
    return next(
        case
        for case in CASES
        if case["solver"].startswith(solver)
        and all(case["options"].get(name) == value for name, value in options.items())
    )


@pytest.mark.parametrize(
    ("solver", "options", "change"),
    [
        ("dpmsolver++/multistep", {"order": 3}, {"order": 2}),
        ("dpmsolver++/multistep", {"order": 2, "solver_type": "dpmsolver"}, {"solver_type": "taylor"}),
        ("dpmsolver++/multistep", {"order": 2, "steps": 5}, {"lower_order_final": False}),
        ("dpmsolver/multistep", {"order": 2}, {"algorithm_type": "dpmsolver++"}),
        ("dpmsolver/singlestep/", {"order": 3, "skip_type": "time_uniform"}, {"skip_type": "logSNR"}),
        ("dpmsolver/singlestep/", {"order": 2, "solver_type": "dpmsolver"}, {"solver_type": "taylor"}),
        ("unipc/vary_coeff/order2/corrector", {}, {"variant": "bh2"}),
        ("deis/rhork_3kutta", {}, {"rk_method": "3heun"}),
        ("hb/order1.8", {}, {"beta": 0.81}),
        ("unipc/bh1/order2/corrector", {}, {"variant": "bh2"}),
        ("unipc/bh2/order3/corrector", {}, {"use_corrector": False}),
        ("unipc/bh2/order3/corrector", {"lower_order_final": False}, {"lower_order_final": True}),
        ("deis/tab2", {"quadrature": "gl"}, {"ab_order": 3}),
        ("deis/rhoab2", {"quadrature": "gl"}, {"method": "t_ab"}),
        ("k-diffusion/lms", {"order": 3}, {"order": 2}),
        ("deis/tab2", {"quadrature": "riemann10000"}, {"quadrature": "gl"}),
        ("deis/rhoab2", {"quadrature": "riemann10000"}, {"quadrature": "gl"}),
        ("diff-sampler/deis", {"deis_mode": "tab", "max_order": 3}, {"deis_mode": "rhoab"}),
        ("edm/ablation", {"schedule": "ve", "solver": "heun"}, {"schedule": "linear"}),
        ("edm/ablation", {"schedule": "vp", "solver": "heun"}, {"scaling": "none"}),
        ("pndm/FON", {}, {"model_level": "abar[t]"}),
        ("diff-sampler/dpm_2", {"r": 0.7}, {"r": 0.5}),
        ("ghvb/order2.5", {}, {"order": 2.6}),
    ],
)
def test_a_neighbouring_method_does_not_pass(solver: str, options: Any, change: Any) -> None:
    case = first(solver, **options)
    assert disagreement(case) <= 1
    assert disagreement(case, golden.replay({**case, "options": {**case["options"], **change}})) > 1e3


def test_a_deviation_of_one_in_a_hundred_million_does_not_pass() -> None:
    case = first("unipc/bh2/order3/corrector")
    assert disagreement(case, golden.replay(case) * (1 + 1e-8)) > 1


def test_nothing_depends_on_the_name_of_a_case() -> None:
    for solver in ("edm/heun", "diff-sampler/heun", "dpmsolver/multistep/order2", "pndm/DDIM"):
        case = first(solver)
        nameless = {name: value for name, value in case.items() if name not in ("id", "folder", "source", "origin")}
        np.testing.assert_array_equal(golden.replay(nameless), golden.replay(case))


@pytest.mark.parametrize("option", ["eta", "S_churn", "guidance_scale"])
def test_options_that_change_what_is_solved_are_refused_where_they_are_not_zero(option: str) -> None:
    case = first("k-diffusion/euler")
    with pytest.raises(NotImplementedError, match=f"no record covers {option}=0.5"):
        golden.replay({**case, "options": {**case["options"], option: 0.5}})
    np.testing.assert_array_equal(
        golden.replay({**case, "options": {**case["options"], option: 0.0}}), golden.replay(case)
    )


def test_incomplete_cases_are_refused() -> None:
    case = first("deis/tab2")
    with pytest.raises(NotImplementedError, match="no record covers a case without, or with another, 'quadrature'"):
        golden.replay({**case, "options": {k: v for k, v in case["options"].items() if k != "quadrature"}})
    with pytest.raises(ValueError, match="case lacks time_grid, x_T"):
        golden.replay({k: v for k, v in case.items() if k not in ("time_grid", "x_T")})


def test_unknown_solvers_and_formats_are_refused() -> None:
    case = CASES[0]
    with pytest.raises(NotImplementedError, match=r"sorcery/order9 with options .* no record covers this solver"):
        golden.replay({**case, "solver": "sorcery/order9"})
    with pytest.raises(ValueError, match=r"format='golden-v0': pass a record of the format golden-v1"):
        golden.replay({**case, "format": "golden-v0"})


# -- the table of the book -------------------------------------------------------------------------------


def test_the_table_of_the_book_counts_these_cases_and_tells_the_deviations_of_the_records() -> None:
    found = json.loads((HERE.parent / "book/results/golden.json").read_text(encoding="utf-8"))
    assert {name: row["cases"] for name, row in found["families"].items()} == Counter(c["folder"] for c in CASES)
    assert all(row["reproduced"] == row["cases"] for row in found["families"].values())
    for row in found["formulas"]:
        record = dn.method(row["name"])
        assert (row["deviation"], row["corrected"]) == (record.deviation, record.corrected)
        assert row["orders"] == [record.order_on(kind) for kind in ("uniform", "smooth", "irregular")]
    page = (HERE.parent / "book/results/golden.md").read_text(encoding="utf-8")
    assert f"**{len(CASES)}** | **{len(CASES)}**" in page
    assert all(row["does"] in page for row in found["programs"])

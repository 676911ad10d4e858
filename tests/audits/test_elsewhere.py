"""Findings in code on record: the files are what their lines print, and their numbers are those that are meant."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytest.importorskip("torch")

from diffnum.audits.densities import COPIES, examined
from diffnum.audits.elsewhere import CODES, printed
from diffnum.audits.letters import CodeReport
from diffnum.audits.upstream import REPORTS
from diffnum.coefficients.catalogue import method, methods

FOLDER = Path(__file__).resolve().parents[2] / "book" / "results" / "upstream"
SLOW = {"ipndm-v-bracket", "unipc-vary", "dpm-solver-3m"}
PARTS = ("**What.** ", "**To see it.**", "**Proposed change.**", "**Earlier reports.** ", "**Reported?** To be filled")


def lines_of(text: str) -> tuple[str, str]:
    """The lines of a report, and what it says that they print."""
    block = text.partition("```python\n")[2].partition("\n```")[0].splitlines()
    last = next(i for i in range(len(block), 0, -1) if not block[i - 1].startswith("# "))
    return "\n".join(block[:last]), "\n".join(line.removeprefix("# ") for line in block[last:])


@pytest.mark.parametrize(
    "code", [pytest.param(c, id=c.stem, marks=[pytest.mark.slow] * (c.stem in SLOW)) for c in CODES]
)
def test_the_lines_of_a_report_on_code_print_what_it_says(code: CodeReport) -> None:
    snippet, said = lines_of((FOLDER / f"{code.stem}.md").read_text())
    assert ast.dump(ast.parse(snippet)) == ast.dump(ast.parse(code.snippet))
    assert printed(snippet).strip() == said


def test_a_report_whose_numbers_are_others_is_found_out() -> None:
    stork = next(c for c in CODES if c.stem == "stork-times")
    snippet, said = lines_of(stork.written("legendre 0.5000", {"diffnum": "0"}))
    assert printed(snippet).strip() != said


def test_every_report_has_all_its_parts_and_every_file_is_one() -> None:
    stems = {r.stem for r in REPORTS} | {c.stem for c in CODES}
    files = {path.stem: path.read_text() for path in FOLDER.glob("*.md")}
    assert set(files) == stems
    for stem, text in files.items():
        assert text.startswith("# "), stem
        assert "Versions: " in text.partition("**What.**")[0], stem
        places = [text.find(part) for part in PARTS]
        assert -1 not in places, stem
        assert places == sorted(places), stem


def test_every_density_that_is_none_has_a_report() -> None:
    wrong = [copy.source for copy in COPIES if not examined(copy).sound]
    assert wrong
    assert all(any(source in code.where for code in CODES) for source in wrong)


ORDERS = {
    "luping-liu/PNDM": "the weights of the paper",
    "sWizad/momentum-diffusion": "the weights of the paper",
}
"""Sources of methods of which nobody is told, with the reason."""


def test_every_method_on_record_that_falls_short_has_a_report_or_a_reason() -> None:
    found = set()
    for one in (method(name) for name in methods()):
        source = one.equation.partition(" at ")[0].rpartition(" ")[2]
        if one.corrected and one.order < one.claimed_order and "/" in source:
            told = any(source in code.where for code in CODES)
            assert told or source in ORDERS, one.name
            found.add(source)
    assert {"wl-zhao/UniPC", "LuChengTHU/dpm-solver", *ORDERS} <= found

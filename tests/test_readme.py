"""The README's promises: its snippets run, and the files it points to exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import diffnum as dn

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(text: str) -> list[str]:
    return FENCE.findall(text)


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run in a fresh interpreter, where nothing that another test has imported can help."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_readme_has_its_three_snippets() -> None:
    assert len(snippets(README)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("code", snippets(README), ids=lambda code: f"{code.count(chr(10))}-lines")
def test_a_snippet_of_the_readme_runs(code: str) -> None:
    if "galaxies/" in code and find_spec("galaxygrad") is None:
        pytest.skip("the galaxygrad wheel is absent: fetch it with `make models`")
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_a_broken_snippet_is_noticed() -> None:
    (code,) = snippets("text\n```python\nraise SystemExit(3)\n```\n")
    assert run(code).returncode == 3


def test_the_two_commands_come_before_any_other_code() -> None:
    first = re.search(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert first is not None
    assert [line.split("#")[0].strip() for line in first[1].splitlines()] == ["make demo", "make test"]


def test_files_that_the_readme_links_to_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_markers_of_the_generated_table_are_in_place() -> None:
    assert README.count("<!-- methods:begin -->") == README.count("<!-- methods:end -->") == 1
    assert README.index("<!-- methods:begin -->") < README.index("<!-- methods:end -->")


def test_the_table_is_that_of_the_certificates() -> None:
    from diffnum.certificates.page import markdown_table

    data = json.loads((ROOT / "book/results/certificates.json").read_text(encoding="utf-8"))
    begin, end = README.index("<!-- methods:begin -->"), README.index("<!-- methods:end -->")
    assert README[begin:end].split("-->", 1)[1].strip() == markdown_table(data["methods"])
    assert all(row["ok"] for row in data["methods"])
    assert [row["name"] for row in data["methods"]] == list(dn.methods())
    short = json.loads((ROOT / "book/results/methods.json").read_text(encoding="utf-8"))["methods"]
    assert all(row.items() >= few.items() for row, few in zip(data["methods"], short, strict=True))

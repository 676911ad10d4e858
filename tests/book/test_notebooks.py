"""A chapter that is taken away runs on its own, and reads as a notebook."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest

from tests.book.test_tools import BOOK, load

pytest.importorskip("sphinx", reason="Sphinx comes with the book: make book")
sys.path.insert(0, str(BOOK / "_ext"))
notebooks = load(BOOK / "_ext/notebooks.py")

CHAPTERS = sorted(
    path
    for path in BOOK.rglob("*.md")
    if not {"_build", "node_modules"} & set(path.parts) and "```{code-cell}" in path.read_text(encoding="utf-8")
)
MACROS = {"dd": r"\mathrm{d}", "norm": [r"\lVert #1 \rVert", 1]}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_nothing_of_the_site_is_left_in_the_text(path: Path) -> None:
    book = notebooks.notebook(path, MACROS)
    nbformat.validate(book)
    text = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    for line in text.splitlines():
        assert not notebooks.FENCE.match(line), line
        assert not notebooks.ROLE.search(line), line
        assert not notebooks.LABELLED.match(line), line
        assert not re.search(r"\{[a-z:]+\}`", line), line
    assert book.cells[0].source == r"$\newcommand{\dd}{\mathrm{d}}\newcommand{\norm}[1]{\lVert #1 \rVert}$"


def test_a_notebook_carries_the_files_that_its_code_names() -> None:
    assert set(notebooks.needed('json.loads((show.RESULTS / "guidance.json").read_text())')) == {
        "book/show.py",
        "book/results/guidance.json",
    }
    assert "book/results/compare-digits.json" in notebooks.needed('show.RESULTS / f"compare-{name}.json"')
    assert set(notebooks.needed("x = 1")) == {"book/show.py"}


def test_the_same_chapter_gives_the_same_notebook() -> None:
    path = BOOK / "foundations/schedules.md"
    assert nbformat.writes(notebooks.notebook(path, MACROS)) == nbformat.writes(notebooks.notebook(path, MACROS))


@pytest.mark.parametrize("name", ["start/ten_minutes", "fitted/learned_solvers"])
def test_a_chapter_runs_far_from_the_book(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("nbclient", reason="notebooks run with the book: make book")
    book = notebooks.notebook(BOOK / f"{name}.md", MACROS)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(BOOK.parent))  # the package, as if it were installed; not the book
    client.NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert not list(tmp_path.iterdir())

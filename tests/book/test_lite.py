"""What JupyterLite gets runs where there is no torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.book.test_tools import BOOK, load

pytest.importorskip("sphinx", reason="Sphinx comes with the book: make book")
client = pytest.importorskip("nbclient", reason="notebooks run with the book: make book")
lite = load(BOOK / "tools/lite.py")

CHOSEN = [name for name in lite.chapters() if lite.for_the_browser(name, {}) is not None]
ABSENT = ("torch", "diffusers", "transformers", "safetensors", "flint", "sklearn", "_multiprocessing")


def test_chapters_on_networks_and_the_reference_are_left_out() -> None:
    assert {"solvers/phi", "solvers/adams", "noise/discrete"} <= set(CHOSEN)
    assert not {"practice/models", "practice/interop", "fitted/found_grids"} & set(CHOSEN)
    assert not [name for name in CHOSEN if name.startswith("reference/")]


def test_a_notebook_for_the_browser_installs_the_package_first() -> None:
    book = lite.for_the_browser("solvers/phi", {})
    assert book is not None
    assert book.cells[0].source == lite.INSTALL


def test_a_chapter_runs_without_what_the_browser_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = lite.for_the_browser("solvers/phi", {})
    book.cells[0].source = f"import sys\nfor name in {ABSENT!r}:\n    sys.modules[name] = None"
    book.cells.append(lite.new_code_cell("import torch"))
    monkeypatch.setenv("PYTHONPATH", str(BOOK.parent))
    run = client.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}, allow_errors=True)
    run.execute()
    assert not [o for cell in book.cells for o in cell.get("outputs", []) if o.output_type == "error"]
    over = [c.source for c in book.cells if any("Passed over" in o.get("text", "") for o in c.get("outputs", []))]
    assert over == ["import torch"]

"""What JupyterLite gets runs where there is no torch."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.book.test_tools import BOOK, load

pytest.importorskip("sphinx", reason="Sphinx comes with the book: make book")
client = pytest.importorskip("nbclient", reason="notebooks run with the book: make book")
lite = load(BOOK / "tools/lite.py")
notebook = lite.notebook

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
    assert book.metadata["kernelspec"]["name"] == "python"


def needs(name: str) -> str:
    """What a chapter imports, in all its cells."""
    found = []
    for cell in notebook(BOOK / f"{name}.md", {}).cells:
        if cell.cell_type == "code":
            lines = "\n".join(line for line in cell.source.splitlines() if not line.startswith(("%", "!")))
            found += [ast.unparse(n) for n in ast.walk(ast.parse(lines)) if isinstance(n, ast.Import | ast.ImportFrom)]
    return "\n".join(one for one in dict.fromkeys(found) if "pass_over" not in one)


BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name}}")
sys.meta_path.insert(0, Blocked())
sys.path.insert(0, {book!r})
"""


def imports(program: str) -> subprocess.CompletedProcess[str]:
    """Run lines where there is no torch, and nothing else that the browser lacks."""
    lines = BLOCK.format(absent=ABSENT, book=str(BOOK)) + program
    return subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=False, cwd=BOOK.parent)


def test_what_the_chapters_import_is_there_without_torch() -> None:
    wanted = {name: needs(name) for name in CHOSEN}
    assert all("import diffnum" in lines for lines in wanted.values())
    done = imports("\n".join(dict.fromkeys("\n".join(wanted.values()).splitlines())))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "No module named torch" in imports("import torch").stderr


def test_the_wheel_for_the_browser_has_all_of_the_package_but_the_weights(tmp_path: Path) -> None:
    whole, out = tmp_path / "diffnum-1-py3-none-any.whl", tmp_path / "out"
    out.mkdir()
    record = "diffnum/a.py,sha256=1,1\ndiffnum/n/w.safetensors,sha256=2,9\ndiffnum-1.dist-info/RECORD,,\n"
    files = {"diffnum/a.py": "a", "diffnum/n/w.safetensors": "w" * 9, "diffnum-1.dist-info/RECORD": record}
    with zipfile.ZipFile(whole, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    with zipfile.ZipFile(lite.light(whole, out)) as made:
        assert made.namelist() == ["diffnum/a.py", "diffnum-1.dist-info/RECORD"]
        assert made.read("diffnum/a.py") == b"a"
        listed = made.read("diffnum-1.dist-info/RECORD").decode().splitlines()
        assert [line.split(",")[0] for line in listed] == made.namelist()


def test_a_site_that_lacks_a_wheel_is_told(tmp_path: Path) -> None:
    assert lite.absent(tmp_path) == ["diffnum"]
    (tmp_path / "pypi").mkdir()
    wheel = tmp_path / "pypi/diffnum-1-py3-none-any.whl"
    index = {"diffnum": {"releases": {"1": [{"filename": wheel.name}]}}}
    (tmp_path / "pypi/all.json").write_text(json.dumps(index), encoding="utf-8")
    assert lite.absent(tmp_path) == [str(wheel)]
    wheel.touch()
    assert lite.absent(tmp_path) == []


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

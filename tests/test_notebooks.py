"""The notebooks run: each cell of each, in a fresh kernel, on the small settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

jupytext = pytest.importorskip("jupytext", reason="the notebooks are stored as text, which Jupytext reads")
nbclient = pytest.importorskip("nbclient", reason="notebooks are executed with nbclient")
pytest.importorskip("ipykernel", reason="notebooks are executed in a kernel of their own")

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = ("galaxies", "guidance", "pipeline", "your_checkpoint")
NEEDS = {
    "galaxies": ("torch",),
    "guidance": ("torch",),
    "pipeline": ("diffusers", "transformers"),
    "your_checkpoint": ("diffusers",),
}
HEADER = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {name: python3, display_name: Python 3, language: python}
---
"""

# Jupyter's clients warn of each other's versions and of event loops.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*")]


def execute(text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a notebook from its text, in the folder of the notebooks and with this checkout's package."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("DIFFNUM_FULL", raising=False)
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel's own, which shows figures in the notebook
    notebook = jupytext.reads(text, fmt="md:myst")
    return nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_every_notebook_is_listed_here_and_in_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == sorted(["README", *NOTEBOOKS])
    assert all(f"- [{name}.md]({name}.md): " in readme for name in NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_from_the_first_cell_to_the_last(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in NEEDS[name]:
        pytest.importorskip(package)
    done = execute((FOLDER / f"{name}.md").read_text(encoding="utf-8"), monkeypatch)
    code = [cell for cell in done.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    shown = outputs(done)
    assert not [output for output in shown if output.output_type == "error" or output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in shown)


def test_a_cell_that_fails_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{HEADER}\n# Failing\n\n```{{code-cell}} python\nassert 1 + 1 == 3\n```\n"
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="AssertionError"):
        execute(text, monkeypatch)

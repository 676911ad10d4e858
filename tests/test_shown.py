"""What a notebook shows: pictures once, tables, formulas, and one short line of everything."""

from __future__ import annotations

import base64
import io
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.jobs.shown import MOST, facts_html, short, table_html
from tests.optional import optional

nbclient = optional("nbclient")
nbformat = optional("nbformat")
image = optional("PIL.Image")

CELLS = {
    "setup": """
import diffnum as dn, numpy as np
vp = dn.schedules.VPLinear()
study = dn.convergence_study("ddim", steps=(8, 16, 32, 64))
""",
    "study": "study",
    "plot": "study.plot()",
    "plot in passing": "ax = study.plot()\nax.set_title('mine');",
    "plot and show": "import matplotlib.pyplot as plt\nstudy.plot()\nplt.show()",
    "inline": "%matplotlib inline\nstudy.plot()",
    "two": "study.plot(), study.plot();",
    "own axes": "fig, ax = plt.subplots()\nstudy.plot(ax);",
    "plan": "dn.plan('dpmpp_2m', vp, dn.grids.uniform_half_log_snr(vp, 50))",
    "derivation": "dn.derive('dpmpp_2m')",
    "derivation with noise": "dn.derive('sde_dpmpp_2m')",
    "proof": "dn.prove('dpmpp_2m')",
    "analysis": "analysis = dn.analysis.analyse('dpmpp_2m', nfe=(5, 10))\nanalysis",
    "figure of an analysis": "from diffnum.plot.analysis import plot_analysis\nplot_analysis(analysis);",
    "ranking": "dn.analysis.rank(5)",
    "tokens": "dn.discrete.convergence_study('tau_leaping')",
    "model": "model = dn.load('toy/digits')\nmodel",
    "guided model": "dn.guidance.classifier_free(model.conditioned(4), 3.0)",
    "image grid": "from diffnum.plot import image_grid\nimage_grid(np.linspace(0, 1, 256).reshape(4, 8, 8), scale=3)",
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """For each cell the bundles of mime types that it shows, in order."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS.values()])
    folder = tmp_path_factory.mktemp("notebook")
    root = str(Path(__file__).resolve().parents[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
        patch.delenv("MPLBACKEND", raising=False)  # the kernel's own, which shows figures in the notebook
        client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
        client.execute()
    return {
        name: [output["data"] for output in cell["outputs"] if "data" in output]
        for name, cell in zip(CELLS, notebook.cells, strict=True)
    }


class _Words(HTMLParser):
    """Text of a page, by kind of element."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, _: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.cells.setdefault(self.open[-1], []).append(data)


def words(page: str) -> dict[str, list[str]]:
    found = _Words()
    found.feed(page)
    assert not found.open
    return found.cells


def pixels(png: str) -> np.ndarray[Any, Any]:
    return np.asarray(image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA"))


@pytest.mark.parametrize(
    ("cell", "pictures"),
    [
        ("plot", 1), ("plot in passing", 1), ("plot and show", 1), ("inline", 1), ("two", 2), ("own axes", 1),
        ("figure of an analysis", 1),
    ],
)  # fmt: skip
def test_a_figure_is_shown_once(shown: dict[str, list[dict[str, Any]]], cell: str, pictures: int) -> None:
    found = [data["image/png"] for data in shown[cell] if "image/png" in data]
    assert len(found) == pictures
    for png in found:
        drawn = pixels(png)
        assert min(drawn.shape[:2]) > 200
        assert len(np.unique(drawn.reshape(-1, 4), axis=0)) > 50  # something is drawn on it


@pytest.mark.parametrize(
    ("cell", "heads", "inside"),
    [
        ("study", ["problem", "grid", "part", "measure", "rate", "order"], ["three peaks", "uniform", "formula"]),
        ("plan", ["step", "from", "to", "rows"], ["and"]),
        ("proof", ["statement"], ["holds", "vanish"]),
        ("analysis", [], ["stability", "roots", "error constants", "Gaussian data"]),
        ("ranking", ["method", "best grid", "RMS log gain"], ["the limit"]),
        ("tokens", ["problem", "part", "order"], ["formula"]),
        ("model", [], ["parameters", "classes", "vp-linear"]),
        ("guided model", [], ["scale", "3"]),
    ],
)
def test_results_are_tables(
    shown: dict[str, list[dict[str, Any]]], cell: str, heads: list[str], inside: list[str]
) -> None:
    (data,) = shown[cell]
    found = words(data["text/html"])
    assert {*heads} <= {*found.get("th", [])}
    text = [*found["td"]]
    assert all(any(word in entry for entry in text) for word in inside), text


@pytest.mark.parametrize("cell", ["derivation", "derivation with noise"])
def test_a_derivation_is_a_formula(shown: dict[str, list[dict[str, Any]]], cell: str) -> None:
    (data,) = shown[cell]
    name = "dpmpp_2m" if cell == "derivation" else "sde_dpmpp_2m"
    assert data["text/latex"] == f"$$\n{dn.derive(name).latex()}\n$$"


def test_a_grid_of_images_is_a_picture(shown: dict[str, list[dict[str, Any]]]) -> None:
    (data,) = shown["image grid"]
    drawn = pixels(data["image/png"])
    assert drawn.shape == (2 * 24 + 1, 2 * 24 + 1, 4)
    assert drawn[0, 0, :3].tolist() == [0, 0, 0]
    assert drawn[-1, -1, :3].tolist() == [255, 255, 255]


def test_every_result_has_one_short_line(shown: dict[str, list[dict[str, Any]]]) -> None:
    for name in ("study", "plan", "derivation", "proof", "analysis", "ranking", "tokens", "model", "image grid"):
        (data,) = shown[name]
        line = data["text/plain"]
        assert len(line) <= 240, line
        assert "\n" not in line
    assert shown["study"][0]["text/plain"] == "ConvergenceStudy('ddim', measure='global', order=1, curves=18)"


def test_outside_of_notebooks_no_window_manager_knows_a_figure() -> None:
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    dn.convergence_study("ddim", steps=(8, 16, 32, 64)).plot()
    assert pyplot.get_fignums() == before


def test_long_tables_are_cut_and_say_so() -> None:
    found = words(table_html(("n",), ([i] for i in range(MOST + 5)), "a < b"))
    assert found["td"][-1] == "and 5 more"
    assert len([c for c in found["td"] if c.strip()]) == MOST + 1
    assert found["caption"] == ["a < b"]
    assert "and" not in table_html(("n",), ([i] for i in range(MOST)))


def test_texts_of_others_are_escaped() -> None:
    page = facts_html({"name": "<script>alert(1)</script>", "none": None, "number": 1 / 3})
    assert "<script>" not in page
    assert [c for c in words(page)["td"] if c.strip()] == ["name", "<script>alert(1)</script>", "number", "0.3333"]


def test_short_lines_leave_out_what_is_not_there() -> None:
    assert short("Plan", "ddim", steps=5, order=None, rate=1 / 3) == "Plan('ddim', steps=5, rate=0.333333)"

"""A chapter that is taken away runs on its own, and reads as a notebook."""

from __future__ import annotations

import ast
import json
import re
import sys
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from diffnum.jobs.extras import EXTRAS
from tests.book.test_tools import BOOK, load
from tests.test_extras_suffice import PROJECT, canonical, environment, needed

pytest.importorskip("sphinx", reason="Sphinx comes with the book: make book")
sys.path.insert(0, str(BOOK / "_ext"))
notebooks = load(BOOK / "_ext/notebooks.py")

CHAPTERS = sorted(
    path
    for path in BOOK.rglob("*.md")
    if not {"_build", "node_modules"} & set(path.parts) and "```{code-cell}" in path.read_text(encoding="utf-8")
)


@cache
def notebook(path: Path) -> Any:
    """Notebook of a chapter, made once."""
    return notebooks.notebook(path, MACROS)


MACROS = {"dd": r"\mathrm{d}", "norm": [r"\lVert #1 \rVert", 1]}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_nothing_of_the_site_is_left_in_the_text(path: Path) -> None:
    book = notebook(path)
    nbformat.validate(book)
    text = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    for line in text.splitlines():
        assert not notebooks.FENCE.match(line), line
        assert not notebooks.ROLE.search(line), line
        assert not notebooks.LABELLED.match(line), line
        assert not re.search(r"\{[a-z:]+\}`", line), line
    assert book.cells[0].source == r"$\newcommand{\dd}{\mathrm{d}}\newcommand{\norm}[1]{\lVert #1 \rVert}$"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_no_mark_of_a_quotation_stands_in_a_formula(path: Path) -> None:
    for cell in notebook(path).cells:
        if cell.cell_type == "markdown":
            quoted = [line for line in cell.source.splitlines() if line.startswith(">")]
            assert [line for line in quoted if line.count("$$") % 2] == []


def test_a_quoted_formula_has_one_line() -> None:
    body = ["It is", "", "$$", r"a = b \\\\", "+ c.", "$$ (label)", "", "So it is."]
    said = notebooks.plain(["```{prf:theorem} Sum", *body, "```"])
    assert r"> $$ a = b \\\\ + c. \tag{label} $$" in said
    assert said[-2] == "> So it is."


def test_a_notebook_carries_the_files_that_its_code_names() -> None:
    assert set(notebooks.needed('json.loads((show.RESULTS / "guidance.json").read_text())')) == {
        "book/pass_over.py",
        "book/show.py",
        "book/results/guidance.json",
    }
    assert "book/results/compare-digits.json" in notebooks.needed('show.RESULTS / f"compare-{name}.json"')
    assert "book/static/guidance-rules.png" in notebooks.needed('plt.imread(folder / f"static/guidance-{name}.png")')
    assert set(notebooks.needed("x = 1")) == {"book/pass_over.py", "book/show.py"}


FILE = re.compile(r"""["'/]([\w.{}-]+\.[a-z]{2,11})["']""")
"""A name of a file in code, of whatever kind."""


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_no_kind_of_file_that_a_chapter_names_is_left_behind(path: Path) -> None:
    code = "\n".join(re.findall(r"^```\{code-cell\}.*?^```$", path.read_text("utf-8"), re.DOTALL | re.MULTILINE))
    carried = {Path(name).name for name in notebooks.needed(code)}
    named = {re.sub(r"\{[^{}]*\}", "*", name) for name in FILE.findall(code)}
    assert {name for name in files_of_the_book() if any(fnmatch(name, pattern) for pattern in named)} <= carried


@cache
def files_of_the_book() -> frozenset[str]:
    """Names of the files that a chapter may read."""
    return frozenset(file.name for folder in notebooks.DATA for file in (BOOK.parent / folder).rglob("*.*"))


def test_the_same_chapter_gives_the_same_notebook() -> None:
    path = BOOK / "foundations/schedules.md"
    assert nbformat.writes(notebook(path)) == nbformat.writes(notebooks.notebook(path, MACROS))


def test_a_notebook_says_where_the_package_is_to_be_had() -> None:
    path = BOOK / "solvers/adams.md"
    told, untold = notebooks.notebook(path, MACROS, "https://a.org/b"), notebooks.notebook(path, MACROS)
    assert "pip install . in a clone of https://a.org/b. A cell" in told.cells[1].source
    assert "pip install . in a clone of its repository. A cell" in untold.cells[1].source


def test_plumbing_stays_folded_in_a_notebook() -> None:
    cells = notebook(BOOK / "few_steps/flow_maps.md").cells
    folded = [cell for cell in cells if cell.metadata]
    assert 0 < len(folded) < sum(cell.cell_type == "code" for cell in cells)
    assert all(cell.metadata == {"jupyter": {"source_hidden": True}} for cell in folded)


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


def imported(code: str) -> set[str]:
    """Packages that a program imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"diffnum", "figures", "pass_over", "show"}


@cache
def in_a_base_install() -> set[str]:
    """Packages, as they are imported, that the package asks for, and what every Jupyter kernel brings."""
    asked = {canonical(requirement.name) for requirement in needed(PROJECT["dependencies"])}
    asked |= {"ipython", "matplotlib-inline"}
    return {name for name, homes in packages_distributions().items() if asked & {canonical(home) for home in homes}}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_needs_a_base_install_or_passes_over_what_needs_more(path: Path) -> None:
    book = notebook(path)
    code = [cell.source for cell in book.cells if cell.cell_type == "code"]
    assert code[0].rstrip().endswith("pass_over.start()")
    assert set().union(*(imported(cell) for cell in code)) <= in_a_base_install() | set(EXTRAS)
    helpers = [name for name in notebooks.needed("\n".join(code)) if name.endswith(".py")]
    for name in helpers:  # which first cells import, on which everything stands
        assert imported((BOOK.parent / name).read_text(encoding="utf-8")) <= in_a_base_install(), name


def test_what_is_no_part_of_a_base_install_is_noticed() -> None:
    assert imported("import numpy\ndef f():\n    from torch import nn\nimport show, json") == {"numpy", "torch"}
    assert {"numpy", "matplotlib", "mpl_toolkits", "IPython"} <= in_a_base_install()
    assert not {"torch", "pandas", "tqdm", *EXTRAS} & in_a_base_install()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "over"), [("fitted/learned_solvers", False), ("practice/interop", True)])
def test_a_chapter_runs_on_a_base_install(
    name: str, over: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = pytest.importorskip("nbclient", reason="notebooks run with the book: make book")
    python = environment(tmp_path / "environment", ["ipykernel"])
    kernel = tmp_path / "jupyter/kernels/base"
    kernel.mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    told = {"argv": command, "display_name": "Base", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(told), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    book, empty = notebooks.notebook(BOOK / f"{name}.md", MACROS), tmp_path / "empty"
    empty.mkdir()
    client.NotebookClient(book, timeout=300, kernel_name="base", resources={"metadata": {"path": str(empty)}}).execute()
    shown = [o for cell in book.cells if cell.cell_type == "code" for o in cell.outputs]
    texts = "".join(o.get("text", "") for o in shown)
    assert [o for o in shown if o.get("name") == "stderr"] == []
    assert over == ("Passed over for want of torch" in texts)
    assert any("image/svg+xml" in o.get("data", {}) for o in shown)
    assert not list(empty.iterdir())


def linked(pagename: str) -> dict[str, Any]:
    """Context of a page after the extension has seen it."""
    menu = {"label": "download-buttons", "buttons": [{"text": ".md"}, {"text": ".pdf"}]}
    context: dict[str, Any] = {"body": "", "header_buttons": [menu]}
    env = SimpleNamespace(found_docs={pagename}, doc2path=lambda name: str(BOOK / f"{name}.md"))
    app: Any = SimpleNamespace(env=env, config=SimpleNamespace(root_doc="index"))
    notebooks.link(app, pagename, "page.html", context, None)
    return context


def test_a_page_names_its_notebook_at_its_end_and_first_among_its_downloads() -> None:
    chapter = linked("solvers/adams")
    assert '<a href="diffnum-adams.ipynb" download>' in chapter["body"]
    (menu,) = chapter["header_buttons"]
    assert [(b["text"], b.get("url")) for b in menu["buttons"]] == [
        (".ipynb", "diffnum-adams.ipynb"), (".md", None), (".pdf", None),
    ]  # fmt: skip
    for other in ("index", "reference/glossary"):  # the cover, and a page without code
        assert linked(other)["body"] == ""
    names = [notebooks.file_of(path.relative_to(BOOK).with_suffix("").as_posix()) for path in CHAPTERS]
    assert len(set(names)) == len(names)

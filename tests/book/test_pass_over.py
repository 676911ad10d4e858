"""Cells that need what is not installed are passed over, in one line each; every other cell and error is as ever."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.book.test_tools import BOOK, load

client = pytest.importorskip("nbclient", reason="notebooks run with the book: make book")
nbformat = pytest.importorskip("nbformat")

ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
for name in {names!r}:
    sys.modules.pop(name, None)
import importlib.util
look = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in {names!r} else look(name, *more)
"""

Run = Callable[..., list[Any]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Outputs of cells in a session that lacks torch and diffusers."""
    monkeypatch.setenv("PYTHONPATH", f"{BOOK.parent}:{BOOK}")

    def outputs(*sources: str, absent: tuple[str, ...] = ("torch", "diffusers")) -> list[Any]:
        head = ABSENT.format(names=absent) + "\nimport pass_over\npass_over.start()"
        cells = [nbformat.v4.new_code_cell(source) for source in (head, *sources)]
        book = nbformat.v4.new_notebook(cells=cells)
        client.NotebookClient(book, timeout=120, kernel_name="python3", allow_errors=True).execute()
        return [said(cell) for cell in book.cells[1:]]

    return outputs


def said(cell: Any) -> Any:
    """Text of a cell's outputs: what is printed, the value, or the name of the error."""
    found = [o.get("text") or o.get("ename") or o["data"].get("text/plain") for o in cell.outputs]
    assert len(found) <= 1, found
    return found[0].strip() if found else None


WANT = (
    "Passed over for want of torch: pip install '.[images]' in a clone of diffnum's repository brings it; "
    "restart the kernel then."
)


def test_a_cell_that_needs_what_is_absent_says_so_and_the_others_run(run: Run) -> None:
    found = run(
        "import math\nimport torch\nfrom diffusers import DDIMScheduler\n\nimport diffnum as dn\nkept = math.pi",
        "kept",  # imports at the head of a cell fail one by one
        "before = 1\nx = torch.zeros(3)\nafter = 2",
        "before",  # what stands above the failing line is there
        "after",  # and what stands below it is not
        "def f():\n    return torch.zeros(3)\n\n[f() for _ in range(2)]",
        "dn.load('toy/digits')",
        "DDIMScheduler()",
        "after = 3\nafter",
        "kept + 1",
    )
    diffusers = WANT.replace("torch", "diffusers").replace("images", "audit")
    assert found == [WANT, str(math.pi), WANT, "1", WANT, WANT, WANT, diffusers, "3", str(math.pi + 1)]


def test_what_a_cell_would_have_changed_is_not_shown_half_done(run: Run) -> None:
    found = run(
        "import matplotlib.pyplot as plt\nrows, losses, names = {}, [], [1]",
        "ax = plt.subplots()[1]\nlosses.append(1)\nfor n in (1, 2):\n    rows[n] = n\n    import torch",
        "rows",
        "losses",  # changed above the failing line
        "names",
    )
    assert found == [None, WANT, WANT, "[1]", "[1]"]  # and no figure of empty axes


def test_other_errors_are_raised_as_ever(run: Run) -> None:
    found = run("import torch", "1 / 0", "nowhere", "import no_such_module", "raise ImportError('torch')", "None", "1;")
    assert found == [WANT, "ZeroDivisionError", "NameError", "ModuleNotFoundError", "ImportError", None, None]


def test_where_nothing_is_absent_cells_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load(BOOK / "pass_over.py")

    class Shell:
        user_ns: dict[str, Any] = {}  # noqa: RUF012
        ast_transformers: list[Any] = []  # noqa: RUF012

    monkeypatch.setattr(module, "get_ipython", Shell)
    monkeypatch.setattr(module, "find_spec", lambda _: "there")
    module.start()
    assert not Shell.ast_transformers
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "torch" else "there")
    for _ in range(2):  # a first cell that is run again
        module.start()
    assert len(Shell.ast_transformers) == 1


@pytest.mark.parametrize(
    ("text", "bound", "changed"),
    [
        ("a = b = f(c)", {"a", "b"}, set()),
        ("for i, (j, k) in x:\n    y = i", {"i", "j", "k", "y"}, set()),
        ("def f(a):\n    inner = a", {"f"}, set()),
        ("class C:\n    inner = 1", {"C"}, set()),
        ("import a.b, c as d", {"a", "d"}, set()),
        ("z = [inner for inner in x]", {"z"}, set()),
        ("x[0].y = 1", set(), {"x"}),
        ("x.rows.append(y)", set(), {"x"}),
        ("math.seed(0)", set(), set()),  # a module stays
        ("f(x)", set(), set()),
    ],
)
def test_names_that_a_statement_binds_or_changes(text: str, bound: set[str], changed: set[str]) -> None:
    module: ModuleType = load(BOOK / "pass_over.py")
    (statement,) = ast.parse(text).body
    assert module.bound(statement) == bound
    assert module.changed(statement, {"math": math, "x": []}) == changed

"""Cells of several pages run at once, each once, and what fails is reported where its page is read."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from joblib.externals.loky import get_reusable_executor
from sphinx.application import Sphinx

from tests.book.test_tools import BOOK

PAGE = """\
---
file_format: mystnb
kernelspec:
  name: python3
---

# {name}

```{{code-cell}}
with open("{name}.runs", "a") as file:
    file.write("x")
{code}
```
"""

CONFIG = """\
extensions = ["myst_nb", "ahead"]
nb_execution_mode = "cache"
nb_execution_cache_path = {cache!r}
nb_execution_raise_on_error = True
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    get_reusable_executor().shutdown()  # processes of earlier tests do not know that path
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "conf.py").write_text(CONFIG.format(cache=str(tmp_path / "cache")))
    pages = {"index": "print(sum(range(10)))", "second": "import os\nprint(os.getcwd())"}
    for name, code in pages.items():
        (folder / f"{name}.md").write_text(PAGE.format(name=name, code=code))
    with (folder / "index.md").open("a") as index:
        index.write("\n```{toctree}\nsecond\n```\n")
    return folder


def build(site: Path) -> tuple[str, str]:
    """What Sphinx says, and what it complains of."""
    said, complaints = io.StringIO(), io.StringIO()
    places = [str(site), str(site), str(site.parent / "html"), str(site.parent / "doctrees")]
    Sphinx(*places, "html", status=said, warning=complaints).build()
    return said.getvalue(), complaints.getvalue()


def runs(site: Path) -> dict[str, int]:
    return {path.stem: len(path.read_text()) for path in site.glob("*.runs")}


def test_each_cell_runs_once_before_its_page_is_read_and_not_again_after_an_edit_of_the_text(site: Path) -> None:
    said, complaints = build(site)
    assert not complaints
    assert said.index("running cells... ") < said.index("reading sources... ")
    assert runs(site) == {"index": 1, "second": 1}
    assert "45" in (site.parent / "html/index.html").read_text()
    assert str(site) in (site.parent / "html/second.html").read_text()  # a cell runs where its page lies
    page = site / "second.md"
    page.write_text(page.read_text() + "\nOne more sentence.\n")
    assert "running cells" not in build(site)[0]
    assert runs(site) == {"index": 1, "second": 1}
    assert "One more sentence." in (site.parent / "html/second.html").read_text()


def test_a_cell_that_fails_is_reported_where_its_page_is_read(site: Path) -> None:
    page = site / "second.md"
    page.write_text(page.read_text().replace("import os", "import no_such_package"))
    from myst_nb.core.execute.base import ExecutionError

    with pytest.raises(ExecutionError, match=r"second\.md"):
        build(site)
    assert runs(site) == {"index": 1, "second": 2}
    page.write_text(page.read_text().replace("import no_such_package", "import os"))
    build(site)
    assert runs(site) == {"index": 1, "second": 3}

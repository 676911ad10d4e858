"""The chapters as a site that runs them in the browser: ``python book/tools/lite.py dist/diffnum-*.whl out/lite``.

JupyterLite holds the pages, the notebooks and the wheel of the package; Python for the browser, with numpy, scipy,
sympy and matplotlib, is fetched from its distribution when a notebook starts. There is no torch there, so that
chapters which need a network are left out.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat.v4 import new_code_cell

BOOK = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BOOK / "_ext"))

from notebooks import notebook  # noqa: E402

INSTALL = "%pip install -q diffnum"
ELSEWHERE = re.compile(
    r"\b(torch|diffusers|transformers|flint|subprocess|dn\.load|dn\.interop|diffnum\.(?:models|interop|audits|report))\b"
)
"""Words of code that does not run in the browser."""


def chapters() -> Iterator[str]:
    """Pages in the order of the contents, the reference left out."""
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    for part in toc["parts"]:
        yield from (chapter["file"] for chapter in part["chapters"] if not chapter["file"].startswith("reference/"))


def code(name: str) -> str:
    """All code of a chapter."""
    return "\n".join(
        re.findall(r"^```\{code-cell\}.*?^```$", (BOOK / f"{name}.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    )


def for_the_browser(name: str, macros: dict[str, Any]) -> nbformat.NotebookNode | None:
    """A chapter that installs the package first; None where it has no code, or needs what the browser lacks."""
    words = code(name)
    book = None if not words or ELSEWHERE.search(words) else notebook(BOOK / f"{name}.md", macros)
    if book is not None:
        book.cells.insert(0, new_code_cell(INSTALL, id="cell-install"))
    return book


def main(wheel: str, folder: str) -> None:
    """Write the notebooks, and let JupyterLite make the site."""
    config = yaml.safe_load((BOOK / "_config.yml").read_text(encoding="utf-8"))
    macros = config["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"]
    with tempfile.TemporaryDirectory() as contents:
        written = 0
        for name in chapters():
            book = for_the_browser(name, macros)
            if book is not None:
                written += 1
                nbformat.write(book, Path(contents) / f"{written:02d}-{Path(name).name}.ipynb")
        program = Path(sys.executable).with_name("jupyter-lite")
        site, package = Path(folder).resolve(), Path(wheel).resolve()
        told = ("--contents", contents, "--output-dir", site, "--piplite-wheels", package)
        subprocess.run([program, "build", *told], check=True, cwd=contents)
    print(f"{folder}: {written} chapters; python -m http.server -d {folder} serves it")


if __name__ == "__main__":
    main(*sys.argv[1:])

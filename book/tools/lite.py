"""The chapters as a site that runs them in the browser: ``python book/tools/lite.py dist/diffnum-*.whl out/lite``.

JupyterLite holds the pages, the notebooks and the wheel of the package, less its networks; Python for the browser, with
numpy, scipy, sympy and matplotlib, is fetched from its distribution when a notebook starts. There is no torch there, so
that chapters which need a network are left out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat.v4 import new_code_cell

BOOK = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BOOK / "_ext"))

from notebooks import notebook  # noqa: E402

KERNEL = {"name": "python", "display_name": "Python (Pyodide)", "language": "python"}
"""What the site calls its Python: a notebook that names it starts without a question."""

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
        book.metadata["kernelspec"] = KERNEL
    return book


def light(wheel: Path, folder: Path) -> Path:
    """The wheel without the weights of networks, which nothing in a browser reads and which are most of it."""
    made = folder / wheel.name
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as less:
        for one in whole.infolist():
            content = whole.read(one)
            if one.filename.endswith(".dist-info/RECORD"):
                kept = [line for line in content.decode().splitlines() if ".safetensors," not in line]
                content = "\n".join([*kept, ""]).encode()
            if not one.filename.endswith(".safetensors"):
                less.writestr(one, content)
    return made


def absent(site: Path) -> list[str]:
    """Wheels that a site promises and does not hold."""
    lists = [file for file in site.rglob("all.json") if file.parent.name == "pypi"]
    named = [
        file.parent / one["filename"]
        for file in lists
        for project in json.loads(file.read_text(encoding="utf-8")).values()
        for release in project["releases"].values()
        for one in release
    ]
    diffnum = any(file.name.startswith("diffnum-") for file in named)
    return [str(file) for file in named if not file.is_file()] + ["diffnum"] * (not diffnum)


def main(wheel: str, folder: str) -> None:
    """Write the notebooks, let JupyterLite make the site, and see that it holds what it promises."""
    config = yaml.safe_load((BOOK / "_config.yml").read_text(encoding="utf-8"))
    macros = config["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"]
    with tempfile.TemporaryDirectory() as contents, tempfile.TemporaryDirectory() as wheels:
        written = 0
        for name in chapters():
            book = for_the_browser(name, macros)
            if book is not None:
                written += 1
                nbformat.write(book, Path(contents) / f"{written:02d}-{Path(name).name}.ipynb")
        program = Path(sys.executable).with_name("jupyter-lite")
        site, package = Path(folder).resolve(), light(Path(wheel).resolve(), Path(wheels))
        told = ("--contents", contents, "--output-dir", site, "--piplite-wheels", package)
        subprocess.run([program, "build", *told], check=True, cwd=contents)
    if missing := absent(site):
        sys.exit(f"{folder} lacks {', '.join(missing)}")
    print(f"{folder}: {written} chapters; python -m http.server -d {folder} serves it")


if __name__ == "__main__":
    main(*sys.argv[1:])

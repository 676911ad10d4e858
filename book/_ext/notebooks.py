"""Sphinx extension: a chapter with code can be taken away as a notebook that needs the package, and not the book.

A notebook is the chapter's source, its directives and roles turned into plain Markdown, behind a cell that unpacks the
helpers and result files which the chapter reads, and lets cells that need more than the base install say so
(``pass_over.py``). It is written beside the page, which ends in a link to it and names it among its downloads.
"""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell
from package_source import source
from sphinx.application import Sphinx

BOOK = Path(__file__).resolve().parents[1]
DATA = ("book/results", "book/data", "book/static", "toy_models")
"""Folders of the repository from which chapters read small files."""

UNPACK = """\
# The helpers of the book and the result files that this chapter reads, in a folder that goes with the session.
# The package itself: pip install . in a clone of {clone}. A cell that needs more says so, and the others run.
import base64, io, sys, tempfile, zipfile

_folder = tempfile.TemporaryDirectory(prefix="diffnum-book-")
_packed = "{packed}"
zipfile.ZipFile(io.BytesIO(base64.b64decode(_packed))).extractall(_folder.name)
sys.path.insert(0, _folder.name + "/book")

import pass_over

pass_over.start()
"""

FENCE = re.compile(r"^(?P<fence>`{3,}|:{3,})\{(?P<name>[\w:-]+)\}[ ]*(?P<title>.*)$")
OPTION = re.compile(r"^:[\w-]+:")
ROLE = re.compile(r"\{(?P<name>[a-z:]+)\}`(?P<text>[^`]*)`")
LABELLED = re.compile(r"^\$\$[ ]*\((?P<label>[\w-]+)\)[ ]*$")
TARGET = re.compile(r"^\([\w-]+\)=$")


def _quoted(kind: str, title: str, body: list[str]) -> list[str]:
    """A block with a heading in bold, set off as Markdown can."""
    head = f"**{kind}**" + (f" ({title})" if title and kind else "")
    return [f"> {head}", ">", *(f"> {line}".rstrip() for line in _in_one_line(plain(body))), ""]


def _in_one_line(lines: Iterable[str]) -> list[str]:
    """Lines whose displayed formulas have a line each: notebooks would read the marks of a quotation into them."""
    return re.sub(r"^\$\$$.*?^\$\$$", lambda f: " ".join(f[0].split("\n")), "\n".join(lines), flags=re.M | re.S).split(
        "\n"
    )


def _titled(title: str, body: list[str]) -> list[str]:
    return _quoted(title, "", body)


def _code(title: str, body: list[str]) -> list[str]:  # noqa: ARG001
    return ["```python", source(title)[1], "```"]


def _bare(title: str, body: list[str]) -> list[str]:  # noqa: ARG001
    return plain(body)


def _nothing(title: str, body: list[str]) -> list[str]:  # noqa: ARG001
    return []


def _named(kind: str) -> Callable[[str, list[str]], list[str]]:
    return lambda title, body: _quoted(kind, title, body)


DIRECTIVES: Mapping[str, Callable[[str, list[str]], list[str]]] = {
    "admonition": _titled,
    "prf:theorem": _named("Theorem"),
    "prf:proof": _named("Proof"),
    "prf:definition": _named("Definition"),
    "prf:proposition": _named("Proposition"),
    "prf:observation": _named("Observation"),
    "prf:corollary": _named("Corollary"),
    "prf:lemma": _named("Lemma"),
    "prf:remark": _named("Remark"),
    "exercise": _named("Exercise"),
    "solution": lambda title, body: _quoted("Solution", "", body),  # noqa: ARG005
    "solution-start": lambda title, body: ["**Solution**", "", *plain(body)],  # noqa: ARG005
    "solution-end": _nothing,
    "package-source": _code,
    "in-a-clone": lambda title, body: ["```sh", *body, "```"],  # noqa: ARG005
    "playground": _bare,
    "glossary": _bare,
}
"""What becomes of a directive; others are left out, being links and pictures of the site."""


def _shown(role: re.Match[str]) -> str:
    """Text of a role: its own words, or what it points at."""
    words = re.fullmatch(r"(.*?)\s*<[^>]*>", role["text"], re.DOTALL)
    text = words[1] if words else role["text"]
    if role["name"].startswith("cite"):
        return f"[{text}]"
    return f"({text})" if role["name"] == "eq" else text


def plain(lines: Iterable[str]) -> list[str]:
    """Markdown that any notebook shows, from that of the book."""
    return list(_plain(iter(lines)))


def _plain(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        opening = FENCE.match(line)
        label = LABELLED.match(line)
        if opening:
            body = list(_until(lines, opening["fence"]))
            while body and OPTION.match(body[0]):
                body.pop(0)
            yield from DIRECTIVES.get(opening["name"], _nothing)(opening["title"], body)
        elif label:
            yield from (rf"\tag{{{label['label']}}}", "$$")
        elif not TARGET.match(line):
            yield ROLE.sub(_shown, line)


def _until(lines: Iterator[str], fence: str) -> Iterator[str]:
    """Lines of a block, up to the fence that closes it."""
    for line in lines:
        if line.rstrip() == fence:
            return
        yield line


def needed(code: str) -> dict[str, bytes]:
    """Files of the repository that a chapter's code names, helpers among them: path from the root -> content."""
    root = BOOK.parent
    modules = [BOOK / "pass_over.py", BOOK / "show.py"]
    modules += [
        BOOK / "figures" / f"{name}.py"
        for name in re.findall(r"figures\.(\w+)|from figures import (\w+)", code)
        for name in name
        if name
    ]
    text = code + "".join(file.read_text(encoding="utf-8") for file in modules)
    # an f-string's fields may hold anything
    names = {
        re.sub(r"\{[^{}]*\}", "*", name)
        for name in re.findall(r"""["'/]([\w.*{}-]+\.(?:json|csv|txt|png|safetensors))["']""", text)
    }
    files = [file for folder in DATA for file in sorted((root / folder).rglob("*")) if file.is_file()]
    wanted = [file for file in files if any(fnmatch(file.name, name) for name in names)]
    return {str(file.relative_to(root)): file.read_bytes() for file in [*modules, *wanted]}


def _packed(files: Mapping[str, bytes]) -> str:
    """The files as text; the same ones give the same text."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def notebook(path: Path, macros: Mapping[str, Any], repository: str = "its repository") -> nbformat.NotebookNode | None:
    """The chapter as a notebook, which says where the package is to be had; None if it has no code."""
    book = jupytext.read(path)
    code = "\n".join(cell.source for cell in book.cells if cell.cell_type == "code")
    if not code:
        return None
    newcommands = "".join(_newcommand(name, value) for name, value in macros.items())
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.metadata = nbformat.NotebookNode(_folded(cell.metadata.get("tags", [])))
        else:
            cell.source = "\n".join(plain(cell.source.splitlines())).strip()
    head = [new_markdown_cell(f"${newcommands}$")] if newcommands else []
    first = new_code_cell(
        UNPACK.format(packed=_packed(needed(code)), clone=repository), metadata={"jupyter": {"source_hidden": True}}
    )
    book.cells = [*head, first, *(cell for cell in book.cells if cell.source)]
    for number, cell in enumerate(book.cells):
        cell["id"] = f"cell-{number}"  # the same in every build
    return book


def _folded(tags: list[str]) -> dict[str, Any]:
    """What a notebook knows of a cell's tags: whether its source is folded."""
    return {"jupyter": {"source_hidden": True}} if "hide-input" in tags else {}


def _newcommand(name: str, value: Any) -> str:
    body, count = value if isinstance(value, list) else (value, 0)
    return rf"\newcommand{{\{name}}}" + (f"[{count}]" if count else "") + f"{{{body}}}"


def write(app: Sphinx, exception: Exception | None) -> None:
    """Write the notebooks beside the pages."""
    if exception is not None or app.builder.format != "html":
        return
    macros = app.config.mathjax3_config["tex"]["macros"]
    clone = app.config.html_theme_options.get("repository_url") or "its repository"
    for name in sorted(app.env.found_docs):
        book = notebook(Path(app.env.doc2path(name)), macros, clone) if _is_chapter(app, name) else None
        if book is not None:
            nbformat.write(book, (Path(app.outdir) / name).with_name(file_of(name)))


def _is_chapter(app: Sphinx, name: str) -> bool:
    """Whether a page has code, and is not the cover."""
    code = "```{code-cell}" in Path(app.env.doc2path(name)).read_text(encoding="utf-8")
    return code and name != app.config.root_doc


def file_of(name: str) -> str:
    """File of a page's notebook: it says among other downloads where it comes from."""
    return f"diffnum-{name.rsplit('/', 1)[-1]}.ipynb"


def link(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:  # noqa: ARG001
    """End the page of a chapter in a link to its notebook, and put it first among the theme's downloads."""
    if pagename in app.env.found_docs and _is_chapter(app, pagename) and "body" in context:
        file = file_of(pagename)
        downloads = [group for group in context.get("header_buttons", ()) if group["label"] == "download-buttons"]
        for group in downloads:
            entry = {"type": "link", "url": file, "text": ".ipynb", "icon": "fas fa-code"}
            entry |= {"tooltip": "Download notebook", "label": "download-notebook-button"}
            group["buttons"].insert(0, entry)
        context["body"] += (
            f'<p class="take-away"><a href="{file}" download>Take this chapter away as a notebook</a></p>'
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the notebooks when the pages are done."""
    app.connect("build-finished", write)
    app.connect("html-page-context", link, priority=502)  # after the theme's own buttons (501)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

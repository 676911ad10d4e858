"""The PDF of the book: pages in order, bookmarks, links that lead inside."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.book.test_tools import BOOK, load

pypdf = pytest.importorskip("pypdf", reason="pypdf comes with the book: make book")
annotations = pytest.importorskip("pypdf.annotations", reason="pypdf comes with the book: make book")
sys.path.insert(0, str(BOOK / "tools"))
binding = load(BOOK / "tools/pdf.py")


def sheet(title: str, link: str) -> bytes:
    """A PDF of one page, with a link."""
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.add_metadata({"/Title": f"{title} — the book"})
    writer.add_annotation(0, annotations.Link(rect=(0, 0, 50, 50), url=link))
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


def test_links_between_pages_lead_inside_and_others_stay(tmp_path: Path) -> None:
    parts = [("", ["index"]), ("Part", ["a", "b"])]
    pages = {
        "index": sheet("Front", (tmp_path / "b.html").as_uri() + "#there"),
        "a": sheet("Alpha", "https://example.org/"),
        "b": sheet("Beta", (tmp_path / "a.html").as_uri()),
    }
    stream = io.BytesIO()
    binding.bound(pages, parts, tmp_path).write(stream)
    book = pypdf.PdfReader(stream)
    links = [page["/Annots"][0].get_object() for page in book.pages]
    sheets = [page.indirect_reference.idnum for page in book.pages]
    assert links[0]["/Dest"][0].idnum == sheets[2]
    assert links[1]["/A"]["/URI"] == "https://example.org/"
    assert links[2]["/Dest"][0].idnum == sheets[1]
    front, part, (alpha, beta) = book.outline
    assert [front.title, part.title, alpha.title, beta.title] == ["Front", "Part", "Alpha", "Beta"]


def test_every_page_of_the_contents_is_printed_once() -> None:
    toc = {"root": "index", "parts": [{"caption": "One", "chapters": [{"file": "a"}, {"file": "b"}]}]}
    assert list(binding.chapters(toc)) == [("", ["index"]), ("One", ["a", "b"])]


def test_a_book_that_is_not_built_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "installed", lambda: "chromium")
    assert binding.main(tmp_path, tmp_path / "book.pdf") == 1
    assert "make book first" in capsys.readouterr().err

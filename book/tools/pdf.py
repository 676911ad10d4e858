"""The built book as one PDF: ``python book/tools/pdf.py book/_build/html book/_build/diffnum.pdf``.

Chromium prints the pages in the order of the contents, with bookmarks; links between pages lead inside the file.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from look import PAPER, chromium, installed
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, NullObject, NumberObject

TOC = Path(__file__).resolve().parents[1] / "_toc.yml"


def chapters(toc: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Captions of the parts, each with the names of its pages; the root stands alone, first."""
    yield "", [toc["root"]]
    for part in toc["parts"]:
        yield part["caption"], [chapter["file"] for chapter in part["chapters"]]


async def printed(html: Path, names: list[str], program: str) -> dict[str, bytes]:
    """Every page as a PDF of its own."""
    pages = {}
    async with chromium(program) as browser:
        for name in names:
            await browser.open(html / f"{name}.html", PAPER, media="print")
            pages[name] = await browser.pdf()
            print(f"printed {name}", file=sys.stderr)
    return pages


def bound(pages: Mapping[str, bytes], parts: list[tuple[str, list[str]]], html: Path) -> PdfWriter:
    """One file of all: bookmarks by part, links between pages turned inwards."""
    book = PdfWriter()
    first: dict[Path, int] = {}
    for caption, names in parts:
        above = None
        for name in names:
            reader = PdfReader(io.BytesIO(pages[name]))
            at = len(book.pages)
            first[(html / f"{name}.html").resolve()] = at
            for page in reader.pages:
                book.add_page(page)
            if caption and above is None:
                above = book.add_outline_item(title=caption, page_number=at)
            title = str((reader.metadata or {}).get("/Title") or name).split(" — ")[0]
            book.add_outline_item(title=title, page_number=at, parent=above)
    for page in book.pages:
        for reference in page.get("/Annots", ArrayObject()):
            _turn_inwards(reference.get_object(), first, book)
    return book


def _turn_inwards(annotation: DictionaryObject, first: Mapping[Path, int], book: PdfWriter) -> None:
    """Let a link to a page of the book lead to its first sheet."""
    action = annotation.get("/A")
    url = urlsplit(str(action.get_object().get("/URI", ""))) if action is not None else urlsplit("")
    target = first.get(Path(unquote(url.path))) if url.scheme == "file" else None
    if target is not None:
        del annotation["/A"]
        sheet = book.pages[target].indirect_reference
        assert sheet is not None
        place = [sheet, NameObject("/XYZ"), NullObject(), NullObject(), NumberObject(0)]
        annotation[NameObject("/Dest")] = ArrayObject(place)


def main(html: Path, out: Path) -> int:
    """Print, bind, write; exit status 2 without Chromium."""
    program = installed()
    if program is None:
        print("Chromium is not installed: install it, or print the pages with your own browser", file=sys.stderr)
        return 2
    parts = list(chapters(yaml.safe_load(TOC.read_text(encoding="utf-8"))))
    names = [name for _, group in parts for name in group]
    absent = [name for name in names if not (html / f"{name}.html").is_file()]
    if absent:
        print(f"{html} lacks {', '.join(absent)}: make book first", file=sys.stderr)
        return 1
    book = bound(asyncio.run(printed(html, names, program)), parts, html)
    book.write(out)
    print(f"{out}: {len(book.pages)} sheets")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

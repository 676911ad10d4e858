"""The book's own tools: code is included as it ships, and what is wrong with a built page is found."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_book_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def links() -> ModuleType:
    return load(BOOK / "tools/check_links.py")


def page(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"<html><body>{body}</body></html>", encoding="utf-8")


def test_a_sound_book_has_no_problems(links: ModuleType, tmp_path: Path) -> None:
    page(tmp_path, "a.html", '<h1 id="top">A</h1><a href="b.html#there">b</a><img src="i.png" alt="a picture">')
    page(tmp_path, "b.html", '<p id="there">B</p><a href="https://example.org">out</a>')
    (tmp_path / "i.png").write_bytes(b"")
    assert links.problems(tmp_path)[0] == []
    assert links.main(str(tmp_path)) == 0


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ('<a href="gone.html">x</a>', "missing file"),
        ('<a href="#gone">x</a>', "missing anchor"),
        ('<script src="https://cdn.example.org/x.js"></script>', "network asset"),
        ('<img src="a.html">', "without a text"),
    ],
)
def test_each_fault_of_a_page_is_found(links: ModuleType, tmp_path: Path, body: str, complaint: str) -> None:
    page(tmp_path, "a.html", body)
    found, pages, _ = links.problems(tmp_path)
    assert pages == 1
    assert [complaint in line for line in found] == [True]
    assert links.main(str(tmp_path)) == 1


def test_an_empty_folder_is_no_book(links: ModuleType, tmp_path: Path) -> None:
    assert links.main(str(tmp_path)) == 1


@pytest.fixture
def included() -> ModuleType:
    pytest.importorskip("sphinx", reason="Sphinx comes with the book: make book")
    return load(BOOK / "_ext/package_source.py")


def test_code_is_included_as_it_ships_with_one_line_of_its_docstring(included: ModuleType) -> None:
    file, code = included.source("diffnum.coefficients.adams.dpmpp_2m")
    shipped = file.read_text(encoding="utf-8")
    body = [line for line in code.splitlines() if '"""' not in line]
    assert body[0].startswith("def dpmpp_2m(")
    assert all(line in shipped for line in body)
    assert code.count('"""') == 2
    assert len(included.source("diffnum.coefficients.adams.dpmpp_2m", docstring=True)[1]) > len(code)


def test_constants_are_included_too(included: ModuleType) -> None:
    assert included.source("diffnum.decisions.RELAXATIONS")[1].startswith("RELAXATIONS")


@pytest.mark.parametrize("name", ["diffnum.coefficients.adams.no_such_thing", "no_such_package.f"])
def test_a_name_that_does_not_exist_is_an_error(included: ModuleType, name: str) -> None:
    with pytest.raises(LookupError):
        included.source(name)


def test_the_bibliography_has_no_key_twice_and_closes_every_entry() -> None:
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"^(?=@)", text, flags=re.MULTILINE) if entry.startswith("@")]
    assert len(entries) > 20
    keys = Counter(re.match(r"@\w+\{([^,]+),", entry)[1] for entry in entries)  # type: ignore[index]
    assert [key for key, count in keys.items() if count > 1] == []
    assert [entry[:40] for entry in entries if entry.count("{") != entry.count("}")] == []


def test_every_chapter_is_in_the_table_of_contents_and_no_other() -> None:
    listed = set(re.findall(r"- file: (\S+)", (BOOK / "_toc.yml").read_text(encoding="utf-8"))) | {"index"}
    parts = ("foundations", "solvers", "noise", "practice", "reference")
    written = {f"{part}/{file.stem}" for part in parts for file in (BOOK / part).glob("*.md")} | {"index"}
    assert listed == written


def test_no_chapter_is_an_empty_page() -> None:
    parts = ("foundations", "solvers", "noise", "practice")
    files = [file for part in parts for file in (BOOK / part).glob("*.md")]
    assert [file.name for file in files if len(file.read_text(encoding="utf-8")) < 2000] == []

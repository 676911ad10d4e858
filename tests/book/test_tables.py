"""Tables of the book as browsers show them: on a phone, to a screen reader, and shaded in the light and in the dark."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from tests.book.test_tools import BOOK, load

pytest.importorskip("matplotlib_inline", reason="the chapters' helpers come with the book: make book")
markdown_it = pytest.importorskip("markdown_it", reason="Markdown comes with the book: make book")
theme = pytest.importorskip("pydata_sphinx_theme", reason="the theme comes with the book: make book")
Image = pytest.importorskip("PIL.Image", reason="pictures are read with pillow")
look = load(BOOK / "tools/look.py")
pytestmark = pytest.mark.skipif(look.installed() is None, reason="Chromium is not installed")

WIDE, PHONE, _ = look.VIEWS
THEME = Path(theme.__file__).parent / "theme/pydata_sphinx_theme/static/styles"
STYLE = "\n".join(
    file.read_text("utf-8")
    for file in (*(THEME / f"{name}.css" for name in ("bootstrap", "pydata-sphinx-theme")), BOOK / "static/book.css")
)
SCRIPT = (BOOK / "static/tables.js").read_text("utf-8")

HEADS = ["sampler", "what it does", "where", "in which library"]
BODY = [
    [name, "A sentence that is longer than forty letters, and says what it does.", "`a_folder/a_file.py`", library]
    for name, library in (("first", "one"), ("second", "a scheduler with a long name and an option"))
]
COLUMNS = ["method", *(f"column {k}" for k in range(1, 10))]
NUMBERS = [[name, *(1.0 + k * offset for k in range(9))] for name, offset in (("first", 0.5), ("second", 0.25))]


@pytest.fixture
def show() -> Iterator[ModuleType]:
    with mpl.rc_context(), np.printoptions():  # what the module settles for chapters ends with the test
        yield load(BOOK / "show.py")


def html(table: Any) -> str:
    """A table as the book's pages hold it."""
    text = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render(table.data)
    text = re.sub(r"<(td|th)>(.*?)</\1>", r"<\1><p>\2</p></\1>", text)
    for even, row in enumerate(re.findall(r"<tr>", text)):
        text = text.replace(row, f'<tr class="row-{"odd" if even % 2 else "even"}">', 1)
    whole = text.replace("<table>", '<table class="table">')
    return f'<div class="pst-scrollable-table-container">{whole}</div>'


def page(folder: Path, *tables: str, script: str = SCRIPT, style: str = STYLE, dark: bool = False) -> Path:
    """A page with tables."""
    file = folder / "page.html"
    body = f'<div class="bd-content"><article class="bd-article">{"".join(tables)}</article></div>'
    head = "<meta charset=utf-8><meta name=viewport content='width=device-width'>"
    file.write_text(
        f'<!doctype html><html data-theme="{"dark" if dark else "light"}"><head>{head}<style>{style}</style>'
        f"<script>{script}</script></head><body>{body}</body></html>",
        encoding="utf-8",
    )
    return file


def in_chromium(file: Path, view: Any, *questions: str) -> list[Any]:
    """Values of expressions on a page, one after another."""

    async def run() -> list[Any]:
        async with look.chromium(look.installed()) as browser:
            await browser.open(file, view)
            return [json.loads(await browser.evaluate(f"JSON.stringify({one})")) for one in questions]

    return asyncio.run(asyncio.wait_for(run(), 60))


SIDEWAYS = (
    """[...document.querySelectorAll(".pst-scrollable-table-container")].map((e) => e.scrollWidth - e.clientWidth)"""
)
SEEN = """[...document.querySelectorAll("tbody tr")].map((row) => [...row.cells].map((cell) => cell.innerText))"""
KIND = """[...document.querySelectorAll("table")].map((table) => table.className)"""
PLACES = """[...document.querySelectorAll("tbody tr")].map((row) => [...row.cells].slice(1).map((cell) => {
  const [head, value] = [cell.querySelector("span.head"), cell.querySelector(":scope > p")].map((e) => {
    const one = document.createRange();
    one.selectNodeContents(e);
    return one.getBoundingClientRect();
  });
  return [value.top - head.top, value.left - head.left, value.right, head.width * head.height];
}))"""


def test_on_a_phone_each_cell_stands_behind_its_head_and_nothing_scrolls(show: ModuleType, tmp_path: Path) -> None:
    file = page(tmp_path, html(show.table(HEADS, BODY)), html(show.shaded(COLUMNS, NUMBERS)))
    sideways, seen, kinds, places = in_chromium(file, PHONE, SIDEWAYS, SEEN, KIND, PLACES)
    assert max(sideways) <= 0
    assert kinds == ["table stacked sentences", "table stacked numbers"]
    printed = [[re.sub("`", "", one) for one in row] for row in BODY] + [
        [row[0], *(f"{v:.3g}" for v in row[1:])] for row in NUMBERS
    ]
    for row, wanted, heads in zip(seen, printed, [HEADS, HEADS, COLUMNS, COLUMNS], strict=True):
        assert row[0].strip() == wanted[0]
        assert [one.split() for one in row[1:]] == [
            (head + " " + value).split() for head, value in zip(heads[1:], wanted[1:], strict=True)
        ]
    for below, beside, right, area in (cell for row in places for cell in row):
        assert below > 5 or beside > 20, "the head is above its value, or before it"
        assert right <= PHONE.width
        assert area > 50, "the head is to be seen"


def test_a_number_stays_on_one_line_where_a_solution_leaves_less_room(show: ModuleType, tmp_path: Path) -> None:
    rows = [["`a_method`", 0.000362, 0.00023, 0.000254, 8.15e-5, 0.000708, 0.00203, 0.75]]
    inside = f'<div style="width: 290px">{html(show.shaded(COLUMNS[:8], rows))}</div>'
    lines = """[...document.querySelectorAll(".shade")].map((value) => value.getClientRects().length)"""
    (kind,), seen = in_chromium(page(tmp_path, inside), PHONE, KIND, lines)
    assert kind == "table stacked numbers"
    assert seen == [1] * 7


def test_rows_that_begin_with_a_number_say_what_it_counts(show: ModuleType, tmp_path: Path) -> None:
    rows = [[5, *NUMBERS[0][1:]], ["1 / 2", *NUMBERS[0][1:]], ["2nd kind", *NUMBERS[0][1:]]]
    seen, kinds = in_chromium(page(tmp_path, html(show.shaded(COLUMNS, rows))), PHONE, SEEN, KIND)
    assert kinds == ["table stacked numbers"]
    assert [row[0].split() for row in seen] == [["method", "5"], ["method", "1", "/", "2"], ["2nd", "kind"]]


def test_without_the_script_they_would_scroll(show: ModuleType, tmp_path: Path) -> None:
    file = page(tmp_path, html(show.table(HEADS, BODY)), html(show.shaded(COLUMNS, NUMBERS)), script="")
    (sideways,) = in_chromium(file, PHONE, SIDEWAYS)
    assert min(sideways) > 50


def test_a_table_that_is_a_little_too_wide_is_set_smaller(show: ModuleType, tmp_path: Path) -> None:
    little = html(show.shaded(COLUMNS[:6], [row[:6] for row in NUMBERS]))
    ((before,),) = in_chromium(page(tmp_path, little, script=""), PHONE, SIDEWAYS)
    (after,), (kind,) = in_chromium(page(tmp_path, little), PHONE, SIDEWAYS, KIND)
    assert before > 0
    assert after <= 0
    assert kind == "table small"


def test_a_table_that_fits_and_every_table_on_a_wide_screen_stay_as_they_are(show: ModuleType, tmp_path: Path) -> None:
    tables = [html(show.table(HEADS, BODY)), html(show.shaded(COLUMNS, NUMBERS))]
    drawn = "document.querySelector('article').innerHTML"
    with_it, without = (
        in_chromium(page(tmp_path, *tables, script=script), WIDE, drawn, SEEN) for script in (SCRIPT, "")
    )
    assert re.sub(r' class="table ?"', "", with_it[0]) == re.sub(r' class="table"', "", without[0])
    assert with_it[1] == without[1]
    narrow = html(show.table(["a", "b"], [["c", 1]]))
    (kind,), (row,) = in_chromium(page(tmp_path, narrow), PHONE, KIND, SEEN)
    assert kind.strip() == "table"
    assert row == ["c", "1"]


def test_a_phone_that_is_turned_gets_its_table_back(show: ModuleType, tmp_path: Path) -> None:
    file = page(tmp_path, html(show.shaded(COLUMNS, NUMBERS)))

    async def turned() -> tuple[str, list[list[str]], str]:
        async with look.chromium(look.installed()) as browser:
            await browser.open(file, PHONE)
            await browser.picture(WIDE, 500)
            await browser.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            kind, seen = (
                await browser.evaluate(f"{KIND}[0]"),
                json.loads(await browser.evaluate(f"JSON.stringify({SEEN})")),
            )
            await browser.picture(PHONE, 500)
            await browser.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            return kind, seen, await browser.evaluate(f"{KIND}[0]")

    wide, seen, narrow = asyncio.run(asyncio.wait_for(turned(), 60))
    assert wide.strip() == "table"
    assert seen == [[row[0], *(f"{v:.3g}" for v in row[1:])] for row in NUMBERS]
    assert narrow == "table stacked numbers"


def test_what_is_folded_is_stacked_when_it_unfolds(show: ModuleType, tmp_path: Path) -> None:
    folded = "<style>details:not([open]) div { display: none }</style>"  # as browsers did before they kept the layout
    table = html(show.shaded(COLUMNS, NUMBERS))
    file = page(tmp_path, f"{folded}<details><summary>More</summary>{table}</details>")
    opened = """new Promise((done) => {
      const fold = document.querySelector("details");
      fold.addEventListener("toggle", () => requestAnimationFrame(done));
      fold.open = true;
    })"""

    async def run() -> tuple[str, str]:
        async with look.chromium(look.installed()) as browser:
            await browser.open(file, PHONE)
            before = await browser.evaluate(f"{KIND}[0]")
            await browser.evaluate(opened)
            return before, await browser.evaluate(f"{KIND}[0]")

    before, after = asyncio.run(asyncio.wait_for(run(), 60))
    assert before.strip() == "table"
    assert after == "table stacked numbers"


@pytest.mark.parametrize("view", [WIDE, PHONE], ids=["wide", "phone"])
def test_to_a_screen_reader_it_is_a_table_with_heads(show: ModuleType, tmp_path: Path, view: Any) -> None:
    file = page(tmp_path, html(show.table(HEADS, BODY)))

    async def tree() -> list[tuple[str, str]]:
        async with look.chromium(look.installed()) as browser:
            await browser.open(file, view)
            await browser.ask("Accessibility.enable")
            nodes = {n["nodeId"]: n for n in (await browser.ask("Accessibility.getFullAXTree"))["nodes"]}

            def words(node: dict[str, Any]) -> str:
                if node.get("role", {}).get("value") == "StaticText":
                    return str(node["name"]["value"])
                return " ".join(filter(None, (words(nodes[k]) for k in node.get("childIds", ()))))

            return [(n["role"]["value"], words(n)) for n in nodes.values() if not n["ignored"]]

    found = asyncio.run(asyncio.wait_for(tree(), 60))
    assert [role for role, _ in found].count("table") == 1
    assert [role for role, _ in found].count("row") == 3
    assert [words for role, words in found if role == "columnheader"] == HEADS
    cells = [" ".join(words.split()) for role, words in found if role in ("cell", "gridcell")]
    assert cells == [one.replace("`", "") for row in BODY for one in row], "a cell is read without its head"
    roles = "[...document.querySelectorAll('table, thead, tbody, tr, th, td')].map((e) => e.getAttribute('role'))"
    if view is PHONE:  # not every browser takes blocks for a table
        (said,) = in_chromium(file, view, roles)
        assert None not in said


# -- shades ------------------------------------------------------------------------------------------

PARTS = r'--shade: ([\d.]+)">(<b>)?'


def test_equal_values_are_equally_dark_and_gaps_are_not_shaded(show: ModuleType) -> None:
    values = [3.0, 1.0, None, 1.0, np.nan, 3.0, 2.0]
    rows = show.shaded(["", "x"], [[f"{k}", v] for k, v in enumerate(values)]).data.splitlines()[2:]
    found = [re.findall(PARTS, row) for row in rows]
    assert [len(one) for one in found] == [1, 1, 0, 1, 0, 1, 1]
    assert found[0] == found[5] == [("0.00", "")]
    assert found[1] == found[3] == [("1.00", "<b>")]
    assert 0 < float(found[6][0][0]) < 1
    assert [row.endswith("| – |") for row in rows] == [not one for one in found]


@pytest.mark.parametrize("best", ["least", "most", 1.0])
def test_shades_have_the_order_of_the_values(show: ModuleType, best: Any) -> None:
    values = np.random.default_rng(0).lognormal(sigma=2.0, size=40)
    rows = show.shaded(["", "x"], [["", v] for v in values], best=best).data.splitlines()[2:]
    dark = np.array([float(re.findall(PARTS, row)[0][0]) for row in rows])
    loss = {"least": values, "most": -values}.get(best, np.abs(values - 1.0))
    assert np.all(np.diff(dark[np.argsort(loss)]) <= 0)
    assert (dark.min(), dark.max()) == (0, 1)


def bold(table: Any) -> list[list[str]]:
    """Bold numbers of each row."""
    return [re.findall(r"<b>(.*?)</b>", row) for row in table.data.splitlines()[2:]]


def test_rows_of_one_kind_are_compared_with_each_other_only(show: ModuleType) -> None:
    body = [["a", 1.0], ["a", 2.0], ["b", 30.0], ["b", 40.0]]
    assert bold(show.shaded(["", "x"], body, within=0)) == [["1"], [], ["30"], []]
    assert bold(show.shaded(["", "x"], body)) == [["1"], [], [], []]


def test_each_column_has_its_own_best_and_only_those_that_are_named_are_compared(show: ModuleType) -> None:
    body = [["a", 1, 5.0, 0.5], ["b", 12345, 7.0, 0.9]]
    assert bold(show.shaded(["", "n", "x", "y"], body, best={1: "most", 3: 1.0})) == [[], ["12345", "0.9"]]


def test_what_is_written_alike_is_equally_dark(show: ModuleType) -> None:
    rows = show.shaded(["", "x"], [["", 1.0001], ["", 0.9996], ["", 2.0]], best=1.0).data.splitlines()[2:]
    assert [re.findall(PARTS, row) for row in rows] == [[("1.00", "<b>")], [("1.00", "<b>")], [("0.00", "")]]


def test_nothing_has_no_power_of_ten(show: ModuleType) -> None:
    assert show.table(["x"], [["0e+00"], ["2e-16"]]).data.splitlines()[2:] == ["| 0 |", "| 2·10⁻¹⁶ |"]


def test_text_between_numbers_is_neither_compared_nor_changed(show: ModuleType) -> None:
    table = show.shaded(["", "x", "y"], [["a", "0/0", 0.25], ["b", 2.0, 0.5]], over="rows", of=(1, 2), how=".0%")
    assert "| a | 0/0 |" in table.data
    assert bold(table) == [["25%"], ["50%"]]


def test_values_that_are_all_equal_are_all_best(show: ModuleType) -> None:
    rows = show.shaded(["", "x"], [["", 2.0]] * 3).data.splitlines()[2:]
    assert len({tuple(re.findall(PARTS, row)) for row in rows}) == 1
    assert re.findall(PARTS, rows[0])[0][1] == "<b>"


def luminance(colour: Any) -> float:
    """Of an sRGB colour, as the guidelines for accessible content define it."""
    part = np.asarray(colour[:3], dtype=float) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: Any, other: Any) -> float:
    """Of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


WRITING = """[...document.querySelectorAll(".shade")].flatMap((shade) => {
  const box = shade.closest("td").getBoundingClientRect();
  const of = (e) => [getComputedStyle(e).color.match(/[\\d.]+/g).map(Number), Number(getComputedStyle(e).opacity)];
  const head = shade.closest("td").querySelector("span.head");
  const ink = [shade.querySelector("b") || shade, ...(head && head.offsetWidth ? [head] : [])].map(of);
  return ink.map(([colour, opacity]) => [box.right - 2, box.bottom - 2, colour, opacity]);
})"""


def contrasts(file: Path, view: Any) -> list[float]:
    """Of all writing in shaded cells against the ground that is seen behind it."""

    async def run() -> list[float]:
        async with look.chromium(look.installed()) as browser:
            seen = await browser.open(file, view)
            png = await browser.picture(view, seen["height"])
            picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=float)
            found = []
            for x, y, colour, opacity in json.loads(await browser.evaluate(f"JSON.stringify({WRITING})")):
                ground = picture[int(y), int(x)]
                found.append(contrast(opacity * np.array(colour[:3]) + (1 - opacity) * ground, ground))
            return found

    return asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("view", [WIDE, PHONE], ids=["wide", "phone"])
def test_writing_is_read_on_every_shade(show: ModuleType, tmp_path: Path, view: Any, dark: bool) -> None:
    body = [["name", *(10.0 ** (k + row) for k in range(9))] for row in range(6)]
    table = html(show.shaded(COLUMNS, body, over="rows"))
    seen = contrasts(page(tmp_path, table, dark=dark), replace(view, dark=dark))
    assert len(seen) == 54 * (2 if view is PHONE else 1)
    assert min(seen) >= 4.5
    assert max(seen) > 1.2 * min(seen), "shades differ"
    strong = STYLE.replace("* 0.35)", "* 1.0)")
    assert strong != STYLE
    assert min(contrasts(page(tmp_path, table, dark=dark, style=strong), replace(view, dark=dark))) < 4.5

"""The book's own tools: code is included as it ships, and what is wrong with a built page is found."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import io
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import diffnum as dn

BOOK = Path(__file__).resolve().parents[2] / "book"
CONTENTS = re.findall(r"- file: (\S+)", (BOOK / "_toc.yml").read_text(encoding="utf-8"))
"""Pages in the order in which they are read."""


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


def program(code: str) -> str:
    """What Python reads in a definition, docstrings apart."""
    tree = ast.parse(code)
    for one in ast.walk(tree):
        if isinstance(one, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(one) is not None and len(one.body) > 1:
            del one.body[0]
    return ast.dump(tree)


INCLUDED = sorted(
    {
        one
        for name in CONTENTS
        for one in re.findall(r"\{package-source\} (\S+)", (BOOK / f"{name}.md").read_text("utf-8"))
    }
)


@pytest.mark.parametrize("name", INCLUDED)
def test_code_is_included_as_it_ships_without_docstrings_in_lines_that_fit(included: ModuleType, name: str) -> None:
    file, code = included.source(name)
    node = included.find(ast.parse(file.read_text(encoding="utf-8")), included.locate(name)[1])
    assert program(code) == program(ast.unparse(node))
    assert [line for line in code.splitlines() if len(line) > included.WIDTH] == []
    assert len(included.source(name, docstring=True)[1]) >= len(code)


def test_comments_and_messages_that_stick_out_are_laid_out(included: ModuleType) -> None:
    code = f"def f(n):\n    if n:  # {'why ' * 20}\n        msg = f'{{n}} {'is bad ' * 12}'\n        g(msg)\n"
    laid = included.fitted(code)
    assert max(map(len, laid.splitlines())) <= included.WIDTH
    assert program(laid) == program(code)
    assert laid.count("why") == 20


def test_constants_are_included_too(included: ModuleType) -> None:
    assert included.source("diffnum.calibration.decisions.RELAXATIONS")[1].startswith("RELAXATIONS")


@pytest.mark.parametrize("name", ["diffnum.coefficients.adams.no_such_thing", "no_such_package.f"])
def test_a_name_that_does_not_exist_is_an_error(included: ModuleType, name: str) -> None:
    with pytest.raises(LookupError):
        included.source(name)


def test_remarks_to_linters_are_left_out(included: ModuleType) -> None:
    assert "# noqa" in (BOOK.parent / "diffnum/calibration/decisions.py").read_text(encoding="utf-8")
    assert "# noqa" not in included.source("diffnum.calibration.decisions.RELAXATIONS")[1]


@pytest.fixture
def show() -> Iterator[ModuleType]:
    pytest.importorskip("matplotlib_inline", reason="the chapters' helpers come with the book: make book")
    with mpl.rc_context(), np.printoptions():  # what the module settles for chapters ends with the test
        yield load(BOOK / "show.py")


def test_tables_give_numbers_four_digits_and_signs_that_do_not_break(show: ModuleType) -> None:
    text = show.table(["a", "b"], [[-1.23456e-17, None], ["-0.0", "1 / 2 / 3"], ["a|b", -0.5]]).data
    assert text.splitlines()[2:] == [
        "| −1.235·10⁻¹⁷ | – |",
        "| 0.0 | 1\u00a0/\u00a02\u00a0/\u00a03 |",
        "| a\\|b | −0.5 |",
    ]


@pytest.mark.parametrize(
    ("claim", "shown"),
    [
        ("eta^2 = level**2/2", "eta² = level²/2"),
        ("eta^2 = level**2*(1 - s)/(2*s)", "eta² = level²·(1 - s)/(2·s)"),
        ("s_0 == s^12", r"s\_0 = s¹²"),
        ("x^(1/2)", "x^(1/2)"),
    ],
)
def test_claims_show_powers_and_products_as_print_has_them(show: ModuleType, claim: str, shown: str) -> None:
    assert show._claim(claim) == shown


def test_arrays_are_shown_as_lists_of_numbers_of_four_digits(show: ModuleType) -> None:
    assert show.numbers(np.array([1.59612, 2.0, -1e-9])) == "[1.596, 2, -1e-09]"
    assert show.numbers(np.array([1, 20])) == "[ 1, 20]"
    assert show.numbers(np.eye(2)) == "[[1., 0.],\n [0., 1.]]"


@pytest.mark.parametrize("holds", [False, [], [True, False], np.array([])])
def test_a_sentence_that_does_not_hold_is_not_printed(show: ModuleType, holds: object) -> None:
    assert show.claim([True], "It is {a}.", a=0.12345).data == "It is 0.123."
    with pytest.raises(ValueError, match="what does not hold: It is 3"):
        show.claim(holds, "It is {a}.", a=3)


@pytest.mark.parametrize(
    ("sentence", "printed"),
    [
        ("They agree to {a}.", "They agree to 9.4·10⁻⁵."),
        ("They agree to {a:.0e} ({a:.1f}).", "They agree to 9·10⁻⁵ (0.0)."),
        ("With $a = {a}$ and `{a}`.", r"With $a = 9.4 \cdot 10^{{-5}}$ and `9.4e-05`."),
        ("A run to 1e-3, from {b} to {c}, of unipc-3e.", "A run to 10⁻³, from −1.49 to 2·10⁶, of unipc-3e."),
    ],
)
def test_sentences_have_powers_of_ten_and_signs_as_they_are_printed(
    show: ModuleType, sentence: str, printed: str
) -> None:
    assert show.claim(True, sentence, a=9.4e-5, b=-1.49, c=2e6).data == printed.format()


@pytest.mark.parametrize(
    ("low", "high", "seen"),
    [(2e-5, 3e-4, ["2·10⁻⁵", "5·10⁻⁵", "10⁻⁴", "2·10⁻⁴"]), (0.9, 8.0, ["1", "2", "5"]), (1.2, 2.4, ["1.5", "2"])],
)
def test_short_logarithmic_axes_have_plain_numbers_on_both_sides(
    show: ModuleType, low: float, high: float, seen: list[str]
) -> None:
    ax = show.axes()
    ax.loglog([low, high], [low, high])
    ax.set(xlim=(low, high), ylim=(low, high))
    show.shown(ax)
    for axis in (ax.xaxis, ax.yaxis):
        assert [text.get_text() for text in axis.get_ticklabels()] == seen
        assert not list(axis.get_minorticklocs())


def test_columns_of_sentences_are_told_from_columns_of_formulas_and_code(show: ModuleType) -> None:
    words, formula, code = "word " * 9, f"${'x' * 50}$", f"`{'c' * 50}`"
    head = show.table(["words", "formula", "code"], [[words, formula, code]]).data.splitlines()[0]
    assert head == f"| words{show.STRUT} | formula | code |"


def shades(row: str) -> list[tuple[float, bool]]:
    """How dark the numbers of a row are, and which are bold."""
    found = re.findall(r'--shade: ([\d.]+)">(<b>)?', row)
    return [(float(part), bool(bold)) for part, bold in found]


def test_the_best_of_a_table_is_bold_and_darkest(show: ModuleType) -> None:
    body = [["a", 2, 1.0, 0.5], ["b", 1, 10.0, None], ["c", 3, 100.0, 2.0], ["d", 3, 1.0, 1.0]]
    rows = show.shaded(["", "order", "x", "y"], body).data.splitlines()[2:]
    assert [shades(row) for row in rows] == [
        [(1, True), (1, True)], [(0.5, False)], [(0, False), (0, False)], [(1, True), (0.5, False)],
    ]  # fmt: skip
    assert rows[1].endswith("| – |")
    most = show.shaded(["", "x", "y"], [["a", 1.0, 3.0], ["b", 5.0, 4.0]], best="most", over="rows").data
    assert [shades(row) for row in most.splitlines()[2:]] == [[(0, False), (1, True)], [(1, True), (0, False)]]
    near = show.shaded(["x"], [[0.5], [0.9], [3.0]], best=1.0).data
    assert [bold for row in near.splitlines()[2:] for _, bold in shades(row)] == [False, True, False]


def test_marks_of_a_dot_plot_stand_at_their_lines_and_differ_without_colour(show: ModuleType) -> None:
    figure = show.dots(
        {"a": {"claimed": [3], "found": [1, 2]}, "b": {"claimed": [2]}}, ["claimed", "found"], joined=True
    )
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first line is the upper one"
    drawn = {line.get_label(): sorted(zip(*line.get_data(), strict=True)) for line in ax.get_lines()}
    assert drawn["claimed"] == [(2, 1), (3, 0)]
    assert drawn["found"] == [(1, 0), (2, 0)]
    assert [list(line.get_xdata()) for line in ax.get_lines()[:2]] == [[1, 3], [2, 2]], "bars from least to largest"
    shapes = [(mark["marker"], mark.get("mfc")) for mark in show.MARKS]
    assert len(set(shapes)) == len(shapes)
    above = show.dots({"a": {"fails": [1]}}, ["fails"], columns=["formula", "last step"]).axes[0]
    assert [text.get_text() for text in above.get_xticklabels()] == ["formula", "last step"]


def test_long_integers_of_the_formula_sheet_are_rounded_and_said_to_be() -> None:
    sheet = load(BOOK / "figures/formulas.py")
    assert sheet.rounded(r"\frac{11801055207080500000 u_{1}}{24}") == (r"\frac{1.180106 \cdot 10^{19} u_{1}}{24}", True)
    assert sheet.rounded("123456789012 u_{1}") == ("123456789012 u_{1}", False)
    assert "are rounded here" in sheet.entry(dn.method("stork_2"))
    entries = [sheet.entry(dn.method(name)) for name in ("flow_heun", "dpmpp_3m")]
    assert not any("rounded" in one or ".." in one for one in entries)


def test_long_weights_of_the_formula_sheet_have_a_line_a_summand_and_are_the_same() -> None:
    sheet = load(BOOK / "figures/formulas.py")
    for name in ("eab_4", "unipc_3_bh2", "ghvb_2.8_variable", "dpm_solver_3", "ddim"):
        before = sheet.broken(sheet.rounded(dn.derive(name).latex())[0], width=sheet.WIDTH)
        after = sheet.narrow(before)
        assert after.count(r"\Bigl(") == after.count(r"\Bigr)")
        assert after.count(r"\left(") == after.count(r"\right)")
        whole = after.replace(sheet.NEXT + r"\quad ", " ").replace(r"\Bigl(", r"\left(").replace(r"\Bigr)", r"\right)")
        assert whole == before
        assert max(map(len, after.split(r"\\"))) <= sheet.FOLDED or after == before
    weight = r"\left(" + " + ".join(["1234567890"] * 20) + r" - \frac{a - b}{\left(c + d\right)}\right) D_{n}"
    assert sheet.narrow(weight).count(sheet.NEXT) == 20, "neither fractions nor inner brackets are broken"


def test_only_what_can_be_pasted_of_another_name_is_set_as_code() -> None:
    sheet = load(BOOK / "figures/formulas.py")
    assert sheet.alias("ComfyUI", "ddim, euler") == "`ddim`, `euler`"
    assert sheet.alias("papers", "UniP of the same order, but 2") == "UniP of the same order, but 2"
    start = sheet.alias("diffusers", "PNDMScheduler(skip_prk_steps=True), up to its start; IPNDMScheduler")
    assert start == "`PNDMScheduler(skip_prk_steps=True)`, up to its start; `IPNDMScheduler`"


def test_rows_and_columns_of_images_have_names(show: ModuleType) -> None:
    html = show.images(np.zeros((6, 2, 2)), 3, alt="six", rows=["one", "two"], heads=["x", "y", "z"]).data
    assert re.findall(r"<p>(\w+)</p>", html) == ["one", "two"]
    assert re.findall(r"<span>(\w)</span>", html) == ["x", "y", "z"]
    assert re.findall(r'alt="(\w*)"', html) == ["six", "two"]
    with pytest.raises(ValueError, match="6 pictures are no 2 rows of 4"):
        show.images(np.zeros((6, 2, 2)), 4, alt="six", rows=["one", "two"])


def long_lines(chapter: str) -> list[str]:
    """Lines of code that a page cuts off, unless the reader has to unfold them."""
    cells = re.findall(r"^```\{code-cell\} python\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)
    shown = [cell for cell in cells if not re.search(r"^:?tags: .*(hide|remove)-(input|cell)", cell, re.MULTILINE)]
    return [line for cell in shown for line in re.sub(r"^---\n.*?^---\n", "", cell, flags=re.M | re.S).splitlines()
            if len(line) > 76]  # fmt: skip


def test_code_in_chapters_fits_a_page() -> None:
    files = [BOOK / f"{name}.md" for name in ("index", *CONTENTS)]
    assert {f.name: lines for f in files if (lines := long_lines(f.read_text(encoding="utf-8")))} == {}
    assert long_lines(f"```{{code-cell}} python\n---\nmystnb: {{}}\n---\n{'x' * 77}\n```\n") == ["x" * 77]


CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SOLUTION = re.compile(r"^(`{3,})\{solution-start\}.*?\{solution-end\}\n\1$", re.DOTALL | re.MULTILINE)


def open_plumbing(chapter: str) -> list[str]:
    """First lines of cells that are longer than twelve lines and not folded; solutions are folded as a whole."""
    found = []
    for text in CELL.findall(SOLUTION.sub("", chapter)):
        head, _, body = text.rpartition("\n---\n") if text.startswith("---\n") else ("", "", text)
        code = [line for line in body.strip("\n").split("\n") if not line.startswith(":")]
        folded = re.search(r"tags:.*\b(hide|remove)-(input|cell)", head + body)
        if len(code) > 12 and not folded:
            found.append(code[0])
    return found


def test_plumbing_is_folded() -> None:
    long = "show.axes()\n" * 13
    assert open_plumbing(f"```{{code-cell}} python\n{long}```\n") == ["show.axes()"]
    cell = f"```{{code-cell}} python\n{long}```\n"
    assert open_plumbing(cell.replace("python", "python\n:tags: [hide-input]")) == []
    assert open_plumbing(f"```{{solution-start}} ex\n```\n{cell}```{{solution-end}}\n```\n") == []
    chapters = [f for f in BOOK.rglob("*.md") if not {"_build", "node_modules"} & set(f.parts)]
    assert {f.name: found for f in chapters if (found := open_plumbing(f.read_text(encoding="utf-8")))} == {}


def slips(page: str) -> list[str]:
    """Fences that stand for text, which turn what follows into code, and cells that print a traceback with paths."""
    return re.findall(r"^[^\s`>|:-][^\n`]*```\{[^\n]*|^.*raises-exception.*$", page, re.MULTILINE)


def test_no_fence_is_broken_and_no_traceback_is_shown() -> None:
    assert slips("#```{playground} ddim\n") == ["#```{playground} ddim"]
    assert slips("```{code-cell} python\n:tags: [raises-exception]\n") == [":tags: [raises-exception]"]
    assert {name: found for name in CONTENTS if (found := slips((BOOK / f"{name}.md").read_text("utf-8")))} == {}


@pytest.fixture
def look() -> ModuleType:
    pytest.importorskip("tornado", reason="the connection to the browser comes with the book: make book")
    return load(BOOK / "tools/look.py")


@pytest.fixture
def figures() -> ModuleType:
    return load(BOOK / "tools/check_figures.py")


SVG = '<svg viewBox="0 0 400 300"><text style="font: 8px sans"><tspan style="font-size: 5px">-1</tspan></text></svg>'


@pytest.mark.parametrize(("width", "size"), [(400.0, 8.0), (200.0, 4.0)])
def test_writing_in_figures_is_measured_as_it_is_shown(figures: ModuleType, width: float, size: float) -> None:
    assert figures.smallest_writing(SVG, width) == size


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ({"color": "#d9622b"}, ["one and two"]),
        ({"color": "#d9622b", "ls": "--"}, []),
        ({"color": "#d9622b", "marker": "s"}, []),
        ({"color": "#d9622b", "mfc": "none"}, []),
        ({"color": "#d9622b", "lw": 3}, []),
        ({"color": "#000000"}, []),
    ],
)
def test_entries_of_a_legend_that_are_alike_in_grey_are_told(
    figures: ModuleType, show: ModuleType, second: dict[str, Any], told: list[str]
) -> None:
    ax = show.axes()
    ax.plot([0, 1], [0, 1], color="#2f7fc1", marker="o", label="one")
    ax.plot([0, 1], [1, 0], **{"marker": "o", "label": "two"} | second)
    ax.legend()
    file = io.StringIO()
    show.shown(ax).savefig(file, format="svg")
    assert figures.alike_in_grey(file.getvalue()) == told


def test_hatches_tell_bars_apart_in_grey(figures: ModuleType, show: ModuleType) -> None:
    for second, told in (("//", ["one and two"]), ("..", [])):
        ax = show.axes()
        ax.bar([0], [1], color="#2f7fc1", hatch="//", label="one")
        ax.bar([1], [1], color="#d9622b", hatch=second, label="two")
        ax.legend()
        file = io.StringIO()
        show.shown(ax).savefig(file, format="svg")
        assert figures.alike_in_grey(file.getvalue()) == told


def test_looks_for_curves_that_are_no_methods_are_told_apart_in_grey(figures: ModuleType, show: ModuleType) -> None:
    ax = show.axes()
    for k, one in enumerate(show.LOOKS):
        ax.plot([0, 1], [k, k], color=one.color, ls=one.dash, label=f"dash {k}")
        ax.plot([0, 1], [k, k], color=one.color, ls="", marker=one.marker, label=f"marker {k}")
    ax.legend()
    file = io.StringIO()
    show.shown(ax).savefig(file, format="svg")
    assert figures.alike_in_grey(file.getvalue()) == []
    assert figures.lightness("#ffffff") == pytest.approx(100.0)
    assert figures.lightness("#000000") == 0.0
    assert figures.lightness("#777777") == pytest.approx(50.0, abs=0.5)


@pytest.mark.parametrize(
    ("curve", "place", "told"),
    [
        ([0, 1], "upper left", []),
        ([0, 1], "lower right", []),
        ([0, 1], "center", ["one (1)"]),
        ([1, 0], "upper left", ["one (1)"]),
        ([0, 1], "outside", []),
    ],
)
@pytest.mark.parametrize("frame", [True, False])
@pytest.mark.parametrize("second", ["two", "$x^2$ of two"])
def test_a_legend_that_lies_on_a_curve_is_told(
    figures: ModuleType, show: ModuleType, curve: list[float], place: str, told: list[str], frame: bool, second: str
) -> None:
    ax = show.axes()
    ax.plot([0, 1], curve, label="one")
    ax.plot([0, 1], [0.5, 0.5], ls="none", marker="o", label=second)
    where = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)} if place == "outside" else {"loc": place}
    ax.legend(frameon=frame, **where)
    file = io.StringIO()
    show.shown(ax).savefig(file, format="svg")
    assert figures.legends_on_curves(file.getvalue()) == told


def test_the_figures_of_a_site_are_checked_as_a_whole(
    figures: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "_images").mkdir()
    assert figures.main(str(tmp_path)) == 1  # a site without figures is not this book
    assert capsys.readouterr().out == "0 figures, 0 problems\n"
    body = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 358 300"><text style="font: {}px sans">a</text></svg>'
    file = tmp_path / "_images/one.svg"
    file.write_text(body.format(8))
    assert figures.main(str(tmp_path)) == 0
    file.write_text(body.format(7))
    assert figures.main(str(tmp_path)) == 1
    assert "one.svg: writing of 7.0 px on a phone" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "told"), [("$f'$", 1), ("f′", 0), ("$\\alpha_1$", 0)])
def test_signs_that_browsers_show_as_others_are_told(
    figures: ModuleType, show: ModuleType, words: str, told: int
) -> None:
    ax = show.axes()
    ax.set_title(words)
    file = io.StringIO()
    show.shown(ax).savefig(file, format="svg")
    assert len(list(figures.unreadable(file.getvalue()))) == told


def test_each_fault_that_a_browser_measures_is_told(look: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "small figure.svg").write_text(SVG, encoding="utf-8")
    image = (tmp_path / "small figure.svg").as_uri()
    sound = {"sideways": 0, "outside": [], "cut": [], "lost": [], "empty": [], "images": [[image, 400.0]]}
    assert look.complaints(sound) == []
    faults = {"sideways": 3, "images": [[image, 200.0]]} | {name: ["p"] for name in ("outside", "cut", "lost", "empty")}
    for name, value in faults.items():
        assert len(look.complaints(sound | {name: value})) == 1, name


def test_a_page_that_scrolls_sideways_is_found_in_a_browser(look: ModuleType, tmp_path: Path) -> None:
    if not any(map(shutil.which, look.PROGRAMS)):
        pytest.skip("Chromium is not installed")
    page(tmp_path, "sound.html", "<article><p>Words</p></article>")
    page(tmp_path, "wide.html", '<article><div style="width: 900px"><p>Words</p></div></article>')
    assert asyncio.run(look.run(tmp_path, tmp_path / "out", ["sound"])) == 0
    assert asyncio.run(look.run(tmp_path, tmp_path / "out", ["wide"])) == 1
    assert (tmp_path / "out/wide.narrow.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out/wide.pdf").read_bytes().startswith(b"%PDF")


def test_the_bibliography_has_no_key_twice_and_closes_every_entry() -> None:
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"^(?=@)", text, flags=re.MULTILINE) if entry.startswith("@")]
    assert len(entries) > 20
    keys = Counter(re.match(r"@\w+\{([^,]+),", entry)[1] for entry in entries)  # type: ignore[index]
    assert [key for key, count in keys.items() if count > 1] == []
    assert [entry[:40] for entry in entries if entry.count("{") != entry.count("}")] == []


def test_every_chapter_is_in_the_table_of_contents_and_no_other() -> None:
    pages = [file.relative_to(BOOK).with_suffix("") for file in (*BOOK.glob("*.md"), *BOOK.glob("*/*.md"))]
    written = {str(page) for page in pages if page.parts[0] not in {"_build", "node_modules", "results"}}
    assert {*CONTENTS, "index"} == written


def test_a_part_is_a_folder() -> None:
    parts = re.split(r"- caption: ", (BOOK / "_toc.yml").read_text(encoding="utf-8"))[1:]
    folders = [{name.split("/")[0] for name in re.findall(r"- file: (\S+)", part)} for part in parts]
    assert [len(names) for names in folders] == [1] * len(parts)
    assert len(set.union(*folders)) == len(parts)


def wanting(pages: Mapping[str, str]) -> list[tuple[str, str]]:
    """Chapters, in the order of the pages, that need one which does not stand before them, with its label."""
    label = re.compile(r"^\(([\w-]+)\)=$", re.MULTILINE)
    homes = {found: name for name, page in pages.items() for found in label.findall(page)}
    rank = {name: place for place, name in enumerate(pages)}
    found = []
    for name, page in pages.items():
        need = re.search(r"\*\*You need\*\*(.*?)(?:\n\n|\*\*You get)", page, re.DOTALL)
        labels = re.findall(r"\{ref\}`(?:[^`<]*<)?([\w-]+)>?`", need[1]) if need else []
        found += [(name, one) for one in labels if rank[homes[one]] >= rank[name]]
    return found


def test_what_a_chapter_needs_stands_before_it() -> None:
    pages = {name: (BOOK / f"{name}.md").read_text(encoding="utf-8") for name in CONTENTS}
    assert wanting(pages) == []
    first, second = "(one)=\n# One\n", "(two)=\n# Two\n**You need** {ref}`the first <one>`.\n\n**You get**"
    assert wanting({"a": first, "b": second}) == []
    assert wanting({"b": second, "a": first}) == [("b", "one")]


ALIASES = {"strong_study", "weak_study", "law_study", "monte_carlo_study", "expectation_study"}
"""Other names of ``convergence_study(measure=...)``, kept for one version."""


def test_every_function_and_class_of_the_face_is_on_the_page_of_the_api() -> None:
    page = (BOOK / "reference/api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\.\. auto(?:function|class):: diffnum\.(\w+)$", page, re.MULTILINE))
    assert {name for name in dn.__all__ if callable(getattr(dn, name))} - ALIASES <= shown


def test_no_chapter_is_an_empty_page() -> None:
    files = [BOOK / f"{name}.md" for name in CONTENTS if not name.startswith("reference/")]
    assert [file.name for file in files if len(file.read_text(encoding="utf-8")) < 2000] == []

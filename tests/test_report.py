"""The report: one self-contained, accessible page whose statements follow from what was found."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

import diffnum as dn
from diffnum.certificates.orders import contradictions
from diffnum.convergence.rate import RateEstimate, estimate_rate
from diffnum.report import MethodSection, ModelSection, Report, _render, build_report, examine
from diffnum.report.prose import broken, to_mathml

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements of a page, with a check that every one is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def section() -> MethodSection:
    return examine("dpmpp_2m", quick=True)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small report on two methods and the digits, made in this process."""
    path = tmp_path_factory.mktemp("report") / "deeper" / "report.html"
    done: list[tuple[int, int, str]] = []
    report = build_report(
        path, ["ddim", "dpmpp_2m"], ["toy/digits"], jobs=1, quick=True, progress=lambda *call: done.append(call)
    )
    assert report.ok
    assert not report.undecided
    assert [call[:2] for call in done] == [(1, 3), (2, 3), (3, 3)]
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_parses_and_closes_what_it_opens(page: Page) -> None:
    assert not page.open
    assert page.all("html")[0]["lang"] == "en"


def test_the_page_needs_nothing_from_outside(text: str, page: Page) -> None:
    for _, attrs in page.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attrs.get(name) or ""
            assert not re.match(r"(https?:)?//", value), value
            assert value.startswith(("data:", "#", "")), value
    assert not page.all("script")
    assert not page.all("link")
    assert not re.search(r"url\((?!#)|@import", text)


def test_formulas_are_mathml(text: str, page: Page) -> None:
    assert len(page.all("math")) > 4
    assert "<mtable" in text
    assert "\\frac" not in text
    assert "<mi>&</mi>" not in text


def test_pictures_and_plots_say_what_they_show(page: Page) -> None:
    images, plots = page.all("img"), page.all("svg")
    assert len(images) == 5 * 4
    assert all("error" in (i["alt"] or "") or "converged" in (i["alt"] or "") for i in images)
    assert all(i["src"] is not None and i["src"].startswith("data:image/png;base64,") for i in images)
    assert len(plots) == 3
    assert all(p["role"] == "img" and len(p["aria-label"] or "") > 20 for p in plots)


def test_identifiers_are_unique_and_links_lead_somewhere(page: Page) -> None:
    ids = [attrs["id"] for _, attrs in page.elements if attrs.get("id")]
    assert len(ids) == len(set(ids))
    assert {a["href"] for a in page.all("a")} <= {f"#{i}" for i in ids}


def test_headings_do_not_skip_levels(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def test_the_page_names_what_was_run(text: str) -> None:
    for expected in (f"diffnum {dn.__version__}", "numpy ", "seed", "quick look", "toy/digits", "dpmpp_2m"):
        assert expected in text
    assert str(Path.home()) not in text
    assert "/tmp/" not in text


def test_it_adapts_to_dark_screens_and_narrow_ones(text: str) -> None:
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_a_section_states_what_was_found(section: MethodSection) -> None:
    assert section.proof_ok
    assert section.proved == "2"
    assert set(section.measured.values()) == {"2"}
    assert section.shipped == "2"
    assert section.verdict == "as claimed"
    assert section.nfe_per_step == 1
    assert all(ok for ok, _, _ in section.identities)


def test_a_failed_proof_and_a_contradiction_reach_the_summary(section: MethodSection, tmp_path: Path) -> None:
    bad = replace(section, proof_ok=False, contradictions=("dpmpp_2m: measured 1.00 on uniform grids, recorded 2",))
    report = Report(tmp_path / "r.html", (bad,), ())
    assert not report.ok
    assert len(report.failures) == 2
    rendered = _render(report, quick=False)
    assert "0 of 1 methods are proved" in rendered
    assert "measured 1.00 on uniform grids" in rendered


@dataclass(frozen=True)
class Measured:
    problem: str
    grid: str
    estimate: RateEstimate


def measured(problem: str, order: float, grid: str = "uniform") -> Measured:
    steps = (20, 40, 80, 160, 320)
    return Measured(problem, grid, estimate_rate(steps, [float(n) ** -order for n in steps]))


@pytest.mark.parametrize(
    ("orders", "contradicted"),
    [((2, 2), False), ((1, 2), True), ((2, 3), False), ((3, 3), True)],
    ids=["as recorded", "lower on one problem", "higher on one problem", "higher on all"],
)
def test_a_record_is_contradicted_by_a_lower_rate_or_by_higher_ones_throughout(
    orders: tuple[int, int], contradicted: bool
) -> None:
    series = [measured(name, order) for name, order in zip("ab", orders, strict=True)]
    assert bool(list(contradictions(dn.method("dpmpp_2m"), series))) is contradicted


def test_what_is_undecided_is_said_and_is_no_failure(section: MethodSection, tmp_path: Path) -> None:
    report = Report(tmp_path / "r.html", (replace(section, undecided=("dpmpp_2m on smooth grids (x)",)),), ())
    assert report.ok
    assert "undecided remain: dpmpp_2m on smooth grids (x)" in _render(report, quick=False)


def test_an_absent_network_is_named_with_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: MethodSection
) -> None:
    from diffnum import report as module
    from diffnum.models.loading import galaxies

    monkeypatch.setattr(galaxies, "find_bytes", lambda *_: None)
    monkeypatch.setattr(module, "examine", lambda *_, **__: section)
    report = build_report(tmp_path / "r.html", ["dpmpp_2m"], ["galaxies/hsc-32"], jobs=1)
    assert report.ok
    assert "galaxygrad" in report.models[0].missing
    assert "This network was not sampled." in report.path.read_text(encoding="utf-8")


def test_what_others_wrote_is_escaped(section: MethodSection, tmp_path: Path) -> None:
    section = replace(section, summary="<script>alert(1)</script>")
    rendered = _render(Report(tmp_path / "r.html", (section,), (ModelSection("x", missing="<b>"),)), quick=False)
    assert "<script>" not in rendered
    assert "&lt;b&gt;" in rendered


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["nope"]}, "method='nope' is unknown"),
        ({"models": ["toy/nope"]}, "model='toy/nope' is unknown"),
        ({"jobs": 0}, "jobs=0"),
    ],
)
def test_bad_input_is_named_before_any_work(arguments: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        build_report(tmp_path / "r.html", **arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_long_formulas_break_between_evaluations() -> None:
    latex = dn.derive("eab_3").latex()
    lines = broken(latex)
    assert lines.count(r"\\ &") == 3
    assert to_mathml(lines).count("<mtr>") == 4
    assert broken(dn.derive("ddim").latex()) == dn.derive("ddim").latex()


@pytest.mark.slow
def test_processes_find_what_one_process_finds(tmp_path: Path) -> None:
    one = build_report(tmp_path / "one.html", ["ddim", "dpmpp_2m"], [], jobs=1, quick=True)
    two = build_report(tmp_path / "two.html", ["ddim", "dpmpp_2m"], [], jobs=2, quick=True)
    assert one.methods == two.methods
    assert one.path.read_text(encoding="utf-8") == two.path.read_text(encoding="utf-8")

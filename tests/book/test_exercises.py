"""What a chapter gives its reader to do and to see: graded exercises, each with a solution, and figures with words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="the contents are read with what comes with the book: make book")

BOOK = Path(__file__).resolve().parents[2] / "book"

LEAST = 8
"""Exercises that a chapter has at least."""

FIGURES = 80
"""Figures that the book has at least."""

EXERCISE = re.compile(
    r"^`{3,}\{(?P<kind>(?:exercise|solution)(?:-start)?)\} ?(?P<title>[^\n]*)\n(?P<options>(?::[^\n]*\n)*)",
    re.MULTILINE,
)
GRADES = ("by hand", "by computer", "project")


def chapters() -> dict[str, Path]:
    """Pages of the numbered parts, by name."""
    contents = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    pages = [page["file"] for part in contents["parts"] if part.get("numbered") for page in part["chapters"]]
    return {Path(page).name: BOOK / f"{page}.md" for page in pages}


def exercises(page: str) -> dict[str, str]:
    """Labels of the exercises of a page, and their titles, which say how they are to be solved."""
    found = {}
    for one in EXERCISE.finditer(page):
        label = re.search(r":label: (\S+)", one["options"])
        if one["kind"].startswith("exercise") and label:
            found[label[1]] = one["title"]
    return found


def solutions(page: str) -> list[str]:
    """Labels of the exercises that a page solves."""
    return [one["title"].strip() for one in EXERCISE.finditer(page) if one["kind"].startswith("solution")]


def without(page: str) -> list[str]:
    """Grades that no exercise of a page has; one has two if it says so: *by hand, then by computer*."""
    titles = " ".join(exercises(page).values()).lower()
    return [grade for grade in GRADES if grade not in titles]


def too_few(pages: Mapping[str, str]) -> list[str]:
    """Chapters that have too few exercises."""
    return sorted(name for name, page in pages.items() if len(exercises(page)) < LEAST)


def figures(page: str) -> list[tuple[str, str, str]]:
    """Name, caption and description of the figures that cells of a page draw."""
    found = []
    for head in re.findall(r"^```\{code-cell\}[^\n]*\n---\n(.*?)^---$", page, re.MULTILINE | re.DOTALL):
        told = yaml.safe_load(head).get("mystnb", {})
        if figure := told.get("figure"):
            found.append((figure.get("name", ""), figure.get("caption", ""), told.get("image", {}).get("alt", "")))
    return found


PAGES = {name: path.read_text(encoding="utf-8") for name, path in chapters().items()}


def test_a_chapter_has_at_least_eight_exercises() -> None:
    assert len(PAGES) > 30
    assert too_few(PAGES) == []


@pytest.mark.parametrize("name", PAGES)
def test_every_exercise_is_graded_and_solved_once(name: str) -> None:
    asked = exercises(PAGES[name])
    assert sorted(solutions(PAGES[name])) == sorted(asked)
    assert {label: title for label, title in asked.items() if not title.lower().startswith(GRADES)} == {}


def checked(page: str) -> set[str]:
    """Exercises of a page whose solution has a cell that asserts something."""
    ends = r"\n`{3,}\{solution-end\}|\n`{3,}\{exercise|\n## |\Z"
    found = re.findall(rf"^`{{3,}}\{{solution-start\}} (\S+)(.*?)(?={ends})", page, re.MULTILINE | re.DOTALL)
    return {label for label, told in found if re.search(r"^ *assert |show\.claim\(", told, re.MULTILINE)}


def test_what_the_teaching_guide_names_is_checked_by_a_cell() -> None:
    named = set(
        re.findall(r"\{ref\}`([\w-]+-ex-[\w-]+)`", (BOOK / "reference/teaching.md").read_text(encoding="utf-8"))
    )
    assert len(named) > 5
    assert named - set().union(*(checked(page) for page in PAGES.values())) == set()


def test_a_solution_in_words_alone_checks_nothing() -> None:
    page = "```{solution-start} a\n```\n\nWords.\n\n```{solution-end}\n```\n\n```{code-cell} python\nassert x\n```\n"
    assert checked(page) == set()
    assert checked(page.replace("Words.", "```{code-cell} python\nassert x\n```")) == {"a"}


@pytest.mark.parametrize("name", PAGES)
def test_a_chapter_has_exercises_of_every_grade(name: str) -> None:
    assert without(PAGES[name]) == []


def test_a_grade_that_is_wanting_is_found() -> None:
    assert without(page_of(2)) == ["by computer", "project"]
    both = page_of(1).replace("By hand", "By hand, then by computer")
    assert without(both) == ["project"]
    assert without(f"{both}\nA project.\n") == ["project"]
    assert without(page_of(1).replace("By hand", "By computer, a small project")) == ["by hand"]


def wordless(page: str) -> list[str]:
    """Labels of the solutions that end in a cell which prints no sentence."""
    found = []
    for label, body in re.findall(r"\{solution-start\} (\S+)\n(.*?)```\{solution-end\}", page, re.DOTALL):
        last = body.rstrip().split("```")
        if not last[-1].strip() and "show.claim" not in last[-2]:
            found.append(label)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_every_solution_ends_with_words(name: str) -> None:
    assert wordless(PAGES[name]) == []


def test_a_solution_that_ends_with_a_number_is_found() -> None:
    def page(code: str, words: str = "") -> str:
        cell = f"```{{code-cell}} python\n{code}\n```\n"
        return f"```{{solution-start}} ex\n:class: dropdown\n```\n\n{cell}\n{words}```{{solution-end}}\n```\n"

    assert wordless(page("1")) == ["ex"]
    assert wordless(page("1", "So it is one.\n")) == []
    assert wordless(page('show.claim(True, "One.")')) == []


def page_of(count: int) -> str:
    return "\n".join(
        f"```{{exercise}} By hand\n:label: ex-{i}\nWhy?\n```\n```{{solution}} ex-{i}\n:class: dropdown\nSo.\n```"
        for i in range(count)
    )


def test_a_chapter_that_is_short_is_found() -> None:
    assert too_few({"full": page_of(8), "short": page_of(7), "empty": ""}) == ["empty", "short"]


def test_an_exercise_without_its_solution_is_found() -> None:
    page = page_of(2).replace("{solution} ex-1", "{note} ex-1")
    assert list(exercises(page)) == ["ex-0", "ex-1"]
    assert solutions(page) == ["ex-0"]


def test_the_book_has_at_least_eighty_figures_each_with_a_name_a_caption_and_a_description() -> None:
    drawn = [
        figure for path in BOOK.rglob("*.md") if not {"_build", "node_modules", "results"} & set(path.parts)
        for figure in figures(path.read_text(encoding="utf-8"))
    ]  # fmt: skip
    assert len(drawn) >= FIGURES
    assert [name for name, caption, told in drawn if not (name and len(caption) > 20 and len(told) > 20)] == []
    names = [name for name, _, _ in drawn]
    assert sorted(names) == sorted(set(names))


def test_a_figure_without_a_description_is_found() -> None:
    head = "mystnb:\n  figure:\n    caption: |\n      What is drawn.\n    name: fig-a\n"
    cell = f"```{{code-cell}} python\n---\n{head}---\n1\n```\n"
    assert figures(cell) == [("fig-a", "What is drawn.\n", "")]


def unseen(page: str) -> list[str]:
    """Colours in cells that vanish, or glare, on a dark page: black, white areas and the lightest greys."""
    cells = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [found for cell in cells for found in re.findall(r'"k[-.:o]+"|color="(?:k|black|white|0\.[89]\d*)"', cell)]


ON_ITS_OWN_GROUND = frozenset({"parallel", "discrete", "audits", "decisions", "momentum"})
"""Chapters that write on coloured tiles, or whose light grey is a thin guide."""


@pytest.mark.parametrize("name", sorted(set(PAGES) - ON_ITS_OWN_GROUND))
def test_no_figure_draws_in_a_colour_that_a_dark_page_hides(name: str) -> None:
    assert unseen(PAGES[name]) == []


def test_black_lines_are_found() -> None:
    assert unseen('```{code-cell} python\nax.plot(x, y, "k-")\nax.bar(x, y, color="0.9")\n```\n') == [
        '"k-"',
        'color="0.9"',
    ]

"""The index of symbols finds what formulas hold, and every symbol of the notation is used."""

from __future__ import annotations

import re

import pytest

from tests.book.test_tools import BOOK, load

pytest.importorskip("sphinx", reason="Sphinx comes with the book: make book")
symbols = load(BOOK / "_ext/symbols.py")


@pytest.mark.parametrize(
    ("symbol", "formula", "there"),
    [
        ("x_0", r"\alpha x_{0} + \sigma\epsilon", True),
        ("x_0", r"x_1 = x", False),
        ("x", r"x_t", False),
        ("u_j", r"\prod_i (s - u_{n-1})", True),
        ("h", r"\chi", False),
        ("h", r"e^{\kappa h}", True),
        (r"\alpha", r"\bar\alpha", False),
        (r"\bar\alpha_i", r"\sqrt{\bar\alpha_{i-1}}", True),
        (r"\epsilon - D", r"\int (\epsilon - D)\,\mathrm{d}t", True),
        (r"\sigma_Y", r"A C A^T + \sigma_Y^2 I", True),
        (r"\sigma_Y", r"\sigma_n / \sigma_{n-1}", False),
    ],
)
def test_a_symbol_is_found_in_formulas_that_hold_it(symbol: str, formula: str, there: bool) -> None:
    assert symbols.occurs(symbol, symbols.tokens(formula)) is there


def test_formulas_are_read_and_code_is_not() -> None:
    page = "one $a_1$, cost \\$3\n\n$$\nb\n$$\n\n```{code-cell} python\nx = '$c$'\n```\n"
    assert symbols.formulas(page) == [("a", "_", "1"), ("b",)]


def test_every_symbol_of_the_notation_is_used_in_some_chapter() -> None:
    page = (BOOK / "reference/notation.md").read_text(encoding="utf-8")
    found = list(symbols.index(symbols.defined(page), symbols.chapters()))
    assert len(found) > 30
    assert [symbol for symbol, _, names in found if not names] == []


def test_only_tables_of_symbols_define() -> None:
    ours = "| symbol | meaning |\n| --- | --- |\n| $a(t)$, $b = c$ | two |"
    page = f"{ours}\n\n{ours.replace('symbol', 'source').replace('$a(t)$', '$d$')}"
    assert list(symbols.defined(page)) == [("a", "two"), ("b", "two")]


def test_every_symbol_of_the_notation_has_one_meaning() -> None:
    assert symbols.twice(symbols.defined((BOOK / "reference/notation.md").read_text(encoding="utf-8"))) == []
    assert symbols.twice([("a", "one"), ("b", "two"), ("a", "three")]) == ["a"]


def test_no_chapter_calls_a_symbol_what_it_does_not_mean() -> None:
    meanings = dict(symbols.defined((BOOK / "reference/notation.md").read_text(encoding="utf-8")))
    assert symbols.otherwise(meanings, symbols.chapters()) == []


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("a score of standard deviation $s$", ["page:1: deviation $s$"]),
        ("steps of\nlengths $s = 1$", ["page:2: length $s$"]),
        ("the place $s$ in a step, and $s$ again", []),
        ("three times $s$, or with $s$", []),
        ("```{code-cell} python\nlabel = 'stiffness $s$'\n```", []),
        ("the variance $c$", []),
    ],
)
def test_a_planted_second_meaning_is_refused(sentence: str, found: list[str]) -> None:
    assert symbols.otherwise({"s": "place inside a step"}, {"page": sentence}) == found


def test_the_noise_level_has_one_letter() -> None:
    """It is eta: tau is in names of the code alone, and what other authors call eta is in theirs."""
    for name, page in symbols.chapters().items():
        assert not any(r"\tau" in formula for formula in symbols.formulas(page)), name
        assert "τ" not in page, f"{name}: a label of a figure"


def test_data_are_no_state_of_a_run() -> None:
    """A formula that begins with x_1 and takes it from x_0 calls a state data."""
    for name, page in symbols.chapters().items():
        for formula in symbols.formulas(page):
            assert formula[:4] != ("x", "_", "1", "=") or not symbols.occurs("x_0", formula), name


def test_states_at_nodes_are_y_and_the_exact_solution_is_x() -> None:
    assert symbols.misnamed(symbols.chapters()) == []


@pytest.mark.parametrize(
    ("sentence", "refused"),
    [
        ("the step $x_{n+1} = x_n + h f_n$", 2),
        (r"predicted, $\tilde x_{n}$", 1),
        (r"the end $\hat x_N$ and a stage before, $x_{i + 1}$", 2),
        ("```{code-cell} python\n'$x_n$ in a caption'\n```", 1),
        (r"the step $y_{n+1} = y_n + h f(y_n)$, the end $y^{(2n)}$, and $\bar y$ in units of the signal", 0),
        (r"on $y' = \nu y$", 2),
        ("a measurement $y = A x_0$", 1),
        (r"at times $x_t$, $x_{t_i}$, $x(\lambda_n)$; a datum $x_0$, one of $x_0^{(j)}$, the model $m_{\max_n}$", 0),
    ],
)
def test_a_planted_state_of_the_old_notation_is_refused(sentence: str, refused: int) -> None:
    assert len(symbols.misnamed({"page": sentence})) == refused


def test_the_package_writes_states_at_nodes_as_the_book_does() -> None:
    """But for formulas as their sources print them."""
    sources = {
        str(path): path.read_text(encoding="utf-8")
        for path in sorted(BOOK.parent.joinpath("diffnum").rglob("*.py"))
        if "published" not in path.parts
    }
    assert len(sources) > 100
    assert [f"{name}: {found[0]}" for name, text in sources.items() if (found := symbols.AT_NODE.search(text))] == []
    # nor is a step one from x_0, which is data, to x_1
    first = re.compile(r"(?<![A-Za-z_])x_1(?![A-Za-z0-9_])")
    assert first.search(r"x_1 = \sigma_1 x_0") is not None
    assert [name for name, text in sources.items() if first.search(text)] == []


def test_every_letter_that_a_cell_prints_is_in_a_formula_of_its_page() -> None:
    assert symbols.unexplained(symbols.chapters()) == []


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ('ax.set_ylabel("largest s")', ["page:4: s"]),
        ('ax.set(xlabel="time", ylabel=r"largest $\\nu$")', []),
        ('show.formula("C =", value)', ["page:4: C"]),
        ('show.table(["method", "$q$ at"], rows)', ["page:4: q"]),
        ('ax.plot(x, y, label=f"w = {w:g}")', ["page:4: w"]),
        ("s = 1  # a name of code is no symbol", []),
    ],
)
def test_a_planted_letter_on_an_axis_is_refused(cell: str, found: list[str]) -> None:
    page = f"The stiffness $\\nu$.\n\n```{{code-cell}} python\n{cell}\n```\n"
    assert symbols.unexplained({"page": page}) == found


def test_all_cells_of_a_page_are_looked_at() -> None:
    """Those after one with options were once taken for its options: 51 of 1185 were seen."""
    pages = symbols.chapters()
    assert sum(len(symbols.CELL.findall(page)) for page in pages.values()) == sum(
        page.count("```{code-cell} python") for page in pages.values()
    )
    cell = "```{code-cell} python\n:tags: [hide-input]\nx = 1\n```\n"
    wrong = '```{code-cell} python\nax.set_ylabel("largest s")\n```\n'
    assert symbols.unexplained({"page": cell + wrong + cell}) == ["page:6: s"]


def test_a_page_says_what_its_letters_mean() -> None:
    meanings = dict(symbols.defined((BOOK / "reference/notation.md").read_text(encoding="utf-8")))
    assert symbols.unnamed(meanings, symbols.chapters()) == []
    assert symbols.unnamed({"C": "covariance of data"}, {"page": "The crossing is $C = 1$."}) != []
    assert symbols.unnamed({"C": "covariance of data"}, {"page": "The covariance $C$."}) == []
    assert symbols.unnamed({r"\omega": "scale of CFG++"}, {"page": r"Away from $\omega = 0$ it vanishes."}) != []


def test_a_definition_gives_no_symbol_a_second_meaning() -> None:
    page = "The *crossing* of a coupling of $z$ and $x_0$ is $C = \\int v$."
    assert symbols.otherwise({"C": "covariance of data"}, {"page": page}) == ["page:1: crossing $C$"]


def test_letters_that_had_several_meanings_are_set_equal_to_theirs_alone() -> None:
    assert symbols.redefined(symbols.chapters()) == []


@pytest.mark.parametrize(
    ("formula", "refused"),
    [
        (r"S = \alpha^2 c + \sigma^2", 0),
        (r"S_k = \alpha^2 C_k + \sigma^2 I", 0),
        (r"\hat r = e^{-S} r, \quad S = \int a", 1),
        (r"S_i = \nabla\log q_i", 1),
        ("r = h_{n-1}/h_n", 0),
        ("r = p/q", 1),
        ("r_n = a_{n+1}/a_n", 1),
        ("u = x/\\alpha", 1),
        (r"u_j = (\lambda_{n-j} - \lambda_n)/h", 0),
        (r"F_j = \int L_j", 1),
        (r"d = \cos(a\pi/2)", 1),
        ("d = 32", 0),
        (r"g = -\log(-\log u)", 1),
        ("k = 0, 1", 0),
        (r"1 - k/r, k = g^2 (\sigma_n - \sigma_{n+1})", 1),
    ],
)
def test_a_planted_third_meaning_is_refused(formula: str, refused: int) -> None:
    assert len(symbols.redefined({"page": f"With ${formula}$."})) == refused
    cell = formula.replace("\\", "\\\\")
    assert len(symbols.redefined({"page": f'```{{code-cell}} python\nlabel = "${cell}$"\n```'})) == refused


def test_k_is_the_shift_and_else_counts() -> None:
    meanings = dict(symbols.defined((BOOK / "reference/notation.md").read_text(encoding="utf-8")))
    assert symbols.otherwise(meanings, {"page": "The strength $k$ of guidance."}) == ["page:1: strength $k$"]
    assert symbols.otherwise(meanings, {"page": "the shift $k$, the frequency $k$, the moment $k$"}) == []


CHANGED = re.compile(r"^\| \$[^|]+ \| ([^|]+) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)


def strangers(page: str) -> list[str]:
    """Letters that the table of changes gives to chapters without them."""
    label = re.compile(r"^\((chapter-[\w-]+)\)=$", re.MULTILINE)
    where = {label.findall(text)[0]: symbols.formulas(text) for text in symbols.chapters().values()}
    table = page.partition("(letters-changed)=")[2].partition("\n## Other")[0]
    return [
        f"{symbol} in {label}"
        for written, chapters in CHANGED.findall(table)
        for symbol in re.findall(r"\$([^$]+)\$", written)[:1]
        for label in re.findall(r"\{ref\}`([\w-]+)`", chapters)
        if not any(symbols.occurs(symbols.head(symbol), one) for one in where[label])
    ]


def test_letters_that_changed_are_in_the_chapters_that_the_table_names() -> None:
    page = (BOOK / "reference/notation.md").read_text(encoding="utf-8")
    assert strangers(page) == []
    planted = page.replace("| $r$ | $\\mathcal R$ |", "| $r$ | $\\mathcal Q$ |")
    assert strangers(planted) == [r"\mathcal Q in chapter-weighted", r"\mathcal Q in chapter-distillation"]


def test_theta_is_no_parameter() -> None:
    assert symbols.parameters(symbols.chapters()) == []
    for formula, refused in (
        (r"p_\theta(x)", 1),
        (r"\partial_\theta F", 1),
        (r"\theta_t\,(\mu - x)", 1),
        (r"v_\theta", 0),
    ):
        assert len(symbols.parameters({"page": f"${formula}$"})) == refused


def test_labels_of_citations_hold_initials() -> None:
    """Of a name in TeX's braces pybtex takes all: letters of the bibliography are those of the author."""
    database = pytest.importorskip("pybtex.database")
    from pybtex.style.labels.alpha import LabelStyle

    def long(text: str) -> list[str]:
        entries = database.parse_string(text, "bibtex").entries.values()
        return [label for label in LabelStyle().format_labels(list(entries)) if re.search(r"[a-z]{4}|.{10}", label)]

    assert long((BOOK / "references.bib").read_text(encoding="utf-8")) == []
    assert len(long('@article{a, author = {Kynk{\\"a}{\\"a}nniemi, T. and Aila, T.}, title = {A}, year = {2024}}')) == 1

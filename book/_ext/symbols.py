"""Sphinx directive that says in which chapters each symbol of the page's tables is used: the index of symbols.

The tables of the page say what a symbol means; the formulas of the sources say where it stands, and the nouns beside
it say as what. A noun that names a quantity and is not in the meaning of the symbol is a second meaning, which no build
accepts. Nor is a page that uses a symbol and never names its meaning, or a letter on an axis that no formula holds.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

BOOK = Path(__file__).resolve().parents[1]
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[A-Za-z]|\d+|[^\s{}]")
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+?)\$", re.DOTALL)
CODE = re.compile(r"^(`{3,})(?:\{code-cell\}|python|\{package-source\}).*?^\1[ ]*$", re.DOTALL | re.MULTILINE)
CELL = re.compile(
    r"^(`{3,})\{code-cell\} python\n((?:---\n.*?^---\n)?(?::[^\n]*\n)*)(.*?)^\1[ ]*$", re.DOTALL | re.MULTILINE
)
CAPTION = re.compile(r"^ +caption: \|\n((?: {6,}.*\n)+)", re.MULTILINE)
WORDS = re.compile(r"\\(?:text|operatorname|mathrm|mathtt|mathsf|label|begin|end)\*?\s*\{[^{}]*\}")
CALLED = re.compile(r"\b([A-Za-z][a-z-]+)\s+\$([^$\n]+)\$")
DECLARED = re.compile(r"\*([a-z-]+)\*[^.;]*? (?:is|are) \$([^$\n]+?)(?: = [^$\n]*)?\$")
RUNS = re.compile(r"(?<![A-Za-z_])x\^(?:[a-zA-Z]|\{[^{}()]*\})_(?:[nN](?![A-Za-z_])|\{+\s*[nN](?![A-Za-z_]))")
AT_NODE = re.compile(r"(?<![A-Za-z_])x_(?:[nN](?![A-Za-z_])|\{+\s*2?[nN](?![A-Za-z_])|\{+\s*[a-zA-Z]\s*[+-]\s*\d)")
ACCENTS = frozenset({r"\mathfrak", r"\bar", r"\hat", r"\tilde", r"\dot", r"\mathbf", r"\mathcal", r"\mathrm"})

QUANTITIES = frozenset(
    {
        "angle", "clock", "condition", "covariance", "curve", "datum", "decay", "denoiser", "density", "deviation",
        "diffusion", "dimension", "distance", "drift", "eigenvalue", "entropy", "error", "exponent", "field",
        "fraction",
        "frequency", "function", "gain", "growth", "height", "index", "interval", "jacobian", "label", "law", "length",
        "level", "loss", "map", "matrix", "mean", "moment", "node", "noise", "number", "order", "parameter", "penalty",
        "place", "point", "prediction", "probability", "product", "range", "rate", "ratio", "reward", "sample", "scale",
        "score", "sequence", "share", "shift", "sign", "size", "slope", "stage", "state", "statistic", "step",
        "stiffness",
        "strength", "student", "target", "temperature", "time", "token", "tree", "variance", "velocity", "weight",
        "window",
    }
)  # fmt: skip
"""Nouns that say what a symbol beside them is, in the singular."""

NAMED = (QUANTITIES - {"noise", "index", "point", "size"}) | {"cfg++", "equation"}
"""Nouns of a meaning of which a page that uses the symbol has to say one."""

OWNED = (
    r"\theta", r"\omega", r"\Gamma", r"\nu", r"\kappa", r"\mu", r"\vartheta", "C", "f",
    "S", "F", "X", "Z", "d", "g", "r", "u",
)  # fmt: skip
"""Letters that every field has another use for."""

SETTLED = {
    "S": r"\\alpha\^2|c\+\\(?:rho|sigma)\^2|\\infty",
    "F": r"(?!)",
    "d": r"\d",
    "g": r"\\sqrt-2f",
    "k": r"-?\d|\\pm1|q$|ez$",
    "k_i": r"M\\",
    "r": r"h_n-1/h_n|e\^\\Lambda/n|\d|\\tfrac",
    "u": r"-?\d|\(\\chi",
    "u_j": r"\\frac\\lambda_n|\(\\(?:lambda|chi)_n|-j|-r|0",
}
r"""What a letter may be set equal to, as the beginning of tokens: its meaning as formulas, $r = h_{n-1}/h_n$.

Of these letters each stood for several things in the first edition, which no noun beside them said.
"""

LABELS = {
    "set_xlabel": 1, "set_ylabel": 1, "set_title": 1, "suptitle": 1, "text": 3, "annotate": 1, "formula": 99, "table": 1
}  # fmt: skip
"""Calls that write, and how many of their arguments are written."""

WRITTEN = frozenset({"label", "xlabel", "ylabel", "title"})
LETTER = re.compile(r"(?<![A-Za-z0-9_\\{}'.-])([B-HJ-Zb-z])(?![A-Za-z0-9'_{}-])")
SYMBOL = re.compile(
    r"[A-Za-z]|\\(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|vartheta|kappa|lambda|mu|nu|xi|rho|sigma|tau|"
    r"varphi|chi|psi|omega|Gamma|Lambda|Xi|Phi|Psi)"
)

Tokens = tuple[str, ...]


def tokens(formula: str) -> Tokens:
    """LaTeX commands, letters, numbers and signs of a formula; braces and words say nothing here."""
    return tuple(TOKEN.findall(WORDS.sub(" ", formula)))


def defined(page: str) -> Iterator[tuple[str, str]]:
    """Symbols, as LaTeX, and their meanings, from the tables of a page whose first column is headed "symbol"."""
    inside = False
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")] if line.startswith("|") else []
        if not cells or set(line) <= set("|- "):
            inside = inside and bool(cells)
        elif cells[0] == "symbol":
            inside = True
        elif inside:
            yield from ((head(symbol), cells[1]) for symbol in re.findall(r"\$([^$]+)\$", cells[0]))


def twice(symbols: Iterable[tuple[str, str]]) -> list[str]:
    """Symbols that are given a second meaning."""
    counts = Counter(symbol for symbol, _ in symbols)
    return [symbol for symbol, count in counts.items() if count > 1]


def otherwise(symbols: Mapping[str, str], pages: Mapping[str, str]) -> list[str]:
    """Places where a symbol is called what its meaning does not have: "the deviation $s$"."""
    found = []
    for name, page in pages.items():
        text = CODE.sub(lambda cell: "\n" * cell[0].count("\n"), page)
        lines = {m.start(): m for m in CALLED.finditer(text)} | {m.start(): m for m in DECLARED.finditer(text)}
        for at, match in lines.items():
            symbol, noun = head(match[2]), singular(match[1].lower())
            known = noun in QUANTITIES or match.re is DECLARED
            if symbol in symbols and known and not re.search(rf"\b{noun}", symbols[symbol]):
                found.append(f"{name}:{text.count(chr(10), 0, at) + 1}: {noun} ${symbol}$")
        for line, words in printed(page):
            for match in CALLED.finditer(words):
                symbol, noun = head(match[2]), singular(match[1].lower())
                if symbol in symbols and noun in QUANTITIES and not re.search(rf"\b{noun}", symbols[symbol]):
                    found.append(f"{name}:{line}: {noun} ${symbol}$ in a cell")
    return found


def printed(page: str) -> Iterator[tuple[int, str]]:
    """Words that cells write at axes, curves and formulas and over the columns of tables, with their lines."""
    for cell in CELL.finditer(page):
        above = page.count("\n", 0, cell.start(3))
        for node in ast.walk(ast.parse(cell[3])):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            written = [one for one in node.args[: LABELS.get(name, 0)] if not isinstance(one, ast.Starred)]
            written += [one.value for one in node.keywords if one.arg in WRITTEN]
            if name == "rows":  # formulas are called by their keywords
                yield from ((above + node.lineno, f"${one.arg}$") for one in node.keywords if len(one.arg or "") == 1)
            for constant in (part for one in written for part in literals(one)):
                yield above + constant.lineno, f"${constant.value}$" if name == "formula" else constant.value


def literals(node: ast.AST) -> Iterator[ast.Constant]:
    """Strings below a node, formats of numbers and keys left out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node
    elif isinstance(node, ast.FormattedValue | ast.Subscript | ast.Call | ast.Compare):
        return
    else:
        for child in ast.iter_child_nodes(node):
            yield from literals(child)


def unexplained(pages: Mapping[str, str]) -> list[str]:
    """Letters that a cell prints and no formula of its page holds: the reader cannot know what they are."""
    found = []
    for name, page in pages.items():
        told = [tokens(one) for caption in CAPTION.findall(page) for one in re.findall(r"\$([^$]+)\$", caption)]
        known = {token for formula in [*formulas(page), *told] for token in formula}
        for line, words in printed(page):
            letters = LETTER.findall(re.sub(r"\$[^$]*\$|`[^`]*`", " ", words))
            for formula in re.findall(r"\$([^$]*)\$", words):
                one = tokens(formula)
                letters += [
                    token
                    for at, token in enumerate(one)
                    if SYMBOL.fullmatch(token) and (not at or one[at - 1] not in ACCENTS)
                ]
            found += [f"{name}:{line}: {letter}" for letter in letters if letter not in known]
    return found


def unnamed(symbols: Mapping[str, str], pages: Mapping[str, str]) -> list[str]:
    """Pages that use a symbol whose meaning has nouns, and say none of them: it means something else there."""
    found = []
    for name, page in pages.items():
        read, text = formulas(page), FORMULA.sub(" ", CODE.sub("", page)).lower()
        for symbol in symbols.keys() & set(OWNED):
            meaning = symbols[symbol]
            nouns = {
                n
                for word in re.findall(r"[a-z+]+", FORMULA.sub(" ", meaning).lower())
                if (n := singular(word)) in NAMED
            }
            used = any(occurs(symbol, formula) for formula in read)
            if nouns and used and not any(re.search(rf"\b{re.escape(noun)}", text) for noun in nouns):
                found.append(f"{name}: ${symbol}$ and no word of {sorted(nouns)}")
    return found


def redefined(pages: Mapping[str, str]) -> list[str]:
    r"""Places where a letter of :data:`SETTLED` is set equal to what it does not mean: "with $S = \int a$"."""
    found = []
    for name, page in pages.items():
        for formula in [*formulas(page), *shown(page)]:
            for at, token in enumerate(formula):
                if at and formula[at - 1] not in {",", "&", ";", r"\\", r"\quad", r"\qquad"}:
                    continue
                index = formula[at + 1 : at + 2] == ("_",)
                after = formula[at + 1 + 2 * index :]
                meant = next((m for m in SETTLED if m[0] == token and (len(m) > 1) == index), token)
                if token in {m[0] for m in SETTLED} and after[:1] in {("=",), (":",)}:
                    said = "".join(after).lstrip(":=&")
                    if not re.match(SETTLED[meant], said):
                        found.append(f"{name}: {meant} = {said[:40]}")
    return found


def shown(page: str) -> list[Tokens]:
    """Formulas in captions, alternative texts and strings of cells."""
    lines = [line for cell in CODE.finditer(page) for line in cell[0].splitlines()]
    return [tokens(one.replace("\\\\", "\\")) for line in lines for one in re.findall(r"(?<!\\)\$([^$]+)\$", line)]


def parameters(pages: Mapping[str, str]) -> list[str]:
    r"""Places where theta is no angle but the parameters of a network: an index of anything but v, or derived by."""
    found = []
    for name, page in pages.items():
        for formula in formulas(page):
            for at, token in enumerate(formula):
                before, after = formula[max(at - 2, 0) : at], formula[at + 1 : at + 2]
                index = before[1:] == ("_",) and before[0] != "v"
                if token == r"\theta" and (index or (after == ("_",) and formula[at + 2 : at + 3] == ("t",))):
                    found.append(f"{name}: theta in {' '.join(formula)[:60]}")
    return found


def misnamed(pages: Mapping[str, str]) -> list[str]:
    """Places where a state at a node is written x_n, or y is something else than a state at a node.

    x is the exact solution, whose index is a time; the numerical one is y and has the index of a node, or the number of
    steps of its run in parentheses.
    """
    found = []
    for name, page in pages.items():
        for written in (AT_NODE, RUNS):
            found += [f"{name}:{page.count(chr(10), 0, m.start()) + 1}: {m[0]}" for m in written.finditer(page)]
        for formula in formulas(page):
            for at, token in enumerate(formula):
                bare = token == "y" and (not at or formula[at - 1] not in ACCENTS)
                if bare and formula[at + 1 : at + 2] != ("_",) and formula[at + 1 : at + 3] != ("^", "("):
                    found.append(f"{name}: y in {' '.join(formula)[:60]}")
    return found


def singular(noun: str) -> str:
    """A noun of :data:`QUANTITIES` without its plural."""
    if noun == "times":  # a product
        return noun
    forms = (noun, noun.removesuffix("s"), noun.removesuffix("es"), noun.removesuffix("ies") + "y")
    return next((form for form in forms if form in QUANTITIES), noun)


def head(symbol: str) -> str:
    """What is defined: the left side of an equation, without its arguments."""
    left = re.split(r"=|\\in", symbol)[0].strip()
    return re.sub(r"\([^()]*\)$", "", left).strip()


def occurs(symbol: str, formula: Tokens) -> bool:
    """Whether a formula holds a symbol; a small letter as an index stands for every index, a capital for itself."""
    wanted = tokens(symbol)
    subscript = len(wanted) > 2 and wanted[-2] == "_"
    base = wanted[:-2] if subscript else wanted
    for at in range(len(formula) - len(base) + 1):
        if formula[at : at + len(base)] != base or (at and formula[at - 1] in ACCENTS and base[0] not in ACCENTS):
            continue
        after = formula[at + len(base) : at + len(base) + 2]
        indexed = after[:1] == ("_",)
        if not subscript and not indexed:
            return True
        if subscript and indexed and (re.fullmatch("[a-z]", wanted[-1]) or after[1:] == wanted[-1:]):
            return True
    return False


def formulas(page: str) -> list[Tokens]:
    """All formulas of a page."""
    return [tokens(a or b) for a, b in FORMULA.findall(CODE.sub("", page))]


def chapters() -> dict[str, str]:
    """Pages in the order of the contents, the reference left out, with their sources."""
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    names = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return {n: (BOOK / f"{n}.md").read_text(encoding="utf-8") for n in names if not n.startswith("reference/")}


def title(page: str) -> str:
    """First heading."""
    found = re.search(r"^# (.+)$", page, re.MULTILINE)
    return found[1].strip() if found else ""


def index(symbols: Iterable[tuple[str, str]], pages: Mapping[str, str]) -> Iterator[tuple[str, str, list[str]]]:
    """Symbol, meaning and the names of the pages with a formula that holds it."""
    read = {name: formulas(page) for name, page in pages.items()}
    for symbol, meaning in symbols:
        yield symbol, meaning, [name for name, all_ in read.items() if any(occurs(symbol, one) for one in all_)]


class SymbolIndex(SphinxDirective):
    """Table of symbols with links to the chapters that use them."""

    has_content = False
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        page = Path(self.env.doc2path(self.env.docname)).read_text(encoding="utf-8")
        if again := twice(defined(page)):
            msg = f"symbols with two meanings: {', '.join(again)}; give one of them another letter"
            raise self.error(msg)
        pages = chapters()
        if others := otherwise(dict(defined(page)), pages):
            msg = f"symbols that are called something else: {'; '.join(others)}; give these another letter, or reword"
            raise self.error(msg)
        if others := unexplained(pages) + unnamed(dict(defined(page)), pages) + parameters(pages):
            msg = f"symbols that the page does not explain: {'; '.join(others)}; give these another letter, or say it"
            raise self.error(msg)
        if others := misnamed(pages):
            msg = f"states at nodes are y with their index, and y is nothing else: {'; '.join(others)}"
            raise self.error(msg)
        if others := redefined(pages):
            msg = f"letters that are set equal to what they do not mean: {'; '.join(others)}; give these another letter"
            raise self.error(msg)
        lines = ["| symbol | where |", "| --- | --- |"]
        for symbol, _, names in index(dict(defined(page)).items(), pages):
            links = " · ".join(f"[{title(pages[name])}](/{name}.md)" for name in names)
            lines.append(f"| ${symbol}$ | {'throughout' if 2 * len(names) > len(pages) else links} |")
        for name in pages:
            self.env.note_dependency(str(BOOK / f"{name}.md"))
        box = nodes.container()
        self.state.nested_parse(StringList(lines, source=self.env.docname), self.content_offset, box)
        return box.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("symbol-index", SymbolIndex)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

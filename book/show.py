"""How the chapters show things: formulas typeset, tables, and figures that look alike.

``import show`` in a chapter's first cell settles the figures; nothing here computes anything that a chapter claims.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import sympy
from IPython.core.getipython import get_ipython
from IPython.display import HTML, Markdown, Math
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter, LogLocator, NullLocator
from matplotlib_inline.backend_inline import set_matplotlib_formats

import diffnum as dn
from diffnum import plot
from diffnum.plot import INK, look_of, plot_work_precision
from diffnum.plot.analysis import plot_response, plot_stability
from diffnum.plot.labels import label_lines

# diffusers brings bars of progress for notebooks, which pages do not show
warnings.filterwarnings("ignore", message="IProgress not found")

__all__ = [
    "BOOK",
    "INK",
    "LOOKS",
    "MARKS",
    "RESULTS",
    "Errors",
    "Markdown",
    "argument",
    "axes",
    "claim",
    "dots",
    "formula",
    "images",
    "label_lines",
    "look_of",
    "measured",
    "plot_errors",
    "plot_response",
    "plot_stability",
    "plot_work_precision",
    "proof",
    "rows",
    "shaded",
    "shown",
    "table",
]

BOOK = Path(__file__).resolve().parent
RESULTS = BOOK / "results"
"""Files that commands of the repository write, and that chapters read."""

mpl.rcParams.update(plot.SETTINGS)
mpl.rcParams["figure.figsize"] = (5.5, 3.4)  # no wider: writing of 9.6 points must keep 8 pixels on a phone
mpl.rcParams["figure.constrained_layout.use"] = True
set_matplotlib_formats("svg")


# -- numbers -----------------------------------------------------------------------------------------

np.set_printoptions(precision=4)


def numbers(values: Any) -> str:
    """Entries of an array, four digits of each, without the word ``array``."""
    if values.ndim == 1 and values.dtype.kind == "f":
        return f"[{', '.join(f'{value:.4g}' for value in values)}]"
    return np.array2string(values, separator=", ")


if shell := get_ipython():
    plain = shell.display_formatter.formatters["text/plain"]
    plain.for_type(np.ndarray, lambda value, p, _: p.text(numbers(value)))
    for kind in (float, np.float64, np.float32):
        plain.for_type(kind, lambda value, p, _: p.text(f"{value:.4g}"))


# -- mathematics -------------------------------------------------------------------------------------


def formula(*parts: Any) -> Math:
    """Typeset LaTeX and sympy expressions, one after another: ``formula("w_0 =", w0)``."""
    return Math(r" \; ".join(part if isinstance(part, str) else sympy.latex(part) for part in parts))


def rows(**equations: Any) -> Math:
    """Typeset several equations, aligned at the sign: ``rows(w_0=first, w_1=second)``."""
    lines = [
        f"{name} &= {value if isinstance(value, str) else sympy.latex(value)}" for name, value in equations.items()
    ]
    return Math(r"\begin{aligned} " + r" \\[0.6em] ".join(lines) + r" \end{aligned}")


def argument(name: str) -> Markdown:
    """Derivation of a method as the package runs it, line by line."""
    found = dn.derive(name)
    lines = [f"{i}. {line.text}" + (f"\n\n   $$ {line.equation} $$\n" if line.equation else "\n")
             for i, line in enumerate(found.argument, 1)]  # fmt: skip
    return Markdown("\n".join(lines))


def proof(name: str) -> Markdown:
    """What :func:`diffnum.prove` decides about a method, as a list; an open claim is marked."""
    found = dn.prove(name)
    lines = [f"- {'✓' if item.ok else '✗'} {_claim(item.claim)}" for item in found.identities]
    return Markdown("\n".join([f"**{'Proved' if found.ok else 'Not proved'}** (`{name}`):", "", *lines]))


def _claim(text: str) -> str:
    """Claim with typeset names, powers and products."""
    text = re.sub(r"(?:\*\*|\^)(\d+)", lambda found: found[1].translate(SUPERSCRIPT), text)
    return text.replace("==", "=").replace("*", "·").replace("_", "\\_")


# -- sentences ---------------------------------------------------------------------------------------


def claim(holds: Any, sentence: str, **numbers: Any) -> Markdown:
    """Sentence of a chapter that is printed only if it is true; a page on which it is not fails.

    ``show.claim(a < b, "The first needs {a}, the second {b:.1f}.", a=a, b=b)``; numbers get three digits unless the
    sentence says how they are written.
    """
    text = _written(sentence.format(**{name: _Said(value) for name, value in numbers.items()}))
    if not (np.size(holds) and np.all(holds)):  # of nothing, everything is true
        msg = f"the page says what does not hold: {text}"
        raise ValueError(msg)
    return Markdown(text)


@dataclass(frozen=True)
class _Said:
    """A value as a sentence writes it."""

    value: Any

    def __format__(self, how: str) -> str:
        """With the given format, else three digits of a real number."""
        real = isinstance(self.value, float | np.floating)
        return format(self.value, how or (".3g" if real else ""))


POWER = re.compile(r"(?<![\w.-])([-−]?\d+(?:\.\d+)?)e([-+−])0*(\d+)(?![\w.]\d)")
"""A number as Python writes it, with a power of ten."""

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _power(text: str, mathematics: bool = False) -> str:
    """Numbers with powers of ten in a text as they are printed, ``2·10⁻⁵`` instead of ``2e-05``."""

    def printed(found: re.Match[str]) -> str:
        digits, exponent = found[1].replace("-", "−"), ("" if found[2] == "+" else "-") + found[3]
        if not float(found[1]):
            return "0"
        front = "" if digits == "1" else rf"{digits} \cdot " if mathematics else f"{digits}·"
        return f"{front}10^{{{exponent}}}" if mathematics else f"{front}10{exponent.translate(SUPERSCRIPT)}"

    return POWER.sub(printed, text)


def _written(text: str) -> str:
    """Sentence with the signs of print, but for the code in it: powers of ten, and a minus that is no hyphen."""
    parts = re.split(r"(`[^`]*`|\$[^$]*\$)", text)
    parts[::2] = [_power(re.sub(r"(?<![^\s(\[])-(?=\d)", "−", part)) for part in parts[::2]]
    return "".join(_power(part, mathematics=True) if part.startswith("$") else part for part in parts)


# -- tables ------------------------------------------------------------------------------------------


def table(columns: Sequence[Any], body: Iterable[Sequence[Any]]) -> Markdown:
    """Table of text and numbers; numbers get four digits, and columns of sentences some width on narrow screens."""
    cells = [[_cell(value) for value in row] for row in body]
    wide = [any(len(re.sub(MARKUP, "", row[k])) > PROSE for row in cells) for k in range(len(columns))]
    heads = [f"{head}{STRUT * prose}" for head, prose in zip(columns, wide, strict=True)]
    return Markdown("\n".join(_line(row) for row in [heads, ["---"] * len(columns), *cells]))


def shaded(
    columns: Sequence[Any],
    body: Iterable[Sequence[Any]],
    *,
    best: str | float | Mapping[int, str | float] = "least",
    over: str = "columns",
    of: Sequence[int] | None = None,
    within: int | None = None,
    how: str = ".3g",
) -> Markdown:
    """Table of numbers: the best of each column (``over="rows"``: row) in bold, the better the darker.

    ``best`` is ``"least"``, ``"most"`` or a number that is to be met, or says this of each compared column; ``of`` are
    the columns that are compared, by default those that hold nothing but real numbers and gaps. ``within`` is a column
    whose equal entries say which rows of a column are compared with each other; ``how`` writes the numbers.
    """
    lines = [list(row) for row in body]
    wanted = best if isinstance(best, Mapping) else dict.fromkeys(range(len(columns)), best)
    of = list(best) if isinstance(best, Mapping) and of is None else of
    gap = type(None)
    real = [gap not in (kinds := {type(row[k]) for row in lines}) or len(kinds) > 1 for k in range(len(columns))]
    real = [some and {type(row[k]) for row in lines} <= {float, np.float64, gap} for k, some in enumerate(real)]
    chosen = [k for k, good in enumerate(real) if good] if of is None else list(of)
    parts = [None if within is None else row[within] for row in lines]
    groups = [[(i, k) for i, own in enumerate(parts) if own == part] for k in chosen for part in dict.fromkeys(parts)]
    if over == "rows":
        groups = [[(i, k) for k in chosen] for i in range(len(lines))]
    cells: dict[tuple[int, int], str] = {}
    for group in groups:
        values = [np.nan if isinstance(lines[i][k], str | None) else float(lines[i][k]) for i, k in group]
        for at, part, bold in zip(group, *_ranked(np.array(values), wanted[group[0][1]], how), strict=True):
            if np.isfinite(part):
                value = lines[at[0]][at[1]]
                text = _cell(str(value) if isinstance(value, int | np.integer) else f"{value:{how}}")
                mark = f"<b>{text}</b>" if bold else text
                dark = 1.0 if bold else part  # what is written alike is as good
                cells[at] = f'<span class="shade" style="--shade: {dark:.2f}">{mark}</span>'
            elif not isinstance(lines[at[0]][at[1]], str):
                cells[at] = "–"
    return table(columns, [[cells.get((i, k), value) for k, value in enumerate(row)] for i, row in enumerate(lines)])


def _ranked(values: Any, best: str | float, how: str) -> tuple[Any, Any]:
    """How good values are, from 0 to 1 on a scale that suits them, and which are as good as the best when printed."""
    loss = values if best == "least" else -values if best == "most" else np.abs(values - float(best))
    seen = loss[np.isfinite(loss)]
    if not seen.size:
        return loss, np.zeros(loss.shape, dtype=bool)
    positive = seen.min() >= 0 and seen.max() > 0
    # what is exact lies a decade below the rest: on a linear scale the others would be alike beside it
    scaled = np.log(np.maximum(loss, seen[seen > 0].min() / (1 if seen.min() else 10))) if positive else loss
    low, high = (f(scaled[np.isfinite(loss)]) for f in (np.min, np.max))
    first = float(values[np.flatnonzero(loss == seen.min())[0]])
    return (high - scaled) / (high - low or 1.0), np.array([f"{v:{how}}" == f"{first:{how}}" for v in values])


PROSE = 40
"""Length of a cell above which its column counts as sentences."""

MARKUP = r"\$[^$]*\$|`[^`]*`|\{[^}]*\}|<[^>]*>"
"""Formulas, code, roles and elements, which are no sentences."""

STRUT = '<span class="strut"></span>'
"""Keeps a column from becoming narrower than the style sheet says."""


def _line(cells: Sequence[str]) -> str:
    """Row of a table."""
    return "| " + " | ".join(cells) + " |"


def _cell(value: Any) -> str:
    """Text of a cell: signs that do not break from their numbers, and no minus before a zero."""
    if value is None:
        return "–"
    text = f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
    text = re.sub(r"^-(?=0(\.0*)?$)", "", text)
    if re.fullmatch(r"-?[\d.]+(e[-+]\d+|/\d+)?", text):
        text = _power(text).replace("-", "−")
    return text.replace(" / ", "\u00a0/\u00a0").replace("+-", "±")


# -- figures -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Errors:
    """A curve: errors of one method, with a label that is written at its end."""

    label: str
    family: str
    nfe: Sequence[int]
    errors: Sequence[float]

    @property
    def slope(self) -> int:
        """With which it falls where it ends, as a whole number: what the text of a figure says, its cell asserts."""
        (first, second), (high, low) = np.log(self.nfe[-2:]), np.log(self.errors[-2:])
        return round(float((high - low) / (second - first)))


def measured(
    methods: Mapping[str, str] | Sequence[str],
    *,
    grid: str = "smooth",
    variant: Any = "formula",
    measure: Any = "global",
    steps: Sequence[int] = (10, 20, 40, 80, 160, 320),
    families: Mapping[str, str] | None = None,
    **options: Any,
) -> list[Errors]:
    """Errors of methods on the exact three-peaked mixture, by number of steps.

    The order that the study decides stands in the label. ``methods`` maps names to labels; ``families`` maps names to
    families where the name alone does not fix the look of the curve.
    """
    labels = methods if isinstance(methods, Mapping) else {name: name for name in methods}
    problem = options.pop("problem", None) or dn.problems.three_peaks()
    found = []
    for name, label in labels.items():
        study = dn.convergence_study(
            name, problem, grids=(grid,), variants=(variant,), measures=(measure,), steps=tuple(steps), **options
        )
        series = study.series[0]
        order = f": order {series.order:g}" if series.order is not None else ""
        family = (families or {}).get(name, name)
        found.append(Errors(f"{label}{order}", family, series.estimate.steps.tolist(), series.estimate.errors.tolist()))
    return found


def plot_errors(
    curves: Sequence[Errors], *, orders: Sequence[int] = (1, 2, 3), title: str = "", x: str = "steps", y: str = "error"
) -> Any:
    """Errors against steps with guide lines of the given orders and labels at the curves; the figure."""
    ax = plot_work_precision(curves, axes(), orders=orders, title=title)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    return shown(ax)


def axes(columns: int = 1, rows: int = 1, *, size: tuple[float, float] | None = None, **options: Any) -> Any:
    """New axes in the book's style."""
    size = size or (5.5, (3.4 if columns == 1 else 2.9) * rows)
    return plt.subplots(rows, columns, figsize=size, **options)[1]


LOOKS = tuple(plot.FAMILIES.values())
"""Colours, markers and dashes in turn, for curves that are no methods: no two are alike in grey."""

MARKS: Sequence[Mapping[str, Any]] = (
    {"marker": "o", "mfc": "none", "color": INK, "ms": 8.5},
    {"marker": "o", "color": "#2f7fc1", "ms": 5.0},
    {"marker": "x", "color": "#c44055", "ms": 7.5, "mew": 1.7},
    {"marker": "^", "mfc": "none", "color": "#1d9a6c", "ms": 6.0},
)
"""Marks of a dot plot: ring, dot, cross and triangle, told apart without colour and seen where they coincide."""


def dots(
    lines: Mapping[str, Mapping[str, Sequence[float]]],
    kinds: Sequence[str],
    *,
    columns: Sequence[str] = (),
    joined: bool = False,
    x: str = "",
) -> Any:
    """A line a name, from above, with a mark for each value of each kind: a big table at a glance; the figure.

    Values are numbers of ``columns`` where these are given, whose names stand above. ``joined`` draws a bar from the
    least to the largest of each line, so that its length is seen.
    """
    ax = axes(size=(5.5, 0.9 + 0.19 * len(lines) + 0.075 * max(map(len, columns), default=0)))
    for k, marks in enumerate(lines.values()):
        values = [value for kind in kinds for value in marks.get(kind, ())]
        ends = [min(values), max(values)] if joined else [0, len(columns) - 1] if columns else []
        ax.plot(ends, [k] * len(ends), color=INK, alpha=0.35, lw=2.5 if joined else 0.5, zorder=0)
    for kind, mark in zip(kinds, MARKS, strict=False):
        found = [(value, k) for k, marks in enumerate(lines.values()) for value in marks.get(kind, ())]
        ax.plot(*zip(*found, strict=True), ls="none", label=kind, **mark) if found else None
    ax.set_yticks(range(len(lines)), list(lines))
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    if columns:
        ax.set_xticks(range(len(columns)), columns, rotation=90)
        ax.tick_params(axis="x", length=0, labeltop=True, labelbottom=False)
        ax.spines["bottom"].set_visible(False)
    ax.set_xlabel(x)
    if len(kinds) > 1:
        ax.figure.legend(
            loc="outside upper left", ncols=len(kinds), frameon=False, columnspacing=1.2, handletextpad=0.1
        )
    return shown(ax)


def shown(ax: Axes) -> Any:
    """Figure of axes, to be shown once, as the value of its cell; short logarithmic axes get plain numbers."""
    for one in [axis for part in ax.figure.axes for axis in (part.xaxis, part.yaxis)]:
        low, high = sorted(one.get_view_interval())
        usual = isinstance(one.get_major_locator(), LogLocator) and isinstance(one.get_major_formatter(), LogFormatter)
        powers = [k for k in range(-12, 12) if low <= 10.0**k <= high]
        if usual and low > 0 and (high < 30 * low or len(powers) < 2):
            digits = (1, 2, 5) if high > 5 * low else (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
            marks = [m * 10.0**k for k in range(-12, 12) for m in digits if low <= m * 10.0**k <= high]
            one.set_ticks(
                marks, [_power(f"{mark:g}" if mark >= 1e-3 else f"{mark:.1e}".replace(".0e", "e")) for mark in marks]
            )
            one.set_minor_locator(NullLocator())
    plt.close(ax.figure)  # type: ignore[arg-type]
    return ax.figure


def images(
    pictures: Any,
    columns: int | None = None,
    *,
    scale: int = 4,
    alt: str,
    rows: Sequence[str] = (),
    heads: Sequence[str] = (),
) -> HTML:
    """Tile images, intensities in [0, 1], into one picture with a text for those who do not see it.

    ``rows`` names the rows, each above its images; ``heads`` names the columns, or groups of them.
    """
    if not (rows or heads):
        uri = plot.to_data_uri(plot.image_grid(pictures, columns, scale=scale))
        return HTML(f'<img class="pixels" src="{uri}" alt="{alt}">')
    count, names = columns or len(pictures), rows or [""]
    if count * len(names) != len(pictures) or (heads and count % len(heads)):
        msg = f"{len(pictures)} pictures are no {len(names)} rows of {count} under {len(heads)} heads"
        raise ValueError(msg)
    wide = count * (scale * np.shape(pictures)[2] + 1) - 1
    above = "".join(f"<span>{head}</span>" for head in heads)
    lines = [f'<div class="heads" style="--heads: {len(heads)}">{above}</div>'] if heads else []
    for k, name in enumerate(names):
        uri = plot.to_data_uri(plot.image_grid(pictures[k * count : (k + 1) * count], count, scale=scale))
        lines += [f"<p>{name}</p>"] * bool(name)
        lines += [f'<img class="pixels" src="{uri}" alt="{alt if k == 0 else name}">']
    return HTML(f'<div class="strips" style="width: {wide}px">{"".join(lines)}</div>')

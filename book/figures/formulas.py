"""The formula sheet: each listed method, its derived step, orders, source and names, under a heading with an anchor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from IPython.display import Markdown

import diffnum as dn
from diffnum.coefficients.method import Method
from diffnum.report.prose import broken

KINDS = ("uniform", "smooth", "irregular")

SHEETS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "Exponential Adams methods and their relatives": ("adams", "dpmpp_2m", "dpmpp_3m", "dpmpp_3m_corrected"),
        "Weights of constant steps": ("plms", "ipndm_v", "abm"),
        "Runge-Kutta methods": ("heun", "dpm_solver", "explicit_runge_kutta", "exponential_runge_kutta", "res_3s"),
        "Predictor-corrector methods": ("unip", "unipc", "unipc_pece", "unipc_vary", "pseudo_corrector"),
        "Momentum": ("ghvb", "ghvb_variable", "heavy_ball", "nesterov", "mdpm2"),
        "Few steps without training": ("cab", "stork", "pfdiff", "rx_euler", "epd"),
    }
)
"""Title of a sheet -> families of methods on it."""


def family(title: str) -> list[Method]:
    """Listed methods of a sheet."""
    return [record for record in dn.methods().values() if record.family in SHEETS[title]]


def missing() -> set[str]:
    """Listed methods that are on no sheet."""
    return set(dn.methods()) - {record.name for title in SHEETS for record in family(title)}


def anchor(name: str) -> str:
    """Label of a method's heading."""
    return "method-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def orders(record: Method) -> str:
    """Orders of the formula, one number where the grids agree."""
    found = [record.order_on(kind) for kind in KINDS]
    if len(set(found)) == 1:
        return f"Order {found[0]}"
    return "Order " + ", ".join(f"{order} ({kind})" for order, kind in zip(found, KINDS, strict=True))


CODE = r"[A-Za-z]\w*(?:\.\w+)*\([^()]*=[^()]*\)|(?:\w+\.)*\w*_\w+|[A-Z]\w+Scheduler\b|(?:^|(?<=, ))\w+(?=$|,)"
"""Names in the code of a library: calls with options, names with underscores, schedulers, and single words."""


def alias(where: str, name: str) -> str:
    """What a method is called elsewhere: names set as code, the words between them and what papers say as text."""
    return name if where == "papers" else re.sub(CODE, r"`\g<0>`", name)


LONG = 12
"""Digits of an integer beyond which a formula is read faster with seven of them and a power of ten."""


WIDTH = 110
"""Letters of LaTeX in a row beyond which each evaluation has a line of its own: more do not fit a phone."""

FOLDED = 170
"""The same beyond which its weight has a line for each summand."""


def narrow(formula: str) -> str:
    """Formula whose long weights, sums in brackets before an evaluation, have a line for each summand."""
    return NEXT.join(map(_summands, formula.split(NEXT)))


NEXT = r" \\ & \qquad "
"""Between the lines of an evaluation."""


def _summands(line: str) -> str:
    """Line of a formula, broken at the signs between the summands of its first bracket if it is long."""
    head, _, rest = line.partition(r"\left(")
    if len(line) <= FOLDED or len(head) > len(r"+ "):
        return line
    parts, depth, start = [], 0, 0
    for found in re.finditer(r"\\left\(|\\right\)|[{}]| [+-] ", rest):
        if found[0] == r"\right)" and depth == 0:
            parts.append(rest[start : found.start()])
            return head + r"\Bigl(" + (NEXT + r"\quad ").join(parts) + r"\Bigr)" + rest[found.end() :]
        if found[0].strip() in "+-" and depth == 0:
            parts.append(rest[start : found.start()])
            start = found.start() + 1
        depth += (found[0] in (r"\left(", "{")) - (found[0] in (r"\right)", "}"))
    return line


def rounded(formula: str) -> tuple[str, bool]:
    """Formula with long integers in seven digits, and whether it has any."""
    long = rf"\d{{{LONG + 1},}}"

    def short(found: re.Match[str]) -> str:
        digits, _, power = f"{int(found[0]):.6e}".partition("e+")
        return rf"{digits} \cdot 10^{{{int(power)}}}"

    return re.sub(long, short, formula), re.search(long, formula) is not None


def entry(record: Method) -> str:
    """Heading, formula and facts of one method, in MyST Markdown."""
    short, was_long = rounded(dn.derive(record).latex())
    formula = narrow(broken(short, width=WIDTH)).replace(r"\\", r"\\[0.5em]")
    title = record.title[0].upper() + record.title[1:]
    parts = [
        f":::{{rubric}} {title}: `{record.name}`\n:name: {anchor(record.name)}\n:heading-level: 3\n:::",
        f"$$\n{formula}\n$$",
        f"{orders(record)}; claimed {record.claimed_order}; as shipped {record.order_with_startup}. {record.summary}",
        f"Source: {{cite:t}}`{record.cite}`, {record.equation.rstrip('.')}.",
    ]
    if was_long:
        parts.append(
            f"Integers of more than {LONG} digits are rounded here; `dn.derive({record.name!r})` has them all."
        )
    if record.aliases:
        names = (f"{where}: {alias(where, name)}" for where, name in record.aliases.items())
        parts.append(f"Elsewhere: {'; '.join(names)}.")
    if record.distinguish:
        parts.append(f"Not to be confused with: {record.distinguish}")
    return "\n\n".join(parts)


def sheet(title: str) -> Markdown:
    """Entries of all methods of a sheet."""
    return Markdown("\n\n".join(entry(record) for record in family(title)))


def contents(titles: Iterable[str] = tuple(SHEETS)) -> Markdown:
    """All methods, by sheet, with links to their entries."""
    lines = []
    for title in titles:
        links = (f"{{ref}}`{record.name} <{anchor(record.name)}>`" for record in family(title))
        lines.append(f"- **{title}**: {' · '.join(links)}")
    return Markdown("\n".join(lines))

"""How results show where they are the last word of a cell: one short line, and a table, a formula or a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

__all__ = ["MOST", "facts_html", "short", "table_html"]

MOST = 40
"""Rows of a table that are shown."""


def short(kind: str, name: str, **facts: Any) -> str:
    """One line that stands for an object, such as ``Plan('ddim', steps=5)``; what is None is left out."""
    listed = [repr(name), *(f"{key}={_plain(value)}" for key, value in facts.items() if value is not None)]
    return f"{kind}({', '.join(listed)})"


def table_html(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """Table as HTML, cut after :data:`MOST` rows, which its last line says."""
    listed = iter(rows)
    shown = [tuple(map(_cell, row)) for row in islice(listed, MOST)]
    left = sum(1 for _ in listed)
    lines = ["<table>"]
    if caption:
        lines.append(f'<caption style="text-align: left">{escape(caption)}</caption>')
    lines.append("<thead><tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr></thead><tbody>")
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in shown]
    if left:
        lines.append(f'<tr><td colspan="{len(head)}">and {left} more</td></tr>')
    return "\n".join([*lines, "</tbody></table>"])


def facts_html(facts: Mapping[str, Any], caption: str = "") -> str:
    """Table of names and values; what is None is left out."""
    rows = [(name, value) for name, value in facts.items() if value is not None]
    return table_html(("", ""), rows, caption)


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))

"""Words and mathematics of the report."""

from __future__ import annotations

import math
import re

__all__ = ["SEED", "anchor", "broken", "percent", "sentence", "to_mathml"]

SEED = 0
"""Seed of starting points and noise."""


def to_mathml(latex: str, *, block: bool = True) -> str:
    """LaTeX as a ``<math>`` element.

    Parameters
    ----------
    latex : str
        Mathematics without dollar signs.
    block : bool
        Display style, on its own line.
    """
    from latex2mathml.converter import convert

    # The converter does not know the environment "aligned", and makes an odd box of a negative thin space.
    known = latex.replace("{aligned}", "{split}").replace(r"\!", "")
    text: str = convert(known, display="block" if block else "inline")
    return re.sub(r' xmlns="[^"]*"', "", text)


_TERM = re.compile(r"((?:D|v|\\epsilon|\\bar\{\\epsilon\})(?:_\{[^{}]*\}|\(X_\{\d+\}\))) ([+-]) ")


def broken(latex: str, width: int = 260) -> str:
    """Formula with a line for each evaluation where its rows are long.

    Parameters
    ----------
    latex : str
        Rows of a step, as :meth:`diffnum.proofs.Derivation.latex` prints them.
    width : int
        Rows of more characters are broken.
    """
    lines = []
    for row in latex.split(" \\\\\n"):
        line = row
        if len(row) > width:
            head, bracket, rest = row.partition(r"\left[")
            line = _TERM.sub(r"\1 \\\\ & \\qquad \2 ", rest if bracket else row)
            if bracket:
                line = head + "[" + (r" \\ & \qquad " + line.lstrip()).replace(r" \right]", r"\, ]")
        lines.append(line)
    return " \\\\\n".join(lines)


def anchor(name: str) -> str:
    """Identifier in the page for a name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def sentence(text: str) -> str:
    """Text that begins with a capital and ends with a full stop, or nothing."""
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def percent(error: float) -> str:
    """Relative error for a reader."""
    if not math.isfinite(error):
        return "not finite"
    return f"{100 * error:.0f} %" if error >= 0.1 else f"{100 * error:.2g} %" if error >= 1e-4 else f"{error:.1e}"

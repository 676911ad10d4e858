r"""Findings in code that no package index has: reports to send, of lines on record, with lines that show them here.

The code itself is not run: what it computes is on record in this package, line by line, and the snippets hold that
against what it should be. What they print is taken down when the reports are written.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Final

from diffnum.audits.code_laws import LAWS
from diffnum.audits.code_solvers import SOLVERS
from diffnum.audits.letters import CodeReport

__all__ = ["CODES", "elsewhere", "printed"]

CODES: Final[tuple[CodeReport, ...]] = (*SOLVERS, *LAWS)
"""Reports that are ready."""


def printed(snippet: str) -> str:
    """What lines print, run in a namespace of their own.

    Parameters
    ----------
    snippet : str
        Python.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(snippet, "<report>", "exec"), {"__name__": "report"})
    return out.getvalue()


def elsewhere(versions: Mapping[str, str]) -> dict[str, str]:
    """All reports of this kind, in Markdown by stem; their lines are run.

    Parameters
    ----------
    versions : mapping of str to str
        Versions that the numbers belong to.

    Returns
    -------
    dict of str to str
    """
    return {report.stem: report.written(printed(report.snippet), versions) for report in CODES}

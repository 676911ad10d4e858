"""How a report to send is laid out, whatever it rests on: what, why, lines to see it, a change, whoever was first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from diffnum.jobs.shown import short

__all__ = ["READ", "CodeReport", "laid_out"]

READ: Final = "It was read in the code, and not run."
"""Said of a change of which no run is known."""


def laid_out(
    title: str,
    where: str,
    versions: Mapping[str, str],
    parts: Sequence[tuple[str, str]],
    snippet: str,
    prints: str,
    *,
    change: str,
    tried: str,
    prior: str,
    reads: str = "",
    also: str = "",
) -> str:
    """A report in Markdown.

    Parameters
    ----------
    title, where : str
        One line; and the place in the code that it is about.
    versions : mapping of str to str
        Versions that the numbers belong to.
    parts : sequence of (str, str)
        Heads and paragraphs before the lines.
    snippet, prints : str
        Lines that run, and what they print.
    change : str
        Lines for others, each with its sign of a difference, or what to do in words.
    tried : str
        What was found when the change was made and run; empty if it was not.
    prior : str
        Earlier reports and changes.
    reads : str
        What the numbers are.
    also : str
        What stands before the versions.

    Returns
    -------
    str
    """
    named = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    told = "\n".join(f"# {line}" for line in prints.strip().splitlines())
    block = f"\n\n```diff\n{change}\n```\n\n" if change.startswith("-") else f" {change} "
    heads = [f"**{head}** {text}" for head, text in parts]
    see = f"**To see it.**{f' {reads}' if reads else ''}\n\n```python\n{snippet}\n{told}\n```"
    proposed = f"**Proposed change.**{block}{f'It was run: {tried}.' if tried else READ}"
    last = (f"**Earlier reports.** {prior}.", "**Reported?** To be filled in by the person who sends it.")
    return "\n\n".join((f"# {title}", f"{where}. Versions: {also}{named}.", *heads, see, proposed, *last)) + "\n"


@dataclass(frozen=True)
class CodeReport:
    """A finding in code on record.

    Parameters
    ----------
    stem : str
        Name of its file.
    title : str
        One line.
    where : str
        ``owner/repository at commit, file, function``.
    what : str
        The fault, in a sentence or two.
    snippet : str
        Lines that print the numbers.
    reads : str
        What the numbers are.
    change : str
        A line for another, as a difference, or what to do.
    prior : str
        Earlier reports.
    tried : str
        What was found when the change was made in these lines, or in the loop as it is on record; empty if it was not.
    """

    stem: str
    title: str
    where: str
    what: str
    snippet: str
    reads: str
    change: str
    prior: str = "none was found among the issues of the repository"
    tried: str = ""

    def __repr__(self) -> str:
        """Short form."""
        return short("CodeReport", self.stem, where=self.where)

    def written(self, prints: str, versions: Mapping[str, str]) -> str:
        """The report in Markdown."""
        return laid_out(
            self.title,
            self.where,
            versions,
            (("What.", self.what),),
            self.snippet,
            prints,
            change=self.change,
            tried=self.tried,
            prior=self.prior,
            reads=self.reads,
            also="that commit; ",
        )

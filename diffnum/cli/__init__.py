"""Command line: the words of the package as verbs.

Data go to standard output, progress and complaints to standard error. Exit status: 0 where everything that was checked
holds, 1 where a check fails or decides nothing, 2 for bad input (one line says what and how to mend it), 130 when
interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from diffnum.cli import analysis, catalogue, fitting, golden, networks, reports, verify
from diffnum.jobs.extras import explained

__all__ = ["app", "main"]

app = typer.Typer(
    name="diffnum",
    help="Reference numerics of diffusion sampling: derive, prove, measure, apply.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_COMMANDS = (
    catalogue.methods,
    catalogue.derive,
    catalogue.prove,
    verify.verify,
    analysis.analyse,
    catalogue.plan,
    catalogue.cite,
    networks.sample,
    networks.compare,
    fitting.fit,
    reports.audit,
    reports.report,
)
for _command in _COMMANDS:
    # compare takes lists as words: --nfe 5 10 20
    app.command(context_settings={"allow_extra_args": _command is networks.compare})(_command)
app.add_typer(golden.app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after the program's name; those of the process by default.
    """
    try:
        code = _status(arguments)
    except KeyboardInterrupt:  # wherever it arrives, also while another error is being reported
        code = 130
    sys.exit(code)


def _status(arguments: Sequence[str] | None) -> int:
    """Run the command line; its exit status."""
    try:
        status = app(args=None if arguments is None else list(arguments), standalone_mode=False)
    except ModuleNotFoundError as error:
        return _complain(str(explained("this", error)))
    except (ValueError, OSError) as error:
        return _complain(str(error) or type(error).__name__)
    except Exception as error:
        if not hasattr(error, "exit_code"):
            raise
        # typer's own: what it says of an option, or that the user stopped it
        message = error.format_message() if hasattr(error, "format_message") else ""
        if message:
            return _complain(message)
        return 130 if type(error).__name__ == "Abort" else int(error.exit_code)
    return status if isinstance(status, int) else 0


def _complain(message: str) -> int:
    """One line on standard error; the status of bad input."""
    typer.echo("diffnum: " + " ".join(message.split()), err=True)
    return 2

"""Command line: the words of the package as verbs.

Data go to standard output, progress and complaints to standard error. Exit status: 0 where everything that was checked
holds, 1 where a check fails or decides nothing, 2 for bad input and refusals (one line says what and how to mend it), 3
for what nobody foresaw (one line, and the traceback with ``DIFFNUM_DEBUG=1``), 130 when interrupted, 141 where nobody
reads the output any more.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Annotated, NoReturn

import typer

from diffnum.cli import analysis, catalogue, fitting, golden, networks, reports, verify
from diffnum.cli.progress import pulse
from diffnum.jobs.extras import explained

__all__ = ["DEBUG", "app", "main"]

DEBUG = "DIFFNUM_DEBUG"
"""Environment variable that asks for tracebacks."""

_REMEDIES = {
    "dn.methods() lists them all": "diffnum methods lists them all",
    "use None for the unconditional model": "leave --label out for the unconditional model",
    "bind one with conditioned(label)": "give one with --label",
}
"""What the package advises, in the words of the command line."""

HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="diffnum",
    help="Reference numerics of diffusion sampling: derive, prove, measure, apply.",
    epilog="diffnum COMMAND --help says what a command takes. Exit status: 0 all holds, 1 a check fails, 2 bad input.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=HELP,
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
    app.command(context_settings={**HELP, "allow_extra_args": _command is networks.compare})(_command)
app.add_typer(golden.app)


def _version(wanted: bool) -> None:
    """Print what numbers are made with, and leave."""
    if wanted:
        from diffnum.jobs.environment import versions_text

        typer.echo(versions_text("numpy", "scipy", "sympy"))
        raise typer.Exit


@app.callback()
def _begin(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print versions and exit.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after the program's name; those of the process by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with pulse(" ".join(["diffnum", *words[:1]])):
            code = _status(words)
    except KeyboardInterrupt:  # wherever it arrives, also while another error is being reported
        code = 130
    sys.exit(code)


def _status(words: list[str]) -> int:
    """Run the command line; its exit status."""
    if sys.stdout is None:
        return _complain("standard output is closed: nothing could be printed, send it to a file or to /dev/null")
    try:
        status = app(args=words, standalone_mode=False)
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        return _complain(str(explained("this", error)))
    except BrokenPipeError:
        return _unread()
    except (ValueError, OSError) as error:
        return _complain(_said(error))
    except MemoryError as error:
        return _complain(f"there is not enough memory ({error or 'none is left'}): ask for less at once")
    except SystemExit as left:  # typer's own way out is an exception of another kind
        if isinstance(left.__context__, BrokenPipeError):
            return _unread()
        return _complain(f"code that diffnum called left the program with status {left.code}: it must not call exit")
    except Exception as error:
        return _other(error, words)
    return status if isinstance(status, int) else 0


def _other(error: Exception, words: Sequence[str]) -> int:
    """Status of an error that is none of the plain ones; a complaint of typer's, a refusal of ours, or a surprise."""
    if hasattr(error, "exit_code"):
        # typer's own: what it says of an option, or that the user stopped it
        if type(error).__name__ == "NoArgsIsHelpError":  # the message is the whole help
            typer.echo(error.format_message(), err=True)  # type: ignore[attr-defined]
            return 2
        message = error.format_message() if hasattr(error, "format_message") else ""
        if message:
            return _complain(_with_value(error, words) or message.removeprefix("Invalid value: "))
        return 130 if type(error).__name__ == "Abort" else int(error.exit_code)
    if isinstance(error, TypeError) and _deliberate(error.__traceback__):
        return _complain(str(error))
    if os.environ.get(DEBUG):
        raise error
    where = _place(error.__traceback__)
    _complain(
        f"unexpected {type(error).__name__} in {where}: {error}; this is a defect, of diffnum or of the code that it "
        f"called ({DEBUG}=1 shows the traceback)"
    )
    return 3


def _with_value(error: Exception, words: Sequence[str]) -> str | None:
    """Complaint of typer's about the value of an option, with the value."""
    names = getattr(getattr(error, "param", None), "opts", ())
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in names and name.startswith("-"):
            reason = getattr(error, "message", "").replace("Input should be", "it should be")
            return f"{name} {value if equals else after!r}: {reason}"
    return None


def _last(trace: TracebackType | None) -> tuple[str, int]:
    """File and line where an error was raised."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return ("nowhere", 0) if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)


def _place(trace: TracebackType | None) -> str:
    """Last file and line, in short."""
    file, line = _last(trace)
    return f"{Path(file).name}, line {line}"


def _deliberate(trace: TracebackType | None) -> bool:
    """Whether an error was raised by a line of this package that raises, rather than met in passing."""
    file, line = _last(trace)
    ours = Path(file).is_relative_to(Path(__file__).parents[1])
    return ours and linecache.getline(file, line).lstrip().startswith("raise ")


def _said(error: Exception) -> str:
    """Message of an error, without the number that the system has for it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _unread() -> int:
    """Leave quietly where nobody reads on; 128 and the number of SIGPIPE, as shells have it."""
    with suppress(OSError, ValueError, AttributeError):  # what is left in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]
    return 141


def _complain(message: str) -> int:
    """One line on standard error; the status of bad input."""
    for ours, here in _REMEDIES.items():
        message = message.replace(ours, here)
    typer.echo("diffnum: " + " ".join(message.split()), err=True)
    return 2

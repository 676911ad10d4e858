"""What the commands share: options, records, output."""

from __future__ import annotations

import ast
import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import typer

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.catalogue import methods as all_methods
from diffnum.foreign.isolated import outspoken
from diffnum.jobs.data import json_text
from diffnum.jobs.extras import explained

__all__ = [
    "Jobs",
    "Json",
    "Kind",
    "Model",
    "Name",
    "Names",
    "Seed",
    "builder_of",
    "echo",
    "finish",
    "imported",
    "integers",
    "print_json",
    "records",
    "schedule_of",
    "settings",
]

Jobs = Annotated[
    int | None, typer.Option(help="Processes; one a core, at most four, by default.", min=1, show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Names = Annotated[list[str] | None, typer.Argument(help="Methods; all listed ones by default.", show_default=False)]
Name = Annotated[str, typer.Argument(help="A method, such as dpmpp_2m.", show_default=False)]
Model = Annotated[str, typer.Argument(help="A network, such as toy/digits.", show_default=False)]
Kind = Annotated[
    str, typer.Option(help="deterministic, stochastic or all; which methods are meant where none is named.")
]
Seed = Annotated[int, typer.Option(help="Seed of the noise.", min=0)]


def records(names: Sequence[str] | None, kind: Any = "deterministic") -> list[Any]:
    """Records of named methods, or of all of a kind."""
    listed = all_methods(kind)  # refuses an unknown kind whether names are given or not
    return [find_method(name) for name in (names or listed)]


def integers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas or blanks."""
    try:
        return tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError:
        msg = f"{option} {text!r}: give whole numbers separated by commas"
        raise typer.BadParameter(msg) from None


def schedule_of(name: str) -> Any:
    """Noising process of a name that needs no more than a name."""
    from diffnum import schedules

    known = [word for word in schedules.SCHEDULES if not schedules.required_of(word)]
    if name not in known:
        why = "is made of a table, which a command has not" if name in schedules.SCHEDULES else "is unknown"
        msg = f"--schedule {name!r} {why}: use one of {', '.join(known)}"
        raise typer.BadParameter(msg)
    return schedules.from_dict({"schedule": name})


def builder_of(name: str) -> Any:
    """Builder of grids that runs on every schedule."""
    from diffnum import grids

    known = [word for word, build in grids.GRIDS.items() if build is not grids.model_timesteps]
    if name not in known:
        why = "takes the labels of a table" if name in grids.GRIDS else "is unknown"
        msg = f"--grid {name!r} {why}: use one of {', '.join(known)}"
        raise typer.BadParameter(msg)
    return grids.GRIDS[name]


def imported(path: str) -> Any:
    """Function, class or scheduler ``package.module:name``; the working directory counts as a place for modules."""
    module, colon, attribute = path.partition(":")
    if not (colon and all(part.isidentifier() for part in (*module.split("."), attribute))):
        msg = f"--sampler {path!r}: write package.module:function, with dots between packages and no path or ending"
        raise typer.BadParameter(msg)
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with outspoken():
            found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        told = explained(f"--sampler {path!r}", error)
        raise typer.BadParameter(str(told) if told is not error else f"--sampler {path!r}: {error}") from None
    except (ImportError, AttributeError) as error:
        msg = f"--sampler {path!r}: {error}"
        raise typer.BadParameter(msg) from None
    except SystemExit as left:
        msg = f"--sampler {path!r}: {module} leaves the program with status {left.code} when it is imported"
        raise typer.BadParameter(msg) from None
    except Exception as error:
        msg = f"--sampler {path!r}: {module} raises {type(error).__name__} when it is imported: {error}"
        raise typer.BadParameter(msg) from error
    if not callable(found) and not hasattr(found, "set_timesteps"):
        msg = f"--sampler {path!r} is a {type(found).__name__}: name a function or a scheduler"
        raise typer.BadParameter(msg)
    return found


def settings(option: str, pairs: Sequence[str]) -> dict[str, Any]:
    """Arguments given as ``name=value``; values are JSON or Python where they can be, text otherwise."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name.isidentifier() and equals):
            msg = f"{option} {pair!r}: write name=value, such as solver_order=3"
            raise typer.BadParameter(msg)
        if name in found:
            msg = f"{option} {pair!r}: {name} is given twice, keep one"
            raise typer.BadParameter(msg)
        found[name] = _value(option, pair, value)
    return found


_WORDS: Mapping[str, bool | None] = MappingProxyType({"true": True, "false": False, "none": None, "null": None})
_ALMOST = ("yes", "no", "on", "off", "")


def _value(option: str, pair: str, text: str) -> Any:
    """What a text stands for, in JSON's spelling or Python's; what is neither is text."""
    word = text.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    if word in _ALMOST:  # text that is not empty is true, whatever it says
        msg = f"{option} {pair!r}: write True, False or None, or a text in quotes ({text!r})"
        raise typer.BadParameter(msg)
    for read in (json.loads, ast.literal_eval, float):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError):
            continue
    return text


def echo(text: str) -> None:
    """Print to standard output at once, so that long work shows as it comes."""
    typer.echo(text)
    sys.stdout.flush()


def print_json(data: Any) -> None:
    """Print JSON that every reader accepts: what is not finite becomes null."""
    typer.echo(json_text(data), nl=False)


def finish(ok: bool) -> None:
    """Leave with the status that says whether all held."""
    if not ok:
        raise typer.Exit(1)

"""Commands about test vectors for ports: golden export, golden check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffnum.cli.common import Json, echo, finish, print_json
from diffnum.cli.outputs import Force, some_path
from diffnum.cli.progress import progress_bar

__all__ = ["app"]

app = typer.Typer(
    name="golden",
    help="Test vectors for ports: write them, check answers.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder to write to.", parser=some_path, metavar="FOLDER")],
    names: Annotated[
        list[str] | None, typer.Argument(help="Methods; all listed ones by default.", show_default=False)
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write test vectors that need no Python.

    With schemas, and a page on how to use them.
    """
    import json

    from diffnum.conformance import export as write

    with progress_bar("writing vectors") as show:
        write(folder, names, progress=show, force=force)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    if as_json:
        print_json(index)
    else:
        listed = index["subjects"]
        echo(f"{folder}: {sum(s['vectors'] for s in listed)} vectors of {len(listed)} subjects; begin with README.md")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Answers of a port, as JSON.", parser=some_path, metavar="FILE")],
    complete: Annotated[bool, typer.Option("--all", help="Require an answer to every vector.")] = False,
    as_json: Json = False,
) -> None:
    """Check a port's answers; exit 1 unless all agree."""
    from diffnum.conformance import check as judge

    found = judge(file, complete=complete)
    if as_json:
        print_json(found.to_dict())
    else:
        echo(str(found))
    finish(found.ok)

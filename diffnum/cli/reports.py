"""Commands that write pages: audit, report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from diffnum.cli.common import Jobs, Json, echo, finish, print_json
from diffnum.cli.outputs import Force, check_file, some_path
from diffnum.cli.progress import progress_bar
from diffnum.jobs.files import write_text

__all__ = ["audit", "report"]


def audit(
    library: Annotated[
        str,
        typer.Argument(
            help="diffusers or k-diffusion, as installed; densities: log-densities of steps on record; "
            "codes: findings in code on record."
        ),
    ],
    only: Annotated[
        str | None, typer.Option(help="Parts of names or configurations, separated by commas.", show_default=False)
    ] = None,
    cache: Annotated[
        Path,
        typer.Option(
            help="Folder for finished rows; an interrupted audit goes on there.", parser=some_path, metavar="PATH"
        ),
    ] = Path("out/audit"),
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write as well.", parser=some_path, metavar="PATH")
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Compact JSON file to write as well, one row a line.", parser=some_path, metavar="PATH"),
    ] = None,
    upstream: Annotated[
        Path | None,
        typer.Option(help="Folder for reports to send, one a file.", parser=some_path, metavar="PATH"),
    ] = None,
    force: Force = False,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Measure the true orders of a library's samplers.

    Where an order is lost, the part that loses it is named. Exit 1 if a row falls short.
    """
    from diffnum.audits import REPORTS
    from diffnum.audits import audit as run_audit
    from diffnum.audits import upstream as reports_of

    if library == "densities":
        if out is not None or results is not None or upstream is not None:
            msg = "--out, --results and --upstream go with libraries: leave them out, or use --json"
            raise typer.BadParameter(msg)
        _audit_densities(only, as_json=as_json)
        return
    if library == "codes":
        if out is not None or results is not None:
            msg = "--out and --results go with libraries: leave them out, or use --upstream"
            raise typer.BadParameter(msg)
        _report_codes(only, upstream, force=force, as_json=as_json)
        return
    if out is not None:
        check_file("--out", out, (".html",), force=force)
    if results is not None:
        check_file("--results", results, (".json",), force=force)
    places = {} if upstream is None else {one.stem: upstream / f"{one.stem}.md" for one in REPORTS}
    for place in places.values():
        check_file("--upstream", place, (".md",), force=force)
    parts = None if only is None else [part.strip() for part in only.split(",")]
    if parts is not None and not all(parts):
        msg = f"--only {only!r}: an empty part is part of every name; give parts of names, such as DDIM,Euler"
        raise typer.BadParameter(msg)
    with progress_bar("audit") as show:
        found = run_audit(library, cache_dir=cache, jobs=jobs, only=parts, progress=show)
    command = f"diffnum audit {library}" + ("" if only is None else f" --only {only!r}")
    if out is not None:
        write_text(out, found.to_html())
    if results is not None:
        write_text(results, found.to_results(command))
    for stem, text in (reports_of(found) if upstream is not None else {}).items():
        write_text(places[stem], text)
    echo(found.to_json() if as_json else str(found))
    finish(found.ok)


def _audit_densities(only: str | None, *, as_json: bool) -> None:
    """Hold the log-densities of steps on record against that of the step."""
    from diffnum.audits.densities import COPIES, examined

    parts = [part.strip().lower() for part in only.split(",")] if only else [""]
    found = [examined(copy) for copy in COPIES if any(part in copy.source.lower() for part in parts)]
    if not found:
        msg = f"--only {only!r} names none of {', '.join(copy.source.split(',')[0] for copy in COPIES)}"
        raise typer.BadParameter(msg)
    if as_json:
        print_json(
            [
                {"source": f.copy.source, "steps": f.copy.family, "ok": f.sound, "mass": f.mass, "exponent": f.exponent,
                 "kl": f.kl, "wrong": list(f.sentences), "reported": f.copy.reported}
                for f in found
            ]
        )  # fmt: skip
    else:
        for one in found:
            echo(f"{'ok    ' if one.sound else 'FAIL  '}{one}")
    finish(all(one.sound for one in found))


def _report_codes(only: str | None, upstream: Path | None, *, force: bool, as_json: bool) -> None:
    """Run the lines of findings in code on record, and write their reports."""
    from diffnum.audits.elsewhere import CODES, printed
    from diffnum.jobs.environment import versions

    parts = [part.strip().lower() for part in only.split(",")] if only else [""]
    chosen = [code for code in CODES if any(part in f"{code.stem} {code.where}".lower() for part in parts)]
    if not chosen:
        msg = f"--only {only!r} names none of {', '.join(code.stem for code in CODES)}"
        raise typer.BadParameter(msg)
    places = {} if upstream is None else {code.stem: upstream / f"{code.stem}.md" for code in chosen}
    for place in places.values():
        check_file("--upstream", place, (".md",), force=force)
    prints = {code.stem: printed(code.snippet) for code in chosen}
    for code in chosen:
        if upstream is not None:
            write_text(places[code.stem], code.written(prints[code.stem], versions("numpy")))
    if as_json:
        print_json([{"stem": c.stem, "title": c.title, "where": c.where, "prints": prints[c.stem]} for c in chosen])
    else:
        for code in chosen:
            echo("\n".join([code.title, *(f"    {line}" for line in prints[code.stem].splitlines())]))


def report(
    out: Annotated[Path, typer.Option(help="HTML file to write.", parser=some_path, metavar="PATH")] = Path(
        "report.html"
    ),
    methods: Annotated[str, typer.Option(help="Methods, separated by commas; all listed ones by default.")] = "",
    models: Annotated[
        str, typer.Option(help="Networks, separated by commas; digits and a galaxy network by default.")
    ] = "",
    jobs: Jobs = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer problems and evaluations, for a first look.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Derive, prove, measure and apply methods; write a page.

    It is self-contained. Exit 1 if anything is contradicted.
    """
    from diffnum.report import DEFAULT_MODELS, build_report

    check_file("--out", out, (".html",), force=force)
    names = [m.strip() for m in methods.split(",")] if methods else None
    networks = [m.strip() for m in models.split(",")] if models else DEFAULT_MODELS
    with progress_bar("report") as show:
        page = build_report(
            out, names, networks, progress=show, jobs=jobs or min(4, max(1, os.cpu_count() or 1)), quick=quick
        )
    facts = {"out": str(out), "failures": page.failures, "undecided": page.undecided}
    missing = [m.id for m in page.models if m.missing]
    if as_json:
        print_json({**facts, "missing": missing})
    else:
        held = sum(m.proof_ok for m in page.methods)
        echo(f"{out}: {held} of {len(page.methods)} methods proved, {len(page.failures)} contradictions")
        for kind, lines in (("failed", page.failures), ("undecided", page.undecided), ("not sampled", missing)):
            for line in lines:
                echo(f"  {kind}: {line}")
    finish(page.ok)

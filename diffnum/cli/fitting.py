"""Command that finds a plan for a network, and the reader of such plans."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from diffnum.cli.common import Json, Model, Seed, echo, print_json
from diffnum.cli.options import guided, label_of
from diffnum.cli.outputs import Force, check_file, some_path
from diffnum.cli.progress import progress_bar
from diffnum.jobs.files import write_text

__all__ = ["fit"]


def fit(
    model: Model,
    nfe: Annotated[int, typer.Option(help="Evaluations of the plan.", min=1)] = 6,
    out: Annotated[
        Path,
        typer.Option(
            help="File of the plan (.json); a log beside it lets a stopped run go on.", parser=some_path, metavar="PATH"
        ),
    ] = Path("plan.json"),
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            "-n",
            help="Noises of the fit, as many unseen ones judge it: 128, or 64 for samples of 512 numbers and more.",
            min=1,
        ),
    ] = None,
    n_test: Annotated[int | None, typer.Option(help="Unseen noises, where they are not as many.", min=1)] = None,
    seed: Seed = 0,
    label: Annotated[str | None, typer.Option(help='Class, or "each" for all in turn.', show_default=False)] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Scale of classifier-free guidance; 1 is none. Needs --label.")
    ] = None,
    free: Annotated[str, typer.Option(help="What may change.")] = "times,levels,weights,scale",
    rows: Annotated[str, typer.Option(help="Conditions on the weights: free, order_1 or order_2.")] = "free",
    loss: Annotated[str, typer.Option(help="endpoint, robust, relaxed or trajectory.")] = "endpoint",
    radius: Annotated[float, typer.Option(help="How far relaxed starts may move, relative to their norm.")] = 0.05,
    cut: Annotated[float, typer.Option(help="Relative distance at which robust samples count half.")] = 0.2,
    starts: Annotated[int | None, typer.Option(help="Plans of the catalogue to start from: 2.", min=1)] = None,
    begin: Annotated[
        Path | None,
        typer.Option(help="A plan to start from instead of the first of them.", parser=some_path, metavar="PLAN.json"),
    ] = None,
    iterations: Annotated[int | None, typer.Option(help="Steps from each start, at most: 25.", min=0)] = None,
    teacher_tolerance: Annotated[
        float, typer.Option(help="What twice as many steps of the teacher may change, relative.")
    ] = 1e-3,
    derivatives: Annotated[str, typer.Option(help="auto, forward, differences or reverse.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    cache: Annotated[
        Path | None,
        typer.Option(help="File that keeps what fits of one network share.", parser=some_path, metavar="PATH"),
    ] = None,
    elsewhere: Annotated[
        str | None,
        typer.Option(help="Guidance scales, such as 1,2,4, on which the plan is held as well.", metavar="SCALES"),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Find the best plan of a few evaluations for a network.

    It is the one that follows a converged plan best, and is held against those of the catalogue.
    """
    check_file("--out", out, (".json",), force=force)
    from diffnum.calibration import fit_plan
    from diffnum.models import load
    from diffnum.plans import Plan

    labels = label_of(label)
    loaded: Any = load(model, dtype=dtype, device=device)
    network = loaded if guidance is None else guided(loaded, guidance, labels)
    others = {f"guidance {w:g}": guided(loaded, w, labels) for w in _scales(elsewhere)}
    with progress_bar(f"fitting {model}") as report:
        found = fit_plan(
            network,
            nfe,
            n=n,
            n_test=n_test,
            seed=seed,
            label=labels,
            free=tuple(free.replace(",", " ").split()),
            rows=rows,
            loss=loss,
            radius=radius,
            cut=cut,
            starts=starts,
            begin=None if begin is None else Plan.from_json(begin),
            iterations=iterations,
            teacher_tolerance=teacher_tolerance,
            derivatives=derivatives,
            cache=cache,
            ledger=out.with_suffix(".log.jsonl"),
            progress=report,
            command=shlex.join(["diffnum", *sys.argv[1:]]),
            elsewhere=others,
        )
    write_text(out, found.plan.to_json())
    out.with_suffix(".log.jsonl").unlink(missing_ok=True)
    if as_json:
        print_json({"out": str(out), **found.to_dict()})
    else:
        echo(f"{out}: {model}, {found}")
        for row in found.transfer:
            echo(f"    {row.name}: error {row.error:.4g}, {row.ratio:.2f} of {found.baseline.name} there")


def _scales(words: str | None) -> list[float]:
    """Guidance scales of an option."""
    try:
        return [float(word) for word in (words or "").replace(",", " ").split()]
    except ValueError:
        msg = f"--elsewhere={words!r}: give guidance scales, such as 1,2,4"
        raise ValueError(msg) from None

"""The command that analyses: stability, error constants, output law on Gaussian data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from diffnum.cli.common import Jobs, Json, Names, builder_of, echo, integers, print_json, records, schedule_of
from diffnum.cli.outputs import Force, check_file, some_path
from diffnum.cli.progress import tracked
from diffnum.jobs.parallel import spread

__all__ = ["analyse"]

_PICTURES = (".svg", ".png", ".pdf")


def analyse(
    names: Names = None,
    step: Annotated[
        float, typer.Option(help="Step in half-log-SNR for the stability of exponential forms; 0 is the limit.", min=0)
    ] = 0.5,
    beta: Annotated[float, typer.Option(help="Heavy ball on the method: weight of the newest slope, in (0, 1].")] = 1.0,
    schedule: Annotated[
        str | None, typer.Option(help="Noising process of the runs on Gaussian data.", show_default="vp-linear")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="Builder of their grids.", show_default="uniform_half_log_snr")
    ] = None,
    nfe: Annotated[
        str | None, typer.Option(help="Evaluations allowed, separated by commas.", show_default="5,10,20,40,80")
    ] = None,
    eigenvalues: Annotated[
        str, typer.Option(help="Variances of the data, separated by commas; 0.001 to 10 by default.")
    ] = "",
    spectrum: Annotated[
        bool,
        typer.Option(
            "--spectrum",
            help="Place methods x grids beside the best possible sampler: at 3 to 20 evaluations, on all four grids, "
            "for variances from 1e-4 to 1 (--eigenvalues: the two ends of the range), unless told otherwise.",
        ),
    ] = False,
    noise_levels: Annotated[
        str, typer.Option(help="With --spectrum: first and last sigma/alpha.", show_default="80,0.002")
    ] = "",
    start: Annotated[str, typer.Option(help="First state: noise, or marginal (the exact law).")] = "noise",
    parameter: Annotated[
        list[str] | None, typer.Option(help="A number that the method asks for, as NAME=VALUE.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Figure to write, of one method or with --spectrum: .svg, .png or .pdf.",
            parser=some_path,
            metavar="PATH",
        ),
    ] = None,
    force: Force = False,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Analyse methods: stability, constants, law on Gaussian data.

    That is regions and limits of stability, roots, error constants, and the exact law of the output.
    """
    from diffnum.analysis import summary

    if out is not None:
        check_file("--out", out, _PICTURES, force=force)
    if noise_levels and not spectrum:
        msg = f"--noise-levels {noise_levels!r}: is read with --spectrum only"
        raise typer.BadParameter(msg)
    if spectrum:
        if start != "noise" or parameter:
            msg = "--start and --parameter have no meaning with --spectrum: leave them out"
            raise typer.BadParameter(msg)
        _place(
            names,
            beta,
            nfe,
            eigenvalues,
            noise_levels,
            grid=grid,
            schedule=schedule,
            out=out,
            jobs=jobs,
            as_json=as_json,
        )
        return
    schedule, grid = schedule or "vp-linear", grid or "uniform_half_log_snr"
    chosen = records([_under_heavy_ball(name, beta) for name in names] if names else None)
    if out is not None and len(chosen) != 1:
        msg = f"--out {str(out)!r}: a figure shows one method, {len(chosen)} are named; give one"
        raise typer.BadParameter(msg)
    if not names and beta != 1.0:
        msg = f"--beta {beta}: name the methods"
        raise typer.BadParameter(msg)
    noising, build = schedule_of(schedule), builder_of(grid)
    budgets = integers("--nfe", nfe) if nfe is not None else summary.NFE
    variances = _numbers("--eigenvalues", eigenvalues) if eigenvalues else summary.SPECTRUM
    given = dict(_assignment(text) for text in parameter or ())
    work = partial(
        summary.analyse,
        step=step,
        schedule=noising,
        nfe=budgets,
        eigenvalues=variances,
        grid=partial(build, noising),
        start=start,  # type: ignore[arg-type]
        parameters=given or None,
    )
    found = []
    for _, one in tracked(spread(work, chosen, jobs, ordered=True), len(chosen), "analysing", lambda r: r.name):
        found.append(one)
        if not as_json:
            echo(str(one) + ("\n" if len(chosen) > 1 else ""))
    if out is not None:
        from diffnum.plot import save
        from diffnum.plot.analysis import plot_analysis

        save(plot_analysis(found[0]), out)
    if as_json:
        print_json([one.to_dict() for one in found])


def _place(
    names: list[str] | None, beta: float, nfe: str | None, eigenvalues: str, noise_levels: str, **more: Any
) -> None:
    """What --spectrum asks for."""
    from diffnum.analysis import chain
    from diffnum.cli.spectrum import place

    if not names and beta != 1.0:
        msg = f"--beta {beta}: name the methods"
        raise typer.BadParameter(msg)
    budgets = integers("--nfe", nfe) if nfe is not None else tuple(range(3, 21))
    if not budgets:
        msg = f"--nfe {nfe!r}: give at least one number of evaluations"
        raise typer.BadParameter(msg)
    place(
        [_under_heavy_ball(name, beta) for name in names] if names else None,
        budgets,
        _numbers("--eigenvalues", eigenvalues) if eigenvalues else chain.VARIANCES,
        _numbers("--noise-levels", noise_levels) if noise_levels else chain.NOISE_LEVELS,
        **more,
    )


def _under_heavy_ball(name: str, beta: float) -> str:
    """Name of the method with its slope averaged."""
    if not 0 < beta <= 1:
        msg = f"--beta {beta} is outside (0, 1]: 1 is no momentum"
        raise typer.BadParameter(msg)
    return name if beta == 1 else f"hb_{name}_{beta!r}"


def _numbers(option: str, text: str) -> tuple[float, ...]:
    """Numbers separated by commas or blanks."""
    try:
        return tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        msg = f"{option} {text!r}: give numbers separated by commas"
        raise typer.BadParameter(msg) from None


def _assignment(text: str) -> tuple[str, float]:
    """Name and number."""
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        msg = f"--parameter {text!r}: write NAME=VALUE, such as ratio=0.95"
        raise typer.BadParameter(msg) from None

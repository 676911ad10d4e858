"""``diffnum analyse --spectrum``: the catalogue on its grids, beside the best that is possible on Gaussian data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import typer

from diffnum.cli.common import echo, print_json, schedule_of
from diffnum.cli.progress import tracked
from diffnum.jobs.parallel import spread

__all__ = ["place"]


def place(
    methods: Sequence[str] | None,
    nfe: Sequence[int],
    variances: Sequence[float],
    noise_levels: Sequence[float],
    *,
    grid: str | None,
    schedule: str | None,
    out: Path | None,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Rank methods on grids for each number of evaluations, and print, draw or dump what was found."""
    from diffnum.analysis import ranking

    for option, pair in (("--eigenvalues", variances), ("--noise-levels", noise_levels)):
        if len(pair) != 2:
            msg = f"{option}: {len(pair)} numbers; with --spectrum give the two ends of a range"
            raise typer.BadParameter(msg)
    if not noise_levels[0] > noise_levels[1] >= 0:
        msg = f"--noise-levels {noise_levels[0]:g},{noise_levels[1]:g}: give the larger level first, as 80,0.002"
        raise typer.BadParameter(msg)
    if not 0 <= variances[0] <= variances[1]:
        msg = f"--eigenvalues {variances[0]:g},{variances[1]:g}: give the ends of a range, 0 <= low <= high"
        raise typer.BadParameter(msg)
    if grid is not None and grid not in ranking.NAMED_GRIDS:
        msg = f"--grid {grid!r} is not ranked: use one of {', '.join(ranking.NAMED_GRIDS)}"
        raise typer.BadParameter(msg)
    work = partial(
        ranking.rank,
        variances=tuple(variances),  # type: ignore[arg-type]
        noise_levels=tuple(noise_levels),  # type: ignore[arg-type]
        methods=None if methods is None else tuple(methods),
        grids=None if grid is None else (grid,),
        schedule=None if schedule is None else schedule_of(schedule),
    )
    found = [one for _, one in tracked(spread(work, nfe, jobs, ordered=True), len(nfe), "ranking", str)]
    if out is not None:
        from diffnum.plot import save
        from diffnum.plot.limits import plot_limit

        save(plot_limit(found), out)
    if as_json:
        print_json([one.to_dict() for one in found])
    else:
        echo(str(found[0]) if len(found) == 1 else summary(found))


def summary(found: Sequence[Any]) -> str:
    """One line a number of evaluations: the limit, and the two best of the catalogue."""
    limit = found[0].limit
    lines = [
        f"sigma/alpha {limit.noise_levels[0]:g} to {limit.noise_levels[1]:g}, variances {limit.variances[0]:g} to "
        f"{limit.variances[1]:g}, {len({row.method for one in found for row in one.rows})} methods",
        f"{'NFE':>4} {'limit':>10} {'least worst error':>18}  {'by':<40} {'least RMS log gain':>18}  by",
    ]
    for one in found:
        worst, rms = one.least_worst, one.best
        by = [f"{row.method} on {row.grid}" for row in (worst, rms)]
        lines.append(
            f"{one.nfe:>4} {one.limit.error:>10.3g} {worst.worst:>18.3g}  {by[0]:<40} {rms.rms_log:>18.3g}  {by[1]}"
        )
    return "\n".join(lines)

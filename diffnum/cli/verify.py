"""The command that verifies: certificates of methods, strong and weak orders, a sampler of your own."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from diffnum.cli.certificates import certified
from diffnum.cli.common import (
    Jobs,
    Json,
    Kind,
    Names,
    Seed,
    echo,
    finish,
    integers,
    print_json,
    records,
    schedule_of,
    settings,
)
from diffnum.cli.discrete import verify_discrete
from diffnum.cli.outputs import Force, as_folder, check_file, check_writable, some_path
from diffnum.cli.own_sampler import Wishes, reals, verify_noisy, verify_own
from diffnum.cli.progress import tracked
from diffnum.cli.targets import verify_target
from diffnum.jobs.parallel import spread
from diffnum.types import Schedule

__all__ = ["verify"]

PATIENCE = 15.0
"""Seconds after which a sampler of the user's own is judged by what is known."""

Cache = Annotated[
    Path,
    typer.Option(
        help="Folder for finished pieces; an interrupted run goes on there.", parser=some_path, metavar="PATH"
    ),
]

DRAWS = 200_000


def verify(
    names: Names = None,
    sampler: Annotated[
        str, typer.Option(help="Your sampler: package.module:function, or the class or object of a scheduler.")
    ] = "",
    order: Annotated[float | None, typer.Option(help="Order that must hold, for --sampler.")] = None,
    convention: Annotated[
        str, typer.Option(help="How it is called: nodes, k-diffusion, diffusers or flow; told by its parameters.")
    ] = "",
    option: Annotated[
        list[str] | None, typer.Option(help="Further argument of it, as name=value; may be repeated.")
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="Noising process; by default vp-linear (alpha = 1 needs edm), and all for certificates.")
    ] = "",
    steps: Annotated[str, typer.Option(help="Step counts, such as 20,40,80,160; chosen by rule by default.")] = "",
    interval: Annotated[str, typer.Option(help="For --sampler: half-log-SNR of both ends, as --interval=-1,1.")] = "",
    problem: Annotated[str, typer.Option(help="For --sampler: data with exact answers, such as three-peaks.")] = "",
    grids: Annotated[str, typer.Option(help="For --sampler: kinds of grid, of uniform,smooth,irregular.")] = "",
    clock: Annotated[
        str, typer.Option(help="For --sampler: where uniform steps are equal: half-log-snr, sigma or flow-time.")
    ] = "half-log-snr",
    shape: Annotated[str, typer.Option(help="For --sampler: shape of one state, such as 1,2,2.")] = "",
    patience: Annotated[
        float, typer.Option(help="For --sampler: seconds after which nothing more is tried.")
    ] = PATIENCE,
    out: Annotated[
        Path | None,
        typer.Option(
            help="HTML file, or folder, for the certificates and their JSON.", parser=some_path, metavar="PATH"
        ),
    ] = None,
    force: Force = False,
    mutate: Annotated[bool, typer.Option("--mutate", help="Plant every defect in every method as well.")] = False,
    discrete: Annotated[
        bool, typer.Option("--discrete", help="Samplers on tokens: names of dn.discrete, or --sampler.")
    ] = False,
    measure: Annotated[
        str, typer.Option(help="For --sampler with noise: strong, weak or law; which order is claimed.")
    ] = "",
    noise_level: Annotated[
        float, typer.Option(help="For --measure strong or weak: tau of the equation that is solved; 1 the reversal.")
    ] = 1.0,
    target: Annotated[
        str, typer.Option(help="For --sampler with weights: law that it claims, tilted, power, product or posterior.")
    ] = "",
    draws: Annotated[
        int, typer.Option(help="With --discrete: sequences that a sampler on batches draws at each level.")
    ] = DRAWS,
    seed: Seed = 0,
    cache: Cache = Path("out/verify"),
    kind: Kind = "deterministic",
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Certify methods, or measure a sampler of your own.

    Exit 1 unless each is as claimed.

    A certificate holds the symbolic proof, the accuracy of the weights by ball arithmetic, the orders measured on
    problems with exact answers, what start-up and last step cost, and the agreement with recorded trajectories. Of
    stochastic methods the strong order, the weak order and that in law are measured, free of sampling noise, on
    Gaussian data; an order that the data do not decide is named, and is no failure. A sampler of your own is called as
    f(model, x, nodes) with half-log-SNRs, increasing; as f(model, x, sigmas) with a denoiser (k-diffusion); as
    f(model, x, timesteps) with a velocity (flow time); or is a scheduler of diffusers. With --measure it draws noise:
    it takes a last argument noise(a, b) of two nodes, or k-diffusion's noise_sampler, or draws with torch; nothing is
    sampled, and with --measure law the answer says whether the marginals are kept, and the size of the bias.

    With --target a sampler of your own is weighted: it is called as f(task, n, seed), returns x, (x, log_weights) or
    (x, log_weights, log_evidence), and is held against a law that is known; a bias is told with its likely cause.

    With --discrete the samplers are those on tokens: proved, and measured on laws that are enumerated. One of your own
    is called as f(model, x, t, s), and returns the law of each token at time s < t; or as f(model, x, nodes, rng), and
    returns tokens. A law that is exact is claimed by --order inf. --schedule is then masked, uniform, masked-cosine and
    the like.
    """
    from diffnum.certificates.page import places

    levels = integers("--steps", steps) if steps else None
    if discrete:
        if sampler and (names or order is None):
            msg = "--sampler needs --order, and no method names"
            raise typer.BadParameter(msg)
        if mutate or out is not None:
            msg = "--mutate and --out go with methods of the catalogue: leave out --discrete"
            raise typer.BadParameter(msg)
        if order is not None and not sampler:
            msg = "--order goes with --sampler; a sampler on tokens has its own"
            raise typer.BadParameter(msg)
        if order is not None and not order >= 0:
            msg = f"--order {order:g} is no order that can be claimed: give a number >= 0, or inf for an exact law"
            raise typer.BadParameter(msg)
        alien = {
            "--interval": interval,
            "--problem": problem,
            "--grids": grids,
            "--shape": shape,
            "--measure": measure,
            "--target": target,
            "--clock": clock != "half-log-snr",
            "--patience": patience != PATIENCE,
            "--noise-level": noise_level != 1.0,
        }
        if not sampler:
            alien |= {"--convention": convention, "--option": option}
        if strange := [name for name, value in alien.items() if value]:
            msg = f"{', '.join(strange)}: does not go with --discrete, leave it out"
            raise typer.BadParameter(msg)
        given = settings("--option", option or ())
        verify_discrete(names, sampler, order, convention, given, schedule, levels, draws, seed, as_json=as_json)
        return
    if target:
        if not sampler or names or order is not None:
            msg = "--target needs --sampler, and neither method names nor --order"
            raise typer.BadParameter(msg)
        verify_target(sampler, target, settings("--option", option or ()), levels, seed, as_json=as_json)
        return
    noising = schedule_of(schedule or "vp-linear")
    if sampler:
        if names or order is None:
            msg = "--sampler needs --order, and no method names"
            raise typer.BadParameter(msg)
        if mutate or out is not None:
            msg = "--mutate and --out go with methods of the catalogue: leave out --sampler"
            raise typer.BadParameter(msg)
        if not (order > 0 and math.isfinite(order)):
            msg = f"--order {order:g} is no order that can be claimed: give a number > 0, such as 2"
            raise typer.BadParameter(msg)
        ends = tuple(reals("--interval", interval)) if interval else ()
        state = tuple(integers("--shape", shape)) if shape else ()
        kinds = tuple(dict.fromkeys(part.strip() for part in grids.split(","))) if grids else ()
        idle = {"--draws": draws != DRAWS, "--seed": seed != 0, "--noise-level": noise_level != 1.0 and not measure}
        if strange := [name for name, value in idle.items() if value]:
            msg = f"{', '.join(strange)}: has no part in what is measured here, leave it out"
            raise typer.BadParameter(msg)
        wishes = Wishes(convention, clock, problem, kinds, ends, state, levels, patience)
        if measure:
            given = settings("--option", option or ())
            verify_noisy(sampler, order, measure, noise_level, given, noising, wishes, as_json=as_json)
            return
        verify_own(sampler, order, settings("--option", option or ()), noising, wishes, as_json=as_json)
        return
    if order is not None:
        msg = "--order goes with --sampler; a method of the catalogue has its own"
        raise typer.BadParameter(msg)
    own = {
        "--convention": convention,
        "--option": option,
        "--interval": interval,
        "--problem": problem,
        "--grids": grids,
        "--shape": shape,
        "--measure": measure,
        "--clock": clock != "half-log-snr",
        "--patience": patience != PATIENCE,
        "--noise-level": noise_level != 1.0,
    }
    if draws != DRAWS:
        msg = "--draws goes with --discrete, leave it out"
        raise typer.BadParameter(msg)
    if cache.exists() and not cache.is_dir():
        msg = f"--cache {str(cache)!r} is no folder: give another place"
        raise typer.BadParameter(msg)
    if strange := [name for name, value in own.items() if value]:
        msg = f"{', '.join(strange)}: goes with --sampler, leave it out for methods of the catalogue"
        raise typer.BadParameter(msg)
    chosen = records(names, kind)
    random = [record.name for record in chosen if record.stochastic]
    if random and (mutate or out is not None):
        listed = ", ".join(random[:3]) + (", ..." if len(random) > 3 else "")
        msg = f"--out and --mutate are for certificates, and methods with noise have none: leave out {listed}"
        raise typer.BadParameter(msg)
    if out is not None:
        page, record = places(out if as_folder(out) or out.suffix == ".html" else _no_page(out))
        check_file("--out", page, (".html",), force=force)
        check_writable(record, force=force)
    fixed, drawn = ([r for r in chosen if r.stochastic is random] for random in (False, True))
    data: dict[str, Any] = {"ok": True}
    if fixed:
        data = certified(
            [r.name for r in fixed],
            schedule=schedule,
            steps=levels,
            seed=seed,
            out=out,
            mutate=mutate,
            cache=cache,
            jobs=jobs,
            silent=as_json,
        )
    if drawn:
        work = spread(partial(_stochastic, schedule=noising, levels=levels), drawn, jobs, ordered=True)
        data["stochastic"] = []
        for _, result in tracked(work, len(drawn), "measuring", lambda record: str(record.name)):
            data["stochastic"].append(result)
            data["ok"] = data["ok"] and result["ok"]
            if not as_json:
                echo(("ok    " if result["ok"] else "FAIL  ") + result["verdict"])
                for reason in (*result["wrong"], *result["undecided"]):
                    echo(f"      {reason}")
    if as_json:
        print_json(data)
    finish(data["ok"])


def _no_page(out: Path) -> Path:
    """Refuse what is neither a page nor a folder."""
    msg = f"--out {str(out)!r}: give a folder, or a file that ends in .html"
    raise typer.BadParameter(msg)


def _stochastic(record: Any, *, schedule: Schedule, levels: tuple[int, ...] | None) -> dict[str, Any]:
    """Strong and weak order of a stochastic method and its order in law, against the record."""
    from diffnum.coefficients.noise import ORDERS
    from diffnum.convergence.study import convergence_study

    measures = ORDERS if record.noise.approaches else ("law",)  # without an equation there is but the law at the end
    studies = [convergence_study(record, schedule=schedule, steps=levels, measure=measure) for measure in measures]
    wrong, undecided = [], []
    for s in studies:
        recorded = s.recorded or 0.0
        diverges = any(curve.estimate.status == "diverging" for curve in s.series)
        if s.order is None and not diverges:
            undecided.append(f"{s.measure} order: undecided, recorded {recorded:g}: {s.verdict}")
        elif s.order is None or s.order < recorded:
            wrong.append(f"{s.measure} order: measured {s.order}, recorded {recorded:g}")
    words = {"strong": "strong order", "weak": "weak order", "law": "order in law"}
    names = [words[measure] for measure in measures]
    orders = ("undecided" if s.order is None else f"{s.order:g}" for s in studies)
    found = ", ".join(f"{name} {order}" for name, order in zip(names, orders, strict=True))
    return {
        "name": record.name,
        "verdict": f"{record.name}: {found}, start-up as shipped",
        "studies": [s.to_dict() for s in studies],
        "ok": not wrong,
        "wrong": wrong,
        "undecided": undecided,
    }

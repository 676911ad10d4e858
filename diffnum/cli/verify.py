"""The command that measures orders."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from diffnum.cli.common import Jobs, Json, Kind, Names, echo, finish, integers, print_json, records, settings, tracked
from diffnum.cli.own_sampler import study_data, verify_own
from diffnum.coefficients.method import GRID_KINDS
from diffnum.parallel import spread
from diffnum.types import Schedule

__all__ = ["verify"]


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
    schedule: Annotated[str, typer.Option(help="Noising process; a sampler with alpha = 1 needs edm.")] = "vp-linear",
    steps: Annotated[str, typer.Option(help="Step counts, such as 20,40,80,160; chosen by rule by default.")] = "",
    kind: Kind = "deterministic",
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Measure orders on problems with exact answers; exit 1 unless each is decided and as claimed.

    Of stochastic methods the strong order, the weak order and that in law are measured, free of sampling noise, on
    Gaussian data. A sampler of your own is called as f(model, x, nodes) with half-log-SNRs, increasing; as
    f(model, x, sigmas) with a denoiser (k-diffusion); as f(model, x, timesteps) with a velocity (flow time); or is a
    scheduler of diffusers.
    """
    from diffnum import schedules

    noising = schedules.from_dict({"schedule": schedule})
    levels = integers("--steps", steps) if steps else None
    if sampler:
        if names or order is None:
            raise typer.BadParameter("--sampler needs --order, and no method names")
        verify_own(sampler, order, convention, settings("--option", option or ()), noising, levels, as_json=as_json)
        return
    if order is not None:
        raise typer.BadParameter("--order goes with --sampler; a method of the catalogue has its own")
    if convention or option:
        raise typer.BadParameter("--convention and --option go with --sampler")
    subjects = [(r, {grid: float(r.order_on(grid)) for grid in GRID_KINDS}) for r in records(names, kind)]
    work = spread(partial(_measured, schedule=noising, steps=levels), subjects, jobs, ordered=True)
    results = []
    for _, result in tracked(work, len(subjects), "measuring", lambda s: str(s[0].name)):
        results.append(result)
        if not as_json:
            echo(("ok    " if result["ok"] else "FAIL  ") + result["verdict"])
            for reason in result["wrong"]:
                echo(f"      {reason}")
    if as_json:
        print_json(results)
    finish(all(r["ok"] for r in results))


def _measured(
    task: tuple[Any, dict[str, float]], *, schedule: Schedule, steps: tuple[int, ...] | None
) -> dict[str, Any]:
    """Study of one subject as data, and what of it does not support the expected orders."""
    from diffnum.convergence.study import convergence_study

    subject, expected = task
    if subject.stochastic:
        return _stochastic(subject, schedule, steps)
    study = convergence_study(subject, schedule=schedule, steps=steps)
    wrong = _unsupported(study, expected)
    wrong += [
        f"one-step defect on {kind}: rate {rate:.2f}, not {expected[kind] + 1:g}"
        for kind, rate in study.local_rates.items()
        if rate is not None and rate < expected[kind] + 0.8
    ]
    return {**study_data(study), "expected": expected, "ok": not wrong, "wrong": wrong}


def _stochastic(record: Any, schedule: Schedule, levels: tuple[int, ...] | None) -> dict[str, Any]:
    """Strong and weak order of a stochastic method and its order in law, against the record."""
    from diffnum.convergence.stochastic import law_study, strong_study, weak_study

    given: dict[str, Any] = {"schedule": schedule} | ({"steps": levels} if levels else {})
    studies = [study(record, **given) for study in (strong_study, weak_study, law_study)]
    wrong = [
        f"{s.kind} order: measured {s.order}, recorded {s.expected:g}"
        for s in studies
        if s.order is None or s.order < s.expected
    ]
    names = ("strong order", "weak order", "order in law")
    orders = ("undecided" if s.order is None else f"{s.order:g}" for s in studies)
    found = ", ".join(f"{name} {order}" for name, order in zip(names, orders, strict=True))
    verdict = f"{record.name}: {found}, start-up as shipped"
    data = [s.to_dict() for s in studies]
    return {"name": record.name, "verdict": verdict, "studies": data, "ok": not wrong, "wrong": wrong}


def _unsupported(study: Any, expected: dict[str, float]) -> list[str]:
    """Why an order is not shown; that a kinder problem shows a higher one is no objection where another shows it."""
    wrong = []
    for kind in expected:
        here = [s for s in study.select() if s.grid == kind]
        shown = any(s.estimate.supports(expected[kind]) for s in here)
        for s in here:
            above = s.estimate.status == "decided" and s.estimate.rate > expected[kind]
            if not s.estimate.supports(expected[kind]) and not (shown and above):
                wrong.append(f"{s.problem} on {kind}: {s.estimate.reason}")
    return wrong

"""Verify a sampler of the user's own: what ``diffnum verify --sampler`` does."""

from __future__ import annotations

from typing import Any

import typer

from diffnum.cli.common import echo, finish, imported, print_json, progress_bar
from diffnum.types import Schedule

__all__ = ["study_data", "verify_own"]


def verify_own(
    path: str,
    order: float,
    convention: str,
    options: dict[str, Any],
    schedule: Schedule,
    steps: tuple[int, ...] | None,
    *,
    as_json: bool,
) -> None:
    """Measure a sampler, say what is likely wrong where its order does not hold, leave with status 0 or 1."""
    from diffnum.convergence.study import convergence_study

    sampler = _sampler(path, convention, options)
    with progress_bar("measuring"):
        try:
            study = convergence_study(sampler, schedule=schedule, steps=steps)
        except TypeError as error:  # the sampler returns what it must not
            raise ValueError(str(error)) from error
        wrong = study.objections(order)
        likely = study.explain(order).splitlines() if wrong and study.explain is not None else []
    if as_json:
        print_json([{**study_data(study), "claimed": order, "ok": not wrong, "wrong": wrong, "likely": likely}])
    else:
        echo(("ok    " if not wrong else "FAIL  ") + study.verdict)
        for line in (*wrong, *likely):
            echo(f"      {line}")
    finish(not wrong)


def _sampler(path: str, convention: str, options: dict[str, Any]) -> Any:
    """Sampler as ``sampler(model, x, nodes)``; options go to the constructor of a class, and else to every call."""
    from diffnum.foreign import understood

    found, how = imported(path), convention or None
    try:
        if isinstance(found, type) and hasattr(found, "set_timesteps"):
            return understood(found(**options), how)  # type: ignore[arg-type]
        return understood(found, how, **options)  # type: ignore[arg-type]
    except TypeError as error:
        raise typer.BadParameter(f"--sampler {path!r}: {error}") from None


def study_data(study: Any) -> dict[str, Any]:
    """Study as JSON-able data."""
    series = [
        {
            "problem": s.problem,
            "grid": s.grid,
            "variant": s.variant,
            "measure": s.measure,
            "rate": s.estimate.rate,
            "order": s.order,
            "status": s.estimate.status,
            "reason": s.estimate.reason,
            "steps": s.estimate.steps.tolist(),
            "errors": s.estimate.errors.tolist(),
        }
        for s in study.series
    ]
    return {
        "name": study.name,
        "verdict": study.verdict,
        "order": study.order,
        "orders": study.orders,
        "order_with_startup": study.order_with_startup,
        "series": series,
    }

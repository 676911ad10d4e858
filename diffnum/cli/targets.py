"""Verify a weighted sampler of the user's own: what ``diffnum verify --sampler --target`` does."""

from __future__ import annotations

from functools import partial
from typing import Any

import typer

from diffnum.cli.common import echo, finish, imported, print_json
from diffnum.cli.progress import progress_bar
from diffnum.foreign.isolated import outspoken

__all__ = ["verify_target"]


def verify_target(
    path: str, target: str, options: dict[str, Any], steps: tuple[int, ...] | None, seed: int, *, as_json: bool
) -> None:
    """Hold a sampler against a known target, say what is off and why, leave with status 0 or 1."""
    from diffnum.inverse.audit import audit_posterior
    from diffnum.particles.audit import TARGETS, audit_target

    if target not in TARGETS:
        msg = f"--target {target!r} is unknown: use one of {', '.join(TARGETS)}"
        raise typer.BadParameter(msg)
    if steps is not None and len(steps) != 2:
        msg = f"--steps {','.join(map(str, steps))}: --target takes two step counts, such as 60,120"
        raise typer.BadParameter(msg)
    sampler: Any = imported(path)
    given: dict[str, Any] = {} if steps is None else {"steps": (steps[0], steps[1])}
    with progress_bar("sampling"), outspoken():
        try:
            own = partial(sampler, **options) if options else sampler
            found: Any = (
                audit_posterior(own, seed=seed, **given)
                if target == "posterior"
                else audit_target(own, target, seed=seed, **given)
            )
        except TypeError as error:
            msg = f"--sampler {path!r}, called as f(task, n, seed): {error}"
            raise typer.BadParameter(msg) from None
    if as_json:
        rows = [
            {"name": name, "found": value, "error": error, "exact": exact}
            for name, value, error, exact in zip(found.names, found.found, found.error, found.exact, strict=True)
        ]
        print_json({"name": path, "target": target, "ok": found.ok, "cause": found.cause, "numbers": rows})
    else:
        verdict = "samples" if found.ok else "does not sample"
        echo(("ok    " if found.ok else "FAIL  ") + f"{path} {verdict} the target {target!r}")
        for line in found.sentences:
            echo(f"      {line}")
    finish(found.ok)

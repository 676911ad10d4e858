"""What ``diffnum verify`` does with deterministic methods: certificates, and the mutation run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from diffnum.cli.common import echo
from diffnum.cli.progress import progress_bar

__all__ = ["certified"]


def certified(
    names: Sequence[str],
    *,
    schedule: str,
    steps: Sequence[int] | None,
    seed: int,
    out: Path | None,
    mutate: bool,
    cache: Path,
    jobs: int | None,
    silent: bool,
) -> dict[str, Any]:
    """Certify methods, write the page, print what was found unless ``silent``; the findings as JSON-able data."""
    from diffnum.certificates import certify
    from diffnum.certificates.page import write

    schedules = [schedule] if schedule else None
    with progress_bar("certifying") as show:
        found = certify(names, seed=seed, schedules=schedules, steps=steps, cache_dir=cache, jobs=jobs, progress=show)
    kills: Any = None
    if mutate:
        from diffnum.certificates.kills import mutate as plant

        with progress_bar("mutating") as show:
            kills = plant(names, cache_dir=cache, jobs=jobs, progress=show)
    if out is not None:
        page, record = write(found, out, kills)
        typer.echo(f"{page} and {record} are written", err=True)
    if not silent:
        for certificate in found.certificates:
            echo(("ok    " if certificate.ok else "FAIL  ") + certificate.summary())
            for reason in certificate.contradictions:
                echo(f"      {reason}")
            for reason in certificate.undecided:
                echo(f"      undecided: {reason}")
        if kills:
            echo(f"\n{kills}")
    data = found.to_dict()
    if kills:
        data |= {"mutants": kills.to_dict(), "ok": found.ok and kills.ok}
    return data

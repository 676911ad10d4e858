"""Verify a sampler of the user's own: what ``diffnum verify --sampler`` does."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import Any

import typer

from diffnum.cli.common import echo, finish, imported, print_json
from diffnum.cli.progress import progress_bar
from diffnum.foreign.isolated import OutOfTime, outspoken, time_limit
from diffnum.types import Schedule

__all__ = ["Wishes", "judgement_data", "reals", "study_data", "verify_noisy", "verify_own"]

LONGER = 1.2
"""Times its patience that a judgement may take, whatever a sampler does; more where others keep the machine busy."""

WORDS = {"holds": "ok    ", "fails": "FAIL  ", "undecided": "?     "}
"""First word of the first line, by verdict."""


@dataclass(frozen=True)
class Wishes:
    """How a sampler of the user's own is to be tried, as the command line says it; empty for what is chosen by rule.

    Parameters
    ----------
    convention, clock, problem : str
        Names.
    grids : tuple of str
        Kinds of grid.
    interval : tuple of float
        Half-log-SNR of both ends.
    shape : tuple of int
        Shape of one state.
    steps : tuple of int or None
        Step counts.
    patience : float
        Seconds.
    """

    convention: str
    clock: str
    problem: str
    grids: tuple[str, ...]
    interval: tuple[float, ...]
    shape: tuple[int, ...]
    steps: tuple[int, ...] | None
    patience: float

    def arguments(self) -> dict[str, Any]:
        """Arguments of :func:`diffnum.convergence.judgement.judge`."""
        from diffnum.convergence.wrapped import CLOCKS
        from diffnum.problems import examples

        known = examples()
        if self.problem and self.problem not in known:
            msg = f"--problem {self.problem!r} is unknown: use one of {', '.join(known)}"
            raise typer.BadParameter(msg)
        if self.clock not in CLOCKS:
            msg = f"--clock {self.clock!r} is unknown: use one of {', '.join(CLOCKS)}"
            raise typer.BadParameter(msg)
        if self.interval and len(self.interval) != 2:
            msg = "--interval takes two half-log-SNRs, such as --interval=-1,1"
            raise typer.BadParameter(msg)
        if not all(map(math.isfinite, self.interval)):
            msg = "--interval takes finite half-log-SNRs, such as --interval=-1,1; the end at sigma = 0 is tried anyway"
            raise typer.BadParameter(msg)
        if not all(s > 0 for s in self.shape):
            msg = "--shape takes numbers > 0, such as 1,2,2"
            raise typer.BadParameter(msg)
        if not self.patience > 0:
            msg = f"--patience {self.patience:g}: give seconds > 0"
            raise typer.BadParameter(msg)
        given = {
            "convention": self.convention or None,
            "problem": known.get(self.problem),
            "interval": self.interval or None,
            "shape": self.shape or None,
            "steps": self.steps,
            "patience": self.patience,
            "clock": self.clock,
        }
        return {**given, **({"grids": self.grids} if self.grids else {})}


def verify_own(
    path: str, order: float, options: dict[str, Any], schedule: Schedule, wishes: Wishes, *, as_json: bool
) -> None:
    """Judge a sampler, say what to look at where its order does not hold, leave with status 0 or 1."""
    from diffnum.convergence.judgement import Judgement, judge

    arguments = wishes.arguments()
    sampler, options = _sampler(path, options)
    busy = os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 1.0  # by others
    # What it took to get here counts: with the usual patience a command ends within 20 s.
    longest = max(wishes.patience, LONGER * wishes.patience + 1.0 - time.process_time()) * max(1.0, busy)
    with progress_bar("measuring"), outspoken(), time_limit(longest):
        try:
            found = judge(sampler, order, schedule=schedule, **arguments, **options)
        except OutOfTime:
            text = f"it had not ended after {longest:.0f} s, and was stopped: give it more with --patience"
            found = Judgement(path.partition(":")[2], order, "undecided", (), (text,), ())
        except TypeError as error:  # the sampler returns what it must not, or takes other arguments
            more = "; give its further arguments with --option" if "missing" in str(error) else ""
            msg = f"--sampler {path!r}: {error}{more}"
            raise ValueError(msg) from error
        except SystemExit as left:
            msg = f"--sampler {path!r}: it leaves the program with status {left.code}; a sampler must not call exit"
            raise ValueError(msg) from None
    if as_json:
        print_json([judgement_data(found)])
    else:
        echo(WORDS[found.verdict] + found.summary)
        for line in (*found.sentences, *(f"note: {note}" for note in found.notes)):
            echo(f"      {line}")
    finish(found.ok)


def verify_noisy(
    path: str,
    order: float,
    measure: str,
    noise_level: float,
    options: dict[str, Any],
    schedule: Schedule,
    wishes: Wishes,
    *,
    as_json: bool,
) -> None:
    """Measure the order of a sampler that draws noise, and say whether it keeps the marginals; status 0 or 1."""
    from functools import partial, update_wrapper

    from diffnum.coefficients.noise import ORDERS
    from diffnum.convergence.marginals import marginals_kept
    from diffnum.convergence.study import convergence_study

    if measure not in ORDERS:
        msg = f"--measure {measure!r} is unknown: use one of {', '.join(ORDERS)}"
        raise typer.BadParameter(msg)
    if wishes.shape or wishes.clock != "half-log-snr":
        msg = "--shape and --clock go with samplers without noise: leave out --measure"
        raise typer.BadParameter(msg)
    if not 0 <= noise_level < float("inf"):
        msg = f"--noise-level {noise_level:g}: give a finite number >= 0"
        raise typer.BadParameter(msg)
    arguments = wishes.arguments()
    sampler, rest = _sampler(path, options)
    if rest:
        sampler = update_wrapper(partial(sampler, **rest), sampler)
    shared: dict[str, Any] = {n: arguments[n] for n in ("problem", "convention") if arguments[n] is not None}
    grids = {"grids": arguments["grids"]} if "grids" in arguments else {}
    ends = {"interval": arguments["interval"]} if arguments["interval"] else {}
    with progress_bar("measuring"), outspoken():
        try:
            study = convergence_study(
                sampler,
                measure=measure,  # type: ignore[arg-type]
                noise_level=noise_level,
                schedule=schedule,
                steps=arguments["steps"],
                **shared,
                **grids,
                **ends,
            )
            marginals = marginals_kept(sampler, schedule=schedule, **shared, **ends) if measure == "law" else None
        except TypeError as error:
            msg = f"--sampler {path!r}: {error}"
            raise ValueError(msg) from error
    ok = study.order == order
    if as_json:
        kept = {} if marginals is None else {"kept": marginals.kept, "bias": marginals.bias.tolist()}
        print_json([{**study_data(study), "measure": measure, "claimed": order, "ok": ok, **kept}])
    else:
        found = "undecided" if study.order is None else f"{study.order:g}"
        word = WORDS["holds" if ok else "undecided" if study.order is None else "fails"]
        name = {"law": "order in law"}.get(measure, f"{measure} order")
        echo(f"{word}{study.name}: {name} {found}, claimed {order:g}")
        if marginals is not None:
            echo(f"      {marginals}")
    finish(ok)


def reals(option: str, text: str) -> tuple[float, ...]:
    """Numbers separated by commas or blanks."""
    try:
        return tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        msg = f"{option} {text!r}: give numbers separated by commas"
        raise typer.BadParameter(msg) from None


def _k_diffusion() -> Any:
    """Samplers of k-diffusion without what its training code wants."""
    from diffnum.foreign.libraries import k_diffusion_sampling

    return k_diffusion_sampling()


_LOADERS = {"k_diffusion.sampling": _k_diffusion}
"""Modules that need packages which no sampler uses."""


def _sampler(path: str, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Sampler, and what is left of its options: they go to the constructor of a class, and else to every call."""
    module, _, attribute = path.partition(":")
    found = getattr(_LOADERS[module](), attribute, None) if module in _LOADERS else None
    found = imported(path) if found is None else found
    if not (isinstance(found, type) and hasattr(found, "set_timesteps")):
        return found, options
    try:
        with outspoken():
            return found(**options), {}
    except SystemExit as left:
        msg = f"--sampler {path!r}: it leaves the program with status {left.code}; a sampler must not call exit"
        raise typer.BadParameter(msg) from None
    except Exception as error:  # whatever its constructor thinks of its options
        msg = f"--sampler {path!r}: {type(error).__name__} when it is made: {error}"
        raise typer.BadParameter(msg) from error


def judgement_data(found: Any) -> dict[str, Any]:
    """Judgement as JSON-able data."""
    return {
        **study_data(found.study),
        "claimed": found.claimed,
        "ok": found.ok,
        "verdict": found.verdict,
        "parts": list(found.parts),
        "wrong": list(found.sentences),
        "notes": list(found.notes),
    }


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
    return {"name": study.name, "order": study.order, "orders": study.orders, "series": series}

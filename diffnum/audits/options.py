"""Every combination of the options that change a formula, run shortly: it ends, and heeds no words of the model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from diffnum.audits.experiments import Row
from diffnum.audits.findings import Demonstration, Finding
from diffnum.audits.shipped import ShippedRun, shipped_run
from diffnum.audits.subjects import Subject, code_of, no_noise

__all__ = ["combinations", "swept"]

STEPS = (10, 20)
"""Numbers of steps of the short runs."""

SAME = 1e-2
"""Relative difference of errors of runs that are one in exact arithmetic, whatever the model is asked for."""

STOCHASTIC = frozenset({"sde-dpmsolver", "sde-dpmsolver++"})
"""Values of algorithm_type that draw noise."""

UNSEEN = "prediction_type"
"""The option on which no sample may depend, since the model answers the same question in other words."""


def combinations(subject: Subject) -> tuple[tuple[dict[str, Any], ...], dict[str, int]]:
    """Combinations that the library accepts, and how many it refuses, by reason.

    Parameters
    ----------
    subject : Subject
        With a sweep.
    """
    accepted, refused = [], dict[str, int]()
    for values in product(*subject.sweep.values()):
        config = {**subject.config, **dict(zip(subject.sweep, values, strict=True))}
        if subject.name == "SASolverScheduler":
            config["tau_func"] = no_noise
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                replace(subject, config=config, sweep={}).build()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".partition(".")[0]
            refused[reason] = refused.get(reason, 0) + 1
            continue
        accepted.append(config)
    return tuple(accepted), refused


def swept(subject: Subject) -> Row:
    """Run every combination of a sweep, with its noise off and, where it has one, on.

    Parameters
    ----------
    subject : Subject
        With a sweep.

    Returns
    -------
    Row
        No orders; the verdict is "fails" if a combination that the library accepts raises, is not finite or heeds how
        its model is asked.
    """
    accepted, refused = combinations(subject)
    runs = {_name(c): tuple(_run(subject, c, n, drift=_noisy(c)) for n in STEPS) for c in accepted}
    found = [*_failures(accepted, runs), *_asked_otherwise(subject, accepted, runs)]
    found += _with_noise(subject, [c for c in accepted if _noisy(c)])
    errors = {name: [r.error if math.isfinite(r.error) else None for r in several] for name, several in runs.items()}
    verdict = "fails" if found else "as claimed"
    cause = "; ".join([f"{len(accepted)} combinations run", *(f.text for f in found)])
    evidence = {"errors": errors, "refused by the library": refused, "steps": list(STEPS)}
    return Row(
        subject.name, subject.configuration, subject.claimed, "every combination runs", None, None, None, None, None,
        verdict, cause, tuple(found), evidence,
    )  # fmt: skip


def _noisy(config: Mapping[str, Any]) -> bool:
    return config.get("algorithm_type") in STOCHASTIC


def _run(subject: Subject, config: Mapping[str, Any], steps: int, *, drift: bool) -> ShippedRun:
    return shipped_run(replace(subject, config=config, sweep={}).build(), steps, drift=drift)


def _name(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={code_of(v)}" for k, v in config.items())


def _failures(accepted: tuple[dict[str, Any], ...], runs: Mapping[str, tuple[ShippedRun, ...]]) -> Iterator[Finding]:
    """Combinations that raise or are not finite, by what they have in common."""
    groups: dict[str, list[tuple[dict[str, Any], ShippedRun]]] = {}
    for config in accepted:
        bad = next((r for r in runs[_name(config)] if not math.isfinite(r.error)), None)
        if bad is not None:
            groups.setdefault(bad.failure or f"not finite {bad.breaks}", []).append((config, bad))
    for what, cases in groups.items():
        config, bad = cases[0]
        part = "failure" if bad.failure else "not finite"
        word = "raises" if bad.failure else "is"
        text = f"{len(cases)} of {len(accepted)} combinations: {_common([c for c, _ in cases])} {word} {what}"
        shows, prints = ("run.failure", bad.failure) if bad.failure else ("run.breaks", bad.breaks)
        shown = Demonstration("run", (bad.steps,), prints, shows=shows, config=tuple(config.items()))
        yield Finding(part, text, f"{bad.steps} steps", shown)


def _common(configs: list[dict[str, Any]]) -> str:
    """Options that all of some combinations share."""
    shared = {k: v for k, v in configs[0].items() if all(c[k] == v for c in configs)}
    return f"({_name(shared)})" if shared else "(of all options)"


def _asked_otherwise(
    subject: Subject, accepted: tuple[dict[str, Any], ...], runs: Mapping[str, tuple[ShippedRun, ...]]
) -> Iterator[Finding]:
    """Combinations whose sample depends on how the model is asked."""
    if UNSEEN not in subject.sweep:
        return
    first = subject.sweep[UNSEEN][0]
    for config in accepted:
        plain = {**config, UNSEEN: first}
        mine, theirs = runs[_name(config)][-1], runs.get(_name(plain), (None,))[-1]
        if theirs is None or mine.sample is None or theirs.sample is None:
            continue
        apart = float(np.max(np.abs(mine.sample - theirs.sample)))
        if math.isfinite(mine.error) and math.isfinite(theirs.error) and apart > SAME:
            text = f"{_name(config)} ends {apart:.1e} away from {UNSEEN}={first!r}, which asks the same in other words"
            shown = Demonstration(
                "run", (mine.steps,), f"{mine.error:.1e}", shows='f"{run.error:.1e}"', config=tuple(config.items())
            )
            yield Finding(UNSEEN, text, f"{mine.steps} steps", shown)


def _with_noise(subject: Subject, noisy: list[dict[str, Any]]) -> Iterator[Finding]:
    """Combinations that are not finite, or raise, with their noise on."""
    import torch

    for config in noisy:
        torch.manual_seed(0)
        run = _run(subject, config, STEPS[0], drift=False)
        if run.failure or run.sample is None or not np.isfinite(run.sample).all():
            what = f"raises {run.failure}" if run.failure else f"is not finite {run.breaks}"
            shows, prints = ("run.failure", run.failure) if run.failure else ("run.breaks", run.breaks)
            shown = Demonstration("run", (run.steps,), prints, shows=shows, config=tuple(config.items()))
            yield Finding("failure", f"with noise, {_name(config)} {what}", f"{run.steps} steps", shown)

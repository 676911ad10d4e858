"""Every combination of the options that change a formula, run shortly: it ends, and heeds no words of the model."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from diffnum.audits.experiments import Row, runner
from diffnum.audits.findings import Demonstration, Finding
from diffnum.audits.shipped import ShippedRun
from diffnum.audits.subjects import Subject, code_of, no_noise
from diffnum.audits.unread import unread
from diffnum.foreign.libraries import diffusers_schedulers

__all__ = ["combinations", "swept"]

STEPS = (4, 10, 20)
"""Numbers of steps of the short runs."""

SAME = 1e-2
"""Relative difference of errors of runs that are one in exact arithmetic, whatever the model is asked for."""

STOCHASTIC = frozenset({"sde-dpmsolver", "sde-dpmsolver++"})
"""Values of algorithm_type that draw noise."""

AMOUNTS = ("eta", "s_churn", "stochastic_sampling")
"""Options that say how much noise is drawn, or whether any is."""

QUIET: Mapping[str, Mapping[str, Any]] = {"SASolverScheduler": {"tau_func": no_noise}}
"""Options without which a scheduler draws noise, whatever else it is given."""

SEEN = ("timestep_spacing", "eta", "s_churn")
"""Options that change every sample where they are read, before those that change some."""

UNSEEN = "prediction_type"
"""The option on which no sample may depend, since the model answers the same question in other words."""


_LEVEL = re.compile(r"(?<=to )(?!0$)\d\S*$|(?<=from )(?!0 )\d\S*")
"""Levels of a step; other grids have others, and zero and infinity mean something."""


def combinations(subject: Subject) -> tuple[tuple[dict[str, Any], ...], dict[str, int]]:
    """Combinations that the library accepts, and how many it refuses, by reason.

    Parameters
    ----------
    subject : Subject
        With a sweep.
    """
    accepted, refused = [], dict[str, int]()
    for values in product(*subject.sweep.values()):
        config = {**subject.config, **QUIET.get(subject.name, {}), **dict(zip(subject.sweep, values, strict=True))}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                subject.chosen(config).build()
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
        its model is asked, or if nothing heeds an option.
    """
    accepted, refused = combinations(subject)
    runs = {_name(c): tuple(_run(subject, c, n, drift=_noisy(subject, c)) for n in STEPS) for c in accepted}
    configs = {_name(c): c for c in accepted}
    found = list(_failures(subject, {name: (configs[name], several) for name, several in runs.items()}))
    found += _asked_otherwise(subject, accepted, runs)
    found += _downwards(subject, {name: (configs[name], several) for name, several in runs.items()})
    drawing = [c for c in accepted if (_noisy(subject, c) or "tau_func" in c) and not any(map(_bad, runs[_name(c)]))]
    found += _failures(subject, {_name(c): _with_noise(subject, c) for c in drawing}, loud=True)
    found += _ignored(subject)
    errors = {name: [r.error if math.isfinite(r.error) else None for r in several] for name, several in runs.items()}
    verdict = "fails" if found else "as claimed"
    cause = "; ".join([f"{len(accepted)} combinations run", *(f.text for f in found)])
    evidence = {"errors": errors, "refused by the library": refused, "steps": list(STEPS)}
    return Row(
        subject.name, subject.configuration, subject.claimed, "every combination runs", None, None, None, None, None,
        verdict, cause, tuple(found), evidence,
    )  # fmt: skip


def _noisy(subject: Subject, config: Mapping[str, Any]) -> bool:
    drawn = any(config.get(amount, 0) for amount in AMOUNTS)
    return subject.drift or drawn or config.get("algorithm_type") in STOCHASTIC


def _run(subject: Subject, config: Mapping[str, Any], steps: int, *, drift: bool, loud: bool = False) -> ShippedRun:
    found: ShippedRun = runner(replace(subject.chosen(config), drift=drift), loud=loud)(steps)
    return found


def _name(config: Mapping[str, Any]) -> str:
    return _pairs({k: code_of(v) for k, v in config.items()})


def _pairs(written: Mapping[str, str]) -> str:
    return ", ".join(f"{word}={code}" for word, code in written.items())


def _shown(
    subject: Subject, config: Mapping[str, Any], steps: int, shows: str, prints: str, *, loud: bool = False
) -> Demonstration:
    """The run of one combination, its arguments as text: some are functions, which no file can hold."""
    one = subject.chosen(config)
    arguments = one.call_options(loud=loud) if subject.library == "k-diffusion" else one.config
    drift = _noisy(subject, config) and not loud
    return Demonstration(
        "run", (steps,), prints, shows=shows, arguments=_name(arguments), options=_name(one.options), drift=drift
    )


def _failures(
    subject: Subject, runs: Mapping[str, tuple[dict[str, Any], tuple[ShippedRun, ...]]], *, loud: bool = False
) -> Iterator[Finding]:
    """Combinations that raise or are not finite, by what they have in common."""
    groups: dict[str, list[tuple[dict[str, Any], ShippedRun]]] = {}
    for config, several in runs.values():
        bad = next((r for r in several if _bad(r)), None)
        if bad is not None:
            groups.setdefault(bad.failure or f"not finite {_LEVEL.sub('', bad.breaks)}", []).append((config, bad))
    for cases in groups.values():
        config, bad = cases[0]
        alike = len({b.breaks for _, b in cases}) == 1
        what = bad.failure or f"not finite{'' if alike else ', such as'} {bad.breaks}"
        which = f"{len(cases)} of {len(runs)} combinations{' with their noise' if loud else ''}"
        shared = _common([c for c, _ in cases])
        text = f"{which}{shared} {'raise' if bad.failure else 'are'} {what}"
        shows, prints = ("run.failure", bad.failure) if bad.failure else ("run.breaks", bad.breaks)
        shown = _shown(subject, config, bad.steps, shows, prints, loud=loud)
        yield Finding("failure" if bad.failure else "not finite", text.removesuffix(": "), f"{bad.steps} steps", shown)


def _bad(run: ShippedRun) -> bool:
    """Whether a run raises or leaves numbers that are not finite; with noise its error is not known."""
    return bool(run.failure) or run.sample is None or not np.isfinite(run.sample).all()


def _common(configs: list[dict[str, Any]]) -> str:
    """Options that all of some combinations share."""
    shared = {k: v for k, v in configs[0].items() if all(c[k] == v for c in configs)}
    return f", all with {_name(shared)}," if shared else ""


def _asked_otherwise(
    subject: Subject, accepted: tuple[dict[str, Any], ...], runs: Mapping[str, tuple[ShippedRun, ...]]
) -> Iterator[Finding]:
    """Combinations whose sample depends on how the model is asked."""
    if UNSEEN not in subject.sweep:
        return
    first = subject.sweep[UNSEEN][0]
    groups: dict[Any, list[tuple[dict[str, Any], ShippedRun, float]]] = {}
    for config in accepted:
        plain = {**config, UNSEEN: first}
        mine, theirs = runs[_name(config)][-1], runs.get(_name(plain), (None,))[-1]
        if theirs is None or mine.sample is None or theirs.sample is None:
            continue
        if not (math.isfinite(mine.error) and math.isfinite(theirs.error)):
            continue
        apart = float(np.max(np.abs(mine.sample - theirs.sample)))
        if apart > SAME:
            groups.setdefault(config[UNSEEN], []).append((config, mine, apart))
    for cases in groups.values():
        config, mine, apart = cases[0]
        which = f"{_name(config)} ends {apart:.1e} away"
        if len(cases) > 1:
            shared = _common([c for c, *_ in cases])
            which = f"{len(cases)} of {len(accepted)} combinations{shared} end {max(a for *_, a in cases):.1e} away"
        text = f"{which} from {UNSEEN}={first!r}, which asks the same in other words"
        shown = _shown(subject, config, mine.steps, 'f"{run.error:.1e}"', f"{mine.error:.1e}")
        yield Finding(UNSEEN, text, f"{mine.steps} steps", shown)


def _downwards(
    subject: Subject, runs: Mapping[str, tuple[dict[str, Any], tuple[ShippedRun, ...]]]
) -> Iterator[Finding]:
    """Combinations that go from noise to data, of a class that goes from data to noise."""
    cases = [(config, several[0]) for config, several in runs.values() if several[0].rho_start > several[0].rho_end]
    if subject.inverse and cases:
        config, run = cases[0]
        text = f"{len(cases)} of {len(runs)} combinations{_common([c for c, _ in cases])} go from noise to data"
        shown = _shown(subject, config, run.steps, "run.rho_start > run.rho_end", "True")
        yield Finding("direction", text, f"{run.steps} steps", shown)


def _ignored(subject: Subject) -> Iterator[Finding]:
    """Options that no code of a class reads, and of which two values make one sample, bit for bit."""
    if subject.library != "diffusers":
        return
    idle = unread(diffusers_schedulers()[subject.name])
    swept_idle = [option for options in idle.values() for option in options if option in subject.sweep]
    if not swept_idle:
        return
    option = next((name for name in SEEN if name in swept_idle), swept_idle[0])
    config = {**subject.config, **subject.options}
    values = (subject.sweep[option][0], subject.sweep[option][-1])
    ends = [_with_noise(subject, {**config, option: value})[1][0].sample for value in values]
    if ends[0] is None or ends[1] is None or not np.array_equal(ends[0], ends[1]):
        return
    one = subject.chosen({**config, option: values[0]})
    arguments, options = ({w: code_of(v) for w, v in kind.items()} for kind in (one.config, one.options))
    (arguments if option in arguments else options)[option] = option  # the name over which the lines loop
    text = "; ".join(f"{_PLACES[call]} takes {', '.join(names)}" for call, names in idle.items())
    shown = Demonstration(
        "same", (STEPS[0],), "True", arguments=_pairs(arguments), options=_pairs(options), drift=False, option=option,
        values=tuple(map(code_of, values)),
    )  # fmt: skip
    yield Finding("ignored options", f"{text}, which no code of the class reads", f"{STEPS[0]} steps", shown)


_PLACES = {"__init__": "the constructor", "set_timesteps": "set_timesteps", "step": "step"}
"""Methods that take options, in words."""


def _with_noise(subject: Subject, config: dict[str, Any]) -> tuple[dict[str, Any], tuple[ShippedRun, ...]]:
    """Run of a combination with the noise that it draws of itself."""
    import torch

    drawn = {name: value for name, value in config.items() if name != "tau_func"}  # by default it draws some
    torch.manual_seed(0)
    return drawn, (_run(subject, drawn, STEPS[0], drift=False, loud=True),)

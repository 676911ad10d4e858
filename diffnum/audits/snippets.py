"""The few lines that a report prints for a finding: they run as they are, and print what the finding says."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping

from diffnum.audits.findings import Demonstration
from diffnum.audits.subjects import Subject, code_of

__all__ = ["snippet"]


def _target(subject: Subject, shown: Demonstration) -> tuple[list[str], str]:
    """Imports, and the expression that makes the scheduler or names the function."""
    if subject.library == "own":
        module, name = getattr(subject.given, "__module__", ""), getattr(subject.given, "__qualname__", "")
        if getattr(sys.modules.get(module), name, None) is subject.given:
            return [f"from {module} import {name}"], name
        return [], "my_sampler"  # an object that no import finds
    if subject.library == "diffusers":
        arguments = shown.arguments or ", ".join(f"{k}={code_of(v)}" for k, v in subject.config.items())
        used = {subject.name, *re.findall(r"\b(\w+Scheduler)\(", arguments)}  # some are values of others' options
        return [f"from diffusers import {', '.join(sorted(used))}"], f"{subject.name}({arguments})"
    return [], f'k_diffusion_samplers()["{subject.name}"]'


def _helpers(subject: Subject, *names: str) -> str:
    """Import of what the lines use of this package."""
    used = {*names, *(["k_diffusion_samplers"] if subject.library == "k-diffusion" else [])}
    return f"from diffnum.audits import {', '.join(sorted(used))}"


def snippet(subject: Subject, shown: Demonstration) -> str:
    """Lines that make the run which shows a finding, and print what it says.

    Parameters
    ----------
    subject : Subject
        What was run.
    shown : Demonstration
        Which run.
    """
    return _WRITERS[shown.kind](subject, shown)


def _rate(subject: Subject, shown: Demonstration) -> str:
    """Lines that print why a rate is what it is."""
    imports, target = _target(subject, shown)
    named = subject.call_options() if subject.library == "k-diffusion" else subject.options
    more = "".join(f", {k}={code_of(v)}" for k, v in named.items())
    if subject.library == "k-diffusion" or (subject.library == "own" and subject.convention != "nodes"):
        more += ", double=True"
    more += ", silent=True" if subject.drift else ""
    adapted = subject.library != "own" or subject.convention != "nodes"
    made = f"adapt({target}{more})" if adapted else target
    names = ["adapt"] if adapted else []
    problem = ""
    if subject.drift or subject.inverse:
        imports = ["from diffnum.problems import three_peaks", *imports]
        names.append("ReverseDrift" if subject.drift else "Backwards")
        problem = ", ReverseDrift(three_peaks())" if subject.drift else ", three_peaks()"
        made = f"Backwards({made}, three_peaks())" if subject.inverse else made
    at = f'"{shown.part}", "{shown.grid}", {shown.steps}{problem}'
    graded = "" if shown.order is None else f", order={shown.order:g}"
    return "\n".join(
        [
            *imports,
            _helpers(subject, "rate_of", *names),
            f"sampler = {made}",
            f"print(rate_of(sampler, {at}{graded}).reason)",
        ]
    )


def _run_arguments(subject: Subject, shown: Demonstration) -> str:
    """Arguments of a default run after the target and the steps."""
    other = shown.arguments if subject.library == "k-diffusion" else shown.options
    if other:
        given = f"dict({other})"
    else:
        options = subject.options if hasattr(subject.build(), "set_timesteps") else subject.call_options()
        written = ", ".join(f'"{k}": {code_of(v)}' for k, v in options.items())
        given = f"{{{written}}}" if written else ""
    drift = subject.drift if shown.drift is None else shown.drift
    return (f", options={given}" if given else "") + (", drift=True" if drift else "")


def _run(subject: Subject, shown: Demonstration) -> str:
    """Lines that print an attribute of a default run."""
    imports, target = _target(subject, shown)
    run = f"run = shipped_run({target}, {shown.steps[0]}{_run_arguments(subject, shown)})"
    return "\n".join([*imports, _helpers(subject, "shipped_run"), run, f"print({shown.shows})"])


def _budget(subject: Subject, shown: Demonstration) -> str:
    """Lines that print the error budget of a default run."""
    imports, target = _target(subject, shown)
    budget = f"error_budget({target}, {shown.steps[0]}{_run_arguments(subject, shown)})"
    return "\n".join([*imports, _helpers(subject, "error_budget"), f"print({budget})"])


def _stall(subject: Subject, shown: Demonstration) -> str:
    """Lines that print the errors at two step counts."""
    imports, target = _target(subject, shown)
    run = f"runs = [shipped_run({target}, n{_run_arguments(subject, shown)}) for n in {shown.steps}]"
    text = 'print([f"{run.error:.1e}" for run in runs])'
    return "\n".join([*imports, _helpers(subject, "shipped_run"), run, text])


def _wasted(subject: Subject, shown: Demonstration) -> str:
    """Lines that print the calls that a sample does not depend on."""
    imports, target = _target(subject, shown)
    run = f"run = partial(shipped_run, {target}{_run_arguments(subject, shown)})"
    names = _helpers(subject, "shipped_run", "wasted_calls")
    return "\n".join(
        ["from functools import partial", *imports, names, run, f"print(wasted_calls(run, {shown.steps[0]}))"]
    )


def _same(subject: Subject, shown: Demonstration) -> str:
    """Lines that print whether two values of an option make one sample, of the same noise."""
    imports, target = _target(subject, shown)
    run = f"shipped_run({target}, {shown.steps[0]}{_run_arguments(subject, shown)})"
    return "\n".join(
        [
            "import torch",
            *imports,
            _helpers(subject, "shipped_run"),
            "samples = []",
            f"for {shown.option} in ({', '.join(shown.values)}):",
            "    torch.manual_seed(0)",
            f"    samples.append({run}.sample)",
            "print(bool((samples[0] == samples[1]).all()))",
        ]
    )


_WRITERS: Mapping[str, Callable[[Subject, Demonstration], str]] = {
    "rate": _rate,
    "run": _run,
    "budget": _budget,
    "stall": _stall,
    "wasted": _wasted,
    "same": _same,
}
"""Who writes the lines of which kind of demonstration."""

"""Verify samplers on tokens: what ``diffnum verify --discrete`` does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import typer

from diffnum.cli.common import echo, finish, imported, print_json
from diffnum.cli.progress import tracked
from diffnum.foreign.isolated import outspoken

__all__ = ["verify_discrete"]


def verify_discrete(
    names: Sequence[str] | None,
    path: str,
    order: float | None,
    convention: str,
    options: dict[str, Any],
    noise: str,
    steps: tuple[int, ...] | None,
    draws: int,
    seed: int,
    *,
    as_json: bool,
) -> None:
    """Prove and measure samplers on tokens, or measure one of the user's own; leave with status 0 or 1."""
    processes = _processes(noise)
    if path:
        results = [_own(path, order, convention, options, processes[0], steps, draws, seed)]
    else:
        from diffnum.discrete import samplers

        cases = [(name, p) for p in processes for name in _named(names, samplers(p.name))]
        if not cases:
            kinds = ", ".join(p.name for p in processes)
            msg = f"{', '.join(names or ())} does not run on the {kinds} process: leave out --schedule"
            raise typer.BadParameter(msg)
        measured = ((case, _record(*case, steps)) for case in cases)
        results = []
        for _, result in tracked(measured, len(cases), "measuring", lambda case: str(case[0])):
            results.append(result)
            if not as_json:
                _say(result)
    if as_json:
        print_json(results)
    elif path:
        _say(results[0])
    finish(all(result["ok"] for result in results))


def _say(result: dict[str, Any]) -> None:
    echo(("ok    " if result["ok"] else "FAIL  ") + result["verdict"])
    for line in result["wrong"]:
        echo(f"      {line}")


def _processes(noise: str) -> list[Any]:
    """Processes of a word such as masked, uniform or masked-cosine; both with linear schedules by default."""
    from diffnum.discrete import Masked, Uniform

    if not noise:
        return [Masked(), Uniform()]
    kind, _, survival = noise.partition("-")
    known = {"masked": Masked, "uniform": Uniform}
    if kind not in known:
        msg = f"--schedule {noise!r}: with --discrete use masked, uniform, masked-cosine and the like"
        raise typer.BadParameter(msg)
    return [known[kind](survival or "linear")]


def _named(names: Sequence[str] | None, known: dict[str, Any]) -> list[str]:
    """Names that run on a process: those given, or all."""
    from diffnum.discrete import sampler

    return list(known) if not names else [name for name in names if sampler(name).name in known]


def _record(name: str, process: Any, steps: tuple[int, ...] | None) -> dict[str, Any]:
    """Proof of a record, and its study; or, where it has no steps of time, its exact laws."""
    from diffnum.discrete import convergence_study, prove, sampler

    proof, record = prove(name), sampler(name)
    wrong = [text for text, ok in proof.claims if not ok]
    if record.order is None:
        data, more = _laws(record, process)
    else:
        study = convergence_study(name, process=process, steps=steps)
        data, more = study.to_dict(), study.disagreements()
    wrong += more
    return {**data, "proof": [list(claim) for claim in proof.claims], "ok": not wrong, "wrong": wrong}


def _laws(record: Any, process: Any) -> tuple[dict[str, Any], list[str]]:
    """Exact laws of a sampler without steps of time, and where a law that is claimed exact is not."""
    from diffnum.discrete import Unmask, output_law, study_laws

    # halves need an even length; uniformisation ends in a bridge, at a time that leaves this much
    tolerance = 1e-12 if isinstance(record.rule, Unmask) else 1e-4
    laws = _even(process) if isinstance(record.rule, Unmask) and record.rule.blocks > 1 else study_laws(process)
    far = {label: output_law(record, law, process).tv for label, law in laws.items()}
    cells = ", ".join(f"{value:.2g} on the {label}" for label, value in far.items())
    kind = "exact in law" if record.exact else "one token a step"
    verdict = f"{record.name} ({process.name}): {kind}, total variation {cells}"
    wrong = [f"{label}: total variation {v:.2g}, recorded exact" for label, v in far.items() if v > tolerance]
    data = {"name": record.name, "process": process.name, "verdict": verdict, "order": None, "total_variation": far}
    return data, wrong if record.exact else []


def _even(process: Any) -> dict[str, Any]:
    """A problem of even length for samplers that go by halves."""
    import numpy as np

    from diffnum.discrete import Law, study_laws

    anew = study_laws(process)["weak chain"].marginals()[0]
    return {"chain of four": Law.markov(4, 0.3 * np.eye(anew.size) + 0.7 * anew, anew)}


def _own(
    path: str,
    order: float | None,
    convention: str,
    options: dict[str, Any],
    process: Any,
    steps: tuple[int, ...] | None,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """Study of a sampler of the user's own."""
    from diffnum.discrete import convergence_study
    from diffnum.discrete.own import convention_of

    found: Any = imported(path)
    try:
        how = convention_of(found, convention or None)  # type: ignore[arg-type]
        with outspoken():
            study = convergence_study(
                partial(found, **options) if options else found,
                process=process,
                steps=steps,
                convention=how,
                draws=draws,
                seed=seed,
            )
    except TypeError as error:
        msg = f"--sampler {path!r}: {error}"
        raise typer.BadParameter(msg) from None
    except SystemExit as left:
        msg = f"--sampler {path!r}: it leaves the program with status {left.code}; a sampler must not call exit"
        raise typer.BadParameter(msg) from None
    wrong = study.objections(float(order if order is not None else 1))
    return {**study.to_dict(), "name": path, "claimed": order, "ok": not wrong, "wrong": wrong}

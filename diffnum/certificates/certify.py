"""Certify methods: proof, ball arithmetic and measurements as tasks, in parallel and resumable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from diffnum.certificates.accuracy import Accuracy, certify_accuracy
from diffnum.certificates.agreement import agreements
from diffnum.certificates.balls import require_flint
from diffnum.certificates.orders import END_STEPS, END_VARIANTS, PROBLEMS, SCHEDULES, measure_ends, measure_orders
from diffnum.certificates.records import Agreement, Certificate, Certificates, Measurement, ProofResult
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.catalogue import methods as catalogue
from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.jobs.data import from_data, jsonable
from diffnum.jobs.environment import versions
from diffnum.jobs.ledger import Ledger, Progress, digest, source_digest
from diffnum.jobs.parallel import spread
from diffnum.proofs import prove

__all__ = ["LIBRARIES", "certifiable", "certify"]

LIBRARIES = ("numpy", "scipy", "sympy", "python-flint")
"""What the numbers of a certificate depend on."""

POINTS = 200
"""Inputs drawn for each kind of step in ball arithmetic."""

GOLDEN = ""
"""Name under which the recorded trajectories, which concern all methods, are one task."""


@dataclass(frozen=True)
class Task:
    """One piece of a certificate.

    Parameters
    ----------
    name : str
        Method; empty for the recorded trajectories of all.
    piece : str
        "proof", "accuracy", "ends", "golden", or the name of a schedule.
    seed, points : int
        Of the draws.
    steps : tuple of int, optional
        Step counts of the formula's rates; chosen by rule where there are none.
    """

    name: str
    piece: str
    seed: int
    points: int
    steps: tuple[int, ...] | None = None


def certify(
    names: Sequence[str] | None = None,
    *,
    seed: int = 0,
    points: int | None = None,
    schedules: Sequence[str] | None = None,
    steps: Sequence[int] | None = None,
    cache_dir: str | Path | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Certificates:
    """Certify methods of the catalogue.

    Parameters
    ----------
    names : sequence of str, optional
        Names or aliases; all listed deterministic methods by default.
    seed : int
        Seed of starting points and of inputs.
    points : int, optional
        Inputs drawn for each kind of step in ball arithmetic; :data:`POINTS` by default.
    schedules : sequence of str, optional
        Names of the schedules to measure on; all of :data:`diffnum.certificates.orders.SCHEDULES` by default.
    steps : sequence of int, optional
        Step counts of the formula's rates; by default 20 to 320, extended or replaced where these do not decide.
    cache_dir : path, optional
        Folder for finished pieces. A run that was interrupted goes on from there; pieces of another version of the
        package, or of other settings, are not used.
    jobs : int, optional
        Processes; one a core, at most four, by default.
    progress : callable, optional
        Called as ``progress(done, total, what)``.

    Returns
    -------
    Certificates

    Raises
    ------
    ModuleNotFoundError
        If python-flint is absent.
    ValueError
        If a method is unknown or stochastic, or a schedule is unknown.

    Examples
    --------
    >>> found = certify(["ddim"], schedules=["vp-linear"], points=10, jobs=1)  # doctest: +SKIP
    >>> found["ddim"].ok  # doctest: +SKIP
    True
    """
    require_flint()
    points = POINTS if points is None else points
    if isinstance(names, str) or (names is not None and not len(names)):
        msg = f"names={names!r}: pass a sequence of methods, such as ['ddim'], or None for all"
        raise ValueError(msg)
    records = [certifiable(name) for name in (catalogue() if names is None else names)]
    chosen = list(SCHEDULES if schedules is None else schedules)
    if unknown := [s for s in chosen if s not in SCHEDULES]:
        msg = f"schedules={unknown} are unknown: use some of {', '.join(SCHEDULES)}"
        raise ValueError(msg)
    pieces = ("proof", "accuracy", *chosen, "ends")
    levels = _checked_levels(steps)
    tasks = [Task(record.name, piece, seed, points, levels) for record in records for piece in pieces]
    tasks.append(Task(GOLDEN, "golden", seed, points))
    found = _results(tasks, cache_dir, jobs, progress)
    golden = found[GOLDEN, "golden"]
    certificates = tuple(_certificate(record, found, chosen, golden) for record in records)
    settings = {
        "schedules": chosen,
        "grids": list(GRID_KINDS),
        "problems": list(PROBLEMS),
        "variants": list(END_VARIANTS),
        "end_steps": list(END_STEPS),
        "steps": None if levels is None else list(levels),
        "points": points,
        "source": source_digest(),
    }
    return Certificates(certificates, seed, versions(*LIBRARIES), settings)


def _checked_levels(steps: Sequence[int] | None) -> tuple[int, ...] | None:
    """Step counts that a study takes, before any work begins."""
    if steps is None:
        return None
    levels = tuple(int(n) for n in steps)
    if len(levels) < 4 or levels[0] < 1 or any(b <= a for a, b in pairwise(levels)):
        msg = f"steps={levels} decide no rate: give four or more, positive and increasing"
        raise ValueError(msg)
    return levels


def certifiable(name: str) -> Method:
    """Record of a deterministic method."""
    record = find_method(name)
    if record.stochastic:
        msg = (
            f"method={name!r} is stochastic: strong and weak orders and those in law are measured by "
            "diffnum.convergence_study(..., measure='strong'), certificates cover the deterministic methods"
        )
        raise ValueError(msg)
    if record.parameters:
        msg = (
            f"method={name!r} takes {', '.join(record.parameters)} from the caller of its plans, and so has no weights "
            "of its own to certify: prove it with diffnum.prove"
        )
        raise ValueError(msg)
    return record


def _results(
    tasks: Sequence[Task], cache_dir: str | Path | None, jobs: int | None, progress: Progress | None
) -> dict[tuple[str, str], Any]:
    """Results by (method, piece), those that are at hand from the ledger."""
    ledger = Ledger(None if cache_dir is None else Path(cache_dir) / "certificates.jsonl")
    environment = {"source": source_digest(), **versions(*LIBRARIES)}
    keys = {task: digest([asdict(task), environment]) for task in tasks}
    missing = [task for task in tasks if keys[task] not in ledger]
    done = len(tasks) - len(missing)
    for task, result in spread(_work, missing, jobs):
        ledger.put(keys[task], result)
        done += 1
        if progress is not None:
            progress(done, len(tasks), f"{task.name} {task.piece}".strip())
    return {(task.name, task.piece): ledger[keys[task]] for task in tasks}


def _work(task: Task) -> Any:
    """One piece, as JSON-able data."""
    if task.piece == "golden":
        return jsonable(agreements())
    record = find_method(task.name)
    if task.piece == "proof":
        proof = prove(record)
        return {
            "ok": proof.ok,
            "orders": dict(proof.orders),
            "identities": [(i.claim, i.ok, i.detail) for i in proof.identities],
        }
    if task.piece == "accuracy":
        return jsonable(certify_accuracy(record, points=task.points, seed=task.seed))
    if task.piece == "ends":
        return jsonable(measure_ends(record, task.seed))
    return jsonable(measure_orders(record, task.piece, task.seed, task.steps))


def _certificate(
    record: Method, found: Mapping[tuple[str, str], Any], schedules: Sequence[str], golden: Any
) -> Certificate:
    """A certificate from its pieces."""
    orders = [Measurement(**m) for schedule in schedules for m in found[record.name, schedule]]
    return Certificate(
        name=record.name,
        title=record.title[0].upper() + record.title[1:],
        nfe_per_step=record.nfe_per_step,
        claimed=record.claimed_order,
        recorded={kind: record.order_on(kind) for kind in GRID_KINDS},
        recorded_with_startup=record.order_with_startup,
        proof=ProofResult(**found[record.name, "proof"]),
        accuracy=from_data(Accuracy, found[record.name, "accuracy"]),
        orders=tuple(orders),
        ends=tuple(Measurement(**m) for m in found[record.name, "ends"]),
        golden=_agreement(record, golden),
    )


def _agreement(record: Method, golden: Mapping[str, Mapping[str, Any]]) -> Agreement:
    """Agreement of a method, and of records that are the same under another name."""
    same = [Agreement(**data) for name, data in golden.items() if _same(record, name)]
    return Agreement(
        sum(a.reproduced for a in same), sum(a.cases for a in same), max((a.worst for a in same), default=0.0)
    )


def _same(record: Method, name: str) -> bool:
    """Whether a name stands for the same method, such as ``ghvb_2.7999999999999998`` for ``ghvb_2.8``."""
    try:
        other = find_method(name)
    except ValueError:
        return False
    return name == record.name or (_identity(record) == _identity(other) and _close(record.options, other.options))


def _identity(record: Method) -> tuple[Any, ...]:
    """What makes a method, but for its options."""
    own = record.own_start is None
    return record.family, record.form.name, record.top, record.depth, record.start, own, record.singlestep


def _close(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether options agree, real ones to rounding."""
    return set(a) == set(b) and all(
        math.isclose(a[k], b[k], rel_tol=1e-12) if isinstance(a[k], float) and isinstance(b[k], float) else a[k] == b[k]
        for k in a
    )

"""Audit: all rows of a library, in parallel, resumable; table, JSON, page and result file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffnum.audits.experiments import Row, examine
from diffnum.audits.options import swept
from diffnum.audits.snippets import snippet
from diffnum.audits.subjects import Subject, subjects, unswept
from diffnum.foreign.adapters import built
from diffnum.foreign.libraries import library_version
from diffnum.jobs.data import from_data, jsonable, parsed
from diffnum.jobs.environment import versions as versions_of
from diffnum.jobs.ledger import Ledger, Progress, digest
from diffnum.jobs.parallel import spread
from diffnum.templates import render

__all__ = ["AuditReport", "audit"]

PROTOCOL = 6
"""Raised when the experiments change, so that no row of an older protocol is taken from a cache."""

SEED = 0
"""Seed of all starting points."""

GOOD = ("as claimed", "above claim")


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Parameters
    ----------
    target : str
        What was audited.
    rows : tuple of Row
        One a sampler and configuration, in a fixed order.
    left_out : mapping of str to str
        Samplers that were not audited, with the reason.
    versions : mapping of str to str
        Versions that the numbers belong to.
    unswept : mapping of str to str
        Options of which not every value was run, with the reason.
    """

    target: str
    rows: tuple[Row, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    unswept: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every row is decided, and no order is below what is claimed."""
        return all(r.verdict in GOOD for r in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record."""
        return {
            "target": self.target,
            "versions": dict(self.versions),
            "protocol": PROTOCOL,
            "seed": SEED,
            "rows": [_record(r) for r in self.rows],
            "left_out": dict(self.left_out),
            "unswept": dict(self.unswept),
        }

    def to_json(self) -> str:
        """JSON text, the same for the same findings."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, allow_nan=False)

    def to_results(self, command: str) -> str:
        """Compact JSON for a book: one row a line, without the evidence; with the command that makes it."""
        record = {"command": command, **self.to_dict()}
        rows = [json.dumps({k: v for k, v in row.items() if k != "evidence"}) for row in record.pop("rows")]
        head = json.dumps(record, indent=1, sort_keys=True, allow_nan=False)
        return head[:-2] + ',\n "rows": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n"

    @staticmethod
    def from_json(text: str) -> AuditReport:
        """Report from :meth:`to_json` or :meth:`to_results`."""
        return from_data(AuditReport, parsed(text))

    def to_html(self) -> str:
        """A page that needs nothing else: table, findings with their lines, what was left out.

        Raises
        ------
        ImportError
            If jinja2 is not installed: ``pip install '.[audit]'`` in a clone.
        """
        return render(
            "audit.html.j2",
            number=_shown,
            title=f"Audit of {self.target}",
            versions=", ".join(f"{name} {number}" for name, number in self.versions.items()),
            rows=self.rows,
            left_out=self.left_out,
            unswept=self.unswept,
        )

    def __str__(self) -> str:
        """Table, findings, what was left out."""
        lines = [f"{'sampler':<36} claimed formula   start    tail default    floor verdict"]
        for r in self.rows:
            numbers = " ".join(
                f"{_shown(v):>7}" for v in (r.claimed, r.formula_order, r.start_order, r.tail_order, r.default_order)
            )
            lines += [f"{r.sampler:<36} {numbers} {_shown(r.floor):>8} {r.verdict}", f"    {r.configuration}"]
            lines += [f"    - {f.part}: {f.text}" for f in r.findings] or ([f"    - {r.cause}"] if r.cause else [])
        lines += [f"left out: {name}: {why}" for name, why in self.left_out.items()]
        alike: dict[str, list[str]] = {}
        for name, why in self.unswept.items():
            alike.setdefault(why, []).append(name)
        return "\n".join([*lines, *(f"not swept: {', '.join(names)}: {why}" for why, names in alike.items())])


def _record(row: Row) -> dict[str, Any]:
    """Row as a dictionary, with what the lines of each finding print beside them."""
    record: dict[str, Any] = jsonable(row)
    for finding, made in zip(record["findings"], row.findings, strict=True):
        finding["prints"] = made.prints
    return record


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return (f"{value:.1e}" if 0 < abs(value) < 0.01 else f"{value:g}") if isinstance(value, float) else str(value)


def audit(
    target: Any,
    *,
    claimed: float | None = None,
    cache_dir: str | Path | None = None,
    jobs: int | None = None,
    only: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Audit the samplers of a library, or one of your own.

    Parameters
    ----------
    target : {"diffusers", "k-diffusion"} or sampler
        Library as installed; or a sampler in any convention of :mod:`diffnum.foreign.conventions`.
    claimed : float, optional
        Order that a sampler of your own claims; needed for one, and only for one.
    cache_dir : path, optional
        Folder for finished rows, one JSON object a line. An audit that was interrupted goes on from there; rows of
        other versions are ignored.
    jobs : int, optional
        Processes; one a core, at most four, by default.
    only : sequence of str, optional
        Parts of names or configurations: other rows are not run.
    progress : callable, optional
        Called as ``progress(done, total, what)``.

    Returns
    -------
    AuditReport

    Raises
    ------
    ModuleNotFoundError
        If the library is not installed.
    ValueError
        If ``target`` is an unknown name, ``claimed`` is missing or superfluous, or ``only`` names nothing.

    Examples
    --------
    >>> found = audit("diffusers", only=["EulerDiscreteScheduler defaults"], jobs=1)
    >>> found.rows[0].verdict
    'as claimed'
    """
    if not isinstance(target, str):
        if claimed is None:
            msg = "claimed=None: say which order your sampler claims, such as claimed=2"
            raise ValueError(msg)
        return _audit_one(target, claimed)
    if claimed is not None:
        msg = f"claimed={claimed} goes with a sampler of your own; those of {target!r} have their own claims"
        raise ValueError(msg)
    every, left_out = subjects(target)
    chosen = [s for s in every if only is None or any(o in f"{s.name} {s.configuration}" for o in only)]
    if not chosen:
        msg = f"only={only!r} names no sampler of {target}: give parts of names, such as {every[0].name}"
        raise ValueError(msg)
    if only is not None:
        left_out = {name: why for name, why in left_out.items() if any(o in name for o in only)}
    versions = {target: library_version(target), **versions_of("numpy", "torch")}
    ledger = _ledger(cache_dir, target)
    open_ = [s for s in chosen if _key(s, versions) not in ledger]
    done = len(chosen) - len(open_)
    for subject, row in spread(_examined, open_, jobs):
        ledger.put(_key(subject, versions), jsonable(row))
        done += 1
        if progress is not None:
            progress(done, len(chosen), f"{subject.name} ({subject.configuration})")
    rows = tuple(from_data(Row, ledger[_key(s, versions)]) for s in chosen)
    return AuditReport(target, rows, left_out, versions, unswept(target, {s.name for s in chosen}))


def _audit_one(target: Any, claimed: float) -> AuditReport:
    """Report on one sampler of the user's own, with a row like any other."""
    given = built(target) if isinstance(target, type) and hasattr(target, "set_timesteps") else target
    named = getattr(given, "func", given)  # of functools.partial
    name = getattr(named, "__name__", type(named).__name__)
    return AuditReport(
        name, (_examined(Subject("own", name, claimed, given=given)),), {}, versions_of("numpy", "torch")
    )


def _examined(subject: Subject) -> Row:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tensors of a few numbers: threads only get in each other's way
    try:
        return _written(subject, swept(subject) if subject.sweep else examine(subject))
    finally:
        torch.set_num_threads(before)


def _key(subject: Subject, versions: Mapping[str, str]) -> str:
    """Name of a row in the ledger: subject, protocol and versions."""
    named = [subject.library, subject.name, subject.configuration, subject.claimed]
    return digest([PROTOCOL, *named, dict(versions)])


def _ledger(cache_dir: str | Path | None, target: str) -> Ledger:
    return Ledger(None if cache_dir is None else Path(cache_dir) / f"audit-{target}.jsonl")


def _written(subject: Subject, row: Row) -> Row:
    """Row whose findings have their lines."""
    return replace(row, findings=tuple(replace(f, snippet=snippet(subject, f.shown)) for f in row.findings))

"""Audit: all rows of a library, in parallel, resumable; table, JSON and HTML."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

from diffnum import __version__
from diffnum.audits.adapters import adapt
from diffnum.audits.experiments import Row, examine
from diffnum.audits.libraries import library_version
from diffnum.audits.subjects import Subject, subjects
from diffnum.convergence.diagnosis import Orders, measure_orders

__all__ = ["AuditReport", "audit"]

PROTOCOL = 1
"""Raised when the experiments change, so that no row of an older protocol is taken from a cache."""

COLUMNS = (
    "sampler",
    "configuration",
    "claimed",
    "formula_order",
    "start_order",
    "tail_order",
    "default_order",
    "floor",
    "verdict",
    "cause",
)

Progress: TypeAlias = Callable[[int, int, str], object]
"""Called as ``progress(done, total, what)`` when a row is done."""


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
    """

    target: str
    rows: tuple[Row, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every row is decided, and no order is below what is claimed."""
        return all(r.verdict in ("as claimed", "above claim") for r in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record."""
        return {
            "target": self.target,
            "versions": dict(self.versions),
            "rows": [_finite(asdict(r)) for r in self.rows],
            "left_out": dict(self.left_out),
        }

    def to_json(self) -> str:
        """JSON text, the same for the same findings."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> AuditReport:
        """Report from :meth:`to_json`."""
        record = json.loads(text)
        rows = tuple(Row(**r) for r in record["rows"])
        return AuditReport(record["target"], rows, record["left_out"], record["versions"])

    def to_html(self) -> str:
        """A page that needs nothing else: table, snippets, what was left out."""
        head = "".join(f"<th>{escape(c.replace('_', ' '))}</th>" for c in COLUMNS)
        body = "\n".join(self._html_row(r) for r in self.rows)
        out = "".join(f"<li><code>{escape(k)}</code>: {escape(v)}</li>" for k, v in self.left_out.items())
        versions = ", ".join(f"{k} {v}" for k, v in self.versions.items())
        return _PAGE.format(
            title=escape(f"Audit of {self.target}"), versions=escape(versions), head=head, body=body, out=out
        )

    @staticmethod
    def _html_row(row: Row) -> str:
        cells = []
        for column in COLUMNS:
            text = escape(_shown(getattr(row, column)))
            if column == "sampler" and row.snippet:
                text = f"<details><summary>{text}</summary><pre>{escape(row.snippet)}</pre></details>"
            cells.append(f"<td>{text}</td>")
        return f'<tr class="{row.verdict.replace(" ", "-")}">{"".join(cells)}</tr>'

    def __str__(self) -> str:
        """Table, findings, what was left out."""
        lines = [f"{'sampler':<36} claimed formula start tail default floor    verdict"]
        for r in self.rows:
            numbers = " ".join(
                f"{_shown(v):>7}" for v in (r.claimed, r.formula_order, r.start_order, r.tail_order, r.default_order)
            )
            lines.append(f"{r.sampler:<36} {numbers} {_shown(r.floor):>8} {r.verdict}")
            lines.append(f"    {r.configuration}" + (f": {r.cause}" if r.cause else ""))
        return "\n".join([*lines, *(f"left out: {name}: {why}" for name, why in self.left_out.items())])


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2em; color: #1b1b1b }}
table {{ border-collapse: collapse }} th, td {{ text-align: left; vertical-align: top; padding: .3em .6em;
border-bottom: 1px solid #d8d8d8 }} tr.below-claim td:nth-child(9) {{ color: #a33 }}
tr.as-claimed td:nth-child(9), tr.above-claim td:nth-child(9) {{ color: #176b2c }} pre {{ background: #f5f5f5;
padding: .6em }}</style></head><body>
<h1>{title}</h1>
<p>{versions}. Orders are measured on Gaussian mixtures, whose probability flow is known exactly: the update formula
alone, then with its own start-up, then with its own last step, on continuous noise levels in float64. The default run
uses integer times, the library's own grid and end, and float32; its order is the observed one from 10 to 320 steps.
A formal order says nothing on the quality of pictures at ten steps. Open a name for the lines that reproduce it.</p>
<table><thead><tr>{head}</tr></thead><tbody>
{body}
</tbody></table>
<h2>Left out</h2><ul>{out}</ul></body></html>
"""


def _finite(value: Any) -> Any:
    """Record with None for what JSON cannot say."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return (f"{value:.1e}" if 0 < abs(value) < 0.01 else f"{value:g}") if isinstance(value, float) else str(value)


def audit(
    target: Any,
    *,
    claimed: float | None = None,
    cache_dir: str | Path | None = None,
    jobs: int = 0,
    only: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Audit the samplers of a library, or one of your own.

    Parameters
    ----------
    target : {"diffusers", "k-diffusion"} or sampler
        Library as installed; or anything that :func:`diffnum.audits.adapt` understands.
    claimed : float, optional
        Order that a sampler of your own claims; needed for one, and only for one.
    cache_dir : path, optional
        Folder for finished rows, one JSON object a line. An audit that was interrupted goes on from there; rows of
        other versions are ignored.
    jobs : int
        Processes; 0 for one a core, at most four.
    only : sequence of str, optional
        Parts of names or configurations: other rows are not run.
    progress : callable, optional
        Called as ``progress(done, total, what)``.

    Returns
    -------
    AuditReport

    Raises
    ------
    ImportError
        If the library is not installed.
    ValueError
        If ``target`` is an unknown name, or ``claimed`` is missing or superfluous.
    """
    if not isinstance(target, str):
        if claimed is None:
            raise ValueError("claimed=None: say which order your sampler claims, such as claimed=2")
        return _audit_one(target, claimed)
    if claimed is not None:
        raise ValueError(
            f"claimed={claimed} goes with a sampler of your own; those of {target!r} have their own claims"
        )
    every, left_out = subjects(target)
    chosen = [s for s in every if only is None or any(o in f"{s.name} {s.configuration}" for o in only)]
    versions = {target: library_version(target), **_versions()}
    rows = dict(_cached(cache_dir, chosen, versions))
    open_ = [s for s in chosen if _key(s, versions) not in rows]
    done = len(chosen) - len(open_)
    for subject, row in _examined(open_, jobs):
        rows[_key(subject, versions)] = row
        if cache_dir is not None:
            _append(cache_dir, target, _key(subject, versions), row)
        done += 1
        if progress is not None:
            progress(done, len(chosen), f"{subject.name} ({subject.configuration})")
    return AuditReport(target, tuple(rows[_key(s, versions)] for s in chosen), left_out, versions)


def _audit_one(target: Any, claimed: float) -> AuditReport:
    sampler = adapt(target)
    orders = measure_orders(sampler)
    formula, start, tail = (Orders.worst(r) for r in (orders.formula, orders.start, orders.tail))
    known = [o for o in (formula, start, tail) if o is not None]
    lost = [
        f"{part}: order {order:g}"
        for part, order in (("formula", formula), ("start-up", start), ("last step", tail))
        if order is not None and order < claimed
    ]
    verdict = "undecided"
    if len(known) == 3:
        verdict = "below claim" if lost else "above claim" if min(known) > claimed else "as claimed"
    name = getattr(sampler, "__name__", type(sampler).__name__)
    row = Row(name, "as given", claimed, formula, start, tail, None, None, verdict, "; ".join(lost))
    return AuditReport(name, (row,), {}, _versions())


def _examined(open_: Sequence[Subject], jobs: int) -> Iterator[tuple[Subject, Row]]:
    """Rows as they get ready; the order of the report does not depend on it."""
    count = jobs or min(4, os.cpu_count() or 1)
    if count == 1 or len(open_) < 2:
        for subject in open_:
            yield subject, _one(subject)[1]
        return
    from joblib import Parallel, delayed

    work = Parallel(n_jobs=count, return_as="generator_unordered", batch_size=1)
    numbered = work(delayed(_numbered)(k, subject) for k, subject in enumerate(open_))
    for k, row in numbered:
        yield open_[k], row


def _numbered(k: int, subject: Subject) -> tuple[int, Row]:
    return k, _one(subject)[1]


def _one(subject: Subject) -> tuple[Subject, Row]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tensors of a few numbers: threads only get in each other's way
    try:
        return subject, examine(subject)
    finally:
        torch.set_num_threads(before)


def _versions() -> dict[str, str]:
    names = ("numpy", "torch")
    return {"diffnum": __version__, **{n: version(n) for n in names}, "python": platform.python_version()}


def _key(subject: Subject, versions: Mapping[str, str]) -> str:
    """Name of a row in the cache: subject, protocol and versions."""
    text = json.dumps([PROTOCOL, subject.library, subject.name, subject.configuration, subject.claimed, dict(versions)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _cache_file(cache_dir: str | Path, target: str) -> Path:
    return Path(cache_dir) / f"audit-{target}.jsonl"


def _append(cache_dir: str | Path, target: str, key: str, row: Row) -> None:
    path = _cache_file(cache_dir, target)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"key": key, "row": asdict(row)}, sort_keys=True) + "\n")


def _cached(
    cache_dir: str | Path | None, chosen: Sequence[Subject], versions: Mapping[str, str]
) -> Iterator[tuple[str, Row]]:
    """Finished rows; a last line that an interruption cut short is skipped."""
    if cache_dir is None or not chosen:
        return
    path = _cache_file(cache_dir, chosen[0].library)
    wanted = {_key(s, versions) for s in chosen}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record.get("key") in wanted:
            yield record["key"], Row(**record["row"])

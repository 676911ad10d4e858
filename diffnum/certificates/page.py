"""Certificates as a page that needs nothing else, and in the short forms that book and README take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffnum.certificates.orders import END_VARIANTS
from diffnum.certificates.records import Certificate, Certificates
from diffnum.coefficients.method import GRID_KINDS
from diffnum.jobs.files import write_file
from diffnum.templates import render

if TYPE_CHECKING:
    from diffnum.certificates.kills import Kills

__all__ = ["compact", "markdown_table", "places", "to_html", "write"]


def write(found: Certificates, out: Path, kills: Kills | None = None) -> tuple[Path, Path]:
    """Write the page and the JSON record.

    Parameters
    ----------
    found : Certificates
        What was established.
    out : Path
        A file that ends in ``.html``, with the record beside it; or a folder.
    kills : Kills, optional
        What a mutation run found.

    Returns
    -------
    (Path, Path)
        The page and the record.
    """
    page, record = places(out)
    page.parent.mkdir(parents=True, exist_ok=True)
    for path, text in ((page, to_html(found, kills)), (record, found.to_json())):
        write_file(path, [text.encode()])
    return page, record


def places(out: Path) -> tuple[Path, Path]:
    """Page and record: a file that ends in ``.html``, with the record beside it, or two files of a folder."""
    page = out if out.suffix == ".html" and not out.is_dir() else out / "certificates.html"
    return page, page.with_suffix(".json")


def to_html(found: Certificates, kills: Kills | None = None) -> str:
    """Page of certificates.

    Raises
    ------
    ModuleNotFoundError
        If jinja2 is absent.
    """
    return render(
        "certificates.html.j2",
        title="Certificates of diffusion samplers",
        opening=(
            "For each method: is it the formula that was derived and published, how accurate are its weights, which "
            "order does it have on problems whose exact answer is known, what do its start and its end cost, and does "
            "it reproduce its authors' code?"
        ),
        summary_text=_summary(found),
        certificates=found.certificates,
        kills=kills,
        grids=GRID_KINDS,
        variants=END_VARIANTS,
        anchor=lambda name: re.sub(r"[^a-z0-9]+", "-", name.lower()),
        proved=lambda c: f"✓ order {proved(c)}" if c.proof.ok else "✗ no",
        golden=lambda c: f"{c.golden.reproduced} of {c.golden.cases}" if c.golden.cases else "-",
        accuracy=_accuracy,
        trajectories=_trajectories,
        run=_facts(found),
    )


def proved(certificate: Certificate) -> str:
    """Proved order, with the exceptions of other grids."""
    orders = [str(certificate.proof.orders.get(kind, "?")) for kind in GRID_KINDS]
    return orders[0] if len(set(orders)) == 1 else " / ".join(orders)


def _summary(found: Certificates) -> str:
    """Counts of what holds."""
    held = sum(c.ok for c in found.certificates)
    rates = sum(len(c.orders) + len(c.ends) for c in found.certificates)
    worst = max(found.certificates, key=lambda c: c.accuracy.worst)
    text = f"{held} of {len(found.certificates)} methods are certified, on {rates} measured rates. "
    text += f"The largest error of a weight is {worst.accuracy.worst:.1f} eps ({worst.name}). "
    wrong = [c.name for c in found.certificates if c.contradictions]
    open_ = [c.name for c in found.certificates if c.undecided and not c.contradictions]
    text += f"Contradicted: {', '.join(wrong)}. " if wrong else ""
    return (text + (f"Undecided: {', '.join(open_)}." if open_ else "")).strip()


def _accuracy(certificate: Certificate) -> str:
    """Where the weights are worst."""
    a = certificate.accuracy
    past = ", ".join(f"{u:.4g}" for u in a.where["past"])
    at = f"h = {a.where['h']:.4g}" + (f", past nodes {past}" if past else "")
    return (
        f"Weights in float64 are within {a.worst:.2f} eps of the derived ones in ball arithmetic ({a.points} inputs, "
        f"{a.steps} kinds of step; at most {a.bound:g} eps is certified). The worst is the weight of "
        f"{a.where['weight']} in row {a.where['row']} of the step of {a.where['step']}, at {at}."
    )


def _trajectories(certificate: Certificate) -> str:
    """Agreement in a sentence."""
    golden = certificate.golden
    if not golden.cases:
        return "No trajectory of an official code was recorded with this method's options."
    return f"Reproduces {golden.reproduced} of {golden.cases} trajectories recorded from the authors' codes."


def _facts(found: Certificates) -> list[tuple[str, str]]:
    """Versions, seeds and settings."""
    settings = found.settings
    return [
        ("Versions", ", ".join(f"{name} {number}" for name, number in found.versions.items())),
        ("Source", f"{settings['source']}, a digest of the package's source text"),
        ("Seed", f"{found.seed}, for starting points and for the inputs of weights"),
        ("Schedules", ", ".join(settings["schedules"])),
        ("Problems", ", ".join(settings["problems"])),
        ("Grids", "constant, smoothly varying and irregular steps, in each method's own clock"),
        ("Inputs", f"{settings['points']} for each kind of step, the worst followed uphill"),
        ("Whole runs", ", ".join(map(str, settings["end_steps"])) + " steps on VP-linear, rotated product"),
    ]


# -- short forms -------------------------------------------------------------------------------------


def compact(found: Certificates, kills: Kills | None = None) -> dict[str, Any]:
    """Certificates without the data behind them, for tables: one record a method.

    Parameters
    ----------
    found : Certificates
        What was established.
    kills : Kills, optional
        What a mutation run found.
    """
    return {
        "version": found.versions["diffnum"],
        "versions": dict(found.versions),
        "seed": found.seed,
        "settings": {name: value for name, value in found.settings.items() if name != "source"},
        "methods": [_row(c, found.settings["schedules"]) for c in found.certificates],
        **({"mutants": kills.to_dict()} if kills else {}),
    }


def _row(c: Certificate, schedules: Sequence[str]) -> dict[str, Any]:
    """Claimed, proved and measured orders, accuracy and agreement of one method."""
    worst = c.accuracy
    return {
        "name": c.name,
        "title": c.title,
        "nfe_per_step": c.nfe_per_step,
        "claimed": c.claimed,
        "proved": proved(c),
        "proof_ok": c.proof.ok,
        "measured": {kind: c.measured(kind) for kind in GRID_KINDS},
        "measured_on": {name: {kind: c.measured(kind, name) for kind in GRID_KINDS} for name in schedules},
        "shipped": c.end("as shipped"),
        "start_up": c.end("start-up"),
        "last_step": c.end("last step"),
        "lowered_end": c.end("lowered end"),
        "accuracy": {"eps": round(worst.worst, 2), "points": worst.points, "where": dict(worst.where)},
        "golden": {"reproduced": c.golden.reproduced, "cases": c.golden.cases},
        "ok": c.ok,
        "contradictions": list(c.contradictions),
        "undecided": list(c.undecided),
    }


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """Table of the methods of :func:`compact` in Markdown."""
    lines = [
        "| method | NFE per step | claimed | proved | measured (uniform / smooth / irregular) | as shipped | weights |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        values = list(r["measured"].values())
        measured = values[0] if len(set(values)) == 1 else " / ".join(values)
        cells = (f"`{r['name']}`", r["nfe_per_step"], r["claimed"], r["proved"] if r["proof_ok"] else "not proved")
        lines.append(
            "| " + " | ".join(map(str, (*cells, measured, r["shipped"], f"{r['accuracy']['eps']:.1f} eps"))) + " |"
        )
    return "\n".join(lines)

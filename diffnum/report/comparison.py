"""A page on one network: methods as errors of single images and as distances between sets of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffnum._version import __version__
from diffnum.jobs.environment import versions_text
from diffnum.report.networks import picture
from diffnum.report.prose import percent
from diffnum.templates import render

if TYPE_CHECKING:
    from diffnum.models.quality import Quality
    from diffnum.models.quality.compare import Comparison

__all__ = ["write_comparison"]

_COLUMNS = 6
"""Columns of images at most."""


@dataclass(frozen=True)
class _Curve:
    """What the plots ask of a method."""

    label: str
    family: str
    nfe: tuple[int, ...]
    errors: tuple[float, ...]


def write_comparison(
    out: str | Path, model: Any, quality: Quality, comparison: Comparison | None = None, *, command: str
) -> Path:
    """Write one self-contained page.

    Parameters
    ----------
    out : str or Path
        HTML file; its folder is made where it is missing.
    model : NetworkDenoiser
        The network, which knows how its samples look.
    quality : Quality
        From :func:`diffnum.models.quality.measure_quality`.
    comparison : Comparison, optional
        From :func:`diffnum.models.quality.compare.compare` on the same network.
    command : str
        What was run, to be recorded.

    Returns
    -------
    Path
        The file.
    """
    from diffnum.jobs.files import write_file

    page = render(
        "comparison.html.j2",
        title=f"Samplers on {quality.model}",
        opening=(
            f"{len(quality.rows)} methods of the catalogue, each at {_listed(quality.rows[0].asked)} evaluations of "
            f"the network, from the same noise. Error is that of single images; the other distances are between sets "
            f"of {quality.n} images."
        ),
        findings=_findings(quality, comparison),
        command=command,
        run=_run(quality, comparison),
        exact="" if comparison is None else str(comparison),
        version=__version__,
        **_images(model, quality),
        **_numbers(quality),
        curves=_curves(quality),
    )
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, [page.encode("utf-8")])
    return out


def _listed(values: Sequence[int]) -> str:
    return f"{', '.join(map(str, values[:-1]))} and {values[-1]}" if len(values) > 1 else str(values[0])


def _findings(quality: Quality, comparison: Comparison | None) -> list[str]:
    """What the numbers say."""
    from diffnum.models.quality import METRICS

    found = [f"Order is not quality: {text}." for text in quality.disagreements] or [
        "At every number of evaluations the method with the smallest error also draws the best set of images."
    ]
    for name in ("fid_data", "kid_data"):
        if name in quality.reference_values:
            value = quality.reference_values[name]
            better = sorted({r.method for r in quality.rows if min(r.values[name]) < value})
            found.append(
                f"The reference set itself, which no method beats in error, has a {METRICS[name]} of {value:.3g}"
                + (f"; {', '.join(better)} {'gets' if len(better) == 1 else 'get'} below that." if better else ".")
            )
    halves = ", ".join(f"{name} {value:.3g}" for name, value in quality.halves.items())
    found.append(
        f"For scale: the two halves of the reference set, {quality.n // 2} independent images each, differ by {halves}."
    )
    if comparison is not None and comparison.limited is not None:
        found.append(
            "Methods of order 3 and more "
            + ("do not show their order on this network." if comparison.limited else "show it on this network.")
        )
    return found


def _images(model: Any, quality: Quality) -> dict[str, Any]:
    """Pictures of each method at some numbers of evaluations."""
    asked = quality.rows[0].asked
    kept = range(len(asked)) if len(asked) <= _COLUMNS else [0, *range(len(asked) - _COLUMNS + 1, len(asked))]
    shown = len(quality.reference_images)
    rows = []
    for row in quality.rows:
        cells = []
        for i in kept:
            error = percent(row.values["error"][i])
            note = f"error {error}" + ("" if row.nfe[i] == asked[i] else f" ({row.nfe[i]} evaluations)")
            alt = f"{shown} samples by {row.label} in {row.nfe[i]} evaluations, error {error}"
            cells.append({**picture(model, row.images[i], alt), "note": note})
        rows.append({"label": row.label, "cells": cells})
    return {
        "columns": [asked[i] for i in kept],
        "pictures": rows,
        "reference": picture(model, quality.reference_images, f"{shown} samples of the reference set"),
        "about_images": (
            f"The first {shown} of {quality.n} images, seed {quality.seed}; grid {quality.grid}, terminal rule "
            f"{quality.terminal}, labels {quality.labels}. Every column starts from the same noise."
        ),
    }


def _curves(quality: Quality) -> list[dict[str, str]]:
    """One plot a distance; what is not positive is left out of a logarithmic plot."""
    from diffnum.models.quality import METRICS
    from diffnum.plot import plot_work_precision, to_svg

    found = []
    for name in quality.metrics:
        curves = [
            _Curve(r.label, r.family, r.nfe, tuple(v if v > 0 else math.nan for v in r.values[name]))
            for r in quality.rows
        ]
        curves = [c for c in curves if not all(map(math.isnan, c.errors))]
        if not curves:
            continue
        axes = plot_work_precision(curves, orders=(1, 2, 3) if name == "error" else ())
        axes.set_ylabel(name)
        if name in quality.reference_values and quality.reference_values[name] > 0:
            axes.axhline(quality.reference_values[name], linewidth=0.8, linestyle=":", color="gray")
        caption = METRICS[name] + ("; dotted: the reference set." if name in quality.reference_values else ".")
        title = f"{METRICS[name]} against evaluations on {quality.model}"
        found.append({"svg": to_svg(axes, title=title, prefix=name), "caption": caption})
    return found


def _numbers(quality: Quality) -> dict[str, Any]:
    """Every number with its method, evaluations, seed, grid and terminal rule."""
    from diffnum.models.quality import METRICS

    settings = (str(quality.n), str(quality.seed), quality.grid)
    rows = [
        [
            row.method,
            *(str(k) for k in (row.order, row.nfe[i], row.steps[i])),
            *(f"{row.values[name][i]:.4g}" for name in quality.metrics),
            *settings,
            quality.terminal,
        ]
        for row in quality.rows
        for i in range(len(row.nfe))
    ]
    of_reference = [
        f"{quality.reference_values[name]:.4g}" if name in quality.reference_values else "0" for name in quality.metrics
    ]
    made = str(quality.reference["nfe"])
    rows.append([f"reference ({quality.reference['method']})", "", made, made, *of_reference, *settings, "stop"])
    return {
        "head": [
            "method",
            "order",
            "evaluations",
            "steps",
            *quality.metrics,
            "images",
            "seed",
            "grid",
            "terminal rule",
        ],
        "rows": rows,
        "glossary": [(name, METRICS[name]) for name in quality.metrics],
        "about_numbers": (
            f"Features: {quality.about_features}. Unbiased discrepancies may be negative. All distances depend on the "
            "number of images: compare them within this table only."
        ),
    }


def _run(quality: Quality, comparison: Comparison | None) -> list[tuple[str, str]]:
    """Settings and versions."""
    reference = quality.reference
    found = [
        ("Network", f"{quality.model}, {quality.dtype}, labels {quality.labels}"),
        ("Images", f"{quality.n} in every set, noise from seed {quality.seed}, one stream an image"),
        ("Grid", f"{quality.grid}, t from {quality.t_start:g} to {quality.t_end:g}"),
        ("Terminal rule", quality.terminal),
        (
            "Reference set",
            f"{reference['method']} with {reference['nfe']} evaluations, stopping at the last time; with half as many "
            f"its images differ by {reference['halving']:.1e} (relative root mean square)",
        ),
        ("Features", quality.about_features),
    ]
    if comparison is not None:
        exact = comparison.reference
        found.append(
            (
                "Converged reference",
                f"{comparison.n} images, {exact.integrator} with error control at {exact.tolerance:g}, "
                f"{exact.evaluations} evaluations an image, good to {exact.agreement:.0e}",
            )
        )
    found.append(("Versions", versions_text("numpy", "scipy", "torch")))
    return found

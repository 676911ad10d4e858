"""What the report says of a network: pictures, errors, and whether the network or the method sets the order."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffnum.report.prose import SEED, anchor, percent, sentence

__all__ = ["COLUMNS", "ModelSection", "picture", "sample_network"]

COLUMNS = (5, 10, 20)
"""Evaluations of the image columns."""


@dataclass(frozen=True)
class ModelSection:
    """What the page says of one network; ``missing`` says how to get it where it is not here.

    Parameters
    ----------
    id : str
        Identifier of :func:`diffnum.load`.
    missing : str
        How to get the network where it is not here; "" where it is.
    about : str
        One sentence on the network.
    columns : tuple of int
        Numbers of evaluations.
    rows : tuple of mapping
        One a method: name and errors.
    reference : mapping
        Picture of the converged samples: address, text, size.
    plot, caption, table : str
        Figure in SVG, its caption, table in HTML.
    findings : tuple of str
        What the numbers say.
    """

    id: str
    missing: str = ""
    about: str = ""
    columns: tuple[int, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    reference: Mapping[str, Any] = field(default_factory=dict)
    plot: str = ""
    caption: str = ""
    findings: tuple[str, ...] = ()
    table: str = ""

    @property
    def anchor(self) -> str:
        """Identifier in the page."""
        return anchor(self.id)


def sample_network(model_id: str, *, quick: bool = False) -> ModelSection:
    """Compare methods on one network.

    Parameters
    ----------
    model_id : str
        Identifier of :func:`diffnum.load`; where its weights are absent the section says how to get them.
    quick : bool
        Fewer samples and evaluations.
    """
    from diffnum.models import MissingModelError, load
    from diffnum.models.quality.compare import DEFAULT_NFE, compare

    try:
        model = load(model_id, dtype="float64")
    except MissingModelError as error:
        return ModelSection(model_id, missing=sentence(str(error)))
    smooth = model_id.startswith("toy/")  # cheap enough for more samples, levels and a tighter reference
    n = 2 if quick else 8 if smooth else 4
    if model.num_classes:
        model = model.conditioned([i % model.num_classes for i in range(n)])
    nfe = (5, 10, 20, 40) if quick else (*DEFAULT_NFE, 320) if smooth else DEFAULT_NFE
    tolerance = 1e-6 if quick else 1e-10 if smooth else 1e-8
    return _model_section(model, compare(model, nfe=nfe, n=n, seed=SEED, tolerance=tolerance))


def _model_section(model: Any, comparison: Any) -> ModelSection:
    """Pictures, plot and findings of a comparison."""
    from diffnum.plot import plot_work_precision, to_svg

    reference = comparison.reference
    labels = "" if model.num_classes is None else ", one of each label from 0 on"
    about = (
        f"{comparison.n} samples{labels}, noise from seed {comparison.seed}, float64, steps uniform in half-log-SNR "
        f"from t = {reference.t_start:g} to {reference.t_end:g}. Reference: {reference.integrator} with error control "
        f"at {reference.tolerance:g}, {reference.evaluations} evaluations a sample; a run at ten times the tolerance "
        f"differs by {reference.agreement:.0e}, so errors are trusted down to there."
    )
    rows = []
    for row in comparison.rows:
        cells = []
        for asked in COLUMNS:
            i = row.asked.index(asked)
            error = percent(row.errors[i])
            alt = f"{comparison.n} samples by {row.label} in {row.nfe[i]} evaluations, error {error}"
            cells.append({**picture(model, row.images[i], alt), "error": error, "nfe": row.nfe[i], "asked": asked})
        rows.append({"label": row.label, "cells": cells})
    axes = plot_work_precision(comparison.rows, floor=reference.agreement, title=comparison.model)
    slopes = "; ".join(f"{r.label}: {r.verdict}" for r in comparison.rows)
    return ModelSection(
        id=comparison.model,
        about=about,
        columns=COLUMNS,
        rows=tuple(rows),
        reference=picture(model, reference.x, f"{comparison.n} samples of {comparison.model}, converged"),
        plot=to_svg(
            axes, title=f"Error against evaluations on {comparison.model}. {slopes}.", prefix=anchor(comparison.model)
        ),
        caption="Dotted: slopes of order 1, 2, 3. Shaded: below the accuracy of the reference.",
        findings=_findings(comparison),
        table=str(comparison),
    )


def picture(model: Any, x: Any, alt: str) -> dict[str, Any]:
    """Images of a batch side by side, as a data address."""
    from diffnum.plot import image_grid, to_data_uri

    png = image_grid(model.to_image(x), columns=4 if len(x) > 4 else 2)
    width, height = struct.unpack(">II", png[16:24])  # a PNG says its size there
    return {"uri": to_data_uri(png), "width": width * 3, "height": height * 3, "alt": alt}


_MADE_OF = {
    "galaxies/": "It is built with ReLUs, whose kinks the flow crosses: between kinks it is smooth, across one a step "
    "loses all but its lowest orders.",
    "toy/": "Every operation in it is infinitely differentiable.",
}


def _findings(comparison: Any) -> tuple[str, ...]:
    """What the errors say, and whether the network or the method sets the order."""
    seen = [r for r in comparison.rows if r.observed is not None]
    listed = ", ".join(f"{r.label} {r.observed:.1f} (proved {r.order})" for r in seen)
    first = f"Slopes over the finest three levels that the reference resolves: {listed}."
    made = next((text for prefix, text in _MADE_OF.items() if comparison.model.startswith(prefix)), "")
    high = [r for r in seen if r.order >= 3]
    fall = ", ".join(f"{r.label} falls like n^-{r.observed:.1f} (order {r.order})" for r in high)
    if not high:
        second = "No method of order 3 or more has three levels that the reference resolves: they cannot be judged."
    elif comparison.limited is None:
        second = f"Methods of order 3 and more do not agree here: {fall}. What limits them is not decided. {made}"
    elif comparison.limited:
        second = (
            f"Methods of order 3 and more do not show their order here: {fall}. Their formulas have it on exact "
            f"problems, so the limit is the network. {made} A high order "
            "still makes errors smaller, but not at its own rate."
        )
    else:
        second = f"Orders above 2 are visible here: {fall}. The network is smooth enough at these step sizes. {made}"
    best_at = []
    for k in COLUMNS:
        best = min(comparison.rows, key=lambda r: r.errors[r.asked.index(k)])
        best_at.append(f"{best.label} at {k} evaluations ({percent(best.errors[best.asked.index(k)])})")
    return first, second, f"Smallest error: {', '.join(best_at)}."

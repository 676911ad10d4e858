"""Agreement with trajectories that were recorded from the authors' codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from diffnum.certificates.recorded import Case, load, replay, watched
from diffnum.certificates.records import Agreement

__all__ = ["agreements"]

TOLERANCE, ADAPTIVE_TOLERANCE = 1e-9, 1e-7
"""Relative difference that counts as reproduced; step-size control multiplies rounding."""


def agreements(cases: Iterable[Case] | None = None) -> dict[str, Agreement]:
    """Agreement of every method that some recorded case runs, by name.

    Parameters
    ----------
    cases : iterable of mapping, optional
        Records of the format golden-v1; those of the package by default.
    """
    found: dict[str, list[float]] = {}
    for case in load() if cases is None else cases:
        with watched() as names:
            try:
                difference = _difference(case, replay(case))
            except NotImplementedError:  # no record covers the case
                continue
        for name in dict.fromkeys(names):
            found.setdefault(name, []).append(difference)
    return {
        name: Agreement(sum(d <= 1.0 for d in differences), len(differences), max(differences))
        for name, differences in sorted(found.items())
    }


def _difference(case: Case, state: Any) -> float:
    """Largest difference of final states in units of the tolerance."""
    expected = np.array(case["x_0"])
    if np.shape(state) != expected.shape:
        return float("inf")
    tolerance = ADAPTIVE_TOLERANCE if "adaptive" in case["solver"] else TOLERANCE
    scale = np.abs(expected) + 0.01 * np.max(np.abs(expected))
    return float(np.max(np.abs(state - expected) / (tolerance * scale)))

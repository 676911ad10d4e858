"""Agreement with trajectories that were recorded from the authors' codes.

The recorded cases and the code that maps their options to records are part of the source repository, under
``tests/``, and not of an installed package. There the agreement is "not available".
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import diffnum
from diffnum.certificates.records import Agreement

__all__ = ["NOT_AVAILABLE", "agreements", "replay_file"]

NOT_AVAILABLE = "the recorded trajectories are part of the source repository, and not of the installed package"

TOLERANCE, ADAPTIVE_TOLERANCE = 1e-9, 1e-7
"""Relative difference that counts as reproduced; step-size control multiplies rounding."""


def replay_file() -> Path | None:
    """Code that replays recorded cases, where the package is run from its repository."""
    path = Path(diffnum.__file__).resolve().parents[1] / "tests" / "golden_replay.py"
    return path if path.is_file() and (path.parent / "data" / "golden.json.gz").is_file() else None


class _Witness:
    """The package's public face, which notes for which methods plans are made."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(diffnum, name)

    def plan(self, method: Any, *args: Any, **options: Any) -> Any:
        """Make a plan as the package does."""
        made = diffnum.plan(method, *args, **options)
        self.methods.append(made.method)
        return made


def agreements(path: Path | None = None) -> dict[str, Agreement]:
    """Agreement of every method that some recorded case runs, by name; empty where no cases are at hand.

    Parameters
    ----------
    path : Path, optional
        Code that replays cases; :func:`replay_file` by default.
    """
    path = replay_file() if path is None else path
    if path is None:
        return {}
    replay = _loaded(path)
    witness = _Witness()
    replay.dn = witness  # type: ignore[attr-defined]
    found: dict[str, list[float]] = {}
    for case in replay.load():
        witness.methods.clear()
        try:
            difference = _difference(case, replay.replay(case))
        except NotImplementedError:  # no record covers the case
            continue
        for name in dict.fromkeys(witness.methods):
            found.setdefault(name, []).append(difference)
    return {
        name: Agreement(sum(d <= 1.0 for d in differences), len(differences), max(differences))
        for name, differences in sorted(found.items())
    }


def _difference(case: Mapping[str, Any], state: Any) -> float:
    """Largest difference of final states in units of the tolerance."""
    expected = np.array(case["x_0"])
    if np.shape(state) != expected.shape:
        return float("inf")
    tolerance = ADAPTIVE_TOLERANCE if "adaptive" in case["solver"] else TOLERANCE
    scale = np.abs(expected) + 0.01 * np.max(np.abs(expected))
    return float(np.max(np.abs(state - expected) / (tolerance * scale)))


def _loaded(path: Path) -> ModuleType:
    """The replaying code as a module of its own, apart from one that tests have imported."""
    name = "_diffnum_golden_replay"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"path={str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up there
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.modules.pop(name, None)
        sys.path[:] = before
    return module

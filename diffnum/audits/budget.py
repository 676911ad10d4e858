"""Where the error of a default run comes from: ingredients are taken out one at a time, then together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from diffnum.audits.shipped import ShippedRun, shipped_run

__all__ = ["ErrorBudget", "error_budget"]

GAIN = 0.5
"""An ingredient explains an error if the error falls below this fraction without it."""

PARTS = {"float32": "float32 arithmetic", "time rounding": "the times told to the model", "last step": "the last step"}
"""Ingredients that can be taken out, and how a sentence calls them."""


@dataclass(frozen=True)
class ErrorBudget:
    """Errors of one run with every subset of its ingredients taken out.

    Parameters
    ----------
    steps : int
        Steps of the run.
    errors : mapping of frozenset of str to float
        Error without these ingredients; the empty set is the run as shipped.
    failures : mapping of frozenset of str to str
        What was raised without these ingredients: of them nothing is known.
    """

    steps: int
    errors: Mapping[frozenset[str], float]
    failures: Mapping[frozenset[str], str] = field(default_factory=dict)

    @property
    def shipped(self) -> float:
        """Error as shipped."""
        return self.errors[frozenset()]

    @property
    def culprits(self) -> tuple[str, ...]:
        """Smallest set of ingredients without which the error halves at least; empty if there is none."""
        enough = [parts for parts, error in self.errors.items() if parts and error < GAIN * self.shipped]
        if not enough:
            return ()
        best = min(enough, key=lambda parts: (len(parts), self.errors[parts], sorted(parts)))
        return tuple(part for part in PARTS if part in best)

    @property
    def untried(self) -> tuple[str, ...]:
        """Ingredients that could not be taken out, since the run without them fails."""
        alone = {part for parts in self.failures if len(parts) == 1 for part in parts}
        return tuple(part for part in PARTS if part in alone)

    def __str__(self) -> str:
        """One clause, and another for what could not be tried."""
        if not self.culprits:
            text = f"{self.steps} steps: no ingredient that was swapped explains the error {self.shipped:.1e}"
        else:
            names, rest = " and ".join(PARTS[c] for c in self.culprits), self.errors[frozenset(self.culprits)]
            text = f"{self.steps} steps: limited by {names} (error {self.shipped:.1e}, {rest:.1e} without)"
        for part in self.untried:
            text += f"; {PARTS[part]} could not be swapped: {self.failures[frozenset({part})]}"
        return text

    def to_dict(self) -> dict[str, float | None]:
        """Errors by what was taken out, for JSON."""
        return {
            " + ".join(p for p in PARTS if p in parts) or "as shipped": (e if math.isfinite(e) else None)
            for parts, e in self.errors.items()
        }


def error_budget(target: Any, steps: int, run: Callable[..., ShippedRun] | None = None, **options: Any) -> ErrorBudget:
    """Take float32 arithmetic, rounded times and the last step out of a default run, in all combinations.

    Parameters
    ----------
    target : scheduler object of diffusers, or function of k-diffusion
        What to run. Functions are told noise levels, never rounded times.
    steps : int
        Steps of the runs.
    run : callable, optional
        ``run(steps, double=, exact_times=)``; :func:`diffnum.audits.shipped_run` of the target by default.
    **options
        Arguments of :func:`diffnum.audits.shipped_run`.

    Returns
    -------
    ErrorBudget
    """
    swap_times = (False, True) if hasattr(target, "set_timesteps") else (False,)
    errors: dict[frozenset[str], float] = {}
    failures: dict[frozenset[str], str] = {}
    for double, exact_times in product((False, True), swap_times):
        swaps: dict[str, Any] = {"double": double, "exact_times": exact_times}
        found = run(steps, **swaps) if run is not None else shipped_run(target, steps, **swaps, **options)
        out = frozenset(p for p, yes in (("float32", double), ("time rounding", exact_times)) if yes)
        if found.failure:
            failures[out] = found.failure
        errors[out] = found.error
        errors[out | {"last step"}] = found.before_last
    return ErrorBudget(steps, errors, failures)

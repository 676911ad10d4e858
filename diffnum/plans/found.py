"""Plans that were found for one model, on another one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from diffnum.plans.identity import identity_of
from diffnum.plans.record import Plan

__all__ = ["FoundElsewhereWarning", "warn_if_found_elsewhere"]

_COMPARED = ("model", "sha256", "label", "condition", "guidance", "interval", "rescale", "weak", "rule")


class FoundElsewhereWarning(UserWarning):
    """A plan runs on another model than that for which its numbers were found."""


def warn_if_found_elsewhere(plan: Plan, model: Any, labelled: Callable[[Any], Any] = lambda model: model) -> None:
    """Warn where a plan that was found for one model runs on another, with other weights, classes or guidance.

    Parameters
    ----------
    plan : Plan
        Plan; nothing is said of one that was not found for a model.
    model : Denoiser
        The model that is about to be sampled; nothing is said of one without a name or numbers of its own.
    labelled : callable
        Binds the condition that the model is going to have; called only for plans that were found.
    """
    if plan.found_for is None:
        return
    here = identity_of(labelled(model))
    if "model" in here and (said := _differences(plan.found_for, here)):
        warnings.warn(
            f"this plan of {plan.nfe} evaluations was found for {said}: its error is not known here; find one for this "
            "model (diffnum fit), or take a plan of the catalogue",
            FoundElsewhereWarning,
            stacklevel=3,
        )


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What a model is that a plan was found for, and what this one is instead; empty where they agree."""
    if there.get("model") != here["model"]:
        return f"model {there.get('model')!r}, here {here['model']!r}"
    found = []
    for key in _COMPARED[1:]:
        wanted, got = there.get(key), here.get(key)
        if key == "sha256" and None not in (wanted, got) and wanted != got:
            kind = "numbers" if here["model"].startswith("exact ") else "weights"
            found.append(f"other {kind} of {here['model']!r}")
        if key == "sha256" or wanted == got:
            continue
        if key == "label" and wanted is None:  # found without a class, and meant for any
            continue
        if key == "label" and None not in (wanted, got) and (wanted == "each" or {wanted} == set(_flat(got))):
            continue
        found.append(f"{key} {wanted!r}, here {[*got[:3], ...] if isinstance(got, list) and len(got) > 4 else got!r}")
    return ", ".join(found)


def _flat(label: Any) -> list[Any]:
    return label if isinstance(label, list) else [label]

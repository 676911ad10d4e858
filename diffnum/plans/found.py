"""Plans that were found for one model, on another one."""

from __future__ import annotations

import warnings
from typing import Any

from diffnum.plans.record import Plan

__all__ = ["FoundElsewhereWarning", "warn_if_found_elsewhere"]


class FoundElsewhereWarning(UserWarning):
    """A plan runs on another model than that for which its numbers were found."""


def warn_if_found_elsewhere(plan: Plan, model: Any) -> None:
    """Warn where a plan that was found for one model runs on another, or under other guidance.

    Parameters
    ----------
    plan : Plan
        Plan; nothing is said of one that was not found for a model.
    model : Denoiser
        The model that is about to be sampled; nothing is said of one without a name.
    """
    found_for, name = plan.found_for, getattr(model, "name", None)
    if found_for is None or name is None:
        return
    here = {"model": str(name), "guidance": getattr(model, "scale", None)}
    there = {key: found_for.get(key) for key in here}
    if different := [key for key in here if here[key] != there[key] and not callable(here[key])]:
        said = ", ".join(f"{key} {there[key]!r}, here {here[key]!r}" for key in different)
        warnings.warn(
            f"this plan of {plan.nfe} evaluations was found for {said}: its error is not known here; find one for this "
            "model (diffnum fit), or take a plan of the catalogue",
            FoundElsewhereWarning,
            stacklevel=3,
        )

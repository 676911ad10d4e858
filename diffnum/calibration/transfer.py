"""What a found plan is worth elsewhere: on other models, conditions and guidance scales of the same process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from diffnum.calibration.hosts import host_of
from diffnum.calibration.rivals import endpoint_error
from diffnum.calibration.teachers import converged_samples
from diffnum.plans import Plan
from diffnum.types import Schedule

__all__ = ["Transfer", "check_others", "transferred"]


@dataclass(frozen=True)
class Transfer:
    """A found plan on a model for which it was not found.

    Parameters
    ----------
    name : str
        Name of the model in the table.
    error : float
        Error of the plan there, relative, on unseen noises.
    baseline_error : float
        Error there of the catalogue's plan that was the best where the plan was found.
    """

    name: str
    error: float
    baseline_error: float

    @property
    def ratio(self) -> float:
        """Above 1 the plan loses."""
        return self.error / self.baseline_error


def check_others(schedule: Schedule, models: Mapping[str, Any]) -> None:
    """Refuse models of another process.

    Raises
    ------
    ValueError
        If a model has another schedule.
    """
    for name, model in models.items():
        if model.schedule != schedule:
            msg = f"models[{name!r}] has another schedule than the plan: a plan is for one process"
            raise ValueError(msg)


def transferred(
    plan: Plan, baseline: Plan, models: Mapping[str, Any], *, n: int, seed: int, label: Any = None
) -> tuple[Transfer, ...]:
    """Errors of a plan and of its rival on other models.

    Parameters
    ----------
    plan, baseline : Plan
        The found plan, and the catalogue's best where it was found.
    models : mapping of str to Denoiser
        Models by name.
    n, seed : int
        Number of noises, and their seed.
    label : int, "each" or None
        Condition of networks with classes.
    """
    rows = []
    ends = float(plan.times[0]), float(plan.times[-1])
    for name, model in models.items():
        # a network that is bound to its labels keeps them
        bound = label if getattr(model, "labels", None) is None else None
        samples = converged_samples(host_of(model, label=bound), ends, n, seed)
        bare = replace(plan, found_for=None)  # that it runs elsewhere is the point here
        rows.append(Transfer(name, endpoint_error(bare, samples), endpoint_error(baseline, samples)))
    return tuple(rows)

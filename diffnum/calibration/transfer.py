"""What a found plan is worth elsewhere: on other models, conditions and guidance scales of the same process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from diffnum.calibration.fitting import Fit, converged_samples
from diffnum.calibration.hosts import host_of
from diffnum.calibration.rivals import endpoint_error

__all__ = ["Transfer", "transfer_table"]


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


def transfer_table(
    fit: Fit, models: Mapping[str, Any], *, n: int = 64, seed: int = 1, label: Any = None
) -> tuple[Transfer, ...]:
    """Hold a found plan against the catalogue's best of its own model on other models.

    Parameters
    ----------
    fit : Fit
        Result of :func:`diffnum.calibration.fit_plan`.
    models : mapping of str to Denoiser
        Other models of the same schedule, by names of your own.
    n, seed : int
        Number of noises, and their seed; another one than that of the fit.
    label : int, "each" or None
        As in :func:`diffnum.calibration.fit_plan`.

    Returns
    -------
    tuple of Transfer

    Raises
    ------
    ValueError
        If a model has another schedule.
    """
    rows = []
    for name, model in models.items():
        if model.schedule != fit.plan.schedule:
            msg = f"models[{name!r}] has another schedule than the plan: a plan is for one process"
            raise ValueError(msg)
        ends = fit.space.t_start, fit.space.t_end
        samples = converged_samples(host_of(model, label=label), ends, n, seed)
        bare = replace(fit.plan, found_for=None)  # that it runs elsewhere is the point here
        rows.append(Transfer(name, endpoint_error(bare, samples), endpoint_error(fit.baseline.plan, samples)))
    return tuple(rows)

"""The configuration of a scheduler that is replaced, as one of a PlanScheduler."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from diffnum.interop.nodes import SPACED_AS
from diffnum.models.loading.understood import KINDS, OWN, in_force

__all__ = ["translated"]

_TO_LABEL_0 = tuple(f"{name}Scheduler" for name in ("DDIM", "DDIMParallel", "PNDM", "CogVideoXDDIM", "CogVideoXDPM"))
"""Schedulers whose last step goes to label 0 unless ``set_alpha_to_one``."""

_NEVER_CLEAN = ("DEISMultistepScheduler", "SASolverScheduler")
"""Schedulers whose last step always goes to the least noise of the table."""

_LEARNED = ("learned", "learned_range")

_REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "preconditioned": "config belongs to a scheduler that preconditions its network itself (sigma_data): take "
        "diffnum.interop.PlanScheduler.from_config, or load the network with dn.load('edm:PATH')",
        "exploding": "config belongs to a variance exploding process, whose states and network are not those of a "
        "pipeline of labels: take diffnum.interop.PlanScheduler.from_config, or load the network with dn.load",
    }
)


def translated(config: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a PlanScheduler with the process, the prediction and the nodes of another scheduler.

    Parameters
    ----------
    config : mapping
        ``pipe.scheduler.config``, or what a file holds.

    Returns
    -------
    dict
        With the keys of the other class too, so that a swap back finds them; a PlanScheduler's own as it is.

    Raises
    ------
    ValueError
        If the class, a key or the value of a key is not understood.
    """
    found = in_force(config)
    source = found.pop("_class_name", "")
    if source in ("", OWN):
        return found
    if KINDS[source] in _REFUSED:
        msg = f"{source}: {_REFUSED[KINDS[source]]}"
        raise ValueError(msg)
    if source in SPACED_AS:
        found["spacing_as"] = source
    if KINDS[source] == "flow":
        found["prediction_type"] = "flow_prediction"
    if (source in _TO_LABEL_0 and not found["set_alpha_to_one"]) or source in _NEVER_CLEAN:
        found["final_sigmas_type"] = "sigma_min"
    if found.get("variance_type") not in _LEARNED:
        found["variance_type"] = None
    return found

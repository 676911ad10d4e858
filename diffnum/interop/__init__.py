"""The plans of this package inside other people's programs: diffusers pipelines and k-diffusion style hosts.

>>> pipe.scheduler = dn.interop.PlanScheduler.from_config(pipe.scheduler.config, method="unipc_3")  # doctest: +SKIP
>>> x = dn.interop.k_diffusion.sample_unipc_3(model, x, sigmas)  # doctest: +SKIP
>>> x = dn.interop.flow.integrate(velocity, x, steps=4)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from diffnum.jobs.extras import explained, found_or_explained

if TYPE_CHECKING:
    from diffnum.interop import flow as flow
    from diffnum.interop import k_diffusion as k_diffusion
    from diffnum.interop.scheduler import PlanScheduler as PlanScheduler

__all__ = ["PlanScheduler", "flow", "k_diffusion"]


def __getattr__(name: str) -> Any:
    """Load a public name, and with it torch or diffusers, when it is first used."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}: use one of {', '.join(__all__)}"
        raise AttributeError(msg)
    if name == "PlanScheduler":
        return found_or_explained(f"{__name__}.sigma_scheduler", name, f"dn.interop.{name}", "interop")
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        msg = f"dn.interop.{name}"
        raise explained(msg, error, "interop") from error


def __dir__() -> list[str]:
    return sorted(__all__)

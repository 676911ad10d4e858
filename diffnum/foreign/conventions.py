"""Calling conventions of samplers, told apart without importing anything; foreign ones are adapted.

=============  ==========================  =========================  ==============================================
convention     call                        state                      model
=============  ==========================  =========================  ==============================================
"nodes"        f(model, x, nodes)          alpha x_0 + sigma eps      .data(x, lam), .noise, .velocity, .score
"k-diffusion"  f(model, x, sigmas, ...)    x_0 + sigma eps            model(x, sigma), the denoised sample
"flow"         f(model, x, timesteps)      (1 - t) x_0 + t eps        model(x, t), the velocity eps - x_0
"diffusers"    scheduler, object or class  as its class has it        what its prediction_type says
=============  ==========================  =========================  ==============================================
"""

from __future__ import annotations

import inspect
from typing import Any, Literal, TypeAlias

__all__ = ["CONVENTIONS", "Convention", "convention_of"]

Convention: TypeAlias = Literal["nodes", "k-diffusion", "diffusers", "flow"]
CONVENTIONS: tuple[Convention, ...] = ("nodes", "k-diffusion", "diffusers", "flow")

_THIRD: dict[str, Convention] = {
    **dict.fromkeys(("nodes", "lam", "lams", "half_log_snr", "half_log_snrs", "logsnr", "log_snr"), "nodes"),
    **dict.fromkeys(("sigmas", "sigma", "sigma_steps", "noise_levels"), "k-diffusion"),
    **dict.fromkeys(("timesteps", "times", "ts", "t", "t_steps", "time_steps", "timestep", "t_span"), "flow"),
}
"""Convention by the name of the third parameter."""

_GIVEN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def convention_of(sampler: Any) -> Convention:
    """Guess the calling convention of a sampler from its methods and the names of its parameters.

    Parameters
    ----------
    sampler : object
        Scheduler class or object, or callable.

    Returns
    -------
    {"nodes", "k-diffusion", "diffusers", "flow"}

    Raises
    ------
    TypeError
        If it is not callable and no scheduler.
    ValueError
        If its parameters do not tell.
    """
    if hasattr(sampler, "step") and hasattr(sampler, "set_timesteps"):
        return "diffusers"
    if not callable(sampler):
        msg = f"sampler={sampler!r} is neither callable nor a scheduler with set_timesteps and step"
        raise TypeError(msg)
    names = [name for name, p in inspect.signature(sampler).parameters.items() if p.kind in _GIVEN]
    third = names[2] if len(names) > 2 else ""
    if third in _THIRD:
        return _THIRD[third]
    msg = (
        f"the parameters of {getattr(sampler, '__name__', repr(sampler))} ({', '.join(names)}) do not tell its calling "
        f"convention: pass convention= one of {', '.join(CONVENTIONS)}"
    )
    raise ValueError(msg)

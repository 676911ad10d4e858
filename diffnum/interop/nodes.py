"""Nodes of networks with a table: the labels and noise levels of the scheduler of diffusers that is replaced."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from diffnum import grids
from diffnum.interop.levels import LEVELS, spacing_flag
from diffnum.models.loading.understood import alike
from diffnum.types import FloatArray, Schedule

__all__ = ["FLOWS", "SPACED_AS", "SPACINGS", "check_spacing", "continuous", "table_nodes"]

LABELS: Final = ("leading", "linspace", "trailing")
_CONTINUOUS = tuple(name for name in grids.GRIDS if name != "model_timesteps")

SPACINGS: Final = (*LABELS, *_CONTINUOUS)
"""Ways to place the nodes: diffusers' integer labels, or a builder of :mod:`diffnum.grids`, in continuous time."""

_WHOLE = ("DDIM", "DDIMParallel", "CogVideoXDDIM", "CogVideoXDPM", "DDPM", "DDPMParallel", "PNDM", "UnCLIP")
_REAL = ("EulerDiscrete", "EulerAncestralDiscrete", "LMSDiscrete", "HeunDiscrete", "KDPM2Discrete",
         "KDPM2AncestralDiscrete", "DPMSolverSDE")  # fmt: skip
_ONE_MORE = ("DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep", "SASolver")
_DISTILLED = ("LCM", "TCD")

FLOWS: Final = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler")
"""Schedulers of diffusers for flows alone."""

SPACED_AS: Final = (*(f"{name}Scheduler" for name in (*_WHOLE, *_REAL, *_ONE_MORE, *_DISTILLED)), *FLOWS)
"""Schedulers of diffusers whose nodes are known."""

_COUNTS = MappingProxyType(
    {f"{name}Scheduler": "n" for name in _WHOLE} | {f"{name}Scheduler": "n, real" for name in _REAL}
)
"""How schedulers of diffusers read "leading" and "linspace": as ``n`` labels, or (the others) ``n`` of ``n + 1``."""

_ENDS_ON_LAST_LEVEL = ("UniPCMultistepScheduler", "DEISMultistepScheduler", "SASolverScheduler")
"""Schedulers whose last level, where a flag spaces them, is there twice unless the data are reached."""

_SAME_LABEL = 1e-8
"""Labels closer than this are one."""


def check_spacing(config: Any) -> None:
    """Refuse what is no way to place nodes, or none that is known.

    Raises
    ------
    ValueError
        If the spacing, or the scheduler that it is read as, is unknown, or that of a distilled network.
    """
    if config.timestep_spacing not in SPACINGS:
        msg = f"timestep_spacing={config.timestep_spacing!r} is unknown: use one of {', '.join(SPACINGS)}"
        raise ValueError(msg)
    if config.spacing_as not in SPACED_AS:
        msg = f"spacing_as={config.spacing_as!r} is unknown: use one of {', '.join(SPACED_AS)}"
        raise ValueError(msg)


def table_nodes(config: Any, schedule: Schedule, n: int) -> tuple[FloatArray, float | None]:
    """Nodes of a network with a table without the clean end, and the node that follows if it is no clean end.

    Parameters
    ----------
    config : FrozenDict
        Of a PlanScheduler.
    schedule : Schedule
        Process of the network; its time is the label.
    n : int
        Number of steps.

    Returns
    -------
    (ndarray, float or None)
        Decreasing labels, and None where the data are the last node.

    Raises
    ------
    ValueError
        If the spacing is unknown, or there are fewer labels than steps.
    """
    check_spacing(config)
    zero, flag = config.final_sigmas_type == "zero", spacing_flag(config)
    if config.spacing_as.removesuffix("Scheduler") in _DISTILLED and config.timestep_spacing in LABELS:
        msg = (
            f"the labels of {alike(config.spacing_as)} are those of a distilled network, which a plan does not know: "
            "pass timesteps=... to set_timesteps, or spacing_as='DDIMScheduler' to from_config for an ordinary network"
        )
        raise ValueError(msg)
    if flag is None and config.timestep_spacing not in LABELS:
        return continuous(config.timestep_spacing, schedule, n, zero), None if zero else 0.0
    if flag is not None:
        t = _at_levels(config, schedule, flag, n)
        if zero:
            return t, None
        return t, float(t[-1]) if config.spacing_as in _ENDS_ON_LAST_LEVEL else 0.0
    t = _labels(config, schedule, n)
    _check_labels(config, t, n)
    return t, None if zero else 0.0


def _labels(config: Any, schedule: Schedule, n: int) -> FloatArray:
    """Labels of diffusers, not looked at."""
    size = config.num_train_timesteps
    last = np.count_nonzero(schedule.half_log_snr(np.arange(float(size))) >= config.lambda_min_clipped)
    if config.timestep_spacing == "trailing":
        return np.asarray(np.rint(np.arange(last, 0.0, -size / n))[:n] - 1.0)
    count = _COUNTS.get(config.spacing_as)
    nodes = n if count else n + 1
    if config.timestep_spacing == "leading":
        whole: FloatArray = np.arange(nodes - 1.0, -1.0, -1.0) * (last // nodes) + float(config.steps_offset)
        return whole[:n]
    even = np.linspace(0.0, last - 1.0, nodes)[::-1]  # in this order, as a half is rounded to even
    return (even if count == "n, real" else np.rint(even))[:n]


def _check_labels(config: Any, t: FloatArray, n: int) -> None:
    """Refuse labels that the network has not, or twice."""
    size = config.num_train_timesteps
    spacing = f"timestep_spacing={config.timestep_spacing!r} of {alike(config.spacing_as)}"
    if n > 1 and not bool((np.diff(t) < 0.0).all()):
        msg = (
            f"num_inference_steps={n}: {spacing} has labels twice, as the network has {size}; take fewer steps, or "
            f"timestep_spacing='trailing' for up to {size}"
        )
        raise ValueError(msg)
    if t[0] > size - 1:
        msg = (
            f"num_inference_steps={n}: {spacing} with steps_offset={config.steps_offset} begins at label {t[0]:g}, the "
            f"last is {size - 1}; take fewer steps, or steps_offset=0"
        )
        raise ValueError(msg)


def _at_levels(config: Any, schedule: Schedule, flag: str, n: int) -> FloatArray:
    """Labels of noise levels that are spaced between two ends."""
    high, low = level_ends(config, schedule, n)
    t = np.array(schedule.time(-np.log(LEVELS[flag](high, low, n))))
    near = np.rint(t)  # a level of the table, but for the rounding of the way through the logarithm
    return np.where(np.abs(t - near) < _SAME_LABEL, near, t)


def level_ends(config: Any, schedule: Any, n: int) -> tuple[float, float]:
    """Highest and lowest level of a spacing by noise level, sigma/alpha.

    Raises
    ------
    ValueError
        If ``sigma_min`` and ``sigma_max`` are not levels of the table.
    """
    whole = (config.num_train_timesteps - 1.0, 0.0)
    if _COUNTS.get(config.spacing_as):  # between the first and the last label of the run
        t = _labels(config, schedule, n)
        _check_labels(config, t, n)
        whole = float(t[0]), float(t[-1])
    if math.isinf(float(schedule.half_log_snr(whole[0]))):
        msg = (
            "rescale_betas_zero_snr=True with levels spaced by use_karras_sigmas and its like: the highest level is "
            "infinite; use timestep_spacing='trailing' without these flags"
        )
        raise ValueError(msg)
    high, low = (math.exp(-float(schedule.half_log_snr(t))) for t in whole)
    top, bottom = (math.exp(-float(schedule.half_log_snr(t))) for t in (config.num_train_timesteps - 1.0, 0.0))
    high = high if config.sigma_max is None else float(config.sigma_max)
    low = low if config.sigma_min is None else float(config.sigma_min)
    if not bottom * (1.0 - 1e-6) <= low <= high <= top * (1.0 + 1e-6) or (low == high and n > 1):
        msg = (
            f"sigma_min={config.sigma_min}, sigma_max={config.sigma_max}: pass levels sigma/alpha between {bottom:g} "
            f"and {top:g}, those of the first and the last label"
        )
        raise ValueError(msg)
    return min(high, top), max(low, bottom)


def continuous(kind: str, schedule: Schedule, n: int, zero: bool) -> FloatArray:
    """Nodes of a builder of :mod:`diffnum.grids`, from the schedule's default start to its default end, not to zero."""
    first, last = (float(getattr(schedule, f"default_{end}")) for end in ("t_start", "t_end"))
    steps = n - 1 if zero else n
    if not steps:
        return np.array([first])
    return np.array(grids.GRIDS[kind](schedule, steps, t_start=first, t_end=last).t)

"""What a diffusers configuration says: noising process, nodes, and what the network predicts and is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from diffnum import grids
from diffnum.grids import Grid
from diffnum.models.loading.tables import prediction_of, schedule_of
from diffnum.schedules import FlowMatching
from diffnum.types import FloatArray, Schedule

__all__ = ["SPACED_AS", "SPACINGS", "grid_of", "is_flow", "label_scale", "process_of"]

_LABELS = ("leading", "linspace", "trailing")
_CONTINUOUS = tuple(name for name in grids.GRIDS if name != "model_timesteps")

SPACINGS: Final = (*_LABELS, *_CONTINUOUS)
"""Ways to place the nodes: diffusers' integer labels, or a builder of :mod:`diffnum.grids`, in continuous time."""

_WHOLE = ("DDIM", "DDIMParallel", "CogVideoXDDIM", "CogVideoXDPM", "DDPM", "DDPMParallel", "PNDM", "UnCLIP")
_REAL = ("EulerDiscrete", "EulerAncestralDiscrete", "LMSDiscrete", "HeunDiscrete", "KDPM2Discrete",
         "KDPM2AncestralDiscrete", "DPMSolverSDE")  # fmt: skip
_ONE_MORE = ("DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep", "SASolver")
_DISTILLED = ("LCM", "TCD")

SPACED_AS: Final = tuple(f"{name}Scheduler" for name in (*_WHOLE, *_REAL, *_ONE_MORE, *_DISTILLED))
"""Schedulers of diffusers whose labels are known."""

_COUNTS = MappingProxyType(
    {f"{name}Scheduler": "n" for name in _WHOLE} | {f"{name}Scheduler": "n, real" for name in _REAL}
)
"""How schedulers of diffusers read "leading" and "linspace": as ``n`` labels, or (the others) ``n`` of ``n + 1``."""

_FLAGS = MappingProxyType(
    {
        "use_karras_sigmas": "karras",
        "use_exponential_sigmas": "uniform_half_log_snr",
        "use_lu_lambdas": "uniform_half_log_snr",
        "use_beta_sigmas": "beta",
    }
)

_PURE_NOISE = -24.0 * math.log(2.0)
"""Half-log-SNR that stands for none: a signal of 2^-24 is below the rounding of float32."""


def is_flow(config: Any) -> bool:
    """Whether states are ``(1 - sigma) x_0 + sigma eps``."""
    return bool(config.use_flow_sigmas or config.prediction_type == "flow_prediction")


def process_of(config: Any) -> Schedule:
    """Noising process of the network, in float64; the time of a flow is sigma, its shift is a matter of the nodes."""
    return schedule_of(config, shift=1.0 if is_flow(config) else None)


def label_scale(config: Any) -> float:
    """What times are multiplied with to give the labels that the network is told."""
    return float(config.num_train_timesteps) if is_flow(config) else 1.0


def grid_of(
    config: Any,
    schedule: Schedule,
    n: int | None,
    *,
    timesteps: Sequence[float] | None = None,
    sigmas: Sequence[float] | None = None,
    mu: float | None = None,
) -> tuple[Grid, float]:
    """Nodes of a run, and the exact time of the first.

    Parameters
    ----------
    config : FrozenDict
        Of a PlanScheduler.
    schedule : Schedule
        From :func:`process_of`.
    n : int, optional
        Number of steps, where the nodes are not given.
    timesteps : sequence of float, optional
        Labels, decreasing; need not be integers.
    sigmas : sequence of float, optional
        Noise levels, decreasing: sigma/alpha, or the time of a flow before it is shifted. A last 0 may be left out.
    mu : float, optional
        Of a flow whose shift depends on the resolution.

    Returns
    -------
    (Grid, float)
        Where the first node is pure noise, the grid begins where the signal is below the rounding of float32.

    Raises
    ------
    ValueError
        If nodes are not given in one way only, not decreasing, or outside the network's times.
    """
    given = [name for name, value in (("timesteps", timesteps), ("sigmas", sigmas)) if value is not None]
    if len(given) == 2:
        raise ValueError("timesteps and sigmas are both given: pass one of the two")
    if not given and (isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1):
        raise ValueError(f"num_inference_steps={n!r}: pass a positive whole number, or timesteps, or sigmas")
    if timesteps is not None:
        t = np.asarray(timesteps, dtype=np.float64) / label_scale(config)
    elif isinstance(schedule, FlowMatching):
        t = _flow_times(config, schedule, n, sigmas, mu)
    elif sigmas is not None:
        levels = np.asarray(sigmas, dtype=np.float64)
        highest = math.exp(-float(schedule.half_log_snr(schedule.t_max)))
        if not bool(((levels >= 0.0) & (levels <= highest * (1.0 + 1e-6))).all()):
            raise ValueError(
                f"sigmas={levels.tolist()}: pass levels sigma/alpha between 0 and {highest:g}, that of the last label"
            )
        with np.errstate(divide="ignore"):
            t = np.asarray(schedule.time(-np.log(levels)))
    else:
        t = _table_times(config, schedule, int(n or 0))
    if t.ndim != 1 or not t.size:
        raise ValueError(f"{given[0]} has shape {t.shape}: pass a list of numbers")
    end = float(schedule.t_min)
    if config.final_sigmas_type == "sigma_min":
        end = 1.0 / label_scale(config) if isinstance(schedule, FlowMatching) else 0.0
    elif config.final_sigmas_type != "zero":
        raise ValueError(f"final_sigmas_type={config.final_sigmas_type!r} is unknown: use 'zero' or 'sigma_min'")
    if t[-1] > end:
        t = np.append(t, end)
    first = float(t[0])
    if schedule.half_log_snr(first) == -math.inf:
        if prediction_of(config) == "noise":
            raise ValueError(
                f"timesteps begin at pure noise (label {first * label_scale(config):g}), where an epsilon prediction "
                "says nothing about the data: use a model of v, sample or flow prediction, or begin later"
            )
        t[0] = schedule.time(_PURE_NOISE)
    terminal = config.terminal
    if terminal == "stop" and config.lower_order_final and t.size <= 15:
        terminal = "lower_order"
    return grids.from_times(schedule, t, terminal=terminal), first


def _spacing(config: Any) -> str:
    """Kind of spacing, by flag or by name."""
    flags = [kind for flag, kind in _FLAGS.items() if getattr(config, flag)]
    if len(flags) > 1:
        raise ValueError(f"more than one of {', '.join(_FLAGS)} is set: keep one")
    kind = flags[0] if flags else config.timestep_spacing
    if kind not in (*SPACINGS, "beta"):
        raise ValueError(f"timestep_spacing={kind!r} is unknown: use one of {', '.join(SPACINGS)}")
    return str(kind)


def _table_times(config: Any, schedule: Schedule, n: int) -> FloatArray:
    """The ``n`` first of ``n + 1`` nodes (without the clean end), or all of them, of a network with a table."""
    kind, size, zero = _spacing(config), config.num_train_timesteps, config.final_sigmas_type == "zero"
    if kind not in _LABELS:
        return _continuous(kind, schedule, n, zero)
    if config.spacing_as not in SPACED_AS:
        raise ValueError(f"spacing_as={config.spacing_as!r} is unknown: use one of {', '.join(SPACED_AS)}")
    if n > size - 1:
        raise ValueError(f"num_inference_steps={n}: the network has {size} labels, take fewer steps")
    if config.spacing_as.removesuffix("Scheduler") in _DISTILLED:
        raise ValueError(
            f"spacing_as={config.spacing_as!r}: its labels are those of a distilled network, which a plan does not "
            "know; pass timesteps=..., or spacing_as='DDIMScheduler' for an ordinary network"
        )
    last = np.count_nonzero(schedule.half_log_snr(np.arange(float(size))) >= config.lambda_min_clipped)
    if kind == "trailing":
        return np.asarray(np.rint(np.arange(last, 0.0, -size / n)) - 1.0)
    count = _COUNTS.get(config.spacing_as)
    nodes = n if count else n + 1
    if kind == "leading":
        whole: FloatArray = np.arange(nodes - 1.0, -1.0, -1.0) * (last // nodes) + float(config.steps_offset)
        return whole[:n]
    even = np.linspace(0.0, last - 1.0, nodes)[::-1]  # in this order, as a half is rounded to even
    return (even if count == "n, real" else np.rint(even))[:n]


def _continuous(kind: str, schedule: Schedule, n: int, zero: bool) -> FloatArray:
    """Nodes without rounding, from the schedule's default start to its default end, and not to zero."""
    first, last = (float(getattr(schedule, f"default_{end}")) for end in ("t_start", "t_end"))
    steps = n - 1 if zero else n
    if not steps:
        return np.array([first])
    if kind == "beta":  # Lee et al. 2024, arXiv:2407.12173, with both parameters 0.6 as in diffusers
        from scipy.stats import beta

        high, low = (math.exp(-float(schedule.half_log_snr(t))) for t in (first, last))
        levels = low + (high - low) * beta.ppf(1.0 - np.arange(steps + 1) / steps, 0.6, 0.6)
        t: FloatArray = np.array(schedule.time(-np.log(levels)))
        t[0], t[-1] = first, last
        return t
    return np.array(grids.GRIDS[kind](schedule, steps, t_start=first, t_end=last).t)


def _flow_times(
    config: Any, schedule: Schedule, n: int | None, sigmas: Sequence[float] | None, mu: float | None
) -> FloatArray:
    """Times of a flow, shifted once."""
    size, shift = config.num_train_timesteps, float(config.shift)
    if config.use_dynamic_shifting and mu is None:
        raise ValueError("mu=None: the shift of this flow depends on the resolution, pass set_timesteps(mu=...)")
    if sigmas is not None:
        t = np.asarray(sigmas, dtype=np.float64)
    elif _spacing(config) not in _LABELS:
        return _continuous(_spacing(config), schedule, int(n or 0), config.final_sigmas_type == "zero")
    elif config.use_flow_sigmas:  # as DPMSolverMultistepScheduler
        t, shift = (1.0 - 1.0 / size) * np.arange(int(n or 0), 0, -1) / int(n or 0), float(config.flow_shift)
    else:  # as FlowMatchEulerDiscreteScheduler
        t = np.linspace(1.0, 1.0 / size, int(n or 0))
    if config.use_dynamic_shifting and mu is not None:
        if config.time_shift_type not in ("exponential", "linear"):
            raise ValueError(f"time_shift_type={config.time_shift_type!r} is unknown: use 'exponential' or 'linear'")
        shift = math.exp(mu) if config.time_shift_type == "exponential" else mu
    t = shift * t / (1.0 + (shift - 1.0) * t)
    if config.shift_terminal:  # the last time is moved to a given one, the others with it
        positive = t[t > 0.0]
        t = np.where(t > 0.0, 1.0 - (1.0 - t) * (1.0 - config.shift_terminal) / (1.0 - positive[-1]), t)
    return np.asarray(t, dtype=np.float64)

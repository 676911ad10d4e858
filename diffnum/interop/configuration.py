"""What a diffusers configuration says: noising process, nodes, and what the network predicts and is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from diffnum import grids
from diffnum.grids import Grid
from diffnum.interop.flows import flow_nodes
from diffnum.interop.nodes import SPACED_AS, SPACINGS, table_nodes
from diffnum.models.loading.tables import prediction_of, schedule_of
from diffnum.schedules import FlowMatching
from diffnum.types import FloatArray, Schedule

__all__ = ["SPACED_AS", "SPACINGS", "grid_of", "is_flow", "label_scale", "process_of"]

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
    built: float = 1.0,
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
    built : float
        Shift of a flow with which the scheduler was made.

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
        msg = "timesteps and sigmas are both given: pass one of the two"
        raise ValueError(msg)
    if not given and (isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1):
        msg = f"num_inference_steps={n!r}: pass a positive whole number, or timesteps, or sigmas"
        raise ValueError(msg)
    if config.final_sigmas_type not in ("zero", "sigma_min"):
        msg = f"final_sigmas_type={config.final_sigmas_type!r} is unknown: use 'zero' or 'sigma_min'"
        raise ValueError(msg)
    if isinstance(schedule, FlowMatching) and timesteps is None:
        t, end = flow_nodes(config, schedule, n, sigmas, mu, built)
    elif given:
        t = _given_labels(config, schedule, timesteps) if timesteps is not None else _given_levels(schedule, sigmas)
        end = None if config.final_sigmas_type == "zero" else _lowest_label(config, schedule)
    else:
        t, end = table_nodes(config, schedule, int(n or 0))
    t = _from_level(config, schedule, t)
    end = float(schedule.t_min) if end is None else end
    if t[-1] > end:
        t = np.append(t, end)
    if len(t) < 2:
        msg = (
            f"{given[0] if given else f'num_inference_steps={n}'}: the one node, label {t[0] * label_scale(config):g}, "
            "is the end of the run too, which leaves no step: take more steps, or final_sigmas_type='zero'"
        )
        raise ValueError(msg)
    first = float(t[0])
    if schedule.half_log_snr(first) == -math.inf:
        if prediction_of(config) == "noise":
            msg = (
                f"timesteps begin at pure noise (label {first * label_scale(config):g}), where an epsilon prediction "
                "says nothing about the data: use a model of v, sample or flow prediction, or begin later"
            )
            raise ValueError(msg)
        t[0] = schedule.time(_PURE_NOISE)
    terminal = config.terminal
    if terminal == "stop" and config.lower_order_final and t.size <= 15:
        terminal = "lower_order"
    return grids.from_times(schedule, t, terminal=terminal), first


def _lowest_label(config: Any, schedule: Schedule) -> float:
    """Time of the last label."""
    return 1.0 / label_scale(config) if isinstance(schedule, FlowMatching) else 0.0


def _given_labels(config: Any, schedule: Schedule, timesteps: Sequence[float]) -> FloatArray:
    """Times of labels that the caller gives."""
    labels = np.asarray(timesteps, dtype=np.float64)
    _check_list("timesteps", labels)
    t = labels / label_scale(config)
    if not bool(((t >= max(0.0, float(schedule.t_min))) & (t <= float(schedule.t_max))).all()):
        low, high = (max(0.0, float(end)) * label_scale(config) for end in (schedule.t_min, schedule.t_max))
        msg = f"timesteps={labels.tolist()}: pass labels from {low:g} to {high:g}"
        raise ValueError(msg)
    return np.array(t)


def _given_levels(schedule: Schedule, sigmas: Sequence[float] | None) -> FloatArray:
    """Times of noise levels sigma/alpha that the caller gives."""
    levels = np.asarray(sigmas, dtype=np.float64)
    _check_list("sigmas", levels)
    highest = math.exp(-float(schedule.half_log_snr(schedule.t_max)))
    if not bool(((levels >= 0.0) & (levels <= highest * (1.0 + 1e-6))).all()) or levels[0] == 0.0:
        msg = (
            f"sigmas={levels.tolist()}: pass levels sigma/alpha between 0 and {highest:g}, that of the last label, the "
            "first above 0"
        )
        raise ValueError(msg)
    with np.errstate(divide="ignore"):
        return np.array(schedule.time(-np.log(levels)))


def _from_level(config: Any, schedule: Schedule, t: FloatArray) -> FloatArray:
    """Nodes moved together so that the first is at the noise level that was asked for, where one was.

    Raises
    ------
    ValueError
        If there is more noise at that level than at the first node.
    """
    level = config.get("noise_level")
    if level is None:
        return t
    if not 0.0 < level < math.inf:
        msg = f"noise_level={level}: pass a positive noise level, sigma/alpha or the time of a flow, or None"
        raise ValueError(msg)
    lowest = float(schedule.half_log_snr(t[0]))
    lam = math.log1p(-level) - math.log(level) if is_flow(config) and level < 1.0 else -math.log(level)
    if is_flow(config) and level >= 1.0:
        lam = -math.inf
    if lam < lowest or (is_flow(config) and level > 1.0):
        msg = f"noise_level={level}: the first node has {_said(config, lowest)}, pass that or less"
        raise ValueError(msg)
    first = float(t[0] if lam == lowest else schedule.time(lam))
    if first <= max(0.0, float(schedule.t_min)):
        end = float(schedule.half_log_snr(1.0 / label_scale(config) if is_flow(config) else 0.0))
        msg = f"noise_level={level}: the last label has {_said(config, end)}, pass more than that"
        raise ValueError(msg)
    return np.asarray(t * (first / float(t[0])))


def _said(config: Any, lam: float) -> str:
    """Noise level in the unit of the configuration."""
    return f"{1.0 / (1.0 + math.exp(lam)) if is_flow(config) else math.exp(-lam):g}"


def _check_list(name: str, values: FloatArray) -> None:
    """Refuse what is no list of decreasing numbers, in the numbers that were given."""
    if values.ndim != 1 or not values.size:
        msg = f"{name} has shape {values.shape}: pass a list of numbers"
        raise ValueError(msg)
    if not bool(np.isfinite(values).all()) or not bool((np.diff(values) < 0.0).all()):
        msg = f"{name}={values.tolist()}: numbers must be finite and must decrease, sort them"
        raise ValueError(msg)

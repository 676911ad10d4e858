"""Nodes of flows: the times of the scheduler of diffusers that is replaced, and the shifts that they go through.

Two families differ. ``FlowMatchEulerDiscreteScheduler`` and its kin begin at pure noise, take n times down to 1/N,
shift them, stretch them to a last time, and only then space them anew where a flag says so. With a static shift the end
1/N has been shifted once before, so that it is shifted twice. ``DPMSolverMultistepScheduler`` and its kin
(``use_flow_sigmas``) take the first n of n + 1 times below 1 and shift them once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from diffnum.interop.levels import LEVELS, spacing_flag
from diffnum.interop.nodes import FLOWS, LABELS, check_spacing, continuous, level_ends
from diffnum.models.loading.tables import table_of
from diffnum.types import FloatArray, Schedule

__all__ = ["flow_nodes"]

_UNIPC = "UniPCMultistepScheduler"
_REPEATS = (_UNIPC, "DEISMultistepScheduler", "SASolverScheduler")
"""Schedulers that end where their last time is, unless the data are reached."""

_AWAY = 1e-6
"""How far UniPC keeps from pure noise."""

_LEAST = 2.0**-24
"""Signal below the rounding of float32: only the first time may have less."""


def flow_nodes(
    config: Any, schedule: Schedule, n: int | None, sigmas: Sequence[float] | None, mu: float | None, built: float
) -> tuple[FloatArray, float | None]:
    """Times of a flow without the clean end, and the time that follows if it is no clean end.

    Parameters
    ----------
    config : FrozenDict
        Of a PlanScheduler.
    schedule : Schedule
        The flow, unshifted.
    n : int, optional
        Number of steps, where the times are not given.
    sigmas : sequence of float, optional
        Times before the shift, decreasing; a last 0 may be there.
    mu : float, optional
        Of a shift that depends on the resolution.
    built : float
        Shift with which the scheduler was made, before any ``set_shift``.

    Returns
    -------
    (ndarray, float or None)
        Decreasing times, and None where the data are the last node.

    Raises
    ------
    ValueError
        If a number of the flow is none, or leaves no times that decrease.
    """
    check_spacing(config)
    zero, flag = config.final_sigmas_type == "zero", spacing_flag(config)
    if config.timestep_spacing not in LABELS and flag is None and sigmas is None:
        t = continuous(config.timestep_spacing, schedule, int(n or 0), zero)
        return t, None if zero else 1.0 / config.num_train_timesteps
    given = None if sigmas is None else _given(sigmas)
    if config.use_flow_sigmas:
        t = _solver_times(config, int(n or 0), given, mu)
    else:
        t = _matching_times(config, int(n or 0), given, mu, built)
    _check(config, t, mu)
    if zero:
        return t, None
    if config.spacing_as in _REPEATS:
        return t, float(t[-1])
    return t, _least_level(config) if config.use_flow_sigmas else 1.0 / config.num_train_timesteps


def _given(sigmas: Sequence[float]) -> FloatArray:
    """Times of the caller's, without a last 0."""
    t = np.asarray(sigmas, dtype=np.float64)
    if t.ndim != 1 or not t.size or not bool(((t >= 0.0) & (t <= 1.0)).all()) or t[0] == 0.0:
        msg = f"sigmas={t.tolist()}: pass a list of times of a flow, between 0 and 1, the first above 0"
        raise ValueError(msg)
    if not bool((np.diff(t) < 0.0).all()):
        msg = f"sigmas={t.tolist()}: times must decrease from one to the next, sort them"
        raise ValueError(msg)
    return t[t > 0.0]


def _matching_times(config: Any, n: int, given: FloatArray | None, mu: float | None, built: float) -> FloatArray:
    """As FlowMatchEulerDiscreteScheduler, whose static shift is applied to the end of its range too."""
    shift = _shift(config, mu)
    end = 1.0 / config.num_train_timesteps
    if config.spacing_as in FLOWS and not config.use_dynamic_shifting:
        end = _shifted(np.array([end]), _positive("shift", built))[0]
    t = _shifted(np.linspace(1.0, end, n) if given is None else given, shift)
    t = _stretched(config, t)
    flag = spacing_flag(config)
    return t if flag is None else LEVELS[flag](float(t[0]), float(t[-1]), len(t))


def _solver_times(config: Any, n: int, given: FloatArray | None, mu: float | None) -> FloatArray:
    """As DPMSolverMultistepScheduler or UniPCMultistepScheduler."""
    size, flag, unipc = config.num_train_timesteps, spacing_flag(config), config.spacing_as == _UNIPC
    if flag is not None:
        if not unipc or flag != "karras":
            msg = (
                f"use_flow_sigmas=True and {flag} spacing: {config.spacing_as} takes noise levels of the table for "
                "times of the flow, which are not below 1; set one of the two, or timestep_spacing="
                "'uniform_half_log_snr' or another builder of diffnum.grids"
            )
            raise ValueError(msg)
        high, low = level_ends(config, table_of(config), n)
        levels = LEVELS[flag](high, low, n)
        return np.asarray(levels / (1.0 + levels))
    shift = _solver_shift(config, mu)
    if unipc:
        t = _shifted(np.linspace(1.0, 1.0 / size, n + 1)[:-1] if given is None else given, shift)
        t = _stretched(config, t)
        t[0] -= _AWAY if abs(t[0] - 1.0) < _AWAY else 0.0
        return t
    return _shifted((1.0 - 1.0 / size) * np.arange(n, 0, -1) / max(n, 1) if given is None else given, shift)


def _solver_shift(config: Any, mu: float | None) -> float:
    """Shift of a solver that is not for flows alone; the configured one where no ``mu`` is given, except UniPC's."""
    if config.spacing_as == _UNIPC or mu is not None:
        return _shift(config, mu, "flow_shift")
    return _positive("flow_shift", config.flow_shift)


def _shift(config: Any, mu: float | None, name: str = "shift") -> float:
    """Shift in force."""
    if not config.use_dynamic_shifting:
        return _positive(name, getattr(config, name))
    if mu is None:
        msg = "mu=None: the shift of this flow depends on the resolution, pass set_timesteps(mu=...)"
        raise ValueError(msg)
    if config.time_shift_type not in ("exponential", "linear"):
        msg = f"time_shift_type={config.time_shift_type!r} is unknown: use 'exponential' or 'linear'"
        raise ValueError(msg)
    if (
        not isinstance(mu, Real)
        or not math.isfinite(mu)
        or (config.time_shift_type == "exponential" and abs(mu) > 700.0)
    ):
        msg = f"mu={mu!r}: pass a finite number, the logarithm of the shift (about 0.5 to 1.15)"
        raise ValueError(msg)
    return math.exp(mu) if config.time_shift_type == "exponential" else _positive("mu", mu)


def _positive(name: str, value: Any) -> float:
    if not 0.0 < float(value) < math.inf:
        msg = f"{name}={value}: pass a positive finite number, 1 for no shift"
        raise ValueError(msg)
    return float(value)


def _shifted(t: FloatArray, shift: float) -> FloatArray:
    return np.asarray(shift * t / (1.0 + (shift - 1.0) * t))


def _stretched(config: Any, t: FloatArray) -> FloatArray:
    """Times of which the last is moved to a given one, and the others with it; pure noise alone stays."""
    end = config.shift_terminal
    if not end:
        return t
    if not 0.0 < end < 1.0:
        msg = f"shift_terminal={end}: pass a time between 0 and 1, or None"
        raise ValueError(msg)
    return t if t[-1] == 1.0 else np.asarray(1.0 - (1.0 - t) * (1.0 - end) / (1.0 - t[-1]))


def _least_level(config: Any) -> float:
    """Level of label 0 of the table, which these schedulers take for a time of the flow too."""
    return math.exp(-float(table_of(config).half_log_snr(0.0)))


def _check(config: Any, t: FloatArray, mu: float | None) -> None:
    """Refuse times that a shift has made one, or none."""
    decreasing = bool(np.isfinite(t).all()) and bool((np.diff(t) < 0.0).all()) and t[-1] > 0.0
    if decreasing and (len(t) < 2 or 1.0 - t[1] > _LEAST):
        return
    name = "flow_shift" if config.use_flow_sigmas else "shift"
    what = f"mu={mu}" if config.use_dynamic_shifting and mu is not None else f"{name}={getattr(config, name)}"
    msg = (
        f"{what}{f', shift_terminal={config.shift_terminal}' if config.shift_terminal else ''} leaves no times that "
        f"decrease from 1 to above 0 ({t[0]:.9g} ... {t[-1]:.9g}): take a shift closer to 1, or fewer steps"
    )
    raise ValueError(msg)

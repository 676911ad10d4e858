"""How much of the data is left: the function alpha(t) of a noising process on tokens.

At time t each token still shows the data with probability ``alpha(t)``, falling from 1 at t = 0 to (almost) 0 at t = 1;
otherwise it is noise. This is the whole schedule of a discrete process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["SURVIVALS", "Survival", "survival"]

PROBES = np.linspace(0.05, 0.95, 10)
"""Times where a schedule of the user's own is tried."""


@dataclass(frozen=True)
class Survival:
    """Probability that a token still shows the data, with its slope and its inverse.

    Parameters
    ----------
    name : str
        Name in messages.
    alpha : callable
        ``alpha(t)`` for arrays of times in [0, 1]; strictly decreasing, ``alpha(0) = 1``, ``alpha(1) >= 0``.
    slope : callable
        Its derivative, <= 0.
    time : callable
        Its inverse.

    Raises
    ------
    TypeError
        If a function does not take arrays.
    ValueError
        If ``alpha`` does not begin at 1, rises, leaves [0, 1], or disagrees with ``slope`` or ``time``.
    """

    name: str
    alpha: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    time: Callable[[Any], Any]

    def __post_init__(self) -> None:
        times = np.concatenate([[0.0], PROBES, [1.0]])
        for name in ("alpha", "slope", "time"):
            try:
                shape = np.shape(getattr(self, name)(times[1:-1]))
            except Exception as error:
                msg = f"{name} of survival {self.name!r} fails on an array: {error}; use functions of arrays of times"
                raise TypeError(msg) from error
            if shape != PROBES.shape:
                msg = f"{name} of survival {self.name!r} gives shape {shape}, not {PROBES.shape}: one value for each"
                raise ValueError(msg)
        values = np.asarray(self.alpha(times), dtype=np.float64)
        if not np.all(np.isfinite(values)):
            msg = f"alpha of survival {self.name!r} is not finite on [0, 1]: use one that falls from 1 to >= 0"
            raise ValueError(msg)
        if abs(values[0] - 1.0) > 1e-12:
            msg = f"alpha(0)={values[0]:g} of survival {self.name!r}: data are whole at t = 0, use 1"
            raise ValueError(msg)
        if np.any(np.diff(values) >= 0) or values[-1] < -1e-12:
            msg = f"alpha of survival {self.name!r} rises or is negative: use one that falls from 1 to >= 0"
            raise ValueError(msg)
        step = 1e-6
        slope = (np.asarray(self.alpha(PROBES + step)) - np.asarray(self.alpha(PROBES - step))) / (2 * step)
        # written so that NaN is wrong
        if not np.max(np.abs(slope - self.slope(PROBES))) <= 1e-6 * (1 + np.max(np.abs(slope))):
            msg = f"slope of survival {self.name!r} is not the derivative of alpha: pass d alpha / dt, <= 0"
            raise ValueError(msg)
        if not np.max(np.abs(np.asarray(self.time(values[1:-1])) - PROBES)) <= 1e-8:
            msg = f"time of survival {self.name!r} is not the inverse of alpha: pass t as a function of alpha"
            raise ValueError(msg)


def _rest(t: Any) -> Any:
    return 1.0 - t


def _minus_one(t: Any) -> Any:
    return 0.0 * t - 1.0


def _cosine(t: Any) -> Any:
    return np.cos(np.pi / 2 * t)


def _cosine_slope(t: Any) -> Any:
    return -np.pi / 2 * np.sin(np.pi / 2 * t)


def _cosine_time(alpha: Any) -> Any:
    return 2 / np.pi * np.arccos(np.clip(alpha, 0.0, 1.0))


def _square(t: Any) -> Any:
    return 1.0 - t * t


def _square_slope(t: Any) -> Any:
    return -2.0 * t


def _square_time(alpha: Any) -> Any:
    return np.sqrt(1.0 - alpha)


SURVIVALS: dict[str, Survival] = {
    s.name: s
    for s in (
        Survival("linear", _rest, _minus_one, _rest),
        Survival("cosine", _cosine, _cosine_slope, _cosine_time),
        Survival("square", _square, _square_slope, _square_time),
    )
}
"""Schedules by name: MDLM's and LLaDA's log-linear noise is ``linear``; MaskGIT's is ``cosine``."""


def survival(given: str | Survival) -> Survival:
    """Schedule of a name, or the schedule itself.

    Raises
    ------
    ValueError
        For an unknown name.
    TypeError
        For anything else.
    """
    if isinstance(given, Survival):
        return given
    if not isinstance(given, str):
        msg = f"survival={given!r}: pass a name or a Survival"
        raise TypeError(msg)
    if given not in SURVIVALS:
        msg = f"survival={given!r} is unknown: use one of {', '.join(SURVIVALS)}, or a Survival of your own"
        raise ValueError(msg)
    return SURVIVALS[given]

r"""Stochastic steps of flow models, as reinforcement learning takes them: four ways to divide old noise from new.

In flow time, :math:`s = \sigma/(\alpha + \sigma)`, a state is :math:`(1 - s) x_0 + s\, \epsilon` up to the factor
alpha + sigma. Every one-step sampler with one draw that keeps the mean of known data is

.. math:: y_{n+1} = \alpha_{n+1} D + \sigma_{n+1} (d\, \epsilon + \sqrt v\, z), \quad
          \epsilon = (y_n - \alpha_n D)/\sigma_n ,

so that a family is a pair (d, v): how much of the old noise is kept, and the variance of the new. Known data keep their
law where :math:`d^2 + v = 1`; an equation of noise level eta is approached where
:math:`d = 1 - \eta^2 h + O(h^2)`, :math:`v = 2 \eta^2 h + O(h^2)` with the step h in half-log-SNR.

* Euler-Maruyama in flow time (Flow-GRPO, DanceGRPO) on :math:`dx = (u + g^2 \epsilon/(2 s))\, ds + g\, dW`, u the
  velocity: :math:`d = 1 - \delta/(2 \varrho)`, :math:`v = \delta/\varrho^2` with
  :math:`\delta = g^2 (s_0 - s_1)/s_0^2`, :math:`\varrho = s_1/s_0`. Here
  :math:`d^2 + v = 1 + (\delta (1 - \varrho) + \delta^2/4)/\varrho^2`: too much noise at every step.
* Ancestral in flow time (ComfyUI): Euler down to :math:`s_1 (1 - a (1 - \varrho))`, then noise up to s_1.
* Coefficients-preserving (CPS): d and v are numbers, whatever the step. No equation is approached.

Precise's step is the exponential Euler step of the constant level :math:`a/\sqrt2`; see :mod:`.stochastic`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from diffnum.coefficients.checked import noise_level, number, within
from diffnum.phi import phi
from diffnum.tableau import Stage, Step, Window, vectors
from diffnum.types import FloatArray, Scalar

__all__ = ["DIVISIONS", "PURE_NOISE", "Division", "flow_sde_step", "flow_step", "noise_window"]

PURE_NOISE = 0.999
"""Flow time from which a start counts as pure noise, s = 1: that of ``FlowMatching.default_t_start``."""


@dataclass(frozen=True)
class Place:
    """Where a step stands in flow time.

    Parameters
    ----------
    noise, signal : pair of scalars or arrays
        ``sigma/(alpha + sigma)`` and ``alpha/(alpha + sigma)`` at the start and at the end.
    fall : scalar or array
        ``1 - s_1/s_0``, free of cancellation.
    """

    noise: tuple[Any, Any]
    signal: tuple[Any, Any]
    fall: Any

    @property
    def signal_at_start(self) -> Any:
        """``1 - s_0``; at pure noise that of the end, as Flow-GRPO's code has it where s is 1."""
        s, start, end = self.noise[0], self.signal[0], self.signal[1]
        if isinstance(s, np.ndarray):
            return np.where(s >= PURE_NOISE, end, start)
        if hasattr(s, "dtype"):  # tensors, numpy's scalars; where noise is pure the signal is 0, so that this is exact
            return start + (s >= PURE_NOISE) * (end - start)
        return end if isinstance(s, int | float) and s >= PURE_NOISE else start


class Split(Protocol):
    """What a family makes of a step."""

    def __call__(self, place: Place, level: Any, /) -> tuple[Any, Any]:
        """Old noise that is lost, ``(1 - d) s_1``, and variance of the new, ``v s_1^2``, in flow time."""


def _euler(place: Place, rise: Any) -> tuple[Any, Any]:
    """Euler-Maruyama, ``rise = g^2 (s_0 - s_1)/s_0^2``."""
    start = place.noise[0]
    return rise * start / 2, rise * start * start


def _flow(place: Place, level: Any) -> tuple[Any, Any]:
    return _euler(place, level * level * place.fall / place.signal_at_start)


def _dance(place: Place, level: Any) -> tuple[Any, Any]:
    return _euler(place, level * level * place.fall / place.noise[0])


def _preserved(place: Place, level: Any) -> tuple[Any, Any]:
    """``d = cos(eta pi/2)``, by the tangent of half the angle: no digits are lost at small ones."""
    end, square = place.noise[1], level * level
    lost = 2 * square / (1 + square)
    return lost * end, lost * (2 - lost) * end * end


def _ancestral(place: Place, level: Any) -> tuple[Any, Any]:
    s, signal, down = place.noise[1], place.signal[1], level * place.fall
    lost = down / (signal + s * down)
    return lost * s, lost * (2 - lost) * s * s


def _as_it_is(level: Any) -> Any:
    return level


def _half_angle(level: Any) -> Any:
    """Tangent of ``a pi/4``."""
    return np.tan(level * math.pi / 4) if isinstance(level, np.ndarray) else math.tan(level * math.pi / 4)


@dataclass(frozen=True)
class Division:
    """A way to divide the noise of a step.

    Parameters
    ----------
    name : str
        Name of the family.
    split : callable
        ``split(place, parameter)``, see :class:`Split`.
    parameter : callable
        Parameter of the split from the level that a user gives.
    highest : float
        Largest level.
    """

    name: str
    split: Split
    parameter: Callable[[Any], Any] = _as_it_is
    highest: float = math.inf

    def checked(self, level: Any) -> Any:
        """Level as it is.

        Raises
        ------
        ValueError
            If it is negative, not finite or above the highest one.
        """
        noise_level(level, "level")
        if not within(level, 0.0, math.nextafter(self.highest, math.inf)):
            msg = f"level={np.max(level):g}: {self.name} takes one from 0 to {self.highest:g}"
            raise ValueError(msg)
        return level


DIVISIONS: Mapping[str, Division] = MappingProxyType(
    {
        d.name: d
        for d in (
            Division("flow_sde", _flow),
            Division("dance_sde", _dance),
            Division("cps", _preserved, _half_angle, 1.0),
            Division("euler_ancestral_rf", _ancestral, highest=1.0),
        )
    }
)
"""The families."""


def flow_step(
    start: Scalar, end: Scalar, level: Scalar = 0.7, family: str = "flow_sde"
) -> tuple[Scalar, Scalar, Scalar]:
    r"""Weights of a step in flow time: :math:`y_{n+1} = a\, y_n + b\, u + c\, z` with the velocity u = eps - x_0.

    Parameters
    ----------
    start, end : scalar or array
        Flow times, ``1 >= start > end >= 0``.
    level : scalar or array
        a of Flow-GRPO, eta of DanceGRPO, CPS and ComfyUI; >= 0, at most 1 for the last two.
    family : {"flow_sde", "dance_sde", "cps", "euler_ancestral_rf"}
        Which one.

    Returns
    -------
    a, b, c : scalars or arrays
        Of the state, the velocity and the draw; c is the standard deviation of the step.

    Raises
    ------
    ValueError
        If a number is out of range, or the family is unknown.

    Notes
    -----
    At ``start`` = 1 the factor ``1/(1 - start)`` of Flow-GRPO is taken at ``end``, as in its code.

    References
    ----------
    yifan123/flow_grpo at ac4c86e8, sd3_sde_with_logprob.py, ``sde_step_with_logprob``; XueZeyue/DanceGRPO at 15cc71d5,
    train_grpo_flux.py, ``flux_step``; IamCreateAI/FlowCPS at 814c3597, sd3_sde_with_logprob.py.
    """
    if family not in DIVISIONS:
        msg = f"family={family!r} is unknown: use one of {', '.join(DIVISIONS)}"
        raise ValueError(msg)
    division = DIVISIONS[family]
    start, end = number("start", start), number("end", end)
    inside = within(1 - start, 0.0, 1.0) and within(end, 0.0, 1.0)
    if not (inside and within(start - end, 0.0, math.inf, closed=False)):
        msg = (
            f"start={start}, end={end}: give flow times with 1 >= start > end >= 0; the data are at 0, so times of "
            "a code whose data are at 1 are to be given as 1 - t, with the velocity reversed"
        )
        raise ValueError(msg)
    place = Place((start, end), (1 - start, 1 - end), (start - end) / start)
    lost, variance = division.split(place, division.parameter(division.checked(level)))
    return 1 - lost, (end - start) - lost * (1 - start), variance**0.5


def noise_window(intervals: int, level: float, first: int, count: int) -> FloatArray:
    """Noise on some steps only, for methods ``..._given``: ``parameters={"level": noise_window(...)}``.

    The other steps are those of the flow, Euler's in flow time (MixGRPO's sliding window).

    Parameters
    ----------
    intervals : int
        Intervals of the grid.
    level : float
        Level inside the window, >= 0.
    first, count : int
        Number of the first step with noise, from 0, and how many there are.

    Returns
    -------
    ndarray, shape (intervals,)

    Raises
    ------
    ValueError
        If the window is empty or reaches beyond the run, or the level is negative or not finite.

    References
    ----------
    Tencent-Hunyuan/MixGRPO at e5cdd6a4, sampling_utils.py, ``run_sample_step`` (its list of deterministic steps).
    """
    for name, value in (("intervals", intervals), ("first", first), ("count", count)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            msg = f"{name}={value!r}: pass a whole number"
            raise TypeError(msg)
    if first < 0 or count < 1 or first + count > intervals:
        msg = (
            f"first={first}, count={count}: the window reaches from step {first} to {first + count - 1}, and the run "
            f"has the steps 0 to {intervals - 1}: use a window inside it"
        )
        raise ValueError(msg)
    levels = np.zeros(intervals)
    levels[first : first + count] = noise_level(level, "level")
    return levels


# -- step rule -------------------------------------------------------------------------------------------


def flow_sde_step(
    window: Window,
    order: int,  # noqa: ARG001
    division: Division,
    level: Scalar = 1.0,
    *,
    given: bool = False,
) -> Step:
    """One step of a family; 1 NFE.

    Parameters
    ----------
    window : Window
        Place on the grid, in the form ``DATA``; with ``given`` its parameter ``level`` is that of the family.
    order : int
        Order asked of the rule, 1.
    division : Division
        Family.
    level : scalar
        Parameter of its split; 0 for Euler's step in flow time, that is DDIM.
    given : bool
        Take the level from the window.
    """
    x, k1, z1 = vectors("x k1 z1")
    if given:
        level = division.parameter(division.checked(window.parameters["level"]))
    elif isinstance(level, int | float) and level == 0:
        return Step((Stage(0, x),), x + window.moment(0) * k1, window.remember(k1))
    place = _place(window)
    lost, variance = division.split(place, level)
    end = place.noise[1]
    share = lost / end
    moved = (1 - share) * x + (window.moment(0) + share * phi(0, -window.step)) * k1
    return Step((Stage(0, x),), moved + variance**0.5 / end * z1, window.remember(k1))


def _place(window: Window) -> Place:
    """Where the window stands; from equal signal and noise on where there is no schedule (arrays: it matters)."""
    if not window.nodes:
        early, late = np.full(1, 0.5), 1 / (1 + np.exp(np.full(1, window.step)))
        ends = ((early, late), (1 - early, 1 - late))
    else:
        last, start = window.nodes[:2]
        ends = (
            (start.sigma / (start.alpha + start.sigma), last.sigma / (last.alpha + last.sigma)),
            (start.alpha / (start.alpha + start.sigma), last.alpha / (last.alpha + last.sigma)),
        )
    return Place(*ends, ends[1][1] * window.moment(0))

"""The forms themselves: scale, clock, gain and kernel, as data; their table is at the top of :mod:`diffnum.forms`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from diffnum.forms.kernels import ExponentialKernel, Kernel, Nodes, Quadrature, time_kernel
from diffnum.schedules.tools import anywhere
from diffnum.types import FloatArray, Prediction, Schedule

__all__ = [
    "DATA",
    "DRIFT",
    "FORMS",
    "NOISE",
    "RHO",
    "TIME",
    "VELOCITY",
    "SemilinearForm",
    "drift_form",
    "form",
    "riemann",
    "time_form",
]


@dataclass(frozen=True)
class SemilinearForm:
    """One way to write the probability-flow ODE; see the table at the top of :mod:`diffnum.forms`.

    Parameters
    ----------
    name : str
        Name of the form.
    prediction : str
        What the model must predict.
    rate : int or None
        Growth rate kappa of the kernel; None for the time clock.
    scale, gain, clock : callable
        Functions of :class:`Nodes`.
    half_log_snr : callable or None
        Half-log-SNR of a clock value; None for the time clock.
    foreign : Schedule, optional
        Schedule whose time is the clock, where that is not the schedule of the plan.
    quadrature : Quadrature, optional
        Riemann sum in place of the exact moments.
    linear : bool
        Whether the linear part stays in the equation: evaluations are then dx/dclock, made of the state and of the
        model's prediction.
    """

    name: str
    prediction: Prediction
    rate: int | None
    scale: Callable[[Nodes], FloatArray]
    gain: Callable[[Nodes], FloatArray]
    clock: Callable[[Nodes], FloatArray]
    half_log_snr: Callable[[FloatArray], FloatArray] | None
    foreign: Schedule | None = None
    quadrature: Quadrature | None = None
    linear: bool = False

    def inner(self, schedule: Schedule, start: Nodes, end: Nodes, fraction: Any) -> Nodes:
        """Nodes at ``fraction`` of the way from ``start`` to ``end``, measured in the clock."""
        if isinstance(fraction, int) and fraction in (0, 1):
            return end if fraction else start
        schedule = anywhere(schedule)  # a step with churn begins before its node; plans say what is too much
        begin = self.clock(start)
        tau = begin + fraction * (self.clock(end) - begin)
        if self.half_log_snr is None:
            return Nodes.at(schedule, tau)
        lam = self.half_log_snr(tau)
        return Nodes.at(schedule, schedule.time(lam), lam)

    def kernel(self, schedule: Schedule, start: Nodes, end: Nodes, step: FloatArray, count: int) -> Kernel:
        """Kernel of the steps from ``start`` to ``end``; ``count`` moments suffice."""
        if self.quadrature is not None:
            return self.quadrature.kernel(lambda s: self._density(schedule, start, end, step, s), count)
        if self.rate is None:
            clock = self.foreign or schedule
            return time_kernel(clock, self._seen(start), self._seen(end), count)
        return ExponentialKernel(step, self.rate)

    def slope(self, schedule: Schedule, nodes: Nodes) -> tuple[FloatArray, FloatArray]:
        """Factors (p, q) of the evaluations ``p x + q M`` with which the form steps; (0, 1) is the prediction itself.

        Raises
        ------
        ValueError
            If the schedule has no method ``drift``.
        """
        if not self.linear:
            return np.zeros_like(nodes.t), np.ones_like(nodes.t)
        damping, noising = _drift(schedule, nodes.t)
        if self.foreign is None:
            return damping, noising
        # dt/dclock is the ratio of the rates of the half-log-SNR, -noising/sigma
        seen = self._seen(nodes)
        speed = _drift(self.foreign, seen.t)[1] / seen.sigma * nodes.sigma / noising
        return damping * speed, noising * speed

    def _seen(self, nodes: Nodes) -> Nodes:
        """Nodes of the same half-log-SNR on the schedule that gives the clock."""
        if self.foreign is None:
            return nodes
        return Nodes.at(self.foreign, np.asarray(self.foreign.time(nodes.lam)), nodes.lam)

    def _density(self, schedule: Schedule, start: Nodes, end: Nodes, step: FloatArray, s: FloatArray) -> FloatArray:
        """Kernel at ``s``."""
        if self.rate is not None:
            return np.asarray(step * np.exp(self.rate * step * (1.0 - s)))
        clock, t0, t1 = self.foreign or schedule, self._seen(start).t, self._seen(end).t
        t = t0 + s * (t1 - t0)
        return np.asarray((t1 - t0) * _drift(clock, t)[1] / clock.alpha(t))

    def __repr__(self) -> str:
        """Name only: the fields are functions."""
        return f"SemilinearForm({self.name!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        """By name where it is one of this module's, which then is itself again after a pickle or a copy."""
        name = self.name.upper()
        return name if globals().get(name) is self else super().__reduce_ex__(protocol)


def _drift(schedule: Any, t: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coefficients of the probability-flow ODE in time."""
    if not hasattr(schedule, "drift"):
        msg = (
            f"schedule {schedule.name!r} has no method drift(t), the coefficients (a, b) in dx/dt = a x + b eps, "
            "which this form needs: add it, or use a method with exact quadrature in another clock"
        )
        raise ValueError(msg)
    damping, noising = schedule.drift(t)
    return damping, noising


# named, and at the top of the module, so that every record can be pickled
def _alpha(nodes: Nodes) -> FloatArray:
    return nodes.alpha


def _sigma(nodes: Nodes) -> FloatArray:
    return nodes.sigma


def _minus_sigma(nodes: Nodes) -> FloatArray:
    return -nodes.sigma


def _sum(nodes: Nodes) -> FloatArray:
    return nodes.alpha + nodes.sigma


def _one(nodes: Nodes) -> FloatArray:
    return np.ones_like(nodes.t)


def _half_log_snr(nodes: Nodes) -> FloatArray:
    return nodes.lam


def _ratio(nodes: Nodes) -> FloatArray:
    return nodes.sigma / nodes.alpha


def _share(nodes: Nodes) -> FloatArray:
    return nodes.sigma / (nodes.alpha + nodes.sigma)


def _time(nodes: Nodes) -> FloatArray:
    return nodes.t


def _same(clock: FloatArray) -> FloatArray:
    return clock


def _of_ratio(clock: FloatArray) -> FloatArray:
    return np.asarray(-np.log(clock))


def _of_share(clock: FloatArray) -> FloatArray:
    return np.asarray(np.log1p(-clock) - np.log(clock))


@dataclass(frozen=True, slots=True)
class _TimeOf:
    """Clock: the time of another schedule, at equal half-log-SNR."""

    schedule: Schedule

    def __call__(self, nodes: Nodes) -> FloatArray:
        return np.asarray(self.schedule.time(nodes.lam))


@dataclass(frozen=True, slots=True)
class _HalfLogSnrOf:
    """Half-log-SNR at a time of another schedule."""

    schedule: Schedule

    def __call__(self, clock: FloatArray) -> FloatArray:
        return np.asarray(self.schedule.half_log_snr(clock))


DATA = SemilinearForm("data", "data", -1, _sigma, _alpha, _half_log_snr, _same)
NOISE = SemilinearForm("noise", "noise", 1, _alpha, _minus_sigma, _half_log_snr, _same)
RHO = SemilinearForm("rho", "noise", 0, _alpha, _alpha, _ratio, _of_ratio)
VELOCITY = SemilinearForm("velocity", "velocity", 0, _sum, _sum, _share, _of_share)
TIME = SemilinearForm("time", "noise", None, _alpha, _alpha, _time, None)
DRIFT = SemilinearForm("drift", "noise", 0, _one, _one, _time, None, linear=True)
"""Time clock, nothing removed: dx/dt itself is stepped, as by an ODE solver that knows nothing of the process."""


def time_form(clock: Schedule) -> SemilinearForm:
    """Form :data:`TIME` in the time of another schedule, at equal half-log-SNR.

    Interpolating in that time is a choice of the method, not of the process: a VE process can be sampled with
    polynomials in the time of a VP process.

    Parameters
    ----------
    clock : Schedule
        Whose time it is.

    Returns
    -------
    SemilinearForm
    """
    return _clocked(TIME, clock)


def drift_form(clock: Schedule) -> SemilinearForm:
    """Form :data:`DRIFT` in the time of another schedule, at equal half-log-SNR.

    Parameters
    ----------
    clock : Schedule
        Whose time it is.

    Returns
    -------
    SemilinearForm
    """
    return _clocked(DRIFT, clock)


def _clocked(written: SemilinearForm, clock: Schedule) -> SemilinearForm:
    clock = anywhere(clock)
    return replace(
        written,
        name=f"{written.name} of {clock.name}",
        clock=_TimeOf(clock),
        half_log_snr=_HalfLogSnrOf(clock),
        foreign=clock,
    )


def riemann(written: SemilinearForm, cells: int = 10000, rule: str = "left") -> SemilinearForm:
    """Form whose moments over a step are Riemann sums, as in some official codes.

    The weights are off by about the variation of the kernel over a step divided by ``cells``: methods of every order
    become of first order, with a small constant.

    Parameters
    ----------
    written : SemilinearForm
        Form with exact moments.
    cells : int
        Number of points, at least 2.
    rule : {"left", "closed"}
        See :class:`Quadrature`.

    Returns
    -------
    SemilinearForm

    Raises
    ------
    ValueError
        If ``cells`` or ``rule`` is not one of these.
    """
    return replace(written, name=f"{written.name}, Riemann sum", quadrature=Quadrature(cells, rule))


FORMS: Final[Mapping[str, SemilinearForm]] = MappingProxyType({f.name: f for f in (DATA, NOISE, RHO, VELOCITY, TIME)})


def form(name: str) -> SemilinearForm:
    """Form by name.

    Parameters
    ----------
    name : str
        A key of :data:`FORMS`, such as ``"data"``.

    Returns
    -------
    SemilinearForm

    Raises
    ------
    ValueError
        If there is no such form.
    """
    try:
        return FORMS[name]
    except KeyError:
        msg = f"form={name!r} is unknown: use one of {', '.join(FORMS)}"
        raise ValueError(msg) from None

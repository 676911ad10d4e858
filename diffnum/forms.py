r"""Semilinear forms: the probability-flow ODE after its linear part has been removed, as data.

A form is a choice of scale, clock and prediction such that ``y = x / scale`` obeys
``dy/dclock = (gain/scale) * M`` with ``M`` the prediction. One step from node 0 to node 1 of length
``h`` (in the clock) is then, exactly,

.. math:: x_1 = \frac{\mathrm{scale}_1}{\mathrm{scale}_0} x_0
          + \mathrm{gain}_1 \int_0^1 h\, e^{\kappa h (1 - s)} M(\tau_0 + s h)\, ds ,

with the growth rate kappa of the kernel: -1 for data, +1 for noise, 0 where the clock itself is the integrating
variable. Everything that a solver must know about the process is in ``scale``, ``gain`` and the kernel's moments.

====================  =============  ==================  =============  =====
form                  scale          clock               gain           kappa
====================  =============  ==================  =============  =====
``DATA``              sigma          log(alpha/sigma)    alpha          -1
``NOISE``             alpha          log(alpha/sigma)    -sigma         +1
``RHO``               alpha          sigma/alpha         alpha          0
``VELOCITY``          alpha + sigma  sigma/(alpha+sigma) alpha + sigma  0
``TIME``              alpha          t                   alpha          (a)
====================  =============  ==================  =============  =====

(a) the kernel of the time clock is d(sigma/alpha)/dt, whose moments depend on the schedule.

Three things make further forms of these: :func:`time_form` takes the clock from another schedule, :func:`riemann`
replaces exact moments by the sums that some codes compute, and :data:`DRIFT` leaves the linear part in the equation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import factorial
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from diffnum.phi import phi
from diffnum.types import Array, Denoiser, FloatArray, Prediction, Scalar, Schedule

__all__ = [
    "DATA",
    "DRIFT",
    "FORMS",
    "NOISE",
    "PREDICTIONS",
    "RHO",
    "TIME",
    "VELOCITY",
    "ExponentialKernel",
    "Kernel",
    "Nodes",
    "Quadrature",
    "SemilinearForm",
    "TabulatedKernel",
    "conversion",
    "drift_form",
    "form",
    "predict",
    "riemann",
    "time_form",
    "time_kernel",
]


# -- predictions -------------------------------------------------------------------------------------

PREDICTIONS: Final[Mapping[str, Callable[[Any, Any], tuple[Any, Any]]]] = MappingProxyType(
    {
        "data": lambda alpha, sigma: (1.0, 0.0),  # noqa: ARG005
        "noise": lambda alpha, sigma: (0.0, 1.0),  # noqa: ARG005
        "velocity": lambda alpha, sigma: (-1.0, 1.0),  # noqa: ARG005
        "score": lambda alpha, sigma: (0.0, -1.0 / sigma),  # noqa: ARG005
        "v": lambda alpha, sigma: (-sigma, alpha),
    }
)
"""Each prediction as the pair (a, b) in ``a x_0 + b eps``, a function of (alpha, sigma)."""


def conversion(source: str, to: str, alpha: Any, sigma: Any) -> tuple[Any, Any]:
    """Factors (p, q) with ``target = p x + q source`` at a node of given ``alpha`` and ``sigma``.

    Both predictions and ``x = alpha x_0 + sigma eps`` are linear in (x_0, eps), so the pair solves a 2 by 2
    system; solving it directly avoids the cancellation of a detour through the noise.

    Parameters
    ----------
    source, to : str
        Keys of :data:`PREDICTIONS`.
    alpha, sigma : scalar or array
        Signal factor and noise standard deviation; ``sigma > 0`` where ``source`` is ``"data"``, ``alpha > 0`` where
        it is ``"noise"`` or ``"score"`` (but for the conversion of these into each other).

    Raises
    ------
    ValueError
        If a prediction is unknown, or if the conversion divides by zero at this node (tensors are not inspected,
        since that would wait for their device).
    """
    for argument, name in (("source", source), ("to", to)):
        if name not in PREDICTIONS:
            raise ValueError(f"{argument}={name!r} is no prediction: use one of {', '.join(PREDICTIONS)}")
    if source == to:
        return 0.0, 1.0
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            (a, b), (c, d) = PREDICTIONS[source](alpha, sigma), PREDICTIONS[to](alpha, sigma)
            if {source, to} == {"noise", "score"}:  # proportional, even where alpha = 0
                pair = 0.0, d / b
            else:
                determinant = alpha * b - sigma * a
                pair = (c * b - d * a) / determinant, (alpha * d - sigma * c) / determinant
    except ZeroDivisionError:
        pair = float("nan"), float("nan")
    if not all(np.all(np.isfinite(factor)) for factor in pair if isinstance(factor, float | np.ndarray)):
        raise ValueError(
            f"a {source!r} prediction says nothing about {to!r} at alpha={alpha}, sigma={sigma}: "
            "stop the grid before that end, or use a model with another prediction"
        )
    return pair


def predict(model: Denoiser, x: Array, t: Any, to: Prediction) -> Array:
    """Any prediction from any model.

    Parameters
    ----------
    model : Denoiser
        Model with attributes ``prediction`` and ``schedule``.
    x : array, shape (batch, ...)
        Noisy state at time ``t``.
    t : float or array, shape (batch,)
        Time in the unit of the model's schedule.
    to : {"data", "noise", "velocity", "score", "v"}
        Prediction wanted: x_0, eps, eps - x_0, -eps/sigma, alpha eps - sigma x_0.

    Returns
    -------
    array, shape of ``x``

    Raises
    ------
    ValueError
        If ``to`` is unknown or the conversion does not exist at ``t`` (data from noise where alpha = 0).
    """
    if to not in PREDICTIONS:
        raise ValueError(f"to={to!r} is no prediction: use one of {', '.join(PREDICTIONS)}")
    value = model(x, t)
    if model.prediction == to:
        return value
    schedule = model.schedule
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    p, q = (_beside(x, factor) for factor in conversion(model.prediction, to, alpha, sigma))
    mean = schedule.mean
    if isinstance(mean, float) and mean == 0.0:
        return p * x + q * value
    # x - mean and x_0 - mean obey the relations of a process without a mean; a prediction a x_0 + b eps moves by a mean
    mean = _array_like(x, mean)
    shift_in, shift_out = (_beside(x, PREDICTIONS[name](alpha, sigma)[0]) for name in (model.prediction, to))
    return p * (x - mean) + q * (value - shift_in * mean) + shift_out * mean


def _array_like(x: Array, value: Any) -> Array:
    """Constant in the namespace, dtype and device of ``x``."""
    from array_api_compat import array_namespace, device  # kept out of the import of the coefficient functions

    if isinstance(value, np.ndarray):
        value = value.copy()  # schedules store read-only arrays, which tensors cannot share
    return array_namespace(x).asarray(value, dtype=x.dtype, device=device(x))


def _beside(x: Array, factor: Any) -> Any:
    """Factor that multiplies a batch ``x``: a number, or one number a sample."""
    if isinstance(factor, float | int):
        return factor
    factor = _array_like(x, factor)
    return factor.reshape(factor.shape + (1,) * (x.ndim - 1)) if factor.ndim else factor


# -- kernels -----------------------------------------------------------------------------------------


class Kernel(Protocol):
    """Weight of the integral over one step; what a step rule knows of the form."""

    def moment(self, k: int, fraction: Scalar = 1) -> Scalar:
        """Integral of ``kernel(s) s^k`` over the first ``fraction`` of the step, s in steps."""

    def discount(self, fraction: Scalar = 1) -> Scalar:
        """``|gain|/scale`` at ``fraction`` of the step over its value at the start."""


@dataclass(frozen=True)
class ExponentialKernel:
    r"""Kernel :math:`h e^{\kappa h (c - s)}` of the forms with a fixed growth rate.

    Parameters
    ----------
    step : scalar or array
        Step length ``h`` in the clock of the form.
    rate : int
        Growth rate kappa: -1 data, +1 noise, 0 for the clocks that are integrating variables themselves.
    """

    step: Scalar
    rate: int

    def moment(self, k: int, fraction: Scalar = 1) -> Scalar:
        r""":math:`h \int_0^c e^{\kappa h (c - s)} s^k ds = h\, c^{k+1} k!\, \varphi_{k+1}(\kappa c h)`."""
        if self.rate == 0:
            return self.step * fraction ** (k + 1) / (k + 1)
        return self.step * fraction ** (k + 1) * factorial(k) * phi(k + 1, self.rate * fraction * self.step)

    def discount(self, fraction: Scalar = 1) -> Scalar:
        r"""``|gain|/scale`` grows by :math:`e^{-\kappa c h}`."""
        return phi(0, -self.rate * fraction * self.step) if self.rate else 1


@dataclass(frozen=True)
class TabulatedKernel:
    """Kernel known by its moments over whole steps only, as in the time clock.

    Parameters
    ----------
    moments : tuple of scalars or arrays
        ``moments[k]`` is the integral of ``kernel(s) s^k`` over the step.
    """

    moments: tuple[Scalar, ...]

    def moment(self, k: int, fraction: Scalar = 1) -> Scalar:
        """Tabulated moment; stages inside the step are not available."""
        if not (isinstance(fraction, int) and fraction == 1):
            raise ValueError(
                f"fraction={fraction!r}: the time clock and Riemann sums have no closed moments inside a step; "
                "use a method without inner stages, or the rho clock"
            )
        return self.moments[k]

    def discount(self, fraction: Scalar = 1) -> Scalar:  # noqa: ARG002
        """One: the clock map is the moment of order zero itself."""
        return 1


@cache
def _quadrature() -> tuple[FloatArray, FloatArray]:
    """64-point Gauss-Legendre rule on [-1, 1]."""
    from numpy.polynomial.legendre import leggauss  # kept out of the import of the coefficient functions

    return leggauss(64)


def time_kernel(schedule: Schedule, start: Nodes, end: Nodes, count: int) -> TabulatedKernel:
    r"""Moments :math:`\int_0^1 s^k\, d\rho` of the time clock, s = (t - t_0)/(t_1 - t_0), rho = sigma/alpha.

    Integrated over the half-log-SNR, in which the integrand is analytic for every closed-form schedule, by 64-point
    Gauss-Legendre: the whole default range in one step to rounding. Over time itself the integrand has a square-root
    singularity at the data end of VP schedules. Steps are cut where the schedule says that it has kinks (``breaks``:
    the labels of a table with ``interpolation="linear"``); at the kink of clipped betas the moments are good to 1e-9.

    Parameters
    ----------
    schedule : Schedule
        Gives the time of a half-log-SNR.
    start, end : Nodes
        Ends of the steps, arrays of shape (m,).
    count : int
        Number of moments, k = 0, ..., count - 1.
    """
    points, weights = _quadrature()
    cuts, steps = _cuts(schedule, start, end)
    half = 0.5 * (cuts[:, 1] - cuts[:, 0])
    lam = cuts[:, 0] + half * (1.0 + points[:, None])
    at = start[steps]
    s = (schedule.time(lam) - at.t) / (end.t[steps] - at.t)
    # rho relative to its value at the start keeps the differences of a short step exact
    density = -weights[:, None] * half * np.exp(at.lam - lam) * (at.sigma / at.alpha)
    first = np.searchsorted(steps, np.arange(len(start.lam)))
    return TabulatedKernel(tuple(np.add.reduceat((density * s**k).sum(axis=0), first) for k in range(count)))


def _cuts(schedule: Schedule, start: Nodes, end: Nodes) -> tuple[FloatArray, NDArray[np.intp]]:
    """Pieces of steps as half-log-SNRs of their ends, shape (pieces, 2), and the number of the step of each."""
    kinks = np.asarray(getattr(schedule, "breaks", ()), dtype=np.float64)
    pieces, steps = [], []
    for i, (begin, finish) in enumerate(zip(start.t, end.t, strict=True)):
        inside = np.sort(kinks[(kinks < begin) & (kinks > finish)])[::-1]
        lam = np.concatenate([start.lam[i : i + 1], schedule.half_log_snr(inside), end.lam[i : i + 1]])
        pieces.append(np.stack([lam[:-1], lam[1:]], axis=1))
        steps.append(np.full(len(lam) - 1, i))
    return np.concatenate(pieces), np.concatenate(steps)


RULES = ("left", "closed")
"""Riemann sums: left ends of equal cells, or equally spaced points with both ends, each with the weight of a cell."""


@dataclass(frozen=True)
class Quadrature:
    """A Riemann sum over a step, for reproducing codes that compute their moments so.

    Parameters
    ----------
    cells : int
        Number of points, at least 2.
    rule : {"left", "closed"}
        Left ends of equal cells (DEIS), or points that include both ends (diff-sampler); the weight is 1/cells in both.
    """

    cells: int = 10000
    rule: str = "left"

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule={self.rule!r} is unknown: use one of {', '.join(RULES)}")
        if isinstance(self.cells, bool) or not isinstance(self.cells, int) or self.cells < 2:
            raise ValueError(f"cells={self.cells!r} is no number of cells: give a whole number of at least 2")

    def kernel(self, density: Callable[[FloatArray], FloatArray], count: int) -> TabulatedKernel:
        """Sums of ``density(s) s^k`` for k = 0, ..., count - 1, with s of shape (cells, 1) in steps."""
        s = np.linspace(0.0, 1.0, self.cells, endpoint=self.rule == "closed")[:, None]
        values = density(s) / self.cells
        return TabulatedKernel(tuple((values * s**k).sum(axis=0) for k in range(count)))


# -- forms -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nodes:
    """Times with everything a form needs there; float64 arrays of one shape.

    Parameters
    ----------
    t, alpha, sigma, lam : ndarray
        Time, signal factor, noise standard deviation, half-log-SNR (natural log of alpha/sigma).
    """

    t: FloatArray
    alpha: FloatArray
    sigma: FloatArray
    lam: FloatArray

    @classmethod
    def at(cls, schedule: Schedule, t: FloatArray, lam: FloatArray | None = None) -> Nodes:
        """Nodes of a schedule at times ``t``; ``lam`` where the caller knows it more accurately."""
        t = np.asarray(t, dtype=np.float64)
        lam = schedule.half_log_snr(t) if lam is None else np.asarray(lam, dtype=np.float64)
        return cls(t, schedule.alpha(t), schedule.sigma(t), lam)

    def __getitem__(self, index: Any) -> Nodes:
        """Select nodes."""
        return Nodes(self.t[index], self.alpha[index], self.sigma[index], self.lam[index])


@dataclass(frozen=True)
class SemilinearForm:
    """One way to write the probability-flow ODE; see the table at the top of this module.

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


def _drift(schedule: Any, t: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coefficients of the probability-flow ODE in time."""
    if not hasattr(schedule, "drift"):
        raise ValueError(
            f"schedule {schedule.name!r} has no method drift(t), the coefficients (a, b) in dx/dt = a x + b eps, "
            "which this form needs: add it, or use a method with exact quadrature in another clock"
        )
    damping, noising = schedule.drift(t)
    return damping, noising


DATA = SemilinearForm("data", "data", -1, lambda n: n.sigma, lambda n: n.alpha, lambda n: n.lam, lambda clock: clock)
NOISE = SemilinearForm("noise", "noise", 1, lambda n: n.alpha, lambda n: -n.sigma, lambda n: n.lam, lambda clock: clock)
RHO = SemilinearForm(
    "rho",
    "noise",
    0,
    lambda n: n.alpha,
    lambda n: n.alpha,
    lambda n: n.sigma / n.alpha,
    lambda clock: -np.log(clock),
)
VELOCITY = SemilinearForm(
    "velocity",
    "velocity",
    0,
    lambda n: n.alpha + n.sigma,
    lambda n: n.alpha + n.sigma,
    lambda n: n.sigma / (n.alpha + n.sigma),
    lambda clock: np.log1p(-clock) - np.log(clock),
)
TIME = SemilinearForm("time", "noise", None, lambda n: n.alpha, lambda n: n.alpha, lambda n: n.t, None)


def _one(nodes: Nodes) -> FloatArray:
    return np.ones_like(nodes.t)


DRIFT = SemilinearForm("drift", "noise", 0, _one, _one, lambda n: n.t, None, linear=True)
"""Time clock, nothing removed: dx/dt itself is stepped, as by an ODE solver that knows nothing of the process."""


def time_form(clock: Schedule) -> SemilinearForm:
    """Form :data:`TIME` in the time of another schedule, at equal half-log-SNR.

    Interpolating in that time is a choice of the method, not of the process: a VE process can be sampled with
    polynomials in the time of a VP process.

    Parameters
    ----------
    clock : Schedule
        Whose time it is.
    """
    return _clocked(TIME, clock)


def drift_form(clock: Schedule) -> SemilinearForm:
    """Form :data:`DRIFT` in the time of another schedule, at equal half-log-SNR.

    Parameters
    ----------
    clock : Schedule
        Whose time it is.
    """
    return _clocked(DRIFT, clock)


def _clocked(written: SemilinearForm, clock: Schedule) -> SemilinearForm:
    return replace(
        written,
        name=f"{written.name} of {clock.name}",
        clock=lambda n: np.asarray(clock.time(n.lam)),
        half_log_snr=clock.half_log_snr,
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

    Raises
    ------
    ValueError
        If there is no such form.
    """
    try:
        return FORMS[name]
    except KeyError:
        raise ValueError(f"form={name!r} is unknown: use one of {', '.join(FORMS)}") from None

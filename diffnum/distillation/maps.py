r"""Flow maps of exact problems: the map between any two times, its derivatives, and what students are made to learn.

Let ``X(x, t, s)`` carry a state from time ``t`` to time ``s`` along the probability flow ``dx/dt = v(x, t)``, and ``J``
be its Jacobian. Everything follows from these two and the velocity:

``dX/ds = v(X, s)``, ``dX/dt = -J v(x, t)`` (the consistency equation), and the average velocity
``u(x, r, t) = (x - X(x, t, r)) / (t - r)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from diffnum.distillation.coordinates import Coordinates, Level, coordinates_of
from diffnum.problems._states import LinearForm, check_schedule, check_state, drift
from diffnum.schedules import check_time
from diffnum.types import Array, FloatArray, Problem, Schedule

__all__ = ["FlowMap", "MapDerivatives", "MeanDerivatives", "flow_map"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(10)
_NODES, _WEIGHTS = 0.5 * (1.0 + _NODES), 0.5 * _WEIGHTS

_SHORT = 1e-3
"""Relative displacement below which the average velocity is a mean of velocities by Gauss's rule: the
difference quotient would lose more than three digits."""


@runtime_checkable
class Rated(Protocol):
    """A schedule that knows its derivatives."""

    def rates(self, t: Any) -> tuple[Any, Any]:
        """Derivatives of ``alpha`` and of ``sigma^2 / 2`` with respect to time."""


class MapDerivatives(NamedTuple):
    """Derivatives of ``X(x, t, s)``.

    Parameters
    ----------
    start : ndarray, shape (n, d)
        With respect to ``t``.
    end : ndarray, shape (n, d)
        With respect to ``s``.
    space : ndarray, shape (n, d, d)
        Jacobian.
    """

    start: FloatArray
    end: FloatArray
    space: FloatArray


class MeanDerivatives(NamedTuple):
    """Derivatives of ``u(x, r, t)``.

    Parameters
    ----------
    early : ndarray, shape (n, d)
        With respect to ``r``.
    late : ndarray, shape (n, d)
        With respect to ``t``.
    space : ndarray, shape (n, d, d)
        Jacobian.
    """

    early: FloatArray
    late: FloatArray
    space: FloatArray


@dataclass(frozen=True, eq=False)
class FlowMap:
    """Exact flow map of a problem under a schedule; made by :func:`flow_map`.

    States are numpy arrays or torch tensors of shape (n, d) or (n, ...); tensors are carried in float64 on the CPU and
    come back as they were, without a gradient. Times are numbers in ``[schedule.t_min, schedule.t_max]``, in any order.

    Parameters
    ----------
    problem : Problem
        Data distribution.
    schedule : Schedule
        The noising process.
    coordinates : Coordinates
        Where the flow is known in closed form or to rounding.
    """

    problem: Problem
    schedule: Schedule
    coordinates: Coordinates = field(repr=False)

    def __call__(self, x: Array, t: float, s: float) -> Array:
        """Carry states from time ``t`` to time ``s``.

        Parameters
        ----------
        x : array, shape (n, d) or (n, ...)
            States at ``t``.
        t, s : float
            Times, in either order.

        Returns
        -------
        array, shape of ``x``
            States at ``s`` on the same trajectories.
        """
        return self._on_host(x, lambda y: self._carry(y, self._time(t, "t"), self._time(s, "s")))

    def velocity(self, x: Array, t: float) -> Array:
        """Velocity ``v(x, t) = dx/dt`` of the probability flow, shape of ``x``."""
        return self._on_host(x, lambda y: self._velocity(y, self._time(t, "t")))

    def jvp(self, x: Array, t: float, s: float, tangent: Array) -> Array:
        """Jacobian of the map from ``t`` to ``s`` times ``tangent``, which has the shape of ``x``."""
        direction = check_state(tangent, self.problem.dim, "tangent").on_host().flat
        if direction.shape[0] != x.shape[0]:
            msg = f"tangent has {direction.shape[0]} rows and x {x.shape[0]}: give one direction a state"
            raise ValueError(msg)

        def turned(y: FloatArray) -> FloatArray:
            slope = self._slope(y, self._time(t, "t"), self._time(s, "s"))[1]
            return self._out(slope * self._in(direction))

        return self._on_host(x, turned)

    def derivatives(self, x: Array, t: float, s: float) -> MapDerivatives:
        """All first derivatives of the map from ``t`` to ``s`` at ``x``, as float64 numpy arrays."""
        y = self._flat(x)
        t, s = self._time(t, "t"), self._time(s, "s")
        image, slope = self._slope(y, t, s)
        start = -self._out(slope * self._in(self._velocity(y, t)))
        return MapDerivatives(start, self._velocity(image, s), self._matrices(slope))

    def average_velocity(self, x: Array, r: float, t: float) -> Array:
        """Average velocity ``u(x, r, t)`` between ``r`` and ``t`` of the trajectory that is at ``x`` at time ``t``.

        Geng et al. 2025, arXiv:2505.13447; at ``r = t`` it is the velocity. No digits are lost as ``r``
        approaches ``t``.

        Parameters
        ----------
        x : array, shape (n, d) or (n, ...)
            States at ``t``.
        r, t : float
            Times, in either order.

        Returns
        -------
        array, shape of ``x``
        """
        return self._on_host(x, lambda y: self._average(y, self._time(r, "r"), self._time(t, "t")))

    def average_derivatives(self, x: Array, r: float, t: float) -> MeanDerivatives:
        """All first derivatives of :meth:`average_velocity` at ``x``, as float64 numpy arrays.

        Rounding grows as ``1 / (t - r)``.

        Raises
        ------
        ValueError
            If ``r`` equals ``t``, where these are second derivatives of the map.
        """
        y, r, t = self._flat(x), self._time(r, "r"), self._time(t, "t")
        if r == t:
            msg = f"r={r!r} equals t: derivatives of the average velocity need a span: use r below t"
            raise ValueError(msg)
        image, slope = self._slope(y, t, r)
        mean, span = self._average(y, r, t), t - r
        late = (self._out(slope * self._in(self._velocity(y, t))) - mean) / span
        early = (mean - self._velocity(image, r)) / span
        return MeanDerivatives(early, late, self._matrices((1.0 - slope) / span))

    def consistency(self, x: Array, t: float, end: float | None = None) -> Array:
        """Consistency function: the datum at ``end`` (by default ``schedule.t_min``) on the trajectory through ``x``.

        Song et al. 2023, arXiv:2303.01469 (their ``epsilon`` is ``end``).
        """
        return self(x, t, self.schedule.t_min if end is None else end)

    def progressive(self, x: Array, t: float, s: float) -> Array:
        """Data prediction whose one DDIM step from ``t`` to ``s`` lands on the exact flow.

        What progressive distillation (Salimans and Ho 2022, arXiv:2202.00512, algorithm 2) converges to as the
        teacher's steps become fine: ``(X - rho x) / (alpha_s - rho alpha_t)`` with ``rho = sigma_s / sigma_t``.

        Raises
        ------
        ValueError
            If ``s`` is not less noisy than ``t``.
        """
        return self._on_host(x, lambda y: self._progressive(y, self._time(t, "t"), self._time(s, "s")))

    def lipschitz(self, t: float, s: float) -> float:
        """Least Lipschitz constant of the map from ``t`` to ``s``, in the Euclidean norm.

        It is the greatest slope of a coordinate: for Gaussians a quotient of standard deviations, for mixtures found on
        4001 nodes within ten standard deviations of all components and refined by parabolas (to about 1e-6).
        """
        start, end = self._level(self._time(t, "t")), self._level(self._time(s, "s"))
        if start == end:
            return 1.0
        low, high = self.coordinates.spread(start)
        z = np.linspace(low, high, 4001)
        slope = np.log(self.coordinates.slope(z, self.coordinates.carry(z, start, end), start, end))
        at = np.clip(np.argmax(slope, axis=0), 1, len(z) - 2)
        before, here, after = (slope[at + k, np.arange(slope.shape[1])] for k in (-1, 0, 1))
        bend = 2.0 * here - before - after
        lift = np.divide((after - before) ** 2, 8.0 * bend, out=np.zeros_like(bend), where=bend > 0.0)
        return float(np.exp(np.max(np.maximum(here + np.where(bend > 0.0, lift, 0.0), np.max(slope, axis=0)))))

    # ---------------------------------------------------------------- on float64 numpy states of shape (n, d)

    def _on_host(self, x: Array, function: Callable[[FloatArray], FloatArray]) -> Array:
        state = check_state(x, self.problem.dim)
        return state.from_host(function(self._finite(state.on_host().flat)))

    def _flat(self, x: Array) -> FloatArray:
        return self._finite(check_state(x, self.problem.dim).on_host().flat)

    @staticmethod
    def _finite(y: FloatArray) -> FloatArray:
        if not np.all(np.isfinite(y)):
            row = int(np.argwhere(~np.isfinite(y))[0, 0])
            msg = f"x[{row}] is not finite: use finite states"
            raise ValueError(msg)
        return y

    def _time(self, t: float, name: str) -> float:
        if np.ndim(t) != 0:
            msg = f"{name} has shape {np.shape(t)}: a flow map goes between two times: use one number"
            raise ValueError(msg)
        check_time(self.schedule, t, name)
        return float(t)

    def _level(self, t: float) -> Level:
        return float(self.schedule.alpha(t)), float(self.schedule.sigma(t))

    def _shift(self, y: FloatArray, alpha: float) -> Any:
        """``(1 - alpha) mean`` of a mean-reverting process."""
        return drift(self.schedule, alpha, check_state(y, self.problem.dim), np.float64)

    def _in(self, y: FloatArray) -> FloatArray:
        return y if self.coordinates.rotation is None else y @ self.coordinates.rotation

    def _out(self, z: FloatArray) -> FloatArray:
        return z if self.coordinates.rotation is None else z @ self.coordinates.rotation.T

    def _matrices(self, slope: FloatArray) -> FloatArray:
        if self.coordinates.rotation is None:
            return np.asarray(slope[:, :, None] * np.eye(slope.shape[1]))
        return np.asarray((self.coordinates.rotation * slope[:, None, :]) @ self.coordinates.rotation.T)

    def _carry(self, y: FloatArray, t: float, s: float) -> FloatArray:
        if t == s:
            return y.copy()
        start, end = self._level(t), self._level(s)
        z = self.coordinates.carry(self._in(y - self._shift(y, start[0])), start, end)
        return np.asarray(self._out(z) + self._shift(y, end[0]))

    def _slope(self, y: FloatArray, t: float, s: float) -> tuple[FloatArray, FloatArray]:
        start, end = self._level(t), self._level(s)
        z = self._in(y - self._shift(y, start[0]))
        image = self.coordinates.carry(z, start, end)
        return self._out(image) + self._shift(y, end[0]), self.coordinates.slope(z, image, start, end)

    def _velocity(self, y: FloatArray, t: float) -> FloatArray:
        alpha, sigma = self._level(t)
        slope, noising = self.schedule.rates(t)  # type: ignore[attr-defined]
        found = self.coordinates.core.predict(y - self._shift(y, alpha), alpha, sigma, LinearForm(slope, noising))
        return np.asarray(found + self._shift(y, 1.0 + slope))  # the shift moves with -alpha' mean

    def _average(self, y: FloatArray, r: float, t: float) -> FloatArray:
        if r == t:
            return self._velocity(y, t)
        span, size = t - r, max(1.0, float(np.max(np.abs(y), initial=0.0)))
        moved = y - self._carry(y, t, r)
        quotient = np.asarray(moved / span)
        if np.max(np.abs(moved), initial=0.0) > _SHORT * size:
            return quotient
        times = r + span * _NODES
        parts = [w * self._velocity(self._carry(y, t, at), at) for w, at in zip(_WEIGHTS, times, strict=True)]
        mean = np.asarray(sum(parts))
        # A state may also come back to where it was; then the quotient is what is accurate.
        rounding = 64.0 * np.finfo(np.float64).eps * size / abs(span)
        return mean if np.max(np.abs(mean - quotient), initial=0.0) <= rounding else quotient

    def _progressive(self, y: FloatArray, t: float, s: float) -> FloatArray:
        (alpha, sigma), (new_alpha, new_sigma) = self._level(t), self._level(s)
        if not new_sigma * alpha < new_alpha * sigma:
            msg = f"s={s!r} is not less noisy than t={t!r}: use s on the side of the data"
            raise ValueError(msg)
        decay = new_sigma / sigma
        start, end = self._shift(y, alpha), self._shift(y, new_alpha)
        gap = new_alpha - decay * alpha
        return np.asarray((self._carry(y, t, s) - end - decay * (y - start)) / gap)


def flow_map(problem: Problem, schedule: Schedule) -> FlowMap:
    """Exact flow map of a problem whose flow is known in closed form.

    Parameters
    ----------
    problem : Gaussian, Mixture1D, RotatedProduct, or GaussianMixture in one dimension or of one component
        Data distribution.
    schedule : Schedule
        The noising process.

    Returns
    -------
    FlowMap
        ``map(x, t, s)``, with ``velocity``, ``average_velocity``, ``consistency``, ``progressive`` and derivatives.

    Raises
    ------
    TypeError
        If the problem has no flow map in closed form, or the schedule does not know its derivatives.

    Examples
    --------
    >>> import numpy as np
    >>> import diffnum as dn
    >>> flow = dn.distillation.flow_map(
    ...     dn.problems.three_peaks(), dn.schedules.FlowMatching())
    >>> x = np.array([[0.3], [-1.0]])
    >>> half = flow(x, 1.0, 0.5)
    >>> bool(np.allclose(flow(half, 0.5, 0.0), flow.consistency(x, 1.0), atol=1e-13))
    True
    """
    check_schedule(schedule)
    if not isinstance(schedule, Rated):
        msg = (
            f"schedule={schedule!r} has no rates(t): give it a method that returns the derivatives of alpha and of "
            "sigma^2 / 2 with respect to time, or use one of diffnum.schedules"
        )
        raise TypeError(msg)
    return FlowMap(problem, schedule, coordinates_of(problem))

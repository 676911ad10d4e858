"""Students that are linear in what is trained, and what a regression loss says about them.

``student(x, t, s) = basis(x, t, s) @ coefficients``: a network with one hidden layer of which the last is trained. Its
loss is a quadratic, so that value, gradient, and the point where training rests are exact; it takes numpy arrays and
tensors, so that the very same student goes through a loss of one's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import ArrayLike

from diffnum.distillation.coordinates import ALLOWED
from diffnum.distillation.maps import FlowMap
from diffnum.distillation.quadrature import Pairs
from diffnum.jobs.checked import check_count, check_schedule
from diffnum.problems._states import real_array
from diffnum.schedules import check_time
from diffnum.types import Array, FloatArray, Schedule

__all__ = ["FeatureStudent", "RegressionLoss", "RegressionTerms", "feature_student", "resting_point"]


@dataclass(frozen=True, eq=False)
class FeatureStudent:
    """A layer of tanh units of state and two times, beside the state itself and a constant, under trained coefficients.

    Attributes
    ----------
    inner : ndarray, shape (J, d + 3)
        Weights of the units: of the d coordinates, of ``t``, of ``s``, and the shift.
    coefficients : array, shape (J + d + 1, d)
        What is trained; a numpy array, or a tensor beside the states that arrive.
    """

    inner: FloatArray
    coefficients: Array

    def __post_init__(self) -> None:
        inner = real_array(self.inner, "inner", (2,))
        object.__setattr__(self, "inner", inner)
        wanted = (inner.shape[0] + inner.shape[1] - 2, inner.shape[1] - 3)
        if wanted[1] < 1 or tuple(self.coefficients.shape) != wanted:
            msg = f"coefficients has shape {tuple(self.coefficients.shape)}: use {wanted} to go with inner"
            raise ValueError(msg)

    @property
    def dim(self) -> int:
        """Dimension d."""
        return int(self.inner.shape[1]) - 3

    def __call__(self, x: Array, t: Any, s: Any = 0.0) -> Array:
        """Output at states ``x``, shape (n, d), at ``t`` and for ``s``: numbers, or of shape (n,) or (n, 1)."""
        theta = self.coefficients
        if theta.dtype != x.dtype:  # states in single precision get answers in single precision
            theta = array_namespace(x).astype(theta, x.dtype)
        return self.basis(x, t, s) @ theta

    def basis(self, x: Array, t: Any, s: Any = 0.0) -> Array:
        """Values of the features, shape (n, J + d + 1)."""
        xp = array_namespace(x)
        return xp.concat([xp.tanh(self._phase(xp, x, t, s)), x, xp.ones_like(x[:, :1])], axis=1)

    def tangent(self, x: FloatArray, t: Any, s: Any, dx: FloatArray, dt: float = 0.0, ds: float = 0.0) -> FloatArray:
        """Derivative of :meth:`basis` along ``(dx, dt, ds)``, shape (n, J + d + 1); on numpy states."""
        d = self.dim
        moved = dx @ self.inner[:, :d].T + dt * self.inner[:, d] + ds * self.inner[:, d + 1]
        slope = 1.0 - np.tanh(self._phase(np, x, t, s)) ** 2
        return np.concatenate([slope * moved, dx, np.zeros_like(dx[:, :1])], axis=1)

    def jacobian(self, x: FloatArray, t: float, s: float = 0.0) -> FloatArray:
        """Derivative of the output with respect to the state, shape (n, d, d); on numpy states."""
        columns = [self.tangent(x, t, s, np.tile(e, (len(x), 1))) @ self.coefficients for e in np.eye(self.dim)]
        return np.stack(columns, axis=2)

    def replace(self, coefficients: Array) -> FeatureStudent:
        """Same student with other coefficients, of the same number."""
        wanted = tuple(self.coefficients.shape)
        return FeatureStudent(self.inner, coefficients.reshape(wanted))

    def _phase(self, xp: Any, x: Array, t: Any, s: Any) -> Array:
        inner = xp.asarray(np.array(self.inner), dtype=x.dtype, device=device(x))
        d = self.dim
        late, early = (xp.reshape(v, (-1, 1)) if getattr(v, "ndim", 0) else v for v in (t, s))
        return x @ inner[:, :d].T + late * inner[:, d] + early * inner[:, d + 1] + inner[:, d + 2]


def feature_student(dim: int = 1, units: int = 12, seed: int = 0) -> FeatureStudent:
    """Student with drawn units and drawn coefficients.

    Parameters
    ----------
    dim, units : int
        Dimension, and number of tanh units.
    seed : int
        Of the draws.

    Returns
    -------
    FeatureStudent

    Raises
    ------
    ValueError
        If there is no dimension or no unit.
    """
    if dim < 1 or units < 1:
        msg = f"dim={dim} and units={units}: use at least one of each"
        raise ValueError(msg)
    rng = np.random.default_rng(check_count("seed", seed, 0))
    inner = rng.uniform(-1.5, 1.5, (units, dim + 3))
    return FeatureStudent(inner, 0.5 * rng.standard_normal((units + dim + 1, dim)))


class RegressionTerms(NamedTuple):
    """Outputs of a student beside their targets, on weighted states: all that a regression loss is.

    Parameters
    ----------
    outputs : ndarray, shape (n, d)
    targets : ndarray, shape (n, d)
        What is behind the stop-gradient.
    weights : ndarray, shape (n,)
    basis : ndarray, shape (n, J)
        Derivative of the outputs with respect to the coefficients.
    pull : callable
        Derivative of ``sum(g * targets)`` with respect to the coefficients, for g of shape (n, d).
    """

    outputs: FloatArray
    targets: FloatArray
    weights: FloatArray
    basis: FloatArray
    pull: Callable[[FloatArray], FloatArray]

    @property
    def value(self) -> float:
        """``sum w |output - target|^2``."""
        return float(self.weights @ np.sum((self.outputs - self.targets) ** 2, axis=1))

    @property
    def gradient(self) -> FloatArray:
        """Gradient with targets held still, shape of the coefficients."""
        return np.asarray(self.basis.T @ self._force)

    @property
    def gradient_through(self) -> FloatArray:
        """Gradient with targets that move: what comes out when the stop-gradient is forgotten."""
        return self.gradient - self.pull(self._force)

    @property
    def _force(self) -> FloatArray:
        return 2.0 * self.weights[:, None] * (self.outputs - self.targets)


class Slope(Protocol):
    """What a training needs to know of a loss on a batch."""

    @property
    def value(self) -> float:
        """The loss."""

    @property
    def gradient(self) -> FloatArray:
        """Where the training goes down, shape of the coefficients."""


class StudentLoss(Protocol):
    """A loss that feature students are trained on."""

    def terms(self, student: FeatureStudent, pairs: Pairs) -> Slope:
        """Value and gradient on a batch of data and noise."""


class RegressionLoss(Protocol):
    """A loss that is a weighted square of output minus target."""

    def terms(self, student: FeatureStudent, pairs: Pairs) -> RegressionTerms:
        """Outputs, targets and weights on a batch of data and noise."""


def stacked(parts: list[RegressionTerms]) -> RegressionTerms:
    """RegressionTerms of several noise levels as one."""
    cuts = np.cumsum([len(part.weights) for part in parts])[:-1]

    def pull(force: FloatArray) -> FloatArray:
        return np.asarray(sum(part.pull(f) for part, f in zip(parts, np.split(force, cuts), strict=True)))

    return RegressionTerms(
        np.concatenate([part.outputs for part in parts]),
        np.concatenate([part.targets for part in parts]),
        np.concatenate([part.weights for part in parts]),
        np.concatenate([part.basis for part in parts]),
        pull,
    )


def velocity_of(schedule: Any, flow: FlowMap | None, pairs: Pairs, x: FloatArray, t: float) -> FloatArray:
    """Velocity of the exact flow where there is one, else the conditional velocity of each pair."""
    return pairs.conditional_velocity(schedule, t) if flow is None else np.asarray(flow.velocity(x, t))


def still(student: FeatureStudent) -> Callable[[FloatArray], FloatArray]:
    """Pull of targets that no coefficient moves."""
    return lambda force: np.zeros((student.coefficients.shape[0], force.shape[1]))


def checked_levels(
    levels: ArrayLike, first: str, second: str, schedule: Schedule, end: float | None = None
) -> list[tuple[float, float]]:
    """Pairs of times (late, early) in the domain of a schedule, none below ``end``.

    Raises
    ------
    ValueError
        If a pair is not two finite times of the schedule, the second below the first.
    """
    check_schedule(schedule)
    try:
        pairs = np.asarray(levels, dtype=np.float64)
    except (TypeError, ValueError):
        msg = f"levels={levels!r}: use pairs ({first}, {second}) of numbers, shape (k, 2)"
        raise TypeError(msg) from None
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        msg = f"levels has shape {pairs.shape}: use pairs ({first}, {second}), shape (k, 2)"
        raise ValueError(msg)
    for t, s in pairs.tolist():
        if not s < t:
            msg = f"levels has ({first}, {second}) = ({t!r}, {s!r}) out of order: use {second} below {first}"
            raise ValueError(msg)
        if end is not None and s < end:
            msg = f"levels has {second}={s!r} below end={end!r}, where the student is the identity: use {end!r} or more"
            raise ValueError(msg)
    check_time(schedule, pairs, "levels")
    return [(t, s) for t, s in pairs.tolist()]


def checked_flow(flow: FlowMap) -> FlowMap:
    """Exact flow.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(flow, FlowMap):
        msg = f"flow is a {type(flow).__name__}: use dn.distillation.flow_map(problem, schedule), for {ALLOWED}"
        raise TypeError(msg)
    return flow


def resting_point(loss: RegressionLoss, student: FeatureStudent, pairs: Pairs) -> FeatureStudent:
    """Student at which the gradient with targets held still vanishes: where training rests, if it comes there.

    With fixed targets it is the least-squares optimum of the class; where targets follow the student affinely it is the
    solution of one linear system. Neither needs a step size.

    Parameters
    ----------
    loss : RegressionLoss
        Any regression of this package, or one's own.
    student : FeatureStudent
        Its units are kept; its coefficients start the search.
    pairs : Pairs
        Data and noise; :func:`~diffnum.distillation.exact_batch` for expectations.

    Returns
    -------
    FeatureStudent

    Raises
    ------
    RuntimeError
        If no such point is found.
    TypeError
        If the student is not linear in coefficients.
    """
    if not (hasattr(student, "coefficients") and hasattr(student, "replace")):
        msg = f"student is a {type(student).__name__}: use a FeatureStudent, which is linear in its coefficients"
        raise TypeError(msg)

    def force(theta: FloatArray) -> FloatArray:
        return loss.terms(student.replace(theta), pairs).gradient.ravel()

    start = np.asarray(student.coefficients, dtype=np.float64).ravel()
    at = force(start)
    size = float(np.abs(at).max()) + 1.0
    columns = [force(start + e) - at for e in np.eye(len(start))]
    theta = start - np.linalg.lstsq(np.stack(columns, axis=1), at, rcond=1e-13)[0]
    if np.abs(force(theta)).max() <= 1e-9 * size:
        return student.replace(theta)
    # Targets that follow the student in curves: hold them, solve, renew them, as training would with endless patience.
    found = loss.terms(student, pairs)
    inverse = np.linalg.pinv(2.0 * found.basis.T @ (found.weights[:, None] * found.basis), rcond=1e-12)
    theta = np.asarray(student.coefficients, dtype=np.float64)
    for _ in range(500):
        pull = force(theta).reshape(theta.shape)
        if not np.all(np.isfinite(pull)) or np.abs(pull).max() <= 1e-9 * size:
            break
        theta = theta - inverse @ pull
    if not np.abs(force(theta)).max() <= 1e-9 * size:
        msg = "no resting point was found: the targets run away from the student: use fewer units, or shorter steps"
        raise RuntimeError(msg)
    return student.replace(theta)

"""A test bench for training losses: whether value and gradient are right, and if not, what is likely wrong.

A loss is called once, on a fixed batch of an exact problem with a small student, and its value and gradient are
compared with the right ones and with those of every slip that the bench knows. A slip is named when it explains the
numbers, not guessed::

    import torch
    import diffnum as dn

    def loss(student, x0, eps, r, t):                     # MeanFlow, by torch.func
        x, v = (1 - t) * x0 + t * eps, eps - x0
        u, dudt = torch.func.jvp(student, (x, t, r), (v, torch.ones_like(t), torch.zeros_like(r)))
        return ((u - (v - (t - r) * dudt).detach()) ** 2).mean()

    print(dn.testing.targets.check(loss, "mean_flow", xp=torch))

Times and weights arrive as columns of shape (n, 1), states too; reduce by the mean. A loss that computes in float32 is
held to what float32 can tell (:data:`SINGLE`). Without ``xp`` the loss gets numpy arrays and returns a pair: value, and
gradient with respect to ``student.coefficients`` (of losses of samples: to the sample).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from diffnum.distillation import FeatureStudent
from diffnum.testing.variants import TARGETS, Target, TrainingBatch, training_batch
from diffnum.testing.weighing import ROBUST, Distance, Outcome, multipliers
from diffnum.types import Array, FloatArray

__all__ = ["DOUBLE", "SINGLE", "TARGETS", "TargetReport", "assert_target", "check"]

DOUBLE, SINGLE = 1e-6, 1e-4
"""Largest relative errors of value and gradient in float64, and in float32."""


@dataclass(frozen=True, eq=False)
class TargetReport:
    """What the bench says of a loss.

    Attributes
    ----------
    target : str
        Which loss it should be.
    ok : bool
        Whether value (where it is defined) and gradient agree with the right ones.
    value_error, gradient_error : float
        Relative errors; of the value NaN where only the gradient is defined.
    cause : str
        What is likely wrong: a slip that explains the numbers, or empty.
    closest : str
        Where none explains them, the slip that leaves less than a tenth of the error, or empty.
    """

    target: str
    ok: bool
    value_error: float
    gradient_error: float
    cause: str
    closest: str

    def __str__(self) -> str:
        errors = f"gradient off by {self.gradient_error:.2g}"
        if not np.isnan(self.value_error):
            errors = f"value off by {self.value_error:.2g}, {errors}"
        if self.ok:
            return f"{self.target}: ok ({errors})"
        near = f"; the closest: {self.closest}" if self.closest else ""
        why = self.cause or f"no slip that is known explains it{near}"
        return f"{self.target}: WRONG ({errors}): {why}"


@dataclass(frozen=True, eq=False)
class ConsistencyStudent:
    """The consistency function ``x - t u(x, t, 0)`` of a student that is an average velocity."""

    student: FeatureStudent

    @property
    def coefficients(self) -> Array:
        """What is trained."""
        return self.student.coefficients

    def __call__(self, x: Array, t: Any) -> Array:
        """Image at time 0 of states ``x``, shape (n, 1), at times ``t``, shape (n, 1)."""
        return x - t * self.student(x, t, 0.0)


def check(
    loss: Callable[..., Any],
    target: str,
    *,
    xp: Any = None,
    tolerance: float | None = None,
    batch: TrainingBatch | None = None,
) -> TargetReport:
    """Say whether a loss has the right value and gradient, and what is likely wrong.

    Parameters
    ----------
    loss : callable
        Called as :data:`TARGETS` says, ``TARGETS["mean_flow"].call`` for one; it returns a scalar tensor (with ``xp``)
        or the pair of value and gradient.
    target : str
        Name of the loss.
    xp : module, optional
        ``torch``: arguments are float64 tensors and the gradient is taken by ``backward``.
    tolerance : float, optional
        Largest relative error of value and gradient; by default 1e-6, and 1e-4 of a loss that is computed in float32.
    batch : TrainingBatch, optional
        The batch; a fixed one by default.

    Returns
    -------
    TargetReport

    Raises
    ------
    ValueError
        If the target is unknown, the loss is not a finite scalar, or nothing that is trained has a gradient.
    TypeError
        If the loss returns something else than it should.
    """
    if target not in TARGETS:
        msg = f"target={target!r} is not known: use one of {', '.join(map(repr, TARGETS))}"
        raise ValueError(msg)
    known = TARGETS[target]
    rows = training_batch() if batch is None else batch
    found, single = _called(loss, known, rows) if xp is None else _traced(loss, known, rows, xp)
    again, _ = _called(loss, known, rows) if xp is None else _traced(loss, known, rows, xp)
    right = known.right(rows)
    if found.gradient.shape != right.gradient.shape:
        msg = f"the gradient has shape {found.gradient.shape}: return one of shape {right.gradient.shape}"
        raise ValueError(msg)
    if not (np.isfinite(found.value) and np.all(np.isfinite(found.gradient))):
        msg = "the loss or its gradient is not finite: look for divisions by t - r, and for logarithms"
        raise ValueError(msg)
    errors = _distance(found, right, known)
    if tolerance is None:
        tolerance = SINGLE if single else DOUBLE
    ok = max(errors) <= tolerance
    nothing = float(np.linalg.norm(found.gradient)) <= 1e-12 * float(np.linalg.norm(right.gradient))
    cause, closest = ("", "") if ok or nothing else _explained(found, known, rows, tolerance)
    if not ok and nothing:
        cause = (
            "the gradient is zero everywhere: the distance of single numbers is blind to their size (cosine), or "
            "something without a derivative (round, sign, argmax, a comparison) lies between what is trained and the "
            "loss"
        )
    if not (ok or cause) and (again.value != found.value or not np.array_equal(again.gradient, found.gradient)):
        cause = "called again it gives other numbers: it draws noise or times of its own, or changes the student"
    if not (ok or cause) and max(errors) <= SINGLE:
        cause = "the errors are those of single precision: compute in float64, or pass tolerance=1e-4"
    return TargetReport(target, ok, errors[0] if known.has_value else float("nan"), errors[1], cause, closest)


def assert_target(loss: Callable[..., Any], target: str, **options: Any) -> TargetReport:
    """Fail, with what is likely wrong, unless a loss has the right value and gradient.

    Parameters
    ----------
    loss : callable
        As for :func:`check`.
    target : str
        Name of the loss.
    **options
        The other arguments of :func:`check`.

    Returns
    -------
    TargetReport

    Raises
    ------
    AssertionError
        With the report.
    ValueError, TypeError
        As :func:`check`.
    """
    __tracebackhide__ = True
    report = check(loss, target, **options)
    if not report.ok:
        raise AssertionError(str(report))
    return report


def _distance(found: Outcome, other: Outcome, target: Target) -> tuple[float, float]:
    """Relative errors of value and gradient."""
    value = abs(found.value - other.value) / max(abs(other.value), 1e-300) if target.has_value else 0.0
    size = max(float(np.linalg.norm(other.gradient)), 1e-300)
    return value, float(np.linalg.norm(found.gradient - other.gradient)) / size


def _explained(found: Outcome, target: Target, batch: TrainingBatch, tolerance: float) -> tuple[str, str]:
    """Slip that gives these very numbers, and else the one that comes nearest."""
    distances = {name: max(_distance(found, slip(batch), target)) for name, slip in target.slips.items()}
    best = min(distances, key=lambda name: distances[name])
    if distances[best] <= tolerance:
        return best, best
    right = target.right(batch)
    for name, outcome in {"": right, **{name: slip(batch) for name, slip in target.slips.items()}}.items():
        said = _proportional(found, outcome, target, tolerance)
        if said:
            return f"{name}; besides, {said}" if name else said, best
    off = max(_distance(found, right, target))
    said = _reweighed(found, target, batch, tolerance) or _clipped(found, right, target)
    said = said or _stepped(found, target, batch, max(tolerance, 1e-3 * off))
    said = said or _of_another_distance(found, target, batch, max(tolerance, 1e-4 * off))
    return said, best if distances[best] < 0.1 * off else ""


def _reweighed(found: Outcome, target: Target, batch: TrainingBatch, tolerance: float) -> str:
    """Say so if the rows are multiplied by something of the noise level."""
    for name, rows in multipliers(batch.late, batch.early, batch.weight):
        outcome = target.right(batch, rows=rows)
        if max(_distance(found, outcome, target)) <= tolerance:
            return f"the rows are weighed by {name} besides (alpha = 1 - t, sigma = t)"
        if _proportional(found, outcome, target, tolerance):
            factor = float(np.sum(found.gradient * outcome.gradient) / np.sum(outcome.gradient**2))
            return f"the rows are weighed by {factor:.6g} {name} besides (alpha = 1 - t, sigma = t)"
    return ""


def _clipped(found: Outcome, right: Outcome, target: Target) -> str:
    """Say so if part of the samples have their gradient, and the others one of the same direction but too small."""
    if target.wraps != "sample":
        return ""
    ratio = found.gradient / np.where(right.gradient == 0.0, 1.0, right.gradient)
    same = np.isclose(ratio, 1.0, rtol=1e-9, atol=0.0)
    if not (np.any(same) and np.all(ratio > -1e-12) and np.all(ratio < 1.0 + 1e-9)):
        return ""
    return f"the gradient is right in {int(same.sum())} of {same.size} rows and too small in the others: it is clipped"


def _of_another_distance(found: Outcome, target: Target, batch: TrainingBatch, near: float) -> str:
    """Say so if something robust stands for the square, with its constant."""
    if target.wraps == "sample" or not target.has_value:
        return ""
    for name, made in ROBUST.items():

        def distance(exponent: float, made: Callable[[float], Distance] = made) -> float:
            outcome = target.right(batch, distance=made(10.0**exponent))
            size = float(np.sum(outcome.gradient**2))
            factor = float(np.sum(found.gradient * outcome.gradient)) / max(size, 1e-300)
            return max(_distance(found, Outcome(factor * outcome.value, factor * outcome.gradient), target))

        fit, rest = _least(distance, np.arange(-4.0, 1.1, 0.25))
        if rest <= near:
            return f"{name} (c about {10.0**fit:.2g}); a choice, if it was meant"
    return ""


def _least(distance: Callable[[float], float], grid: FloatArray) -> tuple[float, float]:
    """Least point of a function of one exponent: the best of a grid, then refined between its neighbours."""
    start = float(min(grid, key=distance))
    width = float(grid[1] - grid[0])
    fit = minimize_scalar(distance, bounds=(start - width, start + width), method="bounded", options={"xatol": 1e-10})
    return float(fit.x), float(fit.fun)


def _proportional(found: Outcome, other: Outcome, target: Target, tolerance: float) -> str:
    """Say so if the numbers are a multiple of others."""
    norm = float(np.sum(other.gradient**2))
    factor = float(np.sum(found.gradient * other.gradient)) / max(norm, 1e-300)
    rest = float(np.linalg.norm(found.gradient - factor * other.gradient)) / max(np.sqrt(norm), 1e-300)
    if rest > tolerance * max(1.0, abs(factor)) or factor == 0.0:
        return ""
    if not target.has_value:
        return f"the gradient is right up to a factor {factor:.6g}"
    ratio = found.value / other.value if other.value else 0.0
    if abs(ratio - 2.0 * factor) <= tolerance * max(1.0, abs(factor)):
        return "the root of the sum of squares is taken"
    if abs(ratio - factor) <= tolerance * max(1.0, abs(factor)):
        return f"value and gradient are right up to a factor {factor:.6g} (mean or sum, a half, a constant weight)"
    return f"the gradient is right up to a factor {factor:.6g}, the value is that of another loss ({ratio:.6g} times)"


def _stepped(found: Outcome, target: Target, batch: TrainingBatch, near: float) -> str:
    """Say so if the derivative is a finite difference: of first order, forward or backward, or a central one."""
    stepped = target.stepped
    if stepped is None:
        return ""
    for sign, central in ((1.0, False), (-1.0, False), (1.0, True)):

        def distance(exponent: float, sign: float = sign, central: bool = central) -> float:
            return max(_distance(found, stepped(batch, sign * 10.0**exponent, central=central), target))

        fit, rest = _least(distance, np.arange(-7.0, -0.4, 0.5))
        if rest <= near:
            order = "second order (central)" if central else "first order"
            return f"the derivative is a finite difference of {order}, with a step of about {sign * 10.0**fit:.2g}"
    return ""


# ---------------------------------------------------------------- calling


def _column(values: FloatArray) -> FloatArray:
    return values if values.ndim == 2 else values[:, None]


def _first(target: Target, student: FeatureStudent) -> Any:
    return ConsistencyStudent(student) if target.wraps == "consistency" else student


def _called(loss: Callable[..., Any], target: Target, batch: TrainingBatch) -> tuple[Outcome, bool]:
    """Value and gradient that a loss says, and whether in single precision."""
    given = tuple(_column(a) if isinstance(a, np.ndarray) else a for a in target.arguments(batch))
    first = batch.x0 if target.wraps == "sample" else _first(target, batch.student)
    answer = loss(first, *given)
    if not (isinstance(answer, tuple) and len(answer) == 2):
        msg = f"the loss returned {type(answer).__name__}: return the pair (value, gradient), or pass xp=torch"
        raise TypeError(msg)
    single = np.asarray(answer[1]).dtype == np.float32
    return Outcome(float(answer[0]), np.asarray(answer[1], dtype=np.float64)), bool(single)


def _traced(loss: Callable[..., Any], target: Target, batch: TrainingBatch, xp: Any) -> tuple[Outcome, bool]:
    """Value of a loss and its gradient by ``backward``, and whether in single precision."""

    def tensor(values: FloatArray) -> Any:
        return xp.tensor(np.array(values), dtype=xp.float64)

    given = tuple(tensor(_column(a)) if isinstance(a, np.ndarray) else a for a in target.arguments(batch))
    trained = tensor(batch.x0 if target.wraps == "sample" else batch.student.coefficients).requires_grad_()
    first = trained if target.wraps == "sample" else _first(target, FeatureStudent(batch.student.inner, trained))
    answer = loss(first, *given)
    if not isinstance(answer, xp.Tensor) or answer.numel() != 1:
        shape = tuple(answer.shape) if isinstance(answer, xp.Tensor) else "none"
        msg = f"the loss returned {type(answer).__name__} of shape {shape}: return a tensor of one number"
        raise TypeError(msg)
    if not answer.requires_grad:
        msg = (
            "the loss does not depend on the student: nothing that is trained has a gradient: look for detach, no_grad"
        )
        raise ValueError(msg)
    if answer.dtype not in (xp.float64, xp.float32):
        msg = f"the loss is computed in {answer.dtype}, too coarse to judge it by: use float64, or float32"
        raise ValueError(msg)
    answer.reshape(()).backward()
    if trained.grad is None:
        msg = "what is trained got no gradient: use the student that is passed, not a copy"
        raise ValueError(msg)
    gradient = np.asarray(trained.grad.detach().cpu().numpy(), dtype=np.float64)
    return Outcome(float(answer.detach()), gradient), bool(answer.dtype == xp.float32)

"""Toy trainings in seconds, with seed and curve, and how far their laws are from the target.

Generators are trained on exact gradients, feature students on drawn pairs of data and noise; both by Adam. What comes
out is compared with what is known: the resting point of the loss, the best affine map, and the target's law.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.special import ndtri

from diffnum.distillation.coordinates import coordinates_of
from diffnum.distillation.generators import Generator, moments
from diffnum.distillation.quadrature import Pairs, normal_nodes, normal_points
from diffnum.distillation.students import FeatureStudent, StudentLoss
from diffnum.problems._states import probabilities
from diffnum.problems.targets import mixture_of
from diffnum.types import FloatArray

__all__ = ["Training", "affine_optimum", "train_generator", "train_student", "wasserstein"]


class OneStep(Protocol):
    """A student whose law is a function of its parameters."""

    @property
    def parameters(self) -> FloatArray:
        """What is trained, in one row."""

    def replace(self, parameters: FloatArray) -> OneStep:
        """Same student with other parameters."""


class OneStepLoss(Protocol):
    """A loss of such students with exact gradient."""

    def gradient(self, student: Any) -> FloatArray:
        """Gradient, shape of ``student.parameters``."""


@dataclass(frozen=True, eq=False)
class Training:
    """A training that came to its end.

    Attributes
    ----------
    student : Generator, BrenierMap, FilterStudent or FeatureStudent
        As trained.
    curve : ndarray, shape (steps,)
        Norm of the gradient at each step, for generators; value of the loss on each batch, for feature students.
    """

    student: Any
    curve: FloatArray


def _adam(
    theta: FloatArray, step_of: Callable[[FloatArray, int], tuple[float, FloatArray]], steps: int, rate: float
) -> tuple[FloatArray, FloatArray]:
    """Adam with a rate that falls to zero along a cosine; stops where something is not finite."""
    if steps < 1 or not rate > 0.0:
        msg = f"steps={steps} and rate={rate!r}: use at least one step and a positive rate"
        raise ValueError(msg)
    far = 1e8 * (1.0 + float(np.abs(theta).max()))
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    curve = np.empty(steps)
    for n in range(steps):
        shown, gradient = step_of(theta, n)
        if gradient.shape != theta.shape:
            msg = (
                f"the gradient has shape {gradient.shape}, the parameters {theta.shape}: return one for each parameter"
            )
            raise ValueError(msg)
        if not (np.isfinite(shown) and np.all(np.isfinite(gradient)) and np.abs(theta).max() <= far):
            msg = f"the training diverged at step {n} of {steps}: use a rate below {rate!r}, or a larger noise level"
            raise FloatingPointError(msg)
        curve[n] = shown
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        pace = 0.5 * rate * (1.0 + np.cos(np.pi * n / steps))
        scaled = np.sqrt(second / (1.0 - 0.99 ** (n + 1))) + 1e-12
        theta = theta - pace * first / (1.0 - 0.9 ** (n + 1)) / scaled
    return theta, curve


def train_generator(loss: OneStepLoss, student: OneStep, *, steps: int = 300, rate: float = 0.05) -> Training:
    """Train a one-step student on the exact gradient of a loss.

    Parameters
    ----------
    loss : object with ``gradient(student)``
        Such as :func:`~diffnum.distillation.f_divergence`.
    student : Generator, or BrenierMap or FilterStudent for their losses
        Where it starts.
    steps : int
        Steps of Adam.
    rate : float
        Rate at the start; it falls to zero.

    Returns
    -------
    Training

    Raises
    ------
    FloatingPointError
        If the training diverges; the step is named.
    ValueError
        If the gradient does not have one entry a parameter.
    TypeError
        If the student is no generator, or the loss has no gradient for one.
    """
    _need(loss, "loss", ("gradient",), "a loss of one-step students, such as f_divergence(...)")
    _need(student, "student", ("parameters", "replace"), "a Generator: its gradient must be known")

    def step_of(theta: FloatArray, step: int) -> tuple[float, FloatArray]:
        if not np.all(np.isfinite(theta)):
            return float("nan"), theta
        try:
            gradient = np.asarray(loss.gradient(student.replace(theta)), dtype=np.float64)
        except ValueError as error:  # a law so wide or so narrow that no rule covers it
            msg = f"the training diverged at step {step} of {steps}: {error}"
            raise FloatingPointError(msg) from error
        return float(np.linalg.norm(gradient)), gradient

    theta, curve = _adam(student.parameters, step_of, steps, rate)
    return Training(student.replace(theta), curve)


def train_student(
    loss: StudentLoss,
    student: FeatureStudent,
    problem: Any,
    *,
    steps: int = 800,
    rate: float = 0.2,
    batch: int = 256,
    seed: int = 0,
) -> Training:
    """Train a feature student on drawn pairs of data and noise, with targets held still.

    Parameters
    ----------
    loss : StudentLoss
        Such as :func:`~diffnum.distillation.mean_flow`.
    student : FeatureStudent
        Where it starts.
    problem : Problem
        Data distribution.
    steps, batch : int
        Steps of Adam, and pairs in each.
    rate : float
        Rate at the start; it falls to zero.
    seed : int
        Of the draws: the same seed gives the same curve.

    Returns
    -------
    Training

    Raises
    ------
    FloatingPointError
        If the training diverges; the step is named.
    ValueError
        If student and problem differ in dimension.
    TypeError
        If the student is not linear in coefficients, or the loss is no regression.
    """
    _need(loss, "loss", ("terms",), "a regression loss, such as mean_flow(...)")
    _need(
        student,
        "student",
        ("coefficients", "basis", "tangent", "replace"),
        "a FeatureStudent, or any that is differentiable and linear in its coefficients",
    )
    if student.dim != problem.dim:
        msg = f"student has dimension {student.dim}, the problem {problem.dim}: use a student of the same"
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    pool = problem.sample(steps * batch, seed)

    def step_of(theta: FloatArray, step: int) -> tuple[float, FloatArray]:
        rows = slice(step * batch, (step + 1) * batch)
        pairs = Pairs(pool[rows], rng.standard_normal((batch, student.dim)), np.full(batch, 1.0 / batch))
        with np.errstate(over="ignore", invalid="ignore"):  # said below, with the step
            terms = loss.terms(student.replace(theta), pairs)
            return terms.value, terms.gradient

    theta, curve = _adam(np.asarray(student.coefficients, dtype=np.float64), step_of, steps, rate)
    return Training(student.replace(theta), curve)


def _need(given: object, name: str, wanted: tuple[str, ...], remedy: str) -> None:
    """Refuse what cannot be trained, or trained on."""
    missing = [attribute for attribute in wanted if not hasattr(given, attribute)]
    if missing:
        msg = f"{name} is a {type(given).__name__} without {', '.join(missing)}: use {remedy}"
        raise TypeError(msg)


def wasserstein(problem: Any, outputs: FloatArray, weights: FloatArray | None = None) -> float:
    """Distance W2 between outputs of a student and a problem whose quantiles are known.

    On the line the optimal plan is the increasing one: outputs in order against quantiles of the mixture, exact up to
    the spacing of the outputs. In more dimensions as many equally likely points stand for the data, images of
    :func:`~diffnum.distillation.normal_points` under the exact map, and the optimal plan is an assignment; with outputs
    at the same points of noise most of what the points miss cancels, and the exact map has distance zero.

    Parameters
    ----------
    problem : Problem
        Target with a flow map in closed form.
    outputs : ndarray, shape (n,) or (n, d)
        Points; in more than one dimension a few thousand at most, since the assignment takes time as their cube.
    weights : ndarray, shape (n,), optional
        Their probabilities, on the line; equal by default.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an output is not finite or of another dimension, or weights do not fit.
    TypeError
        If the problem has no flow map in closed form.
    """
    y = np.asarray(outputs, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    dim = mixture_of(problem).dim
    if y.ndim != 2 or y.shape[1] != dim:
        msg = f"outputs has shape {np.shape(outputs)}, the problem dimension {dim}: use shape (n, {dim})"
        raise ValueError(msg)
    p = np.full(len(y), 1.0 / max(len(y), 1)) if weights is None else probabilities(weights)
    if not len(y) or p.shape != y.shape[:1] or not np.all(np.isfinite(y)):
        msg = (
            f"outputs has {len(y)} points, {int(np.sum(~np.isfinite(y)))} entries are not finite, weights has shape "
            f"{p.shape}: use finite outputs and a weight each, shape {y.shape[:1]}"
        )
        raise ValueError(msg)
    if dim > 1:
        if weights is not None:
            msg = f"weights are for the line, and the problem has dimension {dim}: use equally likely outputs"
            raise ValueError(msg)
        return _assigned(y, _rearranged(problem, normal_points(len(y), dim)))
    order = np.argsort(y[:, 0])
    line, p = y[order, 0], p[order]
    middle = np.clip(np.cumsum(p) - 0.5 * p, 1e-300, 1.0 - 1e-16)
    return float(np.sqrt(p @ (line - _rearranged(problem, ndtri(middle)[:, None])[:, 0]) ** 2))


def _assigned(y: FloatArray, target: FloatArray) -> float:
    """Distance W2 of two sets of as many equally likely points."""
    cost = cdist(y, target, "sqeuclidean")
    return float(np.sqrt(cost[linear_sum_assignment(cost)].mean()))


def affine_optimum(problem: Any, by: str) -> Generator:
    """Best affine map of normal noise, in closed form.

    Parameters
    ----------
    problem : Gaussian, Mixture1D, GaussianMixture or RotatedProduct
        Target; on the line for "wasserstein".
    by : {"forward-kl", "wasserstein"}
        KL(p || q), least where mean and covariance agree; or W2, least where the increasing rearrangement is regressed
        on the noise.

    Returns
    -------
    Generator

    Raises
    ------
    ValueError
        If ``by`` is unknown, or quantiles are asked for in more than one dimension.
    """
    mixture = mixture_of(problem)
    if by == "forward-kl":
        mean, covariance = moments(problem)
        return Generator(mean[None], np.linalg.cholesky(covariance)[None])
    if by != "wasserstein":
        msg = f"by={by!r} has no closed form here: use 'forward-kl' or 'wasserstein'"
        raise ValueError(msg)
    if mixture.dim != 1:
        msg = f"problem has dimension {mixture.dim}: the regression on quantiles is for the line: use dimension 1"
        raise ValueError(msg)
    z, p = normal_nodes(0.05)
    image = _rearranged(problem, z[:, None])[:, 0]
    return Generator([[float(p @ image)]], [[float(p @ (image * z))]])


def _rearranged(problem: Any, z: FloatArray) -> FloatArray:
    """Image of standard normal noise ``z``, shape (n, d), under the exact map to the data: quantiles, on the line."""
    coordinates = coordinates_of(problem)
    flat = z if coordinates.rotation is None else z @ coordinates.rotation
    image = coordinates.carry(flat, (0.0, 1.0), (1.0, 0.0))
    return np.asarray(image if coordinates.rotation is None else image @ coordinates.rotation.T)

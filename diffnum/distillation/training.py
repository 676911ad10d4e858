"""Toy trainings in seconds, with seed and curve, and how far their laws are from the target.

Generators are trained on exact gradients, feature students on drawn pairs of data and noise; both by Adam. What comes
out is compared with what is known: the resting point of the loss, the best affine map, and the target's law.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.special import ndtri

from diffnum.distillation.coordinates import coordinates_of
from diffnum.distillation.generators import Generator
from diffnum.distillation.quadrature import Pairs, normal_nodes
from diffnum.distillation.students import FeatureStudent, RegressionLoss
from diffnum.problems import GaussianMixture
from diffnum.problems.targets import mixture_of
from diffnum.problems.terms.sums import matrices
from diffnum.types import FloatArray

__all__ = ["Training", "affine_optimum", "train_generator", "train_student", "wasserstein"]


class GeneratorLoss(Protocol):
    """A loss of one-step students with exact gradient."""

    def gradient(self, student: Generator) -> FloatArray:
        """Gradient, shape of ``student.parameters``."""


@dataclass(frozen=True, eq=False)
class Training:
    """A training that came to its end.

    Attributes
    ----------
    student : Generator or FeatureStudent
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


def train_generator(loss: GeneratorLoss, student: Generator, *, steps: int = 300, rate: float = 0.05) -> Training:
    """Train a one-step student on the exact gradient of a loss.

    Parameters
    ----------
    loss : object with ``gradient(student)``
        Such as :func:`~diffnum.distillation.f_divergence`.
    student : Generator
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
    loss: RegressionLoss,
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
    loss : RegressionLoss
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
    """Distance W2 on the line between weighted outputs of a student and a mixture.

    On the line the optimal plan is the increasing one: outputs in order against quantiles of the mixture.

    Parameters
    ----------
    problem : Mixture1D, or Gaussian or GaussianMixture of dimension 1
        Target.
    outputs : ndarray, shape (n,) or (n, 1)
        Points.
    weights : ndarray, shape (n,), optional
        Their probabilities; equal by default.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an output is not finite, or there is not one weight an output.
    """
    y = np.asarray(outputs, dtype=np.float64).ravel()
    p = np.full(len(y), 1.0 / len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    if p.shape != y.shape or not np.all(np.isfinite(y)):
        msg = (
            f"outputs has {int(np.sum(~np.isfinite(y)))} entries that are not finite, weights has shape {p.shape}: use "
            f"finite outputs and a weight each, shape {y.shape}"
        )
        raise ValueError(msg)
    order = np.argsort(y)
    y, p = y[order], p[order]
    middle = np.clip(np.cumsum(p) - 0.5 * p, 1e-300, 1.0 - 1e-16)
    return float(np.sqrt(p @ (y - _rearranged(problem, ndtri(middle))) ** 2))


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
        If ``by`` is unknown, or the dimension is not 1 where it must be.
    """
    mixture = mixture_of(problem)
    if by == "forward-kl":
        return _moments_matched(mixture)
    if by != "wasserstein":
        msg = f"by={by!r} has no closed form here: use 'forward-kl' or 'wasserstein'"
        raise ValueError(msg)
    z, p = normal_nodes(0.05)
    image = _rearranged(problem, z)
    return Generator([[float(p @ image)]], [[float(p @ (image * z))]])


def _moments_matched(mixture: GaussianMixture) -> Generator:
    mean = mixture.weights @ mixture.means
    centred = mixture.means - mean
    outer = matrices(mixture.covariances, mixture.dim) + centred[:, :, None] * centred[:, None, :]
    return Generator(mean[None], np.linalg.cholesky(np.einsum("k,kij->ij", mixture.weights, outer))[None])


def _rearranged(problem: Any, z: FloatArray) -> FloatArray:
    """Increasing map from standard normal noise to the data, at ``z`` of shape (n,)."""
    if mixture_of(problem).dim != 1:
        msg = f"problem has dimension {mixture_of(problem).dim}: quantiles are for the line: use dimension 1"
        raise ValueError(msg)
    coordinates = coordinates_of(problem)
    flat = z[:, None] if coordinates.rotation is None else z[:, None] @ coordinates.rotation
    image = coordinates.carry(flat, (0.0, 1.0), (1.0, 0.0))
    return np.asarray(image if coordinates.rotation is None else image @ coordinates.rotation.T)[:, 0]

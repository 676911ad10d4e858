"""What the bench for losses calls them with: one fixed batch of an exact problem, and what it knows of each loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from diffnum.distillation import FeatureStudent, feature_student
from diffnum.problems import Gaussian, three_peaks
from diffnum.schedules import FlowMatching
from diffnum.testing.weighing import Outcome
from diffnum.types import FloatArray

__all__ = ["Stepped", "Target", "TrainingBatch", "Variant", "training_batch"]


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """One batch on the line: data, noise, two times and a weight a row, a student, and exact models of data and fake.

    Attributes
    ----------
    x0, eps : ndarray, shape (n, 1)
    late, early : ndarray, shape (n,)
        Two times a row, ``early < late``.
    weight : ndarray, shape (n,)
    student : FeatureStudent
    """

    x0: FloatArray
    eps: FloatArray
    late: FloatArray
    early: FloatArray
    weight: FloatArray
    student: FeatureStudent

    @property
    def x(self) -> FloatArray:
        """States at the later time, shape (n, 1)."""
        return self.noisy(self.late)

    @property
    def velocity(self) -> FloatArray:
        """Conditional velocity ``eps - x_0``."""
        return self.eps - self.x0

    def noisy(self, t: FloatArray) -> FloatArray:
        """States at times ``t``, shape (n, 1)."""
        return np.asarray((1.0 - t)[:, None] * self.x0 + t[:, None] * self.eps)

    @property
    def exchanged(self) -> TrainingBatch:
        """The same with data and noise in each other's place: states are noise at time 0."""
        return replace(self, x0=self.eps, eps=self.x0)

    def preserving(self, t: FloatArray) -> FloatArray:
        """States at times ``t`` of a process that keeps the variance, shape (n, 1)."""
        return np.asarray(np.sqrt(1.0 - t * t)[:, None] * self.x0 + t[:, None] * self.eps)

    @staticmethod
    def model(prediction: Any, *, fake: bool = False) -> Any:
        """Exact model of the data, or of the law that the student is supposed to have."""
        law = Gaussian([0.2], 0.8) if fake else three_peaks()
        return law.denoiser(FlowMatching(), prediction)


def training_batch(n: int = 48, seed: int = 0) -> TrainingBatch:
    """Batch that the bench uses, drawn once: the same seed gives the same batch."""
    rng = np.random.default_rng(seed)
    late = rng.uniform(0.1, 0.95, n)  # both sides of SNR 1, where truncated weights differ
    early = late * rng.uniform(0.2, 0.7, n)
    x0, eps = three_peaks().sample(n, seed), rng.standard_normal((n, 1))
    return TrainingBatch(x0, eps, late, early, rng.uniform(0.5, 2.0, n), feature_student(units=6, seed=seed))


Variant = Callable[..., Outcome]
Stepped = Callable[..., Outcome]


@dataclass(frozen=True)
class Target:
    """A training loss that the bench knows.

    Attributes
    ----------
    name : str
    call : str
        How the user's function is called.
    arguments : callable
        Arguments after the student (or sample), as numpy arrays and models, of a batch.
    right : callable
        Of a batch; ``rows`` multiplies the rows, and ``distance`` replaces the square of a regression.
    slips : mapping of str to callable
        What went wrong, to the loss with it.
    stepped : callable or None
        The loss with its derivative by a forward difference of a given step, or with ``central`` a central one.
    has_value : bool
        False where only the gradient is defined.
    wraps : {"average velocity", "consistency", "data", "sample"}
        What the first argument is.
    """

    name: str
    call: str
    arguments: Callable[[TrainingBatch], tuple[Any, ...]] = field(repr=False)
    right: Variant = field(repr=False)
    slips: Mapping[str, Variant] = field(repr=False)
    stepped: Stepped | None = field(repr=False, default=None)
    has_value: bool = True
    wraps: str = "average velocity"

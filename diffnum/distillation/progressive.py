r"""Progressive distillation: one step of the student for several of the teacher.

The student's data prediction at ``(x_t, t)`` is regressed on the one whose DDIM step from ``t`` to ``s`` lands where
the teacher's ``n`` DDIM steps land (Salimans and Ho 2022, arXiv:2202.00512, algorithm 2, n = 2), with weight ``max(1,
alpha^2/sigma^2)``. The student inherits the teacher's error, no more and no less: after halving down to one step it is
the teacher's whole first-order run. On Gaussian data the target is affine, so that an affine student has loss zero.

ProDiff's code (Rongjiehuang/ProDiff at 1d199bc5, modules/ProDiff/model/ProDiff.py, GaussianDiffusion.forward) forms
this target with n = 2 but gives the student the label ``t - time_scale`` for a state of label ``t``, weighs all levels
alike, and samples with the posterior of single labels, which is not the DDIM step that the target was made for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from diffnum.distillation.quadrature import Pairs
from diffnum.distillation.students import FeatureStudent, RegressionTerms, checked_levels, stacked, still
from diffnum.types import Denoiser, FloatArray, Schedule

__all__ = ["ProgressiveDistillation", "ddim_step", "progressive_distillation"]


def ddim_step(schedule: Schedule, x: FloatArray, data: FloatArray, t: float, s: float) -> FloatArray:
    """State at ``s`` after one DDIM step from ``x`` at ``t`` with data prediction ``data``."""
    decay = float(schedule.sigma(s)) / float(schedule.sigma(t))
    return np.asarray(decay * x + (float(schedule.alpha(s)) - decay * float(schedule.alpha(t))) * data)


@dataclass(frozen=True, eq=False)
class ProgressiveDistillation:
    """Loss of progressive distillation; made by :func:`progressive_distillation`.

    Parameters
    ----------
    teacher : callable
        ``teacher(x, t)``: data predictions, shape (n, d).
    schedule : Schedule
        The noising process.
    levels : tuple of (float, float)
        Pairs of times (t, s), s below t: the student's steps.
    substeps : int
        Steps of the teacher in one of the student.
    weight : callable
        Weight of ``(alpha, sigma)``.
    """

    teacher: Callable[[FloatArray, float], FloatArray]
    schedule: Schedule
    levels: tuple[tuple[float, float], ...]
    substeps: int
    weight: Callable[[float, float], float]

    def target(self, x: FloatArray, t: float, s: float) -> FloatArray:
        """Data prediction whose one DDIM step lands where the teacher's steps land, shape of ``x``."""
        nodes, y = np.linspace(t, s, self.substeps + 1).tolist(), x
        for here, there in pairwise(nodes):
            y = ddim_step(self.schedule, y, self.teacher(y, here), here, there)
        decay = float(self.schedule.sigma(s)) / float(self.schedule.sigma(t))
        return np.asarray((y - decay * x) / (float(self.schedule.alpha(s)) - decay * float(self.schedule.alpha(t))))

    def terms(self, student: FeatureStudent, pairs: Pairs) -> RegressionTerms:
        """See :class:`diffnum.distillation.RegressionLoss`."""
        parts = []
        for t, s in self.levels:
            x = pairs.at(self.schedule, t)
            share = self.weight(float(self.schedule.alpha(t)), float(self.schedule.sigma(t))) / len(self.levels)
            basis = student.basis(x, t, s)
            parts.append(
                RegressionTerms(
                    basis @ student.coefficients, self.target(x, t, s), share * pairs.weights, basis, still(student)
                )
            )
        return stacked(parts)


def truncated_snr(alpha: float, sigma: float) -> float:
    """``max(1, alpha^2/sigma^2)``."""
    return max(1.0, (alpha / sigma) ** 2)


def progressive_distillation(
    teacher: Denoiser,
    levels: ArrayLike,
    *,
    substeps: int = 2,
    weight: Callable[[float, float], float] = truncated_snr,
) -> ProgressiveDistillation:
    """Loss of progressive distillation from a teacher.

    Parameters
    ----------
    teacher : Denoiser
        Model that predicts data, such as ``problem.denoiser(schedule)``.
    levels : array_like, shape (k, 2)
        Pairs of times (t, s), s below t: the student's steps.
    substeps : int
        Steps of the teacher in one of the student, equally long in time.
    weight : callable
        Weight of ``(alpha, sigma)``; by default ``max(1, alpha^2/sigma^2)``, of the paper.

    Returns
    -------
    ProgressiveDistillation

    Raises
    ------
    ValueError
        If times are out of order or outside the domain, the teacher does not predict data, or there are no substeps.
    """
    if teacher.prediction != "data":
        msg = f"teacher predicts {teacher.prediction!r}: use one that predicts 'data'"
        raise ValueError(msg)
    if substeps < 1:
        msg = f"substeps={substeps}: use at least one step of the teacher"
        raise ValueError(msg)
    pairs = tuple(checked_levels(levels, "t", "s", teacher.schedule))
    return ProgressiveDistillation(teacher, teacher.schedule, pairs, substeps, weight)

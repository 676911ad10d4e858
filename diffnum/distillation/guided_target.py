r"""Distilling guidance: one network for the combination of two, and what its samples then follow.

The student's prediction is regressed on ``D + (w - 1)(D - D_0)`` (Meng et al. 2023, arXiv:2210.03142;
SpeedUpNet adds to the unguided network what a negative prompt subtracts, arXiv:2312.08887). The optimum over all
functions is the guided prediction itself, whatever the law of the states is that cover the space; a student of too
small a class rests at its projection in the law that the states *were* drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffnum.distillation.checks import checked_times
from diffnum.distillation.quadrature import Pairs
from diffnum.distillation.students import FeatureStudent, RegressionTerms, stacked, still
from diffnum.types import Denoiser

__all__ = ["GuidanceDistillation", "guidance_distillation"]


@dataclass(frozen=True, eq=False)
class GuidanceDistillation:
    """Regression on a guided model; made by :func:`guidance_distillation`.

    Parameters
    ----------
    guided : Denoiser
        Guided model, the target.
    times : tuple of float
        Times, weighted equally.
    """

    guided: Denoiser
    times: tuple[float, ...]

    def terms(self, student: FeatureStudent, pairs: Pairs) -> RegressionTerms:
        """See :class:`diffnum.distillation.RegressionLoss`."""
        parts = []
        for t in self.times:
            x = pairs.at(self.guided.schedule, t)
            basis = student.basis(x, t)
            target = np.asarray(self.guided(x, t))
            share = pairs.weights / len(self.times)
            parts.append(RegressionTerms(basis @ student.coefficients, target, share, basis, still(student)))
        return stacked(parts)


def guidance_distillation(guided: Denoiser, times: Sequence[float]) -> GuidanceDistillation:
    """Regression of a student on a guided model, in whatever that predicts.

    Parameters
    ----------
    guided : Denoiser
        Such as ``dn.guidance.classifier_free(conditional, w, unconditional=model)``.
    times : sequence of float
        Noise levels, weighted equally.

    Returns
    -------
    GuidanceDistillation

    Raises
    ------
    ValueError
        If there is no time, or one lies outside the domain.
    """
    return GuidanceDistillation(guided, tuple(checked_times(guided.schedule, times)))

r"""MeanFlow: the average velocity by its own differential identity.

``u(x, t, r)`` is regressed on ``v - (t - r) (du/dt + (du/dx) v)``, held still (Geng et al. 2025, arXiv:2505.13447).
The velocity in both places is the *conditional* one of the pair: the target is linear in it, so that the expected
gradient is that of the exact velocity, while the value has the variance of the conditional velocity on top. With ``r``
at the end of the flow the gradient is that of continuous consistency, divided by ``t - r``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from diffnum.distillation.maps import FlowMap
from diffnum.distillation.quadrature import Pairs
from diffnum.distillation.students import (
    FeatureStudent,
    RegressionTerms,
    checked_flow,
    checked_levels,
    stacked,
    velocity_of,
)

__all__ = ["MeanFlowLoss", "mean_flow"]


@dataclass(frozen=True, eq=False)
class MeanFlowLoss:
    """Loss of MeanFlow; made by :func:`mean_flow`.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    levels : tuple of (float, float)
        Pairs of times (t, r), r below t, weighted equally.
    flow : FlowMap or None
        Exact flow, whose velocity is used; None for the conditional one.
    """

    schedule: Any
    levels: tuple[tuple[float, float], ...]
    flow: FlowMap | None

    def terms(self, student: FeatureStudent, pairs: Pairs) -> RegressionTerms:
        """See :class:`diffnum.distillation.RegressionLoss`."""
        parts = []
        for t, r in self.levels:
            x = pairs.at(self.schedule, t)
            v, basis = velocity_of(self.schedule, self.flow, pairs, x, t), student.basis(x, t, r)
            moved = -(t - r) * student.tangent(x, t, r, v, 1.0)
            parts.append(
                RegressionTerms(
                    basis @ student.coefficients,
                    v + moved @ student.coefficients,
                    pairs.weights / len(self.levels),
                    basis,
                    lambda force, b=moved: b.T @ force,  # type: ignore[misc]
                )
            )
        return stacked(parts)


def mean_flow(schedule: Any, levels: ArrayLike, *, flow: FlowMap | None = None) -> MeanFlowLoss:
    """Loss of MeanFlow.

    Parameters
    ----------
    schedule : Schedule
        Noising process; the paper's is ``FlowMatching()``.
    levels : array_like, shape (k, 2)
        Pairs of times (t, r), r below t.
    flow : FlowMap, optional
        Exact flow, to use the exact velocity instead of the conditional one.

    Returns
    -------
    MeanFlowLoss

    Raises
    ------
    ValueError
        If times are out of order or outside the domain.
    """
    known = None if flow is None else checked_flow(flow)
    return MeanFlowLoss(schedule, tuple(checked_levels(levels, "t", "r", schedule)), known)

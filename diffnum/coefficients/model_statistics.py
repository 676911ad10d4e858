r"""DPM-Solver-v3: exponential integrators in a parametrisation fitted to the model.

With :math:`\bar x = x/\alpha` and :math:`f = (\sigma \epsilon - l x)/\alpha` the probability-flow ODE is
:math:`d\bar x/d\lambda = -l \bar x - f` for *any* function l of the half-log-SNR. On a step from a to
t, and for any functions s and b of it, write :math:`f = e^{S - S_a}(g + \beta)`, with S an antiderivative
of s and :math:`\beta = \int_a b\, e^{-(S - S_a)}`. Then

.. math:: \frac{x_t}{\alpha_t} = e^{-(L_t - L_a)} \Big[ \frac{x_a}{\alpha_a}
          - \int_a^t e^{(L + S) - (L + S)_a}\, (g + \beta)\, d\lambda \Big]

exactly, L an antiderivative of l. The method interpolates g in lambda. Statistics that make f small, and g constant
to first order, make its error small; its order does not depend on them. Weights are element-wise arrays
where the statistics are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np

from diffnum.coefficients.adams import combine, lagrange_weights
from diffnum.forms import Nodes
from diffnum.tableau import Stage, Step, Vector, Window, vector
from diffnum.types import FloatArray, Scalar

__all__ = ["StepIntegrals", "StepStatistics", "divided_difference_weights", "statistics_step"]


@dataclass(frozen=True)
class StepIntegrals:
    r"""What the statistics contribute to steps from a to t; arrays of shape (m, \*element).

    Parameters
    ----------
    growth : ndarray
        :math:`e^{L_t - L_a}`.
    moments : tuple of ndarray
        :math:`\int_a^t e^{(L+S) - (L+S)_a}\, u^k d\lambda`, u in steps from a.
    drift : ndarray
        The same integral with beta in place of :math:`u^k`.
    model_slope : tuple of ndarray
        l at t and at a.
    damping, shift : tuple of ndarray
        :math:`e^{S_a - S_i}` and :math:`\beta_i` at the nodes t, a and the past ones.
    """

    growth: FloatArray
    moments: tuple[FloatArray, ...]
    drift: FloatArray
    model_slope: tuple[FloatArray, FloatArray]
    damping: tuple[FloatArray, ...]
    shift: tuple[FloatArray, ...]


class StepStatistics(Protocol):
    """Statistics that can be integrated; see :class:`diffnum.calibration.statistics.ModelStatistics`."""

    def integrals(self, nodes: Sequence[Nodes], count: int) -> StepIntegrals:
        """Integrals over the steps between ``nodes[1]`` and ``nodes[0]``, with ``count`` moments."""


def divided_difference_weights(moments: Sequence[Scalar], nodes: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """Weights of the "pseudo" derivatives of DPM-Solver-v3.

    The k-th derivative at the first node is replaced by k! times the divided difference over the first k + 1 nodes,
    which is the derivative somewhere between them: for two nodes the same as interpolation, for more of order 2 only.

    Parameters
    ----------
    moments : sequence of q scalars or arrays
        Integrals of kernel(s) s^k, k = 0, ..., q - 1.
    nodes : sequence of q scalars or arrays
        Distinct nodes, the first of them 0.

    Returns
    -------
    tuple of q scalars or arrays
        One weight a node.

    References
    ----------
    thu-ml/DPM-Solver-v3 at ba168717, codebases/edm/samplers/dpm_solver_v3.py (``pseudo``).
    """
    return tuple(
        sum(
            moments[k] / prod(nodes[j] - nodes[i] for i in range(k + 1) if i != j) if k else moments[0]
            for k in range(j, len(nodes))
        )
        for j in range(len(nodes))
    )


def statistics_step(
    window: Window,
    order: int,
    *,
    statistics: StepStatistics,
    pseudo: bool = False,
    corrector: bool = False,
    pseudo_corrector: bool = False,
) -> Step:
    """Step of DPM-Solver-v3 in the form ``NOISE``; the history ``f1, f2, ...`` holds f, not the evaluations.

    Parameters
    ----------
    window : Window
        Place on the grid, with its schedule values.
    order : int
        Nodes of the predictor.
    statistics : StepStatistics
        Statistics of the model.
    pseudo : bool
        Divided differences instead of interpolation in the predictor.
    corrector : bool
        Correct the state with the evaluation at the predicted point (no further evaluation, f is kept).
    pseudo_corrector : bool
        The corrector uses one node more, and divided differences.

    Raises
    ------
    ValueError
        If the window brings exact evaluations instead of f.
    """
    if "m1" in window.known or "m0" in window.known:
        msg = (
            "start='exact': the history of DPM-Solver-v3 mixes states with evaluations, so that exact evaluations "
            "alone do not give it; use start='ramp' and begin with small steps"
        )
        raise ValueError(msg)
    x = vector("x")
    place = _Place.of(window, order + 1, statistics)
    stages: list[Stage] = []
    newest = vector("f0")
    if "f0" not in window.known:
        stages.append(Stage(0, x))
        newest = place.model_term(1, vector("k1"), x)
    past = [newest, *(vector(f"f{j}") for j in range(1, order))]
    predicted = place.step(x, past, list(range(1, order + 1)), pseudo=pseudo)
    if not corrector:
        return Step(tuple(stages), place.in_form(predicted), window.remember(newest, "f"))
    if window.last:
        return Step(tuple(stages), place.in_form(predicted))
    stages.append(Stage(1, place.in_form(predicted)))
    new = place.model_term(0, vector(f"k{len(stages)}"), predicted)
    used = order + pseudo_corrector  # nodes of the corrector: the current one, the new one, older ones
    corrected = predicted
    if used > 1:
        at = [1, 0, *range(2, used)]
        corrected = place.step(x, [newest, new, *past[1 : used - 1]], at, pseudo=pseudo_corrector)
    memory = {"f0": new, "f1": newest} if window.depth else {"f0": new}
    memory |= {f"f{j + 1}": vector(f"f{j}") for j in range(1, window.depth) if f"f{j}" in window.known}
    return Step(tuple(stages), place.in_form(corrected), memory)


@dataclass(frozen=True)
class _Place:
    """Numbers of a block of steps; vectors in it are in plain coordinates, without scale and gain.

    ``alpha`` and ``sigma`` belong to t and a; ``nodes`` are (1, 0, u_1, ...), in steps.
    """

    alpha: Sequence[Scalar]
    sigma: Sequence[Scalar]
    nodes: Sequence[Scalar]
    integrals: StepIntegrals

    @classmethod
    def of(cls, window: Window, count: int, statistics: StepStatistics) -> _Place:
        if not window.nodes:  # only the structure is looked at
            one = np.ones(())
            rest = tuple(one for _ in range(count + 1))
            nodes = (1.0, 0.0, *window.past)
            return cls((1.0, 1.0), (1.0, 1.0), nodes, StepIntegrals(one, rest, one, (one, one), rest, rest))
        integrals = statistics.integrals(window.nodes, count)
        axes = (1,) * (np.ndim(integrals.growth) - 1)

        def column(values: Scalar) -> Scalar:
            return np.reshape(values, (-1, *axes)) if axes else values

        end, start = window.nodes[:2]
        nodes = (1.0, 0.0, *map(column, window.past))
        return cls((column(end.alpha), column(start.alpha)), (column(end.sigma), column(start.sigma)), nodes, integrals)

    def model_term(self, at: int, noise: Vector, x: Vector) -> Vector:
        """``f = (sigma eps - l x) / alpha`` at node ``at``."""
        alpha, sigma, slope = self.alpha[at], self.sigma[at], self.integrals.model_slope[at]
        term: Vector = noise * (sigma / alpha) - x * (slope / alpha)
        return term

    def step(self, x: Vector, terms: Sequence[Vector], at: Sequence[int], *, pseudo: bool) -> Vector:
        """State at t from f at the nodes number ``at``."""
        given = self.integrals
        nodes = [self.nodes[i] for i in at]
        weights = (divided_difference_weights if pseudo else lagrange_weights)(given.moments[: len(nodes)], nodes)
        drift = given.drift - sum(w * given.shift[i] for w, i in zip(weights, at, strict=True))
        inner = combine([w * given.damping[i] for w, i in zip(weights, at, strict=True)], terms)
        inner = inner + drift * vector("one")
        end: Vector = (x * (1 / self.alpha[1]) - inner) * (self.alpha[0] / given.growth)
        return end

    def in_form(self, value: Vector) -> Vector:
        """Vector at t in the coordinates of the form: states by the ratio of scales, all else by the gain -sigma."""
        scale, gain = self.alpha[0] / self.alpha[1], -self.sigma[0]
        return Vector({name: weight / (scale if name == "x" else gain) for name, weight in value.items()})

r"""Weighted samplers on Gaussian data, without Monte Carlo: infinitely many particles, exactly.

On centred Gaussians every model is linear, so that the state at node k is :math:`y_k = a_k^T \xi` in the normals
:math:`\xi` of the whole run, and the log-weight of a corrector is a quadratic form :math:`\xi^T Q \xi`. The
weighted law of :math:`\xi` is therefore the Gaussian of precision :math:`1 - 2 Q`: what a corrector samples on a
given grid, with its discretisation error and with no error of sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffnum.particles.correctors import Combined, product
from diffnum.particles.weighted import Node
from diffnum.plans import Plan
from diffnum.problems import Gaussian
from diffnum.solver import State, evaluations
from diffnum.types import Array, FloatArray

__all__ = ["WeightedVariance", "weighted_variance"]


@dataclass(frozen=True)
class WeightedVariance:
    """Law that a corrector gives to infinitely many particles on a plan.

    Parameters
    ----------
    found, plain : float
        Variance of the last state with the weights, and without.
    exact : float
        Variance of the target.
    log_evidence, exact_log_evidence : float
        Natural logarithms of the evidence, of the run and of the target.
    efficiency : float
        Effective share of many particles that are never resampled, ``E[w]^2 / E[w^2]``; 0 where the second moment
        does not exist, so that no number of particles has a standard error.
    """

    found: float
    plain: float
    exact: float
    log_evidence: float
    exact_log_evidence: float
    efficiency: float

    @property
    def error(self) -> float:
        """Relative error of the variance."""
        return abs(self.found / self.exact - 1.0)


def weighted_variance(
    plan: Plan, variances: Sequence[float], exponents: Sequence[float], *, rule: str = "trapezoid"
) -> WeightedVariance:
    r"""Variance that a corrector reaches on :math:`\prod_i N(0, c_i)^{\beta_i}`, exactly, on the line.

    Parameters
    ----------
    plan : Plan
        Numbers of a stochastic method.
    variances : sequence of float
        Variances c_i of the factors.
    exponents : sequence of float
        Exponents, with a positive sum and a positive :math:`\sum_i \beta_i / c_i`.
    rule : {"trapezoid", "left"}
        As for :func:`diffnum.particles.product`.

    Returns
    -------
    WeightedVariance

    Raises
    ------
    ValueError
        If the target, or the weights on this plan, have no integral.
    """
    betas, spread = np.asarray(exponents, dtype=float), np.asarray(variances, dtype=float)
    precision = float(np.sum(betas / spread))
    if not precision > 0.0:
        msg = (
            f"exponents={betas.tolist()} of variances {spread.tolist()} add up to the precision {precision:g}, not > 0"
        )
        raise ValueError(msg)
    models = [Gaussian([0.0], c).denoiser(plan.schedule) for c in spread.tolist()]
    weighted = product(models, betas.tolist(), rule=rule)
    combined: Any = weighted.model
    count = 1 + sum(len(step.noises) for step in plan.steps)
    first: Any = weighted.start
    scale, constant = first(np.ones((1, 1)), plan)
    quadratic = np.zeros((count, count))
    rows = _Rows(count)
    start = np.zeros((count, 1))
    start[0] = scale
    node_step, total = -1, len(plan)
    log_constant = float(constant[0])
    events, reply, last = evaluations(plan.for_prediction("noise"), start, noise=rows), None, start
    while True:
        try:
            event = events.send(reply)
        except StopIteration:
            break
        if isinstance(event, State):
            reply, last = None, event.x
            continue
        reply = combined(event.x, event.t)
        if event.step != node_step:
            node_step = event.step
            share, gained = _share(weighted, plan, node_step, total)
            quadratic += share * _form(combined, event.x, event.t)
            log_constant += gained
    share, gained = _share(weighted, plan, total, total)
    if weighted.observe_last:
        quadratic += share * _form(combined, last, float(plan.times[-1]))
    log_constant += gained
    return _law(last[:, 0], quadratic, log_constant, spread, betas, precision)


def _law(
    last: FloatArray,
    quadratic: FloatArray,
    log_constant: float,
    spread: FloatArray,
    betas: FloatArray,
    precision: float,
) -> WeightedVariance:
    left = np.eye(len(last)) - 2.0 * quadratic
    smallest = float(np.linalg.eigvalsh(left)[0])
    if not smallest > 0.0:
        msg = f"plan: the weights have no integral on these steps (least precision {smallest:.3g}); use more steps"
        raise ValueError(msg)
    twice = np.eye(len(last)) - 4.0 * quadratic
    exists = float(np.linalg.eigvalsh(twice)[0]) > 0.0
    log_ratio = 0.5 * float(np.linalg.slogdet(twice)[1]) - float(np.linalg.slogdet(left)[1]) if exists else -np.inf
    exact = 0.5 * (np.log(2 * np.pi / precision) - float(np.sum(betas * np.log(2 * np.pi * spread))))
    return WeightedVariance(
        found=float(last @ np.linalg.solve(left, last)),
        plain=float(last @ last),
        exact=1.0 / precision,
        log_evidence=log_constant - 0.5 * float(np.linalg.slogdet(left)[1]),
        exact_log_evidence=float(exact),
        efficiency=float(np.exp(log_ratio)),
    )


class _Rows:
    """Noise that gives each draw of the run a row of its own: row 0 is the start."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.places: dict[tuple[int, int], int] = {}

    def __call__(self, step: int, index: int, like: Array) -> Array:
        place = self.places.setdefault((step, index), len(self.places) + 1)
        out = np.zeros_like(like)
        out[place] = 1.0
        return out


def _form(combined: Combined, x: FloatArray, t: float) -> FloatArray:
    """Quadratic form of the rate in the normals."""
    parts = combined.parts(x, t)
    total = sum(b * part for b, part in zip(combined.exponents, parts, strict=True))
    form = np.outer(total, total)
    for beta, part in zip(combined.exponents, parts, strict=True):
        form = form - beta * np.outer(part, part)
    return form


def _share(weighted: Any, plan: Plan, step: int, total: int) -> tuple[float, float]:
    """Weight of the rate at a node, and what is added besides: the potential on rates 1 and 0."""
    blank = Node(step, total, plan, np.zeros((2, 1)), None, "noise", np.array([[1.0], [0.0]]), np.zeros(2), {})
    if step == total and not weighted.observe_last:
        return 0.0, 0.0
    one, none = weighted.potential(blank).tolist()
    return one - none, none

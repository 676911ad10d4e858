r"""Weights that correct a combination of scores, from the Fokker-Planck equation.

Noised laws of one process, :math:`dx = f dt + g dW`, obey :math:`\partial_t q = -\nabla \cdot (f q) + \tfrac12 g^2
\Delta q`. Divided by q, with the score s,

.. math:: \partial_t \log q = -\nabla \cdot f - f \cdot s - \tfrac12 g^2 (\nabla \cdot s + s \cdot s) .

Particles that move backwards in time by :math:`dx = b\, dr + \zeta g\, dW` and gain the log-weight :math:`V dr`
have a weighted law with :math:`\partial_r \pi = -\nabla \cdot (b \pi) + \tfrac12 \zeta^2 g^2 \Delta \pi + V \pi`.
Asking for :math:`\pi = \prod_i q_i^{\beta_i}` (not normalised) leaves an equation for V in terms of b. A network gives
scores, not their divergences: the coefficients of the scores in b are those for which no :math:`\nabla \cdot s_i` is
left. All of it is algebra in divergences and inner products, in any dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

__all__ = ["Corrector", "corrector", "fokker_planck_residual", "half_log_snr_factor", "inner"]

G, ZETA = sp.symbols("g zeta", positive=True)
DIVERGENCE = sp.Symbol(r"{\nabla \cdot f}", real=True)


def inner(i: int, j: int) -> sp.Symbol:
    """Symbol of the inner product of two scores, counted from 0 (and printed from 1)."""
    low, high = sorted((i, j))
    return sp.Symbol(rf"\langle s_{{{low + 1}}}, s_{{{high + 1}}} \rangle", real=True)


@dataclass(frozen=True)
class Corrector:
    """Drift and weights that make particles sample a product of powers.

    Parameters
    ----------
    exponents : tuple of symbols
        The beta_i.
    drift : tuple of expressions
        Coefficients of the scores in the reverse drift, beside ``-f``; in g and zeta.
    rate : expression
        Growth of the log-weight a unit of reverse time: g, the exponents, inner products of scores, :data:`DIVERGENCE`.
    """

    exponents: tuple[Any, ...]
    drift: tuple[Any, ...]
    rate: Any


def corrector(count: int) -> Corrector:
    """Derive the corrector of a product of ``count`` powers.

    Raises
    ------
    ValueError
        If the divergences of the scores cannot be removed.
    """
    beta = sp.symbols(f"beta1:{count + 1}", real=True)
    along = sp.symbols(f"a1:{count + 1}", real=True)
    bend = sp.symbols(f"div_s1:{count + 1}", real=True)
    carried = sp.symbols(f"f_s1:{count + 1}", real=True)
    grown = sum(
        b * (DIVERGENCE + p - G**2 * (-d - inner(i, i)) * sp.Rational(-1, 2))
        for i, (b, p, d) in enumerate(zip(beta, carried, bend, strict=True))
    )
    squared = sum(beta[i] * beta[j] * inner(i, j) for i in range(count) for j in range(count))
    divergence = -DIVERGENCE + sum(a * d for a, d in zip(along, bend, strict=True))
    against = -sum(b * p for b, p in zip(beta, carried, strict=True))
    against += sum(along[i] * beta[j] * inner(i, j) for i in range(count) for j in range(count))
    spread = sum(b * d for b, d in zip(beta, bend, strict=True)) + squared
    rate = sp.expand(grown + divergence + against - sp.Rational(1, 2) * ZETA**2 * G**2 * spread)
    found = sp.solve([rate.coeff(d) for d in bend], along, dict=True)
    if len(found) != 1:
        msg = f"count={count}: the divergences of the scores cannot be removed in one way"
        raise ValueError(msg)
    drift = tuple(sp.factor(found[0][a]) for a in along)
    return Corrector(beta, drift, sp.expand(rate.subs(found[0])))


def half_log_snr_factor() -> Any:
    r""":math:`g^2 dr / d\lambda` in units of sigma^2, from :math:`x_t = \alpha x_0 + \sigma \epsilon`; it is 2."""
    t = sp.Symbol("t", positive=True)
    alpha, sigma = sp.Function("alpha")(t), sp.Function("sigma")(t)
    squared = sp.diff(sigma**2, t) - 2 * sigma**2 * sp.diff(sp.log(alpha), t)
    clock = -sp.diff(sp.log(alpha / sigma), t)  # reverse time runs with the half-log-SNR
    return sp.simplify(squared / clock / sigma**2)


def fokker_planck_residual(found: Corrector, *, rate: Any = None) -> Any:
    """What is left of the weighted Fokker-Planck equation on Gaussian factors on the line, divided by the product.

    Each factor has a mean and a variance that the process moves: the derivation, done over again with densities
    instead of symbols. Zero for a right corrector.

    Parameters
    ----------
    found : Corrector
        What is tried.
    rate : expression, optional
        Another rate in its place, to see that a wrong one is noticed.
    """
    x, pull = sp.symbols("x k", real=True)
    count = len(found.exponents)
    means = sp.symbols(f"m1:{count + 1}", real=True)
    variances = sp.symbols(f"v1:{count + 1}", positive=True)
    logs = [-((x - m) ** 2) / (2 * v) - sp.log(2 * sp.pi * v) / 2 for m, v in zip(means, variances, strict=True)]
    scores = [sp.diff(log, x) for log in logs]
    flow = -pull * x  # f; then m' = -k m and v' = -2 k v + g^2 forwards in time
    log_product = sum(b * log for b, log in zip(found.exponents, logs, strict=True))
    backwards = sum(
        sp.diff(log_product, m) * pull * m + sp.diff(log_product, v) * (2 * pull * v - G**2)
        for m, v in zip(means, variances, strict=True)
    )
    move = -flow + sum(a * s for a, s in zip(found.drift, scores, strict=True))
    slope = sp.diff(log_product, x)
    growth = found.rate if rate is None else rate
    values = {DIVERGENCE: sp.diff(flow, x)}
    values |= {inner(i, j): scores[i] * scores[j] for i in range(count) for j in range(i, count)}
    transported = -sp.diff(move, x) - move * slope
    diffused = ZETA**2 * G**2 * (sp.diff(slope, x) + slope**2) / 2
    return sp.simplify(backwards - transported - diffused - growth.subs(values))

r"""Sums over past evaluations in closed form: no fraction in the ratios of the steps is ever added up.

The B-series of a multistep row needs :math:`S_p = \sum_j b_j \theta(u_j)^p` over past nodes at free ratios u_j, whose
terms are rational functions of all of them. As :math:`\theta(u)^p = \sum_i c_{p,i} u^i`, the power sums
:math:`P_i = \sum_j b_j u_j^i` suffice, and

* for any weights, those from :math:`P_r` on, r the number of nodes, follow from the first by
  :math:`\sum_k (-1)^k e_k(u)\, P_{i-k} = 0`, e_k the elementary symmetric polynomials of the nodes;
* the first are the moments of the kernel if and only if each weight is the integral of its Lagrange polynomial,
  :math:`b_j \prod_{l \ne j} (u_j - u_l) = \int K(s) \prod_{l \ne j} (s - u_l)\, ds`, which is looked at, weight by
  weight. Only where it does not hold are the first sums added up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Any

from diffnum.derivation.algebra.series import PowerSeries, SeriesRing

__all__ = ["FREE", "PastSums"]

FREE = "c"
"""Symbol of a node; the ring of a :class:`PastSums` has it."""


def _product(roots: Sequence[Any]) -> list[Any]:
    """Coefficients of the product of ``s - u`` over all roots u, lowest power first."""
    powers: list[Any] = [Fraction(1)]
    for u in roots:
        raised, scaled = [0, *powers], [u * c for c in powers]
        powers = [r - s for r, s in zip(raised, [*scaled, 0], strict=True)]
    return powers


def _times(factors: Sequence[Any]) -> Any:
    return reduce(lambda a, b: a * b, factors, Fraction(1))


@dataclass(frozen=True)
class PastSums:
    """Sums over the past evaluations of one row.

    Parameters
    ----------
    past : sequence of (weight, node)
        Weights and nodes of past evaluations, in steps of the clock.
    inside : sequence of (weight, node)
        Weights and nodes of the stages of this step.
    moments : callable
        Moment of the kernel of the row, in the unit of the weights, by power.
    theta : PowerSeries
        Position of the node :data:`FREE` in the clock s.
    ring : SeriesRing
        Ring of all of these.
    highest : int
        Order up to which sums are wanted: S_p is known up to ``h**(highest - p)``.
    """

    past: Sequence[tuple[PowerSeries, Any]]
    inside: Sequence[tuple[PowerSeries, Any]]
    moments: Callable[[int], PowerSeries]
    theta: PowerSeries
    ring: SeriesRing
    highest: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sums", self._first())
        # sum_k signed[k] P_{i-k} = 0, signed[0] = 1
        object.__setattr__(self, "_signed", _product([node for _, node in self.past])[::-1])

    def _first(self) -> list[Any]:
        every = [*self.past, *self.inside]
        moments = [self.moments(k) for k in range(len(every))]
        if self._integrate_polynomials(every, moments):
            return [
                moment - sum((weight * node**i for weight, node in self.inside), 0 * moment)
                for i, moment in enumerate(moments)
            ]
        zero = 0 * self.ring.h
        return [sum((weight * node**i for weight, node in self.past), zero) for i in range(len(self.past))]

    def _integrate_polynomials(self, every: Sequence[tuple[PowerSeries, Any]], moments: Sequence[PowerSeries]) -> bool:
        """Whether all weights are the integrals of their Lagrange polynomials."""
        for j, (weight, node) in enumerate(every):
            others = [u for i, (_, u) in enumerate(every) if i != j]
            distance = _times([node - u for u in others])
            integral = sum((c * m for c, m in zip(_product(others), moments, strict=True)), 0 * self.ring.h)
            if not distance or weight * distance - integral != 0:
                return False
        return True

    def power_sum(self, i: int) -> PowerSeries:
        """P_i, the sum of ``b_j u_j**i``."""
        sums, signed = self._sums, self._signed  # type: ignore[attr-defined]
        while len(sums) <= i:
            n = len(sums)
            sums.append(-sum((signed[k] * sums[n - k] for k in range(1, len(signed))), 0 * self.ring.h))
        value: PowerSeries = sums[i]
        return value

    def __call__(self, power: int) -> PowerSeries:
        """S_p, the sum of ``b_j theta(u_j)**p``."""
        known = self.highest + 1 - power
        total = (0 * self.ring.h).truncated(known)
        for i, coefficient in enumerate(self.ring.by_powers(FREE, self.theta**power)):
            if coefficient and coefficient.valuation < known:
                total = total + coefficient.stripped() * self.power_sum(i).truncated(known - coefficient.valuation)
        return total.truncated(known)

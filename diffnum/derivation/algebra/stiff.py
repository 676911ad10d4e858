r"""Stiff order conditions of explicit exponential Runge-Kutta methods, to order 4.

For :math:`u' = L u + M(u)` a classical order may hide constants that grow with L. The conditions of Hochbruck and
Ostermann hide none. With :math:`z = hL`, defects
:math:`\psi_{k,i}(z) = \sum_j a_{ij} c_j^{k-1}/(k-1)! - c_i^k \varphi_k(c_i z)` and arbitrary operators J and K:

=====  ==================================================================  =====
order  condition                                                           name
=====  ==================================================================  =====
k      :math:`\sum_i b_i c_i^{k-1}/(k-1)! = \varphi_k(z)`                  I_k
1 + m  :math:`\sum_i b_i J \psi_{m,i} = 0`, m = 2, 3                       D_m
4      :math:`\sum_i b_i J \sum_j a_{ij} J \psi_{2,j} = 0`                 DD
4      :math:`\sum_i b_i c_i K \psi_{2,i} = 0`                             CD
=====  ==================================================================  =====

As J does not commute with L, a sum such as D_m must vanish for *independent* arguments of :math:`b_i` and
:math:`\psi_{m,i}`. A method converges with order p when all conditions below order p hold and those of order p hold
with :math:`b_i(0)` and at z = 0 (the weak form). In diffusion sampling L is the number -1 or +1; the conditions then
say which methods stay accurate in long steps.

References
----------
Hochbruck and Ostermann, SIAM J. Numer. Anal. 43 (2005) 1069-1090.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import factorial
from typing import Any

from diffnum.derivation.algebra.series import PowerSeries, SeriesRing
from diffnum.derivation.algebra.symbols import Exact, PartsKernel, Symbols, as_fraction
from diffnum.tableau import Step

__all__ = ["StiffCondition", "stiff_conditions", "stiff_order"]


@dataclass(frozen=True)
class StiffCondition:
    """One condition, decided.

    Parameters
    ----------
    name : str
        As in the table of this module.
    order : int
        Order that needs it.
    strict : bool
        Whether it holds for all z.
    weak : bool
        Whether it holds with b_i(0), and the quadrature conditions at z = 0.
    """

    name: str
    order: int
    strict: bool
    weak: bool


def stiff_order(step: Step) -> int:
    """Largest p, 4 at most, such that the conditions below p hold strictly and those of order p weakly.

    Parameters
    ----------
    step : Step
        With exact weights: ``derive(name).step``.
    """
    conditions = stiff_conditions(step)
    order = 0
    for p in range(1, 5):
        if not all(c.strict for c in conditions if c.order < p) or not all(c.weak for c in conditions if c.order == p):
            break
        order = p
    return order


def stiff_conditions(step: Step) -> tuple[StiffCondition, ...]:
    """All conditions up to order 4 on a one-step method.

    Parameters
    ----------
    step : Step
        With exact weights, in data or noise prediction.

    Raises
    ------
    ValueError
        If the weights are not exact functions of an exponential kernel, or the step uses a history.
    """
    symbols = _field(step)
    names = [f"k{i}" for i in range(1, step.nfe + 1)]
    used = {source for _, node, row in step.rows() if node is not None for source in row}
    if not used <= {"x", *names}:
        msg = f"step uses {sorted(used - {'x', *names})}: stiff conditions are for one-step methods"
        raise ValueError(msg)
    nodes = [as_fraction(stage.node) for stage in step.stages]
    zero = symbols.constant(0)

    def weights(row: Any) -> list[Exact]:
        """Coefficients b_i or a_ij: weights without the factor h."""
        return [(zero + row.get(name, 0)) / symbols.h for name in names]

    b, a = weights(step.x), [weights(stage.value) for stage in step.stages]
    return tuple(_conditions(symbols, nodes, a, b))


def _field(step: Step) -> Symbols:
    """Field of the weights."""
    found = next((w.symbols for _, _, row in step.rows() for w in row.values() if isinstance(w, Exact)), None)
    if found is None or not found.rate:
        msg = "step has no exact weights of an exponential kernel: take derive(name).step in data or noise form"
        raise ValueError(msg)
    return found


def _conditions(
    symbols: Symbols, nodes: Sequence[Fraction], a: Sequence[Sequence[Exact]], b: Sequence[Exact]
) -> Iterator[StiffCondition]:
    kernel = PartsKernel(symbols)
    zero = symbols.constant(0)

    def defect(row: Sequence[Exact], k: int, node: Fraction) -> Exact:
        """sum_j row_j c_j^(k-1)/(k-1)! - node^k phi_k(node z); the moments carry a factor h."""
        total = sum((w * c ** (k - 1) for w, c in zip(row, nodes, strict=True)), zero)
        return (total - (kernel.moment(k - 1, node) / symbols.h if node else 0)) / factorial(k - 1)

    for k in range(1, 5):
        quadrature = defect(b, k, Fraction(1))
        yield StiffCondition(f"I_{k}", k, quadrature == 0, _at_zero(quadrature) == 0)
    defects = {k: [defect(row, k, node) for row, node in zip(a, nodes, strict=True)] for k in (1, 2, 3)}
    # consistency of the stages counts as a condition of order 2
    consistent = all(d == 0 for d in defects[1])
    yield StiffCondition("D_1", 2, consistent, all(_at_zero(d) == 0 for d in defects[1]))
    at_zero = [_at_zero(w) for w in b]
    spans = _functionals(b)
    for m in (2, 3):
        strict = all(_combined(f, defects[m], zero) == 0 for f in spans)
        yield StiffCondition(f"D_{m}", m + 1, strict, _combined(at_zero, defects[m], zero) == 0)

    def nested(outer: Sequence[Any]) -> bool:
        through = [sum((w * row[j] for w, row in zip(outer, a, strict=True)), zero) for j in range(len(nodes))]
        return all(_combined(f, defects[2], zero) == 0 for f in _functionals(through))

    yield StiffCondition("DD", 4, all(nested(f) for f in spans), nested(at_zero))
    shifted = [[w * c for w, c in zip(f, nodes, strict=True)] for f in spans]
    weak = _combined([w * c for w, c in zip(at_zero, nodes, strict=True)], defects[2], zero) == 0
    yield StiffCondition("CD", 4, all(_combined(f, defects[2], zero) == 0 for f in shifted), weak)


def _combined(factors: Sequence[Fraction], functions: Sequence[Exact], zero: Exact) -> Exact:
    return sum((w * f for w, f in zip(factors, functions, strict=True)), zero)


def _functionals(functions: Sequence[Exact]) -> list[list[Fraction]]:
    """Vectors that span all values (b_1(z), ..., b_s(z)): coefficients over the monomials in h and E.

    The monomials are linearly independent functions, so that ``sum_i b_i(z) P_i = 0`` for all z if and only if it
    holds for each.
    """
    ring = functions[0].symbols.field.ring
    common = ring.one
    for f in functions:
        common = common.lcm(f.value.denom)
    numerators = [f.value.numer * common.exquo(f.value.denom) for f in functions]
    monomials = {m for n in numerators for m in n.monoms()}
    return [[as_fraction(n.coeff(ring.from_dict({m: 1}))) for n in numerators] for m in sorted(monomials)]


def _at_zero(function: Exact) -> Fraction:
    """Value at h = 0.

    Raises
    ------
    ValueError
        If the function has a pole there.
    """
    symbols = function.symbols
    ring = SeriesRing(12)
    names = [str(s) for s in symbols.field.symbols]
    rate = Fraction(symbols.rate or 0, symbols.root)
    exponential = sum((ring.h**k * (rate**k / factorial(k)) for k in range(1, 12)), ring.constant(1))
    values = {"h": ring.h, "E": exponential}

    def evaluate(polynomial: Any) -> PowerSeries:
        total = 0 * ring.h
        for powers, coefficient in polynomial.terms():
            term = ring.constant(as_fraction(coefficient))
            for name, power in zip(names, powers, strict=True):
                for _ in range(power):
                    term = term * values[name]
            total = total + term
        return total

    if not function.value.numer:
        return Fraction(0)
    quotient = evaluate(function.value.numer) / evaluate(function.value.denom)
    if quotient.valuation < 0:
        msg = f"function={function} has a pole at h = 0, so it is no weight of a method"
        raise ValueError(msg)
    return as_fraction(quotient[0])

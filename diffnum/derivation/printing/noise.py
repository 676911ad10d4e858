"""Weights on the reverse equation in print: short for readers, and in phi functions for programs."""

from __future__ import annotations

from math import factorial
from typing import Any

import sympy

from diffnum.derivation.algebra.reverse import SquareRoot
from diffnum.derivation.algebra.symbols import Exact, as_fraction, phi

__all__ = ["programmed", "typeset"]

_BOTH = sympy.Symbol(r"(1{+}\eta^{2})")
"""1 + tau^2 as one symbol, which keeps formulas short; the name is what LaTeX prints."""


def _meaning(name: str, rate: int | None) -> sympy.Expr:
    """A moment in phi functions."""
    _, k, numerator, denominator = name.split("_")
    h, both = sympy.Symbol("h"), _BOTH
    c, order = sympy.Rational(int(numerator), int(denominator)), int(k)
    if rate is None:
        return sympy.Symbol(f"M_{order}")
    power = c ** (order + 1) * factorial(order) * both * h
    argument = -c * both * h if rate == -1 else c * h
    return power * phi(order + 1, argument)


def programmed(weight: Any, closed: sympy.Expr) -> sympy.Expr:
    """Weight with every difference of exponentials written ``-z phi_1(z)``, which keeps its digits.

    Parameters
    ----------
    weight : Exact, SquareRoot or number
        Weight of an evaluation, of the state or of a draw.
    closed : sympy expression
        The same as :func:`typeset` has it; so it stays where it has formal moments.
    """
    return _in_phi(weight, closed).xreplace({_BOTH: 1 + sympy.Symbol("tau") ** 2})


def _in_phi(weight: Any, closed: sympy.Expr) -> sympy.Expr:
    if isinstance(weight, SquareRoot):
        return _steady(weight.factor) * sympy.sqrt(_steady(weight.radicand))
    formal = isinstance(weight, Exact) and any(str(s).startswith("moment_") for s in _symbols_of(weight))
    return _steady(weight) if isinstance(weight, Exact) and not formal else closed


def _symbols_of(weight: Exact) -> set[sympy.Symbol]:
    """Symbols in a weight."""
    return set(weight.value.as_expr().free_symbols)


def _steady(weight: Exact) -> sympy.Expr:
    """Quotient of two polynomials in exponentials, each without cancellation."""
    numerator, denominator = (_factored(p, weight) for p in (weight.value.numer, weight.value.denom))
    return numerator / denominator


def _factored(polynomial: Any, weight: Exact) -> sympy.Expr:
    """Polynomial as it is where it has one or two terms in the exponentials, else factor by factor."""
    whole = _difference(polynomial, weight)
    if whole is not None:
        return whole
    constant, factors = polynomial.factor_list()
    parts = [_difference(f, weight) for f, _ in factors]
    plain = [f.as_expr().xreplace(dict(weight.symbols.meaning)) for f, _ in factors]
    powers = [(p if q is None else q) ** n for p, q, (_, n) in zip(plain, parts, factors, strict=True)]
    return sympy.Mul(sympy.Rational(int(constant.numerator), int(constant.denominator)), *powers)


def _difference(polynomial: Any, weight: Exact) -> sympy.Expr | None:
    """``c (A - B)`` for products A, B of exponentials, as ``-c A z phi_1(z)`` with ``z = log(B/A)``; else None."""
    names = [str(s) for s in polynomial.ring.symbols]
    meaning = weight.symbols.meaning
    places = [i for i, name in enumerate(names) if name in "ET"]
    groups: dict[tuple[int, ...], Any] = {}
    for powers, coefficient in polynomial.terms():
        rest = tuple(0 if i in places else p for i, p in enumerate(powers))
        group = groups.setdefault(tuple(powers[i] for i in places), {})
        group[rest] = coefficient
    coefficients = {k: polynomial.ring.from_dict(v) for k, v in groups.items()}
    exponents = [meaning[polynomial.ring.symbols[i]].exp for i in places]

    def exponent(powers: tuple[int, ...]) -> sympy.Expr:
        return sympy.Add(*(p * z for p, z in zip(powers, exponents, strict=True)))

    if len(coefficients) != 2 or sum(coefficients.values()) != 0:
        return None
    first, second = sorted(coefficients)
    z = exponent(second) - exponent(first)
    return -coefficients[first].as_expr() * sympy.exp(exponent(first)) * z * phi(1, z)


def typeset(weight: Any, rate: int | None) -> sympy.Expr:
    """Weight as an expression, its moments in phi functions and 1 + tau^2 one symbol.

    Parameters
    ----------
    weight : Exact, SquareRoot or number
        Weight of an evaluation, of the state or of a draw.
    rate : {-1, 1} or None
        Growth rate of the kernel; None where its moments are symbols.
    """
    if isinstance(weight, SquareRoot):
        return weight.as_expr()
    if not isinstance(weight, Exact):
        value = as_fraction(weight)
        return sympy.Rational(value.numerator, value.denominator)
    rational = weight.value.as_expr()
    formal = [s for s in rational.free_symbols if str(s).startswith("moment_")]
    expression = sympy.factor(rational) if formal else sympy.expand(rational)
    moments = {s: _meaning(str(s), rate) for s in formal}
    return expression.xreplace(dict(weight.symbols.meaning)).xreplace(moments)

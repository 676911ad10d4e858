r"""Quotients of polynomials whose denominators are kept as products of irreducible polynomials.

The denominators of weights and order conditions are products of a few small polynomials: h, the nodes u_j, their
differences, ``1 - E``. A sum needs the larger power of each, a product adds powers, and what cancels is found by
dividing a numerator by one of these factors. So no greatest common divisor of two large polynomials is ever computed;
polynomials are factored where something is divided by them, once each.

A quotient is zero if and only if its numerator is the zero polynomial, whatever has been cancelled.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import gcd
from operator import add
from typing import Any

import sympy
from sympy.polys.rings import PolyElement, PolyRing

__all__ = ["Quotient", "Quotients"]

Split = tuple[int, tuple[tuple[Any, int], ...]]
"""Constant and irreducible factors with their powers."""


def _remade(ring: Any) -> tuple[Any, ...]:
    """What makes a ring of sympy again: its own way to a pickle stops at what it keeps for speed."""
    return type(ring), (ring.symbols, ring.domain, ring.order)


copyreg.pickle(PolyRing, _remade)


class Quotients:
    """The field of rational functions in some symbols over the rational numbers.

    Parameters
    ----------
    symbols : sequence of sympy symbols
        The variables.
    """

    def __init__(self, symbols: Sequence[Any]) -> None:
        self.ring = PolyRing(tuple(symbols), sympy.ZZ)
        self.symbols = self.ring.symbols
        self.zero = Quotient(self, self.ring.zero, 1, {})
        self.one = Quotient(self, self.ring.one, 1, {})
        self.gens = tuple(Quotient(self, generator, 1, {}) for generator in self.ring.gens)
        self._splits: dict[Any, Split] = {}
        self._divisions: dict[Any, Callable[[Any], Any]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (tuple(self.symbols),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quotients) and self.symbols == other.symbols

    def __hash__(self) -> int:
        return hash(self.symbols)

    def __call__(self, value: Any) -> Quotient:
        """Rational number, or polynomial of the ring, as an element."""
        if isinstance(value, Quotient):
            return value
        if isinstance(value, PolyElement):
            return Quotient(self, value, 1, {})
        number = Fraction(int(value.numerator), int(value.denominator))
        return Quotient(self, self.ring.ground_new(number.numerator), number.denominator, {})

    def split(self, polynomial: Any) -> Split:
        """Constant and irreducible factors of a polynomial that is not zero; leading coefficients are positive."""
        found = self._splits.get(polynomial)
        if found is None:
            found = self._splits[polynomial] = self._factored(polynomial)
        return found

    def _factored(self, polynomial: Any) -> Split:
        factors: dict[Any, int] = {}
        # factors that have been met are found by division, which is cheaper than to look for them
        for known in tuple(self._divisions):
            polynomial, power = self.reduced(polynomial, known, None)
            if power:
                factors[known] = power
        constant, rest = polynomial.factor_list() if not polynomial.is_ground else (polynomial.LC, ())
        for factor, power in rest:
            if factor.LC < 0:
                factor, constant = -factor, -constant if power % 2 else constant
            factors[factor] = factors.get(factor, 0) + power
            self._division(factor)
        return int(constant), tuple(factors.items())

    def reduced(self, polynomial: Any, factor: Any, most: int | None) -> tuple[Any, int]:
        """Polynomial without a factor, and how often it had it; no more often than ``most``."""
        divide, power = self._division(factor), 0
        while polynomial and (most is None or power < most):
            divided = divide(polynomial)
            if divided is None:
                break
            polynomial, power = divided, power + 1
        return polynomial, power

    def _division(self, factor: Any) -> Callable[[Any], Any]:
        """Division by a factor: the quotient, or None where it does not divide."""
        found = self._divisions.get(factor)
        if found is None:
            place = next((i for i in range(len(self.symbols)) if _is_monic_in(factor, i)), None)
            found = _long_division(factor) if place is None else _division_by_root(factor, place)
            self._divisions[factor] = found
        return found

    def cancelled(self, numerator: Any, content: int, factors: Mapping[Any, int]) -> Quotient:
        """Quotient by ``content`` and a product of factors, any of which may cancel."""
        if not numerator:
            return self.zero
        left = {}
        for factor, power in factors.items():
            numerator, taken = self.reduced(numerator, factor, power)
            if power > taken:
                left[factor] = power - taken
        return self.of_content(numerator, content, left)

    def of_content(self, numerator: Any, content: int, factors: Mapping[Any, int]) -> Quotient:
        """Quotient whose polynomials are coprime, though its numbers may not be."""
        if content != 1:
            common = content
            for coefficient in numerator.values():
                common = gcd(common, int(coefficient))
                if common == 1:
                    break
            if common != 1:
                numerator, content = numerator.quo_ground(common), content // common
        return Quotient(self, numerator, content, factors)


def _is_monic_in(factor: Any, place: int) -> bool:
    """Whether a polynomial is ``+-x + rest`` in one of its variables, which the rest does not have."""
    terms = [(powers, c) for powers, c in factor.items() if powers[place]]
    return len(terms) == 1 and sum(terms[0][0]) == 1 and abs(terms[0][1]) == 1


def _division_by_root(factor: Any, place: int) -> Callable[[Any], Any]:
    """Division by ``+-(x - root)``, by Horner's rule."""
    ring = factor.ring
    variable = ring.gens[place]
    sign = int(factor[next(iter(variable))])
    root = variable - factor if sign == 1 else variable + factor

    def by_variable(polynomial: Any) -> Any:
        if not all(powers[place] for powers in polynomial):
            return None
        return ring.from_dict({_lowered(powers, place): sign * c for powers, c in polynomial.items()})

    def by_difference(polynomial: Any) -> Any:
        columns: dict[int, dict[Any, Any]] = {}
        for powers, coefficient in polynomial.items():
            columns.setdefault(powers[place], {})[(*powers[:place], 0, *powers[place + 1 :])] = coefficient
        degree = max(columns)
        if degree == 0:
            return None
        quotient: dict[Any, Any] = {}
        carry: dict[Any, Any] = {}
        shifts = list(root.items())
        for power in range(degree, -1, -1):
            following = dict(columns.get(power, ()))
            for powers, coefficient in carry.items():
                for shift, factor_ in shifts:
                    key = tuple(map(add, powers, shift))
                    value = following.get(key, 0) + coefficient * factor_
                    if value:
                        following[key] = value
                    else:
                        following.pop(key, None)
            carry = following
            if power:
                quotient |= {(*p[:place], power - 1, *p[place + 1 :]): sign * c for p, c in carry.items()}
        return None if carry else ring.from_dict(quotient)

    return by_difference if root else by_variable


def _lowered(powers: tuple[int, ...], place: int) -> tuple[int, ...]:
    return (*powers[:place], powers[place] - 1, *powers[place + 1 :])


def _long_division(factor: Any) -> Callable[[Any], Any]:
    """Division by any polynomial."""
    degrees = factor.degrees()

    def divide(polynomial: Any) -> Any:
        if any(d > e for d, e in zip(degrees, polynomial.degrees(), strict=True)):
            return None
        quotient, rest = polynomial.div(factor)
        return None if rest else quotient

    return divide


class Quotient:
    """A rational function; supports ``+ - * /`` among elements of one field, integer powers and ``==``.

    Parameters
    ----------
    field : Quotients
        Field that it belongs to.
    numer : sympy PolyElement
        Numerator, with whole coefficients.
    content : int
        Positive number in the denominator.
    factors : mapping of PolyElement to int
        Irreducible polynomials in the denominator, with their powers.
    """

    __slots__ = ("_denom", "content", "factors", "field", "numer")

    def __init__(self, field: Quotients, numer: Any, content: int, factors: Mapping[Any, int]) -> None:
        self.field, self.numer, self.content, self.factors = field, numer, content, factors
        self._denom: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self.numer, self.content, dict(self.factors))

    @property
    def denom(self) -> Any:
        """Denominator, multiplied out; its leading coefficient is positive."""
        if self._denom is None:
            self._denom = _product(self.field.ring.one, self.factors).mul_ground(self.content)
        return self._denom

    def __add__(self, other: Quotient) -> Quotient:
        if not other.numer:
            return self
        if not self.numer:
            return other
        field = self.field
        a, b = self.factors, other.factors
        common = gcd(self.content, other.content)
        left, right = self.numer, other.numer
        if self.content != common or other.content != common:
            left = left.mul_ground(other.content // common)
            right = right.mul_ground(self.content // common)
        content = self.content // common * other.content
        if a == b:
            return field.cancelled(left + right, content, a)
        left = _product(left, {p: n - a.get(p, 0) for p, n in b.items() if n > a.get(p, 0)})
        right = _product(right, {p: n - b.get(p, 0) for p, n in a.items() if n > b.get(p, 0)})
        numer = left + right
        if not numer:
            return field.zero
        factors = {**b, **a}
        for factor in a.keys() | b.keys():
            # a factor of one of the two denominators, or of unequal powers, cannot cancel
            power = max(a.get(factor, 0), b.get(factor, 0))
            if a.get(factor, 0) == b.get(factor, 0):
                numer, taken = field.reduced(numer, factor, power)
                power -= taken
            if power:
                factors[factor] = power
            else:
                del factors[factor]
        return field.of_content(numer, content, factors)

    def __neg__(self) -> Quotient:
        return Quotient(self.field, -self.numer, self.content, self.factors)

    def __sub__(self, other: Quotient) -> Quotient:
        return self + (-other)

    def __mul__(self, other: Quotient) -> Quotient:
        field = self.field
        if not self.numer or not other.numer:
            return field.zero
        left, right, factors = self.numer, other.numer, {}
        for factor, power in self.factors.items():
            right, taken = field.reduced(right, factor, power)
            if power > taken:
                factors[factor] = power - taken
        for factor, power in other.factors.items():
            left, taken = field.reduced(left, factor, power)
            if power > taken:
                factors[factor] = factors.get(factor, 0) + power - taken
        return field.of_content(left * right, self.content * other.content, factors)

    def inverse(self) -> Quotient:
        """Reciprocal.

        Raises
        ------
        ZeroDivisionError
            If it is zero.
        """
        if not self.numer:
            msg = "division by the zero function"
            raise ZeroDivisionError(msg)
        constant, factors = self.field.split(self.numer)
        sign = 1 if constant > 0 else -1
        numer = _product(self.field.ring.one, self.factors).mul_ground(sign * self.content)
        return self.field.of_content(numer, abs(constant), dict(factors))

    def __truediv__(self, other: Quotient) -> Quotient:
        return self * other.inverse()

    def __rtruediv__(self, other: int) -> Quotient:
        return self.inverse() * self.field(Fraction(other))

    def __pow__(self, power: int) -> Quotient:
        base = self if power >= 0 else self.inverse()
        power = abs(power)
        factors = {factor: n * power for factor, n in base.factors.items()} if power else {}
        return Quotient(self.field, base.numer**power if power else self.field.ring.one, base.content**power, factors)

    def __bool__(self) -> bool:
        return bool(self.numer)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int):
            other = self.field(Fraction(other))
        return NotImplemented if not isinstance(other, Quotient) else not (self - other).numer

    def __hash__(self) -> int:
        return hash((self.numer, self.content, frozenset(self.factors.items())))

    def __repr__(self) -> str:
        if self.denom == 1:
            return str(self.numer)
        upper, lower = (str(p) for p in (self.numer, self.denom))
        upper = f"({upper})" if len(self.numer) > 1 else upper
        return f"{upper}/{lower if lower.isidentifier() or lower.isdigit() else f'({lower})'}"

    @property
    def is_constant(self) -> bool:
        """Whether it is a rational number."""
        return not self.factors and bool(self.numer.is_ground)

    def over(self, numerator: Any) -> Quotient:
        """Another numerator over the same denominator."""
        return self.field.cancelled(numerator, self.content, self.factors)

    def vanishes_at(self, values: Mapping[str, Fraction]) -> bool:
        """Whether it is identically zero in the other variables where some have values."""
        names = [str(symbol) for symbol in self.field.symbols]
        totals: dict[tuple[int, ...], Fraction] = {}
        for powers, coefficient in self.numer.items():
            term, rest = Fraction(int(coefficient)), []
            for name, power in zip(names, powers, strict=True):
                term *= values[name] ** power if name in values else 1
                rest.append(0 if name in values else power)
            totals[tuple(rest)] = totals.get(tuple(rest), Fraction(0)) + term
        return not any(totals.values())

    def as_expr(self) -> sympy.Expr:
        """Sympy expression, numerator and denominator multiplied out."""
        value: sympy.Expr = self.numer.as_expr() / self.denom.as_expr()
        return value

    def factored(self) -> sympy.Expr:
        """Sympy expression, numerator and denominator factor by factor."""
        if not self.numer:
            return sympy.Integer(0)
        constant, factors = self.field.split(self.numer)
        powers = [*factors, *((factor, -power) for factor, power in self.factors.items())]
        number = sympy.Rational(constant, self.content)
        product = sympy.Mul(*(f.as_expr() ** n for f, n in powers))
        # sympy would multiply a sum out, which reads well where only signs change
        return sympy.Mul(number, product, evaluate=False) if product.is_Add and abs(number) != 1 else number * product


def _product(polynomial: Any, factors: Mapping[Any, int]) -> Any:
    """Polynomial times powers of others."""
    for factor, power in factors.items():
        for _ in range(power):
            polynomial = polynomial * factor
    return polynomial

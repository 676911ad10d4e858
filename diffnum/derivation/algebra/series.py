"""Truncated power series in the step ``h``, with exact coefficients; shipped rules run on them unchanged.

Coefficients are rational numbers or rational functions of the ratios u_1, u_2, ..., so that a statement such as "the
residual is O(h^4) on every grid" is decided, not sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import factorial
from typing import Any

import sympy

from diffnum.derivation.algebra.quotients import Quotients
from diffnum.derivation.algebra.symbols import as_fraction
from diffnum.forms import ExponentialKernel

__all__ = ["PowerSeries", "SeriesKernel", "SeriesRing", "TimeSeriesKernel"]


@dataclass(frozen=True, eq=False)
class SeriesRing:
    """Series in ``h`` with ``terms`` coefficients over the field of rational functions in ``names``.

    Parameters
    ----------
    terms : int
        Coefficients kept, counted from the leading one.
    names : tuple of str
        Symbols of the coefficients; none for plain rational numbers.
    """

    terms: int
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.terms < 1:
            msg = f"terms={self.terms} is too few: keep at least one coefficient"
            raise ValueError(msg)
        field: Any = Quotients([sympy.Symbol(n) for n in self.names]) if self.names else sympy.QQ
        object.__setattr__(self, "_field", field)

    def coefficient(self, value: Any) -> Any:
        """Rational number as a coefficient."""
        number = as_fraction(value)
        if self.names:
            return self._field(number)  # type: ignore[attr-defined]
        return sympy.QQ(number.numerator, number.denominator)

    def constant(self, value: Any) -> PowerSeries:
        """Rational number (exactly, floats included) as a series."""
        return self._of(self.coefficient(value))

    def symbol(self, name: str) -> PowerSeries:
        """Symbol of the coefficients as a constant series."""
        return self._of(self._field.gens[self.names.index(name)])  # type: ignore[attr-defined]

    def _of(self, leading: Any, power: int = 0) -> PowerSeries:
        zero = leading - leading
        return PowerSeries(self, power, (leading, *(zero,) * (self.terms - 1)))

    def by_powers(self, name: str, value: PowerSeries) -> list[PowerSeries]:
        """Coefficients of a polynomial in one of the symbols, lowest power first.

        Raises
        ------
        ValueError
            If the symbol stands in a denominator.
        """
        place = self.names.index(name)
        parts: dict[int, list[dict[Any, Any]]] = {}
        for i, coefficient in enumerate(value.coefficients):
            if any(powers[place] for factor in coefficient.factors for powers in factor):
                msg = f"value={value} is no polynomial in {name}"
                raise ValueError(msg)
            for powers, number in coefficient.numer.terms():
                rest = tuple(0 if j == place else p for j, p in enumerate(powers))
                parts.setdefault(powers[place], [{} for _ in value.coefficients])[i][rest] = number
        zero: list[dict[Any, Any]] = [{} for _ in value.coefficients]

        def series(columns: list[dict[Any, Any]]) -> PowerSeries:
            numbers = [
                c.over(c.numer.ring.from_dict(column)) for c, column in zip(value.coefficients, columns, strict=True)
            ]
            return PowerSeries(self, value.power, numbers)

        return [series(parts.get(k, zero)) for k in range(max(parts, default=-1) + 1)]

    @property
    def h(self) -> PowerSeries:
        """The step."""
        return self._of(self.coefficient(1), 1)


class PowerSeries:
    """Truncated Laurent series ``sum_i c_i h^(power + i) + O(h^(power + len(c)))``.

    Parameters
    ----------
    ring : SeriesRing
        Coefficient field and length.
    power : int
        Exponent of the first coefficient.
    coefficients : sequence
        Coefficients; what follows them is unknown.
    """

    __slots__ = ("coefficients", "power", "ring")
    __array_ufunc__ = None

    def __init__(self, ring: SeriesRing, power: int, coefficients: Sequence[Any]) -> None:
        self.ring, self.power, self.coefficients = ring, power, tuple(coefficients)

    @property
    def precision(self) -> int:
        """Exponent of the first unknown term."""
        return self.power + len(self.coefficients)

    def __getitem__(self, exponent: int) -> Any:
        """Coefficient of ``h**exponent``.

        Raises
        ------
        ValueError
            If it lies beyond the precision.
        """
        if exponent >= self.precision:
            msg = f"exponent={exponent} is beyond the precision O(h^{self.precision}): keep more terms"
            raise ValueError(msg)
        return self.coefficients[exponent - self.power] if exponent >= self.power else self.ring.coefficient(0)

    @property
    def valuation(self) -> int:
        """Exponent of the first non-zero term, or the precision where all known terms are zero."""
        return next((self.power + i for i, c in enumerate(self.coefficients) if c), self.precision)

    def truncated(self, precision: int) -> PowerSeries:
        """The same to ``O(h**precision)`` at most."""
        return PowerSeries(self.ring, min(self.power, precision), self.coefficients[: max(precision - self.power, 0)])

    def stripped(self) -> PowerSeries:
        """The same without leading zeros."""
        return PowerSeries(self.ring, self.valuation, self.coefficients[self.valuation - self.power :])

    def _coerce(self, other: Any) -> PowerSeries | None:
        if isinstance(other, PowerSeries):
            return other
        return self.ring.constant(other) if isinstance(other, int | float | Fraction) else None

    def __add__(self, other: Any) -> PowerSeries:
        that = self._coerce(other)
        if that is None:
            return NotImplemented
        low, high = min(self.power, that.power), min(self.precision, that.precision)
        if not isinstance(other, PowerSeries):
            high = self.precision  # an exact number does not cost precision
        return PowerSeries(self.ring, low, [self._at(i) + that._at(i) for i in range(low, high)])

    __radd__ = __add__

    def _at(self, exponent: int) -> Any:
        index = exponent - self.power
        return self.coefficients[index] if 0 <= index < len(self.coefficients) else self.ring.coefficient(0)

    def __neg__(self) -> PowerSeries:
        return PowerSeries(self.ring, self.power, [-c for c in self.coefficients])

    def __sub__(self, other: Any) -> PowerSeries:
        that = self._coerce(other)
        return NotImplemented if that is None else self + (-that)

    def __rsub__(self, other: Any) -> PowerSeries:
        return (-self).__add__(other)

    def __mul__(self, other: Any) -> PowerSeries:
        if isinstance(other, int | float | Fraction):
            factor = self.ring.coefficient(other)
            return PowerSeries(self.ring, self.power, [factor * c for c in self.coefficients])
        if not isinstance(other, PowerSeries):
            return NotImplemented
        terms = min(len(self.coefficients), len(other.coefficients))
        total = [self.ring.coefficient(0)] * terms
        for i, a in enumerate(self.coefficients[:terms]):
            if a:
                for j, b in enumerate(other.coefficients[: terms - i]):
                    if b:
                        total[i + j] += a * b
        return PowerSeries(self.ring, self.power + other.power, total)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> PowerSeries:
        if isinstance(other, int | float | Fraction):
            return self * (1 / as_fraction(other))
        return self * other.inverse() if isinstance(other, PowerSeries) else NotImplemented

    def __rtruediv__(self, other: Any) -> PowerSeries:
        return self.inverse().__mul__(other)

    def __pow__(self, power: int) -> PowerSeries:
        if power < 0:
            return (self**-power).inverse()
        result = self.ring.constant(1)
        for _ in range(power):
            result = result * self
        return result

    def inverse(self) -> PowerSeries:
        """Reciprocal; leading zeros shift the exponents.

        Raises
        ------
        ZeroDivisionError
            If all known coefficients are zero.
        """
        start = self.valuation - self.power
        known = self.coefficients[start:]
        if not known:
            msg = f"division by a series that is zero up to O(h^{self.precision})"
            raise ZeroDivisionError(msg)
        leading = 1 / known[0]
        result = [leading]
        for n in range(1, len(known)):
            carry = sum((known[i] * result[n - i] for i in range(1, n + 1) if known[i]), self.ring.coefficient(0))
            result.append(-carry * leading if carry else carry)
        return PowerSeries(self.ring, -self.valuation, result)

    def __bool__(self) -> bool:
        """Whether any known coefficient is not zero."""
        return any(bool(c) for c in self.coefficients)

    def __eq__(self, other: object) -> bool:
        that = self._coerce(other)
        return NotImplemented if that is None else not any((self - that).coefficients)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        terms = [f"({c})*h^{self.power + i}" for i, c in enumerate(self.coefficients) if c]
        return " + ".join([*terms, f"O(h^{self.precision})"])

    def _phi_(self, k: int) -> PowerSeries:
        """phi_k of a series without constant term.

        Raises
        ------
        ValueError
            If the series does not vanish at h = 0.
        """
        if self.valuation < 1:
            msg = f"z={self} does not vanish at h = 0, so that phi of it has no series with rational coefficients"
            raise ValueError(msg)
        total, power = self.ring.constant(Fraction(1, factorial(k))), self.ring.constant(1)
        for j in range(1, self.ring.terms):
            power = power * self
            total = total + power / factorial(j + k)
        return total


class SeriesKernel(ExponentialKernel):
    """The shipped kernel on series, with exact rational constants."""

    def rational(self, numerator: int, denominator: int) -> Fraction:
        """Rational constant."""
        return Fraction(numerator, denominator)


@dataclass(frozen=True)
class TimeSeriesKernel:
    r"""Kernel of the time clock for a general smooth schedule.

    With s the fraction of the step, rho runs as :math:`h s + a_2 (h s)^2 + a_3 (h s)^3 + \dots` up to an affine map;
    the a_i are symbols, because they belong to the schedule.

    Parameters
    ----------
    ring : SeriesRing
        Ring whose symbols include ``a_2``, ``a_3``, ..., one for each term.
    """

    ring: SeriesRing

    def _rates(self) -> list[PowerSeries]:
        """Coefficients ``i a_i h^i``, i = 1, 2, ..."""
        h, one = self.ring.h, self.ring.constant(1)
        return [(self.ring.symbol(f"a_{i}") if i > 1 else one) * h**i * i for i in range(1, self.ring.terms + 1)]

    def moment(self, k: int, fraction: Any = 1) -> PowerSeries:
        r""":math:`\int_0^c s^k\, d\rho(s)`."""
        zero = 0 * self.ring.h
        return sum((a * fraction ** (k + i) / (k + i) for i, a in enumerate(self._rates(), start=1)), zero)

    def discount(self, fraction: Any = 1) -> PowerSeries:  # noqa: ARG002
        """One."""
        return self.ring.constant(1)

    def rational(self, numerator: int, denominator: int) -> Fraction:
        """Rational constant."""
        return Fraction(numerator, denominator)

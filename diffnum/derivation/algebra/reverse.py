r"""Exact arithmetic on the reverse equation: two exponentials, square roots of variances, moments and covariances.

Weights on the reverse equation of noise level tau are rational in h, tau, the ratios u_j and two exponentials,
:math:`E = e^{-h/q}` and :math:`T = e^{-\eta^2 h/q}`. With tau a symbol, h, tau, E and T are algebraically independent,
so that equality is decided as for deterministic methods, and for every noise level at once. The weights of noise are
square roots of such functions; what has a meaning is their covariances, which are rational again.

The eta of DDIM and k-diffusion fits in: in a step of length h it stands for the noise level with
:math:`1 - T^2 = \mathtt{eta}^2 (1 - E^2)` (q = 1), which tends to tau = eta as h -> 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy

from diffnum.derivation.algebra.quotients import Quotients
from diffnum.derivation.algebra.symbols import Exact, Symbols, as_fraction
from diffnum.forms import Kernel

__all__ = ["ReverseParts", "ReverseSymbols", "SquareRoot", "covariance", "path_covariance"]


class ReverseSymbols(Symbols):
    """Field of the reverse equation; use :meth:`for_reverse`. ``tau`` and ``eta`` are among its names."""

    @classmethod
    def for_reverse(
        cls, past: int = 0, root: int = 1, extra: Sequence[str] = (), rate: int | None = -1
    ) -> ReverseSymbols:
        """Field with ``past`` ratios, exponentials of multiples of h/root and tau^2 h/root, and ``extra`` symbols.

        Parameters
        ----------
        past, root, extra
            As in :meth:`~diffnum.derivation.algebra.symbols.Symbols.make`.
        rate : {-1, 1} or None
            Data or noise prediction; None where the moments are symbols.
        """
        names = ["h", "tau", "E", "T", *(f"u_{j}" for j in range(1, past + 1)), *extra]
        variables = [sympy.Symbol(name) for name in names]
        field = Quotients(variables)
        h, tau = variables[:2]
        meaning = {variables[2]: sympy.exp(-h / root), variables[3]: sympy.exp(-(tau**2) * h / root)}
        generators: dict[str, Any] = {}
        result = cls(field, rate, root, generators, meaning)
        generators.update((n, Exact(g, result)) for n, g in zip(names, field.gens, strict=True))
        one, E, T = result.constant(1), generators["E"], generators["T"]
        generators["eta"] = SquareRoot(one, (1 - T ** (2 * root)) / (1 - E ** (2 * root)))
        return result

    @property
    def prediction(self) -> str:
        """What the model predicts."""
        return "noise" if self.rate == 1 else "data"

    def derived_kernel(self, moments: int = 0) -> Kernel:
        """Kernel with which a derivation runs: moments by parts."""
        return self.shipped_kernel(moments) if self.rate is None else ReverseParts(self, self.prediction)

    def exp(self, multiple: Fraction | int | Exact) -> Exact:
        """``exp(multiple * h)`` as a power of E."""
        return self.power(-as_fraction(multiple), 0)

    def power(self, plain: Fraction | int, noisy: Fraction | int) -> Exact:
        """``exp(-(plain + noisy tau^2) h)`` as a monomial in E and T."""
        a, b = Fraction(plain) * self.root, Fraction(noisy) * self.root
        if a.denominator != 1 or b.denominator != 1:
            msg = f"exponents {plain}, {noisy} are no multiples of 1/{self.root}: use a larger root"
            raise ValueError(msg)
        value: Exact = self.names["E"] ** int(a) * self.names["T"] ** int(b)
        return value

    def exponential(self, value: Exact) -> Exact:
        """Exponential of ``(a + b tau^2) h`` with rational a and b."""
        ratio = (value / self.h).value
        denominator = None if ratio.factors else ratio.content
        parts = {0: Fraction(0), 2: Fraction(0)}
        index = [str(s) for s in ratio.numer.ring.symbols].index("tau")
        for powers, coefficient in ratio.numer.terms():
            power = powers[index]
            if denominator is None or sum(powers) != power or power not in parts:
                msg = f"value={value} is no rational multiple of h and tau^2 h"
                raise TypeError(msg)
            parts[power] = as_fraction(coefficient) / denominator
        return self.power(-parts[0], -parts[2])

    def logarithm(self, value: Exact) -> Exact:
        """Logarithm of a monomial in E and T."""
        names = [str(s) for s in value.value.numer.ring.symbols]
        exponents = [Fraction(0), Fraction(0)]
        for polynomial, sign in ((value.value.numer, 1), (value.value.denom, -1)):
            powers, coefficient = polynomial.terms()[0]
            used = {names[i]: p for i, p in enumerate(powers) if p}
            if len(polynomial.terms()) > 1 or as_fraction(coefficient) != 1 or not used.keys() <= {"E", "T"}:
                msg = f"value={value} is no exponential of this field"
                raise TypeError(msg)
            for i, name in enumerate("ET"):
                exponents[i] += Fraction(sign * used.get(name, 0), self.root)
        tau = self.names["tau"]
        return -(exponents[0] + exponents[1] * tau * tau) * self.h

    def square_root(self, value: Exact) -> Any:
        """Square root: in the field for squares (that with a positive leading coefficient), else formal."""
        root = self.constant(1)
        for polynomial, upper in ((value.value.numer, True), (value.value.denom, False)):
            constant, factors = polynomial.sqf_list()
            number = sympy.sqrt(sympy.Rational(int(constant.numerator), int(constant.denominator)))
            if not number.is_Rational or any(multiplicity % 2 for _, multiplicity in factors):
                return SquareRoot(self.constant(1), value)
            part = self.constant(Fraction(int(number.p), int(number.q)))
            for factor, multiplicity in factors:
                part = part * Exact(value.value.field(factor), self) ** (multiplicity // 2)
            root = root * part if upper else root / part
        return root


@dataclass(frozen=True, eq=False)
class SquareRoot:
    """``factor * sqrt(radicand)`` with both in the field.

    Parameters
    ----------
    factor, radicand : Exact
        Elements of one field.
    """

    factor: Exact
    radicand: Exact

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, SquareRoot):
            if self.radicand == other.radicand:
                return self.factor * other.factor * self.radicand
            root = self.radicand.symbols.square_root(self.radicand * other.radicand)
            return self.factor * other.factor * root
        if not isinstance(other, Exact | int | float | Fraction):
            return NotImplemented
        return SquareRoot(self.factor * other, self.radicand)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self * (1 / other)

    def __add__(self, other: Any) -> Surd:
        return Surd(self.radicand.symbols.constant(0) + other, self)

    __radd__ = __add__

    def __rsub__(self, other: Any) -> Surd:
        return Surd(self.radicand.symbols.constant(0) + other, -self)

    def __neg__(self) -> SquareRoot:
        return SquareRoot(-self.factor, self.radicand)

    def __bool__(self) -> bool:
        return bool(self.factor) and bool(self.radicand)

    @property
    def square(self) -> Exact:
        """Its square."""
        return self.factor * self.factor * self.radicand

    def as_expr(self) -> sympy.Expr:
        """Sympy expression."""
        radicand = sympy.factor_terms(sympy.expand(self.radicand.as_expr()))
        return self.factor.as_expr() * sympy.sqrt(radicand)

    def __repr__(self) -> str:
        return f"({self.factor})*sqrt({self.radicand})"


@dataclass(frozen=True, eq=False)
class Surd:
    """``rational + root``, for products in which the roots go out, such as ``(1 - eta)(1 + eta)``.

    Parameters
    ----------
    rational : Exact
        Element of the field.
    root : SquareRoot
        Root of another one.
    """

    rational: Exact
    root: SquareRoot

    def __mul__(self, other: Surd) -> Any:
        if not isinstance(other, Surd) or self.root.radicand != other.root.radicand:
            return NotImplemented
        cross = self.rational * other.root.factor + other.rational * self.root.factor
        plain = self.rational * other.rational + self.root * other.root
        return Surd(plain, SquareRoot(cross, self.root.radicand)) if cross else plain


def covariance(a: Mapping[str, Any], b: Mapping[str, Any]) -> Any:
    """Covariance of the noise of two rows, from the weights of their draws.

    Raises
    ------
    TypeError
        If it is not rational: the draws of the rows are then no increments of one path.
    """
    total: Any = 0
    for name in a.keys() & b.keys():
        if name[0] == "z":
            product = a[name] * b[name]
            if isinstance(product, SquareRoot):
                msg = f"the covariance {product} is not rational in the exponentials"
                raise TypeError(msg)
            total = product + total
    return total


@dataclass(frozen=True)
class ReverseParts:
    r"""Moments of the kernel of the reverse equation by parts, without phi functions.

    Data prediction: :math:`K(s) = H e^{-H(1-s)}` with :math:`H = (1 + \eta^2) h`, so that
    :math:`I_0(c) = 1 - e^{-cH}`, :math:`I_k(c) = c^k - k I_{k-1}(c)/H`. Noise prediction: :math:`1 + \eta^2` times
    :math:`I_0(c) = e^{ch} - 1`, :math:`I_k(c) = k I_{k-1}(c)/h - c^k`.

    Parameters
    ----------
    symbols : ReverseSymbols
        Field.
    prediction : {"data", "noise"}
        What the model predicts.
    """

    symbols: ReverseSymbols
    prediction: str

    def moment(self, k: int, fraction: Any = 1) -> Exact:
        """Integral of ``K(s) s^k`` over the first ``fraction`` of the step."""
        c, tau = as_fraction(fraction), self.symbols["tau"]
        both = 1 + tau * tau
        if self.prediction == "data":
            if k == 0:
                return 1 - self.symbols.power(c, c)
            return c**k - k * self.moment(k - 1, c) / (both * self.symbols.h)
        if k == 0:
            return both * (self.symbols.power(-c, 0) - 1)
        return k * self.moment(k - 1, c) / self.symbols.h - both * c**k

    def discount(self, fraction: Any = 1) -> Exact:
        """Gain over scale at a node over its value at the start; of the ordinary kernel."""
        c = as_fraction(fraction)
        return self.symbols.power(-c, -c) if self.prediction == "data" else self.symbols.power(c, 0)

    def rational(self, numerator: int, denominator: int) -> Fraction:
        """Rational constant."""
        return Fraction(numerator, denominator)


def path_covariance(symbols: ReverseSymbols, prediction: str, a: Fraction, b: Fraction) -> Exact:
    r"""Covariance of the noise of one path at two nodes, in units of sigma at either (Ito's isometry).

    :math:`\int_0^{\min(a,b)} 2\eta^2 h\, e^{\rho h (a - s)} e^{\rho h (b - s)}\, ds` with rho = -tau^2 for data and
    +1 for noise prediction.
    """
    early = min(a, b)
    if prediction == "data":
        outer, inner = symbols.power(0, a + b), symbols.power(0, -2 * early)
        return outer * (inner - 1)
    tau = symbols["tau"]
    return tau * tau * symbols.power(-(a + b), 0) * (1 - symbols.power(2 * early, 0))

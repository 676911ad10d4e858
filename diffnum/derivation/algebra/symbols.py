r"""Exact rational functions: the arithmetic in which derivations are run and identities decided.

Every weight in the package is a rational function of the step ``h``, the ratios ``u_1, u_2, ...`` and the exponential
``E = exp(kappa h / q)``. As h and exp(h) are algebraically independent over the rationals, such a function is zero
if and only if its numerator is the zero polynomial once E is taken for a symbol of its own. :class:`Exact` computes
in that field, in which equality is decidable and cheap; nothing is ever "simplified".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import factorial, lcm
from typing import Any

import sympy

from diffnum.derivation.algebra.quotients import Quotient, Quotients
from diffnum.forms import ExponentialKernel, Kernel, TabulatedKernel

__all__ = ["Exact", "PartsKernel", "SymbolicKernel", "Symbols", "as_fraction", "is_zero", "phi", "solve"]


class phi(sympy.Function):  # type: ignore[misc]
    """The phi function as an unevaluated sympy function ``phi(k, z)``, for typesetting and code."""

    nargs = 2

    def _latex(self, printer: Any, exp: Any = None) -> str:
        index, argument = (printer._print(a) for a in self.args)
        power = f"^{{{exp}}}" if exp else ""
        return rf"\varphi_{{{index}}}{power}\!\left({argument}\right)"

    def _eval_evalf(self, prec: int) -> Any:
        return self.closed().evalf(sympy.core.evalf.prec_to_dps(prec))

    def closed(self) -> sympy.Expr:
        """Return the closed form ``(exp(z) - sum_{j<k} z^j/j!)/z^k``."""
        k, z = self.args
        return (sympy.exp(z) - sum(z**j / sympy.factorial(j) for j in range(int(k)))) / z**k


def as_fraction(value: Any) -> Fraction:
    """Exact value of a number: ints, Fractions, floats (their binary value), sympy rationals, constant :class:`Exact`.

    Raises
    ------
    TypeError
        If ``value`` is not a rational number.
    """
    if isinstance(value, Exact):
        return value.fraction()
    if isinstance(value, int | float | Fraction):
        return Fraction(value)
    numerator, denominator = getattr(value, "numerator", None), getattr(value, "denominator", None)
    if numerator is None or denominator is None:
        msg = f"value={value!r} is not a rational number: use int, Fraction or float"
        raise TypeError(msg)
    return Fraction(int(numerator), int(denominator))


class Exact:
    """A rational function over the rationals; supports ``+ - * /``, integer powers, ``==`` and ``_phi_``.

    Parameters
    ----------
    value : Quotient
        The function, numerator and denominator coprime.
    symbols : Symbols
        Field that it belongs to.
    """

    __slots__ = ("symbols", "value")
    __array_ufunc__ = None

    def __init__(self, value: Quotient, symbols: Symbols) -> None:
        self.value, self.symbols = value, symbols

    def _other(self, other: Any) -> Any:
        if isinstance(other, Exact):
            return other.value
        if isinstance(other, int | float | Fraction):
            return self.symbols.constant(other).value
        return None

    def __add__(self, other: Any) -> Exact:
        value = self._other(other)
        return NotImplemented if value is None else Exact(self.value + value, self.symbols)

    __radd__ = __add__

    def __neg__(self) -> Exact:
        return Exact(-self.value, self.symbols)

    def __sub__(self, other: Any) -> Exact:
        value = self._other(other)
        return NotImplemented if value is None else Exact(self.value - value, self.symbols)

    def __rsub__(self, other: Any) -> Exact:
        return (-self).__add__(other)

    def __mul__(self, other: Any) -> Exact:
        value = self._other(other)
        return NotImplemented if value is None else Exact(self.value * value, self.symbols)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Exact:
        value = self._other(other)
        return NotImplemented if value is None else Exact(self.value / value, self.symbols)

    def __rtruediv__(self, other: Any) -> Exact:
        return Exact(self._other(other) / self.value, self.symbols)

    def __pow__(self, power: float) -> Any:
        if power == 0:
            return self.symbols.constant(1)
        if power == 0.5:
            return self.symbols.square_root(self)
        return Exact(self.value ** int(power), self.symbols)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __eq__(self, other: object) -> bool:
        value = self._other(other)
        return NotImplemented if value is None else bool(self.value == value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return str(self.value)

    @property
    def is_constant(self) -> bool:
        """Whether the function is a rational number."""
        return self.value.is_constant

    def fraction(self) -> Fraction:
        """Value of a constant.

        Raises
        ------
        TypeError
            If the function is not constant.
        """
        if not self.is_constant:
            msg = f"{self} is not a rational number: it depends on symbols"
            raise TypeError(msg)
        return Fraction(int(self.value.numer.LC), self.value.content)

    def as_expr(self) -> sympy.Expr:
        """Sympy expression with real exponentials in place of E."""
        return self.value.as_expr().xreplace(self.symbols.meaning)

    def _phi_(self, k: int) -> Exact:
        """phi_k of a multiple of h whose exponential is in the field."""
        if not self:
            return self.symbols.constant(Fraction(1, factorial(k)))
        head = sum((self**j / factorial(j) for j in range(1, k)), self.symbols.constant(min(k, 1)))
        value: Exact = (self.symbols.exponential(self) - head) / self**k
        return value

    def _log_(self) -> Exact:
        """Natural logarithm of an exponential of the field."""
        return self.symbols.logarithm(self)


@dataclass(frozen=True, eq=False)
class Symbols:
    """The field of rational functions in h, E, u_1, u_2, ... and whatever else a method needs.

    Use :meth:`make`.

    Parameters
    ----------
    field : Quotients
        The field.
    rate : int or None
        Growth rate kappa of the kernel; None where moments are symbols.
    root : int
        ``E = exp(kappa h / root)``.
    names : mapping of str to Exact
        Generators by name; for a free fraction ``r_1`` also ``E_r_1 = exp(kappa r_1 h)``.
    meaning : mapping of sympy symbol to sympy expression
        What to substitute in print: E by its exponential.
    """

    field: Quotients
    rate: int | None
    root: int
    names: Mapping[str, Exact]
    meaning: Mapping[Any, Any]

    @classmethod
    def make(
        cls, past: int = 0, rate: int | None = -1, root: int = 1, extra: Sequence[str] = (), free: Sequence[str] = ()
    ) -> Symbols:
        """Field with ``past`` ratios, the exponentials of a kernel, and ``extra`` symbols.

        Parameters
        ----------
        past : int
            Number of ratios u_1, u_2, ...
        rate : {-1, 0, 1} or None
            Growth rate of the kernel; None for the time clock.
        root : int
            Least common denominator of the inner nodes.
        extra : sequence of str
            Further symbols, such as ``"beta"`` or ``"M_0"``.
        free : sequence of str
            Fractions of the step that are symbols, such as ``"r_1"``: exp(kappa r_1 h) is a symbol of its own.
        """
        exponentials = [f"E_{name}" for name in free] if rate else []
        names = ["h", *(["E"] if rate else []), *(f"u_{j}" for j in range(1, past + 1)), *extra, *free, *exponentials]
        variables = [sympy.Symbol(name) for name in names]
        field = Quotients(variables)
        generators: dict[str, Exact] = {}
        h = variables[0]
        meaning = {variables[1]: sympy.exp(sympy.Rational(rate, root) * h)} if rate else {}
        if rate:
            meaning |= {sympy.Symbol(f"E_{name}"): sympy.exp(rate * sympy.Symbol(name) * h) for name in free}
        result = cls(field, rate, root, generators, meaning)
        generators.update((n, Exact(g, result)) for n, g in zip(names, field.gens, strict=True))
        return result

    @property
    def h(self) -> Exact:
        """Step length."""
        return self.names["h"]

    @property
    def past(self) -> tuple[Exact, ...]:
        """Ratios u_1, u_2, ..."""
        return tuple(value for name, value in self.names.items() if name.startswith("u_"))

    def __getitem__(self, name: str) -> Exact:
        """Symbol by name."""
        return self.names[name]

    def constant(self, value: float | Fraction) -> Exact:
        """Rational number as an element of the field."""
        return Exact(self.field(Fraction(value)), self)

    def exp(self, multiple: Fraction | int | Exact) -> Exact:
        """``exp(multiple * h)`` as a power of E, or of the exponential of a free fraction.

        Raises
        ------
        TypeError
            If the multiple is neither a number nor one of a free fraction.
        ValueError
            If that is not an integer power: make the field with a larger ``root``.
        """
        if isinstance(multiple, Exact):
            return self._exp_of(multiple)
        if not self.rate:
            msg = f"rate={self.rate}: this field has no exponential; make it with rate -1 or 1"
            raise ValueError(msg)
        power = Fraction(multiple) * self.root * self.rate
        if power.denominator != 1:
            msg = (
                f"multiple={multiple} is no integer power of E = exp({self.rate}*h/{self.root}): "
                f"use root={power.denominator}"
            )
            raise ValueError(msg)
        value: Exact = self.names["E"] ** power.numerator
        return value

    def _exp_of(self, multiple: Exact) -> Exact:
        """Exponential of a symbolic multiple of h."""
        for name, exponential in self.names.items():
            if name.startswith("E_") and (times := multiple / self.names[name[2:]]).is_constant:
                value: Exact = exponential ** int(times.fraction() * (self.rate or 0))
                return value
        return self.exp(multiple.fraction())

    def exponential(self, value: Exact) -> Exact:
        """Exponential of a rational multiple of h, or of a free fraction of it."""
        return self.exp(value / self.h)

    def logarithm(self, value: Exact) -> Exact:
        """Logarithm of an exponential; only fields of the reverse equation have it."""
        msg = f"value={value}: this field has no logarithms, see derivation.reverse"
        raise TypeError(msg)

    def square_root(self, value: Exact) -> Any:
        """Square root; only fields of the reverse equation have it."""
        msg = f"value={value}: this field has no roots, see derivation.reverse"
        raise TypeError(msg)

    def shipped_kernel(self, moments: int = 0) -> Kernel:
        """Kernel with which a shipped rule runs in this field (symbols ``M_k`` in the time clock)."""
        if self.rate is None:
            return TabulatedKernel(tuple(self.names[f"M_{k}"] for k in range(moments)))
        return SymbolicKernel(self.h, self.rate)

    def derived_kernel(self, moments: int = 0) -> Kernel:
        """Kernel with which a derivation runs: moments by parts, without phi functions."""
        return self.shipped_kernel(moments) if self.rate is None else PartsKernel(self)


class SymbolicKernel(ExponentialKernel):
    """The shipped kernel, with exact rational constants."""

    def rational(self, numerator: int, denominator: int) -> Fraction:
        """Rational constant."""
        return Fraction(numerator, denominator)


@dataclass(frozen=True)
class PartsKernel:
    r"""Moments :math:`I_k(c) = h\int_0^c e^{\kappa h(c-s)} s^k ds` by repeated integration by parts.

    :math:`I_0 = (e^{\kappa c h} - 1)/\kappa` and :math:`I_k = (k I_{k-1}/h - c^k)/\kappa`: no phi function is called,
    so that the result is independent of the shipped kernel.

    Parameters
    ----------
    symbols : Symbols
        Field of the result.
    """

    symbols: Symbols

    def moment(self, k: int, fraction: Any = 1) -> Exact:
        """Moment ``k`` over the first ``fraction`` of the step."""
        symbolic = isinstance(fraction, Exact) and not fraction.is_constant
        c: Any = fraction if symbolic else as_fraction(fraction)
        kappa, h = self.symbols.rate, self.symbols.h
        if kappa is None:
            msg = "rate=None: the moments of the time clock are symbols, not integrals of an exponential"
            raise ValueError(msg)
        value: Exact
        if kappa == 0:
            value = h * c ** (k + 1) / (k + 1)
        elif k == 0:
            value = (self.symbols.exp(kappa * c) - 1) / kappa
        else:
            value = (k * self.moment(k - 1, c) / h - c**k) / kappa
        return value

    def discount(self, fraction: Any = 1) -> Exact:
        """``exp(-kappa c h)``."""
        kappa = self.symbols.rate
        return self.symbols.exp(-kappa * as_fraction(fraction)) if kappa else self.symbols.constant(1)

    def rational(self, numerator: int, denominator: int) -> Fraction:
        """Rational constant."""
        return Fraction(numerator, denominator)


def solve(matrix: Sequence[Sequence[Any]], right: Sequence[Any]) -> tuple[Any, ...]:
    """Solve a square linear system exactly, by elimination.

    Parameters
    ----------
    matrix : sequence of n rows of n
        Entries that support ``+ - * /`` and truth (non-zero).
    right : sequence of n
        Right-hand side.

    Raises
    ------
    ValueError
        If the system is singular.
    """
    rows = [[*row, b] for row, b in zip(matrix, right, strict=True)]
    n = len(rows)
    for i in range(n):
        pivot = next((r for r in range(i, n) if rows[r][i]), None)
        if pivot is None:
            msg = f"matrix={matrix!r} is singular: the conditions do not determine the weights (repeated nodes?)"
            raise ValueError(msg)
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [entry / rows[i][i] if j >= i else entry for j, entry in enumerate(rows[i])]
        for r in range(n):
            if r != i and rows[r][i]:
                factor = rows[r][i]
                rows[r] = [
                    a - factor * b if j >= i else a for j, (a, b) in enumerate(zip(rows[r], rows[i], strict=True))
                ]
    return tuple(row[n] for row in rows)


def is_zero(expression: Any) -> bool:
    """Decide whether a rational expression in symbols and exponentials is identically zero.

    Each ``exp(r z)`` with rational ``r`` becomes a power of one symbol for ``exp(z/q)``; the rest is polynomial
    arithmetic.

    Parameters
    ----------
    expression : Exact, number or sympy expression
        Rational in symbols and in exponentials of rational multiples of one symbol each.

    Raises
    ------
    ValueError
        If the expression is not of that kind, so that no decision is possible.
    """
    if isinstance(expression, Exact | int | float | Fraction):
        return not expression
    expression = sympy.sympify(expression).replace(lambda e: isinstance(e, phi), lambda e: e.closed())
    expression = expression.xreplace({f: sympy.Rational(f) for f in expression.atoms(sympy.Float)})
    expression = sympy.powsimp(expression) if expression.has(sympy.exp) else expression
    exponentials: dict[sympy.Expr, list[sympy.Rational]] = {}
    for atom in expression.atoms(sympy.exp):
        multiple, base = atom.exp.as_coeff_Mul(rational=True)
        if not base.is_Symbol:
            msg = f"expression contains {atom}: only exponentials of rational multiples of a symbol are decidable"
            raise ValueError(msg)
        exponentials.setdefault(base, []).append(multiple)
    replacement: dict[Any, Any] = {}
    for base, multiples in exponentials.items():
        root = reduce(lcm, (int(m.q) for m in multiples))
        letter = sympy.Dummy("E")
        replacement.update((sympy.exp(m * base), letter ** int(m * root)) for m in multiples)
    rational = expression.xreplace(replacement)
    if not rational.is_rational_function():
        msg = f"expression={expression} is not rational in its symbols and exponentials, so it cannot be decided"
        raise ValueError(msg)
    return bool(sympy.cancel(sympy.together(rational)) == 0)

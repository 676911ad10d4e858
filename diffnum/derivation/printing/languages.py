"""Printed weights in programming languages, and the phi functions that the code needs.

Weights are sums, products, whole powers, square roots, exponentials and phi functions: one walk over their expression
writes all languages, whose differences are data, and refuses what is none of these. Each printer gets common
subexpressions and results, and writes one stand-alone function in the standard of its language. The phi functions are
summed as Taylor series near zero and taken from their closed form elsewhere, so that small steps keep their digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias

import sympy

from diffnum.derivation.algebra.symbols import phi

__all__ = ["LANGUAGES", "Dialect", "Printable", "Printer"]


class Printable(Protocol):
    """What a printer must know of a formula."""

    @property
    def function(self) -> str:
        """Name of the printed function."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of its arguments."""

    @property
    def notes(self) -> list[str]:
        """What it takes and returns, line by line."""

    def latex(self) -> str:
        """The formula, typeset."""


Shared: TypeAlias = Sequence[tuple[Any, Any]]
"""Common subexpressions, (name, value), in the order of their use."""

Printer: TypeAlias = Callable[[Printable, Shared, Sequence[sympy.Expr]], str]


@dataclass(frozen=True)
class Dialect:
    """How a language writes what a weight is made of; the placeholders are written expressions.

    Parameters
    ----------
    integer : str
        Whole number ``{}``, as a double where division of whole numbers would be cut off.
    power : str
        Whole power: ``{base}`` is an atom, ``{n}`` a whole number above 1.
    exp, sqrt : str
        Functions of ``{}``.
    times, over : str
        Signs; with spaces where ``1/(a - b)`` could be read as a call of ``/``, as a published grammar of Julia does.
    """

    integer: str
    power: str
    exp: str
    sqrt: str
    times: str = "*"
    over: str = "/"

    def write(self, expression: sympy.Expr) -> str:
        """Expression in this language.

        Raises
        ------
        TypeError
            If something stands in it that no printed program has: nothing is ever printed by guess.
        """
        return self._level(sympy.sympify(expression))[0]

    def _level(self, e: sympy.Expr) -> tuple[str, int]:
        """Text, and how strongly it holds together: as a sum, a product, or an atom."""
        if e.is_Symbol:
            return e.name, _ATOM
        if e.is_Add:
            return self._sum(e), _SUM
        if e.could_extract_minus_sign():
            return f"-{self._inside(-e, _PRODUCT)}", _SUM
        if e.is_Integer:
            return self.integer.format(int(e)), _ATOM
        if e.is_Mul or e.is_Rational or (e.is_Pow and e.exp.could_extract_minus_sign() and e.exp.is_Rational):
            return self._product(e), _PRODUCT
        if e.is_Pow and e.exp.is_Rational:
            return self._power(e.base, e.exp), _ATOM
        if isinstance(e, sympy.exp) or e is sympy.E:
            return self.exp.format(self.write(sympy.log(e) if e is sympy.E else e.exp)), _ATOM
        if isinstance(e, phi):
            return f"phi({int(e.args[0])}, {self.write(e.args[1])})", _ATOM
        msg = f"expression={e} of type {type(e).__name__} has no place in a printed program"
        raise TypeError(msg)

    def _inside(self, e: sympy.Expr, least: int) -> str:
        """Text with brackets where it must hold together at least so strongly."""
        text, level = self._level(e)
        return text if level >= least else f"({text})"

    def _sum(self, e: sympy.Add) -> str:
        first, *rest = e.as_ordered_terms()
        signed = [
            f" - {self._inside(-t, _PRODUCT)}" if t.could_extract_minus_sign() else f" + {self._inside(t, _PRODUCT)}"
            for t in rest
        ]
        return self.write(first) + "".join(signed)

    def _product(self, e: sympy.Expr) -> str:
        above, below = [], []
        for factor in sympy.Mul.make_args(e):
            if factor.is_Rational:
                above += [sympy.Integer(factor.p)] if factor.p != 1 else []
                below += [sympy.Integer(factor.q)] if factor.q != 1 else []
            elif factor.is_Pow and factor.exp.is_Rational and factor.exp.is_negative:
                below.append(1 / factor)
            else:
                above.append(factor)
        numerator = self.times.join(self._inside(f, _PRODUCT) for f in above) or self.integer.format(1)
        if not below:
            return numerator
        if len(below) == 1:
            return f"{numerator}{self.over}{self._inside(below[0], _ATOM)}"
        return f"{numerator}{self.over}({self.times.join(self._inside(f, _PRODUCT) for f in below)})"

    def _power(self, base: sympy.Expr, exponent: sympy.Rational) -> str:
        if exponent.q > 2:
            msg = f"expression={base**exponent} has no place in a printed program: roots are square roots"
            raise TypeError(msg)
        if exponent.q == 2:
            text, n = self.sqrt.format(self.write(base)), int(exponent.p)
        else:
            text, n = self._inside(base, _ATOM), int(exponent.p)
        return text if n == 1 else self.power.format(base=text, n=n)


_SUM, _PRODUCT, _ATOM = range(3)

_PYTHON = Dialect("{}", "{base}**{n}", "math.exp({})", "math.sqrt({})")
_C = Dialect("{}.0", "pow({base}, {n})", "exp({})", "sqrt({})")
_JULIA = Dialect("{}", "{base}^{n}", "exp({})", "sqrt({})", " * ", " / ")
_RUST = Dialect("{}.0", "{base}.powi({n})", "f64::exp({})", "f64::sqrt({})")


_PYTHON_PHI = '''def phi(k, z):
    """phi_k(z): Taylor series near zero, closed form elsewhere."""
    if k == 0:
        return math.exp(z)
    if abs(z) < 1.1 * k + 1.2:
        total = 1.0
        for n in range(k + 48, k, -1):
            total = 1.0 + z * total / n
        return total / math.factorial(k)
    rational = 0.0
    for j in range(k):
        rational = (rational + 1.0 / math.factorial(j)) / z
    return math.exp(z) / z**k - rational
'''

_C_PHI = """static double phi(int k, double z)
{
    /* phi_k(z): Taylor series near zero, closed form elsewhere */
    double total = 1.0, rational = 0.0, factorial = 1.0;
    int j;
    if (k == 0)
        return exp(z);
    if (fabs(z) < 1.1 * k + 1.2) {
        for (j = k + 48; j > k; --j)
            total = 1.0 + z * total / j;
        for (j = 2; j <= k; ++j)
            total /= j;
        return total;
    }
    for (j = 0; j < k; ++j) {
        if (j > 0)
            factorial *= j;
        rational = (rational + 1.0 / factorial) / z;
    }
    return exp(z) / pow(z, k) - rational;
}
"""

_JULIA_PHI = '''"""phi_k(z): Taylor series near zero, closed form elsewhere."""
function phi(k, z)
    if k == 0
        return exp(z)
    end
    if abs(z) < 1.1 * k + 1.2
        total = 1.0
        for n in k+48:-1:k+1
            total = 1.0 + z * total / n
        end
        return total / factorial(k)
    end
    rational = 0.0
    for j in 0:k-1
        rational = (rational + 1.0 / factorial(j)) / z
    end
    return exp(z) / z^k - rational
end
'''

_RUST_PHI = """/// phi_k(z): Taylor series near zero, closed form elsewhere.
fn phi(k: i32, z: f64) -> f64 {
    if k == 0 {
        return z.exp();
    }
    if z.abs() < 1.1 * f64::from(k) + 1.2 {
        let mut total = 1.0;
        for n in (k + 1..=k + 48).rev() {
            total = 1.0 + z * total / f64::from(n);
        }
        return (2..=k).fold(total, |value, n| value / f64::from(n));
    }
    let (mut rational, mut factorial) = (0.0, 1.0);
    for j in 0..k {
        factorial *= f64::from(j.max(1));
        rational = (rational + 1.0 / factorial) / z;
    }
    z.exp() / z.powi(k) - rational
}
"""


def _uses(expressions: Iterable[sympy.Expr], *functions: type) -> bool:
    return any(e.has(*functions) for e in expressions)


def _every(shared: Shared, results: Sequence[sympy.Expr]) -> list[sympy.Expr]:
    return [*(value for _, value in shared), *results]


def _python(formula: Printable, shared: Shared, results: Sequence[sympy.Expr]) -> str:
    show = _PYTHON.write
    notes = "\n\n    ".join([formula.notes[0], "\n    ".join(formula.notes[1:])])
    every = _every(shared, results)
    head = ["import math", "", ""] if _uses(every, phi, sympy.exp, sympy.Pow) else []
    head += [_PYTHON_PHI, ""] if _uses(every, phi) else []
    return "\n".join(
        [
            *head,
            f"def {formula.function}({', '.join(formula.arguments)}):",
            f'    """{notes}\n    """',
            *(f"    {name} = {show(value)}" for name, value in shared),
            "    return (",
            *(f"        {show(value)}," for value in results),
            "    )",
            "",
        ]
    )


def _c(formula: Printable, shared: Shared, results: Sequence[sympy.Expr]) -> str:
    show = _C.write
    arguments = ", ".join(f"double {name}" for name in formula.arguments)
    return "\n".join(
        [
            "#include <math.h>",
            "",
            *([_C_PHI] if _uses(_every(shared, results), phi) else []),
            "/* " + "\n * ".join(formula.notes) + "\n */",
            f"void {formula.function}({arguments}, double *w)",
            "{",
            *(f"    const double {name} = {show(value)};" for name, value in shared),
            *(f"    w[{i}] = {show(value)};" for i, value in enumerate(results)),
            "}",
            "",
        ]
    )


def _julia(formula: Printable, shared: Shared, results: Sequence[sympy.Expr]) -> str:
    show = _JULIA.write
    notes = "\n\n".join([formula.notes[0], "\n".join(formula.notes[1:])])
    return "\n".join(
        [
            *([_JULIA_PHI] if _uses(_every(shared, results), phi) else []),
            f'"""\n{notes}\n"""',
            f"function {formula.function}({', '.join(formula.arguments)})",
            *(f"    {name} = {show(value)}" for name, value in shared),
            "    return Float64[",
            *(f"        {show(value)}," for value in results),
            "    ]",
            "end",
            "",
        ]
    )


def _rust(formula: Printable, shared: Shared, results: Sequence[sympy.Expr]) -> str:
    show = _RUST.write
    arguments = ", ".join(f"{name}: f64" for name in formula.arguments)
    return "\n".join(
        [
            *([_RUST_PHI] if _uses(_every(shared, results), phi) else []),
            *(f"/// {line}" for line in formula.notes),
            "#[allow(non_snake_case)]",
            f"pub fn {formula.function.lower()}({arguments}) -> [f64; {len(results)}] {{",
            *(f"    let {name} = {show(value)};" for name, value in shared),
            "    [",
            *(f"        {show(value)}," for value in results),
            "    ]",
            "}",
            "",
        ]
    )


def _latex(formula: Printable, shared: Shared, results: Sequence[sympy.Expr]) -> str:  # noqa: ARG001
    return formula.latex()


LANGUAGES: Final[Mapping[str, Printer]] = MappingProxyType(
    {"python": _python, "c": _c, "julia": _julia, "rust": _rust, "latex": _latex}
)
"""Printers of :meth:`diffnum.derivation.printing.formulas.Formula.code` by language."""

"""Stochastic steps in print: LaTeX and code with the decay of the state, phi functions, and the noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import factorial
from typing import Any

import sympy

from diffnum.derivation.algebra.reverse import SquareRoot
from diffnum.derivation.algebra.symbols import Exact, as_fraction, phi
from diffnum.derivation.printing.formulas import Formula, copies, term
from diffnum.tableau import Step

__all__ = ["ReverseFormula"]

_BOTH = sympy.Symbol(r"(1{+}\tau^{2})")
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


def _in_phi(weight: Any, closed: sympy.Expr) -> sympy.Expr:
    """Weight with every difference of exponentials written ``-z phi_1(z)``, which keeps its digits.

    A weight in formal moments stays as it is, ``closed``.
    """
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


@dataclass(frozen=True)
class ReverseFormula(Formula):
    """A stochastic step in print; weights of the state and of the noise are printed too.

    Parameters
    ----------
    typeset : mapping of str to mapping of str to sympy expression
        Rows for LaTeX: 1 + tau^2 is one symbol, and the weights of the draws are in closed form.
    """

    typeset: Mapping[str, Mapping[str, sympy.Expr]] = field(default_factory=dict)

    @classmethod
    def written(
        cls, name: str, form: str, rate: int | None, step: Step, parameters: Mapping[str, float]
    ) -> ReverseFormula:
        """Formula of a step over formal moments."""
        nodes: dict[str, Any] = {}
        rows: dict[str, dict[str, sympy.Expr]] = {}
        typeset: dict[str, dict[str, sympy.Expr]] = {}
        both = {_BOTH: 1 + sympy.Symbol("tau") ** 2}
        for row, node, value in step.rows():
            if node is not None:
                nodes[row] = _node(node)
            closed = {source: _closed(w, rate) for source, w in value.items()}
            typeset[row] = {s: w for s, w in closed.items() if w != 0}
            rows[row] = {s: _in_phi(value[s], w).xreplace(both) for s, w in typeset[row].items()}
        return cls(name, form, nodes, rows, parameters, typeset)

    @property
    def entries(self) -> tuple[tuple[str, str], ...]:
        """(row, vector) of the weights in the order in which printed code returns them."""
        return tuple(
            (name, source)
            for name, row in self.rows.items()
            if not copies(row)
            for source, weight in row.items()
            if not (source == "x" and weight == 1)
        )

    @property
    def _usage(self) -> list[str]:
        """How a step is made of the weights."""
        scale, gain = ("sigma", "alpha") if self.form == "data" else ("alpha", "-sigma")
        lines = [
            "A row is w_x (scale/scale_n) x_n + gain * (weights times evaluations) + sigma * (weights times draws),"
        ]
        lines.append(f"scale = {scale}, gain = {gain}, sigma at the node of the row; w_x is 1 where it is not listed.")
        lines += [f"{name} evaluates at {c} of the step" for name, c in self.nodes.items() if name != "x"]
        lines.append("z1, z2, ... are independent standard normal draws")
        return lines

    def latex(self) -> str:
        """Typeset the step, one line a row, in an ``aligned`` environment."""
        lines = [
            f"{self._target(name)} &= {self._sum(name, row)}"
            for name, row in self.typeset.items()
            if name == "x" or not copies(row)
        ]
        return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"

    def _index(self, name: str) -> str:
        c = self.nodes[name]
        return "n" if c == 0 else "n+1" if c == 1 else f"n{'' if sympy.latex(c)[0] == '-' else '+'}{sympy.latex(c)}"

    def _sum(self, name: str, row: Mapping[str, sympy.Expr]) -> str:
        if name[0] in "mv":
            return super()._sum(name, row)
        means = {source: w for source, w in row.items() if source[0] in "km"}
        text = super()._sum(name, {"x": sympy.Integer(1), **means})
        decay = row.get("x", sympy.Integer(1))
        if decay != 1:
            text = rf"{sympy.latex(decay)}\, {text}"
        terms = [term(w, f"z_{{{source[1:]}}}") for source, w in row.items() if source[0] == "z"]
        if not terms:
            return text
        inside = " ".join([terms[0].removeprefix("+ "), *terms[1:]])
        sigma = self._at(r"\sigma_{%s}", name)
        return rf"{text} + {sigma} \left[ {inside} \right]"


def _node(node: Any) -> sympy.Expr:
    """Node as an expression."""
    if isinstance(node, Exact):
        return sympy.factor(node.as_expr())
    value = as_fraction(node)
    return sympy.Rational(value.numerator, value.denominator)


def _closed(weight: Any, rate: int | None) -> sympy.Expr:
    """Weight as an expression, its moments in phi functions."""
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

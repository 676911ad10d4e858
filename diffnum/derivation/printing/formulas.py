"""Derived steps in print: LaTeX, and stand-alone functions in other languages.

The weights are written in phi functions, not in exponentials, so that the printed code keeps its digits for small
steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import factorial
from types import MappingProxyType
from typing import Any, Final

import sympy

from diffnum.derivation.algebra.symbols import Exact, Symbols, as_fraction, phi
from diffnum.derivation.printing.languages import LANGUAGES
from diffnum.derivation.printing.noise import programmed, typeset
from diffnum.tableau import Step

__all__ = ["LANGUAGES", "FormalKernel", "Formula", "RecordingKernel", "formal", "formal_names", "written"]


@dataclass(frozen=True, eq=False)
class RecordingKernel:
    """Stand-in kernel on rational numbers that notes which moments, discounts and denominators are asked for.

    Parameters
    ----------
    asked : dict
        Filled with ``("moment", k, fraction)`` and ``("discount", 0, fraction)``.
    """

    asked: dict[tuple[str, int, Fraction], None]

    def moment(self, k: int, fraction: Any = 1) -> Fraction:
        """Note the moment; a number of its size."""
        c = as_fraction(fraction)
        self.asked["moment", k, c] = None
        return c ** (k + 1) / (k + 1)

    def discount(self, fraction: Any = 1) -> Fraction:
        """Note the discount."""
        self.asked["discount", 0, as_fraction(fraction)] = None
        return Fraction(1)

    def rational(self, numerator: int, denominator: int) -> Fraction:
        """Rational constant; its denominator is noted as a moment of order zero."""
        value = Fraction(numerator, denominator)
        self.asked["moment", 0, value] = None
        return value

    @property
    def root(self) -> int:
        """Least common denominator of the fractions."""
        return int(sympy.ilcm(1, 1, *(c.denominator for _, _, c in self.asked)))


def formal_names(asked: Iterable[tuple[str, int, Fraction]]) -> tuple[str, ...]:
    """Names of the formal symbols that stand for moments and discounts.

    Parameters
    ----------
    asked : iterable of (str, int, Fraction)
        Kind ("moment" or "discount"), order of the moment, fraction of the step.

    Returns
    -------
    tuple of str
        In the same order.
    """
    return tuple(_name(*key) for key in asked)


def _name(kind: str, k: int, fraction: Fraction) -> str:
    return f"{kind}_{k}_{fraction.numerator}_{fraction.denominator}"


@dataclass(frozen=True)
class FormalKernel:
    """Kernel whose moments and discounts are symbols of a field.

    Parameters
    ----------
    symbols : Symbols
        Field with the symbols of :func:`formal_names`.
    """

    symbols: Symbols

    def moment(self, k: int, fraction: Any = 1) -> Exact:
        """Symbol of a moment."""
        return self.symbols[_name("moment", k, as_fraction(fraction))]

    def discount(self, fraction: Any = 1) -> Exact:
        """Symbol of a discount."""
        return self.symbols[_name("discount", 0, as_fraction(fraction))]

    def rational(self, numerator: int, denominator: int) -> Fraction:
        """Rational constant."""
        return Fraction(numerator, denominator)


def formal(name: str, rate: int | None) -> sympy.Expr:
    """Meaning of a formal symbol, in phi functions.

    Parameters
    ----------
    name : str
        Symbol of :func:`formal_names`.
    rate : {-1, 0, 1} or None
        Rate of the form's exponential kernel; None for kernels that have none.

    Returns
    -------
    sympy.Expr
    """
    kind, k, numerator, denominator = name.split("_")
    h, c, order = sympy.Symbol("h"), sympy.Rational(int(numerator), int(denominator)), int(k)
    if rate is None:
        return sympy.Symbol(f"M_{order}")
    if kind == "discount":
        return sympy.exp(-rate * c * h)
    if rate == 0:
        return h * c ** (order + 1) / (order + 1)
    return h * c ** (order + 1) * factorial(order) * phi(order + 1, rate * c * h)


def written(weight: Any, rate: int | None) -> sympy.Expr:
    """Weight as a sum of phi functions with rational coefficients.

    Parameters
    ----------
    weight : Exact or number
        A polynomial in formal symbols over the field of the other symbols.
    rate : int or None
        Growth rate of the kernel.

    Returns
    -------
    sympy.Expr
    """
    if not isinstance(weight, Exact):
        number = as_fraction(weight)
        return sympy.Rational(number.numerator, number.denominator)
    value = weight.value
    ring = value.numer.ring
    positions = [i for i, name in enumerate(map(str, ring.symbols)) if name.startswith(("moment_", "discount_"))]
    groups: dict[tuple[int, ...], dict[tuple[int, ...], Any]] = {}
    for powers, coefficient in value.numer.terms():
        formal_powers = tuple(powers[i] for i in positions)
        rest = tuple(0 if i in positions else p for i, p in enumerate(powers))
        groups.setdefault(formal_powers, {})[rest] = coefficient
    terms = []
    for formal_powers, polynomial in sorted(groups.items(), reverse=True):
        factor = value.over(ring.from_dict(polynomial)).factored()
        symbols = (formal(str(ring.symbols[i]), rate) ** p for i, p in zip(positions, formal_powers, strict=True))
        terms.append(factor * sympy.Mul(*symbols))
    # a weight divided by the length of the step has formal symbols in its denominator too
    meaning = {ring.symbols[i]: formal(str(ring.symbols[i]), rate) for i in positions}
    total = sympy.Add(*terms).xreplace(meaning)
    return total.factor() if rate == 0 else total


# -- formulas ----------------------------------------------------------------------------------------

_FORMS: Final[Mapping[str, tuple[str, str, str, str]]] = MappingProxyType(
    {
        # scale, gain, its sign, letter of the prediction
        "data": (r"\sigma_{%s}", r"\alpha_{%s}", "+", "D"),
        "noise": (r"\alpha_{%s}", r"\sigma_{%s}", "-", r"\epsilon"),
        "rho": (r"\alpha_{%s}", r"\alpha_{%s}", "+", r"\epsilon"),
        "velocity": (r"(\alpha_{%s} + \sigma_{%s})", r"(\alpha_{%s} + \sigma_{%s})", "+", "v"),
        "time": (r"\alpha_{%s}", r"\alpha_{%s}", "+", r"\epsilon"),
        "drift": ("", "", "+", "f"),
    }
)

_WORDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "data": ("sigma", "alpha"),
        "noise": ("alpha", "-sigma"),
        "rho": ("alpha", "alpha"),
        "velocity": ("alpha + sigma", "alpha + sigma"),
        "time": ("alpha", "alpha"),
        "drift": ("1", "1"),
    }
)
"""Scale and gain of the forms, for readers of printed code."""


_MEANING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "h": "step in the clock of the form",
        "u": "past node, (clock - clock_n)/h < 0",
        "beta": "weight of the newest evaluation in the average",
        "M": "integral of s^k over d(sigma/alpha), s the fraction of the step",
        "rho": "compensation ratio",
        "theta": "part of the newest second difference that is added",
        "theta_": "time of a past evaluation, relative to now and in steps",
        "alpha": "signal at the end (0) or the start (1) of the step",
        "sigma": "noise at the end (0) or the start (1) of the step",
        "G": "growth of the statistics, exp(L_t - L_a)",
        "J": "moment of the statistics, integral of exp((L + S) - (L + S)_a) u^k",
        "B": "the same integral with beta for u^k",
        "l": "statistic l at the end (0) or the start (1) of the step",
        "d": "exp(S_a - S_i), i = 0 at the end of the step, 2, 3, ... at past nodes",
        "b": "beta_i, i as for d",
        "s": "flow time sigma/(alpha + sigma) at the start of the step",
    }
)
"""What the arguments of printed functions are, by the stem of their names."""


def _meaning(argument: str) -> str:
    """What an argument is: by its stem, a stem with numbered members before one without."""
    stem, numbered, _ = argument.partition("_")
    return _MEANING.get(stem + numbered) or _MEANING.get(stem, "parameter")


@dataclass(frozen=True)
class Formula:
    """A step whose weights are sympy expressions in phi functions; with noise those of state and draws are printed too.

    Parameters
    ----------
    name : str
        Name of the method.
    form : str
        Name of the form: data, noise, rho, velocity, time or drift.
    nodes : mapping of str to sympy expression
        Where the stages stand, by row.
    rows : mapping of str to mapping of str to sympy expression
        Rows: stages, ``x``, memory.
    parameters : mapping of str to float
        Values that the method gives to symbols such as ``beta``.
    typeset : mapping of str to mapping of str to sympy expression
        Rows for LaTeX, where they differ from those for programs.
    """

    name: str
    form: str
    nodes: Mapping[str, sympy.Expr]
    rows: Mapping[str, Mapping[str, sympy.Expr]]
    parameters: Mapping[str, float] = field(default_factory=dict)
    typeset: Mapping[str, Mapping[str, sympy.Expr]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        form: str,
        rate: int | None,
        step: Step,
        parameters: Mapping[str, float],
        *,
        noise: bool = False,
    ) -> Formula:
        """Formula of a step over formal moments, with ``noise`` in a field of the reverse equation."""
        nodes = {row: _node(node) for row, node, _ in step.rows() if node is not None}
        show = typeset if noise else written
        shown = {row: {s: show(w, rate) for s, w in value.items()} for row, _, value in step.rows()}
        shown = {r: {s: w for s, w in row.items() if w != 0} for r, row in shown.items()}
        # further forms are variants of those below: "time of vp-fitted", "rho, Riemann sum"
        plain = re.split(r"\W", form)[0]
        if not noise:
            return cls(name, plain, nodes, shown, parameters)
        values = {row: value for row, _, value in step.rows()}
        rows = {r: {s: programmed(values[r][s], w) for s, w in row.items()} for r, row in shown.items()}
        return cls(name, plain, nodes, rows, parameters, shown)

    @property
    def draws(self) -> bool:
        """Whether there is noise in the step."""
        return any(source[0] == "z" for row in self.rows.values() for source in row)

    @property
    def entries(self) -> tuple[tuple[str, str], ...]:
        """(row, vector) of the weights in the order in which printed code returns them.

        Rows that hand a vector on are left out, and the state of the others where its weight is 1.
        """
        return tuple(
            (name, source)
            for name, row in self.rows.items()
            if not copies(row)
            for source, weight in row.items()
            if source != "x" or weight != 1 or name not in self.nodes
        )

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the arguments of printed code: h, u_1, u_2, ..., then the rest."""
        free = {str(s) for name, source in self.entries for s in self.rows[name][source].free_symbols}
        return tuple(sorted(free | ({"h"} if self.form != "time" else set()), key=lambda n: (n != "h", n[0] != "u", n)))

    # -- LaTeX --

    def latex(self) -> str:
        """Typeset the step in the papers' form, one line a row, in an ``aligned`` environment."""
        lines = []
        for name, row in (self.typeset or self.rows).items():
            if copies(row) and name != "x":
                continue
            lines.append(f"{self._target(name)} &= {self._sum(name, row)}")
        return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"

    def _index(self, name: str) -> str:
        c = self.nodes[name]
        return "n" if c == 0 else "n+1" if c == 1 else f"n{'' if _tex(c)[0] == '-' else '+'}{_tex(c)}"

    def _at(self, template: str, name: str | None) -> str:
        index = "n" if name is None else self._index(name)
        return template.replace("%s", index)

    def _target(self, name: str) -> str:
        if name == "x":
            return "y_{n+1}"
        return f"X_{{{name[1:]}}}" if name[0] == "k" else self._vector(name, ahead=1)

    def _vector(self, name: str, ahead: int = 0) -> str:
        """Vector of the history, relative to this step; ``ahead`` steps later for memory rows."""
        letter = "f" if name[0] == "f" else _FORMS[self.form][3]
        number = int(name[1:])
        if name[0] == "v":
            letter, number = rf"\bar{{{letter}}}", number - 1
        shift = ahead - number
        return f"{letter}_{{n{shift:+d}}}" if shift else f"{letter}_{{n}}"

    def _evaluation(self, name: str) -> str:
        if name in ("x", "one"):
            return {"x": "y_n", "one": ""}[name]
        letter = _FORMS[self.form][3]
        if name[0] != "k":
            return self._vector(name)
        plain = self.nodes[name] == 0 and copies(self.rows[name])
        return f"{letter}_{{n}}" if plain else rf"{letter}(X_{{{name[1:]}}})"

    def _sum(self, name: str, row: Mapping[str, sympy.Expr]) -> str:
        handed_on = name not in self.nodes
        means = {s: w for s, w in row.items() if s[0] != "z" and (s != "x" or handed_on)}
        inside = _joined([term(weight, self._evaluation(source)) for source, weight in means.items()])
        if handed_on:
            return inside
        scale, gain, sign, _ = _FORMS[self.form]
        ratio = (
            rf"\frac{{{self._at(scale, name)}}}{{{self._at(scale, None)}}}\, y_n"
            if scale and self.nodes[name]
            else "y_n"
        )
        decay = row.get("x", sympy.Integer(1))
        if decay != 1:
            text = _tex(decay)
            ratio = rf"{text}\, {ratio}" if self.draws else rf"\left({text}\right) {ratio}"
        mean = rf"{ratio} {sign} {self._at(gain, name)} \left[ {inside} \right]" if inside else ratio
        drawn = _joined([term(w, f"z_{{{source[1:]}}}") for source, w in row.items() if source[0] == "z"])
        sigma = self._at(r"\sigma_{%s}", name)
        return rf"{mean} + {sigma} \left[ {drawn} \right]" if drawn else mean

    # -- code --

    def code(self, language: str = "python") -> str:
        """Stand-alone function that returns the weights :attr:`entries`, in float64.

        Parameters
        ----------
        language : {"python", "c", "julia", "rust", "latex"}
            Language of the text; LaTeX is the formula itself.

        Raises
        ------
        ValueError
            If there is no printer for ``language``.
        """
        if language not in LANGUAGES:
            msg = f"language={language!r} has no printer: use one of {', '.join(LANGUAGES)}"
            raise ValueError(msg)
        weights = [self.rows[name][source] for name, source in self.entries]
        shared, results = sympy.cse(weights, symbols=sympy.numbered_symbols("t"), order="canonical")
        return LANGUAGES[language](self, shared, results)

    @property
    def function(self) -> str:
        """Name of the printed function."""
        return re.sub(r"\W", "_", self.name) + "_weights"

    @property
    def notes(self) -> list[str]:
        """What the printed function takes and returns, line by line."""
        values = {name: f", {value:g} in {self.name}" for name, value in self.parameters.items()}
        arguments = [f"{n}: {_meaning(n)}{values.get(n, '')}" for n in self.arguments]
        weights = [f"- weight of {source} in {name}" for name, source in self.entries]
        head = f"Weights of {self.name} ({self.form} form)."
        return [head, *arguments, "Returns, in this order:", *weights, *self._usage]

    @property
    def _usage(self) -> list[str]:
        """How a step is made of the weights."""
        scale, gain = _WORDS[self.form]
        places = [f"{name} evaluates at {c} of the step" for name, c in self.nodes.items() if name != "x"]
        if self.draws:
            return [
                "A row is w_x (scale/scale_n) y_n + gain * (weights times evaluations) + sigma * "
                "(weights times draws),",
                f"scale = {scale}, gain = {gain}, sigma at the node of the row; w_x is 1 where it is not listed.",
                *places,
                "z1, z2, ... are independent standard normal draws",
            ]
        lines = [f"A row is (scale/scale_n) y_n + gain * (sum of weights times evaluations), scale = {scale},"]
        lines.append(f"gain = {gain}, both at the node of the row; rows handed on are the sum alone.")
        lines += places
        moved = {name: next(iter(row)) for name, row in self.rows.items() if name not in self.nodes and copies(row)}
        lines += [f"after the step, {', '.join(f'{name} = {old}' for name, old in moved.items())}"] if moved else []
        return lines


def _node(node: Any) -> sympy.Expr:
    """Node as an expression."""
    if isinstance(node, Exact):
        return sympy.factor(node.as_expr())
    value = as_fraction(node)
    return sympy.Rational(value.numerator, value.denominator)


def _joined(terms: list[str]) -> str:
    """Sum of signed terms."""
    return " ".join([terms[0].removeprefix("+ "), *terms[1:]]) if terms else ""


def copies(row: Mapping[str, sympy.Expr]) -> bool:
    """Whether a row only hands a vector on."""
    return len(row) == 1 and next(iter(row.values())) == 1


def term(weight: sympy.Expr, vector: str) -> str:
    """One signed term of a sum."""
    if weight in (1, -1):
        return f"{'+' if weight == 1 else '-'} {vector}"
    text = _tex(weight)
    if isinstance(weight, sympy.Add):
        return rf"+ \left({text}\right) {vector}"
    return rf"- {text[1:].strip()}\, {vector}" if text.startswith("-") else rf"+ {text}\, {vector}"


def _tex(value: Any) -> str:
    """LaTeX, with the letters of the book; in code the noise level is ``tau``, since ``eta`` is what others have."""
    return str(sympy.latex(value, symbol_names=_LETTERS))


_LETTERS: Final[Mapping[sympy.Symbol, str]] = MappingProxyType(
    {sympy.Symbol("tau"): r"\eta", sympy.Symbol("s_0"): r"\chi_{n}"}
)
"""Symbols that are printed with another letter: the noise level, and the flow time at the start of a step."""

"""Interpreters of printed programs and formulas: what a text means, told by its grammar, where no compiler is at hand.

Expressions of C and Rust are read by recursive descent, Julia is walked on the syntax tree of its own grammar (the phi
function that is printed along included), and LaTeX is read as a reader does: juxtaposition multiplies.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tree_sitter
import tree_sitter_julia

from diffnum.phi import phi

Numbers = dict[str, Any]

# -- C and Rust ----------------------------------------------------------------------------------------

_FUNCTIONS: dict[str, Callable[..., float]] = {
    "exp": math.exp,
    "f64::exp": math.exp,
    "sqrt": math.sqrt,
    "f64::sqrt": math.sqrt,
    "pow": math.pow,
    "phi": lambda k, z: phi(int(k), float(z)),
}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)|(?P<name>f64::\w+|[A-Za-z_]\w*)|(?P<sign>[-+*/(),.]))"
)


@dataclass
class _Reader:
    """Recursive descent over sums, products, calls and ``.powi``; whole numbers divide as they do in C."""

    tokens: list[str]
    values: Mapping[str, float]
    at: int = 0

    @classmethod
    def read(cls, text: str, values: Mapping[str, float]) -> float:
        tokens, end = [], 0
        text = text.strip()
        while end < len(text):
            found = _TOKEN.match(text, end)
            if found is None:
                msg = f"{text[end:]!r} is not of the printed subset"
                raise SyntaxError(msg)
            tokens.append(found[0].strip())
            end = found.end()
        reader = cls([*tokens, ""], values)
        value = reader.sum()
        if reader.tokens[reader.at]:
            msg = f"{reader.tokens[reader.at]!r} is left over in {text!r}"
            raise SyntaxError(msg)
        return value

    def take(self, *expected: str) -> str:
        token = self.tokens[self.at]
        if expected and token not in expected:
            msg = f"{token!r} stands where {expected} is expected"
            raise SyntaxError(msg)
        self.at += 1
        return token

    def sum(self) -> Any:
        value = self.product()
        while self.tokens[self.at] in ("+", "-"):
            value = value + self.product() if self.take() == "+" else value - self.product()
        return value

    def product(self) -> Any:
        value = self.factor()
        while self.tokens[self.at] in ("*", "/"):
            if self.take() == "*":
                value = value * self.factor()
            else:
                other = self.factor()
                whole = isinstance(value, int) and isinstance(other, int)
                value = value // other if whole else value / other
        return value

    def factor(self) -> Any:
        if self.tokens[self.at] == "-":
            self.take()
            return -self.factor()
        value = self.atom()
        while self.tokens[self.at] == ".":
            self.take(".")
            self.take("powi")
            (exponent,) = self.arguments()
            value = value ** int(exponent)
        return value

    def atom(self) -> Any:
        token = self.take()
        if token == "(":
            value = self.sum()
            self.take(")")
            return value
        if self.tokens[self.at] == "(":
            return _FUNCTIONS[token](*self.arguments())
        return (
            self.values[token]
            if token[0].isalpha() or token[0] == "_"
            else float(token)
            if "." in token
            else int(token)
        )

    def arguments(self) -> list[Any]:
        self.take("(")
        values = [self.sum()]
        while self.take(",", ")") == ",":
            values.append(self.sum())
        return values


def _body(text: str, function: str) -> tuple[list[str], list[str]]:
    """Arguments, and the lines of the body."""
    head, _, rest = text.partition(f" {function}(")[2].partition(")")
    return [re.sub(r": f64|double ", "", a).strip() for a in head.split(",")], rest.splitlines()


def c_program(text: str, function: str) -> Callable[..., list[float]]:
    """Printed C as a function; the printed phi is taken for granted."""
    arguments, lines = _body(text, function)

    def run(*values: float) -> list[float]:
        known: Numbers = dict(zip([a for a in arguments if a != "*w"], values, strict=True))
        results = []
        for line in lines:
            if found := re.fullmatch(r"    (?:const double (\w+)|w\[(\d+)\]) = (.*);", line):
                value = _Reader.read(found[3], known)
                if found[1]:
                    known[found[1]] = value
                else:
                    assert int(found[2]) == len(results)
                    results.append(float(value))
            elif line.strip() not in ("", "{", "}"):
                msg = f"{line!r} is not of the printed subset"
                raise SyntaxError(msg)
        return results

    return run


def rust_program(text: str, function: str) -> Callable[..., list[float]]:
    """Printed Rust as a function; the printed phi is taken for granted."""
    arguments, lines = _body(text, function.lower())

    def run(*values: float) -> list[float]:
        known: Numbers = dict(zip(arguments, values, strict=True))
        results = []
        for line in lines[1:]:
            if found := re.fullmatch(r"    let (\w+) = (.*);", line):
                known[found[1]] = _Reader.read(found[2], known)
            elif found := re.fullmatch(r" {8}(.*),", line):
                results.append(float(_Reader.read(found[1], known)))
            elif line.strip() not in ("", "[", "]", "}"):
                msg = f"{line!r} is not of the printed subset"
                raise SyntaxError(msg)
        return results

    return run


# -- Julia ---------------------------------------------------------------------------------------------

_JULIA = tree_sitter.Parser(tree_sitter.Language(tree_sitter_julia.language()))


def julia_is_grammatical(text: str) -> bool:
    """Whether Julia's grammar accepts a text."""
    return not _JULIA.parse(text.encode()).root_node.has_error


class _Returned(Exception):
    """A function's value on its way out."""


def _whole_power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and exponent < 0:
        msg = "DomainError: whole numbers have no negative powers in Julia"
        raise ArithmeticError(msg)
    return base**exponent


_JULIA_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "^": _whole_power,
    "==": lambda a, b: a == b,
    "<": lambda a, b: a < b,
}


def _factorial(n: int) -> int:
    if n > 20:
        msg = "OverflowError: factorial of Int64 ends at 20 in Julia"
        raise ArithmeticError(msg)
    return math.factorial(n)


def julia_program(text: str, function: str) -> Callable[..., list[float]]:
    """Printed Julia as a function, with everything that is printed along."""
    root = _JULIA.parse(text.encode()).root_node
    if root.has_error:
        msg = "Julia's grammar refuses the text"
        raise SyntaxError(msg)
    functions: dict[str, Callable[..., Any]] = {
        "exp": math.exp, "sqrt": math.sqrt, "abs": abs, "factorial": _factorial
    }  # fmt: skip
    for node in _all(root, "function_definition"):
        name, run = _julia_function(node, functions)
        functions[name] = run
    return functions[function]


def _all(node: Any, kind: str) -> list[Any]:
    found = [node] if node.type == kind else []
    return found + [hit for child in node.children for hit in _all(child, kind)]


def _julia_function(node: Any, functions: dict[str, Callable[..., Any]]) -> tuple[str, Callable[..., Any]]:
    signature, *body = node.named_children
    call = _all(signature, "call_expression")[0]
    name, arguments = call.named_children
    parameters = [a.text.decode() for a in arguments.named_children]

    def run(*values: Any) -> Any:
        known = dict(zip(parameters, values, strict=True))
        try:
            for statement in body:
                _execute(statement, known, functions)
        except _Returned as returned:
            return returned.args[0]
        msg = f"{name.text.decode()} returns nothing"
        raise SyntaxError(msg)

    return name.text.decode(), run


def _execute(node: Any, known: Numbers, functions: Mapping[str, Callable[..., Any]]) -> None:
    kids = node.named_children
    if node.type == "assignment":
        target, _, value = kids if len(kids) == 3 else (kids[0], None, kids[-1])
        known[target.text.decode()] = _value(value, known, functions)
    elif node.type == "return_statement":
        raise _Returned(_value(kids[0], known, functions))
    elif node.type == "if_statement":
        condition, *body = kids
        if _value(condition, known, functions):
            for statement in body:
                _execute(statement, known, functions)
    elif node.type == "for_statement":
        binding, *body = kids
        variable, _, numbers = binding.named_children
        for number in _value(numbers, known, functions):
            known[variable.text.decode()] = number
            for statement in body:
                _execute(statement, known, functions)
    elif node.type == "block":
        for statement in kids:
            _execute(statement, known, functions)
    else:
        msg = f"{node.type}: {node.text.decode()!r} is not of the printed subset"
        raise SyntaxError(msg)


def _value(node: Any, known: Numbers, functions: Mapping[str, Callable[..., Any]]) -> Any:
    kids, text = node.named_children, node.text.decode()
    if node.type == "identifier":
        return known[text]
    if node.type == "integer_literal":
        return int(text)
    if node.type == "float_literal":
        return float(text)
    if node.type == "parenthesized_expression":
        return _value(kids[0], known, functions)
    if node.type == "unary_expression":
        return -_value(kids[-1], known, functions)
    if node.type == "call_expression":
        return functions[kids[0].text.decode()](*(_value(a, known, functions) for a in kids[1].named_children))
    if node.type == "index_expression":  # Float64[...]
        assert kids[0].text == b"Float64"
        return [float(_value(a, known, functions)) for a in kids[1].named_children]
    if node.type == "range_expression":
        return _range(node, known, functions)
    if node.type == "binary_expression":
        left, operator, right = kids
        symbol = operator.text.decode()
        if symbol == ":":
            return _range(node, known, functions)
        return _JULIA_OPERATORS[symbol](_value(left, known, functions), _value(right, known, functions))
    msg = f"{node.type}: {text!r} is not of the printed subset"
    raise SyntaxError(msg)


def _range(node: Any, known: Numbers, functions: Mapping[str, Callable[..., Any]]) -> range:
    """Range ``a:b`` or ``a:step:b``, its end included; the grammar nests the second as (a:step):b."""
    parts: list[Any] = []

    def collect(inner: Any) -> None:
        ends = [k for k in inner.named_children if k.type != "operator"]
        first = ends[0]
        nested = first.type == "range_expression" or (
            first.type == "binary_expression" and any(k.text == b":" for k in first.children)
        )
        if nested:
            collect(first)
        else:
            parts.append(first)
        parts.extend(ends[1:])

    collect(node)
    numbers = [_value(p, known, functions) for p in parts]
    start, step, stop = (numbers[0], 1, numbers[1]) if len(numbers) == 2 else numbers
    return range(start, stop + (1 if step > 0 else -1), step)


# -- LaTeX ---------------------------------------------------------------------------------------------

_TEX = re.compile(r"\s+|\\[,!]|(\\left[(\[]|\\right[)\]]|\\[A-Za-z]+|\d+|[A-Za-z]|[-+^_(){}/\[\]])")


@dataclass
class _Tex:
    """Reader of a typeset row: sums, juxtaposed products, fractions, roots, powers, phi, and named vectors."""

    tokens: list[str]
    values: Mapping[str, float]
    vector: Callable[[str], float]
    at: int = 0
    used: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, text: str, values: Mapping[str, float], vector: Callable[[str], float]) -> _Tex:
        tokens, end = [], 0
        while end < len(text):
            found = _TEX.match(text, end)
            if found is None:
                msg = f"{text[end:]!r} is not of the printed subset"
                raise SyntaxError(msg)
            if found[1]:
                tokens.append(found[1])
            end = found.end()
        return cls([*tokens, ""], values, vector)

    def whole(self) -> float:
        value = self.sum()
        if self.tokens[self.at]:
            msg = f"{self.tokens[self.at :]} is left over"
            raise SyntaxError(msg)
        return value

    def next(self) -> str:
        return self.tokens[self.at]

    def take(self, *expected: str) -> str:
        token = self.tokens[self.at]
        if expected and token not in expected:
            msg = f"{token!r} stands where {expected} is expected: {self.tokens[self.at - 5 : self.at + 5]}"
            raise SyntaxError(msg)
        self.at += 1
        return token

    def braced(self) -> str:
        """Text between braces, without spaces."""
        self.take("{")
        depth, start = 1, self.at
        while depth:
            token = self.take()
            depth += (token == "{") - (token == "}")
        return "".join(self.tokens[start : self.at - 1])

    def argument(self) -> float:
        """Value between braces."""
        self.take("{")
        value = self.sum()
        self.take("}")
        return value

    def sum(self) -> float:
        value = 0.0
        sign = self.take() if self.next() in ("+", "-") else "+"
        while True:
            value = value + self.product() if sign == "+" else value - self.product()
            if self.next() not in ("+", "-"):
                return value
            sign = self.take()

    def product(self) -> float:
        value = self.power()
        while self.next() not in ("", "+", "-", ")", "}", r"\right)", r"\right]"):
            value *= self.power()
        return value

    def power(self) -> float:
        value = self.atom()
        if self.next() == "^":
            self.take()
            value = value ** self.argument()
        return value

    def atom(self) -> float:
        token = self.take()
        if token in ("(", r"\left(", r"\left["):
            return self.bracket(token)
        if token == r"\frac":
            above = self.argument()
            return above / self.argument()
        if token == r"\sqrt":
            return math.sqrt(self.argument())
        if token == "e" and self.next() == "^":
            self.take()
            return math.exp(self.argument())
        if token == r"\varphi":
            return self.phi()
        if token.isdigit():
            return float(token)
        return self.named(token)

    def bracket(self, opening: str) -> float:
        closing = {"(": ")", r"\left(": r"\right)", r"\left[": r"\right]"}[opening]
        # (1{+}\eta^{2}) is one symbol to the printer
        if self.tokens[self.at : self.at + 4] == ["1", "{", "+", "}"]:
            self.at += 4
            value = 1 + self.sum()
        else:
            value = self.sum()
        self.take(closing)
        return value

    def phi(self) -> float:
        self.take("_")
        order, power = int(self.braced()), 1.0
        if self.next() == "^":
            self.take()
            power = self.argument()
        self.take(r"\left(")
        argument = self.bracket(r"\left(")
        return phi(order, argument) ** power

    def named(self, token: str) -> float:
        """A quantity of the step, or an evaluation, draw or state."""
        name = token
        if token == r"\bar":
            name = rf"\bar{{{self.braced()}}}"
        if self.next() == "_":
            self.take()
            index = self.braced() if self.next() == "{" else self.take()
            name = f"{name}_{{{index}}}"
        if name in self.values:
            return self.values[name]
        if token in ("D", r"\epsilon", "v", "f") and self.next() == "(":
            self.take("(")
            self.take("X")
            self.take("_")
            name = f"{name}(X_{{{self.braced()}}})"
            self.take(")")
        self.used.add(name)
        return self.vector(name)


def latex_row(text: str, values: Mapping[str, float], vector: Callable[[str], float]) -> tuple[float, set[str]]:
    """Value of the right-hand side of a typeset row, and the vectors that stand in it.

    Parameters
    ----------
    text : str
        Right-hand side.
    values : mapping of str to float
        Numbers by name as printed: ``h``, ``u_{1}``, ``\\eta``, ``\\sigma_{n+1}``, ...
    vector : callable
        Number that stands for a state, evaluation or draw, by its name as printed.
    """
    reader = _Tex.of(text, values, vector)
    return reader.whole(), reader.used

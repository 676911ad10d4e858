"""Steps in exact arithmetic: every kind of step that plans make of a method, as it ships and as it is derived.

The rules run in one field of rational functions, in which equality is decided
(:mod:`diffnum.derivation.algebra.symbols`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from typing import Any

from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Placement, Rule, Start
from diffnum.derivation import DERIVATIONS, Derived
from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.given import STATISTICAL, SymbolicStatistics, example, furnish, given_names
from diffnum.derivation.printing.formulas import RecordingKernel
from diffnum.forms import Kernel
from diffnum.tableau import Step, Window

__all__ = [
    "derive_step",
    "derived",
    "derived_step",
    "described",
    "exact_rule",
    "given_symbols",
    "inner_nodes",
    "parameters_of",
    "placements",
    "published_difference",
    "recorded",
    "row_difference",
    "settings_of",
    "shipped",
    "step_difference",
    "symbols_of",
    "top_placement",
    "window_of",
]


# -- running rules in exact arithmetic ---------------------------------------------------------------


def exact_rule(rule: Rule, value: Callable[[str, Any], Any]) -> Rule:
    """Rule with its floating-point parameters replaced by ``value(name, number)``, and statistics by symbols."""
    if not isinstance(rule, partial):
        return rule
    keywords = {k: value(k, v) if isinstance(v, float) else v for k, v in rule.keywords.items()}
    if "statistics" in keywords:
        keywords["statistics"] = SymbolicStatistics(lambda name: value(name, None))
    return partial(rule.func, *rule.args, **keywords)


def parameters_of(record: Method) -> tuple[str, ...]:
    """Names of the floating-point parameters of a method; they are symbols in its proof."""
    return tuple(k for k, v in record.options.items() if isinstance(v, float))


def settings_of(record: Method) -> dict[str, Any]:
    """Options of the derivation other than order and real parameters."""
    return {k: v for k, v in record.options.items() if k != "order" and not isinstance(v, float)}


def derive_step(
    record: Method, place: Placement, window: Window, rate: int | None, parameter: Callable[[str], Any]
) -> Derived:
    """Run the derivation of a method's family; ``parameter`` gives its symbols."""
    options = settings_of(record) | {name: parameter(name) for name in parameters_of(record)}
    if record.family in STATISTICAL:
        options["statistics"] = SymbolicStatistics(parameter)
    return DERIVATIONS[record.family](window, place.order, rate, **options)


def derived_step(record: Method, place: Placement, window: Window, parameter: Callable[[str], Any]) -> Step:
    """Step of the derivation, in whatever arithmetic the window brings.

    Parameters
    ----------
    record : Method
        Method whose family has a derivation.
    place : Placement
        Kind of step.
    window : Window
        Step length, past nodes and kernel as exact numbers or balls.
    parameter : callable
        Value of a floating-point parameter of the method, such as ``"beta"``.
    """
    return derive_step(record, place, window, record.form.rate, parameter).step


def window_of(
    record: Method, place: Placement, step: Any, past: tuple[Any, ...], kernel: Kernel, value: Callable[[str], Any]
) -> Window:
    """Window of a step with everything that the rule asks for; ``value`` gives its symbols."""
    plain = Window(step, past, kernel, place.known, place.depth, place.last, inner=inner_nodes(place), past_times=past)
    return furnish(plain, record.family, value, record.options)


def inner_nodes(place: Placement) -> tuple[Fraction, ...]:
    """Inner nodes that a plan would provide, on a grid whose steps are constant in the clock."""
    given = tuple(Fraction(c).limit_denominator(64) for c in place.inner_times)
    return given or tuple(Fraction(j, place.stride) for j in range(1, place.stride))


def recorded(record: Method, place: Placement, rate: int | None) -> RecordingKernel:
    """Which moments and fractions derivation and shipped rule ask for."""
    kernel = RecordingKernel({})
    past = tuple(Fraction(-j) for j in range(1, place.past + 1))

    def value(name: str) -> Fraction:
        return example(record.family, name)

    window = window_of(record, place, Fraction(1), past, kernel, value)
    derive_step(record, place, window, rate, value)
    exact_rule(place.rule, lambda name, v: value(name) if v is None else Fraction(v))(window, place.order)
    return kernel


def symbols_of(record: Method, place: Placement, rate: int | None) -> Symbols:
    """Field in which a step of a method can be computed."""
    moments = [f"M_{k}" for k in range(place.past + 1)] if rate is None else []
    root = recorded(record, place, rate).root
    return Symbols.make(place.past, rate, root, [*given_symbols(record, place), *moments])


def given_symbols(record: Method, place: Placement) -> tuple[str, ...]:
    """Symbols of the method's own."""
    return (*parameters_of(record), *given_names(record.family, place.past))


def shipped(record: Method, place: Placement, symbols: Symbols) -> Step:
    """Step as it ships, in exact arithmetic."""
    kernel = symbols.shipped_kernel(place.past + 1)
    window = window_of(record, place, symbols.h, symbols.past, kernel, symbols.__getitem__)
    return exact_rule(place.rule, lambda name, _: symbols[name])(window, place.order)


def derived(record: Method, place: Placement, symbols: Symbols) -> Derived:
    """Step as it is derived, in the same arithmetic."""
    kernel = symbols.derived_kernel(place.past + 1)
    window = window_of(record, place, symbols.h, symbols.past, kernel, symbols.__getitem__)
    return derive_step(record, place, window, symbols.rate, symbols.__getitem__)


def placements(record: Method) -> tuple[Placement, ...]:
    """All kinds of steps that plans make of a method: ramp, full order, last step, exact start."""
    n = record.exact_steps + record.top + 2
    starts: tuple[Start, ...] = ("ramp",) if record.family in STATISTICAL else ("ramp", "exact")
    own = [p for start in starts for p in record.programme(n, start=start)]
    own += record.programme(n, start="ramp", lower_order_final=True)
    unique: dict[Any, Placement] = {}
    for place in own:
        unique.setdefault((place.order, place.past, place.known, place.last, place.stride, place.inner_times), place)
    return tuple(unique.values())


def top_placement(record: Method) -> Placement:
    """The step at full order with its own history, not the last."""
    return record.programme(record.exact_steps + record.top + 2, start="ramp")[-2]


def described(place: Placement) -> str:
    """Kind of step in words."""
    history = ", ".join(sorted(place.known - {"x"})) or "none"
    return f"order {place.order}, history {history}{', last step' if place.last else ''}"


# -- comparing steps ---------------------------------------------------------------------------------


def row_difference(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """First vector of a row whose weights differ, or nothing."""
    for source in sorted({*a, *b}):
        if a.get(source, 0) - b.get(source, Fraction(0)) != 0:
            return f"the weight of {source} in row {name} is {a.get(source, 0)} against {b.get(source, 0)}"
    return ""


def step_difference(a: Step, b: Step) -> str:
    """First difference between two steps, or nothing."""
    if a.nfe != b.nfe or {*a.memory} != {*b.memory}:
        return f"{a.nfe} stages and memory {sorted(a.memory)} against {b.nfe} and {sorted(b.memory)}"
    for (name, node, row), (_, other_node, other) in zip(a.rows(), b.rows(), strict=True):
        if node is not None and node - other_node != 0:
            return f"row {name} stands at {node} against {other_node}"
        row_b = other if node is not None else b.memory[name]
        if found := row_difference(name, row, row_b):
            return found
    return ""


def published_difference(rows: Mapping[str, Mapping[str, Any]], step: Step) -> str:
    """First difference between a printed formula and a step; the printed rows leave the state out."""
    shipped = {name: row for name, node, row in step.rows() if node is not None}
    stages = {f"k{i}" for i, stage in enumerate(step.stages, start=1) if dict(stage.value) == {"x": 1}}
    if {*rows} != {*shipped} - stages:
        return f"rows {sorted(rows)} are printed and {sorted({*shipped} - stages)} are shipped"
    for name, row in rows.items():
        if found := row_difference(name, {"x": 1, **row}, shipped[name]):
            return found
    return ""

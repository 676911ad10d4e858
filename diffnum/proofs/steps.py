"""Steps in exact arithmetic: every kind of step that plans make of a method, as it ships and as it is derived.

The rules run in one field of rational functions, in which equality is decided
(:mod:`diffnum.derivation.algebra.symbols`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Placement, Start
from diffnum.derivation import Derived
from diffnum.derivation.algebra.reverse import SquareRoot, covariance
from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.given import example, furnish, given_names, takes_statistics
from diffnum.derivation.printing.formulas import RecordingKernel, formal_names
from diffnum.derivation.printing.notation import NOISE
from diffnum.forms import Kernel
from diffnum.proofs.arithmetic import Arithmetic, arithmetic_of, derivation_of, exact_rule, parameters_of
from diffnum.tableau import Step, Window

__all__ = [
    "Case",
    "cases",
    "collected",
    "derived_step",
    "inner_nodes",
    "placements",
    "published_difference",
    "row_difference",
    "step_difference",
    "top_case",
    "top_placement",
]


@dataclass(frozen=True, eq=False)
class Case:
    """One kind of step of a method, with what is computed of it, once.

    Parameters
    ----------
    record : Method
        Method.
    placement : Placement
        Kind of step.
    rate : int or None
        Growth rate of the kernel on which it is looked at: that of the record, or of the other prediction.
    """

    record: Method
    placement: Placement
    rate: int | None

    @classmethod
    def of(cls, record: Method, placement: Placement) -> Case:
        """Case on the kernel of the record."""
        return cls(record, placement, arithmetic_of(record).rate(record))

    @property
    def described(self) -> str:
        """Kind of step in words."""
        history = ", ".join(sorted(self.placement.known - {"x"})) or "none"
        return f"order {self.placement.order}, history {history}{', last step' if self.placement.last else ''}"

    @property
    def _arithmetic(self) -> Arithmetic:
        return arithmetic_of(self.record)

    @cached_property
    def given(self) -> tuple[str, ...]:
        """Symbols of the method's own."""
        return (*parameters_of(self.record), *given_names(self.record.family, self.placement.past))

    @cached_property
    def asked(self) -> RecordingKernel:
        """Which moments and fractions derivation and shipped rule ask for; noise asks for none."""
        record, place, kernel = self.record, self.placement, RecordingKernel({})
        past = tuple(Fraction(-j) for j in range(1, place.past + 1))

        def value(name: str) -> Fraction:
            return example(record.family, name)

        window = self.window(Fraction(1), past, kernel, value)
        derivation_of(record, value)(window, place.order, self.rate)
        if record.noise is None:
            exact_rule(place.rule, lambda name, v: value(name) if v is None else Fraction(v))(window, place.order)
        return kernel

    @cached_property
    def symbols(self) -> Symbols:
        """Field in which the step can be computed."""
        return self._arithmetic.field(self.placement, self.rate, self.asked.root, self.given)

    def window(self, step: Any, past: tuple[Any, ...], kernel: Kernel, value: Callable[[str], Any]) -> Window:
        """Window of a step with everything that the rule asks for; ``value`` gives its symbols."""
        return furnish(
            _plain_window(self.placement, step, past, kernel), self.record.family, value, self.record.options
        )

    def shipped_in(self, symbols: Symbols) -> Step:
        """Step as it ships, in a field that may be that of another case."""
        kernel = symbols.shipped_kernel(self.placement.past + 1)
        window = self.window(symbols.h, symbols.past, kernel, symbols.__getitem__)
        return self._arithmetic.rule(self.record, self.placement.rule, symbols)(window, self.placement.order)

    @cached_property
    def shipped(self) -> Step:
        """Step as it ships, in exact arithmetic."""
        return self.shipped_in(self.symbols)

    def _derived_on(self, symbols: Symbols, kernel: Kernel) -> Derived:
        window = self.window(symbols.h, symbols.past, kernel, symbols.__getitem__)
        return self._arithmetic.derive(self.record, window, self.placement.order, self.rate, symbols.__getitem__)

    @cached_property
    def derived(self) -> Derived:
        """Step as it is derived, in the same arithmetic."""
        return self._derived_on(self.symbols, self.symbols.derived_kernel(self.placement.past + 1))

    @cached_property
    def formal(self) -> Derived:
        """Derived step over formal moments, for print."""
        names = [*self.given, *formal_names(self.asked.asked)]
        kernel = self._arithmetic.formal(self.placement, self.rate, self.asked.root, names)
        return self._derived_on(kernel.symbols, kernel)


def _plain_window(place: Placement, step: Any, past: tuple[Any, ...], kernel: Kernel) -> Window:
    return Window(step, past, kernel, place.known, place.depth, place.last, inner=inner_nodes(place), past_times=past)


def inner_nodes(place: Placement) -> tuple[Fraction, ...]:
    """Inner nodes that a plan would provide, on a grid whose steps are constant in the clock."""
    given = tuple(Fraction(c).limit_denominator(64) for c in place.inner_times)
    return given or tuple(Fraction(j, place.stride) for j in range(1, place.stride))


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

    Returns
    -------
    Step
    """
    return arithmetic_of(record).derive(record, window, place.order, record.form.rate, parameter).step


# -- kinds of steps ----------------------------------------------------------------------------------


def placements(record: Method) -> tuple[Placement, ...]:
    """All kinds of steps that plans make of a method: ramp, full order, last step, exact start.

    Parameters
    ----------
    record : Method
        Record of a method.

    Returns
    -------
    tuple of Placement
        Each kind once.
    """
    n = record.exact_steps + record.top + 2
    starts: tuple[Start, ...] = ("ramp",) if takes_statistics(record.family) else ("ramp", "exact")
    own = [p for start in starts for p in record.programme(n, start=start)]
    own += record.programme(n, start="ramp", lower_order_final=True)
    unique: dict[Any, Placement] = {}
    for place in own:
        unique.setdefault(_kind(place), place)
    return tuple(unique.values())


def _kind(place: Placement) -> tuple[Any, ...]:
    """What tells one kind of step from another."""
    return place.order, place.past, place.known, place.last, place.stride, place.inner_times


def top_placement(record: Method) -> Placement:
    """The step at full order with its own history, not the last."""
    return record.programme(record.exact_steps + record.top + 2, start="ramp")[-2]


def cases(record: Method) -> tuple[Case, ...]:
    """All kinds of steps of a method."""
    return tuple(Case.of(record, place) for place in placements(record))


def top_case(record: Method, among: tuple[Case, ...] = ()) -> Case:
    """The step at full order with its own history, not the last; one of those at hand where it is among them."""
    place = top_placement(record)
    return next((case for case in among if _kind(case.placement) == _kind(place)), Case.of(record, place))


# -- comparing steps ---------------------------------------------------------------------------------


def _comparable(weight: Any) -> Any:
    """Weight, or its square where it is a root."""
    return weight.square if isinstance(weight, SquareRoot) else weight


def row_difference(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """First vector of a row whose weights differ, or nothing; roots are compared by their squares."""
    for source in sorted({*a, *b}):
        left, right = (_comparable(row.get(source, Fraction(0))) for row in (a, b))
        if left - right != 0:
            return f"the weight of {source} in row {name} is {left} against {right}"
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


def collected(row: Mapping[str, Any]) -> dict[str, Any]:
    """Row with the variance of its draws in their place."""
    rest = {source: weight for source, weight in row.items() if source[0] != NOISE}
    return rest if len(rest) == len(row) else rest | {NOISE: covariance(row, row)}


def published_difference(rows: Mapping[str, Mapping[str, Any]], step: Step) -> str:
    """First difference between a printed formula and a step; the printed rows leave the state out."""
    shipped = {name: collected(row) for name, node, row in step.rows() if node is not None}
    stages = {f"k{i}" for i, stage in enumerate(step.stages, start=1) if dict(stage.value) == {"x": 1}}
    if {*rows} != {*shipped} - stages:
        return f"rows {sorted(rows)} are printed and {sorted({*shipped} - stages)} are shipped"
    for name, row in rows.items():
        if found := row_difference(name, {"x": 1, **row}, shipped[name]):
            return found
    return ""

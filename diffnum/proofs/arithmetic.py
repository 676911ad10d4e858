"""Exact arithmetic of a record: the field in which its steps live, and how rule and derivation run in it.

A record without noise lives in the field of one exponential; one with noise in that of the reverse equation, with the
noise level a symbol, so that what is proved holds for every level at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, cast

from diffnum.coefficients.method import Method
from diffnum.coefficients.noise import Noise
from diffnum.coefficients.programme import Placement, Rule
from diffnum.derivation import DERIVATIONS, SCHEMES, Derived
from diffnum.derivation.algebra.reverse import ReverseParts, ReverseSymbols
from diffnum.derivation.algebra.symbols import Exact, Symbols
from diffnum.derivation.given import GivenScale, SymbolicStatistics, takes_statistics
from diffnum.derivation.printing.formulas import FormalKernel
from diffnum.derivation.records import Derive, Scheme
from diffnum.tableau import Window

__all__ = [
    "Arithmetic",
    "arithmetic_of",
    "derivation_of",
    "exact_rule",
    "is_derivable",
    "noise_of",
    "parameters_of",
    "settings_of",
    "without_noise",
]

Value = Callable[[str], Any]
"""Symbol, or number, by name."""


class Arithmetic(Protocol):
    """How the steps of a record run in exact arithmetic."""

    def rate(self, record: Method) -> int | None:
        """Growth rate of the kernel; None where its moments are symbols."""

    def field(self, place: Placement, rate: int | None, root: int, extra: Sequence[str]) -> Symbols:
        """Field of rational functions for a kind of step, with the exponentials of ``h/root`` and ``extra`` symbols."""

    def formal(self, place: Placement, rate: int | None, root: int, extra: Sequence[str]) -> FormalKernel:
        """Kernel whose moments are symbols, those of ``extra``, in a field of their own."""

    def rule(self, record: Method, rule: Rule, symbols: Symbols) -> Rule:
        """Rule with symbols for its parameters."""

    def derive(self, record: Method, window: Window, order: int, rate: int | None, parameter: Value) -> Derived:
        """Run the derivation; ``parameter`` gives its symbols."""


class _Deterministic:
    """Steps without noise."""

    def rate(self, record: Method) -> int | None:
        return record.form.rate

    def field(self, place: Placement, rate: int | None, root: int, extra: Sequence[str]) -> Symbols:
        return Symbols.make(place.past, rate, root, [*extra, *_moments(place, rate)])

    def formal(self, place: Placement, rate: int | None, root: int, extra: Sequence[str]) -> FormalKernel:  # noqa: ARG002
        return FormalKernel(Symbols.make(place.past, 0, 1, extra))

    def rule(self, record: Method, rule: Rule, symbols: Symbols) -> Rule:  # noqa: ARG002
        return exact_rule(rule, lambda name, _: symbols[name])

    def derive(self, record: Method, window: Window, order: int, rate: int | None, parameter: Value) -> Derived:
        return derivation_of(record, parameter)(window, order, rate)


class _FormalReverse(FormalKernel):
    """Kernel of the reverse equation whose moments are symbols; discounts are exponentials, which the field has."""

    def discount(self, fraction: Any = 1) -> Exact:
        symbols = cast("ReverseSymbols", self.symbols)
        return ReverseParts(symbols, symbols.prediction).discount(fraction)


class _WithNoise:
    """Steps with noise, at all levels at once."""

    def rate(self, record: Method) -> int | None:
        return None if SCHEMES[noise_of(record).scheme].parameter == "scale" else record.form.rate

    def field(self, place: Placement, rate: int | None, root: int, extra: Sequence[str]) -> Symbols:
        return ReverseSymbols.for_reverse(place.past, root, [*extra, *_moments(place, rate)], rate)

    def formal(self, place: Placement, rate: int | None, root: int, extra: Sequence[str]) -> FormalKernel:
        return _FormalReverse(ReverseSymbols.for_reverse(place.past, root, extra, rate))

    def rule(self, record: Method, rule: Rule, symbols: Symbols) -> Rule:
        tau, scheme = symbols["tau"], SCHEMES[noise_of(record).scheme]
        if scheme.parameter == "level":
            return _at_level(record, rule, _stands_for(scheme, cast("ReverseSymbols", symbols)))
        eta = symbols["eta"] if scheme.level is None else scheme.level
        return _at_level(record, rule, {"tau": tau, "eta": eta, "scale": GivenScale(tau * tau * symbols.h)})

    def derive(self, record: Method, window: Window, order: int, rate: int | None, parameter: Value) -> Derived:  # noqa: ARG002
        symbols: Symbols = cast("Any", window.step).symbols
        scheme = SCHEMES[noise_of(record).scheme]
        return scheme.derive(derivation_of(record, parameter), window, order, symbols)


_DETERMINISTIC, _WITH_NOISE = _Deterministic(), _WithNoise()


def arithmetic_of(record: Method) -> Arithmetic:
    """Arithmetic of a record, with or without noise."""
    return _DETERMINISTIC if record.noise is None else _WITH_NOISE


def noise_of(record: Method) -> Noise:
    """Noise of a record that has some.

    Raises
    ------
    ValueError
        If it has none.
    """
    if record.noise is None:
        msg = f"method={record.name!r} draws no noise: use a stochastic method"
        raise ValueError(msg)
    return record.noise


def _moments(place: Placement, rate: int | None) -> list[str]:
    """Symbols for the moments of a kernel that is not known in closed form."""
    return [f"M_{k}" for k in range(place.past + 1)] if rate is None else []


# -- rules and derivations -------------------------------------------------------------------------------


def exact_rule(rule: Rule, value: Callable[[str, Any], Any]) -> Rule:
    """Rule with its floating-point parameters replaced by ``value(name, number)``, and statistics by symbols."""
    if not isinstance(rule, partial):
        return rule
    keywords = {k: value(k, v) if isinstance(v, float) else v for k, v in rule.keywords.items()}
    if "statistics" in keywords:
        keywords["statistics"] = SymbolicStatistics(lambda name: value(name, None))
    return partial(rule.func, *rule.args, **keywords)


def _at_level(record: Method, rule: Rule, levels: Mapping[str, Any]) -> Rule:
    """Rule of a method with noise at another level, which ``levels`` has for each name of a parameter."""
    if not isinstance(rule, partial):
        return rule
    name = SCHEMES[noise_of(record).scheme].parameter
    kept = {k: v for k, v in rule.keywords.items() if k not in (name, "given")}
    return partial(rule.func, *rule.args, **kept, **{name: levels[name]})


def _stands_for(scheme: Scheme, symbols: ReverseSymbols) -> Mapping[str, Any]:
    """Level of a family of flow time, in the field."""
    if scheme.stands_for is None:
        msg = f"scheme={scheme}: nothing says what its level stands for"
        raise ValueError(msg)
    return {"level": scheme.stands_for(symbols["s_0"], symbols.power(1, 0), symbols.power(0, 1), symbols.square_root)}


_SILENT: Mapping[str, Any] = {"tau": 0, "eta": 0, "scale": GivenScale(0), "level": 0}
"""Levels at which no method draws anything."""


def without_noise(record: Method) -> Method:
    """The same weights without noise, as a record of the family of its deterministic part; others as they are."""
    if record.noise is None:
        return record
    form = replace(record.form, rate=arithmetic_of(record).rate(record))
    rule = _at_level(record, record.rule, _SILENT)
    return replace(record, rule=rule, family=record.noise.base, form=form, noise=None, parameters=())


def parameters_of(record: Method) -> tuple[str, ...]:
    """Names of the floating-point parameters of a method; they are symbols in its proof."""
    return tuple(k for k, v in record.options.items() if isinstance(v, float))


def settings_of(record: Method) -> dict[str, Any]:
    """Options of the derivation other than order and real parameters."""
    return {k: v for k, v in record.options.items() if k != "order" and not isinstance(v, float)}


def is_derivable(record: Method) -> bool:
    """Whether there is a derivation for a record, and for its noise."""
    quiet = without_noise(record)
    return quiet.family in DERIVATIONS and (record.noise is None or record.noise.scheme in SCHEMES)


def derivation_of(record: Method, parameter: Value) -> Derive:
    """Derivation of the part without noise, with the options of the record; ``parameter`` gives its symbols."""
    family = record.family if record.noise is None else record.noise.base
    options = settings_of(record) | {name: parameter(name) for name in parameters_of(record)}
    if takes_statistics(family):
        options["statistics"] = SymbolicStatistics(parameter)
    return partial(DERIVATIONS[family], **options)

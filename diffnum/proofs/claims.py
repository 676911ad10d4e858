"""Claims of equality: derived == shipped == published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from diffnum.coefficients.method import Method
from diffnum.derivation import Identity
from diffnum.derivation.algebra.symbols import Exact, Symbols
from diffnum.derivation.published import PUBLISHED, Published
from diffnum.proofs.arithmetic import is_derivable, parameters_of, settings_of
from diffnum.proofs.steps import Case, cases, published_difference, step_difference

__all__ = ["against_published", "decide", "derived_is_shipped", "is_derived", "shipped_is_published"]


def decide(claim: str, difference: Callable[[], str]) -> Identity:
    """Identity that holds when there is no difference; a computation that fails is not a proof."""
    try:
        detail = difference()
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
    return Identity(claim, not detail, detail)


def derived_is_shipped(record: Method, kinds: Sequence[Case]) -> Iterator[Identity]:
    """Whether the derived step and the shipped one are the same, for every kind of step that plans make."""
    if not is_derivable(record):
        yield Identity("derived == shipped", False, f"family={record.family!r} has no derivation")
        return
    for case in kinds:

        def difference(case: Case = case) -> str:
            return step_difference(case.derived.step, case.shipped)

        yield decide(f"derived == shipped ({case.described})", difference)


def is_derived(record: Method) -> bool:
    """Whether every step that plans make of a method is the derived one; stops at the first that is not.

    Parameters
    ----------
    record : Method
        Record of a method that has a derivation.

    Returns
    -------
    bool
    """
    return all(identity.ok for identity in derived_is_shipped(record, cases(record)))


def shipped_is_published(top: Case) -> Iterator[Identity]:
    """Full order and, where the same formula is printed for the other prediction, that too.

    With noise the methods of two predictions are different ones, and no formula is that of both.
    """
    record, order, found = top.record, top.placement.order, False
    for formula in PUBLISHED.get(record.family, ()):
        for rate in formula.rates:
            both = record.noise is None and rate is not None and top.rate is not None and rate * top.rate != 0
            if formula.covers(rate, order) and (rate == top.rate or both):
                found = True
                case = top if rate == top.rate else Case(record, top.placement, rate)
                prediction = {-1: "data", 1: "noise"}.get(rate or 0, "this")
                claim = f"shipped == published in {prediction} prediction ({formula.source})"
                yield decide(claim, partial(against_published, case, formula))
    if not found:
        yield Identity(
            "shipped == published", False, f"no formula is transcribed for family={record.family!r}, order {order}"
        )


def against_published(case: Case, formula: Published) -> str:
    """Difference between the shipped step and a printed formula, in words; empty if there is none."""
    record, order, symbols = case.record, case.placement.order, case.symbols
    options = settings_of(record) | {name: symbols[name] for name in parameters_of(record)}
    # the printed formula takes the nodes of its own order, though a plan may know more
    rows = formula.rows(replace(symbols, names=_only(symbols, order - 1)), order, **options)
    return published_difference(rows, case.shipped)


def _only(symbols: Symbols, past: int) -> dict[str, Exact]:
    return {n: v for n, v in symbols.names.items() if not n.startswith("u_") or int(n[2:]) <= past}

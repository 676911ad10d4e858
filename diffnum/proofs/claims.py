"""Claims of equality: derived == shipped == published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Placement
from diffnum.derivation import DERIVATIONS, Identity
from diffnum.derivation.algebra.symbols import Exact, Symbols
from diffnum.derivation.published import PUBLISHED, Published
from diffnum.proofs.steps import (
    derived,
    described,
    parameters_of,
    placements,
    published_difference,
    settings_of,
    shipped,
    step_difference,
    symbols_of,
    top_placement,
)

__all__ = ["against_published", "decide", "derived_is_shipped", "is_derived", "shipped_is_published"]


def decide(claim: str, difference: Callable[[], str]) -> Identity:
    """Identity that holds when there is no difference; a computation that fails is not a proof."""
    try:
        detail = difference()
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
    return Identity(claim, not detail, detail)


def derived_is_shipped(record: Method) -> Iterator[Identity]:
    """Whether the derived step and the shipped one are the same, for every kind of step that plans make."""
    if record.family not in DERIVATIONS:
        yield Identity("derived == shipped", False, f"family={record.family!r} has no derivation")
        return
    for place in placements(record):

        def difference(place: Placement = place) -> str:
            symbols = symbols_of(record, place, record.form.rate)
            return step_difference(derived(record, place, symbols).step, shipped(record, place, symbols))

        yield decide(f"derived == shipped ({described(place)})", difference)


def is_derived(record: Method) -> bool:
    """Whether every step that plans make of a method is the derived one; stops at the first that is not."""
    return all(identity.ok for identity in derived_is_shipped(record))


def shipped_is_published(record: Method) -> Iterator[Identity]:
    """Full order and, where the same formula is printed for the other prediction, that too."""
    top, found = top_placement(record), False
    for formula in PUBLISHED.get(record.family, ()):
        for rate in formula.rates:
            both = rate is not None and record.form.rate is not None and rate * record.form.rate != 0
            if formula.covers(rate, top.order) and (rate == record.form.rate or both):
                found = True
                difference = partial(against_published, record, top, rate, formula)
                prediction = {-1: "data", 1: "noise"}.get(rate or 0, "this")
                yield decide(f"shipped == published in {prediction} prediction ({formula.source})", difference)
    if not found:
        yield Identity(
            "shipped == published", False, f"no formula is transcribed for family={record.family!r}, order {top.order}"
        )


def against_published(record: Method, place: Placement, rate: int | None, formula: Published) -> str:
    """Difference between the shipped step and a printed formula, in words; empty if there is none."""
    symbols = symbols_of(record, place, rate)
    options = settings_of(record) | {name: symbols[name] for name in parameters_of(record)}
    # the printed formula takes the nodes of its own order, though a plan may know more
    rows = formula.rows(replace(symbols, names=_only(symbols, place.order - 1)), place.order, **options)
    return published_difference(rows, shipped(record, place, symbols))


def _only(symbols: Symbols, past: int) -> dict[str, Exact]:
    return {n: v for n, v in symbols.names.items() if not n.startswith("u_") or int(n[2:]) <= past}

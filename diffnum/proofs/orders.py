"""Orders: B-series of the shipped rule, from both sides."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import sympy

from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.coefficients.programme import Rule
from diffnum.derivation import Identity, Residuals
from diffnum.derivation.algebra.bseries import Expansion, expand
from diffnum.derivation.algebra.quotients import Quotient
from diffnum.derivation.algebra.reverse import SquareRoot
from diffnum.derivation.algebra.symbols import Exact, Symbols
from diffnum.derivation.algebra.trees import bushy
from diffnum.derivation.given import furnish, takes_statistics
from diffnum.derivation.model_statistics import moment_defects
from diffnum.proofs.arithmetic import exact_rule, parameters_of, settings_of, without_noise
from diffnum.proofs.claims import decide
from diffnum.proofs.steps import inner_nodes, top_placement
from diffnum.tableau import Step, Window

__all__ = [
    "as_expression",
    "expanded",
    "formal_order",
    "furnished",
    "grids_to_prove",
    "order_by_moments",
    "order_identities",
    "predicted_history",
    "proved_order",
    "statistics_defects",
]


def expanded(record: Method, grid: str, row: str = "x", highest: int | None = None) -> Expansion:
    """B-series of the step at full order with exact history, without noise; averages of an endless smooth history."""
    record = without_noise(record)
    place = top_placement(record)
    return expand(
        place.rule,
        place.order,
        rate=record.form.rate,
        past=record.depth,
        known=place.known,
        depth=place.depth,
        grid=grid,
        highest=record.order_on(grid) if highest is None else highest,
        extra=parameters_of(record),
        row=row,
        inner=inner_nodes(place),
        prepare=lambda symbol: furnished(record, exact_rule(place.rule, lambda name, _: symbol(name))),
    )


def furnished(record: Method, rule: Rule, ratio: Any = Fraction(1)) -> Rule:
    """Rule on windows whose times are their clock, and whose compensation ratio is given."""

    def run(window: Window, order: int) -> Step:
        def value(name: str) -> Any:
            return ratio if name == "rho" else window.past[int(name[6:]) - 1]

        return rule(furnish(window, record.family, value, record.options), order)

    return run


def formal_order(record: Method, grid: str) -> int:
    """Order of the update formula with exact history by its B-series, at most one above that of the record.

    Parameters
    ----------
    record : Method
        Method, possibly a defective one.
    grid : {"uniform", "smooth", "irregular"}
        Kind of steps in the clock of the form.

    Returns
    -------
    int
    """
    return proved_order(record, grid)[0]


def order_identities(record: Method, residuals: list[Residuals], orders: dict[str, int]) -> Iterator[Identity]:
    """Order of the weights on each kind of grid, from both sides; what was found is added to the two collections."""
    moments = " with exact moments" if record.form.quadrature else ""
    of_weights = "" if record.noise is None else "without noise the weights have "
    for grid in grids_to_prove(record):

        def difference(grid: str = grid) -> str:
            orders[grid], summaries = proved_order(record, grid)
            residuals.extend(summaries)
            if orders[grid] != record.order_on(grid) or summaries[-1].zero:
                return f"the order is {orders[grid]}{' or more' if summaries[-1].zero else ''}"
            return ""

        yield decide(
            f"{of_weights}order {record.order_on(grid)}{moments} on {_GRID_TEXT[grid]}, and no more", difference
        )


_GRID_TEXT = {
    "uniform": "constant steps",
    "smooth": "smoothly varying steps",
    "irregular": "steps of arbitrary ratios",
}


def grids_to_prove(record: Method) -> tuple[str, ...]:
    """Kinds of grids to be proved: free ratios settle smooth ones where the claims agree."""
    if not record.depth:
        return ("uniform",)
    claims = {record.order_on(kind) for kind in GRID_KINDS}
    return ("uniform", "irregular") if len(claims) == 1 else GRID_KINDS


def _summaries(grid: str, expansion: Expansion, record: Method) -> Iterator[Residuals]:
    for order in range(1, expansion.order + 2):
        relevant = [r for r in expansion.residuals if r.nodes <= order]
        failing = [r for r in expansion.failing if _at_parameters(r.leading, record)] if order > expansion.order else []
        example = (
            f"{failing[0].tree or 'the state itself'}: {failing[0].leading} h^{failing[0].power}" if failing else ""
        )
        yield Residuals(grid, order, len(relevant), zero=not failing, example=example)


def proved_order(record: Method, grid: str) -> tuple[int, tuple[Residuals, ...]]:
    """Order on a kind of grid, no further than one above the record's, and what shows it."""
    if takes_statistics(record.family):
        return order_by_moments(record, grid)
    expansion = expanded(record, grid)
    return expansion.order, tuple(_summaries(grid, expansion, record))


def statistics_defects(record: Method, symbols: Symbols) -> tuple[Exact, ...]:
    """Defects of the powers up to the order of the record, for steps so short that the statistics are constant."""
    moments = [symbols.constant(Fraction(1, k + 1)) for k in range(record.top + 2)]
    return moment_defects(record.top, symbols.past, moments, **settings_of(record))


def order_by_moments(record: Method, grid: str) -> tuple[int, tuple[Residuals, ...]]:
    """Order of a step that is linear in a smooth function of the clock, from the powers that it integrates exactly."""
    symbols = Symbols.make(record.top, 0, 1, [f"J_{k}" for k in range(record.top + 2)])
    past = symbols.past if grid == "irregular" else tuple(Fraction(-j) for j in range(1, record.top + 1))
    moments = [symbols[f"J_{k}"] for k in range(record.top + 2)]
    defects = moment_defects(record.top, past, moments, **settings_of(record))
    order = next(k for k, defect in enumerate(defects) if defect != 0)
    if order <= record.top and statistics_defects(record, symbols)[order] == 0:
        msg = f"the defect of u^{order} vanishes for short steps, so that the order could be higher"
        raise ValueError(msg)
    return order, tuple(
        Residuals(grid, q, 1, zero=q <= order, example="" if q <= order else f"u^{q - 1}: {defects[q - 1]}")
        for q in range(1, order + 2)
    )


def _at_parameters(value: Any, record: Method) -> bool:
    """Whether a coefficient is not zero at the method's own parameters."""
    values = {name: Fraction(record.options[name]) for name in parameters_of(record)}
    return not value.vanishes_at(values) if isinstance(value, Quotient) else bool(value)


def predicted_history(record: Method) -> Identity:
    """A history of evaluations at predicted points costs no order.

    The predictor's error e = O(h^p) enters the step as h f_y e, on trees whose root has a single child; the pure
    quadrature tree has none, so it cannot be compensated either.
    """
    order = record.order_on("uniform")
    grid = "irregular" if record.order_on("irregular") == order else "uniform"
    claim = f"evaluations at predicted points keep the order: the predictor has order {order - 1} or more"

    def difference() -> str:
        predictor = expanded(record, grid, row="k1", highest=order - 1)
        quadrature = bushy(order + 1)
        corrector = expanded(record, "uniform")
        if predictor.order < order - 1:
            return f"the predictor has order {predictor.order}"
        if any(r.nodes == 1 and r.leading for r in predictor.residuals):
            return "the predictor does not integrate constants exactly"
        if not any(r.tree == quadrature for r in corrector.failing):
            return f"the quadrature error on {quadrature} vanishes, so that the order could be higher"
        return ""

    return decide(claim, difference)


def as_expression(value: Any) -> sympy.Expr:
    """Exact number, function or root as a sympy expression."""
    if isinstance(value, SquareRoot):
        return value.as_expr()
    if isinstance(value, Exact):  # factors look best while E is a symbol, and odd where it is a root
        written = value.value.as_expr() if value.symbols.root > 1 else value.value.factored()
        return written.xreplace(value.symbols.meaning)
    if isinstance(value, Quotient):
        return value.factored()
    return sympy.Rational(int(value.numerator), int(value.denominator))

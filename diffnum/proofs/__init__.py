"""Proofs: what is derived, what ships and what is published are the same, and the order is what the record says.

Three roads lead to every weight: the derivation (moments and order conditions, :mod:`diffnum.derivation`), the
shipped rule (:mod:`diffnum.coefficients`) and the printed formula (:mod:`diffnum.derivation.published`). They are run
in one field of rational functions, where equality is decided. The order of the shipped rule is then proved by
B-series, from both sides: all terms of the local error up to ``h**p`` vanish, and one of size ``h**(p + 1)`` does not.
"""

from __future__ import annotations

import time
from dataclasses import replace

import sympy

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.coefficients.programme import Placement
from diffnum.derivation import DERIVATIONS, Derivation, Identity, Proof, Residuals
from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.algebra.trees import bushy
from diffnum.derivation.given import STATISTICAL
from diffnum.derivation.printing.formulas import FormalKernel, Formula, formal_names
from diffnum.jobs.moved import answering
from diffnum.proofs import stochastic as stochastic_proofs
from diffnum.proofs.claims import decide, derived_is_shipped, is_derived, shipped_is_published
from diffnum.proofs.orders import (
    as_expression,
    expanded,
    formal_order,
    grids_to_prove,
    order_by_moments,
    predicted_history,
    proved_order,
    statistics_defects,
)
from diffnum.proofs.steps import (
    derive_step,
    derived,
    derived_step,
    given_symbols,
    parameters_of,
    placements,
    recorded,
    symbols_of,
    top_placement,
    window_of,
)
from diffnum.proofs.theorems import theorems_of

__all__ = [
    "Derivation",
    "Identity",
    "Proof",
    "Residuals",
    "derive",
    "derived_step",
    "formal_order",
    "is_derived",
    "placements",
    "prove",
]


# -- public functions --------------------------------------------------------------------------------


def derive(name: str | Method) -> Derivation:
    """Derive a method from the exact integral or the order conditions.

    Parameters
    ----------
    name : str or Method
        Name in the catalogue, alias, or record.

    Returns
    -------
    Derivation
        With ``.weights`` (sympy), ``.latex()``, ``.code(language)``, ``.error_constant``, ``.argument``.

    Raises
    ------
    ValueError
        If the method is unknown, or its family has no derivation.

    Examples
    --------
    >>> derive("ddim").weights["x"]["k1"]
    1 - exp(-h)
    """
    record = find_method(name) if isinstance(name, str) else name
    if record.stochastic:
        return stochastic_proofs.derive(record)
    if record.family not in DERIVATIONS:
        raise ValueError(f"family={record.family!r} has no derivation: use one of {', '.join(DERIVATIONS)}")
    place, rate = top_placement(record), record.form.rate
    found = derived(record, place, symbols_of(record, place, rate))
    terms = _error_terms(record)
    return Derivation(
        name=record.name,
        step=found.step,
        weights={row: {s: as_expression(w) for s, w in value.items()} for row, _, value in found.step.rows()},
        argument=found.argument,
        asymptotic=found.asymptotic,
        error_constant=terms.get(str(bushy(record.order_on("uniform") + 1)), sympy.Integer(0)),
        error_terms=terms,
        formula=_formula(record, place),
    )


def _error_terms(record: Method) -> dict[str, sympy.Expr]:
    """Leading coefficients of the local error by tree; on constant steps where the order is lower on others."""
    grid = "irregular" if record.depth and len(grids_to_prove(record)) == 2 else "uniform"
    if record.family in STATISTICAL:
        order, _ = order_by_moments(record, grid)
        defect = statistics_defects(record, Symbols.make(record.top, 0))[order]
        return {str(bushy(order + 1)): as_expression(defect) / sympy.factorial(order)}
    expansion = expanded(record, grid)
    return {str(r.tree): as_expression(r.leading) / r.tree.symmetry for r in expansion.failing if r.tree}


def _formula(record: Method, place: Placement) -> Formula:
    """Derived step over formal moments, for print."""
    rate = record.form.rate
    asked = recorded(record, place, rate).asked
    symbols = Symbols.make(place.past, 0, 1, [*given_symbols(record, place), *formal_names(asked)])
    window = window_of(record, place, symbols.h, symbols.past, FormalKernel(symbols), symbols.__getitem__)
    step = derive_step(record, place, window, rate, symbols.__getitem__).step
    parameters = {name: record.options[name] for name in parameters_of(record)}
    return Formula.of(record.name, record.form.name, rate, step, parameters)


def prove(name: str | Method) -> Proof:
    """Prove a method: derived == shipped == published, and the order of the record, from both sides.

    Parameters
    ----------
    name : str or Method
        Name in the catalogue, alias, or record.

    Returns
    -------
    Proof
        Never raises on a wrong method: ``ok`` is false and ``identities`` and ``residuals`` say why.

    Raises
    ------
    ValueError
        If ``name`` is unknown.
    """
    record = find_method(name) if isinstance(name, str) else name
    if record.stochastic:
        return stochastic_proofs.prove(record)
    begin = time.perf_counter()
    moments = ""
    if record.form.quadrature:  # no expansion knows the sums: the formula is proved, with the order that it claims
        record, moments = replace(record, order=record.claimed_order), " with exact moments"
    runs = decide("the rule can be run", lambda: "" if placements(record) else "it makes no steps")
    if not runs.ok:
        return Proof(record.name, False, (runs,), (), -1, {}, time.perf_counter() - begin)
    identities = [*derived_is_shipped(record), *shipped_is_published(record), *theorems_of(record)]
    residuals: list[Residuals] = []
    orders: dict[str, int] = {}
    for grid in grids_to_prove(record):

        def difference(grid: str = grid) -> str:
            orders[grid], summaries = proved_order(record, grid)
            residuals.extend(summaries)
            if orders[grid] != record.order_on(grid) or summaries[-1].zero:
                return f"the order is {orders[grid]}{' or more' if summaries[-1].zero else ''}"
            return ""

        identities.append(
            decide(f"order {record.order_on(grid)}{moments} on {_GRID_TEXT[grid]}, and no more", difference)
        )
    if "m0" in top_placement(record).known:
        identities.append(predicted_history(record))
    order = min((orders[grid] for grid in grids_to_prove(record) if grid in orders and grid != "irregular"), default=-1)
    orders |= {kind: order for kind in GRID_KINDS if orders and kind not in orders}
    seconds = time.perf_counter() - begin
    ok = all(i.ok for i in identities)
    return Proof(record.name, ok, tuple(identities), tuple(residuals), order, orders, seconds)


_GRID_TEXT = {
    "uniform": "constant steps",
    "smooth": "smoothly varying steps",
    "irregular": "steps of arbitrary ratios",
}


__getattr__ = answering(__name__)

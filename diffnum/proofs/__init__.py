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
from diffnum.derivation import DERIVATIONS, SCHEMES, Derivation, Identity, Proof, Residuals
from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.algebra.trees import bushy
from diffnum.derivation.given import takes_statistics
from diffnum.derivation.printing.formulas import Formula
from diffnum.proofs.arithmetic import is_derivable, parameters_of
from diffnum.proofs.claims import decide, derived_is_shipped, is_derived, shipped_is_published
from diffnum.proofs.noise import law_identities, order_identities_with_noise, response_of
from diffnum.proofs.orders import (
    as_expression,
    expanded,
    formal_order,
    grids_to_prove,
    order_by_moments,
    order_identities,
    predicted_history,
    statistics_defects,
)
from diffnum.proofs.steps import Case, cases, derived_step, placements, top_case
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
    record = name if isinstance(name, Method) else find_method(name)
    if not is_derivable(record):
        msg = f"family={record.family!r} has no derivation: use one of {', '.join(DERIVATIONS)}"
        raise ValueError(msg)
    top = top_case(record)
    step = top.derived.step
    terms = _error_terms(record)
    return Derivation(
        name=record.name,
        step=step,
        weights={row: {s: as_expression(w) for s, w in value.items()} for row, _, value in step.rows()},
        argument=top.derived.argument,
        asymptotic=top.derived.asymptotic,
        error_constant=terms.get(str(bushy(record.order_on("uniform") + 1)), sympy.Integer(0)),
        error_terms=terms,
        formula=_formula(top),
        strong_constant=_strong_constant(record),
    )


def _strong_constant(record: Method) -> sympy.Expr | None:
    """None without noise; noise of a path in another clock leaves more than its response."""
    if record.noise is None or record.noise.silent or SCHEMES[record.noise.scheme].entry == "sigma":
        return None
    return sympy.Rational(*response_of(record).strong_constant.as_integer_ratio())


def _error_terms(record: Method) -> dict[str, sympy.Expr]:
    """Leading coefficients of the local error by tree; on constant steps where the order is lower on others."""
    grid = "irregular" if record.depth and len(grids_to_prove(record)) == 2 else "uniform"
    if takes_statistics(record.family):
        order, _ = order_by_moments(record, grid)
        defect = statistics_defects(record, Symbols.make(record.top, 0))[order]
        return {str(bushy(order + 1)): as_expression(defect) / sympy.factorial(order)}
    expansion = expanded(record, grid)
    return {str(r.tree): as_expression(r.leading) / r.tree.symmetry for r in expansion.failing if r.tree}


def _formula(top: Case) -> Formula:
    """Derived step over formal moments, for print."""
    record = top.record
    if record.noise is None:
        parameters = {name: record.options[name] for name in parameters_of(record)}
        return Formula.of(record.name, record.form.name, top.rate, top.formal.step, parameters)
    # eta stands for a noise level that depends on the step
    level = None if SCHEMES[record.noise.scheme].parameter in ("eta", "level") else record.noise.level
    parameters = {} if level is None else {"tau": level}
    return Formula.of(record.name, record.form.name, top.rate, top.formal.step, parameters, noise=True)


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
    record = name if isinstance(name, Method) else find_method(name)
    begin = time.perf_counter()
    if record.form.quadrature:  # no expansion knows the sums: the formula is proved, with the order that it claims
        record = replace(record, order=record.claimed_order)
    runs = decide("the rule can be run", lambda: "" if placements(record) else "it makes no steps")
    if not runs.ok:
        return Proof(record.name, False, (runs,), (), -1, {}, time.perf_counter() - begin)
    kinds = cases(record)
    top = top_case(record, kinds)
    residuals: list[Residuals] = []
    orders: dict[str, int] = {}
    identities = [
        *derived_is_shipped(record, kinds),
        *shipped_is_published(top),
        *theorems_of(top),
        *law_identities(top),
        *order_identities(record, residuals, orders),
        *order_identities_with_noise(record),
    ]
    if "m0" in top.placement.known:
        identities.append(predicted_history(record))
    order = min((orders[grid] for grid in grids_to_prove(record) if grid in orders and grid != "irregular"), default=-1)
    orders |= {kind: order for kind in GRID_KINDS if orders and kind not in orders}
    seconds = time.perf_counter() - begin
    ok = all(i.ok for i in identities)
    return Proof(record.name, ok, tuple(identities), tuple(residuals), order, orders, seconds)

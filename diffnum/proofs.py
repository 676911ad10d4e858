"""Proofs: what is derived, what ships and what is published are the same, and the order is what the record says.

Three roads lead to every weight: the derivation (moments and order conditions, :mod:`diffnum.derivation`), the
shipped rule (:mod:`diffnum.coefficients`) and the printed formula (:mod:`diffnum.derivation.published`). They are run
in one field of rational functions, where equality is decided. The order of the shipped rule is then proved by
B-series, from both sides: all terms of the local error up to ``h**p`` vanish, and one of size ``h**(p + 1)`` does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import sympy

from diffnum import stochastic_proofs
from diffnum.coefficients.adams import ddim
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import GRID_KINDS, Method, Placement, Rule
from diffnum.derivation import DERIVATIONS, Derivation, Identity, Proof, Residuals
from diffnum.derivation.adams import moment_weights
from diffnum.derivation.bseries import Expansion, expand
from diffnum.derivation.given import STATISTICAL, furnish
from diffnum.derivation.model_statistics import moment_defects
from diffnum.derivation.printing import FormalKernel, Formula, formal_names
from diffnum.derivation.published import PUBLISHED, Published
from diffnum.derivation.symbols import Exact, Symbols, is_zero
from diffnum.derivation.trees import bushy
from diffnum.exact_steps import (
    derive_step,
    derived,
    derived_step,
    described,
    exact_rule,
    given_symbols,
    inner_nodes,
    parameters_of,
    placements,
    published_difference,
    recorded,
    row_difference,
    settings_of,
    shipped,
    step_difference,
    symbols_of,
    top_placement,
    window_of,
)
from diffnum.forms import ExponentialKernel
from diffnum.tableau import Stage, Step, Vector, Window

__all__ = [
    "Derivation",
    "Identity",
    "Proof",
    "Residuals",
    "derive",
    "derived_step",
    "formal_order",
    "is_derived",
    "perturbed",
    "placements",
    "prove",
]


# -- deciding ------------------------------------------------------------------------------------


def _decide(claim: str, difference: Callable[[], str]) -> Identity:
    """Identity that holds when there is no difference; a computation that fails is not a proof."""
    try:
        detail = difference()
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
    return Identity(claim, not detail, detail)


# -- identities --------------------------------------------------------------------------------------


def _derived_is_shipped(record: Method) -> Iterator[Identity]:
    if record.family not in DERIVATIONS:
        yield Identity("derived == shipped", False, f"family={record.family!r} has no derivation")
        return
    for place in placements(record):

        def difference(place: Placement = place) -> str:
            symbols = symbols_of(record, place, record.form.rate)
            return step_difference(derived(record, place, symbols).step, shipped(record, place, symbols))

        yield _decide(f"derived == shipped ({described(place)})", difference)


def is_derived(record: Method) -> bool:
    """Whether every step that plans make of a method is the derived one; stops at the first that is not."""
    return all(identity.ok for identity in _derived_is_shipped(record))


def _shipped_is_published(record: Method) -> Iterator[Identity]:
    """Full order and, where the same formula is printed for the other prediction, that too."""
    top, found = top_placement(record), False
    for formula in PUBLISHED.get(record.family, ()):
        for rate in formula.rates:
            both = rate is not None and record.form.rate is not None and rate * record.form.rate != 0
            if formula.covers(rate, top.order) and (rate == record.form.rate or both):
                found = True
                difference = partial(_against_published, record, top, rate, formula)
                prediction = {-1: "data", 1: "noise"}.get(rate or 0, "this")
                yield _decide(f"shipped == published in {prediction} prediction ({formula.source})", difference)
    if not found:
        yield Identity(
            "shipped == published", False, f"no formula is transcribed for family={record.family!r}, order {top.order}"
        )


def _against_published(record: Method, place: Placement, rate: int | None, formula: Published) -> str:
    symbols = symbols_of(record, place, rate)
    options = settings_of(record) | {name: symbols[name] for name in parameters_of(record)}
    # the printed formula takes the nodes of its own order, though a plan may know more
    rows = formula.rows(replace(symbols, names=_only(symbols, place.order - 1)), place.order, **options)
    return published_difference(rows, shipped(record, place, symbols))


def _only(symbols: Symbols, past: int) -> dict[str, Exact]:
    return {n: v for n, v in symbols.names.items() if not n.startswith("u_") or int(n[2:]) <= past}


# -- theorems ----------------------------------------------------------------------------------------


def _theorems(record: Method) -> Iterator[Identity]:
    top = top_placement(record)
    if record.family == "adams" and top.order == 1 and record.form.rate:
        yield _decide("DDIM makes the same state of data, noise and rho", _ddim_everywhere)
    if record.family == "dpmpp_3m_corrected":
        yield _decide("the weights are those of eab_3", lambda: _same_as(record, "eab_3"))
    if record.family == "dpm_solver" and not record.singlestep:
        yield _decide("for all inner nodes derived == shipped == published", lambda: _free_nodes(record))
        claim = "for all inner nodes the order is 2" + (", and 3 if and only if r_2 = 2/3" if record.top == 3 else "")
        yield _decide(claim, lambda: _order_of_free_nodes(record))
    if record.family == "dc_solver":
        yield _decide("with ratios 1 the weights are those of UniPC", lambda: _is_unipc(record))
        yield _decide("a ratio other than 1 leaves order 1", lambda: _compensated_order(record))
    if record.family in ("unip", "unipc", "unipc_pece", "unipc_vary"):
        order, variant = top.order, record.options.get("variant", "vary_coeff")
        exact = order >= 3 or variant == "vary_coeff"  # elsewhere the authors put 1/2 for the solution
        if order >= 2 and exact:
            yield _decide(f"the predictor is eab_{order}", lambda: _predictor_is(record, f"eab_{order}"))
        elif order == 2 and variant == "bh2":
            yield _decide("the predictor is dpmpp_2m", lambda: _predictor_is(record, "dpmpp_2m"))
        if order >= 2 and record.family != "unip" and record.options.get("fixed", True):
            yield _decide(
                "the corrector is the Adams-Moulton method on one node more", lambda: _corrector_is_moulton(record)
            )


def _ddim_everywhere() -> str:
    """One step from (alpha_0, sigma_0) to (alpha_1, sigma_1), with x_0 = (x - sigma_0 eps)/alpha_0 for data."""
    a0, s0, a1, s1 = sympy.symbols("alpha_0 sigma_0 alpha_1 sigma_1", positive=True)
    x, eps, h = sympy.symbols("x epsilon h")
    ratio = (s1 / a1) / (s0 / a0)  # exp(-h)
    log_snr = {sympy.exp(-h): ratio, sympy.exp(h): 1 / ratio}

    def weight(rate: int) -> sympy.Expr:
        value = ddim(ExponentialKernel(Symbols.make(rate=rate).h, rate))[0]
        return value.as_expr().xreplace(log_snr if rate else {h: s1 / a1 - s0 / a0})

    states = (
        s1 / s0 * x + a1 * weight(-1) * (x - s0 * eps) / a0,
        a1 / a0 * x - s1 * weight(1) * eps,
        a1 / a0 * x + a1 * weight(0) * eps,
    )
    return "" if all(is_zero(state - states[0]) for state in states) else f"the states are {states}"


def _same_as(record: Method, other: str) -> str:
    place, relative = top_placement(record), top_placement(find_method(other))
    symbols = symbols_of(record, place, record.form.rate)
    return step_difference(shipped(record, place, symbols), shipped(find_method(other), relative, symbols))


_INNER = ("r_1", "r_2")
"""Symbols of inner nodes."""


def _free_nodes(record: Method) -> str:
    """The three roads with symbols for the inner nodes."""
    place, rate, names = top_placement(record), record.form.rate, _INNER[: record.top - 1]
    symbols = Symbols.make(0, rate, free=names)
    nodes, variant = tuple(symbols[name] for name in names), record.options["variant"]
    step = place.rule(Window(symbols.h, (), symbols.shipped_kernel(), inner=nodes), place.order)
    road = Window(symbols.h, (), symbols.derived_kernel())
    other = DERIVATIONS[record.family](road, place.order, rate, variant=variant, nodes=nodes).step
    formula = next(f for f in PUBLISHED[record.family] if f.covers(rate, place.order))
    rows = formula.rows(symbols, place.order, variant=variant, nodes=nodes)
    return step_difference(other, step) or published_difference(rows, step)


def _order_of_free_nodes(record: Method) -> str:
    """Order 2 at free nodes; for three stages 3 where r_2 = 2/3, and an error in proportion to 3 r_2 - 2 elsewhere."""
    place, names, third = top_placement(record), _INNER[: record.top - 1], Fraction(2, 3)

    def expansion(*last: Fraction) -> Expansion:
        free = names[: len(names) - len(last)]

        def prepare(symbol: Callable[[str], Any]) -> Rule:
            inner = (*map(symbol, free), *last)
            return lambda window, order: place.rule(replace(window, inner=inner), order)

        return expand(place.rule, place.order, rate=record.form.rate, highest=record.top, extra=free, prepare=prepare)

    found = expansion()
    if found.order != 2:
        return f"the order is {found.order}"
    if record.top < 3:
        return ""
    if (order := expansion(third).order) != 3:
        return f"with r_2 = 2/3 the order is {order}"
    errors = [sympy.cancel(_expression(r.leading) / (sympy.Symbol("r_2") - third)) for r in found.failing]
    # a numerator of one term vanishes where a node does, which is excluded
    only = any(len(sympy.Add.make_args(sympy.expand(sympy.fraction(e)[0]))) == 1 for e in errors)
    return "" if only else f"the errors are {[str(r.leading) for r in found.failing]}"


def _is_unipc(record: Method) -> str:
    """Compensation with ratio 1 against UniPC of the same order and variant, at every order of its programme."""
    noise = "_noise" if record.form.rate == 1 else ""
    relative = find_method(f"unipc_{record.top}_{record.options['variant']}{noise}")
    symbols = symbols_of(record, top_placement(record), record.form.rate)
    place = top_placement(record)
    window = Window(
        symbols.h, symbols.past, symbols.shipped_kernel(), place.known, place.depth, place.last, past_times=symbols.past
    )
    return step_difference(_furnished(record, record.rule)(window, place.order), relative.rule(window, place.order))


def _compensated_order(record: Method) -> str:
    """Order 1, and a leading error in proportion to 1 - rho."""
    place = top_placement(record)
    found = expand(
        place.rule,
        place.order,
        rate=record.form.rate,
        past=record.depth,
        known=place.known,
        depth=place.depth,
        highest=1,
        extra=("rho",),
        prepare=lambda symbol: _furnished(record, place.rule, symbol("rho")),
    )
    if found.order != 1:
        return f"the order is {found.order}"
    for residual in found.failing:
        if not is_zero(_expression(residual.leading).subs(sympy.Symbol("rho"), 1)):
            return f"the coefficient {residual.leading} of {residual.tree} does not vanish at rho = 1"
    return ""


def _predictor_is(record: Method, other: str) -> str:
    place, relative = top_placement(record), top_placement(find_method(other))
    symbols = symbols_of(record, place, record.form.rate)
    step = shipped(record, place, symbols)
    predicted = step.x if record.family == "unip" else step.stages[-1].value
    predictor = {"k1" if name == "m0" else name: w for name, w in predicted.items()}
    return row_difference("x", predictor, shipped(find_method(other), relative, symbols).x)


def _corrector_is_moulton(record: Method) -> str:
    place = top_placement(record)
    symbols = symbols_of(record, place, record.form.rate)
    nodes = (Fraction(0), *symbols.past[: place.order - 1], Fraction(1))
    kernel = symbols.derived_kernel()
    weights = moment_weights(nodes, [kernel.moment(k) for k in range(len(nodes))])
    step = shipped(record, place, symbols)
    newest = "m0" if "m0" in place.known else "k1"
    names = (newest, *(f"m{j}" for j in range(1, place.order)), f"k{step.nfe}")
    moulton = {"x": 1, **dict(zip(names, weights, strict=True))}
    return row_difference("x", moulton, step.x)


# -- order -------------------------------------------------------------------------------------------


def _expansion(record: Method, grid: str, row: str = "x", highest: int | None = None) -> Expansion:
    """B-series of the step at full order with exact history; averages of an endless smooth history."""
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
        prepare=lambda symbol: _furnished(record, exact_rule(place.rule, lambda name, _: symbol(name))),
    )


def _furnished(record: Method, rule: Rule, ratio: Any = Fraction(1)) -> Rule:
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
    """
    return _order(record, grid)[0]


def _grids(record: Method) -> tuple[str, ...]:
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


def _order(record: Method, grid: str) -> tuple[int, tuple[Residuals, ...]]:
    """Order on a kind of grid, no further than one above the record's, and what shows it."""
    if record.family in STATISTICAL:
        return _order_by_moments(record, grid)
    expansion = _expansion(record, grid)
    return expansion.order, tuple(_summaries(grid, expansion, record))


def _defects(record: Method, symbols: Symbols) -> tuple[Exact, ...]:
    """Defects of the powers up to the order of the record, for steps so short that the statistics are constant."""
    moments = [symbols.constant(Fraction(1, k + 1)) for k in range(record.top + 2)]
    return moment_defects(record.top, symbols.past, moments, **settings_of(record))


def _order_by_moments(record: Method, grid: str) -> tuple[int, tuple[Residuals, ...]]:
    """Order of a step that is linear in a smooth function of the clock, from the powers that it integrates exactly."""
    symbols = Symbols.make(record.top, 0, 1, [f"J_{k}" for k in range(record.top + 2)])
    past = symbols.past if grid == "irregular" else tuple(Fraction(-j) for j in range(1, record.top + 1))
    moments = [symbols[f"J_{k}"] for k in range(record.top + 2)]
    defects = moment_defects(record.top, past, moments, **settings_of(record))
    order = next(k for k, defect in enumerate(defects) if defect != 0)
    if order <= record.top and _defects(record, symbols)[order] == 0:
        raise ValueError(f"the defect of u^{order} vanishes for short steps, so that the order could be higher")
    return order, tuple(
        Residuals(grid, q, 1, zero=q <= order, example="" if q <= order else f"u^{q - 1}: {defects[q - 1]}")
        for q in range(1, order + 2)
    )


def _at_parameters(value: Any, record: Method) -> bool:
    """Whether a coefficient is not zero at the method's own parameters."""
    values = {
        sympy.Symbol(n): sympy.Rational(*Fraction(record.options[n]).as_integer_ratio()) for n in parameters_of(record)
    }
    expression = (
        value.as_expr() if hasattr(value, "as_expr") else sympy.Rational(int(value.numerator), int(value.denominator))
    )
    return not is_zero(expression.subs(values))


def _predicted_history(record: Method) -> Identity:
    """A history of evaluations at predicted points costs no order.

    The predictor's error e = O(h^p) enters the step as h f_y e, on trees whose root has a single child; the pure
    quadrature tree has none, so it cannot be compensated either.
    """
    order = record.order_on("uniform")
    grid = "irregular" if record.order_on("irregular") == order else "uniform"
    claim = f"evaluations at predicted points keep the order: the predictor has order {order - 1} or more"

    def difference() -> str:
        predictor = _expansion(record, grid, row="k1", highest=order - 1)
        quadrature = bushy(order + 1)
        corrector = _expansion(record, "uniform")
        if predictor.order < order - 1:
            return f"the predictor has order {predictor.order}"
        if any(r.nodes == 1 and r.leading for r in predictor.residuals):
            return "the predictor does not integrate constants exactly"
        if not any(r.tree == quadrature for r in corrector.failing):
            return f"the quadrature error on {quadrature} vanishes, so that the order could be higher"
        return ""

    return _decide(claim, difference)


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
        weights={row: {s: _expression(w) for s, w in value.items()} for row, _, value in found.step.rows()},
        argument=found.argument,
        asymptotic=found.asymptotic,
        error_constant=terms.get(str(bushy(record.order_on("uniform") + 1)), sympy.Integer(0)),
        error_terms=terms,
        formula=_formula(record, place),
    )


def _error_terms(record: Method) -> dict[str, sympy.Expr]:
    """Leading coefficients of the local error by tree; on constant steps where the order is lower on others."""
    grid = "irregular" if record.depth and len(_grids(record)) == 2 else "uniform"
    if record.family in STATISTICAL:
        order, _ = _order_by_moments(record, grid)
        defect = _defects(record, Symbols.make(record.top, 0))[order]
        return {str(bushy(order + 1)): _expression(defect) / sympy.factorial(order)}
    expansion = _expansion(record, grid)
    return {str(r.tree): _expression(r.leading) / r.tree.symmetry for r in expansion.failing if r.tree}


def _expression(value: Any) -> sympy.Expr:
    """Exact number or function as a sympy expression."""
    if isinstance(value, Exact):  # factors look best while E is a symbol, and odd where it is a root
        expression = value.value.as_expr()
        factored = expression if value.symbols.root > 1 else sympy.factor(expression)
        return factored.xreplace(value.symbols.meaning)
    if hasattr(value, "as_expr"):
        return sympy.factor(value.as_expr())
    return sympy.Rational(int(value.numerator), int(value.denominator))


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
    runs = _decide("the rule can be run", lambda: "" if placements(record) else "it makes no steps")
    if not runs.ok:
        return Proof(record.name, False, (runs,), (), -1, {}, time.perf_counter() - begin)
    identities = [*_derived_is_shipped(record), *_shipped_is_published(record), *_theorems(record)]
    residuals: list[Residuals] = []
    orders: dict[str, int] = {}
    for grid in _grids(record):

        def difference(grid: str = grid) -> str:
            orders[grid], summaries = _order(record, grid)
            residuals.extend(summaries)
            if orders[grid] != record.order_on(grid) or summaries[-1].zero:
                return f"the order is {orders[grid]}{' or more' if summaries[-1].zero else ''}"
            return ""

        identities.append(
            _decide(f"order {record.order_on(grid)}{moments} on {_GRID_TEXT[grid]}, and no more", difference)
        )
    if "m0" in top_placement(record).known:
        identities.append(_predicted_history(record))
    order = min((orders[grid] for grid in _grids(record) if grid in orders and grid != "irregular"), default=-1)
    orders |= {kind: order for kind in GRID_KINDS if orders and kind not in orders}
    seconds = time.perf_counter() - begin
    ok = all(i.ok for i in identities)
    return Proof(record.name, ok, tuple(identities), tuple(residuals), order, orders, seconds)


_GRID_TEXT = {
    "uniform": "constant steps",
    "smooth": "smoothly varying steps",
    "irregular": "steps of arbitrary ratios",
}


def perturbed(method: Method, row: str, source: str, factor: Any = Fraction(101, 100)) -> Method:
    """Method with one weight of its rule multiplied by a factor: the negative control of every check.

    Parameters
    ----------
    method : Method
        Record.
    row : str
        Row of the step, such as ``"x"``, ``"k2"`` or ``"v1"``.
    source : str
        Vector whose weight is changed, such as ``"k1"`` or ``"m2"``.
    factor : number
        Factor on that weight.
    """
    rule = method.rule
    keywords = rule.keywords if isinstance(rule, partial) else {}
    inner = rule.func if isinstance(rule, partial) else rule
    return replace(
        method, rule=partial(_perturbed_step, inner=inner, row=row, source=source, factor=factor, **keywords)
    )


def _perturbed_step(
    window: Window, order: int, *, inner: Callable[..., Step], row: str, source: str, factor: Any, **options: Any
) -> Step:
    step = inner(window, order, **options)

    def change(name: str, value: Vector) -> Vector:
        if name != row or source not in value:
            return value
        return Vector({s: factor * w if s == source else w for s, w in value.items()})

    stages = tuple(Stage(s.node, change(f"k{i}", s.value)) for i, s in enumerate(step.stages, start=1))
    return Step(stages, change("x", step.x), {name: change(name, value) for name, value in step.memory.items()})

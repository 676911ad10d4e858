"""Proofs: what is derived, what ships and what is published are the same, and the order is what the record says.

Three roads lead to every weight: the derivation (moments and order conditions, :mod:`diffnum.derivation`), the
shipped rule (:mod:`diffnum.coefficients`) and the printed formula (:mod:`diffnum.derivation.published`). They are run
in one field of rational functions, where equality is decided. The order of the shipped rule is then proved by
B-series, from both sides: all terms of the local error up to ``h**p`` vanish, and one of size ``h**(p + 1)`` does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import sympy

from diffnum.coefficients.adams import ddim
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import GRID_KINDS, Method, Placement, Rule
from diffnum.derivation import DERIVATIONS, Derivation, Derived, Identity, Proof, Residuals
from diffnum.derivation.adams import moment_weights
from diffnum.derivation.bseries import Expansion, expand
from diffnum.derivation.printing import FormalKernel, Formula, RecordingKernel, formal_names
from diffnum.derivation.published import PUBLISHED, Published
from diffnum.derivation.symbols import Exact, Symbols, as_fraction, is_zero
from diffnum.derivation.trees import bushy
from diffnum.forms import ExponentialKernel, Kernel
from diffnum.tableau import Stage, Step, Vector, Window

__all__ = ["Derivation", "Identity", "Proof", "Residuals", "derive", "perturbed", "prove"]


# -- running rules in exact arithmetic ---------------------------------------------------------------


def _exact_rule(rule: Rule, value: Callable[[str, Any], Any]) -> Rule:
    """Rule with its floating-point parameters replaced by ``value(name, number)``."""
    if not isinstance(rule, partial):
        return rule
    keywords = {k: value(k, v) if isinstance(v, float) else v for k, v in rule.keywords.items()}
    return partial(rule.func, *rule.args, **keywords)


def _parameters(record: Method) -> tuple[str, ...]:
    """Names of the floating-point parameters of a method; they are symbols in its proof."""
    return tuple(k for k, v in record.options.items() if isinstance(v, float))


def _settings(record: Method) -> dict[str, Any]:
    """Options of the derivation other than order and real parameters."""
    return {k: v for k, v in record.options.items() if k != "order" and not isinstance(v, float)}


def _derive(
    record: Method, place: Placement, window: Window, rate: int | None, parameter: Callable[[str], Any]
) -> Derived:
    options = _settings(record) | {name: parameter(name) for name in _parameters(record)}
    return DERIVATIONS[record.family](window, place.order, rate, **options)


def _window(place: Placement, step: Any, past: tuple[Any, ...], kernel: Kernel) -> Window:
    return Window(step, past, kernel, place.known, place.depth, place.last, inner=_inner(place), past_times=past)


def _inner(place: Placement) -> tuple[Fraction, ...]:
    """Inner nodes that a plan would provide, on a grid whose steps are constant in the clock."""
    given = tuple(Fraction(c).limit_denominator(64) for c in place.inner_times)
    return given or tuple(Fraction(j, place.stride) for j in range(1, place.stride))


def _record(record: Method, place: Placement, rate: int | None) -> RecordingKernel:
    """Which moments and fractions derivation and shipped rule ask for."""
    kernel = RecordingKernel({})
    past = tuple(Fraction(-j) for j in range(1, place.past + 1))
    window = _window(place, Fraction(1), past, kernel)
    _derive(record, place, window, rate, lambda _: Fraction(1, 2))
    _exact_rule(place.rule, lambda _, v: Fraction(v))(window, place.order)
    return kernel


def _symbols(record: Method, place: Placement, rate: int | None) -> Symbols:
    moments = [f"M_{k}" for k in range(place.past + 1)] if rate is None else []
    root = _record(record, place, rate).root
    return Symbols.make(place.past, rate, root, [*_parameters(record), *moments])


def _shipped(place: Placement, symbols: Symbols) -> Step:
    window = _window(place, symbols.h, symbols.past, symbols.shipped_kernel(place.past + 1))
    return _exact_rule(place.rule, lambda name, _: symbols[name])(window, place.order)


def _derived(record: Method, place: Placement, symbols: Symbols) -> Derived:
    window = _window(place, symbols.h, symbols.past, symbols.derived_kernel(place.past + 1))
    return _derive(record, place, window, symbols.rate, symbols.__getitem__)


# -- comparing steps ---------------------------------------------------------------------------------


def _row_difference(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """First vector of a row whose weights differ, or nothing."""
    for source in sorted({*a, *b}):
        if a.get(source, 0) - b.get(source, Fraction(0)) != 0:
            return f"the weight of {source} in row {name} is {a.get(source, 0)} against {b.get(source, 0)}"
    return ""


def _difference(a: Step, b: Step) -> str:
    """First difference between two steps, or nothing."""
    if a.nfe != b.nfe or {*a.memory} != {*b.memory}:
        return f"{a.nfe} stages and memory {sorted(a.memory)} against {b.nfe} and {sorted(b.memory)}"
    for (name, node, row), (_, other_node, other) in zip(a.rows(), b.rows(), strict=True):
        if node is not None and as_fraction(node) != as_fraction(other_node):
            return f"row {name} stands at {node} against {other_node}"
        row_b = other if node is not None else b.memory[name]
        if found := _row_difference(name, row, row_b):
            return found
    return ""


def _published_difference(rows: Mapping[str, Mapping[str, Any]], step: Step) -> str:
    """First difference between a printed formula and a step; the printed rows leave the state out."""
    shipped = {name: row for name, node, row in step.rows() if node is not None}
    stages = {f"k{i}" for i, stage in enumerate(step.stages, start=1) if dict(stage.value) == {"x": 1}}
    if {*rows} != {*shipped} - stages:
        return f"rows {sorted(rows)} are printed and {sorted({*shipped} - stages)} are shipped"
    for name, row in rows.items():
        if found := _row_difference(name, {"x": 1, **row}, shipped[name]):
            return found
    return ""


def _decide(claim: str, difference: Callable[[], str]) -> Identity:
    """Identity that holds when there is no difference; a computation that fails is not a proof."""
    try:
        detail = difference()
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
    return Identity(claim, not detail, detail)


# -- identities --------------------------------------------------------------------------------------


def _placements(record: Method) -> tuple[Placement, ...]:
    """All kinds of steps that plans make of the method: ramp, full order, last step, exact start."""
    n = record.exact_steps + record.top + 2
    own = [p for start in ("ramp", "exact") for p in record.programme(n, start=start)]
    own += record.programme(n, start="ramp", lower_order_final=True)
    unique: dict[Any, Placement] = {}
    for place in own:
        unique.setdefault((place.order, place.past, place.known, place.last, place.stride, place.inner_times), place)
    return tuple(unique.values())


def _top(record: Method) -> Placement:
    """The step at full order with its own history, not the last."""
    return record.programme(record.exact_steps + record.top + 2, start="ramp")[-2]


def _described(place: Placement) -> str:
    history = ", ".join(sorted(place.known - {"x"})) or "none"
    return f"order {place.order}, history {history}{', last step' if place.last else ''}"


def _derived_is_shipped(record: Method) -> Iterator[Identity]:
    if record.family not in DERIVATIONS:
        yield Identity("derived == shipped", False, f"family={record.family!r} has no derivation")
        return
    for place in _placements(record):

        def difference(place: Placement = place) -> str:
            symbols = _symbols(record, place, record.form.rate)
            return _difference(_derived(record, place, symbols).step, _shipped(place, symbols))

        yield _decide(f"derived == shipped ({_described(place)})", difference)


def _shipped_is_published(record: Method) -> Iterator[Identity]:
    """Full order and, where the same formula is printed for the other prediction, that too."""
    top, found = _top(record), False
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
    symbols = _symbols(record, place, rate)
    options = _settings(record) | {name: symbols[name] for name in _parameters(record)}
    # the printed formula takes the nodes of its own order, though a plan may know more
    rows = formula.rows(replace(symbols, names=_only(symbols, place.order - 1)), place.order, **options)
    return _published_difference(rows, _shipped(place, symbols))


def _only(symbols: Symbols, past: int) -> dict[str, Exact]:
    return {n: v for n, v in symbols.names.items() if not n.startswith("u_") or int(n[2:]) <= past}


# -- theorems ----------------------------------------------------------------------------------------


def _theorems(record: Method) -> Iterator[Identity]:
    top = _top(record)
    if record.family == "adams" and top.order == 1 and record.form.rate:
        yield _decide("DDIM makes the same state of data, noise and rho", _ddim_everywhere)
    if record.family == "dpmpp_3m_corrected":
        yield _decide("the weights are those of eab_3", lambda: _same_as(record, "eab_3"))
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
    place, relative = _top(record), _top(find_method(other))
    symbols = _symbols(record, place, record.form.rate)
    return _difference(_shipped(place, symbols), _shipped(relative, symbols))


def _predictor_is(record: Method, other: str) -> str:
    place, relative = _top(record), _top(find_method(other))
    symbols = _symbols(record, place, record.form.rate)
    step = _shipped(place, symbols)
    predicted = step.x if record.family == "unip" else step.stages[-1].value
    predictor = {"k1" if name == "m0" else name: w for name, w in predicted.items()}
    return _row_difference("x", predictor, _shipped(relative, symbols).x)


def _corrector_is_moulton(record: Method) -> str:
    place = _top(record)
    symbols = _symbols(record, place, record.form.rate)
    nodes = (Fraction(0), *symbols.past[: place.order - 1], Fraction(1))
    kernel = symbols.derived_kernel()
    weights = moment_weights(nodes, [kernel.moment(k) for k in range(len(nodes))])
    step = _shipped(place, symbols)
    newest = "m0" if "m0" in place.known else "k1"
    names = (newest, *(f"m{j}" for j in range(1, place.order)), f"k{step.nfe}")
    moulton = {"x": 1, **dict(zip(names, weights, strict=True))}
    return _row_difference("x", moulton, step.x)


# -- order -------------------------------------------------------------------------------------------


def _expansion(record: Method, grid: str, row: str = "x", highest: int | None = None) -> Expansion:
    """B-series of the step at full order with exact history; averages of an endless smooth history."""
    place = _top(record)
    return expand(
        place.rule,
        place.order,
        rate=record.form.rate,
        past=record.depth,
        known=place.known,
        depth=place.depth,
        grid=grid,
        highest=record.order_on(grid) if highest is None else highest,
        extra=_parameters(record),
        row=row,
        inner=_inner(place),
        prepare=lambda symbol: _exact_rule(place.rule, lambda name, _: symbol(name)),
    )


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


def _at_parameters(value: Any, record: Method) -> bool:
    """Whether a coefficient is not zero at the method's own parameters."""
    values = {
        sympy.Symbol(n): sympy.Rational(*Fraction(record.options[n]).as_integer_ratio()) for n in _parameters(record)
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
    if record.family not in DERIVATIONS:
        raise ValueError(f"family={record.family!r} has no derivation: use one of {', '.join(DERIVATIONS)}")
    place, rate = _top(record), record.form.rate
    derived = _derived(record, place, _symbols(record, place, rate))
    expansion = _expansion(record, "irregular" if record.depth and len(_grids(record)) == 2 else "uniform")
    terms = {str(r.tree): _expression(r.leading) / r.tree.symmetry for r in expansion.failing if r.tree}
    return Derivation(
        name=record.name,
        step=derived.step,
        weights={row: {s: _expression(w) for s, w in value.items()} for row, _, value in derived.step.rows()},
        argument=derived.argument,
        asymptotic=derived.asymptotic,
        error_constant=terms.get(str(bushy(expansion.order + 1)), sympy.Integer(0)),
        error_terms=terms,
        formula=_formula(record, place),
    )


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
    asked = _record(record, place, rate).asked
    symbols = Symbols.make(place.past, 0, 1, [*_parameters(record), *formal_names(asked)])
    window = _window(place, symbols.h, symbols.past, FormalKernel(symbols))
    step = _derive(record, place, window, rate, symbols.__getitem__).step
    parameters = {name: record.options[name] for name in _parameters(record)}
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
    begin = time.perf_counter()
    moments = ""
    if record.form.quadrature:  # no expansion knows the sums: the formula is proved, with the order that it claims
        record, moments = replace(record, order=record.claimed_order), " with exact moments"
    runs = _decide("the rule can be run", lambda: "" if _placements(record) else "it makes no steps")
    if not runs.ok:
        return Proof(record.name, False, (runs,), (), -1, {}, time.perf_counter() - begin)
    identities = [*_derived_is_shipped(record), *_shipped_is_published(record), *_theorems(record)]
    residuals: list[Residuals] = []
    orders: dict[str, int] = {}
    for grid in _grids(record):

        def difference(grid: str = grid) -> str:
            expansion = _expansion(record, grid)
            orders[grid] = expansion.order
            summaries = tuple(_summaries(grid, expansion, record))
            residuals.extend(summaries)
            if expansion.order != record.order_on(grid) or summaries[-1].zero:
                return f"the order is {expansion.order}{'' if expansion.order <= expansion.highest else ' or more'}"
            return ""

        identities.append(
            _decide(f"order {record.order_on(grid)}{moments} on {_GRID_TEXT[grid]}, and no more", difference)
        )
    if "m0" in _top(record).known:
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

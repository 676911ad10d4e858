"""Proofs of stochastic methods: mean weights, noise, known data, and the orders that follow.

Everything is decided in the field of the reverse equation (:mod:`diffnum.derivation.algebra.reverse`), with the noise
level a symbol. What is proved of the orders, and of what equations:

* the weights without noise have their deterministic order, from both sides (B-series);
* *strong order 1 and no more*: the noise of the shipped step is that of one path, and the response of the step to it
  differs from the exact one by a variance q h^3 > 0;
* *weak order 2*: weights of order 2, the exact variance, and a mean response of 1/2. For one-step methods these are all
  conditions of weak order 2 with additive noise, for every smooth drift; for multistep methods they are those of linear
  drifts on constant steps. Where one fails, the order is 1;
* *order in law* of split methods: noise that keeps exact marginals, between steps of the flow of some order.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import sympy

from diffnum.coefficients.adams import multistep
from diffnum.coefficients.extended_reverse import er_sde, extended_step
from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Placement
from diffnum.derivation import Derivation, Derived, Identity, Line, Proof, Residuals
from diffnum.derivation.adams import moment_weights
from diffnum.derivation.adams import multistep as derived_multistep
from diffnum.derivation.algebra.bseries import Expansion, expand
from diffnum.derivation.algebra.reverse import ReverseSymbols, SquareRoot, covariance, path_covariance
from diffnum.derivation.algebra.series import SeriesKernel, SeriesRing
from diffnum.derivation.algebra.symbols import Exact, SymbolicKernel, as_fraction
from diffnum.derivation.algebra.trees import bushy
from diffnum.derivation.printing.noise import FormalSymbols, RecordingSymbols, ReverseFormula
from diffnum.derivation.published import stochastic as published
from diffnum.derivation.stochastic import Response, base_nodes, derive_step, response
from diffnum.forms import TabulatedKernel
from diffnum.proofs.steps import described, placements, top_placement
from diffnum.tableau import Stage, Step, Vector, Window, vector

__all__ = ["derive", "prove", "response_of"]


# -- steps in exact arithmetic -----------------------------------------------------------------------


def _symbols(record: Method, place: Placement) -> ReverseSymbols:
    """Field in which a step of the method lives."""
    scheme = record.options["scheme"]
    extra = [f"M_{k}" for k in range(place.order)] if scheme == "extended" else []
    root = 2 if scheme == "stages" else base_nodes(record.options["base"], place.order)
    return ReverseSymbols.for_reverse(place.past, root, extra)


def _window(place: Placement, symbols: ReverseSymbols) -> Window:
    kernel = SymbolicKernel(symbols.h, -1 if place.form.prediction == "data" else 1)
    return Window(symbols.h, symbols.past, kernel, place.known, place.depth, place.last)


def _shipped(record: Method, place: Placement, symbols: ReverseSymbols) -> Step:
    """Shipped rule with the noise level, or eta, a symbol."""
    window = _window(place, symbols)
    if record.options["scheme"] == "extended":
        tau = symbols["tau"]
        kernel, nodes = _formal(place, symbols), symbols.past[: place.order - 1]
        corrected = record.options["corrected"]
        return extended_step(window, kernel, nodes, tau * tau * symbols.h, corrected=corrected)
    rule: Any = place.rule
    keywords = {k: v for k, v in rule.keywords.items() if k not in ("tau", "eta", "given")}
    if record.options["scheme"] == "stages":
        keywords["eta"] = 1  # the level at which the roots of both stages are exponentials
    else:
        name = "eta" if "eta" in rule.keywords else "tau"
        keywords[name] = symbols[name]
    step: Step = rule.func(window, place.order, *rule.args, **keywords)
    return step


def _formal(place: Placement, symbols: ReverseSymbols) -> TabulatedKernel:
    return TabulatedKernel(tuple(symbols[f"M_{k}"] for k in range(place.order)))


def _derived(record: Method, place: Placement, symbols: ReverseSymbols) -> Derived:
    scheme, window = record.options["scheme"], _window(place, symbols)
    if scheme == "extended":
        return _derive_extended(place, window, symbols, record.options["corrected"])
    if scheme == "stages":
        return _derive_stages(place, symbols)
    return derive_step(window, place.order, symbols, record.form.prediction, record.options)


def _derive_extended(place: Placement, window: Window, symbols: ReverseSymbols, corrected: bool) -> Derived:
    """Polynomial in sigma/alpha through the values, on formal moments; the official third order as it is."""
    moments = [symbols[f"M_{k}"] for k in range(place.order)]
    nodes: tuple[Any, ...] = (Fraction(0), *symbols.past[: place.order - 1])
    weights = moment_weights(nodes, moments)
    if place.order == 3 and not corrected:
        # the chord's slope for D' takes from the parabola's weights half a step of curvature
        _, u, w = nodes
        curvature = [2 / ((0 - u) * (0 - w)), 2 / ((u - 0) * (u - w)), 2 / ((w - 0) * (w - u))]
        weights = tuple(a + moments[1] * u / 2 * c for a, c in zip(weights, curvature, strict=True))
    step = derived_multistep(window, weights)
    decay = symbols.power(0, 1)
    moved = Vector({n: decay * v if n == "x" else v for n, v in step.x.items()})
    line = Line(
        "D is replaced by a polynomial in rho = sigma/alpha; M_k are the kernel's moments in the fraction of the step.",
        r"\sum_j w_j u_j^k = M_k"
        + ("" if corrected or place.order < 3 else r", \qquad \text{but the chord's slope for } D'(\rho_0)"),
    )
    noise = symbols.square_root(1 - decay * decay) * vector("z1")
    return Derived(Step(step.stages, moved + noise, step.memory), (line,))


def _derive_stages(place: Placement, symbols: ReverseSymbols) -> Derived:
    """DPM-Solver++ (stochastic) at eta = 1: first-order steps to the middle and to the end, on a path in sigma."""
    one, middle, end = symbols.constant(1), symbols.power(Fraction(1, 2), 0), symbols.power(1, 0)
    if place.order == 1:
        late, noise = one - end**2, symbols.square_root(one - end**2)
        return Derived(Step((Stage(0, vector("x")),), end * vector("x") + late * vector("k1") + noise * vector("z1")))
    x, k1, k2, z1, z2 = (vector(n) for n in ("x", "k1", "k2", "z1", "z2"))
    share = (1 - middle) / (1 - end)
    early, late = one - middle**2, one - end**2
    stage = middle * x + early * k1 + symbols.square_root(early) * z1
    root = symbols.square_root
    step = Step(
        (Stage(0, x), Stage(Fraction(1, 2), stage)),
        end * x + late * k2 + root(late * share) * z1 + root(late * (1 - share)) * z2,
    )
    return Derived(step, (Line("First-order steps keep known data; the slope gets half the weight of the value."),))


# -- identities --------------------------------------------------------------------------------------


def decide(claim: str, difference: Callable[[], str]) -> Identity:
    """Identity that holds when there is no difference; a computation that fails is not a proof."""
    try:
        detail = difference()
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
    return Identity(claim, not detail, detail)


def _row_difference(name: str, a: Any, b: Any) -> str:
    """First weight of a row that differs, the draws by their squares."""
    for source in sorted({*a, *b}):
        left, right = (_plain(row.get(source, 0)) for row in (a, b))
        if left - right != 0:
            return f"the weight of {source} in row {name} is {left} against {right}"
    return ""


def _plain(weight: Any) -> Any:
    """Weight, or its square where it is a root."""
    return weight.square if isinstance(weight, SquareRoot) else weight


def _difference(a: Step, b: Step) -> str:
    """First difference between two steps, or nothing."""
    if a.nfe != b.nfe or {*a.memory} != {*b.memory}:
        return f"{a.nfe} stages and memory {sorted(a.memory)} against {b.nfe} and {sorted(b.memory)}"
    for (name, node, row), (_, other, row_b) in zip(a.rows(), b.rows(), strict=True):
        if node is not None and node - other != 0:
            return f"row {name} stands at {node} against {other}"
        if found := _row_difference(name, row, row_b if node is not None else b.memory[name]):
            return found
    return ""


def derived_is_shipped(record: Method) -> Iterator[Identity]:
    for place in placements(record):

        def difference(place: Placement = place) -> str:
            symbols = _symbols(record, place)
            return _difference(_derived(record, place, symbols).step, _shipped(record, place, symbols))

        yield decide(f"derived == shipped ({described(place)})", difference)


def _stem(name: str) -> str:
    """Name without parameters."""
    if name == "ddpm" or name.startswith("ddim_eta"):
        return "ddim"
    return re.sub(r"(_tau[\d.]+|_eta[\d.]+|_given)$", "", name)


def _printed(record: Method) -> published.PublishedStep | None:
    """What the authors print for the step at full order."""
    base = record.options["base"]
    if base == "sa_solver":
        return published.sa_solver(record.options, record.form.prediction)
    if base == "er_sde":
        return published.er_sde(record.top, record.options["corrected"])
    return published.PUBLISHED_STOCHASTIC.get(_stem(record.options.get("formula", record.name)))


def shipped_is_published(record: Method) -> Identity:
    printed = _printed(record)
    if printed is None:
        return Identity("shipped == published", False, f"no formula is transcribed for {record.name}")

    def difference() -> str:
        place = top_placement(record)
        symbols = _symbols(record, place)
        rows, variances = printed.rows(symbols)
        for name, node, row in _shipped(record, place, symbols).rows():
            mean = {s: w for s, w in row.items() if s[0] != "z"}
            if node is None or (mean == {"x": 1} and name not in rows):
                continue
            if name not in rows:
                return f"row {name} is shipped and not printed"
            if found := _row_difference(name, mean, rows[name]):
                return found
            variance = covariance(row, row)
            if variance - variances.get(name, 0) != 0:
                return f"the variance in row {name} is {variance} against {variances.get(name, 0)}"
        return ""

    return decide(f"shipped == published ({printed.source})", difference)


def _noise(record: Method) -> Iterator[Identity]:
    """Joint law of the noise at the nodes, or the variance where the scheme has a law of its own."""
    place = top_placement(record)
    scheme, prediction = record.options["scheme"], record.form.prediction
    if scheme == "reverse":

        def isometry() -> str:
            symbols = _symbols(record, place)
            rows = [(n, as_fraction(c), r) for n, c, r in _shipped(record, place, symbols).rows() if c is not None]
            for name, a, row in rows:
                for other, b, row_b in rows:
                    expected = path_covariance(symbols, prediction, a, b)
                    if covariance(row, row_b) - expected != 0:
                        return f"Cov({name}, {other}) is {covariance(row, row_b)} against {expected}"
            return ""

        yield decide("the noise at stages and end has the covariances of Ito's isometry on one path", isometry)
    if prediction == "data":
        yield decide(
            "known data keep their law at every stage and at the end, for every noise level", lambda: _kept(record)
        )


def _kept(record: Method) -> str:
    """For constant D = x_0: x = alpha x_0 + sigma eps goes over into the same law at every node."""
    place = top_placement(record)
    symbols = _symbols(record, place)
    extended = record.options["scheme"] == "extended"
    for name, node, row in _shipped(record, place, symbols).rows():
        if node is None or (isinstance(node, int) and node == 0):
            continue
        weights = sum((w for source, w in row.items() if source[0] in "km"), symbols.constant(0))
        state = row["x"]
        # alpha_c/sigma_c = e^{ch} alpha_0/sigma_0, for the node's own c
        if extended:
            signal = weights - symbols["M_0"]
        else:
            c = (node if isinstance(node, Exact) else symbols.constant(as_fraction(node))) * symbols.h
            signal = weights + state * symbols.exponential(-c) - 1
        if signal != 0:
            return f"the weights of x_0 in row {name} do not add up: {signal}"
        if covariance(row, row) + state * state - 1 != 0:
            return f"the variance in row {name} is {covariance(row, row)}, not 1 - {state * state}"
    return ""


# -- orders ------------------------------------------------------------------------------------------


def _noiseless(record: Method) -> Method:
    """The method without noise, for B-series."""
    scheme = record.options["scheme"]
    if scheme == "extended":
        rule: Any = partial(_extended_rule, corrected=record.options["corrected"])
    else:
        kept = {k: v for k, v in record.rule.keywords.items() if k not in ("tau", "eta", "given")}  # type: ignore[attr-defined]
        name = "eta" if "eta" in record.rule.keywords else "tau"  # type: ignore[attr-defined]
        rule = partial(record.rule.func, *record.rule.args, **kept, **{name: 0})  # type: ignore[attr-defined]
    return replace(record, rule=rule, options={}, parameters=())


def _extended_rule(window: Window, order: int, *, corrected: bool) -> Step:
    return multistep(window, er_sde(window.kernel, window.past[: order - 1], corrected=corrected))


def expanded(record: Method, grid: str) -> Expansion:
    """B-series of the weights without noise at full order with exact history."""
    plain = _noiseless(record)
    place = top_placement(plain)
    rate = None if record.options["scheme"] == "extended" else record.form.rate
    return expand(
        plain.rule,
        place.order,
        rate=rate,
        past=record.depth,
        known=place.known,
        depth=place.depth,
        grid=grid,
        highest=record.order,
    )


def _limit(record: Method) -> Step:
    """Step without noise in the limit h -> 0 on constant steps, weights in steps."""
    plain = _noiseless(record)
    place = top_placement(plain)
    ring = SeriesRing(6)
    past = tuple(Fraction(-j) for j in range(1, place.past + 1))
    if record.options["scheme"] == "extended":
        kernel: Any = TabulatedKernel(tuple(ring.h / (k + 1) for k in range(place.order)))
    else:
        kernel = SeriesKernel(ring.h, record.form.rate or 0)
    step = plain.rule(Window(ring.h, past, kernel, place.known, place.depth), place.order)

    def leading(value: Vector, steps: int) -> Vector:
        return Vector({n: as_fraction((0 * ring.h + w)[steps]) if n[0] in "km" else w for n, w in value.items()})

    stages = tuple(Stage(s.node, leading(s.value, 1)) for s in step.stages)
    return Step(stages, leading(step.x, 1), {n: leading(v, 0) for n, v in step.memory.items()})


def response_of(record: Method) -> Response:
    """Response of a method to the noise of one step, see :class:`~diffnum.derivation.stochastic.Response`.

    Parameters
    ----------
    record : Method
        Record of a stochastic method.
    """
    scheme = record.options["scheme"]
    return response(_limit(record), scheme if scheme in ("ancestral", "churn") else "reverse")


def _exact_variance(record: Method) -> bool:
    """Whether the variance of a step is that of the equation approached, to all orders."""
    scheme = record.options["scheme"]
    if scheme in ("reverse", "churn", "extended"):
        return True
    eta = Fraction(record.rule.keywords["eta"])  # type: ignore[attr-defined]
    # eta^2 (1 - e^{-2h}) - (1 - e^{-2 eta^2 h}) = 2 eta^2 (eta^2 - 1) h^2 + ...
    return eta**2 * (eta**2 - 1) == 0


def _order_identities(record: Method, residuals: list[Residuals], orders: dict[str, int]) -> Iterator[Identity]:
    for grid in ("uniform", "irregular") if record.depth else ("uniform",):

        def difference(grid: str = grid) -> str:
            expansion = expanded(record, grid)
            orders[grid] = expansion.order
            for order in range(1, expansion.order + 2):
                failing = expansion.failing if order > expansion.order else ()
                example = f"{failing[0].tree}: {failing[0].leading} h^{failing[0].power}" if failing else ""
                count = sum(r.nodes <= order for r in expansion.residuals)
                residuals.append(Residuals(grid, order, count, zero=not failing, example=example))
            return "" if expansion.order == record.order and expansion.failing else f"the order is {expansion.order}"

        text = "constant steps" if grid == "uniform" else "steps of arbitrary ratios"
        yield decide(f"without noise the weights have order {record.order} on {text}, and no more", difference)
    options = record.options
    quiet = options.get("noise_level") == 0

    def strong() -> str:
        claimed = options["strong_order"]
        if quiet:
            return "" if claimed == record.order else f"without noise the order is {record.order}"
        constant = response_of(record).strong_constant
        return "" if claimed == 1 and constant > 0 else f"q = {constant} and {claimed:g} is claimed"

    yield decide(f"strong order {options['strong_order']:g}, and no more: the response to noise leaves q > 0", strong)

    def weak() -> str:
        found = record.order if quiet else _weak_order(record)
        return "" if found == options["weak_order"] else f"the conditions give weak order {found}"

    scope = "linear drifts on constant steps" if record.depth else "smooth drifts"
    yield decide(f"weak order {options['weak_order']:g} for {scope}", weak)
    if options["scheme"] in ("ancestral", "churn"):
        claim = f"order {options['law_order']:g} in law: exact noise between steps of the flow of that order"
        yield decide(
            claim, lambda: "" if options["law_order"] == record.order else f"the flow has order {record.order}"
        )


def _weak_order(record: Method) -> int:
    """Weak order that the conditions give, 1 or 2."""
    second = record.order >= 2 and response_of(record).mean == Fraction(1, 2)
    return 2 if second and _exact_variance(record) else 1


# -- public functions --------------------------------------------------------------------------------


def prove(record: Method) -> Proof:
    """Prove a stochastic method; :func:`diffnum.proofs.prove` comes here.

    Parameters
    ----------
    record : Method
        Record of a stochastic method.

    Returns
    -------
    Proof
        ``order`` is that of the weights without noise; the identities say the rest.
    """
    begin = time.perf_counter()
    residuals: list[Residuals] = []
    orders: dict[str, int] = {}
    runs = decide("the rule can be run", lambda: "" if placements(record) else "it makes no steps")
    if not runs.ok:
        return Proof(record.name, False, (runs,), (), -1, {}, time.perf_counter() - begin)
    identities = [
        *derived_is_shipped(record),
        shipped_is_published(record),
        *_noise(record),
        *_order_identities(record, residuals, orders),
    ]
    order = orders.get("uniform", -1)
    by_grid = {kind: orders.get(kind, order) for kind in ("uniform", "smooth", "irregular")}
    ok = all(i.ok for i in identities)
    return Proof(record.name, ok, tuple(identities), tuple(residuals), order, by_grid, time.perf_counter() - begin)


def derive(record: Method) -> Derivation:
    """Derive a stochastic method; :func:`diffnum.proofs.derive` comes here.

    Parameters
    ----------
    record : Method
        Record of a stochastic method.
    """
    place = top_placement(record)
    symbols = _symbols(record, place)
    derived = _derived(record, place, symbols)
    expansion = expanded(record, "irregular" if record.depth else "uniform")
    terms = {str(r.tree): as_expression(r.leading) / r.tree.symmetry for r in expansion.failing if r.tree}
    weights = {row: {s: as_expression(w) for s, w in value.items()} for row, _, value in derived.step.rows()}
    # without noise there is none, and noise that is no path of the equation leaves more than its response
    without = record.options.get("noise_level") == 0 or record.options["scheme"] == "stages"
    return Derivation(
        name=record.name,
        step=derived.step,
        weights=weights,
        argument=derived.argument,
        asymptotic=derived.asymptotic,
        error_constant=terms.get(str(bushy(expansion.order + 1)), sympy.Integer(0)),
        error_terms=terms,
        formula=_formula(record, place),
        strong_constant=None if without else sympy.Rational(*response_of(record).strong_constant.as_integer_ratio()),
    )


def _formula(record: Method, place: Placement) -> ReverseFormula:
    """Derived step over formal moments, for print."""
    asked: dict[tuple[int, Fraction], None] = {}
    symbols = _symbols(record, place)
    _derived(record, place, RecordingSymbols.of(symbols, asked))
    formal = FormalSymbols.of(place.past, symbols.root, asked, [n for n in symbols.names if n.startswith("M_")])
    step = _derived(record, place, formal).step
    # eta stands for a noise level that depends on the step
    level = None if record.options["scheme"] == "ancestral" else record.options.get("noise_level")
    return ReverseFormula.written(record.name, record.form.name, step, {} if level is None else {"tau": level})


def as_expression(value: Any) -> sympy.Expr:
    """Exact number, function or root as a sympy expression."""
    if isinstance(value, SquareRoot):
        return value.as_expr()
    if isinstance(value, Exact):
        expression = value.value.as_expr()
        factored = expression if value.symbols.root > 1 else sympy.factor(expression)
        return factored.xreplace(value.symbols.meaning)
    if hasattr(value, "as_expr"):
        return sympy.factor(value.as_expr())
    number = as_fraction(value)
    return sympy.Rational(number.numerator, number.denominator)

r"""Order of any step rule, proved by B-series in the clock that turns the kernel into a constant.

Let K be the kernel of the form and ``ds = K dclock``; then ``z = x/scale`` obeys plainly ``z' = f(z, s)``, and an
exponential method is, for each h, a classical general linear method whose coefficients are functions of h. With the
moments of the kernel over the first c of the step, ``moment(0, c)``, and its ``discount(c)``, the node c stands at

.. math:: \theta(c) = \frac{\mathrm{discount}(c)\,\mathrm{moment}(0, c)}{\mathrm{discount}(1)\,\mathrm{moment}(0, 1)}

in units of the step H of s, and a weight w of a row at node c becomes :math:`b = \mathrm{discount}(c)\, w / H`. As f is
arbitrary and does not depend on h, the step has order p if and only if the residual on every tree t with at most p
nodes is :math:`O(h^{p + 1 - |t|})`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import comb
from typing import Any, TypeAlias

from diffnum.derivation.algebra.power_sums import FREE, PastSums
from diffnum.derivation.algebra.series import PowerSeries, SeriesKernel, SeriesRing, TimeSeriesKernel
from diffnum.derivation.algebra.symbols import solve
from diffnum.derivation.algebra.trees import GeneralLinearStep, StageRow, Tree, rooted_trees
from diffnum.forms import ExponentialKernel
from diffnum.tableau import Step, Window

__all__ = ["Expansion", "Residual", "expand"]

Rule: TypeAlias = Callable[[Window, int], Step]


@dataclass(frozen=True)
class Residual:
    """What one tree says of the order.

    Parameters
    ----------
    tree : Tree or None
        The tree; None for the empty one (the weight of the state itself).
    power : int
        The residual is of size ``h**power``; the precision where all known terms are zero.
    leading : object
        Coefficient of ``h**power``, zero where all known terms are.
    precision : int
        Power of h of the first unknown term.
    """

    tree: Tree | None
    power: int
    leading: Any
    precision: int

    @property
    def nodes(self) -> int:
        """Number of nodes of the tree."""
        return self.tree.order if self.tree else 0

    @property
    def order(self) -> int:
        """Highest order that this tree allows."""
        return self.nodes + self.power - 1


@dataclass(frozen=True)
class Expansion:
    """B-series of one step of a method.

    Parameters
    ----------
    residuals : tuple of Residual
        For every tree up to ``highest + 1`` nodes.
    highest : int
        The order is decided up to here; an order found above it only means "more".
    ring : SeriesRing
        Coefficients of the residuals.
    """

    residuals: tuple[Residual, ...]
    highest: int
    ring: SeriesRing

    @property
    def order(self) -> int:
        """Largest p such that every tree with at most p nodes has a residual O(h^(p+1-nodes))."""
        return min(self.highest + 1, *(r.order for r in self.residuals))

    @property
    def failing(self) -> tuple[Residual, ...]:
        """Trees that prevent a higher order."""
        return tuple(r for r in self.residuals if r.order == self.order and r.leading)


def expand(
    rule: Rule,
    order: int,
    *,
    rate: int | None,
    past: int = 0,
    known: frozenset[str] = frozenset({"x"}),
    depth: int = 0,
    grid: str = "irregular",
    highest: int | None = None,
    extra: tuple[str, ...] = (),
    row: str = "x",
    inner: tuple[Fraction, ...] = (),
    prepare: Callable[[Callable[[str], PowerSeries]], Rule] | None = None,
) -> Expansion:
    """Expand one step of a rule with exact history.

    Parameters
    ----------
    rule : callable
        ``rule(window, order) -> Step``.
    order : int
        Order asked of the rule.
    rate : {-1, 0, 1} or None
        Growth rate of the kernel; None for the time clock with a general schedule.
    past : int
        Number of past nodes.
    known : frozenset of str
        Vectors that the step before has left. Averages ``v1, ...`` are those of an endless smooth history, in which
        every step is the one before times a fixed ratio.
    depth : int
        History kept.
    grid : {"uniform", "smooth", "irregular"}
        Constant steps; nodes at ``s + g h s^2/2`` (for averages steps that grow by the factor ``1 + g h``); arbitrary
        ratios (a free fixed ratio ``q`` for averages).
    highest : int, optional
        Order up to which the answer is exact; ``order + 1`` by default.
    extra : tuple of str
        Symbols of the method's own, such as ``"beta"``.
    row : str
        Row whose order is wanted: ``"x"``, or a stage such as ``"k2"``.
    inner : tuple of Fraction
        Inner nodes that a plan would provide, as fractions of the step in the clock.
    prepare : callable, optional
        ``prepare(symbol) -> rule``, for rules that take the symbols of ``extra``; replaces ``rule``.

    Raises
    ------
    ValueError
        If ``grid`` is no kind of grid.
    """
    if grid not in ("uniform", "smooth", "irregular"):
        msg = f"grid={grid!r} is no kind of grid: use uniform, smooth or irregular"
        raise ValueError(msg)
    highest = order + 1 if highest is None else highest
    for terms in range(highest + 2, highest + 8, 2):  # divisions by small differences may cost a few terms
        expansion = _expanded(rule, order, rate, past, known, depth, grid, highest, extra, row, inner, prepare, terms)
        if expansion is not None:
            return expansion
    msg = f"highest={highest}: the weights lose more than {terms - highest} orders of h by cancellation"
    raise ValueError(msg)


def _expanded(
    rule: Rule,
    order: int,
    rate: int | None,
    past: int,
    known: frozenset[str],
    depth: int,
    grid: str,
    highest: int,
    extra: tuple[str, ...],
    row: str,
    inner: tuple[Fraction, ...],
    prepare: Callable[[Callable[[str], PowerSeries]], Rule] | None,
    terms: int,
) -> Expansion | None:
    """Expansion with a given number of terms; None where they do not decide the order."""
    averages = any(name[0] == "v" for name in known)
    names = [*extra]
    names += {
        "uniform": [],
        "smooth": ["g"],
        "irregular": ["q"] if averages else [f"u_{j}" for j in range(1, past + 1)],
    }[grid]
    names += [f"a_{i}" for i in range(2, terms + 1)] if rate is None else []
    closed = grid == "irregular" and past > 0 and not averages
    names += [FREE] if closed else []
    ring = SeriesRing(terms, tuple(names))
    kernel: Any = TimeSeriesKernel(ring) if rate is None else SeriesKernel(ring.h, rate)
    ratio, nodes = _grid(ring, grid, past, averages)
    rule = rule if prepare is None else prepare(ring.symbol)
    step = rule(Window(ring.h, nodes, kernel, known, depth, inner=inner, past_times=nodes), order)
    history = _history(step, kernel, nodes, known, ratio, highest)
    glm = _general_linear(step, kernel, history)
    if closed:
        glm = replace(glm, sums=_sums(step, glm, kernel, nodes, ring, highest))
    residuals = tuple(_residuals(glm, row, ring, highest))
    known_to = (r.precision + r.nodes for r in residuals if r.tree)
    return Expansion(residuals, highest, ring) if min(known_to, default=highest + 2) >= highest + 2 else None


def _grid(ring: SeriesRing, grid: str, past: int, averages: bool) -> tuple[PowerSeries, tuple[PowerSeries, ...]]:
    """Ratio of successive steps, and past nodes in steps of the clock."""
    one = ring.constant(1)
    if grid == "irregular" and not averages:
        return one, tuple(ring.symbol(f"u_{j}") for j in range(1, past + 1))
    if grid == "smooth" and not averages:
        # tau(s) = s + g h s^2/2: growing steps, whose ratios vary as those of a geometric grid do not
        bend = ring.symbol("g") * ring.h / 2
        return one, tuple((bend * (j * j) - j) / (one + bend) for j in range(1, past + 1))
    ratio = {
        "uniform": lambda: one,
        "smooth": lambda: one + ring.symbol("g") * ring.h,
        "irregular": lambda: ring.symbol("q"),
    }[grid]()
    nodes, node, step = [], 0 * one, one
    for _ in range(past):
        step = step / ratio
        node = node - step
        nodes.append(node)
    return ratio, tuple(nodes)


def _theta(kernel: Any, fraction: Any) -> Any:
    """Position of a node in the clock s, in steps."""
    if isinstance(fraction, int) and fraction in (0, 1):
        return fraction
    return kernel.discount(fraction) * kernel.moment(0, fraction) / (kernel.discount(1) * kernel.moment(0, 1))


def _history(
    step: Step, kernel: Any, nodes: tuple[PowerSeries, ...], known: frozenset[str], ratio: PowerSeries, highest: int
) -> dict[str, Callable[[int], Any]]:
    """Past vectors as functionals on powers of theta."""
    history: dict[str, Callable[[int], Any]] = {"m0": lambda power: Fraction(power == 0)}
    for j, node in enumerate(nodes, start=1):
        theta = _theta(kernel, node)
        history[f"m{j}"] = lambda power, theta=theta: theta**power  # type: ignore[misc]
    averages = sorted(name for name in known if name[0] == "v")
    if averages:
        history |= _settled(step, averages, ratio, kernel, history, highest)
    return history


def _settled(
    step: Step,
    averages: list[str],
    ratio: PowerSeries,
    kernel: Any,
    past: Mapping[str, Callable[[int], Any]],
    highest: int,
) -> dict[str, Callable[[int], Any]]:
    """Averages that reproduce themselves from step to step, where each step is ``ratio`` times the last.

    With s measured from the end of the step in units of the next, ``sigma = (theta - 1)/q``; hence V(sigma^k) must
    equal what the memory rows make of V and of the evaluations, a linear system for each k. Evaluations inside the step
    are those of the flow at their nodes up to the first power of h, which suffices to decide order 1.
    """
    if isinstance(kernel, ExponentialKernel):
        following = SeriesKernel(kernel.step * ratio, kernel.rate)
        growth = following.discount(1) * following.moment(0) / kernel.moment(0)
    elif highest > 1:
        msg = "rate=None: averages in the time clock have no steady state; use a form with a fixed kernel"
        raise ValueError(msg)
    else:  # the leading term decides order 1
        growth = ratio
    evaluations = {name for average in averages for name in step.memory[average]} - {*averages}
    known = dict(past)
    for i, stage in enumerate(step.stages, start=1):
        theta = _theta(kernel, stage.node)
        known[f"k{i}"] = lambda power, theta=theta: theta**power if power else Fraction(1)  # type: ignore[misc]
    at_start = {f"k{i}" for i, stage in enumerate(step.stages, 1) if isinstance(stage.node, int) and stage.node == 0}
    if highest > 1 and not evaluations <= {*past, *at_start}:
        msg = f"averages use {sorted(evaluations)}: evaluations inside the step have no steady state"
        raise ValueError(msg)
    values: list[dict[str, Any]] = []
    zero = 0 * ratio

    def extend(power: int) -> None:
        scale = growth**-power
        matrix, right = [], []
        for name in averages:
            row = step.memory[name]
            lower: Any = zero
            for source, weight in row.items():
                for i in range(power + 1):
                    if source in averages and i == power:
                        continue
                    value = values[i][source] if source in averages else known[source](i)
                    lower = lower + scale * weight * value * (comb(power, i) * (-1) ** (power - i))
            matrix.append([zero + int(name == other) - scale * row.get(other, 0) for other in averages])
            right.append(lower)
        values.append(dict(zip(averages, solve(matrix, right), strict=True)))

    def functional(name: str) -> Callable[[int], Any]:
        def value(power: int) -> Any:
            while len(values) <= power:
                extend(len(values))
            return values[power][name]

        return value

    return {name: functional(name) for name in averages}


def _general_linear(step: Step, kernel: Any, history: Mapping[str, Callable[[int], Any]]) -> GeneralLinearStep:
    """Rows of a step in the clock s."""
    total = kernel.discount(1) * kernel.moment(0, 1)
    rows = {}
    for name, node, value in step.rows():
        if node is None:
            continue
        discount = kernel.discount(node)
        scale = discount / total
        slopes = {source: scale * w for source, w in value.items() if source != "x"}
        rows[name] = StageRow(_theta(kernel, node), value.get("x", 0), slopes)
    return GeneralLinearStep(rows, history)


def _sums(
    step: Step, glm: GeneralLinearStep, kernel: Any, nodes: tuple[PowerSeries, ...], ring: SeriesRing, highest: int
) -> dict[str, PastSums]:
    """Closed forms of the sums over exact past evaluations at free ratios, by row."""
    theta = _theta(kernel, ring.symbol(FREE))
    places: dict[str, Any] = {"m0": ring.constant(0)} | {f"m{j}": node for j, node in enumerate(nodes, start=1)}
    inner: dict[str, Any] = {name: node for name, node, _ in step.rows() if node is not None and name != "x"}
    total = kernel.discount(1) * kernel.moment(0, 1)
    sums = {}
    for name, node, _ in step.rows():
        if node is None:
            continue
        slopes = glm.rows[name].slopes

        def moments(k: int, node: Any = node) -> PowerSeries:
            value: PowerSeries = kernel.discount(node) * kernel.moment(k, node) / total
            return value

        past = [(w, places[s]) for s, w in slopes.items() if s in places]
        inside = [(w, ring.constant(1) * inner[s]) for s, w in slopes.items() if s in inner]
        if past:
            sums[name] = PastSums(past, inside, moments, theta, ring, highest)
    return sums


def _residuals(glm: GeneralLinearStep, row: str, ring: SeriesRing, highest: int) -> Iterator[Residual]:
    """Residuals of a row on all trees that can decide the order."""
    names = [name for name in glm.rows if name != "x" and name != row] + [row]
    zero = 0 * ring.constant(1)
    for name in names:
        defect = zero + 1 - glm.rows[name].state
        if defect.valuation < defect.precision:  # a stage that does not carry the state is no approximation at all
            yield Residual(None, defect.valuation, defect[defect.valuation], defect.precision)
            return
    leaf = rooted_trees(1)[0]
    stages = [name for name in names if name != row]
    # where all stages stand where their weights say, clock leaves and plain leaves cannot be told apart
    plain = not any(zero + glm.weight(name, leaf) - glm.rows[name].node for name in stages)
    for nodes in range(1, highest + 2):
        for tree in rooted_trees(nodes, clock=not plain):
            residual = zero + glm.residual(tree, row)
            power = residual.valuation
            leading = residual[power] if power < residual.precision else ring.coefficient(0)
            yield Residual(tree, power, leading, residual.precision)

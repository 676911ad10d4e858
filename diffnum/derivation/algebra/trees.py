r"""Rooted trees and the order conditions of Runge-Kutta methods and of general linear steps.

A tree stands for an elementary differential of f in ``x' = f(x, s)``; an approximation has order p when its weight on
every tree of up to p nodes is that of the exact flow, ``1/gamma``. Besides the classical trees there are those in
which a leaf may be the clock itself, a differentiation by s: they are needed wherever a stage stands at another place
than its weights say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, cached_property
from itertools import groupby
from math import factorial, prod
from typing import Any

__all__ = [
    "CLOCK",
    "GeneralLinearStep",
    "StageRow",
    "Tree",
    "bushy",
    "elementary_weight",
    "order_conditions",
    "rooted_trees",
]


@dataclass(frozen=True)
class Tree:
    """A rooted tree: the root's subtrees, in canonical order.

    Parameters
    ----------
    children : tuple of Tree
        Subtrees of the root.
    clock : bool
        Whether this is the clock leaf, which is never a root.
    """

    children: tuple[Tree, ...] = ()
    clock: bool = False

    @cached_property
    def order(self) -> int:
        """Number of nodes."""
        return 1 + sum(child.order for child in self.children)

    @cached_property
    def density(self) -> int:
        """gamma: the exact flow has weight ``1/gamma``."""
        return self.order * prod(child.density for child in self.children)

    @cached_property
    def symmetry(self) -> int:
        """sigma: size of the group of automorphisms."""
        repeats = [len(list(group)) for _, group in groupby(self.children)]
        return prod(child.symmetry for child in self.children) * prod(factorial(n) for n in repeats)

    @cached_property
    def text(self) -> str:
        """Bracket notation: ``o`` a node without children, ``s`` the clock, ``[...]`` a node with children."""
        if not self.children:
            return "s" if self.clock else "o"
        return f"[{''.join(child.text for child in self.children)}]"

    def __str__(self) -> str:
        return self.text


CLOCK = Tree(clock=True)
"""The leaf that stands for differentiation by the clock."""


@cache
def rooted_trees(order: int, clock: bool = False) -> tuple[Tree, ...]:
    """All rooted trees with ``order`` nodes.

    Parameters
    ----------
    order : int
        Number of nodes, at least 1.
    clock : bool
        Whether leaves other than the root may be the clock.

    Returns
    -------
    tuple of Tree
        1, 1, 2, 4, 9, 20, 48, 115, ... of them; 1, 2, 5, 13, 37, ... with clock leaves.

    Raises
    ------
    ValueError
        If ``order`` is not positive.
    """
    if order < 1:
        msg = f"order={order} is not positive: a tree has at least its root"
        raise ValueError(msg)
    parts = [tree for n in range(1, order) for tree in _subtrees(n, clock)]
    return tuple(Tree(forest) for forest in _forests(order - 1, parts, len(parts)))


def _subtrees(order: int, clock: bool) -> tuple[Tree, ...]:
    trees = rooted_trees(order, clock)
    return (*trees, CLOCK) if clock and order == 1 else trees


def _forests(weight: int, parts: Sequence[Tree], bound: int) -> Iterator[tuple[Tree, ...]]:
    """Multisets of the first ``bound`` parts with ``weight`` nodes in all, larger parts first."""
    if weight == 0:
        yield ()
        return
    for i in reversed(range(bound)):
        if parts[i].order <= weight:
            for rest in _forests(weight - parts[i].order, parts, i + 1):
                yield (parts[i], *rest)


def bushy(order: int) -> Tree:
    """Tree whose ``order - 1`` leaves all hang on the root: the pure quadrature condition."""
    return Tree((Tree(),) * (order - 1))


# -- Runge-Kutta tableaux ----------------------------------------------------------------------------


def elementary_weight(tree: Tree, a: Sequence[Sequence[Any]], b: Sequence[Any], c: Sequence[Any] | None = None) -> Any:
    """Elementary weight of a Runge-Kutta method on a tree.

    Parameters
    ----------
    tree : Tree
        A rooted tree.
    a : s rows of s
        Stage weights, explicit or implicit.
    b : sequence of s
        Weights of the step.
    c : sequence of s, optional
        Nodes, for trees with clock leaves; row sums by default.

    Returns
    -------
    number or expression
        To be compared with ``1/tree.density``.
    """
    stages = range(len(b))
    nodes = [sum(row) for row in a] if c is None else c
    known: dict[Tree, list[Any]] = {}

    def inner(subtree: Tree) -> list[Any]:
        """Weight of the stages on a subtree."""
        if subtree.clock:
            return list(nodes)
        if subtree not in known:
            slopes = slope(subtree)
            known[subtree] = [sum(a[i][j] * slopes[j] for j in stages) for i in stages]
        return known[subtree]

    def slope(subtree: Tree) -> list[Any]:
        factors = [inner(child) for child in subtree.children]
        return [prod(factor[i] for factor in factors) for i in stages]

    slopes = slope(tree)
    return sum(b[j] * slopes[j] for j in stages)


def order_conditions(
    a: Sequence[Sequence[Any]], b: Sequence[Any], c: Sequence[Any] | None = None, order: int = 4
) -> tuple[tuple[Tree, Any], ...]:
    """Residuals of all order conditions of a Runge-Kutta method up to an order.

    Parameters
    ----------
    a, b, c
        Tableau of numbers, Fractions or sympy expressions; with nodes ``c`` given, the conditions of
        non-autonomous equations are included.
    order : int
        Highest number of nodes of the trees.

    Returns
    -------
    tuple of (Tree, residual)
        ``weight - 1/gamma`` for each tree.

    Raises
    ------
    ValueError
        If the shapes of ``a``, ``b``, ``c`` differ.

    References
    ----------
    Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, theorem II.2.13.
    """
    if len(a) != len(b) or any(len(row) != len(b) for row in a) or (c is not None and len(c) != len(b)):
        msg = f"a, b, c have {len(a)} rows, {len(b)} weights, {c if c is None else len(c)} nodes: give s by s, s and s"
        raise ValueError(msg)
    trees = [tree for n in range(1, order + 1) for tree in rooted_trees(n, clock=c is not None)]
    return tuple((tree, elementary_weight(tree, a, b, c) - Fraction(1, tree.density)) for tree in trees)


# -- general linear steps ----------------------------------------------------------------------------


@dataclass(frozen=True)
class StageRow:
    """One approximation within a step, in the clock s in which the equation is ``x' = f(x, s)``.

    Parameters
    ----------
    node : scalar
        Where it approximates the solution, in steps of s.
    state : scalar
        Weight of the state at the start.
    slopes : mapping of str to scalar
        Weights of evaluations, in steps of s: ``k1, k2, ...`` and names of past functionals.
    """

    node: Any
    state: Any
    slopes: Mapping[str, Any]


@dataclass(frozen=True)
class GeneralLinearStep:
    r"""A step with stages and exact history as a B-series.

    Parameters
    ----------
    rows : mapping of str to StageRow
        Stages ``k1, k2, ...`` in order, each depending on those before.
    history : mapping of str to callable
        For each past vector the value ``power -> functional of theta**power``: :math:`\theta_j^{power}` for an exact
        past evaluation at :math:`\theta_j`, an average of those for a momentum.
    sums : mapping of str to callable
        Row -> ``power -> sum of weights times functionals`` of its past vectors, where that is known in closed form.
    """

    rows: Mapping[str, StageRow]
    history: Mapping[str, Callable[[int], Any]]
    sums: Mapping[str, Callable[[int], Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_weights", {})
        object.__setattr__(self, "_moments", {})

    def weight(self, row: str, tree: Tree) -> Any:
        r"""B-series coefficient of a row on a tree, normalised so that the exact one is :math:`\theta^{|t|}/\gamma(t)`.

        An evaluation of the exact solution at theta has the coefficient
        :math:`\prod \theta^{|t_i|}/\gamma(t_i) = \theta^{|t|-1} |t|/\gamma(t)` on :math:`t = [t_1, \dots, t_k]`.
        """
        if tree.clock:
            return self.rows[row].node
        weights = self._weights  # type: ignore[attr-defined]
        key = (row, tree)
        if key not in weights:
            total = self._past(row, tree.order - 1) * Fraction(tree.order, tree.density)
            for source, factor in self.rows[row].slopes.items():
                if source in self.rows:
                    total = total + factor * self._slope(source, tree)
            weights[key] = total
        return weights[key]

    def _slope(self, stage: str, tree: Tree) -> Any:
        return prod((self.weight(stage, child) for child in tree.children), start=Fraction(1))

    def _past(self, row: str, power: int) -> Any:
        moments = self._moments  # type: ignore[attr-defined]
        key = (row, power)
        if key not in moments and row in self.sums:
            moments[key] = self.sums[row](power)
        elif key not in moments:
            slopes = self.rows[row].slopes
            moments[key] = sum((slopes[s] * self.history[s](power) for s in slopes if s not in self.rows), Fraction(0))
        return moments[key]

    def residual(self, tree: Tree, row: str = "x") -> Any:
        """Exact minus approximate coefficient of a row on a tree."""
        node = self.rows[row].node
        exact = Fraction(1, tree.density) if isinstance(node, int) and node == 1 else node**tree.order / tree.density
        return exact - self.weight(row, tree)

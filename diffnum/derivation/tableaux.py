"""Explicit Runge-Kutta methods derived from the order conditions of rooted trees.

Up to order 4 everything follows from the nodes. From order 5 on the stages are their author's choice, and the weights
follow: the order conditions are linear in them, more in number than the unknowns, and solvable only for the right
stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.adams import EXACT_STEP, moment_weights, moments_line
from diffnum.derivation.algebra.trees import elementary_weight, rooted_trees
from diffnum.derivation.records import Derived, Line
from diffnum.derivation.runge_kutta import explicit_step
from diffnum.tableau import Window

__all__ = ["DERIVATION", "PRINTED", "Printed", "explicit_runge_kutta", "overdetermined", "printed", "solved"]


@dataclass(frozen=True)
class Printed:
    """A tableau as printed.

    Parameters
    ----------
    order : int
        Order claimed.
    nodes, stages, weights : str
        Numbers separated by blanks; rows of stages by commas, the first row left out.
    source : str
        Where it is printed.
    """

    order: int
    nodes: str
    stages: str
    weights: str
    source: str

    @property
    def c(self) -> tuple[Fraction, ...]:
        """Nodes."""
        return tuple(map(Fraction, self.nodes.split()))

    @property
    def A(self) -> tuple[tuple[Fraction, ...], ...]:
        """Rows of the stages; the first is empty."""
        return ((), *(tuple(map(Fraction, row.split())) for row in self.stages.split(",") if row))

    @property
    def b(self) -> tuple[Fraction, ...]:
        """Weights."""
        return tuple(map(Fraction, self.weights.split()))


_RK = "qsh-zh/deis at a30709f4, th_deis"
_BUTCHER = "Butcher, J. Austral. Math. Soc. 4 (1964), 179-194"

PRINTED: Final[Mapping[str, Printed]] = MappingProxyType(
    {
        "euler": Printed(1, "0", "", "1", _RK),
        "heun": Printed(2, "0 1", "1", "1/2 1/2", _RK),
        "midpoint": Printed(2, "0 1/2", "1/2", "0 1", "Runge 1895"),
        "ralston2": Printed(2, "0 2/3", "2/3", "1/4 3/4", "Ralston, Math. Comp. 16 (1962)"),
        "kutta3": Printed(3, "0 1/2 1", "1/2, -1 2", "1/6 2/3 1/6", _RK),
        "ralston3": Printed(3, "0 1/2 3/4", "1/2, 0 3/4", "2/9 1/3 4/9", _RK),
        "heun3": Printed(3, "0 1/3 2/3", "1/3, 0 2/3", "1/4 0 3/4", _RK),
        "vdh3": Printed(3, "0 8/15 2/3", "8/15, 1/4 5/12", "1/4 0 3/4", _RK),
        "ssprk3": Printed(3, "0 1 1/2", "1, 1/4 1/4", "1/6 1/6 2/3", _RK),
        "rk4": Printed(4, "0 1/2 1/2 1", "1/2, 0 1/2, 0 0 1", "1/6 1/3 1/3 1/6", _RK),
        "kutta38": Printed(4, "0 1/3 2/3 1", "1/3, -1/3 1, 1 -1 1", "1/8 3/8 3/8 1/8", "Kutta 1901"),
        "butcher5": Printed(
            5,
            "0 1/4 1/4 1/2 3/4 1",
            "1/4, 1/8 1/8, 0 -1/2 1, 3/16 0 0 9/16, -3/7 2/7 12/7 -12/7 8/7",
            "7/90 0 16/45 2/15 16/45 7/90",
            _BUTCHER,
        ),
        "dopri5": Printed(
            5,
            "0 1/5 3/10 4/5 8/9 1",
            "1/5, 3/40 9/40, 44/45 -56/15 32/9, 19372/6561 -25360/2187 64448/6561 -212/729,"
            "9017/3168 -355/33 46732/5247 49/176 -5103/18656",
            "35/384 0 500/1113 125/192 -2187/6784 11/84",
            "Dormand and Prince, J. Comp. Appl. Math. 6 (1980)",
        ),
        "butcher6": Printed(
            6,
            "0 1/3 2/3 1/3 1/2 1/2 1",
            "1/3, 0 2/3, 1/12 1/3 -1/12, -1/16 9/8 -3/16 -3/8, 0 9/8 -3/8 -3/4 1/2, 9/44 -9/11 63/44 18/11 0 -16/11",
            "11/120 0 27/40 27/40 -4/15 -4/15 11/120",
            _BUTCHER,
        ),
    }
)
"""Tableaux as printed; ``two_stage`` methods have a free node instead."""

_LOWER = {1: "euler", 2: "midpoint", 3: "kutta3", 4: "rk4", 5: "butcher5"}

Tableau = tuple[tuple[Fraction, ...], tuple[tuple[Fraction, ...], ...], tuple[Fraction, ...]]
"""Nodes, rows of the stages, weights."""

ONE, HALF = Fraction(1), Fraction(1, 2)


def printed(order: int, tableau: str, node: Fraction | None = None) -> Tableau:
    """Tableau as printed, or the one that stands in where a lower order is asked for."""
    if tableau == "two_stage" and node is not None and order >= 2:
        return (Fraction(0), node), ((), (node,)), (1 - 1 / (2 * node), 1 / (2 * node))
    found = PRINTED.get(tableau)
    entry = found if found and order >= found.order else PRINTED[_LOWER[order]]
    return entry.c, entry.A, entry.b


@cache
def solved(order: int, tableau: str, node: Fraction | None = None) -> Tableau:
    """Tableau from the order conditions, given the nodes (order 5 and higher: the stages).

    Raises
    ------
    ValueError
        If the conditions contradict each other.
    """
    c, stages, _ = printed(order, tableau, node)
    if order <= 2:
        b = moment_weights(c, [ONE, HALF][: len(c)])
        return c, tuple((x,) if i else () for i, x in enumerate(c)), b
    if order == 3:
        b = moment_weights(c, [ONE, HALF, Fraction(1, 3)])
        a32 = Fraction(1, 6) / (b[2] * c[1])
        return c, ((), (c[1],), (c[2] - a32, a32)), b
    if order == 4:
        return _fourth(c)
    square = [[*row, *(Fraction(0),) * (len(c) - len(row))] for row in stages]
    trees = [tree for n in range(1, order + 1) for tree in rooted_trees(n)]
    units = [[Fraction(i == j) for j in range(len(c))] for i in range(len(c))]
    rows = [[elementary_weight(tree, square, unit) for unit in units] for tree in trees]
    return c, stages, overdetermined(rows, [Fraction(1, tree.density) for tree in trees])


def _fourth(c: tuple[Fraction, ...]) -> Tableau:
    """Four stages of order 4, the last at 1; equal inner nodes share their weight."""
    if c[1] == c[2]:
        first, middle, last = moment_weights((c[0], c[1], c[3]), [ONE, HALF, Fraction(1, 3)])
        b = (first, middle / 2, middle / 2, last)
    else:
        b = moment_weights(c, [ONE, HALF, Fraction(1, 3), Fraction(1, 4)])
    a32 = Fraction(1, 24) / (b[2] * c[1] * (1 - c[2]))  # 1/6 - 1/8 on the trees [[[o]]] wants
    a43 = b[2] * (1 - c[2]) / b[3]  # sum_i b_i a_ij = b_j (1 - c_j), j = 3 and j = 2
    a42 = (b[1] * (1 - c[1]) - b[2] * a32) / b[3]
    return c, ((), (c[1],), (c[2] - a32, a32), (c[3] - a42 - a43, a42, a43)), b


def overdetermined(rows: Sequence[Sequence[Fraction]], right: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """Solve a linear system with more equations than unknowns, exactly.

    Raises
    ------
    ValueError
        If the equations contradict each other, or leave the unknowns undetermined.
    """
    augmented = [[*row, value] for row, value in zip(rows, right, strict=True)]
    unknowns = len(rows[0])
    for i in range(unknowns):
        pivot = next((r for r in range(i, len(augmented)) if augmented[r][i]), None)
        if pivot is None:
            msg = f"rows={rows!r} leave unknown {i + 1} undetermined: more conditions are needed"
            raise ValueError(msg)
        augmented[i], augmented[pivot] = augmented[pivot], augmented[i]
        lead = augmented[i][i]
        augmented[i] = [entry / lead for entry in augmented[i]]
        for r, row in enumerate(augmented):
            if r != i and row[i]:
                factor = row[i]
                augmented[r] = [a - factor * b for a, b in zip(row, augmented[i], strict=True)]
    if any(row[-1] for row in augmented[unknowns:]):
        msg = "the order conditions contradict each other: no weights fit these stages"
        raise ValueError(msg)
    return tuple(row[-1] for row in augmented[:unknowns])


def explicit_runge_kutta(
    window: Window, order: int, rate: int | None = 0, tableau: str = "rk4", node: Fraction | None = None
) -> Derived:
    """Explicit Runge-Kutta method of a catalogue name, in a clock with the plain kernel."""
    c, stages, b = solved(order, tableau, node)
    h: Any = window.moment(0)
    count = sum(len(rooted_trees(n)) for n in range(1, order + 1))
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line("In this clock the equation is dy/ds = M: classical theory applies."),
        Line(
            "The nodes are given; quadrature and tree conditions determine the rest."
            if order < 5
            else "The stages are given; the order conditions are linear in the weights and determine them.",
            r"\Phi(t) = 1/\gamma(t) \quad \text{for the "
            + str(count)
            + r" trees with at most "
            + str(order)
            + r" nodes}",
        ),
    )
    rows = [[h * a for a in row] for row in stages]
    return Derived(explicit_step(window, c, rows, [h * w for w in b]), argument)


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType({"explicit_runge_kutta": explicit_runge_kutta})
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""

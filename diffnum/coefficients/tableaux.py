"""Explicit Runge-Kutta tableaux as exact data.

They act in the clocks whose kernel is plain (sigma/alpha with noise prediction, sigma/(alpha + sigma) with velocity
prediction), where the probability-flow ODE is ``dy/dclock = M`` without a linear part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from diffnum.jobs.shown import short

__all__ = ["LOWER", "TABLEAUX", "ButcherTableau", "two_stage"]


@dataclass(frozen=True)
class ButcherTableau:
    """An explicit Runge-Kutta method with exact rational coefficients.

    Parameters
    ----------
    title : str
        Name in prose.
    c : tuple of s Fractions
        Nodes, 0 first.
    A : tuple of s tuples of Fractions
        Stage weights; row i has i entries.
    b : tuple of s Fractions
        Weights of the step.
    order : int
        Order, as proved by the rooted trees.
    source : str
        Where the tableau is printed.

    Raises
    ------
    TypeError
        If an entry is not a rational number (floats are refused: 1/3 is not one).
    ValueError
        If the shapes differ, a row of ``A`` does not sum to its node, or ``b`` does not sum to 1.
    """

    title: str
    c: tuple[Fraction, ...]
    A: tuple[tuple[Fraction, ...], ...]
    b: tuple[Fraction, ...]
    order: int
    source: str = ""

    def __repr__(self) -> str:
        """Short form."""
        return short("ButcherTableau", self.title, stages=len(self.b), order=self.order, source=self.source)

    def __post_init__(self) -> None:
        object.__setattr__(self, "c", _exact("c", self.c))
        object.__setattr__(self, "A", tuple(_exact(f"A[{i}]", row) for i, row in enumerate(self.A)))
        object.__setattr__(self, "b", _exact("b", self.b))
        stages = len(self.b)
        if not stages or len(self.c) != stages or [len(row) for row in self.A] != list(range(stages)):
            msg = (
                f"{len(self.c)} nodes, rows of {[len(row) for row in self.A]} and {stages} weights are no explicit "
                "tableau: s stages need s nodes, rows of 0, 1, ..., s - 1 entries, and s weights"
            )
            raise ValueError(msg)
        for i, (node, row) in enumerate(zip(self.c, self.A, strict=True)):
            if sum(row, Fraction(0)) != node:
                msg = f"A[{i}] sums to {sum(row, Fraction(0))}, its node is c[{i}]={node}: they must agree"
                raise ValueError(msg)
        if sum(self.b) != 1:
            msg = f"b sums to {sum(self.b)}: a consistent method has weights that sum to 1"
            raise ValueError(msg)

    @property
    def stages(self) -> int:
        """Number of model evaluations per step."""
        return len(self.b)

    @property
    def square(self) -> tuple[tuple[Fraction, ...], ...]:
        """``A`` as a full square matrix."""
        return tuple((*row, *(Fraction(0),) * (self.stages - len(row))) for row in self.A)


def _exact(name: str, row: Sequence[int | str | Fraction]) -> tuple[Fraction, ...]:
    """Entries as Fractions; text such as ``"1/3"`` is understood."""
    for entry in row:
        if isinstance(entry, bool) or not isinstance(entry, int | str | Fraction):
            msg = f"{name} has the entry {entry!r}: use Fraction, int or text such as '1/3'"
            raise TypeError(msg)
    return tuple(Fraction(entry) for entry in row)


def _tableau(title: str, c: str, rows: Sequence[str], b: str, order: int, source: str) -> ButcherTableau:
    """Tableau from text, one row of ``A`` a string, the empty first row left out."""
    split = [tuple(Fraction(entry) for entry in text.split()) for text in (c, b, *rows)]
    return ButcherTableau(title, split[0], ((), *split[2:]), split[1], order, source)


def two_stage(node: Fraction) -> ButcherTableau:
    """Second-order method with the inner node ``node``: 1/2 midpoint, 2/3 Ralston, 1 Heun.

    Parameters
    ----------
    node : Fraction
        Inner node in (0, 1]; the weights are 1 - 1/(2 node) and 1/(2 node).

    Raises
    ------
    ValueError
        If the node is not in (0, 1].

    References
    ----------
    Karras et al., arXiv:2206.00364, algorithm 3, whose alpha is the node.
    """
    node = Fraction(node)
    if not 0 < node <= 1:
        msg = f"node={node} is not an inner node: use a number in (0, 1]"
        raise ValueError(msg)
    late = 1 / (2 * node)
    title = f"two-stage method with node {node}"
    return ButcherTableau(
        title, (Fraction(0), node), ((), (node,)), (1 - late, late), 2, "arXiv:2206.00364, algorithm 3"
    )


_HAIRER = "Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I"
_DEIS = "qsh-zh/deis at a30709f4, th_deis"

TABLEAUX: Final[Mapping[str, ButcherTableau]] = MappingProxyType(
    {
        "euler": _tableau("Euler", "0", [], "1", 1, "Euler 1768"),
        "heun": _tableau("Heun, order 2", "0 1", ["1"], "1/2 1/2", 2, _DEIS),
        "midpoint": _tableau("explicit midpoint", "0 1/2", ["1/2"], "0 1", 2, "Runge 1895"),
        "ralston2": _tableau("Ralston, order 2", "0 2/3", ["2/3"], "1/4 3/4", 2, "Ralston 1962"),
        "kutta3": _tableau("Kutta, order 3", "0 1/2 1", ["1/2", "-1 2"], "1/6 2/3 1/6", 3, _DEIS),
        "ralston3": _tableau("Ralston, order 3", "0 1/2 3/4", ["1/2", "0 3/4"], "2/9 1/3 4/9", 3, _DEIS),
        "heun3": _tableau("Heun, order 3", "0 1/3 2/3", ["1/3", "0 2/3"], "1/4 0 3/4", 3, _DEIS),
        "vdh3": _tableau("van der Houwen, order 3", "0 8/15 2/3", ["8/15", "1/4 5/12"], "1/4 0 3/4", 3, _DEIS),
        "ssprk3": _tableau(
            "strong stability preserving, order 3", "0 1 1/2", ["1", "1/4 1/4"], "1/6 1/6 2/3", 3, _DEIS
        ),
        "rk4": _tableau("classical Runge-Kutta", "0 1/2 1/2 1", ["1/2", "0 1/2", "0 0 1"], "1/6 1/3 1/3 1/6", 4, _DEIS),
        "kutta38": _tableau(
            "Kutta's 3/8 rule",
            "0 1/3 2/3 1",
            ["1/3", "-1/3 1", "1 -1 1"],
            "1/8 3/8 3/8 1/8",
            4,
            f"{_HAIRER}, table II.1.2",
        ),
        "butcher5": _tableau(
            "Butcher, order 5",
            "0 1/4 1/4 1/2 3/4 1",
            ["1/4", "1/8 1/8", "0 -1/2 1", "3/16 0 0 9/16", "-3/7 2/7 12/7 -12/7 8/7"],
            "7/90 0 32/90 12/90 32/90 7/90",
            5,
            "Butcher, J. Austral. Math. Soc. 4 (1964) 179-194",
        ),
        "dopri5": _tableau(
            "Dormand and Prince, order 5",
            "0 1/5 3/10 4/5 8/9 1",
            [
                "1/5",
                "3/40 9/40",
                "44/45 -56/15 32/9",
                "19372/6561 -25360/2187 64448/6561 -212/729",
                "9017/3168 -355/33 46732/5247 49/176 -5103/18656",
            ],
            "35/384 0 500/1113 125/192 -2187/6784 11/84",
            5,
            f"{_HAIRER}, table II.5.2 (the weights of order 5, six stages)",
        ),
        "butcher6": _tableau(
            "Butcher, order 6",
            "0 1/3 2/3 1/3 1/2 1/2 1",
            [
                "1/3",
                "0 2/3",
                "1/12 1/3 -1/12",
                "-1/16 9/8 -3/16 -3/8",
                "0 9/8 -3/8 -3/4 1/2",
                "9/44 -9/11 63/44 18/11 0 -16/11",
            ],
            "11/120 0 27/40 27/40 -4/15 -4/15 11/120",
            6,
            "Butcher, J. Austral. Math. Soc. 4 (1964) 179-194",
        ),
    }
)
"""Explicit tableaux by short name; orders 1 to 6."""

LOWER: Final[Mapping[int, str]] = MappingProxyType({1: "euler", 2: "midpoint", 3: "kutta3", 4: "rk4", 5: "butcher5"})
"""Tableau taken where a step of a lower order is asked for (last steps, steps to sigma = 0)."""

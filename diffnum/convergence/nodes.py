"""Nodes of order studies: kinds of grids, and ends that are graded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffnum.coefficients.method import GRID_KINDS
from diffnum.types import FloatArray

__all__ = [
    "GENTLE",
    "GRADED",
    "HIGH",
    "INTERVAL",
    "MIDDLE",
    "PATTERN",
    "PLAIN_INTERVAL",
    "Spacing",
    "fractions",
    "graded",
]


INTERVAL = (-2.0, 2.0)
"""Half-log-SNR at both ends: compact, so that no end of the schedule interferes."""

PLAIN_INTERVAL = (-1.0, 1.0)
"""The same for clocks other than the half-log-SNR, whose constant steps are coarse at the data end."""

PATTERN = (1.0, 1.7, 0.6, 1.3)
"""Step ratios of the irregular grids; repeated at every level, so that the grids are never smooth."""

MIDDLE = 0.5
"""Where the one step of a local defect begins, as a fraction of the interval."""

GRADED = 13
"""Graded steps that an end interval of the nodes is divided into, each longer than the one before by one factor.

One less than a multiple of 12: with them the number of steps keeps its class modulo 2, 3 and 4."""

HIGH = 6
"""Order up to which the first graded step is short enough, where no order is claimed."""

GENTLE = 3
"""Order for which steps are graded where coefficients lose their digits on shorter ones."""


def fractions(kind: str, n: int, pattern: Sequence[float] = PATTERN) -> FloatArray:
    """Nodes of a grid on [0, 1].

    Parameters
    ----------
    kind : {"uniform", "smooth", "irregular"}
        Constant steps; the smooth image of constant steps; steps that repeat the ratios ``pattern``.
    n : int
        Number of steps.
    pattern : sequence of float
        Step ratios of the irregular grid, > 0; its length divides 8 where local defects are measured.

    Returns
    -------
    ndarray, shape (n + 1,)
        Increasing from 0 to 1.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    nodes: FloatArray
    if kind == "uniform":
        nodes = np.linspace(0.0, 1.0, n + 1)
    elif kind == "smooth":
        nodes = np.linspace(0.0, 1.0, n + 1)
        nodes = (nodes + 3.0 * nodes**2) / 4.0  # not geometric: some wrong weights are right for a constant ratio
    elif kind == "irregular":
        nodes = np.concatenate([[0.0], np.cumsum(np.resize(pattern, n))])
        nodes /= nodes[-1]
    else:
        msg = f"grids={kind!r} is no kind of grid: use {', '.join(GRID_KINDS)}"
        raise ValueError(msg)
    return nodes


@dataclass(frozen=True)
class Spacing:
    """A kind of grid with its step ratios; called with a number of steps it gives :func:`fractions`."""

    kind: str
    pattern: tuple[float, ...] = PATTERN

    def __call__(self, n: int) -> FloatArray:
        """Nodes on [0, 1], shape (n + 1,)."""
        return fractions(self.kind, n, self.pattern)


def graded(nodes: FloatArray, *, first: bool, last: bool, order: float = HIGH) -> FloatArray:
    """Nodes with the first and the last interval divided geometrically.

    A start-up or last step of order 1 makes an error ``d^2`` on a step ``d``. The outermost step is
    ``h h^((p-1)/2) / 2``, so that this error falls one power faster than ``h^p``, and it is no shorter than that:
    libraries lose digits on steps that nobody takes.

    Parameters
    ----------
    nodes : ndarray, shape (n + 1,)
        Half-log-SNRs, increasing.
    first, last : bool
        Which of the two end intervals to divide, into :data:`GRADED` steps.
    order : float
        Order p that the rest of the run may have.

    Returns
    -------
    ndarray
        With ``GRADED - 1`` more nodes for every interval that was divided. A single interval is halved first.
    """
    if len(nodes) == 2 and first and last:
        nodes = np.array([nodes[0], (nodes[0] + nodes[1]) / 2, nodes[1]])
    start = nodes[0] + _ladder(float(nodes[1] - nodes[0]), order) if first else nodes[:0]
    end = nodes[-1] - _ladder(float(nodes[-1] - nodes[-2]), order)[::-1] if last else nodes[:0]
    return np.concatenate([nodes[:1], start, nodes[1:-1], end, nodes[-1:]])


def _ladder(length: float, order: float) -> FloatArray:
    """Inner nodes of an interval of that length, from the short end: steps grow by one factor."""
    share = min(1.0 / GRADED, 0.5 * length ** ((order - 1) / 2))
    low, high = 1.0, 1.0 / share  # growth: (q^N - 1) / (q - 1) = 1 / share
    for _ in range(60):
        middle = math.sqrt(low * high)
        total = sum(middle**k for k in range(GRADED))
        low, high = (middle, high) if total < 1.0 / share else (low, middle)
    steps = low ** np.arange(GRADED)
    ladder: FloatArray = length * np.cumsum(steps)[:-1] / steps.sum()
    return ladder

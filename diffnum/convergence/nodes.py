"""Nodes of order studies: kinds of grids, and ends that are graded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffnum.coefficients.method import GRID_KINDS
from diffnum.types import FloatArray

__all__ = ["GRADED", "INTERVAL", "MIDDLE", "PATTERN", "PLAIN_INTERVAL", "Spacing", "fractions", "graded"]


INTERVAL = (-2.0, 2.0)
"""Half-log-SNR at both ends: compact, so that no end of the schedule interferes."""

PLAIN_INTERVAL = (-1.0, 1.0)
"""The same for clocks other than the half-log-SNR, whose constant steps are coarse at the data end."""

PATTERN = (1.0, 1.7, 0.6, 1.3)
"""Step ratios of the irregular grids; repeated at every level, so that the grids are never smooth."""

MIDDLE = 0.5
"""Where the one step of a local defect begins, as a fraction of the interval."""

GRADED = 14
"""Graded steps at an end of the nodes, each twice as long as the one before."""


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
        raise ValueError(f"grids={kind!r} is no kind of grid: use {', '.join(GRID_KINDS)}")
    return nodes


@dataclass(frozen=True)
class Spacing:
    """A kind of grid with its step ratios; called with a number of steps it gives :func:`fractions`."""

    kind: str
    pattern: tuple[float, ...] = PATTERN

    def __call__(self, n: int) -> FloatArray:
        """Nodes on [0, 1], shape (n + 1,)."""
        return fractions(self.kind, n, self.pattern)


def graded(nodes: FloatArray, *, first: bool, last: bool) -> FloatArray:
    """Nodes with the first and the last interval divided geometrically."""
    ladder = 2.0 ** -np.arange(GRADED, 0, -1)
    start = nodes[0] + ladder * (nodes[1] - nodes[0]) if first else nodes[:0]
    end = nodes[-1] - ladder[::-1] * (nodes[-1] - nodes[-2]) if last else nodes[:0]
    if len(nodes) == 2 and first and last:  # a single interval: meet in the middle
        return np.concatenate([nodes[:1], start, end[1:], nodes[1:]])
    return np.concatenate([nodes[:1], start, nodes[1:-1], end, nodes[-1:]])

"""Levels as free numbers: increments that are positive and fill the range, whatever the optimiser proposes."""

from __future__ import annotations

import numpy as np

from diffnum.calibration.grid_rules.task import GridTask
from diffnum.types import FloatArray

__all__ = ["beginnings", "increments", "levels_of"]


def levels_of(theta: FloatArray, ends: tuple[float, float]) -> FloatArray:
    """Half-log-SNRs of N - 1 free numbers: logarithms of the increments, relative to the last one."""
    free = np.append(theta, 0.0)
    shares = np.exp(free - free.max())
    levels = ends[0] + (ends[1] - ends[0]) * np.concatenate([[0.0], np.cumsum(shares) / shares.sum()])
    levels[[0, -1]] = ends
    return levels


def increments(levels: FloatArray) -> FloatArray:
    """Free numbers of half-log-SNRs."""
    logs = np.log(np.diff(levels))
    return np.asarray(logs[:-1] - logs[-1])


def beginnings(task: GridTask) -> list[FloatArray]:
    """Where a search in free levels begins: equal steps in half-log-SNR, in its angle, and in rho^(1/7)."""
    first, last = float(task.levels[0]), float(task.levels[-1])
    even = np.linspace(first, last, task.steps + 1)
    angles = np.linspace(float(np.arctan(np.exp(-first))), float(np.arctan(np.exp(-last))), task.steps + 1)
    angle = -np.log(np.tan(angles))
    karras = -7.0 * np.log(np.linspace(np.exp(-first / 7.0), np.exp(-last / 7.0), task.steps + 1))
    return [even, angle, karras]

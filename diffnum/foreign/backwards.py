"""Schedulers that run from data to noise, as samplers from noise to data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffnum.types import Array, FloatArray, Problem

__all__ = ["Backwards"]


@dataclass(frozen=True)
class Backwards:
    """An inverse scheduler under the order study, which measures errors at the data end.

    It is started at the exact data ends of the trajectories and runs back on the mirrored nodes; the distance by which
    it misses their noisy ends is added to the exact data ends, so that the study sees it as the error.

    Parameters
    ----------
    sampler : callable
        ``sampler(model, x, nodes)`` that takes falling half-log-SNRs.
    problem : Problem
        Data, with their exact flow.
    """

    sampler: Callable[[Any, Array, FloatArray], Array]
    problem: Problem

    @property
    def __name__(self) -> str:
        """Name in reports."""
        return str(getattr(self.sampler, "__name__", "sampler"))

    def __call__(self, model: Any, x: Array, nodes: FloatArray) -> FloatArray:
        """Run on half-log-SNRs ``nodes``, shape (n + 1,), from the last to the first."""
        schedule = model.schedule
        first, last = (schedule.time(float(lam)) for lam in (nodes[0], nodes[-1]))
        end = np.asarray(self.problem.flow(np.asarray(x), schedule, first, last))
        start = np.asarray(self.sampler(model, end, nodes[0] + nodes[-1] - nodes))
        return np.asarray(end + (start - np.asarray(x)))

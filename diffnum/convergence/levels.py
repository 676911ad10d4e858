"""Where a sampler asks its model, and where it ends: levels that are rounded, ignored or missed."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffnum.convergence.bench import SAME_NODE
from diffnum.convergence.oracle import AskedByNoiseLevel, Oracle
from diffnum.types import Array, FloatArray, Prediction, Problem, Sampler, Schedule

__all__ = ["ends_elsewhere", "ignored_nodes", "mixed_samples", "rounded_levels", "without_last_step"]

ALONG = 0.2
"""An end is another level's if no more than this fraction of its error lies off the trajectory."""

APART = 1e-6
"""Relative difference of what one sample becomes, alone and among others: products of matrices may round otherwise."""

SAME_SHIFT = 0.2
"""Relative difference of two shifts that are one."""


def without_last_step(sampler: Sampler) -> Sampler:
    """Sampler that returns the state it shows its model at the last node, whatever its last step does.

    It is run on one more node; what comes back is the state of the last evaluation at the node before.
    """

    def run(model: Any, x: Array, nodes: FloatArray) -> Array:
        watched = _Levels(model, keep=float(nodes[-1]))
        result = sampler(watched, x, np.append(nodes, 2.0 * nodes[-1] - nodes[-2]))
        return np.asarray(result) if watched.kept is None else watched.kept

    return run


class _Levels(AskedByNoiseLevel):
    """Model that notes the levels at which it is asked, and the last state it is shown at one of them."""

    def __init__(self, oracle: Any, keep: float = np.nan) -> None:
        self.schedule, self.interval = oracle.schedule, oracle.interval
        self.seen: list[float] = []
        self.kept: FloatArray | None = None
        self._oracle, self._keep = oracle, keep

    def predict(self, x: Array, lam: float, prediction: Prediction) -> FloatArray:
        """Note the level; give the exact prediction."""
        self.seen.append(float(lam))
        if abs(lam - self._keep) < SAME_NODE:
            self.kept = np.array(x, dtype=np.float64)
        answer: FloatArray = self._oracle.predict(x, lam, prediction)
        return answer


def rounded_levels(sampler: Sampler, problem: Problem, schedule: Schedule) -> str:
    """Whether nodes 1e-5 apart are one level to the sampler."""
    count = 24
    nodes = np.sort(np.concatenate([np.linspace(-0.5, 0.5, count), np.linspace(-0.5, 0.5, count)[:-1] + 1e-5]))
    oracle = Oracle(problem, schedule, (-0.5, 0.5), 2, 0)
    model = _Levels(oracle)
    sampler(model, oracle.state(-0.5), nodes)
    seen = len(np.unique(np.round(model.seen, 9)))
    if seen >= min(len(model.seen), len(nodes) - 1) - 1:
        return ""
    return (
        f"the model is evaluated at {seen} different levels only on {len(nodes) - 1} nodes that all differ: "
        "times or levels are rounded; pass them as continuous numbers"
    )


def ignored_nodes(sampler: Sampler, oracle: Oracle, count: int = 12) -> str:
    """Whether the sampler asks its model at the same levels whatever the inner nodes are."""
    asked = []
    for power in (1.0, 1.4):
        at = np.linspace(0.0, 1.0, count + 1) ** power
        nodes = oracle.interval[0] + (oracle.interval[1] - oracle.interval[0]) * at
        nodes[-1] = oracle.interval[1]
        model = _Levels(oracle)
        sampler(model, oracle.state(oracle.interval[0]), nodes)
        asked.append(np.array(model.seen))
    same = len(asked[0]) == len(asked[1]) and np.allclose(asked[0], asked[1], rtol=0.0, atol=SAME_NODE)
    if not same or len(np.unique(asked[0])) < 2:
        return ""
    return (
        f"the model is asked at the same {len(asked[0])} levels whatever nodes are given: the sampler makes nodes of "
        "its own; let it step from node to node, or keep the levels that it makes and pass them on"
    )


def mixed_samples(sampler: Sampler, oracle: Oracle, count: int = 12) -> str:
    """Whether what a sample becomes depends on the others in its batch."""
    nodes = np.linspace(*oracle.interval, count + 1)
    x = oracle.state(oracle.interval[0])
    together = np.asarray(sampler(oracle, x.copy(), nodes.copy()))
    try:
        alone = np.asarray(sampler(oracle, x[:1].copy(), nodes.copy()))
    except Exception as error:
        return f"on a batch of one it raises {type(error).__name__}: {error}"
    off = float(np.max(np.abs(alone - together[:1])))
    if off <= APART * float(np.max(np.abs(together))):
        return ""
    return f"what a sample becomes depends on the others in its batch: alone it ends {off:.2g} away from where it did"


def ends_elsewhere(sampler: Sampler, oracle: Oracle, counts: tuple[int, int] = (384, 768)) -> str:
    """Whether the sampler ends on the trajectory, but at another level than the last node."""
    end, shifts = oracle.interval[1], []
    for n in counts:
        found = np.asarray(sampler(oracle, oracle.state(oracle.interval[0]), np.linspace(*oracle.interval, n + 1)))
        error = found - oracle.state(end)
        width = 1e-3
        along = (oracle.state(end + width) - oracle.state(end - width)) / (2 * width)
        shift = float(np.sum(error * along) / np.sum(along**2))
        if not np.linalg.norm(error - shift * along) < ALONG * np.linalg.norm(error):
            return ""
        shifts.append(shift)
    if abs(shifts[1] - shifts[0]) > SAME_SHIFT * abs(shifts[1]):
        return ""
    return f"it ends at half-log-SNR {end + shifts[1]:.6g}, not at the last node {end:.6g}"

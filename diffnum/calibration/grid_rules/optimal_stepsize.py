r"""Dynamic programming on the state itself: each candidate keeps the best state that reaches it in so many steps.

For k = 1, 2, ... and each candidate j, the state is taken over from that predecessor i from which one step of the
method comes closest to the teacher at j. Unlike the sum of local errors this sees what was lost before; but a state
that is closest to the teacher at j need not be the one from which the end is reached best, so Bellman's principle does
not hold and the result need not be the best path either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffnum.calibration.grid_rules.task import GridTask
from diffnum.calibration.grid_rules.windows import window_tableaux
from diffnum.coefficients.programme import Placement
from diffnum.forms import PREDICTIONS, predict
from diffnum.tableau import Tableau
from diffnum.types import Array, FloatArray

__all__ = ["optimal_stepsize"]


@dataclass(frozen=True, eq=False)
class _Reached:
    """A candidate in so many steps: the path to it, and what the method hands on, a mapping a chunk of samples."""

    path: tuple[int, ...]
    vectors: tuple[Mapping[str, Array], ...]


def optimal_stepsize(task: GridTask) -> FloatArray:
    """Best predecessor of each candidate by the distance from the teacher, step by step.

    Parameters
    ----------
    task : GridTask
        The question; the method must take one interval a step. The published code does this for Euler's step and for
        each image alone, so that every prompt has a grid of its own; here for all samples together.

    Returns
    -------
    ndarray, shape (steps + 1,)
        Half-log-SNRs.

    Raises
    ------
    ValueError
        If a step of the method spans several intervals, or the candidates are too few.

    References
    ----------
    Pei et al., optimal stepsize, arXiv:2503.21774; bebebe666/OptimalSteps at ee350436, OSS/OSS.py, search_OSS.
    """
    placements = task.record.programme(task.steps)
    if any(placement.stride > 1 for placement in placements):
        msg = f"method={task.record.name!r} takes several intervals a step: use by='evolution' or 'spectrum'"
        raise ValueError(msg)
    k = len(task.levels)
    if k <= task.steps:
        msg = f"{task.steps} steps do not fit between {k} candidates: take more candidates"
        raise ValueError(msg)
    mean = task.schedule.mean
    shift = mean if isinstance(mean, float) else task.host.array(np.asarray(mean, dtype=np.float64))
    reached = {0: _Reached((0,), tuple({"x": x - shift} for x in task.samples.x))}
    for r, placement in enumerate(placements):
        last = r == task.steps - 1
        best: dict[int, tuple[float, _Reached]] = {}
        for i, before in reached.items():
            ends = [k - 1] if last else list(range(i + 1, k - (task.steps - 1 - r)))
            for j, (error, after) in zip(ends, _extended(task, placement, before, ends, shift), strict=True):
                if j not in best or error < best[j][0]:
                    best[j] = error, after
        reached = {j: after for j, (_, after) in best.items()}
    return task.levels[list(reached[k - 1].path)]


def _extended(
    task: GridTask, placement: Placement, before: _Reached, ends: list[int], shift: Any
) -> list[tuple[float, _Reached]]:
    """One step to each end, with its distance from the teacher; the evaluation at the state is made once."""
    if not ends:
        return []
    window = before.path[len(before.path) - 1 - placement.past :]
    windows = np.array([[*window, j] for j in ends], dtype=np.int64)
    tableaux = window_tableaux(task, placement, windows)
    states = task.trajectory.states
    totals = np.zeros(len(ends))
    vectors: list[list[dict[str, Array]]] = [[] for _ in ends]
    first = 0
    for part, known in zip(task.samples.parts, before.vectors, strict=True):
        memo: dict[float, Array] = {}
        count = len(known["x"])
        for n, (j, tableau) in enumerate(zip(ends, tableaux, strict=True)):
            after = _stepped(task, tableau, part, known, shift, memo)
            off = task.host.numpy(after["x"]).reshape(count, -1) - states[j, first : first + count]
            totals[n] += float((off**2).sum())
            vectors[n].append(after)
        first += count
    return [
        (float(total), _Reached((*before.path, j), tuple(parts)))
        for total, j, parts in zip(totals, ends, vectors, strict=True)
    ]


def _stepped(
    task: GridTask, tableau: Tableau, part: Any, known: Mapping[str, Array], shift: Any, memo: dict[float, Array]
) -> dict[str, Array]:
    """Vectors after one step; states are less the mean of the process."""
    values: dict[str, Array] = dict(known)
    rows = list(tableau.rows())
    for (name, row), t in zip(rows[: tableau.nfe], tableau.stage_t.tolist(), strict=True):
        at_state = row == {"x": 1.0}
        if at_state and t in memo:
            values[name] = memo[t]
            continue
        x = _sum(row, values)
        values[name] = predict(part, x + shift, t, task.record.form.prediction) - _moved(task, t) * shift
        if at_state:
            memo[t] = values[name]
    return {name: _sum(row, values) for name, row in rows[tableau.nfe :]}


def _moved(task: GridTask, t: float) -> float:
    """Share of the mean in a prediction, by which data predictions are shifted."""
    at = task.schedule
    return float(PREDICTIONS[task.record.form.prediction](float(at.alpha(t)), float(at.sigma(t)))[0])


def _sum(row: Mapping[str, Any], values: Mapping[str, Array]) -> Array:
    """Linear combination of named arrays."""
    total: Any = None
    for name, weight in row.items():
        term = weight * values[name]
        total = term if total is None else total + term
    return total

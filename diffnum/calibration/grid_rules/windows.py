"""Local errors of a method: one step from the teacher's states and evaluations to the next candidate.

A multistep method with one evaluation a step combines the state with evaluations at the nodes of a window, all of which
the teacher has. Its error is a linear combination of known vectors, whose mean square follows from their Gram matrix: a
lattice of candidates costs one evaluation each, however many windows it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffnum.calibration.grid_rules.task import GridTask
from diffnum.coefficients.programme import Placement
from diffnum.forms import Nodes, conversion
from diffnum.plans import Plan
from diffnum.plans.blocks import block
from diffnum.solver import solve
from diffnum.tableau import Tableau
from diffnum.types import FloatArray

__all__ = ["COORDINATES", "local_errors", "window_tableaux"]

COORDINATES: Mapping[str, Callable[[Nodes], Any]] = MappingProxyType(
    {
        "unit": lambda at: np.hypot(at.alpha, at.sigma),
        "signal": lambda at: at.alpha,
        "state": lambda at: np.ones_like(at.alpha),
    }
)
"""By what the state is divided before errors at different levels are compared: the size of the marginal of unit data,
the factor of the signal (the state is then that of a variance-exploding process), or nothing."""

_LARGEST = 60_000

IntArray = NDArray[np.int64]


def local_errors(task: GridTask, coordinates: str = "unit") -> list[FloatArray]:
    """Mean square of the local error of each step, for every window of candidates.

    Parameters
    ----------
    task : GridTask
        The question.
    coordinates : str
        A key of :data:`COORDINATES`.

    Returns
    -------
    list of ndarray
        For step r an array of shape (k,) * (p + 2), where p is the number of past evaluations that it uses: the
        indices are the candidates of the window, oldest first, the last is the end of the step; infinite where they do
        not increase.

    Raises
    ------
    ValueError
        If a step cannot be made from the teacher's values alone, or there are too many windows.
    """
    placements = task.record.programme(task.steps)
    known: dict[Placement, FloatArray] = {}
    for placement in placements:
        if placement not in known:
            known[placement] = _errors(task, placement, COORDINATES[coordinates](task.nodes))
    return [known[placement] for placement in placements]


def window_tableaux(task: GridTask, placement: Placement, windows: IntArray) -> list[Tableau]:
    """Tableau of the last step of each window of candidates.

    Parameters
    ----------
    task : GridTask
        The question.
    placement : Placement
        Kind of the step.
    windows : ndarray of int, shape (w, past + 2)
        Candidates of each window, oldest first.
    """
    count, width = windows.shape
    nodes: Nodes = task.nodes[windows.ravel()]
    index = np.arange(count, dtype=np.int64) * width + width - 2
    return list(block(placement, task.schedule, nodes, index, {}))


def _errors(task: GridTask, placement: Placement, size: Any) -> FloatArray:
    """Local errors of one kind of step."""
    k, width = len(task.levels), placement.past + 2
    step = placement.rehearse()
    past = {f"m{j}" for j in range(1, placement.past + 1)}
    at_state = step.nfe == 1 and step.stages[0].node == 0 and dict(step.stages[0].value) == {"x": 1}
    if not at_state and (placement.past or placement.stride > 1 or placement.known - {"x"}):
        msg = (
            f"method={task.record.name!r}: a step of it is no function of the teacher's states and evaluations; use "
            "by='optimal_stepsize' or 'evolution', which run the method"
        )
        raise ValueError(msg)
    if placement.known - {"x"} - past:
        msg = (
            f"method={task.record.name!r} keeps {', '.join(sorted(placement.known - {'x'} - past))} between steps; use "
            "by='optimal_stepsize' or 'evolution', which run the method"
        )
        raise ValueError(msg)
    windows = np.array(list(combinations(range(k), width)), dtype=np.int64)
    if len(windows) > _LARGEST:
        msg = (
            f"{k} candidates make {len(windows)} windows of {task.record.name}: take fewer, such as candidates="
            f"{_fitting(task.record.depth + 2)}"
        )
        raise ValueError(msg)
    tableaux = window_tableaux(task, placement, windows)
    errors = np.full((k,) * width, np.inf)
    found = _from_gram(task, windows, tableaux) if at_state else _by_running(task, windows, tableaux)
    errors[tuple(windows.T)] = np.maximum(found, 0.0) / np.broadcast_to(size, (k,))[windows[:, -1]] ** 2
    return errors


def _fitting(width: int) -> int:
    """Candidates whose windows are few enough."""
    k = width
    while np.prod(np.arange(k + 2 - width, k + 2)) / np.prod(np.arange(1, width + 1)) <= _LARGEST:
        k += 1
    return k - 1


def _from_gram(task: GridTask, windows: IntArray, tableaux: Sequence[Tableau]) -> FloatArray:
    """Mean squares of ``V x + sum V_j M_j + B M - x_next`` from the Gram matrix of the teacher."""
    at, k, width = task.nodes, len(task.levels), windows.shape[1]
    p, q = (np.broadcast_to(f, (k,)) for f in conversion("data", task.record.form.prediction, at.alpha, at.sigma))
    weights = np.zeros((len(windows), 2 * width))  # states of the window, then data predictions there
    for row, window, tableau in zip(weights, windows, tableaux, strict=True):
        x = tableau.outputs.index("x")
        sources = dict(zip(tableau.inputs, tableau.V[x].tolist(), strict=True)) | {"m0": float(tableau.B[x, 0])}
        row[width - 2] += sources.pop("x")
        row[width - 1] = -1.0
        for name, weight in sources.items():
            place = width - 2 - int(name[1:])
            row[place] += weight * p[window[place]]
            row[width + place] += weight * q[window[place]]
    index = np.concatenate([windows, windows + k], axis=1)
    gram = task.trajectory.gram[index[:, :, None], index[:, None, :]]
    return np.asarray(np.einsum("wi,wij,wj->w", weights, gram, weights))


def _by_running(task: GridTask, windows: IntArray, tableaux: Sequence[Tableau]) -> FloatArray:
    """Mean squares of the local errors of one-step methods with inner stages: the method runs from each candidate."""
    host, samples, states = task.host, task.samples, task.trajectory.states
    mean = np.broadcast_to(task.schedule.mean, host.shape).ravel()
    prediction = task.record.form.prediction
    found = []
    for (i, j), tableau in zip(windows.tolist(), tableaux, strict=True):
        step = Plan(task.record.name, prediction, task.schedule, (tableau,), {}, "ramp", "stop", prediction)
        total, first = 0.0, 0
        for part, x in zip(samples.parts, samples.x, strict=True):
            rows = slice(first, first + len(x))
            start = host.array((states[i, rows] + mean).reshape(tuple(x.shape)))
            end = host.numpy(solve(step, part, start, check_finite=False)).reshape(len(x), -1) - mean
            total += float(((end - states[j, rows]) ** 2).sum())
            first += len(x)
        found.append(total / states[i].size)
    return np.array(found)

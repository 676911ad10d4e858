r"""The cheapest path through the candidates: the sum of local costs is made least, exactly.

With c the cost of a step and V the cost of what follows, Bellman's equation is

.. math:: V_r(\text{window}) = \min_j \left[ c_r(\text{window}, j) + g\, V_{r+1}(\text{window}', j) \right]

where g = 1 in BOSS and 1.15 in GITS. What is least is the *sum of local costs*, not the error at the end: a local error
is carried to the end by the flow, and local errors have directions, so that they may cancel. How far the two are apart
is measured by :func:`~diffnum.calibration.grid_rules.exhaustive`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffnum.calibration.grid_rules.task import GridTask
from diffnum.calibration.grid_rules.windows import COORDINATES, local_errors
from diffnum.types import FloatArray

__all__ = ["cheapest_path", "dynamic_programming", "gits", "path_cost"]


def dynamic_programming(
    task: GridTask, *, coordinates: str = "unit", power: float = 2.0, growth: float = 1.0
) -> FloatArray:
    """Least sum of local errors from the teacher's states.

    Parameters
    ----------
    task : GridTask
        The question. Unlike in the papers the cost is that of the method itself, history included, not of Euler's step.
    coordinates : {"unit", "signal", "state"}
        Where errors at different levels are compared: for states of unit size, for x/alpha, or for the states as they
        are. For the velocity form on a flow, ``"state"`` is BOSS.
    power : float
        The cost of a step is its root-mean-square error to this power.
    growth : float
        Factor on the cost of all that follows a step, at each step.

    Returns
    -------
    ndarray, shape (steps + 1,)
        Half-log-SNRs.

    References
    ----------
    Nguyen et al., BOSS, arXiv:2312.16414; nguyenngocbaocmt02/BOSS at 0c170f96, ImageGeneration/sampling.py,
    get_bellman_disc.
    """
    return task.levels[cheapest_path(step_costs(task, coordinates, power), growth)]


def gits(task: GridTask, *, coordinates: str = "signal", growth: float = 1.15) -> FloatArray:
    """Least sum of root-mean-square local errors in x/alpha, later ones weighted more.

    Parameters
    ----------
    task : GridTask
        The question. The published costs are norms per sample, of Euler's step; here root mean squares, of the method.
    coordinates : {"unit", "signal", "state"}
        As in :func:`dynamic_programming`.
    growth : float
        Factor at each step.

    Returns
    -------
    ndarray, shape (steps + 1,)
        Half-log-SNRs.

    References
    ----------
    Chen et al., GITS, arXiv:2405.11326; zju-pi/diff-sampler at 68d5ce42, gits-main/gits_utils.py, get_dp_list and dp.
    """
    return task.levels[cheapest_path(step_costs(task, coordinates, 1.0), growth)]


def step_costs(task: GridTask, coordinates: str, power: float) -> list[FloatArray]:
    """Costs of all steps, from their mean square errors.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    if coordinates not in COORDINATES:
        msg = f"coordinates={coordinates!r} is unknown: use one of {', '.join(COORDINATES)}"
        raise ValueError(msg)
    if not 0.0 < power < np.inf:
        msg = f"power={power!r}: use a positive number; 2 adds squares"
        raise ValueError(msg)
    return [errors ** (power / 2.0) for errors in local_errors(task, coordinates)]


def cheapest_path(costs: Sequence[FloatArray], growth: float = 1.0) -> list[int]:
    """Path from the first candidate to the last, one step a cost, of least total.

    Parameters
    ----------
    costs : sequence of ndarray
        For each step an array of shape (k,) * w: what a step costs that ends at the last index, the indices before it
        being the nodes that came before; infinite where there is no such step. A step sees at most one node more than
        the step before it.
    growth : float
        Factor on the cost of all that follows a step.

    Returns
    -------
    list of int, length ``len(costs) + 1``

    Raises
    ------
    ValueError
        If there is no path of finite cost.
    """
    if not 0.0 < growth < np.inf:
        msg = f"growth={growth!r}: use a positive number; 1 weighs all steps alike"
        raise ValueError(msg)
    k = costs[0].shape[-1]
    ahead = np.full(k, np.inf)
    ahead[-1] = 0.0
    choices = []
    for cost in reversed(costs):
        total = cost + growth * ahead  # trailing indices are those of the newest nodes
        choices.append(total.argmin(axis=-1))
        ahead = total.min(axis=-1)
    if not np.isfinite(ahead[0]):
        msg = f"{len(costs)} steps do not fit between {k} candidates at finite cost: take more candidates"
        raise ValueError(msg)
    path = [0]
    for cost, choice in zip(costs, reversed(choices), strict=True):
        path.append(int(choice[tuple(path[-(cost.ndim - 1) :])]))
    return path


def path_cost(costs: Sequence[FloatArray], path: Sequence[int], growth: float = 1.0) -> float:
    """Total cost of a path, as :func:`cheapest_path` counts it.

    Parameters
    ----------
    costs, growth
        As in :func:`cheapest_path`.
    path : sequence of int
        Candidates, from the first to the last.
    """
    parts = (cost[tuple(path[r + 2 - cost.ndim : r + 2])] for r, cost in enumerate(costs))
    return float(sum(growth**r * float(part) for r, part in enumerate(parts)))

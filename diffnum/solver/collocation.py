r"""Sweeps over Chebyshev nodes: a long step as one polynomial, found by iteration.

A long step of the half-log-SNR has nodes :math:`0 = s_0 < \dots < s_K = 1`. With the polynomial through the data
predictions at all of them the exact integral of the exponential kernel gives every state,

.. math:: x(s_i) = \frac{\sigma(s_i)}{\sigma(s_0)} x(s_0) + \alpha(s_i) \sum_{j=0}^K w_{ij} D\bigl(x(s_j)\bigr),

which are equations for the predictions. A sweep puts the old ones in and asks for new ones: of Jacobi, all at once, or
of Gauss and Seidel, one after the other, each from what the ones before it have just become.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from diffnum.coefficients.adams import exponential_adams
from diffnum.forms.predictions import predict
from diffnum.grids import Grid
from diffnum.solver.finite import check_last
from diffnum.types import Array, Denoiser, FloatArray

__all__ = ["Collocated", "chebyshev_nodes", "solve_collocated"]


@dataclass(frozen=True, eq=False)
class Collocated:
    """Result of a run by collocation.

    Parameters
    ----------
    x : array, shape (batch, ...)
        State at the end.
    calls : int
        Evaluations, for each sample.
    chain : int
        Evaluations that wait for each other: the time on a machine that is large enough.
    """

    x: Array
    calls: int
    chain: int


def chebyshev_nodes(degree: int) -> FloatArray:
    """Nodes of Chebyshev and Lobatto in [0, 1], both ends included, shape (degree + 1,)."""
    return np.asarray((1.0 - np.cos(np.pi * np.arange(degree + 1) / degree)) / 2.0)


def solve_collocated(
    grid: Grid,
    model: Denoiser,
    x: Array,
    *,
    degree: int = 4,
    sweeps: int = 4,
    update: Literal["jacobi", "gauss-seidel"] = "gauss-seidel",
) -> Collocated:
    """Solve the probability flow by sweeps over a polynomial in each step of a grid.

    Parameters
    ----------
    grid : Grid
        Long steps, of finite half-log-SNR at both ends.
    model : Denoiser
        The model, on the schedule of the times.
    x : array, shape (batch, ...)
        State at the start.
    degree : int
        Degree K of the polynomial, >= 1; a step has K + 1 nodes.
    sweeps : int
        Rounds in each step, >= 1, the first guess (the prediction at the start of the step) not counted.
    update : {"jacobi", "gauss-seidel"}
        Whether a round asks everywhere at once, or node by node.

    Returns
    -------
    Collocated

    Raises
    ------
    ValueError
        If ``degree``, ``sweeps`` or ``update`` is out of range, the grid ends where the half-log-SNR is infinite, or
        the process has a mean; and if a step ends in what is not finite.

    References
    ----------
    arXiv:2606.10353 for Chebyshev nodes and sweeps of Gauss and Seidel in samplers; Picard's iteration is Jacobi's.
    """
    for name, value in (("degree", degree), ("sweeps", sweeps)):
        if isinstance(value, bool) or int(value) != value or value < 1:
            msg = f"{name}={value}: use a whole number >= 1"
            raise ValueError(msg)
    if update not in ("jacobi", "gauss-seidel"):
        msg = f"update={update!r}: use 'jacobi' or 'gauss-seidel'"
        raise ValueError(msg)
    schedule, lams = model.schedule, np.asarray(grid.lam, dtype=float)
    if not np.all(np.isfinite(lams)):
        msg = f"grid ends at the half-log-SNR {lams[-1]}: stop it where that is finite"
        raise ValueError(msg)
    if np.any(np.asarray(schedule.mean) != 0.0):
        msg = "the process has a mean: subtract it from the states"
        raise ValueError(msg)
    calls = chain = 0
    for start, end in pairwise(lams):
        at = start + (end - start) * chebyshev_nodes(degree)
        times = [float(schedule.time(float(lam))) for lam in at]
        scale = [(float(schedule.alpha(t)), float(schedule.sigma(t))) for t in times]
        rows = list(_weights(at))
        data = [predict(model, x, times[0], "data")] * (degree + 1)
        calls, chain = calls + 1, chain + 1
        begin = x

        def state(i: int, known: list[Array], begin: Array = begin) -> Array:
            alpha, sigma = scale[i]  # noqa: B023  # used within the round
            moved = sum((w * d for w, d in zip(rows[i - 1], known, strict=True)), 0.0 * begin)  # noqa: B023
            return sigma / scale[0][1] * begin + alpha * moved  # noqa: B023

        for _ in range(sweeps):
            old = list(data)
            for i in range(1, degree + 1):
                data[i] = predict(model, state(i, old if update == "jacobi" else data), times[i], "data")
            calls, chain = calls + degree, chain + (1 if update == "jacobi" else degree)
        x = state(degree, data)
        check_last(
            f"the state at t={times[-1]:g}", x, "look at the model's output there, and use shorter steps or more sweeps"
        )
    return Collocated(x, calls, chain)


def _weights(at: FloatArray) -> Iterator[tuple[float, ...]]:
    """Weights of all predictions in the integral from the first node to each later one."""
    for lam in at[1:]:
        length = float(lam - at[0])
        yield tuple(float(w) for w in exponential_adams(length, [float(u) for u in (at - at[0]) / length]))

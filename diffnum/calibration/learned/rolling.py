r"""Runs as linear combinations: any sampler with scalar weights is a triangle of numbers, whatever its loop looks like.

A loop that forms linear combinations of states and evaluations is run on basis vectors: what it calls the model with is
then a row of coefficients, and the model's answers are further basis vectors. After N evaluations

.. math:: y_n = a_n x_T + \sum_{j < n} b_{nj} M(y_j, \tau_j), \qquad n = 0, \dots, N,

are all its numbers. Written from one evaluation to the next they are a plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from diffnum.forms import Nodes, SemilinearForm
from diffnum.plans import Plan
from diffnum.tableau import Tableau
from diffnum.types import FloatArray, Prediction, Schedule

__all__ = ["Loop", "Rows", "Unrolled", "rolled", "row_residuals", "unroll"]

Loop: TypeAlias = Callable[[Callable[..., Any], Any], Any]
"""``loop(model, x)`` returns the last state; ``model(x, t, told)`` is called with the times of the state and that
the network is told."""


@dataclass(frozen=True, eq=False)
class Unrolled:
    """All numbers of a sampler.

    Parameters
    ----------
    states : ndarray, shape (N + 1, 1 + N)
        State at each evaluation and the last one; columns: first state, evaluations.
    t, told : ndarray, shape (N,)
        Times of the states where the model is called, and those that it is told.
    """

    states: FloatArray
    t: FloatArray
    told: FloatArray

    @property
    def nfe(self) -> int:
        """Number N of evaluations."""
        return len(self.t)


def unroll(loop: Loop, nfe: int) -> Unrolled:
    """Numbers of a loop.

    Parameters
    ----------
    loop : callable
        A loop that only forms linear combinations.
    nfe : int
        Evaluations that it makes.

    Returns
    -------
    Unrolled

    Raises
    ------
    ValueError
        If it makes another number of evaluations.
    """
    basis = np.eye(1 + nfe)
    rows: list[FloatArray] = []
    times: list[tuple[float, float]] = []

    def model(x: FloatArray, t: float, told: float | None = None) -> FloatArray:
        rows.append(np.array(x))
        times.append((float(t), float(t if told is None else told)))
        return np.asarray(basis[min(len(rows), nfe)])

    last = loop(model, basis[0])
    if len(rows) != nfe:
        msg = f"nfe={nfe}: the loop makes {len(rows)} evaluations, pass that number"
        raise ValueError(msg)
    t, told = np.array(times).T
    return Unrolled(np.stack([*rows, last]), t, told)


def rolled(
    numbers: Unrolled,
    t_end: float,
    schedule: Schedule,
    prediction: Prediction,
    name: str,
    *,
    t_start: float | None = None,
) -> Plan:
    """Plan of a sampler, one evaluation a step.

    Parameters
    ----------
    numbers : Unrolled
        Its numbers.
    t_end : float
        Time of the last state.
    schedule : Schedule
        The noising process.
    prediction : str
        What the model predicts in these numbers.
    name : str
        Name of the plan.
    t_start : float, optional
        Time of the first state, where the first evaluation is made later.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If a state forgets the first one, so that it cannot be written in terms of the one before.
    """
    states, n = numbers.states, numbers.nfe
    if (states[:-1, 0] == 0.0).any():
        msg = (
            f"state {int(np.argmax(states[:-1, 0] == 0.0))} of {name} has no share of the first: it is no plan of steps"
        )
        raise ValueError(msg)
    told = Nodes.at(schedule, numbers.told)
    ends = [*numbers.t.tolist(), t_end]
    if t_start is not None:
        ends[0] = t_start
    steps = []
    for i, (before, after) in enumerate(pairwise(ends)):
        carry = states[i + 1, 0] / (states[i, 0] if i else 1.0)  # the first step is handed the first state itself
        row = states[i + 1, 1 : i + 2] - carry * states[i, 1 : i + 2]
        stage = np.eye(1, 1 + i) * (1.0 if i else states[0, 0])
        old = tuple(f"m{j}" for j in range(1, i + 1))
        new = () if i == n - 1 else tuple(f"m{j}" for j in range(1, i + 2))
        V, B = np.zeros((1 + len(new), 1 + i)), np.zeros((1 + len(new), 1))
        V[0, 0], V[0, 1:], B[0, 0] = carry, row[:i][::-1], row[i]
        if new:
            B[1, 0] = 1.0
            V[2:, 1:] = np.eye(i)
        at = slice(i, i + 1)
        steps.append(
            Tableau(
                ("x", *old), ("x", *new), (), before, after, told.t[at], told.alpha[at], told.sigma[at],
                U=stage, A=np.zeros((1, 1)), V=V, B=B,
                stage_noise=np.zeros((1, 0)), noise=np.zeros((1 + len(new), 0)),
            )
        )  # fmt: skip
    return Plan(name, prediction, schedule, tuple(steps), {}, "ramp", "stop", prediction)


@dataclass(frozen=True, eq=False)
class Rows:
    """What the rows of a sampler keep, in the coordinates of a form.

    Parameters
    ----------
    carry : ndarray, shape (N,)
        Factor on the state before, over that of the form, less one.
    zeroth, first : ndarray, shape (N,)
        Sum of the weights, and their first moment, in units of the kernel's, less the exact ones; the first moment of
        the first row, which has one weight, is nan, and all of a row that ends at the level at which it began.
    largest : float
        Largest weight, in the same units.
    """

    carry: FloatArray
    zeroth: FloatArray
    first: FloatArray
    largest: float


def row_residuals(numbers: Unrolled, t_end: float, schedule: Schedule, form: SemilinearForm) -> Rows:
    """Consistency and order conditions of every row.

    Parameters
    ----------
    numbers : Unrolled
        In the prediction of the form.
    t_end : float
        Time of the last state.
    schedule, form : Schedule, SemilinearForm
        The process, and the coordinates.

    Returns
    -------
    Rows
    """
    at = Nodes.at(schedule, np.append(numbers.t, t_end))
    clock, seen = form.clock(at), form.clock(Nodes.at(schedule, numbers.told))
    scale, gain, h = form.scale(at), form.gain(at), np.diff(clock)
    kernel = form.kernel(schedule, at[:-1], at[1:], h, count=2)
    states = numbers.states
    carry = states[1:, 0] / states[:-1, 0]
    with np.errstate(divide="ignore", invalid="ignore"):  # two evaluations at one level
        total = np.where(h == 0.0, np.nan, kernel.moment(0))
        weights = (states[1:, 1:] - carry[:, None] * states[:-1, 1:]) / (gain[1:] * total)[:, None]
        nodes = (seen[None, :] - clock[:-1, None]) / h[:, None]
        first = (weights * nodes).sum(axis=1) - kernel.moment(1) / total
    first[0] = np.nan
    largest = float(np.nanmax(np.abs(weights)))
    return Rows(carry * scale[:-1] / scale[1:] - 1.0, weights.sum(axis=1) - 1.0, first, largest)

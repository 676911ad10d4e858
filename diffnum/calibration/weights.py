r"""All samplers of N evaluations with scalar coefficients, as one space of numbers.

Whatever its stages, history and corrections, such a sampler is

.. math:: X_{n} = a_n X_0 + \sum_{j < n} b_{nj}\, M(X_j, \tau_j), \qquad n = 1, \dots, N,

with M the prediction of the network at the state X_j, which it is told to be of level :math:`\tau_j`. Here the same
numbers are written step by step, so that they are of the size of ordinary coefficients and mean what these mean:

.. math:: X_n = \frac{s_n}{s_{n-1}} X_{n-1} + g_n\, m_n \sum_{j < n} u_{nj}\, M(X_j, \lambda_j + \delta_j),

with the scale s, the gain g and the zeroth moment m of a semilinear form (:mod:`diffnum.forms`) over the step from the
level :math:`\lambda_{n-1}` to :math:`\lambda_n` (half-log-SNR). Free are the N - 1 inner levels, the N offsets
:math:`\delta`, the N(N + 1)/2 weights u and one factor on the state in the last row: together 2N + N(N + 1)/2 numbers,
exactly as many as there are a, b and :math:`\tau`, so that nothing is left out and nothing is said twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from diffnum.forms import DATA, NOISE, VELOCITY, ExponentialKernel, Nodes, SemilinearForm
from diffnum.plans import Plan
from diffnum.schedules import nearest_time
from diffnum.tableau import Tableau
from diffnum.types import FloatArray, Prediction, Schedule

__all__ = ["FREE", "ROWS", "Numbers", "Slopes", "SolverSpace", "unrolled"]

FREE: Final = ("times", "levels", "weights", "scale")
"""Groups of numbers: what level the network is told, what level the states have, weights, factor on the last state."""

ROWS: Final[Mapping[str, int]] = {"free": 0, "order_1": 1, "order_2": 2}
"""Conditions that every row of weights is held to, as their number."""

_NATIVE: Final[Mapping[Prediction, SemilinearForm]] = {
    "data": DATA,
    "v": DATA,
    "noise": NOISE,
    "score": NOISE,
    "velocity": VELOCITY,
}


@dataclass(frozen=True, eq=False)
class Numbers:
    """A sampler, step by step; leading axes are shared by all fields.

    Parameters
    ----------
    carry : ndarray, shape (..., N)
        Factor on the state before.
    weights : ndarray, shape (..., N, N)
        Weights of the evaluations, lower triangular.
    t : ndarray, shape (..., N)
        Times that the network is told.
    levels : ndarray, shape (..., N + 1)
        Half-log-SNRs of the states.
    """

    carry: FloatArray
    weights: FloatArray
    t: FloatArray
    levels: FloatArray


@dataclass(frozen=True, eq=False)
class Slopes:
    """Derivatives of :class:`Numbers` by P free numbers: the same fields with a first axis of length P."""

    carry: FloatArray
    weights: FloatArray
    t: FloatArray
    levels: FloatArray


@dataclass(frozen=True, eq=False)
class SolverSpace:
    """The space of samplers of N evaluations between two times of a schedule.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    form : SemilinearForm
        Coordinates of the weights; the space is the same in each.
    t_start, t_end : float
        Times of the first and the last state; both half-log-SNRs are finite.
    nfe : int
        Number N of evaluations.
    free : tuple of str
        Which of :data:`FREE` may change.
    rows : str
        Conditions on the rows, a key of :data:`ROWS`: ``order_1`` keeps constant predictions, ``order_2`` also those
        that are linear in the clock of the form (where the row has two weights).
    """

    schedule: Schedule
    form: SemilinearForm
    t_start: float
    t_end: float
    nfe: int
    free: tuple[str, ...] = FREE
    rows: str = "free"

    def __post_init__(self) -> None:
        if isinstance(self.nfe, bool) or not isinstance(self.nfe, int | np.integer) or self.nfe < 1:
            msg = f"nfe={self.nfe!r}: a sampler needs at least one evaluation"
            raise ValueError(msg)
        unknown = [name for name in self.free if name not in FREE]
        if unknown or not self.free:
            msg = f"free={self.free!r}: choose among {', '.join(FREE)}, at least one"
            raise ValueError(msg)
        if self.rows not in ROWS:
            msg = f"rows={self.rows!r} is unknown: use one of {', '.join(ROWS)}"
            raise ValueError(msg)
        if not all(map(np.isfinite, self.ends)):
            msg = (
                f"times {self.t_start} and {self.t_end} have half-log-SNRs {self.ends}: both must be finite, move the "
                "end into the domain"
            )
            raise ValueError(msg)

    @classmethod
    def native(cls, prediction: Prediction, schedule: Schedule, ends: tuple[float, float], nfe: int) -> SolverSpace:
        """Space in the form that goes with what a network predicts."""
        return cls(schedule, _NATIVE[prediction], ends[0], ends[1], nfe)

    @property
    def ends(self) -> tuple[float, float]:
        """Half-log-SNRs of the first and the last state."""
        return float(self.schedule.half_log_snr(self.t_start)), float(self.schedule.half_log_snr(self.t_end))

    # -- the vector of numbers ---------------------------------------------------------------------

    @property
    def groups(self) -> dict[str, slice]:
        """Where each group stands in the whole vector."""
        n = self.nfe
        sizes = {"levels": n - 1, "times": n, "weights": n * (n + 1) // 2, "scale": 1}
        stops = np.cumsum(list(sizes.values())).tolist()
        return {name: slice(stop - size, stop) for (name, size), stop in zip(sizes.items(), stops, strict=True)}

    @property
    def size(self) -> int:
        """Length of the whole vector, 2N + N(N + 1)/2."""
        return int(self.groups["scale"].stop)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which numbers are free, shape (size,)."""
        found = np.zeros(self.size, dtype=bool)
        for name in self.free:
            found[self.groups[name]] = True
        return found

    @property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Least and greatest value of each number; offsets and levels stay in the domain of the schedule."""
        low, high = np.full(self.size, -np.inf), np.full(self.size, np.inf)
        low[self.groups["levels"]], high[self.groups["levels"]] = self.ends
        first = self.groups["times"].start  # the first state has a fixed level, so its offset has fixed bounds
        low[first], high[first] = (end - self.ends[0] for end in self.domain)
        return low, high

    @property
    def domain(self) -> tuple[float, float]:
        """Half-log-SNRs that the network may be told, as far as they are finite."""
        low, high = (float(self.schedule.half_log_snr(t)) for t in (self.schedule.t_max, self.schedule.t_min))
        first, last = self.ends
        return (low if np.isfinite(low) else first), (high if np.isfinite(high) else last + 2.0)

    def valid(self, vector: FloatArray) -> bool:
        """Whether the levels of a vector increase."""
        levels = np.array([self.ends[0], *vector[self.groups["levels"]], self.ends[1]])
        return bool(np.isfinite(vector).all() and (np.diff(levels) > 1e-3).all())

    def numbers(self, vectors: FloatArray) -> Numbers:
        """Numbers of the sampler for vectors of shape (..., size)."""
        lead, n, groups = vectors.shape[:-1], self.nfe, self.groups
        levels = np.empty((*lead, n + 1))
        levels[..., 0], levels[..., -1] = self.ends
        levels[..., 1:-1] = vectors[..., groups["levels"]]
        told = np.clip(levels[..., :-1] + vectors[..., groups["times"]], *self.domain)
        t, spoken = self._times(levels), self._times(told)
        at = Nodes.at(self.schedule, t, levels)
        scale, clock = self.form.scale(at), self.form.clock(at)
        h = clock[..., 1:] - clock[..., :-1]
        kernel = ExponentialKernel(h, self.form.rate or 0)
        total = kernel.moment(0)
        weights = np.zeros((*lead, n, n))
        rows, columns = np.tril_indices(n)
        weights[..., rows, columns] = vectors[..., groups["weights"]]
        if ROWS[self.rows]:
            seen = self.form.clock(Nodes.at(self.schedule, spoken, told))
            weights = self._constrained(weights, seen, clock, h, kernel.moment(1) / total)
        carry = scale[..., 1:] / scale[..., :-1]
        carry[..., -1] *= vectors[..., groups["scale"]][..., 0]
        gain = (self.form.gain(at)[..., 1:] * total)[..., None]
        return Numbers(carry, gain * weights, spoken, levels)

    def _times(self, levels: FloatArray) -> FloatArray:
        """Times of half-log-SNRs, inside the schedule; those of the ends are exact."""
        found = nearest_time(self.schedule, levels)
        first, last = self.ends
        return np.where(levels == first, self.t_start, np.where(levels == last, self.t_end, found))

    def _constrained(
        self, weights: FloatArray, seen: FloatArray, clock: FloatArray, h: FloatArray, mean: FloatArray
    ) -> FloatArray:
        """Rows moved the shortest way to those that meet the conditions."""
        result = weights.copy()
        for n in range(self.nfe):
            row = weights[..., n, : n + 1]
            nodes = (seen[..., : n + 1] - clock[..., n : n + 1]) / h[..., n : n + 1]
            count = min(ROWS[self.rows], n + 1)
            conditions = np.stack([np.ones_like(nodes), nodes][:count], axis=-2)
            wanted = np.stack([np.ones_like(mean[..., n]), mean[..., n]][:count], axis=-1)
            missing = wanted - np.einsum("...ij,...j->...i", conditions, row)
            gram = conditions @ np.swapaxes(conditions, -1, -2)
            factors = np.linalg.solve(gram, missing[..., None])
            result[..., n, : n + 1] = row + (np.swapaxes(conditions, -1, -2) @ factors)[..., 0]
        return result

    def slopes(self, vector: FloatArray, step: float = 1e-5) -> Slopes:
        """Derivatives by the free numbers, by differences in float64, central inside the bounds."""
        free = np.flatnonzero(self.mask)
        low, high = self.bounds
        above, below = np.repeat(vector[None], len(free), axis=0), np.repeat(vector[None], len(free), axis=0)
        rows = np.arange(len(free))
        above[rows, free] = np.minimum(vector + step, high)[free]
        below[rows, free] = np.maximum(vector - step, low)[free]
        width = above[rows, free] - below[rows, free]
        found, other = self.numbers(above), self.numbers(below)
        fields = {}
        for name in Numbers.__dataclass_fields__:
            change = getattr(found, name) - getattr(other, name)
            fields[name] = change / width.reshape((-1, *(1,) * (change.ndim - 1)))
        # rounding must not make a number depend on what it does not depend on
        size = {name: 1.0 + np.abs(getattr(found, name)).max() for name in fields}
        return Slopes(**{n: np.where(np.abs(value) < 1e-10 * size[n], 0.0, value) for n, value in fields.items()})

    # -- from plans and to plans -------------------------------------------------------------------

    def vector_of(self, plan: Plan) -> FloatArray:
        """Whole vector of a plan.

        Parameters
        ----------
        plan : Plan
            Deterministic, with N evaluations whose levels increase, that keeps constant data and constant noise but for
            a factor in its last step: such as multistep plans of the catalogue, and plans of this space.

        Raises
        ------
        ValueError
            If it is no such plan.
        """
        if plan.nfe != self.nfe:
            msg = f"plan {plan.method} has {plan.nfe} evaluations and the space {self.nfe}: make them equal"
            raise ValueError(msg)
        levels = np.asarray(self.schedule.half_log_snr(plan.times))
        if not np.allclose(levels[[0, -1]], self.ends, rtol=1e-9, atol=1e-9):
            msg = (
                f"plan {plan.method} runs from {plan.times[0]:g} to {plan.times[-1]:g} and the space from "
                f"{self.t_start:g} to {self.t_end:g}: make them equal"
            )
            raise ValueError(msg)
        states, t = unrolled(plan.for_prediction(self.form.prediction))
        told = np.asarray(self.schedule.half_log_snr(t))
        if len(plan) == self.nfe:
            # one evaluation a step: its state has the level of the step, whatever the network is told
            try:
                return self._vector(plan.method, levels, told, states)
            except ValueError:
                pass  # the states at which it evaluates are others
        return self._vector(plan.method, np.array([*told, self.ends[1]]), told, states)

    def _vector(self, name: str, levels: FloatArray, told: FloatArray, states: FloatArray) -> FloatArray:
        """Vector of a plan whose states, in the first state and the evaluations, have these levels."""
        groups, vector = self.groups, np.zeros(self.size)
        if not np.isclose(levels[0], self.ends[0], rtol=1e-9, atol=1e-9) or (np.diff(levels) < 2e-3).any():
            msg = f"plan {name} evaluates at levels that do not increase: start from a multistep plan"
            raise ValueError(msg)
        vector[groups["levels"]], vector[groups["times"]], vector[groups["scale"]] = (
            levels[1:-1],
            told - levels[:-1],
            1.0,
        )
        rows, columns = np.tril_indices(self.nfe)
        vector[groups["weights"]] = vector[groups["scale"]] = 1.0
        base = replace(self, rows="free").numbers(vector)  # the gains, where all weights are one
        carry = base.carry.copy()
        carry[-1] = states[-1, 0] / np.prod(carry[:-1])
        products = np.concatenate([[1.0], np.cumprod(carry)])
        if np.abs(states[:, 0] / products - 1.0).max() > 1e-6:
            msg = f"plan {name} does not keep constants: start from another one"
            raise ValueError(msg)
        vector[groups["scale"]] = carry[-1] / base.carry[-1]
        own = states[1:, 1:] - carry[:, None] * states[:-1, 1:]
        vector[groups["weights"]] = own[rows, columns] / base.weights[rows, columns]
        return vector

    def plan(self, vector: FloatArray, name: str = "found") -> Plan:
        """Plan of a whole vector, one evaluation a step."""
        found = self.numbers(vector)
        ends = self._times(found.levels).tolist()
        spoken = Nodes.at(self.schedule, found.t)
        steps = []
        for n, (before, after) in enumerate(pairwise(ends)):
            old = [f"m{j}" for j in range(1, n + 1)]
            new = [] if n == self.nfe - 1 else [f"m{j}" for j in range(1, n + 2)]
            carried, fresh = np.zeros((1 + len(new), 1 + n)), np.zeros((1 + len(new), 1))
            carried[0, 0], carried[0, 1:] = found.carry[n], found.weights[n, :n][::-1]
            fresh[0, 0] = found.weights[n, n]
            if new:
                fresh[1, 0] = 1.0
                carried[2:, 1:] = np.eye(n)
            at = slice(n, n + 1)
            none = np.zeros((1, 0)), np.zeros((1 + len(new), 0))
            matrices = (np.eye(1, 1 + n), np.zeros((1, 1)), carried, fresh, *none)
            names = ("x", *old), ("x", *new), ()
            told = spoken.t[at], spoken.alpha[at], spoken.sigma[at]
            steps.append(Tableau(*names, before, after, *told, *matrices))
        prediction = self.form.prediction
        return Plan(name, prediction, self.schedule, tuple(steps), {}, "ramp", "stop", prediction)


def unrolled(plan: Plan) -> tuple[FloatArray, FloatArray]:
    """Coefficients of all states of a run in the first state and the evaluations.

    Parameters
    ----------
    plan : Plan
        Deterministic, with scalar weights and no history of its caller.

    Returns
    -------
    states : ndarray, shape (N + 1, 1 + N)
        State at each evaluation, in order, and the last state; columns: first state, evaluations in the prediction
        of the plan.
    t : ndarray, shape (N,)
        Times of the evaluations.

    Raises
    ------
    ValueError
        If the plan is stochastic, element-wise, inhomogeneous or needs a history.
    """
    plain = all(not step.noises and step.V.ndim == 2 and "one" not in step.inputs for step in plan.steps)
    if not plain or plan.history:
        msg = f"plan {plan.method} is not a deterministic plan with scalar weights: choose another one"
        raise ValueError(msg)
    basis = np.eye(1 + plan.nfe)
    vectors: dict[str, Any] = {"x": basis[0]}
    states, t, count = [], [], 0
    for step, rows in zip(plan.steps, plan.programme, strict=True):
        values = dict(vectors)
        for name, row in rows[: step.nfe]:
            states.append(_combined(row, values))
            count += 1
            values[name] = basis[count]
        vectors = {name: _combined(row, values) for name, row in rows[step.nfe :]}
        t += step.stage_t.tolist()
    return np.stack([*states, vectors["x"]]), np.array(t)


def _combined(row: Mapping[str, float], values: Mapping[str, FloatArray]) -> FloatArray:
    """Linear combination of named vectors."""
    parts: Sequence[FloatArray] = [weight * values[name] for name, weight in row.items()]
    return np.asarray(sum(parts, np.zeros_like(values["x"])))

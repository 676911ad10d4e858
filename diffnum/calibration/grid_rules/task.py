"""What a rule that finds a grid may look at: a method, a model, candidate levels, and a teacher's trajectories."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np

from diffnum.calibration.hosts import Host, start_states
from diffnum.calibration.rivals import Samples, endpoint_error
from diffnum.calibration.teachers import TEACHER, converged_teacher
from diffnum.coefficients.method import Method
from diffnum.forms import Nodes, predict
from diffnum.grids import Grid
from diffnum.plans import Plan, plan
from diffnum.solver import iterate
from diffnum.types import Array, FloatArray, Schedule

__all__ = ["GridTask", "NodeStates"]

_CHUNK = 64


@dataclass(frozen=True, eq=False)
class NodeStates:
    """A teacher's states at the candidates, and the model there.

    Parameters
    ----------
    states, data : ndarray, shape (k, n, d)
        States and data predictions at each candidate, less the mean of the process, every sample as one vector.
    """

    states: FloatArray
    data: FloatArray

    @cached_property
    def gram(self) -> FloatArray:
        """Mean products of all states and predictions, shape (2k, 2k): the states come first.

        The mean square of any linear combination of them follows from it, without touching them again.
        """
        k, n, d = self.states.shape
        rows = np.concatenate([self.states, self.data]).reshape(2 * k, n * d)
        return np.asarray(rows @ rows.T / (n * d))

    @property
    def power(self) -> FloatArray:
        """Mean square of the data prediction at each candidate, shape (k,)."""
        return np.asarray((self.data**2).mean(axis=(1, 2)))

    @cached_property
    def variances(self) -> FloatArray:
        """Variances of the end points in their principal directions, at most one a sample, decreasing.

        Directions that the samples do not reach are left out.
        """
        ends = self.states[-1] - self.states[-1].mean(axis=0)
        found = np.linalg.svd(ends, compute_uv=False) ** 2 / max(len(ends) - 1, 1)
        return np.asarray(found[found > 1e-9 * found.max()])


@dataclass(frozen=True, eq=False)
class GridTask:
    """The question for a grid.

    Parameters
    ----------
    host : Host
        Where the model lives.
    record : Method
        Method that is to run on the grid.
    steps : int
        Intervals of the grid.
    levels : ndarray, shape (k,)
        Candidates: half-log-SNRs, increasing; the first and the last are the ends of the run.
    ends : (float, float)
        Times of the ends.
    n, seed : int
        Noises that may be looked at: the streams 0 to n - 1 of the seed.
    tolerance : float
        How far the teacher is to be converged, relative.
    """

    host: Host
    record: Method
    steps: int
    levels: FloatArray
    ends: tuple[float, float]
    n: int
    seed: int
    tolerance: float

    @property
    def schedule(self) -> Schedule:
        """The noising process."""
        found: Schedule = self.host.model.schedule
        return found

    @cached_property
    def nodes(self) -> Nodes:
        """The candidates with their times."""
        return self._nodes(self.levels)

    def _nodes(self, levels: FloatArray) -> Nodes:
        t = np.array(self.schedule.time(levels), dtype=np.float64)
        t[0], t[-1] = self.ends
        return Nodes.at(self.schedule, t, levels)

    def grid(self, levels: FloatArray, name: str = "half_log_snr") -> Grid:
        """Grid of half-log-SNRs between the ends."""
        nodes = self._nodes(np.asarray(levels, dtype=np.float64))
        return Grid(nodes.t, nodes.lam, name=name)

    def plan(self, levels: FloatArray) -> Plan:
        """The method on half-log-SNRs between the ends."""
        return plan(self.record, self.schedule, self.grid(levels))

    def error(self, levels: FloatArray, samples: Samples | None = None) -> float:
        """Endpoint error of the method on these levels: relative root-mean-square distance from the teacher.

        Parameters
        ----------
        levels : ndarray, shape (steps + 1,)
            Half-log-SNRs.
        samples : Samples, optional
            Noises and end points; those of the task by default.
        """
        return endpoint_error(self.plan(levels), self.samples if samples is None else samples)

    @cached_property
    def samples(self) -> Samples:
        """The noises of the task, with the end points of the teacher."""
        return self._run[0]

    @property
    def trajectory(self) -> NodeStates:
        """The teacher at the candidates."""
        return self._run[1]

    def fresh_samples(self, count: int) -> Samples:
        """Noises that the task has not seen, with the end points of the teacher."""
        return self._samples(range(self.n, self.n + count))[0]

    @cached_property
    def _run(self) -> tuple[Samples, NodeStates]:
        return self._samples(range(self.n))

    def _samples(self, indices: range) -> tuple[Samples, NodeStates]:
        """Run the teacher."""
        parts, starts, ends, states, data = [], [], [], [], []
        for first in range(indices.start, indices.stop, _CHUNK):
            count = min(_CHUNK, indices.stop - first)
            part, x = self.host.part(first, count), start_states(self.host, self.seed, first, count, self.ends[0])
            kept = self._kept(part, x)
            parts.append(part)
            starts.append(x)
            ends.append(kept[-1])
            predicted = [predict(part, y, t, "data") for y, t in zip(kept, self.nodes.t.tolist(), strict=True)]
            states.append(np.stack([self._flat(y) for y in kept]))
            data.append(np.stack([self._flat(y) for y in predicted]))
        trajectory = NodeStates(np.concatenate(states, axis=1), np.concatenate(data, axis=1))
        finite = np.isfinite(trajectory.states).all(axis=(1, 2)) & np.isfinite(trajectory.data).all(axis=(1, 2))
        if not finite.all():
            msg = f"model returned NaN or infinity at t={self.nodes.t[np.argmin(finite)]:g}: check its weights"
            raise ValueError(msg)
        return Samples(self.host, tuple(parts), tuple(starts), tuple(ends), indices.start), trajectory

    def _flat(self, x: Array) -> FloatArray:
        """Samples as vectors, less the mean of the process."""
        values = self.host.numpy(x)
        return np.asarray(values.reshape(len(values), -1) - np.broadcast_to(self.schedule.mean, x.shape[1:]).ravel())

    def _kept(self, part: Any, x: Array) -> list[Array]:
        """States at the candidates."""
        numbers, stride = self._teacher
        return [x, *(state.x for state in iterate(numbers, part, x) if state.step % stride == 0)]

    @cached_property
    def _teacher(self) -> tuple[Plan, int]:
        """Converged plan whose nodes contain the candidates, and its steps from one candidate to the next."""
        guide = converged_teacher(self.host, self.seed, self.ends, self.tolerance)
        gaps = np.diff(self.levels)
        stride = ceil(float(gaps.max()) / (float(self.levels[-1] - self.levels[0]) / len(guide.plan)))
        fine = np.append((self.levels[:-1, None] + gaps[:, None] * np.arange(stride) / stride).ravel(), self.levels[-1])
        return plan(TEACHER, self.schedule, self.grid(fine)), stride

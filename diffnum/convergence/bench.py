"""The bench on which a sampler is probed: a model that records where it is called, and runs on vectors of choice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from diffnum.convergence.oracle import AskedByNoiseLevel
from diffnum.types import Array, FloatArray, Prediction, Sampler, Schedule

__all__ = ["ZERO", "Bench", "RecordingModel", "Run"]

SAME_NODE = 1e-8
"""Half-log-SNRs closer than this are one node: samplers go through times, sigmas and back."""

ZERO = 1e-12
"""Numbers below this fraction of the largest are rounding."""

LINEAR = 1e-4
"""Relative departure from linearity that rounding in single precision cannot explain."""


class RecordingModel(AskedByNoiseLevel):
    """Model that records where it is called and answers what it is told to."""

    def __init__(self, schedule: Schedule, nodes: FloatArray, answers: Iterator[FloatArray], like: FloatArray) -> None:
        self.schedule, self.interval = schedule, (float(nodes[0]), float(nodes[-1]))
        self.calls: list[tuple[float, Prediction, FloatArray]] = []
        self._nodes, self._answers, self._shape = nodes, answers, like.shape

    def predict(self, x: Array, lam: float, prediction: Prediction) -> FloatArray:
        """Record the call; give the next answer."""
        lam = float(lam)
        state = np.array(x, dtype=np.float64)
        if state.shape != self._shape:
            msg = f"sampler calls its model with shape {state.shape}: x has shape {self._shape}"
            raise ValueError(msg)
        nearest = float(self._nodes[np.argmin(np.abs(self._nodes - lam))])
        self.calls.append((nearest if abs(nearest - lam) < SAME_NODE else lam, prediction, state))
        return np.broadcast_to(next(self._answers), self._shape).copy()


@dataclass(frozen=True)
class Run:
    """What one run showed: where the model was called, the states there and the result; misbehaviour."""

    where: tuple[tuple[float, Prediction], ...]
    states: FloatArray
    mutated: bool
    uneven: bool


@dataclass(frozen=True)
class Bench:
    """A sampler on its nodes, ready to be run on vectors of choice."""

    name: str
    sampler: Sampler
    schedule: Schedule
    nodes: FloatArray
    shape: tuple[int, ...]

    def run(self, start: FloatArray, answers: FloatArray) -> Run:
        """Run from ``start``, shape (d,), with answers of shape (count, d); more calls get zeros."""
        like = np.empty((*self.shape, len(start)))

        def endless() -> Iterator[FloatArray]:
            yield from answers
            while True:
                yield np.zeros(len(start))

        model = RecordingModel(self.schedule, self.nodes, endless(), like)
        x = np.broadcast_to(start, like.shape).copy()
        given = x.copy()
        result = np.asarray(self.sampler(model, x, self.nodes.copy()))
        if result.shape != like.shape:
            msg = f"{self.name} returned shape {result.shape}: it must return that of x, {like.shape}"
            raise ValueError(msg)
        states = np.stack([*(state for _, _, state in model.calls), result.astype(np.float64)])
        if not np.isfinite(states).all():
            msg = f"{self.name} computes numbers that are not finite from finite ones"
            raise ValueError(msg)
        flat = states.reshape(len(states), -1, len(start))
        uneven = bool(np.ptp(flat, axis=1).max() > LINEAR * np.abs(flat).max(initial=1.0))
        where = tuple((lam, prediction) for lam, prediction, _ in model.calls)
        return Run(where, flat[:, 0], not np.array_equal(x, given), uneven)

    def read(self, rng: np.random.Generator) -> tuple[Run, float]:
        """Run on the unit vectors, whose states are the weights, and the departure from linearity.

        Raises
        ------
        ValueError
            If the sampler is not linear, is random, or adds something of its own.
        """
        zero = self.run(np.zeros(1), np.zeros((0, 1)))
        if np.abs(zero.states).max() > ZERO:
            again = self.run(np.zeros(1), np.zeros((0, 1)))
            kind = "noise" if not np.array_equal(zero.states, again.states) else "noise or a constant"
            msg = (
                f"{self.name} adds {kind} of its own: from x = 0 and a model that returns 0 it makes "
                f"{np.abs(zero.states).max():.3g}; turn the noise off (eta = 0)"
            )
            raise ValueError(msg)
        count = len(zero.where)
        basis = np.eye(count + 1)
        read, again = (self.run(basis[0], basis[1:]) for _ in range(2))
        if read.where != again.where or not np.array_equal(read.states, again.states):
            msg = (
                f"{self.name} is random: two runs on the same input differ; turn its noise off (eta = 0), or let it "
                "forget its last run where it keeps something of it"
            )
            raise ValueError(msg)
        if read.uneven:
            msg = f"{self.name} treats equal samples of a batch, or equal pixels, differently"
            raise ValueError(msg)
        residual = max(self._residual(read, zero, rng, size) for size in (1.0, 100.0))
        return read, residual

    def _residual(self, read: Run, zero: Run, rng: np.random.Generator, size: float) -> float:
        """Relative error of the rows as a prediction of what the sampler makes of random vectors."""
        count = len(zero.where)
        vectors = size * rng.standard_normal((count + 1, 4))
        actual = self.run(vectors[0], vectors[1:])
        if not zero.where == read.where == actual.where:
            msg = (
                f"{self.name} calls its model at places that depend on the sample: it adapts its steps, "
                "and has no fixed weights"
            )
            raise ValueError(msg)
        # a call may use earlier evaluations only, so its row has no other entries
        expected, magnitude = read.states @ vectors, np.abs(read.states) @ np.abs(vectors)
        residual = float(np.max(np.abs(actual.states - expected) / np.maximum(magnitude, np.finfo(float).tiny)))
        if residual > LINEAR:
            msg = (
                f"{self.name} is not linear in the sample and the evaluations (relative departure {residual:.2g}): "
                "turn off thresholding, clipping and rescaling"
            )
            raise ValueError(msg)
        return residual

"""The exact model that an order study hands to samplers, with the exact trajectories to hold them against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from diffnum.forms import Nodes
from diffnum.types import Denoiser, FloatArray, Prediction, Problem, Schedule

__all__ = ["AskedByNoiseLevel", "Oracle", "oracle_of"]


class AskedByNoiseLevel(ABC):
    """A model that is watched: samplers ask it at a half-log-SNR, or in time, and ``predict`` answers them all."""

    schedule: Schedule
    """Noising process."""

    def time(self, lam: Any) -> float:
        """Time of a half-log-SNR."""
        return float(self.schedule.time(float(lam)))

    def denoiser(self, prediction: Prediction) -> Denoiser:
        """The same as a function of time."""
        return _AskedInTime(self, prediction)

    @abstractmethod
    def predict(self, x: FloatArray, lam: float, prediction: Prediction) -> FloatArray:
        """Answer a question of any kind."""

    def data(self, x: FloatArray, lam: float) -> FloatArray:
        """E[x_0 | x] at half-log-SNR ``lam``."""
        return self.predict(x, lam, "data")

    def noise(self, x: FloatArray, lam: float) -> FloatArray:
        """E[eps | x] at half-log-SNR ``lam``."""
        return self.predict(x, lam, "noise")

    def velocity(self, x: FloatArray, lam: float) -> FloatArray:
        """E[eps - x_0 | x] at half-log-SNR ``lam``."""
        return self.predict(x, lam, "velocity")

    def score(self, x: FloatArray, lam: float) -> FloatArray:
        """Gradient of the log-density of the marginal at half-log-SNR ``lam``."""
        return self.predict(x, lam, "score")


@dataclass(frozen=True)
class _AskedInTime:
    """A watched model as a function of time."""

    model: AskedByNoiseLevel
    prediction: Prediction

    @property
    def schedule(self) -> Schedule:
        """Noising process."""
        return self.model.schedule

    def __call__(self, x: FloatArray, t: Any) -> FloatArray:
        """Predict at state ``x``, shape (batch, ...), and time ``t``, a number."""
        return self.model.predict(x, float(self.schedule.half_log_snr(t)), self.prediction)


class Oracle(AskedByNoiseLevel):
    """Exact predictions as functions of the half-log-SNR, and exact states along fixed trajectories.

    Parameters
    ----------
    problem : Problem
        Data distribution with known scores and flow.
    schedule : Schedule
        Noising process.
    interval : (float, float)
        Half-log-SNR at the beginning and end of the runs.
    points : int
        Number of trajectories; they start from draws of the exact marginal.
    seed : int
        Seed of the draws.

    Raises
    ------
    ValueError
        If the interval is reversed or not inside the schedule.
    """

    def __init__(
        self, problem: Problem, schedule: Schedule, interval: tuple[float, float], points: int = 12, seed: int = 0
    ) -> None:
        self.problem, self.schedule = problem, schedule
        self.interval = (float(interval[0]), float(interval[1]))
        low = float(schedule.half_log_snr(schedule.t_max))
        if not self.interval[0] < self.interval[1]:
            msg = f"interval={interval}: give the half-log-SNR of the noisy end first, the larger one second"
            raise ValueError(msg)
        if self.interval[0] < low:
            msg = (
                f"interval={interval} begins before the schedule {schedule.name!r}, whose half-log-SNR is at "
                f"least {low:.4g}: begin later"
            )
            raise ValueError(msg)
        self._drawn = (points, seed)
        rng = np.random.default_rng(seed)
        node = self.nodes(np.array([self.interval[0]]))
        data = np.asarray(problem.sample(points, seed))
        mean = schedule.mean
        self._start = mean + node.alpha * (data - mean) + node.sigma * rng.standard_normal(data.shape)
        self._models: dict[str, Denoiser] = {}
        self._states: dict[float, FloatArray] = {self.interval[0]: self._start}

    def nodes(self, lam: FloatArray) -> Nodes:
        """Nodes at half-log-SNRs."""
        return Nodes.at(self.schedule, self.schedule.time(lam), lam)

    def time(self, lam: Any) -> float:
        """Time of a half-log-SNR."""
        return float(self.schedule.time(float(lam)))

    def denoiser(self, prediction: Prediction) -> Denoiser:
        """Exact model with a given prediction, a function of time."""
        if prediction not in self._models:
            self._models[prediction] = self.problem.denoiser(self.schedule, prediction)
        return self._models[prediction]

    def predict(self, x: FloatArray, lam: float, prediction: Prediction) -> FloatArray:
        """Exact prediction at a half-log-SNR."""
        with np.errstate(all="ignore"):  # whatever the code that asks has made of the floating-point errors of others
            return np.asarray(self.denoiser(prediction)(x, self.time(lam)))

    def state(self, lam: float) -> FloatArray:
        """Exact states on the trajectories, shape (points, d)."""
        if lam not in self._states:
            self._states[lam] = np.asarray(
                self.problem.flow(self._start, self.schedule, self.time(self.interval[0]), self.time(lam))
            )
        return self._states[lam].copy()

    def error(self, x: FloatArray, lam: float) -> FloatArray:
        """Root-mean-square error per trajectory, shape (points,)."""
        with np.errstate(over="ignore", invalid="ignore"):  # a run that diverged is reported, not warned of
            error: FloatArray = np.sqrt(np.mean((x - self.state(lam)) ** 2, axis=1))
        return error

    @cached_property
    def scale(self) -> float:
        """Typical magnitude of the states."""
        return float(np.sqrt(np.mean(self.state(self.interval[1]) ** 2)))

    @cached_property
    def inner(self) -> Oracle:
        """The same on the middle half of the interval."""
        middle, quarter = (self.interval[0] + self.interval[1]) / 2, (self.interval[1] - self.interval[0]) / 4
        return Oracle(self.problem, self.schedule, (middle - quarter, middle + quarter), *self._drawn)


_MADE: dict[Any, Oracle] = {}
_MOST = 16
"""Oracles that are kept: both problems on all noising processes of a certificate."""


def oracle_of(
    problem: Problem, schedule: Schedule, interval: tuple[float, float], points: int = 12, seed: int = 0
) -> Oracle:
    """Oracle of these arguments, the one that was made before where the parts are the package's own.

    All methods of a catalogue are held against the same exact trajectories, which are computed once.

    Parameters
    ----------
    problem, schedule, interval, points, seed
        As for :class:`Oracle`.

    Returns
    -------
    Oracle
    """
    own = all(type(part).__module__.startswith("diffnum.") for part in (problem, schedule))
    key = (id(problem), repr(schedule), tuple(interval), points, seed)
    found = _MADE.get(key)
    if found is None or found.problem is not problem or found.schedule != schedule:
        found = Oracle(problem, schedule, interval, points, seed)
        if own:
            while len(_MADE) >= _MOST:
                _MADE.pop(next(iter(_MADE)))
            _MADE[key] = found
    return found

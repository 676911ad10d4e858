"""Samplers that own their schedule, in the manner of libraries: an object with alpha and sigma as functions of time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any


class OwningDDIM:
    """DDIM whose constructor takes denoiser, schedule and times, and whose schedule gives (alpha, sigma)."""

    def __init__(self, denoiser: Callable[[Any, float], Any], schedule: Any, times: Any) -> None:
        self.denoiser, self.schedule, self.times = denoiser, schedule, times

    def __call__(self, x: Any) -> Any:
        for t, s in pairwise(self.times):
            (alpha_t, sigma_t), (alpha_s, sigma_s) = self.schedule(t), self.schedule(s)
            data = self.denoiser(x, t)
            x = alpha_s * data + sigma_s * (x - alpha_t * data) / sigma_t
        return x


class OwningMidpoint:
    """Second-order singlestep sampler that asks its schedule again, for the time of the stage half-way."""

    def __init__(self, denoiser: Callable[[Any, float], Any], schedule: Any, wrong: bool = False) -> None:
        self.denoiser, self.schedule, self.wrong = denoiser, schedule, wrong

    def sample(self, x: Any, times: Any) -> Any:
        for t, s in pairwise(times):
            lam = (self.schedule.half_log_snr(t) + self.schedule.half_log_snr(s)) / 2
            between = self.schedule.time(lam)
            half = self._step(x, t, between, self.denoiser(x, t))
            x = self._step(x, t, s, self.denoiser(half, t if self.wrong else between))
        return x

    def _step(self, x: Any, t: float, s: float, data: Any) -> Any:
        ratio = self.schedule.sigma(s) / self.schedule.sigma(t)
        return ratio * x + (self.schedule.alpha(s) - ratio * self.schedule.alpha(t)) * data

"""A schedule for samplers that own one: their time is minus the half-log-SNR, so that any nodes are times of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffnum.types import FloatArray, Schedule

__all__ = ["ScheduleInNodes"]


@dataclass(frozen=True)
class ScheduleInNodes:
    """alpha and sigma as functions of the time t = -half_log_snr, which falls while sampling as all times do.

    Samplers that carry a schedule object ask it for alpha and sigma at times of their own. Handed this object, and
    ``-nodes`` for times, they step from node to node; the model is asked at ``-t``.

    Parameters
    ----------
    schedule : Schedule
        Noising process of the order study, ``model.schedule``.

    Examples
    --------
    >>> from diffnum.schedules import VPLinear
    >>> alpha, sigma = ScheduleInNodes(VPLinear())(-1.0)
    >>> round(float(np.log(alpha / sigma)), 12)
    1.0
    """

    schedule: Schedule

    def alpha(self, t: Any) -> FloatArray:
        """Factor of the data at a time."""
        return np.asarray(self.schedule.alpha(self.schedule.time(-t)))

    def sigma(self, t: Any) -> FloatArray:
        """Factor of the noise at a time."""
        return np.asarray(self.schedule.sigma(self.schedule.time(-t)))

    def half_log_snr(self, t: Any) -> Any:
        """log(alpha / sigma) at a time."""
        return -t

    def time(self, half_log_snr: Any) -> Any:
        """Time of a half-log-SNR."""
        return -half_log_snr

    def __call__(self, t: Any) -> tuple[FloatArray, FloatArray]:
        """(alpha, sigma) at a time."""
        return self.alpha(t), self.sigma(t)

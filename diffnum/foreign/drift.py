"""What stochastic samplers compute when their noise is switched off: the drift of the reverse SDE."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.integrate import solve_ivp

from diffnum.problems import ExactDenoiser
from diffnum.schedules import FlowMatching
from diffnum.types import Array, FloatArray, Prediction, Problem, Schedule

__all__ = ["ReverseDrift"]


@dataclass(frozen=True, eq=False)
class ReverseDrift:
    r"""A problem whose flow follows the drift of the reverse SDE instead of the probability flow.

    With ``y = x / alpha`` and ``rho = sigma / alpha`` the probability flow is ``dy/drho = eps``. The reverse SDE
    has the drift ``dy/drho = 2 eps``, and noise that makes up for it; a stochastic sampler that draws zeros solves
    that drift.

    Parameters
    ----------
    problem : Problem
        Data distribution.
    """

    problem: Problem
    _flow_time: Schedule = field(default_factory=FlowMatching, repr=False)

    @property
    def dim(self) -> int:
        """Dimension of the data."""
        return self.problem.dim

    def denoiser(self, schedule: Schedule, prediction: Prediction = "data") -> ExactDenoiser:
        """Exact model of the data."""
        return self.problem.denoiser(schedule, prediction)  # type: ignore[return-value]

    def sample(self, n: int, seed: int) -> Array:
        """Draw data points, shape (n, d)."""
        return self.problem.sample(n, seed)

    def flow(self, x: Array, schedule: Schedule, t_from: float, t_to: float) -> FloatArray:
        """States carried along the drift, shape (n, d); DOP853 at 1e-12.

        Raises
        ------
        ValueError
            If it begins where nothing is left of the data: y grows like the square of rho there, and no state with
            alpha = 0 is on a solution.
        """
        state = np.asarray(x, dtype=np.float64)
        (a0, s0), (a1, s1) = ((float(schedule.alpha(t)), float(schedule.sigma(t))) for t in (t_from, t_to))
        if a0 == 0.0:
            msg = f"t_from={t_from}: alpha is 0 there, where the drift without its noise has no solution; begin later"
            raise ValueError(msg)
        model = self.problem.denoiser(self._flow_time, "noise")

        def field_of(rho: float, flat: FloatArray) -> FloatArray:
            scale = 1.0 + rho
            found = np.asarray(model(flat.reshape(state.shape) / scale, rho / scale))
            return 2.0 * found.reshape(-1)

        if s0 * a1 == s1 * a0:
            return state * (a1 / a0)
        solution = solve_ivp(
            field_of, (s0 / a0, s1 / a1), (state / a0).reshape(-1), method="DOP853", rtol=1e-12, atol=1e-13
        )
        end: FloatArray = solution.y[:, -1].reshape(state.shape) * a1
        return end

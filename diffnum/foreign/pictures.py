"""How foreign samplers write noisy states and what they want from a model: pictures and predictions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from diffnum.types import FloatArray, Problem

__all__ = [
    "FLOW",
    "PRECONDITIONED",
    "VE",
    "VP",
    "ExactModel",
    "Picture",
    "Prediction",
    "exact_model",
    "predictions",
    "study_model",
]

Levels: TypeAlias = tuple[float, float]
"""(alpha, sigma) of a state."""

ExactModel: TypeAlias = Callable[[FloatArray, Levels], tuple[FloatArray, FloatArray]]
"""States of shape (n, d) at (alpha, sigma) to the exact (x_0, eps)."""

Prediction: TypeAlias = Callable[[FloatArray, FloatArray, FloatArray, Levels], FloatArray]
"""(state, x_0, eps, levels) to what the foreign code calls the output of its network."""


CLEAN = 16.0
"""Half-log-SNR that stands for no noise at all."""

PRECONDITIONED = frozenset({"edm", "edm v", "edm data"})
"""Outputs of networks that are shown a state scaled to unit variance."""


@dataclass(frozen=True)
class Picture:
    """A family of scalings ``z = alpha x_0 + sigma eps`` as functions of ``rho = sigma / alpha``.

    Parameters
    ----------
    name : str
        ``"vp"``, ``"ve"`` or ``"flow"``.
    alpha : callable
        Signal factor as a function of rho, which may be infinite.
    """

    name: str
    alpha: Callable[[float], float]

    def levels(self, rho: float) -> Levels:
        """(alpha, sigma) at rho."""
        alpha = self.alpha(rho)
        return alpha, (1.0 if math.isinf(rho) else rho * alpha)


VP = Picture("vp", lambda rho: 1.0 / math.hypot(1.0, rho))
VE = Picture("ve", lambda rho: 1.0)  # noqa: ARG005
FLOW = Picture("flow", lambda rho: 1.0 / (1.0 + rho))


def predictions(sigma_data: float = 0.5) -> dict[str, Prediction]:
    """What schedulers call the output of a network.

    Parameters
    ----------
    sigma_data : float
        Standard deviation of the data in the preconditioning of EDM.
    """

    def edm(sign: float) -> Prediction:
        def network(z: FloatArray, x0: FloatArray, eps: FloatArray, levels: Levels) -> FloatArray:  # noqa: ARG001
            rho = levels[1] / levels[0]
            total = math.hypot(rho, sigma_data)
            y = z / levels[0]
            return sign * (x0 - (sigma_data / total) ** 2 * y) * total / (rho * sigma_data)

        return network

    return {
        "noise": lambda z, x0, eps, levels: eps,  # noqa: ARG005
        "data": lambda z, x0, eps, levels: x0,  # noqa: ARG005
        "velocity": lambda z, x0, eps, levels: eps - x0,  # noqa: ARG005
        "reversed velocity": lambda z, x0, eps, levels: x0 - eps,  # noqa: ARG005
        "v": lambda z, x0, eps, levels: (levels[0] * eps - levels[1] * x0) / math.hypot(*levels),  # noqa: ARG005
        "edm": edm(1.0),
        "edm v": edm(-1.0),
        "edm data": lambda z, x0, eps, levels: x0,  # noqa: ARG005
    }


def study_model(model: Any) -> ExactModel:
    """The model of an order study, which speaks in half-log-SNRs, as a function of levels."""

    def evaluate(z: FloatArray, levels: Levels) -> tuple[FloatArray, FloatArray]:
        # At sigma = 0 the sample is the data, whatever is asked: a level so low that rounding is all that differs.
        lam = math.log(levels[0] / levels[1]) if levels[1] else CLEAN
        t = model.schedule.time(lam)
        alpha, sigma = float(model.schedule.alpha(t)), float(model.schedule.sigma(t))
        x = z * (alpha / levels[0])
        # The well-conditioned one of the two is asked for; the other follows from the state.
        if lam < 0:
            x0 = np.asarray(model.data(x, lam))
            return x0, (x - alpha * x0) / sigma
        eps = np.asarray(model.noise(x, lam))
        return (x - sigma * eps) / alpha, eps

    return evaluate


def exact_model(problem: Problem) -> ExactModel:
    """Exact predictions of a problem at any levels, (0, 1) and (1, 0) included."""
    from diffnum.schedules import FlowMatching

    schedule = FlowMatching()
    data, noise = (problem.denoiser(schedule, prediction) for prediction in ("data", "noise"))

    def evaluate(z: FloatArray, levels: Levels) -> tuple[FloatArray, FloatArray]:
        total = levels[0] + levels[1]
        x, t = z / total, levels[1] / total
        # The well-conditioned one of the two is asked for; the other follows from the state.
        if t > 0.5:
            x0 = np.asarray(data(x, t))
            return x0, (x - (1.0 - t) * x0) / t
        eps = np.asarray(noise(x, t))
        return (x - t * eps) / (1.0 - t), eps

    return evaluate

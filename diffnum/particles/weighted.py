"""What a weighted sampler is made of: a model that moves particles, and a potential that weighs them at the nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace

from diffnum.forms import conversion
from diffnum.plans import Plan
from diffnum.tableau import Tableau
from diffnum.types import Array, Denoiser, FloatArray, Prediction, Schedule

__all__ = ["Node", "Observe", "Potential", "Start", "Weighted", "on_host"]


@dataclass(frozen=True)
class Node:
    """All particles at a node of the plan, as a potential sees them: before the step that begins there, or at the end.

    Parameters
    ----------
    step : int
        Number of the node, 0 for the start.
    steps : int
        Number of steps of the whole run; the last node has this number.
    plan : Plan
        Numbers of the whole run.
    x : array, shape (n, ...)
        States.
    value : array, shape (n, ...), or None
        What the model said there; None at the last node, unless :attr:`Weighted.observe_last`.
    prediction : str
        What ``value`` predicts.
    observed : ndarray, shape (n, m), or None
        What :attr:`Weighted.observe` saw besides.
    log_weights : ndarray, shape (n,)
        Logarithms of the weights before this node, not normalised.
    memory : dict of str to array
        Whatever a potential wants to keep for each particle, first axis n; resampling carries it along.
    """

    step: int
    steps: int
    plan: Plan
    x: Array
    value: Array | None
    prediction: Prediction
    observed: FloatArray | None
    log_weights: FloatArray
    memory: dict[str, Any]

    @property
    def last(self) -> bool:
        """Whether this is the end of the run, where the states are the samples."""
        return self.step == self.steps

    @property
    def t(self) -> float:
        """Time of the node."""
        return float(self.plan.times[self.step])

    @property
    def schedule(self) -> Schedule:
        """The noising process."""
        return self.plan.schedule

    @property
    def data(self) -> Array:
        """Predicted data, mean of x_0 given the state; at the end the state itself."""
        if self.value is None:
            return self.x
        if self.prediction == "data":
            return self.value
        schedule, t = self.schedule, self.t
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        if self.last and sigma == 0.0:
            return self.x
        p, q = conversion(self.prediction, "data", alpha, sigma)
        return p * self.x + q * self.value

    def half_log_snr(self, offset: int = 0) -> float:
        """Half-log-SNR of the node so many further on; beyond both ends that of the end."""
        index = min(max(self.step + offset, 0), self.steps)
        t = float(self.plan.times[index])
        return float(self.schedule.half_log_snr(t)) if float(self.schedule.sigma(t)) > 0.0 else float("inf")


Potential: TypeAlias = Callable[[Node], FloatArray]
"""``potential(node)``: what is added to the logarithms of the weights, shape (n,)."""

Observe: TypeAlias = Callable[[Array, float], tuple[Array, Array]]
"""``observe(x, t)``: the model's prediction and what else the potential wants to know, shapes (b, ...) and (b, m)."""

Start: TypeAlias = Callable[[Array, Plan], tuple[Array, FloatArray]]
"""``start(z, plan)``: from standard normals to states at the first node and the logarithms of their weights."""

Moved: TypeAlias = Callable[[Node, Array, Tableau, Callable[..., Array]], Array]
"""``moved(node, after, tableau, draw)``: the states after a step, altered.

``draw(j)`` is the step's j-th noise, and ``draw(j, like)`` further noise of the shape of ``like``."""


@dataclass(frozen=True)
class Weighted:
    """A model with the potential that makes a population of it sample something else; run by :func:`run`.

    Parameters
    ----------
    model : Denoiser
        What moves the particles.
    potential : callable
        ``potential(node)``; see :data:`Potential`.
    observe : callable, optional
        Evaluates the model where a step begins, and tells the potential more; see :data:`Observe`.
    observe_last : bool
        Evaluate at the last node too, for potentials that want it: one evaluation more.
    start : callable, optional
        See :data:`Start`; by default ``x = sigma z`` around the mean of the schedule, with weight 1.
    moved : callable, optional
        Alters states after each step; see :data:`Moved`.
    spent : int
        Further model evaluations of one particle at a node, for the account.
    name : str
        What it is called in messages.
    """

    model: Denoiser
    potential: Potential
    observe: Observe | None = None
    observe_last: bool = False
    start: Start | None = None
    moved: Moved | None = None
    spent: int = 0
    name: str = field(default="weighted sampler")

    @property
    def prediction(self) -> Prediction:
        """What the model predicts."""
        return self.model.prediction

    @property
    def schedule(self) -> Schedule:
        """The noising process."""
        return self.model.schedule

    def __call__(self, x: Array, t: Any) -> Array:
        """Predict without weighing: the model alone, as any solver may run it."""
        return self.model(x, t)

    def with_potential(self, change: Callable[[FloatArray], FloatArray], name: str) -> Weighted:
        """Same sampler with the increments of its weights changed, such as clipped ones.

        Parameters
        ----------
        change : callable
            From increments, shape (n,), to increments.
        name : str
            Added to the name.
        """
        inner = self.potential
        return replace(self, potential=lambda node: change(inner(node)), name=f"{self.name}, {name}")


def on_host(value: Any) -> FloatArray:
    """Weights as a float64 numpy array."""
    value = value.detach().cpu() if hasattr(value, "detach") else value
    return np.asarray(value, dtype=np.float64)


def squares(x: Array) -> Array:
    """Sum of the squares of each sample, shape (n,)."""
    xp = array_namespace(x)
    flat = xp.reshape(x, (x.shape[0], -1))
    return xp.sum(flat * flat, axis=1)

"""What every posterior sampler is given, what it may ask the model, and the two ways in which it uses the one loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from diffnum.forms import PREDICTIONS, conversion
from diffnum.inverse.operators import Linear
from diffnum.jobs.checked import check_model
from diffnum.plans import Plan
from diffnum.solver import Noise, State, evaluations
from diffnum.solver.pullbacks import pullback_of
from diffnum.types import Array, Denoiser, Prediction, Schedule

__all__ = ["OWN_DRAWS", "Conditioned", "Inverse", "Reading", "Rule", "hosted", "observed", "start_of", "stepped"]

OWN_DRAWS = 1000
"""Draws of a sampler itself are numbered from here, those of the plan's steps from 0."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What one evaluation of the model says at a state.

    Parameters
    ----------
    x : array, shape (n, ...)
        State.
    t : float
        Time.
    alpha, sigma : float
        Of the schedule at that time.
    data : array, shape (n, ...)
        Predicted data, the mean of x_0 given the state.
    noise : array, shape (n, ...)
        Predicted noise.
    pull : callable
        Product with the transposed derivative of ``data`` by ``x``; through the model where this one has derivatives.
    """

    x: Array
    t: float
    alpha: float
    sigma: float
    data: Array
    noise: Array
    pull: Callable[[Array], Array] = field(repr=False)

    @property
    def level(self) -> float:
        """Noise level sigma / alpha."""
        return self.sigma / self.alpha

    def noise_of(self, data: Array) -> Array:
        """Noise that goes with other data at the same state (of a process without a mean)."""
        return (self.x - self.alpha * data) / self.sigma


@dataclass(frozen=True, eq=False)
class Inverse:
    r"""A linear inverse problem: a model of the prior and a measurement :math:`Y = A x + \text{noise}`.

    Parameters
    ----------
    model : Denoiser
        Model of the prior.
    op : Linear
        The operator A.
    y : array, shape (*measured) or (n, *measured)
        What was measured; one for all samples, or one each.
    noise_std : float
        Standard deviation of the measurement's noise, >= 0.

    Raises
    ------
    TypeError
        If one of them is not what it should be.
    ValueError
        If the shapes of operator and measurement differ, or the standard deviation is negative.
    """

    model: Denoiser
    op: Linear
    y: Array
    noise_std: float

    def __post_init__(self) -> None:
        check_model(self.model)
        if not isinstance(self.op, Linear):
            msg = f"op is a {type(self.op).__name__}: pass diffnum.inverse.Linear(A), mask(...), blur(...) and the like"
            raise TypeError(msg)
        object.__setattr__(self, "y", observed(self.op, self.y))
        noise = self.noise_std
        if isinstance(noise, bool) or not isinstance(noise, float | int | np.number):
            msg = f"noise_std={noise!r} is a {type(noise).__name__}: give one standard deviation"
            raise TypeError(msg)
        if not (math.isfinite(noise) and noise >= 0.0):
            msg = f"noise_std={noise!r}: give the standard deviation of the noise, finite and >= 0"
            raise ValueError(msg)

    @property
    def schedule(self) -> Schedule:
        """The noising process of the model."""
        return self.model.schedule

    def measurement(self, like: Array) -> Array:
        """Measurement in the library, dtype and on the device of a batch, shape (1 or n, *measured)."""
        xp = array_namespace(like)
        y = self.y
        if not isinstance(y, np.ndarray) and array_namespace(y) == xp:
            return xp.astype(y, like.dtype)
        host = y if isinstance(y, np.ndarray) else np.asarray(y.detach().cpu())
        return xp.asarray(host.copy(), dtype=like.dtype, device=device(like))

    def residual(self, data: Array) -> Array:
        """What a measurement of ``data`` leaves unexplained, y - A data."""
        return self.measurement(data) - self.op(data)

    def look(self, x: Array, t: float, *, derivative: bool = True) -> Reading:
        """Evaluate the model once.

        Parameters
        ----------
        x : array, shape (n, ...)
            State.
        t : float
            Time.
        derivative : bool
            Whether the derivative will be asked for.

        Raises
        ------
        ValueError
            If it will be and the model has none.
        """
        schedule, model = self.schedule, self.model
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        p, q = conversion(model.prediction, "data", alpha, sigma)
        if derivative:
            value, back = pullback_of(model, "x")(x, t, "x")
        else:
            value, back = model(x, t), None

        def pull(cotangent: Array) -> Array:
            if back is None:
                msg = "pull: this look was taken without a derivative"
                raise RuntimeError(msg)
            return p * cotangent + q * back(cotangent)[0]

        mean = _mean(schedule, x)
        shifted = x - mean
        # a prediction a x_0 + b eps of a process with a mean moves by a mean
        data = p * shifted + q * (value - PREDICTIONS[model.prediction](alpha, sigma)[0] * mean) + mean
        noise = (shifted - alpha * (data - mean)) / sigma
        return Reading(x, t, alpha, sigma, data, noise, pull)


Rule = Callable[[Reading, Inverse], Array]
"""From a look at the prior to the data that are predicted once the measurement is known."""


@dataclass(frozen=True, eq=False)
class Conditioned:
    """A model of the posterior made of a model of the prior and a rule; a :class:`diffnum.types.Denoiser`.

    Parameters
    ----------
    problem : Inverse
        Model of the prior and measurement.
    rule : callable
        ``rule(look, problem)`` gives the predicted data.
    derivative : bool
        Whether the rule asks for the derivative of the prior's prediction.
    """

    problem: Inverse
    rule: Rule = field(repr=False)
    derivative: bool = True

    @property
    def prediction(self) -> Prediction:
        """Data."""
        return "data"

    @property
    def schedule(self) -> Schedule:
        """Schedule of the prior's model."""
        return self.problem.schedule

    @property
    def main(self) -> Denoiser:
        """Model of the prior."""
        return self.problem.model

    def __call__(self, x: Array, t: Any) -> Array:
        """Predict the data at states ``x``, shape (n, ...), and one time ``t``."""
        return self.rule(self.problem.look(x, float(t), derivative=self.derivative), self.problem)


Moved = Callable[[Reading, State], Array]
"""From the look where a step began and the state after it to the state from which the run goes on."""


def hosted(
    problem: Inverse,
    plan: Plan,
    x: Array,
    noise: Noise | None,
    answer: Callable[[Reading], Array],
    moved: Moved | None = None,
    *,
    derivative: bool = True,
) -> Array:
    """Run a plan whose questions are answered by ``answer`` and whose states are altered by ``moved``.

    Parameters
    ----------
    problem : Inverse
        Model of the prior and measurement.
    plan : Plan
        Any plan.
    x : array, shape (n, ...)
        States at the first node.
    noise : callable or None
        Source of the plan's noise.
    answer : callable
        From a look at the prior to the data that the plan goes on with.
    moved : callable, optional
        ``moved(look, state)``, with the look where the step began.
    derivative : bool
        Whether derivatives are asked for.
    """
    numbers = plan.for_prediction("data")
    events = evaluations(numbers, x, noise=noise)
    reply: Any = None
    first: Reading | None = None
    end = x
    while True:
        try:
            event = events.send(reply)
        except StopIteration:
            return end
        if not isinstance(event, State):
            seen = problem.look(event.x, event.t, derivative=derivative)
            first = seen if first is None else first
            reply = answer(seen)
            continue
        end, reply = event.x, None
        if moved is not None:
            if first is None:
                msg = f"plan: step {event.step - 1} of {plan.method!r} evaluates nothing, nothing can be corrected"
                raise ValueError(msg)
            end = moved(first, event)
            reply = event._replace(vectors={**event.vectors, "x": end})
        first = None


def stepped(plan: Plan, x: Array, advance: Callable[[int, float, float, Array], Array]) -> Array:
    """Go from node to node of a plan by a step of one's own.

    Parameters
    ----------
    plan : Plan
        Its nodes are used, and nothing else.
    x : array, shape (n, ...)
        States at the first node.
    advance : callable
        ``advance(step, t, t_next, x)``, the states at the next node.
    """
    for step, tableau in enumerate(plan.steps):
        x = advance(step, float(tableau.t_from), float(tableau.t_to), x)
    return x


def start_of(plan: Plan, z: Array) -> Array:
    """States at the first node from standard normals: noise of its variance around the mean of the process."""
    return float(plan.schedule.sigma(float(plan.times[0]))) * z + _mean(plan.schedule, z)


def observed(op: Linear, y: Any) -> Array:
    """Measurement with a batch axis, checked against the operator."""
    if not is_array_api_obj(y):
        try:
            y = np.asarray(y, dtype=np.float64)
        except (TypeError, ValueError):
            msg = f"y={y!r} is a {type(y).__name__}: pass a measurement, an array of numbers"
            raise TypeError(msg) from None
    shape = tuple(int(n) for n in y.shape)
    whole = shape == op.measured
    if not whole and shape[1:] != op.measured:
        msg = (
            f"y has shape {shape}: the operator {op.name!r} measures {op.measured}; pass one measurement, or one a "
            "sample along a first axis"
        )
        raise ValueError(msg)
    xp = array_namespace(y)
    if not xp.isdtype(y.dtype, "real floating"):
        y = xp.astype(y, xp.float64)
    if not bool(xp.all(xp.isfinite(y))):
        msg = "y is not finite: pass finite numbers"
        raise ValueError(msg)
    return y[None] if whole else y


def _mean(schedule: Schedule, x: Array) -> Any:
    mean = schedule.mean
    if isinstance(mean, float | int):
        return mean
    return array_namespace(x).asarray(np.array(mean), dtype=x.dtype, device=device(x))

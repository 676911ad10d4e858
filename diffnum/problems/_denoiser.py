"""The exact model of a problem: one class for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from diffnum.problems._components import Components, softmax
from diffnum.problems._states import (
    FORMS,
    Batch,
    Coefficient,
    LinearForm,
    check_noise,
    check_prediction,
    check_schedule,
    check_state,
    coefficients,
    drift,
)
from diffnum.types import Array, Prediction, Schedule


class Core(Protocol):
    """What a data distribution must offer: predictions as functions of ``(alpha, sigma)``, not of time."""

    @property
    def dim(self) -> int:
        """Dimension d."""

    @property
    def has_atoms(self) -> bool:
        """Whether some component has zero covariance, so that the model needs ``sigma > 0``."""

    def predict(self, y: Array, alpha: Coefficient, sigma: Coefficient, form: LinearForm) -> Array:
        """Posterior mean of a linear form, shapes (n, d) to (n, d)."""

    def jvp(self, y: Array, tangent: Array, alpha: Coefficient, sigma: Coefficient, form: LinearForm) -> Array:
        """Differentiate :meth:`predict` along ``tangent``."""


@dataclass(frozen=True, eq=False)
class ExactDenoiser:
    """Exact model of a known data distribution under a schedule; a :class:`diffnum.types.Denoiser`.

    Made by the ``denoiser`` method of a problem. Works on numpy arrays and torch tensors of any floating
    dtype and on any device; the answer has the shape, dtype and device of the state.

    Attributes
    ----------
    core : object
        Predictions as functions of ``(alpha, sigma)``.
    schedule : Schedule
        The noising process.
    prediction : {"data", "noise", "velocity", "score", "v"}
        What is returned, a posterior mean: x_0; eps; eps - x_0; -eps / sigma; alpha eps - sigma x_0. Here
        ``x_t = alpha x_0 + (1 - alpha) mu + sigma eps`` with ``mu`` the schedule's mean (usually 0).
    """

    core: Core = field(repr=False)
    schedule: Schedule
    prediction: Prediction = "data"

    def __post_init__(self) -> None:
        check_prediction(self.prediction)
        check_schedule(self.schedule)

    def __call__(self, x: Array, t: Any) -> Array:
        """Predict at states ``x`` and time ``t``.

        Parameters
        ----------
        x : array, shape (n, d) or (n, ...) with d entries a sample
            Noisy states, of a floating dtype.
        t : float or array, shape () or (n,)
            One time for all samples, or one a sample.

        Returns
        -------
        array, shape, dtype and device of ``x``

        Raises
        ------
        TypeError
            If ``x`` is not a floating array.
        ValueError
            If a shape does not fit, or if the data have atoms and ``sigma(t)`` is zero.
        """
        state, y, alpha, sigma, form = self._prepare(x, t)
        return state.restore(self.core.predict(y, alpha, sigma, form))

    def jvp(self, x: Array, t: Any, tangent: Array) -> Array:
        """Jacobian-vector product of the prediction with respect to the state, in closed form.

        Parameters
        ----------
        x : array, shape (n, d) or (n, ...)
            Noisy states.
        t : float or array, shape () or (n,)
            Time or times.
        tangent : array, shape of ``x``
            Direction; it is converted to the dtype of ``x``.

        Returns
        -------
        array, shape of ``x``
            Derivative of the prediction at ``x`` along ``tangent``.
        """
        state, y, alpha, sigma, form = self._prepare(x, t)
        direction = check_state(tangent, self.core.dim, "tangent")
        if direction.shape != state.shape:
            msg = f"tangent has shape {direction.shape}; it must have the shape of x, {state.shape}"
            raise ValueError(msg)
        u = state.xp.astype(direction.flat, state.flat.dtype)
        return state.restore(self.core.jvp(y, u, alpha, sigma, form))

    def vjp(self, x: Array, t: Any, cotangent: Array) -> Array:
        """Product with the transposed Jacobian, which is :meth:`jvp`.

        Every prediction is the state times a number plus the score times a number, and the Jacobian of the score is the
        matrix of second derivatives of a log-density: it is symmetric.
        """
        return self.jvp(x, t, cotangent)

    def _prepare(self, x: Array, t: Any) -> tuple[Batch, Array, Coefficient, Coefficient, LinearForm]:
        state = check_state(x, self.core.dim)
        alpha, sigma = coefficients(self.schedule, t, state)
        if self.core.has_atoms:
            check_noise(state.xp, sigma, t)
        shift = drift(self.schedule, alpha, state, state.xp.float64)
        # In float64, so that the drift does not round away what a float32 state still holds.
        y = state.flat if isinstance(shift, float) else state.xp.astype(state.flat, state.xp.float64) - shift
        return state, y, alpha, sigma, FORMS[self.prediction](alpha, sigma)


def responsibilities(core: Components, x: Array, schedule: Schedule, t: Any) -> Array:
    """Posterior probabilities of components, shape (n, K), given states at time ``t``."""
    check_schedule(schedule)
    state = check_state(x, core.dim)
    alpha, sigma = coefficients(schedule, t, state)
    if core.has_atoms:
        check_noise(state.xp, sigma, t)
    y = state.flat - drift(schedule, alpha, state, state.xp.float64)
    return state.xp.astype(softmax(state.xp, core.log_joint(y, alpha, sigma)), state.flat.dtype)

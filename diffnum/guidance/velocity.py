r"""Mean-reverting diffusion: the velocity that its networks predict.

A mean-reverting process has :math:`x_t - \mu = \alpha (x_0 - \mu) + \sigma \epsilon` with
:math:`\sigma = \sigma_\infty \sqrt{1 - \alpha^2}`. In the shifted variable it is an ordinary process, so that every
method of the catalogue applies, and a run on it is :math:`\mu` plus a run of the same method on :math:`x - \mu` with
the shifted data prediction :math:`D - \mu`: the solver does exactly that where the schedule has a mean.

Networks for noise or data are used as they are. The velocity of MRS is that of the normalised, shifted variable,

.. math:: v = \alpha \sigma_\infty\, \epsilon - \frac{\sigma}{\sigma_\infty} (x_0 - \mu),

not the prediction ``"v"`` of other networks, which it is for :math:`\mu = 0`, :math:`\sigma_\infty = 1`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import array_namespace, device

from diffnum.schedules import MeanReverting
from diffnum.types import Array, Prediction

__all__ = ["VelocityNetwork", "velocity"]


def velocity(data: Array, noise: Array, schedule: MeanReverting, t: float) -> Array:
    """Velocity of known data and noise at a time, in the convention of MRS.

    Parameters
    ----------
    data, noise : array, shape (batch, ...)
        x_0, the mean not taken off, and eps.
    schedule : MeanReverting
        The process.
    t : float
        Time.

    References
    ----------
    Li et al., arXiv:2502.07856; grrrute/mr-sampler at 896764cf, ``convert_model_output``.
    """
    alpha, share = _factors(schedule, t)
    return alpha * schedule.sigma_inf * noise - share * (data - _like(data, schedule.mean))


@dataclass(frozen=True)
class VelocityNetwork:
    """A network that predicts the velocity of MRS, as a model that predicts noise; any method takes it.

    Parameters
    ----------
    network : callable
        ``network(x, t)`` gives the velocity of a state, shape (batch, ...), at a time.
    schedule : MeanReverting
        Process that it was trained for.

    Raises
    ------
    TypeError
        If ``schedule`` is no mean-reverting process, or ``network`` cannot be called.

    Examples
    --------
    >>> import numpy as np
    >>> import diffnum as dn
    >>> process = dn.schedules.MeanReverting(sigma_inf=0.5, mean=1.0)
    >>> model = VelocityNetwork(lambda x, t: 0.0 * x, process)
    >>> float(model(np.array([[1.0]]), 0.7)[0, 0])  # at the mean no noise is seen
    0.0
    """

    network: Callable[[Array, Any], Array]
    schedule: MeanReverting
    prediction: ClassVar[Prediction] = "noise"

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, MeanReverting):
            msg = f"schedule={self.schedule!r} reverts to no mean: use diffnum.schedules.MeanReverting"
            raise TypeError(msg)
        if not callable(self.network):
            msg = f"network={self.network!r} is not callable: pass a function network(x, t)"
            raise TypeError(msg)

    def __call__(self, x: Array, t: Any) -> Array:
        """Noise prediction."""
        alpha, share = _factors(self.schedule, t)
        shifted = x - _like(x, self.schedule.mean)
        return (alpha * self.network(x, t) + share * shifted) / self.schedule.sigma_inf


def _factors(schedule: MeanReverting, t: Any) -> tuple[float, float]:
    """Alpha, and sigma over its stationary value."""
    return float(schedule.alpha(t)), float(schedule.sigma(t)) / schedule.sigma_inf


def _like(x: Array, value: Any) -> Array:
    """Mean in the namespace, dtype and device of a state."""
    if isinstance(value, float):
        return value
    return array_namespace(x).asarray(value.copy(), dtype=x.dtype, device=device(x))

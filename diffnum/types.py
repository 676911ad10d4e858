"""Protocols and aliases shared by every module; no computation lives here.

Conventions, said once. A noisy state is ``x_t = alpha(t) x_0 + sigma(t) eps`` with standard normal
``eps`` (mean-reverting processes: the same for ``x - mean``). ``half_log_snr`` is the natural logarithm of
``alpha / sigma``; it is called ``lam`` in local variables and it *increases* while a sampler runs. The
first axis of a state is the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = Any
"""A numpy array or a torch tensor: anything that array-api-compat understands."""

FloatArray: TypeAlias = NDArray[np.float64]
"""A float64 numpy array."""

Scalar: TypeAlias = Any
"""Whatever coefficient functions accept: float, ndarray, mpmath, sympy, truncated power series."""

Prediction: TypeAlias = Literal["data", "noise", "velocity", "score", "v"]
"""What a network returns, each as a pair (a, b) in a x_0 + b eps: data (1, 0), noise (0, 1),
velocity (-1, 1), score (0, -1/sigma), v (-sigma, alpha)."""


@runtime_checkable
class Schedule(Protocol):
    """A noising process ``x_t = alpha(t) x_0 + sigma(t) eps``; every method is array-generic in its argument."""

    @property
    def name(self) -> str:
        """Registered name, such as ``"vp-linear"``."""

    @property
    def t_min(self) -> float:
        """Smallest time of the domain (where data live)."""

    @property
    def t_max(self) -> float:
        """Largest time of the domain (where noise lives)."""

    @property
    def mean(self) -> Any:
        """Mean to which the process reverts; 0.0 for all processes but the mean-reverting one."""

    def alpha(self, t: Any) -> Any:
        """Signal factor at time ``t``."""

    def sigma(self, t: Any) -> Any:
        """Noise standard deviation at time ``t``."""

    def half_log_snr(self, t: Any) -> Any:
        """Natural logarithm of ``alpha / sigma`` at time ``t``."""

    def time(self, half_log_snr: Any) -> Any:
        """Inverse of :meth:`half_log_snr`."""

    def to_dict(self) -> dict[str, Any]:
        """Record from which :func:`diffnum.schedules.from_dict` rebuilds the schedule."""


@runtime_checkable
class Denoiser(Protocol):
    """A model: ``model(x, t)`` predicts what ``prediction`` names, for a state of shape (batch, ...)."""

    @property
    def prediction(self) -> Prediction:
        """What the model returns."""

    @property
    def schedule(self) -> Schedule:
        """The noising process that it was made for."""

    def __call__(self, x: Array, t: Any) -> Array:
        """Predict at state ``x``, shape (batch, ...), and time ``t``, a scalar or shape (batch,)."""


@runtime_checkable
class Problem(Protocol):
    """A data distribution whose scores, and whose probability-flow map, are known."""

    @property
    def dim(self) -> int:
        """Dimension ``d`` of the data."""

    def denoiser(self, schedule: Schedule, prediction: Prediction = "data") -> Denoiser:
        """Exact model under ``schedule``."""

    def flow(self, x: Array, schedule: Schedule, t_from: float, t_to: float) -> Array:
        """Exact probability-flow map of states ``x``, shape (n, d), from ``t_from`` to ``t_to``."""

    def sample(self, n: int, seed: int) -> Array:
        """Draw ``n`` data points, shape (n, d)."""


Sampler: TypeAlias = Callable[[Any, Array, FloatArray], Array]
"""A user's sampler ``sampler(model, x, nodes) -> x``; ``nodes`` are half-log-SNRs, increasing, shape (n + 1,)."""

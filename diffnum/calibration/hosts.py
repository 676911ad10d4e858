"""Where a fit runs: noises, chunks and derivatives of exact problems in numpy.

Networks have a host of their own (:mod:`diffnum.calibration.networks`), which is loaded for them alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from diffnum.calibration.sensitivities import (
    DifferencedModel,
    Differentiable,
    ExactDifferentiable,
    Native,
    Pull,
    run_with_tangents,
)
from diffnum.calibration.weights import Numbers, Slopes
from diffnum.plans.identity import identity_of
from diffnum.solver.noise import start_noise
from diffnum.types import Array, FloatArray, Prediction, Schedule

__all__ = ["ExactHost", "Host", "host_of", "start_states"]


class Host(Protocol):
    """What a fit asks of the place where its model lives."""

    @property
    def model(self) -> Any:
        """The model, its samples in a fixed order."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""

    @property
    def itemsize(self) -> int:
        """Bytes a number."""

    def noise(self, seed: int, first: int, count: int) -> Array:
        """Standard normal draws of samples ``first``, ``first + 1``, ...: those of ``dn.sample``."""

    def part(self, first: int, count: int) -> Any:
        """The model for these samples, with their conditions."""

    def differentiable(self, model: Any) -> Differentiable:
        """A model with its derivatives."""

    def pull(self, part: Any, prediction: Prediction, numbers: Numbers, x: Array, cotangent: Array) -> Array:
        """Product of a direction with the Jacobian of a run by its start: the gradient of ``(end . cotangent)``."""

    def reversed_run(self, part: Any, prediction: Prediction, numbers: Numbers, x: Array) -> tuple[Array, Pull]:
        """End of a run, less the mean of the process, and products with its Jacobian by the sampler's numbers."""

    def array(self, values: FloatArray) -> Array:
        """Array of the host from numpy."""

    def rounded(self, x: Array) -> Array:
        """Values rounded to bfloat16 and back."""

    def numpy(self, x: Array) -> FloatArray:
        """Array in float64 on this side."""

    def identity(self) -> dict[str, Any]:
        """What tells this model from another: name, digest of its numbers, guidance."""


def start_states(host: Host, seed: int, first: int, count: int, t_start: float) -> Array:
    """First states of a run, pure noise of the level at ``t_start`` around the mean of the process."""
    schedule: Schedule = host.model.schedule
    noise = host.noise(seed, first, count)
    mean = schedule.mean
    shift = mean if isinstance(mean, float) else host.array(np.asarray(mean, dtype=np.float64))
    return float(schedule.sigma(t_start)) * noise + shift


@dataclass(frozen=True, eq=False)
class ExactHost:
    """Exact problems, in float64.

    Parameters
    ----------
    model : Denoiser
        Exact denoiser of a problem, perhaps guided.
    derivatives : {"forward", "differences", "reverse"}
        Central differences, or products with the Jacobian in closed form.
    """

    model: Any
    derivatives: str = "forward"

    @property
    def shape(self) -> tuple[int, ...]:
        """One axis, the dimension of the problem."""
        return (int(self.model.core.dim),)

    @property
    def itemsize(self) -> int:
        """Eight."""
        return 8

    def noise(self, seed: int, first: int, count: int) -> Array:
        """Draws in float64."""
        return start_noise(count, self.shape, seed, first=first)

    def part(self, first: int, count: int) -> Any:  # noqa: ARG002
        """The model itself: exact problems have no conditions of single samples."""
        return self.model

    def differentiable(self, model: Any) -> Differentiable:
        """Products with the Jacobian.

        Raises
        ------
        ValueError
            If the model has none, and differences were not asked for.
        """
        if self.derivatives == "differences":
            return DifferencedModel(model)
        # asked of the class: a guided model answers for what it does not have with what the model has that it guides
        if not hasattr(type(model), "jvp"):
            msg = (
                f"model is a {type(model).__name__}, which has no derivatives (no method jvp): use "
                'derivatives="differences"'
            )
            raise ValueError(msg)
        return ExactDifferentiable(model)

    def pull(self, part: Any, prediction: Prediction, numbers: Numbers, x: Array, cotangent: Array) -> Array:
        """By as many tangents as the problem has dimensions."""
        native = Native(self.differentiable(part), prediction)
        basis = np.broadcast_to(np.eye(x.shape[1])[:, None, :], (x.shape[1], *x.shape)).copy()
        *_, (_, columns) = run_with_tangents(native, numbers, None, x, basis)
        return np.einsum("dne,ne->nd", columns, cotangent)

    def reversed_run(self, part: Any, prediction: Prediction, numbers: Numbers, x: Array) -> tuple[Array, Pull]:
        """By one tangent for each of the sampler's numbers: exact problems are small."""
        n = len(numbers.t)
        rows, columns = np.tril_indices(n)
        size = 2 * n + len(rows)
        carry, weights, t = np.zeros((size, n)), np.zeros((size, n, n)), np.zeros((size, n))
        carry[:n], t[-n:] = np.eye(n), np.eye(n)
        weights[np.arange(n, size - n), rows, columns] = 1.0
        slopes = Slopes(carry, weights, t, np.zeros((size, n + 1)))
        *_, (end, along) = run_with_tangents(Native(self.differentiable(part), prediction), numbers, slopes, x)

        def pull(cotangent: Array) -> Numbers:
            found = np.einsum("pnd,nd->np", along, cotangent)
            square = np.zeros((len(x), n, n))
            square[:, rows, columns] = found[:, n:-n]
            return Numbers(found[:, :n], square, found[:, -n:], np.zeros((len(x), n + 1)))

        return end, pull

    def array(self, values: FloatArray) -> Array:
        """The same array."""
        return values

    def rounded(self, x: Array) -> Array:
        """Eight significant bits, as in bfloat16."""
        mantissa, exponent = np.frexp(x)
        return np.ldexp(np.round(mantissa * 256.0) / 256.0, exponent)

    def numpy(self, x: Array) -> FloatArray:
        """The same array."""
        return np.asarray(x, dtype=np.float64)

    def identity(self) -> dict[str, Any]:
        """Name of the problem's class, digest of its numbers."""
        return identity_of(self.model)


def host_of(model: Any, *, derivatives: str = "forward", label: Any = None) -> Host:
    """Host of a model.

    Parameters
    ----------
    model : Denoiser
        Exact model of a problem, or a network (also guided ones of both).
    derivatives : {"forward", "differences", "reverse"}
        How it is differentiated.
    label : int, "each" or None
        Condition of a network with classes; "each" for all classes in turn.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if getattr(model, "sample_shape", None) is not None:
        from diffnum.calibration.networks import NetworkHost

        return NetworkHost(model, derivatives, label)
    if getattr(getattr(model, "core", None), "dim", None) is None:
        msg = (
            f"model is a {type(model).__name__}: pass a network, as dn.load('toy/digits'), or the denoiser of a problem"
        )
        raise TypeError(msg)
    if label is not None:
        msg = f"label={label!r}: an exact problem has no labels, take problem.conditional(label)"
        raise ValueError(msg)
    return ExactHost(model, derivatives)

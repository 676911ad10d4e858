"""Where a fit runs: noises, chunks and derivatives of exact problems in numpy.

Networks have a host of their own (:mod:`diffnum.calibration.networks`), which is loaded for them alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol

import numpy as np

from diffnum.calibration.sensitivities import Differentiable, ExactDifferentiable, Native, run_with_tangents
from diffnum.calibration.weights import Numbers
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
    """Exact problems, in float64."""

    model: Any

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
        """Closed-form products of the Jacobian."""
        return ExactDifferentiable(model)

    def pull(self, part: Any, prediction: Prediction, numbers: Numbers, x: Array, cotangent: Array) -> Array:
        """By as many tangents as the problem has dimensions."""
        native = Native(self.differentiable(part), prediction)
        basis = np.broadcast_to(np.eye(x.shape[1])[:, None, :], (x.shape[1], *x.shape)).copy()
        *_, (_, columns) = run_with_tangents(native, numbers, None, x, basis)
        return np.einsum("dne,ne->nd", columns, cotangent)

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
        total = hashlib.sha256()
        _feed(total, getattr(self.model, "core", self.model))
        return {"model": f"exact {type(self.model.core).__name__}", "sha256": total.hexdigest(), **guidance(self.model)}


def guidance(model: Any) -> dict[str, Any]:
    """Scale of a guided model, which is part of what a plan was found for."""
    from diffnum.guidance import Guided

    if not isinstance(model, Guided):
        return {}
    return {"guidance": float(model.scale) if isinstance(model.scale, float | int) else repr(model.scale)}


def _feed(total: Any, value: Any) -> None:
    """Numbers of a record, field by field."""
    if isinstance(value, np.ndarray):
        total.update(np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value):
        for field in fields(value):
            if field.init:  # what a record computes for itself may grow as it is used
                _feed(total, getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key in sorted(value):
            _feed(total, value[key])
    elif isinstance(value, list | tuple):
        for entry in value:
            _feed(total, entry)
    else:
        total.update(repr(value).encode())


def host_of(model: Any, *, derivatives: str = "forward", label: Any = None) -> Host:
    """Host of a model.

    Parameters
    ----------
    model : Denoiser
        Exact model of a problem, or a network (also guided ones of both).
    derivatives : {"forward", "differences"}
        How networks are differentiated.
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
    return ExactHost(model)

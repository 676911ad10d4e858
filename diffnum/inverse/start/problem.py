r"""The start as an unknown: a loss of the run's end over the noise that it begins from, with a prior term.

With F the run and :math:`\sigma` the noise level of its first node, every answer minimises

.. math:: J(z) = L\bigl(F(\sigma z)\bigr) + \tfrac{w}{2} |z|^2, \qquad z \sim N(0, I) \text{ beforehand},

over a point z, or over laws q of z the free energy :math:`E_q[L] + w\,\mathrm{KL}(q \,\|\, N(0, I))`, whose least value
is taken by :math:`q \propto N(z; 0, I)\, e^{-L/w}`. For the misfit of a measurement and w = 1 that is the law of the
start given the measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj
from numpy.typing import ArrayLike

from diffnum.inverse.operators import Linear
from diffnum.inverse.problem import observed
from diffnum.jobs.checked import check_model
from diffnum.plans import Plan
from diffnum.solver import solve
from diffnum.solver.adjoint import gradient
from diffnum.types import Array, Denoiser, FloatArray

__all__ = ["EachLoss", "StartProblem", "misfit"]

EachLoss: TypeAlias = Callable[[Array], Any]
"""Of ends, shape (k, ...): their losses as a tensor of shape (k,) with a graph, or the pair (losses, gradients)."""


@dataclass(frozen=True, eq=False)
class StartProblem:
    """A loss of the end of a run over its start.

    Parameters
    ----------
    plan : Plan
        The run; it draws no noise.
    model : Denoiser
        The model; for answers that use its derivative, as :func:`diffnum.gradient` asks for.
    loss : callable
        See :data:`EachLoss`: each loss depends on its own end only.
    z : array, shape (1, ...)
        Where an answer begins, in standard normals; it tells the shape, the library, the dtype and the device.
    weight : float
        Weight w >= 0 of the prior term.
    spent : list of int
        One number, the evaluations of the model so far; problems that share the list count together.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If the plan draws noise or has no steps, ``z`` is not one finite start, or the weight is negative.
    """

    plan: Plan
    model: Denoiser
    loss: EachLoss
    z: Array
    weight: float = 1.0
    spent: list[int] = field(default_factory=lambda: [0], repr=False)

    def __post_init__(self) -> None:
        check_model(self.model)
        if not isinstance(self.plan, Plan):
            msg = f"plan={self.plan!r} is a {type(self.plan).__name__}: pass dn.plan(method, schedule, grid)"
            raise TypeError(msg)
        if not len(self.plan):
            msg = "plan has no steps: make it on a grid of two nodes or more"
            raise ValueError(msg)
        if any(step.noises for step in self.plan.steps):
            msg = f"{self.plan.method} draws noise: the end is no function of the start; use a deterministic method"
            raise ValueError(msg)
        if not callable(self.loss):
            msg = f"loss is a {type(self.loss).__name__}: give a function of the ends of runs"
            raise TypeError(msg)
        if not is_array_api_obj(self.z):
            object.__setattr__(self, "z", np.asarray(self.z, dtype=np.float64))
        if self.z.ndim < 2 or self.z.shape[0] != 1:
            msg = f"z has shape {tuple(self.z.shape)}: give one start, with a batch axis of length 1 before its own"
            raise ValueError(msg)
        if not bool(array_namespace(self.z).all(array_namespace(self.z).isfinite(self.z))):
            msg = "z is not finite: pass finite numbers"
            raise ValueError(msg)
        weight = self.weight
        if isinstance(weight, bool) or not isinstance(weight, float | int | np.number):
            msg = f"weight={weight!r} is a {type(weight).__name__}: give one number >= 0"
            raise TypeError(msg)
        if not (math.isfinite(weight) and weight >= 0.0):
            msg = f"weight={weight!r}: give the weight of the prior term, finite and >= 0"
            raise ValueError(msg)

    @property
    def dimension(self) -> int:
        """Entries of a start."""
        return math.prod(self.z.shape[1:])

    @property
    def evaluations(self) -> int:
        """Evaluations of the model on one sample so far, by all that was asked."""
        return self.spent[0]

    @property
    def first(self) -> FloatArray:
        """Where an answer begins, shape (dimension,)."""
        z: Any = self.z if isinstance(self.z, np.ndarray) else self.z.detach().cpu().numpy()
        return np.asarray(np.array(z, dtype=np.float64).ravel())

    def states(self, z: FloatArray) -> Array:
        """States at the first node of standard normals, shape (k, dimension); returns shape (k, ...)."""
        schedule, xp = self.plan.schedule, array_namespace(self.z)
        level = float(schedule.sigma(float(self.plan.times[0])))
        rows = np.reshape(level * z, (-1, *self.z.shape[1:]))
        return xp.asarray(rows, dtype=self.z.dtype, device=device(self.z)) + _mean_of(schedule, self.z)

    def ends(self, z: FloatArray) -> Array:
        """Ends of the runs from standard normals, shape (k, dimension); returns shape (k, ...)."""
        x = self.states(z)
        self.spent[0] += self.plan.nfe * int(x.shape[0])
        return solve(self.plan, self.model, x)

    def losses(self, z: FloatArray) -> FloatArray:
        """Losses, without the prior term, shape (k,); no derivative of the model is taken."""
        ends = self.ends(np.atleast_2d(z))
        values, _ = self.numbers_of(self.loss(ends), ends)
        return values

    def values(self, z: FloatArray) -> FloatArray:
        """Objectives J, shape (k,)."""
        z = np.atleast_2d(z)
        return np.asarray(self.losses(z) + 0.5 * self.weight * np.sum(z * z, axis=1))

    def losses_and_slopes(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Losses, shape (k,), and their gradients by z through the run, shape (k, dimension)."""
        z = np.atleast_2d(z)
        x, kept = self.states(z), []

        def summed(end: Array) -> Any:
            found = self.loss(end)
            values, slopes = self.numbers_of(found, end)
            kept.append(values)
            return found.sum() if slopes is None else (found[0].sum(), slopes)

        found = gradient(self.plan, self.model, x, summed)
        self.spent[0] += found.evaluations * int(x.shape[0])
        slope = found.x if isinstance(found.x, np.ndarray) else found.x.detach().cpu().numpy()
        level = float(self.plan.schedule.sigma(float(self.plan.times[0])))
        return kept[0], level * np.reshape(np.asarray(slope, dtype=np.float64), (len(z), -1))

    def values_and_slopes(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Objectives, shape (k,), and their gradients, shape (k, dimension)."""
        z = np.atleast_2d(z)
        values, slopes = self.losses_and_slopes(z)
        return values + 0.5 * self.weight * np.sum(z * z, axis=1), slopes + self.weight * z

    def numbers_of(self, found: Any, ends: Array) -> tuple[FloatArray, Array | None]:
        """Losses as numbers, and gradients where they were given.

        Parameters
        ----------
        found : tensor, or pair of arrays
            What the loss returned.
        ends : array, shape (k, ...)
            Of what.

        Raises
        ------
        ValueError
            If it is not one finite number for each end.
        """
        pair = isinstance(found, tuple)
        if pair and len(found) != 2:
            msg = f"loss returned {len(found)} things: return losses of shape (k,), or the pair (losses, gradients)"
            raise ValueError(msg)
        values, slopes = found if pair else (found, None)
        shape = tuple(getattr(values, "shape", ()))
        if shape != (int(ends.shape[0]),):
            msg = f"loss returned shape {shape} for {int(ends.shape[0])} ends: return one loss for each end"
            raise ValueError(msg)
        numbers = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=np.float64)
        if not np.isfinite(numbers).all():
            msg = "loss is not finite at the end of a run: give a loss that is finite there"
            raise ValueError(msg)
        return numbers, slopes


def misfit(op: Linear, y: ArrayLike, noise_std: float) -> EachLoss:
    r"""Loss :math:`|Y - A x|^2 / 2 \sigma_Y^2` of ends.

    Parameters
    ----------
    op : Linear
        The operator A.
    y : array, shape measured
        One measurement.
    noise_std : float
        Standard deviation of its noise, > 0.

    Returns
    -------
    callable
        Of arrays of any library; see :data:`EachLoss`.

    Raises
    ------
    ValueError
        If shapes do not fit, or the standard deviation is not positive.
    """
    if isinstance(noise_std, bool) or not (math.isfinite(noise_std) and noise_std > 0.0):
        msg = f"noise_std={noise_std!r}: give the standard deviation of the noise, finite and > 0"
        raise ValueError(msg)
    measured = observed(op, y)

    def loss(ends: Array) -> tuple[Array, Array]:
        xp = array_namespace(ends)
        if hasattr(ends, "detach"):
            ends = ends.detach()
        host = measured if isinstance(measured, np.ndarray) else measured.detach().cpu().numpy()
        residual = op(ends) - xp.asarray(host, dtype=ends.dtype, device=device(ends))
        values = 0.5 * xp.sum(residual * residual, axis=tuple(range(1, residual.ndim))) / noise_std**2
        return values, op.adjoint(residual) / noise_std**2

    return loss


def _mean_of(schedule: Any, like: Array) -> Any:
    """Mean of a process, in the library of an array."""
    if isinstance(schedule.mean, float | int):
        return schedule.mean
    return array_namespace(like).asarray(np.array(schedule.mean), dtype=like.dtype, device=device(like))

r"""The continuous adjoint: the equation of the flow and that of its gradient, solved towards the noise by one plan.

With :math:`\bar x = x/\alpha` and :math:`\rho = \sigma/\alpha` the flow is
:math:`d\bar x/d\rho = \varepsilon(\alpha \bar x)`. For a loss of its end,
:math:`\tilde a = \partial L/\partial \bar x` and the derivative by parameters obey

.. math:: \frac{d\tilde a}{d\rho} = -\alpha\, J^T \tilde a, \qquad
          \frac{dL}{d\theta} = -\int_{\rho_\text{end}}^{\rho_\text{start}}
          \Bigl(\frac{\partial\varepsilon}{\partial\theta}\Bigr)^T \tilde a \, d\rho, \qquad
          J = \frac{\partial\varepsilon}{\partial x}.

Written for :math:`b \propto \alpha\tilde a` and :math:`c = \alpha\, dL/d\theta`, both have the form of the flow itself:
they are states whose noise is :math:`-J^T b` and :math:`-(\partial\varepsilon/\partial\theta)^T \tilde a`. So any
plan steps the three together, in its own coordinates and with its own history: the states found again on the way
are those of the
*flow towards the noise*, not those of the run.

References
----------
Pan et al. 2024, AdjointDPM: Adjoint sensitivity method for gradient backpropagation of diffusion probabilistic models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from diffnum.coefficients.method import DENOISING
from diffnum.forms import conversion
from diffnum.grids import Grid
from diffnum.plans import Plan
from diffnum.plans.building import plan as build
from diffnum.solver import State, evaluations, numbers_for, solve
from diffnum.solver.pullbacks import Back, Loss, RunGradient, Wrt, loss_and_cotangent, without_graph
from diffnum.types import Array, Denoiser, Schedule

__all__ = ["continuous_gradient", "towards_noise"]


def towards_noise(plan: Plan) -> Plan:
    """Plan of the same method and times towards the noise.

    Raises
    ------
    ValueError
        If the plan draws noise, ends at sigma = 0 or in a denoising step, or is of no method of the catalogue.
    """
    times = plan.times
    if plan.terminal in DENOISING or not float(plan.schedule.sigma(float(times[-1]))) > 0.0:
        msg = (
            f"plan ends in the data prediction (terminal={plan.terminal!r}, t={float(times[-1]):g}), which no step "
            f"towards "
            "the noise undoes: end it at a later time with terminal='stop'"
        )
        raise ValueError(msg)
    grid = Grid(times, np.asarray(plan.schedule.half_log_snr(times)))
    try:
        return build(plan.method, plan.schedule, grid, towards="noise")
    except ValueError as error:
        msg = f"plan of {plan.method} has no counterpart towards the noise ({error}): pass one, or another way"
        raise ValueError(msg) from error


def continuous_gradient(
    plan: Plan,
    model: Denoiser,
    pull: Callable[[Array, float, Wrt], tuple[Array, Back]],
    x: Array,
    loss: Loss,
    wrt: Wrt,
    adjoint: Plan | None,
    history: Mapping[str, Array] | None,
) -> RunGradient:
    """Gradient by ``memory="continuous"`` of :func:`diffnum.solver.adjoint.gradient`, where arguments are explained."""
    if not _is_zero(plan.schedule.mean):
        msg = "memory='continuous' is for processes without a mean: use 'checkpoint' for a mean-reverting one"
        raise ValueError(msg)
    back = towards_noise(plan) if adjoint is None else adjoint
    ends = (plan.times[0], plan.times[-1])
    if (back.times[-1], back.times[0]) != ends:
        msg = (
            f"adjoint goes from t={back.times[0]:g} to {back.times[-1]:g}: it must go back from {ends[1]:g} to "
            f"{ends[0]:g}, made with plan(..., towards='noise')"
        )
        raise ValueError(msg)
    end = solve(plan, _Plain(model), x, history=history)
    value, cotangent = loss_and_cotangent(loss, end)
    alpha_start, alpha_end = (float(plan.schedule.alpha(float(t))) for t in ends)
    xp = array_namespace(x)
    shapes: dict[str, tuple[int, ...]] = {}
    if wrt != "x":
        _, product = pull(end, float(ends[1]), wrt)
        shapes = {name: tuple(found.shape) for name, found in product(0.0 * cotangent)[1].items()}
    blocks = _Blocks(tuple(x.shape), shapes)
    zeros = [xp.zeros(shape, dtype=x.dtype, device=x.device) for shape in shapes.values()]
    augmented = _Augmented(pull, model, wrt, blocks, alpha_end)
    state = augmented.go(numbers_for(back, augmented), blocks.joined([end, cotangent, *zeros]))
    _, b, *rest = blocks.parted(state)
    named = {name: part / alpha_start for name, part in zip(shapes, rest, strict=True)}
    count = plan.nfe + back.nfe + (wrt != "x")
    return RunGradient(value, end, b * (alpha_end / alpha_start) ** 2, named, count, (1, 1))


class _Plain:
    """A model whose predictions keep no graph."""

    def __init__(self, model: Denoiser) -> None:
        self.model, self.prediction, self.schedule = model, model.prediction, model.schedule

    def __call__(self, x: Array, t: Any) -> Array:
        return without_graph(self.model(x, t))


@dataclass(frozen=True)
class _Blocks:
    """How states, adjoint and derivatives by name lie in one row."""

    shape: tuple[int, ...]
    named: Mapping[str, tuple[int, ...]]

    def joined(self, parts: list[Array]) -> Array:
        """One row, shape (1, total)."""
        xp = array_namespace(parts[0])
        return xp.concat([xp.reshape(part, (1, -1)) for part in parts], axis=1)

    def parted(self, row: Array) -> list[Array]:
        """The blocks of a row."""
        shapes = [self.shape, self.shape, *self.named.values()]
        edges = np.cumsum([0, *(prod(shape) for shape in shapes)]).tolist()
        xp = array_namespace(row)
        return [xp.reshape(row[0, a:b], s) for a, b, s in zip(edges[:-1], edges[1:], shapes, strict=True)]


@dataclass(frozen=True, eq=False)
class _Augmented:
    """The flow with its adjoint, as a model that predicts noise."""

    pull: Callable[[Array, float, Wrt], tuple[Array, Back]]
    inner: Denoiser
    wrt: Wrt
    blocks: _Blocks
    alpha_end: float
    prediction: Any = "noise"

    @property
    def schedule(self) -> Schedule:
        """Schedule of the model."""
        return self.inner.schedule

    def __call__(self, x: Array, t: Any) -> Array:
        """Noise of the states, and what takes its place for the adjoint."""
        x, b, *_ = self.blocks.parted(x)
        alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        p, q = (float(f) for f in conversion(self.inner.prediction, "noise", alpha, sigma))
        value, back = self.pull(x, t, self.wrt)
        pulled, named = back(b)
        shares = [-q * self.alpha_end**2 / alpha * named[name] for name in self.blocks.named]
        return self.blocks.joined([p * x + q * value, -(p * b + q * pulled), *shares])

    def go(self, plan: Plan, row: Array) -> Array:
        """Last row of a run."""
        run, reply = evaluations(plan, row), None
        for _ in range(len(plan)):
            event: Any = run.send(reply)
            while not isinstance(event, State):
                event = run.send(self(event.x, event.t))
            row, reply = event.x, None
        return row


def _is_zero(mean: Any) -> bool:
    """Whether a process has no mean."""
    return isinstance(mean, float | int) and mean == 0

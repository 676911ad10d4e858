r"""Densities of the steps of a stochastic plan, as reinforcement learning wants them.

A step that draws its noise after all its evaluations sends a state to a Gaussian,

.. math:: p(y_{n+1} \mid y_n) = N(\mu(y_n), s_n^2), \qquad
          \log p = -\frac{|y_{n+1} - \mu|^2}{2 s_n^2} - d \log s_n - \frac d2 \log 2\pi ,

with the mean that the loop computes without noise, and a deviation that is a number of the plan. With several steps of
memory the same holds given the history. The log-density is the sum over the d entries of a sample: its mean, which some
codes take, is that of no density, and its ratios are d-th roots of importance weights.

*Ratios.* Two log-densities are of size d, and their difference may be of size 1/1000: subtracted in float32 they leave
an error of about ``eps d`` in its place. :meth:`Transition.log_ratio` takes the difference first,

.. math:: \log \frac{p_\theta}{p_0} = \frac{(\mu_\theta - \mu_0) \cdot (2 y_{n+1} - \mu_\theta - \mu_0)}{2 s_n^2},

which is as good as the means are; with a state or means in half precision, no form is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from diffnum.plans import Plan
from diffnum.solver import State, Trajectory, iterate
from diffnum.solver.combining import on
from diffnum.tableau import Tableau
from diffnum.types import Array, Denoiser

__all__ = ["Transition", "trajectory_log_prob", "trajectory_log_ratio", "transition"]


@dataclass(frozen=True, eq=False)
class Transition:
    """Law of the next state, given this one and the history.

    Parameters
    ----------
    step : int
        Number of the step in the plan.
    mean : array, shape (batch, ...)
        Mean, at least in float32.
    std : float or ndarray
        Standard deviation of each entry, > 0; an array of the shape of a sample where the plan has such weights.
    """

    step: int
    mean: Array
    std: Any

    def log_prob(self, x_next: Array) -> Array:
        """Log-density of a next state, the sum over the entries of each sample, shape (batch,); natural log.

        Raises
        ------
        ValueError
            If ``x_next`` has another shape.
        """
        z = self.draw(x_next)
        entries = math.prod(z.shape[1:])
        constant = 0.5 * entries * math.log(2 * math.pi) + float(
            np.sum(np.log(np.broadcast_to(self.std, tuple(z.shape[1:]))))
        )
        return -0.5 * _summed(z * z) - constant

    def draw(self, x_next: Array) -> Array:
        """Standard normal draw with which the step makes ``x_next``, ``(x_next - mean)/std``."""
        return (self._checked(x_next) - self.mean) * _on(self.mean, 1.0 / np.asarray(self.std))

    def sample(self, z: Array) -> Array:
        """Next state from a standard normal draw of the shape of the mean."""
        return self.mean + _on(self.mean, self.std) * self._checked(z)

    def log_ratio(self, other: Transition, x_next: Array) -> Array:
        r""":math:`\log p_{self}(x) - \log p_{other}(x)`, shape (batch,), without the difference of two large numbers.

        Its exponential is the importance weight of PPO and GRPO.

        Parameters
        ----------
        other : Transition
            The same step of the same plan with another model, from the same state.
        x_next : array
            State that was reached.

        Raises
        ------
        ValueError
            If the two are not of one step and shape.
        """
        x = self._compatible(other, x_next)
        change = self.mean - other.mean
        scale = _on(self.mean, 0.5 / np.asarray(self.std) ** 2)
        return _summed(scale * change * ((x - self.mean) + (x - other.mean)))

    def kl(self, other: Transition) -> Array:
        """Kullback-Leibler divergence KL(self || other) in nats, shape (batch,): two Gaussians of one deviation.

        Raises
        ------
        ValueError
            If the two are not of one step and shape.
        """
        self._compatible(other, other.mean)
        change = (self.mean - other.mean) * _on(self.mean, 1.0 / np.asarray(self.std))
        return 0.5 * _summed(change * change)

    def _checked(self, x: Array) -> Array:
        if getattr(x, "shape", None) != self.mean.shape:
            msg = f"x_next has shape {getattr(x, 'shape', type(x).__name__)}: the step makes {tuple(self.mean.shape)}"
            raise ValueError(msg)
        return _as(x, self.mean.dtype)

    def _compatible(self, other: Transition, x: Array) -> Array:
        if not np.array_equal(self.std, other.std) or self.step != other.step:
            msg = (
                f"other is step {other.step} with std={other.std}, this is step {self.step} with std={self.std}: "
                "compare two models on one step of one plan"
            )
            raise ValueError(msg)
        other._checked(self.mean)
        return self._checked(x)


def transition(
    plan: Plan, i: int, model: Denoiser, x: Array | State, *, history: Mapping[str, Array] | None = None
) -> Transition:
    """Law of the state after a step of a stochastic plan.

    Parameters
    ----------
    plan : Plan
        Numbers of a run; its model may predict anything.
    i : int
        Step, from 0; negative ones count from the end.
    model : Denoiser
        Called as ``model(x, t)``, as often as the step evaluates it; gradients flow where it has them.
    x : array, shape (batch, ...), or State
        State before the step. States in half precision are shown to the model as they are; mean and density are
        computed in float32.
    history : mapping of str to array, optional
        What a method with memory hands to the step (``m1``, ...); or pass the :class:`~diffnum.solver.State` that
        :func:`diffnum.iterate` yields.

    Returns
    -------
    Transition

    Raises
    ------
    IndexError
        If there is no such step.
    ValueError
        If the step draws nothing, or its noise goes through the model, so that the next state is not Gaussian; and as
        :func:`diffnum.iterate`.

    Examples
    --------
    >>> import numpy as np
    >>> import diffnum as dn
    >>> flow = dn.schedules.FlowMatching(shift=3.0)
    >>> grid = dn.grids.uniform_time(flow, n=8, t_start=0.95, t_end=0.05)
    >>> numbers = dn.plan("flow_sde_0.7", flow, grid)
    >>> model = dn.Gaussian(np.zeros(2), np.ones(2)).denoiser(flow, "velocity")
    >>> step = dn.transition(numbers, 0, model, np.ones((1, 2)))
    >>> bool(step.log_prob(step.mean)[0] > step.log_prob(step.mean + step.std)[0])
    True
    """
    if not -len(plan) <= i < len(plan):
        msg = f"i={i} is no step of a plan of {len(plan)} steps: use 0 to {len(plan) - 1}"
        raise IndexError(msg)
    i %= len(plan)
    std = _deviation(plan, i)
    if isinstance(x, State):
        history, x = {n: v for n, v in x.vectors.items() if n != "x"} | dict(history or {}), x.vectors["x"]
    wide = _wide(x)
    vectors = {"x": _as(x, wide), **{name: _as(v, wide) for name, v in (history or {}).items()}}
    missing = [name for name in plan[i].inputs if name not in vectors and name != "one"]
    if missing:
        msg = (
            f"history lacks {', '.join(missing)}, which {plan.method!r} hands to step {i}: pass the State that "
            "dn.iterate yields, or history={...}"
        )
        raise ValueError(msg)
    state = State(i, plan[i].t_from, {name: vectors[name] for name in plan[i].inputs if name in vectors})
    found = next(iterate(plan[i : i + 1], _shown(model, x.dtype, wide), state, noise=_silence))
    return Transition(i, found.x, std)


def trajectory_log_prob(
    plan: Plan, model: Denoiser, states: Trajectory | Sequence[Array], *, steps: Sequence[int] | None = None
) -> Array:
    """Log-density of a trajectory given its first state: the sum over the steps that draw noise, shape (batch,).

    Parameters
    ----------
    plan, model
        As in :func:`transition`.
    states : Trajectory or sequence of array
        All states of the run, one more than steps: ``dn.solve(..., return_trajectory=True)``.
    steps : sequence of int, optional
        Steps that count, by default all that draw noise (those of a window, where noise is drawn in one only).

    Returns
    -------
    Array

    Raises
    ------
    ValueError
        If the number of states is not that of the plan, or a step has no density.
    """
    terms = [t.log_prob(x) for t, x in _along(plan, model, states, steps)]
    return sum(terms[1:], terms[0])


def trajectory_log_ratio(
    plan: Plan,
    model: Denoiser,
    reference: Denoiser,
    states: Trajectory | Sequence[Array],
    *,
    steps: Sequence[int] | None = None,
) -> Array:
    """Log of the importance weight of a trajectory, of ``model`` over ``reference``, shape (batch,).

    Parameters
    ----------
    plan, states, steps
        As in :func:`trajectory_log_prob`.
    model, reference : Denoiser
        The model in training, and the one that made the trajectory.

    Returns
    -------
    Array
    """
    pairs = zip(_along(plan, model, states, steps), _along(plan, reference, states, steps), strict=True)
    terms = [new.log_ratio(old, x) for (new, x), (old, _) in pairs]
    return sum(terms[1:], terms[0])


# -- parts -----------------------------------------------------------------------------------------------------


def _along(
    plan: Plan, model: Denoiser, states: Trajectory | Sequence[Array], steps: Sequence[int] | None
) -> Iterator[tuple[Transition, Array]]:
    """Steps with a density along a run, each with the state that was reached."""
    x = states.x if isinstance(states, Trajectory) else tuple(states)
    if len(x) != len(plan) + 1:
        msg = f"states has {len(x)} entries: a run of {len(plan)} steps has {len(plan) + 1}, the first one included"
        raise ValueError(msg)
    chosen = [i for i, step in enumerate(plan.steps) if _draws(step)] if steps is None else sorted(set(steps))
    if not chosen:
        msg = (
            f"plan: {plan.method!r} draws no noise in any step, so that a trajectory has no density: use one that does"
        )
        raise ValueError(msg)
    if all(step.inputs == ("x",) for step in plan.steps):
        for i in chosen:
            yield transition(plan, i, model, x[i]), x[i + 1]
        return
    deviations = {i: _deviation(plan, i) for i in chosen}
    wide = _wide(x[0])
    run = iterate(plan, _shown(model, x[0].dtype, wide), _as(x[0], wide), noise=_silence)
    state = next(run)
    for i in range(chosen[-1] + 1):
        if i in deviations:
            yield Transition(i, state.x, deviations[i]), x[i + 1]
        if i < chosen[-1]:  # the run goes on from the state that was reached
            state = run.send(state._replace(vectors={**state.vectors, "x": _as(x[i + 1], wide)}))


def _draws(step: Tableau) -> bool:
    """Whether a step puts noise into the state."""
    return bool(step.noises) and bool(np.any(step.noise[step.outputs.index("x")]))


def _deviation(plan: Plan, i: int) -> Any:
    """Standard deviation of a step's noise.

    Raises
    ------
    ValueError
        If there is none, or the noise enters an evaluation.
    """
    step: Tableau = plan[i]
    if not any(_draws(one) for one in plan.steps):
        msg = f"plan: {plan.method!r} is deterministic, so that its steps have no density: use a stochastic method"
        raise ValueError(msg)
    if step.stage_noise.size and np.any(step.stage_noise):
        msg = (
            f"i={i}: {plan.method!r} evaluates the model at a state that has the step's noise already, so that the "
            "next state is not Gaussian: use a method that draws after its evaluations"
        )
        raise ValueError(msg)
    if not _draws(step):
        last = ", as the last step to the data does; codes that go on there clamp std at 1e-6, or draw noise that stays"
        msg = f"i={i}: the step draws nothing (std = 0){last if i == len(plan) - 1 else ''}: leave it out of the sum"
        raise ValueError(msg)
    weights = step.noise[step.outputs.index("x")]
    std = np.sqrt(np.sum(weights * weights, axis=0))
    if not np.all(std > 0):
        msg = f"i={i}: some entries draw nothing (std = 0): leave them out, they have no density"
        raise ValueError(msg)
    return float(std) if std.ndim == 0 else std


def _silence(step: int, index: int, like: Array) -> Array:  # noqa: ARG001
    """Noise of mean and history: none."""
    return 0.0 * like


class _AtItsPrecision:
    """A model that is shown states in its own precision, and answers in a wider one."""

    def __init__(self, model: Denoiser, narrow: Any, wide: Any) -> None:
        self.model, self.narrow, self.wide = model, narrow, wide
        self.prediction, self.schedule = model.prediction, model.schedule

    def __call__(self, x: Array, t: Any) -> Array:
        return _as(self.model(_as(x, self.narrow), t), self.wide)


def _shown(model: Denoiser, narrow: Any, wide: Any) -> Denoiser:
    return model if narrow == wide else _AtItsPrecision(model, narrow, wide)


def _wide(x: Array) -> Any:
    """Dtype of densities: that of the state, at least float32."""
    xp = array_namespace(x)
    return xp.float32 if xp.finfo(x.dtype).bits < xp.finfo(xp.float32).bits else x.dtype


def _as(x: Array, dtype: Any) -> Array:
    return x if x.dtype == dtype else array_namespace(x).astype(x, dtype)


def _on(like: Array, value: Any) -> Any:
    """Number, or array beside one sample."""
    return float(value) if np.ndim(value) == 0 else on(like, value)


def _summed(x: Array) -> Array:
    """Sum over the entries of each sample."""
    return array_namespace(x).sum(x.reshape(x.shape[0], -1), axis=1)

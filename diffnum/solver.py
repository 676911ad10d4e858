"""The one sampling loop: linear combinations and model calls, nothing else.

It uses only ``+`` and ``*``, so that numpy arrays and torch tensors go through unchanged, on whatever device they
live and with gradients where they are wanted. Between steps there is no state but a dictionary of named arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, overload

from array_api_compat import array_namespace, device, is_array_api_obj

from diffnum.plans import Plan
from diffnum.types import Array, Denoiser

__all__ = ["State", "Trajectory", "iterate", "solve"]

Noise = Callable[[int, int, Array], Array]
"""``noise(step, index, like)``: standard normal draw number ``index`` of a step, shaped like ``like``."""


@dataclass(frozen=True)
class State:
    """Everything that one step hands to the next.

    Parameters
    ----------
    step : int
        Number of steps done since the start of the plan that produced it.
    t : float
        Time of the state.
    vectors : mapping of str to array
        The state ``x`` and the history, by name; save them to resume.
    """

    step: int
    t: float
    vectors: Mapping[str, Array]

    @property
    def x(self) -> Array:
        """The sample, shape (batch, ...)."""
        return self.vectors["x"]


@dataclass(frozen=True)
class Trajectory:
    """All states of a run.

    Parameters
    ----------
    t : tuple of float
        Times, from the first to the last.
    x : tuple of array
        States at these times.
    """

    t: tuple[float, ...]
    x: tuple[Array, ...]


def iterate(
    plan: Plan,
    model: Denoiser,
    x: Array | State,
    *,
    history: Mapping[str, Array] | None = None,
    noise: Noise | None = None,
) -> Iterator[State]:
    """Yield the state after each step of a plan.

    Parameters
    ----------
    plan : Plan
        Numbers of the run.
    model : Denoiser
        Called as ``model(x, t)``; any prediction (the conversion is folded into the weights).
    x : array, shape (batch, ...), or State
        Initial sample at the plan's first time, or the state where an earlier part of the run stopped.
    history : mapping of str to array, optional
        Exact evaluations that :attr:`Plan.history` asks for, in the plan's prediction.
    noise : callable, optional
        Source of noise for stochastic methods, ``noise(step, index, like)``.

    Raises
    ------
    TypeError
        If ``x`` is no floating-point array.
    ValueError
        If the history is incomplete, noise is needed and not given, or the model returns an array of another
        shape, or one that is not finite (the step and the sample are named).
    """
    if isinstance(x, State):
        vectors, first = dict(x.vectors), x.step
    else:
        _check_input(x)
        vectors, first = {"x": x, **(history or {})}, 0
    missing = set(plan.steps[0].inputs) - set(vectors) if plan.steps else set()
    if missing:
        raise ValueError(
            f"history lacks {', '.join(sorted(missing))}: pass the exact evaluations at the times plan.history, "
            "or a State from the part of the run before"
        )
    like = vectors["x"]
    mean = _on(like, plan.schedule.mean)
    numbers = plan.for_prediction(model.prediction)
    for i, (tableau, rows) in enumerate(zip(numbers.steps, numbers.programme, strict=True)):
        index = first + i
        values = {name: vectors[name] for name in tableau.inputs}
        if mean is not None:
            values["x"] = values["x"] - mean
        for j, name in enumerate(tableau.noises):
            if noise is None:
                raise ValueError(f"noise=None: {plan.method} is stochastic, pass noise=... or a seed")
            values[name] = noise(index, j, like)
        stage_t = tableau.stage_t.tolist()
        outputs = {}
        for number, (target, row) in enumerate(rows):
            value = _combine(row, values, like)
            if number < len(stage_t):
                values[target] = _evaluate(model, value, stage_t[number], mean, index)
            else:
                outputs[target] = value
        if mean is not None:
            outputs["x"] = outputs["x"] + mean
        vectors = outputs
        yield State(index + 1, tableau.t_to, vectors)


@overload
def solve(
    plan: Plan,
    model: Denoiser,
    x: Array | State,
    *,
    history: Mapping[str, Array] | None = ...,
    noise: Noise | None = ...,
    callback: Callable[[State], object] | None = ...,
    return_trajectory: Literal[False] = ...,
) -> Array: ...
@overload
def solve(
    plan: Plan,
    model: Denoiser,
    x: Array | State,
    *,
    history: Mapping[str, Array] | None = ...,
    noise: Noise | None = ...,
    callback: Callable[[State], object] | None = ...,
    return_trajectory: Literal[True],
) -> Trajectory: ...
def solve(
    plan: Plan,
    model: Denoiser,
    x: Array | State,
    *,
    history: Mapping[str, Array] | None = None,
    noise: Noise | None = None,
    callback: Callable[[State], object] | None = None,
    return_trajectory: bool = False,
) -> Array | Trajectory:
    """Run a plan to its end.

    Parameters
    ----------
    plan, model, x, history, noise
        As in :func:`iterate`.
    callback : callable, optional
        Called with the :class:`State` after each step.
    return_trajectory : bool
        Return all states instead of the last one.

    Returns
    -------
    array, shape of ``x``, or Trajectory

    Examples
    --------
    >>> import diffnum as dn
    >>> schedule = dn.schedules.VPLinear()
    >>> model = dn.problems.three_peaks().denoiser(schedule)
    >>> grid = dn.grids.uniform_half_log_snr(schedule, n=10, t_start=1.0, t_end=1e-3)
    >>> x = dn.solve(dn.plan("dpmpp_2m", schedule, grid), model, np.array([[0.3]]))
    """
    start = x.vectors["x"] if isinstance(x, State) else x
    times = [x.t if isinstance(x, State) else plan.steps[0].t_from if plan.steps else 0.0]
    states = [start]
    last = start
    for state in iterate(plan, model, x, history=history, noise=noise):
        last = state.x
        if callback is not None:
            callback(state)
        if return_trajectory:
            times.append(state.t)
            states.append(last)
    return Trajectory(tuple(times), tuple(states)) if return_trajectory else last


def _combine(row: Mapping[str, Any], values: Mapping[str, Array], like: Array) -> Array:
    """Linear combination of named arrays."""
    total = None
    for name, weight in row.items():
        if not isinstance(weight, float):
            weight = _on(like, weight)
        term = values[name] if isinstance(weight, float) and weight == 1.0 else weight * values[name]
        total = term if total is None else total + term
    return 0.0 * like if total is None else total


def _evaluate(model: Denoiser, x: Array, t: float, mean: Array | None, step: int) -> Array:
    """Call the model, shifted by the mean of a mean-reverting process, and check what it returns."""
    value = model(x if mean is None else x + mean, t)
    if getattr(value, "shape", None) != x.shape:
        raise ValueError(
            f"model returned shape {getattr(value, 'shape', type(value).__name__)} at step {step}, t={t:g}: "
            f"it must return an array of the shape of x, {tuple(x.shape)}"
        )
    if mean is not None and model.prediction in ("data", "velocity"):
        value = value - mean if model.prediction == "data" else value + mean
    return value


def _check_input(x: Any) -> None:
    """Refuse what is not a floating-point array."""
    if not is_array_api_obj(x):
        raise TypeError(
            f"x is a {type(x).__name__}: pass a numpy array or a torch tensor, shape (batch, ...)"
        )
    if not array_namespace(x).isdtype(x.dtype, "real floating"):
        raise TypeError(f"x has dtype {x.dtype}: convert it to a floating-point type, such as float64")


def _on(like: Array, value: Any) -> Array | None:
    """Constant array in the namespace, dtype and device of ``like``; None for a zero mean."""
    if isinstance(value, int | float) and value == 0:
        return None
    return array_namespace(like).asarray(value, dtype=like.dtype, device=device(like))

"""The one sampling loop: linear combinations and model calls, nothing else.

It uses only ``+`` and ``*`` (both at once, ``add(..., alpha=...)``, where the array has it), so that numpy arrays and
torch tensors go through unchanged, on whatever device they live and with gradients where they are wanted. Between
steps there is no state but a dictionary of named arrays. No number is read back from the arrays, so that nothing waits
for their device.

The loop is written from the inside out: :func:`evaluations` asks for the model's values and is told them. :func:`solve`
and :func:`iterate` answer with a model; a host that calls the network itself, such as a pipeline, answers by itself.
After each step the loop shows the :class:`State` and goes on from the one that is sent back, if one is: the one hook
for whatever alters states between steps, such as resampling, corrections by Markov chains, projections, repainting.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, overload

from array_api_compat import array_namespace, is_array_api_obj

from diffnum.forms import PREDICTIONS
from diffnum.jobs.checked import check_model
from diffnum.plans import Plan
from diffnum.plans.found import warn_if_found_elsewhere
from diffnum.solver.combining import Combine, Group, Rows, combinations, is_state, on
from diffnum.solver.finite import first_bad_sample, is_finite
from diffnum.solver.noise import SampleStreams
from diffnum.types import Array, Denoiser

__all__ = [
    "Combine",
    "Evaluation",
    "Events",
    "Group",
    "Noise",
    "Rows",
    "State",
    "Trajectory",
    "combinations",
    "evaluations",
    "is_state",
    "iterate",
    "numbers_for",
    "solve",
]

Noise = Callable[[int, int, Array], Array]
"""``noise(step, index, like)``: standard normal draw number ``index`` of a step, shaped like ``like``."""


class Evaluation(NamedTuple):
    """What the loop wants to be told: the model at a state.

    Parameters
    ----------
    x : array, shape (batch, ...)
        Where the model is to be called.
    t : float
        When.
    step : int
        Number of the step that asks, counted from the start of the plan that produced the state.
    """

    x: Array
    t: float
    step: int


class State(NamedTuple):
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


Events: TypeAlias = Generator[Evaluation | State, Any, None]
"""A run: yields questions, which are answered by arrays, and states, which may be answered by altered ones."""


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
    combine: Combine | None = None,
) -> Generator[State, State | None, None]:
    """Yield the state after each step of a plan; arguments are checked at the call, before the first step.

    A ``for`` loop sees the states. A host that calls ``send(altered)`` instead of ``next`` lets the run go on from the
    altered state, which has the step, time and vectors of the one that it saw, in arrays like those.

    Parameters
    ----------
    plan : Plan
        Numbers of the run.
    model : Denoiser
        Called as ``model(x, t)``; any prediction (the conversion is folded into the weights).
    x : array, shape (batch, ...), or State
        Initial sample at the plan's first time, or the state where an earlier part of the run stopped.
    history : mapping of str to array, optional
        Exact evaluations that :attr:`Plan.history` asks for, in the prediction :attr:`Plan.history_prediction`.
    noise : callable, optional
        Source of noise for stochastic methods, ``noise(step, index, like)``.
    combine : callable, optional
        Another way to compute the linear combinations, such as :func:`diffnum.models.fused`. If it reuses its memory, a
        state is good until the next step only.

    Returns
    -------
    generator

    Raises
    ------
    TypeError
        If ``x`` is no floating-point array.
    ValueError
        If ``x`` has no batch axis, the model has another schedule, the history is incomplete or of another shape, a
        State begins elsewhere, noise is needed and not given, or the model returns an array of another shape.
    """
    return _answered(evaluations(numbers_for(plan, model), x, history=history, noise=noise, combine=combine), model)


def numbers_for(plan: Plan, model: Denoiser) -> Plan:
    """Plan for what a model predicts, once it is sure that the two belong together.

    Parameters
    ----------
    plan : Plan
        In any prediction.
    model : Denoiser
        What will be run.

    Returns
    -------
    Plan
        In the model's prediction.

    Raises
    ------
    ValueError
        If the model has another schedule.
    """
    _check_plan(plan)
    check_model(model)
    if getattr(model, "schedule", plan.schedule) != plan.schedule:
        msg = f"model has the schedule {model.schedule!r}, the plan {plan.schedule!r}: make the plan on model.schedule"
        raise ValueError(msg)
    warn_if_found_elsewhere(plan, model)
    return plan.for_prediction(model.prediction) if plan.steps else plan


def _check_plan(plan: Any) -> None:
    """Refuse what is no plan, such as the name of a method."""
    if not isinstance(plan, Plan):
        msg = f"plan={plan!r} is a {type(plan).__name__}: pass dn.plan(method, schedule, grid)"
        raise TypeError(msg)


def _answered(run: Events, model: Denoiser) -> Generator[State, State | None, None]:
    """States of a run whose questions a model answers."""
    reply: Any = None
    while True:
        try:
            event = run.send(reply)
        except StopIteration:
            return
        reply = (yield event) if isinstance(event, State) else model(event.x, event.t)


def evaluations(
    plan: Plan,
    x: Array | State,
    *,
    history: Mapping[str, Array] | None = None,
    noise: Noise | None = None,
    combine: Combine | None = None,
) -> Events:
    """The loop for hosts that call the model themselves; arguments are checked at the call.

    Each :class:`Evaluation` that it yields is to be answered by ``send`` with the model's value. After each step it
    yields the :class:`State`, and goes on at ``next``, or from another state at ``send(altered)``: of the same step and
    time, with the same vectors, in arrays of the same shape and dtype that share no memory with each other.

    Parameters
    ----------
    plan : Plan
        Numbers of the run; answers are read as :attr:`Plan.prediction`.
    x, history, noise, combine
        As in :func:`iterate`.

    Returns
    -------
    Events

    Raises
    ------
    ValueError
        If the plan draws noise and none is given.

    Examples
    --------
    >>> import diffnum as dn
    >>> schedule = dn.schedules.VPLinear()
    >>> model = dn.problems.three_peaks().denoiser(schedule)
    >>> grid = dn.grids.uniform_half_log_snr(schedule, n=10, t_start=1.0, t_end=1e-3)
    >>> run = evaluations(dn.plan("dpmpp_2m", schedule, grid), np.array([[0.3]]))
    >>> event = next(run)
    >>> for _ in range(10):
    ...     state = run.send(model(event.x, event.t))
    ...     event = next(run, None)
    """
    if not plan.steps:
        return _nothing()
    vectors, first = _begin(plan, x, history)
    _check_elements(plan, vectors["x"])
    if noise is None and any(step.noises for step in plan.steps):
        msg = f"noise=None: {plan.method} is stochastic, pass solve(seed=...) or noise=..."
        raise ValueError(msg)
    return _steps(plan, vectors, first, noise, combine or combinations)


def _nothing() -> Events:
    """A run without steps."""
    yield from ()


def _steps(plan: Plan, vectors: Mapping[str, Array], first: int, noise: Noise | None, combine: Combine) -> Events:
    """Steps of a run whose arguments have been checked."""
    like = vectors["x"]
    shape = like.shape
    mean = _mean_on(plan, like)
    parts = zip(plan.steps, plan.stages, combine(plan, like), strict=True)
    for index, (tableau, stages, (before, after)) in enumerate(parts, first):
        values: dict[str, Any] = {**vectors, "one": 1.0}
        if mean is not None:
            values["x"] = values["x"] - mean
        if noise is not None:
            values |= {name: noise(index, j, like) for j, name in enumerate(tableau.noises)}
        for number, (t, alpha, sigma) in enumerate(stages):
            name, stage = f"k{number + 1}", before[number]
            at = values["x"] if stage is None else stage(values)[name]
            answer = yield Evaluation(at if mean is None else at + mean, t, index)
            if getattr(answer, "shape", None) != shape:
                msg = (
                    f"model returned shape {getattr(answer, 'shape', type(answer).__name__)} at step {index}, t={t:g}: "
                    f"it must return an array of the shape of x, {tuple(shape)}"
                )
                raise ValueError(msg)
            if mean is not None:  # the part of x_0 moves with the mean
                answer = answer - PREDICTIONS[plan.prediction](alpha, sigma)[0] * mean
            values[name] = answer
        vectors = after(values)
        if mean is not None:
            vectors = {**vectors, "x": vectors["x"] + mean}
        state = State(index + 1, tableau.t_to, vectors)
        reply = yield state
        if reply is not None:
            vectors = _accepted(reply, state)


def _accepted(reply: Any, state: State) -> Mapping[str, Array]:
    """Vectors of a state that was sent back, checked against the one that was shown."""
    if not isinstance(reply, State):
        msg = (
            f"reply is a {type(reply).__name__}: after a step send a State, such as state._replace(vectors=...), or "
            "nothing"
        )
        raise TypeError(msg)
    if (reply.step, reply.t) != (state.step, state.t):
        msg = (
            f"reply is at step {reply.step}, t={reply.t:g}, the run at step {state.step}, t={state.t:g}: "
            "alter the state that was yielded last"
        )
        raise ValueError(msg)
    if set(reply.vectors) != set(state.vectors):
        msg = f"reply has the vectors {', '.join(sorted(reply.vectors))}: pass {', '.join(sorted(state.vectors))}"
        raise ValueError(msg)
    for name, vector in reply.vectors.items():
        own = state.vectors[name]
        if getattr(vector, "shape", None) != own.shape or vector.dtype != own.dtype:
            dtype = getattr(vector, "dtype", type(vector).__name__)
            msg = (
                f"reply.vectors[{name!r}] has shape {getattr(vector, 'shape', None)} and dtype {dtype}: "
                f"it must be an array like the one that was yielded, {tuple(own.shape)} {own.dtype}"
            )
            raise ValueError(msg)
    return reply.vectors


@overload
def solve(
    plan: Plan,
    model: Denoiser,
    x: Array | State,
    *,
    history: Mapping[str, Array] | None = ...,
    noise: Noise | None = ...,
    seed: int | None = ...,
    callback: Callable[[State], object] | None = ...,
    combine: Combine | None = ...,
    return_trajectory: Literal[False] = ...,
    check_finite: bool = ...,
) -> Array: ...
@overload
def solve(
    plan: Plan,
    model: Denoiser,
    x: Array | State,
    *,
    history: Mapping[str, Array] | None = ...,
    noise: Noise | None = ...,
    seed: int | None = ...,
    callback: Callable[[State], object] | None = ...,
    combine: Combine | None = ...,
    return_trajectory: Literal[True],
    check_finite: bool = ...,
) -> Trajectory: ...
def solve(
    plan: Plan,
    model: Denoiser,
    x: Array | State,
    *,
    history: Mapping[str, Array] | None = None,
    noise: Noise | None = None,
    seed: int | None = None,
    callback: Callable[[State], object] | None = None,
    combine: Combine | None = None,
    return_trajectory: bool = False,
    check_finite: bool = True,
) -> Array | Trajectory:
    """Run a plan to its end.

    Parameters
    ----------
    plan, model, x, history, noise, combine
        As in :func:`iterate`.
    seed : int, optional
        Seed of a stochastic method, in place of ``noise``: each sample has a stream of its own, whatever the batch.
    callback : callable, optional
        Called with the :class:`State` after each step.
    return_trajectory : bool
        Return all states instead of the last one.
    check_finite : bool
        Look once, at the end, whether the sample is finite; only if it is not, the run is repeated to find the
        step. Switch off where even one look is too many (capturing a CUDA graph).

    Returns
    -------
    array, shape of ``x``, or Trajectory

    Raises
    ------
    ValueError
        As :func:`iterate`; and if the sample is not finite, naming the step and the sample where it first was not.

    Examples
    --------
    >>> import diffnum as dn
    >>> schedule = dn.schedules.VPLinear()
    >>> model = dn.problems.three_peaks().denoiser(schedule)
    >>> grid = dn.grids.uniform_half_log_snr(schedule, n=10, t_start=1.0, t_end=1e-3)
    >>> x = dn.solve(dn.plan("dpmpp_2m", schedule, grid), model, np.array([[0.3]]))
    """
    _check_plan(plan)
    start = x.vectors["x"] if isinstance(x, State) else x
    times = [x.t if isinstance(x, State) else plan.steps[0].t_from if plan.steps else 0.0]
    states = [start]
    last = start
    if seed is not None:
        if noise is not None:
            msg = f"seed={seed} and noise=...: give one of the two"
            raise ValueError(msg)
        noise = SampleStreams(seed)
    for state in iterate(plan, model, x, history=history, noise=noise, combine=combine):
        last = state.x
        if callback is not None:
            callback(state)
        if return_trajectory:
            times.append(state.t)
            states.append(last if combine is None else 1.0 * last)  # its memory may be used again
    if check_finite and not is_finite(last):
        _blame(plan, model, x, history, noise)
    return Trajectory(tuple(times), tuple(states)) if return_trajectory else last


def _blame(
    plan: Plan, model: Denoiser, x: Array | State, history: Mapping[str, Array] | None, noise: Noise | None
) -> None:
    """Repeat a run that ended in NaN or infinity, and say where that began."""
    start = x.vectors["x"] if isinstance(x, State) else x
    for name, vector in {"x": start, **(history or {})}.items():
        if not is_finite(vector):
            msg = f"{name} is not finite {first_bad_sample(vector)}: pass finite numbers"
            raise ValueError(msg)
    watched = _Watched(model)
    for state in iterate(plan, watched, x, history=history, noise=noise):
        if watched.fault:
            msg = f"model returned NaN or infinity at step {state.step - 1}, {watched.fault}"
            raise ValueError(msg)
        if not is_finite(state.x):
            msg = f"the state overflows at step {state.step - 1} {first_bad_sample(state.x)}: use smaller steps"
            raise ValueError(msg)
    msg = "model returned NaN or infinity in one run and not in the next: it must be a function of (x, t)"
    raise ValueError(msg)


class _Watched:
    """A model that remembers its first value that was not finite."""

    def __init__(self, model: Denoiser) -> None:
        self.model, self.prediction, self.schedule = model, model.prediction, model.schedule
        self.fault = ""

    def __call__(self, x: Array, t: Any) -> Array:
        value = self.model(x, t)
        if not self.fault and not is_finite(value):
            self.fault = f"t={float(t):g}, {first_bad_sample(value)}"
        return value


def _begin(plan: Plan, x: Array | State, history: Mapping[str, Array] | None) -> tuple[dict[str, Array], int]:
    """Vectors that the first step finds, checked, and the number of steps done before."""
    begins = plan.steps[0].t_from
    if isinstance(x, State):
        if x.t != begins:
            msg = f"x is a State at t={x.t:g}, the plan begins at t={begins:g}: pass plan[{x.step}:]"
            raise ValueError(msg)
        vectors, done = dict(x.vectors), x.step
    else:
        _check_input(x)
        vectors, done = {"x": x}, 0
        for name, value in (history or {}).items():
            if name not in plan.steps[0].inputs:
                msg = f"history has {name!r}, the plan asks for {sorted(plan.history) or 'none'}: leave it out"
                raise ValueError(msg)
            if getattr(value, "shape", None) != x.shape or value.dtype != x.dtype:
                msg = (
                    f"history[{name!r}] has shape {getattr(value, 'shape', None)} and dtype "
                    f"{getattr(value, 'dtype', type(value).__name__)}: it must be an array like x, "
                    f"{tuple(x.shape)} {x.dtype}"
                )
                raise ValueError(msg)
            vectors[name] = value - _share_of_mean(plan, name, x) if name in plan.history else value
    missing = set(plan.steps[0].inputs) - set(vectors) - {"one"}
    if missing:
        msg = (
            f"history lacks {', '.join(sorted(missing))}: pass the exact evaluations at the times plan.history, "
            "or a State from the part of the run before"
        )
        raise ValueError(msg)
    return vectors, done


def _check_elements(plan: Plan, like: Array) -> None:
    """Refuse element-wise weights of another shape than a sample; broadcasting might hide it."""
    for element in {step.V.shape[2:] for step in plan.steps}:
        if element and element != tuple(like.shape[1:]):
            msg = (
                f"x has samples of shape {tuple(like.shape[1:])}, {plan.method} has weights for {element}: pass "
                "samples of that shape, or make the method from scalar statistics"
            )
            raise ValueError(msg)


def _mean_on(plan: Plan, like: Array) -> Array | None:
    """Mean of a mean-reverting process beside the states; None where it is zero."""
    mean = plan.schedule.mean
    return None if isinstance(mean, int | float) and mean == 0 else on(like, mean)


def _share_of_mean(plan: Plan, name: str, like: Array) -> Array | float:
    """How much of an exact evaluation is due to the mean of a mean-reverting process."""
    mean = _mean_on(plan, like)
    if mean is None:
        return 0.0
    t = plan.history[name]
    return PREDICTIONS[plan.history_prediction](plan.schedule.alpha(t), plan.schedule.sigma(t))[0] * mean


def _check_input(x: Any) -> None:
    """Refuse what is not a floating-point array."""
    if not is_array_api_obj(x):
        msg = f"x is a {type(x).__name__}: pass a numpy array or a torch tensor, shape (batch, ...)"
        raise TypeError(msg)
    if not array_namespace(x).isdtype(x.dtype, "real floating"):
        msg = f"x has dtype {x.dtype}: convert it to a floating-point type, such as float64"
        raise TypeError(msg)
    if x.ndim < 2:
        msg = f"x has shape {tuple(x.shape)}: pass a batch of samples, shape (batch, ...), such as x[None]"
        raise ValueError(msg)

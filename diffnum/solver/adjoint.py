"""Gradients through a run: of a loss of its end, by its start, by the parameters of the model, by its condition.

A step is linear but for its evaluations, so going back over it takes the transposed weights and, for each
evaluation, one product with the transposed Jacobian of the model. That is the derivative of the run that was made,
to rounding, whatever the method (the *discrete* adjoint). Four ways to find the states again on the way back
differ in memory and in evaluations, not in what comes out, but for the last:

* ``"full"``: every evaluation stays differentiable until it is gone back over;
* ``"checkpoint"``: some states are kept, and the run is repeated from them;
* ``"reversible"``: nothing is kept, the step is undone (methods that can be undone only);
* ``"continuous"``: nothing is kept, and the *equation* of the flow and that of its adjoint are solved towards the
  noise by the same method (:mod:`diffnum.solver.continuous`): the gradient of the exact flow up to the error of the
  method, not that of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.plans import Plan
from diffnum.solver import Noise, State, evaluations, is_state, numbers_for
from diffnum.solver.checkpoints import binomial, going_back, square_root
from diffnum.solver.continuous import continuous_gradient
from diffnum.solver.finite import is_finite
from diffnum.solver.noise import SampleStreams
from diffnum.solver.pullbacks import Back, Loss, RunGradient, Wrt, loss_and_cotangent, pullback_of, without_graph
from diffnum.solver.reversal import reversed_plan
from diffnum.types import Array, Denoiser

__all__ = ["Memory", "gradient"]

Memory: TypeAlias = Literal["full", "checkpoint", "reversible", "continuous"]
"""How the states are found again on the way back."""


def gradient(
    plan: Plan,
    model: Denoiser,
    x: Array,
    loss: Loss,
    *,
    wrt: Wrt = "x",
    memory: Memory = "checkpoint",
    snapshots: int | None = None,
    adjoint: Plan | None = None,
    history: Mapping[str, Array] | None = None,
    noise: Noise | None = None,
    seed: int | None = None,
) -> RunGradient:
    """Differentiate a loss of the end of a run.

    Parameters
    ----------
    plan : Plan
        Numbers of the run.
    model : Denoiser
        A model with a method ``vjp`` (exact problems), or ``pullback`` (networks of this package, and whatever
        :class:`diffnum.models.Autograd` makes of a function of tensors).
    x : array, shape (batch, ...)
        Start.
    loss : callable
        Takes the end, shape of ``x``. Returns a scalar tensor that autograd can differentiate or, for arrays without
        autograd, the pair of the value and its gradient, shape of ``x``.
    wrt : {"x", "parameters", "condition"}
        By what, besides the start.
    memory : {"checkpoint", "full", "reversible", "continuous"}
        How the states are found again; see the module.
    snapshots : int, optional
        With ``"checkpoint"``: states that may be kept at a time, placed for the fewest repetitions (binomial); about
        twice the square root of the number of steps by default, so that no step is made more than three times.
    adjoint : Plan, optional
        With ``"continuous"``: plan towards the noise, with the ends of ``plan``; by default that of the same method and
        times.
    history, noise, seed
        As in :func:`diffnum.solve`; the noise is held fixed.

    Returns
    -------
    RunGradient

    Raises
    ------
    ValueError
        If the model has no derivatives, or none by ``wrt``; if the loss is no scalar or not finite, or a derivative is
        not finite; if a name is unknown; if the plan cannot be undone (``"reversible"``) or has no counterpart towards
        the noise (``"continuous"``).
    TypeError
        If ``loss`` is no function.

    References
    ----------
    Discrete adjoint and checkpoints: Griewank and Walther 2000. Continuous: Pan et al. 2024, AdjointDPM, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> import diffnum as dn
    >>> schedule = dn.schedules.VPLinear()
    >>> model = dn.problems.three_peaks().denoiser(schedule)
    >>> grid = dn.grids.uniform_half_log_snr(
    ...     schedule, n=10, t_start=1.0, t_end=1e-3)
    >>> plan = dn.plan("dpmpp_2m", schedule, grid)
    >>> def loss(end):
    ...     return 0.5 * np.sum(end**2), end
    >>> found = dn.gradient(plan, model, np.array([[0.3]]), loss)
    >>> found.x.shape
    (1, 1)
    """
    _check_words(wrt, memory, loss, snapshots)
    if seed is not None:
        if noise is not None:
            msg = f"seed={seed} and noise=...: give one of the two"
            raise ValueError(msg)
        noise = SampleStreams(seed)
    pull = pullback_of(model, wrt)
    if memory == "continuous":
        return _checked(continuous_gradient(plan, model, pull, x, loss, wrt, adjoint, history))
    if adjoint is not None:
        msg = f"adjoint={adjoint!r} belongs to memory='continuous', and memory is {memory!r}: leave it out"
        raise ValueError(msg)
    sweep = _Sweep(numbers_for(plan, model), model, pull, wrt, x, history, noise)
    if not plan.steps:
        value, cotangent = loss_and_cotangent(loss, x)
        return RunGradient(value, x, cotangent, {}, 0, (0, 0))
    return _checked(_WAYS[memory](sweep, loss, snapshots))


def _checked(found: RunGradient) -> RunGradient:
    """The same, if it is finite: an end can be where a derivative on the way is not."""
    for name, part in {"x": found.x, **found.named}.items():
        if not is_finite(part):
            msg = f"the derivative by {name} is not finite, the end is: look at the model's derivatives on the way"
            raise ValueError(msg)
    return found


def _check_words(wrt: Any, memory: Any, loss: Any, snapshots: Any) -> None:
    """Refuse unknown names and numbers."""
    for name, value, words in (("wrt", wrt, get_args(Wrt)), ("memory", memory, get_args(Memory))):
        if value not in words:
            msg = f"{name}={value!r} is unknown: use one of {', '.join(words)}"
            raise ValueError(msg)
    if not callable(loss):
        msg = f"loss is a {type(loss).__name__}: give a function of the end of the run"
        raise TypeError(msg)
    if snapshots is None:
        return
    if memory != "checkpoint":
        msg = f"snapshots={snapshots!r} belongs to memory='checkpoint', and memory is {memory!r}: leave it out"
        raise ValueError(msg)
    if isinstance(snapshots, bool) or not isinstance(snapshots, int) or snapshots < 1:
        msg = f"snapshots={snapshots!r} is no number of states: give a whole number of at least 1"
        raise ValueError(msg)


# -- one step ------------------------------------------------------------------------------------------


class _Step(NamedTuple):
    """A step that was made, with how to go back over its evaluations."""

    number: int
    backs: Sequence[Back]


class _Sweep:
    """A run and the way back over it."""

    def __init__(
        self,
        plan: Plan,
        model: Denoiser,
        pull: Callable[[Array, float, Wrt], tuple[Array, Back]],
        wrt: Wrt,
        x: Array,
        history: Mapping[str, Array] | None,
        noise: Noise | None,
    ) -> None:
        self.plan, self.model, self.pull, self.wrt = plan, model, pull, wrt
        self.x, self.history, self.noise = x, history, noise
        self.named: dict[str, Array] = {}
        self.count, self.kept = 0, (0, 0)

    def steps(self, part: Plan, state: State | None) -> Any:
        """The loop over some steps, from a state, or from the start where that is None."""
        if state is None:
            return evaluations(part, self.x, history=self.history, noise=self.noise)
        return evaluations(part, state, noise=self.noise)

    def go(self, state: State | None, first: int, last: int) -> State | None:
        """State after the steps ``first``, ..., ``last - 1``."""
        reply: Any = None
        run = self.steps(self.plan[first:last], state)
        while first < last:
            event = run.send(reply)
            if isinstance(event, State):
                state, reply, first = event, None, first + 1
            else:
                reply = without_graph(self.model(event.x, event.t))
                self.count += 1
        return state

    def linearise(self, state: State | None, index: int, plan: Plan | None = None) -> tuple[State, _Step]:
        """State after one step of the run, or of another plan, and how to go back over its evaluations."""
        reply: Any = None
        backs: list[Back] = []
        run = self.steps((plan or self.plan)[index : index + 1], state)
        while True:
            event = run.send(reply)
            if isinstance(event, State):
                return event, _Step(index, backs)
            reply, back = self.pull(event.x, event.t, self.wrt)
            self.count += 1
            backs.append(_in_dtypes(back, reply, event.x))

    def back(self, step: _Step, cotangents: Mapping[str, Array]) -> dict[str, Array]:
        """Cotangents of what a step took, from those of what it left; those by name are summed up."""
        rows, stages = self.plan.programme[step.number], self.plan.steps[step.number].nfe
        found: dict[str, Array] = {}
        for target, row in rows[stages:]:
            _spread(found, row, cotangents.get(target))
        for number in reversed(range(stages)):
            cotangent = found.pop(f"k{number + 1}", None)
            if cotangent is None:
                continue
            at, named = step.backs[number](cotangent)
            for name, value in named.items():
                self.named[name] = self.named[name] + value if name in self.named else value
            row = {"x": 1.0} if is_state(rows[number]) else rows[number][1]
            _spread(found, row, at)
        return found

    def result(self, loss: float, end: Array, cotangents: Mapping[str, Array]) -> RunGradient:
        """What the way back has found."""
        start = cotangents.get("x")
        return RunGradient(loss, end, 0.0 * self.x if start is None else start, self.named, self.count, self.kept)

    def keeps(self, states: int, evaluations: int) -> None:
        """Remember the most that was kept."""
        self.kept = max(self.kept[0], states), max(self.kept[1], evaluations)


def _spread(found: dict[str, Array], row: Mapping[str, Any], cotangent: Array | None) -> None:
    """Add the transpose of a linear combination: what it is made of gets its weight times the cotangent."""
    if cotangent is None:
        return
    for name, weight in row.items():
        if name == "one" or name[0] == "z":
            continue
        factor = weight
        if not isinstance(weight, float):
            factor = array_namespace(cotangent).asarray(
                np.array(weight), dtype=cotangent.dtype, device=device(cotangent)
            )
        share = factor * cotangent
        found[name] = found[name] + share if name in found else share


def _in_dtypes(back: Back, value: Array, x: Array) -> Back:
    """A pullback that takes and gives what the run computes in, for models of another precision."""
    if value.dtype == x.dtype:
        return back
    xp = array_namespace(x)

    def converted(cotangent: Array) -> tuple[Array, Mapping[str, Array]]:
        at, named = back(xp.astype(cotangent, value.dtype))
        return xp.astype(at, x.dtype), named

    return converted


# -- ways ----------------------------------------------------------------------------------------------


def _full(sweep: _Sweep, loss: Loss, snapshots: int | None) -> RunGradient:  # noqa: ARG001
    """All evaluations of the run are kept differentiable."""
    state, made = None, []
    for index in range(len(sweep.plan)):
        state, step = sweep.linearise(state, index)
        made.append(step)
    last = _known(state)
    sweep.keeps(1, sum(len(step.backs) for step in made))
    value, cotangent = loss_and_cotangent(loss, last.x)
    cotangents: Mapping[str, Array] = {"x": cotangent}
    while made:
        cotangents = sweep.back(made.pop(), cotangents)
    return sweep.result(value, last.x, cotangents)


def _checkpoint(sweep: _Sweep, loss: Loss, snapshots: int | None) -> RunGradient:
    """Some states are kept."""
    steps = len(sweep.plan)
    advance, spare = (square_root(steps), steps) if snapshots is None else (binomial, snapshots - 1)
    kept: dict[int, State | None] = {0: None}
    cotangents: Mapping[str, Array] = {}
    value, end = 0.0, sweep.x
    for visit in going_back(0, steps, spare, advance):
        if visit.what == "drop":
            del kept[visit.to]
            continue
        state = sweep.go(kept[visit.kept], visit.kept, visit.to)
        if visit.what == "keep":
            kept[visit.to] = state
            sweep.keeps(len(kept), 0)
            continue
        after, step = sweep.linearise(state, visit.to)
        sweep.keeps(len(kept), len(step.backs))
        if visit.to == steps - 1:
            end = after.x
            value, cotangent = loss_and_cotangent(loss, end)
            cotangents = {"x": cotangent}
        cotangents = sweep.back(step, cotangents)
        del step  # its graph goes before the next one is made
    return sweep.result(value, end, cotangents)


def _reversible(sweep: _Sweep, loss: Loss, snapshots: int | None) -> RunGradient:  # noqa: ARG001
    """Steps are undone; the evaluations that this takes are those to go back over."""
    turned, orders = reversed_plan(sweep.plan)
    steps = len(sweep.plan)
    state = _known(sweep.go(None, 0, steps))
    end = state.x
    value, cotangent = loss_and_cotangent(loss, end)
    cotangents: Mapping[str, Array] = {"x": cotangent}
    for number, order in enumerate(orders):
        state, undone = sweep.linearise(state._replace(step=number), number, turned)
        backs = dict(zip(order, undone.backs, strict=True))
        sweep.keeps(1, len(backs))
        step = _Step(steps - 1 - number, [backs[i] for i in range(len(backs))])
        cotangents = sweep.back(step, cotangents)
        del step, undone, backs  # their graph goes before the next one is made
    return sweep.result(value, end, cotangents)


_WAYS: Mapping[str, Callable[[_Sweep, Loss, int | None], RunGradient]] = {
    "full": _full,
    "checkpoint": _checkpoint,
    "reversible": _reversible,
}


def _known(state: State | None) -> State:
    """The state after at least one step."""
    if state is None:
        msg = "plan has no steps: make one with at least one"
        raise ValueError(msg)
    return state

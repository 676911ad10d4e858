"""The programme of a method: which rule, at which order and with how much history, each step of a run takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias
from weakref import WeakKeyDictionary

from diffnum.coefficients.runge_kutta import exponential_runge_kutta_step
from diffnum.forms import RHO, ExponentialKernel, SemilinearForm
from diffnum.tableau import Step, Window

__all__ = ["LOWERING", "STARTS", "OwnStart", "Placement", "Rule", "Start", "programme"]

Rule: TypeAlias = Callable[[Window, int], Step]
"""Step of a method: ``rule(window, order)``."""

Start: TypeAlias = Literal["ramp", "own", "high_order", "exact"]
"""Start-up rule of a method with history."""

STARTS: Mapping[str, str] = {
    "ramp": "orders 1, 2, ... as the history fills, as papers ship",
    "own": "a start-up that belongs to the method, such as the pseudo Runge-Kutta steps of PNDM",
    "high_order": "exponential Runge-Kutta steps that keep the order, at most 4 evaluations each",
    "exact": "exact past evaluations are given (order studies); the first nodes of the grid are history",
}

LOWERING = ("lower_order", "lower_order_denoise")
"""Terminal rules under which the order falls over the last steps."""

_HIGHEST_START = 4


@dataclass(frozen=True)
class Placement:
    """One step of a programme: which rule, at which order, with how much history.

    Parameters
    ----------
    rule : callable
        ``rule(window, order) -> Step``.
    order : int
        Order asked of the rule.
    form : SemilinearForm
        Form in whose coordinates the rule speaks.
    past : int
        Number of past evaluations m1, m2, ... whose nodes the rule is told.
    known : frozenset of str
        Vectors left by the step before.
    depth : int
        History to keep.
    last : bool
        Whether the plan ends here.
    stride : int
        Intervals of the grid that the step spans; their inner nodes are the stages of a singlestep method.
    inner_times : tuple of float
        Inner nodes as fractions of the step in time (used where ``stride`` is 1).
    """

    rule: Rule
    order: int
    form: SemilinearForm
    past: int
    known: frozenset[str]
    depth: int
    last: bool
    stride: int = 1
    inner_times: tuple[float, ...] = ()

    def step(self, window: Window) -> Step:
        """Evaluate the rule."""
        return self.rule(window, self.order)

    def rehearse(self) -> Step:
        """Evaluate the rule on placeholder numbers: shows its stages and the vectors that it leaves."""
        return self._rehearsed

    @cached_property
    def _rehearsed(self) -> Step:
        kernel = ExponentialKernel(1.0, self.form.rate or 0)
        past = tuple(-float(j) for j in range(1, self.past + 1))
        inner = self.inner_times or tuple(j / self.stride for j in range(1, self.stride))
        ones = _Ones()
        return self.step(Window(1.0, past, kernel, self.known, self.depth, self.last, inner, past, ones))


class _Ones(dict[str, float]):
    """Placeholder parameters: 1.0 whatever the name."""

    def __missing__(self, name: str) -> float:
        return 1.0


@dataclass(frozen=True)
class OwnStart:
    """A start-up that belongs to one method.

    Parameters
    ----------
    rule : callable
        Rule of the first steps.
    steps : int
        How many steps it takes.
    inner_times : tuple of float
        Inner nodes that it wants, as fractions of a step in time.
    form : SemilinearForm, optional
        Form of these steps, with the prediction of the method's own form, where it is not that form.
    """

    rule: Rule
    steps: int
    inner_times: tuple[float, ...] = ()
    form: SemilinearForm | None = None


_PROGRAMMES: WeakKeyDictionary[Programmed, dict[Any, tuple[Placement, ...]]] = WeakKeyDictionary()
"""Programmes that were asked for before. They go when their record goes, with whatever its rule holds."""


class Programmed(Protocol):
    """What a programme asks of a record; see :class:`diffnum.coefficients.method.Method` for the meanings."""

    @property
    def name(self) -> str: ...
    @property
    def form(self) -> SemilinearForm: ...
    @property
    def rule(self) -> Rule: ...
    @property
    def top(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def exact_steps(self) -> int: ...
    @property
    def exact_history(self) -> tuple[str, ...]: ...
    @property
    def start(self) -> Start: ...
    @property
    def own_start(self) -> OwnStart | None: ...
    @property
    def inner_times(self) -> tuple[float, ...]: ...
    @property
    def singlestep(self) -> bool: ...
    @property
    def full_orders(self) -> bool: ...
    @property
    def stochastic(self) -> bool: ...


def programme(
    method: Programmed,
    n_steps: int,
    *,
    start: Start | None = None,
    lower_order_final: bool = False,
    ends_at_zero: bool = False,
    denoised: bool = False,
    continues: bool = False,
) -> tuple[Placement, ...]:
    """Rules and orders of the steps of a plan, as :meth:`Method.programme` says; remembered while the record lives."""
    start = method.start if start is None else start
    _check(method, n_steps, start)
    memory = _PROGRAMMES.setdefault(method, {})
    key = (int(n_steps), start, lower_order_final, ends_at_zero, denoised, continues)
    if key not in memory:
        memory[key] = _singlestep(method, key[0], continues) if method.singlestep else _multistep(method, *key)
    return memory[key]


def _multistep(
    method: Programmed,
    n_steps: int,
    start: Start,
    lower_order_final: bool,
    ends_at_zero: bool,
    denoised: bool,
    continues: bool,
) -> tuple[Placement, ...]:
    """Steps of a method that takes one interval a step."""
    shared: dict[Placement, Placement] = {}  # equal placements are rehearsed once
    first = method.exact_steps if start == "exact" else 0
    known = frozenset({"x", *(method.exact_history if first else ())})
    placements = []
    for i in range(first, n_steps):
        last, past = (
            i == n_steps - 1 and not continues,
            min(i, method.exact_steps if i == first and first else method.depth),
        )
        order = min(i + 1, method.top) if method.depth else method.top
        rule, form, inner_times = method.rule, method.form, method.inner_times
        if start == "own" and method.own_start and i < method.own_start.steps:
            rule, inner_times = method.own_start.rule, method.own_start.inner_times
            form = method.own_start.form or form
        if start == "high_order" and i < method.depth:
            rule, order = exponential_runge_kutta_step, min(method.top, _HIGHEST_START)
            form = RHO if form.rate is None or form.quadrature else form  # stages need moments inside a step
        if lower_order_final and i + 1 >= min(method.top, n_steps):  # the ramp is not lowered, as in UniPC's code
            order = min(order, n_steps + denoised - i)
        placement = Placement(rule, order, form, past, known, method.depth, last, inner_times=inner_times)
        placement = shared.setdefault(placement, placement)
        step = placement.rehearse()
        if last and ends_at_zero and _looks_ahead(step):
            placement = replace(placement, order=1)
            step = placement.rehearse()
            if _looks_ahead(step):  # re-evaluates even at order 1
                placement = Placement(exponential_runge_kutta_step, 1, form, past, known, method.depth, last)
                step = placement.rehearse()
        known = frozenset({"x", *step.memory})
        placements.append(placement)
    return tuple(placements)


def _singlestep(method: Programmed, n_intervals: int, continues: bool) -> tuple[Placement, ...]:
    """Steps of a singlestep method: as many of full order as fit, then lower ones, each interval used once."""
    full, rest = divmod(n_intervals, method.top)
    orders = [method.top] * full + ([rest] if rest else [])
    if method.top == 3 and not rest and not method.full_orders:  # the published list ends on 2, 1 rather than on 3
        orders[-1:] = [2, 1]
    placements, known = [], frozenset({"x"})
    for i, order in enumerate(orders):
        last = i == len(orders) - 1 and not continues
        placements.append(Placement(method.rule, order, method.form, 0, known, 0, last, stride=order))
    return tuple(placements)


def _check(method: Programmed, n_steps: int, start: str) -> None:
    """Refuse what cannot be run."""
    if start not in STARTS:
        msg = f"start={start!r} is unknown: use one of {', '.join(STARTS)}"
        raise ValueError(msg)
    if isinstance(n_steps, bool) or int(n_steps) != n_steps or n_steps < 1:
        msg = f"n_steps={n_steps} is not a positive whole number of steps"
        raise ValueError(msg)
    if start == "high_order" and method.stochastic:
        msg = f"start='high_order' would leave out the noise of {method.name}: use start='ramp'"
        raise ValueError(msg)
    if start == "own" and method.own_start is None:
        msg = f"start='own': {method.name} has no start-up of its own, use 'ramp' or 'high_order'"
        raise ValueError(msg)
    if start == "exact" and n_steps <= method.exact_steps:
        msg = (
            f"n_steps={n_steps} is too few for an exact start of {method.name}, whose history takes "
            f"{method.exact_steps} of them: use at least {method.exact_steps + 1}"
        )
        raise ValueError(msg)
    if start == "high_order" and method.top > _HIGHEST_START + 1:
        msg = f"start='high_order' keeps order 5 at most, {method.name} has order {method.top}: use 'exact' or 'ramp'"
        raise ValueError(msg)


def _looks_ahead(step: Step) -> bool:
    """Whether a step calls the model anywhere but at its start."""
    return any(not (isinstance(stage.node, int) and stage.node == 0) for stage in step.stages)

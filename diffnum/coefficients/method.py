"""The record of a method, and the programme of orders that it runs on n steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

from diffnum.coefficients.runge_kutta import exponential_runge_kutta_step
from diffnum.forms import RHO, ExponentialKernel, SemilinearForm
from diffnum.tableau import Step, Window

__all__ = ["GRID_KINDS", "STARTS", "Method", "Placement", "Rule", "Start"]

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

GRID_KINDS = ("uniform", "smooth", "irregular")
"""Kinds of grids, in the clock of the form, on which an order is claimed."""

LOWERING = ("lower_order", "lower_order_denoise")
"""Terminal rules under which the order falls over the last steps."""

DENOISING = ("denoise", "lower_order_denoise")
"""Terminal rules under which the last state is replaced by the data prediction."""

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


@dataclass(frozen=True, eq=False)
class Method:
    """A sampler as data: how it steps, what is claimed of it, and what others call it.

    Parameters
    ----------
    name : str
        Name in the catalogue.
    title : str
        Name in prose.
    family : str
        Derivation that it belongs to.
    form : SemilinearForm
        Form in which its weights are written.
    order : int
        True order of the update formula with exact history on smooth grids (proved and measured).
    rule : callable
        ``rule(window, order) -> Step``.
    depth : int
        Past evaluations (or averages) that it uses.
    start : {"ramp", "high_order"}
        Start-up as its authors ship it.
    order_with_startup : int
        Order with that start-up.
    claimed_order : int
        Order that its authors claim.
    cite : str
        BibTeX key.
    equation : str
        Equation number or code location of the source.
    options : mapping
        Parameters of the family (variant, beta, inner nodes); part of the derivation's key.
    orders : mapping of str to int
        Exceptions to ``order`` by kind of grid (uniform, smooth, irregular in the form's clock).
    aliases : mapping of str to str
        What diffusers, k-diffusion, ComfyUI and papers call it.
    summary : str
        One sentence.
    distinguish : str
        What it is not to be confused with.
    highest : int
        Order asked of the rule where it is not ``order`` (a formula that falls short of, or exceeds, its parameter).
    exact_depth : int
        Past evaluations that an exact start needs where it is not ``depth`` (averages reach further back).
    own_start : OwnStart, optional
        Start-up of the method's own, for ``start="own"``.
    singlestep : bool
        Whether a step of order q spans q intervals of the grid, whose inner nodes are its stages; the orders then fall
        at the end so that every interval costs one evaluation ("fast" order lists).
    inner_times : tuple of float
        Inner nodes that the rule wants, as fractions of a step in time.
    parameters : tuple of str
        Numbers per step that the plan must be given.
    deviation : str
        How the code that its authors ship departs from their paper, or from the claim, and at what price.
    corrected : str
        Name of the form without the deviation.
    stiff_order : int, optional
        Order that does not depend on the size of the linear part (exponential Runge-Kutta methods; the highest
        conditions in the weak sense of Hochbruck and Ostermann), where it has been proved.
    """

    name: str
    title: str
    family: str
    form: SemilinearForm
    order: int
    rule: Rule = field(repr=False)
    depth: int
    cite: str
    equation: str
    summary: str
    claimed_order: int
    order_with_startup: int
    start: Start = "ramp"
    options: Mapping[str, Any] = field(default_factory=dict)
    orders: Mapping[str, int] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict, repr=False)
    distinguish: str = field(default="", repr=False)
    highest: int = 0
    exact_depth: int = 0
    own_start: OwnStart | None = field(default=None, repr=False)
    singlestep: bool = False
    inner_times: tuple[float, ...] = ()
    parameters: tuple[str, ...] = ()
    full_orders: bool = False
    deviation: str = field(default="", repr=False)
    corrected: str = field(default="", repr=False)
    stiff_order: int | None = None

    def order_on(self, grid: str) -> int:
        """Order of the update formula with exact history on one of the :data:`GRID_KINDS`."""
        if grid not in GRID_KINDS:
            raise ValueError(f"grid={grid!r} is no kind of grid: use one of {', '.join(GRID_KINDS)}")
        return self.orders.get(grid, self.order)

    @property
    def top(self) -> int:
        """Order asked of the rule once the history is full."""
        return self.highest or self.order

    def programme(
        self,
        n_steps: int,
        *,
        start: Start | None = None,
        lower_order_final: bool = False,
        ends_at_zero: bool = False,
        denoised: bool = False,
        continues: bool = False,
    ) -> tuple[Placement, ...]:
        """Rules and orders of the steps of a plan on a grid of ``n_steps`` intervals.

        Parameters
        ----------
        n_steps : int
            Intervals of the grid, at least 1 (more than the history for an exact start).
        start : {"ramp", "high_order", "exact"}, optional
            Start-up rule; the shipped one by default. An exact start consumes the first ``depth`` intervals.
        lower_order_final : bool
            Let the order fall to 1 over the last steps; those of the ramp keep theirs.
        ends_at_zero : bool
            Whether the last node is sigma = 0, where no model can be evaluated for noise. A last step with further
            stages, at sigma = 0 or on the way to it, is replaced by a first-order step with one evaluation.
        denoised : bool
            Whether a step of first order to sigma = 0 follows the intervals (it counts as the last lower order).
        continues : bool
            Whether the run goes on after the grid, so that no step is treated as the last one.

        Raises
        ------
        ValueError
            If ``n_steps`` or ``start`` is out of range.
        """
        start = self.start if start is None else start
        self._check(n_steps, start)
        memory = _PROGRAMMES.setdefault(self, {})
        key = (int(n_steps), start, lower_order_final, ends_at_zero, denoised, continues)
        if key not in memory:
            memory[key] = self._singlestep_programme(key[0], continues) if self.singlestep else self._programme(*key)
        return memory[key]

    def _programme(
        self, n_steps: int, start: Start, lower_order_final: bool, ends_at_zero: bool, denoised: bool, continues: bool
    ) -> tuple[Placement, ...]:
        """Steps of a method that takes one interval a step."""
        shared: dict[Placement, Placement] = {}  # equal placements are rehearsed once
        first = self.exact_steps if start == "exact" else 0
        known = frozenset({"x", *(self.exact_history if first else ())})
        placements = []
        for i in range(first, n_steps):
            last, past = (
                i == n_steps - 1 and not continues,
                min(i, self.exact_steps if i == first and first else self.depth),
            )
            order = min(i + 1, self.top) if self.depth else self.top
            rule, form, inner_times = self.rule, self.form, self.inner_times
            if start == "own" and self.own_start and i < self.own_start.steps:
                rule, inner_times = self.own_start.rule, self.own_start.inner_times
                form = self.own_start.form or form
            if start == "high_order" and i < self.depth:
                rule, order = exponential_runge_kutta_step, min(self.top, _HIGHEST_START)
                form = RHO if form.rate is None or form.quadrature else form  # stages need moments inside a step
            if lower_order_final and i + 1 >= min(self.top, n_steps):  # the ramp is not lowered, as in UniPC's code
                order = min(order, n_steps + denoised - i)
            placement = Placement(rule, order, form, past, known, self.depth, last, inner_times=inner_times)
            placement = shared.setdefault(placement, placement)
            step = placement.rehearse()
            if last and ends_at_zero and _looks_ahead(step):
                placement = replace(placement, order=1)
                step = placement.rehearse()
                if _looks_ahead(step):  # re-evaluates even at order 1
                    placement = Placement(exponential_runge_kutta_step, 1, form, past, known, self.depth, last)
                    step = placement.rehearse()
            known = frozenset({"x", *step.memory})
            placements.append(placement)
        return tuple(placements)

    def _singlestep_programme(self, n_intervals: int, continues: bool) -> tuple[Placement, ...]:
        """Steps of a singlestep method: as many of full order as fit, then lower ones, each interval used once."""
        full, rest = divmod(n_intervals, self.top)
        orders = [self.top] * full + ([rest] if rest else [])
        if self.top == 3 and not rest and not self.full_orders:  # the published list ends on 2, 1 rather than on 3
            orders[-1:] = [2, 1]
        placements, known = [], frozenset({"x"})
        for i, order in enumerate(orders):
            last = i == len(orders) - 1 and not continues
            placements.append(Placement(self.rule, order, self.form, 0, known, 0, last, stride=order))
        return tuple(placements)

    @property
    def stochastic(self) -> bool:
        """Whether the method draws noise, so that its orders are strong and weak ones."""
        return self.family == "stochastic"

    @property
    def exact_steps(self) -> int:
        """Intervals of the grid that an exact start consumes."""
        return max(self.exact_depth, self.depth)

    @cached_property
    def exact_history(self) -> tuple[str, ...]:
        """Names of the exact evaluations that an exact start needs: ``m0`` (if used), ``m1``, ..."""
        if not self.depth:
            return ()
        newest = ("m0",) if self._uses_current_evaluation else ()
        return (*newest, *(f"m{j}" for j in range(1, self.exact_steps + 1)))

    @cached_property
    def _uses_current_evaluation(self) -> bool:
        """Whether a step leaves the evaluation at its end for the next one (predictor-corrector methods)."""
        first = Placement(self.rule, 1, self.form, 0, frozenset({"x"}), self.depth, last=False)
        return "m0" in first.rehearse().memory

    def last_is_denoising(self, *, terminal: str, ends_at_zero: bool) -> bool:
        """Whether a last step to sigma = 0 is the data prediction: where the clock is infinite there, or on request."""
        return ends_at_zero and (terminal in DENOISING or self.form.rate != 0)

    def nfe(
        self, n_steps: int, *, start: Start | None = None, terminal: str = "stop", ends_at_zero: bool = False
    ) -> int:
        """Model evaluations of a plan with ``n_steps`` steps and a terminal rule.

        Parameters
        ----------
        n_steps : int
            Steps, at least 1; the one to sigma = 0, if there is one, included.
        start : {"ramp", "own", "high_order", "exact"}, optional
            Start-up rule; the shipped one by default.
        terminal : {"stop", "denoise", "lower_order", "lower_order_denoise"}
            Terminal rule of the grid.
        ends_at_zero : bool
            Whether the last node of the grid is sigma = 0.
        """
        denoised = self.last_is_denoising(terminal=terminal, ends_at_zero=ends_at_zero)
        rest = n_steps - denoised
        placements = (
            self.programme(
                rest,
                start=start,
                lower_order_final=terminal in LOWERING,
                ends_at_zero=ends_at_zero and not denoised,
                denoised=denoised,
            )
            if rest
            else ()
        )
        return sum(p.rehearse().nfe for p in placements) + (denoised or terminal in DENOISING)

    def steps_for(self, nfe: int, *, terminal: str = "stop", ends_at_zero: bool = False) -> int:
        """Largest number of steps whose evaluations do not exceed ``nfe``.

        Raises
        ------
        ValueError
            If not even one step fits.
        """
        steps = 0
        while self.nfe(steps + 1, terminal=terminal, ends_at_zero=ends_at_zero) <= nfe:
            steps += 1
        if not steps:
            least = self.nfe(1, terminal=terminal, ends_at_zero=ends_at_zero)
            raise ValueError(f"nfe={nfe} is too small for one step of {self.name}: it needs {least}")
        return steps

    def _check(self, n_steps: int, start: str) -> None:
        """Refuse what cannot be run."""
        if start not in STARTS:
            raise ValueError(f"start={start!r} is unknown: use one of {', '.join(STARTS)}")
        if isinstance(n_steps, bool) or int(n_steps) != n_steps or n_steps < 1:
            raise ValueError(f"n_steps={n_steps} is not a positive whole number of steps")
        if start == "high_order" and self.stochastic:
            raise ValueError(f"start='high_order' would leave out the noise of {self.name}: use start='ramp'")
        if start == "own" and self.own_start is None:
            raise ValueError(f"start='own': {self.name} has no start-up of its own, use 'ramp' or 'high_order'")
        if start == "exact" and n_steps <= self.exact_steps:
            raise ValueError(
                f"n_steps={n_steps} is too few for an exact start of {self.name}, whose history takes "
                f"{self.exact_steps} of them: use at least {self.exact_steps + 1}"
            )
        if start == "high_order" and self.top > _HIGHEST_START + 1:
            raise ValueError(
                f"start='high_order' keeps order 5 at most, {self.name} has order {self.top}: use 'exact' or 'ramp'"
            )


_PROGRAMMES: WeakKeyDictionary[Method, dict[Any, tuple[Placement, ...]]] = WeakKeyDictionary()
"""Programmes that were asked for before. They go when their record goes, with whatever its rule holds."""


def _looks_ahead(step: Step) -> bool:
    """Whether a step calls the model anywhere but at its start."""
    return any(not (isinstance(stage.node, int) and stage.node == 0) for stage in step.stages)

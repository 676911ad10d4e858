"""The record of a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from diffnum.coefficients.noise import Noise
from diffnum.coefficients.programme import LOWERING, OwnStart, Placement, Rule, Start, programme
from diffnum.forms import SemilinearForm
from diffnum.jobs.shown import facts_html, short

__all__ = ["DENOISING", "GRID_KINDS", "Method"]

GRID_KINDS = ("uniform", "smooth", "irregular")
"""Kinds of grids, in the clock of the form, on which an order is claimed."""

DENOISING = ("denoise", "lower_order_denoise")
"""Terminal rules under which the last state is replaced by the data prediction."""


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
    noise : Noise, optional
        How it draws noise, and its strong and weak orders and that in law; ``order`` is then that of the same weights
        without noise. None for solvers of the probability flow.
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
    noise: Noise | None = None

    def __repr__(self) -> str:
        """Short form."""
        return short("Method", self.name, form=self.form.name, order=self.order, depth=self.depth, cite=self.cite)

    def _repr_html_(self) -> str:
        facts = {"title": self.title, "summary": self.summary, "form": self.form.name, "order": self.order}
        more = {"claimed order": self.claimed_order, "source": self.equation, "deviation": self.deviation or None}
        return facts_html({**facts, **more}, self.name)

    def order_on(self, grid: str) -> int:
        """Order of the update formula with exact history on one of the :data:`GRID_KINDS`."""
        if grid not in GRID_KINDS:
            msg = f"grid={grid!r} is no kind of grid: use one of {', '.join(GRID_KINDS)}"
            raise ValueError(msg)
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
        return programme(
            self,
            n_steps,
            start=start,
            lower_order_final=lower_order_final,
            ends_at_zero=ends_at_zero,
            denoised=denoised,
            continues=continues,
        )

    @property
    def stochastic(self) -> bool:
        """Whether the method draws noise, so that its orders are strong and weak ones."""
        return self.noise is not None

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

    @property
    def nfe_per_step(self) -> int:
        """Model evaluations that one step more costs, once the start-up is over."""
        long = 4 * (self.top + self.exact_steps)
        return self.nfe(long + 1) - self.nfe(long)

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
            msg = f"nfe={nfe} is too small for one step of {self.name}: it needs {least}"
            raise ValueError(msg)
        return steps

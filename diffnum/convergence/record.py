"""What an order study measured: curves, orders, verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np

from diffnum.coefficients.noise import ORDERS
from diffnum.convergence.rate import RateEstimate
from diffnum.jobs.checked import check_name
from diffnum.jobs.shown import short, table_html

__all__ = ["RESOLVED", "ConvergenceStudy", "Measure", "Series", "Variant", "check_order"]


Variant: TypeAlias = Literal["formula", "start-up", "last step", "as shipped", "lowered end"]
Measure: TypeAlias = Literal["global", "local", "strong", "weak", "law"]
"""Error at the end of the interval; defect of one step; with noise the distance on a shared path, moments given the
start, and the law of the output from the exact marginal."""

_ORDER: Final[Mapping[Measure, str]] = MappingProxyType(
    {"global": "order", "local": "order", "strong": "strong order", "weak": "weak order", "law": "order in law"}
)
"""What the order of a measure is called."""

RESOLVED = 0.25
"""Largest standard error of a Monte-Carlo bias, relative to it, that still decides."""


@dataclass(frozen=True)
class Series:
    """One curve of a study.

    Parameters
    ----------
    problem, grid : str
        What it was measured on.
    variant : str
        What was measured; one of those at the top of the module.
    measure : {"global", "local", "strong", "weak", "law"}
        Error at the end of the interval, defect of one step, or one of those of methods with noise.
    estimate : RateEstimate
        Levels, errors, rate, verdict.
    quantity : str
        What of the output was compared, such as ``"conditional mean"``; empty for states themselves.
    standard_error : tuple of float
        Of each error, where it is a Monte-Carlo estimate; else empty.
    """

    problem: str
    grid: str
    variant: Variant
    measure: Measure
    estimate: RateEstimate
    quantity: str = ""
    standard_error: tuple[float, ...] = ()

    @property
    def resolved(self) -> bool:
        """Whether the Monte-Carlo error is below a quarter of the finest error."""
        return not self.standard_error or self.standard_error[-1] < RESOLVED * float(self.estimate.errors[-1])

    @property
    def order(self) -> float | None:
        """Order that the rate stands for (local defects fall one power faster); None if undecided."""
        order = self.estimate.order if self.resolved else None
        return order if order is None or self.measure != "local" else order - 1

    @property
    def rate(self) -> float | None:
        """Rate where it is decided."""
        return self.estimate.rate if self.resolved and self.estimate.status == "decided" else None

    def supports(self, p: float, tolerance: float) -> bool:
        """Whether the rate is decided and that of order ``p``, from both sides."""
        return self.resolved and self.estimate.supports(p + (self.measure == "local"), tolerance)

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.resolved:
            return f"{self.estimate.status}: {self.estimate.reason}"
        return (
            f"undecided: the Monte-Carlo error {self.standard_error[-1]:.1e} is above a quarter of the finest bias "
            f"{self.estimate.errors[-1]:.1e}; use more samples or fewer steps"
        )

    @property
    def place(self) -> str:
        """What was measured on what, in words."""
        return ", ".join(part for part in (self.problem, self.grid, self.quantity) if part)


@dataclass(frozen=True)
class ConvergenceStudy:
    """What a study measured.

    Parameters
    ----------
    name : str
        Method or sampler.
    primary : {"formula", "as shipped"}
        Variant that :attr:`order` speaks of: the formula for catalogue methods, the plain run for callables.
    series : tuple of Series
        All curves.
    expected : mapping of str to float
        Order on each kind of grid that the catalogue records; empty for callables.
    explain : callable, optional
        ``explain(p)`` says in words why a callable is likely not of order p; runs further experiments.
    measure : {"global", "local", "strong", "weak", "law"}
        Measure that :attr:`order` speaks of.
    """

    name: str
    primary: Variant
    series: tuple[Series, ...]
    expected: Mapping[str, float]
    explain: Callable[[float], str] | None = field(default=None, repr=False, compare=False)
    measure: Measure = "global"

    def select(self, variant: Variant | None = None, measure: Measure | None = None) -> tuple[Series, ...]:
        """Curves of one variant and measure, by default the primary ones."""
        if variant is not None:
            check_name("variant", variant, get_args(Variant))
        if measure is not None:
            check_name("measure", measure, get_args(Measure))
        variant = self.primary if variant is None else variant
        measure = self.measure if measure is None else measure
        return tuple(s for s in self.series if s.variant == variant and s.measure == measure)

    @property
    def rates(self) -> dict[str, float | None]:
        """Rate on each kind of grid, the lowest over problems and quantities; None if undecided."""
        return _lowest(self._counted(), lambda s: s.rate)

    @property
    def local_rates(self) -> dict[str, float | None]:
        """Rate of the one-step defect on each kind of grid, the lowest over problems: one above the order."""
        curves = self.select(measure="local") or self.select("formula", "local")
        return _lowest(curves, lambda s: s.rate)

    def _counted(self) -> tuple[Series, ...]:
        """Primary curves; with noise a quantity that is exact to rounding says nothing, and another one decides."""
        curves = self.select()
        return tuple(s for s in curves if s.estimate.status != "exact") if self.measure in ORDERS else curves

    @property
    def kind(self) -> Measure:
        """The measure, under the name that it had in studies of stochastic methods of 0.1."""
        return self.measure

    @property
    def recorded(self) -> float | None:
        """Lowest order that the catalogue records; None for callables."""
        return min(self.expected.values(), default=None)

    @property
    def matches(self) -> bool:
        """Whether the measured order is the recorded one."""
        return self.order is not None and self.order == self.recorded

    @property
    def orders(self) -> dict[str, float | None]:
        """Order on each kind of grid; None if undecided."""
        return _lowest(self._counted(), lambda s: s.order)

    @property
    def order(self) -> float | None:
        """Order on the worst kind of grid, or None where the data do not decide it."""
        return _minimum(self.orders.values())

    @property
    def formula_order(self) -> float | None:
        """Order of the update formula with exact history (or graded ends)."""
        return _minimum(s.order for s in self.select("formula"))

    @property
    def order_with_startup(self) -> float | None:
        """Order of the plain run, with start-up and last step as shipped."""
        return _minimum(s.order for s in self.select("as shipped"))

    @property
    def verdict(self) -> str:
        """One sentence: the order, what start-up and last step do to it, or why it is undecided."""
        if any(s.estimate.status == "diverging" for s in self.select()):
            return f"{self.name}: diverges; {self._reasons('diverging')}"
        if self.order is None:
            return f"{self.name}: undecided; {self._reasons(None)}"
        orders = self.orders
        text = f"{self.name}: {_ORDER[self.measure]} {self.order:g}"
        if len(set(orders.values())) > 1:
            text += " (" + ", ".join(f"{order:g} on {kind} grids" for kind, order in orders.items()) + ")"
        shipped, formula = self.order_with_startup, self.formula_order
        if self.primary == "formula" and shipped is not None and shipped != self.order:
            text += f"; {shipped:g} with start-up and last step as shipped"
        if self.primary == "as shipped" and formula is not None and formula > self.order:
            start = _minimum(s.order for s in self.select("start-up"))
            lost = "start-up or the last step" if start is None else "start-up" if start < formula else "last step"
            text += f"; the update formula has order {formula:g}, the {lost} loses the rest"
        slow = {k: r for k, r in self.local_rates.items() if r is not None and r < self._least_local(self.order)}
        if slow:
            text += (
                "; the one-step defect is of lower order ("
                + ", ".join(f"{r:.2f} on {k}" for k, r in slow.items())
                + ")"
            )
        return text

    def _reasons(self, status: str | None) -> str:
        """Reasons of the series that are not decided."""
        found = [s for s in self._counted() if (s.estimate.status == status if status else s.order is None)]
        texts = (f"{s.place}: {s.estimate.reason if s.resolved else s.verdict}" for s in found)
        return "; ".join(texts) or "all errors are exact to rounding"

    def assert_order(self, p: float, tolerance: float = 0.1) -> None:
        """Raise unless the order is ``p`` on every grid, globally and locally.

        Parameters
        ----------
        p : float
            Order claimed.
        tolerance : float
            Distance of the global rates from ``p`` that is accepted.

        Raises
        ------
        AssertionError
            With the table and, for callables, what is likely wrong (formula, start-up, last step, rounded times, low
            precision, the first weight that is off), if a global rate is not ``p`` within ``tolerance``, is undecided,
            or a one-step defect falls slower than ``p + 1``. With noise the lowest rate over quantities counts.
        """
        reasons = self.objections(p, tolerance)
        if reasons:
            why = f"{self.explain(p)}\n" if self.explain is not None else ""
            if self.measure in ORDERS:
                why += f"{self.name} does not show {_ORDER[self.measure]} {p:g}\n"
            raise AssertionError(f"{why}{self.verdict}\norder {p:g} REJECTED: " + "; ".join(reasons) + f"\n{self}")

    def _least_local(self, p: float, tolerance: float = 0.1) -> float:
        """Rate of the one-step defect below which an order is lost.

        The step of a callable is graded at both ends, by a ladder whose shape changes with the step: its rates come
        from below, slowly. A telescoping defect is a whole power, so half of one tells them apart.
        """
        return p + 1 - (2 * tolerance if self.primary == "formula" else 0.5)

    def objections(self, p: float, tolerance: float = 0.1) -> list[str]:
        """Why the order is not ``p``; empty if it is, globally and locally, on every grid."""
        check_order(p)
        if self.measure in ORDERS:
            return self._objections_with_noise(p, tolerance)
        wrong = [s for s in self.select() if not s.supports(p, tolerance)]
        slow = [
            k for k, rate in self.local_rates.items() if rate is not None and rate < self._least_local(p, tolerance)
        ]
        return [f"{s.problem} on {s.grid}: {s.estimate.reason}" for s in wrong] + [
            f"one-step defect on {k} grids falls like h^{self.local_rates[k]:.2f}, not h^{p + 1:g}" for k in slow
        ]

    def _objections_with_noise(self, p: float, tolerance: float) -> list[str]:
        rates = self.rates
        if not rates:
            return ["all errors are exact to rounding"]
        undecided = [f"{s.place}: {s.verdict}" for s in self._counted() if s.rate is None]
        return undecided + [
            f"the lowest rate on {kind} grids is {rate:.3f}"
            for kind, rate in rates.items()
            if rate is not None and abs(rate - p) > tolerance
        ]

    def to_dict(self) -> dict[str, Any]:
        """Study as JSON-able data."""
        curves = [
            {
                "problem": s.problem,
                "grid": s.grid,
                "variant": s.variant,
                "measure": s.measure,
                "quantity": s.quantity,
                "order": s.order,
                "rate": s.estimate.rate,
                "status": s.estimate.status,
                "reason": s.verdict,
                "steps": s.estimate.steps.tolist(),
                "errors": s.estimate.errors.tolist(),
                "standard_error": list(s.standard_error),
            }
            for s in self.series
        ]
        return {"kind": self.measure, "order": self.order, "expected": self.recorded, "series": curves}

    def plot(self, ax: Any = None) -> Any:
        """Draw errors against steps with guide lines; returns the matplotlib axes."""
        from diffnum.plot import plot_study  # matplotlib takes its time to load

        return plot_study(self, ax=ax)

    def __repr__(self) -> str:
        """Short form; ``str`` has the table."""
        return short("ConvergenceStudy", self.name, measure=self.measure, order=self.order, curves=len(self.series))

    def _repr_html_(self) -> str:
        rows = [
            (s.problem, s.grid, s.variant, s.measure, s.quantity, s.estimate.rate, s.order, s.estimate.status)
            for s in self.series
        ]
        return table_html(("problem", "grid", "part", "measure", "quantity", "rate", "order", ""), rows, self.verdict)

    def __str__(self) -> str:
        """Verdict and table."""
        lines = [self.verdict]
        for s in self.series:
            e = s.estimate
            rate = f"{e.rate:6.3f}" if e.rate is not None else "   -  "
            label = f"{s.measure:<6} {s.variant:<10} {s.problem:<16} {s.grid:<9}"
            label += f" {s.quantity:<20}" if s.quantity else ""
            cells = " ".join(f"{n}:{error:.1e}" for n, error in zip(e.steps.tolist(), e.errors.tolist(), strict=True))
            spread = f"  +- {s.standard_error[-1]:.1e} at the end" if s.standard_error else ""
            lines.append(f"  {label} rate {rate}  [{e.status}]  {cells}{spread}")
        return "\n".join(lines)


def check_order(order: Any, name: str = "p") -> None:
    """Refuse what is no order that can be claimed.

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it is not finite, or not positive.
    """
    if not isinstance(order, int | float | np.number) or isinstance(order, bool):
        msg = f"{name}={order!r} is no number: pass the order that is claimed, such as 2"
        raise TypeError(msg)
    if not (math.isfinite(order) and order > 0):
        msg = f"{name}={order!r} is no order that can be claimed: pass a number > 0, such as 2"
        raise ValueError(msg)


def _lowest(series: Iterable[Series], value: Callable[[Series], float | None]) -> dict[str, float | None]:
    """Lowest value over problems for each kind of grid; None where one is undecided."""
    found: dict[str, list[float | None]] = {}
    for s in series:
        found.setdefault(s.grid, []).append(value(s))
    return {grid: _minimum(values) for grid, values in found.items()}


def _minimum(values: Iterable[float | None]) -> float | None:
    """Minimum, or None if empty or any is None."""
    listed = list(values)
    return None if not listed or any(v is None for v in listed) else min(v for v in listed if v is not None)

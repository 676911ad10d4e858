"""What an order study measured: curves, orders, verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from diffnum.convergence.rate import RateEstimate

__all__ = ["ConvergenceStudy", "Measure", "Series", "Variant"]


Variant: TypeAlias = Literal["formula", "start-up", "last step", "as shipped", "lowered end"]
Measure: TypeAlias = Literal["global", "local"]


@dataclass(frozen=True)
class Series:
    """One curve of a study.

    Parameters
    ----------
    problem, grid : str
        What it was measured on.
    variant : str
        What was measured; one of those at the top of the module.
    measure : {"global", "local"}
        Error at the end of the interval, or defect of one step.
    estimate : RateEstimate
        Levels, errors, rate, verdict.
    """

    problem: str
    grid: str
    variant: Variant
    measure: Measure
    estimate: RateEstimate

    @property
    def order(self) -> float | None:
        """Order that the rate stands for (local defects fall one power faster); None if undecided."""
        order = self.estimate.order
        return order if order is None or self.measure == "global" else order - 1


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
    expected : mapping of str to int
        Order on each kind of grid that the catalogue records; empty for callables.
    explain : callable, optional
        ``explain(p)`` says in words why a callable is likely not of order p; runs further experiments.
    """

    name: str
    primary: Variant
    series: tuple[Series, ...]
    expected: Mapping[str, int]
    explain: Callable[[float], str] | None = field(default=None, repr=False, compare=False)

    def select(self, variant: Variant | None = None, measure: Measure = "global") -> tuple[Series, ...]:
        """Curves of one variant (the primary one by default) and measure."""
        variant = self.primary if variant is None else variant
        return tuple(s for s in self.series if s.variant == variant and s.measure == measure)

    @property
    def rates(self) -> dict[str, float | None]:
        """Global rate on each kind of grid, the lowest over problems; None if undecided."""
        return _lowest(self.select(), lambda s: s.estimate.rate if s.estimate.status == "decided" else None)

    @property
    def local_rates(self) -> dict[str, float | None]:
        """Rate of the one-step defect on each kind of grid, the lowest over problems: one above the order."""
        curves = self.select(measure="local") or self.select("formula", "local")
        return _lowest(curves, lambda s: s.estimate.rate if s.estimate.status == "decided" else None)

    @property
    def orders(self) -> dict[str, float | None]:
        """Global order on each kind of grid; None if undecided."""
        return _lowest(self.select(), lambda s: s.order)

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
        text = f"{self.name}: order {self.order:g}"
        if len(set(orders.values())) > 1:
            text += " (" + ", ".join(f"{order:g} on {kind} grids" for kind, order in orders.items()) + ")"
        shipped, formula = self.order_with_startup, self.formula_order
        if self.primary == "formula" and shipped is not None and shipped != self.order:
            text += f"; {shipped:g} with start-up and last step as shipped"
        if self.primary == "as shipped" and formula is not None and formula > self.order:
            start = _minimum(s.order for s in self.select("start-up"))
            where = "start-up" if start is not None and start < formula else "last step"
            text += f"; the update formula has order {formula:g}, the {where} loses the rest"
        lost = {k: r for k, r in self.local_rates.items() if r is not None and r < self.order + 0.8}
        if lost:
            text += (
                "; the one-step defect is of lower order ("
                + ", ".join(f"{r:.2f} on {k}" for k, r in lost.items())
                + ")"
            )
        return text

    def _reasons(self, status: str | None) -> str:
        """Reasons of the series that are not decided."""
        found = [s for s in self.select() if (s.estimate.status == status if status else s.order is None)]
        return "; ".join(f"{s.problem}, {s.grid}: {s.estimate.reason}" for s in found)

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
            or a one-step defect falls slower than ``p + 1``.
        """
        reasons = self.objections(p, tolerance)
        if reasons:
            why = f"{self.explain(p)}\n" if self.explain is not None else ""
            raise AssertionError(f"{why}{self.verdict}\norder {p:g} REJECTED: " + "; ".join(reasons) + f"\n{self}")

    def objections(self, p: float, tolerance: float = 0.1) -> list[str]:
        """Why the order is not ``p``; empty if it is, globally and locally, on every grid."""
        wrong = [s for s in self.select() if not s.estimate.supports(p, tolerance)]
        slow = [k for k, rate in self.local_rates.items() if rate is not None and rate < p + 1 - 2 * tolerance]
        return [f"{s.problem} on {s.grid}: {s.estimate.reason}" for s in wrong] + [
            f"one-step defect on {k} grids falls like h^{self.local_rates[k]:.2f}, not h^{p + 1:g}" for k in slow
        ]

    def plot(self, ax: Any = None) -> Any:
        """Draw errors against steps with guide lines; returns the matplotlib axes."""
        from diffnum.plot import plot_study  # matplotlib is an extra

        return plot_study(self, ax=ax)

    def __str__(self) -> str:
        """Verdict and table."""
        lines = [self.verdict]
        for s in self.series:
            e = s.estimate
            rate = f"{e.rate:6.3f}" if e.rate is not None else "   -  "
            label = f"{s.measure:<6} {s.variant:<10} {s.problem:<16} {s.grid:<9}"
            cells = " ".join(f"{n}:{error:.1e}" for n, error in zip(e.steps.tolist(), e.errors.tolist(), strict=True))
            lines.append(f"  {label} rate {rate}  [{e.status}]  {cells}")
        return "\n".join(lines)


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

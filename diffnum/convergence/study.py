"""The order study: measure the order of a catalogue method, or of any callable, against exact flows.

For every problem and kind of grid the error at the end of a compact interval of half-log-SNR is measured
(*global* rate) and, separately, the defect of one step from exact data (*local* rate, one higher). Variants
keep apart what is often confused:

* ``formula``: the update formula alone. Catalogue methods get exact past evaluations and never make a last step; black
  boxes are given nodes whose first and last steps are graded geometrically, so that a low-order start or last step
  acts on tiny steps only;
* ``start-up``: as shipped at the beginning, still helped at the end;
* ``last step``: helped at the beginning, as shipped at the end;
* ``as shipped``: the plain nodes, nothing helped;
* ``lowered end``: helped at the beginning, and the order falls to 1 over the last steps, as libraries offer to do
  (catalogue methods only).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import GRID_KINDS, Method, Start
from diffnum.convergence.checks import check_sampler
from diffnum.convergence.conventions import Convention, understood
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.rate import RateEstimate, estimate_rate
from diffnum.grids import from_half_log_snr
from diffnum.plans import plan
from diffnum.problems import rotated_product, three_peaks
from diffnum.schedules import VPLinear
from diffnum.solver import solve
from diffnum.types import FloatArray, Problem, Sampler, Schedule

__all__ = ["ConvergenceStudy", "Series", "convergence_study", "fractions", "measured_rate"]

Variant: TypeAlias = Literal["formula", "start-up", "last step", "as shipped", "lowered end"]
Measure: TypeAlias = Literal["global", "local"]

OWN_START = ("start-up", "as shipped")
OWN_END = ("last step", "as shipped", "lowered end")
"""Variants in which the beginning, or the end, of a run is the method's own."""

DEFAULT_STEPS = (20, 40, 80, 160, 320)
FINER = (640, 1280, 2560, 5120)
"""Levels added where the default ones have not settled."""
COARSER = (8, 12, 16, 20, 24, 32, 40, 48, 64, 80)
"""Levels used instead where the default ones drown in rounding."""

INTERVAL = (-2.0, 2.0)
"""Half-log-SNR at both ends: compact, so that no end of the schedule interferes."""

PLAIN_INTERVAL = (-1.0, 1.0)
"""The same for clocks other than the half-log-SNR, whose constant steps are coarse at the data end."""

PATTERN = (1.0, 1.7, 0.6, 1.3)
"""Step ratios of the irregular grids; repeated at every level, so that the grids are never smooth."""

MIDDLE = 0.5
"""Where the one step of a local defect begins, as a fraction of the interval."""

GRADED = 14
"""Graded steps at an end of the nodes, each twice as long as the one before."""


def fractions(kind: str, n: int, pattern: Sequence[float] = PATTERN) -> FloatArray:
    """Nodes of a grid on [0, 1].

    Parameters
    ----------
    kind : {"uniform", "smooth", "irregular"}
        Constant steps; the smooth image of constant steps; steps that repeat the ratios ``pattern``.
    n : int
        Number of steps.
    pattern : sequence of float
        Step ratios of the irregular grid, > 0; its length divides 8 where local defects are measured.

    Returns
    -------
    ndarray, shape (n + 1,)
        Increasing from 0 to 1.
    """
    nodes: FloatArray
    if kind == "uniform":
        nodes = np.linspace(0.0, 1.0, n + 1)
    elif kind == "smooth":
        nodes = np.linspace(0.0, 1.0, n + 1)
        nodes = (nodes + 3.0 * nodes**2) / 4.0  # not geometric: some wrong weights are right for a constant ratio
    elif kind == "irregular":
        nodes = np.concatenate([[0.0], np.cumsum(np.resize(pattern, n))])
        nodes /= nodes[-1]
    else:
        raise ValueError(f"grids={kind!r} is no kind of grid: use {', '.join(GRID_KINDS)}")
    return nodes


@dataclass(frozen=True)
class Spacing:
    """A kind of grid with its step ratios; called with a number of steps it gives :func:`fractions`."""

    kind: str
    pattern: tuple[float, ...] = PATTERN

    def __call__(self, n: int) -> FloatArray:
        """Nodes on [0, 1], shape (n + 1,)."""
        return fractions(self.kind, n, self.pattern)


def graded(nodes: FloatArray, *, first: bool, last: bool) -> FloatArray:
    """Nodes with the first and the last interval divided geometrically."""
    ladder = 2.0 ** -np.arange(GRADED, 0, -1)
    start = nodes[0] + ladder * (nodes[1] - nodes[0]) if first else nodes[:0]
    end = nodes[-1] - ladder[::-1] * (nodes[-1] - nodes[-2]) if last else nodes[:0]
    if len(nodes) == 2 and first and last:  # a single interval: meet in the middle
        return np.concatenate([nodes[:1], start, end[1:], nodes[1:]])
    return np.concatenate([nodes[:1], start, nodes[1:-1], end, nodes[-1:]])


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


def convergence_study(
    sampler: str | Method | Sampler,
    problem: Problem | Mapping[str, Problem] | None = None,
    *,
    schedule: Schedule | None = None,
    grids: Sequence[str] = GRID_KINDS,
    steps: Sequence[int] | None = None,
    variants: Sequence[Variant] | None = None,
    measures: Sequence[Measure] = ("global", "local"),
    points: int = 12,
    interval: tuple[float, float] | None = None,
    pattern: Sequence[float] = PATTERN,
    seed: int = 0,
    convention: Convention | None = None,
) -> ConvergenceStudy:
    """Measure the order of a sampler.

    Parameters
    ----------
    sampler : str, Method, callable, or scheduler of diffusers
        Catalogue name or record, or ``sampler(model, x, nodes) -> x`` with ``nodes`` the half-log-SNRs, increasing, and
        ``model.data(x, lam)``, ``.noise``, ``.velocity``, ``.score`` the exact predictions; or a sampler in another
        convention of :mod:`diffnum.convergence.conventions`.
    problem : Problem or mapping of str to Problem, optional
        Exact problems; by default a three-peaked mixture in 1-D and a rotated product of mixtures in 4-D.
    schedule : Schedule, optional
        Noising process; VP-linear by default.
    grids : sequence of {"uniform", "smooth", "irregular"}
        Kinds of grid, in the clock of the method's form (half-log-SNR for callables).
    steps : sequence of int, optional
        Step counts; by default 20 to 320, extended or replaced by rule where these do not decide.
    variants : sequence of {"formula", "start-up", "last step", "as shipped", "lowered end"}, optional
        By default ``formula`` and ``as shipped``; for callables ``start-up`` too.
    measures : sequence of {"global", "local"}
        What to measure; local defects are those of the formula.
    points : int
        Starting points, drawn from the exact marginal.
    interval : (float, float), optional
        Half-log-SNR where the runs begin and end; by default (-2, 2), or (-1, 1) for methods in other clocks.
    pattern : sequence of float
        Step ratios that the irregular grids repeat.
    seed : int
        Seed of the starting points.
    convention : {"nodes", "k-diffusion", "diffusers", "flow"}, optional
        How the sampler is called; by default told from its methods and the names of its parameters.

    Returns
    -------
    ConvergenceStudy

    Raises
    ------
    TypeError
        If ``sampler`` is neither a name, a record nor a sampler, or returns another dtype than it was given.
    ValueError
        If the method is unknown, the interval is not inside the schedule, or the sampler breaks its convention: wrong
        shape, NaN, randomness, writing into its input, a model that is ignored.

    Examples
    --------
    >>> import numpy as np
    >>> def ddim(model, x, nodes):
    ...     for a, b in zip(nodes, nodes[1:]):
    ...         s, t0, t1 = model.schedule, model.schedule.time(a), model.schedule.time(b)
    ...         x = s.alpha(t1) / s.alpha(t0) * x - s.sigma(t1) * np.expm1(b - a) * model.noise(x, a)
    ...     return x
    >>> convergence_study(ddim, grids=("uniform",)).assert_order(1)
    """
    subject: Method | Sampler
    if isinstance(sampler, str | Method):
        subject = find_method(sampler) if isinstance(sampler, str) else sampler
    else:
        subject = understood(sampler, convention)
    record = subject if isinstance(subject, Method) else None
    schedule = VPLinear() if schedule is None else schedule
    problems = _problems(problem)
    if interval is None:
        interval = INTERVAL if record is None or record.form.rate else PLAIN_INTERVAL
    variants = variants or (("formula", "start-up", "as shipped") if record is None else ("formula", "as shipped"))
    series = []
    for label, exact in problems.items():
        oracle = Oracle(exact, schedule, interval, points, seed)
        if not isinstance(subject, Method):
            check_sampler(subject, oracle)
        for kind in grids:
            for variant in variants:
                for measure in measures:
                    if measure == "local" and variant != "formula":
                        continue
                    run = _runner(subject, oracle, Spacing(kind, tuple(pattern)), variant, measure)
                    series.append(Series(label, kind, variant, measure, _measure(run, oracle, steps)))
    if not isinstance(subject, Method):
        name = getattr(subject, "__name__", type(subject).__name__)
        explain = partial(_explained, subject, next(iter(problems.values())), schedule)
        return ConvergenceStudy(name, "as shipped", tuple(series), {}, explain)
    expected = {kind: subject.order_on(kind) for kind in grids}
    return ConvergenceStudy(subject.name, "formula", tuple(series), expected)


def _explained(sampler: Sampler, problem: Problem, schedule: Schedule, order: float) -> str:
    """What is likely wrong with a callable that claims an order."""
    from diffnum.convergence.diagnosis import diagnose  # it makes studies itself

    return str(diagnose(sampler, order, problem, schedule=schedule))


def measured_rate(
    record: Method,
    oracle: Oracle,
    grid: str,
    measure: Measure = "global",
    steps: Sequence[int] | None = None,
    variant: Variant = "formula",
) -> RateEstimate:
    """One rate of a catalogue method on trajectories that many measurements share.

    Parameters
    ----------
    record : Method
        What to run.
    oracle : Oracle
        Exact model and trajectories.
    grid, measure, variant : str
        As in :func:`convergence_study`.
    steps : sequence of int, optional
        Step counts; chosen by rule by default.
    """
    return _measure(_runner(record, oracle, Spacing(grid), variant, measure), oracle, steps)


def _problems(problem: Problem | Mapping[str, Problem] | None) -> Mapping[str, Problem]:
    """Problems by label."""
    if problem is None:
        return {"three peaks": three_peaks(), "rotated product": rotated_product(dim=4, seed=1)}
    return problem if isinstance(problem, Mapping) else {type(problem).__name__: problem}


Run: TypeAlias = Callable[[int], FloatArray]
"""Errors, shape (points,), of a run with so many steps."""


def _measure(run: Run, oracle: Oracle, steps: Sequence[int] | None) -> RateEstimate:
    """Rate over the given levels; by default levels are added or replaced until the data decide."""
    errors: dict[int, FloatArray] = {}

    def estimate(levels: Sequence[int]) -> RateEstimate:
        for n in levels:
            if n not in errors:
                errors[n] = run(n)
        return estimate_rate(levels, np.stack([errors[n] for n in levels]), scale=oracle.scale)

    if steps is not None:
        return estimate(tuple(steps))
    found = estimate(DEFAULT_STEPS)
    if found.status == "floor" or (found.order is None and found.status != "diverging" and _near_floor(found)):
        for levels in (tuple(sorted({*COARSER, *DEFAULT_STEPS})), COARSER):
            coarse = estimate(levels)
            if coarse.status == "decided":
                return coarse
        return found
    for more in FINER:
        if found.status in ("decided", "exact", "floor") and found.order is not None:
            break
        found = estimate((*found.steps.tolist(), more))
    return found


def _near_floor(found: RateEstimate) -> bool:
    """Whether rounding took levels away."""
    return "floor" in found.notes


def _runner(record: Method | Sampler, oracle: Oracle, spacing: Spacing, variant: Variant, measure: Measure) -> Run:
    """Errors of one sampler on one kind of grid as a function of the number of steps."""
    if isinstance(record, Method):
        return (
            _local_run(record, oracle, spacing) if measure == "local" else _global_run(record, oracle, spacing, variant)
        )
    return _black_box_run(record, oracle, spacing, variant, measure)


def _clock_nodes(record: Method, oracle: Oracle, lam: tuple[float, float], at: FloatArray) -> FloatArray:
    """Half-log-SNRs at the fractions ``at`` of the way between two of them, measured in the method's clock."""
    ends = oracle.nodes(np.array(lam))
    lam_at: FloatArray = record.form.inner(oracle.schedule, ends[:1], ends[1:], np.asarray(at)).lam
    return lam_at


def _global_run(record: Method, oracle: Oracle, spacing: Spacing, variant: Variant) -> Run:
    """Catalogue method over the whole interval."""

    def run(n: int) -> FloatArray:
        lam = _clock_nodes(record, oracle, oracle.interval, spacing(n))
        lam[0], lam[-1] = oracle.interval
        return oracle.error(_run_plan(record, oracle, lam, variant), lam[-1])

    return run


def _local_run(record: Method, oracle: Oracle, spacing: Spacing) -> Run:
    """One step from exact data in the middle of the interval."""
    depth, span = record.exact_steps, record.top if record.singlestep else 1

    def run(n: int) -> FloatArray:
        at = spacing(max(n, 2 * (depth + span)))
        position = len(at) // 2
        position -= position % len(spacing.pattern)  # the same place of the pattern at all levels
        at = at[position - depth : position + span + 1] * (len(at) - 1) / n
        lam = _clock_nodes(record, oracle, oracle.interval, MIDDLE + at - at[depth])
        return oracle.error(_run_plan(record, oracle, lam, "formula"), lam[-1])

    return run


def _run_plan(record: Method, oracle: Oracle, lam: FloatArray, variant: Variant) -> FloatArray:
    """Run a plan on nodes from exact data, with the help that a variant gives at the ends."""
    start: Start | None = None if variant in OWN_START or not record.depth else "exact"
    terminal = "lower_order" if variant == "lowered end" else "stop"
    grid = from_half_log_snr(oracle.schedule, lam, terminal=terminal)
    numbers = plan(record, oracle.schedule, grid, start=start, continues=variant not in OWN_END)
    first = int(np.flatnonzero(grid.t == numbers.steps[0].t_from)[0])
    history = {}
    for name in numbers.history:
        node = float(lam[first - int(name[1:])])
        history[name] = oracle.predict(oracle.state(node), node, numbers.prediction)
    x: FloatArray = solve(
        numbers, oracle.denoiser(numbers.prediction), oracle.state(float(lam[first])), history=history
    )
    return x


def _black_box_run(sampler: Sampler, oracle: Oracle, spacing: Spacing, variant: Variant, measure: Measure) -> Run:
    """A callable on nodes in half-log-SNR, graded at the ends as the variant says."""
    if variant == "lowered end":
        raise ValueError("variants has 'lowered end': a callable has its own end, ask for 'last step'")
    lam_start, lam_end = oracle.interval

    def run(n: int) -> FloatArray:
        nodes = lam_start + (lam_end - lam_start) * spacing(n)
        nodes[-1] = lam_end
        if measure == "local":
            position = n // 2 - n // 2 % len(spacing.pattern)
            nodes = nodes[position : position + 2] + (MIDDLE * (lam_start + lam_end) - nodes[position])
        nodes = graded(nodes, first=variant not in OWN_START, last=variant not in OWN_END)
        x = oracle.state(float(nodes[0]))
        result = sampler(oracle, x.copy(), nodes)
        if np.shape(result) != x.shape:
            raise ValueError(
                f"sampler returned shape {np.shape(result)}: it must return an array of the shape of x, {x.shape}"
            )
        return oracle.error(np.asarray(result, dtype=np.float64), float(nodes[-1]))

    return run


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

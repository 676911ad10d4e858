"""The order study on tokens: errors of exact laws over refinements, for records and for samplers of the user's own.

For each problem the law that a run gives at its end is compared with the exact one in total variation. Variants keep
apart where an order is lost, as in the continuous study:

* ``formula``: from the exact law at t = 0.9 to t = 0.1, where no rate is singular;
* ``start-up``: from the noise at the start of the process to t = 0.1;
* ``last step``: from the exact law at t = 0.9 to the data;
* ``as shipped``: from the noise to the data.

The *local* measure is the defect of one step from the exact law in the middle. Kernels are judged exactly; functions
on batches by their draws, with the Monte-Carlo error in the decision: an order is told if no term of lower order can be
large beside what is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np

from diffnum.coefficients.method import GRID_KINDS
from diffnum.convergence.nodes import fractions
from diffnum.convergence.rate import RateEstimate, estimate_rate
from diffnum.convergence.refinement import Ladder, refined
from diffnum.discrete.checks import whole_number
from diffnum.discrete.draws import rate_by_draws
from diffnum.discrete.enumeration import StateSpace
from diffnum.discrete.laws import Law
from diffnum.discrete.output import LEFT_MASKED, divergence, run, total_variation
from diffnum.discrete.own import BatchRun, Convention, KernelRule, understood_tokens
from diffnum.discrete.processes import Masked, TokenProcess, checked_process
from diffnum.discrete.proofs import least_rate
from diffnum.discrete.samplers import TokenSampler, sampler
from diffnum.discrete.steps import Leap, StepRule
from diffnum.discrete.strata import EvenDraws
from diffnum.jobs.shown import short, table_html
from diffnum.types import FloatArray

__all__ = ["TokenSeries", "TokenStudy", "convergence_study", "study_laws"]

Variant: TypeAlias = Literal["formula", "start-up", "last step", "as shipped"]
VARIANTS: tuple[Variant, ...] = ("formula", "start-up", "last step", "as shipped")
MEASURES = ("global", "local")

USUAL = Ladder((8, 16, 32, 64, 128), (256, 512, 1024))
"""Levels for exact laws."""
SLOW = Ladder((128, 512, 2048, 8192))
"""Levels for records that claim not to converge: their errors level off late."""
BATCH_STEPS = (2, 3, 4, 6, 8, 12, 16, 24)
"""Levels for functions on batches, where the Monte-Carlo error is the floor."""

REST = 0.25
"""Part of the draws for what is measured beside the formula unasked."""

EARLY, LATE = 0.9, 0.1
"""Times between which the formula is measured."""

MIDDLE = 0.5
"""Where the one step of a local defect begins."""


def study_laws(process: TokenProcess) -> dict[str, Law]:
    """The laws of the study: three tokens on three places, weakly and strongly dependent.

    On the weak one no method's extrapolated rate becomes negative; on the strong one they do (:func:`least_rate`).

    Parameters
    ----------
    process : Masked or Uniform
        Noising process; the weak chain is weaker on the uniform one.

    Returns
    -------
    dict of str to Law
    """
    weak = 0.16 if process.time_free else 0.08
    return {
        "weak chain": _chain(weak),
        "strong chain": _chain(0.7),
    }


def _chain(stay: float) -> Law:
    """Chain of three ternary tokens that is kept by ``stay`` and else drawn anew, from an uneven start."""
    anew = np.array([0.3, 0.33, 0.37])
    return Law.markov(3, stay * np.eye(3) + (1.0 - stay) * anew, anew)


@dataclass(frozen=True)
class TokenSeries:
    """One curve of a study.

    Parameters
    ----------
    problem, variant : str
        What was measured.
    measure : {"global", "local"}
        Error at the end, or defect of one step.
    estimate : RateEstimate
        Levels, errors in total variation (for batches in standard deviations of one draw, along one direction), rate,
        verdict.
    divergences : tuple of float
        KL(exact || output) in nats at each level; empty for batches.
    expected : int or None
        Order that the record claims here.
    """

    problem: str
    variant: Variant
    measure: Literal["global", "local"]
    estimate: RateEstimate
    divergences: tuple[float, ...]
    expected: int | None

    @property
    def order(self) -> float | None:
        """Order that the rate stands for (defects fall one power faster); None if undecided."""
        order = self.estimate.order
        return order if order is None or self.measure == "global" else order - 1


@dataclass(frozen=True)
class TokenStudy:
    """What a study on tokens measured.

    Parameters
    ----------
    name : str
        Sampler.
    process : str
        ``"masked"`` or ``"uniform"``.
    series : tuple of TokenSeries
        All curves.
    by_draws : bool
        Whether laws were estimated from draws.
    """

    name: str
    process: str
    series: tuple[TokenSeries, ...]
    by_draws: bool = False

    def __repr__(self) -> str:
        """Short form; ``str`` has the table."""
        return short("TokenStudy", self.name, process=self.process, order=self.order, curves=len(self.series))

    def _repr_html_(self) -> str:
        rows = [(s.problem, s.variant, s.measure, s.estimate.rate, s.order, s.estimate.status) for s in self.series]
        return table_html(("problem", "part", "measure", "rate", "order", ""), rows, self.verdict)

    def select(self, variant: Variant = "formula", measure: str = "global") -> tuple[TokenSeries, ...]:
        """Curves of one variant and measure."""
        return tuple(s for s in self.series if s.variant == variant and s.measure == measure)

    @property
    def orders(self) -> dict[str, float | None]:
        """Order of the formula on each problem; None if undecided."""
        return {s.problem: s.order for s in self.select()}

    @property
    def order(self) -> float | None:
        """Order of the formula on the worst problem, or None where the data do not decide it."""
        return _least(self.orders.values())

    @property
    def exact(self) -> bool:
        """Whether no error of any curve exceeds rounding, or the Monte-Carlo error."""
        return bool(self.series) and all(s.estimate.status == "exact" for s in self.series)

    @property
    def order_as_shipped(self) -> float | None:
        """Order of the plain run from noise to data."""
        return _least(s.order for s in self.select("as shipped"))

    @property
    def verdict(self) -> str:
        """One sentence: the order, on which problems, and where it is lost."""
        title = f"{self.name} ({self.process})"
        if self.exact:
            return f"{title}: exact in law, to {'the Monte-Carlo error' if self.by_draws else 'rounding'}"
        if self.order is None:
            open_ones = [s for s in self.select() if s.order is None]
            return f"{title}: undecided; " + "; ".join(f"{s.problem}: {s.estimate.reason}" for s in open_ones)
        text = f"{title}: order {self.order:g} in law"
        if len(set(self.orders.values())) > 1:
            text += " (" + ", ".join(f"{order:g} on the {name}" for name, order in self.orders.items()) + ")"
        shipped = self.order_as_shipped
        if self.select("as shipped") and shipped != self.order:
            parts: tuple[Variant, ...] = ("start-up", "last step")
            curves = {part: self.select(part) for part in parts}
            lost = [part for part, found in curves.items() if found and _least(s.order for s in found) != self.order]
            text += f"; as shipped {'undecided' if shipped is None else f'{shipped:g}'}"
            text += f", lost at the {' and the '.join(lost)}" if lost else ""
        return text

    def objections(self, p: float, tolerance: float = 0.1) -> list[str]:
        """Why the order of the formula is not ``p`` on every problem; empty if it is, globally and locally.

        A law that is exact has no order; it is claimed by ``p = inf``.
        """
        if self.exact or math.isinf(p):
            curves = [
                f"{s.problem}, {s.variant}: {s.estimate.reason}" for s in self.series if s.estimate.status != "exact"
            ]
            return curves if math.isinf(p) else ["the law is exact, and has no order: claim inf"]
        wrong = [f"{s.problem}: {s.estimate.reason}" for s in self.select() if not s.estimate.supports(p, tolerance)]
        slow = [
            f"one-step defect on the {s.problem} falls like h^{s.estimate.rate:.2f}, not h^{p + 1:g}"
            for s in self.select(measure="local")
            if s.estimate.rate is not None and s.estimate.rate < p + 1 - 2 * tolerance
        ]
        return wrong + slow

    def disagreements(self) -> list[str]:
        """Where the measured order is not the recorded one, from above or below; empty if all agree."""
        return [
            f"{s.problem}, {s.measure}: measured {'undecided' if s.order is None else f'{s.order:g}'}, "
            f"recorded {s.expected}"
            for s in self.series
            if s.expected is not None and s.order != s.expected
        ]

    def assert_order(self, p: float, tolerance: float = 0.1) -> None:
        """Raise AssertionError, with the table, unless the formula has order ``p`` on every problem."""
        reasons = self.objections(p, tolerance)
        if reasons:
            raise AssertionError(f"{self.verdict}\norder {p:g} REJECTED: " + "; ".join(reasons) + f"\n{self}")

    def to_dict(self) -> dict[str, Any]:
        """Study as JSON-able data."""
        return {
            "name": self.name,
            "process": self.process,
            "verdict": self.verdict,
            "order": self.order,
            "orders": self.orders,
            "order_as_shipped": self.order_as_shipped,
            "by_draws": self.by_draws,
            "series": [
                {
                    "problem": s.problem,
                    "variant": s.variant,
                    "measure": s.measure,
                    "rate": s.estimate.rate,
                    "order": s.order,
                    "status": s.estimate.status,
                    "steps": s.estimate.steps.tolist(),
                    "errors": s.estimate.errors.tolist(),
                    "divergences": list(s.divergences),
                }
                for s in self.series
            ],
        }

    def __str__(self) -> str:
        """Verdict and table."""
        lines = [self.verdict]
        for s in self.series:
            e = s.estimate
            rate = f"{e.rate:6.3f}" if e.rate is not None else "   -  "
            cells = " ".join(f"{n}:{error:.1e}" for n, error in zip(e.steps.tolist(), e.errors.tolist(), strict=True))
            lines.append(f"  {s.measure:<6} {s.variant:<10} {s.problem:<13} rate {rate}  [{e.status}]  {cells}")
        return "\n".join(lines)


def _least(orders: Any) -> float | None:
    known = list(orders)
    return None if not known or any(order is None for order in known) else min(known)


def convergence_study(
    method: str | TokenSampler | Callable[..., Any],
    law: Law | Mapping[str, Law] | None = None,
    process: TokenProcess | None = None,
    *,
    steps: Sequence[int] | None = None,
    variants: Sequence[Variant] | None = None,
    measures: Sequence[Literal["global", "local"]] = ("global", "local"),
    spacing: str = "uniform",
    convention: Convention | None = None,
    draws: int = 200_000,
    seed: int = 0,
) -> TokenStudy:
    """Measure the order in law of a sampler on tokens.

    Parameters
    ----------
    method : str, TokenSampler or callable
        Name or record; or a sampler of one's own with the exact model of the problem, in one of two conventions told
        by the names of its parameters: ``kernel(model, x, t, s)``, which returns the law of each token at time s < t
        given the state x, shape (n, L, states); or ``sampler(model, x, nodes, rng)``, which returns the states at the
        last of the times, and draws with ``rng``: its uniform numbers are spread evenly over the sequences in one
        state, which lowers the Monte-Carlo error, so each sequence has to draw numbers of its own. ``model(x, t)``
        returns the marginals of the data, shape (n, L, S); ``model.process`` is the process.
    law : Law or mapping of str to Law, optional
        The data; by default two chains of three ternary tokens (see :func:`study_laws`).
    process : Masked or Uniform, optional
        The noise; masked with a linear schedule by default.
    steps : sequence of int, optional
        Step counts; by default 8 to 128, extended where these do not decide; 2 to 24 for functions on batches.
    variants : sequence of {"formula", "start-up", "last step", "as shipped"}, optional
        What to measure; see the module. By default the formula and the run as shipped, and where these differ the other
        two, which say at which end the order is lost.
    measures : sequence of {"global", "local"}
        Errors at the end, defects of one step (of the formula).
    spacing : {"uniform", "smooth", "irregular"}
        Times of the steps.
    convention : {"kernel", "batch"}, optional
        How a sampler of one's own is called, where its parameters do not tell.
    draws : int
        Sequences that a function on batches is asked for at each level, at most: fewer where they decide, and a quarter
        where ``variants`` is left out and not the formula is measured.
    seed : int
        Seed of the draws.

    Returns
    -------
    TokenStudy

    Raises
    ------
    ValueError
        For unknown names; samplers without a number of steps; kernels that return negative or unnormalised
        probabilities; samplers that leave masks at the end.
    TypeError
        If a sampler's convention cannot be told, or it returns what it must not.

    Examples
    --------
    >>> def bridge(model, x, t, s):
    ...     return model.process.posterior(model(x, t), x, t, s)
    >>> convergence_study(bridge, variants=("formula",)).assert_order(1)
    """
    process = Masked() if process is None else checked_process(process)
    laws = _laws(law, process)
    levels = None if steps is None else _levels(steps)
    for name, given, known in (("variants", variants or (), VARIANTS), ("measures", measures, MEASURES)):
        if isinstance(given, str) or not set(given) <= set(known):
            msg = f"{name}={given!r}: pass some of {', '.join(known)}"
            raise ValueError(msg)
    if spacing not in GRID_KINDS:
        msg = f"spacing={spacing!r}: use one of {', '.join(GRID_KINDS)}"
        raise ValueError(msg)
    draws = whole_number("draws", draws, 1000, "a law needs at least a thousand draws")
    record = sampler(method) if isinstance(method, str | TokenSampler) or not callable(method) else None
    if record is not None and record.order is None:
        raise ValueError(
            f"{record.name} has no number of steps to refine: "
            + ("its law is exact" if record.exact else "use dn.discrete.output_law for each number of tokens a step")
        )
    if record is not None and process.name not in record.processes:
        msg = f"{record.name} does not run on the {process.name} process: use {', '.join(record.processes)}"
        raise ValueError(msg)
    series: list[TokenSeries] = []
    by_draws = False
    for label, one in laws.items():
        space = StateSpace(one, process)
        rule = record.rule if record is not None else understood_tokens(method, space, convention)  # type: ignore[arg-type]
        by_draws = isinstance(rule, BatchRun)

        def curves(
            variant: Variant, rule: Any = rule, space: StateSpace = space, label: str = label
        ) -> list[TokenSeries]:
            """All curves of a variant on this problem."""
            if isinstance(rule, BatchRun):
                many = draws if variants is not None or variant == "formula" else math.ceil(draws * REST)
                return [_by_draws(rule, space, label, variant, levels or BATCH_STEPS, spacing, many, seed)]
            claim = _expected(record, space) if variant == "formula" else None
            return [
                # A step whose defect does not fall with h has no order that its defect could tell.
                _exact_series(
                    rule, space, label, variant, m, levels, spacing, None if m == "local" and not claim else claim
                )
                for m in measures
                if m == "global" or variant == "formula"
            ]

        found = [one for variant in variants or ("formula", "as shipped") for one in curves(variant)]
        whole = {s.variant: s.order for s in found if s.measure == "global"}
        if variants is None and len(set(whole.values())) > 1:
            found += [*curves("start-up"), *curves("last step")]
        series += found
    name = record.name if record is not None else getattr(method, "__name__", type(method).__name__)
    return TokenStudy(name, process.name, tuple(series), by_draws)


def _laws(given: Any, process: TokenProcess) -> dict[str, Law]:
    """The problems of a study, by name."""
    if given is None:
        return study_laws(process)
    laws = {"law": given} if isinstance(given, Law) else given
    if not isinstance(laws, Mapping) or not laws or not all(isinstance(one, Law) for one in laws.values()):
        msg = f"law={given!r}: pass a dn.discrete.Law, or a mapping of names to Laws"
        raise TypeError(msg)
    return dict(laws)


def _levels(steps: Any) -> tuple[int, ...]:
    """Step counts, which increase."""
    if np.ndim(steps) == 1 and len(steps) == 1:
        msg = f"steps={steps!r}: pass two or more counts that increase, such as (8, 16, 32)"
        raise ValueError(msg)
    if np.ndim(steps) != 1 or not len(steps):
        msg = f"steps={steps!r}: pass the step counts of the refinement, such as (8, 16, 32, 64)"
        raise ValueError(msg)
    levels = tuple(whole_number("steps", n, remedy="pass step counts >= 1") for n in steps)
    if any(b <= a for a, b in pairwise(levels)):
        msg = f"steps={steps!r}: pass step counts that increase, such as (8, 16, 32, 64)"
        raise ValueError(msg)
    return levels


def _expected(record: TokenSampler | None, space: StateSpace) -> int | None:
    """Order that the record claims on a problem, rough or not."""
    if record is None:
        return None
    rough = isinstance(record.rule, Leap) and any(least_rate(record.rule, space, t) < 0 for t in (LATE, MIDDLE, EARLY))
    return record.order_on(rough)


def _ends(space: StateSpace, variant: Variant) -> tuple[float, FloatArray, float, FloatArray]:
    """Where a variant begins and ends: times and exact laws."""
    process = space.process
    first = process.start if variant in ("start-up", "as shipped") else EARLY
    last = 0.0 if variant in ("last step", "as shipped") else LATE
    begin = space.noise() if first == process.start else space.marginal(first)
    return first, begin, last, space.data() if last == 0.0 else space.marginal(last)


def _exact_series(
    rule: StepRule,
    space: StateSpace,
    label: str,
    variant: Variant,
    measure: Literal["global", "local"],
    steps: Sequence[int] | None,
    spacing: str,
    expected: int | None,
) -> TokenSeries:
    """Errors of exact laws, refined until the rate is decided."""
    first, begin, last, truth = _ends(space, variant)
    divergences: dict[int, float] = {}

    def error(n: int) -> FloatArray:
        if measure == "local":
            t, s = MIDDLE, MIDDLE - (first - last) / n
            out, exact = run(rule, space, space.marginal(t), np.array([t, s])), space.marginal(s)
        else:
            nodes = first + (last - first) * fractions(spacing, n)
            nodes[-1] = last
            own_end = isinstance(rule, KernelRule)
            out, exact = run(rule, space, begin, nodes, finish=not own_end), truth
        left = float(out[np.any(space.states == space.tokens, axis=1)].sum()) if last == 0.0 else 0.0
        if left > max(LEFT_MASKED, _eps(rule)):
            msg = f"the sampler leaves masks at the end with probability {left:.3g}: show all by s = 0"
            raise ValueError(msg)
        divergences[n] = divergence(exact, out)
        return np.asarray(total_variation(out, exact))

    def rate(levels: Sequence[int], errors: FloatArray) -> RateEstimate:
        return estimate_rate(levels, errors, eps=_eps(rule) or float(np.finfo(np.float64).eps))

    usual = SLOW if expected == 0 else USUAL
    estimate = refined(error, usual if steps is None else Ladder(tuple(dict.fromkeys(steps))), rate)
    told = tuple(divergences[n] for n in estimate.steps.tolist())
    return TokenSeries(label, variant, measure, estimate, told, expected)


def _eps(rule: Any) -> float:
    """Spacing of the arithmetic that a rule returns."""
    return rule.noted.get("eps", 0.0) if isinstance(rule, KernelRule) else float(np.finfo(np.float64).eps)


def _by_draws(
    rule: BatchRun,
    space: StateSpace,
    label: str,
    variant: Variant,
    steps: Sequence[int],
    spacing: str,
    draws: int,
    seed: int,
) -> TokenSeries:
    """Errors of laws that are known by draws."""
    first, begin, last, truth = _ends(space, variant)

    levels, edges = tuple(dict.fromkeys(steps)), np.cumsum(begin / begin.sum())

    def shares(level: int, turn: int, n: int) -> FloatArray:
        """Shares among the draws of a level."""
        # the sampler's own noise must not be that of the states it begins from
        seeds = np.random.SeedSequence([seed, level, turn]).spawn(2)
        start, own = np.random.Generator(np.random.Philox(seeds[0])), EvenDraws(seeds[1])
        first_ones = np.searchsorted(edges, (np.arange(n) + start.random(n)) / n)
        states = start.permutation(np.minimum(first_ones, space.size - 1))
        nodes = first + (last - first) * fractions(spacing, levels[level])
        nodes[-1] = last
        own.seen(states)
        rule.model.seen = own.seen
        return np.bincount(space.index(rule(space.states[states], nodes, own)), minlength=space.size) / n

    return TokenSeries(label, variant, "global", rate_by_draws(shares, truth, levels, draws), (), None)

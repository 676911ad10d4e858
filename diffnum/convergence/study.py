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

Methods that draw noise have a strong order, a weak one and one in law, measured as shipped; see :mod:`.stochastic`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, get_args

import numpy as np

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.coefficients.noise import ORDERS, NoisyMeasure
from diffnum.convergence.checks import check_sampler
from diffnum.convergence.diagnosis import diagnose
from diffnum.convergence.measure import decided_rate, measured_rate, problems_by_label
from diffnum.convergence.nodes import INTERVAL, PATTERN, PLAIN_INTERVAL, Spacing, fractions
from diffnum.convergence.noise import noisy_orders, only_problem
from diffnum.convergence.oracle import oracle_of
from diffnum.convergence.own_noise import orders_of_own
from diffnum.convergence.record import ConvergenceStudy, Measure, Series, Variant
from diffnum.convergence.refinement import check_levels
from diffnum.foreign import understood
from diffnum.foreign.conventions import Convention
from diffnum.jobs.checked import check_names, check_schedule
from diffnum.schedules import VPLinear
from diffnum.types import Problem, Sampler, Schedule

__all__ = ["ConvergenceStudy", "Series", "convergence_study", "fractions", "measured_rate"]


def convergence_study(
    sampler: str | Method | Sampler,
    problem: Problem | Mapping[str, Problem] | None = None,
    *,
    schedule: Schedule | None = None,
    grids: Sequence[str] = GRID_KINDS,
    steps: Sequence[int] | None = None,
    variants: Sequence[Variant] | None = None,
    measure: Measure | None = None,
    measures: Sequence[Measure] | None = None,
    points: int | None = None,
    interval: tuple[float, float] | None = None,
    pattern: Sequence[float] = PATTERN,
    seed: int = 0,
    noise_level: float = 1.0,
    convention: Convention | None = None,
) -> ConvergenceStudy:
    """Measure the order of a sampler.

    Parameters
    ----------
    sampler : str, Method, callable, or scheduler of diffusers
        Catalogue name or record, or ``sampler(model, x, nodes) -> x`` with ``nodes`` the half-log-SNRs, increasing, and
        ``model.data(x, lam)``, ``.noise``, ``.velocity``, ``.score`` the exact predictions; or a sampler in another
        convention of :mod:`diffnum.foreign.conventions`. One that draws noise takes it from its caller,
        ``sampler(model, x, nodes, noise)`` with ``noise(a, b)`` the standard normal draws between two half-log-SNRs; in
        the other conventions it may take ``noise_sampler`` or ``noise``, or draw with torch
        (:mod:`diffnum.foreign.draws`).
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
    measure : {"global", "local", "strong", "weak", "law"}, optional
        What to measure, and what the order of the study is that of: the error at the end, or the defect of one step of
        the formula, by default both and the order of the first; for methods with noise the distance on a shared path,
        moments given the start, or the law of the output from the exact marginal.
    measures : sequence of {"global", "local"}, optional
        Several at once, without noise.
    points : int, optional
        Starting points, drawn from the exact marginal; by default 12. With noise, independent paths to sample; by
        default none where the distance is known without.
    interval : (float, float), optional
        Half-log-SNR where the runs begin and end; by default (-2, 2), or (-1, 1) for methods in other clocks and for
        noise on data that are not Gaussian.
    pattern : sequence of float
        Step ratios that the irregular grids repeat.
    seed : int
        Seed of the starting points.
    noise_level : float
        tau of the equation that a callable with noise is held against; a method of the catalogue has its own.
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
        If the method is unknown, the interval is not inside the schedule, the measure is none of the method's, or the
        sampler breaks its convention: wrong shape, NaN, randomness, writing into its input, a model that is ignored.

    Examples
    --------
    >>> import numpy as np
    >>> def ddim(model, x, nodes):
    ...     for a, b in zip(nodes, nodes[1:]):
    ...         s = model.schedule
    ...         t0, t1 = s.time(a), s.time(b)
    ...         moved = s.sigma(t1) * np.expm1(b - a) * model.noise(x, a)
    ...         x = s.alpha(t1) / s.alpha(t0) * x - moved
    ...     return x
    >>> convergence_study(ddim, grids=("uniform",)).assert_order(1)
    """
    subject: Method | Sampler
    if schedule is not None:
        check_schedule(schedule)
    if isinstance(grids, str):
        msg = f"grids={grids!r} is one word: pass a sequence, such as ({grids!r},)"
        raise TypeError(msg)
    if not grids:
        msg = f"grids={grids!r} is empty: use one or more of {', '.join(GRID_KINDS)}"
        raise ValueError(msg)
    _check_numbers(interval, pattern, noise_level, seed)
    if variants is not None:
        check_names("variants", variants, get_args(Variant))
    if steps is not None:
        check_levels(steps)
    if not isinstance(sampler, str | Method) and measure in ORDERS:
        return _own_orders(sampler, measure, problem, noise_level, schedule, grids, steps, interval, convention)
    if isinstance(sampler, str | Method):
        subject = find_method(sampler) if isinstance(sampler, str) else sampler
    else:
        subject = understood(sampler, convention)
    record = subject if isinstance(subject, Method) else None
    _check_measure(record, measure, variants, measures)
    if record is not None and noise_level != 1.0:
        msg = f"noise_level={noise_level!r}: {record.name!r} has its own; it is for samplers of your own"
        raise ValueError(msg)
    if record is not None and measure in ORDERS:
        return noisy_orders(
            record,
            measure,
            problem,
            schedule=schedule,
            grids=grids,
            steps=steps,
            points=points,
            interval=interval,
            seed=seed,
        )
    asked = measures is not None or measure is not None
    measures = measures or (("global", "local") if measure is None else (measure,))
    points = POINTS if points is None else points
    schedule = VPLinear() if schedule is None else schedule
    problems = problems_by_label(problem)
    if interval is None:
        interval = INTERVAL if record is None or record.form.rate else PLAIN_INTERVAL
    variants = variants or (("formula", "start-up", "as shipped") if record is None else ("formula", "as shipped"))
    uneven = any(kind != "uniform" for kind in grids)  # one graded step says nothing on weights for equal steps
    series = []
    for label, exact in problems.items():
        oracle = oracle_of(exact, schedule, interval, points, seed)
        if not isinstance(subject, Method):
            check_sampler(subject, oracle)
        for kind in grids:
            for variant in variants:
                for one in measures:
                    if one == "local" and (variant != "formula" or (record is None and not uneven and not asked)):
                        continue
                    found = decided_rate(subject, oracle, Spacing(kind, tuple(pattern)), variant, one, steps)
                    series.append(Series(label, kind, variant, one, found))
    if not isinstance(subject, Method):
        name = getattr(subject, "__name__", type(subject).__name__)
        explain = partial(_explained, subject, next(iter(problems.values())), schedule)
        local = measure == "local"  # of the formula only
        primary: Variant = "formula" if local else "as shipped"
        return ConvergenceStudy(name, primary, tuple(series), {}, explain, measure or "global")
    expected = {kind: subject.order_on(kind) for kind in grids}
    return ConvergenceStudy(subject.name, "formula", tuple(series), expected, measure=measure or "global")


def _own_orders(
    sampler: Any,
    measure: NoisyMeasure,
    problem: Problem | Mapping[str, Problem] | None,
    noise_level: float,
    schedule: Schedule | None,
    grids: Sequence[str],
    steps: Sequence[int] | None,
    interval: tuple[float, float] | None,
    convention: Convention | None,
) -> ConvergenceStudy:
    """Orders of a callable with noise."""
    return orders_of_own(
        sampler,
        measure,
        only_problem(problem),
        noise_level=noise_level,
        schedule=schedule,
        grids=grids,
        steps=steps,
        interval=interval,
        convention=convention,
    )


POINTS = 12
"""Starting points of a study without noise."""


def _check_numbers(interval: Any, pattern: Sequence[float], noise_level: Any, seed: Any) -> None:
    """Refuse numbers with which nothing can be measured."""
    if interval is not None and (len(interval) != 2 or not all(map(math.isfinite, interval))):
        msg = f"interval={interval!r}: pass the half-log-SNRs of both ends, such as (-1.0, 1.0)"
        raise ValueError(msg)
    if not len(pattern) or min(pattern) <= 0:
        msg = f"pattern={pattern!r}: pass lengths of steps > 0, such as (1.0, 1.7, 0.6)"
        raise ValueError(msg)
    if not (callable(noise_level) or noise_level is None or 0.0 <= noise_level < math.inf):
        msg = f"noise_level={noise_level!r}: pass a finite number >= 0; 1 is the reverse equation"
        raise ValueError(msg)
    if not isinstance(seed, int | np.integer) or seed < 0:
        msg = f"seed={seed!r}: pass a whole number >= 0"
        raise ValueError(msg)


def _check_measure(
    record: Method | None,
    measure: Measure | None,
    variants: Sequence[Variant] | None,
    measures: Sequence[Measure] | None,
) -> None:
    """Refuse what a sampler has no order of.

    Raises
    ------
    ValueError
        If the measure is unknown, or none of a method with, or without, noise.
    """
    known = ("global", "local", *ORDERS)
    if unknown := [m for m in (*(measures or ()), measure) if m is not None and m not in known]:
        msg = f"measure={unknown[0]!r} is unknown: use one of {', '.join(known)}"
        raise ValueError(msg)
    if measure is not None and measures is not None:
        msg = f"measure={measure!r} and measures={tuple(measures)!r} say the same thing: give one of them"
        raise ValueError(msg)
    if record is not None and record.noise is not None and (measure in ORDERS or not record.noise.silent):
        if measure not in ORDERS:
            msg = (
                f"measure={measure!r}: {record.name!r} draws noise, so that its order is strong, weak or in law: "
                "pass measure='strong', 'weak' or 'law'"
            )
            raise ValueError(msg)
        if variants is not None and set(variants) != {"as shipped"}:
            msg = f"variants={tuple(variants)!r}: methods with noise are measured as shipped, leave it out"
            raise ValueError(msg)
    elif noisy := [m for m in (measure, *(measures or ())) if m in ORDERS]:
        name = "a sampler of your own" if record is None else f"method={record.name!r}"
        msg = f"measure={noisy[0]!r}: {name} is deterministic: use measure='global' or 'local'"
        raise ValueError(msg)


def _explained(sampler: Sampler, problem: Problem, schedule: Schedule, order: float) -> str:
    """What is likely wrong with a callable that claims an order."""
    return str(diagnose(sampler, order, problem, schedule=schedule))

"""Numbers of steps off the ladder: every class modulo 2, 3, 4, more than 500 and 1000, and sudden jumps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from diffnum.convergence.checks import SamplerError
from diffnum.convergence.edges import USUAL
from diffnum.convergence.rate import FLOOR_FACTOR, REACH, RateEstimate, estimate_rate
from diffnum.convergence.refinement import Run

__all__ = ["Odd", "class_of", "odd_counts"]

PERIOD = 12
"""Classes modulo 2, 3 and 4 at once."""

NEAR = 192
"""Level after which one number of steps of every class is tried."""

FAR = (501, 1001)
"""Numbers of steps of long runs; neither divides 1000."""

WORSE = 1.5
"""An error this much larger than its neighbours lead to expect calls for a closer look."""

JUMP = 3.0
"""An error that rises by this factor over what one level leads to expect of the next has jumped."""


@dataclass(frozen=True)
class Odd:
    """Numbers of steps at which a sampler is worse than at others.

    Parameters
    ----------
    text : str
        What happens at which.
    steps : tuple of int
        A ladder that shows it, or the two counts of a jump.
    estimate : RateEstimate or None
        Rate over that ladder, for classes and long runs.
    kind : {"class", "better", "jump", "long", "alone", "failure"}
        What was found.
    """

    text: str
    steps: tuple[int, ...]
    estimate: RateEstimate | None
    kind: str


EVERY_CLASS = tuple(range(1, PERIOD))
"""Residues modulo 12 of which one number of steps is tried."""

FEWEST = (1, 2, 3)
"""Residues that meet every class modulo 2, 3 and 4; all are looked at once one of these is worse."""


def odd_counts(
    run: Run,
    rate: RateEstimate,
    claimed: float,
    scale: float,
    bad: Callable[[RateEstimate], bool],
    *,
    first: Sequence[int] = EVERY_CLASS,
    usual: Sequence[int] = USUAL,
    far: Sequence[int] = FAR,
) -> tuple[Odd, ...]:
    """Look for numbers of steps at which the error is larger than the ladder leads to expect.

    Parameters
    ----------
    run : callable
        Errors, shape (points,), of a run with so many steps.
    rate : RateEstimate
        Of the plain run, over multiples of 12.
    claimed : float
        Order that the errors of longer runs are held against.
    scale : float
        Size of the states, for the rounding floor.
    bad : callable
        Whether a rate contradicts the claim.
    first : sequence of int
        Residues modulo 12 that are tried first; the others are where one of them is worse.
    usual : sequence of int
        Numbers of steps that users ask for, of which one may be worse than its neighbours.
    far : sequence of int
        Numbers of steps of long runs; none where those are made elsewhere.

    Returns
    -------
    tuple of Odd
        Classes of numbers of steps first, then jumps, long runs and failures.
    """
    steps, errors = rate.steps.tolist(), rate.errors.tolist()
    floor = REACH * FLOOR_FACTOR * float(np.finfo(np.float64).eps) * scale
    failures: dict[str, list[int]] = {}

    def error(n: int) -> float:
        try:
            found = float(np.sqrt(np.mean(run(n) ** 2)))
            return found if np.isfinite(found) else np.inf
        except SamplerError as reason:
            failures.setdefault(str(reason.__cause__), []).append(n)
            return 0.0

    def expected(n: int) -> float:
        if n <= steps[-1]:
            return float(np.exp(np.interp(np.log(n), np.log(steps), np.log(np.maximum(errors, floor * 1e-6)))))
        return float(errors[-1] * (steps[-1] / n) ** claimed)

    jump = _jump(error, steps, errors, claimed, floor)
    if jump is not None:
        return (jump,)
    found: list[Odd] = []
    near = NEAR if steps[0] <= NEAR <= steps[-1] - PERIOD else steps[len(steps) // 2]
    if bad(rate):
        better = {r for r in range(1, PERIOD) if error(near + r) < expected(near + r) / WORSE}
        worse = [r for r in range(PERIOD) if r not in better]
        text = f"only {class_of(worse)} do so: others have smaller errors"
        return (Odd(text, (), None, "better"),) if better else ()

    def suspicious(residues: Sequence[int]) -> list[int]:
        return [r for r in residues if error(near + r) > WORSE * expected(near + r) + floor]

    suspects = suspicious(first)
    if suspects:
        suspects = sorted(suspects + suspicious([r for r in EVERY_CLASS if r not in first]))
    guilty: dict[int, tuple[tuple[int, ...], RateEstimate]] = {}
    for r in suspects:
        ladder = tuple(n + r for n in (24, 48, 96, 192, 384))
        estimate = estimate_rate(ladder, np.array([[error(n)] for n in ladder]), scale=scale)
        if bad(estimate):
            guilty[r] = (ladder, estimate)
    if guilty:
        lowest = min(guilty)
        ladder, estimate = guilty[lowest]
        found.append(Odd(f"{class_of(sorted(guilty))}: {estimate.reason}", ladder, estimate, "class"))
    within = [n for n in usual if steps[0] < n < steps[-1]] if not guilty and rate.order is not None else []
    for n, size in [(n, error(n)) for n in within]:
        if JUMP * expected(n) + floor < size < np.inf:
            text = f"with {n} steps the error is {size:.1e}, where its neighbours lead to expect {expected(n):.1e}"
            found.append(Odd(text, (n,), None, "alone"))
    if not guilty and rate.order is not None:
        for n in far:
            if n > steps[-1] and error(n) > WORSE * expected(n) + floor:
                low = steps[-1]
                jump = _jump(error, [low, n], [errors[-1], error(n)], claimed, floor, WORSE)
                longer = (*steps, 768, 1536) if steps[-1] < 768 else tuple(steps)
                estimate = estimate_rate(longer, np.array([[error(k)] for k in longer]), scale=scale)
                if jump is not None:
                    found.append(jump)
                elif bad(estimate) or estimate.order is None:
                    found.append(Odd(f"long runs: {estimate.reason}", longer, estimate, "long"))
                break
    for reason, counts in failures.items():
        some = ", ".join(map(str, sorted(set(counts))[:4]))
        found.append(Odd(f"with {some} steps it raises {reason}", tuple(sorted(set(counts))), None, "failure"))
    return tuple(found)


def _jump(
    error: Callable[[int], float],
    steps: Sequence[int],
    errors: Sequence[float],
    claimed: float,
    floor: float,
    factor: float = JUMP,
) -> Odd | None:
    """First number of steps at which the error leaves the line of fewer steps, if it does so at once."""
    for k in range(1, len(steps)):
        low, high = steps[k - 1], steps[k]
        base = errors[k - 1]
        before = k < 2 or errors[k - 1] <= JUMP * errors[k - 2] * (steps[k - 2] / low) ** claimed
        if not (np.isfinite(base) and before and errors[k] > factor * base * (low / high) ** claimed + floor):
            continue
        first = low
        while high - first > 1:
            middle = (first + high) // 2
            good = error(middle) <= factor * base * (low / middle) ** claimed + floor
            first, high = (middle, high) if good else (first, middle)
        below, above = error(first), error(high)
        if above > max(factor * 0.8, 1.2) * below + floor:
            text = f"from {high} steps on the error is {above:.1e}, with {first} it is {below:.1e}"
            return Odd(text, (first, high), None, "jump")
    return None


def class_of(residues: Sequence[int]) -> str:
    """Residues modulo 12 in the plainest words.

    >>> class_of([1, 3, 5, 7, 9, 11])
    'odd numbers of steps'
    >>> class_of([1, 4, 7, 10])
    'numbers of steps n with n % 3 = 1'
    """
    for period in (2, 3, 4, 6):
        kept = sorted({r % period for r in residues})
        if {r for r in range(PERIOD) if r % period in kept} == set(residues):
            break
    else:
        period, kept = PERIOD, sorted(residues)
    if period == 2:
        return "odd numbers of steps" if kept == [1] else "even numbers of steps"
    return f"numbers of steps n with n % {period} = {' or '.join(map(str, kept))}"

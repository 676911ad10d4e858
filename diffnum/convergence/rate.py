"""The rate at which errors fall as steps are added, and whether the data decide it.

This is the estimator alone: it sees step counts and errors, never a sampler. From levels ``(n_i, e_i)`` it
forms ``r_i = ln(e_i / e_{i+1}) / ln(n_{i+1} / n_i)`` with its sign, so that an error that grows has a
negative rate and never passes for convergence. Six rules follow, in this order, the same for all methods.

1. *Divergence.* A level with a NaN or infinite error is dropped with all coarser ones; if it is the finest,
   the verdict is "diverging".
2. *Rounding floor.* Trailing levels with ``e <= FLOOR_FACTOR eps scale sqrt(n)`` are dropped. More of them
   are, up to ``REACH`` times that floor, if the rates settle only without them. An error that stalls higher
   up is not rounding: such a method does not converge.
3. *Cancellation.* Where the error happens to change sign, one level is accidentally tiny and its two rates
   are high, then low. One such level is bridged, if the others settle without it and it is not the finest;
   so is a level below the floor, when finer ones are far above it.
4. *Enough data.* Three pairs must survive.
5. *Settled.* The last three rates either drift to a limit, which Aitken extrapolation finds (never beyond
   Richardson extrapolation for a relative correction of ``h^grid``), or scatter about a common slope. The
   uncertainty is the extrapolated distance, at least the last drift, or half the scatter; it must not exceed
   ``SETTLED``, and the three must lie within ``WINDOW`` of the limit. Rates whose drift speeds up are leaving
   one order for another and decide nothing. (What is still invisible at the finest level cannot be found.)
6. *Honesty.* Whatever is not decided is named ("pre-asymptotic", "floor", "undecided"), with the remedy.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffnum.types import FloatArray

__all__ = ["RateEstimate", "Status", "estimate_rate"]

Status: TypeAlias = Literal["decided", "pre-asymptotic", "floor", "diverging", "exact", "undecided"]
"""What the data say: only "decided" supports an order."""

IntArray: TypeAlias = NDArray[np.int64]

TOLERANCE = 0.1  # a rate this close to an order is that order
SETTLED = 0.125  # largest uncertainty of a decided rate: a quarter of the gap between half-integer orders
WINDOW = 0.4  # rates further than this from the limit are pre-asymptotic
FLOOR_FACTOR = 100.0  # 1e3 eps |x| at n = 100, some 30 times the rounding error of a careful solver
REACH = 100.0  # errors within this factor of the floor may be mixed with rounding, and are dropped if need be
DIP = 0.5  # a rate followed by one lower by this much marks a level that may be accidentally tiny
OUTWARD_DRIFT = 0.03  # rates whose last drift exceeds this ...
OUTWARD_RATIO = 1.25  # ... and grew by this factor are leaving an order

DROPPED = {
    "diverged": "diverged at",
    "unstable": "ignored, since a finer level diverged,",
    "cancellation": "ignored, as accidentally small,",
    "floor": "at the rounding floor",
}
"""Notes that a dropped level can bear, and how the reason words them."""


@dataclass(frozen=True, eq=False)
class RateEstimate:
    """A convergence rate, how sure it is, and the data it rests on.

    Attributes
    ----------
    steps, errors : ndarray, shape (levels,)
        Step counts, and root-mean-square errors (infinite where a sample diverged).
    rates : ndarray, shape (levels - 1,)
        Pair rates; nan or infinite where an error is zero or infinite.
    used : ndarray of bool, shape (levels - 1,)
        Pairs in the trailing window of settled rates. The rate itself rests on the last three that survive.
    notes : tuple of str, length levels
        Why a level was dropped (see ``DROPPED``); "" where it was kept.
    rate : float or None
        Extrapolated limit of the rates, never rounded, negative if errors grow; None if nothing settles.
    last_rate : float or None
        The last surviving pair rate, as measured.
    uncertainty : float
        Half-width about ``rate``; infinite if nothing settles.
    status, reason : str
        The verdict in one word, and in one sentence.
    grid : float
        Spacing of admissible orders: 1.0, or 0.5 for strong orders.
    """

    steps: IntArray
    errors: FloatArray
    rates: FloatArray
    used: NDArray[np.bool_]
    notes: tuple[str, ...]
    rate: float | None
    last_rate: float | None
    uncertainty: float
    status: Status
    reason: str
    grid: float

    @property
    def order(self) -> float | None:
        """The multiple of ``grid`` within 0.1 of a decided rate, or None; 0.0 means "does not converge"."""
        return _nearest_order(self.rate, self.grid) if self.status == "decided" else None

    def supports(self, p: float, tolerance: float = TOLERANCE) -> bool:
        """Whether the rate is decided and within ``tolerance`` of ``p`` from both sides: p + 1 is not p."""
        return self.status == "decided" and self.rate is not None and abs(self.rate - p) <= tolerance

    def rejects(self, p: float, tolerance: float = TOLERANCE) -> bool:
        """Whether the data exclude ``p >= 0``: diverging, or off by more than tolerance plus uncertainty.

        Not the negation of :meth:`supports`: undecided data neither support nor reject.
        """
        off = self.rate is not None and abs(self.rate - p) > tolerance + self.uncertainty
        return self.status == "diverging" or (self.status == "decided" and off)

    def table(self) -> list[tuple[int, float, float | None, bool, str]]:
        """One row (n, error, rate from the level above, whether that rate is used, note) per level."""
        rates, used = [None, *self.rates.tolist()], [False, *self.used.tolist()]
        return list(zip(self.steps.tolist(), self.errors.tolist(), rates, used, self.notes, strict=True))

    def __str__(self) -> str:
        lines = [f"{'n':>8}  {'error':>10}  {'rate':>7}  used  note"]
        for n, error, rate, used, note in self.table():
            shown = "" if rate is None or not math.isfinite(rate) else f"{rate:z.3f}"
            lines.append(f"{n:>8}  {error:>10.3e}  {shown:>7}  {'yes' if used else '':<4}  {note}".rstrip())
        return "\n".join([*lines, f"{self.status}: {self.reason}"])


def estimate_rate(
    steps: Sequence[int] | IntArray,
    errors: Any,
    *,
    scale: float = 1.0,
    eps: float = float(np.finfo(np.float64).eps),
    floor: float | None = None,
    grid: float = 1.0,
) -> RateEstimate:
    """Estimate the convergence rate of errors, and say whether they decide it (rules: see the module).

    Parameters
    ----------
    steps : sequence of int, shape (levels,)
        Step counts, positive and strictly increasing; ratios need not be constant.
    errors : array_like, shape (levels,) or (levels, samples)
        Norms of errors, >= 0; NaN and infinity mean that the solver diverged. Samples (starting points) are
        combined by root mean square, so that a sign change of the error at one of them does not matter.
    scale : float
        Typical magnitude of the computed states, > 0: it sets the rounding floor.
    eps : float
        Spacing of the arithmetic that made the errors, > 0, such as 1.2e-7 for float32.
    floor : float, optional
        Absolute floor instead of the default one, >= 0, such as 30 times the accuracy of the reference; 0 for
        data of high precision.
    grid : float
        Spacing of admissible orders, > 0: 1.0, or 0.5 for the strong order of stochastic samplers.

    Returns
    -------
    RateEstimate

    Raises
    ------
    TypeError, ValueError
        For arguments outside the above, naming argument, value and remedy.
    """
    n, e = _checked_steps(steps), _combined(errors)
    if n.size != e.size:
        msg = f"errors has {e.size} levels, steps has {n.size}: pass one error per step count"
        raise ValueError(msg)
    for name, value in {"scale": scale, "eps": eps, "grid": grid}.items():
        if not (isinstance(value, Real) and math.isfinite(value) and value > 0):
            msg = f"{name} is {value!r}: pass a finite number > 0"
            raise ValueError(msg)
    if floor is not None and not (isinstance(floor, Real) and math.isfinite(floor) and floor >= 0):
        msg = f"floor is {floor!r}: pass a finite number >= 0, or None for the rounding floor"
        raise ValueError(msg)
    floors = FLOOR_FACTOR * eps * scale * np.sqrt(n) if floor is None else np.full(n.size, float(floor))

    notes = _notes(e, floors)
    kept, fit = _settle(n, e, notes, REACH * floors, grid)
    for i in {i for i, note in enumerate(notes) if not note}.difference(kept):
        notes[i] = "floor" if i > kept[-1] else "cancellation"
    rates = _pair_rates(n[kept], e[kept])
    near_floor = bool(e[-1] <= REACH * floors[-1] and np.sum((e > REACH * floors)[kept]) < 4)
    status, reason = _verdict(rates, fit, notes, near_floor, grid)
    for note, words in DROPPED.items():
        levels = [str(k) for k, given in zip(n.tolist(), notes, strict=True) if given == note]
        reason += f"; {words} n={', '.join(levels)}" if levels else ""
    outside = [i for i, r in enumerate(rates) if not (fit.settled and abs(r - fit.rate) <= WINDOW)]
    window = set(kept[outside[-1] + 1 :] if outside else kept)
    return RateEstimate(
        steps=n,
        errors=e,
        rates=_pair_rates(n, e),
        used=np.array([{i, i + 1} <= window for i in range(n.size - 1)], dtype=bool),
        notes=tuple(notes),
        rate=fit.rate if fit.settled else None,
        last_rate=float(rates[-1]) if rates.size else None,
        uncertainty=fit.uncertainty if fit.settled else math.inf,
        status=status,
        reason=reason,
        grid=float(grid),
    )


@dataclass(frozen=True)
class _Fit:
    rate: float = math.nan
    uncertainty: float = math.inf

    @property
    def settled(self) -> bool:
        return self.uncertainty <= SETTLED


_Choice: TypeAlias = tuple[list[int], _Fit]


def _settle(n: IntArray, e: FloatArray, notes: list[str], reach: FloatArray, grid: float) -> _Choice:
    """Levels whose rates settle: all, else all but some near the floor, else one dip less; else all again."""
    choices = [[i for i, note in enumerate(notes) if not note]]
    while choices[-1] and e[choices[-1][-1]] <= reach[choices[-1][-1]]:
        choices.append(choices[-1][:-1])
    choices += [[i for i in kept if i != dip] for kept in choices for dip in _dips(n, e, kept)]
    fits = [(kept, _fit(n[kept], e[kept], grid)) for kept in choices]
    return next((found for found in fits if found[1].settled), fits[0])


def _fit(n: IntArray, e: FloatArray, grid: float) -> _Fit:
    """Limit of the last three pair rates: rules 4 and 5."""
    if n.size < 4:
        return _Fit()
    n, e = n[-4:], e[-4:]
    r = _pair_rates(n, e)
    before, drift = (float(d) for d in np.diff(r))
    if before * drift >= 0 and abs(drift) > max(OUTWARD_DRIFT, OUTWARD_RATIO * abs(before)):
        return _Fit()
    if before * drift > 0:
        h = np.sqrt(n[:-1] / n[0] * n[1:]) ** -grid  # up to a factor; the step of a pair is a geometric mean
        gain = float(h[2] / (h[1] - h[2]))  # Richardson; Aitken where the drift contracts faster than that
        gain = min(gain, drift / (before - drift)) if abs(drift) < abs(before) else gain
        fit = _Fit(float(r[2]) + gain * drift, max(1.0, gain) * abs(drift))
    else:
        slope = float(np.polyfit(np.log(n), np.log(e), 1)[0])
        fit = _Fit(-slope, float(np.ptp(r)) / 2)
    return fit if np.all(np.abs(r - fit.rate) <= WINDOW) else _Fit()


def _notes(e: FloatArray, floors: FloatArray) -> list[str]:
    """Note of every level after rules 1 and 2."""
    finite = np.isfinite(e)
    first = int(np.flatnonzero(~finite)[-1]) + 1 if not finite.all() else 0
    notes = ["unstable" if ok else "diverged" for ok in finite[:first]]
    e, floors = e[first:], floors[first:]
    rounding = [bool(np.all(e[i:] <= REACH * floors[i:])) for i in range(e.size)]
    if e.size >= 3 and rounding[0] and e[-1] >= e[0] / 2:
        return notes + ["floor"] * e.size  # small everywhere and never falling: rounding that accumulates
    tiny = zip(e <= floors, rounding, strict=True)
    return notes + ["" if not below else "floor" if rest else "cancellation" for below, rest in tiny]


def _dips(n: IntArray, e: FloatArray, kept: list[int]) -> list[int]:
    """Interior levels that look accidentally tiny, the deepest first: candidates of rule 3."""
    fall = -np.diff(_pair_rates(n[kept], e[kept]))
    return [kept[i + 1] for i in np.argsort(-fall) if fall[i] >= DIP]


def _verdict(rates: FloatArray, fit: _Fit, notes: list[str], near_floor: bool, grid: float) -> tuple[Status, str]:
    """Status and its reason, from the surviving rates and the notes."""
    last = ", ".join(f"{r:z.3f}" for r in rates[-3:])
    drifts = np.diff(rates[-3:])
    if notes[-1] == "diverged":
        return "diverging", "the error is not finite at the finest level"
    if "" not in notes:
        return "exact", "no error exceeds rounding: choose a problem that is not solved exactly"
    if near_floor and not fit.settled:
        return "floor", "fewer than 3 pairs are free of rounding: use fewer steps, or a harder problem"
    growing = rates.size >= 2 and np.all(rates[-3:] < -TOLERANCE)
    if growing or (fit.settled and fit.rate < -TOLERANCE):
        return "diverging", f"the error grows as steps are added (last rates {last})"
    if rates.size < 3:
        return "undecided", f"only {rates.size} of 3 pairs needed survive: add levels"
    if fit.settled and fit.rate <= TOLERANCE:
        return "decided", f"does not converge: the error stalls far above rounding (rate {fit.rate:z.3f})"
    if fit.settled:
        order = _nearest_order(fit.rate, grid)
        named = f"not within {TOLERANCE} of a multiple of {grid:g}" if order is None else f"order {order:g}"
        return "decided", f"rate {fit.rate:z.3f} +- {fit.uncertainty:.3f}, {named}"
    if np.all(drifts > 0) or np.all(drifts < 0):
        way = "rise" if drifts[0] > 0 else "fall"
        return "pre-asymptotic", f"the rates still {way} ({last}): add finer levels"
    return "undecided", f"the rates scatter ({last}): add levels, or average over more starting points"


def _nearest_order(rate: float | None, grid: float) -> float | None:
    if rate is None:
        return None
    order = grid * round(rate / grid)
    return order if abs(rate - order) <= TOLERANCE else None


def _pair_rates(n: IntArray, e: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(-np.diff(np.log(e)) / np.diff(np.log(n)), dtype=np.float64)


def _checked_steps(steps: Any) -> IntArray:
    try:
        n = np.array([operator.index(k) for k in steps], dtype=np.int64)
    except TypeError as error:
        msg = f"steps is {steps!r}: pass a sequence of integers such as (20, 40, 80)"
        raise TypeError(msg) from error
    if n.size == 0 or n[0] < 1 or np.any(np.diff(n) <= 0):
        msg = f"steps is {n.tolist()}: pass positive, strictly increasing step counts"
        raise ValueError(msg)
    return n


def _combined(errors: Any) -> FloatArray:
    """Root mean square over samples, scaled against overflow; infinite where a sample is not finite."""
    values = np.asarray(errors)
    if values.dtype.kind not in "fiu":
        msg = f"errors has dtype {values.dtype}: pass real norms of errors"
        raise TypeError(msg)
    if values.ndim not in (1, 2) or values.size == 0:
        msg = f"errors has shape {values.shape}: pass (levels,) or (levels, samples), not empty"
        raise ValueError(msg)
    e = values.astype(np.float64).reshape(values.shape[0], -1)
    if np.any(e < 0):
        msg = f"errors has the entry {np.nanmin(e):g} < 0: pass norms of errors, such as abs(error)"
        raise ValueError(msg)
    finite: NDArray[np.bool_] = np.all(np.isfinite(e), axis=1)
    e = np.where(finite[:, None], e, 0.0)
    largest = np.maximum(e.max(axis=1), np.finfo(np.float64).tiny)
    return np.where(finite, largest * np.sqrt(np.mean((e / largest[:, None]) ** 2, axis=1)), np.inf)

"""Certified accuracy of the shipped weights: float64 against the derivation in ball arithmetic.

The truth is the *derived* step, not the shipped rule in more digits: a formula that is wrong cannot agree. Inputs are
float64 numbers, taken exactly. They are drawn over the domain below, from a seed, and the worst of them are followed
uphill, so that what is reported is close to the worst there is.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from diffnum.certificates.balls import EPS, Ball, BallField, error_in_eps, working_precision
from diffnum.certificates.reverse_balls import ReverseBalls, derived_with_noise, level_on
from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Placement
from diffnum.derivation.algebra.symbols import PartsKernel
from diffnum.derivation.printing.notation import NOISE
from diffnum.forms import ExponentialKernel, TabulatedKernel
from diffnum.proofs import derived_step, placements
from diffnum.tableau import Step, Window

__all__ = ["BOUND", "Accuracy", "certify_accuracy"]

BOUND = 64.0
"""Error that is certified at most, in eps = 2^-52 times the largest weight of the row."""

STEPS = (1e-8, 20.0)
"""Length of the step in the clock of the form, smallest and largest."""

RATIOS = (1e-2, 1e2)
"""Ratios of neighbouring steps."""

PRECISION = 768
"""Bits of the balls to begin with; doubled until every weight is known to :data:`KNOWN` eps."""

KNOWN = 1e-6
"""Width of a true weight, in eps of the largest one, that is narrow enough to judge by."""

CLIMBS, PACES = 3, 24
"""How many of the worst points are followed, and for how many trials."""


@dataclass(frozen=True)
class Accuracy:
    """Worst error of the weights of a method.

    Parameters
    ----------
    worst : float
        Largest error found, an upper bound by ball arithmetic, in eps times the largest weight of the row.
    where : mapping
        Inputs at which it occurs: ``h``, ``past`` nodes, ``moments`` (time clock), and the ``step``, ``row`` and
        ``weight`` concerned.
    points : int
        Inputs that were tried.
    steps : int
        Kinds of steps (start-up, full order, last) that were tried.
    bound : float
        What is certified.
    """

    worst: float
    where: Mapping[str, Any]
    points: int
    steps: int
    bound: float = BOUND

    @property
    def ok(self) -> bool:
        """Whether no error exceeds the bound."""
        return self.worst <= self.bound


@dataclass(frozen=True)
class Inputs:
    """One place at which weights are computed."""

    h: float
    past: tuple[float, ...]
    moments: tuple[float, ...] = ()

    def moved(self, rng: np.random.Generator, steps: tuple[float, float] = STEPS) -> Inputs:
        """A place nearby, with a step of allowed length; the order of the nodes is kept."""
        scale = np.exp(rng.normal(0.0, 0.05, 1 + len(self.past) + len(self.moments)))
        sizes = -np.diff([0.0, *self.past]) * scale[1 : 1 + len(self.past)]
        moments = tuple((np.array(self.moments) * scale[1 + len(self.past) :]).tolist())
        h = math.copysign(min(max(abs(self.h) * scale[0], steps[0]), steps[1]), self.h)
        return Inputs(float(h), tuple((-np.cumsum(_limited(sizes))).tolist()), moments)


def certify_accuracy(
    record: Method, *, points: int = 200, seed: int = 0, steps: tuple[float, float] = STEPS
) -> Accuracy:
    """Find the worst error of a method's weights.

    With noise, the factor of the state and the weights of the draws are judged too, each kind by its own largest.

    Parameters
    ----------
    record : Method
        Method whose family has a derivation, and whose noise, if it has some, has a level.
    points : int
        Inputs drawn for each kind of step; the worst of them are followed uphill on top of these.
    seed : int
        Seed of the draws.
    steps : (float, float)
        Shortest and longest step, in the clock of the form.

    Raises
    ------
    ModuleNotFoundError
        If python-flint is absent.
    ValueError
        If the noise level is one that levels of a schedule decide (ER-SDE), or the weights depend on the place of the
        step (flows with noise): they are no functions of the step alone.
    """
    if record.noise is not None and record.noise.placed:
        msg = f"method={record.name!r} has weights that depend on where on the schedule a step stands: use another"
        raise ValueError(msg)
    worst, tried = 0.0, 0
    where: dict[str, Any] = {}
    kinds = placements(record)
    for number, place in enumerate(kinds):
        rng = np.random.default_rng([seed, zlib.crc32(record.name.encode()), number])
        found = [(*_error(record, place, at), at) for at in _drawn(record, place, points, rng, steps)]
        found.sort(key=lambda f: -f[0])
        tried += len(found)
        for start in found[:CLIMBS]:
            best = start
            for _ in range(PACES):
                at = best[2].moved(rng, steps)
                tried += 1
                best = max(best, (*_error(record, place, at), at), key=lambda f: f[0])
            found.append(best)
        error, (row, weight), at = max(found, key=lambda f: f[0])
        if error > worst or not where:
            worst = error
            where = {"h": at.h, "past": at.past, "moments": at.moments, "step": _kind(place), "row": row}
            where["weight"] = weight
    return Accuracy(worst, where, tried, len(kinds))


def _kind(place: Placement) -> str:
    """A step in words."""
    return f"order {place.order}{', last' if place.last else ''}"


def _limited(sizes: Any) -> Any:
    """Step lengths, newest first, in units of the step, whose neighbouring ratios are within bounds."""
    before, limited = 1.0, []
    for size in sizes:
        before = min(max(float(size), before * RATIOS[0]), before * RATIOS[1])
        limited.append(before)
    return np.array(limited)


def _drawn(
    record: Method, place: Placement, points: int, rng: np.random.Generator, steps: tuple[float, float]
) -> Iterator[Inputs]:
    """Inputs of every size: half of them spread over decades, half of the sizes that plans have."""
    rate = record.form.rate
    sign = 1.0 if rate else -1.0  # clocks other than the half-log-SNR run down
    for i in range(points):
        wide = i % 2 == 0
        h = steps[0] * (steps[1] / steps[0]) ** rng.uniform() if wide else rng.uniform(0.01, steps[1])
        spread = rng.uniform(size=place.past)
        ratios = RATIOS[0] * (RATIOS[1] / RATIOS[0]) ** spread if wide else 0.5 + 1.5 * spread
        past = tuple((-np.cumsum(np.cumprod(ratios))).tolist())
        moments: tuple[float, ...] = ()
        if rate is None:  # the kernel of the time clock is positive: moments of some exponential one
            kernel = ExponentialKernel(float(rng.uniform(0.01, 5.0)), int(rng.choice([-1, 1])))
            moments = tuple(-float(kernel.moment(k)) for k in range(place.past + 1))
        yield Inputs(float(sign * h), past, moments)


def _error(record: Method, place: Placement, at: Inputs) -> tuple[float, tuple[str, str]]:
    """Largest error of the weights there in eps of the largest weight of their row, and which weight it is."""
    inner = tuple(place.inner_times) or tuple(j / place.stride for j in range(1, place.stride))
    kernel: Any = TabulatedKernel(at.moments) if at.moments else ExponentialKernel(at.h, record.form.rate or 0)
    one = _window(place, at.h, at.past, kernel, inner)
    shipped = [_rows(place.step(one))]
    many = [np.full(64, value) for value in (at.h, *at.past, *at.moments)]  # long arrays take another road through phi
    if not at.moments:
        kernel = ExponentialKernel(many[0], record.form.rate or 0)
    else:
        kernel = TabulatedKernel(tuple(many[1 + len(at.past) :]))
    shipped.append(_rows(place.step(_window(place, many[0], tuple(many[1 : 1 + len(at.past)]), kernel, inner))))
    truth = _truth(record, place, at, tuple(Fraction(c) for c in inner))
    worst, which = -1.0, ("", "")
    for row, true in truth.items():
        largest = max((abs(float(w)) for w in true.values()), default=0.0)
        if not largest:
            continue
        for values in shipped:
            for source in {*true, *values[row]}:
                found = values[row].get(source, 0.0)
                error = error_in_eps(float(np.ravel(found)[0]), true.get(source, Ball(0)), largest)
                if error > worst:
                    worst, which = error, (row, source)
    return worst, which


def _truth(record: Method, place: Placement, at: Inputs, inner: Sequence[Fraction]) -> dict[str, dict[str, Ball]]:
    """Derived weights as balls that are narrow enough."""
    bits = PRECISION
    while True:
        with working_precision(bits):
            field = _field(record, at.h)
            kernel: Any = TabulatedKernel(tuple(map(Ball, at.moments))) if at.moments else PartsKernel(field)  # type: ignore[arg-type]
            window = _window(place, field.h, tuple(map(Ball, at.past)), kernel, tuple(inner))
            step = _derived(record, place, window, field)
            rows = {r: {s: w if isinstance(w, Ball) else Ball(w) for s, w in v.items()} for r, v in _rows(step).items()}
            wide = any(_is_wide(row, field.h) for row in rows.values())
        if not wide:
            return rows
        bits *= 2


def _is_wide(row: Mapping[str, Ball], h: Ball) -> bool:
    """Whether a weight of a row is not known well enough to judge by."""
    least = float(h) ** 2 * EPS  # below which a row is nothing, as one that is zero by cancellation
    largest = max((abs(float(w)) for w in row.values()), default=0.0)
    return any(not float(w.value.rad()) <= KNOWN * EPS * max(largest, least) for w in row.values())


def _window(place: Placement, h: Any, past: tuple[Any, ...], kernel: Any, inner: tuple[Any, ...]) -> Window:
    return Window(h, past, kernel, place.known, place.depth, place.last, inner, past)


def _field(record: Method, h: float) -> BallField:
    field = BallField(h, record.form.rate)
    return field if record.noise is None else ReverseBalls(h, record.form.rate, level_on(record, field.h))


def _derived(record: Method, place: Placement, window: Window, field: BallField) -> Step:
    def parameter(name: str) -> Ball:
        return Ball(record.options[name])

    if isinstance(field, ReverseBalls):
        return derived_with_noise(record, window, place.order, field, parameter)
    return derived_step(record, place, window, parameter)


def _rows(step: Step) -> dict[str, dict[str, Any]]:
    """Rows without the state where its weight is 1 by construction; the weights of draws are a row of their own."""
    rows: dict[str, dict[str, Any]] = {}
    noisy = any(source[0] == NOISE for _, _, value in step.rows() for source in value)
    for name, _, value in step.rows():
        rows[name] = {s: w for s, w in value.items() if s != "x" and s[0] != NOISE}
        if noisy:
            rows[f"{name}, noise"] = {s: w for s, w in value.items() if s[0] == NOISE}
            rows[f"{name}, state"] = {s: w for s, w in value.items() if s == "x"}
    return rows

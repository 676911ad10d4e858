r"""Sources of noise for stochastic methods: streams, Brownian paths, and noise that nests exactly.

All draws are float64 from the counter-based generator Philox, keyed by ``(seed, sample)`` and positioned by what they
are for, never by what was drawn before. So a sample is the same whatever the batch it sits in, the order of the calls,
or the device; values are converted to the array type of the state at the end.

Four sources, each a ``noise(step, index, like)`` of :func:`diffnum.solve` or able to give one:

* :class:`SampleStreams`: independent normals for each sample, step and draw;
* :class:`PopulationStreams`: the same for populations of 10^5 particles, one counter for all of them;
* :class:`BrownianPath`: one path for any grid, so that runs with 20 and with 40 steps share their noise;
* :class:`NestedNoise`: the path on given cells, resolved so finely that integrals of *any* smooth weights against it
  are known jointly; what studies of strong order need.

Which noise is that? The reverse stochastic equation, with Brownian motion W in the half-log-SNR, brings into a step the
integral :math:`\int e^{r\lambda} dW_\lambda`, r = tau^2 for data and r = -1 for noise prediction. It is itself a
Brownian motion in the clock :math:`q = e^{2 r \lambda}/(2 r)`. A coarse step therefore sees exactly the weighted sum of
the fine steps' normals, and both classes keep that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.random import Philox

from diffnum.types import Array, FloatArray

if TYPE_CHECKING:
    from diffnum.grids import Grid
    from diffnum.plans import Plan

__all__ = [
    "BrownianPath",
    "NestedNoise",
    "PopulationStreams",
    "SampleStreams",
    "check_key",
    "exponential_clock",
    "noise_intervals",
    "noise_levels",
    "start_noise",
    "uniforms",
]

_STREAMS, _TREE, _CELLS, _START, _POPULATION, _UNIFORMS, _BEGINNINGS = range(7)  # uses of one seed that must not meet


def _normals(seed: int, samples: range, use: int, position: tuple[int, int], count: int) -> FloatArray:
    """Standard normal draws, shape (samples, count), a pure function of seed, sample, use and position.

    A longer request extends a shorter one. The inverse distribution function of raw bits is taken, not the library's
    own normals, whose algorithm may change.
    """
    from scipy.special import ndtri  # slow to import, and deterministic methods never come here

    generator = Philox(0)
    state: Any = generator.state  # setting it is many times faster than making a generator
    bits = np.empty((len(samples), count), dtype=np.uint64)
    for row, sample in enumerate(samples):
        state["state"]["key"] = np.array([seed, sample], dtype=np.uint64)
        state["state"]["counter"] = np.array([0, *position, use], dtype=np.uint64)
        generator.state = state
        bits[row] = generator.random_raw(count)
    draws: FloatArray = ndtri(_inside(bits))
    return draws


def _inside(bits: Any) -> FloatArray:
    """Raw bits as numbers between 0 and 1; of 52 bits, so that adding 0.5 is exact and gives neither end."""
    return np.asarray(((bits >> np.uint64(12)) + 0.5) * 2.0**-52)


def _batch(seed: int, first: int, use: int, position: tuple[int, int], shape: tuple[int, ...]) -> FloatArray:
    """Draws of the shape of a state, sample by sample."""
    return _normals(seed, range(first, first + shape[0]), use, position, math.prod(shape[1:])).reshape(shape)


def _on(like: Array, value: FloatArray) -> Array:
    """Draws in the namespace, dtype and device of ``like``."""
    return array_namespace(like).asarray(value, dtype=like.dtype, device=device(like))


def check_key(seed: int, first: int) -> None:
    """Refuse what is no key."""
    for name, value in (("seed", seed), ("first", first)):
        if isinstance(value, bool) or not isinstance(value, Integral):
            msg = f"{name}={value!r} is no whole number: pass an integer from 0 to 2**64 - 1"
            raise TypeError(msg)
        if not 0 <= value < 2**64:
            msg = f"{name}={value} is out of range: pass an integer from 0 to 2**64 - 1"
            raise ValueError(msg)


def start_noise(n: int, shape: tuple[int, ...], seed: int, *, first: int = 0) -> FloatArray:
    """Standard normals from which runs start, one independent stream a sample.

    Parameters
    ----------
    n : int
        Number of samples.
    shape : tuple of int
        Shape of one sample.
    seed : int
        From 0 to 2**64 - 1.
    first : int
        Number of the first sample: a batch from ``first`` on is a part of the whole one.

    Returns
    -------
    ndarray, shape (n, ...)

    Raises
    ------
    TypeError, ValueError
        If ``seed`` or ``first`` is no whole number, or out of range.
    """
    check_key(seed, first)
    return _batch(seed, first, _START, (0, 0), (n, *shape))


# -- independent draws ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class SampleStreams:
    """Independent standard normals, the same for a sample whatever the batch; pass it as ``noise=``.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.
    first : int
        Number of the first sample of the batch: batches of 8 with ``first`` = 0, 8, ... are one batch of 16.

    Raises
    ------
    TypeError, ValueError
        If ``seed`` or ``first`` is not such an integer.

    Examples
    --------
    >>> import numpy as np
    >>> pair = SampleStreams(seed=1)(0, 0, np.zeros((2, 3)))
    >>> alone = SampleStreams(seed=1, first=1)(0, 0, np.zeros((1, 3)))
    >>> bool((pair[1] == alone[0]).all())
    True
    """

    seed: int
    first: int = 0

    def __post_init__(self) -> None:
        check_key(self.seed, self.first)

    def __call__(self, step: int, index: int, like: Array) -> Array:
        """Draw number ``index`` of a step, of the shape, dtype and device of ``like``, (batch, ...)."""
        return _on(like, _batch(self.seed, self.first, _STREAMS, (index, step), tuple(like.shape)))


@dataclass(frozen=True)
class PopulationStreams:
    """Independent standard normals for a population, the same for a place in it whatever the batch; pass as ``noise=``.

    One counter runs through all places, so that a draw costs no Python: a hundred thousand particles take milliseconds
    where :class:`SampleStreams`, which keys each sample, takes a second.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.
    first : int
        Place of the first particle of the batch.

    Raises
    ------
    TypeError, ValueError
        If ``seed`` or ``first`` is not such an integer.
    """

    seed: int
    first: int = 0

    def __post_init__(self) -> None:
        check_key(self.seed, self.first)

    def __call__(self, step: int, index: int, like: Array) -> Array:
        """Draw number ``index`` of a step, of the shape, dtype and device of ``like``, (batch, ...)."""
        return _on(like, self._drawn(_POPULATION, (index, step), tuple(like.shape)))

    def start(self, n: int, shape: tuple[int, ...]) -> FloatArray:
        """Standard normals from which ``n`` particles of one ``shape`` start, shape (n, ...)."""
        return self._drawn(_BEGINNINGS, (0, 0), (n, *shape))

    def _drawn(self, use: int, position: tuple[int, int], shape: tuple[int, ...]) -> FloatArray:
        from scipy.special import ndtri

        count = math.prod(shape[1:])
        blocks = -(-count // 4)  # Philox gives four numbers a count
        bits = _raw(self.seed, use, position, self.first * blocks, shape[0] * blocks * 4)
        rows = bits.reshape(shape[0], 4 * blocks)[:, :count]
        return np.asarray(ndtri(_inside(rows)).reshape(shape))


def uniforms(seed: int, step: int, count: int) -> FloatArray:
    """Numbers between 0 and 1 for the choices of a step, shape (count,); a function of seed and step.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1; draws of the noise of the same seed are independent of these.
    step : int
        Number of the step.
    count : int
        How many.
    """
    check_key(seed, 0)
    return _inside(_raw(seed, _UNIFORMS, (0, step), 0, count))


def _raw(seed: int, use: int, position: tuple[int, int], start: int, count: int) -> Any:
    """Raw bits of one counter, from block ``start`` on."""
    generator = Philox(0)
    state: Any = generator.state
    state["state"]["key"] = np.array([seed, 0], dtype=np.uint64)
    state["state"]["counter"] = np.array([start, *position, use], dtype=np.uint64)
    generator.state = state
    return generator.random_raw(count)


# -- where a plan needs noise --------------------------------------------------------------------------


def noise_intervals(plan: Plan) -> list[list[tuple[float, float]]]:
    """Half-log-SNRs between which each draw of each step of a plan gathers noise.

    A step with several draws has one for each part between two stages, in order; a single draw is that of the whole
    step.

    Parameters
    ----------
    plan : Plan
        Numbers of a run.

    Returns
    -------
    list of list of (float, float)
        One list a step, as long as the step has draws.

    Raises
    ------
    ValueError
        If a step has several draws, and more or fewer than parts (the draws then mean something else).
    """
    schedule = plan.schedule
    found: list[list[tuple[float, float]]] = []
    for i, step in enumerate(plan.steps):
        if not step.noises:
            found.append([])
            continue
        ends = [float(schedule.half_log_snr(t)) for t in (step.t_from, *step.stage_t.tolist(), step.t_to)]
        if len(step.noises) == 1:
            found.append([(ends[0], ends[-1])])
            continue
        gap = 1e-9 * (ends[-1] - ends[0])
        inside = sorted(lam for lam in ends[1:-1] if ends[0] + gap < lam < ends[-1] - gap)
        nodes = [ends[0], *(lam for j, lam in enumerate(inside) if not j or lam - inside[j - 1] > gap), ends[-1]]
        if len(nodes) - 1 != len(step.noises):
            msg = (
                f"plan: step {i} of {plan.method!r} has {len(step.noises)} draws for {len(nodes) - 1} parts between "
                "its stages, so they are no increments of one path: use SampleStreams"
            )
            raise ValueError(msg)
        found.append(list(pairwise(nodes)))
    return found


def noise_levels(grid: Grid, tau: Callable[[float], float], at: str = "end") -> FloatArray:
    """A noise level tau(t) as the numbers that methods ``..._given`` take: ``parameters={"tau": noise_levels(...)}``.

    Parameters
    ----------
    grid : Grid
        Nodes.
    tau : callable
        Noise level of a time, >= 0.
    at : {"end", "start"}
        End of an interval at which its level is taken; SA-Solver's code takes the later, cleaner one.

    Returns
    -------
    ndarray, shape (intervals,)

    Raises
    ------
    ValueError
        If a level is negative or not finite, or ``at`` is neither end.
    """
    if at not in ("end", "start"):
        msg = f"at={at!r} is no end of an interval: use 'end' or 'start'"
        raise ValueError(msg)
    times = (grid.t[1:] if at == "end" else grid.t[:-1]).tolist()
    levels = np.array([float(tau(t)) for t in times])
    wrong = ~(np.isfinite(levels) & (levels >= 0))
    if wrong.any():
        i = int(np.argmax(wrong))
        msg = f"tau is negative or not finite: tau({times[i]:g}) = {levels[i]:g}, use a function >= 0"
        raise ValueError(msg)
    return levels


def exponential_clock(lam: Any, rate: float) -> Any:
    r"""Variance of :math:`\int_0^\lambda e^{r l} dW_l`: ``expm1(2 r lam)/(2 r)``, increasing in ``lam``."""
    return np.expm1(2 * rate * lam) / (2 * rate) if rate else lam


# -- a path for any grid -------------------------------------------------------------------------------


@dataclass
class BrownianPath:
    r"""The martingale :math:`M(\lambda) = \int e^{r l} dW_l` on an interval, a fixed function of seed and sample.

    Values come from Brownian bridges on a dyadic tree of the clock of M; every draw is keyed by its place in the tree.
    So ``increment(a, b) + increment(b, c)`` is ``increment(a, c)`` to rounding, in any order of queries.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.
    start, end : float
        Half-log-SNRs (natural log of alpha/sigma) of the interval, ``start < end``; part of the path's definition.
    rate : float
        r: tau^2 for data prediction, -1 for noise prediction, 0 for W itself.
    first : int
        Number of the first sample of the batch.
    depth : int
        Levels of the tree; below the last one the path is straight (a share 2^-depth of its variance is missing there).

    Raises
    ------
    TypeError, ValueError
        If ``seed`` is no such integer, or the interval is empty or not finite.
    """

    seed: int
    start: float
    end: float
    rate: float = 0.0
    first: int = 0
    depth: int = 32
    _recent: dict[Any, FloatArray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_key(self.seed, self.first)
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.start < self.end):
            msg = f"start={self.start}, end={self.end}: give two finite half-log-SNRs, the noisy end first and smaller"
            raise ValueError(msg)
        if not 1 <= self.depth <= 52:
            msg = f"depth={self.depth} is out of range: use 1 to 52 levels"
            raise ValueError(msg)

    def value(self, lam: float, shape: tuple[int, ...]) -> FloatArray:
        """Path at a half-log-SNR, zero at ``start``; float64 of ``shape`` = (batch, ...)."""
        if not self.start <= lam <= self.end:
            msg = f"lam={lam} is outside the path from {self.start} to {self.end}: make a longer path"
            raise ValueError(msg)
        key = (float(lam), tuple(shape))
        if key not in self._recent:
            while len(self._recent) > 3:  # the solver asks for the end of one step and the start of the next
                self._recent.pop(next(iter(self._recent)))
            self._recent[key] = self._descend(lam, tuple(shape))
        return self._recent[key]

    def increment(self, a: float, b: float, like: Array) -> Array:
        """``M(b) - M(a)`` in the shape, dtype and device of ``like``; its variance is :meth:`variance`."""
        shape = tuple(like.shape)
        return _on(like, self.value(b, shape) - self.value(a, shape))

    def variance(self, a: float, b: float) -> float:
        r""":math:`\int_a^b e^{2 r l} dl`, free of cancellation."""
        return math.exp(2 * self.rate * a) * float(exponential_clock(b - a, self.rate))

    def normal(self, a: float, b: float, like: Array) -> Array:
        """Increment divided by its standard deviation: a standard normal draw, ``a < b``."""
        shape = tuple(like.shape)
        return _on(like, (self.value(b, shape) - self.value(a, shape)) / math.sqrt(self.variance(a, b)))

    def source(self, plan: Plan) -> Callable[[int, int, Array], Array]:
        """Noise for a run of a plan, as :func:`diffnum.solve` wants it."""
        intervals = noise_intervals(plan)
        return lambda step, index, like: self.normal(*self._inside(intervals[step][index]), like)

    def _inside(self, interval: tuple[float, float]) -> tuple[float, float]:
        """Interval with ends that rounding moved out of the path brought back."""
        slack = 1e-9 * (self.end - self.start)
        a, b = interval
        return (max(a, self.start) if a > self.start - slack else a, min(b, self.end) if b < self.end + slack else b)

    def _descend(self, lam: float, shape: tuple[int, ...]) -> FloatArray:
        """Bridge down the tree to a point."""
        total = self.variance(self.start, self.end)
        target = self.variance(self.start, lam) / total
        left, right = np.zeros(shape), math.sqrt(total) * self._draw(0, 0, shape)
        if target in (0.0, 1.0):
            return right if target else left
        low, width, index = 0.0, 1.0, 0
        for level in range(1, self.depth + 1):
            middle = 0.5 * (left + right) + 0.5 * math.sqrt(total * width) * self._draw(level, index, shape)
            width, index = 0.5 * width, 2 * index
            if target == low + width:
                return middle
            if target < low + width:
                right = middle
            else:
                left, low, index = middle, low + width, index + 1
        share = (target - low) / width
        return np.asarray((1.0 - share) * left + share * right)

    def _draw(self, level: int, index: int, shape: tuple[int, ...]) -> FloatArray:
        return _batch(self.seed, self.first, _TREE, (index, level), shape)


# -- noise that nests ----------------------------------------------------------------------------------


class NestedNoise:
    r"""A Brownian motion on given cells of half-log-SNR, with all integrals of smooth weights against it.

    On each cell, :math:`dW = \sum_k \xi_k p_k(\lambda) d\lambda` in orthonormal Legendre polynomials with independent
    normal :math:`\xi_k`; :math:`\int w\, dW` over a cell is :math:`\sum_k \xi_k \int w p_k`. Integrals of different
    weights thus have their exact joint law, up to the part of them that no polynomial of degree ``terms - 1`` reaches
    (for :math:`e^{r\lambda}` on a cell of length h a share of about :math:`(r h/4)^{terms}/terms!`).

    Parameters
    ----------
    edges : array_like, shape (cells + 1,)
        Half-log-SNRs between the cells, increasing: the union of all nodes and inner stages of the runs that are to be
        compared (duplicates up to rounding are merged).
    shape : tuple of int
        Shape (batch, ...) of the states.
    seed, first : int
        As in :class:`SampleStreams`.
    terms : int
        Polynomials per cell, 1 to 12; 1 gives the increments of W alone.

    Raises
    ------
    TypeError, ValueError
        If edges are too few, not finite or not increasing, or another argument is out of range.
    """

    def __init__(self, edges: Any, shape: tuple[int, ...], seed: int, *, first: int = 0, terms: int = 4) -> None:
        check_key(seed, first)
        self.edges = _merged(np.asarray(edges, dtype=np.float64))
        self.shape, self.seed, self.first = tuple(shape), seed, first
        if isinstance(terms, bool) or not 1 <= terms <= 12:
            msg = f"terms={terms!r} is out of range: use 1 to 12 polynomials a cell"
            raise ValueError(msg)
        self.terms = int(terms)
        cells, size = len(self.edges) - 1, math.prod(self.shape[1:])
        count = cells * self.terms * size
        draws = _normals(seed, range(first, first + self.shape[0]), _CELLS, (0, 0), count)
        self._draws = draws.reshape(self.shape[0], cells, self.terms, size)
        self._cells: dict[Any, FloatArray] = {}

    def integral(self, a: float, b: float, weight: Callable[[FloatArray], FloatArray], name: Any = None) -> FloatArray:
        r""":math:`\int_a^b w(\lambda) dW_\lambda`, shape of the states; a and b are edges.

        Parameters
        ----------
        a, b : float
            Edges, ``a <= b``.
        weight : callable
            Smooth function of an array of half-log-SNRs.
        name : hashable, optional
            Under which the integrals over the cells are kept for the next call; the weight itself by default.
        """
        i, j = self._index(a), self._index(b)
        total: FloatArray = self._over_cells(weight, weight if name is None else name)[i:j].sum(axis=0)
        return total

    def normal(self, a: float, b: float, rate: float = 0.0) -> FloatArray:
        r"""Standard normal draw :math:`\int_a^b e^{r\lambda} dW` over its standard deviation."""
        middle = 0.5 * (a + b)  # relative to it nothing overflows; it cancels
        scale = math.exp(-rate * middle)
        value = self.integral(a, b, lambda lam: np.exp(rate * lam), ("exponential", rate))
        variance = math.exp(2 * rate * (a - middle)) * float(exponential_clock(b - a, rate))
        return np.asarray(scale * value / math.sqrt(variance))

    def source(self, plan: Plan, rate: float) -> Callable[[int, int, Array], Array]:
        """Noise for a run of a plan whose equation has this rate (tau^2 for data, -1 for noise prediction)."""
        intervals = noise_intervals(plan)
        return lambda step, index, like: _on(like, self.normal(*intervals[step][index], rate))

    def _over_cells(self, weight: Callable[[FloatArray], FloatArray], name: Any) -> FloatArray:
        """Integrals over each cell, shape (cells, batch, ...)."""
        if name not in self._cells:
            if len(self._cells) >= 4:
                self._cells.pop(next(iter(self._cells)))
            self._cells[name] = self._integrate(weight)
        return self._cells[name]

    def _integrate(self, weight: Callable[[FloatArray], FloatArray]) -> FloatArray:
        points, quadrature = np.polynomial.legendre.leggauss(self.terms + 4)
        lengths = np.diff(self.edges)
        lam = self.edges[:-1, None] + 0.5 * lengths[:, None] * (1.0 + points)
        basis = np.polynomial.legendre.legvander(points, self.terms - 1) * np.sqrt(np.arange(self.terms) + 0.5)
        # orthonormal on a cell of length h: p_k times sqrt(2/h), and d lambda is h/2 d point
        factors = np.sqrt(0.5 * lengths)[:, None] * ((weight(lam) * quadrature) @ basis)
        cells: FloatArray = np.einsum("ck,bcks->cbs", factors, self._draws)
        return cells.reshape(len(lengths), *self.shape)

    def _index(self, lam: float) -> int:
        """Position of an edge."""
        i = int(np.argmin(np.abs(self.edges - lam)))
        if abs(self.edges[i] - lam) > _SAME * (self.edges[-1] - self.edges[0]):
            msg = f"lam={lam!r} is no edge of this noise (the nearest is {self.edges[i]!r}): include it among the edges"
            raise ValueError(msg)
        return i


_SAME = 1e-9
"""Half-log-SNRs this close, relative to the whole interval, are one edge."""


def _merged(edges: FloatArray) -> FloatArray:
    """Sorted edges without those that differ by rounding only."""
    if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all():
        msg = f"edges has shape {edges.shape}: give two or more finite half-log-SNRs"
        raise ValueError(msg)
    ordered = np.sort(edges)
    if ordered[-1] <= ordered[0]:
        msg = f"edges span from {ordered[0]} to {ordered[-1]}: give at least two different half-log-SNRs"
        raise ValueError(msg)
    keep = np.concatenate([[True], np.diff(ordered) > _SAME * (ordered[-1] - ordered[0])])
    distinct: FloatArray = ordered[keep]
    return distinct

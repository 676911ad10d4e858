"""The schedule of a trained network, given as a table, and the usual tables of betas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import comb, factorial
from typing import Any, ClassVar, Literal, NamedTuple

import array_api_compat
import numpy as np
from numpy.typing import ArrayLike

from diffnum.schedules.tools import (
    Maths,
    SymbolicSchedule,
    at,
    check_positive,
    maths,
    parameters,
    reached,
    vp_alpha,
    vp_exponent,
    vp_half_log_snr,
    vp_rates,
    vp_sigma,
)
from diffnum.types import FloatArray


class _Interpolant(NamedTuple):
    """Piecewise polynomial through ``values`` at 0, 1, 2, ...; row ``i`` holds coefficients of (t - i)^k."""

    kind: str
    rows: FloatArray
    values: FloatArray


def _rows_from_derivatives(derivatives: Sequence[FloatArray], values: FloatArray) -> FloatArray:
    rows = np.stack([d / factorial(k) for k, d in enumerate(derivatives)], axis=-1)
    rows[:, 0] = values[:-1]  # nodes are reproduced exactly
    return rows


def _certainly_increasing(rows: FloatArray) -> bool:
    """Sufficient: on every cell the derivative has positive Bernstein coefficients."""
    degree = rows.shape[1] - 2
    slopes = rows[:, 1:] * np.arange(1, degree + 2)
    basis = np.array(
        [[comb(j, i) / comb(degree, i) if i <= j else 0.0 for j in range(degree + 1)] for i in range(degree + 1)]
    )
    return bool(np.all(slopes @ basis > 0.0))


def _interpolate(values: FloatArray, interpolation: str) -> _Interpolant:
    """Smoothest of quintic spline, cubic spline and PCHIP that increases; or the piecewise linear one."""
    from scipy.interpolate import PchipInterpolator, make_interp_spline  # here: slow to import

    nodes = np.arange(values.size, dtype=np.float64)
    if interpolation == "linear":
        return _Interpolant("linear", np.stack([values[:-1], np.diff(values)], axis=-1), values)
    for kind, degree in (("quintic", 5), ("cubic", 3)):
        if values.size > degree:
            spline = make_interp_spline(nodes, values, k=degree)
            rows = _rows_from_derivatives([spline(nodes[:-1], nu=k) for k in range(degree + 1)], values)
            if _certainly_increasing(rows):
                return _Interpolant(kind, rows, values)
    pchip = PchipInterpolator(nodes, values)
    rows = _rows_from_derivatives([pchip(nodes[:-1], nu=k) for k in range(4)], values)
    return _Interpolant("pchip", rows, values)


def _horner(row: Sequence[Any], u: Any) -> Any:
    total = row[-1]
    for coefficient in reversed(row[:-1]):
        total = total * u + coefficient
    return total


@dataclass(frozen=True, repr=False)
class Tabulated:
    r"""Variance-preserving schedule of a trained network: a table of cumulative products, interpolated.

    ``t`` is the label that the network was trained with: ``alpha(i)^2 = alphas_cumprod[i]`` for ``i < N``.
    In between, the interpolated quantity is ``-log alphas_cumprod``, which is smooth even where the
    half-log-SNR is steep. Below label 0 it goes linearly to zero, so that ``t = -1`` is clean data
    (``alpha = 1``, the empty product) and ``t_min = -1``.

    Parameters
    ----------
    alphas_cumprod : array_like
        At least two strictly decreasing values in (0, 1). The last may be 0 (zero terminal SNR): that node is
        left out of the spline, ``half_log_snr(N - 1) = -inf``, and ``alpha`` goes linearly to 0 on that cell.
    interpolation : {"spline", "linear"}
        ``"spline"``: not-a-knot quintic spline (four continuous derivatives) if it increases, else the cubic
        one, else PCHIP (one continuous derivative, so that solvers of order above 2 may lose order);
        :attr:`interpolant` says which. ``"linear"``: piecewise linear ``log alpha``, the convention of the
        DPM-Solver code (whose ``t`` is ``(label + 1) / N``); solvers of order above 1 may lose order.

    Notes
    -----
    Tables rounded to float32 work, but their noise shows in the derivatives: prefer :meth:`from_betas` in float64.
    """

    alphas_cumprod: tuple[float, ...]
    interpolation: Literal["spline", "linear"] = "spline"
    _table: _Interpolant = field(init=False, repr=False, compare=False)
    _rows: list[list[float]] = field(init=False, repr=False, compare=False)
    name: ClassVar[str] = "tabulated"
    t_min: ClassVar[float] = -1.0
    mean: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        table = _checked_table(self.alphas_cumprod)
        if self.interpolation not in ("spline", "linear"):
            msg = f"interpolation must be 'spline' or 'linear', got {self.interpolation!r}; pass one of the two"
            raise ValueError(msg)
        interpolant = _interpolate(-np.log(table[table > 0.0]), self.interpolation)
        object.__setattr__(self, "alphas_cumprod", tuple(table.tolist()))
        object.__setattr__(self, "_table", interpolant)
        object.__setattr__(self, "_rows", interpolant.rows.tolist())

    @classmethod
    def from_betas(cls, betas: ArrayLike, interpolation: Literal["spline", "linear"] = "spline") -> Tabulated:
        """Schedule with ``alphas_cumprod[i] = prod_{j <= i} (1 - betas[j])``.

        Parameters
        ----------
        betas : array_like
            Variances in (0, 1), shape (N,); the last may be 1.
        interpolation : {"spline", "linear"}
            As for the class.
        """
        values = np.asarray(betas, dtype=np.float64)
        if values.ndim != 1 or not np.all((values > 0.0) & (values <= 1.0)):
            msg = f"betas must be a vector of variances in (0, 1), got {betas!r}; check the table"
            raise ValueError(msg)
        return cls(np.cumprod(1.0 - values), interpolation)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"Tabulated({self.size} labels, {self.interpolation!r}, interpolant={self.interpolant!r})"

    @property
    def size(self) -> int:
        """Number of labels ``N``."""
        return len(self.alphas_cumprod)

    @property
    def interpolant(self) -> str:
        """What is used between labels: "quintic", "cubic", "pchip" or "linear"."""
        return self._table.kind

    @property
    def breaks(self) -> FloatArray:
        """Times of the kinks of the interpolant: all labels where it is linear, none where it is smooth."""
        return np.arange(self.size, dtype=np.float64) if self.interpolation == "linear" else np.empty(0)

    @property
    def zero_terminal(self) -> bool:
        """Whether the last label is pure noise."""
        return self.alphas_cumprod[-1] == 0.0

    @property
    def t_max(self) -> float:
        """End of the domain: the last label, ``N - 1``."""
        return self.size - 1.0

    @property
    def default_t_start(self) -> float:
        """Where sampling starts unless told otherwise: the last label of finite half-log-SNR."""
        return self._table.values.size - 1.0

    @property
    def default_t_end(self) -> float:
        """Where sampling ends unless told otherwise: label 0."""
        return 0.0

    def alpha(self, t: Any) -> Any:
        """Signal factor at time ``t``."""
        m, t = at(self, t)
        return vp_alpha(m, self._exponent(m, t))

    def sigma(self, t: Any) -> Any:
        """Noise standard deviation at time ``t``."""
        m, t = at(self, t)
        return vp_sigma(m, self._exponent(m, t))

    def half_log_snr(self, t: Any) -> Any:
        """Natural logarithm of ``alpha / sigma`` at time ``t``."""
        m, t = at(self, t)
        return vp_half_log_snr(m, self._exponent(m, t))

    def time(self, half_log_snr: Any) -> Any:
        """Inverse of :meth:`half_log_snr`, by safeguarded Newton iteration to rounding."""
        m, lam = maths(half_log_snr)
        exponent = vp_exponent(m, lam)
        if isinstance(exponent, float):
            return reached(self, lam, float(self._inverse(*maths(np.asarray(exponent)))))
        return reached(self, lam, self._inverse(m, exponent))

    def drift(self, t: Any) -> tuple[Any, Any]:
        """Coefficients (a, b) of the probability-flow ODE ``dx/dt = a x + b eps``, at kinks of the noisier side."""
        _, t = at(self, t)
        beta = self._rate(t)
        return -0.5 * beta, 0.5 * beta / self.sigma(t)

    def rates(self, t: Any) -> tuple[Any, Any]:
        """Derivatives of ``alpha`` and of ``sigma^2 / 2`` with respect to time, at kinks of the noisier side."""
        _, t = at(self, t)
        if isinstance(t, float):
            slope, noising = self.rates(np.asarray(t))
            return float(slope), float(noising)
        alpha, last = self.alpha(t), self._table.values.size - 1
        if self.zero_terminal:  # the last cell, where alpha falls to zero on a line
            xp = array_api_compat.array_namespace(t)
            inside = vp_rates(alpha, self._rate(xp.clip(t, max=float(last))))
            slope = float(np.exp(-0.5 * self._table.values[-1]))
            return xp.where(t > last, -slope, inside[0]), xp.where(t > last, slope * alpha, inside[1])
        return vp_rates(alpha, self._rate(t))

    def symbolic(self) -> SymbolicSchedule:
        """Raise ``ValueError``: a table has no closed form."""
        msg = "symbolic() needs a closed form, which a Tabulated schedule lacks; use an analytic one (VPLinear)"
        raise ValueError(msg)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record; :func:`diffnum.schedules.from_dict` reads it."""
        return parameters(self)

    def _exponent(self, m: Maths, t: Any) -> Any:
        """``-2 log alpha`` at time ``t``."""
        values = self._table.values
        last = values.size - 1
        if isinstance(t, float):
            if t < 0.0:
                return float(values[0]) * max(1.0 + t, 0.0)
            if t > last and self.zero_terminal:
                return float(values[-1]) - 2.0 * m.log(max(last + 1.0 - t, 0.0))
            cell = min(int(t), last - 1)
            return _horner(self._rows[cell], t - cell)
        xp = array_api_compat.array_namespace(t)
        cell = self._cell(xp, t)
        result = _horner(self._rows_at(xp, cell, t), t - cell)
        result = xp.where(t < 0.0, float(values[0]) * (1.0 + t), result)
        if self.zero_terminal:
            beyond = float(values[-1]) - 2.0 * m.log(m.positive_part(last + 1.0 - t))
            result = xp.where(t > last, beyond, result)
        return result

    def _rate(self, t: Any) -> Any:
        """Derivative of ``-2 log alpha`` with respect to time."""
        if isinstance(t, float):
            return float(self._rate(np.asarray(t)))
        last, first = self._table.values.size - 1, float(self._table.values[0])
        xp = array_api_compat.array_namespace(t)
        cell = self._cell(xp, t)
        slopes = [k * row for k, row in enumerate(self._rows_at(xp, cell, t))][1:]
        rate = xp.where(t < 0.0, first, _horner(slopes, t - cell))
        if self.zero_terminal:
            with np.errstate(divide="ignore"):
                rate = xp.where(t > last, 2.0 / (last + 1.0 - t), rate)
        return rate

    def _cell(self, xp: Any, t: Any) -> Any:
        """Label below ``t``; 0 below the first, and where ``t`` is NaN."""
        inside = xp.where(t > 0.0, t, xp.zeros_like(t))
        return xp.clip(xp.floor(inside), min=0.0, max=self._table.values.size - 2.0)

    def _rows_at(self, xp: Any, cell: Any, like: Any) -> list[Any]:
        """Coefficients on each cell, one array of the shape of ``cell`` for each power."""
        rows = xp.asarray(self._table.rows, dtype=like.dtype, device=array_api_compat.device(like))
        index = xp.reshape(xp.astype(cell, xp.int64), (-1,))
        return [xp.reshape(xp.take(rows[:, k], index, axis=0), cell.shape) for k in range(rows.shape[1])]

    def _inverse(self, m: Maths, exponent: Any) -> Any:
        """Time at which ``-2 log alpha`` is ``exponent`` (an array)."""
        xp = array_api_compat.array_namespace(exponent)
        values = self._table.values
        last, top = values.size - 1, float(values[-1])
        target = xp.clip(exponent, min=float(values[0]), max=top)
        nodes = xp.asarray(values, dtype=exponent.dtype, device=array_api_compat.device(exponent))
        index = xp.reshape(xp.searchsorted(nodes, xp.reshape(target, (-1,)), side="right"), target.shape)
        cell = xp.clip(xp.astype(index, exponent.dtype) - 1.0, min=0.0, max=last - 1.0)
        rows = self._rows_at(xp, cell, exponent)
        inside = cell + _newton(xp, rows, target)
        below = exponent / float(values[0]) - 1.0
        result = xp.where(exponent < float(values[0]), below, inside)
        if self.zero_terminal:
            return xp.where(exponent > top, last - m.expm1(-0.5 * m.positive_part(exponent - top)), result)
        beyond = last + (exponent - top) / float(values[-1] - values[-2])  # outside of the domain: `reached` says so
        return xp.where(exponent <= top, result, beyond)


def _newton(xp: Any, rows: list[Any], target: Any) -> Any:
    """Root in [0, 1] of increasing polynomials minus ``target``: Newton, with bisection to stay bracketed."""
    slopes = [k * row for k, row in enumerate(rows)][1:]
    low, high = xp.zeros_like(target), xp.ones_like(target)
    rise = _horner(rows, high) - rows[0]
    u = xp.clip((target - rows[0]) / rise, min=0.0, max=1.0)
    tolerance = 2.0 * float(xp.finfo(target.dtype).eps)
    for _ in range(60):
        residual = _horner(rows, u) - target
        high = xp.where(residual >= 0.0, u, high)
        low = xp.where(residual <= 0.0, u, low)
        slope = _horner(slopes, u)
        flat = slope <= 0.0
        step = residual / xp.where(flat, xp.ones_like(slope), slope)
        trial = u - step
        outside = flat | (trial < low) | (trial > high)
        trial = xp.where(outside, 0.5 * (low + high), trial)
        moved = xp.abs(trial - u)
        u = trial
        if not bool(xp.any(moved > tolerance)):
            break
    return u


def _checked_table(alphas_cumprod: Any) -> FloatArray:
    try:
        table = np.asarray(alphas_cumprod, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"alphas_cumprod must be a vector of numbers, got {alphas_cumprod!r}; pass a list or array"
        raise TypeError(msg) from error
    if table.ndim != 1:
        msg = f"alphas_cumprod must be a vector, got shape {table.shape}; pass shape (N,)"
        raise ValueError(msg)
    finite = table[:-1] if table.size and table[-1] == 0.0 else table
    if finite.size < 2:
        msg = f"alphas_cumprod must hold at least 2 positive values, got {finite.size}; pass the whole table"
        raise ValueError(msg)
    bad = ~((finite > 0.0) & (finite < 1.0))
    if np.any(bad):
        first = int(np.argmax(bad))
        msg = (
            f"alphas_cumprod[{first}] = {float(table[first])!r} is not in (0, 1); pass cumulative "
            "products of 1 - beta (only the last may be 0)"
        )
        raise ValueError(msg)
    rising = np.diff(table) >= 0.0
    if np.any(rising):
        first = int(np.argmax(rising)) + 1
        msg = (
            f"alphas_cumprod must decrease strictly, got {float(table[first - 1])!r} then "
            f"{float(table[first])!r} at index {first}; order the table from data to noise, in float64"
        )
        raise ValueError(msg)
    return table


def _check_count(n: int) -> None:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 2:
        msg = f"n must be an integer of at least 2, got {n!r}; 1000 is usual"
        raise ValueError(msg)


def linear_betas(n: int = 1000, start: float = 1e-4, end: float = 0.02) -> FloatArray:
    """Equally spaced betas (Ho et al. 2020, arXiv:2006.11239, section 4).

    Parameters
    ----------
    n : int
        Number of labels.
    start, end : float
        First and last beta.

    Returns
    -------
    ndarray, shape (n,)
    """
    _check_count(n)
    check_positive(start=start, end=end)
    return np.linspace(start, end, n)


def scaled_linear_betas(n: int = 1000, start: float = 0.00085, end: float = 0.012) -> FloatArray:
    """Betas whose square roots are equally spaced (latent diffusion; Stable Diffusion's values by default).

    Parameters
    ----------
    n : int
        Number of labels.
    start, end : float
        First and last beta.

    Returns
    -------
    ndarray, shape (n,)
    """
    _check_count(n)
    check_positive(start=start, end=end)
    return np.linspace(math.sqrt(start), math.sqrt(end), n) ** 2


def cosine_betas(n: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> FloatArray:
    """Betas of the cosine schedule (Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 17 and section 3.2).

    Parameters
    ----------
    n : int
        Number of labels.
    s : float
        Offset.
    max_beta : float
        Largest beta, in (0, 1]; the clipping puts a kink at the noisy end.

    Returns
    -------
    ndarray, shape (n,)
    """
    _check_count(n)
    check_positive(s=s, max_beta=max_beta)
    angles = (np.arange(n + 1) / n + s) / (1.0 + s) * (0.5 * math.pi)
    cosines = np.cos(angles) ** 2
    betas: FloatArray = np.minimum(1.0 - cosines[1:] / cosines[:-1], max_beta)
    return betas

r"""Empirical model statistics of DPM-Solver-v3, and the method that they make.

Three functions of the half-log-SNR, element-wise or scalar: ``l`` (the diagonal of the model's Jacobian,
sigma d eps/d x, in the mean), ``s`` and ``b`` (the best linear law f' = s f + b of what remains). Written in
y = x/alpha neither the model nor its trajectories know the schedule, so the statistics are the same for every schedule
that the network is run under.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from diffnum.coefficients.method import Method
from diffnum.coefficients.model_statistics import StepIntegrals, statistics_step
from diffnum.forms import NOISE, Nodes
from diffnum.grids import Grid, from_half_log_snr
from diffnum.types import FloatArray, Schedule

__all__ = ["QUADRATURES", "ModelStatistics", "dpm_solver_v3", "linear_law"]

QUADRATURES = ("spline", "trapezoid")
"""Integrals of splines through the statistics, at any nodes; or the official trapezoids, at the knots only."""

_WIDEST = 0.25
"""Widest piece of half-log-SNR that one Gauss rule covers."""


@dataclass(frozen=True, eq=False)
class ModelStatistics:
    r"""Statistics l, s, b of a model on knots of half-log-SNR.

    Parameters
    ----------
    lam : array_like, shape (k,)
        Half-log-SNRs (natural log of alpha/sigma), strictly increasing, at least 2.
    l, s, b : array_like, shape (k,) or (k, \*element)
        Statistics at the knots: one number a knot, or one for each element of a sample.
    schedule : Schedule, optional
        Schedule of the model that they were estimated from; plans on another schedule are then refused (:meth:`on`).
    quadrature : {"spline", "trapezoid"}
        ``"spline"`` integrates cubic splines to rounding: the method then has its order on every grid, and its
        degenerate cases are DPM-Solver and DPM-Solver++ to rounding. ``"trapezoid"`` is what the authors' code does;
        nodes must be knots (:meth:`snapped`), and the error of the trapezoids is a floor under every refinement.

    Raises
    ------
    ValueError
        If the knots do not increase, shapes do not agree, an entry is not finite, or the quadrature is unknown.

    References
    ----------
    Zheng et al., DPM-Solver-v3, arXiv:2310.13268, eqs. (5) and (11); thu-ml/DPM-Solver-v3 at ba168717.
    """

    lam: FloatArray
    l: FloatArray  # noqa: E741 (the paper's letter)
    s: FloatArray
    b: FloatArray
    schedule: Schedule | None = None
    quadrature: str = "spline"

    def __post_init__(self) -> None:
        for name in ("lam", "l", "s", "b"):
            array = np.array(getattr(self, name), dtype=np.float64)
            if not np.isfinite(array).all():
                msg = f"{name} has entries that are not finite: estimate it on finite half-log-SNRs"
                raise ValueError(msg)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.lam.ndim != 1 or len(self.lam) < 2 or not (np.diff(self.lam) > 0).all():
            msg = f"lam has shape {self.lam.shape}: give at least 2 half-log-SNRs, strictly increasing, shape (k,)"
            raise ValueError(msg)
        shapes = {name: getattr(self, name).shape for name in ("l", "s", "b")}
        if len(set(shapes.values())) > 1 or self.l.shape[:1] != self.lam.shape:
            msg = f"l, s, b have shapes {shapes}: give three arrays of one shape, {self.lam.shape} + element"
            raise ValueError(msg)
        if self.quadrature not in QUADRATURES:
            msg = f"quadrature={self.quadrature!r} is unknown: use one of {', '.join(QUADRATURES)}"
            raise ValueError(msg)

    @classmethod
    def constant(
        cls,
        l: float = 1.0,  # noqa: E741
        s: float = 0.0,
        b: float = 0.0,
        *,
        between: tuple[float, float] = (-12.0, 12.0),
    ) -> ModelStatistics:
        """Scalar statistics that are the same at all noise levels.

        (1, 0, 0) makes DPM-Solver-v3 the exponential Adams method in data prediction (DPM-Solver++), (0, -1, 0) the
        one in noise prediction (DPM-Solver); (0, 0, 0) interpolates rho eps with the plain kernel.
        """
        ones = np.ones(2)
        return cls(np.array(between), l * ones, s * ones, b * ones)

    @property
    def element(self) -> tuple[int, ...]:
        """Shape of a sample; () for scalar statistics."""
        return self.l.shape[1:]

    def scalar(self) -> ModelStatistics:
        """Mean over the elements."""
        axes = tuple(range(1, self.l.ndim))
        return replace(self, **{name: getattr(self, name).mean(axis=axes) for name in ("l", "s", "b")})

    def on(self, schedule: Schedule) -> ModelStatistics:
        """Same statistics for another schedule: right where the network is the same function of x/alpha and lam."""
        return replace(self, schedule=schedule)

    def at(self, lam: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
        r"""Values (l, s, b) of the splines at half-log-SNRs, shape (...) to (..., \*element)."""
        lam = np.asarray(lam, dtype=np.float64)
        self._check_range(lam)
        slope, law, _ = self._splines
        return slope(lam), law(lam), self._spline(self.b)(lam)

    def slope_rate(self, lam: Any) -> FloatArray:
        r"""Derivative of l in half-log-SNR, shape (...) to (..., \*element)."""
        return np.asarray(self._splines[0](np.asarray(lam, dtype=np.float64), 1))

    def snapped(self, grid: Grid, schedule: Schedule) -> Grid:
        """Grid with every node moved to the nearest knot, as the authors' code does.

        Raises
        ------
        ValueError
            If a node lies beyond the knots, or two nodes fall on one knot.
        """
        self._check_range(grid.lam)
        middles = 0.5 * (self.lam[1:] + self.lam[:-1])
        index = np.searchsorted(middles, grid.lam)
        if not (np.diff(index) > 0).all():
            msg = (
                f"grid has {grid.n} steps, and two of its nodes fall on one of the {len(self.lam)} knots: take fewer "
                "steps, estimate more knots, or use quadrature='spline', which needs no snapping"
            )
            raise ValueError(msg)
        return from_half_log_snr(schedule, self.lam[index], terminal=grid.terminal)

    def save(self, path: str | Path) -> None:
        """Write the numbers (not the schedule) to an .npz file."""
        np.savez_compressed(Path(path), lam=self.lam, l=self.l, s=self.s, b=self.b)

    @classmethod
    def load(cls, path: str | Path, schedule: Schedule | None = None, *, quadrature: str = "spline") -> ModelStatistics:
        """Read what :meth:`save` wrote (the authors' l.npz, sb.npz have the same arrays, but no lam)."""
        with np.load(Path(path)) as file:
            missing = {"lam", "l", "s", "b"} - set(file.files)
            if missing:
                msg = f"path={path} lacks {sorted(missing)}: pass a file of ModelStatistics.save"
                raise ValueError(msg)
            return cls(file["lam"], file["l"], file["s"], file["b"], schedule, quadrature)

    def __repr__(self) -> str:
        """Range and shape."""
        return (
            f"ModelStatistics(lam={self.lam[0]:.4g}..{self.lam[-1]:.4g}, knots={len(self.lam)}, "
            f"element={self.element}, quadrature={self.quadrature!r})"
        )

    # -- integrals ---------------------------------------------------------------------------------

    def integrals(self, nodes: Sequence[Nodes], count: int) -> StepIntegrals:
        """Integrals over steps from ``nodes[1]`` to ``nodes[0]``; past nodes follow.

        Parameters
        ----------
        nodes : sequence of Nodes
            End, start and past nodes of m steps, arrays of shape (m,).
        count : int
            Number of moments.

        Raises
        ------
        ValueError
            If a node lies beyond the knots, or is not a knot where the quadrature is the trapezoidal one, or the
            nodes are not of the schedule that the statistics were estimated on.
        """
        self._check_schedule(nodes)
        for node in nodes:
            self._check_range(node.lam)
        rows = [self._of_step([float(node.lam[i]) for node in nodes], count) for i in range(len(nodes[0].lam))]
        growth, moments, drift, slope, damping, shift = zip(*rows, strict=True)

        def stacked(columns: Sequence[Sequence[FloatArray]]) -> tuple[FloatArray, ...]:
            return tuple(np.stack(column) for column in zip(*columns, strict=True))

        l_end, l_start = stacked(slope)
        return StepIntegrals(
            np.stack(growth), stacked(moments), np.stack(drift), (l_end, l_start), stacked(damping), stacked(shift)
        )

    def _of_step(self, lam: Sequence[float], count: int) -> tuple[Any, ...]:
        """Growth, moments, drift, slopes, damping and shift of one step; ``lam`` are t, a and the past nodes."""
        end, start = lam[:2]
        points, weights, table = (self._knots if self.quadrature == "trapezoid" else self._gauss)(lam)
        # antiderivatives relative to the start, so that short steps keep their digits
        slope_integral, law_integral, force_integral, slope = (table(i) for i in range(4))
        S = law_integral - law_integral[1]
        beta = np.exp(law_integral[1]) * (force_integral - force_integral[1])
        L = slope_integral - slope_integral[1]
        known = len(lam)
        kernel = np.exp(L[known:] + S[known:])
        u = (points - start) / (end - start)

        def integral(values: FloatArray) -> FloatArray:
            return np.asarray(np.tensordot(weights, values, axes=1))

        column = u.reshape((-1, *(1,) * len(self.element)))
        moments = [integral(kernel * column**k) for k in range(count)]
        drift = integral(kernel * beta[known:])
        return np.exp(L[0]), moments, drift, (slope[0], slope[1]), list(np.exp(-S[:known])), list(beta[:known])

    def _gauss(self, lam: Sequence[float]) -> tuple[FloatArray, FloatArray, Callable[[int], FloatArray]]:
        """Gauss points on the pieces of the mesh inside a step, and a table of values at the nodes and there."""
        end, start = lam[:2]
        mesh = self._mesh
        inside = mesh[np.searchsorted(mesh, start, "right") : np.searchsorted(mesh, end, "left")]
        cuts = np.concatenate([[start], inside, [end]])
        x, w = np.polynomial.legendre.leggauss(4 if np.diff(cuts).max() < 0.05 else 10)
        half = 0.5 * np.diff(cuts)[:, None]
        points = (0.5 * (cuts[1:] + cuts[:-1])[:, None] + half * x).ravel()
        at = np.concatenate([lam, points])
        slope, law, force = self._splines
        functions = (slope.antiderivative(), law.antiderivative(), force.antiderivative(), slope)
        return points, (half * w).ravel(), lambda i: np.asarray(functions[i](at))

    def _knots(self, lam: Sequence[float]) -> tuple[FloatArray, FloatArray, Callable[[int], FloatArray]]:
        """Trapezoidal rule on the knots of a step, and a table of values at the nodes and there."""
        where = [int(np.argmin(np.abs(self.lam - value))) for value in lam]
        spacing = np.diff(self.lam).min()
        for i, value in zip(where, lam, strict=True):
            if abs(self.lam[i] - value) > 1e-6 * spacing:
                msg = (
                    f"the node lam={value:.6g} is no knot of the statistics, as quadrature='trapezoid' needs: move the "
                    "grid to the knots with statistics.snapped(grid, schedule), or use quadrature='spline'"
                )
                raise ValueError(msg)
        end, start = where[:2]
        points = self.lam[start : end + 1]
        gaps = np.diff(points)
        weights = 0.5 * (np.append(gaps, 0.0) + np.append(0.0, gaps))
        rows = np.array([*where, *range(start, end + 1)])
        return points, weights, lambda i: self._cumulative[i][rows]

    @cached_property
    def _cumulative(self) -> tuple[FloatArray, ...]:
        """Trapezoidal antiderivatives of l, s and b e^-S at the knots, and l."""
        slope, law = self._trapezoids(self.l), self._trapezoids(self.s)
        return slope, law, self._trapezoids(self.b * np.exp(-law)), self.l

    def _trapezoids(self, values: FloatArray) -> FloatArray:
        gaps = np.diff(self.lam).reshape((-1, *(1,) * len(self.element)))
        areas = 0.5 * gaps * (values[1:] + values[:-1])
        return np.concatenate([np.zeros((1, *self.element)), np.cumsum(areas, axis=0)])

    @cached_property
    def _mesh(self) -> FloatArray:
        """Knots, and more where they are far apart."""
        parts = [
            np.linspace(a, b, int(np.ceil((b - a) / _WIDEST)) + 1)[:-1]
            for a, b in zip(self.lam[:-1], self.lam[1:], strict=True)
        ]
        return np.append(np.concatenate(parts), self.lam[-1])

    @cached_property
    def _splines(self) -> tuple[Any, Any, Any]:
        """Splines of l, s and b e^-S; the method is consistent whatever the last one is, so a spline of it will do."""
        slope, law = self._spline(self.l), self._spline(self.s)
        force = self._spline(self.b)(self._mesh) * np.exp(-law.antiderivative()(self._mesh))
        return slope, law, self._spline(force, self._mesh)

    def _spline(self, values: FloatArray, knots: FloatArray | None = None) -> Any:
        from scipy.interpolate import CubicSpline  # kept out of the import of the package

        return CubicSpline(self.lam if knots is None else knots, values)

    def _check_range(self, lam: FloatArray) -> None:
        low, high = float(self.lam[0]), float(self.lam[-1])
        slack = 1e-9 * (high - low)
        if np.any(lam < low - slack) or np.any(lam > high + slack):
            msg = (
                f"the half-log-SNRs {np.min(lam):.6g}..{np.max(lam):.6g} leave the range of the statistics, "
                f"{low:.6g}..{high:.6g}: shorten the grid, or estimate statistics on a wider range"
            )
            raise ValueError(msg)

    def _check_schedule(self, nodes: Sequence[Nodes]) -> None:
        if self.schedule is None:
            return
        for node in nodes:
            alpha, sigma = self.schedule.alpha(node.t), self.schedule.sigma(node.t)
            if not (np.allclose(alpha, node.alpha, rtol=1e-6) and np.allclose(sigma, node.sigma, rtol=1e-6)):
                msg = (
                    f"statistics were estimated on {self.schedule!r}, and the plan is on another schedule: where the "
                    "network is the same function of x/alpha and half-log-SNR they stay valid, then pass "
                    "statistics.on(schedule); otherwise estimate them anew"
                )
                raise ValueError(msg)


def linear_law(
    f: FloatArray, derivative: FloatArray, weights: FloatArray, *, least: FloatArray | float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Best (s, b) in ``derivative = s f + b``, in the mean square, element by element.

    Parameters
    ----------
    f, derivative : ndarray, shape (n, ...)
        Samples of f and of its derivative in half-log-SNR along the trajectories.
    weights : ndarray, shape (n,)
        Probabilities of the samples; they sum to 1.
    least : array_like, shape (...)
        Standard deviation of f up to which it is rounding, where f is a difference of larger numbers.

    Returns
    -------
    s, b : ndarray, shape (...)
        s = 0 where f does not vary by more than ``least`` (a Gaussian: f is a constant, and any s would do).
    """
    mean, slope = (np.tensordot(weights, values, axes=1) for values in (f, derivative))
    variance = np.tensordot(weights, (f - mean) ** 2, axes=1)
    covariance = np.tensordot(weights, (f - mean) * (derivative - slope), axes=1)
    varies = variance > np.maximum(1e-20 * (mean**2 + variance), np.square(least))
    s = np.where(varies, covariance / np.where(varies, variance, 1.0), 0.0)
    return s, slope - s * mean


def dpm_solver_v3(
    statistics: ModelStatistics,
    order: int = 2,
    *,
    corrector: bool = False,
    pseudo: bool = False,
    pseudo_corrector: bool = False,
) -> Method:
    """DPM-Solver-v3 as a method.

    Parameters
    ----------
    statistics : ModelStatistics
        Statistics of the model that will be sampled.
    order : int
        Nodes of the predictor, at least 1; the authors ship 1 to 3.
    corrector : bool
        Correct each state but the last with the next evaluation. The corrector uses as many nodes as the predictor.
    pseudo : bool
        Divided differences for derivatives in the predictor, as the authors do in 5 steps or less.
    pseudo_corrector : bool
        One node more in the corrector, and divided differences there.

    Returns
    -------
    Method
        For :func:`diffnum.plan`; 1 NFE per step. On the mean-reverting schedule statistics are those of x - mean.

    Raises
    ------
    ValueError
        If ``order`` is not a positive integer, or a pseudo corrector is asked for without a corrector.

    Notes
    -----
    Order ``order``, also with the corrector (whose nodes are as many; it is not the corrector of UniPC, which has
    one more). Divided differences have order 2 at most.

    References
    ----------
    Zheng et al., DPM-Solver-v3, arXiv:2310.13268; thu-ml/DPM-Solver-v3 at ba168717.
    """
    if not isinstance(statistics, ModelStatistics):
        msg = f"statistics is a {type(statistics).__name__}: pass what estimate_statistics or exact_statistics gives"
        raise TypeError(msg)
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        msg = f"order={order!r} is not a positive integer: use 1, 2 or 3"
        raise ValueError(msg)
    if pseudo_corrector and not corrector:
        msg = "pseudo_corrector=True needs corrector=True"
        raise ValueError(msg)
    true_order = min(order, 2) if pseudo or pseudo_corrector else order
    rule = partial(
        statistics_step, statistics=statistics, pseudo=pseudo, corrector=corrector, pseudo_corrector=pseudo_corrector
    )
    words = [w for w, on in (("pseudo", pseudo), ("corrector", corrector), ("pseudo", pseudo_corrector)) if on]
    return Method(
        name=f"dpm_solver_v3_{order}" + "".join(f"_{word}" for word in words),
        title=f"DPM-Solver-v3 ({', '.join([f'order {order}', *words])})",
        family="dpm_solver_v3",
        form=NOISE,
        order=true_order,
        highest=order,
        rule=rule,
        depth=order - 1,
        cite="zheng2023dpmsolverv3",
        equation="thu-ml/DPM-Solver-v3 at ba168717, codebases/edm/samplers/dpm_solver_v3.py",
        summary="Exponential integrator in a parametrisation fitted to the model's own statistics.",
        claimed_order=order,
        order_with_startup=min(true_order, 2),
        options={"order": order, "pseudo": pseudo, "corrector": corrector, "pseudo_corrector": pseudo_corrector},
        distinguish="DPM-Solver++(2M, 3M), its case l = 1, s = b = 0 up to the weights of the differences.",
        deviation="The pseudo derivatives are divided differences, which are derivatives at the first node up to "
        "O(h) only: order 2 at most."
        if pseudo or pseudo_corrector
        else "",
        corrected=f"dpm_solver_v3_{order}" if pseudo or pseudo_corrector else "",
    )

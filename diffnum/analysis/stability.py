r"""Absolute stability of any method, from its step rule alone.

The test equation and its coordinates are those of :mod:`diffnum.analysis.amplification`: the state in units of the
signal obeys ``x' = -nu x``, one step has ``z = -nu h``, and the exact solution is multiplied by ``exp(z)``. In the
clocks rho, velocity and time ``z`` is the classical step times eigenvalue; in half-log-SNR part of it is
integrated exactly, and the region depends on the step ``h`` as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eig
from scipy.optimize import brentq

from diffnum.analysis.amplification import LIMIT, ComplexArray, LinearStep, build, linear_step, record_of
from diffnum.coefficients.method import Method
from diffnum.types import FloatArray

Parameters: TypeAlias = Mapping[str, float] | None
"""Numbers that a method asks for by :attr:`Method.parameters`."""

__all__ = [
    "Stability",
    "StabilityRegion",
    "ZeroStability",
    "boundary_locus",
    "imaginary_interval",
    "real_interval",
    "stability",
    "stability_region",
    "zero_stability",
]

_SLACK = 1e-10
"""Excess of the spectral radius over one that counts as rounding."""
_SCAN = 0.005
"""Spacing of the scan for the end of an interval of stability."""
_FARTHEST = 100.0
"""Where the scan gives up: the interval is reported as infinite."""


@dataclass(frozen=True)
class ZeroStability:
    """Root condition at z = 0 on constant steps.

    Parameters
    ----------
    method : str
        Name of the method.
    roots : tuple of complex
        Eigenvalues of one step with the model switched off, the largest first.
    stable : bool
        Whether all lie in the closed unit disc and those on the circle have a full set of eigenvectors.
    """

    method: str
    roots: tuple[complex, ...]
    stable: bool

    def __str__(self) -> str:
        """One line."""
        roots = ", ".join(f"{r.real:.4g}" if abs(r.imag) < _SLACK else f"{r:.4g}" for r in self.roots)
        return f"{self.method}: {'zero-stable' if self.stable else 'NOT zero-stable'}, roots {roots}"


@dataclass(frozen=True, eq=False)
class StabilityRegion:
    """Spectral radius of a method over a rectangle of the complex plane.

    Parameters
    ----------
    method, form : str
        Names of the method and of its form.
    step : float
        Step in half-log-SNR; 0 where the region does not depend on it.
    re, im : ndarray, shapes (n,) and (m,)
        Axes of the rectangle.
    radius : ndarray, shape (m, n)
        Spectral radius at ``re[j] + 1j * im[i]``; the region is where it does not exceed 1.
    locus : ndarray of complex, shape (k,)
        Points at which some eigenvalue has modulus one: the boundary lies among them.
    linear : LinearStep
        The step, for other points.
    """

    method: str
    form: str
    step: float
    re: FloatArray
    im: FloatArray
    radius: FloatArray
    locus: ComplexArray
    linear: LinearStep = field(repr=False)

    @property
    def inside(self) -> FloatArray:
        """Whether each grid point is in the region, boolean, shape (m, n)."""
        return np.asarray(self.radius <= 1 + _SLACK)

    @property
    def area(self) -> float:
        """Area of the part of the region inside the rectangle, by counting grid points."""
        cell = (self.re[1] - self.re[0]) * (self.im[1] - self.im[0])
        return float(self.inside.sum() * cell)

    def contains(self, z: ArrayLike) -> FloatArray:
        """Whether points of the plane are in the region, boolean, shape of ``z``."""
        return np.asarray(self.linear.radius(z) <= 1 + _SLACK)

    def __str__(self) -> str:
        """Region as text: the upper half, ``#`` inside."""
        columns = np.linspace(0, len(self.re) - 1, min(len(self.re), 64)).round().astype(int)
        rows = np.flatnonzero(self.im >= 0)[::-1]
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), 16)).round().astype(int)]
        step = f", h = {self.step:g}" if self.step else ""
        lines = [f"{self.method} ({self.form} form{step}): area {self.area:.3f} in the rectangle"]
        for i in rows:
            cells = "".join("#" if self.inside[i, j] else "." for j in columns)
            lines.append(f"{self.im[i]:>8.3f}i {cells}")
        lines.append(f"{'':>9} {self.re[0]:<.3g}{'':>{max(len(columns) - 10, 1)}}{self.re[-1]:.3g}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Stability:
    """Summary of a method's stability on constant steps.

    Parameters
    ----------
    method, form : str
        Names of the method and of its form.
    step : float
        Step in half-log-SNR; 0 where nothing depends on it.
    nfe : int
        Evaluations a step.
    real, imaginary : float
        Ends of the intervals of stability: z in [-real, 0] and z in i [-imaginary, imaginary].
    zero : ZeroStability
        Root condition.
    """

    method: str
    form: str
    step: float
    nfe: int
    real: float
    imaginary: float
    zero: ZeroStability

    @property
    def real_per_nfe(self) -> float:
        """Real limit for one evaluation: compares methods of different cost."""
        return self.real / self.nfe

    @property
    def stiffness(self) -> float:
        """Largest nu in ``x' = -nu x`` that the step can bear; infinite where the step is not fixed."""
        return self.real / self.step if self.step else np.inf

    def __str__(self) -> str:
        """Small table."""
        rows = [
            ("form", self.form + (f", h = {self.step:g}" if self.step else "")),
            ("evaluations a step", f"{self.nfe}"),
            ("real axis", f"[-{self.real:.4f}, 0], {self.real_per_nfe:.4f} an evaluation"),
            ("imaginary axis", f"i [-{self.imaginary:.4f}, {self.imaginary:.4f}]"),
            ("zero-stable", "yes" if self.zero.stable else "NO"),
        ]
        if self.step:
            rows.insert(3, ("largest nu in x' = -nu x", f"{self.stiffness:.4f}"))
        return "\n".join([self.method, *(f"  {label:<24} {value}" for label, value in rows)])


def real_interval(method: Method | str, h: float = 0.0, parameters: Parameters = None) -> float:
    """Largest Z such that the method is stable at every z in [-Z, 0].

    Parameters
    ----------
    method : str or Method
        Name or record.
    h : float
        Step in half-log-SNR, >= 0; matters for the exponential forms only. 0 is the limit of small steps, in which
        the method is the classical one of the same weights.
    parameters : mapping of str to float, optional
        The numbers that :attr:`Method.parameters` asks for.

    Returns
    -------
    float
        End of the interval, dimensionless; ``inf`` beyond 100, 0.0 if the method is unstable at once.

    Raises
    ------
    TypeError, ValueError
        As :func:`diffnum.analysis.amplification.linear_step`.

    Notes
    -----
    ``z`` is the total exponent, so that for exponential forms the numbers of data and noise prediction can be
    compared; ``S / h`` is the largest stiffness nu. For GHVB the limit grows as beta falls, at the price of the error
    constant.

    References
    ----------
    Hairer and Wanner, Solving Ordinary Differential Equations II, sections IV.2 and V.1.
    """
    return _interval(linear_step(method, h, parameters), -1.0 + 0.0j)


def imaginary_interval(method: Method | str, h: float = 0.0, parameters: Parameters = None) -> float:
    """Largest Y such that the method is stable at every z in i [-Y, Y].

    Parameters and errors as for :func:`real_interval`.

    Parameters
    ----------
    method : Method or str
        Record, or its name.
    h : float
        Step in half-log-SNR, >= 0; see :func:`real_interval`.
    parameters : mapping of str to float, optional
        The numbers that :attr:`Method.parameters` asks for.

    Returns
    -------
    float
        Dimensionless; ``inf`` beyond 100, 0.0 if the method is unstable at once.
    """
    return _interval(linear_step(method, h, parameters), 1.0j)


def _interval(step: LinearStep, direction: complex) -> float:
    """Distance to the first loss of stability from the origin: a scan, then bisection."""
    for first in np.arange(0.0, _FARTHEST, 5.0):
        at = first + _SCAN * np.arange(1, round(5.0 / _SCAN) + 1)
        lost = np.flatnonzero(step.radius(direction * at) > 1 + _SLACK)
        if len(lost):
            end = at[lost[0]]

            def excess(s: float) -> float:
                return float(step.radius(direction * s)) - 1 - _SLACK

            begin = end - _SCAN
            limit = float(brentq(excess, begin, end, xtol=1e-13)) if excess(begin) < 0 else float(begin)
            # a radius 1 + O(s^q) passes for stable where s^q is below the slack; it shows halfway already
            hidden = limit < 10 * _SCAN and excess(limit / 2) + _SLACK > 1e-3 * _SLACK
            return 0.0 if hidden else limit
    return np.inf


def boundary_locus(
    method: Method | str, h: float = 0.0, points: int = 720, parameters: Parameters = None
) -> ComplexArray:
    r"""Points z at which a root of the method has modulus one.

    For every angle the generalised eigenvalue problem that asks for :math:`e^{i\theta}` as a root is solved, so that
    the locus is exact for multistep, multistage and momentum methods alike, also where no formula is at hand.

    Parameters
    ----------
    method : str or Method
        Name or record.
    h : float
        Step in half-log-SNR, >= 0.
    points : int
        Angles.
    parameters : mapping of str to float, optional
        The numbers that :attr:`Method.parameters` asks for.

    Returns
    -------
    ndarray of complex128, shape (k,)
        In the order of the angles; several values an angle for methods with several stages.
    """
    step = linear_step(method, h, parameters)
    k, s = len(step.vectors), step.nfe
    right = np.block([[np.zeros((k, k + s))], [step.U, step.A]])
    found: list[complex] = []
    for theta in np.linspace(0.0, 2 * np.pi, points, endpoint=False):
        root = np.exp(1j * theta) / step.frame
        left = np.block([[step.V - root * np.eye(k), step.B], [np.zeros((s, k)), np.eye(s)]])
        above, below = eig(left, right, right=False, homogeneous_eigvals=True)
        finite = np.abs(below) > 1e-10 * np.maximum(np.abs(above), 1.0)
        found += list(above[finite] / below[finite])
    return step.total(np.array(found))


def stability_region(
    method: Method | str,
    h: float = 0.0,
    re: ArrayLike | None = None,
    im: ArrayLike | None = None,
    points: int = 121,
    parameters: Parameters = None,
) -> StabilityRegion:
    """Spectral radius of a method over a rectangle of z.

    Parameters
    ----------
    method : str or Method
        Name or record.
    h : float
        Step in half-log-SNR, >= 0; matters for the exponential forms only.
    re, im : array_like, shapes (n,) and (m,), optional
        Increasing axes; by default a rectangle that holds the region of an explicit method.
    points : int
        Length of the default axes.
    parameters : mapping of str to float, optional
        The numbers that :attr:`Method.parameters` asks for.

    Returns
    -------
    StabilityRegion

    Raises
    ------
    TypeError, ValueError
        As :func:`real_interval`; also if an axis is not increasing.
    """
    step = linear_step(method, h, parameters)
    reach = min(max(1.5 * _interval(step, -1.0 + 0.0j), 0.5), 12.0)
    x = np.linspace(-reach, 0.3 * reach, points) if re is None else _axis(re, "re")
    y = np.linspace(-reach, reach, points) if im is None else _axis(im, "im")
    radius = step.radius(x + 1j * y[:, None])
    return StabilityRegion(
        step.method,
        step.form,
        h if step.rate else 0.0,
        x,
        y,
        radius,
        boundary_locus(method, h, parameters=parameters),
        step,
    )


def zero_stability(method: Method | str, parameters: Parameters = None) -> ZeroStability:
    """Root condition of a method on constant steps.

    Parameters
    ----------
    method : str or Method
        Name or record.
    parameters : mapping of str to float, optional
        The numbers that :attr:`Method.parameters` asks for.

    Returns
    -------
    ZeroStability

    Notes
    -----
    Necessary and sufficient for convergence of a consistent method on constant steps (Dahlquist). Adams methods have
    the roots 1, 0, ..., 0; a moving average adds 1 - beta. The roots are rounded to twelve decimals.

    References
    ----------
    Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, section III.3.
    """
    record = record_of(method)
    # the mean over short steps of both signs is the limit itself, to the square of their length
    V = 0.5 * sum(build(record, length, parameters).V for length in (LIMIT, -LIMIT))
    roots = np.linalg.eigvals(V).round(12)
    roots = roots[np.argsort(-np.abs(roots), kind="stable")]
    on_circle = roots[np.abs(np.abs(roots) - 1) <= 1e-7]
    complete = all(
        np.linalg.matrix_rank(V - root * np.eye(len(roots)), tol=1e-6)
        == len(roots) - np.sum(np.abs(on_circle - root) < 1e-6)
        for root in on_circle
    )
    stable = bool(np.abs(roots[0]) <= 1 + 1e-7 and complete)
    return ZeroStability(record.name, tuple(complex(r) for r in roots), stable)


def stability(method: Method | str, h: float = 0.0, parameters: Parameters = None) -> Stability:
    """Real and imaginary limits and the root condition of a method.

    Parameters
    ----------
    method : str or Method
        Name or record.
    h : float
        Step in half-log-SNR, >= 0; matters for the exponential forms only.
    parameters : mapping of str to float, optional
        The numbers that :attr:`Method.parameters` asks for.

    Returns
    -------
    Stability
    """
    step = linear_step(method, h, parameters)
    real, imaginary = _interval(step, -1.0 + 0.0j), _interval(step, 1.0j)
    return Stability(
        step.method, step.form, h if step.rate else 0.0, step.nfe, real, imaginary, zero_stability(method, parameters)
    )


def _axis(values: ArrayLike, name: str) -> FloatArray:
    """Increasing axis of at least two numbers."""
    axis = np.asarray(values, dtype=np.float64)
    if axis.ndim != 1 or len(axis) < 2 or not (np.diff(axis) > 0).all():
        msg = f"{name}={values!r} is no axis: give at least two increasing numbers"
        raise ValueError(msg)
    return axis

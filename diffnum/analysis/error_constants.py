r"""Principal error constants, computed from a method's step rule in floating point.

On the linear test equation (:mod:`diffnum.analysis.amplification`) the principal root of one step is

.. math:: r(h) = e^{(\kappa + \mu) h}\,\bigl(1 - C(\kappa, \mu)\, h^{p+1} + O(h^{p+2})\bigr)

with a homogeneous polynomial C of degree p + 1 that is divisible by mu. Its coefficient of :math:`\mu^{p+1}` is
the classical constant: that of the dominant error term of a linear multistep method, normalised
(:math:`C_{p+1}/\sigma(1)`, 5/12 for Adams-Bashforth 2), and the residual of the tall tree of a Runge-Kutta method.
Stochastic methods are compared with the exact mean.

A second constant belongs to pure quadrature, :math:`M = s^p/p!`; the two agree for Adams methods and differ for
multistage and predictor-corrector ones. Neither needs a symbol, a derivation or a small step: the entries of the
step are expanded in powers of h by interpolation, and the root by perturbation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.polynomial import chebyshev

from diffnum.analysis.amplification import build, linear_step, noise_level, record_of
from diffnum.coefficients.method import Method
from diffnum.types import FloatArray

__all__ = ["ErrorConstant", "error_constant", "principal_root"]

_NODES = 20
"""Chebyshev nodes in [-1, 1] at which a step is expanded in h; entries of steps are entire functions of h."""
_ZERO = 1e-8
"""Coefficients below this are rounding."""
_FACTORS = np.array([1.0, -1.0, 0.5, -0.5, 0.75, -0.75, 0.25, -0.25, 0.9, -0.9, 0.4, -0.4])
"""Values of mu from which the polynomial C is found; one suffices where it has a single term."""
_SETTLE = 400
"""Steps after which a decaying average has forgotten its start."""


@dataclass(frozen=True, eq=False)
class ErrorConstant:
    """Leading error of a method on constant steps with settled history.

    Parameters
    ----------
    method, form : str
        Names of the method and of its form.
    order : int
        Order on constant steps, as found.
    linear : float
        Classical constant on ``x' = mu x``: one step multiplies the error-free growth by ``1 - linear (mu h)^(p+1)``.
    quadrature : float
        Defect of one step of unit length for ``M = tau^p / p!``: exact integral less computed.
    polynomial : ndarray, shape (p + 2,)
        Coefficients of C(kappa, mu), entry k that of ``kappa^(p+1-k) mu^k``; all but the last are 0 without kappa.
    rate : int
        Growth rate kappa of the form's kernel (0 in the time clock, taken at constant speed).
    """

    method: str
    form: str
    order: int
    linear: float
    quadrature: float
    polynomial: FloatArray
    rate: int

    def at_stiffness(self, s: float) -> float:
        """Constant C for ``z' = -s z``, ``z = x / alpha``: error per step relative to z, in units of h^(p+1).

        Comparable between data and noise prediction. On Gaussian data of variance c, s = 1/(1 + c SNR).
        """
        mu = -s - min(self.rate, 0)
        k = np.arange(self.order + 2)
        return (
            float(np.sum(self.polynomial * float(self.rate or 1) ** (self.order + 1 - k) * mu**k)) + 0.0
        )  # no minus zero

    def __str__(self) -> str:
        """Small table."""
        terms = [
            f"{c:+.6g} {'kappa^' + str(self.order + 1 - k) + ' ' if k <= self.order else ''}mu^{k}"
            for k, c in enumerate(self.polynomial)
            if c
        ]
        lines = [
            f"{self.method} ({self.form} form): order {self.order} on constant steps",
            f"  linear      {self.linear:+.8g}",
            f"  quadrature  {self.quadrature:+.8g}",
        ]
        if self.rate:
            lines.append(f"  C(kappa, mu) = {' '.join(terms)}   at kappa = {self.rate:+d}")
        return "\n".join(lines)


def principal_root(
    method: Method | str, mu: float, terms: int = 8, parameters: Mapping[str, float] | None = None
) -> FloatArray:
    r"""Taylor coefficients in h of the principal root, divided by the exact growth (:math:`e^{(\kappa + \mu) h}`).

    Parameters
    ----------
    method : str or Method
        Name or record.
    mu : float
        Coefficient of the test equation :math:`u' = \kappa u + \mu u`, kappa that of the method's form.
    terms : int
        Coefficients wanted, from the power 0 on.
    parameters : mapping of str to float, optional
        The numbers that :attr:`Method.parameters` asks for.

    Returns
    -------
    ndarray, shape (terms,)
        1, then zeros up to the order, then ``-C``.

    Raises
    ------
    ValueError
        If the method is unknown or not steady (see :func:`~diffnum.analysis.amplification.linear_step`), or if 1 is a
        multiple root at h = 0.
    """
    record = record_of(method)
    matrices = _expansion(record, mu, terms, parameters)
    k = matrices.shape[1]
    values, vectors = np.linalg.eig(matrices[0])
    nearest = int(np.argmin(np.abs(values - 1)))
    if np.sum(np.abs(values - 1) < 1e-6) != 1:
        msg = f"method={record.name!r} has the root 1 {np.sum(np.abs(values - 1) < 1e-6)} times at h = 0, not once"
        raise ValueError(msg)
    # one order of h after the other, with the component of the state held at 1
    w = [np.real(vectors[:, nearest] / vectors[0, nearest])]
    r = [1.0]
    unit = np.eye(1, k)
    bordered = np.block([[matrices[0] - np.eye(k), -w[0][:, None]], [unit, np.zeros((1, 1))]])
    for n in range(1, terms):
        known = -sum((matrices[j] @ w[n - j] for j in range(1, n + 1)), np.zeros(k))
        known += sum((r[j] * w[n - j] for j in range(1, n)), np.zeros(k))
        solved = np.linalg.solve(bordered, np.append(known, 0.0))
        w.append(solved[:k])
        r.append(float(solved[k]))
    rate = record.form.rate or 0
    growth = (1 + noise_level(record) ** 2) * (mu + min(rate, 0)) + max(rate, 0)
    decay = [(-growth) ** j / factorial(j) for j in range(terms)]
    return np.convolve(r, decay)[:terms]


def _expansion(record: Method, mu: float, terms: int, parameters: Mapping[str, float] | None) -> FloatArray:
    """Taylor coefficients in h of the amplification matrix of u, shape (terms, k, k)."""
    nodes = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)  # an even number: h = 0 is not among them
    samples = []
    for h in nodes:
        step = build(record, float(h), parameters)
        stages = np.linalg.solve(np.eye(step.nfe) - mu * h * step.A, mu * h * step.U)
        samples.append(step.V + step.B @ stages)
    fit = chebyshev.chebfit(nodes, np.stack(samples).reshape(_NODES, -1), _NODES - 1)
    # columns of the change of basis, padded: cheb2poly drops the zeros at the end
    basis = np.zeros((_NODES, _NODES))
    for degree in range(_NODES):
        column = chebyshev.cheb2poly(np.eye(_NODES)[degree])
        basis[: len(column), degree] = column
    return np.asarray((basis @ fit)[:terms]).reshape(terms, *samples[0].shape)


def error_constant(
    method: Method | str, highest: int = 9, parameters: Mapping[str, float] | None = None
) -> ErrorConstant:
    """Order and principal error constants of a method on constant steps.

    Parameters
    ----------
    method : str or Method
        Name or record.
    highest : int
        Orders up to this one are looked for.
    parameters : mapping of str to float, optional
        The numbers that :attr:`Method.parameters` asks for.

    Returns
    -------
    ErrorConstant

    Raises
    ------
    ValueError
        If the method is unknown, not steady, not consistent, or of an order above ``highest``.

    Notes
    -----
    The order found is that on linear problems in the form's own clock: an upper bound for multistage methods, whose
    trees with branches are not tested here, and for methods with the weights of constant steps elsewhere.

    References
    ----------
    Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, sections III.2 and II.3.
    """
    record = record_of(method)
    rate, terms = record.form.rate or 0, highest + 2
    factors = _FACTORS if rate else _FACTORS[:1]
    roots = np.array([principal_root(record, mu, terms, parameters) for mu in factors])
    found = np.flatnonzero(np.abs(roots[:, 1:]).max(axis=0) > _ZERO)
    if not len(found) or not found[0]:
        problem = (
            f"of an order above {highest}: raise highest" if not len(found) else "not consistent: check its weights"
        )
        msg = f"method={record.name!r} is {problem}"
        raise ValueError(msg)
    order = int(found[0])
    errors = -roots[:, order + 1]
    powers = np.arange(order + 2)
    if rate:
        table = float(rate) ** (order + 1 - powers) * factors[:, None] ** powers
        polynomial = np.linalg.lstsq(table, errors, rcond=None)[0]
    else:
        polynomial = np.where(powers == order + 1, errors[0], 0.0)
    polynomial[np.abs(polynomial) < _ZERO] = 0.0
    quadrature = _quadrature(record, order, parameters)
    return ErrorConstant(record.name, record.form.name, order, float(polynomial[-1]), quadrature, polynomial, rate)


def _quadrature(record: Method, order: int, parameters: Mapping[str, float] | None) -> float:
    """Defect of one settled step of unit length for ``M = tau^p / p!``, tau = 0 at the start of that step."""
    step = linear_step(record, 0.0, parameters)
    memory = np.zeros(len(step.vectors))
    for n in range(-_SETTLE, 1):
        memory[0] = 0.0
        memory = step.V @ memory + step.B @ ((n + step.nodes) ** order / factorial(order))
    return float((1 + noise_level(record) ** 2) / factorial(order + 1) - memory[0])

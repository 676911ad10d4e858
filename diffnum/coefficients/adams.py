r"""Adams methods: multistep weights from the kernel's moments against Lagrange bases.

Every function works on floats, arrays, symbols and truncated series alike: it uses only ``+ - * /`` and the
moments of a kernel, which are phi functions. In each, ``h`` is the step in the clock or, for callers who have
one, the :class:`~diffnum.forms.Kernel` itself; past nodes are shifted and scaled by the step,
:math:`u_j = (\chi_{n-j} - \chi_n)/h < 0` (papers write :math:`r = -u_1 > 0`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from math import comb, factorial, prod

import numpy as np

from diffnum.coefficients.checked import clock_step, distinct, past_nodes, step_length
from diffnum.forms import ExponentialKernel, Kernel
from diffnum.phi import phi
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors
from diffnum.types import Scalar

__all__ = [
    "adams_bashforth",
    "ddim",
    "dpmpp_2m",
    "dpmpp_3m",
    "dpmpp_3m_corrected",
    "exponential_adams",
]

RATES = {"data": -1, "noise": 1, "rho": 0, "velocity": 0}
"""Growth rate of the kernel for each prediction; ``"rho"`` is noise in the clock sigma/alpha."""

CLOCKS = ("rho", "velocity")
"""Predictions whose kernel is constant in their own clock."""


def as_kernel(h: Scalar | Kernel, prediction: str) -> Kernel:
    """Kernel of a step of length ``h``, or ``h`` itself if it is one.

    Raises
    ------
    ValueError
        If ``prediction`` is not one of data, noise, rho, velocity.
    """
    if hasattr(h, "moment"):
        return h
    if prediction not in RATES:
        msg = f"prediction={prediction!r} has no kernel: use one of {', '.join(RATES)}"
        raise ValueError(msg)
    rate = RATES[prediction]  # clocks other than the half-log-SNR run either way
    return ExponentialKernel(step_length(h) if rate else clock_step(h), rate)


def lagrange_weights(moments: Sequence[Scalar], nodes: Sequence[Scalar]) -> tuple[Scalar, ...]:
    r"""Weights of the quadrature that is exact for polynomials, :math:`w_j = \int K(s) L_j(s)\, ds`.

    Parameters
    ----------
    moments : sequence of q scalars
        :math:`\int K(s) s^k ds`, k = 0, ..., q - 1.
    nodes : sequence of q scalars
        Distinct nodes.
    """
    weights = []
    for j, node in enumerate(nodes):
        others = [u for i, u in enumerate(nodes) if i != j]
        integral = _integral(moments, others)
        weights.append(integral / prod(node - u for u in others) if others else integral)
    return tuple(weights)


def _integral(moments: Sequence[Scalar], roots: Sequence[Scalar]) -> Scalar:
    """Integral of the product of ``s - u`` over all roots u, from the moments."""
    powers: list[Scalar] = [1]  # coefficients of the product, lowest power first
    for u in roots:
        raised, scaled = [0, *powers], [u * c for c in powers]
        powers = [r - s for r, s in zip(raised, [*scaled, 0], strict=True)]
    return sum(c * m for c, m in zip(powers, moments, strict=True))


def _implicit_weights(kernel: Kernel, nodes: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """Weights on ``nodes``, none of them positive, and last on the new node 1.

    The kernel of data prediction leans towards the new node, where the Lagrange polynomials of the other nodes
    vanish: their common factor 1 - s is integrated with the kernel, or its cancellation costs digits on long steps.
    """
    q = len(nodes)
    older = lagrange_weights(closing_moments(kernel, q), nodes)
    newest = _integral([kernel.moment(k) for k in range(q + 1)], nodes) / prod(1 - u for u in nodes)
    return (*(w / (1 - u) for w, u in zip(older, nodes, strict=True)), newest)


def closing_moments(kernel: Kernel, count: int) -> list[Scalar]:
    r"""Moments :math:`\int K(s)\, s^k (1 - s)\, ds`, k = 0, ..., count - 1.

    Equal to ``moment(k) - moment(k + 1)``, and computed so where the arithmetic is exact. For numbers and arrays,
    series of positive terms, in h or, where the kernel decays, in h after :math:`e^{-h}` has been taken out, keep
    all digits; on long steps of a kernel that decays, so do powers of 1/h.
    """
    step, rate = getattr(kernel, "step", None), getattr(kernel, "rate", 0)
    if rate and isinstance(step, float | np.ndarray) and np.size(step) and np.min(step) >= 0:
        longest = float(np.max(step))
        if longest <= _LONGEST:
            return _short_closing(step, rate, longest, count)
        if rate < 0:
            late = _long_closing(np.maximum(step, _LONGEST), count)
            early = _short_closing(np.minimum(step, _LONGEST), rate, _LONGEST, count)
            found = [np.where(step > _LONGEST, b, a) for a, b in zip(early, late, strict=True)]
            return found if isinstance(step, np.ndarray) else [float(f) for f in found]
    moments = [kernel.moment(k) for k in range(count + 1)]
    return [a - b for a, b in pairwise(moments)]


_LONGEST = 64.0
"""Steps beyond it would need coefficients of the series below the float64 range; their ``e^(-h)`` is nothing."""


def _short_closing(step: Scalar, rate: int, longest: float, count: int) -> list[Scalar]:
    terms = 12 + int(longest + 9 * longest**0.5)
    factor = step if rate > 0 else step * phi(0, -step)
    return [factor * _horner(_closing_series(k, rate, terms), step) for k in range(count)]


def _long_closing(step: Scalar, count: int) -> list[Scalar]:
    """Integrals of ``h e^(-h t) t (1 - t)^k`` over all t > 0, by powers of 1/h."""
    return [
        _horner([(-1.0) ** j * comb(k, j) * factorial(j + 1) for j in reversed(range(k + 1))], 1 / step) / step
        for k in range(count)
    ]


@cache
def _closing_series(k: int, rate: int, terms: int) -> tuple[float, ...]:
    """Taylor coefficients of the integral of ``e^(h(1-s)) s^k (1-s)``, or ``e^(hs) s^k (1-s)``; highest first."""
    if rate > 0:
        return tuple((j + 1) * factorial(k) / factorial(j + k + 2) for j in reversed(range(terms)))
    return tuple(1 / (factorial(j) * (j + k + 1) * (j + k + 2)) for j in reversed(range(terms)))


def _horner(coefficients: Sequence[float], z: Scalar) -> Scalar:
    """Polynomial with its highest coefficient first."""
    total: Scalar = 0.0
    for coefficient in coefficients:
        total = total * z + coefficient
    return total


def exponential_adams(h: Scalar | Kernel, nodes: Sequence[Scalar], prediction: str = "data") -> tuple[Scalar, ...]:
    r"""Weights of the exponential Adams method on arbitrary nodes, of order ``len(nodes)``.

    .. math:: y_1 = \frac{\mathrm{scale}_1}{\mathrm{scale}_0} y_0 + \mathrm{gain}_1 \sum_j w_j M_j, \qquad
              w_j = h \int_0^1 e^{\kappa h (1 - s)} L_j(s)\, ds

    For data prediction: :math:`y_1 = (\sigma_1/\sigma_0) y_0 + \alpha_1 \sum_j w_j D_j`; for noise
    prediction: :math:`y_1 = (\alpha_1/\alpha_0) y_0 - \sigma_1 \sum_j w_j \epsilon_j`.

    Parameters
    ----------
    h : scalar or array, shape (...)
        Step in half-log-SNR (natural log of alpha/sigma), > 0; for ``"rho"`` and ``"velocity"`` the step in
        sigma/alpha and sigma/(alpha + sigma), < 0.
    nodes : sequence of scalars or arrays
        ``u_j = (lambda_j - lambda_n)/h``; ``u_0 = 0`` first, past nodes negative; last the integer 1 for an implicit
        method.
    prediction : {"data", "noise", "rho", "velocity"}
        What the model predicts, hence the kernel.

    Returns
    -------
    tuple of scalars or arrays
        One dimensionless weight a node.

    Raises
    ------
    ValueError
        If ``nodes`` is empty or holds a repeated number, or ``prediction`` is unknown.

    Notes
    -----
    Explicit with past nodes (Adams-Bashforth): 1 NFE per step, order q. The same weights are DEIS in log-SNR
    (noise), UniP of any order, DPM-Solver++(2M, "taylor") (q = 2, data), and k-diffusion's LMS (rho).
    Not to be confused with ``dpmpp_2m``, which replaces the exact first moment by half of the zeroth.

    References
    ----------
    Hochbruck and Ostermann, Acta Numerica 19 (2010), section 2; Zhang and Chen, arXiv:2204.13902, tAB-DEIS.
    """
    kernel = as_kernel(h, prediction)
    if kernel is not h:  # who brings a kernel brings the nodes of a grid, which were checked with it
        nodes = distinct(nodes)
    if len(nodes) > 1 and isinstance(nodes[-1], int) and nodes[-1] == 1:
        return _implicit_weights(kernel, nodes[:-1])
    return lagrange_weights([kernel.moment(k) for k in range(len(nodes))], nodes)


def adams_bashforth(h: Scalar, nodes: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """Weights of the variable-step Adams-Bashforth method: :func:`exponential_adams` in the rho clock.

    Parameters
    ----------
    h : scalar or array
        Step in the clock, of either sign.
    nodes : sequence of scalars or arrays
        ``u_j = (clock_j - clock_n)/h``, ``u_0 = 0`` first.

    Returns
    -------
    tuple of scalars or arrays
        Weights; their sum is ``h``.

    References
    ----------
    Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, section III.5.
    """
    return exponential_adams(h, nodes, "rho")


def ddim(h: Scalar | Kernel, prediction: str = "data") -> tuple[Scalar]:
    r"""Weight of DDIM, the exponential Euler method: :math:`w_0 = h \varphi_1(\kappa h)`.

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    prediction : {"data", "noise", "rho", "velocity"}
        What the model predicts; the step is the same state whichever of data, noise, rho is used.

    Returns
    -------
    (w0,) : tuple of one scalar or array
        For data ``1 - exp(-h)``.

    Notes
    -----
    Order 1, 1 NFE per step. Aliases: DPM-Solver-1, DPM-Solver++(1), Euler in sigma/alpha.

    References
    ----------
    Song, Meng and Ermon, arXiv:2010.02502, eq. (13).
    """
    return (as_kernel(h, prediction).moment(0),)


def dpmpp_2m(h: Scalar | Kernel, r1: Scalar, prediction: str = "data") -> tuple[Scalar, Scalar]:
    r"""Weights of DPM-Solver++(2M), the two-step method with the midpoint weight.

    .. math::

        y_1 &= \frac{\sigma_1}{\sigma_0} y_0 + \alpha_1\,(w_0 D_0 + w_1 D_{-1}), \\
        w_1 &= \frac{h\varphi_1(-h)}{2 u_1}, \quad w_0 = h\varphi_1(-h) - w_1

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    r1 : scalar or array
        Previous node u_1 = (lambda_{n-1} - lambda_n)/h < 0; -1 on a uniform grid. The paper's r_0 is -r1.
    prediction : {"data", "noise"}
        Data for DPM-Solver++, noise for the multistep DPM-Solver-2.

    Returns
    -------
    w0, w1 : scalars or arrays

    Notes
    -----
    Order 2 (local error order 3), also after a first-order start; 1 NFE per step. Aliases: diffusers
    ``DPMSolverMultistepScheduler(solver_order=2, solver_type="midpoint")``, k-diffusion ``sample_dpmpp_2m``, UniP-2
    with B_2. Not to be confused with ``exponential_adams`` on two nodes ("taylor", "heun"): the first
    moment here is h phi_1/2, not h phi_2; they differ by O(h^3).

    References
    ----------
    Lu et al., arXiv:2211.01095, algorithm 2.
    """
    kernel = as_kernel(h, prediction)
    if kernel is not h:
        (r1,) = past_nodes(r1=r1)
    total = kernel.moment(0)
    w1 = total / (2 * r1)
    return total - w1, w1


def dpmpp_3m(h: Scalar | Kernel, r1: Scalar, r2: Scalar, prediction: str = "data") -> tuple[Scalar, Scalar, Scalar]:
    r"""Weights of DPM-Solver++(3M) as its authors ship it; the method is of order 2.

    With :math:`a = (D_0 - D_{-1})/(-u_1)`, :math:`b = (D_{-1} - D_{-2})/(u_1 - u_2)` the code takes
    :math:`D^{(2)} = (a - b)/(-u_2)` for the second derivative, half of what consistency needs.

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    r1, r2 : scalar or array
        Past nodes u_1 > u_2, both negative; -1, -2 on a uniform grid.
    prediction : {"data", "noise"}
        What the model predicts.

    Returns
    -------
    w0, w1, w2 : scalars or arrays

    Notes
    -----
    Claimed order 3, true order 2; :func:`dpmpp_3m_corrected` has order 3. 1 NFE per step. The same formula is in
    diffusers ``DPMSolverMultistepScheduler(solver_order=3)`` and k-diffusion ``sample_dpmpp_3m_sde``.

    References
    ----------
    LuChengTHU/dpm-solver, dpm_solver_pytorch.py at 52bc3fbc, ``multistep_dpm_solver_third_update``.
    """
    return _third_order(h, prediction, r1, r2, second_derivative=1)


def dpmpp_3m_corrected(
    h: Scalar | Kernel, r1: Scalar, r2: Scalar, prediction: str = "data"
) -> tuple[Scalar, Scalar, Scalar]:
    """Weights of DPM-Solver++(3M) with the missing factor 2 restored: order 3.

    Identical to :func:`exponential_adams` on the nodes (0, r1, r2) and to UniP-3. Parameters, returns and
    aliases as in :func:`dpmpp_3m`.

    Parameters
    ----------
    h, r1, r2, prediction
        As of :func:`dpmpp_3m`: step > 0 in half-log-SNR, past nodes r1 > r2, both negative.

    Returns
    -------
    w0, w1, w2 : scalars or arrays
        Weights of the evaluations, newest first.
    """
    return _third_order(h, prediction, r1, r2, second_derivative=2)


def _third_order(
    h: Scalar | Kernel, prediction: str, u1: Scalar, u2: Scalar, second_derivative: int
) -> tuple[Scalar, Scalar, Scalar]:
    """Weights from the first and second differences, with a factor on the second."""
    kernel = as_kernel(h, prediction)
    if kernel is not h:
        u1, u2 = past_nodes(r1=u1, r2=u2)
    first, second = kernel.moment(1), second_derivative * kernel.moment(2) / 2
    bend = (second - first * u1) / u2  # weight of b = (D_{-1} - D_{-2})/(u1 - u2)
    slope = first - bend  # weight of a = (D_0 - D_{-1})/(-u1)
    newest, oldest = slope / u1, bend / (u1 - u2)
    return kernel.moment(0) - newest, newest + oldest, -oldest


# -- step rules --------------------------------------------------------------------------------------


def combine(weights: Sequence[Scalar], evaluations: Sequence[Vector]) -> Vector:
    """Linear combination of evaluations, given as many weights."""
    return sum((w * v for w, v in zip(weights, evaluations, strict=True)), Vector({}))


def multistep(window: Window, weights: Sequence[Scalar]) -> Step:
    """One explicit step from the newest evaluation and ``len(weights) - 1`` past ones; 1 NFE."""
    x, k1 = vectors("x k1")
    past = [vector(f"m{j}") for j in range(1, len(weights))]
    return Step((Stage(0, x),), x + combine(weights, [k1, *past]), window.remember(k1))


def exponential_adams_step(window: Window, order: int) -> Step:
    """Step of the exponential Adams-Bashforth method."""
    return multistep(window, exponential_adams(window.kernel, (0, *window.past[: order - 1])))


def dpmpp_2m_step(window: Window, order: int) -> Step:
    """Step of DPM-Solver++(2M)."""
    weights = ddim(window.kernel) if order == 1 else dpmpp_2m(window.kernel, window.past[0])
    return multistep(window, weights)


def dpmpp_3m_step(window: Window, order: int, ramp: str = "midpoint") -> Step:
    """Step of DPM-Solver++(3M) as shipped: its lower orders are those of 2M, or exact where ``ramp="taylor"``."""
    if order == 3:
        return multistep(window, dpmpp_3m(window.kernel, *window.past[:2]))
    return exponential_adams_step(window, order) if ramp == "taylor" else dpmpp_2m_step(window, order)


def dpmpp_3m_corrected_step(window: Window, order: int) -> Step:
    """Step of DPM-Solver++(3M) with the factor 2 restored."""
    if order < 3:
        return dpmpp_2m_step(window, order)
    return multistep(window, dpmpp_3m_corrected(window.kernel, *window.past[:2]))

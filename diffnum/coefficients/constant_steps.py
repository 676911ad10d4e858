r"""Classical multistep methods: the weights of constant steps, and what became of them in diffusion samplers.

Adams-Bashforth and Adams-Moulton on constant steps are series in the backward difference,

.. math:: \int_0^1 (1-\nabla)^{-s} ds = \sum_j \gamma_j \nabla^j = 1 + \tfrac12\nabla + \tfrac5{12}\nabla^2 + \dots,
          \qquad \sum_j \gamma^*_j \nabla^j = (1-\nabla) \sum_j \gamma_j \nabla^j,

with :math:`\sum_{i \le j} \gamma_i/(j + 1 - i) = 1`. PLMS, iPNDM and PNDM use them on grids whose steps in
sigma/alpha are not constant: they then have order 2 on smooth grids and 1 on others, whatever their number of
steps. iPNDM_v is meant to be the variable-step method, and is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from math import comb

import numpy as np

from diffnum.coefficients.adams import combine, exponential_adams, multistep
from diffnum.coefficients.checked import clock_step, past_nodes, sequence
from diffnum.coefficients.predictor_corrector import predict_correct
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors
from diffnum.types import Scalar

__all__ = ["abm", "adams_moulton_constant", "ipndm_v", "plms", "pndm_start"]


# -- weights -----------------------------------------------------------------------------------------


@cache
def bashforth_differences(count: int) -> tuple[Fraction, ...]:
    """First coefficients gamma_j of Adams-Bashforth in backward differences: 1, 1/2, 5/12, 3/8, 251/720, ..."""
    gamma: list[Fraction] = []
    for j in range(count):
        gamma.append(1 - sum((g / (j + 1 - i) for i, g in enumerate(gamma)), Fraction(0)))
    return tuple(gamma)


@cache
def values_of(differences: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    """Weights of values, newest first, from those of backward differences."""
    count = len(differences)
    return tuple((-1) ** j * sum(comb(i, j) * differences[i] for i in range(j, count)) for j in range(count))


HIGHEST = 100
"""Largest number of evaluations combined."""


def check_order(order: int) -> None:
    """Refuse what is no number of evaluations."""
    if isinstance(order, bool) or not isinstance(order, int | np.integer) or order < 1:
        msg = f"order={order!r} is not a positive whole number: give the number of evaluations combined"
        raise ValueError(msg)
    if order > HIGHEST:
        msg = f"order={order} is above {HIGHEST}, where weights leave the float64 range: combine fewer"
        raise ValueError(msg)


def _times(h: Scalar, weights: Sequence[Fraction]) -> tuple[Scalar, ...]:
    """Weights times the step, with whole numbers only, so that any arithmetic can follow."""
    return tuple(h * w.numerator / w.denominator for w in weights)


def plms(h: Scalar, order: int) -> tuple[Scalar, ...]:
    r"""Weights of the Adams-Bashforth method for constant steps (PLMS, iPNDM).

    Parameters
    ----------
    h : scalar or array
        Step in the clock, sigma/alpha in PLMS (negative while sampling).
    order : int
        Number of evaluations combined, at least 1.

    Returns
    -------
    tuple of scalars or arrays
        Weights of the newest evaluation, the one before, ...; their sum is ``h``. Order 4: h (55, -59, 37, -9)/24.

    Raises
    ------
    ValueError
        If ``order`` is not positive.

    Notes
    -----
    Order ``order`` on constant steps; 2 on smooth grids and 1 on irregular ones. 1 NFE per step. Not to be confused
    with :func:`~diffnum.coefficients.adams_bashforth`, the variable-step method.

    References
    ----------
    Liu et al., arXiv:2202.09778; luping-liu/PNDM at e771949c, ``gen_order_4``; Hairer, Norsett and Wanner, Solving
    Ordinary Differential Equations I, eqs. (III.1.5) and (III.1.6).
    """
    check_order(order)
    h = clock_step(h)
    return _times(h, values_of(bashforth_differences(order)))


def adams_moulton_constant(h: Scalar, order: int) -> tuple[Scalar, ...]:
    r"""Weights of the Adams-Moulton method for constant steps.

    Parameters
    ----------
    h : scalar or array
        Step in the clock.
    order : int
        Number of evaluations combined, the new one included; at least 1 (backward Euler), 2 is the trapezoidal rule.

    Returns
    -------
    tuple of scalars or arrays
        Weights of the *new* evaluation first, then of the current one, the one before, ... Order 4:
        h (9, 19, -5, 1)/24.

    Raises
    ------
    ValueError
        If ``order`` is not positive.

    References
    ----------
    Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, eqs. (III.1.8) and (III.1.9).
    """
    check_order(order)
    h = clock_step(h)
    gamma = bashforth_differences(order)
    starred = tuple(g - before for g, before in zip(gamma, (Fraction(0), *gamma), strict=False))
    return _times(h, values_of(starred))


def abm(h: Scalar, order: int) -> tuple[tuple[Scalar, ...], tuple[Scalar, ...]]:
    """Weights of the Adams-Bashforth-Moulton pair of one order, for constant steps.

    Parameters
    ----------
    h : scalar or array
        Step in the clock.
    order : int
        Order of both formulas, at least 1.

    Returns
    -------
    predictor, corrector : tuples of scalars or arrays
        :func:`plms` (newest first) and :func:`adams_moulton_constant` (new evaluation first).
    """
    return plms(h, order), adams_moulton_constant(h, order)


def ipndm_v(h: Scalar, past: Sequence[Scalar]) -> tuple[Scalar, ...]:
    r"""Weights of iPNDM_v of order ``len(past) + 1`` as its authors ship it.

    With :math:`h_1 = -u_1, h_2 = u_1 - u_2, h_3 = u_2 - u_3` the earlier steps in units of this one,

    .. math:: w/h = (1, 0, 0, 0) + \tfrac{1}{2 h_1}(1, -1, 0, 0) + T_1 (1, -1-v, v, 0) + T_2 (1, \dots)

    where in T_1 a factor has slid into the wrong bracket, in T_2 the second term of an integration by parts has the
    wrong sign, and the oldest weight has the ratio h_1/h_2 for h_2/h_3.

    Parameters
    ----------
    h : scalar or array
        Step in sigma/alpha.
    past : sequence of at most 3 scalars or arrays
        Past nodes u_1 > u_2 > u_3, all negative, in steps.

    Returns
    -------
    tuple of scalars or arrays
        Weights of the evaluations at 0, u_1, u_2, u_3.

    Raises
    ------
    ValueError
        If more than three past nodes are given: the code stops at order 4.

    Notes
    -----
    Two evaluations are the variable-step Adams-Bashforth method exactly. Three have order 3 on smooth grids and 2 on
    irregular ones. Four have order 3 on constant steps, 2 on smooth grids, and on irregular ones the weights do
    not even sum to the step. The corrected version is :func:`~diffnum.coefficients.adams_bashforth` (``lms_k``).

    References
    ----------
    zju-pi/diff-sampler at 68d5ce42, diff-solvers-main/solvers.py, ``ipndm_v_sampler``.
    """
    past = sequence("past", past)
    if len(past) > 3:
        msg = f"past={past} has {len(past)} nodes: iPNDM_v combines at most 4 evaluations, so give 3"
        raise ValueError(msg)
    h, past = clock_step(h), past_nodes(past)
    if not past:
        return (h,)
    h1 = -past[0]
    weights: list[Scalar] = [1 + 1 / (2 * h1), -1 / (2 * h1)]
    if len(past) > 1:
        h2 = past[0] - past[1]
        v = h1 / h2
        bend = (1 - 1 / (3 * h1 * (h1 + h2))) / 2
        weights = [weights[0] + bend, weights[1] - bend * (1 + v), bend * v]
    if len(past) > 2:
        h3 = past[1] - past[2]
        w = h1 * (h1 + h2) / (h2 * (h2 + h3))
        ahead = 1 + h1
        twist = (1 - 1 / (3 * ahead)) / 2 + (1 - 1 / (2 * ahead)) / (6 * (ahead + h2))
        twist = twist * ahead * (ahead + h2) / (h1 * (h1 + h2) * (h1 + h2 + h3))
        third = (1, -(1 + v + w), v + w * (1 + h2 / h3), -w * v)
        weights = [a + twist * b for a, b in zip((*weights, 0), third, strict=True)]
    return tuple(h * weight for weight in weights)


# -- step rules --------------------------------------------------------------------------------------


def plms_step(window: Window, order: int) -> Step:
    """Step of Adams-Bashforth with the weights of constant steps."""
    return multistep(window, plms(window.moment(0), order))


def ipndm_v_step(window: Window, order: int) -> Step:
    """Step of iPNDM_v as shipped."""
    return multistep(window, ipndm_v(window.moment(0), window.past[: order - 1]))


def abm_step(window: Window, order: int, mode: str = "pece", *, variable: bool = False) -> Step:
    """Adams-Bashforth-Moulton pair of one order; with exact weights of the nodes where ``variable``."""
    if variable:
        past = window.past[: order - 1]
        predictor = exponential_adams(window.kernel, (0, *past))
        corrector = exponential_adams(window.kernel, (0, *past[:-1], 1) if past else (1,))
    else:
        predictor, (new, *old) = abm(window.moment(0), order)
        corrector = (*old, new)
    return predict_correct(window, predictor, corrector, mode, correct_last=mode == "pece")


def pseudo_runge_kutta_step(window: Window, order: int) -> Step:  # noqa: ARG001
    """Start-up of F-PNDM: the classical fourth-order method with transfers in place of Euler steps; 4 NFE.

    The transfer to the midpoint *in time* is no half step in sigma/alpha, so that the local error is O(h^3).
    """
    x, k1, k2, k3, k4 = vectors("x k1 k2 k3 k4")
    middle, whole = window.inner[0], window.moment(0)
    half = window.moment(0, middle)
    stages = (
        Stage(0, x),
        Stage(middle, x + half * k1),
        Stage(middle, x + half * k2),
        Stage(1, x + whole * k3),
    )
    slope = combine(pndm_start(whole), [k1, k2, k3, k4])
    return Step(stages, x + slope, window.remember(k1))


def pndm_start(h: Scalar) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """Weights of the pseudo Runge-Kutta start of F-PNDM: h (1, 2, 2, 1)/6.

    Parameters
    ----------
    h : scalar or array
        Step in sigma/alpha.

    References
    ----------
    Liu et al., arXiv:2202.09778, eq. (13).
    """
    return h / 6, h / 3, h / 3, h / 6


def pseudo_trapezoidal_step(window: Window, order: int) -> Step:  # noqa: ARG001
    """Start-up of S-PNDM: Heun's method, of which only the first evaluation is remembered; 2 NFE."""
    x, k1, k2 = vectors("x k1 k2")
    whole = window.moment(0)
    stages = (Stage(0, x), Stage(1, x + whole * k1))
    return Step(stages, x + combine((whole / 2, whole / 2), [k1, k2]), window.remember(k1))


def _raw(window: Window) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """Signal factors at the start, in the middle (where it is used) and at the end of a step; sigma at its start."""
    if not window.nodes:  # weights are looked at without a schedule
        return 1.0, 1.0, 1.0, 1.0
    end, start = window.nodes[:2]
    rho = start.sigma / start.alpha + (window.inner[0] if window.inner else 0.0) * window.step
    return start.alpha, 1 / np.sqrt(1 + rho * rho), end.alpha, start.sigma


def _fon(window: Window, evaluation: str) -> Vector:
    """Change of the raw state over one label, from the state at the start of the step and some evaluation."""
    alpha, _, _, sigma = _raw(window)
    ratio = window.parameters["alpha_ahead"] / alpha
    sigma_ahead = np.sqrt(abs(1 - window.parameters["alpha_ahead"] ** 2))
    return Vector({"x": ratio - 1, evaluation: sigma_ahead - sigma * ratio})


def _row(raw: Vector, alpha: Scalar, target: Scalar) -> Vector:
    """Row of a step from a combination of raw states and changes."""
    return Vector({name: w * alpha / target if name == "x" else w / target for name, w in raw.items()})


def fon_step(window: Window, order: int) -> Step:
    """FON: :func:`plms` on the change of the raw state per label, of variance-preserving processes only.

    Parameters of the plan: ``alpha_ahead``, the signal factor one label after the start of each step; ``labels``, how
    many labels the step spans.
    """
    alpha, _, target, _ = _raw(window)
    x, change = vector("x"), _fon(window, "k1")
    slopes = [change, *(vector(f"v{j}") for j in range(1, order))]
    raw = x + combine(plms(window.parameters["labels"], order), slopes)
    return Step((Stage(0, x),), _row(raw, alpha, target), window.remember(change, letter="v"))


def fon_start_step(window: Window, order: int) -> Step:  # noqa: ARG001
    """Start-up of FON: the classical fourth-order method, each change taken from the state at the start of the step."""
    alpha, halfway, target, _ = _raw(window)
    x, middle, labels = vector("x"), window.inner[0], window.parameters["labels"]
    changes = [_fon(window, f"k{j}") for j in range(1, 5)]
    stages = (
        Stage(0, x),
        Stage(middle, _row(x + labels / 2 * changes[0], alpha, halfway)),
        Stage(middle, _row(x + labels / 2 * changes[1], alpha, halfway)),
        Stage(1, _row(x + labels * changes[2], alpha, target)),
    )
    raw = x + combine(pndm_start(labels), changes)
    return Step(stages, _row(raw, alpha, target), window.remember(changes[0], letter="v"))

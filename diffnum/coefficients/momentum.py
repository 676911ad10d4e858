r"""Momentum: methods that step with a moving average of past evaluations.

GHVB ("generalised heavy ball") keeps :math:`v_{n+1} = (1-\beta) v_n + \beta \epsilon_n` and steps by
:math:`\bar y_{n+1} = \bar y_n + (\delta/\beta) \sum_j c_j v_{n+2-j}` in the clock rho = sigma/alpha, with weights c_j
that undo the delay of the average up to order k. As published the weights are those of constant steps.

HB ("heavy ball") and NT ("Nesterov") average the slope p of any method instead and do not undo the delay,
which costs all orders but the first. In terms of slopes GHVB is HB with the delay undone,

.. math:: s_n = p_n + (1-\beta)(s_{n-1} - q_n), \qquad y_{n+1} = y_n + \delta_n s_n ,

p_n and q_n the Adams-Bashforth slope of this step and the Adams-Moulton slope of the one before, both from the k newest
evaluations; on constant steps this is GHVB identically. In this form it can be taken to any grid: with exact
Lagrange weights in p_n and q_n it has order k on every one (``variable``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from math import lcm
from typing import TypeAlias

from diffnum.coefficients.adams import combine, dpmpp_2m_step, exponential_adams
from diffnum.coefficients.checked import clock_step, number, past_nodes, within
from diffnum.coefficients.constant_steps import bashforth_differences, check_order, values_of
from diffnum.forms import ExponentialKernel
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors
from diffnum.types import Scalar

__all__ = ["ghvb", "ghvb_variable"]

Rule: TypeAlias = Callable[[Window, int], Step]
"""Step of a method whose slope is averaged."""


def ghvb(order: int, beta: Scalar) -> tuple[Scalar, ...]:
    r"""Weights c_j of GHVB of a given order, for constant steps; Adams-Bashforth at beta = 1.

    Parameters
    ----------
    order : int
        Number of averages combined, at least 1.
    beta : scalar
        Weight of the newest evaluation in the average, in (0, 1].

    Returns
    -------
    tuple of scalars
        Weights of v_{n+1} (newest), v_n, ...; their sum is ``beta``. Order 4:
        (46 + 9 beta, 19 beta - 78, 42 - 5 beta, beta - 10)/24.

    Raises
    ------
    ValueError
        If ``order`` is not positive, or a numeric ``beta`` is outside (0, 1].

    Notes
    -----
    Truncation of :math:`(\beta + (1-\beta)\nabla)(1 + \nabla/2 + 5\nabla^2/12 + \dots)` after ``order`` terms; the
    authors print orders 1 to 5. Order ``order`` on constant steps in rho with exact history, 2 on smooth grids, 1 on
    irregular ones.

    References
    ----------
    Wizadwongsa et al., "Diffusion Sampling with Momentum for Mitigating Divergence Artifacts", ICLR 2024,
    arXiv:2307.11118; sWizad/momentum-diffusion at 7d324104, ``GHVBScheduler``.
    """
    check_order(order)
    _check(beta)
    gamma = bashforth_differences(order)
    constant = values_of((Fraction(0), *gamma[:-1]))
    linear = values_of(tuple(g - before for g, before in zip(gamma, (Fraction(0), *gamma), strict=False)))
    scale = lcm(*(w.denominator for w in (*constant, *linear)))
    # whole numbers only, so that any arithmetic can follow
    return tuple((int(c * scale) + int(w * scale) * beta) / scale for c, w in zip(constant, linear, strict=True))


def _check(beta: Scalar) -> None:
    if not within(1 - number("beta", beta), 0.0, 1.0):
        msg = f"beta={beta} is outside (0, 1]: beta = 1 is no momentum"
        raise ValueError(msg)


def ghvb_variable(h: Scalar, past: Sequence[Scalar], beta: Scalar) -> tuple[tuple[Scalar, ...], Scalar]:
    r"""Weights of GHVB for steps of any length, on evaluations and on the slope of the step before.

    .. math:: \bar y_{n+1} = \bar y_n + \sum_j w_j f_{n-j} + c\, s_{n-1}, \qquad
              w_j = h\,(p_j - (1-\beta) q_j), \quad c = h\,(1 - \beta)

    with p the weights of the mean over this step, [0, 1], of the polynomial through the evaluations, and q those of
    its mean over the step before, [u_1, 0]. The new slope s_n is the whole increment over h.

    Parameters
    ----------
    h : scalar or array
        Step in sigma/alpha (negative while sampling).
    past : sequence of scalars or arrays
        Past nodes u_1 > u_2 > ..., all negative, in steps; the order is one more than their number.
    beta : scalar
        Weight of the new slope, in (0, 1]; 1 is the variable-step Adams-Bashforth method.

    Returns
    -------
    evaluations : tuple of scalars or arrays
        Weights w at the nodes 0, u_1, ...; their sum is ``beta h``.
    slope : scalar or array
        Weight c of the slope of the step before.

    Raises
    ------
    ValueError
        If a numeric ``beta`` is outside (0, 1], ``h`` is not finite, or the past nodes are not negative and in order.

    Notes
    -----
    The slope's deviation e_n from the exact mean obeys e_n = (1 - beta) e_{n-1} + O(h^k) on every grid, so that the
    method has order k = ``len(past) + 1`` there. On constant steps it is :func:`ghvb`, but for the start. 1 NFE a step.

    No combination of the k newest averages of GHVB, with weights that know k nodes, can do it: on other than constant
    steps the moments of an average depend on the whole grid before it.
    """
    _check(beta)
    h = clock_step(h)
    return _variable_weights(h, past_nodes(past), beta)


def _variable_weights(h: Scalar, past: Sequence[Scalar], beta: Scalar) -> tuple[tuple[Scalar, ...], Scalar]:
    """Weights of :func:`ghvb_variable` on the nodes of a grid."""
    kernel = ExponentialKernel(h, 0)
    ahead = exponential_adams(kernel, (0, *past))
    if not past:
        return (beta * ahead[0],), (1 - beta) * h
    # the step before, counted backwards from the current node in units of its own length
    behind = exponential_adams(kernel, (0, 1, *(u / past[0] for u in past[1:])))
    return tuple(p - (1 - beta) * q for p, q in zip(ahead, behind, strict=True)), (1 - beta) * h


def settled_average(beta: Scalar, evaluations: list[Vector]) -> Vector:
    r"""Average v_{n+1} of a long smooth history, from its newest evaluations f_n, f_{n-1}, ...

    The recursion reads :math:`(1 - (1-\beta)E^{-1}) v_{n+1} = \beta f_n`, hence
    :math:`v_{n+1} = (1 + \frac{1-\beta}{\beta}\nabla)^{-1} f_n`, expanded in backward differences.
    """
    factor = (beta - 1) / beta
    total, differences, power = Vector({}), list(evaluations), 1
    while differences:
        total = total + power * differences[0]
        differences = [a - b for a, b in pairwise(differences)]
        power = power * factor
    return total


# -- step rules --------------------------------------------------------------------------------------


def ghvb_step(window: Window, order: int, beta: Scalar) -> Step:
    """GHVB in the rho clock; the first average is the first evaluation, as shipped.

    Where the history is given as plain evaluations (an exact start) the averages are those of a long
    smooth history.
    """
    x, k1 = vectors("x k1")
    if "v1" in window.known:
        old = [vector(f"v{j}") for j in range(1, window.depth + 1) if f"v{j}" in window.known]
    else:
        plain = [vector(f"m{j}") for j in range(1, 2 * window.depth + 1) if f"m{j}" in window.known]
        old = [settled_average(beta, plain[j : j + window.depth + 1]) for j in range(min(window.depth, len(plain)))]
    newest = (1 - beta) * old[0] + beta * k1 if old else k1
    averages = [newest, *old]
    weights = ghvb(order, beta)
    slope = reduce(Vector.__add__, (c * v for c, v in zip(weights, averages, strict=False))) / beta
    memory = {f"v{j + 1}": v for j, v in enumerate(averages[: max(window.depth, 1)])}
    return Step((Stage(0, x),), x + window.moment(0) * slope, memory)


def ghvb_variable_step(window: Window, order: int, beta: Scalar) -> Step:
    """GHVB for steps of any length; the first slope is that of Adams-Bashforth."""
    x, k1, v1 = vectors("x k1 v1")
    h, moving = window.moment(0), "v1" in window.known
    evaluations, damping = _variable_weights(h, window.past[: order - 1], beta if moving else 1)
    increment = combine(evaluations, [k1, *(vector(f"m{j}") for j in range(1, order))])
    if moving:
        increment = increment + damping * v1
    return Step((Stage(0, x),), x + increment, {**window.remember(k1), "v1": increment / h})


def _base_slope(window: Window, order: int, base: Rule) -> tuple[Step, Vector]:
    """Step of the base method, and its slope: the increment of x in units of the zeroth moment."""
    step = base(window, order)
    return step, Vector({name: w / window.moment(0) for name, w in step.x.items() if name != "x"})


def heavy_ball_step(window: Window, order: int, beta: Scalar, base: Rule) -> Step:
    """HB on any method: its slope is replaced by a moving average; the first average is the first slope."""
    _check(beta)
    step, slope = _base_slope(window, order, base)
    average = (1 - beta) * vector("v1") + beta * slope if "v1" in window.known else slope
    return Step(step.stages, vector("x") + window.moment(0) * average, {**step.memory, "v1": average})


def nesterov_step(window: Window, order: int, beta: Scalar, base: Rule) -> Step:
    """NT on any method: the new average is averaged with the slope once more."""
    _check(beta)
    step, slope = _base_slope(window, order, base)
    average = (1 - beta) * vector("v1") + beta * slope if "v1" in window.known else slope
    used = (1 - beta) * average + beta * slope
    return Step(step.stages, vector("x") + window.moment(0) * used, {**step.memory, "v1": average})


def mdpm2_step(window: Window, order: int, beta: Scalar, first: str = "evaluation") -> Step:
    """DPM-Solver++(2M) with a heavy ball as shipped: first-order steps neither use nor move the average.

    The average starts as the first evaluation, or where ``first`` is ``"slope"`` as the first second-order slope.
    """
    _check(beta)
    step, slope = _base_slope(window, order, dpmpp_2m_step)
    known = "v1" in window.known
    if order == 1:
        start = {"v1": vector("k1")} if first == "evaluation" else {}
        return Step(step.stages, step.x, {**step.memory, **({"v1": vector("v1")} if known else start)})
    average = (1 - beta) * vector("v1") + beta * slope if known else slope
    return Step(step.stages, vector("x") + window.moment(0) * average, {**step.memory, "v1": average})

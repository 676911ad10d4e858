r"""Methods for few steps that need no training: CAB, STORK, PFDiff, RX-DPM, and EPD before its training.

All are linear combinations of evaluations, and nothing else: CAB is an Adams-Bashforth method with a multiple of its
own error estimate added; STORK's fifty virtual stages see no state, and add up to a method of three evaluations; PFDiff
is a midpoint rule whose predictor is an old slope; RX-DPM's extrapolation of Euler is the Runge-Kutta method of two
stages; EPD is DPM-Solver-2 with its inner evaluation replaced by a mean of several that do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from diffnum.coefficients.adams import as_kernel, exponential_adams, multistep
from diffnum.coefficients.checked import inner_node, number, past_nodes, sequence, within
from diffnum.coefficients.runge_kutta import euler_step, one_step, rational
from diffnum.forms import Kernel
from diffnum.tableau import Stage, Step, Window, vector, vectors
from diffnum.types import Scalar

__all__ = ["cab", "epd", "rx_euler", "stork_2"]


def cab(h: Scalar | Kernel, past: Sequence[Scalar], theta: Scalar, base: int = 2) -> tuple[Scalar, ...]:
    r"""Weights of CAB: Adams-Bashforth plus theta times the defect of the newest evaluation.

    The defect is :math:`\epsilon_n` less its linear extrapolation from the two before, times the step.

    Parameters
    ----------
    h : scalar or array
        Step in sigma/alpha, < 0 while sampling.
    past : sequence of two scalars or arrays
        Past nodes u_1 > u_2, both negative, in steps.
    theta : scalar
        Share of the defect; the authors ship 0.9, 1 and 0.2.
    base : {2, 3}
        Order of the Adams-Bashforth method.

    Returns
    -------
    tuple of three scalars or arrays
        Weights of the evaluations at 0, u_1, u_2; their sum is ``h``.

    Raises
    ------
    ValueError
        If ``base`` is neither.

    Notes
    -----
    The defect is h^2 times a second derivative, so that the local error is O(h^3) for every theta: order 2, of base 2
    and 3 alike. On constant steps theta = 5/12 makes base 2 the Adams-Bashforth method of order 3; base 3 has order 3
    at theta = 0 only. 1 NFE a step.

    References
    ----------
    Roy and Nair, arXiv:2605.16736; Anuska-Roy/CAB at 941180a3, generate_cab.py, cab_sampler.
    """
    if base not in (2, 3):
        msg = f"base={base!r}: the Adams-Bashforth method of CAB has order 2 or 3, use one of them"
        raise ValueError(msg)
    kernel = as_kernel(h, "rho")
    u1, u2 = past = _two_nodes(past)
    weights = (*exponential_adams(kernel, (0, *past[: base - 1])), 0)[:3]
    share = theta * kernel.moment(0)
    slope = -u1 / (u1 - u2)
    defect = (share, -(1 + slope) * share, slope * share)
    return weights[0] + defect[0], weights[1] + defect[1], weights[2] + defect[2]


TIMES = ("legendre", "gegenbauer")
"""Where the virtual stages of STORK-2 stand: as shipped, at the times of another family than their weights."""


@cache
def virtual_moments(stages: int, times: str = "legendre") -> tuple[Fraction, Fraction]:
    r"""First and second moment, :math:`\sum_j b_j c_j` and :math:`\sum_j b_j c_j^2`, of the stages that STORK-2 runs.

    Its evaluations are values of a parabola in time, so that the recursion of Runge and Kutta is a quadrature.

    Parameters
    ----------
    stages : int
        Virtual stages s, at least 2.
    times : {"legendre", "gegenbauer"}
        Times of the stages: :math:`(j-1)(j+2)/(s-1)(s+2)` as shipped, those of the Runge-Kutta-Legendre method; or
        :math:`(j-1)(j+4)/(s-1)(s+4)`, to which the weights belong.
    """
    if isinstance(stages, bool) or not isinstance(stages, int) or stages < 2 or times not in TIMES:
        msg = f"stages={stages!r}, times={times!r}: use at least 2 stages and one of {', '.join(TIMES)}"
        raise ValueError(msg)

    def b(j: int) -> Fraction:
        return (
            (Fraction(1), Fraction(1, 3))[j]
            if j < 2
            else Fraction(4 * (j - 1) * (j + 4), 3 * j * (j + 1) * (j + 2) * (j + 3))
        )

    width = Fraction(6, (stages + 4) * (stages - 1))
    shift = 2 if times == "legendre" else 4
    start = Fraction(4, 3 * (stages**2 + stages - 2)) if times == "legendre" else width
    moments = []
    for power in (1, 2):
        older, newer = Fraction(0), Fraction(0)  # the first stage is at time 0, where powers vanish
        for j in range(2, stages + 1):
            mu = Fraction(2 * j + 1, j) * b(j) / b(j - 1)
            nu = -Fraction(j + 1, j) * b(j) / b(j - 2)
            place = start if j == 2 else Fraction((j - 2) * (j - 1 + shift), (stages - 1) * (stages + shift))
            older, newer = newer, mu * newer + nu * older + mu * width * place**power
        moments.append(newer)
    return moments[0], moments[1]


def stork_2(
    h: Scalar | Kernel, past: Sequence[Scalar], stages: int = 50, times: str = "legendre"
) -> tuple[Scalar, ...]:
    r"""Weights of STORK-2 on flows: the parabola through three velocities, integrated by virtual stages.

    .. math:: y_1 = y_0 + h\big(v_0 + B_1 h\,\dot v + \tfrac12 B_2 h^2\,\ddot v\big)

    The slope :math:`\dot v` is that of constant steps whatever the steps are; the second derivative is exact for a
    parabola; B_1 and B_2 are :func:`virtual_moments`.

    Parameters
    ----------
    h : scalar or array
        Step in time, < 0 while sampling.
    past : sequence of two scalars or arrays
        Past nodes u_1 > u_2, both negative, in steps.
    stages : int
        Virtual stages; the authors' default is 50.
    times : {"legendre", "gegenbauer"}
        As shipped, or the times to which the weights belong.

    Returns
    -------
    tuple of three scalars or arrays
        Weights of the velocities at 0, u_1, u_2; their sum is ``h``.

    Notes
    -----
    The stages of a stabilised Runge-Kutta method damp because each sees the state that the one before has made. Here
    they see the time alone, and no choice of them widens the region of stability. As shipped the weights are
    Gegenbauer's and the times Legendre's, so that B_1 is 0.4896 at 50 stages and the order is 1; at their own times
    B_1 = 1/2, and the order is 2 on constant and smooth steps, 1 on irregular ones. 1 NFE a step.

    References
    ----------
    Tan et al., arXiv:2505.24210; ZT220501/STORK at fd991caf, STORKScheduler.py, step_flow_matching_2.
    """
    total = as_kernel(h, "velocity").moment(0)
    u1, u2 = _two_nodes(past)
    first, second = virtual_moments(stages, times)
    # slope (-v_2 + 4 v_1 - 3 v_0)/(2 h_1) backwards in time, h_1 = -u_1 steps
    slope = (-3 / (2 * u1), 4 / (2 * u1), -1 / (2 * u1))
    bend = (2 / (u1 * u2), 2 / (u1 * (u1 - u2)), -2 / (u2 * (u1 - u2)))
    along, half = _times(total, first), _times(total, second) / 2
    return tuple(value * total + along * s + half * c for value, s, c in zip((1, 0, 0), slope, bend, strict=True))


def _two_nodes(past: Sequence[Scalar]) -> tuple[Scalar, Scalar]:
    """The two past nodes of a method of order 3, in their order."""
    given = sequence("past", past)
    if len(given) != 2:
        msg = f"past={past!r} has {len(given)} nodes: give two, such as (-1.0, -2.0)"
        raise ValueError(msg)
    first, second = past_nodes(given)
    return first, second


def _times(total: Scalar, number: Fraction) -> Scalar:
    """A multiple in whole numbers that fit into a float, so that any arithmetic can follow."""
    if type(total).__module__ == "torch":  # whose whole numbers have 64 bits
        return total * float(number)
    return total * number.numerator / number.denominator


def rx_euler(h: Scalar | Kernel, node: Scalar) -> tuple[Scalar, tuple[Scalar, Scalar]]:
    r"""Weights of RX-Euler over two intervals: Euler's two steps and Euler's one, extrapolated.

    .. math:: y_{n+1} = \frac{y^{(2)} - S y^{(1)}}{1 - S}, \qquad S = u^2 + (1 - u)^2

    Parameters
    ----------
    h : scalar or array
        Length of both intervals together in sigma/alpha, < 0 while sampling.
    node : scalar or array
        Where the first ends, as a fraction u of both.

    Returns
    -------
    inner : scalar or array
        Weight of the first evaluation in the state at the inner node.
    (b_1, b_2) : scalars or arrays
        Weights of the two evaluations in the step: h (1 - 1/(2u)) and h/(2u), whatever S.

    Notes
    -----
    Hence the Runge-Kutta method of two stages with the inner node of the grid: order 2 on every grid, 2 NFE for two
    intervals, so one an interval.

    References
    ----------
    Choi, Kang and Han, arXiv:2504.01855; jin01020/rx-dpm at 580ecf72, edm/generate.py, rx_euler_sampler and get_coeff.
    """
    total, node = as_kernel(h, "rho").moment(0), inner_node("node", node, last=False)
    squares = node * node + (1 - node) * (1 - node)
    one, two = -squares / (1 - squares), 1 / (1 - squares)
    return total * node, (total * (one + two * node), total * two * (1 - node))


def epd(
    h: Scalar | Kernel, nodes: Sequence[Scalar], shares: Sequence[Scalar]
) -> tuple[tuple[Scalar, ...], tuple[Scalar, ...]]:
    r"""Weights of EPD: K evaluations on the line of the first slope, whose weighted mean makes the step.

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    nodes : sequence of K scalars or arrays
        Where they stand, as fractions of the step.
    shares : sequence of K scalars or arrays
        Their shares; they sum to 1.

    Returns
    -------
    inner : tuple of K scalars or arrays
        Weight of the first evaluation in each inner state.
    weights : tuple of K scalars or arrays
        Weights of the K evaluations in the step, of which the first evaluation is no part.

    Raises
    ------
    ValueError
        If there are not as many shares as nodes.

    Notes
    -----
    Order 2 where the mean of the nodes, in these shares, is 1/2; else 1. The K evaluations do not wait for each other,
    so that the latency may be that of one; they are K evaluations all the same: K + 1 NFE a step.

    References
    ----------
    Zhu et al., arXiv:2507.14797; BeierZhu/EPD at 88a91f09, solvers.py, epd_sampler.
    """
    nodes = tuple(inner_node(f"nodes[{i}]", node) for i, node in enumerate(sequence("nodes", nodes)))
    shares = tuple(number(f"shares[{i}]", share) for i, share in enumerate(sequence("shares", shares)))
    if not nodes or len(nodes) != len(shares):
        msg = f"nodes={nodes!r} and shares={shares!r}: give one node or more, and each its share"
        raise ValueError(msg)
    if not within(sum(shares) - 1.0, -1e-3, 1e-3):
        msg = f"shares={shares!r} add up to {sum(shares)}, not to 1: divide them by their sum"
        raise ValueError(msg)
    kernel = as_kernel(h, "noise")
    total = kernel.moment(0)
    return tuple(kernel.moment(0, node) for node in nodes), tuple(share * total for share in shares)


# -- step rules --------------------------------------------------------------------------------------


def cab_step(window: Window, order: int, theta: Scalar, base: int) -> Step:
    """CAB after Euler and Adams-Bashforth of order 2."""
    if order < 3:
        return multistep(window, exponential_adams(window.kernel, (0, *window.past[: order - 1])))
    return multistep(window, cab(window.kernel, window.past[:2], theta, base))


def stork_step(window: Window, order: int, stages: int, times: str) -> Step:
    """STORK-2 after Euler and Adams-Bashforth of order 2."""
    if order < 3:
        return multistep(window, exponential_adams(window.kernel, (0, *window.past[: order - 1])))
    return multistep(window, stork_2(window.kernel, window.past[:2], stages, times))


def pfdiff_step(window: Window, order: int) -> Step:
    """PFDiff-1: to the middle with the last slope, from the start again with the slope found there; Euler at first."""
    x, k1 = vectors("x k1")
    if order == 1:
        return multistep(window, exponential_adams(window.kernel, (0,)))
    node = window.inner[0]
    middle = x + window.moment(0, node) * vector("m1")
    return Step((Stage(node, middle),), x + window.moment(0) * k1, {"m1": k1})


def rx_euler_step(window: Window, order: int) -> Step:
    """RX-Euler over two parts of a step; Euler at order 1."""
    x, k1, k2 = vectors("x k1 k2")
    if order == 1:
        return multistep(window, exponential_adams(window.kernel, (0,)))
    node = window.inner[0]
    inner, (first, second) = rx_euler(window.kernel, node)
    return Step((Stage(0, x), Stage(node, x + inner * k1)), x + first * k1 + second * k2)


def epd_step(window: Window, order: int, points: int) -> Step:
    """EPD with equal shares at equal distances; exponential Euler at order 1."""
    if order == 1:
        return euler_step(window)
    nodes = tuple(rational(window, Fraction(j, points + 1)) for j in range(1, points + 1))
    inner, weights = epd(window.kernel, nodes, (rational(window, Fraction(1, points)),) * points)
    return one_step(window, (0, *nodes), ((), *((weight,) for weight in inner)), (0, *weights))

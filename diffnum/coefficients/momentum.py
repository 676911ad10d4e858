r"""Momentum: methods that step with a moving average of past evaluations.

GHVB ("generalised heavy ball") keeps :math:`v_{n+1} = (1-\beta) v_n + \beta \epsilon_n` and steps by
:math:`\bar x_{n+1} = \bar x_n + (\delta/\beta) \sum_j c_j v_{n+2-j}` in the clock rho = sigma/alpha, with weights c_j
that undo the delay of the average up to order k. As published the weights are those of constant steps.
"""

from __future__ import annotations

from functools import reduce
from itertools import pairwise

from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors
from diffnum.types import Scalar

__all__ = ["ghvb"]

_MAX_ORDER = 5


def ghvb(order: int, beta: Scalar) -> tuple[Scalar, ...]:
    r"""Weights c_j of GHVB of a given order, for constant steps; Adams-Bashforth at beta = 1.

    Parameters
    ----------
    order : int
        Number of averages combined, 1 to 5.
    beta : scalar
        Weight of the newest evaluation in the average, in (0, 1].

    Returns
    -------
    tuple of scalars
        Weights of v_{n+1} (newest), v_n, ...; their sum is ``beta``.

    Raises
    ------
    ValueError
        If ``order`` is not in 1, ..., 5, or a numeric ``beta`` is outside (0, 1].

    Notes
    -----
    Truncation of :math:`(\beta + (1-\beta)\nabla)(1 + \nabla/2 + 5\nabla^2/12 + \dots)` after ``order`` terms.
    Order ``order`` on constant steps in rho with exact history, 2 on smooth grids, 1 on irregular ones.

    References
    ----------
    Wizadwongsa et al., "Diffusion Sampling with Momentum for Mitigating Divergence Artifacts", ICLR 2024,
    eq. (11) and appendix; sWizad/momentum-diffusion at 7d324104.
    """
    if isinstance(beta, int | float) and not 0 < beta <= 1:
        raise ValueError(f"beta={beta} is outside (0, 1]: beta = 1 is no momentum")
    if order == 1:
        return (beta,)
    if order == 2:
        return (2 + beta) / 2, (beta - 2) / 2
    if order == 3:
        return (18 + 5 * beta) / 12, (8 * beta - 24) / 12, (6 - beta) / 12
    if order == 4:
        return (46 + 9 * beta) / 24, (19 * beta - 78) / 24, (42 - 5 * beta) / 24, (beta - 10) / 24
    if order == _MAX_ORDER:
        return (
            (1650 + 251 * beta) / 720,
            (646 * beta - 3420) / 720,
            (2880 - 264 * beta) / 720,
            (106 * beta - 1380) / 720,
            (270 - 19 * beta) / 720,
        )
    raise ValueError(f"order={order} is not available: the published weights stop at order {_MAX_ORDER}")


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

r"""Reversible schemes: plans whose every step can be undone by linear combinations and the same evaluations.

Each carries a second vector. With :math:`\bar x = x/s` and the clock c of a form (:math:`s = \alpha, c = \sigma/\alpha`
where the model is seen as predicting noise, :math:`s = \sigma, c = \alpha/\sigma` for data) the flow is
:math:`d\bar x/dc = M`; steps are :math:`h = c_{n+1} - c_n`, with :math:`r = h/h_{n-1}`. The two-step schemes are

.. math:: \bar y_{n+1} = \bar y_n + h M_n + g\,(\bar y_{n-1} - \bar y_n + h_{n-1} M_n),

the leapfrog with g = 1, O-BELM with :math:`g = r^2`, BDIA with :math:`g = \gamma\,\alpha_{n-1}/\alpha_{n+1}`. Where the
past state is a little off the curve, that error is multiplied by -g a step while sampling and by -1/g on the way
back: the price of exact inversion is a root that cannot be inside the unit circle both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np

from diffnum.forms import DATA, RHO, Nodes, SemilinearForm
from diffnum.grids import Grid
from diffnum.jobs.shown import short
from diffnum.plans.record import Plan
from diffnum.tableau import Tableau
from diffnum.types import FloatArray, Schedule

__all__ = ["SCHEMES", "ReversibleScheme", "parasitic_roots", "reversible_plan"]

Rows: TypeAlias = Mapping[str, float]

Written: TypeAlias = tuple[tuple[tuple[bool, Rows], ...], Rows, Rows]
"""A step: of each stage whether it lies at the end, and its combination; then the outputs ``x`` and ``v1``."""


@dataclass(frozen=True)
class _Place:
    """Numbers of a step: ends, and the node before where there is one; ``s`` scale, ``c`` clock."""

    s: tuple[float, float, float]
    c: tuple[float, float, float]
    alpha: tuple[float, float, float]
    first: bool

    @property
    def h(self) -> float:
        """Step in the clock."""
        return self.c[2] - self.c[1]

    @property
    def before(self) -> float:
        """Step before."""
        return self.c[1] - self.c[0]


@dataclass(frozen=True)
class ReversibleScheme:
    """A scheme as a record.

    Parameters
    ----------
    name, title : str
        Name here and in prose.
    form : SemilinearForm
        Coordinates: rho for noise, data for data.
    order : int
        Order on smooth grids.
    irregular_order : int
        Order where steps jump, in the worse of the two directions.
    rows : callable
        ``rows(place, option)``: the step as :data:`Written`.
    option, least : float
        Its one parameter, where it has one, and what it must exceed; 0 otherwise.
    cite, equation, summary : str
        Source and one sentence.
    deviation : str
        Where the claim of the source or its code stops holding.
    """

    name: str
    title: str
    form: SemilinearForm
    order: int
    irregular_order: int
    rows: Callable[[_Place, float], Written] = field(repr=False)
    option: float
    cite: str
    equation: str
    summary: str
    deviation: str = ""
    least: float = 0.0

    def __repr__(self) -> str:
        """Short form."""
        return short(
            "ReversibleScheme", self.name, order=self.order, irregular_order=self.irregular_order, cite=self.cite
        )


def _two_steps(
    weight: Callable[[_Place, float], float],
) -> Callable[[_Place, float], Written]:
    """A two-step scheme with the weight g of the past; Euler's step first."""

    def rows(place: _Place, option: float) -> Written:
        past, now, new = place.s
        stage = ((False, {"x": 1.0}),)
        if place.first:
            return stage, {"x": new / now, "k1": new * place.h}, {"x": 1.0}
        g = weight(place, option)
        x = {"x": (1.0 - g) * new / now, "v1": g * new / past, "k1": new * (place.h + g * place.before)}
        return stage, x, {"x": 1.0}

    return rows


def _edict(place: _Place, mixing: float) -> Written:
    """Two copies that step by each other's noise and are mixed; both evaluations are told the time of the start."""
    a, b = place.s[2] / place.s[1], place.s[2] * place.h
    other = "x" if place.first else "v1"
    stages = ((False, {other: 1.0}), (False, {"x": a, "k1": b}))
    first, second = {"x": a, "k1": b}, _sum((1.0, {other: a}), (1.0, {"k2": b}))
    x = _sum((mixing, first), (1.0 - mixing, second))
    return stages, x, _sum((mixing, second), (1.0 - mixing, x))


def _heun(place: _Place, option: float) -> Written:  # noqa: ARG001
    """Reversible Heun: a midpoint rule for the second vector, the trapezoidal rule at it for the state."""
    a, b = place.s[2] / place.s[1], place.s[2] * place.h
    other = "x" if place.first else "v1"
    shadow = _sum((2.0 * a, {"x": 1.0}), (-a, {other: 1.0}), (b, {"k1": 1.0}))
    return ((False, {other: 1.0}), (True, shadow)), {"x": a, "k1": b / 2, "k2": b / 2}, shadow


def _sum(*terms: tuple[float, Rows]) -> dict[str, float]:
    """Sum of combinations with factors."""
    total: dict[str, float] = {}
    for factor, row in terms:
        for name, weight in row.items():
            total[name] = total.get(name, 0.0) + factor * weight
    return total


def _one(place: _Place, option: float) -> float:  # noqa: ARG001
    return 1.0


def _ratio_squared(place: _Place, option: float) -> float:  # noqa: ARG001
    return (place.h / place.before) ** 2


def _bdia(place: _Place, gamma: float) -> float:
    return gamma * place.alpha[0] / place.alpha[2]


_LEAPFROG = "Leapfrog: from the state before, over both steps, by the evaluation between."

SCHEMES: Final[Mapping[str, ReversibleScheme]] = MappingProxyType(
    {
        scheme.name: scheme
        for scheme in (
            ReversibleScheme(
                "leapfrog", "exponential leapfrog", RHO, 2, 1, _two_steps(_one), 0.0, "hairer2006geometric",
                "section I.1.4, in rho", _LEAPFROG + " The linear part is exact.",
            ),
            ReversibleScheme(
                "leapfrog_data", "exponential leapfrog, data", DATA, 2, 1, _two_steps(_one), 0.0, "hairer2006geometric",
                "section I.1.4, in alpha/sigma", _LEAPFROG + " In the coordinates of a data prediction.",
            ),
            ReversibleScheme(
                "belm", "O-BELM", RHO, 2, 1, _two_steps(_ratio_squared), 0.0, "wang2024belm",
                "the optimal 2-step scheme",
                "The weight of the past that makes the local error of order 3 on every grid.",
                "Its other root is -r^2, outside the unit circle wherever steps grow in rho and, on the way back, "
                "wherever they shrink. Where steps are long and short by turns, that mode adds up the error of the "
                "start: the order falls to 1, as is seen from the data end.",
            ),
            ReversibleScheme(
                "bdia", "BDIA-DDIM", RHO, 1, 1, _two_steps(_bdia), 1.0, "zhang2024bdia",
                "guoqiang-zhang-x/BDIA, README, whose gamma is one minus this one",
                "The DDIM step, corrected by what the DDIM step back would have missed; gamma scales the correction.",
                "gamma = 1 is close to the leapfrog and of order 2 on smooth grids; each gamma < 1 is of order 1.",
            ),
            ReversibleScheme(
                "edict", "EDICT", RHO, 1, 1, _edict, 0.93, "wallace2023edict", "section 3, coupled transformations",
                "Two copies step by each other's noise, and are mixed with weight p.",
                "The second evaluation sees a state of the new level at the time of the old one; the way back "
                "multiplies the distance of the copies by p^-2 a step.", 0.5,
            ),
            ReversibleScheme(
                "reversible_heun", "reversible Heun", RHO, 2, 2, _heun, 0.0, "kidger2021efficient", "algorithm 1",
                "A leapfrog-like second vector carries the evaluations of a trapezoidal rule.",
                "Written with two evaluations a step; the second is that which the next step begins with.",
            ),
        )
    }
)  # fmt: skip
"""Reversible schemes by name."""


def reversible_plan(
    name: str, schedule: Schedule, grid: Grid, *, option: float | None = None, from_data: bool = False
) -> Plan:
    """Plan of a reversible scheme.

    Parameters
    ----------
    name : str
        One of :data:`SCHEMES`.
    schedule : Schedule
        The noising process.
    grid : Grid
        Nodes, sigma > 0; a terminal rule is left out.
    option : float, optional
        BDIA's gamma in (0, 1], EDICT's mixing p in (1/2, 1]; as published by default.
    from_data : bool
        Start at the data, so that the start-up lies there: the plan that encodes. What
        :func:`diffnum.solver.reversal.reversed_plan` makes of it decodes, from both vectors.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If the scheme is unknown, its option out of range, or the grid ends at sigma = 0.
    """
    if name not in SCHEMES:
        msg = f"name={name!r} is no reversible scheme: use one of {', '.join(SCHEMES)}"
        raise ValueError(msg)
    scheme = SCHEMES[name]
    value = _checked_option(scheme, option)
    if np.isinf(grid.lam[-1]):
        msg = f"grid ends at sigma = 0 (t={float(grid.t[-1]):g}), where no step can be undone: end it at a later time"
        raise ValueError(msg)
    nodes = Nodes.at(schedule, grid.t, grid.lam)
    if from_data:
        nodes = nodes[::-1]
    label = f"{name}_{value:g}" if scheme.option else name
    return Plan(
        method=label,
        prediction=scheme.form.prediction,
        schedule=schedule,
        steps=tuple(_steps(scheme, value, nodes)),
        history={},
        start="ramp",
        terminal="stop",
        history_prediction=scheme.form.prediction,
    )


def _checked_option(scheme: ReversibleScheme, option: float | None) -> float:
    """The parameter of a scheme."""
    if option is None:
        return scheme.option
    if not scheme.option:
        msg = f"option={option!r}: {scheme.name} has no parameter, leave it out"
        raise ValueError(msg)
    if not scheme.least < option <= 1.0:
        msg = f"option={option!r} is outside ({scheme.least:g}, 1]: {scheme.title} cannot be undone there, or grows"
        raise ValueError(msg)
    return float(option)


def _steps(scheme: ReversibleScheme, option: float, nodes: Nodes) -> list[Tableau]:
    """Tableaux of all steps."""
    s, c = (nodes.alpha, nodes.sigma / nodes.alpha), (nodes.sigma, nodes.alpha / nodes.sigma)
    scale, clock = s if scheme.form is RHO else c
    found = []
    for n, (here, there) in enumerate(pairwise(range(len(nodes.t)))):
        index = [max(n - 1, 0), here, there]
        s_n, c_n, a_n = (tuple(v[index].tolist()) for v in (scale, clock, nodes.alpha))
        stages, x, v = scheme.rows(_Place(s_n, c_n, a_n, n == 0), option)
        inputs = ("x",) if n == 0 else ("x", "v1")
        names = {name: (0, j) for j, name in enumerate(inputs)} | {f"k{j + 1}": (1, j) for j in range(len(stages))}
        U, A = np.zeros((len(stages), len(inputs))), np.zeros((len(stages), len(stages)))
        V, B = np.zeros((2, len(inputs))), np.zeros((2, len(stages)))
        for i, (_, row) in enumerate(stages):
            _fill((U, A), i, row, names)
        for i, row in enumerate((x, v)):
            _fill((V, B), i, row, names)
        at = [there if late else here for late, _ in stages]
        tableau = Tableau(
            inputs, ("x", "v1"), (), float(nodes.t[here]), float(nodes.t[there]),
            nodes.t[at], nodes.alpha[at], nodes.sigma[at], U, A, V, B,
            stage_noise=np.zeros((len(stages), 0)), noise=np.zeros((2, 0)),
        )  # fmt: skip
        found.append(tableau)
    return found


def _fill(
    matrices: tuple[FloatArray, FloatArray], i: int, row: Mapping[str, float], names: Mapping[str, tuple[int, int]]
) -> None:
    """Write a combination into a row of two matrices."""
    for name, weight in row.items():
        which, j = names[name]
        matrices[which][i, j] += weight


def parasitic_roots(plan: Plan) -> FloatArray:
    """The root of each step, after the first, besides that of the flow itself.

    With the evaluations taken away, a step maps (x, second vector) by a matrix; in the coordinates of the form one
    eigenvalue is 1 and the other says by how much a distance of the second vector from its place is multiplied.

    Parameters
    ----------
    plan : Plan
        From :func:`reversible_plan`. On the way back the roots are the reciprocals.

    Returns
    -------
    ndarray, shape (steps - 1,)
    """
    native = plan.for_prediction(plan.history_prediction)
    # where the model says nothing the flow follows the scale; the determinant is the product of both roots
    state = np.array([_scale(plan, native.steps[0].t_from)])
    roots = []
    for step in native.steps:
        new = step.V @ state
        if len(state) == 2:
            roots.append(np.linalg.det(step.V) * np.prod(state) / np.prod(new))
        state = new
    return np.array(roots)


def _scale(plan: Plan, t: float) -> float:
    """Scale of the form at a time: what x is where nothing but the linear part moves it."""
    scale: Any = plan.schedule.alpha if plan.history_prediction == "noise" else plan.schedule.sigma
    return float(scale(t))

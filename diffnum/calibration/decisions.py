r"""Solvers as decision records: each step of a run decided on its own (the space of the unified sampling framework).

A step goes from a node o ("origin", usually the current one) to the next: with I_k the moments of the kernel of its
prediction's form and u measured in steps from o,

.. math:: y_{n+1} = \frac{\mathrm{scale}_{n+1}}{\mathrm{scale}_o} y_o
          + \mathrm{gain}_{n+1} \sum_{k < p} I_k\, c_k\, [u^k] P_k(u), \qquad c_1 = \text{relaxation},\ c_k = 1,

P_k the interpolant through as many evaluations as the decision says: at the origin first, then the newest ones. The
known solvers are points of this space (:func:`decide`), and a search may look at the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from diffnum.coefficients.adams import combine, lagrange_weights
from diffnum.coefficients.method import Method
from diffnum.forms import DATA, NOISE, VELOCITY, ExponentialKernel, SemilinearForm, conversion
from diffnum.grids import Grid, from_times
from diffnum.jobs.checked import check_number
from diffnum.plans import Plan, plan
from diffnum.tableau import Stage, Step, Vector, Window, vector
from diffnum.types import Scalar, Schedule

__all__ = ["CORRECTORS", "RELAXATIONS", "Decision", "Decisions", "decide"]

CORRECTORS = ("none", "pseudo", "implicit")
"""No corrector; one with the evaluation at the predicted point, which is kept (PEC, free); one that is followed by
another evaluation (PECE)."""

RELAXATIONS: Mapping[str, Callable[[Scalar, Scalar, Scalar], Scalar]] = {
    "taylor": lambda h, zeroth, first: 1,  # noqa: ARG005
    "dpmsolver": lambda h, zeroth, first: zeroth / (2 * first),  # noqa: ARG005
    "bh2": lambda h, zeroth, first: zeroth / (2 * first),  # noqa: ARG005
    "bh1": lambda h, zeroth, first: h / (2 * first),  # noqa: ARG005
}
"""Factors on the first derivative's moment: exact, half of the zeroth moment (two names), half of the step. A number r
stands for 1 + r h."""

_FORMS: Mapping[str, SemilinearForm] = {"data": DATA, "noise": NOISE, "velocity": VELOCITY}
_LETTERS = {"data": "d", "noise": "e", "velocity": "w"}


@dataclass(frozen=True)
class Decision:
    """Everything that is decided about one step.

    Parameters
    ----------
    time : float
        Where the step ends.
    prediction : {"data", "noise", "velocity"}
        Form in which it is taken.
    order : int
        Terms of the Taylor expansion, 1 to 6; the derivatives are those of order 1 to ``order - 1``.
    estimation : tuple of int
        Evaluations from which each derivative is estimated, at least k + 1 for derivative k; by default ``order``
        for all of them. Fewer make low-order estimates, which may pay at few steps.
    relaxation, corrector_relaxation : str or float
        Factor on the first derivative's weight: a key of :data:`RELAXATIONS`, or r for 1 + r h.
    corrector : {"none", "pseudo", "implicit"}
        See :data:`CORRECTORS`. The corrector has one term and one evaluation (the new one) more.
    origin : int
        Nodes back to where the step begins: 1 for the second step of DPM-Solver-2, which starts over from the
        beginning of the first.

    Raises
    ------
    ValueError
        If a decision is not in this space.
    """

    time: float
    prediction: str = "data"
    order: int = 1
    estimation: tuple[int, ...] = ()
    relaxation: str | float = "taylor"
    corrector: str = "none"
    corrector_relaxation: str | float = "taylor"
    origin: int = 0

    def __post_init__(self) -> None:
        check_number("time", self.time)
        if self.prediction not in _FORMS:
            msg = f"prediction={self.prediction!r} is no decision: use one of {', '.join(_FORMS)}"
            raise ValueError(msg)
        if self.corrector not in CORRECTORS:
            msg = f"corrector={self.corrector!r} is no decision: use one of {', '.join(CORRECTORS)}"
            raise ValueError(msg)
        for name in ("relaxation", "corrector_relaxation"):
            value = getattr(self, name)
            if isinstance(value, str) and value not in RELAXATIONS:
                msg = f"{name}={value!r} is no decision: use one of {', '.join(RELAXATIONS)}, or a number"
                raise ValueError(msg)
        if not (1 <= self.order <= 6 and self.origin >= 0):
            msg = f"order={self.order}, origin={self.origin}: use an order from 1 to 6 and an origin >= 0"
            raise ValueError(msg)
        if not self.estimation:
            object.__setattr__(self, "estimation", (self.order,) * (self.order - 1))
        if len(self.estimation) != self.order - 1 or any(p < k for k, p in enumerate(self.estimation, start=2)):
            msg = (
                f"estimation={self.estimation}: order {self.order} has {self.order - 1} derivatives, and derivative k "
                "needs at least k + 1 evaluations"
            )
            raise ValueError(msg)

    @property
    def evaluations(self) -> int:
        """Past evaluations and the current one that the step must know."""
        return max(self.origin + 1, *self.estimation, 1)


@dataclass(frozen=True)
class Decisions:
    """A run as the list of its decisions.

    Parameters
    ----------
    start : float
        Time where it begins.
    steps : tuple of Decision
        One a step.

    Raises
    ------
    ValueError
        If there is no step, times do not decrease, or a step needs evaluations that are not there yet.
    """

    start: float
    steps: tuple[Decision, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if not self.steps:
            msg = "steps is empty: decide at least one step"
            raise ValueError(msg)
        times = [self.start, *(step.time for step in self.steps)]
        for i, (step, before, after) in enumerate(zip(self.steps, times[:-1], times[1:], strict=True)):
            if not before > after:
                msg = f"steps[{i}] ends at time {after}, not before its beginning {before}: sort the times"
                raise ValueError(msg)
            if step.evaluations > i + 1:
                msg = (
                    f"steps[{i}] needs {step.evaluations} evaluations, there are {i + 1}: lower its order, its "
                    "estimation or its origin"
                )
                raise ValueError(msg)

    @property
    def method(self) -> Method:
        """Record that takes these decisions, one after the other; only for a grid of the same times."""
        depth = max(max(step.evaluations for step in self.steps) - 1, 1)
        letters = tuple(sorted({_LETTERS[step.prediction] for step in self.steps}))
        form = _FORMS[self.steps[0].prediction]
        rule = partial(_decided_step, decisions=self, form=form, letters=letters)
        return Method(
            name="decisions",
            title=f"{len(self.steps)} decisions",
            family="decisions",
            form=form,
            order=1,
            highest=len(self.steps),  # the programme counts orders up to it, which tells each step its number
            rule=rule,
            depth=depth,
            cite="liu2024usf",
            equation="thu-nics/USF at 5b89ef51, codebases/edm/uni_sampler/uni_sampler.py",
            summary="Each step decided on its own.",
            claimed_order=1,
            order_with_startup=1,
        )

    def plan(self, schedule: Schedule) -> Plan:
        """All the numbers of the run on a schedule."""
        return plan(self.method, schedule, from_times(schedule, [self.start, *(step.time for step in self.steps)]))

    def to_dict(self) -> dict[str, Any]:
        """Decisions as JSON-able data."""
        return {"start": self.start, "steps": [asdict(step) for step in self.steps]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Decisions:
        """Decisions from what :meth:`to_dict` gave."""
        steps = (Decision(**{**step, "estimation": tuple(step["estimation"])}) for step in record["steps"])
        return cls(record["start"], tuple(steps))


# -- the step ------------------------------------------------------------------------------------------


def _decided_step(
    window: Window, order: int, *, decisions: Decisions, form: SemilinearForm, letters: tuple[str, ...]
) -> Step:
    """Step number ``order``; evaluations k are in the prediction of ``form``, rows are built in plain coordinates."""
    decision = decisions.steps[order - 1]
    here = _Place(window, form, letters)
    stages: list[Stage] = []
    x = vector("x")
    current = {letter: vector(f"{letter}0") for letter in letters}
    if f"{letters[0]}0" not in window.known:
        stages.append(Stage(0, x))
        current = here.all_predictions(vector("k1"), x, at=1)
    letter, o = _LETTERS[decision.prediction], decision.origin
    begin = vector(f"y{o}") if o else x
    # evaluations by their distance from the current node; the one at the origin comes first
    numbers = [o, *(j for j in range(window.depth + 1) if j != o)][: max(decision.evaluations, 1)]
    values = [current[letter] if j == 0 else vector(f"{letter}{j}") for j in numbers]
    predicted = here.expand(decision, begin, values, [j + 1 for j in numbers])
    memory = here.remember(current, depth=window.depth)
    if decision.corrector == "none":
        return Step(tuple(stages), here.in_form(predicted), memory)
    stages.append(Stage(1, here.in_form(predicted)))
    new = here.all_predictions(vector(f"k{len(stages)}"), predicted, at=0)
    higher = replace(decision, order=decision.order + 1, estimation=(), relaxation=decision.corrector_relaxation)
    used = numbers[: decision.order]
    corrected = here.expand(
        higher, begin, [values[0], new[letter], *values[1 : len(used)]], [o + 1, 0, *(j + 1 for j in used[1:])]
    )
    if decision.corrector == "pseudo":
        memory |= {f"{name}0": value for name, value in new.items()}
    return Step(tuple(stages), here.in_form(corrected), memory)


@dataclass(frozen=True)
class _Place:
    """One step in plain coordinates; nodes count from the end: 0 the end, 1 the start, 2 one back."""

    window: Window
    form: SemilinearForm
    letters: tuple[str, ...]

    def level(self, at: int) -> tuple[Scalar, Scalar]:
        """(alpha, sigma) at a node; placeholders where only the structure of the step is looked at."""
        nodes = self.window.nodes
        return (nodes[at].alpha, nodes[at].sigma) if nodes else (1.0, 1.0)

    def clock(self, form: SemilinearForm, at: int) -> Scalar:
        """Clock of a form at a node."""
        if self.window.nodes:
            return form.clock(self.window.nodes[at])
        return (1.0, 0.0, *self.window.past)[at]

    def all_predictions(self, evaluation: Vector, x: Vector, at: int) -> dict[str, Vector]:
        """An evaluation at state ``x`` in every prediction that the run keeps, by letter."""
        names = {_LETTERS[name]: name for name in _FORMS}
        found = {}
        for letter in self.letters:
            p, q = conversion(self.form.prediction, names[letter], *self.level(at))
            found[letter] = evaluation if names[letter] == self.form.prediction else p * x + q * evaluation
        return found

    def expand(self, decision: Decision, begin: Vector, values: Sequence[Vector], at: Sequence[int]) -> Vector:
        """State at the end from a Taylor expansion at the node ``at[0]``."""
        form = _FORMS[decision.prediction]
        origin = self.clock(form, at[0])
        h = self.clock(form, 0) - origin
        nodes = [0, *((self.clock(form, j) - origin) / h for j in at[1:])]
        kernel = ExponentialKernel(h, form.rate or 0)
        total: Vector = values[0] * kernel.moment(0)
        for k, points in enumerate(decision.estimation, start=1):
            weight = kernel.moment(k)
            if k == 1:
                weight = weight * _relaxation(decision.relaxation, h, kernel)
            picked = [int(j == k) for j in range(points)]  # "moments" that read the coefficient of u^k off
            total = total + combine(lagrange_weights(picked, nodes[:points]), values[:points]) * weight
        scale: Scalar = 1.0
        gain: Scalar = 1.0
        if self.window.nodes:
            end, start = self.window.nodes[0], self.window.nodes[at[0]]
            scale, gain = form.scale(end) / form.scale(start), form.gain(end)
        row: Vector = begin * scale + total * gain
        return row

    def in_form(self, row: Vector) -> Vector:
        """Plain row at the end in the coordinates of the form."""
        if not self.window.nodes:
            return row
        end, start = self.window.nodes[:2]
        scale, gain = self.form.scale(end) / self.form.scale(start), self.form.gain(end)
        return Vector({name: weight / (scale if name == "x" else gain) for name, weight in row.items()})

    def remember(self, current: Mapping[str, Vector], depth: int) -> dict[str, Vector]:
        """History for the next step: evaluations in every prediction, and states."""
        memory = {f"{letter}1": value for letter, value in current.items()} | {"y1": vector("x")}
        for name in (*self.letters, "y"):
            memory |= {
                f"{name}{j + 1}": vector(f"{name}{j}") for j in range(1, depth) if f"{name}{j}" in self.window.known
            }
        return memory


def _relaxation(rule: str | float, h: Scalar, kernel: ExponentialKernel) -> Scalar:
    """Factor on the weight of the first derivative."""
    if isinstance(rule, str):
        return RELAXATIONS[rule](h, kernel.moment(0), kernel.moment(1))
    return 1 + rule * h


# -- known solvers -------------------------------------------------------------------------------------


def decide(name: str, schedule: Schedule, grid: Grid) -> Decisions:
    """Decisions that make a known solver, with its ramp at the start.

    Parameters
    ----------
    name : str
        ``ddim``, ``eab_Q`` or ``eab_noise_Q`` (DEIS in half-log-SNR), ``ab_velocity_Q``, ``dpmpp_2m``,
        ``dpm_solver_2m``, ``dpmpp_3m_corrected``, ``unip_Q_BH``, ``unipc_Q_BH`` (also ``_noise``, ``_pece``),
        ``dpm_solver_2``, ``dpm_solver_3``, ``dpmpp_2s``, ``dpmpp_3s`` (also ``_taylor``).
    schedule : Schedule
        The noising process.
    grid : Grid
        Nodes, without a terminal rule. One-step solvers get their inner nodes as further decisions.

    Returns
    -------
    Decisions

    Raises
    ------
    ValueError
        If the solver is not in the list, or the grid has a terminal rule.
    """
    if grid.terminal.name != "stop":
        msg = f"terminal={grid.terminal.name!r}: decisions say themselves what the last steps do, use 'stop'"
        raise ValueError(msg)
    for pattern, build in _KNOWN.items():
        if found := re.fullmatch(pattern, name):
            return Decisions(float(grid.t[0]), tuple(build(found, schedule, grid)))
    msg = f"name={name!r} has no decisions here: the docstring of decide lists the solvers that have"
    raise ValueError(msg)


def _multistep(prediction: str, order: int, grid: Grid, relaxation: str = "taylor") -> list[Decision]:
    """Adams steps with a ramp; the relaxation acts at order 2, where the codes have it."""
    return [
        Decision(t, prediction, q := min(i + 1, order), relaxation=relaxation if q == 2 else "taylor")
        for i, t in enumerate(grid.t[1:].tolist())
    ]


def _adams(found: re.Match[str], schedule: Schedule, grid: Grid) -> list[Decision]:  # noqa: ARG001
    return _multistep("noise" if found[1] else "data", int(found[2]), grid)


def _velocity(found: re.Match[str], schedule: Schedule, grid: Grid) -> list[Decision]:  # noqa: ARG001
    return _multistep("velocity", int(found[1]), grid)


def _ddim(found: re.Match[str], schedule: Schedule, grid: Grid) -> list[Decision]:  # noqa: ARG001
    return _multistep("data", 1, grid)


def _dpm_multistep(found: re.Match[str], schedule: Schedule, grid: Grid) -> list[Decision]:  # noqa: ARG001
    return _multistep("data" if found[1] == "dpmpp" else "noise", int(found[2]), grid, "dpmsolver")


def _unified(found: re.Match[str], schedule: Schedule, grid: Grid) -> list[Decision]:  # noqa: ARG001
    order, variant = int(found[2]), found[3]
    steps = _multistep("noise" if found[4] else "data", order, grid, variant)
    if not found[1]:
        return steps
    # the authors relax the corrector of order 1, and never correct the last step (a PECE run does)
    mode = "implicit" if found[5] else "pseudo"
    corrected = [
        replace(step, corrector=mode, corrector_relaxation=variant if step.order == 1 else "taylor") for step in steps
    ]
    return corrected if found[5] else [*corrected[:-1], steps[-1]]


def _singlestep(found: re.Match[str], schedule: Schedule, grid: Grid) -> list[Decision]:
    """Each step as one decision a stage: every stage but the first starts over from the beginning of the step."""
    prediction, order, taylor = "noise" if found[1] else "data", int(found[2]), bool(found[3])
    steps = []
    for i in range(grid.n):
        start, end = grid.lam[i : i + 2]
        times = [
            *(float(schedule.time(start + (end - start) * j / order)) for j in range(1, order)),
            float(grid.t[i + 1]),
        ]
        steps.append(Decision(times[0], prediction))
        if order == 2:
            steps.append(Decision(times[1], prediction, 2, relaxation="taylor" if taylor else "dpmsolver", origin=1))
        else:
            steps.append(Decision(times[1], prediction, 2, origin=1))
            steps.append(Decision(times[2], prediction, 3 if taylor else 2, origin=2))
    return steps


_KNOWN: Mapping[str, Callable[[re.Match[str], Schedule, Grid], list[Decision]]] = {
    "ddim": _ddim,
    r"eab_(noise_)?([1-6])": _adams,
    r"ab_velocity_([1-6])": _velocity,
    r"(dpmpp|dpm_solver)_(2)m": _dpm_multistep,
    r"(dpmpp|dpm_solver)_(3)m_corrected": _dpm_multistep,
    r"(?:unip|unip(c))_([1-5])_(bh1|bh2)(_noise)?(_pece)?": _unified,
    r"(?:(dpm_solver)|dpmpp)_([23])(?(1)|s)(_taylor)?": _singlestep,
}

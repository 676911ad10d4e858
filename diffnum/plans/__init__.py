"""Plans: a method on a schedule and a grid, with every number computed once in float64.

A plan is a list of :class:`~diffnum.tableau.Tableau`; the loop over it (:mod:`diffnum.solver`) knows nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from diffnum import schedules
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import DENOISING, Method
from diffnum.coefficients.programme import LOWERING, Placement, Start
from diffnum.forms import Nodes, conversion
from diffnum.grids import Grid
from diffnum.plans.buffers import Layout, layout
from diffnum.tableau import Step, Tableau, Window, entries
from diffnum.types import FloatArray, Prediction, Schedule

__all__ = ["Plan", "plan"]

IntArray: TypeAlias = NDArray[np.int64]

_FORMAT = "diffnum-plan-v1"


@dataclass(frozen=True, eq=False)
class Plan:
    """All the numbers of a sampling run.

    Parameters
    ----------
    method : str
        Name of the method in the catalogue.
    prediction : str
        What the model must predict; :meth:`for_prediction` changes it.
    schedule : Schedule
        The noising process.
    steps : tuple of Tableau
        One a step, in order.
    history : mapping of str to float
        Evaluations that the run needs from its caller, name -> time; empty but for an exact start.
    start, terminal : str
        Start-up and terminal rule.
    history_prediction : str
        Prediction of the evaluations that are passed between the steps, and of ``history``: that of the method's form,
        whatever the model predicts.
    """

    method: str
    prediction: Prediction
    schedule: Schedule
    steps: tuple[Tableau, ...]
    history: Mapping[str, float]
    start: str
    terminal: str
    history_prediction: Prediction

    @property
    def nfe(self) -> int:
        """Model evaluations in the whole run."""
        return sum(step.nfe for step in self.steps)

    @property
    def times(self) -> FloatArray:
        """Times of the states, from the first to the last, shape (steps + 1,)."""
        return np.array([self.steps[0].t_from, *(step.t_to for step in self.steps)])

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.steps)

    @overload
    def __getitem__(self, index: int) -> Tableau: ...
    @overload
    def __getitem__(self, index: slice) -> Plan: ...
    def __getitem__(self, index: int | slice) -> Tableau | Plan:
        """One step, or the plan of a range of steps (to stop and go on later)."""
        if isinstance(index, slice):
            if index.step not in (None, 1):
                raise ValueError(f"step={index.step}: the steps of a plan must follow each other, slice without a step")
            return replace(self, steps=self.steps[index])
        return self.steps[index]

    def for_prediction(self, prediction: Prediction) -> Plan:
        """Plan for a model that predicts something else.

        The conversion is linear in the state and the prediction, so it folds into the weights and costs
        nothing at run time. A history passed between the steps keeps :attr:`history_prediction`.

        Raises
        ------
        ValueError
            If the conversion does not exist at a stage (data from noise at alpha = 0).
        """
        if prediction == self.prediction:
            return self
        if prediction not in self._folded:
            steps = tuple(_fold(self.steps, prediction, self.prediction))
            self._folded[prediction] = replace(self, steps=steps, prediction=prediction)
        return self._folded[prediction]

    @cached_property
    def _folded(self) -> dict[str, Plan]:
        """Plans for other predictions that have been asked for: a run over several batches folds once."""
        return {}

    @cached_property
    def programme(self) -> tuple[tuple[tuple[str, dict[str, Any]], ...], ...]:
        """For each step its rows (target, {source: weight}), zeros left out."""
        return tuple(tuple(step.rows()) for step in self.steps)

    @cached_property
    def stages(self) -> tuple[tuple[tuple[float, float, float], ...], ...]:
        """For each step its evaluations as (t, alpha, sigma)."""
        return tuple(
            tuple(zip(s.stage_t.tolist(), s.stage_alpha.tolist(), s.stage_sigma.tolist(), strict=True))
            for s in self.steps
        )

    @cached_property
    def layout(self) -> Layout:
        """Buffers that the rows of :attr:`programme` may be computed into."""
        return layout((step.nfe, rows) for step, rows in zip(self.steps, self.programme, strict=True))

    def __eq__(self, other: object) -> bool:
        """Equal when every number is."""
        if not isinstance(other, Plan):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    # -- files and tables --------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plan as JSON-able data."""
        return {
            "format": _FORMAT,
            "method": self.method,
            "prediction": self.prediction,
            "schedule": self.schedule.to_dict(),
            "start": self.start,
            "terminal": self.terminal,
            "history": dict(self.history),
            "history_prediction": self.history_prediction,
            "steps": [
                {
                    name: value.tolist() if isinstance(value, np.ndarray) else value
                    for name, value in ((f, getattr(step, f)) for f in Tableau.__dataclass_fields__)
                }
                for step in self.steps
            ],
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """Plan as JSON text (shortest round-trip floats); written to ``path`` where given."""
        text = json.dumps(self.to_dict())
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, text: str | Path) -> Plan:
        """Plan from JSON text, or from a file where a path is given.

        Raises
        ------
        ValueError
            If it is not a plan of this format.
        """
        if isinstance(text, Path):
            text = text.read_text(encoding="utf-8")
        try:
            return cls._from_dict(json.loads(text))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"text is not a plan in the format {_FORMAT} ({error}): write it with Plan.to_json()"
            ) from None

    @classmethod
    def _from_dict(cls, data: Any) -> Plan:
        """Plan from JSON-able data."""
        if not isinstance(data, dict) or data.get("format") != _FORMAT:
            raise ValueError(f"text is not a plan in the format {_FORMAT}: write it with Plan.to_json()")
        return cls(
            method=data["method"],
            prediction=data["prediction"],
            schedule=schedules.from_dict(data["schedule"]),
            steps=tuple(_tableau_from_dict(step) for step in data["steps"]),
            history=data["history"],
            start=data["start"],
            terminal=data["terminal"],
            history_prediction=data["history_prediction"],
        )

    def table(self) -> str:
        """Plan as a text table: one line a step, with its evaluations and weights."""
        lines = [
            f"{self.method} on {self.schedule.name}: {len(self)} steps, {self.nfe} evaluations, "
            f"{self.prediction} prediction, start {self.start}, terminal {self.terminal}",
            f"{'step':>4}  {'t from':>10}  {'t to':>10}  rows",
        ]
        for i, (step, rows) in enumerate(zip(self.steps, self.programme, strict=True)):
            head = f"{i:>4}  {step.t_from:>10.5g}  {step.t_to:>10.5g}  "
            for target, row in rows:
                terms = " ".join(
                    f"{weight:+.6g} {name}" if isinstance(weight, float) else f"[{np.shape(weight)}] {name}"
                    for name, weight in row.items()
                )
                lines.append(f"{head}{target} = {terms}")
                head = " " * len(head)
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Short form; :meth:`table` shows the numbers."""
        return (
            f"Plan({self.method!r}, schedule={self.schedule.name!r}, steps={len(self)}, nfe={self.nfe}, "
            f"prediction={self.prediction!r}, start={self.start!r}, terminal={self.terminal!r})"
        )


def plan(
    method: Method | str,
    schedule: Schedule,
    grid: Grid,
    *,
    start: Start | None = None,
    prediction: Prediction | None = None,
    continues: bool = False,
    parameters: Mapping[str, Any] | None = None,
) -> Plan:
    """Compute all the numbers of a run.

    Parameters
    ----------
    method : Method or str
        Record, or its name.
    schedule : Schedule
        The noising process.
    grid : Grid
        Nodes and terminal rule. A last node at sigma = 0 is reached by a first-order step (exactly the data
        prediction) where the form's clock is infinite there, or where the method has several stages a step (Euler's
        step, as in EDM's code, also where all stages lie before the end); multistep methods keep their order.
    start : {"ramp", "high_order", "exact"}, optional
        Start-up rule; the shipped one by default. ``"exact"`` begins at a later node: see :attr:`Plan.history`.
    prediction : str, optional
        What the model predicts; the form's own prediction by default.
    continues : bool
        Whether the run goes on after the grid: no step is treated as the last one (predictor-corrector methods
        then correct, and evaluate, at the last node too).

    parameters : mapping of str to float or array, shape (intervals,), optional
        Numbers that a method asks for by :attr:`Method.parameters`, one per interval of the grid or one for all.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If the method is unknown, the grid is too short for the start-up, or the conversion of predictions
        does not exist at a node.
    """
    record = find_method(method) if isinstance(method, str) else method
    _check_arguments(record, schedule, grid)
    nodes = Nodes.at(schedule, grid.t, grid.lam)
    terminal = grid.terminal.name
    ends_at_zero = bool(np.isinf(grid.lam[-1]))
    denoise = terminal in DENOISING
    denoised = record.last_is_denoising(terminal=terminal, ends_at_zero=ends_at_zero) or (
        ends_at_zero and not np.isfinite(record.form.clock(nodes[-1:])).all()
    )
    if denoised:  # the limit of a first-order step into sigma = 0 is the data prediction
        nodes, ends_at_zero, denoise = nodes[:-1], False, True
        final_time = float(grid.t[-1])
    else:
        final_time = schedule.t_min
    n = len(nodes.t) - 1
    placements = (
        record.programme(
            n,
            start=start,
            lower_order_final=terminal in LOWERING,
            ends_at_zero=ends_at_zero,
            denoised=denoised,
            continues=continues,
        )
        if n
        else ()
    )
    first = n - sum(placement.stride for placement in placements)
    given = _parameters(record, parameters or {}, n)
    steps = list(_tableaux(placements, schedule, nodes, first, given))
    if denoise:
        steps.append(_denoise(nodes[-1:], final_time, steps[-1].outputs if steps else ("x",)))
    history = _history_times(placements, nodes, first)
    result = Plan(
        method=record.name,
        prediction=record.form.prediction,
        schedule=schedule,
        steps=tuple(_in_prediction(steps, placements, record)),
        history=history,
        start=start or record.start,
        terminal=terminal,
        history_prediction=record.form.prediction,
    )
    return result if prediction is None else result.for_prediction(prediction)


def _check_arguments(method: Any, schedule: Any, grid: Any) -> None:
    """Refuse what is no method, schedule or grid, and a grid that was made for another schedule."""
    if not isinstance(method, Method):
        raise TypeError(f"method={method!r}: pass a Method, or the name of one")
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule={schedule!r}: pass a schedule, such as diffnum.schedules.VPLinear()")
    if not isinstance(grid, Grid):
        raise TypeError(f"grid={grid!r}: pass a Grid, such as diffnum.grids.uniform_time(schedule, n=10)")
    lam = schedule.half_log_snr(grid.t)
    finite = np.isfinite(grid.lam) & np.isfinite(lam)
    if not np.allclose(lam[finite], grid.lam[finite], rtol=1e-6, atol=1e-6):
        raise ValueError(
            f"grid has half-log-SNRs that are not those of the schedule {schedule.name!r} at its times: "
            "make the grid with the same schedule"
        )


def _history_times(placements: Sequence[Placement], nodes: Nodes, first: int) -> dict[str, float]:
    """Times of the exact evaluations that the first step expects."""
    if not placements:
        return {}
    names = sorted(placements[0].known - {"x"})
    return {name: float(nodes.t[first - int(name[1:])]) for name in names}


def _in_prediction(steps: list[Tableau], placements: Sequence[Placement], record: Method) -> Iterator[Tableau]:
    """Steps of start-up rules and of the terminal rule, folded into the prediction of the method's form."""
    for i, step in enumerate(steps):
        own = placements[i].form.prediction if i < len(placements) else "data"
        yield from [step] if own == record.form.prediction else _fold([step], record.form.prediction, own)


def _parameters(record: Method, given: Mapping[str, Any], n: int) -> dict[str, FloatArray]:
    """Per-interval numbers of a method, checked."""
    if set(given) != set(record.parameters):
        raise ValueError(
            f"parameters={sorted(given)}: {record.name} takes exactly {sorted(record.parameters) or 'none'}"
        )
    arrays = {}
    for name, value in given.items():
        array = np.asarray(value, dtype=np.float64)
        if (array.ndim and array.shape != (n,)) or not np.isfinite(array).all():
            raise ValueError(
                f"parameters[{name!r}] has shape {array.shape}: give one finite number, "
                f"or one for each of the {n} intervals"
            )
        arrays[name] = np.broadcast_to(array, (n,))
    return arrays


def _tableaux(
    placements: Sequence[Placement],
    schedule: Schedule,
    nodes: Nodes,
    first: int,
    parameters: Mapping[str, FloatArray],
) -> Iterator[Tableau]:
    """Numbers of all steps; steps of one kind are computed together as arrays."""
    position = first
    for placement, group in groupby(placements):
        count = len(list(group))
        index = position + placement.stride * np.arange(count)
        position += placement.stride * count
        yield from _block(placement, schedule, nodes, index, parameters)


def _block(
    placement: Placement,
    schedule: Schedule,
    nodes: Nodes,
    index: IntArray,
    parameters: Mapping[str, FloatArray],
) -> Iterator[Tableau]:
    """Numbers of the steps from the nodes ``index``, which share one placement."""
    form = placement.form
    start, end = nodes[index], nodes[index + placement.stride]
    clock = form.clock(nodes)
    h = clock[index + placement.stride] - clock[index]
    past = tuple((clock[index - j] - clock[index]) / h for j in range(1, placement.past + 1))
    inner = tuple((clock[index + j] - clock[index]) / h for j in range(1, placement.stride))
    if placement.inner_times:
        mids = (Nodes.at(schedule, start.t + fraction * (end.t - start.t)) for fraction in placement.inner_times)
        inner = tuple((form.clock(mid) - clock[index]) / h for mid in mids)
    past_times = tuple((nodes.t[index - j] - start.t) / (end.t - start.t) for j in range(1, placement.past + 1))
    given = {name: value[index] for name, value in parameters.items()}
    kernel = form.kernel(schedule, start, end, h, count=placement.past + 1)
    around = (end, start, *(nodes[index - j] for j in range(1, placement.past + 1)))
    window = Window(h, past, kernel, placement.known, placement.depth, placement.last, inner, past_times, given, around)
    step = placement.step(window)
    stage_nodes = [form.inner(schedule, start, end, stage.node) for stage in step.stages]
    _check_stages(schedule, stage_nodes)
    used = {name for _, _, row in step.rows() for name in row} & {"one"}
    inputs = tuple(sorted(placement.known | used, key=_vector_order))
    outputs = ("x", *sorted(step.memory, key=_vector_order))
    arrays = _matrices(
        step,
        form.scale(start),
        [(form.scale(n), form.gain(n), n.sigma) for n in (*stage_nodes, end)],
        inputs,
        outputs,
    )
    stage_t, stage_alpha, stage_sigma = (
        np.stack([getattr(n, f) for n in stage_nodes], axis=1) if stage_nodes else np.empty((len(index), 0))
        for f in ("t", "alpha", "sigma")
    )
    noises = tuple(f"z{j + 1}" for j in range(arrays[-1].shape[2]))
    t_from, t_to = start.t.tolist(), end.t.tolist()
    slopes = [np.stack(form.slope(schedule, n), axis=1).tolist() for n in stage_nodes] if form.linear else []
    for i in range(len(index)):
        U, A, stage_noise, V, B, noise = (a[i] for a in arrays)
        tableau = Tableau(
            inputs, outputs, noises, t_from[i], t_to[i], stage_t[i], stage_alpha[i], stage_sigma[i],
            U, A, V, B, stage_noise, noise,
        )  # fmt: skip
        yield _substitute(tableau, [slope[i] for slope in slopes]) if form.linear else tableau


def _check_stages(schedule: Schedule, stages: Sequence[Nodes]) -> None:
    """Refuse evaluations at more noise than the schedule has (a step with churn begins before its node)."""
    latest = max((float(np.max(nodes.t)) for nodes in stages), default=0.0)
    if latest > schedule.t_max * (1 + 1e-9):
        raise ValueError(
            f"a stage at t={latest:g} is noisier than the schedule {schedule.name!r}, which ends at "
            f"t={schedule.t_max:g}: begin the grid later, or give less churn to the first intervals"
        )


def _matrices(
    step: Step,
    scale: FloatArray,
    targets: Sequence[tuple[FloatArray, FloatArray, FloatArray]],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
) -> tuple[FloatArray, ...]:
    """Rows of a step as stacked matrices (U, A, stage_noise, V, B, noise), scales and gains applied."""
    s, m = step.nfe, len(scale)
    rows = {name: value for name, _, value in step.rows()}
    noises = sorted({name for row in rows.values() for name in row if name[0] == "z"}, key=_vector_order)
    columns = {name: (0, j) for j, name in enumerate(inputs)}
    columns |= {f"k{j + 1}": (1, j) for j in range(s)} | {name: (2, j) for j, name in enumerate(noises)}
    element = np.broadcast_shapes(*(np.shape(w)[1:] for row in rows.values() for w in row.values()))
    widths = (len(inputs), s, len(noises))
    blocks = [[np.zeros((m, height, width, *element)) for width in widths] for height in (s, len(outputs))]
    stages = [f"k{i + 1}" for i in range(s)]
    for half, names in enumerate((stages, outputs)):
        for i, name in enumerate(names):
            target = targets[i] if half == 0 else targets[-1] if name == "x" else None
            for source, weight in rows[name].items():
                column, j = columns[source]
                blocks[half][column][:, i, j] = _scaled(weight, source, target, scale, element)
    return tuple(matrix for block in blocks for matrix in block)


def _scaled(
    weight: Any,
    source: str,
    target: tuple[FloatArray, FloatArray, FloatArray] | None,
    scale: FloatArray,
    element: tuple[int, ...],
) -> FloatArray:
    """Weight of a row in the coordinates of x: states by ratios of scales, evaluations by the gain."""
    if target is None:
        factor: Any = np.ones_like(scale)
    elif source == "x":
        factor = target[0] / scale
    else:
        factor = target[2] if source[0] == "z" else target[1]
    factor = factor.reshape(factor.shape + (1,) * len(element))
    return np.asarray(factor * weight, dtype=np.float64)


def _denoise(node: Nodes, final_time: float, inputs: tuple[str, ...]) -> Tableau:
    """Terminal rule: the state is replaced by the data prediction; 1 evaluation."""
    k = len(inputs)
    return Tableau(
        inputs, ("x",), (), float(node.t[0]), final_time, node.t, node.alpha, node.sigma,
        U=np.eye(1, k), A=np.zeros((1, 1)), V=np.zeros((1, k)), B=np.ones((1, 1)),
        stage_noise=np.zeros((1, 0)), noise=np.zeros((1, 0)),
    )  # fmt: skip


def _fold(steps: Sequence[Tableau], source: Prediction, to: Prediction) -> Iterator[Tableau]:
    """Tableaux for a model that predicts ``source``, from those for a model that predicts ``to``."""
    alpha = np.concatenate([np.empty(0), *(step.stage_alpha for step in steps)])
    sigma = np.concatenate([np.empty(0), *(step.stage_sigma for step in steps)])
    p, q = (np.broadcast_to(factor, alpha.shape).tolist() for factor in conversion(source, to, alpha, sigma))
    pairs = zip(p, q, strict=True)
    for step in steps:
        yield _substitute(step, list(islice(pairs, step.nfe)))


def _substitute(step: Tableau, pairs: Sequence[tuple[float, float]]) -> Tableau:
    """Tableau with each evaluation written as ``p X + q M``, a pair (p, q) a stage; row by row, stages first."""
    k, s = len(step.inputs), step.nfe
    stages = np.concatenate([step.U, step.A, step.stage_noise], axis=1)
    outputs = np.concatenate([step.V, step.B, step.noise], axis=1)
    folded: list[list[Any]] = []
    for row in (*entries(stages), *entries(outputs)):
        new = [0.0 * w if k <= j < k + s else w for j, w in enumerate(row)]
        for j, ((p, q), stage) in enumerate(zip(pairs, folded, strict=False), start=k):
            if isinstance(row[j], float) and row[j] == 0.0:
                continue
            new = [a + row[j] * p * b for a, b in zip(new, stage, strict=True)]
            new[j] = new[j] + row[j] * q
        folded.append(new)
    matrix = np.array(folded)
    (U, A, stage_noise), (V, B, noise) = (
        (part[:, :k], part[:, k : k + s], part[:, k + s :]) for part in (matrix[:s], matrix[s:])
    )
    return replace(step, U=U, A=A, stage_noise=stage_noise, V=V, B=B, noise=noise)


def _tableau_from_dict(data: Mapping[str, Any]) -> Tableau:
    """Tableau from JSON-able data, with the shapes that empty lists lose."""
    k, k_out, q, s = (len(data[f]) for f in ("inputs", "outputs", "noises", "stage_t"))
    shapes = {
        "U": (s, k),
        "A": (s, s),
        "V": (k_out, k),
        "B": (k_out, s),
        "stage_noise": (s, q),
        "noise": (k_out, q),
    }
    element = np.shape(data["V"])[2:]  # element-wise weights
    values: dict[str, Any] = {}
    for name in Tableau.__dataclass_fields__:
        value = data[name]
        if name in shapes:
            array = np.array(value, dtype=np.float64)
            value = array.reshape(shapes[name] + array.shape[2:]) if array.size else np.zeros(shapes[name] + element)
        elif name.startswith("stage_"):
            value = np.array(value, dtype=np.float64)
        elif isinstance(value, list):
            value = tuple(value)
        values[name] = value
    return Tableau(**values)


def _vector_order(name: str) -> tuple[bool, str, int]:
    """State first, then by letter and number."""
    return name != "x", name[0], int(name[1:]) if name[1:].isdigit() else 0

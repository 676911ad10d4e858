"""Building a plan: the programme of a method on the nodes of a grid, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from diffnum import grids
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.checked import NoStepError
from diffnum.coefficients.method import DENOISING, Method
from diffnum.coefficients.programme import LOWERING, Placement, Start
from diffnum.forms import Nodes
from diffnum.grids import Grid
from diffnum.plans.blocks import denoising, tableaux
from diffnum.plans.record import Plan, folded
from diffnum.tableau import Tableau
from diffnum.types import Denoiser, FloatArray, Prediction, Schedule

__all__ = ["Towards", "plan", "plan_for"]

_LARGE = 1e3
"""Weights from which on rounding and a network's errors are no longer small."""

Towards: TypeAlias = Literal["data", "noise"]
"""Where a run goes: from noise to data, or back ("inversion")."""


def plan(
    method: Method | str,
    schedule: Schedule,
    grid: Grid,
    *,
    start: Start | None = None,
    prediction: Prediction | None = None,
    continues: bool = False,
    parameters: Mapping[str, Any] | None = None,
    towards: Towards = "data",
) -> Plan:
    """Compute all the numbers of a run.

    Parameters
    ----------
    method : Method or str
        Record, or its name.
    schedule : Schedule
        The noising process.
    grid : Grid
        Nodes and terminal rule. A first node at alpha = 0, pure noise, is a start like another for methods in data
        prediction and of the velocity, whose weights have a limit there, and models that do not predict noise (zero
        terminal SNR with v or data prediction, flows from t = 1). A last node at sigma = 0 is reached by a first-order
        step (exactly the data prediction) where the form's clock is infinite there, or where the method has several
        stages a step (Euler's step, as in EDM's code, also where all stages lie before the end); multistep methods
        keep their order.
    start : {"ramp", "high_order", "exact"}, optional
        Start-up rule; the shipped one by default. ``"exact"`` begins at a later node: see :attr:`Plan.history`.
    prediction : str, optional
        What the model predicts; the form's own prediction by default.
    continues : bool
        Whether the run goes on after the grid: no step is treated as the last one (predictor-corrector methods
        then correct, and evaluate, at the last node too).

    parameters : mapping of str to float or array, shape (intervals,), optional
        Numbers that a method asks for by :attr:`Method.parameters`, one per interval of the grid or one for all, in the
        order of the run.
    towards : {"data", "noise"}
        ``"noise"`` takes the nodes of the grid from the last to the first: the same rules with steps of the other sign,
        so that ``ddim`` gives DDIM inversion. The terminal rule of the grid is left out.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If the method is unknown, the grid is too short for the start-up, or the conversion of predictions does not
        exist at a node; if the weights have no limit at pure noise; if a run towards the noise begins at sigma = 0, or
        draws noise.
    """
    record = find_method(method) if isinstance(method, str) else method
    _check_arguments(record, schedule, grid)
    nodes = Nodes.at(schedule, grid.t, grid.lam)
    terminal = grid.terminal.name
    ends_at_zero = bool(np.isinf(grid.lam[-1]))
    if _is_turned(towards, record, grid):
        nodes, terminal = nodes[::-1], "stop"
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
    pure = not np.all(nodes.alpha)
    if pure:
        steps = _from_pure_noise(record, placements, schedule, nodes, first, given)
    else:
        steps = list(tableaux(placements, schedule, nodes, first, given))
    if denoise:
        steps.append(denoising(nodes[-1:], final_time, steps[-1].outputs if steps else ("x",)))
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


def plan_for(
    model: Denoiser,
    method: Method | str,
    steps: int | None = None,
    *,
    nfe: int | None = None,
    grid: Grid | str | Callable[..., Grid] = "uniform_half_log_snr",
    t_start: float | None = None,
    t_end: float | None = None,
    terminal: str = "stop",
    start: Start | None = None,
    towards: Towards = "data",
) -> Plan:
    """Plan of a method for a model, between the model's own end times where it has them.

    Parameters
    ----------
    model : Denoiser
        Its ``schedule``, and ``default_t_start``, ``default_t_end`` where it has them.
    method : Method or str
        Method of the catalogue.
    steps, nfe : int, optional
        Number of steps, or number of evaluations that they may take; give one of the two.
    grid : Grid, str or callable
        A grid, or a builder of :mod:`diffnum.grids` or its name.
    t_start, t_end : float, optional
        Times of the noisy and the clean end; the model's defaults.
    terminal : {"stop", "denoise", "lower_order", "lower_order_denoise"}
        Terminal rule.
    start : {"ramp", "high_order"}, optional
        Start-up rule; as shipped by default.
    towards : {"data", "noise"}
        See :func:`plan`.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If both or neither of ``steps`` and ``nfe`` are given, or the grid is unknown.
    """
    record = find_method(method) if isinstance(method, str) else method
    if isinstance(grid, Grid):
        return plan(record, model.schedule, grid, start=start, towards=towards)
    if (steps is None) == (nfe is None):
        msg = f"steps={steps}, nfe={nfe}: give one of the two"
        raise ValueError(msg)
    n = steps if nfe is None else record.steps_for(nfe, terminal=terminal)
    if isinstance(grid, str):
        if grid not in grids.GRIDS:
            msg = f"grid={grid!r} is unknown: use one of {', '.join(grids.GRIDS)}"
            raise ValueError(msg)
        grid = grids.GRIDS[grid]
    if grid is grids.model_timesteps:  # a table's labels say where it begins and ends
        if t_start is not None or t_end is not None:
            msg = f"t_start={t_start}, t_end={t_end}: the labels of the table say the ends of model_timesteps"
            raise ValueError(msg)
        labelled = grids.model_timesteps(model.schedule, n, terminal=terminal)  # type: ignore[arg-type]
        return plan(record, model.schedule, labelled, start=start)
    times = _times(model, model.schedule, t_start, t_end)
    nodes = grid(model.schedule, n, **times, terminal=terminal)
    return plan(record, model.schedule, nodes, start=start, towards=towards)


def _times(model: Denoiser, schedule: Schedule, t_start: float | None, t_end: float | None) -> dict[str, float]:
    """End times: the caller's, else the model's, else the schedule's."""

    def default(name: str) -> float:
        value = getattr(model, name, None)
        return float(getattr(schedule, name) if value is None else value)

    return {
        "t_start": default("default_t_start") if t_start is None else t_start,
        "t_end": default("default_t_end") if t_end is None else t_end,
    }


def _check_arguments(method: Any, schedule: Any, grid: Any) -> None:
    """Refuse what is no method, schedule or grid, and a grid that was made for another schedule."""
    if not isinstance(method, Method):
        msg = f"method={method!r}: pass a Method, or the name of one"
        raise TypeError(msg)
    if not isinstance(schedule, Schedule):
        msg = f"schedule={schedule!r}: pass a schedule, such as diffnum.schedules.VPLinear()"
        raise TypeError(msg)
    if not isinstance(grid, Grid):
        msg = f"grid={grid!r}: pass a Grid, such as diffnum.grids.uniform_time(schedule, n=10)"
        raise TypeError(msg)
    try:
        lam = schedule.half_log_snr(grid.t)
    except ValueError as error:
        msg = f"grid has times that the schedule lacks: {error}. Make the grid with the same schedule"
        raise ValueError(msg) from error
    finite = np.isfinite(grid.lam) & np.isfinite(lam)
    if not np.allclose(lam[finite], grid.lam[finite], rtol=1e-6, atol=1e-6):
        msg = (
            f"grid has half-log-SNRs that are not those of the schedule {schedule.name!r} at its times: "
            "make the grid with the same schedule"
        )
        raise ValueError(msg)


def _from_pure_noise(
    record: Method, placements: Sequence[Placement], schedule: Schedule, nodes: Nodes, first: int, given: Any
) -> list[Tableau]:
    """Steps of a run with a node at pure noise; refuses methods whose weights have no limit as the signal vanishes."""
    largest, steps = float("inf"), list[Tableau]()
    with suppress(OverflowError, NoStepError), np.errstate(divide="ignore", invalid="ignore"):  # looked at below
        steps = list(tableaux(placements, schedule, nodes, first, given))
        matrices = [getattr(step, name) for step in steps for name in ("U", "A", "V", "B", "stage_noise", "noise")]
        largest = float(np.max([np.max(np.abs(m)) for m in matrices if m.size], initial=0.0))
    if not largest <= _LARGE:  # NaN too
        msg = (
            f"method={record.name!r} from pure noise (alpha = 0): its weights have no limit there ({largest:.0e}); use "
            "one in data prediction or of the velocity, such as 'dpmpp_2m', 'unipc_3' or 'velocity_rk_heun3', or start "
            "at schedule.default_t_start"
        )
        raise ValueError(msg)
    return steps


def _is_turned(towards: Any, record: Method, grid: Grid) -> bool:
    """Whether the run goes from data to noise, which not every method and grid can."""
    if towards not in get_args(Towards):
        msg = f"towards={towards!r}: a run goes towards the {' or the '.join(get_args(Towards))}, use one of them"
        raise ValueError(msg)
    if towards == "data":
        return False
    if record.stochastic:
        msg = (
            f"towards='noise': {record.name} draws noise, and no step undoes a draw; use a deterministic method "
            "such as 'ddim'"
        )
        raise ValueError(msg)
    if np.isinf(grid.lam[-1]):
        msg = (
            f"towards='noise': the grid ends at sigma = 0 (t={float(grid.t[-1]):g}), where all trajectories of a data "
            "point meet; end it at a later time, such as schedule.t_min"
        )
        raise ValueError(msg)
    return True


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
        yield from [step] if own == record.form.prediction else folded([step], record.form.prediction, own)


def _parameters(record: Method, given: Mapping[str, Any], n: int) -> dict[str, FloatArray]:
    """Per-interval numbers of a method, checked."""
    if set(given) != set(record.parameters):
        msg = f"parameters={sorted(given)}: {record.name} takes exactly {sorted(record.parameters) or 'none'}"
        raise ValueError(msg)
    arrays = {}
    for name, value in given.items():
        array = np.asarray(value, dtype=np.float64)
        if (array.ndim and array.shape != (n,)) or not np.isfinite(array).all():
            msg = (
                f"parameters[{name!r}] has shape {array.shape}: give one finite number, "
                f"or one for each of the {n} intervals"
            )
            raise ValueError(msg)
        arrays[name] = np.broadcast_to(array, (n,))
    return arrays

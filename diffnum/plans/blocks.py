"""Blocks of a plan: the tableaux of steps that share one placement, computed together as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffnum.coefficients.programme import Placement
from diffnum.forms import Frame, Nodes, Stages
from diffnum.plans.record import substituted
from diffnum.tableau import Step, Tableau, Window
from diffnum.types import FloatArray, Schedule

__all__ = ["block", "denoising", "tableaux"]

IntArray: TypeAlias = NDArray[np.int64]


def tableaux(
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
        yield from block(placement, schedule, nodes, index, parameters)


def block(
    placement: Placement,
    schedule: Schedule,
    nodes: Nodes,
    index: IntArray,
    parameters: Mapping[str, FloatArray],
) -> Iterator[Tableau]:
    """Numbers of the steps from the nodes ``index``, which share one placement; they need not follow each other."""
    frame = Frame.of(
        placement.form, schedule, nodes, index,
        stride=placement.stride, past=placement.past, inner_times=placement.inner_times,
    )  # fmt: skip
    step = placement.step(_window(placement, frame, {name: value[index] for name, value in parameters.items()}))
    stages = frame.stages([stage.node for stage in step.stages])
    _check_stages(schedule, stages.nodes)
    used = {name for _, _, row in step.rows() for name in row} & {"one"}
    inputs = tuple(sorted(placement.known | used, key=_vector_order))
    outputs = ("x", *sorted(step.memory, key=_vector_order))
    arrays = _matrices(step, frame.scale, stages.targets, inputs, outputs)
    return _separated(frame, stages, arrays, inputs, outputs)


def _window(placement: Placement, frame: Frame, parameters: Mapping[str, FloatArray]) -> Window:
    """What the rule is told."""
    return Window(
        frame.step, frame.past, frame.kernel, placement.known, placement.depth, placement.last,
        frame.inner, frame.past_times, parameters, frame.around,
    )  # fmt: skip


def _separated(
    frame: Frame, stages: Stages, arrays: tuple[FloatArray, ...], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> Iterator[Tableau]:
    """One tableau a step, from the matrices of all steps."""
    noises = tuple(f"z{j + 1}" for j in range(arrays[-1].shape[2]))
    t_from, t_to = frame.start.t.tolist(), frame.end.t.tolist()
    stage_t, stage_alpha, stage_sigma = (stages.stacked(name) for name in ("t", "alpha", "sigma"))
    for i in range(len(t_from)):
        U, A, stage_noise, V, B, noise = (a[i] for a in arrays)
        tableau = Tableau(
            inputs, outputs, noises, t_from[i], t_to[i], stage_t[i], stage_alpha[i], stage_sigma[i],
            U, A, V, B, stage_noise, noise,
        )  # fmt: skip
        yield substituted(tableau, [slope[i] for slope in stages.slopes]) if stages.slopes else tableau


def _check_stages(schedule: Schedule, stages: Sequence[Nodes]) -> None:
    """Refuse evaluations at more noise than the schedule has (a step with churn begins before its node)."""
    latest = max((float(np.max(nodes.t)) for nodes in stages), default=0.0)
    if latest > schedule.t_max * (1 + 1e-9):
        msg = (
            f"a stage at t={latest:g} is noisier than the schedule {schedule.name!r}, which ends at "
            f"t={schedule.t_max:g}: begin the grid later, or give less churn to the first intervals"
        )
        raise ValueError(msg)


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


def denoising(node: Nodes, final_time: float, inputs: tuple[str, ...]) -> Tableau:
    """Terminal rule: the state is replaced by the data prediction; 1 evaluation."""
    k = len(inputs)
    return Tableau(
        inputs, ("x",), (), float(node.t[0]), final_time, node.t, node.alpha, node.sigma,
        U=np.eye(1, k), A=np.zeros((1, 1)), V=np.zeros((1, k)), B=np.ones((1, 1)),
        stage_noise=np.zeros((1, 0)), noise=np.zeros((1, 0)),
    )  # fmt: skip


def _vector_order(name: str) -> tuple[bool, str, int]:
    """State first, then by letter and number."""
    return name != "x", name[0], int(name[1:]) if name[1:].isdigit() else 0

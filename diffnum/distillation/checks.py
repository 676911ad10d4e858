"""Arguments that the losses share: noise levels, and students of the right dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from diffnum.jobs.checked import check_schedule
from diffnum.schedules import check_time
from diffnum.types import Schedule

if TYPE_CHECKING:
    from diffnum.distillation.generators import Generator

__all__ = ["checked_student", "checked_times"]


def checked_times(schedule: Schedule, times: ArrayLike | Sequence[float], name: str = "times") -> list[float]:
    """At least one time in the domain of a schedule.

    Raises
    ------
    ValueError
        If there is none, they are no row, or one lies outside.
    TypeError
        If the schedule is none.
    """
    check_schedule(schedule)
    nodes = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if not nodes.size:
        msg = f"{name} is empty: use at least one noise level"
        raise ValueError(msg)
    check_time(schedule, nodes, name)
    if nodes.ndim != 1:
        msg = f"{name} has shape {nodes.shape}: use noise levels in a row"
        raise ValueError(msg)
    return [float(t) for t in nodes]


def checked_student(student: Generator, dim: int, name: str = "student", *, affine: bool = False) -> Generator:
    """Generator of a dimension; with ``affine`` of one component.

    Raises
    ------
    ValueError
        If it is another.
    """
    if student.dim != dim:
        msg = f"{name} has dimension {student.dim}, the problem {dim}: use a student of the same"
        raise ValueError(msg)
    if affine and len(student.weights) != 1:
        msg = f"{name} has {len(student.weights)} components, and this loss is for affine maps: use one component"
        raise ValueError(msg)
    return student

"""Linear combinations of named arrays: what a step is made of, and how the plain loop forms them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.plans import Plan
from diffnum.types import Array

__all__ = ["Combine", "Group", "Rows", "combinations", "is_state", "on"]

Rows: TypeAlias = Sequence[tuple[str, Mapping[str, Any]]]
"""Linear combinations as (target, {source: weight}); weights are floats, or arrays of the shape of a sample."""

Group: TypeAlias = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Some rows of a step, from named arrays to named arrays."""

Combine: TypeAlias = Callable[[Plan, Array], Iterable[tuple[Sequence[Group | None], Group]]]
"""``combine(plan, like)``: for each step a function a stage, None where that is the state, and one for the outputs.

They compute the rows of :attr:`Plan.programme`, in the dtype of ``like``; :func:`combinations` is the plain one.
"""


def combinations(plan: Plan, like: Array) -> Iterator[tuple[Sequence[Group | None], Group]]:
    """Plain linear combinations of numpy arrays or torch tensors, new arrays each time; see :data:`Combine`.

    Parameters
    ----------
    plan : Plan
        Its weights.
    like : array
        An array as the states are: namespace, dtype and device of the results.

    Returns
    -------
    iterator
        For each step the combinations that its stages are evaluated at (None where it is the state as it is), and
        that of what the step leaves.
    """
    programme = plan.programme
    if any(step.V.ndim > 2 for step in plan.steps):  # element-wise weights go to the device before the run
        programme = tuple(
            tuple(
                (target, {s: w if isinstance(w, float) else on(like, w) for s, w in row.items()})
                for target, row in rows
            )
            for rows in programme
        )
    for step, rows in zip(plan.steps, programme, strict=True):
        stages = [None if is_state(row) else partial(_combine, (row,), like) for row in rows[: step.nfe]]
        yield stages, partial(_combine, rows[step.nfe :], like)


def is_state(row: tuple[str, Mapping[str, Any]]) -> bool:
    """Whether a row is the state as it is.

    Parameters
    ----------
    row : (str, mapping of str to float)
        Target and weights of one combination.

    Returns
    -------
    bool
    """
    weights = row[1]
    return len(weights) == 1 and isinstance(weights.get("x"), float) and weights["x"] == 1.0


def _combine(rows: Rows, like: Array, values: Mapping[str, Array]) -> dict[str, Array]:
    """Linear combinations of named arrays."""
    return {target: _row(row, like, values) for target, row in rows}


def _row(row: Mapping[str, Any], like: Array, values: Mapping[str, Array]) -> Array:
    """One linear combination."""
    total = None
    for name, weight in row.items():
        value = values[name]
        if getattr(value, "dtype", like.dtype) != like.dtype:  # a model of lower precision than the state
            value = array_namespace(like).astype(value, like.dtype)
        if not isinstance(weight, float):
            value, weight = weight * value, 1.0
        total = _add_multiple(total, weight, value)
    return 0.0 * like if total is None else total


def _add_multiple(total: Array | None, weight: float, value: Array) -> Array:
    """``total + weight * value``: one pass over memory, and one launch, where the array offers it as torch does."""
    if total is None:
        return value if weight == 1.0 else weight * value
    fused = getattr(total, "add", None)
    return total + weight * value if fused is None else fused(value, alpha=weight)


def on(like: Array, value: Any) -> Array:
    """Constant, a number or an array, in the namespace, dtype and device of ``like``."""
    # a copy, because tensors refuse to share memory that a schedule keeps read-only
    return array_namespace(like).asarray(np.array(value), dtype=like.dtype, device=device(like))

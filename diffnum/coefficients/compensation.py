r"""DC-Solver: UniPC whose newest evaluation is moved along the trajectory before each step.

After a correction the newest evaluation no longer belongs to the state. Before each step it is replaced, for good, by
the Lagrange interpolant through the newest K + 1 evaluations, as polynomials in *time*, at
:math:`\rho\, t_n + (1 - \rho)\, t_{n-1}`. The ratio rho of each step is a number that the plan is given; where it is 1
nothing is replaced and the step is that of UniPC, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from diffnum.coefficients.adams import combine
from diffnum.coefficients.predictor_corrector import predict_correct, unic, unip
from diffnum.tableau import Stage, Step, Vector, Window, vector
from diffnum.types import Scalar

__all__ = ["compensation", "dc_solver_step"]


def compensation(ratio: Scalar, past_times: Sequence[Scalar]) -> tuple[Scalar, ...]:
    r"""Weights of the evaluations that replace the newest one.

    Parameters
    ----------
    ratio : scalar or array
        rho; 1 leaves the evaluation, 0 gives the one before.
    past_times : sequence of K scalars or arrays
        Times of the past evaluations relative to the current one, :math:`t_{n-j} - t_n`, newest first, in any unit.

    Returns
    -------
    tuple of K + 1 scalars or arrays
        Weights of the newest evaluation and of the past ones; they sum to 1.

    References
    ----------
    Zhao et al., DC-Solver, arXiv:2409.03755; wl-zhao/DC-Solver at f82d0601.
    """
    nodes = (0, *past_times)
    at = (1 - ratio) * past_times[0]
    return tuple(prod((at - v) / (u - v) for i, v in enumerate(nodes) if i != j) for j, u in enumerate(nodes))


def dc_solver_step(window: Window, order: int, *, variant: str = "bh2", degree: int = 2) -> Step:
    """Step of DC-Solver; the parameter ``ratio`` of the plan is rho.

    Raises
    ------
    ValueError
        If a ratio differs from 1 where the history is too short to interpolate.
    """
    past = window.past[: order - 1]
    predictor, corrector = (f(window.step, past, variant, kernel=window.kernel) for f in (unip, unic))
    plain = predict_correct(window, predictor, corrector, "pec", correct_last=False)
    ratio = window.parameters["ratio"]
    if not {"m0", *(f"m{j}" for j in range(1, degree + 1))} <= window.known:
        if np.any(np.asarray(ratio) != 1.0):
            msg = (
                f"parameters['ratio'] is {ratio} on a step that knows fewer than the {degree + 1} evaluations which "
                f"compensation of degree {degree} interpolates: the first {degree} ratios must be 1"
            )
            raise ValueError(msg)
        return plain
    weights = compensation(ratio, window.past_times[:degree])
    moved = combine(weights, [vector(f"m{j}") for j in range(degree + 1)])
    return Step(
        tuple(Stage(stage.node, _replaced(stage.value, "m0", moved)) for stage in plain.stages),
        _replaced(plain.x, "m0", moved),
        {name: _replaced(row, "m0", moved) for name, row in plain.memory.items()},
    )


def _replaced(row: Vector, name: str, value: Vector) -> Vector:
    """Row with a combination in the place of one of its vectors."""
    if name not in row:
        return row
    rest = {other: weight for other, weight in row.items() if other != name}
    replaced: Vector = Vector(rest) + value * row[name]
    return replaced

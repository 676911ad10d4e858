"""Steps run backwards: the tableau that finds what went in from what came out, where there is one.

A step maps inputs e to outputs ``o = V e + B k`` with evaluations ``k_i = M(U_i e + A_i k)``. Going back, the
outputs are known. An evaluation can be made as soon as its state is a combination of the outputs and of
evaluations made before; when all are known, ``V e = o - B k`` gives the inputs. Both are linear algebra with the
numbers of the step. What comes out is a tableau again, so the inverse is run by the same loop, and evaluates the
model at the same points. Where an evaluation needs a state that cannot be had without it, as in every method of
one step that carries nothing but x, the step is undone only by solving an equation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from diffnum.plans import Plan
from diffnum.tableau import Tableau
from diffnum.types import FloatArray

__all__ = ["ReversedStep", "reversed_plan", "reversed_step", "why_not_reversible"]

_TOLERANCE = 1e-9
"""Largest part of a row, relative to it, that may be left unexplained: rounding of weights, not weights themselves."""


@dataclass(frozen=True)
class ReversedStep:
    """A step that undoes another.

    Parameters
    ----------
    tableau : Tableau
        From the outputs to the inputs.
    order : tuple of int
        Which evaluation of the step each of its own evaluations is.
    """

    tableau: Tableau
    order: tuple[int, ...]


def reversed_step(step: Tableau) -> ReversedStep | None:
    """The step that undoes one, or None where that takes an equation.

    Parameters
    ----------
    step : Tableau
        A step without noise, of scalar weights.

    Raises
    ------
    ValueError
        If the step draws noise, or has weights for each element of a sample.
    """
    _check(step)
    inputs = [name for name in step.inputs if name != "one"]
    constant = [j for j, name in enumerate(step.inputs) if name == "one"]
    vectors = [j for j, name in enumerate(step.inputs) if name != "one"]
    outputs, s = len(step.outputs), step.nfe
    # unknown (inputs, evaluations) as rows over the known: outputs, the constant, evaluations in the order made
    known = np.concatenate([step.V[:, vectors], step.B], axis=1)
    offset = step.V[:, constant]
    order: list[int] = []
    U = np.zeros((s, outputs + len(constant)))
    A = np.zeros((s, s))
    while len(order) < s:
        for i in (i for i in range(s) if i not in order):
            row = np.concatenate([step.U[i, vectors], step.A[i]])
            found = _combination(row, known, order, len(vectors))
            if found is not None:
                place = len(order)
                U[place, :outputs] = found[:outputs]
                U[place, outputs:] = step.U[i, constant] - found[:outputs] @ offset
                A[place, :place] = found[outputs:]
                order.append(i)
                break
        else:
            return None
    V = np.zeros((len(inputs), outputs + len(constant)))
    B = np.zeros((len(inputs), s))
    for place in range(len(inputs)):
        found = _combination(np.eye(len(vectors) + s)[place], known, order, len(vectors))
        if found is None:
            return None
        V[place, :outputs] = found[:outputs]
        V[place, outputs:] = -found[:outputs] @ offset
        B[place] = found[outputs:]
    names = (*step.outputs, *(["one"] if constant else []))
    tableau = replace(
        step, inputs=names, outputs=tuple(inputs), t_from=step.t_to, t_to=step.t_from,
        stage_t=step.stage_t[order], stage_alpha=step.stage_alpha[order], stage_sigma=step.stage_sigma[order],
        U=U, A=A, V=V, B=B, stage_noise=np.zeros((s, 0)), noise=np.zeros((len(inputs), 0)),
    )  # fmt: skip
    return ReversedStep(tableau, tuple(order))


def reversed_plan(plan: Plan) -> tuple[Plan, tuple[tuple[int, ...], ...]]:
    """The plan that undoes one, from its last vectors to its first, and the order of the evaluations of its steps.

    Raises
    ------
    ValueError
        If a step cannot be undone without solving an equation; the message says which and why.
    """
    reason = why_not_reversible(plan)
    if reason:
        raise ValueError(reason)
    found = [step for step in map(reversed_step, reversed(plan.steps)) if step is not None]
    turned = replace(plan, steps=tuple(step.tableau for step in found), history={}, terminal="stop")
    return turned, tuple(step.order for step in found)


def why_not_reversible(plan: Plan) -> str:
    """What stands in the way of undoing a plan step by step; empty where nothing does."""
    for number, step in enumerate(plan.steps):
        if step.noises:
            return f"{plan.method} draws noise in step {number}: no step undoes a draw, use a deterministic method"
        if reversed_step(step) is None:
            carried = ", ".join(step.outputs)
            return (
                f"{plan.method} cannot be undone step by step: step {number} leaves {carried}, from which the state "
                "that its model was asked at is had only by solving an equation; use a reversible method (see "
                "diffnum.plans.reversible), or dn.invert, which solves it"
            )
    return ""


def _check(step: Tableau) -> None:
    """Refuse noise and element-wise weights."""
    if step.noises:
        msg = f"step from t={step.t_from:g} draws noise: no step undoes a draw, use a deterministic method"
        raise ValueError(msg)
    if step.V.ndim > 2:
        msg = f"step from t={step.t_from:g} has weights for each element: only scalar weights are turned round"
        raise ValueError(msg)


def _combination(row: FloatArray, known: FloatArray, order: Sequence[int], inputs: int) -> FloatArray | None:
    """Weights of the outputs, then of the evaluations made, that give a row over (inputs, evaluations); or None."""
    made = np.zeros((len(order), known.shape[1]))
    for place, stage in enumerate(order):
        made[place, inputs + stage] = 1.0
    basis = np.concatenate([known, made])
    scale = np.maximum(np.max(np.abs(basis), axis=0), np.abs(row))
    scale = np.where(scale > 0, scale, 1.0)
    weights, *_ = np.linalg.lstsq((basis / scale).T, row / scale, rcond=_TOLERANCE)
    left = np.max(np.abs((weights @ basis - row) / scale), initial=0.0)
    return np.asarray(weights) if left <= _TOLERANCE else None

"""What a gradient through a run is made of: derivatives of a model, of a loss, and what is returned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from array_api_compat import array_namespace

from diffnum.types import Array, Denoiser

__all__ = ["Back", "Loss", "Pullback", "RunGradient", "Wrt", "loss_and_cotangent", "pullback_of", "without_graph"]

Wrt: TypeAlias = Literal["x", "parameters", "condition"]
"""By what a gradient is taken."""

Back: TypeAlias = Callable[[Array], tuple[Array, Mapping[str, Array]]]
"""Product with a transposed Jacobian: from a cotangent of the value to that of the state, and to others by name."""

Loss: TypeAlias = Callable[[Array], Any]
"""Of the end of a run: a scalar tensor with a graph, or a pair (value, gradient)."""


class Pullback(Protocol):
    """A model that says how its value answers to what it is made of."""

    def pullback(self, x: Array, t: float, wrt: Wrt) -> tuple[Array, Back]:
        """Value at a state, and products with its transposed Jacobian; by name for parameters or condition."""


@dataclass(frozen=True)
class RunGradient:
    """Gradient of a loss of the end of a run.

    Parameters
    ----------
    loss : float
        Value of the loss.
    end : array, shape of the start
        Last state of the run.
    x : array, shape of the start
        Derivative of the loss by the start.
    named : mapping of str to array
        Derivatives by the parameters, or by the condition, by name; empty for ``wrt="x"``.
    evaluations : int
        Evaluations of the model, those on the way back among them (each of which was differentiated once).
    kept : int
        Most states, and most differentiable evaluations, that were kept at a time.
    """

    loss: float
    end: Array = field(repr=False)
    x: Array = field(repr=False)
    named: Mapping[str, Array] = field(repr=False)
    evaluations: int
    kept: tuple[int, int]


def pullback_of(model: Denoiser, wrt: Wrt) -> Callable[[Array, float, Wrt], tuple[Array, Back]]:
    """How to differentiate a model: its own way, or by the products with its transposed Jacobian that it offers.

    Raises
    ------
    ValueError
        If it has no derivatives, or none by ``wrt``.
    """
    own = getattr(model, "pullback", None)
    if own is not None:
        return own  # type: ignore[no-any-return]
    product = getattr(model, "vjp", None)
    name = type(model).__name__
    if product is None:
        msg = (
            f"model is a {name} without derivatives: give it a method vjp(x, t, cotangent), or wrap a function of "
            "tensors in diffnum.models.Autograd"
        )
        raise ValueError(msg)
    if wrt != "x":
        msg = f"wrt={wrt!r}: {name} has derivatives by its state only, give it a method pullback(x, t, wrt)"
        raise ValueError(msg)

    def pullback(x: Array, t: float, wrt: Wrt) -> tuple[Array, Back]:  # noqa: ARG001
        return model(x, t), lambda cotangent: (product(x, t, cotangent), {})

    return pullback


def without_graph(value: Array) -> Array:
    """A value that keeps nothing alive: trainable parameters give every prediction of a function a graph."""
    detach = getattr(value, "detach", None)
    return value if detach is None else detach()


def loss_and_cotangent(loss: Loss, end: Array) -> tuple[float, Array]:
    """Value of a loss and its gradient by the end of a run, checked.

    Raises
    ------
    ValueError
        If the loss is no scalar, is not finite, or cannot be differentiated.
    """
    leaf = end.detach().requires_grad_(True) if getattr(end, "requires_grad_", None) is not None else end
    found = loss(leaf)
    if isinstance(found, tuple):
        if len(found) != 2:
            msg = f"loss returned {len(found)} things: return a scalar, or the pair (value, gradient)"
            raise ValueError(msg)
        value, cotangent = found
        _check_scalar(value)
        if getattr(cotangent, "shape", None) != end.shape:
            msg = (
                f"loss returned a gradient of shape {getattr(cotangent, 'shape', type(cotangent).__name__)}: it "
                f"must have that of the end, {tuple(end.shape)}"
            )
            raise ValueError(msg)
        cotangent = array_namespace(end).astype(cotangent, end.dtype)
    else:
        _check_scalar(found)
        value, backward = found, getattr(found, "backward", None)
        if backward is None:
            msg = (
                f"loss returned a {type(found).__name__} without a graph: for arrays without autograd return the pair "
                "(value, gradient)"
            )
            raise ValueError(msg)
        if not found.requires_grad:
            msg = "loss returned a tensor that does not depend on the end by autograd: do not detach, nor use no_grad"
            raise ValueError(msg)
        backward(inputs=[leaf])
        cotangent = leaf.grad
    number = float(value.detach() if leaf is not end else value)
    if not isfinite(number):
        msg = f"loss is {number} at the end of the run: give a loss that is finite there"
        raise ValueError(msg)
    return number, cotangent


def _check_scalar(value: Any) -> None:
    """Refuse what is not one number."""
    shape = tuple(getattr(value, "shape", np.shape(value)))
    if shape != ():
        msg = f"loss has shape {shape}: a gradient is that of one number, sum or average over the batch"
        raise ValueError(msg)

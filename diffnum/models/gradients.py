"""Models of tensors with their derivatives by autograd, as :func:`diffnum.gradient` asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from diffnum.solver.pullbacks import Back, Wrt
from diffnum.types import Prediction, Schedule

__all__ = ["Autograd", "KeptBytes", "pulled_back"]

Named = Mapping[str, torch.Tensor]


def pulled_back(
    function: Callable[[torch.Tensor, Named], torch.Tensor],
    x: torch.Tensor,
    wrt: Wrt,
    parameters: Named,
    condition: Named,
) -> tuple[torch.Tensor, Back]:
    """Value of ``function(x, condition)`` and products with its transposed Jacobian.

    Parameters
    ----------
    function : callable
        Of the state and of the condition by name.
    x : tensor
        State.
    wrt : {"x", "parameters", "condition"}
        By what, besides the state.
    parameters : mapping of str to tensor
        Leaves inside ``function`` that want a gradient.
    condition : mapping of str to tensor
        Floating-point condition.

    Raises
    ------
    ValueError
        If there is nothing to differentiate by.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in condition.items()} if wrt == "condition" else {}
    named = parameters if wrt == "parameters" else leaves
    if wrt != "x" and not named:
        what = "no parameter wants a gradient: call requires_grad_()" if wrt == "parameters" else "none was bound"
        msg = f"wrt={wrt!r}: the model has no floating-point {wrt} to differentiate by; {what}"
        raise ValueError(msg)
    with torch.enable_grad():
        state = x.detach().requires_grad_()
        value = function(state, leaves or condition)
    if not value.requires_grad:
        msg = "model returned a tensor without a graph: let it be evaluated without no_grad, detach or numpy"
        raise ValueError(msg)

    def back(cotangent: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        inputs = (state, *named.values())
        found = torch.autograd.grad(value, inputs, cotangent, allow_unused=True, retain_graph=True)
        filled = [torch.zeros_like(a) if g is None else g for a, g in zip(inputs, found, strict=True)]
        return filled[0], dict(zip(named, filled[1:], strict=True))

    return value.detach(), back


@dataclass(frozen=True, eq=False)
class Autograd:
    """A function of tensors as a model with derivatives.

    Parameters
    ----------
    function : callable
        ``function(x, t, **condition)``, of tensors of shape (batch, ...).
    prediction : {"data", "noise", "velocity", "score", "v"}
        What it returns.
    schedule : Schedule
        The noising process.
    parameters : mapping of str to tensor
        Leaves that it uses, for ``wrt="parameters"``; such as ``dict(module.named_parameters())``.
    condition : mapping of str to tensor
        Further arguments by name, for ``wrt="condition"``.
    """

    function: Callable[..., torch.Tensor] = field(repr=False)
    prediction: Prediction
    schedule: Schedule
    parameters: Named = field(default_factory=dict, repr=False)
    condition: Named = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, model: Any) -> Autograd:
        """Any model of tensors, such as one with guidance and thresholds."""
        return cls(model, model.prediction, model.schedule)

    def __call__(self, x: torch.Tensor, t: Any) -> torch.Tensor:
        """Prediction."""
        return self.function(x, t, **self.condition)

    def pullback(self, x: torch.Tensor, t: Any, wrt: Wrt) -> tuple[torch.Tensor, Back]:
        """Value and products with its transposed Jacobian; see :func:`pulled_back`."""
        wanted = {name: value for name, value in self.parameters.items() if value.requires_grad}
        return pulled_back(lambda s, c: self.function(s, t, **c), x, wrt, wanted, self.condition)


class KeptBytes:
    """Counts what autograd keeps for the way back: a context, after which ``most`` is the most bytes at a time.

    Tensors that share their memory count once, and those of ``apart`` not at all. It counts, and measures no time, so
    that it says the same on every machine.

    Parameters
    ----------
    apart : iterable of tensor
        Tensors that live anyway, such as the parameters of a network.
    """

    def __init__(self, apart: Iterable[torch.Tensor] = ()) -> None:
        self._apart = {tensor.untyped_storage().data_ptr() for tensor in apart}
        self._counts: dict[int, int] = {}
        self._now = 0
        self.most = 0
        self._hooks: Any = torch.autograd.graph.saved_tensors_hooks(self._kept, lambda held: held.tensor)

    def __enter__(self) -> KeptBytes:
        self._hooks.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._hooks.__exit__(*raised)

    def _kept(self, tensor: torch.Tensor) -> _Held:
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place in self._apart:
            return _Held(tensor, lambda: None)
        count, size = self._counts.get(place, 0), storage.nbytes()
        self._counts[place] = count + 1
        if count == 0:
            self._now += size
            self.most = max(self.most, self._now)

        def dropped() -> None:
            self._counts[place] -= 1
            if self._counts[place] == 0:
                self._now -= size

        return _Held(tensor, dropped)


class _Held:
    """A tensor that autograd keeps, and what is done when it no longer does."""

    def __init__(self, tensor: torch.Tensor, dropped: Callable[[], None]) -> None:
        # without its graph: an output that is kept by its own step would otherwise keep that step alive
        self.tensor, self._dropped = tensor.detach(), dropped

    def __del__(self) -> None:
        self._dropped()

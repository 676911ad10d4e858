"""Conditions that are tensors: the embeddings of prompts, bound to a model like labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

__all__ = ["Condition", "Prompts"]

Condition: TypeAlias = Mapping[str, torch.Tensor]
"""Embeddings by the name under which the network takes them, each of shape (batch, ...)."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """What a network is conditioned on, and how text becomes that.

    Parameters
    ----------
    shapes
        Shape of one sample of each embedding, by name; ``None`` stands for any length (of a prompt).
    encode
        Maps a list of prompts to embeddings, shape (prompts, ...); ``None`` where there is no text encoder.
    null
        Embeddings that stand for "unconditional", shape (1, ...); by default those of the empty prompt.
    """

    shapes: Mapping[str, tuple[int | None, ...]]
    encode: Callable[[list[str]], Condition] | None = None
    null: Condition | None = None

    def bind(self, value: Any, dtype: torch.dtype, device: torch.device) -> Condition:
        """Embeddings of a prompt, of prompts, or of themselves.

        Parameters
        ----------
        value
            Text, a list of texts, a mapping of embeddings (one alone if there is only one), or ``None`` for
            "unconditional". Embeddings of one sample are given to every sample.
        dtype, device
            Of the result.

        Raises
        ------
        ValueError
            If there is no encoder for text, no null condition, a name is missing or unknown, or a shape differs.
        TypeError
            If the value is none of these.
        """
        if value is None:
            return self._checked(self._unconditional(), dtype, device)
        if isinstance(value, str):
            value = [value]
        if isinstance(value, torch.Tensor) and len(self.shapes) == 1:
            value = {next(iter(self.shapes)): value}
        if isinstance(value, Mapping):
            return self._checked(value, dtype, device)
        if isinstance(value, Sequence) and value and all(isinstance(text, str) for text in value):
            if self.encode is None:
                msg = f"{value[0]!r} is text, and the model has no text encoder; give the embeddings {self._wanted()}."
                raise ValueError(msg)
            return self._checked(self.encode(list(value)), dtype, device)
        msg = (
            f"a condition of type {type(value).__name__} was given; give text, a list of texts, or the embeddings "
            f"{self._wanted()}."
        )
        raise TypeError(msg)

    def batch(self, bound: Condition | None, count: int, dtype: torch.dtype, device: torch.device) -> Condition:
        """Bound embeddings (those of "unconditional" where there are none), one a sample.

        Raises
        ------
        ValueError
            If as many were bound as there are not samples.
        """
        bound = self.bind(None, dtype, device) if bound is None else bound
        expanded = {}
        for name, tensor in bound.items():
            if tensor.shape[0] not in (1, count):
                msg = f"{name} was bound for {tensor.shape[0]} samples, and the batch has {count}."
                raise ValueError(msg)
            expanded[name] = tensor.expand(count, *tensor.shape[1:])
        return expanded

    def _unconditional(self) -> Condition:
        if self.null is not None:
            return self.null
        if self.encode is None:
            msg = f"the model has no text encoder to make the empty prompt with; give its embeddings {self._wanted()}."
            raise ValueError(msg)
        return self.encode([""])

    def _checked(self, given: Condition, dtype: torch.dtype, device: torch.device) -> Condition:
        if set(given) != set(self.shapes):
            msg = f"embeddings {sorted(given)} were given; the model takes exactly {self._wanted()}."
            raise ValueError(msg)
        checked = {}
        for name, shape in self.shapes.items():
            tensor = torch.as_tensor(given[name])
            tensor = tensor[None] if tensor.ndim == len(shape) else tensor
            fits = tensor.ndim == len(shape) + 1 and all(
                wanted in (None, found) for wanted, found in zip(shape, tensor.shape[1:], strict=True)
            )
            if not fits:
                msg = f"{name} has shape {tuple(given[name].shape)}; the model takes {self._wanted()}."
                raise ValueError(msg)
            checked[name] = tensor.to(device, dtype)
        return checked

    def _wanted(self) -> str:
        each = (
            f"{name} (batch, {', '.join('any' if size is None else str(size) for size in shape)})"
            for name, shape in self.shapes.items()
        )
        return "; ".join(each)

"""Swap one ingredient of foreign torch code without touching it: single precision, or its noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch

__all__ = ["swapped"]


def _to_double(x: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
    """``Tensor.to``, with float64 where float32 is asked for."""
    args = tuple(torch.float64 if a is torch.float32 else a for a in args)
    if options.get("dtype") is torch.float32:
        options["dtype"] = torch.float64
    return torch._C.TensorBase.to(x, *args, **options)


def _zeros(*size: Any, **options: Any) -> torch.Tensor:
    """``torch.randn`` that draws zeros."""
    options.pop("generator", None)
    return torch.zeros(*size, **options)


def _zeros_like(x: torch.Tensor, **options: Any) -> torch.Tensor:
    """``torch.randn_like`` that draws zeros."""
    return torch.zeros_like(x, **options)


@contextmanager
def swapped(*, double: bool = False, silent: bool = False) -> Iterator[None]:
    """Run foreign torch code with ingredients swapped, its source untouched. Not thread-safe.

    Parameters
    ----------
    double : bool
        Answer ``x.to(torch.float32)`` and ``x.float()`` with float64, and make float64 the default dtype.
    silent : bool
        Let ``torch.randn`` and ``torch.randn_like`` return zeros.
    """
    before = torch.get_default_dtype()
    with ExitStack() as stack:
        if double:
            stack.callback(torch.set_default_dtype, before)
            torch.set_default_dtype(torch.float64)
            stack.enter_context(patch.object(torch.Tensor, "to", _to_double))
            stack.enter_context(patch.object(torch.Tensor, "float", torch.Tensor.double))
        if silent:
            stack.enter_context(patch.object(torch, "randn", _zeros))
            stack.enter_context(patch.object(torch, "randn_like", _zeros_like))
        yield

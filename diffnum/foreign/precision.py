"""Swap one ingredient of foreign torch code without touching it: single precision, or its noise.

Single precision hides in three places: dtypes that the code asks for (``x.to(torch.float32)``), arrays that numpy
makes before torch sees them (``astype(np.float32)``), and tensors that an object keeps from its construction. The first
two are answered with float64 while :func:`swapped` is on; the third is what :func:`widened` is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

__all__ = ["swapped", "widened"]

SINGLE = torch.float32
"""Single precision, also while its name means something else."""


def _to_double(x: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
    """``Tensor.to``, with float64 where float32 is asked for."""
    args = tuple(torch.float64 if a is SINGLE else a for a in args)
    if options.get("dtype") is SINGLE:
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
        Let ``torch.float32`` and ``np.float32`` mean float64, answer ``x.float()`` with it, and make it the default
        dtype of tensors.
    silent : bool
        Let ``torch.randn`` and ``torch.randn_like`` return zeros.
    """
    before = torch.get_default_dtype()
    with ExitStack() as stack:
        if double:
            stack.callback(torch.set_default_dtype, before)
            torch.set_default_dtype(torch.float64)
            for library, name in ((torch, "float32"), (torch, "float"), (np, "float32")):
                stack.enter_context(patch.object(library, name, library.float64))
            stack.enter_context(patch.object(torch.Tensor, "to", _to_double))
            stack.enter_context(patch.object(torch.Tensor, "float", torch.Tensor.double))
        if silent:
            stack.enter_context(patch.object(torch, "randn", _zeros))
            stack.enter_context(patch.object(torch, "randn_like", _zeros_like))
        yield


def widened(subject: Any) -> None:
    """Turn the float32 tensors and arrays that an object keeps into float64 ones of the same values, in place.

    Parameters
    ----------
    subject : object
        Such as a scheduler; the tables that it was constructed with keep their values, what it computes from them does
        not lose digits any more.
    """
    for name, value in vars(subject).items():
        if isinstance(value, torch.Tensor) and value.dtype is SINGLE:
            setattr(subject, name, value.double())
        elif isinstance(value, np.ndarray) and value.dtype == np.dtype("f4"):
            setattr(subject, name, value.astype(np.float64))

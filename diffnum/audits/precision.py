"""Swap one ingredient of foreign torch code without touching it: single precision, or its noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["swapped"]

_NOISE = {torch.randn, torch.randn_like}


class _Swap(TorchFunctionMode):
    """Answers requests for float32 with float64, and draws of noise with zeros."""

    def __init__(self, double: bool, silent: bool) -> None:
        super().__init__()
        self._double, self._silent = double, silent

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],  # noqa: ARG002
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a torch function with the ingredient swapped."""
        options = dict(kwargs) if kwargs else {}
        if self._double:
            if func is torch.Tensor.float:
                func = torch.Tensor.double
            if options.get("dtype") is torch.float32:
                options["dtype"] = torch.float64
            if any(a is torch.float32 for a in args):
                args = tuple(torch.float64 if a is torch.float32 else a for a in args)
        result = func(*args, **options)
        return torch.zeros_like(result) if self._silent and func in _NOISE else result


@contextmanager
def swapped(*, double: bool = False, silent: bool = False) -> Iterator[None]:
    """Run foreign torch code with ingredients swapped, its source untouched.

    Parameters
    ----------
    double : bool
        Turn every explicit request for ``torch.float32`` (``x.to(torch.float32)``, ``x.float()``, ``dtype=``), and the
        default dtype, into float64.
    silent : bool
        Let ``torch.randn`` and ``torch.randn_like`` return zeros.
    """
    before = torch.get_default_dtype()
    if double:
        torch.set_default_dtype(torch.float64)
    try:
        with _Swap(double, silent):
            yield
    finally:
        torch.set_default_dtype(before)

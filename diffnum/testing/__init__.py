"""Tools for tests of samplers: hypothesis strategies, exact problems, grids, and the assertion of an order.

Installing the package gives pytest the fixtures ``exact_problems``, ``study_grids`` and ``assert_convergence_order``.
Strategies need hypothesis, which is loaded when one of them is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from diffnum.testing.orders import assert_convergence_order, exact_problems

if TYPE_CHECKING:
    from diffnum.testing.strategies import grids as grids
    from diffnum.testing.strategies import mixtures as mixtures
    from diffnum.testing.strategies import schedules as schedules

_STRATEGIES = ("grids", "mixtures", "schedules")

__all__ = ["assert_convergence_order", "exact_problems", *_STRATEGIES]


def __getattr__(name: str) -> Any:
    """Load a strategy when it is first used."""
    if name not in _STRATEGIES:
        raise AttributeError(f"module 'diffnum.testing' has no attribute {name!r}: use one of {', '.join(__all__)}")
    return getattr(import_module("diffnum.testing.strategies"), name)

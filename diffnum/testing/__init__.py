"""Tools for tests of samplers: hypothesis strategies, exact problems, grids, and the assertion of an order.

:mod:`diffnum.testing.targets` is the bench for training losses. Installing the package gives pytest the fixtures
``exact_problems``, ``study_grids`` and ``assert_convergence_order``. Strategies need hypothesis, which is loaded when
one of them is first used. A test file of a sampler::

    from hypothesis import given
    from diffnum.schedules import EDM
    from diffnum.testing import grids, mixtures
    from my_package import my_sampler  # in any convention: see diffnum.foreign.conventions

    def test_order(assert_convergence_order):
        assert_convergence_order(my_sampler, order=2)

    @given(mixtures(), grids(schedule=EDM()))
    def test_samples_are_finite(mixture, grid): ...
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from diffnum.jobs.extras import found_or_explained
from diffnum.testing.orders import assert_convergence_order, exact_problems

if TYPE_CHECKING:
    from diffnum.testing import targets as targets
    from diffnum.testing.strategies import grids as grids
    from diffnum.testing.strategies import mixtures as mixtures
    from diffnum.testing.strategies import schedules as schedules

_STRATEGIES = ("grids", "mixtures", "schedules")
_MODULES = ("targets",)

__all__ = ["assert_convergence_order", "exact_problems", *_MODULES, *_STRATEGIES]


def __getattr__(name: str) -> Any:
    """Load a strategy, or the bench for training losses, when it is first used."""
    if name in _MODULES:
        return import_module(f"diffnum.testing.{name}")
    if name not in _STRATEGIES:
        msg = f"module 'diffnum.testing' has no attribute {name!r}: use one of {', '.join(__all__)}"
        raise AttributeError(msg)
    return found_or_explained("diffnum.testing.strategies", name, f"diffnum.testing.{name}")

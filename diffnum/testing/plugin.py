"""Pytest plugin, found by its entry point: fixtures for tests of samplers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from diffnum.grids import Grid
    from diffnum.types import Problem


@pytest.fixture(scope="session")
def exact_problems() -> dict[str, Problem]:
    """Data distributions with exact scores and flow maps, by name."""
    from diffnum.testing.orders import exact_problems as problems  # nothing is loaded until a test asks

    return problems()


@pytest.fixture(scope="session")
def study_grids() -> dict[str, Grid]:
    """Grids of 16 steps from half-log-SNR -2 to 2, by kind, on the VP-linear schedule."""
    from diffnum.convergence.nodes import INTERVAL, fractions
    from diffnum.grids import from_half_log_snr
    from diffnum.schedules import VPLinear

    low, high = INTERVAL
    kinds = ("uniform", "smooth", "irregular")
    return {kind: from_half_log_snr(VPLinear(), low + (high - low) * fractions(kind, 16)) for kind in kinds}


@pytest.fixture(scope="session")
def assert_convergence_order() -> Callable[..., Any]:
    """Function ``assert_convergence_order(sampler, order)`` of :mod:`diffnum.testing`."""
    from diffnum.testing.orders import assert_convergence_order as check

    return check

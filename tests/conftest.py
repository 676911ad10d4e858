"""Settings of every test: hypothesis profiles, plots without a screen, numbers printed in full."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("MPLBACKEND", "Agg")

# No deadlines: the first example pays for imports and caches, and the machine may be shared.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(autouse=True)
def _numbers_in_full() -> Iterator[None]:
    """Show arrays in failure messages with every digit: an error in the last place is to be seen."""
    with np.printoptions(precision=17, floatmode="unique", linewidth=120):
        yield

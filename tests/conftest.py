"""Settings of every test: hypothesis profiles, what is left out, plots without a screen, numbers printed in full."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tests.optional import NEEDS, missing

os.environ.setdefault("MPLBACKEND", "Agg")

# No deadlines: the first example pays for imports and caches, and the machine may be shared.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few", deadline=None, derandomize=True, print_blob=True, max_examples=5)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out tests of what is not installed; ``None`` leaves the decision to pytest."""
    return True if missing(collection_path) else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked to need something that is not installed."""
    absent = [name for mark in item.iter_markers("needs") for name in mark.args if find_spec(name) is None]
    if absent:
        pytest.skip(f"needs {', '.join(absent)}")


def pytest_report_header() -> list[str]:
    """Say what is left out, and for want of what."""
    here = Path(__file__).parent
    left_out = {start: missing(here / start) for start in NEEDS}
    return [f"left out: {start} (needs {', '.join(names)})" for start, names in left_out.items() if names]


@pytest.fixture(autouse=True)
def _numbers_in_full() -> Iterator[None]:
    """Show arrays in failure messages with every digit: an error in the last place is to be seen."""
    with np.printoptions(precision=17, floatmode="unique", linewidth=120):
        yield

"""Toy trainings stay toys: their steps are counted, and there is a budget for all of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from diffnum.distillation import training

BUDGET = 12_000
"""Steps of Adam in all tests together: about 2 ms each on an idle core."""


@pytest.fixture(scope="package", autouse=True)
def budget_of_training_steps() -> Iterator[None]:
    """Count the steps of every training, and fail where all of them took more than the budget."""
    spent, adam = 0, training._adam

    def counted(theta: np.ndarray, step_of: Callable[..., Any], steps: int, rate: float) -> Any:
        nonlocal spent

        def one(at: np.ndarray, n: int) -> Any:
            nonlocal spent
            spent += 1
            return step_of(at, n)

        return adam(theta, one, steps, rate)

    training._adam = counted
    yield
    training._adam = adam
    assert spent <= BUDGET, f"toy trainings took {spent} steps, the budget is {BUDGET}: train less, or fewer"

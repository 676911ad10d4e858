"""Weights and distances of the bench: slopes are derivatives, and the batch tells every weight from every other."""

from __future__ import annotations

import numpy as np
import pytest

from diffnum.testing.variants import TARGETS, training_batch
from diffnum.testing.weighing import ABSOLUTE, ROBUST, SQUARE, multipliers

GAPS = np.linspace(-2.0, 2.0, 9)[:, None] + 0.03


@pytest.mark.parametrize("name", ["square", "absolute", *list(ROBUST)[:3]])
def test_slopes_of_distances_are_derivatives(name: str) -> None:
    distance = {"square": SQUARE, "absolute": ABSOLUTE}.get(name) or ROBUST[name](0.3)
    numeric = (distance.value(GAPS + 1e-6) - distance.value(GAPS - 1e-6)) / 2e-6
    assert distance.slope(GAPS) == pytest.approx(numeric, abs=1e-8)


@pytest.mark.parametrize("name", list(ROBUST)[3:])
def test_adaptive_weights_are_held_still(name: str) -> None:
    distance = ROBUST[name](0.3)
    assert GAPS * distance.slope(GAPS) == pytest.approx(2.0 * distance.value(GAPS), rel=1e-12)


def test_no_two_weights_agree_on_the_batch_and_none_is_constant() -> None:
    """Else a truncated weight would pass on a batch on one side of the truncation."""
    batch = training_batch()
    named = multipliers(batch.late, batch.early, batch.weight)
    rows = {name: factor / np.linalg.norm(factor) for name, factor in named}
    rows["nothing"] = np.full(len(batch.late), len(batch.late) ** -0.5)
    table = np.stack(list(rows.values()))
    likeness = table @ table.T - np.eye(len(table))
    assert likeness.max() < 1.0 - 1e-4  # directions a percent apart, where the bench sees a millionth


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_rows_weighed_by_one_are_the_right_loss(name: str) -> None:
    batch = training_batch()
    right, weighed = TARGETS[name].right(batch), TARGETS[name].right(batch, rows=np.ones(len(batch.late)))
    assert weighed.value == right.value
    assert np.array_equal(weighed.gradient, right.gradient)

"""Where states are kept: every step is gone back over once, in order, with the fewest repetitions that there are."""

from __future__ import annotations

from functools import cache

import pytest

from diffnum.solver.checkpoints import binomial, fewest_repetitions, going_back, square_root


@cache
def least(length: int, kept: int) -> int:
    """Fewest repetitions by dynamic programming, over every place of the next state."""
    if length == 1:
        return 0
    if kept == 1:
        return length * (length - 1) // 2
    return min(m + least(length - m, kept - 1) + least(m, kept) for m in range(1, length))


def followed(visits: list, steps: int) -> tuple[list[int], int, int]:
    """Steps gone back over, repetitions, and most states kept; a state that is not there is an error."""
    kept, back, repeated, most = {0}, [], 0, 1
    for what, origin, to in visits:
        if what == "drop":
            kept.remove(to)
            continue
        assert origin in kept
        repeated += to - origin
        if what == "keep":
            kept.add(to)
            most = max(most, len(kept))
        else:
            back.append(to)
    return back, repeated, most


@pytest.mark.parametrize("kept", [1, 2, 3, 5])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 33])
def test_binomial_places_are_the_best_there_are(steps: int, kept: int) -> None:
    back, repeated, most = followed(list(going_back(0, steps, kept - 1, binomial)), steps)
    assert back == list(range(steps))[::-1]
    assert repeated == least(steps, kept) == fewest_repetitions(steps, kept)
    assert most <= kept


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 50, 100])
def test_square_root_repeats_a_step_at_most_twice(steps: int) -> None:
    back, repeated, most = followed(list(going_back(0, steps, steps, square_root(steps))), steps)
    assert back == list(range(steps))[::-1]
    assert repeated <= 2 * steps
    assert most <= 2 * steps**0.5 + 2


def test_a_place_moved_by_one_costs_repetitions() -> None:
    """The negative control."""
    assert followed(list(going_back(0, 20, 2, lambda n, c: min(binomial(n, c) + 1, n - 1))), 20)[1] > least(20, 3)

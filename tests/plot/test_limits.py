"""Figures of the limit are drawn from objects that merely look right, on given axes or new ones."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from diffnum.analysis import gaussian_limit, rank

limits = pytest.importorskip("diffnum.plot.limits")


def ranking(nfe: int, methods: int) -> SimpleNamespace:
    rows = [SimpleNamespace(method=f"m{i}", worst=1.0 / (i + nfe)) for i in range(methods)]
    return SimpleNamespace(nfe=nfe, limit=SimpleNamespace(error=10.0**-nfe), rows=[*rows, *rows])


def test_levels_and_zeros_stand_in_one_row_a_number_of_evaluations_and_noise_falls_to_the_right() -> None:
    found = [gaussian_limit(n) for n in (2, 3)]
    ax = limits.plot_levels(found)
    assert ax.xaxis_inverted()
    assert [text.get_text() for text in ax.get_yticklabels()] == ["2", "3"]
    drawn = [np.asarray(line.get_xdata()) for line in ax.lines]
    assert [len(x) for x in drawn] == [2, 2, 2, 2, 3, 3]
    np.testing.assert_array_equal(drawn[4], found[1].levels)
    np.testing.assert_array_equal(drawn[5], found[1].zeros)
    assert limits.plot_levels(found, ax) is ax


def test_few_methods_are_named_on_their_best_grid() -> None:
    ax = limits.plot_limit([rank(n, methods=("ddim", "dpmpp_2m"), points=11) for n in (4, 3)])
    assert [text.get_text() for text in ax.texts] == ["dpmpp_2m", "ddim", "the limit"]
    found = rank(3, methods=("ddim",), points=11)
    assert (
        np.asarray(ax.lines[1].get_ydata())[0] == found.least_worst.worst
    )  # by evaluations, whatever the order that they came in


def test_of_many_methods_the_best_at_each_number_of_evaluations_is_named() -> None:
    ax = limits.plot_limit([ranking(n, 9) for n in (3, 4)])
    assert [text.get_text() for text in ax.texts] == ["best of 9", "the limit"]
    np.testing.assert_allclose(np.asarray(ax.lines[9].get_ydata()), [1 / 11, 1 / 12])


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="limits is empty"):
        limits.plot_levels([])
    with pytest.raises(ValueError, match="rankings is empty"):
        limits.plot_limit([])

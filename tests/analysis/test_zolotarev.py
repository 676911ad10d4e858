"""Zolotarev's function is the best relative approximation of the square root, to full precision at every ratio."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize_scalar

from diffnum.analysis.zolotarev import ZolotarevFunction, best_square_root

WIDTHS = (1e-9, 0.3, 1.0, 1.0 + 1e-9, 98.0, 1e6, 1.6e9, 1e12, 1e24)


def relative(best: ZolotarevFunction, z: np.ndarray) -> np.ndarray:
    """Quotient of the rational function and the square root."""
    z = np.asarray(z, dtype=np.float64)[:, None]
    return best.scale * np.prod((z + best.zeros) / (z + best.poles), axis=1) / np.sqrt(z[:, 0])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("n", [0, 1, 4, 30])
def test_every_number_is_that_of_the_elliptic_functions(n: int, width: float) -> None:
    best = best_square_root(n, width)
    with mp.workdps(130):
        m = mp.mpf(width) / (1 + mp.mpf(width))
        quarter = mp.ellipk(m)
        places = [i * quarter / (2 * n + 1) for i in range(2 * n + 2)]
        sn, cn, dn = ([mp.ellipfun(f, u, m=m) for u in places] for f in ("sn", "cn", "dn"))
        squares = [(s / c) ** 2 for s, c in zip(sn[1:-1], cn[1:-1], strict=True)]
        points = [1 / d**2 for d in dn]
        values = [
            mp.fprod((z + a) / (z + b) for a, b in zip(squares[::2], squares[1::2], strict=True)) / mp.sqrt(z)
            for z in points
        ]
        high, low = max(values), min(values)
        expected = [*squares[::2], *squares[1::2], *points, 2 / (high + low), (high - low) / (high + low)]
        ours = [*best.zeros, *best.poles, *best.extrema, best.scale, best.error]
        # below 1e-100 the reference has no digits
        pairs = [(mp.mpf(float(a)), b) for a, b in zip(ours, expected, strict=True) if b > 1e-100]
        worst = max(abs(a / b - 1) for a, b in pairs)
    assert worst < 2e-13


@given(st.integers(0, 30), st.floats(-3, 27))
def test_the_error_is_attained_with_alternating_signs_and_zeros_and_poles_interlace(n: int, exponent: float) -> None:
    best = best_square_root(n, 10.0**exponent)
    both = np.sort(np.concatenate([best.zeros, best.poles]))
    assert np.array_equal(both[::2], best.zeros)
    assert np.array_equal(both[1::2], best.poles)
    assert (np.diff(both) > 0).all()
    assert (np.diff(best.extrema) > 0).all()
    signs = (-1.0) ** np.arange(2 * n + 2)
    np.testing.assert_allclose(relative(best, best.extrema), 1 + signs * best.error, atol=1e-12)
    assert np.abs(relative(best, np.geomspace(1, 1 + 10.0**exponent, 500)) - 1).max() <= best.error + 1e-12


@pytest.mark.parametrize("width", [3.0, 1e4])
def test_a_search_over_all_functions_of_degree_1_finds_the_same_one(width: float) -> None:
    best = best_square_root(1, width)
    z = np.union1d(np.geomspace(1, 1 + width, 600), best.extrema)

    def least(logarithm: float) -> float:
        """Least worst error of a given pole: the numerator by linear programming, any signs."""
        terms = np.stack([np.ones_like(z), z], axis=1) / ((np.exp(logarithm) + z) * np.sqrt(z))[:, None]
        size = np.abs(terms).max(axis=0)
        rows = np.block([[terms / size, -np.ones((len(z), 1))], [-terms / size, -np.ones((len(z), 1))]])
        bound = np.concatenate([np.ones_like(z), -np.ones_like(z)])
        return float(linprog([0, 0, 1], A_ub=rows, b_ub=bound, bounds=[(None, None), (None, None), (0, None)]).fun)

    scan = np.linspace(-2, np.log(1 + width) + 2, 40)
    start = scan[np.argmin([least(s) for s in scan])]
    step = scan[1] - scan[0]
    found = minimize_scalar(least, bounds=(start - step, start + step), method="bounded", options={"xatol": 1e-9})
    assert found.fun == pytest.approx(best.error, rel=1e-4)
    assert found.x == pytest.approx(np.log(best.poles[0]), abs=1e-2)


@pytest.mark.parametrize("name", ["zeros", "poles"])
def test_a_zero_or_a_pole_that_is_off_by_a_percent_is_worse(name: str) -> None:
    best = best_square_root(3, 1e4)
    moved = {"zeros": best.zeros, "poles": best.poles, name: getattr(best, name) * np.array([1.0, 1.01, 1.0])}
    wrong = ZolotarevFunction(moved["zeros"], moved["poles"], best.scale, best.error, best.extrema)
    assert np.abs(relative(wrong, best.extrema) - 1).max() > best.error * 1.01


def test_an_interval_of_length_zero_is_met_exactly() -> None:
    best = best_square_root(3, 0.0)
    assert best.error == 0.0
    assert relative(best, np.ones(1))[0] == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize(("n", "width"), [(-1, 1.0), (2, -1.0), (2, np.inf), (2, np.nan)])
def test_degrees_and_lengths_out_of_range_are_refused(n: int, width: float) -> None:
    with pytest.raises(ValueError, match="n=-1" if n < 0 else "width="):
        best_square_root(n, width)

"""The least expected squared error: brute force finds nothing better, and the plan attains it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import diffnum as dn
from diffnum.analysis import gaussian_limit, propagate, spectral_limit

LEVELS = (80.0, 0.002)
SPECTRA = {
    "flat": (np.geomspace(1e-4, 1, 30), np.ones(30)),
    "image": (1.0 / np.arange(1, 33) ** 2.0, 2 * np.pi * np.arange(1, 33)),
    "two clusters": (np.concatenate([np.geomspace(1e-4, 2e-4, 8), np.geomspace(5, 9, 8)]), np.ones(16)),
}


def expected(c: np.ndarray, w: np.ndarray, gain: np.ndarray) -> float:
    """Expected squared error of a gain, written down anew."""
    a, e = LEVELS[0] ** 2, LEVELS[1] ** 2
    return float(np.sum(w * (c + a) * (gain - np.sqrt((c + e) / (c + a))) ** 2))


def best_numerator(c: np.ndarray, w: np.ndarray, levels: np.ndarray) -> float:
    """Least error of all samplers that evaluate at these levels: any numerator, by linear least squares."""
    a, e = LEVELS[0] ** 2, LEVELS[1] ** 2
    terms = np.stack([np.ones_like(c), *np.cumprod([1.0 / (1.0 + c / r**2) for r in levels], axis=0)], axis=1)
    root = np.sqrt(w * (c + a))
    matrix = root[:, None] * terms
    matrix = matrix / np.linalg.norm(matrix, axis=0)
    target = root * np.sqrt((c + e) / (c + a))
    solution = np.linalg.lstsq(matrix, target, rcond=1e-15)[0]
    return float(np.sum((matrix @ solution - target) ** 2))


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize(("nfe", "points"), [(1, 400), (2, 50)])
def test_brute_force_over_all_levels_and_numerators_finds_the_same_optimum(name: str, nfe: int, points: int) -> None:
    c, w = SPECTRA[name]
    axis = np.linspace(np.log(1e-3), np.log(200.0), points)
    mesh = np.stack(np.meshgrid(*[axis] * nfe, indexing="ij"), axis=-1).reshape(-1, nfe)
    mesh = mesh[(np.diff(mesh, axis=1) <= 0).all(axis=1)]
    values = np.array([best_numerator(c, w, np.exp(row)) for row in mesh])
    options = {"xatol": 1e-10, "fatol": 1e-18, "maxiter": 2000}
    polished = min(
        float(minimize(lambda t: best_numerator(c, w, np.exp(t)), mesh[i], method="Nelder-Mead", options=options).fun)
        for i in np.argsort(values)[:3]
    )
    found = spectral_limit(nfe, c, w)
    assert found.error <= values.min()
    assert found.error == pytest.approx(polished, rel=1e-6)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("nfe", [1, 3, 5])
def test_the_plan_attains_it_under_exact_propagation(name: str, nfe: int) -> None:
    c, w = SPECTRA[name]
    found, schedule = spectral_limit(nfe, c, w), dn.schedules.VPFitted()
    numbers = found.plan(schedule)
    output = propagate(numbers, 0.0, c)
    factor = float(schedule.alpha(numbers.times[-1]) / schedule.alpha(numbers.times[0]))
    error = expected(c, w, output.gain / factor)
    assert numbers.nfe == nfe
    assert error == pytest.approx(found.error, rel=1e-6, abs=1e-24)
    assert found.relative_error == pytest.approx(np.sqrt(found.error / np.sum(w * (c + LEVELS[1] ** 2))))


@pytest.mark.parametrize("name", ["flat", "image"])
@pytest.mark.parametrize("nfe", [1, 2, 4])
def test_it_is_the_exact_gain_at_twice_n_plus_one_variances_and_its_zeros_and_levels_interlace(
    name: str, nfe: int
) -> None:
    c, w = SPECTRA[name]
    found = spectral_limit(nfe, c, w)
    dense = np.geomspace(c.min(), c.max(), 4000)
    signs = np.sign(found.gain(dense) - found.exact_gain(dense))
    assert np.count_nonzero(np.diff(signs)) == 2 * nfe + 1
    chain = np.empty(2 * nfe)
    chain[::2], chain[1::2] = found.levels, found.zeros
    assert (np.diff([LEVELS[0], *chain, LEVELS[1]]) < 0).all()


@settings(max_examples=15)
@given(nfe=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_neither_the_minimax_sampler_nor_a_moved_one_is_better(nfe: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    c, w = np.exp(rng.uniform(-9, 3, 25)), rng.uniform(0.1, 3, 25)
    found = spectral_limit(nfe, c, w)
    minimax = gaussian_limit(nfe, variances=(float(c.min()), float(c.max())))
    slack = 1 + 1e-9
    assert found.error <= expected(c, w, minimax.gain(c)) * slack
    levels, zeros = (v * np.exp(1e-3 * rng.standard_normal(nfe)) for v in (found.levels, found.zeros))
    moved = found.scale * np.prod((c[:, None] + zeros**2) / (c[:, None] + levels**2), axis=1)
    assert expected(c, w, moved) > found.error


@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_variances_as_free_numbers_are_met_exactly(count: int) -> None:
    found = spectral_limit(2, np.geomspace(0.01, 4.0, count))
    assert found.relative_error < 1e-10
    assert found.plan(dn.schedules.EDM()).nfe == 2


def test_directions_of_weight_zero_do_not_count() -> None:
    c, w = SPECTRA["flat"]
    more = spectral_limit(2, [*c, 50.0], [*w, 0.0])
    assert more.error == pytest.approx(spectral_limit(2, c, w).error, rel=1e-9)


def test_text_has_the_error() -> None:
    assert "least expected squared error of 2 evaluations, 30 variances" in str(spectral_limit(2, SPECTRA["flat"][0]))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"nfe": 0}, "nfe=0"),
        ({"variances": []}, "variances="),
        ({"variances": [-1.0]}, "variances="),
        ({"variances": [[1.0]]}, "variances="),
        ({"variances": [np.inf]}, "variances="),
        ({"weights": [1.0]}, "weights="),
        ({"weights": -1.0}, "weights="),
        ({"weights": 0.0}, "weights="),
        ({"starts": 0}, "starts=0"),
        ({"variances": [0.0, 1.0], "noise_levels": (80.0, 0.0)}, "positive variances"),
    ],
)
def test_bad_input_is_named(words: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        spectral_limit(**{"nfe": 2, "variances": [0.1, 1.0], **words})

"""Exact statistics: closed forms on Gaussians, Monte Carlo on mixtures, and what they buy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

import diffnum as dn
from diffnum.calibration.exact import exact_statistics
from diffnum.calibration.statistics import dpm_solver_v3

SCHEDULE = dn.schedules.VPLinear()
LAM = np.linspace(-2.0, 2.0, 9)
MEAN, VARIANCE = np.array([1.0, -2.0]), np.array([0.3, 0.05])
MIXTURE = dn.GaussianMixture([0.5, 0.5], [[1.0, 0.0], [-1.0, 0.5]], [0.1, 0.3])


def test_a_gaussian_has_the_closed_form_l_no_law_and_the_derivative_of_f_for_b() -> None:
    found = exact_statistics(dn.Gaussian(MEAN, VARIANCE), LAM)
    rho2 = np.exp(-2 * LAM)[:, None]
    slope = rho2 / (VARIANCE + rho2)  # sigma d eps/dx = sigma^2 / (alpha^2 c + sigma^2)
    np.testing.assert_allclose(found.l, slope, rtol=1e-12)
    np.testing.assert_array_equal(found.s, 0 * slope)
    np.testing.assert_allclose(found.b, 2 * slope * (1 - slope) * MEAN, rtol=1e-10)  # f = -l mean


def test_with_exact_statistics_one_first_order_step_solves_a_diagonal_gaussian() -> None:
    gaussian = dn.Gaussian(MEAN, VARIANCE)
    model, x = gaussian.denoiser(SCHEDULE), np.random.default_rng(0).standard_normal((5, 2))
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, 1, t_start=1.0, t_end=1e-3)
    exact = gaussian.flow(x, SCHEDULE, 1.0, 1e-3)

    def error(knots: int) -> float:
        statistics = exact_statistics(gaussian, np.linspace(-5.03, 4.6, knots), nodes=3)
        return float(np.abs(dn.solve(dn.plan(dpm_solver_v3(statistics, 1), SCHEDULE, grid), model, x) - exact).max())

    assert error(201) < 1e-7
    assert error(201) < error(101) / 8  # what is left is the splines', of order 3 or more up to their ends
    assert np.abs(dn.solve(dn.plan("ddim", SCHEDULE, grid), model, x) - exact).max() > 0.1


def test_a_rotated_gaussian_keeps_an_error_that_diagonal_statistics_cannot_remove() -> None:
    gaussian = dn.Gaussian(MEAN, np.array([[0.3, 0.2], [0.2, 0.3]]))
    statistics = exact_statistics(gaussian, np.linspace(-5.03, 4.6, 201), nodes=3)
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, 1, t_start=1.0, t_end=1e-3)
    x = np.random.default_rng(0).standard_normal((5, 2))
    found = dn.solve(dn.plan(dpm_solver_v3(statistics, 1), SCHEDULE, grid), gaussian.denoiser(SCHEDULE), x)
    assert np.abs(found - gaussian.flow(x, SCHEDULE, 1.0, 1e-3)).max() > 1e-3


def test_quadrature_converges_and_monte_carlo_tends_to_it() -> None:
    reference = exact_statistics(MIXTURE, LAM[::2], nodes=128)
    found = [exact_statistics(MIXTURE, LAM[::2], nodes=n) for n in (24, 64)]
    drawn = [exact_statistics(MIXTURE, LAM[::2], samples=n, seed=1) for n in (500, 50_000)]

    def error(statistics: Any, name: str) -> float:
        return float(np.abs(getattr(statistics, name) - getattr(reference, name)).max())

    for name in ("l", "s", "b"):
        assert error(found[1], name) < min(0.2 * error(found[0], name), error(drawn[1], name))
        assert error(drawn[1], name) < 0.3 * error(drawn[0], name)


def test_the_law_is_the_derivative_of_f_along_the_exact_flow() -> None:
    # f along exact trajectories by the problem's own flow; the samples are those of the estimate
    lam, reach = LAM[4], 1e-3
    statistics = exact_statistics(MIXTURE, np.linspace(-2, 2, 65), samples=4000, seed=3)
    data, eps = MIXTURE.sample(4000, 3), np.random.default_rng([3, 1]).standard_normal((4000, 2))
    edm = dn.schedules.EDM()
    model = MIXTURE.denoiser(edm, "noise")
    t = float(edm.time(lam))
    start = data + t * eps

    def f(value: float) -> Any:
        end = float(edm.time(value))
        y = MIXTURE.flow(start, edm, t, end)
        return end * model(y, end) - statistics.at(value)[0] * y

    derivative, value = (f(lam + reach) - f(lam - reach)) / (2 * reach), f(lam)
    for i in range(2):
        s, b = np.polyfit(value[:, i], derivative[:, i], 1)
        np.testing.assert_allclose([s, b], [statistics.s[32, i], statistics.b[32, i]], atol=2e-5)


def test_scalar_statistics_are_one_number_a_level_and_bound_to_the_schedule() -> None:
    found = exact_statistics(MIXTURE, LAM, scalar=True, schedule=SCHEDULE, nodes=16)
    assert found.element == ()
    assert found.schedule == SCHEDULE
    np.testing.assert_allclose(found.l, exact_statistics(MIXTURE, LAM, nodes=16).scalar().l, rtol=1e-12)


@pytest.mark.parametrize("knots", [4, 40])
def test_the_law_of_two_equal_peaks_keeps_its_limits_whatever_the_noise_and_the_knots(knots: int) -> None:
    peaks = dn.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.01, 0.01])
    low, high = (exact_statistics(peaks, np.linspace(*ends, knots)).s for ends in ((-9.0, -7.0), (9.0, 14.0)))
    np.testing.assert_allclose(low, 3.0, atol=0.01)
    np.testing.assert_allclose(high, -2.0, atol=1e-5)
    # f is lost in the rounding of the data there: no law is better than noise for one
    np.testing.assert_array_equal(exact_statistics(peaks, np.linspace(-14.0, -11.0, knots)).s, 0.0)


@pytest.mark.parametrize("order", [1, 2])
def test_statistics_of_the_data_beat_data_prediction_at_few_steps(order: int) -> None:
    statistics = exact_statistics(MIXTURE, np.linspace(-5.03, 4.6, 81), nodes=20)
    x = np.random.default_rng(0).standard_normal((200, 2))
    exact = MIXTURE.flow(x, SCHEDULE, 1.0, 1e-3)
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, 5, t_start=1.0, t_end=1e-3)
    model = MIXTURE.denoiser(SCHEDULE)
    errors = [
        np.sqrt(np.mean((dn.solve(dn.plan(method, SCHEDULE, grid), model, x) - exact) ** 2))
        for method in (dpm_solver_v3(statistics, order), f"eab_{order}")
    ]
    assert errors[0] < 0.8 * errors[1]


def test_what_cannot_be_integrated_is_refused() -> None:
    with pytest.raises(ValueError, match="RotatedProduct is no mixture, pass samples="):
        exact_statistics(dn.problems.rotated_product(dim=4, seed=1), LAM)
    wide = dn.GaussianMixture([1.0], np.zeros((1, 8)), [1.0])
    with pytest.raises(ValueError, match=r"quadrature points in dimension 8: pass samples="):
        exact_statistics(wide, LAM)
    with pytest.raises(ValueError, match=r"lam has shape \(3,\): give at least 4"):
        exact_statistics(MIXTURE, [0.0, 1.0, 2.0])
    assert exact_statistics(dn.problems.rotated_product(dim=4, seed=1), LAM, samples=50).element == (4,)


LINE = (np.array([0.2, 0.5, 0.3]), np.array([[-1.5], [0.2], [1.6]]), np.array([[0.05], [0.1], [0.2]]))
PLANE = (np.array([0.3, 0.7]), np.array([[-1.0, 0.2], [2.0, -0.5]]), np.array([[0.1, 0.3], [0.2, 0.1]]))


@pytest.mark.parametrize(("parts", "nodes"), [(LINE, 128), (PLANE, 64)], ids=["line", "plane"])
def test_the_law_follows_from_the_slope_and_two_moments_of_the_data(parts: tuple[np.ndarray, ...], nodes: int) -> None:
    weights, means, variances = parts
    lam = np.linspace(-2.5, 2.0, 181)
    found = exact_statistics(dn.GaussianMixture(*parts), lam, nodes=nodes)
    mean = weights @ means
    variance = weights @ (variances + means**2) - mean**2

    def law(variance: np.ndarray) -> np.ndarray:
        """s = (log Var f)'/2 with Var f = l (l c - (1 - l) rho^2)."""
        spread = found.l * (found.l * variance - (1 - found.l) * np.exp(-2 * lam)[:, None])
        return np.asarray(CubicSpline(lam, np.log(spread))(lam, 1) / 2)

    inner = slice(8, -8)
    assert np.abs(law(variance) - found.s)[inner].max() < 2e-4
    assert np.abs(mean * (found.s * found.l - found.slope_rate(lam)) - found.b)[inner].max() < 2e-4
    assert np.abs(law(1.02 * variance) - found.s)[inner].max() > 0.1

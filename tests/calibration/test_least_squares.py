"""Levenberg-Marquardt finds minima, respects bounds, and goes on where it was stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from diffnum.calibration.least_squares import Iterate, levenberg_marquardt

FREE = np.full(2, -np.inf), np.full(2, np.inf)


@dataclass
class Rosenbrock:
    """Residuals 10 (y - x^2) and 1 - x."""

    def residuals(self, theta: np.ndarray) -> np.ndarray:
        return np.array([10.0 * (theta[1] - theta[0] ** 2), 1.0 - theta[0]])

    def loss(self, theta: np.ndarray) -> float:
        r = self.residuals(theta)
        return float(r @ r) if theta[0] < 3.0 else math.inf

    def linearise(self, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        r, jacobian = self.residuals(theta), np.array([[-20.0 * theta[0], 10.0], [-1.0, 0.0]])
        return float(r @ r), jacobian.T @ r, jacobian.T @ jacobian


START = Iterate(np.array([-1.2, 1.0]), 24.2, 1e-2)


def test_a_curved_valley_is_followed_to_its_end() -> None:
    *_, last = levenberg_marquardt(Rosenbrock(), START, FREE, iterations=60)
    assert np.allclose(last.theta, 1.0, atol=1e-6)


def test_each_point_is_better_than_the_one_before() -> None:
    losses = [START.loss, *(i.loss for i in levenberg_marquardt(Rosenbrock(), START, FREE, iterations=60))]
    assert (np.diff(losses) < 0).all()


def test_bounds_hold_and_the_rest_is_optimal() -> None:
    bounds = np.array([-np.inf, -np.inf]), np.array([0.5, np.inf])
    *_, last = levenberg_marquardt(Rosenbrock(), START, bounds, iterations=60)
    assert last.theta[0] == 0.5
    assert np.isclose(last.theta[1], 0.25, atol=1e-6)


def test_a_run_goes_on_bit_for_bit_where_it_was_stopped() -> None:
    whole = list(levenberg_marquardt(Rosenbrock(), START, FREE, iterations=60))
    for cut in (1, 4, len(whole) - 1):
        rest = list(levenberg_marquardt(Rosenbrock(), whole[cut - 1], FREE, iterations=60))
        assert [i.theta.tolist() for i in rest] == [i.theta.tolist() for i in whole[cut:]]


def test_it_stops_at_a_minimum_and_at_its_number_of_steps() -> None:
    there = Iterate(np.array([1.0, 1.0]), 0.0, 1e-2)
    assert list(levenberg_marquardt(Rosenbrock(), there, FREE, iterations=60)) == []
    assert len(list(levenberg_marquardt(Rosenbrock(), START, FREE, iterations=3))) == 3

"""Spectral distillation along principal axes: what gains do for a mixture, and what they cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffnum.distillation import (
    Pairs,
    affine_optimum,
    affine_residual,
    principal_axes,
    principal_distillation,
    train_generator,
    wiener_gain,
)
from diffnum.distillation.quadrature import plane
from diffnum.problems import gaussian_example, rotated_product, three_peaks
from diffnum.schedules import FlowMatching, VPLinear

SCHEDULE = FlowMatching()
MIXTURES = {"line": three_peaks(), "plane": rotated_product(2)}


def expected(problem: Any, schedule: Any, t: float, function: Any) -> np.ndarray:
    """Mean over noisy states, by quadrature."""
    law = problem.mixture.at(schedule, t)
    nodes = plane(law)
    return np.asarray(nodes.weight * np.exp(law.log_prob(nodes.x)) @ function(nodes.x))


@pytest.mark.parametrize("schedule", [SCHEDULE, VPLinear()], ids=["flow", "vp"])
@pytest.mark.parametrize("name", sorted(MIXTURES))
def test_the_loss_of_gains_is_that_of_a_gaussian_field_and_a_floor(name: str, schedule: Any) -> None:
    """Independent road: squared distance to the best denoiser of the mixture itself."""
    problem = MIXTURES[name]
    frame, times = principal_axes(problem), [0.2, 0.6]
    for weights in (np.ones(problem.dim), 1.0 / frame.spectrum):
        loss = principal_distillation(problem, schedule, times, np.eye(problem.dim), weights=weights)
        student = loss.start.replace(np.linspace(0.2, 0.9, loss.start.parameters.size))
        whole = 0.0
        for t, gains in zip(times, student.gains, strict=True):

            def squared(x: np.ndarray, t: float = t, g: np.ndarray = gains) -> np.ndarray:
                gap = frame.denoised(x, g, float(schedule.alpha(t))) - problem.denoiser(schedule)(x, t)
                return np.asarray((gap @ frame.axes) ** 2)

            whole += 0.5 * float(expected(problem, schedule, t, squared) @ weights)
        assert loss.value(student) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("name", sorted(MIXTURES))
def test_no_affine_map_of_the_state_is_nearer_than_wieners_gains(name: str) -> None:
    """Independent road: regression of drawn data on drawn noisy states, whatever their axes."""
    problem, t, n = MIXTURES[name], 0.4, 200_000
    frame = principal_axes(problem)
    pairs = Pairs(problem.sample(n, 1), np.random.default_rng(1).standard_normal((n, problem.dim)), np.full(n, 1 / n))
    x = pairs.at(SCHEDULE, t)
    fitted = np.linalg.lstsq(np.c_[x, np.ones(n)], pairs.x0, rcond=None)[0]
    gains = wiener_gain(frame.spectrum, SCHEDULE, t)
    assert fitted[:-1] == pytest.approx((frame.axes * gains) @ frame.axes.T, abs=5e-3)
    told = affine_residual(problem, SCHEDULE, [t]).sum()
    best = np.mean(np.sum((problem.denoiser(SCHEDULE)(x, t) - pairs.x0) ** 2, axis=1))
    affine = np.mean(np.sum((frame.denoised(x, gains, 1.0 - t) - pairs.x0) ** 2, axis=1))
    assert affine - best == pytest.approx(told, abs=1e-3)


def test_a_gaussian_has_no_floor_and_a_mixture_has_one_that_vanishes_at_both_ends() -> None:
    assert affine_residual(gaussian_example(2), SCHEDULE, [0.1, 0.5]).max() <= 1e-28
    for problem in MIXTURES.values():
        left = affine_residual(problem, SCHEDULE, [0.01, 0.4, 1.0])
        assert np.all(left[1] > 1e-3)
        assert np.all(left[0] < 1e-3 * left[1])
        assert np.all(left[2] < 1e-28)


@pytest.mark.parametrize("name", sorted(MIXTURES))
def test_wieners_gains_generate_the_gaussian_of_the_same_moments(name: str) -> None:
    problem, found = MIXTURES[name], []
    frame, goal = principal_axes(problem), affine_optimum(problem, "forward-kl")
    for n in (64, 128):
        times = np.linspace(1.0, 0.0, n + 1)
        made = frame.generated(SCHEDULE, times, [wiener_gain(frame.spectrum, SCHEDULE, t) for t in times[:-1]])
        assert made.means == pytest.approx(goal.means, abs=1e-14)
        found.append(made.factors[0] @ made.factors[0].T - goal.factors[0] @ goal.factors[0].T)
    assert np.abs(found[1]).max() <= 0.05
    assert np.linalg.norm(found[0]) / np.linalg.norm(found[1]) == pytest.approx(2.0, abs=0.1)  # DDIM has order one


def test_the_run_of_gains_is_that_of_the_denoiser_on_samples() -> None:
    frame, times = principal_axes(rotated_product(2)), np.linspace(1.0, 0.1, 6)
    gains = np.stack([wiener_gain(frame.spectrum, SCHEDULE, t) * [0.9, 1.1] for t in times[:-1]])
    law, x = frame.generated(SCHEDULE, times, gains), np.vstack([np.zeros(2), np.eye(2)])
    for t, s, g in zip(times[:-1].tolist(), times[1:].tolist(), gains, strict=True):
        x = s / t * x + (1.0 - s - s / t * (1.0 - t)) * frame.denoised(x, g, 1.0 - t)
    assert x[0] == pytest.approx(0.9 * frame.mean, abs=1e-14)
    matrix = (x[1:] - x[0]).T
    assert matrix @ matrix.T == pytest.approx(law.factors[0] @ law.factors[0].T, abs=1e-13)


def test_one_gain_for_all_axes_is_trained_to_its_least_squares_fit_and_weights_move_it() -> None:
    frame, found = principal_axes(rotated_product(2)), []
    for weights in (None, 1.0 / frame.spectrum):
        loss = principal_distillation(rotated_product(2), SCHEDULE, [0.3, 0.7], np.ones((1, 2)), weights=weights)
        assert np.abs(loss.gradient(loss.optimum)).max() <= 1e-14
        assert loss.value(loss.optimum) > loss.floor > 0.0
        found.append(loss.optimum.gains[:, 0])
    trained = train_generator(loss, loss.start, steps=300).student
    assert loss.value(trained) == pytest.approx(loss.value(loss.optimum), rel=1e-9)
    assert np.all(found[1] < found[0])  # towards the fainter axis, whose gain is smaller

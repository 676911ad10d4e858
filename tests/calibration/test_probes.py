"""Normal equations by reverse differentiation: the gradient is exact, the matrix right in the mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.calibration import fit_plan
from diffnum.calibration.descent import SumOfSquares
from diffnum.calibration.hosts import host_of
from diffnum.calibration.losses import EndpointGoal
from diffnum.calibration.probes import ProbedSum
from diffnum.calibration.teachers import converged_samples
from diffnum.calibration.weights import SolverSpace

VP = dn.schedules.VPLinear()
MODEL = dn.problems.rotated_product(4).denoiser(VP, "noise")


def problem(model: Any, ends: tuple[float, float], n: int, chunk: int, cut: float | None) -> SumOfSquares:
    """Loss of three evaluations, away from its minimum."""
    host = host_of(model)
    space = SolverSpace.native(model.prediction, model.schedule, ends, 3)
    grid = dn.grids.uniform_half_log_snr(model.schedule, 3, t_start=ends[0], t_end=ends[1])
    vector = space.vector_of(dn.plan("dpmpp_2m", model.schedule, grid))
    vector = np.clip(vector + 0.05 * np.random.default_rng(0).standard_normal(space.size), *space.bounds)
    vector[space.groups["times"].start] = 0.0
    samples = converged_samples(host, ends, n, 0, chunk=chunk)
    goals = tuple(EndpointGoal(target) for target in samples.target)
    return SumOfSquares(host, space, vector, samples.parts, list(samples.x), goals, cut)


@pytest.mark.parametrize("cut", [None, 0.3])
def test_the_gradient_is_exact_and_the_matrix_right_in_the_mean(cut: float | None) -> None:
    plain = problem(MODEL, (1.0, 1e-2), 64, 16, cut)
    loss, gradient, gram = plain.linearise(plain.vector)
    found = ProbedSum(plain, 0, probes=400).linearise(plain.vector)
    assert found[0] == pytest.approx(loss, rel=1e-12)
    assert np.allclose(found[1], gradient, rtol=1e-9, atol=1e-12)
    assert np.linalg.norm(found[2] - gram) < 0.05 * np.linalg.norm(gram)
    few = ProbedSum(plain, 0, probes=1).linearise(plain.vector)
    assert np.linalg.norm(few[2] - gram) > 0.05 * np.linalg.norm(gram)
    again = ProbedSum(plain, 0, probes=1).linearise(plain.vector)
    assert all(np.array_equal(a, b) for a, b in zip(few, again, strict=True))


def test_samples_that_went_elsewhere_count_less() -> None:
    plain = problem(MODEL, (1.0, 1e-2), 32, 32, 0.3)
    residual = np.zeros((32, 4))
    residual[0], residual[1] = 100.0, 0.01
    value, weights = plain.judged(residual)
    squares = replace(plain, cut=None).judged(residual)
    assert weights[0] < 0.01 < 0.99 < weights[1] <= weights[2] == 1.0
    assert value < 0.01 * squares[0]
    assert np.array_equal(squares[1], np.ones(32))


def test_the_robust_loss_has_the_gradient_that_differences_show() -> None:
    plain = problem(MODEL, (1.0, 1e-2), 32, 8, 0.2)
    loss, gradient, _ = plain.linearise(plain.vector)
    step = 1e-6 * np.random.default_rng(1).standard_normal(len(gradient))
    step[plain.space.groups["times"].start] = 0.0
    change = (plain.loss(plain.vector + step) - plain.loss(plain.vector - step)) / 2.0
    assert change == pytest.approx(2.0 * float(gradient @ step), rel=1e-4)
    assert loss == plain.loss(plain.vector)


@pytest.mark.needs("torch", "safetensors")
@pytest.mark.parametrize("name", ["toy/digits", "toy/digits-flow"])
def test_networks_are_differentiated_backwards_as_forwards(name: str) -> None:
    network = dn.load(name, dtype="float64")
    plain = problem(network, (network.default_t_start, network.default_t_end), 4, 2, None)
    loss, gradient, gram = plain.linearise(plain.vector)
    found = ProbedSum(plain, 0, probes=64).linearise(plain.vector)
    assert found[0] == pytest.approx(loss, rel=1e-9)
    assert np.allclose(found[1], gradient, rtol=1e-4, atol=1e-6 * abs(gradient).max())
    assert np.linalg.norm(found[2] - gram) < 0.3 * np.linalg.norm(gram)


def test_a_fit_by_probes_is_as_good_as_one_by_tangents_and_has_the_same_bits_again() -> None:
    settings: dict[str, Any] = {"n": 64, "starts": 1, "iterations": 12, "t_end": 1e-2}
    tangents = fit_plan(MODEL, 3, **settings)
    first, second = (fit_plan(MODEL, 3, derivatives="reverse", **settings) for _ in range(2))
    assert first.plan == second.plan
    assert first.train_error < 1.2 * tangents.train_error


def test_a_fit_that_forgives_a_few_samples_is_better_for_most() -> None:
    sharp = dn.problems.GaussianMixture(
        np.full(6, 1 / 6), np.random.default_rng(1).standard_normal((6, 4)), np.full(6, 1e-2)
    ).denoiser(VP, "noise")
    settings: dict[str, Any] = {"n": 64, "starts": 1, "iterations": 12, "t_end": 1e-2}
    plain, robust = (fit_plan(sharp, 4, loss=loss, **settings) for loss in ("endpoint", "robust"))
    samples = converged_samples(host_of(sharp), (1.0, 1e-2), 64, 0)

    def typical(plan: dn.Plan) -> float:
        off = dn.solve(replace(plan, found_for=None), sharp, samples.x[0]) - samples.target[0]
        return float(np.median(np.linalg.norm(off, axis=1)))

    assert typical(robust.plan) < typical(plain.plan)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"cut": 0.0}, "cut=0.0: use a positive number"),
        ({"cut": True}, "cut=True: use a positive number"),
        ({"loss": "trajectory", "derivatives": "reverse"}, "use derivatives='forward'"),
    ],
)
def test_what_cannot_be_fitted_so_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_plan(MODEL, 2, t_end=1e-2, n=24, **words)

"""The nonlinear invertible map: its derivatives, its optimum on Gaussians, and the modes that an affine one misses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.inverse import Linear, StartProblem, exact_start, misfit, optimise_start
from diffnum.inverse.start.coupling import CouplingMap

SCHEDULE = dn.schedules.VPLinear()
H = 1e-6


def planned(steps: int, last: float = 1e-2) -> dn.Plan:
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, n=steps, t_start=1.0, t_end=last)
    return dn.plan("dpmpp_2m", SCHEDULE, grid)


def differences(function: Any, at: Any) -> Any:
    """Central differences along the last axis of ``at``, stacked last."""
    return np.stack([(function(at + H * e) - function(at - H * e)) / (2 * H) for e in np.eye(at.shape[-1])], axis=-1)


@pytest.mark.parametrize(("d", "independent"), [(1, False), (2, False), (5, False), (4, True)])
def test_density_score_and_slope_are_those_of_differences(d: int, independent: bool) -> None:
    flow, rng = CouplingMap(d, 3, 6, independent, seed=3), np.random.default_rng(0)
    u, still = rng.standard_normal((6, d)), flow.first(np.zeros(d))
    np.testing.assert_array_equal(flow.map(still, u).z, u)
    numbers = still + 0.5 * rng.standard_normal(len(still))
    z, log_density, score = flow.map(numbers, u)
    jacobian = differences(lambda v: flow.map(numbers, v).z, u)
    normal = -0.5 * np.sum(u * u, axis=1) - 0.5 * d * np.log(2 * np.pi)
    np.testing.assert_allclose(log_density, normal - np.linalg.slogdet(jacobian)[1], atol=1e-6)
    by_u = differences(lambda v: flow.map(numbers, v).log_density, u)
    carried = np.einsum("nij,ni->nj", jacobian, score)
    np.testing.assert_allclose(carried, by_u, atol=1e-6 * np.abs(score).max())
    cotangent = rng.standard_normal(z.shape)
    _, slope = flow.gradient(numbers, u, lambda mapped: cotangent)
    wanted = differences(lambda p: np.sum(flow.map(p, u).z * cotangent), numbers)
    np.testing.assert_allclose(slope, wanted, atol=1e-7 * np.abs(wanted).max())


def test_an_increasing_map_keeps_the_order_whatever_its_numbers() -> None:
    flow, rng = CouplingMap(1, 4, 4, seed=0), np.random.default_rng(1)
    u = np.linspace(-4, 4, 201)[:, None]
    for _ in range(20):
        z = flow.map(flow.first(np.zeros(1)) + 5.0 * rng.standard_normal(len(flow.first(np.zeros(1)))), u).z
        assert (np.diff(z[:, 0]) > 0).all()


GAUSSIAN = dn.Gaussian([0.3, -0.2, 0.1], [[1.0, 0.4, 0.0], [0.4, 0.6, 0.1], [0.0, 0.1, 0.3]])
OP, Y, NOISE = Linear([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]]), [1.5, -0.4], 0.5
RUN, MODEL, LOSS = planned(6), GAUSSIAN.denoiser(SCHEDULE), misfit(OP, Y, NOISE)
EXACT = exact_start(RUN, MODEL, OP, Y, NOISE)


def test_the_affine_optimum_of_a_gaussian_is_a_fixed_point_for_every_sample() -> None:
    problem = StartProblem(RUN, MODEL, LOSS, np.zeros((1, 3)))
    factor = np.linalg.cholesky(np.linalg.inv(EXACT.precision))
    flow = CouplingMap(3, 2, 4)
    entries = np.where(*(lambda i, j: (i == j, np.log(np.abs(factor[i, j])), factor[i, j]))(*np.tril_indices(3)))
    start = np.concatenate([flow.first(EXACT.z)[: -len(entries)], entries])

    def size(numbers: Any) -> float:
        def pull(mapped: Any) -> Any:
            return problem.losses_and_slopes(mapped.z)[1] + mapped.z + mapped.score

        return float(np.abs(flow.gradient(numbers, np.random.default_rng(0).standard_normal((3, 3)), pull)[1]).max())

    assert size(start) < 1e-10
    assert size(start + 0.1) > 0.1  # negative control


def test_it_finds_the_law_of_a_gaussian_problem() -> None:
    answer = optimise_start(
        RUN, MODEL, LOSS, np.zeros((1, 3)), method="reverse_kl_coupling", rounds=150, samples=32, rate=0.05, couplings=2
    )
    z, log_density = answer.draw(4000, seed=1)
    away = z - EXACT.z
    log_target = -0.5 * np.einsum("ni,ij,nj->n", away, EXACT.precision, away)
    log_target += 0.5 * np.linalg.slogdet(EXACT.precision)[1] - 1.5 * np.log(2 * np.pi)
    assert answer.factor is None
    assert abs(float(np.mean(log_density - log_target))) < 0.02


def outward(ends: Any) -> Any:
    """Away from zero, to either side."""
    away = np.abs(ends) - 2.5
    return 4 * away[:, 0] ** 2, 8 * away * np.sign(ends)


def test_it_covers_two_modes_of_which_an_affine_map_covers_one() -> None:
    law = dn.GaussianMixture([0.5, 0.5], [[-2.0], [2.0]], [0.5, 0.5])
    model, run = law.denoiser(SCHEDULE), planned(6)
    z = np.linspace(-7, 7, 2001)
    J = StartProblem(run, model, outward, np.ones((1, 1))).values(z[:, None])
    least = -np.log(np.sum(np.exp(-J)) * (z[1] - z[0]))
    gaps = {}
    slowly = {"rounds": 200, "rate": 0.05, "samples": 48, "annealed": 0.8}
    # an affine map that begins at 0 is stuck between the modes
    for name, first, options in (("reverse_kl", 1.0, {}), ("reverse_kl_coupling", 0.0, slowly)):
        answer = optimise_start(run, model, outward, first * np.ones((1, 1)), method=name, **options)
        drawn, log_density = answer.draw(4000)
        gaps[name] = float(np.mean(log_density + np.interp(drawn[:, 0], z, J))) - least
    assert gaps["reverse_kl"] > np.log(2)
    assert 0.0 < gaps["reverse_kl_coupling"] < 0.3 * np.log(2)


def test_points_have_nothing_to_draw_and_odd_numbers_are_refused() -> None:
    point = optimise_start(RUN, MODEL, LOSS, np.zeros((1, 3)), iterations=1)
    with pytest.raises(ValueError, match="method='descent' found a point: draw from a law"):
        point.draw(3)
    with pytest.raises(ValueError, match=r"annealed=1\.0: give the share"):
        optimise_start(RUN, MODEL, LOSS, np.zeros((1, 3)), method="reverse_kl_coupling", annealed=1.0)
    with pytest.raises(ValueError, match="the best law is a point"):
        optimise_start(RUN, MODEL, LOSS, np.zeros((1, 3)), method="reverse_kl_coupling", weight=0.0)


def test_a_normal_law_is_drawn_with_its_density() -> None:
    answer = optimise_start(RUN, MODEL, LOSS, np.zeros((1, 3)), method="reverse_kl")
    z, log_density = answer.draw(5, seed=2)
    covariance = answer.factor @ answer.factor.T
    away = z - answer.z[0]
    wanted = -0.5 * np.einsum("ni,ij,nj->n", away, np.linalg.inv(covariance), away)
    wanted -= 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    np.testing.assert_allclose(log_density, wanted, atol=1e-9)

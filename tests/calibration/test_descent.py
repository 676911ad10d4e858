"""The loss of a fit is that of its plan, and its minimum that of a search from many random starts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.calibration import fit_plan
from diffnum.calibration.descent import SumOfSquares
from diffnum.calibration.hosts import host_of
from diffnum.calibration.least_squares import Iterate, levenberg_marquardt
from diffnum.calibration.losses import EndpointGoal
from diffnum.calibration.rivals import Samples, endpoint_error
from diffnum.calibration.teachers import converged_samples
from diffnum.calibration.weights import SolverSpace

VP = dn.schedules.VPLinear()
MODEL = dn.problems.rotated_product(4).denoiser(VP, "noise")
ENDS = 1.0, 1e-2


def problem(nfe: int, seed: int, n: int) -> tuple[SumOfSquares, Samples]:
    """Loss from a random vector of the space: levels anywhere, weights around those of a multistep plan."""
    space = SolverSpace.native("noise", VP, ENDS, nfe)
    grid = dn.grids.uniform_half_log_snr(VP, nfe, t_start=ENDS[0], t_end=ENDS[1])
    generator = np.random.default_rng(seed)
    vector = space.vector_of(dn.plan("eab_2", VP, grid)) + generator.choice([0.1, 0.3]) * generator.standard_normal(
        space.size
    )
    levels = space.groups["levels"]
    vector[levels] = np.sort(generator.uniform(space.ends[0] + 0.3, space.ends[1] - 0.3, nfe - 1))
    samples = converged_samples(host_of(MODEL), ENDS, n, 0)
    goals = tuple(EndpointGoal(target) for target in samples.target)
    vector = np.clip(vector, *space.bounds)
    return SumOfSquares(host_of(MODEL), space, vector, samples.parts, list(samples.x), goals), samples


def test_the_loss_is_the_squared_error_of_the_plan_and_the_normal_equations_are_its_derivatives() -> None:
    found, samples = problem(3, 0, 16)
    theta = found.vector
    loss, gradient, gram = found.linearise(theta)
    assert math.sqrt(loss) == pytest.approx(endpoint_error(found.space.plan(theta), samples), rel=1e-9)
    step = 1e-6 * np.random.default_rng(1).standard_normal(len(theta))
    step[found.space.groups["times"].start] = abs(step[found.space.groups["times"].start])  # into the domain
    change = found.loss(theta + step) - loss
    assert change == pytest.approx(2.0 * float(gradient @ step) + float(step @ gram @ step), rel=1e-3)
    assert np.linalg.eigvalsh(gram).min() > -1e-9 * np.linalg.eigvalsh(gram).max()


def test_levels_out_of_order_have_no_loss() -> None:
    found, _ = problem(3, 0, 4)
    theta: Any = found.vector.copy()
    theta[:2] = theta[1::-1]
    assert found.loss(theta) == math.inf


@pytest.mark.slow
@pytest.mark.parametrize("nfe", [2, 3])
def test_a_fit_is_as_good_as_the_best_of_many_random_starts(nfe: int) -> None:
    fit = fit_plan(MODEL, nfe, n=48, t_end=ENDS[1])
    best = math.inf
    for seed in range(16):
        trial, _ = problem(nfe, seed, 48)
        now = Iterate(trial.vector, trial.loss(trial.vector), 1e-2)
        for better in levenberg_marquardt(trial, now, trial.space.bounds, iterations=60):
            now = better
        best = min(best, math.sqrt(now.loss))
    assert best < 0.5 * fit.start.error  # the search is one
    assert fit.train_error < 1.2 * best

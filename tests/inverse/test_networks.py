"""Posterior samplers on a network: its own dtype, its derivatives, and the noise of the measurement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import diffnum as dn
from diffnum.inverse import METHODS, Inverse, blur, downsample, mask, misfit, optimise_start, sample


@pytest.fixture(scope="module")
def network():
    return dn.load("toy/digits")


def planned(network, name, steps=15):
    grid = dn.grids.uniform_half_log_snr(network.schedule, steps, t_start=network.schedule.t_max, t_end=1e-3)
    return dn.plan(METHODS[name].method, network.schedule, grid)


KEPT = np.zeros((1, 8, 8), dtype=bool)
KEPT[:, :4] = True
OPERATORS = {
    "mask": mask(KEPT),
    "blur": blur(np.outer([1, 2, 1], [1, 2, 1]) / 16, (1, 8, 8)),
    "downsample": downsample((1, 8, 8), 2),
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("name", ["dds_corrected", "pigdm", "ddrm", "diffpir"])
def test_samples_explain_the_measurement_to_its_noise(network, operator, name):
    op, generator = OPERATORS[operator], torch.Generator().manual_seed(0)
    start = torch.randn(4, 1, 8, 8, generator=generator)
    truth = dn.solve(planned(network, "pigdm"), network, start).detach()
    y = op(truth) + 0.1 * torch.randn(4, *op.measured, generator=generator)
    x = sample(network, op, y, 0.1, method=name, plan=planned(network, name), x=start.flip(0), seed=1).detach()
    assert x.dtype == torch.float32
    assert x.shape == truth.shape
    assert float(((op(x) - y) ** 2).mean().sqrt()) < 0.3
    assert float(((op(start) - y) ** 2).mean().sqrt()) > 0.3


def test_the_derivative_of_the_prediction_is_that_of_differences(network):
    op, generator = OPERATORS["mask"], torch.Generator().manual_seed(0)
    problem = Inverse(network, op, torch.zeros(op.measured), 0.1)
    x, u, v = (torch.randn(1, 1, 8, 8, generator=generator) for _ in range(3))
    t, h = 0.3, 1e-2
    ends = [problem.look(x + s * h * u, t, derivative=False).data for s in (-1.0, 1.0)]
    directly = float(((ends[1] - ends[0]) / (2 * h) * v).sum())
    assert float((problem.look(x, t).pull(v) * u).sum()) == pytest.approx(directly, rel=0.05, abs=0.02)


@pytest.mark.parametrize(
    ("method", "options"),
    [("descent", {"iterations": 8}), ("surrogate", {"steps": 2, "iterations": 8}), ("candidates", {"candidates": 64})],
)
def test_starts_are_optimised_in_the_library_of_the_network(network, method, options):
    op, generator = OPERATORS["blur"], torch.Generator().manual_seed(0)
    plan = planned(network, "pigdm", 6)
    goal = op(torch.sign(torch.randn(1, 1, 8, 8, generator=generator)))[0]
    z = torch.randn(1, 1, 8, 8, generator=generator)
    graphed = optimise_start(
        plan, network, lambda e: 5 * ((op(e) - goal) ** 2).sum((1, 2, 3)), z, method=method, **options
    )
    found = optimise_start(plan, network, misfit(op, goal, 0.1**0.5), z, method=method, **options)
    assert found.z.dtype == torch.float32
    assert found.end.shape == z.shape
    assert found.objective == pytest.approx(graphed.objective, rel=0.05)
    before = float(
        misfit(op, goal, 0.1**0.5)(dn.solve(plan, network, float(plan.schedule.sigma(plan.times[0])) * z))[0]
    )
    assert found.loss < 0.7 * before

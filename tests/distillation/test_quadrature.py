"""Expectations without sampling: nodes on lines and planes, and exact pairs of data and noise."""

from __future__ import annotations

import numpy as np
import pytest

from diffnum import Gaussian
from diffnum.distillation import exact_batch, flow_map
from diffnum.distillation.quadrature import plane
from diffnum.problems import FiniteDataset, rotated_product, three_peaks
from diffnum.problems.targets import mixture_of
from diffnum.schedules import FlowMatching, VPLinear


def test_nodes_integrate_densities_and_moments_to_rounding() -> None:
    for law in (mixture_of(three_peaks()), mixture_of(rotated_product(2))):
        nodes = plane(law)
        density = nodes.weight * np.exp(law.log_prob(nodes.x))
        assert density.sum() == pytest.approx(1.0, abs=1e-12)
        assert density @ nodes.x == pytest.approx(law.weights @ law.means, abs=1e-12)


def test_a_product_written_out_is_the_same_law() -> None:
    problem = rotated_product(3)
    x = problem.sample(50, 0)
    assert np.allclose(mixture_of(problem).log_prob(x), problem.log_prob(x), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("schedule", [FlowMatching(), VPLinear()], ids=["flow", "vp-linear"])
def test_the_mean_of_conditional_velocities_is_the_velocity_of_the_flow(schedule: object) -> None:
    """Against every smooth function of the state: the property that flow matching rests on."""
    problem, pairs, t = three_peaks(), exact_batch(three_peaks()), 0.6
    x = pairs.at(schedule, t)
    gap = pairs.conditional_velocity(schedule, t) - flow_map(problem, schedule).velocity(x, t)
    assert np.abs(gap).max() > 1.0
    for test in (np.ones_like(x), np.tanh(x), np.cos(2.0 * x), x**3):
        assert abs(pairs.weights @ (gap * test)) <= 1e-11


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="exact batches are for the line"):
        exact_batch(Gaussian([0.0, 0.0], 1.0))
    with pytest.raises(TypeError, match="problem=FiniteDataset is no mixture of Gaussians"):
        exact_batch(FiniteDataset(np.zeros((2, 1))))
    with pytest.raises(ValueError, match=r"t=0.0: sigma is zero there"):
        exact_batch(three_peaks()).conditional_velocity(FlowMatching(), 0.0)
    with pytest.raises(ValueError, match=r"use a product of at most 4096"):
        mixture_of(rotated_product(12))

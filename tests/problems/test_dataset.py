"""The ideal denoiser of a finite data set: a mixture of atoms under noise, refused without noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnum.problems import FiniteDataset, GaussianMixture
from diffnum.schedules import EDM, FlowMatching, VPLinear
from diffnum.types import Problem
from tests.optional import optional

from .cases import PREDICTIONS, close, fractions, inner_time, predictions, schedules, seeds, states

torch = optional("torch")


def points(seed: int, count: int = 6, dim: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim))


@settings(max_examples=40, deadline=None)
@given(seeds, predictions, schedules, fractions, st.booleans())
def test_model_is_the_limit_of_narrow_components(seed, prediction, schedule, fraction, direct):
    atoms, t = FiniteDataset(points(seed), direct=direct), inner_time(schedule, fraction)
    narrow = GaussianMixture(np.full(6, 1 / 6), points(seed), np.full(6, 1e-12))
    x = states(atoms, schedule, t)
    close(atoms.denoiser(schedule, prediction)(x, t), narrow.denoiser(schedule, prediction)(x, t), 1e-7)


@settings(max_examples=40, deadline=None)
@given(seeds, schedules, fractions, st.booleans())
def test_predictions_are_forms_of_one_data_and_one_noise(seed, schedule, fraction, direct):
    atoms, t = FiniteDataset(points(seed), direct=direct), inner_time(schedule, fraction)
    x, alpha, sigma = states(atoms, schedule, t), schedule.alpha(t), schedule.sigma(t)
    data, noise, velocity, score, v = (atoms.denoiser(schedule, p)(x, t) for p in PREDICTIONS)
    close(alpha * data + (1 - alpha) * schedule.mean + sigma * noise, x, 1e-13)
    close(velocity, noise - data, 1e-12)
    close(sigma * score, -noise, 1e-12)
    close(v, alpha * noise - sigma * data, 1e-12)


@pytest.mark.parametrize("direct", [True, False])
def test_score_is_the_gradient_of_the_marginal_and_jvp_its_derivative(direct):
    atoms, schedule = FiniteDataset(points(0), direct=direct), VPLinear()
    x = torch.tensor(states(atoms, schedule, 0.3), requires_grad=True)
    (gradient,) = torch.autograd.grad(atoms.at(schedule, 0.3).log_prob(x).sum(), x)
    model = atoms.denoiser(schedule, "score")
    close(model(x.detach(), 0.3), gradient, 1e-11)
    u = torch.ones_like(x)
    close(model.jvp(x.detach(), 0.3, u), torch.func.jvp(lambda z: model(z, 0.3), (x.detach(),), (u,))[1], 1e-11)


def test_little_noise_finds_the_nearest_point_and_much_noise_the_mean():
    data = points(1)
    model = FiniteDataset(data).denoiser(EDM())
    near = data + 1e-6
    close(model(near, 1e-5), data, 0.0)
    close(model(near, 1e6), np.tile(data.mean(0), (6, 1)), 1e-5)


def test_images_keep_their_shape():
    atoms = FiniteDataset(points(2, dim=12).reshape(6, 3, 2, 2))
    assert isinstance(atoms, Problem)
    assert atoms.dim == 12
    x = np.zeros((4, 3, 2, 2), dtype=np.float32)
    answer = atoms.denoiser(VPLinear(), "noise")(x, 0.5)
    assert (answer.shape, answer.dtype) == (x.shape, x.dtype)


def test_flow_inverts_and_ends_near_a_point():
    atoms, schedule = FiniteDataset(points(3)), EDM()
    x = states(atoms, schedule, 5.0)
    there = atoms.flow(x, schedule, 5.0, 1e-3)
    distance = np.min(np.linalg.norm(there[:, None] - atoms.points[None], axis=2), axis=1)
    assert np.max(distance) < 1e-2
    # The way back expands a ball of radius 1e-3 to one of radius 5: rounding grows with it.
    close(atoms.flow(there, schedule, 1e-3, 5.0), x, 1e-8)


def test_samples_are_points_and_responsibilities_probabilities():
    atoms = FiniteDataset(points(4))
    drawn = atoms.sample(1000, seed=0)
    assert {tuple(row) for row in drawn} == {tuple(row) for row in atoms.points}
    found = atoms.responsibilities(drawn[:5], VPLinear(), 0.5)
    close(found.sum(1), np.ones(5), 1e-15)


def test_absence_of_noise_and_bad_points_are_refused_with_the_reason():
    atoms, x = FiniteDataset(points(5)), np.zeros((4, 3))
    for t in (0.0, np.array([0.5, 0.5, 0.0, 0.5])):
        with pytest.raises(ValueError, match=r"sigma\(t\) is 0.0 at t=.*stop at a larger time"):
            atoms.denoiser(FlowMatching(), "data")(x, t)
    with pytest.raises(ValueError, match="stop at a larger time"):
        atoms.denoiser(FlowMatching())(torch.zeros(4, 3), torch.tensor(0.0))
    for call in (
        lambda: atoms.flow(x, FlowMatching(), 1.0, 0.0),
        lambda: atoms.at(FlowMatching(), 0.0),
        lambda: atoms.responsibilities(x, FlowMatching(), 0.0),
    ):
        with pytest.raises(ValueError, match="stop at a larger time"):
            call()
    with pytest.raises(ValueError, match=r"points\[\(0, 1\)\] = inf is not finite"):
        FiniteDataset([[0.0, np.inf]])
    with pytest.raises(ValueError, match=r"points has shape \(2,\)"):
        FiniteDataset([0.0, 1.0])

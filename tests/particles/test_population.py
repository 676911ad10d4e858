"""Populations: evidence without bias, reproducible whatever the batch, resumable, and clear about bad input."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.particles import SCHEMES, Node, Population, populations, run
from diffnum.solver.noise import PopulationStreams, uniforms

SCHEDULE = dn.schedules.VPLinear()
NORMAL = dn.Gaussian([0.0], 1.0).denoiser(SCHEDULE)
MIXTURE = dn.GaussianMixture([0.3, 0.7], [[-1.0, 0.0], [1.0, 0.5]], [0.1, 0.2])
MODEL = MIXTURE.denoiser(SCHEDULE)


def planned(method: str = "sde_dpmpp_1", steps: int = 10) -> dn.Plan:
    return dn.plan(method, SCHEDULE, dn.grids.uniform_half_log_snr(SCHEDULE, steps, t_start=1.0, t_end=1e-3))


class Telescoping:
    """Log-weights that add up to ``scale`` times the last state, a part of it at every node."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, node: Node) -> np.ndarray:
        now = self.scale * node.data[:, 0]
        gained = now - node.memory.get("told", np.zeros_like(now))
        node.memory["told"] = now
        return gained


def variance_at_the_end(plan: dn.Plan) -> float:
    """Variance of the last state of a one-step method on N(0, 1), by propagation of the affine steps."""
    numbers, variance = plan.for_prediction("data"), float(SCHEDULE.sigma(1.0)) ** 2
    for step in numbers.steps:
        alpha, sigma = float(step.stage_alpha[0]), float(step.stage_sigma[0])
        factor = step.V[0, 0] + step.B[0, 0] * alpha / (alpha**2 + sigma**2)
        variance = factor**2 * variance + step.noise[0, 0] ** 2
    return float(variance)


@pytest.mark.parametrize(("scheme", "threshold"), [(s, 0.6) for s in sorted(SCHEMES)] + [("systematic", 1.0)])
def test_the_evidence_of_a_few_particles_has_no_bias(scheme, threshold):
    plan, islands = planned(), 1500
    pop = run(
        plan, NORMAL, 6 * islands, potential=Telescoping(0.8), seed=3, islands=islands, resample=scheme,
        threshold=threshold,
    )  # fmt: skip
    exact = np.exp(0.5 * 0.8**2 * variance_at_the_end(plan))
    found = np.exp(pop.island_log_evidence)
    error = found.std() / np.sqrt(islands)
    assert len(pop.resampled) >= 4
    assert abs(found.mean() - exact) < 3.0 * error
    assert error < 0.03 * exact
    # the logarithm is biased downwards, by half the relative variance: few particles show it
    assert pop.island_log_evidence.mean() < np.log(exact) - 3 * pop.island_log_evidence.std() / np.sqrt(islands)


def test_forgotten_weights_are_noticed():
    plan, islands = planned(), 1500
    pop = run(plan, NORMAL, 6 * islands, potential=Telescoping(0.8), seed=3, islands=islands, carry=False)
    mean, error = pop.estimate(lambda x: x[:, 0])
    assert abs(mean - 0.8 * variance_at_the_end(plan)) > 10 * error


def test_the_weighted_mean_is_that_of_the_tilted_law():
    plan = planned(steps=20)
    pop = run(plan, NORMAL, 20000, potential=Telescoping(1.0), seed=1)
    mean, error = pop.estimate(lambda x: x[:, 0])
    assert abs(mean - variance_at_the_end(plan)) < 3.0 * error
    assert error < 0.05
    assert 1.0 <= pop.ess <= pop.n
    assert pop.nfe == 20 * pop.n
    assert len(pop.ess_history) == 21


@pytest.mark.parametrize("method", ["sde_dpmpp_1", "sde_dpmpp_2m", "sde_trapezoid"])
def test_runs_are_the_same_whatever_the_batch_and_resume_to_the_bit(method):
    plan, potential = planned(method), Telescoping(2.0)
    whole = run(plan, MODEL, 64, potential=potential, seed=5, threshold=0.9)
    assert len(whole.resampled) > 1
    for batch in (1, 7, 64, 200):
        parts = run(plan, MODEL, 64, potential=potential, seed=5, threshold=0.9, batch=batch)
        np.testing.assert_array_equal(parts.ancestors, whole.ancestors)
        np.testing.assert_allclose(parts.x, whole.x, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(parts.log_weights, whole.log_weights, rtol=1e-11, atol=1e-11)
    for stopped in populations(plan, MODEL, 64, potential=potential, seed=5, threshold=0.9):
        if stopped.state.step == 4:
            break
    again = run(plan, MODEL, pickle.loads(pickle.dumps(stopped)), potential=potential, seed=5, threshold=0.9)
    np.testing.assert_array_equal(again.x, whole.x)
    np.testing.assert_array_equal(again.log_weights, whole.log_weights)
    np.testing.assert_array_equal(again.ancestors, whole.ancestors)
    assert (again.nfe, again.ess_history) == (whole.nfe, whole.ess_history)
    assert run(plan, MODEL, again, potential=potential, seed=5) is not None


def test_without_weights_a_population_is_a_plain_run():
    plan = planned("sde_dpmpp_2m")
    pop = run(plan, MODEL, 16, seed=2)
    start = float(SCHEDULE.sigma(1.0)) * PopulationStreams(2).start(16, (2,))
    np.testing.assert_array_equal(pop.x, dn.solve(plan, MODEL, start, noise=PopulationStreams(2)))
    assert (pop.log_evidence, pop.ess, pop.resampled) == (0.0, 16.0, ())


def test_a_particle_has_its_noise_whatever_the_population():
    like = np.empty((10, 3))
    whole = PopulationStreams(4)(3, 1, like)
    np.testing.assert_array_equal(whole[6:], PopulationStreams(4, first=6)(3, 1, like[6:]))
    others = [PopulationStreams(4)(3, 0, like), PopulationStreams(4)(2, 1, like), PopulationStreams(5)(3, 1, like)]
    assert all(np.max(np.abs(whole - other)) > 0.1 for other in others)
    many = PopulationStreams(0)(0, 0, np.empty((100000, 2)))
    assert np.abs(many.mean(axis=0)).max() < 4 / np.sqrt(100000)
    assert np.abs((many**2).mean(axis=0) - 1).max() < 4 * np.sqrt(2 / 100000)
    assert abs(np.corrcoef(many.T)[0, 1]) < 4 / np.sqrt(100000)
    assert 0.0 < uniforms(0, 0, 1000).min() < 0.02


def test_ancestry_and_draws_follow_the_weights():
    pop = run(planned(), NORMAL, 500, potential=Telescoping(2.0), seed=1, threshold=1.0)
    assert pop.ancestors.shape == (9, 500)
    assert pop.resampled == tuple(range(1, 10))
    assert 1 <= len(np.unique(pop.roots)) < 400
    x = pop.draw(4000, seed=2)
    assert abs(x.mean() - pop.weights @ pop.x[:, 0]) < 0.02
    independent = pop.draw(4000, seed=2, scheme="multinomial")
    assert abs(independent.mean() - pop.weights @ pop.x[:, 0]) < 4 * independent.std() / np.sqrt(4000)
    only = run(planned(), NORMAL, 500, potential=Telescoping(2.0), seed=1, threshold=1.0, at=[3, 6])
    assert only.resampled == (3, 6)


def test_progress_is_told_after_each_step():
    said: list[Any] = []
    run(planned(), NORMAL, 8, progress=lambda *args: said.append(args))
    assert [entry[:2] for entry in said] == [(i, 10) for i in range(1, 11)]
    assert said[-1][2] == "8 particles, 8 effective"


def test_torch_states_are_resampled_as_torch():
    torch = pytest.importorskip("torch")
    start = torch.tensor(PopulationStreams(5).start(32, (2,)))
    ours = run(planned(), MODEL, 32, x=start.numpy(), potential=Telescoping(2.0), seed=5, threshold=0.9)
    theirs = run(
        planned(), MODEL, 32, x=start, seed=5, threshold=0.9,
        potential=lambda node: 2.0 * (node.data[:, 0] - _told(node)),
    )  # fmt: skip
    np.testing.assert_allclose(theirs.x.numpy(), ours.x, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(theirs.ancestors, ours.ancestors)


def _told(node: Node) -> Any:
    before = node.memory.get("told", 0.0)
    node.memory["told"] = node.data[:, 0]
    return before


def zero(node: Node) -> np.ndarray:
    return np.full(len(node.x), -np.inf if node.step == 4 else 0.0)


def unknown(node: Node) -> np.ndarray:
    out = np.zeros(len(node.x))
    out[2] = np.nan if node.step == 3 else 0.0
    return out


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n": 1}, ValueError, "n=1: weights compare particles, so that at least 2"),
        ({"n": 8.0}, TypeError, "n=8.0 is a float"),
        ({"n": 9, "islands": 2}, ValueError, "islands=2 do not divide n=9"),
        ({"plan": planned("dpmpp_2m")}, ValueError, "'dpmpp_2m' draws no noise, so that copies .* never part"),
        ({"potential": zero}, ValueError, "all 8 weights are zero at node 4"),
        ({"potential": unknown}, ValueError, "potential returned NaN or infinity for 1 of 8 particles at node 3"),
        ({"potential": lambda node: node.x}, ValueError, r"potential returned shape \(8, 2\) at node 0"),
        ({"resample": "best"}, ValueError, "resample='best' is no scheme: use one of multinomial"),
        ({"threshold": 1.5}, ValueError, "threshold=1.5: give a share"),
        ({"batch": 0}, ValueError, "batch=0"),
        ({"seed": -1}, ValueError, "seed=-1 is out of range"),
        ({"x": [[0.0, 0.0]] * 8}, TypeError, "x is a list"),
        ({"x": np.zeros((4, 2))}, ValueError, "x has 4 samples, n=8"),
        ({"model": MIXTURE.denoiser(dn.schedules.EDM())}, ValueError, "model has the schedule"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments, error, message):
    given = {"plan": planned(), "model": MODEL, "n": 8, **arguments}
    plan, model, n = given.pop("plan"), given.pop("model"), given.pop("n")
    with pytest.raises(error, match=message):
        run(plan, model, n, **given)


def test_a_population_is_what_is_returned():
    assert isinstance(run(planned(), MODEL, 4), Population)

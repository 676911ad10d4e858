"""The audit of posterior samplers: right ones pass, each planted fault is found and named."""

from __future__ import annotations

import numpy as np
import pytest

from diffnum.inverse import Linear, audit_posterior, sample
from diffnum.inverse.audit import APPROXIMATION, FAULTS, RIGHT, UNLIKE, gaussian_task
from diffnum.particles.audit import RIGHT as WEIGHTED


def guided(task, n, seed):
    """Guidance by the package, as a user would call it."""
    return sample(
        task.models[0], Linear(task.A), task.y, task.noise_std, method="moment_matching", plan=task.plan("dpmpp_2m"),
        x=task.start(n, seed), seed=seed,
    )  # fmt: skip


@pytest.mark.slow
def test_the_consistent_sampler_passes_on_both_priors():
    found = audit_posterior(WEIGHTED["posterior"], runs=12)
    assert found.ok, found.sentences
    assert found.cause == ""


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [RIGHT, guided], ids=["planted", "sampled"])
def test_right_guidance_passes_on_the_gaussian_and_is_told_of_its_approximation(sampler):
    found = audit_posterior(sampler, n=1600, seed=1000)
    assert found.gaussian.ok, found.sentences
    assert not found.mixture.ok
    assert found.cause == APPROXIMATION
    assert found.sentences[-1] == f"likely cause: {APPROXIMATION}"


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_found_and_named(fault):
    found = audit_posterior(FAULTS[fault], runs=8, n=600, seed=1000)
    assert not found.ok, found.sentences
    assert found.cause == fault, found.sentences


@pytest.mark.slow
def test_a_fault_that_is_like_none_of_them_is_found_and_not_named():
    def narrow(task, n, seed):
        return sample(
            task.models[0], Linear(task.A), task.y, task.noise_std, method="moment_matching", seed=seed,
            plan=task.plan("dpmpp_2m"), x=0.7 * task.start(n, seed),
        )  # fmt: skip

    found = audit_posterior(narrow, runs=8, n=600, seed=1000)
    assert not found.ok
    assert found.cause == UNLIKE


def test_the_task_is_the_posterior_at_its_last_node():
    task = gaussian_task(20)
    x = RIGHT(gaussian_task(120), 4000, 1)
    found = np.array([*x.mean(0), (x[:, 0] ** 2).mean(), (x[:, 0] * x[:, 1]).mean(), (x[:, 1] ** 2).mean()])
    np.testing.assert_allclose(found, task.exact, atol=0.08)
    assert task.A.shape == (1, 2)


@pytest.mark.parametrize(
    ("sampler", "error", "message"),
    [
        (
            lambda task, n, seed: np.zeros((n, 1)),
            TypeError,
            r"states of shape \(800, 1\): return x of shape \(800, 2\)",
        ),
        (lambda task, n, seed: np.full((n, 2), np.nan), ValueError, "not finite"),
    ],
)
def test_what_a_sampler_must_not_return_is_named(sampler, error, message):
    with pytest.raises(error, match=message):
        audit_posterior(sampler)


def test_counts_that_decide_nothing_are_refused():
    with pytest.raises(ValueError, match="runs=2: give increasing step counts"):
        audit_posterior(guided, runs=2)

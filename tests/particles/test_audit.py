"""The audit of weighted samplers: right ones pass, each planted defect is found and named."""

from __future__ import annotations

import numpy as np
import pytest

from diffnum.particles.audit import DEFECTS, RIGHT, TARGETS, TargetTask, audit_target

PAIRS = [(target, defect) for target, defects in DEFECTS.items() for defect in defects]


@pytest.mark.parametrize("target", TARGETS)
def test_right_samplers_pass(target):
    found = audit_target(RIGHT[target], target, runs=12)
    assert found.ok, found.sentences
    assert found.cause == ""
    assert found.names[-1] == "log evidence"


@pytest.mark.slow
@pytest.mark.parametrize(("target", "defect"), PAIRS)
def test_each_planted_defect_is_found_and_named(target, defect):
    found = audit_target(DEFECTS[target][defect], target, runs=12, seed=1000)
    assert not found.ok, found.sentences
    assert found.cause == defect, found.sentences
    assert found.sentences[-1] == f"likely cause: {defect}"


def own(task: TargetTask, n: int, seed: int) -> np.ndarray:
    """Ancestral sampling by hand, without any weights: what a user might pass."""
    rng, x = np.random.default_rng(seed), task.start(n, seed)
    for t, s in zip(task.times[:-1], task.times[1:], strict=True):
        a, b = float(task.schedule.alpha(t)), float(task.schedule.sigma(t))
        c, d = float(task.schedule.alpha(s)), float(task.schedule.sigma(s))
        left = (a * d / (b * c)) ** 2
        x = (d / b) ** 2 * (a / c) * x + c * (1 - left) * task.models[0](x, float(t))
        x = x + d * np.sqrt(1 - left) * rng.standard_normal(x.shape)
    return x


@pytest.mark.slow
def test_a_sampler_of_ones_own_that_forgets_its_weights_is_told_so():
    found = audit_target(own, "tilted", runs=12)
    assert not found.ok
    assert found.cause == "weights dropped"
    assert len(found.found) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target": "square"}, ValueError, "target='square' is unknown: use one of tilted, power"),
        ({"target": "power", "runs": 2}, ValueError, "runs=2"),
        ({"target": "power", "steps": (20, 10)}, ValueError, r"steps=\(20, 10\)"),
    ],
)
def test_what_cannot_be_audited_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        audit_target(own, **arguments)


@pytest.mark.parametrize(
    ("sampler", "error", "message"),
    [
        (lambda task, n, seed: np.zeros(n), TypeError, r"states of shape \(800,\)"),
        (lambda task, n, seed: (np.zeros((n, 1)), np.zeros(3)), TypeError, "return x of shape"),
        (lambda task, n, seed: np.full((n, 1), np.nan), ValueError, "not finite"),
        (lambda task, n, seed: (np.zeros((n, 1)), np.full(n, -np.inf)), ValueError, "all zero"),
    ],
)
def test_what_a_sampler_must_not_return_is_named(sampler, error, message):
    with pytest.raises(error, match=message):
        audit_target(sampler, "tilted")

"""The audit of weighted samplers: right ones pass, each planted defect is found and named."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from diffnum.particles.audit import DEFECTS, RIGHT, TARGETS, TargetTask, _planted, audit_target

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


def test_a_second_audit_with_the_same_counts_measures_no_defect_again():
    def audited(seed):
        return audit_target(own, "tilted", steps=(4, 8), n=60, runs=4, seed=seed)

    first = audited(0)
    before = _planted.cache_info().misses
    assert not first.ok
    assert audited(0) == first
    assert _planted.cache_info().misses == before
    audited(1)
    assert _planted.cache_info().misses > before


# Written apart from the package, in numpy alone: a sampler with a reward, and one of combined scores, each with ways to
# be wrong. Not the planted defects: other sizes, other steps, other bookkeeping.


def steps_of(task: TargetTask) -> Iterator[tuple[float, float, float, float, float, float]]:
    for t, s in pairwise(task.times.tolist()):
        yield t, s, *(float(f(u)) for u in (t, s) for f in (task.schedule.alpha, task.schedule.sigma))


def rewarded(task, n, seed, *, scale=None, last=True, noise=1.0, growth=True, end=1.0):
    """SMC with rewards of the predicted data at every tenth step up to a share of the run, and at the end."""
    rng, x = np.random.default_rng(seed), task.start(n, seed)
    scale = task.scale if scale is None else scale
    logs, old, evidence, count = np.zeros(n), np.zeros(n), 0.0, len(task.times) - 1
    for k, (t, _, a, b, c, d) in enumerate(steps_of(task)):
        data, left = task.models[0](x, t), (a * d / (b * c)) ** 2
        x = (d / b) ** 2 * (a / c) * x + c * (1 - left) * data
        x = x + noise * d * np.sqrt(1 - left) * rng.standard_normal(x.shape)
        if k % 10 == 9 and k + 1 <= end * count and k + 1 < count:
            value = scale * task.reward(data)
            logs, old = logs + value - growth * old, value
            w = np.exp(logs - logs.max())
            evidence += logs.max() + np.log(w.mean())
            chosen = np.searchsorted(np.cumsum(w) / w.sum() * (1 + 1e-12), (np.arange(n) + rng.random()) / n)
            x, old, logs = x[chosen], old[chosen], np.zeros(n)
    if last:
        logs = logs + scale * task.reward(x) - growth * old
    return x, logs, evidence + np.log(np.mean(np.exp(logs)))


def greedy(task, n, seed):
    """The best of three proposals in each step."""
    rng, x = np.random.default_rng(seed), task.start(n, seed)
    for t, s, a, b, c, d in steps_of(task):
        left = (a * d / (b * c)) ** 2
        mean = (d / b) ** 2 * (a / c) * x + c * (1 - left) * task.models[0](x, t)
        y = mean + d * np.sqrt(1 - left) * rng.standard_normal((3, n, 1))
        x = y[np.argmax([task.reward(task.models[0](z, s)) for z in y], axis=0), np.arange(n)]
    return x


def combined(task, n, seed, *, rate=1.0, divergence=1.0, noise=1.0, weighted=True):
    """Euler-Maruyama in half-log-SNR with the combined noise prediction, weights summed and never resampled."""
    rng, x = np.random.default_rng(seed), task.start(n, seed)
    powers, logs = np.array(task.exponents), np.zeros(n)
    for k, (t, _, a, b, c, _) in enumerate(steps_of(task)):
        h = task.nodes[k + 1] - task.nodes[k]
        each = [(x - a * model(x, t)) / b for model in task.models]
        whole = sum(p * e for p, e in zip(powers, each, strict=True))
        square = (whole**2).sum(1) - sum(p * (e**2).sum(1) for p, e in zip(powers, each, strict=True))
        logs += rate * square * h - divergence * (powers.sum() - 1) * (np.log(c) - np.log(a))
        x = c / a * (x - 2 * b * h * whole + noise * b * np.sqrt(2 * h) * rng.standard_normal(x.shape))
    return (x, logs, logs.max() + np.log(np.mean(np.exp(logs - logs.max())))) if weighted else x


def once(task, n, seed):
    """Plain samples, weighed once at the end, in float32 and with weights off by a factor."""
    x = own(task, n, seed).astype(np.float32)
    return x, (task.scale * task.reward(x) + 50.0).astype(np.float32)


def rejected(task, n, seed):
    """Rejection: no weights are returned, because none are needed."""
    rng, kept = np.random.default_rng(seed + 10**6), np.empty((0, 1))
    for k in range(10**4):
        x = own(task, 4 * n, 1000 * seed + k)
        kept = np.concatenate([kept, x[rng.random(4 * n) < np.exp(task.scale * np.minimum(x[:, 0] - 3.5, 0.0))]])
        if len(kept) >= n:
            break
    return kept[:n]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "sampler", "cause"),
    [
        ("tilted", own, "weights dropped"),
        ("tilted", partial(rewarded, last=False, end=0.5), "last increment dropped"),
        ("tilted", partial(rewarded, scale=1.6), "wrong potential"),
        ("tilted", partial(rewarded, growth=False), "wrong potential"),
        ("tilted", partial(rewarded, noise=0.8), "noise not rescaled"),
        ("tilted", greedy, "argmax for multinomial"),
        ("power", partial(combined, weighted=False), "weights dropped"),
        ("power", partial(combined, rate=2.0), "wrong potential"),
        ("power", partial(combined, divergence=0.0), "missing divergence term"),
        ("power", partial(combined, noise=2**-0.5), "noise not rescaled"),
        ("product", partial(combined, divergence=0.0), "missing divergence term"),
    ],
)
def test_faults_of_samplers_from_elsewhere_are_found_and_named(target, sampler, cause):
    found = audit_target(sampler, target, runs=12)
    assert not found.ok, found.sentences
    assert found.cause == cause, found.sentences


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "sampler"),
    [("tilted", once), ("tilted", rejected), ("tilted", rewarded), ("power", combined), ("product", combined)],
)
def test_right_samplers_of_unusual_style_pass(target, sampler):
    found = audit_target(sampler, target)
    assert found.ok, found.sentences


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

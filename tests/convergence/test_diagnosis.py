"""Planted defects in hand-written samplers are found, and found where they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.convergence.checks import check_sampler
from diffnum.convergence.diagnosis import diagnose
from diffnum.convergence.oracle import Oracle
from diffnum.grids import from_half_log_snr
from diffnum.plans import plan
from diffnum.problems import three_peaks
from diffnum.schedules import VPLinear
from diffnum.solver import solve


def levels(model: Any, lam: float) -> tuple[float, float]:
    t = model.schedule.time(lam)
    return float(model.schedule.alpha(t)), float(model.schedule.sigma(t))


def two_step(model: Any, x: Any, nodes: Any, bad: str = "") -> Any:
    """DPM-Solver++(2M), or what is left of it after a defect."""
    history: list[tuple[float, Any]] = []
    last = len(nodes) - 2
    for i, (a, b) in enumerate(pairwise(nodes)):
        asked = a
        if bad == "rounded times":
            t = np.round(float(model.schedule.time(a)) * 1000) / 1000
            asked = float(model.schedule.half_log_snr(t))
        elif bad == "levels of two digits":
            asked = round(a, 2)
        elif bad == "model at the end of the step":
            asked = b
        data = model.data(x, asked)
        if bad == "float32 model":
            data = data.astype(np.float32).astype(np.float64)
        h = b - a
        (alpha0, sigma0), (alpha1, sigma1) = levels(model, a), levels(model, b)
        if bad == "swapped alphas":
            alpha0, alpha1 = alpha1, alpha0
        weight = -np.expm1(-h)
        if bad == "sign of h":
            weight = np.expm1(h)
        if bad == "truncated exponential":
            weight = h
        mixed = data
        if history:
            before, old = history[-1]
            if bad == "stale history" and len(history) > 1:
                before, old = a - (a - history[-1][0]), history[-2][1]
            r = (a - before) / h
            if bad == "inverse r":
                r = 1 / r
            if bad == "r of the step before" and len(history) > 1:
                r = (history[-1][0] - history[-2][0]) / h
            if bad == "equal steps assumed":
                r = 1.0
            factor = {"missing half": 1.0, "sign of the difference": -0.5, "factor off by 5 %": 0.525}.get(bad, 0.5)
            mixed = data + factor / r * (data - old)
        if bad == "Euler last step" and i == last:
            mixed = data
        if bad == "last step to the data" and i == last:
            return alpha1 * data + 0 * x
        if bad == "start with zero slope" and not history:
            mixed = 0.5 * data
        ratio = sigma1 / sigma0
        if bad == "scale of alpha":
            ratio = alpha1 / alpha0
        if bad == "float32 coefficients":
            weight, ratio = float(np.float32(weight)), float(np.float32(ratio))
        if bad == "float32 state":
            x = x.astype(np.float32).astype(np.float64)
        new = ratio * x + alpha1 * weight * mixed
        if bad == "duplicated step" and i == 5:
            new = ratio * new + alpha1 * weight * mixed
        if bad == "skipped step" and i == 5:
            new = x
        history.append((a, data))
        x = new
    return x


def heun(model: Any, x: Any, nodes: Any, bad: str = "") -> Any:
    """Heun in sigma / alpha, or what is left of it."""
    alpha, _ = levels(model, nodes[0])
    y = x / alpha
    last = len(nodes) - 2
    for i, (a, b) in enumerate(pairwise(nodes)):
        (alpha0, _), (alpha1, _) = levels(model, a), levels(model, b)
        step = np.exp(-b) - np.exp(-a)
        first = model.noise(alpha0 * y, a)
        if bad == "Euler on the last step" and i == last:
            y = y + step * first
            continue
        predicted = y + step * first
        if bad == "predictor of half a step":
            predicted = y + 0.5 * step * first
        where = a if bad == "second stage at the old level" else b
        second = model.noise(alpha1 * predicted, where)
        weight = 0.4 if bad == "weight 0.4" else 0.5
        y = y + step * ((1 - weight) * first + weight * second)
    return levels(model, nodes[-1])[0] * y


def three_step(model: Any, x: Any, nodes: Any, bad: str = "") -> Any:
    """Third-order multistep with a start that loses nothing on graded nodes."""
    past: list[tuple[float, Any]] = []
    for a, b in pairwise(nodes):
        (_, sigma0), (alpha1, sigma1) = levels(model, a), levels(model, b)
        h, data = b - a, model.data(x, a)
        e1 = -np.expm1(-h)
        e2 = h - e1
        e3 = h * h / 2 - e2
        slope, curve = 0.0 * data, 0.0 * data
        if len(past) > 0:
            slope = (data - past[-1][1]) / (a - past[-1][0])
        if len(past) > 1:
            older = (past[-1][1] - past[-2][1]) / (past[-1][0] - past[-2][0])
            second = (slope - older) / (a - past[-2][0])
            slope = slope + (a - past[-1][0]) * second
            curve = second if bad == "halved second difference" else 2 * second
        x = sigma1 / sigma0 * x + alpha1 * (e1 * data + e2 * slope + e3 * curve)
        past.append((a, data))
    return x


DEFECTS: list[tuple[Callable[..., Any], float, str, str]] = [
    (two_step, 2, "missing half", "formula"),
    (two_step, 2, "sign of the difference", "formula"),
    (two_step, 2, "factor off by 5 %", "formula"),
    (two_step, 2, "stale history", "formula"),
    (two_step, 2, "r of the step before", "formula"),
    (two_step, 2, "equal steps assumed", "formula"),
    (two_step, 2, "sign of h", "formula"),
    (two_step, 2, "truncated exponential", "formula"),
    (two_step, 2, "swapped alphas", "formula"),
    (two_step, 2, "scale of alpha", "formula"),
    (two_step, 2, "model at the end of the step", "formula"),
    (two_step, 2, "start with zero slope", "start-up"),
    (two_step, 2, "last step to the data", "last step"),
    (two_step, 2, "rounded times", "time rounding"),
    (two_step, 2, "levels of two digits", "time rounding"),
    (two_step, 2, "float32 coefficients", "precision"),
    (two_step, 2, "float32 state", "precision"),
    (two_step, 2, "float32 model", "precision"),
    (two_step, 2, "duplicated step", "start-up"),
    (two_step, 2, "skipped step", "start-up"),
    (heun, 2, "weight 0.4", "formula"),
    (heun, 2, "predictor of half a step", "formula"),
    (heun, 2, "second stage at the old level", "formula"),
    (three_step, 3, "halved second difference", "formula"),
    (three_step, 3, "", "start-up"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "order", "bad", "part"), DEFECTS, ids=[f"{d[0].__name__}: {d[2]}" for d in DEFECTS]
)
def test_a_planted_defect_is_found_where_it_is(sampler: Any, order: float, bad: str, part: str) -> None:
    found = diagnose(partial(sampler, bad=bad), order)
    assert not found.ok
    assert found.parts[0] == part, str(found)


@pytest.mark.parametrize(("sampler", "order"), [(two_step, 2), (heun, 2)])
def test_a_faultless_sampler_is_found_faultless(sampler: Any, order: float) -> None:
    found = diagnose(sampler, order)
    assert found.ok, str(found)


def as_sampler(name: str) -> Callable[..., Any]:
    """Method of the catalogue as a black box."""

    def run(model: Any, x: Any, nodes: Any) -> Any:
        numbers = plan(name, model.schedule, from_half_log_snr(model.schedule, nodes))
        return solve(numbers, model.denoiser(numbers.prediction), x)

    run.__name__ = name
    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "dpmpp_2s", "edm_heun", "unipc_2_bh2"])
def test_catalogue_methods_raise_no_false_alarm(name: str) -> None:
    record = dn.method(name)
    found = diagnose(as_sampler(name), record.order_with_startup)
    assert not {"time rounding", "precision", "formula", "start-up"} & set(found.parts), str(found)


def test_an_error_that_telescopes_keeps_the_order_and_is_named_by_the_probe() -> None:
    # r instead of 1 / r: the defects (h_n^2 - h_{n-1}^2) y' / 2 add up to boundary terms.
    inverse = partial(two_step, bad="inverse r")
    assert diagnose(inverse, 2).ok
    assert not dn.probe(inverse).compare("dpmpp_2m").ok


def test_a_weight_that_is_off_is_named_with_its_size() -> None:
    assert "the weight of k1" in str(diagnose(partial(two_step, bad="factor off by 5 %"), 2))


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle(three_peaks(), VPLinear(), (-2.0, 2.0), 4, 0)


def mutating(model: Any, x: Any, nodes: Any) -> Any:
    result = two_step(model, x.copy(), nodes)
    x *= 2.0
    return result


def mutating_nodes(model: Any, x: Any, nodes: Any) -> Any:
    result = two_step(model, x, nodes)
    nodes[0] = 0.0
    return result


def random(model: Any, x: Any, nodes: Any) -> Any:
    return two_step(model, x, nodes) + 1e-3 * np.random.default_rng().standard_normal(x.shape)


def calls_in_vain(model: Any, x: Any, nodes: Any) -> Any:
    for lam in nodes:
        model.data(x, lam)
    return 0.5 * x


def seeded(model: Any, x: Any, nodes: Any) -> Any:
    """The one above with its seed fixed inside: repeatable, and random all the same."""
    return two_step(model, x, nodes) + 0.01 * np.random.default_rng(0).standard_normal(x.shape)


def returns_nothing(model: Any, x: Any, nodes: Any) -> None:
    return None


def returns_its_input(model: Any, x: Any, nodes: Any) -> Any:
    return x


@pytest.mark.parametrize(
    ("sampler", "error", "message"),
    [
        (lambda model, x, nodes: two_step(model, x, nodes)[:2], ValueError, r"returned shape \(2, 1\)"),
        (lambda model, x, nodes: two_step(model, x, nodes).astype(np.float32), TypeError, "returned dtype float32"),
        (lambda model, x, nodes: two_step(model, x, nodes) * np.nan, ValueError, "NaN or infinite"),
        (returns_nothing, TypeError, "returned a NoneType"),
        (returns_its_input, ValueError, "never calls the model"),
        (calls_in_vain, ValueError, "ignores the model: it calls it 9 times"),
        (mutating, ValueError, "writes into its input x"),
        (mutating_nodes, ValueError, "writes into its input nodes"),
        (random, ValueError, r"is random: two runs on the same input differ .* turn its noise off \(eta = 0\)"),
        (seeded, ValueError, r"adds noise of its own: .* a seed inside .* turn the noise off \(eta = 0\)"),
    ],
)
def test_a_sampler_that_breaks_the_convention_is_told_how(
    sampler: Any, error: type[Exception], message: str, oracle: Oracle
) -> None:
    with pytest.raises(error, match=message):
        check_sampler(sampler, oracle)


def test_a_sampler_that_keeps_the_convention_passes(oracle: Oracle) -> None:
    check_sampler(two_step, oracle)

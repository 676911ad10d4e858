"""Judgement of samplers: what is planted is found where it is, what is right is not accused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from diffnum.convergence.checks import check_sampler
from diffnum.convergence.counts import class_of
from diffnum.convergence.judgement import judge
from diffnum.convergence.oracle import Oracle
from diffnum.grids import from_half_log_snr
from diffnum.plans import plan
from diffnum.problems import three_peaks
from diffnum.schedules import VPLinear
from diffnum.solver import solve

PEAKS = three_peaks()


def euler(model: Any, x: Any, a: float, b: float) -> Any:
    """A step of DDIM with the data prediction."""
    s = model.schedule
    (ta, tb) = s.time(a), s.time(b)
    return s.sigma(tb) / s.sigma(ta) * x - s.alpha(tb) * np.expm1(a - b) * model.data(x, a)


def two_step(model: Any, x: Any, nodes: Any, last: Callable[[int], bool] = lambda n: False) -> Any:
    """DPM-Solver++(2M); its last step is lost where ``last`` says so."""
    s, old = model.schedule, None
    for i, (a, b) in enumerate(pairwise(nodes)):
        (ta, tb), h = (s.time(a), s.time(b)), b - a
        data = model.data(x, a)
        mixed = data if old is None else data + (data - old[1]) * h / (2 * (a - old[0]))
        if i == len(nodes) - 2 and last(len(nodes) - 1):
            mixed = 0.5 * data
        x = s.sigma(tb) / s.sigma(ta) * x - s.alpha(tb) * np.expm1(-h) * mixed
        old = (a, data)
    return x


def by_class(n: int) -> bool:
    return n % 3 != 2


def odd_counts(model: Any, x: Any, nodes: Any) -> Any:
    return two_step(model, x, nodes, lambda n: n % 2 == 1)


def tail_by_three(model: Any, x: Any, nodes: Any) -> Any:
    return two_step(model, x, nodes, by_class)


def skips_a_step_of_long_runs(model: Any, x: Any, nodes: Any) -> Any:
    if len(nodes) > 51:
        nodes = np.delete(nodes, 7)
        return two_step(model, euler(model, x, nodes[0], nodes[0] + 1e-9), nodes) + 1e-3
    return two_step(model, x, nodes)


def crashes_on_two(model: Any, x: Any, nodes: Any) -> Any:
    _ = nodes[3]
    return two_step(model, x, nodes)


def own_grid(model: Any, x: Any, nodes: Any) -> Any:
    even = np.linspace(np.exp(-nodes[0] / 3), np.exp(-nodes[-1] / 3), len(nodes))
    return two_step(model, x, -3 * np.log(even))


def ends_early(model: Any, x: Any, nodes: Any) -> Any:
    return two_step(model, x, nodes - np.linspace(0, 1e-3, len(nodes)))


def constant_steps(model: Any, x: Any, nodes: Any, start: int = 2) -> Any:
    """Exponential Adams-Bashforth of two steps with the weights of equal steps."""
    s, old = model.schedule, None
    for a, b in pairwise(nodes):
        (ta, tb), data = (s.time(a), s.time(b)), model.data(x, a)
        mixed = data if old is None else 1.5 * data - 0.5 * old
        if old is None and start == 0:
            mixed = 0.5 * data
        x = s.sigma(tb) / s.sigma(ta) * x - s.alpha(tb) * np.expm1(a - b) * mixed
        old = data
    return x


def three_step(model: Any, x: Any, nodes: Any) -> Any:
    """Third-order multistep method that starts with Euler's method."""
    s, past = model.schedule, []
    for a, b in pairwise(nodes):
        (ta, tb), h, data = (s.time(a), s.time(b)), b - a, model.data(x, a)
        e1 = -np.expm1(-h)
        e2 = h - e1
        e3 = h * h / 2 - e2
        slope, curve = 0.0 * data, 0.0 * data
        if past:
            slope = (data - past[-1][1]) / (a - past[-1][0])
        if len(past) > 1:
            older = (past[-1][1] - past[-2][1]) / (past[-1][0] - past[-2][0])
            second = (slope - older) / (a - past[-2][0])
            slope, curve = slope + (a - past[-1][0]) * second, 2 * second
        x = s.sigma(tb) / s.sigma(ta) * x + s.alpha(tb) * (e1 * data + e2 * slope + e3 * curve)
        past.append((a, data))
    return x


def catalogue(name: str, start: Any = None) -> Callable[..., Any]:
    """Method of the catalogue as a black box."""

    def run(model: Any, x: Any, nodes: Any) -> Any:
        numbers = plan(name, model.schedule, from_half_log_snr(model.schedule, nodes), start=start)
        return solve(numbers, model.denoiser(numbers.prediction), x)

    run.__name__ = name
    return run


def uniform(sampler: Any, order: float, **more: Any) -> Any:
    return judge(sampler, order, PEAKS, grids=("uniform",), **more)


@pytest.mark.parametrize(
    ("sampler", "order", "part", "word"),
    [
        (odd_counts, 2, "last step", "odd numbers of steps"),
        (tail_by_three, 2, "last step", "only numbers of steps n with n % 3 = 0 or 1 do so"),
        (skips_a_step_of_long_runs, 2, "numbers of steps", "from 51 steps on"),
        (crashes_on_two, 2, "few steps", "on 1, 2 steps it raises IndexError"),
        (ends_early, 2, "last level", "it ends at half-log-SNR 1.99"),
        (three_step, 3, "start-up", "lowers the order to 2"),
    ],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_a_planted_defect_is_blamed_first(sampler: Any, order: float, part: str, word: str) -> None:
    found = uniform(sampler, order)
    assert found.verdict == "fails"
    assert found.parts[0] == part, str(found)
    assert word in "\n".join(found.sentences)
    assert f"look at the {part}" in found.summary


def test_nodes_that_are_ignored_are_told() -> None:
    found = judge(own_grid, 2, PEAKS, grids=("irregular",), steps=(24, 48, 96, 192))
    assert found.ok or found.parts[0] == "nodes", str(found)
    assert not judge(two_step, 2, PEAKS, grids=("irregular",)).parts


@pytest.mark.parametrize("name", ["rho_rk_dopri5", "eab_5"])
def test_right_samplers_of_order_five_are_accepted(name: str) -> None:
    found = uniform(catalogue(name, "high_order" if name == "eab_5" else None), 5)
    assert found.verdict in ("holds", "undecided"), str(found)
    assert found.ok or name == "eab_5", str(found)


def test_equal_steps_are_accepted_where_only_they_are_asked_for() -> None:
    assert uniform(constant_steps, 2).ok
    irregular = judge(constant_steps, 2, PEAKS, grids=("irregular",))
    assert irregular.parts[0] == "formula"


def test_a_higher_order_than_claimed_is_told_as_such() -> None:
    found = uniform(two_step, 1)
    assert found.parts == ("order",)
    assert "higher than claimed: 2 on uniform grids" in found.sentences[0]


def test_equal_steps_of_another_clock_are_tried() -> None:
    def heun_in_sigma(model: Any, x: Any, nodes: Any) -> Any:
        s = model.schedule
        y = x / s.alpha(s.time(nodes[0]))
        rho = np.exp(-nodes)
        step = rho[1] - rho[0]  # made for equal steps
        for a, b in pairwise(nodes):
            first = model.noise(s.alpha(s.time(a)) * y, a)
            second = model.noise(s.alpha(s.time(b)) * (y + step * first), b)
            y = y + step * (first + second) / 2
        return s.alpha(s.time(nodes[-1])) * y

    assert uniform(heun_in_sigma, 2, clock="sigma", interval=(-1.0, 1.0)).ok
    assert not uniform(heun_in_sigma, 2, steps=(24, 48, 96, 192)).ok
    with pytest.raises(ValueError, match="clock='x' is unknown: use one of half-log-snr, sigma, flow-time"):
        judge(two_step, 2, clock="x")  # type: ignore[arg-type]


def test_images_are_tried_and_can_be_asked_for() -> None:
    def flat_only(model: Any, x: Any, sigmas: Any) -> Any:
        for s, t in pairwise(sigmas):
            ratio = (t / s * x.new_ones(len(x)))[:, None]
            x = ratio * x + (1 - ratio) * model(x, s)
        return x

    pytest.importorskip("torch")
    found = uniform(flat_only, 1, steps=(24, 48, 96, 192))
    assert found.parts == ("image shapes",), str(found)

    def images_only(model: Any, x: Any, nodes: Any) -> Any:
        if x.ndim != 4:
            msg = "images, please"
            raise IndexError(msg)
        return two_step(model, x, nodes)

    assert judge(images_only, 2, grids=("uniform",), shape=(1, 2, 2), steps=(24, 48, 96, 192)).ok


def test_an_end_without_noise_is_tried() -> None:
    def through_logarithms(model: Any, x: Any, sigmas: Any) -> Any:
        for s, t in pairwise(sigmas):
            ratio = (t.log() - s.log()).exp() if t > 0 else (t.log() - t.log()).exp()
            x = ratio * x + (1 - ratio) * model(x, s)
        return x

    pytest.importorskip("torch")
    found = uniform(through_logarithms, 1, steps=(24, 48, 96, 192))
    assert found.parts == ("end at zero noise",), str(found)


ORACLE = Oracle(PEAKS, VPLinear(), (-2.0, 2.0), 4, 0)


def leaves(model: Any, x: Any, nodes: Any) -> Any:
    sys.exit(0)


def test_a_sampler_that_leaves_the_program_is_told() -> None:
    with pytest.raises(ValueError, match=r"leaves the program with sys\.exit\(0\)"):
        check_sampler(leaves, ORACLE)


def test_a_sampler_that_remembers_is_told_apart_from_a_random_one() -> None:
    last: list[Any] = []

    def remembers(model: Any, x: Any, nodes: Any) -> Any:
        end = two_step(model, x, nodes) + sum(0.1 * y for y in last)
        last[:] = [end]
        return end

    def counts(model: Any, x: Any, nodes: Any) -> Any:
        last.append(0 * x)
        return len(last) * two_step(model, x, nodes)

    def draws(model: Any, x: Any, nodes: Any) -> Any:
        return two_step(model, x, nodes) * (1 + 1e-3 * np.random.standard_normal())  # noqa: NPY002

    def adds(model: Any, x: Any, nodes: Any) -> Any:
        return two_step(model, x, nodes) + 1e-3 * np.random.default_rng().standard_normal(x.shape)

    for sampler in (remembers, counts):
        last.clear()
        with pytest.raises(ValueError, match="remembers its last run"):
            check_sampler(sampler, ORACLE)
    for sampler in (draws, adds):
        with pytest.raises(ValueError, match="is random"):
            check_sampler(sampler, ORACLE)


@pytest.mark.parametrize("order", [float("nan"), float("inf"), -1.0, 0.0])
def test_an_order_that_cannot_be_claimed_is_refused(order: float) -> None:
    with pytest.raises(ValueError, match="is no order that can be claimed"):
        judge(two_step, order)


def test_a_function_of_other_arguments_is_told_what_is_expected() -> None:
    with pytest.raises(TypeError, match="write a function of a model, a state and nodes of half-log-SNR"):
        check_sampler(lambda x: x, ORACLE)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("residues", "words"),
    [
        ([1, 3, 5, 7, 9, 11], "odd numbers of steps"),
        ([1, 2, 4, 5, 7, 8, 10, 11], "numbers of steps n with n % 3 = 1 or 2"),
        ([3, 7, 11], "numbers of steps n with n % 4 = 3"),
        ([5], "numbers of steps n with n % 12 = 5"),
    ],
)
def test_classes_are_named_in_the_plainest_words(residues: list[int], words: str) -> None:
    assert class_of(residues) == words

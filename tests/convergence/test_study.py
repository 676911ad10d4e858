"""The order study: right verdicts on every catalogue method, and on samplers that are wrong on purpose."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import diffnum as dn
from diffnum.convergence.nodes import GRADED, fractions, graded
from diffnum.convergence.study import convergence_study
from diffnum.proofs import prove
from diffnum.tableau import Stage, Step, Vector

FAST = {"points": 6, "problem": dn.problems.three_peaks()}


def my_ddim(model, x, nodes):
    for lam, following in pairwise(nodes):
        alpha, sigma = (float(getattr(model.schedule, f)(model.time(following))) for f in ("alpha", "sigma"))
        before = float(model.schedule.sigma(model.time(lam)))
        x = sigma / before * x - alpha * np.expm1(lam - following) * model.data(x, lam)
    return x


def my_2m(model, x, nodes, scale=1.0):
    old = None
    for i, (lam, following) in enumerate(pairwise(nodes)):
        h = following - lam
        alpha, sigma = (float(getattr(model.schedule, f)(model.time(following))) for f in ("alpha", "sigma"))
        before = float(model.schedule.sigma(model.time(lam)))
        data = model.data(x, lam)
        slope = 0.0 if old is None else (data - old) * h / (lam - nodes[i - 1])
        x = sigma / before * x - alpha * np.expm1(-h) * (data + scale * 0.5 * slope)
        old = data
    return x


def with_perturbed_weight(method, row, source, factor):
    """Method whose rule has one weight multiplied by a factor."""

    def change(name, vector):
        if name != row or source not in vector:
            return vector
        return Vector({k: w * factor if k == source else w for k, w in vector.items()})

    def rule(window, order):
        step = method.rule(window, order)
        stages = tuple(Stage(s.node, change(f"k{i}", s.value)) for i, s in enumerate(step.stages, start=1))
        return Step(stages, change("x", step.x), {k: change(k, v) for k, v in step.memory.items()})

    return replace(method, rule=rule)


def weights_of(method):
    """All (row, source) pairs of the rule at its full order that are not exactly zero."""
    placements = method.programme(method.exact_steps + 2, start="exact" if method.depth else None, continues=True)
    step = placements[-1].rehearse()
    return [(name, source) for name, _, row in step.rows() for source, weight in row.items() if weight != 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(dn.methods()))
def test_every_method_has_the_order_of_its_record_on_every_kind_of_grid(name):
    study = convergence_study(name, **FAST)
    assert study.orders == study.expected, study
    for kind, rate in study.local_rates.items():
        assert rate is not None, study
        assert rate > study.expected[kind] + 1 - 0.25, study


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "dpmpp_3m", "dpmpp_3m_corrected"])
def test_the_order_with_startup_is_that_of_the_record(name):
    study = convergence_study(name, grids=("uniform",), measures=("global",), **FAST)
    assert study.order_with_startup == dn.method(name).order_with_startup, study


def test_a_ramped_start_is_said_to_lower_the_order_of_a_third_order_formula():
    study = convergence_study("dpmpp_3m_corrected", grids=("uniform",), measures=("global",), **FAST)
    assert study.order == 3
    assert study.order_with_startup == 2
    assert "2 with start-up and last step as shipped" in study.verdict


def test_a_callable_is_measured_and_asserted():
    study = dn.convergence_study(my_2m, **FAST)
    study.assert_order(2)
    with pytest.raises(AssertionError, match="order 3 REJECTED"):
        study.assert_order(3)
    with pytest.raises(AssertionError, match="order 1 REJECTED"):
        study.assert_order(1)


def test_a_first_order_callable_is_not_taken_for_second_order():
    study = dn.convergence_study(my_ddim, grids=("uniform", "irregular"), measures=("global",), **FAST)
    study.assert_order(1)
    assert study.orders == {"uniform": 1, "irregular": 1}


def test_a_third_order_formula_with_a_ramped_start_is_diagnosed_in_a_callable():
    record = dn.method("dpmpp_3m_corrected")

    def sampler(model, x, nodes):
        grid = dn.grids.from_half_log_snr(model.schedule, nodes)
        return dn.solve(dn.plan(record, model.schedule, grid), model.denoiser("data"), x)

    study = dn.convergence_study(sampler, grids=("uniform",), **FAST)
    assert study.order == 2
    assert study.formula_order == 3
    assert "the start-up loses the rest" in study.verdict


@pytest.mark.parametrize("scale", [0.98, 1.02])
def test_a_slope_that_is_off_by_two_percent_is_rejected(scale):
    def sampler(model, x, nodes):
        return my_2m(model, x, nodes, scale)

    with pytest.raises(AssertionError):
        dn.convergence_study(sampler, measures=("global",), grids=("uniform",), **FAST).assert_order(2)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(dn.methods()))
def test_one_percent_on_any_weight_of_any_method_is_rejected(name):
    method = dn.method(name)
    order = method.order_on("uniform")
    survivors = []
    for row, source in weights_of(method):
        mutant = with_perturbed_weight(method, row, source, 1.01)
        study = convergence_study(
            mutant, grids=("uniform",), variants=("formula",), steps=(16, 32, 64, 128, 256), **FAST
        )
        try:
            study.assert_order(order)
        except AssertionError:
            continue
        # a stage of a method that falls short of its claim may be wrong at no cost in order: the proof must see it
        if prove(mutant).ok:
            survivors.append((row, source))
    assert not survivors


def test_an_unstable_sampler_is_called_diverging():
    def sampler(model, x, nodes):
        return (x + model.data(x, nodes[0])) * np.exp(0.1 * len(nodes))

    study = dn.convergence_study(sampler, grids=("uniform",), measures=("global",), **FAST)
    assert study.order is None
    assert "diverges" in study.verdict


def test_a_sampler_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="returned shape"):
        dn.convergence_study(lambda _model, x, _nodes: x[:1], **FAST)


def test_what_is_no_sampler_is_refused():
    with pytest.raises(TypeError, match="sampler=3"):
        dn.convergence_study(3)
    with pytest.raises(ValueError, match="did you mean"):
        dn.convergence_study("dpmpp_2n")


def test_an_interval_outside_the_schedule_is_refused():
    with pytest.raises(ValueError, match="begins before the schedule"):
        dn.convergence_study("ddim", interval=(-50.0, 0.0))
    with pytest.raises(ValueError, match="noisy end first"):
        dn.convergence_study("ddim", interval=(1.0, 0.0))


@pytest.mark.parametrize("schedule", [dn.schedules.EDM(), dn.schedules.FlowMatching(), dn.schedules.VPCosine()])
def test_the_order_does_not_depend_on_the_schedule(schedule):
    study = dn.convergence_study("dpmpp_2m", schedule=schedule, grids=("smooth",), measures=("global",), **FAST)
    assert study.order == 2, study


@pytest.mark.parametrize("kind", ["uniform", "smooth", "irregular"])
@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_fractions_increase_from_zero_to_one(kind, n):
    nodes = fractions(kind, n)
    assert nodes.shape == (n + 1,)
    assert nodes[0] == 0
    assert nodes[-1] == pytest.approx(1, abs=1e-15)
    assert np.all(np.diff(nodes) > 0)


def test_irregular_grids_keep_their_step_ratios_at_every_level():
    for n in (16, 64):
        steps = np.diff(fractions("irregular", n))
        assert np.allclose(steps[1:5] / steps[:4], [1.7, 0.6 / 1.7, 1.3 / 0.6, 1 / 1.3])


@pytest.mark.parametrize(("first", "last"), [(True, False), (False, True), (True, True), (False, False)])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_graded_nodes_increase_between_the_same_ends(first, last, n):
    nodes = graded(np.linspace(-1.0, 2.0, n + 1), first=first, last=last)
    assert nodes[0] == -1
    assert nodes[-1] == 2
    assert np.all(np.diff(nodes) > 0)
    assert np.diff(nodes).max() <= 3 / n + 1e-12
    assert len(nodes) == (max(n, 2) if first and last else n) + 1 + (GRADED - 1) * (first + last)


@pytest.mark.parametrize("order", [2, 3, 6])
def test_the_first_graded_step_is_as_short_as_the_order_needs_and_not_shorter(order):
    for n in (24, 96, 384):
        h = 4 / n
        steps = np.diff(graded(np.linspace(-2.0, 2.0, n + 1), first=True, last=True, order=order))
        wanted = h * min(1 / GRADED, 0.5 * h ** ((order - 1) / 2))
        assert steps[0] == pytest.approx(wanted, rel=1e-6)
        assert steps[-1] == pytest.approx(wanted, rel=1e-6)
        assert (len(steps) - n) % 12 == 0


def test_a_study_prints_its_table():
    text = str(dn.convergence_study("ddim", grids=("uniform",), measures=("global",), **FAST))
    assert "order 1" in text
    assert "20:" in text

"""Orders in law: proved by expansion, measured over refinements, two-sided, with planted defects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sympy as sp

from diffnum.derivation.jumps import bridge_claims, frozen_claims, leap_expansion
from diffnum.discrete import (
    SAMPLERS,
    Bridge,
    Law,
    Leap,
    LeapStage,
    Masked,
    StateSpace,
    TokenSampler,
    Uniform,
    Unmask,
    convergence_study,
    defects,
    expansion_of,
    least_rate,
    output_law,
    prove,
    sampler,
    samplers,
    study_laws,
    theta_rk2,
    theta_trapezoidal,
)
from diffnum.discrete.laws import drawn
from diffnum.discrete.output import draw_steps
from diffnum.discrete.steps import leapt

COARSE = (8, 16, 32, 64, 128, 256)
REFINED = [name for name, record in SAMPLERS.items() if record.order is not None]
CASES = [(n, p) for p in (Masked(), Uniform()) for n, r in samplers(p.name).items() if r.order is not None]


@pytest.mark.parametrize(("name", "process"), CASES, ids=lambda v: v if isinstance(v, str) else v.name)
def test_the_measured_order_is_the_recorded_one_on_every_problem(name: str, process: Masked) -> None:
    study = convergence_study(name, process=process, variants=("formula",))
    assert study.disagreements() == []
    assert {s.expected for s in study.select()} >= {sampler(name).rough_order}


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_recorded_order_is_proved(name: str) -> None:
    proof = prove(name)
    assert proof.ok, proof
    assert proof.claims


@pytest.mark.parametrize("jump", ["exponential", "linear", "rejecting"])
def test_kernels_of_one_token_are_derived(jump: str) -> None:
    assert all(ok for _, ok in frozen_claims(jump))


def test_the_bridge_that_ships_is_derived() -> None:
    assert [ok for _, ok in bridge_claims()] == [True] * 5


@pytest.mark.parametrize("name", REFINED)
def test_another_order_is_not_proved(name: str) -> None:
    record = sampler(name)
    assert not prove(replace(record, order=(record.order or 0) + 1, rough_order=None)).ok


CONVERGENT = [name for name in REFINED if sampler(name).order]


@pytest.mark.parametrize("name", CONVERGENT)
def test_planted_defects_are_found_by_proof_and_by_measurement(name: str) -> None:
    record = sampler(name)
    law = study_laws(Masked())["weak chain"]
    assert defects(record)
    for bad in defects(record).values():
        proof = prove(bad)
        measured = convergence_study(bad, law, Masked(), variants=("formula",), measures=("global",), steps=COARSE)
        assert not proof.ok or name == "theta_rk2"  # its order, 1, does not need the number where it looks first
        assert measured.order == proof.order or (measured.order is None and (proof.order or 0) < 2), measured


@pytest.mark.parametrize("name", ["first_hitting", "uniformisation", "margin"])
def test_planted_defects_of_exact_samplers_are_seen_in_their_laws(name: str) -> None:
    law = study_laws(Masked())["strong chain"]
    assert output_law(name, law).tv < 1e-4
    for bad in defects(sampler(name)).values():
        assert output_law(bad, law).tv > 2e-3


def test_an_exact_record_that_is_not_and_an_inexact_one_that_is_are_not_proved() -> None:
    assert not prove(replace(sampler("first_hitting"), exact=False)).ok
    assert not prove(replace(sampler("random_parallel"), exact=True)).ok
    assert not prove(replace(sampler("confidence"), rule=Unmask(one=True, order="confidence"), exact=True)).ok


def test_a_corrector_that_does_not_only_mix_is_not_proved() -> None:
    rule = Leap((LeapStage(0, 1, (1,)), LeapStage(1, 0.5, (0, 1.1), correct=True)))
    assert expansion_of(rule).order == 0
    study = convergence_study(replace(sampler("tau_leaping_corrected"), rule=rule, name="trial"), variants=("formula",))
    assert study.order == 0 or study.order is None


def test_a_sampler_of_unknown_kind_is_measured_not_proved() -> None:
    class Still:
        stages = 1

        def stage(self, *given: Any) -> np.ndarray:
            _, _, states, posteriors, _, _ = given
            return np.eye(posteriors[0].shape[-1] + 1)[states[0]]

    own = TokenSampler("still", Still(), ("masked",), 0, "-", "-", "-")
    with pytest.raises(TypeError, match="measure it by convergence_study"):
        prove(own)
    assert convergence_study(own, variants=("formula",), measures=("global",), steps=COARSE).order == 0


def test_the_order_conditions_of_two_leaps_have_one_solution() -> None:
    theta, a, b = sp.symbols("theta a b", positive=True)
    found = leap_expansion([(0, theta, [1]), (1, 1 - theta, [a, b])])
    first, second = found.residuals()
    (solution,) = sp.solve([*first, *second], [a, b], dict=True)
    assert sp.simplify(solution[b] - 1 / (2 * theta * (1 - theta))) == 0
    assert sp.simplify(solution[a] + ((1 - theta) ** 2 + theta**2) / (2 * theta * (1 - theta))) == 0
    shipped = theta_trapezoidal(theta).path[1].weights
    assert all(sp.simplify(solution[s] - w) == 0 for s, w in zip((a, b), shipped, strict=True))


def test_leaps_from_the_beginning_of_the_step_have_no_solution_for_any_theta() -> None:
    theta, a, b = sp.symbols("theta a b", positive=True)
    first, second = leap_expansion([(0, theta, [1]), (0, 1, [a, b])]).residuals()
    assert sp.solve([*first, *second], [a, b], dict=True) == []
    assert expansion_of(theta_rk2(0.3)).order == 1


def test_midpoint_rates_see_of_different_tokens_what_the_bridge_sees() -> None:
    midpoint = expansion_of(theta_rk2(sp.Rational(1, 2)))
    assert midpoint.apart == expansion_of(Bridge()).apart
    assert midpoint.slope == expansion_of(Bridge()).slope


@pytest.mark.parametrize("theta", [0.25, 0.5, 0.7])
@pytest.mark.parametrize("process", [Masked(), Uniform()], ids=lambda p: p.name)
def test_the_second_order_of_the_trapezoidal_leap_needs_rates_that_stay_positive(theta: float, process: Masked) -> None:
    record = replace(sampler("theta_trapezoidal"), rule=theta_trapezoidal(theta), name="trial")
    for label, law in study_laws(process).items():
        least = min(least_rate(record.rule, StateSpace(law, process), t) for t in (0.5, 0.45))  # type: ignore[arg-type]
        study = convergence_study(record, law, process, variants=("formula",), measures=("local",))
        if theta == 0.5:
            assert (least > 0) == (label == "weak chain")
        assert study.series[0].order == (2 if least > 0 else 1), (label, least, study)


def test_independent_tokens_are_sampled_exactly_by_the_bridge() -> None:
    law = Law.mixture([1.0], np.random.default_rng(0).dirichlet(np.ones(3), size=(1, 3)))
    study = convergence_study("ancestral", law, Masked(), variants=("formula",), measures=("global",))
    assert study.series[0].estimate.status == "exact"


@pytest.mark.parametrize("spacing", ["smooth", "irregular"])
def test_the_orders_hold_on_other_spacings(spacing: str) -> None:
    laws = {"weak": study_laws(Masked())["weak chain"]}
    for name, order in (("tau_leaping", 1), ("theta_trapezoidal", 2)):
        study = convergence_study(name, laws, spacing=spacing, variants=("formula",), measures=("global",))
        assert study.order == order, study


def bridge(model: Any, x: np.ndarray, t: float, s: float) -> np.ndarray:
    return model.process.posterior(model(x, t), x, t, s)


def half_rate(model: Any, x: np.ndarray, t: float, s: float) -> np.ndarray:
    """Shows tokens at half the right rate, and the last ones at once."""
    right = bridge(model, x, t, s)
    return right if s == 0.0 else (right + np.eye(right.shape[-1])[x]) / 2


def in_single_precision(model: Any, x: np.ndarray, t: float, s: float) -> np.ndarray:
    return bridge(model, x, t, s).astype(np.float32)


def test_a_kernel_of_ones_own_is_judged_as_the_record_is() -> None:
    own = convergence_study(bridge)
    record = convergence_study("ancestral")
    for mine, theirs in zip(own.series, record.series, strict=True):
        np.testing.assert_allclose(mine.estimate.errors, theirs.estimate.errors, rtol=1e-9)
    own.assert_order(1)
    assert "order 1 in law" in str(own)
    with pytest.raises(AssertionError, match="order 2 REJECTED"):
        own.assert_order(2)


def hasty(model: Any, x: np.ndarray, t: float, s: float) -> np.ndarray:
    """The bridge, but the last step draws every token from its law without data."""
    right = bridge(model, x, t, s)
    if s > 0.0:
        return right
    out = np.eye(right.shape[-1])[x]
    out[x == model.tokens] = [0.3, 0.33, 0.37, 0.0]
    return out


def test_the_end_at_which_an_order_is_lost_is_named() -> None:
    laws = {"weak": study_laws(Masked())["weak chain"]}
    study = convergence_study("theta_trapezoidal", laws)
    assert "lost at the last step" in study.verdict
    assert {s.variant for s in study.series} == {"formula", "as shipped", "start-up", "last step"}
    whole = convergence_study("ancestral", laws)
    assert {s.variant for s in whole.series} == {"formula", "as shipped"}
    assert convergence_study(hasty, laws).verdict == whole.verdict.replace("ancestral", "hasty")


def test_a_kernel_with_a_wrong_rate_does_not_converge() -> None:
    study = convergence_study(half_rate, variants=("formula",), measures=("global",))
    assert study.order == 0
    assert study.objections(1)


def test_the_floor_of_single_precision_is_seen() -> None:
    law = Law.mixture([1.0], np.random.default_rng(0).dirichlet(np.ones(3), size=(1, 3)))
    study = convergence_study(in_single_precision, law, variants=("formula",), measures=("global",))
    assert study.series[0].estimate.status in ("exact", "floor")
    assert study.series[0].estimate.errors.max() > 1e-9
    convergence_study(in_single_precision, variants=("formula",), measures=("global",)).assert_order(1)


def in_batches(model: Any, x: np.ndarray, nodes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    for t, s in zip(nodes[:-1], nodes[1:], strict=True):
        x = drawn(bridge(model, x, t, s), rng)
    return x


def in_batches_at_random(model: Any, x: np.ndarray, nodes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x = x.copy()
    masked = x == model.tokens
    x[masked] = rng.integers(model.tokens, size=masked.sum())
    return x


def leaves_masks(model: Any, x: np.ndarray, nodes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return in_batches(model, x, nodes[:-1], rng)


def test_a_function_on_batches_is_judged_by_its_draws() -> None:
    law = {"strong": study_laws(Masked())["strong chain"]}
    study = convergence_study(in_batches, law, variants=("as shipped", "formula"), draws=80_000)
    assert study.by_draws
    assert [s.order for s in study.series] == [1, 1]
    wrong = convergence_study(in_batches_at_random, law, variants=("formula",), draws=40_000, steps=(2, 3, 4, 6))
    assert wrong.order == 0


def at_rate(factor: float) -> Any:
    """Tau-leaping with rates that are off by a factor, on batches."""

    def sampler(model: Any, x: np.ndarray, nodes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for t, s in zip(nodes[:-1], nodes[1:], strict=True):
            rates = factor * model.process.rates(model(x, t), x, t)
            x = drawn(leapt(rates, x, t - s, "exponential"), rng)
        return x

    return sampler


@pytest.mark.parametrize("process", [Masked(), Uniform()], ids=lambda p: p.name)
def test_rates_that_are_off_by_a_tenth_are_no_order_1_by_draws(process: Masked) -> None:
    laws = {"strong": study_laws(process)["strong chain"]}
    asked: Any = {"variants": ("formula",), "draws": 40_000}
    assert convergence_study(at_rate(1.0), laws, process, **asked).order == 1
    for factor in (0.9, 1.1):
        study = convergence_study(at_rate(factor), laws, process, **asked)
        assert study.order == 0, study
        assert "tends to" in study.series[0].estimate.reason


@pytest.mark.slow
def test_second_order_is_told_from_first_by_draws() -> None:
    laws = {"weak": study_laws(Masked())["weak chain"]}

    def trapezoidal(model: Any, x: np.ndarray, nodes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return draw_steps(sampler("theta_trapezoidal").rule, model, model.process, x, nodes, rng)  # type: ignore[arg-type]

    study = convergence_study(trapezoidal, laws, variants=("formula",))
    assert study.order == 2, study
    study.assert_order(2)
    assert study.objections(1)


def one_by_one(model: Any, x: np.ndarray, nodes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random-order autoregression: exact."""
    x = x.copy()
    for _ in range(x.shape[1]):
        masked = x == model.tokens
        at = np.flatnonzero(masked.any(axis=1))
        place = np.argmax(np.where(masked, rng.random(x.shape), -1.0), axis=1)
        x[at, place[at]] = drawn(model(x, 0.5), rng)[at, place[at]]
    return x


def test_an_exact_function_on_batches_is_exact_at_every_level() -> None:
    """Its own noise is independent of the states it begins from, at every level and seed."""
    law = {"strong": study_laws(Masked())["strong chain"]}
    for seed in (0, 1):
        study = convergence_study(one_by_one, law, variants=("as shipped",), draws=20_000, steps=(1, 2, 3), seed=seed)
        assert study.exact, study
        assert "exact in law, to the Monte-Carlo error" in study.verdict
    study.assert_order(np.inf)
    with pytest.raises(AssertionError, match="claim inf"):
        study.assert_order(1)
    with pytest.raises(AssertionError, match="inf REJECTED"):
        convergence_study(in_batches, law, variants=("as shipped",), draws=20_000, steps=(1, 2, 3)).assert_order(np.inf)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (leaves_masks, ValueError, "leaves masks at the end"),
        (lambda model, x, t, s: bridge(model, x, t, s) * 0.9, ValueError, "sum to one only"),
        (lambda model, x, t, s: bridge(model, x, t, s) - 0.1, ValueError, "negative probability"),
        (lambda model, x, t, s: bridge(model, x, t, s)[..., :1], TypeError, "last axis over states"),
        (lambda model, x, t, s: bridge(model, x, t, max(s, 0.05)), ValueError, "leaves masks at the end"),
        (lambda model, x, nodes, rng: x + 1.0, TypeError, "return tokens of shape"),
        (lambda model, x, nodes, rng: x + 7, ValueError, "returned states"),
        (lambda a, b: a, TypeError, "tell no convention"),
        ("first_hitting", ValueError, "its law is exact"),
        ("random_parallel", ValueError, "no number of steps"),
    ],
)
def test_bad_samplers_are_named(function: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        convergence_study(function, draws=1000, variants=("as shipped",))


def test_a_step_out_of_leaps_of_ones_own_is_proved_and_measured() -> None:
    """Two leaps of half the length: order 1, with the double jumps half right."""
    rule = Leap((LeapStage(0, 0.5, (1,)), LeapStage(1, 0.5, (0, 1))))
    own = TokenSampler("two halves", rule, ("masked", "uniform"), 1, "-", "-", "-")
    assert prove(own).ok
    assert expansion_of(rule).apart["new E"] == sp.Rational(1, 4)
    assert convergence_study(own, variants=("formula",)).disagreements() == []

"""Feynman-Kac correctors: derived, and held against exact targets within three standard errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp

import diffnum as dn
from diffnum.derivation import feynman_kac
from diffnum.particles import Weighted, annealed, as_shipped, guided, product, run, weighted_variance
from diffnum.particles.correctors import Combined
from diffnum.problems import targets

SCHEDULE = dn.schedules.VPLinear()
LAW = dn.GaussianMixture([0.3, 0.7], [[-0.8], [0.8]], [0.3, 0.4])
OTHER = dn.Gaussian([0.7], 0.5)
CLASSES = dn.GaussianMixture([0.4, 0.6], [[-1.0], [1.0]], [0.5, 0.7], labels=[0, 1])
MODEL = LAW.denoiser(SCHEDULE)


BEGIN = float(SCHEDULE.time(-1.0))
METHOD = "sde_dpmpp_2m_tau1.5"
DISCRETE = 0.015
"""Relative error of the evidence that a hundred steps have: it is measured without Monte Carlo below."""


def planned(steps: int, method: str = METHOD, start: float = BEGIN) -> dn.Plan:
    return dn.plan(method, SCHEDULE, dn.grids.uniform_half_log_snr(SCHEDULE, steps, t_start=start, t_end=1e-3))


def moments(x: np.ndarray) -> np.ndarray:
    return np.stack([x[:, 0], x[:, 0] ** 2, x[:, 0] < 0.0], axis=1).astype(float)


# -- the derivation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
def test_the_derived_weights_solve_the_fokker_planck_equation(count):
    found = feynman_kac.corrector(count)
    assert feynman_kac.fokker_planck_residual(found) == 0
    for wrong in (found.rate + feynman_kac.DIVERGENCE, 2 * found.rate, found.rate.subs(feynman_kac.DIVERGENCE, 0)):
        assert feynman_kac.fokker_planck_residual(found, rate=wrong) != 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_rate_does_not_depend_on_the_noise_and_the_drift_is_that_of_the_combined_score(count):
    found = feynman_kac.corrector(count)
    assert feynman_kac.ZETA not in found.rate.free_symbols
    for coefficient, beta in zip(found.drift, found.exponents, strict=True):
        assert sp.simplify(coefficient - beta * feynman_kac.G**2 * (1 + feynman_kac.ZETA**2) / 2) == 0


def test_the_shipped_rate_is_the_derived_one():
    assert feynman_kac.half_log_snr_factor() == 2
    found = feynman_kac.corrector(2)
    rng, x, t, betas = np.random.default_rng(0), np.array([[0.4, -0.2], [1.0, 2.0]]), 0.3, (-0.7, 1.7)
    laws = [dn.Gaussian(rng.normal(size=2), [0.3, 0.8]) for _ in betas]
    models = tuple(law.denoiser(SCHEDULE, p) for law, p in zip(laws, ("data", "velocity"), strict=True))
    _, shipped = Combined(models, betas).observed(x, t)
    scores = [law.denoiser(SCHEDULE, "score")(x, t) for law in laws]
    sigma = float(SCHEDULE.sigma(t))
    for row in range(2):
        values = {
            feynman_kac.inner(i, j): float(scores[i][row] @ scores[j][row]) for i in range(2) for j in range(i, 2)
        }
        values |= dict(zip(found.exponents, betas, strict=True))
        # g^2 d tau = 2 sigma^2 d lambda; the divergence of the drift is the growth of alpha, taken at the node
        values |= {feynman_kac.G: sp.sqrt(2) * sigma, feynman_kac.DIVERGENCE: 0}
        assert float(found.rate.subs(values)) == pytest.approx(shipped[row, 0], rel=1e-12)


# -- exact targets ---------------------------------------------------------------------------------------


CONDITIONAL = CLASSES.conditional(1)
CASES = {
    "annealed, 2": ((LAW,), (2.0,)),
    "annealed, 3": ((LAW,), (3.0,)),
    "annealed, 1/2": ((LAW,), (0.5,)),
    "product": ((LAW, OTHER), (1.0, 1.0)),
    "guided": ((CLASSES, CONDITIONAL), (-0.8, 1.8)),
}


def weighted_sampler(name: str) -> Weighted:
    laws, exponents = CASES[name]
    models = [law.denoiser(SCHEDULE) for law in laws]
    makers = {"product": lambda: product(models), "guided": lambda: guided(models[1], models[0], exponents[1])}
    return makers.get(name, lambda: annealed(models[0], exponents[0]))()


def compared(name: str, plan: dn.Plan, n: int, seed: int, **options: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Deviations of moments from the exact target in standard errors, the errors, and that of the evidence."""
    laws, exponents = CASES[name]
    t = float(plan.times[0])
    first = targets.PowerProduct([law.at(SCHEDULE, t) for law in laws], exponents)
    target = targets.PowerProduct([law.at(SCHEDULE, float(plan.times[-1])) for law in laws], exponents)
    sampler = options.pop("sampler", None) or weighted_sampler(name)
    pop = run(plan, sampler, n, x=first.sample(n, seed), seed=seed, islands=20, **options)
    mean, error = pop.estimate(moments)
    found = np.exp(pop.island_log_evidence + first.log_evidence - target.log_evidence)
    away = max(abs(found.mean() - 1.0) - DISCRETE, 0.0)
    return (mean - target.expectation(moments)) / error, error, away / (found.std() / np.sqrt(19))


@pytest.mark.parametrize("name", CASES)
def test_corrected_samples_and_evidence_are_those_of_the_exact_target(name):
    deviation, error, evidence = compared(name, planned(100), 10000, seed=7)
    assert np.max(np.abs(deviation)) < 3.0, (deviation, error)
    assert abs(evidence) < 3.0
    assert np.max(error) < 0.025


@pytest.mark.parametrize("name", ["annealed, 2", "guided"])
def test_the_model_alone_samples_something_else(name):
    """Without its weights the guided model is plain guidance."""
    deviation, _, _ = compared(name, planned(50), 20000, seed=7, sampler=weighted_sampler(name).model)
    assert np.max(np.abs(deviation)) > 4.0


@pytest.mark.parametrize("method", ["sde_dpmpp_2m", "sde_dpmpp_2m_tau2", "sde_dpm_2m_tau1.5"])
def test_the_weights_serve_every_noise_level_and_form(method):
    deviation, error, evidence = compared("annealed, 2", planned(120, method), 8000, seed=2)
    assert np.max(np.abs(deviation)) < 3.0, (deviation, error)
    assert abs(evidence) < 3.0


def test_from_pure_noise_the_evidence_is_that_of_the_product():
    law = dn.Gaussian([0.0], 0.5)
    plan = planned(150, "sde_dpmpp_2m_tau2", start=1.0)
    pop = run(plan, annealed(law.denoiser(SCHEDULE), 2.0), 8000, seed=1, islands=20)
    expected = weighted_variance(plan, (0.5,), (2.0,)).log_evidence  # of this plan; the law's own is near, see below
    found = np.exp(pop.island_log_evidence - expected)
    assert abs(found.mean() - 1.0) < 3.0 * found.std() / np.sqrt(19)
    whole = [weighted_variance(planned(n, start=1.0), (0.5,), (2.0,)) for n in (200, 400)]
    gaps = [law.log_evidence - law.exact_log_evidence for law in whole]
    assert whole[0].exact_log_evidence == pytest.approx(
        targets.power(dn.Gaussian([0.0], 0.5), 2).log_evidence, abs=1e-12
    )
    assert 3.0 < gaps[0] / gaps[1] < 5.0
    assert abs(gaps[1]) < 0.02


# -- orders, without Monte Carlo -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "rule", "order"),
    [
        ("sde_dpmpp_1", "left", 1),
        ("sde_dpmpp_1", "trapezoid", 1),
        ("sde_dpmpp_2m", "trapezoid", 2),
        ("sde_dpm_2m", "trapezoid", 2),
    ],
)
@pytest.mark.parametrize(
    ("variances", "exponents"), [((0.6,), (2.0,)), ((1.0, 0.5), (-0.8, 1.8)), ((0.6, 0.9), (1, 1))]
)
def test_the_weighted_law_converges_with_the_order_of_the_method(method, rule, order, variances, exponents):
    found = [weighted_variance(planned(n, method), variances, exponents, rule=rule) for n in (50, 100, 200)]
    # the start is not the exact law at that time: take what that contributes out by differences
    steps = np.diff([law.found for law in found])
    rate = np.log2(abs(steps[0] / steps[1]))
    assert abs(rate - order) < 0.25, (rate, [law.found for law in found])


def test_infinitely_many_particles_are_what_many_particles_tend_to():
    plan = planned(40, "sde_dpmpp_2m_tau2")
    exact = weighted_variance(plan, (0.6,), (2.0,))
    assert exact.efficiency > 0.0
    pop = run(plan, annealed(dn.Gaussian([0.0], 0.6).denoiser(SCHEDULE), 2.0), 40000, seed=3, threshold=0.0)
    mean, error = pop.estimate(lambda x: x[:, 0] ** 2)
    assert abs(mean - exact.found) < 3.0 * error
    assert error < 0.02 * exact.found
    assert pop.ess / pop.n == pytest.approx(exact.efficiency, rel=0.25)


def test_weights_without_a_second_moment_are_told():
    """From pure noise at tau = 1 the weights of beta = 2 have a mean and no variance."""
    law = weighted_variance(planned(160, "sde_dpmpp_2m", start=1.0), (0.6,), (2.0,))
    assert law.error < 0.004
    assert law.efficiency == 0.0
    assert weighted_variance(planned(320, "sde_dpmpp_2m_tau2", start=1.0), (0.6,), (2.0,)).efficiency > 0.05


def test_what_the_published_code_does_to_its_weights_changes_the_target():
    shipped = as_shipped(weighted_sampler("annealed, 3"), clamp=0.02)
    deviation, _, _ = compared("annealed, 3", planned(100), 10000, seed=7, sampler=shipped, threshold=1.0)
    assert np.max(np.abs(deviation)) > 5.0
    wide = as_shipped(weighted_sampler("annealed, 3"), clamp=5.0)  # centring alone is harmless
    deviation, _, _ = compared("annealed, 3", planned(100), 10000, seed=7, sampler=wide, threshold=1.0)
    assert np.max(np.abs(deviation)) < 3.0


def test_one_model_in_several_factors_is_evaluated_once():
    calls = []

    class Counted:
        prediction, schedule, core = "data", SCHEDULE, MODEL.core

        def __call__(self, x, t):
            calls.append(t)
            return MODEL(x, t)

    model = Counted()
    pop = run(planned(10), product((model, model)), 8, seed=0)
    assert len(calls) == 11  # once a step, and once at the end for the trapezoidal rule
    assert pop.nfe == 11 * 8
    left = run(planned(10), guided(MODEL, OTHER.denoiser(SCHEDULE), 2.0, rule="left"), 8, seed=0)
    assert left.nfe == 2 * 10 * 8


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: annealed(MODEL, 0.0), "beta=0.0 is no inverse temperature"),
        (lambda: annealed(MODEL, float("nan")), "beta=nan"),
        (lambda: annealed(MODEL, 2.0, rule="right"), "rule='right' is unknown"),
        (lambda: product((MODEL,), (1.0, 2.0)), "exponents has 2 entries for 1 models"),
        (lambda: product((MODEL, MODEL), (1.0, -1.0)), "add up to 0: .* must be positive"),
        (lambda: product((MODEL, LAW.denoiser(dn.schedules.EDM()))), "models have different schedules"),
        (lambda: weighted_variance(planned(5), (0.5, 1.0), (-1.0, 1.5)), "add up to the precision -0.5, not > 0"),
        (lambda: as_shipped(annealed(MODEL, 2.0), clamp=0.0), "clamp=0.0"),
    ],
)
def test_what_has_no_corrector_is_refused(action, message):
    with pytest.raises(ValueError, match=message):
        action()

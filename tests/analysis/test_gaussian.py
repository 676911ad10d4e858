"""Exact propagation: it agrees with the loop, obeys the laws of Gaussians, and its distances are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.linalg import sqrtm

import diffnum as dn
from diffnum.analysis import FrequencyResponse, frechet, frequency_response, kl, propagate, propagate_problem, w2
from diffnum.grids import from_half_log_snr, irregular, uniform_half_log_snr
from diffnum.plans import Plan
from diffnum.schedules import EDM, VE, FlowMatching, MeanReverting, VPCosine, VPLinear

METHODS = tuple(name for name, record in dn.methods().items() if not record.parameters)
SCHEDULES = (VPLinear(), VPCosine(), EDM(), FlowMatching(), MeanReverting(theta=0.7, sigma_inf=1.3, mean=0.4))
EIGENVALUES = np.array([1e-4, 0.03, 1.0, 25.0])
MEAN = np.array([0.3, -1.0, 0.0, 2.0])


def silent(step: int, index: int, like: Any) -> Any:
    return 0.0 * like


def affine_map(numbers: Plan, data: dn.Gaussian) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset of a plan, from two runs of the loop."""
    model = data.denoiser(numbers.schedule, numbers.prediction)
    low, high = (dn.solve(numbers, model, np.full((1, data.dim), v), noise=silent)[0] for v in (0.0, 1.0))
    return high - low, low


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
@pytest.mark.parametrize("name", METHODS)
def test_gain_and_offset_are_those_of_the_loop(name: str, schedule: Any) -> None:
    numbers = dn.plan(name, schedule, irregular(schedule, 9))
    gain, offset = affine_map(numbers, dn.Gaussian(MEAN, EIGENVALUES))
    output = propagate(numbers, MEAN, EIGENVALUES)
    centre = float(schedule.mean)
    ours = output.response * (MEAN - centre) + (1 - output.gain) * centre
    # Rounding grows with the weights: those of the cubic in time reach 451 next to the end of the flow.
    weight = max(1.0, *(abs(w) for step in numbers.programme for _, row in step for w in row.values()))
    allowed = 256 * np.finfo(float).eps * weight * (np.abs(gain) + np.abs(offset) + 1).max()
    assert np.abs(output.gain - gain).max() <= allowed
    assert np.abs(ours - offset).max() <= allowed


def test_inhomogeneous_terms_are_propagated() -> None:
    schedule, lam = VPLinear(), np.linspace(-6, 6, 40)
    column = np.linspace(0.5, 1.5, len(EIGENVALUES))
    statistics = dn.ModelStatistics(
        lam,
        np.outer(1 / (1 + np.exp(-lam)), column),
        np.outer(0.2 * np.sin(lam), column),
        np.outer(np.cos(lam), column),
    )
    numbers = dn.plan(dn.dpm_solver_v3(statistics, 3, corrector=True), schedule, irregular(schedule, 9))
    gain, offset = affine_map(numbers, dn.Gaussian(MEAN, EIGENVALUES))
    output = propagate(numbers, MEAN, EIGENVALUES)
    assert np.abs(output.offset).min() > 1e-6
    np.testing.assert_allclose(output.gain, gain, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(output.response * MEAN + output.offset, offset, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(output.mean, offset, rtol=1e-11, atol=1e-11)  # noise has mean 0


@pytest.mark.parametrize("prediction", ["data", "noise", "velocity", "v", "score"])
def test_the_law_does_not_depend_on_what_the_model_predicts(prediction: Any) -> None:
    schedule = VPLinear()
    numbers = dn.plan("unipc_2_bh2", schedule, uniform_half_log_snr(schedule, 8))
    ours, own = (propagate(p, MEAN, EIGENVALUES) for p in (numbers.for_prediction(prediction), numbers))
    np.testing.assert_allclose(ours.gain, own.gain, rtol=1e-9)
    np.testing.assert_allclose(ours.response, own.response, rtol=1e-8, atol=1e-8)


def test_the_denoising_terminal_rule_is_propagated() -> None:
    schedule = VPLinear()
    numbers = dn.plan("dpmpp_2m", schedule, uniform_half_log_snr(schedule, 8, terminal="denoise"))
    gain, _ = affine_map(numbers, dn.Gaussian(MEAN, EIGENVALUES))
    np.testing.assert_allclose(propagate(numbers, MEAN, EIGENVALUES).gain, gain, rtol=1e-12)


@pytest.mark.parametrize("name", ["eab_3", "unipc_2_bh2", "ghvb_1.8"])
def test_an_exact_history_is_propagated(name: str) -> None:
    schedule, data = VPLinear(), dn.Gaussian(MEAN, EIGENVALUES)
    numbers = dn.plan(name, schedule, uniform_half_log_snr(schedule, 12, t_start=0.9, t_end=0.01), start="exact")
    model = data.denoiser(schedule, numbers.prediction)
    t0 = numbers.steps[0].t_from

    def run(x: np.ndarray) -> np.ndarray:
        history = {key: model(data.flow(x, schedule, t0, t), t) for key, t in numbers.history.items()}
        return dn.solve(numbers, model, x, history=history)[0]

    low, high = (run(np.full((1, data.dim), v)) for v in (0.0, 1.0))
    output = propagate(numbers, MEAN, EIGENVALUES)
    np.testing.assert_allclose(output.gain, high - low, rtol=1e-10)
    np.testing.assert_allclose(output.response * MEAN, low, rtol=1e-10, atol=1e-11)


def noisy(numbers: Plan, seed: int = 0) -> Plan:
    """The plan with noise of made-up sizes in stages, state and memory."""
    rng = np.random.default_rng(seed)
    steps = []
    for step in numbers.steps:
        noise, stage_noise = rng.normal(size=(len(step.outputs), 2)), rng.normal(size=(step.nfe, 2))
        steps.append(replace(step, noises=("z1", "z2"), noise=noise, stage_noise=stage_noise))
    return replace(numbers, steps=tuple(steps))


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "unipc_2_bh2", "dpm_solver_3"])
def test_the_noise_variance_is_the_sum_over_all_impulses(name: str) -> None:
    schedule, data = VPLinear(), dn.Gaussian(MEAN, EIGENVALUES)
    numbers = noisy(dn.plan(name, schedule, uniform_half_log_snr(schedule, 6)))
    model, x = data.denoiser(schedule, numbers.prediction), np.zeros((1, data.dim))
    quiet = dn.solve(numbers, model, x, noise=silent)[0]
    total = np.zeros(data.dim)
    for step in range(len(numbers)):
        for draw in range(2):

            def impulse(i: int, j: int, like: Any, at: tuple[int, int] = (step, draw)) -> Any:
                return np.ones_like(like) if (i, j) == at else 0.0 * like

            total += (dn.solve(numbers, model, x, noise=impulse)[0] - quiet) ** 2
    np.testing.assert_allclose(propagate(numbers, MEAN, EIGENVALUES).noise_variance, total, rtol=1e-10)


def test_sampled_moments_agree_with_the_law() -> None:
    schedule, data, n = VPLinear(), dn.Gaussian(MEAN, EIGENVALUES), 40_000
    numbers = dn.plan("dpmpp_2m", schedule, uniform_half_log_snr(schedule, 6))
    output = propagate(numbers, MEAN, EIGENVALUES)
    x = schedule.sigma(numbers.steps[0].t_from) * np.random.default_rng(5).normal(size=(n, data.dim))
    sample = dn.solve(numbers, data.denoiser(schedule), x)
    deviation = np.sqrt(output.variance)
    assert (np.abs(sample.mean(axis=0) - output.mean) < 5 * deviation / np.sqrt(n)).all()
    assert (np.abs(sample.var(axis=0) / output.variance - 1) < 5 * np.sqrt(2 / n)).all()


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("eab_2", 2), ("dpmpp_2m", 2), ("dpm_solver_3", 3)])
def test_the_gain_tends_to_the_exact_one_at_the_order_of_the_method(name: str, order: int) -> None:
    schedule = VPLinear()
    errors = []
    for n in (60, 120, 240):
        numbers = dn.plan(name, schedule, uniform_half_log_snr(schedule, n))
        output = propagate(numbers, 0.0, [0.05, 0.7, 3.0])
        errors.append(np.abs(output.gain / output.exact_gain - 1).max())
    assert np.log2(errors[1] / errors[2]) == pytest.approx(order, abs=0.12)


@given(st.floats(-3.0, 3.0), st.sampled_from(["ddim", "dpmpp_2m", "unipc_2_bh2", "lms_2", "edm_heun"]))
def test_scaling_data_and_noise_together_scales_nothing_else(log_scale: float, name: str) -> None:
    schedule, lam = EDM(), np.linspace(-1.5, 1.5, 7)
    scale = np.exp(log_scale / 3)
    base = propagate(dn.plan(name, schedule, from_half_log_snr(schedule, lam)), 0.3, EIGENVALUES)
    moved = dn.plan(name, schedule, from_half_log_snr(schedule, lam - np.log(scale)))
    ours = propagate(moved, 0.3 * scale, EIGENVALUES * scale**2)
    np.testing.assert_allclose(ours.gain, base.gain, rtol=1e-8)
    np.testing.assert_allclose(ours.mean, base.mean * scale, rtol=1e-8)
    assert ours.kl() == pytest.approx(base.kl(), rel=1e-6)
    assert ours.w2() == pytest.approx(base.w2() * scale, rel=1e-6)


@given(st.integers(0, 10**6))
def test_rotating_the_data_rotates_the_output(seed: int) -> None:
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    c, mean = np.exp(rng.normal(size=3)), rng.normal(size=3)
    schedule = VPLinear()
    numbers = dn.plan("dpmpp_2m", schedule, uniform_half_log_snr(schedule, 6))
    plain = propagate(numbers, mean, c)
    turned = propagate_problem(numbers, dn.Gaussian(basis.T @ mean, basis.T @ np.diag(c) @ basis))
    assert turned.w2() == pytest.approx(plain.w2(), rel=1e-8)
    assert turned.kl() == pytest.approx(plain.kl(), rel=1e-8)


def test_the_law_in_any_basis_is_that_of_the_loop() -> None:
    schedule = MeanReverting(theta=0.7, sigma_inf=1.3, mean=np.array([0.8, -0.3]))
    data = dn.Gaussian(np.array([1.0, -2.0]), np.array([[2.0, 0.7], [0.7, 0.5]]))
    numbers = dn.plan("dpmpp_2m", schedule, uniform_half_log_snr(schedule, 7))
    model = data.denoiser(schedule, numbers.prediction)
    x = np.concatenate([np.zeros((1, 2)), np.eye(2)])
    end = dn.solve(numbers, model, x)
    output, basis = propagate_problem(numbers, data), data.eigenvectors
    np.testing.assert_allclose((end[1:] - end[0]).T, basis.T @ np.diag(output.gain) @ basis, atol=1e-12)
    start = np.broadcast_to(schedule.mean, (1, 2))  # the mean of the noise law
    np.testing.assert_allclose(basis @ dn.solve(numbers, model, start)[0], output.mean, atol=1e-12)


def test_the_exact_flow_from_the_exact_marginal_has_no_distance_to_the_marginal() -> None:
    schedule = VPLinear()
    numbers = dn.plan("eab_4", schedule, uniform_half_log_snr(schedule, 400, t_end=0.05))
    output = propagate(numbers, MEAN, EIGENVALUES, start="marginal")
    assert output.w2("marginal") < 1e-4
    assert output.w2("data") > 0.01, "noise is left at t = 0.05"


def test_more_evaluations_bring_the_output_closer_to_the_data() -> None:
    response = frequency_response("dpmpp_2m", VPLinear(), [5, 20, 80], np.geomspace(1e-2, 10, 12), mean=0.2)
    assert isinstance(response, FrequencyResponse)
    assert response.nfe.tolist() == [5, 20, 80]
    for values in (response.w2("marginal"), response.kl("marginal"), response.frechet("marginal")):
        assert values[0] > values[2]
    assert response.gain.shape == response.deviation.shape == (3, 12)
    np.testing.assert_allclose(response.w2() ** 2, response.frechet(), rtol=1e-12)
    assert "NFE" in str(response)
    assert "eigenvalue" in str(response.outputs[0])


def test_noise_that_replaces_the_first_state_is_no_error_of_the_law() -> None:
    """What a stochastic plan keeps of its first state says nothing: its table has the spread at the end."""
    found = frequency_response("sde_dpmpp_2m", VPLinear(), (10, 20, 40), EIGENVALUES)
    assert np.abs(found.gain / found.exact_gain - 1.0).max() > 0.99  # true, and meant to be so
    head, *rows = str(found).splitlines()[1:]
    assert head.endswith("worst std error")
    worst = [float(row.split()[-1]) for row in rows]
    assert worst == sorted(worst, reverse=True)
    for output, printed in zip(found.outputs, worst, strict=True):
        ratio = np.sqrt(output.variance / output.marginal_variance)
        assert printed == pytest.approx(np.abs(ratio - 1.0).max(), rel=1e-3)
    assert "worst gain error" in str(frequency_response("ddim", VPLinear(), (10,), EIGENVALUES))


def test_budgets_are_never_exceeded() -> None:
    assert (frequency_response("dpm_solver_3", VPLinear(), [5, 10], [1.0]).nfe <= [5, 10]).all()


def test_a_direction_of_multiplicity_two_counts_twice() -> None:
    schedule = VPLinear()
    numbers = dn.plan("ddim", schedule, uniform_half_log_snr(schedule, 6))
    once, twice = (propagate(numbers, 0.0, [0.5], multiplicity=k) for k in (1, 2))
    assert twice.frechet() == pytest.approx(2 * once.frechet())
    assert twice.kl() == pytest.approx(propagate(numbers, 0.0, [0.5, 0.5]).kl())


# -- distances ---------------------------------------------------------------------------------------------

positive = st.floats(0.05, 20.0)
real = st.floats(-3.0, 3.0)


@given(real, positive, real, positive)
def test_kl_is_the_integral_that_defines_it(m: float, v: float, n: float, w: float) -> None:
    def density(x: float, mean: float, variance: float) -> float:
        return -0.5 * (x - mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)

    def integrand(u: float) -> float:
        x = m + np.sqrt(v) * u
        return np.exp(-0.5 * u * u) / np.sqrt(2 * np.pi) * (density(x, m, v) - density(x, n, w))

    assert kl([m], [v], [n], [w]) == pytest.approx(quad(integrand, -12, 12)[0], rel=1e-6, abs=1e-8)


@given(st.integers(0, 10**6))
def test_frechet_is_the_general_formula_in_the_common_basis(seed: int) -> None:
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    (m, n), (v, w) = rng.normal(size=(2, 3)), np.exp(rng.normal(size=(2, 3)))
    first, second = (basis.T @ np.diag(c) @ basis for c in (v, w))
    root = sqrtm(first)
    cross = np.real(sqrtm(root @ second @ root))
    general = np.sum((m - n) ** 2) + np.trace(first + second - 2 * cross)
    assert frechet(m, v, n, w) == pytest.approx(general, rel=1e-6, abs=1e-9)


@given(*[st.tuples(real, positive)] * 3)
def test_w2_is_a_distance(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> None:
    assert w2(*a, *a) == 0
    assert w2(*a, *b) == w2(*b, *a)
    assert w2(*a, *c) <= w2(*a, *b) + w2(*b, *c) + 1e-12


def test_kl_of_degenerate_laws_is_infinite_unless_they_are_equal() -> None:
    assert kl([0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]) == 0
    assert kl([0.0], [0.0], [0.0], [1.0]) == np.inf
    assert kl([0.0], [1.0], [0.0], [0.0]) == np.inf
    assert kl([0.0], [0.0], [1.0], [0.0]) == np.inf


def test_data_without_variance_are_reached() -> None:
    schedule = VPLinear()
    output = propagate(dn.plan("ddim", schedule, uniform_half_log_snr(schedule, 5)), 0.7, [0.0])
    assert np.isfinite(output.variance).all()
    assert output.kl() == np.inf


def bad_start(numbers: Plan) -> object:
    return propagate(numbers, 0.0, [1.0], start="data")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: propagate(p[:0], 0.0, [1.0]), "no steps"),
        (lambda p: propagate(p, 0.0, [-1.0]), "eigenvalues="),
        (lambda p: propagate(p, 0.0, [np.nan]), "eigenvalues="),
        (lambda p: propagate(p, [1.0, 2.0, 3.0], [1.0, 2.0]), "mean has shape"),
        (bad_start, "start='data'"),
        (lambda p: propagate(p, 0.0, [1.0]).w2("noise"), "target='noise'"),
        (lambda p: frequency_response("ddim", p.schedule, [], [1.0]), "nfe=()"),
        (lambda p: frequency_response("edm_heun", p.schedule, [0], [1.0]), "nfe=0"),
    ],
)
def test_bad_input_is_refused(call: Callable[[Plan], object], message: str) -> None:
    schedule = VE()
    numbers = dn.plan("ddim", schedule, uniform_half_log_snr(schedule, 4))
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        call(numbers)

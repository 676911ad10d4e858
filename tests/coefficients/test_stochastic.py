"""Stochastic steps: variances by Ito's isometry, marginals kept, published formulas, limits."""

import math

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients import stochastic as cs
from diffnum.coefficients.catalogue import method as find
from diffnum.convergence.reverse import exact_transition
from diffnum.derivation import SCHEMES

SCHEDULE = dn.schedules.VPLinear()
NAMES = list(dn.methods("stochastic"))
DATA_NAMES = [n for n in NAMES if find(n).form.prediction == "data" and SCHEMES[find(n).noise.scheme].keeps]
steps = st.floats(1e-6, 5.0)
levels = st.floats(0.0, 3.0)
predictions = st.sampled_from(["data", "noise"])


def plan_of(name, schedule=SCHEDULE, n=4):
    lam = np.linspace(-1.0, 1.5, n + 1)
    return dn.plan(find(name), schedule, dn.grids.from_half_log_snr(schedule, lam))


@pytest.mark.parametrize("prediction", ["data", "noise"])
def test_the_variance_is_the_integral_of_itos_isometry(prediction):
    h, tau, s = sp.symbols("h tau s", positive=True)
    rho = -(tau**2) if prediction == "data" else 1
    isometry = sp.integrate(2 * tau**2 * sp.exp(2 * rho * s), (s, 0, h))  # s: distance to the end of the step
    assert sp.simplify(isometry - cs.noise_variance(h, tau, prediction)) == 0


@given(h=steps, tau=levels)
def test_known_data_keep_their_marginal(h, tau):
    # x_0 -> alpha x_0 + sigma eps must go over into the same at the end of the step, in units of sigma there
    d, w, v = cs.sde_dpmpp_1(h, tau)
    assert d * math.exp(-h) + w == pytest.approx(1.0, rel=1e-12)
    assert d * d + v == pytest.approx(1.0, rel=1e-12)


@given(h=steps, eta=st.floats(0.0, 1.0))
def test_ddim_eta_keeps_the_marginal_of_known_data(h, eta):
    d, w, v = cs.ddim_eta(h, eta)
    assert d * math.exp(-h) + w == pytest.approx(1.0, rel=1e-12)
    assert d * d + v == pytest.approx(1.0, rel=1e-12)


def test_a_wrong_variance_breaks_the_marginal():
    d, _, v = cs.sde_dpmpp_1(0.5, 1.0)
    assert d * d + 1.01 * v != pytest.approx(1.0, rel=1e-4)


@given(h=steps, tau=levels, a=st.floats(0.05, 0.95), prediction=predictions)
def test_noise_gathered_in_two_parts_is_noise_gathered_at_once(h, tau, a, prediction):
    kernel = cs.reverse_kernel(h, tau, prediction)
    in_parts = kernel.variance(a) * kernel.carry(1 - a) ** 2 + kernel.variance(1 - a)
    assert in_parts == pytest.approx(kernel.variance(), rel=1e-11, abs=1e-300)


@given(h=steps, tau=levels, prediction=predictions)
def test_moments_are_those_of_the_kernel(h, tau, prediction):
    x, q = np.polynomial.legendre.leggauss(60)
    s, kappa = 0.5 * (x + 1), -(1 + tau**2) if prediction == "data" else 1.0
    kernel = (1 + tau**2) * h * np.exp(kappa * h * (1 - s))
    for k in range(4):
        assert cs.reverse_kernel(h, tau, prediction).moment(k) == pytest.approx(0.5 * (kernel * s**k) @ q, rel=1e-10)


@given(h=st.floats(0.01, 2.0))
def test_first_order_steps_are_as_published(h):
    # diffusers, sde-dpmsolver++ and sde-dpmsolver of order 1
    assert cs.sde_dpmpp_1(h) == pytest.approx((math.exp(-h), 1 - math.exp(-2 * h), 1 - math.exp(-2 * h)))
    assert cs.sde_dpm_1(h) == pytest.approx((1.0, 2 * math.expm1(h), math.expm1(2 * h)))
    assert cs.ddim_eta(h, 1.0) == pytest.approx(cs.sde_dpmpp_1(h, 1.0)), "DDPM is SDE-DPM-Solver++(1)"


def test_a_step_of_k_diffusion_2m_sde_is_reproduced():
    eta, lam = 0.49, np.array([-1.0, -0.4, 0.3])
    schedule = dn.schedules.VE()
    first, numbers = (
        np.array([[0.7]]),
        dn.plan(find("sde_dpmpp_2m_tau0.7"), schedule, dn.grids.from_half_log_snr(schedule, lam)),
    )
    model = dn.problems.three_peaks().denoiser(schedule)
    z = [np.array([[0.3]]), np.array([[-1.1]])]
    x, old = first, None
    for i in range(2):
        sigma, following = np.exp(-lam[i]), np.exp(-lam[i + 1])
        h, D = lam[i + 1] - lam[i], model(x, float(schedule.time(lam[i])))
        x = following / sigma * np.exp(-h * eta) * x - np.expm1(-h - eta * h) * D
        if old is not None:
            x = x - 0.5 * np.expm1(-h - eta * h) * h / (lam[i] - lam[i - 1]) * (D - old)
        x, old = x + z[i] * following * np.sqrt(-np.expm1(-2 * eta * h)), D
    np.testing.assert_allclose(dn.solve(numbers, model, first, noise=lambda step, *_: z[step]), x, rtol=1e-12)


def test_seeds_2_is_as_published():
    numbers = plan_of("seeds_2", n=1)
    h, half = 2.5, 1.25
    step = numbers.steps[0]
    sigma = float(SCHEDULE.sigma(step.t_to))
    noise = [math.sqrt(math.expm1(2 * half)) * math.exp(half), math.sqrt(math.expm1(2 * half))]
    np.testing.assert_allclose(step.noise[0], np.multiply(sigma, noise), rtol=1e-12)
    np.testing.assert_allclose(step.B[0], [0.0, -2 * sigma * math.expm1(h)], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("noisy", "plain"),
    [("sde_dpmpp_1", "ddim"), ("sde_dpmpp_2m", "dpmpp_2m"), ("sde_dpmpp_2m_heun", "eab_2"),
     ("sde_dpmpp_3m_corrected", "dpmpp_3m_corrected"), ("seeds_3", "dpm_solver_3"), ("sa_solver_3_exact", "eab_3"),
     ("sa_solver_3_4", "unipc_3_bh1"), ("sa_solver_2_3", "unipc_2_bh1")],
)  # fmt: skip
def test_without_noise_a_method_is_its_deterministic_one(noisy, plain):
    lam = np.array([-1.0, -0.3, 0.1, 0.9, 1.5])
    grid = dn.grids.from_half_log_snr(SCHEDULE, lam)
    ours, theirs = dn.plan(find(f"{noisy}_tau0"), SCHEDULE, grid), dn.plan(plain, SCHEDULE, grid)
    assert all(not step.noises for step in ours.steps)
    model = dn.problems.three_peaks().denoiser(SCHEDULE, ours.prediction)
    x = np.array([[0.4], [-1.0]])
    np.testing.assert_allclose(dn.solve(ours, model, x), dn.solve(theirs, model, x), rtol=1e-10)


@pytest.mark.parametrize("name", [*DATA_NAMES, "sde_dpmpp_2m_tau0.5", "sa_solver_2_2_tau0.3"])
@pytest.mark.parametrize("schedule", [SCHEDULE, dn.schedules.VE(), dn.schedules.FlowMatching()], ids=lambda s: s.name)
def test_data_known_exactly_keep_their_law_through_a_whole_run(name, schedule):
    # data of variance zero: the data prediction is the mean, whatever the state, so that every data-prediction
    # method must give the exact marginal; those in noise prediction do so in the limit only
    numbers = plan_of(name, schedule)
    output = dn.analysis.propagate(numbers, 1.0, [1e-30], start="marginal")
    np.testing.assert_allclose(output.mean, output.marginal_mean, rtol=1e-9)
    np.testing.assert_allclose(output.variance, output.marginal_variance, rtol=1e-9)


@given(tau=st.floats(0.01, 2.0), c=st.floats(1e-3, 1e3), a=st.floats(-3, 0), b=st.floats(0.01, 3))
def test_the_exact_transition_keeps_the_marginal_and_composes(tau, c, a, b):
    lam = (a, a + b / 2, a + b)
    variance = [float(SCHEDULE.alpha(t)) ** 2 * c + float(SCHEDULE.sigma(t)) ** 2 for t in map(SCHEDULE.time, lam)]
    parts = [exact_transition(SCHEDULE, np.array([c]), lam[i : i + 2], tau) for i in (0, 1)]
    gain, noise = exact_transition(SCHEDULE, np.array([c]), (lam[0], lam[2]), tau)
    assert gain[0] == pytest.approx(parts[0][0][0] * parts[1][0][0], rel=1e-10)
    assert gain[0] ** 2 * variance[0] + noise[0] == pytest.approx(variance[2], rel=1e-10)


@pytest.mark.parametrize(
    ("call", "match"),
    [(lambda: cs.reverse_kernel(0.1, -1.0), "tau=-1"), (lambda: cs.reverse_kernel(0.1, math.inf), "tau=inf"),
     (lambda: cs.reverse_kernel(0.1, 1.0, "velocity"), "prediction='velocity'"),
     (lambda: cs.ddim_eta(0.1, -0.5), "eta=-0.5"),
     (lambda: cs.ddim_eta(2.0, 1.5), "eta=1.5"), (lambda: find("sde_nothing"), "sde_nothing")],
)  # fmt: skip
def test_bad_input_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()

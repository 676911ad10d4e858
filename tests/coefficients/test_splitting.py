"""Split steps: the official samplers are reproduced, the marginals kept, and out-of-range noise is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients import splitting
from diffnum.coefficients.catalogue import method as find
from diffnum.coefficients.stochastic import ddim_eta
from diffnum.convergence.stochastic import law_study, weak_study

EDM = dn.schedules.EDM()
LAM = np.array([-2.0, -1.3, -0.9, 0.1, 0.6])
GRID = dn.grids.from_half_log_snr(EDM, LAM)
PROBLEM = dn.problems.three_peaks()
DRAWS = np.random.default_rng(3).standard_normal((len(LAM) - 1, 2, 5, 1))
START = np.random.default_rng(4).standard_normal((5, 1)) * np.exp(2.0)


def ours(name, **options):
    numbers = dn.plan(find(name), EDM, GRID, **options)
    return dn.solve(numbers, PROBLEM.denoiser(EDM, "data"), START, noise=lambda step, j, _: DRAWS[step, j])


def official():
    """k-diffusion's samplers as installed, and torch."""
    libraries = pytest.importorskip("diffnum.foreign.libraries")
    torch = pytest.importorskip("torch")
    try:
        return libraries.k_diffusion_sampling(), torch
    except ImportError as error:
        pytest.skip(str(error))


def theirs(function, path=None, **options):
    """k-diffusion's function on the same model, grid and draws."""
    sampling, torch = official()
    exact = PROBLEM.denoiser(EDM, "data")

    def model(x, sigma):
        return torch.as_tensor(exact(x.numpy(), float(sigma[0])))

    sigmas = torch.tensor(np.exp(-LAM))
    if path is not None:
        options["noise_sampler"] = lambda a, b: torch.as_tensor(path(float(a), float(b)))
    run = getattr(sampling, function)
    return run(model, torch.as_tensor(START), sigmas, disable=True, **options).numpy()


def position(sigma):
    return int(np.argmin(np.abs(np.exp(-LAM) - sigma)))


def whole_step(a, _):
    return DRAWS[position(a), 0]


def in_sigma(a, b):
    """Increments of a path in sigma, cut at the middle node, from the two draws of a step."""
    i = position(a)
    if i + 1 < len(LAM) and abs(b - np.exp(-LAM[i + 1])) < 1e-9:
        middle = np.exp(-0.5 * (LAM[i] + LAM[i + 1]))
        share = (a - middle) / (a - b)
        return math.sqrt(share) * DRAWS[i, 0] + math.sqrt(1 - share) * DRAWS[i, 1]
    return DRAWS[i, 0]


@pytest.mark.parametrize("eta", [1.0, 0.6])
@pytest.mark.parametrize(
    ("name", "function", "path"),
    [
        ("ddim", "sample_euler_ancestral", whole_step),
        ("dpm_2_ancestral", "sample_dpm_2_ancestral", whole_step),
        ("dpmpp_2s_ancestral", "sample_dpmpp_2s_ancestral", whole_step),
        ("dpmpp_sde", "sample_dpmpp_sde", in_sigma),
    ],
)
def test_ancestral_samplers_of_k_diffusion_are_reproduced(name, function, path, eta):
    expected = theirs(function, path, eta=eta)
    np.testing.assert_allclose(ours(f"{name}_eta{eta}"), expected, rtol=1e-11)
    assert np.abs(ours(f"{name}_eta0.7") - expected).max() > 1e-3, "another eta must show"


@pytest.mark.parametrize("r", [0.25, 1 / 3, 0.8, 1.0])
@pytest.mark.parametrize("eta", [1.0, 0.6, 0.0])
def test_dpmpp_sde_of_k_diffusion_is_reproduced_at_every_inner_node(r, eta):
    def cut(a, b):
        i = position(a)
        if r == 1.0:
            return DRAWS[i, 0]
        share = (a - np.exp(-((1 - r) * LAM[i] + r * LAM[i + 1]))) / (a - np.exp(-LAM[i + 1]))
        whole = abs(b - np.exp(-LAM[i + 1])) < 1e-9
        return math.sqrt(share) * DRAWS[i, 0] + math.sqrt(1 - share) * DRAWS[i, 1] if whole else DRAWS[i, 0]

    expected = theirs("sample_dpmpp_sde", cut, eta=eta, r=r)
    name = f"dpmpp_sde_r{r!r}_eta{eta}"
    np.testing.assert_allclose(ours(name), expected, rtol=1e-11)
    assert np.abs(ours(f"dpmpp_sde_eta{eta}") - expected).max() > 1e-3, "another node must show"


@pytest.mark.parametrize("name", ["dpmpp_sde_r1/3", "dpmpp_sde_r0.8", "dpmpp_sde_r1"])
def test_every_inner_node_is_proved_and_has_weak_order_2(name):
    proof = dn.prove(name)
    assert proof.ok, proof
    weak_study(name, grids=("uniform",)).assert_order(2)
    with pytest.raises(ValueError, match="0 < r <= 1"):
        find("dpmpp_sde_r1.5")


def test_the_law_of_dpmpp_sde_has_order_2_at_every_eta_though_weak_order_is_1():
    record = find("dpmpp_sde_eta0.5")
    assert (record.noise.weak, record.noise.law) == (1, 2)
    law_study(record, grids=("uniform",)).assert_order(2)
    weak_study(record, grids=("uniform",)).assert_order(1)


@pytest.mark.parametrize("solver_type", ["midpoint", "heun"])
@pytest.mark.parametrize("eta", [1.0, 0.49])
def test_two_step_samplers_of_k_diffusion_are_reproduced(solver_type, eta):
    name = {"midpoint": "sde_dpmpp_2m", "heun": "sde_dpmpp_2m_heun"}[solver_type]
    expected = theirs("sample_dpmpp_2m_sde", whole_step, eta=eta, solver_type=solver_type)
    np.testing.assert_allclose(ours(f"{name}_tau{math.sqrt(eta):.17g}"), expected, rtol=1e-11)


@pytest.mark.parametrize("eta", [1.0, 0.49])
def test_the_three_step_sampler_of_k_diffusion_is_reproduced(eta):
    expected = theirs("sample_dpmpp_3m_sde", whole_step, eta=eta)
    np.testing.assert_allclose(ours(f"sde_dpmpp_3m_tau{math.sqrt(eta):.17g}"), expected, rtol=1e-11)


@pytest.mark.parametrize(
    ("name", "function"),
    [("edm_euler", "sample_euler"), ("edm_heun", "sample_heun"), ("dpm_2", "sample_dpm_2")],
)
@pytest.mark.parametrize("s_churn", [0.0, 0.8, 10.0])
def test_churned_samplers_of_k_diffusion_are_reproduced(name, function, s_churn, monkeypatch):
    sampling, torch = official()
    draws = iter(DRAWS[:, 0])
    monkeypatch.setattr(sampling.torch, "randn_like", lambda _: torch.as_tensor(next(draws)))
    limits = {"s_min": 0.7, "s_max": 5.0}
    gamma = splitting.churn(np.exp(-LAM[:-1]), s_churn, **limits)
    assert (gamma > 0).any() == (s_churn > 0)
    assert gamma.max() <= splitting.CHURN_LIMIT
    expected = theirs(function, s_churn=s_churn, s_tmin=limits["s_min"], s_tmax=limits["s_max"])
    np.testing.assert_allclose(ours(f"{name}_churn_given", parameters={"churn": gamma}), expected, rtol=1e-11)


@pytest.mark.parametrize(
    ("name", "plain"),
    [("edm_heun_churn_tau0", "edm_heun"), ("dpm_2_churn_tau0", "dpm_solver_2"), ("edm_euler_churn_tau0", "ddim"),
     ("dpm_2_ancestral_eta0", "dpm_solver_2"), ("dpmpp_2s_ancestral_eta0", "dpmpp_2s"), ("dpmpp_sde_eta0", "dpmpp_2s")],
)  # fmt: skip
@pytest.mark.parametrize("schedule", [dn.schedules.VPLinear(), dn.schedules.FlowMatching()], ids=lambda s: s.name)
def test_without_noise_a_split_step_is_its_deterministic_one(name, plain, schedule):
    grid = dn.grids.from_half_log_snr(schedule, LAM)
    x = START / 8
    numbers = [dn.plan(m, schedule, grid) for m in (name, plain)]
    assert not any(step.noises for step in numbers[0].steps)
    ends = [dn.solve(p, PROBLEM.denoiser(schedule, p.prediction), x) for p in numbers]
    np.testing.assert_allclose(*ends, rtol=1e-11)


@given(h=st.floats(1e-6, 5.0), eta=st.floats(0.0, 1.0))
def test_the_stage_of_dpmpp_sde_keeps_known_data_and_its_draws_are_one_path(h, eta):
    (d_r, w_r, v_r), (d, (b1, b2), v), share = splitting.dpmpp_sde(h, 0.5, eta)
    assert d_r * math.exp(-h / 2) + w_r == pytest.approx(1.0, rel=1e-12)
    assert d_r**2 + v_r == pytest.approx(1.0, rel=1e-12)
    assert (d, b1 + b2, v) == pytest.approx(ddim_eta(h, eta), rel=1e-12)
    assert share == pytest.approx(math.expm1(-h / 2) / math.expm1(-h), rel=1e-12)


@given(tau=st.floats(0.1, 2.0), h=st.floats(0.01, 1.0))
def test_churn_of_a_noise_level_and_churn_given_as_a_number_agree(tau, h):
    grid = dn.grids.from_half_log_snr(EDM, [0.0, h])
    gamma = math.expm1(tau**2 * h)
    if gamma > splitting.CHURN_LIMIT:
        return
    level = dn.plan(f"edm_heun_churn_tau{tau:.17f}", EDM, grid)
    given_number = dn.plan("edm_heun_churn_given", EDM, grid, parameters={"churn": gamma})
    for name in ("U", "A", "V", "B", "noise"):
        np.testing.assert_allclose(getattr(level[0], name), getattr(given_number[0], name), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["dpm_2_ancestral", "dpm_2_ancestral_eta0.5", "edm_heun_churn_tau0.7"])
def test_a_split_method_of_second_order_is_so_in_law_and_not_given_the_start(name):
    law_study(name, grids=("uniform",)).assert_order(2)
    weak_study(name, grids=("uniform",)).assert_order(1)


def test_independent_draws_cost_dpmpp_sde_its_weak_order():
    from dataclasses import replace

    from diffnum.tableau import Step, Vector

    record = find("dpmpp_sde")

    def independent(window, order):
        step = record.rule(window, order)
        x = {name: w for name, w in step.x.items() if name[0] != "z"}
        return Step(step.stages, Vector(x | {"z2": splitting.dpmpp_sde(window.step)[1][2] ** 0.5}), step.memory)

    weak_study("dpmpp_sde", grids=("uniform",)).assert_order(2)
    weak_study(replace(record, rule=independent), grids=("uniform",)).assert_order(1)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: splitting.churn([1.0], -1.0), "s_churn=-1"),
        (lambda: splitting.churn([1.0], math.inf), "s_churn=inf"),
        (lambda: splitting.churn([1.0], 1.0, 2.0, 1.0), "s_min=2"),
        (lambda: dn.plan("edm_heun_churn_given", EDM, GRID, parameters={"churn": 0.5}), "churn=0.5"),
        (lambda: dn.plan("edm_heun_churn_given", EDM, GRID, parameters={"churn": -0.1}), "churn=-0.1"),
        (lambda: dn.plan("edm_heun_churn_given", EDM, GRID), "takes exactly"),
        (lambda: splitting.dpmpp_sde(0.1, 0.5, -1.0), "eta=-1"),
        (lambda: weak_study("edm_heun_churn_given"), "takes churn from its caller"),
    ],
)
def test_noise_out_of_range_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_churn_beyond_the_noisy_end_of_the_schedule_is_refused():
    schedule = dn.schedules.VPLinear()
    grid = dn.grids.uniform_half_log_snr(schedule, 4)
    with pytest.raises(ValueError, match="noisier than the schedule"):
        dn.plan("edm_heun_churn", schedule, grid)

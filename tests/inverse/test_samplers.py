"""Posterior samplers: records are complete, what they leave out shows, and what they lack is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import diffnum as dn
from diffnum.inverse import METHODS, Linear, calibration, default_plan, mask, measured_bias, projections, sample
from diffnum.inverse.samplers.repaint import visits
from tests.optional import optional

torch = optional("torch")
SCHEDULE = dn.schedules.VPLinear()
PRIOR = dn.Gaussian([0.4, -0.2], [[1.0, 0.3], [0.3, 0.5]])
LAW = dn.GaussianMixture([0.3, 0.4, 0.3], [[-2.0, 0.0], [0.0, 1.5], [2.0, -0.5]], [0.15, 0.2, 0.1])
OP, MASK = Linear([[1.0, 0.5]]), mask([True, False])
PLAIN = [name for name, record in METHODS.items() if "posterior model" not in record.needs]


def operator_of(name):
    return MASK if "mask" in METHODS[name].needs else OP


def options_of(name):
    return (
        {"langevin": 5, "lr": 2e-5}
        if name == "daps"
        else {"particles": 32}
        if "particles" in METHODS[name].options
        else {}
    )


@pytest.mark.parametrize("name", METHODS)
def test_records_tell_source_code_and_deviations(name):
    record = METHODS[name]
    assert record.name == name
    assert (record.guess is None) != (record.launch is None)
    assert record.source and record.cite and record.title  # noqa: PT018
    if record.code:
        assert " at " in record.code
    assert record.affine or "gradient" in record.needs or name == "red_diff"
    bibliography = Path(__file__).parents[2] / "book" / "references.bib"
    assert f"{{{record.cite}," in bibliography.read_text(encoding="utf-8")


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", [n for n in PLAIN if "twisted" not in n])
def test_tensors_give_what_arrays_give(name):
    class Fixed:
        """The same normals for both."""

        def __call__(self, step, index, like):
            drawn = np.random.default_rng((step, index)).standard_normal(tuple(like.shape))
            return torch.tensor(drawn) if isinstance(like, torch.Tensor) else drawn

    op, plan = operator_of(name), default_plan(name, SCHEDULE, 10)
    x = np.random.default_rng(0).standard_normal((3, 2))
    arguments = {"method": name, "plan": plan, "noise": Fixed(), **options_of(name)}
    model = LAW.denoiser(SCHEDULE)
    array = sample(model, op, [0.7], 0.3, x=x, **arguments)
    tensor = sample(model, op, torch.tensor([0.7], dtype=torch.float64), 0.3, x=torch.tensor(x), **arguments)
    np.testing.assert_allclose(tensor.numpy(), array, atol=1e-10)


@pytest.mark.parametrize(("name", "options"), [("dps", {"scale": 0.0}), ("dps_squared", {"scale": 0.0}), ("pigdm", {})])
def test_without_a_pull_what_is_left_is_the_prior(name, options):
    plan = default_plan(name, SCHEDULE, 20)
    x = np.random.default_rng(0).standard_normal((4, 2))
    model = LAW.denoiser(SCHEDULE)
    got = sample(model, OP, [0.7], 1e9, method=name, plan=plan, x=x, seed=1, **options)
    from diffnum.solver.noise import PopulationStreams

    np.testing.assert_allclose(got, dn.solve(plan, model, x, noise=PopulationStreams(1)), atol=1e-9)


def test_a_conditioned_model_runs_by_any_solver():
    model = METHODS["pigdm"](LAW.denoiser(SCHEDULE), OP, [0.7], 0.3)
    plan = default_plan("pigdm", SCHEDULE, 20)
    x = np.random.default_rng(0).standard_normal((4, 2))
    np.testing.assert_allclose(
        dn.solve(plan, model, x), sample(LAW.denoiser(SCHEDULE), OP, [0.7], 0.3, method="pigdm", plan=plan, x=x)
    )


def test_the_samplers_that_are_consistent_find_the_modes_and_moment_matching_does_not():
    found = {name: measured_bias(name, LAW, OP, [0.8], 0.3, n=2000, steps=60) for name in ("moment_matching", "pigdm")}
    found |= {
        "twisted_wide": measured_bias("twisted_wide", LAW, OP, [0.8], 0.3, n=2000, steps=60, particles=4000),
        "mean_reverting": measured_bias("mean_reverting", LAW, OP, [0.8], 0.3, n=2000, steps=60),
    }
    assert found["twisted_wide"].mass < 0.04
    assert found["mean_reverting"].mass < 0.02
    assert min(found["moment_matching"].mass, found["pigdm"].mass) > 0.1


def test_calibration_tells_the_posterior_from_what_is_too_narrow():
    right, narrow = (
        calibration(name, PRIOR, OP, 0.3, pairs=200, draws=49, steps=60) for name in ("moment_matching", "dds")
    )
    (share,), (error,) = right.coverage(0.9)
    assert abs(share - 0.9) < 4 * error + 0.02
    assert narrow.coverage([0.9])[0][0] < 0.6


def test_repaint_goes_through_each_stretch_as_often_as_it_says():
    went = list(visits(20, 5, 3))
    assert sum(forwards for _, forwards in went) == 20 + 2 * 5 * 3
    assert [step for step, forwards in went if forwards][-1] == 19
    assert [forwards for _, forwards in visits(7, 10, 10)] == [True] * 7
    at = 0
    for step, forwards in went:  # each goes on from where the last one ended
        assert step == (at if forwards else at - 1)
        at = step + 1 if forwards else step


class _NoDerivative:
    prediction = "data"
    schedule = SCHEDULE

    def __call__(self, x, _):
        return 0.0 * x


SUMS = projections(lambda x: x.cumsum(1), lambda y: y[:, ::-1].cumsum(1)[:, ::-1], (2,))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"y": [0.7, 0.1]}, ValueError, r"y has shape \(2,\): the operator 'dense' measures \(1,\)"),
        ({"y": [np.nan]}, ValueError, "y is not finite"),
        ({"noise_std": -1.0}, ValueError, "noise_std=-1.0: give the standard deviation"),
        ({"noise_std": "a"}, TypeError, "noise_std='a' is a str"),
        ({"noise_std": 0.0, "method": "dps_score"}, ValueError, "noise_std=0: 'dps_score' divides by the variance"),
        ({"noise_std": 0.0, "method": "diffpir"}, ValueError, "noise_std=0: 'diffpir' divides"),
        ({"method": "dsp"}, ValueError, "method='dsp' is unknown: use one of daps, "),
        ({"method": "repaint"}, ValueError, "op: 'repaint' pastes measured entries: give it a mask"),
        ({"method": "ddrm", "op": SUMS, "y": [0.0, 1.0]}, ValueError, "op: 'ddrm' needs singular values"),
        ({"method": "mean_reverting"}, ValueError, "takes a model of the data given the measurement"),
        ({"model": _NoDerivative()}, ValueError, "model is a _NoDerivative without derivatives"),
        ({"model": 3}, TypeError, "model=3 is no model"),
        ({"op": [[1.0, 0.5]]}, TypeError, "op is a list: pass diffnum.inverse.Linear"),
        ({"strength": 2.0}, TypeError, "strength=2.0 is no option of 'pigdm': its options are variance"),
        ({"variance": -1.0}, ValueError, "variance=-1.0: pass a finite number >= 0"),
        ({"variance": np.nan}, ValueError, "variance=nan: pass a finite number >= 0"),
        ({"method": "dps", "scale": "a"}, TypeError, "scale='a' is a str: pass a number"),
        ({"method": "dds", "eta": 2.0}, ValueError, "eta=2.0: pass a finite number >= 0 and <= 1"),
        ({"method": "dds", "gamma": -1.0}, ValueError, "gamma=-1.0: pass a finite number >= 0"),
        ({"method": "dds", "early": 1}, TypeError, "early=1: give True or False"),
        ({"method": "dds", "iterations": 2.5}, TypeError, "iterations=2.5 is a float: pass a whole number >= 0"),
        ({"method": "ddrm", "eta": 3.0}, ValueError, "eta=3.0: pass a finite number"),
        ({"method": "diffpir", "zeta": 2.0}, ValueError, "zeta=2.0: pass a finite number"),
        ({"method": "diffpir", "weight": 0.0}, ValueError, "weight=0.0: pass a finite number > 0"),
        ({"method": "daps", "flow": 0}, ValueError, "flow=0: pass a whole number >= 1"),
        ({"method": "daps", "langevin": -3}, ValueError, "langevin=-3: pass a whole number >= 1"),
        ({"method": "daps", "tau": 0.0}, ValueError, "tau=0.0: pass a finite number > 0"),
        ({"method": "twisted", "particles": 1}, ValueError, "particles=1: pass a whole number >= 2"),
        ({"method": "repaint", "op": MASK, "jump_length": 0}, ValueError, "jump_length=0: pass a whole number >= 1"),
        ({"method": "repaint", "op": MASK, "jump_samples": 0}, ValueError, "jump_samples=0: pass a whole number"),
        ({"method": "red_diff", "lr": -1.0}, ValueError, "lr=-1.0: pass a finite number > 0"),
        ({"noise": 3}, TypeError, r"noise=3 is a int: pass a function noise\(step, index, like\)"),
        ({"n": 3, "y": np.zeros((2, 1))}, ValueError, "n=3: y holds 2 measurements, one a sample"),
        ({"x": np.zeros((3, 2)), "y": np.zeros((2, 1))}, ValueError, "y holds 2 measurements, x 3 samples"),
        ({"x": np.zeros((3, 3))}, ValueError, r"x has shape \(3, 3\): the operator acts on samples of shape \(2,\)"),
        ({"x": np.zeros((3, 2)), "n": 2}, ValueError, "x has 3 samples, n=2"),
        ({"x": [0.0]}, TypeError, "x is a list"),
        ({"plan": "ddim"}, TypeError, "plan='ddim' is a str"),
        ({"plan": default_plan("dps", dn.schedules.VPCosine(), 5)}, ValueError, "model has the schedule VPLinear"),
    ],
)
def test_what_cannot_be_sampled_is_refused(arguments, error, message):
    given = {"model": LAW.denoiser(SCHEDULE), "op": OP, "y": [0.7], "noise_std": 0.3, **arguments}
    with pytest.raises(error, match=message):
        sample(**given)


def test_plans_that_evaluate_more_than_once_a_step_are_refused_where_one_is_corrected():
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, 5, t_start=1.0, t_end=1e-3)
    plan = dn.plan("heun", SCHEDULE, grid)
    with pytest.raises(ValueError, match="has steps of several evaluations; 'dps' corrects each step by one"):
        sample(LAW.denoiser(SCHEDULE), OP, [0.7], 0.3, method="dps", plan=plan)


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        ("repaint", "dpmpp_2m", "'dpmpp_2m' remembers past evaluations, which 'repaint' would mix up"),
        ("twisted", "sde_dpmpp_2m", "'sde_dpmpp_2m' remembers past evaluations, which 'twisted' would mix up"),
        ("twisted_wide", "ddim", "'ddim' draws no noise, and particles are told apart by theirs; use 'sde_dpmpp_1'"),
        ("twisted", "heun", "steps of several evaluations; 'twisted' corrects each step by one, use 'sde_dpmpp_1'"),
    ],
)
def test_plans_that_make_no_sense_are_refused_with_one_that_does(name, method, message):
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, 5, t_start=1.0, t_end=1e-3)
    arguments = {"method": name, "n": 4, **options_of(name)}
    model = LAW.denoiser(SCHEDULE)
    with pytest.raises(ValueError, match=message):
        sample(model, operator_of(name), [0.7], 0.3, plan=dn.plan(method, SCHEDULE, grid), **arguments)
    named = METHODS[name].method  # what the message asks for is taken
    sample(model, operator_of(name), [0.7], 0.3, plan=dn.plan(named, SCHEDULE, grid), **arguments)


SCHEDULES = {
    "variance exploding": dn.schedules.VE(),
    "edm": dn.schedules.EDM(),
    "brownian": dn.schedules.Brownian(),
    "flow": dn.schedules.FlowMatching(),
    "table": dn.schedules.Tabulated(np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000))),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("name", [n for n in PLAIN if n not in ("repaint", "twisted")])
def test_every_schedule_is_gone_through_to_its_end(name, schedule):
    """Mean within a standard deviation and a half of the posterior's: the methods' own bias, and no fault of plans."""
    plan = default_plan(name, schedule, 20)
    level = float(schedule.sigma(float(plan.times[-1]))) / float(schedule.alpha(float(plan.times[-1])))
    assert level < 0.05
    x = sample(LAW.denoiser(schedule), OP, [0.8], 0.3, method=name, plan=plan, n=64, **options_of(name))
    exact = LAW.posterior(OP.matrix, [0.8], 0.3)
    assert np.linalg.norm(x.mean(0) - exact.weights @ exact.means) < 1.6


def test_a_chain_whose_steps_are_too_long_is_refused_and_not_run():
    schedule = dn.schedules.SubVP()
    with pytest.raises(ValueError, match=r"lr=2e-05: at noise level .* longer than it can be without growing"):
        sample(
            LAW.denoiser(schedule), OP, [0.8], 0.3, method="daps", n=4, lr=2e-5, plan=default_plan("daps", schedule, 5)
        )


def test_samplers_that_alter_states_are_no_models():
    with pytest.raises(ValueError, match="'dps' is no model of the posterior: it alters states"):
        METHODS["dps"](LAW.denoiser(SCHEDULE), OP, [0.7], 0.3)


def test_the_chain_of_daps_ends_at_half_the_variance_of_its_likelihood():
    from diffnum.inverse import Inverse
    from diffnum.inverse.samplers.daps import _chained
    from diffnum.solver.noise import PopulationStreams

    problem = Inverse(dn.Gaussian([0.0], 1.0).denoiser(SCHEDULE), Linear([[1.0]]), [0.0], 0.1)
    options = {"lr": 2e-4, "lr_min_ratio": 1.0, "tau": 0.1, "langevin": 150}
    x = _chained(problem, 0, 1, 1.0, np.zeros((4000, 1)), PopulationStreams(0), options)
    assert x.var() == pytest.approx(0.005 / 1.005, rel=0.08)
    assert x.var() < 0.6 * 0.01 / 1.01


def test_ddrm_by_functions_is_ddrm_by_a_full_decomposition():
    A, y, std, eta = np.array([[1.0, 0.5, 0.0], [0.0, 0.2, 0.1]]), np.array([0.7, -0.1]), 0.1, 0.85
    law = dn.GaussianMixture([0.4, 0.6], [[-1.0, 0.0, 0.5], [1.0, 0.3, 0.0]], [0.2, 0.3])
    model, plan = law.denoiser(SCHEDULE), default_plan("ddrm", SCHEDULE, 30)
    drawn = {}

    def noise(step, index, like):
        return drawn.setdefault((step, index), np.random.default_rng((step, index)).standard_normal(like.shape))

    x = np.random.default_rng(0).standard_normal((5, 3))
    got = sample(model, Linear(A), y, std, method="ddrm", plan=plan, x=x, noise=noise)
    u, s, vt = np.linalg.svd(A)
    s, seen = np.array([*s, 0.0]), np.array([*(u.T @ y), 0.0])
    levels = [(float(SCHEDULE.alpha(t)), float(SCHEDULE.sigma(t))) for t in plan.times.tolist()]
    alpha, sigma = levels[0]
    z, rho = x / sigma @ vt.T, sigma / alpha
    clear = s * rho > std
    per = np.divide(std, s, out=np.zeros(3), where=s > 0)
    c = np.where(clear, seen / np.where(clear, s, 1) + np.sqrt(np.maximum(rho**2 - per**2, 0)) * z, rho * z)
    regimes = set()
    for step, (t, (alpha, sigma), (after, spread)) in enumerate(
        zip(plan.times.tolist(), levels, levels[1:], strict=False)
    ):
        state = alpha * c @ vt
        data = model(state, t)
        eps, at, rho = ((state - alpha * data) / sigma) @ vt.T, data @ vt.T, spread / after
        z = noise(step, 1000, x) @ vt.T
        for k in range(3):
            if s[k] and s[k] * rho > std:
                c[:, k] = seen[k] / s[k] + np.sqrt(rho**2 - (std / s[k]) ** 2) * z[:, k]
                regimes.add("noisier")
            elif s[k] and s[k] * rho < std:
                kept = np.sqrt(1 - eta**2) * rho * (seen[k] - s[k] * at[:, k]) / std
                c[:, k] = at[:, k] + kept + eta * rho * z[:, k]
                regimes.add("clearer")
            else:
                c[:, k] = at[:, k] + np.sqrt(1 - eta**2) * rho * eps[:, k] + eta * rho * z[:, k]
                regimes.add("unseen")
    assert len(regimes) == 3
    alpha, _ = levels[-1]
    np.testing.assert_allclose(got, model(alpha * c @ vt, float(plan.times[-1])), atol=1e-10)


def test_a_mean_reverting_process_is_off_by_its_start_and_by_nothing_else():
    centre, spread, mean = 0.2, 0.3, np.array([1.0])
    schedule = dn.schedules.MeanReverting(mean=np.array([centre]), t_max=1.0)
    model = dn.Gaussian(mean, spread).denoiser(schedule)
    plan = default_plan("mean_reverting", schedule, 200)
    from diffnum.inverse.problem import start_of

    start = start_of(plan, np.zeros((1, 1)))
    got = sample(model, Linear([[1.0]]), [0.0], 0.1, method="mean_reverting", plan=plan, x=start)
    (a, s), (b, r) = ((float(schedule.alpha(t)), float(schedule.sigma(t))) for t in plan.times[[0, -1]].tolist())
    gain = np.sqrt((b**2 * spread + r**2) / (a**2 * spread + s**2))
    wanted = b * mean + (1 - b) * centre - gain * a * (mean - centre)
    np.testing.assert_allclose(got[0], wanted, atol=1e-4)
    assert a * (mean[0] - centre) > 0.2
    with pytest.raises(ValueError, match="'dds' takes a process that reverts to zero"):
        sample(model, Linear([[1.0]]), [0.0], 0.1, method="dds", plan=plan)


def test_conjugate_gradients_make_dds_affine_once_there_are_as_many_as_singular_values():
    from diffnum.inverse import exact_law

    prior, op = dn.Gaussian(np.zeros(3), [1.0, 0.5, 0.2]), Linear([[1.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    few, exact = (exact_law("dds", prior, op, 0.3, steps=10, iterations=k)[0] for k in (3, 0))
    np.testing.assert_allclose(few.gain, exact.gain, atol=1e-9)
    with pytest.raises(ValueError, match="is not affine here"):
        exact_law("dds", prior, op, 0.3, steps=10, iterations=1)


def test_samples_that_are_not_finite_are_no_samples():
    inner = LAW.denoiser(SCHEDULE)

    class Steep:
        prediction, schedule = inner.prediction, inner.schedule

        def __call__(self, x, t):
            return inner(x, t)

        def vjp(self, x, t, cotangent):
            return 1e200 * inner.vjp(x, t, cotangent)

    with np.errstate(all="ignore"), pytest.raises(ValueError, match="left samples that are not finite: its correction"):
        sample(Steep(), OP, [0.8], 0.2, n=3, method="pigdm")

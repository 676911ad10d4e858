"""Mean-reverting diffusion: the official recursion, the shifted variable, velocity, orders, and the start."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients.catalogue import method as find
from diffnum.convergence.stochastic import law_study, strong_study
from diffnum.forms import PREDICTIONS
from diffnum.guidance.velocity import VelocityNetwork, velocity
from diffnum.schedules import MeanReverting

MEAN = np.array([0.8, -0.3])
PROCESS = MeanReverting(theta=0.7, sigma_inf=0.6, mean=MEAN)
CENTRED = MeanReverting(theta=0.7, sigma_inf=0.6)
GRID = dn.grids.from_half_log_snr(PROCESS, np.array([-1.5, -1.0, -0.2, 0.1, 0.9, 1.4]))
START = np.random.default_rng(0).standard_normal((4, 2))
DRAWS = np.random.default_rng(1).standard_normal((5, 3, 4, 2))
ALL = [name for name in dn.methods("all") if not find(name).parameters]


class Model:
    """A smooth model of given prediction; with a mean, the same one of the shifted variable."""

    def __init__(self, schedule, prediction):
        self.schedule, self.prediction = schedule, prediction

    def __call__(self, x, t):
        alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        a, b = PREDICTIONS[self.prediction](alpha, sigma)
        shifted = x - self.schedule.mean
        data = np.tanh(shifted) + 0.3 * np.sin(t + shifted[:, ::-1])
        return a * (data + self.schedule.mean) + b * (shifted - alpha * data) / sigma


def noise(step, index, _):
    return DRAWS[step, index]


# -- the official recursion --------------------------------------------------------------------------------


def official(order, prediction, *, stochastic):
    """MRS as in its code, mu written out in every step; states x and predictions not shifted."""
    alpha, sigma, lam = (
        np.array([float(v) for v in f(GRID.t)]) for f in (PROCESS.alpha, PROCESS.sigma, PROCESS.half_log_snr)
    )
    model, x, q = Model(PROCESS, prediction), START, []
    sign = -1.0 if prediction == "data" else 1.0
    for i in range(1, len(lam)):
        q.insert(0, model(x, float(GRID.t[i - 1])))
        h, used = lam[i] - lam[i - 1], min(order, i)
        z = sign * h
        # phi of the code: of -h, +h, or -2h where the equation with noise is stepped in data prediction
        w = 2 * z if stochastic and prediction == "data" else z
        factor = 2.0 if stochastic and prediction == "noise" else 1.0
        phi1 = np.expm1(w)
        phi2 = phi1 / w - 1
        phi3 = phi2 / w - 0.5
        d1 = d2 = 0.0
        if used > 1:
            r = (lam[i - 1] - lam[i - 2]) / h
            d1 = (q[0] - q[1]) / r
        if used > 2:
            s = (lam[i - 2] - lam[i - 3]) / h
            older = (q[1] - q[2]) / s
            d1, d2 = d1 + (d1 - older) * r / (r + s), (d1 - older) / (r + s)
        total = factor * (phi1 * q[0] + phi2 * d1 + phi3 * d2)
        if prediction == "data":
            decay = sigma[i] / sigma[i - 1] * (np.exp(-h) if stochastic else 1.0)
            x = decay * x - alpha[i] * total + MEAN * (1 - decay + decay * alpha[i - 1] - alpha[i])
        else:
            ratio = alpha[i] / alpha[i - 1]
            x = ratio * x - sigma[i] * total + MEAN * (1 - ratio)
        if stochastic:
            variance = -np.expm1(-2 * h) if prediction == "data" else np.expm1(2 * h)
            x = x + sigma[i] * np.sqrt(variance) * DRAWS[i - 1, 0]
    return x


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize(("order", "stochastic"), [(1, False), (2, False), (3, False), (1, True), (2, True)])
def test_the_official_recursion_is_reproduced(order, prediction, stochastic):
    name = f"mrs_{'sde' if stochastic else 'ode'}_{'noise_' if prediction == 'noise' else ''}{order}"
    ours = dn.solve(dn.plan(name, PROCESS, GRID), Model(PROCESS, prediction), START, noise=noise)
    np.testing.assert_allclose(ours, official(order, prediction, stochastic=stochastic), rtol=1e-12)


# -- the shifted variable ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_run_is_the_mean_plus_the_run_of_the_shifted_variable(name):
    # MRS(x; mu, D) = mu + DPM-Solver++(x - mu; D - mu), and so for every method and prediction
    record = find(name)
    numbers = [dn.plan(record, schedule, GRID_OF[schedule]) for schedule in (PROCESS, CENTRED)]
    for prediction in ("data", "noise", "velocity"):
        moved = dn.solve(numbers[0], Model(PROCESS, prediction), START + MEAN, noise=noise)
        centred = dn.solve(numbers[1], Model(CENTRED, prediction), START, noise=noise)
        np.testing.assert_allclose(moved - MEAN, centred, rtol=1e-12, atol=1e-12)


GRID_OF = {PROCESS: GRID, CENTRED: dn.grids.from_half_log_snr(CENTRED, GRID.lam)}


def test_an_unshifted_run_is_no_run_of_the_shifted_variable():
    ends = [dn.solve(dn.plan("mrs_ode_2", s, GRID_OF[s]), Model(s, "data"), START) for s in (PROCESS, CENTRED)]
    assert np.abs(ends[0] - ends[1]).max() > 0.1


# -- velocity ----------------------------------------------------------------------------------------------


@given(t=st.floats(0.05, 4.0), sigma_inf=st.floats(0.1, 3.0))
def test_velocity_of_known_data_and_noise_gives_both_back(t, sigma_inf):
    process = MeanReverting(sigma_inf=sigma_inf, mean=MEAN)
    data, eps = START, DRAWS[0, 0]
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    x = MEAN + alpha * (data - MEAN) + sigma * eps
    v = velocity(data, eps, process, t)
    model = VelocityNetwork(lambda *_: v, process)
    np.testing.assert_allclose(model(x, t), eps, rtol=1e-9, atol=1e-9)
    # the code's data prediction: alpha x - sigma/sigma_inf v + (1 - alpha) mu
    np.testing.assert_allclose(alpha * x - sigma / sigma_inf * v + (1 - alpha) * MEAN, data, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["mrs_ode_1", "mrs_ode_2", "mrs_ode_3", "mrs_ode_noise_2", "mrs_sde_1", "mrs_sde_2"])
def test_a_velocity_network_samples_as_the_noise_model_that_it_stands_for(name):
    plain = Model(PROCESS, "noise")

    def network(x, t):
        alpha, sigma = float(PROCESS.alpha(t)), float(PROCESS.sigma(t))
        eps = plain(x, t)
        return velocity(MEAN + (x - MEAN - sigma * eps) / alpha, eps, PROCESS, t)

    numbers = dn.plan(name, PROCESS, GRID)
    ends = [dn.solve(numbers, m, START, noise=noise) for m in (plain, VelocityNetwork(network, PROCESS))]
    np.testing.assert_allclose(*ends, rtol=1e-11)


def test_the_velocity_of_the_standard_process_is_the_prediction_v():
    process, t = MeanReverting(), 0.8
    a, b = PREDICTIONS["v"](float(process.alpha(t)), float(process.sigma(t)))
    np.testing.assert_allclose(velocity(START, DRAWS[0, 0], process, t), a * START + b * DRAWS[0, 0], rtol=1e-13)


def test_velocity_networks_of_other_processes_are_refused():
    with pytest.raises(TypeError, match="reverts to no mean"):
        VelocityNetwork(lambda x, t: x, dn.schedules.VPLinear())
    with pytest.raises(TypeError, match="network=3"):
        VelocityNetwork(3, PROCESS)


# -- orders, and the start -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "order"), [("mrs_ode_1", 1), ("mrs_ode_2", 2), ("mrs_ode_3", 2), ("mrs_ode_3_corrected", 3)]
)
def test_orders_of_the_flow_on_a_process_with_a_mean(name, order):
    problem = dn.problems.Gaussian([0.5, -1.0], np.array([[1.0, 0.6], [0.6, 2.0]]))
    study = dn.convergence_study(find(name), problem=problem, schedule=PROCESS, grids=("uniform",))
    study.assert_order(order)
    assert find(name).order == order


@pytest.mark.parametrize(("name", "law"), [("mrs_sde_1", 1), ("mrs_sde_2", 2), ("mrs_sde_noise_2", 2)])
def test_orders_with_noise_on_a_process_with_a_mean(name, law):
    problem = dn.problems.Gaussian([0.5, -1.0], np.array([[1.0, 0.6], [0.6, 2.0]]))
    options = {"problem": problem, "schedule": PROCESS, "grids": ("uniform",), "interval": (-1.5, 2.0)}
    law_study(name, **options).assert_order(law)
    strong_study(name, **options).assert_order(1)


@pytest.mark.parametrize(
    "name", ["mrs_ode_3", "mrs_ode_noise_3", "mrs_sde_2", "mrs_sde_noise_2", "mrs_sde_3_corrected"]
)
def test_the_methods_of_mrs_are_proved(name):
    assert dn.prove(name).ok, str(dn.prove(name))


def test_starting_at_the_mean_leaves_a_bias_that_more_steps_do_not_mend():
    # samplers start from N(mu, sigma^2) and not from the exact law, whose mean is alpha_T (E x_0 - mu) away
    process = MeanReverting(mean=2.0)
    grids = {n: dn.grids.uniform_half_log_snr(process, n, t_start=5.0, t_end=1e-3) for n in (50, 800)}
    bias = []
    for grid in grids.values():
        out = dn.analysis.propagate(dn.plan("mrs_ode_2", process, grid), 0.0, [0.25], start="noise")
        bias.append(float(out.mean[0] - out.marginal_mean[0]))
    alpha, gain = float(process.alpha(5.0)), float(out.exact_gain[0])
    expected = alpha * 2.0 * gain
    assert bias[1] == pytest.approx(expected, rel=1e-3)
    assert bias[0] == pytest.approx(bias[1], rel=0.05)

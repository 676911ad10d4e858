"""ER-SDE: the official recursion, its noise scales, its true order; SA-Solver's tau(t)."""

import functools
import itertools
import math

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients.catalogue import method as find
from diffnum.coefficients.extended_reverse import NOISE_SCALES, NoiseScale, er_sde, reverse_moments
from diffnum.convergence.reverse import exact_transition
from diffnum.convergence.stochastic import law_study
from diffnum.solver.noise import noise_levels

VP = dn.schedules.VPLinear()
LAM = np.array([-1.5, -0.9, -0.5, 0.2, 1.0, 1.3])
GRID = dn.grids.from_half_log_snr(VP, LAM)
PROBLEM = dn.problems.three_peaks()
MODEL = PROBLEM.denoiser(VP, "data")
DRAWS = np.random.default_rng(0).standard_normal((len(LAM) - 1, 4, 1))
START = np.random.default_rng(1).standard_normal((4, 1))

FUNCTIONS = {
    "ode": lambda x: x,
    "sde": lambda x: x**2,
    "sde1": lambda x: x * (sp.exp(-1 / x) + 10),
    "sde2": lambda x: x ** sp.Rational(3, 2),
    "sde3": lambda x: x ** sp.Rational(5, 2),
    "sde4": lambda x: x ** sp.Rational(9, 10) * sp.log(1 + 100 * x ** sp.Rational(3, 2), 10),
    "sde5": lambda x: x * (sp.exp(x ** sp.Rational(3, 10)) + 10),
}


@pytest.mark.parametrize("name", NOISE_SCALES)
def test_the_noise_scales_are_those_of_the_code(name):
    x = sp.symbols("x", positive=True)
    phi = FUNCTIONS[name](x)
    scale = NOISE_SCALES[name]
    at = np.array([0.02, 0.3, 1.0, 7.0])
    exact = np.array([float(phi.subs(x, value)) for value in at])
    ratio = scale(at) / exact
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)
    slope = x * sp.diff(sp.log(phi / x), x)
    np.testing.assert_allclose(scale.squared(at), [float(slope.subs(x, v)) for v in at], rtol=1e-10, atol=1e-12)


def clipped(variance):
    """Variance without rounding; the code cuts off at 1e-6, so that fine grids lose their noise at small sigma."""
    return variance if variance > 1e-14 else 0.0


def official(order, name, *, cells=None):
    """The recursion of the official code; integrals by quadrature where ``cells`` is None, else its sums."""
    x_symbol = sp.symbols("x", positive=True)
    phi = sp.lambdify(x_symbol, FUNCTIONS[name](x_symbol), "numpy")
    alpha, rho = (np.array([float(VP.alpha(t)) for t in GRID.t]), np.exp(-LAM))
    x, values, slopes = START, [], []
    for i in range(len(LAM) - 1):
        a, b = rho[i], rho[i + 1]
        values.append(MODEL(x, float(GRID.t[i])))

        def integral(f, a=a, b=b):
            if cells:
                return sum(f(b + j / cells * (a - b)) for j in range(cells)) * (a - b) / cells
            points, weights = np.polynomial.legendre.leggauss(60)
            return 0.5 * (a - b) * float(f(0.5 * (a + b) + 0.5 * (a - b) * points) @ weights)

        r = phi(b) / phi(a)
        new = alpha[i + 1] / alpha[i] * r * x + alpha[i + 1] * (1 - r) * values[-1]
        used = min(order, i + 1)
        if used > 1:
            slopes.append((values[-1] - values[-2]) / (a - rho[i - 1]))
            new = new + alpha[i + 1] * (b - a + phi(b) * integral(lambda s: 1 / phi(s))) * slopes[-1]
        if used > 2:
            bend = 2 * (slopes[-1] - slopes[-2]) / (a - rho[i - 2])
            second = (b - a) ** 2 / 2 + phi(b) * integral(lambda s, a=a: (s - a) / phi(s))
            new = new + alpha[i + 1] * second * bend
        x = new + alpha[i + 1] * math.sqrt(clipped(b**2 - (a * r) ** 2)) * DRAWS[i]
    return x


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", NOISE_SCALES)
@pytest.mark.parametrize("rule", ["", "_riemann"])
def test_the_official_recursion_is_reproduced(order, name, rule):
    numbers = dn.plan(find(f"er_sde_{order}_{name}{rule}"), VP, GRID)
    ours = dn.solve(numbers, MODEL, START, noise=lambda step, *_: DRAWS[step])
    np.testing.assert_allclose(ours, official(order, name, cells=100 if rule else None), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "relative"),
    [("er_sde_1_ode", "ddim"), ("er_sde_1_sde", "sde_dpmpp_1")],
)
def test_er_sde_of_first_order_is_the_method_with_constant_data(name, relative):
    ends = [
        dn.solve(dn.plan(find(m), VP, GRID), MODEL, START, noise=lambda step, *_: DRAWS[step]) for m in (name, relative)
    ]
    np.testing.assert_allclose(*ends, rtol=1e-12)


@pytest.mark.parametrize(("name", "order"), [("er_sde_2_ode", 2), ("er_sde_3_ode", 2), ("er_sde_3_corrected_ode", 3)])
def test_the_third_order_falls_short_and_the_corrected_one_does_not(name, order):
    dn.convergence_study(find(name), grids=("uniform",), problem=PROBLEM).assert_order(order)


@given(a=st.floats(0.05, 20), h=st.floats(1e-4, 3.0), name=st.sampled_from(sorted(NOISE_SCALES)))
def test_moments_are_the_integrals_of_the_paper(a, h, name):
    scale, b = NOISE_SCALES[name], a * math.exp(-h)
    moments = reverse_moments(scale, [a], [b], 2).moments
    assert float(moments[0][0]) == pytest.approx(float(1 - scale(np.array(b)) / scale(np.array(a))), rel=1e-9)
    points, weights = np.polynomial.legendre.leggauss(80)
    lam = 0.5 * h * (points + 1)
    rho = a * np.exp(-lam)
    by_parts = b - a + float(scale(np.array(b))) * 0.5 * h * float((rho / scale(rho)) @ weights)
    assert float(moments[1][0]) * (b - a) == pytest.approx(by_parts, rel=1e-6, abs=1e-11 * a)


def phi_of(name):
    """Noise scale function in mpmath numbers."""
    x = sp.symbols("x", positive=True)
    return sp.lambdify(x, FUNCTIONS[name](x), "mpmath")


PLACES = [(1e-3, 1e-12), (1.0, 1e-6), (0.05, 0.1), (2.0, 3.0), (1e-3, 20.0), (1e-40, 120.0)]


@pytest.mark.parametrize("name", NOISE_SCALES)
@pytest.mark.parametrize(("end", "h"), PLACES)
def test_moments_and_noise_are_within_eight_units_of_fifty_digits(name, end, h):
    start, scale = end * math.exp(h), NOISE_SCALES[name]
    kernel, rise = reverse_moments(scale, start, end, 3), float(scale.rise(start, end))
    with mpmath.workdps(120):  # 1 + 100 rho^1.5 alone needs 60 digits at the cleanest end
        phi, a, b = phi_of(name), mpmath.mpf(start), mpmath.mpf(end)
        # the first two moments by parts, in integrals of 1/phi over parts in which it is smooth
        cuts = [mpmath.exp(u) for u in mpmath.linspace(mpmath.log(b), mpmath.log(a), max(5, math.ceil(h / 2) + 1))]
        inverse = functools.cache(lambda r: 1 / phi(r))  # both integrals ask at the same points
        total = sum(mpmath.quad(inverse, pair, method="gauss-legendre") for pair in itertools.pairwise(cuts))
        first = sum(
            mpmath.quad(lambda r: (r - a) * inverse(r), pair, method="gauss-legendre")
            for pair in itertools.pairwise(cuts)
        )
        true = 1 - phi(b) / phi(a), 1 - phi(b) * total / (a - b), 1 + 2 * phi(b) * first / (a - b) ** 2
        gathered = mpmath.log(phi(a) / a) - mpmath.log(phi(b) / b)
        for found, value in zip((*kernel.moments, rise), (*true, gathered), strict=True):
            assert abs(mpmath.mpf(float(found)) - value) <= 8 * 2.0**-52 * abs(value) + (name == "ode") * 1e-60


def test_short_steps_of_logarithms_that_are_subtracted_would_be_seen():
    a, b = 1e-3 * math.exp(1e-9), 1e-3
    scale = NOISE_SCALES["sde4"]
    naive = float(scale.log_excess(np.float64(a)) - scale.log_excess(np.float64(b)))
    assert abs(naive / float(scale.rise(a, b)) - 1) > 8 * 2.0**-52


def test_quadratic_data_are_integrated_exactly_by_the_corrected_weights_alone():
    kernel = reverse_moments(NOISE_SCALES["sde5"], np.array([1.0]), np.array([0.4]), 3)
    for corrected in (True, False):
        weights = er_sde(kernel, (np.array([-0.7]), np.array([-1.9])), corrected=corrected)
        nodes = (0.0, -0.7, -1.9)
        for power in (0, 1, 2):
            total = sum(w * u**power for w, u in zip(weights, nodes, strict=True))
            matches = total == pytest.approx(kernel.moment(power), rel=1e-12)
            assert matches == (corrected or power < 2)


def test_a_varying_noise_level_has_the_transition_of_small_constant_steps():
    scale, c = NOISE_SCALES["sde5"], np.array([0.1, 2.0])
    nodes = np.linspace(-1.0, 1.0, 401)
    gain, variance = np.ones(2), np.zeros(2)
    for a, b in zip(nodes[:-1], nodes[1:], strict=True):
        tau = float(np.sqrt(scale.squared(np.exp(-0.5 * (a + b)))))
        g, v = exact_transition(VP, c, (a, b), tau)
        gain, variance = gain * g, variance * g**2 + v
    whole = exact_transition(VP, c, (-1.0, 1.0), scale)
    np.testing.assert_allclose(whole, (gain, variance), rtol=1e-5)


def test_the_published_quadrature_costs_order_in_law():
    coarse = law_study("er_sde_2", grids=("uniform",)).order
    assert coarse == 2
    fine = law_study("er_sde_2_riemann", grids=("uniform",), steps=(160, 320, 640, 1280, 2560))
    assert fine.order != 2


def test_a_noise_scale_that_asks_for_negative_variance_is_refused():
    falling = NoiseScale("falling", lambda x: -np.log(x), lambda x: -1 + 0 * x)
    with pytest.raises(ValueError, match=r"'falling' grows more slowly"):
        falling.rise(np.array([2.0]), np.array([1.0]))


# -- tau(t) ------------------------------------------------------------------------------------------------


def sa_solver(tau, prediction):
    """SA-Solver's recursion with predictor 2 and corrector 3 in the official notation, last step predicted only."""
    alpha, sigma = (np.array([float(f(t)) for t in GRID.t]) for f in (VP.alpha, VP.sigma))
    model = PROBLEM.denoiser(VP, prediction)
    points, weights = np.polynomial.legendre.leggauss(40)

    def move(x, i, at, values):
        a, b, level = LAM[i], LAM[i + 1], tau[i]
        lam = 0.5 * (a + b) + 0.5 * (b - a) * points
        basis = [
            np.prod([(lam - at[k]) / (at[j] - at[k]) for k in range(len(at)) if k != j], axis=0) for j in range(len(at))
        ]
        if prediction == "data":
            kernel = (1 + level**2) * sigma[i + 1] * np.exp(-(level**2) * b) * np.exp((1 + level**2) * lam)
            decay, scale = math.exp(-(level**2) * (b - a)) * sigma[i + 1] / sigma[i], -np.expm1(-2 * level**2 * (b - a))
        else:
            kernel = -(1 + level**2) * alpha[i + 1] * np.exp(-lam)
            decay, scale = alpha[i + 1] / alpha[i], level**2 * np.expm1(2 * (b - a))
        coefficients = [0.5 * (b - a) * float((kernel * p) @ weights) for p in basis]
        if len(at) == 2 and prediction == "data":  # the code's shortcut: h^2/2 for the first moment
            exact = 0.5 * (b - a) * float((kernel * (lam - a)) @ weights)
            shift = (alpha[i + 1] * (1 + level**2) * (b - a) ** 2 / 2 - exact) / (at[0] - at[1])
            coefficients = [coefficients[0] + shift, coefficients[1] - shift]
        drift = sum(c * v for c, v in zip(coefficients, values, strict=True))
        return decay * x + drift + sigma[i + 1] * math.sqrt(scale) * DRAWS[i]

    x, values = START, [model(START, float(GRID.t[0]))]
    n = len(LAM) - 1
    for i in range(n):
        used = min(2, i + 1)
        predicted = move(x, i, LAM[i::-1][:used], values[::-1][:used])
        if i == n - 1:
            return predicted
        values.append(model(predicted, float(GRID.t[i + 1])))
        used = min(3, i + 2)
        x = move(x, i, LAM[i + 1 :: -1][:used], values[::-1][:used])
    return x


@pytest.mark.parametrize("prediction", ["data", "noise"])
def test_sa_solver_with_a_noise_level_that_depends_on_time(prediction):
    tau = noise_levels(GRID, lambda t: 0.8 * (t < 0.3))
    name = "sa_solver_2_3_given" if prediction == "data" else "sa_solver_noise_2_3_given"
    numbers = dn.plan(find(name), VP, GRID, parameters={"tau": tau})
    model = PROBLEM.denoiser(VP, prediction)
    ours = dn.solve(numbers, model, START, noise=lambda step, *_: DRAWS[step])
    np.testing.assert_allclose(ours, sa_solver(tau, prediction), rtol=1e-9)
    assert len(set(tau.tolist())) == 2, "the level must change for the test to mean something"


def test_noise_levels_are_taken_at_the_ends_of_the_intervals_as_the_code_does():
    levels = noise_levels(GRID, lambda t: t)
    np.testing.assert_array_equal(levels, GRID.t[1:])
    np.testing.assert_array_equal(noise_levels(GRID, lambda t: t, at="start"), GRID.t[:-1])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: noise_levels(GRID, lambda _: -1.0), "tau is negative or not finite"),
        (lambda: noise_levels(GRID, lambda t: t, at="middle"), "at='middle'"),
        (lambda: dn.plan("sa_solver_3_4_given", VP, GRID, parameters={"tau": -0.5}), "tau="),
        (lambda: dn.plan("sa_solver_3_4_given", VP, GRID), "takes exactly"),
        (lambda: find("er_sde_2_corrected"), "unknown"),
        (lambda: find("er_sde_4"), "unknown"),
    ],
)
def test_bad_levels_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()

"""Stochastic steps of flow models: as shipped, on every process, with the law that each tends to."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients.extended_reverse import dance_scale, noise_scale
from diffnum.coefficients.flow_sde import DIVISIONS, flow_step, noise_window
from tests.official.flow_steps import STEPS, er_sde, run

FLOW = dn.schedules.FlowMatching(shift=3.0)
MEMBERS = {
    "flow_sde": ("flow_sde_0.7", 0.7),
    "dance_sde": ("dance_sde_0.3", 0.3),
    "cps": ("cps_0.5", 0.5),
    "precise_sde": ("precise_sde_0.7", 0.7),
    "dance_precise": ("er_sde_1_dance0.3", 0.3),
    "euler_ancestral_rf": ("euler_ancestral_rf_1", 1.0),
}
DATA = dn.Gaussian(np.array([0.5, -1.0]), np.array([0.25, 2.0]))
levels = st.floats(0.01, 1.0)
times = st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)).filter(lambda p: p[0] - p[1] > 1e-6)


def plan_of(name: str, n: int, schedule: object = FLOW, end: float = 0.05, **options: object) -> dn.Plan:
    return dn.plan(name, schedule, dn.grids.uniform_time(schedule, n=n, t_start=0.95, t_end=end), **options)


def deviation(name: str, n: int, variance: float, schedule: object = FLOW) -> float:
    """Standard deviation of the output over that of the data, started from pure noise, ended at the data."""
    grid = dn.grids.uniform_time(schedule, n=n, t_start=0.999, t_end=0.0)
    output = dn.analysis.propagate(dn.plan(name, schedule, grid), 0.0, [variance], start="marginal")
    return float(np.sqrt(output.variance[0] / variance))


@pytest.mark.parametrize("family", STEPS)
def test_a_plan_makes_the_states_of_the_official_loop(family: str) -> None:
    name, level = MEMBERS[family]
    numbers = plan_of(name, 8)
    model = DATA.denoiser(FLOW, "velocity")
    sigmas = np.asarray(FLOW.sigma(numbers.times))
    rng = np.random.default_rng(0)
    x, draws = rng.standard_normal((5, 2)), rng.standard_normal((8, 5, 2))
    expected = run(
        STEPS[family], lambda y, s: model(y, float(FLOW.time(math.log((1 - s) / s)))), x, sigmas, level, draws
    )
    found = dn.solve(numbers, model, x, noise=lambda step, index, like: draws[step])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def test_er_sde_on_a_flow_is_comfyui_s_but_for_its_sums() -> None:
    numbers, model = plan_of("er_sde_3", 8), DATA.denoiser(FLOW, "data")
    sigmas = np.asarray(FLOW.sigma(numbers.times))
    rng = np.random.default_rng(0)
    x, draws = rng.standard_normal((5, 2)), rng.standard_normal((8, 5, 2))
    found = dn.solve(numbers, model, x, noise=lambda step, index, like: draws[step])

    def apart(cells: int) -> float:
        end = er_sde(lambda y, s: model(y, float(FLOW.time(math.log((1 - s) / s)))), x, sigmas, draws, cells)
        return float(np.max(np.abs(end - found)))

    assert apart(200) < 0.01
    assert apart(2000) < 0.12 * apart(200), "the sums are of first order in the cells"


@pytest.mark.parametrize("family", DIVISIONS)
@given(ends=times, level=levels)
def test_the_plain_weights_are_those_of_the_official_step(family: str, ends: tuple[float, float], level: float) -> None:
    a, b, c = flow_step(*ends, level, family)
    mean, std = STEPS[family](1.0, 0.0, *ends, level, ends[1])
    assert (a, c) == pytest.approx((mean, std), rel=1e-7, abs=1e-9)
    assert b == pytest.approx(STEPS[family](0.0, 1.0, *ends, level, ends[1])[0], rel=1e-7, abs=1e-9)


def test_at_pure_noise_the_factor_is_that_of_the_next_node_as_in_the_code() -> None:
    expected = STEPS["flow_sde"](1.0, 0.0, 1.0, 0.9, 0.7, 0.9)
    assert flow_step(1.0, 0.9)[::2] == pytest.approx(expected)
    assert flow_step(0.2, 0.0)[2] == pytest.approx(0.7 * math.sqrt(0.2 / 0.8 * 0.2)), "noise in the step to the data"


@pytest.mark.parametrize("name", [name for name, _ in MEMBERS.values()])
def test_on_every_process_the_step_is_the_same_in_flow_time(name: str) -> None:
    lam = np.array([-1.5, -0.7, 0.1, 1.3])
    rows = []
    for schedule in (FLOW, dn.schedules.FlowMatching(), dn.schedules.VPLinear(), dn.schedules.VE()):
        numbers = dn.plan(name, schedule, dn.grids.from_half_log_snr(schedule, lam))
        sums = schedule.alpha(numbers.times) + schedule.sigma(numbers.times)
        rows.append(
            [
                [s.V[0, 0] * now / then, s.B[0, 0] / then, s.noise[0, 0] / then]
                for s, (now, then) in zip(numbers.steps, pairwise(sums), strict=True)
            ]
        )
    for other in rows[1:]:
        np.testing.assert_allclose(other, rows[0], rtol=1e-9)


@given(ends=times, level=levels)
def test_euler_maruyama_adds_variance_to_known_data_and_the_others_do_not(
    ends: tuple[float, float], level: float
) -> None:
    s, late = ends
    for family in DIVISIONS:
        a, b, c = flow_step(s, late, level, family)
        kept = a * s + b * s / s  # what multiplies eps in x = (1 - s) x_0 + s eps, u = eps - x_0
        total = kept**2 + c**2
        assert a * (1 - s) - b == pytest.approx(1 - late, abs=1e-12), "known data keep their mean"
        new, ratio = (c / s) ** 2, late / s
        excess = s * s * (new * (1 - ratio) + new * new / 4) if family in ("flow_sde", "dance_sde") else 0.0
        assert total - late**2 == pytest.approx(excess, rel=1e-6, abs=1e-11 * (1 + total))


def test_precise_is_the_first_order_method_of_the_reverse_equation() -> None:
    for level in (0.3, 0.7, 1.5):
        ours, twin = (plan_of(n, 6) for n in (f"precise_sde_{level}", f"sde_dpmpp_1_tau{level / math.sqrt(2):.17f}"))
        for a, b in zip(ours.steps, twin.steps, strict=True):
            np.testing.assert_allclose(a.V, b.V, rtol=1e-13)
            np.testing.assert_allclose(a.noise, b.noise, rtol=1e-13)


@pytest.mark.parametrize("eta", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("variance", [0.25, 1.0])
def test_the_deviation_of_cps_tends_to_the_cosine_of_a_quarter_turn_times_eta(eta: float, variance: float) -> None:
    errors = [abs(deviation(f"cps_{eta}", n, variance) - math.cos(eta * math.pi / 4)) for n in (320, 640, 1280)]
    assert errors[-1] < 0.01
    assert errors[2] < 0.7 * errors[1] < 0.5 * errors[0], "the limit is approached"


@pytest.mark.parametrize("name", ["flow_sde_0.7", "dance_sde_0.3", "precise_sde_0.7", "euler_ancestral_rf_1"])
def test_the_deviation_of_the_others_tends_to_that_of_the_data(name: str) -> None:
    coarse, fine = (abs(deviation(name, n, 0.25) - 1) for n in (200, 400))
    assert fine < 0.6 * coarse < 0.1


def test_the_two_step_method_of_the_same_equation_has_the_second_order_in_law() -> None:
    errors = {}
    for name in ("flow_sde_0.7", "precise_sde_0.7", "precise_sde_2m_0.7"):
        outputs = [dn.analysis.propagate(plan_of(name, n), 0.0, [0.25], start="marginal") for n in (80, 320)]
        errors[name] = [abs(o.variance[0] / o.marginal_variance[0] - 1) for o in outputs]
    *first, second = errors.values()
    assert all(3.5 < coarse / fine < 4.5 for coarse, fine in first)
    assert 12 < second[0] / second[1] < 20
    assert second[1] < 0.1 * min(fine for _, fine in first)


def test_noise_in_a_window_leaves_the_other_steps_to_the_flow() -> None:
    numbers = plan_of("flow_sde_given", 8, parameters={"level": noise_window(8, 0.7, 2, 3)})
    euler, noisy = plan_of("flow_euler", 8).for_prediction("data"), plan_of("flow_sde_0.7", 8)
    for i, step in enumerate(numbers.steps):
        other = noisy if i in (2, 3, 4) else euler
        np.testing.assert_allclose(step.V, other.steps[i].V, rtol=1e-9)
        np.testing.assert_allclose(step.B, other.steps[i].B, rtol=1e-9)
        assert (step.noise[0, 0] > 0) == (i in (2, 3, 4))


@pytest.mark.parametrize("name", ["cps", "dance_sde", "euler_ancestral_rf"])
def test_a_given_level_is_that_of_the_member(name: str) -> None:
    one, other = plan_of(f"{name}_given", 5, parameters={"level": 0.5}), plan_of(f"{name}_0.5", 5)
    for a, b in zip(one.steps, other.steps, strict=True):
        np.testing.assert_allclose(a.noise, b.noise, rtol=1e-14)
        np.testing.assert_allclose(a.B, b.B, rtol=1e-14)


def test_without_noise_every_family_is_euler_in_flow_time() -> None:
    for family in DIVISIONS:
        record = dn.method(f"{family}_0")
        assert record.noise is not None
        assert record.noise.silent
        np.testing.assert_allclose(flow_step(0.6, 0.4, 0.0, family), (1.0, -0.2, 0.0), atol=1e-15)


def test_a_level_or_window_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"level=1.5: cps takes one from 0 to 1"):
        dn.method("cps_1.5")
    with pytest.raises(ValueError, match=r"level=-0\.1"):
        flow_step(0.5, 0.4, -0.1)
    with pytest.raises(ValueError, match="family='sde' is unknown"):
        flow_step(0.5, 0.4, 0.1, "sde")
    with pytest.raises(ValueError, match=r"1 >= start > end >= 0; the data are at 0, so times of a code"):
        flow_step(0.4, 0.5)
    with pytest.raises(ValueError, match="from step 6 to 9, and the run has the steps 0 to 7"):
        noise_window(8, 0.7, 6, 4)
    with pytest.raises(ValueError, match=r"level=1\.2"):
        plan_of("cps_given", 4, parameters={"level": 1.2})


def test_the_noise_scale_of_dance_is_found_by_name() -> None:
    assert noise_scale("dance0.3").name == dance_scale(0.3).name
    np.testing.assert_allclose(noise_scale("dance0.3").squared(np.array([2.0])), 0.09 / 4)
    with pytest.raises(ValueError, match="'dancing' is unknown"):
        noise_scale("dancing")

"""The start as an unknown: closed forms on Gaussians, what the answers miss there, and what fails on mixtures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.inverse import START_METHODS, Linear, StartProblem, exact_start, misfit, optimise_start
from diffnum.inverse.start.exact import run_map
from diffnum.inverse.start.methods.reverse_kl import matched_normals
from diffnum.inverse.start.methods.surrogate import few_steps

SCHEDULE = dn.schedules.VPLinear()
LAW = dn.Gaussian([0.3, -0.2, 0.1], [[1.0, 0.4, 0.0], [0.4, 0.6, 0.1], [0.0, 0.1, 0.3]])
MODEL = LAW.denoiser(SCHEDULE)
OP, Y, NOISE = Linear([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]]), [1.5, -0.4], 0.5
LOSS, ZERO = misfit(OP, Y, NOISE), np.zeros((1, 3))


def planned(name: str = "dpmpp_2m", steps: int = 12) -> dn.Plan:
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, n=steps, t_start=1.0, t_end=1e-3)
    return dn.plan(name, SCHEDULE, grid)


PLAN = planned()
EXACT = exact_start(PLAN, MODEL, OP, Y, NOISE)


def found(method: str, **options: Any) -> Any:
    return optimise_start(PLAN, MODEL, LOSS, ZERO, method=method, **options)


def ddim_by_hand(times: Any) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and offset of DDIM on the exact model of the Gaussian, in standard normals: its formula, not its code."""
    sigma = float(SCHEDULE.sigma(times[0]))
    matrix, offset, eye = sigma * np.eye(3), np.zeros(3), np.eye(3)
    C, mean = LAW.covariance_matrix, LAW.mean
    for s, t in zip(times[:-1], times[1:], strict=True):
        (a, b), (c, d) = ((float(SCHEDULE.alpha(u)), float(SCHEDULE.sigma(u))) for u in (s, t))
        gain = a * C @ np.linalg.inv(a**2 * C + b**2 * eye)
        step = d / b * eye + (c - d * a / b) * gain
        offset = step @ offset + (c - d * a / b) * (mean - gain @ (a * mean))
        matrix = step @ matrix
    return matrix, offset


def minimiser(matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Least squares over the start: the misfit and the prior as rows of one system."""
    rows = np.concatenate([OP.matrix @ matrix / NOISE, np.eye(3)])
    right = np.concatenate([(np.asarray(Y) - OP.matrix @ offset) / NOISE, np.zeros(3)])
    return np.linalg.lstsq(rows, right, rcond=None)[0]


def test_the_closed_form_is_least_squares_over_the_start() -> None:
    plan = planned("ddim")
    matrix, offset = ddim_by_hand(plan.times)
    found_matrix, found_offset = run_map(StartProblem(plan, MODEL, LOSS, ZERO))
    np.testing.assert_allclose(found_matrix, matrix, atol=1e-12)
    np.testing.assert_allclose(found_offset, offset, atol=1e-12)
    exact = exact_start(plan, MODEL, OP, Y, NOISE)
    z = minimiser(matrix, offset)
    np.testing.assert_allclose(exact.z, z, atol=1e-10)
    end = matrix @ z + offset
    misfitted = 0.5 * np.sum((np.asarray(Y) - OP.matrix @ end) ** 2) / NOISE**2
    assert exact.objective == pytest.approx(misfitted + 0.5 * z @ z, rel=1e-12)


def test_for_the_exact_flow_the_best_law_is_the_posterior() -> None:
    plan = planned("dpm_solver_3", 400)
    exact = exact_start(plan, MODEL, OP, Y, NOISE)
    matrix, offset = run_map(StartProblem(plan, MODEL, LOSS, ZERO))
    posterior = LAW.mixture.posterior(OP.matrix, Y, NOISE)
    np.testing.assert_allclose(matrix @ exact.z + offset, posterior.means[0], atol=2e-3)
    covariance = matrix @ np.linalg.solve(exact.precision, matrix.T)
    np.testing.assert_allclose(covariance, posterior.covariances[0], atol=2e-3)


def test_descent_finds_the_optimum() -> None:
    answer = found("descent")
    assert EXACT.gap(answer.z) < 1e-12
    assert answer.objective == pytest.approx(EXACT.objective, abs=1e-10)
    np.testing.assert_allclose(answer.end, dn.solve(PLAN, MODEL, answer.x), atol=1e-14)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_gap_of_the_surrogate_is_that_of_two_minimisers(steps: int) -> None:
    nodes = PLAN.times[np.round(np.linspace(0, len(PLAN), steps + 1)).astype(int)]
    expected = EXACT.gap(minimiser(*ddim_by_hand(nodes)))
    answer = found("surrogate", steps=steps)
    assert EXACT.gap(answer.z) == pytest.approx(expected, rel=1e-6)
    assert answer.objective - EXACT.objective == pytest.approx(expected, rel=1e-6)
    assert expected > 1e-3


def test_more_steps_make_a_better_surrogate_and_the_run_itself_an_exact_one() -> None:
    gaps = [EXACT.gap(found("surrogate", steps=n).z) for n in (1, 2, 6)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert EXACT.gap(found("surrogate", short=PLAN).z) < 1e-12


@dataclass(frozen=True)
class FlowMap:
    """Predicts data so that one step of DDIM lands where the exact flow does: a perfect student."""

    prediction: Any = "data"
    schedule: Any = SCHEDULE

    def __call__(self, x: Any, t: Any) -> Any:
        ends = LAW.flow(x, SCHEDULE, float(t), 1e-3)
        (_, sigma), (c, d) = ((float(SCHEDULE.alpha(u)), float(SCHEDULE.sigma(u))) for u in (float(t), 1e-3))
        return (ends - d / sigma * x) / (c - d / sigma * float(SCHEDULE.alpha(float(t))))

    def vjp(self, x: Any, t: Any, cotangent: Any) -> Any:
        columns = [self(x + e, t) - self(x, t) for e in np.eye(3)]
        return np.stack([np.sum(c * cotangent, axis=1) for c in columns], axis=1)


def test_with_a_perfect_student_the_gap_falls_with_the_error_of_the_run_squared() -> None:
    gaps = []
    for steps in (20, 40):
        plan = planned("ddim", steps)
        answer = optimise_start(plan, MODEL, LOSS, ZERO, method="surrogate", student=FlowMap())
        gaps.append(exact_start(plan, MODEL, OP, Y, NOISE).gap(answer.z))
    assert 3.0 < gaps[0] / gaps[1] < 5.0  # order 1, squared


def test_the_invertible_map_finds_the_exact_law() -> None:
    answer = found("reverse_kl", samples=8)
    assert EXACT.law_gap(answer.z, answer.factor) < 1e-10
    np.testing.assert_allclose(answer.factor @ answer.factor.T, np.linalg.inv(EXACT.precision), atol=1e-6)


def test_independent_entries_cost_exactly_their_correlation() -> None:
    answer = found("reverse_kl", samples=8, independent=True)
    np.testing.assert_allclose(answer.factor, EXACT.independent, atol=1e-6)
    sizes = np.sum(np.log(np.diag(EXACT.precision))) - np.linalg.slogdet(EXACT.precision)[1]
    assert EXACT.law_gap(answer.z, answer.factor) == pytest.approx(0.5 * sizes, rel=1e-5)


def test_the_policy_comes_near_the_best_law_with_independent_entries() -> None:
    answer = found("policy", rounds=600, samples=128)
    least = EXACT.law_gap(EXACT.z, EXACT.independent)
    gap = EXACT.law_gap(answer.z, answer.factor) - least
    assert -1e-9 < gap < 0.03
    few = EXACT.law_gap(*(lambda a: (a.z, a.factor))(found("policy", rounds=20))) - least
    assert few > 5 * gap


def test_the_gap_of_candidates_has_the_law_of_a_minimum() -> None:
    """Volume of an ellipsoid: with K candidates the mean gap falls as K^(-2/d); negative control: not faster."""
    gaps = {
        count: np.mean([EXACT.gap(found("candidates", candidates=count, seed=seed).z) for seed in range(60)])
        for count in (64, 512)
    }
    assert abs(np.log2(gaps[64] / gaps[512]) / 3 - 2 / 3) < 0.25


def test_curves_count_evaluations_and_never_rise_where_the_best_is_kept() -> None:
    for method in ("descent", "candidates"):
        answer = found(method)
        costs, values = np.array(answer.curve).T
        assert (np.diff(costs) >= 0).all()
        assert (np.diff(values) <= 0).all()
        assert answer.evaluations == costs[-1] + PLAN.nfe
    assert found("candidates", candidates=10).evaluations == 11 * PLAN.nfe


def conditional(law: dn.GaussianMixture, y: float) -> tuple[Any, dn.GaussianMixture]:
    given = law.posterior([[1.0, 0.0]], [y], 0.3)
    return given.denoiser(SCHEDULE), given


def tasks_of(law: dn.GaussianMixture, ys: Any, generator: np.random.Generator) -> list[StartProblem]:
    """Squared distance from a true value, for a model of the data given each measurement."""
    problems = []
    for y in ys:
        model, given = conditional(law, float(y))
        truth = given.sample(1, seed=int(generator.integers(1 << 30)))[0]
        problems.append(StartProblem(PLAN, model, misfit(Linear(np.eye(2)), truth, 1.0), np.zeros((1, 2)), 0.0))
    return problems


def risk(law: dn.GaussianMixture, z: Any, y: float) -> float:
    """Mean squared distance of the end of one start from true values for a measurement, less the least there is."""
    model, given = conditional(law, y)
    end = dn.solve(PLAN, model, float(SCHEDULE.sigma(1.0)) * np.asarray(z).reshape(1, 2))[0]
    return float(np.sum((end - given.weights @ given.means) ** 2))


def test_one_start_serves_every_measurement_of_a_gaussian_and_not_of_a_mixture() -> None:
    gaussian = dn.GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.5, 1.0]]])
    forked = dn.GaussianMixture([0.5, 0.5], [[-1.0, -1.0], [1.0, 1.0]], [[0.6, 0.02], [0.6, 0.02]])
    worst = {}
    for name, law in (("gaussian", gaussian), ("forked", forked)):
        generator = np.random.default_rng(4)
        ys = law.sample(40, seed=1)[:, 0] + 0.3 * generator.standard_normal(40)
        references = tasks_of(law, ys, generator)
        z = optimise_start(
            PLAN, references[0].model, references[0].loss, np.zeros((1, 2)), weight=0.0, method="candidates",
            candidates=200, references=references,
        ).z  # fmt: skip
        line = np.stack([np.zeros(81), np.linspace(-1, 1, 81)], axis=1)
        asked = (-0.4, 0.0, 0.4)
        worst[name] = max(risk(law, z, y) for y in asked), max(min(risk(law, c, y) for c in line) for y in asked)
    assert worst["gaussian"][0] < 0.1
    assert worst["forked"][0] > 0.25
    assert worst["forked"][1] < 0.1


def test_an_affine_map_that_misses_one_of_two_equal_modes_pays_log_two() -> None:
    """By symmetry the exact law has half its mass on each side; a law on one side is log 2 away at least."""
    law = dn.GaussianMixture([0.5, 0.5], [[-2.0], [2.0]], [0.5, 0.5])
    model = law.denoiser(SCHEDULE)

    def outward(ends: Any) -> Any:
        return 4.0 * (np.abs(ends[:, 0]) - 2.5) ** 2, 8.0 * (np.abs(ends) - 2.5) * np.sign(ends)

    ones = np.ones((1, 1))
    answer = optimise_start(PLAN, model, outward, ones, method="reverse_kl", samples=64)
    z = float(answer.z[0, 0]) + float(answer.factor[0, 0]) * np.random.default_rng(0).standard_normal(4000)
    assert np.mean(z > 0) > 0.99
    line = np.linspace(-7, 7, 4001)
    exponent = -StartProblem(PLAN, model, outward, ones).values(line[:, None])
    free = -np.log(np.sum(np.exp(exponent)) * (line[1] - line[0]) / np.sqrt(2 * np.pi))
    assert free + np.log(2) < answer.curve[-1][1] < free + np.log(2) + 0.5
    flat = optimise_start(PLAN, model, lambda e: (0.0 * e[:, 0], 0.0 * e), ones, method="reverse_kl", samples=64)
    assert abs(float(flat.factor[0, 0]) - 1.0) < 1e-6  # the control: without a loss the law is the prior


def test_matched_normals_have_exact_moments() -> None:
    u = matched_normals(20, 4, seed=1)
    np.testing.assert_allclose(u.mean(axis=0), 0.0, atol=1e-14)
    np.testing.assert_allclose(u.T @ u / 20, np.eye(4), atol=1e-13)


def test_bad_input_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="method='adam' is unknown: use one of candidates, descent"):
        found("adam")
    with pytest.raises(TypeError, match="rounds=3 is no option of 'descent': its options are iterations"):
        found("descent", rounds=3)
    with pytest.raises(ValueError, match="iterations=0"):
        found("descent", iterations=0)
    with pytest.raises(ValueError, match="ddpm draws noise: the end is no function"):
        optimise_start(planned("ddpm"), MODEL, LOSS, ZERO)
    with pytest.raises(ValueError, match=r"loss returned shape \(\) for 1 ends"):
        optimise_start(PLAN, MODEL, lambda ends: (np.sum(ends), ends), ZERO)
    with pytest.raises(ValueError, match="loss is not finite"):
        optimise_start(PLAN, MODEL, lambda ends: (np.full(len(ends), np.nan), ends), ZERO)
    with pytest.raises(ValueError, match="loss returned 3 things"):
        optimise_start(PLAN, MODEL, lambda ends: (1, 2, 3), ZERO)
    with pytest.raises(TypeError, match="loss is a float"):
        optimise_start(PLAN, MODEL, 1.0, ZERO)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"z has shape \(3,\)"):
        optimise_start(PLAN, MODEL, LOSS, np.zeros(3))
    with pytest.raises(ValueError, match="z is not finite"):
        optimise_start(PLAN, MODEL, LOSS, np.full((1, 3), np.inf))
    with pytest.raises(ValueError, match=r"weight=-1\.0"):
        optimise_start(PLAN, MODEL, LOSS, ZERO, weight=-1.0)
    with pytest.raises(TypeError, match="plan="):
        optimise_start("ddim", MODEL, LOSS, ZERO)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the best law is a point"):
        found("reverse_kl", weight=0.0)
    with pytest.raises(ValueError, match="samples=3: an exact covariance of 3 entries takes at least 4"):
        found("reverse_kl", samples=3)
    with pytest.raises(ValueError, match="steps=13: the run has 12"):
        few_steps(PLAN, 13)
    with pytest.raises(ValueError, match="a surrogate takes the start of the run"):
        found("surrogate", short=PLAN[3:])
    with pytest.raises(TypeError, match=r"references\[0\] is a int"):
        found("candidates", references=(3,))
    with pytest.raises(ValueError, match=r"clip=2\.0"):
        found("policy", clip=2.0)
    with pytest.raises(ValueError, match="samples=1: the mean of the others"):
        found("policy", samples=1)
    mixture = dn.problems.three_peaks()
    with pytest.raises(ValueError, match="misses its affine map"):
        exact_start(PLAN, mixture.denoiser(SCHEDULE), Linear([[1.0]]), [0.0], 1.0)
    with pytest.raises(ValueError, match="takes a weight > 0"):
        exact_start(PLAN, MODEL, OP, Y, NOISE, weight=0.0)
    with pytest.raises(ValueError, match="noise_std=0"):
        misfit(OP, Y, 0.0)


@pytest.mark.parametrize("record", START_METHODS.values(), ids=lambda r: r.name)
def test_records_say_what_they_find_and_need(record: Any) -> None:
    answer = found(record.name, **{k: 10 for k in ("rounds",) if k in record.options})
    assert (answer.map is None) == (record.finds == "point")

    class Plain:
        prediction, schedule = MODEL.prediction, SCHEDULE

        def __call__(self, x: Any, t: Any) -> Any:
            return MODEL(x, t)

    def run() -> Any:
        options = {"rounds": 5} if "rounds" in record.options else {}
        return optimise_start(PLAN, Plain(), LOSS, ZERO, method=record, **options)

    if record.gradient:
        with pytest.raises(ValueError, match="without derivatives"):
            run()
    else:
        run()

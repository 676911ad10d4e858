"""DPM-Solver-v3: its degenerate cases, its exactness, its orders, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.calibration.statistics import ModelStatistics, dpm_solver_v3, linear_law
from diffnum.coefficients.adams import lagrange_weights
from diffnum.coefficients.model_statistics import divided_difference_weights

SCHEDULE = dn.schedules.VPLinear()
RNG = np.random.default_rng(0)
STATES = RNG.standard_normal((6, 4))


def problem() -> Any:
    return dn.problems.rotated_product(dim=4, seed=1)


def wavy(element: tuple[int, ...] = (4,), **options: Any) -> ModelStatistics:
    """Smooth statistics that differ between elements."""
    lam = np.linspace(-5.1, 5.0, 121)
    j = np.arange(int(np.prod(element))).reshape(element)
    column = lam.reshape((-1, *(1,) * len(element)))
    slope = (0.9 - 0.05 * j) / (1 + np.exp(-0.8 * (column + 0.3 * j)))
    return ModelStatistics(
        lam, slope, 0.3 * np.sin(0.7 * column + 0.4 * j), 0.1 * np.cos(0.5 * column - 0.2 * j), **options
    )


def run(
    method: Any, schedule: Any = SCHEDULE, prediction: str = "noise", n: int = 8, x: Any = STATES, **grid: Any
) -> Any:
    nodes = dn.grids.uniform_half_log_snr(schedule, n, t_start=grid.get("t_start", 1.0), t_end=grid.get("t_end", 1e-3))
    return dn.solve(dn.plan(method, schedule, nodes), problem().denoiser(schedule, prediction), x)


# -- degenerate cases ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("prediction", ["noise", "data", "v"])
@pytest.mark.parametrize(("constants", "name"), [((1.0, 0.0, 0.0), "eab_{}"), ((0.0, -1.0, 0.0), "eab_noise_{}")])
def test_constant_statistics_make_the_exponential_adams_methods(
    constants: tuple[float, float, float], name: str, order: int, prediction: str
) -> None:
    found = run(dpm_solver_v3(ModelStatistics.constant(*constants), order), prediction=prediction)
    np.testing.assert_allclose(found, run(name.format(order), prediction=prediction), rtol=0, atol=1e-12)


def test_without_statistics_the_first_order_step_keeps_rho_eps() -> None:
    # d(x/alpha)/dlam = -rho eps with rho eps frozen
    found = run(dpm_solver_v3(ModelStatistics.constant(0.0, 0.0, 0.0), 1), n=1)
    t = np.array([1.0, 1e-3])
    alpha, sigma, lam = SCHEDULE.alpha(t), SCHEDULE.sigma(t), SCHEDULE.half_log_snr(t)
    eps = problem().denoiser(SCHEDULE, "noise")(STATES, 1.0)
    expected = alpha[1] * (STATES / alpha[0] - (lam[1] - lam[0]) * sigma[0] / alpha[0] * eps)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_element_wise_constants_do_what_scalar_ones_do_and_other_constants_do_something_else() -> None:
    scalar = ModelStatistics.constant(1.0, 0.0, 0.0)
    ones = np.ones((2, 4))
    element_wise = ModelStatistics(scalar.lam, ones, 0 * ones, 0 * ones)
    expected = run(dpm_solver_v3(scalar, 3, corrector=True))
    np.testing.assert_allclose(run(dpm_solver_v3(element_wise, 3, corrector=True)), expected, rtol=1e-13)
    assert (
        np.abs(run(dpm_solver_v3(ModelStatistics.constant(0.99, 0.0, 0.0), 3, corrector=True)) - expected).max() > 1e-4
    )


# -- exactness: a model whose g is a polynomial --------------------------------------------------------


@dataclass(frozen=True)
class Prescribed:
    """Noise model with f given as a function of the half-log-SNR: eps = (alpha f + l x)/sigma."""

    statistics: ModelStatistics
    f: Callable[[float], Any]
    prediction: str = "noise"
    schedule: Any = SCHEDULE

    def __call__(self, x: Any, t: Any) -> Any:
        lam = float(SCHEDULE.half_log_snr(t))
        alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
        return (alpha * self.f(lam) + self.statistics.at(lam)[0] * x) / sigma


@given(
    degree=st.integers(0, 2),
    coefficients=st.lists(st.floats(-1, 1), min_size=8, max_size=8),
    scale=st.floats(0.5, 2.0),
)
def test_the_step_of_order_q_is_exact_where_g_is_a_polynomial_of_lower_degree(
    degree: int, coefficients: list[float], scale: float
) -> None:
    # f = e^S g for b = 0 and s constant; both integrals of f e^L are done by brute force
    slope, law = 0.6, -0.4 * scale
    statistics = ModelStatistics.constant(slope, law, 0.0)
    parts = np.array(coefficients[: degree + 1])
    parts[degree] = 1.0

    def f(lam: float) -> Any:
        return np.exp(law * lam) * np.polynomial.polynomial.polyval(lam, parts) * np.ones(2)

    nodes = np.array([-1.0, -0.7, 0.1, 0.4, 1.0])
    grid = dn.grids.from_half_log_snr(SCHEDULE, nodes)
    points, weights = np.polynomial.legendre.leggauss(40)
    alpha = SCHEDULE.alpha(grid.t)

    def advanced(y: Any, a: float, b: float) -> Any:
        lam = 0.5 * (a + b) + 0.5 * (b - a) * points
        kernel = np.exp(slope * (lam - b)) * 0.5 * (b - a) * weights
        return np.exp(-slope * (b - a)) * y - sum(k * f(float(v)) for k, v in zip(kernel, lam, strict=True))

    def defect(order: int) -> float:
        # the ramp is inexact: compare the last step only, from where the run itself stands
        plan = dn.plan(dpm_solver_v3(statistics, order), SCHEDULE, grid)
        before, after = dn.solve(plan, Prescribed(statistics, f), np.ones((1, 2)), return_trajectory=True).x[-2:]
        expected = alpha[-1] * advanced(before / alpha[-2], float(nodes[-2]), float(nodes[-1]))
        return float(np.abs(after - expected).max())

    assert defect(degree + 1) < 1e-12
    if degree:
        assert defect(degree) > 1e-4


# -- orders --------------------------------------------------------------------------------------------


def sampler(statistics: ModelStatistics, order: int, **options: Any) -> Callable[..., Any]:
    def v3(model: Any, x: Any, nodes: Any) -> Any:
        grid = dn.grids.from_half_log_snr(SCHEDULE, nodes)
        return dn.solve(
            dn.plan(dpm_solver_v3(statistics, order, **options), SCHEDULE, grid), model.denoiser("noise"), x
        )

    return v3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "options", "expected"),
    [
        (1, {}, 1),
        (2, {}, 2),
        (3, {}, 3),
        (2, {"corrector": True}, 2),
        (3, {"pseudo": True}, 2),
        (1, {"corrector": True, "pseudo_corrector": True}, 2),
    ],
)
def test_orders_do_not_depend_on_the_statistics(order: int, options: dict[str, bool], expected: int) -> None:
    for statistics in (wavy(()), ModelStatistics.constant(0.5, 0.3, 0.1)):
        study = dn.convergence_study(
            sampler(statistics, order, **options),
            problem=dn.problems.three_peaks(),
            variants=("formula",),
            grids=("uniform",),
            measures=("global",),
            steps=(40, 80, 160, 320),
            points=6,
        )
        rate = study.select("formula")[0].estimate.rate
        assert rate == pytest.approx(expected, abs=0.2)


def test_trapezoids_leave_a_floor_and_splines_do_not() -> None:
    three_peaks = dn.problems.three_peaks()
    knots, x = np.linspace(-2, 2, 161), np.linspace(-2, 2, 7)[:, None]
    ones = np.ones(len(knots))
    exact = three_peaks.flow(x, SCHEDULE, *SCHEDULE.time(np.array([-2.0, 2.0])))

    def error(quadrature: str, n: int) -> float:
        statistics = ModelStatistics(knots, ones, 0 * ones, 0 * ones, quadrature=quadrature)
        grid = dn.grids.from_half_log_snr(SCHEDULE, np.linspace(-2, 2, n + 1))
        plan = dn.plan(dpm_solver_v3(statistics, 3), SCHEDULE, grid, start="ramp")
        return float(np.abs(dn.solve(plan, three_peaks.denoiser(SCHEDULE), x) - exact).max())

    assert error("spline", 160) < 0.3 * error("spline", 80)
    assert error("trapezoid", 160) > 0.9 * error("trapezoid", 80)


def test_a_run_in_two_pieces_equals_a_run_in_one() -> None:
    plan = dn.plan(
        dpm_solver_v3(wavy(), 3, corrector=True), SCHEDULE, dn.grids.uniform_half_log_snr(SCHEDULE, 8, t_end=1e-3)
    )
    model = problem().denoiser(SCHEDULE)
    whole = dn.solve(plan, model, STATES)
    *_, middle = dn.iterate(plan[:4], model, STATES)
    np.testing.assert_array_equal(dn.solve(plan[4:], model, middle), whole)
    np.testing.assert_array_equal(dn.solve(dn.Plan.from_json(plan.to_json()), model, STATES), whole)


@pytest.mark.parametrize("other", [dn.schedules.EDM(), dn.schedules.FlowMatching(), dn.schedules.VPCosine()])
def test_statistics_know_no_schedule(other: Any) -> None:
    # in y = x/alpha the model, hence the whole method, is the same function of the half-log-SNR on every schedule
    statistics, lam = wavy(), np.linspace(-1.5, 3.0, 9)
    found = []
    for schedule in (SCHEDULE, other):
        grid = dn.grids.from_half_log_snr(schedule, lam)
        x = STATES * schedule.alpha(grid.t[0])
        plan = dn.plan(dpm_solver_v3(statistics, 3, corrector=True), schedule, grid)
        found.append(dn.solve(plan, problem().denoiser(schedule), x) / schedule.alpha(grid.t[-1]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)


def test_on_a_mean_reverting_schedule_the_method_acts_on_the_distance_from_the_mean() -> None:
    mean = np.array([0.5, -1.0, 0.0, 2.0])
    schedule = dn.schedules.MeanReverting(mean=mean)
    statistics = ModelStatistics.constant(1.0, 0.0, 0.0)
    grid = dn.grids.uniform_half_log_snr(schedule, 6, t_end=0.05)
    model = problem().denoiser(schedule)
    found = dn.solve(dn.plan(dpm_solver_v3(statistics, 2), schedule, grid), model, STATES)
    np.testing.assert_allclose(found, dn.solve(dn.plan("eab_2", schedule, grid), model, STATES), atol=1e-12)


def test_torch_tensors_go_through() -> None:
    torch = pytest.importorskip("torch")
    method = dpm_solver_v3(wavy(), 2, corrector=True)
    found = run(method, x=torch.as_tensor(STATES))
    np.testing.assert_allclose(found.numpy(), run(method), rtol=1e-12)


# -- weights -------------------------------------------------------------------------------------------

fractions = st.fractions(min_value=-4, max_value=4, max_denominator=12)


@given(st.lists(fractions, min_size=2, max_size=4, unique=True), st.lists(fractions, min_size=4, max_size=4))
def test_divided_differences_are_interpolation_on_two_nodes_and_nowhere_else(
    nodes: list[Fraction], moments: list[Fraction]
) -> None:
    nodes = [Fraction(0), *(u for u in nodes if u)][:4]
    if len(nodes) < 2:
        return
    pseudo = divided_difference_weights(moments[: len(nodes)], nodes)
    assert sum(pseudo) == moments[0]  # constants are exact
    exact = lagrange_weights(moments[: len(nodes)], nodes)
    if len(nodes) == 2:
        assert pseudo == exact
    else:  # what is missing is that divided differences are not derivatives at the first node
        square = sum(w * u**2 for w, u in zip(pseudo, nodes, strict=True))
        assert square == moments[1] * nodes[1] + moments[2]


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=3, max_size=20), st.floats(-2, 2), st.floats(-2, 2)
)
def test_the_linear_law_is_recovered_and_its_residual_is_uncorrelated(
    pairs: list[tuple[float, float]], s: float, b: float
) -> None:
    f, noise = (np.array(part)[:, None] for part in zip(*pairs, strict=True))
    weights = np.full(len(f), 1 / len(f))
    found = linear_law(f, s * f + b, weights)
    if np.ptp(f) > 1e-2:
        np.testing.assert_allclose(found, ([s], [b]), atol=1e-9)
    slope, offset = linear_law(f, noise, weights)
    residual = noise - slope * f - offset
    np.testing.assert_allclose([residual.mean(), (residual * (f - f.mean())).mean()], 0, atol=1e-9)


def test_a_constant_f_has_no_law_but_an_offset() -> None:
    s, b = linear_law(np.full((5, 1), 2.0), np.full((5, 1), 3.0), np.full(5, 0.2))
    assert (s.item(), b.item()) == (0.0, pytest.approx(3.0))


# -- bad input -----------------------------------------------------------------------------------------


def test_statistics_of_another_schedule_are_refused_until_they_are_moved() -> None:
    statistics = wavy(schedule=dn.schedules.VPCosine())
    with pytest.raises(ValueError, match=r"statistics were estimated on VPCosine.*pass statistics\.on\(schedule\)"):
        run(dpm_solver_v3(statistics, 2))
    np.testing.assert_array_equal(run(dpm_solver_v3(statistics.on(SCHEDULE), 2)), run(dpm_solver_v3(wavy(), 2)))


def test_statistics_of_another_shape_or_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x has samples of shape \(4,\), dpm_solver_v3_2 has weights for \(5,\)"):
        run(dpm_solver_v3(wavy((5,)), 2))
    with pytest.raises(ValueError, match=r"x has samples of shape \(4,\), dpm_solver_v3_2 has weights for \(1,\)"):
        run(dpm_solver_v3(wavy((1,)), 2))
    narrow = ModelStatistics.constant(1.0, between=(-2.0, 2.0))
    with pytest.raises(ValueError, match=r"leave the range of the statistics, -2\.\.2: shorten the grid"):
        run(dpm_solver_v3(narrow, 2))


def test_trapezoids_refuse_nodes_between_knots_and_collapsing_grids() -> None:
    statistics = wavy(quadrature="trapezoid")
    with pytest.raises(ValueError, match=r"is no knot of the statistics.*statistics\.snapped\(grid, schedule\)"):
        run(dpm_solver_v3(statistics, 2))
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, 200, t_start=1.0, t_end=1e-3)
    with pytest.raises(ValueError, match=r"two of its nodes fall on one of the 121 knots"):
        statistics.snapped(grid, SCHEDULE)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lam": [0.0, 0.0, 1.0]}, "lam has shape"),
        ({"l": [1.0, 2.0]}, "l, s, b have shapes"),
        ({"s": [0.0, np.nan, 0.0]}, "s has entries that are not finite"),
        ({"quadrature": "simpson"}, "quadrature='simpson' is unknown: use one of spline, trapezoid"),
    ],
)
def test_impossible_statistics_are_refused(changed: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"lam": [-1.0, 0.0, 1.0], "l": np.ones(3), "s": np.ones(3), "b": np.ones(3)}
    with pytest.raises(ValueError, match=re.escape(message)):
        ModelStatistics(**{**fields, **changed})


def test_impossible_methods_and_exact_starts_are_refused() -> None:
    with pytest.raises(ValueError, match="order=0 is not a positive integer"):
        dpm_solver_v3(wavy(), 0)
    with pytest.raises(ValueError, match="pseudo_corrector=True needs corrector=True"):
        dpm_solver_v3(wavy(), 2, pseudo_corrector=True)
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, 5, t_end=1e-3)
    with pytest.raises(ValueError, match=r"start='exact': the history of DPM-Solver-v3 mixes states"):
        dn.plan(dpm_solver_v3(wavy(), 3), SCHEDULE, grid, start="exact")


def test_files_bring_statistics_back(tmp_path: Path) -> None:
    statistics = wavy(schedule=SCHEDULE)
    statistics.save(tmp_path / "statistics.npz")
    again = ModelStatistics.load(tmp_path / "statistics.npz", SCHEDULE)
    np.testing.assert_array_equal(run(dpm_solver_v3(again, 2)), run(dpm_solver_v3(statistics, 2)))
    np.savez(tmp_path / "other.npz", l=np.ones(3))
    with pytest.raises(ValueError, match=r"lacks \['b', 'lam', 's'\]"):
        ModelStatistics.load(tmp_path / "other.npz")

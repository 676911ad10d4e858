"""The limit on Gaussian data: its plan attains it on every schedule, and nothing lies below it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import diffnum as dn
from diffnum.analysis import GaussianLimit, gaussian_limit, propagate, rank, spectrum_error
from diffnum.analysis.ranking import NAMED_GRIDS
from diffnum.plans import Plan
from diffnum.schedules import SCHEDULES, from_dict
from diffnum.tableau import Tableau

ALL_SCHEDULES = (
    *(from_dict({"schedule": name}) for name in SCHEDULES if name not in ("mean-reverting", "tabulated")),
    dn.schedules.MeanReverting(theta=0.7, sigma_inf=1.3, mean=0.4),
    dn.schedules.Tabulated.from_betas(dn.schedules.linear_betas()),
)
EVERY = tuple(name for name in dn.methods("all") if "churn" not in name)  # churn begins where the schedules end
RANGES = ((1e-4, 1.0), (1e-12, 1.0), (1e-6, 1e6), (0.3, 0.3), (0.0, np.inf), (0.01, np.inf), (0.0, 1.0))


def ends(schedule: Any) -> tuple[float, float]:
    """Noise levels between which a schedule samples."""
    return tuple(float(np.exp(-schedule.half_log_snr(t))) for t in (schedule.default_t_start, schedule.default_t_end))


def probes(limit: GaussianLimit) -> np.ndarray:
    """Variances of the range, the extrema among them; where it is unbounded, up to where nothing changes any more."""
    low, high = limit.variances
    low, high = max(low, 1e-9 * limit.noise_levels[1] ** 2), min(high, 1e12 * limit.noise_levels[0] ** 2)
    return np.union1d(np.geomspace(low, high, 400), limit.extrema[np.isfinite(limit.extrema)])


@pytest.mark.parametrize("variances", RANGES, ids=str)
@pytest.mark.parametrize("schedule", ALL_SCHEDULES, ids=lambda s: s.name)
@pytest.mark.parametrize("nfe", [1, 2, 5, 30])
def test_the_plan_attains_the_limit_on_every_schedule(nfe: int, schedule: Any, variances: tuple[float, float]) -> None:
    limit = gaussian_limit(nfe, ends(schedule), variances)
    numbers = limit.plan(schedule)
    output = propagate(numbers, 0.0, probes(limit))
    assert numbers.nfe == len(numbers) == nfe
    assert np.abs(output.gain / output.exact_gain - 1).max() == pytest.approx(limit.error, abs=1e-10)
    if np.isfinite(variances[1]) and variances[0] > 0:
        assert spectrum_error(numbers, limit.extrema).worst == pytest.approx(limit.error, abs=1e-12)


@settings(max_examples=60)
@given(
    nfe=st.integers(1, 30), start=st.floats(0, 3), width=st.floats(0.5, 6), low=st.floats(-8, 2), ratio=st.floats(0, 12)
)
def test_the_limit_is_stable_for_thirty_evaluations_and_ratios_of_twelve_decades(
    nfe: int, start: float, width: float, low: float, ratio: float
) -> None:
    limit = gaussian_limit(nfe, (10.0**start, 10.0 ** (start - width)), (10.0**low, 10.0 ** (low + ratio)))
    first, last = limit.noise_levels
    chain = np.empty(2 * nfe)
    chain[::2], chain[1::2] = limit.levels, limit.zeros
    assert (np.diff([first, *chain, last]) < 0).all()  # level, zero, level, zero, ..., all between the two ends
    signs = (-1.0) ** np.arange(2 * nfe + 2)
    ratios = limit.gain(limit.extrema) / limit.exact_gain(limit.extrema)
    np.testing.assert_allclose(ratios, 1 + signs * limit.error, atol=1e-11)
    assert np.abs(limit.gain(probes(limit)) / limit.exact_gain(probes(limit)) - 1).max() <= limit.error + 1e-11


@pytest.mark.parametrize("schedule", [dn.schedules.VPLinear(), dn.schedules.FlowMatching()], ids=lambda s: s.name)
def test_a_run_to_clean_data_attains_it_too(schedule: Any) -> None:
    limit = gaussian_limit(6, (80.0, 0.0), (1e-3, 2.0))
    error = spectrum_error(limit.plan(schedule), limit.extrema)
    assert error.worst == pytest.approx(limit.error, abs=1e-12)
    np.testing.assert_allclose(limit.exact_gain(limit.extrema), np.sqrt(limit.extrema / (limit.extrema + 6400)))


def test_the_numbers_of_the_usual_range() -> None:
    errors = [gaussian_limit(n).error for n in (3, 5, 8, 10)]
    np.testing.assert_allclose(errors, [1.2e-2, 4.5e-4, 3.2e-6, 1.2e-7], rtol=0.05)
    assert gaussian_limit(5).scale == pytest.approx(0.036, abs=5e-4)


def test_the_loop_makes_what_the_propagation_says() -> None:
    schedule, limit = dn.schedules.VPLinear(), gaussian_limit(4)
    numbers, variances = limit.plan(schedule), np.array([1e-4, 0.01, 1.0])
    x = np.random.default_rng(0).standard_normal((20, 3))
    out = dn.solve(numbers, dn.Gaussian(np.zeros(3), variances).denoiser(schedule), x)
    factor = float(schedule.alpha(numbers.times[-1]) / schedule.alpha(numbers.times[0]))
    np.testing.assert_allclose(out, factor * limit.gain(variances) * x, rtol=1e-11)


def test_the_plan_survives_a_file() -> None:
    numbers = gaussian_limit(3).plan(dn.schedules.EDM())
    assert Plan.from_json(numbers.to_json()) == numbers


def test_a_step_of_free_length_has_the_zero_that_it_is_given() -> None:
    c, level, zero = sp.symbols("c rho zeta", positive=True)
    slope = level / (c + level**2)
    assert sp.simplify(1 + (zero**2 - level**2) / level * slope - (c + zero**2) / (c + level**2)) == 0


# -- nothing lies below it ---------------------------------------------------------------------------


@pytest.mark.parametrize("nfe", [1, 3, 8])
@pytest.mark.parametrize("variances", [(1e-4, 1.0), (1e-3, 1e3)], ids=str)
@pytest.mark.parametrize("schedule", [None, dn.schedules.EDM()], ids=["vp-fitted", "edm"])
def test_no_method_of_the_catalogue_on_any_grid_lies_below_it(
    nfe: int, variances: tuple[float, float], schedule: Any
) -> None:
    found = rank(nfe, variances, methods=EVERY, grids=tuple(NAMED_GRIDS), schedule=schedule, points=31)
    assert {row.grid for row in found.rows} == set(NAMED_GRIDS) >= {"karras", "uniform_rho", "irregular"}
    assert len({row.method for row in found.rows}) > 20
    assert found.least_worst.worst > found.limit.error


def random_plan(nfe: int, rng: np.random.Generator, noises: int = 0) -> Plan:
    """Evaluations at random levels, each of a random combination of start, noise and all evaluations before it."""
    schedule = dn.schedules.EDM()
    levels = np.exp(rng.uniform(np.log(0.002), np.log(80.0), nfe))
    weights = [rng.standard_normal((nfe, nfe)) * np.exp(rng.uniform(-3, 3, nfe)) for _ in range(2)]
    step = Tableau(
        ("x",), ("x",), tuple(f"z{j + 1}" for j in range(noises)), 80.0, 0.002, levels, np.ones(nfe), levels,
        U=rng.standard_normal((nfe, 1)), A=np.tril(weights[0], -1), V=rng.standard_normal((1, 1)), B=weights[1][:1],
        stage_noise=rng.standard_normal((nfe, noises)), noise=0.1 * rng.standard_normal((1, noises)),
    )  # fmt: skip
    return Plan("random", "noise", schedule, (step,), {}, "ramp", "stop", "noise")


@pytest.mark.parametrize("nfe", [1, 2, 3, 6])
def test_no_plan_of_a_random_search_lies_below_it(nfe: int) -> None:
    limit, rng = gaussian_limit(nfe), np.random.default_rng(nfe)
    for noises in (0, 2):
        plans = (random_plan(nfe, rng, noises) for _ in range(200))
        assert min(spectrum_error(plan, limit.extrema).worst for plan in plans) > limit.error


@pytest.mark.parametrize("start", ["noise", "marginal"])
@pytest.mark.parametrize("nfe", [1, 2, 4])
def test_noise_put_into_the_best_plan_makes_it_worse_wherever_it_enters(nfe: int, start: Any) -> None:
    limit = gaussian_limit(nfe)
    numbers, c = limit.plan(dn.schedules.EDM()), limit.extrema
    assert propagation_error(numbers, c, start) == pytest.approx(limit.error, rel=1e-6)
    for i, step in enumerate(numbers.steps):
        for stage, out in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (1.0, -1.0)):
            size = 1e-3 * step.t_to
            noisy = replace(
                step, noises=("z1",), stage_noise=np.full((1, 1), size * stage), noise=np.full((1, 1), size * out)
            )
            changed = replace(numbers, steps=(*numbers.steps[:i], noisy, *numbers.steps[i + 1 :]))
            assert propagation_error(changed, c, start) > limit.error


def propagation_error(numbers: Plan, c: np.ndarray, start: Any) -> float:
    """Worst relative error of the output's standard deviation, beside the exact flow's from the same start."""
    law = propagate(numbers, 0.0, c, start=start)
    return float(np.abs(np.sqrt(law.variance / law.start_variance) / law.exact_gain - 1).max())


@pytest.mark.parametrize("nfe", [1, 3, 10])
def test_the_residues_have_the_signs_on_which_the_proof_for_noise_rests(nfe: int) -> None:
    limit = gaussian_limit(nfe)
    zeros, poles = limit.zeros**2, limit.levels**2
    for top, bottom, sign in ((poles, zeros, 1), (zeros, poles, -1)):
        residues = [np.prod(top - a) / np.prod(np.delete(bottom, i) - a) for i, a in enumerate(bottom)]
        assert (np.sign(residues) == sign).all()


@pytest.mark.parametrize("nfe", [1, 2, 3])
def test_no_search_that_begins_at_the_limit_goes_below_it(nfe: int) -> None:
    limit = gaussian_limit(nfe)
    (c,) = (probes(limit),)
    exact = limit.exact_gain(c)

    def worst(theta: np.ndarray) -> float:
        """Error of any levels and any numerator, the real coefficients of a polynomial in a scaled basis."""
        levels = np.exp(theta[:nfe])
        terms = np.stack([np.ones_like(c), *np.cumprod([1.0 / (1.0 + c / r**2) for r in levels], axis=0)])
        return float(np.abs(theta[nfe:] @ terms / exact - 1).max())

    terms = np.stack([np.ones_like(c), *np.cumprod([1.0 / (1.0 + c / r**2) for r in limit.levels], axis=0)])
    best = np.concatenate([np.log(limit.levels), np.linalg.lstsq(terms.T, limit.gain(c), rcond=None)[0]])
    assert worst(best) == pytest.approx(limit.error, rel=1e-9)
    rng = np.random.default_rng(0)
    for _ in range(4):
        moved = best * (1 + 0.05 * rng.standard_normal(len(best)))
        assert worst(moved) > limit.error * 1.001
        found = minimize(worst, moved, method="Nelder-Mead", options={"maxiter": 1500, "adaptive": True})
        assert limit.error * (1 - 1e-9) < found.fun <= worst(moved)


def test_one_evaluation_more_does_lie_below_it() -> None:
    found = spectrum_error(gaussian_limit(6).plan(dn.schedules.EDM()), gaussian_limit(5).extrema)
    assert found.worst < gaussian_limit(5).error


# -- the constant, and what an unbounded range keeps ---------------------------------------------------


@pytest.mark.parametrize("nfe", [1, 4, 12])
def test_constants_are_kept_to_the_error_where_the_variances_are_unbounded(nfe: int) -> None:
    limit = gaussian_limit(nfe, variances=(0.0, np.inf))
    assert limit.scale == pytest.approx(1 - limit.error, rel=1e-13)
    assert limit.gain(np.inf) == limit.scale
    mean = propagate(limit.plan(dn.schedules.EDM()), 5.0, [1e-4], start="marginal").mean[0]
    assert mean != pytest.approx(5.0, rel=0.5 * limit.error)  # the mean is off in the first place that the error allows


def test_a_plan_for_a_bounded_range_multiplies_the_mean_by_its_constant() -> None:
    limit = gaussian_limit(5)
    far = propagate(limit.plan(dn.schedules.EDM()), 7.0, [1e18], start="marginal")
    assert far.gain[0] == pytest.approx(limit.scale, rel=1e-9)
    assert limit.scale < 0.05


def test_the_limit_grows_with_the_range_and_falls_with_the_evaluations() -> None:
    by_nfe = [gaussian_limit(n).error for n in range(1, 31)]
    assert (np.diff(by_nfe) < 0).all()
    wider = [gaussian_limit(5, variances=(1e-2, 1e-2 * 10.0**k)).error for k in range(13)]
    assert wider[0] == 0.0
    assert (np.diff(wider) > 0).all()
    assert gaussian_limit(5, variances=(0.0, np.inf)).error > wider[-1]


def test_text_has_levels_zeros_and_constant() -> None:
    text = str(gaussian_limit(2))
    assert "0.06415" in text
    assert len(text.splitlines()) == 5
    assert text.endswith(f"a constant factor {gaussian_limit(2).scale:.6g} follows")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"nfe": 0}, "nfe=0"),
        ({"noise_levels": (0.002, 80.0)}, "start > end"),
        ({"noise_levels": (np.inf, 1.0)}, "start > end"),
        ({"noise_levels": (80.0, -1.0)}, "start > end"),
        ({"noise_levels": (80.0, 0.0), "variances": (0.0, 1.0)}, "begin or end above 0"),
        ({"noise_levels": (1e200, 1.0)}, "1e150 > start"),
        ({"noise_levels": (1e100, 1e-100), "variances": (0.0, 1.0)}, "more than float64"),
        ({"variances": (1.0, 0.5)}, "low <= high"),
        ({"variances": (-1.0, 0.5)}, "low <= high"),
        ({"variances": (np.nan, 0.5)}, "low <= high"),
        ({"variances": (np.inf, np.inf)}, "low finite"),
    ],
)
def test_bad_input_is_named(words: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        gaussian_limit(**{"nfe": 3, **words})


@pytest.mark.parametrize(
    "words", [{"nfe": 2.5}, {"nfe": True}, {"noise_levels": 80.0}, {"variances": "abc"}], ids=lambda w: str(list(w))
)
def test_values_of_another_type_are_refused(words: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=str(next(iter(words)))):
        gaussian_limit(**{"nfe": 3, **words})


def test_a_schedule_that_lacks_a_level_is_named() -> None:
    with pytest.raises(ValueError, match="not all on the schedule 'brownian'"):
        gaussian_limit(3, (1e9, 1.0)).plan(dn.schedules.Brownian())
    with pytest.raises(TypeError, match="pass a schedule"):
        gaussian_limit(3).plan("edm")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="variances are >= 0"):
        gaussian_limit(3).gain(-1.0)

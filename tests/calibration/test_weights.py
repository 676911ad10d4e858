"""The space of all samplers of N evaluations: catalogue plans are points of it, and nothing is said twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import diffnum as dn
from diffnum.calibration.weights import FREE, SolverSpace, unrolled
from diffnum.forms import DATA, NOISE, RHO, VELOCITY

VP, FM = dn.schedules.VPLinear(), dn.schedules.FlowMatching()
PROBLEM = dn.problems.rotated_product(3)
FORMS = {"data": DATA, "noise": NOISE, "velocity": VELOCITY, "rho": RHO}


def space(nfe: int = 5, schedule: object = VP, form: str = "data", **settings: object) -> SolverSpace:
    ends = schedule.default_t_start, schedule.default_t_end
    return SolverSpace(schedule, FORMS[form], *ends, nfe, **settings)


def some_vector(where: SolverSpace, seed: int = 0) -> np.ndarray:
    grid = dn.grids.uniform_half_log_snr(where.schedule, where.nfe, t_start=where.t_start, t_end=where.t_end)
    vector = where.vector_of(dn.plan("eab_2", where.schedule, grid))
    moved = vector + 0.05 * np.random.default_rng(seed).standard_normal(len(vector))
    return np.clip(moved, *where.bounds)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("schedule", [VP, FM], ids=["vp", "fm"])
@pytest.mark.parametrize("name", ["ddim", "eab_3", "ab_velocity_3", "dpmpp_3m", "ipndm_v_3", "unipc_3_bh2", "ghvb_2.8"])
def test_a_catalogue_plan_is_a_point_of_the_space(name: str, schedule: object, form: str) -> None:
    where = space(5, schedule, form)
    plan = dn.plan(name, schedule, dn.grids.karras(schedule, 5))
    model = PROBLEM.denoiser(schedule, "noise")
    x = float(schedule.sigma(plan.times[0])) * np.random.default_rng(0).standard_normal((4, 3))
    where = replace(where, t_start=float(plan.times[0]), t_end=float(plan.times[-1]))
    again = where.plan(where.vector_of(plan))
    assert np.allclose(dn.solve(again, model, x), dn.solve(plan, model, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("schedule", [VP, FM], ids=["vp", "fm"])
@pytest.mark.parametrize("nfe", [1, 2, 5])
def test_a_plan_of_the_space_is_read_as_the_vector_that_made_it(nfe: int, schedule: object, form: str) -> None:
    where = space(nfe, schedule, form)
    vector = some_vector(where)
    vector[where.groups["scale"]] = 0.97
    vector[where.groups["times"].start] = 0.01
    assert np.allclose(where.vector_of(where.plan(vector)), vector, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("nfe", [1, 2, 4])
def test_the_numbers_are_as_many_as_the_coefficients_and_independent(nfe: int) -> None:
    where = space(nfe)
    vector, step = some_vector(where), 1e-6
    vector[where.groups["times"].start] = 0.01  # inside the domain, so that it may move both ways

    def coefficients(v: np.ndarray) -> np.ndarray:
        states, t = unrolled(where.plan(v))
        return np.concatenate([states[1:, 0], states[1:, 1:][np.tril_indices(nfe)], t])

    columns = [
        (coefficients(vector + step * e) - coefficients(vector - step * e)) / (2 * step) for e in np.eye(len(vector))
    ]
    assert where.size == 2 * nfe + nfe * (nfe + 1) // 2 == len(coefficients(vector))
    assert np.linalg.matrix_rank(np.array(columns), tol=1e-6) == where.size


def test_a_sampler_with_several_evaluations_at_one_level_is_refused() -> None:
    grid = dn.grids.uniform_half_log_snr(VP, 2)
    with pytest.raises(ValueError, match="do not increase"):
        space(4).vector_of(dn.plan("edm_heun", VP, grid))
    with pytest.raises(ValueError, match="has 4 evaluations and the space 5"):
        space(5).vector_of(dn.plan("edm_heun", VP, grid))


def test_a_stochastic_plan_is_refused() -> None:
    grid = dn.grids.uniform_half_log_snr(VP, 3)
    with pytest.raises(ValueError, match="not a deterministic plan"):
        unrolled(dn.plan("sde_dpmpp_2m", VP, grid))


@pytest.mark.parametrize("form", ["data", "noise", "velocity"])
@pytest.mark.parametrize(("rows", "kept"), [("free", 0), ("order_1", 1), ("order_2", 2)])
def test_rows_keep_what_their_conditions_say(form: str, rows: str, kept: int) -> None:
    from diffnum.calibration.diagnostics import order_residuals

    where = space(4, form=form, rows=rows)
    found = np.abs(order_residuals(where, some_vector(where)))
    assert (found[:, 0] < 1e-12).all() == (kept >= 1)
    assert (found[1:, 1] < 1e-12).all() == (kept >= 2)


def test_slopes_are_the_derivatives_also_at_a_bound() -> None:
    where = space(3)
    vector = some_vector(where)
    first = where.groups["times"].start
    vector[first] = where.bounds[0][first]  # the network is told the noisiest level that it knows
    slopes = where.slopes(vector)
    for k, unit in enumerate(np.eye(where.size)):
        high = where.numbers(vector + 1e-4 * unit)
        low = where.numbers(vector - (0.0 if k == first else 1e-4) * unit)
        width = 1e-4 if k == first else 2e-4
        assert np.allclose(slopes.weights[k], (high.weights - low.weights) / width, rtol=1e-3, atol=1e-6)
        assert np.allclose(slopes.t[k], (high.t - low.t) / width, rtol=1e-3, atol=1e-6)
    assert abs(slopes.t[first, 0]) > 1e-3


def test_only_what_is_free_has_slopes() -> None:
    for group in FREE:
        where = space(3, free=(group,))
        assert len(where.slopes(some_vector(where)).t) == where.groups[group].stop - where.groups[group].start


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nfe": 0}, "nfe=0: a sampler needs at least one evaluation"),
        ({"free": ("nodes",)}, "choose among times, levels, weights, scale"),
        ({"free": ()}, "at least one"),
        ({"rows": "order_3"}, "rows='order_3' is unknown"),
    ],
)
def test_bad_spaces_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space(**settings)


def test_a_space_without_a_finite_end_is_refused() -> None:
    with pytest.raises(ValueError, match="both must be finite"):
        SolverSpace(FM, VELOCITY, 1.0, 1e-3, 3)

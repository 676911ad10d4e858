"""The search over decisions beats known solvers and, on the whole, random search at equal cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.calibration import Exploration, explore_decisions, search_decisions
from diffnum.calibration.hosts import host_of
from diffnum.calibration.rivals import endpoint_error
from diffnum.calibration.teachers import converged_samples

VP = dn.schedules.VPLinear()
MODEL = dn.problems.rotated_product(4).denoiser(VP, "noise")
SMALL: dict[str, Any] = {"n": 24, "t_end": 1e-2, "stages": 5, "parents": 8}


@pytest.fixture(scope="module")
def found() -> Exploration:
    return explore_decisions(MODEL, 4, 100, **SMALL)


def test_it_beats_every_known_solver_from_which_it_began(found: Exploration) -> None:
    samples = converged_samples(host_of(MODEL), (1.0, 1e-2), 24, 0)
    for name in ("ddim", "dpmpp_2m", "eab_3", "unipc_2_bh2", "ab_velocity_2"):
        for build in (dn.grids.uniform_half_log_snr, dn.grids.uniform_time):
            plan = dn.plan(name, VP, build(VP, 4, t_start=1.0, t_end=1e-2))
            assert found.error < endpoint_error(plan, samples)
    assert endpoint_error(found.decisions.plan(VP), samples) == pytest.approx(found.error, rel=1e-9)


def test_the_first_plans_that_it_judges_are_the_known_solvers(found: Exploration) -> None:
    """The space holds them: their errors as decisions are those of the catalogue."""
    samples = converged_samples(host_of(MODEL), (1.0, 1e-2), 24, 0)
    plan = dn.plan("ddim", VP, dn.grids.uniform_half_log_snr(VP, 4, t_start=1.0, t_end=1e-2))
    assert found.history[0] == pytest.approx(endpoint_error(plan, samples), rel=1e-6)


def test_it_keeps_to_its_budget_and_to_its_evaluations(found: Exploration) -> None:
    assert found.judged == len(found.history) == 100
    assert found.plan.nfe == 4
    assert (np.diff(found.history) <= 0).all()
    assert found.plan.found_for is not None
    assert found.plan.found_for["judged"] == 100


def test_a_seed_gives_the_same_plan() -> None:
    settings = {**SMALL, "n": 8}
    first, again = (search_decisions(MODEL, 3, 40, **settings) for _ in range(2))
    assert first == again


@pytest.mark.slow
def test_the_predictor_is_worth_more_than_chance_at_equal_cost() -> None:
    """Geometric mean over seeds, with the exact objective: single runs go either way."""
    errors = {
        predictor: [
            explore_decisions(MODEL, 5, 240, **SMALL, seed=seed, predictor=predictor).error for seed in range(4)
        ]
        for predictor in (True, False)
    }
    means = {key: float(np.exp(np.log(value).mean())) for key, value in errors.items()}
    assert means[True] < means[False]


class Failing:
    """A model that returns NaN after so many calls."""

    prediction, schedule, core = "noise", VP, MODEL.core

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, x: Any, t: Any) -> Any:
        self.calls -= 1
        return MODEL(x, t) * (1.0 if self.calls >= 0 else np.nan)


def test_runs_that_end_in_nan_are_told() -> None:
    settings: dict[str, Any] = {"n": 8, "t_end": 1e-2, "predictor": False}
    sound = Failing(10**6)
    explore_decisions(sound, 3, 20, **settings)  # type: ignore[arg-type]
    calls = 10**6 - sound.calls  # the last 60 are those of 20 plans, the known solvers first
    with pytest.raises(ValueError, match=r"NaN or infinity in the runs of .* check its weights"):
        explore_decisions(Failing(calls - 50), 3, 20, **settings)  # type: ignore[arg-type]
    with pytest.warns(RuntimeWarning, match=r"runs of 4 of 20 plans: they were left behind"):
        explore_decisions(Failing(calls - 10), 3, 20, **settings)  # type: ignore[arg-type]


def test_without_a_predictor_it_is_random_search() -> None:
    chance = explore_decisions(MODEL, 3, 30, **{**SMALL, "n": 8}, predictor=False)
    assert chance.judged == 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nfe": 0}, "nfe=0"),
        ({"budget": 0}, "budget=0"),
        ({"stages": True}, "stages=True"),
        ({"t_end": 0.0}, "finite"),
    ],
)
def test_bad_input_is_named_with_a_remedy(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explore_decisions(MODEL, **{"nfe": 3, "budget": 4, "predictor": False, **SMALL, **settings})

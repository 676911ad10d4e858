"""Known solvers are points of the space of decisions, and other points behave as the theory says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffnum as dn
from diffnum.calibration.decisions import Decision, Decisions, decide

VP = dn.schedules.VPLinear()
SCHEDULES = {s.name: s for s in (VP, dn.schedules.FlowMatching(), dn.schedules.EDM())}
PROBLEM = dn.problems.three_peaks()
X = np.linspace(-2, 2, 9)[:, None]
KNOWN = [
    "ddim",
    "eab_2",
    "eab_4",
    "eab_noise_3",
    "ab_velocity_3",
    "dpmpp_2m",
    "dpm_solver_2m",
    "dpmpp_3m_corrected",
    "unip_2_bh1",
    "unip_3_bh2_noise",
    "unipc_1_bh1",
    "unipc_1_bh2",
    "unipc_2_bh1",
    "unipc_2_bh2",
    "unipc_3_bh1",
    "unipc_3_bh2",
    "unipc_3_bh2_noise",
    "unipc_2_bh2_pece",
    "dpm_solver_2",
    "dpm_solver_2_taylor",
    "dpmpp_2s",
    "dpm_solver_3",
    "dpm_solver_3_taylor",
    "dpmpp_3s",
    "dpmpp_3s_taylor",
]


def grid_on(schedule: Any, n: int = 7) -> Any:
    times = np.linspace(0.95, 0.05, n + 1) * (1.0 if schedule.t_max <= 1 else 10.0)
    return dn.grids.from_times(schedule, times)


def compare(decisions: Decisions, name: str, schedule: Any, grid: Any, prediction: Any = "noise") -> float:
    model = PROBLEM.denoiser(schedule, prediction)
    x = X * schedule.sigma(grid.t[0])
    return float(
        np.abs(dn.solve(decisions.plan(schedule), model, x) - dn.solve(dn.plan(name, schedule, grid), model, x)).max()
    )


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_known_solvers_are_reproduced_from_their_decisions(name: str, schedule: Any) -> None:
    grid = grid_on(schedule)
    decisions = decide(name, schedule, grid)
    assert compare(decisions, name, schedule, grid) < 1e-12
    assert decisions.plan(schedule).nfe == dn.plan(name, schedule, grid).nfe


@pytest.mark.parametrize(
    ("name", "step", "change"),
    [
        ("dpmpp_2m", 4, {"relaxation": "taylor"}),
        ("dpmpp_2m", 4, {"relaxation": 0.01}),
        ("unip_2_bh1", 4, {"relaxation": "bh2"}),
        ("unipc_2_bh2", 4, {"corrector": "implicit"}),
        ("unipc_2_bh2", 4, {"corrector": "none"}),
        ("unipc_1_bh2", 2, {"corrector_relaxation": "bh1"}),
        ("eab_4", 5, {"estimation": (2, 3, 4)}),
        ("eab_4", 5, {"prediction": "noise"}),
        ("dpm_solver_2", 3, {"origin": 0}),
        ("dpmpp_3s_taylor", 5, {"estimation": (2, 3)}),
    ],
)
def test_one_other_decision_makes_another_solver(name: str, step: int, change: dict[str, Any]) -> None:
    grid = grid_on(VP)
    decisions = decide(name, VP, grid)
    steps = list(decisions.steps)
    steps[step] = replace(steps[step], **change)
    assert compare(Decisions(decisions.start, tuple(steps)), name, VP, grid) > 1e-6


@settings(max_examples=20)
@given(st.lists(st.sampled_from(["data", "noise", "velocity"]), min_size=7, max_size=7))
def test_at_first_order_all_predictions_make_ddim(predictions: list[str]) -> None:
    grid = grid_on(VP)
    steps = tuple(Decision(t, p) for t, p in zip(grid.t[1:].tolist(), predictions, strict=True))
    assert compare(Decisions(float(grid.t[0]), steps), "ddim", VP, grid, "v") < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("data", "noise"), ("noise", "velocity", "data")])
@pytest.mark.parametrize(("estimation", "expected"), [((), 3), ((2, 3), 2)])
def test_runs_of_mixed_prediction_keep_their_order_and_low_order_estimates_lose_it(
    kinds: tuple[str, ...], estimation: tuple[int, ...], expected: int
) -> None:
    def sampler(model: Any, x: Any, nodes: Any) -> Any:
        t = VP.time(nodes)
        steps = tuple(
            Decision(end, kinds[i % len(kinds)], order := min(i + 1, 3), estimation=estimation if order == 3 else ())
            for i, end in enumerate(t[1:].tolist())
        )
        return dn.solve(Decisions(float(t[0]), steps).plan(VP), model.denoiser("data"), x)

    study = dn.convergence_study(
        sampler, problem=PROBLEM, grids=("uniform",), measures=("global",), variants=("formula",), points=6,
        steps=(40, 80, 160, 320),
    )  # fmt: skip
    assert study.series[0].estimate.rate == pytest.approx(expected, abs=0.25)


def test_decisions_survive_json() -> None:
    decisions = decide("unipc_3_bh2", VP, grid_on(VP))
    again = Decisions.from_dict(json.loads(json.dumps(decisions.to_dict())))
    assert again == decisions
    assert again.plan(VP) == decisions.plan(VP)


def test_a_mean_reverting_process_is_shifted_as_everywhere() -> None:
    schedule = dn.schedules.MeanReverting(mean=0.7)
    grid = dn.grids.uniform_time(schedule, 6, t_end=0.1)
    assert compare(decide("dpmpp_3s", schedule, grid), "dpmpp_3s", schedule, grid) < 1e-12


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prediction": "score"}, "prediction='score' is no decision: use one of data, noise, velocity"),
        ({"corrector": "pec"}, "corrector='pec' is no decision: use one of none, pseudo, implicit"),
        ({"relaxation": "bh3"}, "relaxation='bh3' is no decision"),
        ({"order": 0}, "order=0, origin=0: use an order from 1 to 6"),
        ({"order": 3, "estimation": (3,)}, r"estimation=\(3,\): order 3 has 2 derivatives"),
        ({"order": 3, "estimation": (2, 2)}, "derivative k needs at least k \\+ 1 evaluations"),
    ],
)
def test_decisions_outside_the_space_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Decision(0.5, **changed)


def test_impossible_runs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"steps\[1\] needs 3 evaluations, there are 2"):
        Decisions(1.0, (Decision(0.8), Decision(0.5, order=3)))
    with pytest.raises(ValueError, match=r"steps\[1\] ends at time 0.9, not before its beginning 0.8"):
        Decisions(1.0, (Decision(0.8), Decision(0.9)))
    with pytest.raises(ValueError, match="steps is empty"):
        Decisions(1.0, ())
    with pytest.raises(ValueError, match="name='pndm' has no decisions here"):
        decide("pndm", VP, grid_on(VP))
    with pytest.raises(ValueError, match="terminal='lower_order': decisions say themselves"):
        decide("ddim", VP, grid_on(VP).with_terminal("lower_order"))

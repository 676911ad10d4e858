"""Names of other programs: a formula that is said to be a record's is, weight by weight, and no other is."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.coefficients.catalogue.hosts import HOST_NAMES, HostName, host_name
from diffnum.jobs.data import read_json
from diffnum.phi import phi
from tests.official.comfyui import SAMPLERS, er_sde
from tests.official.res4lyf import LEVELS, STEPS

ROWS = read_json(Path(__file__).parents[1] / "data" / "res4lyf.json")
SINGLE = {name: rows for name, rows in ROWS["single"].items() if isinstance(rows, list)}
EQUAL = 1e-12


def tableau(record: str, levels: Any, step: int = 0) -> tuple[list[float], list[Any], Any, Any]:
    """Levels, stages and result of a step of ours over (x, D_1, ..., D_n), and the row of the result."""
    sigmas = np.array(levels)
    schedule = dn.schedules.EDM(float(sigmas[-1]) / 50, 2.0 * float(sigmas[0]))
    plan = dn.plan(record, schedule, dn.grids.Grid(sigmas, -np.log(sigmas)), prediction="data")
    rows, count = dict(plan.programme[step]), plan.steps[step].nfe

    def vector(row: Any) -> Any:
        return np.array([row.get("x", 0.0), *(row.get(f"k{j + 1}", 0.0) for j in range(count))])

    stages = [vector(rows[f"k{j + 1}"]) for j in range(count)]
    return plan.steps[step].stage_t.tolist(), stages, vector(rows["x"]), rows["x"]


def gap(name: str, record: str) -> float:
    """Largest difference of a node or a weight of RES4LYF's rows and a record's."""
    if name in ROWS["multistep"]:
        row = tableau(record, LEVELS, 3)[3]
        theirs = ROWS["multistep"][name]["x"]
        ours = [row.get(key, 0.0) for key in ("x", "k1", "m1", "m2", "m3")]
        return float(np.abs(np.array(ours) - np.array([*theirs, *[0.0] * (5 - len(theirs))])).max())
    gaps = []
    for levels, theirs in zip(STEPS, SINGLE[name], strict=True):
        nodes, stages, x, _ = tableau(record, levels)
        if len(nodes) != len(theirs["levels"]):
            return math.inf
        gaps += [np.abs(np.array(nodes) - theirs["levels"]).max() / levels[0], np.abs(x - theirs["x"]).max()]
        gaps += [np.abs(a - b).max() for a, b in zip(stages, theirs["stages"], strict=True)]
    return float(max(gaps))


OURS = [entry for entry in HOST_NAMES.values() if entry.program == "RES4LYF"]


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_names_of_res4lyf_are_records_where_its_rows_are(entry: HostName) -> None:
    found = gap(entry.name, entry.record)
    assert found < 1e-9 if entry.equal else found > 1e-4, (entry, found)


def test_its_rows_were_taken_from_the_commit_that_is_cited() -> None:
    assert all(ROWS["commit"][:8] in entry.source for entry in OURS)


def test_a_method_that_cannot_run_there_is_known_as_such() -> None:
    assert "UnboundLocalError" in ROWS["single"]["res_8s_alt"]


def test_res_3m_and_dpmpp_3m_of_res4lyf_miss_the_second_moment_and_res_2m_has_its_own() -> None:
    h = math.log(LEVELS[3] / LEVELS[4])
    nodes = [0.0, *(-math.log(LEVELS[3 - j] / LEVELS[3]) / h for j in (1, 2))]

    def defects(name: str) -> list[float]:
        weights = np.array(ROWS["multistep"][name]["x"][1:]) / h
        at = np.array(nodes[: len(weights)])
        return [float(weights @ at**k) / math.factorial(k) - float(phi(k + 1, -h)) for k in range(3)]

    assert np.abs(defects("res_2m")[:2]).max() < EQUAL
    for name in ("res_3m", "dpmpp_3m"):
        first, second, third = defects(name)
        assert max(abs(first), abs(second)) < EQUAL
        assert abs(third) > 0.5


# -- ComfyUI: formulas of its functions on data predictions and draws that are unit vectors ------------------------

SIGMAS = np.array([9.0, 5.0, 2.4, 1.3, 0.6, 0.3])
COMFY = {name: HOST_NAMES["ComfyUI", name] for name in SAMPLERS}
Response = tuple[Any, list[tuple[float, Any]]]


def response(run: Callable[..., Any]) -> Response:
    """Weights of the start, of the data predictions and of the draws in the result and in each state asked."""
    units = np.eye(64)
    asked: list[tuple[float, Any]] = []
    draws = iter(units[32:])

    def model(x: Any, sigma: float) -> Any:
        asked.append((float(sigma), x))
        return units[len(asked)]

    return run(model, units[0], lambda *_: next(draws)), asked


def theirs(sampler: Any) -> Response:
    return response(lambda model, x, noise: sampler(model, x, SIGMAS.tolist(), noise))


def ours(record: str, tau: Any = None) -> Response:
    schedule = dn.schedules.EDM(float(SIGMAS[-1]) / 50, 2.0 * float(SIGMAS[0]))
    terminal: Any = "lower_order" if record.startswith("unipc") else "stop"
    given = {"tau": np.ones(len(SIGMAS) - 1) if tau is None else tau} if record.endswith("_given") else None
    grid = dn.grids.Grid(SIGMAS, -np.log(SIGMAS), terminal)
    plan = dn.plan(record, schedule, grid, prediction="data", parameters=given)

    def run(model: Any, x: Any, noise: Any) -> Any:
        class Data:
            prediction = "data"

            def __call__(self, x: Any, t: float) -> Any:
                return np.stack([model(x[0], t)])

        Data.schedule = schedule  # type: ignore[attr-defined]
        noisy = any(s.noises for s in plan.steps)
        return dn.solve(plan, Data(), np.stack([x]), noise=(lambda *_: np.stack([noise()])) if noisy else None)[0]

    return response(run)


def far(a: Response, b: Response) -> float:
    """Largest difference of a level, or of a weight in a state that is asked or returned."""
    (end, asked), (other, told) = a, b
    if len(asked) != len(told):
        return math.inf
    levels = [abs(s / t - 1.0) for (s, _), (t, _) in zip(asked, told, strict=True)]
    states = [float(np.abs(x - y).max()) for (_, x), (_, y) in zip(asked, told, strict=True)]
    return max(*levels, *states, float(np.abs(end - other).max()))


@pytest.mark.parametrize("entry", COMFY.values(), ids=lambda entry: entry.name)
def test_names_of_comfyui_are_records_where_the_formula_is(entry: HostName) -> None:
    gap = far(theirs(SAMPLERS[entry.name]), ours(entry.record))
    if entry.name == "er_sde":  # sums over 200 cells, that is integrals up to first order in a cell
        finer = far(theirs(partial(er_sde, cells=20_000)), ours(entry.record))
        assert finer < 0.02 * gap < 1e-4
    else:
        assert (gap < EQUAL) is entry.equal, (entry, gap)


def test_sa_solver_of_comfyui_is_the_exact_one_at_every_tau_and_not_the_official_code_s() -> None:
    tau = [0.3, 1.0, 1.0, 0.5, 0.2]
    at = dict(zip(SIGMAS[1:].tolist(), tau, strict=True))
    formula = theirs(partial(SAMPLERS["sa_solver"], tau=at.__getitem__))
    assert far(formula, ours("sa_solver_3_4_exact_given", np.array(tau))) < EQUAL
    assert far(theirs(SAMPLERS["sa_solver"]), ours("sa_solver_3_4")) > 0.1


def test_every_name_of_comfyui_that_is_said_to_be_a_record_is_probed() -> None:
    said = {e.name for e in HOST_NAMES.values() if e.program == "ComfyUI" and e.equal}
    assert {name for name in said if not name.endswith("_gpu")} <= set(SAMPLERS)
    for name in said - set(SAMPLERS):
        assert dn.method(name).name == dn.method(name.removesuffix("_gpu")).name


def test_every_sampler_that_comfyui_offers_is_answered() -> None:
    """comfy/samplers.py at a125cd84, lines 730-736 and 1054, with the two of 02159d81."""
    offered = (
        "euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp heun heunpp2 exp_heun_2_x0 "
        "exp_heun_2_x0_sde dpm_2 dpm_2_ancestral lms dpm_fast dpm_adaptive dpmpp_2s_ancestral "
        "dpmpp_2s_ancestral_cfg_pp dpmpp_sde dpmpp_sde_gpu dpmpp_2m dpmpp_2m_cfg_pp dpmpp_2m_sde "
        "dpmpp_2m_sde_gpu dpmpp_2m_sde_heun dpmpp_2m_sde_heun_gpu dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm lcm "
        "ipndm ipndm_v deis res_multistep res_multistep_cfg_pp res_multistep_ancestral "
        "res_multistep_ancestral_cfg_pp gradient_estimation gradient_estimation_cfg_pp er_sde seeds_2 seeds_3 "
        "sa_solver sa_solver_pece ddim uni_pc uni_pc_bh2"
    )
    for name in offered.split():
        entry = host_name(name)
        if entry is None or entry.equal or name in dn.methods("all"):
            assert dn.method(name).name
        else:
            with pytest.raises(ValueError, match=f"of ComfyUI differs by this from '{entry.record}'"):
                dn.method(name)


# -- look-ups ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", HOST_NAMES.values(), ids=lambda entry: f"{entry.program}-{entry.name}")
def test_look_ups_answer_with_our_name_or_what_differs(entry: HostName) -> None:
    assert dn.method(entry.record).name
    best = host_name(entry.name)
    assert best is not None
    listed = {*dn.methods("all"), *dn.coefficients.catalogue.aliases()}
    if entry.name == "sa_solver":
        assert dn.method(entry.name).name == "sa_solver_3_4"  # the authors' own name comes before another program's
    elif entry.equal:
        assert dn.method(entry.name).name == dn.method(entry.record).name
    elif entry.name not in listed and not best.equal:
        with pytest.raises(ValueError, match=f"of {entry.program} differs by this from '{entry.record}'"):
            dn.method(entry.name)


def test_folders_of_res4lyf_are_understood() -> None:
    assert dn.method("multistep/res_2m").name == "eab_2"
    assert dn.method("exponential/res_3s_cox_matthews").name == "etd_rk3"
    with pytest.raises(ValueError, match="order 2; use 'eab_3'"):
        dn.method("multistep/res_3m")
    with pytest.raises(ValueError, match="is unknown"):
        dn.method("multistep/res_9m")

"""Names of other programs: a formula that is said to be a record's is, weight by weight, and no other is."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.coefficients.catalogue.hosts import HOST_NAMES, HostName, host_name
from diffnum.jobs.data import read_json
from diffnum.phi import phi
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


# -- ComfyUI: formulas of its functions on data predictions that are unit vectors ------------------------------

SIGMAS = np.array([9.0, 5.0, 2.4, 1.3, 0.6])
Model = Callable[[Any, float], Any]


def res_multistep(model: Model, x: Any) -> Any:
    past, before = None, None
    for now, after in zip(SIGMAS, SIGMAS[1:], strict=False):
        data, h = model(x, now), math.log(now / after)
        weight = 0.0
        if past is not None:
            weight = float(phi(2, -h)) / (-math.log(before / now) / h)
        first = float(phi(1, -h)) - weight
        x = math.exp(-h) * x + h * (first * data + (weight * past if past is not None else 0.0))
        past, before = data, now
    return x


def exp_heun(model: Model, x: Any) -> Any:
    for now, after in zip(SIGMAS, SIGMAS[1:], strict=False):
        h, data = math.log(now / after), model(x, now)
        end = model(after / now * x + (1.0 - after / now) * data, after)
        second = h * float(phi(2, -h))
        x = after / now * x + (h * float(phi(1, -h)) - second) * data + second * end
    return x


def seeds_2(model: Model, x: Any) -> Any:
    for now, after in zip(SIGMAS, SIGMAS[1:], strict=False):
        middle, data = math.sqrt(now * after), model(x, now)
        inside = model(middle / now * x + (1.0 - middle / now) * data, middle)
        x = after / now * x + (1.0 - after / now) * inside
    return x


def gradient_estimation(model: Model, x: Any) -> Any:
    past = None
    for now, after in zip(SIGMAS, SIGMAS[1:], strict=False):
        slope = (x - model(x, now)) / now
        x = x + (after - now) * (slope if past is None else 2.0 * slope - past)
        past = slope
    return x


def ipndm(model: Model, x: Any) -> Any:
    weights = ([1.0], [1.5, -0.5], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24])
    slopes: list[Any] = []
    for now, after in zip(SIGMAS, SIGMAS[1:], strict=False):
        slopes = [(x - model(x, now)) / now, *slopes][:4]
        x = x + (after - now) * sum(w * s for w, s in zip(weights[len(slopes) - 1], slopes, strict=True))
    return x


def heunpp2(model: Model, x: Any) -> Any:
    for i, (now, after) in enumerate(zip(SIGMAS, SIGMAS[1:], strict=False)):
        slope = (x - model(x, now)) / now
        if i + 2 >= len(SIGMAS):  # the last level: Euler's step
            x = x + (after - now) * slope
            continue
        second = x + (after - now) * slope
        slope_2 = (second - model(second, after)) / after
        if i + 3 >= len(SIGMAS):
            w = after / (2.0 * SIGMAS[0])
            x = x + (after - now) * ((1.0 - w) * slope + w * slope_2)
            continue
        ahead = SIGMAS[i + 2]
        third = second + (ahead - after) * slope_2
        slope_3 = (third - model(third, ahead)) / ahead
        w2, w3 = after / (3.0 * SIGMAS[0]), ahead / (3.0 * SIGMAS[0])
        x = x + (after - now) * ((1.0 - w2 - w3) * slope + w2 * slope_2 + w3 * slope_3)
    return x


def noiseless_ddpm(model: Model, x: Any) -> Any:
    for now, after in zip(SIGMAS, SIGMAS[1:], strict=False):
        share = (1.0 - (after / now) ** 2, (after / now) ** 2)
        x = share[0] * model(x, now) + share[1] * x
    return x


FORMULAS = {
    "res_multistep": res_multistep,
    "exp_heun_2_x0": exp_heun,
    "seeds_2": seeds_2,
    "gradient_estimation": gradient_estimation,
    "ipndm": ipndm,
    "heunpp2": heunpp2,
    "ddpm": noiseless_ddpm,
}


def response(run: Callable[[Model, Any], Any]) -> Any:
    """Weights of the start and of each data prediction in the result, and the levels where it was asked."""
    units, asked = np.eye(20), []

    def model(x: Any, sigma: float) -> Any:
        asked.append(float(sigma))
        return units[len(asked)]

    return run(model, units[0]), asked


def ours(record: str) -> Any:
    schedule = dn.schedules.EDM(float(SIGMAS[-1]) / 50, 2.0 * float(SIGMAS[0]))
    plan = dn.plan(record, schedule, dn.grids.Grid(SIGMAS, -np.log(SIGMAS)), prediction="data")

    def run(model: Model, x: Any) -> Any:
        class Data:
            prediction = "data"

            def __call__(self, x: Any, t: float) -> Any:
                return np.stack([model(x[0], t)])

        Data.schedule = schedule  # type: ignore[attr-defined]
        zero = (lambda step, index, like: np.zeros_like(like)) if any(s.noises for s in plan.steps) else None
        return dn.solve(plan, Data(), np.stack([x]), noise=zero)[0]

    return response(run)


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_names_of_comfyui_are_records_where_the_formula_is(name: str) -> None:
    entry = HOST_NAMES["ComfyUI", name]
    (theirs, asked), (found, told) = response(FORMULAS[name]), ours(entry.record)
    same = len(asked) == len(told) and np.allclose(asked, told, rtol=1e-9)
    close = same and float(np.abs(theirs - found).max()) < 1e-9
    assert close is entry.equal, (name, entry.record)


def test_every_name_of_comfyui_that_is_said_to_be_a_record_is_probed() -> None:
    assert {e.name for e in HOST_NAMES.values() if e.program == "ComfyUI" and e.equal} <= set(FORMULAS)


# -- look-ups ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", HOST_NAMES.values(), ids=lambda entry: f"{entry.program}-{entry.name}")
def test_look_ups_answer_with_our_name_or_what_differs(entry: HostName) -> None:
    assert dn.method(entry.record).name
    best = host_name(entry.name)
    assert best is not None
    if entry.equal:
        assert dn.method(entry.name).name == dn.method(entry.record).name
    elif entry.name not in (*dn.methods("all"), *dn.coefficients.catalogue.aliases()) and not best.equal:
        with pytest.raises(ValueError, match=f"of {entry.program} differs by this from '{entry.record}'"):
            dn.method(entry.name)


def test_folders_of_res4lyf_are_understood() -> None:
    assert dn.method("multistep/res_2m").name == "eab_2"
    assert dn.method("exponential/res_3s_cox_matthews").name == "etd_rk3"
    with pytest.raises(ValueError, match="order 2; use 'eab_3'"):
        dn.method("multistep/res_3m")
    with pytest.raises(ValueError, match="is unknown"):
        dn.method("multistep/res_9m")

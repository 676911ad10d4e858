"""Host tables: what they compute is their plan, in a stated order, the same on every machine, and checked when read."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

import diffnum as dn
from diffnum.plans import HostTable, schema
from diffnum.plans.as_shipped import EVALUATIONS
from diffnum.plans.correct_rounding import CORRECT
from diffnum.plans.host_tables import OPERATIONS, HostOperation, rounded_to
from diffnum.schedules import FlowMatching, VPLinear
from tests.optional import optional

jsonschema = optional("jsonschema")
METHODS = ("ddim", "dpmpp_2m", "dpmpp_3m", "unipc_1_bh2", "unipc_2_bh1", "unipc_2_bh2", "unipc_3_bh2")
PAIRS = [(e.scheduler, name) for e in EVALUATIONS.values() for name in METHODS if name in e.methods]


def planned(method: str = "dpmpp_2m", n: int = 6, prediction: Any = "velocity", **options: Any) -> dn.Plan:
    schedule = FlowMatching(shift=3.0)
    nodes = dn.grids.uniform_time(schedule, n, **{"t_start": 0.99, "t_end": 0.0, "terminal": "lower_order", **options})
    return dn.plan(method, schedule, nodes, prediction=prediction)


def vp_planned(method: str, prediction: Any, n: int = 6) -> dn.Plan:
    schedule = VPLinear()
    nodes = dn.grids.uniform_half_log_snr(schedule, n, t_start=1.0, t_end=1e-3, terminal="lower_order")
    return dn.plan(method, schedule, nodes, prediction=prediction)


def net(x: Any, t: float) -> Any:
    return np.tanh(x * np.float32(0.7)) * np.float32(1.0 + t)


def solved(plan: dn.Plan, x: Any) -> Any:
    class Model:
        prediction, schedule = plan.prediction, plan.schedule

        def __call__(self, x: Any, t: float) -> Any:
            return net(x, t)

    return dn.solve(plan, Model(), x)


@pytest.mark.parametrize(("scheduler", "method"), PAIRS)
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_a_table_computes_its_plan(scheduler: str, method: str, n: int) -> None:
    plan = planned(method, n)
    x = np.random.default_rng(0).standard_normal((3, 5))
    found = plan.host_table(evaluation=scheduler).run(net, x.astype(np.float32))
    assert found == pytest.approx(solved(plan, x), abs=1e-4)


@pytest.mark.parametrize("prediction", ["noise", "v", "data"])
@pytest.mark.parametrize("method", METHODS)
def test_tables_of_variance_preserving_processes_compute_their_plans(method: str, prediction: str) -> None:
    plan = vp_planned(method, prediction)
    x = np.random.default_rng(0).standard_normal((3, 5))
    assert plan.host_table().run(net, x.astype(np.float32)) == pytest.approx(solved(plan, x), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("method", ["ddim", "dpmpp_2m", "eab_3", "deis_tab2"])
def test_the_rows_of_a_plan_itself_are_a_table(method: str) -> None:
    plan = planned(method, terminal="stop", t_end=0.01)
    x = np.random.default_rng(0).standard_normal((3, 5))
    found = plan.host_table(evaluation="plan").run(net, x.astype(np.float32))
    assert found == pytest.approx(solved(plan, x), abs=1e-4)


def test_a_wrong_scalar_or_operation_is_seen_by_the_comparison() -> None:
    plan = planned()
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    data = plan.host_table().to_dict()
    right = HostTable.from_json(json.dumps(data)).run(net, x)
    for change in (
        lambda step: step["scalars"].__setitem__(1, 1.01 * step["scalars"][1]),
        lambda step: step["operations"][-1].update(kind="subtract", right=0),
    ):
        wrong = copy.deepcopy(data)
        change(wrong["steps"][3])
        assert np.abs(HostTable.from_json(json.dumps(wrong)).run(net, x) - right).max() > 1e-3


def test_the_hash_is_of_the_content() -> None:
    plan, again = planned(), planned()
    assert plan.sha256 == again.sha256 == dn.Plan.from_json(plan.to_json()).sha256
    table = plan.host_table()
    assert table.plan_sha256 == plan.sha256
    assert table.sha256 == again.host_table().sha256 == HostTable.from_json(table.to_json()).sha256
    others = [planned(n=7), planned("ddim"), planned("unipc_2_bh2")]
    others_tables = [*(p.host_table() for p in others), plan.host_table("bfloat16"), plan.host_table(evaluation="plan")]
    hashes = {plan.sha256, *(p.sha256 for p in others), *(t.sha256 for t in others_tables)}
    assert len(hashes) == 1 + len(others) + len(others_tables)


def test_scalars_are_those_of_the_formula_evaluated_by_hand() -> None:
    nodes = dn.grids.Grid(np.array([0.75, 0.5, 0.25]), np.log([1 / 3, 1.0, 3.0]))
    table = dn.plan("dpmpp_2m", FlowMatching(), nodes, prediction="velocity").host_table()
    # level 0.75 to 0.5: h = log 3, so that exp(-h) - 1 is -2/3 but for the rounding of the logarithms and of h
    level, ratio, factor = table.steps[0].scalars
    assert (level, ratio) == (0.75, float(np.float32(0.5) / np.float32(0.75)))
    assert factor == pytest.approx(-1.0 / 3.0, rel=2.0**-22)
    assert np.float32(factor) == factor


@pytest.mark.parametrize("name", ["log", "exp", "expm1"])
def test_functions_are_rounded_correctly(name: str) -> None:
    rng = np.random.default_rng(3)
    values = np.exp(rng.uniform(-8.0, 3.0, 200)).astype(np.float32)
    exact = {"log": mpmath.log, "exp": mpmath.exp, "expm1": mpmath.expm1}[name]
    for value in values:
        found = float(getattr(CORRECT, name)(value))
        with mpmath.workdps(40):
            gap = abs(mpmath.mpf(found) - exact(mpmath.mpf(float(value))))
            beside = [float(np.nextafter(np.float32(found), np.float32(end))) for end in (-np.inf, np.inf)]
            assert all(gap <= abs(mpmath.mpf(other) - exact(mpmath.mpf(float(value)))) for other in beside)


def test_rounding_to_half_is_to_the_nearest_with_ties_to_even() -> None:
    values = np.random.default_rng(5).standard_normal(1000).astype(np.float32)
    assert np.all(np.abs(rounded_to("bfloat16", values) - values) <= 2.0**-8 * np.abs(values))
    assert not np.any(rounded_to("bfloat16", values).view(np.uint32) & 0xFFFF)
    assert rounded_to("bfloat16", [np.inf, -np.inf]).tolist() == [np.inf, -np.inf]
    assert rounded_to("bfloat16", [1.00390625, 1.01171875]).tolist() == [1.0, 1.015625]
    assert rounded_to("float16", [1.0 + 2.0**-11, 65520.0]).tolist() == [1.0, np.inf]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_numpy_emulates_the_half_precision_of_torch(dtype: str) -> None:
    torch = optional("torch")
    kind = getattr(torch, dtype)
    for method in ("ddim", "dpmpp_2m", "unipc_2_bh2"):
        table = planned(method).host_table(dtype)
        x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)).to(kind)
        found = table.run(lambda x, t: torch.tanh(x), x)
        emulated = table.run(lambda x, t: torch.tanh(torch.tensor(x).to(kind)).float().numpy(), x.float().numpy())
        assert np.array_equal(found.float().numpy(), emulated)


def test_the_device_is_told_where_scalars_are_rounded_to_half() -> None:
    plan = planned("dpmpp_2m")
    accelerator, cpu = (plan.host_table("bfloat16", device=device) for device in ("accelerator", "cpu"))
    assert accelerator.steps[2].operations == cpu.steps[2].operations
    assert accelerator.steps[2].scalars[0] != cpu.steps[2].scalars[0] == rounded_to("bfloat16", cpu.steps[2].scalars[0])
    assert plan.host_table("float32", device="cpu").sha256 == plan.host_table("float32").sha256


@pytest.mark.parametrize("name", ["plan", "host_table"])
def test_what_is_written_obeys_its_schema_and_what_is_not_does_not(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))
    for method in dn.methods("all") if name == "plan" else METHODS:
        record = dn.method(method)
        parameters = dict.fromkeys(record.parameters, 0.5)
        try:
            if name == "plan":
                nodes = dn.grids.uniform_half_log_snr(VPLinear(), 6, t_start=0.9, t_end=1e-2)
                text = dn.plan(method, VPLinear(), nodes, parameters=parameters).to_json()
            else:
                text = planned(method).host_table().to_json()
        except ValueError:
            continue
        jsonschema.validate(json.loads(text), schema(name))
    data = json.loads(text)
    for change in (
        lambda d: d.pop("steps"),
        lambda d: d.update(extra=1),
        lambda d: d.update(prediction="epsilon"),
        lambda d: d["steps"].clear(),
        lambda d: d.update(format="diffnum-plan-v0"),
    ):
        wrong = copy.deepcopy(data)
        change(wrong)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema(name))


def test_schema_and_records_name_the_same_operations() -> None:
    assert tuple(schema("host_table")["$defs"]["operation"]["properties"]["kind"]["enum"]) == OPERATIONS
    assert set(schema("host_table")["$defs"]["operation"]["properties"]) == set(HostOperation._fields)


def test_tables_are_written_and_read_as_files(tmp_path: Path) -> None:
    table = planned("unipc_2_bh2").host_table("bfloat16")
    table.to_json(tmp_path / "table.json")
    assert HostTable.from_json(tmp_path / "table.json") == table


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(format="x"), "no host table"),
        (lambda d: d.pop("registers"), "registers"),
        (lambda d: d.update(dtype="int8"), "dtype='int8'"),
        (lambda d: d["steps"][0]["operations"][0].update(kind="fma"), r"steps\[0\] kind='fma'"),
        (lambda d: d["steps"][0]["operations"][0].update(right=99), "reaches for what is not there"),
        (lambda d: d["steps"][0]["operations"][0].update(target=-1), "reaches for what is not there"),
    ],
)
def test_a_table_that_no_engine_can_run_is_refused(change: Any, words: str) -> None:
    data = planned().host_table().to_dict()
    change(data)
    with pytest.raises(ValueError, match=words):
        HostTable.from_json(json.dumps(data))


@pytest.mark.parametrize(
    ("plan", "options", "words"),
    [
        (planned, {"dtype": "float64"}, "dtype='float64'"),
        (planned, {"evaluation": "LMSDiscreteScheduler"}, "as diffusers, plan, FlowMatchEuler"),
        (planned, {"device": "tpu"}, "device='tpu'"),
        (planned, {"levels": [0.5, 0.0]}, "levels="),
        (planned, {"evaluation": "UniPCMultistepScheduler"}, "evaluation='plan'"),
        (lambda: planned("eab_3"), {}, "use one of"),
        (lambda: planned("sde_dpmpp_1"), {}, "draws noise"),
        (lambda: planned("dpmpp_2m", prediction="data", t_end=0.01, terminal="stop"), {}, None),
        (lambda: planned("edm_heun", t_end=0.1), {"evaluation": "plan"}, "2 stages"),
        (lambda: vp_planned("ddim", "noise"), {"evaluation": "FlowMatchEulerDiscreteScheduler"}, "velocity"),
        (lambda: vp_planned("ddim", "velocity"), {"evaluation": "FlowMatchEulerDiscreteScheduler"}, "flows alone"),
        (lambda: planned("dpmpp_2m", prediction="score", t_end=0.1), {}, "score"),
    ],
)
def test_what_has_no_table_is_refused_with_the_remedy(plan: Any, options: Any, words: str | None) -> None:
    if words is None:
        assert len(plan().host_table(**options)) == 6
        return
    with pytest.raises(ValueError, match=words):
        plan().host_table(**options)


def test_a_plan_with_another_start_than_the_scheduler_is_refused() -> None:
    schedule = FlowMatching()
    nodes = dn.grids.uniform_time(schedule, 6, t_start=0.99, t_end=0.1)
    plan = dn.plan("dpmpp_3m", schedule, nodes, prediction="velocity", start="high_order")
    with pytest.raises(ValueError, match="not what DPMSolverMultistepScheduler computes"):
        plan.host_table()


def test_an_array_of_another_dtype_is_refused() -> None:
    with pytest.raises(TypeError, match="pass float32"):
        planned().host_table().run(net, np.zeros((1, 2)))
    torch = optional("torch")
    with pytest.raises(TypeError, match="bfloat16: convert"):
        planned().host_table("bfloat16").run(net, torch.zeros(1, 2))

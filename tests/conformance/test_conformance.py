"""Test vectors are complete, valid and stable; right answers pass, and one wrong number is found and named."""

from __future__ import annotations

import copy
import ctypes
import json
import math
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.conformance import check, document, export, subjects
from diffnum.conformance.export import SCHEMAS, schema
from diffnum.plans.as_shipped import EVALUATIONS

PORT = Path(__file__).with_name("port.py")
QUICK = ("common", "dpmpp_2m", "unipc_2_bh2", "deis_tab1", "edm_heun", "sde_dpmpp_2m")


@cache
def vectors(subject: str) -> dict[str, dict[str, Any]]:
    """Vectors of a subject by identity."""
    found = {v["id"]: v for v in document(subject)["vectors"]}
    assert len(found) == len(document(subject)["vectors"])
    return found


def answers(values: dict[str, Any]) -> dict[str, Any]:
    listed = [{"id": name, "value": value} for name, value in values.items()]
    return {"format": "diffnum-answers-v1", "answers": listed}


def right(*chosen: str) -> dict[str, Any]:
    return {name: copy.deepcopy(v["expected"]) for subject in chosen for name, v in vectors(subject).items()}


def test_all_methods_have_vectors_and_their_files_satisfy_the_schema(tmp_path: Path) -> None:
    folder = export(tmp_path / "vectors")
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert [s["subject"] for s in index["subjects"]] == list(subjects()) == ["common", *dn.methods("all")]
    validator = jsonschema.Draft202012Validator(schema("vectors.schema.json"))
    identities: list[str] = []
    for listed in index["subjects"]:
        data = json.loads((folder / listed["file"]).read_text(encoding="utf-8"))
        validator.validate(data)
        assert data["subject"] == listed["subject"]
        assert len(data["vectors"]) == listed["vectors"]
        identities += [v["id"] for v in data["vectors"]]
        kinds = {v["kind"] for v in data["vectors"]}
        if data["subject"] in list(dn.methods()):
            known = any(data["subject"] in evaluation.methods for evaluation in EVALUATIONS.values())
            assert kinds == {"weights", "plan", "trajectory", "order"} | ({"engine"} if known else set())
    assert len(set(identities)) == len(identities)
    assert {p.name for p in folder.iterdir()} == {"README.md", "index.json", "vectors", *SCHEMAS}


@pytest.mark.parametrize(
    "change", [lambda v: v.pop("expected"), lambda v: v.update(kind="riddle"), lambda v: v["tolerance"].clear()]
)
def test_the_schema_refuses_a_spoilt_file(change: Any) -> None:
    data = document("common")
    change(data["vectors"][0])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema("vectors.schema.json"))


def test_the_schema_refuses_a_row_of_unknown_vectors() -> None:
    data = document("dpmpp_2m")
    vector = next(v for v in data["vectors"] if v["kind"] == "weights")
    vector["expected"]["rows"]["x"]["q7"] = 1.0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema("vectors.schema.json"))


@pytest.mark.parametrize("subject", QUICK)
def test_vectors_are_the_same_at_every_call(subject: str) -> None:
    assert json.dumps(document(subject)) == json.dumps(document(subject))


@pytest.mark.parametrize("subject", QUICK)
def test_right_answers_pass(subject: str) -> None:
    given_ = answers(right(subject))
    jsonschema.validate(given_, schema("answers.schema.json"))
    found = check(given_)
    assert found.ok
    assert not found.unanswered
    assert "0 vectors unanswered" in str(found)


def places(value: Any, path: str = "value") -> list[tuple[str, Any, Any]]:
    """All numbers of a record as (path, container, key)."""
    if isinstance(value, dict):
        items = [(f"{path}.{key}", value, key) for key in value]
    elif isinstance(value, list):
        items = [(f"{path}[{i}]", value, i) for i in range(len(value))]
    else:
        return []
    found = []
    for name, container, key in items:
        inner = container[key]
        found += [(name, container, key)] if isinstance(inner, float | int) else places(inner, name)
    return found


@given(st.data())
def test_one_perturbed_number_is_rejected_and_located(data: st.DataObject) -> None:
    subject = data.draw(st.sampled_from(QUICK))
    name = data.draw(st.sampled_from([n for n, v in vectors(subject).items() if places({"v": v["expected"]})]))
    values = right(subject)
    holder = {"value": values[name]}
    path, container, key = data.draw(st.sampled_from(places(holder, "")))
    size = max((abs(v) for _, c, k in places(holder, "") if c is container for v in [c[k]]), default=0.0)
    container[key] += 0.2 if name.split("/")[1] == "order" else 1e-6 * max(size, abs(container[key]), 1e-3)
    values[name] = holder["value"]
    found = check(answers(values))
    (failure,) = found.failures
    assert failure.id == name
    assert failure.reason.startswith(path.removeprefix(".") + " is ")
    assert not found.ok
    assert f"FAIL  {name}" in str(found)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"nodes": {}, "rows": {}}, "value.nodes lacks k1"),
        ([1.0], "not an object"),
        (None, "not an object"),
        ({"nodes": {"k1": 0.0, "x": 1.0}, "rows": "none"}, "value.rows is"),
        ({"nodes": {"k1": 0.0, "x": math.nan}, "rows": {}}, "not the number"),
        ({"nodes": {"k1": 0.0, "x": True}, "rows": {}}, "not the number"),
    ],
)
def test_answers_of_another_shape_are_failures_and_not_errors(value: Any, words: str) -> None:
    name = next(n for n in vectors("dpmpp_2m") if "/weights/" in n)
    (failure,) = check(answers({name: value})).failures
    assert words in failure.reason


def test_a_weight_that_should_not_be_there_is_a_failure_unless_it_is_zero() -> None:
    name = next(n for n in vectors("ddim") if "/weights/" in n)
    for extra, ok in ((0.0, True), (0.1, False)):
        value = copy.deepcopy(vectors("ddim")[name]["expected"])
        value["rows"]["x"]["m1"] = extra
        assert check(answers({name: value})).ok is ok


def test_vectors_that_are_not_answered_are_counted_and_fail_only_on_request() -> None:
    values = right("dpmpp_2m")
    missing = list(values)[3]
    del values[missing]
    assert check(answers(values)).ok
    assert check(answers(values)).unanswered == (missing,)
    assert not check(answers({})).ok  # nothing answered, nothing shown


@pytest.mark.slow
def test_a_complete_port_passes_and_one_that_lacks_a_vector_does_not() -> None:
    values = right(*subjects())
    assert check(answers(values), complete=True).ok
    del values["ddim/order/smooth"]
    found = check(answers(values), complete=True)
    assert not found.ok
    assert "none  ddim/order/smooth" in str(found)


def test_an_unknown_vector_is_a_failure() -> None:
    for name in ("ddim/weights/none such", "no such method/order/uniform", "x"):
        (failure,) = check(answers({name: 1.0})).failures
        assert "no vector of this id" in failure.reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "no record of the format"),
        ('{"format": "diffnum-answers-v0", "answers": []}', "no record of the format"),
        ('{"format": "diffnum-answers-v1"}', "answers is missing"),
        ('{"format": "diffnum-answers-v1", "answers": [{"id": "a"}]}', r"answers\[0\] lacks"),
        (
            '{"format": "diffnum-answers-v1", "answers": [{"id": "a", "value": 1}, {"id": "a", "value": 1}]}',
            "second time",
        ),
    ],
)
def test_a_file_that_is_no_record_of_answers_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "answers.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        check(path)


# -- ports -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ("ddim", "dpmpp_2m", "unipc_3_bh2", "ghvb_1.8", "pndm", "dpm_solver_3", "deis_tab2", "flowturbo", "seeds_2")
    return export(tmp_path_factory.mktemp("vectors"), names)


def test_a_port_that_read_only_the_files_passes(exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.json"
    assert "diffnum" not in [
        line.split()[1].split(".")[0] for line in PORT.read_text().splitlines() if "import " in line[:7]
    ]
    # -I -S: no path of ours, no installed packages
    subprocess.run([sys.executable, "-I", "-S", str(PORT), str(exported), str(out)], check=True)
    found = check(out)
    assert found.ok, str(found)
    kinds = {a.id.split("/")[1] for a in found.answers}
    assert kinds == {"phi", "schedule", "model", "trajectory", "engine"}


def test_one_bit_of_an_engine_is_enough_to_fail() -> None:
    values = {name: value for name, value in right("dpmpp_2m").items() if "/engine/" in name}
    assert len(values) == 2
    assert check(answers(values)).ok
    for name in values:
        spoilt = copy.deepcopy(values)
        state = spoilt[name]["x"][-1]
        state[0] = float(np.nextafter(np.float32(state[0]), np.float32(9.0)))
        assert [a.id for a in check(answers(spoilt)).failures] == [name]


@pytest.mark.parametrize(
    ("sound", "spoilt", "kind"),
    [
        ("2 * log_alpha", "1.99 * log_alpha", "schedule"),
        ("variance * a / v", "variance * a / (v + 1e-4)", "model"),
        ("vectors = {**made,", "vectors = {**vectors, **{'x': made['x']},", "trajectory"),
    ],
)
def test_a_port_with_a_defect_fails(exported: Path, tmp_path: Path, sound: str, spoilt: str, kind: str) -> None:
    text = PORT.read_text(encoding="utf-8")
    assert text.count(sound) == 1
    port, out = tmp_path / "port.py", tmp_path / "answers.json"
    port.write_text(text.replace(sound, spoilt), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(port), str(exported), str(out)], check=False, capture_output=True
    )
    if done.returncode == 0:
        assert kind in {a.id.split("/")[1] for a in check(out).failures}
    else:
        assert kind == "trajectory"  # the history that it forgot is asked for


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("name", ["dpmpp_2m", "eab_3", "lms_4", "dpm_solver_2m"])
def test_printed_c_answers_the_vectors_of_weights(name: str, tmp_path: Path) -> None:
    derivation = dn.derive(name)
    source, library = tmp_path / "weights.c", tmp_path / "weights.so"
    source.write_text(derivation.code("c"), encoding="utf-8")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", str(source), "-o", str(library), "-lm"], check=True)
    function = getattr(ctypes.CDLL(str(library)), derivation.formula.function)
    function.restype = None
    result = (ctypes.c_double * len(derivation.entries))()
    values = {}
    for identity, vector in vectors(name).items():
        given_ = vector["input"]
        depth = dn.method(name).depth
        if vector["kind"] != "weights" or given_["order"] != depth + 1 or len(given_["past"]) != depth:
            continue
        numbers = [given_["h"], *given_["past"]]
        function(*map(ctypes.c_double, numbers), result)
        rows: dict[str, dict[str, float]] = {row: {} for row in vector["expected"]["rows"]}
        for (row, weight), value in zip(derivation.entries, result, strict=True):
            rows[row][weight] = value
        rows["k1"]["x"] = rows["x"]["x"] = 1.0
        rows |= {row: {other: 1.0} for row, other in _handed_on(vector["expected"]["rows"]).items()}
        values[identity] = {"nodes": {"k1": 0.0, "x": 1.0}, "rows": rows}
    assert len(values) >= 3
    found = check(answers(values))
    assert found.ok, str(found)


def _handed_on(rows: dict[str, dict[str, float]]) -> dict[str, str]:
    """Which evaluation becomes which, one step on."""
    return {row: ("k1" if row == "m1" else f"m{int(row[1:]) - 1}") for row in rows if row[0] == "m"}


# -- command line ------------------------------------------------------------------------------------


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "diffnum", *words], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_commands_export_check_and_say_by_status_what_they_found(tmp_path: Path) -> None:
    done = command("golden", "export", str(tmp_path / "v"), "ddim", "--json")
    assert done.returncode == 0, done.stderr
    assert [s["subject"] for s in json.loads(done.stdout)["subjects"]] == ["common", "ddim"]
    values = right("ddim")
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(answers(values)), encoding="utf-8")
    assert command("golden", "check", str(path)).returncode == 0
    values["ddim/order/uniform"] = 2
    path.write_text(json.dumps(answers(values)), encoding="utf-8")
    done = command("golden", "check", str(path))
    assert done.returncode == 1
    assert "FAIL  ddim/order/uniform: value is 2, not 1" in done.stdout
    path.write_text("nonsense", encoding="utf-8")
    done = command("golden", "check", str(path))
    assert done.returncode == 2
    assert "is no JSON" in done.stderr
    assert command("golden", "check", str(tmp_path / "absent.json")).returncode == 2

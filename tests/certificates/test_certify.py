"""Certificates hold for the catalogue, resume, and say no where the record is wrong."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.certificates import Agreement, Certificates, certify
from diffnum.certificates.agreement import agreements
from diffnum.certificates.orders import SCHEDULES, measure_ends, measure_orders
from diffnum.certificates.page import compact, markdown_table, to_html, write
from diffnum.certificates.recorded import load
from diffnum.certificates.records import Measurement

module = importlib.import_module("diffnum.certificates.certify")  # the package's attribute is the function

STEPS = (24, 48, 96, 192)
"""Multiples of 8, so that one-step defects stand at one place of the smooth grids."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def no_trajectories() -> Iterator[None]:
    """All but one test do without the recorded trajectories, which take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "agreements", dict)
        yield


@pytest.fixture(scope="module")
def found(cache: Path, no_trajectories: None) -> Certificates:
    return certify(["ddim", "unipc_2_bh2"], schedules=["vp-linear"], steps=STEPS, points=4, jobs=1, cache_dir=cache)


def test_methods_of_the_catalogue_are_certified(found: Certificates) -> None:
    assert found.ok, [c.contradictions + c.undecided for c in found.certificates]
    ddim, unipc = found["ddim"], found["unipc_2_bh2"]
    assert ddim.proof.ok
    assert {m.finding for m in ddim.orders} == {"as recorded"}
    assert len(ddim.orders) == 3 * 2 * 2  # grids, problems, global and local
    assert unipc.measured("irregular") == "3"
    assert unipc.end("lowered end") == "2"  # a finding: lowering the order over the last steps costs UniPC one
    assert found.versions["diffnum"] == dn.__version__
    assert found.seed == 0


@pytest.mark.slow
def test_certificates_count_the_recorded_trajectories() -> None:
    golden = {name: asdict(agreement) for name, agreement in agreements().items()}
    for name, least in (("unipc_2_bh2", 5), ("ghvb_2.8", 3), ("ddim", 10)):  # 2.8 is recorded as 2.79...98
        found = module._agreement(dn.method(name), golden)
        assert found.cases >= least
        assert found.ok
        assert found.worst < 1
    assert not module._agreement(dn.method("eab_4"), golden).cases


def test_a_second_run_takes_everything_from_the_cache(
    monkeypatch: pytest.MonkeyPatch, found: Certificates, cache: Path
) -> None:
    def no_work(task: Any) -> Any:
        raise AssertionError(task)

    monkeypatch.setattr(module, "_work", no_work)
    again = certify(["ddim"], schedules=["vp-linear"], steps=STEPS, points=4, jobs=1, cache_dir=cache)
    assert again["ddim"] == found["ddim"]
    with pytest.raises(AssertionError, match="seed=1"):
        certify(["ddim"], schedules=["vp-linear"], steps=STEPS, points=4, seed=1, jobs=1, cache_dir=cache)


def test_an_edited_package_does_not_use_the_results_of_the_old_one(
    monkeypatch: pytest.MonkeyPatch, found: Certificates, cache: Path
) -> None:
    asked = []
    monkeypatch.setattr(module, "source_digest", lambda: "another")
    monkeypatch.setattr(module, "_work", lambda task: asked.append(task.piece) or {"stop": 1})
    with pytest.raises(TypeError):
        certify(["ddim"], schedules=["vp-linear"], steps=STEPS, points=4, jobs=1, cache_dir=cache)
    assert set(asked) >= {"proof", "accuracy", "vp-linear", "ends"}


def test_progress_is_reported(cache: Path) -> None:
    seen: list[tuple[int, int]] = []
    certify(
        ["dpmpp_2m"],
        schedules=[],
        points=1,
        jobs=1,
        cache_dir=cache,
        progress=lambda done, total, what: seen.append((done, total)),
    )
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_certificates_survive_json(found: Certificates) -> None:
    text = found.to_json()
    assert Certificates.from_json(text) == Certificates.from_json(Certificates.from_json(text).to_json())
    assert json.loads(text)["certificates"][0]["verdict"]["ok"] is True
    for bad in ("", "[]", '{"format": "other", "certificates": []}', '{"certificates": 3}'):
        with pytest.raises(ValueError, match="format"):
            Certificates.from_json(bad)


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_record_that_claims_another_order_is_contradicted(found: Certificates, shift: int) -> None:
    record = dn.method("dpmpp_2m")
    claims = dict.fromkeys(("uniform", "smooth", "irregular"), 2 + shift)
    wrong = replace(record, highest=record.top, order=2 + shift, orders=claims)
    rows = measure_orders(wrong, "vp-linear", 0, STEPS)
    certificate = replace(found["ddim"], orders=rows)
    assert {m.finding for m in rows} == {"below" if shift > 0 else "above"}
    assert not certificate.ok
    assert any("vp-linear" in text for text in certificate.contradictions)


def test_a_start_that_keeps_less_than_recorded_is_contradicted(found: Certificates) -> None:
    rows = measure_ends(replace(dn.method("eab_3"), order_with_startup=3), seed=0)
    assert any(m.finding == "below" and m.variant == "as shipped" for m in rows)
    assert not any(m.finding == "below" for m in measure_ends(dn.method("eab_3"), seed=0))
    assert any("as shipped" in c for c in replace(found["ddim"], ends=rows).contradictions)


def test_every_failing_part_is_named(found: Certificates) -> None:
    sound = found["ddim"]
    unproved = replace(sound, proof=replace(sound.proof, ok=False, identities=[("a == b", False, "1 against 2")]))
    inaccurate = replace(sound, accuracy=replace(sound.accuracy, worst=1e3))
    astray = replace(sound, golden=Agreement(3, 4, 2.0))
    for certificate, words in ((unproved, "1 against 2"), (inaccurate, "1e+03 eps"), (astray, "3 of 4")):
        assert not certificate.ok
        assert words in " ".join(certificate.contradictions)


def row(finding: str, problem: str, rate: float = 2.0) -> Measurement:
    return Measurement("edm", "uniform", problem, "formula", "global", 2.0, rate, finding, "said so")


def test_a_kind_problem_is_no_objection_and_undecided_data_are_listed(found: Certificates) -> None:
    kind = replace(found["ddim"], orders=[row("above", "a", 3.0), row("as recorded", "b")])
    assert kind.ok
    all_kind = replace(found["ddim"], orders=[row("above", "a", 3.0), row("above", "b", 3.0)])
    assert all_kind.contradictions
    one_step = [replace(r, measure="local", expected=3.0) for r in (row("above", "a", 5.0), row("above", "b", 5.0))]
    assert replace(found["ddim"], orders=one_step).ok  # as in heavy ball, whose average lags behind only later
    open_ = replace(found["ddim"], orders=[row("undecided", "a", 2.2), row("undecided", "b", 2.2)])
    assert not open_.contradictions
    assert open_.undecided
    assert not open_.ok
    assert open_.measured("uniform") == "~2.20"


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_orders_are_measured_on_every_schedule(name: str) -> None:
    rows = measure_orders(dn.method("dpm_solver_2"), name, 0, STEPS)
    assert {m.finding for m in rows} == {"as recorded"}
    assert {m.schedule for m in rows} == {name}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"names": ["nope"]}, "method='nope'"),
        ({"names": [next(iter(dn.methods("stochastic")))]}, "is stochastic"),
        ({"names": ["dc_solver_2_bh2_d1"]}, "takes ratio from the caller"),
        ({"names": ["ddim"], "schedules": ["sunday"]}, "sunday"),
        ({"names": ["ddim"], "steps": (40, 20, 80, 160)}, "positive and increasing"),
        ({"names": ["ddim"], "steps": (20, 40, 80)}, "four or more"),
    ],
)
def test_bad_input_is_refused_with_the_remedy(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        certify(**words)


# -- recorded trajectories ---------------------------------------------------------------------------


def test_a_trajectory_that_differs_is_not_counted_as_reproduced() -> None:
    case = next(case for case in load() if case["solver"] == "dpmsolver++/multistep/order2")
    moved = {**case, "x_0": (np.array(case["x_0"]) * (1 + 1e-6)).tolist()}
    (agreement,) = agreements([case, moved, {**case, "solver": "sorcery/order9"}]).values()
    assert (agreement.reproduced, agreement.cases) == (1, 2)
    assert agreement.worst > 100
    assert not agreement.ok


# -- pages -------------------------------------------------------------------------------------------


def test_the_page_stands_alone_and_names_everything(found: Certificates, tmp_path: Path) -> None:
    page, record = write(found, tmp_path / "site")
    text = page.read_text(encoding="utf-8")
    assert Certificates.from_json(record.read_text(encoding="utf-8")).to_json() == found.to_json()
    for foreign in ("http://", "https://", "<script", "<link", "url(", "@import"):
        assert foreign not in text
    for words in ("DDIM", "unipc_2_bh2", "vp-linear", "python-flint", "lowered", "certified", "Seed"):
        assert words in text
    named = write(found, tmp_path / "one.html")
    assert [p.name for p in named] == ["one.html", "one.json"]


def test_the_page_marks_what_fails(found: Certificates) -> None:
    sound = found["ddim"]
    wrong = replace(sound, accuracy=replace(sound.accuracy, worst=1e3))
    assert "contradicted" in to_html(replace(found, certificates=(wrong,)))
    assert "contradicted" not in to_html(found)


def test_the_short_form_has_a_row_a_method(found: Certificates) -> None:
    data = json.loads(json.dumps(compact(found), allow_nan=False))
    (ddim, unipc) = data["methods"]
    assert ddim["measured"] == {"uniform": "1", "smooth": "1", "irregular": "1"}
    assert unipc["measured_on"] == {"vp-linear": unipc["measured"]}
    table = markdown_table(data["methods"]).splitlines()
    assert len({line.count("|") for line in table}) == 1
    assert table[2].startswith("| `ddim` | 1 | 1 | 1 | 1 | 1 |")

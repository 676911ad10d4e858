"""The audit: its table, its cache, its verdicts on samplers that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from diffnum.audits import AuditReport, audit, report
from diffnum.audits.drift import ReverseDrift
from diffnum.audits.experiments import Row
from diffnum.audits.subjects import LEFT_OUT, Subject, subjects
from diffnum.problems import Gaussian, gaussian_example
from diffnum.schedules import EDM

ROW = Row("Scheduler", "order=3", 3, 2.0, 2.0, 1.0, 1.4, 3e-4, "below claim", "formula: order 2 < 3", "line", {"a": 1})


def test_a_report_survives_json() -> None:
    given = AuditReport("x", (ROW,), {"Other": "because"}, {"x": "1"})
    assert AuditReport.from_json(given.to_json()) == given


def test_a_page_escapes_what_it_shows_and_has_all_columns() -> None:
    page = AuditReport("x", (ROW,), {"Other": "because"}, {"x": "1"}).to_html()
    assert "order 2 &lt; 3" in page
    assert "<pre>line</pre>" in page
    for column in report.COLUMNS:
        assert column.replace("_", " ") in page


def test_a_report_is_ok_only_if_every_row_keeps_its_claim() -> None:
    assert not AuditReport("x", (ROW,)).ok
    assert "below claim" in str(AuditReport("x", (ROW,)))


def test_an_unknown_library_and_a_missing_claim_are_refused() -> None:
    with pytest.raises(ValueError, match="library='nothing' is unknown"):
        audit("nothing")
    with pytest.raises(ValueError, match="say which order your sampler claims"):
        audit(lambda model, x, nodes: x)
    with pytest.raises(ValueError, match="goes with a sampler of your own"):
        audit("diffusers", claimed=2)


def test_noise_off_follows_the_drift_of_the_reverse_sde() -> None:
    # One Gaussian of variance v: dy/drho = 2 rho y / (v + rho^2), so that y grows with v + rho^2.
    variance = 0.25
    problem = ReverseDrift(Gaussian(np.zeros(1), np.array(variance)))
    found = problem.flow(np.array([[1.5]]), EDM(), 3.0, 0.5)
    np.testing.assert_allclose(found, 1.5 * (variance + 0.25) / (variance + 9.0), rtol=1e-10)


def test_the_drift_has_the_dimension_and_samples_of_its_data() -> None:
    data = gaussian_example()
    assert ReverseDrift(data).dim == data.dim
    np.testing.assert_array_equal(ReverseDrift(data).sample(3, 0), data.sample(3, 0))


def planted(monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    """Replace the experiments by one that notes what it was asked for."""

    def examine(subject: Subject) -> Row:
        calls.append(subject.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return Row(subject.name, subject.configuration, subject.claimed, *[None] * 5, "undecided", "")

    monkeypatch.setattr(report, "examine", examine)
    three = tuple(Subject("diffusers", f"S{k}", 1) for k in range(4))
    monkeypatch.setattr(report, "subjects", lambda target: (three, {}))
    monkeypatch.setattr(report, "library_version", lambda target: "0")


def test_an_interrupted_audit_loses_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[str] = []
    planted(monkeypatch, calls)
    with pytest.raises(KeyboardInterrupt):
        audit("diffusers", cache_dir=tmp_path, jobs=1)
    seen: list[tuple[int, int, str]] = []
    found = audit("diffusers", cache_dir=tmp_path, jobs=1, progress=lambda *what: seen.append(what))
    assert calls == ["S0", "S1", "S2", "S2", "S3"]
    assert [r.sampler for r in found.rows] == ["S0", "S1", "S2", "S3"]
    assert [s[:2] for s in seen] == [(3, 4), (4, 4)]


def test_a_line_cut_short_and_rows_of_another_version_are_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = ["", "", ""]
    planted(monkeypatch, calls)
    audit("diffusers", cache_dir=tmp_path, jobs=1)
    path = tmp_path / "audit-diffusers.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], json.dumps({"key": "old", "row": {}}), lines[2][:30]]))
    audit("diffusers", cache_dir=tmp_path, jobs=1)
    assert calls[3:] == ["S0", "S1", "S2", "S3", "S2", "S3"]
    monkeypatch.setattr(report, "library_version", lambda target: "1")
    audit("diffusers", cache_dir=tmp_path, jobs=1)
    assert len(calls) == 3 + 6 + 4


def test_every_scheduler_is_audited_or_left_out_with_a_reason() -> None:
    pytest.importorskip("diffusers")
    from diffnum.audits.libraries import diffusers_schedulers

    chosen, left_out = subjects("diffusers")
    assert set(diffusers_schedulers()) <= {s.name for s in chosen} | set(left_out)
    assert not [name for name, why in left_out.items() if "not known" in why]
    assert not {s.name for s in chosen} & set(LEFT_OUT["diffusers"])


@pytest.mark.parametrize("library", ["diffusers", "k-diffusion"])
def test_every_snippet_has_at_most_five_lines_and_compiles(library: str) -> None:
    pytest.importorskip(library.replace("-", "_") if library == "diffusers" else "torchsde")
    for subject in subjects(library)[0]:
        assert len(subject.snippet.splitlines()) <= 5
        compile(subject.snippet, "snippet", "exec")


@pytest.mark.slow
def test_known_schedulers_get_the_verdicts_that_are_known(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    wanted = ("EulerDiscreteScheduler defaults", "DPMSolverMultistepScheduler solver_order=3, final_sigmas")
    first = audit("diffusers", only=wanted, jobs=1, cache_dir=tmp_path)
    rows: dict[str, Any] = {r.sampler: r for r in first.rows}
    assert rows["EulerDiscreteScheduler"].verdict == "as claimed"
    third = rows["DPMSolverMultistepScheduler"]
    assert (third.verdict, third.formula_order) == ("below claim", 2.0)
    assert "not finite at 1000 steps" in third.cause
    assert audit("diffusers", only=wanted, jobs=1).to_json() == first.to_json()


def test_a_sampler_of_your_own_is_audited_in_python() -> None:
    def ddim(model: Any, x: Any, nodes: Any) -> Any:
        for a, b in zip(nodes, nodes[1:], strict=False):
            (ta, tb), s = (model.schedule.time(a), model.schedule.time(b)), model.schedule
            x = s.alpha(tb) / s.alpha(ta) * x - s.sigma(tb) * np.expm1(b - a) * model.noise(x, a)
        return x

    found = audit(ddim, claimed=2)
    assert found.rows[0].verdict == "below claim"
    assert found.rows[0].formula_order == 1.0

"""The audit: its table, its cache, its verdicts on samplers that are known."""

from __future__ import annotations

import inspect
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from diffnum.audits import AuditReport, ErrorBudget, Finding, audit, report
from diffnum.audits.experiments import Row
from diffnum.audits.findings import Demonstration
from diffnum.audits.options import combinations, swept
from diffnum.audits.snippets import snippet
from diffnum.audits.subjects import LEFT_OUT, Subject, subjects
from diffnum.cli import main
from diffnum.foreign.drift import ReverseDrift
from diffnum.problems import Gaussian, gaussian_example
from diffnum.schedules import EDM, FlowMatching

SHOWN = Demonstration("rate", (4, 8, 12, 16), "2", "formula", "uniform", None)
FINDING = Finding("formula", "order 2 < 3", "uniform grid, 4 to 16 steps", SHOWN, "print(2)")
ROW = Row(
    "Scheduler", "order=3", 3, "its name", 2.0, 2.0, 1.0, 1.4, 3e-4, "below claim", "order 2 < 3", (FINDING,), {"a": 1}
)


def test_a_report_survives_json() -> None:
    given = AuditReport("x", (ROW,), {"Other": "because"}, {"x": "1"})
    assert AuditReport.from_json(given.to_json()) == given
    compact = AuditReport.from_json(given.to_results("diffnum audit x"))
    assert compact == AuditReport("x", (replace(ROW, evidence={}),), {"Other": "because"}, {"x": "1"})


def test_a_result_file_has_a_row_a_line_and_says_how_it_is_made() -> None:
    text = AuditReport("x", (ROW, ROW), {}, {"x": "1"}).to_results("diffnum audit x")
    assert sum('"sampler": "Scheduler"' in line for line in text.splitlines()) == 2
    record = json.loads(text)
    assert (record["command"], record["seed"], record["versions"]) == ("diffnum audit x", 0, {"x": "1"})


def test_a_page_escapes_what_it_shows_and_prints_the_lines() -> None:
    pytest.importorskip("jinja2")
    page = AuditReport("x", (ROW,), {"Other": "because"}, {"x": "1"}).to_html()
    assert "order 2 &lt; 3" in page
    assert "<pre>print(2)\n# 2</pre>" in page
    assert "uniform grid, 4 to 16 steps" in page
    assert "<code>Other</code>: because" in page


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
    pytest.importorskip("diffusers")
    with pytest.raises(ValueError, match=r"only=\['nothing'\] names no sampler of diffusers"):
        audit("diffusers", only=["nothing"])


def test_noise_off_follows_the_drift_of_the_reverse_sde() -> None:
    # One Gaussian of variance v: dy/drho = 2 rho y / (v + rho^2), so that y grows with v + rho^2.
    variance = 0.25
    problem = ReverseDrift(Gaussian(np.zeros(1), np.array(variance)))
    found = problem.flow(np.array([[1.5]]), EDM(), 3.0, 0.5)
    np.testing.assert_allclose(found, 1.5 * (variance + 0.25) / (variance + 9.0), rtol=1e-10)


def test_the_drift_without_noise_does_not_begin_at_pure_noise() -> None:
    with pytest.raises(ValueError, match="alpha is 0 there"):
        ReverseDrift(gaussian_example()).flow(np.zeros((1, 2)), FlowMatching(), 1.0, 0.5)


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
        return Row(subject.name, subject.configuration, subject.claimed, "", *[None] * 5, "undecided", "")

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
    from diffnum.foreign.libraries import diffusers_schedulers

    chosen, left_out = subjects("diffusers")
    assert set(diffusers_schedulers()) <= {s.name for s in chosen} | set(left_out)
    assert not [name for name, why in left_out.items() if "not known" in why]
    assert not {s.name for s in chosen} & set(LEFT_OUT["diffusers"])


@pytest.mark.parametrize("library", ["diffusers", "k-diffusion"])
def test_every_snippet_has_at_most_five_lines_and_compiles(library: str) -> None:
    pytest.importorskip("diffusers" if library == "diffusers" else "torchsde")
    for subject in subjects(library)[0]:
        for shown in (
            Demonstration("rate", (4, 8), "", "formula", "uniform", order=4),
            Demonstration("run", (4,), "", shows="run.error"),
            Demonstration("budget", (4,), ""),
            Demonstration("wasted", (4,), ""),
            Demonstration("stall", (4, 8), ""),
        ):
            text = snippet(subject, shown)
            assert len(text.splitlines()) <= 5
            compile(text, "snippet", "exec")


def test_every_claim_says_what_it_rests_on() -> None:
    pytest.importorskip("diffusers")
    pytest.importorskip("torchsde")
    for library in ("diffusers", "k-diffusion"):
        assert not [s.name for s in subjects(library)[0] if s.basis == "its name"]


def test_the_smallest_set_of_ingredients_that_explains_an_error_is_blamed() -> None:
    def budget(**errors: float) -> tuple[str, ...]:
        names = {"f": "float32", "t": "time rounding", "l": "last step"}
        return ErrorBudget(320, {frozenset(names[c] for c in k.strip("_")): e for k, e in errors.items()}).culprits

    assert budget(_=1.0, f=0.9, t=0.9, l=0.1, ft=0.8, fl=0.1, tl=0.1, ftl=0.1) == ("last step",)
    assert budget(_=1.0, f=0.9, t=0.9, l=0.9, ft=0.8, fl=0.7, tl=0.2, ftl=0.1) == ("time rounding", "last step")
    assert budget(_=1.0, f=0.9, t=0.9, l=0.9, ft=0.8, fl=0.7, tl=0.6, ftl=0.6) == ()


@pytest.mark.slow
def test_known_schedulers_get_the_verdicts_that_are_known(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    wanted = ("EulerDiscreteScheduler defaults", "DPMSolverMultistepScheduler solver_order=3, final_sigmas")
    first = audit("diffusers", only=wanted, jobs=1, cache_dir=tmp_path)
    rows: dict[tuple[str, str], Any] = {(r.sampler, r.configuration): r for r in first.rows}
    assert rows["EulerDiscreteScheduler", "defaults"].verdict == "as claimed"
    third = rows["DPMSolverMultistepScheduler", "solver_order=3, final_sigmas_type='sigma_min'"]
    assert (third.verdict, third.formula_order) == ("below claim", 2.0)
    assert {"formula", "not finite"} <= {f.part for f in third.findings}
    assert "the sample is not finite at 1000 steps" in third.cause
    assert audit("diffusers", only=wanted, jobs=1, cache_dir=tmp_path).to_json() == first.to_json()


def test_a_sampler_of_your_own_is_audited_in_python() -> None:
    def ddim(model: Any, x: Any, nodes: Any) -> Any:
        for a, b in zip(nodes, nodes[1:], strict=False):
            (ta, tb), s = (model.schedule.time(a), model.schedule.time(b)), model.schedule
            x = s.alpha(tb) / s.alpha(ta) * x - s.sigma(tb) * np.expm1(b - a) * model.noise(x, a)
        return x

    found = audit(ddim, claimed=2)
    assert found.rows[0].verdict == "below claim"
    assert found.rows[0].formula_order == 1.0


def test_the_command_writes_page_and_results_and_exits_by_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torchsde")
    pytest.importorskip("jinja2")
    page, results = tmp_path / "new" / "page.html", tmp_path / "results.json"
    words = ["audit", "k-diffusion", "--only", "sample_euler defaults", "--cache", str(tmp_path), "--jobs", "1"]
    for _ in range(2):  # the second run takes its row from the cache
        with pytest.raises(SystemExit) as left:
            main([*words, "--out", str(page), "--results", str(results), "--force"])
        assert left.value.code == 0, capsys.readouterr().err
        assert "sample_euler" in capsys.readouterr().out
    assert "sample_euler" in page.read_text()
    assert json.loads(results.read_text())["rows"][0]["verdict"] == "as claimed"
    assert len((tmp_path / "audit-k-diffusion.jsonl").read_text().splitlines()) == 1
    with pytest.raises(SystemExit) as left:
        main(["audit", "k-diffusion", "--only", "nothing"])
    assert left.value.code == 2
    assert "names no sampler of k-diffusion" in capsys.readouterr().err


NAMED = {
    "DDIMScheduler": {"timestep_spacing": ("trailing", "linspace")},
    "PNDMScheduler": {"timestep_spacing": ("trailing", "linspace"), "steps_offset": (1,)},
    "DEISMultistepScheduler": {"use_flow_sigmas": (True,)},
    "SASolverScheduler": {"corrector_order": (4,), "algorithm_type": ("noise_prediction",), "use_flow_sigmas": (True,)},
    "LMSDiscreteScheduler": {"use_karras_sigmas": (True,)},
    "UniPCMultistepScheduler": {"solver_order": (1, 3, 4)},
    "DPMSolverMultistepScheduler": {"use_beta_sigmas": (True,), "use_exponential_sigmas": (True,)},
}


@pytest.mark.parametrize("name", NAMED)
def test_configurations_that_users_have_are_audited(name: str) -> None:
    pytest.importorskip("diffusers")
    rows = [s.config for s in subjects("diffusers")[0] if s.name == name]
    for option, values in NAMED[name].items():
        assert set(values) <= {config.get(option) for config in rows}


def test_reasons_and_claims_are_true_of_the_class_itself() -> None:
    pytest.importorskip("diffusers")
    pytest.importorskip("torchsde")
    left_out = subjects("diffusers")[1]
    assert "placeholder" not in left_out["KarrasVeScheduler"]
    assert "Langevin" not in left_out["ScoreSdeVpScheduler"]
    ancestral = [s for s in subjects("k-diffusion")[0] if s.drift and s.claimed == 1]
    assert ancestral
    assert all("without its noise" in s.basis for s in ancestral)
    (sde,) = (s for s in subjects("diffusers")[0] if s.name == "DPMSolverSDEScheduler" and not s.sweep)
    assert "solver_order" not in sde.basis


def test_a_sweep_runs_every_combination_that_the_library_accepts() -> None:
    pytest.importorskip("diffusers")
    options = {"solver_order": (1, 2), "prediction_type": ("epsilon", "sample"), "solver_type": ("logrho", "nothing")}
    subject = Subject("diffusers", "DEISMultistepScheduler", 1, sweep=options)
    accepted, refused = combinations(subject)
    assert len(accepted) + sum(refused.values()) == 8
    assert len(accepted) == 4
    row = swept(subject)
    assert row.verdict == "as claimed", row.cause
    assert len(row.evidence["errors"]) == 4


def test_a_sweep_names_the_combinations_that_fail() -> None:
    pytest.importorskip("diffusers")
    options = {"solver_type": ("bh1", "bh2"), "prediction_type": ("epsilon", "sample")}
    row = swept(Subject("diffusers", "UniPCMultistepScheduler", 1, sweep=options))
    assert row.verdict == "fails"
    assert "2 of 4 combinations, all with solver_type='bh1', are not finite after step 4 of 4" in row.cause


def test_what_a_sweep_finds_is_data_where_options_are_functions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("diffusers")
    subject = Subject("diffusers", "SASolverScheduler", 1, sweep={"corrector_order": (0, 1)})
    monkeypatch.setattr(report, "subjects", lambda target: ((subject,), {}))
    first = audit("diffusers", cache_dir=tmp_path, jobs=1)
    again = audit("diffusers", cache_dir=tmp_path, jobs=1)
    assert first.to_json() == again.to_json()
    text = first.to_results("diffnum audit diffusers")
    assert AuditReport.from_json(text).to_results("diffnum audit diffusers") == text
    (finding,) = first.rows[0].findings
    assert "tau_func=lambda t: 0" in finding.snippet
    assert finding.prints.startswith("AssertionError")


@pytest.mark.parametrize(
    "subject",
    [
        Subject("diffusers", "EulerAncestralDiscreteScheduler", 1, sweep={"prediction_type": ("sample",)}, drift=True),
        Subject("diffusers", "DPMSolverMultistepScheduler", 1, sweep={
            "algorithm_type": ("sde-dpmsolver",), "solver_order": (3,), "final_sigmas_type": ("sigma_min",)}),
        Subject("diffusers", "DDIMInverseScheduler", 1, {"clip_sample": False}, inverse=True,
                sweep={"prediction_type": ("epsilon", "sample", "v_prediction")}),
        Subject("k-diffusion", "sample_dpmpp_2m_sde", 1, sweep={"eta": (0.0, 1.0), "solver_type": ("nothing", "heun")}),
    ],
    ids=lambda subject: subject.name,
)  # fmt: skip
def test_lines_of_a_combination_print_what_the_sweep_found(
    subject: Subject, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("diffusers" if subject.library == "diffusers" else "torchsde")
    findings = report._examined(subject).findings
    assert findings
    for finding in findings:
        assert len(finding.snippet.splitlines()) <= 5
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, on how the library makes arrays of tensors
            exec(compile(finding.snippet, finding.part, "exec"), {})
        assert capsys.readouterr().out.rstrip("\n").endswith(finding.prints.rstrip()), finding


def test_a_combination_that_fails_without_noise_is_told_once() -> None:
    pytest.importorskip("diffusers")
    sweep = {"algorithm_type": ("sde-dpmsolver",), "solver_order": (3,), "final_sigmas_type": ("sigma_min", "zero")}
    row = swept(Subject("diffusers", "DPMSolverMultistepScheduler", 1, sweep=sweep))
    assert [f.part for f in row.findings] == ["failure"]
    assert "noise" not in row.cause


def test_a_function_that_fails_only_with_its_noise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchsde")
    from diffnum.audits import options

    def examined(subject: Any, config: Any, steps: int, *, drift: bool, loud: bool = False) -> Any:
        bad = np.full((2, 1), np.inf if loud else 0.0)
        return options.ShippedRun(steps, np.inf if loud else 0.1, sample=bad, breaks="after call 1 of 2" * loud)

    monkeypatch.setattr(options, "_run", examined)
    row = swept(Subject("k-diffusion", "sample_euler", 1, sweep={"s_churn": (0.0, 10.0)}))
    (finding,) = row.findings
    assert "1 of 1 combinations with their noise, all with s_churn=10.0, are not finite" in finding.text


@pytest.mark.parametrize("library", ["diffusers", "k-diffusion"])
def test_every_class_with_options_that_change_a_formula_is_swept(library: str) -> None:
    pytest.importorskip("diffusers" if library == "diffusers" else "torchsde")
    from diffnum.foreign.libraries import diffusers_schedulers, k_diffusion_samplers

    chosen, left_out = subjects(library)
    kept = {s.name for s in chosen if s.sweep}
    installed = diffusers_schedulers() if library == "diffusers" else k_diffusion_samplers()
    for name, made in installed.items():
        if name in left_out:
            continue
        parameters = inspect.signature(made).parameters
        named = {"prediction_type", "solver_order", "solver_type", "algorithm_type", "eta", "s_churn", "order"}
        if named := {*named, "stochastic_sampling"} & set(parameters):
            assert name in kept, f"{name}: {', '.join(named)}"


ENDS = ("lower_order_final", "euler_at_final", "interpolation_type", "final_sigmas_type", "predict_x0")


def test_every_value_of_what_makes_the_last_steps_and_of_flows_is_swept() -> None:
    pytest.importorskip("diffusers")
    from diffnum.foreign.libraries import diffusers_schedulers

    swept_values: dict[tuple[str, str], set[str]] = {}
    for subject in subjects("diffusers")[0]:
        for option, values in subject.sweep.items():
            swept_values.setdefault((subject.name, option), set()).update(map(repr, values))
    installed = diffusers_schedulers()
    found = 0
    for name in {name for name, _ in swept_values}:
        parameters = inspect.signature(installed[name]).parameters
        for option in ENDS:
            if option in parameters:
                found += 1
                assert len(swept_values.get((name, option), ())) == 2, (name, option)
        if "use_flow_sigmas" in parameters:
            found += 1
            assert "'flow_prediction'" in swept_values[name, "prediction_type"], name
    assert found > len(ENDS)


def test_a_step_of_full_order_to_no_noise_is_found() -> None:
    pytest.importorskip("diffusers")
    sweep = {"solver_order": (1, 2, 3), "lower_order_final": (True, False), "final_sigmas_type": ("zero", "sigma_min")}
    row = swept(Subject("diffusers", "UniPCMultistepScheduler", 1, sweep=sweep))
    by_part = {finding.part: finding.text for finding in row.findings}
    assert set(by_part) == {"not finite", "failure"}
    for order, part in ((2, "not finite"), (3, "failure")):
        assert f"solver_order={order}, lower_order_final=False, final_sigmas_type='zero'" in by_part[part]
        assert by_part[part].startswith("1 of 12 combinations")

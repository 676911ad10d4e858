"""Reports for others rest on findings, and the changes that they propose mend what they report."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffnum.audits import MEASURED, REPORTS, UpstreamReport, adapt, audit, rate_of, shipped_run, upstream
from diffnum.audits.experiments import Row
from diffnum.audits.findings import Demonstration, Finding
from diffnum.audits.report import PROTOCOL, AuditReport
from diffnum.audits.subjects import no_noise, subjects
from diffnum.foreign.libraries import diffusers_schedulers, k_diffusion_samplers, k_diffusion_sampling

FOLDER = Path(__file__).resolve().parents[2] / "book" / "results" / "upstream"


def test_every_report_rests_on_a_row_of_the_audit() -> None:
    for library in ("diffusers", "k-diffusion"):
        named = {s.name for s in subjects(library)[0]}
        assert {r.sampler for r in REPORTS if r.library == library} <= named
    assert {r.library for r in REPORTS} == {"diffusers", "k-diffusion"}
    assert len({r.stem for r in REPORTS}) == len(REPORTS)
    assert all(r.advice or (r.old and r.new) for r in REPORTS)


def test_a_report_has_numbers_lines_a_change_and_who_was_first() -> None:
    first = REPORTS[0]
    shown = Demonstration("rate", (4, 8, 12, 16), "rate 2.0, order 2", "formula", "uniform")
    finding = Finding(first.part, "the update formula has order 2", "4 to 16 steps", shown, "print(2)")
    row = Row(first.sampler, first.among, 3, "", *[None] * 5, "below claim", "", (finding,))
    (text,) = upstream(AuditReport("diffusers", (row,), {}, {"diffusers": "0"})).values()
    for part in (
        "diffusers 0",
        "The update formula has order 2",
        "print(2)\n# rate 2.0",
        "```diff\n-        D2",
        "none was",
    ):
        assert part in text
    assert not upstream(AuditReport("k-diffusion", (row,)))
    assert not upstream(AuditReport("diffusers", ()))


def test_a_file_is_there_for_every_report() -> None:
    assert {r.stem for r in REPORTS} <= {path.stem for path in FOLDER.glob("*.md")}


@pytest.mark.parametrize("stem", sorted(r.stem for r in REPORTS))
def test_the_lines_of_a_report_print_what_it_says(stem: str, capsys: pytest.CaptureFixture[str]) -> None:
    block = (FOLDER / f"{stem}.md").read_text().partition("```python\n")[2].partition("\n```")[0]
    said = block[block.rindex("\n# ") + 3 :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy, on how the library makes arrays of tensors
        exec(compile(block, stem, "exec"), {})
    assert capsys.readouterr().out.strip() == said


def outdated(record: Mapping[str, Any]) -> bool:
    """Whether rows on record are of other experiments than those of this package, or of several."""
    return record["protocol"] != PROTOCOL or any(key.startswith("protocol ") for key in record)


def test_all_rows_on_record_are_of_the_present_protocol() -> None:
    for library in ("diffusers", "k-diffusion"):
        record = json.loads((FOLDER.parent / f"audit-{library}.json").read_text())
        assert not outdated(record), library
        assert outdated({**record, "protocol": PROTOCOL - 1})
        assert outdated({**record, "protocol of sweeps": PROTOCOL})
        assert AuditReport.from_json(json.dumps(record)).to_dict()["protocol"] == PROTOCOL


def test_a_row_on_record_is_what_is_found_today() -> None:
    (found,) = audit("diffusers", only=["EDMEulerScheduler defaults"], jobs=1).rows
    report = AuditReport.from_json((FOLDER.parent / "audit-diffusers.json").read_text())
    (kept,) = (r for r in report.rows if (r.sampler, r.configuration) == (found.sampler, found.configuration))
    assert (found.verdict, found.claimed, found.formula_order) == (kept.verdict, kept.claimed, kept.formula_order)
    assert [finding.part for finding in found.findings] == [finding.part for finding in kept.findings]
    assert found.floor == pytest.approx(kept.floor, rel=0.1)


def audited() -> list[tuple[str, Row, Finding]]:
    """What the audits on record found, with the library."""
    found = []
    for library in ("diffusers", "k-diffusion"):
        report = AuditReport.from_json((FOLDER.parent / f"audit-{library}.json").read_text())
        found += [(library, row, finding) for row in report.rows for finding in row.findings]
    return found


def test_every_finding_has_a_report_or_is_a_measured_property() -> None:
    untold, used = [], set()
    for library, row, finding in audited():
        parts = {finding.part, f"{finding.part} of {row.sampler}"} & MEASURED.keys()
        told = [r.stem for r in REPORTS if r.covers(library, row, finding)]
        used |= {*parts, *told}
        if not parts and not told:
            untold.append((row.sampler, row.configuration[:200], finding.part, finding.text))
    assert not untold
    assert used >= {r.stem for r in REPORTS}
    assert not MEASURED.keys() - used, "nothing of the kind was found"


def test_a_report_does_not_cover_findings_of_another_kind() -> None:
    told = {(row.sampler, found.part) for library, row, found in audited() if REPORTS[0].covers(library, row, found)}
    assert told
    assert {part for _, part in told} == {"formula"}
    assert "PNDMScheduler" not in {sampler for sampler, _ in told}


def parsed(report: str) -> tuple[str, str, str]:
    """A report with its lines as a tree: files are formatted."""
    before, _, rest = report.partition("```python\n")
    code, _, after = rest.partition("\n```")
    return before, ast.dump(ast.parse(code)) + code[code.rindex("\n# ") :], after


@pytest.mark.parametrize("library", ["diffusers", "k-diffusion"])
def test_the_files_are_those_of_the_audits_on_record(library: str) -> None:
    report = AuditReport.from_json((FOLDER.parent / f"audit-{library}.json").read_text())
    written = upstream(report)
    assert set(written) == {r.stem for r in REPORTS if r.library == library}
    for stem, text in written.items():
        assert parsed((FOLDER / f"{stem}.md").read_text()) == parsed(text), stem


def changed(report: UpstreamReport) -> Any:
    """Class or function of the installed library with the proposed change in its source."""
    if report.library == "k-diffusion":  # a function, whose package asks for more than is installed
        function = k_diffusion_samplers()[report.sampler]
        source = inspect.getsource(function)
        assert report.old in source
        names = dict(k_diffusion_sampling().__dict__)
        exec(compile(source.replace(report.old, report.new), report.stem, "exec"), names)
        return names[report.sampler]
    given = diffusers_schedulers()[report.sampler]
    module = importlib.import_module(given.__module__)
    source = inspect.getsource(module)
    assert report.old in source, f"{report.stem}: the line is not in this version"
    made = ModuleType(module.__name__)
    made.__file__, made.__package__ = module.__file__, module.__package__
    exec(compile(source.replace(report.old, report.new), str(module.__file__), "exec"), made.__dict__)
    return getattr(made, report.sampler)


BY_STEM = {r.stem: r for r in REPORTS}


def test_the_change_of_the_multistep_solver_gives_it_order_three() -> None:
    options: dict[str, Any] = {"solver_order": 3, "final_sigmas_type": "sigma_min"}
    shipped = diffusers_schedulers()["DPMSolverMultistepScheduler"]
    mended = changed(BY_STEM["diffusers-dpmpp-3m"])
    orders = [rate_of(adapt(c(**options)), "formula", "uniform").order for c in (shipped, mended)]
    assert orders == [2, 3]


@pytest.mark.parametrize(
    ("stem", "options"),
    [
        ("diffusers-unipc-bh1", {"solver_type": "bh1"}),
        ("diffusers-ddpm-fixed-large-log", {"variance_type": "fixed_large_log", "clip_sample": False}),
    ],
)
def test_a_change_makes_a_sample_finite(stem: str, options: dict[str, Any]) -> None:
    drift = "ddpm" in stem
    shipped = diffusers_schedulers()[BY_STEM[stem].sampler](**options)
    assert shipped_run(shipped, 10, drift=drift).breaks
    mended = shipped_run(changed(BY_STEM[stem])(**options), 10, drift=drift)
    assert not mended.failure
    assert not mended.breaks


@pytest.mark.parametrize(
    ("stem", "options"),
    [
        ("diffusers-sasolver-thresholding", {"algorithm_type": "noise_prediction", "thresholding": True}),
        ("diffusers-sasolver-learned-variance", {"variance_type": "learned"}),
    ],
)
def test_a_change_of_sa_solver_lets_it_run_to_the_plain_sample(stem: str, options: dict[str, Any]) -> None:
    given = diffusers_schedulers()["SASolverScheduler"]
    quiet: dict[str, Any] = {"tau_func": no_noise}
    assert shipped_run(given(**quiet, **options), 10).failure.startswith("RuntimeError")
    mended = shipped_run(changed(BY_STEM[stem])(**quiet, **options), 10)
    kept = {k: v for k, v in options.items() if k == "algorithm_type"}
    plain = shipped_run(given(**quiet, **kept), 10)
    assert mended.sample is not None
    assert np.allclose(mended.sample, plain.sample, atol=1e-5)


def test_the_change_of_the_stride_lets_the_error_fall() -> None:
    options: dict[str, Any] = {"clip_sample": False, "timestep_spacing": "trailing"}
    shipped = diffusers_schedulers()["DDIMScheduler"](**options)
    mended = changed(BY_STEM["diffusers-ddim-stride"])(**options)
    errors = [[shipped_run(s, n).error for n in (80, 160, 320)] for s in (shipped, mended)]
    assert errors[0][0] < errors[0][2]
    assert errors[1][0] > errors[1][1] > errors[1][2]


def test_the_change_of_the_last_step_makes_every_order_converge() -> None:
    shipped = diffusers_schedulers()["UniPCMultistepScheduler"]
    mended = changed(BY_STEM["diffusers-unipc-last-step"])
    for order in (2, 3, 4):
        options: dict[str, Any] = {"solver_order": order, "lower_order_final": False}
        bad = shipped_run(shipped(**options), 10)
        assert bad.failure or bad.breaks
        coarse, fine = (shipped_run(mended(**options), n) for n in (10, 40))
        assert not fine.failure
        assert not fine.breaks
        assert fine.error < coarse.error
    same: dict[str, Any] = {"solver_order": 3, "lower_order_final": False, "final_sigmas_type": "sigma_min"}
    assert shipped_run(mended(**same), 10).error == shipped_run(shipped(**same), 10).error


@pytest.mark.parametrize(("kind", "same"), [("linear", True), ("log_linear", False)])
def test_levels_of_euler_in_log_space_are_not_those_of_its_times(kind: str, same: bool) -> None:
    scheduler = diffusers_schedulers()["EulerDiscreteScheduler"](interpolation_type=kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy, on how the library makes arrays of tensors
        scheduler.set_timesteps(20)
    known = np.sqrt((1 - scheduler.alphas_cumprod.numpy()) / scheduler.alphas_cumprod.numpy())
    told = np.interp(scheduler.timesteps.numpy(), np.arange(len(known)), known)
    assert np.allclose(told, scheduler.sigmas.numpy()[:20], rtol=1e-3) == same
    assert (len(scheduler.sigmas) == 21) == same


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # how the library makes arrays of tensors
def test_the_change_of_ancestral_steps_makes_the_first_one_finite() -> None:
    options: dict[str, Any] = {"beta_schedule": "squaredcos_cap_v2"}
    shipped = diffusers_schedulers()["EulerAncestralDiscreteScheduler"]
    mended = changed(BY_STEM["diffusers-ancestral-cosine"])
    assert shipped_run(shipped(**options), 4, drift=True).breaks
    assert not shipped_run(mended(**options), 4, drift=True).breaks
    first, second = (shipped_run(cls(), 10, drift=True).sample for cls in (shipped, mended))
    assert first is not None
    assert np.allclose(first, second, atol=1e-4)


def test_the_change_of_unclip_lets_one_step_run() -> None:
    shipped = diffusers_schedulers()["UnCLIPScheduler"](clip_sample=False)
    mended = changed(BY_STEM["diffusers-unclip-one-step"])(clip_sample=False)
    assert shipped_run(shipped, 1, drift=True).failure.startswith("ZeroDivisionError")
    assert not shipped_run(mended, 1, drift=True).failure
    assert shipped_run(mended, 10, drift=True).error == shipped_run(shipped, 10, drift=True).error


def test_the_change_of_k_diffusion_gives_its_third_order() -> None:
    shipped = k_diffusion_samplers()["sample_dpmpp_3m_sde"]
    mended = changed(BY_STEM["k-diffusion-dpmpp-3m-sde"])
    quiet: dict[str, Any] = {"eta": 0.0, "noise_sampler": lambda *_: 0.0, "double": True}
    assert [rate_of(adapt(f, **quiet), "formula", "uniform").order for f in (shipped, mended)] == [2, 3]


def test_the_change_of_k_diffusion_lets_one_step_run() -> None:
    shipped = k_diffusion_samplers()["sample_dpmpp_2m_sde"]
    mended = changed(BY_STEM["k-diffusion-one-step"])
    assert shipped_run(shipped, 1, options={"eta": 0.0}).failure.startswith("UnboundLocalError")
    assert not shipped_run(mended, 1, options={"eta": 0.0}).failure
    first, second = (shipped_run(f, 10, options={"eta": 0.0}).sample for f in (shipped, mended))
    assert first is not None
    assert np.array_equal(first, second)

"""Reports for others rest on findings, and the changes that they propose mend what they report."""

from __future__ import annotations

import importlib
import inspect
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffnum.audits import REPORTS, UpstreamReport, adapt, rate_of, shipped_run, upstream
from diffnum.audits.experiments import Row
from diffnum.audits.findings import Demonstration, Finding
from diffnum.audits.report import AuditReport
from diffnum.audits.subjects import no_noise, subjects
from diffnum.foreign.libraries import diffusers_schedulers

FOLDER = Path(__file__).resolve().parents[2] / "book" / "results" / "upstream"


def test_every_report_rests_on_a_row_of_the_audit() -> None:
    named = {s.name for s in subjects("diffusers")[0]}
    assert {r.sampler for r in REPORTS} <= named
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


def changed(report: UpstreamReport) -> type[Any]:
    """Class of the installed library with the proposed change in its source."""
    given = diffusers_schedulers()[report.sampler]
    module = importlib.import_module(given.__module__)
    source = inspect.getsource(module)
    assert report.old in source, f"{report.stem}: the line is not in this version"
    made = ModuleType(module.__name__)
    made.__file__, made.__package__ = module.__file__, module.__package__
    exec(compile(source.replace(report.old, report.new), str(module.__file__), "exec"), made.__dict__)
    cls: type[Any] = getattr(made, report.sampler)
    return cls


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

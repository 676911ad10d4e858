"""The command line: every verb works, says what it knows as JSON, and answers bad input with one line and status 2."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import diffnum as dn
from diffnum import cli
from diffnum.cli import common
from tests.cli.test_progress import spoken

VERBS = ("methods", "derive", "prove", "verify", "analyse", "plan", "sample", "compare", "fit", "report")


class Outcome:
    """What a command printed, and its status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run a command in this process."""

    def command(*words: str) -> Outcome:
        with pytest.raises(SystemExit) as left:
            cli.main(words)
        out, err = capsys.readouterr()
        return Outcome(int(left.value.code or 0), out, err)

    return command


@pytest.mark.parametrize("verb", [*VERBS, "golden export", "golden check"])
def test_every_verb_has_help(run, verb: str) -> None:  # type: ignore[no-untyped-def]
    done = run(*verb.split(), "--help")
    assert done.status == 0
    assert "--json" in done.out


def test_methods_lists_the_catalogue(run) -> None:  # type: ignore[no-untyped-def]
    listed = json.loads(run("methods", "--json").out)
    assert [m["name"] for m in listed] == list(dn.methods("all"))
    printed = run("methods").out
    assert all(name in printed for name in dn.methods("all"))
    only = json.loads(run("methods", "--kind", "stochastic", "--json").out)
    assert [m["name"] for m in only] == list(dn.methods("stochastic"))
    assert {m["name"]: m["law_order"] for m in only}["dpm_2_ancestral"] == 2
    done = run("methods", "--kind", "random")
    assert done.status == 2
    assert "kind='random'" in done.err


def test_stochastic_methods_are_proved_and_verified_like_the_others(run) -> None:  # type: ignore[no-untyped-def]
    done = run("prove", "sde_dpmpp_2m", "ddpm")
    assert done.status == 0
    assert "one path" in done.out
    done = run("verify", "dpm_2_ancestral", "--json")
    (found,) = json.loads(done.out)["stochastic"]
    assert done.status == 0
    assert {s["kind"]: s["order"] for s in found["studies"]} == {"strong": 1, "weak": 1, "law": 2}
    assert "strong order 1, weak order 1, order in law 2" in run("verify", "dpm_2_ancestral").out
    assert "strong constant of the noise: 1/12" in run("derive", "sde_trapezoid").out


def test_verify_finds_a_stochastic_method_that_falls_short(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from dataclasses import replace

    from diffnum.cli import verify

    record = dn.method("ddpm")
    wrong = replace(record, noise=replace(record.noise, weak=2.0))
    monkeypatch.setattr(verify, "records", lambda *_: [wrong])
    done = run("verify", "ddpm")
    assert done.status == 1
    assert "weak order: measured 1.0, recorded 2" in done.out


def test_an_order_that_the_data_do_not_decide_is_named_and_no_failure(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from diffnum.convergence import stochastic

    monkeypatch.setattr(stochastic, "EXTRA_LEVELS", 0)
    done = run("verify", "er_sde_3_corrected", "--steps", "20,40,80,160,320")
    assert done.status == 0
    assert "weak order undecided" in done.out
    assert "weak order: undecided, recorded 2" in done.out


def test_derive_prints_formula_code_and_json(run) -> None:  # type: ignore[no-untyped-def]
    assert "\\begin{aligned}" in run("derive", "dpmpp_2m").out
    assert run("derive", "dpmpp_2m", "--code", "latex").out.strip() == dn.derive("dpmpp_2m").latex()
    assert "double" in run("derive", "dpmpp_2m", "--code", "c").out
    data = json.loads(run("derive", "dpmpp_2m", "--json", "--code", "python").out)
    assert data["name"] == "dpmpp_2m"
    assert "def " in data["code"]


def test_prove_exits_with_0_when_all_is_proved(run) -> None:  # type: ignore[no-untyped-def]
    done = run("prove", "ddim", "edm_heun", "--json")
    assert done.status == 0
    assert [p["ok"] for p in json.loads(done.out)] == [True, True]
    assert "proved, order 2" in run("prove", "edm_heun").out


def test_prove_exits_with_1_when_a_proof_fails(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]

    from diffnum.certificates.mutants import perturbed

    wrong = perturbed(dn.method("dpmpp_2m"), "x", "k1")
    monkeypatch.setattr(common, "find_method", lambda _: wrong)
    done = run("prove", "dpmpp_2m")
    assert done.status == 1
    assert "NOT proved" in done.out


SAMPLERS = """
import numpy as np


def euler(model, x, nodes):
    for here, there in zip(nodes, nodes[1:]):
        x = x + (np.exp(-there) - np.exp(-here)) * model.noise(x, here)
    return x


def k_euler(model, x, sigmas, factor=1.0):
    for here, there in zip(sigmas, sigmas[1:]):
        x = x + factor * (there / here - 1) * (x - model(x, here))
    return x


def flow_euler(model, x, timesteps):
    for here, there in zip(timesteps, timesteps[1:]):
        x = x + (there - here) * model(x, here)
    return x


def anyhow(model, x, grid):
    return flow_euler(model, x, grid)


def __getattr__(name):  # diffusers is loaded when the scheduler is asked for
    if name == "Scheduler":
        from diffusers import EulerDiscreteScheduler

        return EulerDiscreteScheduler
    raise AttributeError(name)


number = 3
"""


@pytest.fixture
def samplers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module with a sampler of one's own."""
    (tmp_path / "my_samplers.py").write_text(SAMPLERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "my_samplers"


@pytest.mark.needs("flint", "jinja2")
def test_verify_certifies_methods_and_writes_the_page(run, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    module = importlib.import_module("diffnum.certificates.certify")
    monkeypatch.setattr(module, "agreements", dict)  # the recorded trajectories take seconds
    monkeypatch.setattr(module, "POINTS", 4)
    words = ("verify", "dpmpp_2m", "--schedule", "edm", "--steps", "24,48,96,192", "--jobs", "1")
    words = (*words, "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "site"))
    done = run(*words, "--json")
    assert done.status == 0, done.out
    data = json.loads(done.out)
    assert data["ok"] is True
    assert data["certificates"][0]["verdict"] == {"ok": True, "contradictions": [], "undecided": []}
    assert json.loads((tmp_path / "site" / "certificates.json").read_text()) == data
    assert "dpmpp_2m" in (tmp_path / "site" / "certificates.html").read_text()
    done = run(*words, "--mutate", "--force")  # all but the mutants comes from the cache
    assert done.status == 0, done.out
    assert done.out.startswith("ok    dpmpp_2m: order 2 (claimed 2), proved; weights within")
    assert "planted defects are found (100 %)" in done.out


@pytest.mark.parametrize(
    ("schedule", "order", "status"),
    [("edm", 1, 0), ("edm", 2, 1), ("edm", 0.5, 1), ("vp-linear", 1, 1)],
    ids=["its order", "a higher one", "a lower one", "a process that it is not for"],
)
def test_verify_accepts_the_order_of_a_sampler_and_no_other(  # type: ignore[no-untyped-def]
    run, samplers: str, schedule: str, order: float, status: int
) -> None:
    words = ("--order", str(order), "--schedule", schedule, "--steps", "20,40,80,160")
    done = run("verify", "--sampler", f"{samplers}:euler", *words)
    assert done.status == status, done.out
    assert done.out.startswith("FAIL" if status else "ok")


def test_analyse_prints_draws_and_says_as_json_what_the_objects_know(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = ("analyse", "lms_2", "--nfe", "5,10", "--eigenvalues", "0.1,1")
    text = run(*words).out
    assert "[-1.0000, 0]" in text
    assert "zero-stable, roots 1" in text
    picture = tmp_path / "analysis.svg"
    done = run(*words, "--json", "--out", str(picture))
    (data,) = json.loads(done.out)
    found = dn.analysis.analyse("lms_2", nfe=(5, 10), eigenvalues=(0.1, 1)).to_dict()
    assert found["stability"].pop("stiffness") == float("inf")
    assert data["stability"].pop("stiffness") is None  # JSON has no infinity
    assert data == found
    assert data["constant"]["linear"] == pytest.approx(5 / 12)
    assert picture.read_text().lstrip().startswith("<?xml")


def test_analyse_takes_heavy_ball_and_parameters(run) -> None:  # type: ignore[no-untyped-def]
    (plain,), (heavy,) = (json.loads(run("analyse", "lms_2", *more, "--json").out) for more in ((), ("--beta", "0.5")))
    assert heavy["method"] == "hb_lms_2_0.5"
    assert heavy["stability"]["real"] > plain["stability"]["real"]
    (compensated,) = json.loads(run("analyse", "dc_solver_2_bh2", "--parameter", "ratio=1", "--json").out)
    assert compensated["stability"]["zero_stable"] is True


def test_analyse_places_methods_on_grids_beside_the_limit(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = ("analyse", "ddim", "dpmpp_2m", "--spectrum", "--jobs", "1")
    text = run(*words).out.splitlines()
    assert [line.split()[0] for line in text[2:]] == [str(n) for n in range(3, 21)]
    picture = tmp_path / "new" / "limit.svg"
    more = ("--nfe", "4,6", "--eigenvalues", "0.01,10", "--noise-levels", "20,0.05", "--grid", "karras")
    data = json.loads(run(*words, *more, "--schedule", "edm", "--json", "--out", str(picture)).out)
    found = dn.analysis.rank(
        6, (0.01, 10.0), (20.0, 0.05), methods=("ddim", "dpmpp_2m"), grids=("karras",), schedule=dn.schedules.EDM()
    )
    assert data[1] == json.loads(json.dumps(found.to_dict()))
    assert picture.read_text().lstrip().startswith("<?xml")
    assert (
        run(*words, "--nfe", "5").out.splitlines()
        == str(dn.analysis.rank(5, methods=("ddim", "dpmpp_2m"))).splitlines()
    )
    heavy = json.loads(run("analyse", "eab_4", "--beta", "0.8", "--spectrum", "--nfe", "6", "--json").out)
    assert heavy[0]["rows"][0]["method"] == "hb_eab_4_0.8"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--eigenvalues", "1,2,3"), "--eigenvalues: 3 numbers"),
        (("--noise-levels", "80"), "--noise-levels: 1 numbers"),
        (("--noise-levels", "1,2"), "larger level first"),
        (("--grid", "model_timesteps"), "'model_timesteps' is not ranked"),
        (("--nfe", "0"), "nfe=0"),
        (("--nfe", ""), "at least one number"),
        (("--start", "marginal"), "no meaning with --spectrum"),
        (("--out", "a.txt"), "ends in .svg"),
    ],
)
def test_analyse_refuses_a_bad_spectrum_in_one_line(run, words, complaint: str) -> None:  # type: ignore[no-untyped-def]
    done = run("analyse", "ddim", "--spectrum", "--jobs", "1", *words)
    assert done.status == 2
    assert complaint in done.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("lms_2", "--beta", "1.5"), "--beta 1.5 is outside (0, 1]"),
        (("lms_2", "--nfe", "0"), "nfe=(0,): give at least one budget"),
        (("lms_2", "--eigenvalues", "0,1"), "give the variances of the data, finite and > 0"),
        (("lms_2", "--start", "data"), "start='data' is unknown: use one of marginal, noise"),
        (("dc_solver_2_bh2",), "dc_solver_2_bh2 takes exactly ['ratio']"),
        (("lms_2", "ddim", "--out", "a.svg"), "a figure shows one method, 2 are named"),
        (("lms_2", "--parameter", "ratio"), "write NAME=VALUE"),
        (("lms_2", "--noise-levels", "80,1"), "is read with --spectrum only"),
    ],
)
def test_analyse_refuses_bad_input_in_one_line(run, words, complaint: str) -> None:  # type: ignore[no-untyped-def]
    done = run("analyse", *words)
    assert done.status == 2
    assert complaint in done.err
    assert spoken(done.err).count("\n") == 1


def test_verify_says_what_is_likely_wrong(run, samplers: str) -> None:  # type: ignore[no-untyped-def]
    done = run("verify", "--sampler", f"{samplers}:euler", "--order", "1", "--steps", "20,40,80,160")
    assert done.status == 1
    assert "does not converge on 'vp-linear', whose states are alpha x_0 + sigma eps" in done.out


@pytest.mark.parametrize(
    ("name", "words", "status"),
    [
        ("k_euler", (), 0),
        ("k_euler", ("--option", "factor=1.1"), 1),
        ("flow_euler", (), 0),
        ("anyhow", ("--convention", "flow"), 0),
        ("Scheduler", (), 0),
        ("Scheduler", ("--option", 'prediction_type="v_prediction"'), 0),
    ],
)
def test_verify_understands_conventions(run, samplers: str, name: str, words: tuple[str, ...], status: int) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("torch")
    if name == "Scheduler":
        pytest.importorskip("diffusers")
    done = run("verify", "--sampler", f"{samplers}:{name}", "--order", "1", "--steps", "20,40,80,160", *words)
    assert done.status == status, done.out + done.err


def test_plan_is_a_table_or_a_plan(run) -> None:  # type: ignore[no-untyped-def]
    assert "dpmpp_2m on edm: 4 steps" in run("plan", "dpmpp_2m", "--schedule", "edm", "--steps", "4").out
    words = (
        "plan",
        "unipc_3",
        "--steps",
        "6",
        "--t-end",
        "0.01",
        "--terminal",
        "denoise",
        "--prediction",
        "v",
        "--json",
    )
    made = dn.Plan.from_json(run(*words).out)
    assert (made.prediction, made.terminal, len(made)) == ("v", "denoise", 7)


@pytest.mark.needs("torch")
def test_sample_writes_a_picture_or_an_array(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = ("sample", "toy/digits", "--steps", "3", "--n", "2", "--label", "4", "--seed", "5", "--out")
    assert "2 images of toy/digits by dpmpp_2m, 3 evaluations each" in run(*words, str(tmp_path / "a" / "x.png")).out
    assert (tmp_path / "a" / "x.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads(run(*words, str(tmp_path / "x.npy"), "--json").out)
    expected = dn.sample(dn.load("toy/digits").conditioned(4), "dpmpp_2m", 3, 2, seed=5).numpy()
    assert np.array_equal(np.load(facts["out"]), expected)


@pytest.mark.needs("torch")
def test_sample_guides_to_a_class(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = ("sample", "toy/digits", "--steps", "3", "--n", "2", "--guidance", "3", "--out", str(tmp_path / "x.npy"))
    run(*words, "--label", "4")
    guided = dn.guidance.classifier_free(dn.load("toy/digits").conditioned(4), 3.0)
    assert np.array_equal(np.load(tmp_path / "x.npy"), dn.sample(guided, "dpmpp_2m", 3, 2).numpy())
    done = run(*words, "--force")
    assert (done.status, "--guidance 3: give --label" in done.err) == (2, True)
    run(*words, "--label", "4", "--rule", "classifier", "--force")
    network = dn.load("toy/digits").conditioned(4)
    guided = dn.guidance.RULES["classifier"](network, 3.0, classifier=dn.models.load_classifier(network))
    assert np.array_equal(np.load(tmp_path / "x.npy"), dn.sample(guided, "dpmpp_2m", 3, 2).numpy())
    done = run(*words, "--label", "4", "--rule", "autoguidance", "--force")
    assert (done.status, "--rule 'autoguidance': a network alone can be guided by" in done.err) == (2, True)


@pytest.mark.needs("torch", "jinja2")
def test_compare_prints_errors_and_draws_them(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = ("compare", "toy/digits", "--methods", "ddim, dpmpp_2m", "--nfe", "5,10", "--n", "1", "--tolerance", "1e-4")
    words = (*words, "--images", "0")
    done = run(*words, "--out", str(tmp_path / "errors.svg"), "--json")
    data = json.loads(done.out)
    assert [r["nfe"] for r in data["rows"]] == [[5, 10], [5, 10]]
    assert "<svg" in (tmp_path / "errors.svg").read_text()
    assert "dpmpp_2m" in run(*words).out


@pytest.mark.needs("torch", "jinja2")
def test_report_writes_a_page_and_says_what_it_found(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from diffnum import report

    monkeypatch.setattr(report, "DEFAULT_MODELS", ())
    done = run("report", "--out", str(tmp_path / "r.html"), "--methods", "ddim", "--jobs", "1", "--quick", "--json")
    assert done.status == 0
    assert json.loads(done.out) == {"out": str(tmp_path / "r.html"), "failures": [], "undecided": [], "missing": []}
    assert (tmp_path / "r.html").is_file()


@pytest.mark.parametrize(
    "words",
    [
        ("frobnicate",),
        ("--frobnicate",),
        ("derive",),
        ("derive", "dpmpp_2n"),
        ("derive", "ddim", "--code", "cobol"),
        ("prove", "ddim", "nope"),
        ("verify", "nope"),
        ("verify", "ddim", "--steps", "a,b"),
        ("verify", "ddim", "--steps", "20,10"),
        ("verify", "ddim", "--order", "1"),
        ("verify", "ddim", "--schedule", "nope"),
        ("verify", "ddim", "--out", "page.txt"),
        ("verify", "--sampler", "json:loads", "--order", "1", "--mutate"),
        ("golden", "check", "no such file.json"),
        ("golden", "export", "nowhere", "nope"),
        ("verify", "--sampler", "nowhere:f", "--order", "2"),
        ("verify", "--sampler", "json:nothing", "--order", "2"),
        ("verify", "--sampler", "json", "--order", "2"),
        ("verify", "--sampler", "json:__name__", "--order", "2"),
        ("verify", "--sampler", "json:loads"),
        ("verify", "--sampler", "json:loads", "--order", "1"),
        ("verify", "--sampler", "json:loads", "--order", "1", "--convention", "nope"),
        ("verify", "--sampler", "json:loads", "--order", "1", "--option", "nope"),
        ("verify", "ddim", "--option", "a=1"),
        ("plan", "nope"),
        ("plan", "ddim", "--schedule", "nope"),
        ("plan", "ddim", "--grid", "nope"),
        ("plan", "ddim", "--steps", "0"),
        ("plan", "ddim", "--terminal", "nope"),
        ("plan", "ddim", "--start", "nope"),
        ("plan", "ddim", "--t-start", "7"),
        ("sample", "toy/nope"),
        ("sample", "toy/digits", "--label", "11"),
        ("sample", "toy/digits", "--out", "picture.bmp"),
        ("sample", "toy/digits", "--n", "0"),
        ("compare", "nope"),
        ("compare", "toy/digits", "--nfe", "10,5"),
        ("compare", "toy/digits", "--out", "table.xls"),
        ("report", "--methods", "nope"),
        ("report", "--models", "nope"),
        ("report", "--methods", "ddim", "--out", "/dev/null/report.html"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_status_2(run, words: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    done = run(*words)
    assert done.status == 2
    assert done.out == ""
    lines = [line for line in spoken(done.err).splitlines() if not line.endswith(" ...")]
    assert len(lines) == 1
    assert lines[0].startswith("diffnum: ")
    assert "Traceback" not in done.err


def test_a_defect_of_ours_is_not_passed_off_as_bad_input(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(cli.catalogue, "all_methods", lambda *_: 1 / 0)
    done = run("methods")
    assert done.status == 3
    assert done.out == ""
    (line,) = spoken(done.err).splitlines()
    assert line.startswith("diffnum: unexpected ZeroDivisionError in test_cli.py, line ")
    monkeypatch.setenv(cli.DEBUG, "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["methods"])


def test_it_runs_as_a_module_with_plain_messages_where_there_is_no_terminal() -> None:
    words = [sys.executable, "-m", "diffnum", "prove", "ddim", "edm_heun", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout)
    assert spoken(done.stderr) == "proving ...\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("verb", ["sample", "compare"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(run, verb: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / ("pictures.png" if verb == "sample" else "page.json")
    done = run(verb, "toy/digits", "--out", str(out))
    assert done.status == 2
    assert f"{out} cannot be written (" in done.err
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.needs("flint", "jinja2")
@pytest.mark.parametrize("delay", [0.0, 0.3, 1.5])  # while processes start, import and work
def test_an_interrupt_is_quiet_and_leaves_no_process(delay: float, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "diffnum", "verify", "--jobs", "2", "--cache", str(tmp_path)]
    # where tests run in the background of a shell, interrupts are ignored, and children inherit that
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    signal.signal(signal.SIGINT, before)
    try:
        assert process.stderr is not None
        assert next(filter(spoken, process.stderr)) == "certifying ...\n"
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
        _, err = process.communicate(timeout=60)  # the workers hold the pipe: it ends after the last of them
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 130
    assert spoken(err) == ""


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--order", "nan"), "--order nan is no order that can be claimed"),
        (("--order", "-1"), "--order -1 is no order that can be claimed"),
        (("--order", "1", "--clock", "x"), "--clock 'x' is unknown: use one of half-log-snr, sigma, flow-time"),
        (("--order", "1", "--problem", "x"), "--problem 'x' is unknown: use one of"),
        (("--order", "1", "--interval=-1"), "--interval takes two half-log-SNRs"),
        (("--order", "1", "--interval=-1,inf"), "--interval takes finite half-log-SNRs"),
        (("--order", "1", "--interval=a,b"), "--interval 'a,b': give numbers separated by commas"),
        (("--order", "1", "--shape", "0,2"), "--shape takes numbers > 0"),
        (("--order", "1", "--grids", "wavy"), "grids='wavy' is no kind of grid"),
    ],
)
def test_verify_refuses_what_cannot_be_meant(run, samplers: str, words: tuple[str, ...], complaint: str) -> None:  # type: ignore[no-untyped-def]
    done = run("verify", "--sampler", f"{samplers}:euler", "--schedule", "edm", *words)
    assert done.status == 2, done.out
    assert complaint in done.err


def test_verify_tries_what_it_is_asked_to(run, samplers: str) -> None:  # type: ignore[no-untyped-def]
    words = ("--interval=-1,1", "--problem", "three-peaks", "--grids", "uniform", "--clock", "sigma")
    words = (*words, "--shape", "1,1,1", "--schedule", "edm", "--steps", "20,40,80,160", "--json")
    done = run("verify", "--sampler", f"{samplers}:euler", "--order", "1", *words)
    assert done.status == 0, done.out + done.err
    (data,) = json.loads(done.out)
    assert (data["verdict"], data["orders"]) == ("holds", {"uniform": 1.0})

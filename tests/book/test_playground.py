"""The playground of the book computes what the package computes, and says so in a browser."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.analysis import linear_step
from tests.book.test_tools import BOOK, load

STATIC = BOOK / "static/playground"
CORE = STATIC / "core.js"

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
pytest.importorskip("sphinx", reason="Sphinx comes with the book: make book")
directive = load(BOOK / "_ext/playground.py")

WEIGHTS, MEANS, STDS = [0.35, 0.4, 0.25], [[-1.3, -0.7], [0.1, 1.3], [1.4, -0.5]], [0.15, 0.25, 0.1]
COMPONENTS = [
    {"weight": w, "mean": m, "std": s, "label": label}
    for w, m, s, label in zip(WEIGHTS, MEANS, STDS, "ABA", strict=True)
]
MIXTURE = dn.GaussianMixture(WEIGHTS, MEANS, np.square(STDS))
START = np.array([[0.4, -1.1], [-0.7, 0.2], [1.9, 0.3]])
SCHEDULES = {
    "vp-linear": (dn.schedules.VPLinear(), {"t_start": 0.8}),  # below the end, for churn
    "flow": (dn.schedules.FlowMatching(shift=3.0), {"t_start": 0.9, "t_end": 0.01}),
    "edm": (dn.schedules.EDM(), {"t_start": 20.0, "t_end": 0.01}),
}


def ask(script: str, data: Any) -> Any:
    """Value of a JavaScript expression in ``data`` and the playground's ``core``, from node."""
    text = f"""
      const core = require({json.dumps(str(CORE))}).DiffnumPlayground;
      const data = JSON.parse(require("fs").readFileSync(0, "utf8"));
      process.stdout.write(JSON.stringify({script}));
    """
    done = subprocess.run(["node", "-e", text], input=json.dumps(data), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def drawn(step: int, index: int, like: np.ndarray) -> np.ndarray:
    """Numbers in place of normals, that both languages can make."""
    return np.broadcast_to(np.cos([1.3 * step + 2.1 * index, 0.7 + step + index]), like.shape).copy()


RUN = """data.plans.map((raw) => {
  const plan = core.readPlan(raw);
  const kick = (step, k) => [Math.cos(1.3 * step + 2.1 * k), Math.cos(0.7 + step + k)];
  const model = core.guided(data.components);
  return data.starts.map((x) => Array.from(core.run(plan, model, x, kick).at(-1)));
})"""


def every_plan(schedule: str) -> list[dn.Plan]:
    """A plan of each method, in a prediction that the playground reads."""
    noising, ends = SCHEDULES[schedule]
    grid = dn.grids.uniform_half_log_snr(noising, 7, **ends)
    plans = []
    for name in dn.methods("all"):
        record = dn.method(name)
        if not record.parameters:
            steps = dn.plan(record, noising, grid)
            plans.append(steps.for_prediction("data") if steps.prediction == "velocity" else steps)
    plans.append(dn.plan("dpmpp_2m", noising, grid).for_prediction("v"))
    assert len(plans) > 70
    return plans


def asked(plans: list[dn.Plan]) -> dict[str, Any]:
    """What :data:`RUN` is given."""
    return {"plans": [p.to_dict() for p in plans], "components": COMPONENTS, "starts": START.tolist()}


def hold(schedule: str, plans: list[dn.Plan], found: Any) -> None:
    """Fail unless the ends are those of the package to 1e-12."""
    model = MIXTURE.denoiser(SCHEDULES[schedule][0])
    for steps, got in zip(plans, found, strict=True):
        wanted = dn.solve(steps, model, START, noise=drawn)
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12 * np.abs(wanted).max(), err_msg=steps.method)


@needs_node
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_method_ends_where_the_package_ends(schedule: str) -> None:
    plans = every_plan(schedule)
    hold(schedule, plans, ask(RUN, asked(plans)))


def test_every_method_ends_there_in_chromium_too(tmp_path: Path) -> None:
    look, program = browser_or_skip()
    shutil.copy(CORE, tmp_path)
    page = tmp_path / "page.html"
    page.write_text('<!doctype html><article></article><script src="core.js"></script>', encoding="utf-8")
    plans = every_plan("vp-linear")

    async def run() -> Any:
        async with look.chromium(program) as browser:
            await browser.open(page, look.VIEWS[0])
            given = f"const core = DiffnumPlayground, data = {json.dumps(asked(plans))};"
            return json.loads(await browser.evaluate(f"(() => {{ {given} return JSON.stringify({RUN}); }})()"))

    hold("vp-linear", plans, asyncio.run(asyncio.wait_for(run(), 120)))


@needs_node
def test_a_wrong_weight_would_be_seen() -> None:
    noising, ends = SCHEDULES["vp-linear"]
    steps = dn.plan("dpmpp_2m", noising, dn.grids.uniform_half_log_snr(noising, 7, **ends))
    raw = steps.to_dict()
    raw["steps"][3]["B"][0][0] *= 1 + 1e-9
    (got,) = ask(RUN, {"plans": [raw], "components": COMPONENTS, "starts": START.tolist()})
    wanted = dn.solve(steps, MIXTURE.denoiser(noising), START)
    assert np.abs(got - wanted).max() > 1e-12 * np.abs(wanted).max()


@needs_node
@pytest.mark.parametrize(
    ("name", "h"), [("dpmpp_2m", 1.0), ("eab_4", 0.5), ("unipc_3_bh2", 0.25), ("edm_heun", 0.0), ("ghvb_1.8", 0.0)]
)
def test_regions_of_stability_are_those_of_the_package(name: str, h: float) -> None:
    linear = linear_step(name, h)
    z = np.array([-0.3, -1.7, -0.4 + 1.1j, -2.6 + 0.2j, 0.3 - 0.8j])
    data = {"step": linear.step, "rate": linear.rate, **{m: getattr(linear, m).tolist() for m in "UAVB"}}
    got = ask(
        "data.z.map(([re, im]) => core.radius(data.linear, re, im))",
        {"linear": data, "z": [[v.real, v.imag] for v in z]},
    )
    # Gelfand's formula after 4096 multiplications: the constant of the norm is left, to the power 1/4096
    np.testing.assert_allclose(got, linear.radius(z), rtol=5e-3)


@needs_node
def test_exact_ends_are_those_of_the_flow() -> None:
    noising = SCHEDULES["vp-linear"][0]
    line = dn.problems.Mixture1D(WEIGHTS, [m[0] for m in MEANS], np.square(STDS))
    wanted = line.flow(START[:, :1], noising, 1.0, 0.001)
    components = [{**c, "mean": c["mean"][:1]} for c in COMPONENTS]
    got = ask(
        "data.starts.map((x) => { const at = core.levels(data.schedule);"
        " return core.flow(core.guided(data.components), at(1), at(0.001), x, 400); })",
        {"schedule": noising.to_dict(), "components": components, "starts": START[:, :1].tolist()},
    )
    np.testing.assert_allclose(
        np.array([list(g.values()) if isinstance(g, dict) else g for g in got]), wanted, atol=1e-5
    )


@needs_node
def test_guidance_is_that_of_the_package() -> None:
    noising = SCHEDULES["vp-linear"][0]
    of_class = dn.GaussianMixture([0.35 / 0.6, 0.25 / 0.6], [MEANS[0], MEANS[2]], np.square([STDS[0], STDS[2]]))
    t = 0.3
    free, conditional = (problem.denoiser(noising)(START, t) for problem in (MIXTURE, of_class))
    level = [float(noising.alpha(t)), float(noising.sigma(t))]
    got = ask(
        "data.starts.map((x) => {"
        " const model = core.guided(data.components, 'A', 4);"
        " return Array.from(model(x, ...data.level, new Float64Array(2))); })",
        {"components": COMPONENTS, "starts": START.tolist(), "level": level},
    )
    np.testing.assert_allclose(got, free + 4 * (conditional - free), rtol=1e-12)


@needs_node
def test_normals_look_normal() -> None:
    z = np.array(ask("Array.from({length: 40000}, core.normals(7))", None))
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / len(z))
    assert abs((z[1:] * z[:-1]).mean()) < 4 / np.sqrt(len(z))


PAGE = (BOOK / "start/playground.md").read_text(encoding="utf-8")


@pytest.fixture
def solutions(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names that the first cell of the page gives to its solutions."""
    pytest.importorskip("IPython", reason="the helpers of the book come with it: make book")
    monkeypatch.syspath_prepend(str(BOOK))
    cell = re.search(r"^```\{code-cell\} python\n(?::[^\n]*\n)*(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert cell is not None
    names: dict[str, Any] = {}
    exec(cell[1], names)
    return names


@needs_node
def test_the_solutions_of_the_page_draw_what_the_playground_draws(solutions: dict[str, Any]) -> None:
    drawn_there = ask("[1, 2].map((seed) => Array.from({length: 50}, core.normals(seed)))", None)
    np.testing.assert_allclose([solutions["normals"](seed, 50) for seed in (1, 2)], drawn_there, rtol=1e-13, atol=1e-15)


def test_the_solutions_of_the_page_have_the_menu_and_the_data_of_the_playground(solutions: dict[str, Any]) -> None:
    methods = {key: dn.method(next(iter(entry.methods.values()))) for key, entry in directive.MENU.items()}
    quiet = [key for key, method in methods.items() if not method.stochastic]
    assert set(solutions["menu"]) == set(quiet)
    assert set(solutions["spacings"]) == set(directive.GRIDS)
    script = (STATIC / "view.js").read_text(encoding="utf-8")
    (line,) = re.findall(r'"Three peaks": \[(.*)\],\n', script)
    peaks = re.findall(r'peak\(([^,]+), ([^,]+), ([^,]+), ([^,]+), "(.)"\)', line)
    x, y, std, weight = np.array([[float(v) for v in peak[:4]] for peak in peaks]).T
    data = solutions["three_peaks"]()
    np.testing.assert_allclose(data.means, np.stack([x, y], axis=1))
    np.testing.assert_allclose(np.reshape(data.covariances, (len(std), -1))[:, 0], std**2)
    np.testing.assert_allclose(data.weights, weight)
    assert ["AB"[label] for label in data.labels] == [peak[4] for peak in peaks]


@needs_node
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": "other"}, "not a plan"),
        ({"prediction": "velocity"}, "for_prediction"),
        ({"schedule": {"schedule": "vp-cosine"}}, "vp-linear, flow, edm"),
        ({"schedule": {"schedule": "constructor"}}, "vp-linear, flow, edm"),
        ({"history": {"m1": 1.0}}, "needs evaluations"),
        ({"steps": []}, "no steps"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_reason(change: dict[str, Any], complaint: str) -> None:
    noising = SCHEDULES["vp-linear"][0]
    raw = dn.plan("ddim", noising, dn.grids.uniform_time(noising, 3)).to_dict() | change
    said = ask("(() => { try { core.readPlan(data); return 'taken'; } catch (e) { return e.message; } })()", raw)
    assert complaint in said


def test_what_runs_in_a_page_is_small_and_a_choice_loads_one_method() -> None:
    assert sum(file.stat().st_size for file in STATIC.iterdir()) < 60_000
    names = [name for entry in directive.MENU.values() for name in entry.methods.values()]
    assert len(set(names)) == len(names)
    longest = directive.script("unipc_3_bh2")  # most weights a step
    assert longest.startswith('DiffnumPlans["unipc_3_bh2"] = {"name":"unipc_3_bh2",')
    assert len(longest) < 400_000


def test_the_menu_names_what_the_catalogue_has_proved() -> None:
    for entry in directive.MENU.values():
        for name in entry.methods.values():
            assert dn.method(name).order >= 1


def browser_or_skip() -> tuple[Any, str]:
    """The module that looks at pages, and the browser that it found."""
    look = load(BOOK / "tools/look.py")
    program = look.installed()
    if program is None:
        pytest.skip("Chromium is not installed")
    return look, program


def put_beside(folder: Path, method: str) -> str:
    """Put what a page loads into its folder, with the plans of one method; the elements that load it."""
    shutil.copytree(STATIC, folder, dirs_exist_ok=True)
    (folder / "plans").mkdir()
    (folder / "plans/menu.js").write_text(directive.menu(), encoding="utf-8")
    (folder / f"plans/{method}.js").write_text(directive.script(method), encoding="utf-8")
    return "".join(f'<script defer src="{name}"></script>' for name in ("plans/menu.js", "core.js", "view.js"))


def test_who_looks_at_a_page_sees_what_its_playgrounds_have_drawn(tmp_path: Path) -> None:
    look, program = browser_or_skip()
    scripts = put_beside(tmp_path, "ddim")
    below = '<p style="height: 3000px">Far above</p>'
    places = [f'{below}<div class="playground" data-method="{name}"></div>' for name in ("ddim", "dpmpp_2m")]

    async def seen(*body: str) -> tuple[Any, int]:
        page = tmp_path / "page.html"
        page.write_text(f"<!doctype html><meta charset=utf-8><article>{''.join(body)}</article>", encoding="utf-8")
        async with look.chromium(program) as browser:
            found = await browser.open(page, look.VIEWS[1])
            return found, await browser.evaluate("document.querySelectorAll('.playground svg path').length")

    async def all_seen() -> list[tuple[Any, int]]:
        return [await seen(places[0], scripts), await seen(*places, scripts), await seen(places[0])]

    (drawn, paths), (absent, _), (without, none) = asyncio.run(asyncio.wait_for(all_seen(), 120))
    assert drawn["empty"] == []
    assert paths > 10
    assert absent["empty"] == ["the plans of dpmpp_2m are not beside this page"]
    assert without["empty"] == ["its script did not run"]
    assert none == 0


def test_a_page_in_chromium_says_what_the_package_computes(tmp_path: Path, solutions: dict[str, Any]) -> None:
    look, program = browser_or_skip()
    scripts = put_beside(tmp_path, "dpmpp_2m")
    place = '<div class="playground" data-method="dpmpp_2m" data-evaluations="8" data-view="response"></div>'
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><article>{place}</article>{scripts}", encoding="utf-8")

    async def said() -> list[str]:
        async with look.chromium(program) as browser:
            await browser.open(page, look.VIEWS[0])

            async def show(action: str, view: str) -> str:
                await browser.evaluate(f"delete document.querySelector('.playground').dataset.shown; {action}")
                while await browser.evaluate("document.querySelector('.playground').dataset.shown") != view:
                    await asyncio.sleep(0.1)
                return str(await browser.evaluate("document.querySelector('.playground-summary').textContent"))

            texts = [
                await show(f"document.querySelector('button[data-view={view}]').click()", view)
                for view in [*directive.VIEWS, "paths"]
            ]
            # the keyboard reaches a peak and moves it
            key = "new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true})"
            await show(f"document.querySelector('.handle').dispatchEvent({key})", "paths")
            return [*texts, await browser.evaluate("document.querySelector('.handle').getAttribute('aria-label')")]

    paths, order, response, numbers, stability, _, moved = asyncio.run(asyncio.wait_for(said(), 120))
    model = solutions["denoiser"](solutions["three_peaks"]())
    missed = solutions["missed"](model, solutions["exact"](model), "dpmpp_2m", "uniform_time", 8)
    assert f"root mean square distance to the exact endpoints {missed:#.3g} ±" in paths
    assert f"its order, proved, is {dn.method('dpmpp_2m').order}" in order
    steps = dn.plan("dpmpp_2m", directive.SCHEDULE, dn.grids.uniform_time(directive.SCHEDULE, 8))
    spread = np.logspace(-2, 1, 121) ** 2
    gain = dn.analysis.spectrum_error(steps, spread).rms_log
    assert f"{np.exp(gain):.3f}" in response
    assert "the 8 steps" in numbers
    assert f"{dn.analysis.real_interval('dpmpp_2m', 1.0):.2f}"[:3] in stability
    assert "at -1.4, -0.7" in moved

"""The audit on samplers that are known: planted defects are found where they are, and faultless ones pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytest.importorskip("torchsde")  # k-diffusion imports it

import diffnum as dn  # noqa: E402
from diffnum.audits import audit, experiments, findings  # noqa: E402
from diffnum.audits.experiments import Row  # noqa: E402
from diffnum.convergence import diagnosis  # noqa: E402
from diffnum.interop import k_diffusion  # noqa: E402

pytestmark = pytest.mark.slow


def two_step(model: Any, x: Any, sigmas: Any, bad: str = "") -> Any:
    """DPM-Solver++(2M) as k-diffusion calls it, or what is left of it after a defect."""
    if bad == "raises on one step" and len(sigmas) == 2:
        msg = "no second step"
        raise IndexError(msg)
    lam = -sigmas.log()
    old: list[Any] = []
    last = len(sigmas) - 2
    for i in range(len(sigmas) - 1):
        asked = sigmas[i + 1] if bad == "model at the end of the step" and i < last else sigmas[i]
        data = model(x, asked)
        if bad == "a call whose answer is thrown away":
            model(x + 1, sigmas[i])
        if bad == "a call made twice":
            data = (data + model(x, asked)) / 2
        if i == last and sigmas[-1] == 0 and bad != "infinite last step":
            return x if bad == "stops before the end" else data
        h = lam[i + 1] - lam[i]
        mixed = data
        if i and not (i == last and bad == "Euler last step"):
            r = (lam[i] - lam[i - 1]) / h
            if bad == "equal steps assumed":
                r = 1.0
            if bad == "r of the step before" and i > 1:
                r = (lam[i - 1] - lam[i - 2]) / h
            factor = {"missing half": 1.0, "sign of the difference": -0.5}.get(bad, 0.5)
            before = old[-2] if bad == "stale history" and i > 1 else old[-1]
            mixed = data + factor / r * (data - before)
        elif bad == "start with zero slope":
            mixed = 0.5 * data
        if bad == "last step to the data" and i == last:
            return data + 0 * x
        weight = h if bad == "truncated exponential" else -torch.expm1(-h)
        ratio = sigmas[i + 1] / sigmas[i]
        if bad == "float32 weights":
            weight, ratio = (torch.round(v * 2**12) / 2**12 for v in (weight, ratio))
        new = ratio * x + weight * mixed
        if bad == "skipped step" and i == 2:
            new = x
        old.append(data)
        x = new
    return x


def heun(model: Any, x: Any, sigmas: Any, bad: str = "") -> Any:
    """Heun in sigma, or what is left of it."""
    for i in range(len(sigmas) - 1):
        slope = (x - model(x, sigmas[i])) / sigmas[i]
        step = sigmas[i + 1] - sigmas[i]
        if sigmas[i + 1] == 0:
            return x + step * slope
        ahead = x + (0.5 if bad == "predictor of half a step" else 1.0) * step * slope
        where = sigmas[i] if bad == "second stage at the old level" else sigmas[i + 1]
        second = (ahead - model(ahead, where)) / where
        weight = 0.4 if bad == "weight 0.4" else 0.5
        x = x + step * ((1 - weight) * slope + weight * second)
    return x


def three_step(model: Any, x: Any, sigmas: Any, bad: str = "") -> Any:
    """Third-order multistep method in the half-log-SNR; its ramp is what limits it."""
    past: list[tuple[Any, Any]] = []
    lam = -sigmas.log()
    for i in range(len(sigmas) - 1):
        data = model(x, sigmas[i])
        if sigmas[i + 1] == 0:
            return data
        h = lam[i + 1] - lam[i]
        e1 = -torch.expm1(-h)
        e2 = h - e1
        e3 = h * h / 2 - e2
        slope, curve = 0 * data, 0 * data
        if past:
            slope = (data - past[-1][1]) / (lam[i] - past[-1][0])
            if len(past) > 1:
                older = (past[-1][1] - past[-2][1]) / (past[-1][0] - past[-2][0])
                second = (slope - older) / (lam[i] - past[-2][0])
                slope = slope + (lam[i] - past[-1][0]) * second
                curve = second if bad == "halved second difference" else 2 * second
        x = sigmas[i + 1] / sigmas[i] * x + e1 * data + e2 * slope + e3 * curve
        past.append((lam[i], data))
    return x


class EulerWithOtherTimes(diffusers.EulerDiscreteScheduler):
    """Tells its model times that are not those of its levels."""

    def set_timesteps(self, n: int, *more: Any, **options: Any) -> None:
        super().set_timesteps(n, *more, **options)
        self.timesteps = self.timesteps - 40


class EulerWithNoiseLeft(diffusers.EulerDiscreteScheduler):
    """Forgets its last level."""

    def set_timesteps(self, n: int, *more: Any, **options: Any) -> None:
        super().set_timesteps(n, *more, **options)
        self.sigmas[-1] = self.sigmas[-2] / 2


class EulerWithOneMore(diffusers.EulerDiscreteScheduler):
    """Makes a step more than it is asked for."""

    def set_timesteps(self, n: int, *more: Any, **options: Any) -> None:
        super().set_timesteps(n + 1, *more, **options)


class EulerInPlace(diffusers.EulerDiscreteScheduler):
    """Stands still on its second step."""

    def set_timesteps(self, n: int, *more: Any, **options: Any) -> None:
        super().set_timesteps(n, *more, **options)
        if n > 5:
            self.sigmas[2] = self.sigmas[1]


class EulerWithRepeatedTimes(diffusers.EulerDiscreteScheduler):
    """Tells its model the same time twice."""

    def set_timesteps(self, n: int, *more: Any, **options: Any) -> None:
        super().set_timesteps(n, *more, **options)
        if n > 2:
            self.timesteps[1] = self.timesteps[2]


class MultistepOfSomethingElse(diffusers.DPMSolverMultistepScheduler):
    """Weighs its difference by 1 and not by 1/2."""

    def multistep_dpm_solver_second_order_update(self, outputs: Any, *more: Any, **options: Any) -> Any:
        older, newer = outputs[-2], outputs[-1]
        return super().multistep_dpm_solver_second_order_update([newer - 2 * (newer - older), newer], *more, **options)


DEFECTS: list[tuple[Callable[..., Any], float, str, str]] = [
    (two_step, 2, "missing half", "formula"),
    (two_step, 2, "sign of the difference", "formula"),
    (two_step, 2, "stale history", "formula"),
    (two_step, 2, "r of the step before", "formula"),
    (two_step, 2, "equal steps assumed", "formula"),
    (two_step, 2, "truncated exponential", "formula"),
    (two_step, 2, "model at the end of the step", "formula"),
    (two_step, 2, "start with zero slope", "start-up"),
    (two_step, 2, "skipped step", "start-up"),
    (two_step, 2, "last step to the data", "last step"),
    (two_step, 2, "stops before the end", "last step"),
    (two_step, 2, "infinite last step", "not finite"),
    (two_step, 2, "a call whose answer is thrown away", "wasted calls"),
    (two_step, 2, "a call made twice", "duplicated calls, step count"),
    (two_step, 2, "raises on one step", "failure"),
    (heun, 2, "weight 0.4", "formula"),
    (heun, 2, "predictor of half a step", "formula"),
    (heun, 2, "second stage at the old level", "formula"),
    (three_step, 3, "halved second difference", "formula"),
    (three_step, 3, "", "start-up"),
    (EulerWithOtherTimes, 1, "", "time rounding, convergence"),
    (EulerWithNoiseLeft, 1, "", "noise left"),
    (EulerWithOneMore, 1, "", "step count"),
    (EulerInPlace, 1, "", "empty steps"),
    (EulerWithRepeatedTimes, 1, "", "repeated times"),
    (MultistepOfSomethingElse, 2, "", "formula"),
]


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the longest runs out: what is planted shows without them."""
    monkeypatch.setattr(diagnosis, "LADDER", replace(diagnosis.LADDER, finer=diagnosis.LADDER.finer[:1]))
    monkeypatch.setattr(experiments, "EDGES", (1, 2, 3))
    for module in (experiments, findings):
        monkeypatch.setattr(module, "LEVELS", (10, 20, 40, 80, 160))


def audited(sampler: Any, claimed: float, bad: str = "") -> Row:
    given = partial(sampler, bad=bad) if bad or not isinstance(sampler, type) else sampler
    return audit(given, claimed=claimed).rows[0]


@pytest.mark.parametrize(
    ("sampler", "order", "bad", "part"), DEFECTS, ids=[f"{d[0].__name__}: {d[2]} ({d[3]})" for d in DEFECTS]
)
@pytest.mark.usefixtures("few_steps")
def test_a_planted_defect_is_found_where_it_is(sampler: Any, order: float, bad: str, part: str) -> None:
    row = audited(sampler, order, bad)
    parts = [f.part for f in row.findings]
    orders = [p for p in parts if p in ("formula", "start-up", "last step")]
    if part in ("formula", "start-up"):
        assert orders[0] == part, str(row)
        assert row.verdict == "below claim"
    else:
        assert all(any(wanted in found for found in parts) for wanted in part.split(", ")), str(row)


@pytest.mark.parametrize(("sampler", "order"), [(two_step, 2), (heun, 2)])
@pytest.mark.usefixtures("few_steps")
def test_a_faultless_function_gets_its_claim(sampler: Any, order: float) -> None:
    row = audited(sampler, order)
    assert row.verdict == "as claimed", str(row)
    # what is left is the step to zero noise, which no method of this kind makes with its order
    assert {f.part for f in row.findings} <= {"last step", "convergence", "step count"}, str(row)


CATALOGUE = ("ddim", "dpmpp_2m", "dpm_solver_3", "edm_heun", "unipc_2_bh2", "dpmpp_3m", "plms_4")

ALARMS = {"failure", "not finite", "wasted calls", "duplicated calls", "repeated times", "empty steps", "noise left"}


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.usefixtures("few_steps")
def test_the_catalogue_raises_no_false_alarm(name: str) -> None:
    record = dn.method(name)
    row = audit(k_diffusion.sampler(name), claimed=record.order_on("irregular")).rows[0]
    assert row.formula_order == record.order_on("irregular"), str(row)
    assert not ALARMS & {f.part for f in row.findings}, str(row)
    if record.order_with_startup == record.order_on("irregular"):
        assert row.verdict == "as claimed", str(row)


def test_the_numbers_of_two_audits_are_the_same() -> None:
    first, second = (audit("k-diffusion", only=["sample_heun", "order=2"], jobs=1).to_json() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("library", ["diffusers", "k-diffusion"])
def test_snippets_print_what_findings_say(library: str, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = {
        "diffusers": ("DPMSolverMultistepScheduler solver_order=3, final", "PNDMScheduler skip_prk_steps=True"),
        "k-diffusion": ("sample_dpmpp_3m_sde eta=1.0",),
    }
    rows = audit(library, only=wanted[library], jobs=1).rows
    snippets = [f for row in rows for f in row.findings]
    assert len(snippets) > len(rows)
    for finding in snippets:
        assert len(finding.snippet.splitlines()) <= 5
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, on how the library makes arrays of tensors
            exec(compile(finding.snippet, finding.part, "exec"), {})
        assert capsys.readouterr().out.splitlines()[-1] == finding.prints, finding

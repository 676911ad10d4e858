"""Default runs: steps that do not join, runs that break off, and what a verdict makes of them."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from diffnum.audits import shipped_run  # noqa: E402
from diffnum.audits.experiments import _Default, _verdict  # noqa: E402
from diffnum.audits.findings import Finding, run_findings  # noqa: E402
from diffnum.audits.shipped import LEVELS, ShippedRun  # noqa: E402
from diffnum.audits.subjects import Subject  # noqa: E402
from diffnum.convergence.diagnosis import Orders  # noqa: E402
from diffnum.convergence.rate import estimate_rate  # noqa: E402


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
def test_steps_that_end_where_the_next_does_not_begin_are_counted(spacing: str) -> None:
    ddim = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing=spacing)
    assert shipped_run(ddim, 80).gaps > 0
    assert shipped_run(diffusers.DDIMScheduler(clip_sample=False), 80).gaps == 0


def test_a_run_says_where_it_breaks_off() -> None:
    heun = diffusers.DPMSolverMultistepScheduler(
        solver_type="heun", use_karras_sigmas=True, final_sigmas_type="sigma_min"
    )
    assert shipped_run(heun, 20).breaks == "after step 20 of 20, of length zero"
    assert shipped_run(diffusers.UniPCMultistepScheduler(solver_type="bh1"), 10).breaks.endswith("to no noise")
    assert not shipped_run(diffusers.DDIMScheduler(clip_sample=False), 10).breaks


def orders(p: float) -> Orders:
    rate = {"uniform": estimate_rate((24, 48, 96, 192), [n**-p for n in (24.0, 48.0, 96.0, 192.0)])}
    return Orders(rate, rate, rate)


def runs(**bad: float) -> tuple[ShippedRun, ...]:
    return tuple(ShippedRun(n, bad.get(f"n{n}", n**-2.0), evaluations=n, rho_end=0.0) for n in LEVELS)


SUBJECT = Subject("diffusers", "DDIMScheduler", 2)


def test_one_usual_run_that_is_not_finite_is_a_failure() -> None:
    assert _verdict(SUBJECT, orders(2), _Default(runs(), None), {}) == "as claimed"
    assert _verdict(SUBJECT, orders(2), _Default(runs(n80=math.inf), None), {}) == "fails"


def found(*several: ShippedRun) -> list[Finding]:
    return list(run_findings(SUBJECT, several, None, lambda n, **_: ShippedRun(n, math.inf), lambda *_: 0))


def test_an_error_that_grows_at_some_number_of_steps_is_found() -> None:
    texts = [f.text for f in found(*runs(n160=0.5)) if f.part == "convergence"]
    assert texts
    assert "grows as steps are added" in texts[0]
    assert "5.0e-01 at 160" in texts[0]
    assert not [f for f in found(*runs()) if f.part == "convergence"]


def test_an_error_that_is_small_by_chance_at_one_number_of_steps_has_not_grown_after_it() -> None:
    # that of the stochastic multistep solver without its noise, which changes its sign near 40 steps
    assert not [f for f in found(*runs(n40=6e-5)) if f.part == "convergence"]
    stays = [f.text for f in found(*runs(n40=3e-4, n80=1e-3, n160=1e-3, n320=1e-3)) if f.part == "convergence"]
    assert stays
    assert "grows as steps are added" in stays[0]


def test_numbers_of_steps_that_the_library_refuses_are_no_failure() -> None:
    many = shipped_run(diffusers.TCDScheduler(), 80)
    assert many.refused
    several = (*runs()[:3], *(ShippedRun(n, math.inf, failure=many.failure) for n in LEVELS[3:]))
    assert _verdict(SUBJECT, orders(2), _Default(several, None), {}) == "as claimed"
    told = [f for f in found(*several) if f.text.startswith("the library refuses 80, 160, 320 steps")]
    assert [f.part for f in told] == ["step count"]
    broken = (*runs()[:3], *(ShippedRun(n, math.inf, failure="ValueError: no such shapes") for n in LEVELS[3:]))
    assert _verdict(SUBJECT, orders(2), _Default(broken, None), {}) == "fails"


def test_steps_that_do_not_fit_together_keep_no_claim() -> None:
    apart = tuple(ShippedRun(r.steps, r.error, gaps=int(r.steps == 80)) for r in runs())
    assert _verdict(SUBJECT, orders(2), _Default(apart, None), {}) == "below claim"


def test_an_exception_without_words_is_told_without_a_colon() -> None:
    several = (*runs()[:5], ShippedRun(320, math.inf, failure="AssertionError: "))
    assert "raises AssertionError (320 steps)" in [f.text for f in found(*several)]

"""A change that a report says was run is made here, in the lines or in the loop on record, and mends what is told."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import diffnum as dn
from diffnum.audits import REPORTS
from diffnum.audits.densities import COPIES, examined
from diffnum.audits.elsewhere import CODES, printed
from diffnum.audits.letters import READ
from diffnum.audits.upstream import UpstreamReport
from diffnum.coefficients.few_steps import stork_2
from tests.audits import test_upstream
from tests.audits.test_elsewhere import FOLDER, lines_of
from tests.official import few_step_loops, learned_loops

BY_STEM = {code.stem: code for code in CODES}
VP = dn.schedules.VPLinear()


def rewritten(function: Callable[..., Any], changes: dict[str, str]) -> Any:
    """A function with other lines in its source."""
    source = inspect.getsource(function)
    for old, new in changes.items():
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    names = dict(function.__globals__)
    exec(compile(source, function.__name__, "exec"), names)
    return names[function.__name__]


def told(stem: str) -> list[list[str]]:
    """Words that the lines of a report print, line by line; that they print it is tested where reports are."""
    return [line.split() for line in lines_of((FOLDER / f"{stem}.md").read_text())[1].splitlines()]


def changed_lines(stem: str, old: str, new: str) -> list[list[str]]:
    """What the lines of a report print with the change in them."""
    snippet = BY_STEM[stem].snippet
    assert snippet.count(old) == 1
    return [line.split() for line in printed(snippet.replace(old, new)).splitlines()]


def test_stork_at_the_times_of_its_weights() -> None:
    changed = rewritten(
        few_step_loops.stork_main_step,
        {
            "4 / (3 * (s**2 + s - 2)) if j == 2": "6 / ((s - 1) * (s + 4)) if j == 2",
            "((j - 1) ** 2 + (j - 1) - 2) / (s**2 + s - 2)": "(j - 2) * (j + 3) / ((s - 1) * (s + 4))",
        },
    )
    assert [line[-1] for line in told("stork-times")] == ["0.4896", "0.5000"]
    rng = np.random.default_rng(0)
    v, x, t = rng.standard_normal((3, 4)), rng.standard_normal(4), [0.5, 0.44, 0.31, 0.22]
    h = t[3] - t[2]
    past = [(t[1] - t[2]) / h, (t[0] - t[2]) / h]
    found = [f(v, x, t[2], t[3], t[1] - t[2], t[0] - t[1], 50) for f in (few_step_loops.stork_main_step, changed)]
    for times, end in zip(("legendre", "gegenbauer"), found, strict=True):
        weights = stork_2(h, past, 50, times)
        np.testing.assert_allclose(x + sum(w * one for w, one in zip(weights, v, strict=True)), end, rtol=1e-12)
    orders = [
        dn.convergence_study(name, grids=("uniform",), variants=("formula",)).order
        for name in ("stork_2", "stork_2_corrected")
    ]
    assert orders == [1, 2]


def test_neural_solver_without_its_second_update() -> None:
    meant, shipped, level = (float(line[0]) for line in told("neuralsolver-vp"))
    assert meant == level
    assert shipped == pytest.approx(level**2, abs=1e-4)


def orders_of(stem: str) -> dict[str, float]:
    return {name: float(order) for name, order in told(stem)}


def test_weights_of_adams_in_place_of_ipndm() -> None:
    found = orders_of("ipndm-v-bracket")
    assert [found[name] for name in ("ipndm_v_3", "lms_3", "ipndm_v_4", "lms_4")] == [2, 3, 0, 4]


def test_the_whole_sum_of_unipc() -> None:
    assert orders_of("unipc-vary") == {"unipc_3_vary": 1, "unipc_3_vary_fixed": 4}


def test_the_factor_of_dpm_solver() -> None:
    found = orders_of("dpm-solver-3m")
    assert found == {"dpmpp_3m": 2, "dpmpp_3m_corrected": 3, "dpm_solver_3m": 2, "dpm_solver_3m_corrected": 3}


def test_the_factor_of_mrs() -> None:
    found = orders_of("mrs-3")
    assert found == {"mrs_ode_3": 2, "mrs_ode_3_corrected": 3, "mrs_ode_noise_3": 2, "mrs_ode_noise_3_corrected": 3}


def test_the_square_of_res() -> None:
    assert orders_of("res-3s-gamma") == {"res_3s_c1/2_3/4_as_shipped": 2, "res_3s_c1/2_3/4": 3}


def test_the_corrector_of_gas_from_the_state_before_the_step() -> None:
    changed = rewritten(learned_loops.s4s, {"x_t = ratio * x_t": "x_t = ratio * x"})
    law = dn.problems.three_peaks()
    model = law.denoiser(VP, "data")
    x = np.random.default_rng(0).standard_normal((32, law.dim))
    levels = [lambda t, f=f: float(f(t)) for f in (VP.half_log_snr, VP.alpha, VP.sigma)]
    errors = []
    for steps in (40, 80):
        grid = dn.grids.uniform_half_log_snr(VP, steps, t_end=1e-3)
        lam = [levels[0](t) for t in grid.t]
        r = [(lam[k] - lam[k - 1]) / (lam[k + 1] - lam[k]) for k in range(1, steps)]
        weights = np.array([[1.0, 0.0], *([1 + 0.5 / q, -0.5 / q] for q in r)])
        exact = law.flow(x, VP, grid.t[0], grid.t[-1])
        plan = dn.solve(dn.plan("dpmpp_2m", VP, grid), model, x)
        shipped, mended = (f(model, x, grid.t, weights, weights, *levels) for f in (learned_loops.s4s, changed))
        np.testing.assert_allclose(mended, plan, rtol=1e-10, atol=1e-10)
        errors.append([float(np.abs(end - exact).max()) for end in (shipped, mended)])
    assert errors[1][0] > 0.9 * errors[0][0], "as shipped it does not converge"
    assert errors[1][1] < 0.3 * errors[0][1]
    first, second, level = (float(word) for word in told("gas-corrector")[0])
    assert second == level
    assert first == pytest.approx(level**2, abs=1e-4)


def test_the_bound_of_active_diffusion_subsampling() -> None:
    *_, bound, spread = told("ads-score")
    assert int(bound[-1]) > 90
    assert int(spread[-1]) < 10


def test_half_of_the_gradient_of_daps() -> None:
    old = "score = -2 * x / tau**2"
    ((shipped, exact),) = told("daps-likelihood")
    ((mended, same),) = changed_lines("daps-likelihood", old, "score = -x / tau**2")
    assert exact == same
    assert float(shipped) == pytest.approx(float(exact) / 2, rel=0.05)
    assert float(mended) == pytest.approx(float(exact), rel=0.05)


def test_the_units_of_diffpir() -> None:
    right, shipped = told("diffpir-noise")
    assert [right[0], shipped[0]] == ["1.0", "0.5"]
    assert float(right[1]) < 0.2 * float(shipped[1])


def test_the_noise_before_the_last_step_of_dds() -> None:
    (_, early), (_, kept) = told("dds-last-step")
    assert float(early) < 0.8 * float(kept)


def test_a_norm_for_each_sample_of_dps() -> None:
    joint, single = told("dps-batch")
    assert len(set(joint[1:])) == 3
    assert len(set(single[1:])) == 1
    assert joint[1] == single[1]


def test_the_weights_of_steering() -> None:
    kept, lost = (float(line[-1]) for line in told("fk-weights"))
    assert kept > 0.8
    assert abs(lost) < 0.1


def test_the_degree_of_a_kernel() -> None:
    (_, one), (_, three) = told("mmd-ddm-degree")
    assert float(one) < 0.05 < float(three)


def test_jumps_that_are_rejected() -> None:
    (overwritten,), (rejected,) = told("tauldr-reject")
    assert float(overwritten) > 0.3
    assert float(rejected) == 0.0


def test_the_bound_of_masking_again() -> None:
    for _, shipped, bounded in told("remdm-last-step"):
        assert float(shipped) < 0.0 <= float(bounded)


def test_both_tokens_of_an_end() -> None:
    old = "with_noise[eos] = logits[eot]"
    ((_, shipped, _),) = told("llada-eos")
    ((_, *mended),) = changed_lines("llada-eos", old, "logits[eos] = logits[eot]")
    assert float(shipped) > 0.5
    assert mended == ["0.000", "0.000"]


def scaled(residual: Any, std: float) -> Any:
    """Square over twice the variance: what the proposal makes of a bare square."""
    return -(residual**2) / (2 * std**2)


def test_sums_in_place_of_means_of_log_densities() -> None:
    """flow-grpo-density, dance-grpo-density, mixgrpo-density, flowcps-density, unirl-density, precise-density."""
    for copy in COPIES:
        bare = copy.family == "cps"
        summed = replace(copy, averaged=False, entry=scaled if bare else copy.entry)
        assert not math.isclose(examined(copy).exponent, 1.0, rel_tol=0.1)
        assert examined(summed).exponent == pytest.approx(1.0, rel=1e-6)
        if bare:
            assert not math.isclose(examined(replace(copy, averaged=False)).exponent, 1.0, rel_tol=0.1)


RUN: dict[str, Callable[..., None]] = {
    "neuralsolver-vp": test_neural_solver_without_its_second_update,
    "stork-times": test_stork_at_the_times_of_its_weights,
    "ipndm-v-bracket": test_weights_of_adams_in_place_of_ipndm,
    "unipc-vary": test_the_whole_sum_of_unipc,
    "dpm-solver-3m": test_the_factor_of_dpm_solver,
    "mrs-3": test_the_factor_of_mrs,
    "res-3s-gamma": test_the_square_of_res,
    "gas-corrector": test_the_corrector_of_gas_from_the_state_before_the_step,
    "ads-score": test_the_bound_of_active_diffusion_subsampling,
    "daps-likelihood": test_half_of_the_gradient_of_daps,
    "diffpir-noise": test_the_units_of_diffpir,
    "dds-last-step": test_the_noise_before_the_last_step_of_dds,
    "dps-batch": test_a_norm_for_each_sample_of_dps,
    "fk-weights": test_the_weights_of_steering,
    "mmd-ddm-degree": test_the_degree_of_a_kernel,
    "tauldr-reject": test_jumps_that_are_rejected,
    "remdm-last-step": test_the_bound_of_masking_again,
    "llada-eos": test_both_tokens_of_an_end,
    **dict.fromkeys(
        (code.stem for code in CODES if code.stem.endswith("-density")),
        test_sums_in_place_of_means_of_log_densities,
    ),
    "diffusers-dpmpp-3m": test_upstream.test_the_change_of_the_multistep_solver_gives_it_order_three,
    "diffusers-unipc-bh1": test_upstream.test_a_change_makes_a_sample_finite,
    "diffusers-ddpm-fixed-large-log": test_upstream.test_a_change_makes_a_sample_finite,
    "diffusers-sasolver-thresholding": test_upstream.test_a_change_of_sa_solver_lets_it_run_to_the_plain_sample,
    "diffusers-sasolver-learned-variance": test_upstream.test_a_change_of_sa_solver_lets_it_run_to_the_plain_sample,
    "diffusers-ddim-stride": test_upstream.test_the_change_of_the_stride_lets_the_error_fall,
    "diffusers-unipc-last-step": test_upstream.test_the_change_of_the_last_step_makes_every_order_converge,
    "diffusers-ancestral-cosine": test_upstream.test_the_change_of_ancestral_steps_makes_the_first_one_finite,
    "diffusers-unclip-one-step": test_upstream.test_the_change_of_unclip_lets_one_step_run,
    "k-diffusion-dpmpp-3m-sde": test_upstream.test_the_change_of_k_diffusion_gives_its_third_order,
    "k-diffusion-one-step": test_upstream.test_the_change_of_k_diffusion_lets_one_step_run,
}
"""The test that makes the change of a report, by its stem."""


def test_a_report_says_that_its_change_was_run_where_a_test_runs_it() -> None:
    every = (*REPORTS, *CODES)
    assert {r.stem for r in every if r.tried} == set(RUN)
    for stem, test in RUN.items():
        assert stem in inspect.getsource(test), stem
    lines = [r for r in every if isinstance(r, UpstreamReport) and r.old]
    lines += [code for code in CODES if code.change.startswith("-")]
    assert all(r.tried for r in lines), "a line of arithmetic can be run"


def test_a_report_that_was_only_read_says_so() -> None:
    for report in (*REPORTS, *CODES):
        text = (FOLDER / f"{report.stem}.md").read_text()
        assert (READ in text) == (not report.tried), report.stem
        assert ("It was run: " in text) == bool(report.tried), report.stem

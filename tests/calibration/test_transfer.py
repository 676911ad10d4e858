"""A found plan is worth less elsewhere, and the table says how much."""

from __future__ import annotations

import pytest

import diffnum as dn
from diffnum.calibration import fit_plan, transfer_table

VP, FLOW = dn.schedules.VPLinear(), dn.schedules.FlowMatching()


def test_a_plan_is_best_where_it_was_found() -> None:
    own = dn.problems.rotated_product(4).denoiser(VP, "noise")
    fit = fit_plan(own, 3, n=48, starts=1, iterations=10, t_end=1e-2)
    narrow = dn.GaussianMixture([0.5, 0.5], [[2.0] * 4, [-2.0] * 4], [1e-4, 1e-4]).denoiser(VP, "data")
    here, there = transfer_table(fit, {"own": own, "narrow": narrow}, n=48)
    assert here.ratio == pytest.approx(fit.ratio, rel=0.3)
    assert here.ratio < 1.0
    assert there.error > 2.0 * here.error
    with pytest.raises(ValueError, match="a plan is for one process"):
        transfer_table(fit, {"flow": dn.problems.rotated_product(4).denoiser(dn.schedules.FlowMatching())})


def test_the_table_is_part_of_the_result_where_models_are_named() -> None:
    own = dn.problems.rotated_product(4).denoiser(VP, "noise")
    settings = {"n": 24, "starts": 1, "iterations": 4, "t_end": 1e-2}
    other = dn.problems.gaussian_example(4).denoiser(VP, "data")
    fit = fit_plan(own, 3, elsewhere={"Gaussian": other}, **settings)
    assert fit.transfer == transfer_table(fit, {"Gaussian": other}, n=24)
    assert fit.to_dict()["transfer"][0]["ratio"] == fit.transfer[0].ratio
    assert fit_plan(own, 3, **settings).transfer == ()
    with pytest.raises(ValueError, match="a plan is for one process"):
        fit_plan(own, 3, elsewhere={"flow": dn.problems.rotated_product(4).denoiser(FLOW)}, **settings)

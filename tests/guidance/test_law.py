"""The law that guidance samples: closed forms on Gaussians, exact distances, rule and steps told apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.guidance import RULES, claimed_law, classifier_free, guidance_study, guided_law
from diffnum.problems.targets import PowerProduct

VP = dn.schedules.VPLinear()
LINE = dn.GaussianMixture([0.4, 0.6], [[-1.0], [1.0]], [0.5, 0.5], labels=[0, 1])


def planned(method: str, steps: int, schedule: Any = VP) -> dn.Plan:
    return dn.plan(method, schedule, dn.grids.uniform_half_log_snr(schedule, steps))


def test_cfg_plus_plus_is_classifier_free_guidance_with_a_weight_of_its_step() -> None:
    sp = pytest.importorskip("sympy")
    from diffnum.derivation import guidance

    weight = guidance.cfg_plus_plus_weight()
    assert sp.simplify(weight - guidance.OMEGA / (1 - sp.exp(-guidance.H))) == 0
    assert guidance.step_difference(weight) == 0
    assert guidance.step_difference(guidance.OMEGA / guidance.H) != 0
    assert guidance.step_difference(guidance.OMEGA) != 0


@pytest.mark.parametrize("w", [0.5, 2.0, 4.0])
def test_on_gaussians_guidance_samples_the_geometric_mean_of_variances_not_the_harmonic(w: float) -> None:
    pytest.importorskip("sympy")
    from diffnum.derivation.guidance import gaussian_variances

    sampled, claimed, residual = gaussian_variances()
    assert residual == 0
    values = {"w": w, "c_0": 1.0, "c_1": 0.25}
    exact = float(sampled.subs({s: values[s.name] for s in sampled.free_symbols}))
    wanted = float(claimed.subs({s: values[s.name] for s in claimed.free_symbols}))
    wide, narrow = dn.Gaussian([0.0], 1.0), dn.Gaussian([0.0], 0.25)
    schedule = dn.schedules.EDM()
    guided = classifier_free(narrow.denoiser(schedule), w, unconditional=wide.denoiser(schedule))
    grid = dn.grids.uniform_half_log_snr(schedule, 400)
    found = guided_law(guided, dn.plan("dpmpp_3m_corrected", schedule, grid), 1, nodes=4000)
    spread = float(found.covariance[0, 0])
    assert spread == pytest.approx(exact, rel=3e-3)
    assert abs(wanted / exact - 1.0) > 0.05
    target = PowerProduct((wide, narrow), (1 - w, w))
    assert float(target.covariance[0, 0]) == pytest.approx(wanted, rel=1e-6)
    ratio = exact / wanted
    assert found.kl(target) == pytest.approx(0.5 * (ratio - 1 - math.log(ratio)), abs=2e-3)
    assert found.w2(target) == pytest.approx(abs(math.sqrt(exact) - math.sqrt(wanted)), rel=0.02)


def test_classes_of_one_covariance_are_guided_to_the_claimed_law() -> None:
    whole, part = dn.Gaussian([0.0], 0.5), dn.Gaussian([0.6], 0.5)
    guided = classifier_free(part.denoiser(VP), 3.0, unconditional=whole.denoiser(VP))
    found = guided_law(guided, planned("dpmpp_3m_corrected", 200), 1)
    target = PowerProduct((whole, part), (-2.0, 3.0))
    assert abs(found.kl(target)) < 5e-4
    assert float(found.mean[0]) == pytest.approx(1.8, abs=0.02)


def test_without_guidance_nothing_is_due_to_the_rule() -> None:
    study = guidance_study("classifier_free", LINE, 1, (1.0, 3.0), steps=(10, 20))
    free, strong = study.at(1.0), study.at(3.0)
    assert abs(free.kl) < 1e-4 < 0.1 < strong.kl
    assert free.w2 < 0.01 < 0.1 < strong.w2
    for row in study.rows:
        own = study.at(row.scale)
        assert abs(own.w2 - row.from_limit) - 2e-3 <= row.w2 <= own.w2 + row.from_limit + 2e-3
        assert row.folded == 0.0
    assert study.at(3.0, 20).from_limit < study.at(3.0, 10).from_limit / 2.5
    assert free.accuracy == pytest.approx(study.target_accuracy[1.0], abs=2e-3)
    with pytest.raises(KeyError, match="steps=7"):
        study.at(1.0, 7)


def test_too_few_steps_for_a_strong_field_fold_the_map() -> None:
    wide, narrow = dn.Gaussian([0.0], 1.0), dn.Gaussian([0.5], 0.01)
    guided = classifier_free(narrow.denoiser(VP), 5.0, unconditional=wide.denoiser(VP))
    assert guided_law(guided, planned("dpm_solver_2m", 8), 1).folded > 0.99
    assert guided_law(guided, planned("dpm_solver_2m", 400), 1).folded == 0.0


def test_a_rule_of_the_grid_has_no_limit() -> None:
    study = guidance_study("cfg_plus_plus", LINE, 1, (0.6,), steps=(5, 10), method="ddim")
    assert [row.steps for row in study.rows] == [5, 10]
    assert all(math.isnan(row.from_limit) for row in study.rows)
    assert study.at(0.6, 10).accuracy > study.at(0.6, 5).accuracy  # more steps, more guidance


def test_laws_in_the_plane_are_compared_by_projections() -> None:
    law = dn.Gaussian([0.5, -0.3], 0.4)
    found = guided_law(law.denoiser(VP), planned("dpmpp_3m_corrected", 100), 2)
    assert abs(found.kl(law)) < 1e-3
    assert found.w2(law) < 0.02
    assert found.w2(dn.Gaussian([0.9, 0.0], 0.4)) == pytest.approx(0.5, abs=0.01)
    assert found.w2(found) < 1e-12
    np.testing.assert_allclose(found.expectation(lambda x: x), found.mean)


def test_a_noisy_plan_and_a_third_dimension_are_refused() -> None:
    model = LINE.denoiser(VP)
    with pytest.raises(ValueError, match="'sde_dpmpp_1' draws noise"):
        guided_law(model, planned("sde_dpmpp_1", 5), 1)
    with pytest.raises(ValueError, match="dim=3"):
        guided_law(model, planned("ddim", 5), 3)
    with pytest.raises(ValueError, match="rule='cfg' is unknown"):
        guidance_study("cfg", LINE, 1, (2.0,))
    with pytest.raises(ValueError, match="said to sample no power"):
        claimed_law(RULES["projected"], LINE, 1, 2.0, "power")
    narrow = dn.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [1.0, 2.0], labels=[0, 1])
    with pytest.raises(ValueError, match="no integral"):
        guidance_study("classifier_free", narrow, 0, (-3.0,))

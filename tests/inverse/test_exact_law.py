"""Exact laws of posterior samplers on Gaussian priors: the reference converges, the others' bias does not vanish."""

from __future__ import annotations

import numpy as np
import pytest

import diffnum as dn
from diffnum.inverse import METHODS, AffineLaw, Linear, exact_law, measured_bias, posterior_map, sample
from diffnum.inverse.exact_law import bures

PRIOR = dn.Gaussian([0.4, -0.2], [[1.0, 0.3], [0.3, 0.5]])
ISOTROPIC = dn.Gaussian([0.0, 0.0], 1.0)
OP = Linear([[1.0, 0.5]])
AFFINE = [name for name, r in METHODS.items() if r.affine and not r.needs & {"mask", "posterior model"}]


def test_the_posterior_map_is_the_posterior():
    law = posterior_map(PRIOR, OP, 0.3)
    exact = PRIOR.mixture.posterior(OP.matrix, [0.7], 0.3)
    np.testing.assert_allclose(law.mean([0.7]), exact.means[0], atol=1e-13)
    np.testing.assert_allclose(law.covariance, exact.covariances[0], atol=1e-13)


def test_moment_matching_converges_to_the_posterior_with_the_order_of_its_plan():
    errors = [exact_law("moment_matching", PRIOR, OP, 0.3, steps=n)[1].covariance for n in (50, 100, 200)]
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(np.abs(orders - 1.0) < 0.1)
    grid = dn.grids.uniform_half_log_snr(dn.schedules.VPLinear(), 100, t_start=1.0, t_end=1e-3)
    plan = dn.plan("dpmpp_2m", dn.schedules.VPLinear(), grid)
    assert exact_law("moment_matching", PRIOR, OP, 0.3, plan=plan)[1].covariance < 0.05 * errors[1]


@pytest.mark.parametrize("name", ["pigdm", "dds_corrected"])
def test_one_variance_is_right_on_isotropic_data_and_wrong_on_others(name):
    right, wrong = (exact_law(name, prior, OP, 0.3, steps=200)[1] for prior in (ISOTROPIC, PRIOR))
    reference = exact_law("moment_matching", ISOTROPIC, OP, 0.3, steps=200)[1]
    assert right.w2 < 1.02 * reference.w2
    assert wrong.w2 > 1.4 * exact_law("moment_matching", PRIOR, OP, 0.3, steps=200)[1].w2


@pytest.mark.parametrize("name", AFFINE)
def test_exact_laws_are_those_of_samples(name):
    law, _ = exact_law(name, PRIOR, OP, 0.3, steps=20)
    x = sample(PRIOR.denoiser(dn.schedules.VPLinear()), OP, [0.7], 0.3, method=name, n=4000, seed=3,
               plan=dn.inverse.default_plan(name, dn.schedules.VPLinear(), 20))  # fmt: skip
    error = np.sqrt(np.trace(law.covariance) / 4000) + 1e-12
    assert np.linalg.norm(x.mean(0) - law.mean([0.7])) < 5 * error
    np.testing.assert_allclose(np.cov(x.T), law.covariance, atol=0.15 * np.abs(law.covariance).max() + 1e-12)


def test_what_is_not_affine_is_refused_and_measured():
    with pytest.raises(ValueError, match="method='dps' is not affine on Gaussian priors"):
        exact_law("dps", PRIOR, OP, 0.3)
    found = measured_bias("dps", PRIOR, OP, [0.7], 0.3, n=2000)
    assert found.covariance > 4 * found.floor.covariance


def test_a_record_that_claims_to_be_affine_and_is_not_is_caught():
    from dataclasses import replace

    with pytest.raises(ValueError, match="departs from an affine map by"):
        exact_law(replace(METHODS["dps"], affine=True), PRIOR, OP, 0.3, steps=10)


def test_coverage_of_the_posterior_itself_is_the_level():
    law = posterior_map(PRIOR, OP, 0.3)
    y_mean, y_covariance = OP.matrix @ PRIOR.mean, np.array([[1.6]])
    assert law.bias(law, y_mean, y_covariance).coverage == pytest.approx(0.9, abs=1e-12)
    narrow = AffineLaw(law.gain, law.offset, law.covariance / 4)
    bias = narrow.bias(law, y_mean, y_covariance)
    assert bias.spread == pytest.approx(0.5)
    assert bias.coverage < 0.6
    assert bias.mean == 0.0


def test_the_distance_of_bures_is_that_of_commuting_covariances():
    assert bures(np.diag([4.0, 1.0]), np.diag([1.0, 1.0])) == pytest.approx(1.0)
    assert bures(np.eye(2), np.eye(2)) == pytest.approx(0.0, abs=1e-14)

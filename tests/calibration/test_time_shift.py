"""Time shift helps where a coarse run has lost variance, and not where score and steps are right."""

from __future__ import annotations

import numpy as np
import pytest

import diffnum as dn
from diffnum.calibration.hosts import host_of
from diffnum.calibration.rivals import endpoint_error
from diffnum.calibration.teachers import converged_samples
from diffnum.calibration.time_shift import time_shifted

VP = dn.schedules.VPLinear()
DIM = 256
MIXTURE = dn.problems.GaussianMixture(
    np.full(6, 1 / 6), 0.4 * np.random.default_rng(0).standard_normal((6, DIM)), np.full(6, 0.05)
)
MODEL = MIXTURE.denoiser(VP, "noise")


def plan_of(steps: int, method: str = "ddim") -> dn.Plan:
    return dn.plan(method, VP, dn.grids.uniform_time(VP, steps, t_start=1.0, t_end=1e-3))


def test_only_the_times_that_the_network_is_told_change() -> None:
    plan = plan_of(8).for_prediction("noise")
    shift = time_shifted(plan, MODEL, window=0.1, cutoff=0.3)
    assert np.array_equal(shift.plan.times, plan.times)
    for step, before in zip(shift.plan.steps, plan.steps, strict=True):
        assert np.array_equal(step.V, before.V)
        assert np.array_equal(step.B, before.B)
    moved = shift.told != shift.nominal
    assert moved[1:][shift.nominal[1:] > 0.3].any()
    assert not moved[shift.nominal <= 0.3].any()
    assert not moved[0]
    assert (np.abs(shift.told - shift.nominal) <= 0.05 + 1e-12).all()


def test_the_told_time_is_the_nearest_in_variance_of_the_window() -> None:
    shift = time_shifted(plan_of(6), MODEL, window=0.3, cutoff=0.2, data_variance=0.2)
    for t, told, variance in zip(shift.nominal[1:], shift.told[1:], shift.variances[1:], strict=True):
        if t > 0.2:
            near = np.linspace(max(t - 0.15, 0.2), min(t + 0.15, 1.0), 4001)
            off = np.abs(VP.alpha(near) ** 2 * 0.2 + VP.sigma(near) ** 2 - variance)
            assert told == pytest.approx(near[off.argmin()], abs=2e-4)


def test_a_run_with_exact_score_and_fine_steps_gains_nothing() -> None:
    """The negative control: there the nominal time is the right one, and the shift as published does harm."""
    samples = converged_samples(host_of(MODEL), (1.0, 1e-3), 64, 0, tolerance=1e-4)
    plan = plan_of(200, "dpmpp_2m")
    variance = float(MIXTURE.sample(4000, 0).var(axis=1).mean())
    plain = endpoint_error(plan, samples)
    published = endpoint_error(time_shifted(plan, MODEL, window=0.2, cutoff=0.3).plan, samples)
    meant = endpoint_error(time_shifted(plan, MODEL, window=0.2, cutoff=0.3, data_variance=variance).plan, samples)
    assert published > 3.0 * plain
    assert meant >= plain


@pytest.mark.parametrize(
    ("settings", "message"), [({"window": 0.0}, "window=0.0"), ({"data_variance": -1.0}, "data_variance=-1.0")]
)
def test_bad_input_is_named(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        time_shifted(plan_of(4), MODEL, **{"window": 0.1, "cutoff": 0.3, **settings})


def test_a_stochastic_plan_is_refused() -> None:
    plan = dn.plan("sde_dpmpp_1", VP, dn.grids.uniform_time(VP, 4, t_end=1e-3))
    with pytest.raises(ValueError, match="deterministic"):
        time_shifted(plan, MODEL, window=0.1, cutoff=0.3)

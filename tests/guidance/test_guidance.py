"""Guidance combines models and stays a model: whatever is predicted, on numpy and torch, in an interval or a ramp."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.guidance import RAMPS, Guided, Ramp, autoguidance, cfg_plus_plus, classifier_free
from diffnum.guidance.thresholding import StaticThreshold
from diffnum.types import Denoiser, Prediction

VP = dn.schedules.VPLinear()
MIXTURE = dn.GaussianMixture(
    [0.25] * 4, [[1.0, 0.6], [1.0, -0.6], [-1.0, 0.5], [-1.0, -0.5]], [0.04] * 4, labels=[0, 0, 1, 1]
)
X = np.random.default_rng(0).standard_normal((5, 2))


def pair(prediction: Prediction = "data") -> tuple[Any, Any]:
    """Exact conditional and unconditional model."""
    return MIXTURE.conditional(0).denoiser(VP, prediction), MIXTURE.denoiser(VP, prediction)


def guided(scale: Any = 3.0, prediction: Prediction = "data", **options: Any) -> Guided:
    conditional, unconditional = pair(prediction)
    return classifier_free(conditional, scale, unconditional=unconditional, **options)


def test_a_guided_model_is_a_denoiser() -> None:
    assert isinstance(guided(), Denoiser)


@given(scale=st.floats(-3, 20), t=st.floats(0.01, 1.0))
def test_the_rule_is_linear_extrapolation(scale: float, t: float) -> None:
    conditional, unconditional = (model(X, t) for model in pair())
    expected = unconditional + scale * (conditional - unconditional)
    np.testing.assert_allclose(guided(scale)(X, t), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("prediction", ["data", "noise", "velocity", "score", "v"])
def test_guidance_commutes_with_every_conversion_of_predictions(prediction: Prediction) -> None:
    got = dn.predict(guided(4.0, prediction), X, 0.4, "data")
    np.testing.assert_allclose(got, guided(4.0)(X, 0.4), rtol=1e-10)


def test_models_of_different_predictions_combine() -> None:
    conditional, _ = pair("noise")
    _, unconditional = pair("velocity")
    got = classifier_free(conditional, 4.0, unconditional=unconditional)(X, 0.4)
    np.testing.assert_allclose(got, guided(4.0, "noise")(X, 0.4), rtol=1e-10)


def test_scale_one_is_the_conditional_model_and_costs_one_evaluation() -> None:
    def never(*_: Any) -> Any:
        msg = "the weak model was evaluated"
        raise AssertionError(msg)

    weak = type("Weak", (), {"schedule": VP, "prediction": "data", "__call__": never})()
    model = classifier_free(pair()[0], 1.0, unconditional=weak)
    np.testing.assert_array_equal(model(X, 0.5), pair()[0](X, 0.5))
    outside = classifier_free(pair()[0], 7.0, unconditional=weak, interval=(1e-4, 1e-3))
    np.testing.assert_array_equal(outside(X, 0.5), pair()[0](X, 0.5))
    with pytest.raises(AssertionError, match="was evaluated"):
        classifier_free(pair()[0], 7.0, unconditional=weak, interval=(1e-3, 1e3))(X, 0.5)


def test_the_interval_is_open_below_and_closed_above_in_sigma_over_alpha() -> None:
    schedule = dn.schedules.EDM()
    whole = MIXTURE.denoiser(schedule)
    model = classifier_free(MIXTURE.conditional(0).denoiser(schedule), 4.0, unconditional=whole, interval=(0.25, 4.0))
    assert [model.weight(t) for t in (0.2, 0.25, 0.2500001, 1.0, 4.0, 4.01)] == [1.0, 1.0, 4.0, 4.0, 4.0, 1.0]
    np.testing.assert_array_equal(model.weight(np.array([0.2, 1.0, 5.0])), [1.0, 4.0, 1.0])
    open_ended = classifier_free(whole, 4.0, unconditional=whole, interval=(0.0, math.inf))
    assert open_ended.weight(80.0) == 4.0


def test_every_sample_may_have_its_own_time() -> None:
    model = guided(3.0, interval=(0.1, 1.0))
    times = np.array([0.05, 0.2, 0.4, 0.6, 0.9])
    one_by_one = np.concatenate([model(X[i : i + 1], float(t)) for i, t in enumerate(times)])
    np.testing.assert_allclose(model(X, times), one_by_one, rtol=1e-12)


def test_torch_and_numpy_agree() -> None:
    torch = pytest.importorskip("torch")
    for options in ({}, {"rescale": 0.7}):
        got = guided(3.0, **options)(torch.as_tensor(X), 0.3)
        np.testing.assert_allclose(got.numpy(), guided(3.0, **options)(X, 0.3), rtol=1e-12)


@given(share=st.floats(0, 1))
def test_full_rescaling_restores_the_deviation_of_every_sample(share: float) -> None:
    conditional, plain = pair()[0](X, 0.3), guided(6.0)(X, 0.3)
    full = guided(6.0, rescale=1.0)(X, 0.3)
    np.testing.assert_allclose(full.std(axis=1), conditional.std(axis=1), rtol=1e-12)
    np.testing.assert_allclose(guided(6.0, rescale=share)(X, 0.3), share * full + (1 - share) * plain, rtol=1e-10)


def test_rescaling_is_that_of_diffusers() -> None:
    torch = pytest.importorskip("torch")
    pipeline = pytest.importorskip("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion")
    conditional, plain = (torch.as_tensor(m(X, 0.3)) for m in (pair()[0], guided(6.0)))
    expected = pipeline.rescale_noise_cfg(plain, conditional, guidance_rescale=0.7)
    np.testing.assert_allclose(guided(6.0, rescale=0.7)(X, 0.3), expected.numpy(), rtol=1e-12)


def test_jacobians_combine_like_predictions() -> None:
    model, tangent, step = guided(5.0), np.random.default_rng(1).standard_normal(X.shape), 1e-6
    slope = (model(X + step * tangent, 0.5) - model(X - step * tangent, 0.5)) / (2 * step)
    np.testing.assert_allclose(model.jvp(X, 0.5, tangent), slope, rtol=1e-6, atol=1e-8)
    with pytest.raises(ValueError, match=r"rescale=0\.5"):
        guided(5.0, rescale=0.5).jvp(X, 0.5, tangent)


def test_autoguidance_extrapolates_from_the_worse_model() -> None:
    good = MIXTURE.denoiser(VP, "noise")
    bad = dn.GaussianMixture([0.25] * 4, MIXTURE.means, [0.2] * 4).denoiser(VP, "noise")
    expected = bad(X, 0.4) + 2.0 * (good(X, 0.4) - bad(X, 0.4))
    np.testing.assert_allclose(autoguidance(good, bad, 2.0)(X, 0.4), expected, rtol=1e-12)


def test_guidance_composes_with_thresholding_and_solvers() -> None:
    grid = dn.grids.uniform_half_log_snr(VP, 20)
    clipped = dn.solve(dn.plan("dpmpp_2m", VP, grid), StaticThreshold(guided(8.0), 1.2), X)
    free = dn.solve(dn.plan("dpmpp_2m", VP, grid), guided(8.0), X)
    assert np.abs(free).max() > np.abs(clipped).max()


# -- CFG++ ---------------------------------------------------------------------------------------------


def paper_step(x: Any, t: float, end: float, share: float) -> Any:
    """A step of the authors' code, written out: guided data, unconditional noise."""
    alpha, sigma = float(VP.alpha(t)), float(VP.sigma(t))
    conditional, unconditional = (model(x, t) for model in pair("noise"))
    mixed = unconditional + share * (conditional - unconditional)
    data = (x - sigma * mixed) / alpha
    return float(VP.alpha(end)) * data + float(VP.sigma(end)) * unconditional


@pytest.mark.parametrize("prediction", ["noise", "data"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_cfg_plus_plus_takes_the_steps_of_its_paper(share: float, prediction: Prediction) -> None:
    grid = dn.grids.irregular(VP, 7)
    conditional, unconditional = pair(prediction)
    model = cfg_plus_plus(conditional, grid, share, unconditional=unconditional)
    expected = X
    for t, end in zip(grid.t[:-1].tolist(), grid.t[1:].tolist(), strict=True):
        expected = paper_step(expected, t, end, share)
    np.testing.assert_allclose(dn.solve(dn.plan("ddim", VP, grid), model, X), expected, rtol=1e-10)


def test_cfg_plus_plus_denoises_with_its_own_scale() -> None:
    grid = dn.grids.uniform_half_log_snr(VP, 4, terminal="denoise")
    model = cfg_plus_plus(pair()[0], grid, 0.4, unconditional=pair()[1])
    assert model.weight(float(grid.t[-1])) == 0.4
    assert np.isfinite(dn.solve(dn.plan("ddim", VP, grid), model, X)).all()


def test_cfg_plus_plus_has_no_limit_of_small_steps() -> None:
    weights = [
        cfg_plus_plus(pair()[0], grid, 0.5, unconditional=pair()[1]).weight(float(grid.t[0]))
        * (grid.lam[1] - grid.lam[0])
        for grid in (dn.grids.uniform_half_log_snr(VP, n) for n in (100, 1000, 10000))
    ]
    np.testing.assert_allclose(weights[-1], 0.5, rtol=1e-3)  # the weight itself grows like the number of steps
    assert abs(weights[-1] - 0.5) < abs(weights[0] - 0.5)


def test_cfg_plus_plus_refuses_times_that_are_no_nodes() -> None:
    grid = dn.grids.uniform_half_log_snr(VP, 7)
    model = cfg_plus_plus(pair()[0], grid, 0.5, unconditional=pair()[1])
    with pytest.raises(ValueError, match=r"t=0\.5 is no node of the grid"):
        model(X, 0.5)
    with pytest.raises(ValueError, match="is no node"):
        dn.solve(dn.plan("dpmpp_2s", VP, grid), model, X)


# -- scale schedules -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", list(RAMPS))
def test_ramps_go_from_one_weight_to_the_other(shape: str) -> None:
    ramp = Ramp(VP, 1.0, 6.0, shape, sigma_max=10.0, sigma_min=0.1)
    lams = np.linspace(math.log(0.09), math.log(11.0), 101)
    weights = [ramp(float(VP.time(lam))) for lam in lams]
    assert weights[0] == 1.0
    assert min(weights) >= 1.0
    assert max(weights) == pytest.approx(6.0, rel=1e-4)
    assert weights[-1] == pytest.approx(1.0 if shape == "window" else 6.0)
    assert guided(ramp).weight(0.3) == ramp(0.3)


def test_a_function_of_time_is_a_scale() -> None:
    np.testing.assert_allclose(guided(lambda t: 2.0 * t)(X, 0.25), guided(0.5)(X, 0.25), rtol=1e-14)


# -- networks ------------------------------------------------------------------------------------------


def test_networks_are_guided_in_one_pass_and_keep_their_face() -> None:
    torch = pytest.importorskip("torch")
    model = dn.load("toy/digits", dtype="float64").conditioned(3)
    calls = []
    handle = model.module.register_forward_hook(lambda _, arguments, __: calls.append(len(arguments[0])))
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    got = classifier_free(model, 3.0)(x, 0.5)
    assert calls == [4]
    handle.remove()
    free = model.conditioned(None)(x, 0.5)
    torch.testing.assert_close(got, free + 3.0 * (model(x, 0.5) - free))
    face = classifier_free(model, 3.0)
    assert (face.sample_shape, face.dtype, face.name) == (model.sample_shape, model.dtype, model.name)
    assert dn.sample(face, "dpmpp_2m", 5, n=2).shape == (2, 1, 8, 8)
    torch.testing.assert_close(face.conditioned(7)(x, 0.5), classifier_free(model.conditioned(7), 3.0)(x, 0.5))


def test_guided_models_can_be_copied() -> None:
    assert copy.deepcopy(guided(3.0))(X, 0.5).shape == X.shape
    ramp = Ramp(VP, 1.0, 2.0)
    assert pickle.loads(pickle.dumps(ramp)) == ramp
    with pytest.raises(AttributeError):
        _ = guided().nonsense


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": math.nan}, "scale=nan"),
        ({"interval": (2.0, 1.0)}, r"interval=\(2\.0, 1\.0\)"),
        ({"rescale": 1.5}, r"rescale=1\.5"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        guided(**options)


def test_models_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="no conditioned"):
        classifier_free(pair()[0], 2.0)
    with pytest.raises(ValueError, match="different schedules"):
        classifier_free(pair()[0], 2.0, unconditional=MIXTURE.denoiser(dn.schedules.EDM()))
    with pytest.raises(ValueError, match="shape='zigzag'"):
        Ramp(VP, 1.0, 2.0, "zigzag")
    with pytest.raises(ValueError, match="sigma_min=2"):
        Ramp(VP, 1.0, 2.0, sigma_min=2.0, sigma_max=1.0)

"""Schedules and predictions of diffusers schedulers, read from their configurations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers")

from diffusers import (
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    DDIMScheduler,
    DDPMScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    ScoreSdeVeScheduler,
    UniPCMultistepScheduler,
)

from diffnum.models.loading.tables import BETA_SCHEDULES, prediction_of, schedule_of, zero_terminal_betas
from diffnum.schedules import EDM, VE, FlowMatching, Tabulated, scaled_linear_betas

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning"),  # diffusers' own tables under NumPy 2
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
]


@pytest.mark.parametrize("name", list(BETA_SCHEDULES))
@pytest.mark.parametrize("count", [50, 1000])
def test_tables_are_those_of_diffusers_up_to_float32(name: str, count: int) -> None:
    kind = HeunDiscreteScheduler if name == "exp" else DDPMScheduler
    scheduler = kind(num_train_timesteps=count, beta_schedule=name, beta_start=0.0008, beta_end=0.015)
    schedule = schedule_of(scheduler.config)
    assert isinstance(schedule, Tabulated)
    np.testing.assert_allclose(schedule.alphas_cumprod, scheduler.alphas_cumprod, rtol=2e-4)
    np.testing.assert_allclose(schedule.alphas_cumprod[0], float(scheduler.alphas_cumprod[0]), rtol=1e-6)


def test_given_betas_are_taken_as_they_are() -> None:
    betas = np.linspace(1e-3, 0.1, 20)
    schedule = schedule_of(DDIMScheduler(trained_betas=betas.tolist()).config)
    np.testing.assert_allclose(np.array(schedule.to_dict()["alphas_cumprod"]), np.cumprod(1 - betas), rtol=1e-12)


def test_zero_terminal_tables_are_those_of_diffusers() -> None:
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", rescale_betas_zero_snr=True)
    schedule = schedule_of(scheduler.config)
    assert isinstance(schedule, Tabulated)
    assert schedule.zero_terminal
    np.testing.assert_allclose(schedule.alphas_cumprod, scheduler.alphas_cumprod, rtol=1e-3, atol=1e-7)
    products = np.cumprod(1 - zero_terminal_betas(scaled_linear_betas(100)))
    assert products[-1] == 0.0
    np.testing.assert_allclose(products[0], 1 - scaled_linear_betas(100)[0], rtol=1e-14)


@pytest.mark.parametrize("scale", [1.0, 3.0, 0.4])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("kind", [CogVideoXDDIMScheduler, CogVideoXDPMScheduler])
def test_the_snr_is_shifted_as_cogvideox_shifts_it(kind: Any, zero: bool, scale: float) -> None:
    scheduler = kind(snr_shift_scale=scale, rescale_betas_zero_snr=zero)
    schedule = schedule_of(scheduler.config)
    assert isinstance(schedule, Tabulated)
    np.testing.assert_allclose(schedule.alphas_cumprod, scheduler.alphas_cumprod, rtol=1e-4, atol=1e-7)


def test_the_shift_of_the_snr_is_a_shift_of_the_half_log_snr() -> None:
    config = CogVideoXDDIMScheduler().config
    plain, shifted = schedule_of({**config, "snr_shift_scale": 1.0}), schedule_of(config)
    labels = np.arange(1000.0)
    np.testing.assert_allclose(plain.half_log_snr(labels) - shifted.half_log_snr(labels), 0.5 * math.log(3), rtol=1e-12)
    assert float(shifted.alpha(500.0)) ** 2 == pytest.approx(0.1129, abs=5e-5)
    assert schedule_of({"_class_name": "CogVideoXDDIMScheduler"}) == shifted  # what a file leaves out is in force
    with pytest.raises(ValueError, match="snr_shift_scale=0 of CogVideoXDDIM"):
        schedule_of({**config, "snr_shift_scale": 0})


@pytest.mark.parametrize(
    ("config", "prediction"),
    [
        ({"use_flow_sigmas": True, "prediction_type": "flow_prediction"}, "velocity"),
        ({"use_flow_sigmas": True, "prediction_type": "sample"}, "data"),
        ({"use_flow_sigmas": True, "prediction_type": "epsilon"}, "noise"),
        ({"prediction_type": "v_prediction"}, "v"),
    ],
)
def test_a_flow_may_predict_what_it_likes(config: dict[str, Any], prediction: str) -> None:
    assert prediction_of(UniPCMultistepScheduler(**config).config) == prediction


@pytest.mark.parametrize(
    "config", [{"use_flow_sigmas": True, "prediction_type": "v_prediction"}, {"prediction_type": "flow_prediction"}]
)
def test_a_prediction_without_meaning_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"prediction_type='.*_prediction' .*of UniPCMultistepScheduler.*use"):
        prediction_of(UniPCMultistepScheduler(**config).config)


@pytest.mark.parametrize(
    ("scheduler", "schedule", "prediction"),
    [
        (FlowMatchEulerDiscreteScheduler(shift=3.0), FlowMatching(3.0), "velocity"),
        (
            UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0),
            FlowMatching(5.0),
            "velocity",
        ),
        (ScoreSdeVeScheduler(sigma_min=0.02, sigma_max=90.0), VE(0.02, 90.0), "score"),
        (EDMEulerScheduler(sigma_min=0.01, sigma_max=70.0), EDM(0.01, 70.0), "noise"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_processes_without_a_table_are_recognised(scheduler: Any, schedule: Any, prediction: str) -> None:
    assert schedule_of(scheduler.config) == schedule
    assert prediction_of(scheduler.config) == prediction


def test_dynamic_shifts_are_those_of_diffusers() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    tokens = 1024
    schedule = schedule_of(scheduler.config, tokens=tokens)
    assert isinstance(schedule, FlowMatching)
    level = 0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256)
    assert schedule.shift == pytest.approx(math.exp(level))
    times = np.linspace(0.1, 0.9, 5)
    np.testing.assert_allclose(schedule.sigma(times), scheduler.time_shift(level, 1.0, times), rtol=1e-12)
    linear = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="linear")
    shifted = schedule_of(linear.config, tokens=tokens)
    np.testing.assert_allclose(shifted.sigma(times), linear.time_shift(level, 1.0, times), rtol=1e-12)


def test_what_cannot_be_computed_is_refused() -> None:
    dynamic = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    with pytest.raises(ValueError, match="shifts its times by the size of the image: pass shift="):
        schedule_of(dynamic.config)
    assert schedule_of(dynamic.config, shift=2.0) == FlowMatching(2.0)
    with pytest.raises(ValueError, match="time_shift_type='wild'"):
        schedule_of({**dynamic.config, "time_shift_type": "wild"}, tokens=4)
    with pytest.raises(ValueError, match=r"shift=2\.0: DDIMScheduler is no flow-matching"):
        schedule_of(DDIMScheduler().config, shift=2.0)
    with pytest.raises(ValueError, match=r"beta_start=-1, beta_end=0.02, .* of DDPMScheduler make no table"):
        schedule_of(
            {"_class_name": "DDPMScheduler", "num_train_timesteps": 10, "beta_schedule": "linear", "beta_start": -1}
        )
    with pytest.raises(ValueError, match="beta_schedule='gamma'"):
        schedule_of({"_class_name": "DDPMScheduler", "num_train_timesteps": 10, "beta_schedule": "gamma"})
    with pytest.raises(ValueError, match="StrangeScheduler is not understood"):
        schedule_of({"_class_name": "StrangeScheduler"})
    with pytest.raises(ValueError, match="prediction_type='dream'"):
        prediction_of({"prediction_type": "dream"})

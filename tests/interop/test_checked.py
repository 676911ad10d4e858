"""What a scheduler is given: words that look like flags, arguments that are none, numbers that no network has."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers")
import diffusers
import torch

import diffnum as dn
from diffnum.interop import PlanScheduler
from diffnum.models.loading.understood import in_force

pytestmark = pytest.mark.filterwarnings("ignore")
X = torch.zeros(2, 1, 4, 4)
FLOW = {"prediction_type": "flow_prediction"}


def begun(**config: Any) -> PlanScheduler:
    scheduler = PlanScheduler(**{"method": "ddim", **config})
    scheduler.set_timesteps(4)
    return scheduler


FLAGS = ("rescale_betas_zero_snr", "use_karras_sigmas", "use_flow_sigmas", "lower_order_final", "clip_sample",
         "thresholding", "use_dynamic_shifting")  # fmt: skip


@pytest.mark.parametrize("value", ["False", "false", "no", "", 0, 1.0], ids=repr)
@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_is_true_or_false_and_no_word_for_it(flag: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{flag}=.*pass True or False"):
        PlanScheduler(**{flag: value})


@pytest.mark.parametrize("value", ["False", "no", 1], ids=repr)
def test_nor_is_one_in_the_configuration_that_is_replaced(value: Any) -> None:
    config = {"_class_name": "DDIMScheduler", "clip_sample": value}
    for read in (PlanScheduler.from_config, in_force):
        with pytest.raises(ValueError, match=r"clip_sample=.* of DDIMScheduler .*pass True or False"):
            read(config)
    assert in_force({"_class_name": "DDIMScheduler", "clip_sample": None})["clip_sample"] is None
    assert PlanScheduler(clip_sample=np.bool_(True)).config.clip_sample


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_train_timesteps": "1000"}, "num_train_timesteps='1000'.*whole number"),
        ({"num_train_timesteps": 99.5}, "num_train_timesteps=99.5.*whole number"),
        ({"beta_end": "0.02"}, "beta_end='0.02'.*pass a number"),
        ({"beta_end": True}, "beta_end=True.*pass a number"),
        ({"snr_shift_scale": "3"}, "snr_shift_scale='3'.*pass a number"),
        ({"clip_sample_range": "1"}, "clip_sample_range='1'.*pass a number"),
        ({"shift": "3", **FLOW}, "shift='3'.*pass a number"),
        ({"steps_offset": 0.5}, "steps_offset=0.5.*whole number"),
        ({"steps_offset": -1}, "steps_offset=-1: labels begin at 0"),
        ({"timestep_spacing": 3}, "timestep_spacing=3.*pass a word"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas has 2 values.*num_train_timesteps=2"),
        ({"plan": "nowhere.json"}, "plan='nowhere.json': there is no such file"),
    ],
    ids=lambda v: str(v) if isinstance(v, dict) else "",
)
def test_a_setting_of_another_type_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlanScheduler(**config)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda c: PlanScheduler.from_config(c, metod="ddim"), "metod='ddim' is no parameter.*did you mean method"),
        (lambda c: PlanScheduler.from_config(c, algorithm_type="deis"), "chosen by method="),
        (lambda c: PlanScheduler.from_config(diffusers.DDIMScheduler()), "pass the configuration of a scheduler"),
        (lambda c: PlanScheduler.from_config("folder"), "read by PlanScheduler.from_pretrained"),
        (lambda c: PlanScheduler.from_config(None), "pass the configuration"),
        (lambda c: PlanScheduler.from_config([1]), "pass the configuration"),
        (lambda c: PlanScheduler(plan=5), "plan=5 is a int"),
        (lambda c: begun().set_timesteps(timesteps=900), "timesteps=900: pass a list of numbers"),
        (lambda c: begun().set_timesteps(timesteps="900,500"), "timesteps='900,500': pass a list"),
        (lambda c: begun().set_timesteps(sigmas=["a"]), "sigmas=.*pass a list of numbers"),
        (lambda c: begun().set_timesteps(timesteps=[[900], [500, 1]]), "timesteps=.*pass a list of numbers"),
        (lambda c: begun().set_begin_index(1.5), "begin_index=1.5: pass a whole number"),
        (lambda c: begun().step(X, None, X), "timestep=None is a NoneType"),
        (lambda c: begun().step(X, "999", X), "timestep='999' is a str"),
        (lambda c: begun().step(X, 999, X, generator=5), "generator=5: pass a torch.Generator"),
        (lambda c: begun().add_noise(X.to(torch.uint8), X, torch.tensor([1, 5])), "torch.uint8: pass a torch tensor"),
        (lambda c: begun().add_noise(X.numpy(), X.numpy(), torch.tensor([1, 5])), "ndarray: pass a torch tensor"),
    ],
)
def test_what_is_of_another_kind_is_named(action: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        action(diffusers.DDIMScheduler().config)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: begun().set_shift(3.0), "shift=.of a table.: pass a positive finite number, and to a flow"),
        (lambda: PlanScheduler(**FLOW).set_shift(float("nan")), "shift=nan: pass a positive"),
        (lambda: begun().set_noise_level("a"), "level='a': pass a positive"),
        (lambda: begun(noise_level=1e-6), "noise_level=1e-06: the last label has"),
        (lambda: begun().add_noise(X, X, torch.tensor([-1, 5])), "pass labels from 0 to 999"),
        (lambda: PlanScheduler(use_dynamic_shifting=True, **FLOW).set_timesteps(4, mu="a"), "mu='a'"),
    ],
)
def test_numbers_that_none_can_be_are_named(action: Callable[[], Any], message: str) -> None:
    if "1e-06" in message:

        def action() -> Any:
            scheduler = PlanScheduler()
            scheduler.set_noise_level(1e-6)
            return scheduler.set_timesteps(4)

    with pytest.raises(ValueError, match=message):
        action()


def test_a_slip_is_handed_back_where_the_caller_asks_for_it() -> None:
    scheduler, unused = PlanScheduler.from_config(diffusers.DDIMScheduler().config, True, metod="ddim")
    assert unused["metod"] == "ddim"
    assert scheduler.config.method == "dpmpp_2m"


@pytest.mark.parametrize("name", ["CogVideoXDDIMScheduler", "EulerDiscreteScheduler"])
def test_a_saved_scheduler_is_translated_on_its_way(name: str, tmp_path: Path) -> None:
    theirs = getattr(diffusers, name)()
    theirs.save_pretrained(tmp_path)
    ours = PlanScheduler.from_pretrained(tmp_path, method="ddim", torch_dtype=torch.float16)
    torch.testing.assert_close(ours.alphas_cumprod, theirs.alphas_cumprod.float(), rtol=1e-5, atol=1e-7)


def test_betas_as_a_tensor_are_shown_saved_and_read(tmp_path: Path) -> None:
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    scheduler = PlanScheduler(trained_betas=betas)
    assert "trained_betas" in repr(scheduler)
    scheduler.save_pretrained(tmp_path)
    assert torch.equal(PlanScheduler.from_pretrained(tmp_path).alphas_cumprod, scheduler.alphas_cumprod)


def test_the_shift_that_is_set_is_the_one_in_force() -> None:
    for config, name in (({}, "shift"), ({"use_flow_sigmas": True}, "flow_shift")):
        scheduler = PlanScheduler(**FLOW, **config)
        scheduler.set_shift(3.0)
        assert scheduler.config[name] == 3.0
        scheduler.set_timesteps(6)
        other = PlanScheduler(**FLOW, **config, **{name: 3.0})
        other.set_timesteps(6)
        torch.testing.assert_close(scheduler.timesteps[:-1], other.timesteps[:-1])


def test_a_plan_is_read_from_the_name_of_its_file(tmp_path: Path) -> None:
    schedule = begun().schedule
    plan = dn.plan("ddim", schedule, dn.grids.from_times(schedule, [999.0, 500.0, 100.0, -1.0]))
    plan.to_json(tmp_path / "plan.json")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in (str(tmp_path / "plan.json"), tmp_path / "plan.json", plan.to_dict()):
            assert PlanScheduler(plan=given)._given == plan

"""What a configuration says to a PlanScheduler: numbers of flows, files, pickles, devices, rounded labels."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")
import diffusers
import torch
import torch.utils._python_dispatch

from diffnum.interop import PlanScheduler
from tests.interop.test_scheduler import X, made, net, run
from tests.interop.tiny import seeded

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning"),  # diffusers' own tables under NumPy 2
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*were passed to .*Scheduler"),
]

FLOW = {"prediction_type": "flow_prediction"}


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        ({}, {"sigmas": [1.2, 0.5]}, r"sigmas=.1.2, 0.5.: pass a list of times of a flow, between 0 and 1"),
        ({}, {"sigmas": [math.nan, 0.5]}, r"sigmas=.nan, 0.5.: pass a list of times of a flow"),
        ({}, {"sigmas": [0.5, 0.7]}, "times must decrease"),
        ({}, {"timesteps": [1001, 500]}, r"timesteps=.1001.0, 500.0.: pass labels from 0 to 1000"),
        ({"use_dynamic_shifting": True, "shift_terminal": 0.1}, {"mu": 48.0}, "mu=48.0, shift_terminal=0.1 leaves no"),
        ({"use_dynamic_shifting": True}, {"mu": 800.0}, "mu=800.0: pass a finite number"),
        ({"use_dynamic_shifting": True}, {"mu": -800.0}, "mu=-800.0: pass a finite number"),
        ({"use_dynamic_shifting": True}, {"mu": math.nan}, "mu=nan: pass a finite number"),
        ({"use_dynamic_shifting": True}, {"mu": 20.0}, "mu=20.0 leaves no times"),
        ({"use_dynamic_shifting": True, "time_shift_type": "linear"}, {"mu": -1.0}, "mu=-1.0: pass a positive finite"),
        ({"shift": 0.0}, {}, "shift=0.0: pass a positive finite number"),
        ({"shift": math.inf}, {}, "shift=inf: pass a positive finite number"),
        ({"shift": math.nan}, {}, "shift=nan: pass a positive finite number"),
        ({"shift": 1e9}, {}, "shift=1000000000.0 leaves no times that decrease"),
        ({"shift_terminal": 1.0}, {}, "shift_terminal=1.0: pass a time between 0 and 1"),
        ({"use_flow_sigmas": True, "flow_shift": -2.0}, {}, "flow_shift=-2.0: pass a positive finite number"),
    ],
)
def test_a_number_of_a_flow_that_is_none_is_named(config: dict[str, Any], given: dict[str, Any], message: str) -> None:
    how = given if {"sigmas", "timesteps"} & set(given) else {"num_inference_steps": 5, **given}
    with pytest.raises(ValueError, match=message):
        PlanScheduler(**FLOW, **config).set_timesteps(**how)


@pytest.mark.parametrize("how", [{"num_inference_steps": 1}, {"sigmas": [1.0]}, {"sigmas": [1.0, 0.0]}])
def test_pure_noise_alone_is_not_stretched(how: dict[str, Any]) -> None:
    scheduler = PlanScheduler(**FLOW, shift_terminal=0.1)
    scheduler.set_timesteps(**how)
    assert scheduler.sigmas.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler"])
def test_there_may_be_as_many_steps_as_labels(name: str) -> None:
    scheduler = PlanScheduler.from_config(getattr(diffusers, name)().config, method="ddim")
    scheduler.set_timesteps(1000)
    assert scheduler.timesteps.tolist() == list(range(999, -1, -1))


def test_a_file_of_cogvideox_is_read_with_its_shift(tmp_path: Path) -> None:
    diffusers.CogVideoXDDIMScheduler().save_pretrained(tmp_path)
    for scheduler in (
        PlanScheduler.from_pretrained(tmp_path),
        PlanScheduler.from_config(diffusers.CogVideoXDDIMScheduler().config),
    ):
        assert float(scheduler.alphas_cumprod[500]) == pytest.approx(0.1129, abs=5e-5)
    assert PlanScheduler.from_config(scheduler.config).schedule == scheduler.schedule


def test_it_pickles_with_its_plan_and_begins_anew() -> None:
    scheduler = made("unipc_3")
    scheduler.step(net(X, scheduler.timesteps[0]), scheduler.timesteps[0], X)
    again = pickle.loads(pickle.dumps(scheduler))
    assert again.config == scheduler.config
    assert again.plan == scheduler.plan
    assert torch.equal(run(again), run(made("unipc_3")))


def test_labels_that_the_caller_rounded_are_those_of_the_run() -> None:
    scheduler = made(n=10, use_karras_sigmas=True)
    noise, label = torch.randn(X.shape, generator=seeded(3)), scheduler.timesteps[3:4]
    exact = scheduler.add_noise(X, noise, label)
    for rounded in (label.bfloat16(), label.half(), label.round().long()):
        assert torch.equal(scheduler.add_noise(X, noise, rounded), exact)
    assert not torch.equal(scheduler.add_noise(X, noise, label + 3.0), exact)


class NoFloat64(torch.utils._python_dispatch.TorchDispatchMode):
    """A device that has no float64, as Apple's: emulated for tensors of the batch's shape."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.ndim == X.ndim and result.dtype == torch.float64:
            msg = "this device has no float64"
            raise TypeError(msg)
        return result


@pytest.mark.parametrize("config", [{}, FLOW], ids=["table", "flow"])
def test_noise_is_added_on_devices_without_float64(config: dict[str, Any]) -> None:
    scheduler, noise = made(n=10, **config), torch.randn(X.shape, generator=seeded(3))
    labels = scheduler.timesteps[[2, 5]]
    with NoFloat64():
        found = scheduler.add_noise(X, noise, labels), scheduler.get_velocity(X, noise, labels)
        with pytest.raises(TypeError, match="no float64"):  # the control
            X.double()
    assert all(one.dtype == torch.float32 for one in found)


@pytest.mark.parametrize("name", ["LCM", "TCD"])
def test_a_class_that_a_file_names_is_the_one_that_is_refused(name: str) -> None:
    theirs = getattr(diffusers, f"{name}Scheduler")()
    ours = PlanScheduler.from_config({**theirs.config, "_class_name": f"{name}Scheduler"})
    with pytest.raises(ValueError, match=f"labels of {name}Scheduler .or "):
        ours.set_timesteps(4)


@pytest.mark.parametrize("name", ["DDIM", "DDIMParallel", "DDPM", "DDPMParallel"])
def test_a_class_of_a_pair_is_named_with_its_twin(name: str) -> None:
    spacing = {"timestep_spacing": "leading", "steps_offset": 500}
    ours = PlanScheduler.from_config(getattr(diffusers, f"{name}Scheduler")(**spacing).config)
    with pytest.raises(ValueError, match=rf"\b{name}Scheduler\b.* begins at label"):
        ours.set_timesteps(4)

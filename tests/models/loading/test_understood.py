"""The list of what is understood of diffusers' schedulers, held against the installed version."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

diffusers = pytest.importorskip("diffusers")
from diffusers import schedulers  # noqa: E402

from diffnum.models.loading.understood import DEFAULTS, FOREIGN, KINDS, class_of, in_force  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning"),  # diffusers' own tables under NumPy 2
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
]


def parameters(name: str) -> dict[str, Any]:
    found = inspect.signature(getattr(schedulers, name).__init__).parameters.values()
    return {p.name: p.default for p in found if p.name != "self" and p.kind is not inspect.Parameter.VAR_KEYWORD}


ALL = sorted(
    name
    for name in dir(schedulers)
    if name.endswith("Scheduler") and inspect.isclass(getattr(schedulers, name)) and "Dummy" not in name
)


def test_every_scheduler_of_diffusers_is_understood_or_known_to_be_refused() -> None:
    assert {name for name in ALL if "Flax" not in name} == set(DEFAULTS) | set(FOREIGN)


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_keys_and_defaults_are_those_of_the_installed_version(name: str) -> None:
    assert dict(DEFAULTS[name]) == parameters(name)


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_keys_of_refused_classes_are_those_of_the_installed_version(name: str) -> None:
    assert FOREIGN[name] == set(parameters(name))


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_a_class_that_is_not_listed_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}(:| is not understood:)"):
        in_force({"_class_name": name})


def made(name: str) -> Any:
    """A scheduler with what it cannot be made without."""
    try:
        return getattr(schedulers, name)()
    except (TypeError, ImportError):
        pytest.skip(f"{name} cannot be made without arguments")


@pytest.mark.parametrize("name", [name for name in sorted(FOREIGN) if name != "FlowMapEulerDiscreteScheduler"])
def test_a_class_that_is_not_listed_is_refused_from_memory_too(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}(:| is not understood:)"):
        in_force(made(name).config)


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_a_class_is_known_from_its_keys(name: str) -> None:
    found = class_of(made(name).config)
    assert set(DEFAULTS[found]) == set(DEFAULTS[name])
    assert KINDS[found] == KINDS[name]


def test_what_a_file_leaves_out_has_the_value_of_its_class() -> None:
    assert in_force({"_class_name": "CogVideoXDDIMScheduler"})["snr_shift_scale"] == 3.0
    assert in_force({"_class_name": "DDIMScheduler"})["timestep_spacing"] == "leading"
    assert in_force({"_class_name": "DPMSolverMultistepScheduler"})["timestep_spacing"] == "linspace"


def test_what_a_class_does_not_read_is_left_out() -> None:
    found = in_force({"_class_name": "PNDMScheduler", "clip_sample": True, "use_karras_sigmas": True})
    assert "clip_sample" not in found
    assert "use_karras_sigmas" not in found


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_class_name": "DDIMScheduler", "log_snr_shift": 2.0}, "log_snr_shift=2.0 of DDIMScheduler is a key that"),
        ({"_class_name": "NewScheduler"}, "NewScheduler is not understood"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "invert_sigmas": True}, "invert_sigmas=True of FlowMatch"),
        ({"_class_name": "FlowMatchLCMScheduler", "scale_factors": [2]}, "scale_factors=.2. of FlowMatchLCM"),
        ({"_class_name": "EulerDiscreteScheduler", "interpolation_type": "log_linear"}, "interpolation_type='log_lin"),
        (
            {"_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction", "timestep_type": "continuous"},
            "timestep_type='continuous' of EulerDiscreteScheduler: the network is told 0.25",
        ),
    ],
)
def test_what_is_not_understood_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        in_force(config)


def test_a_configuration_made_from_another_class_s_must_say_which_it_is() -> None:
    mixed = {**DEFAULTS["DPMSolverMultistepScheduler"], **DEFAULTS["EulerDiscreteScheduler"]}
    with pytest.raises(ValueError, match=r"the keys of .*EulerDiscreteScheduler.*: add '_class_name'"):
        class_of(mixed)
    assert class_of({**mixed, "_class_name": "EulerDiscreteScheduler"}) == "EulerDiscreteScheduler"

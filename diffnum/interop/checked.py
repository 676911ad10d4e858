"""What a scheduler is given: flags that are flags, numbers that are numbers, names that are parameters."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from diffnum.models.loading.understood import check_values
from diffnum.types import FloatArray

__all__ = [
    "check_configuration",
    "check_known",
    "check_positive",
    "check_settings",
    "check_step",
    "check_tensor",
    "listed",
    "whole",
]

_NUMBERS = ("snr_shift_scale", "sigma_min", "sigma_max", "shift_terminal")
"""Parameters that are numbers where they are not None."""

_OF_NETWORKS = ("torch_dtype", "dtype")
"""What loading functions hand on to every part of a pipeline."""


def check_settings(scheduler: type, config: Mapping[str, Any]) -> None:
    """Refuse settings of another type than those of a scheduler, and numbers that none can be.

    Raises
    ------
    ValueError
        Such as the text ``"False"``, which is true; a table shorter than the labels; labels before the first.
    """
    usual = {name: one.default for name, one in inspect.signature(scheduler.__init__).parameters.items()}  # type: ignore[misc]
    check_values(config, {name: value for name, value in usual.items() if name != "method"}, "the scheduler")
    check_values(config, dict.fromkeys(_NUMBERS, 0.0), "the scheduler")
    given, ratio, top = (
        config[name] for name in ("clip_sample_range", "dynamic_thresholding_ratio", "sample_max_value")
    )
    if not (given > 0.0 and 0.0 < ratio <= 1.0 and top >= 1.0):
        msg = (
            f"clip_sample_range={given}, dynamic_thresholding_ratio={ratio}, sample_max_value={top}: pass a positive "
            "range, a ratio in (0, 1] and a value from 1 on"
        )
        raise ValueError(msg)
    if config["steps_offset"] < 0:
        msg = f"steps_offset={config['steps_offset']}: labels begin at 0, pass 0 or more"
        raise ValueError(msg)
    betas, size = config["trained_betas"], config["num_train_timesteps"]
    if betas is not None and 0 < len(betas) < size:
        msg = (
            f"trained_betas has {len(betas)} values, and num_train_timesteps={size} labels: pass as many, or "
            f"num_train_timesteps={len(betas)}"
        )
        raise ValueError(msg)


def check_configuration(config: Any, name: str) -> None:
    """Refuse what is no configuration: it would be read by nobody.

    Raises
    ------
    TypeError
        With what to pass.
    """
    if isinstance(config, Mapping):
        return
    what = type(config).__name__ if hasattr(config, "config") else repr(config)
    msg = (
        f"config is {what}: pass the configuration of a scheduler, pipe.scheduler.config; a folder or a repository is "
        f"read by {name}.from_pretrained"
    )
    raise TypeError(msg)


def check_known(scheduler: type, given: Mapping[str, Any]) -> None:
    """Refuse arguments that a scheduler does not have: a slip in ``method`` would leave its default in force.

    Raises
    ------
    TypeError
        With the parameter that is likely to be meant.
    """
    known = [name for name in inspect.signature(scheduler.__init__).parameters if name != "self"]  # type: ignore[misc]
    for name, value in given.items():
        if name not in known and not name.startswith("_") and name not in _OF_NETWORKS:
            near = difflib.get_close_matches(name, known, 1)
            remedy = f"did you mean {near[0]}?" if near else "leave it out; the solver is chosen by method="
            msg = f"{name}={value!r} is no parameter of {scheduler.__name__}: {remedy}"
            raise TypeError(msg)


def check_positive(name: str, value: Any, wanted: str) -> None:
    """Refuse what is no positive finite number; None is taken.

    Raises
    ------
    ValueError
        With what to pass.
    """
    if value is not None and not (isinstance(value, Real) and 0.0 < float(value) < math.inf):
        msg = f"{name}={value!r}: pass a positive finite {wanted}"
        raise ValueError(msg)


def check_step(model_output: Any, timestep: Any, sample: Any, generator: Any) -> None:
    """Refuse what is no network's value, no timestep, no state and no generator.

    Raises
    ------
    TypeError
        With what to pass.
    """
    for name, value in (("model_output", model_output), ("sample", sample)):
        check_tensor(name, value)
    if not isinstance(timestep, torch.Tensor | Real):
        msg = f"timestep={timestep!r} is a {type(timestep).__name__}: pass an entry of scheduler.timesteps"
        raise TypeError(msg)
    several = generator if isinstance(generator, list | tuple) else [generator]
    if not all(one is None or isinstance(one, torch.Generator) for one in several):
        msg = f"generator={generator!r}: pass a torch.Generator, a list of one a sample, or None"
        raise TypeError(msg)


def check_tensor(name: str, value: Any) -> None:
    """Refuse what is no tensor of a floating dtype.

    Raises
    ------
    TypeError
        With the type or dtype that it has.
    """
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        msg = f"{name} is {kind}: pass a torch tensor of a floating dtype"
        raise TypeError(msg)


def listed(name: str, values: Sequence[float] | None) -> FloatArray | None:
    """Numbers as an array, None as it is.

    Raises
    ------
    TypeError
        If they are none, or one.
    """
    if values is None:
        return None
    try:
        given = np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
    except ValueError:  # lists of different lengths
        given = np.asarray(None)
    if given.ndim == 0 or (given.size and given.dtype.kind not in "iuf"):
        msg = f"{name}={values!r}: pass a list of numbers"
        raise TypeError(msg)
    return given.astype(np.float64)


def whole(name: str, value: Any) -> int | None:
    """A whole number, None as it is.

    Raises
    ------
    TypeError
        If it is another number, or none.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
        msg = f"{name}={value!r}: pass a whole number, or None"
        raise TypeError(msg)
    return None if value is None else int(value)

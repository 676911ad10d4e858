"""Schedule and prediction of a diffusers scheduler, from its configuration alone (no torch, no diffusers).

Tables are computed in float64 from the numbers of the configuration. diffusers computes the same tables in float32,
so that its cumulative products differ from these in the seventh digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from diffnum.schedules import EDM, VE, FlowMatching, Tabulated, cosine_betas, linear_betas, scaled_linear_betas
from diffnum.types import FloatArray, Prediction, Schedule

__all__ = [
    "BETA_SCHEDULES",
    "PREDICTION_TYPES",
    "is_preconditioned",
    "prediction_of",
    "schedule_of",
    "zero_terminal_betas",
]

PREDICTION_TYPES: Final[Mapping[str, Prediction]] = MappingProxyType(
    {"epsilon": "noise", "v_prediction": "v", "sample": "data", "flow_prediction": "velocity"}
)
"""diffusers' name of a prediction to ours."""


def _sigmoid_betas(n: int, start: float, end: float) -> FloatArray:
    """Betas of GeoDiff: a logistic function between -6 and 6."""
    return np.asarray(start + (end - start) / (1.0 + np.exp(-np.linspace(-6.0, 6.0, n))))


BETA_SCHEDULES: Final[Mapping[str, Callable[[int, float, float], FloatArray]]] = MappingProxyType(
    {
        "linear": linear_betas,
        "scaled_linear": scaled_linear_betas,
        "squaredcos_cap_v2": lambda n, start, end: cosine_betas(n),  # noqa: ARG005
        "sigmoid": _sigmoid_betas,
    }
)
"""diffusers' name of a table to the function ``(n, start, end)`` that computes its betas."""

_SEQUENCE = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}


def zero_terminal_betas(betas: FloatArray) -> FloatArray:
    """Betas rescaled so that the last cumulative product is zero (Lin et al. 2023, arXiv:2305.08891, algorithm 1).

    Parameters
    ----------
    betas : ndarray, shape (N,)
        Variances in (0, 1).

    Returns
    -------
    ndarray, shape (N,)
        The last one is 1; the first cumulative product is unchanged.
    """
    root = np.sqrt(np.cumprod(1.0 - betas))
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    rescaled = root**2
    kept = np.append(rescaled[:1], rescaled[1:] / rescaled[:-1])
    return np.asarray(1.0 - kept)


def prediction_of(config: Mapping[str, Any]) -> Prediction:
    """Prediction of the networks that a scheduler was made for.

    Parameters
    ----------
    config : mapping
        Configuration of a diffusers scheduler.

    Raises
    ------
    ValueError
        If diffusers' ``prediction_type`` is not one of :data:`PREDICTION_TYPES`.
    """
    if _is_flow(config):
        return "velocity"
    if _is_exploding(config):
        return "score"
    name = config.get("prediction_type", "epsilon")
    if name not in PREDICTION_TYPES:
        raise ValueError(
            f"prediction_type={name!r} of {_called(config)} is unknown; diffnum knows "
            f"{', '.join(PREDICTION_TYPES)}: pass prediction= one of data, noise, velocity, score, v"
        )
    return PREDICTION_TYPES[name]


def schedule_of(config: Mapping[str, Any], *, shift: float | None = None, tokens: int | None = None) -> Schedule:
    """Noising process of a diffusers scheduler.

    Parameters
    ----------
    config : mapping
        Configuration of a diffusers scheduler.
    shift : float, optional
        Shift of a flow-matching schedule; the configured one by default.
    tokens : int, optional
        Length of the image as a sequence, from which schedulers with dynamic shifting compute their shift.

    Returns
    -------
    Schedule
        ``Tabulated``, whose time is the label of the table, ``FlowMatching``, ``VE`` or ``EDM``.

    Raises
    ------
    ValueError
        If the table is unknown to diffnum, or a flow's shift cannot be computed.
    """
    if _is_flow(config):
        return FlowMatching(_flow_shift(config, tokens) if shift is None else shift)
    if shift is not None:
        raise ValueError(f"shift={shift}: {_called(config)} is no flow-matching schedule; leave shift out")
    if _is_exploding(config):
        return VE(config.get("sigma_min", 0.01), config.get("sigma_max", 1348.0))
    if is_preconditioned(config):
        return EDM(config.get("sigma_min", 0.002), config.get("sigma_max", 80.0))
    return Tabulated.from_betas(_betas(config))


def is_preconditioned(config: Mapping[str, Any]) -> bool:
    """Whether the scheduler applies the preconditioning of EDM to what the network returns.

    Parameters
    ----------
    config : mapping
        Configuration of a diffusers scheduler.
    """
    # Files name the class, the configuration of a scheduler at hand does not: its entries tell.
    return {"sigma_data", "prediction_type"} <= set(config)


def _is_flow(config: Mapping[str, Any]) -> bool:
    chosen = config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction"
    return bool(chosen) or ("shift" in config and "beta_schedule" not in config)


def _is_exploding(config: Mapping[str, Any]) -> bool:
    return {"snr", "sigma_max"} <= set(config)


def _called(config: Mapping[str, Any]) -> str:
    return str(config.get("_class_name", "the scheduler"))


def _betas(config: Mapping[str, Any]) -> FloatArray:
    if config.get("trained_betas") is not None:
        betas = np.asarray(config["trained_betas"], dtype=np.float64)
    else:
        name = str(config.get("beta_schedule"))
        if name not in BETA_SCHEDULES or "num_train_timesteps" not in config:
            raise ValueError(
                f"beta_schedule={name!r} with num_train_timesteps={config.get('num_train_timesteps')!r} of "
                f"{_called(config)} is no table that diffnum knows ({', '.join(BETA_SCHEDULES)}): pass "
                "schedule=diffnum.schedules.Tabulated(alphas_cumprod)"
            )
        ends = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
        try:
            betas = BETA_SCHEDULES[name](int(config["num_train_timesteps"]), *ends)
        except ValueError as error:
            raise ValueError(
                f"beta_start={ends[0]:g}, beta_end={ends[1]:g}, num_train_timesteps={config['num_train_timesteps']!r} "
                f"of {_called(config)} make no table ({error})"
            ) from error
    return zero_terminal_betas(betas) if config.get("rescale_betas_zero_snr") else betas


def _flow_shift(config: Mapping[str, Any], tokens: int | None) -> float:
    """Configured shift; with dynamic shifting the exponential of a line in the number of tokens."""
    if not config.get("use_dynamic_shifting"):
        return float(config.get("shift") or config.get("flow_shift") or 1.0)
    if config.get("time_shift_type", "exponential") not in ("exponential", "linear"):
        raise ValueError(f"time_shift_type={config['time_shift_type']!r} is unknown: pass shift=")
    if tokens is None:
        raise ValueError("the scheduler shifts its times by the size of the image: pass shift=")
    low, high, base, top = (float(config.get(name, value)) for name, value in _SEQUENCE.items())
    level = base + (top - base) * (tokens - low) / (high - low)
    return math.exp(level) if config.get("time_shift_type", "exponential") == "exponential" else level

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

from diffnum.models.loading.understood import KINDS, Kind, in_force
from diffnum.schedules import EDM, VE, FlowMatching, Tabulated, cosine_betas, linear_betas, scaled_linear_betas
from diffnum.types import FloatArray, Prediction, Schedule

__all__ = [
    "BETA_SCHEDULES",
    "PREDICTION_TYPES",
    "is_preconditioned",
    "prediction_of",
    "schedule_of",
    "table_of",
    "zero_terminal_betas",
    "zero_terminal_products",
]

PREDICTION_TYPES: Final[Mapping[str, Prediction]] = MappingProxyType(
    {"epsilon": "noise", "v_prediction": "v", "sample": "data", "flow_prediction": "velocity"}
)
"""diffusers' name of a prediction to ours."""


def _sigmoid_betas(n: int, start: float, end: float) -> FloatArray:
    """Betas of GeoDiff: a logistic function between -6 and 6."""
    return np.asarray(start + (end - start) / (1.0 + np.exp(-np.linspace(-6.0, 6.0, n))))


def _exponential_betas(n: int, start: float, end: float) -> FloatArray:  # noqa: ARG001
    """Betas of a signal power exp(-12 t), at most 0.999."""
    return _betas_of(np.exp(-12.0 * np.arange(n + 1) / n))


def _laplace_betas(n: int, start: float, end: float) -> FloatArray:  # noqa: ARG001
    """Betas of a log-SNR that has a Laplace law, as diffusers has them."""
    off = 0.5 - np.arange(n + 1) / n
    ratio = np.exp(-0.5 * np.copysign(1.0, off) * np.log(1.0 - 2.0 * np.abs(off) + 1e-6))
    return _betas_of(np.sqrt(ratio / (1.0 + ratio)))


def _betas_of(power: FloatArray) -> FloatArray:
    """Betas of a signal power at n + 1 times, at most 0.999."""
    return np.minimum(1.0 - power[1:] / power[:-1], 0.999)


BETA_SCHEDULES: Final[Mapping[str, Callable[[int, float, float], FloatArray]]] = MappingProxyType(
    {
        "linear": linear_betas,
        "scaled_linear": scaled_linear_betas,
        "squaredcos_cap_v2": lambda n, start, end: cosine_betas(n),  # noqa: ARG005
        "sigmoid": _sigmoid_betas,
        "exp": _exponential_betas,
        "laplace": _laplace_betas,
    }
)
"""diffusers' name of a table to the function ``(n, start, end)`` that computes its betas."""

_SEQUENCE = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}


def zero_terminal_products(products: FloatArray) -> FloatArray:
    """Cumulative products rescaled so that the last is zero (Lin et al. 2023, arXiv:2305.08891, algorithm 1).

    Parameters
    ----------
    products : ndarray, shape (N,)
        Decreasing, in (0, 1).

    Returns
    -------
    ndarray, shape (N,)
        The first one is unchanged.
    """
    root = np.sqrt(products)
    return np.asarray(((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2)


def zero_terminal_betas(betas: FloatArray) -> FloatArray:
    """Betas of :func:`zero_terminal_products`.

    Parameters
    ----------
    betas : ndarray, shape (N,)
        Variances in (0, 1).

    Returns
    -------
    ndarray, shape (N,)
        The last one is 1; the first is unchanged.
    """
    rescaled = zero_terminal_products(np.asarray(np.cumprod(1.0 - betas), dtype=np.float64))
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
        If the configuration is not understood, or its ``prediction_type`` is not one of :data:`PREDICTION_TYPES`.
    """
    found = in_force(config)
    kind = _kind(found)
    if kind == "exploding":
        return "score"
    name = found.get("prediction_type", "flow_prediction" if kind == "flow" else "epsilon")
    if name not in PREDICTION_TYPES:
        msg = (
            f"prediction_type={name!r} of {_called(found)} is unknown; diffnum knows "
            f"{', '.join(PREDICTION_TYPES)}: pass prediction= one of data, noise, velocity, score, v"
        )
        raise ValueError(msg)
    if kind == "flow" and name == "v_prediction":
        msg = (
            f"prediction_type='v_prediction' with use_flow_sigmas of {_called(found)}: v has no meaning on a flow, "
            "whose alpha^2 + sigma^2 is not 1; use 'flow_prediction'"
        )
        raise ValueError(msg)
    if kind == "table" and name == "flow_prediction":
        msg = (
            f"prediction_type='flow_prediction' of {_called(found)} without use_flow_sigmas: the process is a table "
            "then, on which a velocity is not understood; set use_flow_sigmas=True"
        )
        raise ValueError(msg)
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
        If the configuration is not understood, the table is unknown, or a flow's shift cannot be computed.
    """
    found = in_force(config)
    kind = _kind(found)
    if kind == "flow":
        return FlowMatching(_flow_shift(found, tokens) if shift is None else shift)
    if shift is not None:
        msg = f"shift={shift}: {_called(found)} is no flow-matching schedule; leave shift out"
        raise ValueError(msg)
    if kind == "exploding":
        return VE(found.get("sigma_min", 0.01), found.get("sigma_max", 1348.0))
    if kind == "preconditioned":
        return EDM(found.get("sigma_min", 0.002), found.get("sigma_max", 80.0))
    return table_of(found)


def is_preconditioned(config: Mapping[str, Any]) -> bool:
    """Whether the scheduler applies the preconditioning of EDM to what the network returns.

    Parameters
    ----------
    config : mapping
        Configuration of a diffusers scheduler.
    """
    return _kind(in_force(config)) == "preconditioned"


def _kind(found: Mapping[str, Any]) -> Kind:
    """Kind of process of a configuration in force; by its entries where no class is known."""
    if found.get("use_flow_sigmas"):
        return "flow"
    if found.get("_class_name", "") in KINDS:
        return KINDS[found["_class_name"]]
    if found.get("prediction_type") == "flow_prediction" or ("shift" in found and "beta_schedule" not in found):
        return "flow"
    if {"snr", "sigma_max"} <= set(found):
        return "exploding"
    return "preconditioned" if {"sigma_data", "prediction_type"} <= set(found) else "table"


def _called(config: Mapping[str, Any]) -> str:
    return str(config.get("_class_name") or "the scheduler")


def table_of(found: Mapping[str, Any]) -> Tabulated:
    """Table of a configuration in force, whether or not the process runs on it.

    Parameters
    ----------
    found : mapping
        From :func:`~diffnum.models.loading.understood.in_force`.

    Raises
    ------
    ValueError
        If its betas, or the shift of its SNR, make no table.
    """
    betas, zero = _betas(found), bool(found.get("rescale_betas_zero_snr"))
    scale = found.get("snr_shift_scale")
    if scale is None:
        return Tabulated.from_betas(zero_terminal_betas(betas) if zero else betas)
    if not (isinstance(scale, int | float) and 0.0 < scale < math.inf):
        msg = f"snr_shift_scale={scale!r} of {_called(found)}: pass a positive number, 1 for no shift"
        raise ValueError(msg)
    products = np.asarray(np.cumprod(1.0 - betas), dtype=np.float64)
    products = products / (scale + (1.0 - scale) * products)  # the SNR divided by the scale, at every label
    return Tabulated(tuple((zero_terminal_products(products) if zero else products).tolist()))


def _betas(config: Mapping[str, Any]) -> FloatArray:
    if config.get("trained_betas") is not None:
        return np.asarray(config["trained_betas"], dtype=np.float64)
    name = str(config.get("beta_schedule"))
    if name not in BETA_SCHEDULES or "num_train_timesteps" not in config:
        msg = (
            f"beta_schedule={name!r} with num_train_timesteps={config.get('num_train_timesteps')!r} of "
            f"{_called(config)} is no table that diffnum knows ({', '.join(BETA_SCHEDULES)}): pass "
            "schedule=diffnum.schedules.Tabulated(alphas_cumprod)"
        )
        raise ValueError(msg)
    ends = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
    try:
        return BETA_SCHEDULES[name](int(config["num_train_timesteps"]), *ends)
    except ValueError as error:
        msg = (
            f"beta_start={ends[0]:g}, beta_end={ends[1]:g}, num_train_timesteps={config['num_train_timesteps']!r} "
            f"of {_called(config)} make no table ({error})"
        )
        raise ValueError(msg) from error


def _flow_shift(config: Mapping[str, Any], tokens: int | None) -> float:
    """Configured shift; with dynamic shifting the exponential of a line in the number of tokens."""
    if not config.get("use_dynamic_shifting"):
        return float(config.get("shift") or config.get("flow_shift") or 1.0)
    if config.get("time_shift_type", "exponential") not in ("exponential", "linear"):
        msg = f"time_shift_type={config['time_shift_type']!r} is unknown: pass shift="
        raise ValueError(msg)
    if tokens is None:
        msg = "the scheduler shifts its times by the size of the image: pass shift="
        raise ValueError(msg)
    low, high, base, top = (float(config.get(name, value)) for name, value in _SEQUENCE.items())
    level = base + (top - base) * (tokens - low) / (high - low)
    return math.exp(level) if config.get("time_shift_type", "exponential") == "exponential" else level

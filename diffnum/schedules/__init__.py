r"""Noise schedules: ``alpha(t)``, ``sigma(t)``, the half-log-SNR and its inverse, numeric and symbolic.

Every schedule is a frozen dataclass that satisfies :class:`diffnum.types.Schedule`. Its methods take a Python
float (and return one), a numpy array, or any other array that array-api-compat understands (shape, dtype and
device are kept; integer arrays become float64). No formula subtracts nearly equal numbers: both ends of each
schedule are accurate to rounding.

Domain: ``t_min`` (data) to ``t_max`` (noise). ``t_min`` may have ``sigma = 0`` (``half_log_snr = +inf``), and
``t_max`` may have ``alpha = 0`` (``-inf``); ``default_t_start`` and ``default_t_end`` are finite. Where the signal
is never scaled (VE, EDM, Brownian) the formulas go on beyond ``t_max``, since churn asks for more noise than a
run begins with; grids keep to ``t_max``. Every function of a schedule raises ``ValueError``, which names argument,
value and domain, for a time outside, and for a half-log-SNR whose time is outside; what lies outside by rounding
(1e-9 of the longer end, 8 units in the last place of a coarser dtype) is taken for the end. Tensors on an
accelerator, and inside ``vmap`` or ``jit``, are not looked at, which would wait for the device: there the result
is NaN. :func:`check_time` is the guard of grids, without a margin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import Any

from diffnum.schedules.flow_matching import FlowMatching
from diffnum.schedules.mean_reverting import MeanReverting
from diffnum.schedules.tabulated import Tabulated, cosine_betas, linear_betas, scaled_linear_betas
from diffnum.schedules.tools import SymbolicSchedule, check_time, nearest_time
from diffnum.schedules.variance_exploding import EDM, VE, Brownian
from diffnum.schedules.variance_preserving import SubVP, VPCosine, VPFitted, VPLinear
from diffnum.types import Schedule

__all__ = [
    "EDM",
    "SCHEDULES",
    "VE",
    "Brownian",
    "FlowMatching",
    "MeanReverting",
    "SubVP",
    "SymbolicSchedule",
    "Tabulated",
    "VPCosine",
    "VPFitted",
    "VPLinear",
    "check_time",
    "cosine_betas",
    "from_dict",
    "linear_betas",
    "nearest_time",
    "scaled_linear_betas",
]


SCHEDULES: Mapping[str, type] = MappingProxyType(
    {
        kind.name: kind
        for kind in (VPLinear, VPFitted, VPCosine, SubVP, VE, EDM, Brownian, FlowMatching, MeanReverting, Tabulated)
    }
)
"""Registered name to class."""


def required_of(name: str) -> tuple[str, ...]:
    """Arguments without which a registered schedule cannot be made."""
    taken = (f for f in fields(SCHEDULES[name]) if f.init)
    return tuple(f.name for f in taken if f.default is MISSING and f.default_factory is MISSING)


def from_dict(record: Mapping[str, Any]) -> Schedule:
    """Rebuild a schedule from what its ``to_dict`` gave.

    Parameters
    ----------
    record : mapping
        Registered name under ``"schedule"``, constructor arguments under their own names.

    Returns
    -------
    Schedule
        Equal to the one that was recorded.

    Raises
    ------
    ValueError
        If the name is not registered, or an argument does not belong to that schedule.
    """
    if not isinstance(record, Mapping):
        msg = f"record={record!r} is no mapping: pass what to_dict gave, such as {{'schedule': 'vp-linear'}}"
        raise TypeError(msg)
    arguments = dict(record)
    name = arguments.pop("schedule", None)
    if name not in SCHEDULES:
        msg = f"record['schedule'] = {name!r} is not a schedule; choose one of {', '.join(SCHEDULES)}"
        raise ValueError(msg)
    known = [entry.name for entry in fields(SCHEDULES[name]) if entry.init]
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        msg = f"record has {', '.join(unknown)}, which {name!r} does not take; keep to {', '.join(known)}"
        raise ValueError(msg)
    missing = [name for name in required_of(name) if name not in arguments]
    if missing:
        msg = f"record lacks {', '.join(missing)}, without which {name!r} is no schedule; take what its to_dict gave"
        raise ValueError(msg)
    schedule: Schedule = SCHEDULES[name](**arguments)
    return schedule

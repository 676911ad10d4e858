"""Keywords of k-diffusion's samplers: what each of its functions understands, as a method and the numbers of a plan.

A keyword of k-diffusion chooses another member of a family, or numbers for each step. Which function understands which
is listed in :data:`KEYWORDS`; the rest is refused by the name of the function that was called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.coefficients.splitting import churn
from diffnum.plans import Plan
from diffnum.types import FloatArray

__all__ = ["KEYWORDS", "at_the_end", "churned_at_the_end", "understood"]


@dataclass(frozen=True)
class _Keywords:
    """Keywords of one function of k-diffusion, and what they make of its record.

    Parameters
    ----------
    names : tuple of str
        Keywords.
    chosen : callable
        ``chosen(options, levels)`` returns a name of the catalogue and the parameters of the plan.
    """

    names: tuple[str, ...]
    chosen: Callable[[Mapping[str, Any], FloatArray], tuple[str, dict[str, Any]]]


def _written(value: float) -> str:
    """Number as names of the catalogue have it."""
    return np.format_float_positional(value, trim="-")


def _number(options: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        msg = f"{name}={value!r}: use a number from {low:g} to {high:g}"
        raise ValueError(msg)
    return float(value)


def _scaled(stem: str) -> Callable[[Mapping[str, Any], FloatArray], tuple[str, dict[str, Any]]]:
    """Ancestral methods, whose eta scales the standard deviation."""

    def chosen(options: Mapping[str, Any], levels: FloatArray) -> tuple[str, dict[str, Any]]:  # noqa: ARG001
        return f"{stem}{_written(_number(options, 'eta', 1.0, 0.0, 1.0))}", {}

    return chosen


def _staged(options: Mapping[str, Any], levels: FloatArray) -> tuple[str, dict[str, Any]]:  # noqa: ARG001
    """DPM-Solver++ (stochastic), whose r is the inner node."""
    eta, r = _number(options, "eta", 1.0, 0.0, 1.0), _number(options, "r", 0.5, 0.0, 1.0)
    if r == 0.0:
        msg = "r=0.0: the inner node is a fraction of the step, use a number above 0, up to 1"
        raise ValueError(msg)
    return f"dpmpp_sde{'' if r == 0.5 else f'_r{_written(r)}'}_eta{_written(eta)}", {}


def _reverse(options: Mapping[str, Any], levels: FloatArray, stem: str) -> tuple[str, dict[str, Any]]:  # noqa: ARG001
    """Methods of the reverse equation, whose eta is tau squared."""
    eta = _number(options, "eta", 1.0, 0.0, 100.0)
    kind = options.get("solver_type")
    if kind not in (None, "midpoint", "heun"):
        msg = f"solver_type={kind!r}: use 'midpoint' or 'heun'"
        raise ValueError(msg)
    if kind is not None:
        stem = "sde_dpmpp_2m" if kind == "midpoint" else "sde_dpmpp_2m_heun"
    return f"{stem}_tau{_written(math.sqrt(eta))}", {}


def _churned(stem: str) -> Callable[[Mapping[str, Any], FloatArray], tuple[str, dict[str, Any]]]:
    """EDM's churn: a number for each step."""

    def chosen(options: Mapping[str, Any], levels: FloatArray) -> tuple[str, dict[str, Any]]:
        amount = _number(options, "s_churn", 0.0, 0.0, math.inf)
        low, high = (_number(options, n, d, 0.0, math.inf) for n, d in (("s_tmin", 0.0), ("s_tmax", math.inf)))
        if low > high:
            msg = f"s_tmin={low}, s_tmax={high}: noise is added between the two, give the smaller one first"
            raise ValueError(msg)
        rises = churn(levels[:-1], amount, low, high, steps=len(levels) - 1)
        if not rises.any():
            return "", {}
        return f"{stem}_given", {"churn": rises}

    return chosen


def _lms(options: Mapping[str, Any], levels: FloatArray) -> tuple[str, dict[str, Any]]:  # noqa: ARG001
    order = options.get("order", 4)
    if isinstance(order, bool) or not isinstance(order, int) or not 1 <= order <= 8:
        msg = f"order={order!r}: use a whole number from 1 to 8"
        raise ValueError(msg)
    return f"lms_{order}", {}


def _reversed(stem: str) -> Callable[[Mapping[str, Any], FloatArray], tuple[str, dict[str, Any]]]:
    return lambda options, levels: _reverse(options, levels, stem)


_CHURN = ("s_churn", "s_tmin", "s_tmax")

KEYWORDS: Final[Mapping[str, _Keywords]] = MappingProxyType(
    {
        "ddim": _Keywords(_CHURN, _churned("edm_euler_churn")),
        "rho_rk_euler": _Keywords(_CHURN, _churned("edm_euler_churn")),
        "edm_heun": _Keywords(_CHURN, _churned("edm_heun_churn")),
        "dpm_solver_2": _Keywords(_CHURN, _churned("dpm_2_churn")),
        "ddpm": _Keywords(("eta",), _scaled("ddim_eta")),
        "dpm_2_ancestral": _Keywords(("eta",), _scaled("dpm_2_ancestral_eta")),
        "dpmpp_2s_ancestral": _Keywords(("eta",), _scaled("dpmpp_2s_ancestral_eta")),
        "dpmpp_sde": _Keywords(("eta", "r"), _staged),
        "sde_dpmpp_2m": _Keywords(("eta", "solver_type"), _reversed("sde_dpmpp_2m")),
        "sde_dpmpp_2m_heun": _Keywords(("eta", "solver_type"), _reversed("sde_dpmpp_2m_heun")),
        "sde_dpmpp_3m": _Keywords(("eta",), _reversed("sde_dpmpp_3m")),
        "sde_dpmpp_3m_corrected": _Keywords(("eta",), _reversed("sde_dpmpp_3m_corrected")),
        "lms_4": _Keywords(("order",), _lms),
    }
)
"""Record -> keywords of the functions of k-diffusion that compute it."""


def understood(
    record: Method, function: str, options: Mapping[str, Any], levels: FloatArray, *, flow: bool
) -> tuple[Method, dict[str, Any]]:
    """Record and parameters that the keywords of a call mean.

    Parameters
    ----------
    record : Method
        The method of the function.
    function : str
        Its name, for complaints.
    options : mapping
        Keywords of the call that are not those of every function.
    levels : ndarray
        Noise levels of the call.
    flow : bool
        Whether the levels are times of a flow.

    Raises
    ------
    TypeError
        If a keyword is not understood; those that are, and where it is understood, are named.
    ValueError
        If its value is out of range.
    """
    if not options:
        return record, {}
    known = KEYWORDS.get(record.name)
    unknown = [name for name in options if known is None or name not in known.names]
    if unknown:
        others = [f"sample_{name.replace('.', '_')}" for name, each in KEYWORDS.items() if unknown[0] in each.names]
        here = f"it takes {', '.join(known.names)}" if known else "it has none of its own"
        there = f"; {unknown[0]} belongs to {', '.join(others)}" if others else ""
        called = record.aliases.get("k-diffusion", "").partition("(")[0]
        asked = f"{function} ({called})" if called and called != function else function
        msg = (
            f"{asked} got the keyword {unknown[0]}={options[unknown[0]]!r}, which it does not understand: {here}{there}"
        )
        raise TypeError(msg)
    if known is None:
        return record, {}
    if flow and "s_churn" in known.names and options.get("s_churn"):
        msg = (
            f"s_churn={options['s_churn']}: churn raises sigma/alpha, and the levels of a flow are times; leave it out"
        )
        raise ValueError(msg)
    name, parameters = known.chosen(options, levels)
    return (find_method(name) if name else record), parameters


def at_the_end(parameters: Mapping[str, Any], levels: FloatArray) -> tuple[dict[str, Any], float]:
    """Parameters of the intervals before a last one to sigma = 0, and the churn of that one.

    Parameters
    ----------
    parameters : mapping
        Numbers a step, as :func:`understood` returns them.
    levels : ndarray
        Noise levels of the call.
    """
    if "churn" not in parameters or levels[-1] > 0.0:
        return dict(parameters), 0.0
    *inside, last = parameters["churn"]
    return {**parameters, "churn": np.array(inside)}, float(last)


def churned_at_the_end(numbers: Plan, rise: float) -> Plan:
    """Plan that raises sigma before its last evaluation, which is the result, as k-diffusion does with churn there.

    Parameters
    ----------
    numbers : Plan
        Of variance exploding states, whose last step is the data prediction.
    rise : float
        Relative increase of sigma.
    """
    if rise == 0.0:
        return numbers
    last = numbers.steps[-1]
    level = float(last.stage_sigma[0])
    raised = np.array([level * (1.0 + rise)])
    step = replace(
        last,
        noises=("z1",),
        stage_t=raised,
        stage_sigma=raised,
        stage_noise=np.array([[level * math.sqrt(rise * (2.0 + rise))]]),
        noise=np.zeros((len(last.outputs), 1)),
    )
    return replace(numbers, steps=(*numbers.steps[:-1], step))

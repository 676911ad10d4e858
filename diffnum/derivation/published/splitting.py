"""Split steps as their authors ship them, with the variance of their noise; alpha = 1, sigma = 1 at the start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.algebra.reverse import ReverseSymbols
from diffnum.derivation.printing.notation import KDIFFUSION, NOISE, Published, Rows

__all__ = ["PUBLISHED"]

HALF = Fraction(1, 2)


def _ancestral(s: ReverseSymbols) -> tuple[Any, Any, Any]:
    """get_ancestral_step for sigma_from = 1: (sigma_to, sigma_down, sigma_up^2)."""
    to = s.power(1, 0)
    eta_squared = s["eta"] * s["eta"]
    up_squared = eta_squared * to**2 * (1 - to**2)
    return to, s.square_root(to**2 - up_squared), up_squared


def _euler_ancestral(s: ReverseSymbols, order: int) -> Rows:  # noqa: ARG001
    """X + (x - D)/sigma (sigma_down - sigma)."""
    to, down, up = _ancestral(s)
    return {"x": {"x": down / to, "k1": 1 - down, NOISE: up / to**2}}


def _dpm_2_ancestral(s: ReverseSymbols, order: int) -> Rows:  # noqa: ARG001
    to, down, up = _ancestral(s)
    mid = s.square_root(down)
    slope = (down - 1) / mid  # of x_2 - D_2
    return {
        "k2": {"x": 1, "k1": 1 - mid},
        "x": {"x": (1 + slope * mid) / to, "k1": slope * (1 - mid), "k2": -slope, NOISE: up / to**2},
    }


def _dpmpp_2s_ancestral(s: ReverseSymbols, order: int) -> Rows:  # noqa: ARG001
    to, down, up = _ancestral(s)
    mid = s.square_root(down)
    return {"k2": {"x": 1, "k1": 1 - mid}, "x": {"x": down / to, "k2": 1 - down, NOISE: up / to**2}}


def _dpmpp_sde(s: ReverseSymbols, order: int, nodes: tuple[Fraction, ...]) -> Rows:  # noqa: ARG001
    """Eta = 1; sigma_t = 1: sd^2 + su^2 = sigma_s^2 with sd = sigma_s^2; fac = 1/(2 r)."""
    mid, to, fac = s.power(nodes[0], 0), s.power(1, 0), 1 / (2 * nodes[0])
    early, total = 1 - mid * mid, 1 - to * to
    mean = {"x": to, "k1": (1 - fac) * total, "k2": fac * total}
    return {
        "k2": {"x": mid, "k1": early, NOISE: early},
        "x": {k: w for k, w in mean.items() if w != 0} | {NOISE: total},
    }


def _churned(s: ReverseSymbols, order: int, *, end: Callable[[Any, Any], Rows]) -> Rows:  # noqa: ARG001
    """x_hat = x + sqrt(sigma_hat^2 - 1) z, then a step in sigma from sigma_hat to sigma_1; sigma = 1 at the start."""
    hat, to = s.power(0, -1), s.power(1, 0)
    noise = 1 - 1 / hat**2  # in units of sigma_hat^2, and of sigma^2 later on, as all rows scale with sigma
    return {
        name: {source: w / hat if source == "x" else w for source, w in row.items()} | {NOISE: noise}
        for name, row in ({"k1": {"x": s.constant(1)}} | end(to / hat, s)).items()
    }


def _churned_euler(e: Any, s: Any) -> Rows:  # noqa: ARG001
    return {"x": {"x": 1, "k1": 1 - e}}


def _churned_heun(e: Any, s: Any) -> Rows:  # noqa: ARG001
    # x + (e - 1)(d + d')/2, d = x - D, d' = (x_2 - D_2)/e, x_2 = e x + (1 - e) D, over e for the ratio of scales
    half = (e - 1) / 2
    return {
        "k2": {"x": 1, "k1": 1 - e},
        "x": {"x": (1 + 2 * half) / e, "k1": -half + half * (1 - e) / e, "k2": -half / e},
    }


def _churned_dpm_2(e: Any, s: Any) -> Rows:
    mid = s.square_root(e)
    slope = (e - 1) / mid
    return {"k2": {"x": 1, "k1": 1 - mid}, "x": {"x": (1 + slope * mid) / e, "k1": slope * (1 - mid), "k2": -slope}}


def _by_code(function: str, orders: tuple[int, int], rows: Callable[..., Rows]) -> tuple[Published, ...]:
    return (Published(f"{KDIFFUSION}{function}", (-1,), orders, rows),)


PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "ddim_eta": _by_code("sample_euler_ancestral", (1, 1), _euler_ancestral),
        "dpm_2_ancestral": _by_code("sample_dpm_2_ancestral", (2, 2), _dpm_2_ancestral),
        "dpmpp_2s_ancestral": _by_code("sample_dpmpp_2s_ancestral", (2, 2), _dpmpp_2s_ancestral),
        "dpmpp_sde": _by_code("sample_dpmpp_sde, eta = 1", (2, 2), _dpmpp_sde),
        "edm_euler_churn": _by_code("sample_euler, s_churn", (1, 1), partial(_churned, end=_churned_euler)),
        "edm_heun_churn": (
            Published("Karras et al. 2022, algorithm 2", (-1,), (2, 2), partial(_churned, end=_churned_heun)),
        ),
        "dpm_2_churn": _by_code("sample_dpm_2, s_churn", (2, 2), partial(_churned, end=_churned_dpm_2)),
    }
)
"""Family -> formulas."""

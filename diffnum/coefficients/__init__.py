"""Verified coefficient functions: plain mathematics, importable without sympy and torch.

Each is loaded with the module of its family when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffnum.coefficients.adams import (
        adams_bashforth,
        ddim,
        dpmpp_2m,
        dpmpp_3m,
        dpmpp_3m_corrected,
        exponential_adams,
    )
    from diffnum.coefficients.constant_steps import abm, adams_moulton_constant, ipndm_v, plms
    from diffnum.coefficients.exponential_runge_kutta import etd_rk3, hochbruck_ostermann_4, krogstad_4, res_3s
    from diffnum.coefficients.few_steps import cab, epd, rx_euler, stork_2
    from diffnum.coefficients.flow import pseudo_corrector
    from diffnum.coefficients.flow_sde import flow_step, noise_window
    from diffnum.coefficients.momentum import ghvb, ghvb_variable
    from diffnum.coefficients.predictor_corrector import unic, unic_vary, unip, unipc
    from diffnum.coefficients.runge_kutta import dpm_solver_2, dpm_solver_3, etd_rk4, heun, runge_kutta_weights
    from diffnum.coefficients.splitting import churn, dpmpp_sde
    from diffnum.coefficients.stochastic import (
        ddim_eta,
        noise_variance,
        reverse_kernel,
        sde_dpm_1,
        sde_dpmpp_1,
        stochastic_adams,
    )
    from diffnum.coefficients.tableaux import TABLEAUX, ButcherTableau

_HOMES = {
    name: family
    for family, names in {
        "adams": "adams_bashforth ddim dpmpp_2m dpmpp_3m dpmpp_3m_corrected exponential_adams",
        "constant_steps": "abm adams_moulton_constant ipndm_v plms",
        "exponential_runge_kutta": "etd_rk3 hochbruck_ostermann_4 krogstad_4 res_3s",
        "few_steps": "cab epd rx_euler stork_2",
        "flow": "pseudo_corrector",
        "flow_sde": "flow_step noise_window",
        "momentum": "ghvb ghvb_variable",
        "predictor_corrector": "unic unic_vary unip unipc",
        "runge_kutta": "dpm_solver_2 dpm_solver_3 etd_rk4 heun runge_kutta_weights",
        "splitting": "churn dpmpp_sde",
        "stochastic": "ddim_eta noise_variance reverse_kernel sde_dpm_1 sde_dpmpp_1 stochastic_adams",
        "tableaux": "ButcherTableau TABLEAUX",
    }.items()
    for name in names.split()
}
"""Name -> module of its family."""

__all__ = [
    "TABLEAUX",
    "ButcherTableau",
    "abm",
    "adams_bashforth",
    "adams_moulton_constant",
    "cab",
    "churn",
    "ddim",
    "ddim_eta",
    "dpm_solver_2",
    "dpm_solver_3",
    "dpmpp_2m",
    "dpmpp_3m",
    "dpmpp_3m_corrected",
    "dpmpp_sde",
    "epd",
    "etd_rk3",
    "etd_rk4",
    "exponential_adams",
    "flow_step",
    "ghvb",
    "ghvb_variable",
    "heun",
    "hochbruck_ostermann_4",
    "ipndm_v",
    "krogstad_4",
    "noise_variance",
    "noise_window",
    "plms",
    "pseudo_corrector",
    "res_3s",
    "reverse_kernel",
    "runge_kutta_weights",
    "rx_euler",
    "sde_dpm_1",
    "sde_dpmpp_1",
    "stochastic_adams",
    "stork_2",
    "unic",
    "unic_vary",
    "unip",
    "unipc",
]


def __getattr__(name: str) -> Any:
    """Load a public name, or the module of a family, when it is first used."""
    if name in _HOMES.values():
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}: use one of {', '.join(__all__)}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names."""
    return sorted(__all__)

"""Verified coefficient functions: plain mathematics, importable without sympy and torch."""

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
from diffnum.coefficients.flow import pseudo_corrector
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

__all__ = [
    "TABLEAUX",
    "ButcherTableau",
    "abm",
    "adams_bashforth",
    "adams_moulton_constant",
    "churn",
    "ddim",
    "ddim_eta",
    "dpm_solver_2",
    "dpm_solver_3",
    "dpmpp_2m",
    "dpmpp_3m",
    "dpmpp_3m_corrected",
    "dpmpp_sde",
    "etd_rk3",
    "etd_rk4",
    "exponential_adams",
    "ghvb",
    "ghvb_variable",
    "heun",
    "hochbruck_ostermann_4",
    "ipndm_v",
    "krogstad_4",
    "noise_variance",
    "plms",
    "pseudo_corrector",
    "res_3s",
    "reverse_kernel",
    "runge_kutta_weights",
    "sde_dpm_1",
    "sde_dpmpp_1",
    "stochastic_adams",
    "unic",
    "unic_vary",
    "unip",
    "unipc",
]

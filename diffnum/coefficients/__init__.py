"""Verified coefficient functions: plain mathematics, importable without sympy and torch."""

from diffnum.coefficients.adams import (
    adams_bashforth,
    ddim,
    dpmpp_2m,
    dpmpp_3m,
    dpmpp_3m_corrected,
    exponential_adams,
)
from diffnum.coefficients.momentum import ghvb
from diffnum.coefficients.predictor_corrector import unic, unip, unipc
from diffnum.coefficients.runge_kutta import dpm_solver_2, dpm_solver_3, etd_rk4, heun

__all__ = [
    "adams_bashforth",
    "ddim",
    "dpm_solver_2",
    "dpm_solver_3",
    "dpmpp_2m",
    "dpmpp_3m",
    "dpmpp_3m_corrected",
    "etd_rk4",
    "exponential_adams",
    "ghvb",
    "heun",
    "unic",
    "unip",
    "unipc",
]

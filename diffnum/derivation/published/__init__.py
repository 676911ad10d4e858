r"""Formulas exactly as their authors print or ship them, in their own notation.

Each function returns the weights of the gain (``alpha_t`` for data, ``-sigma_t`` for noise prediction) in the rows of
a step. The papers write h for the step in half-log-SNR and r_0, r_1, ... > 0 for ratios of earlier steps to it;
official codes write :math:`\psi_1(z) = e^z - 1`, :math:`\psi_{k+1}(z) = \psi_k(z)/z - 1/k!`, z = -h for data and +h
for noise, and then both predictions have :math:`x_t = A x_s - C \sum_k \psi_{k+1}(z) h^k F^{(k)}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from diffnum.derivation.printing.notation import Published
from diffnum.derivation.published.adams import (
    _ddim,
    _ddim_rho,
    _deis,
    _multistep_2,
    _multistep_2_taylor,
    _multistep_3,
    _multistep_3_corrected,
    _variable_adams,
)
from diffnum.derivation.published.constant_steps import _abm, _ipndm_v, _plms
from diffnum.derivation.published.model_statistics import CALIBRATED
from diffnum.derivation.published.momentum import _MOMENTUM_CODE, _ghvb, _ghvb_variable, _heavy_ball, _mdpm2, _nesterov
from diffnum.derivation.published.predictor_corrector import unip, unipc, unipc_vary
from diffnum.derivation.published.runge_kutta import ONE_STEP

__all__ = ["PUBLISHED", "Published"]

HALF = Fraction(1, 2)


_EVERY = 99
_HNW = "Hairer, Norsett and Wanner I, section III"
_UNIPC_CODE = "wl-zhao/UniPC at cf9de85b, uni_pc.py"
_DPM_CODE = "LuChengTHU/dpm-solver at 52bc3fbc, dpm_solver_pytorch.py"

_PLAIN: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        **ONE_STEP,
        **CALIBRATED,
        "adams": (
            Published("arXiv:2206.00927, algorithm 3; arXiv:2211.01095, order 1", (-1, 1), (1, 1), _ddim),
            Published("arXiv:2010.02502, eq. (13)", (0,), (1, 1), _ddim_rho),
            Published(f"{_DPM_CODE}, multistep_dpm_solver_second_update, taylor", (-1, 1), (2, 2), _multistep_2_taylor),
            Published(f"arXiv:2302.04867; {_UNIPC_CODE}, multistep_uni_pc_bh_update, bh2", (-1, 1), (3, _EVERY), unip),
            Published("Hairer, Norsett and Wanner I, section III.5", (0,), (1, _EVERY), _variable_adams),
            Published(
                "arXiv:2204.13902, tAB-DEIS; qsh-zh/deis at a30709f4, get_ab_eps_coef", (None,), (1, _EVERY), _deis
            ),
        ),
        "dpmpp_2m": (
            Published("arXiv:2211.01095, algorithm 2 (noise: the official code)", (-1, 1), (2, 2), _multistep_2),
            Published("arXiv:2211.01095, algorithm 2, first step", (-1, 1), (1, 1), _ddim),
        ),
        "dpmpp_3m": (Published(f"{_DPM_CODE}, multistep_dpm_solver_third_update", (-1, 1), (1, 3), _multistep_3),),
        "dpmpp_3m_corrected": (
            Published(f"{_DPM_CODE}, third_update with the Taylor factor 2", (-1, 1), (1, 3), _multistep_3_corrected),
        ),
        "unipc": (Published(f"arXiv:2302.04867, theorem 3.1; {_UNIPC_CODE}", (-1, 1), (1, _EVERY), unipc),),
        "ghvb": (Published(f"{_MOMENTUM_CODE}, GHVBScheduler; arXiv:2307.11118", (0,), (1, _EVERY), _ghvb),),
        "ghvb_variable": (
            Published(f"slopes of {_HNW}.5 in the recursion of GHVB", (0,), (1, _EVERY), _ghvb_variable),
        ),
        "mdpm2": (Published(f"{_MOMENTUM_CODE}, dpm_guided, mdpm2", (-1, 1), (2, 2), _mdpm2),),
        "plms": (Published(f"luping-liu/PNDM at e771949c, gen_order_4; {_HNW}.1, table 1.1", (0,), (1, 5), _plms),),
        "ipndm_v": (Published("zju-pi/diff-sampler at 68d5ce42, ipndm_v_sampler", (0,), (1, 4), _ipndm_v),),
        "abm": (Published(f"{_HNW}.1, tables 1.1 and 1.2, and section III.5", (0,), (1, 5), _abm),),
        "unip": (Published(f"arXiv:2302.04867; {_UNIPC_CODE}", (-1, 1), (1, _EVERY), unip),),
        "unipc_pece": (Published("arXiv:2302.04867, theorem 3.1, re-evaluated", (-1, 1), (1, _EVERY), unipc),),
        "unipc_vary": (Published(f"{_UNIPC_CODE}, multistep_uni_pc_vary_update", (-1, 1), (1, _EVERY), unipc_vary),),
    }
)
"""Formulas that stand on their own."""

_ALL_RATES = (-1, 0, 1, None)

PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        **_PLAIN,
        "heavy_ball": (
            Published(f"{_MOMENTUM_CODE}, PLMSWithHBScheduler; arXiv:2307.11118", _ALL_RATES, (1, _EVERY), _heavy_ball),
        ),
        "nesterov": (Published(f"{_MOMENTUM_CODE}, PLMSWithNTScheduler", _ALL_RATES, (1, _EVERY), _nesterov),),
    }
)
"""Formulas by family, in data and in noise prediction where both are printed."""

"""Formulas of the exponential Adams methods, as printed."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import prod
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.printing.notation import ANY_ORDER, DPM_CODE, UNIPC_CODE, Published, Rows
from diffnum.derivation.printing.notation import psi as _psi
from diffnum.derivation.printing.notation import ratios as _steps
from diffnum.derivation.printing.notation import sign as _sign
from diffnum.derivation.published.predictor_corrector import unip

__all__ = ["PUBLISHED"]


def _ddim(symbols: Symbols, order: int) -> Rows:  # noqa: ARG001
    """x_t = A x_s - C psi_1(z) F_s."""
    return {"x": {"k1": _sign(symbols) * _psi(symbols, 1)}}


def _ddim_rho(symbols: Symbols, order: int) -> Rows:  # noqa: ARG001
    """x_t/alpha_t = x_s/alpha_s + (sigma_t/alpha_t - sigma_s/alpha_s) eps."""
    return {"x": {"k1": symbols.h}}


def _multistep_2(symbols: Symbols, order: int) -> Rows:  # noqa: ARG001
    """D = (1 + 1/(2 r)) F_{n-1} - 1/(2 r) F_{n-2};  x_t = A x - C psi_1 D."""
    r = _steps(symbols)[0]
    factor = _sign(symbols) * _psi(symbols, 1)
    return {"x": {"k1": factor * (1 + 1 / (2 * r)), "m1": -factor / (2 * r)}}


def _multistep_2_taylor(symbols: Symbols, order: int) -> Rows:  # noqa: ARG001
    """x_t = A x - C (psi_1 F_{n-1} + psi_2 (F_{n-1} - F_{n-2})/r_0)."""
    r = _steps(symbols)[0]
    first, second = _sign(symbols) * _psi(symbols, 1), _sign(symbols) * _psi(symbols, 2) / r
    return {"x": {"k1": first + second, "m1": -second}}


def _multistep_3(symbols: Symbols, order: int, factor: int = 1, ramp: str = "midpoint") -> Rows:
    """D2 = (D1_0 - D1_1)/(r_0 + r_1) from D1_0 = (F_0 - F_1)/r_0, D1_1 = (F_1 - F_2)/r_1.

    D1 = D1_0 + r_0/(r_0 + r_1) (D1_0 - D1_1);  x_t = A x - C (psi_1 F_0 + psi_2 D1 + psi_3 D2).
    """
    if order == 1:
        return _ddim(symbols, 1)
    if order == 2:
        return _multistep_2_taylor(symbols, 2) if ramp == "taylor" else _multistep_2(symbols, 2)
    r0, r1 = _steps(symbols)
    d10 = (1 / r0, -1 / r0, 0)
    d11 = (0, 1 / r1, -1 / r1)
    d1 = [a + r0 / (r0 + r1) * (a - b) for a, b in zip(d10, d11, strict=True)]
    d2 = [factor * (a - b) / (r0 + r1) for a, b in zip(d10, d11, strict=True)]
    psi = [_sign(symbols) * _psi(symbols, k) for k in (1, 2, 3)]
    weights = [psi[0] * f + psi[1] * a + psi[2] * b for f, a, b in zip((1, 0, 0), d1, d2, strict=True)]
    return {"x": dict(zip(("k1", "m1", "m2"), weights, strict=True))}


def _multistep_3_corrected(symbols: Symbols, order: int) -> Rows:
    """As :func:`_multistep_3` with D2 = 2 (D1_0 - D1_1)/(r_0 + r_1), as in the singlestep Taylor formula."""
    return _multistep_3(symbols, order, factor=2)


def _recursive_g(times: list[Any], count: int) -> list[Any]:
    """Return g_0, g_1, ... from c_{0,q} = 1/q, c_{1,q} = 1/(q(q+1)); times t_{n+1}, t_n, t_{n-1}, ... in steps.

    c_{j,q} = c_{j-1,q} - c_{j-1,q+1} h/(t_{n+1} - t_{n-j+1});  g_j = c_{j,1}.
    """
    c: list[list[Any]] = [
        [Fraction(1, q) for q in range(1, count + 2)],
        [Fraction(1, q * (q + 1)) for q in range(1, count + 1)],
    ]
    for j in range(2, count):
        above = c[-1]
        c.append([above[q] - above[q + 1] / (times[0] - times[j]) for q in range(len(above) - 1)])
    return [row[0] for row in c[:count]]


def explicit_adams(times: list[Any], order: int) -> list[Any]:
    r"""Weights of f_n, f_{n-1}, ... in y_{n+1} = y_n + h \sum_j g_j(n) \Phi*_j(n), for h = 1."""
    one, t = times[0], times[1:]
    g = _recursive_g(times, order)
    # Phi_j(n) is the divided difference of order j times prod_{i<j} (t_n - t_{n-1-i}); beta_j carries it over to
    # t_{n+1}
    weights = [one - one for _ in range(order)]
    for j in range(order):
        product = prod((t[0] - t[1 + i] for i in range(j)), start=one)
        beta = prod(((times[0] - t[i]) / (t[0] - t[1 + i]) for i in range(j)), start=one)
        for m in range(j + 1):
            divided = prod((t[m] - t[i] for i in range(j + 1) if i != m), start=one)
            weights[m] = weights[m] + g[j] * beta * product / divided
    return weights


def implicit_adams(times: list[Any], order: int) -> list[Any]:
    r"""Weights of f_{n+1}, f_n, ... in y_{n+1} = p_{n+1} + h g_k(n) \Phi_k(n+1), k = order - 1, for h = 1."""
    one, k = times[0], order - 1
    g = _recursive_g(times, order)[k]
    nodes = times[: k + 1]
    product = prod((nodes[0] - u for u in nodes[1:]), start=one)
    differences = [prod((u - v for v in nodes if v is not u), start=one) for u in nodes]
    weights = [g * product / difference for difference in differences]
    old = [a + b for a, b in zip(weights[1:], explicit_adams(times, k), strict=True)]
    return [weights[0], *old]


def step_times(symbols: Symbols) -> list[Any]:
    """t_{n+1}, t_n, t_{n-1}, ... in steps from t_n."""
    return [symbols.constant(1), symbols.constant(0), *symbols.past]


def vector_names(order: int, newest: str = "k1") -> list[str]:
    return [newest, *(f"m{j}" for j in range(1, order))]


def _variable_adams(symbols: Symbols, order: int) -> Rows:
    """Adams-Bashforth on arbitrary nodes."""
    weights = [symbols.h * w for w in explicit_adams(step_times(symbols), order)]
    return {"x": dict(zip(vector_names(order), weights, strict=True))}


def _deis(symbols: Symbols, order: int) -> Rows:
    """C_ij = integral of the kernel times prod_{k != j} (tau - t_{i-k})/(t_{i-j} - t_{i-k}), expanded literally."""
    nodes = (symbols.constant(0), *symbols.past)
    weights = {}
    for j, name in enumerate(("k1", *(f"m{i}" for i in range(1, order)))):
        integrand = {0: symbols.constant(1)}
        for k, node in enumerate(nodes):
            if k != j:
                gap = nodes[j] - node
                product: dict[int, Any] = {}
                for power, factor in integrand.items():
                    product[power + 1] = product.get(power + 1, 0) + factor / gap
                    product[power] = product.get(power, 0) - factor * node / gap
                integrand = product
        weights[name] = sum(
            (factor * symbols[f"M_{power}"] for power, factor in integrand.items()), symbols.constant(0)
        )
    return {"x": weights}


PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "adams": (
            Published("arXiv:2206.00927, algorithm 3; arXiv:2211.01095, order 1", (-1, 1), (1, 1), _ddim),
            Published("arXiv:2010.02502, eq. (13)", (0,), (1, 1), _ddim_rho),
            Published(f"{DPM_CODE}, multistep_dpm_solver_second_update, taylor", (-1, 1), (2, 2), _multistep_2_taylor),
            Published(
                f"arXiv:2302.04867; {UNIPC_CODE}, multistep_uni_pc_bh_update, bh2", (-1, 1), (3, ANY_ORDER), unip
            ),
            Published("Hairer, Norsett and Wanner I, section III.5", (0,), (1, ANY_ORDER), _variable_adams),
            Published(
                "arXiv:2204.13902, tAB-DEIS; qsh-zh/deis at a30709f4, get_ab_eps_coef", (None,), (1, ANY_ORDER), _deis
            ),
        ),
        "dpmpp_2m": (
            Published("arXiv:2211.01095, algorithm 2 (noise: the official code)", (-1, 1), (2, 2), _multistep_2),
            Published("arXiv:2211.01095, algorithm 2, first step", (-1, 1), (1, 1), _ddim),
        ),
        "dpmpp_3m": (Published(f"{DPM_CODE}, multistep_dpm_solver_third_update", (-1, 1), (1, 3), _multistep_3),),
        "dpmpp_3m_corrected": (
            Published(f"{DPM_CODE}, third_update with the Taylor factor 2", (-1, 1), (1, 3), _multistep_3_corrected),
        ),
    }
)
"""Family -> formulas, in data and in noise prediction where both are printed."""

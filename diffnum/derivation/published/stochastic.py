r"""Formulas on the reverse equation as their authors print or ship them, with the variance of their noise.

Written for alpha = 1 where the code is (sigma alone then says everything); ``power(a, b)`` is
:math:`e^{-(a + b\eta^2) h}`. Rows hold the weights of the state relative to the ratio of scales, of the evaluations in
units of the gain, and under :data:`~diffnum.derivation.printing.notation.NOISE` the variance of the noise in units of
sigma^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from math import factorial
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.algebra.reverse import ReverseSymbols
from diffnum.derivation.printing.notation import ANY_ORDER, KDIFFUSION, NOISE, Published, Rows, ratios

__all__ = ["PUBLISHED"]

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


def _both(s: ReverseSymbols) -> Any:
    """1 + tau^2, k-diffusion's 1 + eta."""
    return 1 + s["tau"] * s["tau"]


def _euler(s: ReverseSymbols, order: int) -> Rows:  # noqa: ARG001
    """X exp(-eta h) + (1 - exp(-h - eta h)) D; noise sigma sqrt(1 - exp(-2 eta h))."""
    return {"x": {"x": s.power(0, 1), "k1": 1 - s.power(1, 1), NOISE: 1 - s.power(0, 2)}}


def _precise(s: ReverseSymbols, order: int) -> Rows:  # noqa: ARG001
    """Original (1 - next) + noise sqrt(next^2 - std^2); std = next sqrt(1 - ratio^(eta^2)), with eta^2 = 2 tau^2.

    ratio = next (1 - sigma)/(sigma (1 - next)) is exp(-h), and noise = (sample - (1 - sigma) original)/sigma.
    """
    variance = 1 - s.power(0, 2)
    root = s.square_root(1 - variance)
    return {"x": {"x": root, "k1": 1 - root * s.power(1, 0), NOISE: variance}}


def _2m(s: ReverseSymbols, order: int, *, heun: bool) -> Rows:
    rows = _euler(s, order)
    r, total = ratios(s)[0], 1 - s.power(1, 1)
    factor = total / (-_both(s) * s.h) + 1 if heun else HALF * total
    rows["x"] |= {"k1": rows["x"]["k1"] + factor / r, "m1": -factor / r}
    return rows


def _3m(s: ReverseSymbols, order: int, *, second: int, ramp: str = "taylor") -> Rows:  # noqa: ARG001
    rows = _euler(s, order)
    r0, r1 = ratios(s)
    h_eta = _both(s) * s.h
    phi_2 = (s.power(1, 1) - 1) / h_eta + 1
    phi_3 = phi_2 / h_eta - HALF
    d10, d11 = (1 / r0, -1 / r0, 0 * r0), (0 * r1, 1 / r1, -1 / r1)
    for i, name in enumerate(("k1", "m1", "m2")):
        d1 = d10[i] + (d10[i] - d11[i]) * r0 / (r0 + r1)
        d2 = second * (d10[i] - d11[i]) / (r0 + r1)
        rows["x"][name] = rows["x"].get(name, 0) + phi_2 * d1 - phi_3 * d2
    return rows


def _trapezoid(s: ReverseSymbols, order: int) -> Rows:  # noqa: ARG001
    """u_1 = e^{-H} u + (1 - phi-weighted): predictor H phi_1, corrector H (phi_1 - phi_2), H phi_2 at z = -H."""
    H = _both(s) * s.h
    first = 1 - s.power(1, 1)
    second = 1 - first / H  # H phi_2(-H)
    shared = {"x": s.power(0, 1), NOISE: 1 - s.power(0, 2)}
    return {"k2": shared | {"k1": first}, "x": shared | {"k1": first - second, "k2": second}}


def _noise_1(s: ReverseSymbols, order: int) -> Rows:  # noqa: ARG001
    """Alpha ratio x - (1 + tau^2) sigma (e^h - 1) eps + tau sigma sqrt(e^{2h} - 1) z."""
    tau = s["tau"]
    return {"x": {"x": 1, "k1": _both(s) * (s.power(-1, 0) - 1), NOISE: tau * tau * (s.power(-2, 0) - 1)}}


def _noise_2m(s: ReverseSymbols, order: int) -> Rows:
    rows = _noise_1(s, order)
    half = HALF * rows["x"]["k1"] / ratios(s)[0]
    rows["x"] |= {"k1": rows["x"]["k1"] + half, "m1": -half}
    return rows


def _seeds_2(s: ReverseSymbols, order: int) -> Rows:  # noqa: ARG001
    """SEEDS-2 with c_2 = 1/2: 2 becomes 1 + tau^2, and the noise is tau times theirs."""
    tau, both = s["tau"], _both(s)
    phi_1, phi_12 = s.power(-1, 0) - 1, s.power(-HALF, 0) - 1
    slope = both / 2 * phi_1 / HALF
    return {
        "k2": {"x": 1, "k1": both * phi_12, NOISE: tau * tau * (s.power(-1, 0) - 1)},
        "x": {"x": 1, "k1": both * phi_1 - slope, "k2": slope, NOISE: tau * tau * (s.power(-2, 0) - 1)},
    }


def _seeds_3(s: ReverseSymbols, order: int) -> Rows:  # noqa: ARG001
    """SEEDS-3 with c_2 = 1/3, c_3 = 2/3, type 3a; variances of the noise, which the code gets right but at stage 3."""
    tau, both, h = s["tau"], _both(s), s.h
    phi_1, phi_12, phi_13 = (s.power(-c, 0) - 1 for c in (1, THIRD, 2 * THIRD))
    phi_23, phi_2 = phi_13 / (2 * THIRD * h) - 1, phi_1 / h - 1
    inner = both * 2 * phi_23
    outer = both * Fraction(3, 2) * phi_2
    variance = {n: tau * tau * (s.power(-2 * c, 0) - 1) for n, c in (("k2", THIRD), ("k3", 2 * THIRD), ("x", 1))}
    return {
        "k2": {"x": 1, "k1": both * phi_12, NOISE: variance["k2"]},
        "k3": {"x": 1, "k1": both * phi_13 - inner, "k2": inner, NOISE: variance["k3"]},
        "x": {"x": 1, "k1": both * phi_1 - outer, "k3": outer, NOISE: variance["x"]},
    }


def _power_integral(s: ReverseSymbols, k: int) -> Any:
    r"""SA-Solver's :math:`(1+\eta^2) e^{-(1+\eta^2) h} \int_0^h e^{(1+\eta^2) x} x^k dx` (data), as the code has it."""
    both, end = _both(s), _both(s) * s.h
    at_end = sum(((-1) ** j * Fraction(factorial(k), factorial(k - j)) * end ** (k - j) for j in range(k)), end - end)
    at_end = at_end + (-1) ** k * factorial(k)
    at_start = (-1) ** k * factorial(k)
    return (at_end - at_start * s.power(1, 1)) / both**k


def _power_integral_noise(s: ReverseSymbols, k: int) -> Any:
    r"""SA-Solver's :math:`(1+\eta^2) e^{h} \int_0^h e^{-x} x^k dx` (noise)."""
    at_end = sum((Fraction(factorial(k), factorial(k - j)) * s.h ** (k - j) for j in range(k)), s.h - s.h) + factorial(
        k
    )
    return _both(s) * (factorial(k) * s.power(-1, 0) - at_end)


def _lagrange(s: ReverseSymbols, nodes: list[Any], shortcut: bool) -> list[Any]:
    """Coefficients of the code: expanded Lagrange polynomials in lambda - lambda_n against the closed integrals."""
    integral = _power_integral if s.rate == -1 else _power_integral_noise
    weights = []
    for j, node in enumerate(nodes):
        powers: list[Any] = [s.constant(1)]
        for i, other in enumerate(nodes):
            if i != j:
                scale = node - other
                shifted, kept = [s.constant(0), *powers], [*powers, s.constant(0)]
                powers = [(a - other * b) / scale for a, b in zip(shifted, kept, strict=True)]
        weights.append(sum((p * integral(s, k) for k, p in enumerate(powers)), s.constant(0)))
    if len(nodes) == 2 and shortcut and s.rate == -1:
        both, h = _both(s), s.h
        extra = both * (h**2 / 2 - (h * both - 1 + s.power(1, 1)) / both**2) / (nodes[0] - nodes[1])
        weights = [weights[0] + extra, weights[1] - extra]
    return weights


def _sa_solver(s: ReverseSymbols, order: int, *, predictor: int, corrector: int, exact: bool) -> Rows:  # noqa: ARG001
    """SA-Predictor and SA-Corrector with full history; the corrector has the new node and the latest past ones."""
    past = [u * s.h for u in s.past]
    zero, data, tau = s.constant(0), s.rate == -1, s["tau"]
    shared = {
        "x": s.power(0, 1) if data else s.constant(1),
        NOISE: 1 - s.power(0, 2) if data else tau * tau * (s.power(-2, 0) - 1),
    }
    names = ["m0" if corrector else "k1", *(f"m{j}" for j in range(1, len(past) + 1))]
    first = _lagrange(s, [zero, *past][:predictor], not exact)
    predicted = shared | dict(zip(names, first, strict=False))
    if not corrector:
        return {"x": predicted}
    nodes = [s.h + zero, zero, *past][:corrector]
    second = _lagrange(s, nodes, not exact)
    return {"k1": predicted, "x": shared | dict(zip(["k1", *names], second, strict=False))}


_LU = "Lu et al., arXiv:2211.01095, "
_SEEDS = "nfsrules/SEEDS at b7300bf3, etd_serk.py, "
_DATA, _NOISE = (-1,), (1,)

PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "sde_adams": (
            Published(f"{KDIFFUSION}sample_dpmpp_2m_sde, first step", _DATA, (1, 1), _euler),
            Published("Tencent-Hunyuan/Precise at 9a84f91b, sde_step_with_logprob, precise", _DATA, (1, 1), _precise),
            Published(f"{KDIFFUSION}sample_dpmpp_2m_sde, heun", _DATA, (2, 2), partial(_2m, heun=True)),
            Published(f"{_LU}SDE-DPM-Solver-1, and SA-Solver's noise prediction", _NOISE, (1, 1), _noise_1),
        ),
        "sde_dpmpp_2m": (
            Published(f"{KDIFFUSION}sample_dpmpp_2m_sde, midpoint", _DATA, (2, 2), partial(_2m, heun=False)),
            Published(
                "diffusers 0.42.1, DPMSolverMultistepScheduler, sde-dpmsolver, midpoint", _NOISE, (2, 2), _noise_2m
            ),
        ),
        "sde_dpmpp_3m": (Published(f"{KDIFFUSION}sample_dpmpp_3m_sde", _DATA, (3, 3), partial(_3m, second=1)),),
        "sde_dpmpp_3m_corrected": (
            Published(f"{KDIFFUSION}sample_dpmpp_3m_sde, d2 doubled", _DATA, (3, 3), partial(_3m, second=2)),
        ),
        "sde_trapezoid": (
            Published("Hochbruck and Ostermann 2010, section 2, order 2 with c_2 = 1, on H", _DATA, (2, 2), _trapezoid),
        ),
        "sde_dpm_solver": (
            Published(f"{_SEEDS}second_update, 2a, noise_pred", _NOISE, (2, 2), _seeds_2),
            Published(f"{_SEEDS}third_update, 3a, noise_pred", _NOISE, (3, 3), _seeds_3),
        ),
        "sa_solver": (
            Published(
                "scxue/SA-Solver at 876f3dd8, adams_bashforth_update, and _few_steps unless exact",
                (-1, 1),
                (1, ANY_ORDER),
                _sa_solver,
            ),
        ),
    }
)
"""Family -> formulas."""

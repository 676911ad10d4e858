r"""Stochastic formulas as their authors print or ship them: weights of a step, and the variance of its noise.

Written for alpha = 1 where the code is (sigma alone then says everything); ``e(a, b)`` is :math:`e^{-(a + b\tau^2) h}`.
Rows hold the weights of the state relative to the ratio of scales, and of the evaluations in units of the gain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import factorial
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.algebra.reverse import ReverseSymbols

__all__ = ["PUBLISHED_STOCHASTIC", "PublishedStep"]

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)
KD = "k-diffusion 0.1.1, sampling.py, "

Printed = tuple[dict[str, dict[str, Any]], dict[str, Any]]
"""Rows, and variances of the noise by row in units of sigma^2 there."""


@dataclass(frozen=True)
class PublishedStep:
    """A step as printed.

    Parameters
    ----------
    source : str
        Paper and equation, or repository, commit and function.
    rows : callable
        ``rows(symbols) -> (rows, variances)``.
    """

    source: str
    rows: Callable[[ReverseSymbols], Printed]


def _both(s: ReverseSymbols) -> Any:
    """1 + tau^2, k-diffusion's 1 + eta."""
    return 1 + s["tau"] * s["tau"]


def _ratios(s: ReverseSymbols) -> tuple[Any, ...]:
    """k-diffusion's r: h_last/h, and the step before it over h."""
    u = (s.constant(0), *s.past)
    return tuple(u[i] - u[i + 1] for i in range(len(u) - 1))


def _euler(s: ReverseSymbols) -> Printed:
    """X exp(-eta h) + (1 - exp(-h - eta h)) D; noise sigma sqrt(1 - exp(-2 eta h))."""
    return {"x": {"x": s.power(0, 1), "k1": 1 - s.power(1, 1)}}, {"x": 1 - s.power(0, 2)}


def _2m(s: ReverseSymbols, heun: bool) -> Printed:
    rows, noise = _euler(s)
    r, total = _ratios(s)[0], 1 - s.power(1, 1)
    factor = total / (-_both(s) * s.h) + 1 if heun else HALF * total
    rows["x"] |= {"k1": rows["x"]["k1"] + factor / r, "m1": -factor / r}
    return rows, noise


def _3m(s: ReverseSymbols, second: int) -> Printed:
    rows, noise = _euler(s)
    r0, r1 = _ratios(s)
    h_eta = _both(s) * s.h
    phi_2 = (s.power(1, 1) - 1) / h_eta + 1
    phi_3 = phi_2 / h_eta - HALF
    d10, d11 = (1 / r0, -1 / r0, 0 * r0), (0 * r1, 1 / r1, -1 / r1)
    for i, name in enumerate(("k1", "m1", "m2")):
        d1 = d10[i] + (d10[i] - d11[i]) * r0 / (r0 + r1)
        d2 = second * (d10[i] - d11[i]) / (r0 + r1)
        rows["x"][name] = rows["x"].get(name, 0) + phi_2 * d1 - phi_3 * d2
    return rows, noise


def _trapezoid(s: ReverseSymbols) -> Printed:
    """u_1 = e^{-H} u + (1 - phi-weighted): predictor H phi_1, corrector H (phi_1 - phi_2), H phi_2 at z = -H."""
    H = _both(s) * s.h
    first = 1 - s.power(1, 1)
    second = 1 - first / H  # H phi_2(-H)
    rows = {"k2": {"x": s.power(0, 1), "k1": first}, "x": {"x": s.power(0, 1), "k1": first - second, "k2": second}}
    return rows, {"k2": 1 - s.power(0, 2), "x": 1 - s.power(0, 2)}


def _noise_1(s: ReverseSymbols) -> Printed:
    """Alpha ratio x - (1 + tau^2) sigma (e^h - 1) eps + tau sigma sqrt(e^{2h} - 1) z."""
    tau = s["tau"]
    return {"x": {"x": 1, "k1": _both(s) * (s.power(-1, 0) - 1)}}, {"x": tau * tau * (s.power(-2, 0) - 1)}


def _noise_2m(s: ReverseSymbols) -> Printed:
    rows, noise = _noise_1(s)
    half = HALF * rows["x"]["k1"] / _ratios(s)[0]
    return {"x": {"x": 1, "k1": rows["x"]["k1"] + half, "m1": -half}}, noise


def _seeds_2(s: ReverseSymbols) -> Printed:
    """SEEDS-2 with c_2 = 1/2: 2 becomes 1 + tau^2, and the noise is tau times theirs."""
    tau, both = s["tau"], _both(s)
    phi_1, phi_12 = s.power(-1, 0) - 1, s.power(-HALF, 0) - 1
    slope = both / 2 * phi_1 / HALF
    rows = {"k2": {"x": 1, "k1": both * phi_12}, "x": {"x": 1, "k1": both * phi_1 - slope, "k2": slope}}
    return rows, {"k2": tau * tau * (s.power(-1, 0) - 1), "x": tau * tau * (s.power(-2, 0) - 1)}


def _seeds_3(s: ReverseSymbols) -> Printed:
    """SEEDS-3 with c_2 = 1/3, c_3 = 2/3, type 3a; variances of the noise, which the code gets right but at stage 3."""
    tau, both, h = s["tau"], _both(s), s.h
    phi_1, phi_12, phi_13 = (s.power(-c, 0) - 1 for c in (1, THIRD, 2 * THIRD))
    phi_23, phi_2 = phi_13 / (2 * THIRD * h) - 1, phi_1 / h - 1
    inner = both * 2 * phi_23
    outer = both * Fraction(3, 2) * phi_2
    rows = {
        "k2": {"x": 1, "k1": both * phi_12},
        "k3": {"x": 1, "k1": both * phi_13 - inner, "k2": inner},
        "x": {"x": 1, "k1": both * phi_1 - outer, "k3": outer},
    }
    return rows, {f"{n}": tau * tau * (s.power(-2 * c, 0) - 1) for n, c in (("k2", THIRD), ("k3", 2 * THIRD), ("x", 1))}


def _power_integral(s: ReverseSymbols, k: int) -> Any:
    r"""SA-Solver's :math:`(1+\tau^2) e^{-(1+\tau^2) h} \int_0^h e^{(1+\tau^2) x} x^k dx` (data), as the code has it."""
    both, end = _both(s), _both(s) * s.h
    at_end = sum(((-1) ** j * Fraction(factorial(k), factorial(k - j)) * end ** (k - j) for j in range(k)), end - end)
    at_end = at_end + (-1) ** k * factorial(k)
    at_start = (-1) ** k * factorial(k)
    return (at_end - at_start * s.power(1, 1)) / both**k


def _power_integral_noise(s: ReverseSymbols, k: int) -> Any:
    r"""SA-Solver's :math:`(1+\tau^2) e^{h} \int_0^h e^{-x} x^k dx` (noise)."""
    at_end = sum((Fraction(factorial(k), factorial(k - j)) * s.h ** (k - j) for j in range(k)), s.h - s.h) + factorial(
        k
    )
    return _both(s) * (factorial(k) * s.power(-1, 0) - at_end)


def _lagrange(s: ReverseSymbols, nodes: list[Any], prediction: str, shortcut: bool) -> list[Any]:
    """Coefficients of the code: expanded Lagrange polynomials in lambda - lambda_n against the closed integrals."""
    integral = _power_integral if prediction == "data" else _power_integral_noise
    weights = []
    for j, node in enumerate(nodes):
        powers: list[Any] = [s.constant(1)]
        for i, other in enumerate(nodes):
            if i != j:
                scale = node - other
                shifted, kept = [s.constant(0), *powers], [*powers, s.constant(0)]
                powers = [(a - other * b) / scale for a, b in zip(shifted, kept, strict=True)]
        weights.append(sum((p * integral(s, k) for k, p in enumerate(powers)), s.constant(0)))
    if len(nodes) == 2 and shortcut and prediction == "data":
        both, h = _both(s), s.h
        extra = both * (h**2 / 2 - (h * both - 1 + s.power(1, 1)) / both**2) / (nodes[0] - nodes[1])
        weights = [weights[0] + extra, weights[1] - extra]
    return weights


def _sa_solver(s: ReverseSymbols, predictor: int, corrector: int, exact: bool, prediction: str) -> Printed:
    """SA-Predictor and SA-Corrector with full history; the corrector has the new node and the latest past ones."""
    past = [u * s.h for u in s.past]
    zero = s.constant(0)
    decay = s.power(0, 1) if prediction == "data" else s.constant(1)
    tau = s["tau"]
    variance = 1 - s.power(0, 2) if prediction == "data" else tau * tau * (s.power(-2, 0) - 1)
    names = ["m0" if corrector else "k1", *(f"m{j}" for j in range(1, len(past) + 1))]
    first = _lagrange(s, [zero, *past][:predictor], prediction, not exact)
    predicted = {"x": decay, **dict(zip(names, first, strict=False))}
    if not corrector:
        return {"x": predicted}, {"x": variance}
    nodes = [s.h + zero, zero, *past][:corrector]
    second = _lagrange(s, nodes, prediction, not exact)
    corrected = {"x": decay, **dict(zip(["k1", *names], second, strict=False))}
    return {"k1": predicted, "x": corrected}, {"k1": variance, "x": variance}


def _ancestral(s: ReverseSymbols) -> tuple[Any, Any, Any]:
    """get_ancestral_step for sigma_from = 1: (sigma_to, sigma_down, sigma_up^2)."""
    to = s.power(1, 0)
    eta_squared = s["eta"] * s["eta"]
    up_squared = eta_squared * to**2 * (1 - to**2)
    return to, s.square_root(to**2 - up_squared), up_squared


def _euler_ancestral(s: ReverseSymbols) -> Printed:
    """X + (x - D)/sigma (sigma_down - sigma)."""
    to, down, up = _ancestral(s)
    return {"x": {"x": down / to, "k1": 1 - down}}, {"x": up / to**2}


def _dpm_2_ancestral(s: ReverseSymbols) -> Printed:
    to, down, up = _ancestral(s)
    mid = s.square_root(down)
    slope = (down - 1) / mid  # of x_2 - D_2
    rows = {
        "k2": {"x": 1, "k1": 1 - mid},
        "x": {"x": (1 + slope * mid) / to, "k1": slope * (1 - mid), "k2": -slope},
    }
    return rows, {"x": up / to**2}


def _dpmpp_2s_ancestral(s: ReverseSymbols) -> Printed:
    to, down, up = _ancestral(s)
    mid = s.square_root(down)
    return {"k2": {"x": 1, "k1": 1 - mid}, "x": {"x": down / to, "k2": 1 - down}}, {"x": up / to**2}


def _dpmpp_sde(s: ReverseSymbols) -> Printed:
    """Eta = 1, r = 1/2; sigma_t = 1: sd^2 + su^2 = sigma_s^2 with sd = sigma_s^2."""
    mid, to = s.power(HALF, 0), s.power(1, 0)
    total = 1 - to * to
    rows = {"k2": {"x": mid, "k1": 1 - mid * mid}, "x": {"x": to, "k2": total}}
    return rows, {"k2": 1 - mid**2, "x": 1 - to**2}


def _churned(s: ReverseSymbols, end: Callable[[Any, Any], dict[str, dict[str, Any]]]) -> Printed:
    """x_hat = x + sqrt(sigma_hat^2 - 1) z, then a step in sigma from sigma_hat to sigma_1; sigma = 1 at the start."""
    hat, to = s.power(0, -1), s.power(1, 0)
    noise = 1 - 1 / hat**2  # in units of sigma_hat^2, and of sigma^2 later on, as all rows scale with sigma
    rows = {
        name: {source: w / hat if source == "x" else w for source, w in row.items()}
        for name, row in ({"k1": {"x": s.constant(1)}} | end(to / hat, s)).items()
    }
    return rows, dict.fromkeys(rows, noise)


def _churned_euler(e: Any, s: Any) -> dict[str, dict[str, Any]]:  # noqa: ARG001
    return {"x": {"x": 1, "k1": 1 - e}}


def _churned_heun(e: Any, s: Any) -> dict[str, dict[str, Any]]:  # noqa: ARG001
    # x + (e - 1)(d + d')/2, d = x - D, d' = (x_2 - D_2)/e, x_2 = e x + (1 - e) D, over e for the ratio of scales
    half = (e - 1) / 2
    return {
        "k2": {"x": 1, "k1": 1 - e},
        "x": {"x": (1 + 2 * half) / e, "k1": -half + half * (1 - e) / e, "k2": -half / e},
    }


def _churned_dpm_2(e: Any, s: Any) -> dict[str, dict[str, Any]]:
    mid = s.square_root(e)
    slope = (e - 1) / mid
    return {"k2": {"x": 1, "k1": 1 - mid}, "x": {"x": (1 + slope * mid) / e, "k1": slope * (1 - mid), "k2": -slope}}


def _er_sde(s: ReverseSymbols, order: int, corrected: bool) -> Printed:
    """Rows in formal moments M_k of the kernel in s = (rho - rho_0)/(rho_1 - rho_0).

    1 - r, then (rho_1 - rho_0 + phi int 1/phi) d with the chord d, then (.../2 + phi int (rho - rho_0)/phi) dd.
    """
    moments = [s[f"M_{k}"] for k in range(order)]
    weights: dict[str, Any] = {"x": s.power(0, 1), "k1": moments[0]}
    if order > 1:
        u = s.past[0]
        weights |= {"k1": weights["k1"] - moments[1] / u, "m1": moments[1] / u}
    if order > 2:
        w = s.past[1]
        chord, older = (-1 / u, 1 / u, 0 * u), (0 * u, 1 / (u - w), -1 / (u - w))
        for i, name in enumerate(("k1", "m1", "m2")):
            second = 2 * (chord[i] - older[i]) / -w
            slope = -u / 2 * second if corrected else 0  # from the chord to the parabola's slope
            weights[name] = weights.get(name, 0) + moments[2] / 2 * second + moments[1] * slope
    return {"x": weights}, {"x": 1 - s.power(0, 2)}


_LU = "Lu et al., arXiv:2211.01095, "
_SEEDS = "nfsrules/SEEDS at b7300bf3, etd_serk.py, "

PUBLISHED_STOCHASTIC: Final[Mapping[str, PublishedStep]] = MappingProxyType(
    {
        "sde_dpmpp_1": PublishedStep(KD + "sample_dpmpp_2m_sde, first step", _euler),
        "sde_dpmpp_2m": PublishedStep(KD + "sample_dpmpp_2m_sde, midpoint", lambda s: _2m(s, heun=False)),
        "sde_dpmpp_2m_heun": PublishedStep(KD + "sample_dpmpp_2m_sde, heun", lambda s: _2m(s, heun=True)),
        "sde_dpmpp_3m": PublishedStep(KD + "sample_dpmpp_3m_sde", lambda s: _3m(s, 1)),
        "sde_dpmpp_3m_corrected": PublishedStep(KD + "sample_dpmpp_3m_sde, d2 doubled", lambda s: _3m(s, 2)),
        "sde_trapezoid": PublishedStep(
            "Hochbruck and Ostermann 2010, section 2, order 2 with c_2 = 1, on H", _trapezoid
        ),
        "sde_dpm_1": PublishedStep(_LU + "SDE-DPM-Solver-1, and SA-Solver's noise prediction", _noise_1),
        "sde_dpm_2m": PublishedStep(
            "diffusers 0.42.1, DPMSolverMultistepScheduler, sde-dpmsolver, midpoint", _noise_2m
        ),
        "seeds_2": PublishedStep(_SEEDS + "second_update, 2a, noise_pred", _seeds_2),
        "seeds_3": PublishedStep(_SEEDS + "third_update, 3a, noise_pred", _seeds_3),
        "ddim": PublishedStep(KD + "sample_euler_ancestral", _euler_ancestral),
        "dpm_2_ancestral": PublishedStep(KD + "sample_dpm_2_ancestral", _dpm_2_ancestral),
        "dpmpp_2s_ancestral": PublishedStep(KD + "sample_dpmpp_2s_ancestral", _dpmpp_2s_ancestral),
        "dpmpp_sde": PublishedStep(KD + "sample_dpmpp_sde, eta = 1", _dpmpp_sde),
        "edm_euler_churn": PublishedStep(KD + "sample_euler, s_churn", lambda s: _churned(s, _churned_euler)),
        "edm_heun_churn": PublishedStep("Karras et al. 2022, algorithm 2", lambda s: _churned(s, _churned_heun)),
        "dpm_2_churn": PublishedStep(KD + "sample_dpm_2, s_churn", lambda s: _churned(s, _churned_dpm_2)),
    }
)
"""Printed steps by the stem of a method's name; SA-Solver and ER-SDE have theirs by parameters."""


def sa_solver(options: Mapping[str, Any], prediction: str) -> PublishedStep:
    """SA-Solver's step for a record's options."""
    p, c, exact = options["predictor"], options["corrector"], options["exact"]
    source = "scxue/SA-Solver at 876f3dd8, adams_bashforth_update" + ("" if exact else "_few_steps")
    return PublishedStep(source, lambda s: _sa_solver(s, p, c, exact, prediction))


def er_sde(order: int, corrected: bool) -> PublishedStep:
    """ER-SDE-Solver's step."""
    source = f"QinpengCui/ER-SDE-Solver at 25ca6c2e, vp_{order}_order" + (", slope put right" if corrected else "")
    return PublishedStep(source, lambda s: _er_sde(s, order, corrected))

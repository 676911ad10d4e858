r"""Formulas exactly as their authors print or ship them, in their own notation.

Each function returns the weights of the gain (``alpha_t`` for data, ``-sigma_t`` for noise prediction) in the rows of
a step. The papers write h for the step in half-log-SNR and r_0, r_1, ... > 0 for ratios of earlier steps to it;
official codes write :math:`\psi_1(z) = e^z - 1`, :math:`\psi_{k+1}(z) = \psi_k(z)/z - 1/k!`, z = -h for data and +h
for noise, and then both predictions have :math:`x_t = A x_s - C \sum_k \psi_{k+1}(z) h^k F^{(k)}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import comb, prod
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.notation import Published, Rows
from diffnum.derivation.notation import psi as _psi
from diffnum.derivation.notation import ratios as _steps
from diffnum.derivation.notation import sign as _sign
from diffnum.derivation.published_calibrated import CALIBRATED
from diffnum.derivation.published_one_step import ONE_STEP
from diffnum.derivation.published_unified import PAIR_NAMES, unip, unipc, unipc_vary
from diffnum.derivation.symbols import Symbols

__all__ = ["PUBLISHED", "Published"]

HALF = Fraction(1, 2)


# -- multistep ---------------------------------------------------------------------------------------


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


def _explicit_adams(times: list[Any], order: int) -> list[Any]:
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


def _implicit_adams(times: list[Any], order: int) -> list[Any]:
    r"""Weights of f_{n+1}, f_n, ... in y_{n+1} = p_{n+1} + h g_k(n) \Phi_k(n+1), k = order - 1, for h = 1."""
    one, k = times[0], order - 1
    g = _recursive_g(times, order)[k]
    nodes = times[: k + 1]
    product = prod((nodes[0] - u for u in nodes[1:]), start=one)
    differences = [prod((u - v for v in nodes if v is not u), start=one) for u in nodes]
    weights = [g * product / difference for difference in differences]
    old = [a + b for a, b in zip(weights[1:], _explicit_adams(times, k), strict=True)]
    return [weights[0], *old]


def _times(symbols: Symbols) -> list[Any]:
    """t_{n+1}, t_n, t_{n-1}, ... in steps from t_n."""
    return [symbols.constant(1), symbols.constant(0), *symbols.past]


def _names(order: int, newest: str = "k1") -> list[str]:
    return [newest, *(f"m{j}" for j in range(1, order))]


def _variable_adams(symbols: Symbols, order: int) -> Rows:
    """Adams-Bashforth on arbitrary nodes."""
    weights = [symbols.h * w for w in _explicit_adams(_times(symbols), order)]
    return {"x": dict(zip(_names(order), weights, strict=True))}


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


# -- constant steps ----------------------------------------------------------------------------------

_ADAMS_BASHFORTH: Mapping[int, tuple[tuple[int, ...], int]] = MappingProxyType(
    {
        1: ((1,), 1),
        2: ((3, -1), 2),
        3: ((23, -16, 5), 12),
        4: ((55, -59, 37, -9), 24),
        5: ((1901, -2774, 2616, -1274, 251), 720),
    }
)
_ADAMS_MOULTON: Mapping[int, tuple[tuple[int, ...], int]] = MappingProxyType(
    {
        1: ((1,), 1),
        2: ((1, 1), 2),
        3: ((5, 8, -1), 12),
        4: ((9, 19, -5, 1), 24),
        5: ((251, 646, -264, 106, -19), 720),
    }
)


def _table(entry: tuple[tuple[int, ...], int]) -> list[Fraction]:
    return [Fraction(numerator, entry[1]) for numerator in entry[0]]


def _plms(symbols: Symbols, order: int) -> Rows:
    """Slope (55 e_n - 59 e_{n-1} + 37 e_{n-2} - 9 e_{n-3})/24, and so on."""
    return {"x": {name: symbols.h * w for name, w in zip(_names(order), _table(_ADAMS_BASHFORTH[order]), strict=True)}}


def _ipndm_v(symbols: Symbols, order: int) -> Rows:
    """Coefficients coeff1 to coeff4 of the code, with h_n = 1."""
    h = [symbols.constant(1), *_steps(symbols)]  # h_n, h_n_1, h_n_2, h_n_3
    coeff = [symbols.constant(1)]
    if order > 1:
        coeff = [(2 + h[0] / h[1]) / 2, -(h[0] / h[1]) / 2]
    if order > 2:
        temp1 = (1 - h[0] / (3 * (h[0] + h[1])) * (h[0] * (h[0] + h[1])) / (h[1] * (h[1] + h[2]))) / 2
        coeff = [coeff[0] + temp1, coeff[1] - (1 + h[1] / h[2]) * temp1, temp1 * h[1] / h[2]]
    if order > 3:
        temp2 = (
            (1 - h[0] / (3 * (h[0] + h[1]))) / 2 + (1 - h[0] / (2 * (h[0] + h[1]))) * h[0] / (6 * (h[0] + h[1] + h[2]))
        ) * (h[0] * (h[0] + h[1]) * (h[0] + h[1] + h[2]))
        temp2 = temp2 / (h[1] * (h[1] + h[2]) * (h[1] + h[2] + h[3]))
        w = h[1] * (h[1] + h[2]) / (h[2] * (h[2] + h[3]))
        coeff = [
            coeff[0] + temp2,
            coeff[1] - (1 + h[1] / h[2] + w) * temp2,
            coeff[2] + (h[1] / h[2] + w * (1 + h[2] / h[3])) * temp2,
            -temp2 * w * h[1] / h[2],
        ]
    return {"x": {name: symbols.h * c for name, c in zip(_names(order), coeff, strict=True)}}


def _abm(symbols: Symbols, order: int, mode: str = "pece", variable: bool = False) -> Rows:
    """Predictor and corrector from the tables, or from the recursions on arbitrary nodes."""
    if variable:
        predictor, corrector = (f(_times(symbols), order) for f in (_explicit_adams, _implicit_adams))
    else:
        predictor, corrector = _table(_ADAMS_BASHFORTH[order]), _table(_ADAMS_MOULTON[order])
    row, newest, new = PAIR_NAMES[mode]
    names = _names(order, newest)
    return {
        row: {name: symbols.h * w for name, w in zip(names, predictor, strict=True)},
        "x": {name: symbols.h * w for name, w in zip([new, *names[: order - 1]], corrector, strict=True)},
    }


# -- momentum ----------------------------------------------------------------------------------------

_GHVB: Mapping[int, Callable[[Any], tuple[Any, ...]]] = MappingProxyType(
    {
        1: lambda b: (b,),
        2: lambda b: ((2 + b) / 2, -(2 - b) / 2),
        3: lambda b: ((18 + 5 * b) / 12, -(24 - 8 * b) / 12, (6 - b) / 12),
        4: lambda b: ((46 + 9 * b) / 24, -(78 - 19 * b) / 24, (42 - 5 * b) / 24, -(10 - b) / 24),
        5: lambda b: (
            (1650 + 251 * b) / 720,
            -(3420 - 646 * b) / 720,
            (2880 - 264 * b) / 720,
            -(1380 - 106 * b) / 720,
            (270 - 19 * b) / 720,
        ),
    }
)


def _ghvb_series(order: int, beta: Any) -> tuple[Any, ...]:
    """(beta + (1 - beta) t) G(t), t the backward difference and G(t) = -t/((1 - t) log(1 - t)), truncated."""
    log = [Fraction(1, k + 1) for k in range(order)]  # -log(1 - t)/t
    denominator = [log[k] - (log[k - 1] if k else 0) for k in range(order)]
    g: list[Any] = []
    for k in range(order):
        g.append(Fraction(k == 0) - sum((denominator[k - i] * g[i] for i in range(k)), Fraction(0)))
    product = [beta * g[k] + ((1 - beta) * g[k - 1] if k else 0) for k in range(order)]
    return tuple(
        sum((product[k] * (comb(k, j) * (-1) ** j) for k in range(j, order)), Fraction(0)) for j in range(order)
    )


def _ghvb(symbols: Symbols, order: int, beta: Any = 1) -> Rows:
    """V <- (1 - beta) v + beta eps;  xbar' = xbar + (sbar' - sbar) [sum_j w_j(beta) v_j]/beta."""
    printed = _GHVB[order](beta) if order in _GHVB else _ghvb_series(order, beta)
    weights = [symbols.h * w / beta for w in printed]
    if order == 1:
        return {"x": {"k1": weights[0] * beta, "v1": weights[0] * (1 - beta)}}
    row = {"k1": weights[0] * beta, "v1": weights[0] * (1 - beta) + weights[1]}
    return {"x": row | {f"v{j}": w for j, w in enumerate(weights[2:], start=2)}}


def _ghvb_variable(symbols: Symbols, order: int, beta: Any = 1) -> Rows:
    """S_n = p_n + (1 - beta)(s_{n-1} - q_n), p_n explicit over this step, q_n implicit over the step before."""
    times = _times(symbols)
    ahead = _explicit_adams(times, order)
    if order == 1:
        behind = [symbols.constant(1)]
    else:
        length = -symbols.past[0]
        shifted = [(t - symbols.past[0]) / length for t in times[1:]]
        behind = _implicit_adams(shifted, order)
    row = {name: symbols.h * (p - (1 - beta) * q) for name, p, q in zip(_names(order), ahead, behind, strict=True)}
    return {"x": row | {"v1": symbols.h * (1 - beta)}}


def _heavy_ball(
    symbols: Symbols,
    order: int,
    beta: Any = 1,
    base: str = "plms",
    settings: Mapping[str, Any] = MappingProxyType({}),
    slope: int = 0,
) -> Rows:
    """V <- (1 - beta) v + beta p;  the step is made with v, or with (1 - beta) v + beta p."""
    formula = next(f for f in _PLAIN[base] if f.covers(symbols.rate, order))
    rows = formula.rows(symbols, order, **settings)
    whole = _sign(symbols) * _psi(symbols, 1) if symbols.rate else symbols.h if symbols.rate == 0 else symbols["M_0"]
    of_slope, of_velocity = beta, 1 - beta
    if slope:
        of_slope, of_velocity = (1 - beta) * beta + beta, (1 - beta) * (1 - beta)
    row = {name: of_slope * w for name, w in rows["x"].items()}
    return {**rows, "x": row | {"v1": whole * of_velocity}}


def _nesterov(
    symbols: Symbols,
    order: int,
    beta: Any = 1,
    base: str = "plms",
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Rows:
    """V as in HB;  u = (1 - beta) v + beta p."""
    return _heavy_ball(symbols, order, beta, base, settings, slope=1)


def _mdpm2(symbols: Symbols, order: int, beta: Any = 1, first: str = "evaluation") -> Rows:  # noqa: ARG001
    """V <- (1 - beta) v + beta (x0 + D/2);  x_t = A x - C psi_1 v."""
    return _heavy_ball(symbols, order, beta, "dpmpp_2m")


_EVERY = 99
_HNW = "Hairer, Norsett and Wanner I, section III"
_MOMENTUM_CODE = "sWizad/momentum-diffusion at 7d324104"
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

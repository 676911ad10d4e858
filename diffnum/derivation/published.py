r"""Formulas exactly as their authors print or ship them, in their own notation.

Each function returns the weights of the gain (``alpha_t`` for data, ``-sigma_t`` for noise prediction) in the rows of a step. The
papers write h for the step in half-log-SNR and r_0, r_1, ... > 0 for ratios of earlier steps to it; official codes
write :math:`\psi_1(z) = e^z - 1`, :math:`\psi_{k+1}(z) = \psi_k(z)/z - 1/k!`, z = -h for data and +h for noise, and then both
predictions have :math:`x_t = A x_s - C \sum_k \psi_{k+1}(z) h^k F^{(k)}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import factorial, prod
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from diffnum.derivation.symbols import Symbols, solve

__all__ = ["PUBLISHED", "Published"]

Rows: TypeAlias = dict[str, dict[str, Any]]

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


@dataclass(frozen=True)
class Published:
    """A formula as printed.

    Parameters
    ----------
    source : str
        Paper and equation, or repository, commit and function.
    rates : tuple
        Growth rates of the kernels (predictions) for which it is printed: -1 data, 1 noise, 0 plain clocks, None time.
    orders : tuple of two int
        Smallest and largest order for which it is printed.
    rows : callable
        ``rows(symbols, order, **options) -> {row: {evaluation: weight}}``; with the ratios ``symbols.past``.
    """

    source: str
    rates: tuple[int | None, ...]
    orders: tuple[int, int]
    rows: Callable[..., Rows]

    def covers(self, rate: int | None, order: int) -> bool:
        """Whether the formula is printed for this prediction and order."""
        return rate in self.rates and self.orders[0] <= order <= self.orders[1]


# -- notation of the papers --------------------------------------------------------------------------


def _psi(symbols: Symbols, k: int, fraction: Any = 1) -> Any:
    """psi_k(fraction z) of the official codes."""
    z = symbols.rate * symbols.h * fraction
    value = symbols.exp(symbols.rate * Fraction(fraction)) - 1
    for j in range(1, k):
        value = value / z - Fraction(1, factorial(j))
    return value


def _sign(symbols: Symbols) -> int:
    """-C psi in units of the gain: C is alpha_t for data, sigma_t for noise, and the gain is alpha_t, -sigma_t."""
    return -1 if symbols.rate == -1 else 1


def _steps(symbols: Symbols) -> list[Any]:
    """Ratios r_0 = h_{n-1}/h_n, r_1 = h_{n-2}/h_n, ... of the papers."""
    nodes = (0, *symbols.past)
    return [nodes[i] - nodes[i + 1] for i in range(len(nodes) - 1)]


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


def _multistep_3(symbols: Symbols, order: int, factor: int = 1) -> Rows:
    """D1_0 = (F_0 - F_1)/r_0, D1_1 = (F_1 - F_2)/r_1, D1 = D1_0 + r_0/(r_0 + r_1)(D1_0 - D1_1), D2 = (D1_0 - D1_1)/(r_0 + r_1)."""
    if order == 1:
        return _ddim(symbols, 1)
    if order == 2:
        return _multistep_2(symbols, 2)
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


def _variable_adams(symbols: Symbols, order: int) -> Rows:
    r"""y_{n+1} = y_n + h \sum_j g_j(n) \Phi*_j(n), with the recursions for g, beta and Phi."""
    times = [symbols.constant(1), symbols.constant(0), *symbols.past]  # t_{n+1}, t_n, t_{n-1}, ... in steps
    t = lambda j: times[1 - j]  # noqa: E731  t(1) = t_{n+1}, t(0) = t_n, t(-1) = t_{n-1}
    # c_{0,q} = 1/q, c_{1,q} = 1/(q(q+1)), c_{j,q} = c_{j-1,q} - c_{j-1,q+1} h/(t_{n+1} - t_{n-j+1});  g_j = c_{j,1}
    c = [[Fraction(1, q) for q in range(1, order + 2)], [Fraction(1, q * (q + 1)) for q in range(1, order + 1)]]
    for j in range(2, order):
        above = c[-1]
        c.append([above[q] - above[q + 1] / (t(1) - t(1 - j)) for q in range(len(above) - 1)])
    # Phi_j(n) is the divided difference of order j times prod_{i<j} (t_n - t_{n-1-i}); beta_j carries it over to t_{n+1}
    weights = [symbols.constant(0) for _ in range(order)]
    for j in range(order):
        product = prod((t(0) - t(-1 - i) for i in range(j)), start=symbols.constant(1))
        beta = prod(((t(1) - t(-i)) / (t(0) - t(-1 - i)) for i in range(j)), start=symbols.constant(1))
        for m in range(j + 1):
            divided = prod((t(-m) - t(-i) for i in range(j + 1) if i != m), start=symbols.constant(1))
            weights[m] = weights[m] + symbols.h * c[j][0] * beta * product / divided
    return {"x": dict(zip(("k1", *(f"m{j}" for j in range(1, order))), weights, strict=True))}


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
        weights[name] = sum((factor * symbols[f"M_{power}"] for power, factor in integrand.items()), symbols.constant(0))
    return {"x": weights}


# -- singlestep --------------------------------------------------------------------------------------


def _heun(symbols: Symbols, order: int) -> Rows:
    """x' = x + (t' - t) d;  x = x + (t' - t)(d/2 + d'/2)."""
    h = symbols.h
    return {"x": {"k1": h}} if order == 1 else {"k2": {"k1": h}, "x": {"k1": h / 2, "k2": h / 2}}


def _singlestep(symbols: Symbols, order: int) -> Rows:
    """DPM-Solver-1, -2 (r_1 = 1/2), -3 (r_1 = 1/3, r_2 = 2/3)."""
    if order == 1:
        return _ddim(symbols, 1)
    sign, first = _sign(symbols), _sign(symbols) * _psi(symbols, 1)
    if order == 2:
        difference = first / (2 * HALF)
        return {"k2": {"k1": sign * _psi(symbols, 1, HALF)}, "x": {"k1": first - difference, "k2": difference}}
    r1, r2 = THIRD, 2 * THIRD
    # (r_2/r_1) ((e^{r_2 h} - 1)/(r_2 h) - 1) and (1/r_2)((e^h - 1)/h - 1), in terms of psi
    inner, outer = sign * r2 / r1 * _psi(symbols, 2, r2), sign * _psi(symbols, 2) / r2
    return {
        "k2": {"k1": sign * _psi(symbols, 1, r1)},
        "k3": {"k1": sign * _psi(symbols, 1, r2) - inner, "k2": inner},
        "x": {"k1": first - outer, "k3": outer},
    }


# -- UniPC -------------------------------------------------------------------------------------------


def _uni(symbols: Symbols, ratios: list[Any], names: list[str], newest: str, variant: str) -> dict[str, Any]:
    """base - C B sum_m rho_m D_m, D_m = (F_m - F_0)/r_m, with R rho = b, R_im = r_m^{i-1}, b_i = i! psi_{i+1}(z)/B."""
    z = symbols.rate * symbols.h
    b_function = z if variant == "bh1" else symbols.exp(symbols.rate) - 1
    count = range(1, len(ratios) + 1)
    if len(ratios) == 1:
        rho: tuple[Any, ...] = (HALF,)
    else:
        right = [factorial(i) * _psi(symbols, i + 1) / b_function for i in count]
        rho = solve([[r ** (i - 1) for r in ratios] for i in count], right)
    sign = _sign(symbols)
    row = {newest: sign * _psi(symbols, 1)}
    for weight, ratio, name in zip(rho, ratios, names, strict=True):
        difference = sign * b_function * weight / ratio
        row[name] = difference
        row[newest] = row[newest] - difference
    return row


def _unipc(symbols: Symbols, order: int, variant: str = "bh2") -> Rows:
    """Predictor and corrector of order p, with the weight 1/2 where one ratio is left."""
    past, names = list(symbols.past[: order - 1]), [f"m{j}" for j in range(1, order)]
    new = symbols.constant(1)
    return {
        "k1": _uni(symbols, past, names, "m0", variant),
        "x": _uni(symbols, [*past, new], [*names, "k1"], "m0", variant),
    }


def _unip(symbols: Symbols, order: int) -> Rows:
    """Predictor alone, of order 3 or more."""
    return {"x": _uni(symbols, list(symbols.past), [f"m{j}" for j in range(1, order)], "k1", "bh2")}


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


def _ghvb(symbols: Symbols, order: int, beta: Any = 1) -> Rows:
    """v <- (1 - beta) v + beta eps;  xbar' = xbar + (sbar' - sbar) [sum_j w_j(beta) v_j]/beta."""
    weights = [symbols.h * w / beta for w in _GHVB[order](beta)]
    if order == 1:
        return {"x": {"k1": weights[0] * beta, "v1": weights[0] * (1 - beta)}}
    row = {"k1": weights[0] * beta, "v1": weights[0] * (1 - beta) + weights[1]}
    return {"x": row | {f"v{j}": w for j, w in enumerate(weights[2:], start=2)}}


_EVERY = 99
_DPM_CODE = "LuChengTHU/dpm-solver at 52bc3fbc, dpm_solver_pytorch.py"

PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "adams": (
            Published("arXiv:2206.00927, DPM-Solver-1; arXiv:2211.01095, section 4, order 1", (-1, 1), (1, 1), _ddim),
            Published("arXiv:2010.02502, eq. (13)", (0,), (1, 1), _ddim_rho),
            Published(f"{_DPM_CODE}, multistep_dpm_solver_second_update, taylor", (-1, 1), (2, 2), _multistep_2_taylor),
            Published("arXiv:2302.04867, algorithm 2; wl-zhao/UniPC at cf9de85b, bh2", (-1, 1), (3, _EVERY), _unip),
            Published("Hairer, Norsett and Wanner I, section III.5", (0,), (1, _EVERY), _variable_adams),
            Published("arXiv:2204.13902, eq. (15)", (None,), (1, _EVERY), _deis),
        ),
        "dpmpp_2m": (
            Published("arXiv:2211.01095, algorithm 2 (noise: the official code)", (-1, 1), (2, 2), _multistep_2),
            Published("arXiv:2211.01095, algorithm 2, first step", (-1, 1), (1, 1), _ddim),
        ),
        "dpmpp_3m": (Published(f"{_DPM_CODE}, multistep_dpm_solver_third_update", (-1, 1), (1, 3), _multistep_3),),
        "dpmpp_3m_corrected": (
            Published(f"{_DPM_CODE}, third_update with the Taylor factor 2", (-1, 1), (1, 3), _multistep_3_corrected),
        ),
        "heun": (Published("arXiv:2206.00364, algorithm 1", (0,), (1, 2), _heun),),
        "dpm_solver_3": (Published("arXiv:2206.00927, DPM-Solver-1 and algorithms 1 and 2 (general nodes: 4 and 5)", (-1, 1), (1, 3), _singlestep),),
        "unipc": (
            Published("arXiv:2302.04867, algorithms 1 and 2; wl-zhao/UniPC at cf9de85b", (-1, 1), (1, _EVERY), _unipc),
        ),
        "ghvb": (Published("sWizad/momentum-diffusion at 7d324104; arXiv:2307.11118, eq. (11)", (0,), (1, 5), _ghvb),),
    }
)
"""Formulas by family, in data and in noise prediction where both are printed."""

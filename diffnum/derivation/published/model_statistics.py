r"""Formulas of the methods whose plans are given numbers, exactly as their authors ship them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import factorial, prod
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.algebra.symbols import Symbols, solve
from diffnum.derivation.printing.notation import Published, Rows

__all__ = ["PUBLISHED"]


# -- DPM-Solver-v3 -------------------------------------------------------------------------------------


def _v3(
    symbols: Symbols,
    order: int,
    *,
    pseudo: bool = False,
    corrector: bool = False,
    pseudo_corrector: bool = False,
) -> Rows:
    """State at t from g_i = e^{S_a - S_i} f_i - e^{S_a} (B_i - B_a) at the nodes.

    x_t = (alpha_t/alpha_a) e^{L_a - L_t} x_a - alpha_t e^{-L_t - S_a} (I_t - I_a) g_a
    - alpha_t e^{-L_t} [C_t - C_a - B_a (I_t - I_a)] - alpha_t e^{L_a - L_t} sum_m E_m G_m,
    E_m the integral of e^{L + S - L_a - S_a} (lam - lam_a)^m/m!.
    """
    one = symbols.constant(1)
    newest = {"f0": one} if corrector else _f(symbols, 1, {"k1": one}, {"x": one})
    old = [(j + 1, {f"f{j}": one}) for j in range(1, order)]
    predicted = _v3_step(symbols, [(1, newest), *old], pseudo)
    if not corrector:
        return {"x": _in_gain(symbols, predicted)}
    used = [(1, newest), (0, _f(symbols, 0, {"k1": one}, predicted)), *old][: order + pseudo_corrector]
    corrected = predicted if len(used) < 2 else _v3_step(symbols, used, pseudo_corrector)
    return {"k1": _in_gain(symbols, predicted), "x": _in_gain(symbols, corrected)}


def _f(symbols: Symbols, at: int, noise: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """f_i = (sigma_i eps_i - l_i x_i)/alpha_i."""
    alpha, sigma, slope = (symbols[f"{name}_{at}"] for name in ("alpha", "sigma", "l"))
    return _sum([(sigma / alpha, noise), (-slope / alpha, state)])


def _v3_step(symbols: Symbols, values: Sequence[tuple[int, Mapping[str, Any]]], pseudo: bool) -> dict[str, Any]:
    nodes = {0: symbols.constant(1), 1: symbols.constant(0)} | {j + 1: u for j, u in enumerate(symbols.past, start=1)}
    at = [nodes[i] for i, _ in values]
    one, growth, alpha = symbols.constant(1), symbols["G"], symbols["alpha_0"]

    def g(i: int, f: Mapping[str, Any]) -> dict[str, Any]:
        return dict(f) if i == 1 else _sum([(symbols[f"d_{i}"], f), (-symbols[f"b_{i}"], {"one": one})])

    known = [g(i, f) for i, f in values]
    q = len(known)
    terms: list[tuple[Any, Mapping[str, Any]]] = [
        (alpha / symbols["alpha_1"] / growth, {"x": one}),
        (-alpha / growth * symbols["J_0"], known[0]),
        (-alpha / growth * symbols["B"], {"one": one}),
    ]
    if pseudo:
        # G_m = m! g[a, ..., m], the divided difference
        for m in range(1, q):
            e = symbols[f"J_{m}"] / factorial(m)
            for j in range(m + 1):
                gaps = prod((at[j] - at[i] for i in range(m + 1) if i != j), start=one)
                terms.append((-alpha / growth * e * factorial(m) / gaps, known[j]))
        return _sum(terms)
    # G_m = m! c_m with sum_m c_m (lam_i - lam_a)^m = g_i - g_a
    matrix = [[u**m for m in range(1, q)] for u in at[1:]]
    for i in range(1, q):
        fit = solve(matrix, [symbols.constant(int(i == row)) for row in range(1, q)])
        for m in range(1, q):
            e = symbols[f"J_{m}"] / factorial(m)
            weight = -alpha / growth * e * factorial(m) * fit[m - 1]
            terms += [(weight, known[i]), (-weight, known[0])]
    return _sum(terms)


def _in_gain(symbols: Symbols, row: Mapping[str, Any]) -> dict[str, Any]:
    """States over alpha_t/alpha_a, all else over -sigma_t."""
    ratio, gain = symbols["alpha_0"] / symbols["alpha_1"], -symbols["sigma_0"]
    return {name: weight / (ratio if name == "x" else gain) for name, weight in row.items()}


def _sum(terms: Sequence[tuple[Any, Mapping[str, Any]]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for factor, row in terms:
        for name, weight in row.items():
            total[name] = total.get(name, 0) + factor * weight
    return total


PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "dpm_solver_v3": (
            Published(
                "arXiv:2310.13268, section 3; thu-ml/DPM-Solver-v3 at ba168717, codebases/edm/samplers",
                (1,),
                (1, 99),
                _v3,
            ),
        ),
    }
)
"""Family -> formulas, in data and in noise prediction where both are printed."""

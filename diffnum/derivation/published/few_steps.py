"""Formulas of methods for few steps, as their codes have them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.printing.notation import Published, Rows, psi, sign
from diffnum.derivation.printing.notation import ratios as _steps

__all__ = ["PUBLISHED"]


def _cab(symbols: Symbols, order: int, theta: Any = Fraction(0), base: int = 2) -> Rows:  # noqa: ARG001
    """x_pred + theta h defect; AB2 by the ratio of steps, AB3 by beta0, beta1, beta2, with h = 1."""
    p, q = _steps(symbols)[:2]  # h_prev, h_prev_prev
    if base == 2:
        r = 1 / p
        d = [1 + r / 2, -r / 2, symbols.constant(0)]
    else:
        d = [
            (Fraction(1, 3) + (2 * p + q) / 2 + p * (p + q)) / (p * (p + q)),
            -(2 + 3 * p + 3 * q) / (6 * p * q),
            (2 + 3 * p) / (6 * q * (p + q)),
        ]
    r_prev = p / q
    defect = [symbols.constant(1), -(1 + r_prev), r_prev]
    names = ("k1", "m1", "m2")
    return {"x": {n: symbols.h * (a + theta * b) for n, a, b in zip(names, d, defect, strict=True)}}


def _stork(symbols: Symbols, order: int, stages: int = 50, times: str = "legendre") -> Rows:  # noqa: ARG001
    """The loop of step_flow_matching_2 on v, v' and v''/2 as vectors; dt = -h, h_1 and h_2 the steps before.

    At their own times a stage stands where the sum of what it has gathered of v is.
    """
    h1, h2 = _steps(symbols)[:2]

    def b(j: int) -> Fraction:
        if j < 2:
            return (Fraction(1), Fraction(1, 3))[j]
        return Fraction(4 * (j - 1) * (j + 4), 3 * j * (j + 1) * (j + 2) * (j + 3))

    # sums of v, v' and v''/2 that Y_j has gathered, in units of -dt
    two_back, one_back, s = [Fraction(0)] * 3, [Fraction(0)] * 3, stages
    for j in range(1, s + 1):
        if j == 1:
            now = [Fraction(6, (s + 4) * (s - 1)), Fraction(0), Fraction(0)]
        else:
            place = Fraction(4, 3 * (s**2 + s - 2)) if j == 2 else Fraction((j - 1) ** 2 + (j - 1) - 2, s**2 + s - 2)
            mu = (2 * j + 1) * b(j) / (j * b(j - 1))
            nu = -(j + 1) * b(j) / (j * b(j - 2))
            tilde = mu * 6 / ((s + 4) * (s - 1))
            gamma = -tilde * (1 - j * (j + 1) * b(j - 1) / 2)
            if times == "gegenbauer":
                place = one_back[0]
            taylor = [Fraction(1), place, place**2]
            now = [
                mu * one + nu * two + tilde * power + (gamma if k == 0 else 0)
                for k, (one, two, power) in enumerate(zip(one_back, two_back, taylor, strict=True))
            ]
        two_back, one_back = one_back, now
    # v' and v'' of the code are derivatives against time's direction: with h = 1 they are -(...)
    first = [3 / (2 * h1), -4 / (2 * h1), 1 / (2 * h1)]
    scale = 2 / (h1 * h2 * (h1 + h2))
    second = [scale * h2, -scale * (h1 + h2), scale * h1]
    value = [symbols.constant(1), symbols.constant(0), symbols.constant(0)]
    zeroth, slope, bend = one_back
    names = ("k1", "m1", "m2")
    return {
        "x": {
            n: symbols.h * (zeroth * a + slope * d + bend * c / 2)
            for n, a, d, c in zip(names, value, first, second, strict=True)
        }
    }


def _pfdiff(symbols: Symbols, order: int) -> Rows:  # noqa: ARG001
    """x_next = DDIM(x, e_old, i -> j); x = DDIM(x, e(x_next, j), i -> k)."""
    return {"k1": {"m1": symbols.h / 2}, "x": {"k1": symbols.h}}


def _rx_euler(symbols: Symbols, order: int) -> Rows:  # noqa: ARG001
    """A = [[1, 1], [1, sum (k/K)^2]]; x = sum of the first row of its inverse times (one step, two steps)."""
    squares = Fraction(1, 4) + Fraction(1, 4)
    one, two = squares / (squares - 1), -1 / (squares - 1)
    half = symbols.h / 2
    return {"k2": {"k1": half}, "x": {"k1": one * symbols.h + two * half, "k2": two * half}}


def _epd(symbols: Symbols, order: int, points: int = 2) -> Rows:  # noqa: ARG001
    """x_next += w (t_next - t_hat) d_mid, with d_mid at x_hat + (t_mid - t_hat) d, t_mid = t_next^r t_hat^(1-r)."""
    inner = {
        f"k{j + 1}": {"k1": sign(symbols) * psi(symbols, 1, Fraction(j, points + 1))} for j in range(1, points + 1)
    }
    total = sign(symbols) * psi(symbols, 1)
    return inner | {"x": {name: total * Fraction(1, points) for name in inner}}


PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "cab": (Published("Anuska-Roy/CAB at 941180a3, generate_cab.py, cab_sampler", (0,), (3, 3), _cab),),
        "stork": (
            Published("ZT220501/STORK at fd991caf, STORKScheduler.py, step_flow_matching_2", (0,), (3, 3), _stork),
        ),
        "pfdiff": (Published("onefly123/PFDiff at e63fd30f, denoising_PFDiff_1.py", (0,), (2, 2), _pfdiff),),
        "epd": (Published("BeierZhu/EPD at 88a91f09, solvers.py, epd_sampler", (1,), (2, 2), _epd),),
        "rx_euler": (Published("jin01020/rx-dpm at 580ecf72, edm/generate.py, get_coeff", (0,), (2, 2), _rx_euler),),
    }
)
"""Family -> formulas, in data and in noise prediction where both are printed."""

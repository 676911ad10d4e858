"""How accurate are the coefficient functions? ``python -m tests.benchmarks.coefficients_accuracy [points]``.

The truth is the same rational expression in the moments of the kernel, evaluated in ball arithmetic (python-flint)
on the float64 inputs with as many bits as the cancellation needs. Errors are in units of eps = 2^-52 times the largest
weight of the method. Steps: 1e-8 <= h <= 20; ratios of neighbouring steps in [1e-2, 1e2].
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import flint
import numpy as np

from diffnum import coefficients as c

EPS = 2.0**-52
ZERO = flint.arb(0)


class Moments:
    """Kernel of a step in ball arithmetic."""

    def __init__(self, h: float, rate: int) -> None:
        self.step, self.rate = flint.arb(h), rate

    def moment(self, k: int, fraction: Any = 1) -> flint.arb:
        """``h int_0^c e^{rate h (c - s)} s^k ds`` by the recurrence, which loses digits that we have."""
        f = flint.arb(fraction)
        z = self.rate * f * self.step
        value = z.exp()
        for j in range(k + 1):
            value = (value - 1 / flint.arb(1 if j < 2 else flint.fmpz.fac_ui(j))) / z
        return self.step * f ** (k + 1) * flint.fmpz.fac_ui(k) * value


def adams(kernel: Moments, nodes: Sequence[flint.arb]) -> list[flint.arb]:
    """Weights that integrate the Lagrange basis: the Vandermonde system, solved."""
    q = len(nodes)
    matrix = flint.arb_mat([[u**k if k else flint.arb(1) for u in nodes] for k in range(q)])
    right = flint.arb_mat([[kernel.moment(k)] for k in range(q)])
    solved = matrix.solve(right)
    return [solved[k, 0] for k in range(q)]


def two_step(kernel: Moments, u1: flint.arb, first: flint.arb) -> list[flint.arb]:
    """Weights from the zeroth moment and the slope's weight."""
    return [kernel.moment(0) - first / u1, first / u1]


def third_order(kernel: Moments, u1: flint.arb, u2: flint.arb, factor: int) -> list[flint.arb]:
    """First and second differences of the authors' code: D1 = a + (b - a) u1/u2 ..., D2 = factor (a - b)/(-u2)."""
    one = flint.arb(1)
    found = []  # for unit evaluations, one after the other: the formula is linear in them
    for d0, d1, d2 in ((one, 0, 0), (0, one, 0), (0, 0, one)):
        a, b = (d0 - d1) / -u1, (d1 - d2) / (u1 - u2)
        r0, r1 = -u1, u1 - u2
        slope = a + r0 / (r0 + r1) * (a - b)
        bend = factor * (a - b) / (r0 + r1)
        found.append(kernel.moment(0) * d0 + kernel.moment(1) * slope + kernel.moment(2) / 2 * bend)
    return found


Function = Callable[[float, Sequence[float], str], Any]
Truth = Callable[[Moments, Sequence[flint.arb]], list[flint.arb]]


def cases() -> Iterator[tuple[str, int, Function, Truth]]:
    """(name, number of past nodes, function under test, truth)."""
    yield "ddim", 0, lambda h, _, p: c.ddim(h, p), lambda k, _: [k.moment(0)]
    for order in (2, 3, 4, 5):
        name = f"exponential_adams {order}"
        yield name, order - 1, lambda h, u, p: c.exponential_adams(h, (0, *u), p), lambda k, u: adams(k, [ZERO, *u])
    yield "dpmpp_2m", 1, lambda h, u, p: c.dpmpp_2m(h, *u, p), lambda k, u: two_step(k, *u, k.moment(0) / 2)
    yield "dpmpp_3m", 2, lambda h, u, p: c.dpmpp_3m(h, *u, p), lambda k, u: third_order(k, *u, 1)
    yield "dpmpp_3m_corrected", 2, lambda h, u, p: c.dpmpp_3m_corrected(h, *u, p), lambda k, u: third_order(k, *u, 2)
    yield "dpm_solver_2", 0, lambda h, _, p: c.dpm_solver_2(h, 0.5, p), lambda k, _: solver_2(k, 0.5)
    yield "dpm_solver_3", 0, lambda h, _, p: c.dpm_solver_3(h, 1 / 3, 2 / 3, p), lambda k, _: solver_3(k, 1 / 3, 2 / 3)
    yield "etd_rk4", 0, lambda h, _, p: c.etd_rk4(h, prediction=p), lambda k, _: rk4(k)
    for variant in ("bh1", "bh2"):
        for order in (1, 2, 3):
            yield (
                f"unip {order} {variant}",
                order - 1,
                partial(weights, c.unip, variant),
                partial(unip, variant=variant),
            )
            yield (
                f"unic {order} {variant}",
                order - 1,
                partial(weights, c.unic, variant),
                partial(unic, variant=variant),
            )


def weights(function: Callable[..., Any], variant: str, h: float, u: Sequence[float], prediction: str) -> Any:
    """Shared order of arguments."""
    return function(h, u, variant, prediction)


def flat(nested: Any) -> list[Any]:
    """All numbers of nested tuples; the rows of a Runge-Kutta method are judged together."""
    return [w for row in nested for w in (row if isinstance(row, tuple) else (row,))]


def solver_2(k: Moments, r: float) -> list[flint.arb]:
    b2 = k.moment(0) / (2 * flint.arb(r))
    return [k.moment(0, r), k.moment(0) - b2, b2]


def solver_3(k: Moments, r1: float, r2: float) -> list[flint.arb]:
    a32, b3 = k.moment(1, r2) / flint.arb(r1), k.moment(1) / flint.arb(r2)
    return [k.moment(0, r1), k.moment(0, r2) - a32, a32, k.moment(0) - b3, flint.arb(0), b3]


def rk4(k: Moments) -> list[flint.arb]:
    """Cox and Matthews: the last stage starts from the second one."""
    middle, growth = k.moment(0, 0.5), (k.rate * k.step / 2).exp()
    m0, m1, m2 = (k.moment(j) for j in range(3))
    return [
        middle,
        middle,
        middle * growth - middle,
        2 * middle,
        m0 - 3 * m1 + 2 * m2,
        *2 * [2 * (m1 - m2)],
        2 * m2 - m1,
    ]


def unip(k: Moments, u: Sequence[flint.arb], variant: str) -> list[flint.arb]:
    if len(u) != 1:
        return adams(k, [flint.arb(0), *u])
    return two_step(k, u[0], (k.step if variant == "bh1" else k.moment(0)) / 2)


def unic(k: Moments, u: Sequence[flint.arb], variant: str) -> list[flint.arb]:
    if not u:
        return two_step(k, flint.arb(1), (k.step if variant == "bh1" else k.moment(0)) / 2)
    return adams(k, [flint.arb(0), *u, flint.arb(1)])


def sample(past: int, points: int, rng: np.random.Generator) -> Iterator[tuple[float, list[float]]]:
    """Steps, and past nodes of which neighbouring steps have ratios in [1e-2, 1e2]."""
    for i in range(points):
        h = float(10 ** rng.uniform(-8, np.log10(20))) if i % 2 else float(rng.uniform(0.05, 20))
        size, node, nodes = 1.0, 0.0, []
        for _ in range(past):
            size *= float(10 ** rng.uniform(-2, 2)) if i % 4 else float(rng.uniform(0.5, 2))
            node -= size
            nodes.append(node)
        yield h, nodes


def error(values: Sequence[float], truth: Sequence[flint.arb]) -> float:
    """Largest error in eps of the largest weight."""
    largest = max(abs(float(t)) for t in truth)
    return max(abs(float(flint.arb(float(v)) - t)) for v, t in zip(values, truth, strict=True)) / largest / EPS


def main(points: int = 2000) -> None:
    """Worst error of every function and prediction, and where."""
    flint.ctx.prec = 700
    print(f"worst error in eps of the largest weight, {points} steps and nodes each")
    print(f"{'function':<22}{'prediction':<12}{'error':>6}  at h, past nodes")
    for name, past, function, truth in cases():
        for prediction, rate in (("data", -1), ("noise", 1)):
            worst, where = max(
                (error(flat(function(h, u, prediction)), truth(Moments(h, rate), [flint.arb(v) for v in u])), (h, *u))
                for h, u in sample(past, points, np.random.default_rng(0))
            )
            place = ", ".join(f"{v:.4g}" for v in where)
            print(f"{name:<22}{prediction:<12}{worst:6.2f}  {place}{'' if worst <= 4 else '   above the target, 4'}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

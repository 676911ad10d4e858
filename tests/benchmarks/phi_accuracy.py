"""How accurate, and how fast, is phi? ``python -m tests.benchmarks.phi_accuracy [points]``.

The truth is the closed form in ball arithmetic (python-flint), with as many bits as the cancellation needs.
Errors are relative, in units of eps = 2^-52 = 2.2e-16. Times are ratios to ``math.exp`` in the same run.
"""

from __future__ import annotations

import math
import sys
import timeit
from collections.abc import Callable
from functools import partial

import flint
import numpy as np

from diffnum.phi import phi

EPS = 2.0**-52


def exact(k: int, z: float) -> flint.arb:
    """``phi_k(z)`` to more than 60 digits."""
    flint.ctx.prec = 300 + 2 * k * (10 + max(0, -math.frexp(z)[1]) + max(0, math.frexp(z)[1]))
    if z == 0.0:
        return 1 / flint.arb(math.factorial(k))
    x = flint.arb(z)
    return (x.exp() - sum((x**j / math.factorial(j) for j in range(k)), flint.arb(0))) / x**k


def error_in_eps(value: float, truth: flint.arb) -> float:
    return abs(float((flint.arb(value) - truth) / truth)) / EPS


def sample(k: int, points: int, rng: np.random.Generator) -> np.ndarray:
    """Arguments of both signs: all magnitudes, steps of a plan, and densely around the switch of formulas."""
    switch = 1.1 * k + 1.2
    size = np.concatenate(
        [
            10.0 ** rng.uniform(-300, 2.85, points // 4),
            rng.uniform(0.0, 1.0, points // 8),
            rng.uniform(0.6 * switch, 2 * switch, points // 2),
            rng.uniform(2 * switch, 709.0, points // 8),
            [np.nextafter(switch, 0), switch, 1.0, np.nextafter(1.0, 2), 5e-324, 1e-8, 709.0],
        ]
    )
    return np.concatenate([size, -size, -(10.0 ** rng.uniform(2.85, 300, points // 8))])


def worst(k: int, points: int, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Largest error, and where, of the element-wise and of the vectorised path."""
    arguments = sample(k, points, rng)
    truths = [exact(k, z) for z in arguments.tolist()]
    values = {"scalar": [phi(k, z) for z in arguments.tolist()], "array": phi(k, arguments).tolist()}
    return {
        path: max(
            (error_in_eps(value, truth), z)
            for value, truth, z in zip(column, truths, arguments.tolist(), strict=True)
            if abs(value) > sys.float_info.min and math.isfinite(value)
        )
        for path, column in values.items()
    }


def seconds(function: Callable[[], object], number: int) -> float:
    return min(timeit.repeat(function, number=number, repeat=7)) / number


def main(points: int = 5000) -> None:
    rng = np.random.default_rng(0)
    print(f"worst relative error in eps, {points} arguments of each sign")
    print(" k  scalar  at z              array  at z")
    for k in (*range(13), 20, 30, 64):
        errors = worst(k, points, rng)
        print(f"{k:2d}   " + "   ".join(f"{error:5.2f}  {z:<15.8g}" for error, z in errors.values()))

    print("\ntime of phi(k, z) over that of math.exp(z), per element")
    arguments = {
        "z=-0.3": (-0.3, 20000),
        "z=-1.7": (-1.7, 20000),
        "z=-20": (-20.0, 20000),
        "20 floats": (np.linspace(-1.0, 0.0, 20), 1000),
        "10000 floats": (np.linspace(-9.0, 9.0, 10000), 20),
    }
    print(" k" + "".join(f"{name:>14}" for name in arguments))
    unit = seconds(partial(math.exp, -0.3), 50000)
    for k in (1, 2, 3, 6):
        ratios = [seconds(partial(phi, k, z), n) / np.size(z) / unit for z, n in arguments.values()]
        print(f"{k:2d}" + "".join(f"{ratio:14.2f}" for ratio in ratios))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

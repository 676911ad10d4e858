"""DC-Solver derived: UniPC on a history whose newest evaluation is interpolated in time."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.adams import combination, moment_weights
from diffnum.derivation.predictor_corrector import unipc
from diffnum.derivation.records import Derived, Line
from diffnum.tableau import Stage, Step, Vector, Window

__all__ = ["DERIVATION", "dc_solver"]


def dc_solver(window: Window, order: int, rate: int | None = -1, variant: str = "bh2", degree: int = 2) -> Derived:
    """UniPC with the newest evaluation moved by the ratio of the window; without enough history, UniPC itself.

    The moved evaluation is the value at ``s = (1 - ratio) theta_1`` of the polynomial through the newest ``degree + 1``
    evaluations at the times ``theta_j``: its weights reproduce the powers ``s^k``, k = 0, ..., degree.
    """
    plain = unipc(window, order, rate, variant)
    names = [f"m{j}" for j in range(degree + 1)]
    if not {*names} <= window.known:
        return plain
    times = (Fraction(0), *window.past_times[:degree])
    at = (1 - window.parameters["ratio"]) * times[1]
    powers: list[Any] = [Fraction(1)]
    for _ in range(degree):
        powers.append(powers[-1] * at)
    moved = combination(moment_weights(times, powers), names)

    def substituted(row: Vector) -> Vector:
        if "m0" not in row:
            return row
        rest: Vector = Vector({name: weight for name, weight in row.items() if name != "m0"})
        return rest + row["m0"] * moved  # type: ignore[no-any-return]

    step = Step(
        tuple(Stage(stage.node, substituted(stage.value)) for stage in plain.step.stages),
        substituted(plain.step.x),
        {name: substituted(row) for name, row in plain.step.memory.items()},
    )
    line = Line(
        f"The newest evaluation is replaced by the value of the polynomial of degree {degree} in time through the "
        "newest ones, a part 1 - ratio of the last step back. Its distance from the evaluation is of the size "
        "(1 - ratio) h, so that only ratios that tend to 1 keep an order above 1.",
        r"\tilde M_0 = \sum_j \ell_j(\theta)\, M_j, \qquad \theta = (1 - \rho)\, \theta_1",
    )
    return Derived(step, (*plain.argument, line), plain.asymptotic)


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "dc_solver": dc_solver,
    }
)
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""

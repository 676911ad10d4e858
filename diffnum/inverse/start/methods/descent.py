"""Gradient descent through the whole run: what the published answers are spared, and what they are held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffnum.inverse.start.minimising import minimised
from diffnum.inverse.start.problem import StartProblem
from diffnum.inverse.start.record import StartAnswer, StartMethod
from diffnum.types import FloatArray

__all__ = ["STARTS", "through_the_run"]


def through_the_run(problem: StartProblem, iterations: int, told_by: StartProblem | None = None) -> StartAnswer:
    """Least objective by L-BFGS on the gradient of the run that is made."""

    def one(z: FloatArray) -> tuple[float, FloatArray]:
        values, slopes = problem.values_and_slopes(z)
        return float(values[0]), slopes[0]

    z, curve, reason = minimised(one, problem.first, iterations, told_by or problem)
    return StartAnswer(z, None, curve, reason)


def _tries(problem: StartProblem, seed: int, options: Mapping[str, Any]) -> StartAnswer:  # noqa: ARG001
    return through_the_run(problem, options["iterations"])


STARTS = {
    "descent": StartMethod(
        name="descent",
        title="gradient through all steps of the run",
        source="the baseline: discrete gradient (diffnum.gradient) and L-BFGS",
        cite="",
        tries=_tries,
        finds="point",
        gradient=True,
        options={"iterations": 100},
    )
}

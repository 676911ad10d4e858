"""The best of many starts over a reference set, used for every task from then on.

For a model of the data given a condition, the claim is that one start is nearly the best whatever the condition. With
conditional laws that are Gaussian and differ in their means it is true: the best start is 0, the conditional mean is
its end. Where the shape of the conditional law depends on the condition, so does the best start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffnum.inverse.start.problem import StartProblem
from diffnum.inverse.start.record import StartAnswer, StartMethod
from diffnum.solver.noise import start_noise

__all__ = ["STARTS"]


def _tries(problem: StartProblem, seed: int, options: Mapping[str, Any]) -> StartAnswer:
    count = options["candidates"]
    references = tuple(options["references"]) or (problem,)
    for number, reference in enumerate(references):
        if not isinstance(reference, StartProblem):
            msg = f"references[{number}] is a {type(reference).__name__}: give StartProblems"
            raise TypeError(msg)
        if reference.z.shape != problem.z.shape:
            msg = (
                f"references[{number}] has starts of shape {tuple(reference.z.shape)}, the problem of "
                f"{tuple(problem.z.shape)}: candidates are starts of all of them"
            )
            raise ValueError(msg)
    z = np.asarray(start_noise(count, (problem.dimension,), seed), dtype=np.float64)
    before = [reference.evaluations for reference in references]
    scores = np.mean([reference.values(z) for reference in references], axis=0)
    for reference, spent in zip(references, before, strict=True):
        if reference is not problem:
            problem.spent[0] += reference.evaluations - spent
    best = np.minimum.accumulate(scores)
    # all candidates were run before the first was chosen: the curve is that of the number of candidates
    cost = np.linspace(problem.evaluations / count, problem.evaluations, count)
    curve = tuple((round(c), float(b)) for c, b in zip(cost, best, strict=True))
    return StartAnswer(z[int(np.argmin(scores))], None, curve, f"best of {count} over {len(references)} references")


STARTS = {
    "candidates": StartMethod(
        name="candidates",
        title="best of many starts over a reference set",
        source="Ma et al. 2024, arXiv:2305.15357, approximately optimal boundary condition over a reference set",
        cite="ma2024boundary",
        tries=_tries,
        finds="point",
        gradient=False,
        options={"candidates": 256, "references": ()},
        deviations=("the prior term, where its weight is not 0, counts among the scores",),
    )
}

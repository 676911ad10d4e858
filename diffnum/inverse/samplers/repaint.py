r"""RePaint: measured entries are noised and pasted before each step, and steps are undone and taken again.

Pasting conditions each step on nothing but entries of its own noise level; going back lets the rest adapt. As steps are
repeated without end this tends to draws of the joint law at one noise level, which steps alone do not reach.
"""

from __future__ import annotations

from collections.abc import Iterator

from array_api_compat import array_namespace

from diffnum.inverse.problem import OWN_DRAWS, Inverse, hosted
from diffnum.inverse.record import Options, PosteriorSampler
from diffnum.plans import Plan
from diffnum.solver import Noise
from diffnum.types import Array

__all__ = ["SAMPLERS", "visits"]


def visits(steps: int, length: int, samples: int) -> Iterator[tuple[int, bool]]:
    """Steps in the order in which they are taken, and whether one is taken forwards (True) or undone.

    Parameters
    ----------
    steps : int
        Steps of the plan.
    length : int
        How many are undone at once.
    samples : int
        How often each stretch is gone through.
    """
    left = dict.fromkeys(range(0, steps - length, length), samples - 1)
    t = steps
    while t >= 1:
        t -= 1
        yield steps - 1 - t, True
        if left.get(t, 0) > 0:
            left[t] -= 1
            for _ in range(length):
                t += 1
                yield steps - t, False


def _launch(problem: Inverse, plan: Plan, x: Array, noise: Noise, options: Options) -> Array:
    op, schedule, y = problem.op, plan.schedule, problem.measurement(x)
    plan = plan.for_prediction("data")  # once for all visits
    kept = op.adjoint(op(0.0 * x[:1] + 1.0))
    known = op.adjoint(y)
    xp = array_namespace(x)
    for visit, (step, forwards) in enumerate(visits(len(plan), options["jump_length"], options["jump_samples"])):
        tableau = plan.steps[step]
        if not forwards:
            high, low = float(tableau.t_from), float(tableau.t_to)
            ratio = float(schedule.alpha(high)) / float(schedule.alpha(low))
            added = max(float(schedule.sigma(high)) ** 2 - (ratio * float(schedule.sigma(low))) ** 2, 0.0) ** 0.5
            x = ratio * x + added * noise(visit, OWN_DRAWS, x)
            continue
        if visit:  # as in the code the very first state is not pasted into
            alpha, sigma = float(schedule.alpha(tableau.t_from)), float(schedule.sigma(tableau.t_from))
            x = xp.where(kept > 0.5, alpha * known + sigma * noise(visit, OWN_DRAWS, x), x)

        def drawn(_: int, index: int, like: Array, visit: int = visit) -> Array:
            return noise(visit, index, like)

        x = hosted(problem, plan[step : step + 1], x, drawn, lambda look: look.data, derivative=False)
    return x


SAMPLERS = {
    "repaint": PosteriorSampler(
        name="repaint",
        title="measured entries pasted before each step, steps undone and repeated",
        source="Lugmayr et al. 2022, arXiv:2201.09865, Algorithm 1",
        cite="lugmayr2022repaint",
        launch=_launch,
        method="ddpm",
        takes="single steps",
        needs=frozenset({"mask"}),
        options={"jump_length": 10, "jump_samples": 10},
        code="andreas128/RePaint at 8e2a0552, guided_diffusion/gaussian_diffusion.py, p_sample; scheduler.py",
        deviations=(
            "measured entries are pasted as if they had no noise",
            "they are not pasted into the first state, nor into the last",
        ),
    ),
}

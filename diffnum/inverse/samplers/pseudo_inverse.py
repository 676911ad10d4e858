r"""Pseudo-inverse guidance: the predicted data get one variance in all directions.

.. math:: \nabla_{x_t} \log p(Y \mid x_t) \approx J^T A^T (r_t^2 A A^T + \sigma_Y^2 I)^{-1} (Y - A \hat x_0), \quad
   r_t^2 = \frac{c\, \sigma^2}{c\, \alpha^2 + \sigma^2}, \; J = \partial \hat x_0 / \partial x_t .

That variance is the right one for data :math:`N(m, c I)`; the paper has c = 1.
"""

from __future__ import annotations

from diffnum.inverse.problem import Inverse, Reading, hosted
from diffnum.inverse.record import Options, PosteriorSampler
from diffnum.plans import Plan
from diffnum.solver import Noise, State
from diffnum.types import Array

__all__ = ["SAMPLERS", "isotropic_variance"]


def isotropic_variance(look: Reading, prior: float) -> float:
    """Variance of the data given the state, in each direction, when that of the data is ``prior``."""
    return prior * look.sigma**2 / (prior * look.alpha**2 + look.sigma**2)


def _guided(look: Reading, problem: Inverse, options: Options) -> Array:
    variance = isotropic_variance(look, options["variance"])
    explained = problem.op.solve_measured(problem.residual(look.data), variance, problem.noise_std**2)
    return look.data + look.sigma**2 / look.alpha * look.pull(problem.op.adjoint(explained))


def _shipped(problem: Inverse, plan: Plan, x: Array, noise: Noise, options: Options) -> Array:
    """DDIM step of the prior, and the gradient with the factor that the code gives it."""
    t = float(plan.times[0])
    start = x + float(plan.schedule.alpha(t)) * problem.op.pseudo_inverse(problem.measurement(x))

    def moved(look: Reading, state: State) -> Array:
        strength = options["scale"] * look.alpha * float(plan.schedule.alpha(state.t))
        return state.x + strength * look.pull(problem.op.pseudo_inverse(problem.residual(look.data)))

    return hosted(problem, plan, start, noise, lambda look: look.data, moved)


SAMPLERS = {
    "pigdm": PosteriorSampler(
        name="pigdm",
        title="likelihood with one variance for the predicted data",
        source="Song, Vahdat, Mardani and Kautz 2023, ICLR, Section 3 (linear measurements with Gaussian noise)",
        cite="song2023pigdm",
        guess=_guided,
        needs=frozenset({"gradient"}),
        options={"variance": 1.0},
    ),
    "pigdm_shipped": PosteriorSampler(
        name="pigdm_shipped",
        title="the same as its authors' code runs it",
        source="Song, Vahdat, Mardani and Kautz 2023, ICLR, Algorithm 1 (noiseless)",
        cite="song2023pigdm",
        launch=_shipped,
        takes="steps of one evaluation",
        needs=frozenset({"gradient", "modes"}),
        options={"scale": 1.0},
        code="NVlabs/RED-diff at 66482f23, algos/pgdm.py, PGDM.sample",
        deviations=(
            "the noise of the measurement does not enter: the residual is weighed by the pseudo-inverse alone",
            "the gradient has the factor alpha_t alpha_s of both nodes in place of the likelihood's weight in the step",
            "it starts at alpha_T times the pseudo-inverse of the measurement plus noise",
        ),
    ),
}

r"""Mean-reverting diffusion: the process ends around the measurement, and the model has learned the posterior.

:math:`x_t = \alpha x_0 + (1 - \alpha)\mu + \sigma \epsilon` with the lifted measurement for :math:`\mu`. The model is
of the data given the measurement, so that nothing is approximated but the start: :math:`N(\mu, \sigma_T^2)` in place of
the state's own law, whose mean is off by :math:`\alpha_T (E[x_0 \mid Y] - \mu)`.
"""

from __future__ import annotations

from diffnum.inverse.problem import Inverse, Reading
from diffnum.inverse.record import Options, PosteriorSampler
from diffnum.types import Array

__all__ = ["SAMPLERS"]


def _as_learned(look: Reading, problem: Inverse, options: Options) -> Array:  # noqa: ARG001
    return look.data


SAMPLERS = {
    "mean_reverting": PosteriorSampler(
        name="mean_reverting",
        title="a model of the posterior on a process that ends around the measurement",
        source="Luo et al. 2023, arXiv:2301.11699, Section 3",
        cite="luo2023irsde",
        guess=_as_learned,
        method="dpmpp_2m",
        needs=frozenset({"posterior model"}),
        consistent=True,
        deviations=("it takes a model of the data given the measurement, on a schedule MeanReverting(mean=...)",),
    ),
}

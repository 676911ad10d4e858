"""Does a sampler with noise keep the marginals of its process? The answer in one line, with the size of the bias."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffnum.analysis.gaussian import propagate_problem
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.convergence.nodes import INTERVAL
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.own_noise import law_of_own
from diffnum.convergence.record import ConvergenceStudy
from diffnum.convergence.stochastic import default_gaussian, make_plan
from diffnum.convergence.study import convergence_study
from diffnum.foreign import with_noise
from diffnum.foreign.conventions import Convention
from diffnum.problems import Gaussian
from diffnum.schedules import VPLinear
from diffnum.types import FloatArray, Schedule

__all__ = ["Marginals", "marginals_kept"]

FINER = 16
"""Steps of the second look for one of the first."""


@dataclass(frozen=True)
class Marginals:
    """Whether the output tends to the exact marginal law as steps are added, and how far it is from it.

    Parameters
    ----------
    name : str
        Sampler.
    steps : tuple of two int
        Numbers of steps.
    deviation : ndarray, shape (2, d)
        Standard deviation of the output over the exact one, for either number of steps, by eigen-direction.
    shift : ndarray, shape (2, d)
        Mean of the output minus the exact one, in exact standard deviations.
    study : ConvergenceStudy
        The order in law.
    """

    name: str
    steps: tuple[int, int]
    deviation: FloatArray = field(repr=False)
    shift: FloatArray = field(repr=False)
    study: ConvergenceStudy = field(repr=False)

    @property
    def kept(self) -> bool | None:
        """Whether they are kept in the limit of small steps; None where that is not decided."""
        order = self.study.order
        return None if order is None else order > 0

    @property
    def bias(self) -> FloatArray:
        """Largest relative error of the standard deviation, for either number of steps."""
        return np.asarray(np.max(np.abs(self.deviation - 1), axis=1))

    def __bool__(self) -> bool:
        """Whether they are kept."""
        return bool(self.kept)

    def __str__(self) -> str:
        answer = {True: "keeps", False: "does not keep", None: "may or may not keep"}[self.kept]
        order = "undecided" if self.study.order is None else f"{self.study.order:g}"
        sizes = ", ".join(
            f"{_span(d)} of the exact one with {n} steps" for d, n in zip(self.deviation, self.steps, strict=True)
        )
        shift = np.max(np.abs(self.shift))
        mean = "" if shift < 1e-6 else f"; the mean is off by up to {shift:.2g} standard deviations"
        return f"{self.name} {answer} the marginals (order in law {order}): standard deviation {sizes}{mean}"


def _span(values: FloatArray) -> str:
    low, high = f"{np.min(values):.3g}", f"{np.max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def marginals_kept(
    sampler: str | Method | Any,
    steps: int = 20,
    *,
    problem: Gaussian | None = None,
    schedule: Schedule | None = None,
    grid: str = "uniform",
    interval: tuple[float, float] = INTERVAL,
    convention: Convention | None = None,
) -> Marginals:
    """Say whether a sampler with noise keeps the marginals, and the size of its bias, without sampling.

    Parameters
    ----------
    sampler : str, Method, callable or scheduler
        As :func:`~diffnum.convergence.study.convergence_study` takes it with ``measure="law"``.
    steps : int
        Number of steps of interest, at least 1; a second look is taken at 16 times as many.
    problem : Gaussian, optional
        Data; a Gaussian in 3-D by default.
    schedule : Schedule, optional
        Noising process; VP-linear by default.
    grid : {"uniform", "smooth", "irregular"}
        Kind of grid, in half-log-SNR.
    interval : (float, float)
        Half-log-SNR where the run begins, from the exact marginal, and ends.
    convention : {"nodes", "k-diffusion", "diffusers", "flow"}, optional
        How it is called.

    Returns
    -------
    Marginals
        Printed, it is the answer in one line; true where the marginals are kept.

    Raises
    ------
    TypeError, ValueError
        As the study.

    Examples
    --------
    >>> bool(marginals_kept("flow_sde_0.7")), bool(marginals_kept("cps_0.5"))
    (True, False)
    """
    if isinstance(steps, bool) or int(steps) != steps or steps < 1:
        msg = f"steps={steps} is no number of steps: use a whole number >= 1"
        raise ValueError(msg)
    exact = default_gaussian() if problem is None else problem
    schedule = VPLinear() if schedule is None else schedule
    study = convergence_study(
        sampler, exact, measure="law", schedule=schedule, grids=(grid,), interval=interval, convention=convention
    )
    oracle = Oracle(exact, schedule, interval, 2, 0)
    ends = oracle.nodes(np.array(interval))
    variance = ends.alpha[1] ** 2 * exact.eigenvalues + ends.sigma[1] ** 2
    mean = ends.alpha[1] * (exact.eigenvectors @ exact.mean)
    counts = (int(steps), FINER * int(steps))
    laws = [_law(sampler, exact, oracle, grid, n, convention) for n in counts]
    deviation = np.stack([np.sqrt(law[1] / variance) for law in laws])
    shift = np.stack([(law[0] - mean) / np.sqrt(variance) for law in laws])
    return Marginals(study.name, counts, deviation, shift, study)


def _law(
    sampler: Any, exact: Gaussian, oracle: Oracle, grid: str, n: int, convention: Convention | None
) -> tuple[FloatArray, FloatArray]:
    """Mean and variance of the output, by eigen-direction."""
    if isinstance(sampler, str | Method):
        record = find_method(sampler) if isinstance(sampler, str) else sampler
        output = propagate_problem(make_plan(record, oracle, grid, n), exact, start="marginal")
        return output.mean, output.variance
    return law_of_own(with_noise(sampler, convention), exact, oracle, grid, n)

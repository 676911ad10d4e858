r"""Audit of posterior samplers: what a sampler of one's own makes of a posterior that is known, and why it may miss it.

It is called as ``sampler(task, n, seed)`` with a :class:`~diffnum.particles.TargetTask` that has the operator ``A``,
the measurement ``y`` and ``noise_std`` besides the model, and is held first against a Gaussian prior in two dimensions,
where a right guidance is exact, and then against a mixture. On the Gaussian the likely cause is the planted defect that
has the most similar deviations, if any has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from diffnum.grids import uniform_half_log_snr
from diffnum.inverse.exact_law import measured_law, posterior_map
from diffnum.inverse.operators import Linear
from diffnum.inverse.problem import Inverse, Reading, hosted
from diffnum.jobs.checked import check_callable
from diffnum.particles.audit import (
    DEFECTS,
    SMALLEST,
    OwnSampler,
    TargetAudit,
    TargetTask,
    allowed,
    audit_target,
    check_counts,
    jackknifed,
    understood,
)
from diffnum.particles.steering import linear_log_likelihood
from diffnum.problems.gaussian import Gaussian
from diffnum.schedules import VPLinear
from diffnum.solver.noise import PopulationStreams
from diffnum.types import Array, FloatArray

__all__ = ["FAULTS", "PosteriorAudit", "audit_posterior", "gaussian_task"]

PRIOR = Gaussian([0.3, -0.2], [[1.0, 0.6], [0.6, 0.8]])
MATRIX, MEASURED, NOISE_STD = [[1.0, -0.4]], [0.9], 0.4
END_TIME = 1e-3

MOMENTS = ("mean 1", "mean 2", "variance 1", "covariance", "variance 2")

APPROXIMATION = "right on Gaussian priors; on mixtures the approximation of the likelihood shows"


def gaussian_task(steps: int) -> TargetTask:
    """Posterior of a Gaussian prior in two dimensions and one measurement."""
    schedule = VPLinear()
    times = uniform_half_log_snr(schedule, steps, t_start=1.0, t_end=END_TIME).t
    op = Linear(MATRIX)
    law, (y_mean, y_covariance) = posterior_map(PRIOR, op, NOISE_STD), measured_law(PRIOR, op, NOISE_STD)
    alpha, sigma = float(schedule.alpha(END_TIME)), float(schedule.sigma(END_TIME))
    mean, covariance = alpha * law.mean(MEASURED), alpha**2 * law.covariance + sigma**2 * np.eye(2)
    off = np.asarray(MEASURED) - y_mean
    log_evidence = -0.5 * float(
        off @ np.linalg.solve(y_covariance, off) + np.linalg.slogdet(2.0 * np.pi * y_covariance)[1]
    )
    second = covariance + np.outer(mean, mean)
    return TargetTask(
        "posterior",
        schedule,
        np.array([float(schedule.half_log_snr(t)) for t in times.tolist()]),
        times,
        (PRIOR.denoiser(schedule),),
        (1.0,),
        None,
        1.0,
        linear_log_likelihood(MATRIX, MEASURED, NOISE_STD),
        PRIOR.at(schedule, 1.0).sample,
        (*mean.tolist(), second[0, 0], second[0, 1], second[1, 1]),
        log_evidence,
        np.array(MATRIX),
        np.array(MEASURED),
        NOISE_STD,
    )


# -- planted faults ------------------------------------------------------------------------------------------


def _guided(change: Callable[[Reading, FloatArray, float], tuple[FloatArray, float]]) -> OwnSampler:
    """Guidance with the exact covariance, and something wrong with what it adds to the data."""

    def sampler(task: TargetTask, n: int, seed: int) -> FloatArray:
        op: Any = Linear(task.A)
        problem = Inverse(task.models[0], op, task.y, float(task.noise_std or 0.0))

        def answer(look: Reading) -> Array:
            added, _ = change(look, problem.residual(look.data), problem.noise_std)
            return look.data + added

        return np.asarray(hosted(problem, task.plan("dpmpp_2m"), task.start(n, seed), PopulationStreams(seed), answer))

    return sampler


def _pull(
    look: Reading, residual: FloatArray, variance: float, *, factor: float = 1.0, jacobians: int = 1
) -> tuple[FloatArray, float]:
    """What the likelihood adds to the data, with so many products with the derivative of the model (1 is right)."""
    op, strength = Linear(MATRIX if look.x.shape[1] == 2 else [[1.0]]), look.sigma**2 / look.alpha
    spread = strength * op(look.pull(op.adjoint(np.ones_like(residual))))
    added = op.adjoint(residual / (spread + variance))
    for _ in range(jacobians):
        added = look.pull(added)
    return factor * strength * added, strength


RIGHT: OwnSampler = _guided(lambda look, r, std: _pull(look, r, std**2))
"""Guidance that is exact on Gaussian priors."""

FAULTS: Mapping[str, OwnSampler] = MappingProxyType(
    {
        "missing factor 1/2 in the likelihood's gradient": _guided(
            lambda look, r, std: _pull(look, r, std**2, factor=2.0)
        ),
        "wrong scale of the likelihood: standard deviation for variance": _guided(
            lambda look, r, std: _pull(look, r, std)
        ),
        "gradient with respect to x_0 where x_t is meant": _guided(
            lambda look, r, std: _pull(look, r, std**2, jacobians=0)
        ),
        "gradient with respect to x_t where x_0 is meant": _guided(
            lambda look, r, std: _pull(look, r, std**2, jacobians=2)
        ),
        "noise of the measurement not accounted for": _guided(lambda look, r, std: _pull(look, r, 1e-6 * std)),
        "sign of the likelihood's gradient": _guided(lambda look, r, std: _pull(look, r, std**2, factor=-1.0)),
        "no guidance: the prior is sampled": _guided(lambda look, r, std: _pull(look, r, std**2, factor=0.0)),
        "half of the likelihood's gradient": _guided(lambda look, r, std: _pull(look, r, std**2, factor=0.5)),
        **DEFECTS["posterior"],
    }
)
"""Planted faults, by what is wrong; those of weighted samplers among them."""


# -- the audit -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PosteriorAudit:
    """What an audit found on both priors.

    Parameters
    ----------
    gaussian, mixture : TargetAudit
        On the Gaussian prior and on the mixture.
    """

    gaussian: TargetAudit
    mixture: TargetAudit

    @property
    def ok(self) -> bool:
        """Whether both are sampled."""
        return self.gaussian.ok and self.mixture.ok

    @property
    def cause(self) -> str:
        """What is likely wrong; empty where nothing is."""
        if self.gaussian.ok and not self.mixture.ok:
            return APPROXIMATION
        return self.gaussian.cause

    @property
    def names(self) -> tuple[str, ...]:
        """What the numbers are."""
        parts = (("Gaussian", self.gaussian), ("mixture", self.mixture))
        return tuple(f"{prior} prior, {name}" for prior, found in parts for name in found.names)

    @property
    def found(self) -> tuple[float, ...]:
        """Numbers on the finer steps."""
        return (*self.gaussian.found, *self.mixture.found)

    @property
    def error(self) -> tuple[float, ...]:
        """Their standard errors."""
        return (*self.gaussian.error, *self.mixture.error)

    @property
    def exact(self) -> tuple[float, ...]:
        """Those of the posterior."""
        return (*self.gaussian.exact, *self.mixture.exact)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Findings as text, one a number, and the likely cause."""
        numbers = zip(self.names, self.found, self.error, self.exact, strict=True)
        rows = [f"{name}: {found:.4f} +- {error:.4f}, exact {exact:.4f}" for name, found, error, exact in numbers]
        return (*rows, *([f"likely cause: {self.cause}"] if self.cause else []))


def audit_posterior(
    sampler: OwnSampler, *, steps: tuple[int, int] = (60, 120), n: int = 800, runs: int = 24, seed: int = 0
) -> PosteriorAudit:
    """Hold a posterior sampler against posteriors that are known.

    Parameters
    ----------
    sampler : callable
        ``sampler(task, n, seed)``: returns states of shape (n, d), or (x, log_weights), or (x, log_weights,
        log_evidence). ``task`` has the model, A, y, noise_std, the nodes and exact states at the first one.
    steps : (int, int)
        Step counts, the finer one last; a bias that falls with the step is the method's.
    n : int
        Samples a run.
    runs : int
        Independent runs, at least 4; they give the Monte Carlo error.
    seed : int
        Of the first run.

    Returns
    -------
    PosteriorAudit

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or the sampler returns something else.
    """
    check_callable("sampler", sampler, "a function sampler(task, n, seed)")
    check_counts(steps, n, runs)
    tasks = [gaussian_task(count) for count in steps]
    coarse, fine = (_measured(sampler, task, n, runs, seed) for task in tasks)
    exact = np.array([*tasks[1].exact, tasks[1].log_evidence])[: fine.shape[1]]
    bias, error = fine.mean(axis=0) - exact, fine.std(axis=0, ddof=1) / np.sqrt(runs)
    ok = bool(np.all(allowed(bias, error, coarse, exact)))
    cause = "" if ok else _cause(steps[1], bias, error, n, runs, seed)
    found, errors, wanted = (tuple(float(v) for v in row) for row in (fine.mean(axis=0), error, exact))
    gaussian = TargetAudit("posterior", found, errors, wanted, ok, cause, steps, MOMENTS)
    return PosteriorAudit(gaussian, audit_target(sampler, "posterior", steps=steps, n=n, runs=runs, seed=seed))


def _measured(sampler: OwnSampler, task: TargetTask, n: int, runs: int, seed: int) -> FloatArray:
    """Moments, and log evidence, of each run; shape (runs, 5 or 6)."""
    rows = []
    for number in range(runs):
        x, log_weights, log_evidence = understood(sampler(task, n, seed + number), n, 2)
        weights = np.exp(log_weights - np.max(log_weights))
        products = np.stack([x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 0] * x[:, 1], x[:, 1] ** 2], axis=1)
        row = (weights / np.sum(weights)) @ products
        rows.append([*row, *([] if log_evidence is None else [log_evidence])])
    out = np.array(rows, dtype=float)
    if out.shape[1] > len(MOMENTS):
        out[:, -1] = jackknifed(out[:, -1])
    return out


UNLIKE = "none of the faults that are known deviates like this"

FARTHEST = 2.0
"""Root mean square of the differences from a fault's deviations, in standard errors, up to which it is named."""


@lru_cache(maxsize=64)
def _planted(name: str, steps: int, n: int, runs: int, seed: int) -> FloatArray:
    """What each run makes of a planted fault: the same for every sampler that is audited with the same counts."""
    rows = _measured(FAULTS[name], gaussian_task(steps), n, runs, seed)
    rows.setflags(write=False)
    return rows


def _cause(steps: int, bias: FloatArray, error: FloatArray, n: int, runs: int, seed: int) -> str:
    """Fault whose deviations are the most similar ones, in standard errors of both; none that is too far away."""
    task = gaussian_task(steps)
    exact = np.array([*task.exact, task.log_evidence])
    distances = {}
    weighted = len(bias) > len(MOMENTS)
    for name in FAULTS:
        if weighted == (name == "weights dropped") and name in DEFECTS["posterior"]:
            continue  # who returns weights has not dropped them, and who returns none has no potential
        rows = _planted(name, steps, n, max(4, runs // 2), seed + runs)
        size = min(rows.shape[1], len(bias))
        other, spread = rows.mean(axis=0)[:size] - exact[:size], rows.std(axis=0, ddof=1)[:size] / np.sqrt(len(rows))
        apart = (other - bias[:size]) / np.sqrt(error[:size] ** 2 + spread**2 + SMALLEST**2)
        distances[name] = float(np.sqrt(np.mean(apart**2)))
    nearest = min(distances, key=lambda name: distances[name])
    return nearest if distances[nearest] < FARTHEST else UNLIKE

"""Audit of weighted samplers: what a sampler of one's own makes of a target that is known, and why it may miss it.

A sampler is called as ``sampler(task, n, seed)`` with a :class:`TargetTask`, and returns states ``x`` of shape (n, 1),
or ``(x, log_weights)``, or ``(x, log_weights, log_evidence)``. It runs many times on two step counts. What does not
fall with the step and is beyond its Monte Carlo error is a bias; its likely cause is the planted defect that has the
most similar one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from diffnum.grids import uniform_half_log_snr
from diffnum.jobs.checked import check_callable
from diffnum.particles.correctors import product
from diffnum.particles.population import Population, run
from diffnum.particles.resampling import log_mean
from diffnum.particles.steering import Twisted, linear_log_likelihood, steered, twisted
from diffnum.particles.values import soft_values
from diffnum.particles.weighted import Node, Weighted, on_host
from diffnum.plans import Plan, plan
from diffnum.problems import Gaussian, GaussianMixture, targets
from diffnum.schedules import VPLinear
from diffnum.types import Array, Denoiser, FloatArray, Schedule

__all__ = ["DEFECTS", "MOMENTS", "TARGETS", "TargetAudit", "TargetTask", "audit_target"]

MOMENTS = ("mean", "second moment", "share below zero")
SMALLEST = 0.012
"""Deviations that are not told from a bias of few particles."""

ALIKE = 0.1
"""Share of a deviation by which a defect of the same kind may differ."""

ERRORS = 3.5
"""Standard errors beyond which a deviation counts."""


@dataclass(frozen=True)
class TargetTask:
    """What a weighted sampler is asked to do.

    Parameters
    ----------
    target : {"tilted", "power", "product", "posterior"}
        Law that is wanted.
    schedule : Schedule
        The noising process.
    nodes : ndarray, shape (steps + 1,)
        Half-log-SNRs of the nodes, increasing.
    times : ndarray, shape (steps + 1,)
        Times of the nodes.
    models : tuple of Denoiser
        Data predictions of the factors; one for all targets but ``"product"``.
    exponents : tuple of float
        Of the factors: the target is their product, times the reward or likelihood.
    reward : callable or None
        ``reward(x)``, shape (n, 1) to (n,), for ``"tilted"``.
    scale : float
        Factor of the reward.
    log_likelihood : callable or None
        Values and gradients, for ``"posterior"``; the measurement is ``y = x + noise``.
    begun : callable
        Exact law at the first node.
    exact : tuple of float
        :data:`MOMENTS` of the target.
    log_evidence : float
        Natural logarithm of what the mean weight estimates, from weights of 1 at the first node on.
    A, y, noise_std : ndarray or float, or None
        Operator, shape (m, d), measurement, shape (m,), and standard deviation of its noise, for ``"posterior"``.
    """

    target: str
    schedule: Schedule
    nodes: FloatArray
    times: FloatArray
    models: tuple[Denoiser, ...]
    exponents: tuple[float, ...]
    reward: Callable[[Array], Array] | None
    scale: float
    log_likelihood: Callable[[Array], tuple[Array, Array]] | None
    begun: Callable[[int, int], FloatArray]
    exact: tuple[float, ...]
    log_evidence: float
    A: FloatArray | None = None
    y: FloatArray | None = None
    noise_std: float | None = None

    def start(self, n: int, seed: int) -> FloatArray:
        """States of the first node from their exact law, shape (n, d); d = 1 but for :mod:`diffnum.inverse.audit`."""
        return self.begun(n, seed)

    def plan(self, method: str = "sde_dpmpp_2m_tau1.5") -> Plan:
        """Plan of a method of the catalogue on the nodes."""
        grid = uniform_half_log_snr(
            self.schedule, len(self.nodes) - 1, t_start=float(self.times[0]), t_end=float(self.times[-1])
        )
        return plan(method, self.schedule, grid)


OwnSampler: TypeAlias = Callable[[TargetTask, int, int], Any]
"""``sampler(task, n, seed)``."""

_LAW = GaussianMixture([0.3, 0.7], [[-0.8], [0.8]], [0.3, 0.4])
_FACTOR = Gaussian([0.7], 0.5).mixture
_SCALE, _MEASURED, _NOISE = 0.8, 0.9, 0.6
_END = 1e-3


def _first(x: Array) -> Array:
    return x[:, 0]


def _task(
    target: str,
    steps: int,
    factors: Sequence[GaussianMixture],
    exponents: Sequence[float],
    wanted: Callable[[Sequence[GaussianMixture]], GaussianMixture],
    **given: Any,
) -> TargetTask:
    schedule = VPLinear()
    start = 1.0 if tuple(exponents) == (1.0,) else float(schedule.time(-1.0))
    times = uniform_half_log_snr(schedule, steps, t_start=start, t_end=_END).t
    first = targets.PowerProduct([law.at(schedule, start) for law in factors], exponents)
    last = wanted([law.at(schedule, _END) for law in factors])
    moments = targets.PowerProduct((last,), (1.0,)).expectation(_moments)
    return TargetTask(
        target,
        schedule,
        np.array([float(schedule.half_log_snr(t)) for t in times.tolist()]),
        times,
        tuple(law.denoiser(schedule) for law in factors),
        tuple(exponents),
        given.get("reward"),
        given.get("scale", 1.0),
        given.get("log_likelihood"),
        first.sample,
        tuple(moments.tolist()),
        float(last.log_evidence or 0.0) - first.log_evidence,
        *(given.get(name) for name in ("A", "y", "noise_std")),
    )


def _tilted(steps: int) -> TargetTask:
    return _task(
        "tilted", steps, (_LAW,), (1.0,), lambda laws: laws[0].tilted(slope=_SCALE), reward=_first, scale=_SCALE
    )


def _power(steps: int) -> TargetTask:
    return _task("power", steps, (_LAW,), (2.0,), lambda laws: laws[0].power(2))


def _product(steps: int) -> TargetTask:
    return _task("product", steps, (_LAW, _FACTOR), (1.0, 1.0), lambda laws: laws[0] * laws[1])


def _posterior(steps: int) -> TargetTask:
    likelihood = linear_log_likelihood([[1.0]], [_MEASURED], _NOISE)
    return _task(
        "posterior",
        steps,
        (_LAW,),
        (1.0,),
        lambda laws: laws[0].posterior([[1.0]], [_MEASURED], _NOISE),
        log_likelihood=likelihood,
        A=np.array([[1.0]]),
        y=np.array([_MEASURED]),
        noise_std=_NOISE,
    )


TARGETS: Mapping[str, Callable[[int], TargetTask]] = MappingProxyType(
    {"tilted": _tilted, "power": _power, "product": _product, "posterior": _posterior}
)
"""Targets by name: from a number of steps to a task."""


# -- samplers that are right, and planted defects --------------------------------------------------------


def _returned(pop: Population) -> tuple[Array, FloatArray, float]:
    return pop.x, pop.log_weights, pop.log_evidence


def _ran(task: TargetTask, sampler: Weighted | Denoiser, n: int, seed: int, method: str = "", **options: Any) -> Any:
    numbers = task.plan(method) if method else task.plan()
    return _returned(run(numbers, sampler, n, x=task.start(n, seed), seed=seed, **options))


def _steered(task: TargetTask, n: int, seed: int, **options: Any) -> Any:
    sampler = steered(task.models[0], task.reward or _first, task.scale, **options)
    return _ran(task, sampler, n, seed)


def _corrected(task: TargetTask, n: int, seed: int) -> Any:
    return _ran(task, product(task.models, task.exponents), n, seed)


def _twisted(task: TargetTask) -> Weighted:
    if task.log_likelihood is None:
        msg = f"task={task.target!r} has no likelihood"
        raise ValueError(msg)
    return twisted(task.models[0], task.log_likelihood)


def _twisting(task: TargetTask, n: int, seed: int) -> Any:
    return _ran(task, _twisted(task), n, seed, "sde_dpmpp_1")


def _plain(task: TargetTask, n: int, seed: int, method: str = "") -> Any:
    """Every weight forgotten."""
    movers: dict[str, Callable[[], Any]] = {
        "tilted": lambda: task.models[0],
        "posterior": lambda: Twisted(task.models[0], task.log_likelihood or (lambda x: (x[:, 0], x))),
    }
    model = movers.get(task.target, lambda: product(task.models, task.exponents).model)()
    x, _, _ = _ran(task, model, n, seed, "sde_dpmpp_1" if task.target == "posterior" else method)
    return x


def _all_rewards(task: TargetTask, n: int, seed: int) -> Any:
    """The reward at every tenth node, instead of its growth."""

    def potential(node: Node) -> FloatArray:
        used = node.step % 10 == 0 or node.last
        return task.scale * on_host((task.reward or _first)(node.data)) * (1.0 if used else 0.0)

    return _ran(task, Weighted(task.models[0], potential), n, seed)


def _early(task: TargetTask, n: int, seed: int, share: float = 0.55) -> Any:
    """Rewards up to a share of the nodes, and the last factor dropped."""
    nodes = range(round(share * len(task.nodes)))
    return _steered(task, n, seed, nodes=nodes, complete=False)


def _twice(task: TargetTask, n: int, seed: int) -> Any:
    """The reward at twice its scale."""
    sampler = steered(task.models[0], task.reward or _first, 2.0 * task.scale)
    return _ran(task, sampler, n, seed)


def _quiet(task: TargetTask, n: int, seed: int, share: float = 0.7) -> Any:
    """Right weights, and noise that is too small in every step: its scale does not follow the step."""
    numbers = task.plan("sde_dpmpp_2m")
    steps = tuple(replace(tableau, noise=share * tableau.noise) for tableau in numbers.steps)
    sampler = steered(task.models[0], task.reward, task.scale) if task.reward else product(task.models, task.exponents)
    return _returned(run(replace(numbers, steps=steps), sampler, n, x=task.start(n, seed), seed=seed))


def _doubled(task: TargetTask, n: int, seed: int) -> Any:
    """Twice the rate: the factor 1/2 of the generator left out."""
    sampler = product(task.models, task.exponents)
    observe: Any = sampler.observe

    def twice(x: Array, t: float) -> tuple[Array, Array]:
        value, rate = observe(x, t)
        return value, 2.0 * rate

    return _ran(task, replace(sampler, observe=twice), n, seed)


def _without_divergence(task: TargetTask, n: int, seed: int) -> Any:
    """The term of the divergence left out: the same for all particles, so that the evidence alone is wrong."""
    x, log_weights, log_evidence = _corrected(task, n, seed)
    ends = [float(np.log(task.schedule.alpha(float(t)))) for t in task.times[[0, -1]]]
    constant = (sum(task.exponents) - 1.0) * (ends[1] - ends[0])
    return x, log_weights + constant, log_evidence + constant


def _largest(task: TargetTask, n: int, seed: int) -> Any:
    """The largest of four proposals in each step."""
    sampler = soft_values(task.models[0], task.reward or _first, 1.0 / task.scale, 4, choice="argmax")
    return _ran(task, sampler, n, seed, threshold=0.0)[0]


def _without_kernels(task: TargetTask, n: int, seed: int) -> Any:
    """Likelihoods alone: the ratio of the model's kernel to the twisted one left out."""
    return _ran(task, replace(_twisted(task), moved=None), n, seed, "sde_dpmpp_1")


RIGHT: Mapping[str, OwnSampler] = MappingProxyType(
    {"tilted": _steered, "power": _corrected, "product": _corrected, "posterior": _twisting}
)
"""A sampler for each target that is right."""

_CORRECTOR_DEFECTS: Mapping[str, OwnSampler] = {
    "weights dropped": _plain,
    "wrong potential": _doubled,
    "missing divergence term": _without_divergence,
    "noise not rescaled": _quiet,
}

DEFECTS: Mapping[str, Mapping[str, OwnSampler]] = MappingProxyType(
    {
        "tilted": {
            "weights dropped": _plain,
            "last increment dropped": _early,
            "wrong potential": _all_rewards,
            "argmax for multinomial": _largest,
            "noise not rescaled": _quiet,
        },
        "power": _CORRECTOR_DEFECTS,
        "product": _CORRECTOR_DEFECTS,
        "posterior": {"weights dropped": _plain, "wrong potential": _without_kernels},
    }
)
"""Planted defects of each target, by what is wrong."""

_ANCESTRAL = partial(_plain, method="sde_dpmpp_1")
VARIANTS: Mapping[str, Mapping[str, tuple[OwnSampler, ...]]] = MappingProxyType(
    {
        "tilted": {
            "weights dropped": (_ANCESTRAL,),
            "last increment dropped": (partial(_early, share=0.5), partial(_early, share=0.6)),
            "wrong potential": (_twice,),
            "noise not rescaled": (partial(_quiet, share=0.85),),
        },
        "power": {"weights dropped": (_ANCESTRAL,), "noise not rescaled": (partial(_quiet, share=0.85),)},
        "product": {"weights dropped": (_ANCESTRAL,), "noise not rescaled": (partial(_quiet, share=0.85),)},
    }
)
"""The same defects in other sizes, or with other steps, with which a sampler is compared too."""


# -- the audit -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TargetAudit:
    """What an audit found.

    Parameters
    ----------
    target : str
        Law that was wanted.
    found, error, exact : tuple of float
        :data:`MOMENTS`, and the logarithm of the evidence where the sampler returns one: on the finer steps, their
        standard errors over independent runs, and those of the target.
    ok : bool
        Whether nothing is off by more than its error and what falls with the step.
    cause : str
        Planted defect with the most similar deviations; empty where the sampler is right.
    steps : tuple of int
        Step counts.
    moments : tuple of str
        What the numbers but the evidence are.
    """

    target: str
    found: tuple[float, ...]
    error: tuple[float, ...]
    exact: tuple[float, ...]
    ok: bool
    cause: str
    steps: tuple[int, int]
    moments: tuple[str, ...] = MOMENTS

    @property
    def names(self) -> tuple[str, ...]:
        """What the numbers are."""
        return (*self.moments, "log evidence")[: len(self.found)]

    @property
    def sentences(self) -> tuple[str, ...]:
        """Findings as text, one a number, and the likely cause."""
        rows = [
            f"{name}: {found:.4f} +- {error:.4f}, exact {exact:.4f}, bias {found - exact:+.4f}"
            for name, found, error, exact in zip(self.names, self.found, self.error, self.exact, strict=True)
        ]
        return (*rows, *([f"likely cause: {self.cause}"] if self.cause else []))


def audit_target(
    sampler: OwnSampler, target: str, *, steps: tuple[int, int] = (60, 120), n: int = 800, runs: int = 24, seed: int = 0
) -> TargetAudit:
    """Hold a weighted sampler against a target that is known.

    Parameters
    ----------
    sampler : callable
        ``sampler(task, n, seed)``; see the module.
    target : {"tilted", "power", "product", "posterior"}
        Law that is claimed.
    steps : (int, int)
        Step counts, the finer one last; a bias that falls with the step is the method's, not the weights'.
    n : int
        Particles a run.
    runs : int
        Independent runs, at least 4; they give the Monte Carlo error.
    seed : int
        Of the first run.

    Returns
    -------
    TargetAudit

    Raises
    ------
    TypeError, ValueError
        If the target is unknown, an argument is out of range, or the sampler returns something else.
    """
    if target not in TARGETS:
        msg = f"target={target!r} is unknown: use one of {', '.join(TARGETS)}"
        raise ValueError(msg)
    check_callable("sampler", sampler, "a function sampler(task, n, seed)")
    check_counts(steps, n, runs)
    tasks = [TARGETS[target](count) for count in steps]
    coarse, fine = (_measured(sampler, task, n, runs, seed) for task in tasks)
    exact = np.array([*tasks[1].exact, tasks[1].log_evidence])[: fine.shape[1]]
    bias = fine.mean(axis=0) - exact
    error = fine.std(axis=0, ddof=1) / np.sqrt(runs)
    ok = bool(np.all(allowed(bias, error, coarse, exact)))
    cause = ""
    if not ok:
        _, log_weights, log_evidence = understood(sampler(tasks[1], n, seed), n)
        weighs = log_evidence is not None or float(np.ptp(log_weights)) > 0.0
        # Who returns weights has not dropped them; of who returns none, that is likelier than noise that is too small.
        ruled_out = "weights dropped" if float(np.ptp(log_weights)) > 0.0 else "" if weighs else "noise not rescaled"
        cause = _cause(target, steps[1], bias, error, n, runs, seed, ruled_out)
    numbers = (tuple(float(v) for v in row) for row in (fine.mean(axis=0), error, exact))
    found, errors, wanted = numbers
    return TargetAudit(target, found, errors, wanted, ok, cause, steps)


def check_counts(steps: tuple[int, int], n: int, runs: int) -> None:
    """Refuse step counts that do not increase, and too few particles or runs."""
    if runs < 4 or n < 2 or not 0 < steps[0] < steps[1]:
        msg = f"steps={steps}, n={n}, runs={runs}: give increasing step counts, 2 or more particles, 4 or more runs"
        raise ValueError(msg)


def allowed(bias: FloatArray, error: FloatArray, coarse: FloatArray, exact: FloatArray) -> FloatArray:
    """Which deviations are Monte Carlo error or fall with the step to nothing."""
    before = coarse.mean(axis=0) - exact
    before_error = coarse.std(axis=0, ddof=1) / np.sqrt(len(coarse))
    within = np.abs(bias) < ERRORS * error + SMALLEST
    # Of first order or more: what is left after taking the step out is within its own error.
    falls = np.abs(bias) < 0.75 * np.abs(before)
    left = np.abs(2.0 * bias - before) < ERRORS * np.sqrt(4.0 * error**2 + before_error**2) + SMALLEST
    return np.asarray(within | (falls & left))


def _measured(sampler: OwnSampler, task: TargetTask, n: int, runs: int, seed: int) -> FloatArray:
    """Moments, and log evidence, of each run; shape (runs, 3 or 4)."""
    rows = []
    for number in range(runs):
        x, log_weights, log_evidence = understood(sampler(task, n, seed + number), n)
        weights = np.exp(log_weights - np.max(log_weights))
        row = (weights / np.sum(weights)) @ _moments(x)
        rows.append([*row, *([] if log_evidence is None else [log_evidence])])
    out = np.array(rows, dtype=float)
    if out.shape[1] > len(MOMENTS):  # the evidence is what has no bias: runs are averaged before the logarithm
        out[:, -1] = jackknifed(out[:, -1])
    return out


def jackknifed(log_evidence: FloatArray) -> FloatArray:
    """Pseudo-values of the logarithm of the mean evidence, one a run."""
    count = len(log_evidence)
    whole = log_mean(log_evidence)
    without = np.array([log_mean(np.delete(log_evidence, i)) for i in range(count)])
    return np.asarray(count * whole - (count - 1) * without)


def understood(answer: Any, n: int, dim: int = 1) -> tuple[FloatArray, FloatArray, float | None]:
    """States, log-weights and log evidence of what a sampler returned, checked."""
    parts = answer if isinstance(answer, tuple) else (answer,)
    x = on_host(parts[0])
    log_weights = on_host(parts[1]) if len(parts) > 1 else np.zeros(len(x))
    if len(parts) > 3 or x.ndim != 2 or x.shape[1] != dim or log_weights.shape != (len(x),):
        msg = (
            f"sampler returned {len(parts)} parts, states of shape {x.shape}: return x of shape ({n}, {dim}), or "
            "(x, log_weights), or (x, log_weights, log_evidence)"
        )
        raise TypeError(msg)
    if not np.isfinite(x).all() or np.isnan(log_weights).any() or np.max(log_weights) == -np.inf:
        msg = "sampler returned states or weights that are not finite, or weights that are all zero"
        raise ValueError(msg)
    return x, log_weights, float(parts[2]) if len(parts) > 2 else None


def _moments(x: FloatArray) -> FloatArray:
    return np.stack([x[:, 0], x[:, 0] ** 2, x[:, 0] < 0.0], axis=1).astype(float)


@lru_cache(maxsize=64)
def _planted(planted: OwnSampler, target: str, steps: int, n: int, runs: int, seed: int) -> FloatArray:
    """What each run makes of a planted defect: the same for every sampler that is audited with the same counts."""
    rows = _measured(planted, TARGETS[target](steps), n, runs, seed)
    rows.setflags(write=False)
    return rows


def _cause(
    target: str,
    steps: int,
    bias: FloatArray,
    error: FloatArray,
    n: int,
    runs: int,
    seed: int,
    ruled_out: str,
) -> str:
    """Defect whose deviations, in any of its sizes, are the most similar ones, in standard errors of both."""
    task = TARGETS[target](steps)
    exact = np.array([*task.exact, task.log_evidence])

    def apart(planted: OwnSampler) -> float:
        rows = _planted(planted, target, steps, n, max(4, runs // 2), seed + runs)
        size = min(rows.shape[1], len(bias))
        other = rows.mean(axis=0)[:size] - exact[:size]
        spread = rows.std(axis=0, ddof=1)[:size] / np.sqrt(len(rows))
        unit = np.sqrt(error[:size] ** 2 + spread**2 + SMALLEST**2 + (ALIKE * other) ** 2)
        return float(np.sqrt(np.mean(((other - bias[:size]) / unit) ** 2)))

    sizes = VARIANTS.get(target, {})
    distances = {
        name: min(apart(one) for one in (planted, *sizes.get(name, ())))
        for name, planted in DEFECTS[target].items()
        if name != ruled_out
    }
    return min(distances, key=lambda name: distances[name])

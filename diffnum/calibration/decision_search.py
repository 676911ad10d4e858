"""S3: a search over the decisions of each step, with a predictor that says which candidates are worth a run.

Everything that :class:`~diffnum.calibration.Decision` leaves open may change: where a step ends, its prediction, its
order, from how many evaluations each derivative is estimated, relaxation, corrector. The skip coefficients of the
network, which the published search changes too, are not among them: numbers of that paper include them.

A first generation is known solvers and random decisions; then, stage by stage, a regressor is fitted to all that was
judged, a large pool is made of the best by mutation and crossover, and what the regressor puts first in it is judged.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffnum.calibration.decisions import Decision, Decisions, decide
from diffnum.calibration.fitting import run_ends
from diffnum.calibration.hosts import host_of
from diffnum.calibration.rivals import Samples, endpoint_error
from diffnum.calibration.teachers import converged_samples
from diffnum.grids import uniform_half_log_snr, uniform_time
from diffnum.jobs.extras import required
from diffnum.jobs.ledger import Progress
from diffnum.plans import Plan
from diffnum.types import Denoiser, FloatArray, Schedule

__all__ = ["Exploration", "explore_decisions", "search_decisions"]

PREDICTIONS = ("data", "noise", "velocity")
RELAXATIONS = ("taylor", "dpmsolver", "bh1")
CORRECTORS = ("none", "pseudo")
"""Choices of each step; a corrector that costs an evaluation is left out, since evaluations are what is counted."""

_HIGHEST = 3
_KNOWN = ("ddim", "dpmpp_2m", "eab_3", "eab_noise_2", "unipc_2_bh2", "ab_velocity_2")
_POOL = 20
"""Candidates that the regressor sees for each that is judged."""

_LOST = 1e6
"""Error of a run that ended in NaN or infinity."""


@dataclass(frozen=True, eq=False)
class Exploration:
    """What a search found.

    Parameters
    ----------
    decisions : Decisions
        The best.
    plan : Plan
        Its numbers.
    error : float
        Its endpoint error on the noises of the search, the least of all that were judged.
    judged : int
        Plans that were run.
    history : tuple of float
        Least error after each run.
    """

    decisions: Decisions
    plan: Plan
    error: float
    judged: int
    history: tuple[float, ...]


def search_decisions(model: Denoiser, nfe: int = 8, budget: int = 400, **settings: Any) -> Plan:
    """Best plan of a search over decisions; see :func:`explore_decisions`, whose arguments it takes.

    Parameters
    ----------
    model : Denoiser
        A network, or the exact denoiser of a problem.
    nfe : int
        Evaluations of a plan, one a step.
    budget : int
        Plans that may be run on the noises.
    **settings
        Further arguments of :func:`explore_decisions`.

    Returns
    -------
    Plan
    """
    return explore_decisions(model, nfe, budget, **settings).plan


def explore_decisions(
    model: Denoiser,
    nfe: int = 8,
    budget: int = 400,
    *,
    stages: int = 8,
    parents: int = 15,
    predictor: bool = True,
    n: int = 64,
    seed: int = 0,
    teacher_tolerance: float = 1e-3,
    label: Any = None,
    t_start: float | None = None,
    t_end: float | None = None,
    progress: Progress | None = None,
) -> Exploration:
    """Search the decisions of a run for the least endpoint error.

    Parameters
    ----------
    model : Denoiser
        A network, or the exact denoiser of a problem.
    nfe : int
        Evaluations of a plan, one a step.
    budget : int
        Plans that may be run on the noises.
    stages : int
        Generations; the first is random, with the known solvers in it.
    parents : int
        Best plans so far from which the next generation is made.
    predictor : bool
        Whether a regressor (extremely randomised trees of scikit-learn) chooses what is judged; otherwise every plan is
        drawn at random, the search that costs the same.
    n, seed : int
        Noises on which plans are judged, and seed of everything.
    teacher_tolerance : float
        How far the teacher's end points are converged, relative.
    label : int, "each" or None
        Condition of a network with classes.
    t_start, t_end : float, optional
        Ends of the run; those of the model by default.
    progress : callable, optional
        Called as ``progress(done, total, what)``.

    Returns
    -------
    Exploration

    Raises
    ------
    ValueError
        If a number is out of range, or the model's times are labels.
    ModuleNotFoundError
        If scikit-learn is absent and the predictor is wanted.

    References
    ----------
    Liu et al., arXiv:2312.07243 (the space, and a predictor); thu-nics/USF at 5b89ef51, codebases/edm/search.py, which
    evolves without one.
    """
    least = {"nfe": (nfe, 1), "budget": (budget, 1), "stages": (stages, 1), "parents": (parents, 1), "n": (n, 1)}
    for name, (value, low) in least.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
            msg = f"{name}={value!r}: use a whole number, at least {low}"
            raise ValueError(msg)
    if getattr(model, "rounds_time", False):
        msg = "the network rounds times to its labels: decide on those by hand, with Decision and Decisions"
        raise ValueError(msg)
    trees = required("sklearn.ensemble", "dn.calibration.search_decisions") if predictor else None
    host, ends = host_of(model, label=label), run_ends(model, t_start, t_end)
    space = _Space(model.schedule, ends, int(nfe), np.random.default_rng([seed, 3]))
    if not np.isfinite(space.bounds).all():
        msg = f"times {ends} have half-log-SNRs {space.bounds}: both must be finite, move the end into the domain"
        raise ValueError(msg)
    samples = converged_samples(host, ends, n, seed, tolerance=teacher_tolerance)
    judge = _Judge(space, samples, budget, progress)
    share = max(budget // stages, 1)
    known = space.known()
    judge.all([*known, *(space.drawn() for _ in range(budget))], share if predictor else budget)
    while judge.left and trees is not None:
        best = judge.best(parents)
        pool = [space.child(best) for _ in range(_POOL * share)]
        forest = trees.ExtraTreesRegressor(60, random_state=seed, n_jobs=1)
        forest.fit(np.stack([space.features(one) for one in judge.seen]), np.log(judge.errors))
        order = np.argsort(forest.predict(np.stack([space.features(one) for one in pool])), kind="stable")
        judge.all([*(pool[i] for i in order), *(space.drawn() for _ in range(share))], share)
    if lost := [error for error in judge.errors if error >= _LOST]:
        msg = f"the model returned NaN or infinity in the runs of {len(lost)} of {len(judge.errors)} plans: "
        if max(judge.errors[: len(known)]) >= _LOST:  # known solvers do not run away by themselves
            raise ValueError(msg + "check its weights")
        warnings.warn(msg + "they were left behind", RuntimeWarning, stacklevel=2)
    return judge.result(host.identity(), seed)


Genome = tuple[tuple[float, ...], tuple[tuple[int, ...], ...]]
"""Half-log-SNRs of the inner nodes, and for each step the numbers of its choices."""


@dataclass(frozen=True, eq=False)
class _Space:
    """Decisions of a run between two times, as numbers."""

    schedule: Schedule
    ends: tuple[float, float]
    nfe: int
    rng: np.random.Generator

    @property
    def bounds(self) -> tuple[float, float]:
        """Half-log-SNRs of the ends."""
        first, last = (float(self.schedule.half_log_snr(t)) for t in self.ends)
        return first, last

    def sizes(self, step: int) -> tuple[int, ...]:
        """How many choices each gene of a step has: prediction, order, estimation, relaxation, corrector."""
        orders = min(step + 1, _HIGHEST)
        last = step == self.nfe - 1
        return len(PREDICTIONS), orders, 2, len(RELAXATIONS), 1 if last else len(CORRECTORS)

    def drawn(self) -> Genome:
        """Random decisions: nodes between equal steps in half-log-SNR and in time, choices all alike."""
        first, last = self.bounds
        share = self.rng.random()
        builders = uniform_half_log_snr, uniform_time
        even, timed = (b(self.schedule, self.nfe, t_start=self.ends[0], t_end=self.ends[1]).lam for b in builders)
        levels = share * even + (1.0 - share) * timed
        moved = levels[1:-1] + 0.5 * np.diff(levels)[1:] * self.rng.uniform(-1.0, 1.0, self.nfe - 1)
        genes = tuple(tuple(int(self.rng.integers(size)) for size in self.sizes(i)) for i in range(self.nfe))
        return tuple(np.sort(np.clip(moved, first + 1e-3, last - 1e-3)).tolist()), genes

    def known(self) -> list[Genome]:
        """Known solvers on equal steps in half-log-SNR and in time."""
        found = []
        for name in _KNOWN:
            for build in (uniform_half_log_snr, uniform_time):
                grid = build(self.schedule, self.nfe, t_start=self.ends[0], t_end=self.ends[1])
                genes = tuple(self._genes(step, i) for i, step in enumerate(decide(name, self.schedule, grid).steps))
                found.append((tuple(grid.lam[1:-1].tolist()), genes))
        return found

    def _genes(self, step: Decision, number: int) -> tuple[int, ...]:
        relaxation = step.relaxation if step.relaxation in RELAXATIONS else "dpmsolver"  # bh2 is another name of it
        corrector = "none" if number == self.nfe - 1 else step.corrector
        return (
            PREDICTIONS.index(step.prediction),
            step.order - 1,
            0,
            RELAXATIONS.index(str(relaxation)),
            CORRECTORS.index(corrector),
        )

    def child(self, parents: Sequence[Genome]) -> Genome:
        """Crossover with probability 0.3, then mutation: choices anew with 0.15, steps by some percent."""
        one, other = (parents[i] for i in self.rng.integers(len(parents), size=2))
        levels, genes = np.array(one[0]), list(one[1])
        if self.rng.random() < 0.3:
            mixed = self.rng.random(self.nfe) < 0.5
            genes = [a if keep else b for a, b, keep in zip(genes, other[1], mixed, strict=True)]
            levels = 0.5 * (levels + np.array(other[0]))
        first, last = self.bounds
        gaps = np.diff(np.concatenate([[first], levels, [last]])) * np.exp(0.15 * self.rng.standard_normal(self.nfe))
        levels = first + (last - first) * np.cumsum(gaps)[:-1] / gaps.sum()
        changed = tuple(
            tuple(
                int(self.rng.integers(size)) if self.rng.random() < 0.15 else g
                for g, size in zip(row, sizes, strict=True)
            )
            for row, sizes in zip(genes, map(self.sizes, range(self.nfe)), strict=True)
        )
        return tuple(levels.tolist()), changed

    def decisions(self, genome: Genome) -> Decisions:
        """Decisions of a genome."""
        times = [*np.asarray(self.schedule.time(np.array(genome[0]))).tolist(), self.ends[1]]
        steps = []
        for t, (prediction, order, low, relaxation, corrector) in zip(times, genome[1], strict=True):
            full = (order + 1,) * order
            estimation = tuple(k + 2 for k in range(order)) if low else full
            steps.append(
                Decision(
                    t, PREDICTIONS[prediction], order + 1, estimation, RELAXATIONS[relaxation], CORRECTORS[corrector]
                )
            )
        return Decisions(self.ends[0], tuple(steps))

    def features(self, genome: Genome) -> FloatArray:
        """What the regressor sees: nodes, steps, and one number for each choice."""
        first, last = self.bounds
        levels = np.array([first, *genome[0], last])
        chosen = [
            float(g == k) for i, row in enumerate(genome[1]) for g, size in self._rows(i, row) for k in range(size)
        ]
        return np.concatenate([levels[1:-1], np.log(np.diff(levels)), chosen])

    def _rows(self, step: int, row: tuple[int, ...]) -> Iterable[tuple[int, int]]:
        return zip(row, self.sizes(step), strict=True)


class _Judge:
    """Runs plans, no plan twice, and remembers what they are worth."""

    def __init__(self, space: _Space, samples: Samples, budget: int, progress: Any) -> None:
        self.space, self.samples, self.budget, self.progress = space, samples, budget, progress
        self.seen: list[Genome] = []
        self.errors: list[float] = []
        self.history: list[float] = []
        self._names: set[Genome] = set()

    @property
    def left(self) -> int:
        """Plans that may still be run."""
        return self.budget - len(self.seen)

    def all(self, genomes: Iterable[Genome], count: int) -> None:
        """Judge the first so many that are new."""
        wanted = min(count, self.left)
        for genome in genomes:
            if not wanted:
                return
            if genome in self._names:
                continue
            self._names.add(genome)
            error = endpoint_error(self.space.decisions(genome).plan(self.space.schedule), self.samples)
            self.seen.append(genome)
            self.errors.append(min(error, _LOST))
            self.history.append(min(self.errors[-1], self.history[-1] if self.history else np.inf))
            wanted -= 1
            if self.progress is not None:
                self.progress(len(self.seen), self.budget, f"error {self.history[-1]:.4g}")

    def best(self, count: int) -> list[Genome]:
        """The best so far."""
        order = np.argsort(self.errors, kind="stable")[:count]
        return [self.seen[i] for i in order]

    def result(self, identity: dict[str, Any], seed: int) -> Exploration:
        """The best of all."""
        decisions = self.space.decisions(self.best(1)[0])
        found_for = {**identity, "seed": seed, "judged": len(self.seen)}
        plan = replace(decisions.plan(self.space.schedule), found_for=found_for)
        return Exploration(decisions, plan, min(self.errors), len(self.seen), tuple(self.history))

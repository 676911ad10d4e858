"""What a found plan has to beat: every method of the catalogue on every grid, at the same evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffnum import grids
from diffnum.calibration.hosts import Host
from diffnum.calibration.weights import unrolled
from diffnum.coefficients.catalogue import methods
from diffnum.jobs.ledger import Ledger, digest
from diffnum.plans import Plan, plan
from diffnum.solver import solve
from diffnum.types import Array, Schedule

__all__ = ["Memo", "Rival", "Samples", "catalogue_plans", "endpoint_error", "ranked"]


@dataclass(frozen=True)
class Memo:
    """What was measured on the noises of one seed, for one model and teacher, and need not be measured again.

    Nothing in it depends on the number of evaluations, so that fits of 4, 5, 6, ... evaluations share the end points.

    Parameters
    ----------
    ledger : Ledger
        Where it is kept.
    key : str
        Digest of model, run, seed and teacher.
    """

    ledger: Ledger = field(default_factory=lambda: Ledger(None))
    key: str = ""

    def known(self, name: str, measure: Callable[[], Any]) -> Any:
        """JSON-able value of that name, measured where it is not known."""
        whole = f"{self.key}/{name}"
        if whole not in self.ledger:
            self.ledger.put(whole, measure())
        return self.ledger[whole]


@dataclass(frozen=True, eq=False)
class Samples:
    """Noises with the end points that they should reach.

    Parameters
    ----------
    host : Host
        Where the model lives.
    parts : tuple of models
        The model for each chunk.
    x, target : tuple of arrays
        First states and wanted end points of each chunk.
    first : int
        Number of the first sample in the stream of its seed.
    memo : Memo
        Where errors on these samples are kept.
    """

    host: Host
    parts: tuple[Any, ...]
    x: tuple[Array, ...]
    target: tuple[Array, ...]
    first: int = 0
    memo: Memo = field(default_factory=Memo)

    @property
    def count(self) -> int:
        """How many they are."""
        return sum(map(len, self.x))

    @property
    def size(self) -> float:
        """Sum of squares of the end points."""
        return float(sum((self.host.numpy(t) ** 2).sum() for t in self.target))

    def head(self, count: int) -> Samples:
        """The first so many samples."""
        parts, x, target = [], [], []
        first = 0
        for states, ends in zip(self.x, self.target, strict=True):
            taken = min(len(states), count - first)
            if taken <= 0:
                break
            parts.append(self.host.part(self.first + first, taken))
            x.append(states[:taken])
            target.append(ends[:taken])
            first += taken
        return Samples(self.host, tuple(parts), tuple(x), tuple(target), self.first, self.memo)


@dataclass(frozen=True, eq=False)
class Rival:
    """A plan of the catalogue and how well it does.

    Parameters
    ----------
    method, grid : str
        Names of the method and of the grid builder.
    error : float
        Root-mean-square distance from the end points, relative to their root mean square.
    plan : Plan
        Its numbers.
    """

    method: str
    grid: str
    error: float
    plan: Plan

    @property
    def name(self) -> str:
        """Method and grid."""
        return f"{self.method} on {self.grid}"


def endpoint_error(plan: Plan, samples: Samples, rounding: bool = False) -> float:
    """Root-mean-square distance from the end points, relative to their root mean square; infinite where it overflows.

    Parameters
    ----------
    plan : Plan
        Numbers of the run.
    samples : Samples
        Noises and end points.
    rounding : bool
        Round every evaluation to bfloat16.
    """
    total, host = 0.0, samples.host
    for part, x, target in zip(samples.parts, samples.x, samples.target, strict=True):
        model = _Rounded(part, host) if rounding else part
        with np.errstate(over="ignore", invalid="ignore"):
            end = solve(plan, model, x, check_finite=False)
            total += float(((host.numpy(end) - host.numpy(target)) ** 2).sum())
    return float(np.sqrt(total / samples.size)) if np.isfinite(total) else float("inf")


@dataclass(frozen=True, eq=False)
class _Rounded:
    """A model whose values are rounded to bfloat16."""

    model: Any
    host: Host

    @property
    def prediction(self) -> Any:
        return self.model.prediction

    @property
    def schedule(self) -> Any:
        return self.model.schedule

    def __call__(self, x: Array, t: Any) -> Array:
        return self.host.rounded(self.model(x, t))


def catalogue_plans(schedule: Schedule, ends: tuple[float, float], nfe: int) -> list[Rival]:
    """All plans of the catalogue that can be made, numbers that occur twice left out; their errors are not known yet.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    ends : (float, float)
        Times of the first and the last state.
    nfe : int
        Evaluations allowed; methods with several a step may use fewer.
    """
    found, seen = [], set()
    for name, record in methods().items():
        for grid_name, builder in grids.GRIDS.items():
            try:
                grid = builder(schedule, record.steps_for(nfe), t_start=ends[0], t_end=ends[1])
                made = plan(record, schedule, grid)
                states, t = unrolled(made.for_prediction("data"))
            except (ValueError, TypeError):  # a method that needs another schedule, more steps or parameters
                continue
            key = tuple(np.round(np.concatenate([states.ravel(), t]), 9).tolist())
            if key not in seen and np.isfinite(states).all():
                seen.add(key)
                found.append(Rival(name, grid_name, float("nan"), made))
    return found


def ranked(rivals: Sequence[Rival], samples: Samples) -> list[Rival]:
    """Rivals with their errors on these samples, best first; what the samples' memo knows is not measured again."""
    where = f"error/{samples.first}/{samples.count}"

    def error(numbers: Plan) -> float:
        name = f"{where}/{digest(numbers.to_dict())}"
        return float(samples.memo.known(name, lambda: endpoint_error(numbers, samples)))

    measured = [Rival(r.method, r.grid, error(r.plan), r.plan) for r in rivals]
    return sorted(measured, key=lambda r: r.error)

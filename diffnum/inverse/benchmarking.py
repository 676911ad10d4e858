r"""The posterior benchmark on exact problems: every sampler, on a Gaussian and on a mixture, in minutes and resumable.

Three parts, whose settings are all here:

* *exact*: laws on a Gaussian prior of four dimensions, over steps, noise and condition number of the prior, without
Monte
  Carlo, for the samplers that are affine there;
* *mixture*: three modes in the plane, one measurement, over noise: moments, mass of the modes, highest-density set;
* *calibration*: ranks of true data among draws, over measurements of that mixture.

A sampler of one's own takes part by passing its record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from diffnum._version import __version__
from diffnum.inverse.bias import calibration, measured_bias
from diffnum.inverse.exact_law import exact_law
from diffnum.inverse.operators import Linear, mask
from diffnum.inverse.record import PosteriorSampler
from diffnum.inverse.sampling import METHODS, method_of
from diffnum.jobs.data import jsonable
from diffnum.jobs.ledger import Ledger, Progress, digest, source_digest
from diffnum.problems.gaussian import Gaussian
from diffnum.problems.mixture import GaussianMixture
from diffnum.types import FloatArray

__all__ = ["LEVELS", "BenchmarkTask", "benchmark", "gaussian_prior", "tasks", "three_modes"]

STEPS = (10, 25, 50, 100, 200)
NOISES = (0.03, 0.1, 0.3, 1.0)
CONDITIONS = (1.0, 3.0, 10.0, 30.0)
USUAL_STEPS, USUAL_NOISE, USUAL_CONDITION = 100, 0.3, 10.0

MIXTURE_NOISES = (0.1, 0.3, 1.0)
MEASURED = 0.8
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

SAMPLES, PAIRS, DRAWS = 4000, 200, 49

FEWER = {"daps": 25}
"""Steps of samplers that draw a hundred normals in each."""

MASKED = mask([True, True, False, False])
"""Of the Gaussian part, for samplers that take masks."""


def gaussian_prior(condition: float) -> tuple[Gaussian, Linear]:
    """Gaussian in four dimensions, of variances from 1 down to 1/condition, and two measurements that mix them.

    Parameters
    ----------
    condition : float
        Largest variance over the least.
    """
    generator = np.random.default_rng(7)
    frame, _ = np.linalg.qr(generator.standard_normal((4, 4)))
    variances = condition ** (-np.arange(4) / 3.0)
    rows, _ = np.linalg.qr(generator.standard_normal((4, 2)))
    return Gaussian(np.zeros(4), frame.T @ np.diag(variances) @ frame), Linear((rows * [1.0, 0.5]).T)


def three_modes() -> tuple[GaussianMixture, Linear]:
    """Three modes in the plane and one measurement, which two of them explain."""
    law = GaussianMixture([0.3, 0.4, 0.3], [[-2.0, 0.0], [0.0, 1.5], [2.0, -0.5]], [0.15, 0.2, 0.1])
    return law, Linear([[1.0, 0.5]])


@dataclass(frozen=True)
class BenchmarkTask:
    """One entry of the benchmark.

    Parameters
    ----------
    part : {"exact", "mixture", "calibration"}
        Which part.
    method : str
        Name of the sampler.
    steps : int
        Steps of its plan.
    noise_std : float
        Standard deviation of the measurement's noise.
    condition : float
        Condition number of the prior, of the exact part.
    """

    part: str
    method: str
    steps: int = USUAL_STEPS
    noise_std: float = USUAL_NOISE
    condition: float = USUAL_CONDITION

    @property
    def key(self) -> str:
        """Name in the ledger."""
        return digest([asdict(self), source_digest()])

    def run(self, record: PosteriorSampler) -> dict[str, Any]:
        """Numbers of the entry, and the seconds of processor time that they took."""
        start = process_time()
        found = _PARTS[self.part](self, record)
        return {**asdict(self), **jsonable(found), "seconds": process_time() - start}


def tasks(records: Sequence[PosteriorSampler]) -> Iterator[BenchmarkTask]:
    """All entries for some samplers.

    Parameters
    ----------
    records : sequence of PosteriorSampler
        Those of :data:`~diffnum.inverse.METHODS` or of one's own.
    """
    for record in records:
        usual = FEWER.get(record.name, USUAL_STEPS)
        whole = "posterior model" not in record.needs
        if record.affine and whole:
            changes = {
                *((steps, USUAL_NOISE, USUAL_CONDITION) for steps in STEPS if steps <= usual or usual == USUAL_STEPS),
                *((usual, noise, USUAL_CONDITION) for noise in NOISES),
                *((usual, USUAL_NOISE, condition) for condition in CONDITIONS),
            }
            yield from (BenchmarkTask("exact", record.name, *change) for change in sorted(changes))
        if "mask" in record.needs:
            continue
        yield from (BenchmarkTask("mixture", record.name, usual, noise) for noise in MIXTURE_NOISES)
        if whole:
            yield BenchmarkTask("calibration", record.name, usual)


def benchmark(
    records: Sequence[str | PosteriorSampler] | None = None,
    *,
    ledger: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run the benchmark.

    Parameters
    ----------
    records : sequence of str or PosteriorSampler, optional
        Samplers; all of :data:`~diffnum.inverse.METHODS` by default.
    ledger : Path, optional
        File of finished entries: a run that was stopped goes on from there.
    progress : callable, optional
        ``progress(done, total, what)``.

    Returns
    -------
    dict
        ``rows``, one an entry, with ``version`` and ``seconds`` of processor time in all.
    """
    chosen = [method_of(record) for record in (METHODS if records is None else records)]
    known = {record.name: record for record in chosen}
    kept, entries = Ledger(ledger), list(tasks(chosen))
    for done, task in enumerate(entries):
        if progress is not None:
            progress(done, len(entries), f"{task.method}, {task.part}")
        if task.key not in kept:
            kept.put(task.key, task.run(known[task.method]))
    rows = [kept[task.key] for task in entries]
    return {"version": __version__, "seconds": sum(row["seconds"] for row in rows), "rows": rows}


# -- parts -------------------------------------------------------------------------------------------------


def _exact(task: BenchmarkTask, record: PosteriorSampler) -> dict[str, Any]:
    prior, op = gaussian_prior(task.condition)
    op = MASKED if "mask" in record.needs else op
    _, bias = exact_law(record, prior, op, task.noise_std, steps=task.steps)
    return asdict(bias)


def _mixture(task: BenchmarkTask, record: PosteriorSampler) -> dict[str, Any]:
    law, op = three_modes()
    return asdict(measured_bias(record, law, op, [MEASURED], task.noise_std, n=SAMPLES, steps=task.steps))


def _calibration(task: BenchmarkTask, record: PosteriorSampler) -> dict[str, Any]:
    law, op = three_modes()
    found = calibration(record, law, op, task.noise_std, pairs=PAIRS, draws=DRAWS, steps=task.steps)

    def both(directions: slice) -> tuple[FloatArray, FloatArray]:
        return found.coverage(LEVELS, directions)

    (measured, error), (rest, rest_error) = both(slice(0, 1)), both(slice(1, None))
    return {"measured": measured, "measured_error": error, "unmeasured": rest, "unmeasured_error": rest_error}


_PARTS = {"exact": _exact, "mixture": _mixture, "calibration": _calibration}

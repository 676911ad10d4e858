"""What methods draw from a network, against what its exact flow draws, by distances between sets of images.

The order of a method says how fast *one* image approaches the end of its trajectory. Whether the images, as a set, look
like the data is another question, with other answers: here both are measured on the same runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Start
from diffnum.jobs.ledger import Progress
from diffnum.models.quality.compare import FOUND
from diffnum.models.quality.features import Features, Source, features_for
from diffnum.models.quality.metrics import (
    frechet_distance,
    kernel_distance,
    maximum_mean_discrepancy,
    sliced_wasserstein,
)
from diffnum.models.runs.sampling import draw
from diffnum.plans import Plan, plan_for

__all__ = ["METRICS", "Quality", "QualityRow", "measure_quality", "prepared"]

METRICS = {
    "error": "error to the reference",
    "sliced_wasserstein": "sliced Wasserstein distance to the reference, pixels",
    "mmd": "squared MMD to the reference, pixels",
    "fid": "Frechet distance to the reference, features",
    "kid": "kernel distance to the reference, features",
    "fid_data": "Frechet distance to the training images, features",
    "kid_data": "kernel distance to the training images, features",
}
"""Names and meanings of what is measured; the last two where features of the training images are here."""

REFERENCE_METHOD = "dpmpp_3m_corrected"


@dataclass(frozen=True, eq=False)
class QualityRow:
    """One method.

    Parameters
    ----------
    method, label, family, order
        Catalogue name, name in prose, family, proved order.
    asked, nfe, steps : tuple of int
        Evaluations asked for; those really made; steps.
    values : dict of str to tuple of float
        For each name of :data:`METRICS` one value a number of evaluations.
    blocks : tuple of tuple of float
        The Frechet distance that methods are ranked by, for each quarter of the images by itself, at each number of
        evaluations: a ranking that changes from quarter to quarter is chance.
    images : tuple of tensors
        The first images at each number of evaluations.
    """

    method: str
    label: str
    family: str
    order: int
    asked: tuple[int, ...]
    nfe: tuple[int, ...]
    steps: tuple[int, ...]
    values: dict[str, tuple[float, ...]]
    blocks: tuple[tuple[float, ...], ...]
    images: tuple[torch.Tensor, ...]


@dataclass(frozen=True, eq=False)
class Quality:
    """Methods on one network, as sets of images.

    Parameters
    ----------
    model : str
        Identifier of the network.
    rows : tuple of QualityRow
        One a method.
    n, seed : int
        Number of images in every set, and seed of their noise; every set starts from the same noise.
    grid, terminal : str
        Kind of grid, and terminal rule.
    t_start, t_end : float
        Times between which was sampled.
    dtype : str
        Of the network.
    labels : str
        Which labels the images carry.
    features, about_features : str
        Source of the features, and the same in a sentence.
    reference : dict
        Method and evaluations of the reference set, and ``halving``: root-mean-square distance, relative, from the set
        with half as many evaluations.
    reference_values : dict of str to float
        What of :data:`METRICS` can be said of the reference set itself.
    halves : dict of str to float
        The distances between the two halves of the reference set: what sets of n/2 independent images differ by.
    reference_images : tensor
        The first images of the reference set.
    """

    model: str
    rows: tuple[QualityRow, ...]
    n: int
    seed: int
    grid: str
    terminal: str
    t_start: float
    t_end: float
    dtype: str
    labels: str
    features: str
    about_features: str
    reference: dict[str, Any]
    reference_values: dict[str, float]
    halves: dict[str, float]
    reference_images: torch.Tensor

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what was measured."""
        return tuple(self.rows[0].values)

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Numbers of evaluations at which the smallest error and the best set of images are of different methods.

        Only where the better set is better in each quarter of the images too.
        """
        found = []
        target = "fid_data" if "fid_data" in self.metrics else "fid"
        for i, asked in enumerate(self.rows[0].asked):
            exact = min(self.rows, key=lambda row: row.values["error"][i])
            best = min(self.rows, key=lambda row: row.values[target][i])
            if all(better < other for better, other in zip(best.blocks[i], exact.blocks[i], strict=True)):
                found.append(
                    f"at {asked} evaluations {exact.method} has the smallest error ({exact.values['error'][i]:.3g}; "
                    f"{best.method} {best.values['error'][i]:.3g}), and {best.method} the smallest {METRICS[target]} "
                    f"({best.values[target][i]:.3g}; {exact.method} {exact.values[target][i]:.3g}), "
                    f"in each quarter of the images too"
                )
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, each with its method, evaluations, grid, terminal rule and seed, as JSON-able data."""
        common = {"seed": self.seed, "n": self.n, "grid": self.grid, "terminal": self.terminal}
        return {
            "model": self.model,
            **common,
            "t_start": self.t_start,
            "t_end": self.t_end,
            "dtype": self.dtype,
            "labels": self.labels,
            "features": {"source": self.features, "about": self.about_features},
            "reference": {**self.reference, "values": self.reference_values},
            "halves_of_the_reference": self.halves,
            "disagreements": list(self.disagreements),
            "rows": [
                {
                    "method": row.method,
                    "order": row.order,
                    "asked": row.asked[i],
                    "nfe": row.nfe[i],
                    "steps": row.steps[i],
                    **common,
                    **{name: values[i] for name, values in row.values.items()},
                    "quarters": list(row.blocks[i]),
                }
                for row in self.rows
                for i in range(len(row.asked))
            ],
        }

    def __str__(self) -> str:
        lines = [
            f"{self.model}: sets of {self.n} images, seed {self.seed}, grid {self.grid}, "
            f"terminal rule {self.terminal}; features: {self.features}",
            f"  {'method':<22}{'nfe':>4}  " + "".join(f"{name:>20}" for name in self.metrics),
        ]
        for row in self.rows:
            for i, made in enumerate(row.nfe):
                cells = "".join(f"{row.values[name][i]:>20.4g}" for name in self.metrics)
                lines.append(f"  {row.method:<22}{made:>4}  {cells}")
        known = "".join(f"{self.reference_values.get(name, 0.0):>20.4g}" for name in self.metrics)
        lines.append(f"  {'reference':<22}{self.reference['nfe']:>4}  {known}")
        return "\n".join(lines)


def measure_quality(
    model: Any,
    methods: Sequence[str | Method],
    nfe: Sequence[int],
    n: int = 256,
    seed: int = 0,
    *,
    grid: str = "uniform_half_log_snr",
    terminal: str = "stop",
    start: Start | None = None,
    features: Source = "auto",
    reference_nfe: int = 200,
    shown: int = 4,
    batch: int = 64,
    plans: Sequence[Plan] = (),
    progress: Progress | None = None,
) -> Quality:
    """Draw sets of images by several methods at several numbers of evaluations, and measure their distances.

    Parameters
    ----------
    model : NetworkDenoiser
        Network; where it has labels, the images carry random ones (drawn from the seed, the same in every set).
    methods : sequence of str or Method
        Methods of the catalogue.
    nfe : sequence of int
        Evaluations allowed, increasing; every method takes as many whole steps as fit.
    n, seed : int
        Images in every set, and seed of their noise.
    grid, terminal, start
        As in :func:`~diffnum.plans.plan_for`.
    features : {"auto", "inception", "shipped", "random"}
        As in :func:`~diffnum.models.quality.features.features_for`.
    reference_nfe : int
        Evaluations of the reference set, many more than ``nfe``.
    shown : int
        Images to keep.
    batch : int
        Images in flight at once.
    plans : sequence of Plan
        Plans found elsewhere (:func:`diffnum.calibration.fit_plan`), one for each of ``nfe``: one more row.
    progress : callable, optional
        Called as ``progress(done, total, what)`` in images times evaluations.

    Returns
    -------
    Quality

    Raises
    ------
    ValueError
        If a method, grid, rule or source is unknown, or the numbers are out of range.
    """
    named, facts, seen = prepared(
        model,
        methods,
        nfe,
        n,
        grid=grid,
        terminal=terminal,
        start=start,
        features=features,
        reference_nfe=reference_nfe,
        plans=plans,
    )
    levels = tuple(int(k) for k in nfe)
    # The reference stops at the last time: a terminal rule is part of what is judged.
    fine, half = (plan_for(model, REFERENCE_METHOD, nfe=k, grid=grid) for k in (reference_nfe, reference_nfe // 2))
    runner = _Runner(model, n, seed, batch, progress, n * sum(p.nfe for ps in named.values() for p in ps))
    runner.total += n * (fine.nfe + half.nfe)
    reference = runner.images(fine)
    halving = _relative(runner.images(half), reference)
    target = _Target(reference, seen(model, reference), seen)
    rows = []
    for name, label, family, order in facts:
        sets = [runner.images(numbers) for numbers in named[name]]
        found, blocks = zip(*(target.measures(model, x) for x in sets), strict=True)
        rows.append(
            QualityRow(
                method=name,
                label=label,
                family=family,
                order=order,
                asked=levels,
                nfe=tuple(p.nfe for p in named[name]),
                steps=tuple(len(p) for p in named[name]),
                values={name: tuple(values[name] for values in found) for name in found[0]},
                blocks=blocks,
                images=tuple(x[:shown] for x in sets),
            )
        )
    cut = n // 2
    return Quality(
        model=model.name,
        rows=tuple(rows),
        n=n,
        seed=seed,
        grid=grid,
        terminal=terminal,
        t_start=float(fine.times[0]),
        t_end=float(fine.times[-1]),
        dtype=str(model.dtype).removeprefix("torch."),
        labels="none" if model.num_classes is None else f"0 to {model.num_classes - 1} at random",
        features=seen.source,
        about_features=seen.about,
        reference={"method": REFERENCE_METHOD, "nfe": fine.nfe, "halving": halving},
        reference_values=target.to_data(target.features),
        halves=_Target(reference[:cut], target.features[:cut], seen).distances(
            target.features[cut:], reference[cut:], paired=False
        ),
        reference_images=reference[:shown],
    )


def prepared(
    model: Any,
    methods: Sequence[str | Method],
    nfe: Sequence[int],
    n: int = 256,
    *,
    grid: str = "uniform_half_log_snr",
    terminal: str = "stop",
    start: Start | None = None,
    features: Source = "auto",
    reference_nfe: int = 200,
    plans: Sequence[Plan] = (),
) -> tuple[dict[str, list[Plan]], list[tuple[str, str, str, int]], Features]:
    """Plans, facts and features of :func:`measure_quality`, with all that is checked before any image is drawn.

    Parameters
    ----------
    model, methods, nfe, n, grid, terminal, start, features, reference_nfe, plans
        As of :func:`measure_quality`.

    Returns
    -------
    plans : dict of str to list of Plan
        One for each number of evaluations.
    facts : list of (str, str, str, int)
        Name, title, family and order of each method.
    features : Features
        What sets of images are compared by.

    Raises
    ------
    ValueError
        As there.
    """
    levels = tuple(int(k) for k in nfe)
    if not levels or any(b <= a for a, b in pairwise(levels)):
        msg = f"nfe={list(nfe)}: pass increasing numbers of evaluations, such as 5 10 20"
        raise ValueError(msg)
    if n < 8:
        msg = f"n={n}: distances between sets need at least 8 images"
        raise ValueError(msg)
    if reference_nfe < 2 * levels[-1]:
        msg = f"reference_nfe={reference_nfe}: take at least twice the largest nfe, {levels[-1]}"
        raise ValueError(msg)
    records = [find_method(m) if isinstance(m, str) else m for m in methods]
    if not records:
        msg = "methods is empty: name at least one"
        raise ValueError(msg)
    named = {
        r.name: [plan_for(model, r, nfe=k, grid=grid, terminal=terminal, start=start) for k in levels] for r in records
    }
    facts = [(r.name, r.title.removesuffix(" (bh2)"), r.family, r.order) for r in records]
    if plans:
        named[FOUND[0]] = sorted(plans, key=lambda p: p.nfe)
        facts.append(FOUND)
        if tuple(p.nfe for p in named[FOUND[0]]) != levels:
            msg = (
                f"plans have {[p.nfe for p in named[FOUND[0]]]} evaluations and nfe={list(levels)}: "
                "give one plan for each"
            )
            raise ValueError(msg)
    return named, facts, features_for(model, features)


@dataclass
class _Runner:
    """Draws sets of images from the same noise, counting."""

    model: Any
    n: int
    seed: int
    batch: int
    progress: Progress | None
    total: int
    done: int = 0

    def images(self, numbers: Plan) -> torch.Tensor:
        """A set by one plan, on the CPU in float32."""
        classes = self.model.num_classes
        # At random, not in turn: unbiased discrepancies are so for independent draws.
        labels = np.random.default_rng(self.seed).integers(classes or 1, size=self.n).tolist()
        parts = []
        for part in draw(
            self.model,
            numbers,
            range(self.n),
            self.seed,
            batch=self.batch,
            label_of=labels.__getitem__ if classes else None,
        ):
            parts.append(part.cpu().float())
            self.done += len(part) * numbers.nfe
            if self.progress is not None:
                self.progress(self.done, self.total, "images times evaluations")
        return torch.cat(parts)


@dataclass(frozen=True, eq=False)
class _Target:
    """A set that others are held against."""

    images: torch.Tensor
    features: Any
    map: Features

    def measures(self, model: Any, x: torch.Tensor) -> tuple[dict[str, float], tuple[float, ...]]:
        """Everything of :data:`METRICS` for a set from the same noise, and the Frechet distance of its quarters."""
        features = self.map(model, x)
        ranked = self.features if self.map.data is None else self.map.data
        quarters = tuple(frechet_distance(part, ranked) for part in np.array_split(features, 4))
        error = {"error": _relative(x, self.images)}
        return {**error, **self.distances(features, x, paired=True), **self.to_data(features)}, quarters

    def distances(self, features: Any, x: torch.Tensor, *, paired: bool) -> dict[str, float]:
        """Distances of a set to this one, from the same noise or from other."""
        pixels, own = self.images.flatten(1).numpy(), x.flatten(1).numpy()
        return {
            "sliced_wasserstein": sliced_wasserstein(own, pixels),
            "mmd": maximum_mean_discrepancy(own, pixels, paired=paired),
            "fid": frechet_distance(features, self.features),
            "kid": kernel_distance(features, self.features, paired=paired),
        }

    def to_data(self, features: Any) -> dict[str, float]:
        """Distances of a set of features to those of the training images, where these are here."""
        if self.map.data is None:
            return {}
        return {
            "fid_data": frechet_distance(features, self.map.data),
            "kid_data": kernel_distance(features, self.map.data),
        }


def _relative(x: torch.Tensor, reference: torch.Tensor) -> float:
    """Root-mean-square distance relative to the reference."""
    return math.sqrt(float((x - reference).double().square().mean() / reference.double().square().mean()))

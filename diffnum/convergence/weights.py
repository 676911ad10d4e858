"""What the weights read off a sampler say: low precision, the method they are of, the first weight that is off."""

from __future__ import annotations

from diffnum.coefficients.catalogue import methods
from diffnum.convergence.probe import Difference, Probe, WeightComparison, probe
from diffnum.types import Sampler, Schedule

__all__ = ["low_precision", "probed", "weight_sentences"]

SINGLE = 1e-5
"""Weights that differ from a catalogue method by less than this, but by more than rounding, are single precision."""

ENDING = 6
"""First of the last steps of a probe, which makes eight."""

CLOSE = 0.1
"""Weights further than this from every method of the catalogue are of another method."""


def probed(sampler: Sampler, schedule: Schedule) -> tuple[Probe | None, str]:
    """Weights that the sampler uses, or why they cannot be read."""
    try:
        return probe(sampler, schedule=schedule), ""
    except Exception as error:
        return None, f"its weights could not be read off ({error})"


def low_precision(numbers: Probe | None, claimed: float) -> str:
    """Whether arithmetic or coefficients are of single precision."""
    if numbers is None:
        return ""
    if 1e-11 < numbers.residual < 1e-4:
        return f"arithmetic is exact to {numbers.residual:.0e} only: compute in the dtype of x, here float64"
    nearest = _nearest(numbers, claimed)
    if nearest is not None and 1e-10 < _off(nearest) < SINGLE:
        return (
            f"its weights are those of {nearest.reference} to {_off(nearest):.0e} only: coefficients in single "
            "precision; compute them in float64"
        )
    return ""


def weight_sentences(numbers: Probe | None, claimed: float) -> list[str]:
    """What the weights say: which method they are of, and the first that is off from one of the claimed order."""
    same, right = _nearest(numbers, claimed, true=False), _nearest(numbers, claimed)
    found = []
    if same is not None and not _inner(same) and methods()[same.reference].order < claimed:
        ends = "" if same.ok else ", but for the last steps"
        found.append(f"its weights are those of {same.reference}, of order {methods()[same.reference].order}{ends}")
    if right is not None and not right.ok:
        found.append(f"weights read off it: {right}")
    return found


def _nearest(numbers: Probe | None, claimed: float, *, true: bool = True) -> WeightComparison | None:
    """Method of the catalogue, truly of the claimed order or only claiming it, whose weights are nearest."""
    if numbers is None:
        return None
    best: WeightComparison | None = None
    for record in methods().values():
        if claimed not in ((record.order, *record.orders.values()) if true else (record.claimed_order,)):
            continue
        try:
            found = numbers.compare(record)
        except Exception:
            continue
        if not found.reason and _off(found) < (CLOSE if best is None else _off(best)):
            best = found
    return best


def _inner(found: WeightComparison) -> list[Difference]:
    """Differences before the last steps, where libraries lower the order on purpose."""
    return [d for d in found.differences if d.step < ENDING]


def _off(found: WeightComparison) -> float:
    """Largest difference before the last steps; of all steps where those are the same."""
    return max((d.size for d in _inner(found)), default=0.0 if found.differences else found.worst)

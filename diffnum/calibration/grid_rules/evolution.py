"""AutoDiffusion's search for timesteps: an evolution of subsets of the candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diffnum.calibration.grid_rules.task import GridTask
from diffnum.types import FloatArray

__all__ = ["Evolution", "evolution", "evolve"]


@dataclass(frozen=True, eq=False)
class Evolution:
    """What an evolution found.

    Parameters
    ----------
    levels : ndarray, shape (steps + 1,)
        Half-log-SNRs of the best subset.
    value : float
        Its objective, as the search saw it: the least of many noisy numbers, hence too low.
    judged : int
        Subsets that were judged.
    history : tuple of float
        Best objective after each epoch.
    """

    levels: FloatArray
    value: float
    judged: int
    history: tuple[float, ...]


def evolution(
    task: GridTask,
    *,
    population: int = 50,
    epochs: int = 10,
    parents: int = 10,
    mutants: int = 25,
    children: int = 10,
    probability: float = 0.25,
) -> FloatArray:
    """Evolution of subsets of the candidates by the endpoint error; see :func:`evolve`.

    Parameters
    ----------
    task : GridTask
        Model, method and candidates of nodes.
    population, epochs, parents, mutants, children, probability
        As of :func:`evolve`.

    Returns
    -------
    ndarray, shape (nfe + 1,)
        Half-log-SNRs, increasing.
    """
    return evolve(
        task, population=population, epochs=epochs, parents=parents, mutants=mutants, children=children,
        probability=probability,
    ).levels  # fmt: skip


def evolve(
    task: GridTask,
    objective: Callable[[FloatArray], float] | None = None,
    *,
    population: int = 50,
    epochs: int = 10,
    parents: int = 10,
    mutants: int = 25,
    children: int = 10,
    probability: float = 0.25,
    seed: int | None = None,
) -> Evolution:
    """Evolve subsets of the candidates.

    Parameters
    ----------
    task : GridTask
        The question.
    objective : callable, optional
        Function of half-log-SNRs to be made small, perhaps noisy; the endpoint error on the noises of the task by
        default. (The paper takes the Frechet distance of some thousand samples.)
    population : int
        Subsets in each epoch; the first has the one nearest to equal steps, the others are random.
    epochs : int
        Generations.
    parents : int
        Best subsets so far from which the next generation comes.
    mutants, children : int
        Subsets made by mutation of one parent and by crossover of two; random ones fill the population.
    probability : float
        With which a mutation replaces each candidate.
    seed : int, optional
        Of the random choices; that of the task by default.

    Returns
    -------
    Evolution

    Raises
    ------
    ValueError
        If a number is out of range, or the candidates are too few.

    References
    ----------
    Li et al., AutoDiffusion, arXiv:2309.10438; lilijiangg/AutoDiffusion at 12920823,
    examples/guided_diffusion/search_imagenet64_classifier_guidance.py (there with layers of the network, which are
    left out here).
    """
    for name, value in (("population", population), ("epochs", epochs), ("parents", parents)):
        if value < 1:
            msg = f"{name}={value!r}: use a positive whole number"
            raise ValueError(msg)
    inner = len(task.levels) - 2
    if inner < task.steps - 1:
        msg = f"{task.steps} steps do not fit between {inner + 2} candidates: take more candidates"
        raise ValueError(msg)
    rng = np.random.default_rng([task.seed if seed is None else seed, 12])
    judge = task.error if objective is None else objective
    size = task.steps - 1
    known: dict[tuple[int, ...], float] = {}
    history = []

    def fresh() -> tuple[int, ...]:
        return tuple(sorted((1 + rng.permutation(inner)[:size]).tolist()))

    def mutated(one: tuple[int, ...]) -> tuple[int, ...]:
        kept = [j for j in one if rng.random() >= probability]
        rest = np.setdiff1d(np.arange(1, inner + 1), kept)
        return tuple(sorted([*kept, *rng.permutation(rest)[: size - len(kept)].tolist()]))

    def crossed(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
        mixed = {a if rng.random() < 0.5 else b for a, b in zip(one, other, strict=True)}
        rest = np.setdiff1d(np.arange(1, inner + 1), sorted(mixed))
        return tuple(sorted([*mixed, *rng.permutation(rest)[: size - len(mixed)].tolist()]))

    even = np.rint(np.linspace(0, inner + 1, task.steps + 1)[1:-1]).astype(int).tolist()
    generation = [tuple(even), *(fresh() for _ in range(population - 1))]
    for _ in range(epochs):
        for one in generation:
            if one not in known:
                known[one] = judge(task.levels[[0, *one, -1]])
        ranked = sorted(known, key=known.__getitem__)[:parents]
        history.append(known[ranked[0]])
        pick = [ranked[i] for i in rng.integers(len(ranked), size=mutants + 2 * children)]
        generation = [
            *(mutated(one) for one in pick[:mutants]),
            *(crossed(*pair) for pair in zip(pick[mutants::2], pick[mutants + 1 :: 2], strict=True)),
        ]
        generation += [fresh() for _ in range(population - len(generation))]
    best = ranked[0]
    return Evolution(task.levels[[0, *best, -1]], known[best], len(known), tuple(history))

r"""What showing tokens at once costs: conditional total correlation, and the best schedules.

.. admonition:: Theorem

   Let the positions be shown in sets :math:`A_1, \dots, A_K`, whatever they hold, each token drawn from its exact law
   given what is shown so far, those of one set independently. Then

   .. math:: \mathrm{KL}(p \,\|\, \hat p) = \sum_i \mathrm{TC}(X_{A_i} \mid X_{A_1 \cup \dots \cup A_{i-1}}),

   with the conditional total correlation :math:`\mathrm{TC}(X_A \mid X_B) = \sum_{d \in A} H(X_d \mid X_B) - H(X_A
   \mid X_B)`.

   *Proof.* :math:`\log p/\hat p = \sum_i \log p(x_{A_i} \mid x_{B_i}) / \prod_{d \in A_i} p(x_d \mid x_{B_i})` by the
   chain rule; take the mean under :math:`p`. ∎

If the sets are drawn at random, the sum's mean is the divergence of the laws of sequence and order together, and
bounds that of the sequence alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from diffnum.discrete.checks import whole_number
from diffnum.discrete.laws import Law, entropy_of
from diffnum.types import FloatArray

__all__ = [
    "best_counts",
    "best_sets",
    "counts_cost",
    "entropies",
    "entropy_curve",
    "parallel_divergence",
    "total_correlation",
]

LONGEST_SETS = 12
"""Most positions that sets are optimised over: there are 3**L pairs."""


def entropies(law: Law) -> FloatArray:
    """Entropy in nats of every set of positions, shape (2**L,); bit d of the index stands for position d."""
    length = law.length
    if length > 20:
        msg = f"length {length} has too many subsets: use a law of at most 20 positions"
        raise ValueError(msg)
    tables: dict[int, FloatArray] = {2**length - 1: law.table}
    out = np.zeros(2**length)
    for subset in range(2**length - 1, 0, -1):
        members = [d for d in range(length) if subset >> d & 1]
        if subset not in tables:
            extra = next(d for d in range(length) if not subset >> d & 1)
            larger = tables[subset | 1 << extra]
            tables[subset] = larger.sum(axis=sum(1 for d in members if d < extra))
        out[subset] = float(entropy_of(tables[subset].ravel()))
    return out


def total_correlation(law: Law, positions: Sequence[int], given: Sequence[int] = ()) -> float:
    """Conditional total correlation of the tokens at some positions given those at others, in nats, >= 0.

    Parameters
    ----------
    law : Law
        The data.
    positions : sequence of int
        Positions whose tokens are drawn at once.
    given : sequence of int
        Positions known before.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the positions overlap, repeat or lie outside.
    """
    chosen = [*positions, *given]
    if len(set(chosen)) != len(chosen):
        msg = f"positions={list(positions)} and given={list(given)} overlap: use different ones"
        raise ValueError(msg)
    h = {part: _entropy(law, part) for part in [tuple(given), *((d, *given) for d in positions), tuple(chosen)]}
    base = h[tuple(given)]
    return max(0.0, sum(h[d, *given] - base for d in positions) - (h[tuple(chosen)] - base))


def _entropy(law: Law, positions: Sequence[int]) -> float:
    return float(entropy_of(law.marginal(sorted(positions)).ravel())) if positions else 0.0


def parallel_divergence(law: Law, sets: Sequence[Sequence[int]]) -> float:
    """Divergence KL(data || output) of showing fixed sets of positions one after another, by the theorem.

    Parameters
    ----------
    law : Law
        The data.
    sets : sequence of sequences of int
        Positions shown together, in turn; a partition of all.

    Returns
    -------
    float
        In nats.

    Raises
    ------
    ValueError
        If the sets are not a partition of the positions.
    TypeError
        If one is a single position.
    """
    if not all(np.ndim(part) == 1 for part in sets):
        msg = f"sets={sets!r}: pass sets of positions, such as [[0, 2], [1]]"
        raise TypeError(msg)
    shown = [d for part in sets for d in part]
    if sorted(shown) != list(range(law.length)):
        msg = f"sets={[list(s) for s in sets]} show {sorted(shown)}: each position must be in one set"
        raise ValueError(msg)
    cost, before = 0.0, list[int]()
    for part in sets:
        cost += total_correlation(law, list(part), before)
        before = [*before, *part]
    return cost


def best_sets(law: Law, steps: int) -> tuple[tuple[tuple[int, ...], ...], float]:
    """The sets that cost the least, for a number of steps: dynamic programming over all subsets.

    Parameters
    ----------
    law : Law
        At most ``LONGEST_SETS`` positions.
    steps : int
        Number of sets, >= 1; more than positions count as one each.

    Returns
    -------
    sets : tuple of tuples of positions
    divergence : float
        In nats.

    Raises
    ------
    ValueError
        If there are more positions than partitions can be listed for.
    """
    length, steps = law.length, whole_number("steps", steps, remedy="use at least one step")
    if length > LONGEST_SETS:
        msg = f"length {length} has too many partitions: use at most {LONGEST_SETS} positions"
        raise ValueError(msg)
    h, whole = entropies(law), 2**length - 1
    single = np.array([1 << d for d in range(length)])

    def cost(before: int, part: int) -> float:
        members = [d for d in range(length) if part >> d & 1]
        return float(np.sum(h[before | single[members]] - h[before]) - (h[before | part] - h[before]))

    @cache
    def best(before: int, left: int) -> tuple[float, int]:
        rest = whole & ~before
        if left == 1:
            return cost(before, rest), rest
        found, part = (np.inf, 0), rest
        while part:
            if part != rest or rest.bit_count() == 1:
                value = cost(before, part) + (best(before | part, left - 1)[0] if part != rest else 0.0)
                if value < found[0] - 1e-15:
                    found = (value, part)
            part = (part - 1) & rest
        return found

    total, before, sets = best(0, min(steps, length))[0], 0, []
    for left in range(min(steps, length), 0, -1):
        part = best(before, left)[1]
        sets.append(tuple(d for d in range(length) if part >> d & 1))
        before |= part
        if before == whole:
            break
    return tuple(sets), max(0.0, total)


def entropy_curve(law: Law) -> FloatArray:
    """Mean entropy of m tokens at random positions, m = 0 ... L, in nats, shape (L + 1,).

    Tables up to 20 positions by all subsets; Markov chains (:meth:`Law.markov`) of any length by their gaps.

    Parameters
    ----------
    law : Law
        The data, of L tokens.

    Returns
    -------
    ndarray, shape (L + 1,)
    """
    length = law.length
    if law.chain is not None and law.chain.plain:
        return _markov_curve(law)
    h = entropies(law)
    return np.array(
        [np.mean([h[sum(1 << d for d in part)] for part in combinations(range(length), m)]) for m in range(length + 1)]
    )


def _markov_curve(law: Law) -> FloatArray:
    """The same for a Markov chain: H(B) is that of its first token and one conditional entropy for each gap."""
    length, moves = law.length, law.chain.moves  # type: ignore[union-attr]
    alone = law.marginals()

    firsts = entropy_of(alone)
    gaps = np.zeros((length, length))
    for i in range(length - 1):
        between = np.eye(law.tokens)
        for j in range(i + 1, length):
            between = between @ moves[j - 1]
            gaps[i, j] = alone[i] @ entropy_of(between)
    curve = np.zeros(length + 1)
    for m in range(1, length + 1):
        whole = comb(length, m)
        curve[m] = sum(firsts[i] * comb(length - i - 1, m - 1) / whole for i in range(length - m + 1))
        if m > 1:
            ways = np.array(
                [comb(length - gap - 1, m - 2) / whole if length - gap - 1 >= m - 2 else 0.0 for gap in range(length)]
            )
            curve[m] += sum(float(np.sum(np.diagonal(gaps, gap))) * ways[gap] for gap in range(1, length))
    return curve


def _curve(values: Any) -> FloatArray:
    """A curve of mean entropies; raises ValueError for anything else."""
    if isinstance(values, Law):
        msg = f"curve={values!r} is a Law: pass entropy_curve(law)"
        raise TypeError(msg)
    h = np.asarray(values, dtype=np.float64)
    if h.ndim != 1 or len(h) < 2 or not np.all(np.isfinite(h)):
        msg = f"curve has shape {h.shape}: pass L + 1 finite entropies, as dn.discrete.entropy_curve gives them"
        raise ValueError(msg)
    return h


def counts_cost(curve: Any, counts: Sequence[int]) -> float:
    """Mean conditional total correlation of showing so many random tokens a step, in nats.

    Parameters
    ----------
    curve : array_like, shape (L + 1,)
        From :func:`entropy_curve`.
    counts : sequence of int
        Tokens that each step shows; they add up to L.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the counts are not positive, or do not add up to the number of tokens.
    """
    h = _curve(curve)
    if any(whole_number("count", k, 0) < 1 for k in counts) or sum(counts) != len(h) - 1:
        msg = f"counts={list(counts)} must be positive and add up to {len(h) - 1}"
        raise ValueError(msg)
    cost, m = 0.0, 0
    for k in counts:
        cost += k * (h[m + 1] - h[m]) - (h[m + k] - h[m])
        m += k
    return float(cost)


def best_counts(curve: Any, steps: int) -> tuple[tuple[int, ...], float]:
    """The numbers of random tokens a step that cost the least: dynamic programming over how many are shown.

    Parameters
    ----------
    curve : array_like, shape (L + 1,)
        Entropies of :func:`entropy_curve`, in nats.
    steps : int
        Steps, at least 1; no more than L are used.

    Returns
    -------
    counts : tuple of int
    cost : float
        Mean conditional total correlation in nats.
    """
    h = _curve(curve)
    length = len(h) - 1
    steps = min(whole_number("steps", steps, remedy="use at least one step"), length)
    slope = np.diff(h)
    value = np.full((steps + 1, length + 1), np.inf)
    came = np.zeros((steps + 1, length + 1), dtype=int)
    value[0, 0] = 0.0
    for k in range(1, steps + 1):
        for end in range(k, length + 1):
            m = np.arange(k - 1, end)
            total = value[k - 1, m] + (end - m) * slope[m] - (h[end] - h[m])
            came[k, end] = m[int(np.argmin(total))]
            value[k, end] = total.min()
    counts, end = [], length
    for k in range(steps, 0, -1):
        counts.append(int(end - came[k, end]))
        end = came[k, end]
    return tuple(reversed(counts)), max(0.0, float(value[steps, length]))

"""Unmasking by count: so many tokens a step, chosen by a rule, whatever the time.

The reverse chain of a masked process lets each masked token show at the same rate, which does not depend on the
state; *what* it shows does not depend on the time. Hence which token comes next is uniform among the masked ones, and
the times are labels: the first-hitting sampler is random-order autoregression. The other rules show several tokens at
once, or choose by what the model says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from diffnum.discrete.checks import TokenArray, whole_number
from diffnum.discrete.enumeration import Enumerated, expand
from diffnum.discrete.laws import drawn
from diffnum.discrete.models import answered
from diffnum.discrete.steps import checked_temperature, tempered
from diffnum.types import FloatArray

__all__ = ["COUNTS", "ORDERS", "Unmask", "counts"]

DIGITS = 12
"""Scores that agree to so many digits are a tie."""


def _random(x: TokenArray, _guess: TokenArray, _p: FloatArray) -> FloatArray:
    return np.zeros(x.shape)


def _confidence(_x: TokenArray, guess: TokenArray, p: FloatArray) -> FloatArray:
    return np.take_along_axis(p, guess[..., None], axis=-1)[..., 0]


def _entropy(_x: TokenArray, _guess: TokenArray, p: FloatArray) -> FloatArray:
    return np.asarray(np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1))


def _margin(_x: TokenArray, _guess: TokenArray, p: FloatArray) -> FloatArray:
    best = np.sort(p, axis=-1)
    return np.asarray(best[..., -1] - best[..., -2])


def _left(x: TokenArray, _guess: TokenArray, _p: FloatArray) -> FloatArray:
    return np.broadcast_to(-np.arange(x.shape[1], dtype=np.float64), x.shape)


ORDERS: dict[str, Callable[[TokenArray, TokenArray, FloatArray], FloatArray]] = {
    "random": _random,
    "confidence": _confidence,
    "entropy": _entropy,
    "margin": _margin,
    "left": _left,
}
"""Score of each position from the state, a guess at every token, the marginals: high ones first, ties at random."""


def _even(length: int, steps: int) -> list[int]:
    return [length // steps + (i < length % steps) for i in range(steps)]


def _cosine(length: int, steps: int) -> list[int]:
    left = [length]
    for i in range(1, steps):
        left.append(min(left[-1] - 1, int(length * float(np.cos(np.pi / 2 * i / steps)))))
    return [a - b for a, b in pairwise([*left, 0])]


COUNTS: dict[str, Callable[[int, int], list[int]]] = {"even": _even, "cosine": _cosine}
"""How many tokens each step shows. ``even``: LLaDA's; ``cosine``: MaskGIT's, few at first, at least one a step."""


def counts(length: int, steps: int | Sequence[int], rule: str = "even") -> tuple[int, ...]:
    """Numbers of tokens that the steps show.

    Parameters
    ----------
    length : int
        Number of tokens.
    steps : int or sequence of int
        Number of steps, of which more than ``length`` count as ``length``; or the counts themselves.
    rule : {"even", "cosine"}
        How they are shared out.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If a count is not positive or the counts do not add up to ``length``: masks would be left.
    """
    if rule not in COUNTS:
        msg = f"rule={rule!r} is unknown: use one of {', '.join(COUNTS)}"
        raise ValueError(msg)
    length = whole_number("length", length)
    if np.ndim(steps) == 0:
        chosen = COUNTS[rule](length, min(whole_number("steps", steps, remedy="use at least one step"), length))
    else:
        chosen = [whole_number("count", k, 0) for k in steps]  # type: ignore[union-attr]
    if any(k < 1 for k in chosen) or sum(chosen) != length:
        msg = f"counts {chosen} must be positive and show all {length} tokens: masks would be left at the end"
        raise ValueError(msg)
    return tuple(chosen)


@dataclass(frozen=True)
class Unmask:
    """Shows so many tokens a step, chosen by a rule; they are drawn independently from the model's marginals.

    Parameters
    ----------
    order : {"random", "confidence", "entropy", "margin", "left"}
        Which tokens come first.
    one : bool
        One token a step, whatever the number of steps asked for.
    rule : {"even", "cosine"}
        How many tokens each step shows.
    blocks : int
        Blocks from left to right; a block is finished before the next begins.
    temperature : float
        Temperature of the draws; confidence is that of the model at temperature 1.
    """

    order: str = "random"
    one: bool = False
    rule: str = "even"
    blocks: int = 1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            msg = f"order={self.order!r} is unknown: use one of {', '.join(ORDERS)}"
            raise ValueError(msg)
        if self.rule not in COUNTS:
            msg = f"rule={self.rule!r} is unknown: use one of {', '.join(COUNTS)}"
            raise ValueError(msg)
        whole_number("blocks", self.blocks)
        checked_temperature(self.temperature)

    def plan(self, length: int, steps: int | Sequence[int] | None) -> list[tuple[int, int, int]]:
        """Steps as (first position, end, count): where each may show tokens, and how many."""
        if length % self.blocks:
            msg = f"blocks={self.blocks} does not divide the length {length}: use a divisor"
            raise ValueError(msg)
        width, blocks = length // self.blocks, self.blocks
        share = steps
        if steps is not None and np.ndim(steps) == 0:
            number = whole_number("steps", steps, remedy="use at least one step")
            if number % blocks and not self.one:
                msg = f"steps={number} is not a multiple of blocks={blocks}: use one"
                raise ValueError(msg)
            share = number // blocks
        shares = (1,) * width if self.one or share is None else counts(width, share, self.rule)
        return [(b * width, (b + 1) * width, k) for b in range(self.blocks) for k in shares]

    def law(self, space: Enumerated, steps: int | Sequence[int] | None) -> FloatArray:
        """Exact law of the output on all states, shape (N,)."""
        mask, length = space.tokens, space.length
        law = space.noise()
        p = space.denoised(0.5)
        for first, end, count in self.plan(length, steps):
            at = np.flatnonzero(law > 0)
            x = space.states[at]
            fill = np.eye(space.letters)[x]
            fill[..., :mask] = np.where((x == mask)[..., None], tempered(p[at], self.temperature), fill[..., :mask])
            fill[..., mask] = 0.0
            rows, guess, weight = expand(fill)
            law = self._shown(space, x[rows], guess, p[at][rows], law[at][rows] * weight, (first, end), count)
        return law

    def _shown(
        self,
        space: Enumerated,
        x: TokenArray,
        guess: TokenArray,
        p: FloatArray,
        weight: FloatArray,
        block: tuple[int, int],
        count: int,
    ) -> FloatArray:
        """Law after the best ``count`` tokens of a block took their guesses, ties shared evenly."""
        scores = self._scores(x, guess, p, space.tokens, block)
        edge = -np.sort(-scores, axis=1)[:, count - 1, None]
        sure, tied = scores > edge, scores == edge
        open_places = count - sure.sum(axis=1)
        ways = _binomial(tied.sum(axis=1), open_places)
        law = np.zeros(space.size)
        for chosen in combinations(range(*block), count):
            take = np.zeros(space.length, dtype=bool)
            take[list(chosen)] = True
            fits = np.all(sure <= take, axis=1) & np.all(take <= (sure | tied), axis=1)
            y = np.where(take, guess[fits], x[fits])
            law += np.bincount(space.index(y), weights=weight[fits] / ways[fits], minlength=space.size)
        return law

    def _scores(self, x: TokenArray, guess: TokenArray, p: FloatArray, mask: int, block: tuple[int, int]) -> FloatArray:
        """Scores, minus infinity where nothing may be shown."""
        inside = np.zeros(x.shape[1], dtype=bool)
        inside[slice(*block)] = True
        return np.where((x == mask) & inside, np.round(ORDERS[self.order](x, guess, p), DIGITS), -np.inf)

    def draw(
        self,
        model: Any,
        x: TokenArray,
        tokens: int,
        steps: int | Sequence[int] | None,
        rng: np.random.Generator,
    ) -> TokenArray:
        """Run on a batch of fully masked sequences of shape (n, L)."""
        for first, end, count in self.plan(x.shape[1], steps):
            p = answered(model, x, 0.5)
            guess = drawn(tempered(p, self.temperature), rng)
            scores = self._scores(x, guess, p, tokens, (first, end))
            ranked = np.lexsort((rng.random(x.shape), -scores), axis=1)[:, :count]
            x = x.copy()
            np.put_along_axis(x, ranked, np.take_along_axis(guess, ranked, axis=1), axis=1)
        return x


def _binomial(n: Any, k: Any) -> FloatArray:
    """Ways to choose k of n, for small whole numbers."""
    from scipy.special import comb

    return np.asarray(comb(n, k))

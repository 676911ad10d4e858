"""Draws that are spread evenly over a batch: the law of every sequence is untouched, the noise of their mean is not.

A sampler on batches is judged by means over its draws. If the uniform numbers that the sequences in one state are given
are spread evenly over the cube, as points of a shifted lattice are, the shares in which this state goes on are nearly
the probabilities themselves: array-RQMC (L'Ecuyer, Lecot and Tuffin, 2008), here without knowing what the sampler does.
The shift is drawn anew at each call, so that each sequence sees independent uniform numbers whatever its past: means
stay without bias, and only numbers of different sequences depend on each other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from diffnum.discrete.checks import TokenArray
from diffnum.types import FloatArray

__all__ = ["EvenDraws"]


def _primes(count: int) -> list[int]:
    """The first prime numbers."""
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


SLOPES = np.sqrt(np.array(_primes(64), dtype=np.float64)) % 1.0
"""Irrational slopes, independent over the whole numbers: multiples of them fill the cube evenly (Richtmyer)."""


class EvenDraws(np.random.Generator):
    """A generator whose uniform, exponential and Gumbel numbers are spread evenly over the rows of a batch.

    Parameters
    ----------
    seed : numpy.random.SeedSequence
        Seed.

    Notes
    -----
    Numbers are spread if there is one, or one array, for each row; all others are those of any generator.
    """

    def __init__(self, seed: np.random.SeedSequence) -> None:
        super().__init__(np.random.Philox(seed))
        self._states: list[TokenArray] = []
        self._place: FloatArray | None = None
        self._used = 0

    def seen(self, states: TokenArray) -> None:
        """Rows are in these states now, shape (n,): numbers are spread over those in the same one."""
        before = self._states[-1:] if self._states and len(self._states[-1]) == len(states) else []
        self._states, self._place, self._used = [*before, states], None, 0

    def spread(self, shape: tuple[int, ...]) -> FloatArray | None:
        """Uniform numbers of this shape, or None if they are not for the rows."""
        count = math.prod(shape[1:])
        if not self._states or not shape or shape[0] != len(self._states[-1]) or self._used + count > len(SLOPES):
            return None
        if self._place is None:
            shuffled = super().permutation(shape[0])
            order = shuffled[np.lexsort([states[shuffled] for states in self._states])]
            self._place = np.empty(shape[0])
            self._place[order] = np.arange(shape[0])
        slopes = SLOPES[self._used : self._used + count]
        self._used += count
        return np.asarray(((self._place[:, None] * slopes + super().random(count)) % 1.0).reshape(shape))

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        """Uniform numbers in [0, 1)."""
        shape = tuple(np.atleast_1d(size).tolist()) if size is not None else () if out is None else out.shape
        even = self.spread(shape)
        if even is None:
            return super().random(size, dtype, out)
        if np.dtype(dtype) == np.float32:
            even = np.floor(even * 2.0**24) / 2.0**24  # as numpy's: below one, and never rounded up to it
        if out is None:
            return even.astype(dtype)
        out[...] = even
        return out

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """Uniform numbers in [low, high)."""
        return super().uniform(low, high) if size is None else low + (np.asarray(high) - low) * self.random(size)

    def standard_exponential(self, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Exponential numbers."""
        plain = size is None or args or kwargs
        return super().standard_exponential(size, *args, **kwargs) if plain else -np.log1p(-self.random(size))

    def exponential(self, scale: Any = 1.0, size: Any = None) -> Any:
        """Exponential numbers of some mean."""
        return super().exponential(scale) if size is None else scale * self.standard_exponential(size)

    def gumbel(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        """Gumbel numbers."""
        return super().gumbel(loc, scale) if size is None else loc - scale * np.log(self.standard_exponential(size))

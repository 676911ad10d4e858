"""Laws after a step of two leaps whose second one looks at both states before it: sums over pairs, none of them listed.

The first leap has a kernel that is a product over positions, and so has the second one given the pair of states. Three
facts make the sum over pairs cheap. Where the second leap takes its rates at the second state and only its origin at
the first, as in theta-RK-2 with theta = 1/2, each position sees of the first state one letter: for each second state
the first one is summed out position by position. In general the pairs with one origin are the inner index of a matrix
product of two halves of the sequence. And a law that is left alone by a renaming of its tokens, or by reading it
backwards, gives to pairs that differ by such a symmetry the same shares: one of each orbit is enough.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from diffnum.discrete.checks import TokenArray
from diffnum.discrete.enumeration import StateSpace, products
from diffnum.discrete.steps import Leap, acting, node_of
from diffnum.problems._threads import UNSPREAD
from diffnum.types import FloatArray

__all__ = ["at_letters", "leap_twice"]

BYTES = 1 << 20
"""Tables that are worked on at once: about a core's cache."""

FEWEST = 32
"""States that are worth a thread."""


def at_letters(rule: Leap) -> bool:
    """Whether the second leap sees of the first state only the letter at each position, its origin."""
    return rule.path[1].origin == 0 and rule.path[1].weights[0] == 0


def leap_twice(rule: Leap, space: StateSpace, law: FloatArray, t: float, s: float) -> FloatArray:
    """Law on all states after two leaps, exactly.

    Parameters
    ----------
    rule : Leap
        Two leaps.
    space : StateSpace
        States.
    law : ndarray, shape (N,)
        Law at time t.
    t, s : float
        Times, s < t.

    Returns
    -------
    ndarray, shape (N,)
    """
    group, orbits, sizes = space.orbits(law)
    work = (_LetterSums if at_letters(rule) else _PairSums)(rule, space, law, t, s)
    threads = min(os.cpu_count() or 1, 1 + len(orbits) // FEWEST)
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(work, np.array_split(orbits, threads), np.array_split(sizes, threads))
        out = np.asarray(sum(parts))
    return np.asarray(out[group].mean(axis=0))


class _Sums:
    """What both ways of summing share: the pairs' probabilities as halves, and the halves' sizes."""

    def __init__(self, rule: Leap, space: StateSpace, law: FloatArray, t: float, s: float) -> None:
        self.rule, self.space, self.ends = rule, space, (t, s)
        self.half = (space.length + 1) // 2
        self.sizes = space.letters**self.half, space.letters ** (space.length - self.half)
        p = space.denoised(t)
        first = rule.stage(0, space.process, [space.states], [p], t, s)
        # probability of each first state and of half of the second one; of the other half
        self.left = np.ascontiguousarray(products(law[:, None], first[:, : self.half]).T)
        self.right = np.ascontiguousarray(products(np.ones((space.size, 1)), first[:, self.half :]).T)
        self.later = space.denoised(node_of(rule, 1, space.process, t, s))

    def pairs(self, second: TokenArray) -> FloatArray:
        """Probabilities of every first state with some second ones, shape (m, N)."""
        return np.asarray(self.left[second // self.sizes[1]] * self.right[second % self.sizes[1]])


class _LetterSums(_Sums):
    """The second leap from the first state, with rates at the second one only."""

    def __init__(self, rule: Leap, space: StateSpace, law: FloatArray, t: float, s: float) -> None:
        super().__init__(rule, space, law, t, s)
        x, p = space.states, self.later
        self.kernel = np.stack(
            [
                rule.stage(1, space.process, [np.full_like(x, letter), x], [p, p], t, s)
                for letter in range(space.letters)
            ],
            axis=2,
        )  # second state, position, letter of the first state, letter of the result
        self.many = max(1, BYTES // (8 * (space.size + sum(size**2 for size in self.sizes))))

    def __call__(self, second: TokenArray, weights: TokenArray) -> FloatArray:
        """Law of the results that come by some second states, each counted so many times."""
        out, (rows, columns) = np.zeros(self.sizes), self.sizes
        for first in range(0, len(second), self.many):
            part = slice(first, first + self.many)
            kernel = self.kernel[second[part]]
            before = (self.pairs(second[part]) * weights[part, None]).reshape(-1, rows, columns)
            over = _squares(kernel[:, : self.half]).swapaxes(1, 2) @ before @ _squares(kernel[:, self.half :])
            out += over.sum(axis=0)
        return out.ravel()


def _squares(kernel: FloatArray) -> FloatArray:
    """Products over positions of the kernels of single ones, (m, L, S, S), as matrices, (m, S**L, S**L)."""
    out = np.ones((len(kernel), 1, 1))
    for d in range(kernel.shape[1]):
        rows, columns = out.shape[1] * kernel.shape[2], out.shape[2] * kernel.shape[3]
        out = (out[:, :, None, :, None] * kernel[:, d, None, :, None, :]).reshape(-1, rows, columns)
    return out


class _PairSums(_Sums):
    """The second leap with rates at both states, those at the one that is not its origin the inner index."""

    def __init__(self, rule: Leap, space: StateSpace, law: FloatArray, t: float, s: float) -> None:
        super().__init__(rule, space, law, t, s)
        own = rule.path[1].origin
        rates = rule.parts(1, space.process, [space.states] * 2, [space.denoised(t), self.later], t, s)
        none = np.zeros((*space.states.shape, space.letters))
        self.at_origin = rates.get(own, none)
        self.elsewhere = np.ascontiguousarray(np.moveaxis(rates.get(1 - own, none), 0, -1))
        self.span = rule.length(1, space.process, t, s)

    def __call__(self, origins: TokenArray, weights: TokenArray) -> FloatArray:
        """Law of the results that leap from some origins, each counted so many times."""
        # memory that is asked for anew costs more than what is done with it
        space, out = self.space, np.zeros(self.sizes)
        together = max(1, min(len(origins), BYTES // (16 * space.length * space.letters * space.size)))
        for first in range(0, len(origins), together):
            some = origins[first : first + together]
            if first == 0 or len(some) != together:
                kernel = np.empty((space.length, space.letters, len(some), space.size))
                flat = kernel.reshape(space.length, space.letters, -1)
                left, right = _Products(self.half, flat), _Products(space.length - self.half, flat)
                at = np.arange(space.length)[:, None]
            own = at, space.states[some].T, np.arange(len(some))
            np.add(self.elsewhere[:, :, None], np.moveaxis(self.at_origin[some], 0, -1)[..., None], out=kernel)
            np.maximum(kernel, 0.0, out=kernel)
            kernel[own] = 0.0
            share, stay = acting(np.add.reduce(kernel, axis=1), self.span, self.rule.jump)
            np.multiply(kernel, share[:, None], out=kernel)
            kernel[own] = stay
            before = self.to if self.rule.path[1].origin == 1 else self.after
            kernel[0] *= weights[first : first + together, None] * np.stack([before(n) for n in some.tolist()])
            one, other = left(flat[: self.half]), right(flat[self.half :])
            many = max(1, UNSPREAD // out.size)
            for begin in range(0, flat.shape[-1], many):  # products that stay in this thread
                part = slice(begin, begin + many)
                out += one[:, part] @ other[:, part].T
        return out.ravel()

    def to(self, second: int) -> FloatArray:
        """Probabilities of every first state with a second one, shape (N,)."""
        rows, columns = divmod(second, self.sizes[1])
        return np.asarray(self.left[rows] * self.right[columns])

    def after(self, first: int) -> FloatArray:
        """Probabilities of a first state with every second one, shape (N,)."""
        return np.asarray(np.outer(self.left[:, first], self.right[:, first]).ravel())


class _Products:
    """Product laws over some positions, the letters flattened, in memory of their own."""

    def __init__(self, length: int, like: FloatArray) -> None:
        _, letters, size = like.shape
        self.tables = [np.ones((1, size)) if d == 0 else np.empty((letters**d, size)) for d in range(length + 1)]

    def __call__(self, kernel: FloatArray) -> FloatArray:
        """From the laws of single positions, (L, S, N), that of all, (S**L, N)."""
        for d, (before, after) in enumerate(pairwise(self.tables)):
            np.multiply(before[:, None], kernel[d], out=after.reshape(-1, *kernel.shape[1:]))
        return self.tables[-1]

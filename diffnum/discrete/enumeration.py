"""Every state at once: exact marginals, exact posterior marginals, and laws pushed through kernels.

A sampler that treats tokens independently given its state has a kernel that is a product over positions. The law
after a step is then a matrix product of two halves of the sequence: no matrix over all pairs of states is ever
formed.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from diffnum.discrete.laws import Law, TokenArray
from diffnum.discrete.processes import TokenProcess
from diffnum.types import FloatArray

__all__ = ["LARGEST_SPACE", "StateSpace", "expand", "push"]

LARGEST_SPACE = 20_000
"""Most noisy states that laws are enumerated over."""

CHUNK = 1 << 16
"""Rows that are pushed at once."""


class StateSpace:
    """All noisy sequences of a law under a process, with the exact model on each.

    Parameters
    ----------
    law : Law
        The data.
    process : Masked or Uniform
        The noise.

    Raises
    ------
    ValueError
        For more than ``LARGEST_SPACE`` states.
    """

    def __init__(self, law: Law, process: TokenProcess) -> None:
        self.law, self.process = law, process
        self.length, self.tokens = law.length, law.tokens
        self.letters = process.states(law.tokens)
        self.size = self.letters**self.length
        if self.size > LARGEST_SPACE:
            raise ValueError(
                f"{self.letters}**{self.length} states are too many to enumerate (at most {LARGEST_SPACE}): "
                "take a shorter law, or dn.discrete.monte_carlo"
            )
        self._latest: tuple[float, FloatArray] | None = None

    @cached_property
    def states(self) -> TokenArray:
        """All states, shape (N, L), the last position fastest."""
        shape = (self.letters,) * self.length
        return np.stack(np.unravel_index(np.arange(self.size), shape), axis=1).astype(np.int64)

    def index(self, x: TokenArray) -> TokenArray:
        """Place of each state of shape (n, L) in the list."""
        powers = self.letters ** np.arange(self.length - 1, -1, -1)
        return np.asarray(x @ powers)

    def marginal(self, t: float) -> FloatArray:
        """Exact law of the state at time t, shape (N,)."""
        out = self.law.table
        matrix = self.process.noising(self.tokens, t)
        for _ in range(self.length):  # each axis in turn comes first, and goes to the end
            out = np.tensordot(out, matrix, axes=(0, 0))
        return np.asarray(out.ravel())

    def noise(self) -> FloatArray:
        """Law without data, shape (N,)."""
        out, one = np.ones(1), self.process.noise(self.tokens)
        for _ in range(self.length):
            out = np.multiply.outer(out, one).ravel()
        return out

    def data(self) -> FloatArray:
        """The law of the data on the states, shape (N,)."""
        out = np.zeros((self.letters,) * self.length)
        out[(slice(0, self.tokens),) * self.length] = self.law.table
        return out.ravel()

    def denoised(self, t: float) -> FloatArray:
        """Exact posterior marginals P(x_0^d = a | state), shape (N, L, S).

        Where a state is impossible, and the posterior with it undefined, the marginals of the data stand.
        """
        key = 0.5 if self.process.time_free else float(t)
        if self._latest is not None and self._latest[0] == key:
            return self._latest[1]
        matrix = self.process.noising(self.tokens, key)
        out = np.empty((self.size, self.length, self.tokens))
        left = self.law.table[None]  # seen positions in front, flattened; data positions behind
        for d in range(self.length):
            joint = left
            for _ in range(self.length - d - 1):  # bring noise upon the positions behind d
                joint = np.tensordot(joint, matrix, axes=(2, 0))
            seen = joint.reshape(self.letters**d, self.tokens, -1)
            weights = np.einsum("iaj,ab->ibja", seen, matrix)
            out[:, d] = weights.reshape(self.size, self.tokens)
            moved = np.tensordot(left, matrix, axes=(1, 0))
            left = np.moveaxis(moved, -1, 1).reshape(-1, *left.shape[2:])
        total = out.sum(axis=2, keepdims=True)
        out = np.where(total > 0, out / np.where(total > 0, total, 1.0), self.law.marginals())
        self._latest = (key, out)
        return out


def expand(probs: FloatArray) -> tuple[TokenArray, TokenArray, FloatArray]:
    """All outcomes of a product law in each row that have positive probability.

    Parameters
    ----------
    probs : ndarray, shape (n, L, K)

    Returns
    -------
    rows : ndarray, shape (m,)
        Row that each outcome belongs to.
    outcomes : ndarray, shape (m, L)
    weights : ndarray, shape (m,)
        Probability of the outcome.
    """
    rows, weights = np.arange(len(probs)), np.ones(len(probs))
    outcomes = np.empty((len(probs), 0), dtype=np.int64)
    for d in range(probs.shape[1]):
        options = probs[rows, d]
        at, letter = np.nonzero(options)
        weights = weights[at] * options[at, letter]
        outcomes = np.concatenate([outcomes[at], letter[:, None]], axis=1)
        rows = rows[at]
    return rows, outcomes, weights


def push(weights: FloatArray, probs: FloatArray) -> FloatArray:
    """Law of a draw from the product law of a row, the row drawn with ``weights``.

    Parameters
    ----------
    weights : ndarray, shape (n,)
    probs : ndarray, shape (n, L, K)

    Returns
    -------
    ndarray, shape (K**L,)
    """
    half = (probs.shape[1] + 1) // 2
    out: Any = 0.0
    for first in range(0, len(weights), CHUNK):
        part = slice(first, first + CHUNK)
        left = _products(weights[part, None], probs[part, :half])
        right = _products(np.ones((len(left), 1)), probs[part, half:])
        out = out + left.T @ right
    return np.asarray(out).ravel()


def _products(start: FloatArray, probs: FloatArray) -> FloatArray:
    """Product laws of the rows over some positions, flattened."""
    for d in range(probs.shape[1]):
        start = (start[:, :, None] * probs[:, d, None, :]).reshape(len(start), -1)
    return start

"""Every state at once: exact marginals, exact posterior marginals, and laws pushed through kernels.

A sampler that treats tokens independently given its state has a kernel that is a product over positions. The law
after a step is then a matrix product of two halves of the sequence: no matrix over all pairs of states is ever
formed.
"""

from __future__ import annotations

from functools import cached_property
from itertools import permutations
from typing import Any

import numpy as np

from diffnum.discrete.checks import TokenArray, checked_time
from diffnum.discrete.laws import Law
from diffnum.discrete.models import answered, checked_model
from diffnum.discrete.processes import Masked, TokenProcess, checked_process
from diffnum.types import FloatArray

__all__ = ["LARGEST_SPACE", "Enumerated", "ModelSpace", "StateSpace", "alike", "expand", "products", "push"]

LARGEST_SPACE = 20_000
"""Most noisy states that laws are enumerated over."""

CHUNK = 1 << 16
"""Rows that are pushed at once."""

MOST_TOKENS = 5
"""Tokens whose renamings are tried, all of them."""

SAME = 1e-14
"""Probabilities that differ by less, relative to the largest, are the same but for rounding."""


class Enumerated:
    """All states of some tokens under a process.

    Parameters
    ----------
    length, tokens : int
        Number of positions and of tokens.
    process : Masked or Uniform
        The noise.

    Raises
    ------
    ValueError
        For more than ``LARGEST_SPACE`` states.
    """

    def __init__(self, length: int, tokens: int, process: TokenProcess) -> None:
        self.process, self.length, self.tokens = checked_process(process), length, tokens
        self.letters = process.states(tokens)
        self.size = self.letters**length
        if self.size > LARGEST_SPACE:
            msg = (
                f"{self.letters}**{length} states are too many to enumerate (at most {LARGEST_SPACE}): "
                "take a shorter law, or dn.discrete.monte_carlo"
            )
            raise ValueError(msg)

    @cached_property
    def states(self) -> TokenArray:
        """All states, shape (N, L), the last position fastest."""
        shape = (self.letters,) * self.length
        return np.stack(np.unravel_index(np.arange(self.size), shape), axis=1).astype(np.int64)

    def index(self, x: TokenArray) -> TokenArray:
        """Place of each state of shape (n, L) in the list."""
        powers = self.letters ** np.arange(self.length - 1, -1, -1)
        return np.asarray(x @ powers)

    def noise(self) -> FloatArray:
        """Law without data, shape (N,)."""
        out, one = np.ones(1), self.process.noise(self.tokens)
        for _ in range(self.length):
            out = np.multiply.outer(out, one).ravel()
        return out

    def denoised(self, t: float) -> FloatArray:
        """Marginals of the data given each state, shape (N, L, S)."""
        raise NotImplementedError


class ModelSpace(Enumerated):
    """All states of a few positions under a model of masked data, the other positions held.

    A network's marginals need not belong to any one law. Its reverse chain is a chain all the same, whose output is
    that of the first-hitting sampler: to this law the samplers' laws are compared.

    Parameters
    ----------
    model : TokenModel
        ``model(x, t)`` returns marginals, shape (n, L, S).
    held : array_like of int, shape (L,)
        Tokens of the positions that are held; -1 where a position is free.

    Raises
    ------
    ValueError
        If nothing is free, too much is, or a token lies outside.
    """

    def __init__(self, model: Any, held: Any) -> None:
        held = np.asarray(held)
        checked_model(model)
        if held.dtype.kind not in "iu":
            msg = f"held has dtype {held.dtype}: pass tokens as integers, -1 where free"
            raise TypeError(msg)
        if held.shape != (model.length,) or held.min() < -1 or held.max() >= model.tokens:
            msg = f"held has shape {held.shape}: pass {model.length} tokens below {model.tokens}, -1 where free"
            raise ValueError(msg)
        self.free = np.flatnonzero(held == -1)
        if not self.free.size:
            msg = "held leaves no position free: mark free ones by -1"
            raise ValueError(msg)
        super().__init__(self.free.size, model.tokens, Masked())
        self.model, self.held = model, held

    @cached_property
    def _denoised(self) -> FloatArray:
        x = np.repeat(self.held[None], self.size, axis=0)
        x[:, self.free] = self.states
        return answered(self.model, x, 0.5)[:, self.free]

    def denoised(self, t: float) -> FloatArray:  # noqa: ARG002
        """Marginals that the model gives, shape (N, L, S)."""
        return self._denoised


class StateSpace(Enumerated):
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
        if not isinstance(law, Law):
            msg = f"law={law!r}: pass a dn.discrete.Law"
            raise TypeError(msg)
        super().__init__(law.length, law.tokens, process)
        self.law = law
        self._latest: tuple[float, FloatArray] | None = None

    def marginal(self, t: float) -> FloatArray:
        """Exact law of the state at time t in [0, 1], shape (N,)."""
        checked_time("t", t)
        out = self.law.table
        matrix = self.process.noising(self.tokens, t)
        for _ in range(self.length):  # each axis in turn comes first, and goes to the end
            out = np.tensordot(out, matrix, axes=(0, 0))
        return np.asarray(out.ravel())

    def score(self, t: float) -> FloatArray:
        """Exact concrete score: probability of the state with one token replaced over that of the state.

        Returns
        -------
        ndarray, shape (N, L, states)
            ``score[x, d, b] = P_t(x with token d set to b) / P_t(x)``; zero at states that are impossible.
        """
        law = self.marginal(t)
        powers = self.letters ** np.arange(self.length - 1, -1, -1)
        steps = (np.arange(self.letters) - self.states[..., None]) * powers[:, None]
        of = law[:, None, None]
        return np.asarray(
            np.where(of > 0, law[np.arange(self.size)[:, None, None] + steps], 0.0) / np.where(of > 0, of, 1.0)
        )

    @cached_property
    def symmetries(self) -> TokenArray:
        """Where each symmetry of the data's law sends each state, shape (G, N), the identity first.

        Tried are renamings of the tokens, a mask keeping its name, in the order of the positions and in reverse.
        """
        tokens = range(self.tokens)
        names = list(permutations(tokens)) if self.tokens <= MOST_TOKENS else [tuple(tokens)]
        orders = (slice(None), slice(None, None, -1)) if self.length > 1 else (slice(None),)
        data, whole = self.data(), np.arange(self.letters)
        renamed = [np.array([*name, *whole[self.tokens :]])[self.states] for name in names]
        sent = [self.index(x[:, order]) for x in renamed for order in orders]
        return np.stack([g for g in sent if alike(data[g], data)])

    def orbits(self, law: FloatArray) -> tuple[TokenArray, TokenArray, TokenArray]:
        """Symmetries of the data's law that leave a law on the states alone, one state of each orbit, their sizes."""
        group = self.symmetries[[alike(law[g], law) for g in self.symmetries]]
        return group, *np.unique(group.min(axis=0), return_counts=True)

    def data(self) -> FloatArray:
        """The law of the data on the states, shape (N,)."""
        out = np.zeros((self.letters,) * self.length)
        out[(slice(0, self.tokens),) * self.length] = self.law.table
        return out.ravel()

    def denoised(self, t: float) -> FloatArray:
        """Exact posterior marginals P(x_0^d = a | state) at a time in [0, 1], shape (N, L, S).

        Where a state is impossible, and the posterior with it undefined, the marginals of the data stand.
        """
        checked_time("t", t)
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


def alike(p: FloatArray, q: FloatArray) -> bool:
    """Whether two laws are the same but for rounding."""
    return bool(np.abs(p - q).max() <= SAME * q.max())


def expand(probs: FloatArray) -> tuple[TokenArray, TokenArray, FloatArray]:
    """All outcomes of a product law in each row that have positive probability.

    Parameters
    ----------
    probs : ndarray, shape (n, L, K)
        Law of each of the L tokens, for each row.

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
        Probabilities of the rows.
    probs : ndarray, shape (n, L, K)
        Law of each of the L tokens, for each row.

    Returns
    -------
    ndarray, shape (K**L,)
    """
    half = (probs.shape[1] + 1) // 2
    out: Any = 0.0
    for first in range(0, len(weights), CHUNK):
        part = slice(first, first + CHUNK)
        left = products(weights[part, None], probs[part, :half])
        right = products(np.ones((len(left), 1)), probs[part, half:])
        out = out + left.T @ right
    return np.asarray(out).ravel()


def products(start: FloatArray, probs: FloatArray) -> FloatArray:
    """Product laws of the rows over some positions, flattened."""
    for d in range(probs.shape[1]):
        start = (start[:, :, None] * probs[:, d, None, :]).reshape(len(start), -1)
    return start

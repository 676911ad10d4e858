"""Laws of sequences of tokens, with every marginal and conditional exact.

A law is a table over all sequences, or a hidden Markov chain; Markov chains and mixtures of products are hidden Markov
chains. Tables give everything by summation; chains stay exact for any length by passing messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffnum.types import FloatArray

__all__ = ["LARGEST_TABLE", "HiddenChain", "Law", "TokenArray", "uniforms"]

TokenArray = NDArray[np.int64]
"""Tokens, shape (n, L)."""

LARGEST_TABLE = 2**21
"""Most sequences that a table is made for."""

TOLERANCE = 1e-9
"""How far from one a law may sum."""


def uniforms(seed: int) -> np.random.Generator:
    """Generator of a seed; the same bits on every machine."""
    if seed < 0:
        msg = f"seed={seed}: use a whole number >= 0"
        raise ValueError(msg)
    return np.random.Generator(np.random.Philox(seed))


def checked_law(name: str, values: Any, axis: int = -1) -> FloatArray:
    """Probabilities that are >= 0 and sum to one along an axis, normalised to the last bit."""
    p = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(p)):
        msg = f"{name} holds values that are not finite: pass probabilities"
        raise ValueError(msg)
    if np.any(p < 0):
        msg = f"{name} holds the negative probability {p.min():g}: pass values >= 0"
        raise ValueError(msg)
    total = p.sum(axis=axis, keepdims=True)
    worst = float(np.max(np.abs(total - 1.0)))
    if worst > TOLERANCE:
        msg = f"{name} sums to {float(total.flat[np.argmax(np.abs(total - 1))]):.6g}, not to one: divide by it"
        raise ValueError(msg)
    return np.asarray(p / total, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class HiddenChain:
    """A hidden Markov chain over positions.

    Parameters
    ----------
    start : ndarray, shape (R,)
        Law of the first hidden state.
    moves : ndarray, shape (L - 1, R, R)
        ``moves[d, r, q]``: probability of q at position d + 1 after r at position d.
    emit : ndarray, shape (L, R, S)
        Law of the token at each position, given the hidden state.
    """

    start: FloatArray
    moves: FloatArray
    emit: FloatArray

    def posterior(self, likelihood: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Marginals of every token given evidence about each, and the probability of the evidence.

        Parameters
        ----------
        likelihood : ndarray, shape (n, L, S)
            Likelihood of what was seen at each position for each token.

        Returns
        -------
        marginals : ndarray, shape (n, L, S)
        log_evidence : ndarray, shape (n,)
            Natural logarithm; minus infinity where the evidence is impossible.
        """
        seen = np.einsum("drs,nds->dnr", self.emit, likelihood)
        length = len(seen)
        before = np.empty_like(seen)
        log_evidence = np.zeros(seen.shape[1])
        message = np.broadcast_to(self.start, seen[0].shape)
        with np.errstate(divide="ignore"):
            for d in range(length):
                before[d] = message
                joint = message * seen[d]
                total = joint.sum(axis=1, keepdims=True)
                log_evidence += np.log(total[:, 0])
                if d < length - 1:
                    message = joint / np.where(total > 0, total, 1.0) @ self.moves[d]
        after = np.ones_like(seen)
        for d in range(length - 1, 0, -1):
            message = (after[d] * seen[d]) @ self.moves[d - 1].T
            total = message.max(axis=1, keepdims=True)
            after[d - 1] = message / np.where(total > 0, total, 1.0)
        tokens = np.einsum("dnr,drs->nds", before * after, self.emit) * likelihood
        return tokens, log_evidence


@dataclass(frozen=True, eq=False)
class Law:
    """Law of sequences of L tokens out of S, as a table or as a chain.

    Parameters
    ----------
    p : array_like, shape (S,) * L, optional
        Probability of every sequence.
    chain : HiddenChain, optional
        The law as a chain, instead; see :meth:`markov`, :meth:`mixture`.

    Raises
    ------
    ValueError
        If ``p`` has a negative entry, sums to anything but one, or has axes of different lengths.

    Examples
    --------
    >>> import numpy as np
    >>> law = Law.markov(6, np.array([[0.8, 0.2], [0.2, 0.8]]), [0.5, 0.5])
    >>> law.length, law.tokens, round(law.entropy(), 3)
    (6, 2, 3.195)
    """

    p: FloatArray | None = None
    chain: HiddenChain | None = None

    def __post_init__(self) -> None:
        if (self.p is None) == (self.chain is None):
            msg = "a Law needs either p, the table, or chain: pass one of them"
            raise ValueError(msg)
        if self.p is None:
            return
        try:
            p = np.asarray(self.p, dtype=np.float64)
        except (TypeError, ValueError) as error:
            msg = f"p={self.p!r} is no table of numbers: pass probabilities, shape (S,) * L"
            raise TypeError(msg) from error
        if p.ndim == 0 or len(set(p.shape)) != 1:
            msg = f"p has shape {p.shape}: pass one axis of S tokens for each of the L positions, (S,) * L"
            raise ValueError(msg)
        object.__setattr__(self, "p", checked_law("p", p, axis=tuple(range(p.ndim))))  # type: ignore[arg-type]

    @classmethod
    def markov(cls, length: int, transition: Any, start: Any) -> Law:
        """Markov chain.

        Parameters
        ----------
        length : int
            Number of positions, >= 1.
        transition : array_like, shape (S, S) or (length - 1, S, S)
            ``transition[a, b]``: probability of b after a.
        start : array_like, shape (S,)
            Law of the first token.
        """
        if length < 1:
            msg = f"length={length}: use at least one position"
            raise ValueError(msg)
        moves = checked_law("transition", transition)
        first = checked_law("start", start)
        size = first.size
        moves = np.broadcast_to(moves, (length - 1, *moves.shape)) if moves.ndim == 2 else moves
        if moves.shape != (length - 1, size, size):
            msg = f"transition has shape {moves.shape}: use ({size}, {size}) or ({length - 1}, {size}, {size})"
            raise ValueError(msg)
        return cls(chain=HiddenChain(first, moves, np.broadcast_to(np.eye(size), (length, size, size))))

    @classmethod
    def mixture(cls, weights: Any, marginals: Any) -> Law:
        """Mixture of products.

        Parameters
        ----------
        weights : array_like, shape (K,)
            Probability of each component.
        marginals : array_like, shape (K, L, S)
            Laws of the tokens in each component, where they are independent.
        """
        share, tokens = checked_law("weights", weights), checked_law("marginals", marginals)
        if tokens.ndim != 3 or len(tokens) != share.size:
            msg = f"marginals has shape {tokens.shape}: use ({share.size}, L, S)"
            raise ValueError(msg)
        moves = np.broadcast_to(np.eye(share.size), (tokens.shape[1] - 1, share.size, share.size))
        return cls(chain=HiddenChain(share, moves, np.moveaxis(tokens, 0, 1)))

    @property
    def length(self) -> int:
        """Number of positions L."""
        return self.p.ndim if self.p is not None else len(self.chain.emit)  # type: ignore[union-attr]

    @property
    def tokens(self) -> int:
        """Number of tokens S."""
        return int(self.p.shape[0] if self.p is not None else self.chain.emit.shape[2])  # type: ignore[union-attr]

    @cached_property
    def table(self) -> FloatArray:
        """Probability of every sequence, shape (S,) * L.

        Raises
        ------
        ValueError
            For more than ``LARGEST_TABLE`` sequences.
        """
        if self.p is not None:
            return self.p
        chain, length, size = self.chain, self.length, self.tokens
        if chain is None or size**length > LARGEST_TABLE:
            msg = f"a table of {size}**{length} sequences is too large: take a shorter law, or measure by Monte Carlo"
            raise ValueError(msg)
        joint = (chain.start[:, None] * chain.emit[0]).T
        for d in range(1, length):
            joint = np.einsum("xr,rq,qs->xsq", joint, chain.moves[d - 1], chain.emit[d]).reshape(-1, chain.start.size)
        return np.asarray(joint.sum(axis=1).reshape((size,) * length))

    def marginal(self, positions: Sequence[int]) -> FloatArray:
        """Law of the tokens at some positions, shape (S,) * len(positions), in the order given."""
        keep = self._positions(positions)
        out = self.table.sum(axis=tuple(d for d in range(self.length) if d not in keep))
        return np.asarray(np.transpose(out, np.argsort(np.argsort(keep))) if len(keep) > 1 else out)

    def conditional(self, known: Mapping[int, int]) -> Law:
        """Law of the other tokens, in their order, given some.

        Raises
        ------
        ValueError
            If what is known has probability zero, is everything, or lies outside the law.
        """
        self._positions(list(known))
        if len(known) == self.length:
            msg = "known names every position: leave one open"
            raise ValueError(msg)
        for position, token in known.items():
            self.check_tokens(np.array([[token]]), f"known[{position}]")
        part = self.table[tuple(known.get(d, slice(None)) for d in range(self.length))]
        if part.sum() <= 0:
            msg = f"known={dict(known)} has probability zero: condition on what can happen"
            raise ValueError(msg)
        return Law(part / part.sum())

    def marginals(self) -> FloatArray:
        """Law of each token alone, shape (L, S)."""
        if self.chain is None:
            return np.stack([self.marginal([d]) for d in range(self.length)])
        return np.asarray(self.chain.posterior(np.ones((1, self.length, self.tokens)))[0][0])

    def log_prob(self, x: Any) -> FloatArray:
        """Log-probability of sequences of shape (n, L); minus infinity where impossible."""
        tokens = self.check_tokens(x, "x")
        if self.chain is None:
            with np.errstate(divide="ignore"):
                return np.asarray(np.log(self.table[tuple(tokens.T)]))
        return self.chain.posterior(np.eye(self.tokens)[tokens])[1]

    def entropy(self) -> float:
        """Shannon entropy in nats."""
        if self.p is None and self.tokens**self.length > LARGEST_TABLE:
            msg = "the entropy of a chain this long needs a table: estimate -log_prob on samples"
            raise ValueError(msg)
        p = self.table[self.table > 0]
        return float(-np.sum(p * np.log(p)))

    def sample(self, n: int, seed: int = 0) -> TokenArray:
        """Draw ``n`` sequences, shape (n, L)."""
        if n < 1:
            msg = f"n={n}: draw at least one sequence"
            raise ValueError(msg)
        rng = uniforms(seed)
        if self.chain is None:
            flat = rng.choice(self.table.size, size=n, p=self.table.ravel())
            return np.stack(np.unravel_index(flat, self.table.shape), axis=1).astype(np.int64)
        chain, out = self.chain, np.empty((n, self.length), dtype=np.int64)
        hidden = drawn(np.broadcast_to(chain.start, (n, chain.start.size)), rng)
        for d in range(self.length):
            out[:, d] = drawn(chain.emit[d][hidden], rng)
            if d < self.length - 1:
                hidden = drawn(chain.moves[d][hidden], rng)
        return out

    def check_tokens(self, x: Any, name: str) -> TokenArray:
        """Tokens as integers; raises where one lies outside 0 ... S - 1 (the mask token is no datum)."""
        tokens = np.asarray(x)
        if tokens.dtype.kind not in "iu":
            msg = f"{name} has dtype {tokens.dtype}: pass tokens as integers"
            raise TypeError(msg)
        outside = tokens[(tokens < 0) | (tokens >= self.tokens)]
        if outside.size:
            what = "the mask token" if outside[0] == self.tokens else f"token {outside[0]}"
            msg = f"{name} holds {what}: data have tokens 0 ... {self.tokens - 1}"
            raise ValueError(msg)
        return np.asarray(tokens, dtype=np.int64)

    def _positions(self, positions: Sequence[int]) -> list[int]:
        keep = [int(d) for d in positions]
        if len(set(keep)) != len(keep) or any(not 0 <= d < self.length for d in keep):
            msg = f"positions={keep}: use different ones of 0 ... {self.length - 1}"
            raise ValueError(msg)
        return keep


def drawn(p: FloatArray, rng: np.random.Generator) -> TokenArray:
    """One draw from each law in the last axis of ``p``, by inversion in float64."""
    edges = np.cumsum(p, axis=-1)
    u = rng.random(p.shape[:-1]) * edges[..., -1]
    found = np.minimum(np.sum(u[..., None] >= edges, axis=-1), p.shape[-1] - 1)
    return np.asarray(found, dtype=np.int64)

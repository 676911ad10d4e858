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

from diffnum.discrete.checks import TokenArray, checked_law, checked_tokens, numbers, whole_number
from diffnum.types import FloatArray

__all__ = ["LARGEST_TABLE", "HiddenChain", "Law", "drawn", "entropy_of", "uniforms"]

LARGEST_TABLE = 2**21
"""Most sequences that a table is made for."""


def uniforms(seed: int) -> np.random.Generator:
    """Generator of a seed; the same bits on every machine."""
    return np.random.Generator(np.random.Philox(whole_number("seed", seed, 0)))


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

    def __post_init__(self) -> None:
        start, emit = checked_law("start", self.start, ndim=1), checked_law("emit", self.emit, ndim=3)
        moves = checked_law("moves", self.moves, ndim=3)
        size = start.size
        if moves.shape != (len(emit) - 1, size, size) or emit.shape[1] != size:
            msg = (
                f"moves has shape {moves.shape}, emit {emit.shape}: use (L - 1, {size}, {size}) and (L, {size}, S), "
                f"for the {size} hidden states of start"
            )
            raise ValueError(msg)
        for name, values in (("start", start), ("moves", moves), ("emit", emit)):
            object.__setattr__(self, name, values)

    @property
    def plain(self) -> bool:
        """Whether the hidden state is the token itself: a Markov chain."""
        size = self.start.size
        return self.emit.shape[2] == size and bool(np.all(self.emit == np.eye(size)))

    def joint(self, positions: Sequence[int]) -> FloatArray:
        """Law of the tokens at some positions that increase, shape (S,) * len(positions)."""
        keep, law = set(positions), self.start[None]  # axes: tokens so far, hidden state
        for d in range(max(positions, default=-1) + 1):
            if d > 0:
                law = law @ self.moves[d - 1]
            if d in keep:
                law = np.einsum("kr,rs->ksr", law, self.emit[d]).reshape(-1, law.shape[1])
        return np.asarray(law.sum(axis=1).reshape((self.emit.shape[2],) * len(keep)))

    def given(self, known: Mapping[int, int]) -> HiddenChain | None:
        """The chain of the positions that are left, given tokens at others; None if these are impossible."""
        length, size = len(self.emit), self.start.size
        seen = np.ones((length, size))
        for d, token in known.items():
            seen[d] = self.emit[d][:, token]
        left = [d for d in range(length) if d not in known]
        after = np.ones(size)  # probability of what is known behind a position, up to a factor
        for d in range(length - 1, left[-1], -1):
            after = _scaled(self.moves[d - 1] @ (seen[d] * after))
        moves = []
        for a, b in zip(left[-2::-1], left[:0:-1], strict=True):
            between = self.moves[a]
            for d in range(a + 1, b):
                between = _scaled((between * seen[d]) @ self.moves[d])
            between = between * after
            total = between.sum(axis=1)
            # a state that what is known excludes is never visited: where it would go is free
            moves.append(np.where(total[:, None] > 0, between, 1.0) / np.where(total > 0, total, size)[:, None])
            after = _scaled(total)
        first = self.start
        for d in range(left[0]):
            first = _scaled((first * seen[d]) @ self.moves[d])
        first = first * after
        if not first.sum() > 0:
            return None
        rest = np.array(moves[::-1]).reshape(-1, size, size)
        return HiddenChain(first / first.sum(), rest, self.emit[left])

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


def _scaled(values: FloatArray) -> FloatArray:
    """Weights over their largest, so that long chains do not underflow."""
    top = values.max()
    return np.asarray(values / top if top > 0 else values)


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
            if not isinstance(self.chain, HiddenChain):
                msg = f"chain={self.chain!r}: pass a HiddenChain"
                raise TypeError(msg)
            return
        shape = numbers("p", self.p, "probabilities").shape
        if len(set(shape)) != 1:
            msg = f"p has shape {shape}: pass one axis of S tokens for each of the L positions, (S,) * L"
            raise ValueError(msg)
        object.__setattr__(self, "p", checked_law("p", self.p, axis=tuple(range(len(shape)))))

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
        length = whole_number("length", length, remedy="use at least one position")
        moves = checked_law("transition", transition)
        first = checked_law("start", start, ndim=1)
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
        share, tokens = checked_law("weights", weights, ndim=1), checked_law("marginals", marginals)
        if tokens.ndim != 3 or len(tokens) != share.size:
            msg = f"marginals has shape {tokens.shape}: use ({share.size}, L, S)"
            raise ValueError(msg)
        moves = np.broadcast_to(np.eye(share.size), (tokens.shape[1] - 1, share.size, share.size))
        return cls(chain=HiddenChain(share, moves, np.moveaxis(tokens, 0, 1)))

    def __repr__(self) -> str:
        kind = "table" if self.p is not None else "chain"
        return f"Law({kind}, length={self.length}, tokens={self.tokens})"

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
        """Law of the tokens at some positions, in the order given, shape (S,) * len(positions); chains may be long.

        Raises
        ------
        ValueError
            If positions repeat or lie outside, or their table has more than ``LARGEST_TABLE`` entries.
        """
        keep = self._positions(positions)
        if self.tokens ** len(keep) > LARGEST_TABLE:
            msg = f"a table of {self.tokens}**{len(keep)} sequences is too large: ask for fewer positions"
            raise ValueError(msg)
        if self.chain is not None:
            out = self.chain.joint(sorted(keep))
        else:
            out = self.table.sum(axis=tuple(d for d in range(self.length) if d not in keep))
        return np.asarray(np.transpose(out, np.argsort(np.argsort(keep))) if len(keep) > 1 else out)

    def conditional(self, known: Mapping[int, int]) -> Law:
        """Law of the other tokens, in their order, given some; of chains of any length, as a chain.

        Raises
        ------
        TypeError
            If ``known`` is no mapping of positions to tokens.
        ValueError
            If what is known has probability zero, is everything, or lies outside the law.
        """
        if not isinstance(known, Mapping):
            msg = f"known={known!r}: pass a mapping of positions to tokens, such as {{0: 1}}"
            raise TypeError(msg)
        positions = self._positions(list(known))
        if len(known) == self.length:
            msg = "known names every position: leave one open"
            raise ValueError(msg)
        tokens = {}
        for d, token in zip(positions, known.values(), strict=True):
            tokens[d] = int(checked_tokens(f"known[{d}]", np.array([[token]]), self.tokens, 1, self.tokens)[0, 0])
        part: Law | None
        if self.chain is not None:
            chain = self.chain.given(tokens)
            part = None if chain is None else Law(chain=chain)
        else:
            p = self.table[tuple(tokens.get(d, slice(None)) for d in range(self.length))]
            part = Law(p / p.sum()) if p.sum() > 0 else None
        if part is None:
            msg = f"known={tokens} has probability zero: condition on what can happen"
            raise ValueError(msg)
        return part

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
        """Shannon entropy in nats; of Markov chains of any length.

        Raises
        ------
        ValueError
            For another chain whose table would be too large.
        """
        if self.chain is not None and self.chain.plain:
            # chain rule: the first token, then each given the one before
            later = np.sum(self.marginals()[:-1] * entropy_of(self.chain.moves))
            return float(entropy_of(self.chain.start) + later)
        if self.p is None and self.tokens**self.length > LARGEST_TABLE:
            msg = "the entropy of a chain this long needs a table: estimate -log_prob on samples"
            raise ValueError(msg)
        return float(entropy_of(self.table.ravel()))

    def sample(self, n: int, seed: int = 0) -> TokenArray:
        """Draw ``n`` sequences, shape (n, L)."""
        n, rng = whole_number("n", n, remedy="draw at least one sequence"), uniforms(seed)
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
        """Tokens (n, L) as integers; raises where one lies outside 0 ... S - 1 (the mask token is no datum)."""
        return checked_tokens(name, x, self.tokens, self.length, self.tokens)

    def _positions(self, positions: Sequence[int]) -> list[int]:
        try:
            keep = [whole_number("position", d, 0) for d in positions]
        except TypeError:
            msg = f"positions={positions!r}: pass a sequence of whole numbers"
            raise TypeError(msg) from None
        if len(set(keep)) != len(keep) or any(d >= self.length for d in keep):
            msg = f"positions={keep}: use different ones of 0 ... {self.length - 1}"
            raise ValueError(msg)
        return keep


def entropy_of(p: FloatArray) -> FloatArray:
    """Entropies in nats of the laws in the last axis."""
    return np.asarray(0.0 - np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1))


def drawn(p: FloatArray, rng: np.random.Generator) -> TokenArray:
    """One draw from each law in the last axis of ``p``, by inversion in float64."""
    edges = np.cumsum(p, axis=-1)
    u = rng.random(p.shape[:-1]) * edges[..., -1]
    found = np.minimum(np.sum(u[..., None] >= edges, axis=-1), p.shape[-1] - 1)
    return np.asarray(found, dtype=np.int64)

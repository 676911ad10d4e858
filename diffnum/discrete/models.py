"""Models of tokens: what samplers call, and the exact one of a law.

A model is anything with ``length``, ``tokens`` and ``model(x, t) -> p``: the marginals of the data given a batch of
states x, shape (n, L), at time t, a number or shape (n,); p has shape (n, L, S).
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from diffnum.discrete.laws import Law, TokenArray
from diffnum.discrete.processes import TokenProcess
from diffnum.types import FloatArray

__all__ = ["ExactTokens", "TokenModel", "answered"]


@runtime_checkable
class TokenModel(Protocol):
    """A model of the marginals of the data."""

    @property
    def length(self) -> int:
        """Number of positions L."""

    @property
    def tokens(self) -> int:
        """Number of tokens S."""

    def __call__(self, x: TokenArray, t: Any) -> Any:
        """Posterior marginals, shape (n, L, S)."""


class ExactTokens:
    """The exact model of a law under a process.

    Parameters
    ----------
    law : Law
        The data: a table, or a chain of any length.
    process : Masked or Uniform
        The noise.

    Notes
    -----
    States that are impossible, as parallel samplers reach them, get the marginals of the data.
    """

    def __init__(self, law: Law, process: TokenProcess) -> None:
        self.law, self.process = law, process
        self.length, self.tokens = law.length, law.tokens
        self._marginals = law.marginals()

    def __call__(self, x: TokenArray, t: Any) -> FloatArray:
        """Posterior marginals, shape (n, L, S)."""
        likelihood = self.process.likelihood(np.asarray(x), self.tokens, 0.5 if self.process.time_free else t)
        if self.law.chain is not None:
            out, _ = self.law.chain.posterior(likelihood)
        else:
            out = self._summed(likelihood)
        total = out.sum(axis=2, keepdims=True)
        return np.where(total > 0, out / np.where(total > 0, total, 1.0), self._marginals)

    def _summed(self, likelihood: FloatArray) -> FloatArray:
        """Unnormalised marginals from the table: evidence comes upon one position after another."""
        n, length, size = likelihood.shape
        out = np.empty_like(likelihood)
        left = np.broadcast_to(self.law.table.reshape(1, size, -1), (n, size, size ** (length - 1)))
        for d in range(length):
            rest = left  # axes: batch, token at d, tokens behind d
            for e in range(length - 1, d, -1):
                rest = np.einsum("naxs,ns->nax", rest.reshape(n, size, -1, size), likelihood[:, e])
            out[:, d] = rest.reshape(n, size) * likelihood[:, d]
            left = np.einsum("nax,na->nx", left, likelihood[:, d])
            left = left.reshape(n, size, -1) if d < length - 1 else left
        return out


def answered(model: TokenModel, x: TokenArray, t: Any) -> FloatArray:
    """Marginals of a model in float64, their shape checked."""
    p = np.asarray(model(x, t))
    if p.shape != (*x.shape, model.tokens):
        msg = f"the model returned shape {p.shape}: return marginals of shape {(*x.shape, model.tokens)}"
        raise TypeError(msg)
    return np.asarray(p, dtype=np.float64)

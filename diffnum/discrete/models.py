"""Models of tokens: what samplers call, and the exact one of a law.

A model is anything with ``length``, ``tokens`` and ``model(x, t) -> p``: the marginals of the data given a batch of
states x, shape (n, L), at time t, a number or shape (n,); p has shape (n, L, S).
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from diffnum.discrete.checks import TokenArray, checked_marginals, checked_time, checked_tokens
from diffnum.discrete.laws import Law
from diffnum.discrete.processes import TokenProcess, checked_process
from diffnum.types import FloatArray

__all__ = ["ExactTokens", "TokenModel", "answered", "checked_model", "made_for"]


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

    Raises
    ------
    TypeError
        If ``law`` is no Law, or ``process`` no process; when called, if tokens are no integers.
    ValueError
        When called, if tokens have another shape or lie outside, or a time outside [0, 1].

    Notes
    -----
    States that are impossible, as parallel samplers reach them, get the marginals of the data.
    """

    def __init__(self, law: Law, process: TokenProcess) -> None:
        if not isinstance(law, Law):
            msg = f"law={law!r}: pass a dn.discrete.Law"
            raise TypeError(msg)
        self.law, self.process = law, checked_process(process)
        self.length, self.tokens = law.length, law.tokens
        self._marginals = law.marginals()

    def __call__(self, x: TokenArray, t: Any) -> FloatArray:
        """Posterior marginals, shape (n, L, S)."""
        x = checked_tokens("x", x, self.process.states(self.tokens), self.length)
        checked_time("t", t, len(x))
        likelihood = self.process.likelihood(x, self.tokens, 0.5 if self.process.time_free else t)
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
        if n == 0:
            return out
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
    """Marginals of a model in float64, checked: their shape, that they are probabilities."""
    return checked_marginals(model(x, t), (*x.shape, model.tokens))


def checked_model(model: Any) -> Any:
    """A model of tokens; raises TypeError for anything else."""
    if not isinstance(model, TokenModel) or not callable(model):
        msg = f"model={model!r}: pass one with length, tokens and model(x, t), such as dn.discrete.ExactTokens"
        raise TypeError(msg)
    return model


def made_for(model: Any, process: TokenProcess) -> None:
    """Raise ValueError if a model says, by ``process``, that it was made for another noise.

    The schedule of masked noise may differ: the marginals do not depend on it.
    """
    own = getattr(model, "process", None)
    if not isinstance(own, TokenProcess):
        return
    if own.name != process.name or (own.survival != process.survival and not own.time_free):
        kinds = [f"{p.name} ({p.survival.name})" for p in (own, process)]
        msg = f"process: the model was made for the {kinds[0]} process, not for the {kinds[1]} one: pass model.process"
        raise ValueError(msg)

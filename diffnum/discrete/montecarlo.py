"""Laws that are too large to enumerate: what draws say of a sampler, with the Monte-Carlo error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffnum.discrete.laws import Law, TokenArray
from diffnum.discrete.models import ExactTokens
from diffnum.discrete.output import sample
from diffnum.discrete.processes import Masked, TokenProcess
from diffnum.discrete.samplers import TokenSampler, sampler
from diffnum.types import FloatArray

__all__ = ["DrawnLaw", "monte_carlo"]


@dataclass(frozen=True)
class DrawnLaw:
    """What draws say of a sampler.

    Parameters
    ----------
    name : str
        Sampler.
    draws : int
        Number of sequences.
    log_likelihood, log_likelihood_error : float
        Mean of log p under the data's law, in nats a sequence, and its standard error; "generative perplexity" is
        ``exp(-log_likelihood / L)``. Impossible sequences are left out.
    reference : float
        The same for draws from the data, that is minus the entropy, with about the same error.
    impossible : float
        Share of sequences that the data never show.
    pairs, pairs_error : float
        Distance of the laws of neighbours from the exact ones: root of the mean, over neighbours, of the squared
        Euclidean distance, without the bias of finite draws; and its standard error.
    """

    name: str
    draws: int
    log_likelihood: float
    log_likelihood_error: float
    reference: float
    impossible: float
    pairs: float
    pairs_error: float

    def __str__(self) -> str:
        return (
            f"{self.name}: log-likelihood {self.log_likelihood:.4f} +- {self.log_likelihood_error:.4f} "
            f"(data {self.reference:.4f}), neighbours off by {self.pairs:.4f} (error {self.pairs_error:.4f}), "
            f"impossible {self.impossible:.3g}, {self.draws} draws"
        )


def monte_carlo(
    name: str | TokenSampler,
    law: Law,
    process: TokenProcess | None = None,
    steps: int | Sequence[int] | None = None,
    *,
    draws: int = 20_000,
    seed: int = 0,
) -> DrawnLaw:
    """Judge a sampler by draws, with the exact model of a law of any length.

    Parameters
    ----------
    name : str or TokenSampler
        Sampler.
    law : Law
        The data; chains (:meth:`Law.markov`, :meth:`Law.mixture`) may be long.
    process : Masked or Uniform, optional
        The noise; masked with a linear schedule by default.
    steps : int or sequence of int, optional
        As for :func:`output_law`.
    draws : int
        Number of sequences, at least 100.
    seed : int
        Seed.

    Returns
    -------
    DrawnLaw
    """
    if draws < 100:
        msg = f"draws={draws}: at least 100 make an error estimate"
        raise ValueError(msg)
    if law.length < 2:
        msg = f"length {law.length}: neighbours need two positions; use dn.discrete.output_law"
        raise ValueError(msg)
    process = Masked() if process is None else process
    x = sample(ExactTokens(law, process), process, name, draws, steps, seed)
    logs = law.log_prob(law.check_tokens(x, "the output"))
    known = np.isfinite(logs)
    exact = law.log_prob(law.sample(draws, seed + 1))
    squares, errors = zip(*(_square(x[:, d : d + 2], _pair(law, d)) for d in range(law.length - 1)), strict=True)
    mean, noise = float(np.mean(squares)), float(np.sqrt(np.sum(np.square(errors)))) / len(errors)
    return DrawnLaw(
        sampler(name).name,
        draws,
        float(logs[known].mean()) if known.any() else -np.inf,
        float(logs[known].std() / np.sqrt(max(known.sum(), 1))) if known.any() else np.inf,
        float(exact.mean()),
        float(1.0 - known.mean()),
        float(np.sqrt(max(mean, 0.0))),
        min(noise / (2.0 * np.sqrt(mean)) if mean > 0 else np.inf, float(np.sqrt(noise))),
    )


def _pair(law: Law, d: int) -> FloatArray:
    """Exact law of the tokens at d and d + 1, shape (S * S,)."""
    if law.chain is None:
        return law.marginal([d, d + 1]).ravel()
    out = np.empty((law.tokens, law.tokens))
    alone = law.marginals()[d]
    for token in range(law.tokens):
        seen = np.ones((1, law.length, law.tokens))
        seen[0, d] = np.eye(law.tokens)[token]
        after = law.chain.posterior(seen)[0][0, d + 1]
        out[token] = alone[token] * after / max(float(after.sum()), np.finfo(float).tiny)
    return out.ravel()


def _square(x: TokenArray, exact: FloatArray) -> tuple[float, float]:
    """Squared distance of the law of pairs without bias, and its standard error."""
    n = len(x)
    size = int(np.sqrt(exact.size))
    share: Any = np.bincount(x[:, 0] * size + x[:, 1], minlength=exact.size) / n
    off = share - exact
    square = float(off @ off - share @ (1.0 - share) / (n - 1))
    noise = 4.0 * max(0.0, float(share @ off**2) - float(share @ off) ** 2) / n + 2.0 * float((share**2).sum()) / n**2
    return square, float(np.sqrt(noise))

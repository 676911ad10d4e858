"""Laws that are too large to enumerate: what draws say of a sampler, with the Monte-Carlo error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffnum.discrete.checks import TokenArray, whole_number
from diffnum.discrete.draws import squared_distance
from diffnum.discrete.laws import Law
from diffnum.discrete.models import ExactTokens
from diffnum.discrete.output import sample
from diffnum.discrete.processes import Masked, TokenProcess
from diffnum.discrete.samplers import TokenSampler, sampler

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

    Raises
    ------
    ValueError
        If sequences have no neighbours.
    """
    draws = whole_number("draws", draws, 100, "at least 100 make an error estimate")
    process = Masked() if process is None else process
    model = ExactTokens(law, process)
    if law.length < 2:
        msg = f"length {law.length}: neighbours need two positions; use dn.discrete.output_law"
        raise ValueError(msg)
    x = sample(model, process, name, draws, steps, seed)
    logs = law.log_prob(law.check_tokens(x, "the output"))
    known = np.isfinite(logs)
    exact = law.log_prob(law.sample(draws, seed + 1))
    squares, variances = zip(*(_neighbours(x[:, d : d + 2], law, d) for d in range(law.length - 1)), strict=True)
    mean, noise = float(np.mean(squares)), float(np.sqrt(np.sum(variances))) / len(variances)
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


def _neighbours(x: TokenArray, law: Law, d: int) -> tuple[float, float]:
    """Squared distance of the law of the tokens at d and d + 1 from the exact one, and its variance."""
    exact = law.marginal([d, d + 1]).ravel()
    share = np.bincount(x[:, 0] * law.tokens + x[:, 1], minlength=exact.size) / len(x)
    return squared_distance(share, exact, len(x))

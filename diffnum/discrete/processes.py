"""Noising processes on tokens: masked (absorbing) and uniform, with everything that a sampler asks of them.

Tokens are noised independently. At time t a token shows the data with probability ``alpha(t)``; otherwise it shows
the mask (:class:`Masked`), or a token drawn uniformly (:class:`Uniform`). Given the posterior marginals of the data
``p[n, d, a] = P(x_0^d = a | x_t)``, the exact reverse rates and the exact one-token bridge are closed formulas: a
model of the marginals is all that a sampler needs. (Bayes' rule, of which they are the result, is in
:mod:`diffnum.derivation.jumps`.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from diffnum.discrete.checks import TokenArray
from diffnum.discrete.survival import Survival, survival
from diffnum.types import FloatArray

__all__ = ["Masked", "TokenProcess", "Uniform", "checked_process"]

LEFT_AT_START = 1e-3
"""How much of the data is left where a uniform process begins to be reversed: its rates are infinite at alpha = 0."""


@runtime_checkable
class TokenProcess(Protocol):
    """What samplers ask of a process; times are scalars or of shape (n,)."""

    @property
    def name(self) -> str:
        """``"masked"`` or ``"uniform"``."""

    @property
    def survival(self) -> Survival:
        """The schedule alpha."""

    @property
    def time_free(self) -> bool:
        """Whether the posterior marginals depend on the state alone."""

    @property
    def start(self) -> float:
        """Time from which samplers run."""

    def states(self, tokens: int) -> int:
        """Number of states of one token."""

    def noising(self, tokens: int, t: float) -> FloatArray:
        """Law of a noisy token given the datum, shape (S, states)."""

    def likelihood(self, x: TokenArray, tokens: int, t: Any) -> FloatArray:
        """Probability of each seen token for each datum, shape (n, L, S)."""

    def noise(self, tokens: int) -> FloatArray:
        """Law of a token without data, shape (states,)."""

    def rates(self, p: FloatArray, x: TokenArray, t: Any) -> FloatArray:
        """Reverse rates to each state in 1/time, shape (n, L, states); zero to the state itself."""

    def forward_rates(self, x: TokenArray, tokens: int, t: Any) -> FloatArray:
        """Rates of the noising process itself, of the same shape."""

    def posterior(self, p: FloatArray, x: TokenArray, t: Any, s: Any) -> FloatArray:
        """Law of each token at time s < t given the state at t, shape (n, L, states)."""

    def clock(self, t: Any) -> Any:
        """Clock that removes the schedule from the rates; increases as the reverse process runs."""

    def clock_rate(self, t: Any) -> Any:
        """Speed of the clock, > 0, per unit of time."""

    def time(self, clock: Any) -> Any:
        """Inverse of :meth:`clock`."""


def checked_process(process: Any) -> TokenProcess:
    """A process; raises TypeError for anything else."""
    if not isinstance(process, TokenProcess):
        msg = f"process={process!r}: pass dn.discrete.Masked() or dn.discrete.Uniform()"
        raise TypeError(msg)
    return process


def column(t: Any) -> Any:
    """Times that broadcast against (n, L, states)."""
    t = np.asarray(t, dtype=np.float64)
    return t[:, None, None] if t.ndim else t


@dataclass(frozen=True)
class Masked:
    """Absorbing process: a token that is lost shows the mask, which is state S.

    Parameters
    ----------
    survival : str or Survival
        Probability alpha(t) that a token is still there; ``"linear"`` by default.

    Notes
    -----
    Reverse rate of a masked token to token b: ``-alpha'/(1 - alpha) p_b``. The posterior marginals do not depend on the
    time.
    """

    survival: Any = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "survival", survival(self.survival))

    @property
    def name(self) -> str:
        """``"masked"``."""
        return "masked"

    @property
    def time_free(self) -> bool:
        """True."""
        return True

    @property
    def start(self) -> float:
        """Time from which samplers run: 1."""
        return 1.0

    def states(self, tokens: int) -> int:
        """S tokens and the mask."""
        return tokens + 1

    def noising(self, tokens: int, t: float) -> FloatArray:
        """Law of a noisy token given the datum, shape (S, S + 1)."""
        alpha = self.survival.alpha(t)
        return np.concatenate([alpha * np.eye(tokens), np.full((tokens, 1), 1.0 - alpha)], axis=1)

    def likelihood(self, x: TokenArray, tokens: int, t: Any) -> FloatArray:
        """Probability of each seen token for each datum, shape (n, L, S)."""
        alpha = self.survival.alpha(column(t))
        return np.asarray(np.where((x == tokens)[..., None], 1.0 - alpha, alpha * np.eye(tokens + 1)[x][..., :tokens]))

    def noise(self, tokens: int) -> FloatArray:
        """All mass on the mask."""
        return np.asarray(np.eye(tokens + 1)[tokens])

    def hazard(self, t: Any) -> Any:
        """Rate at which a masked token shows, in 1/time."""
        return -self.survival.slope(t) / (1.0 - self.survival.alpha(t))

    def rates(self, p: FloatArray, x: TokenArray, t: Any) -> FloatArray:
        """Reverse rates; see the class."""
        size = p.shape[-1]
        out = np.zeros((*x.shape, size + 1))
        out[..., :size] = np.where((x == size)[..., None], column(self.hazard(t)) * p, 0.0)
        return out

    def forward_rates(self, x: TokenArray, tokens: int, t: Any) -> FloatArray:
        """Rate ``-alpha'/alpha`` to the mask."""
        out = np.zeros((*x.shape, tokens + 1))
        loss = -self.survival.slope(t) / self.survival.alpha(t)
        out[..., tokens] = np.where(x == tokens, 0.0, column(loss)[..., 0] if np.ndim(loss) else loss)
        return out

    def posterior(self, p: FloatArray, x: TokenArray, t: Any, s: Any) -> FloatArray:
        """Law of each token at s: shown with probability ``(alpha_s - alpha_t)/(1 - alpha_t)``, drawn from p."""
        alpha_t, alpha_s = self.survival.alpha(column(t)), self.survival.alpha(column(s))
        shown = (alpha_s - alpha_t) / (1.0 - alpha_t)
        size = p.shape[-1]
        out = np.eye(size + 1)[x]
        masked = (x == size)[..., None]
        out[..., :size] = np.where(masked, shown * p, out[..., :size])
        out[..., size:] = np.where(masked, 1.0 - shown * p.sum(axis=-1, keepdims=True), 0.0)
        return out

    def clock(self, t: Any) -> Any:
        """``-log(1 - alpha)``: the hazard is 1 in it."""
        with np.errstate(divide="ignore"):
            return -np.log(1.0 - self.survival.alpha(t))

    def clock_rate(self, t: Any) -> Any:
        """The hazard."""
        return self.hazard(t)

    def time(self, clock: Any) -> Any:
        """Inverse of the clock."""
        return self.survival.time(-np.expm1(-np.asarray(clock)))


@dataclass(frozen=True)
class Uniform:
    """Uniform process: a token that is lost shows any of the S tokens, each with probability 1/S.

    Parameters
    ----------
    survival : str or Survival
        Probability alpha(t) that a token is not lost; ``"linear"`` by default.

    Notes
    -----
    Reverse rate from x to b: ``-alpha'/(S alpha)`` times the concrete score, which is the ratio of the probabilities of
    the two noisy sequences: ``1 + p_b alpha/c - p_x alpha/(alpha + c)`` with ``c = (1 - alpha)/S``.
    """

    survival: Any = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "survival", survival(self.survival))

    @property
    def name(self) -> str:
        """``"uniform"``."""
        return "uniform"

    @property
    def time_free(self) -> bool:
        """False."""
        return False

    @property
    def start(self) -> float:
        """Time where a thousandth of the data is left, or 1 if more is left there."""
        end = float(self.survival.alpha(1.0))
        return 1.0 if end >= LEFT_AT_START else float(self.survival.time(LEFT_AT_START))

    def states(self, tokens: int) -> int:
        """S tokens."""
        return tokens

    def noising(self, tokens: int, t: float) -> FloatArray:
        """Law of a noisy token given the datum, shape (S, S)."""
        alpha = self.survival.alpha(t)
        return np.asarray(alpha * np.eye(tokens) + (1.0 - alpha) / tokens)

    def likelihood(self, x: TokenArray, tokens: int, t: Any) -> FloatArray:
        """Probability of each seen token for each datum, shape (n, L, S)."""
        alpha = self.survival.alpha(column(t))
        return np.asarray(alpha * np.eye(tokens)[x] + (1.0 - alpha) / tokens)

    def noise(self, tokens: int) -> FloatArray:
        """The uniform law."""
        return np.full(tokens, 1.0 / tokens)

    def score(self, p: FloatArray, x: TokenArray, t: Any) -> FloatArray:
        """Concrete score: ``P_t(x with token d replaced by b) / P_t(x)``, shape (n, L, S); one at b = x."""
        alpha = column(self.survival.alpha(t))
        rest = (1.0 - alpha) / p.shape[-1]
        own = np.take_along_axis(p, x[..., None], axis=-1)
        out = 1.0 + p * alpha / rest - own * alpha / (alpha + rest)
        np.put_along_axis(out, x[..., None], 1.0, axis=-1)
        return np.asarray(out)

    def rates(self, p: FloatArray, x: TokenArray, t: Any) -> FloatArray:
        """Reverse rates; see the class."""
        loss = column(-self.survival.slope(t) / self.survival.alpha(t))
        out = loss / p.shape[-1] * self.score(p, x, t)
        np.put_along_axis(out, x[..., None], 0.0, axis=-1)
        return np.asarray(out)

    def forward_rates(self, x: TokenArray, tokens: int, t: Any) -> FloatArray:
        """Rate ``-alpha'/(S alpha)`` to every other token."""
        loss = column(-self.survival.slope(t) / self.survival.alpha(t))
        out = np.broadcast_to(loss / tokens, (*x.shape, tokens)).copy()
        np.put_along_axis(out, x[..., None], 0.0, axis=-1)
        return out

    def posterior(self, p: FloatArray, x: TokenArray, t: Any, s: Any) -> FloatArray:
        """Law of each token at s, by Bayes' rule over the datum."""
        size = p.shape[-1]
        alpha_t, alpha_s = self.survival.alpha(column(t)), self.survival.alpha(column(s))
        rest_t, rest_s = (1.0 - alpha_t) / size, (1.0 - alpha_s) / size
        own = np.eye(size, dtype=bool)[x]
        weight = p / np.where(own, alpha_t + rest_t, rest_t)
        kept = alpha_t / alpha_s
        out = (alpha_s * weight + rest_s * weight.sum(axis=-1, keepdims=True)) * ((1.0 - kept) / size + kept * own)
        return np.asarray(out / out.sum(axis=-1, keepdims=True))

    def clock(self, t: Any) -> Any:
        """``log alpha``: a token is lost at rate 1 in it."""
        with np.errstate(divide="ignore"):
            return np.log(self.survival.alpha(t))

    def clock_rate(self, t: Any) -> Any:
        """``-alpha'/alpha``."""
        return -self.survival.slope(t) / self.survival.alpha(t)

    def time(self, clock: Any) -> Any:
        """Inverse of the clock."""
        return self.survival.time(np.exp(np.asarray(clock)))

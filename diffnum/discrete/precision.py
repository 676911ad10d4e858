r"""Categorical draws by Gumbel noise of low precision, exactly.

``argmax(log p + g)`` with :math:`g = -\log(-\log u)` draws from p if u is uniform on (0, 1). In the times
:math:`E = -\log u` it is a race: token i arrives at :math:`E_i / p_i`, the first one wins. A float32 generator returns
multiples of :math:`2^{-24}` below one, so that no E is below :math:`-\log(1 - 2^{-24})` and g never exceeds 16.6: rare
tokens, which need a small E to win, are drawn too rarely.

Two laws are given. :func:`truncated_law` cuts continuous noise off at its largest value, in closed form.
:func:`gumbel_law` counts the values that the generator has: near the cut they are few, and the smallest E has the
probability of all that lies below the next but one, so that the loss is less than the truncation says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffnum.discrete.checks import checked_law, whole_number
from diffnum.discrete.laws import entropy_of
from diffnum.types import FloatArray

__all__ = ["effective_temperature", "gumbel_law", "gumbel_maximum", "truncated_law"]

FLOAT32_BITS = 24

ONE_BY_ONE = 1 << 12
"""Values of the noise, from the largest, that are counted one by one; the others in blocks."""

LOG_RANGE = (-12.0, 12.0)
"""Logarithms of the temperatures that are told from 0 and from infinity."""

BLOCKS = 6000
"""Blocks of the rest, each a ratio of about a thousandth wide."""


def _least(bits: int) -> float:
    if whole_number("bits", bits, 0) not in range(1, 54):
        msg = f"bits={bits}: use 24 for float32, 53 for float64"
        raise ValueError(msg)
    return float(-np.log1p(-(2.0**-bits)))


def gumbel_maximum(bits: int = FLOAT32_BITS) -> float:
    """Largest Gumbel noise from uniforms that are multiples of ``2**-bits`` below one.

    Parameters
    ----------
    bits : int
        Bits of the uniforms, 24 in float32.

    Returns
    -------
    float
    """
    return float(-np.log(_least(bits)))


def truncated_law(p: Any, bits: int = FLOAT32_BITS) -> FloatArray:
    """Law of ``argmax(log p + g)`` with continuous noise that is cut off at :func:`gumbel_maximum`.

    Parameters
    ----------
    p : array_like, shape (S,)
        Probabilities.
    bits : int
        Bits of the uniforms: 24 for float32, 53 for float64, 11 for float16.

    Returns
    -------
    ndarray, shape (S,)
    """
    p, least = checked_law("p", p, ndim=1), _least(bits)
    order = np.argsort(-p, kind="stable")
    q = p[order]
    q = q[q > 0]
    ahead = np.cumsum(q)
    # Token i wins at its own time E if no faster one came: token j could arrive once E > least p_i / p_j. Between two
    # such times the number of rivals is constant, and the integral of exp(-(E - least) - ...) is elementary.
    out = np.zeros(p.size)
    for i, own in enumerate(q):
        first = int(np.searchsorted(-q, -own, side="right"))  # those at least as probable compete from the beginning
        lows = np.concatenate([[least], own / q[first:] * least])
        highs = np.concatenate([lows[1:], [np.inf]])
        rivals = np.arange(first, len(q) + 1)
        rate = ahead[rivals - 1] / own
        out[order[i]] = np.sum((np.exp(rivals * least - rate * lows) - np.exp(rivals * least - rate * highs)) / rate)
    return out


def gumbel_law(p: Any, copies: Any = 1, bits: int = FLOAT32_BITS) -> FloatArray:
    """Law of ``argmax(log p + g)`` with uniforms that are multiples of ``2**-bits`` in [0, 1), by counting them.

    Parameters
    ----------
    p : array_like, shape (G,)
        Probability of each kind of token.
    copies : array_like of int, shape (G,)
        How many tokens of that kind and probability there are; ``sum(p * copies) = 1``.
    bits : int
        Bits of the uniforms, at most 40.

    Returns
    -------
    ndarray, shape (G,)
        Probability that a token of each kind is drawn. Rounding of the noise itself, which is finer, is left out.

    Raises
    ------
    ValueError
        If shapes do not fit, there is less than one copy, or there are more than 40 bits.
    """
    _least(bits)
    given = np.asarray(copies, dtype=np.float64)
    if np.ndim(p) != 1 or given.shape not in ((), np.shape(p)):
        msg = f"p has shape {np.shape(p)}, copies {given.shape}: use (G,) for both, or one number of copies"
        raise ValueError(msg)
    many = np.broadcast_to(given, np.shape(p))
    if not np.all(many >= 1) or np.any(many % 1) or bits > 40:
        msg = f"copies={copies}, bits={bits}: use copies >= 1 and at most 40 bits"
        raise ValueError(msg)
    one = checked_law("p times copies", np.asarray(p, dtype=np.float64) * many) / many
    size = 2.0**bits
    # Multiples k = size - m of 2**-bits, from the largest; a block holds all m in (above, below]. Blocks are narrow in
    # relation to E at both ends: m counts E where u is near one, k where u is near zero.
    half = max(size / 2, 1.0)
    fine = np.arange(min(ONE_BY_ONE, size - 1) + 1)
    near_one, near_zero = np.geomspace(1.0, half, BLOCKS), size - np.geomspace(half, 1.0, BLOCKS)
    edges = np.unique(np.round(np.concatenate([fine, near_one, near_zero])))
    above, below = edges[:-1], edges[1:]
    time = -np.log1p(-(above + below + 1) / 2 / size)
    reached = 1.0 - above / size  # probability of a time at least that of the block
    later = 1.0 - below / size  # of a later one
    out = np.zeros(one.size)
    for i in range(one.size):
        if one[i] == 0:
            continue
        wins = reached ** many[i] - later ** many[i]
        for j in range(one.size):
            if j != i and one[j] > 0:
                # strictly later than this time: k < size exp(-y)
                wins = wins * np.minimum(1.0, np.ceil(size * np.exp(-time * one[j] / one[i])) / size) ** many[j]
        out[i] = wins.sum()
    return out


def effective_temperature(p: Any, q: Any) -> float:
    """Temperature T at which ``p**(1/T)``, normalised, has the entropy of ``q``.

    Below one if q is more concentrated than p; 0 if q is as concentrated as the most likely tokens alone, infinite if
    it is as spread as the uniform law on what p can show.

    Parameters
    ----------
    p, q : array_like, shape (S,)
        Probabilities of the same tokens; they sum to 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If p and q are laws on different numbers of tokens, or all tokens that p can show are equally likely: then every
        temperature gives the same law.
    """
    from scipy.optimize import brentq

    p, q = checked_law("p", p, ndim=1), checked_law("q", q, ndim=1)
    if p.size != q.size:
        msg = f"p has {p.size} tokens, q {q.size}: compare laws on the same tokens"
        raise ValueError(msg)
    support = p > 0
    log_p = np.log(p[support]) - np.log(p.max())
    modes = int(np.sum(log_p == 0.0))
    if modes == log_p.size:
        msg = f"p gives each of its {modes} tokens the same probability: its temperature cannot be told"
        raise ValueError(msg)

    wanted = float(entropy_of(q))

    def difference(log_temperature: float) -> float:
        weight = np.exp(log_p / np.exp(log_temperature))
        return float(entropy_of(weight / weight.sum())) - wanted

    if difference(LOG_RANGE[0]) >= 0:
        return 0.0
    if difference(LOG_RANGE[1]) <= 0:
        return float("inf")
    return float(np.exp(brentq(difference, *LOG_RANGE, xtol=1e-12)))

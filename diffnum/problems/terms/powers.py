"""Integer powers of a sum of terms: its multinomial expansion, one Gaussian a multiset."""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np

from diffnum.problems._components import log_sum_exp
from diffnum.problems.terms.products import pair_weights, paired
from diffnum.problems.terms.sums import Terms, TermSum, check_prune, kept

__all__ = ["power_terms"]


def power_terms(base: Terms, exponent: int, prune: float) -> TermSum:
    """Sum of terms to an integer power, expanded; see :func:`diffnum.problems.targets.power`.

    Parameters
    ----------
    base : Terms
        K of them.
    exponent : int
        The power n, at least 1.
    prune : float
        Share of the mass that may be left out after each multiplication, 0 to 1.

    Returns
    -------
    TermSum
        Multisets of n terms; of the first power the terms themselves.

    Raises
    ------
    ValueError
        If ``exponent`` is no integer from 1 up, or ``prune`` no share.
    """
    prune = check_prune(prune)
    n = _whole(exponent)
    terms, last = base, np.arange(len(base.log_weights))
    repeats = np.ones(len(last))
    lost = -np.inf
    for size in range(2, n + 1):
        weights = pair_weights(terms, base)
        following = np.arange(len(base.log_weights))
        again = following == last[:, None]
        weights += np.log(size / np.where(again, repeats[:, None] + 1.0, 1.0))
        weights[following < last[:, None]] = -np.inf
        chosen, share = kept(weights.ravel(), prune)
        i, j = np.unravel_index(chosen, weights.shape)
        if share > 0.0:
            log_mass = float(log_sum_exp(np, weights.ravel())) + np.log(share)
            growth = np.log(factorial(n) / factorial(size)) + (n - size) * base.log_peak
            lost = float(np.logaddexp(lost, log_mass + growth))
        terms = paired(terms, base, i, j, weights[i, j])
        last, repeats = j, np.where(again[i, j], repeats[i] + 1.0, 1.0)
    log_evidence = terms.log_mass
    return TermSum(terms, log_evidence, float(np.exp(lost - np.logaddexp(log_evidence, lost))))


def _whole(exponent: Any) -> int:
    if isinstance(exponent, bool) or not isinstance(exponent, int | float | np.number):
        msg = f"exponent={exponent!r} is a {type(exponent).__name__}: pass an integer, at least 1"
        raise TypeError(msg)
    if exponent < 1 or exponent != int(exponent):
        msg = (
            f"exponent={exponent!r}: only the powers 1, 2, 3, ... of a mixture are mixtures; for others use "
            "targets.PowerProduct((problem,), (exponent,)), by quadrature in one or two dimensions"
        )
        raise ValueError(msg)
    return int(exponent)

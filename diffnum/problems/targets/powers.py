"""Integer powers of a law: its multinomial expansion, one Gaussian a multiset of components."""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np

from diffnum.problems._components import log_sum_exp
from diffnum.problems.mixture import GaussianMixture
from diffnum.problems.targets.products import pair_weights, paired
from diffnum.problems.targets.terms import Terms, check_prune, kept, mixture_of, normalised

__all__ = ["power"]


def power(problem: Any, exponent: int, *, prune: float = 0.0) -> GaussianMixture:
    r"""Law proportional to :math:`p(x)^n`, for an integer :math:`n \ge 1`.

    Parameters
    ----------
    problem : GaussianMixture, Gaussian or Mixture1D
        The law p, with K components.
    exponent : int
        The power n, at least 1. (A float that is a whole number is taken.)
    prune : float
        Share of the mass that may be left out after each multiplication, 0 to 1; of the :math:`\binom{K+n-1}{n}`
        Gaussians the lightest ones go. ``discarded`` of the result bounds its distance in total variation from the
        whole power, and the relative error of the evidence.

    Returns
    -------
    GaussianMixture
        ``log_evidence`` is :math:`\log \int p^n`; there are no labels.

    Raises
    ------
    ValueError
        If ``exponent`` is no integer from 1 up: other powers of mixtures are no mixtures.

    Notes
    -----
    Multisets grow by one component at a time, of the same number or a later one, and a multiset of n with the new
    component r times in it has n/r times as many orders as before. What a pruned multiset would have become is at
    most its mass times :math:`\sup p` and the growth of that number, for each multiplication that is left.
    """
    prune = check_prune(prune)
    mixture = mixture_of(problem)
    n = _whole(exponent)
    base = Terms(mixture.core.log_weights, mixture.means, mixture.covariances)
    terms, last = base, np.arange(len(base.log_weights))
    repeats = np.ones(len(last))
    spectra = mixture.core.spectra
    log_peak = float(log_sum_exp(np, base.log_weights - 0.5 * _log_det(spectra, mixture.dim)))
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
            growth = np.log(factorial(n) / factorial(size)) + (n - size) * log_peak
            lost = float(np.logaddexp(lost, log_mass + growth))
        terms = paired(terms, base, i, j, weights[i, j])
        last, repeats = j, np.where(again[i, j], repeats[i] + 1.0, 1.0)
    log_evidence = float(log_sum_exp(np, terms.log_weights))
    labels = mixture.labels if n == 1 else None
    return normalised(terms, log_evidence, labels, discarded=float(np.exp(lost - np.logaddexp(log_evidence, lost))))


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


def _log_det(spectra: np.ndarray, dim: int) -> np.ndarray:
    """Logarithms of ``det(2 pi C)``, shape (K,)."""
    return np.asarray(np.sum(np.log(2.0 * np.pi * spectra), axis=1) * (dim // spectra.shape[1]))

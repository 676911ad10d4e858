"""Restriction of a law to some of its classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from diffnum.problems.mixture import GaussianMixture
from diffnum.problems.targets.terms import Terms, mixture_of, normalised

__all__ = ["restricted"]


def restricted(problem: Any, labels: int | Iterable[int]) -> GaussianMixture:
    """Law of the components of some classes.

    Parameters
    ----------
    problem : GaussianMixture
        A law with labels.
    labels : int or iterable of int
        Class, or classes.

    Returns
    -------
    GaussianMixture
        ``log_evidence`` is the logarithm of the probability of these classes.

    Raises
    ------
    ValueError
        If the mixture has no labels, one of ``labels`` is not among them, or all of them have weight zero.
    """
    mixture = mixture_of(problem)
    if mixture.labels is None:
        msg = "labels is None: this mixture has no classes; pass labels=, one integer a component"
        raise ValueError(msg)
    wanted = np.atleast_1d(np.asarray(list(labels) if isinstance(labels, Iterable) else labels))
    known = sorted({int(value) for value in mixture.labels})
    strange = [value for value in wanted.tolist() if value not in known]
    if strange or not wanted.size:
        msg = f"labels={wanted.tolist()}: {strange or 'nothing'} is no class of this mixture; the labels are {known}"
        raise ValueError(msg)
    chosen = np.isin(mixture.labels, wanted)
    total = float(np.sum(mixture.weights[chosen]))
    if total <= 0.0:
        msg = f"labels={wanted.tolist()} have no component of positive weight; the labels are {known}"
        raise ValueError(msg)
    terms = Terms(mixture.core.log_weights[chosen], mixture.means[chosen], mixture.covariances[chosen])
    return normalised(terms, float(np.log(total)), mixture.labels[chosen], direct=mixture.direct)

r"""The exact classifier of a mixture with classes, at every noise level."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from diffnum.problems import GaussianMixture
from diffnum.problems._components import log_sum_exp
from diffnum.problems._states import FORMS, Batch, check_schedule, check_state, coefficients, drift
from diffnum.problems.mixture import mixture_of
from diffnum.types import Array, Schedule

__all__ = ["BayesClassifier"]


@dataclass(frozen=True, eq=False)
class BayesClassifier:
    r"""Posterior probabilities of the classes of a mixture, :math:`p(k \mid x_t)`, by Bayes' rule.

    Its logits are :math:`\log p(x_t, k)`, so that the gradient of each is the score of a class.

    Parameters
    ----------
    mixture : GaussianMixture
        With labels 0 to K - 1.
    schedule : Schedule
        The noising process.

    Raises
    ------
    ValueError
        If the mixture has no labels, or a label is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import diffnum as dn
    >>> law = dn.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.25, 0.25], labels=[0, 1])
    >>> classifier = BayesClassifier(law, dn.schedules.VPLinear())
    >>> classifier(np.array([[0.0]]), None).shape
    (1, 2)
    """

    mixture: GaussianMixture
    schedule: Schedule
    classes: tuple[GaussianMixture, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_schedule(self.schedule)
        mixture = mixture_of(self.mixture)
        if mixture.labels is None:
            msg = "mixture has no labels: pass labels= to it, one integer a component"
            raise ValueError(msg)
        known = sorted({int(label) for label in mixture.labels})
        if known != list(range(len(known))):
            msg = f"mixture has the labels {known}: number its classes 0 to {len(known) - 1}"
            raise ValueError(msg)
        object.__setattr__(self, "classes", tuple(mixture.conditional(label) for label in known))

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return len(self.classes)

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """Probability of each class."""
        labels: Any = self.mixture.labels
        return tuple(float(np.sum(self.mixture.weights[labels == k])) for k in range(self.num_classes))

    def __call__(self, x: Array, t: Any) -> Array:
        """Logarithms of the joint densities, shape (n, K), of states of shape (n, ...) at a time; None for data."""
        state, y, alpha, sigma = self._at(x, t)
        columns = [
            log_sum_exp(state.xp, law.core.log_joint(y, alpha, sigma)) + float(np.log(share))
            for law, share in zip(self.classes, self.shares, strict=True)
        ]
        return state.xp.astype(state.xp.stack(columns, axis=1), state.flat.dtype)

    def vjp(self, x: Array, t: Any, cotangent: Array) -> Array:
        """Sum of the scores of the classes times ``cotangent``, shape (n, K); the shape of ``x``."""
        state, y, alpha, sigma = self._at(x, t)
        form = FORMS["score"](alpha, sigma)
        total = 0.0 * state.flat
        for k, law in enumerate(self.classes):
            total = total + cotangent[:, k : k + 1] * law.core.predict(y, alpha, sigma, form)
        return state.restore(total)

    def _at(self, x: Array, t: Any) -> tuple[Batch, Array, Any, Any]:
        state = check_state(x, self.mixture.dim)
        if t is None:
            return state, state.flat, 1.0, 0.0
        alpha, sigma = coefficients(self.schedule, t, state)
        shift = drift(self.schedule, alpha, state, state.xp.float64)
        return state, state.flat - shift, alpha, sigma

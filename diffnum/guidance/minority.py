r"""Minority guidance: a classifier of how unlike its own denoised version a datum is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.forms import predict
from diffnum.guidance.altered import Altered
from diffnum.guidance.classifier import Classifier, Label, classifier_guidance
from diffnum.guidance.guided import Scale
from diffnum.guidance.record import GuidanceRule
from diffnum.problems import GaussianMixture
from diffnum.problems._components import log_sum_exp
from diffnum.problems._states import check_state, coefficients, drift, positive_count
from diffnum.problems.mixture import mixture_of
from diffnum.types import Array, Denoiser, FloatArray, Schedule

__all__ = [
    "RULES",
    "RegionClassifier",
    "minority_classifier",
    "minority_guidance",
    "minority_score",
    "quantile_labels",
]

AXIS = 4001
"""Nodes of the line on which the exact minority score of a mixture is taken."""

HERMITE = 96
"""Nodes of the quadrature over noise."""


def minority_score(
    model: Denoiser,
    x: Array,
    t: float,
    *,
    draws: int = 8,
    seed: int = 0,
    distance: Callable[[Array, Array], Array] | None = None,
) -> Array:
    r"""How far data are from what the model makes of their noised versions, :math:`E\, d(x_0, D(x_t))`.

    Parameters
    ----------
    model : Denoiser
        Unconditional model.
    x : array, shape (n, ...)
        Data.
    t : float
        Time to which they are noised.
    draws : int
        Draws of the noise that are averaged.
    seed : int
        Of the noise.
    distance : callable, optional
        ``distance(a, b)`` of two batches, shape (n,); the mean square by default (LPIPS in the paper).

    Returns
    -------
    array, shape (n,)

    References
    ----------
    Um et al. 2024, arXiv:2301.12334, section 3; soobin-um/minority-guidance at e7e69bd7, construct_ms_dataset.py.
    """
    xp, schedule = array_namespace(x), model.schedule
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    generator = np.random.default_rng(seed)
    total = 0.0
    for _ in range(positive_count(draws, "draws")):
        noise = xp.asarray(generator.standard_normal(tuple(x.shape)), dtype=x.dtype, device=device(x))
        data = predict(model, alpha * x + sigma * noise, t, "data")
        gap = _mean_square(x, data) if distance is None else distance(x, data)
        total = total + gap / draws
    return total


def quantile_labels(scores: FloatArray, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Labels 0 (ordinary) to ``count - 1`` (most unusual) by equal shares of the scores.

    Parameters
    ----------
    scores : array_like, shape (n,)
        Minority scores.
    count : int
        Number of labels, at least 2.

    Returns
    -------
    ndarray of int, shape (n,)

    Raises
    ------
    ValueError
        If there are fewer than two labels.
    """
    if positive_count(count, "count") < 2:
        msg = f"count={count}: give two labels or more"
        raise ValueError(msg)
    edges = np.quantile(np.asarray(scores, dtype=float), np.arange(1, count) / count)
    return np.searchsorted(edges, scores, side="left").astype(np.int64)


def minority_guidance(model: Denoiser, classifier: Classifier, scale: Scale, *, label: Label | None = None) -> Altered:
    r"""Minority guidance: :math:`\tilde\epsilon = \epsilon - w\, \sigma\, \nabla_x \log p(l \mid x_t)`.

    Classifier guidance by a classifier of minority labels, :func:`quantile_labels` of :func:`minority_score`.

    Parameters
    ----------
    model : Denoiser
        Unconditional model.
    classifier : Classifier
        Of noisy states, by minority label; :func:`minority_classifier` of a mixture on the line.
    scale : float or callable
        Weight w; 0 is no guidance.
    label : int, sequence of int or array, shape (n,), optional
        Minority label; the most unusual by default.

    Returns
    -------
    Altered
        A model of the noise.

    References
    ----------
    Um et al. 2024, arXiv:2301.12334, section 3.
    """
    chosen = classifier.num_classes - 1 if label is None else label
    return classifier_guidance(model, classifier, scale, label=chosen)


@dataclass(frozen=True, eq=False)
class RegionClassifier:
    r"""Posterior probabilities of parts of the line, :math:`P(x_0 \in \text{part} \mid x_t)`, for a mixture; exact.

    Parameters
    ----------
    mixture : GaussianMixture
        In one dimension.
    schedule : Schedule
        The noising process.
    edges : ndarray, shape (m,)
        Where the label changes, increasing.
    regions : ndarray of int, shape (m + 1,)
        Label of each interval, 0 to K - 1.

    Raises
    ------
    ValueError
        If the mixture is not on the line, or the edges do not increase.

    Notes
    -----
    Given the state, each component is a normal, so that the parts have differences of normal distribution functions as
    probabilities; they are formed in logarithms. States of any array library are carried by numpy.
    """

    mixture: GaussianMixture
    schedule: Schedule
    edges: FloatArray
    regions: Any

    def __post_init__(self) -> None:
        if self.mixture.dim != 1:
            msg = f"mixture has {self.mixture.dim} dimensions: parts of the line need one"
            raise ValueError(msg)
        if len(self.regions) != len(self.edges) + 1 or np.any(np.diff(self.edges) <= 0.0):
            msg = (
                f"edges={self.edges!r}, regions={self.regions!r}: give increasing edges, and one label more than edges"
            )
            raise ValueError(msg)

    @property
    def num_classes(self) -> int:
        """Number of labels, K."""
        return int(np.max(self.regions)) + 1

    def labels(self, x: FloatArray) -> Any:
        """Label of each datum, shape (n, 1) or (n,)."""
        return np.asarray(self.regions)[np.searchsorted(self.edges, np.ravel(x))]

    def __call__(self, x: Array, t: Any) -> Array:
        """Logarithms of the joint densities, shape (n, K); of data (``t=None``) 0 and minus infinity."""
        if t is None:
            own = self.labels(_numpy(x))[:, None] == np.arange(self.num_classes)
            return _like(x, np.where(own, 0.0, -np.inf))
        return _like(x, self._logits(x, t)[0])

    def vjp(self, x: Array, t: Any, cotangent: Array) -> Array:
        """Gradient of the logits times ``cotangent``; zero for data."""
        if t is None:
            return 0.0 * x
        slopes = self._logits(x, t)[1]
        return _like(x, np.sum(_numpy(cotangent) * slopes, axis=1).reshape(tuple(x.shape)))

    def _logits(self, x: Array, t: Any) -> tuple[FloatArray, FloatArray]:
        """Logits and their derivatives by the state, shape (n, K)."""
        state = check_state(_numpy(x), 1)
        alpha, sigma = coefficients(self.schedule, t, state)
        y = state.flat - drift(self.schedule, alpha, state, np.float64)
        core = self.mixture.core
        joint = core.log_joint(y, alpha, sigma)
        mean, spread = core.means[:, 0], core.spectra[:, 0]
        variance = alpha**2 * spread + sigma**2
        gain = alpha * spread / variance
        centre = mean + gain * (y - alpha * mean)
        width = np.sqrt(spread * sigma**2 / variance)
        ends = np.concatenate([[-np.inf], self.edges, [np.inf]])
        shifted = (ends - centre[:, :, None]) / width[..., None]
        low, high = shifted[..., :-1], shifted[..., 1:]
        mass = _log_mass(low, high)
        push = np.exp(_log_normal(low) - mass) - np.exp(_log_normal(high) - mass)
        slope = (-(y - alpha * mean) / variance)[..., None] + push * (gain / width)[..., None]
        whole = joint[..., None] + mass
        logits, slopes = [], []
        for k in range(self.num_classes):
            part = whole[..., np.asarray(self.regions) == k].reshape(len(y), -1)
            total = log_sum_exp(np, part)
            logits.append(total)
            bent = slope[..., np.asarray(self.regions) == k].reshape(len(y), -1)
            slopes.append(np.sum(np.exp(part - total[:, None]) * bent, axis=1))
        return np.stack(logits, axis=1), np.stack(slopes, axis=1)


def minority_classifier(problem: Any, schedule: Schedule, t: float, *, count: int = 2) -> RegionClassifier:
    """Exact classifier of the minority labels of a mixture on the line.

    The score, the mean square distance to the denoised datum, is taken by quadrature over the noise, its quantiles by
    quadrature over the data.

    Parameters
    ----------
    problem : GaussianMixture, Gaussian or Mixture1D
        In one dimension.
    schedule : Schedule
        The noising process.
    t : float
        Time to which data are noised for the score.
    count : int
        Number of labels, at least 2.

    Returns
    -------
    RegionClassifier

    Raises
    ------
    ValueError
        If the problem is not on the line, or ``count`` is below 2.
    """
    law = mixture_of(problem)
    if law.dim != 1:
        msg = f"problem has {law.dim} dimensions: exact minority labels are for one; train a classifier on scores"
        raise ValueError(msg)
    if positive_count(count, "count") < 2:
        msg = f"count={count}: give two labels or more"
        raise ValueError(msg)
    reach = 7.0 * float(np.sqrt(np.max(law.core.spectra)))
    axis = np.linspace(float(law.means.min()) - reach, float(law.means.max()) + reach, AXIS)
    z, weights = np.polynomial.hermite_e.hermegauss(HERMITE)
    weights = weights / weights.sum()
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    model = law.denoiser(schedule)
    state = alpha * axis[:, None] + sigma * z + (1.0 - alpha) * float(np.asarray(schedule.mean))
    data = model(state.reshape(-1, 1), t).reshape(state.shape)
    score = (axis[:, None] - data) ** 2 @ weights
    mass = np.exp(law.log_prob(axis[:, None]))
    order = np.argsort(score)
    below = np.cumsum(mass[order]) / mass.sum()
    levels = score[order][np.searchsorted(below, np.arange(1, count) / count)]
    found = np.searchsorted(levels, score)
    jumps = np.flatnonzero(np.diff(found))
    return RegionClassifier(law, schedule, 0.5 * (axis[jumps] + axis[jumps + 1]), found[np.append(jumps, AXIS - 1)])


def _mean_square(a: Array, b: Array) -> Array:
    xp = array_namespace(a)
    return xp.mean(xp.reshape((a - b) ** 2, (a.shape[0], -1)), axis=1)


def _log_normal(z: FloatArray) -> FloatArray:
    return np.asarray(-0.5 * (z * z + np.log(2.0 * np.pi)))


def _log_mass(low: FloatArray, high: FloatArray) -> FloatArray:
    """Logarithm of the normal probability between two ends, from the tail that is nearer."""
    from scipy.special import log_ndtr

    flip = low > 0.0
    a, b = np.where(flip, -high, low), np.where(flip, -low, high)
    upper, lower = log_ndtr(b), log_ndtr(a)
    with np.errstate(divide="ignore"):
        return np.asarray(np.maximum(upper + np.log1p(-np.exp(lower - upper)), -745.0))


def _numpy(value: Any) -> FloatArray:
    value = value.detach().cpu() if hasattr(value, "detach") else value
    return np.asarray(value, dtype=np.float64)


def _like(x: Array, value: FloatArray) -> Array:
    return array_namespace(x).asarray(value, dtype=x.dtype, device=device(x))


def _build(model: Denoiser, scale: Scale, *, classifier: Classifier, label: Any = None) -> Denoiser:
    return minority_guidance(model, classifier, scale, label=label)


RULES = MappingProxyType(
    {
        "minority": GuidanceRule(
            name="minority",
            title="gradient of a classifier of minority labels",
            formula=r"\epsilon - w\, \sigma\, \nabla_x \log p(l \mid x_t), "
            r"\quad l \text{ a quantile of } E\, d(x_0, D(x_t))",
            source="Um et al. 2024, section 3",
            cite="um2024minority",
            build=_build,
            needs=("classifier",),
            judges="minority",
            takes=("label",),
            unguided=0.0,
            code="soobin-um/minority-guidance at e7e69bd7, construct_ms_dataset.py",
            deviations=("mean squares by default, where the paper has LPIPS",),
        )
    }
)

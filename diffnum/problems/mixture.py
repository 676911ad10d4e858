"""Gaussian mixtures: exact scores in every parametrisation, densities, samples and flows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffnum.problems._components import Components, log_sum_exp
from diffnum.problems._denoiser import ExactDenoiser, responsibilities
from diffnum.problems._flow import carry, integrate
from diffnum.problems._states import (
    check_schedule,
    check_state,
    drift_vector,
    endpoint,
    generator_of,
    positive_count,
    probabilities,
    real_array,
)
from diffnum.problems.terms import Terms, TermSum, posterior_terms, power_terms, product_terms, shares_of, tilted_terms
from diffnum.types import Array, FloatArray, Prediction, Schedule


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A mixture of K Gaussians in d dimensions; satisfies :class:`diffnum.types.Problem`.

    Parameters
    ----------
    weights : array_like, shape (K,)
        Probabilities of the components; they sum to 1.
    means : array_like, shape (K, d)
        Means of the components.
    covariances : array_like, shape (K, d, d), (K, d) or (K,)
        Covariance matrices, or their diagonals, or one variance a component. Variances, not standard
        deviations.
    labels : array_like of int, shape (K,), optional
        Class of each component, for :meth:`conditional`.
    direct : bool, optional
        True forms all differences ``x - mean`` (slower, accurate to rounding), False multiplies the squares
        out (matrix products; the relative error of a posterior probability grows like ``eps |x|^2 /
        variance``). By default mixtures with K d <= 1024 are evaluated directly. Full covariances always are.
    log_evidence : float, optional
        Of a target (:mod:`diffnum.problems.targets`): natural logarithm of its normalising constant.
    discarded : float
        Of a target whose lightest components were left out: its largest distance, in total variation, from the whole.

    Raises
    ------
    ValueError
        If weights are negative or do not sum to 1, shapes do not fit, an entry is not finite, or a covariance
        is not symmetric or not positive definite (the message names the component and its smallest
        eigenvalue).

    Notes
    -----
    Parameters are kept as float64 numpy arrays; they are converted once for each namespace, dtype and device
    of the states that arrive. Posterior probabilities are always formed in float64; float32 states get
    float32 answers.
    """

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray
    labels: Any = None
    direct: bool | None = None
    log_evidence: float | None = None
    discarded: float = 0.0
    core: Components = field(init=False, repr=False)

    if TYPE_CHECKING:  # the fields are arrays, but anything that makes one may be given

        def __init__(
            self,
            weights: ArrayLike,
            means: ArrayLike,
            covariances: ArrayLike,
            labels: ArrayLike | None = None,
            direct: bool | None = None,
            log_evidence: float | None = None,
            discarded: float = 0.0,
        ) -> None: ...

    def __post_init__(self) -> None:
        weights = probabilities(self.weights)
        means = real_array(self.means, "means", (2,))
        covariances = real_array(self.covariances, "covariances", (1, 2, 3))
        count, dim = means.shape
        if len(weights) != count:
            msg = f"weights has {len(weights)} entries and means {count} rows; give one of each a component"
            raise ValueError(msg)
        if covariances.shape not in ((count,), (count, dim), (count, dim, dim)):
            msg = (
                f"covariances has shape {covariances.shape}; expected {(count,)}, {(count, dim)} or "
                f"{(count, dim, dim)}"
                " to go with means"
            )
            raise ValueError(msg)
        spectra, bases = spectral(covariances)
        set_field = object.__setattr__  # the dataclass is frozen: this is its only writing
        set_field(self, "weights", weights)
        set_field(self, "means", means)
        set_field(self, "covariances", covariances)
        if self.labels is not None:
            set_field(self, "labels", _labels(self.labels, count))
        with np.errstate(divide="ignore"):  # a component of weight zero has log-weight -inf, and is never drawn
            log_weights = np.log(weights)
        set_field(self, "core", Components(log_weights, means, spectra, bases, self.direct))

    @property
    def dim(self) -> int:
        """Dimension d of the data."""
        return self.core.dim

    def denoiser(self, schedule: Schedule, prediction: Prediction = "data") -> ExactDenoiser:
        """Exact model under a schedule.

        Parameters
        ----------
        schedule : Schedule
            The noising process.
        prediction : {"data", "noise", "velocity", "score", "v"}
            What the model returns; see :class:`~diffnum.problems.ExactDenoiser`.

        Returns
        -------
        ExactDenoiser
        """
        return ExactDenoiser(self.core, schedule, prediction)

    def at(self, schedule: Schedule, t: float) -> GaussianMixture:
        """Exact law of the noisy state at time ``t``: weights stay, means shrink, variances add.

        Parameters
        ----------
        schedule : Schedule
            The noising process.
        t : float
            Time.

        Returns
        -------
        GaussianMixture
        """
        check_schedule(schedule)
        alpha, sigma = endpoint(schedule, t, "t")
        noise = sigma**2 if self.covariances.ndim < 3 else sigma**2 * np.eye(self.dim)
        return GaussianMixture(
            self.weights,
            alpha * self.means + drift_vector(schedule, alpha, self.dim),
            alpha**2 * self.covariances + noise,
            self.labels,
            self.direct,
        )

    def log_prob(self, x: Array) -> Array:
        """Natural logarithm of the density at ``x``, shape (n, d) or (n, ...); returns shape (n,)."""
        state = check_state(x, self.dim)
        joint = self.core.log_joint(state.flat, 1.0, 0.0)
        return state.xp.astype(log_sum_exp(state.xp, joint), state.flat.dtype)

    def responsibilities(self, x: Array, schedule: Schedule, t: Any) -> Array:
        """Posterior probability of each component given a noisy state.

        Parameters
        ----------
        x : array, shape (n, d) or (n, ...)
            Noisy states.
        schedule : Schedule
            The noising process.
        t : float or array, shape () or (n,)
            Time or times.

        Returns
        -------
        array, shape (n, K)
            Rows sum to 1.
        """
        return responsibilities(self.core, x, schedule, t)

    def sample(self, n: int, seed: int) -> FloatArray:
        """Draw ``n`` points; float64, shape (n, d). The same seed gives the same points."""
        n = positive_count(n)
        generator = generator_of(seed)
        chosen = generator.choice(len(self.weights), size=n, p=self.weights)
        noise = generator.standard_normal((n, self.dim))
        spread = np.sqrt(self.core.spectra)
        if self.core.bases is None:
            return np.asarray(self.means[chosen] + spread[chosen] * noise)
        points = np.empty((n, self.dim))
        for k in np.unique(chosen):
            rows = chosen == k
            points[rows] = self.means[k] + (spread[k] * noise[rows]) @ self.core.bases[k]
        return points

    def flow(self, x: Array, schedule: Schedule, t_from: float, t_to: float) -> Array:
        """Probability-flow map, integrated to a tolerance of 1e-13 by DOP853 (SciPy) in a bounded clock.

        Parameters
        ----------
        x : array, shape (n, d) or (n, ...)
            States at ``t_from``. Torch tensors are carried in float64 on the CPU and come back as they were.
        schedule : Schedule
            The noising process.
        t_from, t_to : float
            Times, in either order.

        Returns
        -------
        array, shape of ``x``
            States at ``t_to`` on the same trajectories.
        """
        scale = sqrt(min(1.0, float(np.min(self.core.spectra))))

        def mapping(y: FloatArray, start: tuple[float, float], end: tuple[float, float]) -> FloatArray:
            return integrate(self.core.predict, y, start, end, scale=scale)

        return carry(x, self.dim, schedule, t_from, t_to, mapping)

    def conditional(self, label: int) -> GaussianMixture:
        """Sub-mixture of the components of one class, with weights divided by their sum.

        Raises
        ------
        ValueError
            If the mixture has no labels, or none of this value, or the class has weight zero.
        """
        if self.labels is None:
            msg = "labels is None: this mixture has no classes; pass labels=, one integer a component"
            raise ValueError(msg)
        chosen = self.labels == label
        total = float(np.sum(self.weights[chosen]))
        if total <= 0.0:
            known = sorted({int(value) for value in self.labels})
            msg = f"label={label!r} has no component of positive weight; the labels are {known}"
            raise ValueError(msg)
        weights, labels = self.weights[chosen] / total, self.labels[chosen]
        return GaussianMixture(weights, self.means[chosen], self.covariances[chosen], labels, self.direct)

    # -- targets: laws made of this one; their formulas are told in diffnum.problems.targets -----------------

    @property
    def terms(self) -> Terms:
        """The mixture as a sum of Gaussian terms."""
        return Terms(self.core.log_weights, self.means, self.covariances)

    @property
    def mixture(self) -> GaussianMixture:
        """The law itself; the other laws that are mixtures have what they are under this name."""
        return self

    def tilted(self, *, slope: ArrayLike = 0.0, curvature: ArrayLike = 0.0) -> GaussianMixture:
        """Law that is this times ``exp(slope . x + x . curvature x / 2)``; :func:`~diffnum.problems.targets.tilted`."""
        return mixture_from(tilted_terms(self.terms, slope, curvature), self.labels, self.direct)

    def power(self, exponent: int, *, prune: float = 0.0) -> GaussianMixture:
        """Law that is this one to an integer power, normalised; see :func:`diffnum.problems.targets.power`."""
        return mixture_from(power_terms(self.terms, exponent, prune), self.labels if exponent == 1 else None)

    def __mul__(self, other: Any) -> GaussianMixture:
        """Law proportional to the product of both densities; see :func:`diffnum.problems.targets.product`."""
        return mixture_from(product_terms(self.terms, mixture_of(other).terms, 0.0))

    def posterior(self, A: ArrayLike, y: ArrayLike, noise_std: ArrayLike) -> GaussianMixture:
        """Law of the data given ``y = A x + noise``; see :func:`diffnum.problems.targets.posterior`."""
        return mixture_from(posterior_terms(self.terms, A, y, noise_std), self.labels, self.direct)

    def restricted(self, labels: int | Iterable[int]) -> GaussianMixture:
        """Law of the components of some classes; see :func:`diffnum.problems.targets.restricted`."""
        if self.labels is None:
            msg = "labels is None: this mixture has no classes; pass labels=, one integer a component"
            raise ValueError(msg)
        wanted = np.atleast_1d(np.asarray(list(labels) if isinstance(labels, Iterable) else labels))
        known = sorted({int(value) for value in self.labels})
        strange = [value for value in wanted.tolist() if value not in known]
        if strange or not wanted.size:
            told = strange or "nothing"
            msg = f"labels={wanted.tolist()}: {told} is no class of this mixture; the labels are {known}"
            raise ValueError(msg)
        chosen = np.isin(self.labels, wanted)
        total = float(np.sum(self.weights[chosen]))
        if total <= 0.0:
            msg = f"labels={wanted.tolist()} have no component of positive weight; the labels are {known}"
            raise ValueError(msg)
        terms = Terms(self.core.log_weights[chosen], self.means[chosen], self.covariances[chosen])
        return mixture_from(TermSum(terms, float(np.log(total))), self.labels[chosen], self.direct)


def mixture_from(found: TermSum, labels: Any = None, direct: bool | None = None) -> GaussianMixture:
    """Normalise a sum of terms; those whose weight underflows are left out.

    Parameters
    ----------
    found : TermSum
        The terms, and the logarithm of the evidence of the whole.
    labels : ndarray of int, shape (K,), optional
        Class of each term.
    direct : bool, optional
        See :class:`GaussianMixture`.

    Returns
    -------
    GaussianMixture

    Raises
    ------
    ValueError
        If no term has any weight.
    """
    shares, keep = shares_of(found)
    return GaussianMixture(
        shares,
        found.terms.means[keep],
        found.terms.covariances[keep],
        None if labels is None else labels[keep],
        direct,
        log_evidence=found.log_evidence,
        discarded=found.discarded,
    )


def mixture_of(problem: Any) -> GaussianMixture:
    """Any of the laws that are Gaussian mixtures, as one.

    Parameters
    ----------
    problem : GaussianMixture, Gaussian, Mixture1D or RotatedProduct
        The law; its ``mixture`` is what is returned.

    Returns
    -------
    GaussianMixture

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If a product has more than 4096 components.
    """
    mixture = getattr(problem, "mixture", None)
    if not isinstance(mixture, GaussianMixture):
        msg = (
            f"problem={type(problem).__name__} is no mixture of Gaussians: pass a Gaussian, a GaussianMixture, "
            "a Mixture1D or a RotatedProduct"
        )
        raise TypeError(msg)
    return mixture


def spectral(covariances: FloatArray) -> tuple[FloatArray, FloatArray | None]:
    """Eigenvalues, shape (K, 1) or (K, d), and eigenvectors as rows, shape (K, d, d) or None, of covariances.

    Raises
    ------
    ValueError
        If a matrix is not symmetric, or an eigenvalue is not positive (to rounding, for matrices).
    """
    if covariances.ndim < 3:
        spectra = covariances[:, None] if covariances.ndim == 1 else covariances
        _check_positive(spectra, np.zeros(len(spectra)))
        return spectra, None
    transposed = np.swapaxes(covariances, 1, 2)
    size = np.max(np.abs(covariances), axis=(1, 2))
    skew = np.max(np.abs(covariances - transposed), axis=(1, 2))
    if np.any(skew > 1e-10 * size):
        k = int(np.argmax(skew - 1e-10 * size))
        msg = f"covariances[{k}] is not symmetric: it differs from its transpose by {skew[k]:.3g}; pass (C + C^T) / 2"
        raise ValueError(msg)
    spectra, columns = np.linalg.eigh(0.5 * (covariances + transposed))
    _check_positive(spectra, np.finfo(np.float64).eps * covariances.shape[1] * size)
    return spectra, np.ascontiguousarray(np.swapaxes(columns, 1, 2))


def _check_positive(spectra: FloatArray, floor: FloatArray) -> None:
    smallest = np.min(spectra, axis=1)
    if np.any(smallest <= floor):
        k = int(np.argmin(smallest - floor))
        msg = (
            f"covariances[{k}] is not positive definite: its smallest eigenvalue is {smallest[k]:.3g}; "
            "add a small multiple of the identity, or use FiniteDataset for points without spread"
        )
        raise ValueError(msg)


def _labels(labels: Any, count: int) -> NDArray[np.int64]:
    array = np.asarray(labels)
    if not np.issubdtype(array.dtype, np.integer):
        msg = f"labels has dtype {array.dtype}; pass one integer a component"
        raise TypeError(msg)
    if array.shape != (count,):
        msg = f"labels has shape {array.shape}; pass one integer a component, shape ({count},)"
        raise ValueError(msg)
    return array.astype(np.int64)

"""Exact predictions of a Gaussian mixture, in two evaluation orders with one interface.

Component ``k`` has mean ``m`` and covariance ``C = Q diag(w) Q^T``. At noise level ``(alpha, sigma)`` its
marginal has mean ``alpha m`` and eigenvalues ``v = alpha^2 w + sigma^2``, and a prediction ``a x_0 + b eps``
is

    ``a m + Q g Q^T (x - alpha m)``  with  ``g = (a alpha w + b sigma) / v``,

which is finite at both ends of every schedule. Predictions are averaged with the posterior probabilities of
the components. *Direct* evaluation forms every difference ``x - alpha m``; *expanded* evaluation multiplies
out the squares, so that the work is matrix products of (n, d) by (d, K). Multiplying out costs a relative
error of ``eps |x|^2 / v`` in the probabilities; hence means are centred and probabilities are always formed
in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.problems._states import Coefficient, LinearForm
from diffnum.problems._threads import by_calling_thread, product
from diffnum.types import Array, FloatArray

DIRECT_LIMIT = 1024
"""Largest K d for which all differences are formed by default."""

BLOCK = 1 << 22
"""Largest number of entries of a temporary array (32 MiB in float64)."""


@dataclass(frozen=True, eq=False)
class Components:
    """Weights, means and spectra of a mixture; spectra may be zero (atoms), then ``sigma`` must not be.

    Attributes
    ----------
    log_weights : ndarray, shape (K,)
    means : ndarray, shape (K, d)
    spectra : ndarray, shape (K, 1) or (K, d)
        Eigenvalues of the covariances.
    bases : ndarray, shape (K, d, d), or None
        Eigenvectors as rows; None for the identity.
    direct : bool or None
        Evaluation order; None decides by size.
    """

    log_weights: FloatArray
    means: FloatArray
    spectra: FloatArray
    bases: FloatArray | None = None
    direct: bool | None = None
    _cache: dict[Any, dict[str, Any]] = field(default_factory=dict, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @property
    def dim(self) -> int:
        """Dimension d."""
        return int(self.means.shape[1])

    @property
    def has_atoms(self) -> bool:
        """Whether some component has zero covariance, so that ``sigma`` must be positive."""
        return self.spectra.size == self.means.shape[0] and bool(np.any(self.spectra == 0.0))

    def predict(self, y: Array, alpha: Coefficient, sigma: Coefficient, form: LinearForm) -> Array:
        """Posterior mean of a linear form at states ``y``, shape (n, d), less any drift."""
        road = self._road(alpha)
        return self._in_blocks(lambda a, s, f, z: road.predict(self, a, s, f, z), alpha, sigma, form, y)

    def jvp(self, y: Array, tangent: Array, alpha: Coefficient, sigma: Coefficient, form: LinearForm) -> Array:
        """Differentiate :meth:`predict` at ``y`` along ``tangent``, both of shape (n, d)."""
        road = self._road(alpha)
        return self._in_blocks(lambda a, s, f, z, u: road.jvp(self, a, s, f, z, u), alpha, sigma, form, y, tangent)

    def log_joint(self, y: Array, alpha: Coefficient, sigma: Coefficient) -> Array:
        """Logarithm of weight times marginal density of each component, float64, shape (n, K)."""
        road = self._road(alpha)
        none = LinearForm(0.0, 0.0)
        joint = self._in_blocks(lambda a, s, _, z: road.log_joint(self, a, s, z), alpha, sigma, none, y)
        return joint - 0.5 * self.dim * float(np.log(2.0 * np.pi))

    def local(self, like: Array) -> dict[str, Any]:
        """Parameters as float64 (and the centred means in the dtype of ``like``) beside ``like``."""
        return localised(self._cache, like, self._convert)

    def _convert(self, xp: Any, like: Array) -> dict[str, Any]:
        centre = np.exp(self.log_weights) @ self.means
        centred = self.means - centre
        arrays = {"log_weights": self.log_weights, "spectra": self.spectra, "centre": centre[None]}
        if self._is_direct(per_sample=False):
            arrays["means"] = self.means
        else:
            arrays |= {"centred": centred, "norms": np.sum(centred * centred, axis=1)}
        if self.bases is not None:
            arrays["bases"] = self.bases
        if self.spectra.shape[1] > 1 and self.bases is None:
            arrays["means"] = self.means  # times of one a sample are evaluated directly
        converted = beside(xp, like, arrays)
        if "centred" in converted:
            converted["values"] = xp.astype(converted["centred"], _value_dtype(xp, like))
        return converted

    def _is_direct(self, *, per_sample: bool) -> bool:
        if self.bases is not None or (per_sample and self.spectra.shape[1] > 1):
            return True
        if self.direct is not None:
            return self.direct
        return self.means.size <= DIRECT_LIMIT

    def _road(self, alpha: Coefficient) -> Any:
        if self._is_direct(per_sample=_size(alpha) > 1):
            return Direct
        return ExpandedIsotropic if self.spectra.shape[1] == 1 else ExpandedDiagonal

    def _in_blocks(
        self,
        function: Callable[..., Array],
        alpha: Coefficient,
        sigma: Coefficient,
        form: LinearForm,
        *states: Array,
    ) -> Array:
        direct = self._is_direct(per_sample=_size(alpha) > 1)
        width = self.means.size if direct else max(self.means.shape)
        # Multiplications of one matrix product.
        work = states[0].shape[0] * (self.means if self.bases is None else self.bases).size
        return by_calling_thread(work, in_blocks, states[0], width, function, alpha, sigma, form, *states)


class Direct:
    """All differences ``x - alpha m``, shape (n, K, d); full covariances rotate them by matrix products."""

    @staticmethod
    def _rotated(c: Components, alpha: Coefficient, y: Array) -> tuple[Any, dict[str, Any], Array]:
        xp = array_namespace(y)
        p = c.local(y)
        return xp, p, Direct._rotate(xp, p, xp.astype(y, xp.float64)[:, None, :] - lift(alpha) * p["means"])

    @staticmethod
    def _rotate(xp: Any, p: dict[str, Any], r: Array) -> Array:
        if "bases" not in p:
            return r
        by_component = xp.matmul(xp.permute_dims(r, (1, 0, 2)), xp.matrix_transpose(p["bases"]))
        return xp.permute_dims(by_component, (1, 0, 2))

    @staticmethod
    def _collect(xp: Any, p: dict[str, Any], z: Array) -> Array:
        """Sum (n, K, d) over the components, rotated back."""
        if "bases" not in p:
            return xp.sum(z, axis=1)
        n, k, d = z.shape
        return product(xp, xp.reshape(z, (n, k * d)), xp.reshape(p["bases"], (k * d, d)))

    @staticmethod
    def _joint(xp: Any, p: dict[str, Any], z: Array, v: Array) -> Array:
        log_det = xp.sum(xp.log(v), axis=-1) * (z.shape[-1] // v.shape[-1])
        return p["log_weights"] - 0.5 * (xp.sum(z * z / v, axis=-1) + log_det)

    @staticmethod
    def log_joint(c: Components, alpha: Coefficient, sigma: Coefficient, y: Array) -> Array:
        """See :meth:`Components.log_joint`, less the constant."""
        xp, p, z = Direct._rotated(c, alpha, y)
        return Direct._joint(xp, p, z, variances(p["spectra"], lift(alpha), lift(sigma)))

    @staticmethod
    def predict(c: Components, alpha: Coefficient, sigma: Coefficient, form: LinearForm, y: Array) -> Array:
        """See :meth:`Components.predict`."""
        xp, p, z = Direct._rotated(c, alpha, y)
        v = variances(p["spectra"], lift(alpha), lift(sigma))
        weights = softmax(xp, Direct._joint(xp, p, z, v))
        gain = gain_of(p["spectra"], v, lift(alpha), LinearForm(*map(lift, form)))
        moved = Direct._collect(xp, p, weights[:, :, None] * (gain * z))
        return xp.astype(form.data * product(xp, weights, p["means"]) + moved, y.dtype)

    @staticmethod
    def jvp(c: Components, alpha: Coefficient, sigma: Coefficient, form: LinearForm, y: Array, u: Array) -> Array:
        """See :meth:`Components.jvp`."""
        xp, p, z = Direct._rotated(c, alpha, y)
        v = variances(p["spectra"], lift(alpha), lift(sigma))
        weights = softmax(xp, Direct._joint(xp, p, z, v))
        gain = gain_of(p["spectra"], v, lift(alpha), LinearForm(*map(lift, form)))
        # The zeros give the tangent a component axis of full length, which the rotation needs.
        tangent = xp.astype(u, xp.float64)[:, None, :] + xp.zeros_like(z)
        tangent = Direct._rotate(xp, p, tangent)
        turned = turn(xp, weights, -xp.sum(z * tangent / v, axis=-1))
        moved = Direct._collect(xp, p, gain * (turned[:, :, None] * z + weights[:, :, None] * tangent))
        return xp.astype(form.data * product(xp, turned, p["means"]) + moved, y.dtype)


class ExpandedIsotropic:
    """Squares multiplied out, one variance a component: two matrix products a prediction."""

    @staticmethod
    def _start(
        c: Components, alpha: Coefficient, sigma: Coefficient, y: Array
    ) -> tuple[Any, dict[str, Any], Array, Array]:
        xp = array_namespace(y)
        p = c.local(y)
        return (
            xp,
            p,
            xp.astype(y, xp.float64) - alpha * p["centre"],
            variances(p["spectra"][:, 0], alpha, sigma),
        )

    @staticmethod
    def _joint(xp: Any, p: dict[str, Any], alpha: Coefficient, z: Array, v: Array) -> Array:
        dots = product(xp, z, xp.matrix_transpose(p["centred"]))
        squares = xp.sum(z * z, axis=1, keepdims=True) - alpha * (2.0 * dots - alpha * p["norms"])
        return p["log_weights"] - 0.5 * (squares / v + z.shape[1] * xp.log(v))

    @staticmethod
    def log_joint(c: Components, alpha: Coefficient, sigma: Coefficient, y: Array) -> Array:
        """See :meth:`Components.log_joint`, less the constant."""
        xp, p, z, v = ExpandedIsotropic._start(c, alpha, sigma, y)
        return ExpandedIsotropic._joint(xp, p, alpha, z, v)

    @staticmethod
    def predict(c: Components, alpha: Coefficient, sigma: Coefficient, form: LinearForm, y: Array) -> Array:
        """See :meth:`Components.predict`."""
        xp, p, z, v = ExpandedIsotropic._start(c, alpha, sigma, y)
        weights = softmax(xp, ExpandedIsotropic._joint(xp, p, alpha, z, v))
        gain, pull = gain_of(p["spectra"][:, 0], v, alpha, form), _pull(v, alpha, sigma, form)
        moved = z * xp.sum(weights * gain, axis=1, keepdims=True) + form.data * p["centre"]
        drawn = product(xp, xp.astype(weights * pull, p["values"].dtype), p["values"])
        return xp.astype(moved + drawn, y.dtype)

    @staticmethod
    def jvp(c: Components, alpha: Coefficient, sigma: Coefficient, form: LinearForm, y: Array, u: Array) -> Array:
        """See :meth:`Components.jvp`."""
        xp, p, z, v = ExpandedIsotropic._start(c, alpha, sigma, y)
        weights = softmax(xp, ExpandedIsotropic._joint(xp, p, alpha, z, v))
        gain, pull = gain_of(p["spectra"][:, 0], v, alpha, form), _pull(v, alpha, sigma, form)
        tangent = xp.astype(u, xp.float64)
        dots = product(xp, tangent, xp.matrix_transpose(p["centred"]))
        turned = turn(xp, weights, (alpha * dots - xp.sum(z * tangent, axis=1, keepdims=True)) / v)
        moved = tangent * xp.sum(weights * gain, axis=1, keepdims=True)
        moved = moved + z * xp.sum(turned * gain, axis=1, keepdims=True)
        drawn = product(xp, xp.astype(turned * pull, p["values"].dtype), p["values"])
        return xp.astype(moved + drawn, y.dtype)


class ExpandedDiagonal:
    """Squares multiplied out, diagonal covariances, one noise level: four matrix products a prediction."""

    @staticmethod
    def _blocks(
        p: dict[str, Any], alpha: Coefficient, sigma: Coefficient
    ) -> Iterator[tuple[slice, Array, Array, Array]]:
        count, dim = p["spectra"].shape
        size = max(1, BLOCK // dim)
        for start in range(0, count, size):
            block = slice(start, start + size)
            spectra = p["spectra"][block]
            yield block, spectra, p["centred"][block], variances(spectra, alpha, sigma)

    @staticmethod
    def _joint(
        xp: Any, p: dict[str, Any], alpha: Coefficient, sigma: Coefficient, z: Array, u: Array | None
    ) -> tuple[Array, Array | None]:
        """Log joint densities and, along ``u``, their derivatives."""
        square, joint, slope = z * z, [], []
        for block, _, m, v in ExpandedDiagonal._blocks(p, alpha, sigma):
            drawn = alpha * m / v
            precision, drawn_t = xp.matrix_transpose(1.0 / v), xp.matrix_transpose(drawn)
            squares = product(xp, square, precision) - 2.0 * product(xp, z, drawn_t)
            constant = xp.sum(alpha * m * drawn + xp.log(v), axis=1)
            joint.append(p["log_weights"][block] - 0.5 * (squares + constant))
            if u is not None:
                slope.append(product(xp, u, drawn_t) - product(xp, z * u, precision))
        return xp.concat(joint, axis=1), xp.concat(slope, axis=1) if u is not None else None

    @staticmethod
    def _start(c: Components, alpha: Coefficient, y: Array) -> tuple[Any, dict[str, Any], Array]:
        xp = array_namespace(y)
        p = c.local(y)
        return xp, p, xp.astype(y, xp.float64) - alpha * p["centre"]

    @staticmethod
    def log_joint(c: Components, alpha: Coefficient, sigma: Coefficient, y: Array) -> Array:
        """See :meth:`Components.log_joint`, less the constant."""
        xp, p, z = ExpandedDiagonal._start(c, alpha, y)
        return ExpandedDiagonal._joint(xp, p, alpha, sigma, z, None)[0]

    @staticmethod
    def predict(c: Components, alpha: Coefficient, sigma: Coefficient, form: LinearForm, y: Array) -> Array:
        """See :meth:`Components.predict`."""
        xp, p, z = ExpandedDiagonal._start(c, alpha, y)
        weights = softmax(xp, ExpandedDiagonal._joint(xp, p, alpha, sigma, z, None)[0])
        weights = xp.astype(weights, p["values"].dtype)
        out = xp.zeros_like(z) + form.data * p["centre"]
        for block, spectra, m, v in ExpandedDiagonal._blocks(p, alpha, sigma):
            gain, drawn = gain_of(spectra, v, alpha, form), _pull(v, alpha, sigma, form) * m
            out = out + z * product(xp, weights[:, block], xp.astype(gain, weights.dtype))
            out = out + product(xp, weights[:, block], xp.astype(drawn, weights.dtype))
        return xp.astype(out, y.dtype)

    @staticmethod
    def jvp(c: Components, alpha: Coefficient, sigma: Coefficient, form: LinearForm, y: Array, u: Array) -> Array:
        """See :meth:`Components.jvp`."""
        xp, p, z = ExpandedDiagonal._start(c, alpha, y)
        tangent = xp.astype(u, xp.float64)
        joint, slope = ExpandedDiagonal._joint(xp, p, alpha, sigma, z, tangent)
        weights = softmax(xp, joint)
        turned = turn(xp, weights, slope)
        out = xp.zeros_like(z)
        for block, spectra, m, v in ExpandedDiagonal._blocks(p, alpha, sigma):
            gain, drawn = gain_of(spectra, v, alpha, form), _pull(v, alpha, sigma, form) * m
            out = out + tangent * product(xp, weights[:, block], gain)
            out = out + z * product(xp, turned[:, block], gain) + product(xp, turned[:, block], drawn)
        return xp.astype(out, y.dtype)


def localised(cache: dict[Any, dict[str, Any]], like: Array, convert: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Return ``convert(xp, like)``, kept for the namespace, dtype and device of ``like``."""
    if type(like) is np.ndarray:
        if like.dtype not in cache:
            cache[like.dtype] = convert(array_namespace(like), like)
        return cache[like.dtype]
    xp = array_namespace(like)
    # A tensor made in inference mode cannot enter autograd later: the two modes keep their own copies.
    inference = bool(getattr(xp.empty(0), "is_inference", bool)())
    key = (xp.__name__, str(like.dtype), str(device(like)), inference)
    if key not in cache:
        cache[key] = convert(xp, like)
    return cache[key]


def beside(xp: Any, like: Array, arrays: dict[str, FloatArray]) -> dict[str, Any]:
    """Copy numpy arrays to the namespace and device of ``like``, in float64."""
    return {k: xp.asarray(v.copy(), dtype=xp.float64, device=device(like)) for k, v in arrays.items()}


def in_blocks(
    width: int,
    function: Callable[..., Array],
    alpha: Coefficient,
    sigma: Coefficient,
    form: LinearForm,
    *states: Array,
) -> Array:
    """Apply ``function`` to runs of rows, so that temporaries of ``width`` entries a row fit a block."""
    rows = max(1, BLOCK // width)
    n = states[0].shape[0]
    if n <= rows:
        return function(alpha, sigma, form, *states)
    xp = array_namespace(states[0])
    parts = []
    for start in range(0, n, rows):
        run = slice(start, start + rows)
        a, s, fa, fb = (_rows(c, run) for c in (alpha, sigma, *form))
        parts.append(function(a, s, LinearForm(fa, fb), *(z[run] for z in states)))
    return xp.concat(parts, axis=0)


def softmax(xp: Any, logits: Array) -> Array:
    """Probabilities along the last axis; no overflow, and no underflow of the largest."""
    if type(logits) is np.ndarray:  # the same, by the shortest way: states of studies are small
        shifted = np.exp(logits - np.maximum.reduce(logits, axis=-1, keepdims=True))
        return shifted / np.add.reduce(shifted, axis=-1, keepdims=True)
    shifted = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return shifted / xp.sum(shifted, axis=-1, keepdims=True)


def log_sum_exp(xp: Any, logits: Array) -> Array:
    """Logarithm of the sum of exponentials along the last axis."""
    if type(logits) is np.ndarray:
        top = np.maximum.reduce(logits, axis=-1, keepdims=True)
        return top[..., 0] + np.log(np.add.reduce(np.exp(logits - top), axis=-1))
    largest = xp.max(logits, axis=-1, keepdims=True)
    return largest[..., 0] + xp.log(xp.sum(xp.exp(logits - largest), axis=-1))


def turn(xp: Any, weights: Array, slope: Any) -> Array:
    """Turn the derivatives ``slope`` of logits into those of their probabilities."""
    return weights * (slope - xp.sum(weights * slope, axis=-1, keepdims=True))


def variances(spectra: Array, alpha: Coefficient, sigma: Coefficient) -> Array:
    return alpha * alpha * spectra + sigma * sigma


def gain_of(spectra: Array, v: Array, alpha: Coefficient, form: LinearForm) -> Array:
    """Factor of ``x - alpha m`` in the prediction of one component."""
    return (form.data * alpha * spectra + form.scaled_noise) / v


def _pull(v: Array, alpha: Coefficient, sigma: Coefficient, form: LinearForm) -> Array:
    """Factor of ``m`` in the prediction of one component: ``a - alpha gain``, without subtraction."""
    return (form.data * sigma * sigma - alpha * form.scaled_noise) / v


def lift(coefficient: Coefficient) -> Coefficient:
    return coefficient[..., None] if hasattr(coefficient, "shape") else coefficient


def _rows(coefficient: Coefficient, run: slice) -> Coefficient:
    return coefficient[run] if _size(coefficient) > 1 else coefficient


def _size(coefficient: Coefficient) -> int:
    return int(coefficient.shape[0]) if hasattr(coefficient, "shape") else 1


def _value_dtype(xp: Any, like: Array) -> Any:
    """Half precision has no room for sums over components: those are formed in float32."""
    return xp.float64 if like.dtype == xp.float64 else xp.float32

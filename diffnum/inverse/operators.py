r"""Linear measurement operators: dense, masks, blurs, downsampling, and whatever a pair of functions computes.

Every operator acts on batches, of numpy arrays or torch tensors, and has been tested for its adjoint when it was made.
Where its singular value decomposition :math:`A = U S V^T` is known it is kept as *modes*, functions and not matrices,
and what a sampler solves is then a division: :math:`(I + \gamma A^T A)^{-1}`, :math:`(a A A^T + b I)^{-1}`, the
pseudo-inverse. Elsewhere conjugate gradients do it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj
from numpy.typing import ArrayLike

from diffnum.jobs.checked import check_count, check_shape
from diffnum.problems._states import real_array
from diffnum.types import Array, FloatArray

__all__ = ["Action", "Linear", "Modes", "blur", "conjugate_gradients", "downsample", "mask", "projections"]

Action = Callable[[Array], Array]
"""From a batch to a batch."""

ADJOINT_TOLERANCE = 1e-9
"""Largest difference of <A x, y> and <x, A^T y>, relative to the sizes, in float64."""


class _Constant:
    """A numpy array beside states of any library, dtype and device; converted once for each."""

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value)
        self._kept: dict[Any, Array] = {}

    def __call__(self, like: Array) -> Array:
        xp = array_namespace(like)
        whole = self.value.dtype.kind in "iub"
        key = (xp.__name__, str(like.dtype), str(device(like)))
        if key not in self._kept:
            dtype = None if whole else like.dtype
            if not whole and xp.isdtype(like.dtype, "complex floating"):
                dtype = like.dtype
            self._kept[key] = xp.asarray(self.value.copy(), dtype=dtype, device=device(like))
        return self._kept[key]


@dataclass(frozen=True, eq=False)
class Modes:
    r"""Singular value decomposition :math:`A = U S V^T` as functions on batches.

    Parameters
    ----------
    values : ndarray, shape (k, ...)
        Singular values of the modes, >= 0.
    rows, spread : callable
        :math:`V^T x`, shape (n, k, ...), and :math:`V c`. Fourier modes are complex; factors that are the same for a
        frequency and its opposite keep states real.
    seen, shown : callable
        :math:`U^T Y` and :math:`U c`.
    """

    values: FloatArray
    rows: Action = field(repr=False)
    spread: Action = field(repr=False)
    seen: Action = field(repr=False)
    shown: Action = field(repr=False)

    def factors(self, function: Callable[[FloatArray], FloatArray], like: Array) -> Array:
        """``function`` of the singular values, beside a batch of modes."""
        xp = array_namespace(like)
        values = np.asarray(function(self.values))
        return xp.asarray(values.copy(), dtype=_real_dtype(xp, like), device=device(like))


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear operator from samples to measurements.

    Parameters
    ----------
    A : array_like, shape (m, d) or (d,)
        Measurement matrix, or the diagonal of a diagonal one.
    shape : tuple of int, optional
        Shape of one sample, of d entries; (d,) by default.

    Attributes
    ----------
    shape : tuple of int
        Of one sample.
    measured : tuple of int
        Shape of one measurement.
    modes : Modes or None
        Singular value decomposition, where it is known.
    forward : callable
        Operator on batches; that of the matrix where one is given.
    back : callable
        Adjoint on batches; likewise.
    name : str
        What it is called in messages.

    Raises
    ------
    ValueError
        If a shape does not fit, an entry is not finite, or all are zero.

    Examples
    --------
    >>> import numpy as np
    >>> op = Linear([[1.0, 1.0, 0.0]])
    >>> op(np.array([[1.0, 2.0, 5.0]]))
    array([[3.]])
    >>> op.adjoint(np.array([[2.0]]))
    array([[2., 2., 0.]])
    """

    A: Any = field(repr=False)
    shape: tuple[int, ...] = ()
    measured: tuple[int, ...] = ()
    forward: Any = field(default=None, repr=False)
    back: Any = field(default=None, repr=False)
    modes: Modes | None = field(default=None, repr=False)
    name: str = "dense"

    if TYPE_CHECKING:

        def __init__(
            self,
            A: ArrayLike | None,
            shape: tuple[int, ...] = (),
            measured: tuple[int, ...] = (),
            forward: Action | None = None,
            back: Action | None = None,
            modes: Modes | None = None,
            name: str = "dense",
        ) -> None: ...

    def __post_init__(self) -> None:
        if self.A is not None:
            self._from_matrix(real_array(self.A, "A", (1, 2)))
            _check_pair(self.forward, self.back, self.shape, self.measured, np.zeros(1), self.name)

    def _from_matrix(self, matrix: FloatArray) -> None:
        if not np.any(matrix):
            msg = "A is zero everywhere: it measures nothing"
            raise ValueError(msg)
        full = np.diag(matrix) if matrix.ndim == 1 else matrix
        m, d = full.shape
        shape = tuple(int(n) for n in self.shape) or (d,)
        if math.prod(shape) != d:
            msg = f"shape={shape} has {math.prod(shape)} entries: A of shape {matrix.shape} acts on {d}"
            raise ValueError(msg)
        u, s, vt = np.linalg.svd(full, full_matrices=False)
        kept = s > max(m, d) * np.finfo(np.float64).eps * s[0]
        parts = {
            "A": matrix,
            "shape": shape,
            "measured": (m,),
            "forward": _by_matrix(full, shape, (m,)),
            "back": _by_matrix(full.T, (m,), shape),
            "modes": Modes(
                s[kept],
                _by_matrix(vt[kept], shape, (int(kept.sum()),)),
                _by_matrix(vt[kept].T, (int(kept.sum()),), shape),
                _by_matrix(u[:, kept].T, (m,), (int(kept.sum()),)),
                _by_matrix(u[:, kept], (int(kept.sum()),), (m,)),
            ),
        }
        for name, value in parts.items():
            object.__setattr__(self, name, value)

    def __call__(self, x: Array) -> Array:
        """Measure samples, shape (n, ...), without noise."""
        _check_batch(x, self.shape, "x", f"samples of the operator {self.name!r}")
        return self.forward(x)

    def adjoint(self, y: Array) -> Array:
        """Apply the transpose to measurements, shape (n, ...)."""
        _check_batch(y, self.measured, "y", f"measurements of the operator {self.name!r}")
        return self.back(y)

    @property
    def singular_values(self) -> FloatArray:
        """Singular values of the modes, from the largest.

        Raises
        ------
        ValueError
            If they are not known.
        """
        return np.sort(self._known_modes("singular_values").values.ravel())[::-1]

    @property
    def matrix(self) -> FloatArray:
        """The operator as a matrix, shape (m, d); by applying it to every unit sample."""
        d = math.prod(self.shape)
        out = self.forward(np.eye(d).reshape(d, *self.shape))
        return np.asarray(out).reshape(d, -1).T.copy()

    def solve(self, b: Array, gamma: float, *, start: Array | None = None, iterations: int = 0) -> Array:
        r"""Solve :math:`(I + \gamma A^T A)\, x = b`, the proximal step of the measurement.

        Parameters
        ----------
        b : array, shape (n, ...)
            Right-hand side.
        gamma : float
            Weight, >= 0.
        start : array, shape of ``b``, optional
            Where conjugate gradients begin; by default at ``b``.
        iterations : int
            Steps of conjugate gradients; 0 for the exact solution.
        """
        if self.modes is not None and not iterations:
            c = self.modes.rows(b)
            factor = self.modes.factors(lambda s: 1.0 / (1.0 + gamma * s * s) - 1.0, c)
            return b + self.modes.spread(factor * c)
        return conjugate_gradients(
            lambda x: x + gamma * self.back(self.forward(x)), b, b if start is None else start, iterations
        )

    def solve_measured(self, r: Array, a: float, b: float) -> Array:
        r"""Solve :math:`(a A A^T + b I)\, v = r`; with b = 0 in the range of A, by the pseudo-inverse.

        Raises
        ------
        ValueError
            If ``b`` is 0 and no singular values are known.
        """
        if self.modes is None:
            if b == 0.0:
                self._known_modes("solve_measured with b = 0")
            return conjugate_gradients(lambda v: a * self.forward(self.back(v)) + b * v, r, 0.0 * r)
        c = self.modes.seen(r)
        if b == 0.0:
            return self.modes.shown(self.modes.factors(lambda s: _inverse(a * s * s), c) * c)
        factor = self.modes.factors(lambda s: b / (a * s * s + b) - 1.0, c)
        return (r + self.modes.shown(factor * c)) / b

    def pseudo_inverse(self, y: Array) -> Array:
        """Shortest sample with the measurement closest to ``y``, shape (n, ...)."""
        modes = self._known_modes("pseudo_inverse")
        c = modes.seen(y)
        return modes.spread(modes.factors(_inverse, c) * c)

    def _known_modes(self, wanted: str) -> Modes:
        if self.modes is None:
            msg = (
                f"{wanted}: the singular values of the operator {self.name!r} are not known; use Linear(A) with its "
                "matrix, or a method that needs the operator and its adjoint only"
            )
            raise ValueError(msg)
        return self.modes


# -- operators ---------------------------------------------------------------------------------------------


def mask(kept: ArrayLike) -> Linear:
    """Operator that keeps some entries of a sample.

    Parameters
    ----------
    kept : array_like of bool, shape of one sample
        True where an entry is measured.

    Returns
    -------
    Linear
        Measurements have shape (number of True,), in the order of the flattened sample.

    Raises
    ------
    TypeError
        If ``kept`` is no array of booleans.
    ValueError
        If nothing is measured.
    """
    chosen = np.asarray(kept)
    if chosen.dtype != np.bool_ or not chosen.ndim:
        msg = f"kept has dtype {chosen.dtype} and shape {chosen.shape}: pass booleans, True where an entry is measured"
        raise TypeError(msg)
    if not chosen.any():
        msg = "kept is False everywhere: the mask measures nothing"
        raise ValueError(msg)
    places = np.flatnonzero(chosen.ravel())
    # where each entry of a sample finds itself among the measurements; the one after the last is a zero
    back_places = np.full(chosen.size, len(places))
    back_places[places] = np.arange(len(places))
    take, put = _Constant(places), _Constant(back_places)

    def forward(x: Array) -> Array:
        xp = array_namespace(x)
        return xp.take(xp.reshape(x, (x.shape[0], -1)), take(x), axis=1)

    def back(y: Array) -> Array:
        xp = array_namespace(y)
        padded = xp.concat([y, 0.0 * y[:, :1]], axis=1)
        return xp.reshape(xp.take(padded, put(y), axis=1), (y.shape[0], *chosen.shape))

    modes = Modes(np.ones(len(places)), forward, back, _same, _same)
    return _checked(chosen.shape, (len(places),), forward, back, modes, "mask")


def blur(kernel: ArrayLike, shape: Sequence[int]) -> Linear:
    """Periodic convolution with a kernel over the last axes of a sample, by the fast Fourier transform.

    Parameters
    ----------
    kernel : array_like
        Point-spread function, centred: its middle entry (of each axis, the one at ``size // 2``) is at shift 0. Shorter
        than the sample in each of the axes that it acts on.
    shape : sequence of int
        Shape of one sample; the kernel acts on as many of its last axes as it has.

    Returns
    -------
    Linear
        Measurements have the shape of the sample.

    Raises
    ------
    ValueError
        If the kernel is larger than the sample, or zero.
    """
    psf = real_array(kernel, "kernel", (1, 2, 3))
    size = check_shape(shape)
    acted = size[len(size) - psf.ndim :] if psf.ndim <= len(size) else ()
    if not acted or any(k > n for k, n in zip(psf.shape, acted, strict=True)):
        msg = f"kernel has shape {psf.shape}: it must not be larger than the last axes of a sample of shape {size}"
        raise ValueError(msg)
    if not np.any(psf):
        msg = "kernel is zero everywhere: it measures nothing"
        raise ValueError(msg)
    padded = np.zeros(acted)
    padded[tuple(slice(0, k) for k in psf.shape)] = psf
    padded = np.roll(padded, [-(k // 2) for k in psf.shape], axis=tuple(range(psf.ndim)))
    transfer = np.fft.fftn(padded)
    values = np.abs(transfer)
    phase = np.where(values > 0.0, transfer / np.where(values > 0.0, values, 1.0), 1.0)
    turn, unturn = _Constant(phase), _Constant(np.conj(phase))
    act, act_back = _Constant(transfer), _Constant(np.conj(transfer))
    axes = tuple(range(-psf.ndim, 0))

    def to_modes(x: Array) -> Array:
        return array_namespace(x).fft.fftn(_complex(x), axes=axes, norm="ortho")

    def from_modes(c: Array) -> Array:
        xp = array_namespace(c)
        return xp.real(xp.fft.ifftn(c, axes=axes, norm="ortho"))

    def filtered(factor: _Constant) -> Action:
        def apply(x: Array) -> Array:
            c = to_modes(x)
            return from_modes(factor(c) * c)

        return apply

    def seen(y: Array) -> Array:
        c = to_modes(y)
        return unturn(c) * c

    spectrum = np.broadcast_to(values, size).copy()
    modes = Modes(spectrum, to_modes, from_modes, seen, lambda c: from_modes(turn(c) * c))
    return _checked(size, size, filtered(act), filtered(act_back), modes, "blur")


def downsample(shape: Sequence[int], factor: int) -> Linear:
    """Means over blocks of ``factor`` entries along each of the last axes (two of a picture, one of a signal).

    Parameters
    ----------
    shape : sequence of int
        Shape of one sample: its last two axes, or its only one, are divided by ``factor``.
    factor : int
        Side of a block, at least 2.

    Returns
    -------
    Linear

    Raises
    ------
    ValueError
        If the factor is no integer from 2 up, or does not divide the axes.
    """
    size = check_shape(shape)
    axes = min(2, len(size))
    if isinstance(factor, bool) or not isinstance(factor, int | np.integer) or factor < 2:
        msg = f"factor={factor!r}: give the side of a block, an integer of at least 2"
        raise ValueError(msg)
    if not size or any(n % factor for n in size[-axes:]):
        msg = f"shape={size} is not divisible by factor={factor} along its last axes"
        raise ValueError(msg)
    small = (*size[: len(size) - axes], *(n // factor for n in size[-axes:]))
    split = [n for length in small[-axes:] for n in (length, int(factor))]
    count = int(factor) ** axes
    summed = tuple(-2 * axes + 2 * i + 1 for i in range(axes))

    def forward(x: Array) -> Array:
        xp = array_namespace(x)
        return xp.mean(xp.reshape(x, (x.shape[0], *size[: len(size) - axes], *split)), axis=summed)

    def back(y: Array) -> Array:
        xp = array_namespace(y)
        z = y / count
        for axis in range(-axes, 0):
            z = xp.repeat(z, int(factor), axis=axis)
        return z

    root = math.sqrt(count)
    modes = Modes(np.full(small, 1.0 / root), lambda x: root * forward(x), lambda c: root * back(c), _same, _same)
    return _checked(size, small, forward, back, modes, "downsample")


def projections(forward: Action, adjoint: Action, shape: Sequence[int], *, like: Array | None = None) -> Linear:
    """Operator of a pair of functions, such as a Radon transform and its back-projection.

    Parameters
    ----------
    forward, adjoint : callable
        From batches of samples to batches of measurements, and its transpose.
    shape : sequence of int
        Shape of one sample.
    like : array, optional
        An array of the library, dtype and device that the functions take; numpy in float64 by default.

    Returns
    -------
    Linear
        Without singular values: what needs them says so.

    Raises
    ------
    ValueError
        If the functions are not each other's adjoints; the message has both inner products.
    """
    if not (callable(forward) and callable(adjoint)):
        msg = "forward and adjoint: pass two functions of batches"
        raise TypeError(msg)
    size = check_shape(shape)
    like = np.zeros(1) if like is None else like
    xp = array_namespace(like)
    trial = forward(xp.zeros((1, *size), dtype=like.dtype, device=device(like)))
    if not is_array_api_obj(trial) or trial.ndim < 2 or trial.shape[0] != 1:
        msg = f"forward returned {getattr(trial, 'shape', type(trial).__name__)}: return a batch, shape (n, ...)"
        raise ValueError(msg)
    measured = tuple(int(n) for n in trial.shape[1:])
    return _checked(size, measured, forward, adjoint, None, "projections", like)


# -- conjugate gradients -----------------------------------------------------------------------------------


def conjugate_gradients(
    apply: Action, b: Array, start: Array, iterations: int = 0, *, tolerance: float = 1e-13
) -> Array:
    """Solve ``apply(x) = b`` for each sample of a batch; ``apply`` is symmetric and positive.

    Parameters
    ----------
    apply : callable
        The matrix.
    b, start : array, shape (n, ...)
        Right-hand side and where to begin.
    iterations : int
        How many; 0 as many as there are unknowns, or until the residual has shrunk by ``tolerance``.
    tolerance : float
        Relative residual at which it stops.

    Returns
    -------
    array, shape (n, ...)
    """
    check_count("iterations", iterations, 0)
    xp = array_namespace(b)
    axes = tuple(range(1, b.ndim))

    def inner(u: Array, v: Array) -> Array:
        return xp.sum(u * v, axis=axes, keepdims=True)

    x, r = start, b - apply(start)
    p, left = r, inner(r, r)
    floor = tolerance**2 * inner(b, b)
    for _ in range(iterations or math.prod(b.shape[1:]) + 2):
        going = left > floor
        if not bool(xp.any(going)):
            break
        q = apply(p)
        along = inner(p, q)
        step = xp.where(going, left / xp.where(going, along, xp.ones_like(along)), xp.zeros_like(along))
        x, r = x + step * p, r - step * q
        after = inner(r, r)
        p = r + xp.where(going, after / xp.where(going, left, xp.ones_like(left)), xp.zeros_like(left)) * p
        left = after
    return x


# -- checks and conversions --------------------------------------------------------------------------------


def _by_matrix(matrix: FloatArray, shape: tuple[int, ...], to: tuple[int, ...]) -> Action:
    kept = _Constant(np.ascontiguousarray(matrix.T))
    size = math.prod(shape)

    def apply(x: Array) -> Array:
        xp = array_namespace(x)
        return xp.reshape(xp.reshape(x, (x.shape[0], size)) @ kept(x), (x.shape[0], *to))

    return apply


def _same(y: Array) -> Array:
    return y


def _inverse(s: FloatArray) -> FloatArray:
    """Reciprocals, 0 where a number is 0 to rounding."""
    zero = s <= 1e-14 * np.max(s)
    return np.asarray(np.where(zero, 0.0, 1.0 / np.where(zero, 1.0, s)))


def _complex(x: Array) -> Array:
    xp = array_namespace(x)
    if xp.isdtype(x.dtype, "complex floating"):
        return x
    return xp.astype(x, xp.complex128 if x.dtype == xp.float64 else xp.complex64)


def _real_dtype(xp: Any, like: Array) -> Any:
    real = {xp.complex128: xp.float64, xp.complex64: xp.float32}
    return real.get(like.dtype, like.dtype)


def _check_batch(value: Array, shape: tuple[int, ...], name: str, what: str) -> None:
    if not is_array_api_obj(value):
        msg = f"{name} is a {type(value).__name__}: pass a numpy array or a torch tensor, shape (n, *{shape})"
        raise TypeError(msg)
    if tuple(value.shape[1:]) != shape or value.ndim != 1 + len(shape):
        msg = f"{name} has shape {tuple(value.shape)}: {what} have shape (n, {', '.join(map(str, shape))})"
        raise ValueError(msg)


def _checked(
    shape: tuple[int, ...],
    measured: tuple[int, ...],
    forward: Action,
    back: Action,
    modes: Modes | None,
    name: str,
    like: Array | None = None,
) -> Linear:
    """Operator of functions that have been tried as each other's adjoints."""
    _check_pair(forward, back, shape, measured, np.zeros(1) if like is None else like, name)
    return Linear(None, shape, measured, forward, back, modes, name)


def _check_pair(
    forward: Action, back: Action, shape: tuple[int, ...], measured: tuple[int, ...], like: Array, name: str
) -> None:
    xp, generator = array_namespace(like), np.random.default_rng(0)

    def drawn(size: tuple[int, ...]) -> Array:
        return xp.asarray(generator.standard_normal((2, *size)), dtype=like.dtype, device=device(like))

    x, y = drawn(shape), drawn(measured)
    ax, aty = forward(x), back(y)
    if tuple(aty.shape) != (2, *shape) or tuple(ax.shape) != (2, *measured):
        msg = (
            f"{name}: forward returned shape {tuple(ax.shape)} and adjoint {tuple(aty.shape)} for two samples of shape "
            f"{shape}: they must be {(2, *measured)} and {(2, *shape)}"
        )
        raise ValueError(msg)
    one, other = float(xp.sum(ax * y)), float(xp.sum(x * aty))
    size = math.sqrt(float(xp.sum(ax * ax)) * float(xp.sum(y * y))) + math.sqrt(
        float(xp.sum(x * x)) * float(xp.sum(aty * aty))
    )
    eps = ADJOINT_TOLERANCE if like.dtype == xp.float64 else 1e-4
    if not abs(one - other) <= eps * size:
        msg = (
            f"{name}: adjoint is not the transpose of forward, <A x, y> = {one:.6g} and <x, A^T y> = {other:.6g}; "
            "scale a back-projection to be the exact transpose"
        )
        raise ValueError(msg)

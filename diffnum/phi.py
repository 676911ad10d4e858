r"""The phi functions of exponential integrators, to full float64 accuracy on the whole real line.

Every coefficient in the package is built from ``+ - * /`` and :func:`phi`, that of some noise from square roots and
:func:`log1p` too, so this is the only place where cancellation has to be fought. For phi there are two formulas, and
a switch between them at ``|z| = 1.1 k + 1.2``:

* near zero, the Taylor series ``sum_j z^j / (j + k)!`` by Horner's rule, which is also the recurrence
  ``phi_n = z phi_{n+1} + 1/n!`` run *downward*, the direction in which errors shrink;
* far away, the recurrence run *upward*, with the exponential kept apart from the rational part:
  ``phi_k = e^z / z^k - sum_{j<k} z^(j-k) / j!``.
"""

from __future__ import annotations

import math
import operator
import sys
from functools import cache
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from diffnum.types import Scalar

__all__ = ["log1p", "phi"]

_MAX_ORDER = 64
"""Largest ``k`` in floating point: beyond it the ``1/n!`` of the series leave the float64 range too early."""

_REACH = 1419.0
"""Beyond it ``exp(-z)`` is zero and ``phi_k(z)`` overflows for every ``k`` allowed; ``exp(z/2)`` does not."""

_SMALL = 32
"""Arrays up to this size go element by element: cheaper than sixty tiny array operations."""


@overload
def phi(k: int, z: float) -> float: ...
@overload
def phi(k: int, z: NDArray[Any]) -> NDArray[Any]: ...
@overload
def phi(k: int, z: Scalar) -> Scalar: ...
def phi(k: int, z: Scalar) -> Scalar:
    r"""Evaluate the phi function of index ``k`` at ``z``, free of cancellation.

    .. math::

        \varphi_0(z) &= e^z, \\
        \varphi_k(z) &= \int_0^1 e^{(1-s) z} \frac{s^{k-1}}{(k-1)!}\, ds
                      = \sum_{j \ge 0} \frac{z^j}{(j+k)!}, \\
        \varphi_{k+1}(z) &= \frac{\varphi_k(z) - 1/k!}{z}, \qquad \varphi_k(0) = \frac{1}{k!}.

    Exponential integrators need the moments of their kernel, and these are phi functions: for a step
    ``h`` in half-log-SNR,
    :math:`\int_0^1 e^{-h(1-s)} s^k\, ds = k!\, \varphi_{k+1}(-h)`.

    Parameters
    ----------
    k : int
        Index, ``>= 0``; at most 64 when ``z`` is a floating-point number or array.
    z : float, int, numpy scalar or array, torch tensor, mpmath number, sympy expression
        Real argument of either sign (mpmath and sympy: complex too), dimensionless, in arrays of any shape.
        Also any object with a method ``_phi_(k)``, which is then called; truncated power series use it.

    Returns
    -------
    float, array, mpmath number or sympy expression
        ``phi_k(z)``, of the kind and shape of ``z``. Arrays keep their floating dtype (integers become
        float64), tensors their device and gradient. A sympy expression gives the closed form
        ``(exp(z) - sum_{j<k} z^j/j!) / z^k``, ``1/k!`` where ``z`` is known to be zero, and a number of the
        same precision where ``z`` is a ``Float``.

    Raises
    ------
    TypeError
        ``k`` is not an integer, or ``z`` is none of the above (complex, longdouble, list, string).
    ValueError
        ``k`` is negative, or above 64 in floating point.

    Notes
    -----
    Floats and arrays: the relative error is below 4 units of 2.2e-16 for ``k <= 12`` and below 8 units for
    ``k <= 64``, for every float64 ``z`` whose result is a normal number; ``tests/benchmarks/phi_accuracy.py``
    measures it. The result is ``inf`` only where the true value exceeds the float64 range;
    ``phi_k(-inf) = 0`` and NaN gives NaN. All dtypes are computed in float64 and rounded once. mpmath numbers
    are computed to their context's working precision.

    The recurrence in the definition loses all digits near zero (Kassam and Trefethen), as do naive forms such as
    ``(exp(h) - 1) / h - 1``: hence this function.

    References
    ----------
    Hochbruck and Ostermann, "Exponential integrators", Acta Numerica 19 (2010), section 2.

    Kassam and Trefethen, "Fourth-order time-stepping for stiff PDEs", SIAM J. Sci.
    Comput. 26 (2005), on the cancellation.

    Examples
    --------
    >>> phi(1, 0.0), phi(2, 0)
    (1.0, 0.5)
    >>> phi(2, 1e-8)  # from exp and the recurrence: -0.6
    0.5000000016666667
    """
    if type(z) is float and type(k) is int and 0 <= k <= _MAX_ORDER:  # plans are built from this case
        return _phi_float(k, z)
    k = _checked_index(k)
    if hasattr(z, "_phi_"):
        return z._phi_(k)
    # An object of an optional library exists only if the library is loaded, so none is ever imported here.
    sympy, mpmath = sys.modules.get("sympy"), sys.modules.get("mpmath")
    if sympy is not None and isinstance(z, sympy.Expr):
        return _phi_sympy(sympy, k, z)
    if mpmath is not None and isinstance(z, mpmath.ctx_mp_python.mpnumeric):
        return z.context.hyp1f1(1, k + 1, z) / z.context.factorial(k)
    if k > _MAX_ORDER:
        msg = f"k={k} is above {_MAX_ORDER}, where the 1/n! of the series underflow in float64: pass mpmath.mpf"
        raise ValueError(msg)
    if isinstance(z, np.ndarray | np.generic):
        return _phi_numpy(k, z)
    if isinstance(z, float | int):
        return _phi_float(k, float(z))
    return _phi_array_api(k, z)


def log1p(x: Scalar) -> Scalar:
    r"""Natural logarithm of ``1 + x``, without loss of digits for small ``x``.

    Parameters
    ----------
    x : float, int, numpy scalar or array, torch tensor, mpmath number, sympy expression
        Real argument > -1. Also any object whose sum with 1 has a method ``_log_()``, which is then called.

    Returns
    -------
    float, array, mpmath number or sympy expression
        Of the kind and shape of ``x``.
    """
    if isinstance(x, float | int):
        return math.log1p(x)
    own = getattr(1 + x, "_log_", None)
    if own is not None:
        return own()
    sympy, mpmath = sys.modules.get("sympy"), sys.modules.get("mpmath")
    if sympy is not None and isinstance(x, sympy.Expr):
        return sympy.log(1 + x)
    if mpmath is not None and isinstance(x, mpmath.ctx_mp_python.mpnumeric):
        return x.context.log1p(x)
    import array_api_compat

    return array_api_compat.array_namespace(np.asarray(x) if isinstance(x, np.generic) else x).log1p(x)


class _Series(NamedTuple):
    """Taylor coefficients ``1/(j + k)!`` of ``phi_k``, highest power first, and where they serve."""

    bound: float
    full: tuple[float, ...]
    """Enough terms for ``|z| < bound``."""
    short: tuple[float, ...]
    """Enough terms for ``|z| <= 1``, the steps of an ordinary plan."""


@cache
def _series(k: int) -> _Series:
    # The bound balances two losses: alternating terms of the series at z = -bound, and the subtraction of the
    # closed form at z = +bound. For k = 0 the closed form is exp and serves everywhere.
    bound = 1.1 * k + 1.2 if k > 0 else 0.0
    return _Series(bound, _taylor(k, bound), _taylor(k, 1.0))


def _taylor(k: int, radius: float) -> tuple[float, ...]:
    """Cut where the next term for ``|z| <= radius`` is below 2^-58 of the sum (``> 1 / (1 + radius)``)."""
    terms, term = 1, 1.0  # |term| relative to 1/k!
    while term > 2.0**-58 / (1.0 + radius) or terms < radius:
        term *= radius / (k + terms)
        terms += 1
    return tuple(1 / math.factorial(k + j) for j in reversed(range(terms)))


_INVERSE_FACTORIALS = tuple(1 / math.factorial(j) for j in range(_MAX_ORDER))


def _closed_form(k: int, z: Any, clipped: Any, exp: Any) -> Any:
    """Evaluate ``e^z / z^k - sum_{j<k} z^(j-k) / j!`` away from zero; ``clipped`` is ``z`` within reach."""
    if k == 0:
        return exp(z)
    rational = 0.0
    for inverse_factorial in _INVERSE_FACTORIALS[:k]:
        rational = (rational + inverse_factorial) / z
    root = exp(clipped / 2)  # e^z may overflow where e^z / z^k does not
    return root / clipped**k * root - rational


def _phi_float(k: int, z: float) -> float:
    bound, full, short = _series(k)
    if -bound < z < bound:
        total = 0.0
        for coefficient in short if -1.0 <= z <= 1.0 else full:
            total = total * z + coefficient
        return total
    value: float = _closed_form(k, z, min(max(z, -_REACH), _REACH), _exp)
    return value


def _exp(z: float) -> float:
    try:
        return math.exp(z)
    except OverflowError:
        return math.inf


def _phi_array(xp: Any, k: int, z: Any) -> Any:
    """Both formulas, each with the arguments of the other made harmless, so that gradients stay finite."""
    bound, full, _ = _series(k)
    near = xp.abs(z) < bound
    z_near = xp.where(near, z, xp.zeros_like(z))
    z_far = xp.where(near, xp.full_like(z, bound), z)
    series = xp.zeros_like(z)
    for coefficient in full:
        series = series * z_near + coefficient
    return xp.where(near, series, _closed_form(k, z_far, xp.clip(z_far, -_REACH, _REACH), xp.exp))


def _phi_numpy(k: int, z: NDArray[Any] | np.generic) -> Any:
    if not np.can_cast(z.dtype, np.float64):
        msg = (
            f"z has dtype {z.dtype}, but arrays must be real and at most float64: convert z, or pass single "
            "mpmath numbers (mpf for more digits, mpc for complex)"
        )
        raise TypeError(msg)
    with np.errstate(over="ignore"):  # inf is the answer where phi leaves the range
        if z.size <= _SMALL:
            flat = [_phi_float(k, value) for value in z.astype(np.float64).ravel().tolist()]
            values = np.array(flat).reshape(z.shape)
        else:
            values = _phi_array(np, k, z.astype(np.float64))
        if z.dtype.kind == "f":
            values = values.astype(z.dtype, copy=False)
    return values if isinstance(z, np.ndarray) else values[()]


def _phi_array_api(k: int, z: Any) -> Any:
    import array_api_compat

    if not array_api_compat.is_array_api_obj(z):
        msg = (
            f"z={z!r} has type {type(z).__name__}, but phi takes real numbers, arrays, mpmath numbers, sympy "
            "expressions and objects with a method _phi_(k): use numpy.asarray for a list, mpmath.mpc for a "
            "complex number"
        )
        raise TypeError(msg)
    xp = array_api_compat.array_namespace(z)
    if not xp.isdtype(z.dtype, ("real floating", "integral")):
        msg = f"z has dtype {z.dtype}, but arrays must be real: pass single mpmath.mpc numbers"
        raise TypeError(msg)
    values = _phi_array(xp, k, xp.astype(z, xp.float64))
    return xp.astype(values, z.dtype) if xp.isdtype(z.dtype, "real floating") else values


def _phi_sympy(sympy: Any, k: int, z: Any) -> Any:
    if z.is_zero:
        return sympy.Rational(1, math.factorial(k))
    if z.is_Float:  # the closed form of the exact binary value: evalf adds digits until cancellation is paid
        digits = math.ceil(z._prec * math.log10(2.0))
        return _phi_sympy(sympy, k, sympy.Rational(z)).evalf(digits)
    return (sympy.exp(z) - sum(z**j / sympy.factorial(j) for j in range(k))) / z**k


def _checked_index(k: Any) -> int:
    try:
        index = operator.index(k)
    except TypeError:
        msg = f"k={k!r} has type {type(k).__name__}: the index of phi is an int >= 0"
        raise TypeError(msg) from None
    if index < 0:
        msg = f"k={index} is negative: phi is defined for k >= 0"
        raise ValueError(msg)
    return index

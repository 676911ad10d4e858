r"""Zolotarev's rational functions: the best relative approximation of the square root.

Of all quotients of polynomials of degree n there is exactly one with the least
:math:`\max_{1\le z\le b} |r(z)/\sqrt z - 1|`. Zolotarev found it in 1877; Kennedy 2004 (arXiv:hep-lat/0402038,
section 3) has it for the sign function, which is :math:`x / r(x^2)` but for a factor. With the modulus
:math:`\kappa^2 = 1 - 1/b`, its complete integral K and :math:`u_l = l K/(2n + 1)`

.. math:: r(z) = D \prod_{j=1}^{n} \frac{z + c_{2j-1}}{z + c_{2j}}, \qquad
    c_l = \frac{\mathrm{sn}^2 u_l}{\mathrm{cn}^2 u_l} ,

so that zeros and poles are negative and interlace, and the error is attained at the 2n + 2 points
:math:`1/\mathrm{dn}^2(u_l)`, l = 0, ..., 2n + 1, with alternating sign.

Everything here is a theta product in one of the two complementary nomes, whichever is below exp(-pi): no two numbers of
like size are subtracted, and a few factors give full precision at every ratio b that float64 can hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ellipkm1

from diffnum.types import FloatArray

__all__ = ["ZolotarevFunction", "best_square_root"]

_FACTORS = 8
"""Factors of a product in a nome of at most exp(-pi): the next one differs from 1 by less than exp(-16 pi)."""


@dataclass(frozen=True, eq=False)
class ZolotarevFunction:
    """Best relative approximation ``scale * prod (z + zeros) / (z + poles)`` of the square root on [1, 1 + width].

    Parameters
    ----------
    zeros, poles : ndarray, shape (n,)
        Negatives of the zeros and the poles, increasing: ``zeros[0] < poles[0] < zeros[1] < ...``.
    scale : float
        Constant factor.
    error : float
        Largest relative error; ``1 + error`` at 1, and ``1 - error`` at the right end.
    extrema : ndarray, shape (2 n + 2,)
        Where the error is attained, with alternating sign, from 1 to the right end.
    """

    zeros: FloatArray
    poles: FloatArray
    scale: float
    error: float
    extrema: FloatArray


def best_square_root(n: int, width: float) -> ZolotarevFunction:
    """Best relative approximation of the square root by quotients of polynomials of degree n on [1, 1 + width].

    Parameters
    ----------
    n : int
        Degree of both polynomials, >= 0.
    width : float
        Length of the interval, finite and >= 0. It is asked for, and not the right end, so that short intervals keep
        their digits.

    Raises
    ------
    ValueError
        If ``n`` or ``width`` is out of range.

    Examples
    --------
    >>> best_square_root(0, 3.0).error  # the constant 4/3 on [1, 4]
    0.33333333333333...
    """
    if n < 0:
        msg = f"n={n}: use a degree of at least 0"
        raise ValueError(msg)
    if not (np.isfinite(width) and width >= 0):
        msg = f"width={width!r}: use a finite length >= 0"
        raise ValueError(msg)
    b = 1.0 + width
    count = 2 * n + 1
    # pi K'/K, minus the logarithm of the nome of kappa; both integrals by their complementary parameters
    decay = float(np.pi * ellipkm1(width / b) / ellipkm1(1.0 / b))
    by_nome = _circular if decay > np.pi else _hyperbolic
    squares, extrema = by_nome(np.arange(count + 1) / count, decay, b)
    error = _modulus(2 * count * decay)
    zeros, poles = squares[1:-1:2], squares[2:-1:2]
    scale = float((1.0 + error) * np.prod((1.0 + poles) / (1.0 + zeros)))
    extrema[0], extrema[-1] = 1.0, b
    return ZolotarevFunction(zeros, poles, scale, error, extrema)


def _modulus(decay: float) -> float:
    """Modulus whose nome is ``exp(-decay)``; the degree multiplies the decay, and the error is a modulus."""
    other = decay if decay > np.pi else np.pi**2 / decay
    q = np.exp(-other * np.arange(1, 2 * _FACTORS))
    even, odd = q[1::2], q[::2]
    if decay > np.pi:
        return float(4.0 * np.exp(-0.5 * decay) * (np.prod(1.0 + even) / np.prod(1.0 + odd)) ** 4)
    return float(np.prod((1.0 - odd) / (1.0 + odd)) ** 4)


def _circular(fractions: FloatArray, decay: float, b: float) -> tuple[FloatArray, FloatArray]:
    """sn^2/cn^2 and 1/dn^2 at fractions of the quarter period, by the nome of kappa, ``exp(-decay)``."""
    q = np.exp(-decay * np.arange(1, 2 * _FACTORS))[:, None]
    angle = 0.5 * np.pi * fractions
    even, odd = q[1::2], q[::2]
    sine, cosine = np.sin(angle) ** 2, np.cos(angle) ** 2
    # 1 - 2 q cos 2x + q^2 = (1 - q)^2 + 4 q sin^2 x
    minus = np.prod((1.0 - even) ** 2 + 4.0 * even * sine, axis=0)
    plus = np.prod((1.0 - even) ** 2 + 4.0 * even * cosine, axis=0)
    with np.errstate(divide="ignore"):
        squares = np.sqrt(b) * sine / cosine * (minus / plus) ** 2
    fourth = np.prod((1.0 - odd) ** 2 + 4.0 * odd * sine, axis=0)
    third = np.prod((1.0 - odd) ** 2 + 4.0 * odd * cosine, axis=0)
    return squares, np.sqrt(b) * (fourth / third) ** 2


def _hyperbolic(fractions: FloatArray, decay: float, b: float) -> tuple[FloatArray, FloatArray]:
    """The same by the complementary nome, with hyperbolic functions in place of circular ones."""
    decay = np.pi**2 / decay
    powers = np.arange(1.0, 2.0 * _FACTORS)[:, None]
    even, odd = powers[1::2], powers[::2]

    def pairs(powers: FloatArray, sign: float) -> FloatArray:
        """Product of ``(1 + sign q^(m - l)) (1 + sign q^(m + l))`` over the powers m, for every fraction l."""
        exponents = -decay * np.concatenate([powers - fractions, powers + fractions])
        return np.asarray(np.prod(-np.expm1(exponents) if sign < 0 else 1.0 + np.exp(exponents), axis=0))

    half = 0.5 * decay * fractions
    with np.errstate(divide="ignore"):
        ratio = 2.0 * np.exp(-0.25 * decay) * np.sinh(half) * pairs(even, -1.0) / pairs(odd, -1.0)
    quotient = np.cosh(half) * pairs(even, 1.0) / pairs(odd, 1.0)
    return np.sqrt(b) * ratio**2, (quotient / quotient[0]) ** 2

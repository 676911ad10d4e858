r"""ER-SDE: the reverse equation with a noise level that depends on the noise, given by a scale function.

With :math:`\rho = \sigma/\alpha` and a function phi, the *noise scale function* of the paper,

.. math:: \frac{x(\rho_1)}{\alpha_1} = \frac{\varphi(\rho_1)}{\varphi(\rho_0)} \frac{x(\rho_0)}{\alpha_0}
          + \int_{\rho_1}^{\rho_0} \frac{\varphi(\rho_1) \varphi'(\rho)}{\varphi(\rho)^2} D\, d\rho
          + \sqrt{\rho_1^2 - \rho_0^2 \varphi(\rho_1)^2/\varphi(\rho_0)^2}\; z ,

the reverse equation with :math:`1 + \eta^2 = d\log\varphi/d\log\rho`: phi = rho is the probability flow, phi = rho^2
the time reversal. D is replaced by polynomials in rho. In units of the data-prediction form the state is multiplied by
:math:`g(\rho_1)/g(\rho_0)` with :math:`g = \varphi/\rho`, and the noise has variance
:math:`1 - g(\rho_1)^2/g(\rho_0)^2`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np

from diffnum.coefficients.adams import lagrange_weights, multistep
from diffnum.forms import Kernel, TabulatedKernel
from diffnum.phi import phi
from diffnum.tableau import Step, Vector, Window, vector
from diffnum.types import FloatArray, Scalar

__all__ = ["NOISE_SCALES", "NoiseScale", "dance_scale", "er_sde", "er_sde_step", "noise_scale", "reverse_moments"]


@dataclass(frozen=True)
class NoiseScale:
    r"""A noise scale function phi of ER-SDE, as what it says of the noise.

    Parameters
    ----------
    name : str
        Name in the paper.
    log_excess : callable
        :math:`\log g(\rho) = \log(\varphi(\rho)/\rho)` on arrays; increases wherever there is noise.
    squared : callable
        Square of the noise level, :math:`\eta^2 = d\log g/d\log\rho`.
    """

    name: str
    log_excess: Callable[[FloatArray], FloatArray]
    squared: Callable[[FloatArray], FloatArray]

    def __call__(self, rho: FloatArray) -> FloatArray:
        """Value of phi."""
        return np.asarray(rho * np.exp(self.log_excess(rho)))

    def over(self, window: Window, count: int, *, riemann: bool = False) -> tuple[Kernel, tuple[Scalar, ...], Scalar]:
        r"""What a step of ER-SDE needs of it.

        Parameters
        ----------
        window : Window
            Place on the grid.
        count : int
            Number of moments, and of nodes with the current one.
        riemann : bool
            Take the sums of the official code for the moments.

        Returns
        -------
        kernel, nodes, rise
            Moments of the kernel and past nodes, both in s, and :math:`\int \eta^2 d\lambda`; the int 0 without noise.
        """
        start, end, past = _levels(window)
        nodes = tuple((rho - start) / (end - start) for rho in past[: count - 1])
        moments = riemann_moments if riemann else reverse_moments
        return moments(self, start, end, count), nodes, 0 if self.name == "ode" else self.rise(start, end)

    def rise(self, start: FloatArray, end: FloatArray) -> FloatArray:
        r""":math:`\int \eta^2 d\lambda` from ``start`` down to ``end``.

        Raises
        ------
        ValueError
            If it is negative: phi then grows more slowly than rho, and the noise would have a negative variance.
        """
        ends = [np.asarray(r, dtype=np.float64) for r in (start, end)]
        way = _Passage(*map(np.atleast_1d, ends))
        since, width = way.points()
        rise = way.whole(self.squared(way.rho(since)), width).sum(axis=0)
        rise = rise.reshape(np.broadcast_shapes(*(r.shape for r in ends)))
        if np.any(rise < -1e-14):
            msg = (
                f"noise scale {self.name!r} grows more slowly than sigma/alpha between {np.min(end):g} and "
                f"{np.max(start):g}, so that tau^2 is negative there: use another one, or a narrower grid"
            )
            raise ValueError(msg)
        return np.asarray(np.maximum(rise, 0.0))


def _sde_1(x: FloatArray) -> FloatArray:
    return np.exp(-1 / x)


def _sde_4(x: FloatArray) -> FloatArray:
    return 100 * x**1.5


# log phi and its derivative, named so that a noise scale can be pickled
def _zero(x: FloatArray) -> FloatArray:
    return 0 * x


def _one(x: FloatArray) -> FloatArray:
    return 1 + 0 * x


def _log_sde_1(x: FloatArray) -> FloatArray:
    return np.log(_sde_1(x) + 10)


def _rate_sde_1(x: FloatArray) -> FloatArray:
    return _sde_1(x) / (x * (_sde_1(x) + 10))


def _log_sde_2(x: FloatArray) -> FloatArray:
    return 0.5 * np.log(x)


def _rate_sde_2(x: FloatArray) -> FloatArray:
    return 0.5 + 0 * x


def _log_sde_3(x: FloatArray) -> FloatArray:
    return 1.5 * np.log(x)


def _rate_sde_3(x: FloatArray) -> FloatArray:
    return 1.5 + 0 * x


def _log_sde_4(x: FloatArray) -> FloatArray:
    return np.log(np.log1p(_sde_4(x))) - 0.1 * np.log(x)


def _rate_sde_4(x: FloatArray) -> FloatArray:
    return 1.5 * _sde_4(x) / ((1 + _sde_4(x)) * np.log1p(_sde_4(x))) - 0.1


def _log_sde_5(x: FloatArray) -> FloatArray:
    return np.logaddexp(x**0.3, np.log(10.0))


def _rate_sde_5(x: FloatArray) -> FloatArray:
    return np.asarray(0.3 * x**0.3 / (1 + 10 * np.exp(-(x**0.3))))


NOISE_SCALES: Mapping[str, NoiseScale] = MappingProxyType(
    {
        s.name: s
        for s in (
            NoiseScale("ode", _zero, _zero),
            NoiseScale("sde", np.log, _one),
            NoiseScale("sde1", _log_sde_1, _rate_sde_1),
            NoiseScale("sde2", _log_sde_2, _rate_sde_2),
            NoiseScale("sde3", _log_sde_3, _rate_sde_3),
            NoiseScale("sde4", _log_sde_4, _rate_sde_4),
            NoiseScale("sde5", _log_sde_5, _rate_sde_5),
        )
    }
)
"""The functions of the official code: ``ode``, ``sde``, and ``sde1`` to ``sde5``, of which the authors recommend the
last. A factor on phi changes nothing."""


_PANEL = 2.0
"""Longest part of a step, in half-log-SNR, over which one Gauss rule is used."""


def _log_dance(x: FloatArray, eta: float) -> FloatArray:
    return -0.5 * eta * eta / x


def _rate_dance(x: FloatArray, eta: float) -> FloatArray:
    return 0.5 * eta * eta / x


def dance_scale(eta: float) -> NoiseScale:
    r"""Noise scale of DanceGRPO's equation, whose diffusion in flow time is the number eta.

    :math:`\eta^2 = a^2/(2\rho)`; a first-order step with it is Precise's ``dance_precise``.

    Parameters
    ----------
    eta : float
        Diffusion, >= 0.

    References
    ----------
    Tencent-Hunyuan/Precise at 9a84f91b, sde_with_logprob.py, ``compute_std_dev_t``.
    """
    return NoiseScale(f"dance{eta:g}", partial(_log_dance, eta=eta), partial(_rate_dance, eta=eta))


def noise_scale(name: str) -> NoiseScale:
    """Noise scale by name: one of :data:`NOISE_SCALES`, or ``dance`` with its eta, such as ``"dance0.3"``.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name in NOISE_SCALES:
        return NOISE_SCALES[name]
    try:
        if name.startswith("dance"):
            return dance_scale(float(name.removeprefix("dance")))
    except ValueError:
        pass
    msg = f"noise scale {name!r} is unknown: use one of {', '.join(NOISE_SCALES)}, or dance0.3 and the like"
    raise ValueError(msg)


@cache
def _gauss() -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gauss-Legendre rule of 32 points on [0, 1], and the matrix of the integrals from each point to 1."""
    from numpy.polynomial.legendre import leggauss, legvander

    x, w = leggauss(32)
    count = len(x)
    values = legvander(x, count)  # P_0 to P_32; that of P_k from x to 1 is (P_{k-1} - P_{k+1})/(2 k + 1)
    degrees = np.arange(1, count)
    later = np.column_stack([1 - x, (values[:, : count - 1] - values[:, 2 : count + 1]) / (2 * degrees + 1)])
    expansion = (np.arange(count)[:, None] + 0.5) * values[:, :count].T * w
    return 0.5 * (x + 1), 0.5 * w, 0.5 * later @ expansion


@dataclass(frozen=True)
class _Passage:
    """Way from one noise level down to another, in points of Gauss rules on equal parts in half-log-SNR.

    Parameters
    ----------
    rho_0, rho_1 : ndarray, shape (m,)
        sigma/alpha at both ends.
    """

    rho_0: FloatArray
    rho_1: FloatArray

    @property
    def length(self) -> FloatArray:
        """Length in half-log-SNR, to rounding for short ones too."""
        return np.asarray(np.log1p((self.rho_0 - self.rho_1) / self.rho_1))

    def points(self) -> tuple[FloatArray, FloatArray]:
        """Half-log-SNR since the start, shape (parts, 32, m), and the length of a part."""
        h = self.length
        parts = max(1, math.ceil(float(np.max(np.abs(h), initial=0.0)) / _PANEL))
        at = (np.arange(parts)[:, None] + _gauss()[0]) / parts
        return at[..., None] * h, h / parts

    def rho(self, since: FloatArray) -> FloatArray:
        """sigma/alpha at points."""
        return np.asarray(self.rho_0 * np.exp(-since))

    @staticmethod
    def whole(values: FloatArray, width: FloatArray) -> FloatArray:
        """Integral over each part, shape (parts, m)."""
        return np.asarray(width * np.einsum("j,pjm->pm", _gauss()[1], values))

    @classmethod
    def onwards(cls, values: FloatArray, width: FloatArray) -> FloatArray:
        """Integral from each point to the end."""
        whole = cls.whole(values, width)
        after = np.cumsum(whole[::-1], axis=0)[::-1] - whole
        return np.asarray(width * np.einsum("ij,pjm->pim", _gauss()[2], values) + after[:, None])


def reverse_moments(scale: NoiseScale, start: Any, end: Any, count: int) -> TabulatedKernel:
    r"""Moments :math:`\int K s^k` with :math:`s = (\rho - \rho_0)/(\rho_1 - \rho_0)`, to rounding.

    Parameters
    ----------
    scale : NoiseScale
        phi.
    start, end : array_like, shape (m,)
        sigma/alpha at the ends of the steps, ``start > end > 0``.
    count : int
        Number of moments.

    Notes
    -----
    :math:`K\,ds = (\varphi(\rho_1)/\varphi(\rho))(1 + \eta^2)\, d\lambda` is integrated over the half-log-SNR, in which
    it is analytic, with :math:`\varphi(\rho_1)/\varphi(\rho) = e^{-\int (1 + \eta^2) d\lambda}`; the differences by
    parts of the paper lose digits on short steps, and logarithms of phi far from 1.
    """
    ends = [np.asarray(r, dtype=np.float64) for r in (start, end)]
    way = _Passage(*map(np.atleast_1d, ends))
    since, width = way.points()
    rate = 1 + scale.squared(way.rho(since))
    weights = _gauss()[1][:, None]
    density = weights * width * rate * np.exp(-way.onwards(rate, width))
    s = np.expm1(-since) / np.expm1(-way.length)
    moments = [(density * s**k).sum(axis=(0, 1)) for k in range(count)]
    shape = np.broadcast_shapes(*(r.shape for r in ends))
    return TabulatedKernel(tuple(m.reshape(shape) for m in moments))


def riemann_moments(scale: NoiseScale, start: Any, end: Any, count: int, cells: int = 100) -> TabulatedKernel:
    """Moments as the official code has them: by parts, with sums over equal cells of sigma, taken at the clean ends."""
    rho_0, rho_1 = (np.asarray(r, dtype=np.float64) for r in (start, end))
    j = np.arange(cells)[:, None] / cells
    rho = rho_1 + j * (rho_0 - rho_1)
    last, width = scale(rho_1), rho_0 - rho_1
    moments = [1 - last / scale(rho_0)]
    for k in range(1, count):
        total = ((rho - rho_0) ** (k - 1) / scale(rho)).sum(axis=0) * width / cells
        moments.append(((rho_1 - rho_0) ** k + k * last * total) / (rho_1 - rho_0) ** k)
    return TabulatedKernel(tuple(moments))


def er_sde(kernel: Kernel, nodes: Sequence[Scalar], *, corrected: bool = True) -> tuple[Scalar, ...]:
    """Weights of ER-SDE-Solver-1, -2 or -3 from the moments of its kernel.

    Parameters
    ----------
    kernel : Kernel
        Moments in s, the fraction of the step in sigma/alpha; see :func:`reverse_moments`.
    nodes : sequence of scalars or arrays
        Past nodes in s, newest first: none, one or two.
    corrected : bool
        Take for D' at the start the slope of the parabola. The official third order takes that of the chord through the
        last two values, which is off by half a step of D'': its deterministic order is 2.

    Returns
    -------
    tuple of scalars or arrays
        Weights of alpha_1 D, newest first.

    References
    ----------
    Cui et al., arXiv:2309.06169; QinpengCui/ER-SDE-Solver at 25ca6c2e, ``vp_3_order_taylor``.
    """
    points: tuple[Scalar, ...] = (0, *nodes)
    moments = [kernel.moment(k) for k in range(len(points))]
    if corrected or len(points) < 3:
        return lagrange_weights(moments, points)
    _, u, w = points
    # slope (D0 - D1)/(-u), curvature 2 ((D0 - D1)/(-u) - (D1 - D2)/(u - w))/(-w), in steps
    bend = moments[2] / w
    slope = (moments[1] - bend) / u
    older = bend / (u - w)
    return moments[0] - slope, slope + older, -older


def er_sde_step(
    window: Window, order: int, scale: NoiseScale, *, corrected: bool = False, riemann: bool = False
) -> Step:
    """ER-SDE-Solver of order 1, 2 or 3; 1 NFE."""
    kernel, nodes, rise = scale.over(window, order, riemann=riemann)
    step = multistep(window, er_sde(kernel, nodes, corrected=corrected))
    if isinstance(rise, int):  # no noise
        return step
    moved = Vector({name: phi(0, -rise) * w if name == "x" else w for name, w in step.x.items()})
    variance = 2 * rise * phi(1, -2 * rise)
    return Step(step.stages, moved + variance**0.5 * vector("z1"), step.memory)


def _levels(window: Window) -> tuple[FloatArray, FloatArray, list[FloatArray]]:
    """sigma/alpha at the start, at the end and at the past nodes; of a placeholder schedule where there is none."""
    if not window.nodes:
        ends = [np.exp(-window.step * np.asarray(u, dtype=np.float64)) for u in (0.0, 1.0, *window.past)]
        return ends[0], ends[1], ends[2:]
    end, start, *past = window.nodes
    return start.sigma / start.alpha, end.sigma / end.alpha, [node.sigma / node.alpha for node in past]

r"""Split steps: a step of the probability flow, too long by some noise, and noise that makes up for it.

Ancestral methods go down first, deterministically, to :math:`\sigma_\downarrow = d\,\sigma_1` (in units of alpha) and
add noise of variance :math:`v = 1 - d^2` up to the end of the step; churned methods (EDM's stochastic sampler) add the
noise first and go down from there. Either way

* the noise takes exact marginals to exact marginals, so that the *law* of the output has the order of the deterministic
  method, whatever the noise;
* as solutions of the reverse equation these are splittings of Lie's kind: strong and weak order 1 at most.

The length of the deterministic step is :math:`h - \log d`. The methods are written in data prediction; those whose
authors step dx/dsigma say so, and their weights are turned into those of D.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from diffnum.coefficients.adams import ddim
from diffnum.coefficients.checked import noise_level, number, step_length, within
from diffnum.coefficients.stochastic import BaseRule, ddim_eta_step, eta_factors
from diffnum.forms import ExponentialKernel
from diffnum.phi import log1p, phi
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors
from diffnum.types import FloatArray, Scalar

__all__ = ["CHURN_LIMIT", "ancestral_step", "churn", "churn_step", "dpmpp_sde", "length_down"]

_HALF = Fraction(1, 2)

CHURN_LIMIT = math.sqrt(2.0) - 1.0
"""Largest relative increase of sigma by churn that EDM allows."""


def dpmpp_sde(
    h: Scalar, r: Scalar = 0.5, eta: Scalar = 1
) -> tuple[tuple[Scalar, Scalar, Scalar], tuple[Scalar, tuple[Scalar, Scalar], Scalar], Scalar]:
    r"""Factors of k-diffusion's DPM-Solver++ (stochastic).

    .. math:: X = d_r \frac{\sigma_r}{\sigma_0} y_0 + \alpha_r w_r D_0 + \sigma_r \sqrt{v_r}\, z_1, \qquad
              y_1 = d \frac{\sigma_1}{\sigma_0} y_0 + \alpha_1 (b_1 D_0 + b_2 D(X))
              + \sigma_1 \sqrt v\, (\sqrt{q}\, z_1 + \sqrt{1 - q}\, z_2)

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    r : scalar
        Inner node as a fraction of the step, in (0, 1].
    eta : scalar
        >= 0; see :func:`~diffnum.coefficients.stochastic.ddim_eta`.

    Returns
    -------
    (d_r, w_r, v_r), (d, (b_1, b_2), v), q
        Factors of the stage, of the step, and the share of the step's noise that the stage has seen: that of a Brownian
        motion in sigma, as k-diffusion's ``BrownianTreeNoiseSampler`` has it.

    Raises
    ------
    ValueError
        If the inner node is not inside of the step.

    Notes
    -----
    Strong order 1; weak order 2 at eta = 1, on one path. With independent draws in place of the path (q = 0), which
    the argument ``noise_sampler`` allows, weak order 1.

    References
    ----------
    k-diffusion, sampling.py, ``sample_dpmpp_sde``.
    """
    h, r = step_length(h), number("r", r)
    if not within(r, 0.0, math.nextafter(1.0, 2.0), closed=False):
        msg = f"r={r} is no inner node: use a fraction of the step in (0, 1]"
        raise ValueError(msg)
    return _inner_factors(h, r, noise_level(eta, "eta"))


def _inner_factors(h: Scalar, r: Scalar, eta: Scalar) -> tuple[Any, Any, Scalar]:
    """Factors of :func:`dpmpp_sde`, continued to negative steps."""
    d, total, v = eta_factors(h, eta)
    b2 = total / (2 * r)
    share = r * phi(1, -r * h) / phi(1, -h)
    return eta_factors(r * h, eta), (d, (total - b2, b2), v), share


# -- bases -----------------------------------------------------------------------------------------------


def midpoint_step(window: Window, order: int) -> Step:
    """DPM-Solver++(2S) with the middle node: D at the middle for the whole step."""
    if order == 1:
        return euler_step(window)
    x, k1, k2 = vectors("x k1 k2")
    half = window.rational(1, 2)
    return Step((Stage(0, x), Stage(half, x + window.moment(0, half) * k1)), x + window.moment(0) * k2)


def noise_midpoint_step(window: Window, order: int) -> Step:
    """k-diffusion's ``dpm_2``: the slope dx/dsigma at the middle node for the whole step, written for D."""
    if order == 1:
        return euler_step(window)
    x, k1, k2 = vectors("x k1 k2")
    half = window.rational(1, 2)
    inner, total, part = window.moment(0, half), window.moment(0), half * window.step
    first, last = -total * part * phi(1, part), total * phi(0, part)
    return Step((Stage(0, x), Stage(half, x + inner * k1)), x + first * k1 + last * k2)


def noise_heun_step(window: Window, order: int) -> Step:
    """EDM's Heun step in dx/dsigma, written for D."""
    if order == 1:
        return euler_step(window)
    x, k1, k2 = vectors("x k1 k2")
    total, half = window.moment(0), window.rational(1, 2)
    last = half * total * phi(0, window.step)
    return Step((Stage(0, x), Stage(1, x + total * k1)), x + (total - last) * k1 + last * k2)


def euler_step(window: Window, order: int = 1) -> Step:  # noqa: ARG001
    """DDIM, Euler in dx/dsigma."""
    x, k1 = vectors("x k1")
    return Step((Stage(0, x),), x + ddim(window.kernel)[0] * k1)


# -- step rules ------------------------------------------------------------------------------------------


def ancestral_step(window: Window, order: int, base: BaseRule, eta: Scalar = 1.0) -> Step:
    """Any one-step rule down to sigma_down, then noise, as k-diffusion's ``get_ancestral_step`` divides them.

    Parameters
    ----------
    window : Window
        Place on the grid, in the form ``DATA``.
    order : int
        Order asked of the rule.
    base : callable
        One-step rule ``base(window, order)``.
    eta : scalar
        >= 0: 0 no noise, 1 the noise of the time reversal.
    """
    d, _, v = eta_factors(window.step, eta)
    if isinstance(v, int):  # no noise
        return base(window, order)
    step = _stretched(window, order, base, length_down(window.step, eta), anchor=0)
    moved = Vector({name: d * w if name == "x" else w for name, w in step.x.items()})
    return Step(step.stages, moved + v**0.5 * vector("z1"))


def length_down(h: Scalar, eta: Scalar) -> Scalar:
    """``h - log d``, the length of the step to sigma_down, d as in :func:`ddim_eta`.

    With ``d^2 = e^{-2h} (1 + (1 - eta^2)(e^{2h} - 1))`` no digits are lost on short steps, where d is close to 1; on
    long ones, where it is close to 0, with ``d^2 = (1 - eta^2) + eta^2 e^{-2h}``, which nothing makes overflow.
    """
    if isinstance(eta, int | float) and eta == 1:
        return 2 * h
    if isinstance(h, float | np.ndarray):
        short = np.minimum(h, 1.0)
        near = 2 * short - np.log1p((1 - eta) * (1 + eta) * np.expm1(2 * short)) / 2
        far = h - np.log((1 - eta) * (1 + eta) + eta * eta * np.exp(-2 * np.maximum(h, 1.0))) / 2
        length = np.where(h > 1.0, far, near)
        return length if isinstance(h, np.ndarray) else float(length)
    return 2 * h - log1p((1 - eta) * (1 + eta) * 2 * h * phi(1, 2 * h)) / 2


def churn_step(
    window: Window, order: int, base: BaseRule, tau: Scalar = 1.0, noise_scale: float = 1.0, *, given: bool = False
) -> Step:
    r"""Any one-step rule after noise that raises sigma by the factor :math:`e^\delta = 1 + \gamma` (EDM's churn).

    Parameters
    ----------
    window : Window
        Place on the grid, in the form ``DATA``; with ``given`` its parameter ``churn`` is :math:`\gamma`.
    order : int
        Order asked of the rule.
    base : callable
        One-step rule ``base(window, order)``.
    tau : scalar
        Noise level: :math:`\delta = \eta^2 h`, so that the reverse equation of this level is approached.
    noise_scale : float
        EDM's S_noise, the factor on the added noise; not 1 it breaks the marginals, as its authors intend.
    given : bool
        Take the churn from the window instead of ``tau``.
    """
    if not given and isinstance(tau, int | float) and tau == 0:
        return base(window, order)
    rise = _given_rise(window) if given else tau * tau * window.step
    decay = phi(0, -rise)
    noise = noise_scale * (2 * rise * phi(1, -2 * rise)) ** 0.5
    step = _stretched(window, order, base, window.step + rise, anchor=1)

    def risen(value: Vector) -> Vector:
        moved = Vector({name: decay * w if name == "x" else w for name, w in value.items()})
        return moved + Vector({"z1": noise})

    return Step(tuple(Stage(s.node, risen(s.value)) for s in step.stages), risen(step.x))


def dpmpp_sde_step(window: Window, order: int, eta: Scalar = 1.0, nodes: tuple[Fraction, ...] = (_HALF,)) -> Step:
    """k-diffusion's DPM-Solver++ (stochastic) with one inner node; 2 NFE."""
    x, k1, k2, z1, z2 = vectors("x k1 k2 z1 z2")
    if order == 1:
        return ddim_eta_step(window, order, eta)
    h, inner = window.step, nodes[0]
    r, left = (window.rational(c.numerator, c.denominator) for c in (inner, 1 - inner))
    (d_r, w_r, v_r), (d, (b1, b2), v), q = _inner_factors(h, r, eta)
    end = d * x + b1 * k1 + b2 * k2
    stage = d_r * x + w_r * k1
    if isinstance(v, int):
        pass
    elif inner == 1:  # the stage has seen all of the noise
        stage, end = stage + v_r**0.5 * z1, end + v**0.5 * z1
    else:
        rest = left * phi(0, -r * h) * phi(1, -left * h) / phi(1, -h)  # 1 - q, which cancels on long steps
        stage, end = stage + v_r**0.5 * z1, end + (v * q) ** 0.5 * z1 + (v * rest) ** 0.5 * z2
    return Step((Stage(0, x), Stage(1 if inner == 1 else r, stage)), end)


def _stretched(window: Window, order: int, base: BaseRule, length: Scalar, anchor: int) -> Step:
    """Step of ``base`` over another length, which shares one end (0 or 1) with the window; nodes as the plan's."""
    kernel: Any = replace(_plain(window), step=length)
    step = base(replace(window, step=length, kernel=kernel), order)

    def node(c: Scalar) -> Scalar:
        if isinstance(c, int) and c == anchor:
            return c
        return anchor + (c - anchor) * length / window.step

    return Step(tuple(Stage(node(stage.node), stage.value) for stage in step.stages), step.x)


def _plain(window: Window) -> ExponentialKernel:
    """Kernel of the window, of data prediction."""
    kernel = window.kernel
    if not isinstance(kernel, ExponentialKernel):
        msg = f"kernel={kernel!r}: split steps are written for data prediction in half-log-SNR"
        raise TypeError(msg)
    return kernel


# -- churn of EDM ----------------------------------------------------------------------------------------


def churn(
    sigmas: Any, s_churn: float, s_min: float = 0.0, s_max: float = math.inf, *, steps: int | None = None
) -> FloatArray:
    """EDM's relative increase gamma of sigma for each interval, to be given as ``parameters={"churn": ...}``.

    Parameters
    ----------
    sigmas : array_like, shape (n,)
        Noise levels sigma/alpha at the starts of the intervals, ``np.exp(-grid.lam[:-1])``.
    s_churn : float
        EDM's S_churn, >= 0: the sum of all increases before they are limited.
    s_min, s_max : float
        Noise levels between which noise is added.
    steps : int, optional
        Number by which ``s_churn`` is divided; that of the intervals by default (EDM counts the one to sigma = 0).

    Returns
    -------
    ndarray, shape (n,)
        ``min(s_churn/steps, sqrt(2) - 1)`` where ``s_min <= sigma <= s_max``, else 0.

    Raises
    ------
    ValueError
        If ``s_churn`` is negative or not finite, or the noise levels are out of order.

    References
    ----------
    Karras et al., arXiv:2206.00364, algorithm 2.
    """
    s_churn = number("s_churn", s_churn)  # type: ignore[assignment]
    if not 0 <= s_churn < math.inf:
        msg = f"s_churn={s_churn} is out of range: use a finite number >= 0"
        raise ValueError(msg)
    if not s_min <= s_max:
        msg = f"s_min={s_min} is above s_max={s_max}: no noise would ever be added, exchange them"
        raise ValueError(msg)
    levels = np.asarray(number("sigmas", sigmas), dtype=np.float64)
    ordered = levels.ndim == 1 and bool((levels >= 0).all()) and bool((np.diff(levels) < 0).all())
    if levels.size and not (ordered and np.isfinite(levels).all()):
        msg = f"sigmas={sigmas}: give noise levels >= 0 in one row, which fall from one interval to the next"
        raise ValueError(msg)
    count = len(levels) if steps is None else steps
    if not levels.size or isinstance(count, bool) or int(count) != count or count < 1:
        msg = f"steps={steps} for {levels.size} levels: give noise levels, and a positive whole number of steps"
        raise ValueError(msg)
    gamma = min(s_churn / count, CHURN_LIMIT)
    return np.where((levels >= s_min) & (levels <= s_max), gamma, 0.0)


def _given_rise(window: Window) -> Scalar:
    """Logarithm of the factor on sigma that the caller of the plan asks for.

    Raises
    ------
    ValueError
        If it is out of EDM's range.
    """
    gamma = window.parameters["churn"]
    if isinstance(gamma, np.ndarray) and np.any((gamma < 0) | (gamma > CHURN_LIMIT * (1 + 1e-12))):
        msg = f"churn={gamma.min():g} to {gamma.max():g} is out of range: use 0 to sqrt(2) - 1, as churn(...) gives"
        raise ValueError(msg)
    return log1p(gamma)

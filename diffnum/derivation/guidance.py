r"""CFG++ is classifier-free guidance: the weight for which a DDIM step is a step of the other.

A DDIM step of a guided model is :math:`x' = \alpha' D_w + \sigma' \epsilon_w` with
:math:`M_w = M_\emptyset + w (M_c - M_\emptyset)`; a step of CFG++ is
:math:`x' = \alpha' D_\lambda + \sigma' \epsilon_\emptyset`. Both are linear in the two predictions of the noise,
:math:`D = (x - \sigma \epsilon)/\alpha`, so that one equation in w decides whether they are the same, whatever the
state and the predictions. The same for Gaussian laws: what the guided equation samples, and what is claimed.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

__all__ = ["cfg_plus_plus_weight", "gaussian_variances", "step_difference"]

OMEGA = sp.Symbol("omega", real=True)
H = sp.Symbol("h", positive=True)
"""Length of the step in half-log-SNR."""


def step_difference(weight: Any) -> Any:
    """CFG++ step less DDIM step of classifier-free guidance of a weight; zero where they are the same.

    Parameters
    ----------
    weight : expression
        In :data:`OMEGA` and :data:`H`.
    """
    x, given, free = sp.symbols("x epsilon_c epsilon_0", real=True)
    alpha, sigma, ahead = sp.symbols("alpha sigma alpha_1", positive=True)
    noise_ahead = ahead * (sigma / alpha) * sp.exp(-H)  # half_log_snr grows by h

    def mixed(w: Any) -> Any:
        return free + w * (given - free)

    def data(noise: Any) -> Any:
        return (x - sigma * noise) / alpha

    ddim = ahead * data(mixed(weight)) + noise_ahead * mixed(weight)
    paper = ahead * data(mixed(OMEGA)) + noise_ahead * free
    return sp.simplify(paper - ddim)


def cfg_plus_plus_weight() -> Any:
    r"""Solve for the weight; it is :math:`\lambda / (1 - e^{-h})`."""
    w = sp.Symbol("w", real=True)
    (found,) = sp.solve(step_difference(w), w)
    return sp.simplify(found)


def gaussian_variances() -> tuple[Any, Any, Any]:
    r"""Variances that guidance samples on Gaussian laws, as functions of w, c_0 and c_1.

    In :math:`s = (\sigma/\alpha)^2` and :math:`x/\alpha` the guided equation is linear, and its variance v obeys

    .. math:: v' = v \Bigl( \frac{1-w}{c_0 + s} + \frac{w}{c_1 + s} \Bigr),

    so that :math:`v = (c_0 + s)^{1-w} (c_1 + s)^w`, which is s where there is much noise.

    Returns
    -------
    tuple of three expressions
        What the equation samples at s = 0; what is claimed, the variance of :math:`p_0^{1-w} p_c^w`; and the residual
        of the equation for v, zero.
    """
    w, s = sp.Symbol("w", real=True), sp.Symbol("s", positive=True)
    wide, narrow = sp.symbols("c_0 c_1", positive=True)
    law = (wide + s) ** (1 - w) * (narrow + s) ** w
    growth = sp.diff(sp.expand_log(sp.log(law)), s)
    residual = sp.simplify(growth - (1 - w) / (wide + s) - w / (narrow + s))
    return law.subs(s, 0), 1 / ((1 - w) / wide + w / narrow), residual

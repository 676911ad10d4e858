r"""The upper bound of Align Your Steps in closed form: a left Riemann sum of the denoising error.

The bound on the Kullback-Leibler divergence of the first-order stochastic sampler integrates, over each step,
:math:`E\|D(x_t) - D(x_{t_i})\|^2` with weight :math:`1/t^3` (in x/alpha, t = sigma/alpha). Where D is the posterior
mean, :math:`D(x_{t_i}) = E[D(x_t) | x_{t_i}]`, since :math:`x_0 \to x_t \to x_{t_i}` is a Markov chain. The square is
:math:`P(t) - P(t_i)`, the growth of the mean square of the prediction, and in the signal-to-noise ratio
:math:`\gamma = t^{-2}`

.. math:: \mathrm{KLUB} = \tfrac12 \sum_i \int_{\gamma_i}^{\gamma_{i+1}} (P(\gamma) - P(\gamma_i))\, d\gamma .

The integral of P does not depend on the grid. The best grid therefore makes :math:`\sum_i P(\gamma_i)(\gamma_{i+1} -
\gamma_i)` largest; one curve, P (or the denoising loss, a constant less P), is all that it asks of a network.
"""

from __future__ import annotations

import numpy as np

from diffnum.calibration.grid_rules.dynamic_programming import cheapest_path
from diffnum.calibration.grid_rules.task import GridTask
from diffnum.types import FloatArray

__all__ = ["kl", "klub_costs"]


def kl(task: GridTask) -> FloatArray:
    """Least upper bound on the Kullback-Leibler divergence, exactly, among the candidates.

    Parameters
    ----------
    task : GridTask
        The question. The bound is one of the stochastic sampler of first order, whatever method is to run.

    Returns
    -------
    ndarray, shape (steps + 1,)
        Half-log-SNRs.

    References
    ----------
    Sabour et al., Align Your Steps, arXiv:2404.14507, section 3.2.
    """
    return task.levels[cheapest_path([klub_costs(task.levels, task.trajectory.power)] * task.steps)]


def klub_costs(levels: FloatArray, power: FloatArray) -> FloatArray:
    """Share of each step in the bound, up to a constant that all grids have in common.

    Parameters
    ----------
    levels : ndarray, shape (k,)
        Half-log-SNRs, increasing.
    power : ndarray, shape (k,)
        Mean square of the data prediction there.

    Returns
    -------
    ndarray, shape (k, k)
        Entry (i, j): from level i to level j; infinite unless i < j.
    """
    snr = np.exp(2.0 * levels)
    costs = 0.5 * (power[-1] - power[:, None]) * (snr[None, :] - snr[:, None])
    return np.where(np.triu(np.ones_like(costs), 1) > 0, costs, np.inf)

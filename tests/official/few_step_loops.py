"""Official loops of training-free methods for few steps, rewritten in numpy from the authors' code.

Anuska-Roy/CAB at 941180a3, generate_cab.py; ZT220501/STORK at fd991caf, STORKScheduler.py;
onefly123/PFDiff at e63fd30f, uncondition/ddim-main/functions/denoising_PFDiff_1.py;
jin01020/rx-dpm at 580ecf72, edm/generate.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Net = Callable[[np.ndarray, float], np.ndarray]


def cab_sampler(net: Net, x: np.ndarray, t_steps: Sequence[float], order: int, theta: float) -> np.ndarray:
    """``net(x, sigma)`` predicts data."""
    d_prev = d_prev_prev = h_prev = h_prev_prev = None
    for i, (t_hat, t_next) in enumerate(zip(t_steps[:-1], t_steps[1:], strict=True)):
        h = t_next - t_hat
        d_cur = (x - net(x, t_hat)) / t_hat
        if i == 0:
            x_next = x + h * d_cur
        elif i == 1:
            r = h / h_prev
            x_next = x + h * ((1.0 + 0.5 * r) * d_cur - 0.5 * r * d_prev)
        else:
            if order == 2:
                r = h / h_prev
                x_pred = x + h * ((1.0 + 0.5 * r) * d_cur - 0.5 * r * d_prev)
            else:
                p, q = h_prev, h_prev_prev
                beta0 = ((h * h) / 3.0 + 0.5 * h * (2.0 * p + q) + p * (p + q)) / (p * (p + q))
                beta1 = -h * (2.0 * h + 3.0 * p + 3.0 * q) / (6.0 * p * q)
                beta2 = h * (2.0 * h + 3.0 * p) / (6.0 * q * (p + q))
                x_pred = x + h * (beta0 * d_cur + beta1 * d_prev + beta2 * d_prev_prev)
            r_prev = h_prev / h_prev_prev
            d_ext = (1.0 + r_prev) * d_prev - r_prev * d_prev_prev
            x_next = x_pred + theta * h * (d_cur - d_ext)
        d_prev_prev, d_prev, h_prev_prev, h_prev, x = d_prev, d_cur, h_prev, h, x_next
    return x


def stork_main_step(v: Sequence[np.ndarray], sample: np.ndarray, t: float, t_next: float, h1: float, h2: float, s: int):
    """One step of ``step_flow_matching_2`` after the start-up; velocities now, one and two steps ago."""
    derivative = (-v[2] + 4 * v[1] - 3 * v[0]) / (2 * h1)
    second = 2 / (h1 * h2 * (h1 + h2)) * (v[2] * h1 - v[1] * (h1 + h2) + v[0] * h2)

    def b(j: int) -> float:
        if j < 2:
            return (1.0, 1 / 3)[j]
        return 4 * (j - 1) * (j + 4) / (3 * j * (j + 1) * (j + 2) * (j + 3))

    y2 = y1 = y = sample
    dt = t - t_next
    for j in range(1, s + 1):
        if j == 1:
            y = y1 - dt * 6 / ((s + 4) * (s - 1)) * v[0]
        else:
            fraction = 4 / (3 * (s**2 + s - 2)) if j == 2 else ((j - 1) ** 2 + (j - 1) - 2) / (s**2 + s - 2)
            mu = (2 * j + 1) * b(j) / (j * b(j - 1))
            nu = -(j + 1) * b(j) / (j * b(j - 2))
            mu_tilde = mu * 6 / ((s + 4) * (s - 1))
            gamma_tilde = -mu_tilde * (1 - j * (j + 1) * b(j - 1) / 2)
            diff = -fraction * (t - t_next)
            velocity = v[0] + diff * derivative + 0.5 * diff**2 * second
            y = mu * y1 + nu * y2 + (1 - mu - nu) * sample - dt * mu_tilde * velocity - dt * gamma_tilde * v[0]
        y2, y1 = y1, y
    return y


def pfdiff_pairs(net: Net, x: np.ndarray, nodes: Sequence[float], alpha, sigma) -> np.ndarray:
    """Steps over two intervals each, as in ``generalized_steps``, after one DDIM step over the first two.

    ``net(x, t)`` predicts noise.
    """

    def ddim(noise: np.ndarray, x: np.ndarray, t: float, t_next: float) -> np.ndarray:
        return alpha(t_next) * (x - sigma(t) * noise) / alpha(t) + sigma(t_next) * noise

    old = net(x, nodes[0])
    x = ddim(old, x, nodes[0], nodes[2])
    for i in range(2, len(nodes) - 1, 2):
        springboard = ddim(old, x, nodes[i], nodes[i + 1])
        old = net(springboard, nodes[i + 1])
        x = ddim(old, x, nodes[i], nodes[i + 2])
    return x


def rx_euler_sampler(net: Net, x: np.ndarray, t_steps: Sequence[float]) -> np.ndarray:
    """``net(x, sigma)`` predicts data; frequency 2."""
    for i in range(0, len(t_steps) - 1, 2):
        a, b, c = t_steps[i], t_steps[i + 1], t_steps[i + 2]
        first = (x - net(x, a)) / a
        middle = x + (b - a) * first
        fine = middle + (c - b) * (middle - net(middle, b)) / b
        coarse = x + (c - a) * first
        matrix = np.ones((2, 2))
        matrix[1, 1] = ((a - b) / (a - c)) ** 2 + ((b - c) / (a - c)) ** 2
        coefficients = np.linalg.inv(matrix)[0]
        x = coefficients[0] * coarse + coefficients[1] * fine
    return x

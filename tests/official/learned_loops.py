"""Official loops of learned solvers, rewritten in numpy from the authors' code; the model takes state and time.

MCG-NJU/NeuralSolver at 71887944, src/diffusion/flow_matching/ns_sampling.py and src/diffusion/ddpm/ns_sampling.py;
Westlake-AGI-Lab/DyWeight at 620534e3, solvers.py; 3145tttt/GAS at f090ede4, src/gas/generalized_solver.py;
BeierZhu/EPD at 88a91f09, solvers.py; vinhsuhi/LD3 at 9e4a66f0, samplers/ipndm.py and samplers/dpm_solverpp.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Net = Callable[[np.ndarray, float], np.ndarray]


def neural_solver_flow(net: Net, x: np.ndarray, deltas: Sequence[float], coeffs: np.ndarray) -> np.ndarray:
    """``net(x, t)`` is dx/dt with t from 0 (noise) to 1 (data)."""
    trajectory: list[np.ndarray] = []
    t = 0.0
    for i in range(len(deltas)):
        trajectory.append(net(x, t))
        out, total = np.zeros_like(x), 0.0
        for j in range(i):
            out += coeffs[i, j] * trajectory[j]
            total += coeffs[i, j]
        out += (1 - total) * trajectory[-1]
        x = x + out * deltas[i]
        t += deltas[i]
    return x


def neural_solver_ddpm(
    net: Net,
    x: np.ndarray,
    deltas: Sequence[float],
    coeffs: np.ndarray,
    alpha: Callable[[float], float],
    sigma: Callable[[float], float],
    *,
    second_update: bool,
) -> np.ndarray:
    """``net(x, t)`` predicts noise; ``second_update`` runs the last three lines of the loop, as the code does."""
    trajectory: list[np.ndarray] = []
    t = 0.999
    for i in range(len(deltas)):
        dt = deltas[i]
        s, a, s_next, a_next = sigma(t), alpha(t), sigma(t - dt), alpha(t - dt)
        eps = net(x, t)
        x0 = (x - s * eps) / a
        trajectory.append(x0)
        mixed, total = np.zeros_like(x0), 0.0
        for j in range(i):
            mixed += coeffs[i, j] * trajectory[j]
            total += coeffs[i, j]
        mixed += (1 - total) * trajectory[-1]
        delta = a_next / s_next - a / s
        x = (s_next / s) * x + s_next * delta * mixed
        if second_update:
            trajectory.append(x0)
            x = (s_next / s) * x + s_next * delta * x0
        t = t - dt
    return x


def dyweight(
    net: Net, latents: np.ndarray, t_steps: np.ndarray, weights: np.ndarray, t_scale: np.ndarray | None, afs: bool
) -> np.ndarray:
    """``net(x, sigma)`` predicts data; latents have unit variance."""
    x_next = latents * t_steps[0]
    derivatives: list[np.ndarray] = []
    t_true = t_steps[0]
    for i, t_next in enumerate(t_steps[1:]):
        x_cur, t_cur = x_next, t_true
        if afs and i == 0:
            d = x_cur / np.sqrt(1 + t_cur**2)
        else:
            index = i - 1 if afs else i
            scaled = abs(t_cur if t_scale is None or not 0 <= index < len(t_scale) else t_scale[index] * t_cur)
            d = (x_cur - net(x_cur, scaled)) / (t_cur + 1e-8)
        derivatives.append(d)
        w = weights[i, : i + 1]
        x_next = x_cur + (t_next - t_cur) * sum(w[j] * derivatives[j] for j in range(i + 1))
        t_true = t_cur + w.sum() * (t_next - t_cur)
    return x_next


class GeneralizedSolver:
    """The authors' class with theory coefficients; parameters by name, c1, a1 the newest."""

    def __init__(
        self,
        net: Net,
        lam: Callable[[float], float],
        alpha: Callable[[float], float],
        sigma: Callable[[float], float],
        t_couple: np.ndarray,
        c: np.ndarray,
        a: np.ndarray,
    ) -> None:
        self.net, self.lam, self.alpha, self.sigma = net, lam, alpha, sigma
        self.t_couple, self.c, self.a = t_couple, c, a
        self.step = 0

    def data(self, x: np.ndarray, t: float) -> np.ndarray:
        return (x - self.sigma(t) * self.net(x, t + self.t_couple[self.step])) / self.alpha(t)

    def update(self, x, models, times, t, states):
        h = self.lam(t) - self.lam(times[-1])
        a_ii, alpha_t, phi_1 = self.sigma(t) / self.sigma(times[-1]), self.alpha(t), np.expm1(-h)
        c, a = self.c[self.step], self.a[self.step]
        out = (a_ii + a[0]) * x - (alpha_t * phi_1 + c[0]) * models[-1]
        if len(models) == 2:
            r0 = (self.lam(times[-1]) - self.lam(times[-2])) / h
            out = out - (0.5 * alpha_t * phi_1 + c[1]) * (1 / r0) * (models[-1] - models[-2]) + a[1] * states[-2]
        elif len(models) >= 3:
            r0 = (self.lam(times[-1]) - self.lam(times[-2])) / h
            r1 = (self.lam(times[-2]) - self.lam(times[-3])) / h
            phi_2 = phi_1 / h + 1
            phi_3 = phi_2 / h - 0.5
            d10, d11 = (models[-1] - models[-2]) / r0, (models[-2] - models[-3]) / r1
            d1, d2 = d10 + (r0 / (r0 + r1)) * (d10 - d11), (d10 - d11) / (r0 + r1)
            out = out + (alpha_t * phi_2 + c[1]) * d1 - (alpha_t * phi_3 + c[2]) * d2
            for i in range(4, len(models) + 1):
                out = out + c[i - 1] * models[-i]
            for i in range(2, len(models) + 1):
                out = out + a[i - 1] * states[-i]
        return out

    def sample(self, x: np.ndarray, timesteps: np.ndarray, order: int) -> np.ndarray:
        times, models, states = [timesteps[0]], [self.data(x, timesteps[0])], [x]
        for step in range(1, len(timesteps)):
            t = timesteps[step]
            x = self.update(x, models, times, t, states)
            self.step += 1
            if step == len(timesteps) - 1:
                return x
            states, times, models = [*states, x], [*times, t], [*models, self.data(x, t)]
            states, times, models = states[-order:], times[-order:], models[-order:]
        return x


def epd(net: Net, x: np.ndarray, t_steps: np.ndarray, r: np.ndarray, w: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """``net(x, sigma)`` predicts data."""
    for i, (t_cur, t_next) in enumerate(zip(t_steps[:-1], t_steps[1:], strict=True)):
        d_cur = (x - net(x, t_cur)) / t_cur
        x_next = x
        for j in range(r.shape[1]):
            t_mid = (t_next ** r[i, j]) * (t_cur ** (1 - r[i, j]))
            x_mid = x + (t_mid - t_cur) * d_cur
            d_mid = (x_mid - net(x_mid, scale[i, j] * t_mid)) / t_mid
            x_next = x_next + w[i, j] * (t_next - t_cur) * d_mid
        x = x_next
    return x


def ld3_ipndm(net: Net, x: np.ndarray, t1: Sequence[float], t2: Sequence[float], lam, alpha, sigma) -> np.ndarray:
    """``net(x, t)`` predicts noise; states at t1, network told t2; order 4."""
    buffer: list[np.ndarray] = []
    for step in range(len(t1) - 1):
        eps = net(x, t2[step])
        h = lam(t1[step + 1]) - lam(t1[step])
        b = [eps, *buffer[::-1]]
        mixed = (
            b[0],
            (3 * b[0] - b[1]) / 2 if len(b) > 1 else None,
            (23 * b[0] - 16 * b[1] + 5 * b[2]) / 12 if len(b) > 2 else None,
            (55 * b[0] - 59 * b[1] + 37 * b[2] - 9 * b[3]) / 24 if len(b) > 3 else None,
        )[min(4, step + 1) - 1]
        x = alpha(t1[step + 1]) / alpha(t1[step]) * x - sigma(t1[step + 1]) * np.expm1(h) * mixed
        buffer.append(eps)
    return x


def ld3_dpmpp(
    net: Net, x: np.ndarray, t1: Sequence[float], t2: Sequence[float], order: int, lam, alpha, sigma
) -> np.ndarray:
    """The same with DPM-Solver++, ``lower_order_final`` as LD3 runs it; data from noise at the level that is told."""

    def data(x: np.ndarray, t: float) -> np.ndarray:
        return (x - sigma(t) * net(x, t)) / alpha(t)

    steps = len(t1) - 1
    ts, ms = [t1[0]], [data(x, t2[0])]
    for step in range(1, steps + 1):
        now = min(order, step, steps + 1 - step)
        t, s = t1[step], ts[-1]
        h = lam(t) - lam(s)
        phi_1 = np.expm1(-h)
        new = sigma(t) / sigma(s) * x - alpha(t) * phi_1 * ms[-1]
        if now == 2:
            r0 = (lam(s) - lam(ts[-2])) / h
            new = new - 0.5 * alpha(t) * phi_1 * (ms[-1] - ms[-2]) / r0
        if now == 3:
            r0, r1 = (lam(s) - lam(ts[-2])) / h, (lam(ts[-2]) - lam(ts[-3])) / h
            near, far = (ms[-1] - ms[-2]) / r0, (ms[-2] - ms[-3]) / r1
            d1, d2 = near + r0 / (r0 + r1) * (near - far), (near - far) / (r0 + r1)
            phi_2 = phi_1 / h + 1.0
            new = new + alpha(t) * phi_2 * d1 - alpha(t) * (phi_2 / h - 0.5) * d2
        x = new
        ts.append(t)
        ms.append(data(x, t2[step]))
    return x


def s4s(net: Net, x: np.ndarray, t_steps: np.ndarray, c: np.ndarray, a: np.ndarray, lam, alpha, sigma) -> np.ndarray:
    """GAS's copy of S4S, ``not_theory_update``: predictor ``c``, corrector ``a``; data prediction, newest first."""
    models: list[np.ndarray] = []
    for k, (t, t_next) in enumerate(zip(t_steps[:-1], t_steps[1:], strict=True)):
        models = [net(x, t), *models][: c.shape[1]]
        gain = -alpha(t_next) * np.expm1(lam(t) - lam(t_next))
        ratio = sigma(t_next) / sigma(t)
        x_t = ratio * x + gain * sum(w * m for w, m in zip(c[k], models, strict=False))
        x_t = ratio * x_t
        x = x_t + gain * sum(w * m for w, m in zip(a[k], models, strict=False))
    return x

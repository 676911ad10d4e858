"""Stochastic steps of flow models as their authors' codes compute them: mean and deviation from sample and velocity.

Written anew from yifan123/flow_grpo at ac4c86e8 (sd3_sde_with_logprob.py), XueZeyue/DanceGRPO at 15cc71d5
(train_grpo_flux.py, flux_step), IamCreateAI/FlowCPS at 814c3597 (sd3_sde_with_logprob.py),
Tencent-Hunyuan/Precise at 9a84f91b (sde_with_logprob.py) and comfyanonymous/ComfyUI at 4328fa89
(comfy/k_diffusion/sampling.py, sample_euler_ancestral_RF).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def flow_sde(x: Any, u: Any, s: float, late: float, level: float, first_late: float) -> tuple[Any, float]:
    """Flow-GRPO; ``first_late`` is the second sigma of the schedule."""
    rate = math.sqrt(s / (1 - (first_late if s == 1 else s))) * level
    dt = late - s
    mean = x * (1 + rate**2 / (2 * s) * dt) + u * (1 + rate**2 * (1 - s) / (2 * s)) * dt
    return mean, rate * math.sqrt(-dt)


def dance_sde(x: Any, u: Any, s: float, late: float, level: float, first_late: float) -> tuple[Any, float]:
    """DanceGRPO."""
    score = -(x - (x - s * u) * (1 - s)) / s**2
    mean = x + (late - s) * u - 0.5 * level**2 * score * (late - s)
    return mean, level * math.sqrt(s - late)


def _from_estimates(x: Any, u: Any, s: float, late: float, deviation: float) -> tuple[Any, float]:
    mean = (x - s * u) * (1 - late) + (x + u * (1 - s)) * math.sqrt(max(late**2 - deviation**2, 0.0))
    return mean, deviation


def cps(x: Any, u: Any, s: float, late: float, level: float, first_late: float) -> tuple[Any, float]:
    """Coefficients-preserving sampling."""
    return _from_estimates(x, u, s, late, late * math.sin(level * math.pi / 2))


def precise_sde(x: Any, u: Any, s: float, late: float, level: float, first_late: float) -> tuple[Any, float]:
    """Precise."""
    ratio = late * (1 - s) / (s * (1 - late))
    return _from_estimates(x, u, s, late, late * math.sqrt(1 - ratio ** (level**2)))


def dance_precise(x: Any, u: Any, s: float, late: float, level: float, first_late: float) -> tuple[Any, float]:
    """Precise on DanceGRPO's equation."""
    kept = math.exp(-0.5 * level**2 * (1 / late - 1 / s))
    return _from_estimates(x, u, s, late, late * math.sqrt(1 - kept**2))


def euler_ancestral_rf(x: Any, u: Any, s: float, late: float, level: float, first_late: float) -> tuple[Any, float]:
    """ComfyUI's Euler ancestral on flow models."""
    down = late * (1 + (late / s - 1) * level)
    moved = down / s * x + (1 - down / s) * (x - s * u)
    scale = (1 - late) / (1 - down)
    return scale * moved, math.sqrt(late**2 - (down * scale) ** 2)


STEPS: Mapping[str, Callable[..., tuple[Any, float]]] = {
    f.__name__: f for f in (flow_sde, dance_sde, cps, precise_sde, dance_precise, euler_ancestral_rf)
}


def run(step: Callable[..., tuple[Any, float]], velocity: Any, x: Any, sigmas: Any, level: float, draws: Any) -> Any:
    """Sampling loop over ``sigmas`` with the draws of each step."""
    x = np.array(x)
    for i, z in enumerate(draws):
        mean, deviation = step(x, velocity(x, sigmas[i]), sigmas[i], sigmas[i + 1], level, sigmas[1])
        x = mean + deviation * z
    return x


def er_sde(denoise: Any, x: Any, sigmas: Any, draws: Any, cells: int = 200) -> Any:
    """ComfyUI's ``sample_er_sde`` on flow models (at 4328fa89, the same file), with any number of cells."""
    rhos = [s / (1 - s) for s in sigmas]

    def scaled(rho: Any) -> Any:
        return rho * (np.exp(rho**0.3) + 10.0)

    x, values, slopes = np.array(x), [], [None]
    for i, z in enumerate(draws):
        values.append(denoise(x, sigmas[i]))
        rho, late, alpha = rhos[i], rhos[i + 1], 1 - sigmas[i + 1]
        kept = scaled(late) / scaled(rho)
        x = alpha / (1 - sigmas[i]) * kept * x + alpha * (1 - kept) * values[i]
        if i >= 1:
            step = late - rho
            points = late - np.arange(cells) * step / cells
            slopes.append((values[i] - values[i - 1]) / (rho - rhos[i - 1]))
            total = np.sum(1 / scaled(points)) * -step / cells
            x = x + alpha * (step + total * scaled(late)) * slopes[i]
            if i >= 2:
                bend = (slopes[i] - slopes[i - 1]) / ((rho - rhos[i - 2]) / 2)
                total = np.sum((points - rho) / scaled(points)) * -step / cells
                x = x + alpha * (step**2 / 2 + total * scaled(late)) * bend
        x = x + alpha * math.sqrt(late**2 - (rho * kept) ** 2) * z
    return x

"""Stochastic steps of flow models exactly as their authors ship them, in the velocity of flow time."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.algebra.reverse import ReverseSymbols
from diffnum.derivation.flow_sde import LEVELS, end_of
from diffnum.derivation.printing.notation import NOISE, Published, Rows

__all__ = ["PUBLISHED"]


def _level(s: ReverseSymbols, family: str) -> Any:
    return LEVELS[family](s["s_0"], s.power(1, 0), s.power(0, 1), s.square_root)


def _ends(s: ReverseSymbols) -> tuple[Any, Any]:
    """The codes' ``sigma`` and ``sigma_next``."""
    return s["s_0"], end_of(s["s_0"], s.power(1, 0))


def _row(s: ReverseSymbols, state: Any, output: Any, variance: Any) -> Rows:
    """Row from the weights of the sample and of the velocity, ``(sample - D)/sigma``."""
    sigma, late = _ends(s)
    kept = (state + output / sigma) * sigma / late
    return {"x": {"x": kept, "k1": -output / sigma / (1 - late), NOISE: variance / (late * late)}}


def _flow(s: ReverseSymbols, order: int) -> Rows:  # noqa: ARG001
    """Sample (1 + std^2 dt/(2 sigma)) + output (1 + std^2 (1 - sigma)/(2 sigma)) dt, std = a sqrt(sigma/(1-sigma))."""
    sigma, late = _ends(s)
    dt, level = late - sigma, _level(s, "flow_sde")
    squared = level * level * sigma / (1 - sigma)
    mean_of_output = (1 + squared * (1 - sigma) / (2 * sigma)) * dt
    return _row(s, 1 + squared / (2 * sigma) * dt, mean_of_output, -dt * squared)


def _dance(s: ReverseSymbols, order: int) -> Rows:  # noqa: ARG001
    """Sample + dsigma output - eta^2 score dsigma/2, with score = -(sample - (1 - sigma) original)/sigma^2."""
    sigma, late = _ends(s)
    step, level = late - sigma, _level(s, "dance_sde")
    squared = level * level
    # original = sample - sigma output
    on_sample = -(1 - (1 - sigma)) / (sigma * sigma)
    on_output = -((1 - sigma) * sigma) / (sigma * sigma)
    return _row(s, 1 - squared / 2 * on_sample * step, step - squared / 2 * on_output * step, -step * squared)


def _estimates(s: ReverseSymbols, deviation_squared: Any) -> Rows:
    """Original (1 - next) + (sample + (1 - sigma) output) sqrt(next^2 - std^2), as CPS and Precise have it."""
    sigma, late = _ends(s)
    root = s.square_root(late * late - deviation_squared)
    return _row(s, (1 - late) + root, -sigma * (1 - late) + (1 - sigma) * root, deviation_squared)


def _preserving(s: ReverseSymbols, order: int) -> Rows:  # noqa: ARG001
    """Std = next sin(eta pi/2); the sine by the tangent u of half the angle, 2 u/(1 + u^2)."""
    level, late = _level(s, "cps"), _ends(s)[1]
    square = level * level
    return _estimates(s, late * late * 4 * square / ((1 + square) * (1 + square)))


def _ancestral(s: ReverseSymbols, order: int) -> Rows:  # noqa: ARG001
    """Euler to sigma_down; times alpha_next/alpha_down; noise sqrt(next^2 - (down alpha_next/alpha_down)^2)."""
    sigma, late = _ends(s)
    down = late * (1 + (late / sigma - 1) * _level(s, "euler_ancestral_rf"))
    scaled = (1 - late) / (1 - down)
    ratio = down / sigma
    # x ratio + (1 - ratio) denoised, in units of the noise and the signal at the end
    row = {"x": scaled * ratio * sigma / late, "k1": scaled * (1 - ratio) / (1 - late)}
    return {"x": row | {NOISE: 1 - down * down * scaled * scaled / (late * late)}}


_FLOW = "yifan123/flow_grpo at ac4c86e8, sd3_sde_with_logprob.py, sde_step_with_logprob"
_DANCE = "XueZeyue/DanceGRPO at 15cc71d5, fastvideo/train_grpo_flux.py, flux_step"
_CPS = "IamCreateAI/FlowCPS at 814c3597, sd3_sde_with_logprob.py, sde_step_with_logprob"
_COMFY = "comfyanonymous/ComfyUI at 4328fa89, comfy/k_diffusion/sampling.py, sample_euler_ancestral_RF"

PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "flow_sde": (Published(_FLOW, (-1,), (1, 1), _flow),),
        "dance_sde": (Published(_DANCE, (-1,), (1, 1), _dance),),
        "cps": (Published(_CPS, (-1,), (1, 1), _preserving),),
        "euler_ancestral_rf": (Published(_COMFY, (-1,), (1, 1), _ancestral),),
    }
)
"""Family -> formulas."""

r"""Log-densities of steps as codes of reinforcement learning have them, held against the density itself.

What is on record are formulas, written anew here as functions of the residual ``r = x_next - mean``, the standard
deviation of the step and the number of entries of a sample. Three questions are asked of each: does its exponential
integrate to one over an entry, which power of the importance weight is the ratio that it gives, and which multiple of
the Kullback-Leibler divergence is the one that it has. All are 1 for a density that is summed over the entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from diffnum.types import FloatArray

__all__ = ["COPIES", "DensityCopy", "ExaminedDensity", "examined"]

LogDensity = Callable[[FloatArray, float], FloatArray]
"""Of an entry, before the entries are put together: ``f(residual, std)``."""


@dataclass(frozen=True)
class DensityCopy:
    """A formula on record.

    Parameters
    ----------
    source : str
        ``owner/repository at commit, file, function``.
    family : str
        Steps that it scores.
    entry : callable
        Log-density of an entry as the code has it.
    averaged : bool
        Whether the entries are averaged, not summed.
    kl_entry : callable, optional
        ``f(change of the mean, std, length of the step in flow time)``, entry by entry and averaged alike; None where
        the code has none.
    last_step : str
        What it does where the step to the data draws nothing.
    reported : str
        Who wrote of a defect first, where that is known.
    """

    source: str
    family: str
    entry: LogDensity
    averaged: bool
    kl_entry: Callable[[FloatArray, float, float], FloatArray] | None = None
    last_step: str = ""
    reported: str = ""


@dataclass(frozen=True)
class ExaminedDensity:
    """What was found of a formula at one step.

    Parameters
    ----------
    copy : DensityCopy
        Formula.
    mass : float
        Integral of its exponential over one entry; 1 for a density.
    exponent : float
        Its log-ratio over the log of the importance weight.
    kl : float or None
        Its divergence over that of the steps.
    """

    copy: DensityCopy
    mass: float
    exponent: float
    kl: float | None

    @property
    def sound(self) -> bool:
        """Whether it is the log-density of the step."""
        return math.isclose(self.mass, 1.0, rel_tol=1e-6) and math.isclose(self.exponent, 1.0, rel_tol=1e-6)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is wrong, in words; empty if nothing is."""
        found = []
        if not math.isclose(self.mass, 1.0, rel_tol=1e-6):
            found.append(f"its exponential integrates to {self.mass:.3g} over an entry")
        if not math.isclose(self.exponent, 1.0, rel_tol=1e-6):
            found.append(f"its ratio is the importance weight to the power {self.exponent:.3g}")
        if self.kl is not None and not math.isclose(self.kl, 1.0, rel_tol=1e-6):
            found.append(f"its divergence is {self.kl:.3g} of that of the steps")
        return (*found, *([self.copy.last_step] if self.copy.last_step else []))

    def __str__(self) -> str:
        """One line: the source, what is found, who wrote of it first."""
        first = f" (first reported by {self.copy.reported})" if self.copy.reported else ""
        return f"{self.copy.source}: {'; '.join(self.sentences) or 'the log-density of the step'}{first}"


def _normal(r: FloatArray, std: float) -> FloatArray:
    return -(r**2) / (2 * std**2) - math.log(std) - 0.5 * math.log(2 * math.pi)


def _without_constant(r: FloatArray, std: float) -> FloatArray:
    return -(r**2) / (2 * std**2)


def _squared(r: FloatArray, std: float) -> FloatArray:  # noqa: ARG001
    return -(r**2)


def _kl_of_rate(change: FloatArray, std: float, length: float) -> FloatArray:
    """Over twice the squared diffusion, that is std^2 over the length of the step."""
    return change**2 / (2 * std**2 / length)


_FLOW_GRPO = "yifan123/flow_grpo at ac4c86e8, "
_MIX = "Tencent-Hunyuan/MixGRPO at e5cdd6a4, fastvideo/utils/sampling_utils.py, "
_UNIRL = "Tencent-Hunyuan/UniRL at 1a7b501e, unirl/sde/kernels.py, "

COPIES: Final[tuple[DensityCopy, ...]] = (
    DensityCopy(
        f"{_FLOW_GRPO}sd3_sde_with_logprob.py, sde_step_with_logprob; scripts/train_sd3.py",
        "flow_sde", _normal, averaged=True, kl_entry=_kl_of_rate,
        last_step="the step to s = 0 draws noise, which stays in the sample",
    ),
    DensityCopy(
        "XueZeyue/DanceGRPO at 15cc71d5, fastvideo/train_grpo_flux.py, flux_step", "dance_sde", _normal, averaged=True,
        last_step="the step to s = 0 draws noise; the data prediction before it is handed out",
    ),
    DensityCopy(f"{_MIX}flow_grpo_step", "flow_sde", _normal, averaged=True),
    DensityCopy(f"{_MIX}dance_grpo_step", "dance_sde", _without_constant, averaged=True),
    DensityCopy(
        "IamCreateAI/FlowCPS at 814c3597, sd3_sde_with_logprob.py, sde_step_with_logprob",
        "cps", _squared, averaged=True,
        reported="sharonyu-115 in NVIDIA-NeMo/RL#3408, of another copy of this formula",
    ),
    DensityCopy(f"{_UNIRL}FlowSDEStrategy", "flow_sde", _normal, averaged=True),
    DensityCopy(f"{_UNIRL}CPSSDEStrategy", "cps", _squared, averaged=True),
    DensityCopy(
        "Tencent-Hunyuan/Precise at 9a84f91b, sde_with_logprob.py, sde_step_with_logprob", "precise_sde", _normal,
        averaged=True, last_step="the step to s = 0 is scored with a deviation of 1e-6",
    ),
)  # fmt: skip
"""Formulas on record."""


def examined(copy: DensityCopy, std: float = 0.1, entries: int = 64, length: float = 0.1) -> ExaminedDensity:
    """Hold a formula against the density of a step.

    Parameters
    ----------
    copy : DensityCopy
        Formula.
    std : float
        Standard deviation of the step, > 0.
    entries : int
        Entries of a sample, >= 1.
    length : float
        Length of the step in flow time, > 0.

    Returns
    -------
    ExaminedDensity

    Raises
    ------
    ValueError
        If a number is not positive.
    """
    for name, value in (("std", std), ("entries", entries), ("length", length)):
        if not (value > 0 and math.isfinite(value)):
            msg = f"{name}={value}: use a finite number > 0"
            raise ValueError(msg)
    # in units of the width of the formula's own bell, so that a narrow and a wide one are integrated alike
    unit = 1.0 / math.sqrt(2 * float(copy.entry(np.zeros(1), std)[0] - copy.entry(np.ones(1), std)[0]))
    grid = np.linspace(-12.0, 12.0, 2001) * unit
    mass = float(np.trapezoid(np.exp(copy.entry(grid, std)), grid))
    rng = np.random.default_rng(0)
    r = std * rng.standard_normal(entries)
    change = 0.1 * std * rng.standard_normal(entries)
    put = np.mean if copy.averaged else np.sum
    ratio = float(put(copy.entry(r - change, std) - copy.entry(r, std)))
    exact = float(np.sum(_normal(r - change, std) - _normal(r, std)))
    kl = None
    if copy.kl_entry is not None:
        kl = float(np.mean(copy.kl_entry(change, std, length)) / np.mean(change**2 / (2 * std**2)))
    return ExaminedDensity(copy, mass, ratio / exact, kl)

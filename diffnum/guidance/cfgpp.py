"""CFG++: weights that depend on the step, and so belong to a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from diffnum.grids import Grid
from diffnum.guidance.guided import Guided
from diffnum.guidance.record import GuidanceRule
from diffnum.types import Denoiser

__all__ = ["RULES", "cfg_plus_plus"]


def cfg_plus_plus(model: Denoiser, grid: Grid, scale: float, *, unconditional: Denoiser | None = None) -> Guided:
    r"""CFG++: the guided data prediction is noised again with the unconditional noise.

    One step of the paper, :math:`x' = \alpha' D_\omega + \sigma' \epsilon_\emptyset`, is a DDIM step with the weight
    :math:`w = \omega / (1 - e^{-h})`, where h is its length in half-log-SNR. So the method is DDIM on a model that
    depends on the grid, which this function returns; it has no meaning at other times. As steps shrink ``w`` grows like
    1/h: there is no differential equation that the method solves, and more steps mean more guidance.

    Parameters
    ----------
    model : Denoiser
        Conditional model.
    grid : Grid
        Grid of the run.
    scale : float
        Lambda of the paper, between 0 and 1 there.
    unconditional : Denoiser, optional
        As for :func:`classifier_free`.

    Returns
    -------
    Guided
        To be run with the method ``ddim`` on ``grid``.

    References
    ----------
    Chung et al. 2025, arXiv:2406.08070; CFGpp-diffusion/CFGpp at 80353525, latent_diffusion.py, ``BaseDDIMCFGpp``.
    """
    steps = (grid.lam[1:] - grid.lam[:-1]).tolist()
    weights = {t: -scale / math.expm1(-h) for t, h in zip(grid.t.tolist(), steps, strict=False)}
    weights[float(grid.t[-1])] = scale  # the terminal rule that denoises: a step to sigma = 0
    return Guided(model, unconditional, _StepScales(weights))


@dataclass(frozen=True)
class _StepScales:
    """Weights that are known at the nodes of a grid only."""

    weights: Mapping[float, float]

    def __call__(self, t: Any) -> float:
        known = self.weights.get(float(t))
        if known is None:
            nearest = min(self.weights, key=lambda node: abs(node - float(t)))
            if not math.isclose(nearest, float(t), rel_tol=1e-6, abs_tol=1e-9):
                msg = (
                    f"t={float(t)!r} is no node of the grid that CFG++ was made for; its weights depend on the step: "
                    "run the method 'ddim' on that grid, or use classifier_free"
                )
                raise ValueError(msg)
            known = self.weights[nearest]
        return known


def _build(model: Denoiser, scale: Any, *, grid: Grid, unconditional: Denoiser | None = None) -> Guided:
    return cfg_plus_plus(model, grid, scale, unconditional=unconditional)


RULES = MappingProxyType(
    {
        "cfg_plus_plus": GuidanceRule(
            name="cfg_plus_plus",
            title="guided data, unconditional noise: classifier-free guidance of a weight that depends on the step",
            formula=r"M_\emptyset + \frac{\omega}{1 - e^{-h}}\,(M_c - M_\emptyset)",
            source="Chung et al. 2025, algorithm 2",
            cite="chung2025cfgpp",
            build=_build,
            needs=("grid",),
            takes=("unconditional",),
            unguided=math.nan,
            limit=False,
            code="CFGpp-diffusion/CFGpp at 80353525, latent_diffusion.py, BaseDDIMCFGpp",
        )
    }
)

r"""Adaptive projected guidance: only what is at right angles to the prediction is extrapolated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from array_api_compat import array_namespace

from diffnum.guidance.altered import Altered, along, both, check_schedules, unconditional_of
from diffnum.guidance.guided import Scale, beside, check_scale, weight_at
from diffnum.guidance.record import GuidanceRule
from diffnum.jobs.checked import check_name
from diffnum.types import Array, Denoiser

__all__ = ["RULES", "projected"]

BASES = ("conditional", "unconditional")


@dataclass(frozen=True)
class _Projected:
    """Data prediction plus the shortened, projected difference."""

    unconditional: Denoiser | None
    scale: Scale
    parallel: float
    largest: float
    base: str

    def __call__(self, model: Any, x: Array, t: Any) -> Array:
        given, free = both(model, self.unconditional, x, t, "data")
        xp = array_namespace(x)
        gap = given - free
        if math.isfinite(self.largest):
            length = xp.sqrt(along(gap, gap))
            gap = gap * xp.where(length > self.largest, self.largest / xp.where(length > 0.0, length, 1.0), 1.0)
        size = along(given, given)
        kept = (along(gap, given) / xp.where(size > 0.0, size, 1.0)) * given
        turned = gap - (1.0 - self.parallel) * kept
        w = weight_at(self.scale, t)
        if self.base == "conditional":
            return given + beside(w - 1.0, x) * turned
        return free + beside(w, x) * turned


def projected(
    model: Denoiser,
    scale: Scale,
    *,
    unconditional: Denoiser | None = None,
    parallel: float = 0.0,
    largest: float = math.inf,
    base: str = "conditional",
) -> Altered:
    r"""Adaptive projected guidance: :math:`\tilde D = D_c + (w - 1)(\Delta_\perp + \eta\, \Delta_\parallel)`.

    :math:`\Delta = D_c - D_\emptyset`, shortened to a largest length, is split into the part along :math:`D_c` and the
    rest. Data predictions are projected, whatever the models predict: in another prediction the rule is another one.

    Parameters
    ----------
    model, scale, unconditional
        As for :func:`classifier_free`; the scale 1 is no guidance.
    parallel : float
        Share eta of the part along the prediction; 1, with no largest length, is classifier-free guidance.
    largest : float
        Largest Euclidean length of the difference of a sample, > 0.
    base : {"conditional", "unconditional"}
        What the difference is added to: with w - 1 to the conditional prediction, as in the paper, or with w to the
        unconditional one, as diffusers ships it by default, where the scale 1 is not the conditional model.

    Returns
    -------
    Altered
        A model of the data.

    Raises
    ------
    ValueError
        If a number is out of range, or there is no unconditional model.

    Notes
    -----
    The momentum of the paper, a running average over the steps of one run, is left out: with it the result is no
    function of state and time.

    References
    ----------
    Sadat et al. 2025, arXiv:2410.02416, section 4 and algorithm 1; huggingface/diffusers 0.42.1,
    guiders/adaptive_projected_guidance.py, ``normalized_guidance``.
    """
    check_scale(scale)
    check_name("base", base, BASES)
    check_schedules(model, unconditional, "unconditional")
    unconditional_of(model, unconditional)
    if not largest > 0.0:
        msg = f"largest={largest!r} is no length: give a number > 0, or math.inf for none"
        raise ValueError(msg)
    if not math.isfinite(parallel):
        msg = f"parallel={parallel!r} is no share: give a number, 0 for none"
        raise ValueError(msg)
    return Altered(model, _Projected(unconditional, scale, float(parallel), float(largest), base), "data")


RULES = MappingProxyType(
    {
        "projected": GuidanceRule(
            name="projected",
            title="classifier-free guidance at right angles to the prediction (APG)",
            formula=r"D_c + (w-1)\,(\Delta_\perp + \eta\, \Delta_\parallel), \quad \Delta = D_c - D_\emptyset",
            source="Sadat et al. 2025, section 4 and algorithm 1",
            cite="sadat2025projected",
            build=projected,
            takes=("unconditional", "parallel", "largest", "base"),
            code="huggingface/diffusers 0.42.1, guiders/adaptive_projected_guidance.py, normalized_guidance",
            deviations=(
                "momentum over the steps of a run is left out",
                "diffusers projects what the network predicts, and by default adds w times the difference to the "
                "unconditional prediction, so that the scale 1 is not the conditional model",
            ),
        )
    }
)

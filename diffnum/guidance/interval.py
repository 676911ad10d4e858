"""Guidance in a limited interval of noise levels: classifier-free guidance with two edges."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from diffnum.guidance.cfg import classifier_free
from diffnum.guidance.guided import Guided, Scale
from diffnum.guidance.record import GuidanceRule
from diffnum.types import Denoiser

__all__ = ["RULES"]


def _build(model: Denoiser, scale: Scale, *, interval: tuple[float, float], **parts: Any) -> Guided:
    return classifier_free(model, scale, interval=interval, **parts)


RULES = MappingProxyType(
    {
        "interval": GuidanceRule(
            name="interval",
            title="classifier-free guidance between two noise levels",
            formula=r"M_\emptyset + w(t)\,(M_c - M_\emptyset), \quad "
            r"w(t) = w \text{ for } \sigma_1 < \sigma/\alpha \le \sigma_2, \text{ else } 1",
            source="Kynkaanniemi et al. 2024, section 3",
            cite="kynkaanniemi2024interval",
            build=_build,
            needs=("interval",),
            takes=("unconditional",),
            code="kynkaat/guidance-interval at be70a233, sampling/edm_sampler.py",
        )
    }
)

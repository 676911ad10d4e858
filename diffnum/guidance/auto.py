"""Autoguidance: the weak model is a smaller or less trained one, with the condition."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from diffnum.guidance.guided import Guided, Scale
from diffnum.guidance.record import GuidanceRule
from diffnum.jobs.checked import check_model
from diffnum.types import Denoiser

__all__ = ["RULES", "autoguidance"]


def autoguidance(
    model: Denoiser, weak: Denoiser, scale: Scale, *, interval: tuple[float, float] | None = None
) -> Guided:
    """Guidance by a worse version of the same model.

    Parameters
    ----------
    model, weak : Denoiser
        Good model and bad one, both with the same condition and schedule; they may predict different things.
    scale : float or callable
        Weight of the good model; 1 is no guidance.
    interval : tuple of two floats, optional
        As for :func:`classifier_free`.

    Returns
    -------
    Guided

    References
    ----------
    Karras et al. 2024, arXiv:2406.02507; NVlabs/edm2 at 4bf8162f, generate_images.py, ``edm_sampler``.
    """
    check_model(weak, "weak")
    return Guided(model, weak, scale, interval)


def _build(model: Denoiser, scale: Scale, *, weak: Denoiser, interval: Any = None) -> Guided:
    return autoguidance(model, weak, scale, interval=interval)


RULES = MappingProxyType(
    {
        "autoguidance": GuidanceRule(
            name="autoguidance",
            title="away from a smaller or less trained model with the same condition",
            formula=r"M_1 + (w - 1)\,(M_1 - M_0)",
            source="Karras et al. 2024, eq. 3",
            cite="karras2024autoguidance",
            build=_build,
            needs=("weak",),
            takes=("interval",),
            exponent=float,
            code="NVlabs/edm2 at 4bf8162f, generate_images.py, edm_sampler",
        )
    }
)

"""Classifier-free guidance: the weak model is the same network without its condition."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType

from diffnum.guidance.guided import Guided, Scale
from diffnum.guidance.record import GuidanceRule
from diffnum.types import Denoiser

__all__ = ["RULES", "classifier_free"]


def classifier_free(
    model: Denoiser,
    scale: Scale,
    *,
    unconditional: Denoiser | None = None,
    interval: tuple[float, float] | None = None,
    rescale: float = 0.0,
) -> Guided:
    """Classifier-free guidance.

    Parameters
    ----------
    model : Denoiser
        Conditional model: a network with its label or prompt bound, or ``mixture.conditional(k).denoiser(schedule)``.
    scale : float or callable
        Weight w: 1 is the conditional model, 0 the unconditional one. (Ho and Salimans count from 0: their scale is
        w - 1; diffusers' ``guidance_scale`` is w.) A function of time gives a scale schedule: see :class:`Ramp`.
    unconditional : Denoiser, optional
        Unconditional model; ``model.conditioned(None)`` by default. A negative prompt goes here too.
    interval : tuple of two floats, optional
        Noise levels sigma/alpha (low, high) between which there is guidance. The field then jumps at two times, and a
        step across a jump is of first order at best; see :class:`Ramp` for a smooth alternative.
    rescale : float
        Share of the correction of the standard deviation, 0 to 1, in the prediction of the model.

    Returns
    -------
    Guided
        A model: for :func:`diffnum.solve`, :func:`diffnum.sample`, thresholding, and so on.

    References
    ----------
    Ho and Salimans 2022, arXiv:2207.12598, eq. 6; interval: Kynkaanniemi et al. 2024, arXiv:2404.07724;
    kynkaat/guidance-interval at be70a233, sampling/edm_sampler.py; rescaling: Lin et al. 2023, arXiv:2305.08891,
    section 3.4 and eq. 16.
    """
    return Guided(model, unconditional, scale, interval, rescale)


RULES = MappingProxyType(
    {
        "classifier_free": GuidanceRule(
            name="classifier_free",
            title="away from the model without its condition (CFG)",
            formula=r"M_\emptyset + w\,(M_c - M_\emptyset)",
            source="Ho and Salimans 2022, eq. 6, with their scale plus one",
            cite="ho2022classifierfree",
            build=classifier_free,
            takes=("unconditional", "interval", "rescale"),
            exponent=float,
        ),
        "rescaled": GuidanceRule(
            name="rescaled",
            title="classifier-free guidance with the deviation of the conditional prediction",
            formula=r"M_w\,\bigl(\phi\,\operatorname{std}(M_c)/\operatorname{std}(M_w) + 1 - \phi\bigr), "
            r"\quad M_w = M_\emptyset + w\,(M_c - M_\emptyset)",
            source="Lin et al. 2023, section 3.4 and eq. 16",
            cite="lin2024flawed",
            build=partial(classifier_free, rescale=0.7),
            takes=("unconditional", "interval", "rescale"),
            invariant=False,
        ),
    }
)

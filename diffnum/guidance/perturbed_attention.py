r"""Perturbed-attention guidance: away from the same network with its attention map replaced by the identity."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from diffnum.guidance.guided import Guided, Scale, check_scale
from diffnum.guidance.record import GuidanceRule
from diffnum.jobs.checked import check_model
from diffnum.problems import GaussianMixture
from diffnum.problems.mixture import mixture_of
from diffnum.types import Denoiser

__all__ = ["RULES", "degraded", "perturbed_attention"]


def perturbed_attention(
    model: Denoiser, perturbed: Denoiser, scale: Scale, *, interval: tuple[float, float] | None = None
) -> Guided:
    r"""Perturbed-attention guidance: :math:`\tilde\epsilon = \epsilon + s\,(\epsilon - \hat\epsilon)`.

    It is autoguidance of weight 1 + s by a model that is made worse on purpose.

    Parameters
    ----------
    model : Denoiser
        Model that is guided, with or without a condition.
    perturbed : Denoiser
        The same with its attention perturbed: ``diffnum.models.perturbed_attention(model)`` for a network; for a
        mixture a model of worse data, such as those of :func:`degraded`.
    scale : float or callable
        Weight s of the paper; 0 is no guidance.
    interval : tuple of two floats, optional
        As for :func:`classifier_free`.

    Returns
    -------
    Guided

    References
    ----------
    Ahn et al. 2024, arXiv:2403.17377, section 4; KU-CVLAB/Perturbed-Attention-Guidance.
    """
    check_scale(scale)
    check_model(perturbed, "perturbed")
    return Guided(model, perturbed, _OneMore(scale) if callable(scale) else 1.0 + scale, interval)


@dataclass(frozen=True)
class _OneMore:
    """A scale schedule, raised by one."""

    scale: Any

    def __call__(self, t: Any) -> Any:
        return 1.0 + self.scale(t)


def degraded(problem: Any, inflation: float) -> GaussianMixture:
    """Mixture with all covariances enlarged: what a worse model has learned of the data.

    Parameters
    ----------
    problem : GaussianMixture, Gaussian, Mixture1D or RotatedProduct
        The data.
    inflation : float
        Factor of the covariances, > 0; above 1 details are lost.

    Returns
    -------
    GaussianMixture
        With the labels of ``problem``.

    Raises
    ------
    ValueError
        If the factor is not positive.
    """
    if not inflation > 0.0:
        msg = f"inflation={inflation!r} is no factor of variances: give a number > 0, above 1 for a worse model"
        raise ValueError(msg)
    law = mixture_of(problem)
    return GaussianMixture(law.weights, law.means, inflation * law.covariances, law.labels)


def _build(model: Denoiser, scale: Scale, *, perturbed: Denoiser, interval: Any = None) -> Denoiser:
    return perturbed_attention(model, perturbed, scale, interval=interval)


def _exponent(s: float) -> float:
    """Power of the network's density at a scale."""
    return 1.0 + s


RULES = MappingProxyType(
    {
        "perturbed_attention": GuidanceRule(
            name="perturbed_attention",
            title="away from the network without attention maps (PAG)",
            formula=r"\epsilon + s\,(\epsilon - \hat\epsilon)",
            source="Ahn et al. 2024, section 4",
            cite="ahn2024perturbed",
            build=_build,
            needs=("perturbed",),
            takes=("interval",),
            unguided=0.0,
            exponent=_exponent,
            code="KU-CVLAB/Perturbed-Attention-Guidance",
        )
    }
)

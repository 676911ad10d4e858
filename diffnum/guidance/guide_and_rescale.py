r"""Guide-and-Rescale: gradients of energies, kept in proportion to the classifier-free term; and inversion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace

from diffnum.forms import predict
from diffnum.grids import Grid
from diffnum.guidance.altered import Altered, along, both, check_schedules, unconditional_of
from diffnum.guidance.guided import Scale, beside, check_scale, weight_at
from diffnum.guidance.record import GuidanceRule
from diffnum.types import Array, Denoiser

__all__ = ["RULES", "Guider", "ddim_inversion", "guide_and_rescale"]

Guider: TypeAlias = Callable[[Array, Any], Array]
"""``guider(x, t)``: gradient of an energy by the state, in the shape of the state."""


@dataclass(frozen=True)
class _Rescaled:
    """Classifier-free noise plus the guiders, whose length is brought between two shares of its term."""

    unconditional: Denoiser | None
    scale: Scale
    guiders: tuple[Guider, ...]
    bounds: tuple[float, float]

    def __call__(self, model: Any, x: Array, t: Any) -> Array:
        given, free = both(model, self.unconditional, x, t, "noise")
        term = beside(weight_at(self.scale, t), x) * (given - free)
        pull = self.guiders[0](x, t)
        for guider in self.guiders[1:]:
            pull = pull + guider(x, t)
        xp = array_namespace(x)
        own, other = xp.sqrt(along(term, term)), xp.sqrt(along(pull, pull))
        share = other / xp.where(own > 0.0, own, 1.0)
        share = xp.where(own > 0.0, share, 1.0)
        kept = xp.clip(share, min=self.bounds[0], max=self.bounds[1])
        return free + term + (kept / xp.where(share > 0.0, share, 1.0)) * pull


def guide_and_rescale(
    model: Denoiser,
    scale: Scale,
    guiders: Sequence[Guider],
    *,
    unconditional: Denoiser | None = None,
    bounds: tuple[float, float] = (0.33, 3.0),
) -> Altered:
    r"""Guide-and-Rescale: classifier-free guidance plus energies, :math:`\tilde\epsilon = \epsilon_w + \gamma\, G`.

    Here :math:`\epsilon_w = \epsilon_\emptyset + w\,(\epsilon_c - \epsilon_\emptyset)`, G is the sum of the guiders,
    gradients of energies by the state, and :math:`\gamma` makes the ratio of its length to that of the classifier-free
    term, :math:`\lVert G \rVert / \lVert w(\epsilon_c - \epsilon_\emptyset) \rVert`, lie between the bounds. So the
    length of the energy does not matter outside of them, only its direction.

    Parameters
    ----------
    model, unconditional
        As for :func:`classifier_free`.
    scale : float or callable
        Weight w.
    guiders : sequence of callable
        See :data:`Guider`. Energies that are small at what is wanted; they are added to the noise, so that a step goes
        down.
    bounds : tuple of two floats
        Least and largest ratio of the lengths, 0 <= low <= high.

    Returns
    -------
    Altered
        A model of the noise.

    Raises
    ------
    ValueError
        If there is no guider, or the bounds are no range.

    Notes
    -----
    Lengths are taken sample by sample. The authors' code takes one over the batch, which is the same for one sample.

    References
    ----------
    Titov et al. 2024, arXiv:2409.01322, section 4; AIRI-Institute/Guide-and-Rescale at 3792aa8a,
    diffusion_core/guiders/noise_rescales.py, ``RangeNoiseRescaler``.
    """
    check_scale(scale)
    check_schedules(model, unconditional, "unconditional")
    unconditional_of(model, unconditional)
    chosen = tuple(guiders)
    if not chosen or not all(callable(guider) for guider in chosen):
        msg = f"guiders={guiders!r}: give one or more functions guider(x, t), gradients of energies by the state"
        raise ValueError(msg)
    low, high = bounds
    if not 0.0 <= low <= high or math.isinf(low):
        msg = f"bounds={bounds!r} is no range of ratios: give (low, high), 0 <= low <= high"
        raise ValueError(msg)
    return Altered(model, _Rescaled(unconditional, scale, chosen, (float(low), float(high))), "noise")


def ddim_inversion(model: Denoiser, grid: Grid, x: Array) -> Array:
    r"""Carry data back to noise by DDIM steps that take the noise where they start, not where they end.

    The step from t to a noisier s, :math:`x_s = \alpha_s D(x_t, t) + \sigma_s \epsilon(x_t, t)`, is what editing
    methods invert a picture by. It is no inverse of the DDIM step from s to t, which evaluates at s: the round trip has
    an error of first order in the step. :func:`diffnum.invert` solves for the inverse.

    Parameters
    ----------
    model : Denoiser
        The model.
    grid : Grid
        Of the run that it prepares; steps are taken from its end to its start.
    x : array, shape (batch, ...)
        States at the last node.

    Returns
    -------
    array, shape of ``x``
        States at the first node.

    Raises
    ------
    ValueError
        If a prediction does not exist at a node.

    References
    ----------
    Titov et al. 2024, arXiv:2409.01322, section 3; AIRI-Institute/Guide-and-Rescale at 3792aa8a,
    diffusion_core/inversion.
    """
    schedule = model.schedule
    times = np.asarray(grid.t, dtype=float)
    for t, s in zip(times[:0:-1].tolist(), times[-2::-1].tolist(), strict=True):
        noise = predict(model, x, t, "noise")
        ratio = float(schedule.alpha(s)) / float(schedule.alpha(t))
        x = ratio * x + (float(schedule.sigma(s)) - ratio * float(schedule.sigma(t))) * noise
    return x


def _build(model: Denoiser, scale: Scale, *, guiders: Sequence[Guider], **options: Any) -> Denoiser:
    return guide_and_rescale(model, scale, guiders, **options)


RULES = MappingProxyType(
    {
        "guide_and_rescale": GuidanceRule(
            name="guide_and_rescale",
            title="gradients of energies in proportion to the classifier-free term",
            formula=r"\epsilon_\emptyset + w\,(\epsilon_c - \epsilon_\emptyset) + \gamma\, \nabla_x E, \quad "
            r"\frac{\gamma \lVert \nabla E \rVert}{w \lVert \epsilon_c - \epsilon_\emptyset \rVert} \in [r_1, r_2]",
            source="Titov et al. 2024, section 4",
            cite="titov2024guide",
            build=_build,
            needs=("guiders",),
            takes=("unconditional", "bounds"),
            code="AIRI-Institute/Guide-and-Rescale at 3792aa8a, diffusion_core/guiders/noise_rescales.py, "
            "RangeNoiseRescaler",
            deviations=("lengths are taken sample by sample; the code takes one over the batch",),
        )
    }
)

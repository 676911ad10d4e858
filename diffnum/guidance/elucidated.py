r"""Guidance by an off-the-shelf classifier of clean data, applied to the predicted data (EluCD)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from array_api_compat import array_namespace

from diffnum.forms import conversion, predict
from diffnum.guidance.altered import Altered, Told
from diffnum.guidance.classifier import (
    Classifier,
    Label,
    check_classifier,
    check_label_source,
    log_softmax,
    one_hot,
    split,
)
from diffnum.guidance.guided import Scale, beside, check_scale, weight_at
from diffnum.guidance.record import GuidanceRule
from diffnum.solver.pullbacks import pullback_of
from diffnum.types import Array, Denoiser

__all__ = ["RULES", "clean_classifier_guidance"]


@dataclass(frozen=True)
class _ByClean:
    """Noise less sigma times the gradient of a tempered log-probability of the predicted data."""

    classifier: Classifier
    scale: Scale
    label: Any
    temperatures: tuple[float, float]
    jacobian: bool

    def __call__(self, model: Any, x: Array, t: Any) -> Array:
        base, label = split(model, self.label)
        schedule = model.schedule
        if self.jacobian:
            value, back = pullback_of(base, "x")(x, t, "x")
        else:
            value, back = base(x, t), None
        told = Told(value, base.prediction, schedule)
        data, noise = (predict(told, x, t, to) for to in ("data", "noise"))
        logits = self.classifier(data, None)
        joint, marginal = self.temperatures
        chosen = joint * one_hot(logits, label)
        chosen = chosen - marginal * array_namespace(logits).exp(log_softmax(marginal * logits))
        gradient = self.classifier.vjp(data, None, chosen)
        if back is not None:
            straight, through = conversion(base.prediction, "data", schedule.alpha(t), schedule.sigma(t))
            gradient = beside(straight, x) * gradient + back(beside(through, x) * gradient)[0]
        return noise - beside(weight_at(self.scale, t) * schedule.sigma(t), x) * gradient


def clean_classifier_guidance(
    model: Denoiser,
    classifier: Classifier,
    scale: Scale,
    *,
    label: Label | None = None,
    temperatures: tuple[float, float] = (1.0, 0.5),
    jacobian: bool = False,
) -> Altered:
    r"""Guidance by a classifier of clean data: :math:`\tilde\epsilon = \epsilon - w\, \sigma\, g`.

    Here :math:`g = \nabla [\tau_1 z_y - \log \sum_k e^{\tau_2 z_k}]`, with the logits z of the predicted data D. As
    published the gradient is by D and is used as if it were by the state; with ``jacobian`` it is that by the state,
    :math:`(\partial D / \partial x)^T g`. Neither is :math:`\nabla \log p(k \mid x_t)`, which averages the
    probabilities over :math:`p(x_0 \mid x_t)` before it takes the logarithm.

    Parameters
    ----------
    model, label
        As for :func:`classifier_guidance`.
    classifier : Classifier
        Of clean data: it is called with ``t=None``.
    scale : float or callable
        Weight w; 0 is no guidance.
    temperatures : tuple of two floats
        Joint and marginal (inverse) temperatures, tau_1 and tau_2.
    jacobian : bool
        Carry the gradient to the state through the model, which must offer products with its Jacobian.

    Returns
    -------
    Altered
        A model of the noise.

    Raises
    ------
    TypeError
        If the classifier is none.
    ValueError
        If the label is unknown to it, or a temperature is not positive.

    References
    ----------
    Ma et al. 2023, arXiv:2310.11311; AlexMaOLS/EluCD at 0b79a4ec, DDPM/scripts/classifier_sample.py,
    ``design_cond_fn``, and DDPM/guided_diffusion/gaussian_diffusion.py, ``p_sample``.
    """
    check_scale(scale)
    check_classifier(classifier, label)
    check_label_source(model, label)
    if not all(math.isfinite(tau) and tau > 0.0 for tau in temperatures):
        msg = f"temperatures={temperatures!r}: give two numbers > 0, such as (1.0, 0.5)"
        raise ValueError(msg)
    joint, marginal = (float(tau) for tau in temperatures)
    return Altered(model, _ByClean(classifier, scale, label, (joint, marginal), jacobian), "noise")


def _build(model: Denoiser, scale: Scale, *, classifier: Classifier, **options: Any) -> Denoiser:
    return clean_classifier_guidance(model, classifier, scale, **options)


RULES = MappingProxyType(
    {
        "clean_classifier": GuidanceRule(
            name="clean_classifier",
            title="gradient of a classifier of clean data at the predicted data (EluCD)",
            formula=r"\epsilon - w\, \sigma\, \nabla_{D} "
            r"\bigl[\tau_1 z_y(D) - \log \textstyle\sum_k e^{\tau_2 z_k(D)}\bigr]",
            source="Ma et al. 2023, section 3",
            cite="ma2023elucidating",
            build=_build,
            needs=("classifier",),
            judges="data",
            takes=("label", "temperatures", "jacobian"),
            unguided=0.0,
            exponent=float,
            code="AlexMaOLS/EluCD at 0b79a4ec, DDPM/scripts/classifier_sample.py, design_cond_fn",
            deviations=(
                "the code adds gamma times the largest posterior variance times sin(pi t/T) to the weight: here a "
                "scale that is a function of time",
                "softplus in place of ReLU is a matter of the classifier",
            ),
        )
    }
)

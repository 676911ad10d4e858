r"""Gradient-free classifier guidance: a classifier chooses the class to move away from, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from array_api_compat import array_namespace

from diffnum.forms import predict
from diffnum.guidance.altered import Altered, Told, check_schedules
from diffnum.guidance.classifier import Classifier, Label, check_classifier, log_softmax, one_hot
from diffnum.guidance.guided import Scale, beside, check_scale, weight_at
from diffnum.guidance.record import GuidanceRule
from diffnum.types import Array, Denoiser

__all__ = ["RULES", "gradient_free"]


@dataclass(frozen=True)
class _Confused:
    """Away from the class, other than the wanted one, that the classifier finds likeliest in the predicted data."""

    classifier: Classifier
    scale: Scale
    label: Any
    classes: tuple[Denoiser, ...] | None

    def __call__(self, model: Any, x: Array, t: Any) -> Array:
        xp = array_namespace(x)
        label = model.labels if self.label is None else self.label
        if label is None:
            msg = "label=None, and the model has no label bound: use model.conditioned(label), or give label="
            raise ValueError(msg)
        own = model(x, t)
        data = predict(Told(own, model.prediction, model.schedule), x, t, "data")
        logs = log_softmax(self.classifier(data, None))
        wanted = one_hot(logs, label)
        confidence = xp.sum(wanted * xp.exp(logs), axis=1)
        other = xp.argmax(logs - 1e30 * wanted, axis=1)
        weight = beside(weight_at(self.scale, t) * (1.0 - confidence), x)
        return own + weight * (own - self._reference(model, x, t, other))

    def _reference(self, model: Any, x: Array, t: Any, other: Array) -> Array:
        """Prediction of a class for each sample, as the model predicts."""
        if self.classes is None:
            return predict(model.conditioned(other), x, t, model.prediction)
        xp = array_namespace(x)
        found = xp.zeros_like(x)
        for k, law in enumerate(self.classes):
            here = beside(xp.astype(other == k, x.dtype), x)
            if bool(xp.any(other == k)):
                found = found + here * predict(law, x, t, model.prediction)
        return found


def gradient_free(
    model: Denoiser,
    classifier: Classifier,
    scale: Scale,
    *,
    label: Label | None = None,
    classes: Sequence[Denoiser] | None = None,
) -> Altered:
    r"""Gradient-free classifier guidance: :math:`\tilde M = M_c + w_t\, (M_c - M_r)`.

    The reference class r is, sample by sample and step by step, the likeliest one besides c of the predicted data; the
    weight falls with the confidence, :math:`w_t = w\,(1 - p(c \mid D))`. No gradient is taken.

    Parameters
    ----------
    model : Denoiser
        Conditional model: a network with its label bound, or that of a class.
    classifier : Classifier
        Of clean data: it is called with ``t=None``.
    scale : float or callable
        Weight w; 0 is no guidance.
    label : int, sequence of int or array, shape (n,), optional
        Class c; the label that is bound to the model by default.
    classes : sequence of Denoiser, optional
        Model of each class, in the order of the labels; ``model.conditioned(r)`` by default.

    Returns
    -------
    Altered
        A model of what ``model`` predicts. Its field jumps where the reference class changes.

    Raises
    ------
    TypeError
        If the classifier is none.
    ValueError
        If the label is unknown to it, classes are missing, or there is only one.

    Notes
    -----
    That the class and the scale are chosen by the classifier, in inference alone, is the paper's. Only its abstract was
    at hand: the dependence of the scale on the confidence is ours, the simplest that vanishes where the class is
    certain.

    References
    ----------
    Shenoy et al. 2024, arXiv:2411.15393.
    """
    check_scale(scale)
    check_classifier(classifier, label)
    if classifier.num_classes < 2:
        msg = "classifier knows one class: there is no other to move away from"
        raise ValueError(msg)
    if classes is not None:
        if len(classes) != classifier.num_classes:
            msg = f"classes has {len(classes)} models; the classifier knows {classifier.num_classes} labels"
            raise ValueError(msg)
        for law in classes:
            check_schedules(model, law, "classes")
    elif not hasattr(model, "conditioned"):
        msg = "classes=None: the model has no conditioned(label); give classes=, the model of each class"
        raise ValueError(msg)
    if label is None and not hasattr(model, "labels"):
        msg = "label=None: no label can be bound to the model; give label=, the class to be guided to"
        raise ValueError(msg)
    rule = _Confused(classifier, scale, label, None if classes is None else tuple(classes))
    return Altered(model, rule, model.prediction)


def _build(model: Denoiser, scale: Scale, *, classifier: Classifier, **parts: Any) -> Denoiser:
    return gradient_free(model, classifier, scale, **parts)


RULES = MappingProxyType(
    {
        "gradient_free": GuidanceRule(
            name="gradient_free",
            title="away from the most confusing class, by the confidence of a classifier",
            formula=r"M_c + w\,(1 - p(c \mid D))\,(M_c - M_r), \quad r = \arg\max_{k \ne c} p(k \mid D)",
            source="Shenoy et al. 2024, abstract",
            cite="shenoy2024gradientfree",
            build=_build,
            needs=("classifier",),
            judges="data",
            takes=("label", "classes"),
            unguided=0.0,
            deviations=(
                "how the scale follows from the confidence is ours, the simplest such rule: only the abstract was read",
            ),
        )
    }
)

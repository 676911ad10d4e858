r"""Classifier guidance: the score of a label, added to that of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.forms import predict
from diffnum.guidance.altered import Altered
from diffnum.guidance.guided import Scale, beside, check_scale, weight_at
from diffnum.guidance.record import GuidanceRule
from diffnum.types import Array, Denoiser

__all__ = ["RULES", "Classifier", "check_classifier", "classifier_guidance", "log_softmax", "picked"]


@runtime_checkable
class Classifier(Protocol):
    """What guidance asks of a classifier: logits of noisy states or of data, and their products with derivatives."""

    @property
    def num_classes(self) -> int:
        """Number of labels, K."""

    def __call__(self, x: Array, t: Any) -> Array:
        """Logits, shape (n, K), of states ``x`` at time ``t``; ``t=None`` for data."""

    def vjp(self, x: Array, t: Any, cotangent: Array) -> Array:
        """Gradient by ``x`` of the sum of logits times ``cotangent``, shape (n, K); the shape of ``x``."""


Label: TypeAlias = int | Sequence[int] | Array
"""One label, or one a sample."""


@dataclass(frozen=True)
class _ByClassifier:
    """Noise less sigma times the gradient of the log-probability of a label."""

    classifier: Classifier
    scale: Scale
    label: Any

    def __call__(self, model: Any, x: Array, t: Any) -> Array:
        base, label = split(model, self.label)
        noise = predict(base, x, t, "noise")
        chosen = picked(self.classifier(x, t), label)
        weight = beside(weight_at(self.scale, t) * model.schedule.sigma(t), x)
        return noise - weight * self.classifier.vjp(x, t, chosen)


def classifier_guidance(
    model: Denoiser, classifier: Classifier, scale: Scale, *, label: Label | None = None
) -> Altered:
    r"""Classifier guidance: :math:`\tilde\epsilon = \epsilon - w\, \sigma\, \nabla_x \log p(k \mid x_t)`.

    With the exact classifier of an exact model this is classifier-free guidance of the same weight, at every state.

    Parameters
    ----------
    model : Denoiser
        Without ``label``: a conditional network with its label bound, which gives the label and is evaluated without
        it. With ``label``: the model that is guided, as it is.
    classifier : Classifier
        Of noisy states.
    scale : float or callable
        Weight w; 0 is no guidance, 1 the model given the label.
    label : int, sequence of int or array, shape (n,), optional
        Class to be guided to.

    Returns
    -------
    Altered
        A model of the noise.

    Raises
    ------
    TypeError
        If the classifier is none.
    ValueError
        If the label is unknown to it.

    References
    ----------
    Dhariwal and Nichol 2021, arXiv:2105.05233, section 4 and algorithm 2.
    """
    check_scale(scale)
    check_classifier(classifier, label)
    check_label_source(model, label)
    return Altered(model, _ByClassifier(classifier, scale, label), "noise")


def check_classifier(classifier: Any, label: Any) -> None:
    """Refuse what is no classifier, and labels that it does not know.

    Raises
    ------
    TypeError, ValueError
        With what to pass.
    """
    if not isinstance(classifier, Classifier):
        msg = (
            f"classifier is a {type(classifier).__name__}: pass a classifier with num_classes, a call (x, t) and "
            "vjp(x, t, cotangent), such as diffnum.guidance.BayesClassifier(mixture, schedule)"
        )
        raise TypeError(msg)
    if label is None:
        return
    values = np.asarray(label.cpu() if hasattr(label, "cpu") else label)
    if not np.issubdtype(values.dtype, np.integer) or values.size == 0:
        msg = f"label={label!r}: give whole numbers, one for all samples or one each"
        raise ValueError(msg)
    if np.any((values < 0) | (values >= classifier.num_classes)):
        msg = f"label={label!r}: the classifier knows the labels 0 to {classifier.num_classes - 1}"
        raise ValueError(msg)


def check_label_source(model: Any, label: Any) -> None:
    """Refuse a model that has no label to guide to, where none is given.

    Raises
    ------
    ValueError
        With the remedy.
    """
    if label is None and not (hasattr(model, "labels") and hasattr(model, "conditioned")):
        msg = (
            f"label=None: the model is a {type(model).__name__}, to which no label can be bound; give label=, the "
            "class to be guided to"
        )
        raise ValueError(msg)


def split(model: Any, label: Any) -> tuple[Any, Any]:
    """Model that is evaluated, and label: those given, or the model without the label that is bound to it.

    Raises
    ------
    ValueError
        If no label is bound.
    """
    if label is not None:
        return model, label
    if model.labels is None:
        msg = "label=None, and the model has no label bound: use model.conditioned(label), or give label="
        raise ValueError(msg)
    return model.conditioned(None), model.labels


def picked(logits: Array, label: Any) -> Array:
    """Derivative of the log-probability of the labels by the logits, shape (n, K)."""
    xp = array_namespace(logits)
    return one_hot(logits, label) - xp.exp(log_softmax(logits))


def one_hot(logits: Array, label: Any) -> Array:
    """One at the label of each sample, in the kind of the logits."""
    xp = array_namespace(logits)
    wanted = xp.asarray(label, device=device(logits)) if not hasattr(label, "to") else label.to(logits.device)
    wanted = xp.broadcast_to(xp.reshape(wanted, (-1, 1)), (logits.shape[0], 1))
    return xp.astype(xp.arange(logits.shape[1], device=device(logits))[None, :] == wanted, logits.dtype)


def log_softmax(logits: Array) -> Array:
    """Logarithms of probabilities from logits, shape (n, K)."""
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def _build(model: Denoiser, scale: Scale, *, classifier: Classifier, label: Any = None) -> Denoiser:
    return classifier_guidance(model, classifier, scale, label=label)


RULES = MappingProxyType(
    {
        "classifier": GuidanceRule(
            name="classifier",
            title="gradient of a classifier of noisy states",
            formula=r"\epsilon - w\, \sigma\, \nabla_x \log p(k \mid x_t)",
            source="Dhariwal and Nichol 2021, section 4 and algorithm 2",
            cite="dhariwal2021diffusion",
            build=_build,
            needs=("classifier",),
            judges="states",
            takes=("label",),
            unguided=0.0,
            exponent=float,
        )
    }
)

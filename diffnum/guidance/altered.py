"""A model whose prediction is altered by a rule: what rules that are no plain extrapolation return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from array_api_compat import array_namespace

from diffnum.forms import predict
from diffnum.guidance.of_main import OfMain
from diffnum.jobs.checked import check_model
from diffnum.jobs.shown import facts_html
from diffnum.types import Array, Denoiser, Prediction, Schedule

__all__ = ["Alteration", "Altered", "Told", "along", "both", "check_schedules", "unconditional_of"]

Alteration: TypeAlias = Callable[[Any, Array, Any], Array]
"""``rule(model, x, t)``: the altered prediction."""


@dataclass(frozen=True)
class Altered(OfMain):
    """A guided model; a :class:`diffnum.types.Denoiser`.

    Attributes that are not its own (``sample_shape``, ``dtype``, ``to_image``, ...) are those of the main model.

    Parameters
    ----------
    main : Denoiser
        Model that is guided.
    rule : callable
        See :data:`Alteration`.
    prediction : {"data", "noise", "velocity", "score", "v"}
        What the rule returns.
    """

    main: Denoiser
    rule: Alteration
    prediction: Prediction

    def __post_init__(self) -> None:
        check_model(self.main)

    def _repr_html_(self) -> str:
        return facts_html({"main": self.main, "rule": self.rule, "prediction": self.prediction}, "guided model")

    def __call__(self, x: Array, t: Any) -> Array:
        """Predict at states ``x``, shape (batch, ...), and time ``t``, a number or shape (batch,)."""
        return self.rule(self.main, x, t)


def unconditional_of(model: Any, given: Denoiser | None) -> Any:
    """Unconditional model: the one that was given, or the model without its condition.

    Raises
    ------
    ValueError
        If there is none.
    """
    if given is not None:
        return given
    if not hasattr(model, "conditioned"):
        msg = (
            "unconditional=None: the model has no conditioned(None) to take the unconditional prediction from; "
            "pass the unconditional model"
        )
        raise ValueError(msg)
    return model.conditioned(None)


@dataclass(frozen=True, eq=False)
class Told:
    """A model whose prediction at one state is known already.

    Parameters
    ----------
    value : array
        The prediction.
    prediction : {"data", "noise", "velocity", "score", "v"}
        What it is.
    schedule : Schedule
        Its process.
    """

    value: Array
    prediction: Prediction
    schedule: Schedule

    def __call__(self, x: Array, t: Any) -> Array:  # noqa: ARG002
        """The known prediction."""
        return self.value


def both(model: Any, given: Denoiser | None, x: Array, t: Any, to: Prediction) -> tuple[Array, Array]:
    """Predictions of the model and of the unconditional one, in one pass where the model offers that."""
    if given is None and hasattr(model, "with_unconditional"):
        pair = model.with_unconditional(x, t)
        first, second = (predict(Told(value, model.prediction, model.schedule), x, t, to) for value in pair)
        return first, second
    return predict(model, x, t, to), predict(unconditional_of(model, given), x, t, to)


def check_schedules(model: Denoiser, other: Denoiser | None, name: str) -> None:
    """Refuse models that are not noised by one process.

    Raises
    ------
    ValueError
        With both schedules.
    """
    if other is not None:
        check_model(other, name)
        if other.schedule != model.schedule:
            msg = (
                f"model and {name} have different schedules, {model.schedule!r} and {other.schedule!r}: guidance "
                "combines predictions at the same time"
            )
            raise ValueError(msg)


def along(a: Array, b: Array) -> Array:
    """Inner product of each sample, shape (batch, 1, ...)."""
    return array_namespace(a).sum(a * b, axis=tuple(range(1, a.ndim)), keepdims=True)

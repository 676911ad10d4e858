"""The guided model: a main model and a weak one, extrapolated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from array_api_compat import array_namespace, is_array_api_obj

from diffnum.forms import predict
from diffnum.guidance.of_main import OfMain
from diffnum.jobs.checked import check_model
from diffnum.jobs.shown import facts_html
from diffnum.solver.pullbacks import Back, Wrt, pullback_of
from diffnum.types import Array, Denoiser, Prediction

__all__ = ["Guided", "Scale", "beside", "check_scale", "weight_at"]

Scale: TypeAlias = float | Callable[[float], float]
"""Weight of the main model, or a function of time that gives it."""


@dataclass(frozen=True)
class Guided(OfMain):
    """A model guided by a weaker one; a :class:`diffnum.types.Denoiser`.

    Attributes that are not its own (``sample_shape``, ``dtype``, ``to_image``, ...) are those of the main model.

    Parameters
    ----------
    main : Denoiser
        Model that is followed.
    weak : Denoiser or None
        Model that is moved away from; None for ``main.conditioned(None)``, evaluated in one pass with ``main`` where
        it offers ``with_unconditional``.
    scale : float or callable
        Weight w of the main model; 1 is no guidance. A function takes the time and returns the weight.
    interval : tuple of two floats, optional
        Noise levels sigma/alpha, ``low < sigma/alpha <= high``, between which there is guidance; outside only the main
        model is evaluated.
    rescale : float
        Share, 0 to 1, of the correction that gives every sample the standard deviation of the main prediction.

    Raises
    ------
    ValueError
        If a number is out of range, the schedules of the models differ, or there is no weak model.
    """

    main: Denoiser
    weak: Denoiser | None
    scale: Scale
    interval: tuple[float, float] | None = None
    rescale: float = 0.0

    def _repr_html_(self) -> str:
        weak = "the same model, unconditional" if self.weak is None else self.weak
        given = {"main": self.main, "weak": weak, "scale": self.scale, "interval": self.interval}
        return facts_html({**given, "rescale": self.rescale}, "guided model")

    def __post_init__(self) -> None:
        check_model(self.main, "model")
        if self.weak is not None:
            check_model(self.weak, "weak")
        check_scale(self.scale)
        if self.interval is not None and not 0.0 <= self.interval[0] < self.interval[1]:
            msg = (
                f"interval={self.interval!r} is no range of noise levels: give (low, high) in sigma/alpha, "
                "0 <= low < high"
            )
            raise ValueError(msg)
        if not 0.0 <= self.rescale <= 1.0:
            msg = f"rescale={self.rescale!r} is not between 0 (off) and 1; 0.7 is usual"
            raise ValueError(msg)
        if self.weak is None and not hasattr(self.main, "conditioned"):
            msg = (
                "unconditional=None: the model has no conditioned(None) to take the unconditional prediction from; "
                "pass the unconditional model"
            )
            raise ValueError(msg)
        if self.weak is not None and self.weak.schedule != self.main.schedule:
            msg = (
                f"the models have different schedules, {self.main.schedule!r} and {self.weak.schedule!r}: guidance "
                "combines predictions at the same time"
            )
            raise ValueError(msg)

    @property
    def prediction(self) -> Prediction:
        """What the main model predicts."""
        return self.main.prediction

    def weight(self, t: Any) -> Any:
        """Weight of the main model at time ``t``: a float, or an array for an array of times."""
        w = weight_at(self.scale, t)
        if self.interval is None:
            return w
        low, high = self.interval
        lam = self.schedule.half_log_snr(t)
        bounds = -math.log(high) if high < math.inf else -math.inf, -math.log(low) if low > 0.0 else math.inf
        inside = (lam >= bounds[0]) & (lam < bounds[1])
        if is_array_api_obj(inside):
            xp = array_namespace(inside)
            return xp.where(inside, w, xp.ones_like(lam))
        return w if inside else 1.0

    def __call__(self, x: Array, t: Any) -> Array:
        """Predict at states ``x``, shape (batch, ...), and time ``t``, a number or shape (batch,)."""
        w = self.weight(t)
        if isinstance(w, float | int) and w == 1.0:
            return self.main(x, t)
        main, weak = self._both(x, t)
        guided = weak + beside(w, x) * (main - weak)
        return _rescaled(guided, main, self.rescale) if self.rescale else guided

    def jvp(self, x: Array, t: Any, tangent: Array) -> Array:
        """Jacobian-vector product of the prediction, where both models offer theirs.

        Parameters
        ----------
        x : array, shape (batch, ...)
            States.
        t : float or array, shape (batch,)
            Time.
        tangent : array, shape of ``x``
            Direction.

        Raises
        ------
        ValueError
            If the prediction is rescaled: that couples the entries of a sample.
        """
        main, weak = self._differentiable()
        a, b = (model.jvp(x, t, tangent) for model in (main, weak))
        return b + beside(self.weight(t), x) * (a - b)

    def pullback(self, x: Array, t: Any, wrt: Wrt) -> tuple[Array, Back]:
        """Prediction, and products with its transposed Jacobian, where both models offer theirs.

        Gradients by parameters or condition are those of the main model.

        Raises
        ------
        ValueError
            If the prediction is rescaled, or the models predict different things.
        """
        main, weak = self._differentiable()
        w = self.weight(t)
        first, first_back = pullback_of(main, wrt)(x, t, wrt)
        if isinstance(w, float | int) and w == 1.0:
            return first, first_back
        second, second_back = pullback_of(weak, "x")(x, t, "x")
        w = beside(w, x)

        def back(cotangent: Array) -> tuple[Array, Mapping[str, Array]]:
            at, named = first_back(w * cotangent)
            return at + second_back((1.0 - w) * cotangent)[0], named

        return second + w * (first - second), back

    def _differentiable(self) -> tuple[Any, Any]:
        """Main and weak model, if the prediction is a plain combination of theirs."""
        if self.rescale:
            msg = f"rescale={self.rescale}: the Jacobian of a rescaled prediction is not offered"
            raise ValueError(msg)
        main: Any = self.main
        weak = self._weak()
        if weak.prediction != main.prediction:
            msg = f"the models predict {main.prediction!r} and {weak.prediction!r}: give both the same"
            raise ValueError(msg)
        return main, weak

    def _weak(self) -> Any:
        main: Any = self.main
        return main.conditioned(None) if self.weak is None else self.weak

    def _both(self, x: Array, t: Any) -> tuple[Array, Array]:
        main: Any = self.main
        if self.weak is None and hasattr(main, "with_unconditional"):
            conditional, unconditional = main.with_unconditional(x, t)
            return conditional, unconditional
        return main(x, t), predict(self._weak(), x, t, main.prediction)


# ---------------------------------------------------------------- scales and arrays


def check_scale(scale: Any) -> None:
    """Refuse what is neither a finite number nor a function of time.

    Raises
    ------
    TypeError, ValueError
        With what to give.
    """
    if isinstance(scale, str) or scale is None:
        msg = f"scale={scale!r} is a {type(scale).__name__}: give a number, or a function of the time"
        raise TypeError(msg)
    if not callable(scale) and not math.isfinite(scale):
        msg = f"scale={scale!r} is no weight: give a finite number; 1 is no guidance"
        raise ValueError(msg)


def weight_at(scale: Scale, t: Any) -> Any:
    """Scale at a time: itself, or what the function gives."""
    return scale(t) if callable(scale) else scale


def beside(w: Any, x: Array) -> Any:
    """Weight that multiplies a batch: a number, or one number a sample, shape (batch,)."""
    if not is_array_api_obj(w) or w.ndim == 0:
        return w
    xp = array_namespace(x)
    return xp.reshape(xp.astype(w, x.dtype), (-1,) + (1,) * (x.ndim - 1))


def _rescaled(guided: Array, main: Array, share: float) -> Array:
    """Guided prediction with, to a share, the standard deviation that the main one has in each sample."""
    xp = array_namespace(guided)
    axes = tuple(range(1, guided.ndim))
    wanted, found = (xp.std(value, axis=axes, keepdims=True) for value in (main, guided))
    ratio = xp.where(found > 0.0, wanted / xp.where(found > 0.0, found, 1.0), 1.0)  # samples of one entry have none
    return guided * (share * ratio + (1.0 - share))

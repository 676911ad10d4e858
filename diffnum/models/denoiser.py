"""A torch network with what a sampler must know about it: prediction, schedule, shape and range."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffnum.jobs.shown import facts_html, short
from diffnum.models.conditions.latents import Latents
from diffnum.models.conditions.prompts import Condition, Prompts
from diffnum.models.gradients import pulled_back
from diffnum.solver.pullbacks import Back, Wrt
from diffnum.types import Prediction, Schedule

__all__ = ["Level", "NetworkDenoiser", "resolve_device", "resolve_dtype"]

Labels: TypeAlias = int | Sequence[int] | torch.Tensor

Level: TypeAlias = Literal["time", "half_log_snr", "sigma"]
"""What a network calls its noise level."""

_LEVELS: Mapping[str, Callable[[Schedule, Any], Any]] = {
    "time": lambda schedule, t: t,  # noqa: ARG005
    "half_log_snr": lambda schedule, t: schedule.half_log_snr(t),
    "sigma": lambda schedule, t: schedule.sigma(t),
}

_DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_CPU = torch.device("cpu")
_HALF = (torch.float16, torch.bfloat16)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Return the torch dtype called ``dtype``.

    Parameters
    ----------
    dtype
        ``"float64"``, ``"float32"``, ``"bfloat16"``, ``"float16"``, or the torch dtype itself.

    Raises
    ------
    ValueError
        For any other name or dtype.
    """
    if isinstance(dtype, torch.dtype) and dtype in _DTYPES.values():
        return dtype
    if isinstance(dtype, str) and dtype in _DTYPES:
        return _DTYPES[dtype]
    msg = f"dtype={dtype!r} is not a floating dtype of a model; use one of {', '.join(_DTYPES)}."
    raise ValueError(msg)


def widest(device: torch.device) -> torch.dtype:
    """Widest floating dtype of a device: Apple's have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the torch device called ``device``.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or a torch device.

    Raises
    ------
    ValueError
        If torch does not know the name, or this machine lacks the device.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        msg = f'device={str(device)!r} cannot be used here ({reason}); use "cpu", or a machine that has it.'
        raise ValueError(msg) from error
    return found


@dataclass(frozen=True, slots=True, eq=False)
class NetworkDenoiser:
    r"""A :class:`~diffnum.types.Denoiser` made of a torch module.

    The wrapped module is called ``module(x, level)``; when ``num_classes`` is set, ``module(x, level, labels)``;
    when ``prompts`` is set, ``module(x, level, **condition)``. Here ``x`` has shape (batch, \*sample_shape), ``level``
    has shape (batch,) and is the time, the half-log-SNR or sigma, ``labels`` are int64 of shape (batch,), and
    ``condition`` holds tensors of shape (batch, ...). Time is never rounded to an index: levels are computed in float64
    and only then converted to ``level_dtype``.

    Parameters
    ----------
    module
        Network in evaluation mode, already of ``dtype`` and on ``device``.
    prediction
        What it returns: data, noise, velocity, score or v (see :data:`diffnum.types.Prediction`).
    schedule
        Noising process on which it was trained.
    sample_shape
        Shape of one sample, such as (1, 32, 32).
    value_range
        Interval that the data occupy. A bound for images scaled to [-1, 1]; for galaxies what is typical; for
        latent models that of the decoded images.
    name
        Identifier, as given to ``dn.load``.
    dtype, device
        Of the parameters, hence of the states that the model accepts; in half precision it accepts float32 states too.
    level
        Whether the module wants ``"time"``, ``"half_log_snr"`` or ``"sigma"``.
    level_dtype
        Dtype of the levels; that of the model by default. Half precision has no room for a time between 0 and 999.
    num_classes
        Number of labels, or ``None`` for a model without labels. Label ``num_classes`` is the null label,
        which stands for "unconditional".
    unconditional
        Whether the network knows the null label.
    labels
        Labels bound by :meth:`conditioned`: shape () or (batch,), or ``None`` for the null label.
    prompts
        What the network is conditioned on besides labels: text, or its embeddings.
    condition
        Embeddings bound by :meth:`conditioned`; ``None`` stands for the empty prompt.
    latents
        Autoencoder whose latents the network denoises; ``None`` where it works on pixels.
    rounds_time
        Whether the network only has values at whole times, so that other times are rounded.
    default_t_start, default_t_end
        Times between which the model is best sampled.
    trained_steps
        Of a distilled student: numbers of DDIM steps, uniform in half-log-SNR between these times, that it was trained
        for; empty for an ordinary network, which is sampled with any.
    gradients
        Build the autograd graph; ``False`` evaluates under ``torch.no_grad``.
    """

    module: torch.nn.Module
    prediction: Prediction
    schedule: Schedule
    sample_shape: tuple[int, ...]
    value_range: tuple[float, float]
    name: str
    dtype: torch.dtype = torch.float32
    device: torch.device = _CPU
    level: Level = "time"
    level_dtype: torch.dtype | None = None
    num_classes: int | None = None
    unconditional: bool = True
    labels: torch.Tensor | None = None
    prompts: Prompts | None = None
    condition: Condition | None = None
    latents: Latents | None = None
    rounds_time: bool = False
    default_t_start: float = 1.0
    default_t_end: float = 1e-3
    trained_steps: tuple[int, ...] = ()
    gradients: bool = False

    def _facts(self) -> dict[str, Any]:
        """What is worth knowing at a glance."""
        bound = "the null label" if self.labels is None else f"{self.labels.tolist()}"
        return {
            "prediction": self.prediction,
            "schedule": self.schedule.name,
            "shape": tuple(self.sample_shape),
            "classes": self.num_classes,
            "labels": None if self.num_classes is None else bound if len(bound) < 40 else f"{bound[:36]} ...",
            "trained_steps": self.trained_steps or None,
            "parameters": sum(p.numel() for p in self.module.parameters()),
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
        }

    def __repr__(self) -> str:
        """Short form; ``module`` has the layers."""
        return short("NetworkDenoiser", self.name, **self._facts())

    def _repr_html_(self) -> str:
        times = {"best sampled from t": self.default_t_start, "to t": self.default_t_end}
        return facts_html({"network": type(self.module).__name__, **self._facts(), **times}, self.name)

    def __post_init__(self) -> None:
        if self.prediction not in get_args(Prediction):
            msg = f"prediction={self.prediction!r} is unknown; use one of {', '.join(get_args(Prediction))}."
            raise ValueError(msg)
        if not self.sample_shape or not all(isinstance(s, int) and s > 0 for s in self.sample_shape):
            msg = f"sample_shape={self.sample_shape!r}: pass whole numbers > 0, such as (1, 32, 32)."
            raise ValueError(msg)
        if not isinstance(self.module, torch.nn.Module) and not callable(self.module):
            msg = f"module is a {type(self.module).__name__}: pass a torch module."
            raise TypeError(msg)
        if self.level not in _LEVELS:
            msg = f"level={self.level!r} is unknown; use one of {', '.join(_LEVELS)}."
            raise ValueError(msg)
        if not self.value_range[0] < self.value_range[1]:
            msg = f"value_range={self.value_range} must be (low, high) with low < high."
            raise ValueError(msg)

    def conditioned(self, label: Any) -> NetworkDenoiser:
        """Return the same model with a condition bound to it.

        Parameters
        ----------
        label
            For models with classes: one label for the whole batch, or one a sample. For models with prompts: text,
            one a sample or one for all, or a mapping of embeddings. ``None`` for the unconditional model.

        Raises
        ------
        ValueError
            If the model has no labels, a label is not in 0..num_classes - 1, an embedding has another shape, or the
            model has no unconditional form.
        TypeError
            If the labels are not integers.
        """
        if self.prompts is not None:
            return replace(self, condition=self.prompts.bind(label, self.dtype, self.device))
        if label is None:
            if self.num_classes is not None and not self.unconditional:
                msg = f"label=None: {self.name} was trained without a null label; give a label."
                raise ValueError(msg)
            return replace(self, labels=None)
        return replace(self, labels=self._checked_labels(label))

    @property
    def jumps(self) -> bool:
        """Whether the network is a flow-map student of two noise levels, to be bound by :meth:`towards`."""
        return getattr(getattr(self.module, "config", None), "jump_end", None) is not None

    def towards(self, times: Sequence[float]) -> NetworkDenoiser:
        """Flow-map student whose jumps end at the next time of a run; drawing images binds it by itself.

        Parameters
        ----------
        times
            Times of the run, falling.

        Returns
        -------
        NetworkDenoiser
            Whose DDIM step from each of the times to the next is the student's jump.

        Raises
        ------
        ValueError
            If the network has one noise level only, or times do not fall.
        """
        if not self.jumps:
            msg = f"{self.name} has one noise level and does not jump: call it as it is"
            raise ValueError(msg)
        levels = [float(self.schedule.half_log_snr(float(t))) for t in times]
        if len(levels) < 2 or any(b <= a for a, b in pairwise(levels)):
            msg = f"times={list(times)!r} do not fall: use the times of a run, noisy ones first"
            raise ValueError(msg)
        return replace(self, module=self.module.towards(levels))  # type: ignore[operator]

    def with_unconditional(self, x: torch.Tensor, t: float | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict with and without the condition, in one pass over a batch of twice the size.

        Parameters
        ----------
        x, t
            As for a call.

        Returns
        -------
        tuple of two tensors
            Conditional and unconditional prediction, shaped like ``x``.
        """
        self._check_state(x)
        free = self.conditioned(None)
        level = self._level(t, x.shape[0])
        given, null = self._arguments(None, x), free._arguments(None, x)
        positional = [torch.cat([a, b]) for a, b in zip(given[0], null[0], strict=True)]
        named = {name: torch.cat([value, null[1][name]]) for name, value in given[1].items()}
        both = self._run(torch.cat([x, x]), torch.cat([level, level]), positional, named)
        conditional, unconditional = both.chunk(2)
        return conditional, unconditional

    def with_gradients(self, enabled: bool = True) -> NetworkDenoiser:
        """Return the same model with autograd on or off.

        Parameters
        ----------
        enabled
            Whether calls build the autograd graph.
        """
        return replace(self, gradients=enabled)

    def __call__(self, x: torch.Tensor, t: float | torch.Tensor, *, label: Labels | None = None) -> torch.Tensor:
        """Predict at state ``x`` and time ``t``.

        Parameters
        ----------
        x
            Noisy states, shape (batch, *sample_shape), of the model's dtype and on its device.
        t
            Time, a scalar or shape (batch,), in [schedule.t_min, schedule.t_max].
        label
            Labels of this call; those bound by :meth:`conditioned` otherwise.

        Returns
        -------
        torch.Tensor
            Prediction, shaped like ``x``.

        Raises
        ------
        TypeError
            If ``x`` is no torch tensor or has another dtype, or ``t`` is no real number.
        ValueError
            If a shape or the device differs, ``t`` is outside the schedule, or a label is impossible.
        """
        self._check_state(x)
        return self._run(x, self._level(t, x.shape[0]), *self._arguments(label, x))

    def _run(
        self, x: torch.Tensor, level: torch.Tensor, positional: Sequence[torch.Tensor], named: Condition
    ) -> torch.Tensor:
        with torch.set_grad_enabled(self.gradients and torch.is_grad_enabled()):
            out: torch.Tensor = self.module(x.to(self.dtype), level, *positional, **named)
        return out

    def _arguments(self, label: Labels | None, x: torch.Tensor) -> tuple[list[torch.Tensor], Condition]:
        """Conditions of every sample: those given by position and those given by name."""
        if self.prompts is not None:
            if label is not None:
                msg = f"label={label!r}: {self.name} has prompts, not labels; use conditioned(...)."
                raise ValueError(msg)
            return [], self.prompts.batch(self.condition, x.shape[0], self.dtype, self.device)
        return ([] if self.num_classes is None and label is None else [self._batch(label, x)]), {}

    def jvp(self, x: torch.Tensor, t: float | torch.Tensor, tangent: torch.Tensor) -> torch.Tensor:
        """Jacobian-vector product of the prediction with respect to the state.

        Parameters
        ----------
        x, t
            As for a call.
        tangent
            Direction, shaped like ``x``.

        Returns
        -------
        torch.Tensor
            Derivative of the prediction along ``tangent``, shaped like ``x``.
        """
        # J v is the derivative of J^T u by u, along v: forward mode fails in many networks that people have written.
        # Fused attention can be differentiated once only; the plain one is made of operations that always can.
        model = self.with_gradients()
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            state = x.detach().requires_grad_()
            out = model(state, t)
            direction = torch.zeros_like(out, requires_grad=True)
            (transposed,) = torch.autograd.grad(out, state, direction, create_graph=True)
            (product,) = torch.autograd.grad(transposed, direction, tangent)
        return product

    def pullback(self, x: torch.Tensor, t: float | torch.Tensor, wrt: Wrt) -> tuple[torch.Tensor, Back]:
        """Prediction, and products with its transposed Jacobian; what :func:`diffnum.gradient` asks for.

        Parameters
        ----------
        x, t
            As for a call.
        wrt
            By what, besides the state: ``"x"`` for nothing else, ``"parameters"`` (those of the module that want a
            gradient), ``"condition"`` (embeddings that are bound).

        Raises
        ------
        ValueError
            If there is nothing to differentiate by.
        """
        model = self.with_gradients()
        wanted = {name: value for name, value in self.module.named_parameters() if value.requires_grad}
        bound = self.condition or {}

        def value(state: torch.Tensor, condition: Mapping[str, torch.Tensor]) -> torch.Tensor:
            return (replace(model, condition=condition) if condition else model)(state, t)

        return pulled_back(value, x, wrt, wanted, bound)

    def to_image(self, x: torch.Tensor, *, stretch: Literal["range", "each"] = "range") -> NDArray[np.float32]:
        """Map samples to display intensities.

        Parameters
        ----------
        x
            Samples, shape (batch, channels, height, width); latents are decoded first.
        stretch
            ``"range"`` maps ``value_range`` to [0, 1] and clips; ``"each"`` maps the extremes of every image,
            which shows faint galaxies (their data space is already logarithmic).

        Returns
        -------
        ndarray
            float32 in [0, 1], shape (batch, height, width) for one channel and
            (batch, height, width, channels) for more.
        """
        if x.ndim != 4:
            msg = f"x has shape {tuple(x.shape)}; give (batch, channels, height, width)."
            raise ValueError(msg)
        pixels = x if self.latents is None else self.latents.decode(x)
        y = pixels.detach().to("cpu", torch.float32)
        if stretch == "range":
            low: Any
            high: Any
            low, high = self.value_range
        elif stretch == "each":
            low, high = y.amin(dim=(1, 2, 3), keepdim=True), y.amax(dim=(1, 2, 3), keepdim=True)
            high = torch.maximum(high, low + torch.finfo(torch.float32).tiny)
        else:
            msg = f'stretch={stretch!r} is unknown; use "range" or "each".'
            raise ValueError(msg)
        y = ((y - low) / (high - low)).clamp(0.0, 1.0)
        return cast(NDArray[np.float32], (y[:, 0] if y.shape[1] == 1 else y.permute(0, 2, 3, 1)).numpy())

    def _check_state(self, x: torch.Tensor) -> None:
        if not isinstance(x, torch.Tensor):
            msg = (
                f"x is a {type(x).__name__}, and {self.name} is a torch model; give a torch tensor of "
                f"{self.dtype}, for example torch.as_tensor(x)."
            )
            raise TypeError(msg)
        if x.ndim != 1 + len(self.sample_shape) or tuple(x.shape[1:]) != self.sample_shape:
            wanted = ", ".join(map(str, self.sample_shape))
            msg = f"x has shape {tuple(x.shape)}; {self.name} takes (batch, {wanted})."
            raise ValueError(msg)
        if x.dtype != self.dtype and not (x.dtype == torch.float32 and self.dtype in _HALF):
            msg = (
                f"x has dtype {x.dtype} and {self.name} has {self.dtype}; convert x with "
                f'x.to({self.dtype}), or load the model with dtype="{str(x.dtype).removeprefix("torch.")}".'
            )
            raise TypeError(msg)
        if x.device.type != self.device.type or self.device.index not in (None, x.device.index):
            msg = (
                f'x is on {x.device} and {self.name} on {self.device}; move x with x.to("{self.device}"), or '
                f'load the model with device="{x.device}".'
            )
            raise ValueError(msg)

    def _level(self, t: Any, batch: int) -> torch.Tensor:
        """Time or half-log-SNR as a tensor of shape (batch,), computed in float64."""
        low, high = self.schedule.t_min, self.schedule.t_max
        slack = 1e-9 * (high - low)
        convert = partial(_LEVELS[self.level], self.schedule)
        dtype = self.level_dtype or self.dtype
        if isinstance(t, (np.ndarray, np.generic)):
            t = torch.as_tensor(np.asarray(t, dtype=np.float64)) if t.ndim else float(t)
        if isinstance(t, torch.Tensor):
            if t.ndim > 1 or (t.ndim == 1 and t.shape[0] not in (1, batch)):
                msg = f"t has shape {tuple(t.shape)}; give a scalar or shape ({batch},), one time a sample."
                raise ValueError(msg)
            times = t.to(widest(t.device))
            # Comparing values on an accelerator would make the host wait for it at every step of a sampler.
            if times.device.type == "cpu" and not bool(((times >= low - slack) & (times <= high + slack)).all()):
                msg = f"t={t.tolist()} is not within [{low}, {high}], the times of {self.schedule.name}."
                raise ValueError(msg)
            values = convert(times)
            if values.device.type == "cpu" and not bool(torch.isfinite(values).all()):
                late = "start later or stop before"
                msg = f"t={t.tolist()} has an infinite {_said(self.level)}; {late}, within {self._usual()}."
                raise ValueError(msg)
            return cast(torch.Tensor, values.to(self.device, dtype).expand(batch))
        if isinstance(t, bool) or not isinstance(t, (int, float)):
            msg = f"t is a {type(t).__name__}; give a real number, or a tensor of shape () or (batch,)."
            raise TypeError(msg)
        if not low - slack <= t <= high + slack:
            msg = f"t={t} is not within [{low}, {high}], the times of {self.schedule.name}."
            raise ValueError(msg)
        value = float(convert(float(t)))
        if not math.isfinite(value):
            late = "start later" if t > 0.5 * (low + high) else "stop before"
            msg = f"t={t} has {_said(self.level)} {value}; {late}, within {self._usual()}."
            raise ValueError(msg)
        return torch.full((batch,), value, dtype=dtype, device=self.device)

    def _usual(self) -> str:
        """Times between which runs of the network go."""
        return f"[{self.default_t_end}, {self.default_t_start}]"

    def _checked_labels(self, label: Labels) -> torch.Tensor:
        if self.num_classes is None:
            msg = f"label={label!r} was given, and {self.name} has no labels; leave label out."
            raise ValueError(msg)
        if isinstance(label, torch.Tensor) and label.device.type != "cpu":
            values = label
        else:
            try:
                values = torch.as_tensor(label)
            except (TypeError, ValueError, RuntimeError) as error:
                msg = (
                    f"label={label!r} is no integer or array of integers ({error}); give integers in "
                    f"0..{self.num_classes - 1}."
                )
                raise TypeError(msg) from error
        if values.dtype not in _INTEGERS:
            msg = f"label has dtype {values.dtype}; give integers in 0..{self.num_classes - 1}."
            raise TypeError(msg)
        if values.ndim > 1:
            msg = f"label has shape {tuple(values.shape)}; give one label, or shape (batch,)."
            raise ValueError(msg)
        if values.device.type == "cpu":
            wrong = values[(values < 0) | (values >= self.num_classes)].reshape(-1)
            if wrong.numel():
                msg = (
                    f"label={wrong[0].item()} is not in 0..{self.num_classes - 1}; use None for the "
                    "unconditional model."
                )
                raise ValueError(msg)
        return values.to(self.device, torch.int64)

    def _batch(self, label: Labels | None, x: torch.Tensor) -> torch.Tensor:
        """Labels of every sample, shape (batch,)."""
        labels = self.labels if label is None else self._checked_labels(label)
        if labels is None:
            if not self.unconditional:
                msg = f"{self.name} was trained without a null label; bind one with conditioned(label)."
                raise ValueError(msg)
            return torch.full((x.shape[0],), self.num_classes or 0, dtype=torch.int64, device=self.device)
        if labels.ndim == 1 and labels.shape[0] != x.shape[0]:
            msg = f"{labels.shape[0]} labels for a batch of {x.shape[0]}; give one label, or one a sample."
            raise ValueError(msg)
        return labels.expand(x.shape[0])


def _said(level: Level) -> str:
    """Level in prose."""
    return "half-log-SNR" if level == "half_log_snr" else level

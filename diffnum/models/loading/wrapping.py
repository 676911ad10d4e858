"""Any torch module, and any k-diffusion style denoiser, as a :class:`~diffnum.models.NetworkDenoiser`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn

from diffnum.models.denoiser import Level, NetworkDenoiser
from diffnum.schedules import EDM
from diffnum.types import Prediction, Schedule

__all__ = ["from_k_diffusion", "wrap"]


class _Wrapped(nn.Module):
    """A network with its time converted, and the prediction taken out of what it returns."""

    def __init__(self, network: Any, to_network: Callable[[torch.Tensor], Any] | None, channels: int) -> None:
        super().__init__()
        self.network, self.to_network, self.channels = network, to_network, channels

    def forward(self, x: torch.Tensor, level: torch.Tensor, *arguments: torch.Tensor) -> torch.Tensor:
        time = level if self.to_network is None else self.to_network(level)
        out = self.network(x, time, *arguments)
        if not isinstance(out, torch.Tensor):
            out = out[0] if isinstance(out, (tuple, list)) else out.sample
        split = out.ndim == x.ndim and out.shape[1] == 2 * self.channels
        return cast(torch.Tensor, out[:, : self.channels] if split else out)


def wrap(
    module: Callable[..., Any],
    schedule: Schedule,
    *,
    prediction: Prediction,
    sample_shape: tuple[int, ...],
    level: Level = "time",
    to_network: Callable[[torch.Tensor], Any] | None = None,
    level_dtype: torch.dtype | None = None,
    num_classes: int | None = None,
    unconditional: bool = True,
    value_range: tuple[float, float] = (-1.0, 1.0),
    name: str | None = None,
    default_t_start: float | None = None,
    default_t_end: float | None = None,
) -> NetworkDenoiser:
    """Make a model of a torch module.

    Parameters
    ----------
    module
        Called as ``module(x, level)`` or, with classes, ``module(x, level, labels)``. May return a tensor, a tuple that
        begins with one, or an object with the tensor in ``sample``; the first half of the channels is taken where there
        are twice as many. It is put into evaluation mode. A function will do.
    schedule
        Noising process on which it was trained.
    prediction
        What it returns: data, noise, velocity, score or v.
    sample_shape
        Shape of one sample.
    level
        Whether it wants the time of the schedule, the half-log-SNR or sigma.
    to_network
        Maps the level, shape (batch,), to what the network calls time: ``lambda t: 999 * t``, say. Rounding it here
        breaks every order of convergence.
    level_dtype
        Dtype of the level; by default that of the parameters, but never less than float32.
    num_classes
        Number of labels; label ``num_classes`` is the null label.
    unconditional
        Whether the network knows the null label.
    value_range
        Interval that the data occupy.
    name
        Name in messages and reports; by default that of the class or function.
    default_t_start, default_t_end
        Times between which to sample; those of the schedule by default.

    Returns
    -------
    NetworkDenoiser
        Of the dtype and on the device of the module's first parameter (float32 on the CPU where there is none).

    Raises
    ------
    TypeError
        If ``module`` cannot be called, or ``schedule`` is none.
    ValueError
        If the parameters are of several dtypes or on several devices, or a name is unknown.
    """
    if not callable(module):
        msg = f"module is a {type(module).__name__}: give a torch module, or a function of (x, level)"
        raise TypeError(msg)
    if not isinstance(schedule, Schedule):
        msg = f"schedule={schedule!r} is none: give one, such as diffnum.schedules.VPLinear()"
        raise TypeError(msg)
    dtype, device = _place(module)
    if isinstance(module, nn.Module):
        module.eval()
    half = dtype in (torch.float16, torch.bfloat16)
    start = getattr(schedule, "default_t_start", schedule.t_max) if default_t_start is None else default_t_start
    end = getattr(schedule, "default_t_end", schedule.t_min) if default_t_end is None else default_t_end
    return NetworkDenoiser(
        module=_Wrapped(module, to_network, sample_shape[0] if sample_shape else 1),
        prediction=prediction,
        schedule=schedule,
        sample_shape=tuple(sample_shape),
        value_range=(float(value_range[0]), float(value_range[1])),
        name=name or str(getattr(module, "__name__", type(module).__name__)),
        dtype=dtype,
        device=device,
        level=level,
        level_dtype=level_dtype or (torch.float32 if half else dtype),
        num_classes=num_classes,
        unconditional=unconditional,
        default_t_start=float(start),
        default_t_end=float(end),
    )


def from_k_diffusion(
    denoiser: Callable[..., Any],
    *,
    sample_shape: tuple[int, ...],
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    extra_args: Mapping[str, Any] | None = None,
    value_range: tuple[float, float] = (-1.0, 1.0),
    name: str | None = None,
) -> NetworkDenoiser:
    """Make a model of a k-diffusion style denoiser, ``denoised = denoiser(x, sigma, **extra_args)``.

    Parameters
    ----------
    denoiser
        Takes a variance-exploding state ``x = x_0 + sigma eps`` and sigma of shape (batch,), and returns an estimate of
        ``x_0``: k-diffusion's ``Denoiser`` and its wrappers of other networks, or a function.
    sample_shape
        Shape of one sample.
    sigma_min, sigma_max
        Noise levels between which to sample; the denoiser's own ``sigma_min`` and ``sigma_max`` where it has them, else
        0.002 and 80.
    extra_args
        Keyword arguments of every call, as k-diffusion's samplers take them.
    value_range
        Interval that the data occupy.
    name
        Name in messages and reports.

    Returns
    -------
    NetworkDenoiser
        Data prediction on :class:`~diffnum.schedules.EDM`.

    Warns
    -----
    UserWarning
        If the denoiser rounds sigma to a table (``quantize``), which spoils every order of convergence.
    """
    if getattr(denoiser, "quantize", False):
        warnings.warn(
            f"{type(denoiser).__name__} rounds sigma to its table; make it with quantize=False, for a continuous time",
            stacklevel=2,
        )
    levels = []
    for given, attribute, usual in ((sigma_min, "sigma_min", 0.002), (sigma_max, "sigma_max", 80.0)):
        own = getattr(denoiser, attribute, None)
        levels.append(float(given if given is not None else own if own is not None else usual))
    arguments = dict(extra_args or {})
    call = _WithArguments(denoiser, arguments) if isinstance(denoiser, nn.Module) else None
    return wrap(
        call or (lambda x, sigma: denoiser(x, sigma, **arguments)),
        EDM(*levels),
        prediction="data",
        sample_shape=sample_shape,
        level="sigma",
        value_range=value_range,
        name=name or getattr(denoiser, "__name__", type(denoiser).__name__),
    )


class _WithArguments(nn.Module):
    """A denoiser with its keyword arguments bound."""

    def __init__(self, denoiser: nn.Module, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.denoiser, self.arguments = denoiser, arguments

    def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.denoiser(x, sigma, **self.arguments))


def _place(module: Any) -> tuple[torch.dtype, torch.device]:
    """Dtype and device that the floating parameters of a module share."""
    parameters = [p for p in module.parameters() if p.is_floating_point()] if isinstance(module, nn.Module) else []
    places = {(p.dtype, p.device) for p in parameters}
    if len(places) > 1:
        listed = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in places))
        msg = f"module has parameters of several kinds ({listed}): convert it with module.to(dtype, device)"
        raise ValueError(msg)
    return places.pop() if places else (torch.float32, torch.device("cpu"))

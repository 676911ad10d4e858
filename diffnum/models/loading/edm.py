"""Networks trained on a variance-exploding state with the preconditioning of Karras et al.: ``load("edm:PATH")``.

``D(x; sigma) = c_skip x + c_out F(c_in x, c_noise)``: whatever F predicts, D predicts the data, on the schedule
``sigma = t``. A checkpoint is a state dict, in safetensors or in torch's format. NVlabs' own files are pickles of whole
objects: reading one runs the program that is in it, so they are refused unless the caller trusts them.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from torch import nn

from diffnum.models.denoiser import NetworkDenoiser
from diffnum.models.loading.edm_networks import EDMNetwork
from diffnum.models.loading.files import MissingModelError, ModelFileError
from diffnum.schedules import EDM

__all__ = ["PRECONDITIONINGS", "Preconditioned", "load_edm"]

Factors: TypeAlias = tuple[Any, Any, Any, torch.Tensor]
"""c_skip, c_out, c_in, c_noise."""


def _edm(sigma: torch.Tensor, data: float) -> Factors:
    total = sigma**2 + data**2
    return data**2 / total, sigma * data / total.sqrt(), total.rsqrt(), sigma.log() / 4


def _edm_v(sigma: torch.Tensor, data: float) -> Factors:
    skip, out, entry, noise = _edm(sigma, data)
    return skip, -out, entry, noise


def _vp(sigma: torch.Tensor, data: float) -> Factors:  # noqa: ARG001
    low, slope, labels = 0.1, 19.9, 1000
    t = ((low**2 + 2.0 * slope * (sigma**2).log1p()).sqrt() - low) / slope
    return 1.0, -sigma, (sigma**2 + 1.0).rsqrt(), (labels - 1) * t


def _ve(sigma: torch.Tensor, data: float) -> Factors:  # noqa: ARG001
    return 1.0, sigma, 1.0, (0.5 * sigma).log()


PRECONDITIONINGS: Final[Mapping[str, Callable[[torch.Tensor, float], Factors]]] = MappingProxyType(
    {"edm": _edm, "edm_v": _edm_v, "vp": _vp, "ve": _ve}
)
"""Karras et al., table 1: functions ``(sigma, sigma_data)``; "edm_v" is "edm" for a network that predicts v."""

_RANGES = {"edm": (0.002, 80.0), "edm_v": (0.002, 80.0), "vp": (0.002, 80.0), "ve": (0.02, 100.0)}


class Preconditioned(nn.Module):
    """Denoiser ``D(x; sigma)`` made of a network F.

    Parameters
    ----------
    network
        Called ``network(scaled x, c_noise)``, or with one-hot rows of labels where ``num_classes`` is given, or with
        conditions by name.
    kind
        One of :data:`PRECONDITIONINGS`.
    sigma_data
        Standard deviation of the data.
    num_classes
        Number of classes; label ``num_classes`` becomes a row of zeros.
    """

    def __init__(
        self, network: nn.Module, kind: str = "edm", sigma_data: float = 0.5, num_classes: int | None = None
    ) -> None:
        super().__init__()
        if kind not in PRECONDITIONINGS:
            msg = f"preconditioning={kind!r} is unknown: use one of {', '.join(PRECONDITIONINGS)}"
            raise ValueError(msg)
        if not (math.isfinite(sigma_data) and sigma_data > 0.0):
            msg = f"sigma_data={sigma_data!r} is no standard deviation: give a positive number; 0.5 is usual"
            raise ValueError(msg)
        self.network, self.kind, self.sigma_data, self.num_classes = network, kind, sigma_data, num_classes

    def forward(
        self, x: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None = None, **condition: torch.Tensor
    ) -> torch.Tensor:
        """Estimate the data.

        Parameters
        ----------
        x
            States ``x_0 + sigma eps``, shape (batch, ...).
        sigma
            Noise levels, shape (batch,).
        labels
            Integers, shape (batch,).
        **condition
            Passed on.
        """
        wide = sigma.reshape(-1, *[1] * (x.ndim - 1))
        skip, out, entry, noise = PRECONDITIONINGS[self.kind](wide, self.sigma_data)
        arguments: list[torch.Tensor] = []
        if labels is not None:
            rows = nn.functional.one_hot(labels, (self.num_classes or 0) + 1)
            arguments = [rows[:, :-1].to(x.dtype)] if self.num_classes else [labels]
        inner = self.network((entry * x).to(x.dtype), noise.flatten(), *arguments, **condition)
        return cast(torch.Tensor, (skip * x + out * inner).to(x.dtype))


def load_edm(
    name: str,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    factory: Callable[[], nn.Module] | None = None,
    sample_shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    null_label: bool = False,
    preconditioning: str = "edm",
    sigma_data: float = 0.5,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    value_range: tuple[float, float] = (-1.0, 1.0),
    sha256: str | None = None,
    trust_pickle: bool = False,
) -> NetworkDenoiser:
    """Load a checkpoint of an EDM network.

    Parameters
    ----------
    name
        File: ``.safetensors``, a state dict in torch's format (``.pt``, ``.pth``), or, if trusted, NVlabs' ``.pkl``.
    dtype, device
        Of the parameters.
    factory
        Makes the network where its architecture is not one of EDM's own (:class:`EDMNetwork`); then ``sample_shape``,
        and ``num_classes`` if it has classes, must be given, and it is called ``network(x, c_noise[, one_hot])``.
    sample_shape, num_classes
        Shape of a sample and number of classes; for EDM's own networks they are read from the parameters.
    null_label
        Whether the network was trained without its label now and then, so that a row of zeros means "unconditional".
    preconditioning
        One of :data:`PRECONDITIONINGS`.
    sigma_data
        Standard deviation of the data in training.
    sigma_min, sigma_max
        Noise levels between which to sample.
    value_range
        Interval of the images.
    sha256
        Digest that the file must have.
    trust_pickle
        Read a pickle, and so run whatever program it holds.

    Returns
    -------
    NetworkDenoiser
        Data prediction on :class:`~diffnum.schedules.EDM`.

    Raises
    ------
    MissingModelError
        If there is no such file.
    ModelFileError
        If the digest differs, the file is corrupt, it is a pickle that is not trusted, or it holds another network.
    """
    device = torch.device("cpu") if device is None else device
    path = Path(name).expanduser()
    if not path.is_file():
        msg = f"{path} is no file; give a checkpoint in safetensors or torch's format"
        raise MissingModelError(msg)
    content = path.read_bytes()
    if sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != sha256:
        msg = f"{path}: SHA-256 is {found}, expected {sha256}; fetch it again."
        raise ModelFileError(msg)
    state = _state(path, content, trust_pickle)
    try:
        if factory is None:
            network: nn.Module = EDMNetwork(state)
        else:
            network = factory()
            network.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError, AttributeError) as error:
        msg = (
            f"{path}: not the parameters of {'an EDM network' if factory is None else type(network).__name__} "
            f"({' '.join(str(error).split())[:300]}); pass factory=, which makes the network."
        )
        raise ModelFileError(msg) from error
    if isinstance(network, EDMNetwork):
        sample_shape = sample_shape or (network.channels, network.size, network.size)
        num_classes = int(network.label_dim) or None
    if sample_shape is None:
        msg = "sample_shape=None: a network of your own does not tell; pass (channels, height, width)"
        raise ValueError(msg)
    module = Preconditioned(network, preconditioning, sigma_data, num_classes)
    module.eval().requires_grad_(False).to(device, dtype)
    low, high = _RANGES[preconditioning]
    schedule = EDM(low if sigma_min is None else sigma_min, high if sigma_max is None else sigma_max)
    half = dtype in (torch.float16, torch.bfloat16)
    return NetworkDenoiser(
        module=module,
        prediction="data",
        schedule=schedule,
        sample_shape=tuple(sample_shape),
        value_range=(float(value_range[0]), float(value_range[1])),
        name=f"edm:{name}",
        dtype=dtype,
        device=device,
        level="sigma",
        level_dtype=torch.float32 if half else dtype,
        num_classes=num_classes,
        unconditional=null_label or num_classes is None,
        default_t_start=schedule.default_t_start,
        default_t_end=schedule.default_t_end,
    )


def _state(path: Path, content: bytes, trust_pickle: bool) -> dict[str, torch.Tensor]:
    """Parameters of a checkpoint, without the prefix of the preconditioned network."""
    if path.suffix == ".safetensors":
        try:
            state = deserialize(content)
        except SafetensorError as error:
            msg = f"{path}: not readable as safetensors ({error}); fetch it again."
            raise ModelFileError(msg) from error
    else:
        state = _unpickled(path) if path.suffix == ".pkl" and trust_pickle else _torch_state(path, trust_pickle)
    inner = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    return inner or dict(state)


def _torch_state(path: Path, trust_pickle: bool) -> dict[str, torch.Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the protocol of pickles that it will refuse
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if trust_pickle:
            return _unpickled(path)
        msg = (
            f"{path} is a pickle of objects, not a state dict: reading it runs whatever program is in it. If you trust "
            "where it is from, pass trust_pickle=True (NVlabs' code must be importable), or convert it once to "
            "safetensors: safetensors.torch.save_file(network.state_dict(), path)."
        )
        raise ModelFileError(msg) from error
    except (RuntimeError, EOFError, OSError) as error:
        msg = f"{path}: not readable as a torch file ({error}); fetch it again."
        raise ModelFileError(msg) from error
    for key in ("ema", "state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        msg = f"{path}: holds a {type(found).__name__}, not a state dict; save network.state_dict()."
        raise ModelFileError(msg)
    return dict(found)


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
    """State dict of NVlabs' pickle; its network class comes from the pickle, its helpers from their code."""
    try:
        with path.open("rb") as stream:
            found = pickle.load(stream)  # the caller trusts it
    except ModuleNotFoundError as error:
        msg = f"{path} needs the module {error.name!r}: put the code that made it (NVlabs' edm) on PYTHONPATH."
        raise ModuleNotFoundError(
            msg,
            name=error.name,
        ) from error
    except (pickle.UnpicklingError, EOFError) as error:
        msg = f"{path}: not a readable pickle ({error}); fetch it again."
        raise ModelFileError(msg) from error
    network = found.get("ema", found) if isinstance(found, Mapping) else found
    if isinstance(network, nn.Module):
        return dict(network.state_dict())
    msg = f"{path}: holds a {type(network).__name__}, not a network."
    raise ModelFileError(msg)

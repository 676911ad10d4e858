"""Score networks of galaxies, read from the wheel ``galaxygrad`` without importing it and without JAX.

The networks were trained by Sampson, Melchior, Ward and Birmingham (arXiv:2401.07313) on the
variance-preserving process with beta = 1 on [0, 10]. They return the score of ``x_t`` where
``x = log(flux + 1) / 0.1`` (the two ``hsc-log`` networks: another, undocumented, logarithmic scale). Weights
stay in the user's wheel: this module holds only the architecture, the order of the stored arrays, and the
SHA-256 of every file.

Their activations are ReLU: the right-hand side is continuous and only piecewise smooth, so an observed order
above about two is not to be expected.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn

from diffnum.models.denoiser import NetworkDenoiser
from diffnum.models.loading.files import MissingModelError, ModelFileError, find_bytes, verified_bytes
from diffnum.schedules import VPLinear

__all__ = ["FETCH_COMMAND", "ScoreMixer", "galaxy_names", "load_galaxy"]

FETCH_COMMAND = "pip install --no-deps galaxygrad==0.2.1"
"""The one command that fetches the weights."""

_PACKAGE = "galaxygrad"
_T_MAX = 10.0
_PATCH, _CHANNELS, _HIDDEN, _BLOCKS = 4, 64, 512, 4


@dataclass(frozen=True, slots=True)
class _Weights:
    """One file of the wheel; ``value_range`` is typical of samples, background first."""

    file: str
    size: int
    sha256: str
    value_range: tuple[float, float]


_FILES = {
    "hsc-32": _Weights(
        "eqx_hsc_ScoreNet32.eqx",
        32,
        "cb926562fcdfcbd33952fea8b2394074e75cb652fb7824c4c809a5f89a0a6532",
        (0.0, 7.0),
    ),
    "hsc-64": _Weights(
        "eqx_hsc_ScoreNet64.eqx",
        64,
        "4758114b1b77e4640ca7b834a976202aeb126fd7332ec07842af46d72c6b2e01",
        (0.0, 9.0),
    ),
    "hsc-log-32": _Weights(
        "eqx_hsc_LogNet32.eqx",
        32,
        "49873516d95c02506fb21c386419bc3915cc88b90c92d90adc718dd3b7950169",
        (-4.0, 0.3),
    ),
    "hsc-log-64": _Weights(
        "eqx_hsc_LogNet64.eqx",
        64,
        "6d1e7387ff54a4142e68844acee1a37f42f0d3ec9ad1f1938d5f47c2ee25ee40",
        (-4.0, 0.3),
    ),
    "ztf-32": _Weights(
        "eqx_ZTF_ScoreNet32.eqx",
        32,
        "60b29e6b9b7b4baa4ddc84132d083991c9e1e2910f55f3e9ae16e65bf0df8f47",
        (0.0, 8.6),
    ),
    "ztf-64": _Weights(
        "eqx_ZTF_ScoreNet64.eqx",
        64,
        "806cb83de98d8aff924dd13b267bcb157d72ddb819804a541134a06adb391065",
        (0.0, 16.0),
    ),
    "lsst-60": _Weights(
        "eqx_lsst_ScoreNet60.eqx",
        60,
        "93ef40f17a6e7e87e6527c90d5c1d4f2b17c77bbedfc14b08d014c53aa2db0e0",
        (6.6, 11.2),
    ),
    "quasar-72": _Weights(
        "eqx_quasar_lens72.eqx",
        72,
        "b1574b390d2e450521f6234ff3f3288937c53237a76189883d61342c9d293c2f",
        (0.0, 11.0),
    ),
    "roman-120": _Weights(
        "eqx_roman_Scorenet120.eqx",
        120,
        "68a1d78410c877b7b50f466b505cb75d073f1f44e904420ed0fd9fb678201b03",
        (6.0, 11.6),
    ),
}


def galaxy_names() -> tuple[str, ...]:
    """Names of the nine networks, such as ``"hsc-32"``, whether or not the wheel is here."""
    return tuple(_FILES)


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, width))


class _MixerBlock(nn.Module):
    """Mixing of patches, then of channels; a block takes (batch, channels, patches) and gives the same."""

    def __init__(self, patches: int) -> None:
        super().__init__()
        self.mix_patches, self.mix_channels = _mlp(patches), _mlp(_CHANNELS)
        self.norm_patches = nn.LayerNorm((_CHANNELS, patches))
        self.norm_channels = nn.LayerNorm((patches, _CHANNELS))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        y = y + self.mix_patches(self.norm_patches(y))
        y = y.transpose(1, 2)
        y = y + self.mix_channels(self.norm_channels(y))
        return y.transpose(1, 2)


class ScoreMixer(nn.Module):
    """MLP-mixer score network on one-channel square images, conditioned on time by a second, constant, plane.

    Parameters
    ----------
    size
        Side of the image in pixels, a multiple of four.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size % _PATCH:
            msg = f"size={size} is not a multiple of the patch side {_PATCH}."
            raise ValueError(msg)
        self.side = size // _PATCH
        patches = self.side**2
        self.entry = nn.Conv2d(2, _CHANNELS, _PATCH, _PATCH)
        self.blocks = nn.ModuleList(_MixerBlock(patches) for _ in range(_BLOCKS))
        self.norm = nn.LayerNorm((_CHANNELS, patches))
        self.exit = nn.ConvTranspose2d(_CHANNELS, 1, _PATCH, _PATCH)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Evaluate the score.

        Parameters
        ----------
        x
            Noisy images, shape (batch, 1, size, size).
        t
            Times in [0, 10], shape (batch,).

        Returns
        -------
        torch.Tensor
            Score of the marginal density at ``x``, shaped like ``x``.
        """
        plane = (t / _T_MAX)[:, None, None, None].expand_as(x)
        y = self.entry(torch.cat([x, plane], dim=1)).flatten(2)
        for block in self.blocks:
            y = block(y)
        y = self.norm(y).unflatten(2, (self.side, self.side))
        return cast(torch.Tensor, self.exit(y))


def _slots(network: ScoreMixer) -> Iterator[tuple[str, torch.Tensor]]:
    """Name the parameters in the order in which the file stores them."""
    yield "entry.weight", network.entry.weight
    yield "entry.bias", cast(torch.Tensor, network.entry.bias)
    yield "exit.weight", network.exit.weight
    yield "exit.bias", cast(torch.Tensor, network.exit.bias)
    for i, block in enumerate(network.blocks):
        for part in (
            "mix_patches.0",
            "mix_patches.2",
            "mix_channels.0",
            "mix_channels.2",
            "norm_patches",
            "norm_channels",
        ):
            for kind in ("weight", "bias"):
                yield f"blocks.{i}.{part}.{kind}", block.get_parameter(f"{part}.{kind}")
    yield "norm.weight", network.norm.weight
    yield "norm.bias", network.norm.bias


def _read_network(content: bytes, size: int, where: str) -> ScoreMixer:
    """Fill a network from back-to-back ``.npy`` streams: one a parameter, then the horizon t = 10."""
    network = ScoreMixer(size)
    stream = io.BytesIO(content)
    try:
        for name, parameter in _slots(network):
            stored = torch.from_numpy(np.load(stream, allow_pickle=False))
            if name == "exit.weight":
                # Stored as the kernel of a correlation with a dilated input; torch wants that of the adjoint.
                stored = stored.flip(2, 3).transpose(0, 1)
            with torch.no_grad():
                parameter.copy_(stored.reshape(parameter.shape))
        horizon = float(np.load(stream, allow_pickle=False))
    except (EOFError, RuntimeError, ValueError) as error:
        msg = f"{where}: not the arrays of a {size}-pixel network ({error})."
        raise ModelFileError(msg) from error
    if horizon != _T_MAX or stream.read(1):
        msg = f"{where}: ends with horizon {horizon}, or goes on after it; expected {_T_MAX} at the end."
        raise ModelFileError(msg)
    return network


def load_galaxy(
    name: str, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None
) -> NetworkDenoiser:
    """Load a galaxy score network.

    Parameters
    ----------
    name
        One of :func:`galaxy_names`.
    dtype
        Floating dtype of the parameters; they are stored as float32.
    device
        Where to put them, the CPU by default.

    Returns
    -------
    NetworkDenoiser
        Prediction ``"score"`` on ``VPLinear(1, 1, t_max=10)``, sample shape (1, size, size).

    Raises
    ------
    ValueError
        If ``name`` is unknown.
    MissingModelError
        If the wheel is not on this machine; the message is the command that fetches it.
    ModelFileError
        If the SHA-256 of the file is not the recorded one.

    Notes
    -----
    Files are looked for in ``DIFFNUM_MODELS`` (a folder or a wheel), the installed package, and the user's
    cache folder. Most networks know little below t = 1e-3, the default end.
    """
    if name not in _FILES:
        msg = f"galaxy network {name!r} is unknown; use one of {', '.join(_FILES)}."
        raise ValueError(msg)
    device = torch.device("cpu") if device is None else device
    weights = _FILES[name]
    found = find_bytes(_PACKAGE, weights.file)
    if found is None:
        msg = (
            f"the weights of galaxies/{name} are not on this machine; fetch them with `{FETCH_COMMAND}`, or "
            "set DIFFNUM_MODELS to the wheel or to a folder that has it."
        )
        raise MissingModelError(msg)
    content, where = found
    network = _read_network(verified_bytes(content, weights.sha256, where), weights.size, where)
    network.eval().requires_grad_(False).to(device, dtype)
    return NetworkDenoiser(
        module=network,
        prediction="score",
        schedule=VPLinear(beta_min=1.0, beta_max=1.0, t_max=_T_MAX),
        sample_shape=(1, weights.size, weights.size),
        value_range=weights.value_range,
        name=f"galaxies/{name}",
        dtype=dtype,
        device=device,
        default_t_start=_T_MAX,
        default_t_end=1e-3,
    )

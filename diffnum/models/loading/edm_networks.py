"""The U-Nets of EDM checkpoints (DDPM++, NCSN++, ADM), built from the names and shapes of their parameters.

A checkpoint of Karras et al. (arXiv:2206.00364, appendix F.4) says everything about its network: blocks are
called ``enc.32x32_block0`` and so on, attention has a ``qkv``, a block that changes the resolution has its
``resample_filter``. So no configuration is needed. Two families are told apart, which differ in what is not stored:

* DDPM++ and NCSN++ (Song et al., arXiv:2011.13456, appendix H): one attention head, every sum divided by the root of
  two, the embedding added, the frequencies with both ends;
* ADM (Dhariwal and Nichol, arXiv:2105.05233): heads of 64 channels, plain sums, the embedding scales and shifts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TypeAlias, cast

import torch
from torch import nn
from torch.nn import functional

__all__ = ["EDMNetwork", "StateDict"]

StateDict: TypeAlias = Mapping[str, torch.Tensor]
"""Parameters and buffers by name."""

_ROOT_HALF = math.sqrt(0.5)
_PLACE = re.compile(r"(?P<part>enc|dec)\.(?P<res>\d+)x(?P=res)_(?P<role>[a-z]+(?:_[a-z]+)?)(?P<index>\d*)$")
_ORDER = ("conv", "down", "in", "up", "aux_down", "aux_skip", "aux_residual", "block", "aux_up", "aux_norm", "aux_conv")


class EDMNetwork(nn.Module):
    """A U-Net of an EDM checkpoint, called ``network(x, noise_level, labels)``.

    Parameters
    ----------
    state
        Parameters and buffers, without a common prefix; they are copied into the network.

    Raises
    ------
    ValueError
        If a name or shape does not belong to such a network.
    """

    map_layer0: nn.Linear
    map_layer1: nn.Linear
    map_label: nn.Linear

    def __init__(self, state: StateDict) -> None:
        super().__init__()
        places = _places(state)
        self.adm = "out_conv.weight" in state
        self.map_noise = _Frequencies(state, both_ends=not self.adm)
        for name in ("map_layer0", "map_layer1", "map_label", "map_augment"):
            if f"{name}.weight" in state:
                setattr(self, name, _linear(_below(state, name)))
        self.enc = nn.ModuleDict({place[4:]: self._block(place, state) for place in places if place[:3] == "enc"})
        self.dec = nn.ModuleDict({place[4:]: self._block(place, state) for place in places if place[:3] == "dec"})
        if self.adm:
            self.out_norm = _Norm(_below(state, "out_norm"), 1e-5)
            self.out_conv = _Convolution(_below(state, "out_conv"))
        self.label_dim = self.map_label.in_features if hasattr(self, "map_label") else 0
        first = next(iter(self.enc.values()))
        self.size = int(places[0].split(".")[1].split("x")[0])
        self.channels = int(cast(_Convolution, first).weight.shape[1])
        self.load_state_dict(dict(state))

    def forward(self, x: torch.Tensor, noise_level: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Evaluate the network.

        Parameters
        ----------
        x
            Scaled images, shape (batch, channels, size, size).
        noise_level
            c_noise of the preconditioning, shape (batch,).
        labels
            One-hot rows, shape (batch, label_dim); zeros, like ``None``, for no class.
        """
        embedding = self._embedding(noise_level, labels).to(x.dtype)
        skips: list[torch.Tensor] = []
        side = x
        for name, block in self.enc.items():
            if "aux_down" in name:
                side = block(side)
            elif "aux_skip" in name:
                x = skips[-1] = x + block(side)
            elif "aux_residual" in name:
                x = skips[-1] = side = (x + block(side)) * _ROOT_HALF
            else:
                x = block(x, embedding)
                skips.append(x)
        total: torch.Tensor | None = None
        for name, block in self.dec.items():
            if "aux_up" in name:
                total = block(total)
            elif "aux_norm" in name:
                side = functional.silu(block(x))
            elif "aux_conv" in name:
                total = block(side) if total is None else total + block(side)
            else:
                wanted = cast(_Block, block).channels_in
                x = block(torch.cat([x, skips.pop()], dim=1) if x.shape[1] != wanted else x, embedding)
        if self.adm:
            return cast(torch.Tensor, self.out_conv(functional.silu(self.out_norm(x))))
        return cast(torch.Tensor, total)

    def _embedding(self, noise_level: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        waves = self.map_noise(noise_level)
        dtype = self.map_layer0.weight.dtype
        if labels is None:  # no class is a row of zeros, to which the bias of the layer still belongs
            labels = torch.zeros(len(waves), self.label_dim, device=waves.device)
        if self.adm:
            found = self.map_layer1(functional.silu(self.map_layer0(waves.to(dtype))))
            found = found if not self.label_dim else found + self.map_label(labels.to(dtype))
            return functional.silu(found)
        cosines, sines = waves.to(dtype).chunk(2, dim=1)
        found = torch.cat([sines, cosines], dim=1)
        if self.label_dim:
            found = found + self.map_label(labels.to(dtype) * math.sqrt(self.label_dim))
        return functional.silu(self.map_layer1(functional.silu(self.map_layer0(found))))

    def _block(self, place: str, state: StateDict) -> nn.Module:
        own = _below(state, place)
        if "conv0.weight" in own:
            return _Block(own, adm=self.adm, up=place.endswith("_up"))
        if place.endswith("aux_norm"):
            return _Norm(own, 1e-6)
        return _Convolution(own, up=place.endswith("_up"), fused=place.endswith("aux_residual"))


class _Block(nn.Module):
    """Two convolutions with the embedding between them, and perhaps attention after them."""

    def __init__(self, state: StateDict, *, adm: bool, up: bool) -> None:
        super().__init__()
        eps, self.scale = (1e-5, 1.0) if adm else (1e-6, _ROOT_HALF)
        self.norm0, self.norm1 = (_Norm(_below(state, name), eps) for name in ("norm0", "norm1"))
        self.conv0 = _Convolution(_below(state, "conv0"), up=up)
        self.conv1 = _Convolution(_below(state, "conv1"))
        self.affine = _linear(_below(state, "affine"))
        self.channels_in, self.channels = int(self.conv0.weight.shape[1]), int(self.conv0.weight.shape[0])
        skip = _below(state, "skip")
        self.skip = _Convolution(skip, up=up) if skip else None
        self.heads = 0
        if "qkv.weight" in state:
            self.heads = self.channels // 64 if adm else 1
            self.norm2 = _Norm(_below(state, "norm2"), eps)
            self.qkv, self.proj = (_Convolution(_below(state, name)) for name in ("qkv", "proj"))

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        y = self.conv0(functional.silu(self.norm0(x)))
        change = self.affine(embedding)[:, :, None, None]
        if change.shape[1] == 2 * self.channels:
            scale, shift = change.chunk(2, dim=1)
            y = functional.silu(shift + self.norm1(y) * (scale + 1.0))
        else:
            y = functional.silu(self.norm1(y + change))
        y = (self.conv1(y) + (x if self.skip is None else self.skip(x))) * self.scale
        return (y + self._attention(y)) * self.scale if self.heads else cast(torch.Tensor, y)

    def _attention(self, y: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = y.shape
        mixed = self.qkv(self.norm2(y)).reshape(batch, self.heads, channels // self.heads, 3, height * width)
        query, key, value = (part.transpose(2, 3) for part in mixed.unbind(3))
        attended = functional.scaled_dot_product_attention(query, key, value)
        return cast(torch.Tensor, self.proj(attended.transpose(2, 3).reshape(y.shape)))


class _Convolution(nn.Module):
    """Convolution, preceded by a change of resolution where there is a filter for it; either may be missing."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    resample_filter: torch.Tensor | None

    def __init__(self, state: StateDict, *, up: bool = False, fused: bool = False) -> None:
        super().__init__()
        self.up, self.fused = up, fused
        for name in ("weight", "bias"):
            self.register_parameter(name, nn.Parameter(torch.empty_like(state[name])) if name in state else None)
        kernel = state.get("resample_filter")
        self.register_buffer("resample_filter", None if kernel is None else torch.empty_like(kernel))

    def forward(self, x: torch.Tensor, _: torch.Tensor | None = None) -> torch.Tensor:
        kernel, margin = self.resample_filter, 0 if self.weight is None else self.weight.shape[-1] // 2
        if kernel is None:
            return functional.conv2d(x, self.weight, self.bias, padding=margin)
        inner = (kernel.shape[-1] - 1) // 2
        if self.fused:  # the convolution comes first, and its margin is that of both
            x = functional.conv2d(x, self.weight, padding=margin + inner)
            x = functional.conv2d(x, self._each(kernel, x), stride=2, groups=x.shape[1])
            return x if self.bias is None else x + self.bias[:, None, None]
        if self.up:
            x = functional.conv_transpose2d(x, self._each(4.0 * kernel, x), stride=2, padding=inner, groups=x.shape[1])
        else:
            x = functional.conv2d(x, self._each(kernel, x), stride=2, padding=inner, groups=x.shape[1])
        return x if self.weight is None else functional.conv2d(x, self.weight, self.bias, padding=margin)

    @staticmethod
    def _each(kernel: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The same filter for every channel."""
        return kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)


class _Norm(nn.Module):
    """Group normalisation with groups of at least four channels, 32 groups at most."""

    def __init__(self, state: StateDict, eps: float) -> None:
        super().__init__()
        channels = state["weight"].shape[0]
        self.groups, self.eps = min(32, channels // 4), eps
        self.weight, self.bias = nn.Parameter(torch.empty(channels)), nn.Parameter(torch.empty(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.group_norm(x, self.groups, self.weight, self.bias, self.eps)


class _Frequencies(nn.Module):
    """Cosines and sines of the noise level: at random frequencies that are stored, or at a geometric sequence."""

    def __init__(self, state: StateDict, *, both_ends: bool) -> None:
        super().__init__()
        stored = state.get("map_noise.freqs")
        if stored is not None:
            self.register_buffer("freqs", torch.empty_like(stored))
        self.count = (state["map_layer0.weight"].shape[1]) // 2
        self.both_ends = both_ends

    def forward(self, level: torch.Tensor) -> torch.Tensor:
        if hasattr(self, "freqs"):
            rates = 2.0 * math.pi * cast(torch.Tensor, self.freqs)
        else:
            steps = torch.arange(self.count, dtype=torch.float32, device=level.device) / (self.count - self.both_ends)
            rates = (1.0 / 10000.0) ** steps
        angle = level[:, None] * rates.to(level.dtype)
        return torch.cat([angle.cos(), angle.sin()], dim=1)


def _linear(state: StateDict) -> nn.Linear:
    rows, columns = state["weight"].shape
    return nn.Linear(columns, rows, bias="bias" in state)


def _below(state: StateDict, place: str) -> dict[str, torch.Tensor]:
    """Entries under a place, with their names from there."""
    return {name[len(place) + 1 :]: value for name, value in state.items() if name.startswith(f"{place}.")}


def _places(state: StateDict) -> list[str]:
    """Blocks in the order in which they run; files sort their entries by name."""
    found = {".".join(name.split(".")[:2]) for name in state if name.startswith(("enc.", "dec."))}
    if not found or "map_layer0.weight" not in state:
        msg = "the parameters are not those of an EDM network: there is no enc.*, dec.* or map_layer0.weight"
        raise ValueError(msg)
    return sorted(found, key=_position)


def _position(place: str) -> tuple[bool, int, int, int]:
    match = _PLACE.match(place)
    if match is None or match["role"] not in _ORDER:
        msg = f"{place!r} is no block of an EDM network"
        raise ValueError(msg)
    resolution = int(match["res"])
    encoding = match["part"] == "enc"
    return not encoding, -resolution if encoding else resolution, _ORDER.index(match["role"]), int(match["index"] or 0)

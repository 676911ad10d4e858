"""diffusers networks as ``module(x, level, ...)``: what differs between them, and nothing else.

Each reader takes a network and gives its :class:`Parts`. Sinusoidal embeddings accept any time, so times are never
rounded here; only a learned table of embeddings has values at whole times alone (:class:`TableOfTimes`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import nn

__all__ = ["READERS", "ExactTimesteps", "Parts", "Request", "TableOfTimes", "read_network"]

Time: TypeAlias = Literal["continuous", "index"]


@dataclass(frozen=True, slots=True)
class Request:
    """What the caller, or the scheduler, decides about a network.

    Parameters
    ----------
    scale
        What the level is multiplied by: 1 for labels of a table, the number of training steps for flows.
    size
        Height and width of the sample, where the network takes any; ``None`` for the configured one.
    null_label
        Whether the last class of a U-Net is the null label; ``None`` for what the architecture implies.
    time
        ``"index"`` rounds times to whole ones; ``"continuous"`` also interpolates learned tables.
    guidance
        Scale told to networks that were distilled with guidance.
    """

    scale: float = 1.0
    size: tuple[int, int] | None = None
    null_label: bool | None = None
    time: Time | None = None
    guidance: float = 3.5


@dataclass(frozen=True, slots=True)
class Parts:
    """A network as a sampler sees it; the fields are those of :class:`~diffnum.models.NetworkDenoiser`.

    ``fixed`` are conditions that do not depend on the prompt: sizes and places, in latent pixels.
    """

    module: nn.Module
    sample_shape: tuple[int, ...]
    num_classes: int | None = None
    unconditional: bool = True
    conditions: Mapping[str, tuple[int | None, ...]] | None = None
    rounds_time: bool = False
    fixed: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


class ExactTimesteps(nn.Module):
    """diffusers' sinusoidal embedding with times, angles and functions in the precision of the time.

    The frequencies stay those that the network was trained with, computed in float32; diffusers rounds the time
    itself to float32 as well, whatever the dtype of the model.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.channels, self.scale = int(original.num_channels), float(original.scale)
        self.cosine_first, self.shift = bool(original.flip_sin_to_cos), float(original.downscale_freq_shift)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """Embed times, shape (batch,), as (batch, channels)."""
        half = self.channels // 2
        exponent = -math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device)
        angle = self.scale * t.double()[:, None] * torch.exp(exponent / (half - self.shift)).double()
        waves = [angle.cos(), angle.sin()] if self.cosine_first else [angle.sin(), angle.cos()]
        return nn.functional.pad(torch.cat(waves, dim=-1), (0, self.channels % 2))


class TableOfTimes(nn.Module):
    """A learned table of time embeddings at times between its entries: the nearest entry, or a line between two."""

    def __init__(self, table: nn.Embedding, *, continuous: bool) -> None:
        super().__init__()
        self.table, self.continuous = table, continuous

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """Embed times, shape (batch,)."""
        last = self.table.num_embeddings - 1
        if not self.continuous:
            return cast(torch.Tensor, self.table(t.round().long().clamp(0, last)))
        below = t.floor().clamp(0, last - 1)
        share = (t - below).to(self.table.weight.dtype)[:, None]
        index = below.long()
        return cast(torch.Tensor, (1 - share) * self.table(index) + share * self.table(index + 1))


class _Adapter(nn.Module):
    """A network whose level is scaled, perhaps rounded, and whose learned variance is dropped."""

    def __init__(self, network: nn.Module, request: Request, channels: int) -> None:
        super().__init__()
        self.network, self.request, self.channels = network, request, channels

    def timestep(self, level: torch.Tensor) -> torch.Tensor:
        """Time as the network counts it."""
        t = level * self.request.scale
        return t.round() if self.request.time == "index" else t

    def mean(self, out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """First half of the channels where the network also predicts a variance, in the dtype of the state."""
        return (out[:, : self.channels] if out.shape[1] == 2 * self.channels else out).to(x.dtype)


class _UNet2D(_Adapter):
    def forward(self, x: torch.Tensor, level: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        out = self.network(x, self.timestep(level), class_labels=labels, return_dict=False)
        return self.mean(out[0], x)


class _UNet2DCondition(_Adapter):
    def forward(self, x: torch.Tensor, level: torch.Tensor, **condition: torch.Tensor) -> torch.Tensor:
        added = {name: value for name, value in condition.items() if name in ("text_embeds", "time_ids")}
        out = self.network(
            x,
            self.timestep(level),
            encoder_hidden_states=condition["prompt_embeds"],
            added_cond_kwargs=added or None,
            return_dict=False,
        )
        return self.mean(out[0], x)


class _DiT(_Adapter):
    def forward(self, x: torch.Tensor, level: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        out = self.network(x, timestep=self.timestep(level), class_labels=labels, return_dict=False)
        return self.mean(out[0], x)


class _SD3(_Adapter):
    def forward(self, x: torch.Tensor, level: torch.Tensor, **condition: torch.Tensor) -> torch.Tensor:
        out = self.network(
            x,
            timestep=self.timestep(level),
            encoder_hidden_states=condition["prompt_embeds"],
            pooled_projections=condition["pooled_prompt_embeds"],
            return_dict=False,
        )
        return cast(torch.Tensor, out[0])


class _Flux(_Adapter):
    """Latents in patches of two by two, each with its place in the image.

    The network converts time to the dtype of the latents before it embeds it, in half precision to one of some 200
    values; its embedding works in float32, and is given the time that was asked for.
    """

    @contextmanager
    def exact(self, t: torch.Tensor) -> Iterator[None]:
        """Within the block the embedding of time is that of ``t``."""
        embedding = cast(nn.Module, self.network.time_text_embed)
        handle = embedding.register_forward_pre_hook(lambda _, given: (t, *given[1:]))
        try:
            yield
        finally:
            handle.remove()

    def forward(self, x: torch.Tensor, level: torch.Tensor, **condition: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        rows, columns = height // 2, width // 2
        patches = x.reshape(batch, channels, rows, 2, columns, 2).permute(0, 2, 4, 1, 3, 5)
        place = torch.zeros(rows, columns, 3, dtype=x.dtype, device=x.device)
        place[..., 1] = torch.arange(rows, device=x.device)[:, None]
        place[..., 2] = torch.arange(columns, device=x.device)
        text = condition["prompt_embeds"]
        distilled = bool(self.network.config.guidance_embeds)  # type: ignore[union-attr]
        t = self.timestep(level)
        with self.exact(t):
            out = self.network(
                patches.reshape(batch, rows * columns, 4 * channels),
                timestep=t / 1000,  # the network multiplies by 1000 itself
                encoder_hidden_states=text,
                pooled_projections=condition["pooled_prompt_embeds"],
                img_ids=place.reshape(rows * columns, 3),
                txt_ids=torch.zeros(text.shape[1], 3, dtype=x.dtype, device=x.device),
                guidance=torch.full((batch,), self.request.guidance, device=x.device) if distilled else None,
                return_dict=False,
            )[0]
        patches = out.reshape(batch, rows, columns, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return cast(torch.Tensor, patches.reshape(x.shape))


def _pair(size: Any) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def _shape(network: Any, request: Request) -> tuple[int, ...]:
    """Shape of a sample: channels in, and the configured size or the caller's."""
    config = network.config
    size = request.size or config.get("sample_size")
    if size is None:
        msg = f"sample_size: {type(network).__name__} has none in its configuration; pass sample_size="
        raise ValueError(msg)
    if config.out_channels not in (None, config.in_channels, 2 * config.in_channels):
        msg = (
            f"{type(network).__name__} takes {config.in_channels} channels and gives {config.out_channels}: it is made "
            "for inpainting or editing; wrap it with diffnum.models.wrap and a module that adds the other channels"
        )
        raise ValueError(msg)
    return (int(config.in_channels), *_pair(size))


def _read_unet(network: Any, request: Request) -> Parts:
    config, shape = network.config, _shape(network, request)
    rounds = False
    if config.time_embedding_type == "learned":
        rounds = request.time != "continuous"
        network.time_proj = TableOfTimes(network.time_proj, continuous=not rounds)
    classes = config.num_class_embeds
    if config.class_embed_type is not None:
        msg = (
            f"class_embed_type={config.class_embed_type!r}: the network takes numbers where others take classes; wrap "
            "it with diffnum.models.wrap"
        )
        raise ValueError(msg)
    null = bool(request.null_label)
    if null and classes is None:
        msg = "null_label=True: the network has no classes; leave null_label out"
        raise ValueError(msg)
    return Parts(
        _UNet2D(network, request, shape[0]),
        shape,
        num_classes=None if classes is None else int(classes) - null,
        unconditional=classes is None or null,
        rounds_time=rounds or request.time == "index",
    )


def _read_unet_condition(network: Any, request: Request) -> Parts:
    config, shape = network.config, _shape(network, request)
    conditions: dict[str, tuple[int | None, ...]] = {"prompt_embeds": (None, int(config.cross_attention_dim))}
    fixed: dict[str, tuple[float, ...]] = {}
    if config.addition_embed_type == "text_time":
        sizes = 6 * config.addition_time_embed_dim
        conditions |= {"text_embeds": (config.projection_class_embeddings_input_dim - sizes,), "time_ids": (6,)}
        height, width = map(float, shape[1:])
        fixed = {"time_ids": (height, width, 0.0, 0.0, height, width)}
    elif config.addition_embed_type is not None or config.class_embed_type is not None:
        msg = (
            f"addition_embed_type={config.addition_embed_type!r}, class_embed_type={config.class_embed_type!r}: "
            "diffnum knows none and 'text_time'; use diffnum.models.wrap"
        )
        raise ValueError(msg)
    rounds = request.time == "index"
    module = _UNet2DCondition(network, request, shape[0])
    return Parts(module, shape, conditions=conditions, rounds_time=rounds, fixed=fixed)


def _read_dit(network: Any, request: Request) -> Parts:
    shape = _shape(network, request)
    classes = int(network.config.num_embeds_ada_norm)
    return Parts(_DiT(network, request, shape[0]), shape, num_classes=classes, rounds_time=request.time == "index")


def _read_sd3(network: Any, request: Request) -> Parts:
    config, shape = network.config, _shape(network, request)
    conditions = {
        "prompt_embeds": (None, int(config.joint_attention_dim)),
        "pooled_prompt_embeds": (int(config.pooled_projection_dim),),
    }
    rounds = request.time == "index"
    return Parts(_SD3(network, request, shape[0]), shape, conditions=conditions, rounds_time=rounds)


def _read_flux(network: Any, request: Request) -> Parts:
    config = network.config
    size = (128, 128) if request.size is None else request.size
    if any(side % 2 for side in size):
        msg = f"sample_size={size}: Flux takes patches of two by two; give even numbers of latents"
        raise ValueError(msg)
    shape = (int(config.in_channels) // 4, *size)
    conditions = {
        "prompt_embeds": (None, int(config.joint_attention_dim)),
        "pooled_prompt_embeds": (int(config.pooled_projection_dim),),
    }
    rounds = request.time == "index"
    return Parts(_Flux(network, request, shape[0]), shape, conditions=conditions, rounds_time=rounds)


READERS: Mapping[str, Callable[[Any, Request], Parts]] = {
    "UNet2DModel": _read_unet,
    "UNet2DConditionModel": _read_unet_condition,
    "DiTTransformer2DModel": _read_dit,
    "Transformer2DModel": _read_dit,
    "SD3Transformer2DModel": _read_sd3,
    "FluxTransformer2DModel": _read_flux,
}
"""Class of a diffusers network to its reader."""


def read_network(network: nn.Module, request: Request, dtype: torch.dtype) -> Parts:
    """Adapt a diffusers network.

    Parameters
    ----------
    network
        The network, in evaluation mode; its time embedding is exchanged where the dtype asks for it.
    request
        What the caller decides.
    dtype
        Of the parameters; a float64 network gets its times in float64.

    Raises
    ------
    ValueError
        If the class is unknown, or its configuration asks for what a sampler cannot give.
    """
    from diffusers.models.embeddings import Timesteps

    kind = type(network).__name__
    if kind not in READERS:
        msg = (
            f"{kind} is no network that diffnum knows ({', '.join(READERS)}); wrap it with "
            "diffnum.models.wrap(module, ...)"
        )
        raise ValueError(msg)
    if dtype == torch.float64:
        for parent in list(network.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, Timesteps):
                    setattr(parent, name, ExactTimesteps(child))
    return READERS[kind](network, request)

"""diffusers networks and pipelines small enough for tests, built from their configurations with random weights."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel

__all__ = ["ddpm", "unet"]


def unet(**changes: Any) -> UNet2DModel:
    """Unconditional or class-conditional U-Net on (3, 8, 8), in evaluation mode."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
        "attention_head_dim": 8,
    }
    return UNet2DModel(**{**settings, **changes}).eval()


def ddpm(scheduler: Any = None, **changes: Any) -> DDPMPipeline:
    """Pipeline of :func:`unet`."""
    return DDPMPipeline(unet(**changes), scheduler or DDIMScheduler(clip_sample=False))

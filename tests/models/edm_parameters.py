"""Parameters of EDM networks by rule, so that only their names and shapes, and what came out, need be stored."""

from __future__ import annotations

import zlib

import numpy as np
import torch

__all__ = ["drawn", "inputs"]


def drawn(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Parameter ``name``: normal draws, scaled so that signals keep their size."""
    values = np.random.Generator(np.random.Philox(zlib.crc32(name.encode()))).standard_normal(shape)
    fan_in = max(1, int(np.prod(shape[1:])))
    scale = 0.3 if name.endswith("bias") else fan_in**-0.5
    base = 1.0 if ".norm" in name and name.endswith("weight") else 0.0
    return torch.from_numpy(base + scale * values).float()


def inputs(channels: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images and their noise levels."""
    return drawn("x", (2, channels, size, size)) * (channels * size * size) ** 0.5, torch.tensor([0.7, -0.4])

"""The autoencoder of a latent model: latents to pixels and back, with the scale that the denoiser was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch

__all__ = ["Latents"]


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """Latents ``z = (encode(pixels) - shift) scale`` of an autoencoder.

    Parameters
    ----------
    autoencoder
        A diffusers autoencoder (``AutoencoderKL``), in evaluation mode.
    scale, shift
        ``scaling_factor`` and ``shift_factor`` of its configuration.
    """

    autoencoder: Any
    scale: float = 1.0
    shift: float = 0.0

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Pixels of latents.

        Parameters
        ----------
        z
            Shape (batch, channels, height, width), as the denoiser uses them.

        Returns
        -------
        torch.Tensor
            Shape (batch, 3, factor height, factor width), roughly in [-1, 1].
        """
        with torch.no_grad():
            return cast(torch.Tensor, self.autoencoder.decode(z / self.scale + self.shift, return_dict=False)[0])

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Latents of pixels: the mean of the encoder's law.

        Parameters
        ----------
        pixels
            Shape (batch, 3, height, width), in [-1, 1].

        Returns
        -------
        torch.Tensor
            Shape (batch, channels, height / factor, width / factor).
        """
        with torch.no_grad():
            law = self.autoencoder.encode(pixels, return_dict=False)[0]
        mean = law.mean if hasattr(law, "mean") else law
        return cast(torch.Tensor, (mean - self.shift) * self.scale)

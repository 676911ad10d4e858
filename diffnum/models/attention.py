"""Networks whose self-attention does not mix places: what perturbed-attention guidance moves away from."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch

from diffnum.models.denoiser import NetworkDenoiser

__all__ = ["perturbed_attention"]


class _Identity:
    """Attention processor of diffusers with the identity in the place of the map: each place keeps its own value."""

    def __call__(  # diffusers drops arguments that it does not find in the signature, with a warning
        self,
        attention: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,  # noqa: ARG002
        attention_mask: torch.Tensor | None = None,  # noqa: ARG002
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        x = hidden_states
        if attention.spatial_norm is not None:
            x = attention.spatial_norm(x, temb)
        picture = x.shape if x.ndim == 4 else None
        if picture is not None:
            x = x.flatten(2).transpose(1, 2)
        if attention.group_norm is not None:
            x = attention.group_norm(x.transpose(1, 2)).transpose(1, 2)
        x = attention.to_out[1](attention.to_out[0](attention.to_v(x)))
        if picture is not None:
            x = x.transpose(-1, -2).reshape(picture)
        if attention.residual_connection:
            x = x + hidden_states
        return x / attention.rescale_output_factor  # type: ignore[no-any-return]


def perturbed_attention(model: NetworkDenoiser, layers: str = "mid_block") -> NetworkDenoiser:
    """Return the same network with the map of its self-attention replaced by the identity in chosen layers.

    The copy shares all weights. For :func:`diffnum.guidance.perturbed_attention`.

    Parameters
    ----------
    model : NetworkDenoiser
        A network of diffusers with self-attention, such as ``dn.load("toy/emoji-32")``.
    layers : str
        Part of the names of the layers, such as ``"mid_block"`` (the default) or ``"up_blocks.1"``; an empty text for
        all.

    Returns
    -------
    NetworkDenoiser

    Raises
    ------
    ValueError
        If no layer of this name has self-attention.

    References
    ----------
    Ahn et al. 2024, arXiv:2403.17377, section 4; KU-CVLAB/Perturbed-Attention-Guidance at ba1c0c9d,
    classifier_sample.py, ``replace_attn_layers``.
    """
    shared = {id(tensor): tensor for tensor in (*model.module.parameters(), *model.module.buffers())}
    module = copy.deepcopy(model.module, shared)
    known = {name: part for name, part in module.named_modules() if _is_self_attention(part)}
    chosen = [part for name, part in known.items() if layers in name]
    if not chosen:
        there = ", ".join(known) or "none"
        msg = f"layers={layers!r}: no self-attention of {model.name} has this in its name; there are: {there}"
        raise ValueError(msg)
    for part in chosen:
        part.set_processor(_Identity())
    return replace(model, module=module)


def _is_self_attention(part: Any) -> bool:
    return hasattr(part, "set_processor") and hasattr(part, "to_v") and not getattr(part, "is_cross_attention", False)

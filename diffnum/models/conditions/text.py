"""Prompts to embeddings, by the text encoders of a diffusers pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from diffnum.models.conditions.prompts import Condition

__all__ = ["encoder_of", "null_of"]

_NAMES: Mapping[str, tuple[str, ...]] = {
    "StableDiffusionPipeline": ("prompt_embeds", ""),
    "StableDiffusionXLPipeline": ("prompt_embeds", "", "text_embeds", ""),
    "StableDiffusion3Pipeline": ("prompt_embeds", "", "pooled_prompt_embeds", ""),
    "FluxPipeline": ("prompt_embeds", "pooled_prompt_embeds", ""),
}
"""What ``encode_prompt`` of a pipeline returns, by the names of the network; what is not used has no name."""


def encoder_of(
    pipe: Any, fixed: Mapping[str, tuple[float, ...]], device: torch.device
) -> Callable[[list[str]], Condition] | None:
    """Function that embeds a list of prompts.

    Parameters
    ----------
    pipe
        A diffusers pipeline, or ``None``.
    fixed
        Conditions that do not depend on the text, one row each, in latent pixels.
    device
        Where the encoders run.

    Returns
    -------
    callable or None
        ``None`` where the pipeline has no text encoder.
    """
    names = _NAMES.get(type(pipe).__name__)
    if names is None or getattr(pipe, "text_encoder", None) is None or getattr(pipe, "tokenizer", None) is None:
        return None
    taken = inspect.signature(pipe.encode_prompt).parameters
    known = {"device": device, "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    options: dict[str, Any] = {name: value for name, value in known.items() if name in taken}
    options |= {name: None for name in ("prompt_2", "prompt_3") if name in taken}

    def encode(texts: list[str]) -> Condition:
        with torch.no_grad():
            found = pipe.encode_prompt(texts, **options)
        named = {name: value for name, value in zip(names, found, strict=True) if name}
        rows = {name: torch.tensor([row] * len(texts)) for name, row in fixed.items()}
        return named | {name: pipe.vae_scale_factor * row for name, row in rows.items()}

    return encode


def null_of(
    pipe: Any, encode: Callable[[list[str]], Condition] | None, fixed: Mapping[str, tuple[float, ...]]
) -> Condition | None:
    """Embeddings that the pipeline takes for "no prompt": zeros for some, and by default those of the empty prompt.

    Parameters
    ----------
    pipe
        A diffusers pipeline, or ``None``.
    encode
        What :func:`encoder_of` returned.
    fixed
        Conditions that do not depend on the text; they stay.

    Returns
    -------
    mapping or None
        ``None`` where the empty prompt is to be embedded.
    """
    if encode is None or not pipe.config.get("force_zeros_for_empty_prompt"):
        return None
    return {name: value if name in fixed else torch.zeros_like(value) for name, value in encode([""]).items()}

"""Prompts to embeddings, by the text encoders of a diffusers pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from diffnum.models.prompts import Condition

__all__ = ["encoder_of"]

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
        Conditions that do not depend on the text, one row each.
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
        return named | {name: torch.tensor([row] * len(texts)) for name, row in fixed.items()}

    return encode

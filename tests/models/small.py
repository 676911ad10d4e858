"""diffusers networks and pipelines small enough for tests, built from their configurations with random weights."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

__all__ = [
    "autoencoder",
    "ddpm",
    "dit",
    "flux",
    "stable_diffusion",
    "stable_diffusion_3",
    "stable_diffusion_xl",
    "unet",
]


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


def dit(scheduler: Any = None, *, sample_size: int = 4, num_embeds_ada_norm: int = 5) -> DiTPipeline:
    """Class-conditional latent transformer with a learned variance, and its autoencoder."""
    torch.manual_seed(0)
    network = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=sample_size,
        patch_size=2,
        num_embeds_ada_norm=num_embeds_ada_norm,
    )
    _shake(network)
    return DiTPipeline(network.eval(), autoencoder(), scheduler or DDIMScheduler(clip_sample=False))


def autoencoder(**changes: Any) -> AutoencoderKL:
    """Autoencoder of four channels that halves the image once."""
    torch.manual_seed(1)
    settings: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D"),
        "up_block_types": ("UpDecoderBlock2D", "UpDecoderBlock2D"),
        "block_out_channels": (4, 8),
        "norm_num_groups": 2,
        "latent_channels": 4,
        "sample_size": 8,
    }
    return AutoencoderKL(**{**settings, **changes}).eval()


def _tokenizer() -> CLIPTokenizer:
    """Tokenizer of a made-up vocabulary: letters, with and without the end of a word."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=8)


def _text_settings(**changes: Any) -> CLIPTextConfig:
    settings: dict[str, Any] = {
        "vocab_size": 54,
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 8,
        "projection_dim": 6,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    return CLIPTextConfig(**{**settings, **changes})


def stable_diffusion(scheduler: Any = None, *, sample_size: int = 4) -> StableDiffusionPipeline:
    """Latent text-to-image pipeline with its text encoder."""
    torch.manual_seed(0)
    network = UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    return StableDiffusionPipeline(
        vae=autoencoder(scaling_factor=0.18215),
        text_encoder=CLIPTextModel(_text_settings()).eval(),
        tokenizer=_tokenizer(),
        unet=network.eval(),
        scheduler=scheduler
        or EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl() -> StableDiffusionXLPipeline:
    """Two text encoders, a pooled embedding, and the sizes of the image as a condition."""
    torch.manual_seed(0)
    network = UNet2DConditionModel(
        sample_size=4,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 + 6 * 4,
    )
    return StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=CLIPTextModel(_text_settings()).eval(),
        text_encoder_2=CLIPTextModelWithProjection(_text_settings()).eval(),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        unet=network.eval(),
        scheduler=DPMSolverMultistepScheduler(
            beta_schedule="scaled_linear", prediction_type="v_prediction", steps_offset=1
        ),
    )


def stable_diffusion_3(shift: float = 3.0, *, sample_size: int = 4) -> StableDiffusion3Pipeline:
    """Flow-matching transformer with two text encoders; the third is left out, as it may be."""
    torch.manual_seed(0)
    network = SD3Transformer2DModel(
        sample_size=sample_size,
        patch_size=2,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=12,
        out_channels=4,
        pos_embed_max_size=8,
    )
    _shake(network)
    return StableDiffusion3Pipeline(
        transformer=network.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
        vae=autoencoder(shift_factor=0.1, scaling_factor=1.5),
        text_encoder=CLIPTextModelWithProjection(_text_settings()).eval(),
        tokenizer=_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(_text_settings()).eval(),
        tokenizer_2=_tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    )


def flux(distilled: bool = True) -> FluxTransformer2DModel:
    """Flow-matching transformer on patches, told its guidance."""
    torch.manual_seed(0)
    network = FluxTransformer2DModel(
        patch_size=1,
        in_channels=8,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=6,
        guidance_embeds=distilled,
        axes_dims_rope=(4, 4, 8),
    )
    _shake(network)
    return network.eval()


def _shake(network: torch.nn.Module) -> None:
    """Fill layers that start at zero, behind which a test would see nothing."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)

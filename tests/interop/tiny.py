"""Real pipelines of diffusers, small enough for a test, and the network inside each as a Denoiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

BATCH = 2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ddpm() -> Any:
    """Unconditional pixels: UNet2DModel, epsilon prediction."""
    from diffusers import DDPMScheduler

    from tests.models import small

    return quiet(small.ddpm(DDPMScheduler(clip_sample=False, timestep_spacing="trailing")))


def autoencoder(channels: int = 4) -> Any:
    from diffusers import AutoencoderKL

    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(8, 16),
        norm_num_groups=4,
        latent_channels=channels,
        shift_factor=0.1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()


def dit() -> Any:
    """Class-conditional latents: DiT, guidance, learned variance (twice the channels)."""
    from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    torch.manual_seed(2)
    transformer = DiTTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=4,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    torch.nn.init.normal_(transformer.proj_out_2.weight, std=0.3)
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    return quiet(DiTPipeline(transformer.eval(), autoencoder(), scheduler))


def stable_diffusion(kind: str = "StableDiffusionPipeline", **scheduler: Any) -> Any:
    """Text to image on latents: UNet2DConditionModel, AutoencoderKL, CLIPTextModel, guidance."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(3)
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=8,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=16,
            intermediate_size=24,
            num_attention_heads=2,
            num_hidden_layers=1,
            vocab_size=40,
            bos_token_id=0,
            eos_token_id=2,
            pad_token_id=1,
        )
    )
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    return quiet(
        getattr(diffusers, kind)(
            vae=autoencoder(),
            text_encoder=text.eval(),
            tokenizer=None,
            unet=unet.eval(),
            scheduler=diffusers.DPMSolverMultistepScheduler(**{**betas, "timestep_spacing": "trailing", **scheduler}),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    )


def prompt(pipe: Any) -> dict[str, Any]:
    """Embeddings of two prompts and of none, from the pipeline's own text encoder."""
    ids = torch.arange(10).reshape(2, 5)
    with torch.no_grad():
        return {
            "prompt_embeds": pipe.text_encoder(ids)[0],
            "negative_prompt_embeds": pipe.text_encoder(torch.zeros_like(ids))[0],
        }


def stable_diffusion_3(kind: str = "StableDiffusion3Pipeline", **scheduler: Any) -> Any:
    """Flow matching: SD3Transformer2DModel."""
    import diffusers

    torch.manual_seed(4)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        out_channels=4,
        pos_embed_max_size=8,
    )
    return quiet(
        getattr(diffusers, kind)(
            transformer=transformer.eval(),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **scheduler}),
            vae=autoencoder(),
            text_encoder=None,
            tokenizer=None,
            text_encoder_2=None,
            tokenizer_2=None,
            text_encoder_3=None,
            tokenizer_3=None,
        )
    )


def embeddings() -> dict[str, Any]:
    """Prompt embeddings for SD3."""
    shapes = {"prompt_embeds": (BATCH, 4, 16), "pooled_prompt_embeds": (BATCH, 16)}
    found = {name: torch.randn(shape, generator=seeded(5)) for name, shape in shapes.items()}
    return found | {f"negative_{name}": 0.5 * value for name, value in found.items()}


def flux() -> Any:
    """Flow matching whose shift depends on the resolution: FluxTransformer2DModel."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(6)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(2, 2, 4),
    )
    return quiet(
        FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=autoencoder(),
            text_encoder=None,
            tokenizer=None,
            text_encoder_2=None,
            tokenizer_2=None,
            transformer=transformer.eval(),
        )
    )


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


@dataclass(frozen=True)
class Network:
    """A function of (x, label) as a Denoiser on the scheduler's process."""

    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    schedule: Any
    prediction: Any
    labels: dict[float, Any]

    def __call__(self, x: torch.Tensor, t: float) -> torch.Tensor:
        with torch.no_grad():
            return self.function(x, self.labels[t])


def network(scheduler: Any, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Network:
    """The network that a pipeline calls, told the labels of the scheduler's timesteps."""
    times = [t for step in scheduler.plan.stages for t, _, _ in step]
    return Network(
        function, scheduler.schedule, scheduler.prediction, dict(zip(times, scheduler.timesteps, strict=True))
    )

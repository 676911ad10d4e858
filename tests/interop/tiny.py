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


def dit() -> Any:
    """Class-conditional latents: DiT, guidance, learned variance (twice the channels)."""
    from diffusers import DDIMScheduler

    from tests.models import small

    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    return quiet(small.dit(scheduler, sample_size=8, num_embeds_ada_norm=1000))  # the pipeline's null class is 1000


def stable_diffusion(kind: str = "StableDiffusionPipeline", **scheduler: Any) -> Any:
    """Text to image on latents: UNet2DConditionModel, AutoencoderKL, CLIPTextModel, guidance."""
    import diffusers

    from tests.models import small

    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    solver = diffusers.DPMSolverMultistepScheduler(**{**betas, "timestep_spacing": "trailing", **scheduler})
    parts = small.stable_diffusion(solver, sample_size=8).components
    return quiet(getattr(diffusers, kind)(**parts, requires_safety_checker=False))


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

    from tests.models import small

    parts = small.stable_diffusion_3(sample_size=8).components
    euler = diffusers.FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **scheduler})
    return quiet(getattr(diffusers, kind)(**{**parts, "scheduler": euler}))


def embeddings() -> dict[str, Any]:
    """Prompt embeddings for SD3."""
    shapes = {"prompt_embeds": (BATCH, 4, 32), "pooled_prompt_embeds": (BATCH, 12)}
    found = {name: torch.randn(shape, generator=seeded(5)) for name, shape in shapes.items()}
    return found | {f"negative_{name}": 0.5 * value for name, value in found.items()}


def flux() -> Any:
    """Flow matching whose shift depends on the resolution: FluxTransformer2DModel."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

    from tests.models import small

    absent = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    autoencoder = small.autoencoder(latent_channels=2, shift_factor=0.1)
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    return quiet(FluxPipeline(scheduler, autoencoder, transformer=small.flux(distilled=False), **absent))


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

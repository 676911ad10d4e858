"""PlanScheduler inside the pipelines of diffusers: pixels, classes, text and flows, from noise and from images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
import torch

import diffnum as dn
from diffnum.interop import PlanScheduler
from tests.interop import tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:.*"
    ),  # what the installed versions of diffusers and transformers say of each other
]
STEPS = 5


def images(pipe: Any, **call: Any) -> Any:
    """Images as numbers, from a fixed seed; some pipelines hand no generator on to the steps."""
    torch.manual_seed(0)
    return pipe(output_type="np", generator=tiny.seeded(), **call).images


def swap(pipe: Any, method: str, **config: Any) -> None:
    pipe.scheduler = PlanScheduler.from_config(pipe.scheduler.config, method=method, **config)


SD3_NODES = [1.0, 0.8, 0.6, 0.3, 0.1]


def _flux_call(pipe: Any) -> dict[str, Any]:
    shapes = {"prompt_embeds": (2, 4, 12), "pooled_prompt_embeds": (2, 6)}
    drawn = {name: torch.randn(shape, generator=tiny.seeded(9)) for name, shape in shapes.items()}
    return {**drawn, "height": 16, "width": 16, "num_inference_steps": STEPS}


CASES: dict[str, tuple[Callable[[], Any], Callable[[Any], dict[str, Any]], str, dict[str, Any]]] = {
    "DDPM": (tiny.ddpm, lambda pipe: {"batch_size": 2, "num_inference_steps": STEPS}, "ddpm", {}),
    "DiT": (
        tiny.dit,
        lambda pipe: {"class_labels": [1, 2], "num_inference_steps": STEPS},
        "ddim",
        {"variance_type": "learned"},
    ),
    "Stable Diffusion": (
        lambda: tiny.stable_diffusion(lower_order_final=False),
        lambda pipe: {**tiny.prompt(pipe), "num_inference_steps": STEPS},
        "dpmpp_2m",
        {},
    ),
    "Stable Diffusion 3": (
        tiny.stable_diffusion_3,
        lambda pipe: {**tiny.embeddings(), "sigmas": SD3_NODES},
        "ddim",
        {},
    ),
    "Flux": (tiny.flux, _flux_call, "flow_euler", {}),
}


@pytest.mark.parametrize("name", CASES)
def test_pipelines_give_the_images_of_their_own_scheduler_where_the_method_is_the_same(name: str) -> None:
    build, call, method, config = CASES[name]
    pipe = build()
    expected = images(pipe, **call(pipe))
    swap(pipe, method, **config)
    np.testing.assert_allclose(images(pipe, **call(pipe)), expected, rtol=0, atol=2e-5)
    assert float(np.std(expected)) > 0.01


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", ["unipc_3", "edm_heun", "sde_dpmpp_2m", "dpmpp_3s"])
def test_pipelines_run_any_method_and_repeat_it(name: str, method: str) -> None:
    build, call, _, config = CASES[name]
    pipe = build()
    swap(pipe, method, **config)
    first = images(pipe, **call(pipe))
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(images(pipe, **call(pipe)), first)


def test_a_pixel_pipeline_equals_solve() -> None:
    pipe = tiny.ddpm()
    swap(pipe, "unipc_3", timestep_spacing="uniform_half_log_snr")
    found = images(pipe, batch_size=2, num_inference_steps=STEPS)
    model = tiny.network(pipe.scheduler, lambda x, t: pipe.unet(x, t).sample)
    x = torch.randn(2, 3, 8, 8, generator=tiny.seeded())
    expected = dn.solve(pipe.scheduler.plan, model, x)
    np.testing.assert_allclose(found, (expected / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy(), rtol=0, atol=1e-6)


def test_a_guided_latent_pipeline_equals_solve() -> None:
    pipe = tiny.stable_diffusion()
    swap(pipe, "edm_heun")
    embeddings = tiny.prompt(pipe)
    latents = torch.randn(2, 4, 8, 8, generator=tiny.seeded(2))
    call = {**embeddings, "num_inference_steps": STEPS, "latents": latents}
    found = pipe(output_type="latent", guidance_scale=3.0, **call).images
    both = torch.cat([embeddings["negative_prompt_embeds"], embeddings["prompt_embeds"]])

    def guided(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        free, bound = pipe.unet(torch.cat([x, x]), t, encoder_hidden_states=both).sample.chunk(2)
        return free + 3.0 * (bound - free)

    torch.testing.assert_close(found, dn.solve(pipe.scheduler.plan, tiny.network(pipe.scheduler, guided), latents))


@pytest.mark.parametrize(
    ("method", "strength"), [("dpmpp_2m", 0.6), ("edm_heun", 0.6), ("unipc_3", 0.3), ("dpmpp_2m", 1.0)]
)
def test_image_to_image_begins_in_the_middle(method: str, strength: float) -> None:
    pipe = tiny.stable_diffusion("StableDiffusionImg2ImgPipeline")
    picture = torch.rand(2, 3, 16, 16, generator=tiny.seeded(3))
    call = {**tiny.prompt(pipe), "image": picture, "strength": strength, "num_inference_steps": 10}
    if method == "dpmpp_2m":
        pipe.scheduler.register_to_config(lower_order_final=False)
        expected = images(pipe, **call)
        swap(pipe, method)
        np.testing.assert_allclose(images(pipe, **call), expected, rtol=0, atol=2e-5)
    else:
        swap(pipe, method)
        assert np.isfinite(images(pipe, **call)).all()
    evaluations = pipe.scheduler.step_index - (pipe.scheduler.begin_index or 0)
    assert evaluations == len(pipe.scheduler.timesteps) - round(10 * (1 - strength)) * pipe.scheduler.order


def test_image_to_image_on_a_flow_equals_euler() -> None:
    pipe = tiny.stable_diffusion_3("StableDiffusion3Img2ImgPipeline", shift=1.0)
    picture = torch.rand(2, 3, 16, 16, generator=tiny.seeded(3))
    call = {**tiny.embeddings(), "image": picture, "strength": 0.5, "num_inference_steps": 8, "height": 16, "width": 16}
    expected = images(pipe, **call)
    swap(pipe, "ddim")
    np.testing.assert_allclose(images(pipe, **call), expected, rtol=0, atol=2e-5)


def test_callbacks_see_every_evaluation_and_may_change_the_latents() -> None:
    pipe = tiny.stable_diffusion()
    swap(pipe, "unipc_3")
    seen: list[torch.Tensor] = []

    def watch(pipe: Any, i: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append(tensors["latents"])
        return {"latents": tensors["latents"] + (0.25 if i == 2 else 0.0)} if change else {}

    call = {**tiny.prompt(pipe), "num_inference_steps": STEPS, "callback_on_step_end": watch}
    change = False
    before = images(pipe, **call)
    assert len(seen) == len(pipe.scheduler.timesteps) == STEPS
    assert len({x.data_ptr() for x in seen}) == STEPS  # none of them was written over
    change = True
    assert np.abs(images(pipe, **call) - before).max() > 1e-3


def test_a_pipeline_is_saved_with_it_and_loaded_again(tmp_path: Any) -> None:
    from diffusers import DDPMPipeline

    pipe = tiny.ddpm()
    swap(pipe, "ghvb_2.8")
    pipe.save_pretrained(tmp_path)
    again = tiny.quiet(DDPMPipeline.from_pretrained(tmp_path))
    assert isinstance(again.scheduler, PlanScheduler)
    call = {"batch_size": 2, "num_inference_steps": STEPS}
    np.testing.assert_allclose(images(again, **call), images(pipe, **call), rtol=0, atol=1e-6)

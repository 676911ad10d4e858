"""Plan and adapter equal the pipeline's own scheduler where both claim the same method, on the same timesteps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FluxPipeline,
    HeunDiscreteScheduler,
    ScoreSdeVeScheduler,
    UniPCMultistepScheduler,
)

import diffnum as dn
from diffnum.foreign.precision import swapped
from diffnum.guidance import classifier_free
from diffnum.models import NetworkDenoiser
from diffnum.models.loading.tables import PREDICTION_TYPES
from tests.models import small

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

ALMOST = 1e-9
"""How far from pure noise a run starts whose scheduler starts at alpha = 0."""


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def official(scheduler: Any, model: NetworkDenoiser, x: torch.Tensor, steps: int) -> tuple[torch.Tensor, list[float]]:
    """Loop of a pipeline in float64, with tables in float64: its end, and the labels that were asked for, each once."""
    schedule = model.schedule
    scheduler.alphas_cumprod = torch.tensor(schedule.to_dict()["alphas_cumprod"], dtype=torch.float64)
    asked = []
    with swapped(double=True):
        scheduler.set_timesteps(steps)
        if hasattr(scheduler, "sigmas"):  # the same numbers that it has just rounded to float32
            levels = [math.exp(-schedule.half_log_snr(float(t))) for t in scheduler.timesteps]
            scheduler.sigmas = torch.tensor([*levels, _last(scheduler)], dtype=torch.float64)
        x = x * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        asked.append(float(t))
        with swapped(double=True):
            seen = scheduler.scale_model_input(x, t)
        out = model(seen, float(t))  # the network embeds its time in float32, here as everywhere
        with swapped(double=True):
            x = scheduler.step(out, t, x).prev_sample
    return x, list(dict.fromkeys(asked))


def _last(scheduler: Any) -> float:
    table = scheduler.alphas_cumprod
    return (
        float(((1 - table[0]) / table[0]) ** 0.5) if scheduler.config.get("final_sigmas_type") == "sigma_min" else 0.0
    )


def table(prediction_type: str, beta_schedule: str) -> dict[str, Any]:
    return {"prediction_type": prediction_type, "beta_schedule": beta_schedule, "num_train_timesteps": 1000}


METHODS = [
    ("ddim", DDIMScheduler, {"clip_sample": False}, "stop"),
    ("ddim", EulerDiscreteScheduler, {"timestep_spacing": "leading"}, "stop"),
    ("dpmpp_2m", DPMSolverMultistepScheduler, {}, "stop"),
    ("dpmpp_3m", DPMSolverMultistepScheduler, {"solver_order": 3, "lower_order_final": False}, "stop"),
    (
        "dpm_solver_2m",
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min", "lower_order_final": False},
        "stop",
    ),
    ("unipc_2_bh2", UniPCMultistepScheduler, {}, "lower_order"),
    ("unipc_3_bh2", UniPCMultistepScheduler, {"solver_order": 3}, "lower_order"),
    ("unipc_2_bh1", UniPCMultistepScheduler, {"solver_type": "bh1", "final_sigmas_type": "sigma_min"}, "lower_order"),
    ("edm_heun", HeunDiscreteScheduler, {"timestep_spacing": "leading"}, "stop"),
]


TABLES = [
    ("epsilon", "linear"),
    ("epsilon", "scaled_linear"),
    ("v_prediction", "squaredcos_cap_v2"),
    ("v_prediction", "scaled_linear"),
    ("sample", "linear"),
]


@pytest.fixture(scope="module", params=TABLES, ids="-".join)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[NetworkDenoiser, Any]:
    """A U-Net with a scheduler of this prediction and table, saved and loaded."""
    settings = table(*request.param)
    folder = tmp_path_factory.mktemp("unet")
    small.ddpm(DDIMScheduler(**settings)).save_pretrained(folder)
    return dn.load(f"diffusers:{folder}", dtype="float64"), settings


@pytest.mark.parametrize(
    ("method", "kind", "options", "terminal"), METHODS, ids=[f"{m[0]}-{i}" for i, m in enumerate(METHODS)]
)
def test_a_plan_equals_the_scheduler(
    loaded: tuple[NetworkDenoiser, Any], method: str, kind: Any, options: dict[str, Any], terminal: str
) -> None:
    model, settings = loaded
    assert model.prediction == PREDICTION_TYPES[settings["prediction_type"]]
    x = draw(2, 3, 8, 8)
    expected, asked = official(kind(**settings, **options), model, x, 8)
    end = [0.0] if options.get("final_sigmas_type") == "sigma_min" else [-1.0]
    grid = dn.grids.from_times(model.schedule, asked + end, terminal=terminal)
    got = dn.solve(dn.plan(method, model.schedule, grid), model, x)
    size = float(expected.abs().max())
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10 * size)
    wrong = dn.solve(dn.plan("eab_4", model.schedule, grid), model, x)
    assert float((wrong - expected).abs().max()) > 1e-6 * size


def test_a_table_without_signal_at_its_end_is_loaded_and_run(tmp_path: Path) -> None:
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    small.ddpm(scheduler).save_pretrained(tmp_path)
    model = dn.load(f"diffusers:{tmp_path}", dtype="float64")
    assert getattr(model.schedule, "zero_terminal", False)
    assert model.default_t_start == 998.0
    x = draw(2, 3, 8, 8)
    expected, asked = official(scheduler, model, x, 10)
    assert asked[0] == 999.0
    grid = dn.grids.from_times(model.schedule, [asked[0] - ALMOST, *asked[1:], -1.0])
    got = dn.solve(dn.plan("ddim", model.schedule, grid), model, x)
    torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("method", "kind"), [("ddim", FlowMatchEulerDiscreteScheduler), ("flow_heun", FlowMatchHeunDiscreteScheduler)]
)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_plans_equal_the_flow_schedulers(tmp_path: Path, method: str, kind: Any, shift: float) -> None:
    pipe = small.stable_diffusion_3(shift)
    pipe.save_pretrained(tmp_path)
    model = dn.load(f"diffusers:{tmp_path}", dtype="float64").conditioned("a cat")
    scheduler, x, asked = kind(shift=shift), draw(2, 4, 4, 4), []
    expected = x
    with swapped(double=True):
        scheduler.set_timesteps(7)
        for t in scheduler.timesteps:
            sigma = float(t) / 1000
            asked.append(sigma)
            time = min(float(model.schedule.sigma(1.0)), sigma)
            unshifted = time / (shift - (shift - 1.0) * time)
            out = model(expected, unshifted)
            expected = scheduler.step(out, t, expected).prev_sample
    levels = list(dict.fromkeys(asked))
    times = [s / (shift - (shift - 1.0) * s) for s in levels]
    times[0] = min(times[0], 1.0 - ALMOST)
    grid = dn.grids.from_times(model.schedule, [*times, 0.0])
    got = dn.solve(dn.plan(method, model.schedule, grid), model, x)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_preconditioned_networks_of_edm_schedulers_are_denoisers(tmp_path: Path, prediction_type: str) -> None:
    scheduler = EDMEulerScheduler(prediction_type=prediction_type, sigma_data=0.7)
    small.ddpm(scheduler).save_pretrained(tmp_path)
    model = dn.load(f"diffusers:{tmp_path}", dtype="float64")
    assert (model.prediction, model.schedule) == ("data", dn.schedules.EDM())
    network, x = small.unet().double(), draw(2, 3, 8, 8)
    with swapped(double=True), torch.no_grad():
        scheduler.set_timesteps(6)
        expected = x * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            out = network(scheduler.scale_model_input(expected, t), t).sample
            expected = scheduler.step(out, t, expected).prev_sample
    grid = dn.grids.from_times(model.schedule, scheduler.sigmas.tolist())
    got = dn.solve(dn.plan("ddim", model.schedule, grid), model, x * float(scheduler.sigmas[0]))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_a_network_of_a_variance_exploding_scheduler_gives_the_score(tmp_path: Path) -> None:
    network = small.unet(time_embedding_type="fourier")
    small.ddpm(ScoreSdeVeScheduler(), time_embedding_type="fourier").save_pretrained(tmp_path)
    model = dn.load(f"diffusers:{tmp_path}")
    assert (model.prediction, model.level, model.schedule) == ("score", "sigma", dn.schedules.VE(0.01, 1348.0))
    x = draw(2, 3, 8, 8).float()
    sigma = float(model.schedule.sigma(0.4))
    with torch.no_grad():
        expected = network(x, torch.tensor([sigma, sigma])).sample
    torch.testing.assert_close(model(x, 0.4), expected, rtol=1e-4, atol=1e-6)


# -- whole pipelines -----------------------------------------------------------------------------------


def test_a_class_conditional_pipeline_draws_our_images(tmp_path: Path) -> None:
    pipe = small.dit()
    pipe.save_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    model = dn.load(f"diffusers:{tmp_path}")
    assert (model.num_classes, model.sample_shape, model.prediction) == (5, (4, 4, 4), "noise")
    x = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    images = pipe(
        [1, 4], guidance_scale=1.0, num_inference_steps=6, generator=torch.Generator().manual_seed(3), output_type="np"
    )
    grid = dn.grids.model_timesteps(model.schedule, 6, final_label=-1)
    got = dn.solve(dn.plan("ddim", model.schedule, grid), model.conditioned([1, 4]), x)
    torch.testing.assert_close(torch.as_tensor(model.to_image(got)), torch.as_tensor(images.images), rtol=0, atol=2e-4)


def test_a_text_to_image_pipeline_draws_our_latents(tmp_path: Path) -> None:
    pipe = small.stable_diffusion()
    pipe.save_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    model = dn.load(f"diffusers:{tmp_path}")
    x = draw(2, 4, 4, 4).float()
    texts = ["a cat", "two dogs"]
    run = pipe(texts, latents=x.clone(), guidance_scale=5.0, num_inference_steps=6, output_type="latent")
    grid = dn.grids.from_times(model.schedule, [*map(float, pipe.scheduler.timesteps), -1.0])
    guided = classifier_free(model.conditioned(texts), 5.0)
    got = dn.solve(dn.plan("dpmpp_2m", model.schedule, grid), guided, x)
    torch.testing.assert_close(got, run.images, rtol=1e-3, atol=1e-3 * float(run.images.abs().max()))
    images = pipe(texts, latents=x.clone(), guidance_scale=5.0, num_inference_steps=6, output_type="np").images
    torch.testing.assert_close(torch.as_tensor(guided.to_image(got)), torch.as_tensor(images), rtol=0, atol=2e-3)


def test_a_negative_prompt_is_the_unconditional_model(tmp_path: Path) -> None:
    pipe = small.stable_diffusion()
    pipe.save_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    model = dn.load(f"diffusers:{tmp_path}")
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    x, steps = draw(1, 4, 4, 4).float(), {"guidance_scale": 3.0, "num_inference_steps": 4, "output_type": "latent"}
    run = pipe("cat", negative_prompt="dog", latents=x.clone(), **steps)
    grid = dn.grids.from_times(model.schedule, [*map(float, pipe.scheduler.timesteps), -1.0])
    guided = classifier_free(model.conditioned("cat"), 3.0, unconditional=model.conditioned("dog"))
    got = dn.solve(dn.plan("dpmpp_2m", model.schedule, grid), guided, x)
    torch.testing.assert_close(got, run.images, rtol=1e-3, atol=1e-3 * float(run.images.abs().max()))


def test_the_large_text_to_image_pipeline_draws_our_latents(tmp_path: Path) -> None:
    pipe = small.stable_diffusion_xl()
    pipe.save_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    model = dn.load(f"diffusers:{tmp_path}")
    x = draw(1, 4, 4, 4).float()
    run = pipe("a cat", latents=x.clone(), guidance_scale=4.0, num_inference_steps=5, output_type="latent")
    grid = dn.grids.from_times(model.schedule, [*map(float, pipe.scheduler.timesteps), -1.0])
    guided = classifier_free(model.conditioned("a cat"), 4.0)
    got = dn.solve(dn.plan("dpmpp_2m", model.schedule, grid), guided, x)
    torch.testing.assert_close(got, run.images, rtol=1e-3, atol=1e-3 * float(run.images.abs().max()))


def test_a_flow_matching_pipeline_draws_our_latents(tmp_path: Path) -> None:
    pipe = small.stable_diffusion_3()
    pipe.save_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    model = dn.load(f"diffusers:{tmp_path}")
    x = draw(1, 4, 4, 4).float()
    run = pipe("a cat", latents=x.clone(), guidance_scale=4.0, num_inference_steps=5, output_type="latent")
    times = [float(model.schedule.time(dn_lam)) for dn_lam in _flow_lams(pipe.scheduler.sigmas[:-1].tolist())]
    grid = dn.grids.from_times(model.schedule, [*times, 0.0])
    guided = classifier_free(model.conditioned("a cat"), 4.0)
    got = dn.solve(dn.plan("ddim", model.schedule, grid), guided, x)
    torch.testing.assert_close(got, run.images, rtol=1e-3, atol=1e-3 * float(run.images.abs().max()))


def _flow_lams(sigmas: list[float]) -> list[float]:
    return [math.log((1.0 - s) / s) for s in (min(s, 1.0 - ALMOST) for s in sigmas)]


@pytest.mark.parametrize("distilled", [True, False])
def test_a_transformer_on_patches_draws_our_latents(tmp_path: Path, distilled: bool) -> None:
    network = small.flux(distilled)
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_image_seq_len=4, max_image_seq_len=64)
    network.save_pretrained(tmp_path)
    scheduler.save_pretrained(tmp_path)
    pipe = FluxPipeline(scheduler, small.autoencoder(latent_channels=2), None, None, None, None, network)
    pipe.set_progress_bar_config(disable=True)
    text = {"prompt_embeds": draw(1, 5, 12).float(), "pooled_prompt_embeds": draw(1, 6).float()}
    x = draw(1, 2, 8, 4).float()
    packed = pipe._pack_latents(x, 1, 2, 8, 4)
    run = pipe(
        **text, latents=packed, height=16, width=8, guidance_scale=2.5, num_inference_steps=5, output_type="latent"
    )
    model = dn.load(f"diffusers:{tmp_path}", sample_size=(8, 4), guidance=2.5).conditioned(text)
    lams = _flow_lams(pipe.scheduler.sigmas[:-1].tolist())
    grid = dn.grids.from_times(model.schedule, [*(float(model.schedule.time(lam)) for lam in lams), 0.0])
    got = dn.solve(dn.plan("ddim", model.schedule, grid), model, x)
    expected = pipe._unpack_latents(run.images, 16, 8, pipe.vae_scale_factor)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    uniform = dn.grids.uniform_time(model.schedule, 5, t_start=1.0 - ALMOST, t_end=0.0)
    assert uniform.t.shape == grid.t.shape

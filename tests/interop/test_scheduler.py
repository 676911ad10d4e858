"""PlanScheduler without a pipeline: it runs the plan that dn.solve runs, on any nodes, and forgets it afterwards."""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers")
import diffusers
import torch

import diffnum as dn
from diffnum.foreign.precision import swapped
from diffnum.interop import PlanScheduler
from diffnum.interop.translation import translated
from tests.interop.tiny import network, seeded

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning"),  # diffusers' own tables under NumPy 2
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*were passed to .*Scheduler"),
]
METHODS = tuple(name for name in dn.methods("all") if not name.endswith("churn"))
X = torch.randn(2, 3, 4, 4, generator=seeded(7))
MIX = 0.3 * torch.randn(3, 3, generator=seeded(8))


def net(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A smooth function of state and label."""
    return torch.einsum("ij,bjhw->bihw", MIX.to(x.dtype), x).tanh() * (1.0 + float(t) / 1000)


def run(scheduler: Any, x: torch.Tensor = X, begin: int = 0, seed: int = 1) -> torch.Tensor:
    """The loop of a pipeline."""
    generator = seeded(seed)
    for t in scheduler.timesteps[begin:]:
        x = scheduler.step(net(x, t), t, x, generator=generator).prev_sample
    return x


def solved(scheduler: Any, x: torch.Tensor = X, seed: int = 1) -> torch.Tensor:
    generator = seeded(seed)
    result: torch.Tensor = dn.solve(
        scheduler.plan,
        network(scheduler, net),
        x,
        noise=lambda step, index, like: torch.randn(like.shape, generator=generator),
    )
    return result


def made(method: str = "dpmpp_2m", n: int = 7, **config: Any) -> PlanScheduler:
    scheduler = PlanScheduler(method=method, **config)
    scheduler.set_timesteps(n)
    return scheduler


# -- the same run --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_pipeline_s_loop_equals_solve_bit_for_bit(method: str) -> None:
    scheduler = made(method)
    assert len(scheduler.timesteps) == scheduler.plan.nfe == len(scheduler.sigmas) - 1
    assert torch.equal(run(scheduler), solved(scheduler))


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow_prediction"])
@pytest.mark.parametrize("method", ["unipc_3", "edm_heun", "dpmpp_3s", "pndm"])
@pytest.mark.filterwarnings("ignore:.*from pure noise:UserWarning")  # of the flow
def test_every_prediction_type_runs_the_same_plan(kind: str, method: str) -> None:
    scheduler = made(method, prediction_type=kind)
    assert torch.equal(run(scheduler), solved(scheduler))
    assert bool(torch.isfinite(run(scheduler)).all())


SPACINGS = (*dn.interop.configuration.SPACINGS,)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("end", ["zero", "sigma_min"])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_every_spacing_gives_the_steps_asked_for_and_rounds_only_labels(spacing: str, end: str, n: int) -> None:
    scheduler = made("ddim", n, timestep_spacing=spacing, final_sigmas_type=end)
    assert scheduler.num_inference_steps == len(scheduler.timesteps) == n
    assert float(scheduler.sigmas[-1]) == 0.0 if end == "zero" else float(scheduler.sigmas[-1]) > 0.0
    if spacing in ("leading", "linspace", "trailing"):
        assert scheduler.timesteps.dtype == torch.int64
    else:
        times = np.array([t for step in scheduler.plan.stages for t, _, _ in step])
        assert np.array_equal(scheduler.timesteps.to(torch.float32), times.astype(np.float32))
    assert torch.equal(run(scheduler), solved(scheduler))


@pytest.mark.parametrize("flag", ["use_karras_sigmas", "use_exponential_sigmas", "use_lu_lambdas", "use_beta_sigmas"])
def test_continuous_noise_levels_are_those_of_diffusers_without_its_rounding(flag: str) -> None:
    ours, theirs = made(n=8, **{flag: True}), diffusers.DPMSolverMultistepScheduler(**{flag: True})
    theirs.set_timesteps(8)
    torch.testing.assert_close(ours.sigmas, theirs.sigmas, rtol=2e-4, atol=0)  # their table is float32
    assert not torch.equal(ours.timesteps, ours.timesteps.round())


def test_nodes_may_be_given_as_labels_or_as_noise_levels() -> None:
    scheduler = PlanScheduler(method="unipc_3")
    scheduler.set_timesteps(timesteps=[900.25, 500.5, 99.75])
    np.testing.assert_allclose(scheduler.timesteps.numpy(), [900.25, 500.5, 99.75])
    by_label, levels = run(scheduler), scheduler.sigmas.tolist()
    for given in (levels, levels[:-1]):  # a last 0 may be left out
        scheduler.set_timesteps(sigmas=given)
        torch.testing.assert_close(run(scheduler), by_label, rtol=1e-5, atol=1e-5)


OF_N = ("DDIM", "DDIMParallel", "CogVideoXDDIM", "CogVideoXDPM", "DDPM", "DDPMParallel", "PNDM", "EulerDiscrete",
        "EulerAncestralDiscrete", "LMSDiscrete", "HeunDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete",
        "DPMSolverSDE")  # fmt: skip
OF_N_PLUS_1 = ("DPMSolverMultistep", "UniPCMultistep", "DEISMultistep", "SASolver")
STAGES = ("KDPM2", "DPMSolverSDE")  # whose timesteps hold labels between the nodes, too


def labels_of(name: str, n: int, **config: Any) -> tuple[torch.Tensor, Any]:
    """Labels of the nodes of a scheduler of diffusers, and its configuration."""
    theirs = getattr(diffusers, f"{name}Scheduler")(**config)
    theirs.set_timesteps(n)
    labels = theirs.timesteps
    if name.startswith(STAGES):
        labels = torch.cat([labels[:1], labels[2::2]])
    return labels.unique().flip(0), theirs.config


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("name", [*OF_N, *OF_N_PLUS_1])
def test_its_timesteps_are_those_of_the_scheduler_that_it_replaces(name: str, spacing: str) -> None:
    if name == "DPMSolverSDE":
        pytest.importorskip("torchsde")
    for n, offset in itertools.product((2, 33), (0, 1)):
        config = {"skip_prk_steps": True} if name == "PNDM" else {}
        labels, found = labels_of(name, n, timestep_spacing=spacing, steps_offset=offset, **config)
        ours = PlanScheduler.from_config(found, method="ddim")
        ours.set_timesteps(n)
        without_effect = ours.config.final_sigmas_type == "sigma_min" and float(labels[-1]) == 0.0
        assert without_effect == (name == "PNDM" and (spacing == "linspace" or (spacing, offset) == ("leading", 0)))
        torch.testing.assert_close(
            ours.timesteps.double(), labels[: n - without_effect].double(), rtol=0, atol=1e-4, check_dtype=False
        )
        assert PlanScheduler.from_config(ours.config).config.spacing_as == ours.config.spacing_as


@pytest.mark.parametrize("name", ["DDIM", "DDPM", "PNDM", "EulerDiscrete", "DPMSolverMultistep", "DPMSolverSinglestep"])
def test_what_the_replaced_scheduler_left_at_its_defaults_was_in_force(name: str) -> None:
    config = {"skip_prk_steps": True} if name == "PNDM" else {}
    labels, found = labels_of(name, 10, **config)
    ours = PlanScheduler.from_config(found)
    ours.set_timesteps(10)
    assert np.array_equal(ours.timesteps.numpy(), labels[: len(ours.timesteps)].numpy())
    assert ours.config.clip_sample is bool(found.get("clip_sample", False))
    assert ours.config.lower_order_final is bool(found.get("lower_order_final", False))


def test_one_word_is_two_spacings() -> None:
    """The control of the tests above."""
    config = {"timestep_spacing": "leading"}
    assert not torch.equal(labels_of("DDIM", 10, **config)[0], labels_of("DPMSolverMultistep", 10, **config)[0])


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_labels_below_a_clipped_half_log_snr_are_left_out(spacing: str) -> None:
    config = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": spacing, "lambda_min_clipped": -5.1}
    labels, found = labels_of("DPMSolverMultistep", 10, **config)
    ours = PlanScheduler.from_config(found)
    ours.set_timesteps(10)
    assert torch.equal(ours.timesteps, labels)
    assert int(labels[0]) < 999


@pytest.mark.parametrize("name", ["LCM", "TCD"])
def test_labels_of_a_distilled_network_are_refused_unless_given(name: str) -> None:
    theirs = getattr(diffusers, f"{name}Scheduler")()
    ours = PlanScheduler.from_config(theirs.config)
    with pytest.raises(ValueError, match=rf"{name}Scheduler.*are those of a distilled network.*pass timesteps"):
        ours.set_timesteps(4)
    ordinary = PlanScheduler.from_config(theirs.config, spacing_as="DDIMScheduler")
    ordinary.set_timesteps(4)  # the remedies of the message work
    assert len(ordinary.timesteps) == 4
    ours.set_timesteps(timesteps=[999, 759, 499, 259])
    assert ours.timesteps.tolist() == [999, 759, 499, 259]


# -- the methods of diffusers --------------------------------------------------------------------------

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SIGMA_MIN = {"final_sigmas_type": "sigma_min"}
FULL_ORDER = {"lower_order_final": False, **SIGMA_MIN}
PAIRS = (
    ("ddim", "DDIMScheduler", {"clip_sample": False, "timestep_spacing": "trailing"}, {}),
    ("ddpm", "DDPMScheduler", {"clip_sample": False, "timestep_spacing": "trailing"}, {}),
    ("ddim_eta0.5", "DDIMScheduler", {"clip_sample": False, "timestep_spacing": "trailing"}, {"eta": 0.5}),
    ("dpmpp_2m", "DPMSolverMultistepScheduler", {}, {}),
    ("dpmpp_3m", "DPMSolverMultistepScheduler", {"solver_order": 3, **SIGMA_MIN}, {}),
    ("dpm_solver_2m", "DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver", **SIGMA_MIN}, {}),
    ("sde_dpmpp_2m", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, {}),
    ("unipc_2_bh2", "UniPCMultistepScheduler", FULL_ORDER, {}),
    ("unipc_3_bh1", "UniPCMultistepScheduler", {"solver_order": 3, "solver_type": "bh1", **FULL_ORDER}, {}),
)  # fmt: skip


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("beta", ["scaled_linear", "squaredcos_cap_v2", "trained"])
@pytest.mark.parametrize(("method", "name", "config", "options"), PAIRS, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.filterwarnings("ignore:.*algorithm_type dpmsolver is deprecated:FutureWarning")
def test_it_equals_the_scheduler_of_diffusers_that_claims_the_method(
    method: str,
    name: str,
    config: dict[str, Any],
    options: dict[str, Any],
    beta: str,
    kind: str,
) -> None:
    table = {"trained_betas": np.linspace(1e-4, 0.015, 1000)} if beta == "trained" else {"beta_schedule": beta}
    theirs = getattr(diffusers, name)(**config, **table, prediction_type=kind)
    theirs.set_timesteps(20)
    ours = PlanScheduler.from_config(theirs.config, method=method, lower_order_final=False)
    ours.set_timesteps(20)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    products = torch.tensor(ours.schedule.alphas_cumprod, dtype=torch.float64)
    torch.testing.assert_close(theirs.alphas_cumprod, products.float(), rtol=1e-3, atol=1e-8)
    theirs.alphas_cumprod = products  # the same table without the rounding to float32
    if hasattr(theirs, "sigmas"):
        torch.testing.assert_close(theirs.sigmas, ours.sigmas, rtol=1e-3, atol=1e-8)
        theirs.sigmas = torch.tensor(np.exp(-ours._grid.lam))
    if name != "UniPCMultistepScheduler":  # which takes no generator
        options = {"generator": seeded(1), **options}
    x = X.double()
    with swapped(double=True):
        for t in theirs.timesteps:
            x = theirs.step(net(x, t), t, x, **options).prev_sample
    assert float((run(ours, X.double()) - x).abs().max() / x.abs().max()) < 1e-10


def test_rescaled_betas_reach_pure_noise_and_equal_ddim() -> None:
    config = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    theirs = diffusers.DDIMScheduler(clip_sample=False, **config)
    ours = PlanScheduler.from_config(theirs.config, method="ddim")
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(10)
    assert float(ours.schedule.alpha(999.0)) == 0.0
    torch.testing.assert_close(run(ours), run(theirs), rtol=2e-4, atol=2e-4)
    assert bool(torch.isfinite(run(made("unipc_3", **config))).all())
    with pytest.raises(ValueError, match="begin at pure noise"):
        made(rescale_betas_zero_snr=True)


@pytest.mark.parametrize(
    "config",
    [{"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"},
     {"prediction_type": "flow_prediction"}],
    ids=["table", "flow"],
)  # fmt: skip
def test_a_start_at_pure_noise_is_finite_and_what_is_unbounded_there_says_so(config: dict[str, Any]) -> None:
    unbounded = []
    for method in METHODS:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            scheduler = made(method, 4, **config)
        assert float(scheduler.timesteps[0]) in (999.0, 1000.0)
        found = run(scheduler)
        assert bool(torch.isfinite(found).all()), method
        if any("from pure noise: its first step has weights up to" in str(one.message) for one in said):
            unbounded.append(method)
        else:
            assert float(found.abs().max()) < 1e3, method
            assert bool(torch.isfinite(run(scheduler, X.half())).all()), method
    assert {"edm_heun", "pndm", "seeds_2"} < set(unbounded)
    assert not {"ddim", "dpmpp_2m", "dpmpp_3m", "unipc_3", "sde_dpmpp_2m"} & set(unbounded)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_flow_equals_euler_and_heun_of_diffusers_and_may_be_shifted_once(shift: float) -> None:
    euler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    ours = PlanScheduler.from_config(euler.config, method="flow_euler")
    nodes = np.linspace(1.0, 0.1, 8)
    for scheduler in (ours, euler):
        scheduler.set_timesteps(sigmas=nodes)
    torch.testing.assert_close(ours.timesteps, euler.timesteps)
    torch.testing.assert_close(run(ours), run(euler), rtol=1e-5, atol=1e-5)
    for scheduler in (ours, euler):
        scheduler.set_timesteps(8)
    torch.testing.assert_close(ours.timesteps, euler.timesteps, rtol=1e-5, atol=1e-3)  # whose end is shifted twice
    torch.testing.assert_close(run(ours), run(euler), rtol=1e-5, atol=1e-5)
    once = PlanScheduler.from_config(euler.config, method="flow_euler", spacing_as="DPMSolverMultistepScheduler")
    once.set_timesteps(8)
    np.testing.assert_allclose(once.timesteps[-1], 1000 * shift * 1e-3 / (1 + (shift - 1) * 1e-3), rtol=1e-6)
    if shift == 1.0:
        heun = diffusers.FlowMatchHeunDiscreteScheduler()
        heun.set_timesteps(6)
        other = PlanScheduler.from_config(heun.config, method="flow_heun")
        other.set_timesteps(6)
        torch.testing.assert_close(other.timesteps, heun.timesteps)
        torch.testing.assert_close(run(other), run(heun), rtol=1e-5, atol=1e-5)


def test_use_flow_sigmas_equals_dpm_solver_on_a_flow() -> None:
    config = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
    theirs = diffusers.DPMSolverMultistepScheduler(**config)
    ours = PlanScheduler.from_config(theirs.config, method="dpmpp_2m")
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(20)
    torch.testing.assert_close(ours.sigmas, theirs.sigmas, rtol=1e-5, atol=1e-6)
    x = X
    for t, label in zip(theirs.timesteps, ours.timesteps, strict=True):  # theirs are rounded down
        x = theirs.step(net(x, label), t, x).prev_sample
    torch.testing.assert_close(run(ours), x, rtol=1e-4, atol=1e-4)


# -- begin, change, end --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("pndm", "pfdiff_1")])
def test_a_run_may_begin_at_any_multiple_of_the_order(method: str) -> None:
    scheduler = made(method, 8)
    begin = 3 * scheduler.order
    by_index, by_label = (copy.deepcopy(scheduler) for _ in range(2))
    by_index.set_begin_index(begin)
    end = run(by_index, begin=begin)
    assert torch.equal(end, run(by_label, begin=begin))
    short = PlanScheduler(method=method)
    short.set_timesteps(timesteps=[float(t) for t in scheduler._grid.t[3:-1]])
    assert torch.equal(end, run(short))


def test_a_method_that_evaluates_between_nodes_begins_at_the_first() -> None:
    scheduler = made("pfdiff_1")
    scheduler.set_begin_index(3)
    with pytest.raises(ValueError, match=r"begin_index=3: pfdiff_1 evaluates between the nodes"):
        run(scheduler, begin=3)


def test_a_start_in_the_middle_of_a_step_is_refused() -> None:
    scheduler = made("edm_heun")
    scheduler.set_begin_index(3)
    with pytest.raises(ValueError, match=r"begin_index=3 .* multiple of scheduler.order = 2"):
        run(scheduler, begin=3)


@pytest.mark.parametrize("method", ["unipc_3", "dpmpp_2m", "edm_heun", "plms_4"])
def test_nothing_survives_a_run_however_it_ended(method: str) -> None:
    scheduler = made(method)
    once = run(scheduler)
    assert scheduler.step_index == len(scheduler.timesteps)
    assert torch.equal(run(scheduler), once)  # without set_timesteps
    x = X
    for t in scheduler.timesteps[:5]:  # a run that is left
        x = scheduler.step(net(x, t), t, x).prev_sample
    assert torch.equal(run(scheduler), once)
    for t in scheduler.timesteps[:5]:
        scheduler.step(net(X, t), t, X)
    scheduler.set_timesteps(7)
    assert scheduler.step_index is None
    assert torch.equal(run(scheduler), once)


@pytest.mark.parametrize("method", ["dpmpp_2m", "unipc_3", "edm_heun"])
def test_a_change_that_the_pipeline_makes_to_the_sample_is_kept(method: str) -> None:
    scheduler = made(method)
    x, kept = X, torch.zeros(3, 4, 4, dtype=torch.bool)
    kept[:, :2] = True
    original = torch.ones_like(X)
    for t in scheduler.timesteps:  # inpainting
        x = scheduler.step(net(x, t), t, x).prev_sample
        x = torch.where(kept, original, x)
    assert torch.equal(x[:, kept], original[:, kept])
    copied = made(method)
    y = X
    for t in copied.timesteps:  # a copy is no change
        y = copied.step(net(y, t), t, torch.cat([y[:1], y[1:]])).prev_sample
    torch.testing.assert_close(y, run(made(method)), rtol=0, atol=1e-6)


def test_a_change_of_the_state_between_steps_restarts_nothing_but_moves_the_state() -> None:
    scheduler, moved = made("ddim"), made("ddim")
    first, second = scheduler.timesteps[:2]
    x = scheduler.step(net(X, first), first, X).prev_sample
    y = moved.step(net(X, first), first, X).prev_sample + 0.5
    value = net(x, second)
    difference = (
        moved.step(value, second, y).prev_sample - scheduler.step(value, second, x).prev_sample
    )  # one step of DDIM is affine
    row = dict(scheduler.plan.programme[1][1][1])
    torch.testing.assert_close(difference, torch.full_like(X, 0.5 * row["x"]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_pipelines_keep_a_float32_state(dtype: torch.dtype) -> None:
    wide, narrow = made(n=40), made(n=40)
    x = X.to(dtype)
    exact = X.to(dtype).float()
    for t in narrow.timesteps:
        value = net(exact, t).to(dtype)  # the same values, rounded, in both
        x = narrow.step(value, t, x).prev_sample
        exact = wide.step(value.float(), t, exact).prev_sample
    assert x.dtype == dtype
    assert torch.equal(x, exact.to(dtype))


def test_a_list_of_generators_gives_each_sample_its_noise() -> None:
    scheduler = made("ddpm")

    def end(x: torch.Tensor, seeds: list[int]) -> torch.Tensor:
        generators = [seeded(s) for s in seeds]
        for t in scheduler.timesteps:
            (x,) = scheduler.step(net(x, t), t, x, generator=generators, return_dict=False)
        return x

    torch.testing.assert_close(end(X, [1, 2])[1:], end(X[1:], [2]))


# -- clipping ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        {"clip_sample": True, "clip_sample_range": 0.5},
        {"clip_sample": False, "thresholding": True, "sample_max_value": 1.5},
    ],
    ids=["clip", "threshold"],
)
def test_clipping_is_that_of_ddim(config: dict[str, Any]) -> None:
    theirs = diffusers.DDIMScheduler(timestep_spacing="trailing", **config)
    ours = PlanScheduler.from_config(theirs.config, method="ddim")
    theirs.set_timesteps(8)
    ours.set_timesteps(8)
    x = X
    for t in theirs.timesteps:
        x = theirs.step(net(x, t), t, x, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(run(ours), x, rtol=2e-4, atol=2e-4)
    unclipped = PlanScheduler.from_config(theirs.config, method="ddim", clip_sample=False, thresholding=False)
    unclipped.set_timesteps(8)
    assert not torch.allclose(run(unclipped), x, atol=1e-2)


def test_a_learned_variance_is_left_out() -> None:
    scheduler, plain = made(variance_type="learned_range"), made()
    t = scheduler.timesteps[0]
    value = net(X, t)
    doubled = torch.cat([value, torch.full_like(value, 9.0)], dim=1)
    assert torch.equal(scheduler.step(doubled, t, X).prev_sample, plain.step(value, t, X).prev_sample)


# -- noising, files, refusals --------------------------------------------------------------------------


@pytest.mark.parametrize("config", [{}, {"prediction_type": "flow_prediction"}], ids=["table", "flow"])
def test_noise_is_added_as_diffusers_adds_it(config: dict[str, Any]) -> None:
    noise, ours = torch.randn(X.shape, generator=seeded(3)), made(n=10, **config)
    labels = ours.timesteps[[2, 5]]
    if config:
        theirs = diffusers.FlowMatchEulerDiscreteScheduler()
        theirs.set_timesteps(10)
        expected = theirs.scale_noise(X, theirs.timesteps[[2, 5]], noise)
        torch.testing.assert_close(ours.scale_noise(X, labels, noise), expected)
    else:
        theirs = diffusers.DDPMScheduler()
        torch.testing.assert_close(ours.add_noise(X, noise, labels), theirs.add_noise(X, noise, labels))
        torch.testing.assert_close(ours.get_velocity(X, noise, labels), theirs.get_velocity(X, noise, labels))
        torch.testing.assert_close(ours.alphas_cumprod, theirs.alphas_cumprod, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(ours.betas, theirs.betas, rtol=1e-3, atol=1e-7)


def test_it_is_saved_and_read_back_and_swapped_with_other_schedulers(tmp_path: Path) -> None:
    theirs = diffusers.DPMSolverMultistepScheduler(**BETAS, use_karras_sigmas=True, trained_betas=None)
    ours = PlanScheduler.from_config(theirs.config, method="ghvb_2.8", terminal="lower_order")
    ours.save_pretrained(tmp_path)
    again = PlanScheduler.from_pretrained(tmp_path)
    for scheduler in (ours, again):
        scheduler.set_timesteps(9)
    assert again.config.method == "ghvb_2.8"
    assert again.config.beta_schedule == "scaled_linear"
    assert again.plan == ours.plan
    assert torch.equal(run(again), run(ours))
    back = diffusers.DPMSolverMultistepScheduler.from_config(ours.config)
    assert back.config.beta_end == 0.012
    assert back.config.use_karras_sigmas


def test_a_copy_begins_anew() -> None:
    scheduler = made("unipc_3")
    t = scheduler.timesteps[0]
    scheduler.step(net(X, t), t, X)
    copied = copy.deepcopy(scheduler)
    assert copied.step_index is None
    assert torch.equal(run(copied), run(made("unipc_3")))


def test_lower_orders_at_the_end_are_for_fewer_than_15_steps() -> None:
    assert made("unipc_3", 14, lower_order_final=True).plan.terminal == "lower_order"
    assert made("unipc_3", 15, lower_order_final=True).plan.terminal == "stop"


def stepped(*turns: int) -> Any:
    scheduler = made()
    for turn in turns:
        found = scheduler.step(X, scheduler.timesteps[turn], X)
    return found


@pytest.mark.parametrize(
    ("action", "kind", "message"),
    [
        (lambda: made().step(X.numpy(), 999, X), TypeError, "model_output is ndarray: pass a torch tensor"),
        (lambda: made().step(X, 999, X.int()), TypeError, "sample is torch.int32: pass a torch tensor of a floating"),
        (lambda: made().step(X[:1], 999, X), ValueError, "model returned shape"),
        (lambda: stepped(0, 3), ValueError, "is out of turn, timesteps.1. = .* is next: call set_timesteps"),
        (lambda: made().add_noise(X, X, torch.tensor([1, 5000])), ValueError, "pass labels from 0 to 999"),
        (lambda: made().add_noise(X, X, torch.tensor([1, 2, 3])), ValueError, "one for each of 2 samples"),
        (lambda: made(spacing_as="DIMScheduler"), ValueError, "spacing_as='DIMScheduler' is unknown: use one of DDIM"),
        (lambda: PlanScheduler(dynamic_thresholding_ratio=2.0), ValueError, "dynamic_thresholding_ratio=2.0"),
        (lambda: PlanScheduler(clip_sample_range=-1.0), ValueError, "pass a positive range"),
        (lambda: PlanScheduler().set_timesteps(sigmas=[1e9, 1.0]), ValueError, "sigma/alpha between 0 and 157"),
        (lambda: PlanScheduler().set_timesteps(sigmas=[5.0, -1.0]), ValueError, "pass levels sigma/alpha between"),
    ],
)
def test_bad_input_is_named(action: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        action()


def test_a_begin_beyond_the_last_timestep_is_refused() -> None:
    scheduler = made()
    scheduler.set_begin_index(99)
    with pytest.raises(ValueError, match="begin_index=99: there are 7 timesteps"):
        scheduler.step(X, 999, X)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: PlanScheduler(method="unipcc"), "did you mean unipc"),
        (lambda: PlanScheduler(beta_schedule="cosin"), "beta_schedule='cosin'"),
        (lambda: PlanScheduler(prediction_type="noise"), "prediction_type='noise'"),
        (lambda: made(timestep_spacing="tail"), "timestep_spacing='tail' is unknown"),
        (lambda: made(final_sigmas_type="one"), "final_sigmas_type='one'"),
        (lambda: made(use_karras_sigmas=True, use_beta_sigmas=True), "more than one of"),
        (lambda: PlanScheduler(method="edm_heun_churn").set_timesteps(timesteps=[600, 300]), "moves the sample before"),
        (lambda: made(n=0), "num_inference_steps=0"),
        (lambda: made(n=1000), "take fewer steps"),
        (lambda: made(start="exact"), "start='exact'"),
        (lambda: made(prediction_type="flow_prediction", use_dynamic_shifting=True), "mu=None"),
        (lambda: PlanScheduler().set_timesteps(timesteps=[5, 9]), "must decrease"),
        (lambda: PlanScheduler().set_timesteps(timesteps=[9, 5], sigmas=[3.0, 1.0]), "pass one of the two"),
        (lambda: PlanScheduler().set_timesteps(3, timesteps=[9, 5]), "leave the number out"),
        (lambda: PlanScheduler().step(X, 999, X), "call set_timesteps first"),
        (lambda: made().step(X, 999, X, eta=0.5), "method='ddim_eta0.5'"),
        (lambda: made().step(X[:1], 999, X), "model returned shape"),
        (lambda: translated(diffusers.EDMEulerScheduler().config), "sigma_data"),
        (lambda: translated(diffusers.ScoreSdeVeScheduler().config), "variance exploding"),
        (lambda: PlanScheduler.from_config(diffusers.IPNDMScheduler().config), "IPNDMScheduler is not understood"),
        (
            lambda: PlanScheduler.from_config(diffusers.DDIMInverseScheduler().config),
            "DDIMInverseScheduler: times that",
        ),
        (lambda: PlanScheduler(method="edm_heun_churn").set_timesteps(20), "moves the sample before it evaluates"),
        (lambda: PlanScheduler(method="dpm_2_churn").set_timesteps(5), "moves the sample before it evaluates"),
        (
            lambda: made(steps_offset=1, timestep_spacing="leading", spacing_as="DDIMScheduler", n=1000),
            "begins at label",
        ),
        (lambda: made().step(X, 123456, X), "timestep=123456 is none of the timesteps, the nearest is 999"),
        (lambda: made().step(X, -30, X), "timestep=-30 is none of the timesteps"),
        (lambda: made().step(X, math.nan, X), "timestep=nan: pass an entry of scheduler.timesteps"),
        (lambda: made().step(X * math.nan, 999, X), "model_output at timestep 999 is not finite"),
        (lambda: made("ddim", 1).step(X, 0, X * math.inf), "prev_sample at timestep|is none of the timesteps"),
        (lambda: PlanScheduler().set_timesteps(sigmas=[14.6, 5, 5, 1]), r"sigmas=.14.6, 5.0, 5.0, 1.0.: numbers must"),
        (lambda: PlanScheduler().set_timesteps(sigmas=[0.0]), "the first above 0"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_remedy(action: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        action()

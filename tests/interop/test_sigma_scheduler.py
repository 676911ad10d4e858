"""Networks of noise levels in the drop-in scheduler; a time for each sample; strength as a noise level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers")
import diffusers
import torch

import diffnum as dn
from diffnum.interop import PlanScheduler
from diffnum.interop.sigma_scheduler import SigmaScheduler
from tests.interop.tiny import seeded

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*from pure noise"),
]
X = torch.randn(3, 3, 4, 4, generator=seeded(7))
MIX = 0.3 * torch.randn(3, 3, generator=seeded(8))
SVD = {
    "prediction_type": "v_prediction",
    "timestep_type": "continuous",
    "timestep_spacing": "leading",
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
}
CASES = {
    "EDMEuler": (lambda: diffusers.EDMEulerScheduler(), "edm_euler", {}),
    "EDMEuler, v, exponential": (
        lambda: diffusers.EDMEulerScheduler(sigma_schedule="exponential", prediction_type="v_prediction"),
        "edm_euler",
        {},
    ),
    "EDMDPMSolver": (lambda: diffusers.EDMDPMSolverMultistepScheduler(), "dpmpp_2m", {"terminal": "lower_order"}),
    "SVD": (lambda: diffusers.EulerDiscreteScheduler(**SVD), "edm_euler", {}),
}


def net(x: torch.Tensor, t: Any) -> torch.Tensor:
    return torch.einsum("ij,bjhw->bihw", MIX.to(x.dtype), x).tanh() * (1.0 + float(t) / 10)


def loop(scheduler: Any, x: torch.Tensor) -> torch.Tensor:
    for t in scheduler.timesteps:
        x = scheduler.step(net(scheduler.scale_model_input(x, t), t), t, x).prev_sample
    return x


@pytest.mark.parametrize("n", [2, 5, 20])
@pytest.mark.parametrize("case", CASES)
def test_networks_of_levels_run_as_in_their_own_scheduler(case: str, n: int) -> None:
    make, method, options = CASES[case]
    theirs = make()
    theirs.set_timesteps(n)
    ours = PlanScheduler.from_config(theirs.config, method=method, **options)
    assert isinstance(ours, SigmaScheduler)
    ours.set_timesteps(n)
    assert ours.init_noise_sigma == pytest.approx(float(theirs.init_noise_sigma), rel=1e-6)
    torch.testing.assert_close(ours.timesteps, theirs.timesteps.to(torch.float32), rtol=1e-5, atol=1e-5)
    x = X * ours.init_noise_sigma
    rounding = 1e-6 * ours.init_noise_sigma  # of the first state in float32, which later ones lose against
    torch.testing.assert_close(loop(ours, x), loop(theirs, x), rtol=1e-4, atol=rounding)
    assert torch.equal(loop(ours, x), loop(ours, x))  # and forgets it


@pytest.mark.parametrize("method", ["unipc_3", "edm_heun", "sde_dpmpp_2m", "dpmpp_3m", "velocity_rk_heun3"])
@pytest.mark.parametrize("case", ["EDMEuler", "SVD"])
def test_any_method_solves_its_plan_there(case: str, method: str) -> None:
    scheduler = PlanScheduler.from_config(CASES[case][0]().config, method=method)
    scheduler.set_timesteps(6)

    class Model:
        schedule, prediction = scheduler.schedule, "data"

        def __call__(self, x: Any, t: float) -> Any:
            enter, skip, out = scheduler._factors_of(torch.tensor(t, dtype=torch.float32))
            return skip * x + out * net(enter * x, 0.25 * np.log(t))

    x = X * scheduler.init_noise_sigma
    generators = [seeded(4), seeded(4)]
    expected = dn.solve(
        scheduler.plan, Model(), x, noise=lambda i, j, like: torch.randn(like.shape, generator=generators[0])
    )
    for t in scheduler.timesteps:
        value = net(scheduler.scale_model_input(x, t), t)
        x = scheduler.step(value, t, x, generator=generators[1]).prev_sample
    torch.testing.assert_close(x, expected, rtol=1e-3, atol=1e-4)


def test_the_pipeline_of_exploding_networks_gets_the_exact_answer_on_a_gaussian() -> None:
    theirs = diffusers.ScoreSdeVeScheduler(sigma_max=50.0)
    scheduler = PlanScheduler.from_config(theirs.config, method="dpmpp_2m")
    scheduler.set_timesteps(60)
    scheduler.set_sigmas(60)
    assert scheduler.config.correct_steps == 0
    x = X.double() * scheduler.init_noise_sigma
    first = x
    for i, t in enumerate(scheduler.timesteps):  # as the pipeline does, for data of standard deviation 2
        sigma = float(scheduler.sigmas[i])
        output = scheduler.step_pred(-x / (4.0 + sigma**2), t, x)
        x = output.prev_sample
        assert torch.equal(output.prev_sample, output.prev_sample_mean)
    torch.testing.assert_close(x, first * 2.0 / (4.0 + 50.0**2) ** 0.5, rtol=0.02, atol=0.0)


def test_noise_is_added_at_a_level_and_files_bring_the_scheduler_back(tmp_path: Any) -> None:
    scheduler = PlanScheduler.from_config(diffusers.EDMEulerScheduler().config, method="unipc_3")
    scheduler.set_timesteps(5)
    noisy = scheduler.add_noise(torch.zeros_like(X), torch.ones_like(X), scheduler.timesteps[:3])
    assert noisy[:, 0, 0, 0].tolist() == pytest.approx(scheduler.sigmas[:3].tolist())
    scheduler.save_pretrained(tmp_path)
    again = SigmaScheduler.from_pretrained(tmp_path)
    again.set_timesteps(5)
    assert again.plan == scheduler.plan


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SigmaScheduler(kind="vp"), "kind='vp' is unknown"),
        (lambda: SigmaScheduler(sigma_min=3.0, sigma_max=2.0), "the smaller one first"),
        (lambda: SigmaScheduler(correct_steps=1), "no corrector"),
        (lambda: SigmaScheduler().set_timesteps(), "pass one of the two"),
        (lambda: SigmaScheduler().set_timesteps(0), "num_inference_steps=0"),
        (lambda: SigmaScheduler().set_timesteps(timesteps=[1.0]), "no meaning"),
        (lambda: SigmaScheduler().set_timesteps(sigmas=[1.0, 2.0]), "decreasing list"),
        (lambda: SigmaScheduler(final_sigmas_type="sigma_min").set_timesteps(1), "leaves no step"),
        (lambda: SigmaScheduler().scale_model_input(X, 0.3), "call set_timesteps first"),
        (
            lambda: PlanScheduler.from_config(diffusers.EDMEulerScheduler(rho=5.0).config),
            "rho=5.0: levels are spaced with rho=7",
        ),
        (lambda: SigmaScheduler(method="edm_heun_churn").set_timesteps(5), "moves the sample"),
    ],
)
def test_what_makes_no_run_of_levels_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


# -- a time for each sample --------------------------------------------------------------------------------


def each(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The network, one sample a call: a library's products of matrices may round a batch in another way."""
    return torch.cat([net(x[i : i + 1], t[i]) for i in range(len(x))])


def steps(scheduler: Any, begins: list[int], count: int) -> torch.Tensor:
    """Samples that begin at different timesteps, stepped together."""
    x = X
    for k in range(count):
        t = torch.stack([scheduler.timesteps[b + k] for b in begins])
        x = scheduler.step(each(x, t), t, x).prev_sample
    return x


@pytest.mark.parametrize("method", ["ddim", "dpmpp_2m", "unipc_2"])
def test_samples_at_their_own_times_take_the_steps_that_they_take_alone(method: str) -> None:
    begins = [0, 2, 3]
    together = PlanScheduler(method=method)
    together.set_timesteps(8)
    found = steps(together, begins, 4)
    for i, begin in enumerate(begins):
        alone = PlanScheduler(method=method)
        alone.set_timesteps(8)
        x = X[i : i + 1]
        for t in alone.timesteps[begin : begin + 4]:
            x = alone.step(net(x, t), t, x).prev_sample
        torch.testing.assert_close(found[i : i + 1], x, rtol=1e-6, atol=1e-6)


def test_the_same_time_for_each_sample_is_one_time_for_all() -> None:
    scheduler = PlanScheduler(method="dpmpp_2m")
    scheduler.set_timesteps(5)
    found = steps(scheduler, [0, 0, 0], 5)
    scheduler.set_timesteps(5)
    x = X
    for t in scheduler.timesteps:
        x = scheduler.step(each(x, t.expand(len(x))), t, x).prev_sample
    torch.testing.assert_close(found, x, rtol=1e-6, atol=1e-6)


def test_another_number_of_times_than_samples_is_refused() -> None:
    scheduler = PlanScheduler()
    scheduler.set_timesteps(5)
    with pytest.raises(ValueError, match=r"one for each of the 3 samples"):
        scheduler.step(X, scheduler.timesteps[:2], X)


# -- strength as a noise level -----------------------------------------------------------------------------


@pytest.mark.parametrize("config", [{}, {"use_karras_sigmas": True}, {"timestep_spacing": "trailing"}])
def test_a_run_begins_exactly_at_the_noise_level_that_was_asked_for(config: Any) -> None:
    scheduler = PlanScheduler(method="dpmpp_2m", **config)
    scheduler.set_timesteps(6)
    usual = scheduler.timesteps.clone()
    scheduler.set_noise_level(0.6)
    scheduler.set_timesteps(6)
    assert float(scheduler.sigmas[0]) == pytest.approx(0.6, rel=1e-6)
    assert len(scheduler.timesteps) == len(usual)
    noisy = scheduler.add_noise(X, torch.ones_like(X), scheduler.timesteps[:1])
    alpha = 1.0 / (1.0 + 0.36) ** 0.5
    torch.testing.assert_close(noisy, alpha * X + 0.6 * alpha, rtol=1e-4, atol=1e-4)
    scheduler.set_noise_level(None)
    scheduler.set_timesteps(6)
    assert torch.equal(scheduler.timesteps, usual)


@pytest.mark.parametrize(
    "config",
    [
        diffusers.EDMEulerScheduler().config,
        diffusers.EDMDPMSolverMultistepScheduler(sigma_schedule="exponential").config,
        diffusers.ScoreSdeVeScheduler().config,
    ],
    ids=["edm", "edm exponential", "ve"],
)
def test_networks_of_noise_levels_begin_at_a_level_too(config: Any) -> None:
    scheduler = PlanScheduler.from_config(config, method="dpmpp_2m")
    scheduler.set_timesteps(6)
    usual = scheduler.sigmas.clone()
    scheduler.set_noise_level(0.8)
    scheduler.set_timesteps(6)
    assert float(scheduler.sigmas[0]) == pytest.approx(0.8, rel=1e-6)
    assert len(scheduler.sigmas) == len(usual)
    assert float(scheduler.sigmas[-2]) == pytest.approx(float(usual[-2]))
    noisy = scheduler.add_noise(X, torch.ones_like(X), scheduler.timesteps[:1].repeat(len(X)))
    torch.testing.assert_close(noisy, X + 0.8)
    again = PlanScheduler.from_config(scheduler.config)
    again.set_timesteps(6)
    assert torch.equal(again.sigmas, scheduler.sigmas)
    with pytest.raises(ValueError, match="and sigmas are both given"):
        scheduler.set_timesteps(sigmas=[0.5, 0.1])
    for level in (1e6, 1e-9):
        scheduler.set_noise_level(level)
        with pytest.raises(ValueError, match=f"noise_level={level}.*begin between them"):
            scheduler.set_timesteps(6)
    scheduler.set_noise_level(None)
    scheduler.set_timesteps(6)
    assert torch.equal(scheduler.sigmas, usual)


def test_a_flow_begins_at_a_time() -> None:
    scheduler = PlanScheduler.from_config(diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0).config, method="ddim")
    scheduler.set_noise_level(0.35)
    scheduler.set_timesteps(4)
    assert float(scheduler.sigmas[0]) == pytest.approx(0.35)
    assert float(scheduler.timesteps[0]) == pytest.approx(350.0)


def test_the_noise_level_survives_the_way_through_a_configuration(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = PlanScheduler(noise_level=0.6)
    again = PlanScheduler.from_config(scheduler.config, method="unipc_3")
    again.set_timesteps(5)
    assert float(again.sigmas[0]) == pytest.approx(0.6, rel=1e-6)
    assert not caplog.records
    with pytest.raises(ValueError, match="noise_level=-1"):
        PlanScheduler(noise_level=-1.0).set_timesteps(5)


@pytest.mark.parametrize("level", [0.0, -1.0, float("nan"), float("inf"), 1e6])
def test_levels_that_no_run_can_begin_at_are_refused(level: float) -> None:
    scheduler = PlanScheduler()

    def begun() -> None:
        scheduler.set_noise_level(level)
        scheduler.set_timesteps(5)

    with pytest.raises(ValueError, match="level="):
        begun()

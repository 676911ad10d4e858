"""Comparisons on networks: the reference is right, methods are charged honestly, and the verdict follows the errors."""

from __future__ import annotations

import json
import math

import pytest
import torch

from diffnum.models import load
from diffnum.models.denoiser import NetworkDenoiser
from diffnum.models.quality.compare import Comparison, compare, converged_reference
from diffnum.models.runs.sampling import initial_noise
from diffnum.schedules import EDM, FlowMatching, MeanReverting, VPLinear
from diffnum.types import Schedule


class Gaussian(torch.nn.Module):
    """Exact noise prediction for data from N(mean, variance): its flow is known."""

    def __init__(self, schedule: Schedule, mean: float, variance: float) -> None:
        super().__init__()
        self.schedule, self.mean, self.variance = schedule, mean, variance

    def moments(self, t: float) -> tuple[float, float]:
        a, s, m = float(self.schedule.alpha(t)), float(self.schedule.sigma(t)), float(self.schedule.mean)
        return m + a * (self.mean - m), math.sqrt(a * a * self.variance + s * s)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        centre, width = self.moments(float(t[0]))
        return float(self.schedule.sigma(float(t[0]))) * (x - centre) / width**2

    def flow(self, x: torch.Tensor, t: float, s: float) -> torch.Tensor:
        (m0, w0), (m1, w1) = self.moments(t), self.moments(s)
        return m1 + w1 / w0 * (x - m0)


def gaussian(schedule: Schedule, mean: float = 0.7, variance: float = 0.3, **times: float) -> NetworkDenoiser:
    return NetworkDenoiser(
        module=Gaussian(schedule, mean, variance),
        prediction="noise",
        schedule=schedule,
        sample_shape=(1, 2, 2),
        value_range=(-1.0, 1.0),
        name="gaussian",
        dtype=torch.float64,
        **times,  # type: ignore[arg-type]
    )


SCHEDULES = {
    "vp": (VPLinear(), 1.0, 1e-3),
    "edm": (EDM(), 20.0, 0.01),
    "flow": (FlowMatching(shift=3.0), 0.99, 0.01),
    "mean-reverting": (MeanReverting(mean=2.0), 0.9, 0.01),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_reference_is_the_exact_flow_of_a_gaussian(name: str) -> None:
    schedule, t_start, t_end = SCHEDULES[name]
    model = gaussian(schedule)
    x = initial_noise(3, (1, 2, 2), 0, dtype=torch.float64)
    found = converged_reference(model, x, t_start, t_end, tolerance=1e-9)
    exact = model.module.flow(x, t_start, t_end)  # type: ignore[operator]
    error = float((found.x - exact).square().mean().sqrt() / exact.square().mean().sqrt())
    assert error < 1e-7
    assert error < max(found.agreement, 1e-12), "the looser run bounds the error of the reference"


def test_both_integrators_agree() -> None:
    model, x = gaussian(VPLinear()), initial_noise(2, (1, 2, 2), 0, dtype=torch.float64)
    ends = [converged_reference(model, x, integrator=name, tolerance=1e-9).x for name in ("RK45", "DOP853")]
    assert torch.allclose(*ends, rtol=1e-6, atol=1e-7)


def test_a_sample_of_the_reference_does_not_depend_on_its_batch() -> None:
    model = load("toy/digits", dtype="float64").conditioned([3, 8])
    x = initial_noise(2, (1, 8, 8), 0, dtype=torch.float64)
    both = converged_reference(model, x, tolerance=1e-5, check=False)
    alone = converged_reference(model.conditioned(8), x[1:], tolerance=1e-5, check=False)
    assert torch.allclose(both.x[1], alone.x[0], rtol=0, atol=1e-12)
    assert math.isnan(both.agreement)


@pytest.fixture(scope="module")
def smooth() -> Comparison:
    model = gaussian(VPLinear())
    methods = ("ddim", "edm_heun", "dpmpp_2m", "dpmpp_3m_corrected")
    return compare(model, methods, nfe=(20, 40, 80, 160, 320), n=2, seed=1, tolerance=1e-11)


def test_orders_are_seen_on_a_smooth_model(smooth: Comparison) -> None:
    slopes = {r.method: r.observed for r in smooth.rows}
    assert slopes["ddim"] == pytest.approx(1.0, abs=0.1)
    assert slopes["edm_heun"] == pytest.approx(2.0, abs=0.2)
    assert slopes["dpmpp_2m"] == pytest.approx(2.0, abs=0.2)
    assert slopes["dpmpp_3m_corrected"] is not None
    assert slopes["dpmpp_3m_corrected"] > 2.6
    assert smooth.limited is False


def test_methods_are_charged_for_every_evaluation(smooth: Comparison) -> None:
    for row in smooth.rows:
        assert all(made <= asked for made, asked in zip(row.nfe, row.asked, strict=True))
    heun = next(r for r in smooth.rows if r.method == "edm_heun")
    assert heun.steps == (10, 20, 40, 80, 160)


class Kinked(Gaussian):
    """The same with a kink in time, as a network with ReLU has many."""

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        lam = float(self.schedule.half_log_snr(float(t[0])))
        bend = sum(abs(math.sin(7.3 * lam + k)) for k in range(3))
        return super().forward(x, t) * (1.0 + 0.2 * bend)


def test_a_model_with_kinks_is_found_to_limit_the_order() -> None:
    model = gaussian(VPLinear())
    kinked = NetworkDenoiser(
        module=Kinked(VPLinear(), 0.7, 0.3),
        **{f: getattr(model, f) for f in ("prediction", "schedule", "sample_shape", "value_range", "name", "dtype")},
    )
    found = compare(kinked, ("dpmpp_2m", "dpmpp_3m_corrected"), nfe=(40, 80, 160, 320), n=2, tolerance=1e-8)
    assert found.limited is True


def test_a_comparison_is_json_without_what_json_lacks(smooth: Comparison) -> None:
    data = json.loads(json.dumps(smooth.to_dict(), allow_nan=False))
    assert [row["method"] for row in data["rows"]] == [r.method for r in smooth.rows]
    assert data["reference"]["agreement"] < 1e-6


def test_the_table_names_every_method_and_how_far_it_can_be_trusted(smooth: Comparison) -> None:
    assert all(r.method in str(smooth) for r in smooth.rows)
    assert "good to" in str(smooth)


def test_progress_ends_at_its_total() -> None:
    calls: list[tuple[int, int]] = []
    compare(
        gaussian(VPLinear()), ("ddim",), nfe=(5, 10), n=2, tolerance=1e-4, progress=lambda d, t, _: calls.append((d, t))
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_levels_that_allow_the_same_steps_are_one_level_for_the_rate() -> None:
    found = compare(gaussian(VPLinear()), ("edm_heun",), nfe=(4, 5, 8), n=1, tolerance=1e-4)
    assert found.rows[0].steps == (2, 2, 4)
    assert found.rows[0].estimate.steps.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nfe": (10, 5)}, "increasing"),
        ({"nfe": ()}, "increasing"),
        ({"n": 0}, "at least one sample"),
        ({"methods": ()}, "methods is empty"),
        ({"methods": ("nope",)}, "method='nope' is unknown"),
        ({"methods": ("edm_heun",), "nfe": (1, 5)}, "too small for one step"),
        ({"tolerance": 0.0}, "tolerance=0"),
    ],
)
def test_bad_input_is_named(options: dict[str, object], message: str) -> None:
    arguments = {"methods": ("ddim",), "nfe": (5,), "n": 1, **options}
    with pytest.raises(ValueError, match=message):
        compare(gaussian(VPLinear()), **arguments)  # type: ignore[arg-type]


def test_a_network_that_is_not_finite_is_named() -> None:
    model = gaussian(VPLinear(), variance=math.nan)
    with pytest.raises(ValueError, match=r"gaussian returned values that are not finite at t=1: are its weights whole"):
        compare(model, ["ddim"], (5,), 1)


def test_single_precision_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match='dtype="float64"'):
        compare(load("toy/digits"), ("ddim",), nfe=(5,), n=1)


def test_labels_must_match_the_samples() -> None:
    model = load("toy/digits", dtype="float64").conditioned([1, 2, 3])
    with pytest.raises(ValueError, match="3 labels and there are 2 samples"):
        compare(model, ("ddim",), nfe=(5,), n=2)


@pytest.mark.slow
@pytest.mark.network_models
def test_relu_limits_the_order_on_galaxies_but_not_on_digits() -> None:
    methods = ("dpmpp_3m_corrected", "unipc_3_bh2")
    digits = compare(load("toy/digits", dtype="float64").conditioned([0, 1]), methods, (20, 40, 80, 160), n=2)
    assert digits.limited is False
    try:
        galaxies = load("galaxies/hsc-32", dtype="float64")
    except FileNotFoundError:
        pytest.skip("the galaxy networks are not here")
    assert compare(galaxies, methods, (20, 40, 80, 160), n=2).limited is True

"""Found plans beat the catalogue on noises that the fit has not seen, and say for what they were found."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.calibration import Fit, fit_plan
from diffnum.calibration.rivals import endpoint_error
from diffnum.plans.found import FoundElsewhereWarning
from diffnum.solver.noise import start_noise

VP = dn.schedules.VPLinear()
MODEL = dn.problems.rotated_product(4).denoiser(VP, "noise")
SMALL = {"n": 24, "starts": 1, "iterations": 6, "t_end": 1e-2}


@pytest.fixture(scope="module")
def fit() -> Fit:
    return fit_plan(MODEL, 3, n=64, starts=1, iterations=12, t_end=1e-2)


def test_a_found_plan_beats_every_plan_of_the_catalogue_on_unseen_noises(fit: Fit) -> None:
    assert fit.ratio < 0.5
    assert fit.test_error < 2.0 * fit.train_error
    assert fit.train_error == pytest.approx(fit.losses[-1], rel=1e-9)
    assert (np.diff(fit.losses) < 0).all()


def test_the_baseline_is_the_best_of_the_catalogue(fit: Fit) -> None:
    x = float(VP.sigma(1.0)) * start_noise(64, (4,), 0, first=64)
    target = dn.problems.rotated_product(4).flow(x, VP, 1.0, 1e-2)

    def error(plan: dn.Plan) -> float:
        return float(np.sqrt(((dn.solve(plan, MODEL, x) - target) ** 2).sum() / (target**2).sum()))

    assert error(fit.baseline.plan) == pytest.approx(fit.baseline.error, rel=0.02)
    assert error(fit.plan) == pytest.approx(fit.test_error, rel=0.05)
    for name in ("ddim", "dpmpp_2m", "unipc_3_bh2", "ab_velocity_3"):
        for grid in (dn.grids.uniform_half_log_snr, dn.grids.uniform_time, dn.grids.karras):
            assert error(dn.plan(name, VP, grid(VP, 3, t_end=1e-2, t_start=1.0))) >= fit.baseline.error * 0.98


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not() -> None:
    first, second, other = (fit_plan(MODEL, 2, seed=seed, **SMALL) for seed in (0, 0, 1))
    assert first.plan == second.plan
    assert first.plan != other.plan


def test_a_fit_goes_on_from_a_plan_and_is_never_worse_than_it() -> None:
    first = fit_plan(MODEL, 3, **SMALL)
    more = {**SMALL, "n": 48, "begin": first.plan}
    stay, further = (fit_plan(MODEL, 3, **{**more, "iterations": n}) for n in (0, 6))
    x = float(VP.sigma(1.0)) * start_noise(8, (4,), 5)
    assert stay.start.plan == replace(first.plan, found_for=None)
    assert np.allclose(dn.solve(stay.plan, MODEL, x), dn.solve(first.plan, MODEL, x), rtol=1e-9, atol=1e-12)
    assert further.losses[0] == pytest.approx(stay.train_error, rel=1e-9)
    read = dn.Plan.from_json(further.plan.to_json())
    assert (read.found_for or {})["begin"] == first.plan.found_for
    assert "begin" not in (first.plan.found_for or {})
    assert further.train_error < stay.train_error


def test_where_a_fit_cannot_begin_is_named_before_any_work() -> None:
    nodes = dn.grids.uniform_half_log_snr(VP, 3, t_end=1e-2, t_start=1.0)
    flow = dn.schedules.FlowMatching()
    with pytest.raises(ValueError, match="has 3 evaluations and the space 4"):
        fit_plan(MODEL, 4, begin=dn.plan("dpmpp_2m", VP, nodes), **SMALL)
    with pytest.raises(ValueError, match=r"begin=.* is no point of the space"):
        fit_plan(MODEL, 3, begin=dn.plan("dpmpp_2m_sde", VP, nodes), **SMALL)
    with pytest.raises(ValueError, match="give one of its own"):
        fit_plan(MODEL, 3, begin=dn.plan("ddim", flow, dn.grids.uniform_time(flow, 3)), **SMALL)
    with pytest.raises(ValueError, match=r"is no point of the space .* runs from 1 to 0.1 and the"):
        fit_plan(MODEL, 3, begin=dn.plan("ddim", VP, dn.grids.uniform_time(VP, 3, t_end=0.1)), **SMALL)


@pytest.mark.parametrize("make", [dn.problems.rotated_product, dn.problems.gaussian_example])
def test_a_problem_is_told_by_its_numbers_and_not_by_its_use(make: Any) -> None:
    from diffnum.calibration.hosts import ExactHost

    used, fresh, other = (make(3, seed=seed).denoiser(VP) for seed in (0, 0, 1))
    used(np.zeros((1, 3)), 0.5)
    digests = [ExactHost(model).identity()["sha256"] for model in (used, fresh, other)]
    assert digests[0] == digests[1] != digests[2]


def test_an_interrupted_fit_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    whole = fit_plan(MODEL, 2, **SMALL)

    class Stopped(Exception):
        pass

    def stop(done: int, total: int, what: str) -> None:
        if "loss" in what and done == 4:
            raise Stopped

    ledger = tmp_path / "fit.jsonl"
    with pytest.raises(Stopped):
        fit_plan(MODEL, 2, ledger=ledger, progress=stop, **SMALL)
    seen: list[str] = []
    again = fit_plan(MODEL, 2, ledger=ledger, progress=lambda d, t, what: seen.append(what), **SMALL)
    assert again.plan == whole.plan
    assert sum("loss" in what for what in seen) == len(whole.losses) - 1 - 2


def test_a_plan_file_says_for_what_it_was_found(fit: Fit, tmp_path: Path) -> None:
    plan = replace(fit.plan, found_for={**(fit.plan.found_for or {}), "command": "diffnum fit toy --nfe 3"})
    plan.to_json(tmp_path / "plan.json")
    again = dn.Plan.from_json(tmp_path / "plan.json")
    assert again == plan
    assert again.found_for is not None
    assert {"model", "sha256", "seed", "n", "loss", "free", "command"} <= set(again.found_for)
    assert "found_for" not in json.loads(fit.baseline.plan.to_json())


def test_a_plan_on_a_model_for_which_it_was_not_found_warns(fit: Fit) -> None:
    class Named:
        name, prediction, schedule = "toy/another", "noise", VP

        def __call__(self, x: Any, t: Any) -> Any:
            return MODEL(x, t)

    x = np.zeros((1, 4))
    with pytest.warns(FoundElsewhereWarning, match="its error is not known here"):
        dn.solve(fit.plan, Named(), x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dn.solve(fit.plan, MODEL, x)
        dn.solve(fit.baseline.plan, Named(), x)


def test_a_problem_with_other_numbers_is_another_model(fit: Fit) -> None:
    other = dn.problems.rotated_product(4, seed=5).denoiser(VP, "noise")
    with pytest.warns(FoundElsewhereWarning, match="found for other numbers of 'exact CoordinateMixtures'"):
        dn.solve(fit.plan, other, np.zeros((1, 4)))


def test_another_schedule_is_refused(fit: Fit) -> None:
    other = dn.problems.rotated_product(4).denoiser(dn.schedules.VPCosine(), "noise")
    with pytest.raises(ValueError, match=r"make the plan on model\.schedule"):
        dn.solve(fit.plan, other, np.zeros((1, 4)))


@pytest.mark.parametrize("free", [("weights",), ("times", "levels"), ("levels", "weights"), ("scale",)])
def test_more_freedom_never_fits_worse_and_what_is_fixed_stays(fit: Fit, free: tuple[str, ...]) -> None:
    part = fit_plan(MODEL, 3, n=64, starts=1, iterations=12, t_end=1e-2, free=free)
    assert fit.train_error <= part.train_error * 1.02
    assert part.train_error <= part.start.error
    begin = part.space.vector_of(part.start.plan)
    assert np.array_equal(part.theta[~part.space.mask], begin[~part.space.mask])


def test_constraints_hold_in_the_plan_that_was_found() -> None:
    free, first, second = (fit_plan(MODEL, 3, rows=rows, **SMALL) for rows in ("free", "order_1", "order_2"))
    sums = [np.abs(np.array(f.diagnostics.order_residuals)) for f in (free, first, second)]
    assert sums[1][:, 0].max() < 1e-12 < sums[0][:, 0].max()
    assert sums[2][1:, 1].max() < 1e-12 < sums[1][1:, 1].max()
    assert free.train_error <= first.train_error * 1.05


def test_the_trajectory_is_followed_where_that_is_asked_for() -> None:
    model = dn.problems.gaussian_example(3).denoiser(VP, "data")
    by = {
        loss: fit_plan(model, 3, loss=loss, n=32, starts=1, iterations=10, t_end=1e-2)
        for loss in ("endpoint", "trajectory")
    }
    x = np.random.default_rng(3).standard_normal((64, 3))

    def off(fit: Fit) -> float:
        found = dn.solve(fit.plan, model, x, return_trajectory=True)
        states = [dn.problems.gaussian_example(3).flow(x, VP, 1.0, t) for t in found.t[1:-1]]
        return float(np.mean([np.mean((a - b) ** 2) for a, b in zip(found.x[1:-1], states, strict=True)]))

    assert off(by["trajectory"]) < off(by["endpoint"])
    assert by["endpoint"].test_error <= by["trajectory"].test_error


@pytest.mark.slow
def test_a_network_is_fitted_with_its_labels_and_guidance() -> None:
    pytest.importorskip("torch")
    network = dn.load("toy/digits", dtype="float64")
    settings: dict[str, Any] = {"n": 8, "n_test": 8, "starts": 1, "iterations": 2, "free": ("weights",)}
    guided = fit_plan(dn.guidance.classifier_free(network.conditioned(1), 2.0), 2, **settings)
    each = fit_plan(network, 2, label="each", **settings)
    assert guided.plan.found_for is not None
    assert each.plan.found_for is not None
    assert guided.plan.found_for["guidance"] == 2.0
    assert each.plan.found_for["label"] == "each"
    assert each.plan.found_for["sha256"] == guided.plan.found_for["sha256"]
    assert guided.losses[-1] < guided.losses[0]


@pytest.mark.slow
def test_features_of_the_end_points_may_be_what_counts() -> None:
    pytest.importorskip("torch")
    network = dn.load("toy/digits", dtype="float64")

    def means(x: Any) -> Any:
        return x.reshape(len(x), 4, 16).mean(-1)

    settings: dict[str, Any] = {"n": 32, "n_test": 8, "starts": 1, "iterations": 6, "free": ("weights",)}
    ends = fit_plan(network, 3, **settings)
    found = fit_plan(network, 3, loss="features", features=means, **settings)
    x = start_noise(32, network.sample_shape, 0)
    import torch

    states = float(network.schedule.sigma(1.0)) * torch.from_numpy(x)
    wanted = means(dn.solve(found.teacher.plan, network, states))
    off = [float((means(dn.solve(fit.plan, network, states)) - wanted).square().sum()) for fit in (found, ends)]
    assert off[0] < off[1]
    assert ends.train_error < found.train_error


def test_rounding_of_the_evaluations_shows_in_the_diagnostics(fit: Fit) -> None:
    assert fit.diagnostics.rounded_error > fit.test_error
    assert fit.diagnostics.baseline_rounded_error == pytest.approx(fit.baseline.error, rel=0.5)
    assert fit.diagnostics.largest_weight < 20.0


class Broken:
    """A model that returns NaN at small times."""

    prediction, schedule, core = "noise", VP, MODEL.core

    def __init__(self, below: float) -> None:
        self.below = below

    def __call__(self, x: Any, t: Any) -> Any:
        return MODEL(x, t) * (np.nan if t < self.below else 1.0)

    def jvp(self, x: Any, t: Any, tangent: Any) -> Any:
        return MODEL.jvp(x, t, tangent)


def test_a_model_that_returns_nan_is_named() -> None:
    with pytest.raises(ValueError, match="model returned NaN or infinity at step"):
        fit_plan(Broken(0.5), 2, **SMALL)


class Failing(Broken):
    """A model that returns NaN after so many calls, as one does whose memory is broken."""

    def __call__(self, x: Any, t: Any) -> Any:
        self.below -= 1
        return MODEL(x, t) * (1.0 if self.below >= 0 else np.nan)


@pytest.mark.parametrize("calls", [0, 600])
def test_a_fit_that_is_refused_leaves_no_log(calls: int, tmp_path: Path) -> None:
    log, cache = tmp_path / "fit.jsonl", tmp_path / "cache.jsonl"
    grown: list[bool] = []

    def look(done: int, total: int, what: str) -> None:
        grown.append(log.exists() or cache.exists())

    settings: dict[str, Any] = {**SMALL, "iterations": 60, "ledger": log, "progress": look}
    with pytest.raises(ValueError, match="NaN or infinity"):
        fit_plan(Failing(calls), 3, cache=cache, **settings)
    assert any(grown) == (calls > 0)
    assert list(tmp_path.iterdir()) == []
    cache.write_text("")
    with pytest.raises(ValueError, match="NaN or infinity"):
        fit_plan(Failing(calls), 3, cache=cache, **settings)
    assert list(tmp_path.iterdir()) == [cache]  # it was there before


def test_a_model_of_arrays_without_derivatives_says_so_and_has_differences() -> None:
    class Bare:
        prediction, schedule, core = "noise", VP, MODEL.core

        def __call__(self, x: Any, t: Any) -> Any:
            return MODEL(x, t)

    seen: list[str] = []
    with pytest.raises(ValueError, match=r'no derivatives .* use derivatives="differences"'):
        fit_plan(Bare(), 2, progress=lambda done, total, what: seen.append(what), **SMALL)  # type: ignore[arg-type]
    assert not seen
    found = fit_plan(Bare(), 2, derivatives="differences", **SMALL)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.losses, fit_plan(MODEL, 2, **SMALL).losses, rtol=1e-3)


def test_a_rule_that_alters_a_model_does_not_take_the_derivatives_of_the_model() -> None:
    from diffnum.guidance.altered import Altered

    altered: Any = Altered(MODEL, lambda model, x, t: 0.9 * model(x, t), "noise")
    with pytest.raises(ValueError, match="no derivatives"):
        fit_plan(altered, 2, **SMALL)
    assert fit_plan(altered, 2, derivatives="differences", **SMALL).losses[-1] < 1.0


@pytest.mark.parametrize(
    ("nfe", "settings", "message"),
    [
        (0, {}, "nfe=0: use a whole number, at least 1"),
        (True, {}, "nfe=True"),
        (3, {"n": 0}, "n=0"),
        (3, {"n": 2}, "8 residuals are too few for 12 unknowns; use at least n=6"),
        (3, {"n_test": 0}, "n_test=0"),
        (3, {"seed": -1}, "seed=-1"),
        (3, {"loss": "fid"}, "loss='fid' is unknown"),
        (3, {"loss": "features"}, "needs a function"),
        (3, {"features": len}, "needs a function"),
        (3, {"free": ("nodes",)}, "free="),
        (3, {"rows": "order_9"}, "rows='order_9'"),
        (3, {"t_start": 0.001, "t_end": 0.5}, "t_start=0.001 is not later"),
        (3, {"label": 1}, "an exact problem has no labels"),
        (3, {"memory": 0}, "memory=0: use a positive number"),
        (3, {"teacher_tolerance": np.nan}, "teacher_tolerance=nan: use a positive number"),
        (3, {"derivatives": "adjoint"}, "derivatives='adjoint' is unknown"),
        (3, {"ledger": "."}, "ledger='.' is a folder"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(nfe: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_plan(MODEL, nfe, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"free": "weights"}, r"free='weights': give a tuple"),
        ({"teacher": "dpmpp_2m"}, "teacher='dpmpp_2m': give a plan"),
        ({"begin": "plan.json"}, "begin='plan.json': give a plan"),
        ({"t_end": "late"}, "t_end='late': give a time"),
        ({"elsewhere": [MODEL]}, "give a mapping from names to models"),
    ],
)
def test_what_is_of_another_kind_is_refused_before_any_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        fit_plan(MODEL, 3, **settings)


@pytest.mark.parametrize("way", ["forward", "reverse"])
def test_a_network_without_derivatives_says_so_before_any_work_and_has_differences(way: str) -> None:
    torch = pytest.importorskip("torch")

    class Copied(torch.autograd.Function):  # type: ignore[misc, name-defined]
        """An operation that no mode of differentiation knows."""

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:  # noqa: ARG004
            return x.clone()

    class Opaque(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *words: Any) -> Any:
            return Copied.apply(self.inner(*words))

    network = dn.load("toy/digits")
    opaque = replace(network, module=Opaque(network.module))
    settings: dict[str, Any] = {"n": 4, "n_test": 4, "starts": 1, "iterations": 1, "free": ("scale",)}
    seen: list[str] = []
    with pytest.raises(ValueError, match=rf'no {way} derivatives .* use derivatives="differences"'):
        fit_plan(opaque, 1, derivatives=way, progress=lambda done, total, what: seen.append(what), **settings)
    assert not seen
    assert fit_plan(opaque, 1, derivatives="differences", **settings).plan.nfe == 1


def test_derivatives_go_backwards_by_themselves_where_samples_are_large_and_the_loss_is_of_end_points() -> None:
    torch = pytest.importorskip("torch")

    class Shrunk(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any, t: Any) -> Any:
            return torch.tanh(x) * (0.5 + 0.01 * t.reshape(-1, 1, 1, 1))

    small = replace(dn.load("toy/digits-flow"), module=Shrunk(), num_classes=None, sample_shape=(1, 8, 8))
    settings: dict[str, Any] = {"n": 4, "n_test": 2, "starts": 1, "iterations": 2, "teacher_tolerance": 0.05}

    def theta(model: Any, **words: Any) -> list[float]:
        return list(fit_plan(model, 2, **settings, **words).theta)

    large = replace(small, sample_shape=(1, 16, 32))
    assert theta(large) == theta(large, derivatives="reverse") != theta(large, derivatives="forward")
    assert theta(small) == theta(small, derivatives="forward")
    assert theta(large, loss="trajectory") == theta(large, loss="trajectory", derivatives="forward")
    noises = []
    for model in (large, small):
        found = fit_plan(model, 1, n_test=2, starts=1, iterations=0, teacher_tolerance=0.05).plan.found_for
        assert found is not None
        noises.append(found["n"])
    assert noises == [64, 128]


def test_a_network_is_asked_for_no_time_at_which_it_has_no_level() -> None:
    """A flow that begins next to pure noise: the difference in time stays inside."""
    pytest.importorskip("torch")
    from diffnum.calibration.networks import DifferencedNetwork

    network = dn.load("toy/digits-flow")
    import torch

    x = torch.tensor(start_noise(1, network.sample_shape, 0), dtype=network.dtype)
    rate = DifferencedNetwork(network).rate(x, network.default_t_start)
    assert torch.isfinite(rate).all()


def test_a_stochastic_or_shifted_teacher_is_refused() -> None:
    grid = dn.grids.uniform_half_log_snr(VP, 20, t_end=1e-2)
    with pytest.raises(ValueError, match="is stochastic"):
        fit_plan(MODEL, 2, teacher=dn.plan("sde_dpmpp_2m", VP, grid), **SMALL)
    other = dn.grids.uniform_half_log_snr(VP, 20, t_end=2e-2)
    with pytest.raises(ValueError, match="give both the same ends"):
        fit_plan(MODEL, 2, teacher=dn.plan("dpmpp_2m", VP, other), **SMALL)


def test_a_teacher_that_does_not_converge_says_so() -> None:
    with pytest.raises(ValueError, match="larger tolerance, or a plan of your own"):
        fit_plan(MODEL, 2, teacher_tolerance=1e-14, **SMALL)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(TypeError, match="pass a network"):
        fit_plan(lambda x, t: x, 3)  # type: ignore[arg-type]


def test_an_error_is_infinite_where_a_run_overflows(fit: Fit) -> None:
    from diffnum.calibration.rivals import Samples

    host = type("H", (), {"numpy": staticmethod(np.asarray)})()
    samples = Samples(host, (MODEL,), (np.full((1, 4), 1e308),), (np.ones((1, 4)),))
    assert endpoint_error(fit.plan, samples) == np.inf


def test_relaxed_starts_meet_the_end_points_better_the_further_they_may_move() -> None:
    settings: dict[str, Any] = {"n": 32, "starts": 1, "iterations": 5, "t_end": 1e-2, "free": ("weights",)}
    losses = [fit_plan(MODEL, 2, **settings).losses[-1]]
    losses += [fit_plan(MODEL, 2, loss="relaxed", radius=r, **settings).losses[-1] for r in (0.01, 0.1)]
    assert losses[0] > losses[1] > losses[2]
    with pytest.raises(ValueError, match=r"radius=-1\.0"):
        fit_plan(MODEL, 2, loss="relaxed", radius=-1.0, **settings)


def test_the_pull_of_a_network_is_the_transposed_of_its_push() -> None:
    torch = pytest.importorskip("torch")
    from diffnum.calibration.hosts import ExactHost, host_of, start_states
    from diffnum.calibration.sensitivities import Native, run_with_tangents
    from diffnum.calibration.weights import SolverSpace

    network = dn.load("toy/digits", dtype="float64")
    guided = dn.guidance.classifier_free(network.conditioned(2), 1.5)
    for model, t_end in ((network, 1e-3), (guided, 1e-3), (MODEL, 1e-2)):
        host = host_of(model)
        space = SolverSpace.native(model.prediction, VP, (1.0, t_end), 2)
        grid = dn.grids.uniform_half_log_snr(VP, 2, t_start=1.0, t_end=t_end)
        numbers = space.numbers(space.vector_of(dn.plan("ddim", VP, grid)))
        x = start_states(host, 0, 0, 2, 1.0)
        u, v = (host.noise(seed, 0, 2) for seed in (5, 6))
        native = Native(host.differentiable(host.part(0, 2)), space.form.prediction)
        *_, (_, pushed) = run_with_tangents(native, numbers, None, x, u[None])
        pulled = host.pull(host.part(0, 2), space.form.prediction, numbers, x, v)
        assert float((pushed[0] * v).sum()) == pytest.approx(float((pulled * u).sum()), rel=1e-9)
    assert isinstance(host, ExactHost)
    assert torch.is_tensor(pulled) is False

"""Gradients through runs: those of the run that was made, to rounding, whatever finds the states again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.guidance import classifier_free
from diffnum.solver.noise import SampleStreams
from diffnum.types import Array

SCHEDULE = dn.schedules.VPLinear()
PROBLEM = dn.problems.three_peaks()
RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 1))


def planned(name: str, steps: int = 6, schedule: Any = SCHEDULE, **options: Any) -> dn.Plan:
    grid = dn.grids.uniform_half_log_snr(schedule, n=steps, t_start=0.8, t_end=1e-2)
    given = dict.fromkeys(dn.method(name).parameters, 1.0)
    return dn.plan(name, schedule, grid, parameters=given or None, **options)


def squares(end: Array) -> tuple[Any, Array]:
    """A loss with its gradient."""
    return np.sum(end**2 + 0.3 * end**3), 2 * end + 0.9 * end**2


def seeded(name: str) -> dict[str, int]:
    return {"seed": 3} if dn.method(name).stochastic else {}


def by_dual_numbers(plan: dn.Plan, model: Any, x: Array, **options: Any) -> Array:
    """The derivative of each sample's share of the loss, with the run made in dual numbers: automatic, and forward."""

    class Dual(Model):
        def __call__(self, z: Array, t: Any) -> Array:
            n = len(z) // 2
            return np.concatenate([model(z[:n], t), model.jvp(z[:n], t, z[n:])])

    found = np.zeros_like(x)
    for index in np.ndindex(x.shape[1:]):
        tangent = np.zeros_like(x)
        tangent[(slice(None), *index)] = 1.0
        z = dn.solve(plan, Dual(model), np.concatenate([x, tangent]), noise=OnFirstHalf(**options))
        end, moved = np.split(z, 2)
        found[(slice(None), *index)] = (squares(end)[1] * moved).reshape(len(x), -1).sum(axis=1)
    return found


class Model:
    """A model that is another one."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.prediction, self.schedule = inner, inner.prediction, inner.schedule

    def __call__(self, x: Array, t: Any) -> Array:
        return self.inner(x, t)


@dataclass(frozen=True)
class OnFirstHalf:
    """Noise of the states; tangents get none."""

    seed: int = 0

    def __call__(self, step: int, index: int, like: Array) -> Array:
        half = like[: len(like) // 2]
        return np.concatenate([SampleStreams(self.seed)(step, index, half), 0.0 * half])


@pytest.mark.parametrize("name", dn.methods("all"))
def test_the_gradient_is_the_automatic_derivative_of_the_run(name: str) -> None:
    plan, model = planned(name), PROBLEM.denoiser(SCHEDULE, "v")
    found = dn.gradient(plan, model, X, squares, memory="full", **seeded(name))
    expected = by_dual_numbers(plan, model, X, **seeded(name))
    np.testing.assert_allclose(found.x, expected, rtol=1e-11, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_array_equal(found.end, dn.solve(plan, model, X, **seeded(name)))
    assert found.evaluations == plan.nfe


@pytest.mark.parametrize("name", dn.methods("all"))
@pytest.mark.parametrize("snapshots", [None, 1, 3])
def test_checkpoints_change_no_bit(name: str, snapshots: int | None) -> None:
    plan, model = planned(name), PROBLEM.denoiser(SCHEDULE)
    full = dn.gradient(plan, model, X, squares, memory="full", **seeded(name))
    found = dn.gradient(plan, model, X, squares, snapshots=snapshots, **seeded(name))
    np.testing.assert_array_equal(found.x, full.x)
    assert found.loss == full.loss
    assert snapshots is None or found.kept[0] <= snapshots


@pytest.mark.parametrize("prediction", ["data", "noise", "velocity", "score", "v"])
def test_every_prediction_gives_the_same_gradient(prediction: Any) -> None:
    plan = planned("unipc_3_bh2")
    found = dn.gradient(plan, PROBLEM.denoiser(SCHEDULE, prediction), X, squares)
    expected = dn.gradient(plan, PROBLEM.denoiser(SCHEDULE), X, squares)
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-10)


def test_a_wrong_weight_on_the_way_back_is_seen() -> None:
    """The negative control: the transposed weights of another plan give another gradient."""
    model = PROBLEM.denoiser(SCHEDULE)
    expected = by_dual_numbers(planned("dpmpp_2m"), model, X)
    found = dn.gradient(planned("dpmpp_2s"), model, X, squares).x
    assert np.abs(found - expected).max() > 1e-3 * np.abs(expected).max()


def test_a_mean_is_gone_through() -> None:
    schedule = dn.schedules.MeanReverting(mean=0.7)
    plan, model = planned("dpmpp_2m", schedule=schedule), PROBLEM.denoiser(schedule)
    ends = [squares(dn.solve(plan, model, X[:1] + sign * 1e-5))[0] for sign in (1, -1)]
    np.testing.assert_allclose(dn.gradient(plan, model, X[:1], squares).x, (ends[0] - ends[1]) / 2e-5, rtol=1e-7)


def test_a_guided_model_is_gone_through() -> None:
    mixture = dn.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.1, 0.2], labels=[0, 1])
    guided = classifier_free(mixture.conditional(1).denoiser(SCHEDULE), 2.5, unconditional=mixture.denoiser(SCHEDULE))
    plan = planned("dpmpp_3m")
    np.testing.assert_allclose(dn.gradient(plan, guided, X, squares).x, by_dual_numbers(plan, guided, X), rtol=1e-10)


def test_what_cannot_be_undone_says_why() -> None:
    with pytest.raises(ValueError, match="dpmpp_2m cannot be undone step by step: step 1 leaves x, m1"):
        dn.gradient(planned("dpmpp_2m"), PROBLEM.denoiser(SCHEDULE), X, squares, memory="reversible")
    with pytest.raises(ValueError, match="draws noise in step 0"):
        dn.gradient(planned("sde_dpmpp_2m"), PROBLEM.denoiser(SCHEDULE), X, squares, memory="reversible", seed=1)


@dataclass(frozen=True)
class Affine:
    """``M(x, t) = (1 + t) (A x + b + c)``: parameters A and b, condition c."""

    A: Array
    b: Array
    c: Array
    prediction: Any = "noise"
    schedule: Any = SCHEDULE

    def __call__(self, x: Array, t: float) -> Array:
        return (1 + t) * (x @ self.A.T + self.b + self.c)

    def pullback(self, x: Array, t: float, wrt: str) -> Any:
        def back(v: Array) -> Any:
            v = (1 + t) * v
            named = {"parameters": {"A": v.T @ x, "b": v.sum(axis=0)}, "condition": {"c": v.sum(axis=0)}}
            return v @ self.A, named.get(wrt, {})

        return self(x, t), back


AFFINE = Affine(0.3 * RNG.normal(size=(2, 2)), RNG.normal(size=2), RNG.normal(size=2))
PAIRS = RNG.normal(size=(3, 2))


@pytest.mark.parametrize("name", ["dpmpp_2m", "unipc_3_bh2", "dpm_solver_3", "ghvb_1.8"])
@pytest.mark.parametrize(("wrt", "names"), [("parameters", "Ab"), ("condition", "c")])
def test_gradients_by_parameters_and_condition_are_those_of_differences(name: str, wrt: Any, names: str) -> None:
    plan = planned(name)
    found = dn.gradient(plan, AFFINE, PAIRS, squares, wrt=wrt)
    assert set(found.named) == set(names)
    for field, value in found.named.items():
        start = getattr(AFFINE, field)
        for index in np.ndindex(start.shape):
            ends = []
            for sign in (1, -1):
                moved = start.copy()
                moved[index] += sign * 1e-6
                model = Affine(**{**vars(AFFINE), field: moved})
                ends.append(squares(dn.solve(plan, model, PAIRS))[0])
            np.testing.assert_allclose(value[index], (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


GAUSSIAN = dn.Gaussian([0.5, -1.0, 0.2], [1.0, 0.3, 0.05])
STARTS = RNG.normal(size=(2, 3))


def exact_gradient(problem: Any, plan: dn.Plan, x: Array, step: float = 1e-4) -> Array:
    """Derivative of the loss of the exact flow, by differences of fourth order of the reference flow."""
    found = np.zeros_like(x)
    for j in range(x.shape[1]):
        values = []
        for shift in (-2, -1, 1, 2):
            moved = x.copy()
            moved[:, j] += shift * step
            end = problem.flow(moved, plan.schedule, float(plan.times[0]), float(plan.times[-1]))
            values.append(np.sum(end**2 + 0.3 * end**3, axis=1))
        found[:, j] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    return found


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpmpp_2m", 2), ("dpm_solver_3", 3)])
@pytest.mark.parametrize("memory", ["continuous", "checkpoint"])
def test_the_error_against_the_exact_flow_has_the_order_of_the_method(name: str, order: int, memory: Any) -> None:
    model, errors = GAUSSIAN.denoiser(SCHEDULE), []
    for steps in (40, 80):
        start = {"start": "high_order"} if dn.method(name).depth else {}
        plan = planned(name, steps, **start)
        given = {} if memory != "continuous" else {"adjoint": planned(name, steps, towards="noise", **start)}
        found = dn.gradient(plan, model, STARTS, squares, memory=memory, **given)
        errors.append(np.abs(found.x - exact_gradient(GAUSSIAN, plan, STARTS)).max())
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.35


def test_the_continuous_adjoint_is_not_the_gradient_of_the_run() -> None:
    plan, model = planned("dpmpp_2m", 40), GAUSSIAN.denoiser(SCHEDULE)
    run = dn.gradient(plan, model, STARTS, squares).x
    flow = dn.gradient(plan, model, STARTS, squares, memory="continuous").x
    assert 1e-4 < np.abs(run - flow).max() / np.abs(run).max() < 1.0


@pytest.mark.parametrize("wrt", ["parameters", "condition"])
def test_the_continuous_adjoint_finds_parameters_and_condition(wrt: Any) -> None:
    gaps = []
    for steps in (40, 80):
        plan = planned("dpmpp_2m", steps)
        exact = dn.gradient(plan, AFFINE, PAIRS, squares, wrt=wrt).named
        found = dn.gradient(plan, AFFINE, PAIRS, squares, wrt=wrt, memory="continuous").named
        gaps.append(max(np.abs(found[k] - exact[k]).max() / np.abs(exact[k]).max() for k in exact))
    assert gaps[1] < 0.02
    assert gaps[1] < gaps[0] / 3


@pytest.mark.parametrize("memory", ["checkpoint", "full", "continuous"])
def test_a_derivative_that_is_not_finite_is_refused_although_the_end_is(memory: Any) -> None:
    inner = PROBLEM.denoiser(SCHEDULE)

    class Broken(Model):
        def __call__(self, x: Array, t: Any) -> Array:
            return inner(x, t)

        def vjp(self, x: Array, t: Any, cotangent: Array) -> Array:
            return inner.vjp(x, t, cotangent) * (np.nan if t > 0.5 else 1.0)

    with pytest.raises(ValueError, match="the derivative by x is not finite, the end is"):
        dn.gradient(planned("ddim"), Broken(inner), X, squares, memory=memory)


def test_bad_input_says_what_to_do() -> None:
    plan, model = planned("ddim"), PROBLEM.denoiser(SCHEDULE)
    with pytest.raises(ValueError, match=r"loss has shape \(4, 1\)"):
        dn.gradient(plan, model, X, lambda end: (end, end))
    with pytest.raises(ValueError, match="return the pair"):
        dn.gradient(plan, model, X, lambda end: np.sum(end))
    with pytest.raises(ValueError, match="it must have that of the end"):
        dn.gradient(plan, model, X, lambda end: (1.0, end[:1]))
    with pytest.raises(ValueError, match="loss is nan"):
        dn.gradient(plan, model, X, lambda end: (float("nan"), end))
    with pytest.raises(ValueError, match="without derivatives"):
        dn.gradient(plan, Model(model), X, squares)
    with pytest.raises(ValueError, match="derivatives by its state only"):
        dn.gradient(plan, model, X, squares, wrt="parameters")
    with pytest.raises(ValueError, match="memory='little' is unknown"):
        dn.gradient(plan, model, X, squares, memory="little")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="snapshots=0"):
        dn.gradient(plan, model, X, squares, snapshots=0)
    with pytest.raises(TypeError, match="give a function"):
        dn.gradient(plan, model, X, 3.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no step undoes a draw"):
        dn.gradient(planned("sde_dpmpp_2m"), model, X, squares, memory="continuous", seed=1)
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, n=5, t_start=0.8, t_end=1e-2, terminal="denoise")
    with pytest.raises(ValueError, match="ends in the data prediction"):
        dn.gradient(dn.plan("ddim", SCHEDULE, grid), model, X, squares, memory="continuous")

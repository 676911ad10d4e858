"""Derivatives of whole runs equal differences of runs, in numpy and in torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.calibration.hosts import ExactHost, start_states
from diffnum.calibration.sensitivities import ExactDifferentiable, Native, run, run_with_tangents
from diffnum.calibration.weights import SolverSpace

VP = dn.schedules.VPLinear()


def a_space(model: Any, nfe: int, t_end: float) -> tuple[SolverSpace, np.ndarray]:
    schedule = model.schedule
    ends = float(getattr(schedule, "default_t_start", schedule.t_max)), t_end
    space = SolverSpace.native(model.prediction, schedule, ends, nfe)
    grid = dn.grids.uniform_half_log_snr(schedule, nfe, t_start=ends[0], t_end=ends[1])
    vector = space.vector_of(dn.plan("dpmpp_2m", schedule, grid))
    vector = vector + 0.02 * np.random.default_rng(1).standard_normal(len(vector))
    vector[space.groups["times"].start] = 0.02
    return space, vector


def worst(space: SolverSpace, vector: np.ndarray, native: Native, x: Any, host: Any, step: float) -> float:
    """Largest relative error of a column of the derivatives of the last state."""
    *_, (end, along) = run_with_tangents(native, space.numbers(vector), space.slopes(vector), x)
    *_, same = run(native, space.numbers(vector), x)
    assert np.allclose(host.numpy(end), host.numpy(same))
    errors = []
    for k, unit in enumerate(np.eye(space.size)):
        *_, after = run(native, space.numbers(vector + step * unit), x)
        *_, before = run(native, space.numbers(vector - step * unit), x)
        expected = (host.numpy(after) - host.numpy(before)) / (2 * step)
        errors.append(np.abs(host.numpy(along[k]) - expected).max() / np.abs(expected).max())
    return max(errors)


@pytest.mark.parametrize("prediction", ["data", "noise", "velocity", "v", "score"])
def test_tangents_of_an_exact_problem_are_its_derivatives(prediction: str) -> None:
    model = dn.problems.rotated_product(3).denoiser(VP, prediction)
    host = ExactHost(model)
    space, vector = a_space(model, 4, 1e-3)
    native = Native(ExactDifferentiable(model), space.form.prediction)
    x = start_states(host, 0, 0, 3, space.t_start)
    assert worst(space, vector, native, x, host, 1e-5) < 1e-5


def test_runs_equal_the_solver_on_the_plan_of_the_same_numbers() -> None:
    model = dn.problems.rotated_product(3).denoiser(VP, "v")
    space, vector = a_space(model, 4, 1e-3)
    x = start_states(ExactHost(model), 0, 0, 3, space.t_start)
    *_, end = run(Native(ExactDifferentiable(model), space.form.prediction), space.numbers(vector), x)
    assert np.allclose(end, dn.solve(space.plan(vector), model, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("derivatives", ["forward", "differences"])
@pytest.mark.parametrize("scale", [None, 2.0])
def test_tangents_of_a_network_are_its_derivatives(derivatives: str, scale: float | None) -> None:
    pytest.importorskip("torch")
    from diffnum.calibration.networks import NetworkHost

    model: Any = dn.load("toy/digits", dtype="float64")
    if scale is not None:
        model = dn.guidance.classifier_free(model.conditioned(3), scale)
    host = NetworkHost(model, derivatives)
    space, vector = a_space(model, 3, 1e-3)
    native = Native(host.differentiable(host.part(0, 2)), space.form.prediction)
    x = start_states(host, 0, 0, 2, space.t_start)
    assert worst(space, vector, native, x, host, 1e-4) < 1e-4


def test_a_network_without_forward_derivatives_says_so() -> None:
    torch = pytest.importorskip("torch")
    from diffnum.calibration.networks import ForwardNetwork

    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Any) -> Any:
            return x.sin()

    base = dn.load("toy/digits", dtype="float64")

    class Module(torch.nn.Module):
        def forward(self, x: Any, *_: Any) -> Any:
            return Opaque.apply(x)

    model = replace(base, module=Module())
    x = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match='use derivatives="differences"'):
        ForwardNetwork(model).push(x, 0.5, x[None])


def test_group_norms_written_out_are_group_norms() -> None:
    torch = pytest.importorskip("torch")
    from diffnum.calibration.networks import differentiated

    norm = torch.nn.GroupNorm(2, 6).double()
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(3, 6, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = norm(x)
    with differentiated():
        assert torch.allclose(norm(x), plain, rtol=1e-12, atol=1e-12)

"""Thresholding does what it says, costs nothing where it is not active, and costs the order where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import diffnum as dn
from diffnum.guidance.thresholding import DynamicThreshold, StaticThreshold, sample_quantile

VP = dn.schedules.VPLinear()
PROBLEM = dn.problems.three_peaks()
X = np.linspace(-2, 2, 12)[:, None]

batches = arrays(
    np.float64, st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)), elements=st.floats(-9, 9)
)


class Data:
    """Model that returns its state as the data prediction."""

    schedule, prediction = VP, "data"

    def __call__(self, x: Any, t: Any) -> Any:  # noqa: ARG002
        return x


@given(values=batches, quantile=st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values: Any, quantile: float) -> None:
    expected = np.quantile(values.reshape(len(values), -1), quantile, axis=1)
    np.testing.assert_allclose(sample_quantile(values, quantile), expected, rtol=1e-12, atol=1e-12)


@given(values=batches, quantile=st.floats(0.01, 1), floor=st.floats(0.1, 10))
def test_dynamic_thresholding_is_the_published_formula_and_stays_in_the_box(
    values: Any, quantile: float, floor: float
) -> None:
    found = DynamicThreshold(Data(), quantile, floor)(values, 0.5)  # type: ignore[arg-type]
    for one, result in zip(values, found, strict=True):
        size = max(np.quantile(np.abs(one), quantile), floor)
        np.testing.assert_allclose(result, np.clip(one, -size, size) / size, atol=1e-12)
    assert np.abs(found).max() <= 1 + 1e-12


@given(values=batches, bound=st.floats(0.1, 5))
def test_static_thresholding_clips(values: Any, bound: float) -> None:
    found = StaticThreshold(Data(), bound)(values, 0.5)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, np.clip(values, -bound, bound))


@pytest.mark.parametrize("prediction", ["noise", "data", "velocity", "v", "score"])
def test_any_model_is_thresholded_in_its_data_prediction_and_torch_goes_through(prediction: Any) -> None:
    torch = pytest.importorskip("torch")
    expected = np.clip(PROBLEM.denoiser(VP, "data")(X, 0.4), -0.5, 0.5)
    model = StaticThreshold(PROBLEM.denoiser(VP, prediction), 0.5)
    np.testing.assert_allclose(model(X, 0.4), expected, atol=1e-12)
    np.testing.assert_allclose(model(torch.as_tensor(X), 0.4).numpy(), expected, atol=1e-12)
    dynamic = DynamicThreshold(PROBLEM.denoiser(VP, prediction), 0.9, floor=0.3)
    np.testing.assert_allclose(dynamic(torch.as_tensor(X), 0.4).numpy(), dynamic(X, 0.4), atol=1e-12)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    values = np.random.default_rng(0).standard_normal((5, 3, 4, 4)) * 3
    model = DynamicThreshold(Data())  # type: ignore[arg-type]
    np.testing.assert_array_equal(model(values, 0.5)[2:3], model(values[2:3], 0.5))


# -- effect on the order -------------------------------------------------------------------------------


def sampler(wrap: Callable[[Any], Any]) -> Callable[..., Any]:
    def thresholded(model: Any, x: Any, nodes: Any) -> Any:
        grid = dn.grids.from_half_log_snr(VP, nodes)
        return dn.solve(dn.plan("dpmpp_2m", VP, grid), wrap(model.denoiser("noise")), x)

    return thresholded


@pytest.mark.parametrize(
    ("wrap", "expected"),
    [
        (lambda m: StaticThreshold(m, 100.0), 2),
        (lambda m: DynamicThreshold(m, floor=50.0, ceiling=50.0), 2),
        (lambda m: StaticThreshold(m, 0.8), 0),
        (lambda m: DynamicThreshold(m, floor=0.8, ceiling=0.8), 0),
    ],
)
def test_the_order_is_kept_where_nothing_is_clipped_and_lost_where_something_is(wrap: Any, expected: int) -> None:
    study = dn.convergence_study(
        sampler(wrap), problem=PROBLEM, grids=("uniform",), measures=("global",), variants=("formula",), points=8,
        steps=(20, 40, 80, 160),
    )  # fmt: skip
    assert study.series[0].estimate.rate == pytest.approx(expected, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("bound", "expected"), [(100.0, 3), (0.8, 2)])
def test_towards_the_flow_of_the_clipped_model_the_kinks_leave_order_two(bound: float, expected: int) -> None:
    model = StaticThreshold(PROBLEM.denoiser(VP, "noise"), bound)
    t_start, t_end = (float(VP.time(lam)) for lam in (-2.0, 2.0))

    def run(n: int) -> Any:
        grid = dn.grids.uniform_half_log_snr(VP, n, t_start=t_start, t_end=t_end)
        return dn.solve(dn.plan("eab_3", VP, grid, start="high_order"), model, X)

    reference = run(6000)
    errors = np.array([np.abs(run(n) - reference).max() for n in (100, 200, 400, 800)])
    rate = np.polyfit(np.arange(4), -np.log2(errors), 1)[0]
    assert rate == pytest.approx(expected, abs=0.35)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: StaticThreshold(Data(), 0.0), "bound=0.0 is not positive"),  # type: ignore[arg-type]
        (lambda: DynamicThreshold(Data(), 1.5), r"quantile=1.5 is not in \(0, 1\]"),  # type: ignore[arg-type]
        (lambda: DynamicThreshold(Data(), floor=-1.0), "floor=-1.0 is not positive"),  # type: ignore[arg-type]
        (lambda: DynamicThreshold(Data(), ceiling=0.0), "ceiling=0.0 is not positive"),  # type: ignore[arg-type]
    ],
)
def test_impossible_thresholds_are_refused(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()

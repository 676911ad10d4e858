"""Statistics estimated with torch.func agree with the closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import diffnum as dn  # noqa: E402
from diffnum.calibration.estimate import estimate_statistics  # noqa: E402
from diffnum.calibration.exact import exact_statistics  # noqa: E402
from diffnum.calibration.statistics import dpm_solver_v3  # noqa: E402

SCHEDULE = dn.schedules.VPLinear()
LAM = np.linspace(-2.0, 2.0, 9)
GAUSSIAN = dn.Gaussian(np.array([1.0, -2.0]), np.array([0.3, 0.05]))
MIXTURE = dn.GaussianMixture([0.5, 0.5], [[1.0, 0.0], [-1.0, 0.5]], [0.1, 0.3])


@pytest.mark.parametrize(
    ("schedule", "prediction"),
    [
        *((SCHEDULE, prediction) for prediction in ("noise", "data", "velocity", "v", "score")),
        (dn.schedules.EDM(), "data"),
        (dn.schedules.FlowMatching(), "velocity"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_gaussian_needs_no_many_samples_whatever_the_network_predicts(schedule: Any, prediction: Any) -> None:
    # l does not depend on the state there, nor f; b differs by the spline's derivative of l times the mean of z alone
    lam = np.linspace(-2.0, 2.0, 21)
    data = torch.as_tensor(GAUSSIAN.sample(4, 0))
    found = estimate_statistics(GAUSSIAN.denoiser(schedule, prediction), data, lam)
    exact = exact_statistics(GAUSSIAN, lam, nodes=4)
    np.testing.assert_allclose(found.l, exact.l, atol=1e-9)
    np.testing.assert_allclose(found.b[3:-3], exact.b[3:-3], atol=1e-4)
    assert found.schedule == schedule


def test_a_mixture_is_recovered_to_the_monte_carlo_error() -> None:
    data = torch.as_tensor(MIXTURE.sample(8000, 0))
    lam = np.linspace(LAM[0], LAM[-1], 33)  # the derivative of l comes from the knots: they must be close
    found, exact = (
        estimate_statistics(MIXTURE.denoiser(SCHEDULE, "v"), data, lam, batch=8000),
        exact_statistics(MIXTURE, lam, nodes=32),
    )
    for name in ("l", "s", "b"):
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), atol=0.08)
    assert np.abs(found.l - np.roll(exact.l, 1, axis=1)).max() > 0.3  # the two directions differ


def test_knots_too_far_apart_for_a_law_are_refused_and_the_error_foretold() -> None:
    peaks = dn.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.01, 0.01])
    data = torch.as_tensor(peaks.sample(500, 0))
    model = peaks.denoiser(dn.schedules.EDM(sigma_max=3000.0))
    with pytest.raises(ValueError, match=r"lam has 4 knots, too far apart at -7\.\d+: .* changes s by about \d"):
        estimate_statistics(model, data, np.linspace(-7.5, -5.0, 4))
    assert np.abs(estimate_statistics(model, data, np.linspace(-2.0, 0.0, 17)).s).max() < 4.0


def test_random_signs_estimate_the_diagonal_and_batches_do_not_matter() -> None:
    data = torch.as_tensor(MIXTURE.sample(4000, 0))
    model = MIXTURE.denoiser(SCHEDULE)
    exact, signs = (estimate_statistics(model, data, LAM[::2], batch=4000, probes=p) for p in (None, 4))
    np.testing.assert_allclose(signs.l, exact.l, atol=0.03)
    again = estimate_statistics(model, data, LAM[::2], batch=1500)
    np.testing.assert_allclose(again.s, exact.s, rtol=1e-9)


def test_a_network_under_no_grad_is_differentiated_all_the_same() -> None:
    from diffnum.models.denoiser import NetworkDenoiser

    class Net(torch.nn.Module):
        def forward(self, x: Any, level: Any) -> Any:
            return torch.tanh(0.7 * x) * torch.cos(level)[:, None]

    network = NetworkDenoiser(Net(), "noise", SCHEDULE, (3,), (-1.0, 1.0), "net", dtype=torch.float64)
    found = estimate_statistics(network, torch.randn(200, 3, dtype=torch.float64), LAM, scalar=True)
    assert found.element == ()
    assert np.abs(found.l).min() > 1e-4  # zero, if the derivative had been lost
    plan = dn.plan(dpm_solver_v3(found, 2), SCHEDULE, dn.grids.from_half_log_snr(SCHEDULE, np.linspace(-2, 2, 6)))
    assert torch.isfinite(dn.solve(plan, network, torch.randn(2, 3, dtype=torch.float64))).all()


def test_wrong_data_and_counts_are_refused() -> None:
    model = MIXTURE.denoiser(SCHEDULE)
    data = torch.as_tensor(MIXTURE.sample(8, 0))
    with pytest.raises(TypeError, match="data is a ndarray: pass a floating-point tensor"):
        estimate_statistics(model, data.numpy(), LAM)
    with pytest.raises(ValueError, match=r"data has shape \(2,\): pass at least 2 samples"):
        estimate_statistics(model, data[0], LAM)
    with pytest.raises(ValueError, match="probes=0: use a positive whole number"):
        estimate_statistics(model, data, LAM, probes=0)
    with pytest.raises(ValueError, match="strictly increasing"):
        estimate_statistics(model, data, LAM[::-1])

"""Schedules, mixtures and small tools that the tests of this folder share."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from diffnum.problems import GaussianMixture
from diffnum.schedules import EDM, VE, FlowMatching, MeanReverting, SubVP, VPCosine, VPLinear

SCHEDULES = {
    "vp-linear": VPLinear(),
    "vp-cosine": VPCosine(),
    "sub-vp": SubVP(),
    "ve": VE(),
    "edm": EDM(),
    "flow": FlowMatching(),
    "flow-shifted": FlowMatching(shift=3.0),
    "mean-reverting": MeanReverting(mean=0.7),
}
PREDICTIONS = ("data", "noise", "velocity", "score", "v")
KINDS = ("isotropic", "diagonal", "full")


def make_mixture(
    seed: int, kind: str, count: int = 4, dim: int = 3, direct: bool | None = None, **options: Any
) -> GaussianMixture:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(count, 2.0))
    means = rng.uniform(-2.0, 2.0, (count, dim))
    covariances = rng.uniform(0.1, 1.0, count if kind == "isotropic" else (count, dim))
    if kind == "full":
        frames, _ = np.linalg.qr(rng.standard_normal((count, dim, dim)))
        covariances = (frames * covariances[:, None, :]) @ np.swapaxes(frames, 1, 2)
        covariances = 0.5 * (covariances + np.swapaxes(covariances, 1, 2))
    return GaussianMixture(weights, means, covariances, direct=direct, **options)


def matrices(mixture: GaussianMixture) -> np.ndarray:
    """Covariances as matrices, whatever their form."""
    if mixture.covariances.ndim == 3:
        return mixture.covariances
    return np.stack([np.diag(np.broadcast_to(c, mixture.dim)) for c in mixture.covariances])


def inner_time(schedule: Any, fraction: float) -> float:
    """A time well inside the domain, between half-log-SNR 3 and -3 where the schedule reaches them."""
    high = min(3.0, float(schedule.half_log_snr(max(schedule.t_min, 1e-3))))
    low = max(-3.0, float(schedule.half_log_snr(0.99 * schedule.t_max)))
    return float(schedule.time(high + fraction * (low - high)))


def states(problem: Any, schedule: Any, t: Any, n: int = 5, seed: int = 0) -> np.ndarray:
    """Draw noisy states at time ``t``."""
    rng = np.random.default_rng(seed + 1000)
    t = np.broadcast_to(np.asarray(t, dtype=float), (n,))
    alpha, sigma = (np.broadcast_to(f(t), (n,))[:, None] for f in (schedule.alpha, schedule.sigma))
    clean = problem.sample(n, seed)
    return alpha * clean + (1 - alpha) * schedule.mean + sigma * rng.standard_normal(clean.shape)


def close(actual: Any, expected: Any, tolerance: float) -> None:
    """Compare relative to the largest entry (and to 1 where all entries are smaller)."""
    actual, expected = np.asarray(actual, dtype=float), np.asarray(expected, dtype=float)
    error = np.max(np.abs(actual - expected)) / max(1.0, np.max(np.abs(expected)))
    assert error <= tolerance, f"relative error {error:.3g} above {tolerance:.3g}"


seeds = st.integers(0, 2**31 - 1)
kinds = st.sampled_from(KINDS)
predictions = st.sampled_from(PREDICTIONS)
schedules = st.sampled_from(sorted(SCHEDULES)).map(SCHEDULES.__getitem__)
fractions = st.floats(0.0, 1.0)

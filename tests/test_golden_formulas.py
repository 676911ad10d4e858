"""Cases that were never recorded agree with the official formulas, written out here once more without the package."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnum.certificates import recorded as golden

CASES = golden.load()


def first(folder: str, solver: str = "") -> dict[str, Any]:
    """A recorded case, for its mixture and its starting points."""
    return next(c for c in CASES if c["folder"] == folder and c["solver"].startswith(solver))


def noise_of(case: Any) -> Any:
    """eps(x, alpha, sigma) of the case's mixture."""
    weights, means, covariances = (np.array(case["gmm"][key]) for key in ("weights", "means", "covs"))

    def eps(x: Any, alpha: float, sigma: float) -> Any:
        logs, scores = [], []
        for w, m, c in zip(weights, means, covariances, strict=True):
            total = alpha**2 * c + sigma**2 * np.eye(len(m))
            solved = np.linalg.solve(total, (x - alpha * m).T).T
            logs.append(np.log(w) - 0.5 * ((x - alpha * m) * solved).sum(1) - 0.5 * np.linalg.slogdet(total)[1])
            scores.append(-solved)
        p = np.exp(np.array(logs) - np.max(logs, axis=0))
        return -sigma * ((p / p.sum(0))[:, :, None] * np.array(scores)).sum(0)

    return eps


def alpha(t: Any) -> Any:
    return np.exp(-(20.0 - 0.1) * t**2 / 4 - 0.1 * t / 2)


def sigma(t: Any) -> Any:
    return np.sqrt(-np.expm1(2 * np.log(alpha(t))))


def lam(t: Any) -> Any:
    return np.log(alpha(t)) - np.log(sigma(t))


def psi(k: int, z: float) -> float:
    value = math.expm1(z)
    for j in range(1, k):
        value = value / z - 1 / math.factorial(j)
    return value


def replayed(case: Any, solver: str, options: Any, times: Any, **changes: Any) -> Any:
    record = {**case, "solver": solver, "options": options, "time_grid": list(map(float, times)), **changes}
    return golden.replay(record)


def agree(found: Any, expected: Any) -> None:
    scale = np.abs(expected) + 0.01 * np.abs(expected).max()
    assert np.max(np.abs(found - expected) / scale) < 1e-9


# -- UniPC -----------------------------------------------------------------------------------------------


def unipc(case: Any, times: Any, top: int, variant: str, *, data: bool, corrector: bool, lower: bool) -> Any:
    """The driver and the updates of wl-zhao/UniPC: the ramp is never lowered, the last step never corrected."""
    eps, x, n = noise_of(case), np.array(case["x_T"]), len(times) - 1

    def model(x: Any, t: float) -> Any:
        e = eps(x, alpha(t), sigma(t))
        return (x - sigma(t) * e) / alpha(t) if data else e

    history = [(times[0], model(x, times[0]))]
    for i in range(1, n + 1):
        s, t = times[i - 1], times[i]
        q = i if i < top else min(top, n + 1 - i) if lower else top
        h = lam(t) - lam(s)
        z, a, c = (-h, sigma(t) / sigma(s), alpha(t)) if data else (h, alpha(t) / alpha(s), sigma(t))
        newest = history[0][1]
        r = np.array([(lam(history[j][0]) - lam(s)) / h for j in range(1, q)] + [1.0])
        d = [(history[j][1] - newest) / r[j - 1] for j in range(1, q)]
        base = a * x - c * psi(1, z) * newest
        if variant == "vary_coeff":
            m = np.array([[r[j] ** k / math.factorial(k + 1) for k in range(q)] for j in range(q)])
            p, w = np.linalg.inv(m[: q - 1, : q - 1]), np.linalg.inv(m)
            old = [sum(psi(k + 2, z) * p[k, j] for k in range(q - 1)) for j in range(q - 1)]
            new = [sum(psi(k + 2, z) * w[k, j] for k in range(q - 1)) for j in range(q - 1)]
            new.append(psi(q + 1, z) * w[max(q - 2, 0), q - 1])
        else:
            b = z if variant == "bh1" else math.expm1(z)
            rows = np.array([r**k for k in range(q)])
            right = np.array([math.factorial(k) * psi(k + 1, z) for k in range(1, q + 1)])
            old = [b / 2] if q == 2 else list(np.linalg.solve(rows[: q - 1, : q - 1], right[: q - 1]))
            new = [b / 2] if q == 1 else list(np.linalg.solve(rows, right))
        x = base - c * sum((w * v for w, v in zip(old, d, strict=False)), 0 * x)
        if i == n:
            break
        evaluation = model(x, t)
        if corrector:
            x = base - c * sum((w * v for w, v in zip(new, [*d, evaluation - newest], strict=True)), 0 * x)
        history = [(t, evaluation), *history][: top + 1]
    return x


@settings(max_examples=15)
@given(
    top=st.integers(1, 5),
    extra=st.integers(0, 6),
    variant=st.sampled_from(["bh1", "bh2", "vary_coeff"]),
    data=st.booleans(),
    corrector=st.booleans(),
    lower=st.booleans(),
)
def test_unipc_of_any_order_on_any_number_of_steps(
    top: int, extra: int, variant: str, data: bool, corrector: bool, lower: bool
) -> None:
    case, times = first("unipc"), np.linspace(1.0, 1e-2, top + extra + 2)
    options = {
        "variant": variant, "algorithm_type": "data_prediction" if data else "noise_prediction", "order": top,
        "steps": len(times) - 1, "use_corrector": corrector, "lower_order_final": lower,
    }  # fmt: skip
    found = replayed(case, f"unipc/{variant}/order{top}", options, times)
    agree(found, unipc(case, times, top, variant, data=data, corrector=corrector, lower=lower))


# -- k-diffusion and diff-sampler ------------------------------------------------------------------------


@pytest.mark.parametrize("zero", [False, True])
def test_the_heun_weights_of_2m_sde(zero: bool) -> None:
    case, levels = first("k_diffusion"), [*np.geomspace(20.0, 0.02, 8), *([0.0] if zero else [])]
    eps, x, old, last = noise_of(case), np.array(case["x_T"]), None, 0.0
    for s, t in zip(levels, levels[1:], strict=False):
        data = x - s * eps(x, 1.0, s)
        if t == 0:
            x = data
            break
        h = math.log(s / t)
        x = t / s * x - psi(1, -h) * data - (0 if old is None else psi(2, -h) * (data - old) * h / last)
        old, last = data, h
    options = {"n": 8, "final_zero": zero, "eta": 0.0, "solver_type": "heun"}
    agree(replayed(case, "k-diffusion/dpmpp_2m_sde", options, levels), x)


def test_the_analytic_first_slope_of_diff_sampler() -> None:
    case, levels = first("diff_sampler", "diff-sampler/euler"), np.geomspace(80.0, 0.01, 7)
    eps, x = noise_of(case), np.array(case["x_T"]) * levels[0]
    for i, (s, t) in enumerate(zip(levels, levels[1:], strict=False)):
        x = x + (t - s) * (eps(x, 1.0, s) if i else x / math.sqrt(1 + s * s))
    options = {"num_steps": 7, "dynamic_thresholding": False, "afs": True}
    agree(replayed(case, "diff-sampler/euler", options, levels), x)


# -- PNDM ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("method", "steps"), [("F-PNDM", 7), ("F-PNDM", 40), ("FON", 13), ("S-PNDM", 8)])
def test_pndm_with_odd_skips(method: str, steps: int, training: bool) -> None:
    case = first("pndm", f"pndm/{method}")
    skip = 1000 // steps
    labels = [*reversed(range(0, 1000, skip)), -1]
    table, eps, x, old = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)), noise_of(case), np.array(case["x_T"]), []

    def model(x: Any, t: float) -> Any:
        level = table[int(t) + (0 if training else 1)]
        return eps(x, math.sqrt(level), math.sqrt(1 - level))

    def transfer(x: Any, t: float, to: float, e: Any) -> Any:
        a, c = table[int(t) + 1], table[int(to) + 1]
        return math.sqrt(c / a) * x + (math.sqrt(1 - c) - math.sqrt(c * (1 - a) / a)) * e

    def four(k: Any, middle: Any, end: Any) -> Any:
        k2 = middle(k)
        k3 = middle(k2)
        return (k + 2 * k2 + 2 * k3 + end(k3)) / 6

    for i, (t, to) in enumerate(zip(labels, labels[1:], strict=False)):
        half, x0 = (t + to) / 2, x
        if method == "FON":
            slope = lambda x, at: transfer(x0, t, t - 1, model(x, at)) - x0  # noqa: B023, E731
            new = slope(x, t)
            middle, end = lambda d: slope(x0 + d * (t - to) / 2, half), lambda d: slope(x0 + d * (t - to), to)  # noqa: B023
        else:
            new = model(x, t)
            middle = lambda e: model(transfer(x0, t, half, e), half)  # noqa: B023, E731
            end = lambda e: model(transfer(x0, t, to, e), to)  # noqa: B023, E731
        if method == "S-PNDM":
            mean = (new + end(new)) / 2 if i == 0 else (3 * new - old[0]) / 2
        elif i < 3:
            mean = four(new, middle, end)
        else:
            mean = (55 * new - 59 * old[0] + 37 * old[1] - 9 * old[2]) / 24
        old = [new, *old][:3]
        x = x + (t - to) * mean if method == "FON" else transfer(x, t, to, mean)
    level = "abar[t] (training convention)" if training else "abar[t+1]"
    options = {"method": method, "steps": steps, "model_level": level}
    agree(replayed(case, f"pndm/{method}", options, labels, skip=skip), x)


def test_a_last_step_of_no_length_changes_nothing() -> None:
    case = first("pndm", "diffusers/PNDM/plms")
    options = {"steps": 10, "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 0}
    found = golden.replay({**case, "options": options})
    assert np.isfinite(found).all()
    moved = golden.replay({**case, "options": {**options, "set_alpha_to_one": True}})
    assert np.abs(found - moved).max() > 1e-6  # with a last step to sigma = 0

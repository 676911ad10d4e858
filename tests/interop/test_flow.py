"""``dn.interop.flow.integrate``: velocity fields in both conventions, by any method, to the exact flow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffnum.interop import flow

MEAN, VARIANCE = 0.5, 0.25
X = np.random.default_rng(0).standard_normal((5, 2))
EXACT = MEAN + np.sqrt(VARIANCE) * X


def to_noise(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Exact velocity ``noise - data`` of Gaussian data, t falling to them."""
    t = t[:, None]
    pull = (x - (1 - t) * MEAN) / ((1 - t) ** 2 * VARIANCE + t**2)
    return np.asarray(t * pull - (MEAN + (1 - t) * VARIANCE * pull))


def to_data(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The same with t rising."""
    return -to_noise(x, 1 - t)


def error(method: str, steps: int) -> float:
    return float(np.abs(flow.integrate(to_data, X, method=method, steps=steps) - EXACT).max())


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("flow_heun", 2), ("velocity_rk_heun3", 3)])
def test_the_whole_flow_from_noise_to_data_has_the_order_of_the_method(method: str, order: int) -> None:
    assert np.log2(error(method, 32) / error(method, 64)) == pytest.approx(order, abs=0.1)
    assert error(method, 256) < 0.05**order


@pytest.mark.parametrize("method", ["euler", "velocity_rk_heun3", "ab_velocity_3", "dpmpp_2m", "unipc_2"])
def test_both_conventions_give_the_same(method: str) -> None:
    rising = flow.integrate(to_data, X, method=method, steps=6)
    falling = flow.integrate(to_noise, X, method=method, steps=6, convention="data_at_0")
    np.testing.assert_allclose(rising, falling, atol=1e-9)
    assert not np.allclose(flow.integrate(to_noise, X, method=method, steps=6), rising, atol=0.1)


def test_euler_is_the_loop_that_programs_write() -> None:
    x = X.copy()
    for k in range(4):
        x = x + to_data(x, np.full(5, k / 4)) / 4
    np.testing.assert_allclose(flow.integrate(to_data, X, method="euler", steps=4), x, atol=1e-11)


def test_the_network_is_told_the_times_of_its_convention_for_each_sample() -> None:
    told: list[list[float]] = []

    def velocity(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        told.append(t.tolist())
        return np.zeros_like(x)

    flow.integrate(velocity, X, method="euler", steps=4)
    assert told == [[k / 4] * 5 for k in range(4)]
    told.clear()
    flow.integrate(velocity, X, method="flow_heun", steps=2, convention="data_at_0")
    assert [t[0] for t in told] == [1.0, 0.5, 0.5, 0.0]
    assert all(len(t) == 5 for t in told)


def test_a_part_of_the_way_is_a_run_between_its_times() -> None:
    half = flow.integrate(to_data, X, times=np.linspace(0.0, 0.4, 200))
    whole = flow.integrate(to_data, half, times=np.linspace(0.4, 1.0, 200))
    np.testing.assert_allclose(whole, EXACT, atol=1e-6)


def test_a_plan_is_made_once_for_many_calls() -> None:
    numbers = flow.flow_plan("velocity_rk_heun3", 5)
    assert numbers.nfe == 15
    np.testing.assert_array_equal(
        flow.integrate(to_data, X, method=numbers), flow.integrate(to_data, X, method="velocity_rk_heun3", steps=5)
    )


def test_a_policy_in_torch_keeps_dtype_device_and_gradients() -> None:
    import torch

    gain = torch.tensor(2.0, requires_grad=True)
    noise = torch.ones(3, 7, 4, dtype=torch.float32)

    def policy(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        assert t.shape == (3,)
        assert t.dtype == torch.float32
        return gain * torch.ones_like(x) * t[:, None, None]

    action = flow.integrate(policy, noise, method="flow_heun", steps=4, convention="data_at_0")
    assert action.dtype == torch.float32
    torch.testing.assert_close(action, noise - gain / 2)
    action.sum().backward()
    assert gain.grad is not None
    assert float(gain.grad) == pytest.approx(-0.5 * noise.numel(), rel=1e-5)


def test_an_emulator_is_a_closure_over_the_state_before() -> None:
    state = np.array([[1.0, 2.0]])
    for _ in range(3):
        noise = np.zeros_like(state)
        state = flow.integrate(
            lambda x, t, before=state, start=noise: 0.5 * before - start, noise, method="euler", steps=1
        )
    np.testing.assert_allclose(state, [[0.125, 0.25]], atol=1e-11)


@pytest.mark.parametrize(
    ("options", "error_type", "message"),
    [
        ({"steps": 0}, ValueError, "steps=0"),
        ({"steps": 2.5}, ValueError, "steps=2.5"),
        ({"convention": "backwards"}, ValueError, "convention='backwards'"),
        ({"times": [1.0, 0.0]}, ValueError, "rise strictly"),
        ({"times": [0.0, 1.0], "convention": "data_at_0"}, ValueError, "fall strictly"),
        ({"times": [0.0, 1.5]}, ValueError, "within"),
        ({"times": [0.0, np.nan]}, ValueError, "strictly"),
        ({"times": [0.0, 1.0], "steps": 2}, ValueError, "both given"),
        ({"method": "no_such_method"}, ValueError, "no_such_method"),
        ({"method": "heun"}, ValueError, "from pure noise: its first step has weights"),
    ],
)
def test_bad_runs_are_named(options: dict[str, Any], error_type: type[Exception], message: str) -> None:
    with pytest.raises(error_type, match=message):
        flow.integrate(to_data, X, **options)


def test_velocities_and_states_that_are_none_are_named() -> None:
    with pytest.raises(ValueError, match=r"velocity returned shape \(5,\)"):
        flow.integrate(lambda x, t: t, X, steps=2)
    with pytest.raises(TypeError, match="x is a list"):
        flow.integrate(to_data, [[1.0]], steps=2)
    with pytest.raises(ValueError, match="NaN or infinity"):
        flow.integrate(lambda x, t: x * np.nan, X, steps=2)
    with pytest.raises(ValueError, match="those of the plan"):
        flow.integrate(to_data, X, method=flow.flow_plan("euler", 2), steps=2)


# -- mixed conventions -------------------------------------------------------------------------------------


def towards(convention: str, sign: float) -> Any:
    """Velocity of data at one point, in a convention, or with the other sign."""
    rises = convention == "data_at_1"

    def velocity(x: Any, t: Any) -> Any:
        left = np.maximum(1.0 - t if rises else t, 1e-9)[:, None]
        return sign * (1.0 if rises else -1.0) * (0.7 - x) / left

    return velocity


@pytest.mark.parametrize("convention", ["data_at_1", "data_at_0"])
def test_a_sign_of_the_other_convention_is_detected_at_pure_noise_and_named(convention: Any) -> None:
    x = np.random.default_rng(0).standard_normal((8, 4))
    right = flow.integrate(towards(convention, 1.0), x, steps=4, method="euler", convention=convention)
    assert right == pytest.approx(np.full((8, 4), 0.7), abs=1e-6)
    named = "noise - data" if convention == "data_at_1" else "data - noise"
    with pytest.warns(UserWarning, match=f"{convention}.*it is {named}.*mixed conventions"):
        flow.integrate(towards(convention, -1.0), x, steps=4, method="euler", convention=convention)


def test_starts_that_are_no_noise_or_too_few_are_not_judged() -> None:
    wrong = towards("data_at_1", -1.0)
    flow.integrate(wrong, np.random.default_rng(0).standard_normal((2, 2)), steps=2, method="euler")
    flow.integrate(wrong, np.full((8, 4), 2.0), steps=2, method="euler")
    late = np.random.default_rng(0).standard_normal((8, 4))
    flow.integrate(wrong, late, times=[0.2, 0.6, 0.9], method="euler")

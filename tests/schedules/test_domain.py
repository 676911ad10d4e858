"""Times and half-log-SNRs outside of a schedule are refused by every function of every schedule; rounding is not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from diffnum import schedules as sch
from diffnum.schedules.tools import anywhere
from tests.optional import optional
from tests.schedules.test_schedules import ALL, ANALYTIC, _id

torch = optional("torch")

KINDS = {
    "float": float,
    "float64": np.float64,
    "float32": np.float32,
    "integer": int,
    "array": lambda t: np.array([[t, 0.5]]),
    "tensor": lambda t: torch.tensor([0.5, t], dtype=torch.float64),
    "float32 tensor": lambda t: torch.tensor(t),
}
OPEN = ("ve", "edm", "brownian")
OF_TIME = ("alpha", "sigma", "half_log_snr", "drift", "rates")


@pytest.mark.parametrize("function", OF_TIME)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", ALL, ids=_id)
def test_times_outside_the_domain_are_refused(schedule: Any, kind: str, function: str) -> None:
    wrong = [schedule.t_min - 2.0, -1e9, *([] if schedule.name in OPEN else [schedule.t_max + 2.0, 1e9])]
    if kind != "integer":
        wrong += [math.nan, math.inf, -math.inf]
    for t in wrong:
        with pytest.raises(ValueError, match=r"t = .* is outside the domain \[.* of schedule '.*'; choose a time"):
            getattr(schedule, function)(KINDS[kind](t))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", ALL, ids=_id)
def test_half_log_snrs_that_are_not_reached_are_refused(schedule: Any, kind: str) -> None:
    low, high = (schedule.half_log_snr(t) for t in (schedule.t_max, schedule.t_min))
    wrong = [] if kind == "integer" else [math.nan]
    wrong += [] if schedule.name in OPEN or math.isinf(low) else [low - 2.0, -1e9]
    wrong += [] if math.isinf(high) else [high + 2.0, 1e9]
    for lam in wrong:
        with pytest.raises(ValueError, match=r"half_log_snr = .* is not reached by schedule '.*', which has \["):
            schedule.time(KINDS[kind](lam))


@pytest.mark.parametrize("schedule", ALL, ids=_id)
def test_what_rounding_put_outside_is_the_end(schedule: Any) -> None:
    """Both ends, once from the inverse and once given, for floats and arrays; a hundred times more is a mistake."""
    for end, outward in ((schedule.t_min, -1.0), (schedule.t_max, 1.0)):
        scale = max(abs(schedule.t_min), abs(schedule.t_max))
        if schedule.name in OPEN and outward > 0.0:
            continue
        near, far = end + outward * 1e-10 * scale, end + outward * 1e-7 * scale
        for function in ("alpha", "sigma"):
            there = getattr(schedule, function)(float(end))
            assert getattr(schedule, function)(near) == there
            assert getattr(schedule, function)(np.array([near]))[0] == pytest.approx(there, rel=1e-13)
            assert float(getattr(schedule, function)(torch.tensor([near], dtype=torch.float64))[0]) == pytest.approx(
                there, rel=1e-13
            )
            with pytest.raises(ValueError, match="is outside the domain"):
                getattr(schedule, function)(far)
        lam = schedule.half_log_snr(float(end))
        if math.isfinite(lam):
            assert schedule.t_min <= schedule.time(lam * (1.0 + outward * 1e-15)) <= schedule.t_max


@pytest.mark.parametrize("schedule", [s for s in ANALYTIC if s.name in OPEN], ids=_id)
def test_where_the_signal_is_never_scaled_more_noise_than_at_the_start_may_be_asked_for(schedule: Any) -> None:
    more = 1.4 * schedule.sigma(schedule.t_max)
    t = schedule.time(-math.log(more))
    assert t > schedule.t_max
    assert schedule.sigma(t) == pytest.approx(more, rel=1e-13)
    assert schedule.alpha(t) == 1.0
    with pytest.raises(ValueError, match="is outside the domain"):
        sch.check_time(schedule, t)


@pytest.mark.parametrize("schedule", ALL, ids=_id)
def test_in_a_transformation_times_outside_give_nan_and_no_number(schedule: Any) -> None:
    """vmap shows no values, as an accelerator does not without waiting for it."""
    inside = 0.5 * (schedule.default_t_start + schedule.default_t_end)
    times = torch.tensor([inside, schedule.t_min - 2.0], dtype=torch.float64)
    found = torch.func.vmap(schedule.sigma)(times)
    assert float(found[0]) == pytest.approx(schedule.sigma(inside), rel=1e-13)
    assert torch.isnan(found[1])
    lam = torch.tensor([schedule.half_log_snr(inside), math.nan], dtype=torch.float64)
    if schedule.name != "tabulated":  # whose inverse iterates until it is exact
        assert torch.isnan(torch.func.vmap(schedule.time)(lam)[1])


@pytest.mark.parametrize("schedule", ALL, ids=_id)
def test_the_nearest_time_of_what_is_not_reached_is_an_end(schedule: Any) -> None:
    far = np.array([-1e6, 0.0, 1e6])
    found = sch.nearest_time(schedule, far)
    assert found[1] == schedule.time(0.0)
    assert found[0] == pytest.approx(schedule.t_max, rel=1e-12)
    assert found[2] == pytest.approx(schedule.t_min, rel=1e-12, abs=1e-12)
    assert type(sch.nearest_time(schedule, -1e6)) is float


def test_a_clock_may_be_asked_anywhere() -> None:
    """The negative control of all tests above: the copy for clocks answers, and equals the schedule."""
    fitted = sch.VPFitted()
    clock = anywhere(fitted)
    assert clock == fitted
    assert clock.half_log_snr(clock.time(-5.0)) == pytest.approx(-5.0, rel=1e-13)
    with pytest.raises(ValueError, match="is not reached"):
        fitted.time(-5.0)

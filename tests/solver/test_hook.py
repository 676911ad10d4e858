"""A host may send a state back after a step; one that sends nothing changes no bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.solver import State, evaluations, iterate, solve
from diffnum.solver.noise import SampleStreams

SCHEDULE = dn.schedules.VPLinear()
MODEL = dn.problems.three_peaks().denoiser(SCHEDULE)
X = np.linspace(-1.0, 2.0, 5)[:, None]
METHODS = ("ddim", "dpmpp_3m", "unipc_3_bh2", "ghvb_2.8", "edm_heun", "dpm_solver_3", "sde_dpmpp_2m", "sa_solver_3_4")
STEPS = 6


def planned(name: str) -> dn.Plan:
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, n=STEPS, t_start=1.0, t_end=1e-3)
    return dn.plan(name, SCHEDULE, grid)


def noise(name: str) -> SampleStreams | None:
    return SampleStreams(3) if dn.method(name).stochastic else None


def shifted(state: State, by: float = 0.25) -> State:
    """The state with its sample moved and its history scaled, in arrays of its own."""
    return state._replace(vectors={k: v + by if k == "x" else (1.0 + by) * v for k, v in state.vectors.items()})


def hosted(name: str, at: int, alter: Any, **options: Any) -> Any:
    """Last sample of a run in which a host answers the state after step ``at``."""
    run = iterate(planned(name), MODEL, options.pop("x", X), noise=noise(name), **options)
    state, last = next(run), None
    while state is not None:
        last = state.x
        try:
            state = run.send(alter(state) if state.step == at else None)
        except StopIteration:
            break
    return last


@pytest.mark.parametrize("name", METHODS)
def test_nothing_sent_back_changes_no_bit(name: str) -> None:
    plain = solve(planned(name), MODEL, X, noise=noise(name))
    np.testing.assert_array_equal(hosted(name, 3, lambda _: None), plain)
    np.testing.assert_array_equal(hosted(name, 3, lambda state: state), plain)


@pytest.mark.parametrize("name", METHODS)
def test_a_state_sent_back_is_the_one_that_the_run_goes_on_from(name: str) -> None:
    plan, seen = planned(name), []

    def alter(state: State) -> State:
        seen.append(shifted(state))
        return seen[0]

    last = hosted(name, 3 if len(plan) > 3 else 1, alter)
    np.testing.assert_array_equal(last, solve(plan[seen[0].step :], MODEL, seen[0], noise=noise(name)))
    assert np.max(np.abs(last - solve(plan, MODEL, X, noise=noise(name)))) > 1e-6


@pytest.mark.parametrize("combine", ["fused", "plain"])
@pytest.mark.parametrize("name", METHODS)
def test_buffers_that_are_used_again_take_an_altered_state(name: str, combine: str) -> None:
    torch = pytest.importorskip("torch")
    from diffnum.models import fused

    options = {"combine": fused} if combine == "fused" else {}
    at = 3 if len(planned(name)) > 3 else 1
    found = hosted(name, at, shifted, x=torch.tensor(X), **options)
    np.testing.assert_allclose(found.numpy(), hosted(name, at, shifted), rtol=1e-12, atol=1e-12)


def test_a_host_that_answers_for_the_model_alters_states_too() -> None:
    plan = planned("dpmpp_2m")
    run = evaluations(plan, X)
    event, reply = next(run), None
    while True:
        if isinstance(event, State):
            last, reply = event, shifted(event) if event.step == 2 else None
        else:
            reply = dn.predict(MODEL, event.x, event.t, plan.prediction)
        try:
            event = run.send(reply)
        except StopIteration:
            break
    np.testing.assert_allclose(last.x, hosted("dpmpp_2m", 2, shifted), rtol=1e-13)


@pytest.mark.parametrize(
    ("alter", "error", "message"),
    [
        (lambda state: state.x, TypeError, "reply is a ndarray: after a step send a State"),
        (lambda state: state._replace(step=7), ValueError, "reply is at step 7"),
        (lambda state: state._replace(t=0.123), ValueError, "t=0.123"),
        (lambda state: state._replace(vectors={"x": state.x}), ValueError, "reply has the vectors x: pass m1, x"),
        (
            lambda s: s._replace(vectors={**s.vectors, "x": s.x[:2]}),
            ValueError,
            r"reply.vectors\['x'\] has shape \(2, 1\)",
        ),
        (lambda s: s._replace(vectors={**s.vectors, "x": s.x.astype("f4")}), ValueError, "dtype float32"),
        (lambda s: s._replace(vectors={**s.vectors, "x": 1.0}), ValueError, "dtype float: it must be an array"),
    ],
)
def test_what_is_no_altered_state_is_refused(alter: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hosted("dpmpp_2m", 2, alter)

"""Samplers in any convention are told apart, and told what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.convergence.checks import check_sampler
from diffnum.convergence.diagnosis import diagnose
from diffnum.convergence.oracle import Oracle
from diffnum.foreign import understood
from diffnum.foreign.conventions import convention_of
from diffnum.problems import three_peaks
from diffnum.schedules import EDM, VPLinear

torch = pytest.importorskip("torch")

STEPS = (12, 24, 48, 96)


def heun(model: Any, x: Any, sigmas: Any, weight: float = 0.5) -> Any:
    for here, there in pairwise(sigmas):
        slope = (x - model(x, here)) / here
        ahead = x + (there - here) * slope
        second = (ahead - model(ahead, there)) / there
        x = x + (there - here) * ((1 - weight) * slope + weight * second)
    return x


def midpoint_in_flow_time(model: Any, x: Any, timesteps: Any) -> Any:
    for here, there in pairwise(timesteps):
        half = x + (there - here) / 2 * model(x, here)
        x = x + (there - here) * model(half, (here + there) / 2)
    return x


def midpoint_for_alpha_one(model: Any, x: Any, nodes: Any) -> Any:
    for here, there in pairwise(nodes):
        s, t = np.exp(-here), np.exp(-there)
        half = x + (t - s) / 2 * model.noise(x, here)
        x = x + (t - s) * model.noise(half, -np.log((s + t) / 2))
    return x


class Rescaled:
    """A sampler that is an object, with its convention given by the name of a parameter."""

    def __call__(self, model: Any, x: Any, sigmas: Any) -> Any:
        return heun(model, x, sigmas)


@pytest.mark.parametrize(
    ("sampler", "convention"),
    [
        (heun, "k-diffusion"),
        (partial(heun, weight=0.5), "k-diffusion"),
        (Rescaled(), "k-diffusion"),
        (midpoint_in_flow_time, "flow"),
        (midpoint_for_alpha_one, "nodes"),
        (lambda model, x, grid: x, None),
    ],
)
def test_conventions_are_detected(sampler: Any, convention: str | None) -> None:
    if convention is None:
        with pytest.raises(ValueError, match="do not tell its calling convention"):
            convention_of(sampler)
        assert understood(sampler) is sampler
    else:
        assert convention_of(sampler) == convention


def test_a_study_takes_every_convention() -> None:
    diffusers = pytest.importorskip("diffusers")
    for sampler in (heun, Rescaled(), midpoint_in_flow_time, diffusers.DPMSolverMultistepScheduler):
        study = dn.convergence_study(sampler, three_peaks(), grids=("uniform",), steps=STEPS, measures=("global",))
        assert study.order == 2.0, str(study)


def test_an_unknown_convention_and_lost_options_are_refused() -> None:
    with pytest.raises(ValueError, match="convention='sigma' is unknown"):
        understood(heun, "sigma")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"bind them, with functools\.partial"):
        understood(midpoint_for_alpha_one, eta=0.0)
    with pytest.raises(TypeError, match="neither callable nor a scheduler"):
        understood(3)


def test_a_failed_assertion_says_what_is_wrong_in_any_convention() -> None:
    study = dn.convergence_study(partial(heun, weight=0.55), three_peaks(), grids=("uniform",))
    with pytest.raises(AssertionError, match="look at the formula") as caught:
        study.assert_order(2)
    assert "is not edm_heun: step 0, row x: the weight of k1 is" in str(caught.value)
    assert "(-10 %)" in str(caught.value)


def test_a_sampler_for_alpha_one_is_told_so() -> None:
    assert "does not converge on 'vp-linear'" in str(diagnose(midpoint_for_alpha_one, 2))
    assert diagnose(midpoint_for_alpha_one, 2, schedule=EDM()).ok


def test_a_scheduler_that_only_claims_its_order_is_named() -> None:
    diffusers = pytest.importorskip("diffusers")
    said = str(diagnose(understood(diffusers.DPMSolverMultistepScheduler(solver_order=3)), 3))
    assert "its weights are those of dpmpp_3m, of order 2, but for the last steps" in said


def in_place(model: Any, x: Any, sigmas: Any) -> Any:
    end = heun(model, x, sigmas)
    x += 1
    return end


def sorts_its_levels(model: Any, x: Any, sigmas: Any) -> Any:
    sigmas[0] = sigmas[-1]
    return heun(model, x, sigmas)


def asks_in_vain(model: Any, x: Any, sigmas: Any) -> Any:
    heun(model, x, sigmas)
    return 0.5 * x


BAD: list[tuple[Callable[..., Any], type[Exception], str]] = [
    (lambda model, x, sigmas: heun(model, x, sigmas)[:2], ValueError, r"returned shape \(2, 1\)"),
    (lambda model, x, sigmas: heun(model, x.float(), sigmas), TypeError, "returned dtype float32"),
    (lambda model, x, sigmas: heun(model, x, sigmas).to(torch.bfloat16), TypeError, "returned dtype bfloat16"),
    (lambda model, x, sigmas: heun(model, x, sigmas) * torch.nan, ValueError, "4 numbers of 4 that are NaN"),
    (lambda model, x, sigmas: None, TypeError, "returned a NoneType"),
    (lambda model, x, sigmas: 2 * x, ValueError, "never calls the model"),
    (lambda model, x, sigmas: heun(model, x, sigmas) + torch.randn_like(x), ValueError, "is random"),
    (lambda model, x, sigmas: heun(model, x, sigmas[:, 0]), ValueError, "raises IndexError: too many indices"),
    (in_place, ValueError, "writes into its input x"),
    (sorts_its_levels, ValueError, "writes into its input sigmas"),
    (asks_in_vain, ValueError, "ignores the model: it calls it 16 times"),
]


@pytest.mark.parametrize(("sampler", "error", "message"), BAD, ids=[b[2] for b in BAD])
def test_a_bad_sampler_of_another_convention_is_told_what_is_bad(sampler: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        check_sampler(understood(sampler), Oracle(three_peaks(), VPLinear(), (-2.0, 2.0), 4, 0))


def test_a_good_sampler_of_another_convention_passes_the_check() -> None:
    check_sampler(understood(heun), Oracle(three_peaks(), VPLinear(), (-2.0, 2.0), 4, 0))

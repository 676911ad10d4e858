"""Bad input to distillation: every case of the list is refused with its argument, its value and what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffnum import Gaussian
from diffnum import distillation as dd
from diffnum.problems import rotated_product, three_peaks
from diffnum.schedules import FlowMatching

SCHEDULE, LINE, PLANE = FlowMatching(), three_peaks(), rotated_product(2)
FLOW, DATA = dd.flow_map(LINE, SCHEDULE), LINE.denoiser(SCHEDULE)
STUDENT, GENERATOR = dd.feature_student(units=4), dd.Generator([[0.0]], [[1.0]])
POLICY = dd.preference_loss(Gaussian([0.0], 1.0), slope=1.0)
FLOWING, MATCHING = dd.mean_flow(SCHEDULE, [(0.8, 0.2)]), dd.f_divergence("reverse-kl", LINE, SCHEDULE, [0.4])


class Rounded:
    """A student that no gradient passes."""

    coefficients, dim = STUDENT.coefficients, 1

    def __call__(self, x: Any, t: Any, s: Any = 0.0) -> Any:
        return np.round(STUDENT(x, t, s))


TIMES: dict[str, tuple[Callable[[], object], str]] = {
    "reversed": (lambda: dd.mean_flow(SCHEDULE, [(0.2, 0.8)]), r"\(t, r\) = \(0.2, 0.8\) out of order"),
    "not a number": (lambda: dd.mean_flow(SCHEDULE, [(np.nan, 0.8)]), "out of order"),
    "too late for MeanFlow": (lambda: dd.mean_flow(SCHEDULE, [(1.5, 0.2)]), r"^levels\[0\] = 1.5 is outside"),
    "too late for training": (lambda: dd.consistency_training(SCHEDULE, [(1.5, 0.2)]), "1.5 is outside"),
    "too late for distillation": (lambda: dd.consistency_distillation(FLOW, [(1.5, 0.2)]), "1.5 is outside"),
    "too late for progressive": (lambda: dd.progressive_distillation(DATA, [(1.2, 0.5)]), "1.2 is outside"),
    "too late for shortcut": (lambda: dd.shortcut(SCHEDULE, [(0.8, 0.2)], [2.0]), r"^instants\[0\] = 2.0 is outside"),
    "too late for sCM": (lambda: dd.continuous_consistency(SCHEDULE, [1.5]), r"^times\[0\] = 1.5 is outside"),
    "before the end, sCM": (lambda: dd.continuous_consistency(SCHEDULE, [0.2], end=0.5), "identity at 0.5: use later"),
    "before the end": (lambda: dd.consistency_training(SCHEDULE, [(0.9, 0.2)], end=0.5), "s=0.2 below end=0.5"),
    "of gains": (lambda: dd.trained_gains(Gaussian([0.0], 1.0), SCHEDULE, [0.2, 0.9]), "out of order"),
    "pure noise": (lambda: dd.distribution_matching(LINE, SCHEDULE, [1.0]), "nothing is left of the data"),
}


TIMES |= {
    f"none at all, {name}": (lambda make=make: make([]), "times is empty: use at least one noise level")  # type: ignore[misc]
    for name, make in {
        "divergence": lambda times: dd.f_divergence("reverse-kl", LINE, SCHEDULE, times),
        "SDS": lambda times: dd.score_distillation(LINE, SCHEDULE, times),
        "DMD": lambda times: dd.distribution_matching(LINE, SCHEDULE, times),
        "sCM": lambda times: dd.continuous_consistency(SCHEDULE, times),
        "guidance": lambda times: dd.guidance_distillation(DATA, times),
        "filters": lambda times: dd.spectral_distillation([1.0], SCHEDULE, times, [[1.0]]),
        "penalty": lambda times: dd.regularised_flow(SCHEDULE, times, strength=1.0),
    }.items()
}


@pytest.mark.parametrize("case", sorted(TIMES))
def test_times_that_make_no_sense_are_refused(case: str) -> None:
    call, said = TIMES[case]
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: dd.consistency_distillation(DATA, [(0.8, 0.2)]),  # type: ignore[arg-type]
        lambda: dd.mean_flow(SCHEDULE, [(0.8, 0.2)], flow=DATA),  # type: ignore[arg-type]
        lambda: dd.continuous_consistency(SCHEDULE, [0.5], flow=DATA),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_exact_flow_is_refused_with_the_problems_that_have_one(call: Callable[[], object]) -> None:
    wanted = "flow is a ExactDenoiser: use dn.distillation.flow_map.*Gaussian in any dimension, Mixture1D"
    with pytest.raises(TypeError, match=wanted):
        call()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: dd.train_student(FLOWING, Rounded(), LINE, steps=3), "student is a Rounded without basis, tangent"),
        (lambda: dd.train_student(FLOWING, lambda x, *_: x, LINE, steps=3), "a function without coefficients"),
        (lambda: dd.train_student(FLOWING, GENERATOR, LINE, steps=3), "Generator without coefficients.*use a Feature"),
        (lambda: dd.train_student(MATCHING, STUDENT, LINE, steps=3), "loss is a DivergenceLoss without terms"),
        (lambda: dd.train_generator(MATCHING, STUDENT), "FeatureStudent without parameters: use a Generator"),
        (lambda: dd.train_generator(FLOWING, GENERATOR), "loss is a MeanFlowLoss without gradient"),
        (lambda: dd.resting_point(FLOWING, Rounded(), dd.exact_batch(LINE, spacing=0.8)), "student is a Rounded"),
    ],
)
def test_students_that_cannot_be_differentiated_and_losses_of_another_kind_are_refused(
    call: Callable[[], object], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        call()


OF_THE_PLANE: dict[str, Any] = {
    "MMD": dd.gaussian_kernel_loss(PLANE),
    "degree 1": dd.polynomial_kernel_loss(PLANE),
    "degree 2": dd.polynomial_kernel_loss(PLANE, 2),
    "divergence": dd.f_divergence("reverse-kl", PLANE, SCHEDULE, [0.4]),
    "SDS": dd.score_distillation(PLANE, SCHEDULE, [0.4]),
    "DMD": dd.distribution_matching(PLANE, SCHEDULE, [0.4]),
    "observations": dd.observation_loss(PLANE, [np.eye(2)], 0.1),
}


@pytest.mark.parametrize("name", sorted(OF_THE_PLANE))
@pytest.mark.parametrize("what", ["value", "gradient"])
def test_students_of_another_dimension_are_refused_and_not_broadcast(name: str, what: str) -> None:
    loss = OF_THE_PLANE[name]
    if hasattr(loss, what):
        with pytest.raises(ValueError, match="student has dimension 1, the problem 2: use a student of the same"):
            getattr(loss, what)(GENERATOR)


def test_critics_and_policies_of_another_dimension_are_refused() -> None:
    plane = dd.Generator([[0.0, 0.0]], [[1.0, 1.0]])
    with pytest.raises(ValueError, match="fake has dimension 1, the problem 2"):
        OF_THE_PLANE["DMD"].gradient(plane, fake=GENERATOR)
    with pytest.raises(ValueError, match="policy has dimension 2, the problem 1"):
        POLICY.gradient(plane)
    with pytest.raises(ValueError, match="student has dimension 1, the problem 2"):
        dd.clipped_gradient(OF_THE_PLANE["SDS"], GENERATOR, 1.0)


def test_parameters_that_run_away_stop_the_training_though_the_loss_stays_finite() -> None:
    """Far from the data a kernel sees nothing: value and gradient are zero, not infinite."""
    with pytest.raises(FloatingPointError, match="diverged at step 1 of 50"):
        dd.train_generator(dd.gaussian_kernel_loss(LINE), GENERATOR, steps=50, rate=1e30)
    with pytest.raises(FloatingPointError, match="diverged at step 1 of 50"):
        dd.train_student(FLOWING, STUDENT, LINE, steps=50, rate=1e200)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: dd.train_student(FLOWING, dd.feature_student(2), LINE, steps=3), "dimension 2, the problem 1"),
        (lambda: dd.wasserstein(LINE, np.array([np.nan, 1.0])), "1 entries are not finite"),
        (lambda: dd.wasserstein(LINE, np.array([0.0, 1.0]), np.ones(1)), r"weights has shape \(1,\)"),
        (lambda: dd.observation_loss(Gaussian([0.0, 0.0], 1.0), [np.ones((1, 3))], 0.1), "operators have 3 columns"),
        (lambda: dd.wasserstein(LINE, np.zeros(2), np.array([-1.0, 2.0])), r"weights\[0\] = -1.0 is negative"),
        (lambda: dd.wasserstein(LINE, np.zeros(0)), "outputs has 0 points"),
        (lambda: dd.polynomial_kernel_loss(LINE, 2, offset=-1.0), "offset=-1.0: use a finite number, 0 or more"),
        (lambda: dd.f_divergence("reverse-kl", LINE, SCHEDULE, [0.5], weights=[-1.0]), "finite number a time, 0 or"),
        (lambda: dd.transport_loss([1.0, 2.0]).start.replace([1.0]), r"heights has shape \(1,\): use one height"),
        (
            lambda: dd.spectral_distillation([1.0], SCHEDULE, [0.5], [[1.0]]).start.replace([1.0, 2.0]),
            r"taps has shape \(1, 2\): use a row a noise level, of 1 taps",
        ),
        (lambda: POLICY.value(dd.Generator([[0.0]], [[0.0]])), "policy has factors of determinant 0.0: it has no dens"),
        (lambda: dd.preference_loss(PLANE, slope=[1.0, 2.0, 3.0]), r"slope has shape \(3,\): .* each of 2 coordinates"),
        (lambda: dd.preference_loss(PLANE, slope=1.0, spacing=0.2), "nodes of the reference.* use a larger spacing"),
        (lambda: dd.preference_loss(PLANE, slope=1.0, spacing=0.0), "spacing=0.0: use a positive number, or None"),
        (lambda: dd.preference_loss(PLANE, slope=1.0, curvature=-5.0), "curvature=-5.0 tilts the reference to no dens"),
        (lambda: dd.preference_loss(PLANE, slope=1.0, curvature=np.inf), "curvature=inf: use a finite number"),
        (lambda: dd.principal_distillation(PLANE, SCHEDULE, [0.5], np.ones((1, 3))), "use 2 columns"),
        (lambda: dd.principal_distillation(PLANE, SCHEDULE, [0.5], np.eye(2), weights=[1.0]), r"weights \(1,\)"),
        (lambda: dd.affine_residual(LINE, SCHEDULE, [1.5]), r"^times\[0\] = 1.5 is outside"),
        (
            lambda: dd.affine_residual(rotated_product(3), SCHEDULE, [0.5]),
            "dimension 3: exact expectations are for one",
        ),
        (lambda: dd.wasserstein(PLANE, np.zeros((4, 1))), r"outputs has shape \(4, 1\), the problem dimension 2"),
        (lambda: dd.wasserstein(PLANE, np.zeros((2, 2)), np.array([0.5, 0.5])), "weights are for the line"),
        (lambda: dd.affine_optimum(PLANE, "wasserstein"), "regression on quantiles is for the line"),
        (lambda: dd.preference_loss(Gaussian([0.0], 1.0), slope=np.nan), r"slope\[\(\)\] = nan is not finite"),
    ],
)
def test_shapes_and_numbers_that_do_not_fit_are_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()

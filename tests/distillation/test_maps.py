"""Flow maps of exact problems: the laws of a flow, an independent oracle in 40 digits, refusals."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffnum as dn
from diffnum.distillation import (
    composition_error,
    consistency_residual,
    flow_map,
    mean_flow_residual,
    semigroup_residual,
    shortcut_residual,
    tangent_residual,
)
from diffnum.problems import FiniteDataset, GaussianMixture, Mixture1D, gaussian_example, rotated_product, three_peaks
from diffnum.schedules import EDM, FlowMatching, MeanReverting, SubVP, VPCosine, VPLinear
from tests.optional import optional

torch = optional("torch")

PROBLEMS: dict[str, Any] = {
    "gaussian": gaussian_example(3),
    "three-peaks": three_peaks(),
    "rotated-product": rotated_product(3),
    "mixture on the line": GaussianMixture([0.4, 0.6], [[-1.0], [0.8]], [0.2, 0.3]),
}
# Each with the length over which its flow varies: the spacing of differences in time.
SCHEDULES: dict[str, tuple[Any, float]] = {
    "flow": (FlowMatching(), 0.004),
    "flow-shifted": (FlowMatching(3.0), 0.003),
    "vp-linear": (VPLinear(), 0.002),
    "vp-cosine": (VPCosine(), 0.003),
    "sub-vp": (SubVP(), 0.002),
    "edm": (EDM(sigma_max=4.0), 0.01),
    "mean-reverting": (MeanReverting(mean=0.7, t_max=3.0), 0.01),
}
few = settings(max_examples=25)
problems = st.sampled_from(sorted(PROBLEMS)).map(PROBLEMS.__getitem__)
schedules = st.sampled_from(sorted(SCHEDULES)).map(SCHEDULES.__getitem__)
inner = st.floats(0.15, 0.85)
seeds = st.integers(0, 10**6)


def states(problem: Any, schedule: Any, t: float, seed: int, n: int = 6) -> np.ndarray:
    """States of the law at ``t``."""
    return np.asarray(problem.at(schedule, t).sample(n, seed))


def inside(schedule: Any, fraction: float) -> float:
    return schedule.t_min + fraction * (schedule.t_max - schedule.t_min)


def amplified(flow: Any, x: np.ndarray, t: float, s: float) -> float:
    """Size of the image, and what rounding of the state grows to."""
    return float(max(1.0, np.abs(flow.derivatives(x, t, s).space).max(), np.abs(flow(x, t, s)).max()))


@few
@given(problem=problems, schedule=schedules, times=st.tuples(*[st.floats(0.0, 1.0)] * 3), seed=seeds)
def test_two_maps_in_a_row_are_one_map(problem: Any, schedule: Any, times: tuple[float, ...], seed: int) -> None:
    schedule, _ = schedule
    flow = flow_map(problem, schedule)
    t, middle, s = (inside(schedule, f) for f in times)
    x = states(problem, schedule, t, seed)
    size = amplified(flow, x, t, middle) * amplified(flow, flow(x, t, middle), middle, s)
    assert np.abs(semigroup_residual(flow, x, t, middle, s)).max() <= 1e-12 * size
    assert np.array_equal(flow(x, t, t), x)


@few
@given(problem=problems, schedule=schedules, t=inner, s=st.floats(0.0, 1.0), seed=seeds)
def test_the_consistency_equation_holds(problem: Any, schedule: Any, t: float, s: float, seed: int) -> None:
    schedule, reach = schedule
    flow = flow_map(problem, schedule)
    t, s = inside(schedule, t), inside(schedule, s)
    x = states(problem, schedule, t, seed)
    residual = consistency_residual(flow, flow.velocity, x, t, s, reach=reach)
    found = flow.derivatives(x, t, s)
    size = amplified(flow, x, t, s) * max(1.0, np.abs(flow.velocity(x, t)).max())
    assert np.abs(residual).max() <= 1e-10 * size
    # The closed form: along the trajectory the image stands still to rounding.
    moved = found.start + np.einsum("nij,nj->ni", found.space, flow.velocity(x, t))
    assert np.abs(moved).max() <= 1e-12 * size


@few
@given(problem=problems, schedule=schedules, t=st.floats(0.0, 1.0), s=inner, seed=seeds)
def test_the_image_moves_along_the_flow(problem: Any, schedule: Any, t: float, s: float, seed: int) -> None:
    schedule, reach = schedule
    flow = flow_map(problem, schedule)
    t, s = inside(schedule, t), inside(schedule, s)
    x = states(problem, schedule, t, seed)
    residual = tangent_residual(flow, flow.velocity, x, t, s, reach=reach)
    size = amplified(flow, x, t, s) * max(1.0, np.abs(flow.derivatives(x, t, s).end).max())
    assert np.abs(residual).max() <= 1e-10 * size
    assert np.allclose(flow.derivatives(x, t, s).end, flow.velocity(flow(x, t, s), s), rtol=1e-10, atol=1e-10 * size)


@few
@given(problem=problems, schedule=schedules, r=inner, t=inner, seed=seeds)
def test_the_mean_flow_identity_holds(problem: Any, schedule: Any, r: float, t: float, seed: int) -> None:
    schedule, reach = schedule
    flow = flow_map(problem, schedule)
    r, t = inside(schedule, min(r, t)), inside(schedule, max(r, t))
    x = states(problem, schedule, t, seed)
    residual = mean_flow_residual(flow.average_velocity, flow.velocity, x, r, t, reach=reach)
    size = max(1.0, np.abs(flow.velocity(x, t)).max(), np.abs(flow.average_velocity(x, r, t)).max())
    assert np.abs(residual).max() <= 1e-10 * size * amplified(flow, x, t, r)
    if t - r > 1e-3:
        found, v = flow.average_derivatives(x, r, t), flow.velocity(x, t)
        along = found.late + np.einsum("nij,nj->ni", found.space, v)
        identity = flow.average_velocity(x, r, t) - v + (t - r) * along
        assert np.abs(identity).max() <= 1e-12 * size * amplified(flow, x, t, r)


@few
@given(problem=problems, schedule=schedules, r=st.floats(0.0, 1.0), t=st.floats(0.0, 1.0), seed=seeds)
def test_the_shortcut_identity_holds(problem: Any, schedule: Any, r: float, t: float, seed: int) -> None:
    schedule, _ = schedule
    flow = flow_map(problem, schedule)
    r, t = inside(schedule, r), inside(schedule, t)
    x = states(problem, schedule, t, seed)
    residual = (r - t) * shortcut_residual(flow.average_velocity, x, r, t)
    middle = 0.5 * (r + t)
    size = amplified(flow, x, t, middle) * amplified(flow, flow(x, t, middle), middle, r)
    assert np.abs(residual).max() <= 1e-12 * size


def test_a_euler_step_breaks_every_law() -> None:
    flow = flow_map(three_peaks(), FlowMatching())
    x = states(flow.problem, flow.schedule, 0.8, 0)

    def euler(x: np.ndarray, t: float, s: float) -> np.ndarray:
        return x + (s - t) * flow.velocity(x, t)

    def slope(x: np.ndarray, r: float, t: float) -> np.ndarray:
        return (x - euler(x, t, r)) / (t - r)

    assert np.abs(semigroup_residual(euler, x, 0.8, 0.5, 0.2)).max() > 1e-2
    assert np.abs(consistency_residual(euler, flow.velocity, x, 0.8, 0.2)).max() > 1e-2
    assert np.abs(tangent_residual(euler, flow.velocity, x, 0.8, 0.2)).max() > 1e-2
    assert np.abs(mean_flow_residual(slope, flow.velocity, x, 0.2, 0.8)).max() > 1e-2
    assert np.abs(shortcut_residual(slope, x, 0.2, 0.8)).max() > 1e-2


# ---------------------------------------------------------------- an oracle that shares no line of code


def oracle(problem: Mixture1D, schedule: Any) -> Any:
    """Flow map of one state by matching distribution functions, in 40 digits, with the schedule rectified by hand."""

    def cdf(x: Any, t: Any) -> Any:
        alpha, sigma = 1 - t, t
        return mpmath.fsum(
            mpmath.mpf(float(w)) * mpmath.ncdf((x - alpha * float(m)) / mpmath.sqrt(alpha**2 * float(c) + sigma**2))
            for w, m, c in zip(problem.weights, problem.means, problem.variances, strict=True)
        )

    def mapped(x: Any, t: Any, s: Any) -> Any:
        goal = cdf(x, t)
        return mpmath.findroot(lambda y: cdf(y, s) - goal, (-12, 12), solver="anderson", tol=1e-70, maxsteps=200)

    assert isinstance(schedule, FlowMatching)
    return mapped


@pytest.mark.parametrize(("t", "s"), [(0.9, 0.3), (1.0, 0.5), (0.25, 0.7)])
def test_maps_and_derivatives_agree_with_forty_digits(t: float, s: float) -> None:
    problem, schedule = three_peaks(), FlowMatching()
    flow = flow_map(problem, schedule)
    with mpmath.workdps(40):
        mapped = oracle(problem, schedule)
        x = 0.37
        step = mpmath.mpf(10) ** -10
        image = mapped(mpmath.mpf(x), mpmath.mpf(t), mpmath.mpf(s))
        up, down = (mapped(mpmath.mpf(x) + k * step, mpmath.mpf(t), mpmath.mpf(s)) for k in (1, -1))
        space = (up - down) / (2 * step)
        later, sooner = (mapped(mpmath.mpf(x), mpmath.mpf(t), mpmath.mpf(s) + k * step) for k in (1, -1))
        end = (later - sooner) / (2 * step)
        late, early = (mapped(mpmath.mpf(x), mpmath.mpf(t) + k * step, mpmath.mpf(s)) for k in (1, -1))
        start = (late - early) / (2 * step)
        mean = (x - image) / (mpmath.mpf(t) - mpmath.mpf(s))
    at = np.array([[x]])
    found = flow.derivatives(at, t, s)
    assert flow(at, t, s)[0, 0] == pytest.approx(float(image), rel=1e-12)
    assert found.space[0, 0, 0] == pytest.approx(float(space), rel=1e-12)
    assert found.end[0, 0] == pytest.approx(float(end), rel=1e-12)
    assert found.start[0, 0] == pytest.approx(float(start), rel=1e-12)
    assert flow.average_velocity(at, s, t)[0, 0] == pytest.approx(float(mean), rel=1e-12)


def test_gaussians_and_rotated_products_agree_with_forty_digits_too() -> None:
    """In their own frames, which mpmath finds again for the Gaussian: roots of quotients, and one line a coordinate."""
    schedule, t, s = FlowMatching(), 0.9, 0.2
    product, gaussian = rotated_product(3), gaussian_example(3)
    x = product.at(schedule, t).sample(3, 4)
    y = gaussian.at(schedule, t).sample(3, 5)
    with mpmath.workdps(40):
        turn = mpmath.matrix(np.eye(3).tolist() if product.rotation is None else product.rotation.tolist())
        coordinates = mpmath.matrix(x.tolist()) * turn
        for j, mixture in enumerate(product.mixtures):
            mapped = oracle(mixture, schedule)
            for i in range(3):
                coordinates[i, j] = mapped(coordinates[i, j], mpmath.mpf(t), mpmath.mpf(s))
        carried = np.array((coordinates * turn.T).tolist(), dtype=float)
        c, frame = mpmath.eigsy(mpmath.matrix(gaussian.covariance_matrix.tolist()))
        here, there = (1 - mpmath.mpf(t), mpmath.mpf(t)), (1 - mpmath.mpf(s), mpmath.mpf(s))
        mean = mpmath.matrix([gaussian.mean.tolist()])
        z = (mpmath.matrix(y.tolist()) - mpmath.matrix([[here[0] * m for m in mean]] * 3)) * frame
        for j in range(3):
            ratio = mpmath.sqrt((there[0] ** 2 * c[j] + there[1] ** 2) / (here[0] ** 2 * c[j] + here[1] ** 2))
            for i in range(3):
                z[i, j] *= ratio
        stretched = np.array((z * frame.T + mpmath.matrix([[there[0] * m for m in mean]] * 3)).tolist(), dtype=float)
    assert np.abs(flow_map(product, schedule)(x, t, s) - carried).max() <= 1e-12
    assert np.abs(flow_map(gaussian, schedule)(y, t, s) - stretched).max() <= 1e-12


@pytest.mark.parametrize("gap", [1e-2, 1e-5, 1e-9, 1e-13])
def test_the_average_velocity_keeps_its_digits_as_the_span_closes(gap: float) -> None:
    flow = flow_map(gaussian_example(2), FlowMatching())
    x = np.array([[0.4, -1.1]])
    mean = flow.average_velocity(x, 0.5 - gap, 0.5)
    middle = flow.velocity(flow(x, 0.5, 0.5 - 0.5 * gap), 0.5 - 0.5 * gap)  # the midpoint rule: error of gap^2
    assert np.abs(mean - middle).max() <= 1e-12 + 2.0 * gap**2
    assert np.array_equal(flow.average_velocity(x, 0.5, 0.5), flow.velocity(x, 0.5))


def test_a_state_that_returns_to_its_place_has_the_average_velocity_of_its_detour() -> None:
    """One state of unit law: it moves out and back, so its displacement is small over a long span."""
    problem = Mixture1D(np.array([1.0]), np.array([0.0]), np.array([1.0]))
    flow = flow_map(problem, FlowMatching())
    x = np.array([[2.0]])
    assert abs(flow(x, 0.9, 0.1)[0, 0] - 2.0) < 1e-12
    assert np.abs(flow.average_velocity(x, 0.1, 0.9)).max() < 1e-12


def test_one_ddim_step_with_the_progressive_target_lands_on_the_flow() -> None:
    for schedule in (VPLinear(), FlowMatching(), MeanReverting(mean=0.7)):
        flow = flow_map(three_peaks(), schedule)
        t, s = inside(schedule, 0.8), inside(schedule, 0.3)
        x = states(flow.problem, schedule, t, 3)
        target = flow.progressive(x, t, s)
        alpha, sigma, mean = schedule.alpha(t), schedule.sigma(t), schedule.mean
        noise = (x - (1 - alpha) * mean - alpha * target) / sigma
        landed = schedule.alpha(s) * target + (1 - schedule.alpha(s)) * mean + schedule.sigma(s) * noise
        assert np.allclose(landed, flow(x, t, s), rtol=0.0, atol=1e-12)


def test_the_consistency_function_is_the_map_to_the_data_and_constant_along_trajectories() -> None:
    flow = flow_map(rotated_product(3), VPLinear())
    x = states(flow.problem, flow.schedule, 0.9, 3)
    clean = flow.consistency(x, 0.9)
    assert np.allclose(flow.consistency(flow(x, 0.9, 0.4), 0.4), clean, rtol=0.0, atol=1e-12)
    assert np.array_equal(flow.consistency(x, 0.9, 0.1), flow(x, 0.9, 0.1))
    assert np.array_equal(flow.consistency(clean, 0.0), clean)


def test_the_progressive_target_tends_to_the_denoiser_as_the_step_closes() -> None:
    schedule = VPLinear()
    flow, data = flow_map(three_peaks(), schedule), three_peaks().denoiser(schedule)
    x = states(flow.problem, schedule, 0.6, 1)
    gaps = [np.abs(flow.progressive(x, 0.6, 0.6 - h) - data(x, 0.6)).max() for h in (0.02, 0.01, 0.005)]
    assert np.log2(gaps[0] / gaps[1]) == pytest.approx(1.0, abs=0.15)
    assert np.log2(gaps[1] / gaps[2]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_the_velocity_is_that_of_the_denoiser(name: str) -> None:
    """Of rectified flow it is the ``velocity`` prediction, eps - x_0."""
    problem, schedule = PROBLEMS[name], FlowMatching()
    x = states(problem, schedule, 0.7, 2)
    expected = problem.denoiser(schedule, "velocity")(x, 0.7)
    assert np.allclose(flow_map(problem, schedule).velocity(x, 0.7), expected, rtol=1e-13, atol=1e-13)


def test_tensors_come_back_as_they_were() -> None:
    flow = flow_map(three_peaks(), FlowMatching())
    x = torch.tensor([[0.3], [1.2]], dtype=torch.float32)
    out = flow.average_velocity(x, 0.2, 0.9)
    assert out.dtype == torch.float32
    assert np.allclose(out.numpy(), flow.average_velocity(x.double().numpy(), 0.2, 0.9), atol=1e-6)


def test_lipschitz_constants_are_attained_and_never_passed() -> None:
    gaussian = flow_map(gaussian_example(3), FlowMatching())
    spread = gaussian_example(3).eigenvalues
    assert gaussian.lipschitz(1.0, 0.0) == pytest.approx(np.sqrt(spread.max()), rel=1e-12)
    flow = flow_map(three_peaks(), FlowMatching())
    x = np.linspace(-6.0, 6.0, 20001)[:, None]
    steepest = flow.derivatives(x, 1.0, 0.1).space.max()
    assert flow.lipschitz(1.0, 0.1) == pytest.approx(steepest, rel=1e-6)


# ---------------------------------------------------------------- k steps


def euler_of(flow: Any, count: int = 1) -> Any:
    def step(x: np.ndarray, t: float, s: float) -> np.ndarray:
        nodes = np.linspace(t, s, count + 1)
        for here, there in zip(nodes[:-1], nodes[1:], strict=True):
            x = x + (there - here) * flow.velocity(x, float(here))
        return x

    return step


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_the_error_of_k_steps_is_the_sum_of_carried_map_errors(name: str) -> None:
    flow = flow_map(PROBLEMS[name], FlowMatching())
    x = states(flow.problem, flow.schedule, 1.0, 5)
    found = composition_error(flow, euler_of(flow, 2), x, [1.0, 0.75, 0.5, 0.2, 0.05])
    assert np.allclose(found.parts.sum(axis=0), found.error, rtol=0.0, atol=1e-12)
    assert np.linalg.norm(found.error, axis=1).max() <= found.bound
    assert found.lipschitz[-1] == 1.0
    assert np.allclose(found.parts[-1], found.linear[-1], rtol=0.0, atol=1e-12)


def test_carried_map_errors_are_linear_to_second_order() -> None:
    flow = flow_map(three_peaks(), FlowMatching())
    x = states(flow.problem, flow.schedule, 1.0, 5)
    gaps = []
    for size in (1e-2, 1e-3):
        found = composition_error(flow, lambda y, t, s, e=size: flow(y, t, s) + e * np.cos(y), x, [1.0, 0.6, 0.3, 0.0])
        gaps.append(np.abs(found.linear - found.parts).max())
    assert np.log10(gaps[0] / gaps[1]) == pytest.approx(2.0, abs=0.1)


# ---------------------------------------------------------------- refusals


def test_problems_without_a_closed_flow_are_refused_with_those_that_have_one() -> None:
    plane = GaussianMixture([0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], [0.1, 0.2])
    points = FiniteDataset(np.array([[0.0], [1.0]]))
    for problem, said in ((plane, "GaussianMixture in 2 dimensions"), (points, "FiniteDataset"), ("text", "str")):
        with pytest.raises(TypeError, match=f"{said}.*use one of Gaussian in any dimension, Mixture1D, RotatedProduct"):
            flow_map(problem, FlowMatching())


def test_bad_times_and_states_are_refused() -> None:
    flow = flow_map(three_peaks(), FlowMatching())
    x = np.zeros((2, 1))
    with pytest.raises(ValueError, match=r"^s = 1.5 is outside the domain"):
        flow(x, 0.5, 1.5)
    with pytest.raises(ValueError, match=r"^t has shape \(2,\)"):
        flow(x, np.array([0.1, 0.2]), 0.0)
    with pytest.raises(ValueError, match=r"^r is NaN"):
        flow.average_velocity(x, float("nan"), 0.5)
    with pytest.raises(ValueError, match=r"^r=0.5 equals t"):
        flow.average_derivatives(x, 0.5, 0.5)
    with pytest.raises(ValueError, match=r"^s=0.6 is not less noisy than t=0.5"):
        flow.progressive(x, 0.5, 0.6)
    with pytest.raises(ValueError, match=r"^x\[1\] is not finite"):
        flow(np.array([[0.0], [np.nan]]), 0.5, 0.2)
    with pytest.raises(ValueError, match=r"^tangent has 1 rows and x 2"):
        flow.jvp(x, 0.5, 0.2, np.ones((1, 1)))
    with pytest.raises(ValueError, match=r"^times=\[1.0, 0.2, 0.5\] are out of order"):
        composition_error(flow, flow, x, [1.0, 0.2, 0.5])
    with pytest.raises(ValueError, match=r"^times=\[1.0\]: a run needs a start and an end"):
        composition_error(flow, flow, x, [1.0])


def test_a_schedule_without_rates_is_refused() -> None:
    class Bare:
        """The least that a schedule offers."""

        name, t_min, t_max, mean = "bare", 0.0, 1.0, 0.0

        def alpha(self, t: Any) -> Any:
            return 1.0 - t

        def sigma(self, t: Any) -> Any:
            return t

        half_log_snr = time = alpha

        def to_dict(self) -> dict[str, Any]:
            return {}

    with pytest.raises(TypeError, match=r"has no rates\(t\)"):
        flow_map(three_peaks(), Bare())


def test_the_wing_is_reached_from_the_package() -> None:
    assert dn.distillation.flow_map is flow_map

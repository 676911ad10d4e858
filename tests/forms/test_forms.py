"""Semilinear forms: each is the probability-flow ODE, predictions convert exactly, kernels have the right moments."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

import diffnum as dn
from diffnum.forms import (
    DATA,
    DRIFT,
    FORMS,
    NOISE,
    PREDICTIONS,
    RHO,
    TIME,
    VELOCITY,
    ExponentialKernel,
    Nodes,
    Quadrature,
    TabulatedKernel,
    conversion,
    drift_form,
    form,
    predict,
    riemann,
    time_form,
    time_kernel,
)
from diffnum.problems import three_peaks
from diffnum.schedules import (
    EDM,
    VE,
    Brownian,
    FlowMatching,
    MeanReverting,
    SubVP,
    Tabulated,
    VPCosine,
    VPFitted,
    VPLinear,
    linear_betas,
)

SCHEDULES: dict[str, Any] = {
    "vp-linear": VPLinear(),
    "vp-cosine": VPCosine(),
    "sub-vp": SubVP(),
    "ve": VE(),
    "edm": EDM(),
    "flow": FlowMatching(),
    "flow-shift-3": FlowMatching(shift=3.0),
    "mean-reverting": MeanReverting(theta=0.7, sigma_inf=1.3, mean=0.8),
    "tabulated": Tabulated.from_betas(linear_betas()),
}
NAMES = tuple(PREDICTIONS)
PAIRS = list(itertools.product(NAMES, NAMES))
names = st.sampled_from(NAMES)
positive = st.floats(1e-3, 1e3)
real = st.floats(-10, 10)


def derivative(function: Any, at: float, delta: float = 2e-3) -> Any:
    """Fourth-order central difference."""
    near, far = function(at + delta) - function(at - delta), function(at + 2 * delta) - function(at - 2 * delta)
    return (8 * near - far) / (12 * delta)


# -- forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_each_form_is_the_probability_flow_ode_along_exact_trajectories(kind: str, name: str) -> None:
    written, schedule, problem = FORMS[kind], SCHEDULES[name], three_peaks()
    mean = schedule.mean

    def node(lam: float) -> Nodes:
        at = np.array([lam])
        return Nodes.at(schedule, schedule.time(at), at)

    for lam in (-1.3, 0.2, 1.9):
        t = float(schedule.time(lam))
        x = np.array([[-1.4], [0.1], [0.9], [2.3]]) * float(node(lam).alpha[0] + node(lam).sigma[0])

        def scaled(lam: float, t: float = t, x: Any = x) -> Any:
            state = problem.flow(x, schedule, t, float(schedule.time(lam)))
            return (state - mean) / written.scale(node(lam))

        # the clock of the time form carries the weight d(sigma/alpha)
        clock = (lambda n: n.sigma / n.alpha) if written.rate is None else written.clock
        model = problem.denoiser(schedule, written.prediction)(x, t)
        centred = model - PREDICTIONS[written.prediction](1.0, 1.0)[0] * mean
        slope = derivative(lambda lam, clock=clock: clock(node(lam)), lam)
        expected = slope * (written.gain(node(lam)) / written.scale(node(lam))) * centred
        measured = derivative(scaled, lam)
        np.testing.assert_allclose(measured, expected, rtol=1e-6, atol=1e-7 * np.max(np.abs(expected)))
        wrong = 1.01 * expected  # the comparison sees a 1 % error
        assert not np.allclose(measured, wrong, rtol=1e-6, atol=1e-7 * np.max(np.abs(expected)))


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_inner_nodes_lie_at_the_fraction_of_the_clock_and_the_ends_are_exact(kind: str, name: str) -> None:
    written, schedule = FORMS[kind], SCHEDULES[name]
    lam = np.array([-1.5, 0.5])
    nodes = Nodes.at(schedule, schedule.time(lam), lam)
    start, end = nodes[:1], nodes[1:]
    assert written.inner(schedule, start, end, 0) is start
    assert written.inner(schedule, start, end, 1) is end
    for fraction in (0.0, 0.25, 2 / 3, 1.0):
        inner = written.inner(schedule, start, end, fraction)
        wanted = written.clock(start) + fraction * (written.clock(end) - written.clock(start))
        np.testing.assert_allclose(written.clock(inner), wanted, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(inner.lam, schedule.half_log_snr(inner.t), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(inner.alpha / inner.sigma, np.exp(inner.lam), rtol=1e-11)


def test_forms_are_found_by_name_and_unknown_ones_are_refused() -> None:
    assert [form(name) for name in FORMS] == [DATA, NOISE, RHO, VELOCITY, TIME]
    assert repr(DATA) == "SemilinearForm('data')"
    with pytest.raises(ValueError, match=r"form='lambda' is unknown: use one of data, noise, rho, velocity, time"):
        form("lambda")


# -- predictions -------------------------------------------------------------------------------------


@given(source=names, to=names, alpha=positive, sigma=positive, x0=real, eps=real)
def test_conversion_recovers_any_prediction_from_any_other(
    source: str, to: str, alpha: float, sigma: float, x0: float, eps: float
) -> None:
    p, q = conversion(source, to, alpha, sigma)
    value, target = (a * x0 + b * eps for a, b in (PREDICTIONS[n](alpha, sigma) for n in (source, to)))
    x = alpha * x0 + sigma * eps
    size = (abs(x0) + abs(eps)) * (1 + alpha + sigma + 1 / sigma)
    assert abs(p * x + q * value - target) <= 1e-13 * (1 + abs(p) + abs(q)) * size


@given(source=names, via=names, to=names, alpha=positive, sigma=positive)
def test_conversions_compose(source: str, via: str, to: str, alpha: float, sigma: float) -> None:
    (p1, q1), (p2, q2) = conversion(source, via, alpha, sigma), conversion(via, to, alpha, sigma)
    direct = conversion(source, to, alpha, sigma)
    size = abs(p2) + abs(q2 * p1) + abs(q2 * q1)
    np.testing.assert_allclose((p2 + q2 * p1, q2 * q1), direct, rtol=0, atol=1e-12 * size)


def test_the_identity_conversion_exists_where_others_do_not() -> None:
    assert conversion("score", "score", 0.0, 0.0) == (0.0, 1.0)
    assert conversion("data", "data", 1.0, 0.0) == (0.0, 1.0)


def test_noise_and_score_convert_into_each_other_where_there_is_no_signal() -> None:
    assert conversion("noise", "score", 0.0, 2.0) == (0.0, -0.5)
    assert conversion("score", "noise", 0.0, 2.0) == (0.0, -2.0)


@pytest.mark.parametrize(
    ("source", "to", "alpha", "sigma"),
    [
        ("noise", "data", 0.0, 1.0),
        ("score", "data", 0.0, 1.0),
        ("data", "noise", 1.0, 0.0),
        ("data", "score", 1.0, 0.0),
    ],
)
def test_a_conversion_that_divides_by_zero_is_refused_for_numbers_and_arrays(
    source: str, to: str, alpha: float, sigma: float
) -> None:
    with pytest.raises(ValueError, match=f"a '{source}' prediction says nothing about '{to}'"):
        conversion(source, to, alpha, sigma)
    with pytest.raises(ValueError, match="stop the grid before that end"):
        conversion(source, to, np.array([alpha, 0.5]), np.array([sigma, 0.5]))


@pytest.mark.parametrize("arguments", [("epsilon", "data"), ("data", "epsilon")])
def test_unknown_predictions_are_refused_with_the_known_ones(arguments: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="'epsilon' is no prediction: use one of data, noise, velocity, score, v"):
        conversion(*arguments, 0.6, 0.8)


@pytest.mark.parametrize(("source", "to"), PAIRS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_predict_gives_every_prediction_of_an_exact_model(name: str, source: Any, to: Any) -> None:
    schedule, problem = SCHEDULES[name], three_peaks()
    lam = np.array([-1.0, 0.3, 1.5])
    times, x = schedule.time(lam), np.array([[-0.7], [0.4], [1.1]])
    model, exact = problem.denoiser(schedule, source), problem.denoiser(schedule, to)
    np.testing.assert_allclose(predict(model, x, times, to), exact(x, times), rtol=1e-11, atol=1e-12)
    t = float(times[1])
    np.testing.assert_allclose(dn.predict(model, x, t, to), exact(x, t), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("source", "to"), PAIRS)
def test_predict_moves_each_prediction_by_its_share_of_an_array_mean(source: Any, to: Any) -> None:
    schedule = MeanReverting(theta=0.7, sigma_inf=1.3, mean=np.array([0.8, -0.3]))
    problem = dn.GaussianMixture([0.4, 0.6], [[0.5, -1.0], [1.0, 0.2]], [0.3, 0.1])
    x, t = np.array([[0.3, 0.1], [-0.5, 1.2], [2.0, 0.0]]), np.array([0.3, 1.0, 2.5])
    found = predict(problem.denoiser(schedule, source), x, t, to)
    np.testing.assert_allclose(found, problem.denoiser(schedule, to)(x, t), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "schedule", [VPLinear(), MeanReverting(mean=np.array([0.8, -0.3]))], ids=["vp", "mean-reverting"]
)
@pytest.mark.parametrize("per_sample", [False, True])
def test_predict_keeps_torch_tensors_their_dtype_and_gradient(schedule: Any, per_sample: bool) -> None:
    torch = pytest.importorskip("torch")
    problem = dn.GaussianMixture([0.4, 0.6], [[0.5, -1.0], [1.0, 0.2]], [0.3, 0.1])
    points = [[0.3, 0.1], [-0.5, 1.2], [2.0, 0.0]]
    model = problem.denoiser(schedule, "noise")
    t: Any = torch.tensor([0.3, 0.5, 0.9], dtype=torch.float64) if per_sample else 0.4
    reference = predict(model, np.array(points), np.asarray(t) if per_sample else t, "data")
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        x = torch.tensor(points, dtype=dtype, requires_grad=True)
        found = predict(model, x, t, "data")
        assert found.dtype == dtype
        np.testing.assert_allclose(found.detach().numpy(), reference, rtol=tolerance, atol=tolerance)
        found.sum().backward()
        assert torch.isfinite(x.grad).all()
        assert x.grad.abs().sum() > 0


@dataclass(frozen=True)
class Images:
    """A model on images that returns its state."""

    schedule: Any
    prediction: Any = "noise"

    def __call__(self, x: Any, t: Any) -> Any:  # noqa: ARG002
        return x


def test_predict_broadcasts_one_time_a_sample_over_images() -> None:
    x = np.ones((2, 3, 4, 4), dtype=np.float32)
    t = np.array([0.2, 0.7])
    found = predict(Images(VPLinear()), x, t, "data")
    s = VPLinear()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0, 0, 0], (1 - s.sigma(t)) / s.alpha(t), rtol=1e-6)


def test_predict_refuses_an_unknown_prediction_and_an_end_without_signal() -> None:
    with pytest.raises(ValueError, match=r"to='x0' is no prediction: use one of data"):
        predict(Images(VPLinear()), np.ones((1, 2)), 0.5, "x0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=re.escape("says nothing about 'data'")):
        predict(Images(FlowMatching()), np.ones((1, 2)), 1.0, "data")


# -- kernels -----------------------------------------------------------------------------------------


@given(h=st.floats(1e-6, 12), k=st.integers(0, 5), fraction=st.floats(0.05, 1), rate=st.sampled_from([-1, 0, 1]))
def test_exponential_kernels_have_the_moments_of_their_integral(h: float, k: int, fraction: float, rate: int) -> None:
    found = ExponentialKernel(h, rate).moment(k, fraction)
    expected = quad(lambda s: h * np.exp(rate * h * (fraction - s)) * s**k, 0, fraction, epsabs=0, epsrel=1e-12)[0]
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("written", "rate"), [(DATA, -1), (NOISE, 1)])
def test_the_discount_is_the_ratio_of_gain_to_scale(written: Any, rate: int) -> None:
    schedule, lam = VPLinear(), np.array([-0.7, 0.9])
    nodes = Nodes.at(schedule, schedule.time(lam), lam)
    middle = written.inner(schedule, nodes[:1], nodes[1:], 0.3)
    ratio = [float(np.abs(written.gain(n) / written.scale(n))[0]) for n in (nodes[:1], middle)]
    assert ExponentialKernel(1.6, rate).discount(0.3) == pytest.approx(ratio[1] / ratio[0], rel=1e-12)
    assert ExponentialKernel(1.6, 0).discount(0.3) == 1


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("part", [(0.0, 1.0), (0.0, 0.5), (0.6, 1.0), (0.5, 0.505)], ids=str)
def test_the_time_kernel_agrees_with_adaptive_quadrature_over_short_and_long_steps(
    name: str, part: tuple[float, float]
) -> None:
    schedule: Any = SCHEDULES[name]
    first, last = schedule.default_t_start, schedule.default_t_end
    t0, t1 = (first + f * (last - first) for f in part)
    start, end = (Nodes.at(schedule, np.array([t])) for t in (t0, t1))
    kernel = time_kernel(schedule, start, end, 4)
    ends = np.linspace(start.lam[0], end.lam[0], 9)
    total = float(end.sigma[0] / end.alpha[0] - start.sigma[0] / start.alpha[0])
    for k in range(4):

        def density(lam: float, k: int = k) -> float:
            return float(-(((schedule.time(lam) - t0) / (t1 - t0)) ** k) * np.exp(-lam))

        expected = sum(
            quad(density, a, b, epsabs=1e-13 * abs(total), epsrel=1e-11)[0] for a, b in itertools.pairwise(ends)
        )
        np.testing.assert_allclose(kernel.moment(k), expected, rtol=0, atol=1e-11 * abs(total))
    assert kernel.moment(0)[0] == pytest.approx(total, rel=3e-14)
    assert kernel.discount() == 1


def test_the_time_kernel_has_no_moments_inside_a_step() -> None:
    kernel = TabulatedKernel((1.0, 0.5))
    assert kernel.moment(1) == 0.5
    for fraction in (0.5, 1.0):
        with pytest.raises(ValueError, match="no closed moments inside a step"):
            kernel.moment(0, fraction)


def test_forms_hand_out_the_kernel_of_their_clock() -> None:
    schedule, lam = VPLinear(), np.array([-1.0, 1.0])
    nodes = Nodes.at(schedule, schedule.time(lam), lam)
    for written in FORMS.values():
        h = written.clock(nodes[1:]) - written.clock(nodes[:1])
        kernel = written.kernel(schedule, nodes[:1], nodes[1:], h, 2)
        # a constant prediction is integrated exactly: y_1 - y_0 = (gain_1 / scale_1) moment_0 M
        n = nodes[1:]
        exact = {"data": np.exp(lam[1]) - np.exp(lam[0]), "noise": np.exp(-lam[1]) - np.exp(-lam[0])}
        if written.prediction in exact:
            found = written.gain(n) / written.scale(n) * kernel.moment(0)
            np.testing.assert_allclose(found, exact[written.prediction], rtol=1e-13)


# -- clocks of other schedules, Riemann sums, nothing removed ------------------------------------------


def ends(schedule: Any) -> tuple[Nodes, Nodes]:
    """Two steps of a schedule."""
    lam = np.array([-1.0, 0.2, 1.5])
    nodes = Nodes.at(schedule, schedule.time(lam), lam)
    return nodes[:2], nodes[1:]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_clock_of_the_schedule_itself_changes_nothing(name: str) -> None:
    schedule = SCHEDULES[name]
    start, end = ends(schedule)
    own, foreign = TIME.kernel(schedule, start, end, end.t - start.t, 3), time_form(schedule)
    np.testing.assert_allclose(foreign.clock(end), end.t, rtol=1e-12)
    again = foreign.kernel(schedule, start, end, end.t - start.t, 3)
    for k in range(3):
        np.testing.assert_allclose(again.moment(k), own.moment(k), rtol=1e-11)
    for ours, theirs in zip(DRIFT.slope(schedule, start), drift_form(schedule).slope(schedule, start), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
def test_moments_in_a_foreign_clock_are_integrals_over_the_same_noise_to_signal_ratio(name: str) -> None:
    schedule, clock = SCHEDULES[name], VPFitted()
    start, end = ends(schedule)
    written = time_form(clock)
    t0, t1 = written.clock(start), written.clock(end)
    kernel = written.kernel(schedule, start, end, t1 - t0, 3)
    for k in range(3):
        for i in range(2):

            def density(t: float, k: int = k, i: int = i) -> float:
                return float(clock.drift(t)[1] / clock.alpha(t) * ((t - t0[i]) / (t1[i] - t0[i])) ** k)

            expected = quad(density, t0[i], t1[i], epsabs=0, epsrel=1e-11)[0]
            assert kernel.moment(k)[i] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_drift_is_the_slope_of_exact_trajectories_in_any_clock(name: str) -> None:
    schedule, problem = SCHEDULES[name], three_peaks()
    t = float(schedule.time(0.3))
    node = Nodes.at(schedule, np.array([t]), np.array([0.3]))
    x = np.array([[-1.4], [0.1], [0.9]]) * float(node.alpha[0] + node.sigma[0])
    noise = problem.denoiser(schedule, "noise")(x, t)
    for written in (DRIFT, drift_form(Brownian()), drift_form(VPLinear())):
        p, q = written.slope(schedule, node)

        def at(lam: float) -> Any:
            return problem.flow(x, schedule, t, float(schedule.time(lam)))

        def clock(lam: float, written: Any = written) -> Any:
            return written.clock(Nodes.at(schedule, schedule.time(np.array([lam])), np.array([lam])))

        measured = derivative(at, 0.3) / derivative(clock, 0.3)
        np.testing.assert_allclose(p * (x - schedule.mean) + q * noise, measured, rtol=1e-6)
    assert [factor.tolist() for factor in RHO.slope(schedule, node)] == [[0.0], [1.0]]


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("rule", ["left", "closed"])
def test_riemann_sums_approach_the_exact_moments_at_first_order(kind: str, rule: str) -> None:
    schedule, written = VPLinear(), FORMS[kind]
    start, end = ends(schedule)
    h = written.clock(end) - written.clock(start)
    exact = written.kernel(schedule, start, end, h, 4)
    coarse, fine = (riemann(written, n, rule).kernel(schedule, start, end, h, 4) for n in (1000, 4000))
    for k in range(4):
        first, second = (np.abs(kernel.moment(k) - exact.moment(k)) for kernel in (coarse, fine))
        size = np.abs(exact.moment(0))
        assert np.all(first < 3e-3 * size)
        exact_anyway = written.rate == 0 and k <= (rule == "closed")  # constants; straight lines, symmetrically
        if not exact_anyway:
            np.testing.assert_allclose(first / second, 4.0, rtol=0.01)
        else:
            assert np.all(first < 1e-12 * size)


def test_the_left_sum_is_the_sum_that_it_says() -> None:
    start, end = ends(VPLinear())
    kernel = riemann(NOISE, 3).kernel(VPLinear(), start, end, end.lam - start.lam, 2)
    h = end.lam - start.lam
    np.testing.assert_allclose(kernel.moment(0), h / 3 * sum(np.exp(h * (1 - s)) for s in (0, 1 / 3, 2 / 3)))
    closed = riemann(NOISE, 3, "closed").kernel(VPLinear(), start, end, h, 2)
    np.testing.assert_allclose(closed.moment(1), h / 3 * sum(s * np.exp(h * (1 - s)) for s in (0, 0.5, 1)))
    assert repr(riemann(NOISE)) == "SemilinearForm('noise, Riemann sum')"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, "left"), "cells=1 is no number of cells: give a whole number of at least 2"),
        ((10.0, "left"), "cells=10.0 is no number of cells"),
        ((10, "right"), "rule='right' is unknown: use one of left, closed"),
    ],
)
def test_riemann_sums_that_make_no_sense_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Quadrature(*arguments)


class Driftless:
    """A schedule that lacks the coefficients of its equation."""

    name = "driftless"

    def __getattr__(self, name: str) -> Any:
        if name == "drift":
            raise AttributeError(name)
        return getattr(VPLinear(), name)


def test_a_schedule_without_drift_is_refused_by_name() -> None:
    schedule: Any = Driftless()
    start, end = ends(schedule)
    for use in (
        lambda: DRIFT.slope(schedule, start),
        lambda: riemann(TIME).kernel(schedule, start, end, end.t - start.t, 1),
    ):
        with pytest.raises(ValueError, match=r"schedule 'driftless' has no method drift\(t\)"):
            use()
    assert TIME.kernel(schedule, start, end, end.t - start.t, 1).moment(0).shape == (2,)


@pytest.mark.parametrize(("t_from", "t_to"), [(999.0, 0.5), (700.0, 30.0), (12.3, 11.9), (40.0, 39.0)])
def test_moments_of_the_time_clock_are_cut_at_the_kinks_of_a_linear_table(t_from: float, t_to: float) -> None:
    schedule = Tabulated.from_betas(linear_betas(), "linear")
    kernel = time_kernel(schedule, *(Nodes.at(schedule, np.array([t])) for t in (t_from, t_to)), 4)
    labels = np.arange(np.ceil(t_to), np.floor(t_from) + 1)
    cuts = np.unique(np.concatenate([[t_to], labels[(labels > t_to) & (labels < t_from)], [t_from]]))
    points, weights = np.polynomial.legendre.leggauss(24)
    t = 0.5 * (cuts[1:, None] + cuts[:-1, None]) + 0.5 * np.diff(cuts)[:, None] * points
    # by parts: int s^k d rho = s^k rho at the end - k int s^(k-1) rho ds
    rho, s = schedule.sigma(t) / schedule.alpha(t), (t - t_from) / (t_to - t_from)
    area = 0.5 * np.diff(cuts)[:, None] * weights / (t_from - t_to)
    end = float(schedule.sigma(t_to) / schedule.alpha(t_to))
    for k in range(1, 4):
        expected = end - k * float((area * rho * s ** (k - 1)).sum())
        assert kernel.moment(k)[0] == pytest.approx(expected, rel=1e-12, abs=1e-12 * abs(end))

"""Defects of one kind each in samplers that are right without them, and right samplers of other kinds than ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from diffnum.convergence.edges import edges
from diffnum.convergence.judgement import judge
from diffnum.convergence.oracle import Oracle
from diffnum.foreign import understood
from diffnum.problems import three_peaks
from diffnum.schedules import EDM, VPLinear

PEAKS = three_peaks()


def levels(model: Any, lam: float) -> tuple[float, float]:
    s = model.schedule
    return float(s.alpha(s.time(lam))), float(s.sigma(s.time(lam)))


def two_step(model: Any, x: Any, nodes: Any, bad: str = "") -> Any:
    """Second-order multistep method, with one defect."""
    past: list[tuple[float, Any]] = []
    count = len(nodes) - 1
    for i, (a, b) in enumerate(pairwise(nodes)):
        at = a + 0.02 if bad == "one node" and i == count // 2 else a
        data = model.data(x, at)
        if bad == "halves":
            data = np.roll(data, len(data) // 2, axis=0)
        if np.isinf(b):
            return {"noise left": x, "scaled end": 0.9 * data}.get(bad, data)
        (_, s0), (a1, s1), h = levels(model, a), levels(model, b), b - a
        if bad == "float32 sigma":
            s0, s1 = float(np.float32(s0)), float(np.float32(s1))
        mixed = data
        if past:
            before = past[-2] if bad == "stale index" and len(past) > 1 else past[-1]
            weight = 0.52 if bad == "wrong coefficient" else 0.5
            if bad == "odd steps" and count % 2:
                weight = 0.0
            mixed = data + weight * h / (a - past[-1][0]) * (data - before[1])
        if bad == "last step" and i == count - 1:
            mixed = 0.5 * data
        x = s1 / s0 * x - a1 * np.expm1(-h) * mixed
        past.append((a, data))
    if count == 50:
        x = x * {"nan at 50": np.nan, "off at 50": 1.01}.get(bad, 1.0)
    return x


def with_defect(bad: str) -> Callable[..., Any]:
    def sampler(model: Any, x: Any, nodes: Any) -> Any:
        return two_step(model, x, nodes, bad)

    sampler.__name__ = bad.replace(" ", "_")
    return sampler


@pytest.mark.parametrize(
    ("bad", "part", "words"),
    [
        ("wrong coefficient", "formula", "the weight of"),
        ("stale index", "formula", "order 1"),
        ("last step", "last step", "lowers the order"),
        ("odd steps", "formula", "odd numbers of steps"),
        ("one node", "formula", "update formula"),
        ("halves", "batch", "depends on the others in its batch"),
        ("nan at 50", "numbers of steps", "on 50 steps it returns what is not finite"),
        ("off at 50", "numbers of steps", "with 50 steps the error is"),
    ],
)
def test_a_defect_is_blamed_where_it_is(bad: str, part: str, words: str) -> None:
    found = judge(with_defect(bad), 2, PEAKS, grids=("uniform",))
    assert found.verdict == "fails", str(found)
    assert found.parts[0] == part, str(found)
    assert words in str(found)


def test_levels_in_single_precision_are_noted_where_the_order_holds() -> None:
    found = judge(with_defect("float32 sigma"), 2, PEAKS, grids=("uniform",))
    assert found.ok
    assert any("single precision" in note for note in found.notes), str(found)
    assert not judge(with_defect(""), 2, PEAKS, grids=("uniform",)).notes


@pytest.mark.parametrize("schedule", [VPLinear(), EDM()], ids=lambda s: s.name)
@pytest.mark.parametrize(("bad", "wrong"), [("noise left", True), ("scaled end", True), ("", False)])
def test_an_end_without_noise_is_held_against_the_data(schedule: Any, bad: str, wrong: bool) -> None:
    found = edges(understood(with_defect(bad)), Oracle(PEAKS, schedule, (-2.0, 2.0)), usual=False)
    assert [e.part for e in found] == ["end at zero noise"] * wrong, found
    assert all("away from the data" in e.text for e in found)


# -- right ones ----------------------------------------------------------------------------------------


def runge_kutta(rows: Sequence[Sequence[float]], weights: Sequence[float], at: Sequence[float], clock: str) -> Any:
    """Explicit Runge-Kutta method: x / sigma in the half-log-SNR, or x / alpha in sigma / alpha."""

    def sampler(model: Any, x: Any, nodes: Any) -> Any:
        which = 1 if clock == "lam" else 0

        def rate(u: float, y: Any) -> Any:
            if clock == "lam":
                return np.exp(u) * model.data(y * levels(model, u)[1], u)
            lam = float(-np.log(u))
            return model.noise(y * levels(model, lam)[0], lam)

        y = x / levels(model, nodes[0])[which]
        for a, b in pairwise(nodes if clock == "lam" else np.exp(-np.asarray(nodes))):
            k: list[Any] = []
            for row, c in zip(rows, at, strict=True):
                k.append(rate(a + c * (b - a), y + (b - a) * sum((r * v for r, v in zip(row, k)), 0.0 * y)))  # noqa: B905
            y = y + (b - a) * sum(w * v for w, v in zip(weights, k, strict=True))
        return y * levels(model, nodes[-1])[which]

    return sampler


RALSTON = runge_kutta([[], [2 / 3]], [1 / 4, 3 / 4], [0, 2 / 3], "lam")
KUTTA_3 = runge_kutta([[], [0.5], [-1, 2]], [1 / 6, 2 / 3, 1 / 6], [0, 0.5, 1], "rho")
THREE_EIGHTHS = runge_kutta(
    [[], [1 / 3], [-1 / 3, 1], [1, -1, 1]], [1 / 8, 3 / 8, 3 / 8, 1 / 8], [0, 1 / 3, 2 / 3, 1], "rho"
)
NYSTROM_5 = runge_kutta(
    [[], [1 / 3], [4 / 25, 6 / 25], [1 / 4, -3, 15 / 4], [2 / 27, 10 / 9, -50 / 81, 8 / 81],
     [2 / 25, 12 / 25, 2 / 15, 8 / 75, 0]],
    [23 / 192, 0, 125 / 192, 0, -27 / 64, 125 / 192], [0, 1 / 3, 2 / 5, 1, 2 / 3, 4 / 5], "lam",
)  # fmt: skip
BUTCHER_6 = runge_kutta(
    [[], [1 / 3], [0, 2 / 3], [1 / 12, 1 / 3, -1 / 12], [-1 / 16, 9 / 8, -3 / 16, -3 / 8],
     [0, 9 / 8, -3 / 8, -3 / 4, 1 / 2], [9 / 44, -9 / 11, 63 / 44, 18 / 11, 0, -16 / 11]],
    [11 / 120, 0, 27 / 40, 27 / 40, -4 / 15, -4 / 15, 11 / 120], [0, 1 / 3, 2 / 3, 1 / 3, 1 / 2, 1 / 2, 1], "lam",
)  # fmt: skip


def eab_6(model: Any, x: Any, nodes: Any) -> Any:
    """Exponential Adams-Bashforth of order 6 by quadrature, with a start of order 6 on small steps."""
    points, weights = np.polynomial.legendre.leggauss(8)
    past: list[tuple[float, Any]] = []
    for i, (a, b) in enumerate(pairwise(nodes)):
        past = [(a, model.data(x, a)), *past[:5]]
        if i < 5:
            x = BUTCHER_6(model, x, np.linspace(a, b, 5))
            continue
        lam = (a + b) / 2 + (b - a) / 2 * points
        (_, s0), (a1, s1), mixed = levels(model, a), levels(model, b), 0.0
        for here, data in past:
            basis = np.prod([(lam - other) / (here - other) for other, _ in past if other != here], axis=0)
            mixed = mixed + np.sum(weights * (b - a) / 2 * np.exp(lam - b) * basis) * data
        x = s1 / s0 * x + a1 * mixed
    return x


def extrapolated(model: Any, x: Any, nodes: Any) -> Any:
    """DDIM, extrapolated in each step from a whole one and two halves."""

    def euler(x: Any, a: float, b: float) -> Any:
        (_, s0), (a1, s1) = levels(model, a), levels(model, b)
        return s1 / s0 * x - a1 * np.expm1(a - b) * model.data(x, a)

    for a, b in pairwise(nodes):
        middle = (a + b) / 2
        x = 2 * euler(euler(x, a, middle), middle, b) - euler(x, a, b)
    return x


def implicit(model: Any, x: Any, nodes: Any) -> Any:
    """Implicit trapezoidal rule, solved entry by entry by Steffensen's iteration, which bears one long step too."""

    def rate(lam: float, y: Any) -> Any:
        return np.exp(lam) * model.data(y * levels(model, lam)[1], lam)

    y = x / levels(model, nodes[0])[1]
    for a, b in pairwise(nodes):
        first = rate(a, y)
        end, change = y + (b - a) * first, np.inf
        for _ in range(100):
            once = y + (b - a) / 2 * (first + rate(b, end))
            twice = y + (b - a) / 2 * (first + rate(b, once))
            bend = twice - 2 * once + end
            small = np.abs(bend) < 1e-15 * np.max(np.abs(twice))
            old, end = end, np.where(small, twice, end - (once - end) ** 2 / np.where(small, 1.0, bend))
            change = np.max(np.abs(end - old)) / np.max(np.abs(end))
            if change < 1e-13:
                break
        y = end
    return y * levels(model, nodes[-1])[1]


class InFlowTime:
    """A callable object in flow time."""

    def __call__(self, model: Any, x: Any, timesteps: Any) -> Any:
        for a, b in pairwise(timesteps):
            first = model(x, a)
            x = x + (b - a) * model(x + (b - a) / 2 * first, (a + b) / 2)
        return x


@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        pytest.param(two_step, 2, id="multistep"),
        pytest.param(RALSTON, 2, id="ralston"),
        pytest.param(KUTTA_3, 3, id="kutta"),
        pytest.param(THREE_EIGHTHS, 4, id="three eighths"),
        pytest.param(NYSTROM_5, 5, id="nystrom", marks=pytest.mark.slow),
        pytest.param(BUTCHER_6, 6, id="butcher"),
        pytest.param(eab_6, 6, id="exponential adams-bashforth"),
        pytest.param(extrapolated, 2, id="extrapolated"),
        pytest.param(implicit, 2, id="implicit", marks=pytest.mark.slow),
        pytest.param(InFlowTime(), 2, id="flow object"),
    ],
)
def test_a_right_sampler_is_never_accused(sampler: Any, order: float) -> None:
    if isinstance(sampler, InFlowTime):
        pytest.importorskip("torch")
    found = judge(sampler, order, PEAKS, grids=("uniform",))
    assert not found.parts, str(found)
    assert found.ok or order > 5, str(found)


@pytest.mark.parametrize("clock", ["sigma", "flow-time"])
def test_another_clock_accuses_no_end_without_noise(clock: Any) -> None:
    found = judge(two_step, 2, PEAKS, grids=("uniform",), clock=clock, interval=(-1.0, 1.0), steps=(24, 48, 96, 192))
    assert not found.parts, str(found)
    assert not found.notes

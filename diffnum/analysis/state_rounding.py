r"""What a state in half precision costs: its rounding, measured, with a bound, beside the error of the method.

A host that keeps the state in a format of unit roundoff u perturbs each step's result by at most :math:`u |y_n|`, and
the rest of the run carries that perturbation to the end. On Gaussian data the run is affine, the carrying is a factor
:math:`G_n` in each direction, which is found by perturbing the run, and

.. math:: |\hat y_N - y_N| \le u \sum_{n=1}^{N} |\hat y_n^*| \, |G_n|,

with :math:`\hat y_n^*` the state before it is rounded (Higham 2002, section 3.1, with a factor for each operation).
Independent errors add up to about :math:`\sqrt{N}` of that, not N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from diffnum import grids
from diffnum.jobs.checked import check_name
from diffnum.plans import Plan, plan
from diffnum.plans.host_tables import rounded_to
from diffnum.problems import Gaussian
from diffnum.schedules import FlowMatching
from diffnum.solver import iterate
from diffnum.solver.noise import SampleStreams
from diffnum.types import Denoiser, FloatArray, Schedule

__all__ = ["ROUNDOFF", "StateRounding", "state_rounding", "state_rounding_table"]

ROUNDOFF: Final = MappingProxyType({"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8})
"""Unit roundoff: half the distance from 1 to the next number."""

_SHARE = 0.1
"""Of the method's error, up to which rounding is no matter."""


@dataclass(frozen=True)
class StateRounding:
    """Error of a run by the rounding of its state, relative to the root mean square of the result.

    Parameters
    ----------
    method, dtype : str
        Method, and format of the state.
    steps : int
        Steps.
    error : float
        Root mean square of the difference to the run whose state is not rounded.
    bound : float
        Root mean square of the bound.
    ratio : float
        Largest quotient of a difference and its bound, at most 1.
    method_error : float
        Root mean square of the error of the run that is not rounded.
    """

    method: str
    dtype: str
    steps: int
    error: float
    bound: float
    ratio: float
    method_error: float

    @property
    def negligible(self) -> bool:
        """Whether rounding is below a tenth of the method's error."""
        return self.error <= _SHARE * self.method_error


def state_rounding(
    numbers: Plan, data: Gaussian, dtype: str = "bfloat16", *, n: int = 256, seed: int = 0
) -> StateRounding:
    """Run a plan on Gaussian data with a state that is rounded after each step, and with one that is not.

    Parameters
    ----------
    numbers : Plan
        The run.
    data : Gaussian
        Data with a diagonal covariance.
    dtype : {"bfloat16", "float16", "float32"}
        Format of the state; evaluations and weights are exact, and so is what a multistep method remembers.
    n : int
        Samples.
    seed : int
        Seed of the start, and of the noise of a stochastic method.

    Returns
    -------
    StateRounding

    Raises
    ------
    ValueError
        If the format is unknown, or the covariance is not diagonal.
    """
    check_name("dtype", dtype, ROUNDOFF)
    if np.ndim(data.covariance) == 2:
        msg = "data has a full covariance, in whose directions rounding mixes: pass the diagonal of one"
        raise ValueError(msg)
    schedule, first = numbers.schedule, float(numbers.times[0])
    model = data.denoiser(schedule)
    rng = np.random.default_rng(seed)
    alpha, sigma = float(schedule.alpha(first)), float(schedule.sigma(first))
    spread = np.sqrt(alpha**2 * np.broadcast_to(data.covariance, (data.dim,)) + sigma**2)
    start = rounded_to(dtype, alpha * data.mean + spread * rng.standard_normal((n, data.dim))).astype(np.float64)
    plain, _ = _run(numbers, model, start, seed)
    found, before = _run(numbers, model, start, seed, dtype=dtype)
    gains = _gains(numbers, model, start[:1], seed)
    carried = [np.abs(x) * np.abs(g) for x, g in zip(before, gains, strict=True)]
    bound = ROUNDOFF[dtype] * np.sum(carried, axis=0)
    size = float(np.sqrt(np.mean(plain**2)))

    def root(values: FloatArray) -> float:
        return float(np.sqrt(np.mean(np.square(values)))) / size

    difference = np.abs(found - plain)
    exact = data.flow(start, schedule, first, float(numbers.times[-1]))
    return StateRounding(
        numbers.method,
        dtype,
        len(numbers),
        root(difference),
        root(bound),
        float(np.max(difference / bound)),
        float("nan") if any(step.noises for step in numbers.steps) else root(plain - exact),
    )


def _run(
    numbers: Plan,
    model: Denoiser,
    x: FloatArray,
    seed: int,
    *,
    dtype: str | None = None,
    pushed: bool = False,
) -> tuple[FloatArray, list[FloatArray]]:
    """Result, and the states before they are rounded; with ``pushed`` sample i is moved by 1 after step i + 1."""
    noise = SampleStreams(seed) if any(step.noises for step in numbers.steps) else None
    run = iterate(numbers, model, x, noise=noise)
    states: list[FloatArray] = []
    reply: Any = None
    while True:
        try:
            state = run.send(reply)
        except StopIteration:
            return states[-1] if dtype is None else rounded_to(dtype, states[-1]).astype(np.float64), states
        states.append(np.asarray(state.x))
        moved = states[-1]
        if dtype is not None:
            moved = rounded_to(dtype, moved).astype(np.float64)
        if pushed:
            moved = moved.copy()
            moved[len(states) - 1] += 1.0
            states[-1] = moved
        reply = state._replace(vectors={**state.vectors, "x": moved})


def _gains(numbers: Plan, model: Denoiser, x: FloatArray, seed: int) -> list[FloatArray]:
    """Factor by which a change of the state after each step is carried to the end, direction by direction."""
    copies = np.repeat(x, len(numbers), axis=0)
    plain, moved = (_run(numbers, model, copies, seed, pushed=pushed)[0] for pushed in (False, True))
    return list(moved - plain)


def state_rounding_table(
    methods: Sequence[str],
    steps: Sequence[int],
    *,
    data: Gaussian | None = None,
    schedule: Schedule | None = None,
    dtypes: Sequence[str] = ("bfloat16", "float16", "float32"),
    n: int = 256,
) -> list[StateRounding]:
    """:func:`state_rounding` of several methods, numbers of steps and formats, on equal steps of a flow's time.

    Parameters
    ----------
    methods : sequence of str
        Methods of the catalogue.
    steps : sequence of int
        Numbers of steps.
    data : Gaussian, optional
        Data; by default mean 0.3 and variances from 0.01 to 1.
    schedule : Schedule, optional
        A flow with shift 3 by default.
    dtypes : sequence of str
        Formats.
    n : int
        Samples.

    Returns
    -------
    list of StateRounding
    """
    data = data or Gaussian(np.full(3, 0.3), np.array([0.01, 0.1, 1.0]))
    schedule = schedule or FlowMatching(shift=3.0)
    first, last = (float(getattr(schedule, f"default_{end}")) for end in ("t_start", "t_end"))
    found = []
    for method in methods:
        for count in steps:
            nodes = grids.uniform_time(schedule, count, t_start=first, t_end=last)
            numbers = plan(method, schedule, nodes)
            found += [state_rounding(numbers, data, dtype, n=n) for dtype in dtypes]
    return found

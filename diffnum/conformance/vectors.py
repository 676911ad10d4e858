"""Test vectors: inputs and expected outputs as JSON-able data, the same at every call.

They go from the bottom up, so that a port finds out where it differs: phi functions, schedules, grids and the exact
model (subject ``common``); then for each method its weights, whole plans, trajectories on an exact mixture, and orders.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from diffnum import grids
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.catalogue import methods as catalogue
from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.coefficients.programme import Placement
from diffnum.conformance.engines import engine_inputs
from diffnum.forms import ExponentialKernel, TabulatedKernel
from diffnum.phi import phi
from diffnum.plans import Plan, plan
from diffnum.problems import GaussianMixture
from diffnum.proofs import placements
from diffnum.schedules import EDM, FlowMatching, VPLinear
from diffnum.solver import solve
from diffnum.tableau import Window
from diffnum.types import FloatArray, Schedule

__all__ = ["COMMON", "FORMAT", "document", "subjects"]

FORMAT = "diffnum-vectors-v1"

COMMON = "common"
"""Subject of the vectors that belong to no method."""

TOLERANCES: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "phi": {"relative": 1e-13, "absolute": 0.0},
        "schedule": {"relative": 1e-12, "absolute": 0.0},
        "grid": {"relative": 1e-10, "absolute": 0.0},
        "model": {"relative": 1e-12, "absolute": 0.0},
        "weights": {"relative": 1e-12, "absolute": 1e-300},
        "plan": {"relative": 1e-9, "absolute": 1e-300},
        "trajectory": {"relative": 1e-8, "absolute": 0.0},
        "order": {"relative": 0.0, "absolute": 0.15},
        "engine": {"relative": 0.0, "absolute": 0.0},
    }
)
"""How far a port may be off: absolute, plus relative to the largest magnitude in the innermost array or object."""

MIXTURE: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "weights": [0.5, 0.3, 0.2],
        "means": [[-1.0, 0.5], [0.75, 1.0], [0.25, -1.25]],
        "variances": [0.09, 0.16, 0.25],
    }
)
"""Three round Gaussians in the plane."""

START = ((0.3, -0.8), (-1.1, 0.4), (0.9, 1.6))
"""Where the trajectories begin, in units of sigma at the first node."""

WINDOWS = (1e-6, 0.25, 3.0)
"""Lengths of the steps at which weights are asked for."""

NODES = (-0.8, -2.1, -2.9, -4.2, -5.0, -6.5, -7.1, -8.0)
"""Past nodes at which they are asked for."""

STEPS = 6
"""Intervals of the grids."""


@dataclass(frozen=True)
class Setting:
    """A schedule with a grid on it."""

    schedule: Schedule
    builder: str
    options: Mapping[str, Any]

    def grid(self) -> grids.Grid:
        """The grid."""
        return grids.GRIDS[self.builder](self.schedule, STEPS, **self.options)


SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        "vp-linear, equal steps": Setting(VPLinear(), "uniform_half_log_snr", {"t_start": 1.0, "t_end": 1e-3}),
        "edm, rho steps": Setting(EDM(), "karras", {"t_start": 80.0, "t_end": 0.002}),
        "flow, equal times to the data": Setting(FlowMatching(), "uniform_time", {"t_start": 0.98, "t_end": 0.0}),
    }
)
"""Where plans and trajectories are made; the last one ends at sigma = 0."""


def subjects() -> tuple[str, ...]:
    """All subjects: ``common``, then the listed methods.

    Returns
    -------
    tuple of str
    """
    return (COMMON, *catalogue("all"))


def document(subject: str) -> dict[str, Any]:
    """All vectors of a subject.

    Parameters
    ----------
    subject : str
        ``"common"``, or the name of a method.

    Returns
    -------
    dict of str to object

    Raises
    ------
    ValueError
        If there is no such method.
    """
    if subject == COMMON:
        return {"format": FORMAT, "subject": COMMON, "facts": {}, "vectors": list(_common())}
    record = find_method(subject)
    return {"format": FORMAT, "subject": record.name, "facts": _facts(record), "vectors": list(_of_method(record))}


def _vector(identity: str, kind: str, given: Mapping[str, Any], expected: Any) -> dict[str, Any]:
    return {
        "id": identity,
        "kind": kind,
        "input": dict(given),
        "expected": expected,
        "tolerance": dict(TOLERANCES[kind]),
    }


def _numbers(values: Any) -> list[Any]:
    """Array as nested lists; null stands for +infinity."""
    listed = np.asarray(values, dtype=np.float64).tolist()
    return [None if isinstance(v, float) and math.isinf(v) else v for v in listed]


# -- common ------------------------------------------------------------------------------------------


def _common() -> Iterator[dict[str, Any]]:
    import mpmath

    with mpmath.workdps(60):
        for k in range(6):
            for z in (-30.0, -2.5, -1.0, -1e-3, -1e-9, 0.0, 1e-9, 0.5, 7.0):
                exact = mpmath.mpf(1) / mpmath.factorial(k) if z == 0 else phi(k, mpmath.mpf(z))
                yield _vector(f"common/phi/{k}/{z:g}", "phi", {"k": k, "z": z}, float(exact))
    for name, setting in SETTINGS.items():
        schedule, times = setting.schedule, np.array(setting.grid().t[:-1])
        given = {"schedule": schedule.to_dict(), "t": times.tolist()}
        levels = {
            "alpha": schedule.alpha(times),
            "sigma": schedule.sigma(times),
            "half_log_snr": schedule.half_log_snr(times),
        }
        yield _vector(
            f"common/schedule/{schedule.name}", "schedule", given, {k: _numbers(v) for k, v in levels.items()}
        )
        made = setting.grid()
        asked = {"schedule": schedule.to_dict(), "builder": setting.builder, "n": STEPS, **setting.options}
        nodes = {"t": _numbers(made.t), "half_log_snr": _numbers(made.lam)}
        yield _vector(f"common/grid/{name}", "grid", asked, nodes)
    for name, t in (("vp-linear", 0.4), ("edm", 0.7), ("flow", 0.5)):
        schedule = next(s.schedule for s in SETTINGS.values() if s.schedule.name == name)
        x = np.array(START)
        given = {
            "mixture": dict(MIXTURE),
            "alpha": float(schedule.alpha(t)),
            "sigma": float(schedule.sigma(t)),
            "x": x.tolist(),
        }
        kinds = ("data", "noise", "velocity")
        found = {kind: _numbers(_mixture().denoiser(schedule, kind)(x, t)) for kind in kinds}  # type: ignore[arg-type]
        yield _vector(f"common/model/{name}", "model", given, found)


def _mixture() -> GaussianMixture:
    return GaussianMixture(MIXTURE["weights"], MIXTURE["means"], MIXTURE["variances"])


# -- methods -----------------------------------------------------------------------------------------


def _facts(record: Method) -> dict[str, Any]:
    """What a port's author wants to know of a method."""
    return {
        "title": record.title,
        "form": record.form.name,
        "prediction": record.form.prediction,
        "depth": record.depth,
        "start": record.start,
        "stochastic": record.stochastic,
        "claimed_order": record.claimed_order,
        "orders": {kind: record.order_on(kind) for kind in GRID_KINDS},
        "order_with_startup": record.order_with_startup,
        "nfe_per_step": record.nfe_per_step,
        "cite": record.cite,
        "equation": record.equation,
        "summary": record.summary,
        "not_to_be_confused_with": record.distinguish,
    }


def _of_method(record: Method) -> Iterator[dict[str, Any]]:
    if not record.stochastic:
        for place in placements(record):
            for h in WINDOWS:
                yield _weights(record, place, h)
    for name, setting in SETTINGS.items():
        made = _plan(record, setting)
        if made is not None:
            yield _vector(f"{record.name}/plan/{name}", "plan", _asked(record, setting, made), _tables(made))
            yield _trajectory(record, name, made)
    for identity, given, expected in engine_inputs(record):
        yield _vector(f"{record.name}/engine/{identity}", "engine", given, expected)
    if not record.stochastic:
        for kind in GRID_KINDS:
            given = {"grid": kind, "history": "exact evaluations"}
            yield _vector(f"{record.name}/order/{kind}", "order", given, record.order_on(kind))


def _weights(record: Method, place: Placement, h: float) -> dict[str, Any]:
    """Weights of one kind of step at one place."""
    rate = record.form.rate
    h = h if rate else -h  # clocks other than the half-log-SNR run down
    past = NODES[: place.past]
    inner = tuple(place.inner_times) or tuple(j / place.stride for j in range(1, place.stride))
    given: dict[str, Any] = {
        "order": place.order,
        "history": sorted(place.known - {"x"}),
        "last": place.last,
        "h": h,
        "past": list(past),
        "inner": list(inner),
    }
    kernel: Any = ExponentialKernel(h, rate or 0)
    if rate is None:
        moments = tuple(float(h * (1.0 + 0.1 * h) ** k / (k + 1)) for k in range(place.past + 1))
        kernel, given["moments"] = TabulatedKernel(moments), list(moments)
    step = place.step(Window(h, past, kernel, place.known, place.depth, place.last, inner, past))
    expected = {
        "nodes": {name: float(node) for name, node, _ in step.rows() if node is not None},
        "rows": {name: {s: float(w) for s, w in value.items() if float(w)} for name, _, value in step.rows()},
    }
    history = ",".join(given["history"]) or "none"
    kind = f"order {place.order}, history {history}{', last' if place.last else ''}"
    return _vector(f"{record.name}/weights/{kind}/{abs(h):g}", "weights", given, expected)


def _plan(record: Method, setting: Setting) -> Plan | None:
    """Plan of a method, or None where the method does not reach that end of the schedule."""
    try:
        return plan(record, setting.schedule, setting.grid())
    except ValueError:
        return None


def _asked(record: Method, setting: Setting, made: Plan) -> dict[str, Any]:
    grid = setting.grid()
    return {
        "schedule": setting.schedule.to_dict(),
        "t": _numbers(grid.t),
        "half_log_snr": _numbers(grid.lam),
        "start": made.start,
        "terminal": made.terminal,
        "prediction": made.prediction,
        "form": record.form.name,
    }


def _tables(made: Plan) -> dict[str, Any]:
    """Numbers of a plan, rows as objects."""
    steps = [
        {
            "t_from": step.t_from,
            "t_to": step.t_to,
            "stage_t": step.stage_t.tolist(),
            "stage_alpha": step.stage_alpha.tolist(),
            "stage_sigma": step.stage_sigma.tolist(),
            "rows": {target: dict(row) for target, row in rows},
        }
        for step, rows in zip(made.steps, made.programme, strict=True)
    ]
    return {"nfe": made.nfe, "steps": steps}


def _trajectory(record: Method, name: str, made: Plan) -> dict[str, Any]:
    """States after every step on the exact mixture."""
    first = made.steps[0].t_from
    x = np.array(START) * float(made.schedule.sigma(first))
    count = max(len(step.noises) for step in made.steps)
    rng = np.random.default_rng(1)
    noise = np.round(rng.standard_normal((len(made), count, *x.shape)), 4)

    def draw(step: int, index: int, like: FloatArray) -> FloatArray:  # noqa: ARG001
        return np.asarray(noise[step, index])

    model = _mixture().denoiser(made.schedule, made.prediction)
    run = solve(made, model, x, noise=draw if count else None, return_trajectory=True)
    given: dict[str, Any] = {"plan": f"{record.name}/plan/{name}", "mixture": dict(MIXTURE), "x": x.tolist()}
    if count:
        given["noise"] = noise.tolist()
    return _vector(f"{record.name}/trajectory/{name}", "trajectory", given, {"x": [s.tolist() for s in run.x]})

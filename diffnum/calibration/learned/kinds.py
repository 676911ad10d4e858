"""Solvers whose files are understood: their arrays, or a checkpoint of the authors' code, made into numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from diffnum.calibration.learned.loops import dyweight, epd, generalized_solver
from diffnum.calibration.learned.rolling import Unrolled, unroll
from diffnum.calibration.learned.solvers import LearnedGrid, LearnedSolver
from diffnum.calibration.weights import unrolled
from diffnum.coefficients.catalogue import method as find_method
from diffnum.forms import DATA, NOISE
from diffnum.grids import from_times
from diffnum.plans import plan
from diffnum.schedules import EDM, VPLinear
from diffnum.types import FloatArray, Schedule

__all__ = ["KINDS"]

Arrays = Mapping[str, FloatArray]
Settings = Mapping[str, Any]


def _grid(name: str, arrays: Arrays, schedule: Schedule | None, settings: Settings) -> LearnedGrid:
    if settings or schedule is not None:
        msg = (
            f"{', '.join(sorted(settings)) or 'schedule'}: a list of levels has no settings; its grid takes a schedule"
        )
        raise ValueError(msg)
    return LearnedGrid(name, _falling("levels", arrays["levels"]), f"file {name}", "")


def _dyweight(name: str, arrays: Arrays, schedule: Schedule | None, settings: Settings) -> LearnedSolver:
    _only("dyweight", settings, "analytic_first")
    first = bool(settings.get("analytic_first", False))
    if "weights" not in arrays and (own := _ending(arrays, "hybrid_weights")) is not None:
        mask, scales, sigmas = (_ending(arrays, key) for key in ("mask", "t_scale", "sigmas"))
        weights = own if mask is None else own * mask
        first = bool(settings.get("analytic_first", _ending(arrays, "afs", np.zeros(()))))
        if sigmas is None:
            ends = (_ending(arrays, key, np.array(usual)) for key, usual in _KARRAS.items())
            high, low, rho = (float(np.asarray(end)) for end in ends)
            power = np.linspace(high ** (1.0 / rho), low ** (1.0 / rho), len(weights) + 1)
            sigmas = np.array([high, *power[1:-1] ** rho, low])
    else:
        weights, sigmas, scales = arrays["weights"], arrays["sigmas"], arrays.get("scales")
    sigmas = _falling("sigmas", sigmas)
    n = len(sigmas) - 1
    _shaped(name, {"weights": (weights, (n, n))} | ({} if scales is None else {"scales": (scales, (n - first,))}))
    if np.triu(weights, 1).any():
        msg = f"weights of {name!r} are not lower triangular: a row has weights of evaluations that come later"
        raise ValueError(msg)
    told = None if scales is None else scales.tolist()
    numbers = unroll(
        lambda model, x: dyweight(model, x, weights, sigmas.tolist(), told, analytic_first=first), n - first
    )
    level = float(sigmas[0])
    for row, after in zip(weights, sigmas[1:].tolist(), strict=True):
        level += float(row.sum()) * (after - level)
    process = EDM() if schedule is None else schedule
    return LearnedSolver(name, numbers, level, process, DATA, f"file {name}", "", "zhao2026dyweight", float(sigmas[0]))


_KARRAS: Mapping[str, float] = MappingProxyType({"sigma_max": 80.0, "sigma_min": 0.002, "schedule_rho": 7.0})
"""What DyWeight's checkpoints say of their levels, with the values that they have where they say nothing."""


def _gs(name: str, arrays: Arrays, schedule: Schedule | None, settings: Settings) -> LearnedSolver:
    process = VPLinear() if schedule is None else schedule
    if "times" not in arrays and (logits := _ending(arrays, "shadow_params.0")) is not None:
        _only("gs", settings, "t_end")
        times = _stick_breaking(logits, float(settings.get("t_end", 1e-3)))
        kept = [_ending(arrays, f"shadow_params.{k}") for k in range(1, len(arrays))]
        shifts, *rows = [row for row in kept if row is not None]
        weights, carries = np.stack(rows[::2], axis=-1), np.stack(rows[1::2], axis=-1)
    else:
        _only("gs", settings)
        times, shifts, weights, carries = (arrays[key] for key in ("times", "shifts", "weights", "carries"))
        times = _falling("times", times)
    n = len(times) - 1
    order = weights.shape[-1]
    _shaped(name, {"shifts": (shifts, (n,)), "weights": (weights, (n, order)), "carries": (carries, (n, order))})
    ends = times.tolist()
    numbers = unroll(lambda model, x: generalized_solver(model, x, ends, process, shifts.tolist(), weights, carries), n)
    return LearnedSolver(name, numbers, ends[-1], process, NOISE, f"file {name}", "", "oganov2025gas")


def _stick_breaking(logits: FloatArray, t_end: float) -> FloatArray:
    """Times of GS from its parameters (src/gas/gs_wrapper.py at f090ede4, get_mu_t_steps), the latest first."""
    share = 1.0 / (1.0 + np.exp(-logits)) * (1.0 - 2e-5) + 1e-5
    inner = (1.0 - np.cumprod(share)) * (1.0 - t_end) + t_end
    return np.array([1.0, *inner[::-1], t_end])


def _ld3(name: str, arrays: Arrays, schedule: Schedule | None, settings: Settings) -> LearnedSolver:
    """Times of the states, and others that the network is told, with the weights of a method of the catalogue."""
    _only("ld3", settings, "method", "lower_order_final")
    if set(settings) != {"method", "lower_order_final"}:
        msg = (
            "kind='ld3' needs method=..., the method of the catalogue for which the times were learned (as "
            "'unipc_3_bh1', 'dpmpp_3m', 'ipndm_4'), and lower_order_final=..., True for DPM-Solver++ and UniPC as LD3 "
            "runs them: the file has the times alone"
        )
        raise ValueError(msg)
    both = next((v for key in ("best_t_steps", "tensor") if (v := _ending(arrays, key)) is not None), None)
    if "times" not in arrays and both is not None:
        times, told = both.reshape(2, -1)
    else:
        times = arrays["times"]
        told = arrays.get("told", times)
    times = _falling("times", times)
    _shaped(name, {"told": (told, times.shape)})
    process = EDM() if schedule is None else schedule
    record = find_method(settings["method"])
    grid = from_times(process, times)
    if settings["lower_order_final"]:
        grid = grid.with_terminal("lower_order")
    made = plan(record, process, grid)
    if made.nfe != len(made) or made.nfe != len(times) - 1:
        msg = f"method={record.name!r} has several evaluations a step: kind='ld3' reads methods with one"
        raise ValueError(msg)
    states, seen = unrolled(made)
    numbers = Unrolled(states, seen, np.where(told[:-1] == times[:-1], seen, told[:-1]))
    return LearnedSolver(name, numbers, float(times[-1]), process, record.form, f"file {name}", "", "tong2024learning")


def _epd(name: str, arrays: Arrays, schedule: Schedule | None, settings: Settings) -> LearnedSolver:
    _only("epd", settings)
    sigmas, fractions, weights = _falling("sigmas", arrays["sigmas"]), arrays["fractions"], arrays["weights"]
    n, points = len(sigmas) - 1, fractions.shape[-1]
    rest = {key: arrays[key] for key in ("time_scales", "slope_scales") if key in arrays}
    named = {"fractions": fractions, "weights": weights, **rest}
    _shaped(name, {key: (value, (n, points)) for key, value in named.items()})
    numbers = unroll(lambda model, x: epd(model, x, sigmas.tolist(), fractions, weights, **rest), n * (points + 1))
    process = EDM() if schedule is None else schedule
    return LearnedSolver(name, numbers, float(sigmas[-1]), process, DATA, f"file {name}", "", "wang2025epd")


def _ending(arrays: Arrays, key: str, default: FloatArray | None = None) -> FloatArray | None:
    """The array whose dotted name ends in a key."""
    return next((value for name, value in arrays.items() if f".{name}".endswith(f".{key}")), default)


def _only(kind: str, settings: Settings, *known: str) -> None:
    """Refuse settings of another kind."""
    if unknown := sorted(set(settings) - set(known)):
        msg = f"{', '.join(unknown)}: kind={kind!r} has no such setting; it takes {', '.join(known) or 'none'}"
        raise ValueError(msg)


def _falling(name: str, values: FloatArray) -> FloatArray:
    """Levels or times that decrease."""
    if values.ndim != 1 or len(values) < 2 or not (np.diff(values) < 0).all() or values[-1] < 0.0:
        msg = f"{name}={values}: give them from noise to data, decreasing, the last from 0 on"
        raise ValueError(msg)
    return values


def _shaped(name: str, wanted: Mapping[str, tuple[FloatArray, tuple[int, ...]]]) -> None:
    """Refuse arrays that do not go together."""
    for key, (array, shape) in wanted.items():
        if array.shape != shape or not np.isfinite(array).all():
            msg = f"array {key!r} of {name!r} has shape {array.shape}: {shape} finite numbers go with its times"
            raise ValueError(msg)


KINDS: Mapping[str, Callable[..., LearnedGrid | LearnedSolver]] = MappingProxyType(
    {"grid": _grid, "dyweight": _dyweight, "gs": _gs, "ld3": _ld3, "epd": _epd}
)
"""Solvers whose files are understood, by name."""

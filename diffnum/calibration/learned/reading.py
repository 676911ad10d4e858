"""Reading learned solvers: tables that ship with the package, and files of the user's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from diffnum.calibration.learned.loops import dyweight, generalized_solver, neural_solver_flow, neural_solver_vp
from diffnum.calibration.learned.rolling import unroll
from diffnum.calibration.learned.solvers import LearnedGrid, LearnedSolver
from diffnum.forms import DATA, NOISE, VELOCITY
from diffnum.schedules import EDM, FlowMatching, VPLinear
from diffnum.types import FloatArray, Schedule

__all__ = ["KINDS", "learned_names", "read_learned"]


def read_learned(
    path_or_name: str | Path,
    *,
    kind: str | None = None,
    allow_pickle: bool = False,
    schedule: Schedule | None = None,
    **settings: Any,
) -> LearnedGrid | LearnedSolver:
    """A solver or a grid that others have learned, as a plan.

    Parameters
    ----------
    path_or_name : str or Path
        A name of :func:`learned_names`, such as ``"neuralsolver/flow/5"`` or ``"ays/sdxl"``, or a file: ``.json`` or
        ``.npz`` with arrays by name, or a checkpoint that torch reads.
    kind : str, optional
        Of a file, whose solver it holds, a key of :data:`KINDS`: ``dyweight`` (arrays ``weights``, ``sigmas``, and
        perhaps ``scales``), ``gs`` (``times``, ``shifts``, ``weights``, ``carries``), ``grid`` (``levels``).
    allow_pickle : bool
        Whether a file may be unpickled that holds more than tensors: this runs whatever code its maker put there.
    schedule : Schedule, optional
        The process, where the file does not say it; that of the paper by default.
    **settings
        Arguments of the loop that are not in the file, such as ``analytic_first=True`` for ``dyweight``.

    Returns
    -------
    LearnedGrid or LearnedSolver

    Raises
    ------
    ValueError
        If there is no such name, kind or array, or the file would have to be unpickled.

    Examples
    --------
    >>> solver = read_learned("neuralsolver/flow/5")
    >>> solver.plan.nfe
    5
    """
    name = str(path_or_name)
    if name in _shipped():
        return _shipped()[name]()
    path = Path(path_or_name)
    if not path.is_file():
        msg = f"path_or_name={name!r} is neither a file nor one of {', '.join(learned_names())}"
        raise ValueError(msg)
    if kind is None or kind not in KINDS:
        msg = f"kind={kind!r}: say whose solver the file holds, one of {', '.join(KINDS)}"
        raise ValueError(msg)
    arrays = _arrays(path, allow_pickle)
    try:
        return KINDS[kind](path.stem, arrays, schedule, settings)
    except KeyError as error:
        msg = f"{name!r} has no array {error}: it holds {', '.join(sorted(arrays)) or 'none'}; kind={kind!r} needs more"
        raise ValueError(msg) from None


def learned_names() -> tuple[str, ...]:
    """Names of the tables that ship with the package.

    Returns
    -------
    tuple of str
    """
    return tuple(sorted(_shipped()))


@cache
def _shipped() -> Mapping[str, Callable[[], LearnedGrid | LearnedSolver]]:
    """Readers of the shipped tables by name."""
    folder = files("diffnum.calibration.learned") / "data"
    neural = json.loads((folder / "neural_solver.json").read_text(encoding="utf-8"))
    found: dict[str, Callable[[], LearnedGrid | LearnedSolver]] = {}
    for process in ("flow", "vp"):
        for steps, table in neural[process].items():
            found[f"neuralsolver/{process}/{steps}"] = _neural_reader(process, steps, table, neural)
    for name, entry in json.loads((folder / "grids.json").read_text(encoding="utf-8"))["lists"].items():
        found[name] = _grid_reader(name, entry)
    return MappingProxyType(found)


def _grid_reader(name: str, entry: Mapping[str, Any]) -> Callable[[], LearnedGrid]:
    def read() -> LearnedGrid:
        levels = np.array(entry["levels"])
        if entry["level"] != "sigma/alpha":  # sigma of a flow, alpha = 1 - sigma
            if levels[0] == 1.0:
                levels[0] = 1.0 - 1e-3
            levels = levels / (1.0 - levels)
        return LearnedGrid(name, levels, entry["source"], entry["cite"])

    return read


def _neural_reader(
    process: str, steps: str, table: Mapping[str, Any], document: Mapping[str, Any]
) -> Callable[[], LearnedSolver]:
    def read() -> LearnedSolver:
        deltas, rows = table["deltas"], table["rows"]
        name = f"neuralsolver/{process}/{steps}"
        facts = document["source"], document["license"], document["cite"]
        if process == "flow":
            numbers = unroll(lambda model, x: neural_solver_flow(model, x, deltas, rows), len(deltas))
            return LearnedSolver(name, numbers, 0.0, FlowMatching(), VELOCITY, *facts)
        vp = VPLinear()
        numbers = unroll(lambda model, x: neural_solver_vp(model, x, deltas, rows, vp), len(deltas))
        return LearnedSolver(name, numbers, max(0.999 - sum(deltas), 1e-3), vp, DATA, *facts)

    return read


# -- files of the user's --------------------------------------------------------------------------------


def _arrays(path: Path, allow_pickle: bool) -> dict[str, FloatArray]:
    """Arrays of a file by name; nothing is unpickled but on request."""
    if path.suffix == ".json":
        data = json.loads(path.read_text(encoding="utf-8"))
        return {name: np.asarray(value, dtype=np.float64) for name, value in data.items() if isinstance(value, list)}
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name], dtype=np.float64) for name in archive.files}
    from diffnum.calibration.networks import read_tensors

    return read_tensors(path, allow_pickle)


def _of_grid(
    name: str, arrays: Mapping[str, FloatArray], schedule: Schedule | None, settings: Mapping[str, Any]
) -> LearnedGrid:
    if settings or schedule is not None:
        msg = (
            f"{', '.join(sorted(settings)) or 'schedule'}: a list of levels has no settings; its grid takes a schedule"
        )
        raise ValueError(msg)
    levels = arrays["levels"]
    if not (np.isfinite(levels).all() and (np.diff(levels) < 0).all() and levels[-1] >= 0.0):
        msg = f"levels={levels}: give sigma/alpha from noise to data, decreasing, the last from 0 on"
        raise ValueError(msg)
    return LearnedGrid(name, levels, f"file {name}", "")


def _of_dyweight(
    name: str, arrays: Mapping[str, FloatArray], schedule: Schedule | None, settings: Mapping[str, Any]
) -> LearnedSolver:
    weights, sigmas = arrays["weights"], arrays["sigmas"]
    scales = arrays["scales"].tolist() if "scales" in arrays else None
    first = bool(settings.get("analytic_first", False))
    process = EDM() if schedule is None else schedule
    numbers = unroll(
        lambda model, x: dyweight(model, x, weights, sigmas.tolist(), scales, analytic_first=first),
        len(sigmas) - 1 - first,
    )
    level = float(sigmas[0])
    for row, after in zip(weights, sigmas[1:].tolist(), strict=True):
        level += float(row.sum()) * (after - level)
    return LearnedSolver(name, numbers, level, process, DATA, f"file {name}", "", "", float(sigmas[0]))


def _of_gs(
    name: str, arrays: Mapping[str, FloatArray], schedule: Schedule | None, settings: Mapping[str, Any]
) -> LearnedSolver:
    if settings:
        msg = f"{', '.join(sorted(settings))}: kind='gs' has no settings besides its arrays"
        raise ValueError(msg)
    process = VPLinear() if schedule is None else schedule
    times, shifts = arrays["times"].tolist(), arrays["shifts"].tolist()
    weights, carries = arrays["weights"], arrays["carries"]
    numbers = unroll(
        lambda model, x: generalized_solver(model, x, times, process, shifts, weights, carries), len(times) - 1
    )
    return LearnedSolver(name, numbers, times[-1], process, NOISE, f"file {name}", "", "")


KINDS: Mapping[str, Callable[..., LearnedGrid | LearnedSolver]] = MappingProxyType(
    {"grid": _of_grid, "dyweight": _of_dyweight, "gs": _of_gs}
)
"""Solvers whose files are understood, by name."""

"""Reading learned solvers: tables that ship with the package, and files of the user's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import BadZipFile

import numpy as np

from diffnum.calibration.learned.kinds import KINDS
from diffnum.calibration.learned.loops import neural_solver_flow, neural_solver_vp
from diffnum.calibration.learned.rolling import unroll
from diffnum.calibration.learned.solvers import LearnedGrid, LearnedSolver
from diffnum.forms import DATA, VELOCITY
from diffnum.jobs.data import read_json
from diffnum.jobs.extras import required
from diffnum.schedules import FlowMatching, VPLinear
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
        Of a file, whose solver it holds, a key of :data:`KINDS`, with these arrays, or a checkpoint as the authors'
        code writes it: ``dyweight`` (``weights``, ``sigmas``, and perhaps ``scales``), ``gs`` (``times``, ``shifts``,
        ``weights``, ``carries``), ``ld3`` (``times``, and perhaps ``told``), ``epd`` (``sigmas``, ``fractions``,
        ``weights``, and perhaps ``time_scales``, ``slope_scales``), ``grid`` (``levels``).
    allow_pickle : bool
        Whether a file may be unpickled that holds more than tensors. One that torch saved then runs whatever code its
        maker put there; in a bare pickle, as of DyWeight, classes are replaced by stand-ins that run nothing.
    schedule : Schedule, optional
        The process, where the file does not say it; that of the paper by default.
    **settings
        What is not in the file. ``dyweight``: ``analytic_first``. ``gs``, of a checkpoint: ``t_end``, the authors'
        ``t_eps`` (1e-3 on CIFAR-10, 1e-4 elsewhere). ``ld3``: ``method``, the method of the catalogue for which the
        times were learned, and ``lower_order_final``, whether its order falls at the end, as that of DPM-Solver++ and
        of UniPC does there.

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
    if not isinstance(path_or_name, str | Path):
        msg = f"path_or_name={path_or_name!r} is a {type(path_or_name).__name__}: pass a name, or the path of a file"
        raise TypeError(msg)
    name = str(path_or_name)
    if name in _shipped():
        return _shipped()[name]()
    path = Path(path_or_name)
    if path.is_dir():
        msg = f"path_or_name={name!r} is a folder: give the file in it"
        raise ValueError(msg)
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
        In the order of the alphabet, numbers of steps by their size.
    """
    return tuple(
        sorted(_shipped(), key=lambda name: [part.zfill(4) if part.isdigit() else part for part in name.split("/")])
    )


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
        data = read_json(path)
        if not isinstance(data, dict):
            msg = f'{str(path)!r} holds no arrays by name: write an object, such as {{"levels": [80, 5, 0.1]}}'
            raise ValueError(msg)
        return {name: _numbers(path, name, value) for name, value in data.items() if isinstance(value, list)}
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name: _numbers(path, name, archive[name]) for name in archive.files}
        except (ValueError, BadZipFile, OSError) as error:
            msg = f"{str(path)!r} is no archive of numbers ({error}): write it with numpy.savez"
            raise ValueError(msg) from None
    required("torch", f"read_learned of a checkpoint ({path.suffix or 'no .json or .npz'})")
    from diffnum.calibration.learned.checkpoints import read_checkpoint

    return read_checkpoint(path, allow_pickle)


def _numbers(path: Path, name: str, value: Any) -> FloatArray:
    """An array of finite numbers."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if not np.isfinite(array).all():
        msg = f"array {name!r} of {str(path)!r} holds something else than finite numbers in rows of one length"
        raise ValueError(msg)
    return array
